"""Storage accounting over many images: what a collection shares, what that saves, what more could be saved, and by
which commands.

In the direction of the data:

- `options` has the options; `discovery` finds images below a directory or in a registry; `reference_names` finds the
  reference by which any command can name an image.
- `state` keeps documents of registries between runs.
- `inventory` opens the sources, and reduces their images to facts in a `collection`: every blob once, and the images
  that need it.
- `disk_usage` computes what the collection takes on this machine, and what deleting an image frees; `bases` groups images
  by common bases.
- `advice` finds what could be saved, from documents alone (`archive_merge`: by a layout instead of archives); `commands`
  writes the commands for it.
- `layers` reads layers, with `layer_jobs` in processes or on a cluster; `repeated_files` collects their files and
  `package_copies` their packages; `actions` finds what rewriting layers would save, and `rebuild_check` tries it; `export`
  writes the rows as Parquet.

It may import `operations`, `pipeline` and what is below them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from ocitool.dedupe.actions import advise_from_contents
from ocitool.dedupe.advice import Advice, EqualLayers, advise_from_documents, equal_uncompressed, ordered_by_saving
from ocitool.dedupe.bases import SharedBase, bases, repeated_builds
from ocitool.dedupe.collection import Collection, ImageEntry, StoredBlob, Usage
from ocitool.dedupe.discovery import RepositoryFilter
from ocitool.dedupe.disk_usage import DiskUsage
from ocitool.dedupe.inventory import take_inventory
from ocitool.dedupe.layers import LayerReader
from ocitool.dedupe.options import DedupeOptions
from ocitool.dedupe.package_copies import PackageTotals
from ocitool.dedupe.repeated_files import ContentTotals
from ocitool.dedupe.state import kept_documents
from ocitool.errors import UsageError
from ocitool.limits import KiB
from ocitool.pipeline.problems import Problem
from ocitool.pipeline.session import Session
from ocitool.progress import Notice
from ocitool.transports.archive import Want

__all__ = ["DedupeOptions", "Deduped", "Problem", "RepositoryFilter", "dedupe"]


class Deduped(NamedTuple):
    """The report of `dedupe`.

    - given: the references of the command. shares: the usage of each image, by its number, as if all were in one layout. -
    on_disk: for each image the bytes of the archive or layout blobs that hold it on this machine (None if it is elsewhere),
    and the
      bytes that deleting it frees.
    - references, referenced: number of layers, and bytes, counted as often as images name them; layers, unique: each once.
    - shared: layers of several images; advice: both with the largest saving first.
    """

    given: tuple[str, ...]
    collection: Collection
    shares: tuple[Usage, ...]
    disk: DiskUsage
    on_disk: tuple[tuple[int | None, int], ...]
    references: int
    layers: int
    referenced: int
    unique: int
    shared: tuple[StoredBlob, ...]
    bases: tuple[SharedBase, ...]
    equal: tuple[EqualLayers, ...]
    totals: ContentTotals | None
    packages: PackageTotals | None
    advice: tuple[Advice, ...]
    problems: tuple[Problem, ...]
    top: int
    verified: bool
    notices: tuple[Notice, ...]

    @property
    def saved(self) -> int:
        """Bytes that sharing saves."""
        return self.referenced - self.unique

    def largest(self) -> list[tuple[ImageEntry, Usage]]:
        """Returns the images with their usage, the largest first."""
        return sorted(zip(self.collection.members, self.shares, strict=True), key=lambda one: -one[1].size)


def dedupe(references: Sequence[str], options: DedupeOptions, session: Session) -> Deduped:
    """Returns the report for these references, from documents alone unless the options ask for files.

    A source that cannot be read is a problem in the report; its error is raised if nothing else was named, or with
    `strict`.
    """
    references = _once(references, session)
    deep = options.is_deep(session)
    if options.cluster is not None and not deep:
        raise UsageError("--cluster only affects the reading of layers", hint="--files, --zstd or --export read them")
    want: Want = "layers" if deep else "documents"
    session = session._replace(registries=session.asked())
    with kept_documents(options.state, session.task) as kept:
        session.asked().documents.kept = kept
        collection, problems = take_inventory(references, options.choice, session, want, options.strict)
        session.asked().documents.kept = None
    if not collection.members and len(problems) == 1:
        raise problems[0].error
    disk = DiskUsage(collection, session.task)
    found = bases(collection)
    equal = equal_uncompressed(collection)
    advice = list(advise_from_documents(collection, found, equal, disk, read=options.wants_files(session)))
    totals = packages = None
    if not options.wants_files(session):
        _notice_repeated_builds(collection, session)
    if deep:
        layers = LayerReader(collection, options, session, problems, disk)
        if options.wants_files(session):
            contents = layers.contents()
            totals = contents.totals(options.top, layers.index_of)
            packages = layers.packages(contents)
            advice += advise_from_contents(collection, contents, layers.index_or_none, layers.measure, disk, session)
        if options.zstd is not None:
            advice += layers.zstd(options.zstd)
        damaged = layers.damaged()  # no advice may use these, or delete an image because of them
        advice = [one for one in advice if damaged.isdisjoint(one.deletes | one.changes | one.needs)]
        problems.sort(key=lambda problem: problem.where)  # layers are finished in any order
    layer_references, referenced = collection.referenced()
    shared = sorted(
        (layer for layer in collection.layers() if len(layer.users) > 1),
        key=lambda layer: (-layer.saved, layer.key),
    )
    shares = tuple(collection.shares(member) for member in collection.members)
    return Deduped(
        tuple(references), collection, shares, disk,
        tuple(disk.of(*one) for one in zip(collection.members, shares, strict=True)),
        layer_references,
        sum(1 for _ in collection.layers()), referenced, collection.unique(), tuple(shared), tuple(found), tuple(equal), totals,
        packages, tuple(ordered_by_saving(advice)),
        tuple(problems), options.top, session.verify, _in_order(session.task.notices),
    )  # fmt: skip


def _notice_repeated_builds(collection: Collection, session: Session) -> None:
    """Adds a notice of images that others may be equal to but for noise, if reading them may be worth it."""
    count, size = repeated_builds(collection)
    if size >= _WORTH_READING:
        images = "1 image is" if count == 1 else f"{count:,} images are"
        text = f"{images} built by the instructions of another; up to {size:,} bytes of layers may differ in times and noise"
        session.task.notice("built-again", f"{text} alone: --files tells")


_WORTH_READING = 64 * KiB
"""Bytes of layers from which on a notice suggests to read them."""


def _in_order(notices: Sequence[Notice]) -> tuple[Notice, ...]:
    """Returns the notices; those of unreadable sources, which come in any order, are sorted and at the end."""
    unreadable = sorted(one for one in notices if one.code == "unreadable")
    return (*(one for one in notices if one.code != "unreadable"), *unreadable)


def _once(references: Sequence[str], session: Session) -> list[str]:
    """Returns the references without duplicates; a notice names each duplicate."""
    for reference in (one for one, times in Counter(references).items() if times > 1):
        session.task.notice("twice", f"{reference} is listed twice, and counted once")
    return list(dict.fromkeys(references))
