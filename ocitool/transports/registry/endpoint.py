"""The endpoint of one registry: its address, its authorization, and requests that are tried again where that may help.

The authorization is one of oras' table, made when the registry asks for one. Nothing else of oras is used: its transfers
hash nothing, hold whole blobs in memory and change the bytes of manifests.

Every request has a timeout. Tried again are those that may be repeated, after 408, 429, 5xx and broken connections: `RETRIES`
times, longer apart each time, and said. Redirects are followed here, so that `Authorization` goes to the registry alone.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlencode, urlsplit

from ocitool import credentials, limits
from ocitool.errors import OcitoolError, TransportError
from ocitool.reference import DEFAULT_HOST
from ocitool.task import OneAtATime, Task
from ocitool.transports.registry.access import Access
from ocitool.transports.registry.addresses import joined, literal, named, origin
from ocitool.transports.registry.connections import Connections
from ocitool.transports.registry.connector import NetworkZones
from ocitool.transports.registry.error_bodies import is_error
from ocitool.transports.registry.errors import RETRIED, Answer, Denied, answered, unreachable
from ocitool.transports.registry.http1 import Body, Response
from ocitool.transports.registry.keychain import Credentials, Keychain
from ocitool.transports.registry.lists import parsed
from ocitool.transports.registry.response_bodies import Unanswered, body_of, finished, is_page, retry_after
from ocitool.transports.registry.scopes import Scope

if TYPE_CHECKING:
    from ocitool.transports.registry.auth import Authorization

RETRIES = 4
_LONGEST_WAIT = 60.0
_PATIENCE: float = 60
"""Seconds for an answer, and what more a body of so many bytes may take (`limits.SLOWEST`)."""
_LONG = 600
"""Seconds for the answer to what is sent once: some registries copy or hash a blob at the end of its upload."""
_HUB = "registry-1.docker.io"
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


T = TypeVar("T")


class Endpoint:
    """`host` is the registry's name in references. Used by several threads."""

    def __init__(self, host: str, access: Access, task: Task) -> None:
        self.host = host
        self.task = task
        self._access = access
        self._insecure = access.trusts(host)
        self.hostname = _HUB if host == DEFAULT_HOST else host
        self.prefix = "https"
        self.auth: Authorization | None = None
        self._settling = OneAtATime(task)
        self._turns = OneAtATime(task)
        self._settled = not self._insecure
        if self._insecure and ":" in self.hostname.rpartition("]")[2]:
            self.prefix = "http"  # to begin with: at a port both are spoken, and this one answers sooner
        self._whereabouts = NetworkZones(host, origin(self.base)[1] or "")
        self._own = self._connected(insecure=self._insecure, own=True)
        self._others: dict[bool, Connections] = {}
        self.keychain = Keychain(access.authfile, lambda text: task.notice("credentials", text), task.check)
        self._find: Callable[[str | None], Credentials | None] = lambda path: self.keychain.find(host, path)

    def _authorization(self) -> Authorization:
        """Made by the first challenge: without one nothing is sent of the user, and what oras needs is not imported."""
        with self._turns.turn("authorization"):
            if self.auth is None:
                from ocitool.transports.registry.auth import Authorization

                made = Authorization.of_table(self.prefix)
                made.begin(self.host, self._find, self._token, self.task, origin(self.base)[1], self._access.realms)
                self.auth = made
            return self.auth

    def _header(self, url: str, scope: Scope | None) -> str | None:
        """The value of `Authorization` for a request; None at another host, or if the registry asked for none so far."""
        return self.auth.header(scope) if self.auth is not None and scope is not None and self.owns(url) else None

    def _connected(self, *, insecure: bool, own: bool) -> Connections:
        made = Connections(self.task, self._access, self._whereabouts, insecure=insecure, own=own)
        self.task.when_cancelled(made.abort)
        return made

    def _connections_for(self, url: str) -> Connections:
        """The registry's own, or one for the hosts that it sends us to: to these goes nothing that the user said of it."""
        if self.owns(url):
            return self._own
        insecure = self._access.trusts(named(url))
        with self._turns.turn(insecure):
            if insecure not in self._others:
                self._others[insecure] = self._connected(insecure=insecure, own=False)
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
        body: bytes | None = None, retries: int = RETRIES,
    ) -> Response:  # fmt: skip
        """The answer, whatever its status, its body unread. `what` is asked for, in words; without a scope by nobody.

        Raises `Unreachable`, `Denied` (from the token server), `TransportError` after the last attempt."""

        def attempt() -> Response:
            return self._settled_answer(self._authorized(method, url, scope, headers or {}, body), what)

        return self._attempts(attempt, 1 + retries)

    def once(
        self, method: str, url: str, scope: Scope, *, headers: Mapping[str, str] | None = None, body: Body = None
    ) -> Response:
        """The answer to a request that is not repeated, because its body passes once or what to do next depends on how far it
        came. After a 401 the authorization is a new one; the answer is that 401 all the same."""

        url = self._spoken(url)

        def attempt() -> Response:
            authorization = self._header(url, scope)
            response = self._answer(method, url, headers or {}, authorization, body, _LONG)
            if response.status_code == 401 and self.owns(response.url):
                self._renew(response, scope, authorization)
            return response

        return self._attempts(attempt, 1)

    def fetched(
        self, url: str, scope: Scope, what: str, where: str, *, headers: Mapping[str, str] | None = None,
        most: int = limits.DOCUMENT_SIZE, attempts: int = 1 + RETRIES,
    ) -> tuple[Response, bytes]:  # fmt: skip
        """A small answer and its body, which may be a refusal's. A body that breaks is asked for again.

        Raises what `request` raises, and `LimitError` for a body of more than `most` bytes."""

        def attempt() -> tuple[Response, bytes]:
            response = self._settled_answer(self._authorized("GET", url, scope, headers or {}, None), what)
            if response.status_code != 200:
                raise self.problem(response, what, where)
            raw = body_of(response, where, most)
            if is_error(raw) or (is_page(response) and raw.lstrip()[:1] != b"{"):
                raise answered(self._told(response, raw[: limits.ERROR_SIZE]), what, where, self.host)
            return response, raw

        return self._attempts(attempt, attempts)

    def _settled_answer(self, response: Response, what: str) -> Response:
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
            except OSError as error:
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
        if not isinstance(error, Unanswered) or self.owns(error.url):
            return self.host
        _, hostname, port = origin(error.url)
        return f"{hostname}:{port}"

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

    def problem(self, response: Response, what: str, where: str) -> OcitoolError:
        """What an answer that is not the one hoped for says; closes it."""
        return answered(self.refusal(response), what, where, self.host)

    def refusal(self, response: Response) -> Answer:
        """What is to be known of such an answer; closes it."""
        body = b""
        with suppress(OSError):
            body = response.read(limits.ERROR_SIZE)
        response.close()
        return self._told(response, body)._replace(encoding=response.headers.get("Content-Encoding", ""))

    def _told(self, response: Response, body: bytes) -> Answer:
        by = "" if origin(response.url)[1] == origin(self.base)[1] else named(response.url)
        known = self.auth is not None and self.auth.known
        kind = response.headers.get("Content-Type", "")
        if response.status_code == 401 and not body.strip():  # then the challenge may say why (RFC 6750, 3)
            from ocitool.transports.registry.auth import challenges

            said = (one.values for one in challenges(response.headers.get("WWW-Authenticate")))
            kind, body = "", "; ".join(one.get("error_description") or one.get("error", "") for one in said).encode()
        return Answer(response.status_code, body, kind, known=known, by=by, jobs=self.task.jobs)

    def _authorized(
        self, method: str, url: str, scope: Scope | None, headers: Mapping[str, str], body: bytes | None
    ) -> Response:
        """With what the registry wants to see of the user; after a 401 once more, where that may help."""
        url = self._spoken(url)
        authorization = self._header(url, scope)
        response = self._answer(method, url, headers, authorization, body, _PATIENCE)
        if response.status_code != 401 or scope is None or not self.owns(response.url):
            return response
        if not self._renew(response, scope, authorization):
            return response
        finished(response)
        return self._answer(method, url, headers, self._header(self._spoken(url), scope), body, _PATIENCE)

    def _renew(self, response: Response, scope: Scope, authorization: str | None) -> bool:
        try:
            return self._authorization().renew(response.headers.get("WWW-Authenticate", ""), scope, authorization)
        except BaseException:
            response.close()
            raise

    def _followed(
        self, method: str, url: str, headers: Mapping[str, str], authorization: str | None, body: Body, patience: float,
        *, abroad: bool = True,
    ) -> Response:  # fmt: skip
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
            if response.status_code not in (_REDIRECTS if method in ("GET", "HEAD") else _REDIRECTS - {303}):
                return response
            target = response.headers.get("Location")
            if not target:
                return response
            finished(response)
            url = self.led(url, target)
            if not abroad and origin(url) != asked:
                raise TransportError(f"its token server sends us on to {named(url)}", self.host, hint="it is not followed")
        raise TransportError(f"more than {limits.REDIRECTS} redirects", self.host)

    def _once(self, method: str, url: str, headers: Mapping[str, str], body: Body, patience: float) -> Response:
        """One attempt."""
        connections = self._connections_for(url)
        if connections is not self._own and not self._access.names(named(url)):
            hostname = origin(url)[1] or ""
            if address := literal(hostname):
                self._whereabouts.check(hostname, address)  # a proxy would go there without a look
        try:
            return connections.send(method, url, headers, body, patience)
        except OSError as error:
            raise Unanswered(url) from error
        except (ValueError, TypeError):  # its words may quote a header
            raise TransportError("a request to it cannot be written", self.host) from None

    def led(self, url: str, location: str) -> str:
        """Where an answer from `url` sends us on to. Raises `TransportError` for what is no address, and for one without TLS
        where the registry has it."""
        there = joined(url, location)
        if not self._settled and there == f"https{url.removeprefix('http')}":
            self.prefix = "https"  # a port at which both are spoken, and only this one is served
        there = self._spoken(there)
        if not there:
            raise TransportError("it sends us on to what is no address", self.host)
        if origin(there)[0] not in ("https", self.prefix):
            raise TransportError("it sends us on to an address without TLS", self.host)
        credentials.remember_address(there)
        return there

    def place(self, response: Response) -> str | None:
        """The address that the `Location` of an answer names, None without one. What is relative is so to the address that gave
        the answer, after redirects (RFC 9110, 10.2.2). Raises as `led`."""
        location = response.headers.get("Location", "")
        return self.led(response.url, location) if location else None

    def owns(self, url: str) -> bool:
        """Whether an address is the registry's own: the same scheme, host and port."""
        return origin(url) == origin(self.base)

    def _answer(
        self, method: str, url: str, headers: Mapping[str, str], authorization: str | None, body: Body, patience: float
    ) -> Response:
        """As `_followed`. Where there may be no TLS, the first answer of all says whether there is."""
        if not self._settled:
            with self._settling.turn(self.host):
                if not self._settled:
                    return self._first(method, url, headers, body, patience)
        return self._followed(method, self._spoken(url), headers, authorization, body, patience)

    def _first(self, method: str, url: str, headers: Mapping[str, str], body: Body, patience: float) -> Response:
        """Without credentials, which go to who asks for them."""
        failures: list[Exception] = []
        bad: Response | None = None
        for _ in range(2):
            try:
                response = self._followed(method, self._spoken(url), headers, None, body, patience)
            except OSError as error:
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
            self.prefix = "https" if self.prefix == "http" else "http"
        if bad is not None:
            self._settled = True
            self.prefix = "http"
            return bad
        raise failures[0]

    def _spoken(self, url: str) -> str:
        """An address of the registry with the scheme that it is spoken to with: one behind a proxy that speaks TLS for it does
        not know."""
        if url.startswith(f"{self.base}/"):
            return url
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
            response = self._followed(method, url, headers, authorization, body, _PATIENCE, abroad=False)
            if response.status_code == 200 and not is_page(response):
                value = parsed(body_of(response, self.host, limits.TOKEN.size), self.host, limits.TOKEN)
                return value if isinstance(value, dict) else {}
            refusal = self.refusal(self._settled_answer(response, "token"))
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
