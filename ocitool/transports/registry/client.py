"""One registry: its address, its authorization, and requests that are tried again where that may help.

The session, its connections, the paging of lists and the table of authorizations are oras'. Its transfers are not used: they
hash nothing, hold whole blobs in memory and change the bytes of manifests.

Every request has a timeout. Tried again are those that may be repeated, after 408, 429, 5xx and broken connections: `RETRIES`
times, longer apart each time, and said. Redirects are followed here, so that `Authorization` goes to the registry alone.
"""

from __future__ import annotations

import json
import os
import random
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime
from logging import CRITICAL, getLogger
from threading import Lock
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode
from weakref import WeakSet

import requests
import urllib3
from requests.adapters import HTTPAdapter

from ocitool import __version__, limits
from ocitool.blob import unopened
from ocitool.digest import Digest
from ocitool.errors import FormatError, IntegrityError, LimitError, NotFoundError, OcitoolError, TransportError, UsageError
from ocitool.reference import DEFAULT_HOST
from ocitool.spec import mediatypes
from ocitool.task import Task
from ocitool.transports.registry.access import Access
from ocitool.transports.registry.addresses import joined, origin
from ocitool.transports.registry.auth import BACKEND, CATALOG, NOTHING, Authorization, Scope, pulling, pushing
from ocitool.transports.registry.keychain import Credentials, Keychain
from ocitool.transports.registry.origins import Origins
from ocitool.transports.registry.problems import RETRIED, Denied, Unreachable, answered, unreachable
from ocitool.transports.registry.unneeded import unneeded

with unneeded("jsonschema"):
    import oras.provider

RETRIES = 4
_LONGEST_WAIT = 60.0
_REDIRECTS = 5
_TIMEOUT = (10, 60)
_LIST_SIZE = 32 * limits.MiB
_LIST_ITEMS = 1_000_000
_ERROR_SIZE = 64 * limits.KiB
_HUB = "registry-1.docker.io"
_ACCEPT = ", ".join((mediatypes.OCI_INDEX, mediatypes.OCI_MANIFEST, mediatypes.DOCKER_LIST, mediatypes.DOCKER_MANIFEST))

Body = bytes | Iterable[bytes] | None

getLogger("oras.logger").setLevel(CRITICAL)  # it logs what token servers say
getLogger("urllib3").setLevel(CRITICAL)


class Document(NamedTuple):
    """A manifest or index as the registry holds it. `media_type` is that of the answer, without parameters."""

    raw: bytes
    media_type: str
    digest: Digest


class Client(oras.provider.Registry):  # type: ignore[misc]
    """`host` is the registry's name in references. Used by several threads. `pause` waits between attempts."""

    auth: Authorization

    def __init__(
        self, host: str, access: Access, task: Task, cache: str | None = None, pause: Callable[[float], None] | None = None
    ) -> None:
        self.host = host
        self.origins = Origins(cache, host)
        self.task = task
        self._insecure = access.trusts(host)
        super().__init__(
            _HUB if host == DEFAULT_HOST else host, tls_verify=not self._insecure, auth_backend=BACKEND
        )
        self._pause = pause or task.pause
        self._settling = Lock()
        self._settled = not self._insecure
        adapter = _Adapter(task.jobs, access)
        self.session.mount("https://", adapter)
        self.session.mount("http://", adapter)
        self.session.auth = _as_it_is  # or requests would put what ~/.netrc says in the place of a token
        self.session.cert = _certificate(access)
        self.session.headers.update({"User-Agent": f"ocitool/{__version__}", "Accept-Encoding": "identity"})
        self.keychain = Keychain(access.authfile, lambda text: task.notice("credentials", text))
        self.auth.begin(host, lambda path: self.keychain.find(host, path), self._token)
        task.when_cancelled(adapter.abort)

    # Requests

    @property
    def base(self) -> str:
        return f"{self.prefix}://{self.hostname}"

    def url(self, path: str) -> str:
        """The address of something below `/v2/`. Settles first how the registry is spoken to."""
        self._settle()
        return f"{self.base}/v2/{path}"

    def request(
        self,
        method: str,
        url: str,
        scope: Scope,
        *,
        headers: Mapping[str, str] | None = None,
        body: Body = None,
        again: bool = True,
        patience: int = _TIMEOUT[1],
    ) -> requests.Response:
        """The answer, whatever its status, its body unread. `again`: the request may be repeated (a body then is bytes);
        else a broken connection is raised at once, and a 401 is answered with `auth.renew` and returned.

        Raises `Unreachable`, `Denied` (from the token server), `TransportError` after the last attempt."""
        failures = 0
        while True:
            self.task.check()
            wait: float | None = None
            try:
                response = self._authorized(method, url, scope, headers or {}, body, again, patience)
            except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
                self.task.check()
                problem: OcitoolError = unreachable(error, self.host)
                if not again or not (isinstance(problem, Unreachable) and problem.passing):
                    raise problem from None
            else:
                if response.status_code not in RETRIED or not again:
                    return response
                wait = retry_after(response)
                problem = self.problem(response, "request", self.host)
            failures += 1
            if failures > RETRIES:
                raise problem from None
            self.wait(failures, problem, wait)

    def wait(self, failures: int, problem: OcitoolError, seconds: float | None = None) -> None:
        """Before the next attempt: as long as the registry asks for, else longer each time, never in step with others."""
        if seconds is None:
            seconds = 0.5 * 2 ** (failures - 1) * random.uniform(0.75, 1.25)
        seconds = min(seconds, _LONGEST_WAIT)
        text = f"{self.host}: {problem.what}; attempt {failures + 1} of {RETRIES + 1} in {seconds:.1f} s"
        self.task.notice("retry", text)
        self._pause(seconds)

    def problem(self, response: requests.Response, what: str, where: str) -> OcitoolError:
        """What an answer that is not the one hoped for says; closes it."""
        with suppress(requests.RequestException, urllib3.exceptions.HTTPError, OSError):
            body = response.raw.read(_ERROR_SIZE, decode_content=True) if response.raw is not None else b""
            response.close()
            return answered(response.status_code, body, what, where, self.host)
        response.close()
        return answered(response.status_code, b"", what, where, self.host)

    def _authorized(
        self, method: str, url: str, scope: Scope, headers: Mapping[str, str], body: Body, again: bool, patience: int
    ) -> requests.Response:
        authorization = self.auth.header(scope) if self.owns(url) else None
        response = self._followed(method, url, headers, authorization, body, patience)
        if response.status_code != 401 or not self.owns(response.url):
            return response
        try:
            renewed = self.auth.renew(response.headers.get("WWW-Authenticate", ""), scope, authorization)
        except BaseException:
            response.close()
            raise
        if not renewed or not again:
            return response
        self._drained(response)
        return self._followed(method, url, headers, self.auth.header(scope), body, patience)

    def _followed(
        self, method: str, url: str, headers: Mapping[str, str], authorization: str | None, body: Body, patience: int
    ) -> requests.Response:
        """The answer at the end of redirects. Whatever host they lead to, credentials stay with the registry."""
        for _ in range(_REDIRECTS + 1):
            sent = dict(headers)
            if authorization is not None and self.owns(url):
                sent["Authorization"] = authorization
            response = self._once(method, url, sent, body, patience)
            target = response.headers.get("Location")
            if response.status_code not in (301, 302, 303, 307, 308) or target is None or method not in ("GET", "HEAD"):
                return response
            self._drained(response)
            url = joined(url, target)
            if not url:
                raise TransportError("it sends us on to what is no address", self.host)
            if origin(url)[0] not in ("https", self.prefix):
                raise TransportError("it sends us on to an address without TLS", self.host)
        raise TransportError(f"more than {_REDIRECTS} redirects", self.host)

    def _once(self, method: str, url: str, headers: Mapping[str, str], body: Body, patience: int) -> requests.Response:
        prepared = self.session.prepare_request(requests.Request(method, self.base, headers=dict(headers), data=body))
        prepared.url = url  # as it was given: requests would write a signed one anew
        settings = self.session.merge_environment_settings(url, {}, True, self._tls_verify, None)
        # By the adapter: a session reads the body of a redirect, however long it is.
        answer: requests.Response = self.session.get_adapter(url).send(prepared, timeout=(_TIMEOUT[0], patience), **settings)
        return answer

    def owns(self, url: str) -> bool:
        """Whether an address is the registry's own: the same scheme, host and port."""
        return origin(url) == origin(self.base)

    def _drained(self, response: requests.Response) -> None:
        """Reads the rest of a small answer, so that its connection is used again."""
        with suppress(requests.RequestException, urllib3.exceptions.HTTPError, OSError):
            response.raw.read(_ERROR_SIZE, decode_content=False)
        response.close()

    def _settle(self) -> None:
        """Where the user said that there may be no TLS: whether there is any."""
        if self._settled:
            return
        with self._settling:
            if self._settled:
                return
            try:
                self._once("GET", f"{self.base}/v2/", {}, None, _TIMEOUT[1]).close()
            except (requests.RequestException, urllib3.exceptions.HTTPError, OSError):
                self.prefix = self.auth.prefix = "http"
            self._settled = True

    def _token(self, method: str, url: str, fields: Mapping[str, str], headers: Mapping[str, str]) -> Mapping[str, Any]:
        """A token server's answer. It is no part of the registry: only what `headers` says goes there."""
        given = {name: value for name, value in fields.items() if value and name != "scope"}
        words = urlencode([*given.items(), *(("scope", one) for one in fields["scope"].split() if method == "GET")])
        if method == "GET":
            url, body = f"{url}{'&' if '?' in url else '?'}{words}", None
        else:
            words += "&" + urlencode({"scope": fields["scope"]})
            body, headers = words.encode(), {**headers, "Content-Type": "application/x-www-form-urlencoded"}
        failures = 0
        while True:
            wait = None
            try:
                response = self._followed(method, url, headers, None, body, _TIMEOUT[1])
            except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
                self.task.check()
                problem: OcitoolError = unreachable(error, origin(url)[1] or self.host)
                if isinstance(problem, Unreachable) and not problem.passing:
                    raise problem from None
            else:
                if response.status_code == 200:
                    value = self.json(response, "token")
                    return value if isinstance(value, dict) else {}
                wait = retry_after(response)
                problem = self.problem(response, "token", self.host)
                if response.status_code not in RETRIED:
                    if isinstance(problem, Denied):
                        raise problem
                    raise TransportError(f"its token server answers {response.status_code}", self.host)
            failures += 1
            if failures > RETRIES:
                raise problem from None
            self.wait(failures, problem, wait)

    # Documents and lists

    def login(self, credentials: Credentials) -> None:
        """Whether the registry takes these. Raises `Denied` where it does not; a notice where it asks nobody."""
        self.auth.begin(self.host, lambda path: credentials, self._token)
        response = self.request("GET", self.url(""), NOTHING)
        if response.status_code != 200:
            raise self.problem(response, "login", self.host)
        response.close()
        if not self.auth.challenged:
            self.task.notice("login", f"{self.host} asks nobody for a password, so this one was not checked")

    def document(self, path: str, name: str | Digest) -> Document:
        """A manifest or index by tag or digest, its exact bytes, hashed.

        Raises `NotFoundError`, `IntegrityError` where it is not what digest or headers say, `LimitError`, `TransportError`.
        """
        where = f"{self.host}/{path}{'@' if isinstance(name, Digest) else ':'}{name}"
        response = self._get_document(path, name)
        if response.status_code != 200:
            raise self.problem(response, "digest" if isinstance(name, Digest) else "tag", where)
        raw = self._body(response, where)
        self.task.crossed(len(raw))
        stated = name if isinstance(name, Digest) else _digest(response.headers.get("Docker-Content-Digest"))
        digest = Digest.of(raw, stated.algorithm if stated is not None and stated.checkable else "sha256")
        if stated is not None and digest != stated:
            raise IntegrityError(f"content is {digest}, stated is {stated}", where)
        return Document(raw, response.headers.get("Content-Type", "").partition(";")[0].strip(), digest)

    def _get_document(self, path: str, name: str | Digest) -> requests.Response:
        return self.request("GET", self.url(f"{path}/manifests/{name}"), pulling(path), headers={"Accept": _ACCEPT})

    def document_digest(self, path: str, name: str | Digest, scope: Scope | None = None) -> Digest | None:
        """The digest of a manifest or index, without fetching it where the registry can say; None where there is none."""
        url = self.url(f"{path}/manifests/{name}")
        response = self.request("HEAD", url, scope or pulling(path), headers={"Accept": _ACCEPT})
        response.close()
        if response.status_code == 404:
            return None
        if response.status_code != 200:
            raise self.problem(response, "manifest", f"{self.host}/{path}")
        stated = _digest(response.headers.get("Docker-Content-Digest"))
        return stated or self.document(path, name).digest

    def put_document(self, path: str, name: str | Digest, media_type: str, raw: bytes, digest: Digest) -> bool:
        """Stores a manifest or index under a tag or its digest. Whether the registry keeps lists of referrers itself, for
        one that has a subject. Raises `IntegrityError` where it says that it stored something else."""
        where = f"{self.host}/{path}"
        url = self.url(f"{path}/manifests/{name}")
        response = self.request("PUT", url, pushing(path), headers={"Content-Type": media_type}, body=raw)
        if response.status_code not in (200, 201, 202):
            raise self.problem(response, f"manifest {digest}", where)
        response.close()
        self.task.crossed(len(raw))
        stored = _digest(response.headers.get("Docker-Content-Digest"))
        if stored is not None and stored.algorithm == digest.algorithm and stored != digest:
            raise IntegrityError(f"the registry stored {stored}, sent was {digest}", where)
        return "OCI-Subject" in response.headers

    def tags(self, path: str) -> list[str]:
        """Raises `NotFoundError` where there is no such repository."""
        return self._listed(f"{path}/tags/list", "tags", pulling(path), "repository", f"{self.host}/{path}")

    def repositories(self) -> list[str]:
        """Raises `NotFoundError` where the registry has no catalogue."""
        return self._listed("_catalog", "repositories", CATALOG, "catalogue", self.host)

    def referrers(self, path: str, digest: Digest) -> list[dict[str, Any]] | None:
        """The descriptors of what says that it speaks of a manifest; None where the registry keeps no such list
        (distribution-spec, "Listing Referrers")."""
        where = f"{self.host}/{path}"
        try:
            found = self._paged(f"{path}/referrers/{digest}", "manifests", pulling(path), "list of referrers", where)
        except NotFoundError:
            return None
        return [one for one in found if isinstance(one, dict)]

    def _listed(self, path: str, member: str, scope: Scope, what: str, where: str) -> list[str]:
        found = self._paged(path, member, scope, what, where)
        return list(dict.fromkeys(one for one in found if isinstance(one, str)))

    def _paged(self, path: str, member: str, scope: Scope, what: str, where: str) -> list[Any]:
        """All pages of a list, by oras' paging, each fetched by `do_request`."""
        found: list[Any] = []
        pages = _Pages(self, scope, what, where)

        def more(response: requests.Response) -> bool:
            value = self.json(response, where)
            items = value.get(member) if isinstance(value, dict) else None
            if items is not None and not isinstance(items, list):
                raise FormatError(f"{member} is not a list", where)
            found.extend(items or ())
            if len(found) > _LIST_ITEMS:
                raise LimitError(f"a list of more than {_LIST_ITEMS} {member}", where)
            return bool(items)

        try:
            pages.collect(self.url(path), more)
        except ValueError:
            raise FormatError("the next page of a list is at what is no address", where) from None
        return found

    def json(self, response: requests.Response, where: str) -> Any:
        """The value of a small answer. Raises `FormatError` and `LimitError`."""
        raw = self._body(response, where, _LIST_SIZE, decode=True)
        try:
            return json.loads(raw)
        except (ValueError, RecursionError):
            raise FormatError("the registry's answer is not JSON", where) from None

    def _body(
        self, response: requests.Response, where: str, most: int = limits.DOCUMENT_SIZE, *, decode: bool = False
    ) -> bytes:
        try:
            data = bytearray()
            while len(data) <= most and (piece := response.raw.read(most + 1 - len(data), decode_content=decode)):
                data += piece
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            self.task.check()
            raise unreachable(error, self.host) from None
        finally:
            response.close()
        if len(data) > most:
            raise LimitError(f"a document of more than {most} bytes", where)
        return bytes(data)


class _Pages(oras.provider.Registry):  # type: ignore[misc]
    """oras' paging over requests of ours: of one list, with the scope that it needs."""

    def __init__(self, client: Client, scope: Scope, what: str, where: str) -> None:
        self._client = client
        self._scope = scope
        self._what = what
        self._where = where
        self._seen: set[str] = set()
        self.headers: dict[str, str] = {}

    def collect(self, url: str, more: Callable[[requests.Response], bool]) -> None:
        self._do_paginated_request(url, more)

    def do_request(self, url: str, method: str = "GET", **_: Any) -> requests.Response:
        if not self._client.owns(url):
            raise FormatError("the next page of a list is at another registry", self._where)
        if url in self._seen:
            raise FormatError("the pages of a list lead back to themselves", self._where)
        self._seen.add(url)
        return self._client.request(method, url, self._scope)

    def _check_200_response(self, response: requests.Response) -> None:
        if response.status_code != 200:
            raise self._client.problem(response, self._what, self._where)


class _Adapter(HTTPAdapter):
    """As many connections as there are threads, none tried again by itself, and all of them cut when the task ends."""

    def __init__(self, jobs: int, access: Access) -> None:
        self._sockets: WeakSet[Any] = WeakSet()
        self._opening = Lock()
        self._access = access
        super().__init__(pool_connections=8, pool_maxsize=jobs + 4, max_retries=urllib3.Retry(0, read=False), pool_block=False)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        if self._access.ca is not None:
            kwargs["ssl_context"] = _context(self._access.ca)
        super().init_poolmanager(*args, **kwargs)
        adapter = self

        class Plain(urllib3.connection.HTTPConnection):
            def connect(self) -> None:
                super().connect()
                adapter.opened(self.sock)

        class Secure(urllib3.connection.HTTPSConnection):
            def connect(self) -> None:
                super().connect()
                adapter.opened(self.sock)

        class PlainPool(urllib3.HTTPConnectionPool):
            ConnectionCls = Plain

        class SecurePool(urllib3.HTTPSConnectionPool):
            ConnectionCls = Secure

        self.poolmanager.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}

    def proxy_manager_for(self, proxy: Any, **kwargs: Any) -> Any:
        if self._access.ca is not None:
            kwargs["ssl_context"] = _context(self._access.ca)
        return super().proxy_manager_for(proxy, **kwargs)

    def opened(self, sock: Any) -> None:
        with self._opening:
            self._sockets.add(sock)

    def abort(self) -> None:
        """Wakes whoever waits for an answer."""
        with self._opening:
            sockets = list(self._sockets)
        for sock in sockets:
            with suppress(OSError, ValueError):
                sock.shutdown(socket.SHUT_RDWR)
        self.close()


def _context(ca: str) -> Any:
    """The system's authorities and one more."""
    context = urllib3.util.ssl_.create_urllib3_context()
    context.load_default_certs()
    try:
        context.load_verify_locations(ca)
    except OSError as error:
        raise _no_certificate(ca, error) from None
    return context


def _certificate(access: Access) -> Any:
    if access.cert is None:
        if access.key is not None:
            raise UsageError("--key needs --cert")
        return None
    context = ssl.create_default_context()
    for path in (access.cert, access.key):
        if path is not None and not os.path.isfile(path):
            raise unopened(path, FileNotFoundError())
    try:
        context.load_cert_chain(access.cert, access.key, password=lambda: "")
    except OSError as error:
        raise _no_certificate(access.cert, error) from None
    return (access.cert, access.key) if access.key is not None else access.cert


def _no_certificate(path: str, error: OSError) -> OcitoolError:
    if isinstance(error, FileNotFoundError):
        return unopened(path, error)
    return FormatError("no certificate that can be read", path)


def _as_it_is(prepared: requests.PreparedRequest) -> requests.PreparedRequest:
    return prepared


def retry_after(response: requests.Response) -> float | None:
    """Seconds (RFC 9110, 10.2.3); a date counts from now."""
    text = response.headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit() and len(text) < 9:
        return float(text)
    with suppress(ValueError, TypeError):
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    return None


def _digest(text: str | None) -> Digest | None:
    try:
        return Digest.parse(text)
    except FormatError:
        return None


def with_digest(location: str, digest: Digest) -> str:
    """An upload's address with the digest that ends it; what the registry wrote stays as it is."""
    return f"{location}{'&' if '?' in location else '?'}digest={quote(str(digest), safe='')}"
