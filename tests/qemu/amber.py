# SPDX-License-Identifier: BSD-2-Clause
"""Driving a whole machine through its serial console, for the tests in this folder."""
import gzip
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.append(str(ROOT / "tools"))
from platforms import common  # noqa: E402
BUILD = ROOT / "build"
PROMPT = "amber> "
ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


WEAKER = {
    "qemu-svm": ("AVX2", "EPYC,+svm,+npt,-avx2"),
    "bochs-vmx": ("AVX2", "corei7_ivy_bridge_3770k"),
    "bochs-svm": ("AVX2", "zambezi"),
}


class Platform:
    """One of tools/run's, and what it asks of the tests.

    slow: what a test's patience is multiplied by; boot: how much of the machine's own clock the
    demonstration guest's boot takes, where qemu-svm is 1; features: what needs() can ask for.
    """

    def __init__(self, name, slow, boot, features):
        self.name, self.slow, self.boot, self.features = name, slow, boot, features
        self.cpu = None  # another model than tools/run's
        self.weaker = WEAKER.get(name)  # what a model without part of x86-64-v3 lacks, and its name

    def has(self, feature):
        return feature in self.features

    def arguments(self):
        return ["--platform", self.name] + (["--cpu", self.cpu] if self.cpu else [])

    def unavailable(self):
        """Why it is not to be had on this machine; None if it is."""
        p = subprocess.run([ROOT / "tools/run", "--check", *self.arguments()], check=False,
                           stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        return None if p.returncode == 0 else p.stderr.strip() or f"status {p.returncode}"


FEATURES = {
    "disk": "disk that the hypervisor has a driver for",
    "drive bus": "choice of controllers for the host's disk",
    "real time": "clock that keeps pace with the world's",
    "reset log": "record of what the CPUs did at a reset",
    "journey": "CPU of the vendor that qemu-svm has not",
    "elsewhere": "emulator other than qemu-svm's",
}
QEMU_FEATURES = ("disk", "drive bus", "real time", "reset log")
# An interpreter's clock counts instructions, 400 million to the second.
BOCHS_FEATURES = ("disk", "elsewhere")
PLATFORMS = {p.name: p for p in (
    Platform("qemu-svm", 1, 1, QEMU_FEATURES),
    Platform("qemu-kvm", 1, 1, QEMU_FEATURES),
    Platform("bochs-vmx", 4, 15, (*BOCHS_FEATURES, "journey")),
    Platform("bochs-svm", 4, 15, BOCHS_FEATURES))}


def needs(*features):
    """For a test: skipped, and reported so, where the platform lacks one of FEATURES."""
    def mark(test):
        test.needs = features
        return test
    return mark


class Failure(Exception):
    """A promise that was not kept; the text says which."""


class EmulatorDied(Failure):
    """The machine is gone, and did not power itself off; said: all that the emulator printed."""

    def __init__(self, text, said):
        super().__init__(text + (f" ({said[-400:]})" if said else ""))
        self.said = said


def check(condition, text):
    if not condition:
        raise Failure(text)


class Image:
    """A disk image in a scratch folder."""

    def __init__(self, folder, name="amber.img", loader=None, manifests=(), payloads=(), disks=(),
                 store_mib=512, esp_mib=64):
        self.path = pathlib.Path(folder) / name
        command = [ROOT / "tools/mkimage", "--output", self.path, "--efi",
                   loader or default_loader(), "--store-size", str(store_mib), "--esp-size",
                   str(esp_mib)]
        for m in manifests:
            command += ["--manifest", m]
        for p in payloads:
            command += ["--payload", p]
        for d in disks:
            command += ["--disk", d]
        run(command)


def run(command, timeout=300, ok=True):
    """Runs a host program; returns its output; Failure with the output if it fails."""
    command = [str(c) for c in command]
    p = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout,
                       check=False)
    text = p.stdout.decode(errors="replace")
    if ok and p.returncode != 0:
        raise Failure(f"{' '.join(command)}: status {p.returncode}\n{text}")
    return text


def default_loader():
    return pathlib.Path(os.environ.get("AMBER_LOADER", BUILD / "BOOTX64.EFI"))


def compile_manifest(folder, name, source):
    """dtc; returns the path of NAME.dtb."""
    dts, dtb = pathlib.Path(folder) / f"{name}.dts", pathlib.Path(folder) / f"{name}.dtb"
    dts.write_text(source)
    run(["dtc", "-q", "-I", "dts", "-O", "dtb", "-o", dtb, dts])
    return dtb


def debian_manifest(folder, name="debian", vcpus=2, memory=256, autostart=True, disk="debian-disk",
                    cmdline="console=ttyS0 quiet", clock=True, extra="", disk_properties="", devices="",
                    method="linux", kernel="vmlinuz"):
    """The demonstration guest, or a variant of it."""
    devices += 'serial0 { compatible = "amber,ns16550"; index = <0>; };'
    if disk:
        devices += ('disk0 { compatible = "amber,virtio-blk"; slot = <4>; '
                    f'backend = "{disk}"; serial = "amber-{name}"; {disk_properties} }};')
    if clock:
        devices += ('console0 { compatible = "amber,virtio-console"; slot = <5>; '
                    'port-name = "org.amber.clock"; };')
    return compile_manifest(folder, name, f"""/dts-v1/;
/ {{ compatible = "amber,guest"; vm-name = "{name}"; {"autostart;" if autostart else ""}
  memory-mib = <{memory}>; {extra} cpus {{ count = <{vcpus}>; }};
  boot {{ method = "{method}"; kernel = "{kernel}"; initrd = "debian.cpio.gz";
         command-line = "{cmdline}"; }};
  devices {{ {devices} }}; }};
""")


def initrd_with(folder, programs):
    """The demonstration guest's files and the host's programs, with what these are linked to."""
    root = pathlib.Path(folder) / "more"
    for program in programs:
        path = pathlib.Path(shutil.which(program, path="/usr/sbin:/usr/bin") or program)
        libraries = re.findall(r"(/\S+) \(0x", run(["ldd", path]))
        for source, target in [(path, f"/sbin/{program}")] + [(l, l) for l in libraries]:
            to = root / target.lstrip("/")
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, to)
    archive = pathlib.Path(folder) / "more.cpio"
    run(["sh", "-c", f"cd {root} && find . | cpio -o -H newc --quiet > {archive}"])
    both = pathlib.Path(folder) / "both.cpio"  # the kernel takes one after the other
    first = gzip.decompress((BUILD / "guests/debian.cpio.gz").read_bytes())
    both.write_bytes(gzip.compress(first + archive.read_bytes(), 6))
    return both


def deep_manifest(folder, name="deep"):
    """A guest that keeps a disk in the store busy: tests/guests/deep.c."""
    return compile_manifest(folder, name, f"""/dts-v1/;
/ {{ compatible = "amber,guest"; vm-name = "{name}"; memory-mib = <64>;
  boot {{ method = "linux"; kernel = "deep.bz"; }};
  devices {{ serial0 {{ compatible = "amber,ns16550"; index = <0>; }};
    disk0 {{ compatible = "amber,virtio-blk"; slot = <4>; backend = "store:{name}";
            size-mib = <16>; }}; }}; }};
""")


def debian_payloads():
    return [f"{guest_kernel()}:vmlinuz", f"{BUILD}/guests/debian.cpio.gz"]


def guest_kernel():
    kernel = ROOT / ".cache/guest/vmlinuz"
    check(kernel.exists(), "no guest kernel in .cache/guest: run tools/setup")
    return kernel


class Machine:
    """An emulator with Amber in it; use as a context manager."""

    def __init__(self, image, platform="qemu-svm", smp=2, mem=1024, extra=(), log=None, timeout=900):
        self.platform = PLATFORMS[platform] if isinstance(platform, str) else platform
        self.folder = tempfile.mkdtemp(prefix="amber-test-")
        self.socket_path = f"{self.folder}/serial"
        self.transcript = ""
        self.buffer = ""
        self.log = log
        path = image.path if isinstance(image, Image) else image
        self.process = subprocess.Popen(
            [str(ROOT / "tools/run"), *self.platform.arguments(), "--image", str(path), "--smp",
             str(smp), "--mem", str(mem), "--serial", f"unix:{self.socket_path}", "--timeout",
             str(timeout * self.platform.slow), *self._reset_log(), *extra],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            start_new_session=True, preexec_fn=common.die_with_parent,
            env={**os.environ, "TMPDIR": self.folder})  # it cannot tidy up when it is killed
        self.sock = self._connect()

    def _reset_log(self):
        """A machine that resets itself must not pass for one that is slow: see _pump()."""
        return ["--log-resets", f"{self.folder}/resets"] if self.platform.has("reset log") else []

    def _connect(self):
        end = time.monotonic() + 20
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise Failure("the emulator did not start:\n" +
                              self.process.stdout.read().decode(errors="replace"))
            try:
                s = socket.socket(socket.AF_UNIX)
                s.connect(self.socket_path)
                s.settimeout(0.2)
                return s
            except OSError:
                time.sleep(0.05)
        raise Failure("no serial socket after 20 s")

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind is not None and "triple fault" in self.transcript:
            self._read_log()
        self.kill()
        if kind is not None and self.transcript:
            print("--- end of the console's transcript ---")
            print(ANSI.sub("", self.transcript)[-3000:])
            print("---")

    def _read_log(self):
        """What the hypervisor knows of a guest's end, into the transcript."""
        try:
            self.send("\x1d\rlog\r")
            for _ in range(10):
                self._pump()
        except (OSError, Failure):
            pass

    def kill(self):
        """The plug is pulled: no shutdown of any kind."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()
        self.sock.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def until(self, condition, seconds, failure):
        """While the machine does something that it does not tell about."""
        end = time.monotonic() + seconds * self.platform.slow
        while not condition():
            check(time.monotonic() < end, failure)
            time.sleep(0.2)

    def wait_exit(self, timeout=60):
        """Waits until the machine has powered itself off; returns tools/run's status."""
        try:
            return self.process.wait(timeout * self.platform.slow)
        except subprocess.TimeoutExpired:
            raise Failure("the machine did not power off") from None

    # --- the serial line ---

    def _pump(self):
        try:
            data = self.sock.recv(65536)
        except (TimeoutError, socket.timeout):
            return False
        except OSError as e:
            raise EmulatorDied(f"serial line: {e}", self._last_words()) from None
        if not data:
            raise EmulatorDied("the serial line was closed: the machine is gone",
                               self._last_words())
        text = data.decode(errors="replace")
        self.transcript += text
        self.buffer += text
        if len(re.findall(r"\d files? loaded", self.transcript)) > 1:
            raise Failure("the machine has reset itself" + self._last_reset())
        return True

    def _last_reset(self):
        path = pathlib.Path(self.folder) / "resets"
        if not path.exists():
            return ""
        text = path.read_text(errors="replace")
        lines = [l for l in text[max(0, text.rfind("Triple fault") - 1500):].splitlines()
                 if re.match(r"Triple|CPU|[ER][A-Z0-9]{2}R?=|CR|CS|SS|GS|TR|GDT|IDT", l)]
        return ":\n" + "\n".join(lines[:48])

    def _last_words(self):
        """What the emulator said before it ended, of its own accord or not."""
        try:
            status = self.process.wait(10)
        except subprocess.TimeoutExpired:
            return ""
        said = self.process.stdout.read().decode(errors="replace").strip()
        return f"status {status}: {said}"

    def send(self, text):
        try:
            self.sock.sendall(text.encode())
        except OSError as e:
            raise EmulatorDied(f"serial line: {e}", self._last_words()) from None

    def expect(self, pattern, timeout=120):
        """Waits for a regular expression; returns the match; drops all before its end."""
        compiled = re.compile(pattern, re.S)
        timeout *= self.platform.slow
        end = time.monotonic() + timeout
        while True:
            m = compiled.search(self.buffer)
            if m:
                self.buffer = self.buffer[m.end():]
                return m
            if "panic on CPU" in self.buffer and "halted" in self.buffer:
                raise Failure("the hypervisor panicked: " + ANSI.sub("", self.buffer)[-1500:])
            if time.monotonic() > end:
                raise Failure(f"waited {timeout} s for {pattern!r}; last seen: "
                              f"{ANSI.sub('', self.buffer)[-400:]!r}")
            self._pump()

    def prompt(self, timeout=120):
        self.expect(re.escape(PROMPT), timeout)

    def cmd(self, line, timeout=120):
        """A console command; returns what it printed."""
        self.buffer = ""
        self.send(line + "\r")
        # a notice that comes meanwhile is written above the line, which is then drawn again
        self.expect(f"(?:{ANSI.pattern})*".join(map(re.escape, line[-12:])) +
                    rf"(?:{ANSI.pattern}|\r)*\n", 20)
        m = self.expect(r"(.*?)(?:^|[\r\n])\s*" + re.escape(PROMPT), timeout)
        return ANSI.sub("", m.group(1)).replace("\r", "").strip("\n")

    def json(self, line, timeout=120):
        """A console command with --json; returns the object."""
        text = self.cmd(line + " --json", timeout)
        lines = [l for l in text.splitlines() if l.startswith("{")]
        check(len(lines) == 1, f"{line} --json: not exactly one line of JSON: {text!r}")
        try:
            return json.loads(lines[0])
        except ValueError:
            raise Failure(f"{line} --json: not JSON: {lines[0]!r}") from None

    def ok(self, line, timeout=120):
        """As json(), and it must have succeeded."""
        answer = self.json(line, timeout)
        check(answer.get("ok") is True, f"{line}: {answer}")
        return answer

    def fails(self, line, pattern, timeout=120):
        """As json(), and it must have failed with this reason."""
        answer = self.json(line, timeout)
        check(answer.get("ok") is False, f"{line}: succeeded: {answer}")
        check(re.search(pattern, answer["error"]), f"{line}: {answer['error']!r}, not {pattern!r}")
        return answer["error"]

    def vm(self, name):
        for v in self.ok("vm list")["vms"]:
            if v["name"] == name:
                return v
        raise Failure(f"vm list: no {name}")

    # --- a guest's serial line ---

    def attach(self, name, timeout=30):
        self.send(f"vm console {name}\r")
        self.expect(r"Ctrl-\][^\n]*\n", timeout)

    def detach(self):
        self.send("\x1d")
        self.prompt(30)

    def guest_ready(self, name, timeout=300):
        """Attached: waits for the demonstration guest's shell."""
        self.attach(name)
        self.send("\r")
        self.expect(r"debian# ", timeout)

    def shell(self, line, timeout=60, prompt=r"debian# "):
        """Attached: one command in the guest's shell; returns its output."""
        # quotes in the middle: the echo of the command itself does not match
        tag = f"{time.monotonic_ns() % 1000000:06d}"
        self.buffer = ""
        self.send(f"echo beg''in-{tag}; {line}; echo en''d-{tag}\r")
        m = self.expect(rf"begin-{tag}\r*\n(.*?)end-{tag}\s*" + prompt, timeout)
        return ANSI.sub("", m.group(1)).replace("\r", "").strip("\n")

    def poweroff(self):
        self.send("host poweroff --yes\r")
        status = self.wait_exit()
        check(status == 0, f"tools/run ended with status {status} after a power-off")
