"""An unpacked image in a directory that `unpack` made: its documents, and where the blobs that they name can be found.

The directory may have been changed since, so its documents are checked like any others: the manifest must have the digest
that was recorded, the configuration the digest that the manifest names.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from ocitool import limits
from ocitool.atomic import anonymous_temporary
from ocitool.blob import Blob, BytesBlob, FileBlob, missing_blob, unreadable
from ocitool.digest import Digest
from ocitool.directories import OpenDirectory
from ocitool.errors import FormatError, IntegrityError, NotFoundError, UnsafeError, UnsupportedError
from ocitool.images import select
from ocitool.images.image import Image, from_manifest
from ocitool.operations.unpack.editable import SCHEMA, VERSION
from ocitool.pipeline.fallback_blobs import FallbackBlobs
from ocitool.pipeline.image_writer import ImageWriter
from ocitool.pipeline.session import Session
from ocitool.reference import Transport
from ocitool.spec.document import parse_object
from ocitool.spec.manifest import Descriptor, Index, Manifest, read
from ocitool.transports.layout import opened_file
from ocitool.transports.source import ArchiveNames, DockerImageRecord, SilentUntilOpened

_UNPACK_AGAIN = "unpack the image again"


class UnpackedImage(NamedTuple):
    """The content of the folder `image`. `root`: the directory of the file system, open. `reference`: the reference that
    was unpacked, None for standard input."""

    directory: str
    root: OpenDirectory
    descriptor: Descriptor | None
    """The descriptor of the manifest; None for an image of a docker archive, which has no manifest."""
    manifest: Manifest | None
    config: bytes
    reference: str | None
    tags: tuple[str, ...]

    @property
    def rootfs(self) -> str:
        """The path of the file system."""
        return os.path.join(self.directory, "rootfs")

    @property
    def snapshot(self) -> str:
        """The path of the snapshot."""
        return os.path.join(self.directory, "image", "snapshot")


def open_unpacked(directory: str) -> UnpackedImage:
    """Opens an unpacked image. Raises `NotFoundError` for any other directory, `FormatError` or `IntegrityError` for
    changed documents."""
    folder = os.path.join(directory, "image")
    where = os.path.join(folder, "reference.json")
    if not os.path.exists(where):
        above = os.path.dirname(os.path.abspath(directory))
        if os.path.exists(os.path.join(above, "image", "reference.json")):
            raise NotFoundError("a part of an unpacked image", directory, hint=f"name the directory above it: {above}")
        raise NotFoundError("not an unpacked image", directory, hint="ocitool unpack REF DIR makes one")
    fields = parse_object(_document(where), where)
    version = fields.get("version")
    if fields.get("schema") != SCHEMA:
        raise FormatError("it does not say where the image came from", where, hint=_UNPACK_AGAIN)
    if version != VERSION or isinstance(version, bool):
        raise UnsupportedError(f"unpacked by another version than {VERSION}", where, hint=_UNPACK_AGAIN)
    reference, tags = fields.get("reference"), fields.get("tags")
    valid = isinstance(tags, list) and all(isinstance(tag, str) for tag in tags)
    if not (reference is None or isinstance(reference, str)) or not isinstance(tags, list) or not valid:
        raise FormatError("it does not say where the image came from", where, hint=_UNPACK_AGAIN)
    root = _root(os.path.join(directory, "rootfs"))
    config = _document(os.path.join(folder, "config.json"))
    descriptor, manifest = _manifest(folder, fields.get("manifestDescriptor"))
    if manifest is not None and _digest(config, manifest.config.digest) != manifest.config.digest:
        raise IntegrityError("the configuration is not the manifest's", folder, hint="ocitool edit changes configurations")
    return UnpackedImage(directory, root, descriptor, manifest, config, None if reference == "-" else reference, tuple(tags))


def _root(path: str) -> OpenDirectory:
    """Opens the directory of the file system. It is used by its descriptor from now on, even if it is renamed meanwhile."""
    try:
        return OpenDirectory(path, os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC))
    except OSError as error:
        if os.path.islink(path):
            raise UnsafeError(
                "the root is a symbolic link, which may lead to any directory", path,
                hint="a directory moved elsewhere can be mounted there (mount --bind)",
            ) from None  # fmt: skip
        raise unreadable(path, error) from None


def _manifest(folder: str, stated: Any) -> tuple[Descriptor | None, Manifest | None]:
    """Returns the manifest and its descriptor, checked against the one that was recorded; None, None if there was none."""
    if stated is None:
        return None, None
    where = os.path.join(folder, "manifest.json")
    raw = _document(where)
    media_type = stated.get("mediaType") if isinstance(stated, dict) else None
    if not isinstance(media_type, str):
        raise FormatError("it does not say which manifest was unpacked", folder, hint=_UNPACK_AGAIN)
    digest = Digest.parse(stated.get("digest"))
    if _digest(raw, digest) != digest:
        raise IntegrityError("the manifest is not the one that was unpacked", where, hint=_UNPACK_AGAIN)
    document = read(raw, where, media_type)
    if isinstance(document, Index):
        raise FormatError("an index, where a manifest is needed", where, hint=_UNPACK_AGAIN)
    fields = {"mediaType": media_type, "digest": str(digest), "size": len(raw)}
    return Descriptor(media_type, digest, len(raw), fields), document


def _digest(data: bytes, like: Digest) -> Digest:
    like.hasher()  # an algorithm that cannot be checked is refused
    return Digest.of(data, like.algorithm)


def _document(path: str) -> bytes:
    file = opened_file(path)
    if file.size > limits.DOCUMENT_SIZE:
        raise FormatError(f"a document of {file.size} bytes", path, hint=_UNPACK_AGAIN)
    return b"".join(FileBlob(file, 0, file.size).chunks())


_ELSEWHERE = "--source REF names an archive or layout that has the image's layers"


class UnpackedBlobs(SilentUntilOpened):
    """A source with the blobs of an unpacked image: those of the destination, else those of `references`, in that order.

    Blobs are not verified here: the writer hashes them.
    """

    def __init__(self, unpacked: UnpackedImage, references: Sequence[str], writer: ImageWriter, session: Session) -> None:
        self.unpacked = unpacked
        self.where = unpacked.directory
        self.transport = Transport("unpacked", None, directory=True)
        self.remote = False
        self.index: Index | None = None
        self.records: tuple[DockerImageRecord, ...] = ()
        self.names: dict[Digest, ArchiveNames] = {}
        self.tell = session.task.notice
        self._references = references
        self._writer = writer
        self._session = session
        self._opened: list[_BlobSource] | None = None

    def find_index(self) -> None:
        """Sets the index in which referrers of the image may be: that of the first reference that has one."""
        self.index = next((one.source.index for place in self._sources for one in place.opened if one.source.index), None)

    def blob(self, descriptor: Descriptor) -> Blob | None:
        """Returns a blob, unverified: from the destination if it is sound there, else from the first reference that has
        it."""
        digest, manifest = descriptor.digest, self.unpacked.manifest
        if manifest is not None and digest == manifest.config.digest:
            return BytesBlob(self.unpacked.config, digest)
        size = next((layer.size for layer in manifest.layers if layer.digest == digest), None) if manifest else None
        there = self._writer.blobs.at_destination(digest)
        if size is None:
            return there
        sound = self._writer.blobs.verified_blob(digest, size)
        if sound is not None:
            return sound
        for place in self._sources:
            found = place.blob(digest, size)
            if found is not None:
                return found
        return there if there is not None and there.size == size else None  # it is damaged: reading it raises an error

    def image(self) -> Image:
        """Returns the image that was unpacked, with its layers. Raises `NotFoundError` if one is not found."""
        unpacked = self.unpacked
        if unpacked.manifest is None or unpacked.descriptor is None:
            return self._record()._replace(tags=unpacked.tags)
        image = from_manifest(self, unpacked.descriptor, unpacked.manifest, unpacked.tags)
        for layer, stated in zip(image.layers, unpacked.manifest.layers, strict=True):
            if layer.blob is None and not stated.urls:
                raise missing_blob("layer", layer.digest, self.where, hint=_ELSEWHERE)
        return image

    def _record(self) -> Image:
        """Returns the image of a docker archive, which has no manifest: the one with this configuration in the
        references."""
        for place in self._sources:
            for opened in place.opened:
                for target in select.targets(opened._replace(selector=None)):
                    if target.image is not None and target.image.config.raw == self.unpacked.config:
                        return target.image
        raise NotFoundError("the image's layers are not here", self.where, hint=_ELSEWHERE)

    @property
    def _sources(self) -> list[_BlobSource]:
        """The references, opened when the destination lacks the first blob."""
        if self._opened is None:
            self._opened = list(self._open())
        return self._opened

    def _open(self) -> Iterator[_BlobSource]:
        for reference in self._references:
            try:
                yield _BlobSource(reference, self._session)
            except NotFoundError as error:
                if reference != self.unpacked.reference:
                    raise
                self._session.task.notice("source", f"where the image came from is gone: {error}")


class _BlobSource(FallbackBlobs):
    """The blobs of one reference."""

    def __init__(self, reference: str, session: Session) -> None:
        super().__init__((reference,), session, anonymous_temporary)

    @property
    def opened(self) -> list[Any]:
        return self._opened
