"""The proxy for a URL, from `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`.

The rules are those of Go's httpproxy, which docker, podman and skopeo use: this machine is reached without a proxy; an
entry of `NO_PROXY` is a host with its subdomains, an address, a network, or one of these with a port. The rules of
requests differ: no port after an address, no IPv6, and `example.com` also matches `notexample.com`.
"""

from __future__ import annotations

import ipaddress
import os
import sys

from ocitool.errors import UsageError
from ocitool.transports.registry.http.addresses import numeric_address, origin

_SCHEMES = ("http", "https", "socks5", "socks5h", "socks4", "socks4a")


def _from_environment() -> dict[str, str]:
    """Returns the proxies by scheme (`http`, `https`, `all`), and the value of `NO_PROXY` as `no`."""
    if sys.platform != "darwin" and not any(name.lower().endswith("_proxy") for name in os.environ):
        return {}  # importing urllib.request takes a fifth of the time of a short command
    from urllib.request import getproxies

    return {kind: proxy for kind, value in getproxies().items() if (proxy := value.strip())}


def proxy_for(url: str) -> str | None:
    """Returns the URL of the proxy that the environment names for a URL; None if it is reached without one. Raises
    `UsageError` for an invalid proxy URL, which is not quoted: it may hold a password."""
    proxies = _from_environment()
    no_proxy = proxies.pop("no", "")
    scheme, hostname, port = origin(url)
    variable = scheme if scheme in proxies else "all"
    if variable not in proxies or hostname is None or is_excluded(no_proxy, hostname, port):
        return None
    from urllib.request import proxy_bypass

    if proxy_bypass(f"{hostname}:{port}"):
        return None
    proxy = proxies[variable] if "://" in proxies[variable] else f"http://{proxies[variable]}"
    kind, host, _ = origin(proxy)
    if kind not in _SCHEMES or not host:
        raise UsageError(
            f"{variable.upper()}_PROXY is not a valid proxy URL", hint="SCHEME://HOST:PORT, with http, https or socks5h"
        )
    return proxy


def has_login() -> bool:
    """Returns whether the environment has a user name for a proxy."""
    return any("@" in proxy for proxy in _from_environment().values())


def is_excluded(no_proxy: str, hostname: str, port: int | None) -> bool:
    """Returns whether a host is reached without a proxy. `no_proxy`: the value of `NO_PROXY`."""
    address = numeric_address(hostname)
    numeric = ipaddress.ip_address(address) if address is not None else None
    if isinstance(numeric, ipaddress.IPv6Address):
        numeric = numeric.ipv4_mapped or numeric
    if numeric is not None and numeric.is_loopback:
        return True
    name = hostname.lower().rstrip(".")
    return any(_matches(entry, name, numeric, port) for entry in no_proxy.lower().replace(",", " ").split())


def _matches(entry: str, name: str, numeric: ipaddress.IPv4Address | ipaddress.IPv6Address | None, port: int | None) -> bool:
    if entry == "*":
        return True
    network = _network(entry)
    if network is None:
        host, colon, port_text = entry.rpartition(":")
        if colon and port_text.isdigit():
            if int(port_text) != port:
                return False
            entry = host
            network = _network(entry)
    if network is not None:
        return numeric is not None and numeric in network
    domain = entry.strip("*.")
    matches_domain = not entry.startswith((".", "*."))  # a leading dot excludes the domain itself
    return bool(domain) and ((matches_domain and name == domain) or name.endswith(f".{domain}"))


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """Returns a network, or an address as a network; None for other text."""
    text = text.removeprefix("[").removesuffix("]")
    try:
        return ipaddress.ip_network(text.removeprefix("::ffff:") if "." in text else text, strict=False)
    except ValueError:
        return None
