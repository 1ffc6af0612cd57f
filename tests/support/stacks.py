"""Stacks of layers of any shape, for hypothesis: few names, so that layers meet."""

from __future__ import annotations

from hypothesis import strategies as st

from ocitool.layers.entry import Entry, Kind

names = st.sampled_from([b"a", b"b", b"c", b"\xff\n"])
paths = st.lists(names, min_size=1, max_size=3).map(b"/".join)
targets = st.one_of(paths, st.sampled_from([b"..", b"/a", b"nowhere", b"a/../b"]))
kinds = st.sampled_from([*Kind][: Kind.METADATA])
times = st.sampled_from([0, 1_700_000_000_123_456_789, -1])
xattrs = st.sampled_from([None, ((b"user.a", b"\0=\n"),)])


@st.composite
def members(draw: st.DrawFn) -> tuple[Entry, bytes]:
    kind = draw(kinds)
    content = draw(st.binary(max_size=700)) if kind == Kind.FILE else b""
    link = draw(paths if kind == Kind.HARDLINK else targets) if kind in (Kind.SYMLINK, Kind.HARDLINK) else b""
    device = (draw(st.integers(0, 4095)), 7) if kind in (Kind.CHAR, Kind.BLOCK) else None
    size = len(content)
    owner = draw(st.integers(0, 3))
    entry = Entry(draw(paths), kind, draw(st.sampled_from([0o644, 0o4755])), owner, 1 << 33, draw(times), size, link, 0, size,
                  device, draw(xattrs), None)  # fmt: skip
    return entry, content


layers = st.lists(st.lists(members(), max_size=8), min_size=1, max_size=4)

Stack = list[list[tuple[Entry, bytes]]]
