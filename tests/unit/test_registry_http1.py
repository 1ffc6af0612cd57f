"""One request and its response (RFC 9112): what is read of bytes that a server may send, and when a connection serves again."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from support.registries import INSECURE, NoWaitTask
from support.registry import BlobServer

from ocitool.errors import TransportError
from ocitool.transports.registry.client import Client
from ocitool.transports.registry.http.connections import Connections
from ocitool.transports.registry.http.connector import NetworkZones
from ocitool.transports.registry.http.http1 import Channel, Response


class Read(NamedTuple):
    status: int
    body: bytes
    usable: bool


def read(said: bytes, method: str = "GET", step: int = 1 << 16) -> Read:
    """What a response is read as, after which the server closes."""
    ours, theirs = socket.socketpair()
    ends: list[bool] = []
    with ours, theirs:
        theirs.sendall(said)
        theirs.shutdown(socket.SHUT_WR)
        channel = Channel(ours)
        try:
            response = Response(channel, method, "http://reg.example/", 5, ends.append)
            body = b""
            while piece := response.read1(step):
                body += piece
        finally:
            channel.close()
    assert 1 == len(ends), "the connection is given back once"
    return Read(response.status_code, body, ends[0])


OK = b"HTTP/1.1 200 OK\r\n"
FORMS: dict[str, tuple[Read, bytes]] = {
    "a length": (Read(200, b"abc", True), OK + b"Content-Length: 3\r\n\r\nabc"),
    "nothing": (Read(200, b"", True), OK + b"Content-Length: 0\r\n\r\n"),
    "a status alone": (Read(201, b"", True), b"HTTP/1.1 201\r\nContent-Length: 0\r\n\r\n"),
    "line feeds": (Read(200, b"abc", True), b"HTTP/1.1 200 OK\ncontent-length: 3\n\nabc"),
    "capitals and blanks": (Read(200, b"abc", True), OK + b"CONTENT-LENGTH:  3 \t\r\n\r\nabc"),
    "the same length twice": (Read(200, b"abc", True), OK + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc"),
    "to the end": (Read(200, b"abc", False), OK + b"\r\nabc"),
    "a length that is no number": (Read(200, b"abc", False), OK + b"Content-Length: -3\r\n\r\nabc"),
    "closed after it": (Read(200, b"abc", False), OK + b"Connection: Close\r\nContent-Length: 3\r\n\r\nabc"),
    "HTTP/1.0": (Read(200, b"abc", False), b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc"),
    "HTTP/1.0 that stays": (
        Read(200, b"abc", True),
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\nabc",
    ),
    "chunks": (Read(200, b"abcde", True), OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"),
    "chunks beside a length": (
        Read(200, b"abc", True),
        OK + b"Content-Length: 9\r\nTransfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    ),
    "chunks with extensions and a trailer": (
        Read(200, b"a" * 26, True),
        OK + b'Transfer-Encoding: chunked\r\n\r\n01A ;x="y"\r\n' + b"a" * 26 + b"\r\n0\r\nX: y\r\n\r\n",
    ),
    "announced": (Read(200, b"abc", True), b"HTTP/1.1 103 Hints\r\nLink: </a>\r\n\r\n" + OK + b"Content-Length: 3\r\n\r\nabc"),
    "no content": (Read(204, b"", True), b"HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\n"),
    "a line that goes on": (Read(200, b"abc", True), OK + b"Link: </a>;\r\n rel=next\r\nContent-Length: 3\r\n\r\nabc"),
    "a line that is none": (Read(200, b"abc", True), OK + b"what\r\nContent-Length: 3\r\n\r\nabc"),
    "more than was asked for": (Read(200, b"abc", False), OK + b"Content-Length: 3\r\n\r\nabcHTTP/1.1 200 OK\r\n\r\nevil"),
}


@pytest.mark.parametrize("step", [1, 2, 1 << 16])
@pytest.mark.parametrize("form", FORMS)
def test_a_response_is_read_in_every_form(form: str, step: int) -> None:
    expected, said = FORMS[form]
    assert expected == read(said, step=step)


def test_a_response_to_head_has_no_body() -> None:
    assert Read(200, b"", True) == read(OK + b"Content-Length: 3\r\n\r\n", "HEAD")
    assert Read(200, b"", True) == read(OK + b"Transfer-Encoding: chunked\r\n\r\n", "HEAD")


BROKEN: dict[str, bytes] = {
    "nothing": b"",
    "another protocol": b"SSH-2.0-OpenSSH\r\n",
    "HTTP/2": b"HTTP/2 200\r\n\r\n",
    "a status of two digits": b"HTTP/1.1 20 OK\r\n\r\n",
    "a status of four digits": b"HTTP/1.1 2000 OK\r\n\r\n",
    "another protocol from here on": b"HTTP/1.1 101 Switching\r\n\r\n",
    "a head that is cut": OK + b"Content-Length: 3\r\n",
    "a line without end": OK + b"X: " + b"y" * (1 << 17),
    "a head of many lines": OK + b"X: y\r\n" * 101 + b"\r\n",
    "two lengths": OK + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "a body that is cut": OK + b"Content-Length: 3\r\n\r\nab",
    "a chunk that is cut": OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nab",
    "no last chunk": OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    "a chunk without a size": OK + b"Transfer-Encoding: chunked\r\n\r\nabc\r\n",
    "a chunk of a negative size": OK + b"Transfer-Encoding: chunked\r\n\r\n-3\r\nabc\r\n0\r\n\r\n",
    "a chunk of no number": OK + b"Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n",
    "a chunk of too many digits": OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"1" * 16 + b"\r\nabc",
    "a chunk longer than its size": OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n",
    "a trailer without end": OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: y\r\n" * 101 + b"\r\n",
}


@pytest.mark.parametrize("form", BROKEN)
def test_what_is_no_response_is_a_broken_connection(form: str) -> None:
    with pytest.raises(ConnectionError):
        read(BROKEN[form])


def test_headers_are_found_in_any_letters_and_joined() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(OK + b"LINK: </a>\r\nLink: </b>\r\nX: gr\xf6\xdfe\r\nContent-Length: 0\r\n\r\n")
        channel = Channel(ours)
        headers = Response(channel, "GET", "", 5, lambda usable: None).headers
        channel.close()
    assert ("</a>, </b>", "größe", "") == (headers.get("link"), headers.get("x"), headers.get("y"))
    assert "LINK" in headers and "y" not in headers


# Requests


@pytest.fixture
def blob_server() -> Iterator[BlobServer]:
    with BlobServer(b"abc") as one:
        yield one


def connections(task: NoWaitTask) -> Connections:
    return Connections(task, INSECURE, NetworkZones("127.0.0.1", "127.0.0.1"), insecure=True)


@pytest.mark.parametrize("headers", [{"X": "a\r\nEvil: b"}, {"X\nEvil": "b"}, {"X": "a\0"}, {"X": "\u20ac"}])
def test_a_header_of_more_than_a_line_is_not_sent(headers: dict[str, str], blob_server: BlobServer, task: NoWaitTask) -> None:
    with pytest.raises(ValueError):
        connections(task).send("GET", f"{blob_server.url}/", headers, None, 5)
    assert [] == blob_server.requests


TARGETS = {
    "as it is": ("/a/%2f%2F?x=%20&y=+~'()", "/a/%2f%2F?x=%20&y=+~'()"),
    "no path": ("/", ""),
    "a blank": ("/a%20b", "/a b"),
    "other letters": ("/gr%C3%B6%C3%9Fe", "/größe"),
    "a fragment": ("/a", "/a#b"),
    "a line break": ("/ab", "/a\r\nb"),
}


@pytest.mark.parametrize("form", TARGETS)
def test_an_address_is_sent_as_it_was_written(form: str, blob_server: BlobServer, task: NoWaitTask) -> None:
    expected, written = TARGETS[form]
    connections(task).send("GET", f"{blob_server.url}{written}", {}, None, 5).close()
    assert [expected] == [one.path for one in blob_server.requests]


def test_a_registry_that_needs_no_login_is_asked_on_one_connection(blob_server: BlobServer, task: NoWaitTask) -> None:
    several = connections(task)
    places = set()
    for _ in range(3):
        response = several.send("GET", f"{blob_server.url}/", {}, None, 5)
        places.add(response._channel.sock.getsockname())
        assert b"abc" == response.read(10)
    assert 1 == len(places)


def test_a_connection_whose_body_is_not_read_serves_nothing_else(blob_server: BlobServer, task: NoWaitTask) -> None:
    several = connections(task)
    for _ in range(2):
        response = several.send("GET", f"{blob_server.url}/", {}, None, 5)
        assert b"a" == response.read1(1)
        response.close()
    assert 2 == len(blob_server.requests)


def test_a_name_that_no_address_can_have_is_a_host_that_is_not_known(task: NoWaitTask) -> None:
    with pytest.raises(TransportError, match="unknown host"):
        Client(f"{'a' * 64}.example", INSECURE, task).tags("app")
