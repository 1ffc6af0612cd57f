"""`rebuild`: an image made of the layers of an older one wherever they are equal. Builds nothing.

Plan `reuse` takes the old layer for each one that is the same tar or lists equal entries; plan `delta` takes all old layers and
one more, that turns the old file system into the new one. What comes out is compared with what was wanted, tree by tree,
before anything is written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from ocitool import masking
from ocitool.blob import expected
from ocitool.digest import Digest
from ocitool.disk.scan_directory import first_paths
from ocitool.errors import LimitError, NotFoundError, OcitoolError, UnsafeError, UsageError
from ocitool.globs import matcher, refuse_unmatched, unmatched
from ocitool.images import drafts, select
from ocitool.images.drafts import ImageDraft
from ocitool.images.image import Image, Layer
from ocitool.layers import codecs
from ocitool.layers.entry import shown_path
from ocitool.layers.scan import index_layer
from ocitool.operations.rebuild.bytecode import accepted, settled, stale
from ocitool.operations.rebuild.layer_match import LayerMatch, OldImage, match
from ocitool.operations.rebuild.reuse_check import LeftoverFile, ignored_differences, refused, removed_since, same, shipped
from ocitool.pipeline.image_writer import ImageWriter, WriteOptions, WriteResult
from ocitool.pipeline.indexed_image import IndexedImage, indexed_images
from ocitool.pipeline.rewrite import rewrite
from ocitool.pipeline.session import Session
from ocitool.pipeline.source_date import made_at
from ocitool.task import Task
from ocitool.transports.sink import OutputImage, OutputLayer
from ocitool.trees import changeset_tar
from ocitool.trees.changeset import Changeset, Ignored, changeset

Plan = Literal["auto", "as-is", "reuse", "delta"]
CREATED_BY = "ocitool rebuild --plan delta"
_TRIES = 32
"""Layers that are tried one by one where all together do not give what is wanted: each costs a look at the whole tree."""
_CHAIN = 3
"""Deltas in a row from which on they are better squashed."""


class RebuildOptions(NamedTuple):
    """against: references of the old images. times: whether mtimes count. ignore: globs of paths that may differ."""

    against: tuple[str, ...]
    plan: Plan = "auto"
    times: bool = False
    ignore: tuple[str, ...] = ()
    allow_no_match: bool = False


def rebuild(
    reference: str, question: RebuildOptions, reading: Session, writing: WriteOptions, *, platform: str | None = None,
    all_platforms: bool = False,
) -> WriteResult:  # fmt: skip
    """The image, or with `all_platforms` every image of an index, out of the layers of `question.against`."""
    if not question.against:
        raise UsageError("nothing to take layers from", hint="--against REF names an older build of the image")
    opened = reading.open(reference, "layers")
    with ImageWriter(writing, reading, platform=platform) as writer:
        rebuilder = _Rebuilder(question, reading, writer)

        def summary(done: Sequence[tuple[OutputImage, tuple[RebuiltImage, _Have]]]) -> tuple[RebuildReport, int]:
            rebuilder.settle()
            return RebuildReport(tuple(told.with_cost(have.owed(output.layers)) for output, (told, have) in done)), 0

        return rewrite("rebuild", opened, rebuilder.rebuilt, writer, summary, platform=platform, all_platforms=all_platforms)


class PlanCost(NamedTuple):
    """What one who has the old images needs for a plan, in bytes of layers; None for a plan that is not possible."""

    plan: str
    transfer: int | None
    estimated: bool


class MatchedLayer(NamedTuple):
    """How a layer matches one of an old image, and which: the name of the image, and the number of its layer."""

    how: str
    image: str | None
    layer: int | None


class DeltaReport(NamedTuple):
    """The old image below the delta, how many `deltas` in a row that makes, and the files that are passed on hidden."""

    against: str
    deltas: int
    hidden: tuple[LeftoverFile, ...]


class RebuiltImage(NamedTuple):
    """What became of one image. The result differs from it in `ignored` paths and in .pyc files: `equal_pyc` fit the times of
    their sources, `stale_pyc` do not."""

    reference: str
    platform: str
    against: tuple[str, ...]
    plan: str
    plans: tuple[PlanCost, ...]
    layers: tuple[MatchedLayer, ...]
    ignored: tuple[bytes, ...]
    equal_pyc: tuple[bytes, ...]
    stale_pyc: tuple[bytes, ...]
    delta: DeltaReport | None

    def with_cost(self, transfer: int) -> RebuiltImage:
        """Returns it with what the plan that was taken came to."""
        plans = tuple(one._replace(transfer=transfer) if one.plan == self.plan else one for one in self.plans)
        return self._replace(plans=plans)


class RebuildReport(NamedTuple):
    rebuilt: tuple[RebuiltImage, ...]


class _Rebuilder:
    def __init__(self, question: RebuildOptions, reading: Session, writer: ImageWriter) -> None:
        self._question = question
        self._task: Task = reading.task
        self._writer = writer
        self._indexer = reading.indexer()
        self._ignored: Ignored | None = matcher(question.ignore) if question.ignore else None
        self._left = list(question.ignore)
        """Globs that matched nothing yet."""
        self._opened = [(one, reading.open(one, "layers")) for one in question.against]

    def rebuilt(self, draft: ImageDraft) -> tuple[ImageDraft, tuple[RebuiltImage, _Have]]:
        image = draft.image
        names, images = self._olds(image)
        new, *stacked = indexed_images([image, *images], self._indexer)
        for stack in (new, *stacked):
            for index in stack.indexes:
                self._left = unmatched(self._left, index.paths)
        olds = [self._beside(new, old) for old in stacked]
        have = _Have(stacked)
        as_is = have.marked(draft)
        matches = self._verified(new, olds, match(new, olds, times=self._question.times))
        reuse = self._reuse(as_is, new, matches)
        best = self._best(olds, names)
        plan = self._question.plan
        if plan == "auto":
            plan = "reuse" if have.owed(reuse.layers) < have.owed(as_is.layers) else "as-is"
        draft, made, delta = as_is, new, None
        if plan == "reuse":
            draft, made = reuse, _chosen(new, matches)
        elif plan == "delta":
            if best is None:
                raise LimitError(f"a delta on {drafts.MAX_LAYERS} layers is more than Docker takes", names[0])
            draft, made, delta = self._delta(as_is, new, best)
        changes = self._writer.layers.converts(image, changed=True), self._writer.layers.converts(image, changed=False)
        guessed = {"reuse": changes[0], "as-is": changes[1], "delta": True, plan: False}
        costs = {
            "as-is": have.owed(as_is.layers), "reuse": have.owed(reuse.layers),
            "delta": _estimate(best.changes, new) if best else None,
        }  # fmt: skip
        plans = tuple(PlanCost(name, cost, cost is not None and guessed[name]) for name, cost in costs.items())
        ignored, equal, stale = self._differences(made, new, olds)
        told = RebuiltImage(
            image.where, masking.stated(image.platform), tuple(names), plan, plans,
            _matched(matches, dict(zip(map(id, stacked), names, strict=True))), ignored, equal, stale, delta,
        )  # fmt: skip
        return draft, (told, have)

    def settle(self) -> None:
        """`UsageError` for globs that match nothing in any of the images."""
        what, allowed = "path of NEW or OLD", self._question.allow_no_match
        refuse_unmatched(self._left, "--ignore-path", what, self._task, allowed=allowed)

    def _beside(self, new: IndexedImage, old: IndexedImage) -> OldImage:
        """What counts as equal between the two. Nothing may be the old image's that was taken out of the new one since."""
        ignored = self._ignored
        if ignored is not None and removed_since(old.image, new.image):
            text = f"{new.image.where}: files were taken out of it since {old.image.where}: nothing is ignored between them"
            self._task.notice("removed", text)
            ignored = None
        return OldImage(old, new if self._question.times else settled(new, old), ignored)

    def _differences(
        self, made: IndexedImage, new: IndexedImage, olds: Sequence[OldImage]
    ) -> tuple[tuple[bytes, ...], tuple[bytes, ...], tuple[bytes, ...]]:
        """In what the result is not the new image, for the report and as notices: ignored paths, .pyc files that are equal, and
        stale ones."""
        ignored = ignored_differences(made.tree, new.tree, times=self._question.times, ignored=self._ignored)
        late = stale(made, new)
        old = sorted({*accepted(made, new, [one.new for one in olds])[1]} - {*late})
        what = (
            f"{_count(len(ignored), 'ignored path')} not as in it",
            f"{_count(len(old), '.pyc file')} other than in it only by the time of the source, which they fit",
            f"{_count(len(late), '.pyc file')} with another time than the source has now",
        )
        self._name("ignored", what[0], new.image, ignored)
        self._name("pyc", what[1], new.image, old)
        self._name("stale-pyc", what[2], new.image, late)
        return tuple(ignored), tuple(old), tuple(late)

    def _olds(self, image: Image) -> tuple[list[str], list[Image]]:
        """The old images of this one's platform; that some of several lack it is no matter."""
        names, images = [], []
        missing: NotFoundError | None = None
        for name, opened in self._opened:
            select.targets(opened)  # raises where nothing of that name is there
            try:
                images.append(self._writer.blobs.completed(select.single(opened, None, like=image.platform)))
                names.append(name)
            except NotFoundError as error:
                missing = error
        if not images and missing is not None:
            raise missing
        return names, images

    # Reuse

    def _verified(self, new: IndexedImage, olds: Sequence[OldImage], matches: list[LayerMatch]) -> list[LayerMatch]:
        """The matches as far as they give the file system that is wanted: where layers depend on what was ignored in lower
        ones, all together may not."""
        if self._is_right(new, olds, matches):
            return matches
        found = [one if one.how != "equal" else LayerMatch("changed") for one in matches]
        equal = [number for number, one in enumerate(matches) if one.how == "equal"]
        for number in equal[:_TRIES]:
            tried = [*found[:number], matches[number], *found[number + 1 :]]
            found = tried if self._is_right(new, olds, tried) else found
        return found

    def _is_right(self, new: IndexedImage, olds: Sequence[OldImage], matches: Sequence[LayerMatch]) -> bool:
        return all(one.how != "equal" for one in matches) or self._is_wanted(_chosen(new, matches), new, olds)

    def _is_wanted(self, made: IndexedImage, new: IndexedImage, olds: Sequence[OldImage]) -> bool:
        """Whether what was made is the file system of the new image, but for what counts as equal."""
        wanted, _ = accepted(made, new, [one.new for one in olds])
        return same(made.tree, wanted.tree, times=self._question.times, ignored=self._ignored)

    def _reuse(self, draft: ImageDraft, new: IndexedImage, matches: Sequence[LayerMatch]) -> ImageDraft:
        for number, found in enumerate(matches):
            old, layer = found.old, found.layer
            if old is None or layer is None or (found.how == "same" and layer.digest in (None, new.layers[number].digest)):
                continue
            draft = drafts.replaced(draft, number, self._output_layer(draft.image, new.layers[number], old, layer))
        return draft

    def _output_layer(self, image: Image, like: Layer, old: IndexedImage, layer: Layer) -> OutputLayer:
        return self._writer.layers.of_other(image, like, old.image, layer)._replace(diff_id=old.indexes[layer.number].diff_id)

    # Delta

    def _best(self, olds: Sequence[OldImage], names: Sequence[str]) -> _Delta | None:
        """The smallest delta; None where no old image can have one."""
        found = []
        for name, old in zip(names, olds, strict=True):
            try:
                changes = changeset(old.stack.tree, old.new.tree, times=self._question.times, ignored=old.ignored)
            except UnsafeError:
                if self._question.plan == "delta":
                    raise
                continue
            if len(old.stack.layers) < drafts.MAX_LAYERS or not changes:
                found.append(_Delta(name, old, changes))
        return min(found, key=lambda one: _estimate(one.changes, one.old.new), default=None)

    def _delta(self, draft: ImageDraft, new: IndexedImage, delta: _Delta) -> tuple[ImageDraft, IndexedImage, DeltaReport]:
        """All layers of the old image, and one more."""
        image, old = draft.image, delta.old.stack
        hidden = shipped(old, new)
        secret = refused(hidden, old.image, new.image)
        if secret:
            count, first = _count(len(secret), "file"), shown_path(secret[0].path)
            raise UsageError(
                f"files were taken out of {image.where}, or it does not say whether: a delta would pass on {count} that it no "
                f"longer has, first {first}", delta.name, hint="--plan reuse leaves them behind",
            )  # fmt: skip
        made = [self._output_layer(image, layer, old, layer) for layer in old.layers]
        stack = old
        if delta.changes:
            added = self._layer(image, new, delta.changes)
            made.append(added)
            assert added.blob is not None
            self._task.expect(expected([added.blob]))
            layer = Layer(len(old.layers), added.blob, added.digest, added.diff_id, added.size, added.media_type, None, None)
            layers = (*old.layers, layer)
            stack = IndexedImage(old.image._replace(layers=layers), [*old.indexes, index_layer(added.blob, self._task)])
        if not self._is_wanted(stack, new, [delta.old]):
            raise RuntimeError("the delta does not give the file system that was wanted")
        draft = drafts.layered(draft, made, _history(old, image, bool(delta.changes)))
        told = [one for one in hidden if self._ignored is None or not self._ignored(one.path)]
        return draft, stack, self._hidden(delta, told, image)

    def _layer(self, image: Image, new: IndexedImage, changes: Changeset) -> OutputLayer:
        try:
            tar = changeset_tar.tar_chunks(changes, image, new.tree, self._task, lowest=len(new.layers))
            codec = self._writer.layers.new_codec(image)
            return self._writer.layers.made(tar, codec, image, "new", level=_level(codec))
        except OcitoolError as error:
            raise error.at(image.where) from None

    def _hidden(self, delta: _Delta, found: Sequence[LeftoverFile], image: Image) -> DeltaReport:
        """What a delta ships although nobody sees it, and whether there are many of them by now."""
        size = sum(one.size for one in found)
        what = f"{_count(len(found), 'file')} ({size} bytes) of {delta.name} passed on that it does not have"
        self._name("hidden", what, image, [one.path for one in found])
        layers = delta.old.stack.layers
        below = 0  # deltas right below this one
        while below < len(layers) and layers[-1 - below].created_by == CREATED_BY:
            below += 1
        deltas = below + bool(delta.changes)
        if deltas >= _CHAIN:
            text = f"{deltas} deltas in a row; ocitool squash --from {len(layers) - below} makes one layer of them"
            self._task.notice("chain", f"{image.where}: {text}")
        return DeltaReport(delta.name, deltas, tuple(found))

    def _name(self, code: str, what: str, image: Image, paths: Sequence[bytes]) -> None:
        """A notice that there are any of these paths."""
        if paths:
            self._task.notice(code, f"{image.where}: {what}: {first_paths(paths)}")


class _Delta(NamedTuple):
    """An old image, and what one more layer says on it."""

    name: str
    old: OldImage
    changes: Changeset


class _Have:
    """What somebody has who has the old images: blobs by digest, and layers of archives that name none by diff_id."""

    def __init__(self, olds: Sequence[IndexedImage]) -> None:
        self._digests: set[Digest] = set()
        self._diff_ids: set[Digest | None] = set()
        for old in olds:
            for layer, index in zip(old.layers, old.indexes, strict=True):
                if layer.digest is not None:
                    self._digests.add(layer.digest)
                else:
                    self._diff_ids.add(index.diff_id)

    def marked(self, draft: ImageDraft) -> ImageDraft:
        """With the layers that are there told as such: they stay whatever is asked for the others."""
        return draft._replace(
            layers=tuple(layer._replace(origin="reused") if layer.digest in self._digests else layer for layer in draft.layers)
        )

    def owed(self, layers: Sequence[OutputLayer]) -> int:
        """Bytes of layers beyond that, each once."""
        missing = {
            layer.digest: layer.size
            for layer in layers
            if layer.digest not in self._digests and layer.diff_id not in self._diff_ids
        }
        return sum(missing.values())


def _matched(matches: Sequence[LayerMatch], names: Mapping[int, str]) -> tuple[MatchedLayer, ...]:
    return tuple(
        MatchedLayer(one.how, names[id(one.old)], one.layer.number)
        if one.old is not None and one.layer is not None
        else MatchedLayer(one.how, None, None)
        for one in matches
    )


def _chosen(new: IndexedImage, matches: Sequence[LayerMatch]) -> IndexedImage:
    """The new image with the old layers that were chosen."""
    layers, indexes = [], []
    for number, found in enumerate(matches):
        if found.old is not None and found.layer is not None:
            layers.append(found.layer)
            indexes.append(found.old.indexes[found.layer.number])
        else:
            layers.append(new.layers[number])
            indexes.append(new.indexes[number])
    return IndexedImage(new.image._replace(layers=tuple(layers)), indexes)


def _estimate(changes: Changeset, new: IndexedImage) -> int:
    """What a delta may weigh: headers, and contents compressed as well as their layers are."""
    size = 150.0 * len(changes)
    for layer, index, names in zip(new.layers, new.indexes, changes.files, strict=True):
        share = layer.size / index.size if index.size else 1.0
        size += share * sum(map(index.stored, names))
    return int(size)


def _history(old: IndexedImage, image: Image, layer: bool) -> list[dict[str, Any]]:
    """The old image's entries, one for the delta, and the new image's as such that made no layer."""
    mine = drafts.aligned_history(image.config.fields, len(image.layers)) or []
    when = made_at(image.config.created)
    created = {"created": when} if when else {}
    delta = {**created, "created_by": CREATED_BY} | ({} if layer else {"empty_layer": True})
    return [*drafts.history_of(old.image), delta, *({**entry, "empty_layer": True} for entry in mine)]


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


def _level(codec: str) -> int | None:
    """A delta is made to be sent: this takes off a tenth of what the default leaves, for twice the time of a small layer."""
    writer = codecs.WRITERS.get(codec)
    return writer.dense if writer is not None else None
