"""Requests to one engine: the connection, the version of the API, answers as values, streams, and errors."""

from __future__ import annotations

import re
import socket
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import docker
import requests
from docker.errors import DockerException

from ocitool import limits
from ocitool.errors import FormatError, LimitError, TransportError, UsageError
from ocitool.spec.document import parse, parse_object
from ocitool.task import Task
from ocitool.transports.engine import certificates, problems
from ocitool.transports.engine.address import EngineAddress

OLDEST, NEWEST = (1, 24), (1, 51)
"""The versions of the API that ocitool speaks: those of Docker 1.12 and of Docker 28."""
_CONNECT, _ANSWER = 30, 600
"""Seconds to wait for a connection and for each piece of an answer: before an engine gives an image, it writes it to a file."""
_BLOCK = 1 << 20
_PLAIN = (
    "the connection is not encrypted and not authenticated: whoever reaches port {port} of {host} is root there;"
    " TLS (port 2376) or ssh:// protects it"
)


class EngineVersion(NamedTuple):
    """What an engine says of itself. `api`: the version of the API that is spoken with it."""

    api: tuple[int, int]
    name: str
    version: str
    os: str
    architecture: str

    @property
    def is_podman(self) -> bool:
        return self.name.startswith("Podman")


class Engine:
    """One engine. Connects when the first request is made. Closed by `close`."""

    def __init__(self, address: EngineAddress, task: Task) -> None:
        self.address = address
        self.where = str(address)
        self._task = task
        self._session: docker.APIClient | None = None
        self._version: EngineVersion | None = None
        self._answers: set[requests.Response] = set()
        task.when_cancelled(self._abort)

    @property
    def is_remote(self) -> bool:
        """Whether what it sends and takes goes over a network."""
        return self.address.scheme != "unix"

    @property
    def version(self) -> EngineVersion:
        """Which engine it is. The first time, asks it and agrees on a version of the API.

        Raises `TransportError` if it cannot be reached, or speaks no version that ocitool speaks.
        """
        if self._version is None:
            self._version = self._agreed()
        return self._version

    def get(self, path: str, what: str, /, **query: Any) -> Any:
        """Returns the JSON value of an answer. `what`: the object that is asked for, for messages.

        `path` begins with `/`, its parts are quoted (`quoted`). Values of the query that are None are left out. Raises
        `NotFoundError`, `EngineError`, `TransportError`, `LimitError` for an answer that is too large.
        """
        with self._answer("GET", path, what, query) as answer:
            return parse(self._whole(answer, what), f"{self.where}: {what}", limits.ENGINE_ANSWER)

    def send(
        self, method: str, path: str, what: str, /, *, json: Any = None, body: Iterable[bytes] | None = None,
        content_type: str = "application/x-tar", **query: Any,
    ) -> Any:  # fmt: skip
        """Sends a JSON value, or bytes as they come, and returns the JSON value of the answer, None if there is none. Raises
        what `get` raises, and what `body` raises."""
        with self._answer(method, path, what, query, json=json, body=body, content_type=content_type) as answer:
            raw = self._whole(answer, what)
            return parse(raw, f"{self.where}: {what}", limits.ENGINE_ANSWER) if raw.strip() else None

    @contextmanager
    def stream(self, path: str, what: str, /, *, method: str = "GET", **query: Any) -> Iterator[Stream]:
        """Gives the bytes of an answer as they come. Raises what `get` raises; while bytes are read, `TransportError`."""
        with self._answer(method, path, what, query) as answer:
            yield Stream(dict(answer.headers), self._pieces(answer))

    @contextmanager
    def upload(self, path: str, what: str, body: Iterable[bytes], /, *, method: str = "POST", **query: Any) -> Iterator[Stream]:
        """Sends bytes and gives those of the answer as they come. Raises what `get` and `body` raise."""
        with self._answer(method, path, what, query, body=body) as answer:
            yield Stream(dict(answer.headers), self._pieces(answer))

    @contextmanager
    def hijacked(self, path: str, what: str, /, **query: Any) -> Iterator[Callable[[bytes], bool]]:
        """Gives a function that writes to what the engine connects the request to, as the standard input of a container
        (Docker's API, "Hijacking"). It returns False once the other side takes no more. Raises what `get` raises."""
        major, minor = self.version.api
        words = f"?{urlencode(query)}" if query else ""
        headers = {"Connection": "Upgrade", "Upgrade": "tcp"}
        with self._asked("POST", f"/v{major}.{minor}{path}{words}", headers=headers) as answer:
            if answer.status_code not in (101, 200):
                raise problems.refused(answer.status_code, self._some(answer), what, self.address)
            connection: socket.socket = answer.raw._fp.fp.raw._sock

            def write(data: bytes) -> bool:
                self._task.check()
                try:
                    connection.sendall(data)
                except (BrokenPipeError, ConnectionResetError):
                    return False
                except OSError as error:
                    raise problems.unreachable(error, self.address, begun=True) from None
                return True

            yield write

    def detached(self, task: Task) -> Engine:
        """Returns a connection of its own to the same engine, for what has to be done even if the command's task is cancelled.
        The caller closes it."""
        other = Engine(self.address, task)
        other._version = self._version
        return other

    def _abort(self) -> None:
        """Shuts down the sockets of all answers, which ends every wait for more of them."""
        for answer in list(self._answers):
            sock = getattr(answer.raw.connection, "sock", None)
            if sock is not None:
                with suppress(OSError, ValueError):
                    sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None

    @contextmanager
    def _answer(
        self, method: str, path: str, what: str, query: Mapping[str, Any], *, json: Any = None,
        body: Iterable[bytes] | None = None, content_type: str = "application/x-tar",
    ) -> Iterator[requests.Response]:  # fmt: skip
        major, minor = self.version.api
        kept = {key: value for key, value in query.items() if value is not None}
        words = f"?{urlencode(kept, doseq=True)}" if kept else ""
        sent = _Body(body, self._task if self.is_remote else None) if body is not None else None
        with self._asked(method, f"/v{major}.{minor}{path}{words}", sent, json, content_type) as answer:
            if not _is_success(answer):
                raise problems.refused(answer.status_code, self._some(answer), what, self.address)
            yield answer

    @contextmanager
    def _asked(
        self, method: str, target: str, body: _Body | None = None, json: Any = None, content_type: str = "",
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> Iterator[requests.Response]:  # fmt: skip
        self._task.check()
        session = self._opened()
        sent = {**headers, "Content-Type": content_type} if body is not None else headers
        try:
            answer = session.request(
                method, session.base_url + target, data=body, json=json, headers=sent, stream=True, allow_redirects=False,
                timeout=(_CONNECT, _ANSWER),
            )  # fmt: skip
        except (requests.RequestException, OSError, EOFError) as error:
            if body is not None and body.failed is not None:
                raise body.failed from None
            raise problems.unreachable(error, self.address) from None
        self._answers.add(answer)
        try:
            with answer:
                yield answer
        finally:
            self._answers.discard(answer)

    def _opened(self) -> docker.APIClient:
        """The session, made once. It reads nothing of the environment: no proxy, no .netrc, no authority."""
        if self._session is None:
            address = self.address
            tls = address.tls
            base = str(address) if address.scheme != "ssh" else "unix:///ssh"  # its adapter is replaced below
            try:
                session = docker.APIClient(base_url=base, version=f"{NEWEST[0]}.{NEWEST[1]}", tls=False)
            except DockerException as error:
                raise UsageError(f"invalid address of an engine: {error}", address.chosen_by) from None
            if address.scheme == "ssh":
                from ocitool.transports.engine.ssh import SshAdapter

                session.mount("http+docker://", SshAdapter(address, _CONNECT))
            elif address.scheme == "unix":
                from ocitool.transports.engine.unix import UnixAdapter

                session.mount("http+docker://", UnixAdapter(address.path))
            session.trust_env = False
            session.headers["Accept-Encoding"] = "identity"  # else engines compress archives, which are read as they come
            if tls is not None and address.scheme == "tcp":
                certificates.check(tls)
                session.base_url = session.base_url.replace("http://", "https://", 1)
                session.verify = (tls.ca or _authorities()) if tls.verify else False
                session.cert = (tls.cert, tls.key) if tls.cert and tls.key else tls.cert
                if not tls.verify:
                    warnings.filterwarnings("ignore", message="Unverified HTTPS request")
                    self._task.notice("engine", f"the certificate of {address} is not checked")
            elif address.scheme == "tcp" and not _is_loopback(address.host):
                self._task.notice("engine", f"{address}: {_PLAIN.format(port=address.port, host=address.host)}")
            self._session = session
        return self._session

    def _agreed(self) -> EngineVersion:
        with self._asked("GET", "/_ping") as answer:
            body = self._some(answer)
            if not _is_success(answer):
                raise problems.refused(answer.status_code, body, "ping", self.address)
            stated = answer.headers.get("Api-Version", "")
        with self._asked("GET", "/version") as answer:
            if not _is_success(answer):
                raise problems.refused(answer.status_code, self._some(answer), "version", self.address)
            said = parse_object(self._whole(answer, "version"), f"{self.where}: version", limits.ENGINE_ANSWER)
        highest = _version(said.get("ApiVersion")) or _version(stated)
        lowest = _version(said.get("MinAPIVersion")) or (0, 0)
        if highest is None:
            raise FormatError("what answers here is no engine: it states no version of the API", self.where)
        spoken = min(highest, NEWEST)
        if highest < OLDEST:
            raise TransportError(
                f"the engine is too old: it speaks API {_dotted(highest)}, ocitool {_dotted(OLDEST)} and later", self.where
            )
        if spoken < lowest:
            raise TransportError(
                f"the engine is too new: it speaks API {_dotted(lowest)} and later, ocitool up to {_dotted(NEWEST)}", self.where
            )
        parts = said.get("Components")
        first = parts[0] if isinstance(parts, list) and parts and isinstance(parts[0], dict) else {}
        words = [value if isinstance(value, str) else "" for value in (
            first.get("Name"), said.get("Version"), said.get("Os"), said.get("Arch"))]  # fmt: skip
        return EngineVersion(spoken, *words)

    def _whole(self, answer: requests.Response, what: str) -> bytes:
        found = bytearray()
        for piece in self._pieces(answer):
            found += piece
            if len(found) > limits.ENGINE_ANSWER.size:
                raise LimitError(f"an answer of more than {limits.ENGINE_ANSWER.size} bytes", f"{self.where}: {what}")
        return bytes(found)

    def _some(self, answer: requests.Response) -> bytes:
        """The first bytes of an answer: an error is told by them."""
        found = b""
        for piece in self._pieces(answer):
            found += piece
            if len(found) > 1 << 16:
                break
        return found[: 1 << 16]

    def _pieces(self, answer: requests.Response) -> Iterator[bytes]:
        try:
            for piece in answer.raw.stream(_BLOCK, decode_content=False):
                self._task.check()
                if self.is_remote:
                    self._task.count_transferred(len(piece))
                yield piece
        except (requests.RequestException, OSError, EOFError) as error:
            raise problems.unreachable(error, self.address, begun=True) from None
        except _urllib3_errors() as error:
            raise problems.unreachable(error, self.address, begun=True) from None


class Stream(NamedTuple):
    """An answer whose bytes are still coming. `headers`: by their names as the engine writes them."""

    headers: Mapping[str, str]
    pieces: Iterator[bytes]


class _Body:
    """What is sent. `failed`: the error that its source raised, which requests would wrap. `task`: counts what goes over a
    network, None if it does not."""

    def __init__(self, pieces: Iterable[bytes], task: Task | None) -> None:
        self._pieces = pieces
        self._task = task
        self.failed: BaseException | None = None

    def __iter__(self) -> Iterator[bytes]:
        try:
            for piece in self._pieces:
                if piece:
                    yield piece
                    if self._task is not None:
                        self._task.count_transferred(len(piece))
        except GeneratorExit:
            raise  # no error of the source: the engine ended the connection before all was sent
        except BaseException as error:
            self.failed = error
            raise


def _is_success(answer: requests.Response) -> bool:
    """Whether the engine has done what it was asked. 304: a container is already as it should become."""
    return 200 <= answer.status_code < 300 or answer.status_code == 304


def quoted(name: str) -> str:
    """Returns a name as one part of a path: slashes of image names are kept."""
    return quote(name, safe="/:@")


def _urllib3_errors() -> type[Exception]:
    from urllib3.exceptions import HTTPError

    return HTTPError


def _version(value: object) -> tuple[int, int] | None:
    found = re.fullmatch(r"(\d{1,4})\.(\d{1,4})", value) if isinstance(value, str) else None
    return (int(found[1]), int(found[2])) if found else None


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


def _authorities() -> str:
    """The system's authorities, or certifi's."""
    import ssl

    import certifi

    return ssl.get_default_verify_paths().cafile or certifi.where()


def _is_loopback(host: str) -> bool:
    import ipaddress

    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
