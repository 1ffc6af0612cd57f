"""The sweep of `support.sweep` over all of testdata and some shapes made by code; the campaign `sweep` has thousands more."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from support.images import hybrid_files, image, index_of, layer_tar, sha256, write_docker_archive, write_layout, write_tar
from support.inside import Outcome, run_inside
from support.oddities import ODDITIES, Oddity
from support.sweep import census, sweep

TESTDATA = Path(__file__).resolve().parents[2] / "testdata"
REAL = sorted([*TESTDATA.glob("*.tar"), *(TESTDATA / "encodings").iterdir(), TESTDATA / "multiarch"])
SMALL = [oddity for oddity in ODDITIES if oddity.item != 7]
ONE, TWO = (layer_tar([("etc/", None), (f"etc/{name}", name.encode())]) for name in ("one", "two"))


def command(work: Path, words: tuple[str, ...]) -> Outcome:
    return run_inside(words, {"OCITOOL_CACHE_DIR": str(work / "cache")})


def swept(place: Path, work: Path) -> list[str]:
    return sweep(place, work, lambda words: command(work, words))


@pytest.mark.parametrize("place", REAL, ids=[str(place.relative_to(TESTDATA)) for place in REAL])
def test_no_command_fails_on_testdata_and_copies_lose_nothing(place: Path, tmp_path: Path) -> None:
    assert [] == swept(place, tmp_path)


@pytest.mark.parametrize("oddity", SMALL, ids=[oddity.name for oddity in SMALL])
def test_odd_files_are_read_or_refused_and_copies_lose_nothing(oddity: Oddity, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "work").mkdir()
    assert [] == swept(oddity.make(tmp_path / "in"), tmp_path / "work")


def made(folder: Path, shape: str) -> Path:
    images = [image([ONE], tag="app:1"), image([ONE, TWO], tag="app:2"), image([TWO])]
    if shape == "layout":
        return write_layout(folder / "in", images)
    if shape == "docker":
        return write_docker_archive(folder / "in.tar", [image([ONE], tag="a:1", codec="none"), image([TWO], codec="none")])
    if shape == "hybrid":
        return write_tar(folder / "in.tar", hybrid_files(images))
    nested = index_of([one.descriptor for one in images[:2]])
    holder = image([TWO], tag="app:3")
    raw = json.dumps(nested).encode()
    holder.extra[sha256(raw)] = raw
    for one in images[:2]:
        holder.extra |= one.blobs
    entry = {"mediaType": nested["mediaType"], "digest": sha256(raw), "size": len(raw)}
    return write_layout(folder / "in", [holder], index=index_of([entry, holder.descriptor]))


@pytest.mark.parametrize("shape", ["layout", "docker", "hybrid", "nested"])
def test_made_images_survive_every_command_and_copies_lose_nothing(shape: str, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    assert [] == swept(made(tmp_path, shape), tmp_path / "work")


def test_the_census_counts_what_an_archive_and_its_layout_hold(tmp_path: Path) -> None:
    archive = census(made(tmp_path, "hybrid"))
    layout = census(made(tmp_path, "layout"))
    assert archive is not None and layout is not None
    assert [1, 2, 1] == list(archive.images.values())
    assert {"app:1", "app:2"} == archive.names == layout.names
    assert archive.images == layout.images


def test_the_census_looks_once_at_an_index_that_is_listed_thousands_of_times(tmp_path: Path) -> None:
    made = image([layer_tar([("a", b"")])])
    place = write_layout(tmp_path / "it", [made])
    index = json.loads((place / "index.json").read_bytes())
    for _ in range(7):
        raw = json.dumps(index).encode()
        (place / "blobs/sha256" / sha256(raw)[7:]).write_bytes(raw)
        entry = {"mediaType": "application/vnd.oci.image.index.v1+json", "digest": sha256(raw), "size": len(raw)}
        index = {"schemaVersion": 2, "manifests": [entry] * 20}
    (place / "index.json").write_text(json.dumps(index))
    found = census(place)
    assert found is not None and {sha256(made.config): 1} == found.images


def test_the_sweep_finds_an_image_that_a_copy_drops_unsaid(tmp_path: Path) -> None:
    place = made(tmp_path, "layout")
    less = write_layout(tmp_path / "less", [image([ONE], tag="app:1")])

    def dropping(words: tuple[str, ...]) -> Outcome:
        if words[0] == "copy" and words[-1].endswith("/"):
            shutil.copytree(less, words[-1])
            return Outcome(0, b'{"images": []}', b"")
        return command(tmp_path, words)

    (tmp_path / "work").mkdir()
    findings = sweep(place, tmp_path / "work", dropping)
    assert 2 == sum("is not in the copy, unsaid" in finding and "configuration" in finding for finding in findings), findings
    assert any("the name 'app:2' is not in the copy" in finding for finding in findings), findings


def test_the_sweep_finds_what_is_said_to_be_valid_and_cannot_be_read(tmp_path: Path) -> None:
    def believing(words: tuple[str, ...]) -> Outcome:
        return Outcome(0, b"{}", b"") if words[0] == "validate" else command(tmp_path, words)

    (tmp_path / "work").mkdir()
    (damaged,) = [one for one in ODDITIES if one.name == "hybrid: index.json with a byte order mark"]
    findings = sweep(damaged.make(tmp_path), tmp_path / "work", believing)
    assert any("inspect could not read a part of what is valid" in finding for finding in findings), findings


def test_the_sweep_finds_a_bug_and_a_difference_of_a_copy(tmp_path: Path) -> None:
    def failing(words: tuple[str, ...]) -> Outcome:
        if words[0] == "validate":
            return Outcome(70, b"", b"ocitool: error: a bug of ours")
        done = command(tmp_path, words)
        return Outcome(1, b"differs", b"") if words[0] == "diff" and "@" in words[1] else done

    (tmp_path / "work").mkdir()
    findings = sweep(made(tmp_path, "layout"), tmp_path / "work", failing)
    assert any("exit 70" in finding for finding in findings)
    assert any("differs from its copy" in finding for finding in findings)
    assert any("differs from itself" in finding for finding in findings)
