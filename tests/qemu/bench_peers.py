# SPDX-License-Identifier: BSD-2-Clause
"""The same guest saved and restored by Amber and by QEMU itself: part of tests/qemu/bench.

In real time, on emulated CPUs: QEMU's guest runs straight on the emulator (TCG), Amber's
one floor higher, under the emulated SVM. The kernel, the initial RAM disk, 256 MiB, one
vCPU and 64 MiB of random data in a file system in memory are the same.
"""
import contextlib
import pathlib
import re
import socket
import subprocess
import time

from amber import (Failure, Image, Machine, debian_manifest, debian_payloads, guest_kernel, run,
                   BUILD)

BLOB = "dd if=/dev/urandom of=/tmp/blob bs=1M count=64 2>/dev/null"


class Line:
    """A stream socket that one waits at for a text."""

    def __init__(self, path):
        for _ in range(100):
            try:
                self.socket = socket.socket(socket.AF_UNIX)
                self.socket.connect(str(path))
                break
            except OSError:
                time.sleep(0.1)
        self.buffer = ""

    def send(self, text):
        self.socket.sendall(text.encode())

    def expect(self, pattern, timeout):
        end = time.monotonic() + timeout
        while not (m := re.search(pattern, self.buffer, re.S)):
            self.socket.settimeout(max(0.1, end - time.monotonic()))
            try:
                data = self.socket.recv(65536)
            except TimeoutError:
                raise Failure(f"QEMU: no {pattern!r} in {self.buffer[-300:]!r}") from None
            if not data:
                raise Failure("QEMU has ended")
            self.buffer += data.decode(errors="replace")
        self.buffer = self.buffer[m.end():]
        return m

    def order(self, text, timeout=600):
        """A line to QEMU's console: what it says, and how long that takes."""
        self.buffer = ""
        began = time.monotonic()
        self.send(text + "\n")
        said = self.expect(r"\n(.*?)\(qemu\) ", timeout).group(1)
        return said, time.monotonic() - began


@contextlib.contextmanager
def qemu(folder, *more):
    """QEMU with the guest; yields its console and the guest's serial line."""
    monitor, serial = folder / "peer.monitor", folder / "peer.serial"
    for path in (monitor, serial):
        path.unlink(missing_ok=True)
    command = ["qemu-system-x86_64", "-M", "q35", "-cpu", "EPYC", "-accel", "tcg", "-m", "256",
               "-kernel", guest_kernel(), "-initrd", BUILD / "guests/debian.cpio.gz",
               "-append", "console=ttyS0 quiet", "-display", "none", "-net", "none",
               "-drive", f"file={folder}/peer.qcow2,if=virtio,cache=unsafe",
               "-serial", f"unix:{serial},server=on,wait=off",
               "-monitor", f"unix:{monitor},server=on,wait=off", *more]
    with subprocess.Popen([str(c) for c in command], stderr=subprocess.DEVNULL) as process:
        try:
            console = Line(monitor)
            console.expect(r"\(qemu\) ", 60)
            yield console, Line(serial)
        finally:
            process.kill()


def of_qemu(folder, results):
    state = folder / "peer.state"
    run(["qemu-img", "create", "-q", "-f", "qcow2", folder / "peer.qcow2", "64M"])
    with qemu(folder) as (console, serial):
        serial.send("\r")
        serial.expect("debian# ", 600)
        serial.send(BLOB + "; echo do''ne\r")
        serial.expect("done", 300)
        _, save = console.order("savevm s")
        said, _ = console.order("info snapshots")
        size = re.search(r"\bs\s+([\d.]+) ([KMG])iB", said)
        _, load = console.order("loadvm s")
        console.order("migrate_set_parameter max-bandwidth 100G")
        _, sent = console.order(f'migrate "exec:cat > {state}"')
        said, _ = console.order("info migrate")
        pause = re.search(r"downtime: (\d+)", said)
    _, loaded = incoming(folder, state)
    results["peer.qemu_savevm.pause_ms"] = round(save * 1000)  # it stands still all the while
    results["peer.qemu_savevm.bytes"] = round(
        float(size.group(1)) * 1024 ** (" KMG".index(size.group(2))))
    results["peer.qemu_savevm.save_ms"] = round(save * 1000)
    results["peer.qemu_savevm.restore_ms"] = round(load * 1000)
    results["peer.qemu_migrate.pause_ms"] = int(pause.group(1))
    results["peer.qemu_migrate.bytes"] = state.stat().st_size
    results["peer.qemu_migrate.save_ms"] = round(sent * 1000)
    results["peer.qemu_migrate.restore_ms"] = round(loaded * 1000)


def incoming(folder, state):
    """From the order to the running guest, without the start of the emulator."""
    with qemu(folder, "-incoming", "defer") as (console, _):
        began = time.monotonic()
        console.order(f'migrate_incoming "exec:cat {state}"')
        while "running" not in console.order("info status")[0]:
            time.sleep(0.005)
        return None, time.monotonic() - began


def of_amber(folder, results):
    image = Image(folder, "peer.img", manifests=[debian_manifest(folder, vcpus=1)],
                  payloads=debian_payloads(), disks=["debian-disk:64"], store_mib=1024)
    extra = ["--", "-set", "drive.disk.cache.no-flush=on"]
    with Machine(image, extra=extra, smp=2) as m:
        m.prompt(300)
        m.guest_ready("debian", 600)
        m.shell(BLOB, 300)
        m.detach()
        began = time.monotonic()
        saved = m.ok("snapshot save debian s", 600)
        took = time.monotonic() - began
        restored = m.ok("snapshot restore s --yes", 600)
        m.until(lambda: "all of its memory is there" in m.cmd("log"), 300, "RAM does not arrive")
        eager = m.ok("snapshot restore s --eager --yes", 600)
    results["peer.amber.pause_ms"] = round(saved["pause_ns"] / 1e6, 2)
    results["peer.amber.bytes"] = saved["bytes"]
    results["peer.amber.save_ms"] = round(took * 1000)
    results["peer.amber.restore_ms"] = round(restored["first_insn_ns"] / 1e6, 1)
    results["peer.amber.restore_eager_ms"] = round(eager["first_insn_ns"] / 1e6, 1)


def peers(folder, results):
    folder = pathlib.Path(folder)
    of_amber(folder, results)
    of_qemu(folder, results)
