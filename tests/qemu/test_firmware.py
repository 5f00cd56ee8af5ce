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


GUID = "6b1f2f3a-5d3e-4b5c-9b61-3a1e4f7d2c10"
SHELL = "Shell>"


def shell(m, line, pattern=r"\n"):
    """A line for OVMF's shell, whose echo is full of cursor movements; then what it says."""
    m.send(line + "\r")
    m.expect(pattern, 60)
    m.expect(SHELL, 60)


def test_ovmf(ctx):
    """Debian's OVMF comes up; its variables outlive a reset, a restore, and Amber itself."""
    image = Image(ctx.folder, manifests=[manifest(ctx, "uefi", "OVMF_CODE.fd", FLASH)],
                  payloads=[OVMF / "OVMF_CODE.fd", OVMF / "OVMF_VARS.fd"])
    with Machine(image, ctx.platform) as m:
        m.prompt()
        m.ok("vm start uefi")
        m.attach("uefi")
        m.expect(SHELL, 300)
        shell(m, f"setvar kept -guid {GUID} -nv -bs =12abcd")
        shell(m, f"setvar kept -guid {GUID}", "12 AB CD")
        m.send("reset\r")
        m.expect("UEFI Interactive Shell", 300)
        m.expect(SHELL, 300)
        shell(m, f"setvar kept -guid {GUID}", "12 AB CD")
        m.detach()
        m.ok("snapshot save uefi s1", 300)
        m.attach("uefi")
        shell(m, f"setvar kept -guid {GUID} -nv -bs =34")
        shell(m, f"setvar kept -guid {GUID}", "34")
        m.detach()
        m.ok("snapshot restore s1 --yes", 300)
        m.attach("uefi")
        m.send("\r")
        m.expect(SHELL, 60)
        shell(m, f"setvar kept -guid {GUID}", "12 AB CD")
        shell(m, f"setvar more -guid {GUID} -nv -bs =5678")
        m.detach()
        check(m.vm("uefi")["state"] == "running", "it does not run")
        m.ok("vm poweroff uefi")
        m.poweroff()
    with Machine(image, ctx.platform) as m:
        m.prompt()
        m.ok("vm start uefi")
        m.attach("uefi")
        m.expect(SHELL, 300)
        shell(m, f"setvar kept -guid {GUID}", "12 AB CD")
        shell(m, f"setvar more -guid {GUID}", "56 78")


def test_seabios(ctx):
    """Debian's SeaBIOS looks for something to boot."""
    image = Image(ctx.folder, manifests=[manifest(ctx, "bios", "bios-256k.bin")],
                  payloads=[SEABIOS])
    with Machine(image, ctx.platform) as m:
        m.prompt()
        m.ok("vm start bios")
        m.attach("bios")
        m.expect(r"No bootable device", 100)
