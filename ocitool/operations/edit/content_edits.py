"""Content of existing layers: paths out of every layer that carries them, host files into one layer, layers dropped.

What becomes of which layer is planned, and judged, by `images.plan`; here contents are found, hashed and supplied, and what a
person must know is said. Layers are numbered as in the source throughout.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from types import MappingProxyType
from typing import Any, NamedTuple

from ocitool.blob import expected
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
from ocitool.operations.listing import layer_of
from ocitool.pipeline.image_writer import ImageWriter, WriteResult
from ocitool.pipeline.source_date import made_at, timestamp
from ocitool.task import Task
from ocitool.transports.sink import OutputImage
from ocitool.trees.indexing import Indexer
from ocitool.trees.inherited import outlived_directories
from ocitool.trees.plan import NotCarriedError, Plan, removal
from ocitool.trees.tree import Tree

CREATED_BY = "ocitool edit --rm"
"""In the history, of every removal, so that whoever combines the image with an older one knows of it; and of a layer that a
removal needs: where layers write through links that go."""

_NAMED = 20
"""Hard links and equal files that are named one by one."""


class ContentEdits(NamedTuple):
    """remove: paths; same_content: also what has the content of removed files; add: host files, into `layer` (None: the
    top-most); drop: layers."""

    remove: tuple[bytes, ...] = ()
    same_content: bool = False
    add: tuple[FileAddition, ...] = ()
    layer: int | None = None
    drop: tuple[int, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.remove or self.add or self.drop)


class EntryLocation(NamedTuple):
    """An entry of a layer, by the layer's number."""

    layer: int
    path: bytes


class ContentChange(NamedTuple):
    """What the edits of one image's contents came to. `found`: paths to be removed that it has; `lost`: the files that go, rows
    of layers by number; `same`: the other files with the content of one that goes, and `elsewhere` those of them that stay;
    `replaced`: layers, with their sizes, that hold what others no longer do."""

    found: frozenset[bytes] = frozenset()
    lost: Mapping[int, frozenset[int]] = MappingProxyType({})
    same: frozenset[EntryLocation] = frozenset()
    elsewhere: tuple[EntryLocation, ...] = ()
    replaced: Mapping[Digest, int] = MappingProxyType({})


def dropped(image: Image, content: ContentEdits) -> list[int]:
    """The numbers of the layers that go, ascending."""
    return sorted({layer_of(image, number).number for number in content.drop})


def edit_content(
    draft: ImageDraft, content: ContentEdits, indexer: Callable[[], Indexer], writer: ImageWriter
) -> tuple[ImageDraft, ContentChange]:
    """The draft with layers made again if content asks for it, and what that came to; all layers are still there."""
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
        image, content = draft.image, self.content
        gone = dropped(image, content)
        for number in gone:
            self._replace(draft, number)
        live = [layer for layer in image.layers if layer.number not in gone]
        into = self._into(image, live) if content.add else None
        work = LayerEdits(image, live, self._indexer.indexes(image, live))
        if gone:
            self._tell_broken(work)
            self._tell_outlived(image, gone)
        if content.remove:
            self._remove(work)
            if work.edits:
                draft = drafts.noted(draft, self._record(image))
        if into is not None:
            position = live.index(into)
            new = range(len(image.layers), len(image.layers) + len(work.indexes) - len(live))
            numbers = [*(layer.number for layer in live), *new]
            plan, openers = addition(work.indexes, position, content.add, self._task, numbers)
            work.step(plan, Tree(work.indexes[: position + 1]), openers)
        self._task.expect(expected(live[position].blob for position in work.edits if position < len(live)))
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
            self._replace(draft, layer.number)
            made = self._writer.layers.made(tar, self._writer.layers.codec(layer), image, "rewritten")
            draft = drafts.replaced(draft, layer.number, made)
        lost = {number: frozenset(rows) for number, rows in self._lost.items()}
        return draft, ContentChange(frozenset(self._found), lost, self._same_content, self._elsewhere, dict(self._replaced))

    def _record(self, image: Image) -> dict[str, Any]:
        """The history entry of a removal. It does not repeat which paths went: who has a path can tell whether it did."""
        paths = " ".join(sorted(map(path_mark, self.content.remove)))
        created = made_at(image.config.created)
        return {**({"created": created} if created else {}), "created_by": CREATED_BY, "comment": f"paths {paths}"}

    def _into(self, image: Image, live: Sequence[Layer]) -> Layer:
        """The layer that is added to."""
        if self.content.layer is None:
            if not live:
                raise UsageError("no layer to add to", image.where)
            return live[-1]
        layer = layer_of(image, self.content.layer)
        if layer not in live:
            raise UsageError(f"layer {layer.number} is dropped, and can take no files", image.where)
        return layer

    def _replace(self, draft: ImageDraft, number: int) -> None:
        layer = draft.layers[number]
        self._replaced[layer.digest] = layer.size

    # Removing

    def _remove(self, work: LayerEdits) -> None:
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
        """The plan without these paths, those of them that this image has; None where it has none. A path that leads through
        a link is also the one that it leads to."""
        asked = {path: {path, tree.real_path(path) or path} for path in self.content.remove}
        self._roots = set().union(*asked.values())
        wanted = set(self._roots)
        while wanted:
            try:
                plan = removal(work.indexes, wanted, also=also)
            except NotCarriedError as error:
                wanted -= error.paths
                continue
            self._found |= {path for path, places in asked.items() if places & wanted}
            return plan
        return None

    def _same(self, work: LayerEdits, tree: Tree, plan: Plan) -> dict[tuple[int, int], EntryLocation]:
        """The files that would be left with the content of one that goes: position and row, and where that is."""
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
            work.learn(position, self._indexer.with_hashes(work.live[position], index, rows[position]))

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
        """The one of the paths to be removed that a path is or is below."""
        return next((one for one in self._roots if path == one or path.startswith(one + b"/")), None)

    # Telling

    def _tell_removed(self, work: LayerEdits, tree: Tree, plan: Plan) -> None:
        """A line for each path that was asked for, and for what went with it: hard links, and files of the same content."""
        counts: dict[bytes, int] = {}
        layers: dict[bytes, set[int]] = {}
        for position, row in _dropped(work, tree, plan):
            path = work.indexes[position].paths[row]
            root = self._root(path) or path
            counts[root] = counts.get(root, 0) + (path != root)
            layers.setdefault(root, set()).add(work.live[position].number)
        for number, root in enumerate(sorted(layers, key=lambda root: (root not in self._roots, root))):
            if number >= _NAMED and root not in self._roots:
                self._task.notice("removed", f"{work.image.where}: and {len(layers) - number} more")
                return
            below = f" with {counts[root]} entries below" if counts[root] else ""
            text = f"{work.image.where}: {shown_path(root)}{below} is out of {_layers(sorted(layers[root]))}"
            self._task.notice("removed", text)

    def _tell_broken(self, work: LayerEdits) -> None:
        """Hard links that lose their target with a dropped layer."""
        broken = [path for path, _ in Tree(work.indexes).broken]
        if broken:
            before = {path for path, _ in Tree(self._indexer.indexes(work.image)).broken}
            for path in broken:
                if path not in before:
                    text = f"{work.image.where}: the hard link {shown_path(path)} has no target any more"
                    self._task.notice("broken-link", text)

    def _tell_outlived(self, image: Image, gone: Sequence[int]) -> None:
        """Directories that stay as a dropped layer made them. It is looked into if it is here and can be read."""
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
    """`NotFoundError` for a path to be removed that no image of all that were edited carries."""
    for path in content.remove:
        if path not in found:
            hint = "--rm takes one path, no GLOB; ocitool ls --recursive lists them" if b"*" in path else None
            raise NotFoundError("no layer carries this path", shown_path(path), hint=hint)


def replaced_documents(image: Image, output: OutputImage) -> Iterator[tuple[Digest, int]]:
    """The image's own documents, with their sizes, if they hold what others no longer do."""
    if image.manifest is not None and image.digest is not None and image.digest != output.digest:
        yield image.digest, len(image.manifest.raw)
    if image.config.digest != output.image_id:
        yield image.config.digest, len(image.config.raw)


def tell_mentions(draft: ImageDraft, content: ContentEdits, task: Task) -> None:
    """Where the configuration as it will be still speaks of what was removed."""
    for text in mentions(draft.config, content.remove):
        task.notice("mention", f"{draft.image.where}: {text}")


def tell_remains(written: WriteResult, replaced: Mapping[Digest, int], writer: ImageWriter) -> None:
    """What a destination layout still holds of blobs that the result no longer has, and how it is freed."""
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
    """The entries that a plan takes out, but for those that it only says elsewhere."""
    edits = (*plan.edits.values(), LayerEdit(add=plan.added or ()))
    again = {entry.path for edit in edits for entry in (*edit.replace.values(), *edit.add) if entry.kind < Kind.WHITEOUT}
    for position, edit in plan.edits.items():
        index = work.indexes[position]
        for row in sorted(edit.drop | edit.replace.keys()):
            path = index.paths[row]
            if index.kinds[row] < Kind.WHITEOUT and path not in again and tree.real_path(path) not in again:
                yield position, row  # a layer may spell its path through a link


def path_mark(path: bytes) -> str:
    """What stands for a path in the record of a removal."""
    return hashlib.sha256(path).hexdigest()[:16]


def mentions(fields: Mapping[str, Any], paths: Iterable[bytes]) -> list[str]:
    """Where a configuration speaks of paths, or of their last name, without what it says."""
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
        spoken = re.compile(rf"(?<![\w.-]){name}(?![\w-]|\.\w)")
        found += [f"{place} speaks of {shown_path(path)}" for place, line in lines if spoken.search(line)]
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
    """The names in a layout whose images have any of these blobs."""
    from ocitool.images import select
    from ocitool.spec.manifest import Index, Manifest

    for entry in select.index_children(source, source.index):
        below = [entry] if isinstance(entry.document, Manifest) else []
        if isinstance(entry.document, Index):
            below = [child for child, _ in select.all_children(source, entry.document)]
        for child in below:
            manifest = child.document
            if isinstance(manifest, Manifest) and not digests.isdisjoint(
                map(str, (child.descriptor.digest, manifest.config.digest, *(layer.digest for layer in manifest.layers)))
            ):
                yield from entry.tags or (f"@{entry.descriptor.digest}",)
                break


def _layers(numbers: Sequence[int]) -> str:
    return f"layer {numbers[0]}" if len(numbers) == 1 else f"layers {', '.join(map(str, numbers))}"
