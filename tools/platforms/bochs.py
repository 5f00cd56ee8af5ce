# SPDX-License-Identifier: BSD-2-Clause
"""Bochs: an interpreter of both vendors' CPUs, an i440FX board, time that counts instructions.

The firmware finds no fw_cfg there and brings no ACPI tables; the disk is on the PIIX3's IDE.
"""
import collections
import fcntl
import os
import re
import select
import subprocess
import time

from . import common, serial

TOOL = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "bochs")
IPS = 400000000  # instructions in one second of the machine's clock
HOST_MIB = 2048  # more than that of a guest's memory goes through a file
POWERED_OFF = "soft power off"
RESETS = re.compile(r"bx_pc_system_c::Reset\((HARDWARE|SOFTWARE)\) called")
LAST_LINES = 12  # of its log, shown when something went wrong


def missing(_):
    """Why Bochs is not to be had on this machine; None if it is."""
    found = subprocess.run([TOOL, "--check"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                           text=True, check=False)
    return None if found.returncode == 0 else found.stderr.strip().removeprefix("bochs: ")


def output(*command):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          check=False).stdout


def check_options(a):
    """What is wrong with the options on this platform; None if nothing."""
    for name in ("icount", "debug_int", "log_resets", "gdb", "monitor", "drive_bus"):
        if getattr(a, name):
            return f"--{name.replace('_', '-')}: with QEMU only, not with {a.platform}"
    return None


def write_firmware(work):
    """One file that ends at 4 GiB; returns its address."""
    code, variables = common.firmware()
    path = os.path.join(work, "firmware")
    with open(path, "wb") as out:
        for part in (variables, code):
            with open(part, "rb") as f:
                out.write(f.read())
    return (1 << 32) - os.path.getsize(path)


def write_configuration(a, work, port):
    """In the work folder, with names relative to it: no image's name needs quotes."""
    address = write_firmware(work)
    os.symlink(os.path.abspath(a.image), os.path.join(work, "disk"))
    with open(os.path.join(work, "vga"), "wb") as f:
        f.write(bytes(512))  # no option ROM, which the firmware sees from its missing signature
    with open(os.path.join(work, "rc"), "w", encoding="ascii") as f:
        f.write(f"""display_library: nogui
cpu: model={a.cpu}, count={a.smp}, quantum=32, ips={IPS}, reset_on_triple_fault=0, ignore_bad_msrs=1
memory: guest={a.mem}, host={min(a.mem, HOST_MIB)}
romimage: file=firmware, address={address:#x}
vgaromimage: file=vga
ata0-master: type=disk, path=disk, mode=flat, translation=lba
pci: enabled=1, chipset=i440fx, slot1=e1000
e1000: enabled=1, mac=52:54:00:12:34:56, ethmod=null
com1: enabled=1, mode=socket-client, dev=127.0.0.1:{port}
log: -
panic: action=fatal
error: action=ignore
info: action=ignore, pc_system=report
debug: action=ignore
clock: sync=none
""")


class Log:
    """What the emulator writes: resets and the power-off can be told from that alone."""

    def __init__(self, stream):
        self.stream = stream
        self.rest = b""
        self.resets = 0
        self.powered_off = False
        self.last = collections.deque(maxlen=LAST_LINES)

    def read(self):
        """Returns False at the end, with which the emulator has ended."""
        data = os.read(self.stream.fileno(), 65536)
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            text = line.decode(errors="replace")
            self.resets += bool(RESETS.search(text))
            self.powered_off |= POWERED_OFF in text
            self.last.append(text)
        return bool(data)


def run(bochs, bridge, end):
    """Until it ends, is reset or `end` has come; returns how."""
    log = Log(bochs.stdout)
    while True:
        poll, files = select.poll(), {}
        for file, events in bridge.wanted() + [(log.stream, select.POLLIN)]:
            number = file if isinstance(file, int) else file.fileno()
            events |= files.get(number, (None, 0))[1]
            files[number] = (file, events)
            poll.register(number, events)
        left = max(0, end - time.monotonic()) if end else None
        ready = poll.poll(None if left is None else left * 1000)
        for number, _ in ready:
            file = files[number][0]
            if file is not log.stream:
                bridge.serve(file)
            elif not log.read():
                return how_it_ended(bochs, log)
        if log.resets > 1:  # the first one is the power button
            return common.RESET
        if end and time.monotonic() >= end:
            return common.TIMEOUT


def how_it_ended(bochs, log):
    status = bochs.wait()
    if log.powered_off:
        return common.POWER_OFF
    return f"status {status}; Bochs' last lines:\n" + "\n".join(log.last)


def boot(a, work):
    """Runs the machine to its end; returns how it ended."""
    with open(a.image, "rb") as image:
        try:
            fcntl.flock(image, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return "another machine has the image in use"
        user = serial.UnixServer(common.serial_path(a)[0]) if a.serial else serial.Terminal()
        bridge = serial.Bridge(user)
        try:
            write_configuration(a, work, bridge.port)
            if a.serial and common.serial_path(a)[1]:
                user.accept(wait=True)
            return power_cycles(a, work, bridge)
        finally:
            bridge.finish()
            bridge.close()


def power_cycles(a, work, bridge):
    """A reset is a new start of the emulator: in its own, bit 0 of the power management's register
    PMREGMISC (82371AB, function 3, offset 0x80) stays set while the base address is lost, and the
    firmware then waits for ever for a timer at port 8."""
    program = output(TOOL, "--check").strip()
    models = re.findall(r"^[a-z0-9_]+$", output(program, "--help", "cpu"), re.M)
    if a.cpu not in models:
        return f"--cpu {a.cpu}: Bochs has {', '.join(models)}"
    end = time.monotonic() + a.timeout if a.timeout else None
    how = common.RESET
    while how == common.RESET:
        how = power_cycle(a, work, bridge, program, end)
        if a.no_reboot:
            break
    return how


def power_cycle(a, work, bridge, program, end):
    with subprocess.Popen([program, "-q", "-unlock", "-f", "rc", *a.extra], cwd=work,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, preexec_fn=common.die_with_parent) as bochs:
        common.kill_at_signals(bochs)
        try:
            how = run(bochs, bridge, end)
        except serial.KillWanted:
            how = "killed"
        bochs.kill()
        bochs.wait()
        bridge.finish_line()
    return how
