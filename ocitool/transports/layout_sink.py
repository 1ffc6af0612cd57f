"""Writing into an OCI image layout, beside other writers (see `layout_lock`).

A blob appears by rename from a temporary beside it, complete, hashed and synced; one that is there already is hashed before it
is relied on, unless that is on record (see `verifications`). `index.json` is renamed last. A crash leaves at most blobs that
nothing names (`layout gc` frees them) and temporaries (the next writer removes them).
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
from ocitool.blob import Blob, FileBlob, expected, label, unreadable
from ocitool.digest import Digest, verified
from ocitool.directories import OpenDirectory, located
from ocitool.errors import DestinationError, IntegrityError, OcitoolError
from ocitool.reference import canonical
from ocitool.spec import mediatypes
from ocitool.spec.document import serialised
from ocitool.spec.manifest import CONTAINERD_NAME, REF_NAME, Descriptor, Index, read, string_members, with_names
from ocitool.task import Task, undisturbed
from ocitool.transports import layout
from ocitool.transports.layout_lock import LayoutLock
from ocitool.transports.sink import Losses, OutputImage, Rehearsal, WriteOutcome, WriteRequest, index_in_the_way
from ocitool.transports.verifications import Verifications, is_settled, now

_ATTEMPTS = 20


class LayoutSink:
    def __init__(self, directory: str, task: Task, *, replaces_index: bool = False, cached: bool = False) -> None:
        """Opens a layout to write to, or makes one in a directory that is absent or empty. `replaces_index`: whether one image
        may take the place of an index under a name. `cached`: blobs that are on record in the cache directory are believed."""
        self.where = directory
        self._task = task
        self._replaces_index = replaces_index
        self._records = Verifications(directory, cached=cached)
        self._sound: dict[Digest, bool] = {}
        """Blobs that were looked at in this run, and whether their bytes are what their digests say."""
        self._written: dict[Digest, os.stat_result] = {}
        """Blobs that were hashed as they were written in this run, and what their files were when they had their place."""
        self._made: tuple[str, ...] = ()
        self._lock: LayoutLock | None = None
        self._folders: dict[str, OpenDirectory] = {}
        """The directories of blobs by algorithm: what is written goes into these, and not by a path."""
        self._fetched = False
        try:
            self._hold(task)
            sweep(self._at)
            # What cannot be read now cannot be added to later.
            self._index = self._read_index()
        except BaseException:
            self.close()
            raise

    def _hold(self, task: Task) -> None:
        """Locks the layout, and makes what it lacks. Another writer that made it and failed may take it away before it is
        locked; then it is made again."""
        for attempt in range(_ATTEMPTS):
            try:
                with undisturbed():
                    self._parent, self._name, self._at, self._made = _prepare(self.where)
                    if "" in self._made:  # no other works on it for long
                        self._lock = LayoutLock(self._at, task, exclusive=False)
                self._lock = self._lock or LayoutLock(self._at, task, exclusive=False)
            except DestinationError:
                if os.path.lexists(self.where) or refused(self.where) is not None or attempt == _ATTEMPTS - 1:
                    raise
                continue
            if self._lock.stands() and self._has("oci-layout") and self._has("blobs"):
                return
            self._lock.close()
            self._lock, self._made = None, ()
        raise DestinationError("another process removed it while it was made", self.where)

    def _has(self, name: str) -> bool:
        return self._at.stat(name) is not None

    def _read_index(self) -> Index | None:
        return layout.Layout(self.where, self._at).index if self._has("index.json") else None

    def _folder(self, digest: Digest) -> OpenDirectory:
        """Where a blob stands. Raises `OSError`; one that is not there is made before blobs are written: see `write`."""
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

    def sound(self, digest: Digest, size: int, *, verify: bool) -> Blob | None:
        there = self.blob(digest)
        return there if there is not None and there.size == size and self._is_sound(there, verify) else None

    def spool(self) -> Temporary:
        return Temporary(self._at)

    def named(self, name: str) -> Digest | None:
        return None

    def write(self, bundle: WriteRequest, task: Task, *, verify: bool) -> WriteOutcome:
        skipped: set[Digest] = set()
        losses = Losses(bundle.roots)
        self._merged(self._index, losses)  # what is refused is so before anything is written
        asked = bool(bundle.roots)
        bundle = bundle.left(losses) if losses else bundle
        self._make_folders({digest.algorithm for blob in bundle.blobs if (digest := blob.digest)})

        def put(blob: Blob) -> None:
            assert blob.digest is not None
            try:
                if not bundle.sound(blob, lambda one: self._put(one, task, verify), task):
                    skipped.add(blob.digest)
            except OcitoolError as error:
                losses.blob(blob.digest, error)

        task.expect(expected(bundle.blobs), anew=True)
        task.map(put, sorted(bundle.blobs, key=lambda blob: -blob.size))
        for folder in self._folders.values():
            folder.sync()
        assert self._lock is not None
        if losses.left() or not asked:
            with self._lock.index():
                self._publish(losses)
            self._made = ()
        return losses.outcome(skipped, verified=True)

    def _put(self, blob: Blob, task: Task, verify: bool) -> bool:
        """Whether the blob was written: it is not if it is there already, as it should be."""
        digest = blob.digest
        assert digest is not None
        there = self.blob(digest)
        damaged = False
        if there is not None and there.size == blob.size:
            if self._is_sound(there, verify, spare=True):
                return False
            damaged = True
        if isinstance(blob, SpooledBlob) and blob.temporary.is_in(self._at):
            self._name_it(blob.temporary, digest)
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

    def _is_sound(self, there: Blob, verify: bool, *, spare: bool = False) -> bool:
        """Whether the bytes of a blob that is there are what its digest says. They are hashed unless they were in this run, or
        that is on record and not `verify`. `spare`: progress expects them to be."""
        digest, task = there.digest, self._task
        assert digest is not None and isinstance(there, FileBlob)
        known, folder = self._sound.get(digest), self._folder(digest)
        if known is None and not verify and self._records.has(digest, folder, there.descriptor):
            known = self._sound[digest] = True
        if known is not None:
            if spare:
                task.unexpect(label(there), there.size)
            return known
        settled = is_settled(there.descriptor)
        began, before, done = now(), os.fstat(there.descriptor), 0
        try:
            for chunk in verified(there.chunks(), digest, there.size):
                task.check()
                done += len(chunk)
                task.advance(label(there), len(chunk), there.size)
        except IntegrityError:
            task.advance(label(there), -done, there.size)
            self._sound[digest] = False
            return False
        if settled:
            self._records.keep(digest, folder, before, os.fstat(there.descriptor), began)
        self._sound[digest] = True
        return True

    def _copy(self, blob: Blob, digest: Digest, task: Task) -> None:
        temporary = self.spool()
        try:
            temporary.append_blob(blob, task)
            self._name_it(temporary, digest)
        finally:
            temporary.discard()

    def _name_it(self, temporary: Temporary, digest: Digest) -> None:
        try:
            self._written[digest] = temporary.replace(digest.encoded, self._folder(digest))
        except OSError as error:
            raise unwritable(layout.blob_path(self.where, digest), error) from None

    def _make_folders(self, algorithms: set[str]) -> None:
        for algorithm in algorithms:
            try:
                self._folders[algorithm] = self._at.make_below("blobs").make_below(algorithm)
            except OSError as error:
                raise unwritable(os.path.join(self.where, "blobs", algorithm), error) from None

    def _fetch(self, blob: Blob, digest: Digest, task: Task) -> bool:
        """A blob over the network, through a partial file that the next attempt takes up. False if there is none to be had:
        then it is fetched beside it."""
        try:
            partial = Partial(self._at, digest)
        except BlockingIOError:
            return False
        try:
            partial.fetch(blob, task)
            self._name_it(partial, digest)
            self._fetched = True
            task.transferred("fetched", digest.short, blob.size)
        finally:
            self._fetched = self._fetched or partial.has_data
            partial.discard()
        return True

    def _publish(self, losses: Losses) -> None:
        old = self._read_index()
        raw = self._merged(old, losses)
        if old is None or raw != old.raw:
            write_document(self._at, "index.json", raw)
        if not layout.Layout(self.where, self._at).states_version():
            write_document(self._at, "oci-layout", layout.LAYOUT_FILE)
            self._task.notice("damaged", f"{self.where}: oci-layout was damaged, and is written anew")

    def _merged(self, old: Index | None, losses: Losses) -> bytes:
        return checked(self.where, old, losses, replaces_index=self._replaces_index)

    def close(self) -> None:
        """Where a layout was made for a write that did not happen, takes it away again, unless another writer is in it."""
        with undisturbed():
            made, self._made = self._made, ()
            self._note_written()
            self._records.save()
            if self._lock is None:
                if made:
                    _unmake(self._parent, self._name, self._at, made)
                return
            # Alone first: until then another writer may finish.
            # What came over a network stays: the next attempt goes on with it.
            if made and not self._fetched and self._lock.alone() and not self._has("index.json"):
                if "blobs" in made:
                    shutil.rmtree("blobs", dir_fd=self._at.descriptor, ignore_errors=True)
                _unmake(self._parent, self._name, self._at, made)
            self._lock.close()

    def _note_written(self) -> None:
        written, self._written = self._written, {}
        for digest, placed in written.items() if self._records.cached else ():
            with contextlib.suppress(OSError, OcitoolError):
                there = self.blob(digest)
                if isinstance(there, FileBlob):
                    self._records.keep_written(digest, self._folder(digest), placed, there.descriptor, now())

    def __del__(self) -> None:
        if hasattr(self, "_lock"):
            self.close()


class RehearsedLayout(Rehearsal):
    """A layout that only says what writing to it would come to: it keeps the blobs that it has."""

    def __init__(self, where: str, *, replaces_index: bool = False) -> None:
        super().__init__(where)
        self._replaces_index = replaces_index

    def blob(self, digest: Digest) -> Blob | None:
        return layout.stored(self.where, digest)

    def write(self, bundle: WriteRequest, task: Task, *, verify: bool) -> WriteOutcome:
        there = os.path.exists(os.path.join(self.where, "index.json"))
        old = layout.Layout(self.where).index if there else None
        losses = Losses(bundle.roots)
        checked(self.where, old, losses, replaces_index=self._replaces_index)
        done = super().write(bundle.left(losses) if losses else bundle, task, verify=verify)
        return losses.outcome(done.skipped, verified=done.verified)


def checked(where: str, old: Index | None, losses: Losses, *, replaces_index: bool) -> bytes:
    """`merged` of what is not lost. That an index would lose its name to one image is a loss, or a `DestinationError`, unless
    `replaces_index` allows it."""
    if old is not None and not replaces_index:
        _spare_indexes(where, old, losses)
    return merged(old, losses.left())


def _spare_indexes(where: str, old: Index, losses: Losses) -> None:
    """Manifests of several platforms under one name are one image, as if an index stood between."""
    wanted = {canonical(name): (name, root.subject is not None) for root in losses.left() for name in root.sparing}
    if not wanted:
        return
    having: dict[str, dict[Digest, Descriptor]] = {}
    for one in old.manifests:
        for name in _names(one.fields):
            if canonical(name) in wanted:
                having.setdefault(canonical(name), {})[one.digest] = one
    for place, found in having.items():
        name, speaks = wanted[place]
        platforms = [str(one.platform) for one in found.values() if one.platform is not None and not one.is_attestation]
        if any(one.media_type in mediatypes.INDEXES for one in found.values()):
            listed: list[str] = []
            for one in found.values():
                listed += _platforms(where, one)
            losses.name(name, index_in_the_way(f"{where}:{name}", dict.fromkeys(listed), speaks=speaks))
        elif len(set(platforms)) > 1:
            losses.name(name, index_in_the_way(f"{where}:{name}", dict.fromkeys(platforms), speaks=speaks))


def _platforms(where: str, one: Descriptor) -> list[str]:
    """Of an index of the layout, as far as they can be read."""
    try:
        blob = layout.stored(where, one.digest)
        document = read(b"".join(verified(blob.chunks(), one.digest, one.size)), where) if blob is not None else None
    except OcitoolError:
        return []
    manifests = document.manifests if isinstance(document, Index) else ()
    return [str(entry.platform) for entry in manifests if entry.platform is not None and not entry.is_attestation]


def merged(old: Index | None, roots: Sequence[OutputImage]) -> bytes:
    """The index with these roots in it. A name moves: the entry that had it goes. All else stays as it is."""
    fields: dict[str, Any] = dict(old.fields) if old else {"schemaVersion": 2, "mediaType": mediatypes.OCI_INDEX}
    entries = _Entries()
    before: list[Any] = []
    for one in old.entries if old else ():
        if isinstance(one, Descriptor):
            before.append(dict(one.fields))
            entries.add(before[-1])
        else:
            before.append(one.value)
            entries.keep(one.value)
    for root in roots:
        for name in root.names or (None,):
            entries.put(root.descriptor, name)
    after = entries.all()
    if old is not None and after == before:
        return old.raw
    fields["manifests"] = after
    return serialised(fields, limits.STORE)  # nobody could read one beyond that again, and nobody drop something from it either


class _Entries:
    """The entries of an index in their order, found by name and by digest: a store has thousands, and an image may have as many
    names."""

    def __init__(self) -> None:
        self._slots: dict[int, Any] = {}
        self._by_name: dict[str, set[int]] = {}
        self._nameless: dict[str, set[int]] = {}
        """By digest."""
        self._living: Counter[str] = Counter()
        """How many entries a digest has."""
        self._next = 0

    def all(self) -> list[Any]:
        return list(self._slots.values())

    def add(self, entry: dict[str, Any]) -> None:
        self._slots[self._next] = entry
        self._living[entry["digest"]] += 1
        for found in self._holding(entry):
            found.add(self._next)
        self._next += 1

    def keep(self, value: Any) -> None:
        """What is no descriptor, in its place and as it is."""
        self._slots[self._next] = value
        self._next += 1

    def _drop(self, slot: int) -> None:
        entry = self._slots.pop(slot)
        self._living[entry["digest"]] -= 1
        for found in self._holding(entry):
            found.discard(slot)

    def _holding(self, entry: Mapping[str, Any]) -> list[set[int]]:
        """The sets that an entry is found in."""
        names = _names(entry)
        if not names:
            return [self._nameless.setdefault(entry["digest"], set())]
        return [self._by_name.setdefault(canonical(name), set()) for name in names]

    def put(self, descriptor: Mapping[str, Any], name: str | None) -> None:
        digest = descriptor["digest"]
        if name is None:
            if not self._living[digest]:  # an image that is here needs no second, nameless entry
                self.add(with_names(descriptor, {}))
            return
        having = sorted(self._by_name.get(canonical(name), ()))
        spellings = (old for slot in having if self._slots[slot]["digest"] == digest for old in _names(self._slots[slot])[:1])
        entry = with_names(descriptor, {REF_NAME: next((old for old in spellings if canonical(old) == canonical(name)), name)})
        # The name leaves whatever had it; and what stood here without a name now has one.
        there = False
        for slot in (*having, *self._nameless.get(digest, ())):
            if self._slots[slot] == entry:
                there = True
            else:
                self._drop(slot)
        if not there:
            self.add(entry)


def _names(entry: Mapping[str, Any]) -> list[str]:
    annotations = string_members(entry.get("annotations"))
    return [name for key in (REF_NAME, CONTAINERD_NAME) if (name := annotations.get(key))]


def refused(directory: str) -> DestinationError | None:
    """Why a layout can neither be opened nor made here; None where it can."""
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
    if os.path.islink(directory.rstrip("/")) and not os.path.exists(directory):  # what it leads to is not made
        raise DestinationError("not a directory", directory)
    try:
        return located(directory)
    except (FileNotFoundError, NotADirectoryError):
        raise DestinationError("its directory does not exist", directory) from None


def _check(directory: str, at: OpenDirectory) -> None:
    """Raises `DestinationError` for a directory that is neither a layout nor empty. Stricter than for reading: an `index.json`
    alone may be of any other program's."""
    names = at.names()
    if "oci-layout" in names or all(name.startswith(".ocitool-") for name in names):
        return
    with contextlib.suppress(OcitoolError):
        index = layout.Layout(directory, at).index
        if index is not None and "manifests" in index.fields:
            return
    raise DestinationError(
        "neither an OCI layout nor an empty directory", directory, hint="name one that is new or empty"
    )


def _prepare(directory: str) -> tuple[OpenDirectory, str, OpenDirectory, tuple[str, ...]]:
    """Makes what a layout needs if it is missing, all or nothing: the directory above it and its name there, itself, and the
    names in it that were made, in order ("" for itself)."""
    made: list[str] = []
    parent, name = _located(directory)
    at = None
    try:
        with contextlib.suppress(FileExistsError):  # another writer makes it too
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
        _unmake(parent, name, at, made)
        if isinstance(error, NotADirectoryError):
            raise DestinationError("not a directory", directory) from None
        if isinstance(error, OSError):
            raise unwritable(directory, error) from None
        raise
    return parent, name, at, tuple(made)


def _unmake(parent: OpenDirectory, name: str, at: OpenDirectory | None, made: Sequence[str]) -> None:
    for one in reversed(made):
        with contextlib.suppress(OSError):
            if not one:
                os.rmdir(name, dir_fd=parent.descriptor)
            elif at is not None:
                (os.rmdir if one == "blobs" else os.unlink)(one, dir_fd=at.descriptor)
