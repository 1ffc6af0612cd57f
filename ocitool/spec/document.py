"""JSON documents, parsed strictly and kept with the bytes they came in.

Refused: duplicate keys (two readers would see two documents), bytes that are not UTF-8, escapes that are not a
character (half a surrogate pair), NaN and infinities, and anything beyond the limits of size, depth and number of
values. Unknown fields stay: `fields` is the whole document.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from ocitool import limits
from ocitool.digest import Digest
from ocitool.errors import FormatError, LimitError
from ocitool.limits import DOCUMENT, JsonLimits


class Document:
    """A JSON object with its bytes. Subclasses give names to its fields. It is never changed."""

    raw: bytes
    fields: Mapping[str, Any]

    def __init__(self, raw: bytes, fields: Mapping[str, Any]) -> None:
        self.raw = raw
        self.fields = fields

    @cached_property
    def digest(self) -> Digest:
        return Digest.of(self.raw)


def parse(raw: bytes, where: str, bounds: JsonLimits = DOCUMENT) -> Any:
    """Returns the value of a JSON text. Raises `FormatError` and `LimitError`, both with `where`."""
    if len(raw) > bounds.size:
        raise LimitError(f"a document of {len(raw)} bytes, more than {bounds.size}", where)
    if len(raw) > bounds.values and count_values(raw) > bounds.values:  # a value takes a byte at least
        raise LimitError(f"a document of more than {bounds.values} values", where)
    _check_depth(raw, where)
    try:
        value = _DECODER.decode(raw.decode("utf-8"))
        if b"\\ud" in raw or b"\\uD" in raw:
            json.dumps(value, ensure_ascii=False).encode()
        return value
    except UnicodeEncodeError:
        raise FormatError("a string with half of a surrogate pair is not text", where) from None
    except UnicodeDecodeError:
        raise FormatError("the document is not UTF-8", where) from None
    except FormatError as error:
        raise error.at(where) from None
    except json.JSONDecodeError as error:
        what = "it begins with a byte order mark" if error.doc.startswith("\ufeff") else f"{error.msg} at byte {error.pos}"
        raise FormatError(f"not JSON: {what}", where) from None
    except (ValueError, RecursionError):  # Python refuses integers of thousands of digits
        raise FormatError("the document holds a number that is too long", where) from None


def parse_object(raw: bytes, where: str, bounds: JsonLimits = DOCUMENT) -> dict[str, Any]:
    """As `parse`, for a JSON object. Raises `FormatError` for any other value."""
    value = parse(raw, where, bounds)
    if not isinstance(value, dict):
        raise FormatError("the document is not a JSON object", where)
    return value


def serialised(value: Any, bounds: JsonLimits = DOCUMENT) -> bytes:
    """Returns a new document: no white space, keys in their order. Raises `LimitError` for one that `parse` with the
    same bounds would refuse."""
    raw = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
    if len(raw) > bounds.size:
        raise LimitError(f"a document of {len(raw)} bytes would come out, more than {bounds.size}")
    if count_values(raw) > bounds.values:
        raise LimitError(f"a document of more than {bounds.values} values would come out")
    return raw


def count_values(raw: bytes) -> int:
    """Returns an upper bound of the array items and object members of a JSON text; characters in strings are counted
    too."""
    return raw.count(b",") + raw.count(b":") + raw.count(b"[") + raw.count(b"{")


def _check_depth(raw: bytes, where: str) -> None:
    """Raises `LimitError` for deep nesting, before the parser recurses. Counts brackets outside of strings."""
    if max(raw.count(b"["), raw.count(b"{")) < limits.DOCUMENT_DEPTH // 2:
        return
    if b"\\" in raw:  # without escapes, each quote begins or ends a string
        raw = raw.replace(b"\\\\", b"").replace(b'\\"', b"")
    depth = 0
    in_string = False
    for byte in raw.translate(None, _NO_BRACKETS).replace(b'""', b""):
        if byte == 0x22:
            in_string = not in_string
        elif in_string:
            continue
        elif byte in b"[{":
            depth += 1
            if depth > limits.DOCUMENT_DEPTH:
                raise LimitError(f"a document nested more than {limits.DOCUMENT_DEPTH} deep", where)
        else:
            depth -= 1


_NO_BRACKETS = bytes(set(range(256)) - set(b'[]{}"'))
"""All bytes but brackets and quotes."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise FormatError(f"the key {key[:80]!r} stands twice in one object")
            seen.add(key)
    return value


def _refuse(constant: str) -> Any:
    raise FormatError(f"{constant} is not JSON")


def _float(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise FormatError("a number out of range")
    return value


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_refuse, parse_float=_float)
"""Shared by all documents, since making a decoder takes as long as parsing a small document."""
