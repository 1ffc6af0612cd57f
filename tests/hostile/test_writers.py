"""Images, layouts and destinations that would make a writing command lose something, hang, or believe what is not so."""

from __future__ import annotations

import gzip
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.copying import AMD, ARM
from support.disk import fingerprint
from support.images import (
    image,
    index_of,
    layer_tar,
    layout_files,
    pretty,
    sha256,
    write_docker_archive,
    write_files,
    write_layout,
)
from support.layers import END, head, member

from ocitool import limits
from ocitool.disk.staging_directory import OPEN_DIRECTORY, remove
from ocitool.spec import mediatypes

Run = Callable[..., Any]
REF = "org.opencontainers.image.ref.name"
SECRET = b"the token nobody may read"


def entries(layout: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((layout / "index.json").read_bytes())["manifests"]
    return found


# Stores


@pytest.mark.parametrize(
    "both",
    [({}, {"annotations": {}}), ({"annotations": None}, {}), ({"x": 1}, {"x": True}), ({"x": 1}, {"x": 1.0})],
    ids=["no annotations", "null", "true", "float"],
)
def test_of_two_entries_that_say_the_same_normalize_leaves_one(ocitool: Run, tmp_path: Path, both: Any) -> None:
    one = image([layer_tar([("a", b"1")])])
    layout = write_layout(tmp_path / "l", [one], index=index_of([{**one.descriptor, **more} for more in both]))
    assert 0 == ocitool("layout", "normalize", layout).code
    assert one.digest in {entry["digest"] for entry in entries(layout)}


def test_gc_leaves_blobs_alone_that_are_another_layout_s(ocitool: Run, tmp_path: Path) -> None:
    write_layout(tmp_path / "a", [image([layer_tar([("a", b"1")])], tag="a")])
    other = write_layout(tmp_path / "b", [image([layer_tar([("b", b"2")])], tag="b")])
    os.rename(other / "blobs", tmp_path / "own")
    os.symlink("../a/blobs", other / "blobs")
    before = fingerprint(tmp_path)
    assert 9 == ocitool("layout", "gc", other).code
    assert before == fingerprint(tmp_path)


def test_a_name_that_makes_the_index_too_large_to_read_is_refused_before_anything_is_written(
    inside: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = image([layer_tar([("a", b"1")])], tag="a")
    layout = write_layout(tmp_path / "l", [one])
    more = write_layout(tmp_path / "more", [image([layer_tar([("b", b"2")])], tag="b")])
    monkeypatch.setattr("ocitool.limits.STORE", limits.JsonLimits((layout / "index.json").stat().st_size + 10, 1000))
    before = fingerprint(layout)
    assert 7 == inside("copy", more, f"{layout}/").code
    assert before == fingerprint(layout)


@pytest.mark.parametrize("destination", ["new/", "new.tar", "new.tar.gz"])
@pytest.mark.parametrize("most", [limits.JsonLimits(300, 1000), limits.JsonLimits(1 << 20, 10)], ids=["size", "values"])
def test_a_store_that_nobody_could_read_again_is_not_written(
    most: limits.JsonLimits, destination: str, inside: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_docker_archive(tmp_path / "in.tar", [image([layer_tar([("a", b"1")])], tag="a:1", codec="none")])
    monkeypatch.setattr("ocitool.limits.STORE", most)
    result = inside("copy", source, f"{tmp_path}/{destination}", "--tag", "a:1", "--tag", "a:2")
    assert (7, "") == (result.code, result.out)
    assert ["in.tar"] == [path.name for path in tmp_path.iterdir()]


def test_an_archive_of_too_many_members_is_not_written(inside: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_layout(tmp_path / "in", [image([layer_tar([("a", b"1")])], tag="a:1")])
    monkeypatch.setattr("ocitool.limits.ARCHIVE_MEMBERS", 7)
    assert 7 == inside("copy", source, tmp_path / "out.tar").code
    assert ["in"] == [path.name for path in tmp_path.iterdir()]
    monkeypatch.setattr("ocitool.limits.ARCHIVE_MEMBERS", 8)
    assert 0 == inside("copy", source, tmp_path / "out.tar").code
    assert 0 == inside("inspect", tmp_path / "out.tar").code


# Indexes


@pytest.mark.parametrize("words", [("edit", "--env", "A=1"), ("copy", "--compression", "zstd")], ids=["edit", "copy"])
def test_an_index_that_names_the_same_often_costs_it_once(ocitool: Run, tmp_path: Path, words: tuple[str, ...]) -> None:
    one = image([layer_tar([("a", b"1")])])
    blobs, entry = dict(one.blobs), dict(one.descriptor)
    for _ in range(7):  # twenty to the seventh
        raw = pretty(index_of([{**entry, "annotations": {"n": str(n)}} for n in range(20)]))
        blobs[sha256(raw)] = raw
        entry = {"mediaType": mediatypes.OCI_INDEX, "digest": sha256(raw), "size": len(raw)}
    top = index_of([{**entry, "annotations": {REF: "app"}}])
    files = {f"blobs/{digest.replace(':', '/')}": data for digest, data in blobs.items()}
    layout = write_files(tmp_path / "l", {**layout_files([], index=top), **files})
    command, *more = words
    result = ocitool(command, "--format", "json", "--all-platforms", layout, f"{tmp_path}/out/", *more)
    assert (0, 1) == (result.code, len(json.loads(result.out)["images"])), str(result)


# Claims


def test_a_lent_blob_is_hashed_also_where_it_needs_no_conversion(ocitool: Run, tmp_path: Path) -> None:
    one = image([layer_tar([("a", b"1" * 1000)])], tag="a")
    files = layout_files([one])
    path = "blobs/" + sha256(one.layers[0]).replace(":", "/")
    lacking = write_files(tmp_path / "lacking", {name: data for name, data in files.items() if name != path})
    lying = write_files(tmp_path / "lying", {**files, path: one.layers[0][:-1] + b"!"})
    assert 5 == ocitool("copy", lacking, f"{tmp_path}/out/", "--with", lying, "--compression", "gzip").code
    assert not (tmp_path / "out").exists()


def test_repack_takes_no_blob_that_was_cut_short_at_the_destination(ocitool: Run, tmp_path: Path) -> None:
    one = image([layer_tar([("a", b"1" * 1000)])], tag="a")
    source = write_layout(tmp_path / "source", [one])
    ocitool("unpack", "--rootless", source, tmp_path / "u")
    files = layout_files([one])
    path = "blobs/" + sha256(one.layers[0]).replace(":", "/")
    torn = write_files(tmp_path / "torn", {**files, path: b"cut"})
    assert 0 == ocitool("repack", tmp_path / "u", f"{torn}/").code
    assert one.layers[0] == (torn / path).read_bytes()


# Secrets


def test_what_rm_takes_out_is_not_left_behind_the_end_of_the_archive(ocitool: Run, tmp_path: Path) -> None:
    joined = member(b"a") + member(b"s", SECRET) + END + member(b"s", SECRET) + END
    layout = write_layout(tmp_path / "l", [image([joined], tag="a")])
    ocitool("edit", layout, f"{tmp_path}/out/", "--rm", "/s")
    stored = [path.read_bytes() for path in (tmp_path / "out/blobs/sha256").iterdir()]
    unpacked = [gzip.decompress(data) for data in stored if data.startswith(b"\x1f\x8b")]
    assert [False] == [SECRET in data for data in unpacked]


def test_rm_takes_out_what_a_layer_spells_so_through_a_link_of_its_time(ocitool: Run, tmp_path: Path) -> None:
    lower = head(b"b", b"5", mode=0o755) + head(b"a", b"2", link=b"b") + END
    layers = [lower, member(b"a/s", SECRET) + END, member(b".wh.a") + END, head(b"a", b"5", mode=0o755) + END]
    layout = write_layout(tmp_path / "l", [image(layers, tag="a", codec="none")])
    assert 0 == ocitool("edit", layout, f"{tmp_path}/out/", "--rm", "/a/s").code
    stored = [path.read_bytes() for path in (tmp_path / "out/blobs/sha256").iterdir()]
    assert [] == [data for data in stored if SECRET in data]


def test_rm_of_a_link_leaves_what_layers_wrote_through_it(ocitool: Run, tmp_path: Path) -> None:
    lower = head(b"b", b"5", mode=0o755) + head(b"a", b"2", link=b"b") + END
    layout = write_layout(tmp_path / "l", [image([lower, member(b"a/f", b"1") + END], tag="a")])
    ocitool("edit", layout, f"{tmp_path}/out/", "--rm", "/a")
    assert ["/b/", "/b/f"] == ocitool("ls", "--recursive", f"{tmp_path}/out").out.split()


def test_a_removal_that_needs_a_layer_of_its_own_gets_it(ocitool: Run, tmp_path: Path) -> None:
    # The link `a`, through which the last layer writes, is the same file as what goes.
    lower = head(b"b", b"5", mode=0o755) + head(b"a", b"2", link=b"b") + head(b"gone", b"1", link=b"a") + END
    layout = write_layout(tmp_path / "l", [image([lower, member(b"a/f", b"1") + END], tag="a")])
    ocitool("edit", layout, f"{tmp_path}/out/", "--rm", "/gone")
    assert ["/b/", "/b/f"] == ocitool("ls", "--recursive", f"{tmp_path}/out").out.split()


def test_rm_tells_names_apart_that_look_the_same(ocitool: Run, tmp_path: Path) -> None:
    one = image([member(b"\xfe", SECRET) + END], tag="a", codec="none")
    two = image([member(b"\xfe", b"") + member(b"\xff", b"") + END], tag="a", codec="none")
    entries = [{**one.descriptor, "platform": ARM}, {**two.descriptor, "platform": AMD}]
    layout = write_layout(tmp_path / "l", [one, two], index=index_of(entries))
    assert 0 == ocitool("edit", "--all-platforms", layout, f"{tmp_path}/out/", "--rm", "/\udcfe", "--rm", "/\udcff").code
    stored = [path.read_bytes() for path in (tmp_path / "out/blobs/sha256").iterdir()]
    assert [] == [data for data in stored if SECRET in data]


def test_a_removal_that_would_give_a_stray_hard_link_a_target_is_refused(ocitool: Run, tmp_path: Path) -> None:
    upper = head(b"a", b"5", mode=0o755) + member(b"b/b", b"4") + head(b"a/d", b"1", link=b"b") + END
    layout = write_layout(tmp_path / "l", [image([member(b"b", b"3") + END, upper], tag="a")])
    result = ocitool("edit", layout, tmp_path / "out.tar", "--rm", "/b/b")
    assert (4, True) == (result.code, "a hard link without a target" in result.err)


def test_a_file_that_says_it_is_empty_and_is_not_is_refused(ocitool: Run, tmp_path: Path) -> None:
    layout = write_layout(tmp_path / "l", [image([layer_tar([("a", b"")])], tag="a")])
    assert 8 == ocitool("edit", layout, tmp_path / "out.tar", "--add", "/proc/version:/v").code


@pytest.mark.parametrize("words", [("copy",), ("unpack", "--as", "tar")], ids=["archive", "flat tar"])
def test_an_archive_that_is_replaced_stays_as_private_as_it_was(ocitool: Run, tmp_path: Path, words: Any) -> None:
    layout = write_layout(tmp_path / "l", [image([layer_tar([("a", b"1")])], tag="a")])
    (tmp_path / "own.tar").touch(mode=0o600)
    command, *more = words
    assert 0 == ocitool(command, "--force", *more, layout, tmp_path / "own.tar").code
    assert 0o600 == stat.S_IMODE((tmp_path / "own.tar").stat().st_mode)


# What is no file


@pytest.mark.parametrize("words", [("copy",), ("unpack", "--as", "tar")], ids=["archive", "flat tar"])
def test_force_replaces_no_pipe_or_device(ocitool: Run, tmp_path: Path, words: Any) -> None:
    layout = write_layout(tmp_path / "l", [image([layer_tar([("a", b"1")])], tag="a")])
    os.mkfifo(tmp_path / "pipe.tar")
    command, *more = words
    assert 9 == ocitool(command, "--force", *more, layout, tmp_path / "pipe.tar").code
    assert stat.S_ISFIFO((tmp_path / "pipe.tar").lstat().st_mode)


def test_force_replaces_the_file_that_a_link_leads_to(ocitool: Run, tmp_path: Path) -> None:
    layout = write_layout(tmp_path / "l", [image([layer_tar([("a", b"1")])], tag="a")])
    (tmp_path / "file.tar").write_bytes(b"old")
    (tmp_path / "link.tar").symlink_to("file.tar")
    assert 0 == ocitool("unpack", "--as", "tar", "--force", layout, tmp_path / "link.tar").code
    assert (True, False) == ((tmp_path / "link.tar").is_symlink(), (tmp_path / "file.tar").read_bytes() == b"old")


# Directories that go into an image


@pytest.fixture
def unpacked(ocitool: Run, tmp_path: Path) -> Path:
    layout = write_layout(tmp_path / "l", [image([layer_tar([("a", b"1")])], tag="a")])
    ocitool("unpack", "--rootless", layout, tmp_path / "u")
    return tmp_path / "u"


@pytest.mark.parametrize("place", ["out/", "out.tar", "b/../out.tar"])
def test_no_image_is_written_into_the_directory_that_it_is_made_of(ocitool: Run, unpacked: Path, place: str) -> None:
    (unpacked / "rootfs/b").mkdir()
    root = f"{unpacked}/rootfs"
    layout = unpacked.parent / "l"
    codes = [
        ocitool(*words, f"{root}/{place}", *more).code
        for words, more in (
            (("repack", unpacked), ()),
            (("append", layout), ("--layer", root)),
            (("edit", layout), ("--add", f"{root}:/new")),
        )
    ]
    assert ([2, 2, 2], False) == (codes, os.path.exists(f"{root}/{place.rpartition('/')[2] or 'out'}"))


def test_a_link_in_the_place_of_the_root_is_not_followed(ocitool: Run, unpacked: Path, tmp_path: Path) -> None:
    (unpacked / "rootfs").rename(tmp_path / "elsewhere")
    (unpacked / "rootfs").symlink_to("../elsewhere")
    assert (6, False) == (ocitool("repack", unpacked, tmp_path / "o.tar").code, (tmp_path / "o.tar").exists())


@pytest.mark.parametrize("name", ["reference.json", "config.json", "manifest.json", "snapshot"])
def test_a_pipe_in_the_place_of_a_document_is_refused_without_waiting(ocitool: Run, unpacked: Path, name: str) -> None:
    (unpacked / "image" / name).unlink()
    os.mkfifo(unpacked / "image" / name)
    assert 4 == ocitool("repack", unpacked, unpacked.parent / "o.tar").code


def test_a_tree_deeper_than_layers_are_read_is_not_written(ocitool: Run, unpacked: Path) -> None:
    at = os.open(unpacked / "rootfs", os.O_RDONLY)
    for _ in range(limits.PATH_DEPTH + 2):
        os.mkdir("d", dir_fd=at)
        below = os.open("d", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.close(at)
    try:
        assert 7 == ocitool("repack", unpacked, unpacked.parent / "o.tar").code
    finally:  # rm would manage, who clears away after tests does not
        root = os.open(unpacked / "rootfs", OPEN_DIRECTORY)
        top = os.open("d", OPEN_DIRECTORY, dir_fd=root)
        remove(root, b"d", top)
        os.close(top)
        os.close(root)
