"""Connections to registries: how many there are, where they may lead, how slow they may be, how they end."""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from threading import Lock
from typing import Any
from weakref import WeakSet

import urllib3
from requests.adapters import HTTPAdapter

from ocitool import limits
from ocitool.errors import TransportError, UsageError
from ocitool.task import Task
from ocitool.transports.registry.access import Access
from ocitool.transports.registry.addresses import Zone, admits, literal, written, zone
from ocitool.transports.registry.trust import Trust


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


class Adapter(HTTPAdapter):
    """As many connections as there are threads, none tried again by itself, and all of them cut when the task ends."""

    def __init__(
        self, task: Task, access: Access, whereabouts: Whereabouts, *, insecure: bool, own: bool = True
    ) -> None:
        """`own`: for the registry itself; else for the hosts that it sends us to, with nothing of what the user said of it."""
        self.whereabouts = whereabouts
        self.own = own
        self._task = task
        self._access = access
        self._sockets: WeakSet[Any] = WeakSet()
        self._opening = Lock()
        self._aborted = False
        self.trust = Trust(task, access, whereabouts.host, insecure=insecure, own=own)
        super().__init__(
            pool_connections=8, pool_maxsize=task.jobs + 4, max_retries=urllib3.Retry(0, read=False), pool_block=False
        )

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _pools(self, direct=True)

    def proxy_manager_for(self, proxy: Any, **kwargs: Any) -> Any:
        socks = proxy.lower().startswith("socks")
        if socks and find_spec("socks") is None:
            raise UsageError("a SOCKS proxy needs the package PySocks", hint="pip install 'ocitool[socks]'")
        if proxy.lower().startswith("https:") and proxy not in self.proxy_manager:
            kwargs["proxy_ssl_context"] = self.trust.proxy()
        manager = super().proxy_manager_for(proxy, **kwargs)
        manager.pool_classes_by_scheme = _pools(self, direct=False, socks=socks)
        return manager

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Leaves to `trust` what is believed: requests would have each connection load its own authorities."""
        super().cert_verify(conn, url, False, cert)
        if verify:
            conn.cert_reqs = "CERT_REQUIRED"

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
            if not self._aborted:
                self._sockets.add(sock)
                return
        sock.close()
        raise ConnectionAbortedError

    def abort(self) -> None:
        """Wakes whoever waits for an answer, and lets nobody begin to."""
        with self._opening:
            self._aborted = True
            sockets = list(self._sockets)
        for sock in sockets:
            with suppress(OSError, ValueError):
                sock.shutdown(socket.SHUT_RDWR)
        self.close()


class _Slow(io.RawIOBase):
    """What a socket gives. Raises `TimeoutError` if that is too little for how long it was waited for (`limits.SLOWEST`), not
    counting the time in which it was not asked; `ConnectionError` for a head without end."""

    def __init__(self, raw: Any, patience: float) -> None:
        """Owns `raw`. `patience`: seconds that an answer may take besides."""
        self._raw = raw
        self._patience = patience
        self._waited = 0.0
        self._came = 0
        self.head = True

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        began = time.monotonic()
        count: int | None = self._raw.readinto(buffer)
        self._waited += time.monotonic() - began
        self._came += count or 0
        if self._patience and self._waited > self._patience + self._came / limits.SLOWEST:
            raise TimeoutError("the answer comes too slowly")
        if self.head and self._came > limits.ANSWER_HEAD:
            raise ConnectionError("an answer whose head does not end")
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Answer(http.client.HTTPResponse):
    """An answer that is bounded where the library reads on by itself: its head, the lines around its chunks, its trailers."""

    _LINE, _TRAILERS = 1 << 10, 100

    def __init__(self, sock: socket.socket, *arguments: Any, **more: Any) -> None:
        super().__init__(sock, *arguments, **more)
        self._slow = _Slow(self.fp.detach(), sock.gettimeout() or 0.0)
        self.fp = io.BufferedReader(self._slow)

    def begin(self) -> None:
        super().begin()
        self._slow.head = False

    def _read_next_chunk_size(self) -> int:
        line = self.fp.readline(self._LINE + 1)
        if len(line) > self._LINE:
            raise http.client.LineTooLong("chunk size")
        try:
            return int(line.partition(b";")[0], 16)
        except ValueError:
            self._close_conn()  # type: ignore[attr-defined]
            raise

    def _read_and_discard_trailer(self) -> None:
        for _ in range(self._TRAILERS):
            line = self.fp.readline(self._LINE + 1)
            if len(line) > self._LINE:
                raise http.client.LineTooLong("trailer line")
            if line in (b"\r\n", b"\n", b""):
                return
        raise http.client.HTTPException(f"more than {self._TRAILERS} trailers")


def _pools(adapter: Adapter, *, direct: bool, socks: bool = False) -> dict[str, Any]:
    """Pools of connections that the adapter knows of: before TLS begins, and once it has. `direct`: without a proxy between,
    so that the address is that of the host. `socks`: through a proxy of that kind, which needs PySocks."""
    plain: Any = urllib3.connection.HTTPConnection
    secure: Any = urllib3.connection.HTTPSConnection
    if socks:
        from urllib3.contrib.socks import SOCKSConnection, SOCKSHTTPSConnection

        plain, secure = SOCKSConnection, SOCKSHTTPSConnection

    def connected(connection: Any, connect: Callable[[], socket.socket]) -> socket.socket:
        if not direct:
            return adapter.connected(connect)
        if adapter.own:
            sock = adapter.connected(connect)
            try:
                adapter.whereabouts.came(str(sock.getpeername()[0]))
            except BaseException:
                sock.close()
                raise
            return sock
        return adapter.connected(lambda: _to_allowed(connection, adapter, connect))

    class Plain(plain):  # type: ignore[misc]
        response_class = _Answer

        def _new_conn(self) -> socket.socket:
            return connected(self, super()._new_conn)

    class Secure(secure):  # type: ignore[misc]
        response_class = _Answer

        def _new_conn(self) -> socket.socket:
            return connected(self, super()._new_conn)

        def connect(self) -> None:
            if self.proxy_is_forwarding:
                self.ssl_context = adapter.trust.proxy()
            else:
                host, port = (self._tunnel_host, self._tunnel_port) if self._tunnel_host else (self.host, self.port)
                self.ssl_context = adapter.trust.context(written(host.strip("[]"), port, self.default_port))
            super().connect()
            adapter.opened(self.sock)

        def send(self, data: Any) -> None:
            try:
                super().send(data)
            except ssl.SSLEOFError as error:  # urllib3 then reads what the registry said before it closed, as without TLS
                raise BrokenPipeError(*error.args) from None

    class PlainPool(urllib3.HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(urllib3.HTTPSConnectionPool):
        ConnectionCls = Secure

    return {"http": PlainPool, "https": SecurePool}


def _to_allowed(connection: Any, adapter: Adapter, connect: Callable[[], socket.socket]) -> socket.socket:
    """A connection to one of the addresses that the host's name was looked up as, and not to what it means a moment later."""
    name = connection._dns_host
    try:
        addresses = adapter.allowed(name.strip("[]").rstrip("."), connection.port, connection.default_port)
    except socket.gaierror as error:
        raise urllib3.exceptions.NameResolutionError(name, connection, error) from error
    try:
        for address in addresses[:-1]:
            connection._dns_host = address
            try:
                return connect()
            except urllib3.exceptions.HTTPError:
                continue
        connection._dns_host = addresses[-1]
        return connect()
    finally:
        connection._dns_host = name  # which TLS is held against
