"""Any layer, any edit: the rewritten bytes list what the edited index says, and every other member is as it stood."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from support.images import gz
from support.layers import (
    END,
    GNU,
    chunked,
    contents,
    file_entry,
    head,
    listed,
    long,
    member,
    old_sparse,
    pax,
    scanned,
    sparse_1_0,
)

from ocitool.blob import BytesBlob
from ocitool.layers.entry import Entry, Kind
from ocitool.layers.rewrite import LayerEdit, apply_edit, rewrite_layer
from ocitool.task import Task

MEMBERS = [
    member(b"a", b"1"),
    member(b"b", b"x" * 512),
    member(b"c", b""),
    head(b"d/", b"5"),
    head(b"l", b"1", link=b"a", size=3),
    head(b"s", b"2", link=b"t"),
    pax((b"path", b"p\xff" * 70), (b"SCHILY.xattr.user.x", b"\0=")) + member(b"p", b"pax" * 300),
    pax((b"comment", b"for all"), flag=b"g") + member(b"g", b"7"),
    pax((b"mtime", b"3"), (b"gid", b"9"), flag=b"g") + head(b"h/", b"5"),
    long(b"L", b"n/" * 90 + b"e") + member(b"n", b"long", magic=GNU),
    old_sparse(b"old", [(512 * n, b"A" * 100) for n in range(9)], 9000),
    sparse_1_0(b"new", [(1024, b"E" * 512)], 9000),
    head(b"V", b"V") + member(b"v", b"labelled"),
    member(b"d/.wh.x"),
]
TAILS = [b"", END, END + b"behind", bytes(10240), bytes(512)]


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[bytes], bytes, LayerEdit]:
    """Members, what stands behind them (None: the last one's padding is left out), and an edit."""
    members = draw(st.lists(st.sampled_from(MEMBERS), max_size=7))
    tail = draw(st.sampled_from(TAILS))
    if not tail and members and draw(st.booleans()):
        members[-1] = head(b"z", size=5) + b"short"
    rows = list(range(len(members)))
    drop = draw(st.sets(st.sampled_from(rows))) if rows else set()
    replaced = draw(st.sets(st.sampled_from(rows))) - drop if rows else set()
    new = st.builds(lambda size, mtime: file_entry(b"new", size, mtime=mtime), st.integers(0, 1100), st.integers(0, 7))
    add = draw(st.lists(new, max_size=3))
    return members, tail, LayerEdit(frozenset(drop), {row: draw(new) for row in replaced}, tuple(add))


def content(entry: Entry) -> tuple[Entry, list[bytes]]:
    return entry, [b"n" * entry.size] if entry.kind == Kind.FILE else []


def rewritten(data: bytes, edit: LayerEdit, codec: str, sizes: list[int]) -> bytes:
    stored = gz(data) if codec == "gzip" else data

    class Chunks(BytesBlob):
        def chunks(self, offset: int = 0):  # type: ignore[no-untyped-def]
            return chunked(stored, *sizes)

    with Task(jobs=1) as task:
        return b"".join(rewrite_layer(Chunks(stored), scanned(data), edit, content, task))


codecs = st.sampled_from(["none", "gzip"])
steps = st.lists(st.integers(1, 3000), min_size=1, max_size=4)


@settings(max_examples=400)
@given(cases(), codecs, steps)
def test_rewritten_bytes_are_what_the_edited_index_says(
    case: tuple[list[bytes], bytes, LayerEdit], codec: str, sizes: list[int]
) -> None:
    members, tail, edit = case
    data = b"".join(members) + tail
    expected = [one._replace(offset=0) for one in apply_edit(scanned(data), edit)]
    assert expected == [one._replace(offset=0) for one in listed(rewritten(data, edit, codec, sizes))]


@settings(max_examples=200)
@given(cases(), codecs, steps)
def test_contents_are_where_they_are_listed(case: tuple[list[bytes], bytes, LayerEdit], codec: str, sizes: list[int]) -> None:
    members, tail, edit = case
    data = b"".join(members) + tail
    old = [found for _, found in contents(data)]
    for row, entry in edit.replace.items():
        old[row] = b"n" * entry.size
    expected = [found for row, found in enumerate(old) if row not in edit.drop]
    expected += [b"n" * entry.size for entry in edit.add]
    assert expected == [found for _, found in contents(rewritten(data, edit, codec, sizes))]


@settings(max_examples=200)
@given(cases(), codecs, steps)
def test_untouched_members_stand_in_it_byte_for_byte(
    case: tuple[list[bytes], bytes, LayerEdit], codec: str, sizes: list[int]
) -> None:
    members, tail, edit = case
    got = rewritten(b"".join(members) + tail, edit, codec, sizes)
    at = 0
    for row, raw in enumerate(members):
        if row not in edit.drop and row not in edit.replace:
            at = got.index(raw, at) + len(raw)
    assert got.endswith(bytes(len(tail)) if edit.drop else tail)


@settings(max_examples=100)
@given(cases(), codecs, steps)
def test_an_edit_of_nothing_gives_the_same_bytes(
    case: tuple[list[bytes], bytes, LayerEdit], codec: str, sizes: list[int]
) -> None:
    data = b"".join(case[0]) + case[1]
    assert data == rewritten(data, LayerEdit(), codec, sizes)
