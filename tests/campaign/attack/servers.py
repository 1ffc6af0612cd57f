"""Registries that lie, echo, redirect, cut, drip and flood, each in a process of its own that reports what it was sent.

All listen on 127.0.0.1, and name no address outside 127.0.0.0/8.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import socket
import threading
import time
from contextlib import ExitStack, suppress
from typing import Any, NamedTuple, NoReturn

from campaign.attack.laws import spellings
from campaign.attack.places import TEXTS, text_of, value
from support.images import Image, index_of, pretty, sha256
from support.registry import BasicAuth, BlobServer, Fault, Reply, Request, ScriptedRegistry, TokenAuth, _Body

from ocitool.spec import mediatypes

STATUSES = (
    200,
    201,
    202,
    204,
    206,
    301,
    302,
    303,
    304,
    307,
    308,
    400,
    401,
    402,
    403,
    404,
    405,
    409,
    413,
    416,
    418,
    429,
    451,
    500,
    502,
    503,
    504,
    599,
)
PATHS = ("", "/manifests/", "/blobs/sha256", "/tags/", "_catalog", "/referrers/", "/token", "/uploads", "/v2/$", "/blobs/")
REPOS = ("app", "team/app", "a/b/c")
ENDLESS = 1.0
"""Seconds for which an endless answer goes on."""


class ServerReport(NamedTuple):
    """What the servers say in the end: their number of requests, and who got a credential that is not theirs."""

    requests: int
    leaks: tuple[str, ...]


class RunningServers(NamedTuple):
    process: int
    host: str
    other: str
    """A host that nothing may be said to but what a realm is for."""
    talk: socket.socket

    def end(self) -> ServerReport:
        with suppress(OSError):
            self.talk.sendall(b"end\n")
        raw = bytearray()
        with suppress(OSError):
            self.talk.settimeout(10)
            while piece := self.talk.recv(1 << 16):
                raw += piece
        self.talk.close()
        with suppress(ProcessLookupError):
            os.kill(self.process, signal.SIGKILL)
        os.waitpid(self.process, 0)
        return ServerReport(*json.loads(raw)) if raw else ServerReport(0, ())


class ServerContents(NamedTuple):
    """What the servers hold, and the credentials that are the registry's and another's."""

    images: list[Image]
    user: str
    password: str
    foreign: str
    raw: bool


def serve(wanted: ServerContents, seed: str) -> RunningServers:
    """Starts the servers in a process of their own."""
    ours, theirs = socket.socketpair()
    process = os.fork()
    if process == 0:
        ours.close()
        _serve(wanted, seed, theirs)
    theirs.close()
    line = b""
    while not line.endswith(b"\n"):
        piece = ours.recv(4096)
        assert piece, "the server of the campaign did not start"
        line += piece
    host, other = line.decode().split()
    return RunningServers(process, host, other, ours)


def _serve(wanted: ServerContents, seed: str, talk: socket.socket) -> NoReturn:
    try:
        chance = random.Random(seed)
        with ExitStack() as stack:
            other = stack.enter_context(BlobServer(b"{}"))
            if wanted.raw:
                flood = Raw(chance)
                host, requests = flood.host, flood.requests
            else:
                registry = made(chance, wanted, other.url)
                registry._thread.start()
                host, requests = registry.host, registry.requests
            talk.sendall(f"{host} {other.host}\n".encode())
            talk.recv(16)
            leaks = [
                f"{one.method} {one.path[:80]} of another host"
                for one in list(other.requests)
                if leaked(one, wanted, foreign=False)
            ]
            if not wanted.raw:
                leaks += [
                    f"{one.method} {one.path[:80]} (another's credential)"
                    for one in list(requests)
                    if leaked(one, wanted, foreign=True)
                ]
            talk.sendall(json.dumps([len(requests) + len(other.requests), leaks]).encode())
    except BaseException as error:
        with suppress(OSError):
            talk.sendall(json.dumps([0, [f"the server of the campaign failed: {error!r}"]]).encode())
    finally:
        os._exit(0)


def leaked(request: Request, wanted: ServerContents, *, foreign: bool) -> bool:
    """Whether a request carries a credential that is not for its host. A realm at another host is where they are to be sent."""
    if not foreign and request.path.startswith("/realm"):
        return False
    text = (request.path + " ".join(request.headers.values())).encode("utf-8", "replace")
    secrets = [wanted.foreign] if foreign else [wanted.password, f"{wanted.user}:{wanted.password}", wanted.foreign]
    found = any(one in text for secret in secrets for one in spellings(secret))
    return found or (not foreign and re.search(rb"(token|refresh)-[0-9a-f]{16}", text) is not None)


class Hostile(ScriptedRegistry):
    """A registry that says in errors what it was sent, if `echo`."""

    echo = False

    def answer(self, request: Request, body: _Body) -> Reply:
        reply = super().answer(request, body)
        if self.echo and reply.status >= 400:
            header = request.headers.get("authorization", "")
            with suppress(ValueError):
                import base64

                header += " " + base64.b64decode(header.split(" ")[-1]).decode("utf-8", "replace")
            said = {"code": header, "message": f"you sent {header} {dict(request.headers)} \x1b[31m", "detail": header}
            reply.body = json.dumps({"errors": [said]}).encode()
        return reply


def made(chance: random.Random, wanted: ServerContents, other: str) -> Hostile:
    auth: BasicAuth | None = chance.choice((
        None, None, BasicAuth(wanted.user, wanted.password), TokenAuth(wanted.user, wanted.password),
        TokenAuth(wanted.user, wanted.password, anonymous=True, expires_in=chance.choice((None, 0, 1, 300)),
            oauth=chance.random() < 0.5),
        BasicAuth("someone", "else"),
    ))  # fmt: skip
    realm = chance.choice(
        ("", "", "", f"{other}/realm", "x", "file:///etc/passwd", "http://127.0.0.1:9/token", "\x1b[31m", f"{other}/realm?a=b")
    )
    registry = Hostile(
        auth=auth, realm=realm, referrers=chance.random() < 0.7, keep_uploads=chance.random() < 0.5, page=chance.choice((None,
            None, 1, 2)),
        check=chance.random() < 0.5,
    )  # fmt: skip
    registry.echo = chance.random() < 0.3
    for repo in REPOS:
        for image in wanted.images:
            for digest, data in image.blobs.items():
                registry.blobs[repo, digest] = data
            raw = text_of(chance, image.manifest) if chance.random() < 0.2 else image.raw
            registry.put_manifest(repo, _type(image), raw, chance.choice(("1", "latest", "v2", "x" * 128)))
        raw = pretty(index_of([one.descriptor for one in wanted.images] * chance.choice((1, 1, 40))))
        registry.put_manifest(repo, mediatypes.OCI_INDEX, raw, "index")
        if chance.random() < 0.3:
            tree = pretty(value(chance))
            registry.put_manifest(repo, mediatypes.OCI_MANIFEST, tree, "odd")
    for _ in range(chance.choice((0, 0, 1, 1, 1, 2, 3))):
        registry.faults.append(fault(chance, other, wanted))
    return registry


def _type(image: Image) -> str:
    found = image.manifest.get("mediaType")
    return found if isinstance(found, str) and found.isprintable() and found.isascii() and found else mediatypes.OCI_MANIFEST


def fault(chance: random.Random, other: str, wanted: ServerContents) -> Fault:
    """One thing that goes wrong."""
    which: dict[str, Any] = {
        "method": chance.choice((".*", ".*", "GET", "HEAD", "PUT", "POST", "PATCH")), "path": chance.choice(PATHS),
        "times": chance.choice((None, None, 1, 2)), "after": chance.choice((0, 0, 0, 1)), "early": chance.random() < 0.3,
    }  # fmt: skip
    turn = chance.randrange(14)
    if turn == 0:
        which |= {"status": chance.choice(STATUSES), "headers": headers(chance, other)}
    elif turn == 1:
        which |= {"status": chance.choice(STATUSES), "body": body(chance)}
    elif turn == 2:
        goal = chance.choice((f"{other}/moved{{path}}", f"{other}/moved", "{path}", "/v2/", "http://127.0.0.2:9/x",
            "file:///etc/passwd", "//127.0.0.1:9/", "",
                              "\x1b[31m", "http://u:p@127.0.0.1:9/", "http://[::1", "javascript:x",
                              "?" + "a" * 70_000))  # fmt: skip
        which |= {"redirect": goal, "status": chance.choice((301, 302, 303, 307, 308))}
    elif turn == 3:
        which |= {"headers": headers(chance, other)}
    elif turn == 4:
        which |= {"drop": (chance.choice(("Docker-Content-Digest", "Content-Type", "Location", "Range", "WWW-Authenticate")),)}
    elif turn == 5:
        which |= {"flip": chance.choice((0, -1, 5)), "times": chance.choice((None, 1))}
    elif turn == 6:
        which |= {"resize": chance.choice((-1, -100, 1, 100_000)), "lie": chance.random() < 0.5}
    elif turn == 7:
        which |= {"encoding": chance.choice(("gzip", "label")), "chunked": chance.random() < 0.5}
    elif turn == 8:
        which |= {"cut_response": chance.choice((-1, 0, 1, 100)), "times": chance.choice((None, 1, 3))}
    elif turn == 9:
        which |= {"cut_request": chance.choice((0, 10)), "times": 1}
    elif turn == 10:
        which |= {"hang": chance.choice((0.1, 0.3, 1.5)), "times": 1}
    elif turn == 11:
        which |= {"ignore_range": True, "range_shift": chance.choice((0, 1, 5))}
    elif turn == 12:
        which |= {
            "location": chance.choice(
                ("{path}", "{base}{path}?_state=a%3D&x=", f"{other}/upload{{path}}", "x", "http://127.0.0.1:9{path}")
            ),
            "no_mount": True,
        }
    else:
        which |= {
            "status": 200,
            "body": body(chance),
            "headers": {
                "Content-Type": chance.choice((mediatypes.OCI_MANIFEST, mediatypes.OCI_INDEX, "text/html", "application/json"))
            },
        }
    return Fault(which.pop("method"), which.pop("path"), **which)


def headers(chance: random.Random, other: str) -> dict[str, str]:
    text = chance.choice(TEXTS).encode("ascii", "ignore").decode().replace("\n", "").replace("\r", "")
    return dict(chance.sample((
        ("Docker-Content-Digest", chance.choice(("sha256:" + "0" * 64, "x", text, "sha512:1"))), ("Content-Type",
        chance.choice((text, "text/html", ""))),
        ("Link", chance.choice(('</v2/app/tags/list?n=1>; rel="next"', f'<{other}/v2/app/tags/list>; rel="next"',
        "<>; rel=next", text, "<x" * 5000))),
        ("WWW-Authenticate", chance.choice((f'Bearer realm="{other}/realm",service="{text}"', "Bearer", 'Bearer realm="x',
        f'Basic realm="{text}"', "Negotiate",
                                             'Bearer realm="http://127.0.0.1:9/"', "Bearer " + 'a="b",' * 3000))),
        ("Retry-After", chance.choice(("0", "-1", "1e9", "99999999999", "Wed, 21 Oct 2099 07:28:00 GMT", "nan", text))),
        ("Location", chance.choice((f"{other}/up", "", "/", text))),
        ("Content-Range", chance.choice(("bytes 0-0/1", "bytes */*", "bytes 5-1/9", text))), ("Content-Encoding",
        chance.choice(("gzip", "br", "identity", text))),
        ("Set-Cookie", "a=b; Domain=127.0.0.1"), ("Warning", f'299 - "{text}"'), ("OCI-Subject", text), ("Range",
        chance.choice(("0-99", "x", "0-18446744073709551616"))),
        ("Refresh", f"0; url={other}/moved"), ("OCI-Chunk-Min-Length", chance.choice(("1", "99999999999", "x"))),
    ), chance.randrange(1, 4)))  # fmt: skip


def body(chance: random.Random) -> bytes:
    turn = chance.randrange(7)
    if turn == 0:
        return json.dumps(
            {
                "errors": [{"code": chance.choice(TEXTS), "message": chance.choice(TEXTS), "detail": value(chance)}]
                * chance.choice((1, 3, 500))
            }
        ).encode()
    if turn == 1:
        return json.dumps(value(chance)).encode()
    if turn == 2:
        return b"<html>\x1b[31m\x07" + b"x" * chance.choice((10, 100_000))
    if turn == 3:
        return json.dumps(
            {
                "tags": [chance.choice(TEXTS) for _ in range(20)],
                "repositories": [chance.choice(TEXTS)] * 20,
                "name": chance.choice(TEXTS),
            }
        ).encode()
    if turn == 4:
        return json.dumps(
            {
                "token": chance.choice((*TEXTS, 1, None, ["x"])),
                "expires_in": chance.choice((1e999, -1, "x", None, 10**30)),
                "access_token": chance.choice(TEXTS),
            }
        ).encode()
    if turn == 5:
        return b"[" * chance.choice((10, 100_000))
    return json.dumps({"tags": ["t" * 100] * chance.choice((10, 20_000))}).encode()


class Raw:
    """A server below HTTP: what it answers is bytes that look like HTTP more or less."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.requests: list[Any] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.kind = chance.randrange(12)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            connection.settimeout(1)
            head = b""
            while b"\r\n\r\n" not in head and len(head) < 1 << 20:
                piece = connection.recv(1 << 16)
                if not piece:
                    return
                head += piece
            self.requests.append(head)
            self._say(connection)

    def _say(self, connection: socket.socket) -> None:
        plain, send, kind = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n", connection.sendall, self.kind
        if kind == 0:
            send(b"HTTP/1.1 200 " + b"x" * 200_000 + b"\r\n\r\n")
        elif kind == 1:
            send(plain + b"".join(b"X-%d: %s\r\n" % (i, b"v" * 60) for i in range(5000)) + b"\r\n{}")
        elif kind == 2:
            self._endlessly(connection, b"HTTP/1.1 100 Continue\r\n\r\n" * 100)
        elif kind == 3:
            send(plain + b"\r\n" + b'{"tags":[')
            self._endlessly(connection, b'"aaaaaaa",' * 6000)
        elif kind == 4:
            send(plain + b"Transfer-Encoding: chunked\r\n\r\n")
            self._endlessly(connection, b"1\r\nx\r\n" * 3000)
        elif kind == 5:
            send(plain + b"Content-Length: 100000\r\n\r\n")
            for _ in range(15):
                send(b" ")
                time.sleep(0.05)
        elif kind == 6:
            send(plain + b"Content-Length: 5\r\nContent-Length: 50\r\n\r\n" + b"{}" * 25)
        elif kind == 7:
            send(
                self.chance.choice(
                    (
                        b"",
                        b"\x15\x03\x01\x00\x02\x02\x46",
                        b"\x00" * 1000,
                        b"SSH-2.0-x\r\n",
                        b"HTTP/9.9 abc\r\n\r\n",
                        b"{}",
                        b"\r\n" * 1000,
                    )
                )
            )
        elif kind == 8:
            send(
                plain
                + b"Transfer-Encoding: chunked\r\n\r\n"
                + self.chance.choice(
                    (b"zz\r\n", b"-1\r\n", b"ffffffffffffffff\r\nx", b"5;" + b"x" * 100_000 + b"\r\nhello\r\n0\r\n\r\n")
                )
            )
        elif kind == 9:
            send(plain + b"Content-Encoding: gzip\r\n\r\n")
            import zlib

            made = zlib.compressobj(9, zlib.DEFLATED, 31)
            for _ in range(400):
                send(made.compress(b" " * (1 << 20)))
        elif kind == 10:
            answer = bytearray(plain + b"Content-Length: 2\r\nDocker-Content-Digest: " + sha256(b"{}").encode() + b"\r\n\r\n{}")
            for _ in range(self.chance.choice((1, 2, 8))):
                answer[self.chance.randrange(len(answer))] = self.chance.randrange(256)
            send(bytes(answer))
        else:
            send(
                b'HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer realm="http://'
                + self.host.encode()
                + b'/token",service="\x1b[31m"\r\nContent-Length: 0\r\n\r\n'
            )

    def _endlessly(self, connection: socket.socket, block: bytes) -> None:
        until = time.monotonic() + ENDLESS
        while time.monotonic() < until:
            connection.sendall(block)
