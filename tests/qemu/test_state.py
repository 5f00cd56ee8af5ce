# SPDX-License-Identifier: BSD-2-Clause
"""A guest that knows what is in its CPU finds all of it there after a restore."""
import re

from amber import BUILD, PLATFORMS, Image, Machine, check, compile_manifest, needs

# machine: CPU model, and the number that its values are made of
GUESTS = {"v3": ("x86-64-v3", 2), "v2": ("x86-64-v2", 3), "other0": ("x86-64-v2", 4),
          "other1": ("x86-64-v2", 5)}


def manifest(ctx, name):
    model, number = GUESTS[name]
    return compile_manifest(ctx.folder, name, f"""/dts-v1/;
/ {{ compatible = "amber,guest"; vm-name = "{name}"; memory-mib = <16>; cpu-model = "{model}";
  cpus {{ count = <2>; }};
  boot {{ method = "linux"; kernel = "state.bz"; command-line = "{number}"; }};
  devices {{ serial0 {{ compatible = "amber,ns16550"; index = <0>; }}; }}; }};
""")


def state_image(ctx, name="amber.img"):
    return Image(ctx.folder, name, manifests=[manifest(ctx, guest) for guest in GUESTS],
                 payloads=[BUILD / "guests/state.bz"], store_mib=128)


def start(m, name):
    """Starts one and waits until it spins; False if this CPU lacks what its model needs."""
    answer = m.json(f"vm start {name}")
    if not answer["ok"]:  # at boot its manifest was refused
        check(f"vm '{name}': needs " in m.cmd("log") and "which this CPU lacks" in m.cmd("log"),
              str(answer))
        return False
    m.attach(name)
    m.expect(r"ready\r?\n", 60)
    m.detach()
    return True


def release(m, name, word):
    """A byte, and the verdict."""
    m.attach(name)
    m.send("g")
    text = m.expect(rf"(.*?){word}: (\d+) ok, (\d+) bad", 60).group(0)
    found = re.findall(r"BAD [^\r\n]*", text)
    check(not found and text.endswith(" 0 bad"), f"{name}, {word}: {'; '.join(found)}")


def save(m, name):
    m.ok(f"snapshot save {name} {name} --poweroff", 60)


def restore(m, name):
    m.ok(f"snapshot restore {name} --yes", 60)
    m.ok(f"snapshot delete {name} --yes", 60)


def poison(m):
    """Other values into every CPU: two machines that spin, one for each."""
    for name in ("other0", "other1"):
        check(start(m, name), f"{name} does not start")


def halted(m, name):
    """Released: the machine goes on to HLT."""
    release(m, name, "state")
    m.expect(r"halted\r?\n", 60)
    m.detach()


def finish(m, name):
    release(m, name, "woken")
    m.detach()


def test_state(ctx):
    """Registers, MSRs, vectors, interrupts, NMIs, timer, waiting CPU survive others' use of the CPU."""
    with Machine(state_image(ctx), ctx.platform) as m:
        m.prompt()
        saved = [name for name in ("v3", "v2") if start(m, name)]
        for name in saved:
            save(m, name)
        poison(m)
        for name in saved:
            restore(m, name)
            halted(m, name)
            save(m, name)
        for name in ("other0", "other1"):
            halted(m, name)
        for name in saved:
            restore(m, name)
            finish(m, name)
        for name in ("other0", "other1"):
            finish(m, name)
        m.poweroff()


@needs("real time")
def test_state_crowded(ctx):
    """Saved and restored again and again while the others spin: no CPU forgets its timer."""
    with Machine(state_image(ctx), ctx.platform) as m:
        m.prompt()
        saved = [name for name in ("v3", "v2") if start(m, name)]
        for name in saved:
            save(m, name)
        poison(m)
        for _ in range(8):
            for name in saved:
                restore(m, name)
            for name in saved:
                save(m, name)
        for name in saved:
            restore(m, name)
            halted(m, name)
            finish(m, name)
        m.poweroff()


def test_state_live(ctx):
    """The same for a machine that is only saved, and for one that is paused meanwhile."""
    with Machine(state_image(ctx), ctx.platform) as m:
        m.prompt()
        check(start(m, "v2"), "v2 does not start")
        m.ok("snapshot save v2 live", 60)
        m.ok("vm pause v2")
        poison(m)
        m.ok("vm resume v2")
        halted(m, "v2")
        finish(m, "v2")
        m.ok("snapshot restore live --yes", 60)
        halted(m, "v2")
        finish(m, "v2")
        m.poweroff()


def leg(image, platform, name, at_first, then_halted):
    """One machine on one platform: restored (or begun) there, left there frozen."""
    with Machine(image, platform) as m:
        m.prompt()
        if at_first:
            check(start(m, name), f"{name} does not start")
        else:
            poison(m)
            restore(m, name)
        if then_halted:
            halted(m, name)
        save(m, name)
        m.poweroff()


# Between which the journeys go: each pair of platforms once.
OTHERS = {"bochs-svm": ("qemu-svm",), "bochs-vmx": ("qemu-svm", "bochs-svm")}


@needs("elsewhere")
def test_state_journey(ctx):
    """The same to other platforms and back: a spinning machine one way, a halted one the other."""
    for other in OTHERS[ctx.platform.name]:
        image = state_image(ctx, f"{other}.img")
        for there, back in ((PLATFORMS[other], ctx.platform), (ctx.platform, PLATFORMS[other])):
            leg(image, there, "v2", True, False)
            leg(image, back, "v2", False, True)
            with Machine(image, there) as m:
                m.prompt()
                poison(m)
                restore(m, "v2")
                finish(m, "v2")
                m.poweroff()
