"""Writes into an OCI image layout, concurrently with other writers (see `layout_lock`).

A blob is written to a temporary file in the layout, hashed, synced and renamed. A blob that is there already is hashed
before it is relied on, unless there is a record of it (see `verifications`). `index.json` is renamed last. After a
crash there are at most blobs that no index names (`layout gc` removes them) and temporary files (the next writer
removes them).
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ocitool import limits
from ocitool.atomic import Partial, SpooledBlob, Temporary, sweep, unwritable, write_document
from ocitool.blob import Blob, FileBlob, expected_sizes, is_small_remote, label, unreadable
from ocitool.digest import Digest, verified
from ocitool.directories import OpenDirectory, located
from ocitool.errors import DestinationError, IntegrityError, OcitoolError
from ocitool.interrupts import undisturbed
from ocitool.reference import canonical
from ocitool.spec import mediatypes
from ocitool.spec.document import serialised
from ocitool.spec.manifest import CONTAINERD_NAME, REF_NAME, Descriptor, Index, read, string_members, with_names
from ocitool.task import Task
from ocitool.transports import layout
from ocitool.transports.layout_lock import LayoutLock
from ocitool.transports.sink import DryRunSink, Losses, OutputImage, WriteOutcome, WriteRequest, would_replace_index
from ocitool.transports.verifications import Verifications, is_settled, now

_ATTEMPTS = 20


class LayoutSink:
    def __init__(self, directory: str, task: Task, *, replaces_index: bool = False, cached: bool = False) -> None:
        """Opens a layout, or makes one in a directory that is absent or empty. `replaces_index`: an image may replace
        an index under a name. `cached`: records of blobs in the cache directory are used."""
        self.where = directory
        self._task = task
        self._replaces_index = replaces_index
        self._records = Verifications(directory, cached=cached)
        self._sound: dict[Digest, bool] = {}
        """Blobs that were verified in this run, and whether their bytes matched their digests."""
        self._written: dict[Digest, os.stat_result] = {}
        """Blobs that were hashed while this run wrote them, and the status of their files when these got their names."""
        self._made: tuple[str, ...] = ()
        self._lock: LayoutLock | None = None
        self._folders: dict[str, OpenDirectory] = {}
        """The open directories of blobs by algorithm: blobs are written to these, not to a path."""
        self._has_fetched = False
        try:
            self._lock_layout(task)
            sweep(self._at)
            # An index that cannot be read cannot be merged with: fail before anything is written.
            self._index = self._read_index()
        except BaseException:
            self.close()
            raise

    def _lock_layout(self, task: Task) -> None:
        """Locks the layout and makes what it lacks. If another writer made it, failed and removed it before it could be
        locked, this begins again."""
        for attempt in range(_ATTEMPTS):
            try:
                with undisturbed():
                    self._parent, self._name, self._at, self._made = _prepare(self.where)
                    if "" in self._made:  # a new directory: other writers hold its lock only for a moment
                        self._lock = LayoutLock(self._at, task, exclusive=False)
                self._lock = self._lock or LayoutLock(self._at, task, exclusive=False)
            except DestinationError:
                if os.path.lexists(self.where) or write_problem(self.where) is not None or attempt == _ATTEMPTS - 1:
                    raise
                continue
            if self._lock.is_current() and self._has("oci-layout") and self._has("blobs"):
                return
            self._lock.close()
            self._lock, self._made = None, ()
        raise DestinationError("another process removed it while it was made", self.where)

    def _has(self, name: str) -> bool:
        return self._at.stat(name) is not None

    def _read_index(self) -> Index | None:
        return layout.Layout(self.where, self._at).index if self._has("index.json") else None

    def _folder(self, digest: Digest) -> OpenDirectory:
        """Returns the directory of a blob. Raises `OSError` if it is absent; `write` makes those that are needed."""
        found = self._folders.get(digest.algorithm)
        if found is None:
            found = self._folders[digest.algorithm] = self._at.below("blobs").below(digest.algorithm)
        return found

    def blob(self, digest: Digest) -> Blob | None:
        try:
            file = layout.file_in(self._folder(digest), digest.encoded)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise unreadable(layout.blob_path(self.where, digest), error) from None
        return FileBlob(file, 0, file.size, digest) if file is not None else None

    def verified_blob(self, digest: Digest, size: int, *, verify: bool) -> Blob | None:
        existing = self.blob(digest)
        return existing if existing is not None and existing.size == size and self._verify(existing, verify) else None

    def spool(self) -> Temporary:
        return Temporary(self._at)

    def tag_digest(self, name: str) -> Digest | None:
        return None

    def write(self, request: WriteRequest, task: Task, *, verify: bool) -> WriteOutcome:
        skipped: set[Digest] = set()
        losses = Losses(request.roots)
        self._merged_index(self._index, losses)  # refusals come before anything is written
        has_images = bool(request.roots)
        request = request.writable(losses) if losses else request
        self._make_folders({digest.algorithm for blob in request.blobs if (digest := blob.digest)})

        def put(blob: Blob) -> None:
            assert blob.digest is not None
            try:
                if not request.write_any(blob, lambda one: self._put(one, task, verify), task):
                    skipped.add(blob.digest)
            except OcitoolError as error:
                losses.blob(blob.digest, error)

        task.expect(expected_sizes(request.blobs), anew=True)
        task.map(put, sorted(request.blobs, key=lambda blob: -blob.size), is_small_remote)
        for folder in self._folders.values():
            folder.sync()  # the names of all blobs, before the index that lists them
        assert self._lock is not None
        if losses.writable() or not has_images:
            with self._lock.index():
                self._publish(losses)
            self._made = ()
        return losses.outcome(skipped, verified=True)

    def _put(self, blob: Blob, task: Task, verify: bool) -> bool:
        """Writes a blob; returns False if the layout had it already, intact."""
        digest = blob.digest
        assert digest is not None
        existing = self.blob(digest)
        damaged = False
        if existing is not None and existing.size == blob.size:
            if self._verify(existing, verify, is_expected=True):
                return False
            damaged = True
        if isinstance(blob, SpooledBlob) and blob.temporary.is_in(self._at):
            self._rename(blob.temporary, digest)
            task.advance(label(blob), blob.size, blob.size)
        else:
            try:
                if not blob.remote or not self._fetch(blob, digest, task):
                    self._copy(blob, digest, task)
            except OcitoolError as error:
                raise error.at(f"{self.where}: blob {digest}") from None
        if damaged:
            task.notice("damaged", f"{self.where}: the blob {digest} was damaged, and is replaced by a sound one")
        self._sound[digest] = True
        return True

    def _verify(self, existing: Blob, verify: bool, *, is_expected: bool = False) -> bool:
        """Returns whether the bytes of a blob in the layout match its digest. They are hashed unless this run did so
        before, or there is a record and not `verify`. `is_expected`: the progress total includes the blob."""
        digest, task = existing.digest, self._task
        assert digest is not None and isinstance(existing, FileBlob)
        known, folder = self._sound.get(digest), self._folder(digest)
        if known is None and not verify and self._records.has(digest, folder, existing.descriptor):
            known = self._sound[digest] = True
        if known is not None:
            if is_expected:
                task.unexpect(label(existing), existing.size)
            return known
        settled = is_settled(existing.descriptor)
        began, before, done = now(), os.fstat(existing.descriptor), 0
        try:
            for chunk in verified(existing.chunks(), digest, existing.size):
                task.check()
                done += len(chunk)
                task.advance(label(existing), len(chunk), existing.size)
        except IntegrityError:
            task.advance(label(existing), -done, existing.size)
            self._sound[digest] = False
            return False
        if settled:
            self._records.record(digest, folder, before, os.fstat(existing.descriptor), began)
        self._sound[digest] = True
        return True

    def _copy(self, blob: Blob, digest: Digest, task: Task) -> None:
        temporary = self.spool()
        try:
            temporary.append_blob(blob, task)
            self._rename(temporary, digest)
        finally:
            temporary.discard()

    def _rename(self, temporary: Temporary, digest: Digest) -> None:
        try:
            self._written[digest] = temporary.replace(digest.encoded, self._folder(digest), durable=False)
        except OSError as error:
            raise unwritable(layout.blob_path(self.where, digest), error) from None

    def _make_folders(self, algorithms: set[str]) -> None:
        for algorithm in algorithms:
            try:
                self._folders[algorithm] = self._at.make_below("blobs").make_below(algorithm)
            except OSError as error:
                raise unwritable(os.path.join(self.where, "blobs", algorithm), error) from None

    def _fetch(self, blob: Blob, digest: Digest, task: Task) -> bool:
        """Fetches a remote blob to a partial file, which a later attempt continues. Returns False if another process
        uses that file; then the blob is fetched to a temporary one."""
        try:
            partial = Partial(self._at, digest)
        except BlockingIOError:
            return False
        try:
            partial.fetch(blob, task)
            self._rename(partial, digest)
            self._has_fetched = True
            task.transferred("fetched", digest.short, blob.size)
        finally:
            self._has_fetched = self._has_fetched or partial.has_data
            partial.discard()
        return True

    def _publish(self, losses: Losses) -> None:
        old = self._read_index()
        raw = self._merged_index(old, losses)
        if old is None or raw != old.raw:
            write_document(self._at, "index.json", raw)
        if not layout.Layout(self.where, self._at).states_version():
            write_document(self._at, "oci-layout", layout.LAYOUT_FILE)
            self._task.notice("damaged", f"{self.where}: oci-layout was damaged, and is written anew")

    def _merged_index(self, old: Index | None, losses: Losses) -> bytes:
        return merge_checked(self.where, old, losses, replaces_index=self._replaces_index)

    def close(self) -> None:
        """Releases the locks. A layout that was made for a write that did not happen is removed, unless another writer
        uses it."""
        with undisturbed():
            made, self._made = self._made, ()
            self._record_written()
            self._records.save()
            if self._lock is None:
                if made:
                    _remove_made(self._parent, self._name, self._at, made)
                return
            # The exclusive lock comes first: before it, another writer may finish and write an index.
            # Partly fetched blobs are kept for the next attempt.
            if made and not self._has_fetched and self._lock.try_exclusive() and not self._has("index.json"):
                if "blobs" in made:
                    shutil.rmtree("blobs", dir_fd=self._at.descriptor, ignore_errors=True)
                _remove_made(self._parent, self._name, self._at, made)
            self._lock.close()

    def _record_written(self) -> None:
        written, self._written = self._written, {}
        for digest, placed in written.items() if self._records.cached else ():
            with contextlib.suppress(OSError, OcitoolError):
                existing = self.blob(digest)
                if isinstance(existing, FileBlob):
                    self._records.record_written(digest, self._folder(digest), placed, existing.descriptor, now())

    def __del__(self) -> None:
        if hasattr(self, "_lock"):
            self.close()


class DryRunLayoutSink(DryRunSink):
    """A layout to which nothing is written: only the outcome is computed, with the blobs that it has."""

    def __init__(self, where: str, *, replaces_index: bool = False) -> None:
        super().__init__(where)
        self._replaces_index = replaces_index

    def blob(self, digest: Digest) -> Blob | None:
        return layout.stored_blob(self.where, digest)

    def write(self, request: WriteRequest, task: Task, *, verify: bool) -> WriteOutcome:
        existing = os.path.exists(os.path.join(self.where, "index.json"))
        old = layout.Layout(self.where).index if existing else None
        losses = Losses(request.roots)
        merge_checked(self.where, old, losses, replaces_index=self._replaces_index)
        done = super().write(request.writable(losses) if losses else request, task, verify=verify)
        return losses.outcome(done.skipped, verified=done.verified)


def merge_checked(where: str, old: Index | None, losses: Losses, *, replaces_index: bool) -> bytes:
    """Returns the merged index without the losses. If an index would lose its name to an image, that is recorded as a
    loss (or raises `DestinationError`), unless `replaces_index`."""
    if old is not None and not replaces_index:
        _protect_indexes(where, old, losses)
    return merge_index(old, losses.writable())


def _protect_indexes(where: str, old: Index, losses: Losses) -> None:
    """Records a loss for each name under which an index would be replaced. Several manifests of different platforms
    under one name count as an index."""
    wanted = {
        canonical(name): (name, root.subject is not None) for root in losses.writable() for name in root.non_replacing_names
    }
    if not wanted:
        return
    holders: dict[str, dict[Digest, Descriptor]] = {}
    for one in old.manifests:
        for name in _names(one.fields):
            if canonical(name) in wanted:
                holders.setdefault(canonical(name), {})[one.digest] = one
    for place, found in holders.items():
        name, is_referrer = wanted[place]
        platforms = [str(one.platform) for one in found.values() if one.platform is not None and not one.is_attestation]
        if any(one.media_type in mediatypes.INDEXES for one in found.values()):
            inner = [platform for one in found.values() for platform in _platforms(where, one)]
            losses.name(name, would_replace_index(f"{where}:{name}", dict.fromkeys(inner), is_referrer=is_referrer))
        elif len(set(platforms)) > 1:
            losses.name(name, would_replace_index(f"{where}:{name}", dict.fromkeys(platforms), is_referrer=is_referrer))


def _platforms(where: str, one: Descriptor) -> list[str]:
    """Returns the platforms of an index in the layout; none if it cannot be read."""
    try:
        blob = layout.stored_blob(where, one.digest)
        document = read(b"".join(verified(blob.chunks(), one.digest, one.size)), where) if blob is not None else None
    except OcitoolError:
        return []
    manifests = document.manifests if isinstance(document, Index) else ()
    return [str(entry.platform) for entry in manifests if entry.platform is not None and not entry.is_attestation]


def merge_index(old: Index | None, roots: Sequence[OutputImage]) -> bytes:
    """Returns the index with these images in it. An entry that had one of their names is removed; others are kept."""
    fields: dict[str, Any] = dict(old.fields) if old else {"schemaVersion": 2, "mediaType": mediatypes.OCI_INDEX}
    entries = _Entries()
    before: list[Any] = []
    for one in old.entries if old else ():
        if isinstance(one, Descriptor):
            before.append(dict(one.fields))
            entries.add(before[-1])
        else:
            before.append(one.value)
            entries.keep_invalid(one.value)
    for root in roots:
        for name in root.names or (None,):
            entries.put(root.descriptor, name)
    after = entries.all()
    if old is not None and after == before:
        return old.raw
    fields["manifests"] = after
    return serialised(fields, limits.STORE)  # a larger index could neither be read again nor be reduced


class _Entries:
    """The entries of an index in their order, found by name and by digest: a layout may have thousands, and an image
    thousands of names."""

    def __init__(self) -> None:
        self._slots: dict[int, Any] = {}
        self._by_name: dict[str, set[int]] = {}
        self._by_digest: dict[str, set[int]] = {}
        """Entries without a name."""
        self._entry_counts: Counter[str] = Counter()
        """The number of entries for each digest."""
        self._next = 0

    def all(self) -> list[Any]:
        return list(self._slots.values())

    def add(self, entry: dict[str, Any]) -> None:
        self._slots[self._next] = entry
        self._entry_counts[entry["digest"]] += 1
        for found in self._sets_of(entry):
            found.add(self._next)
        self._next += 1

    def keep_invalid(self, value: Any) -> None:
        """Keeps an entry that is not a descriptor as it is, in its place."""
        self._slots[self._next] = value
        self._next += 1

    def _drop(self, slot: int) -> None:
        entry = self._slots.pop(slot)
        self._entry_counts[entry["digest"]] -= 1
        for found in self._sets_of(entry):
            found.discard(slot)

    def _sets_of(self, entry: Mapping[str, Any]) -> list[set[int]]:
        """Returns the sets by which an entry is found."""
        names = _names(entry)
        if not names:
            return [self._by_digest.setdefault(entry["digest"], set())]
        return [self._by_name.setdefault(canonical(name), set()) for name in names]

    def put(self, descriptor: Mapping[str, Any], name: str | None) -> None:
        digest = descriptor["digest"]
        if name is None:
            if not self._entry_counts[digest]:  # an image with an entry needs no second one without a name
                self.add(with_names(descriptor, {}))
            return
        holders = sorted(self._by_name.get(canonical(name), ()))
        spellings = (old for slot in holders if self._slots[slot]["digest"] == digest for old in _names(self._slots[slot])[:1])
        entry = with_names(descriptor, {REF_NAME: next((old for old in spellings if canonical(old) == canonical(name)), name)})
        # Drop the entries that had the name, and the entry of this image without a name.
        existing = False
        for slot in (*holders, *self._by_digest.get(digest, ())):
            if self._slots[slot] == entry:
                existing = True
            else:
                self._drop(slot)
        if not existing:
            self.add(entry)


def _names(entry: Mapping[str, Any]) -> list[str]:
    annotations = string_members(entry.get("annotations"))
    return [name for key in (REF_NAME, CONTAINERD_NAME) if (name := annotations.get(key))]


def write_problem(directory: str) -> DestinationError | None:
    """Returns why a layout can neither be opened nor made at a path; None if it can."""
    try:
        parent, name = _located(directory)
        if parent.stat(name) is not None:
            _check(directory, parent.below(name))
    except DestinationError as error:
        return error
    except NotADirectoryError:
        return DestinationError("not a directory", directory)
    except OSError as error:
        return unwritable(directory, error)
    return None


def _located(directory: str) -> tuple[OpenDirectory, str]:
    if os.path.islink(directory.rstrip("/")) and not os.path.exists(directory):  # a dangling link: its target is not made
        raise DestinationError("not a directory", directory)
    try:
        return located(directory)
    except (FileNotFoundError, NotADirectoryError):
        raise DestinationError("its directory does not exist", directory) from None


def _check(directory: str, at: OpenDirectory) -> None:
    """Raises `DestinationError` for a directory that is neither a layout nor empty. Reading requires less: a lone
    `index.json` may belong to another program."""
    names = at.names()
    if "oci-layout" in names or all(name.startswith(".ocitool-") for name in names):
        return
    with contextlib.suppress(OcitoolError):
        index = layout.Layout(directory, at).index
        if index is not None and "manifests" in index.fields:
            return
    raise DestinationError("neither an OCI layout nor an empty directory", directory, hint="name one that is new or empty")


def _prepare(directory: str) -> tuple[OpenDirectory, str, OpenDirectory, tuple[str, ...]]:
    """Makes what a layout lacks, all or nothing. Returns the parent directory and the layout's name in it, the layout's
    directory, and the names that were made in it, in order ("" for the directory itself)."""
    made: list[str] = []
    parent, name = _located(directory)
    at = None
    try:
        with contextlib.suppress(FileExistsError):  # another writer made it
            os.mkdir(name, dir_fd=parent.descriptor)
            made.append("")
        at = parent.below(name)
        at.path = directory
        _check(directory, at)
        if at.stat("oci-layout") is None:
            write_document(at, "oci-layout", layout.LAYOUT_FILE)
            made.append("oci-layout")
        if at.stat("blobs") is None:
            with contextlib.suppress(FileExistsError):
                os.mkdir("blobs", dir_fd=at.descriptor)
                made.append("blobs")
        at.below("blobs")
    except BaseException as error:
        _remove_made(parent, name, at, made)
        if isinstance(error, NotADirectoryError):
            raise DestinationError("not a directory", directory) from None
        if isinstance(error, OSError):
            raise unwritable(directory, error) from None
        raise
    return parent, name, at, tuple(made)


def _remove_made(parent: OpenDirectory, name: str, at: OpenDirectory | None, made: Sequence[str]) -> None:
    for one in reversed(made):
        with contextlib.suppress(OSError):
            if not one:
                os.rmdir(name, dir_fd=parent.descriptor)
            elif at is not None:
                (os.rmdir if one == "blobs" else os.unlink)(one, dir_fd=at.descriptor)
