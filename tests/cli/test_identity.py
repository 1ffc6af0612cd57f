"""Images of which no document says what their layers are: v1 archives, and configurations that list other diff_ids than there
are layers. What such a layer is, its bytes say; the file that it is in says nothing."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.images import config_of, docker_files, image, layer_tar, pretty, sha256, write_layout, write_tar
from support.report import done, report_of

Run = Callable[..., Any]
BASE, TOP = layer_tar([("etc/", None), ("etc/motd", b"hello\n")]), layer_tar([("app", b"one")])
OTHER = layer_tar([("app", b"two")])


def v1(path: Path, tars: Sequence[bytes], codec: Callable[[bytes], bytes] = bytes) -> Path:
    """An archive as `docker save` wrote it before 1.10: no manifest.json, and a configuration a layer without diff_ids."""
    files: dict[str, bytes] = {}
    parent = None
    for number, tar in enumerate(tars):
        name = sha256(b"%d" % number + tar)[7:]
        fields = {"id": name, "os": "linux", "architecture": "amd64", **({"parent": parent} if parent else {})}
        files |= {f"{name}/VERSION": b"1.0", f"{name}/json": pretty(fields), f"{name}/layer.tar": codec(tar)}
        parent = name
    return write_tar(path, {**files, "repositories": pretty({"app": {"1": parent}})})


def odd(path: Path, tars: Sequence[bytes], codec: Callable[[bytes], bytes] = bytes) -> Path:
    """An archive whose configuration lists one diff_id more than there are layers."""
    made = image(tars, codec="none", tag="app:1", config=config_of([*tars, b""], history=None))
    made.layers = [codec(tar) for tar in tars]
    return write_tar(path, docker_files([made]))


def unstated(path: Path, tars: Sequence[bytes], codec: Callable[[bytes], bytes] = bytes) -> Path:
    """An archive whose configuration has no rootfs at all."""
    made = image(tars, codec="none", tag="app:1", config=config_of(tars, rootfs=None, history=None))
    made.layers = [codec(tar) for tar in tars]
    return write_tar(path, docker_files([made]))


KINDS = [v1, odd, unstated]


@pytest.mark.parametrize("options", [(), ("--verify",), ("--no-cache", "--fail-on", "files")])
@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_does_not_differ(ocitool: Run, tmp_path: Path, kind: Any, options: tuple[str, ...]) -> None:
    a = kind(tmp_path / "a.tar", [BASE, TOP])
    b = shutil.copy(a, tmp_path / "b.tar")
    report = report_of(ocitool("diff", "--format", "json", *options, a, b))
    assert report["identical"] and [row["status"] for row in report["layers"]] == ["shared", "shared"]
    assert report["summary"]["transferBytes"] == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_in_another_wrapping_does_not_differ(ocitool: Run, tmp_path: Path, kind: Any) -> None:
    a = kind(tmp_path / "a.tar", [BASE, TOP])
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(a.read_bytes()))
    for one, other in (("a.tar", "a.tar.gz"), ("a.tar.gz", "a.tar.gz")):
        assert report_of(ocitool("diff", "--format", "json", tmp_path / one, tmp_path / other))["identical"]
    assert report_of(ocitool("diff", "--format", "json", "-", a, stdin=a.read_bytes()))["identical"]
    assert report_of(ocitool("diff", "--format", "json", a, "-", stdin=a.read_bytes()))["identical"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_differs_still_differs(ocitool: Run, tmp_path: Path, kind: Any) -> None:
    a, b = kind(tmp_path / "a.tar", [BASE, TOP]), kind(tmp_path / "b.tar", [BASE, OTHER])
    for words in ((a, b), ("-", b)):
        report = report_of(ocitool("diff", "--format", "json", *words, stdin=a.read_bytes()), 1)
        assert [row["status"] for row in report["layers"]] == ["shared", "changed"]
        assert [(one["path"], one["fields"]) for one in report["files"]] == [("/app", ["content"])]


@pytest.mark.parametrize("kind", [odd, unstated])
def test_another_compression_is_told_as_before(ocitool: Run, tmp_path: Path, kind: Any) -> None:
    """A docker archive names no stored bytes, so that a layer of equal content is shared."""
    a, b = kind(tmp_path / "a.tar", [BASE]), kind(tmp_path / "b.tar", [BASE], gzip.compress)
    assert [row["status"] for row in report_of(ocitool("diff", "--format", "json", a, b), 0)["layers"]] == ["shared"]


def test_what_one_side_states_is_what_the_other_holds(ocitool: Run, tmp_path: Path) -> None:
    """Stated on one side, computed on the other: the layers are shared, whatever else of the documents differs."""
    stated = write_layout(tmp_path / "stated", [image([BASE, TOP], codec="none")])
    for kind in KINDS:
        other = kind(tmp_path / f"{kind.__name__}.tar", [BASE, TOP])
        for words in ((stated, other), (other, stated)):
            report = report_of(ocitool("diff", "--format", "json", *words), 1)
            assert ["shared", "shared"] == [row["status"] for row in report["layers"]]
            assert report["files"] == []


@pytest.mark.parametrize("codec", ["none", "gzip"])
def test_a_layout_that_states_too_many_is_compared_by_digest(ocitool: Run, tmp_path: Path, codec: str) -> None:
    more = config_of([BASE, TOP, b""], history=None)
    a = write_layout(tmp_path / "a", [image([BASE, TOP], codec=codec, config=more)])
    right = write_layout(tmp_path / "right", [image([BASE, TOP], codec=codec)])
    b = shutil.copytree(a, tmp_path / "b")
    assert report_of(ocitool("diff", "--format", "json", a, b))["identical"]
    report = report_of(ocitool("diff", "--format", "json", a, right), 1)
    assert ["shared", "shared"] == [row["status"] for row in report["layers"]]


def test_a_copy_names_the_configuration_that_it_completes(ocitool: Run, tmp_path: Path) -> None:
    """The image goes by another id then."""
    place = unstated(tmp_path / "it.tar", [BASE])
    before = report_of(ocitool("inspect", "--format", "json", place), 0)["images"][0]["imageId"]
    result = ocitool("copy", "--format", "json", place, tmp_path / "copy.tar")
    after = report_of(result, 0)["images"][0]["imageId"]
    messages = [one["text"] for one in result.json()["notices"] if one["code"] == "config"]
    assert before != after and 1 == len(messages) and before in messages[0] and after in messages[0], messages
    again = report_of(ocitool("copy", "--format", "json", tmp_path / "copy.tar", tmp_path / "again.tar"), 0)
    assert (after, []) == (again["images"][0]["imageId"], [one for one in again["notices"] if one["code"] == "config"])


def test_rebuild_takes_the_layers_of_a_copy(ocitool: Run, tmp_path: Path) -> None:
    a, b = v1(tmp_path / "a.tar", [BASE, OTHER]), v1(tmp_path / "b.tar", [BASE, TOP])
    report = done(ocitool, "rebuild", str(b), f"{tmp_path}/out.tar", "--against", str(a))
    assert ["same", "changed"] == [row["match"] for row in report["details"]["rebuilt"][0]["layers"]]


def test_rebase_and_squash_know_the_base_in_a_copy(ocitool: Run, tmp_path: Path) -> None:
    newer = layer_tar([("etc/", None), ("etc/motd", b"new\n")])
    base, new = v1(tmp_path / "base.tar", [BASE]), v1(tmp_path / "new.tar", [newer])
    app = v1(tmp_path / "app.tar", [BASE, TOP, OTHER])
    report = done(ocitool, "rebase", str(app), f"{tmp_path}/rebased.tar", "--old-base", str(base), "--new-base", str(new))
    assert 1 == report["details"]["rebased"][0]["oldBase"]["layers"]
    report = done(ocitool, "squash", str(app), f"{tmp_path}/squashed.tar", "--keep-base", str(base))
    assert ["kept", "squashed"] == [row["origin"] for row in report["images"][0]["layers"]]


@pytest.mark.parametrize("wrapped", [bytes, gzip.compress])
@pytest.mark.parametrize("kind", KINDS)
def test_dedupe_counts_equal_layers_once(ocitool: Run, tmp_path: Path, kind: Any, wrapped: Any) -> None:
    big = layer_tar([("big", bytes(5 << 20))])  # more than a document may have: not kept when an archive is looked through
    for name, top in (("a.tar", TOP), ("b.tar", OTHER)):
        kind(tmp_path / name, [big, top])
        (tmp_path / name).write_bytes(wrapped((tmp_path / name).read_bytes()))
    report = json.loads(ocitool("dedupe", "--format", "json", tmp_path / "a.tar", tmp_path / "b.tar").stdout)
    assert {"references": 4, "unique": 3} == report["layers"]
    assert [2] == [len(row["images"]) for row in report["sharedLayers"]]


@pytest.mark.parametrize("kind", KINDS)
def test_dedupe_does_not_take_one_file_for_two_contents(ocitool: Run, tmp_path: Path, kind: Any) -> None:
    a, b = kind(tmp_path / "a.tar", [BASE, TOP]), kind(tmp_path / "b.tar", [BASE, OTHER])
    report = json.loads(ocitool("dedupe", "--format", "json", a, b).stdout)
    assert {"references": 4, "unique": 3} == report["layers"]
