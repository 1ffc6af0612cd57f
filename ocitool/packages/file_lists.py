"""What the readers of languages' packages share: lists of files that are relative to a directory, and short texts."""

from __future__ import annotations

from collections.abc import Iterable

from ocitool.layers.entry import escapes, normalise
from ocitool.packages.path_budget import PathBudget

_MAX_LICENSE = 200


def shortened(license: str) -> str:
    """Returns a stated licence as a report shows it: the first line, at most some characters; some state the whole text."""
    return "" if license == "UNKNOWN" else license.split("\n", 1)[0][:_MAX_LICENSE]


class FileLists:
    """The lists of files that one reader takes, within one `PathBudget`."""

    def __init__(self) -> None:
        self._budget = PathBudget()

    def lines(self, content: bytes) -> list[bytes]:
        """Returns the lines of a list. Raises `DatabaseError` if they are more than the paths that are left."""
        self._budget.check(content.count(b"\n") + content.count(b"\r"))
        return content.splitlines()

    def paths(self, names: Iterable[bytes], directory: bytes) -> tuple[bytes, ...]:
        """Returns the paths of names that are relative to `directory` (normalised, with a slash at its end; empty for the
        root), or absolute. Empty ones and those that leave the root are passed over. Raises `DatabaseError` if the lists
        pass the budget."""
        found = []
        for name in names:
            if not name:
                continue
            self._budget.take(1, len(directory) + len(name))
            path = name if name.startswith(b"/") else directory + name
            if b"/." in path or b"//" in path or path.startswith((b"/", b".")) or path.endswith(b"/"):
                path = normalise(path)
            if path and not escapes(path):
                found.append(path)
        return tuple(found)
