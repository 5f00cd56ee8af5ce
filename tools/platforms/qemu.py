# SPDX-License-Identifier: BSD-2-Clause
"""QEMU: without hardware virtualization (an AMD CPU with SVM), or on top of KVM's nested one."""
import glob
import json
import os
import shutil
import socket
import subprocess
import sys
import threading

from . import common

QEMU = "qemu-system-x86_64"
KVM = "/dev/kvm"
# What the emulated CPU lacks of the model that it is named after: expected, 18 lines.
NOISE = b"TCG doesn't support requested feature"
ENDS = {"guest-shutdown": common.POWER_OFF, "guest-reset": common.RESET}


def missing(platform):
    """Why this platform is not to be had on this machine; None if it is."""
    if not shutil.which(QEMU):
        return f"{QEMU}: not installed (tools/setup installs it)"
    return missing_kvm() if platform == "qemu-kvm" else None


def missing_kvm():
    # That /dev/kvm is there says little: it may well lack nested virtualization.
    if not os.access(KVM, os.R_OK | os.W_OK):
        return f"{KVM}: " + ("not for this user" if os.path.exists(KVM) else "not there")
    files = glob.glob("/sys/module/kvm_*/parameters/nested")
    for path in files:
        with open(path, encoding="ascii") as f:
            if f.read().strip() in ("1", "Y", "y"):
                return None
    return (f"KVM gives its guests no VMX or SVM ({files[0]} says no)" if files else
            "KVM gives its guests no VMX or SVM (no /sys/module/kvm_*/parameters/nested)")


def check_options(a):
    """What is wrong with the options on this platform; None if nothing."""
    if a.icount and a.platform == "qemu-kvm":
        return "--icount: not with KVM, where nobody counts instructions"
    return None


def quoted(path):
    """As a value in a comma-separated option."""
    return path.replace(",", ",,")


def firmware_args(work):
    """Arguments for the firmware, whose variables live in a copy that is thrown away."""
    code, variables = common.firmware()
    copy = os.path.join(work, "vars.fd")
    shutil.copyfile(variables, copy)
    return ["-drive", f"if=pflash,format=raw,readonly=on,file={code}",
            "-drive", f"if=pflash,format=raw,file={copy}"]


def serial_args(a):
    if a.serial:
        path, wait = common.serial_path(a)
        return ["-chardev", f"socket,id=console,path={quoted(path)},server=on,"
                f"wait={'on' if wait else 'off'}", "-serial", "chardev:console"]
    mux = "on" if sys.stdin.isatty() else "off"
    return ["-chardev", f"stdio,id=console,signal=off,mux={mux}", "-serial", "chardev:console",
            "-echr", str(common.ESCAPE)]


def timing_args(a):
    if a.platform == "qemu-kvm":
        return ["-accel", "kvm", "-rtc", "base=utc"]
    if a.icount:
        return ["-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off", "-seed", "1",
                "-rtc", "base=2026-01-01T00:00:00,clock=vm"]
    return ["-accel", "tcg,thread=single", "-rtc", "base=utc"]


def arguments(a, work):
    disk = {"ahci": ["-device", "ahci,id=ahci", "-device", "ide-hd,drive=disk,bus=ahci.0,bootindex=0"],
            "ide": ["-device", "piix3-ide,id=ide", "-device", "ide-hd,drive=disk,bus=ide.0,bootindex=0"],
            "virtio": ["-device", "virtio-blk-pci,drive=disk,disable-legacy=on,bootindex=0"]}
    args = [QEMU, "-M", "q35", "-cpu", a.cpu, "-smp", str(a.smp), "-m", str(a.mem), *timing_args(a),
            *firmware_args(work),
            "-drive", f"file={quoted(a.image)},format=raw,if=none,id=disk",
            *disk[a.drive_bus or "ahci"],
            "-display", "none", "-net", "none", *serial_args(a),
            "-chardev", f"socket,id=qmp,path={quoted(os.path.join(work, 'qmp'))}",
            "-mon", "chardev=qmp,mode=control"]
    if a.monitor:
        args += ["-monitor", f"unix:{quoted(a.monitor[len('unix:'):])},server=on,wait=off"]
    else:
        args += ["-monitor", "none"]
    if a.log_resets:
        args += ["-d", "cpu_reset", "-D", a.log_resets]
    if a.debug_int:
        args += ["-d", "int,cpu_reset", "-D", a.image + ".int.log"]
    if a.gdb:
        args += ["-s", "-S"]
    if a.no_reboot:
        args += ["-no-reboot"]
    return args + a.extra


class Events(threading.Thread):
    """Listens to the emulator's events: only they tell a power-off from a kill."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.reason = None
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen(1)

    def run(self):
        try:
            with self.listener.accept()[0] as connection, connection.makefile("rw") as stream:
                stream.write('{"execute": "qmp_capabilities"}\n')
                stream.flush()
                for line in stream:
                    event = json.loads(line)
                    if event.get("event") == "SHUTDOWN" and self.reason is None:
                        self.reason = event["data"]["reason"]
        except (OSError, ValueError):
            pass


def pass_on(stream):
    for line in stream:
        if NOISE not in line:
            sys.stderr.buffer.write(line)
            sys.stderr.flush()


def boot(a, work):
    """Runs the machine to its end; returns how it ended."""
    events = Events(os.path.join(work, "qmp"))
    timed_out = False
    with subprocess.Popen(arguments(a, work), stderr=subprocess.PIPE,
                          preexec_fn=common.die_with_parent) as qemu:
        common.kill_at_signals(qemu)
        errors = threading.Thread(target=pass_on, args=(qemu.stderr,), daemon=True)
        events.start()
        errors.start()
        try:
            qemu.wait(a.timeout)
        except subprocess.TimeoutExpired:
            timed_out = True
            qemu.kill()
            qemu.wait()
        errors.join(1)
        events.join(1 if qemu.returncode == 0 else 0)
    if timed_out:
        return common.TIMEOUT
    if qemu.returncode:
        return f"status {qemu.returncode}"
    return ENDS.get(events.reason, str(events.reason))
