"""What a reviewer must see first (`notable`), and the rules of `--fail-on`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ocitool.errors import UsageError
from ocitool.images.image import Image
from ocitool.layers.entry import Kind
from ocitool.operations.diff.config import escaped
from ocitool.operations.diff.files import Shipped
from ocitool.operations.diff.result import (
    ConfigChange,
    Failure,
    FileChange,
    LayerPair,
    Notable,
    NotCompared,
    PlatformDiff,
    Side,
    Summary,
)

_SIZE = re.compile(r"(size|transfer):\+(\d{1,15}(?:\.\d{1,6})?)([kKMGT]?i?B|%)?")
_UNITS = {"B": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
          "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}  # fmt: skip


class Rule(NamedTuple):
    """`what`: files, config, notable, none, size or transfer. `limit`: bytes, or per cent of the before image."""

    text: str
    what: str
    limit: float
    percent: bool


def rule(text: str) -> Rule:
    if text in ("files", "config", "notable", "none"):
        return Rule(text, text, 0, False)
    match = _SIZE.fullmatch(text)
    unit = (match.group(3) or "B") if match else ""
    if match is None or (unit != "%" and unit not in _UNITS) or (unit == "%" and match.group(1) == "transfer"):
        raise UsageError(
            f"{text} is no rule", hint="files, config, notable, none, size:+10MB, size:+5%, transfer:+20MiB"
        )
    number = float(match.group(2))
    return Rule(text, match.group(1), number if unit == "%" else number * _UNITS[unit], unit == "%")


def _limit(rule: Rule) -> int | float:
    return rule.limit if rule.percent else int(rule.limit)


def failures(
    rules: Sequence[Rule], files: Sequence[FileChange], config: Sequence[ConfigChange], notable: Sequence[Notable],
    summary: Summary, before_size: int | None,
) -> Iterator[Failure]:  # fmt: skip
    """The rules that are met."""
    counts = {"files": len(files), "config": len(config), "notable": len(notable)}
    for entry in rules:
        if entry.what in counts:
            if counts[entry.what]:
                yield Failure(entry.text, 0, counts[entry.what])
        elif entry.percent:
            grown = 100 * summary.size_delta / before_size if before_size else float(summary.size_delta > 0) * 100
            if grown > entry.limit:
                yield Failure(entry.text, entry.limit, round(grown, 3))
        elif entry.what in ("size", "transfer"):
            actual = summary.size_delta if entry.what == "size" else summary.transfer_bytes
            if actual > entry.limit:
                yield Failure(entry.text, _limit(entry), actual)


def not_compared(rules: Sequence[Rule], others: Sequence[NotCompared]) -> Iterator[Failure]:
    """The rules that images meet which were not compared: what cannot be ruled out. One that came has no size to grow from,
    one that is gone holds nothing new."""
    for entry in rules:
        for other in others:
            if entry.what in _MET_BY[other.status]:
                yield Failure(entry.text, _limit(entry), None, str(other.platform))


_MET_BY = {
    "changed": frozenset({"files", "config", "notable", "size", "transfer"}),
    "added": frozenset({"files", "config", "notable"}),
    "removed": frozenset({"files", "config"}),
}


def of_indexes(
    rules: Sequence[Rule], entries: Sequence[PlatformDiff], changes: Sequence[ConfigChange]
) -> Iterator[Failure]:
    """The rules that two indexes meet, but for those of images that are on both sides: by what changed in the documents, by
    images that came or went, by images that are not here."""
    for entry in rules:
        if entry.what == "config" and changes:
            yield Failure(entry.text, 0, len(changes))
        for one in entries:
            if one.status != "both" and entry.what in ("files", "config"):
                yield Failure(entry.text, 0, 1, str(one.platform))
            elif one.status == "added" and entry.what == "notable" and one.notable:
                yield Failure(entry.text, 0, len(one.notable), str(one.platform))
            elif one.status == "both" and one.diff is None and one.before != one.after:
                yield from not_compared((entry,), (NotCompared(one.platform, "changed", one.before, one.after),))


def notable(
    before: Image, after: Image, files: Sequence[FileChange], shipped: Sequence[Shipped],
    pairs: Sequence[LayerPair],
) -> Iterator[Notable]:  # fmt: skip
    for change in files:
        yield from _of_file(change)
    yield from _of_config(before, after)
    for gone in shipped:
        yield Notable("deleted-still-ships", gone.path, None, gone.layer, f"deleted, but its {gone.size} bytes still ship")
    for pair in pairs:
        if pair.after is None or pair.before is None:
            continue
        if pair.status == "equivalent" or (pair.status == "changed" and pair.cause is not None):
            why = pair.reason or "its files changed"
            yield Notable("unshared-layer", None, None, pair.after, f"cannot be shared any more: {why}")


def _of_file(change: FileChange) -> Iterator[Notable]:
    after = change.after
    if after is None:
        return
    before, entry = change.before, after.entry
    path, layer = change.path, change.layer
    if entry.kind == Kind.FILE:
        for rule_id, bit, name in (("setuid", 0o4000, "setuid"), ("setgid", 0o2000, "setgid")):
            if entry.mode & bit and not _has(before, Kind.FILE, bit):
                yield Notable(rule_id, path, None, layer, f"new {name} file, owner {entry.uid}:{entry.gid}")
        if entry.mode & 0o6000 and "content" in change.fields and _has(before, Kind.FILE, entry.mode & 0o6000):
            yield Notable("setuid-content", path, None, layer, "the content of a setuid or setgid file changed")
        if entry.mode & 0o002 and not _has(before, Kind.FILE, 0o002):
            yield Notable("world-writable", path, None, layer, "new file that everybody may write")
    if entry.kind == Kind.DIRECTORY and entry.mode & 0o1002 == 0o002 and not (
        before and before.entry.kind == Kind.DIRECTORY and before.entry.mode & 0o1002 == 0o002
    ):
        yield Notable("world-writable", path, None, layer, "new directory that everybody may write, without sticky bit")
    if entry.kind in (Kind.CHAR, Kind.BLOCK) and (
        before is None or (before.entry.kind, before.entry.device) != (entry.kind, entry.device)
    ):
        name = "character" if entry.kind == Kind.CHAR else "block"
        major, minor = entry.device or (0, 0)
        yield Notable("device", path, None, layer, f"new {name} device {major}:{minor}")
    capability = _capability(after)
    if capability is not None and capability != _capability(before):
        yield Notable("capability", path, None, layer, "new file capability")


def _has(side: Side | None, kind: Kind, bits: int) -> bool:
    return side is not None and side.entry.kind == kind and side.entry.mode & bits == bits


def _capability(side: Side | None) -> bytes | None:
    return dict(side.entry.xattrs or ()).get(b"security.capability") if side else None


def _of_config(before: Image, after: Image) -> Iterator[Notable]:
    old, new = (str(image.config.settings.get("User") or "") for image in (before, after))
    if _is_root(new) and not _is_root(old):
        yield Notable("user-root", None, "/config/User", None, f"USER was {old} and is root now")
    for port in sorted(set(after.config.keys("ExposedPorts")) - set(before.config.keys("ExposedPorts"))):
        yield Notable("port", None, f"/config/ExposedPorts/{escaped(port)}", None, f"new port {port}")
    for volume in sorted(set(after.config.keys("Volumes")) - set(before.config.keys("Volumes"))):
        yield Notable("volume", None, f"/config/Volumes/{escaped(volume)}", None, f"new volume {volume}")


def _is_root(user: str) -> bool:
    """Whatever the group: `0`, `root:app` and nothing at all are root."""
    name = user.partition(":")[0]
    return name == "root" or not name.strip("0")
