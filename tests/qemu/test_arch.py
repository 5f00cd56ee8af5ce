# SPDX-License-Identifier: BSD-2-Clause
"""The virtual CPU and what surrounds it against the manuals, from inside small kernels."""
import re

from amber import ANSI, BUILD, Image, Machine, check, compile_manifest

# Checks that fail for the sake of the emulator below Amber: kernel, check, platforms, reason.
# One that passes there in spite of it is a failure too.
KNOWN = ()


def known(kernel, platform):
    return {name: reason for k, name, platforms, reason in KNOWN
            if k == kernel and platform in platforms}


def kernel_says(ctx, kernel, cpus, devices=""):
    """Runs it to its end; returns what it printed."""
    manifest = compile_manifest(ctx.folder, kernel, f"""/dts-v1/;
/ {{ compatible = "amber,guest"; vm-name = "{kernel}"; memory-mib = <32>;
  cpus {{ count = <{cpus}>; }};
  boot {{ method = "multiboot"; kernel = "arch_{kernel}.elf"; }};
  devices {{ serial0 {{ compatible = "amber,ns16550"; index = <0>; }};
    exit0 {{ compatible = "amber,debug-exit"; }}; test0 {{ compatible = "amber,testdev"; }};
    {devices} }}; }};
""")
    image = Image(ctx.folder, manifests=[manifest],
                  payloads=[BUILD / f"guests/arch_{kernel}.elf"], store_mib=64)
    with Machine(image, ctx.platform) as m:
        m.prompt()
        m.ok(f"vm start {kernel}")
        m.attach(kernel)
        text = m.expect(r"(.*?)end: \d+ ok, \d+ failed\r", 60).group(0)
        m.detach()
        m.until(lambda: m.vm(kernel)["state"] == "stopped", 20, f"{kernel} does not end")
        v = m.vm(kernel)
        failures = int(re.search(r"(\d+) failed", text).group(1))
        check((v["disposition"], v["exit_code"]) == ("debug-exit", failures), f"{kernel}: {v}")
        m.poweroff()
    return ANSI.sub("", text).replace("\r", "")


def holds(ctx, kernel, cpus=1, devices=""):
    """Every check of the kernel is made, and passes, but for those that are known and shown."""
    text = kernel_says(ctx, kernel, cpus, devices)
    failed = dict(re.findall(r"^FAIL (.*?): (.*)$", text, re.M))
    reasons = known(kernel, ctx.platform.name)
    for name, reason in reasons.items():
        print(f"  {kernel}: '{name}' cannot be held on {ctx.platform.name}: {reason}")
    wrong = [f"{name}: {what}" for name, what in failed.items() if name not in reasons]
    skipped = re.findall(r"^skip .*$", text, re.M)
    check(not wrong and not skipped, "; ".join(wrong + skipped))
    stale = set(reasons) - set(failed)
    check(not stale, f"known to fail, but does not: {', '.join(sorted(stale))}")
    check(re.search(r"^ok ", text, re.M), f"no checks: {text}")


def test_arch_apic(ctx):
    """Local APIC: registers, modes, priorities, timer, errors, destinations, INIT, IPI storms."""
    holds(ctx, "apic", cpus=4)


def test_arch_ioapic(ctx):
    """I/O APIC and 8259 pair: edge, level, EOI in all its forms, masks, priorities, routes."""
    holds(ctx, "ioapic", cpus=3)
