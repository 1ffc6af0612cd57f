"""Copy-on-write in Markdown, in the reports of `inspect --files` and of `engine diff`."""

from __future__ import annotations

from ocitool.report.copies_view import CopiesView
from ocitool.report.escape import cell
from ocitool.report.markdown.page import END, Page, table_row
from ocitool.report.markdown.spans import rendered, titled
from ocitool.report.phrases import count_of


def say_copies(page: Page, view: CopiesView, hint: str) -> None:
    """Says what was copied up: by layer, and the largest files with what changed of them, in a part that folds."""
    page.say("", titled(view.title))
    rows = ([table_row(str(one.layer), one.cost, rendered(one.made_by, cell))] for one in view.layers)
    head = ["", "| layer | copies | instruction |", "| ---: | --- | --- |"]
    page.section(head, rows, len(view.layers), "layers", cap=8_000, hint=hint)
    head = ["", f"<details><summary>{count_of(len(view.files), 'largest copy').replace('copys', 'copies')}</summary>", "",
            "| size | layer | of layer | changed | path |", "| ---: | ---: | ---: | --- | --- |"]  # fmt: skip
    files = (
        [table_row(one.size, str(one.layer), str(one.source), one.changed, rendered((one.path,), cell))] for one in view.files
    )
    page.section(head, files, len(view.files), "files", tail=END, cap=8_000, hint=hint)
