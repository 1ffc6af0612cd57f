"""The bodies of a registry's answers: read within bounds, and to their end, so that a connection serves the next request."""

from __future__ import annotations

import time
from contextlib import suppress
from email.utils import parsedate_to_datetime

import requests
import urllib3

from ocitool import limits
from ocitool.errors import LimitError

BROKEN = (requests.RequestException, urllib3.exceptions.HTTPError, OSError)
"""What is raised in the place of an answer, or of the rest of one."""

_STEP = 1 << 16
"""Bytes of a document that are asked of a connection at a time."""


def body_of(response: requests.Response, where: str, most: int) -> bytes:
    """All of a small body as it comes: nothing compressed is asked for. Raises `LimitError`, and what a break raises."""
    try:
        data = bytearray()
        # In steps: of a body that comes in chunks of a byte `http.client` makes a list of as many objects, for each read.
        while len(data) <= most and (piece := response.raw.read(min(_STEP, most + 1 - len(data)), decode_content=False)):
            data += piece
    finally:
        response.close()
    if len(data) > most:
        raise LimitError(f"an answer of more than {most} bytes", where)
    return bytes(data)


def finished(response: requests.Response) -> None:
    """Takes what little is left of an answer, so that its connection serves the next request; a long one is cut off."""
    with suppress(*BROKEN):
        while response.raw.read(limits.ERROR_SIZE, decode_content=False) and response.raw.tell() < limits.ERROR_SIZE:
            pass
    response.close()


def is_page(response: requests.Response) -> bool:
    """Whether it is a page for people, as proxies answer with that want a login: nothing that it seems to say is so."""
    return response.headers.get("Content-Type", "").partition(";")[0].strip().lower() in ("text/html", "application/xhtml+xml")


def retry_after(response: requests.Response) -> float | None:
    """Seconds (RFC 9110, 10.2.3); a date counts from now."""
    text = response.headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit() and len(text) < 9:
        return float(text)
    with suppress(ValueError, TypeError, OverflowError, IndexError):
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    return None
