"""Addresses that a registry names: taken apart and put together without trust. What is none never raises here."""

from __future__ import annotations

from urllib.parse import urljoin, urlsplit

_PORTS = {"https": 443, "http": 80}


def origin(url: str) -> tuple[str, str | None, int | None]:
    """Scheme, host and port; host None for what is no address."""
    try:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        return "", None, None


def joined(base: str, location: str) -> str:
    """The address that a `Location` or `Link` means; "" for one that is none."""
    try:
        url = urljoin(base, location)
    except ValueError:
        return ""
    return url if origin(url)[1] else ""
