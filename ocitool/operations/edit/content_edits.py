"""Edits the content of existing layers: removes paths from every layer that has them, adds host files to one layer, drops
layers.

`trees.plan` plans and verifies the edits of each layer; this module finds, hashes and supplies contents, and gives notices.
Layers are always numbered as in the source.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from types import MappingProxyType
from typing import Any, NamedTuple

from ocitool.blob import expected_sizes
from ocitool.digest import Digest
from ocitool.disk.scan_directory import first_paths
from ocitool.errors import FormatError, IntegrityError, LimitError, NotFoundError, UnsafeError, UsageError
from ocitool.images import drafts
from ocitool.images.drafts import ImageDraft
from ocitool.images.image import Image, Layer
from ocitool.layers.entry import Kind, shown_path
from ocitool.layers.rewrite import LayerEdit, rewrite_layer, write_new
from ocitool.operations.edit.file_addition import FileAddition, addition
from ocitool.operations.edit.layer_edits import LayerEdits
from ocitool.operations.listing import layer_by_number
from ocitool.pipeline.image_writer import ImageWriter, WriteResult
from ocitool.pipeline.source_date import made_at, timestamp
from ocitool.task import Task
from ocitool.transports.sink import OutputImage
from ocitool.trees.indexing import Indexer
from ocitool.trees.inherited import outlived_directories
from ocitool.trees.plan import NotCarriedError, Plan, removal
from ocitool.trees.tree import Tree

CREATED_BY = "ocitool edit --rm"
"""`created_by` of the history entry of every removal, by which `rebase` and `rebuild` recognise it; also of a layer that a
removal needs because layers write through removed links."""

_MAX_LISTED = 20
"""Hard links and equal files that notices list one by one."""


class ContentEdits(NamedTuple):
    """The edits. remove: paths. same_content: also remove other files with the content of removed ones. add: host files to
    add to `layer` (None: the top one). drop: numbers of layers."""

    remove: tuple[bytes, ...] = ()
    same_content: bool = False
    add: tuple[FileAddition, ...] = ()
    layer: int | None = None
    drop: tuple[int, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.remove or self.add or self.drop)


class EntryLocation(NamedTuple):
    """An entry of a layer: the number of the layer, and the path."""

    layer: int
    path: bytes


class ContentChange(NamedTuple):
    """What the edits did to one image. `found`: paths to be removed that it has. `lost`: the removed files, as rows by
    layer number. `same`: other files with the content of a removed one, and `elsewhere` those of them that remain.
    `replaced`: digests and sizes of the old layers, which still hold what was removed."""

    found: frozenset[bytes] = frozenset()
    lost: Mapping[int, frozenset[int]] = MappingProxyType({})
    same: frozenset[EntryLocation] = frozenset()
    elsewhere: tuple[EntryLocation, ...] = ()
    replaced: Mapping[Digest, int] = MappingProxyType({})


def dropped(image: Image, content: ContentEdits) -> list[int]:
    """Returns the numbers of the layers to drop, ascending."""
    return sorted({layer_by_number(image, number).number for number in content.drop})


def edit_content(
    draft: ImageDraft, content: ContentEdits, indexer: Callable[[], Indexer], writer: ImageWriter
) -> tuple[ImageDraft, ContentChange]:
    """Returns the draft with its layers edited, and what that did. Layers to drop are still in it, so that numbers stay
    valid."""
    return _ContentEditor(content, indexer(), writer).edited(draft) if content else (draft, ContentChange())


class _ContentEditor:
    """Edits the contents of one image."""

    def __init__(self, content: ContentEdits, indexer: Indexer, writer: ImageWriter) -> None:
        self.content = content
        self._task: Task = writer.task
        self._writer = writer
        self._indexer = indexer
        self._elsewhere: tuple[EntryLocation, ...] = ()
        self._lost: dict[int, set[int]] = {}
        self._same_content: frozenset[EntryLocation] = frozenset()
        self._found: set[bytes] = set()
        self._roots: set[bytes] = set()
        self._replaced: dict[Digest, int] = {}

    def edited(self, draft: ImageDraft) -> tuple[ImageDraft, ContentChange]:
        """Returns the draft with edited layers, and what that did."""
        image, content = draft.image, self.content
        gone = dropped(image, content)
        for number in gone:
            self._record_old(draft, number)
        live = [layer for layer in image.layers if layer.number not in gone]
        into = self._into(image, live) if content.add else None
        work = LayerEdits(image, live, self._indexer.indexes(image, live))
        if gone:
            self._tell_broken(work)
            self._tell_outlived(image, gone)
        if content.remove:
            self._remove(work)
            if work.edits:
                draft = drafts.noted(draft, self._history_entry(image))
        if into is not None:
            position = live.index(into)
            new = range(len(image.layers), len(image.layers) + len(work.indexes) - len(live))
            numbers = [*(layer.number for layer in live), *new]
            plan, openers = addition(work.indexes, position, content.add, self._task, numbers)
            work.step(plan, Tree(work.indexes[: position + 1]), openers)
        self._task.expect(expected_sizes(live[position].blob for position in work.edits if position < len(live)))
        for position, edit in sorted(work.edits.items()):
            if position >= len(live):
                tar = write_new(edit.add, work.contents(position, self._task))
                made = self._writer.layers.made(tar, self._writer.layers.new_codec(image), image, "new")
                draft = drafts.inserted(draft, len(draft.layers), made, {"created": timestamp(), "created_by": CREATED_BY})
                continue
            layer = live[position]
            assert layer.blob is not None
            index, contents = work.originals[position], work.contents(position, self._task)
            tar = rewrite_layer(layer.blob, index, edit, contents, self._task, diff_id=layer.diff_id)
            self._record_old(draft, layer.number)
            made = self._writer.layers.made(tar, self._writer.layers.codec(layer), image, "rewritten")
            draft = drafts.replaced(draft, layer.number, made)
        lost = {number: frozenset(rows) for number, rows in self._lost.items()}
        return draft, ContentChange(frozenset(self._found), lost, self._same_content, self._elsewhere, dict(self._replaced))

    def _history_entry(self, image: Image) -> dict[str, Any]:
        """Returns the history entry of a removal. It has hashes of the removed paths, so that it does not tell them, but a
        known path can be recognised."""
        paths = " ".join(sorted(map(path_mark, self.content.remove)))
        created = made_at(image.config.created)
        return {**({"created": created} if created else {}), "created_by": CREATED_BY, "comment": f"paths {paths}"}

    def _into(self, image: Image, live: Sequence[Layer]) -> Layer:
        """Returns the layer to which files are added. Raises `UsageError`."""
        if self.content.layer is None:
            if not live:
                raise UsageError("no layer to add to", image.where)
            return live[-1]
        layer = layer_by_number(image, self.content.layer)
        if layer not in live:
            raise UsageError(f"layer {layer.number} is dropped, and can take no files", image.where)
        return layer

    def _record_old(self, draft: ImageDraft, number: int) -> None:
        """Records a layer that is not in the result any more."""
        layer = draft.layers[number]
        self._replaced[layer.digest] = layer.size

    # Removing

    def _remove(self, work: LayerEdits) -> None:
        """Plans the removal of the paths, and with `same_content` of other files with the same content."""
        tree = Tree(work.indexes)
        plan = self._removal(work, tree, ())
        if plan is None:
            return
        same = self._same(work, tree, plan)
        self._same_content = frozenset(same.values())
        if same and self.content.same_content:
            plan = self._removal(work, tree, list(same))
            assert plan is not None
            same = self._same(work, tree, plan)
        self._tell_removed(work, tree, plan)
        self._elsewhere = tuple(dict.fromkeys(same.values()))
        work.step(plan, tree, {})

    def _removal(self, work: LayerEdits, tree: Tree, also: Sequence[tuple[int, int]]) -> Plan | None:
        """Returns the plan that removes the paths that this image has, and the rows `also`; None if it has none of the
        paths. For a path through a symbolic link, the path that it leads to is removed too."""
        places_of = {path: {path, tree.real_path(path) or path} for path in self.content.remove}
        self._roots = set().union(*places_of.values())
        wanted = set(self._roots)
        while wanted:
            try:
                plan = removal(work.indexes, wanted, also=also)
            except NotCarriedError as error:
                wanted -= error.paths
                continue
            self._found |= {path for path, places in places_of.items() if places & wanted}
            return plan
        return None

    def _same(self, work: LayerEdits, tree: Tree, plan: Plan) -> dict[tuple[int, int], EntryLocation]:
        """Returns the files that a plan leaves though they have the content of a removed one, by position and row."""
        moved = work.copied(plan, tree)
        lost = {
            (position, row)
            for position, edit in plan.edits.items()
            for row in edit.drop | edit.replace.keys()
            if work.indexes[position].kinds[row] == Kind.FILE and (position, row) not in moved
        }
        for position, row in lost:
            self._lost.setdefault(work.live[position].number, set()).add(row)
        sizes = {work.indexes[position].sizes[row] for position, row in lost} - {0}
        rows: dict[int, list[int]] = {}
        for position, index in enumerate(work.indexes):
            rows[position] = [row for row, kind in enumerate(index.kinds) if kind == Kind.FILE and index.sizes[row] in sizes]
            work.set_index(position, self._indexer.with_hashes(work.live[position], index, rows[position]))

        def content(position: int, row: int) -> bytes | None:
            index = work.indexes[position]
            return None if index.has_map_hash(row) else index.content(row)

        hashes = {content(position, row) for position, row in lost} - {None}
        return {
            (position, row): EntryLocation(work.live[position].number, work.indexes[position].paths[row])
            for position, candidates in rows.items()
            for row in candidates
            if (position, row) not in lost and content(position, row) in hashes
        }

    def _root(self, path: bytes) -> bytes | None:
        """Returns which of the paths to be removed is this path or a parent of it."""
        return next((one for one in self._roots if path == one or path.startswith(one + b"/")), None)

    # Notices

    def _tell_removed(self, work: LayerEdits, tree: Tree, plan: Plan) -> None:
        """Adds a notice for each removed path, and for what was removed with it: hard links, and files of the same
        content."""
        counts: dict[bytes, int] = {}
        layers: dict[bytes, set[int]] = {}
        for position, row in _dropped(work, tree, plan):
            path = work.indexes[position].paths[row]
            root = self._root(path) or path
            counts[root] = counts.get(root, 0) + (path != root)
            layers.setdefault(root, set()).add(work.live[position].number)
        for number, root in enumerate(sorted(layers, key=lambda root: (root not in self._roots, root))):
            if number >= _MAX_LISTED and root not in self._roots:
                self._task.notice("removed", f"{work.image.where}: and {len(layers) - number} more")
                return
            below = f" with {counts[root]} entries below" if counts[root] else ""
            text = f"{work.image.where}: {shown_path(root)}{below} is out of {_layers(sorted(layers[root]))}"
            self._task.notice("removed", text)

    def _tell_broken(self, work: LayerEdits) -> None:
        """Adds a notice for each hard link that loses its target with a dropped layer."""
        broken = [path for path, _ in Tree(work.indexes).broken]
        if broken:
            before = {path for path, _ in Tree(self._indexer.indexes(work.image)).broken}
            for path in broken:
                if path not in before:
                    text = f"{work.image.where}: the hard link {shown_path(path)} has no target any more"
                    self._task.notice("broken-link", text)

    def _tell_outlived(self, image: Image, gone: Sequence[int]) -> None:
        """Adds notices for directories that keep the attributes of a dropped layer. Layers in a registry, or damaged, are
        not read."""
        try:
            if any(layer.blob is None or layer.blob.remote for layer in image.layers):
                return
            found = list(outlived_directories(self._indexer.indexes(image), gone))
        except (FormatError, IntegrityError, LimitError, UnsafeError):
            return
        for number, upper in dict.fromkeys((number, upper) for _, number, upper in found):
            paths = first_paths([path for path, *layers in found if layers == [number, upper]])
            kept = f"directories keep mode, owner or extended attributes of layer {number}"
            self._task.notice("directories", f"{image.where}: {kept}, because layer {upper} lists them too: {paths}")


def refuse_missing(content: ContentEdits, found: Set[bytes]) -> None:
    """Raises `NotFoundError` for a path to be removed that none of the edited images has."""
    for path in content.remove:
        if path not in found:
            hint = "--rm takes one path, no GLOB; ocitool ls --recursive lists them" if b"*" in path else None
            raise NotFoundError("no layer carries this path", shown_path(path), hint=hint)


def replaced_documents(image: Image, output: OutputImage) -> Iterator[tuple[Digest, int]]:
    """Yields digest and size of the image's own manifest and configuration if the output has others."""
    if image.manifest is not None and image.digest is not None and image.digest != output.digest:
        yield image.digest, len(image.manifest.raw)
    if image.config.digest != output.image_id:
        yield image.config.digest, len(image.config.raw)


def tell_mentions(draft: ImageDraft, content: ContentEdits, task: Task) -> None:
    """Adds a notice for each place where the new configuration mentions a removed path."""
    for text in mentions(draft.config, content.remove):
        task.notice("mention", f"{draft.image.where}: {text}")


def tell_remains(written: WriteResult, replaced: Mapping[Digest, int], writer: ImageWriter) -> None:
    """Adds a notice if a destination layout still has blobs that the result no longer has, with the commands that free
    them."""
    from ocitool.transports.layout import Layout

    target = writer.target
    if not target.transport.store or not replaced or written.dry_run:
        return
    kept = {layer.digest for image in written.images for layer in image.layers}
    kept |= {digest for image in written.images for digest in (image.digest, image.image_id) if digest is not None}
    gone = [digest for digest in replaced if digest not in kept]
    old = {digest for digest in gone if writer.blobs.at_destination(digest) is not None}
    if not old:
        return
    names = sorted(set(_naming(Layout(target.path), {str(digest) for digest in old})))
    first = f"after ocitool layout rm {target.path} {' '.join(names)}" if names else "now"
    size = sum(replaced[digest] for digest in old)
    writer.task.notice(
        "remains", f"{target.path} still holds {len(old)} of the old blobs ({size} bytes) with what was taken out: "
        f"ocitool layout gc {target.path} frees them {first}",
    )  # fmt: skip


def _dropped(work: LayerEdits, tree: Tree, plan: Plan) -> Iterator[tuple[int, int]]:
    """Yields the entries that a plan removes, without those that it only moves to another layer."""
    edits = (*plan.edits.values(), LayerEdit(add=plan.added or ()))
    again = {entry.path for edit in edits for entry in (*edit.replace.values(), *edit.add) if entry.kind < Kind.WHITEOUT}
    for position, edit in plan.edits.items():
        index = work.indexes[position]
        for row in sorted(edit.drop | edit.replace.keys()):
            path = index.paths[row]
            if index.kinds[row] < Kind.WHITEOUT and path not in again and tree.real_path(path) not in again:
                yield position, row  # (a layer may write its path through a symbolic link)


def path_mark(path: bytes) -> str:
    """Returns the hash of a path that the history entry of a removal has."""
    return hashlib.sha256(path).hexdigest()[:16]


def mentions(fields: Mapping[str, Any], paths: Iterable[bytes]) -> list[str]:
    """Returns a sentence for each place where a configuration mentions a path, or its last part; the text itself is not
    repeated."""
    section = fields.get("config")
    history = fields.get("history")
    lines: list[tuple[str, str]] = []
    for number, item in enumerate(history if isinstance(history, list) else ()):
        if isinstance(item, dict):
            texts = (item.get(key) for key in ("created_by", "comment"))
            lines += [(f"history[{number}]", text) for text in texts if isinstance(text, str)]
    for key, value in section.items() if isinstance(section, dict) else ():
        lines += [(f"config.{key}{_which(key, text)}", text) for text in _texts(value)]
    found: list[str] = []
    for path in paths:
        name = re.escape(path.rpartition(b"/")[2].decode("utf-8", "replace"))
        mention = re.compile(rf"(?<![\w.-]){name}(?![\w-]|\.\w)")
        found += [f"{place} mentions {shown_path(path)}" for place, line in lines if mention.search(line)]
    return list(dict.fromkeys(found))


def _which(key: str, text: str) -> str:
    return f" ({text.partition('=')[0]})" if key == "Env" else ""


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield str(key)
            yield from _texts(item)


def _naming(source: Any, digests: set[str]) -> Iterator[str]:
    """Yields the names in a layout of images that have any of these blobs."""
    from ocitool.images.index_children import all_children, index_children
    from ocitool.spec.manifest import Index, Manifest

    for entry in index_children(source, source.index):
        below = [entry] if isinstance(entry.document, Manifest) else []
        if isinstance(entry.document, Index):
            below = [child for child, _ in all_children(source, entry.document)]
        for child in below:
            manifest = child.document
            if isinstance(manifest, Manifest) and not digests.isdisjoint(
                map(str, (child.descriptor.digest, manifest.config.digest, *(layer.digest for layer in manifest.layers)))
            ):
                yield from entry.tags or (f"@{entry.descriptor.digest}",)
                break


def _layers(numbers: Sequence[int]) -> str:
    return f"layer {numbers[0]}" if len(numbers) == 1 else f"layers {', '.join(map(str, numbers))}"
