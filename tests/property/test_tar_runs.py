"""Laws of reading many entries at once: it gives what reading them one by one gives."""

from __future__ import annotations

import random
from collections.abc import Iterator

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.layers import END, GNU, POSIX, V7, base256, chunked, columns, head, long, member, pad, pax, seal

from ocitool.blob import BytesBlob
from ocitool.errors import OcitoolError
from ocitool.layers.entry import Kind
from ocitool.layers.index import LayerIndex
from ocitool.layers.scan import content_hash, index_headers, index_layer
from ocitool.layers.tar import entries
from ocitool.layers.tar_notes import TarNotes
from ocitool.layers.tarinput import ChunkInput, SeekInput, TarInput
from ocitool.task import Task

few = settings(max_examples=400, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))

NAMES = [
    b"./", b"./a", b"/abs", b"a//b", b"a/../b", b"../out", b"..", b"", b".", b"a/.", b".hidden", b"a/.wh.b", b".wh..wh..opq",
    b".wh..wh.plnk", b".wh.", b"a/.wh.b/c", b"a\0b", b"x" * 100, b"file/", b"a/b//", b".../a",
]  # fmt: skip
NUMBERS: list[bytes | int] = [
    0, 0o644, 7777, b"     12 ", b"12\0 9", b"", b"9", b"x", b"-1", b"+1", b"1_0", base256(70_000, 8), base256(-2, 8),
    b"7777777", b"77777777",
]  # fmt: skip
TIMES: list[bytes | int] = [
    *NUMBERS[:11], base256(1 << 40, 12), base256(-5, 12), b"7" * 12, b"7" * 11, base256(1 << 90, 12),
]  # fmt: skip
SIZES: list[bytes | int] = [0, 5, 8, b"", b"q", b"10\0", base256(8, 12), base256(-1, 12), b"1" * 11]
LINKS = [b"a", b"", b"./x/../y", b"/b", b"l\0m", b"z" * 100]
TYPES = [bytes([byte]) for byte in b"0123456789SVDgxLKX\0 q"]
KEYS = [b"path", b"mtime", b"size", b"SCHILY.xattr.user.a", b"uid"]
MEMBERS: list[st.SearchStrategy[bytes]] = [
    st.builds(lambda name: member(name, b"content"), st.sampled_from(NAMES)),
    st.builds(lambda name, size: head(name, b"5", size), st.sampled_from(NAMES), st.sampled_from(SIZES)),
    st.builds(lambda name, flag, link: head(name, flag, link=link), st.sampled_from(NAMES), st.sampled_from([b"1", b"2"]),
              st.sampled_from(LINKS)),
    st.builds(lambda flag, size: head(b"special", flag, size, device=(1, 3)), st.sampled_from(TYPES), st.sampled_from([0, 3])),
    st.builds(lambda mode, uid, gid, mtime: head(b"n", mode=mode, uid=uid, gid=gid, mtime=mtime),
              *[st.sampled_from(NUMBERS)] * 3, st.sampled_from(TIMES)),
    st.builds(lambda size: head(b"s", size=size) + pad(b"12345678"), st.sampled_from(SIZES)),
    st.builds(lambda magic, prefix: member(b"name", b"c", magic=magic, prefix=prefix), st.sampled_from([GNU, V7, POSIX]),
              st.sampled_from([b"", b"p", b"p/q/", b"/p", b"p\0q", b".", b"p" * 155])),
    st.builds(lambda key, value, flag: pax((key, value), flag=flag), st.sampled_from(KEYS),
              st.sampled_from([b"1", b"1.5", b"long/name", b"-3"]), st.sampled_from([b"x", b"g"])),
    st.just(long(b"L", b"d/" * 90 + b"x")),
    st.just(member(b"signed\xe9", b"", signed=True)),
    st.just(bytes(512)),
    st.builds(lambda seed, sealed: broken(member(b"whole", b"content"), seed, sealed), st.integers(0, 1 << 20), st.booleans()),
]  # fmt: skip
ODD = st.one_of(MEMBERS)


def broken(data: bytes, seed: int, sealed: bool) -> bytes:
    """An entry with one byte of its header changed; `sealed`: with the checksum that belongs to it."""
    chance = random.Random(seed)
    made = bytearray(data)
    made[chance.randrange(512)] = chance.randrange(256)
    return (seal(made[:512]) if sealed else bytes(made[:512])) + bytes(made[512:])


def ordinary(count: int, seed: int) -> bytes:
    """Entries as most layers have them."""
    chance = random.Random(seed)
    parts = []
    for n in range(count):
        name = b"dir%d/item%d" % (n // 4, n)
        parts.append(
            head(name + b"/", b"5", mode=0o755, mtime=n) if chance.random() < 0.2
            else head(name, b"2", link=b"../%d" % n) if chance.random() < 0.1
            else member(name, chance.randbytes(chance.choice([0, 3, 512, 700])), mtime=n // 3, uid=n // 7)
        )  # fmt: skip
    return b"".join(parts)


ARCHIVES = st.lists(
    st.one_of(st.builds(ordinary, st.integers(1, 12), st.integers(0, 99)), st.lists(ODD, min_size=1, max_size=2).map(b"".join)),
    min_size=1, max_size=6,
).map(b"".join)  # fmt: skip


def one_by_one(tar: TarInput, *, hashed: bool) -> LayerIndex:
    index, notes = LayerIndex(), TarNotes()
    for entry in entries(tar, notes):
        if hashed and entry.kind == Kind.FILE:
            index.add(entry, content_hash(tar, entry))
        else:
            index.add(entry)
    index.notes, index.notes_dropped = tuple(notes.kept), notes.dropped
    return index


def outcome(index: LayerIndex | OcitoolError) -> object:
    return (
        (type(index), str(index)) if isinstance(index, OcitoolError) else (columns(index)[:2], index.notes, index.notes_dropped)
    )


class Pieces(BytesBlob):
    sizes: tuple[int, ...]

    def chunks(self, offset: int = 0) -> Iterator[bytes]:
        return chunked(self.pread(self.size, 0), *self.sizes)


@few
@given(ARCHIVES, st.lists(st.integers(1, 6000), min_size=1, max_size=4))
def test_entries_in_runs_are_those_that_are_read_one_by_one(data: bytes, sizes: list[int]) -> None:
    data += END
    found: list[LayerIndex | OcitoolError] = []
    with Task() as task:
        for read in (
            lambda: one_by_one(ChunkInput(iter([data])), hashed=True),
            lambda: index_layer(BytesBlob(data), task),
            lambda: index_layer(pieces(data, sizes), task),
        ):
            try:
                found.append(read())
            except OcitoolError as error:
                found.append(error)
    assert outcome(found[0]) == outcome(found[1]) == outcome(found[2])


@few
@given(ARCHIVES)
def test_headers_in_runs_are_those_that_are_read_one_by_one(data: bytes) -> None:
    found: list[LayerIndex | OcitoolError] = []
    blob = BytesBlob(data + END)
    for read in (lambda: one_by_one(SeekInput(blob), hashed=False), lambda: index_headers(blob)):
        try:
            found.append(read())
        except OcitoolError as error:
            found.append(error)
    assert outcome(found[0]) == outcome(found[1])


def pieces(data: bytes, sizes: list[int]) -> Pieces:
    made = Pieces(data)
    made.sizes = tuple(sizes)
    return made
