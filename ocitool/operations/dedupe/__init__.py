"""`dedupe`: what a collection of images shares, what that saves, what more could be saved, and how.

    finding.py     words -> where images are
    gathering.py   ... -> sources -> images, reduced to facts
    lending.py     configurations that a registry's images have in common
    problems.py    what could not be read
    collection.py  every blob once, and who needs it
    bases.py       groups of images on common bases
    advice.py      what could be saved, told from documents
    commands.py    ... and what to run for it
    work.py        what is done to one layer, and who does it
    contents.py    every file of every layer, folded
    remedies.py    what could be saved, told from contents
    export.py      the rows as Parquet
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from ocitool.errors import IntegrityError, OcitoolError, UsageError
from ocitool.layers.cache import IndexCache, default_directory
from ocitool.layers.entry import Entry
from ocitool.layers.index import LayerIndex
from ocitool.limits import GiB
from ocitool.operations.dedupe import work
from ocitool.operations.dedupe.advice import Advice, Equal, advise, as_zstd, equal_uncompressed
from ocitool.operations.dedupe.bases import Base, bases
from ocitool.operations.dedupe.collection import Collection, Shares, Stored
from ocitool.operations.dedupe.contents import Contents, Totals
from ocitool.operations.dedupe.export import export
from ocitool.operations.dedupe.finding import Choice
from ocitool.operations.dedupe.gathering import gather
from ocitool.operations.dedupe.problems import Problem, Tolerant, plain
from ocitool.operations.dedupe.remedies import remedies
from ocitool.operations.dedupe.work import Indexed
from ocitool.operations.reading import Reading
from ocitool.task import Notice
from ocitool.transports.archive import Want

T = TypeVar("T")

__all__ = ["Choice", "Deduped", "Problem", "Question", "dedupe"]


@dataclass(frozen=True, slots=True)
class Question:
    """choice: what of registries. files: read every distinct layer. export: the directory for its rows. zstd: the level to
    estimate. cluster: the address of a Dask scheduler. strict: the first problem ends it. top: how many repeated files are
    named."""

    choice: Choice
    files: bool = False
    export: str | None = None
    zstd: int | None = None
    cluster: str | None = None
    strict: bool = False
    top: int = 10


@dataclass(frozen=True, slots=True)
class Deduped:
    """`shares`: of each member, by its number. `references`, `referenced`: layers and bytes as often as images name them.
    `shared`: layers that several images have, those that save most first. `advice`: what saves most first."""

    given: tuple[str, ...]
    collection: Collection
    shares: tuple[Shares, ...]
    references: int
    layers: int
    referenced: int
    unique: int
    shared: tuple[Stored, ...]
    bases: tuple[Base, ...]
    equal: tuple[Equal, ...]
    totals: Totals | None
    advice: tuple[Advice, ...]
    problems: tuple[Problem, ...]
    top: int
    verified: bool
    notices: tuple[Notice, ...]


def dedupe(words: Sequence[str], question: Question, reading: Reading) -> Deduped:
    """From documents alone, unless the question is about files. A source that cannot be read is a problem in the result; where
    nothing else was named, or with `strict`, its error is raised."""
    words = _once(words, reading)
    if question.cluster is not None and not _deep(question, reading):
        raise UsageError("--cluster is for the work on layers", hint="--files, --zstd or --export ask for it")
    want: Want = "layers" if _deep(question, reading) else "documents"
    collection, problems = gather(words, question.choice, reading, want, question.strict)
    if not collection.members and len(problems) == 1:
        raise problems[0].error
    found = bases(collection)
    equal = equal_uncompressed(collection)
    advice = list(advise(collection, found, equal))
    totals = None
    if _deep(question, reading):
        layers = _Layers(collection, question, reading, problems)
        if question.files or question.export is not None or reading.verify:
            contents = layers.contents()
            totals = contents.totals(question.top, layers.again)
            advice += remedies(collection, contents, layers.recall, layers.measure)
        if question.zstd is not None:
            advice += layers.zstd(question.zstd)
        problems.sort(key=lambda problem: problem.where)  # layers end in any order
    references, referenced = collection.referenced()
    shared = sorted(
        (layer for layer in collection.layers() if len(layer.users) > 1),
        key=lambda layer: (-layer.size * (len(layer.users) - 1), layer.key),
    )
    return Deduped(
        tuple(words), collection, tuple(collection.shares(member) for member in collection.members), references,
        sum(1 for _ in collection.layers()), referenced, collection.unique(), tuple(shared), tuple(found), tuple(equal), totals,
        tuple(sorted((one for one in advice if one.saves > 0), key=lambda one: (-one.saves, one.kind, one.images))),
        tuple(problems), question.top, reading.verify, tuple(reading.task.notices),
    )  # fmt: skip


def _deep(question: Question, reading: Reading) -> bool:
    return question.files or question.export is not None or question.zstd is not None or reading.verify


def _once(words: Sequence[str], reading: Reading) -> list[str]:
    for word in (word for word, times in Counter(words).items() if times > 1):
        reading.task.notice("twice", f"{word} is listed twice, and counted once")
    return list(dict.fromkeys(words))


class _Layers:
    """The layers of a collection, read where that is owed: each distinct one once, and what the cache knows not at all."""

    HELD = 1_000_000
    """Entries of indexes that are held in memory for a second look, about 190 bytes each."""

    SAMPLES = 4 * GiB
    """Stored bytes of layers that are compressed to learn what zstd would save; of more than that, some are."""

    def __init__(self, collection: Collection, question: Question, reading: Reading, problems: list[Problem]) -> None:
        self._collection = collection
        self._question = question
        self._task = reading.task
        self._verify = reading.verify
        self._cache = IndexCache(default_directory() if reading.cached else None)
        self._problems = problems
        self._held: dict[Stored, LayerIndex] = {}
        self._entries = 0
        self._bad: set[Stored] = set()
        if self._cache.refused:
            reading.task.notice("cache", self._cache.refused)

    def contents(self) -> Contents:
        """Every layer that can be read, folded; what cannot be is a problem."""
        contents = Contents()
        with export(self._question.export, self._collection) as rows:

            def take(layer: Stored, index: LayerIndex) -> None:
                self._judge(layer, index)
                contents.add(layer, index)
                self._hold(layer, index)
                if rows is not None:
                    rows.add(layer, index)

            def keep(layer: Stored, found: Indexed) -> None:
                if layer.digest is not None and found.found.digest != layer.digest:
                    raise IntegrityError(f"content is {found.found.digest}, stated is {layer.digest}")
                seen = layer.place.identity if layer.place is not None else None
                self._cache.keep(found.found, seen if seen == found.identity else None)  # another machine's is not ours
                take(layer, found.found)

            unknown = []
            for layer in self._readable():
                self._task.check()
                known = None if self._verify else self._known(layer)
                if known is None:
                    unknown.append(layer)
                else:
                    with self._tolerant(layer):
                        take(layer, known)
            self._fold(unknown, work.index, keep)
        return contents

    def _judge(self, layer: Stored, index: LayerIndex) -> None:
        """Names the images that state another diff_id than the layer has. Raises `IntegrityError` where all do."""
        lies: dict[str, IntegrityError] = {}
        honest = False
        for number in layer.users:
            member = self._collection.members[number]
            for stack in member.stacks:
                for mine, stated in zip(stack.layers, stack.diff_ids, strict=True):
                    if mine is layer and stated is not None and stated != index.diff_id:
                        what = f"unpacks to {index.diff_id}, the configuration states {stated}"
                        lies[member.reference] = IntegrityError(what)
                    elif mine is layer:
                        honest = True
        for reference, error in lies.items():
            if not honest:
                raise error
            self._problem(f"{reference}: layer {layer.key}", error)

    def zstd(self, level: int) -> Iterator[Advice]:
        """What it would save to store gzip layers as zstd. Of a large collection some layers are compressed, those that come
        first by digest, as good as any others."""
        layers = sorted((one for one in self._readable() if one.codec == "gzip"), key=lambda layer: layer.key)
        chosen, left = [], self.SAMPLES
        for layer in layers:
            if left > 0:
                chosen.append(layer)
                left -= layer.size
        sizes: dict[Stored, int] = {}
        self._fold(chosen, partial(work.as_zstd, level=level), sizes.__setitem__)
        yield from as_zstd(self._collection, layers, sizes, level)

    def measure(self, files: Sequence[tuple[Stored, tuple[Entry, ...]]]) -> list[int]:
        """What files of layers take in them; 0 where a layer cannot be read any more."""
        jobs = [work.Files(_job(layer), entries) for layer, entries in files]
        sizes = [0] * len(jobs)
        places = {id(job): number for number, job in enumerate(jobs)}
        self._work(
            jobs, work.compressed, lambda job, size: sizes.__setitem__(places[id(job)], size),
            lambda job, error: self._failed(files[places[id(job)]][0], error),
        )  # fmt: skip
        return sizes

    def recall(self, layer: Stored) -> LayerIndex | None:
        """The index of a layer that was read before; None where it could not be."""
        if layer in self._bad or layer.trouble is not None or not layer.there:
            return None
        return self.again(layer)

    def again(self, layer: Stored) -> LayerIndex:
        found = self._held.get(layer)
        if found is None:
            found = self._known(layer)  # verified or not: what is known of it by now, this run has read
        if found is None:
            found = self._here(layer, work.index).found
        self._hold(layer, found)
        return found

    def _hold(self, layer: Stored, index: LayerIndex) -> None:
        if layer not in self._held and self._entries + len(index) <= self.HELD:
            self._held[layer] = index
            self._entries += len(index)

    def _known(self, layer: Stored) -> LayerIndex | None:
        identity = layer.place.identity if layer.place is not None else None
        return self._cache.find(layer.digest, identity, _algorithm(layer))

    def _readable(self) -> Iterator[Stored]:
        """Layers of images; those that cannot be read are problems, once."""
        for layer in {layer: None for one in self._collection.members for stack in one.stacks for layer in stack.layers}:
            if layer.trouble is not None and layer not in self._bad:
                self._failed(layer, layer.trouble)
            elif layer.there and layer not in self._bad:
                yield layer

    def _fold(self, layers: Sequence[Stored], function: Callable[[work.Job], T], take: Callable[[Stored, T], None]) -> None:
        jobs = {_job(layer): layer for layer in layers}
        self._work(
            list(jobs), function, lambda job, result: take(jobs[job], result), lambda job, error: self._failed(jobs[job], error)
        )

    def _work(
        self, jobs: Sequence[work.J], function: Callable[[work.J], T], take: Callable[[work.J, T], None],
        failed: Callable[[work.J, OcitoolError], None],
    ) -> None:  # fmt: skip
        """The function of each job, by whoever can reach the layer: what has no name only this process can."""
        own = [job for job in jobs if not job.reachable]
        work.fold(own, function, None, 1, self._task, take, failed)
        others = [job for job in jobs if job.reachable]
        with work.executor(self._question.cluster, others, self._task) as (executor, workers):
            work.fold(others, function, executor, workers, self._task, take, failed)

    def _here(self, layer: Stored, function: Callable[[work.Job], T]) -> T:
        return function(_job(layer))

    def _tolerant(self, layer: Stored) -> Tolerant:
        return Tolerant(layer.key, lambda problem: self._failed(layer, problem.error))

    def _failed(self, layer: Stored, error: OcitoolError) -> None:
        self._bad.add(layer)
        user = self._collection.members[layer.users[0]]
        self._problem(f"{user.reference}: layer {layer.key}", error)

    def _problem(self, where: str, error: OcitoolError) -> None:
        error.where = where
        plain(error)
        if self._question.strict:
            raise error
        self._problems.append(Problem(where, error))
        self._task.notice("unreadable", str(error))


def _job(layer: Stored) -> work.Job:
    blob = layer.blob if layer.place is None else None
    return work.Job(layer.key, layer.place, blob, layer.stated, layer.digest, _algorithm(layer))


def _algorithm(layer: Stored) -> str:
    return layer.diff_id.algorithm if layer.diff_id is not None else "sha256"
