# SPDX-License-Identifier: BSD-2-Clause
"""Machines that firmware starts: OVMF with its variables, SeaBIOS."""
from pathlib import Path

from amber import Image, Machine, check, compile_manifest

OVMF = Path("/usr/share/OVMF")
SEABIOS = Path("/usr/share/seabios/bios-256k.bin")


def manifest(ctx, name, rom, devices="", memory=256):
    return compile_manifest(ctx.folder, name, f"""/dts-v1/;
/ {{ compatible = "amber,guest"; vm-name = "{name}"; memory-mib = <{memory}>;
  boot {{ method = "firmware"; rom = "{rom}"; }};
  devices {{ serial0 {{ compatible = "amber,ns16550"; index = <0>; }}; {devices} }}; }};
""")


FLASH = """flash0 { compatible = "amber,flash"; backend = "store:vars"; base = "OVMF_VARS.fd"; };"""


def test_ovmf(ctx):
    """Debian's OVMF comes up to its shell."""
    image = Image(ctx.folder, manifests=[manifest(ctx, "uefi", "OVMF_CODE.fd", FLASH)],
                  payloads=[OVMF / "OVMF_CODE.fd", OVMF / "OVMF_VARS.fd"])
    with Machine(image, ctx.platform) as m:
        m.prompt()
        m.ok("vm start uefi")
        m.attach("uefi")
        m.expect(r"Shell>", 300)
        m.detach()
        check(m.vm("uefi")["state"] == "running", "it does not run")


def test_seabios(ctx):
    """Debian's SeaBIOS looks for something to boot."""
    image = Image(ctx.folder, manifests=[manifest(ctx, "bios", "bios-256k.bin")],
                  payloads=[SEABIOS])
    with Machine(image, ctx.platform) as m:
        m.prompt()
        m.ok("vm start bios")
        m.attach("bios")
        m.expect(r"No bootable device", 100)
