"""The connections of a registry: the route to each host, how many are kept open, and when one is used again. Messages
on them are sent and parsed by `http1`.
"""

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
from ocitool.transports.registry.http.addresses import DEFAULT_PORTS, UNESCAPED, format_host, origin
from ocitool.transports.registry.http.connector import Connection, Connector, NetworkZones
from ocitool.transports.registry.http.http1 import Body, Channel, Response
from ocitool.transports.registry.http.proxies import proxy_for
from ocitool.transports.registry.http.trust import DefaultTrust

_SEND_TIMEOUT = 60.0
"""Seconds for each part of a request that is sent, however long the response may take."""
_COMMON_FIELDS = f"User-Agent: ocitool/{__version__}\r\nAccept-Encoding: identity"


class _DirectConnection:
    """A connection without a proxy."""

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
    """Returns whether bytes have arrived or the connection was closed by the server."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))


class _Route(NamedTuple):
    """How a scheme, host and port are reached. `make` returns a new connection, not opened yet. `idle`: open
    connections; the last one is used first. `target_prefix`: what precedes the path in the request line (through a
    forwarding proxy: scheme and host). `header_fields`: those of every request."""

    make: Callable[[], Connection]
    idle: list[Connection]
    target_prefix: str
    header_fields: str


class Connections:
    """Open connections to the hosts of a registry, at most one request on each at a time. Nothing is retried here. All
    are closed when the task is cancelled. Used by several threads."""

    def __init__(
        self, task: Task, access: Access, zones: NetworkZones, trust: DefaultTrust | None = None, *, insecure: bool,
        own: bool = True,
    ) -> None:  # fmt: skip
        """`own`: for the registry itself; else for the hosts that it refers to, which get no client certificate."""
        self._connector = Connector(task, access, zones, trust or DefaultTrust(task), insecure=insecure, own=own)
        self._max_idle = task.jobs + task.small_jobs
        self._routes: dict[tuple[str, str | None, int | None], _Route] = {}
        finalize(self, _close, self._routes)

    def send(self, method: str, url: str, headers: Mapping[str, str], body: Body, timeout: float) -> Response:
        """Returns the response to one request, its body unread. `timeout`: seconds that the response may take. Raises
        `OSError` if there is none, `ValueError` for a URL or header field that cannot be written."""
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
        """Ends every wait for a response, and lets no new connection be opened."""
        self._connector.abort()
        _close(self._routes)

    def _open_connection(self, route: _Route) -> Connection:
        """Returns an open connection: an idle one, else a new one."""
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

    # Routes

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
        from ocitool.transports.registry.http.proxy_connections import ProxyRoute

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
    """Returns the head of a request. Raises `ValueError` for a header field with a line break or NUL in it."""
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
