"""`engine df`: what an engine's images take in layers of their own and in shared ones, and what its containers have written."""

from __future__ import annotations

from typing import NamedTuple

from ocitool.containers.listing import ContainerList, containers
from ocitool.dedupe import Deduped, DedupeOptions, RepositoryFilter, dedupe
from ocitool.dedupe.collection import ImageEntry
from ocitool.pipeline.session import Session
from ocitool.reference import ENGINE
from ocitool.transports.engine.containers import ContainerSummary


class EngineUsage(NamedTuple):
    """The report of `engine df`. `images`: what `dedupe` says of all images of the engine."""

    images: Deduped
    containers: ContainerList

    @property
    def written(self) -> int:
        """Bytes of all writable layers, as far as they are known."""
        return sum(one.writable or 0 for one in self.containers.containers)

    def containers_of(self, image: ImageEntry) -> list[ContainerSummary]:
        """Returns the containers that were made of an image."""
        return [one for one in self.containers.containers if one.image_id == image.image_id]


def disk_usage(session: Session) -> EngineUsage:
    """Returns what the images and containers of an engine take. Raises what `Engine.get` raises; an image that cannot be read
    is one of the problems."""
    images = dedupe([str(ENGINE.prefix)], DedupeOptions(RepositoryFilter()), session)
    return EngineUsage(images, containers(session))
