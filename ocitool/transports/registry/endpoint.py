"""The endpoint of one registry: its address, its authorization, and requests that are tried again where that may help.

The session, its connections and the table of authorizations are oras'. Its transfers are not used: they
hash nothing, hold whole blobs in memory and change the bytes of manifests.

Every request has a timeout. Tried again are those that may be repeated, after 408, 429, 5xx and broken connections: `RETRIES`
times, longer apart each time, and said. Redirects are followed here, so that `Authorization` goes to the registry alone.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sized
from contextlib import suppress
from logging import CRITICAL, getLogger
from typing import Any, TypeVar
from urllib.parse import urlencode, urlsplit

import requests
from requests.structures import CaseInsensitiveDict

from ocitool import __version__, credentials, limits
from ocitool.errors import OcitoolError, TransportError
from ocitool.reference import DEFAULT_HOST
from ocitool.task import Task, Turns
from ocitool.transports.registry.access import Access
from ocitool.transports.registry.addresses import joined, literal, named, origin
from ocitool.transports.registry.answers import BROKEN, body_of, finished, is_page, retry_after
from ocitool.transports.registry.auth import BACKEND, Authorization, Scope
from ocitool.transports.registry.connections import Adapter, Whereabouts
from ocitool.transports.registry.keychain import Credentials, Keychain
from ocitool.transports.registry.lists import parsed
from ocitool.transports.registry.problems import RETRIED, Answer, Denied, answered, unreachable
from ocitool.transports.registry.proxies import proxies_for
from ocitool.transports.registry.unneeded import unneeded
from ocitool.transports.registry.wording import is_error

with unneeded("jsonschema"):
    import oras.provider

RETRIES = 4
_LONGEST_WAIT = 60.0
_TIMEOUT = (10, 60)
_LONG = 600
"""Seconds for the answer to what is sent once: some registries copy or hash a blob at the end of its upload."""
_HUB = "registry-1.docker.io"
_REDIRECTS = frozenset({301, 302, 303, 307, 308})

Body = bytes | Iterable[bytes] | None

getLogger("oras.logger").setLevel(CRITICAL)  # it logs what token servers say
getLogger("urllib3").setLevel(CRITICAL)


T = TypeVar("T")


class Endpoint(oras.provider.Registry):  # type: ignore[misc]
    """`host` is the registry's name in references. Used by several threads."""

    auth: Authorization

    def __init__(self, host: str, access: Access, task: Task) -> None:
        self.host = host
        self._settings: dict[tuple[str, str | None, int | None], Any] = {}
        self.task = task
        self._access = access
        self._insecure = access.trusts(host)
        super().__init__(
            _HUB if host == DEFAULT_HOST else host, tls_verify=not self._insecure, auth_backend=BACKEND
        )
        self._settling = Turns(task)
        self._turns = Turns(task)
        self._settled = not self._insecure
        if self._insecure and ":" in str(self.hostname).rpartition("]")[2]:
            self.prefix = self.auth.prefix = "http"  # to begin with: at a port both are spoken, and this one answers sooner
        self._whereabouts = Whereabouts(host, origin(self.base)[1] or "")
        self._own = self._adapter(insecure=self._insecure, own=True)
        self._others: dict[bool, Adapter] = {}
        self.session.headers.update({"User-Agent": f"ocitool/{__version__}", "Accept-Encoding": "identity"})
        self.keychain = Keychain(access.authfile, lambda text: task.notice("credentials", text), task.check)
        self._begin(lambda path: self.keychain.find(host, path))

    def _begin(self, find: Callable[[str | None], Credentials | None]) -> None:
        self.auth.begin(self.host, find, self._token, self.task, origin(self.base)[1], self._access.realms)

    def _adapter(self, *, insecure: bool, own: bool) -> Adapter:
        made = Adapter(self.task, self._access, self._whereabouts, insecure=insecure, own=own)
        self.task.when_cancelled(made.abort)
        return made

    def _adapter_for(self, url: str) -> Adapter:
        """The registry's own, or one for the hosts that it sends us to: to these goes nothing that the user said of it."""
        if self.owns(url):
            return self._own
        insecure = self._access.trusts(named(url))
        with self._turns.of(insecure):
            if insecure not in self._others:
                self._others[insecure] = self._adapter(insecure=insecure, own=False)
            return self._others[insecure]

    # Requests

    @property
    def base(self) -> str:
        return f"{self.prefix}://{self.hostname}"

    def url(self, path: str) -> str:
        """The address of something below `/v2/`."""
        return f"{self.base}/v2/{path}"

    def request(
        self, method: str, url: str, scope: Scope | None, what: str, *, headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> requests.Response:  # fmt: skip
        """The answer, whatever its status, its body unread. `what` is asked for, in words; without a scope by nobody.

        Raises `Unreachable`, `Denied` (from the token server), `TransportError` after the last attempt."""

        def attempt() -> requests.Response:
            return self._settled_answer(self._authorized(method, url, scope, headers or {}, body), what)

        return self._attempts(attempt, 1 + RETRIES)

    def once(
        self, method: str, url: str, scope: Scope, *, headers: Mapping[str, str] | None = None, body: Body = None
    ) -> requests.Response:
        """The answer to a request that is not repeated, because its body passes once or what to do next depends on how far it
        came. After a 401 the authorization is a new one; the answer is that 401 all the same."""

        url = self._spoken(url)

        def attempt() -> requests.Response:
            authorization = self.auth.header(scope) if self.owns(url) else None
            response = self._answer(method, url, headers or {}, authorization, body, _LONG)
            if response.status_code == 401 and self.owns(response.url):
                self._renew(response, scope, authorization)
            return response

        return self._attempts(attempt, 1)

    def fetched(
        self, url: str, scope: Scope, what: str, where: str, *, headers: Mapping[str, str] | None = None,
        most: int = limits.DOCUMENT_SIZE, attempts: int = 1 + RETRIES,
    ) -> tuple[requests.Response, bytes]:  # fmt: skip
        """A small answer and its body, which may be a refusal's. A body that breaks is asked for again.

        Raises what `request` raises, and `LimitError` for a body of more than `most` bytes."""

        def attempt() -> tuple[requests.Response, bytes]:
            response = self._settled_answer(self._authorized("GET", url, scope, headers or {}, None), what)
            if response.status_code != 200:
                raise self.problem(response, what, where)
            raw = body_of(response, where, most)
            if is_error(raw) or (is_page(response) and raw.lstrip()[:1] != b"{"):
                raise answered(self._told(response, raw[: limits.ERROR_SIZE]), what, where, self.host)
            return response, raw

        return self._attempts(attempt, attempts)

    def _settled_answer(self, response: requests.Response, what: str) -> requests.Response:
        """Raises `_Later` for an answer that may be another one in a moment."""
        if response.status_code in RETRIED:
            seconds = retry_after(response)
            raise _Later(self.problem(response, what, self.host), seconds)
        return response

    def _attempts(self, attempt: Callable[[], T], most: int) -> T:
        """What an attempt comes to; one that fails in passing is followed by another, later each time."""
        failures = 0
        while True:
            self.task.check()
            seconds: float | None = None
            try:
                return attempt()
            except _Later as later:
                problem, seconds = later.problem, later.seconds
            except BROKEN as error:
                self.task.check()
                failed = self._failed(error)
                problem = unreachable(error, failed, own=failed == self.host)
                if not problem.transient:
                    raise problem from None
            failures += 1
            if failures >= most:
                raise problem from None
            self.back_off(failures, problem, seconds)

    def _failed(self, error: BaseException) -> str:
        """The host that an error is about: redirects and URLs of layers lead elsewhere."""
        asked = getattr(getattr(error, "request", None), "url", None)
        _, hostname, port = origin(asked) if isinstance(asked, str) else ("", None, None)
        return self.host if hostname is None or self.owns(str(asked)) else f"{hostname}:{port}"

    def back_off(self, failures: int, problem: OcitoolError, seconds: float | None = None) -> None:
        """Before the next attempt: as long as the registry asks for, else longer each time, never in step with others."""
        if seconds is None:
            seconds = 0.5 * 2 ** (failures - 1) * random.uniform(0.75, 1.25)
        seconds = min(seconds, _LONGEST_WAIT)
        then = f"attempt {failures + 1} of {RETRIES + 1} in {seconds:.1f} s"
        self.task.notice("retry", f"{self.host}: {problem.what}; {then}")
        self.task.pause(seconds)

    def go_on(self, problem: OcitoolError) -> None:
        """Tells of a break before which something was gained: nobody waits, and the count of attempts begins anew."""
        self.task.notice("retry", f"{self.host}: {problem.what}; going on where it was")
        self.task.pause(0.0)

    def problem(self, response: requests.Response, what: str, where: str) -> OcitoolError:
        """What an answer that is not the one hoped for says; closes it."""
        return answered(self._refusal(response), what, where, self.host)

    def _refusal(self, response: requests.Response) -> Answer:
        """What is to be known of such an answer; closes it."""
        body = b""
        with suppress(*BROKEN):
            body = response.raw.read(limits.ERROR_SIZE, decode_content=False) if response.raw is not None else b""
            finished(response)
        response.close()
        return self._told(response, body)._replace(encoding=response.headers.get("Content-Encoding", ""))

    def _told(self, response: requests.Response, body: bytes) -> Answer:
        by = "" if origin(response.url)[1] == origin(self.base)[1] else named(response.url)
        kind = response.headers.get("Content-Type", "")
        return Answer(response.status_code, body, kind, known=self.auth.known, by=by, jobs=self.task.jobs)

    def _authorized(
        self, method: str, url: str, scope: Scope | None, headers: Mapping[str, str], body: bytes | None
    ) -> requests.Response:
        """With what the registry wants to see of the user; after a 401 once more, where that may help."""
        url = self._spoken(url)
        if scope is None:
            return self._answer(method, url, headers, None, body, _TIMEOUT[1])
        authorization = self.auth.header(scope) if self.owns(url) else None
        response = self._answer(method, url, headers, authorization, body, _TIMEOUT[1])
        if response.status_code != 401 or not self.owns(response.url) or not self._renew(response, scope, authorization):
            return response
        finished(response)
        return self._answer(method, url, headers, self.auth.header(scope), body, _TIMEOUT[1])

    def _renew(self, response: requests.Response, scope: Scope, authorization: str | None) -> bool:
        try:
            return self.auth.renew(response.headers.get("WWW-Authenticate", ""), scope, authorization)
        except BaseException:
            response.close()
            raise

    def _followed(
        self, method: str, url: str, headers: Mapping[str, str], authorization: str | None, body: Body, patience: int,
        *, abroad: bool = True,
    ) -> requests.Response:  # fmt: skip
        """The answer at the end of redirects, which are asked with the same method and body; that is iterated anew for each.
        Whatever host they lead to, credentials stay with the one that was asked. `abroad`: whether there may be another.
        After a 303 only a GET could follow, which stores nothing: to what writes it is the last answer (RFC 9110, 15.4;
        that a POST becomes a GET after 301 and 302 too is allowed there, and not done)."""
        asked = origin(url)
        for _ in range(limits.REDIRECTS + 1):
            sent = dict(headers)
            if authorization is not None and origin(url) == asked:
                sent["Authorization"] = authorization
            response = self._once(method, url, sent, body, patience)
            target = response.headers.get("Location")
            if response.status_code not in (_REDIRECTS if method in ("GET", "HEAD") else _REDIRECTS - {303}) or target is None:
                return response
            finished(response)
            url = self.led(url, target)
            if not abroad and origin(url) != asked:
                raise TransportError(f"its token server sends us on to {named(url)}", self.host, hint="it is not followed")
        raise TransportError(f"more than {limits.REDIRECTS} redirects", self.host)

    def _once(self, method: str, url: str, headers: Mapping[str, str], body: Body, patience: int) -> requests.Response:
        """One attempt, by the session's adapter: the session itself reads the body of a redirect, however long it is, and
        preparing a request writes a signed address anew."""
        prepared = requests.PreparedRequest()
        prepared.method, prepared.url, prepared.body = method, url, body
        prepared.headers = CaseInsensitiveDict({**self.session.headers, **headers})
        if body is not None or method in ("POST", "PUT", "PATCH"):
            prepared.headers["Content-Length"] = str(len(body) if isinstance(body, Sized) else 0)
        place, adapter = origin(url), self._adapter_for(url)
        if place not in self._settings:
            verify = self._tls_verify if adapter is self._own else not self._access.trusts(named(url))
            self._settings[place] = {"stream": True, "verify": verify, "proxies": proxies_for(url)}
            for proxy in self._settings[place]["proxies"].values():
                credentials.remember_address(proxy)
        if adapter is not self._own and not self._access.names(named(url)) and (address := literal(place[1] or "")):
            self._whereabouts.check(place[1] or "", address)  # a proxy would go there without a look
        try:
            answer: requests.Response = adapter.send(prepared, timeout=(_TIMEOUT[0], patience), **self._settings[place])
        except BROKEN:
            raise
        except (ValueError, TypeError):  # its words may quote a header
            raise TransportError("a request to it cannot be written", self.host) from None
        return answer

    def led(self, url: str, location: str) -> str:
        """Where an answer from `url` sends us on to. Raises `TransportError` for what is no address, and for one without TLS
        where the registry has it."""
        there = joined(url, location)
        if not self._settled and there == f"https{url.removeprefix('http')}":
            self.prefix = self.auth.prefix = "https"  # a port at which both are spoken, and only this one is served
        there = self._spoken(there)
        if not there:
            raise TransportError("it sends us on to what is no address", self.host)
        if origin(there)[0] not in ("https", self.prefix):
            raise TransportError("it sends us on to an address without TLS", self.host)
        credentials.remember_address(there)
        return there

    def place(self, response: requests.Response) -> str | None:
        """The address that the `Location` of an answer names, None without one. What is relative is so to the address that gave
        the answer, after redirects (RFC 9110, 10.2.2). Raises as `led`."""
        location = response.headers.get("Location", "")
        return self.led(response.url, location) if location else None

    def owns(self, url: str) -> bool:
        """Whether an address is the registry's own: the same scheme, host and port."""
        return origin(url) == origin(self.base)

    def _answer(
        self, method: str, url: str, headers: Mapping[str, str], authorization: str | None, body: Body, patience: int
    ) -> requests.Response:
        """As `_followed`. Where there may be no TLS, the first answer of all says whether there is."""
        if not self._settled:
            with self._settling.of(self.host):
                if not self._settled:
                    return self._first(method, url, headers, body, patience)
        return self._followed(method, self._spoken(url), headers, authorization, body, patience)

    def _first(self, method: str, url: str, headers: Mapping[str, str], body: Body, patience: int) -> requests.Response:
        """Without credentials, which go to who asks for them."""
        failures: list[Exception] = []
        bad: requests.Response | None = None
        for _ in range(2):
            try:
                response = self._followed(method, self._spoken(url), headers, None, body, patience)
            except BROKEN as error:
                if self._failed(error) != self.host:  # the registry has answered, and sent us on to what failed
                    self._settled = True
                    raise
                failures.append(error)
            else:
                # A TLS server calls a plain request a bad one, in words for people. A registry or a proxy that means the
                # request itself does not speak TLS: then this is its answer.
                doubtful = response.status_code == 400 and "json" not in response.headers.get("Content-Type", "")
                if not doubtful or self.prefix == "https":
                    self._settled = True
                    if bad is not None:
                        bad.close()
                    return response
                bad = response
            self.prefix = self.auth.prefix = "https" if self.prefix == "http" else "http"
        if bad is not None:
            self._settled = True
            self.prefix = self.auth.prefix = "http"
            return bad
        raise failures[0]

    def _spoken(self, url: str) -> str:
        """An address of the registry with the scheme that it is spoken to with: one behind a proxy that speaks TLS for it does
        not know."""
        parts = urlsplit(url)
        if parts.netloc != self.hostname or parts.scheme == self.prefix:
            return url
        return parts._replace(scheme=self.prefix).geturl()

    def _token(self, method: str, url: str, fields: Mapping[str, str], authorization: str | None) -> Mapping[str, Any]:
        """A token server's answer. It is no part of the registry, whose tokens do not go there; what it answers goes to the
        registry, and so must come from itself and not from where it points."""
        headers: Mapping[str, str] = {}
        given = {name: value for name, value in fields.items() if value and name != "scope"}
        words = urlencode([*given.items(), *(("scope", one) for one in fields["scope"].split() if method == "GET")])
        if method == "GET":
            url, body = f"{url}{'&' if '?' in url else '?'}{words}", None
        else:
            words += "&" + urlencode({"scope": fields["scope"]})
            body, headers = words.encode(), {"Content-Type": "application/x-www-form-urlencoded"}

        def attempt() -> Mapping[str, Any]:
            response = self._followed(method, url, headers, authorization, body, _TIMEOUT[1], abroad=False)
            if response.status_code == 200 and not is_page(response):
                value = parsed(body_of(response, self.host, limits.TOKEN.size), self.host, limits.TOKEN)
                return value if isinstance(value, dict) else {}
            refusal = self._refusal(self._settled_answer(response, "token"))
            problem = answered(refusal, "token", self.host, self.host)
            if isinstance(problem, Denied):
                raise problem
            said = refusal.wording.text
            raise TransportError(f"its token server answers {refusal.status}{': ' + said if said else ''}", self.host)

        return self._attempts(attempt, 1 + RETRIES)


class _Later(Exception):
    """An answer that may be another one after `seconds`, if it says so."""

    def __init__(self, problem: OcitoolError, seconds: float | None) -> None:
        super().__init__(problem.what)
        self.problem = problem
        self.seconds = seconds
