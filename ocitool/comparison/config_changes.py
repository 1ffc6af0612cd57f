"""Differences of documents, by JSON pointer (RFC 6901).

Environment variables are compared by name, other lists by value. Layers are left to the layer report: diff_ids, layer
descriptors and the digests that follow from them are not compared here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Literal

from ocitool.comparison.result import ConfigChange
from ocitool.images.image import Image
from ocitool.patterns import pattern
from ocitool.task import Task

DocumentName = Literal["config", "manifest", "index"]
BOOKKEEPING = ("/container", "/config/Image", "/docker_version", "/moby.")
"""Pointers to fields in which docker's classic builder records its own data; they do not affect containers."""

_NAMED = ("/config/Labels/", "/config/ExposedPorts/", "/config/Volumes/", "/annotations/")
"""Pointers to objects whose keys are free names."""

_INPUT_HASH = pattern(r"\b[0-9a-f]{64}\b")


def changes(before: Image, after: Image, task: Task, *, semantic: bool) -> tuple[ConfigChange, ...]:
    """Returns the differences of two images' configurations and manifests.

    `semantic` leaves out creation times, the history (its effects show in files and settings), what builders record for
    themselves, and whether an empty value is written or left out, which Docker and OCI tools do differently.
    """

    def coarse() -> None:
        text = "the history has so many equal instructions that some entries may show as changed that did not"
        task.notice("history", text)

    found = list(_config(before.config.fields, after.config.fields, semantic, coarse))
    if before.manifest is not None and after.manifest is not None:
        skip = {"layers", "config", "schemaVersion"} | ({"mediaType"} if semantic else set())
        found += objects("manifest", "", before.manifest.fields, after.manifest.fields, skip)
    if semantic:
        found = [c for c in found if not _unwritten(c) and not c.pointer.startswith(BOOKKEEPING)]
    return tuple(found)


def _unwritten(change: ConfigChange) -> bool:
    """Returns whether a field is empty on one side and left out on the other. A member with a free name (a port) is present
    by its name alone: its value is always `{}`."""
    own = change.key is not None or change.pointer.startswith(_NAMED)
    return not own and _empty(change.before) and _empty(change.after)


def _empty(value: Any) -> bool:
    return value is None or value is False or value in ("", [], {})


def incidental(change: ConfigChange) -> Literal["time", "bookkeeping"] | None:
    """Returns whether a change only shows that an image was rebuilt: `time` (a creation time, or a history entry that
    differs by it and by the hash of its input), `bookkeeping` of a builder, or None for a real change."""
    if change.document != "config":
        return None
    if change.pointer.endswith("/created"):
        return "time"
    if change.pointer.startswith("/history/") and change.kind == "modified" and _input(change.before) == _input(change.after):
        return "time"
    return "bookkeeping" if change.pointer.startswith(BOOKKEEPING) else None


def _input(entry: Any) -> str | None:
    text = entry.get("created_by") if isinstance(entry, dict) else None
    return _INPUT_HASH.sub("", text) if isinstance(text, str) else None


def _config(a: Mapping[str, Any], b: Mapping[str, Any], semantic: bool, coarse: Callable[[], None]) -> Iterator[ConfigChange]:
    skip = {"rootfs", "history"} | ({"created"} if semantic else set())
    yield from objects("config", "", a, b, skip)
    if not semantic:
        yield from _history(a.get("history"), b.get("history"), coarse)


def objects(
    document: DocumentName, at: str, a: Mapping[str, Any], b: Mapping[str, Any], skip: Collection[str] = ()
) -> Iterator[ConfigChange]:
    """Yields the differences of two objects, member by member. `at` is their pointer; members in `skip` are ignored."""
    for name in sorted(a.keys() | b.keys()):
        if name not in skip:
            yield from _values(document, f"{at}/{escaped(name)}", a, b, name)


def _values(
    document: DocumentName, pointer: str, a: Mapping[str, Any], b: Mapping[str, Any], name: str
) -> Iterator[ConfigChange]:
    before, after = a.get(name), b.get(name)
    parts = (before or after) and (_is_env(before) and _is_env(after) if name == "Env" else _is_object(before, after))
    if name not in b and not parts:
        yield ConfigChange(document, pointer, None, "removed", before, None)
        return
    if name not in a and not parts:
        yield ConfigChange(document, pointer, None, "added", None, after)
        return
    if _same(before, after):
        return
    if name == "Env" and parts:
        yield from _env(document, pointer, before or [], after or [])
    elif parts:
        yield from objects(document, pointer, before or {}, after or {})
    else:
        yield ConfigChange(document, pointer, None, "modified", before, after)


def _same(a: Any, b: Any) -> bool:
    """Returns whether two values are equal as JSON: 1 does not equal true, and null equals empty lists and objects."""
    if a in (None, [], {}) and b in (None, [], {}):
        return not isinstance(a, bool) and not isinstance(b, bool)
    if isinstance(a, bool) != isinstance(b, bool):
        return False
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(a[name], b[name]) for name in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_same, a, b))
    return type(a) is type(b) and bool(a == b)


def _is_object(*values: Any) -> bool:
    return all(value is None or isinstance(value, dict) for value in values)


def _is_env(value: Any) -> bool:
    return value is None or (isinstance(value, list) and all(isinstance(item, str) for item in value))


def _env(document: DocumentName, pointer: str, a: list[str], b: list[str]) -> Iterator[ConfigChange]:
    """Yields differences of variables by name. The value of a name that is set several times is a list, since readers
    disagree: glibc takes the first, most shells and runtimes the last. The pointer is that of the last."""
    before, after = _variables(a), _variables(b)
    for name in sorted(before.keys() | after.keys()):
        if name not in after:
            position, value = before[name]
            yield ConfigChange(document, f"{pointer}/{position}", name, "removed", value, None)
        elif name not in before:
            position, value = after[name]
            yield ConfigChange(document, f"{pointer}/{position}", name, "added", None, value)
        elif before[name][1] != after[name][1]:
            yield ConfigChange(document, f"{pointer}/{after[name][0]}", name, "modified", before[name][1], after[name][1])


def _variables(items: list[str]) -> dict[str, tuple[int, Any]]:
    """Returns for each name the position of its last entry and its value: None without `=`, a list if there are
    several."""
    found: dict[str, list[tuple[int, str | None]]] = {}
    for place, item in enumerate(items):
        name, equals, value = item.partition("=")
        found.setdefault(name, []).append((place, value if equals else None))
    return {
        name: (entries[-1][0], [value for _, value in entries] if len(entries) > 1 else entries[0][1])
        for name, entries in found.items()
    }


def _history(a: Any, b: Any, coarse: Callable[[], None]) -> Iterator[ConfigChange]:
    """Yields added, removed and changed history entries, paired by instruction. `coarse` is called if equal entries may
    count as changed."""
    from ocitool.comparison.alignment import Alignment

    before = a if isinstance(a, list) else []
    after = b if isinstance(b, list) else []
    names_a, names_b = [_line(item) for item in before], [_line(item) for item in after]
    alignment = Alignment(names_a, names_b, autojunk=False)
    aligned = alignment.get_opcodes()
    if alignment.coarse:
        coarse()
    for tag, i, to_i, j, to_j in aligned:
        if tag == "equal":
            for x, y in zip(range(i, to_i), range(j, to_j), strict=True):
                if isinstance(before[x], dict) and isinstance(after[y], dict):
                    yield from objects("config", f"/history/{y}", before[x], after[y])
            continue
        paired = min(to_i - i, to_j - j)
        for n in range(paired):
            yield ConfigChange("config", f"/history/{j + n}", None, "modified", before[i + n], after[j + n])
        for x in range(i + paired, to_i):
            yield ConfigChange("config", f"/history/{x}", None, "removed", before[x], None)
        for y in range(j + paired, to_j):
            yield ConfigChange("config", f"/history/{y}", None, "added", None, after[y])


def _line(item: Any) -> str:
    """Returns a history entry as a line for the alignment: entries are paired if instruction and `empty_layer` are
    equal."""
    if not isinstance(item, dict):
        return repr(item)
    return repr((item.get("created_by"), item.get("empty_layer") is True))


def escaped(name: str) -> str:
    """Returns a name as a part of a JSON pointer (RFC 6901, section 3)."""
    return name.replace("~", "~0").replace("/", "~1")
