"""`--as tar`: the order of the tar, sparse files, and what happens when a layer is not what it states."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.images import entry, gz, layer_tar, write_layout, zst
from support.images import image as made
from support.layers import END, base256, head, old_sparse, scanned, seal, sparse_1_0, sparse_map
from support.merged import memory_image, tree_of

from ocitool.digest import Digest
from ocitool.errors import DestinationError, FormatError, IntegrityError, UnsafeError
from ocitool.images.image import Image
from ocitool.layers.entry import Kind
from ocitool.operations.unpack.flat import unpack
from ocitool.pipeline.session import Session
from ocitool.task import Task
from ocitool.trees import changeset_tar
from ocitool.trees.changeset import changeset
from ocitool.trees.tree import Tree


def tar_of(*stored: bytes) -> bytes:
    with Task() as task:
        image = memory_image(stored)
        return written(image, tree_of(image, task), task)


def written(image: Image, tree: Tree, task: Task) -> bytes:
    return b"".join(map(bytes, changeset_tar.tar_chunks(changeset(None, tree), image, tree, task)))


def listed(*stored: bytes) -> list[bytes]:
    return [entry.path for entry in scanned(tar_of(*stored))]


def test_no_layers_make_an_empty_tar() -> None:
    assert bytes(1024) == tar_of()


def test_directories_come_first_then_files_by_layer_then_special_then_links() -> None:
    lower = layer_tar([("z", b"1"), ("d/", None), ("d/s", "link:x"), ("d/h", "hard:z")])
    upper = layer_tar([("e/", None), ("b", b"2")])
    assert [b"d", b"e", b"d/h", b"b", b"d/s", b"z"] == listed(lower, upper)


def test_the_codec_of_the_layers_does_not_show() -> None:
    tar = layer_tar([("a", b"1" * 5000), ("b/", None)])
    assert tar_of(tar) == tar_of(gz(tar)) == tar_of(zst(tar))


def test_a_hard_link_whose_target_is_deleted_later_becomes_the_file() -> None:
    (entry,) = scanned(tar_of(layer_tar([("a", b"text"), ("b", "hard:a")]), layer_tar([(".wh.a", b"")])))
    assert (b"b", Kind.FILE, 4) == (entry.path, entry.kind, entry.size)


def test_a_hard_link_says_its_files_xattrs_again() -> None:
    stored = layer_tar([entry("a", b"text", xattrs=((b"user.app", b"1"),)), ("b", "hard:a")])
    assert [((b"user.app", b"1"),)] * 2 == [found.xattrs for found in scanned(tar_of(stored))]


def test_a_hard_link_to_a_sparse_file_is_a_link() -> None:
    stored = old_sparse(b"a", [(512, b"x" * 512)], 2048) + head(b"b", b"1", link=b"a") + END
    assert [(b"a", Kind.FILE, b""), (b"b", Kind.HARDLINK, b"a")] == [
        (found.path, found.kind, found.link) for found in scanned(tar_of(stored))
    ]


def test_a_hard_link_to_nothing_is_refused() -> None:
    with pytest.raises(UnsafeError, match="hard link without a target"):
        tar_of(layer_tar([("a", "hard:b")]))


def test_a_hard_link_to_nothing_that_is_hidden_later_is_no_matter() -> None:
    assert [] == listed(layer_tar([("a", "hard:b")]), layer_tar([(".wh.a", b"")]))


def test_a_root_that_is_listed_is_listed_whatever_it_says() -> None:
    assert [b"", b"a"] == listed(layer_tar([entry("", None, mtime=0), ("a", b"1")]))


def test_a_directory_that_no_layer_lists_is_listed() -> None:
    assert [b"d", b"d/a"] == listed(layer_tar([("d/a", b"1")]))


@pytest.mark.parametrize("segments", [[], [(0, b"A" * 512)], [(512, b"A" * 512), (4096, b"B" * 100)]])
@pytest.mark.parametrize("dialect", [old_sparse, sparse_map, sparse_1_0])
def test_a_sparse_file_stays_sparse(dialect: Callable[..., bytes], segments: list[tuple[int, bytes]]) -> None:
    layer = dialect(b"d/s", segments, 1 << 32) + END
    (_, entry) = scanned(tar_of(layer))
    expected = (b"d/s", 1 << 32, tuple((at, len(data)) for at, data in segments))
    assert expected == (entry.path, entry.size, entry.segments)


def test_a_sparse_file_has_the_same_content() -> None:
    layer = old_sparse(b"s", [(512, b"A" * 512), (4096, b"B" * 100)], 8192) + END
    assert scanned(layer).contents == scanned(tar_of(layer)).contents


def test_python_reads_the_sparse_file() -> None:
    layer = old_sparse(b"s", [(512, b"A" * 512), (4096, b"B" * 100)], 8192) + END
    with tarfile.open(fileobj=io.BytesIO(tar_of(layer))) as tar:
        file = tar.extractfile("s")
        assert file is not None
        assert bytes(512) + b"A" * 512 + bytes(3072) + b"B" * 100 + bytes(3996) == file.read()


@pytest.mark.tools
def test_gnu_tar_reads_the_sparse_file(need: Callable[..., str], tmp_path: Path) -> None:
    parts = [old_sparse(b"s", [(512, b"A" * 512)], 1 << 20), old_sparse(b"hole", [], 1 << 20)]
    (tmp_path / "flat.tar").write_bytes(tar_of(b"".join(parts) + END))
    subprocess.run([need("tar"), "-xf", tmp_path / "flat.tar", "-C", tmp_path], check=True, timeout=60)
    dense = bytes(512) + b"A" * 512 + bytes((1 << 20) - 1024)
    assert (dense, bytes(1 << 20)) == ((tmp_path / "s").read_bytes(), (tmp_path / "hole").read_bytes())


def test_a_device_that_no_header_holds_names_its_path() -> None:
    block = bytearray(head(b"d/dev", b"3", device=(0, 0)))
    block[329:337] = base256(1 << 24, 8)
    with pytest.raises(FormatError, match="device number") as caught:
        tar_of(seal(block) + END)
    assert "d/dev" in str(caught.value.where)


def test_a_layer_with_another_digest_is_refused_although_its_index_is_known() -> None:
    tar = layer_tar([("a", b"1" * 4000)])
    image = memory_image([tar], digests=[Digest.of(b"other")])
    with Task() as task, pytest.raises(IntegrityError, match="stated is"):
        written(image, Tree([scanned(tar)]), task)


def test_a_layer_that_was_replaced_after_its_index_was_made_is_refused() -> None:
    known, there = layer_tar([("a", b"1" * 4000)]), layer_tar([("a", b"2" * 4000)])
    image = memory_image([there], digests=[None])
    with Task() as task, pytest.raises(IntegrityError, match="unpacks to"):
        written(image, Tree([scanned(known)]), task)


def test_a_layer_of_which_nothing_is_visible_is_verified_too() -> None:
    tar = layer_tar([("a", b"1")])
    top = layer_tar([(".wh.a", b"")])
    image = memory_image([tar, top], digests=[Digest.of(b"other"), Digest.of(top)])
    with Task() as task, pytest.raises(IntegrityError, match="stated is"):
        written(image, Tree([scanned(tar), scanned(top)]), task)


def test_a_truncated_layer_is_an_integrity_error() -> None:
    tar = layer_tar([("a", b"1" * 4000)])
    cut = gz(tar)[:-20]
    image = memory_image([cut], digests=[None])
    with Task() as task, pytest.raises(IntegrityError):
        written(image, Tree([scanned(tar)]), task)


# Into a file.


def layout(tmp_path: Path) -> str:
    write_layout(tmp_path / "layout", [made([layer_tar([("a", b"text" * 100)])], tag="t")])
    return f"{tmp_path}/layout:t"


def test_the_file_is_the_tar_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    reference = layout(tmp_path)
    (tmp_path / "out").mkdir()
    with Task() as task:
        result = unpack(reference, f"{tmp_path}/out/flat.tar", Session(task, cached=False))
    written = (tmp_path / "out/flat.tar").read_bytes()
    assert (["flat.tar"], [b"a"]) == ([p.name for p in (tmp_path / "out").iterdir()], [e.path for e in scanned(written)])
    assert (1, len(written)) == (result.entries, result.size)


def test_an_existing_file_is_refused_and_kept(tmp_path: Path) -> None:
    reference = layout(tmp_path)
    (tmp_path / "flat.tar").write_bytes(b"old")
    with Task() as task, pytest.raises(DestinationError, match="exists"):
        unpack(reference, f"{tmp_path}/flat.tar", Session(task, cached=False))
    assert b"old" == (tmp_path / "flat.tar").read_bytes()


def test_force_replaces_it(tmp_path: Path) -> None:
    reference = layout(tmp_path)
    (tmp_path / "flat.tar").write_bytes(b"old")
    with Task() as task:
        unpack(reference, f"{tmp_path}/flat.tar", Session(task, cached=False), force=True)
    assert [b"a"] == [entry.path for entry in scanned((tmp_path / "flat.tar").read_bytes())]


def test_a_damaged_layer_leaves_no_file(tmp_path: Path) -> None:
    one = made([layer_tar([("a", b"text" * 100)])], tag="t")
    write_layout(tmp_path / "layout", [one])
    blob = tmp_path / "layout/blobs/sha256" / one.manifest["layers"][0]["digest"][7:]
    data = bytearray(blob.read_bytes())
    data[-1] ^= 1
    blob.write_bytes(data)
    (tmp_path / "out").mkdir()
    with Task() as task, pytest.raises(IntegrityError):
        unpack(f"{tmp_path}/layout:t", f"{tmp_path}/out/flat.tar", Session(task, cached=False))
    assert [] == list((tmp_path / "out").iterdir())


def test_a_directory_is_no_place_for_a_tar(tmp_path: Path) -> None:
    with Task() as task, pytest.raises(DestinationError, match="directory"):
        unpack(layout(tmp_path), str(tmp_path), Session(task, cached=False), force=True)


# To standard output.


def test_standard_output_takes_the_tar_alone(ocitool: Callable[..., Any], tmp_path: Path) -> None:
    result = ocitool("unpack", "--as", "tar", layout(tmp_path), "-")
    assert (0, [b"a"]) == (result.code, [entry.path for entry in scanned(result.stdout)])


def test_a_damaged_layer_ends_standard_output_without_the_end_of_a_tar(ocitool: Callable[..., Any], tmp_path: Path) -> None:
    one = made([layer_tar([("a", b"text" * 100)])], tag="t", codec="none")
    write_layout(tmp_path / "layout", [one])
    blob = tmp_path / "layout/blobs/sha256" / one.manifest["layers"][0]["digest"][7:]
    blob.write_bytes(blob.read_bytes().replace(b"text", b"test", 1))
    result = ocitool("unpack", "--as", "tar", f"{tmp_path}/layout:t", "-")
    assert (5, False) == (result.code, result.stdout.endswith(END)), result


def test_a_terminal_is_refused(tmp_path: Path) -> None:
    reference = layout(tmp_path)
    ours, theirs = pty.openpty()
    words = [sys.executable, "-m", "ocitool", "unpack", "--as", "tar", reference, "-"]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=theirs, stderr=subprocess.PIPE, timeout=60)
    os.close(ours)
    os.close(theirs)
    assert (2, True) == (done.returncode, b"terminal" in done.stderr)
