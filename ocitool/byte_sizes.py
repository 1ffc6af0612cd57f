"""Numbers of bytes as people write them: `10MB`, `1.5 GiB`."""

from __future__ import annotations

from ocitool.patterns import pattern

UNITS = {"B": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
         "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}  # fmt: skip

_SIZE = pattern(r"([0-9]{1,15}(?:\.[0-9]{1,6})?) ?([kKMGT]?i?B)?")


def byte_size(text: str) -> int | None:
    """Returns the number of bytes that a text such as `10MB` or `1.5 GiB` says, rounded down; None if it says none."""
    match = _SIZE.fullmatch(text)
    unit = (match.group(2) or "B") if match else ""
    if match is None or unit not in UNITS:
        return None
    # In whole numbers: a float of 15 digits and a unit is off by some bytes.
    whole, _, fraction = match.group(1).partition(".")
    return int(whole + fraction) * UNITS[unit] // int(10 ** len(fraction))
