"""Volumes that an image declares: they survive every rewrite, and what is written below one later is found."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.images import config_of, image, layer_tar, write_docker_archive, write_layout

from ocitool.images.declared_volumes import declared_volumes
from ocitool.spec.manifest import Config

Run = Callable[..., Any]
BASE = layer_tar([("etc/", None), ("etc/motd", b"hello\n"), ("data/", None), ("data/before", b"1\n")])
LATER = layer_tar([("data/", None), ("data/after", b"2\n"), ("data/sub/", None), ("database", b"3\n")])


def declaring(tmp_path: Path, instruction: str = "VOLUME [/data]", volumes: tuple[str, ...] = ("/data",)) -> Path:
    """An image of two layers, the second of which writes below a volume that was declared between them."""
    config = config_of([BASE, LATER], config={"Volumes": {name: {} for name in volumes}})
    config["history"] = [
        {"created_by": "ADD base"},
        {"created_by": instruction, "empty_layer": True},
        {"created_by": "COPY later"},
    ]
    write_layout(tmp_path / "image", [image([BASE, LATER], tag="app", config=config)])
    write_docker_archive(tmp_path / "image.tar", [image([BASE, LATER], tag="app:1", config=config)])
    return tmp_path / "image"


@pytest.mark.parametrize("name", ["image", "image.tar"])
def test_content_below_a_declared_volume_is_a_finding(ocitool: Run, tmp_path: Path, name: str) -> None:
    declaring(tmp_path)
    done = ocitool("validate", tmp_path / name, "--format", "json")
    found = [one for one in done.json()["findings"] if one["rule"] == "volume-content"]
    assert [(one["severity"], one["subject"].split()[:2]) for one in found] == [("warning", ["layer", "1"])], done.json()
    assert "2 paths, the first of them /data/after" in found[0]["message"] and done.code == 0
    noted = ocitool("inspect", "--files", tmp_path / name)
    assert "layer 1 writes below the volume /data" in noted.err
    assert "volume-content" not in ocitool("inspect", tmp_path / name).err


@pytest.mark.parametrize(
    "instruction, volumes",
    [
        ("COPY VOLUME /data", ("/data",)),  # no declaration
        ("VOLUME $WHERE", ("/data",)),  # which one cannot be told
        ("VOLUME [/other]", ("/data",)),
        ("VOLUME [/data]", ()),  # taken back
        ("VOLUME [/dat]", ("/dat",)),
    ],
)
def test_only_what_is_certain_is_said(ocitool: Run, tmp_path: Path, instruction: str, volumes: tuple[str, ...]) -> None:
    declaring(tmp_path, instruction, volumes)
    assert "volume-content" not in ocitool("validate", tmp_path / "image", "--format", "json").out


def declared(*history: str, volumes: tuple[str, ...] = ("/data",), layers: int | None = None) -> dict[bytes, int]:
    """`history`: instructions, those that make a layer with `+` before."""
    entries = [{"created_by": one.removeprefix("+"), "empty_layer": not one.startswith("+")} for one in history]
    fields = {"config": {"Volumes": {name: {} for name in volumes}}, "history": entries}
    made = sum(one.startswith("+") for one in history) if layers is None else layers
    return dict(declared_volumes(Config(json.dumps(fields).encode(), fields), made).first)


@pytest.mark.parametrize(
    "instruction",
    [
        "VOLUME [/data]", "/bin/sh -c #(nop)  VOLUME [/data]", "VOLUME [/a /data]", 'VOLUME ["/data"]', "VOLUME /data",
        "VOLUME /data/",
        "VOLUME [/data] # buildkit", "/bin/sh -c #(nop) VOLUME /data /b", "ocitool edit --env A --volume /data",
    ],
)  # fmt: skip
def test_every_builders_instruction_is_known(instruction: str) -> None:
    assert declared("+ADD", instruction, "+RUN") == {b"data": 1}


def test_the_place_of_a_declaration() -> None:
    assert declared("+ADD", "+RUN", "VOLUME /data", "+RUN", "VOLUME /data", "+RUN") == {b"data": 2}
    assert declared("+ADD", "VOLUME /data") == {}, "nothing comes after it"
    assert declared("+ADD", "VOLUME /data", "+RUN", layers=3) == {}, "a history of another image"
    assert declared("+ADD", "VOLUME /data", "ocitool edit --unset-volume /data", "+RUN") == {}
    assert declared("+ADD", "VOLUME /", "+RUN", volumes=("/",)) == {}
    assert declared("+ADD", "VOLUME [/a b]", "+RUN", volumes=("/a b",)) == {b"a b": 1}
    assert declared("+ADD", "VOLUME [/a /a/b]", "+RUN", volumes=("/a", "/a/b/")) == {b"a": 1, b"a/b": 1}


def volumes_of(ocitool: Run, reference: Any) -> list[str]:
    done = ocitool("inspect", reference, "--format", "json")
    assert done.code == 0, str(done)
    (found,) = done.json()["images"]
    return list(found["volumes"])


def test_declared_volumes_survive(ocitool: Run, tmp_path: Path) -> None:
    source = declaring(tmp_path, volumes=("/data", "/logs"))
    base = image([BASE], tag="base", config=config_of([BASE]))
    other = layer_tar([("etc/", None), ("etc/motd", b"newer\n")])
    write_layout(tmp_path / "old", [base])
    write_layout(tmp_path / "new", [image([other], tag="base", config=config_of([other]))])
    results = {
        "squash": ("squash", source, f"{tmp_path}/squashed/"),
        "copy": ("copy", source, f"{tmp_path}/copied.tar"),
        "rebase": ("rebase", source, f"{tmp_path}/rebased/", "--old-base", tmp_path / "old", "--new-base", tmp_path / "new"),
        "rebuild": ("rebuild", source, f"{tmp_path}/rebuilt/", "--against", tmp_path / "old"),
        "edit": ("edit", source, f"{tmp_path}/edited/", "--rm", "/etc/motd"),
        "append": ("append", source, f"{tmp_path}/appended/", "--layer", tmp_path / "added"),
    }
    (tmp_path / "added").mkdir()
    (tmp_path / "added" / "file").write_text("x")
    for name, words in results.items():
        done = ocitool(*words)
        assert done.code == 0, str(done)
        assert volumes_of(ocitool, str(words[2]).rstrip("/")) == ["/data", "/logs"], name
    assert ocitool("unpack", source, tmp_path / "unpacked").code == 0
    (tmp_path / "unpacked" / "rootfs" / "data" / "mine").write_text("mine")
    for mode in ("rewrite", "append"):
        done = ocitool("repack", tmp_path / "unpacked", f"{tmp_path}/repacked-{mode}/", "--mode", mode)
        assert done.code == 0, str(done)
        assert volumes_of(ocitool, tmp_path / f"repacked-{mode}") == ["/data", "/logs"], mode


def test_a_squashed_image_has_no_finding_that_is_not_so(ocitool: Run, tmp_path: Path) -> None:
    """Of one layer nobody can tell what was written before the declaration."""
    assert ocitool("squash", declaring(tmp_path), f"{tmp_path}/squashed/").code == 0
    assert "volume-content" not in ocitool("validate", tmp_path / "squashed", "--format", "json").out


def test_what_our_own_edit_declares_counts(ocitool: Run, tmp_path: Path) -> None:
    write_layout(tmp_path / "image", [image([BASE], tag="app", config=config_of([BASE]))])
    (tmp_path / "added" / "srv").mkdir(parents=True)
    (tmp_path / "added" / "srv" / "file").write_text("x")
    assert ocitool("edit", tmp_path / "image", f"{tmp_path}/edited/", "--volume", "/srv").code == 0
    assert ocitool("append", tmp_path / "edited", f"{tmp_path}/appended/", "--layer", tmp_path / "added").code == 0
    assert "below the volume /srv" in ocitool("validate", tmp_path / "appended").out
