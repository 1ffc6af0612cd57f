"""The options of `dedupe`."""

from __future__ import annotations

from typing import NamedTuple

from ocitool.dedupe.discovery import RepositoryFilter
from ocitool.pipeline.session import Session


class DedupeOptions(NamedTuple):
    """What to report.

    - choice: selection in registries. files: read every distinct layer. export: directory for the Parquet files. - zstd:
    compression level whose saving is computed. cluster: address of a Dask scheduler. strict: raise the first problem. -
    top: number of items in lists that are not complete. state: directory of the documents that are kept between runs.
    """

    choice: RepositoryFilter
    files: bool = False
    export: str | None = None
    zstd: int | None = None
    cluster: str | None = None
    strict: bool = False
    top: int = 10
    state: str | None = None

    def is_deep(self, session: Session) -> bool:
        """Returns whether layers must be read."""
        return self.wants_files(session) or self.zstd is not None

    def wants_files(self, session: Session) -> bool:
        """Returns whether the files of layers are needed."""
        return self.files or self.export is not None or session.verify
