"""Connections to an engine's Unix socket: docker-py's, but a socket that cannot be connected is closed."""

from __future__ import annotations

import socket
from typing import Any

from docker.transport.unixconn import UnixHTTPAdapter, UnixHTTPConnection, UnixHTTPConnectionPool
from urllib3.connectionpool import HTTPConnectionPool


class UnixAdapter(UnixHTTPAdapter):  # type: ignore[misc]
    """Sends requests through connections that are kept for the next ones."""

    def __init__(self, path: str) -> None:
        super().__init__(f"http+unix://{path}")
        self._pool = _Pool("http+docker://localhost", path)

    def get_connection(self, url: str, proxies: Any = None) -> HTTPConnectionPool:
        return self._pool

    def close(self) -> None:
        self._pool.close()
        super().close()


class _Pool(UnixHTTPConnectionPool):  # type: ignore[misc]
    def _new_conn(self) -> Any:
        return _Connection(self.base_url, self.socket_path, self.timeout)


class _Connection(UnixHTTPConnection):  # type: ignore[misc]
    def connect(self) -> None:
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            made.settimeout(self.timeout)
            made.connect(self.unix_socket)
        except OSError:
            made.close()
            raise
        self.sock = made
