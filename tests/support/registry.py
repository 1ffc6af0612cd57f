"""A container registry that does as a test tells it: the OCI distribution API v1.1 in memory, with faults and a record.

    with ScriptedRegistry(auth=TokenAuth("user", "secret")) as registry:
        digest = registry.put_blob("app", b"layer")
        registry.faults.append(Fault("GET", "/blobs/", cut_response=3, times=1))
        ...
        assert 2 == len(registry.sent("GET", "/blobs/"))

It stands on the standard library alone, so that it shares no mistake with what it tests. Where the specification leaves a
choice it answers as docker-registry 2.8 does: `Range: 0-0` for an empty upload, 400 for a manifest whose blobs are
unknown, `delete` as the scope of DELETE, 404 for a manifest of a type that Accept does not name.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
import secrets
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self
from urllib.parse import parse_qs, quote, unquote, urlsplit

PIECE = 1 << 16
CODES = {400: "UNSUPPORTED", 401: "UNAUTHORIZED", 403: "DENIED", 413: "SIZE_INVALID", 429: "TOOMANYREQUESTS"}
INDEX = "application/vnd.oci.image.index.v1+json"
Access = tuple[str, str, str]
"""What a token may do: a type, a name and an action, as ("repository", "app", "pull")."""


def digest_of(data: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came, in the order of arrival. The names of `headers` are in lower case."""

    method: str
    path: str
    """With its query."""
    headers: Mapping[str, str]
    body_size: int = 0
    """Bytes of the body that were read."""
    status: int = 0
    """What was answered; 0 while it is not, and for ever where the connection was cut before."""

    @property
    def query(self) -> str:
        return urlsplit(self.path).query

    def asked(self, name: str) -> str:
        """The first value of a parameter of the query, or nothing."""
        return parse_qs(self.query, keep_blank_values=True).get(name, [""])[0]


@dataclass(slots=True, eq=False, kw_only=True)
class Reply:
    """What is to be answered. `length` is the Content-Length where that is a lie."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    blob: bool = False
    length: int | None = None
    cut: int | None = None
    hang: float = 0
    chunked: bool = False

    def change(self, headers: Mapping[str, str], drop: Iterable[str] = ()) -> None:
        gone = {name.lower() for name in (*headers, *drop)}
        self.headers = {name: value for name, value in self.headers.items() if name.lower() not in gone} | dict(headers)


def _error(status: int, code: str, message: str = "", headers: Mapping[str, str] | None = None) -> Reply:
    body = json.dumps({"errors": [{"code": code, "message": message or code.lower()}]}).encode()
    return Reply(status=status, headers={"Content-Type": "application/json", **(headers or {})}, body=body)


def _json(value: object, headers: Mapping[str, str] | None = None) -> Reply:
    body = json.dumps(value).encode()
    return Reply(status=200, headers={"Content-Type": "application/json", **(headers or {})}, body=body)


def _ranged(data: bytes, asked: str, headers: Mapping[str, str], shift: int = 0) -> Reply:
    """The bytes, or the one range asked for; several ranges are answered with the whole, as RFC 9110 allows."""
    headers = {"Content-Type": "application/octet-stream", "Accept-Ranges": "bytes", **headers}
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", asked.strip())
    if match is None or match[0] == "bytes=-":
        return Reply(status=200, headers=headers, body=data, blob=True)
    start = int(match[1]) if match[1] else max(0, len(data) - int(match[2]))
    end = min(int(match[2]), len(data) - 1) if match[1] and match[2] else len(data) - 1
    if start > end:
        return _error(416, "RANGE_INVALID", headers={"Content-Range": f"bytes */{len(data)}"})
    start = max(0, start + shift)
    headers["Content-Range"] = f"bytes {start}-{end}/{len(data)}"
    return Reply(status=206, headers=headers, body=data[start : end + 1], blob=True)


@dataclass(slots=True, eq=False)
class Fault:
    """What goes wrong, and for which requests. All rules that match a request act, in the order of the list.

    A request refused for want of authority is not counted, and meets no fault, unless that is `early`.
    """

    method: str = ".*"
    """A regular expression for the whole method ..."""
    path: str = ""
    """... and one searched for in the path with its query."""
    _: KW_ONLY
    times: int | None = None
    """For so many matching requests (None: for ever) ..."""
    after: int = 0
    """... once so many have passed unharmed."""
    early: bool = False
    """Before the request's authority is looked at."""
    hook: Callable[[Request], None] | None = None
    """Is called first, as to move a tag or to revoke tokens."""

    # In place of the answer; the body of the request is read to its end.
    status: int | None = None
    """Answer this, with `headers` and `body` (an error document if None)."""
    body: bytes | None = None
    redirect: str = ""
    """Answer 307, or `status`, and this Location; "{path}" in it is the path asked for."""
    max_body: int | None = None
    """Answer 413 where the Content-Length is above this."""

    # Within an answer.
    ignore_range: bool = False
    range_shift: int = 0
    """A Range request is answered from so many bytes after its start; Content-Range says so."""
    no_mount: bool = False
    """A mount is answered 202."""
    location: str = ""
    """The Location of an upload, of "{base}" and "{path}": "{path}" is relative, "{base}{path}?_state=abc%3D&x=" has a
    query, which must come back byte for byte in all that follows, "http://127.0.0.1:9{path}" is another host."""

    # To the answer that was made. The ones about its body leave all but 200 and 206 alone.
    headers: Mapping[str, str] = field(default_factory=dict)
    """Set."""
    drop: tuple[str, ...] = ()
    """Headers taken away."""
    flip: int | None = None
    """One bit of the byte at this offset of the body (-1: the last)."""
    resize: int = 0
    """The body is so many bytes longer, or shorter if negative, and Content-Length agrees ..."""
    lie: bool = False
    """... or it stays that of the whole, and the connection ends after the body."""
    encoding: str = ""
    """Content-Encoding: gzip, as "label" alone or really ("gzip")."""
    chunked: bool = False
    """No Content-Length but a chunked body."""

    # To the connection.
    cut_request: int | None = None
    """It ends once so many bytes of the request's body are read, if there are as many. They count as received."""
    cut_response: int | None = None
    """It ends after so many bytes of the body of the answer, with the true Content-Length; -1: instead of the answer,
    when the request was carried out."""
    hang: float = 0
    """Seconds of silence: before the answer, or before the cut where there is one."""
    seen: int = 0
    """How many requests matched so far."""

    def meets(self, request: Request) -> bool:
        """Whether it acts on this request, which is counted."""
        if not (re.fullmatch(self.method, request.method) and re.search(self.path, request.path)):
            return False
        self.seen += 1
        return self.after < self.seen <= self.after + (sys.maxsize if self.times is None else self.times)

    def instead(self, request: Request) -> Reply | None:
        if self.max_body is not None and int(request.headers.get("content-length", 0)) > self.max_body:
            return _error(413, CODES[413])
        if self.redirect:
            return Reply(status=self.status or 307, headers={"Location": self.redirect.replace("{path}", request.path)})
        if self.status is None:
            return None
        reply = _error(self.status, CODES.get(self.status, "UNKNOWN"), "scripted")
        return reply if self.body is None else Reply(status=self.status, body=self.body)

    def spoil(self, reply: Reply) -> None:
        reply.hang += self.hang
        reply.cut = reply.cut if self.cut_response is None else self.cut_response
        if reply.status in (200, 206):
            self._spoil_body(reply)
        reply.change(self.headers, self.drop)

    def _spoil_body(self, reply: Reply) -> None:
        if self.flip is not None and reply.body:
            at = self.flip % len(reply.body)
            reply.body = reply.body[:at] + bytes([reply.body[at] ^ 1]) + reply.body[at + 1 :]
        if self.lie:
            reply.length = len(reply.body)
        reply.body = reply.body + b"+" * self.resize if self.resize >= 0 else reply.body[: self.resize]
        if self.encoding:
            reply.change({"Content-Encoding": "gzip"})
            reply.body = gzip.compress(reply.body) if self.encoding == "gzip" else reply.body
        reply.chunked = reply.chunked or self.chunked


class _Cut(Exception):
    """The connection ended in the middle of a request, by a fault or by the client."""


class _Body:
    """The body of a request, read as it comes."""

    def __init__(self, stream: BinaryIO, headers: Mapping[str, str]) -> None:
        self.size = 0
        self.limit: int | None = None
        """Where a fault cuts."""
        chunked = headers.get("transfer-encoding", "").lower() == "chunked"
        length = int(headers.get("content-length", 0))
        self._source = self._chunked(stream) if chunked else self._exactly(stream, length)

    def pieces(self) -> Iterator[bytes]:
        if self.limit == 0:
            raise _Cut
        for piece in self._source:
            kept = piece if self.limit is None else piece[: self.limit - self.size]
            self.size += len(kept)
            yield kept
            if self.size == self.limit:
                raise _Cut

    def read(self) -> bytes:
        return b"".join(self.pieces())

    @staticmethod
    def _exactly(stream: BinaryIO, left: int) -> Iterator[bytes]:
        while left:
            # read1, for a read of more would lose what came before a connection was reset.
            piece: bytes = stream.read1(min(left, PIECE))  # type: ignore[attr-defined]
            if not piece:
                raise _Cut
            left -= len(piece)
            yield piece

    @classmethod
    def _chunked(cls, stream: BinaryIO) -> Iterator[bytes]:
        while True:
            line = stream.readline()
            if not line:
                raise _Cut
            size = int(line.split(b";")[0], 16)
            yield from cls._exactly(stream, size)
            stream.readline()
            if not size:
                return


class _Handler(BaseHTTPRequestHandler):
    """Between the connection and its site: one request after the other, until one side ends it."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Listener

    def _serve(self) -> None:
        site = self.server.site
        headers = {name.lower(): ", ".join(self.headers.get_all(name, [])) for name in self.headers}
        request, body = Request(self.command, self.path, headers), _Body(self.rfile, headers)  # type: ignore[arg-type]
        place = site.arrived(request)
        reply = None
        try:
            reply = site.answer(request, body)
            body.read()
            site.pause(site.latency + (reply.hang if reply.cut is None else 0))
        except (_Cut, OSError):
            reply = None
        finally:
            # Before the answer is sent, so that who has the answer finds it in the record.
            answered = reply is not None and reply.cut != -1
            site.answered(place, body.size, reply.status if reply and answered else 0)
        self.close_connection = reply is None or self.close_connection
        if reply is not None:
            self._send(reply)

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = _serve

    def _send(self, reply: Reply) -> None:
        site = self.server.site
        if reply.cut != -1:
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            if reply.chunked:
                self.send_header("Transfer-Encoding", "chunked")
            elif reply.status != 204:
                self.send_header("Content-Length", str(len(reply.body) if reply.length is None else reply.length))
            self.end_headers()
            if self.command != "HEAD":
                self._send_body(reply)
        if reply.cut is not None:
            site.pause(reply.hang)
        if reply.cut is not None or reply.length not in (None, len(reply.body)):
            self.close_connection = True

    def _send_body(self, reply: Reply) -> None:
        body = memoryview(reply.body)[: reply.cut]
        for start in range(0, len(body), PIECE):
            piece = body[start : start + PIECE]
            self.server.site.count(served=len(piece) if reply.blob else 0)
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), bytes(piece)) if reply.chunked else piece)
        if reply.chunked and reply.cut is None:
            self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing: the record does."""


class _Listener(ThreadingHTTPServer):
    """Knows its open connections, so that the end of a site ends them and their threads."""

    request_queue_size = 128
    block_on_close = False

    def __init__(self, site: HttpServer, context: ssl.SSLContext | None) -> None:
        self.site = site
        self._open: dict[socket.socket, threading.Thread] = {}
        super().__init__(("127.0.0.1", 0), _Handler)
        if context is not None:
            # The handshake is left to the thread of the connection: a silent client must not stop all others.
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def server_bind(self) -> None:
        """Without the look-up of our own name that HTTPServer makes."""
        socketserver.TCPServer.server_bind(self)

    def process_request(self, request: Any, client_address: Any) -> None:
        thread = threading.Thread(target=self.process_request_thread, args=(request, client_address), daemon=True)
        self._open[request] = thread
        thread.start()

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        self._open.pop(request, None)

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exception()
        if not isinstance(error, OSError):  # those are clients that left
            self.site.failures.append(error)

    def end(self) -> None:
        self.shutdown()
        self.server_close()
        for connection, thread in list(self._open.items()):
            with suppress(OSError):  # it has ended meanwhile
                connection.shutdown(socket.SHUT_RDWR)
            thread.join(10)


class HttpServer:
    """An HTTP server on 127.0.0.1 with a record and faults. Subclasses say what is answered, if no fault says otherwise.

    It listens from when it is made until the end of its context, where it raises what went wrong within itself.
    `tls`: its certificate and key; `client_ca`: it then demands a certificate of this authority from the client.
    """

    def __init__(self, *, tls: tuple[str, str] | None = None, client_ca: str | None = None, latency: float = 0) -> None:
        self.latency = latency
        self.faults: list[Fault] = []
        self.requests: list[Request] = []
        self.failures: list[BaseException | None] = []
        self.bytes_served = self.bytes_received = 0
        """Of blobs, without what surrounds them."""
        self.lock = threading.RLock()
        self._ending = threading.Event()
        context = None
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
        if context is not None and client_ca is not None:
            context.load_verify_locations(client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
        self._listener = _Listener(self, context)
        self._thread = threading.Thread(target=self._listener.serve_forever, args=(0.02,), daemon=True)
        self.host = f"127.0.0.1:{self._listener.server_address[1]}"
        self.url = f"{'https' if tls else 'http'}://{self.host}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ending.set()
        self._listener.end()
        self._thread.join()
        if error is None and self.failures:
            raise AssertionError(f"{self.failures[0]!r} within the server of the test") from self.failures[0]

    def sent(self, method: str = ".*", path: str = "") -> list[Request]:
        """The requests so far whose whole method, and some part of whose path with query, match."""
        with self.lock:
            return [one for one in self.requests if re.fullmatch(method, one.method) and re.search(path, one.path)]

    def forget(self) -> None:
        """Empties the record. Not while a request is under way."""
        with self.lock:
            self.requests.clear()
            self.bytes_served = self.bytes_received = 0

    def arrived(self, request: Request) -> int:
        with self.lock:
            self.requests.append(request)
            return len(self.requests) - 1

    def answered(self, place: int, body_size: int, status: int) -> None:
        with self.lock:
            self.requests[place] = replace(self.requests[place], body_size=body_size, status=status)

    def count(self, served: int = 0, received: int = 0) -> None:
        with self.lock:
            self.bytes_served += served
            self.bytes_received += received

    def pause(self, seconds: float) -> None:
        """Sleeps, but not beyond the end."""
        if seconds:
            self._ending.wait(seconds)

    def answer(self, request: Request, body: _Body) -> Reply:
        faults: list[Fault] = []
        reply = self._script(request, body, faults, early=True) or self.refuse(request)
        reply = reply or self._script(request, body, faults, early=False) or self.respond(request, body, faults)
        for fault in faults:
            fault.spoil(reply)
        return reply

    def _script(self, request: Request, body: _Body, met: list[Fault], *, early: bool) -> Reply | None:
        with self.lock:
            faults = [fault for fault in self.faults if fault.early == early and fault.meets(request)]
        met += faults
        reply = None
        for fault in faults:
            if fault.hook is not None:
                fault.hook(request)
            body.limit = body.limit if fault.cut_request is None else fault.cut_request
            reply = reply or fault.instead(request)
        return reply

    def refuse(self, request: Request) -> Reply | None:
        """The answer to who may not ask this."""
        return None

    def respond(self, request: Request, body: _Body, faults: list[Fault]) -> Reply:
        raise NotImplementedError


class BlobServer(HttpServer):
    """Answers everything with the same bytes, or the range of them that is asked for: where redirects lead to."""

    def __init__(self, content: bytes = b"", **site: Any) -> None:
        super().__init__(**site)
        self.content = content

    def respond(self, request: Request, body: _Body, faults: list[Fault]) -> Reply:
        return _ranged(self.content, request.headers.get("range", ""), {})


class BasicAuth:
    """Who names this user and password may do everything."""

    def __init__(self, user: str, password: str) -> None:
        self.user, self.password = user, password

    def knows(self, header: str) -> bool:
        kind, _, value = header.partition(" ")
        right = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        return kind.lower() == "basic" and value.strip() == right

    def refuse(self, request: Request, needed: list[Access], realm: str) -> Reply | None:
        if self.knows(request.headers.get("authorization", "")):
            return None
        return _error(401, CODES[401], headers={"WWW-Authenticate": 'Basic realm="scripted"'})


class TokenAuth(BasicAuth):
    """Bearer tokens for what was asked, which end after `expires_in` seconds (None: it does not say, and they do not end).

    `anonymous`: who names no user may pull. `denied`: accesses that nobody is given, as ("repository", "app", "push").
    `oauth`: there is the POST of OAuth2 as well. `key`: how the answer to GET names the token. Two registries with the
    same TokenAuth know each other's tokens: so the realm of one can be the other.
    """

    def __init__(
        self,
        user: str,
        password: str,
        *,
        expires_in: int | None = 300,
        anonymous: bool = False,
        denied: Iterable[Access] = (),
        oauth: bool = True,
        key: str = "token",
        service: str = "scripted",
    ) -> None:
        super().__init__(user, password)
        self.expires_in, self.anonymous, self.oauth, self.key, self.service = expires_in, anonymous, oauth, key, service
        self.denied = set(denied)
        self.refresh_token = f"refresh-{secrets.token_hex(8)}"
        """The one that OAuth2 takes, and that is given to who asks for an offline token."""
        self.tokens: dict[str, tuple[set[Access], float]] = {}
        """Those given out: what each may do, and until when."""

    def revoke_tokens(self) -> None:
        self.tokens.clear()

    def refuse(self, request: Request, needed: list[Access], realm: str) -> Reply | None:
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        allowed, until = self.tokens.get(token.strip(), (set(), 0.0))
        known = kind.lower() == "bearer" and time.monotonic() < until
        if known and allowed.issuperset(needed):
            return None
        challenge = f'Bearer realm="{realm}",service="{self.service}"'
        if needed:
            challenge += f',scope="{_scopes(needed)}"'
        if token:
            challenge += f',error="{"insufficient_scope" if known else "invalid_token"}"'
        return _error(401, CODES[401], headers={"WWW-Authenticate": challenge})

    def give(self, request: Request, form: str) -> Reply:
        """The answer of the realm."""
        asked = parse_qs(form if request.method == "POST" else request.query)
        first = {name: values[0] for name, values in asked.items()}
        header = request.headers.get("authorization", "")
        if request.method == "POST":
            if not self.oauth:
                return _error(405, "UNSUPPORTED")
            grant, key = first.get("grant_type"), "access_token"
            by_password = (grant, first.get("username"), first.get("password")) == ("password", self.user, self.password)
            by_refresh = (grant, first.get("refresh_token")) == ("refresh_token", self.refresh_token)
            known, offline = by_password or by_refresh, by_refresh or first.get("access_type") == "offline"
        else:
            known, offline, key = self.knows(header), first.get("offline_token") == "true", self.key
        if not known and (header or request.method == "POST" or not self.anonymous):
            return _error(401, CODES[401], "wrong user or password", {"WWW-Authenticate": 'Basic realm="tokens"'})
        wanted = {access for scope in asked.get("scope", []) for access in _accesses(scope)}
        allowed = {access for access in wanted - self.denied if known or access[2] == "pull"}
        token = f"token-{secrets.token_hex(8)}"
        lifetime = {} if self.expires_in is None else {"expires_in": self.expires_in}
        self.tokens[token] = allowed, time.monotonic() + (1e9 if self.expires_in is None else self.expires_in)
        refresh = {"refresh_token": self.refresh_token} if known and offline else {}
        return _json({key: token, "scope": _scopes(allowed), **lifetime, **refresh})


def _accesses(scopes: str) -> Iterator[Access]:
    """What "repository:a:pull,push repository:b:pull" names."""
    for scope in scopes.split():
        kind, _, rest = scope.partition(":")
        name, _, actions = rest.rpartition(":")
        yield from ((kind, name, action) for action in actions.split(","))


def _scopes(accesses: Iterable[Access]) -> str:
    named: dict[tuple[str, str], list[str]] = {}
    for kind, name, action in sorted(accesses):
        named.setdefault((kind, name), []).append(action)
    return " ".join(f"{kind}:{name}:{','.join(actions)}" for (kind, name), actions in named.items())


@dataclass(slots=True, eq=False)
class Upload:
    """One session. `location` is the template of its Location, `query` what has to come back with each request."""

    repo: str
    location: str
    query: str = ""
    data: bytearray = field(default_factory=bytearray)
    lock: threading.Lock = field(default_factory=threading.Lock)
    """Held while a body is read, so that who asks for the status learns of all that was sent."""


@dataclass(slots=True, eq=False)
class Store:
    """What a registry holds; several can stand on one."""

    blobs: dict[tuple[str, str], bytes] = field(default_factory=dict)
    manifests: dict[tuple[str, str], tuple[str, bytes]] = field(default_factory=dict)
    tags: dict[tuple[str, str], str] = field(default_factory=dict)
    uploads: dict[str, Upload] = field(default_factory=dict)


NAME, DIGEST = r"/v2/(?P<name>[a-z0-9._/-]+)", r"(?P<ref>[a-z0-9]+:[0-9a-f]+)"
ROUTES = [(what, re.compile(path)) for what, path in [
    ("base", r"/v2/?"),
    ("catalog", r"/v2/_catalog"),
    ("tags", rf"{NAME}/tags/list"),
    ("manifest", rf"{NAME}/manifests/(?P<ref>{DIGEST.replace('?P<ref>', '?:')}|\w[\w.-]{{0,127}})"),
    ("uploads", rf"{NAME}/blobs/uploads/?"),
    ("upload", rf"{NAME}/blobs/uploads/(?P<ref>[\w-]+)"),
    ("blob", rf"{NAME}/blobs/{DIGEST}"),
    ("referrers", rf"{NAME}/referrers/{DIGEST}"),
]]  # fmt: skip


def _route(path: str) -> tuple[str, str, str]:
    """What a path is about, its repository and its last word."""
    for what, pattern in ROUTES:
        if match := pattern.fullmatch(unquote(urlsplit(path).path)):
            groups = match.groupdict()
            return what, groups.get("name") or "", groups.get("ref") or ""
    return "", "", ""


class ScriptedRegistry(HttpServer):
    """The registry. What it holds may be read and changed at any time.

    `realm`: where tokens come from, if not from its own /token. `referrers`: whether there is that API. `check`: a
    manifest is refused while it names blobs or manifests that are not there. `keep_uploads`: a session survives a
    connection that breaks within a PATCH; docker-registry 2.8.2 drops it (False). `delete_tags`: by tag, not by digest
    alone. `page`, `referrers_page`: the most that one answer lists. `tags_at_once`: how many tags of the query it gives a
    manifest that is put by its digest, 0 if it does not know of them.
    """

    def __init__(
        self,
        *,
        auth: BasicAuth | None = None,
        realm: str = "",
        referrers: bool = True,
        check: bool = True,
        keep_uploads: bool = True,
        delete_tags: bool = True,
        page: int | None = None,
        referrers_page: int | None = None,
        tags_at_once: int = 0,
        store: Store | None = None,
        **site: Any,
    ) -> None:
        super().__init__(**site)
        self.auth = auth
        self.realm = realm or f"{self.url}/token"
        self.referrers, self.check, self.keep_uploads, self.delete_tags = referrers, check, keep_uploads, delete_tags
        self.page, self.referrers_page, self.tags_at_once = page, referrers_page, tags_at_once
        self.store = store or Store()
        self.blobs, self.manifests, self.tags = self.store.blobs, self.store.manifests, self.store.tags
        self.uploads = self.store.uploads

    def put_blob(self, repo: str, data: bytes) -> str:
        self.blobs[repo, digest_of(data)] = data
        return digest_of(data)

    def put_manifest(self, repo: str, media_type: str, data: bytes, tag: str | None = None) -> str:
        """Without a look at what it names."""
        self.manifests[repo, digest_of(data)] = media_type, data
        if tag is not None:
            self.tags[repo, tag] = digest_of(data)
        return digest_of(data)

    def revoke_tokens(self) -> None:
        """All that were given out are worth nothing from now on."""
        assert isinstance(self.auth, TokenAuth)
        self.auth.revoke_tokens()

    def refuse(self, request: Request) -> Reply | None:
        if self.auth is None or request.path.partition("?")[0] == "/token":
            return None
        what, name, _ = _route(request.path)
        actions = {"GET": ["pull"], "HEAD": ["pull"], "DELETE": ["delete"]}.get(request.method, ["pull", "push"])
        needed = [("repository", name, action) for action in actions if name]
        if what == "catalog":
            needed = [("registry", "catalog", "*")]
        if what == "uploads" and request.asked("from"):
            needed.append(("repository", request.asked("from"), "pull"))
        return self.auth.refuse(request, needed, self.realm)

    def respond(self, request: Request, body: _Body, faults: list[Fault]) -> Reply:
        if request.path.partition("?")[0] == "/token" and isinstance(self.auth, TokenAuth):
            return self.auth.give(request, body.read().decode())
        what, name, ref = _route(request.path)
        method = "get" if request.method == "HEAD" else request.method.lower()
        handler = getattr(self, f"_{method}_{what}", None)
        if not what or handler is None:
            return _error(405 if what else 404, "UNSUPPORTED" if what else "NAME_INVALID")
        reply: Reply = handler(_Call(request, body, faults, name, ref))
        reply.headers.setdefault("Docker-Distribution-API-Version", "registry/2.0")
        return reply

    def _get_base(self, call: _Call) -> Reply:
        return _json({})

    # Lists.

    def _get_catalog(self, call: _Call) -> Reply:
        names, headers = self._listed(call, self._repositories(), self.page)
        return _json({"repositories": names}, headers)

    def _get_tags(self, call: _Call) -> Reply:
        if call.name not in self._repositories():
            return _error(404, "NAME_UNKNOWN")
        names, headers = self._listed(call, {tag for repo, tag in list(self.tags) if repo == call.name}, self.page)
        return _json({"name": call.name, "tags": names}, headers)

    def _get_referrers(self, call: _Call) -> Reply:
        if not self.referrers:
            return _error(404, "NOT_FOUND")
        found, wanted = {}, call.request.asked("artifactType")
        for (repo, digest), (media_type, data) in list(self.manifests.items()):
            fields = json.loads(data)
            if repo != call.name or (fields.get("subject") or {}).get("digest") != call.ref:
                continue
            artifact = fields.get("artifactType") or (fields.get("config") or {}).get("mediaType")
            one = {"mediaType": media_type, "digest": digest, "size": len(data), "artifactType": artifact}
            if wanted in ("", artifact):
                found[digest] = one | ({"annotations": fields["annotations"]} if "annotations" in fields else {})
        digests, headers = self._listed(call, set(found), self.referrers_page)
        applied = {"OCI-Filters-Applied": "artifactType"} if wanted else {}
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [found[digest] for digest in digests]}
        return _json(index, {**headers, **applied, "Content-Type": INDEX})

    def _repositories(self) -> set[str]:
        return {repo for repo, _ in [*list(self.blobs), *list(self.manifests)]}

    def _listed(self, call: _Call, names: set[str], most: int | None) -> tuple[list[str], dict[str, str]]:
        """The page that `n` and `last` ask for, and its Link where more follows."""
        limits = [int(call.request.asked("n") or sys.maxsize), sys.maxsize if most is None else most]
        rest = sorted(name for name in names if name > call.request.asked("last"))
        shown = rest[: min(limits)]
        if not shown or len(shown) == len(rest):
            return shown, {}
        artifact = call.request.asked("artifactType")
        path = f"{urlsplit(call.request.path).path}?n={len(shown)}&last={quote(shown[-1], safe='')}"
        path += f"&artifactType={quote(artifact, safe='')}" if artifact else ""
        return shown, {"Link": f'<{path}>; rel="next"'}

    # Manifests.

    def _get_manifest(self, call: _Call) -> Reply:
        digest = call.ref if ":" in call.ref else self.tags.get((call.name, call.ref), "")
        media_type, data = self.manifests.get((call.name, digest), ("", b""))
        accepted = re.split(r"[;,\s]+", call.request.headers.get("accept", "*/*"))
        if not media_type or not {media_type, "*/*"} & set(accepted):
            return _error(404, "MANIFEST_UNKNOWN", f"it is {media_type}" if media_type else f"{call.ref} is unknown")
        return Reply(status=200, headers={"Content-Type": media_type, "Docker-Content-Digest": digest}, body=data)

    def _put_manifest(self, call: _Call) -> Reply:
        data, media_type = call.body.read(), call.request.headers.get("content-type", "")
        digest = digest_of(data, call.ref.partition(":")[0] if ":" in call.ref else "sha256")
        try:
            fields = json.loads(data)
        except ValueError:
            return _error(400, "MANIFEST_INVALID", "no JSON")
        if not isinstance(fields, dict) or not media_type or fields.get("mediaType", media_type) != media_type:
            return _error(400, "MANIFEST_INVALID", f"Content-Type is {media_type!r}")
        if ":" in call.ref and digest != call.ref:
            return _error(400, "DIGEST_INVALID", f"it is {digest}")
        blobs = [one for one in (fields.get("config"), *fields.get("layers", [])) if one and not one.get("urls")]
        with self.lock:
            missing = [one["digest"] for one in blobs if (call.name, one["digest"]) not in self.blobs]
            children = [one["digest"] for one in fields.get("manifests", [])]
            held = {digest for name, digest in [*self.manifests, *self.blobs] if name == call.name}  # as distribution does
            missing += [child for child in children if child not in held]
            if self.check and missing:
                return _error(400, "MANIFEST_BLOB_UNKNOWN", ", ".join(missing))
            self.manifests[call.name, digest] = media_type, data
            if ":" not in call.ref:
                self.tags[call.name, call.ref] = digest
            given = parse_qs(call.request.query).get("tag", [])[: self.tags_at_once] if ":" in call.ref else []
            self.tags.update({(call.name, tag): digest for tag in given})
        headers = {"Location": f"/v2/{call.name}/manifests/{digest}", "Docker-Content-Digest": digest}
        if given:
            headers["OCI-Tag"] = ", ".join(given)
        if self.referrers and fields.get("subject"):
            headers["OCI-Subject"] = fields["subject"]["digest"]
        return Reply(status=201, headers=headers)

    def _delete_manifest(self, call: _Call) -> Reply:
        if ":" not in call.ref and not self.delete_tags:
            return _error(400, "UNSUPPORTED", "by digest only")
        with self.lock:
            if ":" not in call.ref:
                found = self.tags.pop((call.name, call.ref), None) is not None
            else:
                found = self.manifests.pop((call.name, call.ref), None) is not None
                for key in [key for key, digest in self.tags.items() if (key[0], digest) == (call.name, call.ref)]:
                    del self.tags[key]
        return Reply(status=202) if found else _error(404, "MANIFEST_UNKNOWN")

    # Blobs.

    def _get_blob(self, call: _Call) -> Reply:
        data = self.blobs.get((call.name, call.ref))
        if data is None:
            return _error(404, "BLOB_UNKNOWN")
        asked = "" if call.fault("ignore_range") else call.request.headers.get("range", "")
        return _ranged(data, asked, {"Docker-Content-Digest": call.ref}, call.fault("range_shift") or 0)

    def _delete_blob(self, call: _Call) -> Reply:
        found = self.blobs.pop((call.name, call.ref), None) is not None
        return Reply(status=202) if found else _error(404, "BLOB_UNKNOWN")

    def _post_uploads(self, call: _Call) -> Reply:
        call.body.read()
        digest = call.request.asked("mount")
        held = self.blobs.get((call.request.asked("from"), digest))
        if held is not None and not call.fault("no_mount"):
            self.blobs[call.name, digest] = held
            return _stored(call.name, digest)
        call.ref = secrets.token_hex(8)
        upload = self.uploads[call.ref] = Upload(call.name, "{base}{path}")
        return self._progress(call, upload, 202)

    def _get_upload(self, call: _Call) -> Reply:
        return self._within(call, lambda upload: self._progress(call, upload, 204))

    def _delete_upload(self, call: _Call) -> Reply:
        def end(upload: Upload) -> Reply:
            del self.uploads[call.ref]
            return Reply(status=204)

        return self._within(call, end)

    def _patch_upload(self, call: _Call) -> Reply:
        return self._within(call, lambda upload: self._receive(call, upload) or self._progress(call, upload, 202))

    def _put_upload(self, call: _Call) -> Reply:
        def finish(upload: Upload) -> Reply:
            if refused := self._receive(call, upload):
                return refused
            del self.uploads[call.ref]
            digest, data = call.request.asked("digest"), bytes(upload.data)
            algorithm = digest.partition(":")[0]
            if algorithm not in ("sha256", "sha512") or digest != digest_of(data, algorithm):
                return _error(400, "DIGEST_INVALID", f"it is {digest_of(data)}")
            self.blobs[call.name, digest] = data
            return _stored(call.name, digest)

        return self._within(call, finish)

    def _within(self, call: _Call, act: Callable[[Upload], Reply]) -> Reply:
        """What a session answers, if there is one and the query of its Location came back as it was sent."""
        upload = self.uploads.get(call.ref)
        if upload is None or upload.repo != call.name:
            return _error(404, "BLOB_UPLOAD_UNKNOWN")
        with upload.lock:
            query = call.request.query
            if call.request.method == "PUT":
                query = re.sub("(^|&)digest=[^&]*", "", query).lstrip("&")
            if query != upload.query:
                return _error(400, "BLOB_UPLOAD_INVALID", f"the query is {query!r}, not {upload.query!r}")
            return act(upload) if call.ref in self.uploads else _error(404, "BLOB_UPLOAD_UNKNOWN")

    def _receive(self, call: _Call, upload: Upload) -> Reply | None:
        """Takes the body in as it comes, so that what came before a break is kept. A reply is a refusal."""
        stated = call.request.headers.get("content-range")
        start, length = len(upload.data), call.request.headers.get("content-length")
        if stated is not None:
            match = re.fullmatch(r"(\d+)-(\d+)", stated)
            size = None if match is None else int(match[2]) - int(match[1]) + 1
            if match is None or int(match[1]) != start or length not in (None, str(size)):
                return self._progress(call, upload, 416)
        try:
            for piece in call.body.pieces():
                upload.data += piece
                self.count(received=len(piece))
        except (_Cut, OSError):
            if not self.keep_uploads:
                del self.uploads[call.ref]
            raise
        return None

    def _progress(self, call: _Call, upload: Upload, status: int) -> Reply:
        upload.location = call.fault("location") or upload.location
        location = upload.location.format(base=self.url, path=f"/v2/{call.name}/blobs/uploads/{call.ref}")
        upload.query = urlsplit(location).query
        held = f"0-{max(0, len(upload.data) - 1)}"
        return Reply(status=status, headers={"Location": location, "Range": held, "Docker-Upload-UUID": call.ref})


@dataclass(slots=True, eq=False)
class _Call:
    """A request that reached its handler."""

    request: Request
    body: _Body
    faults: list[Fault]
    name: str
    ref: str

    def fault(self, field: str) -> Any:
        """What the first fault says that says something here."""
        return next((value for fault in self.faults if (value := getattr(fault, field))), None)


def _stored(name: str, digest: str) -> Reply:
    return Reply(status=201, headers={"Location": f"/v2/{name}/blobs/{digest}", "Docker-Content-Digest": digest})


@dataclass(frozen=True, slots=True)
class Certificates:
    """Paths: of an authority, and of the certificates that it gave to 127.0.0.1 and to a client, with their keys."""

    ca: str
    server: tuple[str, str]
    client: tuple[str, str]


OPENSSL = """
[req]
distinguished_name = name
[name]
[ca]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = DNS:localhost, IP:127.0.0.1,DNS:registry.test
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
[client]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = clientAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""


def certificates(directory: Path) -> Certificates:
    """Makes them, valid for two days, with the openssl command."""
    (directory / "openssl.cnf").write_text(OPENSSL)

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=directory, check=True, capture_output=True)

    new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-config", "openssl.cnf"]
    own = ["-x509", "-days", "2", "-extensions", "ca"]
    openssl("req", *own, *new, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=tests")
    for name in ("server", "client"):
        openssl("req", *new, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        signed = ["-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2"]
        openssl("x509", "-req", *signed, "-extfile", "openssl.cnf", "-extensions", name, "-out", f"{name}.pem")
    server, client = ((str(directory / f"{name}.pem"), str(directory / f"{name}.key")) for name in ("server", "client"))
    return Certificates(str(directory / "ca.pem"), server, client)
