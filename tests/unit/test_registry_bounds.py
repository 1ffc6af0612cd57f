"""What a registry or a token server can make us hold, fetch or wait for is bounded, whatever it answers."""

from __future__ import annotations

import json
import socket
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from support.copying import ONE
from support.images import config_of, image, pretty
from support.registries import DATA, INSECURE, NoWaitTask, client, digest, open_remote, put_images, put_index, session
from support.registry import BlobServer, Fault, HttpServer, Reply, Request, ScriptedRegistry, TokenAuth, _Body

from ocitool import limits
from ocitool.errors import FormatError, LimitError, OcitoolError
from ocitool.limits import JsonLimits, KiB, MiB
from ocitool.operations.copy import copy
from ocitool.operations.inspect import inspect
from ocitool.pipeline.image_writer import WriteOptions
from ocitool.spec import mediatypes
from ocitool.transports.registry import blobs
from ocitool.transports.registry.http.response_bodies import read_body


class EndlessPages(HttpServer):
    """Gives a page of a list for each request; `page(n)` is its body, and another page follows for ever."""

    def __init__(self, page: Callable[[int], bytes]) -> None:
        super().__init__()
        self.page = page
        self.numbers = count()

    def respond(self, request: Request, body: _Body, faults: list[Fault]) -> Reply:
        number = next(self.numbers)
        link = f'<{request.path.partition("?")[0]}?last={number}>; rel="next"'
        return Reply(status=200, headers={"Link": link}, body=self.page(number))


def listed(member: str, task: NoWaitTask, site: HttpServer) -> list[Any] | None:
    asking = client(site, task)
    if member == "tags":
        return asking.tags("app")
    return asking.repositories() if member == "repositories" else asking.referrers("app", digest(b"x"))


LISTS = pytest.mark.parametrize("member", ["tags", "repositories", "manifests"])


def item(member: str, name: str) -> Any:
    return {"digest": name} if member == "manifests" else name


@LISTS
def test_a_list_whose_pages_never_end_ends(member: str, task: NoWaitTask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LIST_PAGES", 20)
    with EndlessPages(lambda n: json.dumps({member: [item(member, f"v{n}")]}).encode()) as site:
        with pytest.raises(LimitError, match="more than 20 pages"):
            listed(member, task, site)
        assert 20 == len(site.requests)


@LISTS
def test_a_list_that_asks_for_patience_at_each_page_ends(
    member: str, task: NoWaitTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "LIST_SECONDS", 0.2)
    with EndlessPages(lambda n: json.dumps({member: [item(member, f"v{n}")]}).encode()) as site:
        site.latency = 0.05
        with pytest.raises(LimitError, match=r"more than 0.2 seconds"):
            listed(member, task, site)
        assert len(site.requests) < 10


@LISTS
def test_a_page_that_comes_again_under_another_address_ends_the_list(member: str, task: NoWaitTask) -> None:
    with EndlessPages(lambda n: json.dumps({member: [item(member, "same")]}).encode()) as site:
        with suppress(FormatError):  # of referrers: as if there were none
            assert None is listed(member, task, site)
        assert 2 == len(site.requests)


@LISTS
def test_all_pages_of_a_list_share_their_bytes(member: str, task: NoWaitTask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LIST", JsonLimits(100 * KiB, 1000))
    with EndlessPages(lambda n: json.dumps({member: [item(member, f"{n}" + "x" * 30 * KiB)]}).encode()) as site:
        with pytest.raises(LimitError):
            listed(member, task, site)
        assert 4 == len(site.requests)


@pytest.mark.parametrize(
    ("member", "value"), [("tags", b"0"), ("tags", b'""'), ("repositories", b"[]"), ("manifests", b'{"a":[]}')]
)
def test_a_page_of_very_many_values_is_not_parsed(member: str, value: bytes, task: NoWaitTask) -> None:
    body = b'{"%s":[%s]}' % (member.encode(), b",".join([value] * 4_100_000))
    with EndlessPages(lambda n: body) as site:
        tracemalloc.start()
        try:
            with pytest.raises(LimitError):
                listed(member, task, site)
            assert tracemalloc.get_traced_memory()[1] < 130 * MiB
        finally:
            tracemalloc.stop()


def test_a_token_that_is_very_long_is_refused(task: NoWaitTask) -> None:
    with (
        BlobServer(json.dumps({"token": "x" * MiB}).encode()) as server,
        ScriptedRegistry(auth=TokenAuth("u", "p")) as registry,
    ):
        registry.realm = f"{server.url}/token"
        with pytest.raises(LimitError, match=f"more than {limits.TOKEN.size} bytes"):
            client(registry, task).tags("app")


def test_a_token_servers_answer_of_very_many_values_is_refused(task: NoWaitTask) -> None:
    body = b'{"token":"x","more":[%s]}' % b",".join([b"[]"] * 20_000)
    with BlobServer(body) as server, ScriptedRegistry(auth=TokenAuth("u", "p")) as registry:
        registry.realm = f"{server.url}/token"
        with pytest.raises(LimitError, match="values"):
            client(registry, task).tags("app")


# What a server says without end


@contextmanager
def saying(script: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that reads a request and then does as the script says; its address."""
    listening = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()

    def serve(one: socket.socket) -> None:
        with one, suppress(OSError):
            one.recv(1 << 16)
            script(one)

    def accept() -> None:
        with suppress(OSError):
            while not over.is_set():
                threading.Thread(target=serve, args=(listening.accept()[0],), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{listening.getsockname()[1]}"
    finally:
        over.set()
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join(10)


def repeated(*pieces: bytes) -> Callable[[socket.socket], None]:
    """The first pieces once, the last one until the other side leaves."""

    def say(one: socket.socket) -> None:
        one.sendall(b"".join(pieces[:-1]))
        while True:
            one.sendall(pieces[-1])

    return say


HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
ENDLESS = {
    "answers before the answer": (b"HTTP/1.1 100 Continue\r\n\r\n" * 100,),
    "a status line": (b"HTTP/1.1 200 ", b"O" * KiB),
    "a header": (HEAD, b"X-Long: " + b"x" * KiB),
    "headers": (HEAD, b"X-More: x\r\n" * 100),
    "a chunk's size": (CHUNKED, b"1" * KiB),
    "what stands beside a chunk's size": (CHUNKED, b"1;" + b"x" * 60 * KiB + b"\r\n{\r\n"),
    "trailers": (CHUNKED + b"2\r\n{}\r\n0\r\n", b"X-Trailer: x\r\n" * 100),
    "a body": (HEAD + b"\r\n", b"x" * 64 * KiB),
    "the body of an error": (b"HTTP/1.1 403 No\r\n\r\n", b"x" * 64 * KiB),
    "the body of a redirect": (b"HTTP/1.1 302 No\r\nLocation: /again\r\n\r\n", b"x" * 64 * KiB),
}


@pytest.mark.parametrize("pieces", ENDLESS.values(), ids=ENDLESS)
def test_what_has_no_end_is_left(pieces: tuple[bytes, ...], task: NoWaitTask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LIST", JsonLimits(MiB, 1000))
    with saying(repeated(*pieces)) as host, pytest.raises(OcitoolError):
        from ocitool.transports.registry.client import Client

        Client(host, INSECURE, task).tags("app")


def dripping(*pieces: bytes, seconds: float = 0.05) -> Callable[[socket.socket], None]:
    """The first pieces at once, of the last one a byte at a time, over and over."""

    def say(one: socket.socket) -> None:
        one.sendall(b"".join(pieces[:-1]))
        while True:
            for byte in pieces[-1]:
                time.sleep(seconds)
                one.sendall(bytes([byte]))

    return say


DRIPS = {
    "a status line": (b"HTTP/1.1 200 ", b"O"), "a header": (HEAD, b"x"),
    "a body": (HEAD + b"Content-Length: 9999\r\n\r\n", b" "),
    "a chunk": (CHUNKED, b"1\r\n \r\n"), "an error": (b"HTTP/1.1 403 No\r\n\r\n", b"x"),
}  # fmt: skip


@pytest.mark.parametrize("pieces", DRIPS.values(), ids=DRIPS)
def test_an_answer_that_drips_ends(pieces: tuple[bytes, ...], task: NoWaitTask, monkeypatch: pytest.MonkeyPatch) -> None:
    from ocitool.transports.registry import endpoint
    from ocitool.transports.registry.client import Client

    monkeypatch.setattr(endpoint, "_TIMEOUT", 0.3)
    monkeypatch.setattr(endpoint, "RETRIES", 1)
    with saying(dripping(*pieces)) as host:
        began = time.monotonic()
        with pytest.raises(OcitoolError):
            Client(host, INSECURE, task).tags("app")
        assert time.monotonic() - began < 10


def test_a_blob_that_drips_ends(task: NoWaitTask, monkeypatch: pytest.MonkeyPatch) -> None:
    from ocitool.transports.registry import endpoint
    from ocitool.transports.registry.client import Client

    monkeypatch.setattr(endpoint, "_TIMEOUT", 0.3)
    monkeypatch.setattr(blobs, "RETRIES", 1)
    with saying(dripping(HEAD + b"Content-Length: 100007\r\n\r\n", b"x")) as host:
        began = time.monotonic()
        with pytest.raises(OcitoolError):
            list(blobs.fetch(Client(host, INSECURE, task), "app", digest(DATA), len(DATA)))
        assert time.monotonic() - began < 10


def test_a_blob_that_its_reader_takes_slowly_is_no_drip(task: NoWaitTask, monkeypatch: pytest.MonkeyPatch) -> None:
    from ocitool.transports.registry import endpoint

    monkeypatch.setattr(endpoint, "_TIMEOUT", 0.2)
    with ScriptedRegistry() as registry:
        data = b"x" * 300_000
        registry.put_blob("app", data)
        got = 0
        for piece in blobs.fetch(client(registry, task), "app", digest(data), len(data)):
            got += len(piece)
            time.sleep(0.5)
        assert len(data) == got
        assert [] == task.notices


# Documents of an index


def many(registry: ScriptedRegistry, number: int, size: int, *, same: bool = False) -> None:
    """An index at app:1 of so many manifests of this size, each of a platform of its own."""
    made = []
    for n in range(number):
        one = image([ONE], platform={"os": "linux", "architecture": f"a{n}"})
        one.manifest["annotations"] = {"n": "0" if same else str(n), "x": "y" * size}
        made.append(one)
    put_index(registry, "app", made, "1")


def test_manifests_of_an_index_are_not_all_held(task: NoWaitTask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OCITOOL_MAX_DOCUMENTS", str(MiB))
    with ScriptedRegistry() as registry:
        many(registry, 60, 100 * KiB)
        ref = f"docker://{registry.host}/app:1"
        registry.forget()
        with suppress(LimitError):
            inspect(ref, session(task))
        assert len(registry.sent("GET", "/manifests/")) <= 12
        with pytest.raises(LimitError, match="manifests and configurations"):
            copy([ref], session(task), WriteOptions(f"{tmp_path}/out/"), all_platforms=True)
        one = inspect(ref, session(task), platform="linux/a7")
        assert one is not None


def test_one_image_of_a_large_index_is_read(task: NoWaitTask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OCITOOL_MAX_DOCUMENTS", str(MiB))
    with ScriptedRegistry() as registry:
        many(registry, 60, 100 * KiB)
        ref = f"docker://{registry.host}/app:1"
        copy([ref], session(task), WriteOptions(f"{tmp_path}/out/"), platform="linux/a59")


def test_a_manifest_that_an_index_names_often_is_fetched_once_and_counts_once(
    task: NoWaitTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OCITOOL_MAX_DOCUMENTS", str(MiB))
    with ScriptedRegistry() as registry:
        many(registry, 200, 100 * KiB, same=True)
        registry.forget()
        inspect(f"docker://{registry.host}/app:1", session(task))
        assert 2 == len(registry.sent("GET", "/manifests/"))


def test_configurations_count_as_manifests_do(task: NoWaitTask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OCITOOL_MAX_DOCUMENTS", str(MiB))
    with ScriptedRegistry() as registry:
        made = [
            image([ONE], author=f"{n}" + "y" * 100 * KiB, platform={"os": "linux", "architecture": f"a{n}"}) for n in range(60)
        ]
        put_index(registry, "app", made, "1")
        with pytest.raises(LimitError, match="manifests and configurations"):
            copy([f"docker://{registry.host}/app:1"], session(task), WriteOptions(f"{tmp_path}/out/"), all_platforms=True)


def test_referrers_that_are_very_many_are_refused(task: NoWaitTask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OCITOOL_MAX_DOCUMENTS", str(MiB))
    with ScriptedRegistry() as registry:
        app = image([ONE])
        put_images(registry, "app", app, tag="1")
        subject = {"mediaType": mediatypes.OCI_MANIFEST, "digest": app.digest, "size": len(app.raw)}
        for n in range(60):
            one = image([ONE])
            one.manifest |= {"subject": subject, "annotations": {"n": str(n), "x": "y" * 100 * KiB}}
            registry.put_manifest("app", mediatypes.OCI_MANIFEST, pretty(one.manifest))
        with pytest.raises(LimitError):
            copy([f"docker://{registry.host}/app:1"], session(task), WriteOptions(f"{tmp_path}/out/"), referrers=True)


def test_the_whole_of_a_source_is_open_to_what_fits(task: NoWaitTask) -> None:
    with ScriptedRegistry() as registry:
        many(registry, 3, KiB)
        assert registry.tags["app", "1"] == str(open_remote(registry, "app:1", task).root.digest)


def test_a_body_in_chunks_of_a_byte_is_read_in_small_steps() -> None:
    class Answer:
        """Gives what is asked for, and keeps how much that was: a read takes memory for all of it."""

        most = 0

        def read(self, size: int) -> bytes:
            Answer.most = max(Answer.most, size)
            return b"x" * size

        def close(self) -> None:
            pass

    with pytest.raises(LimitError):
        read_body(Answer(), "here", 32 << 20)  # type: ignore[arg-type]
    assert Answer.most <= 1 << 16


def test_a_configuration_of_many_images_is_held_once(task: NoWaitTask) -> None:
    config = pretty(config_of([ONE], author="y" * MiB))
    with ScriptedRegistry() as registry:
        made = []
        for n in range(60):
            one = image([ONE], config=config, platform={"os": "linux", "architecture": f"a{n}"})
            one.manifest["annotations"] = {"n": str(n)}
            made.append(one)
        put_index(registry, "app", made, "1")
        tracemalloc.start()
        try:
            found = inspect(f"docker://{registry.host}/app:1", session(task), all_platforms=True)
            assert 60 == len(found.images)
            assert tracemalloc.get_traced_memory()[1] < 20 * MiB
        finally:
            tracemalloc.stop()
