# SPDX-License-Identifier: BSD-2-Clause
"""The tables that tell a guest what machine it runs on, as Linux reads them."""
from amber import Image, Machine, check, debian_manifest, debian_payloads

UUID = "01234567-89ab-cdef-0123-456789abcdef"


def test_tables_linux(ctx):
    """SMBIOS has the machine's UUID and CPUs; a kernel without ACPI lives by the MP table."""
    manifests = [
        debian_manifest(ctx.folder, vcpus=2, memory=128, disk=None, clock=False,
                        extra=f'uuid = "{UUID}";', cmdline="console=ttyS0"),
        debian_manifest(ctx.folder, "legacy", vcpus=2, memory=128, autostart=False, disk=None,
                        cmdline="console=ttyS0 acpi=off pci=nomsi")]
    with Machine(Image(ctx.folder, manifests=manifests, payloads=debian_payloads()), ctx.platform) as m:
        m.prompt()
        m.guest_ready("debian")
        dmi = "/sys/class/dmi/id"
        check(m.shell(f"cat {dmi}/product_uuid") == UUID, "SMBIOS has another UUID")
        check(m.shell(f"cat {dmi}/sys_vendor {dmi}/bios_vendor") == "Amber\nAmber", "SMBIOS: the vendor")
        check(m.shell("dmesg | grep -c 'DMI: Amber Amber virtual machine'") == "1", "the kernel's DMI line")
        check(m.shell("ls -d /sys/firmware/dmi/entries/4-* | wc -l") == "1", "SMBIOS: one socket")
        # the MP table is there, and ACPI goes before it
        check(m.shell("dmesg | grep -c 'Using ACPI (MADT) for SMP'") == "1", "the CPUs are not ACPI's")
        check(m.shell("dmesg | grep -ciE 'firmware bug|ACPI.*error|BIOS bug'") == "0", "the kernel complains")
        m.detach()
        m.ok("vm poweroff debian", 60)
        m.ok("vm start legacy", 60)
        m.guest_ready("legacy")
        check(m.shell("ls /sys/firmware/acpi 2>&1 | grep -c tables") == "0", "ACPI is not off")
        check(m.shell("dmesg | grep -c 'MPTABLE: OEM ID: AMBER'") == "1", "no MP table was found")
        check(m.shell("nproc") == "2", "the MP table has other CPUs")
        interrupts = m.shell("grep virtio /proc/interrupts")
        check("IO-APIC" in interrupts and "level" in interrupts or "fasteoi" in interrupts,
              f"no interrupt by the I/O APIC: {interrupts}")
        check(m.shell("grep -c 'IO-APIC.*timer' /proc/interrupts") == "1", "the 8254's interrupt")
        m.detach()
        m.poweroff()
