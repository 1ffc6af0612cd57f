"""A layer's tar with some members removed, replaced or added; everything else stays byte for byte.

The index says where each member begins and ends, so the layer is copied as a stream with cuts: no other header is
parsed or written again, whatever dialect, pax record or sparse map it has. Memory: a few steps of 512 KiB and the
extension headers of one member.

Bytes after the last member stay as they are: end-of-archive blocks, padding, trailing data. If members are removed,
trailing data becomes zeros: no reader shows it, and it may contain what was to be removed (joined archives, for
example). A layer without end-of-archive blocks gets them only if members are added, since readers may treat what
follows a missing end differently.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import NamedTuple

from ocitool.blob import Blob, label
from ocitool.digest import Digest, verified
from ocitool.errors import FormatError, LimitError, UnsupportedError
from ocitool.layers import codecs, tarwriter
from ocitool.layers.entry import Entry
from ocitool.layers.index import LayerIndex
from ocitool.layers.tar_fields import BLOCK
from ocitool.layers.tarinput import ChunkInput
from ocitool.patterns import byte_pattern
from ocitool.task import Task

_HEADERS = 64 << 20
"""Bytes of the headers of one member; the largest allowed sparse map is smaller."""
_LASTING = byte_pattern(rb" (?:SCHILY\.xattr\.|GNU\.sparse\.)[^=]*=")
"""Global records that a later entry's own records cannot override."""
_RARE = ("links", "devices", "xattrs", "sparse")
"""Columns that have a value for some rows only."""


class LayerEdit(NamedTuple):
    """An edit of a layer. Rows are those of its index.

    `drop`: rows to remove. `replace`: the new entry by row. `add`: entries to append after the last member, in this
    order.
    """

    drop: frozenset[int] = frozenset()
    replace: Mapping[int, Entry] = {}
    add: tuple[Entry, ...] = ()


Contents = Callable[[Entry], tuple[Entry, Iterable[bytes]]]
"""A function from a new entry to the entry as it is stored (with `segments` if it is sparse) and its content, as
`tarwriter.write` takes it; called once for each entry, in the order of writing."""


def rewrite_layer(
    blob: Blob, index: LayerIndex, edit: LayerEdit, content: Contents, task: Task, *, diff_id: Digest | None = None
) -> Iterator[bytes]:
    """Yields the uncompressed tar of the layer with the edit applied. `index`: as read from this blob, with its
    offsets.

    The blob is read to its end and compared with its digest, and with `diff_id` if given: no byte may be trusted before
    the iterator ends. Raises `IntegrityError`, what the decoder raises, and `UnsupportedError` for new entries that a
    global pax header of this layer would change.
    """
    explicit = bool(edit.add or edit.replace) and has_globals(blob, index)

    def members(entries: Iterable[Entry]) -> Iterator[bytes]:
        for entry in entries:
            task.check()
            yield from tarwriter.member(*content(entry), explicit=explicit)

    lasting: list[bytes] = []  # global headers of removed members, written again only if a member follows that stays
    last = len(index) - 1
    with _unpacked(blob, task, diff_id) as tar:
        for row in sorted(edit.drop | edit.replace.keys()):
            begin = _end(index, row - 1)
            if begin > tar.offset:
                yield from _all_of(lasting)
            yield from _copied(tar, begin - tar.offset)
            lasting += _shared_headers(_region(tar, index.offsets[row] - begin))
            if row in edit.replace:
                yield from members([edit.replace[row]])
            tar.skip(_data_end(index, row) - tar.offset)
            tar.pad(-tar.offset % BLOCK)
        if last not in edit.drop and last not in edit.replace:
            yield from _all_of(lasting)
            yield from _copied(tar, _data_end(index, last) - tar.offset)
            missing = -tar.offset % BLOCK
            padding = tar.read(missing)
            yield padding
            if edit.add:
                yield bytes(missing - len(padding))
        yield from members(edit.add)
        ended = False
        for piece in tar.rest():
            ended = True
            yield bytes(len(piece)) if edit.drop else bytes(piece)
        if edit.add and not ended:
            yield tarwriter.END


def write_new(entries: Iterable[Entry], content: Contents) -> Iterator[bytes]:
    """Yields the tar of a layer of new entries alone."""
    return tarwriter.write(map(content, entries))


def apply_edit(index: LayerIndex, edit: LayerEdit) -> LayerIndex:
    """Returns the index that the rewritten layer will have, without offsets, digests and the contents of new entries."""
    made = LayerIndex()
    gone = sorted(edit.drop)

    def moved(row: int) -> int:
        return row - bisect_left(gone, row)

    made.paths = index.paths.of_runs(kept_runs(index, edit))
    for start, stop in kept_runs(index, edit):
        made.kinds += index.kinds[start:stop]
        made.contents += index.contents[32 * start : 32 * stop]
        for name in ("modes", "uids", "gids", "mtimes", "sizes"):
            column: array[int] = getattr(made, name)
            column.extend(array(column.typecode, getattr(index, name)[start:stop]))
    made.offsets.extend([0] * len(made.paths))
    for name in _RARE:
        getattr(made, name).update({moved(row): value for row, value in getattr(index, name).items() if row not in edit.drop})
    for row, entry in edit.replace.items():
        _replace(made, moved(row), entry)
    for entry in edit.add:
        made.add(entry)
    made.hashed = "some" if index.hashed != "none" else "none"
    return made


def kept_runs(index: LayerIndex, edit: LayerEdit) -> Iterator[tuple[int, int]]:
    """Yields the rows that are not dropped, as (start, stop) ranges."""
    start = 0
    for row in (*sorted(edit.drop), len(index)):
        if row > start:
            yield start, row
        start = row + 1


def _replace(index: LayerIndex, row: int, entry: Entry) -> None:
    index.paths[row], index.kinds[row] = entry.path, entry.kind
    index.modes[row], index.uids[row], index.gids[row] = entry.mode, entry.uid, entry.gid
    index.mtimes[row], index.sizes[row] = entry.mtime, entry.size
    index.contents[32 * row : 32 * row + 32] = bytes(32)
    for name in _RARE:
        getattr(index, name).pop(row, None)
    if entry.link:
        index.links[row] = entry.link
    if entry.device is not None:
        index.devices[row] = entry.device
    if entry.xattrs:
        index.xattrs[row] = entry.xattrs


# Where members stand


def _data_end(index: LayerIndex, row: int) -> int:
    """Returns the offset at which a member's data ends; 0 for row -1."""
    if row < 0:
        return 0
    return index.offsets[row] + index.stored(row)


def _end(index: LayerIndex, row: int) -> int:
    """Returns the offset at which a member ends, with its padding."""
    end = _data_end(index, row)
    return end + -end % BLOCK


# The stream


@contextmanager
def _unpacked(blob: Blob, task: Task, diff_id: Digest | None) -> Iterator[ChunkInput]:
    """Gives the layer's uncompressed bytes as a tar input; another thread unpacks ahead if the layer is large."""
    name = label(blob)

    def stored() -> Iterator[bytes]:
        for chunk in verified(blob.chunks(), blob.digest, blob.size):
            task.check()
            task.advance(name, len(chunk), blob.size)
            yield chunk

    compression = codecs.detected(blob)
    pieces = codecs.decode(stored(), compression, task)
    if diff_id is not None and not (compression == "none" and diff_id == blob.digest):
        pieces = verified(pieces, diff_id, None)
    with task.ahead(pieces) if blob.size > 1 << 20 else nullcontext(pieces) as decoded:
        yield ChunkInput(decoded)


def _copied(tar: ChunkInput, size: int) -> Iterator[bytes]:
    for piece in tar.pieces(size):
        yield bytes(piece)


def _all_of(pieces: list[bytes]) -> Iterator[bytes]:
    yield from pieces
    pieces.clear()


def _region(tar: ChunkInput, size: int) -> bytes:
    """Reads and returns the headers of a member: the bytes from the end of the previous member to its data."""
    if size > _HEADERS:
        raise LimitError(f"headers of {size} bytes at offset {tar.offset}")
    region = tar.read(size)
    if len(region) != size:
        raise FormatError(f"tar ends inside a header, at offset {tar.offset}")
    return region


def _shared_headers(region: bytes) -> Iterator[bytes]:
    """Yields those headers of a member that affect others too: global pax headers apply to later members, labels to the
    archive."""
    for flag, header in _extensions(region):
        if flag in b"gV":
            yield header


def _extensions(region: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yields the type flag and bytes of each header in front of a member's own. The tar reader has checked them before."""
    at = 0
    while region[at + 156 : at + 157] in (b"x", b"g", b"L", b"K", b"X", b"V"):
        size = _size(region[at + 124 : at + 136])
        end = at + BLOCK + size + -size % BLOCK
        yield region[at + 156 : at + 157], region[at:end]
        at = end


def _size(field: bytes) -> int:
    """Returns the value of a size field: octal, or base-256 if its first bit is set."""
    if field[0] & 0x80:
        return int.from_bytes(field, "big") & ((1 << 8 * len(field) - 1) - 1)
    return int(field.strip(b" \0").split(b"\0", 1)[0] or b"0", 8)


def has_globals(blob: Blob, index: LayerIndex) -> bool:
    """Returns whether the layer has global pax headers, which new entries must override with records of their own.

    Raises `UnsupportedError` if they cannot be overridden. The layer is read only if its index notes such headers.
    """
    if not index.notes_dropped and all(note.rule != "tar-global-pax" for note in index.notes):
        return False
    tar = ChunkInput(codecs.decode(blob.chunks(), codecs.detected(blob)))
    for row in range(len(index)):
        begin = _end(index, row - 1)
        tar.skip(begin - tar.offset)
        for flag, header in _extensions(_region(tar, index.offsets[row] - begin)):
            if flag == b"g" and _LASTING.search(header, BLOCK - 1):
                raise UnsupportedError(
                    "a global pax header of the layer gives extended attributes to every entry, also to new ones",
                    hint="put the changes into a layer of their own",
                )
    return True
