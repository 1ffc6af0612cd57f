"""What every reading operation starts from: references become sources, sources images, layers indexes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ocitool.task import Task
from ocitool.transports.engine import EngineOptions, Engines
from ocitool.transports.registry import Access, Registries

if TYPE_CHECKING:
    from ocitool.images.image import Image
    from ocitool.spec.manifest import Platform
    from ocitool.transports.archive import Want
    from ocitool.transports.engine.client import Engine
    from ocitool.transports.opening import Opened
    from ocitool.trees.indexing import Indexer


def engines(options: EngineOptions | None, task: Task, platform: str | None) -> Engines:
    """Returns the engine of one command, which is closed by the caller. `platform`: the one that the command asks for."""
    if platform is None:
        return Engines(options or EngineOptions(), task)

    def asked() -> Platform:
        from ocitool.images.platforms import parse_platform

        return parse_platform(platform)

    return Engines(options or EngineOptions(), task, platform=asked)


class Session(NamedTuple):
    """How to read: the running task, whether indexes are kept between runs (in `cache.default_directory`), whether to
    verify everything instead of believing what is stated, and the registries and the engine that may be asked."""

    task: Task
    cached: bool = True
    verify: bool = False
    registries: Registries | None = None
    engines: Engines | None = None

    def open(self, reference: str, want: Want) -> Opened:
        from ocitool.transports.opening import open_source  # what opens an image is loaded for a command that does

        return open_source(reference, want, self.task, self.registries, self.engines)

    def asked(self) -> Registries:
        """Returns the registries, for requests that a source does not make: tags, catalogues, logins."""
        return self.registries or Registries(Access(), self.task)

    def engine(self) -> Engine:
        """Returns the engine that the command means, connected with its first request. Raises `UsageError`, `NotFoundError` and
        `FormatError` as `address.find` does."""
        return (self.engines or Engines(EngineOptions(), self.task)).engine()

    def image(self, reference: str, platform: str | None) -> Image:
        from ocitool.images import platform_choice

        return platform_choice.single(self.open(reference, "layers"), platform)

    def indexer(self) -> Indexer:
        from ocitool.layers.cache import IndexCache, default_directory
        from ocitool.trees.indexing import Indexer

        return Indexer(IndexCache(default_directory() if self.cached else None), self.task, verify=self.verify)
