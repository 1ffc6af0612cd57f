"""From a layer's bytes to its index: one law a test."""

from __future__ import annotations

import hashlib
import io
import os
import random
import tarfile
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.layers import (
    END,
    chunked,
    columns,
    dense,
    file_entry,
    head,
    listed,
    member,
    old_sparse,
    pad,
    sample,
    scanned,
    sparse_1_0,
    sparse_map,
    sparse_pairs,
)  # fmt: skip
from support.streams import CODECS, encode, skippable, text

from ocitool.blob import BytesBlob, FileBlob, OpenFile
from ocitool.digest import Digest
from ocitool.errors import CancelledError, FormatError, IntegrityError, LimitError
from ocitool.layers import codecs
from ocitool.layers.entry import Entry, Kind
from ocitool.layers.index import MAX_HASHED_HOLES, LayerIndex
from ocitool.layers.scan import hash_rows, index_headers, index_layer, open_content, open_contents
from ocitool.layers.tar_runs import Run
from ocitool.layers.tarinput import TarInput
from ocitool.layers.tarwriter import write
from ocitool.task import Task

SAMPLE = sample()
DIFF_ID = Digest.of(SAMPLE)


class Pieces:
    """A blob that comes in pieces of these sizes."""

    identity = None

    def __init__(self, data: bytes, *sizes: int, digest: Digest | None = None) -> None:
        self.data, self.sizes, self.digest, self.size = data, sizes, digest, len(data)

    def pread(self, size: int, offset: int) -> bytes:
        return self.data[offset : offset + size]

    def chunks(self, offset: int = 0) -> object:
        return chunked(self.data[offset:], *self.sizes)


def test_the_diff_id_is_of_the_unpacked_bytes_and_the_digest_of_the_stored() -> None:
    stored = encode("gzip", SAMPLE)
    index = scanned(stored)
    assert (DIFF_ID, Digest.of(stored), len(SAMPLE)) == (index.diff_id, index.digest, index.size)


@pytest.mark.parametrize("codec", CODECS)
def test_the_codec_changes_nothing_about_the_entries(codec: str) -> None:
    index = scanned(encode(codec, SAMPLE[:5000], SAMPLE[5000:]))
    assert columns(scanned(SAMPLE)) == columns(index)
    assert codec == index.codec


def test_skippable_frames_count_in_the_digest_only() -> None:
    stored = skippable(b"toc") + encode("zstd", SAMPLE) + skippable(b"toc")
    index = scanned(stored)
    assert (DIFF_ID, Digest.of(stored)) == (index.diff_id, index.digest)


def test_the_magic_decides_and_not_the_name() -> None:
    kinds = [codecs.detected(BytesBlob(data)) for data in (SAMPLE, encode("gzip", SAMPLE), encode("zstd", SAMPLE), b"")]
    assert ["none", "gzip", "zstd", "none"] == kinds


@pytest.mark.parametrize("tail", [b"", bytes(9000), b"trailing", b"x" * 2000])
@pytest.mark.parametrize("codec", ["none", "gzip", "zstd"])
def test_bytes_after_the_end_count_in_the_diff_id(codec: str, tail: bytes) -> None:
    data = SAMPLE + tail
    assert Digest.of(data) == scanned(data if codec == "none" else encode(codec, data)).diff_id


def test_an_empty_layer_of_zeros_has_its_diff_id() -> None:
    index = scanned(bytes(10240))
    assert (0, Digest.of(bytes(10240)), 10240) == (len(index), index.diff_id, index.size)


def test_a_layer_of_no_bytes_has_its_diff_id() -> None:
    assert Digest.of(b"") == scanned(b"").diff_id


def test_a_layer_without_end_blocks_has_its_diff_id() -> None:
    data = member(b"a", b"x")
    assert Digest.of(data) == scanned(data).diff_id


@pytest.mark.parametrize("sizes", [(1,), (511, 2), (512,), (513,), (4096, 1), (100_000,)])
@pytest.mark.parametrize("codec", ["none", "gzip", "zstd"])
def test_any_chunking_gives_the_same_index(codec: str, sizes: tuple[int, ...]) -> None:
    stored = SAMPLE if codec == "none" else encode(codec, SAMPLE)
    with Task() as task:
        assert columns(scanned(SAMPLE)) == columns(index_layer(Pieces(stored, *sizes), task))


def test_a_large_layer_is_read_on_two_threads_alike() -> None:
    content = text(3 << 20)
    data = member(b"big", content) + SAMPLE
    index = scanned(encode("gzip", data))
    assert (Digest.of(data), hashlib.sha256(content).digest()) == (index.diff_id, index.content(0))
    assert len(scanned(data)) == len(index)


def test_every_content_is_hashed() -> None:
    index = scanned(member(b"a", b"hello") + member(b"b") + head(b"d/", b"5") + END)
    expected = [hashlib.sha256(b"hello").digest(), hashlib.sha256(b"").digest(), None]
    assert ("all", expected) == (index.hashed, [index.content(row) for row in range(3)])


def test_scan_and_listing_agree() -> None:
    found = index_headers(BytesBlob(SAMPLE))
    assert list(scanned(SAMPLE)) == list(found) == listed(SAMPLE)
    assert ("none", None, None) == (found.hashed, found.diff_id, found.digest)


def test_listing_reads_no_content(tmp_path: Path) -> None:
    path = tmp_path / "layer.tar"
    with open(path, "wb") as file:
        file.write(head(b"huge", size=1 << 32))
        file.seek((1 << 32) + 512)
        file.write(member(b"next") + END)
    found = index_headers(FileBlob(OpenFile(str(path)), 0, os.path.getsize(path)))
    assert [(b"huge", 1 << 32), (b"next", 0)] == [(entry.path, entry.size) for entry in found]


def test_completing_gives_the_contents_that_scanning_gives() -> None:
    blob = BytesBlob(SAMPLE)
    found, whole = index_headers(blob), scanned(SAMPLE)
    rows = [row for row, entry in enumerate(found) if entry.kind == Kind.FILE]
    with Task() as task:
        done = hash_rows(found, blob, rows[::-1], task)
    assert bytes(whole.contents) == bytes(done.contents)
    assert ("some", "none") == (done.hashed, found.hashed)


def test_completing_leaves_other_rows_unknown() -> None:
    blob = BytesBlob(member(b"a", b"1") + member(b"b", b"2") + END)
    with Task() as task:
        done = hash_rows(index_headers(blob), blob, [1], task)
    assert [None, hashlib.sha256(b"2").digest()] == [done.content(0), done.content(1)]


SEGMENTS = [(0, b"A" * 512), (70_000, b"B" * 1024), (200_000, b"C" * 10)]


@pytest.mark.parametrize("form", [old_sparse, sparse_pairs, sparse_map, sparse_1_0])
def test_sparse_and_dense_copies_have_one_hash(form: object) -> None:
    index = scanned(form(b"s", SEGMENTS, 300_000) + member(b"d", dense(SEGMENTS, 300_000)) + END)  # type: ignore[operator]
    assert index.content(0) == index.content(1) is not None
    assert index.sizes[0] == index.sizes[1]


def test_holes_beyond_the_bound_are_not_hashed() -> None:
    size = MAX_HASHED_HOLES + 513
    index = scanned(sparse_1_0(b"s", [(512, b"A" * 512)], size) + sparse_1_0(b"t", [(1024, b"A" * 512)], size) + END)
    assert [True, True] == [index.has_map_hash(0), index.has_map_hash(1)]
    assert index.content(0) != index.content(1)


@pytest.mark.parametrize("codec", ["none", "gzip", "zstd"])
def test_a_content_is_opened_with_its_holes_as_zeros(codec: str) -> None:
    data = member(b"a", b"first") + sparse_1_0(b"s", SEGMENTS, 300_000) + END
    blob = BytesBlob(data if codec == "none" else encode(codec, data))
    got = [b"".join(open_content(blob, entry)) for entry in scanned(data)]
    assert [b"first", dense(SEGMENTS, 300_000)] == got


def test_a_content_of_holes_alone_is_zeros() -> None:
    data = sparse_1_0(b"s", [], 100_000) + END
    assert bytes(100_000) == b"".join(open_content(BytesBlob(data), listed(data)[0]))


def test_a_stated_digest_is_checked() -> None:
    with pytest.raises(IntegrityError):
        scanned(SAMPLE, Digest.of(b"other"))


def test_a_sha512_digest_is_checked_and_kept() -> None:
    stored = encode("gzip", SAMPLE)
    index = scanned(stored, Digest.of(stored, "sha512"))
    assert (Digest.of(stored, "sha512"), DIFF_ID) == (index.digest, index.diff_id)


@pytest.mark.parametrize("stated", ["sha256", "sha512"])
def test_a_diff_id_of_sha512_is_computed_when_asked(stated: str) -> None:
    index = scanned(SAMPLE, Digest.of(SAMPLE, stated), "sha512")
    assert (Digest.of(SAMPLE, "sha512"), Digest.of(SAMPLE, stated)) == (index.diff_id, index.digest)


def test_a_damaged_layer_with_a_digest_is_an_integrity_error_whoever_noticed() -> None:
    stored = encode("gzip", SAMPLE)
    for damaged in (stored[:-9], stored[:100] + b"\0" + stored[101:], b"noise" * 300):
        with pytest.raises(IntegrityError):
            scanned(damaged, Digest.of(stored))


def test_a_bad_layer_that_is_what_its_digest_says_is_a_format_error() -> None:
    with pytest.raises(FormatError):
        scanned(b"noise" * 300, Digest.of(b"noise" * 300))


def test_a_layer_cut_at_every_512th_byte_is_an_error() -> None:
    stored = encode("gzip", SAMPLE)
    for cut in (*range(512, len(stored), 512), *range(len(stored) - 20, len(stored))):
        with pytest.raises(FormatError):
            scanned(stored[:cut])


def test_a_bomb_in_a_layer_is_a_limit_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCITOOL_MAX_UNPACKED_SIZE", "100000")
    with pytest.raises(LimitError):
        scanned(encode("gzip", member(b"a", bytes(200_000)) + END))


def test_a_cancelled_task_stops_the_scan() -> None:
    with Task() as task:
        task.cancel()
        with pytest.raises(CancelledError):
            index_layer(BytesBlob(SAMPLE), task)


def test_a_file_that_shrank_is_an_integrity_error(tmp_path: Path) -> None:
    path = tmp_path / "layer"
    path.write_bytes(SAMPLE)
    with pytest.raises(IntegrityError), Task() as task:
        index_layer(FileBlob(OpenFile(str(path)), 0, len(SAMPLE) + 512), task)


def test_an_index_gives_its_entries_back() -> None:
    index = LayerIndex()
    entries = [file_entry(b"a", 3, xattrs=((b"u", b"v"),)), file_entry(b"b", kind=Kind.CHAR, device=(1, 2))]
    for entry in entries:
        index.add(entry)
    assert entries == list(index)


def test_what_our_writer_writes_tarfile_reads() -> None:
    entries = [
        file_entry(b"d/f", 5, mtime=1_500_000_000),
        file_entry(b"n" * 200, uid=1 << 30),
        file_entry(b"d", kind=Kind.DIRECTORY),
    ]
    data = b"".join(write((entry, [b"x" * entry.size]) for entry in entries))
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert [(e.path.decode(), e.size, e.uid) for e in entries] == [(m.name, m.size, m.uid) for m in tar]


def test_padding_that_is_not_zero_is_ignored() -> None:
    data = head(b"a", size=3) + b"abc" + b"\xff" * 509 + pad(b"") + END
    assert hashlib.sha256(b"abc").digest() == scanned(data).content(0)


@pytest.mark.parametrize("codec", ["none", "gzip"])
def test_a_large_content_is_in_memory_once(codec: str, tmp_path: Path) -> None:
    size = 24 << 20
    tar = member(b"small", b"1") + member(b"large", bytes(size)) + END
    (tmp_path / "layer").write_bytes(tar if codec == "none" else encode(codec, tar))
    file = OpenFile(str(tmp_path / "layer"))
    contents = open_contents(FileBlob(file, 0, file.size), listed(tar))
    assert next(contents) == b"1"
    tracemalloc.start()
    try:
        assert len(next(contents)) == size
        assert tracemalloc.get_traced_memory()[1] < 1.4 * size
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("codec", ["none", "gzip", "zstd"])
@pytest.mark.parametrize(("unpacking", "consuming"), [(0, 0), (0, 0.002), (0.002, 0)])
def test_all_bytes_are_hashed_in_order_whichever_thread_is_ahead(codec: str, unpacking: float, consuming: float) -> None:
    chance = random.Random(3)
    data = b"".join(member(b"f%d" % n, chance.randbytes(1 << 17)) for n in range(100)) + END
    stored = encode(codec, data)

    class SlowKeeper:
        def keep(self, row: int, item: Entry, tar: TarInput) -> None:
            time.sleep(consuming)

        def keep_run(self, first: int, run: Run) -> None:
            time.sleep(consuming)

    class Slow(BytesBlob):
        def chunks(self, offset: int = 0) -> Iterator[bytes]:
            for start in range(offset, len(stored), 1 << 19):
                time.sleep(unpacking)
                yield stored[start : start + (1 << 19)]

    with Task() as task:
        for algorithm in ("sha256", "sha512"):
            found = index_layer(Slow(stored, Digest.of(stored)), task, algorithm=algorithm, keep=SlowKeeper())
            assert (algorithm, hashlib.new(algorithm, data).hexdigest()) == (found.diff_id.algorithm, found.diff_id.encoded)
            assert (len(data), Digest.of(stored)) == (found.size, found.digest)
