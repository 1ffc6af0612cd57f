"""What goes wrong with an engine, as errors of ours with a hint: one line that says what."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from typing import Any

from ocitool.errors import NotFoundError, OcitoolError, TransportError
from ocitool.transports.engine.address import EngineAddress

_TLS_HINT = "DOCKER_TLS_VERIFY=1 and DOCKER_CERT_PATH, or a context with certificates, make the connection a TLS one"
_OWN_HINT = "cert.pem and key.pem in DOCKER_CERT_PATH or in the context are what we show it"
_CERTIFICATE_ALERT = re.compile("ALERT.*(CERTIFICATE|UNKNOWN_CA|UNKNOWN CA|ACCESS.DENIED)")
"""What an engine says of our certificate (RFC 8446, section 6.2), by OpenSSL's names and words."""
_TEXT = 500
_TIMEOUT = re.compile("timed? ?out", re.IGNORECASE)
_UNKNOWN_HOST = re.compile("Name or service not known|nodename nor servname|failed to resolve|failure in name", re.IGNORECASE)


class EngineError(TransportError):
    """The engine answered with an error. `status` is that of HTTP."""

    def __init__(self, what: str, where: str, status: int, *, hint: str | None = None) -> None:
        super().__init__(what, where, hint=hint)
        self.status = status


def refused(status: int, body: bytes, what: str, address: EngineAddress) -> OcitoolError:
    """Returns the error of an answer that is not a success. `what`: the object that was asked for, as in `image app:1`."""
    said = words(body)
    where = str(address)
    if status == 404:
        repeated = what.rpartition(" ")[2] in said and "o such" in said
        return NotFoundError(f"the engine has no {what}" + (f": {said}" if said and not repeated else ""), where)
    if 300 <= status < 400:
        return EngineError(
            f"the engine answered with a redirect, status {status}, which is not followed ({what})", where, status
        )
    if "HTTP request to an HTTPS server" in said:
        return EngineError("the engine speaks TLS only, and it was asked without", where, status, hint=_TLS_HINT)
    return EngineError(f"the engine refused with status {status} ({what})" + (f": {said}" if said else ""), where, status)


def words(body: bytes) -> str:
    """What the engine says in an error: the member `message`, or a text; one line of at most 500 characters."""
    import json

    try:
        document: Any = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    text = body.decode("utf-8", "replace")
    if isinstance(document, dict):
        text = next((said for key in ("message", "cause", "error") if isinstance(said := document.get(key), str)), "")
    return " ".join(text.split())[:_TEXT]


def unreachable(error: BaseException, address: EngineAddress, *, begun: bool = False) -> TransportError:
    """Returns the error of a connection that failed. `begun`: an answer had begun."""
    from ocitool.transports.engine.ssh import SshEnded

    where = str(address)
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, SshEnded):
            return TransportError("ssh gave no connection to the engine" + (f": {cause}" if str(cause) else ""), where)
        if isinstance(cause, ssl.SSLError) and not isinstance(cause, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
            return _tls(cause, address)
        if isinstance(cause, PermissionError):
            hint = "a user needs the group docker for the engine's socket, or root" if address.scheme == "unix" else None
            return TransportError("no permission to talk to the engine", where, hint=hint)
        if isinstance(cause, FileNotFoundError):
            if address.scheme == "ssh":
                return TransportError("the program ssh was not found", where)
            return TransportError(
                "no engine here: its socket does not exist", where, hint="is it running? --host or --context names another one"
            )
        if isinstance(cause, ConnectionRefusedError):
            return TransportError("no engine answers here", where, hint="is it running? --host or --context names another one")
    text = " ".join(" ".join(map(str, causes)).split())
    if _TIMEOUT.search(text):
        return TransportError("the engine did not answer in time", where)
    if re.search(
        "Name or service not known|nodename nor servname|failed to resolve|Temporary failure in name", text, re.IGNORECASE
    ):
        return TransportError("the host of the engine is not known", where)
    if begun:
        return TransportError("the engine ended the connection in the middle of an answer", where)
    if any(isinstance(cause, (ConnectionResetError, BrokenPipeError, ssl.SSLError)) for cause in causes):
        # With TLS 1.3 an engine looks at our certificate after the handshake. What it says of it is lost if it closes the
        # connection before we have written the request.
        what = "the engine ended the connection before it answered"
        if address.tls is not None:
            may = "it may not accept our certificate" if address.tls.cert else "it may want a certificate of ours"
            return TransportError(f"{what}: {may}", where, hint=_OWN_HINT)
        return TransportError(what, where)
    last = str(causes[-1]) if causes else ""
    return TransportError("the engine cannot be reached" + (f": {last}" if last else ""), where)


def _tls(error: ssl.SSLError, address: EngineAddress) -> TransportError:
    text = str(error).upper()
    where = str(address)
    if isinstance(error, ssl.SSLCertVerificationError):
        why = (error.verify_message or str(error)).rstrip(".")
        hint = "ca.pem of DOCKER_CERT_PATH or of the context says which authority to believe"
        if "expired" in why or "not yet valid" in why:
            hint = "the engine needs a certificate that is valid now"
        elif "ostname" in why or "IP address" in why:
            hint = "name the engine as its certificate does"
        return TransportError(f"the engine's certificate cannot be trusted: {why}", where, hint=hint)
    if "WRONG_VERSION_NUMBER" in text or "RECORD_LAYER_FAILURE" in text:
        return TransportError("the engine does not speak TLS at this port", where, hint="2375 is without TLS, 2376 with it")
    if _CERTIFICATE_ALERT.search(text) and address.tls is not None:
        what = "does not accept our certificate" if address.tls.cert else "wants a certificate of ours"
        return TransportError(f"the engine {what}", where, hint=_OWN_HINT)
    return TransportError(f"no TLS connection to the engine: {error.reason or error}", where)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and those inside it, outermost first: libraries wrap them as arguments, causes and reasons."""
    seen: set[int] = set()
    pending = [error]
    while pending:
        one = pending.pop(0)
        if id(one) in seen or len(seen) > 50:
            continue
        seen.add(id(one))
        yield one
        inside = [*one.args, one.__cause__, one.__context__, getattr(one, "reason", None)]
        pending += [each for each in inside if isinstance(each, BaseException)]
