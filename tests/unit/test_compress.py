"""Bytes to gzip and zstd: one law a test. No test holds a compressed digest: they differ by engine and version."""

from __future__ import annotations

import gzip
import importlib.metadata
import io
import itertools
import platform
import random
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zstandard
from support.images import image, layer_tar, sha256, write_layout
from support.layers import chunked
from support.streams import decoded, text

from ocitool.errors import CancelledError, FormatError, UsageError
from ocitool.layers import compress as module
from ocitool.layers import gzip_codec
from ocitool.layers.compress import BLOCK, Compression, compress, engine, parse
from ocitool.task import Task

SPELLINGS = ("none", "gzip:1", "gzip:3", "gzip:6", "zstd:1", "zstd:3", "zstd:9")
SIZES = (0, 1, 65_535, 65_536, 65_537, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, 3 * BLOCK + 7)


@pytest.fixture(params=["isal", "zlib"])
def gzip_engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each gzip law holds with either engine."""
    if request.param == "zlib":
        monkeypatch.setitem(sys.modules, "isal", None)
    else:
        pytest.importorskip("isal")
    return str(request.param)


def packed(data: bytes, spelling: str, *, sizes: tuple[int, ...] = (1 << 17,), cores: int = 2) -> bytes:
    with Task(cores=cores) as task:
        return b"".join(compress(chunked(data, *sizes), parse(spelling), task))


def is_one_member(data: bytes) -> bool:
    """One gzip member and nothing behind it, its CRC and size right."""
    stream = zlib.decompressobj(31)
    stream.decompress(data)
    return stream.eof and not stream.unused_data


def test_two_members_are_not_one() -> None:
    member = gzip.compress(b"a")
    assert [True, False, False] == [is_one_member(member), is_one_member(member * 2), is_one_member(member[:-1])]


# The spelling


@pytest.mark.parametrize("spelling", ["none", *(f"gzip:{n}" for n in range(1, 10)), *(f"zstd:{n}" for n in range(1, 20))])
def test_a_spelling_is_read_and_written_alike(spelling: str) -> None:
    assert spelling == str(parse(spelling))


def test_a_codec_alone_has_a_level() -> None:
    assert [Compression("none", 0), Compression("gzip", 2), Compression("zstd", 3)] == [
        parse("none"), parse("gzip"), parse("zstd"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "wrong",
    ["", ":", "xz", "bzip2", "GZIP", " gzip", "gzip ", "none:", "none:1", "gzip:", "gzip:0", "gzip:10", "gzip:-1", "gzip:+3",
     "gzip:03", "gzip:3.0", "gzip: 3", "gzip:3:3", "gzip:٣", "zstd:0", "zstd:20", "zstd:22", "zstd:-5", "zstd:max"],
)  # fmt: skip
def test_any_other_spelling_is_refused_with_a_hint(wrong: str) -> None:
    with pytest.raises(UsageError) as found:
        parse(wrong)
    assert found.value.hint


# What is made


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("size", SIZES)
def test_what_was_compressed_is_decoded(spelling: str, size: int) -> None:
    data = text(size)
    assert data == decoded(packed(data, spelling), parse(spelling).codec)


@pytest.mark.parametrize("level", range(1, 10))
def test_every_gzip_level_of_either_engine_is_decoded(gzip_engine: str, level: int) -> None:
    data = text(2 * BLOCK + 9)
    assert data == decoded(packed(data, f"gzip:{level}"))


@pytest.mark.parametrize("size", SIZES)
def test_gzip_is_one_member(gzip_engine: str, size: int) -> None:
    assert is_one_member(packed(text(size), "gzip"))


def test_incompressible_data_grows_by_little(gzip_engine: str) -> None:
    data = random.Random(1).randbytes(2 * BLOCK)
    assert all(len(packed(data, spelling)) < 1.01 * len(data) for spelling in ("gzip:1", "gzip:3", "gzip:9", "zstd:3"))


def test_the_gzip_header_has_no_name_no_time_and_no_system(gzip_engine: str) -> None:
    assert b"\x1f\x8b\x08\0\0\0\0\0\0\xff" == packed(text(5000), "gzip")[:10]


@pytest.mark.parametrize("size", [0, 1, 0xFFFFFFFF, 1 << 32, (1 << 32) + 5])
def test_the_gzip_trailer_has_the_size_modulo_four_gigabytes(size: int) -> None:
    assert (7).to_bytes(4, "little") + (size % (1 << 32)).to_bytes(4, "little") == gzip_codec._trailer(7, size)


def test_zstd_is_one_frame_with_a_checksum_and_without_a_size() -> None:
    data = packed(text(3 * BLOCK), "zstd")
    frame = zstandard.get_frame_parameters(data)
    stream = zstandard.ZstdDecompressor().decompressobj()
    stream.decompress(data)
    assert (True, zstandard.CONTENTSIZE_UNKNOWN, True, b"") == (
        frame.has_checksum, frame.content_size, stream.eof, stream.unused_data,
    )  # fmt: skip


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_empty_chunks_leave_no_trace(spelling: str) -> None:
    with Task(cores=1) as task:
        none = b"".join(compress([], parse(spelling), task))
        empty = b"".join(compress([b"", b"", memoryview(b"")], parse(spelling), task))
    assert none == empty


def test_none_gives_the_bytes_back() -> None:
    assert text(BLOCK + 5) == packed(text(BLOCK + 5), "none", sizes=(7001,))


# The same bytes


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_neither_chunks_nor_cores_nor_time_show(spelling: str) -> None:
    data = text(5 * BLOCK + 77)
    cuts = ((len(data),), (BLOCK,), (1000, 1, 90_001), (0, BLOCK - 1, 2), (3 * BLOCK,))
    made = {packed(data, spelling, sizes=sizes, cores=cores) for sizes, cores in zip(cuts, (1, 2, 3, 8, 2), strict=True)}
    assert 1 == len(made)


def test_a_zstd_stream_of_many_jobs_is_the_same_on_any_number_of_cores() -> None:
    data = text(1 << 20) * 9 + text(1 << 20, 2) * 9
    assert 1 == len({packed(data, "zstd:1", sizes=(size,), cores=n) for n, size in ((1, BLOCK), (2, 99_999), (4, 1 << 24))})


@pytest.mark.parametrize("spelling", ["none", "gzip", "zstd"])
def test_a_chunk_may_be_used_again(spelling: str) -> None:
    buffer = bytearray(100_000)

    def reused() -> Iterator[memoryview]:
        for byte in range(20):
            buffer[:] = bytes([byte]) * len(buffer)
            yield memoryview(buffer)

    with Task(cores=2) as task:
        made = b"".join(compress(reused(), parse(spelling), task))
    assert b"".join(bytes([byte]) * 100_000 for byte in range(20)) == decoded(made, parse(spelling).codec)


def test_a_higher_level_makes_programs_no_larger(gzip_engine: str) -> None:
    sources = b"".join(file.read_bytes() for file in sorted(Path(module.__file__).parents[1].rglob("*.py")))
    sizes = [len(packed(sources, f"gzip:{level}")) for level in range(1, 10)]
    assert sorted(sizes, reverse=True) == sizes


# The engine


def test_the_engine_is_named(gzip_engine: str) -> None:
    isal = f"isal {importlib.metadata.version('isal')}" if gzip_engine == "isal" else f"zlib {zlib.ZLIB_RUNTIME_VERSION}"
    zstd = "zstd " + ".".join(map(str, zstandard.ZSTD_VERSION))
    assert ["none", isal, f"zlib {zlib.ZLIB_RUNTIME_VERSION}", zstd] == [
        engine(parse(spelling)) for spelling in ("none", "gzip:3", "gzip:4", "zstd")
    ]


# When it goes wrong


@pytest.mark.parametrize("spelling", ["gzip", "zstd"])
def test_a_result_that_was_cut_is_noticed(spelling: str) -> None:
    made = packed(text(BLOCK + 100), spelling)
    for keep in (1, 5, 10, 1000, len(made) // 2, len(made) - 9, len(made) - 8, len(made) - 4, len(made) - 1):
        with pytest.raises(FormatError):
            decoded(made[:keep], spelling)


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("before", [0, 1, 5])
def test_an_error_of_the_input_passes_through(spelling: str, before: int) -> None:
    def failing() -> Iterator[bytes]:
        for _ in range(before):
            yield text(BLOCK)
        raise FormatError("a bad layer")

    with Task(cores=2) as task, pytest.raises(FormatError, match="a bad layer"):
        list(compress(failing(), parse(spelling), task))


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_cancelled_task_stops(spelling: str) -> None:
    def endless(task: Task) -> Iterator[bytes]:
        for turn in itertools.count():
            if turn == 3:
                task.cancel()
            yield bytes(BLOCK)

    with Task(cores=2) as task, pytest.raises(CancelledError):
        for _ in compress(endless(task), parse(spelling), task):
            pass


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_the_result_may_be_left_unread(spelling: str) -> None:
    with Task(cores=2) as task:
        pieces = compress(itertools.repeat(text(BLOCK)), parse(spelling), task)
        assert next(pieces)


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("cores", [1, 2])
def test_producers_on_either_side_leave_room_for_the_blocks(spelling: str, cores: int) -> None:
    data = text(4 * BLOCK)
    with (
        Task(cores=cores) as task,
        task.ahead(chunked(data, 100_000), 1) as plain,
        task.ahead(compress(plain, parse(spelling), task), 1) as made,
    ):
        assert data == decoded(b"".join(made), parse(spelling).codec)


@pytest.mark.parametrize("cores", [1, 2])
def test_several_layers_are_compressed_at_once(cores: int) -> None:
    def one(seed: int) -> bytes:
        with task.ahead(chunked(text(3 * BLOCK, seed), 100_000), 1) as plain:
            return b"".join(compress(plain, parse("gzip"), task))

    with Task(cores=cores, jobs=4) as task:
        assert [text(3 * BLOCK, seed) for seed in range(6)] == [decoded(made) for made in task.map(one, range(6))]


def test_what_is_held_does_not_grow_with_the_input() -> None:
    import tracemalloc

    with Task(cores=2) as task:
        list(compress([bytes(4 * BLOCK)], parse("gzip"), task))  # so that modules are imported and threads started
        tracemalloc.start()
        try:
            for _ in compress(itertools.repeat(bytes(100_000), 1000), parse("gzip"), task):
                pass
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < 12 * BLOCK


# What others read


def test_python_reads_gzip(gzip_engine: str) -> None:
    made = packed(text(3 * BLOCK + 1), "gzip")
    file = gzip.GzipFile(fileobj=io.BytesIO(made))
    assert (text(3 * BLOCK + 1), 0) == (file.read(), file.mtime)


@pytest.mark.tools
@pytest.mark.parametrize("size", [0, 1, 3 * BLOCK + 1])
@pytest.mark.parametrize(
    ("spelling", "command"),
    [("gzip:3", "gzip -dc"), ("gzip:6", "gzip -dc"), ("gzip:3", "busybox gunzip -c"), ("gzip:6", "busybox gunzip -c"),
     ("zstd:3", "zstd -dc")],
)  # fmt: skip
def test_other_decoders_read_it(need: Callable[..., str], spelling: str, command: str, size: int) -> None:
    words = command.split()
    need(words[0])
    done = subprocess.run(words, input=packed(text(size), spelling), capture_output=True, timeout=60)
    assert (0, b"", text(size)) == (done.returncode, done.stderr, done.stdout)


@pytest.mark.tools
@pytest.mark.parametrize("spelling", ["gzip:1", "gzip:3", "gzip:6", "zstd:3"])
def test_skopeo_reads_a_layer(need: Callable[..., str], tmp_path: Path, spelling: str) -> None:
    tar = layer_tar([("data", text(3 * BLOCK))])
    made = image([tar], tag="app", codec=parse(spelling).codec)
    made.layers[0] = packed(tar, spelling)
    made.manifest["layers"][0].update(digest=sha256(made.layers[0]), size=len(made.layers[0]))
    write_layout(tmp_path / "layout", [made])
    words = [need("skopeo"), "--insecure-policy", "copy", "-q", "--dest-decompress", f"oci:{tmp_path}/layout:app"]
    subprocess.run([*words, f"dir:{tmp_path}/out"], check=True, capture_output=True, timeout=60)
    assert tar == (tmp_path / "out" / sha256(tar)[7:]).read_bytes()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="about the C library's own cache of freed memory")
def test_memory_of_a_block_is_used_again_for_the_next() -> None:
    """Page faults do not grow with the number of blocks: 127 came with each."""
    program = """
import random, resource
from ocitool.layers.compress import BLOCK, compress, parse
from ocitool.task import Task
block, counts = random.Random(1).randbytes(BLOCK), []
with Task(cores=2) as task:
    for blocks in (32, 160):
        for _ in compress((block for _ in range(blocks)), parse("gzip"), task):
            pass
        counts.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
print(counts[1] - counts[0])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 30 * 160
