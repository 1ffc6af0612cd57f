"""Connections through proxies, which urllib3 makes: requests that a proxy sends on, tunnels (CONNECT), SOCKS."""

from __future__ import annotations

import base64
import http.client
import io
import socket
from importlib.util import find_spec
from logging import CRITICAL, getLogger
from typing import Any
from urllib.parse import unquote, urlsplit

from urllib3.connection import HTTPConnection, HTTPSConnection, ProxyConfig
from urllib3.exceptions import HTTPError
from urllib3.util import parse_url

from ocitool import credentials
from ocitool.errors import UsageError
from ocitool.transports.registry.addresses import PORTS, written
from ocitool.transports.registry.connector import OPENING, Connection, Gate
from ocitool.transports.registry.http1 import Channel, Slow

getLogger("urllib3").setLevel(CRITICAL)


class ProxyFailed(OSError):
    """The proxy does not connect; its cause says why."""


class Detour:
    """The way to a host by a proxy. `forwards`: the proxy is asked, with the whole address and `fields` in the head."""

    def __init__(self, gate: Gate, proxy: str, scheme: str, hostname: str, port: int) -> None:
        credentials.remember_address(proxy)
        parts = urlsplit(proxy)
        self._gate = gate
        self._proxy = parts.geturl()
        self._place = scheme, hostname, port
        self._user, self._word = unquote(parts.username or ""), unquote(parts.password or "")
        self._socks = parts.scheme.startswith("socks")
        login = base64.b64encode(f"{self._user}:{self._word}".encode()).decode()
        self._headers = {"Proxy-Authorization": f"Basic {login}"} if self._user else {}
        self.forwards = not self._socks and scheme == "http"
        self.fields = "".join(f"\r\n{name}: {value}" for name, value in self._headers.items()) if self.forwards else ""

    def connection(self) -> Connection:
        """One that is not opened yet."""
        made: Any = self._by_socks() if self._socks else self._by_proxy()
        made.gate = self._gate
        return made  # type: ignore[no-any-return]

    def _by_proxy(self) -> _Kept:
        url = parse_url(self._proxy)
        assert url.host is not None
        host, port = url.host.strip("[]"), url.port or PORTS[url.scheme or "http"]
        config = ProxyConfig(self._gate.trust.proxy() if url.scheme == "https" else None, False, None, None)
        if self.forwards:
            secure = url.scheme == "https"  # the proxy is believed as any other host, however insecure the registry may be
            return (_Secure if secure else _Plain)(host, port, timeout=OPENING, proxy=url, proxy_config=config)
        _, hostname, target = self._place
        made = _Secure(host, port, timeout=OPENING, cert_reqs=self._verify, proxy=url, proxy_config=config)
        made.set_tunnel(f"[{hostname}]" if ":" in hostname else hostname, target, self._headers, scheme=url.scheme or "http")
        return made

    @property
    def _verify(self) -> str:
        return "CERT_NONE" if self._gate.insecure else "CERT_REQUIRED"

    def _by_socks(self) -> _Kept:
        if find_spec("socks") is None:
            raise UsageError("a SOCKS proxy needs the package PySocks", hint="pip install 'ocitool[socks]'")
        from urllib3.contrib.socks import SOCKSConnection, SOCKSHTTPSConnection, SOCKSProxyManager

        class Plain(_Kept, SOCKSConnection):
            pass

        class Secure(_SecureKept, SOCKSHTTPSConnection):
            pass

        scheme, hostname, port = self._place
        options = SOCKSProxyManager(self._proxy, self._user, self._word).connection_pool_kw["_socks_options"]
        if scheme == "https":
            return Secure(options, hostname, port, timeout=OPENING, cert_reqs=self._verify)
        return Plain(options, hostname, port, timeout=OPENING)


class _Preamble(http.client.HTTPResponse):
    """What a proxy answers before it connects, as urllib3 reads it: bounded as any other response."""

    def __init__(self, sock: socket.socket, *arguments: Any, **more: Any) -> None:
        super().__init__(sock, *arguments, **more)
        self.fp = io.BufferedReader(Slow(self.fp.detach(), sock.gettimeout() or 0.0))


class _Kept:
    """What these connections have beside urllib3's own."""

    response_class: Any = _Preamble
    gate: Gate
    channel: Channel

    def _new_conn(self) -> socket.socket:
        return self.gate.connected(super()._new_conn)  # type: ignore[misc]

    def connect(self: Any) -> None:
        try:
            self._open()
        except (OSError, HTTPError, http.client.HTTPException) as error:
            by_proxy = self.proxy is not None and not self.has_connected_to_proxy
            raise (ProxyFailed if by_proxy else ConnectionError)("not connected") from error
        self.channel = Channel(self.sock)

    def _open(self) -> None:
        super().connect()  # type: ignore[misc]

    def close(self) -> None:
        channel = getattr(self, "channel", None)
        if channel is not None:
            channel.close()
        super().close()  # type: ignore[misc]


class _SecureKept(_Kept):
    """As `_Kept`, with TLS."""

    def _open(self: Any) -> None:
        if self.proxy_is_forwarding:
            self.ssl_context = self.gate.trust.proxy()
        else:
            host, port = (self._tunnel_host, self._tunnel_port) if self._tunnel_host else (self.host, self.port)
            self.ssl_context = self.gate.trust.context(written(host.strip("[]"), port, self.default_port))
        super()._open()
        self.gate.opened(self.sock)


class _Plain(_Kept, HTTPConnection):
    pass


class _Secure(_SecureKept, HTTPSConnection):
    pass
