"""Unpacking any image gives on disk what the merged tree says in memory: as root, rootless, and as an ordinary user."""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from property.test_tree import Layers, made, stacks
from support.disk import NOBODY, Found, as_nobody, on_disk, open_to_all
from support.images import gz, layer_tar
from support.merged import described, memory_image, tree_of

from ocitool.disk.rootfs import Ownership, Rootfs
from ocitool.disk.staging import stage_image
from ocitool.disk.staging_directory import StagingDirectory
from ocitool.errors import UnsafeError
from ocitool.images.image import Image
from ocitool.layers.entry import Entry, Kind
from ocitool.task import Task
from ocitool.trees.tree import Tree

TIMES = (0, -1, -1_500_000_001, 1_700_000_000_123_456_789, (1 << 31) * 1_000_000_000 + 7)
MODES = (0o644, 0o755, 0, 0o4755, 0o2755, 0o1777, 0o7777, 0o400, 0o500, 0o111, 0o200)


def decorated(layers: Layers, chance: random.Random) -> list[list[tuple[Entry, bytes]]]:
    """The same layers with contents, and with every attribute that an entry can have."""
    made = []
    for number, layer in enumerate(layers):
        entries = []
        for row, entry in enumerate(layer):
            content = b""
            if entry.kind in (Kind.WHITEOUT, Kind.OPAQUE):
                entries.append((marker(entry), b""))
                continue
            if entry.kind != Kind.HARDLINK:
                entry = entry._replace(
                    mode=chance.choice(MODES), mtime=chance.choice(TIMES), gid=chance.choice((0, 5, 100000)),
                    uid=chance.choice((0, 1, 65534, 100000)),
                )  # fmt: skip
            if entry.kind in (Kind.FILE, Kind.DIRECTORY) and chance.random() < 0.2:
                capability = bytes.fromhex("0100000200200000000000000000000000000000")
                names = [(b"user.a", b"\0=\xff"), (b"trusted.b", b"1")]
                names += [(b"security.capability", capability)] if entry.kind == Kind.FILE else []
                entry = entry._replace(xattrs=tuple(sorted(names)))
            if entry.kind == Kind.FILE:
                match chance.randrange(8):
                    case 0:
                        entry = entry._replace(kind=Kind.FIFO)
                    case 1:
                        entry = entry._replace(kind=Kind.CHAR, device=(1, 3), xattrs=None)
                    case _:
                        content = b"%d:%d " % (number, row) * chance.choice((0, 1, 200))
                if entry.kind != Kind.FILE:
                    entry = entry._replace(xattrs=None)
                entry = entry._replace(size=len(content), stored=len(content))
            entries.append((entry, content))
        made.append(entries)
    return made


def marker(entry: Entry) -> Entry:
    """A whiteout or opaque marker as the tar spells it."""
    parent, _, name = entry.path.rpartition(b"/")
    if entry.kind == Kind.OPAQUE:
        parent, name = entry.path, b".wh..opq"
    return entry._replace(path=(parent + b"/" if parent else b"") + b".wh." + name, kind=Kind.FILE)


def image_of(layers: Layers, seed: int) -> Image:
    chance = random.Random(seed)
    stored = [layer_tar(one) for one in decorated(layers, chance)]
    return memory_image([gz(tar) if chance.random() < 0.5 else tar for tar in stored])


def unpack(image: Image, destination: str, owners: Ownership) -> None:
    # One layer at a time: then all upper layers are known, and what they hide is not written.
    with Task(jobs=1) as task, StagingDirectory(destination) as work, Rootfs(work.descriptor, owners, task) as rootfs:
        rootfs.place_tree(stage_image(image, rootfs, task).tree)
        work.publish(b"rootfs")


few = st.sampled_from(["a", "b", "d/a", "l/a"])
knots = st.lists(
    st.lists(
        st.one_of(
            st.builds(made, few, st.sampled_from([Kind.FILE, Kind.FILE, Kind.WHITEOUT])),
            st.builds(made, few, st.just(Kind.HARDLINK), few),
            st.builds(made, st.sampled_from(["d", ""]), st.just(Kind.OPAQUE)),
            st.just(made("l", Kind.SYMLINK, "d")),
        ),
        max_size=5,
    ),
    min_size=2, max_size=4,
)  # fmt: skip
"""Layers of few names with many hard links: files that an upper layer hides and that a link needs all the same."""


def has_broken(tree: Tree) -> bool:
    return any(tree.find(path) == ref for path, ref in tree.broken)


KINDS = {Kind.FILE: "file", Kind.DIRECTORY: "directory", Kind.SYMLINK: "symlink", Kind.CHAR: "char", Kind.FIFO: "fifo"}


def exact(image: Image, tree: Tree) -> Found:
    """What root's disk must hold."""
    found: Found = {}
    for path, fields in described(image, tree).items():
        kind = KINDS[fields["kind"]]
        found[path] = {
            "kind": kind, "mode": None if kind == "symlink" else fields["mode"], "uid": fields["uid"], "gid": fields["gid"],
            "mtime": fields["mtime"], "content": fields["content"], "target": fields["link"] if kind == "symlink" else None,
            "device": fields["device"], "xattrs": dict(fields["xattrs"] or ()), "links": fields["links"],
        }  # fmt: skip
    return found


def rootless(image: Image, tree: Tree, uid: int, gid: int) -> Found:
    """What another user's disk must hold."""
    found = exact(image, tree)
    for fields in found.values():
        fields["uid"], fields["gid"] = uid, gid
        fields["xattrs"] = {name: value for name, value in fields["xattrs"].items() if name.startswith(b"user.")}
        if fields["kind"] == "char":
            fields.update(kind="file", content=b"", device=None)
        if fields["kind"] == "directory" and fields["mode"] & 0o500 != 0o500:
            fields["mode"] |= 0o700
        elif fields["kind"] not in ("directory", "symlink") and not fields["mode"] & 0o400:
            fields["mode"] |= 0o600
    return found


def check(image: Image, owners: Ownership, expected: Callable[[Image, Tree], Found]) -> None:
    with Task() as task:
        tree = tree_of(image, task)
    with tempfile.TemporaryDirectory() as place:
        destination = os.path.join(place, "root")
        if has_broken(tree):
            with pytest.raises(UnsafeError):
                unpack(image, destination, owners)
            assert [] == os.listdir(place)
        else:
            unpack(image, destination, owners)
            assert expected(image, tree) == on_disk(destination)
            assert ["root"] == os.listdir(place)


@settings(max_examples=150)
@given(stacks, st.integers(0, 1 << 30))
def test_the_disk_is_the_merged_tree(need: Any, layers: Layers, seed: int) -> None:
    need("root")
    check(image_of(layers, seed), Ownership(), exact)


@settings(max_examples=150)
@given(knots, st.integers(0, 1 << 30))
def test_the_disk_is_the_merged_tree_where_links_need_what_is_hidden(need: Any, layers: Layers, seed: int) -> None:
    need("root")
    check(image_of(layers, seed), Ownership(), exact)


@settings(max_examples=75)
@given(stacks, st.integers(0, 1 << 30))
def test_the_disk_is_the_merged_tree_rootless(layers: Layers, seed: int) -> None:
    image = image_of(layers, seed)
    check(image, Ownership(rootless=True), lambda image, tree: rootless(image, tree, os.geteuid(), os.getegid()))


@settings(max_examples=40)
@given(stacks, st.integers(0, 1 << 30))
def test_the_disk_is_the_merged_tree_for_an_ordinary_user(need: Any, layers: Layers, seed: int) -> None:
    need("root")
    image = image_of(layers, seed)
    with Task() as task:
        tree = tree_of(image, task)
    if has_broken(tree):
        return
    with open_to_all() as place:
        as_nobody(lambda: unpack(image, str(place / "root"), Ownership(rootless=True)))
        assert rootless(image, tree, NOBODY, NOBODY) == on_disk(place / "root")


def entries(*names: str) -> Sequence[Entry]:
    return [Entry(name.encode(), Kind.FILE, 0o644, 0, 0, 0, 0, b"", 0, 0, None, None, None) for name in names]


def test_a_wrong_disk_is_noticed(need: Any, tmp_path: Path) -> None:
    need("root")
    image = image_of([entries("a", "b")], 1)
    unpack(image, str(tmp_path / "root"), Ownership())
    (tmp_path / "root/a").chmod(0o123)
    with Task() as task:
        assert exact(image, tree_of(image, task)) != on_disk(tmp_path / "root")
