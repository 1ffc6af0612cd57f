"""`layout normalize`: repairs what different tools left in a layout, and reports what it cannot repair.

Repaired: the file `oci-layout` if it is missing or damaged, the list `manifests` if it is missing; entries of `index.json`
whose members another entry has too are dropped; temporaries of dead processes are removed. Reported, and never changed:
blobs that are missing or damaged, one name for two images, attestations of images that are gone, files that are not blobs.
A layout without anything to repair keeps its bytes; documents in `blobs/` always do.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ocitool import limits
from ocitool.digest import Digest
from ocitool.errors import LimitError, TransportError
from ocitool.images.index_children import all_children
from ocitool.images.platforms import normalized
from ocitool.progress import Notice
from ocitool.spec.document import serialised
from ocitool.spec.manifest import ATTESTATION_SUBJECT, CONTAINERD_NAME, REF_NAME, Descriptor, Index, Manifest, string_members
from ocitool.task import Task
from ocitool.transports import layout_store
from ocitool.transports.layout import Layout
from ocitool.transports.layout_store import BlobFiles, LockedLayout
from ocitool.validation.findings import Finding

_MAX_COMPARED = 1_000
"""Most entries of one manifest with one annotation that are compared pairwise; of more entries only equal ones are
dropped."""


class Normalized(NamedTuple):
    """The result. `changes`: sentences on what was repaired (in a dry run: would be). `findings`: what was not repaired;
    their rules are those of `validate` where it has them. `verified`: every blob was hashed."""

    directory: str
    dry_run: bool
    verified: bool
    changes: tuple[str, ...]
    findings: tuple[Finding, ...]
    notices: tuple[Notice, ...]


def normalize(directory: str, task: Task, *, verify: bool = False, dry_run: bool = False) -> Normalized:
    """Repairs a layout and reports what is wrong in it. `verify`: hash every blob too."""
    with LockedLayout(directory, task, read_only=dry_run) as store:
        changes = [f"removed {store.swept} temporaries of dead processes"] if store.swept else []
        with store.index() as source:
            assert source.index is not None
            if not source.states_version():
                there = os.path.lexists(os.path.join(directory, "oci-layout"))
                changes.append("replaced the damaged oci-layout" if there else "added oci-layout")
                if not dry_run:
                    store.add_layout_file()
            fields, done = _repaired(source.index)
            changes += done
            if done and not dry_run:
                store.replace_index(serialised(fields, limits.STORE))
        files = store.files()
        findings = [*_invalid(fields), *_names(fields), *_attestations(fields), *_blobs(store, source, files, task, verify)]
        return Normalized(directory, dry_run, verify, tuple(changes), tuple(findings), tuple(task.notices))


def _repaired(index: Index) -> tuple[Mapping[str, Any], list[str]]:
    """Returns the repaired index, and a sentence for each change."""
    done: list[str] = []
    fields: dict[str, Any] = dict(index.fields)
    if not isinstance(fields.get("manifests"), list):
        fields["manifests"] = []
        done.append("index.json: an empty list in place of no manifests")
    if "schemaVersion" not in fields:
        fields = {"schemaVersion": 2, **fields}
        done.append("index.json: added schemaVersion")
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for entry in fields["manifests"]:
        if isinstance(entry, dict) and isinstance(entry.get("digest"), str):
            groups.setdefault(entry["digest"], []).append(entry)
    redundant = {id(entry) for group in groups.values() for entry in _redundant(group)}
    for entry in fields["manifests"]:
        if id(entry) in redundant:
            name = next(iter(_names_of(entry)), "without a name")
            done.append(f"index.json: dropped an entry of {entry['digest']} that another one covers ({name})")
    fields["manifests"] = [entry for entry in fields["manifests"] if id(entry) not in redundant]
    return fields, done


def _redundant(group: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Yields the entries of one manifest whose members and annotations another entry has too; of equal ones all but the
    first."""
    if len(group) == 1:
        return
    distinct: dict[str, Mapping[str, Any]] = {}
    for entry in group:
        if distinct.setdefault(json.dumps(entry, sort_keys=True), entry) is not entry:
            yield entry
    stays = {id(entry): entry for entry in distinct.values()}
    # An entry that covers another one has its rarest annotation too: of thousands of names that is one entry.
    by_annotation: dict[str, dict[int, Mapping[str, Any]]] = {}
    for entry in distinct.values():
        for text in _annotations(entry):
            by_annotation.setdefault(text, {})[id(entry)] = entry
    # The last first: of two that cover each other (without annotations, with an empty object of them) the first one stays.
    for entry in reversed(distinct.values()):
        texts = _annotations(entry)
        among = min((by_annotation[text] for text in texts), key=len, default=stays)
        if len(among) <= _MAX_COMPARED and any(_covers(other, entry) for other in among.values() if other is not entry):
            for holder in (stays, *(by_annotation[text] for text in texts)):
                holder.pop(id(entry), None)
            yield entry


def _annotations(entry: Mapping[str, Any]) -> list[str]:
    """Returns the annotations of an entry, each as a string."""
    found = entry.get("annotations")
    return [json.dumps(item, sort_keys=True) for item in found.items()] if isinstance(found, dict) else []


def _covers(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Returns whether an entry has every member and every annotation of another one."""
    members = ((one.get(key, ...), value) for key, value in other.items() if key != "annotations")
    if any(mine != value or type(mine) is not type(value) for mine, value in members):
        return False
    mine, theirs = one.get("annotations") or {}, other.get("annotations") or {}
    if not isinstance(mine, dict) or not isinstance(theirs, dict):
        return bool(mine == theirs)
    return all(mine.get(key, ...) == value for key, value in theirs.items())


def _names_of(entry: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns the names that the annotations of an entry give it."""
    annotations = string_members(entry.get("annotations"))
    return tuple(dict.fromkeys(annotations[key] for key in (REF_NAME, CONTAINERD_NAME) if annotations.get(key)))


def _invalid(fields: Mapping[str, Any]) -> Iterator[Finding]:
    """Yields findings for entries that are not valid descriptors."""
    for one in Index(b"", fields, "index.json").invalid:
        hint = f"layout rm drops it by @{one.position}"
        yield Finding("document", "error", f"index.json, entry @{one.position}", f"{one.what}; {hint}")


def _names(fields: Mapping[str, Any]) -> Iterator[Finding]:
    """Yields findings for names that several images have: readers take different ones."""
    named: dict[str, list[Descriptor]] = {}
    for one in Index(b"", fields, "index.json").manifests:
        for name in () if one.is_attestation else _names_of(one.fields):
            named.setdefault(name, []).append(one)
    for name, entries in named.items():
        full = {one.annotations.get(CONTAINERD_NAME) for one in entries} - {None}
        platforms: dict[object, set[Digest]] = {}
        for one in entries:
            platforms.setdefault(one.platform and normalized(one.platform), set()).add(one.digest)
        # A bare tag may be shared if every entry has a full name of its own.
        if len(full) < 2 and any(len(digests) > 1 for digests in platforms.values()):
            listed = ", ".join(dict.fromkeys(str(one.digest) for one in entries))
            yield Finding("duplicate-tag", "error", "index.json", f"{name} names {listed}")


def _attestations(fields: Mapping[str, Any]) -> Iterator[Finding]:
    entries = Index(b"", fields, "index.json").manifests
    listed = {str(one.digest) for one in entries}
    for one in entries:
        subject = one.annotations.get(ATTESTATION_SUBJECT)
        if subject is not None and subject not in listed:
            message = f"refers to {subject}, which is not listed"
            yield Finding("dangling-attestation", "warning", f"manifest {one.digest}", message)


def _blobs(store: LockedLayout, source: Layout, files: BlobFiles, task: Task, verify: bool) -> Iterator[Finding]:
    """Yields findings for missing and damaged blobs, and for files that are not blobs."""
    stated: dict[Digest, set[int]] = {}
    documents: list[Finding] = []
    for one in _descriptors(source, documents):
        stated.setdefault(one.digest, set()).add(one.size)
    yield from documents
    wrong: Sequence[bool] = [False] * len(files.blobs)
    if verify:
        wrong = task.map(lambda file: not layout_store.is_intact(store, file, task), files.blobs)
    for file, damaged in zip(files.blobs, wrong, strict=True):
        sizes = stated.get(file.digest, set()) - {file.size}
        if sizes:
            text = " and ".join(str(size) for size in sorted(sizes))
            yield Finding("size", "error", f"blob {file.digest}", f"{file.size} bytes where {text} are stated")
        elif not file.size and file.digest != Digest.of(b"", file.digest.algorithm):
            yield Finding("size", "error", f"blob {file.digest}", "an empty file")
        elif damaged:
            yield Finding("digest", "error", f"blob {file.digest}", "the content does not match the digest")
    for path in files.other_paths:
        yield Finding("unknown-file", "warning", path, "it is not a blob; it is left alone")


def _descriptors(source: Layout, problems: list[Finding]) -> Iterator[Descriptor]:
    """Yields every descriptor that can be reached from the index; appends findings for missing and damaged documents to
    `problems`."""
    assert source.index is not None
    try:
        for entry, depth in all_children(source, source.index):
            yield entry.descriptor
            if isinstance(entry.problem, TransportError):
                raise entry.problem
            if entry.problem is not None:
                problems.append(Finding("document", "error", f"manifest {entry.descriptor.digest}", entry.problem.what))
            elif not entry.present:
                problems.append(_missing(entry.descriptor, entry.descriptor, partial=depth > 0))
            elif isinstance(entry.document, Index):
                for bad in entry.document.invalid:
                    where = f"index {entry.descriptor.digest}, entry {bad.position}"
                    problems.append(Finding("document", "error", where, bad.what))
            elif isinstance(entry.document, Manifest):
                for one in (entry.document.config, *entry.document.layers):
                    yield one
                    if not one.urls and "data" not in one.fields and source.blob(one) is None:
                        problems.append(_missing(entry.descriptor, one))
    except LimitError as error:
        problems.append(Finding("limit", "error", "index.json", error.what))


def _missing(manifest: Descriptor, one: Descriptor, *, partial: bool = False) -> Finding:
    """Returns the finding for a missing blob. `partial`: an index lists it as a manifest, which is normal if one platform
    was fetched."""
    message = f"the blob {one.digest} is not here"
    if partial:
        return Finding("missing-platform", "warning", f"manifest {manifest.digest}", message)
    return Finding("missing-blob", "error", f"manifest {manifest.digest}", message)
