"""Connections through proxies, made by urllib3: forwarded requests, tunnels (CONNECT) and SOCKS."""

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
from ocitool.transports.registry.http.addresses import DEFAULT_PORTS, format_host
from ocitool.transports.registry.http.connector import CONNECT_TIMEOUT, Connection, Connector
from ocitool.transports.registry.http.http1 import Channel, MinimumRateReader

getLogger("urllib3").setLevel(CRITICAL)


class ProxyConnectionError(OSError):
    """The proxy does not connect; the cause of this error says why."""


class ProxyRoute:
    """How a host is reached through a proxy. `is_forwarding`: requests are sent to the proxy with the whole URL and
    `header_fields`, not through a tunnel."""

    def __init__(self, connector: Connector, proxy: str, scheme: str, hostname: str, port: int) -> None:
        credentials.remember_address(proxy)
        parts = urlsplit(proxy)
        self._connector = connector
        self._proxy = parts.geturl()
        self._target = scheme, hostname, port
        self._user, self._password = unquote(parts.username or ""), unquote(parts.password or "")
        self._socks = parts.scheme.startswith("socks")
        login = base64.b64encode(f"{self._user}:{self._password}".encode()).decode()
        self._headers = {"Proxy-Authorization": f"Basic {login}"} if self._user else {}
        self.is_forwarding = not self._socks and scheme == "http"
        self.header_fields = (
            "".join(f"\r\n{name}: {value}" for name, value in self._headers.items()) if self.is_forwarding else ""
        )

    def connection(self) -> Connection:
        """Returns a new connection, not opened yet."""
        connection: Any = self._socks_connection() if self._socks else self._http_proxy_connection()
        connection.connector = self._connector
        return connection  # type: ignore[no-any-return]

    def _http_proxy_connection(self) -> _Connection:
        url = parse_url(self._proxy)
        assert url.host is not None
        host, port = url.host.strip("[]"), url.port or DEFAULT_PORTS[url.scheme or "http"]
        config = ProxyConfig(self._connector.trust.proxy_context() if url.scheme == "https" else None, False, None, None)
        if self.is_forwarding:
            secure = url.scheme == "https"  # the certificate of the proxy is verified even if that of the registry is not
            return (_HttpsConnection if secure else _HttpConnection)(
                host, port, timeout=CONNECT_TIMEOUT, proxy=url, proxy_config=config
            )
        _, hostname, target = self._target
        connection = _HttpsConnection(
            host, port, timeout=CONNECT_TIMEOUT, cert_reqs=self._verify, proxy=url, proxy_config=config
        )
        connection.set_tunnel(
            f"[{hostname}]" if ":" in hostname else hostname, target, self._headers, scheme=url.scheme or "http"
        )
        return connection

    @property
    def _verify(self) -> str:
        return "CERT_NONE" if self._connector.insecure else "CERT_REQUIRED"

    def _socks_connection(self) -> _Connection:
        if find_spec("socks") is None:
            raise UsageError("a SOCKS proxy needs the package PySocks", hint="pip install 'ocitool[socks]'")
        from urllib3.contrib.socks import SOCKSConnection, SOCKSHTTPSConnection, SOCKSProxyManager

        class Plain(_Connection, SOCKSConnection):
            pass

        class Secure(_TlsConnection, SOCKSHTTPSConnection):
            pass

        scheme, hostname, port = self._target
        options = SOCKSProxyManager(self._proxy, self._user, self._password).connection_pool_kw["_socks_options"]
        if scheme == "https":
            return Secure(options, hostname, port, timeout=CONNECT_TIMEOUT, cert_reqs=self._verify)
        return Plain(options, hostname, port, timeout=CONNECT_TIMEOUT)


class _ProxyResponse(http.client.HTTPResponse):
    """The response of a proxy to CONNECT, as urllib3 reads it; its size and time are bounded as those of other
    responses."""

    def __init__(self, sock: socket.socket, *arguments: Any, **more: Any) -> None:
        super().__init__(sock, *arguments, **more)
        self.fp = io.BufferedReader(MinimumRateReader(self.fp.detach(), sock.gettimeout() or 0.0))


class _Connection:
    """A mixin for connections of urllib3: sockets are opened by the connector, and requests are sent on a `Channel`."""

    response_class: Any = _ProxyResponse
    connector: Connector
    channel: Channel

    def _new_conn(self) -> socket.socket:
        return self.connector.run_connect(super()._new_conn)  # type: ignore[misc]

    def connect(self: Any) -> None:
        try:
            self._connect()
        except (OSError, HTTPError, http.client.HTTPException) as error:
            by_proxy = self.proxy is not None and not self.has_connected_to_proxy
            raise (ProxyConnectionError if by_proxy else ConnectionError)("not connected") from error
        self.channel = Channel(self.sock)

    def _connect(self) -> None:
        super().connect()  # type: ignore[misc]

    def close(self) -> None:
        channel = getattr(self, "channel", None)
        if channel is not None:
            channel.close()
        super().close()  # type: ignore[misc]


class _TlsConnection(_Connection):
    """As `_Connection`, with TLS."""

    def _connect(self: Any) -> None:
        if self.proxy_is_forwarding:
            self.ssl_context = self.connector.trust.proxy_context()
        else:
            host, port = (self._tunnel_host, self._tunnel_port) if self._tunnel_host else (self.host, self.port)
            self.ssl_context = self.connector.trust.context(format_host(host.strip("[]"), port, self.default_port))
        super()._connect()
        self.connector.register(self.sock)


class _HttpConnection(_Connection, HTTPConnection):
    pass


class _HttpsConnection(_TlsConnection, HTTPSConnection):
    pass
