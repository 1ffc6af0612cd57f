"""Advice that takes the contents of layers: what was written twice, and what only looks different.

Bytes are estimated by the mean ratio of the layer that would shrink, where it is not a whole layer that goes.
"""

from __future__ import annotations

import shlex
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from ocitool.images.compare import compare
from ocitool.layers.entry import Kind
from ocitool.layers.index import LayerIndex
from ocitool.limits import KiB, MiB
from ocitool.operations.dedupe.advice import Advice, against
from ocitool.operations.dedupe.collection import Collection, Member, Stack, Stored
from ocitool.operations.dedupe.commands import collected, destination, line, names, rewritable, rewritten
from ocitool.operations.dedupe.contents import Contents, places
from ocitool.operations.waste import waste

Recall = Callable[[Stored], LayerIndex | None]
"""The index of a layer, None where it could not be read."""

_LEAST = 64 * KiB
"""Stored bytes below which nothing is said of an image's files."""

_WINDOW = {"none": 0, "gzip": 32 * KiB, "zstd": 8 * MiB}
"""What a codec has in sight: of a repeated file that is smaller it may need to write nothing again."""

_LINKS = 20
"""Files that one command links."""


def remedies(collection: Collection, contents: Contents, recall: Recall) -> Iterator[Advice]:
    yield from _rebuilt(collection, contents, recall)
    yield from _copied(collection, contents, recall)
    yield from _within(collection, contents, recall)
    yield from _between(collection, contents, recall)


def _rebuilt(collection: Collection, contents: Contents, recall: Recall) -> Iterator[Advice]:
    """Layers of equal entries but for their times."""
    pairs: list[tuple[Stored, Stored]] = []
    for alike in contents.shapes.values():
        kept: list[Stored] = []
        for layer in sorted(alike, key=lambda layer: (layer.users[:1], layer.key)):
            other = next((one for one in kept if _equal(one, layer, recall)), None)
            if other is None:
                kept.append(layer)
            elif other.diff_id != layer.diff_id:
                pairs.append((layer, other))
    for members, keeper, size in against(collection, pairs):
        references = tuple(one.reference for one in members)
        option = f"--against {shlex.quote(keeper.reference)}"
        commands = [command for one in members for command in rewritten("rebuild", one, option)]
        text = f"{names(references)}: layers that differ from those of {keeper.reference} in times alone"
        yield Advice("rebuild", size, references, text, line([*commands, *collected(members)]))


def _equal(one: Stored, other: Stored, recall: Recall) -> bool:
    if one.diff_id is not None and one.diff_id == other.diff_id:
        return True
    a, b = recall(one), recall(other)
    return a is not None and b is not None and len(a) > 0 and not compare(a, b, ("mtime",))


def _copied(collection: Collection, contents: Contents, recall: Recall) -> Iterator[Advice]:
    """Layers that write again what a lower one has, with another mode, owner or time: the cost of copy-on-write."""
    for member, stack in _alone(collection):
        seen: dict[int, int] = {}
        again = 0
        for layer in stack.layers:
            marks = contents.marks.get(layer, {})
            again += sum(size for mark, size in marks.items() if mark in seen)
            seen.update(marks)
        indexes = [recall(layer) for layer in stack.layers] if again >= _LEAST else []
        known = [index for index in indexes if index is not None]
        if not known or len(known) < len(indexes):
            continue
        hidden = waste(known, lambda number, index, rows: index, 0).hidden
        sizes: Counter[int] = Counter()
        lowest: dict[int, int] = {}
        for one in hidden:
            if one.kind == "copied-up":
                sizes[one.by] += one.size
                lowest[one.by] = min(lowest.get(one.by, one.layer), one.layer)
        for by, size in sizes.items():
            saves = _stored(stack.layers[by], known[by], size)
            if saves >= _LEAST:
                yield _squashed(member, stack, by, lowest[by], size, saves)


def _squashed(member: Member, stack: Stack, by: int, lowest: int, size: int, saves: int) -> Advice:
    shared = [number for number in range(lowest, len(stack.layers)) if len(stack.layers[number].users) > 1]
    text = f"{member.reference}: layer {by} copies {size:,} bytes of files without changing them"
    if shared:
        text += "; a squash would cost what its lower layers share: fix the instruction (COPY --chmod, --chown)"
        command = f"ocitool inspect --files {shlex.quote(member.reference)}"
    else:
        options = f"--from {lowest}" + _compression(stack.layers[lowest:])
        command = line([*rewritten("squash", member, options), *collected([member])])
    return Advice("squash", saves, (member.reference,), text, command, True)


def _within(collection: Collection, contents: Contents, recall: Recall) -> Iterator[Advice]:
    """Files that stand more than once in one layer."""
    for member, stack in _alone(collection):
        for layer in stack.layers:
            index = recall(layer) if layer.users == [member.number] and layer in contents.marks else None
            if index is None or not index.size:
                continue
            found = sorted(_repeated(index, layer), key=lambda rows: -index.sizes[rows[0]] * (len(rows) - 1))[:_LINKS]
            size = sum(index.sizes[rows[0]] * (len(rows) - 1) for rows in found)
            saves = _stored(layer, index, size)
            if saves >= _LEAST:
                first = index.paths[found[0][0]], index.paths[found[0][1]]
                text = (
                    f"{member.reference}: {size:,} bytes of files stand more than once in layer {stack.layers.index(layer)}"
                    f" ({_name(first[0])} and {_name(first[1])}); hard links hold them once"
                )
                yield Advice("repeated", saves, (member.reference,), text, _linked(member, layer, index, found), True)


def _repeated(index: LayerIndex, layer: Stored) -> Iterator[list[int]]:
    """Rows that could be links of one file: those share owner, mode and attributes."""
    least = max(_LEAST, _WINDOW.get(layer.codec or "none", 0))
    groups: dict[tuple[bytes, int, int, int, object], list[int]] = {}
    for row in index.rows_of(Kind.FILE):
        if index.sizes[row] >= least and row not in index.sparse and _plain(index.paths[row]):
            content = bytes(index.contents[32 * row : 32 * row + 32])
            key = content, index.modes[row], index.uids[row], index.gids[row], index.xattrs.get(row)
            groups.setdefault(key, []).append(row)
    for rows in groups.values():
        if len({index.paths[row] for row in rows}) == len(rows) > 1:
            yield rows


def _linked(member: Member, layer: Stored, index: LayerIndex, found: Sequence[list[int]]) -> str:
    def place(row: int) -> str:
        return shlex.quote("unpacked/rootfs" + _name(index.paths[row]))

    links = [f"ln -f {place(rows[0])} {place(row)}" for rows in found for row in rows[1:]]
    work = [
        command
        for named in member.places.values()
        for command in (
            f"ocitool unpack {shlex.quote(named.reference)} unpacked", *links,
            f"ocitool repack unpacked {destination(named)}{_compression([layer])}", "rm -r unpacked",
        )
    ]  # fmt: skip
    return line([*work, *collected([member])])


def _between(collection: Collection, contents: Contents, recall: Recall) -> Iterator[Advice]:
    """Large files that several layers of one image hold under different names."""
    told: dict[int, list[tuple[int, int, bytes, bytes, Stored]]] = {}
    for content, size, layers in contents.between(_LEAST):
        users = Counter(number for layer in layers for number in layer.users)
        for number, count in users.items():
            member = collection.members[number]
            if count < 2 or not rewritable(member):
                continue
            ordered = [layer for layer in dict.fromkeys(member.stacks[0].layers) if layer in layers]
            first, last = ordered[0], ordered[-1]
            spots = [_paths(one, content, recall) for one in (first, last)]
            if last.users == [number] and spots[0] and spots[1] and not spots[0] & spots[1]:
                told.setdefault(number, []).append((size, len(spots[1]), min(spots[0]), min(spots[1]), last))
    for number, files in told.items():
        yield from _removed(collection.members[number], files, recall)


def _removed(
    member: Member, files: Sequence[tuple[int, int, bytes, bytes, Stored]], recall: Recall
) -> Iterator[Advice]:
    named = files[:_LINKS]
    saves = size = 0
    for length, count, _, _, layer in named:
        index = recall(layer)
        if index is not None and count == 1:
            saves += _stored(layer, index, length)
            size += length
    if saves < _LEAST:
        return
    paths = [shlex.quote(_name(path)) for _, count, _, path, _ in named if count == 1]
    text = (
        f"{member.reference}: {size:,} bytes of files are in two layers ({_name(named[0][2])} and {_name(named[0][3])}); "
        "where one name is enough, the other can go"
    )
    options = " ".join(f"--rm {path}" for path in paths) + _compression([layer for *_, layer in named])
    command = line([*rewritten("edit", member, options), *collected([member])])
    yield Advice("repeated", saves, (member.reference,), text, command, True)


def _paths(layer: Stored, content: bytes, recall: Recall) -> set[bytes]:
    index = recall(layer)
    rows = places(index, [content])[content] if index is not None else array("q")
    return {index.paths[row] for row in rows if _plain(index.paths[row])} if index is not None else set()


def _name(path: bytes) -> str:
    return "/" + path.decode("utf-8", "replace")


def _plain(path: bytes) -> bool:
    """Whether a name can stand in a command that is read and copied."""
    try:
        return path.decode("utf-8").isprintable()
    except UnicodeDecodeError:
        return False


def _alone(collection: Collection) -> Iterator[tuple[Member, Stack]]:
    for member in collection.members:
        if rewritable(member):
            yield member, member.stacks[0]


def _stored(layer: Stored, index: LayerIndex, size: int) -> int:
    """What so many bytes of content take of a layer."""
    return round(layer.size * size / index.size) if index.size else 0


def _compression(layers: Sequence[Stored]) -> str:
    """Gzip as tight as builders make it: by default ours is quicker and larger."""
    return " --compression gzip:6" if any(layer.codec == "gzip" for layer in layers) else ""
