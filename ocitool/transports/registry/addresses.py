"""Addresses that a registry names: taken apart and put together without trust. What is none never raises here.

Where an address lies (`zone`) decides whether a registry may send us there: one on the internet does not reach into the network
or the machine of its user. Judged is the numeric address that a connection goes to, however its name spells it or resolves.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from contextlib import suppress
from enum import Enum
from functools import lru_cache
from urllib.parse import quote, urljoin, urlsplit

from ocitool.patterns import pattern

DEFAULT_PORTS = {"https": 443, "http": 80}
"""Of the schemes that registries are asked by."""
_URL = pattern(r"(?P<host>[^/?#]*//[^/?#]*)(?P<path>[^#]*)", re.DOTALL)
UNESCAPED = "".join(map(chr, range(0x21, 0x7F)))
"""Characters that are left as the registry wrote them, be they right or not: it compares them with what it is sent."""


@lru_cache(64)  # a request asks for that of its address several times
def origin(url: str) -> tuple[str, str | None, int | None]:
    """Scheme, host and port; host None for what is no address, and for what another reader may take for one of another host."""
    try:
        parts = urlsplit(url)
        if "\\" in parts.netloc or ("%" in parts.netloc and "%" in (parts.hostname or "").partition(":")[0]):
            return "", None, None
        return parts.scheme, parts.hostname, parts.port or DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return "", None, None


def resolve_url(base: str, location: str) -> str:
    """The address that a `Location` or `Link` means, without a fragment, which is sent to no server; "" for one that is none.
    Bytes that a path cannot have are escaped: headers are read as Latin-1, and hold what servers write in UTF-8."""
    try:
        found = _URL.match(urljoin(base, location))
    except ValueError:
        return ""
    url = found["host"] + quote(found["path"], UNESCAPED, "latin-1", "replace") if found is not None else ""
    return url if origin(url)[1] else ""


def host_of(url: str) -> str:
    """The host of an address as users write it: with its port unless that is the scheme's own."""
    scheme, hostname, port = origin(url)
    return format_host(hostname, port, DEFAULT_PORTS.get(scheme)) if hostname is not None else ""


def format_host(hostname: str, port: int | None, default: int | None) -> str:
    """As `host_of`, from its parts."""
    bare = f"[{hostname}]" if ":" in hostname else hostname
    return bare if port == default else f"{bare}:{port}"


class Zone(Enum):
    """Where an address lies."""

    PUBLIC = "public"
    PRIVATE = "private"
    LOOPBACK = "loopback"
    LINK_LOCAL = "link-local"


def _networks(text: str) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    return tuple(map(ipaddress.ip_network, text.split()))


_ZONES = (
    (Zone.LOOPBACK, _networks("127.0.0.0/8 0.0.0.0/8 ::1/128 ::/128")),
    (
        Zone.LINK_LOCAL,
        _networks(
            "169.254.0.0/16 fe80::/10 168.63.129.16/32 192.0.0.192/32 100.100.100.200/32"
            " fd00:ec2::/32 fd20:ce::254/128 fd00:42::42/128 fd00:c1::a9fe:a9fe/128"
        ),
    ),
    (
        Zone.PRIVATE,
        _networks(
            "10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 100.64.0.0/10 192.0.0.0/24 224.0.0.0/3 fc00::/7 fec0::/10 ff00::/8"
            " 64:ff9b:1::/48"
        ),
    ),
)
"""Link-local are here also the addresses at which clouds tell a machine its secrets. Multicast and reserved networks are no
place of a server."""
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_IPV4_COMPATIBLE = ipaddress.ip_network("::/96")
_IPV4_TRANSLATED = ipaddress.ip_network("::ffff:0:0:0/96")


def zone(address: str) -> Zone:
    """Of a numeric address, as connections have it. One of IPv6 that carries one of IPv4 lies where that does."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address):
        inner = parsed.ipv4_mapped or parsed.sixtofour or (parsed.teredo[1] if parsed.teredo is not None else None)
        if inner is None and (
            parsed in _NAT64 or parsed in _IPV4_TRANSLATED or (parsed in _IPV4_COMPATIBLE and int(parsed) > 1)
        ):
            inner = ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF)
        parsed = inner or parsed
    return next((kind for kind, networks in _ZONES if any(parsed in network for network in networks)), Zone.PUBLIC)


def numeric_address(hostname: str) -> str | None:
    """The numeric address that a host's name spells, as systems and proxies read it: in hexadecimal, octal or one number, with
    characters that stand for digits and dots (IDNA), with a dot behind, as `localhost` (RFC 6761)."""
    if not hostname.isascii():
        with suppress(UnicodeError):
            hostname = hostname.encode("idna").decode("ascii")
    hostname = hostname.lower().rstrip(".")
    if hostname == "localhost" or hostname.endswith(".localhost"):
        return "127.0.0.1"
    try:
        return str(ipaddress.ip_address(hostname.partition("%")[0]))
    except ValueError:
        pass
    try:
        return socket.inet_ntoa(socket.inet_aton(hostname))
    except (OSError, UnicodeError, ValueError):
        return None


def allows_redirect(own: Zone, target: Zone) -> bool:
    """Whether a registry that lies in `own` may send us `target`: to the internet, to its like, from this machine into its
    network."""
    return target in (Zone.PUBLIC, own) or (own, target) == (Zone.LOOPBACK, Zone.PRIVATE)


def same_domain(host: str, other: str) -> bool:
    """Whether two hosts are of one owner as far as their names tell: equal, or equal in their last two parts, three below short
    ones as in `co.uk`. Numeric addresses are of one owner only if they are equal."""
    host, other = host.lower().rstrip("."), other.lower().rstrip(".")
    if host == other:
        return True
    if numeric_address(host) is not None or numeric_address(other) is not None:
        return False
    return _registered_domain(host) == _registered_domain(other) != ""


def _registered_domain(host: str) -> str:
    parts = host.split(".")
    count = 3 if len(parts) > 2 and len(parts[-1]) == 2 and len(parts[-2]) <= 3 else 2
    return ".".join(parts[-count:]) if len(parts) >= count else ""
