"""Renders `tags` and `catalog` as text, one name on each line."""

from __future__ import annotations

from collections.abc import Iterator

from ocitool.operations.tags import Catalog, Tags
from ocitool.report.escape import shown


def tags_text(result: Tags) -> Iterator[str]:
    yield from map(shown, result.tags)


def catalog_text(result: Catalog) -> Iterator[str]:
    yield from map(shown, result.repositories)
