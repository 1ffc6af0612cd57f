"""Finds every blob of a layout that can be reached from its index, and so must stay.

A blob stays if any descriptor names it, wherever the descriptor is: in a nested index, in `subject` or `blobs` of an
artifact, in a document of unknown type. A referrer that no index lists stays with its subject. If a document is damaged or
cannot be parsed, or an entry of `index.json` is missing, the blobs that it names cannot be known, which is an error. A
missing manifest further down is normal (an index of which one platform was fetched): it is reported. Of the file of a layer
only the first bytes are read.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import shlex
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from ocitool import limits
from ocitool.blob import Blob, BytesBlob, FileBlob, unreadable
from ocitool.digest import Digest, verified
from ocitool.errors import FormatError, IntegrityError, LimitError, NotFoundError, OcitoolError
from ocitool.patterns import byte_pattern
from ocitool.spec import mediatypes
from ocitool.spec.document import parse
from ocitool.spec.manifest import Index, InvalidDescriptor
from ocitool.task import Task
from ocitool.transports.layout import Layout, plain_file, stored_blob
from ocitool.transports.layout_store import StoredFile, blob_files

_STRICT = mediatypes.MANIFESTS | mediatypes.INDEXES
_DIGEST = byte_pattern(rb"sha(?:256:[0-9a-f]{64}|512:[0-9a-f]{128})(?![0-9a-f])")
_DIGEST_IN_PATH = byte_pattern(rb"(?<![0-9a-f])(?:(sha256|sha512)[:/])?([0-9a-f]{128}|[0-9a-f]{64})(?![0-9a-f])")
_LISTS = {"manifests": "digest", "layers": "digest", "blobs": "digest", "fsLayers": "blobSum"}
"""Lists in manifests and indexes, and the member of their entries that has the digest."""
_FREED_NOTHING = "nothing was freed, since what it names cannot be known"


class Reached(NamedTuple):
    """What must stay. `digests`: the digests of all blobs that were reached, also of missing ones. `absent`: descriptors of
    missing manifests and indexes that an index in `blobs/`, or a document of another type, lists; subjects are not
    included."""

    digests: frozenset[Digest]
    absent: tuple[Mapping[str, Any], ...]


def reached(source: Layout, files: Iterable[StoredFile], task: Task) -> Reached:
    """Returns the blobs that can be reached from `index.json` of the layout, and from its `manifest.json` if it has one.

    Raises `NotFoundError` if an entry of `index.json` is missing, and `FormatError`, `IntegrityError`, `LimitError` or
    `TransportError` for a document that cannot be trusted.
    """
    assert source.index is not None
    marked = _Marked(source, task)
    docker_manifest = _docker_manifest(source)
    for digest, fields in _entries(source.index.fields, source.where, optional=docker_manifest is not None):
        marked.root(digest, fields)
    marked.document(source.index.fields)
    for algorithm, encoded in _DIGEST_IN_PATH.findall(docker_manifest or b""):
        name = algorithm.decode() or ("sha512" if len(encoded) == 128 else "sha256")
        marked.add(Digest(name, encoded.decode()), {})
    marked.run()
    _referrers(marked, files)
    return Reached(frozenset(marked.seen), tuple(marked.absent.values()))


def kept_without(directory: str, gone: Collection[Digest], task: Task) -> frozenset[Digest]:
    """Returns the blobs that a layout keeps after these entries of its index were dropped; all of them if `layout gc` would
    refuse to free any."""
    files = blob_files(directory).blobs
    source = Layout(directory)
    assert source.index is not None
    entries = [one for one in source.index.entries if isinstance(one, InvalidDescriptor) or one.digest not in gone]
    kept = [one.value if isinstance(one, InvalidDescriptor) else one.fields for one in entries]
    source.index = Index(b"", {**source.index.fields, "manifests": kept}, source.where)
    try:
        return reached(source, files, task).digests
    except OcitoolError:
        return frozenset(file.digest for file in files)


def absent_entries(source: Layout) -> tuple[Digest, ...]:
    """Returns the entries of `index.json` whose blob is missing, each once. No blob is read."""
    assert source.index is not None
    listed = source.index.manifests
    return tuple(dict.fromkeys(one.digest for one in listed if _blob(source, one.digest, one.fields) is None))


def _docker_manifest(source: Layout) -> bytes | None:
    """Returns `manifest.json` if the layout is an extracted `docker save` archive, whose index may be empty."""
    raw = source.document("manifest.json")
    if raw is not None:
        try:
            parse(raw, f"{source.where}/manifest.json")
        except OcitoolError as error:
            error.hint = error.hint or _FREED_NOTHING
            raise
    return raw


def _entries(fields: Mapping[str, Any], where: str, *, optional: bool) -> Iterator[tuple[Digest, Mapping[str, Any]]]:
    """Yields the entries of `index.json`. Raises `FormatError` if one has no digest, or if the list is missing and not
    `optional`."""
    entries = fields.get("manifests")
    if entries is None and optional:
        return
    if not isinstance(entries, list):
        raise FormatError(
            "index.json has no list of manifests", where,
            hint=f"nothing was freed; if the layout is meant to be empty: ocitool layout normalize {shlex.quote(where)}",
        )  # fmt: skip
    for number, entry in enumerate(entries):
        try:
            yield Digest.parse(entry.get("digest") if isinstance(entry, dict) else None), entry
        except FormatError as error:
            hint = f"{_FREED_NOTHING}; ocitool layout rm {shlex.quote(where)} @{number} drops it"
            raise FormatError(f"manifests[{number}].digest: {error.what}", f"{where}/index.json", hint=hint) from None


def _blob(source: Layout, digest: Digest, fields: Mapping[str, Any]) -> Blob | None:
    """Returns the stored blob, or the one embedded in a descriptor; None if there is neither."""
    return stored_blob(source.where, digest) or _embedded(fields, digest)


def _referrers(marked: _Marked, files: Iterable[StoredFile]) -> None:
    """Marks stored documents whose subject is marked, and their referrers, until there are no more."""
    waiting: dict[Digest, list[Digest]] = {}
    for file in files:
        if file.digest not in marked.seen and (subject := _subject(file)) is not None:
            waiting.setdefault(subject, []).append(file.digest)
    while found := [subject for subject in waiting if subject in marked.seen]:
        for subject in found:
            for digest in waiting.pop(subject):
                marked.add(digest, {})
        marked.run()


def _subject(file: StoredFile) -> Digest | None:
    """Returns the subject of a stored document; None if it is not a valid document with a subject."""
    try:
        opened = plain_file(file.path)
        raw = _json_like(FileBlob(opened, 0, file.size, file.digest)) if opened is not None else None
        value = parse(raw, file.path) if raw is not None and b'"subject"' in raw else None
        subject = value.get("subject") if isinstance(value, dict) else None
        return Digest.parse(subject.get("digest")) if isinstance(subject, dict) else None
    except (FormatError, IntegrityError, LimitError):
        return None
    except OSError as error:
        raise unreadable(file.path, error) from None


class _Marked:
    """The blobs that are known to be needed so far, and those that are still to be read for what they name."""

    def __init__(self, source: Layout, task: Task) -> None:
        self.seen: dict[Digest, bool] = {}
        """Marked digests. The value: it was read as strictly as an index requires of what it lists, whole and verified."""
        self.absent: dict[Digest, Mapping[str, Any]] = {}
        self._source = source
        self._task = task
        self._waiting: list[_Named] = []

    def root(self, digest: Digest, fields: Mapping[str, Any]) -> None:
        """Marks an entry of `index.json`. Whatever its type, it must be present: raises `NotFoundError`."""
        if _blob(self._source, digest, fields) is None:
            where = f"{self._source.where}: blob {digest}"
            raise NotFoundError(
                "an entry of index.json is not here, so what it needs cannot be known", where,
                hint="nothing was freed; copy the image into the layout again, or drop the entry: "
                f"ocitool layout rm {shlex.quote(self._source.where)} @{digest}",
            )  # fmt: skip

    def document(self, value: Any) -> None:
        """Queues everything that a parsed document names."""
        self._waiting += _named(value)

    def add(self, digest: Digest, fields: Mapping[str, Any]) -> None:
        """Queues a blob."""
        self._waiting.append(_Named(digest, fields, ""))

    def run(self) -> None:
        """Marks everything in the queue and what it leads to. Raises errors for documents as `reached` does."""
        while self._waiting:
            self._task.check()
            digest, fields, member = self._waiting.pop()
            strict, listed = _strict(fields), member == "manifests"
            if self.seen.get(digest, False) or (digest in self.seen and not strict and not listed):
                continue
            blob = _blob(self._source, digest, fields)
            # A missing blob is not done: an index may list it too, which then reports it as absent.
            self.seen[digest] = listed or (strict and blob is not None)
            if blob is not None:
                self._read(blob, digest, strict, listed)
            elif listed or (strict and member != "subject"):
                self.absent[digest] = fields

    def _read(self, blob: Blob, digest: Digest, strict: bool, listed: bool) -> None:
        """Queues what a blob names if it is a document. `strict`: it must be one, by its media type. `listed`: an index
        lists it."""
        where = f"{self._source.where}: blob {digest}"
        try:
            raw = _json_like(blob, strict=strict)
            if raw is None:
                if listed and digest.checkable and blob.size <= limits.DOCUMENT_SIZE:
                    # A damaged document may begin with anything: only the digest shows that this one is not a document.
                    for _ in verified(blob.chunks(), digest, blob.size):
                        self._task.check()
                return
            try:
                value = parse(raw, where)
                if strict:
                    _check_lists(value)
                self.document(value)
            except (FormatError, LimitError):
                if strict:
                    raise
                self._waiting += [_Named(Digest.parse(text.decode()), {}, "") for text in _DIGEST.findall(raw)]
        except OcitoolError as error:
            error.hint = error.hint or _FREED_NOTHING
            raise error.at(where) from None


class _Named(NamedTuple):
    """A blob that a document names, with the descriptor's fields. `member`: the member of the document that names it."""

    digest: Digest
    fields: Mapping[str, Any]
    member: str


def _strict(fields: Mapping[str, Any]) -> bool:
    """Returns whether the media type is that of a manifest or index."""
    media_type = fields.get("mediaType")
    return isinstance(media_type, str) and media_type in _STRICT


def _check_lists(document: Any) -> None:
    """Raises `FormatError` for an entry of a manifest or index that must name a blob and has no valid digest."""
    if not isinstance(document, dict):
        return
    for member, key in _LISTS.items():
        entries = document.get(member)
        for number, entry in enumerate(entries if isinstance(entries, list) else ()):
            try:
                Digest.parse(entry.get(key) if isinstance(entry, dict) else None)
            except FormatError as error:
                raise FormatError(f"{member}[{number}].{key}: {error.what}") from None


def _named(value: Any, member: str = "") -> Iterator[_Named]:
    """Yields every object with a digest (in Docker's schema 1: `blobSum`) in a document, at any depth."""
    if isinstance(value, dict):
        for key in ("digest", "blobSum"):
            if isinstance(value.get(key), str):
                with contextlib.suppress(FormatError):
                    yield _Named(Digest.parse(value[key]), value, member)
        for key, item in value.items():
            yield from _named(item, key)
    elif isinstance(value, list):
        for item in value:
            yield from _named(item, member)


def _json_like(blob: Blob, *, strict: bool = False) -> bytes | None:
    """Returns the verified bytes of a blob that may be a JSON document, by its size and first bytes; None for any other."""
    if blob.size > limits.DOCUMENT_SIZE:
        if strict:
            raise LimitError(f"a document of {blob.size} bytes, more than {limits.DOCUMENT_SIZE}")
        return None
    if not strict and blob.pread(64, 0).removeprefix(b"\xef\xbb\xbf").lstrip()[:1] not in (b"{", b"["):
        return None
    known = blob.digest is not None and blob.digest.algorithm in ("sha256", "sha512")
    return b"".join(verified(blob.chunks(), blob.digest if known else None, blob.size))


def _embedded(fields: Mapping[str, Any], digest: Digest) -> Blob | None:
    data = fields.get("data")
    if not isinstance(data, str):
        return None
    try:
        return BytesBlob(base64.b64decode(data, validate=True), digest)
    except (binascii.Error, ValueError):
        raise FormatError(f"the embedded data of {digest} is not base64") from None
