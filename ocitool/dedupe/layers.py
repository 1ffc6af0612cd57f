"""Reads the layers of a collection, each distinct one once: from the cache, in processes or on a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TypeVar

from ocitool.dedupe import layer_jobs
from ocitool.dedupe.advice import Advice, as_zstd, digest_of
from ocitool.dedupe.collection import BlobCopy, Collection, StoredBlob
from ocitool.dedupe.disk_usage import DiskUsage
from ocitool.dedupe.export import export
from ocitool.dedupe.layer_jobs import CompressedSize, IndexedLayer, LayerPackages
from ocitool.dedupe.options import DedupeOptions
from ocitool.dedupe.package_copies import KINDS, MAX_READ, PackageCopies, PackageTotals
from ocitool.dedupe.repeated_files import DistinctContents
from ocitool.digest import Digest, wrong_diff_id
from ocitool.errors import CancelledError, DestinationError, IntegrityError, OcitoolError
from ocitool.layers.cache import IndexCache, default_directory, within_limits
from ocitool.layers.entry import Entry, shown_path
from ocitool.layers.index import LayerIndex
from ocitool.limits import GiB
from ocitool.packages.installed import recorded
from ocitool.packages.package import PackageList
from ocitool.pipeline.problems import Problem, without_context
from ocitool.pipeline.session import Session
from ocitool.trees.indexing import odd_times

T = TypeVar("T")


class LayerReader:
    """Reads layers when they are needed. A layer that the cache knows is not read, unless everything is verified."""

    MAX_HELD = 1_000_000
    """Most entries of indexes that are kept in memory for later use, about 190 bytes each."""

    MAX_SAMPLED = 4 * GiB
    """Most stored bytes of layers that are compressed to estimate what zstd saves; beyond it a sample is taken."""

    def __init__(
        self, collection: Collection, options: DedupeOptions, session: Session, problems: list[Problem], disk: DiskUsage
    ) -> None:
        self._collection = collection
        self._disk = disk
        self._options = options
        self._task = session.task
        self._verify = session.verify
        self._cache = IndexCache(default_directory() if session.cached else None)
        self._problems = problems
        self._held: dict[StoredBlob, LayerIndex] = {}
        self._entries = 0
        self._bad: set[StoredBlob] = set()
        self._damaged: set[str] = set()
        """References of images with a damaged copy of a layer."""
        if self._cache.refused:
            session.task.remark("cache", self._cache.refused)

    def contents(self) -> DistinctContents:
        """Returns the files of every layer that can be read, by content; a layer that cannot becomes a problem. Writes
        the rows of `--export` on the way."""
        contents = DistinctContents()
        index_it = partial(layer_jobs.index, keep=self._cache.stores)
        odd: dict[StoredBlob, list[str]] = {}
        with export(self._options.export, self._collection) as rows:

            def take(layer: StoredBlob, index: LayerIndex) -> None:
                self._check_diff_ids(layer, index)
                if texts := odd_times(index, self._named(layer)):
                    odd[layer] = texts
                contents.add(layer, index)
                self._hold(layer, index)
                if rows is not None:
                    try:
                        rows.add(layer, index)
                    except DestinationError as error:
                        raise OSError(error.what) from None  # not a problem of the layer: `export` ends the run

            def keep(layer: StoredBlob, found: IndexedLayer) -> None:
                self._task.count_expansion(found.expansion)
                if layer.digest is not None and found.found.digest != layer.digest:
                    raise IntegrityError(f"content is {found.found.digest}, stated is {layer.digest}")
                seen = layer.place.identity if layer.place is not None else None
                # The identity that another machine saw may not be that of the file here.
                self._cache.store(found.found, seen if seen == found.identity else None, found.kept)
                take(layer, found.found)

            unknown = []
            for layer in self._readable():
                self._task.check()
                known = None if self._verify else self._known(layer)
                if known is None:
                    unknown.append(layer)
                else:
                    try:
                        take(layer, known)
                    except OcitoolError as error:
                        self._failed(layer, error)
            self._run([(job_for(layer), index_it) for layer in unknown], unknown, keep)
        self._read_copies()
        for layer in self._collection.layers():  # in a fixed order, whichever was read first
            for text in odd.get(layer, ()):
                self._task.notice("time", text)
        return contents

    def _read_copies(self) -> None:
        """Verifies further copies of layers: one of two files with the same digest may be damaged, and advice may delete
        the other. A copy whose bytes were read before is not read again, unless everything is verified."""
        waiting: list[tuple[StoredBlob, BlobCopy]] = []
        for layer in self._collection.layers():
            for copy in layer.copies:
                identity = copy.place.identity if copy.place is not None else None
                if self._verify or not self._cache.has_bytes(digest_of(layer), _diff_id(layer), identity, _algorithm(layer)):
                    waiting.append((layer, copy))

        def look(one: tuple[StoredBlob, BlobCopy]) -> OcitoolError | None:
            """Returns the error of one copy, instead of raising it: one damaged copy must not end the others."""
            layer, copy = one
            digest = digest_of(layer)
            job = layer_jobs.LayerJob(layer.key, copy.place, copy.blob, layer.stated_size, digest, _algorithm(layer))
            try:
                identity = layer_jobs.verify_layer(job, _diff_id(layer), self._task)
            except CancelledError:
                raise
            except OcitoolError as error:
                return error
            if digest is not None and identity is not None and copy.place is not None and copy.place.identity == identity:
                self._cache.record_digest(digest, identity, _algorithm(layer))
            return None

        for (layer, copy), error in zip(waiting, self._task.map(look, waiting), strict=True):
            if error is not None:
                self._damaged.add(copy.reference)
                self._problem(f"{copy.reference}: layer {layer.key}", error)

    def damaged(self) -> set[int]:
        """Returns the images with a layer that cannot be read or is damaged, in any place."""
        places = (one for one in self._collection.members if not self._damaged.isdisjoint(one.places))
        return {one.number for one in places} | {number for layer in self._bad for number in layer.users}

    def _check_diff_ids(self, layer: StoredBlob, index: LayerIndex) -> None:
        """Makes a problem for each image that states another diff_id than the layer has. Raises `IntegrityError` if all
        images do."""
        wrong: dict[str, IntegrityError] = {}
        computed = str(index.diff_id)
        any_right = False
        for number in layer.users:
            member = self._collection.members[number]
            for image in member.platform_images:
                for mine, stated in zip(image.layers, image.diff_ids, strict=True):
                    if mine is layer and stated is not None and stated != computed:
                        wrong[member.reference] = wrong_diff_id(index.diff_id, Digest.parse(stated))
                    elif mine is layer:
                        any_right = True
        for reference, error in wrong.items():
            if not any_right:
                raise error
            self._problem(f"{reference}: layer {layer.key}", error)

    def zstd(self, level: int) -> Iterator[Advice]:
        """Yields advice to store gzip layers as zstd. For a large collection a sample is compressed: the first layers by
        digest."""
        layers = sorted((one for one in self._readable() if one.codec == "gzip"), key=lambda layer: layer.key)
        chosen, left = [], self.MAX_SAMPLED
        for layer in layers:
            if left > 0:
                chosen.append(layer)
                left -= layer.size
        sizes: dict[StoredBlob, int] = {}

        def take(layer: StoredBlob, measured: CompressedSize) -> None:
            sizes[layer] = self._counted(measured)

        self._run([(job_for(layer), partial(layer_jobs.as_zstd, level=level)) for layer in chosen], chosen, take)
        yield from as_zstd(self._collection, layers, sizes, level, self._disk)

    def _counted(self, measured: CompressedSize) -> int:
        """Returns the size, and adds the unpacked bytes to those of the command."""
        self._task.count_expansion(measured.expansion)
        return measured.size

    def measure(self, files: Sequence[tuple[StoredBlob, tuple[Entry, ...]]]) -> list[int]:
        """Returns the bytes that files take in their layers; 0 if a layer can no longer be read."""
        sizes = [0] * len(files)
        jobs = [(job_for(layer), partial(layer_jobs.compressed, files=entries)) for layer, entries in files]

        def take(number: int, measured: CompressedSize) -> None:
            sizes[number] = self._counted(measured)

        layer_jobs.run_all(
            jobs, self._options.cluster, self._task, take,
            lambda number, error: self._failed(files[number][0], error),
        )  # fmt: skip
        return sizes

    def packages(self, contents: DistinctContents) -> PackageTotals:
        """Returns the packages of which several layers hold a copy. A database that cannot be read gives a notice."""
        copies = PackageCopies(self._collection, contents)
        problems: list[str] = []
        chosen: list[StoredBlob] = []
        jobs: list[layer_jobs.Job[LayerPackages]] = []
        left_out, left = 0, MAX_READ

        def add(layer: StoredBlob, index: LayerIndex, packages: PackageList | LayerPackages) -> None:
            copies.add(layer, index, packages.packages)
            problems.extend(f"{self._named(layer)}: {shown_path(path)}: {reason}" for path, reason in packages.problems[:3])

        for layer in sorted(contents.layers, key=lambda layer: (-layer.size, layer.key)):
            index = self.index_or_none(layer)
            rows = copies.database_rows(index) if index is not None else ()
            if index is None or not rows:
                continue
            kept = self._cache.find_contents(index.diff_id) if index.diff_id is not None and not self._verify else {}
            if all(row in kept for row in rows):
                add(layer, index, recorded(((index.entry(row), kept[row]) for row in rows), KINDS))
            elif layer.size > left:
                left_out += 1
            else:
                left -= layer.size
                files = tuple(map(index.entry, rows))
                chosen.append(layer)
                jobs.append((job_for(layer), partial(layer_jobs.packages, files=files, kinds=KINDS)))

        def take(number: int, found: LayerPackages) -> None:
            self._task.count_expansion(found.expansion)
            add(chosen[number], self.index_of(chosen[number]), found)

        layer_jobs.run_all(
            jobs, self._options.cluster, self._task, take,
            lambda number, error: self._failed(chosen[number], error),
        )  # fmt: skip
        for text in sorted(problems):
            self._task.notice("packages", text)
        return copies.totals(self._options.top, left_out)

    def index_or_none(self, layer: StoredBlob) -> LayerIndex | None:
        """Returns the index of a layer that was read before; None if it could not be."""
        if layer in self._bad or layer.problem is not None or not layer.present:
            return None
        return self.index_of(layer)

    def index_of(self, layer: StoredBlob) -> LayerIndex:
        """Returns the index of a layer that was read before: from memory or the cache, else by reading it again."""
        found = self._held.get(layer)
        if found is None:
            identity = layer.place.identity if layer.place is not None else None
            # Even if everything is verified: this run has read what is in the cache by now.
            found = self._cache.find(layer.digest, identity, _algorithm(layer))
        if found is None:
            found = layer_jobs.index(job_for(layer)).found
        self._hold(layer, found)
        return found

    def _hold(self, layer: StoredBlob, index: LayerIndex) -> None:
        """Keeps an index in memory, if there is room."""
        if layer not in self._held and self._entries + len(index) <= self.MAX_HELD:
            self._held[layer] = index
            self._entries += len(index)

    def _known(self, layer: StoredBlob) -> LayerIndex | None:
        """Returns the cached index of the layer's bytes; None if there is none. A local file is looked up by its
        identity, not by its digest alone, since it may be damaged."""
        identity = layer.place.identity if layer.place is not None else None
        remote = layer.place is not None and layer.place.repository is not None
        look = self._cache.find if remote else self._cache.find_bytes
        found = look(layer.digest, identity, _algorithm(layer))
        return found if found is not None and within_limits(found, layer.stated_size) else None

    def _readable(self) -> Iterator[StoredBlob]:
        """Yields the layers of images that can be read; the others become problems, once."""
        for layer in {
            layer: None for one in self._collection.members for image in one.platform_images for layer in image.layers
        }:
            if layer.problem is not None and layer not in self._bad:
                self._failed(layer, layer.problem)
            elif layer.present and layer not in self._bad:
                yield layer

    def _run(
        self, jobs: Sequence[layer_jobs.Job[T]], layers: Sequence[StoredBlob], take: Callable[[StoredBlob, T], None]
    ) -> None:
        layer_jobs.run_all(
            jobs, self._options.cluster, self._task, lambda number, result: take(layers[number], result),
            lambda number, error: self._failed(layers[number], error),
        )  # fmt: skip

    def _failed(self, layer: StoredBlob, error: OcitoolError) -> None:
        self._bad.add(layer)
        self._problem(self._named(layer), error)

    def _named(self, layer: StoredBlob) -> str:
        """Returns the name of a layer for messages."""
        return f"{self._collection.members[layer.users[0]].reference}: layer {layer.key}"

    def _problem(self, where: str, error: OcitoolError) -> None:
        error.where = where
        without_context(error)
        if self._options.strict:
            raise error
        self._problems.append(Problem(where, error))
        self._task.notice("unreadable", str(error))


def job_for(layer: StoredBlob) -> layer_jobs.LayerJob:
    """Returns the job for a layer: where its bytes are, and what they should be."""
    blob = layer.blob if layer.place is None else None
    return layer_jobs.LayerJob(layer.key, layer.place, blob, layer.stated_size, layer.digest, _algorithm(layer))


def _algorithm(layer: StoredBlob) -> str:
    return layer.diff_id.partition(":")[0] if layer.diff_id is not None else "sha256"


def _diff_id(layer: StoredBlob) -> Digest | None:
    return Digest.parse(layer.diff_id) if layer.diff_id is not None else None
