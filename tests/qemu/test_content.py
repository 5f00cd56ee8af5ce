# SPDX-License-Identifier: BSD-2-Clause
"""What snapshots have in common is stored once."""
from amber import Machine, check
from test_live import go_on, pages_image, quiet, start

KIB = 1024


def test_content_in_common(ctx):
    """Saving the same memory again, of whichever machine, takes next to nothing; any can go."""
    with Machine(pages_image(ctx), ctx.platform) as m:
        m.prompt()
        start(m)
        quiet(m)  # its memory stays as it is
        empty = m.ok("store check", 120)["free_blocks"]
        first = m.ok("snapshot save pages one", 300)
        again = m.ok("snapshot save pages two --full", 300)
        check(first["bytes"] > 100 * KIB, f"that is little: {first}")
        m.ok("snapshot restore one --as=twin", 300)
        twin = m.ok("snapshot save twin three --full", 300)
        for s in (again, twin):
            # the state tree is not shared, nor need the pieces be that the guest has just used
            check(s["bytes"] - s["shared_bytes"] < 64 * KIB, f"not shared: {s}, after {first}")
        check(m.ok("store check", 120)["shared_blocks"] * 4 * KIB
              >= again["shared_bytes"] + twin["shared_bytes"], "the store does not know of it")
        m.ok("vm destroy twin --yes")
        for gone, left in (("one", ("two", "three")), ("three", ("two",))):
            m.ok(f"snapshot delete {gone} --yes", 120)
            for name in left:
                m.ok(f"snapshot verify {name}", 120)
        m.ok("snapshot restore two --yes", 120)
        go_on(m)
        quiet(m)
        m.ok("vm destroy pages --yes")
        m.ok("snapshot delete two --yes", 120)
        left = m.ok("store check", 120)
        check((left["free_blocks"], left["shared_blocks"]) == (empty, 0), f"was {empty}: {left}")
        m.poweroff()
