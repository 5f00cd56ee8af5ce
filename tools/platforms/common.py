# SPDX-License-Identifier: BSD-2-Clause
"""What the platforms of tools/run have in common."""
import ctypes
import os
import signal
import sys
import termios

ESCAPE = 0x1c  # Ctrl-\: Ctrl-A moves in a line, Ctrl-] leaves a guest's console
PR_SET_PDEATHSIG = 1
# Debian 12 has both sizes of the firmware, Debian 13 the larger one. Code, then variables.
OVMF = [("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
        ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd")]
# How a machine ends, beside a sentence saying how else it ended.
POWER_OFF, RESET, TIMEOUT = "power-off", "reset", "timeout"


def firmware():
    """Paths of the firmware's code and of its variables as delivered."""
    for pair in OVMF:
        if all(os.path.exists(f) for f in pair):
            return pair
    raise FileNotFoundError(f"{OVMF[0][0]}: missing (tools/setup installs it)")


def serial_path(a):
    """Path of the Unix socket that --serial names, and whether to wait for somebody there."""
    path = a.serial[len("unix:"):]
    return (path[:-len(",wait")], True) if path.endswith(",wait") else (path, False)


def die_with_parent():
    """In a child, before the emulator: it never outlives tools/run, however that ends."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def kill_at_signals(process):
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: process.kill())


def saved_terminal(a):
    """The terminal's settings, to be put back, if the console is on one; says how to leave."""
    if not sys.stdin.isatty():
        return None
    if not a.serial:
        print("run: 'host poweroff' ends the machine; Ctrl-\\ x kills it", file=sys.stderr)
    return termios.tcgetattr(sys.stdin)


def restore_terminal(settings):
    if settings:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, settings)
