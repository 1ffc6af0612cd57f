"""What an image says on a terminal: content and documents with control characters written out, and nothing binary unasked."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.images import config_of, image, layer_tar, write_layout
from support.terminal import on_terminal

Run = Callable[..., Any]
TEXT = "one\ttab\r\n\x1b]0;title\x07\x1b[31mred\u202e\u200b \\x1b é\rover\x7f\x9b\U000e0041\n".encode() + b"\xff\n"
SHOWN = "one\ttab\r\n\\x1b]0;title\\x07\\x1b[31mred\\u202e\\u200b \\x1b é\\rover\\x7f\\x9b\\U000e0041\n\\xff\n".encode()
BINARY = b"\x7fELF\x02\x01\x01\x00\x1b[31m"
TAR = layer_tar(
    [("text", TEXT), ("binary", BINARY), ("empty", b""), ("split", b"a" * ((1 << 19) - 1) + b"\r\n" + "é".encode() * 9)]
)
CONFIG = json.dumps({**config_of([TAR]), "author": "\u202e\x7f"}, ensure_ascii=False).encode()


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    return write_layout(tmp_path / "layout", [image([TAR], config=CONFIG)])


def test_cat_writes_control_characters_out_on_a_terminal(layout: Path, tmp_path: Path) -> None:
    assert (0, SHOWN, b"") == on_terminal("cat", layout, "text", cwd=tmp_path)


def test_cat_refuses_binary_content_on_a_terminal(layout: Path, tmp_path: Path) -> None:
    code, shown, said = on_terminal("cat", layout, "binary", cwd=tmp_path)
    assert (2, b"") == (code, shown)
    assert b"ocitool: error: binary content" in said and b"--force" in said


def test_cat_prints_everything_on_a_terminal_if_it_is_forced(layout: Path, tmp_path: Path) -> None:
    for name, content in (("text", TEXT), ("binary", BINARY)):
        assert (0, content, b"") == on_terminal("cat", "--force", layout, name, cwd=tmp_path)


def test_what_is_cut_between_two_pieces_is_whole_on_a_terminal(layout: Path, tmp_path: Path) -> None:
    assert (0, b"a" * ((1 << 19) - 1) + b"\r\n" + "é".encode() * 9, b"") == on_terminal("cat", layout, "split", cwd=tmp_path)
    assert (0, b"", b"") == on_terminal("cat", layout, "empty", cwd=tmp_path)


def test_inspect_raw_writes_control_characters_out_on_a_terminal(layout: Path, tmp_path: Path) -> None:
    code, shown, said = on_terminal("inspect", "--raw", "config", layout, cwd=tmp_path)
    assert (0, CONFIG.replace("\u202e\x7f".encode(), b"\\u202e\\x7f"), b"") == (code, shown, said)
    assert (0, CONFIG, b"") == on_terminal("inspect", "--force", "--raw", "config", layout, cwd=tmp_path)


def test_to_a_pipe_every_byte_is_exact(ocitool: Run, layout: Path) -> None:
    assert [TEXT, BINARY] == [ocitool("cat", layout, name).stdout for name in ("text", "binary")]
    assert CONFIG == ocitool("inspect", "--raw", "config", layout).stdout
