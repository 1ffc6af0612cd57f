"""What was unpacked and not edited has no changes, whoever unpacked it, also where nothing on disk has a recorded status."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from property.test_tree import Layers, stacks
from property.test_unpack import has_broken, image_of, knots
from support.disk import as_nobody, open_to_all
from support.merged import described, tree_of
from support.snapshots import found_by

from ocitool.disk.rootfs import Ownership, Rootfs
from ocitool.disk.snapshot import IdRange, SnapshotEntry, SnapshotHeader, read, snapshot_rows, write
from ocitool.disk.staging import stage_image
from ocitool.disk.staging_directory import StagingDirectory
from ocitool.images.image import Image
from ocitool.task import Task
from ocitool.trees.changes import Change


def changes_after(image: Image, place: Path, owners: Ownership, aged: bool) -> dict[bytes, Change]:
    """Unpacks, and looks for edits. aged: every path is another inode with the same attributes, as in a copy."""
    with Task(jobs=1) as task:
        tree = tree_of(image, task)
        if has_broken(tree):
            return {}
        with StagingDirectory(str(place / "root")) as work, Rootfs(work.descriptor, owners, task) as rootfs:
            rootfs.place_tree(stage_image(image, rootfs, task).tree)
            work.publish(b"rootfs")
    header = SnapshotHeader(*owners)
    write(place / "snapshot", header, snapshot_rows(tree, place / "root", header))
    found, rows = read(place / "snapshot")
    recorded: list[SnapshotEntry] = list(rows)
    if aged:
        recorded = [row._replace(disk=row.disk._replace(ctime=0, ino=row.disk.ino + 1)) for row in recorded]
    contents = {path: fields["content"] for path, fields in described(image, tree).items()}

    def content_of(path: bytes, _: Any) -> bytes | None:
        return hashlib.sha256(contents[path]).digest()

    return found_by(found, recorded, place / "root", content_of)


@settings(max_examples=75)
@given(st.one_of(stacks, knots), st.integers(0, 1 << 30), st.booleans())
def test_as_root_nothing_edited_is_no_change(need: Any, layers: Layers, seed: int, aged: bool) -> None:
    need("root")
    with tempfile.TemporaryDirectory() as place:
        assert {} == changes_after(image_of(layers, seed), Path(place), Ownership(), aged)


@settings(max_examples=75)
@given(st.one_of(stacks, knots), st.integers(0, 1 << 30), st.booleans(), st.booleans())
def test_rootless_nothing_edited_is_no_change(layers: Layers, seed: int, aged: bool, owner_xattr: bool) -> None:
    with tempfile.TemporaryDirectory() as place:
        owners = Ownership(rootless=True, owner_xattr=owner_xattr)
        assert {} == changes_after(image_of(layers, seed), Path(place), owners, aged)


@settings(max_examples=25)
@given(stacks, st.integers(0, 1 << 30), st.booleans())
def test_for_an_ordinary_user_nothing_edited_is_no_change(need: Any, layers: Layers, seed: int, owner_xattr: bool) -> None:
    need("root")
    with open_to_all() as place:
        owners = Ownership(rootless=True, owner_xattr=owner_xattr)
        assert {} == as_nobody(lambda: changes_after(image_of(layers, seed), place, owners, True))


@settings(max_examples=25)
@given(stacks, st.integers(0, 1 << 30))
def test_with_mapped_ids_nothing_edited_is_no_change(need: Any, layers: Layers, seed: int) -> None:
    need("root")
    ranges = (IdRange(0, 200_000, 200_000),)
    with tempfile.TemporaryDirectory() as place:
        assert {} == changes_after(image_of(layers, seed), Path(place), Ownership(False, ranges, ranges), True)


def test_an_edit_is_noticed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """That the laws above can fail."""
    import property.test_unedited as here

    true = read

    def edited(path: Any) -> Any:
        os.utime(tmp_path / "root", ns=(5, 5))
        return true(path)

    monkeypatch.setattr(here, "read", edited)
    assert [b""] == list(here.changes_after(image_of([], 1), tmp_path, Ownership(rootless=True), False))
