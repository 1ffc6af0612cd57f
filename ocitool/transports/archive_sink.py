"""Writing the universal archive: an OCI layout and a `docker save` archive in one tar.

docker load, podman load and skopeo by both of its archive transports read it. Every name stands fully qualified in all three
places where a reader may look (RepoTags, ref.name, containerd's name): with a bare tag they load different things. The same
images give the same bytes: no time, owner or order of this run is in it.

An archive that leaves blobs out has no `manifest.json`, so that engines refuse it, and says in `index.json` what is missing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any

from ocitool import limits, reference
from ocitool.atomic import THREAD_SIZE, SpooledBlob, Temporary, sweep, write_all
from ocitool.blob import Blob, BytesBlob, expected, label, stream_once
from ocitool.digest import Digest, verified
from ocitool.directories import OpenDirectory
from ocitool.errors import DestinationError, LimitError, OcitoolError, UsageError
from ocitool.layers import tarwriter
from ocitool.layers.entry import Entry, Kind
from ocitool.spec import mediatypes
from ocitool.spec.document import serialised
from ocitool.spec.manifest import CONTAINERD_NAME, REF_NAME, with_names
from ocitool.task import Task
from ocitool.transports.layout import LAYOUT_FILE
from ocitool.transports.outputs import keep_mode, new_file
from ocitool.transports.sink import Losses, OutputImage, StatelessSink, WriteOutcome, WriteRequest

OMITTED = "org.ocitool.omitted"
"""The annotation of index.json that lists the digests which an archive leaves out, comma-separated."""

_BLOCK = 512


class ArchiveSink(StatelessSink):
    """An archive file. `force`: an old one is replaced, whole; `compression`: of the archive itself."""

    def __init__(self, path: str, *, force: bool = False, compression: str = "none") -> None:
        self.where = path
        self._force = force
        self._compression = compression
        try:
            self._at, self._name = _place(path, force=force)
        except DestinationError:
            sweep(os.path.dirname(path) or ".")  # also if the archive is complete, and only its second name was left
            raise
        sweep(self._at)

    def write(self, bundle: WriteRequest, task: Task, *, verify: bool) -> WriteOutcome:
        """If a blob of one of many images cannot be had, the archive is begun again without those that need it."""
        losses = Losses(bundle.roots)
        left = bundle
        while not self._written(left, losses, task):
            left = bundle.left(losses)
            if not left.roots:
                break
        return losses.outcome((), verified=True)

    def _written(self, bundle: WriteRequest, losses: Losses, task: Task) -> bool:
        """Whether it could be; if not, `losses` has grown."""
        _tell_unloadable(bundle, task)
        temporary = Temporary(self._at, private=self._force and self._at.stat(self._name) is not None)
        try:
            if self._compression == "none":
                _copy(bundle, temporary, task, losses)
            else:
                for piece in _compressed(bundle, self._compression, task, losses):
                    temporary.write(piece)
            if self._force:
                keep_mode(temporary, self._name)
                temporary.replace(self._name)
            else:
                temporary.place(self._name)
        except _Lost:
            return False
        finally:
            temporary.discard()
        return True


def refused(path: str, *, force: bool) -> DestinationError | None:
    """Why no archive can be written here; None where one can."""
    try:
        _place(path, force=force)
    except DestinationError as error:
        return error
    return None


def _place(path: str, *, force: bool) -> tuple[OpenDirectory, str]:
    """As `new_file`."""
    if os.path.isdir(path):
        raise DestinationError("a directory, where an archive is to be written", path, hint=f"oci:{path}")
    return new_file(path, force=force)


class StandardOutput(StatelessSink):
    """The archive on standard output, as it is made: what reads it must not believe it before the end."""

    where = "-"

    def __init__(self) -> None:
        if sys.stdout is not None and sys.stdout.isatty():
            raise UsageError("standard output is a terminal", hint="redirect the archive: ocitool ... - > image.tar")

    def write(self, bundle: WriteRequest, task: Task, *, verify: bool) -> WriteOutcome:
        _tell_unloadable(bundle, task)
        for piece in _pieces(bundle, task):
            write_all(1, piece, "standard output")
        return WriteOutcome(frozenset(), True)


class _Lost(Exception):
    """A blob of the archive cannot be had, and is among the losses."""


def _compressed(bundle: WriteRequest, codec: str, task: Task, losses: Losses) -> Iterator[bytes]:
    from ocitool.layers import compress

    return compress.compress(_pieces(bundle, task, losses), compress.parse(codec), task)


def _copy(bundle: WriteRequest, temporary: Temporary, task: Task, losses: Losses) -> None:
    """Large blobs and what comes over a network several at a time: where each member stands is known before its bytes are. What
    was made here is copied by the kernel, one after the other."""
    members = list(_members(bundle))
    task.expect(expected(blob for _, blob in members), anew=True)
    coming: list[tuple[int, Blob]] = []

    def take(offset: int, blob: Blob) -> None:
        bundle.sound(blob, lambda one: temporary.write_blob_at(offset, one, task), task)

    for header, blob in members:
        temporary.write(header)
        if blob is None:
            continue
        if isinstance(blob, SpooledBlob):
            temporary.append_blob(blob, task)
        elif blob.remote or blob.size >= THREAD_SIZE:
            coming.append((temporary.skip(blob.size), blob))
        else:
            take(temporary.skip(blob.size), blob)
        temporary.write(bytes(-blob.size % _BLOCK))
    temporary.write(tarwriter.END)
    coming.sort(key=lambda one: -one[1].size)

    def had(one: tuple[int, Blob]) -> bool:
        offset, blob = one
        try:
            take(offset, blob)
        except OcitoolError as error:
            if blob.digest is None:  # a long list of names
                raise
            losses.blob(blob.digest, error)
            return False
        return True

    if not all(task.map(had, coming)):
        raise _Lost


def _pieces(bundle: WriteRequest, task: Task, losses: Losses | None = None) -> Iterator[bytes]:
    members = list(_members(bundle))
    task.expect(expected(blob for _, blob in members), anew=True)
    for header, blob in members:
        yield header
        if blob is not None:
            name = label(blob)
            try:
                for chunk in verified(stream_once(blob), blob.digest, blob.size):
                    task.check()
                    task.advance(name, len(chunk), blob.size)
                    yield chunk
            except OcitoolError as error:
                if losses is None or blob.digest is None:
                    raise
                losses.blob(blob.digest, error)
                raise _Lost from None
            yield bytes(-blob.size % _BLOCK)
    yield tarwriter.END


def _members(bundle: WriteRequest) -> Iterator[tuple[bytes, Blob | None]]:
    """Documents first: who reads the archive from a pipe knows at once what comes. Raises `LimitError` before the first one for
    an archive that could not be read again."""
    documents = {"oci-layout": LAYOUT_FILE, "index.json": _index(bundle)}
    if not bundle.omitted and any(root.loaded is not None for root in bundle.roots):
        documents["manifest.json"] = _docker_manifest(bundle.roots)
    algorithms = sorted({blob.digest.algorithm for blob in bundle.blobs if blob.digest})
    count = len(documents) + 1 + len(algorithms) + len(bundle.blobs)
    if count > limits.ARCHIVE_MEMBERS:
        raise LimitError(f"an archive of {count} members would come out, more than {limits.ARCHIVE_MEMBERS}")
    for name, raw in documents.items():
        yield _file(name, BytesBlob(raw))
    yield _directory("blobs")
    for algorithm in algorithms:
        yield _directory(f"blobs/{algorithm}")
    for blob in bundle.blobs:
        assert blob.digest is not None
        yield _file(f"blobs/{blob.digest.algorithm}/{blob.digest.encoded}", blob)


def _file(name: str, blob: Blob) -> tuple[bytes, Blob]:
    return tarwriter.header(Entry(name.encode(), Kind.FILE, 0o644, 0, 0, 0, blob.size)), blob


def _directory(name: str) -> tuple[bytes, None]:
    return tarwriter.header(Entry(name.encode(), Kind.DIRECTORY, 0o755, 0, 0, 0, 0)), None


def _index(bundle: WriteRequest) -> bytes:
    entries: list[dict[str, Any]] = []
    known: dict[tuple[str, str | None], list[dict[str, Any]]] = {}
    for root in bundle.roots:
        for name in root.names or (None,):
            entry = with_names(root.descriptor, _names(name) if name else {})
            alike = known.setdefault((entry["digest"], reference.canonical(name) if name else None), [])
            if entry not in alike:
                alike.append(entry)
                entries.append(entry)
    fields: dict[str, Any] = {"schemaVersion": 2, "mediaType": mediatypes.OCI_INDEX, "manifests": entries}
    if bundle.omitted:
        fields["annotations"] = {OMITTED: ",".join(str(digest) for digest in bundle.omitted)}
    return serialised(fields, limits.STORE)


def _names(name: str) -> dict[str, str]:
    full = reference.canonical(name)
    return {REF_NAME: full} if reference.is_bare(name) else {REF_NAME: full, CONTAINERD_NAME: full}


def _tell_unloadable(bundle: WriteRequest, task: Task) -> None:
    """Of names that manifest.json cannot have; a bare tag, which names no repository, is left out of it as ever."""
    names = [reference.canonical(name) for root in bundle.roots if root.loaded is not None for name in root.names]
    for name in dict.fromkeys(names):
        if not reference.is_bare(name) and not reference.is_loadable(name):
            text = f"{name} stands in index.json alone: docker load would refuse an archive with this name"
            task.notice("name", text)


def _docker_manifest(roots: tuple[OutputImage, ...]) -> bytes:
    images: dict[Digest, dict[str, Any]] = {}
    for root in roots:
        loaded = root.loaded_image
        if loaded is None or loaded.image_id is None:
            continue
        layers = [_path(layer.digest) for layer in loaded.layers]
        image = images.setdefault(loaded.image_id, {"Config": _path(loaded.image_id), "RepoTags": [], "Layers": layers})
        image["RepoTags"] += [full for full in map(reference.canonical, root.names) if reference.is_loadable(full)]
    listed = [{**image, "RepoTags": list(dict.fromkeys(image["RepoTags"])) or None} for image in images.values()]
    return serialised(listed, limits.STORE)


def _path(digest: Digest) -> str:
    return f"blobs/{digest.algorithm}/{digest.encoded}"
