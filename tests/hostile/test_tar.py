"""Tars made to hurt: an error of ours, in bounded time and memory."""

from __future__ import annotations

import contextlib

import pytest
from support.layers import (
    BLOCK,
    END,
    GNU,
    base256,
    head,
    listed,
    long,
    member,
    old_sparse,
    pad,
    pax,
    sample,
    scanned,
    sparse_1_0,
    sparse_map,
)  # fmt: skip

from ocitool import limits
from ocitool.blob import BytesBlob
from ocitool.errors import FormatError, LimitError, OcitoolError
from ocitool.layers import index, scan
from ocitool.layers.tar import entries
from ocitool.layers.tar_notes import TarNotes
from ocitool.layers.tarinput import ChunkInput, SeekInput


def test_a_tar_cut_anywhere_never_gives_more_than_it_has() -> None:
    whole = sample()
    expected = listed(whole)
    for cut in (*range(0, len(whole), BLOCK), *range(len(whole) - 20, len(whole)), *range(1, len(whole), 509)):
        got = []
        try:
            for entry in entries(ChunkInput(iter([whole[:cut]])), TarNotes()):
                got.append(entry)
        except FormatError:
            pass
        assert got == expected[: len(got)]


def test_a_tar_cut_inside_a_header_or_content_is_an_error() -> None:
    whole = member(b"a", b"x" * 1000)
    for cut in (1, 511, 512, 513, 1511):
        with pytest.raises(FormatError):
            listed(whole[:cut])


@pytest.mark.parametrize("source", [lambda data: ChunkInput(iter([data])), lambda data: SeekInput(BytesBlob(data))])
def test_a_negative_size_never_moves_backwards(source: object) -> None:
    data = member(b"a") + head(b"label", b"V", base256(-1024, 12), magic=GNU) + END
    with pytest.raises(FormatError, match="negative size"):
        list(entries(source(data), TarNotes()))  # type: ignore[operator]


def test_a_sparse_map_in_a_file_of_exabytes_ends_with_the_archive() -> None:
    size = (b"size", b"%d" % ((1 << 63) - 1 - 511))
    records = ((b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.realsize", b"1"), size)
    with pytest.raises(FormatError):
        listed(pax(*records) + head(b"s"))


def test_a_huge_extension_header_is_refused_before_it_is_read() -> None:
    with pytest.raises(LimitError):
        listed(head(b"x", b"x", limits.TAR_HEADER_DATA + 1) + END)


def test_many_extension_headers_of_one_entry_count_together() -> None:
    part = pax((b"a", b"x" * (limits.TAR_HEADER_DATA // 4)))
    with pytest.raises(LimitError):
        listed(part * 4 + member() + END)


def test_global_records_are_bounded_in_number() -> None:
    with pytest.raises(LimitError, match="global"):
        listed(pax(*((b"SCHILY.xattr.%d" % i, b"") for i in range(1000)), flag=b"g") + member() + END)


def test_global_records_are_bounded_in_size() -> None:
    with pytest.raises(LimitError, match="global"):
        listed((pax((b"comment", b"x" * 500_000), flag=b"g") + member()) * 4 + END)


def test_a_chain_of_global_headers_without_entries_ends() -> None:
    with pytest.raises(LimitError):
        listed(pax((b"comment", b"x" * 1000), flag=b"g") * 2000)


def test_a_path_beyond_the_limit_is_refused() -> None:
    with pytest.raises(LimitError):
        listed(long(b"L", b"x" * (limits.PATH_LENGTH + 1)) + member(magic=GNU) + END)


def test_a_path_too_deep_is_refused() -> None:
    with pytest.raises(LimitError):
        listed(pax((b"path", b"a/" * (limits.PATH_DEPTH + 2))) + member() + END)


def test_more_entries_than_the_limit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCITOOL_MAX_LAYER_ENTRIES", "10")
    assert len(listed(member() * 10 + END)) == 10
    with pytest.raises(LimitError):
        listed(member() * 11 + END)


@pytest.mark.parametrize("form", [old_sparse, sparse_map, sparse_1_0])
def test_more_sparse_segments_than_the_limit_are_refused(form: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SPARSE_SEGMENTS", 30)
    segments = [(1024 * i, b"x") for i in range(60)]
    with pytest.raises((LimitError, FormatError)):
        listed(form(b"s", segments, 1 << 20) + END)  # type: ignore[operator]


def test_a_terabyte_of_holes_costs_nothing() -> None:
    found = scanned(sparse_1_0(b"lastlog", [(1 << 39, b"x" * 512)], 1 << 40) + END)
    assert (1 << 40, True) == (found.sizes[0], found.has_map_hash(0))


def test_many_sparse_files_of_holes_are_refused_before_they_are_hashed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "MAX_LAYER_HOLES", 10 << 20)
    data = sparse_1_0(b"s", [], 1 << 20)
    assert len(scanned(data * 10 + END)) == 10
    with pytest.raises(LimitError, match="holes"):
        scanned(data * 11 + END)


def test_a_million_sparse_blocks_cannot_ask_for_an_hour_of_hashing() -> None:
    assert index.MAX_LAYER_HOLES <= 16 << 30


def test_numbers_of_any_width_in_any_field_give_an_error_of_ours() -> None:
    for at, width in ((100, 8), (108, 8), (116, 8), (124, 12), (136, 12), (329, 8), (337, 8)):
        for filler in (b"\x80", b"\xff", b"\xc0", b"\xbf", b"9", b" ", b"7", b"-"):
            block = bytearray(head(b"a", b"3", device=(1, 1)))
            block[at : at + width] = filler * width
            total = sum(block[:148]) + sum(block[156:]) + 256
            block[148:156] = b"%06o\0 " % total
            with contextlib.suppress(OcitoolError):
                listed(bytes(block) + END)


def test_bytes_of_any_kind_are_never_a_traceback() -> None:
    for seed in range(60):
        import random

        noise = random.Random(seed).randbytes(3000)
        with pytest.raises(OcitoolError):
            listed(pad(noise))
