# SPDX-License-Identifier: BSD-2-Clause
"""Carries a serial line between an emulator's TCP socket and a terminal or a Unix socket.

Nothing is lost once somebody is there to read: the faster side waits for the slower one.
"""
import os
import select
import socket
import sys
import tty

from . import common

LIMIT = 1 << 16  # bytes in hand, in each direction, before the sender has to wait


class KillWanted(Exception):
    """The person at the terminal typed Ctrl-\\ x."""


class Terminal:
    """This program's standard input and output."""

    def __init__(self):
        self.keys, self.screen = sys.stdin.fileno(), sys.stdout.fileno()
        self.escape = False
        self.raw = sys.stdin.isatty()
        if self.raw:
            tty.setraw(self.keys)

    def connected(self):
        return True

    def readers(self):
        return [self.keys] if self.keys is not None else []

    def writer(self):
        return self.screen

    def read(self, _):
        data = os.read(self.keys, 4096)
        if not data:
            self.keys = None  # no more keys; the machine goes on
        return self.unescaped(data) if self.raw else data

    def unescaped(self, data):
        out = bytearray()
        for byte in data:
            if self.escape:
                self.escape = False
                if byte == ord("x"):
                    raise KillWanted
                if byte != common.ESCAPE:
                    continue
            elif byte == common.ESCAPE:
                self.escape = True
                continue
            out.append(byte)
        return bytes(out)

    def write(self, data):
        try:
            return os.write(self.screen, data)
        except OSError:
            return len(data)  # nobody reads any more; the machine goes on

    def wait_for_reader(self, _):
        pass  # it is a blocking file anyway

    def close(self):
        pass


class UnixServer:
    """A Unix socket, for one client at a time; what nobody is there to read is dropped."""

    def __init__(self, path):
        self.path = path
        self.client = None
        self.listener = socket.socket(socket.AF_UNIX)
        if os.path.exists(path):
            os.unlink(path)  # of a run that was killed
        self.listener.bind(path)
        self.listener.listen(4)

    def connected(self):
        return self.client is not None

    def accept(self, wait):
        self.listener.settimeout(None if wait else 0)
        try:
            self.client = self.listener.accept()[0]
            self.client.setblocking(False)
        except (BlockingIOError, TimeoutError):
            pass

    def readers(self):
        return [self.client or self.listener]

    def writer(self):
        return self.client

    def read(self, ready):
        if ready is self.listener:
            self.accept(False)
            return b""
        try:
            data = self.client.recv(4096)
        except BlockingIOError:
            return b""
        except OSError:
            data = b""
        if not data:
            self.hang_up()
        return data

    def write(self, data):
        try:
            return self.client.send(data)
        except BlockingIOError:
            return 0
        except OSError:
            self.hang_up()
            return len(data)

    def wait_for_reader(self, seconds):
        """From now on, write() waits so long, and hangs up if that does not help."""
        if self.client:
            self.client.settimeout(seconds)

    def hang_up(self):
        self.client.close()
        self.client = None

    def close(self):
        if self.client:
            self.hang_up()
        self.listener.close()
        if os.path.exists(self.path):
            os.unlink(self.path)


class Bridge:
    """Between one of these and the emulator, which connects to `port` on the loopback interface."""

    def __init__(self, user):
        self.user = user
        self.line = None
        self.line_ended = False
        self.listener = socket.socket(socket.AF_INET)
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(1)
        self.port = self.listener.getsockname()[1]
        self.to_user, self.to_line = bytearray(), bytearray()

    def wanted(self):
        """What to wait for: pairs of a file and poll()'s events."""
        wanted = []
        if self.line is None:
            wanted.append((self.listener, select.POLLIN))
        elif not self.line_ended:
            wanted.append((self.line, (select.POLLIN if len(self.to_user) < LIMIT else 0) |
                           (select.POLLOUT if self.to_line else 0)))
        if len(self.to_line) < LIMIT:
            wanted += [(reader, select.POLLIN) for reader in self.user.readers()]
        if self.to_user and self.user.connected():
            wanted.append((self.user.writer(), select.POLLOUT))
        return wanted

    def serve(self, file):
        """One of wanted() is ready."""
        if file is self.listener:
            self.connect()
        elif file is self.line:
            self.receive()
            self.transmit()
        elif file in self.user.readers():
            self.to_line += self.user.read(file)
        self.show()

    def connect(self):
        self.line = self.listener.accept()[0]
        self.line.setblocking(False)
        self.line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def receive(self, limit=LIMIT):
        """From the emulator, which sends byte by byte and would wait for each acknowledgement."""
        if len(self.to_user) >= limit:
            return
        try:
            data = self.line.recv(4096)
            self.line.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self.line_ended = not data
        if self.user.connected():
            self.to_user += data

    def transmit(self):
        try:
            del self.to_line[:self.line.send(self.to_line)]
        except BlockingIOError:
            pass
        except OSError:
            self.to_line.clear()  # it has ended, but its last words are still to be read

    def show(self):
        if self.to_user and self.user.connected():
            del self.to_user[:self.user.write(self.to_user)]
        elif not self.user.connected():
            self.to_user.clear()

    def finish_line(self):
        """The emulator has ended: takes its last words, and waits for another one."""
        while self.line and not self.line_ended:
            self.receive(limit=sys.maxsize)
        if self.line:
            self.line.close()
        self.line, self.line_ended = None, False

    def finish(self):
        """There will not be another emulator: shows what it said last."""
        self.user.wait_for_reader(5)
        while self.to_user:
            self.show()

    def close(self):
        for s in (self.line, self.listener):
            if s:
                s.close()
        self.user.close()
