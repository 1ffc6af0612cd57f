"""The one pass over an image's layers that unpacking makes: each layer is read, verified, indexed and staged at once.

Several layers are read at a time, the top ones first: what they list hides files of lower layers, which need not be
written. Whether a file is hidden is a guess here, since only the merged tree knows of links between layers; for files
that are needed after all, the layer is read a second time. Memory: the indexes, and the paths of all layers but the
lowest once more.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import NamedTuple

from ocitool.blob import expected_sizes
from ocitool.digest import wrong_diff_id
from ocitool.disk.rootfs import Rootfs
from ocitool.errors import FormatError, NotFoundError, OcitoolError, UnsafeError
from ocitool.images.image import Image, Layer
from ocitool.layers.entry import Kind, shown_path
from ocitool.layers.index import LayerIndex
from ocitool.layers.scan import index_layer
from ocitool.task import Task
from ocitool.trees.indexing import notice_odd_times, readable_blob
from ocitool.trees.nodes import REF_SHIFT, Directory
from ocitool.trees.tree import Tree


class StagedImage(NamedTuple):
    """The merged tree, every file of which is staged under its ref. `bytes_read`: stored bytes that were read."""

    tree: Tree
    bytes_read: int


class _Hiding(NamedTuple):
    """What a layer hides of lower layers: the paths `names`, and everything below the directories `opaque`."""

    names: frozenset[bytes]
    opaque: frozenset[bytes]


def check_layers(image: Image) -> None:
    """Raises if an image's layers cannot be written: they do not match the configuration (`FormatError`) or are missing
    (`NotFoundError`)."""
    if not image.aligned:
        legacy = image.manifest is None and not image.config.diff_ids
        raise FormatError(
            f"{len(image.layers)} layers, and the configuration states {len(image.config.diff_ids)}", image.where,
            hint="an archive from before Docker 1.10; ocitool copy writes one that states them all" if legacy else None,
        )  # fmt: skip
    missing = [str(layer.digest or layer.number) for layer in image.layers if layer.blob is None]
    if missing:
        text = ", ".join(missing[:5])
        raise NotFoundError(f"{len(missing)} of its {len(image.layers)} layers are not here: {text}", image.where)


def stage_image(image: Image, rootfs: Rootfs, task: Task) -> StagedImage:
    """Reads and verifies all layers, and stages the files of the merged tree.

    Raises what `check_layers`, `index_layer` and `Tree` raise, and `UnsafeError` for a hard link of the merged tree
    without a target.
    """
    check_layers(image)
    skipped: set[int] = set()
    hiding: dict[int, _Hiding] = {}
    indexes: dict[int, LayerIndex] = {}

    def first_pass(layer: Layer) -> None:
        above = [found for number, found in list(hiding.items()) if number > layer.number]
        index = _read(image, layer, rootfs, task, skip=_hidden_test(above), skipped=skipped)
        if layer.number:
            hiding[layer.number] = _hidden_by(index)
        indexes[layer.number] = index

    task.expect(expected_sizes(layer.blob for layer in _distinct(image)))
    task.map(first_pass, _distinct(image)[::-1])
    read = sum(layer.size for layer in _distinct(image))
    for layer, same in _repeated(image):
        index = indexes[layer.number] = indexes[same.number]
        _check_diff_id(image, layer, index)
        skipped.update(layer.number << REF_SHIFT | row for row, kind in enumerate(index.kinds) if kind == Kind.FILE)
    tree = Tree([indexes[layer.number] for layer in image.layers])
    for path, ref in tree.broken:
        if tree.find(path) == ref:
            raise UnsafeError("a hard link without a target in the image", shown_path(path))
    needed = _needed(tree, skipped) if skipped else {}
    for number, rows in needed.items():
        _read(image, image.layers[number], rootfs, task, only=rows)
        read += image.layers[number].size
    return StagedImage(tree, read)


def _read(
    image: Image, layer: Layer, rootfs: Rootfs, task: Task, *,
    skip: Callable[[bytes], bool] | None = None, skipped: set[int] | None = None, only: Collection[int] | None = None,
) -> LayerIndex:  # fmt: skip
    """Reads a layer once: returns its verified index, and stages its files, except those for which `skip` is true
    (added to `skipped`), or only the rows `only`."""
    base = layer.number << REF_SHIFT
    where = f"{image.where}: layer {layer.number}"

    def unwanted(row: int, path: bytes) -> bool:
        if only is not None:
            return row not in only
        if skip is None or skipped is None or not skip(path):
            return False
        skipped.add(base + row)
        return True

    try:
        blob, algorithm = readable_blob(layer)
        with rootfs.layer(layer.number, unwanted if skip is not None or only is not None else None) as files:
            index = index_layer(blob, task, algorithm=algorithm, keep=files)
        notice_odd_times(index, where, task)
    except OcitoolError as error:
        raise error.at(where) from None
    _check_diff_id(image, layer, index)
    return index


def _check_diff_id(image: Image, layer: Layer, index: LayerIndex) -> None:
    if layer.diff_id is not None and index.diff_id != layer.diff_id:
        raise wrong_diff_id(index.diff_id, layer.diff_id, f"{image.where}: layer {layer.number}")


def _key(layer: Layer) -> object:
    algorithm = layer.diff_id.algorithm if layer.diff_id else None
    return (str(layer.digest), algorithm) if layer.digest is not None else layer.number


def _distinct(image: Image) -> list[Layer]:
    """Returns each layer once: the upper one of a layer that is listed twice."""
    return sorted({_key(layer): layer for layer in image.layers}.values(), key=lambda layer: layer.number)


def _repeated(image: Image) -> list[tuple[Layer, Layer]]:
    upper = {_key(layer): layer for layer in image.layers}
    return [(layer, upper[_key(layer)]) for layer in image.layers if upper[_key(layer)].number != layer.number]


def _hidden_by(index: LayerIndex) -> _Hiding:
    names, opaque = [], []
    for path, kind in zip(index.paths, index.kinds, strict=True):
        if kind == Kind.OPAQUE:
            opaque.append(path)
        elif kind not in (Kind.DIRECTORY, Kind.METADATA):
            names.append(path)
    return _Hiding(frozenset(names), frozenset(opaque))


def _hidden_test(above: list[_Hiding]) -> Callable[[bytes], bool] | None:
    """Returns a test whether upper layers hide a path, as far as their names tell; None if there are none."""
    if not above:
        return None
    known: dict[bytes, bool] = {}
    all_hidden = any(b"" in one.opaque for one in above)

    def gone(directory: bytes) -> bool:
        """Returns whether all files of a lower directory are hidden."""
        asked, at, found = [], directory, None
        while found is None:
            found = known.get(at) if at else all_hidden
            if found is None:
                asked.append(at)
                found = any(at in one.names or at in one.opaque for one in above) or None
                at = at.rpartition(b"/")[0]
        if len(known) > 1 << 16:
            known.clear()
        for one in asked:
            known[one] = found
        return found

    def hidden(path: bytes) -> bool:
        return any(path in one.names for one in above) or gone(path.rpartition(b"/")[0])

    return hidden


def _needed(tree: Tree, skipped: set[int]) -> dict[int, set[int]]:
    """Returns the skipped rows, by layer, that the tree shows."""
    found: dict[int, set[int]] = {}
    for _, node in tree.walk():
        if not isinstance(node, Directory):
            ref = tree.inode(node)
            if ref in skipped:
                found.setdefault(tree.layer(ref), set()).add(tree.row(ref))
    return found
