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
from ocitool.transports.registry.addresses import DEFAULT_PORTS, UNESCAPED, format_host, origin
from ocitool.transports.registry.connector import Connection, Connector, NetworkZones
from ocitool.transports.registry.http1 import Body, Channel, Response
from ocitool.transports.registry.proxies import proxy_for

_SEND_TIMEOUT = 60.0
"""Seconds for each piece that is sent, however long the response may take."""
_COMMON_FIELDS = f"User-Agent: ocitool/{__version__}\r\nAccept-Encoding: identity"


class _DirectConnection:
    """A connection to a host without a proxy between."""

    channel: Channel

    def __init__(self, connector: Connector, scheme: str, hostname: str, port: int) -> None:
        self._connector = connector
        self._target = scheme, hostname, port
        self._sock: socket.socket | None = None

    def connect(self) -> None:
        scheme, hostname, port = self._target
        self._sock = self._connector.connect_direct(hostname, port, DEFAULT_PORTS[scheme])
        if scheme == "https":
            context = self._connector.trust.context(format_host(hostname, port, DEFAULT_PORTS[scheme]))
            self._sock = context.wrap_socket(self._sock, server_hostname=hostname.partition("%")[0].rstrip("."))
            self._connector.register(self._sock)
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


class _Route(NamedTuple):
    """How a scheme, host and port are reached. `make` makes a connection that is not opened yet; `idle` ones are used again,
    the latest first. `target_prefix`: what stands before the path in a request; `header_fields`: what else its head always has."""

    make: Callable[[], Connection]
    idle: list[Connection]
    target_prefix: str
    header_fields: str


class Connections:
    """As many connections as there are threads, none tried again by itself, and all of them cut when the task ends."""

    def __init__(self, task: Task, access: Access, zones: NetworkZones, *, insecure: bool, own: bool = True) -> None:
        """`own`: for the registry itself; else for the hosts that it sends us to, with nothing of what the user said of it."""
        self._connector = Connector(task, access, zones, insecure=insecure, own=own)
        self._max_idle = task.jobs + 4
        self._routes: dict[tuple[str, str | None, int | None], _Route] = {}
        finalize(self, _close, self._routes)

    def send(self, method: str, url: str, headers: Mapping[str, str], body: Body, timeout: float) -> Response:
        """Returns the response to one request, its body unread. `timeout`: seconds that it may take. Raises `OSError`
        if there is none, `ValueError` for what cannot be written."""
        key = origin(url)
        route = self._routes.get(key)
        if route is None:
            route = self._routes.setdefault(key, self._new_route(url, *key))
        head = _head(method, url, route, headers, body)
        connection = self._open_connection(route)
        try:
            is_sent = connection.channel.send(head, body, min(timeout, _SEND_TIMEOUT))
            return Response(connection.channel, method, url, timeout, partial(self._release, route, connection, is_sent))
        except BaseException:
            connection.close()
            raise

    def abort(self) -> None:
        """Wakes what waits for a response, and lets nothing begin to."""
        self._connector.abort()
        _close(self._routes)

    def _open_connection(self, route: _Route) -> Connection:
        """Returns one that is open."""
        with suppress(IndexError):
            while True:
                connection = route.idle.pop()
                if connection.is_connected:
                    return connection
                connection.close()
        connection = route.make()
        try:
            connection.connect()
        except BaseException:
            connection.close()
            raise
        return connection

    def _release(self, route: _Route, connection: Connection, is_sent: bool, reusable: bool) -> None:
        if is_sent and reusable and not self._connector.aborted and len(route.idle) < self._max_idle:
            route.idle.append(connection)
        else:
            connection.close()

    # Ways

    def _new_route(self, url: str, scheme: str, hostname: str | None, port: int | None) -> _Route:
        if scheme not in DEFAULT_PORTS or hostname is None or port is None:
            raise ValueError("no address of HTTP")
        if not hostname.isascii():
            hostname = hostname.encode("idna").decode("ascii")
        host = format_host(hostname.partition("%")[0], port, DEFAULT_PORTS[scheme])
        header_fields = f"Host: {host}\r\n{_COMMON_FIELDS}"
        proxy = proxy_for(url)
        if proxy is None:
            return _Route(partial(_DirectConnection, self._connector, scheme, hostname, port), [], "", header_fields)
        from ocitool.transports.registry.proxy_connections import ProxyRoute

        route = ProxyRoute(self._connector, proxy, scheme, hostname, port)
        return _Route(
            route.connection, [], f"{scheme}://{host}" if route.is_forwarding else "", header_fields + route.header_fields
        )


def _close(routes: Mapping[Any, _Route]) -> None:
    for route in list(routes.values()):
        with suppress(IndexError):
            while True:
                route.idle.pop().close()


def _head(method: str, url: str, route: _Route, headers: Mapping[str, str], body: Body) -> str:
    """Returns the head of a request. Raises `ValueError` for a name or value that would be more than one line of it."""
    parts = urlsplit(url)
    target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
    target = quote(target, UNESCAPED)
    lines = [f"{name}: {value}" for name, value in headers.items()]
    if "Accept" not in headers:
        lines.append("Accept: */*")
    if body is not None or method in ("POST", "PUT", "PATCH"):
        lines.append(f"Content-Length: {len(body) if isinstance(body, Sized) else 0}")
    if any("\r" in line or "\n" in line or "\0" in line for line in lines):
        raise ValueError("a header of several lines")
    return "\r\n".join((f"{method} {route.target_prefix}{target} HTTP/1.1", route.header_fields, *lines, "", ""))
