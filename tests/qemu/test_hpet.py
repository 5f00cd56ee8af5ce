# SPDX-License-Identifier: BSD-2-Clause
"""The HPET as operating systems use it."""
import re

from amber import (BUILD, Image, Machine, check, compile_manifest, debian_manifest,
                   debian_payloads, needs)

TIMERS = 'timers { compatible = "amber,hpet"; };'
SOURCE = "/sys/devices/system/clocksource/clocksource0"
SECONDS = 5


def clocks(m):
    """The kernel's time since its boot, in seconds; the RTC's; timer interrupts so far."""
    text = m.shell("cat /proc/uptime /sys/class/rtc/rtc0/since_epoch; grep -w timer /proc/interrupts")
    found = re.match(r"([\d.]+) .*\s(\d+)\s+0:\s+(\d+)", text, re.S)
    check(found, f"no clocks: {text}")
    return float(found[1]), int(found[2]), int(found[3])


def keeps_time(m):
    """The kernel's clock against the RTC, which counts whole seconds of the host's."""
    check(m.shell(f"cat {SOURCE}/current_clocksource") == "hpet", "the clock is not the HPET")
    begin = clocks(m)
    m.shell(f"sleep {SECONDS}", 120)
    end = clocks(m)
    kernel, rtc, interrupts = (b - a for a, b in zip(begin, end))
    check(kernel >= SECONDS, f"sleep took {kernel:.2f} s")
    check(abs(kernel - rtc) <= 1.5, f"{kernel:.2f} s by the HPET are {rtc} s by the RTC")
    check(interrupts >= SECONDS, f"{interrupts} interrupts of the timer in {kernel:.2f} s")
    return end


@needs("disk")
def test_hpet(ctx):
    """A guest without local APIC lives by the HPET's interrupts and time, also after a restore."""
    # its timer 0 in place of the 8254, through the 8259: there is no other interrupt for time
    manifest = debian_manifest(ctx.folder, vcpus=1, disk=None, clock=False, devices=TIMERS,
                               cmdline="console=ttyS0 quiet nolapic")
    with Machine(Image(ctx.folder, manifests=[manifest], payloads=debian_payloads()),
                 ctx.platform) as m:
        m.prompt()
        m.guest_ready("debian")
        check("hpet" in m.shell(f"cat {SOURCE}/available_clocksource").split(), "no clocksource")
        check("hpet" in m.shell("grep 'Clock Event Device' /proc/timer_list"), "no clock events")
        check("8 comparators, 64-bit 100.000000 MHz" in m.shell("dmesg | grep hpet0"), "hpet0")
        m.shell(f"echo hpet > {SOURCE}/current_clocksource")
        before = keeps_time(m)
        m.detach()
        m.ok("snapshot save debian timers --poweroff", 120)
        m.ok("snapshot restore timers --yes", 120)
        m.attach("debian")
        after = clocks(m)
        check(0 <= after[0] - before[0] < 4 * SECONDS, f"from {before[0]} to {after[0]} s: a jump")
        keeps_time(m)
        m.detach()
        m.poweroff()


def rounds(m, numbers):
    """The guest looks at its clocks and timers as often as that."""
    m.attach("hpet")
    for number in numbers:
        m.send("g")
        text = m.expect(rf"(.*?)round {number}: \d+ ok, \d+ bad", 120).group(0)
        bad = re.findall(r"BAD [^\r\n]*", text)
        check(not bad and text.endswith(" 0 bad"), f"round {number}: {'; '.join(bad) or text}")
    m.detach()


@needs("disk")
def test_hpet_timers(ctx):
    """Timers by legacy route, edge, level and message, against PM timer and TSC, over saves."""
    manifest = compile_manifest(ctx.folder, "hpet", f"""/dts-v1/;
/ {{ compatible = "amber,guest"; vm-name = "hpet"; memory-mib = <16>;
  boot {{ method = "linux"; kernel = "hpet.bz"; }};
  devices {{ serial0 {{ compatible = "amber,ns16550"; index = <0>; }}; {TIMERS} }}; }};
""")
    image = Image(ctx.folder, manifests=[manifest], payloads=[BUILD / "guests/hpet.bz"],
                  store_mib=128)
    with Machine(image, ctx.platform) as m:
        m.prompt()
        m.ok("vm start hpet")
        m.attach("hpet")
        m.expect(r"capabilities 0x9896808086a701\r?\nready\r?\n", 60)
        m.detach()
        rounds(m, (1, 2))
        m.ok("vm pause hpet")
        m.ok("vm resume hpet")
        rounds(m, (3,))
        m.ok("vm mark hpet")
        rounds(m, (4, 5))
        m.ok("vm rewind hpet")
        rounds(m, (4,))
        m.ok("vm rewind hpet")
        m.ok("snapshot save hpet live", 60)
        rounds(m, (4,))
        m.ok("snapshot save hpet frozen --poweroff", 60)
        m.ok("snapshot restore frozen --yes", 60)
        rounds(m, (5, 6))
        m.ok("snapshot restore live --yes", 60)
        rounds(m, (4,))
        m.ok("snapshot save hpet frozen --poweroff --replace", 60)
        m.poweroff()
    with Machine(image, ctx.platform) as m:  # the host has another uptime
        m.prompt()
        m.ok("snapshot restore frozen --yes", 60)
        rounds(m, (5, 6))
        m.poweroff()
