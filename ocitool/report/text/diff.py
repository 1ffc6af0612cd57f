"""`diff` as text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ocitool import masking
from ocitool.images.image import Image, Layer
from ocitool.layers.entry import Kind
from ocitool.operations.diff.config_changes import incidental
from ocitool.operations.diff.result import (
    ConfigChange,
    Diff,
    Failure,
    FileChange,
    IndexDiff,
    Notable,
    PlatformDiff,
    Side,
)
from ocitool.report.escape import apart, clip, human, shown, signed, stated
from ocitool.report.notable import rows
from ocitool.report.scope import beside, compared, one_of
from ocitool.report.sides import CHANGED, pointer_text, sides, withheld
from ocitool.report.text.parts import (
    INSTRUCTION,
    Paint,
    columns,
    count_of,
    full_instruction,
    instruction,
    shown_path,
    value_text,
)

_SHOWN_FILES = 200
_SHOWN_PLATFORMS = 20
_MARKS = {"added": "A", "removed": "D", "modified": "M", "type": "T", "metadata": "m"}
_COLOURS = {"A": "32", "D": "31", "M": "33", "T": "33", "m": "36"}


def diff_text(result: Diff | IndexDiff, paint: Paint, *, stat: bool = False) -> Iterator[str]:
    if isinstance(result, Diff):
        yield from _diff(result, paint, stat)
        return
    yield paint.bold(f"{shown(result.before_reference)} -> {shown(result.after_reference)}")
    if result.identical:
        one = one_of(result)
        scope = shown(compared(one)) if one is not None else ""
        said = f"no file {scope} differs" if scope else "no difference"
        yield f"  {said} in {count_of(len(result.platforms), 'platform')}" + (beside(one) if one is not None else "")
    yield from _failures(result.failures, paint)
    yield from _config(result.config, paint)
    for entry in result.platforms:
        yield ""
        yield paint.bold(f"{stated(entry.platform)}: {_side_of(entry)}")
        yield from _notable(entry.notable, paint)
        if entry.diff is not None:
            yield from _diff(entry.diff._replace(failures=()), paint, stat)


def _side_of(entry: PlatformDiff) -> str:
    if entry.status != "both":
        return entry.status
    return "on both sides" + ("" if entry.diff is not None else ", but its manifest is not here on both")


def _diff(result: Diff, paint: Paint, stat: bool) -> Iterator[str]:
    yield paint.bold(f"{_named(result.before, result.before_reference)} -> {_named(result.after, result.after_reference)}")
    yield "  " + verdict(result)
    yield "  " + totals(result)
    if result.not_compared:
        yield paint(f"  {not_compared(result)}", "33")
    yield from _failures(result.failures, paint)
    yield from _notable(result.notable, paint)
    yield ""
    yield paint.bold("layers")
    table = []
    for pair in result.layers:
        layer = pair.after or pair.before
        assert layer is not None
        number = str(layer.number) if pair.after else f"({layer.number})"
        changes = "" if pair.after is None else _tally(result, pair.after)
        table.append([
            number, pair.status, human(layer.size), changes, instruction(layer.created_by, 60),
            f"({shown(masking.reason(pair.reason))})" if pair.reason else "",
        ])  # fmt: skip
    yield from columns(table, right=(0, 2))
    if stat:
        return
    yield from _config(result.config, paint)
    yield from _files(result, paint)
    for patch in result.patches or ():
        yield ""
        if patch.withheld:
            yield f"{shown_path(patch.path)}: {withheld(patch)}"
            continue
        for line in patch.text.removesuffix("\n").split("\n"):
            colour = {"+": "32", "-": "31", "@": "36"}.get(line[:1])
            yield paint(shown(line), colour) if colour else shown(line)


def _named(image: Image, reference: str) -> str:
    return f"{shown(reference)} ({shown(image.tags[0])})" if image.tags else shown(reference)


def _failures(failures: Sequence[Failure], paint: Paint) -> Iterator[str]:
    for failure in failures:
        of = f"{stated(failure.platform)}: " if failure.platform is not None else ""
        why = f"{failure.actual} (limit {failure.limit})" if failure.actual is not None else "not compared"
        yield paint(f"  --fail-on {failure.rule}: {of}{why}", "31")


def _notable(notable: Sequence[Notable], paint: Paint) -> Iterator[str]:
    if not notable:
        return
    yield ""
    yield paint.bold("notable")
    listed, more = [], []
    for row in rows(notable):
        if row.more:
            more.append(f"  {row.rule}: {row.text} (--format json lists all)")
            continue
        where = shown_path(row.path) if row.path is not None else shown(pointer_text(row.pointer or ""))
        listed.append([row.rule, where, f"layer {row.layer.number}" if row.layer else "", shown(masking.reason(row.text))])
    yield from columns(listed)
    yield from more


def not_compared(result: Diff) -> str:
    """Which images of two indexes were not compared, and differ by their digests."""
    listed = [f"{stated(one.platform)} ({one.status})" for one in result.not_compared[:_SHOWN_PLATFORMS]]
    more = len(result.not_compared) - len(listed)
    return f"not compared: {', '.join(listed)}{f' and {more:,} more' if more else ''}; --all-platforms compares them"


def verdict(result: Diff) -> str:
    """The first line: what changed in the file system."""
    scope = shown(compared(result))
    if result.same:
        inside = f" in {stated(result.after.platform)}" if result.not_compared else ""
        return (f"no file {scope} differs{inside}" + beside(result)) if scope else "no difference" + inside
    s = result.summary
    counts = [f"{number:,} {name}" for number, name in (
        (s.added, "added"), (s.removed, "removed"), (s.modified, "modified"), (s.type, "of another type"),
        (s.metadata, "with other metadata"),
    ) if number]  # fmt: skip
    where = f" {scope}" if scope else ""
    files = f"files{where.replace('matches', 'match')}: " + ", ".join(counts) if counts else f"no file{where} differs"
    stored = sum(not pair.same for pair in result.layers)
    if not counts and not result.config and stored:
        return f"no file and no setting differs; {count_of(stored, 'layer')} cut or stored otherwise (--semantic ignores that)"
    if s.mtime_only:
        files += f" ({s.mtime_only:,} by modification time alone)"
    return files + (beside(result) or f"; {count_of(len(result.config), 'configuration change')}")


def totals(result: Diff) -> str:
    layers, size = result.shared
    s = result.summary
    about = "about " if s.transfer_estimated else ""
    claim = "" if result.verified else "; by stated digests"
    return (
        f"file system {signed(s.size_delta)}; to transfer {about}{human(s.transfer_bytes)}; "
        f"{layers} of {count_of(len(result.after.layers), 'layer')} shared ({human(size)}){claim}"
    )


def _tally(result: Diff, layer: Layer) -> str:
    count = sum(1 for change in result.files if change.layer is layer and not change.only_mtime)
    return count_of(count, "change") if count else ""


def _config(changes: Sequence[ConfigChange], paint: Paint) -> Iterator[str]:
    """The changes a person asks about; what only follows from building again is counted."""
    if not changes:
        return
    yield ""
    yield paint.bold("configuration")
    times = bookkeeping = 0
    for change in changes:
        why = incidental(change)
        times += why == "time"
        bookkeeping += why == "bookkeeping"
        if why is None:
            mark = {"added": "A", "removed": "D", "modified": "M"}[change.kind]
            yield f"  {paint(mark, _COLOURS[mark])} {_config_line(change)}"
    if times:
        yield f"  {count_of(times, 'time')} of creation {'differs' if times == 1 else 'differ'}"
    if bookkeeping:
        yield f"  {count_of(bookkeeping, 'change')} in what the builder notes for itself (container, container_config)"


def _config_line(change: ConfigChange) -> str:
    found = sides(change)
    where = ("" if change.document == "config" else f"{change.document} ") + shown(pointer_text(change.pointer))
    label = f"{where} {shown(masking.text(change.key))}" if change.key else where
    if change.pointer.startswith("/history/"):
        texts = [full_instruction(_created_by(side)) for side in (change.before, change.after) if side is not None]
        texts = list(apart(texts[0], texts[1], INSTRUCTION)) if len(texts) == 2 else [clip(text, INSTRUCTION) for text in texts]
    else:
        both = change.kind == "modified"
        texts = [value_text(side) for side in (found.before, found.after) if both or side is not None]
    alike = len(texts) == 2 and texts[0] == texts[1]
    return f"{label}: {' -> '.join(texts)}" + (f" {CHANGED}" if found.changed or alike else "")


def _created_by(entry: object) -> str | None:
    if not isinstance(entry, dict):
        return entry if isinstance(entry, str) else None
    text = entry.get("created_by")
    return text if isinstance(text, str) else None


def _files(result: Diff, paint: Paint) -> Iterator[str]:
    if not result.files:
        return
    yield ""
    yield paint.bold("files")
    untimely: dict[int | None, int] = {}
    table: list[list[str]] = []
    marks: list[str] = []
    more = 0
    for change in result.files:
        if change.only_mtime:
            number = change.layer.number if change.layer else None
            untimely[number] = untimely.get(number, 0) + 1
            continue
        if len(table) >= _SHOWN_FILES:
            more += 1
            continue
        mark = _MARKS[change.kind]
        marks.append(mark)
        layer = f"layer {change.layer.number}" if change.layer else "layer gone"
        table.append([mark, shown_path(change.path), layer, _what(change)])
    for mark, line in zip(marks, columns(table), strict=True):
        yield line.replace(mark, paint(mark, _COLOURS[mark]), 1)
    if more:
        yield f"  and {count_of(more, 'more change')}: --format json lists all"
    for number, count in untimely.items():
        where = "of layers that are gone" if number is None else f"of layer {number}"
        verb = "differs" if count == 1 else "differ"
        yield f"  {count_of(count, 'path')} {where} {verb} by modification time alone"


def _what(change: FileChange) -> str:
    before, after = change.before, change.after
    if before is None or after is None:
        side = before or after
        assert side is not None
        return _side(side)
    if change.kind == "type":
        return f"{_kind(before)} -> {_kind(after)}"
    parts = []
    for field in change.fields:
        if field == "content":
            parts.append(f"content {human(before.entry.size)} -> {human(after.entry.size)}")
        elif field == "mode":
            parts.append(f"mode {before.entry.mode:04o} -> {after.entry.mode:04o}")
        elif field in ("uid", "gid"):
            parts.append(f"{field} {getattr(before.entry, field)} -> {getattr(after.entry, field)}")
        elif field == "linkTarget":
            parts.append(f"target {shown(before.entry.link)} -> {shown(after.entry.link)}")
        elif field == "device":
            parts.append(f"device {before.entry.device} -> {after.entry.device}")
        elif field == "xattrs":
            a, b = dict(before.entry.xattrs or ()), dict(after.entry.xattrs or ())
            names = sorted(name for name in a.keys() | b.keys() if a.get(name) != b.get(name))
            parts.append("xattrs " + " ".join(map(shown, names)))
        elif field == "links":
            parts.append(f"{len(before.links) or 1} -> {len(after.links) or 1} names")
        else:
            parts.append(field)
    return ", ".join(parts)


def _kind(side: Side) -> str:
    return Kind(side.entry.kind).name.lower()


def _side(side: Side) -> str:
    entry = side.entry
    mode = f" {entry.mode:04o}" if entry.mode & 0o7000 else ""
    if entry.kind == Kind.FILE:
        return human(entry.size) + mode
    if entry.kind == Kind.SYMLINK:
        return "-> " + shown(entry.link)
    return _kind(side) + mode
