"""What is asked about a collection."""

from __future__ import annotations

from typing import NamedTuple

from ocitool.dedupe.discovery import RepositoryFilter
from ocitool.pipeline.session import Session


class DedupeOptions(NamedTuple):
    """choice: what of registries. files: read every distinct layer. export: the directory for its rows. zstd: the level to
    estimate. cluster: the address of a Dask scheduler. strict: the first problem ends it. top: how many of each kind are
    listed, where not all are."""

    choice: RepositoryFilter
    files: bool = False
    export: str | None = None
    zstd: int | None = None
    cluster: str | None = None
    strict: bool = False
    top: int = 10

    def is_deep(self, reading: Session) -> bool:
        """Whether layers are to be read."""
        return self.wants_files(reading) or self.zstd is not None

    def wants_files(self, reading: Session) -> bool:
        return self.files or self.export is not None or reading.verify
