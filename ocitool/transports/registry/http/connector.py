"""Opens the sockets of new connections: checks where they lead, sets up TLS, and closes them when the task is
cancelled."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from threading import Lock
from typing import Any, Protocol
from weakref import WeakSet

from ocitool.errors import TransportError
from ocitool.task import Task
from ocitool.transports.registry.access import Access
from ocitool.transports.registry.http.addresses import Zone, allows_redirect, format_host, numeric_address, zone
from ocitool.transports.registry.http.http1 import Channel
from ocitool.transports.registry.http.trust import DefaultTrust, Trust

CONNECT_TIMEOUT = 10.0
"""Seconds for connecting, and for each step of the TLS handshake."""


class NetworkZones:
    """The zones of a registry's addresses, seen from its connections. They decide to which addresses it may refer
    (`addresses.allows_redirect`)."""

    def __init__(self, host: str, hostname: str) -> None:
        """`hostname`: without port. Behind a proxy only the name is known: then the registry counts as public, unless
        the name is a numeric address."""
        self.host = host
        address = numeric_address(hostname)
        self._own_zones = [zone(address)] if address is not None else []  # in the order in which they were seen

    def record_own(self, address: str) -> None:
        """Records the address of a connection to the registry itself. Raises `TransportError` if its first address was
        public and this one is not (DNS rebinding)."""
        found = zone(address)
        if found in self._own_zones:
            return
        if self._own_zones[:1] == [Zone.PUBLIC]:
            raise TransportError(f"its name now resolves to a {found.value} address, {address}", self.host)
        self._own_zones.append(found)

    def check(self, host: str, address: str) -> None:
        """Raises `TransportError` if the registry may not refer to `address`, to which `host` resolves. If the registry
        was seen in several zones, each of them must allow it: a connection does not prove who answers it."""
        target = zone(address)
        own = next((one for one in self._own_zones or [Zone.PUBLIC] if not allows_redirect(one, target)), None)
        if own is not None:
            what = f"{host} ({address})" if host != address else host
            raise TransportError(
                f"it refers to {what}, a {target.value} address, and has a {own.value} address itself", self.host,
                hint="nothing was sent there; --private-host HOST or, for a token server, --realm HOST allows it",
            )  # fmt: skip


class Connector:
    """Opens the connections of a registry, or those to the hosts that it refers to."""

    def __init__(
        self, task: Task, access: Access, zones: NetworkZones, trust: DefaultTrust, *, insecure: bool, own: bool
    ) -> None:
        """`own`: for the registry itself; else for the hosts that it refers to. `insecure`: without verification of
        certificates."""
        self.zones = zones
        self.own = own
        self.insecure = insecure
        self.trust = Trust(task, access, zones.host, trust, insecure=insecure, own=own)
        self.aborted = False
        self._task = task
        self._access = access
        self._sockets: WeakSet[Any] = WeakSet()
        self._lock = Lock()

    def run_connect(self, connect: Callable[[], socket.socket]) -> socket.socket:
        """Returns the socket that `connect` opens. Neither a DNS look-up nor a connection attempt can be interrupted,
        so when the task ends they are left to finish on another thread. Raises what `connect` raises, and
        `CancelledError`."""
        sock = self._task.within(None, connect)
        self.register(sock)
        return sock

    def connect_direct(self, hostname: str, port: int, default_port: int) -> socket.socket:
        """Returns a connection to a host without a proxy. For a host other than the registry, every address that the
        name resolves to is checked, and the connection goes to one of these, not to the result of a second look-up.
        Raises `OSError`; `TransportError` if the registry may not refer to one of the addresses and the user did not
        name the host."""
        try:
            if self.own:
                sock = self.run_connect(lambda: socket.create_connection((hostname, port), CONNECT_TIMEOUT))
            else:
                sock = self.run_connect(lambda: self._connect_checked(hostname.rstrip("."), port, default_port))
        except UnicodeError:
            raise socket.gaierror(socket.EAI_NONAME, "no name of a host") from None
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.own:
                self.zones.record_own(str(sock.getpeername()[0]))
        except BaseException:
            sock.close()
            raise
        return sock

    def _connect_checked(self, hostname: str, port: int, default_port: int) -> socket.socket:
        found = socket.getaddrinfo(hostname, port, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(one[4][0]) for one in found))
        for address in addresses if not self._access.is_named(format_host(hostname, port, default_port)) else ():
            self.zones.check(hostname, address)
        for address in addresses[:-1]:
            with suppress(OSError):
                return socket.create_connection((address, port), CONNECT_TIMEOUT)
        return socket.create_connection((addresses[-1], port), CONNECT_TIMEOUT)

    def register(self, sock: Any) -> None:
        """Registers a socket, to be closed by `abort`. Raises `ConnectionAbortedError` if that was called before."""
        with self._lock:
            if not self.aborted:
                self._sockets.add(sock)
                return
        sock.close()
        raise ConnectionAbortedError

    def abort(self) -> None:
        """Shuts down all sockets, which ends every wait for a response, and lets no new one be opened."""
        with self._lock:
            self.aborted = True
            sockets = list(self._sockets)
        for sock in sockets:
            with suppress(OSError, ValueError):
                sock.shutdown(socket.SHUT_RDWR)


class Connection(Protocol):
    """A connection that requests are sent on."""

    channel: Channel

    @property
    def is_connected(self) -> bool: ...  # and no unexpected bytes were received

    def connect(self) -> None: ...  # raises `OSError`

    def close(self) -> None: ...
