"""`diff`: what changed between two images: layers, files, configuration, and what a reviewer should see first.

In the direction of the data: `options` has the options, `scope` decides which paths are compared; `layers` pairs layers,
`files` compares file systems, `config_changes` documents, `indexes` multi-platform indexes; `renames` and `groups` tell
what happened to files, `volatile_changes` which of them are noise of the build; `transfer` counts bytes to fetch;
`alignment` aligns lists for `patches` and histories; `notable` and `path_roles` find what a reviewer should see; `rules`
checks `--fail-on`; `result` has the types of the result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ocitool import masking
from ocitool.comparison import config_changes, policies, rules
from ocitool.comparison.files import ComparedFiles, compare_images
from ocitool.comparison.groups import grouped
from ocitool.comparison.notable import notable
from ocitool.comparison.options import DiffOptions
from ocitool.comparison.patches import patches
from ocitool.comparison.result import (
    ConfigChange,
    Diff,
    ExtractedFiles,
    FileChange,
    IndexDiff,
    Notable,
    NotCompared,
    PackageDiff,
    PlatformDiff,
    Summary,
    VolatileFiles,
    file_size,
)
from ocitool.comparison.scope import PathFilter
from ocitool.comparison.transfer import transfer_bytes
from ocitool.comparison.volatile_changes import volatile_files
from ocitool.digest import Digest
from ocitool.errors import UsageError
from ocitool.images import platform_choice, select
from ocitool.images.image import Image
from ocitool.images.index_children import image_of_child
from ocitool.images.platforms import normalized, parse_platform, rank
from ocitool.images.select import Target
from ocitool.pipeline.layer_identity import layer_identity, with_diff_ids
from ocitool.pipeline.session import Session
from ocitool.spec.manifest import Platform
from ocitool.transports.opening import Opened
from ocitool.trees.indexing import Indexer

if TYPE_CHECKING:
    from ocitool.comparison.indexes import PlatformEntry
    from ocitool.comparison.inside.values import Insides
    from ocitool.task import Task

__all__ = ["Diff", "DiffOptions", "IndexDiff", "diff", "diff_images", "diff_platforms"]


def diff(before: str, after: str, options: DiffOptions, session: Session, *, platform: str | None = None) -> Diff:
    """Returns the differences of two images. Raises whatever reading raises: an image that cannot be read is never a
    difference."""
    if before == "-" and after == "-":
        raise UsageError("standard input can be one of the two images, not both")
    options.check()
    old_side = _side(before, session)
    old = platform_choice.image_of(*old_side, platform)
    new_side = _side(after, session)
    new = platform_choice.image_of(*new_side, platform, like=old.platform)
    wrapped = [side[1].document is not None for side in (old_side, new_side)]
    others: tuple[NotCompared, ...] = ()
    changes: tuple[ConfigChange, ...] = ()
    if any(wrapped):
        from ocitool.comparison import indexes

        offered = [indexes.platform_entries(*side, read=False) for side in (old_side, new_side)]
        others = tuple(indexes.not_compared(offered[0], offered[1], old, new))
        if not all(wrapped) and platform is None:
            index, alone = (before, after) if wrapped[0] else (after, before)
            where = f"{index} is an index of {len(offered[not wrapped[0]])}, {alone} a single image"
            session.task.notice("index", f"{where}: what was compared is {masking.stated(old.platform)}")
        if platform is None and all(wrapped):
            pairs = indexes.counterparts(*offered)
            changes = tuple(indexes.changes(old_side, new_side, pairs, semantic=options.semantic))
    scope = PathFilter(options)
    found = _images(before, after, old, new, options, scope, session, changes)
    scope.check_matches(session.task)
    unexplained = [one for one in others if _is_selected(one.platform, platform)] if all(wrapped) else []
    return found._replace(
        identical=found.identical and not unexplained, images_identical=found.identical, not_compared=others,
        notices=tuple(session.task.notices), failures=(*found.failures, *rules.not_compared(options.rules, unexplained)),
    )  # fmt: skip


def diff_images(
    before: str, after: str, old: Image, new: Image, options: DiffOptions, session: Session, indexer: Indexer | None = None
) -> Diff:
    """Returns the differences of two open images. `before`, `after`: their names in the report; `indexer`: an indexer that
    may have read some of their layers already. Raises what `diff` raises."""
    scope = PathFilter(options)
    found = _images(before, after, old, new, options, scope, session, indexer=indexer)
    scope.check_matches(session.task)
    return found._replace(notices=tuple(session.task.notices))


def _is_selected(platform: Platform, selected: str | None) -> bool:
    """Returns whether an image of an index that was not compared counts as a difference: without `--platform` always, else
    only if its platform is exactly the selected one."""
    if selected is None:
        return True
    near = rank(parse_platform(selected), platform, strict=True)
    return near is not None and near.exact


def _side(reference: str, session: Session) -> tuple[Opened, Target]:
    opened = session.open(reference, "layers")
    return opened, select.sole_target(opened)


def diff_platforms(before: str, after: str, options: DiffOptions, session: Session) -> IndexDiff:
    """Returns the differences of each image of either index and its counterpart. Added images are checked by the rules
    of `notable`."""
    from ocitool.comparison import indexes

    options.check()
    if options.extract is not None:
        raise UsageError("--extract writes one pair of images", hint="--platform OS/ARCH instead of --all-platforms")
    old, new = _side(before, session), _side(after, session)
    pairs = indexes.counterparts(indexes.platform_entries(*old, read=True), indexes.platform_entries(*new, read=True))
    scope = PathFilter(options)
    entries = [_platform(before, after, (old[0], a), (new[0], b), options, scope, session) for a, b in pairs]
    scope.check_matches(session.task)
    changes = tuple(indexes.changes(old, new, pairs, semantic=options.semantic)) if options.settings else ()
    identical = not changes and all(_is_same(entry) for entry in entries)
    failures = tuple(rules.of_indexes(options.rules, entries, changes))
    return IndexDiff(
        before, after, identical, session.verify, tuple(entries), changes, tuple(session.task.notices), failures,
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
    options: DiffOptions,
    scope: PathFilter,
    session: Session,
) -> PlatformDiff:
    a, b = (_resolved(*side, reference, session) for side, reference in ((old, before), (new, after)))
    one, other = old[1], new[1]
    if other is None:
        assert one is not None
        return PlatformDiff(one.platform, "removed", None, (), one.digest, None)
    if one is None:
        came = _notable_of_added(b, options, scope, session) if b is not None else ()
        return PlatformDiff(other.platform, "added", None, came, None, other.digest)
    if normalized(one.platform) != normalized(other.platform):
        text = f"{masking.stated(one.platform)} of {before} is compared with {masking.stated(other.platform)} of {after}"
        session.task.notice("platform", text)
    found = _images(before, after, a, b, options, scope, session) if a is not None and b is not None else None
    return PlatformDiff(other.platform, "both", found, (), one.digest, other.digest)


def _resolved(opened: Opened, one: PlatformEntry | None, reference: str, session: Session) -> Image | None:
    """Returns the image of an entry; None, with a notice, if its manifest is missing."""
    if one is None or one.entry is None:
        return one and one.image
    if one.entry.present:
        return image_of_child(opened.source, one.entry)
    session.task.notice("missing", f"{reference}: the manifest for {masking.stated(one.platform)} is not here")
    return None


def _notable_of_added(image: Image, options: DiffOptions, scope: PathFilter, session: Session) -> tuple[Notable, ...]:
    """Returns what a reviewer should see first of an image that is on the after side only: all of it is new."""
    from ocitool.comparison.alone import nothing_of

    nothing = nothing_of(image)
    indexer = session.indexer()
    compared = compare_images(nothing, image, indexer, ignore=(), keep=scope.keep, whole=False)
    scope.record_matches(nothing, image, compared.files, indexer)
    settings = config_changes.changes(nothing, image, session.task, semantic=False)
    found = notable(nothing, image, compared, settings, session.task)
    return policies.with_acceptances([one for one in found if _in_scope(one, options, scope)], options.policy)


def _images(
    before: str, after: str, old: Image, new: Image, options: DiffOptions, scope: PathFilter, session: Session,
    index: Sequence[ConfigChange] = (), indexer: Indexer | None = None,
) -> Diff:  # fmt: skip
    """Returns the differences of two images. `index`: differences of the index documents that list them, which are reported
    too."""
    if options.extract is not None:
        from ocitool.comparison.extracting import check_destination  # before anything is read

        check_destination(options.extract)
    indexer = indexer or session.indexer()
    old, new = with_diff_ids((old, new), indexer)
    _warn_of_claims(old, new, indexer)
    whole = any(rule.percent for rule in options.rules) or policies.needs_size_before(options.policy)
    compared = compare_images(old, new, indexer, ignore=options.ignored, keep=scope.keep, whole=whole)
    scope.record_matches(old, new, compared.files, indexer)
    settings = (*index, *config_changes.changes(old, new, session.task, semantic=False))
    changes: Sequence[ConfigChange] = ()
    if options.settings:
        changes = (*index, *config_changes.changes(old, new, session.task, semantic=True)) if options.semantic else settings
    packages, altered = _packages(old, new, compared, options, indexer)
    everything = not (options.paths or options.ignored_paths or options.ignored - {"mtime"})
    found = notable(old, new, compared, settings, session.task, packages=packages, altered=altered)
    grave = {one.path for one in found if one.severity == "security"}  # so that a token in a log is reported
    volatile = volatile_files(compared.files, compared.pairs, packages, session.task, whole=everything, but=grave)
    if options.ignore_volatile:
        kept = tuple(change for change in compared.files if change.path not in volatile.classes)
        found = tuple(one for one in found if one.path not in volatile.classes)
        compared, volatile = compared._replace(files=kept), volatile._replace(classes={}, groups=())
    reported = policies.with_acceptances([one for one in found if _in_scope(one, options, scope)], options.policy)
    groups = grouped(compared.files, _told_elsewhere(packages, volatile))
    summary = _summary(old, new, compared.files)._replace(renamed=groups.renamed)
    failures = list(rules.failures(options.rules, compared.files, changes, reported, summary, compared.before_size))
    budget = None
    if options.policy is not None and options.policy.budget and not (options.paths or options.ignored_paths):
        budget = tuple(policies.budget_lines(options.policy, new, summary, compared.before_size, indexer))
        failures += () if any(rule.what == "none" for rule in options.rules) else policies.budget_failures(budget)
    return Diff(
        before, after, old, new,
        identical=_identical(compared, changes, options),
        verified=session.verify,
        layers=compared.pairs,
        config=tuple(changes),
        files=compared.files,
        notable=reported,
        failures=tuple(failures),
        summary=summary,
        patches=patches(compared.files, session.task, secrets=options.secrets) if options.patch else None,
        notices=tuple(session.task.notices),
        paths=options.paths,
        ignored_paths=options.ignored_paths,
        settings=options.settings,
        policy=options.policy.path if options.policy is not None else None,
        budget=budget,
        packages=packages,
        groups=groups,
        volatile=volatile,
        ignored_volatile=options.ignore_volatile,
        inside=_inside(old, new, compared, packages, options, session.task),
        extracted=_extracted(compared.files, options, session.task),
    )  # fmt: skip


def _packages(
    old: Image, new: Image, compared: ComparedFiles, options: DiffOptions, indexer: Indexer
) -> tuple[PackageDiff | None, Sequence[Notable]]:
    """Returns the packages that changed, and what is notable about files of packages that did not."""
    if compared.files:
        from ocitool.comparison.packages import altered_notables, compare_packages  # not for images without a difference

        found = compare_packages(old, new, compared, indexer)
        if found is not None:
            return found.packages, tuple(altered_notables(found.altered))
    return None if options.paths or options.ignored_paths else PackageDiff(), ()


def _told_elsewhere(packages: PackageDiff | None, volatile: VolatileFiles) -> Callable[[bytes], bool] | None:
    """Returns a test whether packages or classes of volatile files tell of the change of a path; None if none is told there."""
    classes = volatile.classes
    if packages is None or not packages.changed:
        return classes.__contains__ if classes else None
    explains = packages.explains
    return lambda path: path in classes or explains(path)


def _extracted(files: Sequence[FileChange], options: DiffOptions, task: Task) -> ExtractedFiles | None:
    if options.extract is None:
        return None
    from ocitool.comparison.extracting import extract_changes

    return extract_changes(files, options.extract, task)


def _inside(
    old: Image, new: Image, compared: ComparedFiles, packages: PackageDiff | None, options: DiffOptions, task: Task
) -> Insides | None:
    """Returns what changed inside files. A file that a package of the system explains is not looked into unless all are; one
    that records its own packages, as programs of Go do, always is."""
    if not any(change.kind == "modified" for change in compared.files):
        return None
    from ocitool.comparison.inside.reading import look_inside  # not for images without changed files

    shared = {layer_identity(layer) for layer in old.layers} & {layer_identity(layer) for layer in new.layers} - {None}
    explained: set[bytes] = set()
    if packages is not None:
        explained = (
            packages.owners.keys() - {one.change.package.database for one in packages.changed} | packages.followers.keys()
        )
    return look_inside(compared.files, task, thorough=options.inside, shared=shared, explained=explained)


def _in_scope(notable: Notable, options: DiffOptions, scope: PathFilter) -> bool:
    """Returns whether a notable change concerns what was compared: a path that was, settings if they were, layers if all
    files were."""
    if notable.path is not None:
        return scope.keep(notable.path)
    return options.settings if notable.pointer is not None else not options.paths and not options.ignored_paths


def _identical(compared: ComparedFiles, changes: Sequence[ConfigChange], options: DiffOptions) -> bool:
    if compared.files or changes:
        return False
    partial = bool(options.paths or options.ignored_paths or options.ignore_volatile)
    return options.semantic or partial or all(pair.same for pair in compared.pairs)


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
    transfer, estimated = transfer_bytes(old, new)
    return Summary(
        counts["added"], counts["removed"], counts["modified"], counts["type"], counts["metadata"], only_mtime, delta,
        transfer, estimated,
    )  # fmt: skip


def _warn_of_claims(old: Image, new: Image, indexer: Indexer) -> None:
    """Adds a notice for two layers, one of each image, that state the same diff_id and, both uncompressed, differ in size:
    one must be wrong."""
    if indexer.verify:
        return
    stated = {layer.diff_id: layer for layer in old.layers if layer.diff_id is not None}
    for layer in new.layers:
        other = stated.get(layer.diff_id) if layer.diff_id is not None else None
        if other is None or other.size == layer.size or other.blob is None or layer.blob is None:
            continue
        if other.compression == layer.compression == "none":
            indexer.task.notice(
                "claim",
                f"layer {layer.number} states the diff_id {layer.diff_id} as layer {other.number} of the other image does, "
                "but their sizes differ; --verify hashes both",
            )
