# SPDX-License-Identifier: BSD-2-Clause
"""The firmware configuration interface, as guests see it."""
import gzip
import lzma
import pathlib
import struct

from amber import (BUILD, ROOT, Image, Machine, check, compile_manifest, debian_manifest,
                   guest_kernel, run)

UUID = "01234567-89ab-cdef-0123-456789abcdef"
DEVICE = 'fwcfg0 { compatible = "amber,fw-cfg"; };'
LOW_RAM_MAX = 0xb0000000


def manifest(ctx, memory):
    return compile_manifest(ctx.folder, "fwcfg", f"""/dts-v1/;
/ {{ compatible = "amber,guest"; vm-name = "fwcfg"; memory-mib = <{memory}>; uuid = "{UUID}";
  cpus {{ count = <3>; }}; boot {{ method = "linux"; kernel = "fwcfg.bz"; }};
  devices {{ serial0 {{ compatible = "amber,ns16550"; index = <0>; }}; {DEVICE} }}; }};
""")


def expected(memory):
    """What the guest prints; hv/core/memmap.h says where its memory lies."""
    size = memory << 20
    e820 = [(0, 0x9fc00, 1), (0x9fc00, 0x400, 2), (0xe0000, 0x20000, 2),
            (0x100000, min(size, LOW_RAM_MAX) - 0x100000, 1), (LOW_RAM_MAX, 1 << 20, 2)]
    e820 = b"".join(struct.pack("<QQI", *row) for row in e820)
    return ["signature QEMU", "dma QEMU CFG", "id 3", "uuid " + UUID.replace("-", ""),
            f"ram {size}", "cpus 3 of 3", f"file 20 etc/e820 {len(e820)} {e820.hex()}",
            "file 21 etc/system-states 6 800000000085", "write 1", "long 1", "device 1",
            "beyond 1", "signature QEMU", "half"]


def test_fw_cfg(ctx):
    """Ports, REP INSB and DMA show the same machine; the place in an item survives a restore."""
    memory = 64
    image = Image(ctx.folder, manifests=[manifest(ctx, memory)],
                  payloads=[BUILD / "guests/fwcfg.bz"], store_mib=128)
    with Machine(image, ctx.platform) as m:
        m.prompt()
        m.ok("vm start fwcfg", 60)
        m.attach("fwcfg")
        text = m.expect(r"signature(.*?)half\r?\n", 60).group(0)
        check(text.split("\r\n")[:-1] == expected(memory), f"the guest read {text!r}")
        m.detach()
        m.ok("snapshot save fwcfg s --poweroff", 60)
        m.ok("snapshot restore s --yes", 60)
        m.attach("fwcfg")
        m.send("g")
        m.expect(r"rest: MU\r?\n", 60)
        m.detach()
        m.until(lambda: m.vm("fwcfg")["state"] == "stopped", 20, "the guest does not power off")
        m.poweroff()


def driver(ctx):
    """The demonstration guest's files and Linux's driver, which is loaded by hand."""
    found = list((ROOT / ".cache/guest/lib/modules").rglob("qemu_fw_cfg.ko*"))
    check(len(found) == 1, f"qemu_fw_cfg: {found}")
    data = found[0].read_bytes()
    folder = pathlib.Path(ctx.folder) / "driver"
    folder.mkdir()
    (folder / "qemu_fw_cfg.ko").write_bytes(lzma.decompress(data) if found[0].suffix == ".xz" else data)
    archive = pathlib.Path(ctx.folder) / "driver.cpio"
    run(["sh", "-c", f"cd {folder} && find . | cpio -o -H newc --quiet > {archive}"])
    first = gzip.decompress((BUILD / "guests/debian.cpio.gz").read_bytes())
    both = pathlib.Path(ctx.folder) / "both.cpio"
    both.write_bytes(gzip.compress(first + archive.read_bytes(), 6))
    return both


def test_fw_cfg_linux(ctx):
    """Linux finds it by ACPI and shows the files."""
    image = Image(ctx.folder, manifests=[debian_manifest(ctx.folder, disk=None, clock=False, devices=DEVICE)],
                  payloads=[f"{guest_kernel()}:vmlinuz", f"{driver(ctx)}:debian.cpio.gz"])
    with Machine(image, ctx.platform) as m:
        m.prompt()
        m.guest_ready("debian")
        m.shell("insmod /qemu_fw_cfg.ko")
        at = "/sys/firmware/qemu_fw_cfg"
        check(m.shell(f"cat {at}/rev") == "3", "the interface's revision")
        names = m.shell(f"cat {at}/by_key/*/name").split()
        check(names == ["etc/e820", "etc/system-states"], f"files: {names}")
        states = m.shell(f"od -An -tx1 {at}/by_name/etc/system-states/raw")
        check(states.split() == ["80", "00", "00", "00", "00", "85"], f"sleep states: {states}")
        check(m.shell("grep fw_cfg /proc/ioports | grep -c 0510-051b") == "1", "the driver's ports")
        m.detach()
        m.poweroff()
