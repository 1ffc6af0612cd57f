"""`packages`: the packages that are installed in an image."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from ocitool.images.image import Image, Layer
from ocitool.layers.entry import shown_path
from ocitool.packages.footprint import footprints
from ocitool.packages.installed import installed
from ocitool.packages.package import DatabaseProblem, Distribution, Package, PackageKind
from ocitool.packages.purl import package_url
from ocitool.pipeline.session import Session
from ocitool.progress import Notice
from ocitool.trees.indexing import Indexer
from ocitool.trees.tree import Tree


class InstalledPackage(NamedTuple):
    """A package of an image. `purl`: its package URL. `files`: how many files and links of it the image has, `size`: bytes of
    their contents; both None if its database does not say which they are. `layer`: the layer that has most of them."""

    package: Package
    purl: str
    files: int | None
    size: int | None
    layer: Layer | None


class InstalledPackages(NamedTuple):
    """The packages of an image, in the order of kind, namespace, name and database. `distribution`: as the image states it,
    None if it states none or has no packages of one. `problems`: databases that could not be read, or not wholly."""

    packages: tuple[InstalledPackage, ...]
    distribution: Distribution | None
    problems: tuple[DatabaseProblem, ...]


class ImagePackages(NamedTuple):
    """The result of `packages`. `verified`: the bytes of all layers were hashed."""

    reference: str
    image: Image
    verified: bool
    found: InstalledPackages
    notices: tuple[Notice, ...]


def packages(
    reference: str, session: Session, *, kinds: Collection[PackageKind] | None = None, platform: str | None = None
) -> ImagePackages:
    """Returns the packages of an image. `kinds`: kinds of packages, all by default. A database that cannot be read is one of
    the problems, and a notice; raises what reading an image raises."""
    image = session.image(reference, platform)
    indexer = session.indexer()
    found = packages_of(image, Tree(indexer.indexes(image)), indexer, kinds)
    return ImagePackages(reference, image, session.verify, found, tuple(session.task.notices))


def packages_of(image: Image, tree: Tree, indexer: Indexer, kinds: Collection[PackageKind] | None = None) -> InstalledPackages:
    """Returns the packages of an image with this merged tree, of indexes that `indexer` made. Adds a notice for each database
    that cannot be read."""
    listed = installed(tree, image.layers, indexer.task, kinds=kinds, indexer=indexer)
    for path, reason in listed.problems:
        indexer.task.notice("packages", f"{image.where}: {shown_path(path)}: {reason}; not all of its packages are listed")
    found = tuple(
        InstalledPackage(
            package, package_url(package, listed.distribution), footprint.files, footprint.size,
            None if footprint.layer is None else image.layers[footprint.layer],
        )
        for package, footprint in zip(listed.packages, footprints(listed.packages, tree), strict=True)
    )  # fmt: skip
    return InstalledPackages(found, listed.distribution, listed.problems)
