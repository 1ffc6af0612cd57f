"""What two builds of one file leave: the same programs, with other caches, logs, times and compiled Python."""

from __future__ import annotations

import marshal
import struct

from support.images import AnyEntry, Image, entry, image, layer_tar
from support.registries import random_bytes

BASE = layer_tar([("etc/", None), ("etc/motd", b"hello\n")])
FIRST, SECOND = 1_700_000_000, 1_700_090_000
"""Times of two builds, on two days."""


def pyc(when: int, code: str = "code") -> bytes:
    """A compiled file that Python checks by the time of its source."""
    return b"\xa7\r\r\n" + struct.pack("<III", 0, when, 6) + marshal.dumps(code)


def built(when: int, *more: AnyEntry, code: str = "code") -> list[AnyEntry]:
    """The entries of a layer that installs packages, an account, and Python that it compiles."""
    return [
        ("usr/lib/one", random_bytes(90_000, 1)),
        entry("srv/a.py", b"source", mtime=when * 10**9),
        entry("srv/__pycache__/a.cpython-311.pyc", pyc(when, code), mtime=when * 10**9),
        ("var/cache/apt/pkgcache.bin", (b"%010d" % when) * 3_000),
        ("var/log/apt/history.log", b"began %d" % when),
        ("var/log/dpkg.log", b"one installed at %d" % when),
        ("var/lib/dpkg/status", b"Package: one\nStatus: install ok installed\nArchitecture: all\nVersion: 1\n"),
        entry("etc/shadow", b"root:*:%d:0:99999:7:::\n" % (when // 86400), mode=0o640),
        *more,
    ]


def build(when: int, *more: AnyEntry, tag: str = "app:1", base: bytes = BASE, code: str = "code") -> Image:
    """An image of the base and such a layer."""
    return image([base, layer_tar(built(when, *more, code=code))], tag=tag)
