"""`dedupe` in Markdown: the same tables, within the budget of a comment."""

from __future__ import annotations

from ocitool.dedupe import Deduped
from ocitool.dedupe.collection import ImageEntry, Usage
from ocitool.report.escape import cell, code, human, shown
from ocitool.report.markdown.page import END, LIMIT, Page, say_notices, table_row
from ocitool.report.markdown.words import clipped, instruction, path_text, plural, short
from ocitool.report.text.dedupe import bar, called, lying, remarks

_HINT = " (`ocitool dedupe --format json` has all)"


def dedupe_markdown(result: Deduped) -> str:
    page = Page(LIMIT)
    page.say("<!-- ocitool dedupe -->", f"### {plural(len(result.collection.members), 'image')}")
    layers = f"{plural(result.references, 'layer')}, {result.layers:,} distinct · "
    if result.disk.is_one_store:
        saved = result.saved
        percent = f" ({100 * saved / result.referenced:.0f} %)" if result.referenced else ""
        page.say(
            "", f"{layers}{human(result.referenced)} referenced · "
            f"{human(result.unique)} unique · **{human(saved)} saved**{percent} {code(bar(saved, result.referenced))}",
        )  # fmt: skip
    else:
        page.say("", layers + " · ".join(f"{human(size)} {name} ({text})" for name, size, _, text in lying(result)))
    _advice(page, result)
    _images(page, result)
    _shared(page, result)
    _bases(page, result)
    _equal(page, result)
    _files(page, result)
    problems = ([f"- {code(clipped(str(one.error), 400))}"] for one in result.problems)
    head = ["", "**Problems**: what could not be read", ""]
    page.section(head, problems, len(result.problems), "problems", cap=10_000, hint=_HINT)
    say_notices(page, [one for one in result.notices if one.code != "unreadable"])
    return str(page)


def _advice(page: Page, result: Deduped) -> None:
    rows = (
        [
            "",
            f"{number}. {'about ' if one.estimated else ''}**{human(one.saves)}**, {one.kind}: {code(clipped(one.text, 400))}"
            f"{remarks(one)}",
            "",
            f"   {code(one.command)}" if len(one.command) <= 2_000 else f"   {code(clipped(one.command, 300))}",
        ]
        for number, one in enumerate(result.advice[: result.top], 1)
    )  # fmt: skip
    page.section(["", "**What more could be saved**"], rows, len(result.advice), "pieces of advice", cap=15_000, hint=_HINT)


def _images(page: Page, result: Deduped) -> None:
    images = result.largest()
    lies = not result.disk.is_one_store
    rows = ([_image(result, one, share, lies)] for one, share in images[: result.top])
    where, right = (" on disk |", " ---: |") if lies else ("", "")
    head = ["", "**Images**" + (", own and shared as in one layout" if lies else ""), "",
            f"| image | own | shared |{where} deleting frees |", f"| --- | ---: | ---: |{right} ---: |"]  # fmt: skip
    page.section(head, rows, len(images), "images", cap=10_000, hint=_HINT)


def _image(result: Deduped, one: ImageEntry, share: Usage, lies: bool) -> str:
    held, frees = result.on_disk[one.number]
    disk = [human(held) if held is not None else "-"] if lies else []
    name = called(one.names, lambda name: cell(short(name)))
    return table_row(name, human(share.own), human(share.shared), *disk, human(frees))


def _shared(page: Page, result: Deduped) -> None:
    rows = (
        [table_row(
            human(layer.saved), human(layer.size), f"{len(layer.users):,}", cell(layer.short),
            cell(instruction(layer.created_by)) if layer.created_by is not None else "unknown",
            " ".join(cell(short(one)) for one in result.collection.references(layer.users[:3])),
        )]
        for layer in result.shared[: result.top]
    )  # fmt: skip
    saved = "" if result.disk.is_one_store else ", and what one layout of all saves"
    head = ["", f"**Layers that are shared most**{saved}", "", "| saved | size | images | layer | instruction | in |",
            "| ---: | ---: | ---: | --- | --- | --- |"]  # fmt: skip
    page.section(head, rows, len(result.shared), "shared layers", cap=10_000, hint=_HINT)


def _bases(page: Page, result: Deduped) -> None:
    rows = (
        [table_row(
            cell(short(base.name) if base.name is not None else base.short),
            f"{len(base.layers):,}", human(base.size), f"{len(base.users):,}",
        )]
        for base in result.bases[: result.top]
    )  # fmt: skip
    head = ["", "**Common bases**", "", "| base | layers | size | images |", "| --- | ---: | ---: | ---: |"]
    page.section(head, rows, len(result.bases), "bases", cap=8_000, hint=_HINT)


def _equal(page: Page, result: Deduped) -> None:
    rows = (
        [table_row(
            cell(one.diff_id.partition(":")[2][:12]),
            ", ".join(f"{human(blob.size)} {blob.codec or '?'}" for blob in one.blobs), f"{len(one.users):,}",
        )]
        for one in result.equal[: result.top]
    )  # fmt: skip
    head = ["", "**Equal layers in several compressions**", "", "| diff_id | stored as | images |", "| --- | --- | ---: |"]
    page.section(head, rows, len(result.equal), "layers", cap=8_000, hint=_HINT)


def _files(page: Page, result: Deduped) -> None:
    totals = result.totals
    if totals is None:
        return
    page.say(
        "", f"**Files**: {plural(totals.references, 'file')} in distinct layers, {plural(totals.unique, 'distinct content')} · "
        f"{human(totals.bytes)} unpacked, {human(totals.bytes - totals.unique_bytes)} of it repeated",
    )  # fmt: skip
    rows = (
        [table_row(
            human(one.saves), human(one.size), f"{one.times:,}",
            " ".join(cell(shown(path_text(spot.path))) for spot in one.locations[:3]),
        )]
        for one in totals.top
    )  # fmt: skip
    head = ["", f"<details><summary>{plural(len(totals.top), 'file')} that repeat most</summary>", "",
            "| repeated | size | times | places |", "| ---: | ---: | ---: | --- |"]  # fmt: skip
    page.section(head, rows, len(totals.top), "files", tail=END, cap=10_000, hint=_HINT)
