"""Unified diffs of changed text files. Each layer is read once for each batch, in the order of its contents."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from itertools import islice

from ocitool.comparison.alignment import unified
from ocitool.comparison.result import FileChange, Patch, Side
from ocitool.images.image import Layer
from ocitool.layers.entry import Entry, Kind
from ocitool.masking.files import masked_patch, secret_content, secret_path
from ocitool.task import Task
from ocitool.trees.file_contents import contents

LARGEST = 256 << 10
"""Most bytes of a file for which a patch is made."""

_LINES = 4_000
"""Most lines of a file for which a patch is made."""

_TELLING = 8
"""Fewest bytes for which equal contents of two files are not taken for a coincidence."""

_BATCH = 256
"""Most files whose contents are in memory at once."""


def patches(files: Sequence[FileChange], task: Task, *, secrets: bool = False) -> tuple[Patch, ...]:
    """Returns patches of regular files that were changed, added or removed. Files that are too large or not text have
    none, and are counted in a notice; files that look secret are withheld unless `secrets`."""
    changed = [change for change in files if _changed(change)]
    looked: dict[int, bool] = {}
    called = [] if secrets else [change for change in changed if _secret(change, looked)]
    hidden = {change.path for change in called}
    known = _hashes(filter(_small, called), task)
    others = [change for change in changed if change.path not in hidden]
    wanted = list(filter(_small, others))
    found = [Patch(change.path, "", "path") for change in called]
    skipped, coarse = len(others) - len(wanted), 0
    for change, before, after in _read_both(wanted, task):
        text, rough = _patch(change.path, before, after)
        if not secrets and (secret_content(before) or secret_content(after)):
            found.append(Patch(change.path, "", "content"))
        elif known and not known.isdisjoint((_hash(before), _hash(after))):  # under another name than that which tells
            found.append(Patch(change.path, "", "path"))
        elif text is None:
            skipped += 1
        elif text:
            found.append(Patch(change.path, text if secrets else masked_patch(change.path, text)))
            coarse += rough
    _tell_incomplete(skipped, coarse, sum(patch.withheld is not None for patch in found), task)
    return tuple(sorted(found, key=lambda patch: patch.path))


def _tell_incomplete(skipped: int, coarse: int, withheld: int, task: Task) -> None:
    """Adds notices about how many files have no patch, a coarse one, or one that is withheld."""
    if skipped:
        task.notice("patch", f"{skipped} changed files have no patch: not text, or too large")
    if coarse:
        task.notice("patch", f"{coarse} patches are coarse: with so many equal lines, some that did not change show as changed")
    if withheld:
        what = "1 changed file looks" if withheld == 1 else f"{withheld} changed files look"
        task.notice("withheld", f"{what} secret: no patch shows the content (--show-secrets does)")


def _hashes(changes: Iterable[FileChange], task: Task) -> set[bytes]:
    """Returns the hashes of the contents of both sides, without those so short that unrelated
    files may have them too."""
    contents = (content for _, *both in _read_both(changes, task) for content in both)
    return {_hash(content) for content in contents if len(content) >= _TELLING}


def _read_both(changes: Iterable[FileChange], task: Task) -> Iterator[tuple[FileChange, bytes, bytes]]:
    """Yields each change with the contents of both sides, of which a batch is held at once."""
    left = iter(changes)
    while batch := list(islice(left, _BATCH)):
        contents = _read([side for change in batch for side in (change.before, change.after)], task)
        for change in batch:
            yield change, next(contents), next(contents)


def _hash(content: bytes) -> bytes:
    return sha256(content).digest()


def _secret(change: FileChange, looked: dict[int, bool]) -> bool:
    """Returns whether any name of a file looks secret. `looked`: a cache for files with several names."""
    if secret_path(change.path):
        return True
    for side in (change.before, change.after):
        if side is not None and side.links:
            if id(side.links) not in looked:
                looked[id(side.links)] = any(map(secret_path, side.links))
            if looked[id(side.links)]:
                return True
    return False


def _changed(change: FileChange) -> bool:
    if change.kind in ("added", "removed", "type"):
        return any(side is not None and side.entry.kind == Kind.FILE for side in (change.before, change.after))
    return "content" in change.fields


def _small(change: FileChange) -> bool:
    return all(
        side is None or side.entry.kind != Kind.FILE or side.entry.size <= LARGEST for side in (change.before, change.after)
    )


def _read(sides: Sequence[Side | None], task: Task) -> Iterator[bytes]:
    """Returns the contents in the order of `sides`; empty for a side that is not a file."""
    found = [b""] * len(sides)
    for position, content in contents([_file(side) for side in sides], task):
        found[position] = content
    return iter(found)


def _file(side: Side | None) -> tuple[Layer, Entry] | None:
    if side is None or side.entry.kind != Kind.FILE or side.holder is None:
        return None
    return side.holder, side.entry


def _patch(path: bytes, before: bytes, after: bytes) -> tuple[str | None, bool]:
    """Returns the patch, None if a side is not text or has too many lines; and whether unchanged lines may show as
    changed."""
    if b"\0" in before or b"\0" in after or max(before.count(b"\n"), after.count(b"\n")) > _LINES:
        return None, False
    try:
        old, new = before.decode("utf-8"), after.decode("utf-8")
    except UnicodeDecodeError:
        return None, False
    name = path.decode("utf-8", "replace")
    lines, alignment = unified(name, _lines(old), _lines(new))
    return "".join(f"{line}\n" for line in lines), alignment.coarse


def _lines(text: str) -> list[str]:
    """Splits text into lines at line feeds only; a missing one at the end is shown as git shows it."""
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    else:
        lines[-1] += "\n\\ No newline at end of file"
    return lines
