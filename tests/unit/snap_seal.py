#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Portable files, read and spoilt by a program that knows them from docs/snapshot-format.md alone.

Usage: snap_seal.py AMBER-SNAP CASE    (run by test_snap_seal.c, in its folder; see CASES)

There: 'plain' is an export without options, and FILE of KINDS the same snapshot with some;
'target' is an empty store.
"""
import ctypes
import os
import struct
import subprocess
import sys

import pexpect

TOOL = sys.argv[1]
HEADER, FRAME = 128, 65536
# name, arguments for the import
KINDS = {"z": [], "k": ["--key-file", "key"], "zk": ["--key-file", "key"],
         "zp": ["--passphrase-file", "words"]}


def check(condition, text):
    if not condition:
        sys.exit(f"failed: {text}")


def crc32c(crc, data):
    crc ^= 0xffffffff
    for byte in data:
        crc = CRC[(crc ^ byte) & 0xff] ^ crc >> 8
    return crc ^ 0xffffffff


def crc_entry(v):
    for _ in range(8):
        v = v >> 1 ^ (0x82f63b78 if v & 1 else 0)
    return v


CRC = [crc_entry(i) for i in range(256)]


def reseal(header):
    return header[:124] + struct.pack("<I", crc32c(0, header[:124]))


def tool(*args, timeout=120):
    p = subprocess.run([TOOL, *args], capture_output=True, text=True, timeout=timeout,
                       stdin=subprocess.DEVNULL, start_new_session=True, check=False)
    return p.returncode, p.stdout + p.stderr


def refused(data, args, what, pattern="error: spoilt: "):
    """The import fails with a reason, the store is as it was, nothing stays behind."""
    with open("spoilt", "wb") as f:
        f.write(data)
    before = open("target", "rb").read()
    status, text = tool("target", "import", "spoilt", *args)
    check(status == 1 and text.startswith("error: ") and pattern in text,
          f"{what}: status {status}: {text}")
    check(open("target", "rb").read() == before, f"{what}: the store has changed")
    check(os.listdir(os.environ["TMPDIR"]) == [], f"{what}: temporary files stay behind")


# --- reading by the document ------------------------------------------------------------

def open_frames(data, key=None):
    """The frames' contents."""
    header, at, last, out = data[:HEADER], HEADER, False, []
    extra = 17 if key else 5
    crc = crc32c(0, header[:124])
    check(struct.unpack_from("<I", header, 124)[0] == crc, "header CRC")
    sodium = ctypes.CDLL("libsodium.so.23")
    state = ctypes.create_string_buffer(256)
    if key:
        sodium.crypto_secretstream_xchacha20poly1305_init_pull(state, header[48:72], key)
    while not last:
        frame = data[at:at + FRAME + extra]
        at += len(frame)
        if key:
            content, tag = ctypes.create_string_buffer(FRAME), ctypes.c_ubyte()
            check(sodium.crypto_secretstream_xchacha20poly1305_pull(
                state, content, None, ctypes.byref(tag), frame, ctypes.c_ulonglong(len(frame)),
                header, ctypes.c_ulonglong(HEADER)) == 0, "frame does not open")
            out.append(content.raw[:len(frame) - extra])
            last = tag.value == 3
        else:
            crc = crc32c(crc, frame[:-4])
            check(struct.unpack("<I", frame[-4:])[0] == crc, "frame CRC")
            out.append(frame[:-5])
            last = frame[-5] == 3
    check(at == len(data), "bytes behind the last frame")
    return b"".join(out)


def argon2(header, words):
    sodium, key = ctypes.CDLL("libsodium.so.23"), ctypes.create_string_buffer(32)
    passes, kib = struct.unpack_from("<2I", header, 24)
    check(sodium.crypto_pwhash(key, ctypes.c_ulonglong(32), words, ctypes.c_ulonglong(len(words)),
                               header[32:48], ctypes.c_ulonglong(passes),
                               ctypes.c_size_t(kib * 1024), 2) == 0, "Argon2id")
    return key.raw


def case_document():
    """What the document says is enough to get the store out."""
    for kind in KINDS:
        data = open(kind, "rb").read()
        flags, size = struct.unpack_from("<IQ", data, 12)
        check(data[:12] == b"AMBRPORT\1\0\0\0", f"{kind}: magic")
        check(flags == ("z" in kind) + 2 * ("k" in kind) + 6 * ("p" in kind), f"{kind}: flags")
        key = open("key", "rb").read() if "k" in kind else None
        if "p" in kind:
            key = argon2(data, open("words", "rb").read().rstrip(b"\n"))
        content = open_frames(data, key)
        if "z" in kind:
            content = subprocess.run(["zstd", "-dc"], input=content, capture_output=True,
                                     check=True).stdout
        check(len(content) == size, f"{kind}: {len(content)} bytes")
        with open("content", "wb") as f:
            f.write(content)
        status, text = tool("content", "verify")
        check(status == 0 and "big: good" in text, f"{kind}: {text}")


# --- spoilt files -----------------------------------------------------------------------

def places(size):
    """All of the header; of the frames their borders, and some between."""
    yield from range(HEADER)
    for border in (HEADER, HEADER + FRAME, HEADER + FRAME + 17, HEADER + 2 * (FRAME + 17)):
        yield from (border + d for d in (-18, -17, -6, -5, -4, -1, 0, 1) if border + d < size)
    yield from range(HEADER, size, size // 23)
    yield from range(size - 20, size)


def case_flipped():
    for kind, args in KINDS.items():
        if kind == "zp":
            continue  # half a second each; the header's own fields: case_argon2
        data = open(kind, "rb").read()
        step = 7 if kind == "k" else 1  # megabytes each
        for at in sorted(set(places(len(data))))[::step]:
            bad = bytearray(data)
            bad[at] ^= 0x40
            refused(bad, args, f"{kind}: byte {at}", "error: ")
            if at < 124:  # the CRC of the header is not what has to find it
                refused(reseal(bytes(bad[:HEADER])) + bad[HEADER:], args,
                        f"{kind}: byte {at} resealed", "error: ")


def case_truncated():
    for kind, args in KINDS.items():
        if kind == "zp":
            continue
        data = open(kind, "rb").read()
        size = len(data)
        for n in {0, 7, 8, 9, *range(HEADER - 2, HEADER + 20), HEADER + FRAME + 5,
                  HEADER + FRAME + 17, *range(HEADER, size, size // 17),
                  *range(size - 20, size, 7 if kind == "k" else 1)}:
            refused(data[:n], args, f"{kind}: {n} of {size} bytes", "error: ")
        refused(data + b"x", args, f"{kind}: a byte more")


def case_frames():
    """Frames left out, doubled, and in another order."""
    for kind, args in (("k", KINDS["k"]), ("z", [])):
        data = open(kind, "rb").read()
        n = FRAME + (17 if kind == "k" else 5)
        a, b, c = (data[HEADER + i * n:HEADER + (i + 1) * n] for i in range(3))
        rest = data[HEADER + 3 * n:]
        check(len(c) == n, f"{kind}: too few frames to test")
        for frames in ((b, a, c), (a, c), (a, a, b, c), (b, c)):
            refused(data[:HEADER] + b"".join(frames) + rest, args, f"{kind}: frames changed")
    other = open("k2", "rb").read()  # the same snapshot and key
    n = FRAME + 17
    data = open("k", "rb").read()
    refused(data[:HEADER + n] + other[HEADER + n:], KINDS["k"], "frames of another file")
    refused(other[:HEADER] + data[HEADER:], KINDS["k"], "header of another file")


def frames_of(content, size, flags=1, last=b"\3"):
    """A file that is right but for its content, or the last frame's tag."""
    header = reseal(struct.pack("<8sIIQ", b"AMBRPORT", 1, flags, size).ljust(HEADER, b"\0"))
    out, crc = [header], crc32c(0, header[:124])
    pieces = [content[i:i + FRAME] for i in range(0, len(content), FRAME)] or [b""]
    for i, piece in enumerate(pieces):
        piece += last if i == len(pieces) - 1 else b"\0"
        crc = crc32c(crc, piece)
        out.append(piece + struct.pack("<I", crc))
    return b"".join(out)


def zstd(data, *args):
    return subprocess.run(["zstd", "-c", *args], input=data, capture_output=True,
                          check=True).stdout


def case_content():
    """Frames that are whole, and content that is not what the header says."""
    size = 4 << 20
    packed = zstd(bytes(size))
    refused(frames_of(packed, size), [], "zeros", "store")
    refused(frames_of(packed, size - 4096), [], "more", "more content than its header says")
    refused(frames_of(packed, size + 4096), [], "less", "less content than its header says")
    refused(frames_of(packed[:-1], size), [], "cut", "less content than its header says")
    refused(frames_of(packed + b"x", size), [], "longer", "goes on behind its content")
    refused(frames_of(packed + packed, size), [], "twice", "goes on behind its content")
    refused(frames_of(b"not zstd at all", size), [], "not compressed")
    refused(frames_of(b"", size), [], "empty", "less content than its header says")
    whole = open("plain", "rb").read()
    whole = whole.ljust(-(-len(whole) // FRAME) * FRAME, b"\0")
    refused(frames_of(whole, len(whole), 0, b"\0"), [], "all there, but no last frame", "truncated")
    refused(frames_of(whole, len(whole), 0, b"\2"), [], "unknown tag", "damaged: frame")
    # a gigabyte in a few kilobytes, and a window that wants 128 MiB
    refused(frames_of(zstd(bytes(1 << 30)), size), [], "bomb", "more content")
    refused(frames_of(zstd(os.urandom(1 << 20) * 4, "--long=27"), 4 << 20), [], "window",
            "Frame requires too much memory")
    refused(frames_of(packed, 16 << 40), [], "16 TiB", "MiB are needed for a while")
    refused(frames_of(packed, 17 << 40), [], "17 TiB", "a store of")
    refused(frames_of(packed, 4097), [], "half a block", "a store of")
    refused(frames_of(packed, 0), [], "nothing", "a store of")
    refused(frames_of(packed, size, 8), [], "flag 8", "with flags 0x8")
    refused(frames_of(packed, size, 4), [], "passphrase without encryption", "with flags 0x4")


def case_argon2():
    """Parameters beyond the limits are refused before any memory is taken."""
    data = open("zp", "rb").read()
    for passes, kib in ((0, 65536), (11, 65536), (0xffffffff, 65536), (3, 0), (3, 8191),
                        (3, (1 << 20) + 1), (3, 0xffffffff), (0xffffffff, 0xffffffff)):
        header = data[:24] + struct.pack("<2I", passes, kib) + data[32:HEADER]
        refused(reseal(header) + data[HEADER:], KINDS["zp"], f"{passes} passes, {kib} KiB",
                f"Argon2id with {passes} passes over {kib} KiB")
    # within them: another key
    header = reseal(data[:24] + struct.pack("<2I", 1, 8192) + data[32:HEADER])
    refused(header + data[HEADER:], KINDS["zp"], "other parameters", "wrong key or passphrase")
    header = reseal(data[:32] + bytes(16) + data[48:HEADER])
    refused(header + data[HEADER:], KINDS["zp"], "other salt", "wrong key or passphrase")


def case_wrong_key():
    for kind in ("k", "zk"):
        data = open(kind, "rb").read()
        refused(data, ["--key-file", "other"], kind, "spoilt: wrong key or passphrase, or damaged")
        refused(data, ["--key-file", "words"], kind, "words: not a key file")
        refused(data, ["--key-file", "nowhere"], kind, "nowhere: No such file")
        refused(data, [], kind, "encrypted with a key: say --key-file")
        refused(data, ["--passphrase-file", "words"], kind, "encrypted with a key")
    data = open("zp", "rb").read()
    with open("words3", "w", encoding="utf-8") as f:
        f.write("wrong horse battery staple\n")
    # not "key": random bytes may begin with a newline, and then there is no passphrase
    refused(data, ["--passphrase-file", "words3"], "zp", "wrong key or passphrase")
    refused(data, ["--key-file", "key"], "zp", "encrypted with a passphrase")
    refused(data, [], "zp", "no terminal to ask for the passphrase")
    # whoever names a key wants to know who made the file
    for kind in ("z", "plain"):
        refused(open(kind, "rb").read(), KINDS["k"], kind, "is not encrypted")
        refused(open(kind, "rb").read(), KINDS["zp"], kind, "is not encrypted")


def case_terminal():
    """A passphrase from the terminal: twice, unseen."""
    def export(first, second, name):
        p = pexpect.spawn(TOOL, ["store", "export", "big", name, "--encrypt", "--compress"],
                          timeout=120, encoding="utf-8")
        for prompt, answer in (("Passphrase: ", first), ("The same again: ", second)):
            p.expect_exact(prompt)
            p.sendline(answer)
        p.expect(pexpect.EOF)
        p.close()
        check(first not in p.before, f"the terminal shows the passphrase: {p.before}")
        return p.exitstatus, p.before

    status, text = export("correct horse", "battery staple", "t1")
    check(status == 1 and "the passphrases differ" in text, text)
    check(not os.path.exists("t1"), "a file in spite of it")
    status, text = export("correct horse", "correct horse", "t1")
    check(status == 0, text)
    p = pexpect.spawn(TOOL, ["target", "import", "t1", "--as", "t1"], timeout=120, encoding="utf-8")
    p.expect_exact("Passphrase: ")
    p.sendline("correct horse")
    p.expect_exact("imported as t1")
    p.close()
    p = pexpect.spawn(TOOL, ["target", "import", "t1", "--as", "t2"], timeout=120, encoding="utf-8")
    p.expect_exact("Passphrase: ")
    p.sendintr()
    p.expect_exact("passphrase: cancelled")
    p.close()
    with open("words2", "w", encoding="utf-8") as f:
        f.write("correct horse\nanother line\n")
    status, text = tool("target", "import", "t1", "--as", "t2", "--passphrase-file", "words2")
    check(status == 0, text)


CASES = {name[5:]: f for name, f in globals().items() if name.startswith("case_")}
CASES[sys.argv[2]]()
