"""A blob that is damaged in one of several places is taken from another one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support import places
from support.copying import ONE, TWO, Run, copied, refused
from support.images import entry, image, layer_tar, write_layout
from support.registry import ScriptedRegistry

BIG = layer_tar([entry("big", bytes(5 << 20))])
MADE = image([ONE, BIG], tag="app:1", codec="none")
OTHER = image([BIG, TWO], tag="other:1", codec="none")
DESTINATIONS = ["a.tar", "out/"]


def damaged(path: Path, made: Any, number: int) -> Path:
    write_layout(path, [made])
    blob = path / "blobs" / made.manifest["layers"][number]["digest"].replace(":", "/")
    raw = bytearray(blob.read_bytes())
    raw[len(raw) // 2] ^= 1
    blob.write_bytes(bytes(raw))
    return path


def damaged_notices(report: Any) -> list[str]:
    return [notice["text"] for notice in report["notices"] if notice["code"] == "damaged"]


@pytest.mark.parametrize("destination", DESTINATIONS)
@pytest.mark.parametrize("by_with", [False, True])
@pytest.mark.parametrize("number", [0, 1])
def test_a_sound_blob_is_taken_in_the_place_of_a_damaged_one(
    number: int, by_with: bool, destination: str, ocitool: Run, tmp_path: Path
) -> None:
    bad, good = damaged(tmp_path / "bad", MADE, number), write_layout(tmp_path / "good", [MADE])
    words = [bad, f"{tmp_path}/{destination}", "--with", good] if by_with else [bad, good, f"{tmp_path}/{destination}"]
    (text,) = damaged_notices(copied(ocitool, *words))
    digest = MADE.manifest["layers"][number]["digest"]
    assert text.startswith(f"the blob {digest} is damaged")
    assert str(good) in text
    copied(ocitool, f"{tmp_path}/{destination}", f"{tmp_path}/new/")
    assert MADE.blobs == places.blobs(tmp_path / "new")


def test_a_blob_of_another_image_will_do_and_those_after_a_second_damaged_one_too(ocitool: Run, tmp_path: Path) -> None:
    bad, worse = damaged(tmp_path / "bad", MADE, 1), damaged(tmp_path / "worse", MADE, 1)
    good = write_layout(tmp_path / "good", [OTHER])
    assert 1 == len(damaged_notices(copied(ocitool, bad, worse, good, f"{tmp_path}/out/")))
    assert {**MADE.blobs, **OTHER.blobs} == places.blobs(tmp_path / "out")


@pytest.mark.parametrize("destination", DESTINATIONS)
def test_a_blob_that_is_damaged_everywhere_is_refused_as_the_first_one(destination: str, ocitool: Run, tmp_path: Path) -> None:
    bad, worse = damaged(tmp_path / "bad", MADE, 1), damaged(tmp_path / "worse", MADE, 1)
    digest = MADE.manifest["layers"][1]["digest"]
    for words in ((bad, worse), (bad, "--with", worse)):
        refused(5, ocitool("copy", *words, f"{tmp_path}/{destination}"), digest)
        assert not (tmp_path / destination).exists()


def test_an_edit_takes_a_sound_blob_of_what_with_names(ocitool: Run, tmp_path: Path) -> None:
    bad, good = damaged(tmp_path / "bad", MADE, 1), write_layout(tmp_path / "good", [MADE])
    words = ("edit", bad, tmp_path / "a.tar", "--env", "A=b", "--with", good)
    ended = ocitool(*words)
    assert 0 == ended.code, str(ended)
    assert "damaged" in ended.err


def test_a_sound_blob_is_sent_to_a_registry_in_the_place_of_a_damaged_one(
    run: Run, registry: ScriptedRegistry, tmp_path: Path
) -> None:
    bad, good = damaged(tmp_path / "bad", MADE, 1), write_layout(tmp_path / "good", [MADE])
    ended = run("copy", bad, good, f"docker://{registry.host}/app:1")
    assert 0 == ended.code, str(ended)
    assert "is damaged" in ended.err
    ended = run("copy", f"docker://{registry.host}/app:1", f"{tmp_path}/new/")
    assert 0 == ended.code, str(ended)
