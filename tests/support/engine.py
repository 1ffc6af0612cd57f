"""A Docker engine that does as a test tells it: images in memory, on a Unix socket or TCP, with faults and a record.

    with ScriptedEngine(api="1.41") as engine:
        engine.add(image([tar], tag="app:1", codec="none"))
        ...
        assert ["/images/load"] == engine.sent("POST")

It stands on the standard library alone, so that it shares no mistake with what it tests. As Docker does, it refuses versions of
the API outside of `floor` to `api`. `containerd`: it keeps images by the digest of their manifest, and gives them back as OCI
layouts; else by the digest of their configuration, and gives them back as `docker save` of 20.10 does. `tls`: the PEM files of
its certificate and key.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import shutil
import socket
import socketserver
import ssl
import tarfile
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

from support.images import Image, docker_files, hybrid_files, layer_tar, sha256


@dataclass(slots=True)
class Kept:
    """An image of the engine. `history`: as its API tells it, newest first."""

    id: str
    image: Image
    names: list[str]
    history: list[dict[str, Any]]
    size: int
    more: dict[str, Any] = field(default_factory=dict)
    """Further members of `/images/NAME/json`."""


@dataclass(slots=True)
class Asked:
    method: str
    path: str
    """Without the version of the API."""
    version: str
    query: dict[str, list[str]]
    body: bytes = b""


Answer = tuple[int, Any]


class ScriptedEngine:
    """`host`: its address. `faults`: by method and path, what answers in the place of the engine: a status and a JSON value, or
    a function that is given the handler. `asked`: the requests."""

    def __init__(
        self, *, api: str = "1.41", floor: str = "1.12", name: str = "Engine", containerd: bool = False, tcp: bool = False,
        tls: tuple[Path, Path] | None = None,
    ) -> None:  # fmt: skip
        self.api, self.floor, self.name, self.containerd = api, floor, name, containerd
        self.images: list[Kept] = []
        self.asked: list[Asked] = []
        self.loaded: list[bytes] = []
        self.faults: dict[tuple[str, str], Answer | Callable[[Handler], None]] = {}
        self.save_ends: bytes | None = None
        """What ends an archive in its middle."""
        self.load_answer: list[dict[str, Any]] | None = None
        self._folder = tempfile.mkdtemp(prefix="oci-", dir="/tmp")  # a socket's path has at most 107 bytes
        handler = type("Handler", (Handler,), {"engine": self})
        if tcp or tls is not None:
            self._server: socketserver.BaseServer = _TcpServer(("127.0.0.1", 0), handler)
            if tls is not None:
                self._server.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                self._server.tls.load_cert_chain(*tls)
            self.host = f"tcp://127.0.0.1:{self._server.server_address[1]}"
        else:
            path = os.path.join(self._folder, "e.sock")
            self._server = _UnixServer(path, handler)
            self.host = f"unix://{path}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def add(self, image: Image, *names: str, sizes: list[int] | None = None, **more: Any) -> Kept:
        """Keeps an image under its tag and these names. `sizes`: of the entries of its history, oldest first."""
        config = json.loads(image.config)
        steps = config.get("history", [])
        sizes = [0 if step.get("empty_layer") else 10 for step in steps] if sizes is None else sizes
        history = [
            {"Id": "<missing>", "Created": 1_700_000_000, "CreatedBy": step.get("created_by", ""), "Size": size, "Tags": None,
             "Comment": step.get("comment", "")}
            for step, size in zip(steps, sizes, strict=True)
        ]  # fmt: skip
        known = image.digest if self.containerd else sha256(image.config)
        kept = Kept(known, image, [], history[::-1], sum(sizes), more)
        same = next((one for one in self.images if one.id == known), None)
        if same is None:
            self.images.append(kept)
        kept = same or kept
        for name in (*([image.tag] if image.tag else []), *names):
            self.tag(kept, name)
        return kept

    def tag(self, kept: Kept, name: str) -> None:
        name = _short(name)
        for one in self.images:
            if name in one.names:
                one.names.remove(name)
        kept.names.append(name)

    def find(self, name: str) -> Kept | None:
        return next((one for one in self.images if one.id == name or _short(name) in one.names), None)

    def sent(self, method: str) -> list[str]:
        """The paths of the requests by this method."""
        return [one.path for one in self.asked if one.method == method]

    def save(self, kept: Kept, name: str) -> bytes:
        named = Image(
            kept.image.config, kept.image.manifest, kept.image.layers, None if name.startswith("sha256:") else _short(name)
        )
        return layer_tar(list((hybrid_files if self.containerd else docker_files)([named]).items()))

    def load(self, data: bytes) -> list[dict[str, Any]]:
        self.loaded.append(data)
        if self.load_answer is not None:
            return self.load_answer
        answers = []
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            files = {one.name: archive.extractfile(one).read() for one in archive if one.isfile()}  # type: ignore[union-attr]
        for listed in json.loads(files["manifest.json"]):
            layers = [files[path] for path in listed["Layers"]]
            if not self.containerd:
                layers = [gzip.decompress(one) if one[:2] == b"\x1f\x8b" else one for one in layers]
            manifest: dict[str, Any] = {"layers": []}
            for one in json.loads(files["index.json"])["manifests"]:
                manifest = json.loads(files["blobs/" + one["digest"].replace(":", "/")])
            kept = self.add(Image(files[listed["Config"]], manifest, layers), *(listed["RepoTags"] or ()))
            answers += [{"stream": f"Loaded image: {name}\n"} for name in kept.names]
        return answers


def _short(name: str) -> str:
    name = name.removeprefix("docker.io/").removeprefix("library/")
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


class _UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

    def get_request(self) -> tuple[Any, Any]:
        connection, _ = self.socket.accept()
        return connection, ("local", 0)


class _TcpServer(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True
    allow_reuse_address = True
    tls: ssl.SSLContext | None = None

    def finish_request(self, request: Any, client_address: Any) -> None:
        """In a thread of the connection, which a client that breaks off during the handshake ends."""
        if self.tls is None:
            super().finish_request(request, client_address)
            return
        with suppress(OSError), self.tls.wrap_socket(request, server_side=True) as encrypted:
            super().finish_request(encrypted, client_address)


class Handler(BaseHTTPRequestHandler):
    engine: ScriptedEngine
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_DELETE(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def say(self, status: int, value: Any = None, *, headers: dict[str, str] | None = None) -> None:
        data = value if isinstance(value, bytes) else json.dumps(value).encode() if value is not None else b""
        self.send_response(status)
        for key, text in {"Content-Length": str(len(data)), "Api-Version": self.engine.api, **(headers or {})}.items():
            self.send_header(key, text)
        self.end_headers()
        self.wfile.write(data)

    def stream(self, data: bytes, kind: str = "application/x-tar") -> None:
        """Sends bytes in chunks, as an engine does."""
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for at in range(0, len(data), 1 << 15):
            piece = data[at : at + (1 << 15)]
            self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        self.wfile.write(b"0\r\n\r\n")

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return b"".join(self._chunks())

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline() or b"0", 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def _answer(self) -> None:
        engine = self.engine
        words = urlsplit(self.path)
        found = re.fullmatch(r"(?:/v(\d+\.\d+))?(/.*)", unquote(words.path))
        assert found is not None
        version, path = found[1] or "", found[2]
        asked = Asked(self.command, path, version, parse_qs(words.query))
        engine.asked.append(asked)
        fault = engine.faults.get((self.command, path))
        if callable(fault):
            fault(self)
            return
        asked.body = self._body()
        if fault is not None:
            self.say(*fault)
        elif version and not _number(engine.floor) <= _number(version) <= _number(engine.api):
            old = _number(version) < _number(engine.floor)
            text = f"client version {version} is too {'old' if old else 'new'}. "
            text += (
                f"Minimum supported API version is {engine.floor}" if old else f"Maximum supported API version is {engine.api}"
            )
            self.say(400, {"message": text})
        else:
            self._known(asked)

    def _known(self, asked: Asked) -> None:
        engine = self.engine
        path = asked.path
        if path == "/_ping":
            self.say(200, b"OK")
        elif path == "/version":
            self.say(200, {
                "Components": [{"Name": engine.name, "Version": "scripted"}], "Version": "scripted", "ApiVersion": engine.api,
                "MinAPIVersion": engine.floor, "Os": "linux", "Arch": "amd64",
            })  # fmt: skip
        elif path == "/info":
            status = [["driver-type", "io.containerd.snapshotter.v1"]] if engine.containerd else [["Backing", "extfs"]]
            self.say(200, {"Driver": "overlayfs" if engine.containerd else "vfs", "DriverStatus": status})
        elif path == "/images/load" and asked.method == "POST":
            lines = [json.dumps(one).encode() + b"\r\n" for one in engine.load(asked.body)]
            self.stream(b"".join(lines), "application/json")
        elif path == "/images/json":
            self.say(200, [{"Id": one.id, "RepoTags": one.names, "Size": one.size} for one in engine.images])
        elif path == "/containers/json":
            self.say(200, [])
        elif (found := re.fullmatch(r"/containers/([^/]+)/json", path)) is not None:
            self.say(404, {"message": f"No such container: {found[1]}"})
        elif path == "/images/get":
            name = asked.query["names"][0]
            kept = self._image(name)
            if kept is not None:
                data = engine.save(kept, name)
                self.stream(data if engine.save_ends is None else data[: len(data) // 2] + engine.save_ends)
        elif (found := re.fullmatch(r"/images/(.+)/(json|history|tag)", path)) is not None:
            kept = self._image(found[1])
            if kept is None:
                return
            if found[2] == "tag":
                engine.tag(kept, f"{asked.query['repo'][0]}:{asked.query['tag'][0]}")
                self.say(201)
            else:
                self.say(200, self._described(kept) if found[2] == "json" else kept.history)
        else:
            self.say(404, {"message": "page not found"})

    def _image(self, name: str) -> Kept | None:
        kept = self.engine.find(name)
        if kept is None:
            self.say(404, {"message": f"No such image: {name}"})
        return kept

    def _described(self, kept: Kept) -> dict[str, Any]:
        config = json.loads(kept.image.config)
        return {
            "Id": kept.id, "RepoTags": kept.names, "RepoDigests": [], "Created": config.get("created"),
            "Config": config.get("config"), "Architecture": config.get("architecture"), "Os": config.get("os"),
            "Size": kept.size, "GraphDriver": {"Name": "overlayfs" if self.engine.containerd else "vfs", "Data": None},
            "RootFS": {"Type": "layers", "Layers": config["rootfs"]["diff_ids"]}, **kept.more,
        }  # fmt: skip


def _number(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
