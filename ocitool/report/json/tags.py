"""The JSON reports of `tags` and `catalog`."""

from __future__ import annotations

from collections.abc import Iterator

from ocitool.operations.tags import Catalog, Tags
from ocitool.report.json.fields import clean, json_text, notice_list


def tags_json(result: Tags) -> Iterator[str]:
    yield json_text(
        {
            "report": "tags",
            "version": 1,
            "repository": result.repository,
            "tags": clean(list(result.tags)),
            "notices": notice_list(result.notices),
        }
    )


def catalog_json(result: Catalog) -> Iterator[str]:
    yield json_text(
        {
            "report": "catalog",
            "version": 1,
            "host": result.host,
            "repositories": clean(list(result.repositories)),
            "notices": notice_list(result.notices),
        }
    )
