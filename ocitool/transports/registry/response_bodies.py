"""The bodies of a registry's answers: read within bounds, and to their end, so that a connection serves the next request.

A body that breaks raises `OSError`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC

from ocitool import limits
from ocitool.errors import FormatError, IntegrityError, LimitError, OcitoolError
from ocitool.layers import codecs
from ocitool.transports.registry.http1 import Response


class NoResponse(OSError):
    """There is no response from `url`; its cause says why."""

    def __init__(self, url: str) -> None:
        super().__init__("no response")
        self.url = url


_READ_SIZE = 1 << 16
"""Bytes of a document that are asked of a connection at a time."""


def read_body(response: Response, where: str, max_bytes: int) -> bytes:
    """All of a small body, decoded if a server or a proxy encoded it though nothing compressed is asked for: neither form is of
    more than `max_bytes` bytes. Raises `LimitError`, `FormatError` for a damaged encoding, and what a break raises."""
    try:
        data = bytearray()
        # In steps: a read takes memory for all that it asks for.
        while len(data) <= max_bytes and (chunk := response.read(min(_READ_SIZE, max_bytes + 1 - len(data)))):
            data += chunk
    finally:
        response.close()
    if len(data) > max_bytes:
        raise LimitError(f"an answer of more than {max_bytes} bytes", where)
    if (encoding := _content_codec(response, bytes(data[: codecs.SNIFF]))) is None:
        return bytes(data)
    decoded = bytearray()
    try:
        for chunk in codecs.decode([bytes(data)], encoding):
            decoded += chunk
            if len(decoded) > max_bytes:
                raise LimitError(f"an answer of more than {max_bytes} bytes, once it is decoded")
    except OcitoolError as error:
        raise error.at(where) from None
    return bytes(decoded)


def _content_codec(response: Response, head: bytes) -> str | None:
    """The codec that a body which begins with these bytes is in, as its `Content-Encoding` says; None if that says nothing, or
    is not so."""
    found = codecs.sniff(head) if response.headers.get("Content-Encoding", "").strip() else "none"
    return found if found in codecs.WRITERS else None


def decode_content(response: Response, size: int) -> Iterator[bytes]:
    """The bytes of a blob that an answer says to have encoded, though that was not asked for. One that states no length may be
    a layer in gzip which storage calls so: then it is the blob as it is, unless what is in it tells of another encoding.

    Raises `IntegrityError` for an encoding of far more bytes than the blob has, `FormatError` for a damaged one."""

    def raw() -> Iterator[bytes]:
        count = 0
        while chunk := response.read1(_READ_SIZE):
            count += len(chunk)
            if count > 2 * size + limits.MiB:
                raise IntegrityError(f"longer than its stated size of {size} bytes")
            yield chunk

    head, chunks = codecs.peek(raw())
    found = _content_codec(response, head)
    if found is not None and "Content-Length" not in response.headers:
        inner = b""
        with suppress(FormatError):
            inner = next(codecs.decode([head], found), b"")
        if codecs.sniff(inner) == "none" and inner.lstrip()[:1] != b"{":
            found = None
    yield from codecs.decode(chunks, found) if found is not None else chunks


def skip_bytes(chunks: Iterator[bytes], count: int) -> Iterator[bytes]:
    """The bytes but for the first so many."""
    for chunk in chunks:
        if len(chunk) > count:
            yield chunk[count:]
        count = max(0, count - len(chunk))


def drain(response: Response) -> None:
    """Takes what little is left of an answer, so that its connection serves the next request; a long one is cut off."""
    with suppress(OSError):
        response.read(limits.ERROR_SIZE)
    response.close()


def is_html_page(response: Response) -> bool:
    """Whether it is a page for people, as proxies answer with that want a login: nothing that it seems to say is so."""
    return response.headers.get("Content-Type", "").partition(";")[0].strip().lower() in ("text/html", "application/xhtml+xml")


def retry_after(response: Response) -> float | None:
    """Seconds (RFC 9110, 10.2.3); a date counts from now, and is in UTC if it does not say so, as the form of C's asctime."""
    text = response.headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit() and len(text) < 9:
        return float(text)
    if not text:
        return None
    from email.utils import parsedate_to_datetime  # a tenth of a short command, and most answers say nothing

    with suppress(ValueError, TypeError, OverflowError, IndexError):
        when = parsedate_to_datetime(text)
        return max(0.0, (when if when.tzinfo is not None else when.replace(tzinfo=UTC)).timestamp() - time.time())
    return None
