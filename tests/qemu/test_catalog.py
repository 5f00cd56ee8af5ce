# SPDX-License-Identifier: BSD-2-Clause
"""The console's view of the store: the tree of snapshots, flattening, checking, growing; memory."""
import json
import os

from amber import BUILD, Machine, check, run
from test_live import go_on, pages_image, quiet, start
from test_snapshot import SNAP, store_extent

MIB = 1 << 20


def check_memory(m):
    """What guests have and what they may still take; the machine is the only one."""
    host, vm = m.ok("host memory"), m.ok("vm stats pages")
    check(host["backed_bytes"] == vm["backed_bytes"], f"{host}, {vm}")
    check(host["promised_bytes"] == vm["promised_bytes"], f"{host}, {vm}")
    check(vm["backed_bytes"] + vm["promised_bytes"] == 32 * MIB, vm)
    check(host["used_bytes"] > host["backed_bytes"], host)
    return vm["backed_bytes"]


def check_tree(m, want):
    """want: the list's names as they are indented, and by name the parents."""
    order, parents = want
    text = m.cmd("snapshot list").splitlines()[1:]
    check([l[:20].rstrip() for l in text] == order, f"snapshot list: {text}")
    listed = {s["name"]: s.get("parent", "") for s in m.ok("snapshot list")["snapshots"]}
    check(listed == parents, f"snapshot list: {listed}")


def check_info(m, name, levels, parent):
    s = m.ok(f"snapshot info {name}")
    check((s["levels"], s.get("parent")) == (levels, parent), f"snapshot info: {s}")
    check((s["total_bytes"] > s["bytes"]) == (levels > 1), f"snapshot info: {s}")
    text = m.cmd(f"snapshot info {name}")
    check((f"changes since '{parent}'" in text) == (parent is not None), text)


def same_as_tool(m, image):
    """The tool's list has all that the console's has; nothing is written meanwhile."""
    here = m.ok("snapshot list")["snapshots"]
    there = json.loads(run([SNAP, "--json", image.path, "list"]))["snapshots"]
    check([{k: t.get(k) for k in h} for h, t in zip(here, there, strict=True)] == here,
          f"the console lists {here}, the tool {there}")


def enlarge(image, mib):
    """The store's partition, which is the last."""
    offset, size = store_extent(image.path)
    os.truncate(image.path, os.path.getsize(image.path) + mib * MIB)
    last = run(["/sbin/sgdisk", "-p", image.path]).strip().splitlines()[-1].split()[0]
    text = run(["/sbin/sgdisk", "-i", last, image.path])
    kind = text.split("Partition GUID code: ")[1].split()[0]
    run(["/sbin/sgdisk", "-e", "-d", last, "-n",
         f"{last}:{offset // 512}:{(offset + size + mib * MIB) // 512 - 1}", "-t",
         f"{last}:{kind}", image.path])
    check(store_extent(image.path) == (offset, size + mib * MIB), "sgdisk made another partition")


def test_catalog(ctx):
    """Snapshots are listed as a tree, made independent, checked; the store grows with its partition."""
    image = pages_image(ctx, memory=32, pages=4)
    with Machine(image, ctx.platform) as m:
        m.prompt()
        check(check_memory(m) == 0, "memory that nobody has touched is backed")
        start(m)
        check(check_memory(m) >= 4 * MIB, "the guest has written 4 MiB")
        for name in ("base", "mid", "top"):
            m.ok(f"snapshot save pages {name}", 300)
        m.ok("snapshot restore mid --yes", 300)
        quiet(m)  # what is fetched on demand is there
        go_on(m)
        saved = m.ok("snapshot save pages side", 300)
        check(saved["parent"] == "mid", saved)
        check_tree(m, (["base", "  mid", "    top", "    side"],
                       {"base": "", "mid": "base", "top": "mid", "side": "mid"}))
        check_info(m, "base", 1, None)
        check_info(m, "top", 3, "mid")
        check(m.ok("store check", 120)["snapshots"] == 4, "store check")
        check("sound" in m.cmd("store check", 120), "store check")
        m.ok("snapshot flatten top", 300)
        check("needs no other" in m.cmd("snapshot flatten top", 300), "it is full already")
        m.fails("snapshot flatten none", "snapshot 'none': not found")
        check_info(m, "top", 1, None)
        m.ok("snapshot delete mid --yes")
        check_tree(m, (["base", "top", "side"], {"base": "", "top": "", "side": None}))
        check("a snapshot that is gone" in m.cmd("snapshot info side"), "snapshot info side")
        same_as_tool(m, image)
        check("already" in m.cmd("store grow"), "store grow")
        m.poweroff()
    enlarge(image, 300)
    with Machine(image, ctx.platform) as m:
        m.prompt()
        answer = m.ok("store grow")
        check((answer["added_bytes"], answer["store_bytes"]) == (300 * MIB, 812 * MIB), answer)
        m.ok("store check", 120)
        for name in ("top", "side"):
            m.ok(f"snapshot verify {name}", 300)
            m.ok(f"snapshot restore {name} --yes", 300)
            quiet(m)
            go_on(m)
        m.poweroff()
    check("sound" in run([BUILD / "amber-snap", image.path, "check"]), "amber-snap check")
