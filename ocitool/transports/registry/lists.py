"""Lists in pages: of tags, repositories and referrers.

The `Link` of a page gives the URL of the next one (distribution-spec, "Listing Tags"; RFC 8288), however few entries
the page has. A list ends with a page without such a link, or with an error: an incomplete list is never returned as a
complete one.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from ocitool import limits
from ocitool.errors import FormatError, LimitError, NotFoundError, OcitoolError
from ocitool.limits import JsonLimits
from ocitool.patterns import pattern
from ocitool.spec import document
from ocitool.spec.manifest import list_member
from ocitool.transports.registry.errors import RETRIED, UnexpectedResponse
from ocitool.transports.registry.http.addresses import host_of, resolve_url

_LINK_TARGET = pattern(r"\s*(?:<(?P<target>[^>]*)>|(?P<bare>[^\s<;,][^\s;]*))\s*")
"""The target of a link. Some registries leave out the angle brackets."""
_LINK_PARAMETER = pattern(
    r';\s*(?P<name>[^\s=;,"]*)\s*(?:=\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<value>[^;,"]*)))?\s*', re.DOTALL
)
_OTHER_MEMBERS = frozenset({"name", "schemaVersion", "mediaType"})
"""Members that may be in the document if the list itself is left out because it is empty."""
_ESCAPED = pattern(r"\\(.)", re.DOTALL)


class ListPage(NamedTuple):
    """One page of a list: the body, the `Link` fields (joined by commas), and the URL that sent it, after redirects."""

    raw: bytes
    link: str
    url: str


Fetch = Callable[[str, int], ListPage]
"""Returns the page at a URL. Raises `LimitError` if it has more than the given number of bytes."""


def strings(fetch: Fetch, url: str, member: str, where: str) -> list[str]:
    """Returns the entries of a list of strings, as `items`. Raises `FormatError` for an entry of another type."""
    found = items(fetch, url, member, where)
    if not all(isinstance(one, str) for one in found):
        raise FormatError(f"an entry of {member} is not a string", where)
    return found


def items(fetch: Fetch, url: str, member: str, where: str) -> list[Any]:
    """Returns the entries of all pages of a list, as `pages`."""
    return [one for page in pages(fetch, url, member, where) for one in page]


def pages(fetch: Fetch, url: str, member: str, where: str, max_pages: int | None = None) -> Iterator[list[Any]]:
    """Yields for each page of a list its entries that no earlier page has. Bounded by `limits.LIST`,
    `limits.LIST_ITEMS`, `limits.LIST_SECONDS` and `max_pages` (default: `limits.LIST_PAGES`). Raises what `fetch`
    raises, `FormatError`, `LimitError`."""
    known: set[str] = set()
    count = 0
    seen: set[str] = set()
    bytes_left = limits.LIST.size
    deadline = time.monotonic() + limits.LIST_SECONDS
    first, max_pages = url, limits.LIST_PAGES if max_pages is None else max_pages
    while True:
        if url in seen:
            raise FormatError("the pages of a list lead back to themselves", where)
        if len(seen) >= max_pages:
            raise LimitError(f"a list of more than {max_pages} pages", where)
        if time.monotonic() > deadline:
            raise LimitError(f"a list whose pages take more than {limits.LIST_SECONDS} seconds", where)
        seen.add(url)
        page = fetch(url, bytes_left) if url == first else _fetch_next(fetch, first, url, bytes_left, where)
        bytes_left -= len(page.raw)
        entries = _entries(page, member, where)
        new = []
        for item in entries:
            key = item.get("digest") if isinstance(item, dict) else item
            if not isinstance(key, str) or key not in known:
                new.append(item)
            if isinstance(key, str):
                known.add(key)
        count += len(new)
        if count > limits.LIST_ITEMS:
            raise LimitError(f"a list of more than {limits.LIST_ITEMS} {member}", where)
        yield new
        target = next_link(page.link, where)
        if target is None:
            return
        if entries and not new:  # an empty page may have only entries that this user may not see
            raise FormatError("the pages of a list lead back to themselves", where)
        url = _next_url(first, url, page.url, target, where)


def _fetch_next(fetch: Fetch, first: str, url: str, max_bytes: int, where: str) -> ListPage:
    """Returns a page after the first. A registry behind a proxy may link to an internal path; then the page is
    requested at the path of the list. Raises `NotFoundError` if the page does not exist, which does not mean that the
    list does not."""
    query = urlsplit(url).query
    own = urlsplit(first)._replace(query=query).geturl() if query else url
    problem: OcitoolError
    for there in dict.fromkeys((url, own)):
        try:
            return fetch(there, max_bytes)
        except NotFoundError as error:
            problem = NotFoundError(f"the next page of the list does not exist: {error.what}", where)
        except UnexpectedResponse as error:
            if error.status in RETRIED or error.status >= 500:
                raise
            problem = error
    raise problem from None


def _entries(page: ListPage, member: str, where: str) -> list[Any]:
    value = parse_json(page.raw, where, limits.LIST)
    # An index always has manifests; some registries leave out an empty list of strings.
    is_required = member == "manifests" and not page.link
    if not isinstance(value, dict) or (member not in value and (is_required or not value.keys() <= _OTHER_MEMBERS)):
        raise FormatError(f"the registry's response is not a list of {member}", where)
    return list_member(value, member, where)


def _next_url(first: str, url: str, page_url: str, target: str, where: str) -> str:
    """Returns the URL of the next page, resolved against the URL that sent the page, unless that is another host (a
    redirect). A registry behind a proxy may not know its own scheme, so that of the list is kept."""
    there = resolve_url(page_url if _same_host(page_url, first) else url, target)
    if not there:
        raise FormatError("the next page of a list has an invalid URL", where)
    if not _same_host(there, first):
        hint = "the registry, or the proxy before it, has a wrong external URL in its configuration"
        raise FormatError("the next page of a list is at another registry", where, hint=hint)
    place = urlsplit(first)
    return urlsplit(there)._replace(scheme=place.scheme, netloc=place.netloc).geturl()


def _same_host(url: str, other: str) -> bool:
    return urlsplit(url).netloc == urlsplit(other).netloc or host_of(url) == host_of(other)


def next_link(header: str, where: str) -> str | None:
    """Returns the target of the link to the next page; None if there is none. A link without a relation counts if no
    other has the relation `next`. Raises `FormatError` for an invalid header field, since the list may go on."""
    without_relation = None
    for target, relation in _links(header, where):
        if "next" in relation.lower().split():
            return target
        if not relation.strip() and without_relation is None:
            without_relation = target
    return without_relation


def _links(header: str, where: str) -> Iterator[tuple[str, str]]:
    """Yields the targets of a `Link` field, each with its relations (RFC 8288, 3)."""
    position = 0
    while position < len(header):
        if header[position] in ", \t":
            position += 1
            continue
        found = _LINK_TARGET.match(header, position)
        if found is None:
            raise FormatError("invalid Link field in a page of a list", where)
        target = found["target"] if found["bare"] is None else found["bare"]
        position = found.end()
        relation = None
        while (parameter := _LINK_PARAMETER.match(header, position)) is not None:
            position = parameter.end()
            if parameter["name"].lower() == "rel" and relation is None:  # RFC 8288, 3.3: the first of several counts
                quoted = parameter["quoted"]
                relation = _ESCAPED.sub(r"\1", quoted) if quoted is not None else (parameter["value"] or "").strip("' \t")
        if position < len(header) and header[position] != ",":
            raise FormatError("invalid Link field in a page of a list", where)
        yield target.strip(), relation or ""


def parse_json(raw: bytes, where: str, bounds: JsonLimits) -> Any:
    """Returns the value of a JSON body; members that nobody reads may have any value. Raises `FormatError`,
    `LimitError`."""
    if document.count_values(raw) > bounds.values:
        raise LimitError(f"a response of more than {bounds.values} values", where)
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        raise FormatError("the registry's response is not JSON", where) from None
