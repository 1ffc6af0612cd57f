"""Tars made byte by byte, so that what a test states about a layer does not depend on the writer that is tested."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator

from ocitool.blob import BytesBlob
from ocitool.digest import Digest
from ocitool.layers.entry import Entry, Kind
from ocitool.layers.index import LayerIndex
from ocitool.layers.scan import index_layer
from ocitool.layers.tar import entries
from ocitool.layers.tar_notes import TarNotes
from ocitool.layers.tarinput import ChunkInput
from ocitool.task import Task

BLOCK = 512
END = bytes(1024)
POSIX, GNU, V7 = b"ustar\x0000", b"ustar  \0", bytes(8)


def pad(data: bytes) -> bytes:
    return data + bytes(-len(data) % BLOCK)


def octal(value: int, width: int) -> bytes:
    return b"%0*o\0" % (width - 1, value)


def base256(value: int, width: int) -> bytes:
    """GNU's binary numbers: the first bit set, two's complement behind it."""
    raw = bytearray((value % (1 << (8 * width))).to_bytes(width, "big"))
    raw[0] = 0xFF if value < 0 else raw[0] | 0x80
    return bytes(raw)


def seal(block: bytes | bytearray, signed: bool = False) -> bytes:
    """The header with its right checksum."""
    body = bytes(block[:148]) + b" " * 8 + bytes(block[156:])
    total = sum(body) - (256 * sum(byte > 127 for byte in body) if signed else 0)
    return body[:148] + b"%06o\0 " % total + body[156:]


def head(
    name: bytes = b"a", flag: bytes = b"0", size: int | bytes = 0, *, mode: int | bytes = 0o644, uid: int | bytes = 0,
    gid: int | bytes = 0, mtime: int | bytes = 0, link: bytes = b"", magic: bytes = POSIX, prefix: bytes = b"",
    device: tuple[int, int] | None = None, signed: bool = False,
) -> bytes:  # fmt: skip
    def number(value: int | bytes, width: int) -> bytes:
        return value.ljust(width, b"\0") if isinstance(value, bytes) else octal(value, width)

    numbers = b"" if device is None else octal(device[0], 8) + octal(device[1], 8)
    return seal(
        name.ljust(100, b"\0") + number(mode, 8) + number(uid, 8) + number(gid, 8) + number(size, 12)
        + number(mtime, 12) + b" " * 8 + flag + link.ljust(100, b"\0") + magic + bytes(64)
        + numbers.ljust(16, b"\0") + prefix.ljust(155, b"\0") + bytes(12),
        signed,
    )  # fmt: skip


def member(name: bytes = b"a", content: bytes = b"", **fields: object) -> bytes:
    return head(name, size=len(content), **fields) + pad(content)  # type: ignore[arg-type]


def record(key: bytes, value: bytes) -> bytes:
    body = b" " + key + b"=" + value + b"\n"
    length = len(body) + 1
    while len(b"%d" % length) + len(body) != length:
        length += 1
    return b"%d" % length + body


def pax(*records: tuple[bytes, bytes], flag: bytes = b"x") -> bytes:
    data = b"".join(record(*pair) for pair in records)
    return head(b"PaxHeaders/x", flag, len(data)) + pad(data)


def long(flag: bytes, text: bytes) -> bytes:
    data = text + b"\0"
    return head(b"././@LongLink", flag, len(data), magic=GNU) + pad(data)


def chunked(data: bytes, *sizes: int) -> Iterator[bytes]:
    """The data cut into these sizes, over and over."""
    at = turn = 0
    while at < len(data):
        step = sizes[turn % len(sizes)]
        yield data[at : at + step]
        at, turn = at + step, turn + 1


def listed(data: bytes, notes: TarNotes | None = None) -> list[Entry]:
    return list(entries(ChunkInput(iter([data])), notes if notes is not None else TarNotes()))


def only(data: bytes) -> Entry:
    (entry,) = listed(data)
    return entry


def rules(data: bytes) -> list[str]:
    """The rules of the notes that reading leaves."""
    notes = TarNotes()
    listed(data, notes)
    return [note.rule for note in notes.kept]


def contents(data: bytes) -> Iterator[tuple[Entry, bytes]]:
    """Entries with their stored data."""
    tar = ChunkInput(iter([data]))
    for entry in entries(tar, TarNotes()):
        yield entry, b"".join(map(bytes, tar.pieces(entry.stored)))


def scanned(data: bytes, digest: Digest | None = None, algorithm: str = "sha256") -> LayerIndex:
    with Task() as task:
        return index_layer(BytesBlob(data, digest), task, algorithm=algorithm)


def file_entry(path: bytes = b"a", size: int = 0, **changes: object) -> Entry:
    return Entry(path, Kind.FILE, 0o644, 0, 0, 0, size, b"", 0, size, None, None, None)._replace(**changes)  # type: ignore[arg-type]


def columns(index: LayerIndex) -> tuple[object, ...]:
    """All that an index says about its entries."""
    return list(index), bytes(index.contents), index.diff_id, index.size, index.notes


def sample(seed: int = 7, files: int = 6) -> bytes:
    """A tar with one entry of every kind and dialect."""
    chance = random.Random(seed)
    parts: list[bytes] = [
        head(b"./", b"5", mode=0o755),
        head(b"dir/", b"5", mode=0o1777, mtime=1700000000),
        *(member(b"dir/f%d" % i, chance.randbytes(chance.randrange(1500)), mtime=i) for i in range(files)),
        head(b"link", b"2", link=b"../x"),
        head(b"hard", b"1", link=b"./dir/f0"),
        head(b"null", b"3", device=(1, 3)),
        head(b"disk", b"4", device=(8, 1)),
        head(b"pipe", b"6"),
        member(b"dir/.wh.gone"),
        member(b"dir/.wh..wh..opq"),
        member(b".wh..wh.plnk"),
        member(b"tail", b"x" * 300, prefix=b"some/where"),
        long(b"L", b"n/" * 90 + b"end"), member(b"short", b"long name", magic=GNU),
        long(b"K", b"t/" * 90 + b"end"), head(b"s", b"2", link=b"t", magic=GNU),
        pax((b"path", b"\xff\xfe" * 80), (b"mtime", b"-1.5"), (b"uid", b"4000000000"), (b"SCHILY.xattr.user.a", b"\0\n=\xff")),
        member(b"p", b"pax"),
        member(b"big", b"b256", uid=base256(1 << 40, 8), mtime=base256(-5, 12), magic=GNU),
        old_sparse(b"old", [(512, b"A" * 512), (4096, b"B" * 100)], 8192),
        sparse_map(b"s01", [(0, b"C" * 512), (2048, b"D" * 512)], 4096),
        sparse_1_0(b"s10", [(1024, b"E" * 512)], 9000),
        member(b"v7/", magic=V7, flag=b"\0"),
    ]  # fmt: skip
    return b"".join(parts) + END


Holes = Iterable[tuple[int, bytes]]


def dense(segments: Holes, size: int) -> bytes:
    out = bytearray(size)
    for offset, data in segments:
        out[offset : offset + len(data)] = data
    return bytes(out)


def old_sparse(name: bytes, segments: Holes, size: int) -> bytes:
    """GNU's old sparse format: four segments in the header, twenty-one in each extension block."""
    found = list(segments)
    data = b"".join(part for _, part in found)
    pairs = [octal(at, 12) + octal(len(part), 12) for at, part in found]
    block = bytearray(head(name, b"S", len(data), magic=GNU))
    block[386:482] = b"".join(pairs[:4]).ljust(96, b"\0")
    block[482] = len(pairs) > 4
    block[483:495] = octal(size, 12)
    blocks = [seal(block)]
    for start in range(4, len(pairs), 21):
        more = len(pairs) > start + 21
        blocks.append(b"".join(pairs[start : start + 21]).ljust(504, b"\0") + bytes([more]) + bytes(7))
    return b"".join(blocks) + pad(data)


def sparse_pairs(name: bytes, segments: Holes, size: int) -> bytes:
    """GNU sparse 0.0: the map as repeated pax records."""
    found = list(segments)
    data = b"".join(part for _, part in found)
    repeated = [
        pair for at, part in found for pair in ((b"GNU.sparse.offset", b"%d" % at), (b"GNU.sparse.numbytes", b"%d" % len(part)))
    ]
    return (
        pax((b"GNU.sparse.size", b"%d" % size), (b"GNU.sparse.numblocks", b"%d" % len(found)), *repeated)
        + member(name, data)
    )  # fmt: skip


def sparse_map(name: bytes, segments: Holes, size: int) -> bytes:
    """GNU sparse 0.1: the map as one pax record, the name as another."""
    found = list(segments)
    data = b"".join(part for _, part in found)
    text = b",".join(b"%d,%d" % (at, len(part)) for at, part in found)
    return (
        pax(
            (b"GNU.sparse.size", b"%d" % size), (b"GNU.sparse.numblocks", b"%d" % len(found)),
            (b"GNU.sparse.name", name), (b"GNU.sparse.map", text),
        )
        + member(b"GNUSparseFile.0/" + name, data)
    )  # fmt: skip


def sparse_1_0(name: bytes, segments: Holes, size: int) -> bytes:
    """GNU sparse 1.0: the map at the head of the data."""
    found = list(segments)
    lines = [len(found), *(number for at, part in found for number in (at, len(part)))]
    data = pad(b"".join(b"%d\n" % line for line in lines)) + b"".join(part for _, part in found)
    return (
        pax(
            (b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.name", name),
            (b"GNU.sparse.realsize", b"%d" % size),
        )
        + member(b"GNUSparseFile.0/" + name, data)
    )  # fmt: skip
