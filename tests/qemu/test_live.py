# SPDX-License-Identifier: BSD-2-Clause
"""Snapshots of machines that go on running while they are saved."""
import re

from amber import BUILD, Image, Machine, check, compile_manifest


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
