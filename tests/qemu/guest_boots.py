# SPDX-License-Identifier: BSD-2-Clause
"""Guests that nobody adapted, from their manifests in guests/: each boots and says so."""
import re

from amber import ANSI, Machine, ROOT, check, default_loader, run


def machine(ctx, name, mem=1024, timeout=900):
    """A machine with what 'make run GUEST=name' puts on the image."""
    image = ctx.folder / f"{name}.img"
    run([ROOT / "tools/guest", "image", name, "--output", image, "--loader", default_loader()],
        timeout=1200)
    m = Machine(image, ctx.platform, mem=mem, timeout=timeout)
    m.image = image
    return m


def test_guest_gnumach(ctx):
    """GNU Mach finds memory and clock by Multiboot, and lacks only its servers."""
    with machine(ctx, "gnumach") as m:
        m.prompt()
        m.attach("gnumach")
        text = m.expect(r"GNU Mach (.*?)No bootstrap code loaded with the kernel!", 60).group(1)
        check(re.search(r"0100000:0+8000000, available", text),
              f"it does not find its 128 MiB: {text!r}")
        year = re.search(r"RTC time is (\d{4})-\d\d-\d\d \d\d:\d\d:\d\d", text)
        check(year and int(year[1]) >= 2024, f"it does not find the time: {text!r}")
        m.detach()
        m.poweroff()


def test_guest_memtest(ctx):
    """memtest86+ tests the memory that it was given and finds no error."""
    with machine(ctx, "memtest") as m:
        m.prompt()
        m.attach("memtest")
        m.expect(r"Memtest86\+ v6", 60)
        m.expect(r"#4 ", 120)  # the fifth test: it takes them in turn
        m.expect(r"Pass: ", 60)  # the screen is drawn again from here on
        text = ANSI.sub("", m.expect(r"Errors: *(\d+)", 60).group(0))
        check(re.search(r"Errors: *0$", text), text)
        check(" of 63.6MB]" in ANSI.sub("", m.transcript), "it does not test all of its 64 MiB")
        m.detach()
        m.poweroff()


def test_guest_kernels(ctx):
    """The example kernels boot by their methods and end with their codes."""
    with machine(ctx, "kernels") as m:
        m.prompt()
        for name, code in (("mb32", 1), ("mb64", 1), ("mb2", 2), ("pvh", 3), ("flat", 1)):
            vm = f"kernel-{name}"
            m.until(lambda vm=vm: m.vm(vm)["disposition"] == "debug-exit", 30, f"{vm} does not end")
            check(m.vm(vm)["exit_code"] == code, f"{vm}: {m.vm(vm)}")
        m.poweroff()


def test_guest_installer(ctx):
    """Debian's installer asks for a language, and the keys of the serial line move it on."""
    with machine(ctx, "installer", mem=1792, timeout=1800) as m:
        m.prompt()
        m.attach("installer")
        m.expect(r"Select a language", 600)
        m.send("\r")
        m.expect(r"Select your location", 120)
        m.send("\r")
        m.expect(r"Configure the keyboard", 120)
        m.detach()
        m.poweroff()


def log_in(m, name, timeout=900):
    """Attached: waits for the whole Debian's login, and for its shell."""
    m.expect(r"debian login: ", timeout)
    m.send("root\r")
    m.expect(r"root@debian:~# ", 120)
    # without bracketed paste and colours, and with lines as long as they come
    m.send("bind 'set enable-bracketed-paste off'; PS1='who''le# '; stty columns 400\r")
    m.expect(r"whole# ", 60)
    check(whole(m, "nproc") == "2", f"{name} does not have both CPUs")
    check(whole(m, "findmnt -no SOURCE,FSTYPE /").split() == ["/dev/vda3", "ext4"],
          f"{name}: its root is not the disk")
    state = whole(m, "systemctl is-system-running --wait", 600)
    check(state == "running", f"{name}: systemd is {state}: " + whole(m, "systemctl --failed"))


def whole(m, line, timeout=120):
    """Attached and logged in: one command; returns its output."""
    return m.shell(line, timeout, prompt=r"whole# ").strip()


def test_guest_debian_uefi(ctx):
    """A whole Debian starts from OVMF by its own boot loader; its variables outlive a reset."""
    with machine(ctx, "debian-uefi", timeout=3600) as m:
        m.prompt()
        m.attach("debian-uefi")
        log_in(m, "debian-uefi")
        check("BootCurrent" in whole(m, "efibootmgr"), "it was not started by UEFI")
        whole(m, "efibootmgr -q -c -d /dev/vda -p 1 -L kept -l '\\EFI\\debian\\grubx64.efi'")
        check(re.search(r"Boot\d{4}\* kept", whole(m, "efibootmgr")), "no variable was made")
        whole(m, "echo written > /root/kept; sync")
        m.send("reboot\r")
        log_in(m, "debian-uefi")
        text = whole(m, "efibootmgr")
        entry = re.search(r"Boot(\d{4})\* kept", text)
        check(entry, f"the variable is gone: {text}")
        check(f"BootCurrent: {entry[1]}" in text, f"it is not what it was started from: {text}")
        check(whole(m, "cat /root/kept") == "written", "what was written is gone")
        m.send("poweroff\r")
        m.expect(r"Power down", 300)
        m.detach()
        m.until(lambda: m.vm("debian-uefi")["disposition"] == "poweroff", 60, "it is not off")
        m.poweroff()


COUNT = "/root/count"


def busy(m):
    """Attached: work to be frozen in the middle of: a count on the disk, files and their sums."""
    whole(m, "for d in /root /dev/shm; do dd if=/dev/urandom of=$d/data bs=1M count=16 status=none;"
             " sha256sum $d/data; done > /root/sums; sync")
    whole(m, f"(n=0; while sleep 0.2; do n=$((n+1)); echo $n >> {COUNT}; done) & true")


def goes_on(m, name, since):
    """Attached: all of it is as it was, and goes on; returns the count."""
    m.send("\r")
    m.expect(r"whole# ", 120)
    now = int(whole(m, f"tail -n 1 {COUNT}"))
    check(now >= since, f"{name}: counted to {since}, is at {now}")
    whole(m, f"while [ $(tail -n 1 {COUNT}) -le {now} ]; do sleep 0.1; done", 60)
    lines = whole(m, f"awk '$1 != NR {{print; exit}}' {COUNT}")
    check(not lines, f"{name}: its count is broken: {lines}")
    whole(m, "echo 3 > /proc/sys/vm/drop_caches")
    bad = whole(m, "sha256sum -c --quiet /root/sums 2>&1", 300)
    check(not bad, f"{name}: {bad}")
    said = whole(m, "dmesg | grep -E 'I/O error|EXT4-fs error|lockup|hung task|BUG|Oops|rcu.*stall'")
    check(not said, f"{name}: its kernel says: {said}")
    check(whole(m, "systemctl is-system-running") == "running", f"{name}: systemd has trouble")
    return now


def test_guest_frozen(ctx):
    """A whole Debian on UEFI is thrown back, frozen over a power-off, thawed and cloned."""
    name = "debian-uefi"
    with machine(ctx, name, mem=2560, timeout=3600) as m:
        m.prompt()
        m.attach(name)
        log_in(m, name)
        busy(m)
        at = int(whole(m, f"sleep 1; tail -n 1 {COUNT}"))
        m.detach()
        m.ok(f"snapshot save {name} live", 300)
        m.attach(name)
        m.send("\r")
        m.expect(r"whole# ", 120)
        whole(m, "efibootmgr -q -c -d /dev/vda -p 1 -L later -l '\\EFI\\debian\\grubx64.efi'")
        whole(m, "echo later > /root/later; rm /root/data; sync")
        m.detach()
        m.ok("snapshot restore live --yes", 300)
        m.attach(name)
        at = goes_on(m, name, at)
        check(whole(m, "ls /root/later 2>&1").startswith("ls: cannot"), "a file from later is there")
        check("later" not in whole(m, "efibootmgr"), "a variable from later is there")
        m.detach()
        m.ok(f"snapshot save {name} ice --poweroff", 300)
        m.poweroff()
        image = m.image
    with Machine(image, ctx.platform, mem=2560, timeout=3600) as m:
        m.prompt()
        m.ok("snapshot restore ice --yes", 300)
        m.attach(name)
        at = goes_on(m, name, at)
        whole(m, "efibootmgr -q -c -d /dev/vda -p 1 -L thawed -l '\\EFI\\debian\\grubx64.efi'")
        m.detach()
        m.ok(f"vm poweroff {name}", 60)
        m.ok("vm clone ice twin --count=2", 300)
        for twin in ("twin-1", "twin-2"):
            m.attach(twin)
            goes_on(m, twin, at)
            check("thawed" not in whole(m, "efibootmgr"), f"{twin}: a variable of another machine")
            m.detach()
        m.poweroff()


def test_guest_debian_bios(ctx):
    """The same Debian starts from SeaBIOS, by GRUB in its boot sector."""
    with machine(ctx, "debian-bios", timeout=3600) as m:
        m.prompt()
        m.attach("debian-bios")
        m.expect(r"SeaBIOS", 60)
        log_in(m, "debian-bios")
        check(whole(m, "ls /sys/firmware/efi 2>&1 | wc -l") == "1", "it was started by UEFI")
        m.send("reboot\r")
        log_in(m, "debian-bios")
        m.detach()
        m.ok("vm shutdown debian-bios")
        m.until(lambda: m.vm("debian-bios")["disposition"] == "poweroff", 300,
                "it does not heed its power button")
        m.poweroff()


def test_guest_ipxe(ctx):
    """iPXE starts from OVMF and takes commands."""
    with machine(ctx, "ipxe") as m:
        m.prompt()
        m.attach("ipxe")
        m.expect(r"Press Ctrl-B for the iPXE command line", 300)
        m.send("\x02")
        m.expect(r"iPXE> ", 30)
        m.send("echo ${platform} ${buildarch}\r")
        m.expect(r"\nefi x86_64", 30)
        m.detach()
        m.poweroff()
