"""What is notable about one image, without another to compare it with."""

from __future__ import annotations

from collections.abc import Sequence

from ocitool.comparison import config_changes
from ocitool.comparison.files import ComparedFiles, compare_images
from ocitool.comparison.notable import Cause, notable_alone
from ocitool.comparison.result import Notable
from ocitool.images.image import Image
from ocitool.packages.installed import installed
from ocitool.packages.ownership import owners
from ocitool.packages.package import Package
from ocitool.packages.readers import SYSTEM_KINDS
from ocitool.spec.manifest import Config
from ocitool.trees.indexing import Indexer


def nothing_of(image: Image) -> Image:
    """Returns an image without content, from which everything in `image` differs."""
    return image._replace(tags=(), digest=None, manifest=None, config=Config(b"{}", {}), image_id="", layers=())


def notable_of_image(image: Image, indexer: Indexer) -> tuple[Notable, ...]:
    """Returns what a reviewer should see first of one image. Every layer is read, and those with databases of packages or
    small files once more. Time and memory grow with the files of the image. Raises what reading a layer raises."""
    nothing = nothing_of(image)
    compared = compare_images(nothing, image, indexer, ignore=(), keep=lambda path: True, whole=False)
    settings = config_changes.changes(nothing, image, indexer.task, semantic=False)
    found = owners(_packages(compared, image, indexer), compared.trees[1], [change.path for change in compared.files])

    def explained(path: bytes) -> Cause | None:
        kinds = [package.kind for package in found.get(path, ())]
        return Cause(next(filter(SYSTEM_KINDS.__contains__, kinds), kinds[0]), (", of a package",)) if kinds else None

    return notable_alone(image, nothing, compared, settings, indexer.task, explained)


def _packages(compared: ComparedFiles, image: Image, indexer: Indexer) -> Sequence[Package]:
    found = installed(compared.trees[1], image.layers, indexer.task)
    for path, reason in found.problems[:1]:
        more = f", and {len(found.problems) - 1:,} more" if len(found.problems) > 1 else ""
        where = f"{image.where}: /{path.decode('utf-8', 'backslashreplace')}"
        indexer.task.notice("packages", f"{where}: {reason}{more}; files of its packages count as files of none")
    return found.packages
