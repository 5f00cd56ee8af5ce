# SPDX-License-Identifier: BSD-2-Clause
"""Kernels that are ELF files: Multiboot, Multiboot2, PVH; and the port by which they end."""
import lzma
import re
import struct

from amber import (BUILD, Image, Machine, check, compile_manifest, debian_manifest, debian_payloads,
                   guest_kernel, needs, run)

INITRD = bytes(i * 7 % 251 for i in range(10000))
# Modules behind it. name: file, its contents, the string that the manifest gives, or None
MODULES = {
    "exec": ("exec.bin", b"\1\2\3", "exec $(exec-task=task-create) 'x'"),
    "ext2fs": ("ext2fs.bin", bytes(i * 13 % 241 for i in range(70001)), "y" * 511),
    "again": ("exec.bin", b"\1\2\3", None),
    "empty": ("empty.bin", b"", None),
}
# machine: method, kernel, what it says of who started it, its exit code
KERNELS = {
    "mb32": ("multiboot", "boot.elf", "Multiboot", 1),
    "mb64": ("multiboot", "boot64.elf", "Multiboot", 1),
    "mbflat": ("multiboot", "boot.bin", "Multiboot", 1),
    "mb2-32": ("multiboot2", "boot.elf", "Multiboot2", 2),
    "mb2-64": ("multiboot2", "boot64.elf", "Multiboot2", 2),
    "mb2-flat": ("multiboot2", "boot.bin", "Multiboot2", 2),
    "pvh32": ("pvh", "boot.elf", "PVH", 3),
    "pvh64": ("pvh", "boot64.elf", "PVH", 3),
}
LINE = "a=1 wait"
MEMORY = 32
RAM_KIB = MEMORY * 1024 - (1024 - 639)


def manifest(ctx, name, method, kernel, line="", initrd="", exit_port="", devices="", modules=""):
    return compile_manifest(ctx.folder, name, f"""/dts-v1/;
/ {{ compatible = "amber,guest"; vm-name = "{name}"; memory-mib = <{MEMORY}>;
  boot {{ method = "{method}"; kernel = "{kernel}"; command-line = "{line}";
         initrd = "{initrd}"; {modules} }};
  devices {{ serial0 {{ compatible = "amber,ns16550"; index = <0>; }};
    exit0 {{ compatible = "amber,debug-exit"; {exit_port} }}; {devices} }}; }};
""")


def modules_node():
    """As it stands in a manifest."""
    nodes = []
    for name, (file, _, string) in MODULES.items():
        line = f'command-line = "{string}"; ' if string is not None else ""
        nodes.append(f'{name} {{ file = "{file}"; {line}}};')
    return f"modules {{ {' '.join(nodes)} }};"


def module_files(ctx):
    """All of them, and the initrd."""
    files = {file: data for file, data, _ in MODULES.values()} | {"module.bin": INITRD}
    for name, data in files.items():
        (ctx.folder / name).write_bytes(data)
    return [ctx.folder / name for name in files]


def checksum(data):
    total = 0
    for byte in data:
        total = (total * 31 + byte) % 2**32
    return total


def kernels():
    return [BUILD / "guests" / name for name in ("boot.elf", "boot64.elf", "boot.bin")]


def check_words(name, text):
    """What a kernel says of what it was given."""
    method, kernel, starter, _ = KERNELS[name]
    line = f"{kernel} {LINE}" if method == "multiboot" else LINE
    wanted = [f"started by {starter}\r", f"command line '{line}'", f"ram {RAM_KIB}\r"]
    if method != "pvh":
        wanted += ["lower 639\r", f"upper {(MEMORY - 1) * 1024}\r", "loader 'Amber'"]
    if method != "multiboot":
        wanted += ["rsdp\r"]
    for words in wanted:
        check(words in text, f"{name} does not say {words!r}: {text!r}")
    check("BAD" not in text, f"{name}: {text!r}")
    check_modules(name, text)


def check_modules(name, text):
    """The initrd first, then the others in the manifest's order, each with its string."""
    said = re.findall(r"module '(.*?)'\r?\nsize (\d+)\r?\nsum (\d+)\r?\n", text)
    given = [("module.bin", INITRD)]
    given += [(file if string is None else string, data) for file, data, string in MODULES.values()]
    wanted = [(string, str(len(data)), str(checksum(data))) for string, data in given]
    check(said == wanted, f"{name}: modules {said}")


def ended(m, name, code):
    """It has stopped, and all who are asked say with what."""
    m.until(lambda: m.vm(name)["state"] == "stopped", 20, f"{name} does not end")
    v = m.vm(name)
    check((v["disposition"], v["exit_code"]) == ("debug-exit", code), f"{name}: {v}")
    check(f"debug-exit {code} " in m.cmd("vm list"), "vm list does not tell the code")
    check(f"exit code {code}\n" in m.cmd(f"vm info {name}"), "vm info does not tell the code")


def told(m, name):
    """What a kernel says that waits for a byte at the end of its list."""
    m.attach(name)
    text = m.expect(r"(started by.*?)waiting\r?\n", 30).group(1)
    m.send("g")
    m.expect(r"end\r?\n", 30)
    m.detach()
    return text


def test_boot_methods(ctx):
    """Multiboot, Multiboot2 and PVH kernels are told what was promised, and end with their code."""
    manifests = [manifest(ctx, name, method, kernel, LINE, "module.bin", modules=modules_node())
                 for name, (method, kernel, _, _) in KERNELS.items()]
    image = Image(ctx.folder, manifests=manifests, payloads=kernels() + module_files(ctx),
                  store_mib=64)
    with Machine(image, ctx.platform) as m:
        m.prompt()
        for name, (_, _, _, code) in KERNELS.items():
            m.ok(f"vm start {name}")
            check_words(name, told(m, name))
            ended(m, name, code)
        m.ok("vm start pvh32")  # a second time, and the code of before is forgotten
        check(m.vm("pvh32")["disposition"] == "none", "it remembers its first end")
        told(m, "pvh32")
        m.until(lambda: m.vm("pvh32")["disposition"] == "debug-exit", 20, "no second end")
        m.poweroff()


def test_boot_methods_testdev(ctx):
    """The test device keeps what is written to it and moves an interrupt line."""
    image = Image(ctx.folder, manifests=[
        manifest(ctx, "mb", "multiboot", "boot.elf", "test",
                 devices='testdev { compatible = "amber,testdev"; };')],
        payloads=kernels(), store_mib=64)
    with Machine(image, ctx.platform) as m:
        m.prompt()
        m.ok("vm start mb")
        m.attach("mb")
        text = m.expect(r"(.*?)end\r?\n", 30).group(1)
        check("testdev\r" in text and "BAD" not in text, text)
        m.detach()
        ended(m, "mb", 1)
        m.poweroff()


def unpacked_kernel(folder):
    """The ELF file in the demonstration guest's bzImage (Linux, boot.rst: payload_offset)."""
    image = guest_kernel().read_bytes()
    start = ((image[0x1f1] or 4) + 1) * 512 + struct.unpack_from("<I", image, 0x248)[0]
    size = struct.unpack_from("<I", image, 0x24c)[0]
    path = folder / "vmlinux"
    path.write_bytes(lzma.decompress(image[start:start + size - 4]))  # then its length
    run(["strip", path])
    return path


@needs("real time")
def test_boot_methods_linux(ctx):
    """Linux's own ELF file starts as PVH, with its initrd, and works."""
    manifest_file = debian_manifest(ctx.folder, disk=None, clock=False, autostart=False,
                                    method="pvh", kernel="vmlinux")
    image = Image(ctx.folder, manifests=[manifest_file], esp_mib=160, store_mib=64,
                  payloads=[unpacked_kernel(ctx.folder)] + debian_payloads())
    with Machine(image, ctx.platform) as m:
        m.prompt()
        m.ok("vm start debian")
        m.guest_ready("debian")
        check(m.shell("nproc") == "2", "it does not have both CPUs")
        loader = m.shell("cat /proc/sys/kernel/bootloader_type")
        check(loader == "176", f"its loader has number {loader}")  # what Linux gives itself for PVH
        m.detach()
        m.poweroff()


def test_boot_methods_restore(ctx):
    """A restored machine needs neither its kernel's file nor its manifest, and ends as it would have."""
    image = Image(ctx.folder, manifests=[manifest(ctx, "pvh", "pvh", "boot.elf", "wait",
                                                  exit_port="io-base = <0xf0>; io-size = <4>;"),
                                         manifest(ctx, "mb", "multiboot", "boot64.elf", "wait")],
                  payloads=kernels(), store_mib=64)
    with Machine(image, ctx.platform) as m:
        m.prompt()
        for name in ("pvh", "mb"):
            m.ok(f"vm start {name}")
            m.attach(name)
            m.expect(r"waiting\r?\n", 30)
            m.detach()
            m.ok(f"snapshot save {name} {name} --poweroff", 60)
        m.poweroff()
    for name in ("boot.elf", "boot64.elf", "pvh.dtb", "mb.dtb"):
        run(["mdel", "-i", f"{image.path}@@1M", f"::/amber/{name}"])  # where mkimage puts the ESP
    with Machine(image, ctx.platform) as m:
        m.prompt()
        for name in ("mb", "pvh"):
            m.ok(f"snapshot restore {name} --yes", 60)
            m.attach(name)
            m.send("g")
            m.expect(r"end\r?\n", 30)
            if name == "pvh":  # its port is elsewhere
                m.expect(r"BAD still alive", 30)
            m.detach()
            if name == "mb":
                ended(m, name, 1)
                m.fails("vm start mb", "/boot: kernel 'boot64.elf' is not on the boot volume")
        m.poweroff()


def test_boot_methods_modules_reset(ctx):
    """A restored machine that is reset gets its modules again, or says which file is gone."""
    line = 'modules { a { file = "exec.bin"; }; b { file = "ext2fs.bin"; }; c { file = "empty.bin"; }; };'
    image = Image(ctx.folder, manifests=[
        manifest(ctx, "mb", "multiboot", "boot.elf", LINE, "module.bin", modules=modules_node()),
        # so that the files are there, whatever becomes of the first
        manifest(ctx, "other", "pvh", "boot.elf", "", "module.bin", modules=line)],
        payloads=kernels() + module_files(ctx), store_mib=64)
    with Machine(image, ctx.platform) as m:
        m.prompt()
        m.ok("vm start mb")
        m.attach("mb")
        m.expect(r"waiting\r?\n", 30)
        m.detach()
        m.ok("snapshot save mb mb --poweroff", 60)
        m.poweroff()
    run(["mdel", "-i", f"{image.path}@@1M", "::/amber/mb.dtb"])
    with Machine(image, ctx.platform) as m:
        m.prompt()
        m.ok("snapshot restore mb --yes", 60)
        m.ok("vm reset mb")
        check_modules("mb", told(m, "mb"))
        m.poweroff()
    run(["mdel", "-i", f"{image.path}@@1M", "::/amber/exec.bin"])
    with Machine(image, ctx.platform) as m:
        m.prompt()
        m.ok("snapshot restore mb --yes", 60)
        m.fails("vm reset mb", "/boot: module 'exec.bin' is not on the boot volume")
        m.poweroff()


def patched(data, offset, size, value):
    return data[:offset] + value.to_bytes(size, "little") + data[offset + size:]


# file: its bytes, made of a good one; and why it is refused, by which methods
ALL = ("multiboot", "multiboot2", "pvh")
BROKEN = {
    "text.elf": (lambda k: b"#!/bin/sh\n" * 100, {
        "multiboot": "no Multiboot header in its first 8 KiB",
        "multiboot2": "no Multiboot2 header in its first 32 KiB", "pvh": "not an ELF file"}),
    "cut.elf": (lambda k: k[:0x1400],
                dict.fromkeys(ALL[:2], "segment 0: behind the end of the file")),
    "device.elf": (lambda k: patched(k, 52 + 12, 4, 0xfec00000), dict.fromkeys(
        ALL, "segment 0: 0x[0-9a-f]+ bytes at 0xfec00000 are not RAM below 4 GiB")),
    "nowhere.elf": (lambda k: patched(k, 24, 4, 0x100), dict.fromkeys(
        ALL[:2], "entry point 0x100 is in nothing that it loads")),
}


def test_boot_methods_refuse(ctx):
    """A file that is no kernel for the method is refused by name, with the reason."""
    good = (BUILD / "guests/boot.elf").read_bytes()
    manifests, payloads, cases = [], [], []
    for file, (make, reasons) in BROKEN.items():
        path = ctx.folder / file
        path.write_bytes(make(good))
        payloads.append(path)
        for method, reason in reasons.items():
            name = f"{file[:-4]}-{method}"
            manifests.append(manifest(ctx, name, method, file))
            cases.append((name, f"vm '{name}': kernel '{file}': {reason}$"))
    image = Image(ctx.folder, manifests=manifests, payloads=payloads, store_mib=64)
    with Machine(image, ctx.platform) as m:
        m.prompt()
        for name, reason in cases:
            m.fails(f"vm start {name}", reason)
            check(m.vm(name)["state"] == "stopped", f"{name}: {m.vm(name)}")
        m.poweroff()
