"""By which proxies a host is reached: `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY`, and what `NO_PROXY` excepts of them.

The rules are those of Go's httpproxy, which docker, podman and skopeo go by: this machine is reached without a proxy; an entry
of `NO_PROXY` is a host with those below it, an address, a network, or one of these with a port. What requests makes of it knows
no port behind an address, no IPv6, and takes `example.com` for the end of `notexample.com`.
"""

from __future__ import annotations

import ipaddress
from urllib.request import getproxies, proxy_bypass

from ocitool.transports.registry.addresses import literal, origin


def proxies_for(url: str) -> dict[str, str]:
    """The proxies that the environment names for an address, by scheme, as requests selects of them."""
    proxies = {scheme: proxy for scheme, proxy in getproxies().items() if proxy}
    excepted = proxies.pop("no", "")
    _, hostname, port = origin(url)
    if not proxies or hostname is None or excepts(excepted, hostname, port) or proxy_bypass(f"{hostname}:{port}"):
        return {}
    return proxies


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


def _meets(
    entry: str, name: str, numeric: ipaddress.IPv4Address | ipaddress.IPv6Address | None, port: int | None
) -> bool:
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
