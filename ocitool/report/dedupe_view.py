"""The content of a `dedupe` report, for every format: sums, tables, advice, and how much of each is listed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, NamedTuple, TypeVar

from ocitool.dedupe import Deduped
from ocitool.dedupe.advice import Advice, EqualLayers
from ocitool.dedupe.bases import SharedBase
from ocitool.dedupe.collection import ImageEntry, StoredBlob, Usage
from ocitool.dedupe.package_copies import PackageTotals, RepeatedPackage
from ocitool.dedupe.repeated_files import RepeatedFile
from ocitool.report.escape import human, shown
from ocitool.report.packages_view import full_name
from ocitool.report.phrases import LazyRows, Phrase, Quote, count_of, exact_quote, instruction, joined, path

_MAX_NAMES = 20
"""Names of an image that its row lists; a registry may have hundreds."""
_MAX_ALTERNATIVES = 5
"""Other pieces of advice that a piece of advice refers to by their numbers."""

Row = TypeVar("Row")


class Table(NamedTuple, Generic[Row]):
    """A table. `total` counts all rows that there are; `rows` has the first `--top` of them."""

    title: str
    total: int
    rows: LazyRows[Row]


class Sum(NamedTuple):
    """One line of the summary: `size` bytes, drawn as a share of `whole` bytes."""

    name: str
    size: int
    whole: int
    remark: str


class ImageRow(NamedTuple):
    """An image. `held`: its bytes on disk, None if all images are in one layout. `frees`: bytes that deleting it would
    free. `share`: its own bytes and all of them, and `largest`: all bytes of the largest image, to draw a bar."""

    name: Phrase
    own: str
    shared: str
    held: str | None
    frees: str
    share: Usage
    largest: int


class SharedRow(NamedTuple):
    """A layer that several images share. `images`: how many; `users`: the first of them."""

    saved: str
    size: str
    images: str
    layer: Quote
    made_by: Phrase
    users: Phrase


class BaseRow(NamedTuple):
    """A common base of several images. `depth`: the number of other common bases below it."""

    depth: int
    name: Phrase
    layers: str
    size: str
    images: str
    users: Phrase


class EqualRow(NamedTuple):
    """A layer that is stored in several compressions."""

    sizes: str
    codecs: str
    images: str
    diff_id: Quote


class RepeatedRow(NamedTuple):
    """A file content that occurs several times. `places`: the first ones, each a layer and a path."""

    saves: str
    size: str
    times: str
    places: tuple[tuple[Quote, Quote], ...]


class RepeatedPackageRow(NamedTuple):
    """A package of which several layers hold copies. `copies`: how many, and where."""

    saves: str
    name: Phrase
    kind: str
    copies: str


class AdviceRow(NamedTuple):
    """A piece of advice. `about`: "about " if the saving is estimated, else empty; `remarks`: what follows its text."""

    number: int
    about: str
    saves: str
    kind: str
    text: Quote
    remarks: str
    command: Quote

    def shortened_command(self, length: int) -> tuple[Quote, str]:
        """Returns the first `length` characters of the command, and a note if that is not the command as it has to be
        typed."""
        beginning = self.command.raw[:length]
        whole = shown(beginning) == self.command.raw
        return Quote(beginning, "command"), "" if whole else "… (all of it, as it is: --format json)"


class ContentsView(NamedTuple):
    """What `--files` found: repeated file contents, and packages."""

    title: str
    sums: tuple[Sum, ...]
    packages: Table[RepeatedPackageRow]
    top: LazyRows[RepeatedRow]


class DedupeView(NamedTuple):
    """The whole report. `scattered`: the images are not all in one layout. `advice`: its title says so if there is none."""

    images: str
    layers: str
    sums: tuple[Sum, ...]
    scattered: bool
    largest: Table[ImageRow]
    shared: Table[SharedRow]
    bases: Table[BaseRow]
    equal: Table[EqualRow]
    contents: ContentsView | None
    advice: Table[AdviceRow]
    problems: Table[Quote]


def dedupe_view(result: Deduped) -> DedupeView:
    """Returns the report as values that a format lays out."""
    scattered = not result.disk.is_one_store
    return DedupeView(
        count_of(len(result.collection.members), "image"),
        f"{count_of(result.references, 'layer')}, {result.layers:,} distinct",
        _disk_sums(result) if scattered else _sharing_sums(result), scattered, _largest(result, scattered),
        _shared(result, scattered), _bases(result), _equal(result), _contents(result), _advice(result), _problems(result),
    )  # fmt: skip


def percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "0 %"


def _sharing_sums(result: Deduped) -> tuple[Sum, ...]:
    whole, unique, saved = result.referenced, result.unique, result.saved
    return (
        Sum("referenced", whole, whole, ""), Sum("unique", unique, whole, percent(unique, whole)),
        Sum("saved", saved, whole, f"{percent(saved, whole)} by sharing"),
    )  # fmt: skip


def _disk_sums(result: Deduped) -> tuple[Sum, ...]:
    """Returns, for images that are not all in one layout, the bytes they take now and those that one layout of all would
    take."""
    disk, unique = result.disk, result.unique + result.disk.documents
    parts = [(disk.archives, "archive"), (disk.layouts, "layout")]
    what = ", ".join(count_of(number, name) for number, name in parts if number)
    sizes = [("on disk", disk.on_disk, what), ("at registries", disk.at_registries, "each blob once a registry")]
    rows = [(name, size, text) for name, size, text in sizes if size is not None]
    whole = max([unique, *(size for _, size, _ in rows)])
    left = (disk.on_disk or 0) - unique
    if disk.elsewhere:
        text = "of all images"
    elif left > 0:
        text = f"of all images: it would save {human(left)}, {percent(left, whole)}"
    else:
        text = "of all images: it would save nothing"
    return tuple(Sum(name, size, whole, remark) for name, size, remark in (*rows, ("one layout", unique, text)))


def _image_names(names: Sequence[str]) -> Phrase:
    """Returns the names of an image: first the one to use in commands, then the others in parentheses."""
    first, *others = [(exact_quote(name),) for name in names[:_MAX_NAMES]]
    more: list[Phrase] = [(f"{len(names) - _MAX_NAMES:,} more",)] if len(names) > _MAX_NAMES else []
    rest = joined([*others, *more], ", ")
    return (*first, " (", *rest, ")") if rest else first


def _first_images(result: Deduped, numbers: Sequence[int]) -> Phrase:
    """Returns the references of the first three of some images."""
    named = joined(((exact_quote(one),) for one in result.collection.references(numbers[:3])), ", ")
    return (*named, ", …") if len(numbers) > 3 else named


def _largest(result: Deduped, scattered: bool) -> Table[ImageRow]:
    images = result.largest()

    def row(found: tuple[ImageEntry, Usage]) -> ImageRow:
        one, share = found
        held, frees = result.on_disk[one.number]
        size = (human(held) if held is not None else "-") if scattered else None
        largest = images[0][1].size
        return ImageRow(_image_names(one.names), human(share.own), human(share.shared), size, human(frees), share, largest)

    return Table("images", len(images), LazyRows(images[: result.top], row))


def _shared(result: Deduped, scattered: bool) -> Table[SharedRow]:
    def row(layer: StoredBlob) -> SharedRow:
        return SharedRow(
            human(layer.saved), human(layer.size), f"{len(layer.users):,}", exact_quote(layer.short),
            instruction(layer.created_by), _first_images(result, layer.users),
        )  # fmt: skip

    title = "layers that are shared most" + (", and what one layout of all saves" if scattered else "")
    return Table(title, len(result.shared), LazyRows(result.shared[: result.top], row))


def _bases(result: Deduped) -> Table[BaseRow]:
    depths: list[int] = []
    for base in result.bases[: result.top]:
        depths.append(depths[base.parent] + 1 if base.parent is not None else 0)

    def row(found: tuple[int, SharedBase]) -> BaseRow:
        depth, base = found
        name = exact_quote(base.name if base.name is not None else base.short)
        layers, users = count_of(len(base.layers), "layer"), f"{len(base.users):,}"
        return BaseRow(depth, (name,), layers, human(base.size), users, _first_images(result, base.users))

    return Table("images on a common base", len(result.bases), LazyRows(list(zip(depths, result.bases, strict=False)), row))


def _equal(result: Deduped) -> Table[EqualRow]:
    title = "layers that are equal unpacked, and stored in several compressions"
    return Table(title, len(result.equal), LazyRows(result.equal[: result.top], _equal_row))


def _equal_row(one: EqualLayers) -> EqualRow:
    sizes = ", ".join(human(blob.size) for blob in one.blobs)
    codecs = ", ".join(blob.codec or "?" for blob in one.blobs)
    return EqualRow(sizes, codecs, f"{len(one.users):,}", exact_quote(one.diff_id.partition(":")[2][:12]))


def _contents(result: Deduped) -> ContentsView | None:
    totals = result.totals
    if totals is None:
        return None
    whole, unique = totals.bytes, totals.unique_bytes
    again = whole - unique
    title = f"{count_of(totals.references, 'file')} in distinct layers, {count_of(totals.unique, 'distinct content')}"
    sums = (
        Sum("contents", whole, whole, "unpacked"), Sum("distinct", unique, whole, percent(unique, whole)),
        Sum("repeated", again, whole, percent(again, whole)),
    )  # fmt: skip
    return ContentsView(title, sums, _packages(result.packages), LazyRows(totals.top, _repeated))


def _packages(found: PackageTotals | None) -> Table[RepeatedPackageRow]:
    if found is None:
        return Table("", 0, LazyRows((), _package))
    one_of_each = f"one of each would save {human(found.saves)}, unpacked"
    title = f"{count_of(found.total, 'package')} of which there are several copies: {one_of_each}"
    if found.left_out:
        title += f" ({count_of(found.left_out, 'layer')} not read for packages)"
    return Table(title, found.total, LazyRows(found.top, _package))


def _package(one: RepeatedPackage) -> RepeatedPackageRow:
    copies = f"{one.copies:,} copies in {count_of(one.layers, 'layer')} of {count_of(one.images, 'image')}"
    name = (Quote(full_name(one.package), "name"), " ", Quote(one.package.version, "name"))
    return RepeatedPackageRow(human(one.saves), name, one.package.kind, copies)


def _repeated(one: RepeatedFile) -> RepeatedRow:
    places = tuple((exact_quote(place.layer.short), path(place.path)) for place in one.locations[:3])
    return RepeatedRow(human(one.saves), human(one.size), f"{one.times:,}", places)


def _advice(result: Deduped) -> Table[AdviceRow]:
    title = "what more could be saved"
    if not result.advice:
        deeper = "" if result.totals is not None else " from documents alone (--files reads the layers)"
        title = f"nothing more to save is known{deeper}"
    return Table(title, len(result.advice), LazyRows(list(enumerate(result.advice[: result.top], 1)), _advice_row))


def _advice_row(found: tuple[int, Advice]) -> AdviceRow:
    number, one = found
    about = "about " if one.estimated else ""
    text, command = Quote(one.text, "message"), Quote(one.command, "command")
    return AdviceRow(number, about, human(one.saves), one.kind, text, _remarks(one), command)


def _remarks(one: Advice) -> str:
    """Returns what follows the text: what is freed on disk at once, and which other advice excludes this one."""
    text = ""
    if one.on_disk is not None and one.on_disk != one.saves:
        at_once = f"on disk about {human(one.on_disk)} at once" if one.on_disk else "on disk nothing before"
        text += f"; once all is in one layout, {at_once}"
    if one.instead:
        numbers = [str(at + 1) for at in one.instead[:_MAX_ALTERNATIVES]]
        rest = len(one.instead) - _MAX_ALTERNATIVES
        text += f"; either this or {', '.join(numbers)}{f' and {rest:,} more' if rest > 0 else ''}, not both"
    return text


def _problems(result: Deduped) -> Table[Quote]:
    title = f"{count_of(len(result.problems), 'problem')}: what could not be read"
    return Table(title, len(result.problems), LazyRows(result.problems, lambda one: Quote(str(one.error), "message")))
