"""The real docker-registry 2.8.2 for tests, with a token server for it, and a proxy that makes a network of loopback.

    with real_registry(tmp_path, auth="token") as registry, Proxy(registry.host, latency=0.02) as proxy:
        ...                                        # a client, on proxy.host, with USER and PASSWORD
        assert 1 == registry.tokens.issued
        assert not registry.requests("PATCH|PUT", "/blobs/")

Where `registry.ScriptedRegistry` does what a test tells it, this one is the reference: what it takes is right. All listen
on 127.0.0.1, keep their data below the directory given, and end with their contexts.
"""

from __future__ import annotations

import base64
import json
import math
import os
import random
import re
import select
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Literal, Self
from urllib.parse import parse_qs, urlsplit

USER, PASSWORD = "bob", "secret-pw"
HTPASSWD = "bob:$2b$05$QiyDiuAy3xzhQ0ZPZOghsOeVOrNjyDQN4wLOsR6DCdOCoL6vAcvjW\n"
"""The password in bcrypt, the one hash that docker-registry takes and the standard library has not."""
LEEWAY = 60
"""Seconds for which docker-registry goes on taking a token that has ended."""
PIECE = 1 << 16


@dataclass(frozen=True, slots=True)
class LoggedRequest:
    """One request that docker-registry answered, in the order in which it was done with them."""

    method: str
    path: str
    """With its query."""
    status: int
    sent: int
    """Bytes of the body of the answer that were sent."""
    received: int | None
    """Bytes of the body of the request, as far as the state of uploads and the storage tell: None for a manifest put by
    tag, for POST, and for what was refused or cut."""
    agent: str


class RealRegistry:
    """One docker-registry on a port of its own, which stays the same when it is started again on the same data."""

    def __init__(self, base: Path, settings: dict[str, Any], tokens: TokenServer | None) -> None:
        self.tokens = tokens
        """Its token server, with auth="token"."""
        self.data = base / "data"
        self.tls = "tls" in settings["http"]
        self._base, self._settings, self._cleared = base, settings, 0
        self._process: subprocess.Popen[bytes] | None = None
        for _ in range(20):
            self._port = _free_port()
            try:
                self.start()
                break
            except PortTaken:  # meanwhile, by a registry of another test
                continue
        else:
            raise PortTaken

    @property
    def host(self) -> str:
        """As "127.0.0.1:5000"."""
        return f"127.0.0.1:{self._port}"

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.host}"

    @property
    def pid(self) -> int:
        """Of the process that runs now, to be measured."""
        assert self._process is not None, "it does not run"
        return self._process.pid

    def start(self) -> None:
        """Returns once it listens."""
        assert self._process is None, "it runs"
        self._settings["http"]["addr"] = self.host
        (self._base / "config.yml").write_text(json.dumps(self._settings))  # JSON is YAML
        # The environment overrides the file.
        env = {name: value for name, value in os.environ.items() if not name.startswith(("REGISTRY_", "OTEL_"))}
        with open(self._base / "access.log", "ab") as access, open(self._base / "server.log", "ab") as server:
            start = len(self.server_log())
            command = ["docker-registry", "serve", str(self._base / "config.yml")]
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=access, stderr=server, env=env, start_new_session=True
            )
        try:
            self._wait(start)
        except BaseException:
            self.kill()
            raise

    def _wait(self, start: int) -> None:
        assert self._process is not None
        deadline = time.monotonic() + 60
        # Its own word for it: another process could answer on the port.
        while f'msg="listening on {self.host}' not in (log := self.server_log()[start:]):
            if self._process.poll() is not None or time.monotonic() > deadline:
                log = self.server_log()[start:]
                raise (PortTaken if "address already in use" in log else RuntimeError)(log[-2000:])
            time.sleep(0.01)

    def kill(self) -> None:
        """Ends it without a chance to clean up; connections are refused until `start`."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        self.kill()
        self.start()

    def stop(self) -> None:
        """Ends it, gently if it can."""
        if self._process is not None:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(10)
            self.kill()

    def server_log(self) -> str:
        """All that it said besides the access log: errors with their causes."""
        return (self._base / "server.log").read_text(errors="replace")

    def log(self) -> list[str]:
        """The lines of the access log since `clear_log`, in the combined format.

        A request is logged when it is over, which for a long or cut body is after the client has seen its end. So this
        waits until the log has been still for 50 ms.
        """
        path = self._base / "access.log"
        size = -1
        while size != (size := path.stat().st_size):
            time.sleep(0.05)
        return path.read_bytes()[self._cleared : size].decode(errors="replace").splitlines()

    def clear_log(self) -> None:
        self.log()
        self._cleared = (self._base / "access.log").stat().st_size

    def requests(self, method: str = ".*", path: str = "") -> list[LoggedRequest]:
        """The log parsed; of it, what has this method and this path (regular expressions: the whole, a part)."""
        found = self._with_received([_parsed(line) for line in self.log()])
        return [one for one in found if re.fullmatch(method, one.method) and re.search(path, one.path)]

    def blobs(self) -> dict[str, int]:
        """The sizes of what is stored, by digest; manifests are blobs here as well."""
        found = self.data.glob("docker/registry/v2/blobs/*/*/*/data")
        return {f"{path.parts[-4]}:{path.parts[-2]}": path.stat().st_size for path in found}

    def blob_bytes(self) -> int:
        return sum(self.blobs().values())

    def _with_received(self, requests: list[LoggedRequest]) -> list[LoggedRequest]:
        """The state in an upload's address says how much came before; what came with a request, the next one says."""
        blobs, reached = self.blobs(), dict[str, int]()
        for path in self.data.glob("docker/registry/v2/repositories/**/_uploads/*/data"):
            reached[path.parent.name] = path.stat().st_size
        found = []
        for one in reversed(requests):
            received = one.received
            upload, offset, digest = _address(one.path)
            if one.method == "PUT" and one.status == 201:
                received = blobs[digest] - offset if digest in blobs else None
            elif one.method == "PATCH" and one.status == 202 and upload in reached:
                received = reached[upload] - offset
            if upload:
                reached[upload] = offset
            found.append(replace(one, received=received))
        return found[::-1]


class PortTaken(Exception):
    """Another process was quicker."""


def _free_port() -> int:
    """Below the range from which systems choose ports for clients, so that it is still free for a second start."""
    while True:
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", random.SystemRandom().randrange(16384, 32768)))
            port: int = probe.getsockname()[1]
            return port


LINE = re.compile(r'\S+ - \S+ \[[^\]]+\] "(\S+) (.*) HTTP/[\d.]+" (\d+) (\d+) "(?:[^"\\]|\\.)*" "((?:[^"\\]|\\.)*)"')


def _parsed(line: str) -> LoggedRequest:
    match = LINE.fullmatch(line)
    assert match is not None, f"not in the combined format: {line}"
    method, path, status, sent, agent = match.groups()
    # For HEAD the log counts a body that is not sent.
    size, received = (0 if method == "HEAD" else int(sent)), (0 if method in ("GET", "HEAD", "DELETE") else None)
    return LoggedRequest(method, path, int(status), size, received, agent)


def _address(path: str) -> tuple[str, int, str]:
    """An upload and the offset that its state tells, if it is one; the digest that is put, if there is one."""
    parts = urlsplit(path)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    upload, offset = re.search(r"/blobs/uploads/([^/]+)$", parts.path), 0
    if upload and "_state" in query:
        state = base64.urlsafe_b64decode(query["_state"])[32:]  # behind its HMAC-SHA256
        offset = json.loads(state)["Offset"]
    put = re.search(r"/manifests/(\w+:\w+)$", parts.path)
    return upload[1] if upload else "", offset, put[1] if put else query.get("digest", "")


@contextmanager
def real_registry(
    directory: Path,
    *,
    tls: tuple[str, str] | None = None,
    client_ca: str | None = None,
    auth: Literal["basic", "token"] | None = None,
    delete: bool = True,
) -> Iterator[RealRegistry]:
    """A registry with nothing in it; several can have the same directory.

    `tls`: its certificate and key (`registry.certificates` makes them), also the token server's; `client_ca`: it then
    demands a certificate of this authority from clients. `auth`: it knows USER and PASSWORD alone; with "token",
    `tokens` of the registry is what gives tokens, and can be told how.
    """
    base = Path(mkdtemp(prefix="registry-", dir=directory))
    settings: dict[str, Any] = {
        "version": 0.1,
        "log": {"level": "info", "accesslog": {"disabled": False}},
        "storage": {
            "filesystem": {"rootdirectory": str(base / "data")},
            "delete": {"enabled": delete},
            "maintenance": {"uploadpurging": {"enabled": False}},
        },
        # The secret signs the state of uploads: with one of our own, uploads outlive a restart.
        "http": {"secret": "real_registry"},
    }
    if tls is not None:
        settings["http"]["tls"] = {"certificate": tls[0], "key": tls[1]}
    if client_ca is not None:
        assert tls is not None, "client_ca is for tls"
        settings["http"]["tls"]["clientcas"] = [client_ca]
    if auth == "basic":
        (base / "htpasswd").write_text(HTPASSWD)
        settings["auth"] = {"htpasswd": {"realm": "real_registry", "path": str(base / "htpasswd")}}
    if auth != "token":
        with _running(base, settings, None) as registry:
            yield registry
        return
    with TokenServer(base, tls=tls) as tokens:
        settings["auth"] = {"token": tokens.settings()}
        with _running(base, settings, tokens) as registry:
            yield registry


@contextmanager
def _running(base: Path, settings: dict[str, Any], tokens: TokenServer | None) -> Iterator[RealRegistry]:
    registry = RealRegistry(base, settings, tokens)
    try:
        yield registry
    finally:
        registry.stop()


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """One request to the token server. `user`: who was named, rightly or not; "" is nobody."""

    method: str
    path: str
    user: str
    scopes: tuple[str, ...]
    status: int


class TokenServer:
    """Gives tokens (RS256, with x5c) to USER for all that is asked, and to nobody else.

    The attributes can be set at any time.
    """

    def __init__(self, base: Path, *, tls: tuple[str, str] | None = None) -> None:
        self.anonymous_pull = False
        """Who names no user gets a token to pull; and is refused otherwise."""
        self.expires_in: int | None = 300
        """What the answer says; None: nothing, which means 60 s ..."""
        self.valid_for: float | None = None
        """... and for how long docker-registry takes the token, if not as long: so many seconds and up to one more. A
        negative number makes a token that has ended already."""
        self.requests: list[TokenRequest] = []
        self.issued = 0
        """The number of tokens given."""
        self.lock = threading.Lock()
        self._key, self._certificate = base / "token.key", base / "token.pem"
        own = ["-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=tokens"]
        command = ["openssl", "req", *own, "-keyout", str(self._key), "-out", str(self._certificate)]
        subprocess.run(command, check=True, capture_output=True)
        self._der = "".join(self._certificate.read_text().splitlines()[1:-1])
        self._listener = _TokenListener(self, tls)
        self._thread = threading.Thread(target=self._listener.serve_forever, args=(0.02,))
        self.host = f"127.0.0.1:{self._listener.server_address[1]}"
        self.realm = f"{'https' if tls else 'http'}://{self.host}/token"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._listener.shutdown()
        self._thread.join()
        self._listener.server_close()  # joins the threads of its requests

    def settings(self) -> dict[str, str]:
        """For docker-registry."""
        names = {"realm": self.realm, "service": "real_registry", "issuer": "tokens"}
        return {**names, "rootcertbundle": str(self._certificate)}

    def clear(self) -> None:
        """Forgets what was asked and given; the tokens stay good."""
        with self.lock:
            self.requests.clear()
            self.issued = 0

    def answer(self, method: str, path: str, authorization: str) -> tuple[int, dict[str, Any]]:
        """A status and a document."""
        query = parse_qs(urlsplit(path).query)
        scopes = tuple(" ".join(query.get("scope", [])).split())
        user, password = _credentials(authorization)
        known = (user, password) == (USER, PASSWORD)
        if method != "GET" or urlsplit(path).path != "/token":
            status = 404
        elif known or (self.anonymous_pull and not authorization):
            status = 200
        else:
            status = 401
        document: dict[str, Any] = {"details": "no token for this"}
        if status == 200:
            access = [_access(scope) for scope in scopes]
            if not known:
                access = [{**one, "actions": ["pull"]} for one in access if "pull" in one["actions"]]
            token = self.token(user, access)
            document = {"token": token, "access_token": token}
            document |= {} if self.expires_in is None else {"expires_in": self.expires_in}
        with self.lock:
            self.issued += status == 200
            self.requests.append(TokenRequest(method, path, user, scopes, status))
        return status, document

    def token(self, user: str, access: list[dict[str, Any]]) -> str:
        """A signed token for this, which may also be what nobody would be given."""
        now = time.time()
        lifetime = (60 if self.expires_in is None else self.expires_in) if self.valid_for is None else self.valid_for
        header = {"typ": "JWT", "alg": "RS256", "x5c": [self._der]}
        claims = {"iss": "tokens", "aud": "real_registry", "sub": user, "jti": os.urandom(8).hex(), "access": access}
        times = {"iat": int(now), "nbf": int(now) - LEEWAY, "exp": math.ceil(now + lifetime) - LEEWAY}
        signed = b".".join(_base64url(json.dumps(part).encode()) for part in (header, claims | times))
        command = ["openssl", "dgst", "-sha256", "-sign", str(self._key)]
        done = subprocess.run(command, input=signed, capture_output=True, check=True)
        return b".".join((signed, _base64url(done.stdout))).decode()


def _base64url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _credentials(authorization: str) -> tuple[str, str]:
    kind, _, value = authorization.partition(" ")
    if kind.lower() != "basic":
        return "", ""
    try:
        user, _, password = base64.b64decode(value, validate=True).decode().partition(":")
    except ValueError:
        return "", ""
    return user, password


def _access(scope: str) -> dict[str, Any]:
    kind, _, rest = scope.partition(":")
    name, _, actions = rest.rpartition(":")
    return {"type": kind, "name": name, "actions": actions.split(",")}


class _TokenHandler(BaseHTTPRequestHandler):
    """One request for one connection (HTTP/1.0), so that no thread waits for a client that is idle."""

    timeout = 5
    server: _TokenListener

    def _serve(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        status, document = self.server.tokens.answer(self.command, self.path, self.headers.get("Authorization", ""))
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if status == 401:
            self.send_header("WWW-Authenticate", 'Basic realm="tokens"')
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_HEAD = _serve

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing: the record does."""


class _TokenListener(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 128

    def __init__(self, tokens: TokenServer, tls: tuple[str, str] | None) -> None:
        self.tokens = tokens
        super().__init__(("127.0.0.1", 0), _TokenHandler)
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            # The handshake is left to the thread of the connection: a silent client must not stop all others.
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def server_bind(self) -> None:
        """Without the look-up of our own name that HTTPServer makes."""
        socketserver.TCPServer.server_bind(self)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing of clients that left or that do not trust us; the rest is for the terminal."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class Proxy:
    """Forwards TCP connections to `host` while in its context, and can be slow or cut them.

    `latency`, of a round trip in seconds, can be set at any time: all bytes come half of it later, and the first ones
    of a client once more the whole of it, for the connection that it would have waited for. Throughput stays what it
    is, up to 16 MiB under way; there is no slow start. `rate`: so many bytes a second from the server come on each
    connection, at most.
    """

    def __init__(self, host: str, *, latency: float = 0, rate: float = math.inf) -> None:
        self.latency = latency
        self.rate = rate
        self.connections = 0
        """How many were made so far."""
        self.from_client = self.from_server = 0
        """Bytes that were forwarded, with the headers of HTTP, and those of TLS."""
        self.cuts = 0
        """How many connections were cut by `cut_after`."""
        self.lock = threading.Lock()
        name, _, port = host.rpartition(":")
        self._server = (name, int(port))
        self._rule: _Rule | None = None
        self._ended = threading.Event()
        self._open: set[_Connection] = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._listener.settimeout(0.05)
        self._thread = threading.Thread(target=self._accept)
        self.host = f"127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()
        self._listener.close()
        self.drop()

    def cut_after(self, size: int, *, times: int = 1, side: Literal["server", "client"] = "server") -> None:
        """Cuts the next `times` connections that bring as much: more than `size` bytes from that side.

        What was open already is counted from now on. Exactly `size` bytes reach the other side.
        """
        with self.lock:
            self._rule = _Rule(size, times, side)
            for connection in self._open:
                connection.counted = {"server": 0, "client": 0}

    def drop(self) -> None:
        """Cuts all connections now, and returns when they are gone."""
        with self.lock:
            connections = list(self._open)
        for connection in connections:
            connection.cut()
        for connection in connections:
            connection.join()

    def clear(self) -> None:
        """Counts from 0 again."""
        with self.lock:
            self.connections = self.from_client = self.from_server = self.cuts = 0

    def _accept(self) -> None:
        while not self._ended.is_set():
            try:
                client = self._listener.accept()[0]
            except TimeoutError:
                continue
            accepted = time.monotonic()
            try:
                server = socket.create_connection(self._server, 10)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            connection = _Connection(self, client, server, accepted)
            with self.lock:
                self.connections += 1
                self._open.add(connection)
                connection.start()  # before the lock is given up: `drop` joins what is open

    def passed(self, connection: _Connection, side: Literal["server", "client"], size: int) -> int | None:
        """Counts bytes about to be forwarded; how many of them may be before the cut, if there is to be one."""
        with self.lock:
            connection.counted[side] += size
            over, rule = 0, self._rule
            if rule is not None and rule.side == side and connection.counted[side] > rule.size:
                over = connection.counted[side] - rule.size
                rule.times -= 1
                self.cuts += 1
                self._rule = rule if rule.times else None
            if side == "server":
                self.from_server += size - over
            else:
                self.from_client += size - over
        return size - over if over else None

    def gone(self, connection: _Connection) -> None:
        with self.lock:
            self._open.discard(connection)


@dataclass(slots=True)
class _Rule:
    size: int
    times: int
    side: str


class _Connection:
    """A client's connection and the server's, and a thread for each direction. The last one closes both."""

    MOST = 256
    """Pieces that may be under way in one direction."""

    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket, accepted: float) -> None:
        self.counted = {"server": 0, "client": 0}
        self._proxy, self._sockets, self._accepted, self._left = proxy, (client, server), accepted, 2
        self._free = 0.0  # when the last byte from the server will have been passed on at the rate of the proxy
        for one in self._sockets:
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        up = threading.Thread(target=self._run, args=("client", client, server))
        down = threading.Thread(target=self._run, args=("server", server, client))
        self._threads = (up, down)

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def cut(self) -> None:
        """What was forwarded still arrives, and then the end."""
        for one in self._sockets:
            with suppress(OSError):  # it has ended already
                one.shutdown(socket.SHUT_RDWR)

    def _run(self, side: Literal["server", "client"], source: socket.socket, target: socket.socket) -> None:
        try:
            self._forward(side, source, target)
        except OSError:  # one of them is gone, so the other one goes too
            self.cut()
        with self._proxy.lock:
            self._left -= 1
            last = not self._left
        if last:
            for one in self._sockets:
                one.close()
            self._proxy.gone(self)

    def _forward(self, side: Literal["server", "client"], source: socket.socket, target: socket.socket) -> None:
        """Each piece is sent on when its time has come, while others are read meanwhile; nothing is the end."""
        under_way: deque[tuple[float, bytes]] = deque()
        ended = False
        while not ended or under_way:
            wait = max(0.0, under_way[0][0] - time.monotonic()) if under_way else None
            if ended or len(under_way) >= self.MOST:
                time.sleep(wait or 0)
            elif wait is None or select.select([source], [], [], wait)[0]:
                piece = source.recv(PIECE)
                ended = not piece
                under_way.append((self._due(side, len(piece)), piece))
            while under_way and under_way[0][0] <= time.monotonic():
                piece = under_way.popleft()[1]
                if not piece:
                    target.shutdown(socket.SHUT_WR)
                    continue
                allowed = self._proxy.passed(self, side, len(piece))
                target.sendall(piece if allowed is None else piece[:allowed])
                if allowed is not None:
                    self.cut()
                    return

    def _due(self, side: str, size: int) -> float:
        latency, now = self._proxy.latency, time.monotonic()
        if side == "client":
            return max(now, self._accepted + latency) + latency / 2
        self._free = max(now, self._free) + size / self._proxy.rate
        return self._free + latency / 2
