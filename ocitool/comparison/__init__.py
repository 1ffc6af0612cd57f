"""`diff`: what changed between two images: layers, files, configuration, and what of it a reviewer should see first.

In the direction of the data: `options` is what is asked, `scope` which paths; `layers` pairs layers, `files` compares
file systems, `config_changes` documents, `indexes` multi-platform indexes; `alignment` aligns lists for `patches` and
histories; `notable` and `path_roles` find what a reviewer should see; `rules` is `--fail-on`; `result` holds the
values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ocitool import masking
from ocitool.comparison import config_changes, rules
from ocitool.comparison.files import ComparedFiles, compare_images
from ocitool.comparison.notable import notable
from ocitool.comparison.options import DiffOptions
from ocitool.comparison.patches import patches
from ocitool.comparison.result import (
    ConfigChange,
    Diff,
    FileChange,
    IndexDiff,
    Notable,
    NotCompared,
    PlatformDiff,
    Summary,
    file_size,
)
from ocitool.comparison.scope import PathFilter
from ocitool.digest import Digest
from ocitool.errors import UsageError
from ocitool.images import select
from ocitool.images.image import Image
from ocitool.images.platforms import normalized, parse_platform, rank
from ocitool.images.select import Target
from ocitool.pipeline.layer_identity import identified, layer_identity
from ocitool.pipeline.session import Session
from ocitool.spec.manifest import Config, Platform
from ocitool.transports.opening import Opened
from ocitool.trees.indexing import Indexer

if TYPE_CHECKING:
    from ocitool.comparison.indexes import PlatformEntry

__all__ = ["Diff", "DiffOptions", "IndexDiff", "diff", "diff_images", "diff_platforms"]


def diff(before: str, after: str, question: DiffOptions, reading: Session, *, platform: str | None = None) -> Diff:
    """Returns the differences of two images. Raises whatever reading raises: an image that cannot be read is never a
    difference."""
    if before == "-" and after == "-":
        raise UsageError("standard input can be one of the two images, not both")
    question.check()
    old_side = _side(before, reading)
    old = select.image_of(*old_side, platform)
    new_side = _side(after, reading)
    new = select.image_of(*new_side, platform, like=old.platform)
    wrapped = [side[1].document is not None for side in (old_side, new_side)]
    others: tuple[NotCompared, ...] = ()
    changes: tuple[ConfigChange, ...] = ()
    if any(wrapped):
        from ocitool.comparison import indexes

        offered = [indexes.offers(*side, read=False) for side in (old_side, new_side)]
        others = tuple(indexes.not_compared(offered[0], offered[1], old, new))
        if not all(wrapped) and platform is None:
            index, alone = (before, after) if wrapped[0] else (after, before)
            where = f"{index} is an index of {len(offered[not wrapped[0]])}, {alone} a single image"
            reading.task.notice("index", f"{where}: what was compared is {masking.stated(old.platform)}")
        if platform is None and all(wrapped):
            pairs = indexes.counterparts(*offered)
            changes = tuple(indexes.changes(old_side, new_side, pairs, semantic=question.semantic))
    scope = PathFilter(question)
    found = _images(before, after, old, new, question, scope, reading, changes)
    scope.settle(reading.task)
    owed = [one for one in others if _is_asked_for(one.platform, platform)] if all(wrapped) else []
    return found._replace(
        identical=found.identical and not owed, images_identical=found.identical, not_compared=others,
        notices=tuple(reading.task.notices), failures=(*found.failures, *rules.not_compared(question.rules, owed)),
    )  # fmt: skip


def diff_images(
    before: str, after: str, old: Image, new: Image, question: DiffOptions, reading: Session, indexer: Indexer | None = None
) -> Diff:
    """Returns the differences of two images that are open. `before`, `after`: what names them in the report; `indexer`: one
    that may have read some of their layers already. Raises what `diff` raises."""
    scope = PathFilter(question)
    found = _images(before, after, old, new, question, scope, reading, indexer=indexer)
    scope.settle(reading.task)
    return found._replace(notices=tuple(reading.task.notices))


def _is_asked_for(offered: Platform, asked: str | None) -> bool:
    """Whether the report must account for this image of an index: always, unless a platform was asked for that it is
    not exactly for."""
    if asked is None:
        return True
    near = rank(parse_platform(asked), offered, strict=True)
    return near is not None and near.exact


def _side(reference: str, reading: Session) -> tuple[Opened, Target]:
    opened = reading.open(reference, "layers")
    return opened, select.sole_target(opened)


def diff_platforms(before: str, after: str, question: DiffOptions, reading: Session) -> IndexDiff:
    """Returns the differences of each image of either index and its counterpart. Added images are checked by the rules
    of `notable`."""
    from ocitool.comparison import indexes

    question.check()
    old, new = _side(before, reading), _side(after, reading)
    pairs = indexes.counterparts(indexes.offers(*old, read=True), indexes.offers(*new, read=True))
    scope = PathFilter(question)
    entries = [_platform(before, after, (old[0], a), (new[0], b), question, scope, reading) for a, b in pairs]
    scope.settle(reading.task)
    changes = tuple(indexes.changes(old, new, pairs, semantic=question.semantic)) if question.settings else ()
    identical = not changes and all(_is_same(entry) for entry in entries)
    failures = tuple(rules.of_indexes(question.rules, entries, changes))
    return IndexDiff(
        before, after, identical, reading.verify, tuple(entries), changes, tuple(reading.task.notices), failures,
        *(Digest.of(side[1].document.raw) if side[1].document is not None else None for side in (old, new)),
    )  # fmt: skip


def _is_same(entry: PlatformDiff) -> bool:
    if entry.status != "both":
        return False
    return entry.diff.identical if entry.diff is not None else entry.before == entry.after


def _platform(
    before: str,
    after: str,
    old: tuple[Opened, PlatformEntry | None],
    new: tuple[Opened, PlatformEntry | None],
    question: DiffOptions,
    scope: PathFilter,
    reading: Session,
) -> PlatformDiff:
    a, b = (_resolved(*side, reference, reading) for side, reference in ((old, before), (new, after)))
    one, other = old[1], new[1]
    if other is None:
        assert one is not None
        return PlatformDiff(one.platform, "removed", None, (), one.digest, None)
    if one is None:
        came = _new(b, question, scope, reading) if b is not None else ()
        return PlatformDiff(other.platform, "added", None, came, None, other.digest)
    if normalized(one.platform) != normalized(other.platform):
        text = f"{masking.stated(one.platform)} of {before} is compared with {masking.stated(other.platform)} of {after}"
        reading.task.notice("platform", text)
    found = _images(before, after, a, b, question, scope, reading) if a is not None and b is not None else None
    return PlatformDiff(other.platform, "both", found, (), one.digest, other.digest)


def _resolved(opened: Opened, offer: PlatformEntry | None, reference: str, reading: Session) -> Image | None:
    """Returns the image of an entry; None, with a notice, if its manifest is missing."""
    if offer is None or offer.entry is None:
        return offer and offer.image
    if offer.entry.present:
        return select.resolve(opened.source, offer.entry)
    reading.task.notice("missing", f"{reference}: the manifest for {masking.stated(offer.platform)} is not here")
    return None


def _new(image: Image, question: DiffOptions, scope: PathFilter, reading: Session) -> tuple[Notable, ...]:
    """Returns what a reviewer should see first of an added image."""
    nothing = image._replace(tags=(), digest=None, manifest=None, config=Config(b"{}", {}), image_id="", layers=())
    indexer = reading.indexer()
    compared = compare_images(nothing, image, indexer, ignore=(), keep=scope.keep, whole=False)
    scope.look(nothing, image, compared.files, indexer)
    settings = config_changes.changes(nothing, image, reading.task, semantic=False)
    found = notable(nothing, image, compared.files, compared.shipped, compared.pairs, settings)
    return tuple(one for one in found if _asked(one, question, scope))


def _images(
    before: str, after: str, old: Image, new: Image, question: DiffOptions, scope: PathFilter, reading: Session,
    index: Sequence[ConfigChange] = (), indexer: Indexer | None = None,
) -> Diff:  # fmt: skip
    """Returns the differences of two images. `index`: differences of the indexes that list them."""
    indexer = indexer or reading.indexer()
    old, new = identified((old, new), indexer)
    _warn_of_claims(old, new, indexer)
    whole = any(rule.percent for rule in question.rules)
    compared = compare_images(old, new, indexer, ignore=question.ignored, keep=scope.keep, whole=whole)
    scope.look(old, new, compared.files, indexer)
    settings = (*index, *config_changes.changes(old, new, reading.task, semantic=False))
    changes: Sequence[ConfigChange] = ()
    if question.settings:
        changes = (*index, *config_changes.changes(old, new, reading.task, semantic=True)) if question.semantic else settings
    found = notable(old, new, compared.files, compared.shipped, compared.pairs, settings)
    asked = tuple(one for one in found if _asked(one, question, scope))
    summary = _summary(old, new, compared.files)
    failures = tuple(rules.failures(question.rules, compared.files, changes, asked, summary, compared.before_size))
    return Diff(
        before, after, old, new,
        identical=_identical(compared, changes, question),
        verified=reading.verify,
        layers=compared.pairs,
        config=tuple(changes),
        files=compared.files,
        notable=asked,
        failures=failures,
        summary=summary,
        patches=patches(compared.files, reading.task, secrets=question.secrets) if question.patch else None,
        notices=tuple(reading.task.notices),
        paths=question.paths,
        ignored_paths=question.ignored_paths,
        settings=question.settings,
    )  # fmt: skip


def _asked(notable: Notable, question: DiffOptions, scope: PathFilter) -> bool:
    """Whether a notable thing is about what was compared."""
    if notable.path is not None:
        return scope.keep(notable.path)
    return question.settings if notable.pointer is not None else not question.paths and not question.ignored_paths


def _identical(compared: ComparedFiles, changes: Sequence[ConfigChange], question: DiffOptions) -> bool:
    if compared.files or changes:
        return False
    return question.semantic or bool(question.paths or question.ignored_paths) or all(pair.same for pair in compared.pairs)


def _summary(old: Image, new: Image, files: Sequence[FileChange]) -> Summary:
    counts = {"added": 0, "removed": 0, "modified": 0, "type": 0, "metadata": 0}
    only_mtime = delta = 0
    counted: set[tuple[int, bytes]] = set()
    for change in files:
        counts[change.kind] += 1
        only_mtime += change.only_mtime
        for sign, side in ((-1, change.before), (1, change.after)):
            if side is not None and side.links:
                # A file with several names is counted once a side: if a name is added, `links` changes on all of them.
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
    """Returns the stored bytes of what the old image does not have: layers, configuration, manifest; and whether they
    are estimated, because the new image does not state how its layers would be stored in a registry."""
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
        known = str(layer.digest) if layer.digest else layer_identity(layer)
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
    """Adds a notice for layers that state one diff_id and, both uncompressed, differ in size: one of them must be
    wrong."""
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
