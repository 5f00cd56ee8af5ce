# SPDX-License-Identifier: BSD-2-Clause
"""Guests that move from one CPU vendor to the other."""
from amber import PLATFORMS, Machine, check, needs
from test_snapshot import check_witnesses, image_for, save_and_power_off, start_witnesses


@needs("journey")
def test_journey(ctx):
    """A running guest goes from AMD to Intel and back, over a power cycle each time."""
    away = PLATFORMS["qemu-svm"]
    image = image_for(ctx)
    with Machine(image, away) as m:
        m.prompt()
        m.guest_ready("debian")
        sums, count = start_witnesses(m)
        m.detach()
        save_and_power_off(m, "s0")
    for leg, platform in enumerate((ctx.platform, away), 1):
        with Machine(image, platform) as m:
            m.prompt()
            m.ok(f"snapshot restore s{leg - 1} --yes", 300)
            m.attach("debian")
            check_witnesses(m, sums, count)
            count = int(m.shell("tail -n 1 /tmp/count"))
            check(m.shell("nproc") == "2", f"leg {leg}: a CPU was lost on the way")
            m.detach()
            m.ok(f"snapshot delete s{leg - 1} --yes")
            save_and_power_off(m, f"s{leg}")
