"""By which proxies a host is reached: `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY`, and what `NO_PROXY` excepts of them.

The rules are those of Go's httpproxy, which docker, podman and skopeo go by: this machine is reached without a proxy; an entry
of `NO_PROXY` is a host with those below it, an address, a network, or one of these with a port. What requests makes of it knows
no port behind an address, no IPv6, and takes `example.com` for the end of `notexample.com`.
"""

from __future__ import annotations

import ipaddress
import os
import sys

from ocitool.errors import UsageError
from ocitool.transports.registry.addresses import literal, origin

_KINDS = ("http", "https", "socks5", "socks5h", "socks4", "socks4a")


def _named() -> dict[str, str]:
    """Proxies by their kind, `http`, `https`, `all`, and what `NO_PROXY` excepts as `no`."""
    if sys.platform != "darwin" and not any(name.lower().endswith("_proxy") for name in os.environ):
        return {}  # urllib.request takes a fifth of a short command
    from urllib.request import getproxies

    return {kind: proxy for kind, value in getproxies().items() if (proxy := value.strip())}


def proxy_for(url: str) -> str | None:
    """Returns the proxy that the environment names for an address, with its scheme; None if it is reached without one. Raises
    `UsageError` for what is no proxy, without its words: they may hold a password."""
    proxies = _named()
    excepted = proxies.pop("no", "")
    scheme, hostname, port = origin(url)
    named = scheme if scheme in proxies else "all"
    if named not in proxies or hostname is None or excepts(excepted, hostname, port):
        return None
    from urllib.request import proxy_bypass

    if proxy_bypass(f"{hostname}:{port}"):
        return None
    proxy = proxies[named] if "://" in proxies[named] else f"http://{proxies[named]}"
    kind, host, _ = origin(proxy)
    if kind not in _KINDS or not host:
        raise UsageError(f"{named.upper()}_PROXY names no proxy", hint="SCHEME://HOST:PORT, with http, https or socks5h")
    return proxy


def login_given() -> bool:
    """Whether the environment gives a proxy a user's name."""
    return any("@" in proxy for proxy in _named().values())


def excepts(entries: str, hostname: str, port: int | None) -> bool:
    """Whether a host is reached without a proxy, by the entries of a `NO_PROXY`."""
    address = literal(hostname)
    numeric = ipaddress.ip_address(address) if address is not None else None
    if isinstance(numeric, ipaddress.IPv6Address):
        numeric = numeric.ipv4_mapped or numeric
    if numeric is not None and numeric.is_loopback:
        return True
    name = hostname.lower().rstrip(".")
    return any(_meets(entry, name, numeric, port) for entry in entries.lower().replace(",", " ").split())


def _meets(entry: str, name: str, numeric: ipaddress.IPv4Address | ipaddress.IPv6Address | None, port: int | None) -> bool:
    if entry == "*":
        return True
    network = _network(entry)
    if network is None:
        host, colon, given = entry.rpartition(":")
        if colon and given.isdigit():
            if int(given) != port:
                return False
            entry = host
            network = _network(entry)
    if network is not None:
        return numeric is not None and numeric in network
    below = entry.strip("*.")
    itself = not entry.startswith((".", "*."))  # a dot before it means only what is below
    return bool(below) and ((itself and name == below) or name.endswith(f".{below}"))


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """A network, or an address as one."""
    text = text.removeprefix("[").removesuffix("]")
    try:
        return ipaddress.ip_network(text.removeprefix("::ffff:") if "." in text else text, strict=False)
    except ValueError:
        return None
