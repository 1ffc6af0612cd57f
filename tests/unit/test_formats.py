"""The formats of reports are one table, and each of its entries has its renderers."""

from __future__ import annotations

import sys
from enum import Enum
from pathlib import Path
from types import ModuleType

import pytest

from ocitool.errors import UsageError
from ocitool.operations.tags import Tags
from ocitool.report import formats

PAIRS = [(report, format) for report, entry in formats.REPORTS.items() for format in sorted(entry.formats)]


@pytest.mark.parametrize(("report", "format"), PAIRS)
def test_each_report_has_a_renderer_in_each_of_its_formats(report: str, format: str) -> None:
    assert callable(formats.renderer(report, format))


def test_each_format_that_can_be_asked_for_is_in_the_table() -> None:
    asked = (formats.OutputFormat, formats.ReviewFormat, formats.PackagesFormat)
    assert set(formats.FORMATS) == {one.value for formats_of in asked for one in formats_of}


def test_each_module_of_renderers_is_in_the_table() -> None:
    top = Path(formats.__file__).parent
    shared = {"__init__", "fields", "parts", "page", "spans", "copies", "groups", "inside", "notable", "screen"}
    made = {path.stem for name in formats.FORMATS for path in (top / name).glob("*.py")} - shared
    assert made <= {entry.module for entry in formats.REPORTS.values()}


def test_a_report_in_a_format_that_it_lacks_is_refused_with_those_that_have_it() -> None:
    with pytest.raises(UsageError, match="--format markdown is for results of inspect, diff, dedupe and budget"):
        formats.lines("ls", None, "markdown")


def test_a_format_that_joins_the_table_is_rendered_by_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("ocitool.report.shout.tags")
    module.tags_shout = lambda result: f"{result.repository.upper()}!"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ocitool.report.shout", ModuleType("ocitool.report.shout"))
    monkeypatch.setitem(sys.modules, "ocitool.report.shout.tags", module)
    monkeypatch.setattr(formats, "OutputFormat", Enum("OutputFormat", {"shout": "shout"}))
    monkeypatch.setitem(formats.FORMATS, "shout", formats.Format(frozenset(), prose=True))
    assert ["H/APP!"] == list(formats.lines("tags", Tags("h/app", (), ()), "shout"))
