"""The universal archive: what is in it, in which order, and that it is the same each time."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import places
from support.images import Image, image, layer_tar, sha256
from support.streams import decoded

from ocitool import limits
from ocitool.blob import Blob, BytesBlob, FileBlob, OpenFile
from ocitool.digest import Digest
from ocitool.errors import DestinationError, IntegrityError, LimitError
from ocitool.images.select import groups
from ocitool.task import Task
from ocitool.transports.archive_sink import OMITTED, ArchiveSink, archive_stream
from ocitool.transports.opening import open_source
from ocitool.transports.sink import OutputImage, OutputLayer, WriteOutcome, WriteRequest

A, B = image([layer_tar([("a", b"a" * 1000)])], codec="none"), image([layer_tar([("b", b"b")])])


@pytest.fixture
def task() -> Iterator[Task]:
    with Task() as running:
        yield running


def root(one: Image, *names: str, is_image: bool = True) -> OutputImage:
    if not is_image:
        return OutputImage(one.descriptor, names)
    image_id = Digest.parse(sha256(one.config))
    layers = tuple(
        OutputLayer(Digest.parse(layer["digest"]), layer["size"], None, layer["mediaType"], "kept", None)
        for layer in one.manifest["layers"]
    )
    return OutputImage(one.descriptor, names, image_id=image_id, layers=layers, loaded=image_id)


def blobs(*images: Image) -> tuple[Blob, ...]:
    found = {digest: BytesBlob(data, Digest.parse(digest)) for one in images for digest, data in one.blobs.items()}
    return tuple(found.values())


def write(path: Path, bundle: WriteRequest, task: Task, **how: Any) -> WriteOutcome:
    sink = ArchiveSink(str(path), **how)
    try:
        return sink.write(bundle, task, verify=False)
    finally:
        sink.close()


BOTH = WriteRequest((root(A, "a:1", "host.example/a:2"), root(B, "b:1")), blobs(A, B))


def test_documents_stand_first_and_every_header_is_plain(task: Task, tmp_path: Path) -> None:
    write(tmp_path / "a.tar", BOTH, task)
    with tarfile.open(tmp_path / "a.tar") as archive:
        members = archive.getmembers()
    assert ["oci-layout", "index.json", "manifest.json", "blobs", "blobs/sha256"] == [one.name for one in members[:5]]
    assert [f"blobs/{blob.digest.algorithm}/{blob.digest.encoded}" for blob in BOTH.blobs if blob.digest] == [
        one.name for one in members[5:]
    ]
    assert {(0, 0, 0, "", "")} == {(one.mtime, one.uid, one.gid, one.uname, one.gname) for one in members}
    assert {(True, 0o644), (False, 0o755)} == {(one.isfile(), one.mode) for one in members}


def test_the_archive_ends_as_a_tar_does(task: Task, tmp_path: Path) -> None:
    write(tmp_path / "a.tar", BOTH, task)
    data = (tmp_path / "a.tar").read_bytes()
    assert (0, bytes(1024)) == (len(data) % 512, data[-1024:])


def test_every_name_stands_in_full_in_all_three_places(task: Task, tmp_path: Path) -> None:
    write(tmp_path / "a.tar", BOTH, task)
    full = ["docker.io/library/a:1", "host.example/a:2", "docker.io/library/b:1"]
    annotations = [one["annotations"] for one in places.index(tmp_path / "a.tar")["manifests"]]
    assert [{places.REF_NAME: name, places.CONTAINERD_NAME: name} for name in full] == annotations
    assert [full[:2], full[2:]] == [one["RepoTags"] for one in places.engine_images(tmp_path / "a.tar")]


def test_a_bare_tag_names_no_repository(task: Task, tmp_path: Path) -> None:
    write(tmp_path / "a.tar", WriteRequest((root(A, "v1"),), blobs(A)), task)
    assert [{places.REF_NAME: "v1"}] == [one["annotations"] for one in places.index(tmp_path / "a.tar")["manifests"]]
    assert [None] == [one["RepoTags"] for one in places.engine_images(tmp_path / "a.tar")]


def test_two_spellings_of_a_name_are_one(task: Task, tmp_path: Path) -> None:
    write(tmp_path / "a.tar", WriteRequest((root(A, "a:1", "docker.io/library/a:1"),), blobs(A)), task)
    assert 1 == len(places.index(tmp_path / "a.tar")["manifests"])
    assert [["docker.io/library/a:1"]] == [one["RepoTags"] for one in places.engine_images(tmp_path / "a.tar")]


def test_two_manifests_of_one_configuration_are_one_image_to_an_engine(task: Task, tmp_path: Path) -> None:
    tar = layer_tar([("a", b"a")])
    one, two = image([tar], codec="gzip"), image([tar], codec="zstd")
    write(tmp_path / "a.tar", WriteRequest((root(one, "a:1"), root(two, "a:2")), blobs(one, two)), task)
    listed = places.engine_images(tmp_path / "a.tar")
    assert [["docker.io/library/a:1", "docker.io/library/a:2"]] == [entry["RepoTags"] for entry in listed]
    assert 2 == len(places.index(tmp_path / "a.tar")["manifests"])


def test_what_is_no_image_is_in_the_index_alone(task: Task, tmp_path: Path) -> None:
    write(tmp_path / "a.tar", WriteRequest((root(A, "a:1"), root(B, "b:1", is_image=False)), blobs(A, B)), task)
    assert 1 == len(places.engine_images(tmp_path / "a.tar"))
    write(tmp_path / "b.tar", WriteRequest((root(B, is_image=False),), blobs(B)), task)
    assert "manifest.json" not in places.files(tmp_path / "b.tar")


def test_an_archive_that_leaves_blobs_out_lists_them_and_is_nothing_to_an_engine(task: Task, tmp_path: Path) -> None:
    left = (Digest.of(b"1"), Digest.of(b"2"))
    write(tmp_path / "a.tar", WriteRequest((root(A, "a:1"),), blobs(A), left), task)
    assert f"{left[0]},{left[1]}" == places.index(tmp_path / "a.tar")["annotations"][OMITTED]
    assert "manifest.json" not in places.files(tmp_path / "a.tar")


@pytest.mark.parametrize("codec", ["gzip", "zstd"])
def test_a_compressed_archive_holds_the_same_tar(codec: str, task: Task, tmp_path: Path) -> None:
    write(tmp_path / "a.tar", BOTH, task)
    stored = write(tmp_path / "b.tar", BOTH, task, compression=codec)
    assert stored.verified
    assert (tmp_path / "a.tar").read_bytes() == decoded((tmp_path / "b.tar").read_bytes(), codec)


def test_blobs_of_files_give_the_same_bytes_as_those_in_memory(task: Task, tmp_path: Path) -> None:
    def filed(blob: Blob) -> Blob:
        path = tmp_path / "blobs"
        data = b"".join(blob.chunks())
        offset = path.stat().st_size if path.exists() else 0
        with open(path, "ab") as file:
            file.write(data)
        return FileBlob(OpenFile(str(path)), offset, len(data), blob.digest)

    read = write(tmp_path / "a.tar", BOTH, task)
    copied = write(tmp_path / "b.tar", BOTH._replace(blobs=tuple(map(filed, BOTH.blobs))), task)
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    assert read.verified and copied.verified


def test_a_failing_blob_leaves_the_old_archive_and_no_other_file(task: Task, tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(b"old")
    bad = BOTH._replace(blobs=(*BOTH.blobs, BytesBlob(b"wrong", Digest.of(b"right"))))
    for codec in ("none", "gzip"):
        with pytest.raises(IntegrityError):
            write(tmp_path / "a.tar", bad, task, force=True, compression=codec)
        assert {"a.tar": b"old"} == {path.name: path.read_bytes() for path in tmp_path.iterdir()}


def test_what_appears_while_an_archive_is_written_is_not_replaced(task: Task, tmp_path: Path) -> None:
    sink = ArchiveSink(str(tmp_path / "a.tar"))
    (tmp_path / "a.tar").write_bytes(b"another's")
    with pytest.raises(DestinationError, match="exists already"):
        sink.write(BOTH, task, verify=False)
    assert {"a.tar": b"another's"} == {path.name: path.read_bytes() for path in tmp_path.iterdir()}


def test_large_members_and_every_algorithm_have_their_place(task: Task, tmp_path: Path) -> None:
    data = b"x"
    digest = Digest.of(data, "sha512")
    write(tmp_path / "a.tar", WriteRequest((root(A),), (*blobs(A), BytesBlob(data, digest))), task)
    assert {**A.blobs, str(digest): data} == places.blobs(tmp_path / "a.tar")
    with tarfile.open(fileobj=io.BytesIO((tmp_path / "a.tar").read_bytes())) as archive:
        assert {"blobs", "blobs/sha256", "blobs/sha512"} == {one.name for one in archive if one.isdir()}


def test_the_reader_of_the_test_notices_a_wrong_blob_and_a_missing_file(task: Task, tmp_path: Path) -> None:
    write(tmp_path / "a.tar", WriteRequest((root(A),), ()), task)
    with pytest.raises(AssertionError):
        places.engine_images(tmp_path / "a.tar")
    (tmp_path / "blobs/sha256").mkdir(parents=True)
    (tmp_path / "blobs/sha256" / ("0" * 64)).write_bytes(b"x")
    (tmp_path / "a.tar").unlink()
    with pytest.raises(AssertionError):
        places.blobs(tmp_path)
    assert json.loads(places.files(tmp_path).get("index.json", b"{}")) == {}


def test_a_stream_of_an_archive_that_nobody_could_read_again_never_begins(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ocitool.limits.STORE", limits.JsonLimits(100, 1000))
    with pytest.raises(LimitError):
        next(archive_stream(WriteRequest((root(A, "app:1"),), blobs(A)), task))


def test_thirty_thousand_names_can_be_read_again(task: Task, tmp_path: Path) -> None:
    names = [f"registry.example.com:5000/team/project/service-name:v1.2.3-build.{number}" for number in range(30_000)]
    write(tmp_path / "a.tar", WriteRequest((root(A, *names),), blobs(A)), task)
    opened = open_source(str(tmp_path / "a.tar"), "documents", task)
    assert [tuple(names)] == [group.tags for group in groups(opened)]
