"""Laws of layers that hold for any input."""

from __future__ import annotations

import io
import tarfile

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.layers import chunked, columns, contents, sample, scanned
from support.streams import CODECS, decoded, encode, skippable

from ocitool.blob import BytesBlob
from ocitool.layers.codecs import decode
from ocitool.layers.entry import OPAQUE_NAME, WHITEOUT_PREFIX, Entry, Kind, normalise
from ocitool.layers.scan import hash_rows, index_headers
from ocitool.layers.tarwriter import write
from ocitool.task import Task

few = settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
BYTE = st.integers(1, 255).filter(lambda byte: byte != 0x2F)
NAME = (
    st.lists(BYTE, min_size=1, max_size=140).map(bytes)
    .filter(lambda name: name not in (b".", b"..") and not name.startswith(WHITEOUT_PREFIX))
)  # fmt: skip
PATH = st.lists(NAME, min_size=1, max_size=4).map(b"/".join)
I64 = st.integers(-(1 << 63), (1 << 63) - 1)
OWNER = st.one_of(st.integers(0, 70_000), I64)
TIME = st.one_of(st.integers(0, 1 << 31).map(lambda seconds: seconds * 10**9), I64)
XATTR = st.lists(st.integers(1, 255).filter(lambda byte: byte != 0x3D), min_size=1, max_size=20).map(bytes)
KINDS = [kind for kind in Kind if kind not in (Kind.METADATA, Kind.INVALID)]


@st.composite
def members(draw: st.DrawFn) -> tuple[Entry, bytes]:
    kind = draw(st.sampled_from(KINDS))
    content = draw(st.binary(max_size=1600)) if kind == Kind.FILE else b""
    link = b""
    if kind == Kind.SYMLINK:
        link = draw(st.lists(st.integers(1, 255), min_size=1, max_size=200).map(bytes))
    elif kind == Kind.HARDLINK:
        link = draw(PATH)
    device = None
    if kind in (Kind.CHAR, Kind.BLOCK):
        device = (draw(st.integers(0, 8**7 - 1)), draw(st.integers(0, 8**7 - 1)))
    xattrs = tuple(sorted(draw(st.dictionaries(XATTR, st.binary(max_size=80), max_size=3)).items()))
    entry = Entry(
        draw(PATH), kind, draw(st.integers(0, 0o7777)), draw(OWNER), draw(OWNER), draw(TIME), len(content), link, 0,
        len(content), device, xattrs or None, None,
    )  # fmt: skip
    return entry, content


MEMBERS = st.lists(members(), max_size=6)


def written(found: list[tuple[Entry, bytes]]) -> bytes:
    return b"".join(write((entry, [content]) for entry, content in found))


@few
@given(MEMBERS)
def test_what_is_written_is_read(found: list[tuple[Entry, bytes]]) -> None:
    assert found == [(entry._replace(offset=0), content) for entry, content in contents(written(found))]


@few
@given(MEMBERS)
def test_python_tarfile_reads_what_is_written(found: list[tuple[Entry, bytes]]) -> None:
    small = [
        (entry._replace(link=normalise(entry.link), mtime=entry.mtime // 10**9 % (1 << 33) * 10**9), content)
        for entry, content in found
        if not entry.path.endswith(b" ")
    ]
    with tarfile.open(fileobj=io.BytesIO(written(small)), errors="surrogateescape", encoding="utf-8") as tar:
        for (entry, content), item in zip(small, tar, strict=True):
            name = entry.path
            if entry.kind == Kind.WHITEOUT:
                name = b"/".join([*entry.path.split(b"/")[:-1], WHITEOUT_PREFIX + entry.path.split(b"/")[-1]])
            elif entry.kind == Kind.OPAQUE:
                name += b"/" + OPAQUE_NAME
            assert name == item.name.encode("utf-8", "surrogateescape")
            assert (entry.mode, entry.uid, entry.gid, entry.mtime) == (item.mode, item.uid, item.gid, int(item.mtime) * 10**9)
            if entry.kind in (Kind.SYMLINK, Kind.HARDLINK):
                assert entry.link == item.linkname.encode("utf-8", "surrogateescape").rstrip(b"/")
            if entry.kind == Kind.FILE:
                file = tar.extractfile(item)
                assert file is not None and content == file.read()


TEXT = st.text(st.characters(codec="ascii", exclude_characters="\0/"), min_size=1, max_size=120)


@few
@given(
    st.lists(st.tuples(TEXT, st.binary(max_size=700), st.integers(0, 1 << 40), st.integers(0, 1 << 33)), max_size=4),
    st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
)
def test_what_python_tarfile_writes_is_read(files: list[tuple[str, bytes, int, int]], form: int) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for name, content, owner, mtime in files:
            item = tarfile.TarInfo("d/" + name + "x")
            item.size, item.uid, item.gid, item.mtime = len(content), owner, owner, mtime
            tar.addfile(item, io.BytesIO(content))
    expected = [
        (normalise(b"d/" + name.encode() + b"x"), content, owner, owner, mtime * 10**9)
        for name, content, owner, mtime in files
        if not name.startswith(".wh.")
    ]
    got = [(e.path, content, e.uid, e.gid, e.mtime) for e, content in contents(out.getvalue()) if e.kind == Kind.FILE]
    assert expected == got


@few
@given(st.lists(st.integers(1, 3000), min_size=1, max_size=6), st.integers(0, 9), st.sampled_from(["none", "gzip", "zstd"]))
def test_any_chunking_gives_the_same_index(sizes: list[int], seed: int, codec: str) -> None:
    from ocitool.layers.scan import index_layer

    data = sample(seed)
    stored = data if codec == "none" else encode(codec, data)

    class Chunks(BytesBlob):
        def chunks(self, offset: int = 0) -> object:  # type: ignore[override]
            return chunked(stored, *sizes)

    with Task() as task:
        assert columns(scanned(data)) == columns(index_layer(Chunks(stored), task))


@few
@given(MEMBERS)
def test_scan_listing_and_completion_agree(found: list[tuple[Entry, bytes]]) -> None:
    data = written(found)
    index, headers = scanned(data), index_headers(BytesBlob(data))
    assert list(index) == list(headers)
    with Task() as task:
        rows = [row for row, entry in enumerate(headers) if entry.kind == Kind.FILE]
        assert index.contents == hash_rows(headers, BytesBlob(data), rows, task).contents


@few
@given(
    st.lists(st.one_of(st.binary(max_size=300), st.integers(0, 100_000).map(bytes)), min_size=1, max_size=5),
    st.sampled_from(CODECS),
    st.lists(st.integers(1, 5000), min_size=1, max_size=4),
)
def test_decoding_undoes_encoding(parts: list[bytes], codec: str, sizes: list[int]) -> None:
    data = encode(codec, *parts)
    assert b"".join(parts) == decoded(data) == b"".join(decode(chunked(data, *sizes), codec))


@few
@given(st.lists(st.tuples(st.booleans(), st.binary(max_size=200)), min_size=1, max_size=8))
def test_skippable_frames_change_nothing(parts: list[tuple[bool, bytes]]) -> None:
    data = b"".join(skippable(part) if skip else encode("zstd", part) for skip, part in parts)
    assert b"".join(part for skip, part in parts if not skip) == decoded([data], "zstd")


@few
@given(st.binary(max_size=60).map(lambda name: name.replace(b"\0", b"")))
def test_normalising_twice_changes_nothing(name: bytes) -> None:
    assert normalise(name) == normalise(normalise(name)) == normalise(b"./" + name + b"/")
