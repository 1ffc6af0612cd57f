"""What goes wrong with a registry, as errors of ours: one line that says what, and what to do about it.

Nothing of a URL's query and no header is ever in such a line: they may hold signatures and tokens.
"""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterator
from typing import Any

from ocitool.credentials import replaced
from ocitool.errors import NotFoundError, OcitoolError, TransportError

RETRIED = frozenset({408, 429, 500, 502, 503, 504})
"""Answers that may be another one in a moment."""

_TEXT = 300
"""Characters of a registry's own words that are passed on."""


class Unreachable(TransportError):
    """No answer, or not a whole one. `transient`: a second attempt may do better."""

    def __init__(self, what: str, where: str, *, transient: bool, hint: str | None = None) -> None:
        super().__init__(what, where, hint=hint)
        self.transient = transient


class Denied(TransportError):
    """401 or 403."""


class Refused(TransportError):
    """Any other answer that is not the one hoped for."""

    def __init__(self, what: str, where: str, status: int) -> None:
        super().__init__(what, where)
        self.status = status


def unreachable(error: BaseException, host: str, *, own: bool = True) -> Unreachable:
    """For what a request raised instead of an answer. `own`: of the registry, not of a host that it sent us to."""
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            reason = cause.verify_message or "it cannot be verified"
            hint = "--ca FILE names the authority that signed it; --insecure does without"
            if not own:
                hint = f"REQUESTS_CA_BUNDLE names authorities for every host; --insecure-host {host} does without"
            return Unreachable(f"its certificate is refused: {reason}", host, transient=False, hint=hint)
    names = {type(cause).__name__ for cause in causes}
    if names & {"ProxyError"}:
        return Unreachable("the proxy does not connect", host, transient=False, hint="HTTPS_PROXY, HTTP_PROXY, NO_PROXY")
    for cause in causes:
        if isinstance(cause, ssl.SSLEOFError | ssl.SSLZeroReturnError):
            hint = "--cert FILE, if it asks for a certificate; --insecure, if it has no TLS"
            return Unreachable("the connection was cut", host, transient=True, hint=hint)
        if isinstance(cause, ssl.SSLError):
            words = " ".join(str(cause.reason or cause).split("_")).lower()
            hint = f"if it has no TLS, --insecure (or --insecure-host {host}) says so"
            if "certificate" in words:
                hint = "--cert FILE is the certificate that it asks for"
            return Unreachable(f"TLS fails: {words}", host, transient=False, hint=hint)
        if isinstance(cause, socket.gaierror):
            later = cause.errno == socket.EAI_AGAIN
            return Unreachable("the host is not known", host, transient=later, hint="its name, or the network's DNS")
        if isinstance(cause, ConnectionRefusedError):
            hint = "no registry listens on that port, or a firewall is between"
            return Unreachable("the connection is refused", host, transient=False, hint=hint)
    if names & {"TimeoutError", "ConnectTimeout", "ReadTimeout", "ReadTimeoutError"}:
        return Unreachable("it does not answer in time", host, transient=True)
    if names & {"InvalidURL", "LocationParseError", "InvalidSchema", "MissingSchema", "LocationValueError", "InvalidHeader"}:
        return Unreachable("it names an address that is none", host, transient=False)
    return Unreachable("the connection was cut", host, transient=True)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what it was made of: libraries wrap by cause, by context, and as an argument."""
    waiting: list[Any] = [error]
    seen: set[int] = set()
    while waiting:
        one = waiting.pop(0)
        if not isinstance(one, BaseException) or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        waiting += [one.__cause__, one.__context__, getattr(one, "reason", None), *one.args]


def answered(status: int, body: bytes, what: str, where: str, host: str) -> OcitoolError:
    """For an answer that is not the one hoped for. `what` was asked for, `where` it was to be."""
    codes, said = _said(body)
    if status in (401, 403):
        return Denied(
            f"denied: {said or what}", where, hint=f"ocitool login {host} keeps a user's name and password for it"
        )
    if status == 404:
        if "NAME_UNKNOWN" in codes:
            return NotFoundError("no such repository", where)
        return NotFoundError(f"no such {what}", where)
    if status == 429:
        return TransportError("too many requests", where, hint="it asks for patience; --jobs 1 asks for less at a time")
    return Refused(f"{what}: the registry answers {status}{': ' + said if said else ''}", where, status)


def _said(body: bytes) -> tuple[frozenset[str], str]:
    """The codes of an error document (distribution-spec, "Error Codes"), and its words."""
    try:
        errors = json.loads(body)["errors"]
        codes = frozenset(str(error.get("code")) for error in errors)
        words = "; ".join(str(error.get("message") or error.get("code") or "") for error in errors)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return frozenset(), ""
    return codes, replaced(words)[:_TEXT]  # before it is cut: the rest of a credential would not be known again
