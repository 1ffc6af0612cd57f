"""What is notable in the contents of changed small files: keys, credentials, accounts and sources of packages.

Each layer is read once for all of its files, and only if one of them is worth it. Bounds: `LARGEST` bytes a file; `_FILES`
files and `_BYTES` bytes of those whose path says what they are, and as many of the others; what is left out is counted in a
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

_FILES, _BYTES = 50_000, 64 << 20
_MASKED, _MASKED_FILE = 1 << 20, 16 << 10
"""Most bytes that are searched for names of secrets, in all and of a file: that takes a second for each MiB."""

_SHORTEST = 20
"""Fewest bytes of a file that may hold a key or token."""

_KEY = byte_pattern(
    rb"-----BEGIN ([A-Z0-9 ]{0,40})PRIVATE KEY(?: BLOCK)?-----(?:\s|\\[nr])++(?:[A-Za-z-]{1,40}: [^\n]{0,200}\s++){0,12}+"
    rb"[A-Za-z0-9+/=]{16}"
)
_PUTTY = b"PuTTY-User-Key-File-"
_TOKENS = tuple(
    b"AKIA ASIA ghp_ gho_ ghs_ ghu_ ghr_ github_pat_ glpat- xoxb- xoxp- xapp- npm_ pypi- sk_live_ rk_live_ sk-ant- sk-proj- "
    b"AIza GOCSPX- hvs. dckr_pat_ shpat_ SG. glsa_ hf_ do_v1 dop_v1 AGE-SECRET-KEY-1".split()
)
"""How the tokens that are met most often begin: a file without any of them is not searched further."""
_BINARY = tuple(
    b".pyc .so .a .o .class .jar .whl .zip .gz .xz .bz2 .zst .png .jpg .jpeg .gif .ico .webp .woff .woff2 .ttf .otf "
    b".pdf .mo .wasm ld.so.cache aux-cache".split()
)
"""Endings of the names of files that hold no text: no layer is read for them."""
_PUBLIC = byte_pattern(
    rb"(?:\s*+(?:[^\n-][^\n]{0,400}\n\s*+)*?-----BEGIN ((?:TRUSTED )?CERTIFICATE(?: REQUEST)?|(?:RSA )?PUBLIC KEY"
    rb"|X509 CRL|DH PARAMETERS|EC PARAMETERS|PGP PUBLIC KEY BLOCK)-----[A-Za-z0-9+/=\s]++-----END \1-----)++\s*+"
)
_SETTING = byte_pattern(
    rb"\s*+(?:[#;!][^\n]*+|\[[^\]\n]++\]|(?:export\s++)?[\"'@]?[\w./:@ *-]{1,200}?[\"']?\s*+[=:](?:\s[^\n]*+|[^\n]*+)|)"
)


_SETTINGS = byte_pattern(
    rb"(?:.*/)?(?:\.npmrc|\.yarnrc(?:\.yml)?|\.pypirc|pip\.conf|\.git/config|\.hg/hgrc|\.aws/config|\.s3cfg|\.boto|\.my\.cnf|\.env[^/]*"
    rb"|[^/]*\.env|\.flaskenv|gradle\.properties|terraform\.tfvars)"
)
"""Files that hold names and values: those without a secret among them hold none."""


class Content(NamedTuple):
    """A changed file whose content is worth a look. `role`: what its path says of its content, None if it is merely small."""

    change: FileChange
    role: PathRole | None


class SmallFiles:
    """The changed files whose contents are worth a look. `alone`: no other image says which sources of packages are the usual
    ones."""

    def __init__(self, *, alone: bool) -> None:
        self._alone = alone
        self._known: list[Content] = []
        self._others: list[Content] = []
        self._bytes = [0, 0]
        self._left = 0
        self._masked = 0

    def add(self, change: FileChange, role: PathRole | None) -> bool:
        """Takes a changed file, and returns True, if its content may be notable. `role`: what its path says of its content."""
        side = change.after
        if side is None or side.entry.kind != Kind.FILE or side.holder is None or side.holder.blob is None:
            return False
        size = side.entry.size
        if change.kind == "metadata" or size > LARGEST:
            return False
        if role is None and (not _SHORTEST <= size <= _SEARCHED or change.path.endswith(_BINARY)):
            return False
        return self._take(Content(change, role), size)

    def add_removed(self, change: FileChange) -> None:
        """Takes a removed file whose content tells what was known before: a source of packages that another file names now
        is not new."""
        side = change.before
        if change.path.startswith(b"etc/") and side is not None and side.entry.kind == Kind.FILE:
            role = path_roles.rule(change.path)
            if role is not None and role.content == "sources" and side.entry.size <= LARGEST:
                self._take(Content(change, role), side.entry.size)

    def _take(self, item: Content, size: int) -> bool:
        kept, which = (self._others, 1) if item.role is None else (self._known, 0)
        if len(kept) >= _FILES or self._bytes[which] + size > _BYTES:
            self._left += 1
            return False
        self._bytes[which] += size
        kept.append(item)
        return True

    def judged(self, task: Task) -> Iterator[tuple[Content, tuple[NotableFact, ...] | None]]:
        """Yields each file that was taken with what is notable in it; None if its content says nothing beyond its path. Adds a
        notice if files were left out. Raises what reading a layer raises."""
        if self._left:
            task.notice("contents", f"{self._left:,} changed files were not searched for keys: there are too many")
        both = [item for item in self._known if item.role is not None and item.role.content in _COMPARED]
        single = [item for item in self._known if item.role is not None and item.role.content not in _COMPARED]
        single += self._others
        yield from _compared(both, task, self._alone)
        for position, data in contents([_file(item.change.after) for item in single], task):
            item = single[position]
            yield item, self._secrets(item, data)

    def _secrets(self, item: Content, data: bytes) -> tuple[NotableFact, ...] | None:
        """Returns what a file says of itself: a key or credentials, that it holds none (an empty tuple), or None."""
        what = _key(data)
        if item.role is None:
            if not what and not path_roles.program(item.change.path) and _token(data):
                what = "holds a token of a known form"
            return (NotableFact("secret-content", (what,)),) if what else None
        if not what and len(data) <= _MASKED_FILE and self._masked + len(data) <= _MASKED:
            self._masked += len(data)
            what = _credentials(data)
            if not what and _is_harmless(item.change.path, data):
                return ()
        return (NotableFact("secret-content", (what,)),) if what else None


def _file(side: Side | None) -> tuple[Layer, Entry] | None:
    if side is None or side.entry.kind != Kind.FILE or side.holder is None or side.entry.size > LARGEST:
        return None
    return side.holder, side.entry


# Keys and credentials


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


def _credentials(data: bytes) -> str:
    """Returns which secrets a file holds whose path looks secret, as a sentence; empty if none is recognised."""
    from ocitool import masking
    from ocitool.masking.files import secret_content

    if secret_content(data):
        return "holds a private key" if b"PRIVATE KEY" in data else "holds a token of a known form"
    text = data.decode("utf-8", "replace")
    found = masking.hidden(text) or any(map(masking.hidden, text.split("\n")))
    return "holds credentials" if found else ""


def _is_harmless(path: bytes, data: bytes) -> bool:
    """Returns whether a file whose path looks secret holds public certificates and keys alone, or settings."""
    if data.lstrip().startswith(b"-----BEGIN") or b"\n-----BEGIN" in data:
        return _PUBLIC.fullmatch(data) is not None
    lines = [line for line in data.split(b"\n") if line.strip()]
    if not lines or b"\0" in data or _SETTINGS.fullmatch(path) is None:
        return False
    return all(_SETTING.fullmatch(line) is not None for line in lines)


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
