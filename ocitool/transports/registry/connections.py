"""Connections to registries: how many there are, whom they trust, and how they end."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Lock
from typing import Any
from weakref import WeakSet

import urllib3
from requests.adapters import HTTPAdapter

from ocitool.blob import unopened
from ocitool.errors import FormatError, UsageError
from ocitool.task import Task
from ocitool.transports.registry.access import Access


class Adapter(HTTPAdapter):
    """As many connections as there are threads, none tried again by itself, and all of them cut when the task ends."""

    def __init__(self, task: Task, access: Access, *, insecure: bool) -> None:
        self._task = task
        self._sockets: WeakSet[Any] = WeakSet()
        self._opening = Lock()
        self._aborted = False
        self._context = _context(access, insecure=insecure)
        super().__init__(
            pool_connections=8, pool_maxsize=task.jobs + 4, max_retries=urllib3.Retry(0, read=False), pool_block=False
        )

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        if self._context is not None:
            kwargs["ssl_context"] = self._context
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _pools(self)

    def proxy_manager_for(self, proxy: Any, **kwargs: Any) -> Any:
        if self._context is not None:
            kwargs["ssl_context"] = self._context
        manager = super().proxy_manager_for(proxy, **kwargs)
        manager.pool_classes_by_scheme = _pools(self)
        return manager

    def connected(self, connect: Callable[[], socket.socket]) -> socket.socket:
        """A new connection. Neither the look for an address nor one that does not answer could be cut short, so both go on by
        themselves when the task ends. Raises what `connect` raises, `CancelledError`."""
        sock = self._task.within(None, connect)
        self.opened(sock)
        return sock

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


def _pools(adapter: Adapter) -> dict[str, Any]:
    """Pools of connections that the adapter knows of: before TLS begins, and once it has."""

    class Plain(urllib3.connection.HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return adapter.connected(super()._new_conn)

    class Secure(urllib3.connection.HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return adapter.connected(super()._new_conn)

        def connect(self) -> None:
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


def _context(access: Access, *, insecure: bool) -> ssl.SSLContext | None:
    """What TLS goes by beside what requests brings, None where that is all: the authority and the certificate that are named.
    Loaded once, for all connections: while it is loaded by one, another would offer half of it. Where nothing is verified no
    authorities are: to load them takes a tenth of a short command."""
    if access.key is not None and access.cert is None:
        raise UsageError("--key needs --cert")
    if access.ca is None and access.cert is None and not insecure:
        return None
    context = urllib3.util.ssl_.create_urllib3_context()
    if insecure:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    else:
        context.load_default_certs()
    if access.ca is not None:
        with _certificates(access.ca):
            context.load_verify_locations(access.ca)
    if access.cert is not None:
        with _certificates(access.cert, access.key):
            context.load_cert_chain(access.cert, access.key, password=lambda: "")
    return context


@contextmanager
def _certificates(*paths: str | None) -> Iterator[None]:
    """Raises `NotFoundError` for a file that is not there, `FormatError` for one that holds no certificate or key."""
    for path in paths:
        if path is not None and not os.path.isfile(path):
            raise unopened(path, FileNotFoundError())
    try:
        yield
    except OSError:
        raise FormatError("no certificate or key that can be read", next(filter(None, reversed(paths)))) from None
