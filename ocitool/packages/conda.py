"""Packages of conda and mamba: a JSON record for each in `conda-meta` of an environment.

Source: conda's `PrefixRecord` (`conda/models/records.py`), as micromamba and pixi write it too.
"""

from __future__ import annotations

from collections.abc import Iterator

from ocitool import limits
from ocitool.layers.entry import Entry
from ocitool.packages.file_lists import FileLists, shortened
from ocitool.packages.json_text import json_object, valid_text
from ocitool.packages.package import DatabaseError, Package


class CondaReader:
    """Reads the records of environments. The version has the build behind a hyphen, as in the names of conda's archives
    (`1.26.4-py311h7125741_0`): neither has a hyphen of its own, and two builds of a version have different files."""

    def __init__(self) -> None:
        self._found: list[Package] = []
        self._lists = FileLists()

    def database_of(self, path: bytes, entry: Entry) -> bytes | None:
        if not path.endswith(b".json"):
            return None
        directory = path.rpartition(b"/")[0]
        return directory if directory == b"conda-meta" or directory.endswith(b"/conda-meta") else None

    def add(self, path: bytes, content: bytes) -> None:
        fields = json_object(content, limits.PACKAGE_RECORD)
        texts = {key: fields.get(key) for key in ("name", "version", "build", "build_string", "subdir", "license")}
        name, version, build, build_string, subdir, license = (
            valid_text(one) if isinstance(one, str) else "" for one in texts.values()
        )
        if not name or not version:
            raise DatabaseError("it names no package and version")
        build = build or build_string
        stated = fields.get("files")
        files = [one for one in stated if isinstance(one, str)] if isinstance(stated, list) else []
        prefix = path[: path.rindex(b"conda-meta/")]
        listed = self._lists.paths((one.encode("utf-8", "replace") for one in files), prefix)
        self._found.append(
            Package(
                "conda", name, f"{version}-{build}" if build else version, path, architecture=subdir,
                license=shortened(license), files=(*listed, path),
            )
        )  # fmt: skip

    def packages(self) -> Iterator[Package]:
        yield from self._found
