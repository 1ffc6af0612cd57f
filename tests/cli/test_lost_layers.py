"""Manifests with fewer layers than their configurations state: the image can be shown and copied, and what is lost is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.images import Image, image, index_of, layer_tar, layout_files, pretty, sha256, write_files, write_tar
from support.registry_command import Run

ONE, TWO = (layer_tar([(name, name.encode() * 99)]) for name in ("one", "two"))
LOSSES: dict[str, tuple[str, Callable[[dict[str, Any]], object]]] = {
    "null": ("0 layers", lambda manifest: manifest.update(layers=None)),
    "absent": ("0 layers", lambda manifest: manifest.pop("layers")),
    "fewer": ("1 layer", lambda manifest: manifest["layers"].pop()),
}


def lossy(how: str) -> Image:
    made = image([ONE, TWO], tag="app:1")
    LOSSES[how][1](made.manifest)
    return made


def said(one: Image, how: str) -> str:
    return f"the manifest {one.digest} names {LOSSES[how][0]}, its configuration {sha256(one.config)} states 2"


def place(folder: Path, shape: str, how: str) -> tuple[Path, Image]:
    """A layout or archive of one image that lost layers, at the top or in an index of its own."""
    one = lossy(how)
    files = layout_files([one], index=index_of([one.descriptor]))
    if shape == "nested":
        raw = pretty(index_of([{**one.descriptor, "platform": {"os": "linux", "architecture": "amd64"}}]))
        entry = {"mediaType": "application/vnd.oci.image.index.v1+json", "digest": sha256(raw), "size": len(raw)}
        files |= {"blobs/" + sha256(raw).replace(":", "/"): raw, "index.json": pretty(index_of([entry]))}
    return (write_tar(folder / "it.tar", files) if shape == "archive" else write_files(folder / "it", files)), one


@pytest.mark.parametrize("how", LOSSES)
@pytest.mark.parametrize("shape", ["layout", "archive", "nested"])
def test_reading_commands_say_what_the_documents_count(ocitool: Run, tmp_path: Path, shape: str, how: str) -> None:
    path, one = place(tmp_path, shape, how)
    commands = (["inspect", path], ["ls", path], ["diff", path, path], ["copy", path, tmp_path / "copy.tar"], ["dedupe", path])
    for words in commands:
        result = ocitool(*words)
        assert (0, True) == (result.code, said(one, how) in result.err), str(result)
    assert said(one, how) in ocitool("inspect", path, "--all-platforms", "--format", "json").json()["notices"][0]["text"]


@pytest.mark.parametrize("how", LOSSES)
def test_what_needs_layers_and_diff_ids_in_line_is_refused(ocitool: Run, tmp_path: Path, how: str) -> None:
    path, one = place(tmp_path, "layout", how)
    for n, words in enumerate((["edit", "--env", "A=1"], ["squash"])):
        result = ocitool(*words, path, tmp_path / f"{n}.tar")
        assert (4, True) == (result.code, said(one, how) in result.err), str(result)
        assert not (tmp_path / f"{n}.tar").exists()


def test_a_nested_manifest_of_a_hybrid_that_lost_layers_is_told(ocitool: Run, tmp_path: Path) -> None:
    path, one = place(tmp_path, "nested", "null")
    whole = image([ONE, TWO], codec="none", tag="app:1")
    paths = ["blobs/" + sha256(data).replace(":", "/") for data in (ONE, TWO)]
    lines = [{"Config": "blobs/" + sha256(one.config).replace(":", "/"), "RepoTags": ["app:1"], "Layers": paths}]
    more = dict(zip(paths, (ONE, TWO), strict=True)) | {"manifest.json": pretty(lines)}
    files = {str(at.relative_to(path)): at.read_bytes() for at in path.rglob("*") if at.is_file()}
    hybrid = write_tar(tmp_path / "hybrid.tar", files | more)
    report = ocitool("inspect", hybrid, "--all-platforms", "--format", "json")
    assert [0, 2] == sorted(len(one["layers"]) for one in report.json()["images"]), str(report)
    assert said(one, "null") in report.err
    assert whole.config == one.config


def test_an_image_whose_documents_agree_is_not_spoken_of(ocitool: Run, tmp_path: Path) -> None:
    whole = image([ONE, TWO], tag="app:1")
    for one in (whole, image([], tag="app:1")):
        path = write_tar(tmp_path / "it.tar", layout_files([one], index=index_of([one.descriptor])))
        assert "states" not in ocitool("inspect", path).err
