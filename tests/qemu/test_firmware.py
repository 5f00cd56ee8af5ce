# SPDX-License-Identifier: BSD-2-Clause
"""Machines that firmware starts: OVMF with its variables, SeaBIOS."""
from pathlib import Path

from amber import Image, Machine, check, compile_manifest, needs

OVMF = Path("/usr/share/OVMF")
SEABIOS = Path("/usr/share/seabios/bios-256k.bin")


def manifest(ctx, name, rom, devices="", memory=256):
    return compile_manifest(ctx.folder, name, f"""/dts-v1/;
/ {{ compatible = "amber,guest"; vm-name = "{name}"; memory-mib = <{memory}>;
  boot {{ method = "firmware"; rom = "{rom}"; }};
  devices {{ serial0 {{ compatible = "amber,ns16550"; index = <0>; }}; {devices} }}; }};
""")


FLASH = """flash0 { compatible = "amber,flash"; backend = "store:vars"; base = "OVMF_VARS.fd"; };"""


GUID = "6b1f2f3a-5d3e-4b5c-9b61-3a1e4f7d2c10"
SHELL = "Shell>"


def shell(m, line, pattern=r"\n"):
    """A line for OVMF's shell, whose echo is full of cursor movements; then what it says."""
    m.send(line + "\r")
    m.expect(pattern, 60)
    m.expect(SHELL, 60)


def uefi_image(ctx):
    return Image(ctx.folder, manifests=[manifest(ctx, "uefi", "OVMF_CODE.fd", FLASH)],
                 payloads=[OVMF / "OVMF_CODE.fd", OVMF / "OVMF_VARS.fd"])


def start(m):
    m.prompt()
    m.ok("vm start uefi")
    m.attach("uefi")
    m.expect(SHELL, 300)


def put(m, name, value):
    shell(m, f"setvar {name} -guid {GUID} -nv -bs ={value.replace(' ', '')}")


def has(m, name, value):
    shell(m, f"setvar {name} -guid {GUID}", value)


def test_ovmf(ctx):
    """Debian's OVMF comes up to its shell; a restore brings its variables back."""
    with Machine(uefi_image(ctx), ctx.platform) as m:
        start(m)
        put(m, "kept", "12 AB CD")
        m.detach()
        m.ok("snapshot save uefi s1", 300)
        m.attach("uefi")
        put(m, "kept", "34")
        has(m, "kept", "34")
        m.detach()
        m.ok("snapshot restore s1 --yes", 300)
        m.attach("uefi")
        m.send("\r")
        m.expect(SHELL, 60)
        has(m, "kept", "12 AB CD")
        m.detach()
        check(m.vm("uefi")["state"] == "running", "it does not run")


@needs("drive bus")  # QEMU only: many boots
def test_ovmf_variables(ctx):
    """Variables outlive the guest's reset, a restore, a clone's own, and Amber itself."""
    image = uefi_image(ctx)
    with Machine(image, ctx.platform) as m:
        start(m)
        put(m, "kept", "12 AB CD")
        m.send("reset\r")
        m.expect("UEFI Interactive Shell", 300)
        m.expect(SHELL, 300)
        has(m, "kept", "12 AB CD")
        m.detach()
        m.ok("snapshot save uefi s1", 300)
        m.ok("vm clone s1 twin", 100)
        m.attach("twin")
        m.send("\r")
        m.expect(SHELL, 60)
        put(m, "kept", "77")
        has(m, "kept", "77")
        m.detach()
        m.attach("uefi")
        has(m, "kept", "12 AB CD")
        m.detach()
        m.ok("snapshot restore s1 --yes", 300)
        m.attach("uefi")
        m.send("\r")
        m.expect(SHELL, 60)
        put(m, "more", "56 78")
        m.detach()
        m.ok("vm poweroff uefi")
        m.ok("vm poweroff twin")
        m.poweroff()
    with Machine(image, ctx.platform) as m:
        start(m)
        has(m, "kept", "12 AB CD")
        has(m, "more", "56 78")


def test_seabios(ctx):
    """Debian's SeaBIOS looks for something to boot."""
    image = Image(ctx.folder, manifests=[manifest(ctx, "bios", "bios-256k.bin")],
                  payloads=[SEABIOS])
    with Machine(image, ctx.platform) as m:
        m.prompt()
        m.ok("vm start bios")
        m.attach("bios")
        m.expect(r"No bootable device", 100)
