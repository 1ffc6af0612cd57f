"""`dedupe`: what a collection of images shares, what that saves, what more could be saved, and how.

    question.py    what is asked
    finding.py     words -> where images are
    naming.py      what names an image to any command
    gathering.py   ... -> sources -> images, reduced to facts
    problems.py    what could not be read
    collection.py  every blob once, and who needs it
    disk.py        what it takes where it lies, and what deleting an image frees there
    bases.py       groups of images on common bases
    advice.py      what could be saved, told from documents
    commands.py    ... and what to run for it
    layers.py      layers that are read: which, and what of them is known already
    work.py        what is done to one layer, and who does it
    contents.py    every file of every layer, folded
    remedies.py    what could be saved, told from contents
    export.py      the rows as Parquet
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
    """`shares`: of each member, by its number, as in one layout of all; `lies`: bytes of what holds it on this machine (None:
    it is elsewhere), and those that deleting it frees. `references`, `referenced`: layers and bytes as often as images name
    them. `shared`: layers that several images have, those that save most first. `advice`: what saves most first."""

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
        """The images with their bytes, the largest first."""
        return sorted(zip(self.collection.members, self.shares, strict=True), key=lambda one: -one[1].size)


def dedupe(words: Sequence[str], question: DedupeOptions, reading: Session) -> Deduped:
    """From documents alone, unless the question is about files. A source that cannot be read is a problem in the result; where
    nothing else was named, or with `strict`, its error is raised."""
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
    """What is unreadable last, and sorted: it came up in any order."""
    unreadable = sorted(one for one in notices if one.code == "unreadable")
    return (*(one for one in notices if one.code != "unreadable"), *unreadable)


def _once(words: Sequence[str], reading: Session) -> list[str]:
    for word in (word for word, times in Counter(words).items() if times > 1):
        reading.task.notice("twice", f"{word} is listed twice, and counted once")
    return list(dict.fromkeys(words))
