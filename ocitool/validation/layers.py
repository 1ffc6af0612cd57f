"""Reads every distinct layer once, and checks it alone and together with the layers below it."""

from __future__ import annotations

from typing import NamedTuple

from ocitool.blob import BytesBlob, FileBlob, expected
from ocitool.digest import Digest
from ocitool.errors import OcitoolError, UnsafeError
from ocitool.layers import codecs
from ocitool.layers.index import LayerIndex
from ocitool.layers.scan import index_layer
from ocitool.spec import mediatypes
from ocitool.trees.tree import Tree
from ocitool.trees.volume_content import volume_content
from ocitool.validation.documents import LayerUse, ValidatedImage, ValidationReader
from ocitool.validation.findings import DAMAGE, counted
from ocitool.validation.tars import ERRORS, TarRules


class _Scanned(NamedTuple):
    """A layer that was read: its index, or the error that prevented it."""

    layer: LayerIndex | None
    error: OcitoolError | None
    size: int


class LayerChecks:
    """Checks the layers of the images that a reader found."""

    def __init__(self, reader: ValidationReader) -> None:
        self.reader = reader
        self.task = reader.task
        self.found = reader.found
        self._volumes: set[tuple[str, bytes]] = set()
        """Layers and volumes of which it was told that the layer writes below the volume."""

    def read(self) -> None:
        """Reads and checks every distinct layer. Only some images are read at a time, to bound the number of indexes in
        memory."""
        last = {layer.key: n for n, image in enumerate(self.reader.images) for layer in image.layers if layer.blob is not None}
        held: dict[str, _Scanned] = {}
        reported: set[str] = set()
        distinct = {layer.key: layer.blob for image in self.reader.images for layer in image.layers if layer.blob is not None}
        self.task.expect(expected(distinct.values()))
        batch: list[tuple[int, ValidatedImage]] = []
        wanted: dict[str, LayerUse] = {}
        for number, image in enumerate(self.reader.images):
            batch.append((number, image))
            for layer in image.layers:
                if layer.blob is not None and layer.key not in held:
                    wanted.setdefault(layer.key, layer)
            if len(wanted) < 2 * self.task.jobs and number + 1 < len(self.reader.images):
                continue
            held.update(zip(wanted, self.task.map(self._scan, list(wanted.values())), strict=True))
            for done, one in batch:
                self._check(one, held, reported)
                for layer in one.layers:
                    if last.get(layer.key) == done:
                        held.pop(layer.key, None)
            batch, wanted = [], {}

    def _scan(self, layer: LayerUse) -> _Scanned:
        """Indexes a layer. Several threads call this, so it adds no finding."""
        blob = layer.blob
        assert blob is not None
        try:
            if blob.digest is not None and not _known(blob.digest):
                blob = blob.named(None) if isinstance(blob, FileBlob) else BytesBlob(b"".join(blob.chunks()))
            algorithm = layer.diff_id.algorithm if layer.diff_id is not None and _known(layer.diff_id) else "sha256"
            return _Scanned(index_layer(blob, self.task, algorithm=algorithm), None, blob.size)
        except DAMAGE as error:
            return _Scanned(None, error, blob.size)

    def _check(self, image: ValidatedImage, held: dict[str, _Scanned], reported: set[str]) -> None:
        """Checks the layers of an image from the lowest to the top. `reported`: keys of layers that were checked alone
        before."""
        tree: Tree | None = Tree(())  # layers are added only when a rule needs them: for most images none does
        below: list[LayerIndex] = []
        told = self._volumes
        for number, layer in enumerate(image.layers):
            scanned = held.get(layer.key) if layer.blob is not None else None
            if scanned is None:
                tree = None  # layers above an unread one cannot be checked together
                continue
            self.task.check()
            first = layer.key not in reported
            reported.add(layer.key)
            if first:
                self.reader.blobs += 1
                self.reader.bytes += scanned.size
                self._magic(layer)
            index = scanned.layer
            if index is None:
                assert scanned.error is not None
                self.found.damage(scanned.error, layer.subject, "layer-damaged")
                tree = None
                continue
            checkable = layer.diff_id is not None and self.found.checkable(layer.diff_id, layer.subject)
            if checkable and index.diff_id != layer.diff_id:
                self.found.error("diff-id", layer.subject, f"unpacks to {index.diff_id}, stated is {layer.diff_id}")
            rules = TarRules(index)
            if first:
                self.reader.layers += 1
                self.reader.entries += len(index)
                rules.alone()
            below.append(index)
            if tree is not None and rules.needs_tree(len(below) > 1):
                try:
                    for lower in below[len(tree.indexes) : -1]:
                        tree.add(lower)
                    rules.on(tree)
                except UnsafeError:
                    tree = None  # the layer's own rules report it
            for content in volume_content(index, number, image.volumes):
                if (found := (layer.key, content.volume)) not in told:
                    told.add(found)
                    self.found.warn("volume-content", layer.subject, str(content))
            for (rule, text), (count, path) in rules.broken.items():
                severity = self.found.error if rule in ERRORS else self.found.warn
                severity(rule, layer.subject, counted(text, count, path))

    def _magic(self, layer: LayerUse) -> None:
        """Checks that the media type states the compression that the first bytes show."""
        if layer.media_type is None or layer.blob is None:
            return
        stated = mediatypes.layer_codec(layer.media_type)
        if stated is not None and layer.blob.size and codecs.of(layer.blob) != stated:
            self.found.warn(
                "media-type", layer.subject, f"{layer.media_type} states {stated}, the bytes are {codecs.of(layer.blob)}"
            )


def _known(digest: Digest) -> bool:
    return digest.algorithm in ("sha256", "sha512")
