"""What every new connection to a registry goes through: where it may lead, whom it believes, how it ends."""

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
from ocitool.transports.registry.addresses import Zone, allows_redirect, format_host, numeric_address, zone
from ocitool.transports.registry.http1 import Channel
from ocitool.transports.registry.trust import Trust

CONNECT_TIMEOUT = 10.0
"""Seconds for a connection, and for each step of its TLS."""


class NetworkZones:
    """Where a registry lies, by its connections, and so where it may send us (`addresses.allows_redirect`)."""

    def __init__(self, host: str, hostname: str) -> None:
        """`hostname`: without port. Behind a proxy nothing but the name is known: then it is on the internet, unless the name
        is a numeric address."""
        self.host = host
        address = numeric_address(hostname)
        self._own_zones = [zone(address)] if address is not None else []  # the first one that it was seen in first

    def record_own(self, address: str) -> None:
        """A connection of the registry's own goes there. Raises `TransportError` if it was on the internet before and is not
        now: a name that changes what it means."""
        found = zone(address)
        if found in self._own_zones:
            return
        if self._own_zones[:1] == [Zone.PUBLIC]:
            raise TransportError(f"its name has come to mean an address that is {found.value}, {address}", self.host)
        self._own_zones.append(found)

    def check(self, host: str, address: str) -> None:
        """Raises `TransportError` if the registry may not send us to this address, the one that `host` means. One that was seen
        in several places may send us where it may from each of them: a connection proves nothing of who answers it."""
        target = zone(address)
        own = next((one for one in self._own_zones or [Zone.PUBLIC] if not allows_redirect(one, target)), None)
        if own is not None:
            what = f"{host} ({address})" if host != address else host
            raise TransportError(
                f"it sends us to an address that is {target.value}, {what}, and is {own.value} itself", self.host,
                hint="nothing was sent there; --private-host HOST or, for a token server, --realm HOST allows it",
            )  # fmt: skip


class Connector:
    """What every new connection goes through: where it may lead, what it trusts, and that it is cut when the task ends."""

    def __init__(self, task: Task, access: Access, zones: NetworkZones, *, insecure: bool, own: bool) -> None:
        self.zones = zones
        self.own = own
        self.insecure = insecure
        self.trust = Trust(task, access, zones.host, insecure=insecure, own=own)
        self.aborted = False
        self._task = task
        self._access = access
        self._sockets: WeakSet[Any] = WeakSet()
        self._lock = Lock()

    def run_connect(self, connect: Callable[[], socket.socket]) -> socket.socket:
        """A new connection. Neither the look for an address nor one that does not answer could be cut short, so both go on by
        themselves when the task ends. Raises what `connect` raises, `CancelledError`."""
        sock = self._task.within(None, connect)
        self.register(sock)
        return sock

    def connect_direct(self, hostname: str, port: int, default_port: int) -> socket.socket:
        """A connection to a host without a proxy between. One that is not the registry's own goes to one of the addresses that
        the name was looked up as, each of which was looked at, and not to what it means a moment later. Raises `OSError`, and
        `TransportError` if one of them is none that the registry may send us to and the user did not name the host."""
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
        """Raises `ConnectionAbortedError` where all are cut already."""
        with self._lock:
            if not self.aborted:
                self._sockets.add(sock)
                return
        sock.close()
        raise ConnectionAbortedError

    def abort(self) -> None:
        """Wakes what waits for a response, and lets nothing begin to."""
        with self._lock:
            self.aborted = True
            sockets = list(self._sockets)
        for sock in sockets:
            with suppress(OSError, ValueError):
                sock.shutdown(socket.SHUT_RDWR)


class Connection(Protocol):
    """What requests are sent on."""

    channel: Channel

    @property
    def is_connected(self) -> bool: ...  # and nothing has come that was not asked for

    def connect(self) -> None: ...  # raises `OSError`

    def close(self) -> None: ...
