# SPDX-License-Identifier: BSD-2-Clause
"""What snapshots cost: the part of tests/qemu/bench with the guest tests/guests/dirty.c.

Counted in instructions: under -icount, a nanosecond is one, and busy_ns leaves out what
the CPU waits. With the host's flushes off: they would take a time that the machine's
clock, which runs on while it waits, takes for a disk that does not answer.
"""
import re
import statistics
import time

from amber import (BUILD, Image, Machine, check, compile_manifest, debian_manifest,
                   debian_payloads, deep_manifest)

SIZES = (("256M", 256), ("1G", 1024), ("4G", 4096))
FLUSHES_OFF = ["-set", "drive.disk.cache.no-flush=on"]
MIB = 1 << 20
# MiB per second of the throttled disk: the aim's, and one that the emulated CPU is fast enough for
RATES = {"": 64, "_slow": 16}


def manifest(folder, name, memory, vcpus=1):
    return compile_manifest(folder, name, f"""/dts-v1/;
/ {{ compatible = "amber,guest"; vm-name = "{name}"; memory-mib = <{memory}>;
  cpus {{ count = <{vcpus}>; }};
  boot {{ method = "linux"; kernel = "dirty.bz"; command-line = "{vcpus}"; }};
  devices {{ serial0 {{ compatible = "amber,ns16550"; index = <0>; }}; }}; }};
""")


def order(m, name, byte, answer, timeout=600):
    """What the guest says to a byte."""
    m.attach(name)
    m.send(byte)
    found = m.expect(answer, timeout)
    m.detach()
    return found


def start(m, name):
    m.ok(f"vm start {name}", 120)
    m.attach(name)
    m.expect(r"ready\r?\n", 1200)
    m.detach()


class Meter:
    """Amber's JSON into figures of one platform, in instructions."""

    def __init__(self, results, ending, speed):
        self.results, self.ending, self.speed = results, ending, speed

    def put(self, name, value):
        self.results[f"{name}.{self.ending}"] = round(value)

    def instructions(self, ns):
        return ns * self.speed // 1000


def all_there(m, name):
    """Waits until what was restored has all of its memory: it does not wait for the disk."""
    end = f"vm '{name}': all of its memory is there"
    order(m, name, "t", "touched")
    m.until(lambda: end in m.cmd("log").rpartition("loading")[2], 600, f"{name}: RAM is missing")


def sizes(m, meter, labels):
    """Pauses and restores of machines that have touched all of their memory."""
    for label in labels:
        name = f"m{label.lower()}"
        start(m, name)
        order(m, name, "f", "filled")
        full = m.ok(f"snapshot save {name} full", 3000)
        order(m, name, "t", "touched")
        later = m.ok(f"snapshot save {name} later", 3000)
        meter.put(f"save.pause.{label}",
                  meter.instructions(max(full["pause_ns"], later["pause_ns"])))
        if label == "256M":
            per_mib = meter.instructions(full["busy_ns"]) * MIB / full["ram_bytes"]
            meter.put("save.insn_per_mib", per_mib)
        # with another one in its place, the longer of two: all in one object, and a chain of them
        restored = []
        for snapshot in ("full", "later"):
            restored.append(m.ok(f"snapshot restore {snapshot} --yes", 3000))
            all_there(m, name)
        meter.put(f"restore.first_insn.{label}",
                  meter.instructions(max(r["busy_ns"] for r in restored)))
        m.ok(f"vm destroy {name} --yes", 300)
        for s in ("later", "full"):
            m.ok(f"snapshot delete {s} --yes", 300)


def progress(m, name):
    """Pages changed, what its vCPUs and what all threads have run for: ns, the CPU is one."""
    pages = int(order(m, name, "p", r"changed (\d+) pages").group(1))
    threads = m.ok("host cpus")["threads"]
    ran = sum(t["run_ns"] for t in threads if t["name"].startswith(f"{name}/"))
    return pages, ran, sum(t["run_ns"] for t in threads if not t["name"].startswith("idle"))


def dirtying(m, meter, name="two"):
    """Two vCPUs that change page after page, with and without a save under way."""
    start(m, name)
    order(m, name, "f", "filled")
    m.ok(f"snapshot save {name} base", 600)
    again = m.ok(f"snapshot save {name} again --full", 600)
    meter.put("save.bytes.again", again["bytes"] - again["shared_bytes"])
    meter.put("save.insn_per_mib.again",
              meter.instructions(again["busy_ns"]) * MIB / again["ram_bytes"])
    meter.put("save.bytes.idle", m.ok(f"snapshot save {name} idle", 600)["bytes"])
    order(m, name, "t", "touched")
    meter.put("save.bytes.light", m.ok(f"snapshot save {name} light", 600)["bytes"])
    order(m, name, "g", "going")
    meter.put("save.bytes.busy", m.ok(f"snapshot save {name} busy", 600)["bytes"])
    time.sleep(1)
    first = progress(m, name)
    time.sleep(2)
    second = progress(m, name)
    saved = m.ok(f"snapshot save {name} all --full", 600)
    third = progress(m, name)
    meter.put("save.pause.dirtying", meter.instructions(saved["pause_ns"]))
    for what, a, b in (("alone", first, second), ("saving", second, third)):
        pages, ran, all_ran = (y - x for x, y in zip(a, b))
        # per million instructions that its vCPUs had, and that the CPU was busy for
        meter.put(f"dirty.pages_per_million.{what}", pages * 1e6 / meter.instructions(ran))
        meter.put(f"dirty.pages_per_million_busy.{what}", pages * 1e6 / meter.instructions(all_ran))
    m.ok(f"vm destroy {name} --yes", 300)


def busy_disk(m, meter, name="deep"):
    """The longest pause of a guest that keeps 32 requests in flight to its disk in the store."""
    start(m, name)
    saved = []
    for n in range(5):
        order(m, name, "p", r"done \d+ requests, 0 bad")
        saved.append(m.ok(f"snapshot save {name} deep{n}", 600))
    meter.put("save.pause.depth32", meter.instructions(max(s["pause_ns"] for s in saved)))
    m.ok(f"vm destroy {name} --yes", 300)


def rewinds(m, meter, name="again"):
    """Fifty pages put back, and how much of that is copying: the slope from fewer pages to more."""
    start(m, name)
    order(m, name, "f", "filled")
    m.ok(f"vm mark {name}")
    found = {}
    for byte in "rt":
        answers = []
        for _ in range(9):
            order(m, name, byte, "touched")
            answers.append(m.ok(f"vm rewind {name}"))
        found[byte] = tuple(statistics.median(a[key] for a in answers) for key in ("pages", "ns"))
    (few, few_ns), (many, many_ns) = found["r"], found["t"]
    page = (many_ns - few_ns) / (many - few)
    meter.put("rewind.50", meter.instructions(few_ns))
    meter.put("rewind.50.pages", few)
    meter.put("rewind.50.each_page", meter.instructions(page))


def clones(m, meter, name="again", count=10):
    """What each takes that has not run, beside the first, which has the shared memory read."""
    def clone(prefix, number):
        m.ok(f"vm clone golden {prefix} --count={number} --paused", 600)
        m.until(lambda: len(re.findall(f"'{prefix}[-0-9]*': all of its memory is there",
                                       m.cmd("log"))) >= number, 600, "RAM is missing")
        return m.ok("host memory")["used_bytes"]

    m.ok(f"snapshot save {name} golden --poweroff", 600)
    before = clone("first", 1)
    meter.put("memory.clone.bytes", (clone("web", count) - before) / count)


def counted(folder, results, platform, ending, arguments, speed, labels):
    chosen = [s for s in SIZES if s[0] in labels]
    image = Image(folder, f"counted-{platform}.img",
                  manifests=[manifest(folder, f"m{label.lower()}", mib) for label, mib in chosen] +
                  [manifest(folder, "two", 256, 2), manifest(folder, "again", 256),
                              deep_manifest(folder)],
                  payloads=[BUILD / "guests/dirty.bz", BUILD / "guests/deep.bz"], store_mib=chosen[-1][1] + 1024)
    extra = arguments + (["--", *FLUSHES_OFF] if platform.startswith("qemu") else [])
    meter = Meter(results, ending, speed)
    with Machine(image, platform, extra=extra, smp=1, mem=2 * chosen[-1][1] + 1024,
                 timeout=3600) as m:
        m.prompt(600)
        sizes(m, meter, labels)
        dirtying(m, meter)
        busy_disk(m, meter)
        rewinds(m, meter)
        clones(m, meter)


# --- a disk of a known rate, in real time ---------------------------------------------------


def seconds(function, *args):
    began = time.monotonic()
    answer = function(*args)
    return time.monotonic() - began, answer


def throttled(folder, results, suffix, rate):
    """A save beside the raw device: a guest's writes past its page cache to the same disk."""
    mib = 4 * rate
    image = Image(folder, f"throttled{suffix}.img", manifests=[debian_manifest(folder, memory=768, vcpus=1)],
                  payloads=debian_payloads(), disks=["debian-disk:320"], store_mib=1024)
    extra = ["--", "-set", f"drive.disk.throttling.bps-write={rate * MIB}", *FLUSHES_OFF]
    with Machine(image, "qemu-svm", extra=extra, smp=2) as m:
        m.prompt(300)
        m.guest_ready("debian", 600)
        m.shell(f"umount /mnt; dd if=/dev/urandom of=/tmp/blob bs=1M count={mib} 2>/dev/null", 300)
        size = int(m.shell("wc -c < /tmp/blob", 60))
        raw, _ = seconds(m.shell, "dd if=/tmp/blob of=/dev/vda bs=1M oflag=direct 2>/dev/null", 300)
        m.detach()
        took, saved = seconds(m.ok, "snapshot save debian s", 600)
    check(size == mib * MIB, f"the guest has room for {size} bytes only")
    results[f"save.throughput_raw_mib_s{suffix}.svm"] = round(mib / raw, 1)
    results[f"save.throughput_mib_s{suffix}.svm"] = round(saved["bytes"] / MIB / took, 1)
    results[f"save.throughput_ratio{suffix}.svm"] = round(saved["bytes"] / took / (mib * MIB / raw), 2)


def snapshots(folder, results, platform, meter):
    """All of them; meter is the platform's row of METERS."""
    ending, arguments, speed = meter
    if platform == "qemu-svm":
        counted(folder, results, platform, ending, arguments, speed, ("256M", "1G", "4G"))
        for suffix, rate in RATES.items():
            throttled(folder, results, suffix, rate)
    else:
        counted(folder, results, platform, ending, arguments, speed, ("256M", "1G"))
