# SPDX-License-Identifier: BSD-2-Clause
"""Snapshots of machines that go on running while they are saved."""
import re

from amber import (BUILD, Image, Machine, check, compile_manifest, debian_manifest,
                    debian_payloads, needs)


def manifest(ctx, name="pages", memory=64, pages=32):
    return compile_manifest(ctx.folder, name, f"""/dts-v1/;
/ {{ compatible = "amber,guest"; vm-name = "{name}"; memory-mib = <{memory}>;
  boot {{ method = "linux"; kernel = "pages.bz"; command-line = "{pages}"; }};
  devices {{
    serial0 {{ compatible = "amber,ns16550"; index = <0>; }};
  }};
}};
""")


def pages_image(ctx, **more):
    return Image(ctx.folder, manifests=[manifest(ctx, **more)],
                 payloads=[BUILD / "guests/pages.bz"], store_mib=512)


def start(m, name="pages"):
    m.ok(f"vm start {name}", 60)
    m.attach(name)
    m.expect(r"ready\r?\n", 120)
    m.detach()


def quiet(m, name="pages"):
    """The guest compares all of its memory and stands still; returns its pass."""
    m.attach(name)
    m.send("q")
    text = m.expect(r"(.*?)quiet: (\d+) pages, (\d+) bad", 300).group(0)
    torn = re.findall(r"TORN[^\r\n]*", text)
    check(not torn and text.endswith(" 0 bad"), f"{name}: {torn[:3]}")
    m.detach()
    return int(re.search(r"pass (\d+)", text).group(1))


def go_on(m, name="pages"):
    m.attach(name)
    m.send("g")
    m.expect("going on", 60)
    m.detach()


def pass_now(m, name="pages"):
    """Which pass the running guest is at."""
    m.attach(name)
    m.send("p")
    n = int(m.expect(r"pass (\d+)\r", 60).group(1))
    m.detach()
    return n


def test_live_save(ctx):
    """A guest that writes all of its memory meanwhile is saved as it was at one instant."""
    rounds = 8 if ctx.platform.slow == 1 else 3
    with Machine(pages_image(ctx), ctx.platform) as m:
        m.prompt()
        start(m)
        at_least = []
        for n in range(rounds):
            at_least.append(pass_now(m))
            m.ok(f"snapshot save pages live{n}", 300)
        quiet(m)  # what ran on behind the saves' back is whole too
        go_on(m)
        # far from all of them: who is not thrown back is seen
        far = at_least[-1] + 10
        m.until(lambda: pass_now(m) > far, 300, "the guest does not get on")
        for n in ctx.random.sample(range(rounds), rounds):
            m.ok(f"snapshot restore live{n} --yes", 300)
            now = quiet(m)
            check(at_least[n] <= now < far, f"live{n}: pass {now}, {at_least}")
            go_on(m)
            check(quiet(m) >= now, f"live{n} does not go on")
        m.poweroff()


def test_working_set(ctx):
    """What a machine used last is noted at the save, and fetched first by who goes on from it."""
    with Machine(pages_image(ctx, pages=16), ctx.platform) as m:
        m.prompt()
        start(m)
        m.ok("snapshot save pages first", 300)  # large leaves, all of it used: that may say nothing
        m.ok("snapshot restore first --yes", 300)
        quiet(m)
        m.until(lambda: m.ok("vm stats pages")["missing_bytes"] == 0, 300, "RAM is missing")
        check(m.ok("vm stats pages")["page_waits"] > 0, "no access has waited")
        m.ok("snapshot save pages second", 300)
        for name, options in (("live", ""), ("ice", "--poweroff")):
            m.ok(f"snapshot save pages {name} {options}", 300)
            noted = m.ok(f"snapshot info {name}")["working_set_bytes"]
            check(65536 <= noted <= 32 << 20 and noted % 65536 == 0, f"{name}: {noted} bytes")
        for how in ("snapshot restore live --yes", "vm clone ice twin"):
            m.ok(how, 300)
            name = "twin" if "twin" in how else "pages"
            m.until(lambda name=name: f"vm '{name}': its working set is there" in m.cmd("log"), 120,
                    f"{how}: no working set was fetched")
            go_on(m, name)
            quiet(m, name)
        m.poweroff()


@needs("drive bus")
def test_live_high(ctx):
    """The same with memory on both sides of the hole below 4 GiB."""
    with Machine(pages_image(ctx, memory=3072 + 32, pages="16,high"), ctx.platform, mem=8192) as m:
        m.prompt()
        start(m)
        for n in range(3):
            m.ok(f"snapshot save pages high{n}", 300)
        for n, how in ((1, ""), (0, "--eager"), (2, "")):
            m.ok(f"snapshot restore high{n} --yes {how}", 300)
            quiet(m)
        m.poweroff()


def same_contents(before, after):
    """
    Of what is stored, nothing came or went. A leaf of the tree that was split for what has gone
    again may stay split, and two may have become one: so many of its blocks are not counted.
    """
    for key in ("snapshots", "objects", "orphans", "extents", "data_blocks", "shared_blocks"):
        check(before[key] == after[key], f"{key}: was {before}, is {after}")
    check(abs(before["meta_blocks"] - after["meta_blocks"]) <= 2, f"was {before}, is {after}")
    check(before["free_blocks"] + before["meta_blocks"] == after["free_blocks"] + after["meta_blocks"],
          f"blocks are missing: was {before}, is {after}")


def test_live_cancel(ctx):
    """A save that is cancelled leaves guest and store as they were; the next one misses nothing."""
    with Machine(pages_image(ctx), ctx.platform) as m:
        m.prompt()
        start(m)
        m.ok("snapshot save pages base --buffer=64", 120)  # one copy at a time: the guest waits often
        before = m.ok("store check", 120)
        for n in range(3):
            m.send("snapshot save pages lost\r\x03")
            m.expect(r"cancelled", 60)
            m.prompt()
        check([s["name"] for s in m.json("snapshot list")["snapshots"]] == ["base"], "it is there")
        left = m.ok("store check", 120)
        same_contents(before, left)
        m.ok("snapshot save pages next", 120)
        m.ok("snapshot restore next --yes --eager", 120)
        quiet(m)
        m.ok("snapshot restore base --yes", 120)
        quiet(m)
        m.poweroff()


def test_rewind(ctx):
    """Thrown back to its mark again and again, a machine goes on from there, and saves see it."""
    with Machine(pages_image(ctx), ctx.platform) as m:
        m.prompt()
        start(m)
        m.fails("vm rewind pages", "has no mark")
        at = quiet(m)
        m.ok("vm mark pages")
        for n in range(6):
            go_on(m)  # who stands still answers so: a machine that was not thrown back would run
            check(pass_now(m) >= at, "it is behind its mark")
            if n == 3:
                m.ok("snapshot save pages between", 120)  # of what is behind the mark
            if n == 4:
                quiet(m)
            answer = m.ok("vm rewind pages", 60)
            check(answer["pages"] > 0, f"nothing was put back: {answer}")
        m.ok("snapshot save pages after", 120)
        m.ok("vm unmark pages")
        m.fails("vm rewind pages", "has no mark")
        go_on(m)
        quiet(m)
        m.ok("snapshot save pages late", 120)
        for name, stands in (("between", False), ("after", True), ("late", True)):
            m.ok(f"snapshot restore {name} --yes", 120)
            if stands:
                go_on(m)
            quiet(m)
        m.poweroff()


def test_clones(ctx):
    """Machines made of one snapshot share its memory, and none sees what another writes."""
    count = 10 if ctx.platform.slow == 1 else 3
    names = [f"web-{n + 1}" for n in range(count)]
    with Machine(pages_image(ctx, memory=64, pages=16), ctx.platform) as m:
        m.prompt()
        start(m)
        m.ok("snapshot save pages golden --poweroff", 120)
        before = m.ok("host memory")["used_bytes"]
        check(m.ok(f"vm clone golden web --count={count} --paused", 120)["made"] == count, "too few")
        m.until(lambda: m.cmd("log").count("all of its memory is there") >= count, 60, "no memory")
        each = (m.ok("host memory")["used_bytes"] - before - (17 << 20)) / count
        check(each < 1 << 20, f"a clone that has not run takes {each} bytes")
        before = m.ok("host memory")["used_bytes"]
        m.ok("vm clone golden late --paused", 120)  # of the memory that the others have already
        m.until(lambda: "'late': all of its memory is there" in m.cmd("log"), 60, "no memory")
        late = m.ok("host memory")["used_bytes"] - before
        check(late < 1 << 20, f"a later clone takes {late} bytes")
        m.ok("vm destroy late --yes")
        m.fails("vm clone golden web --count=2", "vm 'web-1' exists already")
        for name in names:
            m.ok(f"vm resume {name}")
        for name in names:
            quiet(m, name)
        m.ok(f"snapshot save {names[0]} other", 120)  # what it does not share is all that is new
        m.ok("snapshot delete golden --yes")  # they do not need it any more
        for name in names:
            go_on(m, name)
            quiet(m, name)
            m.ok(f"vm destroy {name} --yes")
        m.ok("snapshot restore other --yes", 120)
        go_on(m, names[0])
        quiet(m, names[0])
        m.ok(f"vm destroy {names[0]} --yes")
        after = m.ok("host memory")["used_bytes"]
        check(after <= before + (1 << 20), f"{after - before} bytes were not given back")
        m.poweroff()


@needs("drive bus")
def test_no_memory(ctx):
    """Clones that want more memory than there is are paused, and go on when there is some."""
    with Machine(pages_image(ctx, memory=256, pages=128), ctx.platform) as m:
        m.prompt()
        start(m)
        m.ok("snapshot save pages golden --poweroff", 300)
        m.ok("vm clone golden web --count=10", 120)
        names = [f"web-{n + 1}" for n in range(10)]

        def states():
            return {n: m.vm(n) for n in names}

        m.until(lambda: any(v["state"] == "paused" for v in states().values()), 120,
                "there is memory enough")
        m.until(lambda: all(v["state"] == "paused" for v in states().values()), 120,
                "some need no more")  # each of them wants to write all that it has
        check(all(v["disposition"] == "no-memory" for v in states().values()), states())
        for name in names[2:]:
            m.ok(f"vm destroy {name} --yes")
        for name in names[:2]:
            m.ok(f"vm resume {name}")
        for name in names[:2]:
            quiet(m, name)
            check(m.vm(name)["disposition"] == "none", m.vm(name))
        m.poweroff()


class Generation:
    """Attached to a Debian guest: its generation ID, what the kernel made of it, random numbers."""

    def __init__(self, m):
        m.send("\r")
        m.expect("debian# ", 60)
        m.shell("usleep 500000")  # the kernel hears of it by an interrupt and a work queue
        # 16 bytes at 0xff100, where hv/core/memmap.h has them
        self.id = m.shell("dd if=/dev/mem bs=16 skip=65296 count=1 2>/dev/null | md5sum")
        self.forks = int(m.shell("dmesg | grep -c 'reseeded due to virtual machine fork'"))
        self.random = m.shell("head -c 16 /dev/urandom | md5sum")


def generation(m, name="debian"):
    m.attach(name)
    g = Generation(m)
    m.detach()
    return g


@needs("drive bus")  # QEMU only: an interpreter takes minutes
def test_generation(ctx):
    """A guest restored twice, or cloned, draws other random numbers; a frozen one just goes on."""
    image = Image(ctx.folder, payloads=debian_payloads(), manifests=[
        debian_manifest(ctx.folder, vcpus=1, memory=128, disk=None, clock=False)])
    with Machine(image, ctx.platform) as m:
        m.prompt()
        m.guest_ready("debian")
        bound = m.shell("ls /sys/bus/acpi/drivers/vmgenid")
        check("AMBR0001:00" in bound, f"no driver for the generation ID: {bound!r}")
        m.detach()
        seen = [generation(m)]
        check(seen[0].forks == 0, "the kernel hears of a fork where there was none")
        m.ok("snapshot save debian live", 300)
        for _ in range(2):
            m.ok("snapshot restore live --yes", 300)
            seen.append(generation(m))
            check(seen[-1].forks == 1, f"restored: {seen[-1].forks} forks in the kernel's log")
        # frozen: the same machine goes on, once
        m.ok("snapshot save debian ice --poweroff", 300)
        m.ok("snapshot restore ice --yes", 300)
        on = generation(m)
        check((on.id, on.forks) == (seen[-1].id, 1), f"a frozen machine is another: {vars(on)}")
        m.ok("snapshot restore ice --yes", 300)
        seen.append(generation(m))
        check(seen[-1].forks == 2, "restored a second time, and the kernel does not know")
        # frozen and cloned: neither goes on as the one that it was
        m.ok("snapshot save debian glass --poweroff", 300)
        m.ok("vm clone glass twin", 300)
        seen.append(generation(m, "twin"))
        m.ok("snapshot restore glass --yes", 300)
        seen.append(generation(m))
        check([g.forks for g in seen[-2:]] == [3, 3], f"cloned: {[vars(g) for g in seen[-2:]]}")
        # a reset is none
        m.ok("vm reset debian", 60)
        m.guest_ready("debian")
        m.detach()
        again = generation(m)
        check((again.id, again.forks) == (seen[-1].id, 0), "a reset changed the generation")
        for what in ("id", "random"):
            values = [getattr(g, what) for g in seen]
            check(len(set(values)) == len(values), f"twice the same {what}: {values}")
        m.poweroff()
