"""Finds what a reviewer should see first (`notable`), by rules about files, settings and layers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from ocitool import masking
from ocitool.comparison import path_roles
from ocitool.comparison.config_changes import BOOKKEEPING, escaped
from ocitool.comparison.files import ShippedFile
from ocitool.comparison.result import ConfigChange, FileChange, LayerPair, Notable, Side
from ocitool.images.image import Image
from ocitool.layers.entry import Entry, Kind

RULES = {
    "secret": "a file whose path looks secret (keys, `.env`, `.npmrc`, `.git/config`) is new or changed, or a value that looks "
    "secret is new in settings, labels or the history",
    "setuid": "a setuid file is new, has another owner or group, or more users may run it",
    "setgid": "a setgid file is new, has another owner or group, or more users may run it; a setgid directory is new",
    "setuid-content": "the content of a setuid or setgid file changed",
    "capability": "file capabilities are new or changed; a file that has some has another content or owner, or more users may "
    "run it",
    "device": "a device is new, has another number or owner, or more permissions",
    "user-root": "`USER` is root now",
    "loader": "what decides which code programs load: `LD_PRELOAD`, `PYTHONPATH`, `NODE_OPTIONS` and the like, "
    "`/etc/ld.so.preload`, `sitecustomize.py`; a changed `PATH` or `ld.so.conf` is a `change`",
    "interpreter": "`/bin/sh`, `python3`, `/lib64` or the like links to another target; another version of it is a `change`",
    "command": "`Entrypoint`, `Cmd`, `Shell`, `Healthcheck` or `OnBuild` changed",
    "accounts": "`passwd`, `group`, `sudoers`, PAM or `authorized_keys` changed; `shadow` is a `change`",
    "cron": "a scheduled command is new or changed",
    "trust": "certificates or keys of signers were added or changed; the system's bundle of authorities is a `change`",
    "acl": "an access control list is new or changed",
    "world-writable": "every user may write a file, or a directory without sticky bit",
    "port": "a port is new",
    "volume": "a volume is new",
    "deleted-still-ships": "a path is deleted, or overwritten (a secret by anything, any file by an empty one), but a lower "
    "layer still has the content: `shippedBy` names it",
    "package-file-changed": "a file changed though the package that installed it did not; a setting, a document or a mode is a "
    "`change`. Looked for if a database of packages differs",
    "unshared-layer": "a layer cannot be shared any more; always a `cost`",
}
"""What each rule finds, the most severe first."""

_COMMANDS = ("Entrypoint", "Cmd", "Shell", "Healthcheck", "OnBuild")


def notable(
    before: Image, after: Image, files: Sequence[FileChange], shipped: Sequence[ShippedFile], pairs: Sequence[LayerPair],
    settings: Sequence[ConfigChange],
) -> Iterator[Notable]:  # fmt: skip
    """Yields what a reviewer should see first. `settings`: all changes of the documents, including those of the history."""
    named: dict[int, path_roles.PathRole | None] = {}
    for change in files:
        if change.after is not None and not change.only_mtime:
            yield from _of_file(change, change.after, named)
    yield from _of_config(before, after)
    for setting in settings:
        yield from _of_setting(setting)
    for gone in shipped:
        verb = "overwritten" if gone.overwritten else "deleted"
        text = f"{verb}, but its {gone.size} bytes still ship in layer {gone.holder.number}"
        yield Notable("deleted-still-ships", gone.path, None, gone.layer, text, "danger", gone.holder, gone.size, gone.top)
    for pair in pairs:
        if pair.after is None or pair.before is None:
            continue
        if pair.status == "equivalent" or (pair.status == "changed" and pair.cause is not None):
            why = pair.reason or "its files changed"
            yield Notable("unshared-layer", None, None, pair.after, f"cannot be shared any more: {why}", "cost")


# Files


def _of_file(change: FileChange, after: Side, named: dict[int, path_roles.PathRole | None]) -> Iterator[Notable]:
    """Yields what is notable about one file: a rule applies to a new file, and to an old one that changed in what the rule
    is about.

    `named`: a cache of the role of files with several names, which all have the same role.
    """
    entry = after.entry
    before = change.before.entry if change.before is not None and change.before.entry.kind == entry.kind else None
    path, layer = change.path, change.layer
    for rule, text in _of_entry(before, entry, "content" in change.fields):
        yield Notable(rule, path, None, layer, text)
    if change.kind == "metadata" and {"mtime", "links"}.issuperset(change.fields):
        return
    place = path_roles.rule(path)
    if place is None and after.links:
        if id(after.links) not in named:
            named[id(after.links)] = next(filter(None, map(path_roles.rule, after.links)), None)
        place = named[id(after.links)]
    if place is not None and entry.kind != Kind.DIRECTORY and (entry.kind != Kind.FILE or entry.size):
        what = "new: " if change.before is None else "changed: "
        yield Notable(place.rule, path, None, layer, what + place.text, place.severity)
    if change.before is not None and Kind.SYMLINK in (entry.kind, change.before.entry.kind) and path_roles.interpreter(path):
        old = change.before.entry
        if (entry.kind, entry.link) != (old.kind, old.link):
            another = path_roles.version(path, old.link) and path_roles.version(path, entry.link)
            text = f"is {_described(entry)} now, was {_described(old)}"
            yield Notable("interpreter", path, None, layer, text, "change" if another else "danger")


def _described(entry: Entry) -> str:
    if entry.kind != Kind.SYMLINK:
        return f"a {entry.kind.name.lower()}"
    return "a link to " + entry.link.decode("utf-8", "backslashreplace")


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
        yield "capability", "the content of a file with capabilities changed"
    elif opened:
        yield "capability", "more may run a file with capabilities"
    elif owners:
        yield "capability", f"file with capabilities whose owner changed from {owners}"


# Settings


def _of_config(before: Image, after: Image) -> Iterator[Notable]:
    old, new = (str(image.config.settings.get("User") or "") for image in (before, after))
    if _is_root(new) and not _is_root(old):
        yield Notable("user-root", None, "/config/User", None, f"USER was {old} and is root now")
    for port in sorted(set(after.config.keys("ExposedPorts")) - set(before.config.keys("ExposedPorts"))):
        yield Notable("port", None, f"/config/ExposedPorts/{escaped(port)}", None, f"new port {port}")
    for volume in sorted(set(after.config.keys("Volumes")) - set(before.config.keys("Volumes"))):
        yield Notable("volume", None, f"/config/Volumes/{escaped(volume)}", None, f"new volume {volume}")
    if before.layers or before.config.fields:  # else all of it is new, and so are its commands
        for name in _COMMANDS:
            one, other = (_command(image.config.settings, name) for image in (before, after))
            if one != other:
                what = "changed" if one and other else "is new" if other else "is gone"
                yield Notable("command", None, f"/config/{name}", None, f"{name} {what}")


def _command(settings: Mapping[str, object], name: str) -> object:
    found = settings.get(name) or None
    return found.get("Test") or None if isinstance(found, dict) else found


def _is_root(user: str) -> bool:
    """Returns whether a `USER` is root, with any group: `0`, `root:app` and an empty string are."""
    name = user.partition(":")[0]
    return name == "root" or not name.strip("0")


def _of_setting(change: ConfigChange) -> Iterator[Notable]:
    if change.kind == "removed" or change.pointer.startswith(BOOKKEEPING):
        return
    new = _secrets(change.after, change.name) - _secrets(change.before, change.name)
    if new:
        what = "a value that looks secret" if new.total() == 1 else f"{new.total()} values that look secret"
        verb = "is new" if new.total() == 1 else "are new"
        yield Notable("secret", None, change.pointer, None, f"{what} {verb}")
    severity = path_roles.LOADER_VARIABLES.get(change.key or "")
    if severity is not None and change.document == "config" and (severity == "danger" or change.kind == "modified"):
        yield Notable("loader", None, change.pointer, None, f"{change.key} decides which code programs load", severity)


def _secrets(value: object, name: str) -> Counter[str]:
    return Counter(masking.hidden(value, name))
