"""Error codes and messages in the bodies of error responses, whatever form the body has.

The distribution-spec ("Error Codes") defines one form of JSON. Many responses have another: frameworks of registries,
the storage behind them and the proxies before them each have their own. The text is not trusted: the query of a URL is
removed, since it may hold a signature; credentials of the user are masked; the message is one line of a bounded length.
"""

from __future__ import annotations

import json
import zlib
from codecs import getincrementaldecoder
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import Any, NamedTuple

from ocitool import limits
from ocitool.credentials import masked
from ocitool.errors import OcitoolError
from ocitool.layers import codecs
from ocitool.patterns import byte_pattern, pattern

_MAX_MESSAGE = 500
"""Characters of a message."""
_TITLE_ELEMENT = byte_pattern(rb"(?is)<(title|h1|h2|message)\b[^<>]{0,200}>(.{0,500}?)</\1\s*>")
_TITLE_TAGS = (b"message", b"title", b"h1", b"h2")
_TAG = pattern(r"<[^<>]{0,1000}>")
_HIDDEN = pattern(r"(?is)<(script|style)\b.{0,20000}?</\1\s*>")
_URL_LOGIN = pattern(r"(?i)(https?://)[^\s/?#@\"'<>]{1,500}@")
_URL_QUERY = pattern(r"(?i)(https?://[^\s?#\"'<>]{1,2000})(?:\?|#[^\s\"'<>=]{0,200}=)[^\s\"'<>]{0,20000}")
_WHITESPACE = pattern(r"[\s\x00-\x1f\x7f-\x9f]+")
_MESSAGE_MEMBERS = ("message", "msg", "error_description", "errormessage", "error_message", "title")
_DETAIL_MEMBERS = ("detail", "details", "error", "errors", "reason", "description")
_DOCUMENT_MEMBERS = frozenset(("schemaVersion", "manifests", "tags", "repositories", "layers", "config"))
"""Members of manifests, indexes and lists, which an error document does not have."""
_MAX_TEXTS = 20
"""Texts of a body, and entries of a list in it, that are considered."""
_MAX_UNTITLED = 4096
"""Bytes of an HTML or XML body without a title that are considered."""
_MAX_DEPTH = 6
"""Levels of nested objects in which messages are looked for."""


class ErrorBody(NamedTuple):
    """The error codes in a body, in upper case, and its message in one line; both may be empty."""

    codes: frozenset[str]
    message: str


def parse_error_body(body: bytes, content_type: str = "", encoding: str = "") -> ErrorBody:
    """Returns the codes and the message of a body. `content_type`, `encoding`: its header fields. At most
    `limits.ERROR_SIZE` bytes of the body were read; the time grows linearly with it. Never raises."""
    body = _decoded(body, encoding)
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return ErrorBody(frozenset(), _one_line(_visible_text(body, content_type)))
    codes = {str(one.get("code")).upper() for one in _error_entries(value) if isinstance(one, dict)}
    texts = dict.fromkeys(islice(filter(None, map(_one_line, _messages(value))), _MAX_TEXTS))
    messages = [text for text in texts if not any(text != other and text in other for other in texts)]
    return ErrorBody(frozenset(codes), _one_line("; ".join(messages)))


def is_error(body: bytes) -> bool:
    """Returns whether a body is an error document (distribution-spec, "Error Codes"); some registries send one with
    status 200."""
    if b'"errors"' not in body or len(body) > limits.ERROR_SIZE:
        return False
    with suppress(ValueError, RecursionError):
        value = json.loads(body)
        return isinstance(value, dict) and bool(value.get("errors")) and _DOCUMENT_MEMBERS.isdisjoint(value)
    return False


def _decoded(body: bytes, encoding: str) -> bytes:
    """Returns the body without a `Content-Encoding` that was not requested, as far as it can be decoded; b"" if it
    cannot. A body that is not compressed is returned as it is, whatever the header field says."""
    codec_name = encoding.strip().lower()
    if codec_name in ("", "identity"):
        return body
    found = codecs.sniff(body[: codecs.SNIFF])
    if found == "zstd":
        with suppress(OcitoolError):
            return next(codecs.decode([body], found), b"")[: limits.ERROR_SIZE]
    if found == "gzip" or codec_name == "deflate":
        with suppress(zlib.error):
            return zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(body, limits.ERROR_SIZE)
    return b"" if codec_name == "br" else body


def _error_entries(value: Any) -> list[Any]:
    errors = value.get("errors") if isinstance(value, dict) else None
    return errors if isinstance(errors, list) else [value]


def _messages(value: Any, depth: int = 0) -> Iterator[str]:
    """Yields the texts of an error document: of members that are known to hold some, messages before details. The code
    stands in for a missing message; an object without any known member is passed on as JSON."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield str(value)
    elif isinstance(value, list) and depth < _MAX_DEPTH:
        for one in value[:_MAX_TEXTS]:
            yield from _messages(one, depth + 1)
    elif isinstance(value, dict) and depth < _MAX_DEPTH:
        members = {str(name).lower(): member for name, member in value.items()}
        found = False
        for name in _MESSAGE_MEMBERS:
            for text in _messages(members.get(name), depth + 1):
                found = found or bool(text.strip())
                yield text
        nested = [members[name] for name in ("errors", "error") if isinstance(members.get(name), list | dict)]
        if not found and not nested and isinstance(members.get("code"), str):
            yield members["code"]
        for name in _DETAIL_MEMBERS:
            yield from _messages(members.get(name), depth + 1)
        if value and members.keys().isdisjoint((*_MESSAGE_MEMBERS, *_DETAIL_MEMBERS, "code")):
            yield json.dumps(value, ensure_ascii=False)


def _visible_text(body: bytes, content_type: str) -> str:
    """Returns the text of a body that is not JSON: of HTML and XML the title or message, else the text without tags; ""
    of binary content."""
    marked = body.lstrip()[:1] == b"<" or "html" in content_type.lower() or "xml" in content_type.lower()
    if marked:
        found = {match[1].lower(): match[2] for match in reversed(list(_TITLE_ELEMENT.finditer(body)))}
        shown = next((text for name in _TITLE_TAGS if (text := found.get(name, b"").strip())), body[:_MAX_UNTITLED])
        from html import unescape

        return unescape(_TAG.sub(" ", _HIDDEN.sub(" ", _text(shown))))
    if b"\0" in body:
        return ""
    return _text(body)


def _text(body: bytes) -> str:
    """Returns a body as text; the last character may be cut off."""
    try:
        return getincrementaldecoder("utf-8-sig")().decode(body)
    except ValueError:
        return body.decode("latin-1")


def _one_line(text: str) -> str:
    """Returns the text as one line of a bounded length, without queries and logins in URLs, and without credentials."""
    text = _URL_QUERY.sub(r"\1", _URL_LOGIN.sub(r"\1", text))
    text = masked(text)  # before the text is cut: a part of a credential would not be recognised
    text = _WHITESPACE.sub(" ", text).strip()
    return text if len(text) <= _MAX_MESSAGE else text[: _MAX_MESSAGE - 1] + "…"
