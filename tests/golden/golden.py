# SPDX-License-Identifier: BSD-2-Clause
"""The golden stores: what is in each, how to unpack it, and digests of what is frozen in it.

NAME.store.xz is a whole store; golden.json says what its snapshots are and what they hold. Neither
is ever made anew or taken away: a version that has been released stays readable for ever.
"""
import hashlib
import json
import lzma
import pathlib
import struct
import subprocess

HERE = pathlib.Path(__file__).resolve().parent
SNAP = HERE.parent.parent / "build/amber-snap"
RECORD = HERE / "golden.json"
PT_LOAD = 1


def recorded():
    """By the store's name: how it was made and what is in it."""
    return json.loads(RECORD.read_text())


def content(name):
    """A store's bytes."""
    return lzma.decompress((HERE / f"{name}.store.xz").read_bytes())


def version_and_features(data):
    """Of a store's newer superblock: the version, and the features that no reader may ignore."""
    first, second = (struct.unpack_from("<Q", data, at + 64)[0] for at in (0, 4096))
    at = 0 if first > second else 4096
    return struct.unpack_from("<I", data, at + 8)[0], struct.unpack_from("<Q", data, at + 32)[0]


def snap(*arguments, ok=True):
    """build/amber-snap's standard output; CalledProcessError if it fails."""
    return subprocess.run([SNAP, *map(str, arguments)], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, check=ok, timeout=120).stdout


def listed(store):
    """The snapshots in a store's file, as amber-snap lists them."""
    answer = json.loads(snap("--json", store, "list"))
    assert answer["ok"], answer
    return answer["snapshots"]


def ram_digest(store, name, folder):
    """SHA-256 of the guest's memory: each piece's address and length (8 bytes each), then it."""
    core = pathlib.Path(folder) / "core"
    snap(store, "core", name, core)
    data = core.read_bytes()
    core.unlink()
    at, count = struct.unpack_from("<Q", data, 32)[0], struct.unpack_from("<H", data, 56)[0]
    digest = hashlib.sha256()
    for i in range(count):
        kind, _, offset, _, address, size, _, _ = struct.unpack_from("<IIQQQQQQ", data,
                                                                     at + 56 * i)
        if kind == PT_LOAD:
            digest.update(struct.pack("<QQ", address, size) + data[offset:offset + size])
    return digest.hexdigest()


def describe(store, folder):
    """What is recorded of each snapshot in a store's file."""
    return {s["name"]: {
        "vm": s["vm"], "id": s["id"], "created": s["created"], "memory": s["memory_bytes"],
        "format": s["format"], "parent": s.get("parent"),
        "ram": ram_digest(store, s["name"], folder),
        "state": hashlib.sha256(snap(store, "show", s["name"], "--dtb")).hexdigest(),
    } for s in listed(store)}
