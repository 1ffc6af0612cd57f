"""The endpoint of one registry: its URL, its authorization, and requests with redirects and retries.

The authorization is made by the table of oras, once the registry requires one. Nothing else of oras is used: its
transfers do not verify digests, hold whole blobs in memory and change the bytes of manifests.

Every request has a timeout. A request that may be repeated is retried after 408, 429, 5xx and broken connections,
`RETRIES` times, with growing delays and a notice each time. Redirects are followed here, so that `Authorization` is
sent to the registry only.
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
from ocitool.transports.registry.error_bodies import is_error
from ocitool.transports.registry.errors import RETRIED, Denied, ErrorResponse, connection_error, error_for
from ocitool.transports.registry.http.addresses import host_of, numeric_address, origin, resolve_url
from ocitool.transports.registry.http.connections import Connections
from ocitool.transports.registry.http.connector import NetworkZones
from ocitool.transports.registry.http.http1 import Body, Response
from ocitool.transports.registry.http.response_bodies import NoResponse, drain, is_html_page, read_body, retry_after
from ocitool.transports.registry.http.trust import DefaultTrust
from ocitool.transports.registry.keychain import Credentials, Keychain
from ocitool.transports.registry.lists import parse_json
from ocitool.transports.registry.scopes import Scope

if TYPE_CHECKING:
    from ocitool.transports.registry.auth import Authorization

RETRIES = 4
_MAX_WAIT = 60.0
"""Seconds between two attempts at most."""
_TIMEOUT: float = 60
"""Seconds for a response, in addition to those for the bytes of its body (`limits.SLOWEST`)."""
_UPLOAD_TIMEOUT = 600
"""Seconds for the response to a request that is sent once: some registries copy or hash a blob when its upload is
closed."""
_DOCKER_HUB = "registry-1.docker.io"
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


T = TypeVar("T")


class Endpoint:
    """The endpoint of one registry. `host` is its name in references. Used by several threads."""

    def __init__(self, host: str, access: Access, task: Task) -> None:
        self.host = host
        self.task = task
        self._access = access
        self._insecure = access.is_insecure(host)
        self.hostname = _DOCKER_HUB if host == DEFAULT_HOST else host
        self.prefix = "https"
        self.auth: Authorization | None = None
        self._scheme_lock = OneAtATime(task)
        self._locks = OneAtATime(task)
        self._scheme_known = not self._insecure
        if self._insecure and ":" in self.hostname.rpartition("]")[2]:
            self.prefix = "http"  # tried first: the port may have either scheme, and this one needs fewer round trips
        self._zones = NetworkZones(host, origin(self.base)[1] or "")
        self._trust = DefaultTrust(task)
        self._own_connections = self._new_connections(insecure=self._insecure, own=True)
        self._other_connections: dict[bool, Connections] = {}
        self.keychain = Keychain(access.authfile, lambda text: task.notice("credentials", text), task.check)
        self._find_credentials: Callable[[str | None], Credentials | None] = lambda path: self.keychain.find(host, path)

    def _authorization(self) -> Authorization:
        """Returns the authorization, which is made for the first challenge: until then no credentials are looked up,
        and what oras needs is not imported."""
        with self._locks.turn("authorization"):
            if self.auth is None:
                # On a thread of its own, whose stack is empty: CPython 3.11 maps and unmaps a part of the stack at each call
                # that passes the end of one, and this import calls so often there that it takes 40 ms more.
                made = self.task.within(None, _import_authorization).create(self.prefix)
                made.configure(
                    self.host, self._find_credentials, self._request_token, self.task, origin(self.base)[1], self._access.realms
                )
                self.auth = made
            return self.auth

    def _header(self, url: str, scope: Scope | None) -> str | None:
        """Returns the value of `Authorization` for a request; None for a URL of another host, and before the first
        challenge."""
        return self.auth.header(scope) if self.auth is not None and scope is not None and self.owns(url) else None

    def _new_connections(self, *, insecure: bool, own: bool) -> Connections:
        made = Connections(self.task, self._access, self._zones, self._trust, insecure=insecure, own=own)
        self.task.when_cancelled(made.abort)
        return made

    def _connections_for(self, url: str) -> Connections:
        """Returns the connections to the registry, or those to other hosts, for which certificates that the user gave
        are not used."""
        if self.owns(url):
            return self._own_connections
        insecure = self._access.is_insecure(host_of(url))
        with self._locks.turn(insecure):
            if insecure not in self._other_connections:
                self._other_connections[insecure] = self._new_connections(insecure=insecure, own=False)
            return self._other_connections[insecure]

    # Requests

    @property
    def base(self) -> str:
        return f"{self.prefix}://{self.hostname}"

    def url(self, path: str) -> str:
        """Returns the URL of a path below `/v2/`."""
        return f"{self.base}/v2/{path}"

    def request(
        self, method: str, url: str, scope: Scope | None, what: str, *, headers: Mapping[str, str] | None = None,
        body: bytes | None = None, retries: int = RETRIES,
    ) -> Response:  # fmt: skip
        """Returns the response, whatever its status, its body unread. `what` names the requested object in error
        messages. Without a scope the request has no `Authorization`. The body is sent again in each attempt.

        Raises `Unreachable`, `Denied` (by the token server), and `TransportError` after the last attempt."""

        def attempt() -> Response:
            return self._checked_response(self._authorized(method, url, scope, headers or {}, body), what)

        return self._with_retries(attempt, 1 + retries)

    def request_once(
        self, method: str, url: str, scope: Scope, *, headers: Mapping[str, str] | None = None, body: Body = None
    ) -> Response:
        """Returns the response to a request that is not retried: its body can be read only once, or the next step
        depends on how much was sent. After a 401 the token is renewed for later requests; the 401 response is returned."""

        url = self._with_scheme(url)

        def attempt() -> Response:
            authorization = self._header(url, scope)
            response = self._exchange(method, url, headers or {}, authorization, body, _UPLOAD_TIMEOUT)
            if response.status_code == 401 and self.owns(response.url):
                self._renew_authorization(response, scope, authorization)
            return response

        return self._with_retries(attempt, 1)

    def fetch_body(
        self, url: str, scope: Scope, what: str, where: str, *, headers: Mapping[str, str] | None = None,
        max_bytes: int = limits.DOCUMENT_SIZE, attempts: int = 1 + RETRIES,
    ) -> tuple[Response, bytes]:  # fmt: skip
        """Returns a response with status 200 and its body. If the connection breaks, the request is retried.

        Raises what `request` raises, the error for any other status, and `LimitError` for a body of more than
        `max_bytes` bytes."""

        def attempt() -> tuple[Response, bytes]:
            response = self._checked_response(self._authorized("GET", url, scope, headers or {}, None), what)
            if response.status_code != 200:
                raise self.response_error(response, what, where)
            raw = read_body(response, where, max_bytes)
            if is_error(raw) or (is_html_page(response) and raw.lstrip()[:1] != b"{"):
                raise error_for(self._error_response(response, raw[: limits.ERROR_SIZE]), what, where, self.host)
            return response, raw

        return self._with_retries(attempt, attempts)

    def _checked_response(self, response: Response, what: str) -> Response:
        """Returns the response. Raises `_TemporaryFailure` for a status in `RETRIED`."""
        if response.status_code in RETRIED:
            seconds = retry_after(response)
            raise _TemporaryFailure(self.response_error(response, what, self.host), seconds)
        return response

    def _with_retries(self, attempt: Callable[[], T], attempts: int) -> T:
        """Returns the result of `attempt`, which is called at most `attempts` times, with growing delays after
        temporary failures."""
        failures = 0
        while True:
            self.task.check()
            seconds: float | None = None
            try:
                return attempt()
            except _TemporaryFailure as failure:
                problem, seconds = failure.problem, failure.seconds
            except OSError as error:
                self.task.check()
                failed_host = self._failed_host(error)
                problem = connection_error(error, failed_host, is_registry=failed_host == self.host)
                if not problem.transient:
                    raise problem from None
            failures += 1
            if failures >= attempts:
                raise problem from None
            self.back_off(failures, problem, seconds)

    def _failed_host(self, error: BaseException) -> str:
        """Returns the host that an error is about: redirects and URLs of layers lead to other hosts."""
        if not isinstance(error, NoResponse) or self.owns(error.url):
            return self.host
        _, hostname, port = origin(error.url)
        return f"{hostname}:{port}"

    def back_off(self, failures: int, problem: OcitoolError, seconds: float | None = None) -> None:
        """Waits before the next attempt: for the seconds that the registry asked for, else for a growing time with
        random variation."""
        if seconds is None:
            seconds = 0.5 * 2 ** (failures - 1) * random.uniform(0.75, 1.25)
        seconds = min(seconds, _MAX_WAIT)
        then = f"attempt {failures + 1} of {RETRIES + 1} in {seconds:.1f} s"
        self.task.notice("retry", f"{self.host}: {problem.what}; {then}")
        self.task.pause(seconds)

    def report_resume(self, problem: OcitoolError) -> None:
        """Sends a notice of an interruption after which the transfer goes on without a delay, since some bytes were
        transferred."""
        self.task.notice("retry", f"{self.host}: {problem.what}; going on where it was")
        self.task.pause(0.0)

    def response_error(self, response: Response, what: str, where: str) -> OcitoolError:
        """Returns the error for a response with an unexpected status; closes the response."""
        return error_for(self.error_response(response), what, where, self.host)

    def error_response(self, response: Response) -> ErrorResponse:
        """Returns what an error message needs of a response; closes the response."""
        body = b""
        with suppress(OSError):
            body = response.read(limits.ERROR_SIZE)
        response.close()
        return self._error_response(response, body)._replace(encoding=response.headers.get("Content-Encoding", ""))

    def _error_response(self, response: Response, body: bytes) -> ErrorResponse:
        redirected_to = "" if origin(response.url)[1] == origin(self.base)[1] else host_of(response.url)
        has_credentials = self.auth is not None and self.auth.has_credentials
        content_type = response.headers.get("Content-Type", "")
        if response.status_code == 401 and not body.strip():  # the challenge may have the reason (RFC 6750, 3)
            from ocitool.transports.registry.auth import challenges

            errors = (one.values for one in challenges(response.headers.get("WWW-Authenticate")))
            content_type, body = "", "; ".join(one.get("error_description") or one.get("error", "") for one in errors).encode()
        return ErrorResponse(
            response.status_code, body, content_type, has_credentials=has_credentials, redirected_to=redirected_to,
            jobs=self.task.jobs,
        )  # fmt: skip

    def _authorized(
        self, method: str, url: str, scope: Scope | None, headers: Mapping[str, str], body: bytes | None
    ) -> Response:
        """Sends a request with the authorization known so far; after a 401 once more with a new one, if that may
        succeed."""
        url = self._with_scheme(url)
        authorization = self._header(url, scope)
        response = self._exchange(method, url, headers, authorization, body, _TIMEOUT)
        if response.status_code != 401 or scope is None or not self.owns(response.url):
            return response
        if not self._renew_authorization(response, scope, authorization):
            return response
        drain(response)
        return self._exchange(method, url, headers, self._header(self._with_scheme(url), scope), body, _TIMEOUT)

    def _renew_authorization(self, response: Response, scope: Scope, authorization: str | None) -> bool:
        try:
            return self._authorization().renew(response.headers.get("WWW-Authenticate", ""), scope, authorization)
        except BaseException:
            response.close()
            raise

    def _follow_redirects(
        self, method: str, url: str, headers: Mapping[str, str], authorization: str | None, body: Body, timeout: float,
        *, cross_origin: bool = True,
    ) -> Response:  # fmt: skip
        """Returns the response after redirects, which are followed with the same method and body; the body is iterated
        for each.

        Credentials are sent to the first origin only. `cross_origin`: whether a redirect may lead to another one. A 303
        is followed for GET and HEAD only: a GET after any other method would store nothing (RFC 9110, 15.4, which also
        allows to change POST to GET after 301 and 302; that is not done)."""
        first_origin = origin(url)
        for _ in range(limits.REDIRECTS + 1):
            sent = dict(headers)
            if authorization is not None and origin(url) == first_origin:
                sent["Authorization"] = authorization
            response = self._send(method, url, sent, body, timeout)
            if response.status_code not in (_REDIRECTS if method in ("GET", "HEAD") else _REDIRECTS - {303}):
                return response
            target = response.headers.get("Location")
            if not target:
                return response
            drain(response)
            url = self.redirect_url(url, target)
            if not cross_origin and origin(url) != first_origin:
                raise TransportError(
                    f"its token server redirects to {host_of(url)}", self.host, hint="the redirect was not followed"
                )
        raise TransportError(f"more than {limits.REDIRECTS} redirects", self.host)

    def _send(self, method: str, url: str, headers: Mapping[str, str], body: Body, timeout: float) -> Response:
        """Sends one request and returns its response."""
        connections = self._connections_for(url)
        if connections is not self._own_connections and not self._access.is_named(host_of(url)):
            hostname = origin(url)[1] or ""
            if address := numeric_address(hostname):
                self._zones.check(hostname, address)  # a proxy would connect without this check
        try:
            return connections.send(method, url, headers, body, timeout)
        except OSError as error:
            raise NoResponse(url) from error
        except (ValueError, TypeError):  # the message of this exception may quote a header field
            raise TransportError("the request has an invalid URL or header field", self.host) from None

    def redirect_url(self, url: str, location: str) -> str:
        """Returns the URL that `location` in a response from `url` refers to. Raises `TransportError` for an invalid
        one, and for one without TLS if the registry has TLS."""
        target = resolve_url(url, location)
        if not self._scheme_known and target == f"https{url.removeprefix('http')}":
            self.prefix = "https"  # the port accepts both schemes, and redirects to this one
        target = self._with_scheme(target)
        if not target:
            raise TransportError("its Location is an invalid URL", self.host)
        if origin(target)[0] not in ("https", self.prefix):
            raise TransportError("its Location is a URL without TLS", self.host)
        credentials.remember_address(target)
        return target

    def location_of(self, response: Response) -> str | None:
        """Returns the URL in the `Location` of a response; None without one. A relative one is resolved against the URL
        of the response, after redirects (RFC 9110, 10.2.2). Raises as `redirect_url`."""
        location = response.headers.get("Location", "")
        return self.redirect_url(response.url, location) if location else None

    def owns(self, url: str) -> bool:
        """Returns whether a URL has the registry's own scheme, host and port."""
        return origin(url) == origin(self.base)

    def _exchange(
        self, method: str, url: str, headers: Mapping[str, str], authorization: str | None, body: Body, timeout: float
    ) -> Response:
        """As `_follow_redirects`. If the registry may lack TLS, the first response decides which scheme is used from
        then on."""
        if not self._scheme_known:
            with self._scheme_lock.turn(self.host):
                if not self._scheme_known:
                    return self._exchange_first(method, url, headers, body, timeout)
        return self._follow_redirects(method, self._with_scheme(url), headers, authorization, body, timeout)

    def _exchange_first(self, method: str, url: str, headers: Mapping[str, str], body: Body, timeout: float) -> Response:
        """Sends the first request by both schemes until there is a response. It has no credentials: these are sent
        after a challenge."""
        failures: list[Exception] = []
        bad_request: Response | None = None
        for _ in range(2):
            try:
                response = self._follow_redirects(method, self._with_scheme(url), headers, None, body, timeout)
            except OSError as error:
                if self._failed_host(error) != self.host:  # the registry responded; the host that it redirects to failed
                    self._scheme_known = True
                    raise
                failures.append(error)
            else:
                # A TLS server answers a request without TLS by 400 and a text. If TLS fails as well, the 400 is the
                # response of a registry or proxy without TLS.
                is_doubtful = response.status_code == 400 and "json" not in response.headers.get("Content-Type", "")
                if not is_doubtful or self.prefix == "https":
                    self._scheme_known = True
                    if bad_request is not None:
                        bad_request.close()
                    return response
                bad_request = response
            self.prefix = "https" if self.prefix == "http" else "http"
        if bad_request is not None:
            self._scheme_known = True
            self.prefix = "http"
            return bad_request
        raise failures[0]

    def _with_scheme(self, url: str) -> str:
        """Returns a URL of the registry with the scheme that is used for it: a registry behind a proxy that terminates
        TLS may send URLs with `http`."""
        if url.startswith(f"{self.base}/"):
            return url
        parts = urlsplit(url)
        if parts.netloc != self.hostname or parts.scheme == self.prefix:
            return url
        return parts._replace(scheme=self.prefix).geturl()

    def _request_token(self, method: str, url: str, fields: Mapping[str, str], authorization: str | None) -> Mapping[str, Any]:
        """Returns the JSON object in the response of a token server. The token server is another service than the
        registry: no tokens for the registry are sent to it, and redirects to another origin are refused, since its
        token is sent to the registry."""
        headers: Mapping[str, str] = {}
        parameters = {name: value for name, value in fields.items() if value and name != "scope"}
        encoded = urlencode([*parameters.items(), *(("scope", one) for one in fields["scope"].split() if method == "GET")])
        if method == "GET":
            url, body = f"{url}{'&' if '?' in url else '?'}{encoded}", None
        else:
            encoded += "&" + urlencode({"scope": fields["scope"]})
            body, headers = encoded.encode(), {"Content-Type": "application/x-www-form-urlencoded"}

        def attempt() -> Mapping[str, Any]:
            response = self._follow_redirects(method, url, headers, authorization, body, _TIMEOUT, cross_origin=False)
            if response.status_code == 200 and not is_html_page(response):
                value = parse_json(read_body(response, self.host, limits.TOKEN.size), self.host, limits.TOKEN)
                return value if isinstance(value, dict) else {}
            error_response = self.error_response(self._checked_response(response, "token"))
            problem = error_for(error_response, "token", self.host, self.host)
            if isinstance(problem, Denied):
                raise problem
            message = error_response.error.message
            raise TransportError(
                f"its token server answers {error_response.status}{': ' + message if message else ''}", self.host
            )

        return self._with_retries(attempt, 1 + RETRIES)


def _import_authorization() -> type[Authorization]:
    from ocitool.transports.registry.auth import Authorization

    return Authorization


class _TemporaryFailure(Exception):
    """A response after which another attempt may succeed; `seconds`: the delay in its `Retry-After`, if there is one."""

    def __init__(self, problem: OcitoolError, seconds: float | None) -> None:
        super().__init__(problem.what)
        self.problem = problem
        self.seconds = seconds
