"""`rebuild`: writes an image with the layers of an older one in place of those that equal them. Nothing is built.

Plan `reuse` takes the old layer for each layer that is the same tar or has equal entries; plan `delta` takes all old layers
and one more, which turns the old file system into the new one. The merged file system of the result is compared with that
of the image before anything is written.

`layer_match` finds equal layers, `reuse` those that together give the wanted file system; `bytecode` decides which compiled
Python files count as equal, `reuse_check` checks the result; `suggestion` finds what more could be re-used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from ocitool import limits, masking
from ocitool.blob import expected_sizes
from ocitool.digest import Digest
from ocitool.disk.scan_directory import first_paths
from ocitool.errors import LimitError, NotFoundError, OcitoolError, UnsafeError, UsageError
from ocitool.globs import matcher, refuse_unmatched, unmatched
from ocitool.images import drafts, platform_choice, select
from ocitool.images.drafts import ImageDraft
from ocitool.images.image import Image, Layer
from ocitool.layers import codecs
from ocitool.layers.entry import shown_path
from ocitool.layers.scan import index_layer
from ocitool.operations.rebuild.bytecode import stale, with_accepted_pyc
from ocitool.operations.rebuild.layer_match import LayerMatch, OldImage
from ocitool.operations.rebuild.reuse import chosen, is_wanted, old_image, reused_layers
from ocitool.operations.rebuild.reuse_check import LeftoverFile, ignored_differences, refused, removed_since, shipped
from ocitool.operations.rebuild.suggestion import more_reuse
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
_CHAIN = 3
"""Consecutive deltas from which on a notice suggests to squash them."""


class RebuildOptions(NamedTuple):
    """against: references of the old images. times: modification times count. ignore: globs of paths that may differ."""

    against: tuple[str, ...]
    plan: Plan = "auto"
    times: bool = False
    ignore: tuple[str, ...] = ()
    allow_no_match: bool = False


def rebuild(
    reference: str, options: RebuildOptions, session: Session, write_options: WriteOptions, *, platform: str | None = None,
    all_platforms: bool = False,
) -> WriteResult:  # fmt: skip
    """Writes the image, or with `all_platforms` every image of an index, with layers of the images in
    `question.against`."""
    if not options.against:
        raise UsageError("nothing to take layers from", hint="--against REF names an older build of the image")
    opened = session.open(reference, "layers")
    with ImageWriter(write_options, session, platform=platform) as writer:
        rebuilder = _Rebuilder(options, session, writer)

        def summary(done: Sequence[tuple[OutputImage, tuple[RebuiltImage, _OldLayers]]]) -> tuple[RebuildReport, int]:
            rebuilder.check_globs()
            return RebuildReport(tuple(one.with_cost(old.missing(output.layers)) for output, (one, old) in done)), 0

        return rewrite("rebuild", opened, rebuilder.rebuilt, writer, summary, platform=platform, all_platforms=all_platforms)


class PlanCost(NamedTuple):
    """The bytes of layers that a host with the old images must fetch for a plan; `transfer` is None if the plan is not
    possible."""

    plan: str
    transfer: int | None
    estimated: bool


class MatchedLayer(NamedTuple):
    """How a layer matches one of an old image: the kind of match, the reference of the image, and the number of its
    layer."""

    how: str
    image: str | None
    layer: int | None


class DeltaReport(NamedTuple):
    """The old image below the delta, the number of consecutive `deltas` with this one, and the hidden files that the result
    ships."""

    against: str
    deltas: int
    hidden: tuple[LeftoverFile, ...]


class Suggestion(NamedTuple):
    """Globs of volatile paths by which `layers`, numbers of the new image, could be re-used too; `saves`: bytes less to
    transfer."""

    globs: tuple[str, ...]
    layers: tuple[int, ...]
    saves: int


class RebuiltImage(NamedTuple):
    """The report on one image. The result differs from the image in the paths `ignored` and in .pyc files, of which
    `equal_pyc` fit the times of their sources, and `stale_pyc` do not."""

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
    suggestion: Suggestion | None = None

    def with_cost(self, transfer: int) -> RebuiltImage:
        """Returns the report with the real transfer of the plan that was taken."""
        plans = tuple(one._replace(transfer=transfer) if one.plan == self.plan else one for one in self.plans)
        return self._replace(plans=plans)


class RebuildReport(NamedTuple):
    """The reports on all images."""

    rebuilt: tuple[RebuiltImage, ...]


class _Rebuilder:
    """Rebuilds the images of one command, one after another."""

    def __init__(self, options: RebuildOptions, session: Session, writer: ImageWriter) -> None:
        self._options = options
        self._task: Task = session.task
        self._writer = writer
        self._indexer = session.indexer()
        self._ignored: Ignored | None = matcher(options.ignore) if options.ignore else None
        self._left = list(options.ignore)
        """Globs that have matched nothing so far."""
        self._opened = [(one, session.open(one, "layers")) for one in options.against]

    def rebuilt(self, draft: ImageDraft) -> tuple[ImageDraft, tuple[RebuiltImage, _OldLayers]]:
        """Returns the draft with the layers of the chosen plan, the report on it, and the layers of the old images."""
        image = draft.image
        names, images = self._olds(image)
        new, *indexed = indexed_images([image, *images], self._indexer)
        for one in (new, *indexed):
            for index in one.indexes:
                self._left = unmatched(self._left, index.paths)
        olds = [self._comparable(new, old) for old in indexed]
        old_layers = _OldLayers(indexed)
        as_is = old_layers.marked(draft)
        matches = reused_layers(new, olds, times=self._options.times, ignored=self._ignored)
        reuse = self._reuse(as_is, new, matches)
        best = self._best(olds, names)
        plan = self._options.plan
        if plan == "auto":
            plan = "reuse" if old_layers.missing(reuse.layers) < old_layers.missing(as_is.layers) else "as-is"
        draft, made, delta = as_is, new, None
        if plan == "reuse":
            draft, made = reuse, chosen(new, matches)
        elif plan == "delta":
            if best is None:
                raise LimitError(f"a delta on {limits.MAX_LAYERS} layers is more than Docker accepts", names[0])
            draft, made, delta = self._delta(as_is, new, best)
        changes = self._writer.layers.converts(image, changed=True), self._writer.layers.converts(image, changed=False)
        estimated = {"reuse": changes[0], "as-is": changes[1], "delta": True, plan: False}
        costs = {
            "as-is": old_layers.missing(as_is.layers), "reuse": old_layers.missing(reuse.layers),
            "delta": _estimate(best.changes, new) if best else None,
        }  # fmt: skip
        plans = tuple(PlanCost(name, cost, cost is not None and estimated[name]) for name, cost in costs.items())
        ignored, equal, stale = self._differences(made, new, olds)
        report = RebuiltImage(
            image.where, masking.stated(image.platform), tuple(names), plan, plans,
            _matched(matches, dict(zip(map(id, indexed), names, strict=True))), ignored, equal, stale, delta,
            self._suggestion(as_is, new, olds, matches, old_layers),
        )  # fmt: skip
        return draft, (report, old_layers)

    def check_globs(self) -> None:
        """Raises `UsageError` for globs that match nothing in any of the images."""
        what, allowed = "path of NEW or OLD", self._options.allow_no_match
        refuse_unmatched(self._left, "--ignore-path", what, self._task, allowed=allowed)

    def _comparable(self, new: IndexedImage, old: IndexedImage) -> OldImage:
        """Returns the old image with what counts as equal in it. If `edit --rm` removed files from the new image since, no
        path is ignored, so that none of them comes back."""
        ignored = self._ignored
        if ignored is not None and removed_since(old.image, new.image):
            text = f"{new.image.where}: files were taken out of it since {old.image.where}: no path is ignored between them"
            self._task.notice("removed", text)
            ignored = None
        return old_image(new, old, times=self._options.times, ignored=ignored)

    def _differences(
        self, made: IndexedImage, new: IndexedImage, olds: Sequence[OldImage]
    ) -> tuple[tuple[bytes, ...], tuple[bytes, ...], tuple[bytes, ...]]:
        """Returns in what the result differs from the new image: ignored paths, .pyc files that count as equal, and stale
        .pyc files. Adds notices."""
        ignored = ignored_differences(made.tree, new.tree, times=self._options.times, ignored=self._ignored)
        late = stale(made, new)
        old = sorted({*with_accepted_pyc(made, new, [one.new for one in olds])[1]} - {*late})
        what = (
            f"{_count(len(ignored), 'ignored path')} not as in it",
            f"{_count(len(old), '.pyc file')} other than in it only by the time of the source, which they fit",
            f"{_count(len(late), '.pyc file')} with another time than the source has now",
        )
        self._notice_paths("ignored", what[0], new.image, ignored)
        self._notice_paths("pyc", what[1], new.image, old)
        self._notice_paths("stale-pyc", what[2], new.image, late)
        return tuple(ignored), tuple(old), tuple(late)

    def _olds(self, image: Image) -> tuple[list[str], list[Image]]:
        """Returns the old images of the platform of this one. Raises `NotFoundError` if none of them has it."""
        names, images = [], []
        missing: NotFoundError | None = None
        for name, opened in self._opened:
            select.targets(opened)  # raises if the reference names nothing
            try:
                images.append(self._writer.blobs.with_missing_layers(platform_choice.single(opened, None, like=image.platform)))
                names.append(name)
            except NotFoundError as error:
                missing = error
        if not images and missing is not None:
            raise missing
        return names, images

    # Reuse

    def _reuse(self, draft: ImageDraft, new: IndexedImage, matches: Sequence[LayerMatch]) -> ImageDraft:
        for number, found in enumerate(matches):
            old, layer = found.old, found.layer
            if old is None or layer is None or (found.how == "same" and layer.digest in (None, new.layers[number].digest)):
                continue
            draft = drafts.replaced(draft, number, self._output_layer(draft.image, new.layers[number], old, layer))
        return draft

    def _output_layer(self, image: Image, like: Layer, old: IndexedImage, layer: Layer) -> OutputLayer:
        return self._writer.layers.of_other(image, like, old.image, layer)._replace(diff_id=old.indexes[layer.number].diff_id)

    def _suggestion(
        self, draft: ImageDraft, new: IndexedImage, olds: Sequence[OldImage], matches: Sequence[LayerMatch], held: _OldLayers
    ) -> Suggestion | None:
        """Returns what `--ignore-path` for volatile files would save beside the cheaper of the plans as-is and reuse."""
        options = self._options
        found = more_reuse(new, olds, matches, options.ignore, times=options.times, task=self._task)
        if found is None:
            return None
        now = min(held.missing(draft.layers), held.missing(self._reuse(draft, new, matches).layers))
        saves = now - held.missing(self._reuse(draft, new, found.matches).layers)
        pairs = enumerate(zip(matches, found.matches, strict=True))
        more = tuple(number for number, (one, other) in pairs if one.how == "changed" != other.how)
        return Suggestion(found.globs, more, saves) if saves > 0 else None

    # Delta

    def _best(self, olds: Sequence[OldImage], names: Sequence[str]) -> _Delta | None:
        """Returns the smallest delta; None if none of the old images can have one."""
        found = []
        for name, old in zip(names, olds, strict=True):
            try:
                changes = changeset(old.image.tree, old.new.tree, times=self._options.times, ignored=old.ignored)
            except UnsafeError:
                if self._options.plan == "delta":
                    raise
                continue
            if len(old.image.layers) < limits.MAX_LAYERS or not changes:
                found.append(_Delta(name, old, changes))
        return min(found, key=lambda one: _estimate(one.changes, one.old.new), default=None)

    def _delta(self, draft: ImageDraft, new: IndexedImage, delta: _Delta) -> tuple[ImageDraft, IndexedImage, DeltaReport]:
        """Returns the draft with all layers of the old image and one more, and the report. Raises `UsageError` if the old
        layers have files that were taken out of the new image."""
        image, old = draft.image, delta.old.image
        hidden = shipped(old, new)
        secret = refused(hidden, old.image, new.image)
        if secret:
            count, first = _count(len(secret), "file"), shown_path(secret[0].path)
            raise UsageError(
                f"files were taken out of {image.where}, or its history does not tell whether: a delta would ship {count} that "
                f"it no longer has, the first is {first}", delta.name, hint="--plan reuse does not ship them",
            )  # fmt: skip
        made = [self._output_layer(image, layer, old, layer) for layer in old.layers]
        built = old
        if delta.changes:
            added = self._layer(image, new, delta.changes)
            made.append(added)
            assert added.blob is not None
            self._task.expect(expected_sizes([added.blob]))
            layer = Layer(len(old.layers), added.blob, added.digest, added.diff_id, added.size, added.media_type, None, None)
            layers = (*old.layers, layer)
            built = IndexedImage(old.image._replace(layers=layers), [*old.indexes, index_layer(added.blob, self._task)])
        if not is_wanted(built, new, [delta.old], times=self._options.times, ignored=self._ignored):
            raise RuntimeError("the delta does not give the file system that was wanted")
        draft = drafts.layered(draft, made, _history(old, image, bool(delta.changes)))
        listed = [one for one in hidden if self._ignored is None or not self._ignored(one.path)]
        return draft, built, self._delta_report(delta, listed, image)

    def _layer(self, image: Image, new: IndexedImage, changes: Changeset) -> OutputLayer:
        try:
            tar = changeset_tar.tar_chunks(changes, image, new.tree, self._task, lowest=len(new.layers))
            codec = self._writer.layers.new_codec(image)
            return self._writer.layers.made(tar, codec, image, "new", level=_level(codec))
        except OcitoolError as error:
            raise error.at(image.where) from None

    def _delta_report(self, delta: _Delta, found: Sequence[LeftoverFile], image: Image) -> DeltaReport:
        """Returns the report on a delta; adds notices of hidden files that it ships, and of too many consecutive deltas."""
        size = sum(one.size for one in found)
        what = f"{_count(len(found), 'file')} ({size} bytes) of {delta.name} shipped that it does not have"
        self._notice_paths("hidden", what, image, [one.path for one in found])
        layers = delta.old.image.layers
        below = 0  # deltas right below this one
        while below < len(layers) and layers[-1 - below].created_by == CREATED_BY:
            below += 1
        deltas = below + bool(delta.changes)
        if deltas >= _CHAIN:
            text = f"{deltas} deltas in a row; ocitool squash --from {len(layers) - below} makes one layer of them"
            self._task.notice("chain", f"{image.where}: {text}")
        return DeltaReport(delta.name, deltas, tuple(found))

    def _notice_paths(self, code: str, what: str, image: Image, paths: Sequence[bytes]) -> None:
        """Adds a notice on these paths, if there are any."""
        if paths:
            self._task.notice(code, f"{image.where}: {what}: {first_paths(paths)}")


class _Delta(NamedTuple):
    """An old image, and the changes of one more layer on it."""

    name: str
    old: OldImage
    changes: Changeset


class _OldLayers:
    """The layers that a host with the old images has: by digest, and by diff_id for layers of archives without digests."""

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
        """Returns the draft with these layers marked as `reused`, so that they are never converted."""
        return draft._replace(
            layers=tuple(layer._replace(origin="reused") if layer.digest in self._digests else layer for layer in draft.layers)
        )

    def missing(self, layers: Sequence[OutputLayer]) -> int:
        """Returns the bytes of those layers that the host does not have, each counted once."""
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


def _estimate(changes: Changeset, new: IndexedImage) -> int:
    """Estimates the stored size of a delta: headers, and contents compressed by the ratio of their layers."""
    size = 150.0 * len(changes)
    for layer, index, names in zip(new.layers, new.indexes, changes.files, strict=True):
        share = layer.size / index.size if index.size else 1.0
        size += share * sum(map(index.stored, names))
    return int(size)


def _history(old: IndexedImage, image: Image, layer: bool) -> list[dict[str, Any]]:
    """Returns the history: that of the old image, an entry for the delta, and that of the new image as entries without
    layers."""
    mine = drafts.aligned_history(image.config.fields, len(image.layers)) or []
    when = made_at(image.config.created)
    created = {"created": when} if when else {}
    delta = {**created, "created_by": CREATED_BY} | ({} if layer else {"empty_layer": True})
    return [*drafts.history_of(old.image), delta, *({**entry, "empty_layer": True} for entry in mine)]


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


def _level(codec: str) -> int | None:
    """Returns the compression level of a delta, which is made to be sent: a tenth smaller than by default, in twice the
    time."""
    writer = codecs.WRITERS.get(codec)
    return writer.dense if writer is not None else None
