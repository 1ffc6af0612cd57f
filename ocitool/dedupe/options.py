"""The options of `dedupe`."""

from __future__ import annotations

from typing import NamedTuple

from ocitool.dedupe.discovery import RepositoryFilter
from ocitool.pipeline.session import Session


class DedupeOptions(NamedTuple):
    """What to report.

    - choice: selection at registries. files: read every distinct layer. export: directory for the rows.
    - zstd: level to estimate. cluster: address of a Dask scheduler. strict: the first problem is raised.
    - top: number of items in lists that are not complete.
    """

    choice: RepositoryFilter
    files: bool = False
    export: str | None = None
    zstd: int | None = None
    cluster: str | None = None
    strict: bool = False
    top: int = 10

    def is_deep(self, reading: Session) -> bool:
        """Whether layers must be read."""
        return self.wants_files(reading) or self.zstd is not None

    def wants_files(self, reading: Session) -> bool:
        return self.files or self.export is not None or reading.verify
