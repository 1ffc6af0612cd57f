"""Classes of volatile paths: files that two builds of the same instructions leave with other bytes, without any meaning.

`CLASSES` is the one table of them. A path alone decides for caches, logs and the like; for a class with a `rule` both
contents must be compared as well (`essence`), or the packages of both images. What may hold a secret is never volatile,
whatever its directory; neither is a program: that is for the caller, since it depends on the mode.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from re import DOTALL
from struct import Struct
from typing import Literal, NamedTuple

from ocitool.globs import expression
from ocitool.masking.files import secret_path
from ocitool.patterns import byte_pattern

ContentRule = Literal["pyc", "ld-cache", "shadow"]
Rule = ContentRule | Literal["packages"]


class VolatileClass(NamedTuple):
    """A class of volatile paths. `globs`: as for `--ignore-path`; each begins with a directory, or with `**/*` and the end of
    a name. `text`: what the files are. `fix`: what makes builds equal: a command for the end of the same
    instruction, an option, or an instruction; empty if nothing is known. `rule`: what else must be true: the
    contents differ only as the rule says, or the images have the same packages; None if the path is enough."""

    name: str
    globs: tuple[str, ...]
    text: str
    fix: str
    rule: Rule | None = None


_HOMES = ("/root", "/home/*")


def _in_homes(*paths: str) -> tuple[str, ...]:
    return tuple(f"{home}/{path}" for path in paths for home in _HOMES)


CLASSES: tuple[VolatileClass, ...] = (
    VolatileClass(
        "apt-lists", ("/var/lib/apt/lists/**", "/var/lib/apt/periodic/**"), "package lists that apt downloaded",
        "rm -rf /var/lib/apt/lists/*",
    ),
    VolatileClass(
        "apt-cache", ("/var/cache/apt/**",), "apt's caches",
        "RUN --mount=type=cache,target=/var/cache/apt",
    ),
    VolatileClass(
        "dnf-cache",
        ("/var/cache/dnf/**", "/var/cache/libdnf5/**", "/var/cache/yum/**", "/var/cache/zypp/**",
         "/var/lib/dnf/history.sqlite*", "/var/lib/dnf/repos/**", "/var/lib/yum/history/**", "/var/lib/yum/yumdb/**",
         "/usr/lib/sysimage/libdnf5/transaction_history.sqlite*"),
        "caches and histories of dnf, yum and zypper",
        "dnf clean all && rm -rf /var/lib/dnf/history*",
    ),
    VolatileClass(
        "apk-cache", ("/var/cache/apk/**", "/etc/apk/cache/**"), "package lists and packages that apk downloaded",
        "apk add --no-cache",
    ),
    VolatileClass(
        "ldconfig-cache", ("/var/cache/ldconfig/aux-cache",), "ldconfig's auxiliary cache, with times of libraries",
        "rm -f /var/cache/ldconfig/aux-cache",
    ),
    VolatileClass(
        "library-cache", ("/etc/ld.so.cache",), "the loader's cache, with its names in other places", "", "ld-cache",
    ),
    VolatileClass(
        "man-cache", ("/var/cache/man/**",), "the index of manual pages", "rm -rf /var/cache/man/*",
    ),
    VolatileClass(
        "desktop-cache",
        ("/var/cache/fontconfig/**", *_in_homes(".cache/fontconfig/**"), "/usr/share/icons/*/icon-theme.cache",
         "/usr/share/applications/mimeinfo.cache", "/usr/share/mime/mime.cache"),
        "caches of fonts, icons and file types, with times of directories",
        "rm -rf /var/cache/fontconfig/*",
    ),
    VolatileClass(
        "cache", ("/var/cache/**",), "caches, which programs make again", "RUN --mount=type=cache,target=/var/cache/NAME",
    ),
    VolatileClass(
        "package-log",
        ("/var/log/apt/**", "/var/log/dpkg.log*", "/var/log/alternatives.log*", "/var/log/dnf*", "/var/log/hawkey.log*",
         "/var/log/yum.log*", "/var/log/apk.log*", "/var/log/zypp/**", "/var/log/zypper.log*", "/var/log/pacman.log*"),
        "logs of package managers", "rm -rf /var/log/apt /var/log/*.log",
    ),
    VolatileClass(
        "bootstrap-log", ("/var/log/bootstrap.log", "/var/log/installer/**", "/var/log/anaconda/**"),
        "logs of the installation of the base", "rm -rf /var/log/bootstrap.log /var/log/installer",
    ),
    VolatileClass("log", ("/var/log/**",), "logs", "find /var/log -type f -delete"),
    VolatileClass(
        "bytecode", ("**/*.pyc",), "compiled Python with another time of its source",
        "ENV PYTHONDONTWRITEBYTECODE=1", "pyc",
    ),
    VolatileClass(
        "package-database",
        ("/var/lib/dpkg/status", "/var/lib/dpkg/status.d/**", "/var/lib/dpkg/available", "/lib/apk/db/**", "/usr/lib/apk/db/**",
         "/var/lib/rpm/**", "/usr/lib/sysimage/rpm/**"),
        "databases of packages, written at another time", "", "packages",
    ),
    VolatileClass(
        "package-backup",
        ("/var/lib/dpkg/*-old", "/var/lib/dpkg/lock*", "/var/lib/dpkg/triggers/Lock", "/var/cache/debconf/*-old"),
        "locks and older copies of package databases", "rm -f /var/lib/dpkg/*-old /var/cache/debconf/*-old",
    ),
    VolatileClass(
        "account-date", ("/etc/shadow", "/etc/shadow-"), "accounts that differ by the day of the last change of a password",
        "ARG SOURCE_DATE_EPOCH", "shadow",
    ),
    VolatileClass(
        "machine-id", ("/etc/machine-id", "/var/lib/dbus/machine-id"), "the number of a machine, made by the build",
        ": > /etc/machine-id",
    ),
    VolatileClass(
        "builder-file", ("/etc/resolv.conf", "/etc/hosts", "/etc/hostname", "/.dockerenv", "/run/.containerenv"),
        "files of the build's own container, which engines replace when they run the image",
        "build with BuildKit, which keeps them out of layers",
    ),
    VolatileClass(
        "random-seed", ("/var/lib/systemd/random-seed", "/var/lib/urandom/random-seed", "/var/lib/random-seed"),
        "seeds of random numbers", "rm -f /var/lib/systemd/random-seed",
    ),
    VolatileClass(
        "pip-cache", _in_homes(".cache/pip/**", ".cache/uv/**"), "caches of pip and uv",
        "pip install --no-cache-dir",
    ),
    VolatileClass(
        "npm-cache",
        (*_in_homes(".npm/_cacache/**", ".npm/_logs/**", ".npm/_update-notifier-last-checked", ".cache/yarn/**",
                    ".cache/node/**", ".yarn/berry/cache/**"), "/usr/local/share/.cache/yarn/**"),
        "caches and logs of npm and yarn", "RUN --mount=type=cache,target=/root/.npm",
    ),
    VolatileClass(
        "build-cache",
        _in_homes(".cache/go-build/**", ".cargo/registry/cache/**", ".cargo/registry/index/**", ".gradle/caches/**",
                  ".cache/composer/**", ".composer/cache/**", ".bundle/cache/**"),
        "caches of compilers and build tools", "RUN --mount=type=cache,target=/root/.cache",
    ),
    VolatileClass(
        "temporary",
        ("/tmp/tmp*", "/tmp/tmp*/**", "/var/tmp/tmp*", "/var/tmp/tmp*/**", "/tmp/pip-*/**", "/tmp/npm-*/**", "/tmp/yarn-*/**",
         "/tmp/hsperfdata_*/**", "/tmp/v8-compile-cache*/**", "/tmp/node-compile-cache/**", "/tmp/systemd-private-*/**"),
        "temporary files with random names", "RUN --mount=type=tmpfs,target=/tmp",
    ),
    VolatileClass(
        "history",
        _in_homes(".bash_history", ".ash_history", ".python_history", ".lesshst", ".viminfo", ".wget-hsts"),
        "what shells and tools remember of the build", "rm -f /root/.*_history /root/.wget-hsts",
    ),
)  # fmt: skip
"""The classes. A path belongs to the first that matches: the more special ones stand first."""

BY_NAME = {one.name: one for one in CLASSES}


class VolatilePlace(NamedTuple):
    """What a path is matched by: its class, and the glob of the class, for `--ignore-path`."""

    kind: VolatileClass
    glob: str


def volatile_place(path: bytes) -> VolatilePlace | None:
    """Returns the class of a path (without leading slash), or None. If the class has a `rule`, that must be true as well."""
    if not (path.startswith(_STARTS) or path.endswith(_ENDS)):
        return None
    match = _PATTERN.fullmatch(path)
    if match is None or match.lastindex is None:
        return None
    found = _PLACES[match.lastindex - 1]
    return None if found.kind.rule is None and found.kind.name != "history" and secret_path(path) else found


def volatile_class(path: bytes) -> VolatileClass | None:
    """Returns the class of `volatile_place`."""
    found = volatile_place(path)
    return found.kind if found is not None else None


_PLACES = [VolatilePlace(one, glob) for one in CLASSES for glob in one.globs]
_PATTERN = byte_pattern(b"|".join(b"(%b)" % expression(place.glob) for place in _PLACES), DOTALL)
"""A group for each glob, in their order."""
_STARTS = tuple({one.glob.partition("*")[0].lstrip("/").encode()[:12] for one in _PLACES if not one.glob.startswith("**/")})
_ENDS = tuple({one.glob.removeprefix("**/*").encode() for one in _PLACES if one.glob.startswith("**/")})
"""The first and last bytes of all paths that a class can match: they rule out most paths at once."""


# What contents may differ in

LARGEST = 16 << 20
"""Bytes of a file up to which a content rule is applied to it."""


def essence(rule: ContentRule, content: bytes) -> bytes | None:
    """Returns a digest of what the rule does not let differ in a content: two contents with the same one differ in nothing
    that counts. None if the content is not of the kind that the rule is about."""
    parts = _code(content) if rule == "pyc" else _libraries(content) if rule == "ld-cache" else _accounts(content)
    if parts is None:
        return None
    found = sha256()
    for part in parts:
        found.update(b"%d:%b" % (len(part), part))
    return found.digest()


def _code(content: bytes) -> Iterable[bytes] | None:
    """Returns a .pyc file without the time and size of its source (PEP 552: it is checked by them if bytes 4 to 8, the flags,
    are 0; otherwise all of it counts)."""
    if len(content) < 16:
        return None
    return (content[:8], content[16:]) if content[4:8] == bytes(4) else (content,)


_CACHE_MAGIC, _CACHE_HEADER, _CACHE_ENTRY = b"glibc-ld.so.cache1.1", 48, Struct("<4sII12s")


def _libraries(content: bytes) -> Iterable[bytes] | None:
    """Returns the entries of a loader's cache in their order: flags, name, path, and the hardware they need. Their strings may
    stand in any order. Source: `struct cache_file_new` of sysdeps/generic/dl-cache.h in glibc."""
    at = content.find(_CACHE_MAGIC)
    entries = content[at + _CACHE_HEADER :]
    size = _CACHE_ENTRY.size * int.from_bytes(content[at + 20 : at + 24], "little")
    if at < 0 or len(entries) < size:
        return None

    def text(offset: int) -> bytes:
        return content[at + offset : max(content.find(b"\0", at + offset), 0)]

    rows = _CACHE_ENTRY.iter_unpack(entries[:size])
    return [part for flags, name, path, needs in rows for part in (flags, text(name), text(path), needs)]


def _accounts(content: bytes) -> Iterable[bytes]:
    """Returns the lines of a shadow file without their third field, the day of the last change of the password."""
    lines = (line.split(b":") for line in content.split(b"\n"))
    return [b":".join(fields[:2] + fields[3:]) for fields in lines]
