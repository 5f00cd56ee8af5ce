# SPDX-License-Identifier: BSD-2-Clause
"""CPU models, and the TSC as a part of the machine."""
import time

from amber import Image, Machine, check, debian_manifest, debian_payloads, needs


def one_guest(ctx, extra):
    manifest = debian_manifest(ctx.folder, autostart=False, disk=None, clock=False, extra=extra)
    return Image(ctx.folder, manifests=[manifest], payloads=debian_payloads())


def test_portable_model(ctx):
    """A guest sees the named portable model, not the host: vendor, address bits, features."""
    image = one_guest(ctx, 'cpu-model = "x86-64-v3";')
    with Machine(image, ctx.platform) as m:
        m.prompt()
        m.ok("vm start debian")
        m.guest_ready("debian")
        info = m.shell("grep -m4 -E 'vendor_id|model name|address sizes|flags' /proc/cpuinfo")
        for word in ("AuthenticAMD", "Amber virtual CPU, x86-64-v3", "39 bits physical", " avx2 "):
            check(word in info, f"{word} is not in /proc/cpuinfo: {info}")
        for word in (" svm", " smap", " umip", " sse4a", " vme", " pcid", " xsavec"):
            check(word not in info, f"{word} is in /proc/cpuinfo")
        m.detach()


@needs("real time")
def test_tsc_rate(ctx):
    """A guest with a TSC rate of its own keeps right time, and keeps its rate over a restore."""
    khz = 1000000
    image = one_guest(ctx, f"tsc-khz = <{khz}>;")
    with Machine(image, ctx.platform) as m:
        m.prompt()
        m.ok("vm start debian")
        m.guest_ready("debian")
        dmesg = m.shell("dmesg | grep -i 'tsc: Detected'")
        check("1000.000 MHz" in dmesg, f"the guest measured another rate: {dmesg}")
        keeps_time(m)
        m.detach()
        m.ok("snapshot save debian rate", 300)
        m.ok("snapshot restore rate --yes", 300)
        check(m.ok("vm info debian")["tsc_hz"] == khz * 1000, "the restore changed the rate")
        m.attach("debian")
        m.send("\r")
        keeps_time(m)
        m.detach()


def test_topology(ctx):
    """Two sockets of three cores: the kernel counts them so, and each is reached, restored too."""
    manifest = debian_manifest(ctx.folder, vcpus="6>; sockets = <2", autostart=False, disk=None, clock=False)
    with Machine(Image(ctx.folder, manifests=[manifest], payloads=debian_payloads()), ctx.platform) as m:
        m.prompt()
        m.ok("vm start debian")
        m.guest_ready("debian")
        has_two_of_three(m)
        m.detach()
        m.ok("snapshot save debian six", 300)
        m.ok("snapshot restore six --yes", 300)
        m.attach("debian")
        m.send("\r")
        has_two_of_three(m)
        m.detach()


def has_two_of_three(m):
    columns = {name: m.shell(f"grep '^{name}[[:space:]]*:' /proc/cpuinfo | cut -d: -f2 | tr -d '\\n'").split()
               for name in ("apicid", "physical id", "core id")}
    check(columns == {"apicid": ["0", "1", "2", "4", "5", "6"], "physical id": ["0"] * 3 + ["1"] * 3,
                      "core id": ["0", "1", "2"] * 2}, f"/proc/cpuinfo: {columns}")
    ran = m.shell("for i in 0 1 2 3 4 5; do taskset -c $i true && echo $i; done | tr -d '\\n'")
    check(ran == "012345", f"CPUs that run a program: {ran}")
    check(m.shell("dmesg | grep -ciE 'firmware bug|BIOS bug|topology'") == "0", "the kernel complains")


def test_missing_feature(ctx):
    """A snapshot that needs more than the host has is refused by the feature's name."""
    image = one_guest(ctx, 'cpu-model = "x86-64-v3";')
    with Machine(image, ctx.platform) as m:
        m.prompt()
        m.ok("vm start debian")
        m.guest_ready("debian")
        m.detach()
        m.ok("snapshot save debian s1 --poweroff", 300)
        m.poweroff()
    lacks, weaker = ctx.platform.weaker
    with Machine(image, ctx.platform, extra=["--cpu", weaker]) as m:
        m.prompt()
        m.fails("snapshot restore s1",
                rf"snapshot 's1' needs {lacks} \(x86-64-v3\), which this CPU lacks", 120)
        log = m.cmd("log")
        check(f"needs {lacks} (x86-64-v3), which this CPU lacks" in log,
              "the manifest was not refused")
        m.poweroff()


def keeps_time(m):
    """Five seconds here are five there, give or take the way to the shell and back."""
    begin, first = time.monotonic(), float(m.shell("cat /proc/uptime").split()[0])
    time.sleep(5)
    last, end = float(m.shell("cat /proc/uptime").split()[0]), time.monotonic()
    check(4.5 <= last - first <= end - begin + 0.5,
          f"{last - first:.2f} s in the guest were {end - begin:.2f} s")
