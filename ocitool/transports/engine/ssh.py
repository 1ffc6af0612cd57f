"""Connections to an engine on another machine through ssh.

The `ssh` program is started and runs `docker system dial-stdio` there, as the docker client does, so that keys, agents, jump
hosts and known hosts are those of the user. docker-py's own way needs paramiko (LGPL), which knows less of `~/.ssh/config`.
"""

from __future__ import annotations

import socket
import subprocess
import tempfile
from typing import IO, Any

import requests
from docker.transport.basehttpadapter import BaseHTTPAdapter
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool

from ocitool.transports.engine.address import EngineAddress

_PATIENCE = 2
"""Seconds in which ssh ends once its input is closed."""
_SHOWN = 300
"""Bytes of what ssh says that become part of a message."""


class SshEnded(OSError):
    """ssh ended without an answer of the engine. Its text is what ssh said."""


class SshAdapter(BaseHTTPAdapter):  # type: ignore[misc]
    """Sends requests through one ssh process for each connection."""

    def __init__(self, address: EngineAddress, timeout: float) -> None:
        super().__init__()
        self._pool = _Pool(address, timeout)

    def get_connection(self, url: str, proxies: Any = None) -> HTTPConnectionPool:
        return self._pool

    def request_url(self, request: Any, proxies: Any) -> str:
        return str(request.path_url)

    def send(self, *args: Any, **kwargs: Any) -> Any:
        self._pool.ended = None
        try:
            return super().send(*args, **kwargs)
        except requests.RequestException as error:
            if self._pool.ended is not None:
                raise SshEnded(self._pool.ended) from error
            raise

    def close(self) -> None:
        self._pool.close()
        super().close()


class _Pool(HTTPConnectionPool):
    """`ended`: what ssh said when it last ended by itself, with an error."""

    def __init__(self, address: EngineAddress, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout, maxsize=4, retries=False)
        self._address = address
        self.ended: str | None = None

    def _new_conn(self) -> Any:
        return _Connection(self, self._address, self.timeout.connect_timeout)


class _Connection(HTTPConnection):
    """Its socket is one end of a pair, the other is standard input and output of ssh."""

    def __init__(self, pool: _Pool, address: EngineAddress, timeout: Any) -> None:
        super().__init__("localhost", timeout=timeout)
        self._pool = pool
        self._address = address
        self._process: subprocess.Popen[bytes] | None = None
        self._errors: IO[bytes] | None = None

    def connect(self) -> None:
        ours, theirs = socket.socketpair()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  (closed with the connection)
        words = ["ssh", "-T", "-o", "ConnectTimeout=30"]
        if self._address.user:
            words += ["-l", self._address.user]
        if self._address.port:
            words += ["-p", str(self._address.port)]
        words += ["--", self._address.host, "docker", "system", "dial-stdio"]
        try:
            with theirs:
                self._process = subprocess.Popen(words, stdin=theirs.fileno(), stdout=theirs.fileno(), stderr=self._errors)
        except OSError:
            ours.close()
            raise
        ours.settimeout(self.timeout if isinstance(self.timeout, (int, float)) else None)
        self.sock = ours

    def close(self) -> None:
        super().close()
        if self._process is not None:
            try:
                code = self._process.wait(_PATIENCE)  # our end is closed, so it ends
            except subprocess.TimeoutExpired:
                self._process.terminate()
                code = self._process.wait(_PATIENCE) and 0
            if code and self._errors is not None:
                self._errors.seek(0)
                self._pool.ended = self._errors.read(_SHOWN).decode("utf-8", "replace").strip()
            self._process = None
        if self._errors is not None:
            self._errors.close()
            self._errors = None
