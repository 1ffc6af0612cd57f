"""Results as text for a person: lines, without a wrap in anything that is copied.

Everything that comes from an image goes through `escape.shown`. Colour is the caller's wish (`Paint`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ocitool.images.image import Image, Layer
from ocitool.layers.entry import Entry, Kind
from ocitool.operations.diff.result import ConfigChange, Diff, FileChange, IndexDiff, Side
from ocitool.operations.inspect import Inspected, Inspection, Waste
from ocitool.operations.listing import Item, Listing
from ocitool.operations.validate import Validation
from ocitool.report.as_json import time
from ocitool.report.escape import human, masked, shown, signed

_SHOWN_FILES = 200
_INSTRUCTION = 100
_MARKS = {"added": "A", "removed": "D", "modified": "M", "type": "T", "metadata": "m"}
_COLOURS = {"A": "32", "D": "31", "M": "33", "T": "33", "m": "36"}
_NOISE = re.compile(r"^(?:/bin/sh -c #\(nop\) +|/bin/sh -c )|\s+# buildkit$")


class Paint:
    """ANSI colours, or none."""

    def __init__(self, on: bool) -> None:
        self._on = on

    def __call__(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._on else text

    def bold(self, text: str) -> str:
        return self(text, "1")


def columns(rows: Sequence[Sequence[str]], right: Iterable[int] = (), indent: str = "  ") -> Iterator[str]:
    """Rows with their columns aligned; the last column is never padded."""
    if not rows:
        return
    to_right = set(right)
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    for row in rows:
        cells = [cell.rjust(width) if at in to_right else cell.ljust(width) for at, (cell, width) in
                 enumerate(zip(row, widths, strict=True))]  # fmt: skip
        yield (indent + "  ".join(cells)).rstrip()


def instruction(text: str | None, width: int = _INSTRUCTION) -> str:
    """An instruction on one line, without what builders wrap around it."""
    if not text:
        return "-"
    line = shown(" ".join(_NOISE.sub("", text).split()))
    return line if len(line) <= width else line[: width - 1] + "…"


def shown_path(path: bytes) -> str:
    return shown(b"/" + path)


# inspect


def inspect(result: Inspection, paint: Paint) -> Iterator[str]:
    if result.index is not None:
        yield paint.bold(f"{shown(result.reference)}  index of {len(result.entries)} ({result.transport})")
        yield f"  {result.index.media_type and shown(result.index.media_type)}  {result.index.digest}"
        yield from columns(
            [
                [
                    str(entry.descriptor.platform) if entry.descriptor.platform and entry.kind == "image" else entry.kind,
                    entry.descriptor.digest.algorithm + ":" + entry.descriptor.digest.short,
                    "" if entry.present else "not here",
                    ", ".join(map(shown, entry.tags)),
                ]
                for entry in result.entries
            ]
        )
        yield ""
    for item in result.images:
        yield from _image(result, item, paint)


def _image(result: Inspection, item: Inspected, paint: Paint) -> Iterator[str]:
    image = item.image
    name = ", ".join(map(shown, image.tags)) or shown(result.reference)
    what = shown(str(image.platform)) if image.is_image else f"artifact {shown((image.manifest and image.manifest.artifact_type) or '')}"
    yield paint.bold(f"{name}  {what}  ({image.transport})")
    facts = [["image id", image.image_id]]
    if image.digest:
        facts.append(["digest", str(image.digest)])
    if image.config.created:
        facts.append(["created", shown(image.config.created)])
    if image.config.author:
        facts.append(["author", shown(image.config.author)])
    sizes = [layer.uncompressed_size for layer in item.layers]
    unpacked = "" if None in sizes else f", {human(sum(size for size in sizes if size is not None))} unpacked"
    facts.append(["size", f"{human(image.size)} in {_count(len(image.layers), 'layer')}{unpacked}"])
    yield from columns(facts)
    settings = list(_settings(image))
    if settings:
        yield ""
        yield from columns(settings)
    yield ""
    rows = [["layer", "size", "unpacked", "codec", "digest", "instruction"]]
    for layer, fact in zip(image.layers, item.layers, strict=True):
        known = layer.digest or layer.diff_id
        rows.append([
            str(layer.number), human(layer.size), human(fact.uncompressed_size) if fact.uncompressed_size is not None else "?",
            fact.compression or "?" if layer.blob is not None else "missing", known.short if known else "-",
            instruction(layer.created_by),
        ])  # fmt: skip
    yield from columns(rows, right=(0, 1, 2))
    if not image.aligned or not image.history_aligned:
        yield "  history and layers do not agree; what cannot be paired is not shown"
    if item.waste is not None:
        yield from _waste(item.waste, image, paint)
    yield ""


def _settings(image: Image) -> Iterator[list[str]]:
    settings = image.config.settings
    for key in ("User", "WorkingDir", "Entrypoint", "Cmd", "StopSignal"):
        value = settings.get(key)
        if value:
            yield [key.lower(), value_text(value)]
    env = settings.get("Env")
    if isinstance(env, list) and env:
        for item in env:
            name, _, value = item.partition("=") if isinstance(item, str) else (str(item), "", "")
            yield ["env", f"{shown(name)}={shown(masked(name, value))}"]
    for key, keys in (("ports", image.config.keys("ExposedPorts")), ("volumes", image.config.keys("Volumes"))):
        if keys:
            yield [key, ", ".join(map(shown, keys))]
    labels = settings.get("Labels")
    if isinstance(labels, dict):
        for name, value in sorted(labels.items()):
            yield ["label", f"{shown(name)}={value_text(value)}"]


def value_text(value: Any) -> str:
    """A JSON value on one line."""
    import json

    return shown(value) if isinstance(value, str) else shown(json.dumps(value, ensure_ascii=False))


def _waste(waste: Waste, image: Image, paint: Paint) -> Iterator[str]:
    files, size = waste.total()
    yield ""
    yield paint.bold(f"  hidden, but shipped: {human(size)} in {_count(files, 'file')}")
    rows = []
    for number in sorted({wasted.by for wasted in waste.hidden}):
        parts = [
            f"{name} {human(waste.total(kind, number)[1])}"
            for kind, name in (("overwritten", "overwrites"), ("deleted", "deletes"), ("copied-up", "copies up"))
            if waste.total(kind, number)[0]  # type: ignore[arg-type]
        ]
        rows.append([f"layer {number}", ", ".join(parts), instruction(image.layers[number].created_by)])
    yield from columns(rows, indent="    ")
    if waste.paths:
        yield "  hidden most:"
        yield from columns(
            [[human(p.bytes), p.kind, f"{p.versions}x", shown_path(p.path)] for p in waste.paths], right=(0,), indent="    "
        )
    if waste.largest:
        yield "  largest files:"
        yield from columns(
            [[human(f.size), f"layer {f.layer}", shown_path(f.path)] for f in waste.largest], right=(0,), indent="    "
        )


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")


# ls


def ls(result: Listing, *, long: bool) -> Iterator[str]:
    for item in result.items:
        yield _long(item) if long else shown_path(item.path) + _suffix(item.entry)


_LETTERS = "-dlhcbpwoai"


def _suffix(entry: Entry) -> str:
    if entry.kind == Kind.DIRECTORY:
        return "/" if entry.path else ""
    if entry.kind == Kind.SYMLINK:
        return " -> " + shown(entry.link)
    if entry.kind == Kind.HARDLINK:
        return " link to " + shown_path(entry.link)
    return {Kind.WHITEOUT: " (whiteout)", Kind.OPAQUE: " (opaque)"}.get(entry.kind, "")


def _long(item: Item) -> str:
    entry = item.entry
    size = f"{entry.device[0]},{entry.device[1]}" if entry.device else str(entry.size)
    stamp = (time(entry.mtime) or str(entry.mtime // 1_000_000_000))[:19]
    layer = f"layer {item.layer.number}" if item.layer else "-"
    extra = " " + " ".join(shown(name) for name, _ in entry.xattrs) if entry.xattrs else ""
    owner = f"{entry.uid}:{entry.gid}"
    return (
        f"{_LETTERS[entry.kind]}{mode_text(entry.mode)} {owner:>9} {size:>12} {stamp} {layer:>9}  "
        f"{shown_path(item.path)}{_suffix(entry)}{extra}"
    )


def mode_text(mode: int) -> str:
    """rwxr-xr-x, with s and t."""
    text = "".join(letter if mode & bit else "-" for letter, bit in
                   zip("rwxrwxrwx", (256, 128, 64, 32, 16, 8, 4, 2, 1), strict=True))  # fmt: skip
    for bit, at, letter in ((0o4000, 2, "s"), (0o2000, 5, "s"), (0o1000, 8, "t")):
        if mode & bit:
            text = text[:at] + (letter if text[at] == "x" else letter.upper()) + text[at + 1 :]
    return text


# diff


def diff(result: Diff | IndexDiff, paint: Paint, *, stat: bool = False) -> Iterator[str]:
    if isinstance(result, Diff):
        yield from _diff(result, paint, stat)
        return
    yield paint.bold(f"{shown(result.before_reference)} -> {shown(result.after_reference)}")
    yield from _config(result.config, paint)
    for entry in result.platforms:
        yield ""
        yield paint.bold(f"{shown(str(entry.platform))}: {entry.status if entry.diff is None else 'on both sides'}")
        if entry.diff is not None:
            yield from _diff(entry.diff, paint, stat)


def _diff(result: Diff, paint: Paint, stat: bool) -> Iterator[str]:
    yield paint.bold(f"{_named(result.before, result.before_reference)} -> {_named(result.after, result.after_reference)}")
    yield "  " + verdict(result)
    yield "  " + totals(result)
    for failure in result.failures:
        yield paint(f"  --fail-on {failure.rule}: {failure.actual} (limit {failure.limit})", "31")
    if result.notable:
        yield ""
        yield paint.bold("notable")
        yield from columns([
            [item.rule, shown_path(item.path) if item.path is not None else shown(item.pointer or ""),
             f"layer {item.layer.number}" if item.layer else "", shown(item.text)]
            for item in result.notable
        ])  # fmt: skip
    yield ""
    yield paint.bold("layers")
    rows = []
    for pair in result.layers:
        layer = pair.after or pair.before
        assert layer is not None
        number = str(layer.number) if pair.after else f"({layer.number})"
        changes = "" if pair.after is None else _tally(result, pair.after)
        text = instruction(layer.created_by, 60)
        rows.append([number, pair.status, human(layer.size), changes, text + (f"  [{shown(pair.reason)}]" if pair.reason else "")])
    yield from columns(rows, right=(0, 2))
    if stat:
        return
    yield from _config(result.config, paint)
    yield from _files(result, paint)
    for patch in result.patches or ():
        yield ""
        for line in patch.text.splitlines():
            colour = {"+": "32", "-": "31", "@": "36"}.get(line[:1])
            yield paint(shown(line), colour) if colour else shown(line)


def _named(image: Image, reference: str) -> str:
    return f"{shown(reference)} ({shown(image.tags[0])})" if image.tags else shown(reference)


def verdict(result: Diff) -> str:
    """The first line: what changed in the file system."""
    if result.identical:
        return "no difference"
    s = result.summary
    counts = [f"{number:,} {name}" for number, name in (
        (s.added, "added"), (s.removed, "removed"), (s.modified, "modified"), (s.type, "of another type"),
        (s.metadata, "with other metadata"),
    ) if number]  # fmt: skip
    files = "files: " + ", ".join(counts) if counts else "no file differs"
    if s.mtime_only:
        files += f" ({s.mtime_only:,} by modification time alone)"
    return f"{files}; {_count(len(result.config), 'configuration change')}"


def totals(result: Diff) -> str:
    layers, size = result.shared
    s = result.summary
    about = "about " if s.transfer_estimated else ""
    claim = "" if result.verified else "; by stated digests"
    return (
        f"file system {signed(s.size_delta)}; to transfer {about}{human(s.transfer_bytes)}; "
        f"{layers} of {_count(len(result.after.layers), 'layer')} shared ({human(size)}){claim}"
    )


def _tally(result: Diff, layer: Layer) -> str:
    count = sum(1 for change in result.files if change.layer is layer and not change.only_mtime)
    return _count(count, "change") if count else ""


def _config(changes: Sequence[ConfigChange], paint: Paint) -> Iterator[str]:
    if not changes:
        return
    yield ""
    yield paint.bold("configuration")
    times = [change for change in changes if change.pointer.startswith("/history/") and change.pointer.endswith("/created")]
    for change in changes:
        if change in times:
            continue
        mark = {"added": "A", "removed": "D", "modified": "M"}[change.kind]
        where = ("" if change.document == "config" else f"{change.document} ") + shown(change.pointer)
        name = change.key or change.pointer.rpartition("/")[2]
        sides = [value_text(masked(name, value) if isinstance(value, str) else value)
                 for value in (change.before, change.after) if value is not None]  # fmt: skip
        label = f"{where} {shown(change.key)}" if change.key else where
        yield f"  {paint(mark, _COLOURS[mark])} {label}: {' -> '.join(sides)}"
    if times:
        yield f"  {_count(len(times), 'time')} of history entries differ"


def _files(result: Diff, paint: Paint) -> Iterator[str]:
    if not result.files:
        return
    yield ""
    yield paint.bold("files")
    untimely: dict[int | None, int] = {}
    rows: list[list[str]] = []
    marks: list[str] = []
    more = 0
    for change in result.files:
        if change.only_mtime:
            number = change.layer.number if change.layer else None
            untimely[number] = untimely.get(number, 0) + 1
            continue
        if len(rows) >= _SHOWN_FILES:
            more += 1
            continue
        mark = _MARKS[change.kind]
        marks.append(mark)
        layer = f"layer {change.layer.number}" if change.layer else "layer gone"
        rows.append([mark, shown_path(change.path), layer, _what(change)])
    for mark, line in zip(marks, columns(rows), strict=True):
        yield line.replace(mark, paint(mark, _COLOURS[mark]), 1)
    if more:
        yield f"  and {_count(more, 'more change')}: --format json lists all"
    for number, count in untimely.items():
        where = "of layers that are gone" if number is None else f"of layer {number}"
        verb = "differs" if count == 1 else "differ"
        yield f"  {_count(count, 'path')} {where} {verb} by modification time alone"


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


# validate


def validation(results: Sequence[Validation], paint: Paint) -> Iterator[str]:
    for result in results:
        errors = sum(finding.severity == "error" for finding in result.findings)
        warnings = len(result.findings) - errors
        found = f"{_count(errors, 'error')}, {_count(warnings, 'warning')}" if result.findings else "no finding"
        word = paint("valid", "32") if result.valid else paint("not valid", "31")
        checked = result.checked
        yield (
            f"{paint.bold(shown(result.reference or '-'))}: {word}, {found} "
            f"({_count(checked.documents, 'document')}, {_count(checked.layers, 'layer')}, {human(checked.bytes)} read)"
        )
        for finding in result.findings:
            colour = "31" if finding.severity == "error" else "33"
            yield f"  {paint(finding.severity, colour)} {finding.rule}: {shown(finding.subject)}: {shown(finding.message)}"
        if result.truncated:
            yield "  and more: only the first findings are listed"
