"""Writing into a layout: what becomes of its index, of names, and of what was there."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from support import places
from support.images import Image, image, index_of, layer_tar, pretty, write_layout

from ocitool import limits
from ocitool.atomic import SpooledBlob
from ocitool.blob import BytesBlob
from ocitool.digest import Digest
from ocitool.errors import DestinationError, FormatError, IntegrityError
from ocitool.spec.document import parse_object
from ocitool.spec.manifest import Index, with_names
from ocitool.task import Task
from ocitool.transports.layout_sink import LayoutSink, merge_index
from ocitool.transports.sink import OutputImage, WriteRequest

A, B = image([layer_tar([("a", b"a")])]), image([layer_tar([("b", b"b")])])
REF, CTD = places.REF_NAME, places.CONTAINERD_NAME


@pytest.fixture
def task() -> Iterator[Task]:
    with Task() as running:
        yield running


def entry(one: Image, **annotations: str) -> dict[str, Any]:
    keys = {"ref": REF, "ctd": CTD}
    found = {keys.get(key, key): value for key, value in annotations.items()}
    return {**one.descriptor, **({"annotations": found} if found else {})}


def index(*entries: dict[str, Any], **changes: Any) -> Index:
    raw = pretty(index_of(entries, **changes))
    return Index(raw, parse_object(raw, "test"), "test")


def root(one: Image, *names: str, **changes: Any) -> OutputImage:
    return OutputImage({**one.descriptor, **changes}, names)


def after(old: Index | None, *roots: OutputImage) -> list[Any]:
    return list(json.loads(merge_index(old, roots))["manifests"])


def bundle(images: Sequence[Image], names: Sequence[str] = ()) -> WriteRequest:
    blobs = {digest: BytesBlob(data, Digest.parse(digest)) for one in images for digest, data in one.blobs.items()}
    return WriteRequest(tuple(root(one, *names) for one in images), tuple(blobs.values()))


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ([], root(A, "x"), [entry(A, ref="x")]),
        ([], root(A), [entry(A)]),
        ([], root(A, "x", "y"), [entry(A, ref="x"), entry(A, ref="y")]),
        ([entry(A, ref="x")], root(A, "x"), [entry(A, ref="x")]),
        ([entry(A, ref="x")], root(B, "x"), [entry(B, ref="x")]),
        ([entry(A, ref="x")], root(B, "y"), [entry(A, ref="x"), entry(B, ref="y")]),
        ([entry(A, ref="x")], root(A, "y"), [entry(A, ref="x"), entry(A, ref="y")]),
        ([entry(A, ref="x")], root(A), [entry(A, ref="x")]),
        ([entry(A)], root(A, "x"), [entry(A, ref="x")]),
        ([entry(A)], root(B, "x"), [entry(A), entry(B, ref="x")]),
        ([entry(A, ref="x"), entry(A, ref="y")], root(B, "x"), [entry(A, ref="y"), entry(B, ref="x")]),
        ([entry(A, ref="x"), entry(B, ref="x")], root(A, "x"), [entry(A, ref="x")]),
        ([entry(A, ref="app:1")], root(B, "docker.io/library/app:1"), [entry(B, ref="docker.io/library/app:1")]),
        ([entry(A, ref="app:1")], root(A, "docker.io/library/app:1"), [entry(A, ref="app:1")]),
        ([entry(A, ref="app:1")], root(B, "1"), [entry(A, ref="app:1"), entry(B, ref="1")]),
        ([entry(A, ref="1", ctd="docker.io/library/app:1")], root(B, "app:1"), [entry(B, ref="app:1")]),
        ([{**entry(A), "annotations": "odd"}], root(B, "x"), [{**entry(A), "annotations": "odd"}, entry(B, ref="x")]),
    ],
)  # fmt: skip
def test_a_name_moves_and_everything_else_stays(old: list[Any], new: OutputImage, expected: list[Any]) -> None:
    found = after(index(*old), new)
    assert expected == found
    assert expected == after(index(*found), new)


def test_an_index_that_does_not_change_keeps_its_bytes() -> None:
    raw = json.dumps(index_of([entry(A, ref="x")]), indent=2).encode() + b"\n"
    assert raw == merge_index(Index(raw, parse_object(raw, "test"), "test"), [root(A, "x"), root(A)])


def test_unknown_members_of_an_index_that_changes_stay() -> None:
    found = json.loads(merge_index(index(entry(A, ref="x"), annotations={"a": "b"}, **{"x-mine": [1]}), [root(B, "y")]))
    assert ({"a": "b"}, [1]) == (found["annotations"], found["x-mine"])


def test_a_descriptors_own_annotations_stay_and_its_old_names_go() -> None:
    fields = {**A.descriptor, "annotations": {"k": "v", REF: "old", CTD: "old"}}
    assert {**A.descriptor, "annotations": {"k": "v", REF: "new"}} == with_names(fields, {REF: "new"})
    assert A.descriptor == with_names({**A.descriptor, "annotations": {REF: "old"}}, {})


def test_blobs_come_before_the_index_and_what_was_there_is_skipped(task: Task, tmp_path: Path) -> None:
    for skipped in (set(), set(A.blobs)):
        sink = LayoutSink(str(tmp_path / "out"), task)
        stored = sink.write(bundle([A], ["x"]), task, verify=False)
        sink.close()
        assert skipped == {str(digest) for digest in stored.skipped}
        assert stored.verified
    assert A.blobs == places.blobs(tmp_path / "out")
    assert {"oci-layout", "index.json", "blobs"} == {path.name for path in (tmp_path / "out").iterdir()}
    assert {"imageLayoutVersion": "1.0.0"} == json.loads((tmp_path / "out/oci-layout").read_text())


def test_a_spooled_blob_is_moved_into_place(task: Task, tmp_path: Path) -> None:
    sink = LayoutSink(str(tmp_path / "out"), task)
    spool = sink.spool()
    spool.write(b"made")
    inode = os.fstat(spool.descriptor).st_ino
    made = SpooledBlob(spool, Digest.of(b"made"))
    stored = sink.write(WriteRequest((root(A, "x"),), (made,)), task, verify=False)
    sink.close()
    assert stored.verified
    assert inode == (tmp_path / "out/blobs" / str(made.digest).replace(":", "/")).stat().st_ino


@pytest.mark.parametrize("verify", [False, True])
def test_a_blob_that_is_cut_off_or_damaged_is_replaced(verify: bool, task: Task, tmp_path: Path) -> None:
    write_layout(tmp_path / "out", [A])
    blob = tmp_path / "out/blobs" / A.manifest["layers"][0]["digest"].replace(":", "/")
    for damage in (b"cut", bytes(len(A.layers[0]))):
        blob.write_bytes(damage)
        sink = LayoutSink(str(tmp_path / "out"), task)
        sink.write(bundle([A]), task, verify=verify)
        sink.close()
        assert A.layers[0] == blob.read_bytes()
    assert ["damaged"] == [notice.code for notice in task.notices]


def test_a_write_that_fails_leaves_no_directory_of_its_own(task: Task, tmp_path: Path) -> None:
    bad = WriteRequest((root(A),), (BytesBlob(b"right", Digest.of(b"right")), BytesBlob(b"wrong", Digest.of(b"other"))))
    for place in (tmp_path / "new", tmp_path / "empty"):
        if place.name == "empty":
            place.mkdir()
        with Task() as own:
            sink = LayoutSink(str(place), own)
            with pytest.raises(IntegrityError):
                sink.write(bad, own, verify=False)
            sink.close()
    assert [tmp_path / "empty"] == list(tmp_path.iterdir())
    assert [] == list((tmp_path / "empty").iterdir())


def test_a_write_that_fails_leaves_the_index_of_a_layout_alone(tmp_path: Path) -> None:
    write_layout(tmp_path / "out", [A])
    before = places.files(tmp_path / "out")
    with Task() as own:
        sink = LayoutSink(str(tmp_path / "out"), own)
        with pytest.raises(IntegrityError):
            sink.write(WriteRequest((root(B),), (BytesBlob(b"wrong", Digest.of(b"other")),)), own, verify=False)
        sink.close()
    assert before == places.files(tmp_path / "out")


@pytest.mark.parametrize("raw", [b"{", b"[]", b'{"manifests": 1}'])
def test_a_layout_whose_index_cannot_be_read_is_not_written(raw: bytes, task: Task, tmp_path: Path) -> None:
    write_layout(tmp_path / "out", [A], index=raw)
    before = places.files(tmp_path / "out")
    with pytest.raises(FormatError):
        LayoutSink(str(tmp_path / "out"), task)
    (tmp_path / "out/oci-layout").unlink()
    with pytest.raises(DestinationError, match="neither an OCI layout nor"):
        LayoutSink(str(tmp_path / "out"), task)
    assert {**before, "oci-layout": b""} == {"oci-layout": b"", **places.files(tmp_path / "out")}


def test_a_layout_without_its_version_file_or_its_index_gets_them(task: Task, tmp_path: Path) -> None:
    for missing in ("oci-layout", "index.json"):
        place = write_layout(tmp_path / missing, [A])
        (place / missing).unlink()
        sink = LayoutSink(str(place), task)
        sink.write(bundle([B], ["b"]), task, verify=False)
        sink.close()
        assert {"oci-layout", "index.json"} <= set(places.files(place))
        assert {**A.blobs, **B.blobs} == places.blobs(place)


def test_a_hundred_thousand_entries_with_long_names_can_be_read_again() -> None:
    platform = {"os": "linux", "architecture": "arm64", "variant": "v8"}
    names = [f"registry.example.com:5000/team/project/service-name:v1.2.3-build.{number}" for number in range(100_000)]
    raw = merge_index(None, [root(A, *names, platform=platform)])
    assert names == [one.annotations[REF] for one in Index(raw, parse_object(raw, "x", limits.STORE), "x").manifests]
