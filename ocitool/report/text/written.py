"""Renders the result of every command that writes images as text."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Sequence, Set
from typing import TYPE_CHECKING, Any

from ocitool.pipeline.image_writer import WriteResult
from ocitool.reference import PREFIX
from ocitool.report.escape import human, shown, stated
from ocitool.report.phrases import count_of
from ocitool.report.text.parts import columns, escaped_path
from ocitool.transports.sink import OutputImage

if TYPE_CHECKING:
    from ocitool.operations.edit import EditReport
    from ocitool.operations.rebase import RebaseReport
    from ocitool.operations.rebuild import RebuildReport
    from ocitool.operations.repack import RepackReport
    from ocitool.operations.squash import SquashReport
    from ocitool.volumes.save import VolumeSaved

_ORDER = ("kept", "reused", "rewritten", "squashed", "new")


def written_text(result: WriteResult) -> Iterator[str]:
    """Yields a line for each image, then the sums, then what the command itself reports; at the end the references by
    digest of indexes and of what went to a registry, to be copied. Of an index only its own digest is listed: with it the
    next command gets all its images, with the digest of one of them only that one."""
    shared = {name for name, count in Counter(name for image in result.images for name in image.names).items() if count > 1}
    artifacts = [root for root in result.roots if root.kind is not None and root.subject is None]
    referrers = sum(root.subject is not None for root in result.roots)
    rows = [_image(image, shared) for image in result.images]
    yield from columns([*rows, *map(_artifact, artifacts)], indent="")
    verb = "would write" if result.dry_run else "wrote"
    parts = [f"{human(result.written)} made", f"{human(result.kept)} kept"]
    if result.skipped:
        parts.append(f"{human(result.skipped)} already there")
    if result.omitted:
        parts.append(f"{human(result.omitted)} left out")
    where = "standard output" if result.destination == "-" else shown(result.destination)
    counts = [(len(result.images), "image"), (len(artifacts), "artifact"), (referrers, "referrer")]
    what = [count_of(count, one) for count, one in counts if count] or ["0 images"]
    yield f"{verb} {' and '.join(what)} to {where}: {', '.join(parts)}"
    if result.unchanged:
        one = "1 name led" if result.unchanged == 1 else f"{result.unchanged:,} names led"
        yield f"{one} to the same before: nothing of that was written"
    if result.problems:
        yield f"{count_of(len(result.problems), 'problem')}: what was not copied"
        yield from (f"  {shown(str(one.error))}" for one in result.problems)
    if result.transferred:
        yield _transferred(result)
    elif result.from_fallback:
        yield f"{human(result.from_fallback)} came from what --with names"
    details = _DETAILS.get(result.command)
    if details is not None and result.details is not None:
        yield from details(result.details)
    roots = [root for root in result.roots if root.subject is None]
    yield from _some([_root(root, one) for root in roots for one in root.references if _is_listed(root, one)], indent="")


def _artifact(root: OutputImage) -> tuple[str, str, str]:
    name = ", ".join(shown(name) for name in root.names) or "(no name)"
    return name, str(root.digest), f"artifact {shown(root.kind)}" if root.kind else "artifact"


def _is_listed(root: OutputImage, reference: str) -> bool:
    """Returns whether the reference by digest adds something to the line of the image: for one image in a file it does
    not."""
    return root.platforms is not None or reference.startswith(PREFIX)


def _root(root: OutputImage, reference: str) -> tuple[str, str]:
    of = ", ".join(stated(platform) for platform in root.platforms or ())
    return shown(reference.removeprefix(PREFIX)), "" if root.platforms is None else f"index of {of or 'no image'}"


def _transferred(result: WriteResult) -> str:
    """Returns what went over a network, and what was not sent since it was there already."""
    line = f"transferred {human(result.transferred)}"
    if result.skipped:
        share = 100 * result.skipped / (result.skipped + result.transferred)
        line += f", {human(result.skipped)} were already there ({share:.1f} %)"
    if result.from_fallback:
        line += f", {human(result.from_fallback)} came from what --with names"
    return line


def _image(image: OutputImage, shared: Set[str]) -> tuple[str, str, str]:
    """Returns the columns of an image; its name has the platform if several images have that name (`shared`)."""
    counts: Counter[str] = Counter(layer.origin for layer in image.layers)
    made = ", ".join(f"{counts[origin]} {origin}" for origin in _ORDER if counts[origin])
    name = ", ".join(shown(name) for name in image.names) or "(no name)"
    if image.platform is not None and not shared.isdisjoint(image.names):
        name += f" ({stated(image.platform)})"
    return name, str(image.digest), f"{count_of(len(image.layers), 'layer')}: {made}" if made else "no layers"


def _repacked(report: RepackReport) -> Iterator[str]:
    """Yields what was made again, and what `--mode append` would have written instead."""
    if not report.layers:
        yield "nothing changed"
        return
    made = f"{count_of(report.layers, 'layer')} made, {human(report.unpacked)} unpacked"
    if report.mode == "append":
        yield made
    else:
        yield f"{made}; --mode append would have written {human(report.appended)} unpacked"


def _squashed(report: SquashReport) -> Iterator[str]:
    """Yields what squashing saved, and which shared layers it gave up."""
    for image in report.squashed:
        of = f" ({stated(image.platform)})" if len(report.squashed) > 1 else ""
        files = f"{human(image.hidden)} of hidden and {human(image.duplicate)} of duplicate files, unpacked"
        stored = image.stored
        less = f"{human(stored)} less" if stored >= 0 else f"{human(-stored)} more"
        now = "are one now" if image.into else "are gone: what stays shows all that they did"
        yield f"{image.layers} layers {now}{of}: {less} stored; {files}, no longer ship"
        for lost in image.lost:
            known = lost.layers is not None and lost.size is not None
            what = f"{count_of(lost.layers or 0, 'layer')}, {human(lost.size or 0)}," if known else "layers"
            yield f"no longer shared with {shown(lost.image)}: its {what} are in the new one; --keep-base keeps them"


def _rebuilt(report: RebuildReport) -> Iterator[str]:
    """Yields what each plan would transfer, and how the layers of the new image match those of the old ones."""
    for image in report.rebuilt:
        rows = [("plan", "to transfer", "")]
        for plan in image.plans:
            size = "?" if plan.transfer is None else human(plan.transfer)
            remark = "taken" if plan.plan == image.plan else "estimated" if plan.estimated else ""
            rows.append((plan.plan, size, remark))
        of = f", {stated(image.platform)}" if len(report.rebuilt) > 1 else ""
        yield f"for who has {', '.join(map(shown, image.against))}{of}:"
        yield from columns(rows, indent="  ")
        counts = Counter(layer.how for layer in image.layers)
        texts = (("same", "same"), ("equal", "equal but for times or ignored paths"), ("changed", "changed"))
        yield "layers: " + ", ".join(f"{counts[how]} {text}" for how, text in texts if counts[how])
        if (more := image.suggestion) is not None:
            which = f"{'layer' if len(more.layers) == 1 else 'layers'} {', '.join(map(str, more.layers))}"
            yield f"volatile files alone keep {which} from being re-used; {human(more.saves)} less to transfer with:"
            yield "  " + " ".join(f"--ignore-path {shlex.quote(glob)}" for glob in more.globs)
        if image.ignored:
            yield f"not as in the new image: {count_of(len(image.ignored), 'ignored path')}"
        if image.delta is not None and (hidden := image.delta.hidden):
            size = human(sum(one.size for one in hidden))
            yield f"ships {count_of(len(hidden), 'file')} ({size}) that the new image does not have:"
            yield from _some([(human(one.size), escaped_path(one.path), one.kind) for one in hidden])


def _rebased(report: RebaseReport) -> Iterator[str]:
    """Yields the old base, the new base, and what both the new base and the image changed."""
    for image in report.rebased:
        old, new = image.old_base, image.new_base
        of = f" ({stated(image.platform)})" if len(report.rebased) > 1 else ""
        yield f"base: {count_of(old.layers, 'layer')} of {shown(old.image)} before{of}"
        yield f"      {count_of(new.layers, 'layer')} of {shown(new.image)} now"
        if image.conflicts:
            yield f"{count_of(len(image.conflicts), 'path')} changed by the new base and by the image, whose own counts:"
            rows = [(escaped_path(one.path), f"base: {one.base}", f"image: {one.app}") for one in image.conflicts]
            yield from _some(rows)
        if image.directories:
            yield f"{_directories(len(image.directories))} the new base's attributes in place of the old one's:"
            yield from _some([(escaped_path(one.path), f"layer {one.layer}") for one in image.directories])
        if image.settings:
            yield f"settings of both, of which the image's count: {', '.join(map(shown, image.settings))}"


def _directories(count: int) -> str:
    return "1 directory takes" if count == 1 else f"{count:,} directories take"


def _some(rows: Sequence[Sequence[str]], indent: str = "  ") -> Iterator[str]:
    """Yields the first rows in columns, and how many more there are."""
    yield from columns(rows[:_ROWS], indent=indent)
    if len(rows) > _ROWS:
        yield f"{indent}and {len(rows) - _ROWS} more; --format json lists all"


_ROWS = 20


def _edited(report: EditReport) -> Iterator[str]:
    """Yields what was redacted, by the number of the option, since the text that it names may itself be the secret."""
    redacted = report.redacted or ()
    for number, places in enumerate(redacted, 1):
        of = f" for --redact number {number}" if len(redacted) > 1 else ""
        more = f" and {len(places) - _ROWS} more" if len(places) > _ROWS else ""
        named = f": {', '.join(map(shown, places[:_ROWS]))}{more}" if places else ""
        yield f"redacted {count_of(len(places), 'place')}{of}{named}"


def _volume_saved(report: VolumeSaved) -> Iterator[str]:
    """What of the volume was saved."""
    entries = "1 entry" if report.entries == 1 else f"{report.entries:,} entries"
    yield f"volume {shown(report.name)}: {entries}, {human(report.size)} in {count_of(report.files, 'file')}"


_DETAILS: dict[str, Callable[[Any], Iterator[str]]] = {
    "edit": _edited,
    "repack": _repacked,
    "squash": _squashed,
    "rebuild": _rebuilt,
    "rebase": _rebased,
    "volume-save": _volume_saved,
}
