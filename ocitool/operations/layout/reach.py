"""What a layout's index leads to: every blob that must stay.

Kept is what any descriptor names, wherever it stands: an index in an index, an artifact's `subject` and `blobs`, members of
documents of unknown type. A referrer that no index lists stays with the image it speaks of. Of a document that is damaged or
cannot be parsed nobody can say what it names, so it is an error. The file of a layer is opened for its first bytes only.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ocitool import limits
from ocitool.blob import Blob, BytesBlob, FileBlob, OpenFile
from ocitool.digest import Digest, verified
from ocitool.errors import FormatError, IntegrityError, LimitError, OcitoolError
from ocitool.spec import mediatypes
from ocitool.spec.document import parse
from ocitool.task import Task
from ocitool.transports.layout import Layout, stored
from ocitool.transports.store import StoredFile

_STRICT = mediatypes.MANIFESTS | mediatypes.INDEXES
_DIGEST = re.compile(rb"sha(?:256:[0-9a-f]{64}|512:[0-9a-f]{128})(?![0-9a-f])")
_SAVED = re.compile(rb"(?<![0-9a-f])(?:(sha256|sha512)[:/])?([0-9a-f]{128}|[0-9a-f]{64})(?![0-9a-f])")


def reached(source: Layout, files: Iterable[StoredFile], task: Task) -> frozenset[Digest]:
    """The digests of all that must stay, of blobs that are not here too.

    Raises `FormatError`, `IntegrityError`, `LimitError`, `TransportError` where a document cannot be believed.
    """
    assert source.index is not None
    marked = _Marked(source, task)
    marked.document(source.index.fields)
    saved = source.document("manifest.json")
    if saved is not None:  # an unpacked `docker save` archive: its index may be empty
        for algorithm, encoded in _SAVED.findall(saved):
            name = algorithm.decode() or ("sha512" if len(encoded) == 128 else "sha256")
            marked.add(Digest(name, encoded.decode()), {})
    marked.run()
    _referrers(marked, files)
    return frozenset(marked.seen)


def _referrers(marked: _Marked, files: Iterable[StoredFile]) -> None:
    """Marks what speaks of something marked, until nothing more does."""
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
    """What a stored document says it speaks of; None for anything that is no sound document with a subject."""
    try:
        raw = _json_like(FileBlob(OpenFile(file.path), 0, file.size, file.digest))
        value = parse(raw, file.path) if raw is not None and b'"subject"' in raw else None
        subject = value.get("subject") if isinstance(value, dict) else None
        return Digest.parse(subject.get("digest")) if isinstance(subject, dict) else None
    except (FormatError, IntegrityError, LimitError):
        return None


class _Marked:
    def __init__(self, source: Layout, task: Task) -> None:
        self.seen: dict[Digest, bool] = {}
        """Whether it was read as a manifest or index must be."""
        self._source = source
        self._task = task
        self._waiting: list[tuple[Digest, Mapping[str, Any]]] = []

    def document(self, value: Any) -> None:
        self._waiting += _named(value)

    def add(self, digest: Digest, fields: Mapping[str, Any]) -> None:
        self._waiting.append((digest, fields))

    def run(self) -> None:
        while self._waiting:
            self._task.check()
            digest, fields = self._waiting.pop()
            media_type = fields.get("mediaType")
            strict = isinstance(media_type, str) and media_type in _STRICT
            if self.seen.get(digest, False) or (digest in self.seen and not strict):
                continue
            self.seen[digest] = strict
            blob = stored(self._source.where, digest)
            if blob is None:
                blob = _embedded(fields, digest)
            if blob is not None:
                self._look(blob, digest, strict)

    def _look(self, blob: Blob, digest: Digest, strict: bool) -> None:
        where = f"{self._source.where}: blob {digest}"
        try:
            raw = _json_like(blob, strict=strict)
            if raw is None:
                return
            try:
                self.document(parse(raw, where))
            except (FormatError, LimitError):
                if strict:
                    raise
                self._waiting += [(Digest.parse(text.decode()), {}) for text in _DIGEST.findall(raw)]
        except OcitoolError as error:
            error.hint = error.hint or "nothing was freed, since nobody can say what it names"
            raise error.at(where) from None


def _named(value: Any) -> Iterator[tuple[Digest, Mapping[str, Any]]]:
    """Every object with a digest in a document, at any depth."""
    if isinstance(value, dict):
        if isinstance(value.get("digest"), str):
            with contextlib.suppress(FormatError):
                yield Digest.parse(value["digest"]), value
        for item in value.values():
            yield from _named(item)
    elif isinstance(value, list):
        for item in value:
            yield from _named(item)


def _json_like(blob: Blob, *, strict: bool = False) -> bytes | None:
    """The verified bytes of what may be a document; None for what is none."""
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
