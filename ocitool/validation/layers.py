"""Checks the layers of images: each distinct layer by itself, and in each image together with the layers below it."""

from __future__ import annotations

from typing import NamedTuple

from ocitool.blob import BytesBlob, FileBlob, expected_sizes
from ocitool.digest import Digest
from ocitool.errors import OcitoolError, UnsafeError
from ocitool.layers import codecs
from ocitool.layers.index import LayerIndex
from ocitool.layers.index_workers import IndexWorkers
from ocitool.spec import mediatypes
from ocitool.trees.tree import Tree
from ocitool.trees.volume_content import volume_content
from ocitool.validation.documents import ImageToCheck, LayerUse, ValidationReader
from ocitool.validation.findings import DAMAGE, counted
from ocitool.validation.tars import ERRORS, TarRules


class _Scanned(NamedTuple):
    """A layer that was read: its index, or the error that reading it raised. `size`: of its blob, in bytes."""

    layer_index: LayerIndex | None
    error: OcitoolError | None
    size: int


class LayerChecks:
    """Checks the layers of the images that a reader found. Findings and counts go to the reader."""

    def __init__(self, reader: ValidationReader) -> None:
        self.reader = reader
        self.task = reader.task
        self.findings = reader.findings
        self._workers = IndexWorkers(reader.task)
        self._reported_volumes: set[tuple[str, bytes]] = set()
        """Keys of layers and volumes for which there is a finding already: the layer writes below the volume."""

    def check(self) -> None:
        """Reads every distinct layer once, in parallel, and checks it in each image. Images are read in batches with about
        `2 * jobs` new layers, and an index is dropped after the last image that has the layer: this bounds their memory."""
        last_image = {
            layer.key: n for n, image in enumerate(self.reader.images) for layer in image.layers if layer.blob is not None
        }
        held: dict[str, _Scanned] = {}
        reported: set[str] = set()
        distinct = {layer.key: layer.blob for image in self.reader.images for layer in image.layers if layer.blob is not None}
        self.task.expect(expected_sizes(distinct.values()))
        batch: list[tuple[int, ImageToCheck]] = []
        wanted: dict[str, LayerUse] = {}
        for number, image in enumerate(self.reader.images):
            batch.append((number, image))
            for layer in image.layers:
                if layer.blob is not None and layer.key not in held:
                    wanted.setdefault(layer.key, layer)
            if len(wanted) < 2 * self.task.jobs and number + 1 < len(self.reader.images):
                continue
            try:
                held.update(zip(wanted, self.task.map(self._scan, list(wanted.values())), strict=True))
            finally:
                self._workers.close()
            for checked_number, checked in batch:
                self._check_image(checked, held, reported)
                for layer in checked.layers:
                    if last_image.get(layer.key) == checked_number:
                        held.pop(layer.key, None)
            batch, wanted = [], {}

    def _scan(self, layer: LayerUse) -> _Scanned:
        """Reads a layer and makes its index. It adds no findings, since several threads call it."""
        blob = layer.blob
        assert blob is not None
        try:
            if blob.digest is not None and not _is_registered(blob.digest):  # it cannot be verified: read it as if unnamed
                blob = blob.with_digest(None) if isinstance(blob, FileBlob) else BytesBlob(b"".join(blob.chunks()))
            algorithm = layer.diff_id.algorithm if layer.diff_id is not None and _is_registered(layer.diff_id) else "sha256"
            return _Scanned(self._workers.index(blob, "hashed", algorithm=algorithm).found, None, blob.size)
        except DAMAGE as error:
            return _Scanned(None, error, blob.size)

    def _check_image(self, image: ImageToCheck, held: dict[str, _Scanned], reported: set[str]) -> None:
        """Checks the layers of an image, the lowest first. `held`: the layers that were read, by key. `reported`: the keys of
        layers whose own rules were checked, in this image or an earlier one; this method adds to it."""
        tree: Tree | None = Tree(())  # the merged lower layers; built only if a rule needs it, which is rare. None: unknown
        below: list[LayerIndex] = []
        for number, layer in enumerate(image.layers):
            scanned = held.get(layer.key) if layer.blob is not None else None
            if scanned is None:
                tree = None  # above a layer that was not read, no merged tree is known
                continue
            self.task.check()
            first = layer.key not in reported
            reported.add(layer.key)
            if first:
                self.reader.blobs += 1
                self.reader.bytes += scanned.size
                self._check_compression(layer)
            index = scanned.layer_index
            if index is None:
                assert scanned.error is not None
                self.findings.damage(scanned.error, layer.subject, "layer-damaged")
                tree = None
                continue
            checkable = layer.diff_id is not None and self.findings.is_checkable(layer.diff_id, layer.subject)
            if checkable and index.diff_id != layer.diff_id:
                self.findings.error("diff-id", layer.subject, f"unpacks to {index.diff_id}, stated is {layer.diff_id}")
            rules = TarRules(index)
            if first:
                self.reader.layers += 1
                self.reader.entries += len(index)
                rules.check_alone()
            below.append(index)
            if tree is not None and rules.needs_tree(len(below) > 1):
                try:
                    for lower in below[len(tree.indexes) : -1]:
                        tree.add(lower)
                    rules.check_on(tree)
                except UnsafeError:
                    tree = None  # the rules of the layer by itself report this
            for content in volume_content(index, number, image.volumes):
                if (found := (layer.key, content.volume)) not in self._reported_volumes:
                    self._reported_volumes.add(found)
                    self.findings.warn("volume-content", layer.subject, str(content))
            for (rule, text), (count, path) in rules.violations.items():
                add = self.findings.error if rule in ERRORS else self.findings.warn
                add(rule, layer.subject, counted(text, count, path))

    def _check_compression(self, layer: LayerUse) -> None:
        """Adds a finding if the media type states another compression than the first bytes have."""
        if layer.media_type is None or layer.blob is None:
            return
        stated = mediatypes.layer_codec(layer.media_type)
        if stated is not None and layer.blob.size and codecs.detected(layer.blob) != stated:
            self.findings.warn(
                "media-type", layer.subject, f"{layer.media_type} states {stated}, the bytes are {codecs.detected(layer.blob)}"
            )


def _is_registered(digest: Digest) -> bool:
    """Returns whether the digest has an algorithm that can be computed."""
    return digest.algorithm in ("sha256", "sha512")
