"""Authorization at one registry: Basic, or bearer tokens for scopes (distribution's "Token Authentication", with
OAuth2).

No credentials are looked up and no token is fetched before the registry sends a challenge. The challenge is kept, so
that later requests carry the header from the start and no body is sent twice. A token belongs to its scope, is fetched
once however many threads need it, and is renewed before it expires or when it is refused.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import oras.auth

from ocitool.credentials import remember_given
from ocitool.errors import TransportError
from ocitool.patterns import pattern
from ocitool.task import OneAtATime, Task
from ocitool.transports.registry.errors import Denied
from ocitool.transports.registry.http.addresses import host_of, origin, same_domain
from ocitool.transports.registry.keychain import Credentials
from ocitool.transports.registry.scopes import Scope

BACKEND = "ocitool"

_DEFAULT_LIFETIME = 60
"""Seconds that a token is valid if the response has no `expires_in` (distribution's "Token Authentication")."""
_CLIENT_ID = "ocitool"


class Challenge(NamedTuple):
    """One challenge of a `WWW-Authenticate` field (RFC 9110, 11.6.1); the scheme and the names of parameters are in
    lower case."""

    scheme: str
    values: Mapping[str, str]


_CHALLENGE_PART = pattern(
    r"""\s*(?:,\s*)*(?:(?P<name>[!#$%&'*+.^_`|~0-9A-Za-z-]+)\s*=\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<plain>[^\s,"=]+))"""
    r"""|(?P<scheme>[!#$%&'*+.^_`|~0-9A-Za-z-]+)(?=\s|,|$)(?:\s+[A-Za-z0-9._~+/-]+=+(?=\s*(?:,|$)))?)"""
)


def challenges(header: str) -> list[Challenge]:
    """Returns the challenges of a `WWW-Authenticate` field (RFC 9110, 11.6.1), up to the first part that cannot be
    parsed."""
    found: list[Challenge] = []
    values: dict[str, str] = {}
    at = 0
    while match := _CHALLENGE_PART.match(header, at):
        at = match.end()
        if match["scheme"]:
            values = {}
            found.append(Challenge(match["scheme"].lower(), values))
        elif found:
            quoted = match["quoted"]
            value = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else match["plain"]
            values.setdefault(match["name"].lower(), value)
    return found


class _Token(NamedTuple):
    header: str
    expires: float


class Authorization(oras.auth.TokenAuth):  # type: ignore[misc]
    """A backend for the table of oras. oras makes it without arguments; `configure` supplies what it needs."""

    @staticmethod
    def create(prefix: str) -> Authorization:
        """Returns a new object from the table of oras. `prefix`: the scheme of the registry's URL."""
        made: Authorization = oras.auth.get_auth_backend(BACKEND, insecure=prefix == "http")
        return made

    def configure(
        self,
        host: str,
        find_credentials: Callable[[str | None], Credentials | None],
        request_token: Callable[[str, str, Mapping[str, str], str | None], Mapping[str, Any]],
        task: Task,
        hostname: str | None = None,
        realms: Sequence[str] = (),
    ) -> None:
        """`find_credentials` returns the credentials for a repository. `request_token(method, url, fields,
        authorization)` returns the JSON object in the response of a token server. `hostname`: the host of the
        registry's URL without port, if it differs from `host`. `realms`: if there are any, credentials are sent to
        these hosts only."""
        self._host = host
        self._hostname = hostname or origin(f"https://{host}")[1] or host
        self._task = task
        self._realms = tuple(realms)
        self._find_credentials = find_credentials
        self._request_token = request_token
        self._turns = OneAtATime(task)
        self._challenge: Challenge | None = None
        self._tokens: dict[Scope, _Token] = {}
        self._challenge_scopes: dict[Scope, tuple[str, ...]] = {}  # resource scopes that challenges named in addition
        self._credentials_by_path: dict[str | None, Credentials | None] = {}

    def header(self, scope: Scope) -> str | None:
        """Returns the value of `Authorization` for a request; None before the first challenge, and if there are no
        credentials for Basic. May fetch a token: raises as `renew`."""
        with self._turns.turn(self._host):
            if self._challenge is None:
                return None
            if self._challenge.scheme == "basic":
                credentials = self._credentials(scope)
                return f"Basic {credentials.basic}" if credentials is not None and credentials.user else None
            token = self._tokens.get(scope)
            if token is None or token.expires < time.monotonic():
                token = self._tokens[scope] = self._fetch_token(self._challenge, scope)
            return token.header

    def renew(self, www_authenticate: str, scope: Scope, used: str | None) -> bool:
        """Handles a 401 response with the challenges `www_authenticate` to a request that carried the header value
        `used`. Returns whether another attempt may succeed. Raises `Denied` if the token server refuses, and
        `TransportError`."""
        offered = {challenge.scheme: challenge for challenge in challenges(www_authenticate)}
        challenge = offered.get("bearer") or offered.get("basic")
        if challenge is None:
            return False
        with self._turns.turn(self._host):
            if challenge.scheme == "basic" and self._realms and self._host not in self._realms:
                raise self._wrong_realm(self._host)
            changed = self._challenge is None or self._challenge.scheme != challenge.scheme
            self._challenge = challenge
            if challenge.scheme == "basic":
                credentials = self._credentials(scope)
                return (changed or used is None) and credentials is not None and bool(credentials.user)
            token = self._tokens.get(scope)
            if token is not None and token.header != used:
                return True  # another thread renewed it
            self._challenge_scopes[scope] = tuple(challenge.values.get("scope", "").split())
            self._tokens[scope] = self._fetch_token(challenge, scope)
            return self._tokens[scope].header != used

    @property
    def has_credentials(self) -> bool:
        """Whether there are credentials for any of the scopes that were needed so far."""
        return any(found is not None for found in self._credentials_by_path.values())

    def _credentials(self, scope: Scope) -> Credentials | None:
        if scope.path not in self._credentials_by_path:
            self._credentials_by_path[scope.path] = self._find_credentials(scope.path)
        return self._credentials_by_path[scope.path]

    def _fetch_token(self, challenge: Challenge, scope: Scope) -> _Token:
        credentials = self._credentials(scope)
        if credentials is not None and credentials.bearer:
            if self._realms and self._host not in self._realms:
                raise self._wrong_realm(self._host)
            return _Token(f"Bearer {credentials.bearer}", float("inf"))
        realm = self._realm(challenge)
        scopes = dict.fromkeys((*scope.resource_scopes, *self._challenge_scopes.get(scope, ())))
        service = challenge.values.get("service", "")
        response = self._token_response(realm, service, " ".join(scopes), credentials)
        for name in ("token", "access_token", "refresh_token"):
            if isinstance(response.get(name), str):
                remember_given(response[name])
        token = response.get("token") or response.get("access_token")
        if not isinstance(token, str) or not token or not token.isascii() or not token.isprintable():
            raise TransportError("the token server's response has no token", self._host)
        lifetime = response.get("expires_in")
        seconds = float(lifetime) if isinstance(lifetime, int | float) and 0 < lifetime < 1 << 31 else float(_DEFAULT_LIFETIME)
        return _Token(f"Bearer {token}", time.monotonic() + seconds - min(10.0, seconds / 10))

    def _realm(self, challenge: Challenge) -> str:
        """Returns the URL of the token server. Sends a notice if its host name is outside of the registry's domain.
        Raises `TransportError` if credentials must not be sent there: it has no TLS, or the user named realms and it is
        not one of them."""
        realm = challenge.values.get("realm", "")
        scheme, hostname, _ = origin(realm)
        if not hostname or scheme not in ("http", "https"):
            raise TransportError("its challenge has no valid realm", self._host)
        if scheme != "https" and self.prefix == "https":
            raise TransportError("its token server has no TLS", self._host, hint="no credentials were sent")
        if self._realms:
            if host_of(realm) not in self._realms:
                raise self._wrong_realm(host_of(realm))
        elif not same_domain(self._hostname, hostname):
            text = f"{self._host}: its token server is {host_of(realm)}, outside of its own domain"
            self._task.notice("realm", f"{text}; --realm {host_of(realm)} restricts credentials to it")
        return realm

    def _wrong_realm(self, host: str) -> TransportError:
        return TransportError(
            f"credentials would be sent to {host}, and --realm allows only {', '.join(self._realms)}", self._host,
            hint="nothing was sent there",
        )  # fmt: skip

    def _token_response(self, realm: str, service: str, scope: str, credentials: Credentials | None) -> Mapping[str, Any]:
        try:
            if credentials is not None and credentials.identity:
                fields = {"grant_type": "refresh_token", "service": service, "client_id": _CLIENT_ID, "scope": scope,
                          "refresh_token": credentials.identity}  # fmt: skip
                return self._request_token("POST", realm, fields, None)
            authorization = f"Basic {credentials.basic}" if credentials is not None else None
            return self._request_token(
                "GET", realm, {"service": service, "scope": scope, "client_id": _CLIENT_ID}, authorization
            )
        except Denied as error:
            if credentials is not None and not error.is_html:
                refused = f"the user name or password was refused for {scope or 'the registry'}"
                error.what = f"{refused}: {error.message}" if error.message else refused
            raise


oras.auth.auth_backends[BACKEND] = Authorization
