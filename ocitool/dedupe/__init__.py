"""Storage accounting over many images: what a collection shares, what that saves, what more could be saved, and by
which commands.

In the direction of the data:

- `options` is what is asked; `discovery` finds images below a directory or at a registry; `reference_names` gives the
  reference that names each image to any command.
- `inventory` opens the sources, and reduces their images to facts in a `collection`: every blob once, and the images
  that need it.
- `disk_usage` says what the collection takes on this machine, and what deleting an image frees; `bases` groups images
  by common bases.
- `advice` says what could be saved, from documents alone; `commands` writes the commands for it.
- `layers` reads layers, with `layer_jobs` in processes or on a cluster; `repeated_files` collects their files;
  `actions` says what could be saved by that; `export` writes the rows as Parquet.

It may import `operations`, `pipeline` and what is below them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from ocitool.dedupe.actions import advise_from_contents
from ocitool.dedupe.advice import Advice, EqualLayers, advise_from_documents, equal_uncompressed, ordered_by_saving
from ocitool.dedupe.bases import SharedBase, bases
from ocitool.dedupe.collection import Collection, ImageEntry, StoredBlob, Usage
from ocitool.dedupe.discovery import RepositoryFilter
from ocitool.dedupe.disk_usage import DiskUsage
from ocitool.dedupe.inventory import take_inventory
from ocitool.dedupe.layers import LayerReader
from ocitool.dedupe.options import DedupeOptions
from ocitool.dedupe.repeated_files import ContentTotals
from ocitool.errors import UsageError
from ocitool.pipeline.problems import Problem
from ocitool.pipeline.session import Session
from ocitool.task import Notice
from ocitool.transports.archive import Want

__all__ = ["DedupeOptions", "Deduped", "Problem", "RepositoryFilter", "dedupe"]


class Deduped(NamedTuple):
    """The report of `dedupe`.

    - shares: the usage of each image, by its number, as if all were in one layout.
    - on_disk: for each image the bytes of what holds it on this machine (None if it is elsewhere), and those that
      deleting it frees.
    - references, referenced: layers and bytes, counted as often as images name them; layers, unique: each once.
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


def dedupe(words: Sequence[str], question: DedupeOptions, reading: Session) -> Deduped:
    """Returns the report for these references, from documents alone unless the options ask for files.

    A source that cannot be read is a problem in the report; its error is raised if nothing else was named, or with
    `strict`.
    """
    words = _once(words, reading)
    deep = question.is_deep(reading)
    if question.cluster is not None and not deep:
        raise UsageError("--cluster is for the work on layers", hint="--files, --zstd or --export ask for it")
    want: Want = "layers" if deep else "documents"
    collection, problems = take_inventory(words, question.choice, reading, want, question.strict)
    if not collection.members and len(problems) == 1:
        raise problems[0].error
    disk = DiskUsage(collection, reading.task)
    found = bases(collection)
    equal = equal_uncompressed(collection)
    advice = list(advise_from_documents(collection, found, equal, disk, read=question.wants_files(reading)))
    totals = None
    if deep:
        layers = LayerReader(collection, question, reading, problems, disk)
        if question.wants_files(reading):
            contents = layers.contents()
            totals = contents.totals(question.top, layers.index_of)
            advice += advise_from_contents(collection, contents, layers.index_or_none, layers.measure, disk)
        if question.zstd is not None:
            advice += layers.zstd(question.zstd)
        damaged = layers.damaged()  # nothing is to be made of these, or deleted for them
        advice = [one for one in advice if damaged.isdisjoint(one.deletes | one.changes | one.needs)]
        problems.sort(key=lambda problem: problem.where)  # layers end in any order
    references, referenced = collection.referenced()
    shared = sorted(
        (layer for layer in collection.layers() if len(layer.users) > 1),
        key=lambda layer: (-layer.saved, layer.key),
    )
    shares = tuple(collection.shares(member) for member in collection.members)
    return Deduped(
        tuple(words), collection, shares, disk, tuple(disk.of(*one) for one in zip(collection.members, shares, strict=True)),
        references,
        sum(1 for _ in collection.layers()), referenced, collection.unique(), tuple(shared), tuple(found), tuple(equal), totals,
        tuple(ordered_by_saving(advice)),
        tuple(problems), question.top, reading.verify, _in_order(reading.task.notices),
    )  # fmt: skip


def _in_order(notices: Sequence[Notice]) -> tuple[Notice, ...]:
    """Returns the notices with those of unreadable sources at the end, sorted: they occur in any order."""
    unreadable = sorted(one for one in notices if one.code == "unreadable")
    return (*(one for one in notices if one.code != "unreadable"), *unreadable)


def _once(words: Sequence[str], reading: Session) -> list[str]:
    """Returns the references without duplicates; a notice names each duplicate."""
    for word in (word for word, times in Counter(words).items() if times > 1):
        reading.task.notice("twice", f"{word} is listed twice, and counted once")
    return list(dict.fromkeys(words))
