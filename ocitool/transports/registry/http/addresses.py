"""URLs that a registry sends, split and resolved without trust. Invalid ones never raise here.

The network zone of an address (`zone`) decides whether a registry may refer to it: a registry on the internet must not
make ocitool send requests into the user's network or to the user's machine (server-side request forgery). The check
uses the numeric address of the connection, however the host name spells it or resolves.
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
"""Default ports of the schemes that are supported."""
_URL = pattern(r"(?P<host>[^/?#]*//[^/?#]*)(?P<path>[^#]*)", re.DOTALL)
UNESCAPED = "".join(map(chr, range(0x21, 0x7F)))
"""Characters that are left as the registry wrote them, even if they should be escaped: the registry compares them with
what it is sent."""


@lru_cache(64)  # several calls for each request, with the same URL
def origin(url: str) -> tuple[str, str | None, int | None]:
    """Returns scheme, host and port (the origin, RFC 6454). The host is None for an invalid URL, and for one that
    another parser may read as one of another host."""
    try:
        parts = urlsplit(url)
        if "\\" in parts.netloc or ("%" in parts.netloc and "%" in (parts.hostname or "").partition(":")[0]):
            return "", None, None
        return parts.scheme, parts.hostname, parts.port or DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return "", None, None


def resolve_url(base: str, location: str) -> str:
    """Returns the URL that a `Location` or `Link` refers to (RFC 3986, 5), without a fragment; "" if it is invalid.
    Bytes that a path cannot have are escaped: header fields are read as Latin-1, but some servers write UTF-8."""
    try:
        found = _URL.match(urljoin(base, location))
    except ValueError:
        return ""
    url = found["host"] + quote(found["path"], UNESCAPED, "latin-1", "replace") if found is not None else ""
    return url if origin(url)[1] else ""


def host_of(url: str) -> str:
    """Returns the host of a URL as users write it: with the port unless it is the default port of the scheme."""
    scheme, hostname, port = origin(url)
    return format_host(hostname, port, DEFAULT_PORTS.get(scheme)) if hostname is not None else ""


def format_host(hostname: str, port: int | None, default: int | None) -> str:
    """Returns a host as `host_of` does, from its parts."""
    bare = f"[{hostname}]" if ":" in hostname else hostname
    return bare if port == default else f"{bare}:{port}"


class Zone(Enum):
    """The kind of network that an address is in."""

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
"""Link-local includes the addresses of cloud metadata services, which give a machine its credentials. Multicast and
reserved networks count as private: no public server has such an address."""
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_IPV4_COMPATIBLE = ipaddress.ip_network("::/96")
_IPV4_TRANSLATED = ipaddress.ip_network("::ffff:0:0:0/96")


def zone(address: str) -> Zone:
    """Returns the zone of a numeric address. An IPv6 address that embeds an IPv4 address is in the zone of the latter."""
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
    """Returns the numeric address that a host name spells, as resolvers and proxies read it: in hexadecimal, octal or
    as one number, with characters that IDNA maps to digits and dots, with a trailing dot, or as `localhost` (RFC 6761).
    None for any other name."""
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
    """Returns whether a registry in zone `own` may refer to an address in zone `target`: to the internet, to its own
    zone, and from this machine to the local network."""
    return target in (Zone.PUBLIC, own) or (own, target) == (Zone.LOOPBACK, Zone.PRIVATE)


def same_domain(host: str, other: str) -> bool:
    """Returns whether two host names seem to belong to one owner: they are equal, or equal in their last two labels
    (three if the last two are short, as in `co.uk`). Numeric addresses must be equal."""
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
