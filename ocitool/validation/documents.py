"""Reads, hashes, parses and counts the documents and blobs of a source, each once."""

from __future__ import annotations

from typing import Any, NamedTuple

from ocitool import limits
from ocitool.blob import Blob, BytesBlob, FileBlob
from ocitool.digest import Digest, verified
from ocitool.errors import FormatError, LimitError
from ocitool.images.declared_volumes import DeclaredVolumes
from ocitool.spec.document import parse, parse_object
from ocitool.spec.manifest import Config, Descriptor
from ocitool.task import Task
from ocitool.transports.source import Source
from ocitool.validation.findings import DAMAGE, Findings


class LayerUse(NamedTuple):
    """A layer in an image. `blob`: None if it is missing or must not be unpacked. `key`: equal for layers that are read
    only once."""

    subject: str
    blob: Blob | None
    media_type: str | None
    diff_id: Digest | None
    key: str


class ImageToCheck(NamedTuple):
    """An image whose layers are still to be checked. `subject`: how findings name it; `volumes`: those that it declares."""

    subject: str
    layers: tuple[LayerUse, ...]
    volumes: DeclaredVolumes


_CACHED = 16 * limits.MiB
"""Bytes of configurations that are kept, since other images may have the same."""


class ValidationReader:
    """Reads for all parts of a validation, and has what they share: the source, the findings, counts, and the images found
    so far.

    A method that returns None has added a finding that says why.
    """

    def __init__(self, source: Source, task: Task) -> None:
        self.source = source
        self.task = task
        self.findings = Findings()
        self.images: list[ImageToCheck] = []
        self.documents = self.blobs = self.layers = self.entries = self.bytes = 0
        self.hashed: set[Digest] = set()
        self.named: set[Digest] = set()
        """Digests that descriptors name."""
        self.unnamed = 0
        self.unread = False
        """A document could not be read, so that more digests may be named."""
        self._configs: dict[tuple[str, bytes], Config] = {}

    def parsed(self, kind: str, raw: bytes, subject: str) -> Any:
        """Returns the value of a document of the archive or layout itself, None if it does not match its schema."""
        self.documents += 1
        try:
            value = parse(raw, subject, limits.STORE)
        except (FormatError, LimitError) as error:
            self.findings.damage(error, subject, "document")
            return None
        return value if self.findings.schema(kind, value, subject) else None

    def config(self, raw: bytes, subject: str) -> Config | None:
        """Returns the configuration with these bytes. It is checked once: thousands of images may share one of several
        MiB."""
        self.documents += 1
        if (known := self._configs.get((subject, raw))) is not None:
            return known
        try:
            fields = parse_object(raw, subject)
        except (FormatError, LimitError) as error:
            self.findings.damage(error, subject, "document")
            return None
        self.findings.schema("config", fields, subject)
        config = Config(raw, fields)
        self.findings.config(config, subject)
        self._configs[subject, raw] = config
        while sum(len(one) for _, one in self._configs) > _CACHED and len(self._configs) > 1:
            del self._configs[next(iter(self._configs))]
        return config

    def paired_diff_ids(self, config: Config, layers: int, subject: str) -> tuple[Digest | None, ...]:
        """Returns the diff_ids if there is one for each layer, else an empty tuple. Adds findings if the number of diff_ids or
        of history entries is not that of the layers."""
        made = [entry for entry in config.history if not entry.empty_layer]
        if config.history and len(made) != layers:
            self.findings.warn("history", subject, f"{len(made)} layers in the history, {layers} in the image")
        if len(config.diff_ids) != layers:
            self.findings.error("layer-count", subject, f"{layers} layers, {len(config.diff_ids)} diff_ids")
            return ()
        return config.diff_ids

    def blob(self, one: Descriptor, subject: str) -> Blob | None:
        """Returns the unread blob of a descriptor, or its embedded data; None if there is neither. Checks its size."""
        self.named.add(one.digest)
        blob = self.source.blob(one)
        if blob is None:
            try:
                data = one.embedded()
            except FormatError as error:
                self.findings.error("embedded-data", subject, error.what)
                return None
            blob = BytesBlob(data, one.digest) if data is not None else None
        if blob is not None and blob.size != one.size:
            self.findings.error("size", subject, f"{blob.size} bytes where {one.size} are stated")
        return blob

    def document(self, one: Descriptor, subject: str, missing: dict[str, str]) -> bytes | None:
        """Returns the verified bytes of a document; None if it is missing, which is then in `missing`, or does not match
        its digest."""
        try:
            blob = self.blob(one, subject)
            if blob is None:
                missing[subject] = f"the blob {one.digest} is not here"
                self.unread = True
                return None
            if blob.size > limits.DOCUMENT_SIZE:
                raise LimitError(f"a document of {blob.size} bytes, more than {limits.DOCUMENT_SIZE}")
            digest = one.digest if self.findings.is_checkable(one.digest, subject) else None
            raw = b"".join(verified(blob.chunks(), digest, blob.size))
        except DAMAGE as error:
            self.findings.damage(error, subject, "document")
            self.unread = True
            return None
        if one.digest not in self.hashed:
            self.hashed.add(one.digest)
            self.blobs += 1
            self.bytes += len(raw)
        return raw

    def hash(self, blob: Blob, layer: Descriptor, subject: str) -> None:
        """Hashes a blob that is not unpacked, and adds a finding if it does not match its digest."""
        if layer.digest in self.hashed or not self.findings.is_checkable(layer.digest, subject):
            return
        self.hashed.add(layer.digest)
        try:
            for chunk in verified(blob.chunks(), layer.digest, None):
                self.task.check()
                self.bytes += len(chunk)
            self.blobs += 1
        except DAMAGE as error:
            self.findings.damage(error, subject, "digest")


def layer_key(blob: Blob | None, diff_id: Digest | None) -> str:
    """Returns a key that is equal for layers that need only one read."""
    if blob is None:
        return ""
    name = str(blob.digest) if blob.digest is not None else blob.identity or _place(blob)
    return f"{diff_id.algorithm if diff_id is not None else 'sha256'} {name}"


def _place(blob: Blob) -> str:
    """Returns a key for a blob without digest: its place in the archive."""
    return f"{blob.offset}:{blob.size}" if isinstance(blob, FileBlob) else f"memory {id(blob)}"
