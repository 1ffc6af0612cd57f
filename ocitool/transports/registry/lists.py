"""Lists that a registry gives in pages: of tags, repositories and referrers. Their paging is oras'."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import requests

from ocitool import limits
from ocitool.errors import FormatError, LimitError
from ocitool.limits import Bounds
from ocitool.spec import document
from ocitool.transports.registry.unneeded import unneeded

with unneeded("jsonschema"):
    import oras.provider

Fetch = Callable[[str, int], tuple[requests.Response, bytes]]
"""Gives the page at an address of the registry, of no more than so many bytes."""


def names(fetch: Fetch, url: str, member: str, where: str) -> list[str]:
    """As `items`, of which only strings are taken."""
    return [one for one in items(fetch, url, member, where) if isinstance(one, str)]


def items(fetch: Fetch, url: str, member: str, where: str) -> list[Any]:
    """All pages of the list at an address, by oras' paging. What stands in it again is left out; a page of nothing else ends in
    an error, for such pages may have no end. Holds no more than `limits.LIST` and `LIST_ITEMS`."""
    found: dict[Any, Any] = {}

    def more(response: requests.Response) -> bool:
        value = parsed(response.content, where, limits.LIST)
        items = value.get(member) if isinstance(value, dict) else None
        if items is not None and not isinstance(items, list):
            raise FormatError(f"{member} is not a list", where)
        before = len(found)
        for item in items or ():
            key = item.get("digest") if isinstance(item, dict) else item
            found.setdefault(key if isinstance(key, str) else len(found), item)
        if len(found) > limits.LIST_ITEMS:
            raise LimitError(f"a list of more than {limits.LIST_ITEMS} {member}", where)
        if items and len(found) == before:
            raise FormatError("the pages of a list lead back to themselves", where)
        return bool(items)

    try:
        _Pages(fetch, url, where).collect(url, more)
    except ValueError:
        raise FormatError("the next page of a list is at what is no address", where) from None
    return list(found.values())


class _Pages(oras.provider.Registry):  # type: ignore[misc]
    """oras' paging over requests of ours, of one list."""

    def __init__(self, fetch: Fetch, url: str, where: str) -> None:
        self._fetch = fetch
        self._host = urlsplit(url).netloc
        self._where = where
        self._seen: set[str] = set()
        self._left = limits.LIST.size
        self._until = time.monotonic() + limits.LIST_SECONDS
        self.headers: dict[str, str] = {}

    def collect(self, url: str, more: Callable[[requests.Response], bool]) -> None:
        self._do_paginated_request(url, more)

    def do_request(self, url: str, method: str = "GET", **_: Any) -> requests.Response:
        if urlsplit(url).netloc != self._host:
            raise FormatError("the next page of a list is at another registry", self._where)
        if url in self._seen:
            raise FormatError("the pages of a list lead back to themselves", self._where)
        if len(self._seen) >= limits.LIST_PAGES:
            raise LimitError(f"a list of more than {limits.LIST_PAGES} pages", self._where)
        if time.monotonic() > self._until:
            raise LimitError(f"a list whose pages take more than {limits.LIST_SECONDS} seconds", self._where)
        self._seen.add(url)
        response, raw = self._fetch(url, self._left)
        self._left -= len(raw)
        response._content = raw
        return response

    def _check_200_response(self, response: requests.Response) -> None:
        """`fetch` has."""


def parsed(raw: bytes, where: str, bounds: Bounds) -> Any:
    """A registry's JSON, of which only what is looked for must be right. Raises `FormatError`, `LimitError`."""
    if document.values(raw) > bounds.values:
        raise LimitError(f"an answer of more than {bounds.values} values", where)
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        raise FormatError("the registry's answer is not JSON", where) from None
