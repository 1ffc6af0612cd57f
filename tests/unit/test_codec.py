"""Compression by content: one law a test."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import random
import re
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard
from support.layers import chunked
from support.streams import CODECS, PART, decoded, encode, skippable, text

from ocitool import limits
from ocitool.errors import FormatError, LimitError
from ocitool.layers import codecs, compress, gzip_codec, streams
from ocitool.layers.codecs import decode, sniff
from ocitool.spec import mediatypes
from ocitool.task import Task
from ocitool.transports import destinations


@pytest.fixture(params=["isal", "zlib"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each gzip law holds with either engine."""
    if request.param == "zlib":
        monkeypatch.setattr(gzip_codec, "_engine", lambda: (gzip_codec._ZlibMember, zlib.error))
    else:
        pytest.importorskip("isal")
    return str(request.param)


@pytest.mark.parametrize("codec", CODECS)
def test_a_codec_is_known_by_its_magic(codec: str) -> None:
    assert [codec, codec] == [sniff(encode(codec, b"hello")), sniff(encode(codec, b""))]


@pytest.mark.parametrize(
    "head", [b"", b"\x1f", b"\x1f\x8b", b"\x1f\x8b\x07", b"BZh9", b"BZhello", b"./", bytes(512), b"\xfd7zXZ"]
)
def test_anything_else_is_not_compressed(head: bytes) -> None:
    assert sniff(head) == "none"


@pytest.mark.parametrize("number", range(16))
def test_a_skippable_frame_begins_a_zstd_stream(number: int) -> None:
    assert sniff(skippable(b"", number)) == "zstd"


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("size", [0, 1, 511, 100_000, 3_000_000])
def test_what_was_encoded_is_decoded(codec: str, size: int) -> None:
    data = text(size)
    assert data == decoded(encode(codec, data))


@pytest.mark.parametrize("codec", CODECS)
def test_every_part_of_a_stream_is_decoded(codec: str) -> None:
    parts = [text(size, size) for size in (0, 1, 70_000, 0, 5, 600_000, 3)]
    assert b"".join(parts) == decoded(encode(codec, *parts))


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("sizes", [(1,), (2, 3), (7, 1, 4096), (1 << 20,)])
def test_any_chunking_decodes_the_same(codec: str, sizes: tuple[int, ...]) -> None:
    parts = [text(9000), b"", text(2), random.Random(1).randbytes(9000)]
    assert b"".join(parts) == b"".join(decode(chunked(encode(codec, *parts), *sizes), codec))


@pytest.mark.parametrize("sizes", [(1,), (2, 3), (100_000,)])
def test_either_gzip_engine_reads_many_members(engine: str, sizes: tuple[int, ...]) -> None:
    parts = [text(size, size) for size in (0, 1, 70_000, 0, 5)]
    assert b"".join(parts) == b"".join(decode(chunked(encode("gzip", *parts), *sizes), "gzip"))


def test_either_gzip_engine_reads_optional_header_fields(engine: str) -> None:
    out = io.BytesIO()
    with gzip.GzipFile("a name", "wb", fileobj=out, mtime=99) as file:
        file.write(b"hello")
    plain = gzip.compress(b"more", mtime=0)
    fields = b"\4\0AB\0\0" + b"name\0" + b"comment\0"
    header = plain[:3] + bytes([4 | 8 | 16]) + plain[4:10] + fields
    crc = zlib.crc32(plain[:3] + bytes([2]) + plain[4:10]) & 0xFFFF
    with_crc = plain[:3] + bytes([2]) + plain[4:10] + crc.to_bytes(2, "little") + plain[10:]
    assert b"hellomoremore" == decoded(out.getvalue() + header + plain[10:] + with_crc)


def test_either_gzip_engine_reads_thousands_of_tiny_members(engine: str) -> None:
    assert b"ab" * 20_000 == decoded(encode("gzip", b"ab") * 20_000)


def test_either_gzip_engine_gives_a_large_output_in_bounded_pieces(engine: str) -> None:
    pieces = [len(piece) for piece in decode([gzip.compress(bytes(20 << 20), mtime=0)], "gzip")]
    assert (20 << 20, True) == (sum(pieces), max(pieces) <= streams.STEP)


def test_either_gzip_engine_detects_a_flipped_crc(engine: str) -> None:
    data = bytearray(encode("gzip", text(5000)))
    for at in range(len(data) - 8, len(data)):
        data[at] ^= 0x10
        with pytest.raises(FormatError):
            decoded(bytes(data))
        data[at] ^= 0x10


def test_either_gzip_engine_detects_a_flipped_crc_of_any_member(engine: str) -> None:
    first = encode("gzip", text(5000))
    broken = first[:-8] + bytes([first[-8] ^ 1]) + first[-7:]
    with pytest.raises(FormatError):
        decoded(broken + first)


@pytest.mark.parametrize("codec", ["zstd", "xz", "bzip2"])
def test_a_flipped_checksum_is_detected(codec: str) -> None:
    data = bytearray(encode(codec, text(5000)))
    data[len(data) - 2 if codec == "zstd" else len(data) // 2] ^= 1
    with pytest.raises(FormatError):
        decoded(bytes(data))


@pytest.mark.parametrize("codec", ["gzip", "xz", "bzip2"])
def test_zero_padding_may_follow(codec: str) -> None:
    data = encode(codec, text(500))
    assert text(500) == decoded(data + bytes(1000)) == b"".join(decode(chunked(data + bytes(1000), 3), codec))


@pytest.mark.parametrize("codec", CODECS)
def test_other_data_behind_a_stream_is_refused(codec: str) -> None:
    for tail in (b"junk", b"\1", b"\0\0\1") if codec != "zstd" else (b"junk!", b"\1", b"\0\0\0\0"):
        with pytest.raises(FormatError):
            decoded(encode(codec, text(500)) + tail)


@pytest.mark.parametrize("codec", CODECS)
def test_a_stream_behind_padding_is_refused(codec: str) -> None:
    with pytest.raises(FormatError):
        decoded(encode(codec, b"a") + bytes(8) + encode(codec, b"b"))


def test_skippable_frames_are_passed_over_wherever_they_stand() -> None:
    skip = skippable(b"anything" * 1000, 3)
    a, b = encode("zstd", b"aaa"), encode("zstd", b"bbb")
    assert b"aaabbb" == decoded(skip + skippable(b"") + a + skip + b + skip)
    assert b"aaabbb" == b"".join(decode(chunked(skip + a + skip + b + skip, 5), "zstd"))


def test_zstd_frames_without_size_or_checksum_are_read() -> None:
    plain = zstandard.ZstdCompressor(write_content_size=False, write_checksum=False)
    stream = zstandard.ZstdCompressor().compressobj()
    streamed = stream.compress(text(500_000)) + stream.flush()
    assert text(70_000) + text(500_000) == decoded(plain.compress(text(70_000)) + streamed)


def test_zstd_gives_a_large_output_in_bounded_pieces() -> None:
    pieces = [len(piece) for piece in decode([zstandard.compress(bytes(50 << 20))], "zstd")]
    assert (50 << 20, True) == (sum(pieces), max(pieces) <= 1 << 20)


def test_a_zstd_window_beyond_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ZSTD_WINDOW", 1 << 20)
    parameters = zstandard.ZstdCompressionParameters.from_level(1, window_log=24)
    stream = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    with pytest.raises(LimitError):
        decoded(stream.compress(text(100_000)) + stream.flush())


def test_a_zstd_frame_that_needs_a_dictionary_is_refused() -> None:
    dictionary = zstandard.ZstdCompressionDict(text(5000), dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    data = zstandard.ZstdCompressor(dict_data=dictionary).compress(text(5000))
    frame = bytearray(encode("zstd", b"x"))
    frame[4:5] = bytes([frame[4] | 1]) + b"\7"
    with pytest.raises(FormatError):
        decoded(bytes(frame))
    assert data


def test_plain_bytes_pass_unchanged() -> None:
    assert [b"a", b"bc"] == list(decode([b"a", b"bc"], "none"))


@pytest.mark.parametrize("codec", ("none", *CODECS))
def test_more_than_the_size_limit_is_refused(codec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCITOOL_MAX_UNPACKED_SIZE", "10000")
    assert len(decoded([PART[codec](bytes(10000))], codec)) == 10000
    with pytest.raises(LimitError):
        decoded([PART[codec](bytes(10001))], codec)


@pytest.mark.parametrize("codec", CODECS)
def test_more_than_the_ratio_is_refused(codec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "RATIO_FREE", 1 << 20)
    data = encode(codec, bytes(2 << 20), bytes(8 << 20))
    with pytest.raises(LimitError, match="bomb"):
        decoded(data)
    monkeypatch.setenv("OCITOOL_MAX_RATIO", "1000000")
    assert len(decoded(data)) == 10 << 20


def test_every_chunk_is_taken_to_the_end() -> None:
    taken = []

    def chunks() -> Iterator[bytes]:
        for chunk in chunked(encode("gzip", b"a") + bytes(100), 10):
            taken.append(chunk)
            yield chunk

    assert b"a" == b"".join(decode(chunks(), "gzip"))
    assert len(encode("gzip", b"a")) + 100 == sum(map(len, taken))


def test_a_member_with_reserved_flags_is_read_right_or_refused(engine: str) -> None:
    data = encode("gzip", b"first") + bytes([*encode("gzip", b"x")[:3], 0x80]) + encode("gzip", b"second")[4:]
    try:
        assert b"firstsecond" == decoded(data)
    except FormatError:
        assert engine == "zlib"


def test_each_compression_that_layers_may_have_by_their_type_is_written_and_no_other() -> None:
    assert set(mediatypes.SUFFIXES) == {"none", *codecs.WRITERS}


@pytest.mark.parametrize("name", codecs.CODECS)
def test_the_command_that_a_hint_names_for_a_codec_unpacks_what_it_is_recognised_by(name: str, tmp_path: Path) -> None:
    packers = {"gzip": gzip.compress, "zstd": zstandard.ZstdCompressor().compress, "xz": lzma.compress, "bzip2": bz2.compress}
    data = packers[name](b"content")
    assert name == sniff(data)
    done = subprocess.run(codecs.CODECS[name].unpack.split(), input=data, stdout=subprocess.PIPE, check=True)
    assert done.stdout == b"content"


def test_a_codec_that_joins_the_table_is_recognised_decoded_and_written_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def upper(blocks: Iterator[bytearray], level: int, task: Task) -> Iterator[bytes]:
        yield b"UP"
        yield from (bytes(block).upper() for block in blocks)

    def lower(chunks: Iterator[bytes]) -> Iterator[bytes]:
        return (chunk.removeprefix(b"UP").lower() for chunk in chunks)

    writing = codecs.CodecWriter(upper, lambda level: "upper 1", range(1, 3), 1, 1, 1, window=0, header=0)
    monkeypatch.setitem(codecs.CODECS, "upper", codecs.Codec("upper", (b"UP",), (".tar.up",), "up -d", lower, writing))
    monkeypatch.setitem(codecs.WRITERS, "upper", writing)
    monkeypatch.setitem(codecs.ENDINGS, ".tar.up", "upper")
    with Task() as task:
        stored = b"".join(compress.compress([b"abc"], compress.parse("upper:2"), task))
    assert stored == b"UPABC"
    assert sniff(stored) == "upper"
    assert b"".join(decode([stored], "upper")) == b"abc"
    assert destinations.archive_codec("image.tar.up") == "upper"


def test_the_schema_of_inspect_has_the_compressions_of_the_table() -> None:
    schema = json.loads((Path(__file__).parents[2] / "schemas" / "report-inspect.json").read_text("utf-8"))
    found = re.findall(r'"compression": \{"enum": (\[[^]]*\])', json.dumps(schema))
    assert [[*mediatypes.SUFFIXES, None]] == [json.loads(enum) for enum in found]
