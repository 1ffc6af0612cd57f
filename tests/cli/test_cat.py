"""`ocitool cat`: one file, byte for byte."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.images import image, layer_tar, write_docker_archive, write_layout

Run = Callable[..., Any]
BIG = bytes(range(256)) * 8192


@pytest.fixture(params=["gzip", "zstd", "none"])
def layout(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    layers = [
        layer_tar([("etc/", None), ("etc/motd", b"one\n"), ("etc/gone", b"gone"), ("big", BIG), ("empty", b"")]),
        layer_tar([("etc/motd", b"two\r\n\x1b\x00"), ("etc/.wh.gone", b""), ("h", "hard:big"), ("l", "link:/etc/../l2"),
                   ("l2", "link:etc/motd"), (b"\xff", b"bytes"), ("loop", "link:loop")]),
    ]  # fmt: skip
    return write_layout(tmp_path / "layout", [image(layers, codec=request.param)])


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("etc/motd",), b"two\r\n\x1b\x00"),
        (("--layer", "0", "etc/motd"), b"one\n"),
        (("--layer", "-1", "etc/motd"), b"two\r\n\x1b\x00"),
        (("--layer", "0", "etc/gone"), b"gone"),
        (("big",), BIG),
        (("h",), BIG),
        (("l",), b"two\r\n\x1b\x00"),
        (("empty",), b""),
        ((b"\xff".decode("utf-8", "surrogateescape"),), b"bytes"),
        (("--verify", "big"), BIG),
        (("--no-cache", "big"), BIG),
    ],
)
def test_content(ocitool: Run, layout: Path, words: tuple[str, ...], expected: bytes) -> None:
    result = ocitool("cat", layout, *words)
    assert (result.code, result.stdout, result.stderr) == (0, expected, b""), str(result)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("etc",), 2),
        (("/",), 2),
        (("etc/gone",), 3),
        (("nothing",), 3),
        (("loop",), 3),
        (("--layer", "1", "big"), 3),
        (("--layer", "1", "etc/gone"), 3),
        (("--layer", "1", "h"), 2),
        (("--layer", "1", "l"), 2),
        (("--layer", "2", "etc/motd"), 2),
        (("--layer", "-3", "etc/motd"), 2),
    ],
)
def test_what_is_no_file(ocitool: Run, layout: Path, words: tuple[str, ...], code: int) -> None:
    result = ocitool("cat", layout, *words)
    assert (result.code, result.stdout) == (code, b""), str(result)
    assert result.err.startswith("ocitool: error: ")


def test_standard_input(ocitool: Run, tmp_path: Path) -> None:
    path = write_docker_archive(tmp_path / "a.tar", [image([layer_tar([("a", BIG)])], codec="none")])
    assert ocitool("cat", "-", "a", stdin=path.read_bytes()).stdout == BIG


def test_content_that_is_not_the_digests_is_5_whatever_the_cache_knows(ocitool: Run, tmp_path: Path) -> None:
    made = image([layer_tar([("a", b"A" * 100)])], codec="none")
    layout = write_layout(tmp_path / "layout", [made])
    assert ocitool("inspect", "--verify", layout).code == 0  # the index is in the cache now, with contents
    blob = layout / "blobs" / made.manifest["layers"][0]["digest"].replace(":", "/")
    blob.write_bytes(made.layers[0].replace(b"A" * 100, b"B" * 100))
    for words in (["--no-cache"], [], ["--verify"]):
        result = ocitool("cat", *words, layout, "a")
        assert (5, b"") == (result.code, result.stdout)
