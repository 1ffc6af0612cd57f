"""Documents made to hurt: an error of ours, soon."""

from __future__ import annotations

import time

import pytest

from ocitool import limits
from ocitool.errors import FormatError, LimitError, OcitoolError
from ocitool.spec.document import parse
from ocitool.spec.manifest import read

SIZE = limits.DOCUMENT_SIZE
BOMBS = {
    "arrays": b"[" * SIZE,
    "objects": (b'{"a":' * SIZE)[:SIZE],
    "digits": b"1" * SIZE,
    "exponent": b"1e" + b"1" * (SIZE - 2),
    "commas": b"[" + b"0," * (SIZE // 2 - 1) + b"0",
    "empty arrays": b"[" + b"[]," * (SIZE // 3 - 1) + b"0]",
    "open string": b'"' + b"a" * (SIZE - 1),
    "escapes": b'"' + b"\\" * (SIZE - 1),
    "quotes": b'"' * SIZE,
    "too large": b" " * (SIZE + 1),
    "zeros": bytes(SIZE),
    "surrogates": b'["' + b"\\ud800" * (SIZE // 6 - 2) + b'"]',
    "deep behind a string": b'["' + b"[" * 1000 + b'",' + b"[" * 1000,
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_an_error_in_time(name: str) -> None:
    started = time.monotonic()
    with pytest.raises((FormatError, LimitError)):
        parse(BOMBS[name], "x")
    assert time.monotonic() - started < 5


def test_a_manifest_cut_anywhere_is_an_error() -> None:
    digest = b"sha256:" + b"a" * 64
    whole = b'{"schemaVersion":2,"config":{"mediaType":"m","digest":"' + digest + b'","size":1},"layers":[]}'
    assert read(whole, "x")
    for cut in range(len(whole)):
        with pytest.raises(OcitoolError):
            read(whole[:cut], "x")
