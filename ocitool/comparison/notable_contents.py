"""What is notable in the contents of changed small files: keys, credentials, accounts and sources of packages.

Each layer is read once for all of its files, and only if one of them is worth it. Bounds: `LARGEST` bytes a file, `_FILES`
files and `_BYTES` bytes in all, the files whose path already says what they are first; what is left out is counted in a
notice. Memory: one file, and both sides of the accounts and sources.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from ocitool.comparison import accounts, package_sources, path_roles
from ocitool.comparison.path_roles import PathRole
from ocitool.comparison.result import FileChange, NotableFact, Side
from ocitool.images.image import Layer
from ocitool.layers.entry import Entry, Kind
from ocitool.patterns import byte_pattern
from ocitool.task import Task
from ocitool.trees.file_contents import contents

LARGEST = 256 << 10
"""Most bytes of a file whose content is looked at."""

_SEARCHED = 64 << 10
"""Most bytes of a file that is searched only because it is small."""

_FILES, _BYTES = 20_000, 64 << 20
_SHORTEST = 20
"""Fewest bytes of a file that may hold a key or token."""

_KEY = byte_pattern(
    rb"-----BEGIN ([A-Z0-9 ]{0,40})PRIVATE KEY(?: BLOCK)?-----(?:\s|\\[nr])++(?:[A-Za-z-]{1,40}: [^\n]{0,200}\s++)*+"
    rb"[A-Za-z0-9+/=]{16}"
)
_PUTTY = b"PuTTY-User-Key-File-"
_TOKENS = tuple(
    b"AKIA ASIA ghp_ gho_ ghs_ ghu_ ghr_ github_pat_ glpat- xoxb- xoxp- xapp- npm_ pypi- sk_live_ rk_live_ sk-ant- sk-proj- "
    b"AIza GOCSPX- hvs. dckr_pat_ shpat_ SG. glsa_ hf_ do_v1 dop_v1 AGE-SECRET-KEY-1".split()
)
"""How the tokens that are met most often begin: a file without any of them is not searched further."""
_PROGRAMS = byte_pattern(
    rb"(?:^|/)(?:(?:usr/)?lib(?:32|64|exec)?|usr/share|usr/include|usr/src|(?:site|dist)-packages|node_modules|gems|vendor|pkg/mod"
    rb"|registry/src|testdata|tests?|examples?)/"
)
"""Directories of programs and their examples: tokens in them are hardly those of the image."""
_PUBLIC = byte_pattern(
    rb"(?:\s*+(?:[^\n-][^\n]{0,400}\n\s*+)*?-----BEGIN ((?:TRUSTED )?CERTIFICATE(?: REQUEST)?|(?:RSA )?PUBLIC KEY"
    rb"|X509 CRL|DH PARAMETERS|EC PARAMETERS|PGP PUBLIC KEY BLOCK)-----[A-Za-z0-9+/=\s]++-----END \1-----)++\s*+"
)
_SETTING = byte_pattern(
    rb"\s*+(?:[#;!][^\n]*+|\[[^\]\n]++\]|(?:export\s++)?[\"'@]?[\w./:@ *-]{1,200}?[\"']?\s*+[=:](?:\s[^\n]*+|[^\n]*+)|)"
)


class Content(NamedTuple):
    """A changed file whose content is worth a look. `role`: what its path says of it, None if it is merely small."""

    change: FileChange
    role: PathRole | None


def worth_reading(change: FileChange, role: PathRole | None) -> bool:
    """Returns whether the content of a changed file may be notable. `role`: what its path says of it."""
    side = change.after
    if side is None or side.entry.kind != Kind.FILE or side.holder is None or side.holder.blob is None:
        return False
    if change.kind == "metadata":
        return False
    if role is not None and role.content:
        return side.entry.size <= LARGEST
    return _SHORTEST <= side.entry.size <= _SEARCHED


def of_removed(change: FileChange) -> Content | None:
    """Returns a removed file whose content says what is no news elsewhere: a source of packages."""
    if not change.path.startswith(b"etc/") or change.before is None or change.before.entry.kind != Kind.FILE:
        return None
    role = path_roles.rule(change.path)
    return Content(change, role) if role is not None and role.content == "sources" else None


def judged(wanted: Sequence[Content], task: Task, *, alone: bool) -> Iterator[tuple[Content, tuple[NotableFact, ...] | None]]:
    """Yields each file with what is notable in it; None if its content says nothing beyond its path. `alone`: no other image
    says which sources of packages are the usual ones."""
    chosen = _bounded(wanted, task)
    both = [item for item in chosen if item.role is not None and item.role.content in _COMPARED]
    single = [item for item in chosen if item.role is None or item.role.content not in _COMPARED]
    yield from _compared(both, task, alone)
    for position, data in contents([_file(item.change.after) for item in single], task):
        item = single[position]
        yield item, _secrets(item, data)


def _bounded(wanted: Sequence[Content], task: Task) -> list[Content]:
    """Returns the files to read, within the bounds, those with a role first."""
    chosen: list[Content] = []
    total = left = 0
    for item in sorted(wanted, key=lambda item: item.role is None):
        side = item.change.after or item.change.before
        size = side.entry.size if side is not None else 0
        if len(chosen) >= _FILES or total + size > _BYTES:
            left += 1
            continue
        total += size
        chosen.append(item)
    if left:
        task.notice("contents", f"{left} changed files were not searched for keys and credentials: there are too many")
    return chosen


def _file(side: Side | None) -> tuple[Layer, Entry] | None:
    if side is None or side.entry.kind != Kind.FILE or side.holder is None or side.entry.size > LARGEST:
        return None
    return side.holder, side.entry


# Keys and credentials


def _secrets(item: Content, data: bytes) -> tuple[NotableFact, ...] | None:
    """Returns what a file says of itself: a key or credentials, that it holds none (an empty tuple), or None."""
    if key := _key(data):
        return (NotableFact("secret-content", (key,)),)
    if item.role is None:
        return None if _PROGRAMS.search(item.change.path) or not _token(data) else (_of_token(),)
    from ocitool import masking
    from ocitool.masking.files import secret_content

    if secret_content(data):
        return (_of_token(),)
    text = data.decode("utf-8", "replace")
    hidden = sum(len(masking.hidden(line)) for line in text.split("\n"))
    if hidden or masking.hidden(text):
        return (NotableFact("secret-content", ("holds credentials" if hidden != 1 else "holds a value that looks secret",)),)
    return () if _harmless(data) else None


def _of_token() -> NotableFact:
    return NotableFact("secret-content", ("holds a token of a known form",))


def _key(data: bytes) -> str:
    """Returns what kind of private key a file holds, as a sentence; empty if it holds none."""
    if b"PRIVATE KEY" in data:
        found = _KEY.search(data)
        if found is not None:
            return "holds an encrypted private key" if found[1] == b"ENCRYPTED " else "holds a private key"
    return "holds a private key" if data.startswith(_PUTTY) else ""


def _token(data: bytes) -> bool:
    if not any(word in data for word in _TOKENS) or b"\0" in data:
        return False
    from ocitool.masking.files import secret_content

    return secret_content(data)


def _harmless(data: bytes) -> bool:
    """Returns whether a file whose name looks secret holds public certificates and keys alone, or settings."""
    if data.lstrip().startswith(b"-----BEGIN") or b"\n-----BEGIN" in data:
        return _PUBLIC.fullmatch(data) is not None
    lines = [line for line in data.split(b"\n") if line.strip()]
    return len(lines) > 0 and b"\0" not in data and all(_SETTING.fullmatch(line) is not None for line in lines)


# Accounts and sources of packages


def _compared(items: Sequence[Content], task: Task, alone: bool) -> Iterator[tuple[Content, tuple[NotableFact, ...] | None]]:
    sides = [side for item in items for side in (item.change.before, item.change.after)]
    read = dict(contents([_file(side) for side in sides], task))
    known: dict[str, set[bytes]] = {}
    """The hosts of sources before, by package manager."""
    for number, item in enumerate(items):
        if item.role is not None and item.role.content == "sources":
            known.setdefault(package_sources.kind_of(item.change.path), set()).update(
                package_sources.hosts(read.get(2 * number + alone, b""))
            )
    for number, item in enumerate(items):
        before, after = read.get(2 * number), read.get(2 * number + 1)
        what = item.role.content if item.role is not None else None
        if after is None or what is None:
            yield item, None
        elif what == "sources":
            yield item, package_sources.changed(before, after, known[package_sources.kind_of(item.change.path)])
        else:
            yield item, _ACCOUNTS[what](before, after)


_ACCOUNTS: Mapping[str, Callable[[bytes | None, bytes], tuple[NotableFact, ...] | None]] = {
    "passwd": accounts.passwd, "shadow": accounts.shadow, "group": accounts.group,
}  # fmt: skip
_COMPARED = frozenset(_ACCOUNTS) | {"sources"}
"""Kinds of contents of which both sides are needed."""
