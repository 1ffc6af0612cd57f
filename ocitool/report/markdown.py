"""Markdown to be pasted into a review: at most `LIMIT` characters, and nothing of an image outside of a code span or fence.

A page is made of whole blocks. What does not fit is left out and counted, so that no fence, table row or `<details>` is
ever cut. Summaries of `<details>` hold our own words and numbers only.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ocitool.images.image import Layer
from ocitool.layers.entry import Kind
from ocitool.operations.diff.config import incidental
from ocitool.operations.diff.result import (
    ConfigChange,
    Diff,
    Failure,
    FileChange,
    IndexDiff,
    LayerPair,
    Notable,
    Patch,
    PlatformDiff,
    file_size,
)
from ocitool.operations.inspect import Inspected, Inspection
from ocitool.operations.waste import Waste
from ocitool.report.escape import cell, clip, code, fence, human, masked, masked_instruction, shown, signed
from ocitool.spec.manifest import Platform
from ocitool.task import Notice

LIMIT = 60_000
"""Characters of a report. GitHub refuses comments above 65,536."""

_RESERVE = 1_500
"""Characters of a page kept for saying what was left out, about 150 a section."""

_SMALLEST = 4_000
"""Characters that a platform's or image's own page takes at least."""

_PATH, _INSTRUCTION, _VALUE = 300, 100, 200
_PER_RULE = 15
_LARGEST = 10
_FOLDS = 20
_PATCH_LINES, _PATCH_LINE = 200, 500

_NOP = re.compile(r"^/bin/sh -c #\(nop\) +")
_INPUT = re.compile(r"\b((?:file|dir|multi):[0-9a-f]{12})[0-9a-f]{52}\b")
_HEAD = re.compile(r"(cannot be shared any more: )?built again ")
_AFTER = "after the instruction "
_KINDS = ("added", "removed", "modified", "type", "metadata")
_SEVERITY = (
    "setuid", "setgid", "setuid-content", "capability", "device", "user-root", "world-writable", "port", "volume",
    "unshared-layer", "deleted-still-ships",
)  # fmt: skip
_OWN_WORDS = frozenset(_SEVERITY) - {"user-root", "port", "volume", "unshared-layer"}
"""Rules whose sentences quote nothing of an image."""


class _Page:
    """Lines within a budget. A section comes whole, or shorter with a word about the rest, or not at all and says so."""

    def __init__(self, limit: int) -> None:
        self.lines: list[str] = []
        self.left = limit

    def __str__(self) -> str:
        return "\n".join(self.lines) + "\n"

    @property
    def room(self) -> int:
        return self.left - _RESERVE

    def say(self, *lines: str) -> bool:
        """All of them or none; may use the reserve."""
        cost = _cost(lines)
        if cost > self.left:
            return False
        self.lines += lines
        self.left -= cost
        return True

    def section(
        self, head: Sequence[str], rows: Iterable[Sequence[str]], total: int, what: str, *, tail: Sequence[str] = (),
        cap: int = LIMIT, hint: str = "",
    ) -> None:  # fmt: skip
        """`rows`: blocks of lines, taken one by one as long as they fit; `total`: how many there are; `cap`: characters
        that the section may take."""
        if not total:
            return
        room = min(self.room, cap) - _cost(head) - _cost(tail) - _cost(_cut(total, what, hint))
        body: list[str] = []
        count = 0
        for row in rows:
            cost = _cost(row)
            if cost > room:
                break
            room -= cost
            body += row
            count += 1
        if not count:
            self.say(*_cut(total, what, hint))
            return
        rest = _cut(total - count, f"more {what}", hint) if count < total else []
        self.say(*head, *body, *rest, *tail)


def _cost(lines: Iterable[str]) -> int:
    return sum(len(line) + 1 for line in lines)


def _cut(count: int, what: str, hint: str) -> list[str]:
    return ["", f"… {count:,} {what} not shown{hint}"]


_DIFF_HINT = " (`ocitool diff --format json` has all)"
_INSPECT_HINT = " (`ocitool inspect --format json` has all)"


# --- diff


def diff(result: Diff | IndexDiff, *, stat: bool = False) -> str:
    """A review comment. `stat`: totals, what to look at, and layers; no lists of files or settings."""
    page = _Page(LIMIT)
    page.say("<!-- ocitool diff -->")
    if isinstance(result, Diff):
        page.say(f"### {_verdict(result)}", "")
        _sides(page, result)
        _diff(page, result, stat)
    else:
        _platforms(page, result, stat)
    _notices(page, result.notices)
    return str(page)


def _sides(page: _Page, result: Diff | IndexDiff) -> None:
    trusted = "" if result.verified else " · layers taken by their stated digests (`--verify` reads and hashes all)"
    page.say(f"{code(_short(result.before_reference))} → {code(_short(result.after_reference))}{trusted}")


def _verdict(result: Diff) -> str:
    summary = result.summary
    parts = [
        f"{count:,} {word}"
        for count, word in (
            (summary.added, "added"), (summary.removed, "removed"), (summary.modified, "modified"),
            (summary.type, "of another type"), (summary.metadata, "with other metadata"),
        )
        if count
    ]  # fmt: skip
    if summary.mtime_only and summary.metadata:
        parts[-1] += f" ({summary.mtime_only:,} by modification time alone)"
    settings = len(result.config)
    if settings:
        parts.append(_plural(settings, "configuration change"))
    shared, _ = result.shared
    about = " (estimated)" if summary.transfer_estimated else ""
    facts = [
        ("Images are identical" if result.identical else "Images differ") + (": " + ", ".join(parts) if parts else ""),
        f"file system {signed(summary.size_delta)}",
        f"{human(summary.transfer_bytes)} to transfer{about}, {shared} of {len(result.after.layers)} layers shared",
    ]
    return "; ".join(facts)


def _diff(page: _Page, result: Diff, stat: bool) -> None:
    _notable(page, result.notable)
    _failures(page, result.failures)
    _causes(page, result)
    _largest(page, result.files)
    if stat:
        return
    _config(page, result.config)
    _files(page, result.files)
    if result.patches:
        _patches(page, result.patches)


def _notable(page: _Page, notable: Sequence[Notable]) -> None:
    by_rule: dict[str, list[Notable]] = {}
    for item in notable:
        by_rule.setdefault(item.rule, []).append(item)
    order = {rule: position for position, rule in enumerate(_SEVERITY)}

    def rows() -> Iterator[list[str]]:
        for rule in ranked:
            found = by_rule[rule]
            for item in found[:_PER_RULE]:
                yield [_notable_line(item)]
            if len(found) > _PER_RULE:
                yield [f"- **{rule}**: {len(found) - _PER_RULE:,} more"]

    ranked = sorted(by_rule, key=lambda rule: order.get(rule, len(order)))
    total = sum(min(len(found), _PER_RULE + 1) for found in by_rule.values())
    page.section(["", "**Look at this first**", ""], rows(), total, "notable changes", cap=14_000, hint=_DIFF_HINT)


def _notable_line(item: Notable) -> str:
    parts = [f"- **{item.rule}**"]
    if item.path is not None:
        parts.append(code(_path(item.path)))
    elif item.pointer is not None:
        parts.append(code(_short(item.pointer)))
    parts.append(item.text if item.rule in _OWN_WORDS else _sentence(item.text))
    if item.layer is not None:
        parts.append(f"· layer {item.layer.number}")
        if item.layer.created_by is not None:
            parts.append(code(_instruction(item.layer.created_by)))
    return " ".join(parts)


def _failures(page: _Page, failures: Sequence[Failure]) -> None:
    rows = (
        [f"- {code(_short(f.rule))}: {_amount(f.rule, f.actual)}, the limit is {_amount(f.rule, f.limit)}"] for f in failures
    )
    page.section(["", "**Rules that are met (`--fail-on`)**", ""], rows, len(failures), "rules", cap=3_000)


def _amount(rule: str, value: int | float | str | None) -> str:
    if isinstance(value, str):
        return code(_short(value))
    if value is None:
        return "none"
    if rule.endswith("%"):
        return f"{value:g}%"
    return human(int(value)) if rule.startswith(("size:", "transfer:")) else f"{value:,}"


def _causes(page: _Page, result: Diff) -> None:
    counts: dict[int | None, Counter[str]] = {}
    delta: Counter[int | None] = Counter()
    counted: set[tuple[int, bytes]] = set()
    for change in result.files:
        number = change.layer.number if change.layer else None
        of_layer = counts.setdefault(number, Counter())
        of_layer["mtime" if change.only_mtime else change.kind] += 1
        for sign, side in ((-1, change.before), (1, change.after)):
            if side is not None and side.links:  # a file of several names counts once
                if (sign, side.links[0]) in counted:
                    continue
                counted.add((sign, side.links[0]))
            delta[number] += sign * file_size(side)

    def row(pair: LayerPair) -> list[str]:
        layer = pair.after or pair.before
        assert layer is not None
        number = pair.after.number if pair.after else None
        own = counts.get(number) if number is not None else None
        stored = human(layer.size)
        if pair.before and pair.after and pair.before.size != pair.after.size:
            stored += f" (was {human(pair.before.size)})"
        named = pair.cause is not None and f"layer {pair.cause.number} " in (pair.reason or "")
        why = [f"layer {pair.cause.number}"] if pair.cause and not named else []
        if pair.reason:
            why.append(_sentence(pair.reason, cell))
        changed = signed(delta[number]) if own else ""
        return [_row(_number(pair), _by(layer), pair.status, stored, _counts(own), changed, ": ".join(why))]

    def rows() -> Iterator[list[str]]:
        for group in groups:
            if len(group) == 1:
                yield row(group[0])
                continue
            first, last = group[0].after, group[-1].after
            assert first is not None and last is not None
            size = human(sum(pair.after.size for pair in group if pair.after))
            yield [_row(f"{first.number}–{last.number}", f"{len(group)} layers", "shared", size, "", "", "")]
        if None in counts:
            yield [_row("", "layers that are gone", "", "", _counts(counts[None]), signed(delta[None]), "")]

    groups = _grouped(result.layers, counts)
    head = ["", "**Cause by instruction**", "",
            "| layer | instruction | status | stored | files | size | built again because of |",
            "| --- | --- | --- | ---: | --- | ---: | --- |"]  # fmt: skip
    page.section(head, rows(), len(groups) + (None in counts), "layers", cap=14_000, hint=_DIFF_HINT)


def _grouped(pairs: Sequence[LayerPair], counts: dict[int | None, Counter[str]]) -> list[list[LayerPair]]:
    """Runs of more than three shared layers without a change of their own make one group; every other pair its own."""
    groups: list[list[LayerPair]] = []
    run: list[LayerPair] = []
    for pair in (*pairs, None):
        if pair is not None and pair.status == "shared" and pair.after and pair.after.number not in counts:
            run.append(pair)
            continue
        groups += [run] if len(run) > 3 else [[item] for item in run]
        run = []
        if pair is not None:
            groups.append([pair])
    return groups


def _number(pair: LayerPair) -> str:
    if pair.after is None:
        return f"was {pair.before.number}" if pair.before else ""
    was = f" (was {pair.before.number})" if pair.before and pair.before.number != pair.after.number else ""
    return f"{pair.after.number}{was}"


def _counts(counts: Counter[str] | None) -> str:
    if not counts:
        return ""
    names = (*zip(_KINDS, _KINDS, strict=True), ("mtime", "by modification time alone"))
    return ", ".join(f"{counts[kind]:,} {name}" for kind, name in names if counts[kind])


def _largest(page: _Page, files: Sequence[FileChange]) -> None:
    import heapq

    found = heapq.nsmallest(_LARGEST, (f for f in files if f.size_delta), key=lambda f: (-abs(f.size_delta), f.path))
    rows = ([_row(signed(f.size_delta), cell(_path(f.path)), f.kind, _layer(f.layer))] for f in found)
    head = ["", "**Largest changes**", "", "| size | path | change | layer |", "| ---: | --- | --- | ---: |"]
    page.section(head, rows, len(found), "large changes", cap=8_000, hint=_DIFF_HINT)


def _config(page: _Page, config: Sequence[ConfigChange]) -> None:
    folded = [incidental(change) for change in config]
    listed = [change for change, why in zip(config, folded, strict=True) if why is None]
    said = []
    if times := folded.count("time"):
        said.append(f"{_plural(times, 'time')} of creation {'differ' if times > 1 else 'differs'}.")
    if notes := folded.count("bookkeeping"):
        said.append(f"{_plural(notes, 'change')} in what the builder notes for itself.")
    summary = _plural(len(config), "configuration change")
    if not listed:
        if said:
            page.say("", *said)
        return
    head = ["", f"<details><summary>{summary}</summary>", ""]
    if said:
        head += [*said, ""]
    head += ["| where | before | after |", "| --- | --- | --- |"]

    def rows() -> Iterator[list[str]]:
        for change in listed:
            where = f"{change.document} {cell(_short(change.pointer))}"
            if change.key is not None:
                where += f" {cell(_short(change.key))}"
            yield [_row(where, *(_setting(change, side) for side in ("before", "after")))]

    page.section(head, rows(), len(listed), "configuration changes", tail=_END, cap=16_000, hint=_DIFF_HINT)


_END = ("", "</details>")


def _setting(change: ConfigChange, side: str) -> str:
    if (side == "before" and change.kind == "added") or (side == "after" and change.kind == "removed"):
        return "—"
    value = change.before if side == "before" else change.after
    if change.key is not None and isinstance(value, str):
        return cell(_short(masked(change.key, value)))
    return cell(_short(_value(value)))


def _value(value: Any) -> str:
    """As JSON, a string as it is; masked wherever a name looks secret."""
    hidden = _masked(value)
    return hidden if isinstance(hidden, str) else json.dumps(hidden, ensure_ascii=False)


def _masked(value: Any) -> Any:
    if isinstance(value, str):
        name, equals, rest = value.partition("=")
        if equals and not re.search(r"\s", name):
            return f"{name}={masked(name, rest)}"
        return masked_instruction(value)
    if isinstance(value, list):
        return [_masked(item) for item in value]
    if isinstance(value, dict):
        return {name: _masked(item) for name, item in value.items()}
    return value


def _files(page: _Page, files: Sequence[FileChange]) -> None:
    listed = [change for change in files if not change.only_mtime]
    times = Counter(change.layer.number if change.layer else None for change in files if change.only_mtime)
    said = []
    for number, count in list(times.items())[:_FOLDS]:
        of = f"layer {number}" if number is not None else "layers that are gone"
        differ = "file of {} differs" if count == 1 else "files of {} differ"
        said.append(f"- {count:,} {differ.format(of)} by modification time alone")
    if len(times) > _FOLDS:
        said.append(f"- and files of {len(times) - _FOLDS:,} more layers")
    if not listed:
        if said:
            page.section([""], ([line] for line in said), len(said), "layers", hint=_DIFF_HINT)
        return
    head = ["", f"<details><summary>{_plural(len(files), 'changed file')}</summary>", ""]
    if said:
        head += [*said, ""]
    head += ["| change | path | what | size | layer |", "| --- | --- | --- | ---: | ---: |"]
    rows = (
        [_row(c.kind, cell(_path(c.path)), _what(c), signed(c.size_delta) if c.size_delta else "", _layer(c.layer))]
        for c in listed
    )
    page.section(head, rows, len(listed), "changes", tail=_END, hint=_DIFF_HINT)


def _what(change: FileChange) -> str:
    """What of a path changed, with the values where they are short."""
    a, b = change.before, change.after
    if a is None or b is None:
        side = a or b
        return side.entry.kind.name.lower() if side and side.entry.kind != Kind.FILE else ""
    if change.kind == "type":
        return f"{a.entry.kind.name.lower()} → {b.entry.kind.name.lower()}"
    parts = []
    for field in change.fields:
        if field == "mode":
            parts.append(f"mode {a.entry.mode:04o} → {b.entry.mode:04o}")
        elif field == "uid":
            parts.append(f"uid {a.entry.uid} → {b.entry.uid}")
        elif field == "gid":
            parts.append(f"gid {a.entry.gid} → {b.entry.gid}")
        elif field == "linkTarget":
            parts.append(f"target {cell(_clipped(a.entry.link, 100))} → {cell(_clipped(b.entry.link, 100))}")
        else:
            parts.append(field)
    return ", ".join(parts)


def _patches(page: _Page, patches: Sequence[Patch]) -> None:
    def blocks() -> Iterator[list[str]]:
        for patch in patches:
            lines = patch.text.split("\n")
            if lines and not lines[-1]:
                lines.pop()
            kept = [clip(line, _PATCH_LINE) for line in lines[:_PATCH_LINES]]
            block = [code(_path(patch.path)), "", *fence("\n".join(kept) + "\n", "diff"), ""]
            if len(lines) > len(kept):
                block += [f"… {len(lines) - len(kept):,} more lines of this patch not shown", ""]
            yield block

    head = ["", f"<details><summary>{len(patches):,} {'patch' if len(patches) == 1 else 'patches'}</summary>", ""]
    page.section(head, blocks(), len(patches), "patches", tail=_END, hint=" (`ocitool diff --patch` has all)")


def _platforms(page: _Page, result: IndexDiff, stat: bool) -> None:
    differing = [entry for entry in result.platforms if entry.diff is not None and not entry.diff.identical]
    lone = sum(entry.diff is None for entry in result.platforms)
    same = len(result.platforms) - len(differing) - lone
    if result.identical:
        verdict = f"Indexes are identical: {_plural(same, 'platform')}"
    else:
        verdict = f"Indexes differ: {_plural(len(differing), 'platform')} changed, {lone} on one side only, {same} identical"
    page.say(f"### {verdict}", "")
    _sides(page, result)
    words = {"added": "added", "removed": "removed"}
    rows = (
        [_row(_platform(e.platform, cell), words.get(e.status) or (_verdict(e.diff) if e.diff else ""))]
        for e in result.platforms
    )
    head = ["", "| platform | result |", "| --- | --- |"]
    page.section(head, rows, len(result.platforms), "platforms", cap=12_000, hint=_DIFF_HINT)
    if not stat:
        _config(page, result.config)
    _share(page, differing, stat)


def _share(page: _Page, entries: Sequence[PlatformDiff], stat: bool) -> None:
    """Each platform gets an equal part of what the ones before it left."""
    for position, entry in enumerate(entries):
        assert entry.diff is not None
        part = _Page(_part(page, len(entries) - position))
        if part.left < _SMALLEST:
            page.say(*_cut(len(entries) - position, "more platforms", _DIFF_HINT))
            return
        part.say("", f"#### {_platform(entry.platform)}", "", f"**{_verdict(entry.diff)}**")
        _diff(part, entry.diff, stat)
        page.say(*part.lines)


def _part(page: _Page, left: int) -> int:
    return min(page.room, max(_SMALLEST, page.room // left))


# --- inspect


def inspect(result: Inspection) -> str:
    page = _Page(LIMIT)
    page.say("<!-- ocitool inspect -->", f"### Image {code(_short(result.reference))}")
    if result.document is not None:
        rows = (
            [_row(
                _platform(entry.descriptor.platform, cell) if entry.descriptor.platform else "",
                entry.kind, cell(_short(str(entry.descriptor.digest))), human(entry.descriptor.size),
                ", ".join(cell(_short(tag)) for tag in entry.tags[:5]), "" if entry.present else "not here",
            )]
            for entry in result.entries
        )  # fmt: skip
        head = ["", f"**Index of {len(result.entries):,} manifests**", "",
                "| platform | kind | digest | manifest | tags | |", "| --- | --- | --- | ---: | --- | --- |"]  # fmt: skip
        page.section(head, rows, len(result.entries), "manifests", cap=12_000, hint=_INSPECT_HINT)
    for position, item in enumerate(result.images):
        part = _Page(_part(page, len(result.images) - position))
        if part.left < _SMALLEST:
            page.say(*_cut(len(result.images) - position, "more images", _INSPECT_HINT))
            break
        _image(part, item, titled=len(result.images) > 1)
        page.say(*part.lines)
    _notices(page, result.notices)
    return str(page)


def _image(page: _Page, item: Inspected, *, titled: bool) -> None:
    image = item.image
    if titled:
        page.say("", f"#### {_platform(image.platform)}" + (f" {code(_short(image.tags[0]))}" if image.tags else ""))
    unpacked = [facts.uncompressed_size for facts in item.layers]
    total = "" if None in unpacked else f", {human(sum(size or 0 for size in unpacked))} unpacked"
    page.say("", f"{_platform(image.platform)} · {_plural(len(image.layers), 'layer')}, {human(image.size)} stored{total}")
    identity = [("digest", image.digest), ("image ID", image.image_id), ("created", image.config.created),
                ("author", image.config.author)]  # fmt: skip
    facts = [[_row(name, cell(_short(str(value))))] for name, value in identity if value]
    if image.tags:
        more = f" and {len(image.tags) - 5:,} more" if len(image.tags) > 5 else ""
        facts.append([_row("tags", " ".join(cell(_short(tag)) for tag in image.tags[:5]) + more)])
    page.section(["", "| | |", "| --- | --- |"], facts, len(facts), "facts", hint=_INSPECT_HINT)
    counted = any(known.files is not None for known in item.layers)
    rows = (
        [_row(
            str(layer.number), human(layer.size), human(f.uncompressed_size) if f.uncompressed_size is not None else "",
            *([f"{f.files:,}" if f.files is not None else ""] if counted else []), _by(layer),
            cell(layer.digest.short) if layer.digest else "",
        )]
        for layer, f in zip(image.layers, item.layers, strict=True)
    )  # fmt: skip
    files, rule = (" files |", " ---: |") if counted else ("", "")
    head = ["", "**Layers**", "", f"| layer | stored | unpacked |{files} instruction | digest |",
            f"| ---: | ---: | ---: |{rule} --- | --- |"]  # fmt: skip
    page.section(head, rows, len(image.layers), "layers", cap=20_000, hint=_INSPECT_HINT)
    _settings(page, item)
    if item.waste is not None:
        _waste(page, item.waste, image.layers)


def _settings(page: _Page, item: Inspected) -> None:
    config = item.image.config
    rows = []
    for name in ("User", "WorkingDir", "Entrypoint", "Cmd", "StopSignal", "Healthcheck"):
        value = config.settings.get(name)
        if value not in (None, "", [], {}):
            rows.append([_row(name, cell(_short(_value(value))))])
    for title, setting in (("Ports", "ExposedPorts"), ("Volumes", "Volumes")):
        keys = config.keys(setting)
        more = f" and {len(keys) - 20:,} more" if len(keys) > 20 else ""
        if keys:
            rows.append([_row(title, " ".join(cell(_short(key)) for key in keys[:20]) + more)])
    page.section(["", "**Configuration**", "", "| | |", "| --- | --- |"], rows, len(rows), "settings", cap=12_000,
                 hint=_INSPECT_HINT)  # fmt: skip
    env = config.settings.get("Env")
    names = [item for item in env if isinstance(item, str)] if isinstance(env, list) else []
    labels = config.settings.get("Labels")
    pairs = [(name, value) for name, value in labels.items()] if isinstance(labels, dict) else []
    for word, total, found in (
        ("environment variable", len(names), (_variable(item) for item in names)),
        ("label", len(pairs), (_row(cell(_short(name)), cell(_short(_value(value)))) for name, value in pairs)),
    ):
        head = ["", f"<details><summary>{_plural(total, word)}</summary>", "", "| name | value |", "| --- | --- |"]
        page.section(head, ([row] for row in found), total, f"{word}s", tail=_END, cap=10_000, hint=_INSPECT_HINT)


def _variable(item: str) -> str:
    name, _, value = item.partition("=")
    return _row(cell(_short(name)), cell(_short(masked(name, value))))


def _waste(page: _Page, waste: Waste, layers: Sequence[Layer]) -> None:
    files, size = waste.total()
    page.say("", f"**Waste**: {human(size)} in {_plural(files, 'file')} that nobody sees")
    sizes: dict[int, Counter[str]] = {}
    for hidden in waste.hidden:
        sizes.setdefault(hidden.by, Counter())[hidden.kind] += hidden.size
    guilty = sorted(sizes, key=lambda number: (-sum(sizes[number].values()), number))
    kinds = ("overwritten", "deleted", "copied-up")
    by_layer = (
        [_row(str(number), _by(layers[number]), *(human(sizes[number][kind]) for kind in kinds))] for number in guilty
    )
    head = ["", "| layer | hidden by | overwritten | deleted | copied up |", "| ---: | --- | ---: | ---: | ---: |"]
    page.section(head, by_layer, len(guilty), "layers", cap=8_000, hint=_INSPECT_HINT)
    shown_paths = [[_row(human(w.bytes), cell(_path(w.path)), w.kind, f"{w.versions:,}")] for w in waste.paths]
    head = ["", f"<details><summary>{_plural(len(waste.paths), 'most wasteful path')}</summary>", "",
            "| size | path | how | copies |", "| ---: | --- | --- | ---: |"]  # fmt: skip
    page.section(head, shown_paths, len(shown_paths), "paths", tail=_END, cap=8_000, hint=_INSPECT_HINT)
    largest = [[_row(human(found.size), cell(_path(found.path)), str(found.layer))] for found in waste.largest]
    head = ["", f"<details><summary>{_plural(len(largest), 'largest file')}</summary>", "",
            "| size | path | layer |", "| ---: | --- | ---: |"]  # fmt: skip
    page.section(head, largest, len(largest), "files", tail=_END, cap=8_000, hint=_INSPECT_HINT)


# --- words


def _notices(page: _Page, notices: Sequence[Notice]) -> None:
    rows = ([f"- {code(_clipped(notice.text, 400))}"] for notice in notices)
    page.section(["", "**Notices**", ""], rows, len(notices), "notices", cap=5_000)


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _plural(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def _clipped(text: str | bytes, length: int) -> str:
    """Escaped, then shortened: what is escaped once stays as it is."""
    return clip(shown(text[: length + 1]), length) if len(text) > length else clip(shown(text), length)


def _path(path: bytes) -> str:
    return _clipped(b"/" + path, _PATH)


def _short(text: str) -> str:
    return _clipped(text, _VALUE)


def _instruction(text: str) -> str:
    plain = _NOP.sub("", masked_instruction(text[:20_000]))
    return _clipped(_INPUT.sub(r"\1…", plain), _INSTRUCTION)


def _by(layer: Layer) -> str:
    return cell(_instruction(layer.created_by)) if layer.created_by is not None else "unknown"


def _layer(layer: Layer | None) -> str:
    return str(layer.number) if layer is not None else "gone"


def _platform(platform: Platform, span: Any = code) -> str:
    return str(span(_short(str(platform))))


def _sentence(text: str, span: Any = code) -> str:
    """A sentence of ours, that may end in an instruction or quote a setting: what is not plainly ours is code."""
    head, after, rest = text.partition(_AFTER)
    if after and _HEAD.fullmatch(head):
        return f"{head}{after}{span(_instruction(rest))}"
    return text if text in _SENTENCES or _REASON.fullmatch(text) else str(span(_short(masked_instruction(text))))


_SENTENCES = frozenset(
    prefix + reason
    for prefix in ("", "cannot be shared any more: ")
    for reason in (
        "its files changed", "its input changed", "the instruction is new", "built again with equal files",
        "the layer is gone",
    )
)  # fmt: skip
_REASON = re.compile(
    r"(cannot be shared any more: )?built again because layer [0-9]+ changed"
    r"(; (its files changed|its input changed|the instruction is new|built again with equal files))?"
)
