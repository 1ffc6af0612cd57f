"""The content of a `diff` report, for every format: sentences, rows, what is folded and what is masked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from ocitool.comparison.config_changes import incidental
from ocitool.comparison.result import (
    ConfigChange,
    Diff,
    FileChange,
    IndexDiff,
    LayerPair,
    Patch,
    PlatformDiff,
)
from ocitool.images.image import Image
from ocitool.report.escape import clip, human, signed
from ocitool.report.files_view import KINDS, Counts, FilesView, counts_of, files_view, growth_of
from ocitool.report.notable import FailureRow, NotableRow, accepted, failure_row, notable_rows
from ocitool.report.packages_view import PackagesView, packages_verdict, packages_view
from ocitool.report.phrases import (
    LazyRows,
    Phrase,
    Quote,
    count_of,
    exact_quote,
    instruction,
    joined,
    made_by,
    masked_quote,
    path,
    plain,
    platform_quote,
    sentence,
)
from ocitool.report.quiet import is_quiet, quiet_verdict
from ocitool.report.scope import any_diff, compared_files, config_remark
from ocitool.report.sides import pointer_text, sides, withheld
from ocitool.report.volatile_view import VolatileView, all_volatile, volatile_files, volatile_view

if TYPE_CHECKING:
    from ocitool.report.copies_view import CopiesView
    from ocitool.report.inside_view import InsideView

_MAX_PLATFORMS = 20
_MAX_SINGLE_ROWS = 3
"""Consecutive shared layers that changed no file have a row each up to this number; more of them are folded into one
row."""


class LayerRow(NamedTuple):
    """A layer, or several shared ones in one row. `number`: `3`, `3 (was 2)`, `was 2` or `0–7`. `was`: the stored size
    before, empty if it is the same. `changes`: how many files the layer changed; `by_kind`: the same by kind of change;
    `grown`: by how many bytes its files grew, empty if that was not asked. `why`: the reason of its status."""

    number: str
    made_by: Phrase
    status: str
    stored: str
    was: str
    changes: str
    by_kind: str
    grown: str
    why: Phrase


class ConfigRow(NamedTuple):
    """A changed setting. `before`, `after`: None on the side without it. `hidden_change`: both are shown alike, though they
    differ."""

    kind: str
    where: Phrase
    before: Quote | None
    after: Quote | None
    hidden_change: bool


class ConfigView(NamedTuple):
    """Changed settings. `total` counts all of them, including those that the sentences of `folded` only count."""

    total: int
    rows: LazyRows[ConfigRow]
    folded: tuple[Phrase, ...]


class PatchView(NamedTuple):
    """A patch. `withheld`: why it is not shown, empty if it is. `lines`: text of the files, which the format escapes line
    by line."""

    path: Quote
    withheld: str
    lines: Sequence[str]

    def shortened(self, lines: int, length: int) -> tuple[list[str], str]:
        """Returns the first `lines` lines, each cut to `length` characters, and a note of how many lines are left out."""
        more = len(self.lines) - lines
        note = f"{more:,} more lines of this patch not shown" if more > 0 else ""
        return [clip(line, length) for line in self.lines[:lines]], note


class DiffView(NamedTuple):
    """The report on two images. `before`, `after`: their names. `quiet`: the verdict says all that is worth saying.
    `not_compared`: empty if nothing was left out."""

    before: Phrase
    after: Phrase
    quiet: bool
    verdict: Phrase
    totals: str
    not_compared: Phrase
    failures: LazyRows[FailureRow]
    packages: PackagesView
    notable: tuple[NotableRow, ...]
    accepted: Phrase
    layers: LazyRows[LayerRow]
    config: ConfigView
    files: FilesView
    volatile: VolatileView | None
    patches: LazyRows[PatchView]
    copies: CopiesView | None
    inside: InsideView | None
    extracted: Phrase


class PlatformView(NamedTuple):
    """An image of an index. `state`: what became of it, as a short phrase; `diff`: None if it was not compared."""

    platform: Quote
    state: Phrase
    notable: tuple[NotableRow, ...]
    diff: Diff | None
    differs: bool


class IndexView(NamedTuple):
    """The report on two indexes."""

    before: Phrase
    after: Phrase
    verdict: Phrase
    failures: LazyRows[FailureRow]
    config: ConfigView
    platforms: LazyRows[PlatformView]


def diff_view(result: Diff, *, grown: bool = False) -> DiffView:
    """Returns the report on two images. `grown`: also say by how many bytes each layer's files grew (a pass over all files
    in Python)."""
    counts = counts_of(result.files)
    return DiffView(
        _named(result.before, result.before_reference), _named(result.after, result.after_reference),
        result.same or is_quiet(result), verdict(result), totals(result), not_compared(result),
        LazyRows(result.failures, failure_row), packages_view(result), tuple(notable_rows(result.notable)),
        accepted(result.notable),
        _layers(result, counts, growth_of(result.files) if grown else {}), config_view(result.config),
        files_view(result), volatile_view(result),
        LazyRows(result.patches or (), _patch), _copies(result),
        _inside(result), _extracted(result),
    )  # fmt: skip


def _unexplained(result: Diff) -> Sequence[FileChange]:
    """Returns the changed files that no change of packages explains."""
    if result.packages is None or not result.packages.changed:
        return result.files
    return [change for change in result.files if not result.packages.explains(change.path)]


def _copies(result: Diff) -> CopiesView | None:
    if result.copied is None or not result.copied.files:
        return None
    from ocitool.report.copies_view import copies_view  # only of containers

    return copies_view(result.copied, result.after)


def _extracted(result: Diff) -> Phrase:
    """Returns what was written of both sides, empty if that was not requested."""
    found = result.extracted
    if found is None:
        return ()
    told = [f"both sides of what changed were written: {count_of(found.before, 'file')} before, {found.after:,} after, "
            f"{human(found.bytes)}"]  # fmt: skip
    if found.links:
        told.append(f"{found.links:,} of them {'holds' if found.links == 1 else 'hold'} the target of a symbolic link")
    if found.special:
        told.append(f"{count_of(found.special, 'device or pipe')} left out" if found.special == 1 else
                    f"{found.special:,} devices and pipes left out")  # fmt: skip
    if found.secret:
        told.append(
            f"{found.secret:,} {'looks' if found.secret == 1 else 'look'} secret: the directory is closed to other users"
        )
    return (Quote(found.directory, "name"), ": ", "; ".join(told))


def _inside(result: Diff) -> InsideView | None:
    if result.inside is None or not (result.inside.files or result.inside.left_out):
        return None
    from ocitool.report.inside_view import inside_view  # only if there is something to say

    return inside_view(result.inside)


def index_view(result: IndexDiff) -> IndexView:
    """Returns the report on two indexes."""
    return IndexView(
        (exact_quote(result.before_reference),), (exact_quote(result.after_reference),), _index_verdict(result),
        LazyRows(result.failures, failure_row), config_view(result.config), LazyRows(result.platforms, _platform),
    )  # fmt: skip


# Sentences


def _named(image: Image, given: str) -> Phrase:
    return (exact_quote(given), " (", masked_quote(image.tags[0]), ")") if image.tags else (exact_quote(given),)


def verdict(result: Diff) -> Phrase:
    """Returns the first line: what changed in the file system."""
    scope = compared_files(result)
    if result.same:
        inside: Phrase = (" in ", platform_quote(result.after.platform)) if result.not_compared else ()
        return ("no file ", *scope, " differs", *inside, config_remark(result)) if scope else ("no difference", *inside)
    rest = _unexplained(result)
    kinds = Counter[str](map(attrgetter("kind"), rest))
    renamed = min(result.summary.renamed, kinds["added"], kinds["removed"])
    kinds.update({"renamed": renamed, "added": -renamed, "removed": -renamed})
    counts = [f"{kinds[kind]:,} {word}" for kind, word in _CHANGED if kinds[kind]]
    where: Phrase = (" ", *scope) if scope else ()
    stored = sum(not pair.same for pair in result.layers)
    if not result.files and not result.config and stored:
        reasons = {pair.reason for pair in result.layers if not pair.same}
        how = sentence(reason) if len(reasons) == 1 and (reason := reasons.pop()) else ("cut or stored otherwise",)
        layers = (f"{count_of(stored, 'layer')} ", *how)
        return ("no file and no setting differs; ", *layers, " (--semantic ignores that)")
    if not scope and is_quiet(result):
        return quiet_verdict(result)
    times = sum(map(attrgetter("only_mtime"), rest))
    noise = [f"{number:,} {word}" for number, word in (
        (times, "by modification time alone"), (len(result.volatile.classes), "volatile"),
    ) if number]  # fmt: skip
    alone = f" ({', '.join(noise)})" if noise else ""
    settings = config_remark(result) or (f"; {count_of(len(result.config), 'configuration change')}" if result.config else "")
    many = (" that match ", *where[2:]) if result.paths else where
    if result.packages is not None and result.packages.changed:
        packages = packages_verdict(result.packages)
        return (*packages, *(("; other files", *many, ": " + ", ".join(counts) + alone) if counts else ()), settings)
    if not counts:
        return ("no file", *where, " differs", alone + settings)
    if all_volatile(result):
        return (*volatile_files(result, where), settings)
    return ("files", *many, ": " + ", ".join(counts) + alone + settings)


_CHANGED = (
    ("renamed", "renamed"), ("added", "added"), ("removed", "removed"), ("modified", "modified"), ("type", "of another type"),
    ("metadata", "with other metadata"),
)  # fmt: skip


def totals(result: Diff) -> str:
    """Returns the second line: growth, bytes to transfer, and shared layers."""
    layers, size = result.shared
    s = result.summary
    about = "about " if s.transfer_estimated else ""
    claim = "" if result.verified else "; by stated digests"
    return (
        f"file system {signed(s.size_delta)}; to transfer {about}{human(s.transfer_bytes)}; "
        f"{layers} of {count_of(len(result.after.layers), 'layer')} shared ({human(size)}){claim}"
    )


def not_compared(result: Diff) -> Phrase:
    """Returns which images of two indexes were not compared though their digests differ."""
    if not result.not_compared:
        return ()
    listed = [(platform_quote(one.platform), f" ({one.status})") for one in result.not_compared[:_MAX_PLATFORMS]]
    more = len(result.not_compared) - len(listed)
    rest = f" and {more:,} more" if more else ""
    return ("not compared: ", *joined(listed, ", "), f"{rest}; --all-platforms compares them")


def _index_verdict(result: IndexDiff) -> Phrase:
    """Returns the first line of the report on two indexes: how many platforms differ."""
    one = any_diff(result)
    remark = config_remark(one) if one is not None else ""
    if result.identical:
        scope = compared_files(one) if one is not None else ()
        verdict: Phrase = ("no file ", *scope, " differs") if scope else ("no difference",)
        return (*verdict, f" in {count_of(len(result.platforms), 'platform')}{remark}")
    differing = sum(entry.diff is not None and not entry.diff.identical for entry in result.platforms)
    lone = sum(entry.status != "both" for entry in result.platforms)
    absent = sum(entry.status == "both" and entry.diff is None for entry in result.platforms)
    same = len(result.platforms) - differing - lone - absent
    parts = [f"{count_of(differing, 'platform')} changed", f"{lone} on one side only", f"{same} identical"]
    if absent:
        parts.append(f"{absent} not here")
    if result.config:
        parts.append(count_of(len(result.config), "change") + " in the documents")
    return (f"indexes differ: {', '.join(parts)}{remark}",)


def _platform(entry: PlatformDiff) -> PlatformView:
    differs = entry.diff is not None and not entry.diff.identical
    if entry.status != "both":
        notable = f", {count_of(len(entry.notable), 'notable change')}" if entry.notable else ""
        state: Phrase = (entry.status + notable,)
    elif entry.diff is None:
        state = ("not compared: its manifest is not here on both sides",)
    else:
        state = verdict(entry.diff)
    return PlatformView(platform_quote(entry.platform), state, tuple(notable_rows(entry.notable)), entry.diff, differs)


# Layers


def _layers(result: Diff, counts: Counts, sizes: dict[int | None, int]) -> LazyRows[LayerRow]:
    def row(group: Sequence[LayerPair]) -> LayerRow:
        if not group:
            gone = counts[None]
            return LayerRow("", ("layers that are gone",), "", "", "", _changes(gone), _by_kind(gone), grown(None), ())
        return one(group[0]) if len(group) == 1 else _folded_row(group)

    def one(pair: LayerPair) -> LayerRow:
        layer = pair.after or pair.before
        assert layer is not None
        own = counts.get(pair.after.number) if pair.after is not None else None
        was = human(pair.before.size) if pair.before and pair.after and pair.before.size != pair.after.size else ""
        named = pair.cause is not None and f"layer {pair.cause.number} " in (pair.reason or "")
        cause = [(f"layer {pair.cause.number}",)] if pair.cause and not named else []
        why = joined([*cause, *([sentence(pair.reason)] if pair.reason else [])], ": ")
        return LayerRow(
            _number(pair), made_by(layer), pair.status, human(layer.size), was, _changes(own), _by_kind(own),
            grown(layer.number) if own else "", why,
        )  # fmt: skip

    def grown(number: int | None) -> str:
        return signed(sizes.get(number, 0)) if sizes else ""

    return LazyRows([*_grouped(result.layers, counts), *([()] if None in counts else [])], row)


def _folded_row(group: Sequence[LayerPair]) -> LayerRow:
    """Returns one row for several consecutive shared layers."""
    first, last = group[0].after, group[-1].after
    assert first is not None
    assert last is not None
    size = human(sum(pair.after.size for pair in group if pair.after))
    return LayerRow(f"{first.number}–{last.number}", (f"{len(group)} layers",), "shared", size, "", "", "", "", ())


def _grouped(pairs: Sequence[LayerPair], counts: Counts) -> Iterator[Sequence[LayerPair]]:
    """Yields consecutive shared layers that changed no file as one group, if there are enough, and every other pair by
    itself."""
    run: list[LayerPair] = []
    for pair in (*pairs, None):
        if pair is not None and pair.same and pair.after and pair.after.number not in counts:
            run.append(pair)
            continue
        yield from [run] if len(run) > _MAX_SINGLE_ROWS else [[one] for one in run]
        run = []
        if pair is not None:
            yield [pair]


def _number(pair: LayerPair) -> str:
    if pair.after is None:
        return f"was {pair.before.number}" if pair.before else ""
    was = f" (was {pair.before.number})" if pair.before and pair.before.number != pair.after.number else ""
    return f"{pair.after.number}{was}"


def _changes(counts: Counter[str] | None) -> str:
    """Returns the number of changes without those of modification times alone, which `_by_kind` counts."""
    count = sum(counts[kind] for kind in KINDS) if counts else 0
    return count_of(count, "change") if count else ""


def _by_kind(counts: Counter[str] | None) -> str:
    if not counts:
        return ""
    names = (*zip(KINDS, KINDS, strict=True), ("mtime", "by modification time alone"))
    return ", ".join(f"{counts[kind]:,} {word}" for kind, word in names if counts[kind])


# Configuration


def config_view(config: Sequence[ConfigChange]) -> ConfigView:
    """Returns the changed settings; those that only follow from building the image again are counted, not listed."""
    why = [incidental(change) for change in config]
    listed = [change for change, folded in zip(config, why, strict=True) if folded is None]
    folded_lines: list[Phrase] = []
    if times := why.count("time"):
        folded_lines.append((f"{count_of(times, 'time')} of creation {'differs' if times == 1 else 'differ'}",))
    if notes := why.count("bookkeeping"):
        counted = count_of(notes, "change")
        folded_lines.append((f"{counted} in what the builder notes for itself (container, container_config)",))
    return ConfigView(len(config), LazyRows(listed, _setting), tuple(folded_lines))


def _setting(change: ConfigChange) -> ConfigRow:
    found = sides(change)
    where: Phrase = (Quote(pointer_text(change.pointer), "value"),)
    if change.document != "config":
        where = (f"{change.document} ", *where)
    if change.key:
        where = (*where, " ", masked_quote(change.key))
    history = change.pointer.startswith("/history/")
    shown: list[Quote | None] = [
        None if absent else _instruction(side) if history else Quote(plain(masked), "value")
        for absent, side, masked in (
            (change.kind == "added", change.before, found.before), (change.kind == "removed", change.after, found.after),
        )
    ]  # fmt: skip
    before, after = shown
    alike = before is not None and after is not None and before.raw == after.raw
    return ConfigRow(change.kind, where, before, after, found.changed or alike)


def _instruction(entry: object) -> Quote:
    """Returns the instruction of a history entry, which may be any JSON value."""
    text = entry.get("created_by") if isinstance(entry, dict) else entry
    (part,) = instruction(text if isinstance(text, str) else None)
    return part if isinstance(part, Quote) else Quote(part, "instruction")


def _patch(patch: Patch) -> PatchView:
    why = withheld(patch) if patch.withheld else ""
    return PatchView(path(patch.path), why, () if why else patch.text.removesuffix("\n").split("\n"))
