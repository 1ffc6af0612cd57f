"""`rebase`: puts the own layers of an image on another base.

A layer is made again only if it lists a directory with attributes of the old base that the new base changed (see
`trees.inherited`). All other layers keep their bytes, and are unpacked only to find conflicts.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ocitool import masking
from ocitool.blob import expected_sizes, missing_blob
from ocitool.digest import Digest
from ocitool.disk.scan_directory import first_paths
from ocitool.errors import FormatError, NotFoundError, OcitoolError, UnsupportedError, UsageError
from ocitool.images import config_merge, drafts, platform_choice
from ocitool.images.drafts import ImageDraft
from ocitool.images.image import Image
from ocitool.images.platforms import normalized
from ocitool.layers.entry import shown_path
from ocitool.layers.rewrite import LayerEdit, apply_edit, has_globals, rewrite_layer
from ocitool.pipeline.image_writer import ImageWriter, WriteOptions, WriteResult
from ocitool.pipeline.indexed_image import IndexedImage, indexed_images
from ocitool.pipeline.layer_identity import count_base_layers
from ocitool.pipeline.rewrite import rewrite
from ocitool.pipeline.session import Session
from ocitool.reference import PREFIX, Selector, at_registry, is_bare
from ocitool.spec import mediatypes
from ocitool.spec.manifest import BASE_DIGEST, BASE_NAME
from ocitool.task import Task
from ocitool.transports.opening import Opened
from ocitool.transports.sink import OutputImage, OutputLayer
from ocitool.trees.changeset import same_entry
from ocitool.trees.inherited import InheritedAttributes, attributes, differing, follow_base
from ocitool.trees.nodes import Directory, Node, ref_of
from ocitool.trees.tree import Tree, node_at, walk_both


class BaseReferences(NamedTuple):
    """References of the old base, which the image has, and of the new one. None: the one that the annotations name."""

    old: str | None = None
    new: str | None = None


class Conflict(NamedTuple):
    """A path that both the new base and the image's own layers changed compared with the old base. `base` and `app`: what
    the new base and the image did: `added`, `changed` or `removed`. `layer`: the image's layer that did it, numbered as in
    the source."""

    path: bytes
    base: str
    app: str
    layer: int


def rebase(
    reference: str, bases: BaseReferences, session: Session, write_options: WriteOptions, *, platform: str | None = None,
    all_platforms: bool = False, fail_on_conflict: bool = False,
) -> WriteResult:  # fmt: skip
    """Writes the image, or with `all_platforms` every image of an index, on another base. Raises `UsageError` if the lowest
    layers of the image are not those of the old base. `findings` of the result: the number of conflicts, if
    `fail_on_conflict`."""
    opened = session.open(reference, "layers")
    with ImageWriter(write_options, session, platform=platform) as writer:
        rebaser = _Rebaser(bases, opened, session, writer)

        def summary(done: Sequence[tuple[OutputImage, RebasedImage]]) -> tuple[RebaseReport, int]:
            rebased = tuple(report for _, report in done)
            found = sum(len(one.conflicts) + len(one.settings) for one in rebased)
            return RebaseReport(rebased), found if fail_on_conflict else 0

        return rewrite("rebase", opened, rebaser.rebased, writer, summary, platform=platform, all_platforms=all_platforms)


class BaseImage(NamedTuple):
    """A base: its reference, its digest, and the number of its layers."""

    image: str
    digest: Digest | None
    layers: int


class FollowedDirectory(NamedTuple):
    """A directory in an own layer that got the attributes of the new base."""

    path: bytes
    layer: int


class RebasedImage(NamedTuple):
    """The report on one image. `settings`: names of settings that both the new base and the image changed."""

    reference: str
    platform: str
    old_base: BaseImage
    new_base: BaseImage
    conflicts: tuple[Conflict, ...]
    settings: tuple[str, ...]
    directories: tuple[FollowedDirectory, ...]


class RebaseReport(NamedTuple):
    """The reports on all images."""

    rebased: tuple[RebasedImage, ...]


class _Base(NamedTuple):
    """A base, by the reference of the user or of the annotations."""

    name: str
    image: Image


class _Rebaser:
    """Rebases the images of one command, one after another."""

    def __init__(self, bases: BaseReferences, opened: Opened, session: Session, writer: ImageWriter) -> None:
        self._bases = bases
        self._source = opened
        self._session = session
        self._task: Task = session.task
        self._writer = writer
        self._indexer = session.indexer()
        self._opened: dict[str, Opened] = {}

    def rebased(self, draft: ImageDraft) -> tuple[ImageDraft, RebasedImage]:
        """Returns the draft on its new base, and the report on it."""
        image = draft.image
        annotations = image.manifest.annotations if image.manifest else {}
        new = self._new(image, annotations)
        old = self._old(image, annotations)
        for base in (old, new):
            mine, other = normalized(image.platform), normalized(base.image.platform)
            text = f"a base for {masking.stated(base.image.platform)}, but the image is for {masking.stated(image.platform)}"
            if (other.os, other.architecture) != (mine.os, mine.architecture):
                raise UsageError(text, base.name)
            if mine != other:
                self._task.notice("platform", f"{base.name}: {text}, which stays stated")
        count = count_base_layers(image, old.image, self._task)
        merge = _Merge(indexed_images([image, new.image], self._indexer), count)
        conflicts = self._conflicts(image, merge)
        reusable = {layer.digest: layer._replace(origin="reused") for layer in draft.layers}
        base_layers_made = [
            reusable[layer.digest] if layer.digest in reusable else self._writer.layers.of_other(image, layer, new.image, layer)
            for layer in new.image.layers
        ]
        history = _history(image, old.image, new.image, count)
        own = self._own_layers(image, draft.layers[count:], merge)
        draft = drafts.layered(draft, (*base_layers_made, *own), history)
        section, clashes = config_merge.merge_settings(
            old.image.config.settings, new.image.config.settings, image.config.settings
        )
        config = dict(draft.config)
        if section or "config" in config:
            config["config"] = section
        draft = _annotated(drafts.configured(draft, config), annotations, new, self._bases)
        return draft, self._report(image, old, new, merge, conflicts, clashes)

    # The bases

    def _new(self, image: Image, annotations: Mapping[str, str]) -> _Base:
        """Returns the new base: the one that the user named, else the one that the annotation names."""
        name = self._bases.new
        if name is None:
            stated = annotations.get(BASE_NAME)
            if not stated:
                raise UsageError(f"no annotation {BASE_NAME} names a base", image.where, hint="--new-base REF does")
            name = PREFIX + stated
            self._task.notice("base", f"{image.where}: the new base is {name}, as an annotation says")
        found = platform_choice.single(self._open(name), None, like=image.platform)
        return _Base(name, self._writer.blobs.with_missing_layers(found))

    def _old(self, image: Image, annotations: Mapping[str, str]) -> _Base:
        """Returns the old base: the one that the user named, else the one with the digest in the annotation."""
        name = self._bases.old
        if name is not None:
            return _Base(name, platform_choice.single(self._open(name), None, like=image.platform))
        stated, at = annotations.get(BASE_DIGEST), annotations.get(BASE_NAME)
        if not stated:
            raise UsageError(f"no annotation {BASE_DIGEST} names the base", image.where, hint="--old-base REF does")
        try:
            digest = Digest.parse(stated)
        except OcitoolError as error:
            raise error.at(f"{image.where}: annotation {BASE_DIGEST}") from None
        name = _with_digest(at, digest) if at else str(digest)
        for opened in self._local_sources():
            try:
                found = platform_choice.single(
                    opened._replace(selector=Selector(str(digest), digest=digest)), None, like=image.platform
                )
            except NotFoundError:
                continue
            return _Base(name, found)
        if not at:
            raise missing_blob("base", digest, image.where, hint="--old-base REF or --with REF names it")
        self._task.notice("base", f"{image.where}: the old base is {name}, as annotations say")
        return _Base(name, platform_choice.single(self._open(name), None, like=image.platform))

    def _local_sources(self) -> Iterator[Opened]:
        """Yields the local sources that may have the old base: that of the image, that of the new base, and those of
        `--with`."""
        named = (self._bases.new, *self._writer.options.fallback)
        for opened in (self._source, *(self._open(name) for name in named if name is not None)):
            if opened.source.index is not None and not opened.source.remote:
                yield opened

    def _open(self, name: str) -> Opened:
        if name not in self._opened:
            self._opened[name] = self._session.open(name, "layers")
        return self._opened[name]

    # The image's own layers

    def _own_layers(self, image: Image, layers: Sequence[OutputLayer], merge: _Merge) -> Iterator[OutputLayer]:
        """Yields the image's own layers, made again if they have edits."""
        numbered = dict(zip(range(merge.count, len(image.layers)), layers, strict=True))
        self._task.expect(expected_sizes(merge.mine.layers[number].blob for number in numbered if merge.edits.get(number)))
        for number, kept in numbered.items():
            edit = merge.edits.get(number)
            if edit is None:
                yield kept
                continue
            layer = merge.mine.layers[number]
            assert layer.blob is not None
            index = merge.mine.indexes[number]
            tar = rewrite_layer(layer.blob, index, edit, lambda entry: (entry, ()), self._task, diff_id=layer.diff_id)
            yield self._writer.layers.made(tar, self._writer.layers.codec(layer), image, "rewritten")

    def _conflicts(self, image: Image, merge: _Merge) -> list[Conflict]:
        """Returns the conflicts. Raises `FormatError` if an own layer has a hard link whose target the new base does not
        have."""
        mine, made, shift = merge.mine, merge.made, merge.shift
        before = {(mine.tree.layer(ref), mine.tree.row(ref)) for _, ref in mine.tree.broken}
        for path, ref in made.broken:
            number = made.layer(ref) - shift
            if number >= merge.count and (number, made.row(ref)) not in before:
                where = f"{image.where}: layer {number}: {shown_path(path)}"
                raise FormatError("a hard link whose target the new base does not have", where)
        return list(_conflicts(merge))

    def _report(
        self, image: Image, old: _Base, new: _Base, merge: _Merge, conflicts: Sequence[Conflict], clashes: Sequence[str]
    ) -> RebasedImage:
        """Returns the report on an image, and adds notices."""
        followed = [(entry.path, number) for number, edit in merge.edits.items() for entry in edit.replace.values()]
        if followed:
            numbers = sorted(merge.edits)
            which = f"layer {numbers[0]} is" if len(numbers) == 1 else f"layers {', '.join(map(str, numbers))} are"
            paths = first_paths(list(dict.fromkeys(path for path, _ in followed)))
            text = f"{which} made again, so that directories have the new base's attributes and not the old one's: {paths}"
            self._task.notice("directories", f"{image.where}: {text}")
        if conflicts:
            what = "1 path" if len(conflicts) == 1 else f"{len(conflicts)} paths"
            paths = first_paths([one.path for one in conflicts])
            self._task.notice("conflict", f"{image.where}: both the new base and the image changed {what}: {paths}")
        if clashes:
            text = f"{image.where}: both the new base and the image set {', '.join(clashes)}: the image's stays"
            self._task.notice("conflict", text)
        return RebasedImage(
            image.where, masking.stated(image.platform), BaseImage(old.name, old.image.digest, merge.count),
            BaseImage(new.name, new.image.digest, len(new.image.layers)), tuple(conflicts), tuple(clashes),
            tuple(FollowedDirectory(path, number) for path, number in followed),
        )  # fmt: skip


class _Merge:
    """An image (`mine`), whose lowest `count` layers are the old base, put on the new base (`other`). `edits`: by number of
    an own layer, the edit that gives directories the attributes of the new base. `made`: the merged file system of the
    result, in which the number of an own layer is `shift` higher. `differences`: paths at which the bases differ, with the
    old and the new node."""

    def __init__(self, stacked: Sequence[IndexedImage], count: int) -> None:
        mine, other = stacked
        self.mine, self.other, self.count = mine, other, count
        self.old, self.new = Tree(mine.indexes[:count]), other.tree
        self.shift = len(other.indexes) - count
        self.differences = [
            (path, was, base) for path, was, base in walk_both(self.old, self.new) if not _agree(self.old, was, self.new, base)
        ]
        self.edits = dict(self._edits())
        own = [
            apply_edit(index, self.edits[number]) if number in self.edits else index
            for number, index in enumerate(mine.indexes[count:], count)
        ]
        self.made = Tree([*other.indexes, *own])

    def _edits(self) -> Iterator[tuple[int, LayerEdit]]:
        """Yields the edits of own layers. A layer that cannot be made again stays as it is; what the new base changed is
        then a conflict."""
        changed = {
            path: InheritedAttributes(self.old.entry(was.ref), self.new.entry(base.ref))
            for path, was, base in self.differences
            if isinstance(was, Directory) and isinstance(base, Directory)
        }
        own = self.mine.indexes[self.count :]
        for number, edit in enumerate(follow_base(self.mine.indexes[: self.count], own, changed), self.count):
            blob = self.mine.layers[number].blob
            if edit.replace and blob is not None:
                with contextlib.suppress(UnsupportedError):
                    has_globals(blob, self.mine.indexes[number])
                    yield number, edit


def _conflicts(merge: _Merge) -> Iterator[Conflict]:
    """Yields the paths that the new base changed and that the result shows otherwise, because of the image's own layers.
    Times are ignored."""
    made, new = merge.made, merge.new
    lowest = len(merge.other.indexes)
    for path, was, base in merge.differences:
        node = node_at(made, path)
        if _agree(new, base, made, node) or (base is None and _is_parent_only(merge, was, node)):
            continue
        if isinstance(base, Directory) and isinstance(node, Directory):
            if not _clash(merge, was, base, node):
                continue
            layer = made.layer(node.ref)
        else:
            layer = _author(made, path, node, lowest)
        theirs = "removed" if base is None else "added" if was is None else "changed"
        ours = "removed" if node is None else "added" if was is None else "changed"
        yield Conflict(path, theirs, ours, layer - merge.shift)


def _is_parent_only(merge: _Merge, was: Node | None, node: Node | None) -> bool:
    """Returns whether a directory that the new base removed remains unchanged, only because the image has something in
    it."""
    if not isinstance(was, Directory) or not isinstance(node, Directory) or not node.children:
        return False
    return not differing(attributes(merge.old.entry(was.ref)), attributes(merge.made.entry(node.ref)))


def _clash(merge: _Merge, was: Node | None, base: Directory, node: Directory) -> bool:
    """Returns whether an attribute of a directory that the new base changed is different in the result."""
    theirs, ours = attributes(merge.new.entry(base.ref)), attributes(merge.made.entry(node.ref))
    old = attributes(merge.old.entry(was.ref)) if isinstance(was, Directory) else {}
    return not differing(old, theirs).isdisjoint(differing(theirs, ours))


def _author(made: Tree, path: bytes, node: Node | None, lowest: int) -> int:
    """Returns the number of the own layer that decides what the result has at a path: it made the node or something in it,
    or removed it."""
    refs = [] if node is None else [ref_of(node)]
    if isinstance(node, Directory):
        refs += [ref_of(child) for _, child in made.walk(node, path)]
    while node is None:
        refs.append(made.ref(made.removed.get(path, 0), 0))
        if not path:
            break
        path = path.rpartition(b"/")[0]
    return max(lowest, *map(made.layer, refs))


def _agree(a: Tree, x: Node | None, b: Tree, y: Node | None) -> bool:
    """Returns whether two nodes are equal but for their times."""
    if x is None or y is None:
        return x is y
    if isinstance(x, Directory) != isinstance(y, Directory):
        return False
    return same_entry(a, ref_of(x), b, ref_of(y), ("mtime",))


def _history(image: Image, old: Image, new: Image, count: int) -> list[dict[str, Any]] | None:
    """Returns the history of the new base and then that of the own layers; None if neither the image nor the new base
    states any."""
    if all(drafts.aligned_history(one.config.fields, len(one.layers)) is None for one in (image, new)):
        return None
    own = config_merge.own_history(drafts.history_of(old), drafts.history_of(image), count)
    return [*drafts.history_of(new), *own]


def _annotated(draft: ImageDraft, annotations: Mapping[str, str], new: _Base, bases: BaseReferences) -> ImageDraft:
    """Returns the draft with annotations that name the new base, if it has a digest and a name."""
    manifest = draft.image.manifest
    if manifest is not None and manifest.media_type == mediatypes.DOCKER_MANIFEST and BASE_DIGEST not in annotations:
        return draft  # Docker manifests have no annotations
    found = {key: value for key, value in annotations.items() if key not in (BASE_NAME, BASE_DIGEST)}
    if new.image.digest is not None:
        found[BASE_DIGEST] = str(new.image.digest)
    where = at_registry(new.name)
    if where is not None:
        found[BASE_NAME] = str(where._replace(digest=None)).removeprefix(PREFIX)
    elif bases.new is not None and (full := [tag for tag in new.image.tags if not is_bare(tag)]):
        found[BASE_NAME] = full[0]
    return draft if found == dict(annotations) else drafts.annotated(draft, found)


def _with_digest(name: str, digest: Digest) -> str:
    """Returns a reference to a digest in the repository of a name."""
    where = at_registry(PREFIX + name)
    assert where is not None
    return str(where._replace(tag=None, digest=digest))
