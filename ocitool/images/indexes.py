"""Edits of multi-platform indexes, and referrers: attestations, signatures and whatever else refers to a manifest by
digest.

Sources: image-spec image-index.md, and the attestation storage of buildkit (annotation `vnd.docker.reference.digest`).
A referrer is about one digest: once an image changes, its referrers are about the old one only.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from ocitool.digest import Digest
from ocitool.errors import LimitError
from ocitool.images.index_children import IndexChild, all_children, index_children
from ocitool.limits import INDEX_MANIFESTS
from ocitool.reference import DIGEST_TAG, is_digest_tag
from ocitool.spec.document import serialised
from ocitool.spec.manifest import ATTESTATION_SUBJECT, Descriptor, Index, InvalidDescriptor
from ocitool.transports.source import Referrer, RemoteSource, Source

_IDENTITY = ("mediaType", "digest", "size")
_CONTENT_MEMBERS = ("data", "urls")
"""Members of a descriptor that hold or locate the content itself, so they are not kept for other content."""


class EditedIndex(NamedTuple):
    """The new index document, and the attestations that were removed from it."""

    raw: bytes
    dropped: tuple[Descriptor, ...]


def edit(index: Index, replaced: Mapping[Digest, Mapping[str, Any] | None]) -> EditedIndex:
    """Returns the index with other manifests in place of some; None in `replaced` removes an entry.

    An entry keeps its place, platform, annotations and unknown members; media type, digest and size come from the new
    descriptor. Attestations of replaced or removed manifests are removed; all other entries stay as they are. An index
    that has none of the digests keeps its bytes. For nested indexes, edit the inner one first, then replace it here.
    """
    entries: list[Any] = []
    dropped = []
    changed = False
    by_text = {str(digest): new for digest, new in replaced.items()}
    for descriptor in index.entries:
        if isinstance(descriptor, InvalidDescriptor):
            entries.append(descriptor.value)
            continue
        fields = descriptor.fields
        if descriptor.digest in replaced:
            new = replaced[descriptor.digest]
            if new is not None:
                kept = {key: value for key, value in fields.items() if key not in _CONTENT_MEMBERS}
                if any(new[key] != fields.get(key) for key in _IDENTITY):
                    fields = {**kept, **{key: new[key] for key in _IDENTITY}}
                    changed = True
                entries.append(fields)
            else:
                changed = True
        elif _is_attestation_of(descriptor, by_text):
            dropped.append(descriptor)
            changed = True
        else:
            entries.append(fields)
    if not changed:
        return EditedIndex(index.raw, ())
    return EditedIndex(serialised({**index.fields, "manifests": entries}), tuple(dropped))


def _is_attestation_of(descriptor: Descriptor, replaced: Mapping[str, Mapping[str, Any] | None]) -> bool:
    subject = descriptor.annotations.get(ATTESTATION_SUBJECT)
    if subject is None or subject not in replaced:
        return False
    new = replaced[subject]
    return new is None or new["digest"] != subject


class ReferrerReport(NamedTuple):
    """A manifest that refers to an image by digest. `kind` is `signature`, `attestation`, or its own artifact type."""

    kind: str
    subject: Digest
    descriptor: Descriptor
    tags: tuple[str, ...]

    @property
    def digest(self) -> Digest:
        return self.descriptor.digest


LISTING = "list of referrers"
"""The kind of an index under the referrers tag, which replaces the referrers API at registries that lack it."""


def all_referrers(source: Source, subjects: Collection[Digest]) -> list[Referrer]:
    """Returns the referrers of these manifests, and the referrers of those (signatures of SBOMs). Raises `LimitError`."""
    found: dict[tuple[Digest, str | None], Referrer] = {}
    waiting = list(dict.fromkeys(subjects))
    asked = set(waiting)
    while waiting:
        new = _direct_referrers(source, waiting)
        for one in new:
            found.setdefault((one.descriptor.digest, one.tag), one)
            if len(found) > INDEX_MANIFESTS:
                raise LimitError(f"more than {INDEX_MANIFESTS} manifests", source.where)
        waiting = [digest for digest in dict.fromkeys(one.descriptor.digest for one in new) if digest not in asked]
        asked.update(waiting)
    return list(found.values())


def _direct_referrers(source: Source, subjects: Sequence[Digest]) -> list[Referrer]:
    """Returns the referrers of these manifests."""
    if isinstance(source, RemoteSource):
        return [one for digest in subjects for one in source.referrers(digest)]
    made = []
    for one in referrers(source, subjects):
        if one.kind == LISTING:
            continue  # the destination makes its own list; what this one lists is found by itself
        # A tag that contains the digest is copied as it is; any other name is a name like an image's.
        tags = [name.rpartition(":")[2] if is_digest_tag(name) else name for name in one.tags]
        made += [Referrer(one.subject, one.descriptor, tag) for tag in tags or (None,)]
    return made


def referrer_reports(found: Sequence[Referrer]) -> tuple[ReferrerReport, ...]:
    """Returns what `referrers` would return for these referrers, which a registry listed."""
    made = []
    for one in found:
        suffix = one.tag.rpartition(".")[2] if one.tag is not None else ""
        kind = _KINDS.get(suffix) or _kind(one.descriptor.fields)
        made.append(ReferrerReport(kind, one.subject, one.descriptor, (one.tag,) if one.tag is not None else ()))
    return tuple(made)


def referrers(source: Source, subjects: Collection[Digest]) -> tuple[ReferrerReport, ...]:
    """Returns the referrers of these manifests in a layout or archive: by `subject`, by cosign's tags and the referrers
    tag schema, and by buildkit's annotation.

    Signatures often are about a multi-platform index and not its images: ask for both digests. Reads each manifest of
    the source once.
    """
    if source.index is None or not subjects:
        return ()
    wanted = set(subjects)
    by_text = {str(digest): digest for digest in wanted}
    by_tag = {digest.referrers_tag: digest for digest in wanted}
    found: dict[tuple[Digest, Digest], ReferrerReport] = {}
    tags: dict[tuple[Digest, Digest], dict[str, None]] = {}

    def add(kind: str, subject: Digest, listed: IndexChild) -> None:
        key = subject, listed.descriptor.digest
        found.setdefault(key, ReferrerReport(kind, subject, listed.descriptor, ()))
        tags.setdefault(key, {}).update(dict.fromkeys(listed.tags))  # one entry for each name, as layouts have them

    for listed, _ in all_children(source, source.index):
        for tag in listed.tags:
            name = DIGEST_TAG.fullmatch(tag)
            about = None
            if name is not None:
                about = by_text.get(f"{name['algorithm']}:{name['encoded']}")
                if about is None and not name["kind"]:
                    about = by_tag.get(f"{name['algorithm']}-{name['encoded']}")
            if name is not None and about is not None:
                add(_KINDS.get(name["kind"] or "", name["kind"] or LISTING), about, listed)
                if listed.nested is not None and not name["kind"]:
                    for child in index_children(source, listed.nested):
                        if child.document is None and not child.opaque:  # else its own `subject` is used
                            add(_kind(child.descriptor.fields), about, child)
        spoken = by_text.get(listed.descriptor.annotations.get(ATTESTATION_SUBJECT, ""))
        if spoken is not None:
            add("attestation", spoken, listed)
        if listed.document is not None:
            subject = listed.document.fields.get("subject")
            text = subject.get("digest") if isinstance(subject, dict) else None
            if isinstance(text, str) and text in by_text:
                add(_kind(listed.document.fields), by_text[text], listed)
    return tuple(one._replace(tags=tuple(tags[key])) for key, one in found.items())


_KINDS = {"sig": "signature", "att": "attestation", "sbom": "SBOM"}


def _kind(fields: Mapping[str, Any]) -> str:
    """Returns the artifact type of a referrer: its own, else the media type of its config."""
    stated = fields.get("artifactType")
    if not isinstance(stated, str) or not stated:
        config = fields.get("config")
        stated = config.get("mediaType") if isinstance(config, dict) else None
    return stated if isinstance(stated, str) and stated else "referrer"
