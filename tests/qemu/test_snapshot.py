# SPDX-License-Identifier: BSD-2-Clause
"""Freezing and thawing whole machines."""
import json
import os
import re
import time

from amber import BUILD, Image, Machine, check, debian_manifest, debian_payloads, needs, run

SNAP = BUILD / "amber-snap"

# A process that notices any break in its own life: it counts, and says so if a count is
# missing or if the clock jumps by more than two seconds between two counts. It appends: a
# file that is emptied and written again is found empty now and then.
COUNTER = r"""cat > /tmp/counter.sh <<'EOF'
i=0; last=$(cut -d. -f1 /proc/uptime)
while :; do
  i=$((i+1)); now=$(cut -d. -f1 /proc/uptime)
  [ $((now-last)) -gt 2 ] && echo "jump $last $now" >> /tmp/bad
  [ $now -lt $last ] && echo "back $last $now" >> /tmp/bad
  last=$now; echo $i >> /tmp/count; usleep 50000
done
EOF"""


def image_for(ctx, store_mib=512, **kw):
    return Image(ctx.folder, manifests=[debian_manifest(ctx.folder, **kw)],
                 payloads=debian_payloads(), disks=["debian-disk:64"], store_mib=store_mib)


def start_witnesses(m):
    """Attached: a counter, a checksummed file in memory and one on the disk."""
    for line in COUNTER.split("\n"):
        m.send(line + "\r")
        time.sleep(0.05)
    m.expect("debian# ", 30)
    m.shell("sh /tmp/counter.sh & echo")
    m.shell("dd if=/dev/urandom of=/tmp/blob bs=1M count=16 2>/dev/null; cp /tmp/blob /mnt/blob; sync",
            120)
    return m.shell("md5sum /tmp/blob /mnt/blob"), int(m.shell("tail -n 1 /tmp/count"))


def check_witnesses(m, sums, count):
    """Attached, after a restore."""
    m.send("\r")
    m.expect("debian# ", 60)
    now = int(m.shell("tail -n 1 /tmp/count"))
    check(now >= count, f"the counter went back from {count} to {now}")
    check(now < count + 3000 * m.platform.slow, f"the counter jumped from {count} to {now}")
    time.sleep(1)
    later = int(m.shell("tail -n 1 /tmp/count"))
    check(later > now, "the counter stands still: the guest hangs after the restore")
    check(m.shell("busybox awk '$1 != NR' /tmp/count") == "", "the counter has missed a number")
    bad = m.shell("cat /tmp/bad 2>/dev/null")
    check(bad == "", f"the guest's clock jumped: {bad}")
    check(m.shell("md5sum /tmp/blob /mnt/blob", 120) == sums, "memory or disk changed")
    m.shell("echo 3 > /proc/sys/vm/drop_caches")
    check(m.shell("md5sum /tmp/blob /mnt/blob", 120) == sums, "the disk's contents changed")
    check(m.shell("dmesg | grep -iE 'stall|lockup|call trace'") == "", "the kernel complains")


def save_and_power_off(m, name="s1"):
    m.ok(f"snapshot save debian {name} --poweroff", 300)
    v = m.vm("debian")
    check((v["state"], v["disposition"]) == ("frozen", "saved"), f"after save --poweroff: {v}")
    m.poweroff()


@needs("disk")
def test_save_restore(ctx):
    """A guest frozen before a power cycle goes on exactly where it was."""
    image = image_for(ctx)
    with Machine(image, ctx.platform) as m:
        m.prompt()
        m.guest_ready("debian")
        sums, count = start_witnesses(m)
        m.detach()
        save_and_power_off(m)
    with Machine(image, ctx.platform) as m:
        m.prompt()
        check(m.vm("debian")["state"] == "frozen", "a frozen guest was started at boot")
        names = [s["name"] for s in m.ok("snapshot list")["snapshots"]]
        check(names == ["s1"], f"snapshot list: {names}")
        m.ok("snapshot verify s1", 300)
        m.ok("snapshot restore s1 --yes", 300)
        check(m.vm("debian")["state"] == "running", "not running after the restore")
        m.attach("debian")
        check_witnesses(m, sums, count)
        if ctx.platform.has("real time"):
            drift = abs(int(m.shell("date +%s")) - time.time())
            check(drift < 5, f"the guest's wall clock is {drift:.0f} s off")
        m.detach()
        m.poweroff()


@needs("disk")
def test_restore_twice_refused(ctx):
    """A disk that was written since the save is not put under an older memory."""
    image = image_for(ctx)
    with Machine(image, ctx.platform) as m:
        m.prompt()
        m.guest_ready("debian")
        m.shell("echo one > /mnt/file; sync")
        m.detach()
        m.ok("snapshot save debian s1", 300)
        m.ok("snapshot restore s1 --yes", 300)
        m.attach("debian")
        m.send("\r")
        m.expect("debian# ", 60)
        m.shell("echo two > /mnt/file; sync")
        m.detach()
        m.fails("snapshot restore s1 --yes", "debian-disk", 300)
        check(m.vm("debian")["state"] == "running", "the refused restore harmed the guest")
        m.poweroff()


@needs("disk")
def test_corrupt(ctx):
    """A flipped bit in a snapshot is named by verify and restore, and changes nothing."""
    image = image_for(ctx)
    with Machine(image, ctx.platform) as m:
        m.prompt()
        m.guest_ready("debian")
        m.detach()
        save_and_power_off(m)
    run([SNAP, image.path, "verify", "s1"])
    flip_a_bit_of_data(ctx, image.path)
    text = run([SNAP, image.path, "verify", "s1"], ok=False)
    check(re.search(r"error: .*(s1|record|block|chunk)", text), f"amber-snap verify: {text}")
    with Machine(image, ctx.platform) as m:
        m.prompt()
        m.fails("snapshot verify s1", r"s1", 300)
        m.fails("snapshot restore s1 --yes --eager", r"s1", 300)
        check(m.vm("debian")["state"] == "frozen", "the refused restore changed the guest")
        # on demand, the machine runs until it touches what is bad, and nothing else suffers
        answer = m.json("snapshot restore s1 --yes")
        if answer["ok"]:
            m.until(lambda: re.search(r"s1.*(chunk|object|block)", m.cmd("log")), 120,
                    "nobody has named the bad piece")
            check(m.vm("debian")["state"] in ("running", "stopped"), m.vm("debian"))
            m.json("vm poweroff debian")
        m.ok("snapshot delete s1 --yes")
        m.poweroff()


def store_extent(path):
    """Byte offset and size of the store, the last partition."""
    last = run(["/sbin/sgdisk", "-p", path]).strip().splitlines()[-1].split()[0]
    text = run(["/sbin/sgdisk", "-i", last, path])
    first = int(re.search(r"First sector: (\d+)", text).group(1))
    count = int(re.search(r"Partition size: (\d+)", text).group(1))
    return first * 512, count * 512


def flip_a_bit_of_data(ctx, path):
    """In a block of the store that holds something, well behind its first metadata."""
    offset, size = store_extent(path)
    with open(path, "r+b") as f:
        while True:
            at = offset + ctx.random.randrange(4 << 20, min(size, 24 << 20))
            f.seek(at)
            block = f.read(64)
            if block.count(0) < 8:
                break
        f.seek(at)
        f.write(bytes([block[0] ^ 0x10]))


@needs("disk")
def test_store_full(ctx):
    """A full partition is refused before the guest is paused, with the sizes."""
    image = image_for(ctx, store_mib=24)
    with Machine(image, ctx.platform) as m:
        m.prompt()
        m.guest_ready("debian")
        m.shell("dd if=/dev/urandom of=/tmp/blob bs=1M count=40 2>/dev/null", 120)
        m.detach()
        error = m.fails("snapshot save debian s1", r"\d+ .*\d+", 300)
        check("MiB" in error or "KiB" in error, f"no sizes in: {error}")
        check(m.vm("debian")["state"] == "running", "the guest does not run on")
        check(m.ok("snapshot list")["snapshots"] == [], "half a snapshot is listed")
        m.poweroff()


@needs("disk")
def test_no_store(ctx):
    """Without a reserved partition guests run, and snapshot says what to create."""
    image = image_for(ctx, store_mib=0)
    with Machine(image, ctx.platform) as m:
        m.prompt()
        m.fails("snapshot list", "amber-store|partition")
        m.guest_ready("debian")
        m.detach()
        m.poweroff()


@needs("disk")
def test_power_cut(ctx):
    """The plug is pulled during a save: the earlier snapshot is whole, the half one absent."""
    image = image_for(ctx)
    with Machine(image, ctx.platform) as m:
        m.prompt()
        m.guest_ready("debian")
        mib = 64 // ctx.platform.slow  # so that a save takes longer than the wait for the plug
        m.shell(f"dd if=/dev/urandom of=/tmp/blob bs=1M count={mib} 2>/dev/null", 120)
        m.detach()
        m.ok("snapshot save debian first", 300)
        cuts = 3 if ctx.platform.slow == 1 else 2
        for i in range(cuts):
            m.send(f"snapshot save debian second{i}\r")
            time.sleep(0.3 + ctx.random.random())
            m.kill()
            text = run([SNAP, image.path, "list"])
            check("first" in text, f"the first snapshot is gone: {text}")
            run([SNAP, image.path, "verify", "first"])
            run([SNAP, image.path, "check"])
            if i == cuts - 1:
                return
            m = Machine(image, ctx.platform)
            m.prompt()
            m.guest_ready("debian")
            m.detach()


@needs("disk")
def test_random_moments(ctx):
    """Saved and restored at random moments of its boot, the guest comes up as if nothing had been."""
    image = image_for(ctx)
    moments = int(os.environ.get("AMBER_MOMENTS", 50 if ctx.platform.slow == 1 else 20))
    per_boot = 10
    with Machine(image, ctx.platform, timeout=60 * moments) as m:
        m.prompt()
        for r in range((moments + per_boot - 1) // per_boot):
            m.ok("vm poweroff debian")
            m.ok("vm start debian")
            # moments of the machine's own clock, which a pause does not move: dense at first
            # (early boot, the other CPU's start), thinner towards the idle shell
            times = sorted(int(1e9 * ctx.platform.boot * 12 ** ctx.random.uniform(-1, 1))
                           for _ in range(per_boot))
            for t in times:
                m.ok(f"vm pause debian --at={t}", 300)
                m.ok("snapshot save debian moment --replace", 300)
                m.ok("snapshot restore moment --yes", 300)
            m.guest_ready("debian", 400)
            check(m.shell("nproc") == "2", f"round {r}, {times}: a vCPU is missing")
            check(m.shell("dmesg | grep -iE 'stall|lockup|call trace|panic'") == "",
                  f"round {r}, {times}: the kernel complains")
            check(m.shell("ls /mnt >/dev/null && echo fine") == "fine", f"round {r}, {times}: no disk")
            m.detach()
        m.poweroff()


def check_core(ctx, image, symbols):
    """gdb reads the frozen kernel's memory by the addresses that the kernel itself has told."""
    core = ctx.folder / "s1.core"
    said = run([SNAP, image.path, "core", "s1", core, "--paging"])
    check("2 vCPUs, 256 MiB" in said and "did not fit" not in said, f"core: {said}")
    text = run(["gdb", "-nx", "-batch", "-ex", f"x/s 0x{symbols['linux_banner']}", "-ex",
                f"x/i 0x{symbols['entry_SYSCALL_64']}", "-ex", "info threads", "-ex", "x/i $rip",
                "-c", core])
    check(':\t"Linux version 6.' in text, f"gdb finds no banner: {text}")
    check("swapgs" in text, f"gdb finds no system call entry: {text}")
    check("LWP 2" in text and "Cannot access" not in text, f"gdb: {text}")


def check_sealed(ctx, image):
    """What was compressed and encrypted is the same again; another moment is not."""
    key, sealed = ctx.folder / "key", ctx.folder / "s1.portable"
    run([SNAP, "keygen", key])
    run([SNAP, image.path, "export", "s1", sealed, "--compress", "--encrypt", "--key-file", key])
    run([SNAP, image.path, "import", sealed, "--as", "s3", "--key-file", key])
    check(run([SNAP, image.path, "diff", "s1", "s3"]) == "no difference\n", "s1 and s3 differ")
    changed = json.loads(run([SNAP, "--json", image.path, "diff", "s0", "s1"]))
    check(not changed["same"] and changed["pages"] > 0 and changed["registers"],
          f"s0 and s1 do not differ: {changed}")
    check("clock" in [p["node"] for p in changed["properties"]], "the clock stood still")
    run([SNAP, image.path, "delete", "s0"])
    run([SNAP, image.path, "delete", "s3"])

# Processes that read all of the disk, past the page cache, and write down what its checksum is;
# that only read it, which takes less of the CPU and more of the disk; and one that writes a file
# again and again. Each says when it has stopped.
BUSY = r"""cat > /tmp/busy.sh <<'EOF'
while [ ! -e /tmp/stop ]; do
  case $1 in
  load) dd if=/dev/vda of=/dev/null bs=1M iflag=direct 2>/dev/null || sleep 1 ;;
  read) echo 3 > /proc/sys/vm/drop_caches; md5sum < /dev/vda >> /tmp/sums ;;
  write) cp /tmp/blob /mnt/copy; sync ;;
  esac
done
echo $1 >> /tmp/stopped
EOF"""
READERS = ("read", "read", "load", "load", "load", "load")


def stop_busy(m, n):
    """Attached: returns when the n that were started have stopped."""
    m.shell(f"touch /tmp/stop; until [ $(wc -l < /tmp/stopped) = {n} ]; do sleep 1; done", 300)
    m.shell("rm /tmp/stop /tmp/stopped")


def in_flight(image, name):
    """How many disk requests a snapshot lists as neither done nor still in the ring."""
    words = re.search(r"queue0-in-flight = <(.*?)>", run([SNAP, image.path, "show", name])).group(1)
    return sum(int(w, 16).bit_count() for w in words.split())


@needs("disk", "drive bus")
def test_live_io(ctx):
    """Saved while it keeps its disk busy, a guest loses no request: neither it nor who is restored."""
    # a disk that takes its time over reads, so that a save finds some in flight
    slow_disk = ["--", "-set", "drive.disk.throttling.iops-read=300"]
    image = image_for(ctx, store_mib=1024)
    moments = int(os.environ.get("AMBER_MOMENTS", 20))
    kept = 6
    with Machine(image, ctx.platform, timeout=60 * moments + 600, extra=slow_disk) as m:
        m.prompt()
        m.guest_ready("debian")
        # what is only read can be restored after a live save: its epoch stays
        m.shell("dd if=/dev/urandom of=/mnt/blob bs=1M count=16 2>/dev/null; md5sum /mnt/blob", 120)
        m.shell("mount -o remount,ro /mnt; sync", 60)
        for line in BUSY.split("\n"):
            m.send(line + "\r")
            time.sleep(0.05)
        m.expect("debian# ", 30)
        total = m.shell("md5sum < /dev/vda", 120)
        m.shell("touch /tmp/stopped; "
                f"for i in {' '.join(READERS)}; do (sh /tmp/busy.sh $i &); done", 60)
        m.detach()
        for i in range(moments):
            time.sleep(ctx.random.uniform(0.2, 1.2))
            m.ok(f"snapshot save debian io{i} --replace", 300)
            if i >= kept:
                m.ok(f"snapshot delete io{i - kept} --yes", 60)
            time.sleep(ctx.random.uniform(0, 1))
            # eager: otherwise its own memory keeps the slow disk busy, and the guest waits for that
            m.ok(f"snapshot restore io{i} --yes --eager", 300)
        m.attach("debian")
        m.send("\r")
        m.expect("debian# ", 60)
        before = int(m.shell("wc -l < /tmp/sums", 60))
        m.shell(f"while [ $(wc -l < /tmp/sums) -lt {before + 4} ]; do sleep 1; done", 300)
        stop_busy(m, len(READERS))
        check(m.shell("sort -u /tmp/sums", 60) == total, "the disk was misread after a restore")
        # and who writes: the machine goes on unharmed, its snapshots are behind its disk
        m.shell("mount -o remount,rw /mnt; cp /mnt/blob /tmp/blob", 60)
        m.shell("touch /tmp/stopped; (sh /tmp/busy.sh write &)", 60)
        m.detach()
        for _ in range(5):
            m.ok("snapshot save debian late --replace", 300)
            time.sleep(ctx.random.uniform(0.5, 1.5))
            m.fails("snapshot restore late --yes", "has been written since", 300)
        m.attach("debian")
        m.send("\r")
        m.expect("debian# ", 60)
        stop_busy(m, 1)
        m.shell("echo 3 > /proc/sys/vm/drop_caches")
        check(m.shell("cmp /tmp/blob /mnt/copy && cmp /mnt/blob /mnt/copy && echo same", 120) == "same",
              "what was written during saves is not on the disk")
        check(m.shell("dmesg | grep -iE 'stall|lockup|call trace|I/O error|EXT4-fs error'") == "",
              "the kernel complains")
        m.detach()
        m.poweroff()
    counts = [in_flight(image, f"io{i}") for i in range(max(0, moments - kept), moments)]
    check(any(counts), f"no snapshot caught a request in flight, {counts}: the disk was not busy")


@needs("disk")
def test_amber_snap(ctx):
    """The host tool lists, shows, exports, imports and deletes; dtc loses nothing of the tree."""
    image = image_for(ctx)
    with Machine(image, ctx.platform) as m:
        m.prompt()
        m.guest_ready("debian")
        symbols = m.shell("grep -wE 'linux_banner|entry_SYSCALL_64' /proc/kallsyms")
        m.detach()
        m.ok("snapshot save debian s0", 300)
        save_and_power_off(m)
    check_core(ctx, image, dict(line.split()[::2][::-1] for line in symbols.splitlines()))
    check_sealed(ctx, image)
    check("s1" in run([SNAP, image.path, "list"]), "list does not show s1")
    dts, dtb, raw = (ctx.folder / n for n in ("s1.dts", "s1.dtb", "raw.dtb"))
    dts.write_text(run([SNAP, image.path, "show", "s1"]))
    run(["dtc", "-q", "-I", "dts", "-O", "dtb", "-o", dtb, dts])
    back = run(["dtc", "-q", "-I", "dtb", "-O", "dts", dtb])
    again = ctx.folder / "again.dtb"
    (ctx.folder / "back.dts").write_text(back)
    run(["dtc", "-q", "-I", "dts", "-O", "dtb", "-o", again, ctx.folder / "back.dts"])
    check(again.read_bytes() == dtb.read_bytes(), "dtc and back lost something")
    run([SNAP, image.path, "show", "s1", "--dtb", raw], ok=False)
    exported = ctx.folder / "s1.amber"
    run([SNAP, image.path, "export", "s1", exported])
    run([SNAP, image.path, "import", exported, "--as", "s2"])
    run([SNAP, image.path, "verify"])
    run([SNAP, image.path, "delete", "s1"])
    with Machine(image, ctx.platform) as m:
        m.prompt()
        listed = json.loads(run([SNAP, "--json", image.path, "list"]))["snapshots"]
        here = m.json("snapshot list")["snapshots"]
        check([{k: there[k] for k in h} for h, there in zip(here, listed, strict=True)] == here,
              f"the console lists {here}, the tool {listed}")
        m.ok("snapshot restore s2 --yes", 300)
        m.attach("debian")
        m.send("\r")
        m.expect("debian# ", 60)
        m.detach()
        m.poweroff()
