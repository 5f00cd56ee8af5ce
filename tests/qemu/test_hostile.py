# SPDX-License-Identifier: BSD-2-Clause
"""A guest can hurt only itself (I4)."""
import time

from amber import BUILD, Image, Machine, check, compile_manifest, debian_manifest, debian_payloads

# what the guest does, and how its machine is found afterwards
ENDS = {
    "triple-fault": ("stopped", "triple-fault"),
    "halt": ("stopped", "halt"),
    "garbage": None,
    "port-storm": ("running", "none"),
    "msr-storm": ("running", "none"),
    "mmio-storm": ("running", "none"),
    "reserved-storm": ("running", "none"),
    "device-tables": ("stopped", "halt"),
}
# whom the last one asks for what they do not have, one access in a round each
ASKED = ["acpi-pm", "i8254", "ioapic", "mc146818", "serial0"]


def hostile_manifest(ctx, way):
    return compile_manifest(ctx.folder, way, f"""/dts-v1/;
/ {{ compatible = "amber,guest"; vm-name = "{way}"; memory-mib = <32>; cpus {{ count = <1>; }};
  boot {{ method = "linux"; kernel = "hostile.bz"; command-line = "{way}"; }};
  devices {{ serial0 {{ compatible = "amber,ns16550"; index = <0>; }}; }}; }};
""")


def at_work(m, way, end):
    """It has come to its end, or has done enough of what it does for ever."""
    if m.vm(way)["state"] == "stopped":
        return True
    exits = sum(c["exits"] for c in m.json(f"vm stats {way}")["vcpus"])
    return end != "stopped" and exits >= 20000


def check_counted(m, way):
    """What devices do not have is counted, by device; and what nobody has."""
    stats = m.json(f"vm stats {way}")
    counts = stats["unhandled_by_device"]
    check(sorted(counts) == ASKED, f"{way}: asked were {counts}")
    check(min(counts.values()) >= max(counts.values()) - 1 > 1000, f"{way}: {counts}")
    elsewhere = stats["unhandled_io"] - sum(counts.values())
    check(abs(elsewhere - counts["ioapic"]) <= 1, f"{way}: {elsewhere} elsewhere, {counts}")


def test_hostile(ctx):
    """Triple faults, garbage and storms stop or occupy that guest alone."""
    manifests = [debian_manifest(ctx.folder, memory=128, disk=None, clock=False)]
    manifests += [hostile_manifest(ctx, w) for w in ENDS]
    image = Image(ctx.folder, manifests=manifests,
                  payloads=debian_payloads() + [BUILD / "guests/hostile.bz"])
    with Machine(image, ctx.platform) as m:
        m.prompt()
        m.guest_ready("debian")
        m.detach()
        for way, end in ENDS.items():
            m.ok(f"vm start {way}")
            m.until(lambda: at_work(m, way, end and end[0]), 20, f"{way} does not do its work")
            start = time.monotonic()
            v = m.vm(way)
            check(time.monotonic() - start < 20 * m.platform.slow, f"{way}: the console does not answer")
            if end:
                check((v["state"], v["disposition"]) == end, f"{way}: {v}")
            else:
                check(v["state"] in ("running", "stopped"), f"{way}: {v}")
            if way == "reserved-storm":
                m.ok(f"vm pause {way}")
                check_counted(m, way)
            m.attach("debian")
            check(m.shell("echo $((6 * 7))") == "42", f"{way}: the other guest noticed")
            m.detach()
            m.ok(f"vm destroy {way} --yes")
        m.poweroff()
