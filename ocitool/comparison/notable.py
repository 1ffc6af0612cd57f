"""Finds what a reviewer should see first (`notable`), by rules about files, settings, layers and contents.

`notable_rules` has the table of rules, `notable_files`, `notable_settings` and `notable_contents` find what they say, and
`path_roles` knows the paths.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from ocitool.comparison import notable_files, notable_settings, path_roles
from ocitool.comparison.files import ComparedFiles, ShippedFile
from ocitool.comparison.notable_contents import SmallFiles
from ocitool.comparison.notable_rules import RULES, SEVERITIES, Severity
from ocitool.comparison.path_roles import PathRole
from ocitool.comparison.result import ConfigChange, FileChange, LayerPair, Notable, NotableFact, PackageDiff, Quoted, file_size
from ocitool.images.image import Image, Layer
from ocitool.masking.files import secret_path
from ocitool.packages.package import PackageKind
from ocitool.packages.readers import SYSTEM_KINDS
from ocitool.task import Task
from ocitool.volatile import volatile_class

SHIPPED_FLOOR = 1_000_000
"""Bytes of deleted files that one layer hides, from which on they are a cost."""

UNSHARED_FLOOR = 50_000_000
"""Bytes that a layer stores again, though its files did not change, from which on they are a cost."""

LAYERS = 120
"""Layers from which on an image is near the limit of engines: dockerd runs up to 125, overlayfs mounts up to 128."""


class Cause(NamedTuple):
    """A package that explains a path. `said`: which, as the end of a sentence. `listed`: it is the package's own; otherwise a
    database, log or cache that follows."""

    kind: PackageKind
    said: tuple[str, ...]
    listed: bool = True


Explained = Callable[[bytes], Cause | None]
"""Returns the package that explains a path; None if there is none."""


def notable(
    before: Image, after: Image, compared: ComparedFiles, settings: Sequence[ConfigChange], task: Task, *,
    packages: PackageDiff | None = None, altered: Iterable[Notable] = (),
) -> tuple[Notable, ...]:  # fmt: skip
    """Returns what a reviewer should see first, the gravest first.

    `settings`: all changes of the documents, including those of the history. `packages`: the packages that changed; what comes
    with them is `info`, and their files are not searched. `altered`: what is notable about files of the others. Adds a notice
    if there are too many files to be searched."""
    changed = packages or PackageDiff()
    found = _found(before, after, compared, settings, task, _explainer(changed), alone=False)
    return _sorted((*found, *altered, *_downgraded(changed)))


def notable_alone(
    image: Image, nothing: Image, compared: ComparedFiles, settings: Sequence[ConfigChange], task: Task, explained: Explained
) -> tuple[Notable, ...]:
    """Returns what is notable about one image without another: what `RULES` says of one alone. `compared`, `settings`: its
    differences from `nothing`, an image without content. `explained`: the installed package that a path belongs to."""
    found = _found(nothing, image, compared, settings, task, explained, alone=True)
    return _sorted([item._replace(said=_of_one(item.said)) for item in found if _tells_alone(item)])


_INFO_ALONE = frozenset({"user-root", "setuid", "setgid", "capability", "deleted-still-ships"})
"""Rules of which `info` is told of one image too; of the others every image has some."""


def _tells_alone(item: Notable) -> bool:
    return RULES[item.rule].alone and (item.severity != "info" or item.rule in _INFO_ALONE)


def _of_one(said: tuple[str, ...]) -> tuple[str, ...]:
    """Returns a sentence about a change as one about what is there."""
    first, *rest = said
    for new in ("new: ", "new "):
        first = first.removeprefix(new)
    return first.replace(" is new", "").replace(" are new", ""), *rest


def _explainer(packages: PackageDiff) -> Explained:
    def explained(path: bytes) -> Cause | None:
        position = packages.owners.get(path)
        if position is None:
            kind = packages.followers.get(path)
            return Cause(kind, (", as packages changed",), listed=False) if kind is not None else None
        change = packages.changed[position].change
        name, kind = change.package.name, change.package.kind
        if change.before is None or change.after is None:
            return Cause(kind, (f", by the {change.kind} package ", Quoted(f"{name} {change.package.version}")))
        return Cause(kind, (", by package ", Quoted(f"{name} {change.before.version} -> {change.after.version}")))

    return explained


def _downgraded(packages: PackageDiff) -> Iterator[Notable]:
    severity = RULES["package-downgraded"].severity
    for change, _, _, layer in packages.changed:
        if change.kind == "downgraded" and change.before is not None and change.after is not None:
            name = change.package.name
            said = (Quoted(f"{name} {change.after.version}"), " now, was ", Quoted(change.before.version))
            yield Notable("package-downgraded", None, None, layer, said, severity, key=name)


def _found(
    before: Image, after: Image, compared: ComparedFiles, settings: Sequence[ConfigChange], task: Task, explained: Explained, *,
    alone: bool,
) -> Iterator[Notable]:  # fmt: skip
    named: dict[int, PathRole | None] = {}
    small = SmallFiles(alone=alone)
    for change in compared.files:
        side = change.after
        if side is None:
            small.add_removed(change)
            continue
        if change.only_mtime:
            continue
        for finding in notable_files.of_attributes(change, side):
            yield _of_path(change, finding, explained, alone)
        role = notable_files.role_of(change, side, named)
        judged = role if role is not None and role.content is not None else None
        searched = not path_roles.program(change.path) or explained(change.path) is None
        taken = searched and small.add(change, judged)
        if role is not None and not (taken and judged) and (role.alone or not alone):
            yield _of_path(change, notable_files.of_role(change, role), explained, alone)
    for item, findings in small.judged(task):
        if item.change.after is None:
            continue
        by_content = findings is not None  # what a content says of itself no database explains away
        if findings is None and item.role is not None and (item.role.alone or not alone):
            findings = (notable_files.of_role(item.change, item.role),)
        elif not findings and item.role is not None and item.role.rule == "secret-file":
            findings = (
                NotableFact("secret-file", ("looks secret by its path, but holds neither key nor credentials",), "info"),
            )
        for finding in findings or ():
            yield _of_path(item.change, finding, _unexplained if by_content else explained, alone)
    for pointer, finding in notable_settings.of_config(before, after, alone=alone):
        yield _of_pointer(pointer, finding)
    for pointer, finding in notable_settings.of_settings(settings, alone=alone):
        yield _of_pointer(pointer, finding)
    yield from _shipped(compared.shipped)
    yield from _unshared(compared.pairs, compared.files)
    yield from _layer_count(before, after)


def _of_path(change: FileChange, finding: NotableFact, explained: Explained, alone: bool) -> Notable:
    severity = finding.severity or RULES[finding.rule].severity
    said = finding.said
    if severity == "security":
        cause = explained(change.path)
        if cause is not None and _is_ordinary(change.path, finding, cause, alone):
            severity, said = "info", (*said, *cause.said)
    return Notable(finding.rule, change.path, None, change.layer, said, severity, key=finding.key)


_PACKAGED = frozenset({"setuid-content", "interpreter", "loader", "accounts", "cron", "trust", "package-source", "secret-file"})
"""Rules whose findings an ordinary update of a package of a distribution brings."""
_PACKAGED_ALONE = _PACKAGED | {"setuid", "setgid", "capability"}
_LANGUAGES = frozenset({"loader", "trust", "secret-file"})
"""Those that packages of languages bring, among their own programs, and that databases and caches do."""


def _unexplained(path: bytes) -> Cause | None:
    return None


def _is_ordinary(path: bytes, finding: NotableFact, cause: Cause, alone: bool) -> bool:
    """Returns whether a finding is what packages of that kind bring. What a database lists is not trusted further: a package
    has no files in homes, no accounts or sources of its own, and one of a language none of the system's."""
    if path_roles.never_packaged(path):
        return False
    if cause.kind in SYSTEM_KINDS and cause.listed:
        return finding.rule in (_PACKAGED_ALONE if alone else _PACKAGED) or finding.said == (notable_files.CAPABLE_CONTENT,)
    return finding.rule in _LANGUAGES and (not cause.listed or path_roles.program(path))


def _of_pointer(pointer: str, finding: NotableFact) -> Notable:
    severity = finding.severity or RULES[finding.rule].severity
    return Notable(finding.rule, None, pointer, None, finding.said, severity, key=finding.key)


# Layers


def _shipped(shipped: Sequence[ShippedFile]) -> Iterator[Notable]:
    """Yields the files that are hidden and still shipped: a secret, or a file that was emptied, is about security; others cost
    bytes. Logs and the like are emptied for the sake of order, not to hide what was there."""
    hidden: Counter[int] = Counter()
    for gone in shipped:
        hidden[gone.layer.number] += gone.size
    for gone in shipped:
        verb = "overwritten" if gone.overwritten else "deleted"
        severity: Severity = "cost" if hidden[gone.layer.number] >= SHIPPED_FLOOR else "info"
        if secret_path(gone.path) or (gone.overwritten and volatile_class(gone.path) is None):
            severity = "security"
        said = (f"{verb}, but its {gone.size} bytes still ship in layer {gone.holder.number}",)
        yield Notable("deleted-still-ships", gone.path, None, gone.layer, said, severity, gone.holder, gone.size, gone.top)


def _unshared(pairs: Sequence[LayerPair], files: Sequence[FileChange]) -> Iterator[Notable]:
    """Yields the layers that cannot be shared any more. Stored bytes that the changed files of the layer do not explain are
    the cost, if the lowest layer is not the cause: then every other one is built again."""
    made: Counter[int] = Counter()
    for change in files:
        if change.layer is not None and not change.only_mtime:
            made[change.layer.number] += file_size(change.after)
    for pair in pairs:
        if pair.after is None or pair.before is None:
            continue
        if pair.status == "equivalent" or (pair.status == "changed" and pair.cause is not None):
            again = max(0, pair.after.size - made[pair.after.number])
            based = pair.cause is not None and pair.cause.number == 0
            severity: Severity = "cost" if again >= UNSHARED_FLOOR and not based else "info"
            said = ("cannot be shared any more: ", Quoted(pair.reason or "its files changed"))
            yield Notable("unshared-layer", None, None, pair.after, said, severity, size=again)


def _layer_count(before: Image, after: Image) -> Iterator[Notable]:
    count, was = len(after.layers), len(before.layers)
    if count > LAYERS and count > was:
        said = (f"{count} layers: dockerd runs images of at most 125, overlayfs mounts at most 128",)
        yield Notable("layer-count", None, None, _top(after), said, RULES["layer-count"].severity)


def _top(image: Image) -> Layer | None:
    return image.layers[-1] if image.layers else None


# Order


def _sorted(found: Sequence[Notable]) -> tuple[Notable, ...]:
    """Returns the items by class; in it costs by their bytes, others in the order of `RULES`."""
    rank = {severity: position for position, severity in enumerate(SEVERITIES)}
    order = {rule: position for position, rule in enumerate(RULES)}

    def key(item: Notable) -> tuple[int, int, int]:
        first = -item.size if item.severity == "cost" else 0
        return rank[item.severity], first, order[item.rule]

    return tuple(sorted(found, key=key))
