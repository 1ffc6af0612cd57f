"""What changed in `passwd`, `shadow` and `group`: the names of accounts, never their passwords."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from ocitool.comparison.result import NotableFact, Quoted

_CLOSED = (b"nologin", b"false", b"sync", b"halt", b"shutdown")
_POWERFUL = frozenset(b"root wheel sudo admin docker shadow disk kmem lxd libvirt podman".split())
"""Groups whose members may become root."""
_NAMED = 5
"""Most accounts that one sentence names."""

Fields = Sequence[bytes]


def passwd(before: bytes | None, after: bytes) -> tuple[NotableFact, ...] | None:
    """Returns what is notable in another `passwd`; None if a side is not one. `before`: None if the file is new."""
    return _changed(before, after, 7, _of_passwd, "in passwd")


def shadow(before: bytes | None, after: bytes) -> tuple[NotableFact, ...] | None:
    """As `passwd`, for `shadow` and `gshadow`."""
    return _changed(before, after, 2, _of_shadow, "in shadow")


def group(before: bytes | None, after: bytes) -> tuple[NotableFact, ...] | None:
    """As `passwd`, for `group`. Of a new file every distribution has members of powerful groups."""
    return _changed(before, after, 4, _of_group if before is not None else lambda was, line: "", "in group")


def _changed(
    before: bytes | None, after: bytes, fields: int, judge: Callable[[Fields | None, Fields], str], where: str
) -> tuple[NotableFact, ...] | None:
    old, new = _lines(before or b"", fields), _lines(after, fields)
    if old is None or new is None or not new:
        return None
    found: list[NotableFact] = []
    others: dict[str, list[bytes]] = {}
    for name, line in new.items():
        was = old.get(name)
        if was == line:
            continue
        if why := judge(was, line):
            found.append(NotableFact("accounts", (Quoted(_text(name)), f": {why}"), key=_text(name)))
        else:
            others.setdefault("changed" if was is not None else "new", []).append(name)
    if gone := [name for name in old if name not in new]:
        others["gone"] = gone
    return (*found, *_rest(others, where))


def _rest(others: Mapping[str, Sequence[bytes]], where: str) -> Iterator[NotableFact]:
    """Yields one sentence of each kind about the accounts that open nothing."""
    for what, names in others.items():
        said: list[str] = [f"{what} {where}: "]
        for number, name in enumerate(names[:_NAMED]):
            said += [", "] if number else []
            said.append(Quoted(_text(name)))
        if len(names) > _NAMED:
            said.append(f" and {len(names) - _NAMED:,} more")
        yield NotableFact("accounts", tuple(said), "info")


def _lines(data: bytes, fields: int) -> dict[bytes, Fields] | None:
    """Returns the fields of each line by name; None if a line has fewer than `fields`."""
    found: dict[bytes, Fields] = {}
    for line in data.split(b"\n"):
        if not line.strip() or line.startswith(b"#"):
            continue
        parts = line.split(b":")
        if len(parts) < fields or not parts[0]:
            return None
        found.setdefault(parts[0], parts)
    return found


def _of_passwd(was: Fields | None, line: Fields) -> str:
    """Returns why an account is notable, empty if it is not."""
    if _is_root(line) and (was is None or not _is_root(was)) and line[0] != b"root":
        return "has user number 0, as root has"
    if line[1] not in (b"x", b"*", b"!", b"!!") and (was is None or was[1] != line[1]):
        return "has a password in passwd itself" if line[1] else "needs no password"
    if was is not None and _opens(line) and not _opens(was):
        return "has a login shell now"
    if was is not None and was[2] != line[2]:
        return "has another user number"
    return ""


def _is_root(line: Fields) -> bool:
    return not line[2].strip().strip(b"0")


def _opens(line: Fields) -> bool:
    return not line[6].strip().endswith(_CLOSED)


def _of_shadow(was: Fields | None, line: Fields) -> str:
    if was is not None and was[1] == line[1]:
        return ""
    if not line[1]:
        return "needs no password"
    if line[1].startswith((b"!", b"*")) or line[1] == b"x":
        return ""
    return "has a password" if was is None else "has another password"


def _of_group(was: Fields | None, line: Fields) -> str:
    members = set(filter(None, line[3].strip().split(b","))) - set(was[3].strip().split(b",") if was is not None else ())
    powerful = line[0] in _POWERFUL or not line[2].strip().strip(b"0")
    return "is a group with new members, which may act as root" if members - {line[0], b"root"} and powerful else ""


def _text(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace")
