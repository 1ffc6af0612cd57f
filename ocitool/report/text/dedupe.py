"""`dedupe` as text: the sum of it first, with bars that show shares; then what could be saved."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from ocitool.dedupe import Deduped
from ocitool.dedupe.advice import Advice
from ocitool.dedupe.collection import Usage
from ocitool.report.escape import human, shown
from ocitool.report.phrases import count_of
from ocitool.report.text.parts import Paint, columns, instruction, shown_path

_WIDTH = 24
_COMMAND = 1_000
"""Characters of a command. A longer one, of many images, nobody copies from a terminal."""


def dedupe_text(result: Deduped, paint: Paint) -> Iterator[str]:
    yield from _sums(result, paint)
    yield from _images(result, paint)
    yield from _shared(result, paint)
    yield from _bases(result, paint)
    yield from _equal(result, paint)
    yield from _files(result, paint)
    yield from _advice(result, paint)
    if result.problems:
        yield ""
        yield paint.bold(f"{count_of(len(result.problems), 'problem')}: what could not be read")
        yield from (f"  {shown(str(one.error))}" for one in result.problems)


def bar(part: int, whole: int, width: int = _WIDTH) -> str:
    """A bar of which a part is full, in eighths of a character."""
    eighths = round(8 * width * part / whole) if whole else 0
    full, rest = divmod(eighths, 8)
    return ("█" * full + (" ▏▎▍▌▋▊▉"[rest] if rest else "")).ljust(width, "·")


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "0 %"


def _sums(result: Deduped, paint: Paint) -> Iterator[str]:
    saved = result.saved
    images = count_of(len(result.collection.members), "image")
    yield paint.bold(f"{images}, {count_of(result.references, 'layer')}, {result.layers:,} distinct")
    if not result.disk.is_one_store:
        rows = [[name, human(size), bar(size, whole), text] for name, size, whole, text in lying(result)]
        yield from columns(rows, right=(1,))
        return
    yield from columns(
        [
            ["referenced", human(result.referenced), bar(result.referenced, result.referenced), ""],
            ["unique", human(result.unique), bar(result.unique, result.referenced), _percent(result.unique, result.referenced)],
            ["saved", human(saved), bar(saved, result.referenced), f"{_percent(saved, result.referenced)} by sharing"],
        ],
        right=(1,),
    )  # fmt: skip


def lying(result: Deduped) -> list[tuple[str, int, int, str]]:
    """Of what is not one layout: its bytes where it lies, and those of one layout of all, which is to be made yet. A name, the
    bytes, those of the longest bar, and a remark."""
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
        text = f"of all images: it would save {human(left)}, {_percent(left, whole)}"
    else:
        text = "of all images: it would save nothing"
    return [(name, size, whole, remark) for name, size, remark in (*rows, ("one layout", unique, text))]


def _rest(count: int, shown_: int) -> Iterator[str]:
    if count > shown_:
        yield f"  and {count - shown_:,} more (--top {count}, or --format json)"


def _images(result: Deduped, paint: Paint) -> Iterator[str]:
    images = result.largest()
    if not images or not result.top:
        return
    yield ""
    lies = not result.disk.is_one_store
    where, there = (" in one layout; what holds them on disk", " there") if lies else ("", "")
    yield paint.bold(f"images: █ bytes of their own, ░ shared with others{where}; what deleting one frees{there}")
    rows = [["", "own", "shared", *(["on disk"] if lies else []), "frees", ""]]
    for one, share in images[: result.top]:
        held, frees = result.on_disk[one.number]
        disk = [human(held) if held is not None else "-"] if lies else []
        rows.append([
            _own_bar(share, images[0][1].size), human(share.own), human(share.shared), *disk, human(frees), called(one.names),
        ])  # fmt: skip
    yield from columns(rows, right=tuple(range(1, 5 if lies else 4)))
    yield from _rest(len(images), result.top)


_NAMES = 20
"""Names of an image that its row has; a registry may have hundreds."""


def called(names: Sequence[str], quote: Callable[[str], str] = shown) -> str:
    """What an image is called: the name for commands, and all others."""
    first, *others = map(quote, names[:_NAMES])
    if len(names) > _NAMES:
        others.append(f"{len(names) - _NAMES:,} more")
    return f"{first} ({', '.join(others)})" if others else first


def _own_bar(share: Usage, largest: int) -> str:
    """What is an image's own, then what it shares."""
    own = round(_WIDTH * share.own / largest) if largest else 0
    both = round(_WIDTH * share.size / largest) if largest else 0
    return "█" * own + "░" * (both - own) + "·" * (_WIDTH - both)


def _shared(result: Deduped, paint: Paint) -> Iterator[str]:
    if not result.shared or not result.top:
        return
    yield ""
    yield paint.bold("layers that are shared most" + ("" if result.disk.is_one_store else ", and what one layout of all saves"))
    rows = [["saved", "size", "images", "layer", "instruction", ""]]
    for layer in result.shared[: result.top]:
        rows.append([
            human(layer.saved), human(layer.size), f"{len(layer.users):,}", layer.short, instruction(layer.created_by, 60),
            _few(result, layer.users),
        ])  # fmt: skip
    yield from columns(rows, right=(0, 1, 2))
    yield from _rest(len(result.shared), result.top)


def _few(result: Deduped, numbers: Sequence[int]) -> str:
    """The first of some images."""
    named = ", ".join(map(shown, result.collection.references(numbers[:3])))
    return f"{named}, …" if len(numbers) > 3 else named


def _bases(result: Deduped, paint: Paint) -> Iterator[str]:
    if not result.bases or not result.top:
        return
    yield ""
    yield paint.bold("images on a common base")
    depth: dict[int, int] = {}
    rows = []
    for number, base in enumerate(result.bases[: result.top]):
        depth[number] = depth[base.parent] + 1 if base.parent is not None else 0
        name = shown(base.name) if base.name is not None else base.short
        rows.append([
            "  " * depth[number] + name, count_of(len(base.layers), "layer"), human(base.size),
            f"{len(base.users):,}", _few(result, base.users),
        ])  # fmt: skip
    yield from columns([["base", "", "size", "images", ""], *rows], right=(2, 3))
    yield from _rest(len(result.bases), result.top)


def _equal(result: Deduped, paint: Paint) -> Iterator[str]:
    if not result.equal or not result.top:
        return
    yield ""
    yield paint.bold("layers that are equal unpacked, and stored in several compressions")
    rows = [["stored", "codecs", "images", "diff_id"]]
    for one in result.equal[: result.top]:
        sizes = ", ".join(human(blob.size) for blob in one.blobs)
        codecs = ", ".join(blob.codec or "?" for blob in one.blobs)
        rows.append([sizes, codecs, f"{len(one.users):,}", one.diff_id.partition(":")[2][:12]])
    yield from columns(rows, right=(2,))
    yield from _rest(len(result.equal), result.top)


def _files(result: Deduped, paint: Paint) -> Iterator[str]:
    totals = result.totals
    if totals is None:
        return
    yield ""
    whole, unique = totals.bytes, totals.unique_bytes
    yield paint.bold(f"{count_of(totals.references, 'file')} in distinct layers, {count_of(totals.unique, 'distinct content')}")
    yield from columns(
        [
            ["contents", human(whole), bar(whole, whole), "unpacked"],
            ["distinct", human(unique), bar(unique, whole), _percent(unique, whole)],
            ["repeated", human(whole - unique), bar(whole - unique, whole), _percent(whole - unique, whole)],
        ],
        right=(1,),
    )  # fmt: skip
    for one in totals.top:
        yield f"  {human(one.saves)}: {human(one.size)}, {one.times:,} times"
        for spot in one.locations[:3]:
            yield f"    {spot.layer.short}  {shown_path(spot.path)}"


def remarks(one: Advice) -> str:
    """When what is saved is saved, and what it cannot be followed with."""
    text = ""
    if one.on_disk is not None and one.on_disk != one.saves:
        at_once = f"on disk about {human(one.on_disk)} at once" if one.on_disk else "on disk nothing before"
        text += f"; once all is in one layout, {at_once}"
    if one.instead:
        numbers = [str(at + 1) for at in one.instead[:_OTHERS]]
        more = f" and {len(one.instead) - _OTHERS:,} more" if len(one.instead) > _OTHERS else ""
        text += f"; either this or {', '.join(numbers)}{more}, not both"
    return text


_OTHERS = 5


def _advice(result: Deduped, paint: Paint) -> Iterator[str]:
    yield ""
    if not result.advice:
        deeper = "" if result.totals is not None else " from documents alone (--files reads the layers)"
        yield paint.bold(f"nothing more to save is known{deeper}")
        return
    yield paint.bold("what more could be saved")
    for number, one in enumerate(result.advice[: result.top] if result.top else (), 1):
        about = "about " if one.estimated else ""
        yield f"  {number}. {about}{human(one.saves)}  {one.kind}: {shown(one.text)}{remarks(one)}"
        command = shown(one.command[:_COMMAND])
        yield f"    {command}" if command == one.command else f"    {command}… (all of it, as it is: --format json)"
    yield from _rest(len(result.advice), result.top)
