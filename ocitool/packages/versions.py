"""The order of versions, as each kind of packages defines it.

- deb: deb-version(7): epoch, upstream version, revision; `~` sorts before the end.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import zip_longest

from ocitool.packages.package import PackageKind

MAX_LENGTH = 1_000
"""Characters of a version that are compared; longer ones have no order."""


def compare(kind: PackageKind, a: str, b: str) -> int | None:
    """Returns -1 if version `a` is older than `b`, 1 if it is newer, 0 if neither is; None if one of them is not a version
    of this kind."""
    if a == b:
        return 0
    of = _COMPARERS.get(kind)
    if of is None or len(a) > MAX_LENGTH or len(b) > MAX_LENGTH:
        return None
    return of(a, b)


def _sign(x: int) -> int:
    return (x > 0) - (x < 0)


# deb

_PARTS = re.compile(r"([^0-9]*)([0-9]*)")


def _deb(a: str, b: str) -> int:
    (epoch_a, upstream_a, revision_a), (epoch_b, upstream_b, revision_b) = _deb_parts(a), _deb_parts(b)
    return _sign(epoch_a - epoch_b) or _deb_order(upstream_a, upstream_b) or _deb_order(revision_a, revision_b)


def _deb_parts(version: str) -> tuple[int, str, str]:
    epoch, colon, rest = version.partition(":")
    if not colon or not (epoch.isascii() and epoch.isdigit()):
        epoch, rest = "0", version
    upstream, _, revision = rest.rpartition("-") if "-" in rest else (rest, "", "")
    return int(epoch), upstream, revision


def _deb_order(a: str, b: str) -> int:
    for (text_a, number_a), (text_b, number_b) in zip_longest(_PARTS.findall(a), _PARTS.findall(b), fillvalue=("", "")):
        for x, y in zip_longest(text_a, text_b):
            order = _sign(_deb_weight(x) - _deb_weight(y))
            if order:
                return order
        order = _sign(int(number_a or 0) - int(number_b or 0))
        if order:
            return order
    return 0


def _deb_weight(character: str | None) -> int:
    """Returns the weight of a character that is no digit: `~` before the end, letters before all others."""
    if character is None:
        return 0
    if character == "~":
        return -1
    return ord(character) if character.isascii() and character.isalpha() else ord(character) + 256


_COMPARERS: dict[PackageKind, Callable[[str, str], int | None]] = {"deb": _deb}
