"""What is notable about one changed file by its type, attributes and path. Its content: `notable_contents`."""

from __future__ import annotations

from collections.abc import Iterator

from ocitool.comparison import path_roles
from ocitool.comparison.path_roles import PathRole
from ocitool.comparison.result import FileChange, NotableFact, Quoted, Side
from ocitool.layers.entry import Entry, Kind

CAPABLE_CONTENT = "the content of a file with capabilities changed"
_LARGE_ACCOUNTS = 1 << 20
"""Bytes from which on a list of accounts is not that of an ordinary image."""


def of_attributes(change: FileChange, after: Side) -> Iterator[NotableFact]:
    """Yields what is notable about the type and the attributes of a file: a rule applies to a new file, and to an old one
    that changed in what the rule is about."""
    entry = after.entry
    before = change.before.entry if change.before is not None and change.before.entry.kind == entry.kind else None
    for rule, text in _of_entry(before, entry, "content" in change.fields):
        yield NotableFact(rule, (text,))
    if change.kind == "metadata" and {"mtime", "links"}.issuperset(change.fields):
        return
    if change.before is not None and Kind.SYMLINK in (entry.kind, change.before.entry.kind):
        yield from _of_interpreter(change.path, change.before.entry, entry)
    yield from _of_exploit(change, entry)


def role_of(change: FileChange, after: Side, named: dict[int, PathRole | None]) -> PathRole | None:
    """Returns the role of a file that is new or changed in more than its times and names.

    `named`: a cache of the role of files with several names, which all have the same role."""
    if change.kind == "metadata" and {"mtime", "links"}.issuperset(change.fields):
        return None
    entry = after.entry
    if entry.kind == Kind.DIRECTORY or (entry.kind == Kind.FILE and not entry.size):
        return None
    place = (path_roles.rule_of_link if entry.kind == Kind.SYMLINK else path_roles.rule)(change.path)
    if place is None and after.links:
        if id(after.links) not in named:
            named[id(after.links)] = next(filter(None, map(path_roles.rule, after.links)), None)
        place = named[id(after.links)]
    return place


def of_role(change: FileChange, role: PathRole) -> NotableFact:
    """Returns what is notable about a file by its path alone."""
    what = "new: " if change.before is None else "changed: "
    return NotableFact(role.rule, (what + role.text,), role.severity)


def _of_interpreter(path: bytes, old: Entry, entry: Entry) -> Iterator[NotableFact]:
    if path_roles.interpreter(path) and (entry.kind, entry.link) != (old.kind, old.link):
        another = path_roles.version(path, old.link) and path_roles.version(path, entry.link)
        said = ("is ", *_described(entry), " now, was ", *_described(old))
        yield NotableFact("interpreter", said, "info" if another else None)


def _described(entry: Entry) -> tuple[str, ...]:
    if entry.kind != Kind.SYMLINK:
        return (f"a {entry.kind.name.lower()}",)
    return "a link to ", Quoted(entry.link.decode("utf-8", "backslashreplace"))


def _of_exploit(change: FileChange, entry: Entry) -> Iterator[NotableFact]:
    """Yields what engines were exploited by, with an advisory."""
    path = change.path
    if entry.kind == Kind.SYMLINK:
        advisory = path_roles.REPLACED.get(path)
        if advisory is not None:
            yield NotableFact("engine-exploit", ("is a link to ", Quoted(_text(entry.link)), f" ({advisory})"))
        elif path_roles.of_process(_text(entry.link)):
            yield NotableFact("engine-exploit", ("is a link to ", Quoted(_text(entry.link)), " (CVE-2019-5736)"))
    elif path in (b"etc/passwd", b"etc/group") and entry.kind == Kind.FILE and entry.size > _LARGE_ACCOUNTS:
        yield NotableFact("engine-exploit", (f"has {entry.size:,} bytes, which engines read into memory (CVE-2026-47262)",))


def _text(target: bytes) -> str:
    return target.decode("utf-8", "backslashreplace")


def _of_entry(before: Entry | None, entry: Entry, content: bool) -> Iterator[tuple[str, str]]:
    """Yields rules and sentences for an entry. `before`: the entry that was at the path, if it was of the same kind."""
    opened = 0 if before is None else entry.mode & ~before.mode & 0o777
    if entry.kind == Kind.FILE:
        if entry.mode & 0o6000:
            yield from _of_bits(before, entry, content, opened)
        if entry.mode & 0o002 and not (before and before.mode & 0o002):
            yield "world-writable", "new file that everybody may write"
    elif entry.kind == Kind.DIRECTORY:
        yield from _of_directory(before, entry)
    elif entry.kind in (Kind.CHAR, Kind.BLOCK):
        yield from _of_device(before, entry, opened)
    if entry.xattrs:
        yield from _of_xattrs(before, entry, content, opened)


def _of_directory(before: Entry | None, entry: Entry) -> Iterator[tuple[str, str]]:
    sticky, writable = 0o1000, 0o002
    if entry.mode & (sticky | writable) == writable:
        was = before.mode & (sticky | writable) if before is not None else 0
        if was == sticky | writable:
            yield "world-writable", "directory that everybody may write lost its sticky bit"
        elif was != writable:
            yield "world-writable", "new directory that everybody may write, without sticky bit"
    if entry.mode & 0o2000 and not (before and before.mode & 0o2000 and before.gid == entry.gid):
        yield "setgid", f"new setgid directory: what is made in it belongs to group {entry.gid}"


def _of_device(before: Entry | None, entry: Entry, opened: int) -> Iterator[tuple[str, str]]:
    major, minor = entry.device or (0, 0)
    name = f"{'character' if entry.kind == Kind.CHAR else 'block'} device {major}:{minor}"
    if before is None or before.device != entry.device:
        yield "device", f"new {name}"
    elif opened:
        yield "device", f"{name} whose mode changed from {before.mode:04o} to {entry.mode:04o}"
    elif owners := _owners(before, entry):
        yield "device", f"{name} whose owner changed from {owners}"


def _of_xattrs(before: Entry | None, entry: Entry, content: bool, opened: int) -> Iterator[tuple[str, str]]:
    old, new = dict((before.xattrs if before is not None else None) or ()), dict(entry.xattrs or ())
    for acl in (b"system.posix_acl_access", b"system.posix_acl_default"):
        if acl in new and old.get(acl) != new[acl]:
            yield "acl", "access control list changed" if acl in old else "new access control list"
    capabilities = (old.get(b"security.capability"), new.get(b"security.capability"))
    owners = _owners(before, entry) if before is not None else ""
    yield from _of_capability(*capabilities, content, opened & 0o111, owners)


def _of_bits(before: Entry | None, entry: Entry, content: bool, opened: int) -> Iterator[tuple[str, str]]:
    """Yields what is notable about setuid and setgid bits. `content`: it changed. `opened`: mode bits for access that are
    new."""
    kept = 0 if before is None else before.mode & entry.mode & 0o6000
    both = kept == 0o6000
    for rule, bit, field in (("setuid", 0o4000, "uid"), ("setgid", 0o2000, "gid")):
        if not entry.mode & bit:
            continue
        if before is None or not kept & bit:
            yield rule, f"new {rule} file, owner {entry.uid}:{entry.gid}"
        elif _owners(before, entry) and (not both or getattr(before, field) != getattr(entry, field)):
            yield rule, f"{rule} file whose owner changed from {_owners(before, entry)}"
        elif opened:
            yield rule, f"{rule} file whose mode changed from {before.mode:04o} to {entry.mode:04o}"
    if kept and content and kept == entry.mode & 0o6000:
        yield "setuid-content", "the content of a setuid or setgid file changed"


def _owners(before: Entry, entry: Entry) -> str:
    """Returns user and group before and after if they differ, else an empty string."""
    if (before.uid, before.gid) == (entry.uid, entry.gid):
        return ""
    return f"{before.uid}:{before.gid} to {entry.uid}:{entry.gid}"


def _of_capability(old: bytes | None, new: bytes | None, content: bool, opened: int, owners: str) -> Iterator[tuple[str, str]]:
    if new is None:
        return
    if old is None:
        yield "capability", "new file capability"
    elif old != new:
        yield "capability", "file capability changed"
    elif content:
        yield "capability", CAPABLE_CONTENT
    elif opened:
        yield "capability", "more may run a file with capabilities"
    elif owners:
        yield "capability", f"file with capabilities whose owner changed from {owners}"
