"""Platforms: parsing, normal form, and which of several offered platforms is nearest to a wanted one.

Sources: image-spec image-index.md ("platform"), and normalisation and order of containerd's package `platforms`, by
which engines choose. An image for `arm/v6` can be used for `arm/v7`. One for `amd64/v3` is chosen for `amd64` only if
there is no nearer one, and its `Rank` is not exact, so that the caller can send a notice.
"""

from __future__ import annotations

import os
import sys
from typing import NamedTuple

from ocitool.errors import UsageError
from ocitool.patterns import pattern
from ocitool.spec.manifest import Platform

_ARCHITECTURES = {"i386": ("386", None), "x86_64": ("amd64", None), "x86-64": ("amd64", None), "aarch64": ("arm64", None),
                  "armhf": ("arm", "v7"), "armel": ("arm", "v6")}  # fmt: skip
_BASELINE = {"amd64": "v1", "arm64": "v8", "arm": "v7"}
"""The variant of an architecture if none is stated."""

_PLATFORM_TEXT = pattern(
    r"(?P<os>[^/()]+)(?:\((?P<version>[^()+]*)(?P<features>(?:\+[^()+]+)*)\))?/(?P<rest>[^/()]+(?:/[^/()]+)?)"
)
_NUMBERED = pattern(r"v(\d{1,4})(?:\.(\d{1,4}))?")
_VERSION_PARTS = 3
"""Parts of a Windows version that are compared (of 10.0.17763.1: 10.0.17763); the fourth is the number of the update."""


def parse_platform(platform: str | None) -> Platform:
    """Parses `os/arch[/variant]`, with os.version and os.features as containerd writes them:
    `windows(10.0.17763.1)/amd64`, `linux(+erofs)/amd64`. None gives the host's platform (`linux` on macOS, since
    containers run on Linux).

    Raises `UsageError`.
    """
    if platform is None:
        machine = os.uname().machine
        names = {"x86_64": ("amd64", None), "aarch64": ("arm64", None), "armv7l": ("arm", "v7"), "armv6l": ("arm", "v6"),
                 "i686": ("386", None)}  # fmt: skip
        architecture, variant = names.get(machine, (machine, None))
        return Platform("linux" if sys.platform == "darwin" else sys.platform, architecture, variant)
    match = _PLATFORM_TEXT.fullmatch(platform)
    if match is None:
        hint = "os/architecture[/variant], as in linux/arm64 or 'windows(10.0.17763.1)/amd64'"
        raise UsageError(f"invalid platform {platform}", hint=hint)
    architecture, _, variant = match["rest"].partition("/")
    features = tuple(part for part in (match["features"] or "").split("+") if part)
    return Platform(match["os"], architecture, variant or None, match["version"] or None, features)


def normalized(platform: Platform) -> Platform:
    """Returns the normal form of a platform, for comparison: arm64/v8 is arm64, x86_64 is amd64, arm is arm/v7."""
    name = platform.os.lower() if platform.os else platform.os
    architecture = platform.architecture.lower() if platform.architecture else platform.architecture
    variant = platform.variant.lower() if platform.variant else platform.variant
    if architecture in _ARCHITECTURES:
        architecture, implied = _ARCHITECTURES[architecture]
        variant = implied or variant
    if variant is not None and variant.isdigit():
        variant = f"v{variant}"
    if architecture == "arm":
        variant = variant or _BASELINE["arm"]
    elif architecture is not None and variant == _BASELINE.get(architecture):
        variant = None
    features = tuple(sorted(set(platform.os_features)))
    return Platform("darwin" if name == "macos" else name, architecture, variant, platform.os_version, features)


def with_missing_values(platform: Platform, other: Platform | None) -> Platform:
    """Returns `platform` with the values that it lacks taken from `other`, unless they contradict each other. Of an image,
    its configuration states one, and its descriptor may state the other."""
    if other is None:
        return platform
    if platform.os is None and platform.architecture is None:
        return other
    mine, theirs = normalized(platform), normalized(other)
    variants_differ = platform.variant and other.variant and mine.variant != theirs.variant
    if variants_differ or (mine.os, mine.architecture) != (theirs.os, theirs.architecture):
        return platform
    return Platform(
        platform.os, platform.architecture, platform.variant or other.variant, platform.os_version or other.os_version,
        platform.os_features or other.os_features,
    )  # fmt: skip


def stable_version(version: str | None) -> str | None:
    """Returns the part of a Windows os.version that stays the same when the operating system is updated."""
    return None if version is None else ".".join(version.split(".")[:_VERSION_PARTS])


class Rank(NamedTuple):
    """The distance of an offered platform from a wanted one. The least of several is the nearest."""

    features: int
    """The number of os.features that only one of the two has."""
    variant: tuple[int, int, int]
    """Begins with 0 for the same variant, 1 for a lower one (the highest is nearest), 2 for a higher one (the lowest is
    nearest), 3 for variants that have no order."""
    version: int
    """0 for the same os.version, or if none is wanted; 1 if only the update differs (`stable_version`); else 2."""

    @property
    def exact(self) -> bool:
        """Whether variant and os.features are the same, and the os.version if one is wanted."""
        return self == EXACT


EXACT = Rank(0, (0, 0, 0), 0)


def rank(wanted: Platform, offered: Platform | None, *, strict: bool = False) -> Rank | None:
    """Returns how near an image for `offered` comes to `wanted`; None if it cannot be used for it.

    `os` and `architecture` must be equal, and a stated variant must not be exceeded. `strict`, for a platform that the user
    states: its variant, os.version and os.features are required too. Otherwise, for the platform of a host, they only make
    an image nearer.
    """
    if offered is None:
        return None
    mine, theirs = normalized(wanted), normalized(offered)
    if (mine.os, mine.architecture) != (theirs.os, theirs.architecture):
        return None
    variant = _variant_distance(wanted, mine, theirs, strict)
    version = _version_distance(mine.os_version, theirs.os_version)
    asked, needed = set(mine.os_features), set(theirs.os_features)
    if variant is None or (strict and (version or asked - needed)):
        return None
    return Rank(len(asked ^ needed), variant, version)


def matches(wanted: Platform, offered: Platform | None) -> bool:
    """Returns whether an image for `offered` is what `wanted` asks for."""
    return rank(wanted, offered, strict=True) is not None


def _variant_distance(wanted: Platform, mine: Platform, theirs: Platform, strict: bool) -> tuple[int, int, int] | None:
    if mine.variant == theirs.variant:
        return 0, 0, 0
    stated = wanted.variant is not None or wanted.architecture in ("armhf", "armel")  # names that imply a variant
    own, other = _variant_number(mine), _variant_number(theirs)
    if stated and (strict or own is None or other is None):
        return None
    if own is None or other is None:
        return 3, 0, 0
    if other < own:
        return 1, -other[0], -other[1]
    return None if stated else (2, *other)


def _variant_number(platform: Platform) -> tuple[int, int] | None:
    match = _NUMBERED.fullmatch(platform.variant or _BASELINE.get(platform.architecture or "", "v0"))
    return (int(match[1]), int(match[2] or 0)) if match is not None else None


def _version_distance(wanted: str | None, offered: str | None) -> int:
    if wanted is None or wanted == offered or (offered or "").startswith(f"{wanted}."):
        return 0
    return 1 if stable_version(wanted) == stable_version(offered) else 2
