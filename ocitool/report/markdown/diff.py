"""`diff` in Markdown: a review comment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from ocitool import masking
from ocitool.images.image import Layer
from ocitool.layers.entry import Kind
from ocitool.operations.diff.config_changes import incidental
from ocitool.operations.diff.result import (
    ConfigChange,
    Diff,
    Failure,
    FileChange,
    IndexDiff,
    LayerPair,
    Notable,
    NotCompared,
    Patch,
    PlatformDiff,
    file_size,
)
from ocitool.report.escape import cell, clip, code, fence, human, signed
from ocitool.report.markdown.page import END, LIMIT, SMALLEST, Page, cut, say_notices, table_row
from ocitool.report.markdown.words import (
    apart,
    clipped,
    instruction,
    made_by,
    path_text,
    plain_text,
    platform_text,
    plural,
    sentence,
    short,
)
from ocitool.report.notable import Row, rows
from ocitool.report.scope import beside, compared, one_of
from ocitool.report.sides import CHANGED, pointer_text, sides, withheld

_LARGEST = 10
_FOLDS = 20
_PATCH_LINES, _PATCH_LINE = 200, 500

_KINDS = ("added", "removed", "modified", "type", "metadata")
_DIFF_HINT = " (`ocitool diff --format json` has all)"


def diff_markdown(result: Diff | IndexDiff, *, stat: bool = False) -> str:
    """A review comment. `stat`: totals, what to look at, and layers; no lists of files or settings."""
    page = Page(LIMIT)
    page.say("<!-- ocitool diff -->")
    if isinstance(result, Diff):
        page.say(f"### {_verdict(result)}", "")
        _sides(page, result)
        _diff(page, result, stat)
    else:
        _platforms(page, result, stat)
    say_notices(page, result.notices)
    return str(page)


def _sides(page: Page, result: Diff | IndexDiff) -> None:
    trusted = "" if result.verified else " · layers taken by their stated digests (`--verify` reads and hashes all)"
    page.say(f"{code(short(result.before_reference))} → {code(short(result.after_reference))}{trusted}")


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
        parts.append(plural(settings, "configuration change"))
    shared, _ = result.shared
    about = " (estimated)" if summary.transfer_estimated else ""
    scope = compared(result)
    if scope:
        verdict = f"{'A' if result.files else 'No'} file {code(scope)} differs{beside(result)}"
    else:
        verdict = _same(result)
    facts = [
        verdict + (": " + ", ".join(parts) if parts else ""),
        f"file system {signed(summary.size_delta)}",
        f"{human(summary.transfer_bytes)} to transfer{about}, {shared} of {len(result.after.layers)} layers shared",
    ]
    return "; ".join(facts)


def _same(result: Diff) -> str:
    if result.same and result.not_compared:
        return f"Images for {platform_text(result.after.platform)} are identical"
    return "Images are identical" if result.same else "Images differ"


def _not_compared(page: Page, others: Sequence[NotCompared]) -> None:
    rows = ([f"- {platform_text(one.platform)}: {one.status}"] for one in others)
    head = ["", "**Not compared, and other images by their digests** (`--all-platforms` compares them)", ""]
    page.section(head, rows, len(others), "platforms", cap=3_000, hint=_DIFF_HINT)


def _diff(page: Page, result: Diff, stat: bool) -> None:
    _not_compared(page, result.not_compared)
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


def _notable(page: Page, notable: Sequence[Notable]) -> None:
    found = list(rows(notable))
    lines = ([_notable_line(row)] for row in found)
    page.section(["", "**Look at this first**", ""], lines, len(found), "notable changes", cap=14_000, hint=_DIFF_HINT)


def _notable_line(row: Row) -> str:
    if row.more:
        return f"- **{row.rule}**: {row.text}"
    parts = [f"- **{row.rule}**"]
    if row.path is not None:
        parts.append(code(path_text(row.path)))
    elif row.pointer is not None:
        parts.append(code(short(pointer_text(row.pointer))))
    parts.append(row.text if row.own else sentence(row.text))
    if row.layer is not None:
        parts.append(f"· layer {row.layer.number}")
        if row.layer.created_by is not None:
            parts.append(code(instruction(row.layer.created_by)))
    return " ".join(parts)


def _failures(page: Page, failures: Sequence[Failure]) -> None:
    rows = (
        [f"- {code(short(f.rule))}: {code(short(masking.text(f.platform))) + ': ' if f.platform is not None else ''}{_met(f)}"]
        for f in failures
    )
    page.section(["", "**Rules that are met (`--fail-on`)**", ""], rows, len(failures), "rules", cap=3_000)


def _met(failure: Failure) -> str:
    if failure.actual is None and failure.platform is not None:
        return "not compared"
    return f"{_amount(failure.rule, failure.actual)}, the limit is {_amount(failure.rule, failure.limit)}"


def _amount(rule: str, value: int | float | str | None) -> str:
    if isinstance(value, str):
        return code(short(value))
    if value is None:
        return "none"
    if rule.endswith("%"):
        return f"{value:g}%"
    return human(int(value)) if rule.startswith(("size:", "transfer:")) else f"{value:,}"


def _causes(page: Page, result: Diff) -> None:
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
            why.append(sentence(pair.reason, cell))
        changed = signed(delta[number]) if own else ""
        return [table_row(_number(pair), made_by(layer), pair.status, stored, _counts(own), changed, ": ".join(why))]

    def rows() -> Iterator[list[str]]:
        for group in groups:
            if len(group) == 1:
                yield row(group[0])
                continue
            first, last = group[0].after, group[-1].after
            assert first is not None and last is not None
            size = human(sum(pair.after.size for pair in group if pair.after))
            yield [table_row(f"{first.number}–{last.number}", f"{len(group)} layers", "shared", size, "", "", "")]
        if None in counts:
            yield [table_row("", "layers that are gone", "", "", _counts(counts[None]), signed(delta[None]), "")]

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


def _largest(page: Page, files: Sequence[FileChange]) -> None:
    import heapq

    found = heapq.nsmallest(_LARGEST, (f for f in files if _weight(f)), key=lambda f: (-_weight(f), f.path))
    lines = ([table_row(_bytes(f), cell(path_text(f.path)), f.kind, _layer(f.layer))] for f in found)
    head = ["", "**Largest changes**", "", "| size | path | change | layer |", "| ---: | --- | --- | ---: |"]
    page.section(head, lines, len(found), "large changes", cap=8_000, hint=_DIFF_HINT)


def _weight(change: FileChange) -> int:
    return max(change.stored, abs(change.size_delta))


def _bytes(change: FileChange) -> str:
    """How much larger or smaller a file is, and how many bytes of it are stored anew."""
    grown = signed(change.size_delta) if change.size_delta else ""
    if change.kind in ("added", "removed") or not change.stored or change.stored == abs(change.size_delta):
        return grown
    if change.kind == "metadata":
        return f"{human(change.stored)} stored again"
    return f"{grown} ({human(change.stored)} stored anew)" if grown else f"{human(change.stored)} replaced"


def _config(page: Page, config: Sequence[ConfigChange]) -> None:
    folded = [incidental(change) for change in config]
    listed = [change for change, why in zip(config, folded, strict=True) if why is None]
    said = []
    if times := folded.count("time"):
        said.append(f"{plural(times, 'time')} of creation {'differ' if times > 1 else 'differs'}.")
    if notes := folded.count("bookkeeping"):
        said.append(f"{plural(notes, 'change')} in what the builder notes for itself.")
    summary = plural(len(config), "configuration change")
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
            where = f"{change.document} {cell(short(pointer_text(change.pointer)))}"
            if change.key is not None:
                where += f" {cell(short(masking.text(change.key)))}"
            yield [table_row(where, *_settings(change))]

    page.section(head, rows(), len(listed), "configuration changes", tail=END, cap=16_000, hint=_DIFF_HINT)


def _settings(change: ConfigChange) -> tuple[str, str]:
    found = sides(change)
    before, after = apart(plain_text(found.before), plain_text(found.after))
    return (
        "—" if change.kind == "added" else cell(before),
        "—" if change.kind == "removed" else cell(after) + (f" {CHANGED}" if found.changed else ""),
    )


def _files(page: Page, files: Sequence[FileChange]) -> None:
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
    head = ["", f"<details><summary>{plural(len(files), 'changed file')}</summary>", ""]
    if said:
        head += [*said, ""]
    head += ["| change | path | what | size | layer |", "| --- | --- | --- | ---: | ---: |"]
    rows = (
        [table_row(c.kind, cell(path_text(c.path)), _what(c), _bytes(c), _layer(c.layer))]
        for c in listed
    )
    page.section(head, rows, len(listed), "changes", tail=END, hint=_DIFF_HINT)


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
            parts.append(f"target {cell(clipped(a.entry.link, 100))} → {cell(clipped(b.entry.link, 100))}")
        else:
            parts.append(field)
    return ", ".join(parts)


def _patches(page: Page, patches: Sequence[Patch]) -> None:
    def blocks() -> Iterator[list[str]]:
        for patch in patches:
            if patch.withheld:
                yield [f"{code(path_text(patch.path))}: {withheld(patch)}", ""]
                continue
            lines = patch.text.split("\n")
            if lines and not lines[-1]:
                lines.pop()
            kept = [clip(line, _PATCH_LINE) for line in lines[:_PATCH_LINES]]
            block = [code(path_text(patch.path)), "", *fence("\n".join(kept) + "\n", "diff"), ""]
            if len(lines) > len(kept):
                block += [f"… {len(lines) - len(kept):,} more lines of this patch not shown", ""]
            yield block

    head = ["", f"<details><summary>{len(patches):,} {'patch' if len(patches) == 1 else 'patches'}</summary>", ""]
    page.section(head, blocks(), len(patches), "patches", tail=END, hint=" (`ocitool diff --patch` has all)")


def _platforms(page: Page, result: IndexDiff, stat: bool) -> None:
    differing = [entry for entry in result.platforms if entry.diff is not None and not entry.diff.identical]
    lone = sum(entry.status != "both" for entry in result.platforms)
    absent = sum(entry.status == "both" and entry.diff is None for entry in result.platforms)
    same = len(result.platforms) - len(differing) - lone - absent
    parts = [f"{same} identical"] + ([f"{absent} not here"] if absent else [])
    if result.config:
        parts.append(plural(len(result.config), "change") + " in the documents")
    if result.identical:
        one = one_of(result)
        scope = compared(one) if one is not None else ""
        said = f"No file {code(scope)} differs" if scope else "Indexes are identical"
        verdict = f"{said}: {plural(same, 'platform')}" + (f", {absent} not here" if absent else "")
        verdict += beside(one) if one is not None else ""
    else:
        counts = f"{plural(len(differing), 'platform')} changed, {lone} on one side only"
        verdict = f"Indexes differ: {counts}, {', '.join(parts)}"
    page.say(f"### {verdict}", "")
    _sides(page, result)
    rows = ([table_row(platform_text(e.platform, cell), _of_platform(e))] for e in result.platforms)
    head = ["", "| platform | result |", "| --- | --- |"]
    page.section(head, rows, len(result.platforms), "platforms", cap=12_000, hint=_DIFF_HINT)
    _failures(page, result.failures)
    if not stat:
        _config(page, result.config)
    _share(page, [entry for entry in result.platforms if entry.notable or entry in differing], stat)


def _of_platform(entry: PlatformDiff) -> str:
    if entry.status != "both":
        return f"{entry.status}, {plural(len(entry.notable), 'notable change')}" if entry.notable else entry.status
    return _verdict(entry.diff) if entry.diff is not None else "not compared: its manifest is not here on both sides"


def _share(page: Page, entries: Sequence[PlatformDiff], stat: bool) -> None:
    """Each platform gets an equal part of what the ones before it left."""
    for position, entry in enumerate(entries):
        part = Page(page.part(len(entries) - position))
        if part.left < SMALLEST:
            page.say(*cut(len(entries) - position, "more platforms", _DIFF_HINT))
            return
        part.say("", f"#### {platform_text(entry.platform)}", "", f"**{_of_platform(entry)}**")
        _notable(part, entry.notable)
        if entry.diff is not None:
            _diff(part, entry.diff._replace(failures=()), stat)
        page.say(*part.lines)


def _layer(layer: Layer | None) -> str:
    return str(layer.number) if layer is not None else "gone"
