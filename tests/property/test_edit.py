"""Any image, any edit of its contents: what was asked, exactly, and nothing left of what was to go."""

from __future__ import annotations

import gzip
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support.edits import Disk, Inode
from support.images import entry as new
from support.images import image, layer_tar, sha256, write_layout
from support.layers import sample, scanned

from ocitool.blob import BytesBlob
from ocitool.errors import FormatError, NotFoundError, UsageError
from ocitool.images.config_edits import Settings
from ocitool.layers.entry import Entry, Kind
from ocitool.layers.rewrite import LayerEdit, apply_edit, rewrite_layer
from ocitool.operations import edit as operation
from ocitool.operations.edit.file_addition import FileAddition
from ocitool.operations.edit.layer_edits import composed
from ocitool.pipeline.image_writer import WriteOptions
from ocitool.pipeline.session import Session
from ocitool.task import Task
from ocitool.trees.nodes import HiddenFile, ref_of
from ocitool.trees.tree import Tree

few = settings(max_examples=200, deadline=None)
Made = tuple[Entry, bytes]
Stack = Sequence[Sequence[tuple[str, str, str]]]

# Layers of few names, so that they meet. Every file has a content, and a size, of its own.

names = st.sampled_from(["a", "b", "c"])
paths = st.lists(names, min_size=1, max_size=3).map("/".join)
member = st.one_of(
    st.tuples(st.just("file"), paths, st.just("")),
    st.tuples(st.just("directory"), paths, st.just("")),
    st.tuples(st.just("hard"), paths, paths),
    st.tuples(st.just("link"), paths, paths),
    st.tuples(st.just("whiteout"), paths, st.just("")),
    st.tuples(st.just("opaque"), paths, st.just("")),
)
stacks = st.lists(st.lists(member, max_size=6), min_size=1, max_size=4)


def text(number: int) -> bytes:
    return b"<%03d>" % number * (number + 1)


def tars_of(stack: Stack) -> list[bytes]:
    number = 0
    tars = []
    for layer in stack:
        entries: list[Made] = []
        for kind, path, target in layer:
            if kind == "file":
                entries.append(new(path, text(number)))
                number += 1
            elif kind == "directory":
                entries.append(new(path + "/", None))
            elif kind in ("hard", "link"):
                entries.append(new(path, f"{kind}:{target}"))
            elif kind == "whiteout":
                above, slash, name = path.rpartition("/")
                entries.append(new(f"{above}{slash}.wh.{name}", b""))
            else:
                entries.append(new(f"{path}/.wh..wh..opq", b""))
        tars.append(layer_tar(entries))
    return tars


def run(tars: Sequence[bytes], content: operation.ContentEdits, to: Path) -> tuple[list[bytes], list[str], int]:
    """The layers after an edit, their digests, and the findings."""
    made = image(tars, codec="none")
    source = write_layout(to / "src", [made])
    with Task(jobs=1, cores=1) as task:
        written = operation.edit(
            str(source), Settings(), content, Session(task, cached=False), WriteOptions(f"oci:{to / 'new'}")
        )
    index = json.loads((to / "new/index.json").read_bytes())
    manifest = json.loads(_blob(to / "new", index["manifests"][0]["digest"]))
    digests = [layer["digest"] for layer in manifest["layers"]]
    return [_blob(to / "new", digest) for digest in digests], digests, written.findings


def _blob(layout: Path, digest: str) -> bytes:
    data = (layout / "blobs" / digest.replace(":", "/")).read_bytes()
    assert sha256(data) == digest
    return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data


def disk_of(tars: Sequence[bytes]) -> Disk:
    return Disk.of(Tree([scanned(tar) for tar in tars]))


@few
@given(stacks, paths)
def test_nothing_is_left_of_a_removed_path_and_all_else_stands(stack: Stack, path: str) -> None:
    tars = tars_of(stack)
    hidden: list[HiddenFile] = []
    tree = Tree([scanned(tar) for tar in tars], hidden=hidden.append)
    places = {one.ref: one.path for one in hidden} | {ref_of(node): path for path, node in tree.walk()}
    asked = {path.encode(), tree.real_path(path.encode()) or path.encode()}

    def is_asked(name: bytes) -> bool:
        return any(name == one or name.startswith(one + b"/") for one in asked)

    doomed = {ref for ref, name in places.items() if is_asked(name)}
    gone = {text(one.size // 5 - 1) for one in map(tree.entry, doomed) if one.kind == Kind.FILE}
    with tempfile.TemporaryDirectory() as place:
        try:
            plain, _, findings = run(tars, operation.ContentEdits(remove=(path.encode(),)), Path(place) / "plain")
        except NotFoundError:
            assert not doomed
            return
        content = operation.ContentEdits(remove=(path.encode(),), same_content=True)
        found, digests, none = run(tars, content, Path(place) / "all")
    expected = disk_of(tars)
    files = [one for name, one in expected.nodes.items() if is_asked(name) and one.entry.kind != Kind.DIRECTORY]
    for name in asked:
        expected.delete(name)
    for name, one in list(expected.nodes.items()):
        if any(one is other for other in files) or (one.entry.kind == Kind.FILE and text(one.entry.size // 5 - 1) in gone):
            expected.delete(name)
    assert expected.state() == disk_of(found).state()
    assert not any(marker in tar for marker in gone for tar in found) and not none
    assert (findings > 0) == any(marker in tar for marker in gone for tar in plain)
    for before, after, digest in zip(tars, found, digests, strict=True):
        assert (before == after) == (sha256(before) == digest)


@few
@given(stacks, paths, st.data())
def test_an_added_file_is_the_only_difference_and_only_its_layer_is_made_again(
    stack: Stack, path: str, data: st.DataObject
) -> None:
    tars = tars_of(stack)
    number = data.draw(st.integers(0, len(tars) - 1))
    at = path.encode()
    with tempfile.TemporaryDirectory() as place:
        (Path(place) / "host").write_bytes(b"from the host")
        content = operation.ContentEdits(add=(FileAddition(f"{place}/host", at),), layer=number)
        try:
            found, digests, _ = run(tars, content, Path(place))
        except (UsageError, FormatError):
            assume(False)
        mode = (Path(place) / "host").stat().st_mode & 0o7777
    expected = disk_of(tars)
    above = b""
    for name in at.split(b"/")[:-1]:
        above = above + b"/" + name if above else name
        if above not in expected.nodes:
            made, _ = new(above, None)
            expected.nodes[above] = Inode(made)
    expected.delete(at)
    made, _ = new(at, b"from the host", mode=mode)
    expected.nodes[at] = Inode(made)
    assert expected.state() == disk_of(found).state()
    assert [sha256(tar) for n, tar in enumerate(tars) if n != number] == [d for n, d in enumerate(digests) if n != number]


@few
@given(st.data())
def test_two_edits_of_a_layer_are_one(data: st.DataObject) -> None:
    def edit(rows: int, salt: bytes) -> LayerEdit:
        drop = data.draw(st.frozensets(st.integers(0, rows - 1), max_size=4)) if rows else frozenset()
        free = sorted(set(range(rows)) - drop)
        chosen = data.draw(st.frozensets(st.sampled_from(free), max_size=3)) if free else frozenset()
        replace = {row: new(salt + b"r%d" % row, b"x")[0] for row in chosen}
        return LayerEdit(drop, replace, tuple(new(salt + b"n%d" % n, b"x")[0] for n in range(data.draw(st.integers(0, 2)))))

    def applied(tar: bytes, one: LayerEdit) -> bytes:
        with Task(jobs=1, cores=1) as task:
            made = rewrite_layer(BytesBlob(tar), scanned(tar), one, lambda entry: (entry, [b"x"] if entry.size else []), task)
            return b"".join(made)

    tar = sample()
    first = edit(len(scanned(tar)), b"1")
    once = applied(tar, first)
    second = edit(len(scanned(once)), b"2")
    both = composed(len(scanned(tar)), first, second)
    assert applied(once, second) == applied(tar, both)
    rows = [one._replace(offset=0) for one in apply_edit(apply_edit(scanned(tar), first), second)]
    assert rows == [one._replace(offset=0) for one in apply_edit(scanned(tar), both)]
