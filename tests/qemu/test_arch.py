# SPDX-License-Identifier: BSD-2-Clause
"""The virtual CPU and what surrounds it against the manuals, from inside small kernels."""
import re

from amber import ANSI, BUILD, Image, Machine, check, compile_manifest

# Seen, and not explained: no exit comes, and nothing is done, until a fault has been delivered there.
NO_STRING_IO = "INS and OUTS are passed over in real mode at first"
# Checks that fail for the sake of the emulator below Amber: kernel, check, platform, reason.
# A name that ends with "*" stands for all that begin so. One that passes in spite of it is a
# failure too.
KNOWN = (
    ("events", "#DE: RF in the image", "qemu-svm", "RF is not set in the image of a fault"),
    ("events", "#PF: RF in the image", "qemu-svm", "RF is not set in the image of a fault"),
    ("events", "#SS: stack not canonical", "qemu-svm", "raises #GP"),
    ("events", "#PF: reserved bit*", "qemu-svm", "P is clear in the error code"),
    ("events", "#PF: over a page's end", "qemu-svm", "P is clear in the error code"),
    ("events", "INT n, gate absent", "qemu-svm", "error codes with 16 bytes an IDT entry"),
    ("events", "interrupt, gate absent", "qemu-svm", "the same, and without EXT"),
    ("events", "#UD, gate absent", "qemu-svm", "the same, and without EXT"),
    ("events", "CPL 3: INT n of a gate of CPL 0", "qemu-svm", "the same"),
    ("events", "CPL 3: INT3 of a gate of CPL 0", "qemu-svm", "the same"),
    ("events", "#AC", "qemu-svm", "has no alignment checks"),
    ("events", "step PAUSE", "qemu-svm", "PAUSE ends without the single step"),
    ("events", "step's end: PAUSE", "qemu-svm", "PAUSE ends without the single step"),
    ("events", "step STI", "qemu-svm", "the shadow of STI holds back the single step"),
    ("events", "breakpoint: write", "qemu-svm", "VMRUN does not enable breakpoints"),
    ("events", "breakpoint: read", "qemu-svm", "VMRUN does not enable breakpoints"),
    ("events", "breakpoint: a part of it", "qemu-svm", "VMRUN does not enable breakpoints"),
    ("events", "breakpoint: execution*", "qemu-svm", "VMRUN does not enable breakpoints"),
    ("events", "breakpoint: of MOV SS*", "qemu-svm", "VMRUN does not enable breakpoints"),
    ("events", "INT1", "qemu-svm", "raises #UD"),
    ("events", "general detect", "bochs-svm", "#DB exits before DR6 is written"),
    ("modes", "real mode: a word over the end*", "qemu-svm", "has no limits in real mode"),
    ("modes", "real mode: a word beyond the end*", "qemu-svm", "has no limits in real mode"),
    ("modes", "real mode: a doubleword over*", "qemu-svm", "has no limits in real mode"),
    ("modes", "real mode: stack: *", "qemu-svm", "has no limits in real mode"),
    ("modes", "unreal mode: stack: *", "qemu-svm", "has no limits in real mode"),
    ("modes", "4 MiB page: reserved bit: *", "qemu-svm", "P is clear in the error code"),
    ("modes", "PAE, 4 KiB page: reserved bit: *", "qemu-svm", "P is clear in the error code"),
    ("modes", "PAE, 2 MiB page: reserved bit: *", "qemu-svm", "P is clear in the error code"),
    ("modes", "real mode: REP INSB", "bochs-vmx", NO_STRING_IO),
    ("modes", "real mode: INSD", "bochs-vmx", NO_STRING_IO),
    ("modes", "real mode: OUTSB down", "bochs-vmx", NO_STRING_IO),
    ("modes", "real mode: pointers of *", "bochs-vmx", NO_STRING_IO),
    ("modes", "real mode: count of INS", "bochs-vmx", NO_STRING_IO),
    ("registers", "LSTAR: not canonical", "qemu-svm", "WRMSR takes any address"),
    ("registers", "FS base: not canonical", "qemu-svm", "WRMSR takes any address"),
    ("registers", "GS base: not canonical", "qemu-svm", "WRMSR takes any address"),
    ("registers", "kernel GS base: not canonical", "qemu-svm", "WRMSR takes any address"),
    ("task", "T: *", "qemu-svm", "has no T bit"),
    ("task", "#GP: saved RF", "qemu-svm", "RF is not set in the image of a fault"),
    ("task", "SS: absent", "qemu-svm", "raises #NP"),
    ("task", "EIP beyond CS: saved EIP", "qemu-svm", "the next EIP is that of the old task"),
    ("task", "LDT: accessed", "qemu-svm", "task switches do not set accessed bits"),
    ("task", "PDPTE: *", "qemu-svm", "PDPTEs are not checked"),
    ("task", "T: DR6", "bochs-svm", "#DB exits before DR6 is written"),
    ("task", "CS: RPL", "bochs-svm", "SS is looked at first, and does not fit either"),
    ("task", "PDPTE: *", "bochs-svm", "PDPTEs are not checked"),
    ("task", "NMI: open behind IRET", "bochs-svm", "a task switch drops the single step that "
     "would show that IRET is done"),
)
# What is not even tried, by a word on the command line: kernel, word, platform, reason.
LEFT_OUT = (
    ("events", "nosteps", "bochs-svm", "single steps and breakpoints: a step that an exit comes "
     "before stays pending, and raises #DB in the hypervisor before it has its own state back"),
    ("registers", "nocr3", "qemu-svm", "reserved bits of CR3: MOV takes them, and VMRUN refuses "
     "them afterwards"),
    ("modes", "nopdptes", "qemu-svm", "PDPTEs as registers: nested paging reads them in each walk, "
     "and MOV to CR3 checks none (APM volume 2, 15.25.10)"),
    ("modes", "nopdptes", "bochs-svm", "the same"),
    ("paging", "norsvd", "qemu-svm", "error codes of reserved bits: P is clear"),
)


def matches(pattern, name):
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern


def manifest_of(ctx, kernel, cpus, devices, line, model):
    return compile_manifest(ctx.folder, kernel, f"""/dts-v1/;
/ {{ compatible = "amber,guest"; vm-name = "{kernel}"; memory-mib = <32>; cpu-model = "{model}";
  cpus {{ count = <{cpus}>; }};
  boot {{ method = "multiboot"; kernel = "arch_{kernel}.elf"; command-line = "{line}"; }};
  devices {{ serial0 {{ compatible = "amber,ns16550"; index = <0>; }};
    exit0 {{ compatible = "amber,debug-exit"; }}; test0 {{ compatible = "amber,testdev"; }};
    {devices} }}; }};
""")


def image_of(ctx, kernel, cpus=1, devices="", line="", model="x86-64-v2"):
    manifest = manifest_of(ctx, kernel, cpus, devices, line, model)
    return Image(ctx.folder, manifests=[manifest],
                 payloads=[BUILD / f"guests/arch_{kernel}.elf"], store_mib=64)


def kernel_says(ctx, kernel, image):
    """Runs it to its end; returns what it printed."""
    with Machine(image, ctx.platform) as m:
        m.prompt()
        m.ok(f"vm start {kernel}")
        m.attach(kernel)
        text = m.expect(r"(.*?)end: \d+ ok, \d+ failed\r", 120).group(0)
        m.detach()
        m.until(lambda: m.vm(kernel)["state"] == "stopped", 20, f"{kernel} does not end")
        v = m.vm(kernel)
        failures = int(re.search(r"(\d+) failed", text).group(1))
        check((v["disposition"], v["exit_code"]) == ("debug-exit", failures), f"{kernel}: {v}")
        m.poweroff()
    return ANSI.sub("", text).replace("\r", "")


def left_out(ctx, kernel):
    """The command line for it, and a word for who reads the test's output."""
    rows = [(word, reason) for k, word, p, reason in LEFT_OUT
            if (k, p) == (kernel, ctx.platform.name)]
    for _, reason in rows:
        print(f"  {kernel}: not tried on {ctx.platform.name}: {reason}")
    return " ".join(word for word, _ in rows)


def holds(ctx, kernel, cpus=1, devices="", model="x86-64-v2"):
    """Every check of the kernel is made, and passes, but for those that are known and shown."""
    line = left_out(ctx, kernel)
    text = kernel_says(ctx, kernel, image_of(ctx, kernel, cpus, devices, line, model))
    failed = dict(re.findall(r"^FAIL (.*?): (got .*)$", text, re.M))
    known = [(name, reason) for k, name, p, reason in KNOWN
             if (k, p) == (kernel, ctx.platform.name)]
    for name, reason in known:
        print(f"  {kernel}: '{name}' cannot be held on {ctx.platform.name}: {reason}")
    wrong = [f"{name}: {what}" for name, what in failed.items()
             if not any(matches(pattern, name) for pattern, _ in known)]
    skipped = re.findall(r"^skip .*$", text, re.M)
    check(not wrong and not skipped, "; ".join(wrong + skipped))
    stale = [p for p, _ in known if not any(matches(p, name) for name in failed)]
    check(not stale, f"known to fail, but does not: {', '.join(stale)}")
    check(re.search(r"^ok ", text, re.M), f"no checks: {text}")


def test_arch_apic(ctx):
    """Local APIC: registers, modes, priorities, timer, errors, destinations, INIT, IPI storms."""
    holds(ctx, "apic", cpus=4)


def test_arch_ioapic(ctx):
    """I/O APIC and 8259 pair: edge, level, EOI in all its forms, masks, priorities, routes."""
    holds(ctx, "ioapic", cpus=3)


def test_arch_events(ctx):
    """Exceptions, their nesting, shadows, the order of events, NMIs, debug exceptions."""
    holds(ctx, "events")


def test_arch_triple_fault(ctx):
    """A page fault on the way to the handlers of page and double faults ends the machine."""
    with Machine(image_of(ctx, "events", line="triple"), ctx.platform) as m:
        m.prompt()
        m.ok("vm start events")
        m.until(lambda: m.vm("events")["disposition"] == "triple-fault", 20, "no triple fault")
        m.poweroff()


def test_arch_timers(ctx):
    """8254 in its modes, the RTC's interrupts, and the machine's clocks against one another."""
    holds(ctx, "timers", devices='hpet0 { compatible = "amber,hpet"; };')


def test_arch_registers(ctx):
    """Control registers, MSRs, XCR0: what faults, what is kept; CPUID tells the same."""
    holds(ctx, "registers")


def test_arch_task(ctx):
    """Hardware task switches: instructions, events, TSSs of 16 and 32 bits, CR3, their faults."""
    holds(ctx, "task")


def test_arch_modes(ctx):
    """Real, 16 and 32-bit modes, PAE, compatibility mode: what all do, rights of pages, PDPTEs."""
    holds(ctx, "modes")


def test_arch_paging(ctx):
    """Rights, error codes, accessed and dirty bits of pages; a model without SMEP, SMAP, UMIP."""
    holds(ctx, "paging")


def test_arch_paging_host(ctx):
    """The same with all that the host's CPU has: SMEP, SMAP, UMIP, PCIDs where it has them."""
    holds(ctx, "paging", model="host")
