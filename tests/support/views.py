"""Pages as they are read, and what of a view is said in our own words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ocitool.comparison.result import Diff
from ocitool.report.phrases import LazyRows, Quote


def plain(page: str) -> str:
    """A page as it is read: without code spans, bold and the backslashes before pipes."""
    return re.sub(r"(`+) ?(.*?) ?\1", r"\2", re.sub(r"(?<!\*)\*\*([\w .,-]+)\*\*(?!\*)", r"\1", page)).replace("\\|", "|")


def own_words(value: Any) -> Iterator[str]:
    """All that a view states as ours."""
    if isinstance(value, Quote | Diff):
        return
    if isinstance(value, str):
        yield value
    elif isinstance(value, LazyRows | tuple | list):
        for one in value:
            yield from own_words(one)
