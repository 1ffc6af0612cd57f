"""Layers in overlay form: which stand for themselves, what their marks become, and the store that holds them."""

from __future__ import annotations

import json
import multiprocessing
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from support.disk import as_nobody, fingerprint, on_disk, open_to_all
from support.images import entry, layer_tar, write_layout
from support.images import image as made
from support.layers import END, member, scanned

from ocitool.digest import Digest
from ocitool.disk.attributes import Ownership
from ocitool.disk.overlay import (
    MOUNT_OPTIONS_SIZE,
    WHITEOUT,
    OverlayDir,
    OverlayLayer,
    chain_ids,
    overlay_layers,
    self_contained,
    stack_names,
)
from ocitool.errors import DestinationError, IntegrityError, UnsafeError
from ocitool.layers.entry import Kind
from ocitool.operations.unpack.store import StoreResult, unpack
from ocitool.pipeline.session import Session
from ocitool.task import Task

ROOTLESS, ROOT = Ownership(rootless=True), Ownership()


def test_a_chain_id_is_the_specifications() -> None:
    # By hand: printf 'sha256:11.. sha256:22..' | sha256sum
    a, b = Digest("sha256", "1" * 64), Digest("sha256", "2" * 64)
    assert [a, Digest.of(f"sha256:{'1' * 64} sha256:{'2' * 64}".encode())] == chain_ids([a, b])


@pytest.mark.parametrize(
    ("expected", "entries"),
    [
        (True, []),
        (True, [("a", b"1"), ("d/", None), ("d/f", b"2"), ("d/l", "hard:a"), ("d/.wh.x", b"")]),
        (True, [("d/.wh..wh..opq", b""), ("d/", None)]),
        (True, [(".wh..wh.plnk", b"")]),
        (False, [("d/f", b"1")]),
        (False, [("d/f", b"1"), ("d/", None)]),
        (False, [("d/.wh.f", b"")]),
        (False, [("d/.wh..wh..opq", b"")]),
        (False, [("l", "hard:a")]),
        (False, [("l", "hard:a"), ("a", b"1")]),
        (False, [("d/", None), ("l", "hard:d")]),
        (False, [("a", b"1"), ("a", b"2")]),
        (False, [("s", "link:d"), ("s/f", b"")]),
        (False, [(".wh.", b"")]),
    ],
)
def test_a_layer_is_self_contained(expected: bool, entries: list[tuple[str, bytes | str | None]]) -> None:
    assert expected == self_contained(scanned(layer_tar(entries)))


def forms_of(*tars: bytes) -> list[OverlayLayer]:
    indexes = [scanned(tar) for tar in tars]
    return overlay_layers(indexes, [index.diff_id for index in indexes if index.diff_id is not None])


def marks(over: OverlayDir) -> tuple[bool, list[bytes]]:
    return over.opaque, sorted(name for name, child in over.children.items() if child == WHITEOUT)


BASE = layer_tar([("d/", None), ("d/x", b"1"), ("f", b"2")])


def test_a_whiteout_marks_its_name() -> None:
    assert (False, [b"f"]) == marks(forms_of(BASE, layer_tar([(".wh.f", b"")]))[1].root)


def test_an_entry_beside_its_whiteout_wins() -> None:
    form = forms_of(BASE, layer_tar([(".wh.f", b""), ("f", b"3")]))[1]
    assert 1 << 32 | 1 == form.root.children[b"f"]


def test_a_directory_beside_its_whiteout_is_opaque() -> None:
    child = forms_of(BASE, layer_tar([("d/", None), (".wh.d", b"")]))[1].root.children[b"d"]
    assert isinstance(child, OverlayDir)
    assert (True, []) == marks(child)


def test_a_whiteout_in_an_opaque_directory_says_nothing() -> None:
    top = layer_tar([("d/", None), ("d/.wh..wh..opq", b""), ("d/.wh.x", b"")])
    child = forms_of(BASE, top)[1].root.children[b"d"]
    assert isinstance(child, OverlayDir)
    assert (True, []) == marks(child)


def test_a_self_contained_layer_is_named_by_its_diff_id() -> None:
    tar = layer_tar([("d/", None), ("d/y", b"3")])
    assert f"sha256/{Digest.of(tar).encoded}" == forms_of(BASE, tar)[1].name


def test_another_layer_is_named_by_its_chain_id() -> None:
    tar = layer_tar([("d/y", b"3")])
    expected = chain_ids([Digest.of(BASE), Digest.of(tar)])[1]
    assert f"sha256/{expected.encoded}" == forms_of(BASE, tar)[1].name


def test_whiteouts_where_nothing_is_below_take_another_form() -> None:
    tar = layer_tar([("new/", None), ("new/.wh.x", b"")])
    first, second = forms_of(BASE, tar)[1].name, forms_of(tar)[0].name
    assert (f"sha256/{chain_ids([Digest.of(BASE), Digest.of(tar)])[1].encoded}", True) == (first, second.endswith("-lowest"))


def test_nothing_is_stacked_below_an_opaque_root() -> None:
    made = forms_of(BASE, layer_tar([(".wh..wh..opq", b""), ("a", b"1")]), layer_tar([("b", b"")]))
    assert [made[2].name, made[1].name] == stack_names(made)


def test_a_missing_parent_takes_the_attributes_it_has_below() -> None:
    child = forms_of(BASE, layer_tar([("d/y", b"3")]))[1].root.children[b"d"]
    assert isinstance(child, OverlayDir)
    assert 0 == child.ref


@pytest.mark.parametrize("name", [b"trusted.overlay.redirect", b"user.overlay.opaque", b"trusted.overlay.metacopy"])
def test_what_overlayfs_would_obey_is_refused(name: bytes) -> None:
    with pytest.raises(UnsafeError, match="obey"):
        forms_of(layer_tar([entry("a", b"1", xattrs=((name, b"/"),))]))


def test_a_device_that_is_a_whiteout_is_refused() -> None:
    with pytest.raises(UnsafeError, match="0:0"):
        forms_of(layer_tar([entry("a", b"", kind=Kind.CHAR, device=(0, 0))]))


# The store


def layout(tmp_path: Path, *tars: bytes, name: str = "layout") -> str:
    write_layout(tmp_path / name, [made(list(tars), tag="t")])
    return f"{tmp_path}/{name}:t"


def stored(reference: str, dest: Path, owners: Ownership = ROOTLESS) -> StoreResult:
    with Task() as task:
        return unpack(reference, str(dest), Session(task, cached=False), owners=owners)


def test_a_layer_of_two_images_is_made_once(tmp_path: Path) -> None:
    stored(layout(tmp_path, BASE, layer_tar([("a", b"1")])), tmp_path / "s")
    second = stored(layout(tmp_path, BASE, layer_tar([("b", b"1")]), name="other"), tmp_path / "s")
    assert [False, True] == [layer.fresh for layer in second.images[0].layers]


def test_a_store_that_has_all_layers_makes_none(tmp_path: Path) -> None:
    reference = layout(tmp_path, BASE, layer_tar([("d/y", b"1")]))
    first = stored(reference, tmp_path / "s")
    before = on_disk(tmp_path / "s/sha256")
    again = stored(reference, tmp_path / "s")
    assert (before, 0) == (on_disk(tmp_path / "s/sha256"), again.written)
    assert first.images[0].command == again.images[0].command


def test_a_layer_is_there_as_files(tmp_path: Path) -> None:
    result = stored(layout(tmp_path, BASE), tmp_path / "s")
    found = on_disk(tmp_path / "s" / result.images[0].layers[0].directory)
    assert {b"": None, b"d": None, b"d/x": b"1", b"f": b"2"} == {path: fields["content"] for path, fields in found.items()}


def test_the_short_name_leads_to_the_layer(tmp_path: Path) -> None:
    layer = stored(layout(tmp_path, BASE), tmp_path / "s").images[0].layers[0]
    assert "../" + layer.directory == os.readlink(tmp_path / "s" / layer.link)


def test_the_record_names_layers_and_options(tmp_path: Path) -> None:
    image = stored(layout(tmp_path, BASE, layer_tar([("a", b"")])), tmp_path / "s").images[0]
    record = json.loads((tmp_path / f"s/images/{image.name}.json").read_bytes())
    assert ([layer.directory for layer in image.layers], image.options) == (
        [layer["directory"] for layer in record["layers"]], record["options"],
    )  # fmt: skip


def test_the_options_of_a_hundred_layers_fit_a_page(tmp_path: Path) -> None:
    image = stored(layout(tmp_path, *(layer_tar([(f"f{n}", b"")]) for n in range(100))), tmp_path / "s").images[0]
    assert image.options is not None
    assert (True, 100) == (len(image.options) < MOUNT_OPTIONS_SIZE // 2, image.options.count("l/"))


@pytest.mark.parametrize(("layers", "expected"), [(50, False), (80, True)])
def test_many_layers_are_mounted_the_old_way(layers: int, expected: bool, tmp_path: Path) -> None:
    image = stored(layout(tmp_path, *(layer_tar([(f"f{n}", b"")]) for n in range(layers))), tmp_path / "s").images[0]
    assert image.command is not None
    assert expected == (" LIBMOUNT_FORCE_MOUNT2=always mount " in image.command)


def test_a_hard_link_to_a_lower_file_becomes_a_copy_and_is_said(tmp_path: Path) -> None:
    result = stored(layout(tmp_path, BASE, layer_tar([("g", "hard:f"), ("h", "hard:f")])), tmp_path / "s")
    found = on_disk(tmp_path / "s" / result.images[0].layers[1].directory)
    assert (b"2", [b"g", b"h"]) == (found[b"g"]["content"], found[b"h"]["links"])
    assert ["copies"] == [notice.code for notice in result.notices if notice.code != "rootless"]


def test_a_hard_link_to_a_file_of_a_layer_that_is_there_already(tmp_path: Path) -> None:
    stored(layout(tmp_path, BASE), tmp_path / "s")
    result = stored(layout(tmp_path, BASE, layer_tar([("g", "hard:f")]), name="other"), tmp_path / "s")
    assert b"2" == (tmp_path / "s" / result.images[0].layers[1].directory / "g").read_bytes()


def test_a_layer_that_is_not_what_is_stated_is_not_kept(tmp_path: Path) -> None:
    rootfs = {"type": "layers", "diff_ids": [str(Digest.of(b"other"))]}
    write_layout(tmp_path / "layout", [made([BASE], tag="t", rootfs=rootfs)])
    with pytest.raises(IntegrityError):
        stored(f"{tmp_path}/layout:t", tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_a_lower_layer_that_is_not_what_is_stated_makes_no_upper_one(tmp_path: Path) -> None:
    # The stated diff_id's directory is there, so the layer need not be written; but the upper one takes its parents from it.
    stored(layout(tmp_path, BASE), tmp_path / "s")
    lie = layer_tar([entry("d/", None, mode=0o4777)])
    upper = layer_tar([("d/y", b"")])
    rootfs = {"type": "layers", "diff_ids": [str(Digest.of(BASE)), str(Digest.of(upper))]}
    write_layout(tmp_path / "other", [made([lie, upper], tag="t", codec="none", rootfs=rootfs)])
    with pytest.raises(IntegrityError):
        stored(f"{tmp_path}/other:t", tmp_path / "s")
    assert 1 == len(list((tmp_path / "s/sha256").iterdir()))


def test_a_store_of_other_owners_is_refused(tmp_path: Path) -> None:
    reference = layout(tmp_path, BASE)
    stored(reference, tmp_path / "s")
    with pytest.raises(DestinationError, match="other settings of owners"):
        stored(reference, tmp_path / "s", Ownership(rootless=True, owner_xattr=True))


def test_a_directory_with_something_else_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s/mine").write_bytes(b"")
    with pytest.raises(DestinationError, match="not a store"):
        stored(layout(tmp_path, BASE), tmp_path / "s")
    assert ["mine"] == os.listdir(tmp_path / "s")


def test_an_image_without_layers_has_nothing_to_mount(tmp_path: Path) -> None:
    result = stored(layout(tmp_path), tmp_path / "s")
    assert (None, "empty") == (result.images[0].options, result.notices[0].code)


def test_what_a_mount_wrote_stays(tmp_path: Path) -> None:
    reference = layout(tmp_path, BASE)
    name = stored(reference, tmp_path / "s").images[0].name
    (tmp_path / f"s/images/{name}/upper/mine").write_bytes(b"1")
    stored(reference, tmp_path / "s")
    assert b"1" == (tmp_path / f"s/images/{name}/upper/mine").read_bytes()


def _run(reference: str, dest: str) -> list[bool]:
    return [layer.fresh for layer in stored(reference, Path(dest)).images[0].layers]


def test_two_runs_at_once_both_succeed_and_make_each_layer_once(tmp_path: Path) -> None:
    reference = layout(tmp_path, *(layer_tar([(f"f{n}", b"1")]) for n in range(20)))
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        results = pool.starmap(_run, [(reference, f"{tmp_path}/s")] * 4)
    assert [1] * 20 == [sum(freshness) for freshness in zip(*results, strict=True)]
    assert {"images", "l", "sha256", "store.json"} == set(os.listdir(tmp_path / "s"))


@pytest.mark.tools
def test_an_ordinary_user_can_move_a_root_that_nobody_may_write(need: Callable[..., str]) -> None:
    need("root")
    with open_to_all() as place:
        reference = layout(
            place, layer_tar([entry("./", None, path=b"", mode=0o555), entry("d/", None, mode=0), ("d/x", b"1")])
        )
        directory = as_nobody(lambda: stored(reference, place / "s").images[0].layers[0].directory)
        assert b"1" == (place / "s" / directory / "d/x").read_bytes()


@pytest.mark.tools
def test_an_ordinary_user_makes_whiteouts_too(need: Callable[..., str]) -> None:
    need("root")
    with open_to_all() as place:
        reference = layout(place, BASE, layer_tar([(".wh.f", b""), ("d/", None), ("d/.wh..wh..opq", b"")]))
        directory = as_nobody(lambda: stored(reference, place / "s").images[0].layers[1].directory)
        found = on_disk(place / "s" / directory)
        status = os.lstat(place / "s" / directory / "f")
        assert (True, 0) == (stat.S_ISCHR(status.st_mode), status.st_rdev)
        assert {b"user.overlay.opaque": b"y"} == found[b"d"]["xattrs"]


def test_no_link_of_an_image_is_followed(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    canary.mkdir()
    (canary / "kept").write_bytes(b"1")
    before = fingerprint(canary)
    tars = [
        layer_tar([("abs", f"link:{canary}"), ("rel", "link:../../../../canary"), ("d/", None), ("d/up", "link:../rel")]),
        layer_tar(
            [("abs/kept", b"2"), ("rel/kept", b"2"), ("d/up/kept", b"2"), ("abs/.wh.kept", b""), ("rel/.wh..wh..opq", b"")]
        ),
        layer_tar([("abs", f"link:{canary}"), ("x", f"link:{canary}/kept"), ("y", "hard:x"), ("y/z", b"")]),
    ]
    stored(layout(tmp_path, *tars), tmp_path / "s")
    assert before == fingerprint(canary)


@pytest.mark.parametrize("name", ["../out", "d/../../out", "/../out"])
def test_an_entry_that_leaves_the_root_is_refused_and_no_store_is_left(name: str, tmp_path: Path) -> None:
    with pytest.raises(UnsafeError):
        stored(layout(tmp_path, member(name.encode(), b"1") + END), tmp_path / "s")
    assert ["layout"] == os.listdir(tmp_path)
