"""The bodies of a registry's responses, read within bounds and to their end, so that the connection can serve the next
request.

If the connection breaks, reading raises `OSError`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC

from ocitool import limits
from ocitool.errors import FormatError, IntegrityError, LimitError, OcitoolError
from ocitool.layers import codecs
from ocitool.transports.registry.http.http1 import Response


class NoResponse(OSError):
    """There is no response from `url`; the cause of this error says why."""

    def __init__(self, url: str) -> None:
        super().__init__("no response")
        self.url = url


_READ_SIZE = 1 << 16
"""Bytes of a small body that are read at a time."""


def read_body(response: Response, where: str, max_bytes: int) -> bytes:
    """Returns all of a small body, decoded if it has a `Content-Encoding` although none was requested. The body must
    have at most `max_bytes` bytes, encoded and decoded. Closes the response. Raises `LimitError`, `FormatError` for a
    damaged encoding, and `OSError` if the connection breaks."""
    try:
        data = bytearray()
        # In steps: a read allocates memory for all of the requested size.
        while len(data) <= max_bytes and (chunk := response.read(min(_READ_SIZE, max_bytes + 1 - len(data)))):
            data += chunk
    finally:
        response.close()
    if len(data) > max_bytes:
        raise LimitError(f"a response of more than {max_bytes} bytes", where)
    if (encoding := _content_codec(response, bytes(data[: codecs.SNIFF]))) is None:
        return bytes(data)
    decoded = bytearray()
    try:
        for chunk in codecs.decode([bytes(data)], encoding):
            decoded += chunk
            if len(decoded) > max_bytes:
                raise LimitError(f"a response of more than {max_bytes} bytes, decoded")
    except OcitoolError as error:
        raise error.at(where) from None
    return bytes(decoded)


def _content_codec(response: Response, head: bytes) -> str | None:
    """Returns the codec of a body that begins with these bytes and has a `Content-Encoding`; None without that field,
    or if the bytes are not compressed."""
    found = codecs.sniff(head) if response.headers.get("Content-Encoding", "").strip() else "none"
    return found if found in codecs.WRITERS else None


def decode_content(response: Response, size: int) -> Iterator[bytes]:
    """Yields the bytes of a blob whose response has a `Content-Encoding` although none was requested.

    Some storage services send this field for a layer that is itself gzip. If there is no `Content-Length`, the content
    tells the two apart: the blob is passed on as it is if what is in it is neither compressed nor JSON.

    Raises `IntegrityError` if the encoded bytes are far more than the size of the blob, `FormatError` for a damaged
    encoding."""

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
    """Yields the bytes without the first `count`."""
    for chunk in chunks:
        if len(chunk) > count:
            yield chunk[count:]
        count = max(0, count - len(chunk))


def drain(response: Response) -> None:
    """Reads the rest of a small body, so that the connection can serve the next request; a long one ends the
    connection."""
    with suppress(OSError):
        response.read(limits.ERROR_SIZE)
    response.close()


def is_html_page(response: Response) -> bool:
    """Returns whether the body is HTML, as captive portals and login pages of proxies are: then the status says nothing
    about the registry."""
    return response.headers.get("Content-Type", "").partition(";")[0].strip().lower() in ("text/html", "application/xhtml+xml")


def retry_after(response: Response) -> float | None:
    """Returns the seconds of `Retry-After` (RFC 9110, 10.2.3), None without a valid one. A date counts from now, and is
    in UTC if it names no zone, as in the asctime form."""
    text = response.headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit() and len(text) < 9:
        return float(text)
    if not text:
        return None
    # Imported here: it takes a tenth of the time of a short command, and few responses have the field.
    from email.utils import parsedate_to_datetime

    with suppress(ValueError, TypeError, OverflowError, IndexError):
        when = parsedate_to_datetime(text)
        return max(0.0, (when if when.tzinfo is not None else when.replace(tzinfo=UTC)).timestamp() - time.time())
    return None
