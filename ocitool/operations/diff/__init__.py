"""What changed between two images: layers, files, configuration, and what of it a reviewer must see first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ocitool.digest import Digest
from ocitool.errors import UsageError
from ocitool.globs import matcher
from ocitool.images import select
from ocitool.images.compare import FIELDS
from ocitool.images.image import Image
from ocitool.images.indexing import Indexer
from ocitool.images.select import Target
from ocitool.operations.bases import identified, key
from ocitool.operations.diff import config as config_diff
from ocitool.operations.diff import rules
from ocitool.operations.diff.files import Compared, compare_images
from ocitool.operations.diff.patches import patches
from ocitool.operations.diff.result import (
    ConfigChange,
    Diff,
    Failure,
    FileChange,
    IndexDiff,
    PlatformDiff,
    Summary,
    file_size,
)
from ocitool.operations.reading import Reading
from ocitool.spec.manifest import Platform
from ocitool.transports.opening import Opened

__all__ = ["Diff", "IndexDiff", "Question", "diff", "diff_platforms"]


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked. `paths`: globs; with them, only files that match count as a difference. `semantic`: times, layer
    boundaries and compression count for nothing."""

    ignore: tuple[str, ...] = ()
    semantic: bool = False
    paths: tuple[str, ...] = ()
    patch: bool = False
    secrets: bool = False
    """Whether patches show files that look secret."""
    rules: tuple[rules.Rule, ...] = ()

    def __post_init__(self) -> None:
        for field in self.ignore:
            if field not in FIELDS:
                raise UsageError(f"{field} is no field", hint=", ".join(FIELDS))

    @property
    def ignored(self) -> frozenset[str]:
        return frozenset(self.ignore) | ({"mtime"} if self.semantic else frozenset())


def diff(before: str, after: str, question: Question, reading: Reading, *, platform: str | None = None) -> Diff:
    """Raises whatever reading raises; an image that cannot be read is never a difference."""
    if before == "-" and after == "-":
        raise UsageError("standard input can be one of the two images, not both")
    old = reading.image(before, platform)
    new = select.one(reading.open(after, "layers"), platform, like=old.platform)
    return _images(before, after, old, new, question, reading)


def diff_platforms(before: str, after: str, question: Question, reading: Reading) -> IndexDiff:
    """Each platform of either index with its counterpart."""
    sides = [_platforms(reference, reading) for reference in (before, after)]
    (old, old_target), (new, new_target) = sides
    entries = []
    same = True
    for platform in dict.fromkeys((*old, *new)):
        if platform not in new:
            entries.append(PlatformDiff(platform, "removed", None))
        elif platform not in old:
            entries.append(PlatformDiff(platform, "added", None))
        else:
            (old_digest, a), (new_digest, b) = old[platform], new[platform]
            found = _images(before, after, a, b, question, reading) if a is not None and b is not None else None
            entries.append(PlatformDiff(platform, "both", found))
            same = same and (found.identical if found is not None else old_digest == new_digest)
    changes: tuple[ConfigChange, ...] = ()
    if old_target.document is not None and new_target.document is not None:
        changes = config_diff.index_changes(old_target.document, new_target.document)
    identical = same and not changes and all(entry.status == "both" for entry in entries)
    notices = tuple(reading.task.notices)
    moved = sum(entry.status != "both" for entry in entries)
    counts = {"files": moved, "config": moved + len(changes)}
    failures = tuple(Failure(r.text, 0, counts[r.what]) for r in question.rules if counts.get(r.what))
    return IndexDiff(before, after, identical, reading.verify, tuple(entries), changes, notices, failures)


def _platforms(
    reference: str, reading: Reading
) -> tuple[dict[Platform, tuple[Digest | None, Image | None]], Target]:
    """Per platform the manifest's digest and the image; None, with a notice, where the manifest is not here."""
    opened: Opened = reading.open(reference, "layers")
    target = select.sole(opened)
    if target.image is not None:
        return {target.image.platform: (target.image.digest, target.image)}, target
    images: dict[Platform, tuple[Digest | None, Image | None]] = {}
    for platform, entry in select.platforms(opened.source, target):
        image = select.resolve(opened.source, entry) if entry.present else None
        images[platform] = (entry.descriptor.digest, image)
        if image is None:
            reading.task.notice("missing", f"{reference}: the manifest for {platform} is not here")
    return images, target


def _images(before: str, after: str, old: Image, new: Image, question: Question, reading: Reading) -> Diff:
    indexer = reading.indexer()
    old, new = identified((old, new), indexer)
    _warn_of_claims(old, new, indexer)
    whole = any(rule.percent for rule in question.rules)
    keep = matcher(question.paths)
    compared = compare_images(old, new, indexer, ignore=question.ignored, keep=keep, whole=whole)
    changes = config_diff.changes(old, new, semantic=question.semantic)
    notable = tuple(rules.notable(old, new, compared.files, compared.shipped, compared.pairs))
    summary = _summary(old, new, compared.files)
    failures = tuple(rules.failures(question.rules, compared.files, changes, notable, summary, compared.before_size))
    return Diff(
        before, after, old, new,
        identical=_identical(compared, changes, question),
        verified=reading.verify,
        layers=compared.pairs,
        config=changes,
        files=compared.files,
        notable=notable,
        failures=failures,
        summary=summary,
        patches=patches(compared.files, reading.task, secrets=question.secrets) if question.patch else None,
        notices=tuple(reading.task.notices),
    )  # fmt: skip


def _identical(compared: Compared, changes: Sequence[ConfigChange], question: Question) -> bool:
    if compared.files:
        return False
    if question.paths:
        return True
    if changes:
        return False
    return question.semantic or all(pair.same for pair in compared.pairs)


def _summary(old: Image, new: Image, files: Sequence[FileChange]) -> Summary:
    counts = {"added": 0, "removed": 0, "modified": 0, "type": 0, "metadata": 0}
    only_mtime = delta = 0
    counted: set[tuple[int, bytes]] = set()
    for change in files:
        counts[change.kind] += 1
        only_mtime += change.only_mtime
        for sign, side in ((-1, change.before), (1, change.after)):
            if side is not None and side.links:
                # A file of several names counts once a side: when a name comes or goes, `links` changes on all of them.
                if (sign, side.links[0]) in counted:
                    continue
                counted.add((sign, side.links[0]))
            delta += sign * file_size(side)
    transfer, estimated = _transfer(old, new)
    return Summary(
        counts["added"], counts["removed"], counts["modified"], counts["type"], counts["metadata"], only_mtime, delta,
        transfer, estimated,
    )  # fmt: skip


def _transfer(old: Image, new: Image) -> tuple[int, bool]:
    """Stored bytes of what the old image does not have: layers, configuration, manifest. Estimated where the new image
    does not say how its layers would be stored in a registry."""
    digests = {layer.digest for layer in old.layers if layer.digest is not None}
    diff_ids = {layer.diff_id for layer in old.layers if layer.diff_id is not None}
    total = 0
    estimated = new.manifest is None
    seen: set[str | None] = set()
    for layer in new.layers:
        if layer.digest is not None and layer.digest in digests:
            continue
        one_sided = layer.digest is None or not digests
        if one_sided and layer.diff_id is not None and layer.diff_id in diff_ids:
            continue
        known = str(layer.digest) if layer.digest else key(layer)
        if known is not None and known in seen:
            continue
        seen.add(known)
        total += layer.size
        estimated = estimated or layer.compression == "none"
    if new.image_id != old.image_id:
        total += len(new.config.raw)
    if new.manifest is not None and new.digest != old.digest:
        total += len(new.manifest.raw)
    return total, estimated and total > 0


def _warn_of_claims(old: Image, new: Image, indexer: Indexer) -> None:
    """Layers that claim one diff_id and, both uncompressed, differ in size cannot both be right."""
    if indexer.verify:
        return
    claims = {layer.diff_id: layer for layer in old.layers if layer.diff_id is not None}
    for layer in new.layers:
        other = claims.get(layer.diff_id) if layer.diff_id is not None else None
        if other is None or other.size == layer.size or other.blob is None or layer.blob is None:
            continue
        if other.compression == layer.compression == "none":
            indexer.task.notice(
                "claim",
                f"layer {layer.number} states the diff_id {layer.diff_id} as layer {other.number} of the other image does, "
                "but their sizes differ; --verify hashes both",
            )

