"""`rebuild`: an image made of the layers of an older one wherever they are equal. Builds nothing.

Plan `reuse` takes the old layer for each one that is the same tar or lists equal entries; plan `delta` takes all old layers and
one more, that turns the old file system into the new one. What comes out is compared with what was wanted, tree by tree,
before anything is written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

from ocitool.digest import Digest
from ocitool.errors import LimitError, NotFoundError, OcitoolError, UsageError
from ocitool.globs import matcher
from ocitool.images import draft as drafts
from ocitool.images import layertar, select
from ocitool.images.changeset import Changeset, Ignored, changeset
from ocitool.images.draft import Documents, Draft, Piece
from ocitool.images.image import Image, Layer
from ocitool.images.tree import Tree
from ocitool.layers.scan import scan
from ocitool.operations import pieces, revising
from ocitool.operations.reading import Reading
from ocitool.operations.rebuild.matching import Match, match
from ocitool.operations.rebuild.sameness import Differences, differences, same, shipped, taken_out
from ocitool.operations.stacks import Stack, stacks
from ocitool.operations.writing import Writer, Writing, Written
from ocitool.task import Task

Plan = Literal["auto", "as-is", "reuse", "delta"]
CREATED_BY = "ocitool rebuild --plan delta"
_CHAIN = 3
"""Deltas in a row from which on they are better squashed."""
_LEVELS = {"gzip": 4, "zstd": 9}
"""A delta is made to be sent: these take off a tenth of what the defaults leave, for twice the time of a small layer."""


class Question(NamedTuple):
    """against: references of the old images. times: whether mtimes count. ignore: globs of paths that may differ."""

    against: tuple[str, ...]
    plan: Plan = "auto"
    times: bool = False
    ignore: tuple[str, ...] = ()


def rebuild(
    reference: str, question: Question, reading: Reading, writing: Writing, *, platform: str | None = None,
    all_platforms: bool = False,
) -> Written:  # fmt: skip
    """The image, or with `all_platforms` every image of an index, out of the layers of `question.against`."""
    if not question.against:
        raise UsageError("nothing to take layers from", hint="--against REF names an older build of the image")
    opened = reading.open(reference, "layers")
    with Writer(writing, reading) as writer:
        rebuilder = _Rebuilder(question, reading, writer)
        output = revising.output(opened, writer, rebuilder.rebuilt, platform, all_platforms)
        written = writer.deliver("rebuild", [output], details={"rebuilt": rebuilder.told})
    return replace(written, notices=tuple(reading.task.notices))


class Costs(NamedTuple):
    """Bytes of layers that whoever has the old images still needs, by plan; that of a delta which was not made is an estimate.
    `delta` is None where no old image could take one."""

    as_is: int
    reuse: int
    delta: int | None


class _Rebuilder:
    def __init__(self, question: Question, reading: Reading, writer: Writer) -> None:
        self.told: list[Mapping[str, Any]] = []
        """For the report: what became of each image."""
        self._question = question
        self._reading = reading
        self._task: Task = reading.task
        self._writer = writer
        self._indexer = reading.indexer()
        self._ignored: Ignored | None = matcher(question.ignore) if question.ignore else None
        self._opened = [(one, reading.open(one, "layers")) for one in question.against]

    def rebuilt(self, image: Image) -> Documents:
        draft = drafts.start(image, self._writer.pieces(image))
        names, images = [], []
        for name, opened in self._opened:
            try:
                images.append(select.one(opened, None, like=image.platform))
            except NotFoundError:
                if len(self._opened) == 1:
                    raise
                continue  # another of them may have this platform
            names.append(name)
        new, *olds = stacks([image, *images], self._indexer)
        have = _Have(olds)
        matches = match(new, olds, times=self._question.times, ignored=self._ignored)
        reused = self._verified(new, matches)
        remade = self._reuse(draft, new, reused)
        deltas = [(self._changes(old, new), old, name) for old, name in zip(olds, names, strict=True)]
        fitting = [one for one in deltas if len(one[1].layers) < drafts.MOST_LAYERS]
        best = min(fitting, key=lambda one: _estimate(one[0], new), default=None)
        costs = Costs(have.owed(draft), have.owed(remade), _estimate(best[0], new) if best else None)
        plan = self._question.plan
        if plan == "auto":
            plan = "reuse" if costs.reuse < costs.as_is else "as-is"
        told: dict[str, Any] = {"reference": image.where, "platform": str(image.platform), "against": names}
        told["plan"] = plan
        made = new.tree
        if plan == "reuse":
            draft, made = remade, _tree(new, reused)
        elif plan == "delta":
            if best is None:
                raise LimitError(f"the old image has {drafts.MOST_LAYERS} layers, and Docker takes no more", names[0])
            changes, old, name = best
            draft, made, told["delta"] = self._delta(draft, new, old, name, changes)
            costs = costs._replace(delta=have.owed(draft))
        found = differences(made, new, times=self._question.times, ignored=self._ignored)
        labels = dict(zip(map(id, olds), names, strict=True))
        self._tell(told, costs, plan, reused if plan == "reuse" else matches, labels, found)
        return drafts.finish(draft._replace(pieces=self._writer.converted(image, draft.pieces)))

    # Reuse

    def _verified(self, new: Stack, matches: list[Match]) -> list[Match]:
        """The matches as far as they give the file system that is wanted: where layers depend on what was ignored in lower
        ones, all together may not."""
        if self._is_right(new, matches):
            return matches
        found = [one if one.how != "equal" else Match("changed") for one in matches]
        for number, one in enumerate(matches):
            if one.how == "equal":
                tried = [*found[:number], one, *found[number + 1 :]]
                found = tried if self._is_right(new, tried) else found
        return found

    def _is_right(self, new: Stack, matches: Sequence[Match]) -> bool:
        if all(one.how != "equal" for one in matches):
            return True  # the very tars
        return same(_tree(new, matches), new.tree, times=self._question.times, ignored=self._ignored)

    def _reuse(self, draft: Draft, new: Stack, matches: Sequence[Match]) -> Draft:
        for number, found in enumerate(matches):
            old, layer = found.old, found.layer
            if old is None or layer is None or (found.how == "same" and layer.digest in (None, new.layers[number].digest)):
                continue
            draft = drafts.replaced(draft, number, self._piece(draft.image, new.layers[number], old, layer))
        return draft

    def _piece(self, image: Image, like: Layer, old: Stack, layer: Layer) -> Piece:
        """A layer of an old image for this one: its very blob. One that a docker archive holds has no stored form that anyone
        could have: it is compressed as the layer that it stands for."""
        diff_id = old.indexes[layer.number].diff_id
        assert layer.blob is not None
        if layer.digest is None and self._writer.codec(like) != "none":
            tar = pieces.unpacked(layer.blob, self._task)
            made = self._writer.layer(tar, self._writer.codec(like), image, "reused")
            return made._replace(diff_id=diff_id)
        return pieces.lent(image, old.image, layer, self._task)._replace(diff_id=diff_id)

    # Delta

    def _changes(self, old: Stack, new: Stack) -> Changeset:
        return changeset(old.tree, new.tree, times=self._question.times, ignored=self._ignored)

    def _delta(
        self, draft: Draft, new: Stack, old: Stack, name: str, changes: Changeset
    ) -> tuple[Draft, Tree, dict[str, Any]]:
        """All layers of the old image, and one more."""
        image = draft.image
        secret = taken_out(old, new)
        if secret is not None:
            number, path = secret
            raise UsageError(
                f"layer {number} of it holds {_shown(path)}, which was taken out of the same layer of {image.where}: a delta "
                "would pass it on", name, hint="--plan reuse leaves it behind",
            )  # fmt: skip
        made = [self._piece(image, layer, old, layer) for layer in old.layers]
        tree = old.tree
        if changes:
            piece = self._layer(image, new, changes)
            made.append(piece)
            assert piece.blob is not None
            tree = Tree([*old.indexes, scan(piece.blob, self._task)])
        if not same(tree, new.tree, times=self._question.times, ignored=self._ignored):
            raise RuntimeError("the delta does not give the file system that was wanted")
        draft = drafts.layered(draft, made, _history(old, image, bool(changes)))
        return draft, tree, self._hidden(old, new, name, image)

    def _layer(self, image: Image, new: Stack, changes: Changeset) -> Piece:
        try:
            tar = layertar.tar(changes, image, new.tree, self._task, lowest=len(new.layers))
            codec = self._writer.new_codec(image)
            return self._writer.layer(tar, codec, image, "new", level=_LEVELS.get(codec))
        except OcitoolError as error:
            raise error.at(image.where) from None

    def _hidden(self, old: Stack, new: Stack, name: str, image: Image) -> dict[str, Any]:
        """What a delta ships although nobody sees it, and whether there are many of them by now."""
        found = shipped(old, new, self._ignored)
        size = sum(one.size for one in found)
        if found:
            some = ", ".join(_shown(one.path) for one in found[:3])
            text = f"{image.where}: ships {len(found)} files ({size} bytes) of {name} that the new image does not have: {some}"
            self._task.notice("hidden", text + (", ..." if len(found) > 3 else ""))
        before = [n for n, layer in enumerate(old.layers) if layer.created_by == CREATED_BY]
        if len(before) + 1 >= _CHAIN:
            text = f"{len(before) + 1} deltas in a row; ocitool squash --from {before[0]} makes one layer of them"
            self._task.notice("chain", f"{image.where}: {text}")
        return {
            "against": name,
            "deltas": len(before) + 1,
            "hidden": {
                "size": size,
                "files": [{"path": _shown(one.path), "size": one.size, "layer": one.layer, "kind": one.kind} for one in found],
            },
        }

    # Telling

    def _tell(
        self, told: dict[str, Any], costs: Costs, plan: Plan, matches: Sequence[Match], names: Mapping[int, str],
        found: Differences,
    ) -> None:  # fmt: skip
        where = told["reference"]
        if found.ignored:
            some = ", ".join(map(_shown, found.ignored[:3])) + (", ..." if len(found.ignored) > 3 else "")
            self._task.notice("ignored", f"{where}: {len(found.ignored)} ignored paths are not as in it: {some}")
        if found.stale:
            some = ", ".join(map(_shown, found.stale[:3])) + (", ..." if len(found.stale) > 3 else "")
            self._task.notice("pyc", f"{where}: {len(found.stale)} .pyc files embed another time than their source has: {some}")
        told["plans"] = [
            {"plan": "as-is", "transfer": costs.as_is, "estimated": False},
            {"plan": "reuse", "transfer": costs.reuse, "estimated": False},
            {"plan": "delta", "transfer": costs.delta, "estimated": costs.delta is not None and plan != "delta"},
        ]
        told["layers"] = [
            {
                "index": number,
                "match": one.how,
                "old": {"image": names[id(one.old)], "layer": one.layer.number} if one.old and one.layer else None,
            }
            for number, one in enumerate(matches)
        ]
        told["ignored"] = [_shown(path) for path in found.ignored]
        told["stalePyc"] = [_shown(path) for path in found.stale]
        told.setdefault("delta", None)
        self.told.append(told)


class _Have:
    """What somebody has who has the old images: blobs by digest, and layers of archives that name none by diff_id."""

    def __init__(self, olds: Sequence[Stack]) -> None:
        self._digests: set[Digest] = set()
        self._diff_ids: set[Digest | None] = set()
        for old in olds:
            for layer, index in zip(old.layers, old.indexes, strict=True):
                if layer.digest is not None:
                    self._digests.add(layer.digest)
                else:
                    self._diff_ids.add(index.diff_id)

    def owed(self, draft: Draft) -> int:
        """Bytes of a draft's layers beyond that, each once."""
        missing = {
            piece.digest: piece.size
            for piece in draft.pieces
            if piece.digest not in self._digests and piece.diff_id not in self._diff_ids
        }
        return sum(missing.values())


def _tree(new: Stack, matches: Sequence[Match]) -> Tree:
    """The file system of the layers that were chosen."""
    return Tree(
        [
            one.old.indexes[one.layer.number] if one.old is not None and one.layer is not None else new.indexes[number]
            for number, one in enumerate(matches)
        ]
    )


def _estimate(changes: Changeset, new: Stack) -> int:
    """What a delta may weigh: headers, and contents compressed as well as their layers are."""
    size = 150.0 * len(changes)
    for layer, index, names in zip(new.layers, new.indexes, changes.files, strict=True):
        share = layer.size / index.size if index.size else 1.0
        size += share * sum(index.entry(row).stored for row in names)
    return int(size)


def _history(old: Stack, image: Image, layer: bool) -> list[dict[str, Any]]:
    """The old image's entries, one for the delta, and the new image's as such that made no layer."""
    mine = drafts.aligned_history(image.config.fields, len(image.layers)) or []
    created = {"created": image.config.created} if image.config.created else {}
    delta = {**created, "created_by": CREATED_BY} | ({} if layer else {"empty_layer": True})
    return [*drafts.history_of(old.image), delta, *({**entry, "empty_layer": True} for entry in mine)]


def _shown(path: bytes) -> str:
    return "/" + path.decode("utf-8", "replace")
