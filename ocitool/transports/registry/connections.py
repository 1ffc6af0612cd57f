"""Connections to registries: by which way they go, how many there are, how they are used again. What passes on them is
`exchange`'s."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Mapping, Sized
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit
from weakref import finalize

from ocitool import __version__
from ocitool.task import Task
from ocitool.transports.registry.access import Access
from ocitool.transports.registry.addresses import KEPT, PORTS, origin, written
from ocitool.transports.registry.connector import Connection, Gate, NetworkZones
from ocitool.transports.registry.http1 import Body, Channel, Response
from ocitool.transports.registry.proxies import proxy_for

_SENDING = 60.0
"""Seconds for each piece that is sent, however long the response may take."""
_FIELDS = f"User-Agent: ocitool/{__version__}\r\nAccept-Encoding: identity"


class _Direct:
    """A connection to a host without a proxy between."""

    channel: Channel

    def __init__(self, gate: Gate, scheme: str, hostname: str, port: int) -> None:
        self._gate = gate
        self._place = scheme, hostname, port
        self._sock: socket.socket | None = None

    def connect(self) -> None:
        scheme, hostname, port = self._place
        self._sock = self._gate.reached(hostname, port, PORTS[scheme])
        if scheme == "https":
            context = self._gate.trust.context(written(hostname, port, PORTS[scheme]))
            self._sock = context.wrap_socket(self._sock, server_hostname=hostname.partition("%")[0].rstrip("."))
            self._gate.opened(self._sock)
        self.channel = Channel(self._sock)

    @property
    def is_connected(self) -> bool:
        return self._sock is not None and not readable(self._sock)

    def close(self) -> None:
        if self._sock is not None:
            with suppress(AttributeError):
                self.channel.close()
            self._sock.close()


def readable(sock: socket.socket) -> bool:
    """Whether something has come, be it the end."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))


class _Way(NamedTuple):
    """How a scheme, host and port are reached. `make` makes a connection that is not opened yet; `idle` ones are used again,
    the latest first. `before`: what stands before the path in a request; `fields`: what else its head always has."""

    make: Callable[[], Connection]
    idle: list[Connection]
    before: str
    fields: str


class Connections:
    """As many connections as there are threads, none tried again by itself, and all of them cut when the task ends."""

    def __init__(self, task: Task, access: Access, whereabouts: NetworkZones, *, insecure: bool, own: bool = True) -> None:
        """`own`: for the registry itself; else for the hosts that it sends us to, with nothing of what the user said of it."""
        self._gate = Gate(task, access, whereabouts, insecure=insecure, own=own)
        self._most = task.jobs + 4
        self._ways: dict[tuple[str, str | None, int | None], _Way] = {}
        finalize(self, _close, self._ways)

    def send(self, method: str, url: str, headers: Mapping[str, str], body: Body, patience: float) -> Response:
        """Returns the response to one request, its body unread. `patience`: seconds that it may take. Raises `OSError`
        if there is none, `ValueError` for what cannot be written."""
        place = origin(url)
        way = self._ways.get(place)
        if way is None:
            way = self._ways.setdefault(place, self._way(url, *place))
        head = _head(method, url, way, headers, body)
        connection = self._connection(way)
        try:
            whole = connection.channel.send(head, body, min(patience, _SENDING))
            return Response(connection.channel, method, url, patience, partial(self._released, way, connection, whole))
        except BaseException:
            connection.close()
            raise

    def abort(self) -> None:
        """Wakes what waits for a response, and lets nothing begin to."""
        self._gate.abort()
        _close(self._ways)

    def _connection(self, way: _Way) -> Connection:
        """Returns one that is open."""
        with suppress(IndexError):
            while True:
                connection = way.idle.pop()
                if connection.is_connected:
                    return connection
                connection.close()
        connection = way.make()
        try:
            connection.connect()
        except BaseException:
            connection.close()
            raise
        return connection

    def _released(self, way: _Way, connection: Connection, whole: bool, usable: bool) -> None:
        if whole and usable and not self._gate.aborted and len(way.idle) < self._most:
            way.idle.append(connection)
        else:
            connection.close()

    # Ways

    def _way(self, url: str, scheme: str, hostname: str | None, port: int | None) -> _Way:
        if scheme not in PORTS or hostname is None or port is None:
            raise ValueError("no address of HTTP")
        if not hostname.isascii():
            hostname = hostname.encode("idna").decode("ascii")
        host = written(hostname.partition("%")[0], port, PORTS[scheme])
        fields = f"Host: {host}\r\n{_FIELDS}"
        proxy = proxy_for(url)
        if proxy is None:
            return _Way(partial(_Direct, self._gate, scheme, hostname, port), [], "", fields)
        from ocitool.transports.registry.proxy_connections import Detour

        detour = Detour(self._gate, proxy, scheme, hostname, port)
        return _Way(detour.connection, [], f"{scheme}://{host}" if detour.forwards else "", fields + detour.fields)


def _close(ways: Mapping[Any, _Way]) -> None:
    for way in list(ways.values()):
        with suppress(IndexError):
            while True:
                way.idle.pop().close()


def _head(method: str, url: str, way: _Way, headers: Mapping[str, str], body: Body) -> str:
    """Returns the head of a request. Raises `ValueError` for a name or value that would be more than one line of it."""
    parts = urlsplit(url)
    target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
    target = quote(target, KEPT)
    lines = [f"{name}: {value}" for name, value in headers.items()]
    if "Accept" not in headers:
        lines.append("Accept: */*")
    if body is not None or method in ("POST", "PUT", "PATCH"):
        lines.append(f"Content-Length: {len(body) if isinstance(body, Sized) else 0}")
    if any("\r" in line or "\n" in line or "\0" in line for line in lines):
        raise ValueError("a header of several lines")
    return "\r\n".join((f"{method} {way.before}{target} HTTP/1.1", way.fields, *lines, "", ""))
