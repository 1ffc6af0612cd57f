"""JSON reports that are written line by line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ocitool.report.json.fields import JsonRows, dumped, json_lines

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=3), VALUES, min_size=1, max_size=4))
def test_a_report_without_rows_is_indented_as_ever(report: dict[str, Any]) -> None:
    assert "\n".join(json_lines(report)) == dumped(report, indent=2)


@given(VALUES, st.lists(VALUES, max_size=4))
def test_rows_are_a_list_wherever_they_stand(other: Any, rows: list[Any]) -> None:
    lines = json_lines({"a": other, "b": JsonRows(iter(rows)), "c": [{"d": JsonRows(rows)}, {"e": other}]})
    assert json.loads("\n".join(lines)) == {"a": other, "b": rows, "c": [{"d": rows}, {"e": other}]}


def test_a_row_is_made_when_it_is_written() -> None:
    made = []

    def rows() -> Iterator[int]:
        for number in range(1000):
            made.append(number)
            yield number

    lines = json_lines({"rows": JsonRows(rows())})
    for _ in range(10):
        next(lines)
    assert len(made) < 12
