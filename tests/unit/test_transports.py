"""Layouts and archives: recognised by content, members resolved, and nothing read that was not asked for."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.images import (
    docker_files,
    hybrid_files,
    image,
    layer_tar,
    pretty,
    write_docker_archive,
    write_layout,
    write_oci_archive,
    write_tar,
    zst,
)  # fmt: skip

from ocitool.blob import FileBlob, OpenFile
from ocitool.errors import FormatError, LimitError, NotFoundError, OcitoolError, UsageError
from ocitool.images.image import Image
from ocitool.images.platform_choice import single
from ocitool.layers.cache import IndexCache
from ocitool.limits import JsonLimits
from ocitool.task import Task
from ocitool.transports import archive, archive_members
from ocitool.transports.opening import open_source
from ocitool.trees.indexing import Indexer
from ocitool.trees.nodes import Directory
from ocitool.trees.tree import Tree

ROOT = Path(__file__).resolve().parents[2]
ENCODINGS = ROOT / "testdata/encodings"
SAME = sorted({path.name for path in ENCODINGS.iterdir()} - {"multi.tar", "untagged.tar"})
LAYER = layer_tar([("etc/", None), ("etc/motd", b"hello\n")])


@pytest.fixture
def task() -> Iterator[Task]:
    with Task() as running:
        yield running


def merged(found: Image, task: Task) -> list[tuple[Any, ...]]:
    """The merged tree, paths with all their attributes and contents."""
    indexes = [Indexer(IndexCache(None), task, verify=True).indexes(found)][0]
    tree = Tree(indexes)
    rows = []
    for path, node in tree.walk():
        ref = node.ref if isinstance(node, Directory) else node
        inode = tree.inode(ref)
        content = indexes[tree.layer(inode)].content(tree.row(inode))
        rows.append((path, tree.entry(ref)._replace(offset=0), content, tree.layer(ref)))
    return rows


# Recognition


@pytest.fixture(scope="module")
def expected() -> tuple[list[Any], list[Any]]:
    with Task() as task:
        found = single(open_source(f"{ROOT}/testdata/app-v2.tar", "layers", task), None)
        return [layer.diff_id for layer in found.layers], merged(found, task)


@pytest.mark.parametrize("name", SAME)
def test_every_flavour_is_recognised_by_content_and_holds_the_same_image(
    name: str, expected: tuple[list[Any], list[Any]], task: Task, tmp_path: Path
) -> None:
    (tmp_path / "file").symlink_to(ENCODINGS / name)  # without its extension
    found = single(open_source(str(tmp_path / "file"), "layers", task), None)
    # The v1 format has no configuration to state diff_ids.
    stated = [None] * 6 if name == "docker-1.tar" else expected[0]
    assert ([layer.diff_id for layer in found.layers], merged(found, task)) == (stated, expected[1])


@pytest.mark.parametrize(
    ("name", "transport"),
    [
        ("docker-1.tar", "docker-archive"), ("docker-1.2.tar", "docker-archive"), ("jib.tar", "docker-archive"),
        ("docker-25.tar", "oci-archive"), ("oci-gzip.tar", "oci-archive"), ("oci", "oci"),
    ],
)  # fmt: skip
def test_plain_path_says_what_it_was_recognised_as(name: str, transport: str, task: Task) -> None:
    assert open_source(str(ENCODINGS / name), "documents", task).source.transport.name == transport


@pytest.mark.parametrize("transport", ["docker-archive", "oci-archive"])
def test_hybrid_archive_may_be_read_as_either(transport: str, task: Task) -> None:
    found = single(open_source(f"{transport}:{ENCODINGS}/docker-25.tar", "documents", task), None)
    assert (found.transport, found.tags) == (transport, ("shop:1.1",))


def test_hybrid_archive_whose_index_is_null_is_a_docker_archive(task: Task, tmp_path: Path) -> None:
    files = hybrid_files([image([LAYER], tag="app:1", codec="none")])
    files["index.json"] = b'{"schemaVersion":2,"manifests":null}'
    path = write_tar(tmp_path / "a", files)
    assert single(open_source(str(path), "documents", task), None).transport == "docker-archive"


@pytest.mark.parametrize("compress", [gzip.compress, zst, lzma.compress, bz2.compress], ids=["gzip", "zstd", "xz", "bzip2"])
@pytest.mark.parametrize("write", [write_docker_archive, write_oci_archive])
def test_archive_compressed_whole_is_read(
    compress: Callable[[bytes], bytes], write: Callable[..., Path], task: Task, tmp_path: Path
) -> None:
    path = write(tmp_path / "a", [image([LAYER], tag="app:1")])
    path.write_bytes(compress(path.read_bytes()))
    assert merged(single(open_source(str(path), "layers", task), None), task)[1][0] == b"etc/motd"


@pytest.mark.parametrize("content", [b"", b"hello", bytes(10240), b"\x1f\x8b\x08", b"{}"], ids=repr)
def test_what_is_no_archive_is_refused(content: bytes, task: Task, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(FormatError, match="not an image archive"):
        open_source(str(tmp_path / "a"), "documents", task)


def test_plain_tar_is_no_image(task: Task, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(LAYER)
    with pytest.raises(FormatError, match="not an image archive"):
        open_source(str(tmp_path / "a"), "documents", task)


def test_directory_that_is_no_layout_is_refused(task: Task, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="not an OCI layout"):
        open_source(str(tmp_path), "documents", task)


@pytest.mark.parametrize(
    ("text", "kind"), [("oci:{d}/a.tar", UsageError), ("docker-archive:{d}/l", UsageError), ("oci-archive:{d}/l", UsageError)]
)
def test_transport_that_does_not_fit_the_file_is_refused(
    text: str, kind: type[OcitoolError], task: Task, tmp_path: Path
) -> None:
    one_image = image([LAYER])
    write_oci_archive(tmp_path / "a.tar", [one_image])
    write_layout(tmp_path / "l", [one_image])
    with pytest.raises(kind):
        open_source(text.format(d=tmp_path), "documents", task)


@pytest.mark.parametrize("transport", ["docker-archive", "oci-archive"])
def test_named_archive_transport_wants_its_own_flavour(transport: str, task: Task, tmp_path: Path) -> None:
    write = write_oci_archive if transport == "docker-archive" else write_docker_archive
    path = write(tmp_path / "a", [image([LAYER])])
    with pytest.raises(FormatError):
        open_source(f"{transport}:{path}", "documents", task)


# Paths


def test_longest_existing_path_wins(task: Task, tmp_path: Path) -> None:
    write_docker_archive(tmp_path / "a", [image([LAYER], tag="b:1", codec="none")])
    write_docker_archive(tmp_path / "a:b", [image([LAYER], tag="other:1", codec="none")])
    assert single(open_source(f"{tmp_path}/a:b", "documents", task), None).tags == ("other:1",)


def test_name_behind_the_path_picks(task: Task, tmp_path: Path) -> None:
    write_docker_archive(tmp_path / "a", [image([LAYER], tag="b:1", codec="none")])
    assert single(open_source(f"{tmp_path}/a:b:1", "documents", task), None).tags == ("b:1",)


def test_path_that_does_not_exist_has_a_hint_that_names_the_registry(task: Task) -> None:
    with pytest.raises(NotFoundError) as caught:
        open_source("alpine:3", "documents", task)
    assert "docker://alpine:3" in (caught.value.hint or "")


# Standard input


COUNT = """
import sys
from ocitool.images.image import Image
from ocitool.trees.indexing import Indexer
from ocitool.images.platform_choice import single
from ocitool.trees.tree import Tree
from ocitool.layers.cache import IndexCache
from ocitool.task import Task
from ocitool.transports.opening import open_source
with Task() as task:
    image = single(open_source(sys.argv[1], "layers", task), None)
    print(len(list(Tree(Indexer(IndexCache(None), task).indexes(image)).walk())))
"""


def run_on(stdin: Any, text: str = "-") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-c", COUNT, text]
    feed = {"input": stdin} if isinstance(stdin, bytes) else {"stdin": stdin}
    return subprocess.run(command, capture_output=True, cwd=ROOT, timeout=60, **feed)


@pytest.mark.parametrize("name", ["docker-1.2.tar", "docker-1.2.tar.zst", "oci-gzip.tar", "bazel.tar"])
def test_standard_input_may_be_a_pipe(name: str) -> None:
    assert run_on((ENCODINGS / name).read_bytes()).stdout == b"30\n"


@pytest.mark.parametrize("name", ["docker-1.2.tar", "docker-1.2.tar.gz"])
def test_standard_input_may_be_a_file(name: str) -> None:
    with open(ENCODINGS / name, "rb") as file:
        assert run_on(file).stdout == b"30\n"


def test_standard_input_may_be_a_file_whose_beginning_somebody_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 100 + (ENCODINGS / "docker-1.2.tar").read_bytes())
    with open(tmp_path / "a", "rb", buffering=0) as file:
        file.read(100)
        assert run_on(file).stdout == b"30\n"


def test_standard_input_may_pick_an_image() -> None:
    assert run_on((ENCODINGS / "multi.tar").read_bytes(), "-:shop:1.1").stdout == b"30\n"


# What is read


class Reads:
    """Every pread and chunk of files, as (offset in the file, length)."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.spans: list[tuple[int, int]] = []
        pread = os.pread

        def counted(descriptor: int, size: int, offset: int) -> bytes:
            data = pread(descriptor, size, offset)
            self.spans.append((offset, len(data)))
            return data

        monkeypatch.setattr(os, "pread", counted)

    def within(self, start: int, end: int) -> int:
        return sum(max(0, min(end, at + length) - max(start, at)) for at, length in self.spans)


@pytest.mark.parametrize("files", [docker_files, hybrid_files], ids=["docker", "hybrid"])
def test_uncompressed_archive_is_indexed_without_a_byte_of_a_layer(
    files: Callable[..., dict[str, bytes]], task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = layer_tar([("big", b"x" * 3_000_000)])
    path = write_tar(tmp_path / "a", files([image([layer], tag="app:1", codec="none")]))
    start = path.read_bytes().index(layer)
    reads = Reads(monkeypatch)
    archive.read(str(path), OpenFile(str(path)), "documents", task)
    # The first bytes of the file tell whether it is compressed.
    assert (reads.within(start, start + len(layer)), start >= 512) == (0, True)
    single(open_source(str(path), "documents", task), None)
    assert reads.within(start, start + len(layer)) <= 512


def test_layout_is_opened_without_a_byte_of_a_layer(task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_layout(tmp_path / "l", [image([layer_tar([("big", b"x" * 3_000_000)])], codec="none")])
    reads = Reads(monkeypatch)
    single(open_source(str(path), "documents", task), None)
    assert sum(length for _, length in reads.spans) < 5000


@pytest.mark.parametrize("want", ["documents", "layers"])
def test_compressed_archive_spools_a_layer_only_where_layers_are_wanted(
    want: archive.Want, task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = layer_tar([("big", b"x" * 5_000_000)])
    path = write_docker_archive(tmp_path / "a", [image([layer], tag="app:1", codec="none")])
    path.write_bytes(gzip.compress(path.read_bytes(), 1))
    spooled = 0

    def counted(file: OpenFile, data: bytes | memoryview) -> None:
        nonlocal spooled
        spooled += len(data)
        write(file, data)

    write = archive._write
    monkeypatch.setattr(archive, "_write", counted)
    found = single(open_source(str(path), want, task), None)
    assert (spooled > 5_000_000, found.layers[0].size, found.layers[0].compression) == (want == "layers", len(layer), "none")


def test_spool_leaves_no_file_behind(task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_docker_archive(tmp_path / "a", [image([LAYER], codec="none")])
    path.write_bytes(gzip.compress(path.read_bytes()))
    (tmp_path / "t").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "t"))
    opened = open_source(str(path), "layers", task)
    assert (single(opened, None).layers[0].size, os.listdir(tmp_path / "t")) == (len(LAYER), [])


# Members


def tar_of(path: Path, *members: tuple[str, bytes | tuple[bytes, str]]) -> Path:
    """A tar as Python writes it: a name, and content or (type, target)."""
    with tarfile.open(path, "w") as tar:
        for name, what in members:
            info = tarfile.TarInfo(name)
            if isinstance(what, bytes):
                info.size = len(what)
                tar.addfile(info, io.BytesIO(what))
            else:
                info.type, info.linkname = what
                tar.addfile(info)
    return path


def members_of(path: Path) -> archive_members.Members:
    with Task() as task:
        return archive.read(str(path), OpenFile(str(path)), "layers", task)


@pytest.mark.parametrize(
    "link",
    [(tarfile.SYMTYPE, "../x/layer.tar"), (tarfile.SYMTYPE, "./../x/./layer.tar"), (tarfile.LNKTYPE, "x/layer.tar"),
     (tarfile.LNKTYPE, "./x/layer.tar")],
)  # fmt: skip
@pytest.mark.parametrize("order", [1, -1], ids=["target first", "link first"])
def test_members_that_are_links_have_their_targets_content(link: tuple[bytes, str], order: int, tmp_path: Path) -> None:
    path = tar_of(tmp_path / "a", *[("x/layer.tar", b"content"), ("y/layer.tar", link)][::order])
    assert members_of(path).document("y/layer.tar") == b"content"


def test_links_to_links_are_followed(tmp_path: Path) -> None:
    link = tarfile.SYMTYPE
    path = tar_of(tmp_path / "a", ("a", (link, "b")), ("b", (tarfile.LNKTYPE, "c")), ("c", (link, "d")), ("d", b"x"))
    assert members_of(path).document("a") == b"x"


@pytest.mark.parametrize("links", [(("a", "a"),), (("a", "b"), ("b", "a"))])
def test_links_in_a_circle_are_refused(links: tuple[tuple[str, str], ...], tmp_path: Path) -> None:
    path = tar_of(tmp_path / "a", *((name, (tarfile.SYMTYPE, target)) for name, target in links))
    with pytest.raises(FormatError, match="circle"):
        members_of(path).get("a")


@pytest.mark.parametrize("target", ["../../../etc/passwd", "/etc/passwd", "nowhere"])
def test_links_out_of_the_archive_lead_nowhere(target: str, tmp_path: Path) -> None:
    assert members_of(tar_of(tmp_path / "a", ("x/a", (tarfile.SYMTYPE, target)))).get("x/a") is None


def test_of_two_members_with_one_name_the_later_counts(tmp_path: Path) -> None:
    members = members_of(tar_of(tmp_path / "a", ("x", b"1"), ("./x", b"2")))
    assert (members.document("x"), members.duplicates) == (b"2", [b"x"])


def test_spellings_of_a_member_are_one(tmp_path: Path) -> None:
    members = members_of(tar_of(tmp_path / "a", ("./blobs/x", b"1")))
    assert [members.document(name) for name in ("blobs/x", "./blobs/x", "/blobs/x")] == [b"1"] * 3


def test_giant_document_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LimitError):
        members_of(tar_of(tmp_path / "a", ("config.json", b" " * (4 << 20) + b"[]"))).document("config.json")


@pytest.mark.parametrize("name", ["manifest.json", "index.json", "repositories"])
def test_what_lists_a_whole_archive_may_be_larger_than_a_document_of_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tar_of(tmp_path / "a", (name, b" " * (4 << 20) + b"[]"))
    assert (4 << 20) + 2 == len(members_of(made).document(name) or b"")
    monkeypatch.setattr("ocitool.limits.STORE", JsonLimits(4 << 20, 10))
    with pytest.raises(LimitError):
        members_of(made).document(name)


def test_too_many_members_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ocitool.limits.ARCHIVE_MEMBERS", 2)
    with pytest.raises(LimitError):
        members_of(tar_of(tmp_path / "a", ("a", b""), ("b", b""), ("c", b"")))


@pytest.mark.parametrize("cut", [1500, 3000, -2000])
def test_archive_cut_off_inside_a_member_is_refused(cut: int, task: Task, tmp_path: Path) -> None:
    path = write_docker_archive(tmp_path / "a", [image([LAYER], codec="none")])
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(FormatError):
        single(open_source(str(path), "documents", task), None)


# docker archives


def docker(tmp_path: Path, manifest: object, **files: bytes) -> str:
    return str(write_tar(tmp_path / "a", {**files, "manifest.json": pretty(manifest)}))


@pytest.mark.parametrize(
    "manifest",
    [{}, [1], [{}], [{"Config": 1, "Layers": []}], [{"Config": "c", "Layers": "l"}], [{"Config": "c", "Layers": [1]}],
     [{"Config": "c", "Layers": [], "RepoTags": "x"}], [{"Config": "missing", "Layers": []}]],
    ids=str,
)  # fmt: skip
def test_manifest_json_that_is_none_is_refused(manifest: object, task: Task, tmp_path: Path) -> None:
    with pytest.raises(FormatError):
        single(open_source(docker(tmp_path, manifest, c=b"{}"), "documents", task), None)


def test_keys_in_lower_case_and_null_tags_are_read(task: Task, tmp_path: Path) -> None:
    text = docker(tmp_path, [{"config": "c", "repotags": None, "layers": ["l"]}], c=b"{}", l=LAYER)
    found = single(open_source(text, "documents", task), None)
    assert (found.tags, len(found.layers)) == ((), 1)


def test_layer_that_the_archive_does_not_hold_is_a_state(task: Task, tmp_path: Path) -> None:
    found = single(open_source(docker(tmp_path, [{"Config": "c", "Layers": ["l"]}], c=b"{}"), "documents", task), None)
    assert found.layers[0].blob is None


def v1(tmp_path: Path, parents: dict[str, str | None], top: object = "b") -> str:
    files = {f"{name}/layer.tar": LAYER for name in parents}
    for name, parent in parents.items():
        fields = {"id": name, "os": "linux", "architecture": "amd64", "container_config": {"Cmd": ["make", name]}}
        files[f"{name}/json"] = pretty({**fields, **({"parent": parent} if parent else {})})
    files["repositories"] = json.dumps({"app": {"1": top, "2": top}}).encode()
    return str(write_tar(tmp_path / "a", files))


def test_v1_archive_has_its_layers_by_their_parents_lowest_first(task: Task, tmp_path: Path) -> None:
    found = single(open_source(v1(tmp_path, {"b": "a", "a": None}), "layers", task), None)
    assert ([layer.created_by for layer in found.layers], found.tags, found.image_id, str(found.platform)) == (
        ["make a", "make b"], ("app:1", "app:2"), "sha256:b", "linux/amd64",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("parents", "top"), [({"b": "b"}, "b"), ({"b": "a", "a": "b"}, "b"), ({"b": "gone"}, "b"), ({"b": None}, "gone"), ({}, 1)]
)
def test_v1_archive_with_parents_in_a_circle_or_missing_is_refused(
    parents: dict[str, str | None], top: object, task: Task, tmp_path: Path
) -> None:
    with pytest.raises(FormatError):
        single(open_source(v1(tmp_path, parents, top), "documents", task), None)


# Layouts


def test_blob_that_a_layout_lacks_is_none(task: Task, tmp_path: Path) -> None:
    made = image([LAYER])
    path = write_layout(tmp_path / "l", [made])
    layer = made.manifest["layers"][0]["digest"]
    (path / "blobs" / layer.replace(":", "/")).unlink()
    found = single(open_source(str(path), "layers", task), None)
    assert (found.layers[0].blob, [str(digest) for digest in found.missing]) == (None, [layer])


def test_layout_whose_files_are_no_files_is_refused_without_waiting(task: Task, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "index.json")
    with pytest.raises(FormatError):
        open_source(str(tmp_path), "documents", task)


def test_blob_identity_changes_with_the_file(tmp_path: Path) -> None:
    def identity() -> str | None:
        return FileBlob(OpenFile(str(tmp_path / "a")), 0, 1).identity

    (tmp_path / "a").write_bytes(b"x")
    first = identity()
    (tmp_path / "b").write_bytes(b"y")
    os.replace(tmp_path / "b", tmp_path / "a")
    assert (first == identity(), identity() == identity()) == (False, True)
