# SPDX-License-Identifier: BSD-2-Clause
"""Snapshots of machines that go on running while they are saved."""
import re

from amber import (BUILD, Image, Machine, check, compile_manifest, debian_manifest,
                   debian_payloads)


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


def test_live_save(ctx):
    """A guest that writes all of its memory meanwhile is saved as it was at one instant."""
    rounds = 8 if ctx.platform.slow == 1 else 3
    with Machine(pages_image(ctx), ctx.platform) as m:
        m.prompt()
        start(m)
        for n in range(rounds):
            m.ok(f"snapshot save pages live{n}", 300)
        after = quiet(m)  # what ran on behind the saves' back is whole too
        passes = []
        for n in ctx.random.sample(range(rounds), rounds):
            m.ok(f"snapshot restore live{n} --yes", 300)
            passes.append((n, quiet(m)))
            go_on(m)
            check(quiet(m) >= passes[-1][1], f"live{n} does not go on")
        order = [p for _, p in sorted(passes)]
        check(order == sorted(order) and order[-1] <= after, f"passes {order}, then {after}")
        m.poweroff()


def test_rewind(ctx):
    """Thrown back to its mark again and again, a machine goes on from there, and saves see it."""
    with Machine(pages_image(ctx), ctx.platform) as m:
        m.prompt()
        start(m)
        m.fails("vm rewind pages", "has no mark")
        m.ok("vm mark pages")
        passes = []
        for n in range(6):
            passes.append(quiet(m))
            if n == 3:
                m.ok("snapshot save pages between", 120)  # of what is behind the mark
            if n == 4:
                go_on(m)
            answer = m.ok("vm rewind pages", 60)
            check(answer["pages"] > 0, f"nothing was put back: {answer}")
        # time is thrown back too: the guest does about the same each time
        check(max(passes) - min(passes) <= max(passes), f"passes {passes}")
        m.ok("snapshot save pages after", 120)
        m.ok("vm unmark pages")
        m.fails("vm rewind pages", "has no mark")
        at = quiet(m)
        m.ok("snapshot save pages late", 120)
        for name in ("between", "after", "late"):
            m.ok(f"snapshot restore {name} --yes", 120)
            if name == "after":
                check(quiet(m) <= at, "what was saved after going back is ahead of it")
            else:
                go_on(m)
                quiet(m)
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
