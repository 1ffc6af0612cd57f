"""Compressed streams that are cut, flipped or bombs: an error, never silence."""

from __future__ import annotations

import contextlib
import gzip
import random
import time
import zlib

import pytest
from support.streams import CODECS, decoded, encode, skippable, text

from ocitool import limits
from ocitool.errors import FormatError, LimitError, OcitoolError
from ocitool.layers import gzip_codec
from ocitool.layers.codecs import decode


@pytest.fixture(params=["isal", "zlib"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "zlib":
        monkeypatch.setattr(gzip_codec, "_engine", lambda: (gzip_codec._ZlibMember, zlib.error))
    else:
        pytest.importorskip("isal")


def cuts(data: bytes) -> list[int]:
    return sorted({*range(1, 40), *range(512, len(data), 512), *range(len(data) - 20, len(data))})


@pytest.mark.usefixtures("engine")
def test_a_gzip_stream_cut_anywhere_is_an_error_with_either_engine() -> None:
    data = encode("gzip", text(200_000))
    for cut in cuts(data):
        with pytest.raises(FormatError):
            decoded([data[:cut]], "gzip")


@pytest.mark.parametrize("codec", CODECS)
def test_a_stream_cut_anywhere_is_an_error(codec: str) -> None:
    data = encode(codec, text(200_000))
    for cut in cuts(data):
        with pytest.raises(FormatError):
            decoded([data[:cut]], codec)


@pytest.mark.parametrize("codec", CODECS)
def test_a_last_part_cut_anywhere_is_an_error(codec: str) -> None:
    first, last = encode(codec, text(3000)), encode(codec, text(3000, 2))
    for cut in range(1, len(last), 7):
        with pytest.raises(FormatError):
            decoded([first + last[:cut]], codec)


def test_a_skippable_frame_cut_anywhere_is_an_error() -> None:
    data = encode("zstd", b"a") + skippable(b"x" * 100)
    for cut in range(len(data) - 107, len(data)):
        with pytest.raises(FormatError):
            decoded([data[:cut]], "zstd")


@pytest.mark.parametrize("codec", CODECS)
def test_a_flipped_byte_is_never_a_traceback_and_never_other_content(codec: str) -> None:
    content = text(20_000)
    data = encode(codec, content)
    chance = random.Random(3)
    for _ in range(300):
        at = chance.randrange(len(data))
        broken = data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]
        with contextlib.suppress(OcitoolError):
            assert content == decoded([broken], codec)


@pytest.mark.parametrize("codec", CODECS)
def test_noise_behind_a_magic_is_an_error(codec: str) -> None:
    magic = encode(codec, b"x")[:6]
    for seed in range(50):
        with pytest.raises(OcitoolError):
            decoded([magic + random.Random(seed).randbytes(3000)], codec)


@pytest.mark.parametrize("codec", ["gzip", "zstd", "xz"])
def test_a_bomb_stops_at_the_ratio_with_little_memory(codec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "RATIO_FREE", 4 << 20)
    out, data = 0, encode(codec, bytes(64 << 20))
    with pytest.raises(LimitError):
        for piece in decode([data], codec):
            out += len(piece)
            assert len(piece) <= 1 << 20
    assert out <= (4 << 20) + (1 << 20) + 200 * len(data)


@pytest.mark.usefixtures("engine")
def test_empty_members_by_the_thousand_take_time_in_proportion() -> None:
    member = gzip.compress(b"", mtime=0)
    started = time.monotonic()
    assert b"" == decoded([member * 50_000], "gzip")
    assert time.monotonic() - started < 5


def test_empty_zstd_frames_by_the_thousand_take_time_in_proportion() -> None:
    started = time.monotonic()
    assert b"" == decoded([encode("zstd", b"") * 30_000], "zstd")
    assert time.monotonic() - started < 5
