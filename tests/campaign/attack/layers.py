"""Layers that an honest builder would not make: names, links, headers, numbers and compressed streams, by chance.

Checksums and lengths are right again after a mutation unless the mutation is about them, so that what is behind is reached.
"""

from __future__ import annotations

import random
import zlib
from functools import cache
from typing import NamedTuple

import zstandard
from campaign import fuzz, package_fuzz
from support.layers import BLOCK, END, GNU, V7, base256, head, long, member, old_sparse, pad, pax, record, seal, sparse_1_0
from support.streams import encode, skippable

FREE = 1 << 30
"""What a reader unpacks of one layer whatever its stored size."""

PLAIN = (
    b"etc/",
    b"etc/motd",
    b"etc/passwd",
    b"bin/",
    b"bin/sh",
    b"lib/",
    b"lib/libc.so",
    b"a",
    b"b",
    b"a/b",
    b"a/b/c",
    b"d/",
    b"tmp/x",
)
ODD = (
    b"./a", b"/a", b"a//b", b"a/./b", b"a/../b", b"../x", b"../../../../etc/x", b"..", b".", b"./", b"/", b"", b"//", b"...",
    b".wh.a", b"etc/.wh.motd", b".wh..wh..opq", b"etc/.wh..wh..opq", b".wh.", b".wh..", b".wh...", b".wh..wh.plnk", b"a/.wh.b",
    b"\xff\xfe", b"\xc3\xa9", b"e\xcc\x81", b"\x1b[2J\x1b[31mred", b"\x1b]0;title\x07", b"nl\nname", b"cr\rname", b"tab\tname",
    "\u202egnp.exe".encode(), "zero\u200bwidth".encode(), "\U000e0041tag".encode(), "sud\u043e".encode(), b"\xc2\x9b31m",
    b"\x7f",
    "\u2028line".encode(), "\ufeffbom".encode(), b"`tick`", b"``` fence", b"| pipe |", b"<script>", b"](http://x)",
    b"a'b\"c$(id)",
    b"-rf", b"--force", b"*", b"[", b"con", b"a\\b", b"x" * 255, b"x" * 300, b"d/" * 60 + b"x",
    b".ocitool-aaaaaaaaaaaaaaaa.part",
    b"proc/self/root/x", b"dev/stdin",
)  # fmt: skip
TARGETS = (
    b"a", b"b", b"etc/motd", b"../a", b"/a", b"/", b"..", b"../..", b"../../../../../../../..", b"/etc/passwd", b"a/b", b".",
    b"",
    b"/proc/self/root", b"/dev/null", b"loop", b"l1", b"l2", b"x" * 5000, b"\x1b[31m",
)  # fmt: skip
TIMES = (
    b"0",
    b"-1",
    b"1700000000",
    b"1700000000.123456789",
    b"-9e99",
    b"1e400",
    b"nan",
    b"99999999999999999999",
    b"-62135596801",
    b"x",
)
NUMBERS = ((100, 8), (108, 8), (116, 8), (124, 12), (136, 12), (329, 8), (337, 8), (386, 12), (398, 12), (483, 12))
CODECS = ("none", "gzip", "zstd")


class Layer(NamedTuple):
    """A layer as it is stored, and unpacked as far as that is known; `unpacked` counts bytes as the law of time does."""

    tar: bytes
    stored: bytes
    codec: str
    entries: int
    unpacked: int


def name(chance: random.Random, canary: bytes) -> bytes:
    turn = chance.random()
    if turn < 0.5:
        return chance.choice(PLAIN)
    if turn < 0.85:
        return chance.choice(ODD)
    if turn < 0.93:
        return chance.choice((canary + b"/made", b"../" * 12 + canary.lstrip(b"/") + b"/made", b"a/" + canary + b"/made"))
    return b"/".join(chance.choice((*PLAIN, *ODD)).strip(b"/") for _ in range(chance.randrange(1, 4)))


def target(chance: random.Random, canary: bytes) -> bytes:
    turn = chance.random()
    if turn < 0.4:
        return chance.choice((canary, canary + b"/file", b"../" * 12 + canary.lstrip(b"/"), canary + b"/directory"))
    return chance.choice(TARGETS) if turn < 0.8 else name(chance, canary)


def content(chance: random.Random) -> bytes:
    turn = chance.randrange(8)
    if turn == 0:
        return b""
    if turn == 1:
        return chance.randbytes(chance.randrange(3000))
    if turn == 2:
        return b"line\n" * chance.randrange(400)
    if turn == 3:
        return "\x1b[31mred\x07 \u202e \u200b text\n".encode() * chance.randrange(1, 20)
    if turn == 4:
        return bytes(chance.randrange(20_000))
    return chance.choice((b"root:x:0:0::/:/bin/sh\n", b"a\nb\nc\n", b"#!/bin/sh\n", b"\x7fELF", b"{}"))


def recorded(chance: random.Random) -> tuple[bytes, bytes]:
    """The path and content of a file that records packages, often with a change."""
    target = chance.choice(list(package_fuzz.PATHS))
    found, path = chance.choice(samples(target)), chance.choice(package_fuzz.PATHS[target][1])
    if chance.random() < 0.7:
        found = fuzz.mutate(found, chance, samples(target), target)
    return path.encode(), found


@cache
def samples(target: str) -> list[bytes]:
    return package_fuzz.corpus(target)


def entry(chance: random.Random, canary: bytes) -> bytes:
    """One entry with whatever stands before it."""
    path, turn = name(chance, canary), chance.random()
    fields: dict[str, object] = {"mode": chance.choice((0o644, 0o755, 0, 0o4755, 0o2755, 0o1777, 0o7777, 0o000))}
    if chance.random() < 0.2:
        fields["uid"] = chance.choice((0, 1000, 65534, base256(1 << 40, 8), base256(-1, 8), b"8888888", b"", 0o7777777))
    if chance.random() < 0.2:
        fields["mtime"] = chance.choice((0, 1, 0o77777777777, base256(-5, 12), base256(1 << 70, 12), b"xyz"))
    before = b""
    if len(path) > 99:
        before = chance.choice((long(b"L", path), pax((b"path", path))))
        path = path[:99]
    if chance.random() < 0.15:
        before += extended(chance, canary)
    if turn < 0.06:
        return member(*recorded(chance), **fields)
    if turn < 0.45 and not path.endswith(b"/"):
        return before + member(path, content(chance), **fields)
    if turn < 0.6:
        return before + head(path.rstrip(b"/") + b"/", b"5", **fields)  # type: ignore[arg-type]
    if turn < 0.8:
        goal = target(chance, canary)
        if len(goal) > 99:
            before += long(b"K", goal)
        return before + head(path, chance.choice((b"2", b"2", b"1")), link=goal[:99], **fields)  # type: ignore[arg-type]
    if turn < 0.85:
        return before + head(
            path, chance.choice((b"3", b"4", b"6")), device=(chance.choice((0, 1, 8)), chance.choice((0, 1, 3)))
        )
    if turn < 0.9:
        holes = [(chance.randrange(1 << 20), b"s" * chance.randrange(600)) for _ in range(chance.randrange(1, 30))]
        size = chance.choice((1 << 20, 1 << 33, 100, 0))
        return before + chance.choice((old_sparse, sparse_1_0))(path, sorted(holes), size)
    if turn < 0.94:
        return before + head(
            path, chance.choice((b"7", b"g", b"x", b"V", b"M", b"\0", b"Z", b"D")), chance.choice((0, 512, 10))
        )
    return before + member(path, content(chance), magic=chance.choice((GNU, V7)), flag=chance.choice((b"0", b"\0")))


def extended(chance: random.Random, canary: bytes) -> bytes:
    """A pax header by chance, right or wrong."""
    pairs = []
    for _ in range(chance.choice((1, 1, 2, 5, 60))):
        pairs.append(chance.choice((
            (b"path", name(chance, canary)), (b"linkpath", target(chance, canary)), (b"mtime", chance.choice(TIMES)),
            (b"size", chance.choice((b"0", b"-1", b"10", b"99999999999999", b"x"))), (b"uid", b"4000000000"), (b"uid", b"-1"),
            (b"SCHILY.xattr.security.capability", b"\1\0\0\2\0 \0\0" + bytes(12)), (b"SCHILY.xattr.user.a",
            chance.randbytes(20)),
            (b"SCHILY.xattr.trusted.overlay.opaque", b"y"), (b"SCHILY.xattr.security.selinux", b"x"), (b"SCHILY.xattr.", b""),
            (b"SCHILY.xattr." + b"n" * 300, b"v"), (b"GNU.sparse.map", b"0,1,5,9"), (b"GNU.sparse.major", b"1"), (b"comment",
            b"c" * 3000),
            (b"\x1b[31m", b"\x1b]0;x\x07"), (b"hdrcharset", b"BINARY"), (b"GNU.sparse.size", b"9" * 18), (b"a" * 900, b""),
        )))  # fmt: skip
    if chance.random() < 0.15:
        data = b"".join(record(*pair) for pair in pairs)
        data = chance.choice((data[:-1], b"9999999999 " + data, b"-5 x=y\n", data.replace(b"=", b" "), b"5 a=b\n" * 9))
        return head(b"PaxHeaders/x", b"x", len(data)) + pad(data)
    return pax(*pairs, flag=chance.choice((b"x", b"x", b"x", b"g")))


def tar(chance: random.Random, canary: bytes, count: int) -> bytes:
    parts = [entry(chance, canary) for _ in range(count)]
    data = bytearray(b"".join(parts) + chance.choice((END, END, END, b"", bytes(512), END + b"trailing", END + END)))
    for _ in range(chance.choice((0, 0, 0, 1, 3))):
        reseal(data, chance)
    turn = chance.random()
    if turn < 0.04 and data:
        del data[chance.randrange(len(data)) :]
    elif turn < 0.08 and data:
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(data)


def reseal(data: bytearray, chance: random.Random) -> None:
    """One header's number, flag or byte changed, and its checksum made right again."""
    headers = [at for at in range(0, len(data) - BLOCK + 1, BLOCK) if data[at + 257 : at + 262] == b"ustar"]
    if not headers:
        return
    start = chance.choice(headers)
    block = bytearray(data[start : start + BLOCK])
    at, width = chance.choice(NUMBERS)
    turn = chance.randrange(4)
    if turn == 0:
        block[156] = chance.choice(b"\x0001234567xgLKSVXMND")
    elif turn == 1:
        block[at : at + width] = chance.choice((b"\x80", b"\xff", b"7", b"0", b" ", b"\0")) * width
    elif turn == 2:
        block[at : at + width] = base256(chance.choice((-1, 1, 511, 513, 1 << 33, 1 << 40)), width)
    else:
        block[chance.randrange(BLOCK)] = chance.randrange(256)
    data[start : start + BLOCK] = seal(bytes(block[:BLOCK]).ljust(BLOCK, b"\0"))


# What costs much


def costly(chance: random.Random) -> bytes:
    """A tar of one shape that is cheap to store and tempting to read slowly."""
    n = chance.choice((30, 200, 1000))
    shapes = (detours, chained_links, deep, whited, repeated, headers, many_attributes, late_links, wide, looping)
    return b"".join(chance.choice(shapes)(n)) + END


def detours(n: int) -> list[bytes]:
    return [head(b"d/", b"5"), *(head(b"l%d" % i, b"2", link=b"l%d/../l%d" % (i + 1, i + 1)) for i in range(n)),
        head(b"l%d" % n, b"2", link=b"d"),
            *(member(b"l0/f%d" % i) for i in range(20))]  # fmt: skip


def chained_links(n: int) -> list[bytes]:
    return [member(b"h0", b"x"), *(head(b"h%d" % (i + 1), b"1", link=b"h%d" % i) for i in range(n))]


def late_links(n: int) -> list[bytes]:
    return [*(head(b"h%d" % i, b"1", link=b"h%d" % (i + 1)) for i in range(n)), member(b"h%d" % n, b"x")]


def deep(n: int) -> list[bytes]:
    path = b"/".join(b"d%d" % (i % 7) for i in range(min(n, 900)))
    return [part for i in range(max(1, 3000 // n)) for part in (long(b"L", path + b"/f%d" % i), member(b"x", b"y", magic=GNU))]


def whited(n: int) -> list[bytes]:
    return [part for i in range(n) for part in (member(b"w/.wh.f%d" % i), member(b"w/f%d" % i), member(b"w/.wh..wh..opq"))]


def repeated(n: int) -> list[bytes]:
    return [part for i in range(n) for part in (member(b"same", b"%d" % i), head(b"same/", b"5"), member(b"same/below"))]


def headers(n: int) -> list[bytes]:
    return [pax((b"comment", b"c" * 100))] * n + [member(b"a")]


def many_attributes(n: int) -> list[bytes]:
    every = pax(*((b"SCHILY.xattr.user.n%d" % i, b"v" * 50) for i in range(200)), flag=b"g")
    return [every, *(member(b"f%d" % i) for i in range(n))]


def wide(n: int) -> list[bytes]:
    return [member(b"wide/" + b"%08d" % i * 8) for i in range(n)]


def looping(n: int) -> list[bytes]:
    return [part for i in range(n) for part in (head(b"o%d" % i, b"2", link=b"o%d" % ((i * 7 + 1) % n)), member(b"o%d/x" % i))]


def packed(chance: random.Random, data: bytes) -> tuple[bytes, str, int]:
    """The tar in a codec, by chance in several parts or broken, and how many bytes that unpacks to for the law of time."""
    codec = chance.choice(("none", "gzip", "gzip", "zstd", "zstd", "xz", "bzip2"))
    if codec == "none":
        return data, codec, len(data)
    cut, turn = chance.randrange(len(data) + 1), chance.random()
    if turn < 0.7:
        return encode(codec, data), codec, len(data)
    if turn < 0.8:
        return encode(codec, data[:cut], b"", data[cut:]), codec, len(data)
    if turn < 0.84 and codec == "zstd":
        return (
            skippable(b"toc") + encode(codec, data[:cut]) + skippable(b"x" * 70_000) + encode(codec, data[cut:]),
            codec,
            len(data),
        )
    if turn < 0.88:
        return encode(codec, *[b""] * chance.choice((100, 3000)), data), codec, len(data)
    if turn < 0.9 and codec in ("gzip", "zstd"):
        size = chance.choice((1 << 26, 1 << 26, 1 << 26, 3 << 29))
        return bomb(size, codec), codec, min(size, FREE)
    stream = bytearray(encode(codec, data))
    if turn < 0.95:
        del stream[chance.randrange(len(stream)) :]
    else:
        stream[chance.randrange(len(stream))] ^= 1 << chance.randrange(8)
    return bytes(stream), codec, len(data) * 2 + (1 << 20)


@cache
def bomb(size: int, codec: str) -> bytes:
    """One entry of so many zeros."""
    start, zeros = head(b"zeros", b"0", size), bytes(1 << 20)
    if codec == "zstd":
        made = zstandard.ZstdCompressor(level=1).compressobj()
        return b"".join(
            [made.compress(start), *(made.compress(zeros) for _ in range(size >> 20)), made.compress(END), made.flush()]
        )
    once = zlib.compressobj(1, zlib.DEFLATED, 31)
    return b"".join(
        [once.compress(start), *(once.compress(zeros) for _ in range(size >> 20)), once.compress(END), once.flush()]
    )


def layer(chance: random.Random, canary: bytes) -> Layer:
    turn = chance.random()
    if turn < 0.12:
        data = costly(chance)
    elif turn < 0.15:
        data = chance.choice((b"", END, bytes(10240), b"not a tar", b"\x1f\x8b"))
    else:
        data = tar(chance, canary, chance.choice((0, 1, 3, 8, 8, 30)))
    stored, codec, unpacked = packed(chance, data)
    return Layer(data, stored, codec, data.count(b"ustar") + len(data) // 4096, unpacked)
