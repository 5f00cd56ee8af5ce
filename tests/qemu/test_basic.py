# SPDX-License-Identifier: BSD-2-Clause
"""Booting, the console, and the life of guests."""
import re
import time

from amber import (Failure, Image, Machine, check, compile_manifest, debian_manifest,
                   debian_payloads, needs)


def debian_image(ctx):
    disk = "debian-disk" if ctx.platform.has("disk") else None
    return Image(ctx.folder, manifests=[debian_manifest(ctx.folder, disk=disk)],
                 payloads=debian_payloads(), disks=["debian-disk:64"])


def test_boot(ctx):
    """The demonstration guest boots by itself to a shell on two vCPUs, with no firmware complaint."""
    image = debian_image(ctx)
    with Machine(image, ctx.platform) as m:
        m.prompt()
        check(m.vm("debian")["state"] == "running", "debian was not started")
        m.guest_ready("debian")
        check(m.shell("nproc") == "2", "the guest does not see two CPUs")
        check("clocksource: Switched to clocksource kvm-clock" in m.shell("dmesg"),
              "the guest does not use the paravirtual clock")
        bad = m.shell(r"dmesg | grep -iE 'firmware bug|acpi (error|warning)|bios error|unchecked MSR|"
                      r"spurious|call trace'")
        check(bad == "", f"the guest's kernel complains: {bad}")
        check(not ctx.platform.has("disk") or "vda" in m.shell("cat /proc/partitions"),
              "no virtio disk in the guest")
        m.detach()
        m.poweroff()


def test_one_cpu_host(ctx):
    """Two vCPUs share one physical CPU and the console still answers."""
    image = debian_image(ctx)
    with Machine(image, ctx.platform, smp=1) as m:
        m.prompt()
        m.guest_ready("debian")
        check(m.shell("nproc") == "2", "the guest does not see two CPUs")
        m.detach()
        check(m.ok("host info")["ok"], "host info")


def test_console(ctx):
    """Help, JSON and errors follow the stable grammar."""
    image = Image(ctx.folder, manifests=[debian_manifest(ctx.folder, autostart=False, disk=None)],
                  payloads=debian_payloads())
    with Machine(image, ctx.platform) as m:
        m.prompt()
        text = m.cmd("help")
        for word in ("version", "host info", "vm list", "vm console", "snapshot save", "log"):
            check(word in text, f"help does not name {word}")
        for line in ("version", "host info", "host cpus", "host memory", "vm list", "log", "help"):
            m.ok(line)
        if ctx.platform.has("disk"):
            m.ok("snapshot list")
        check(m.cmd("vm info nosuch").startswith("error: "), "an error does not begin with error:")
        m.fails("vm info nosuch", "nosuch")
        m.fails("nonsense", "nonsense")
        v = m.vm("debian")
        check(v == dict(v, state="stopped", vcpus=2, memory_mib=256), f"vm list: {v}")
        m.fails("vm destroy debian", "yes")
        m.ok("vm destroy debian --yes")
        check(m.ok("vm list")["vms"] == [], "the VM is still there")
        m.poweroff()


def test_lifecycle(ctx):
    """Pause, resume, reset, power off and start do what they say."""
    image = debian_image(ctx)
    with Machine(image, ctx.platform) as m:
        m.prompt()
        m.guest_ready("debian")
        m.shell("touch /tmp/marker")
        nmis = m.shell("grep NMI: /proc/interrupts").split()[1:3]
        m.detach()
        m.ok("vm nmi debian")
        m.attach("debian")
        after = m.shell("grep NMI: /proc/interrupts").split()[1:3]
        # Linux masks LINT1 of all CPUs but the first
        check([int(nmis[0]) + 1, int(nmis[1])] == [int(n) for n in after],
              f"one NMI for the first CPU: {nmis}, {after}")
        m.detach()
        m.ok("vm pause debian")
        m.fails("vm nmi debian", "is paused")
        m.fails("vm shutdown debian", "is paused")
        check(m.vm("debian")["state"] == "paused", "not paused")
        m.fails("vm pause debian", "paused")
        m.ok("vm resume debian")
        m.attach("debian")
        check(m.shell("ls /tmp/marker") == "/tmp/marker", "the guest lost its memory")
        m.detach()
        m.ok("vm reset debian")
        m.guest_ready("debian")
        check("No such file" in m.shell("ls /tmp/marker"), "the reset did not reset")
        m.send("poweroff -f\r")
        m.detach()
        for _ in range(60):
            v = m.vm("debian")
            if v["state"] == "stopped":
                break
            time.sleep(0.5)
        check((v["state"], v["disposition"]) == ("stopped", "poweroff"), f"after poweroff: {v}")
        m.ok("vm start debian")
        m.guest_ready("debian")
        m.send("reboot -f\r")
        m.expect("guest ready", 300)
        m.detach()
        check(m.vm("debian")["disposition"] == "reset", "the reset by the guest is not told")
        m.fails("host poweroff", "yes")
        m.poweroff()


@needs("disk")
def test_disk(ctx):
    """What the guest writes to its disk is there after a power cycle."""
    image = debian_image(ctx)
    with Machine(image, ctx.platform) as m:
        m.prompt()
        m.guest_ready("debian")
        m.shell("dd if=/dev/urandom of=/mnt/blob bs=1M count=8 2>/dev/null", 120)
        before = m.shell("md5sum /mnt/blob")
        m.shell("sync; umount /mnt")
        m.detach()
        m.poweroff()
    with Machine(image, ctx.platform) as m:
        m.prompt()
        m.guest_ready("debian")
        check(m.shell("md5sum /mnt/blob") == before, "the file on the disk changed")
        m.detach()
        m.poweroff()


@needs("drive bus")
def test_virtio_host_disk(ctx):
    """The same with the host's disk on virtio-blk instead of AHCI."""
    image = debian_image(ctx)
    with Machine(image, ctx.platform, extra=["--drive-bus", "virtio"]) as m:
        m.prompt()
        m.guest_ready("debian")
        m.shell("echo kept > /mnt/file; sync")
        m.detach()
        m.poweroff()


@needs("drive bus")
def test_ide_host_disk(ctx):
    """The host's disk on IDE: a guest's disk, and a snapshot across a power cycle."""
    image = debian_image(ctx)
    extra = ["--drive-bus", "ide"]
    with Machine(image, ctx.platform, extra=extra) as m:
        m.prompt()
        m.guest_ready("debian")
        m.shell("dd if=/dev/urandom of=/mnt/blob bs=1M count=8 2>/dev/null; sync", 120)
        before = m.shell("md5sum /mnt/blob")
        m.detach()
        m.ok("snapshot save debian s1 --poweroff", 300)
        m.poweroff()
    with Machine(image, ctx.platform, extra=extra) as m:
        m.prompt()
        m.ok("snapshot verify s1", 300)
        m.ok("snapshot restore s1 --yes", 300)
        m.attach("debian")
        m.send("\r")
        m.expect("debian# ", 60)
        m.shell("echo 3 > /proc/sys/vm/drop_caches")
        check(m.shell("md5sum /mnt/blob", 120) == before, "the file on the disk changed")
        m.detach()
        m.poweroff()


def test_three_guests(ctx):
    """Three guests run at once on two CPUs."""
    names = ["one", "two", "three"]
    manifests = [debian_manifest(ctx.folder, name=n, memory=128, disk=None, clock=False)
                 for n in names]
    image = Image(ctx.folder, manifests=manifests, payloads=debian_payloads())
    with Machine(image, ctx.platform) as m:
        m.prompt()
        for n in names:
            m.guest_ready(n)
            check(m.shell("echo $((6 * 7))") == "42", f"{n} does not compute")
            m.detach()
        m.poweroff()


BAD = {
    "unknown-property": ('memory-mib = <64>; colour = "red";', r"/: .*colour"),
    "bad-memory": ("memory-mib = <3>;", r"memory-mib"),
    "missing-payload": ('memory-mib = <64>; boot { method = "linux"; kernel = "nosuch"; };',
                        "nosuch"),
    "two-in-a-slot": ('memory-mib = <64>; devices { a { compatible = "amber,virtio-console"; '
                      'slot = <4>; }; b { compatible = "amber,virtio-console"; slot = <4>; }; };',
                      "slot"),
    "no-backend": ('memory-mib = <64>; devices { d { compatible = "amber,virtio-blk"; slot = <4>; '
                   'backend = "nosuch-disk"; }; };', "nosuch-disk"),
}


def test_bad_manifests(ctx):
    """A wrong manifest is refused with path and reason; the other guests still start."""
    manifests = [debian_manifest(ctx.folder, name="good", memory=128, disk=None, clock=False)]
    for name, (body, _) in BAD.items():
        boot = "" if "boot {" in body else 'boot { method = "none"; };'
        props, _, nodes = body.partition("boot {") if "boot {" in body else body.partition("devices {")
        nodes = body[len(props):]
        manifests.append(compile_manifest(ctx.folder, name, f"""/dts-v1/;
/ {{ compatible = "amber,guest"; vm-name = "{name}"; {props} cpus {{ count = <1>; }}; {boot} {nodes} }};
"""))
    garbage = ctx.folder / "garbage.dtb"
    garbage.write_bytes(bytes(range(200)))
    image = Image(ctx.folder, manifests=manifests + [garbage], payloads=debian_payloads())
    with Machine(image, ctx.platform) as m:
        m.expect("amber> ", 60)
        text = m.transcript
        for name, (_, pattern) in BAD.items():
            if not re.search(name + r"[^\n]*" + pattern, text):
                raise Failure(f"no complaint about {name} matching {pattern!r} in: {text[-3000:]}")
        check(re.search(r"garbage\.dtb", text), "no complaint about garbage.dtb")
        m.guest_ready("good")
        m.detach()
        m.poweroff()
