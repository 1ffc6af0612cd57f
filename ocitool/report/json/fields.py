"""JSON fields that several reports share.

Paths begin with `/`. If a path is not UTF-8, U+FFFD replaces its invalid bytes, and a second field has all its bytes in
base64.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ocitool import masking
from ocitool.layers.entry import Entry, Kind

if TYPE_CHECKING:
    from ocitool.images.image import Layer
    from ocitool.progress import Notice
    from ocitool.spec.manifest import Platform

TYPES = ("file", "directory", "symlink", "hardlink", "char", "block", "fifo", "whiteout", "opaque", "file", "file")
"""The value of `type`, by `Kind`."""


def json_text(report: dict[str, Any]) -> str:
    return dumped(report, indent=2)


class JsonRows:
    """A list that is written row by row, each on a line of its own: it may have millions of rows. They are made when they are
    written, once."""

    __slots__ = ("rows",)

    def __init__(self, rows: Iterable[Any]) -> None:
        self.rows = rows


def json_lines(report: dict[str, Any]) -> Iterator[str]:
    """Yields a report, of which values may be `JsonRows`, line by line."""
    line = ""
    for piece in _indented(report, "\n"):
        if piece.startswith("\n"):
            yield line
            line = piece[1:]
        else:
            line += piece
    yield line


def _indented(value: Any, newline: str) -> Iterator[str]:
    """Yields a value as JSON in pieces; a line break is at the beginning of a piece. `newline`: a line break, and the
    indentation of the value."""
    inner = newline + "  "
    mark = "["
    if isinstance(value, JsonRows):
        for row in value.rows:
            yield mark
            yield inner + dumped(row)
            mark = ","
        yield "[]" if mark == "[" else newline + "]"
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        for item in value:
            yield mark
            yield inner
            yield from _indented(item, inner)
            mark = ","
        yield newline + "]"
    elif isinstance(value, dict) and value:
        mark = "{"
        for key, item in value.items():
            yield mark
            yield f"{inner}{dumped(key)}: "
            yield from _indented(item, inner)
            mark = ","
        yield newline + "}"
    else:
        yield dumped(value, indent=2).replace("\n", newline)


def dumped(value: Any, indent: int | None = None) -> str:
    """Returns JSON in ASCII. DEL is the one control character that JSON does not escape, so this does."""
    return json.dumps(value, indent=indent).replace("\x7f", "\\u007f")


def attributes(entry: Entry) -> dict[str, Any]:
    found: dict[str, Any] = {
        "size": entry.size,
        "mode": f"{entry.mode:04o}",
        "uid": entry.uid,
        "gid": entry.gid,
        "mtime": rfc3339(entry.mtime),
        "linkTarget": None,
        "device": {"major": entry.device[0], "minor": entry.device[1]} if entry.device else None,
        "xattrs": {name.decode("utf-8", "replace"): b64encode(value).decode("ascii") for name, value in entry.xattrs or ()},
    }
    if entry.kind in (Kind.SYMLINK, Kind.HARDLINK):
        target = b"/" + entry.link if entry.kind == Kind.HARDLINK else entry.link
        found["linkTarget"] = target.decode("utf-8", "replace")
        if not _is_utf8(target):
            found["linkTargetBase64"] = b64encode(target).decode("ascii")
    return found


def path_fields(path: bytes) -> dict[str, str]:
    path = b"/" + path
    if _is_utf8(path):
        return {"path": path.decode("utf-8")}
    return {"path": path.decode("utf-8", "replace"), "pathBase64": b64encode(path).decode("ascii")}


def _is_utf8(data: bytes) -> bool:
    if data.isascii():
        return True
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


@lru_cache(1024)
def rfc3339(nanoseconds: int) -> str | None:
    """Returns a time as RFC 3339 with a fraction if it has one, or None if the year does not have four digits."""
    from datetime import UTC, datetime, timedelta

    seconds, fraction = divmod(nanoseconds, 1_000_000_000)
    try:
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    except OverflowError:
        return None
    digits = f".{fraction:09d}".rstrip("0") if fraction else ""
    return f"{moment:%Y-%m-%dT%H:%M:%S}{digits}Z" if moment.year > 999 else None


NAMES = 100
"""Hard links of a file that are listed with each of its names. With all of them a report would grow with the square of
their number."""


@lru_cache(64)
def _shown_names(names: tuple[bytes, ...]) -> list[str]:
    """Returns the names of a file; cached, so that all its names share one list."""
    return [path_fields(name)["path"] for name in names]


def link_fields(names: Sequence[bytes]) -> dict[str, Any]:
    found: dict[str, Any] = {"links": _shown_names(tuple(names[:NAMES]))}
    if len(names) > NAMES:
        found["linksMore"] = len(names) - NAMES
    return found


INSTRUCTION = 4096
"""Characters of an instruction that are repeated with every file it made; `inspect` has all of it."""


def layer_fields(layer: Layer | None) -> dict[str, Any] | None:
    if layer is None:
        return None
    diff_id = str(layer.diff_id) if layer.diff_id else None
    made_by = created_by(layer.created_by)
    if made_by is not None and len(made_by) > INSTRUCTION:
        made_by = made_by[:INSTRUCTION] + "..."
    return {"index": layer.number, "diffId": diff_id, "createdBy": made_by}


def created_by(instruction: str | None) -> str | None:
    """Returns an instruction with secrets masked."""
    found: str | None = clean(masking.instruction(instruction)) if instruction is not None else None
    return found


def platform_fields(platform: Platform) -> dict[str, Any]:
    """Returns the fields of a platform; `osVersion` and `osFeatures` only if it states them."""
    fields: dict[str, Any] = {
        "os": stated(platform.os), "architecture": stated(platform.architecture), "variant": stated(platform.variant),
    }  # fmt: skip
    if platform.os_version is not None:
        fields["osVersion"] = stated(platform.os_version)
    if platform.os_features:
        fields["osFeatures"] = [stated(feature) for feature in platform.os_features]
    return fields


def stated(text: str | None) -> str | None:
    """Returns free text of a document, such as a media type, with secrets masked."""
    found: str | None = clean(masking.text(text)) if text is not None else None
    return found


def notice_list(notices: Iterable[Notice]) -> list[dict[str, str]]:
    return [{"code": notice.code, "text": clean(notice.text)} for notice in notices]


def clean(value: Any) -> Any:
    """Returns the value without lone surrogates, which UTF-8 cannot encode; they come from file names and JSON escapes."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    if isinstance(value, dict):
        return {clean(key): clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [clean(item) for item in value]
    return value
