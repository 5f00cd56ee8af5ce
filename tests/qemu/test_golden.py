# SPDX-License-Identifier: BSD-2-Clause
"""Stores that earlier versions wrote, on either vendor's CPU, are restored by this one."""
import sys

from amber import ROOT, Image, Machine, check
from test_live import go_on, quiet
from test_snapshot import store_extent
from test_state import finish, halted

sys.path.append(str(ROOT / "tests/golden"))
import golden  # noqa: E402


def golden_image(ctx, name):
    """A disk whose store is a golden one; the host has never heard of the machines in it."""
    image = Image(ctx.folder, f"{name}.img", store_mib=16)
    offset, size = store_extent(image.path)
    data = golden.content(name)
    check(len(data) <= size, f"{name}: {len(data)} bytes")
    with open(image.path, "r+b") as f:
        f.seek(offset)
        f.write(data)
    return image


def whole(m, vm, is_halted):
    """The guest looks at all that it knows of itself; both kinds do it twice."""
    if vm == "pages":
        first = quiet(m)
        go_on(m)
        check(quiet(m) >= first, "pages does not go on")
        return
    if not is_halted:
        halted(m, vm)
    finish(m, vm)


def goes_on(m, snapshot, vm):
    """What is frozen there is the beginning of what this version saves in the same store."""
    m.ok(f"snapshot restore {snapshot} --yes", 120)
    m.ok(f"snapshot save {vm} new", 120)
    m.ok(f"snapshot delete {snapshot} --yes", 120)
    m.ok("snapshot restore new --yes", 120)
    whole(m, vm, snapshot == "halted")
    m.ok(f"vm destroy {vm} --yes")
    m.ok("snapshot flatten new", 120)
    m.ok("snapshot verify new", 120)
    m.ok("store check", 120)


def restore_all(ctx, name, snapshots):
    with Machine(golden_image(ctx, name), ctx.platform) as m:
        m.prompt()
        listed = m.ok("snapshot list")["snapshots"]
        check({s["name"]: s.get("parent") for s in listed}
              == {n: s["parent"] for n, s in snapshots.items()}, f"{name}: {listed}")
        for snapshot, s in snapshots.items():
            for eager in (False, True):
                m.ok(f"snapshot restore {snapshot} --yes" + " --eager" * eager, 120)
                whole(m, s["vm"], snapshot == "halted")
        for snapshot, s in snapshots.items():
            m.ok(f"snapshot verify {snapshot}", 120)
            check(m.ok(f"snapshot info {snapshot}")["id"] == s["id"], f"{name}: {snapshot}")
        m.ok("store check", 120)
        goes_on(m, snapshot, s["vm"])
        m.poweroff()


def test_golden(ctx):
    """Every golden store's guests are restored and find themselves whole; the store can be written."""
    for name, record in golden.recorded().items():
        restore_all(ctx, name, record["snapshots"])
