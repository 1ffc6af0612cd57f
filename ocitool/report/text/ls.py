"""Renders `ls` as text."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from ocitool.layers.entry import Kind
from ocitool.operations.listing import File, Listing
from ocitool.report.escape import shown
from ocitool.report.json.fields import rfc3339
from ocitool.report.text.parts import escaped_path

_BLOCK = 4096
"""Names that are looked at together."""
_FILE, _DIRECTORY = int(Kind.FILE), int(Kind.DIRECTORY)
_PLAIN = bytes(range(0x20, 0x7F)) + b"\n"
"""Bytes that are shown as they are, and what ends a line."""


def ls_text(result: Listing, *, long: bool) -> Iterator[str]:
    """Yields the report in pieces of one or more lines."""
    if long:
        yield from map(_long, result.items)
        return
    names = result.items.names()
    while block := list(islice(names, _BLOCK)):
        text = b"\n".join(
            [b"/" + path if kind == _FILE else b"/" + path + _raw_suffix(path, kind, link) for path, kind, link in block]
        )
        if not text.translate(None, _PLAIN) and text.count(b"\n") == len(block) - 1:
            yield text.decode("ascii")
        else:
            yield from (escaped_path(path) + _suffix(path, kind, link) for path, kind, link in block)


_LETTERS = "-dlhcbpwoai"


def _suffix(path: bytes, kind: int, link: bytes) -> str:
    if kind == Kind.SYMLINK:
        return " -> " + shown(link)
    if kind == Kind.HARDLINK:
        return " link to " + escaped_path(link)
    return _raw_suffix(path, kind, link).decode("ascii")


def _raw_suffix(path: bytes, kind: int, link: bytes) -> bytes:
    """Returns what `_suffix` does, not escaped."""
    if kind == _DIRECTORY:
        return b"/" if path else b""
    if kind == Kind.SYMLINK:
        return b" -> " + link
    if kind == Kind.HARDLINK:
        return b" link to /" + link
    return _MARKS.get(kind, b"")


_MARKS: dict[int, bytes] = {Kind.WHITEOUT: b" (whiteout)", Kind.OPAQUE: b" (opaque)"}


def _long(item: File) -> str:
    entry = item.entry
    size = f"{entry.device[0]},{entry.device[1]}" if entry.device else str(entry.size)
    stamp = (rfc3339(entry.mtime) or str(entry.mtime // 1_000_000_000))[:19]
    layer = f"layer {item.layer.number}" if item.layer else "-"
    extra = " " + " ".join(shown(name) for name, _ in entry.xattrs) if entry.xattrs else ""
    owner = f"{entry.uid}:{entry.gid}"
    return (
        f"{_LETTERS[entry.kind]}{mode_text(entry.mode)} {owner:>9} {size:>12} {stamp} {layer:>9}  "
        f"{escaped_path(item.path)}{_suffix(entry.path, entry.kind, entry.link)}{extra}"
    )


def mode_text(mode: int) -> str:
    """Returns the permission bits as `ls -l` prints them: `rwxr-xr-x`, with `s` and `t`."""
    text = "".join(letter if mode & bit else "-" for letter, bit in
                   zip("rwxrwxrwx", (256, 128, 64, 32, 16, 8, 4, 2, 1), strict=True))  # fmt: skip
    for bit, at, letter in ((0o4000, 2, "s"), (0o2000, 5, "s"), (0o1000, 8, "t")):
        if mode & bit:
            text = text[:at] + (letter if text[at] == "x" else letter.upper()) + text[at + 1 :]
    return text
