"""The order of versions, as each kind of packages defines it.

A version is read into parts, each a list of items; two versions are compared item by item. If a part of one of them has fewer
items, a filler of its kind stands for each that is missing. So `~` comes before the end of a Debian version, and `1.0` is
`1` for a gem. `packaging` reads versions of Python. There is no library for the others: of those that are not under the GPL,
none knows the suffixes of Alpine (`1.2_git2023`) and colons in Debian versions, and they take longer to be imported than to be
written.

- deb: deb-version(7)
- rpm: rpm-version(7), `rpmvercmp`
- apk: apk-tools, `src/version.c`
- npm, golang: https://semver.org/spec/v2.0.0.html
- gem: https://docs.ruby-lang.org/en/master/Gem/Version.html
- maven: https://maven.apache.org/pom.html#version-order-specification
- conda: https://docs.conda.io/projects/conda/en/stable/user-guide/concepts/pkg-specs.html#version-ordering
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

from ocitool.packages.package import PackageKind
from ocitool.patterns import pattern

MAX_LENGTH = 500
"""Characters of a version that is compared; a longer one has no order, nor has one that is not ASCII."""

Item = Any
"""A number, text or tuple that can be compared with the others of its place."""
Parts = Sequence[Sequence[Item]]


class _Order(NamedTuple):
    """How versions of a kind are compared. `parts`: reads a version, and returns None if it is none of this kind; `fill`:
    what stands for an item that one version lacks, given that of the other."""

    parts: Callable[[str], Parts | None]
    fill: Callable[[Item], Item]


def compare(kind: PackageKind, a: str, b: str) -> int | None:
    """Returns -1 if version `a` is older than `b`, 1 if it is newer, 0 if neither is; None if one of them is not a version
    of this kind."""
    if a == b:
        return 0
    if len(a) > MAX_LENGTH or len(b) > MAX_LENGTH or not (a.isascii() and b.isascii()):
        return None
    if kind == "pypi":
        return _compare_pypi(a, b)
    order = _ORDERS[kind]
    old, new = order.parts(a), order.parts(b)
    if old is None or new is None:
        return None
    for x, y in zip_longest(old, new, fillvalue=()):
        for i, j in zip_longest(x, y):
            i = order.fill(j) if i is None else i
            j = order.fill(i) if j is None else j
            if i != j:
                return -1 if i < j else 1
    return 0


def _compare_pypi(a: str, b: str) -> int | None:
    from packaging.version import InvalidVersion, Version

    try:
        old, new = Version(a), Version(b)
    except InvalidVersion:
        return None
    return (old > new) - (old < new)


def _always(item: Item) -> Callable[[Item], Item]:
    return lambda _other: item


# deb: text and number by turns; each character of the text is an item, then its end.

_TEXT_AND_NUMBER = pattern(r"(\D*)([0-9]*)", re.ASCII)
_EPOCH = pattern(r"([0-9]*):(.*)", re.DOTALL)
_END = 0


def _deb_parts(version: str) -> Parts:
    epoch = _EPOCH.fullmatch(version)
    number, rest = (int(epoch[1] or 0), epoch[2]) if epoch is not None else (0, version)
    upstream, hyphen, revision = rest.rpartition("-")
    return [[number], _deb_items(upstream if hyphen else rest), _deb_items(revision if hyphen else "")]


def _deb_items(text: str) -> list[Item]:
    """Returns a pair for each text and the number after it."""
    found = _TEXT_AND_NUMBER.findall(text)[:-1]  # the last match is always empty
    return [((*map(_deb_weight, text), _END), int(number or 0)) for text, number in found]


def _deb_weight(character: str) -> int:
    """Returns the weight of a character that is no digit: `~`, then the end, letters, all others."""
    if character == "~":
        return _END - 1
    return ord(character) + (0 if character.isascii() and character.isalpha() else 256)


# rpm: `~`, the end, `^`, text, number

_RPM = pattern(r"~|\^|[a-zA-Z]+|[0-9]+")


def _rpm_parts(version: str) -> Parts:
    epoch = _EPOCH.fullmatch(version)
    number, rest = (int(epoch[1] or 0), epoch[2]) if epoch is not None else (0, version)
    name, hyphen, release = rest.rpartition("-")
    return [[number], _rpm_items(name if hyphen else rest), _rpm_items(release if hyphen else "")]


def _rpm_items(text: str) -> list[Item]:
    return [
        (-1,) if one == "~" else (1,) if one == "^" else (3, int(one)) if one.isdigit() else (2, one)
        for one in _RPM.findall(text)
    ]


# apk: numbers, a letter, suffixes with numbers, the hash of a commit, the revision

_APK = pattern(r"([0-9]+)((?:\.[0-9]+)*)([a-z]?)((?:_[a-z]+[0-9]*)*)(?:~([0-9a-f]+))?(?:-r([0-9]+))?")
_APK_SUFFIX = pattern(r"_([a-z]+)([0-9]*)")
_APK_BEFORE = ("alpha", "beta", "pre", "rc")
_APK_AFTER = ("cvs", "svn", "git", "hg", "p")


def _apk_parts(version: str) -> Parts | None:
    """Returns the items of a version. Each begins with its class: a pre-release, the end, then what counts the less the further
    back it stands."""
    match = _APK.fullmatch(version)
    if match is None:
        return None
    first, numbers, letter, suffixes, commit, revision = match.groups()
    items: list[Item] = [(6, (1, int(first)))]
    items += [(6, (0, one) if one[0] == "0" else (1, int(one))) for one in numbers.split(".")[1:]]
    if letter:
        items.append((5, letter))
    for suffix, number in _APK_SUFFIX.findall(suffixes):
        if suffix in _APK_BEFORE:
            items.append((-1, _APK_BEFORE.index(suffix)))
        elif suffix in _APK_AFTER:
            items.append((4, _APK_AFTER.index(suffix)))
        else:
            return None
        if number:
            items.append((3, int(number)))
    if commit:
        items.append((2, commit))
    if revision:
        items.append((1, int(revision)))
    return [items]


# npm, golang: three numbers, then the names of a pre-release, which comes before the release

_SEMVER = pattern(r"v?([0-9]+(?:\.[0-9]+)*)(?:-([0-9A-Za-z.-]+))?(?:\+.*)?", re.DOTALL)


def _semver_parts(version: str) -> Parts | None:
    match = _SEMVER.fullmatch(version)
    if match is None:
        return None
    release = [(int(number),) for number in match[1].split(".")]
    if match[2] is None:
        return [release, [(3,)]]
    return [release, [(1, int(name)) if name.isdigit() else (2, name) for name in match[2].split(".")]]


# gem: numbers, and text, which comes before the end

_GEM = pattern(r"[0-9]+|[A-Za-z]+")


def _gem_parts(version: str) -> Parts | None:
    items: list[Item] = []
    for one in _GEM.findall(version.replace("-", ".pre.")):
        if not one.isdigit():
            while items and items[-1] == (1, 0) and all(kind for kind, _ in items):
                items.pop()  # zeros before the first text do not count
        items.append((1, int(one)) if one.isdigit() else (0, one))
    return [items] if items and items[0][0] else None


# maven: numbers after `.` count more than those after `-`, those more than text; known text has its place

_MAVEN = pattern(r"([.\-_]?)([0-9]+|[a-z]+|(?![0-9a-z]))", re.ASCII)
_MAVEN_NAMES = ("alpha", "beta", "milestone", "rc", "snapshot", "", "sp")
_MAVEN_ALIASES = {"cr": "rc", "ga": "", "final": "", "release": ""}
_MAVEN_LETTERS = {"a": "alpha", "b": "beta", "m": "milestone"}
_MAVEN_EMPTY = (0, _MAVEN_NAMES.index(""), "")


def _maven_parts(version: str) -> Parts:
    items: list[Item] = []
    found = _MAVEN.findall(version.lower())
    for number, (mark, text) in enumerate(found):
        if mark != "." and number and text:  # what follows a hyphen begins anew
            _drop_nulls(items)
        if text.isdigit():
            items.append((2 if mark == "." or not number else 1, int(text)))
            continue
        follows = found[number + 1] if number + 1 < len(found) else ("", "")
        if not follows[0] and follows[1].isdigit():
            text = _MAVEN_LETTERS.get(text, text)
        text = _MAVEN_ALIASES.get(text, text)
        known = text in _MAVEN_NAMES
        items.append((0, _MAVEN_NAMES.index(text), "") if known else (0, len(_MAVEN_NAMES), text))
    _drop_nulls(items)
    return [items]


def _drop_nulls(items: list[Item]) -> None:
    while items and (items[-1] == _MAVEN_EMPTY or (items[-1][0] and not items[-1][1])):
        items.pop()


def _maven_fill(other: Item) -> Item:
    return (other[0], 0) if other[0] else _MAVEN_EMPTY


# conda: parts of numbers and text by turns; `dev` before all text, text before numbers, `post` after all

_CONDA = pattern(r"[0-9]+|[^0-9]+", re.ASCII)


def _conda_parts(version: str) -> Parts:
    rest, _, local = version.lower().partition("+")
    epoch, _, rest = rest.rpartition("!")
    parts = [[_conda_item(epoch)] if epoch else []]
    for one in re.split(r"[._-]", f"{rest}._.{local}" if local else rest):
        items = [_conda_item(text) for text in _CONDA.findall(one)]
        parts.append(items if not items or items[0][0] == 1 else [(1, 0), *items])
    return parts


def _conda_item(text: str) -> Item:
    if text.isdigit():
        return 1, int(text)
    return (-1,) if text == "dev" else (2,) if text == "post" else (0, text)


_SEMVER_ORDER = _Order(_semver_parts, _always((0,)))
_ORDERS: dict[PackageKind, _Order] = {
    "deb": _Order(_deb_parts, _always(((_END,), 0))),
    "rpm": _Order(_rpm_parts, _always((0,))),
    "apk": _Order(_apk_parts, _always((0,))),
    "npm": _SEMVER_ORDER,
    "golang": _SEMVER_ORDER,
    "gem": _Order(_gem_parts, _always((1, 0))),
    "maven": _Order(_maven_parts, _maven_fill),
    "conda": _Order(_conda_parts, _always((1, 0))),
}
