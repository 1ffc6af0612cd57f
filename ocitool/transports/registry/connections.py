"""Connections to registries: how many there are, whom they trust, and how they end."""

from __future__ import annotations

import os
import socket
import ssl
from contextlib import suppress
from threading import Lock
from typing import Any
from weakref import WeakSet

import urllib3
from requests.adapters import HTTPAdapter

from ocitool.blob import unopened
from ocitool.errors import FormatError, OcitoolError, UsageError
from ocitool.transports.registry.access import Access


class Adapter(HTTPAdapter):
    """As many connections as there are threads, none tried again by itself, and all of them cut when the task ends."""

    def __init__(self, jobs: int, access: Access, *, insecure: bool) -> None:
        self._insecure = insecure
        self._sockets: WeakSet[Any] = WeakSet()
        self._opening = Lock()
        self._access = access
        super().__init__(pool_connections=8, pool_maxsize=jobs + 4, max_retries=urllib3.Retry(0, read=False), pool_block=False)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        if self._access.ca is not None or self._insecure:
            kwargs["ssl_context"] = _context(self._access.ca, insecure=self._insecure)
        super().init_poolmanager(*args, **kwargs)
        adapter = self

        class Plain(urllib3.connection.HTTPConnection):
            def connect(self) -> None:
                super().connect()
                adapter.opened(self.sock)

        class Secure(urllib3.connection.HTTPSConnection):
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

        self.poolmanager.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}

    def proxy_manager_for(self, proxy: Any, **kwargs: Any) -> Any:
        if self._access.ca is not None or self._insecure:
            kwargs["ssl_context"] = _context(self._access.ca, insecure=self._insecure)
        return super().proxy_manager_for(proxy, **kwargs)

    def opened(self, sock: Any) -> None:
        with self._opening:
            self._sockets.add(sock)

    def abort(self) -> None:
        """Wakes whoever waits for an answer."""
        with self._opening:
            sockets = list(self._sockets)
        for sock in sockets:
            with suppress(OSError, ValueError):
                sock.shutdown(socket.SHUT_RDWR)
        self.close()


def _context(ca: str | None, *, insecure: bool) -> ssl.SSLContext:
    """The authorities of the system and of requests, and one more. None where nothing is verified: to load them takes a tenth
    of a short command."""
    context = urllib3.util.ssl_.create_urllib3_context()
    if insecure:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context
    context.load_default_certs()
    try:
        context.load_verify_locations(ca)
    except OSError as error:
        raise _no_certificate(str(ca), error) from None
    return context


def certificate(access: Access) -> Any:
    if access.cert is None:
        if access.key is not None:
            raise UsageError("--key needs --cert")
        return None
    context = urllib3.util.ssl_.create_urllib3_context()
    for path in (access.cert, access.key):
        if path is not None and not os.path.isfile(path):
            raise unopened(path, FileNotFoundError())
    try:
        context.load_cert_chain(access.cert, access.key, password=lambda: "")
    except OSError as error:
        raise _no_certificate(access.cert, error) from None
    return (access.cert, access.key) if access.key is not None else access.cert


def _no_certificate(path: str, error: OSError) -> OcitoolError:
    if isinstance(error, FileNotFoundError):
        return unopened(path, error)
    return FormatError("no certificate that can be read", path)
