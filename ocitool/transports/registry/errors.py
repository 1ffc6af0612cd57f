"""What goes wrong with a registry, as errors of ours: one line that says what, and what to do about it.

Nothing of a URL's query and no header is ever in such a line: they may hold signatures and tokens.
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator
from typing import Any, NamedTuple

from ocitool.errors import NotFoundError, OcitoolError, TransportError
from ocitool.patterns import pattern
from ocitool.transports.registry.error_bodies import ErrorWords, wording
from ocitool.transports.registry.proxies import login_given

RETRIED = frozenset({408, 429, 500, 502, 503, 504, *range(520, 525)})
"""Answers that may be another one in a moment: 520 to 524 are those of proxies that do not get one from the registry."""

PROXY_LOGIN = (
    "HTTPS_PROXY and HTTP_PROXY take both before the host of the proxy, user:word@host, with %XX for all but letters and"
    " digits; NO_PROXY=HOST goes without"
)
_TUNNEL = pattern(r"Tunnel connection failed: (\d{3}) ?([ -~]{0,100})")


class Unreachable(TransportError):
    """No answer, or not a whole one. `transient`: a second attempt may do better."""

    ends_run = True

    def __init__(self, what: str, where: str, *, transient: bool, hint: str | None = None) -> None:
        super().__init__(what, where, hint=hint)
        self.transient = transient


class Denied(TransportError):
    """401 or 403. `said`: the words of the answer. `page`: it is one for people, as of a firewall."""

    def __init__(self, what: str, where: str, *, said: str = "", page: bool = False, hint: str | None = None) -> None:
        super().__init__(what, where, hint=hint)
        self.said = said
        self.page = page


class UnknownRepository(NotFoundError):
    """The registry says that it has no such repository, and not only that it has not what was asked for."""


class UnexpectedAnswer(TransportError):
    """Any other answer that is not the one hoped for."""

    def __init__(self, what: str, where: str, status: int, *, hint: str | None = None) -> None:
        super().__init__(what, where, hint=hint)
        self.status = status


def unreachable(error: BaseException, host: str, *, own: bool = True) -> Unreachable:
    """For what a request raised instead of an answer. `own`: of the registry, not of a host that it sent us to."""
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            reason = cause.verify_message or "it cannot be verified"
            hint = "--ca FILE names the authority that signed it; --insecure does without"
            if not own:
                hint = f"SSL_CERT_FILE names authorities for every host; --insecure-host {host} does without"
            return Unreachable(f"its certificate is refused: {reason}", host, transient=False, hint=hint)
    names = {type(cause).__name__ for cause in causes}
    if any("Proxy" in name or "SOCKS" in name for name in names):
        return _proxy(causes, host)
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


def _proxy(causes: list[BaseException], host: str) -> Unreachable:
    """For a proxy that did not lead on: with what it answered, if it did."""
    # Of the innermost one: those around it quote it.
    answer = next((match for cause in reversed(causes) if (match := _TUNNEL.search(str(cause)))), None)
    refused = any(type(cause).__name__ == "SOCKS5AuthError" for cause in causes)
    if refused or (answer is not None and answer[1] == "407"):
        return Unreachable(_wanted(), host, transient=False, hint=PROXY_LOGIN)
    said = f": it answers {answer[1]} {answer[2]}".rstrip() if answer is not None else ""
    hint = "HTTPS_PROXY, HTTP_PROXY and ALL_PROXY name proxies; NO_PROXY=HOST goes without"
    return Unreachable(f"the proxy does not connect{said}", host, transient=False, hint=hint)


def _wanted() -> str:
    return f"the proxy asks for a user's name and password{', other than it is given' if login_given() else ''}"


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


class Answer(NamedTuple):
    """What is looked at of an answer that is not the one hoped for: at most `limits.ERROR_SIZE` bytes of its body. `known`:
    whether credentials are kept for the registry. `by`: the host that answers, if the registry sent us to another. `jobs`: how
    many requests there may be at a time."""

    status: int
    body: bytes = b""
    content_type: str = ""
    encoding: str = ""
    known: bool = False
    by: str = ""
    jobs: int = 4

    @property
    def is_html(self) -> bool:
        return "html" in self.content_type.lower()

    @property
    def wording(self) -> ErrorWords:
        return wording(self.body, self.content_type, self.encoding)


_POLICY = pattern(
    r"(?i)polic|block|quarantin|vulnerab|scan|immutab|overwrit|read[ -]?only|quota|limit|exceed|suspend|disabl|archiv"
    r"|licen[cs]e|embargo|countr|violat|retention|signature|unsigned|maintenance|billing|payment|subscription|firewall"
    r"|\bip\b|frozen|retired"
)
"""A refusal with one of these words is about a rule of the registry's, which no login changes."""
_NAMED = pattern(r"; \{.*|[^\s\"']*/[^\s\"']*")
"""Where a refusal has names, of which such a word may be one: a path, an address, an object of details."""
_RULE = "a rule of the registry refuses this: it can be changed there, and not by a login"
_ALONE = frozenset({"repository", "catalogue", "login", "token"})
"""What is asked for by one request at a time, whatever `--jobs` says."""
_PLAIN = frozenset({
    "manifest unknown", "name unknown", "blob unknown", "not found", "404 not found", "404 page not found", "unknown manifest",
    "repository name not known to registry", "unknown name", "unknown blob", "manifest_unknown", "name_unknown", "blob_unknown",
    "blob unknown to registry",
})  # fmt: skip
"""What registries say of everything that is not there, and so says nothing more ..."""
_NO_MORE = pattern(r"\{.*|\S*|unknown \w+( \w+=\S+|=\S+)*")
"""... nor do details that repeat what was asked for."""


def answered(answer: Answer, what: str, where: str, host: str) -> OcitoolError:
    """For an answer that is not the one hoped for. `what` was asked for, `where` it was to be."""
    status = answer.status
    codes, said = answer.wording
    words = f": {said}" if said else ""
    by = answer.by or "the registry"
    if status in (401, 403):
        text = said or f"{what}: {by} answers {status}"
        return Denied(f"denied: {text}", where, said=said, page=answer.is_html, hint=_hint(answer, said, what, where, host))
    if status == 404:
        first, _, more = said.partition("; ")
        plain = first.rstrip(".").lower() in _PLAIN and _NO_MORE.fullmatch(more)
        if plain or "<" in answer.body[:64].decode("latin-1"):
            words = ""
        if "NAME_UNKNOWN" in codes:
            return UnknownRepository(f"no such repository{words}", where)
        return NotFoundError(f"no such {what}{words}", where)
    if status == 407:
        return TransportError(f"{_wanted()}{words}", where, hint=PROXY_LOGIN)
    if status == 429:
        return UnexpectedAnswer(f"too many requests{words}", where, status, hint=_patience(answer, what, host))
    hint = None
    if status == 413 and what.startswith("manifest"):
        hint = "the registry or a proxy before it takes no manifest of this size: that limit can be raised there"
    elif status == 413:
        hint = "the registry or a proxy before it takes no more at once, nor in smaller chunks: that limit can be raised there"
    elif status == 200:
        hint = "a page for people, as proxies answer with that want a login" if answer.is_html else None
    elif 400 <= status < 500 and not answer.by and _is_rule(said, where):
        hint = _RULE
    return UnexpectedAnswer(f"{what}: {by} answers {status}{words}", where, status, hint=hint)


def _is_rule(said: str, where: str) -> bool:
    """Whether the words are about a rule of the registry's, beside the names in them."""
    path = where.partition("/")[2].partition("@")[0].partition(":")[0]
    names = rf"(?<!\w){re.escape(path)}(?!\w)|{_NAMED.pattern}" if path else _NAMED.pattern
    return _POLICY.search(re.sub(names, " ", said)) is not None


def _patience(answer: Answer, what: str, host: str) -> str:
    hint = "it asks for patience"
    if answer.jobs > 1 and what not in _ALONE:
        hint += "; --jobs 1 asks for less at a time"
    if not answer.known and not answer.by and what not in ("login", "token"):
        hint += f"; many registries allow more after ocitool login {host}"
    return hint


def _hint(answer: Answer, said: str, what: str, where: str, host: str) -> str:
    if answer.by and what != "token":
        return f"{answer.by} says this, to which the registry sends us: a login at the registry does not change it"
    if answer.status == 403 and answer.is_html:
        return "a proxy or firewall before the registry may answer this: a registry says it in JSON"
    if answer.status == 403 and _is_rule(said, where):
        return _RULE
    if answer.known:
        return f"ocitool login {host} replaces the user's name and password that are kept for it"
    return f"ocitool login {host} keeps a user's name and password for it"
