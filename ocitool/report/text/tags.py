"""The lists of `tags` and `catalog`, a line each."""

from __future__ import annotations

from collections.abc import Iterator

from ocitool.operations.tags import Catalog, Tags
from ocitool.report.escape import shown


def tags(result: Tags) -> Iterator[str]:
    yield from map(shown, result.tags)


def catalog(result: Catalog) -> Iterator[str]:
    yield from map(shown, result.repositories)
