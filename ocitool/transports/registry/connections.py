"""Connections to registries: how many there are, where they may lead, by which way, how they end.

urllib3 makes them: TLS, tunnels through proxies, SOCKS. What passes on them is `exchange`'s.
"""

from __future__ import annotations

import base64
import socket
from collections.abc import Callable, Mapping, Sized
from contextlib import suppress
from functools import partial
from http.client import HTTPException
from importlib.util import find_spec
from threading import Lock
from typing import Any, NamedTuple
from urllib.parse import quote, unquote, urlsplit
from weakref import WeakSet, finalize

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection, ProxyConfig
from urllib3.exceptions import HTTPError, LocationValueError, NameResolutionError, ProxyError

from ocitool import __version__, credentials
from ocitool.errors import TransportError, UsageError
from ocitool.task import Task
from ocitool.transports.registry.access import Access
from ocitool.transports.registry.addresses import KEPT, PORTS, Zone, admits, literal, origin, written, zone
from ocitool.transports.registry.exchange import Body, Channel, Preamble, Response
from ocitool.transports.registry.proxies import proxy_for
from ocitool.transports.registry.trust import Trust

_OPENING = 10.0
"""Seconds for a connection, and for each step of its TLS."""
_SENDING = 60.0
"""Seconds for each piece that is sent, however long the response may take."""
_FIELDS = f"User-Agent: ocitool/{__version__}\r\nAccept-Encoding: identity"


class Whereabouts:
    """Where a registry lies, by its connections, and so where it may send us (`addresses.admits`)."""

    def __init__(self, host: str, hostname: str) -> None:
        """`hostname`: without port. Behind a proxy nothing but the name is known: then it is on the internet, unless the name
        is a numeric address."""
        self.host = host
        address = literal(hostname)
        self._zones = [zone(address)] if address is not None else []  # the first one that it was seen in first

    def came(self, address: str) -> None:
        """A connection of the registry's own goes there. Raises `TransportError` if it was on the internet before and is not
        now: a name that changes what it means."""
        found = zone(address)
        if found in self._zones:
            return
        if self._zones[:1] == [Zone.PUBLIC]:
            raise TransportError(f"its name has come to mean an address that is {found.value}, {address}", self.host)
        self._zones.append(found)

    def check(self, host: str, address: str) -> None:
        """Raises `TransportError` if the registry may not send us to this address, the one that `host` means. One that was seen
        in several places may send us where it may from each of them: a connection proves nothing of who answers it."""
        there = zone(address)
        own = next((one for one in self._zones or [Zone.PUBLIC] if not admits(one, there)), None)
        if own is not None:
            what = f"{host} ({address})" if host != address else host
            raise TransportError(
                f"it sends us to an address that is {there.value}, {what}, and is {own.value} itself", self.host,
                hint="nothing was sent there; --private-host HOST or, for a token server, --realm HOST allows it",
            )  # fmt: skip


class _Gate:
    """What every new connection goes through: where it may lead, what it trusts, and that it is cut when the task ends."""

    def __init__(self, task: Task, access: Access, whereabouts: Whereabouts, *, insecure: bool, own: bool) -> None:
        self.whereabouts = whereabouts
        self.own = own
        self.verify = "CERT_NONE" if insecure else "CERT_REQUIRED"
        self.trust = Trust(task, access, whereabouts.host, insecure=insecure, own=own)
        self.aborted = False
        self._task = task
        self._access = access
        self._sockets: WeakSet[Any] = WeakSet()
        self._opening = Lock()

    def connected(self, connect: Callable[[], socket.socket]) -> socket.socket:
        """A new connection. Neither the look for an address nor one that does not answer could be cut short, so both go on by
        themselves when the task ends. Raises what `connect` raises, `CancelledError`."""
        sock = self._task.within(None, connect)
        self.opened(sock)
        return sock

    def allowed(self, host: str, port: int, default: int) -> list[str]:
        """The numeric addresses that a host means now, each looked at before anything connects: a connection then goes to one
        of these. Raises `TransportError` if one of them is none that the registry may send us to and the user did not name the
        host, `OSError`."""
        found = socket.getaddrinfo(host, port, urllib3.util.connection.allowed_gai_family(), socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(one[4][0]) for one in found))
        for address in addresses if not self._access.names(written(host, port, default)) else ():
            self.whereabouts.check(host, address)
        return addresses

    def opened(self, sock: Any) -> None:
        """Raises `ConnectionAbortedError` where all are cut already."""
        with self._opening:
            if not self.aborted:
                self._sockets.add(sock)
                return
        sock.close()
        raise ConnectionAbortedError

    def abort(self) -> None:
        """Wakes what waits for a response, and lets nothing begin to."""
        with self._opening:
            self.aborted = True
            sockets = list(self._sockets)
        for sock in sockets:
            with suppress(OSError, ValueError):
                sock.shutdown(socket.SHUT_RDWR)


class _Kept:
    """What connections have beside urllib3's own. `direct`: without a proxy between, so that the address is the host's."""

    response_class: Any = Preamble
    gate: _Gate
    direct: bool
    channel: Channel | None = None

    def _new_conn(self) -> socket.socket:
        gate, connect = self.gate, super()._new_conn  # type: ignore[misc]
        if not self.direct:
            return gate.connected(connect)
        if not gate.own:
            return gate.connected(lambda: _to_allowed(self, gate, connect))
        sock = gate.connected(connect)
        try:
            gate.whereabouts.came(str(sock.getpeername()[0]))
        except BaseException:
            sock.close()
            raise
        return sock

    def close(self) -> None:
        if self.channel is not None:
            self.channel.close()
        super().close()  # type: ignore[misc]


class _SecureKept(_Kept):
    """As `_Kept`, with TLS."""

    def connect(self: Any) -> None:
        if self.proxy_is_forwarding:
            self.ssl_context = self.gate.trust.proxy()
        else:
            host, port = (self._tunnel_host, self._tunnel_port) if self._tunnel_host else (self.host, self.port)
            self.ssl_context = self.gate.trust.context(written(host.strip("[]"), port, self.default_port))
        super().connect()  # type: ignore[misc]
        self.gate.opened(self.sock)


class _Plain(_Kept, HTTPConnection):
    pass


class _Secure(_SecureKept, HTTPSConnection):
    pass


def _to_allowed(connection: Any, gate: _Gate, connect: Callable[[], socket.socket]) -> socket.socket:
    """A connection to one of the addresses that the host's name was looked up as, and not to what it means a moment later."""
    name = connection._dns_host
    try:
        addresses = gate.allowed(name.strip("[]").rstrip("."), connection.port, connection.default_port)
    except socket.gaierror as error:
        raise NameResolutionError(name, connection, error) from error
    try:
        for address in addresses[:-1]:
            connection._dns_host = address
            try:
                return connect()
            except HTTPError:
                continue
        connection._dns_host = addresses[-1]
        return connect()
    finally:
        connection._dns_host = name  # which TLS is held against


def _direct(gate: _Gate, scheme: str, hostname: str, port: int) -> Any:
    made: Any
    if scheme == "https":
        made = _Secure(hostname, port, timeout=_OPENING, cert_reqs=gate.verify)
    else:
        made = _Plain(hostname, port, timeout=_OPENING)
    made.gate, made.direct = gate, True
    return made


def _by_proxy(gate: _Gate, proxy: str, tunnel: tuple[str, int, dict[str, str]] | None) -> Any:
    """`tunnel`: to which host and port, with which headers; else the proxy sends requests on."""
    url = urllib3.util.parse_url(proxy)
    assert url.host is not None
    host, port = url.host.strip("[]"), url.port or PORTS[url.scheme or "http"]
    config = ProxyConfig(gate.trust.proxy() if url.scheme == "https" else None, False, None, None)
    made: Any
    if tunnel is not None or url.scheme == "https":
        verify = gate.verify if tunnel is not None else "CERT_REQUIRED"
        made = _Secure(host, port, timeout=_OPENING, cert_reqs=verify, proxy=url, proxy_config=config)
    else:
        made = _Plain(host, port, timeout=_OPENING, proxy=url, proxy_config=config)
    if tunnel is not None:
        made.set_tunnel(*tunnel, scheme=url.scheme)
    made.gate, made.direct = gate, False
    return made


def _by_socks(gate: _Gate, proxy: str, user: str, word: str, scheme: str, hostname: str, port: int) -> Any:
    if find_spec("socks") is None:
        raise UsageError("a SOCKS proxy needs the package PySocks", hint="pip install 'ocitool[socks]'")
    from urllib3.contrib.socks import SOCKSConnection, SOCKSHTTPSConnection, SOCKSProxyManager

    class Plain(_Kept, SOCKSConnection):
        pass

    class Secure(_SecureKept, SOCKSHTTPSConnection):
        pass

    options = SOCKSProxyManager(proxy, user, word).connection_pool_kw["_socks_options"]
    made: Any
    if scheme == "https":
        made = Secure(options, hostname, port, timeout=_OPENING, cert_reqs=gate.verify)
    else:
        made = Plain(options, hostname, port, timeout=_OPENING)
    made.gate, made.direct = gate, False
    return made


class _Way(NamedTuple):
    """How a scheme, host and port are reached. `make` makes a connection that is not opened yet; `idle` ones are used again,
    the latest first. `before`: what stands before the path in a request; `fields`: what else its head always has."""

    make: Callable[[], Any]
    idle: list[Any]
    before: str
    fields: str


class Connections:
    """As many connections as there are threads, none tried again by itself, and all of them cut when the task ends."""

    def __init__(
        self, task: Task, access: Access, whereabouts: Whereabouts, *, insecure: bool, own: bool = True
    ) -> None:
        """`own`: for the registry itself; else for the hosts that it sends us to, with nothing of what the user said of it."""
        self._gate = _Gate(task, access, whereabouts, insecure=insecure, own=own)
        self._most = task.jobs + 4
        self._ways: dict[tuple[str, str | None, int | None], _Way] = {}
        finalize(self, _close, self._ways)

    def send(self, method: str, url: str, headers: Mapping[str, str], body: Body, patience: float) -> Response:
        """Returns the response to one request, its body unread. `patience`: seconds that it may take. Raises `OSError`,
        `HTTPError` or `HTTPException` if there is none, `ValueError` for what cannot be written."""
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

    def _connection(self, way: _Way) -> Any:
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
            connection.channel = Channel(connection.sock)
        except BaseException as error:
            by_proxy = connection.proxy is not None and not connection.has_connected_to_proxy
            connection.close()
            if by_proxy and isinstance(error, OSError | HTTPError | HTTPException):
                raise ProxyError("the proxy does not connect", error) from error
            raise
        return connection

    def _released(self, way: _Way, connection: Any, whole: bool, usable: bool) -> None:
        if whole and usable and not self._gate.aborted and len(way.idle) < self._most:
            way.idle.append(connection)
        else:
            connection.close()

    # Ways

    def _way(self, url: str, scheme: str, hostname: str | None, port: int | None) -> _Way:
        if scheme not in PORTS or hostname is None or port is None:
            raise LocationValueError("no address of HTTP")
        if not hostname.isascii():
            hostname = hostname.encode("idna").decode("ascii")
        host = written(hostname.partition("%")[0], port, PORTS[scheme])
        fields = f"Host: {host}\r\n{_FIELDS}"
        proxy = proxy_for(url)
        if proxy is None:
            return _Way(partial(_direct, self._gate, scheme, hostname, port), [], "", fields)
        credentials.remember_address(proxy)
        parts = urlsplit(proxy)
        user, word = unquote(parts.username or ""), unquote(parts.password or "")
        if parts.scheme.startswith("socks"):
            return _Way(partial(_by_socks, self._gate, parts.geturl(), user, word, scheme, hostname, port), [], "", fields)
        login = base64.b64encode(f"{user}:{word}".encode()).decode() if user else ""
        given = {"Proxy-Authorization": f"Basic {login}"} if user else {}
        tunnel = (f"[{hostname}]" if ":" in hostname else hostname, port, given) if scheme == "https" else None
        make = partial(_by_proxy, self._gate, parts.geturl(), tunnel)
        if tunnel is not None:
            return _Way(make, [], "", fields)
        fields += "".join(f"\r\n{name}: {value}" for name, value in given.items())
        return _Way(make, [], f"{scheme}://{host}", fields)


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
