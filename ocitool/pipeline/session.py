"""What every reading operation starts from: references become sources, sources images, layers indexes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ocitool.task import Task
from ocitool.transports.registry import Access, Registries

if TYPE_CHECKING:
    from ocitool.images.image import Image
    from ocitool.transports.archive import Want
    from ocitool.transports.opening import Opened
    from ocitool.trees.indexing import Indexer


class Session(NamedTuple):
    """How to read: the running task, whether indexes are kept between runs (in `cache.default_directory`), whether to
    verify everything instead of believing what is stated, and the registries that may be asked."""

    task: Task
    cached: bool = True
    verify: bool = False
    registries: Registries | None = None

    def open(self, reference: str, want: Want) -> Opened:
        from ocitool.transports.opening import open_source  # what opens an image is loaded for a command that does

        return open_source(reference, want, self.task, self.registries)

    def asked(self) -> Registries:
        """Returns the registries, for requests that a source does not make: tags, catalogues, logins."""
        return self.registries or Registries(Access(), self.task)

    def image(self, reference: str, platform: str | None) -> Image:
        from ocitool.images import platform_choice

        return platform_choice.single(self.open(reference, "layers"), platform)

    def indexer(self) -> Indexer:
        from ocitool.layers.cache import IndexCache, default_directory
        from ocitool.trees.indexing import Indexer

        return Indexer(IndexCache(default_directory() if self.cached else None), self.task, verify=self.verify)
