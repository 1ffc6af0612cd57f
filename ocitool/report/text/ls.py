"""Renders `ls` as text."""

from __future__ import annotations

from collections.abc import Iterator

from ocitool.layers.entry import Entry, Kind
from ocitool.operations.listing import File, Listing
from ocitool.report.escape import shown
from ocitool.report.json.fields import rfc3339
from ocitool.report.text.parts import escaped_path


def ls_text(result: Listing, *, long: bool) -> Iterator[str]:
    for item in result.items:
        yield _long(item) if long else escaped_path(item.path) + _suffix(item.entry)


_LETTERS = "-dlhcbpwoai"


def _suffix(entry: Entry) -> str:
    if entry.kind == Kind.DIRECTORY:
        return "/" if entry.path else ""
    if entry.kind == Kind.SYMLINK:
        return " -> " + shown(entry.link)
    if entry.kind == Kind.HARDLINK:
        return " link to " + escaped_path(entry.link)
    return {Kind.WHITEOUT: " (whiteout)", Kind.OPAQUE: " (opaque)"}.get(entry.kind, "")


def _long(item: File) -> str:
    entry = item.entry
    size = f"{entry.device[0]},{entry.device[1]}" if entry.device else str(entry.size)
    stamp = (rfc3339(entry.mtime) or str(entry.mtime // 1_000_000_000))[:19]
    layer = f"layer {item.layer.number}" if item.layer else "-"
    extra = " " + " ".join(shown(name) for name, _ in entry.xattrs) if entry.xattrs else ""
    owner = f"{entry.uid}:{entry.gid}"
    return (
        f"{_LETTERS[entry.kind]}{mode_text(entry.mode)} {owner:>9} {size:>12} {stamp} {layer:>9}  "
        f"{escaped_path(item.path)}{_suffix(entry)}{extra}"
    )


def mode_text(mode: int) -> str:
    """Returns the permission bits as `ls -l` prints them: `rwxr-xr-x`, with `s` and `t`."""
    text = "".join(letter if mode & bit else "-" for letter, bit in
                   zip("rwxrwxrwx", (256, 128, 64, 32, 16, 8, 4, 2, 1), strict=True))  # fmt: skip
    for bit, at, letter in ((0o4000, 2, "s"), (0o2000, 5, "s"), (0o1000, 8, "t")):
        if mode & bit:
            text = text[:at] + (letter if text[at] == "x" else letter.upper()) + text[at + 1 :]
    return text
