"""Writes archives that are an OCI layout and a `docker save` archive in one tar.

docker load, podman load and both archive transports of skopeo read it. Every name is fully qualified in the three
places in which readers look for it (RepoTags, ref.name, containerd's name): of a bare tag they make different names.
The same images give the same bytes: they contain no times, owners or order of this run.

An archive with omitted blobs has no `manifest.json`, so that engines refuse it, and lists the missing digests in
`index.json`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any

from ocitool import limits, reference
from ocitool.atomic import THREAD_SIZE, SpooledBlob, Temporary, sweep, write_all
from ocitool.blob import Blob, BytesBlob, expected_sizes, is_small_remote, label, stream_once
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
"""The annotation of index.json with the digests that the archive leaves out, separated by commas."""

_BLOCK = 512


class ArchiveSink(StatelessSink):
    """An archive file. `force`: an existing file is replaced as a whole. `compression`: the codec of the archive
    itself."""

    def __init__(self, path: str, *, force: bool = False, compression: str = "none") -> None:
        self.where = path
        self._force = force
        self._compression = compression
        try:
            self._parent, self._name = _new_file(path, force=force)
        except DestinationError:
            sweep(os.path.dirname(path) or ".")  # a complete archive may have a temporary name left, too
            raise
        sweep(self._parent)

    def write(self, request: WriteRequest, task: Task, *, verify: bool) -> WriteOutcome:
        """Writes the archive. If a blob of an optional image cannot be read, it begins again without the images that
        need it."""
        losses = Losses(request.roots)
        writable = request
        while not self._try_write(writable, losses, task):
            writable = request.writable(losses)
            if not writable.roots:
                break
        return losses.outcome((), verified=True)

    def _try_write(self, request: WriteRequest, losses: Losses, task: Task) -> bool:
        """Returns whether the archive was written; if not, `losses` has a new entry."""
        _notice_unloadable_names(request, task)
        temporary = Temporary(self._parent, private=self._force and self._parent.stat(self._name) is not None)
        try:
            if self._compression == "none":
                _copy(request, temporary, task, losses)
            else:
                for chunk in _compressed_stream(request, self._compression, task, losses):
                    temporary.write(chunk)
            if self._force:
                keep_mode(temporary, self._name)
                temporary.replace(self._name)
            else:
                temporary.place(self._name)
        except _BlobLost:
            return False
        finally:
            temporary.discard()
        return True


def write_problem(path: str, *, force: bool) -> DestinationError | None:
    """Returns why no archive can be written at a path; None if one can."""
    try:
        _new_file(path, force=force)
    except DestinationError as error:
        return error
    return None


def _new_file(path: str, *, force: bool) -> tuple[OpenDirectory, str]:
    """Returns what `new_file` returns, for a path that is not a directory."""
    if os.path.isdir(path):
        raise DestinationError("a directory, where an archive is to be written", path, hint=f"oci:{path}")
    return new_file(path, force=force)


class StandardOutput(StatelessSink):
    """An archive on standard output. It is written while it is made, so a reader must not use it before the command
    ended with exit code 0."""

    where = "-"

    def __init__(self) -> None:
        if sys.stdout is not None and sys.stdout.isatty():
            raise UsageError("standard output is a terminal", hint="redirect the archive: ocitool ... - > image.tar")

    def write(self, request: WriteRequest, task: Task, *, verify: bool) -> WriteOutcome:
        _notice_unloadable_names(request, task)
        for chunk in archive_stream(request, task):
            write_all(1, chunk, "standard output")
        return WriteOutcome(frozenset(), True)


class _BlobLost(Exception):
    """A blob of the archive cannot be read; it was added to the losses."""


def _compressed_stream(request: WriteRequest, codec: str, task: Task, losses: Losses) -> Iterator[bytes]:
    from ocitool.layers import compress

    return compress.compress(archive_stream(request, task, losses), compress.parse(codec), task)


def _copy(request: WriteRequest, temporary: Temporary, task: Task, losses: Losses) -> None:
    """Writes the members. Large and remote blobs are written concurrently, since the offset of each member is known
    before its bytes are. Spooled blobs are copied by the kernel, one after the other."""
    members = list(_members(request))
    task.expect(expected_sizes(blob for _, blob in members), anew=True)
    concurrent: list[tuple[int, Blob]] = []

    def write_at(offset: int, blob: Blob) -> None:
        request.write_any(blob, lambda one: temporary.write_blob_at(offset, one, task), task)

    for header, blob in members:
        temporary.write(header)
        if blob is None:
            continue
        if isinstance(blob, SpooledBlob):
            temporary.append_blob(blob, task)
        elif blob.remote or blob.size >= THREAD_SIZE:
            concurrent.append((temporary.skip(blob.size), blob))
        else:
            write_at(temporary.skip(blob.size), blob)
        temporary.write(bytes(-blob.size % _BLOCK))
    temporary.write(tarwriter.END)
    concurrent.sort(key=lambda one: -one[1].size)

    def try_write_at(one: tuple[int, Blob]) -> bool:
        offset, blob = one
        try:
            write_at(offset, blob)
        except OcitoolError as error:
            if blob.digest is None:  # a document, such as index.json
                raise
            losses.blob(blob.digest, error)
            return False
        return True

    if not all(task.map(try_write_at, concurrent, lambda one: is_small_remote(one[1]))):
        raise _BlobLost


def archive_stream(request: WriteRequest, task: Task, losses: Losses | None = None) -> Iterator[bytes]:
    """Yields the bytes of the archive, whose blobs are verified as they are read. Raises what reading them raises; with
    `losses`, `_BlobLost` for one of an optional image."""
    members = list(_members(request))
    task.expect(expected_sizes(blob for _, blob in members), anew=True)
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
                raise _BlobLost from None
            yield bytes(-blob.size % _BLOCK)
    yield tarwriter.END


def _members(request: WriteRequest) -> Iterator[tuple[bytes, Blob | None]]:
    """Yields the header of each member, and its blob unless it is a directory. Documents come first, so that a reader
    of a pipe knows what follows. Raises `LimitError` before the first one if the archive would have too many members to
    be read again."""
    documents = {"oci-layout": LAYOUT_FILE, "index.json": _index(request)}
    if not request.omitted and any(root.loaded is not None for root in request.roots):
        documents["manifest.json"] = _docker_manifest(request.roots)
    algorithms = sorted({blob.digest.algorithm for blob in request.blobs if blob.digest})
    count = len(documents) + 1 + len(algorithms) + len(request.blobs)
    if count > limits.ARCHIVE_MEMBERS:
        raise LimitError(f"an archive of {count} members would come out, more than {limits.ARCHIVE_MEMBERS}")
    for name, raw in documents.items():
        yield _file(name, BytesBlob(raw))
    yield _directory("blobs")
    for algorithm in algorithms:
        yield _directory(f"blobs/{algorithm}")
    for blob in request.blobs:
        assert blob.digest is not None
        yield _file(f"blobs/{blob.digest.algorithm}/{blob.digest.encoded}", blob)


def _file(name: str, blob: Blob) -> tuple[bytes, Blob]:
    return tarwriter.header(Entry(name.encode(), Kind.FILE, 0o644, 0, 0, 0, blob.size)), blob


def _directory(name: str) -> tuple[bytes, None]:
    return tarwriter.header(Entry(name.encode(), Kind.DIRECTORY, 0o755, 0, 0, 0, 0)), None


def _index(request: WriteRequest) -> bytes:
    entries: list[dict[str, Any]] = []
    known: dict[tuple[str, str | None], list[dict[str, Any]]] = {}
    for root in request.roots:
        for name in root.names or (None,):
            entry = with_names(root.descriptor, _names(name) if name else {})
            same = known.setdefault((entry["digest"], reference.canonical(name) if name else None), [])
            if entry not in same:
                same.append(entry)
                entries.append(entry)
    fields: dict[str, Any] = {"schemaVersion": 2, "mediaType": mediatypes.OCI_INDEX, "manifests": entries}
    if request.omitted:
        fields["annotations"] = {OMITTED: ",".join(str(digest) for digest in request.omitted)}
    return serialised(fields, limits.STORE)


def _names(name: str) -> dict[str, str]:
    full = reference.canonical(name)
    return {REF_NAME: full} if reference.is_bare(name) else {REF_NAME: full, CONTAINERD_NAME: full}


def _notice_unloadable_names(request: WriteRequest, task: Task) -> None:
    """Sends a notice for each name that manifest.json cannot have. Bare tags, which name no repository, are never in it
    and need no notice."""
    names = [reference.canonical(name) for root in request.roots if root.loaded is not None for name in root.names]
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
