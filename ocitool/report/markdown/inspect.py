"""Renders `inspect` as Markdown, with a section for each platform."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ocitool.operations.inspect import Inspection
from ocitool.report.escape import cell
from ocitool.report.inspect_view import ImageView, InspectView, NamedValue, inspect_view
from ocitool.report.markdown.page import END, LIMIT, SMALLEST, Page, cut, say_notices, table_row
from ocitool.report.markdown.spans import rendered, titled
from ocitool.report.phrases import LazyRows, Quote, count_of, joined

if TYPE_CHECKING:
    from ocitool.report.installed_view import InstalledView
    from ocitool.report.waste_view import WasteView

_TAGS, _KEYS = 5, 20
_HINT = " (`ocitool inspect --format json` has all)"


def inspect_markdown(result: Inspection) -> str:
    view = inspect_view(result)
    page = Page(LIMIT)
    page.say("<!-- ocitool inspect -->", f"### Image {rendered((view.reference,))}")
    if view.head is not None:
        _index(page, view)
    for position, image in enumerate(view.images):
        part = Page(page.part(len(view.images) - position))
        if part.left < SMALLEST:
            page.say(*cut(len(view.images) - position, "more images", _HINT))
            break
        _image(part, image, titled=len(view.images) > 1)
        page.say(*part.lines)
    problems = ([f"- {rendered((one,))}"] for one in view.problems)
    if view.failures:
        from ocitool.report.markdown.notable import say_failures

        say_failures(page, view.failures)
    page.section(["", titled(view.problems_title), ""], problems, len(view.problems), "problems", cap=8_000, hint=_HINT)
    say_notices(page, result.notices)
    return str(page)


def _index(page: Page, view: InspectView) -> None:
    assert view.head is not None
    rows = (
        [table_row(
            rendered(one.what, cell), cell(one.digest), one.size, one.state,
            some(one.tags, _TAGS) or rendered(one.media_type, cell),
        )]
        for one in view.entries
    )  # fmt: skip
    head = ["", titled(view.head.title), "", f"{rendered((view.head.media_type,))} `{view.head.digest}`", "",
            "| platform | digest | manifest | | tags |", "| --- | --- | ---: | --- | --- |"]  # fmt: skip
    page.section(head, rows, len(view.entries), "manifests", cap=12_000, hint=_HINT)


def some(names: tuple[Quote, ...], most: int) -> str:
    """Returns the first `most` names as text of a cell, and how many more there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return rendered(joined(((one,) for one in names[:most]), ", "), cell) + more


def _image(page: Page, image: ImageView, *, titled: bool) -> None:
    if titled:
        page.say("", f"#### {rendered(image.what)}" + (f" {rendered(image.tags[:1])}" if image.tags else ""))
    page.say("", f"{rendered(image.what)} ({image.transport})")
    facts = [[table_row(name, rendered(fact, cell))] for name, fact in image.facts]
    if image.tags:
        facts.append([table_row("tags", some(image.tags, _TAGS))])
    page.section(["", "| | |", "| --- | --- |"], facts, len(facts), "facts", hint=_HINT)
    if image.notable is not None:
        from ocitool.report.markdown.notable import say_notable

        if not image.notable and not image.accepted:
            page.say("", "Nothing is notable")
        say_notable(page, image.notable, _HINT, image.accepted)
    counted = any(one.files is not None for one in image.layers)
    rows = (
        [table_row(
            one.number, one.size, one.unpacked, *([one.files or ""] if counted else []), one.codec, rendered(one.digest, cell),
            rendered(one.made_by, cell),
        )]
        for one in image.layers
    )  # fmt: skip
    files, rule = (" files |", " ---: |") if counted else ("", "")
    head = ["", "**Layers**", "", f"| layer | size | unpacked |{files} codec | digest | instruction |",
            f"| ---: | ---: | ---: |{rule} --- | --- | --- |"]  # fmt: skip
    page.section(head, rows, len(image.layers), "layers", cap=20_000, hint=_HINT)
    if image.unpaired:
        page.say("", image.unpaired)
    _settings(page, image)
    if image.waste is not None:
        _waste(page, image.waste)
    if image.packages is not None:
        _packages(page, image.packages)


def _settings(page: Page, image: ImageView) -> None:
    rows = [[table_row(name, rendered((value,), cell))] for name, value in image.settings]
    rows += [[table_row(name, some(keys, _KEYS))] for name, keys in image.keys]
    head = ["", "**Configuration**", "", "| | |", "| --- | --- |"]
    page.section(head, rows, len(rows), "settings", cap=12_000, hint=_HINT)
    for word, found in (("environment variable", image.variables), ("label", image.labels)):
        _folded(page, count_of(len(found), word), ["name", "value"], map(_setting, found), len(found), f"{word}s", 10_000)


def _setting(one: NamedValue) -> str:
    return table_row(rendered((one.name,), cell) if one.name is not None else "—", rendered((one.value,), cell))


def _folded(page: Page, summary: str, heads: list[str], rows: Iterable[str], total: int, what: str, cap: int = 8_000) -> None:
    """Adds a table in a `<details>` block."""
    head = ["", f"<details><summary>{summary}</summary>", "", table_row(*heads), table_row(*(_rule(one) for one in heads))]
    page.section(head, ([row] for row in rows), total, what, tail=END, cap=cap, hint=_HINT)


def _packages(page: Page, view: InstalledView) -> None:
    from ocitool.report.installed_view import HEADS

    rows = (
        table_row(one.type, rendered(one.name, cell), rendered(one.version, cell), rendered(one.architecture, cell), *one[4:])
        for one in view.rows
    )
    page.say("", rendered(view.total))
    _folded(page, "packages", list(HEADS), rows, len(view.rows), "packages", cap=20_000)


def _rule(head: str) -> str:
    return "---:" if head in ("size", "layer", "copies") else "---"


def _waste(page: Page, waste: WasteView) -> None:
    page.say("", titled(waste.title))
    rows = ([table_row(str(one.layer), one.deeds, rendered(one.made_by, cell))] for one in waste.layers)
    head = ["", "| layer | hides | instruction |", "| ---: | --- | --- |"]
    page.section(head, rows, len(waste.layers), "layers", cap=8_000, hint=_HINT)
    paths: LazyRows[str] = LazyRows(
        list(waste.paths), lambda one: table_row(one.size, one.kind, one.copies, rendered((one.path,), cell))
    )
    summary = f"{count_of(len(paths), 'path')} with the most hidden bytes"
    _folded(page, summary, ["size", "how", "copies", "path"], paths, len(paths), "paths")
    largest = (table_row(one.size, str(one.layer), rendered((one.path,), cell)) for one in waste.largest)
    summary = count_of(len(waste.largest), "largest file")
    _folded(page, summary, ["size", "layer", "path"], largest, len(waste.largest), "files")
    if waste.copies is not None:
        from ocitool.report.markdown.copies import say_copies

        say_copies(page, waste.copies, _HINT)
