"""Makes errors of ocitool, with a cause in one line and a hint, from error responses and from exceptions of sockets and TLS.

The messages never contain the query of a URL or a header field, which may hold signatures and tokens.
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator
from typing import Any, NamedTuple

from ocitool.errors import NotFoundError, OcitoolError, TransportError
from ocitool.patterns import pattern
from ocitool.transports.registry.error_bodies import ErrorBody, parse_error_body
from ocitool.transports.registry.http.proxies import has_login

RETRIED = frozenset({408, 429, 500, 502, 503, 504, *range(520, 525)})
"""Status codes of temporary failures. 520 to 524 are sent by proxies that get no response from the registry."""

PROXY_LOGIN_HINT = (
    "HTTPS_PROXY and HTTP_PROXY have them before the host of the proxy, as in http://user:password@proxy:3128, with %XX for all"
    " characters but letters and digits; NO_PROXY=HOST connects to HOST without a proxy"
)
_TUNNEL_FAILED = pattern(r"Tunnel connection failed: (\d{3}) ?([ -~]{0,100})")


class Unreachable(TransportError):
    """There was no response, or an incomplete one. `transient`: another attempt may succeed."""

    ends_run = True

    def __init__(self, what: str, where: str, *, transient: bool, hint: str | None = None) -> None:
        super().__init__(what, where, hint=hint)
        self.transient = transient


class Denied(TransportError):
    """The response has status 401 or 403. `message`: that of its body. `is_html`: its body is HTML, which firewalls send."""

    def __init__(self, what: str, where: str, *, message: str = "", is_html: bool = False, hint: str | None = None) -> None:
        super().__init__(what, where, hint=hint)
        self.message = message
        self.is_html = is_html


class UnknownRepository(NotFoundError):
    """The registry has no such repository (NAME_UNKNOWN); any other `NotFoundError` says only that it lacks the
    requested content."""


class UnexpectedResponse(TransportError):
    """A response with any other status that the request does not expect."""

    def __init__(self, what: str, where: str, status: int, *, hint: str | None = None) -> None:
        super().__init__(what, where, hint=hint)
        self.status = status


def connection_error(error: BaseException, host: str, *, is_registry: bool = True) -> Unreachable:
    """Returns the error for an exception that was raised instead of a response. `host`: the host that was asked.
    `is_registry`: it is the registry, not a host to which a redirect or the URL of a layer leads."""
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            reason = cause.verify_message or "it cannot be verified"
            hint = "--ca FILE names the authority that signed it; --insecure allows an untrusted certificate"
            if not is_registry:
                hint = f"SSL_CERT_FILE names authorities for all hosts; --insecure-host {host} allows an untrusted certificate"
            return Unreachable(f"its certificate is refused: {reason}", host, transient=False, hint=hint)
    names = {type(cause).__name__ for cause in causes}
    if any("Proxy" in name or "SOCKS" in name for name in names):
        return _proxy_error(causes, host)
    for cause in causes:
        if isinstance(cause, ssl.SSLEOFError | ssl.SSLZeroReturnError):
            hint = "--cert FILE sends a certificate, if it requires one; --insecure connects without TLS, if it has none"
            return Unreachable("the connection was cut", host, transient=True, hint=hint)
        if isinstance(cause, ssl.SSLError):
            words = " ".join(str(cause.reason or cause).split("_")).lower()
            hint = f"if it has no TLS, --insecure (or --insecure-host {host}) connects without"
            if "certificate" in words:
                hint = "--cert FILE sends the certificate that it requires"
            return Unreachable(f"TLS fails: {words}", host, transient=False, hint=hint)
        if isinstance(cause, socket.gaierror):
            transient = cause.errno == socket.EAI_AGAIN
            return Unreachable("unknown host", host, transient=transient, hint="check its name and the network's DNS")
        if isinstance(cause, ConnectionRefusedError):
            hint = "no registry listens on that port, or a firewall rejects the connection"
            return Unreachable("the connection is refused", host, transient=False, hint=hint)
    if names & {"TimeoutError", "ConnectTimeout", "ReadTimeout", "ReadTimeoutError"}:
        return Unreachable("it does not answer in time", host, transient=True)
    if names & {"InvalidURL", "LocationParseError", "InvalidSchema", "MissingSchema", "LocationValueError", "InvalidHeader"}:
        return Unreachable("invalid URL", host, transient=False)
    return Unreachable("the connection was cut", host, transient=True)


def _proxy_error(causes: list[BaseException], host: str) -> Unreachable:
    """Returns the error for a proxy that does not connect, with the status of its response if there is one."""
    # The last of the causes is the innermost: those around it quote its message.
    response = next((match for cause in reversed(causes) if (match := _TUNNEL_FAILED.search(str(cause)))), None)
    refused = any(type(cause).__name__ == "SOCKS5AuthError" for cause in causes)
    if refused or (response is not None and response[1] == "407"):
        return Unreachable(_proxy_login_wanted(), host, transient=False, hint=PROXY_LOGIN_HINT)
    message = f": it answers {response[1]} {response[2]}".rstrip() if response is not None else ""
    hint = "HTTPS_PROXY, HTTP_PROXY and ALL_PROXY name proxies; NO_PROXY=HOST connects to HOST without a proxy"
    return Unreachable(f"the proxy does not connect{message}", host, transient=False, hint=hint)


def _proxy_login_wanted() -> str:
    return f"the proxy requires a user name and password{' other than those that it was given' if has_login() else ''}"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yields the exception, and then the exceptions in it: as its cause or context, as its `reason` (urllib3), or among
    its arguments."""
    waiting: list[Any] = [error]
    seen: set[int] = set()
    while waiting:
        cause = waiting.pop(0)
        if not isinstance(cause, BaseException) or id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        waiting += [cause.__cause__, cause.__context__, getattr(cause, "reason", None), *cause.args]


class ErrorResponse(NamedTuple):
    """What an error message is made from: the status, at most `limits.ERROR_SIZE` bytes of the body, and its Content-Type
    and Content-Encoding (`encoding`). `has_credentials`: the user has credentials for the registry. `redirected_to`: the
    host that sent the response, if the registry redirected the request. `jobs`: the maximum number of concurrent requests."""

    status: int
    body: bytes = b""
    content_type: str = ""
    encoding: str = ""
    has_credentials: bool = False
    redirected_to: str = ""
    jobs: int = 4

    @property
    def is_html(self) -> bool:
        return "html" in self.content_type.lower()

    @property
    def error(self) -> ErrorBody:
        return parse_error_body(self.body, self.content_type, self.encoding)


_POLICY_WORDS = pattern(
    r"(?i)polic|block|quarantin|vulnerab|scan|immutab|overwrit|read[ -]?only|quota|limit|exceed|suspend|disabl|archiv"
    r"|licen[cs]e|embargo|countr|violat|retention|signature|unsigned|maintenance|billing|payment|subscription|firewall"
    r"|\bip\b|frozen|retired"
)
"""If the message of a refusal has one of these words, a policy of the registry is the reason: a login does not help."""
_NAMES = pattern(r"; \{.*|[^\s\"']*/[^\s\"']*")
"""The parts of a message that may contain such a word by chance: paths, URLs, and JSON objects of details."""
_POLICY_HINT = "a policy of the registry refuses this: it can be changed there, and not by a login"
_SINGLE_REQUESTS = frozenset({"repository", "catalogue", "login", "token"})
"""Values of `what` for which only one request is sent at a time, so that a smaller `--jobs` does not help."""
_GENERIC_MESSAGES = frozenset({
    "manifest unknown", "name unknown", "blob unknown", "not found", "404 not found", "404 page not found", "unknown manifest",
    "repository name not known to registry", "unknown name", "unknown blob", "manifest_unknown", "name_unknown", "blob_unknown",
    "blob unknown to registry",
})  # fmt: skip
"""Messages that say no more than the status 404 does. They are left out."""
_NO_DETAIL = pattern(r"\{.*|\S*|unknown \w+( \w+=\S+|=\S+)*")
"""Details after such a message that only repeat the request. They are left out as well."""


def error_for(response: ErrorResponse, what: str, where: str, host: str) -> OcitoolError:
    """Returns the error for a response. `what`: what was requested, as the message names it ("manifest sha256:...",
    "token", "login", "upload"). `where`: the place of the error (`OcitoolError.where`). `host`: that of the registry. Status
    200 occurs if the body is not what was requested."""
    status = response.status
    codes, message = response.error
    words = f": {message}" if message else ""
    responder = response.redirected_to or "the registry"
    if status in (401, 403):
        text = message or f"{what}: {responder} answers {status}"
        why = _denied_hint(response, message, what, where, host)
        return Denied(f"denied: {text}", where, message=message, is_html=response.is_html, hint=why)
    if status == 404:
        first, _, details = message.partition("; ")
        is_generic = first.rstrip(".").lower() in _GENERIC_MESSAGES and _NO_DETAIL.fullmatch(details)
        if is_generic or "<" in response.body[:64].decode("latin-1"):
            words = ""
        if "NAME_UNKNOWN" in codes:
            return UnknownRepository(f"no such repository{words}", where)
        return NotFoundError(f"no such {what}{words}", where)
    if status == 407:
        return TransportError(f"{_proxy_login_wanted()}{words}", where, hint=PROXY_LOGIN_HINT)
    if status == 429:
        return UnexpectedResponse(f"too many requests{words}", where, status, hint=_rate_limit_hint(response, what, host))
    hint: str | None = None
    if status == 413 and what.startswith("manifest"):
        hint = "the registry or a proxy before it accepts no manifest of this size: that limit can be raised there"
    elif status == 413:
        hint = "the registry or a proxy before it accepts neither this size nor smaller chunks: that limit can be raised there"
    elif status == 200:
        hint = "the response is an HTML page, as login pages of proxies are" if response.is_html else None
    elif 400 <= status < 500 and not response.redirected_to and _is_policy(message, where):
        hint = _POLICY_HINT
    return UnexpectedResponse(f"{what}: {responder} answers {status}{words}", where, status, hint=hint)


def _is_policy(message: str, where: str) -> bool:
    """Returns whether the message is about a policy of the registry; names in it are not considered."""
    path = where.partition("/")[2].partition("@")[0].partition(":")[0]
    names = rf"(?<!\w){re.escape(path)}(?!\w)|{_NAMES.pattern}" if path else _NAMES.pattern
    return _POLICY_WORDS.search(re.sub(names, " ", message)) is not None


def _rate_limit_hint(response: ErrorResponse, what: str, host: str) -> str:
    hint = "the registry limits the rate of requests"
    if response.jobs > 1 and what not in _SINGLE_REQUESTS:
        hint += "; --jobs 1 asks for less at a time"
    if not response.has_credentials and not response.redirected_to and what not in ("login", "token"):
        hint += f"; many registries allow more after ocitool login {host}"
    return hint


def _denied_hint(response: ErrorResponse, message: str, what: str, where: str, host: str) -> str:
    if response.redirected_to and what != "token":
        sender = response.redirected_to
        return f"{sender} sent this response, to which the registry redirects: a login at the registry does not change it"
    if response.status == 403 and response.is_html:
        return "a proxy or firewall before the registry may have sent this response: registries send JSON"
    if response.status == 403 and _is_policy(message, where):
        return _POLICY_HINT
    if response.has_credentials:
        return f"ocitool login {host} replaces the credentials that are stored for it"
    return f"ocitool login {host} stores credentials for it"
