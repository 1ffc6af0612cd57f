"""Stores of many images and images of many names: what the tool writes it reads again, in time that grows with their number."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from support.copying import ONE, Run
from support.counting import growth
from support.images import docker_files, image, index_of, pretty, sha256, write_files, write_layout, write_tar

from ocitool.operations.copy import copy
from ocitool.pipeline.image_writer import WriteOptions
from ocitool.pipeline.session import Session
from ocitool.spec import mediatypes
from ocitool.task import Task

REF = "org.opencontainers.image.ref.name"

SIZE = 70
LINEAR = 2.4
"""How many times the work may grow as the names double."""


def names(count: int) -> list[str]:
    return [f"team/app:{number}" for number in range(count)]


def named(path: Path, count: int) -> Path:
    """A docker archive of one image with so many names."""
    files = docker_files([image([ONE], tag="team/app:0", codec="none")])
    (one,) = json.loads(files["manifest.json"])
    return write_tar(path, {**files, "manifest.json": pretty([{**one, "RepoTags": names(count)}])})


WORDS: dict[str, Callable[[str], list[str]]] = {
    "copy to a layout": lambda place: ["copy", f"{place}/in.tar", f"{place}/new/"],
    "copy to an archive": lambda place: ["copy", f"{place}/in.tar", f"{place}/new.tar"],
    "copy from an archive": lambda place: ["copy", f"{place}/out.tar", f"{place}/new/"],
    "copy from a layout": lambda place: ["copy", f"{place}/out", f"{place}/new.tar"],
    "copy one name": lambda place: ["copy", f"{place}/out.tar:team/app:0", f"{place}/new/"],
    "copy again": lambda place: ["copy", f"{place}/in.tar", f"{place}/out/"],
    "inspect": lambda place: ["inspect", f"{place}/out.tar"],
    "inspect --format json": lambda place: ["inspect", "--format", "json", f"{place}/out"],
    "inspect one name": lambda place: ["inspect", f"{place}/out.tar:team/app:0"],
    "validate an archive": lambda place: ["validate", f"{place}/out.tar"],
    "validate a layout": lambda place: ["validate", f"{place}/out"],
    "dedupe": lambda place: ["dedupe", f"{place}/out.tar", f"{place}/out"],
    "layout rm": lambda place: ["layout", "rm", "--dry-run", f"{place}/out", "team/app:0"],
    "layout rm all": lambda place: ["layout", "rm", "--dry-run", f"{place}/out", *json.loads(Path(place, "names").read_text())],
    "layout normalize": lambda place: ["layout", "normalize", "--dry-run", f"{place}/out"],
    "layout gc": lambda place: ["layout", "gc", "--dry-run", f"{place}/out"],
    "not found": lambda place: ["inspect", f"{place}/out.tar:none"],
}  # fmt: skip


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """By the number of names: an image that has so many, as it comes, in an archive and in a layout of ours."""
    made = {}
    for count in (1, SIZE, 2 * SIZE, 4 * SIZE):
        place = made[count] = tmp_path_factory.mktemp(f"names-{count}")
        named(place / "in.tar", count)
        (place / "names").write_text(json.dumps(names(count)))
        with Task() as task:
            for destination in ("out/", "out.tar"):
                copy([f"{place}/in.tar"], Session(task, False), WriteOptions(f"{place}/{destination}"))
    return made


@pytest.mark.parametrize("what", WORDS)
def test_the_work_grows_with_the_names_of_an_image(what: str, places: dict[int, Path], ocitool: Run, tmp_path: Path) -> None:
    def work(count: int) -> Callable[[], object]:
        there = tmp_path / str(count)
        there.mkdir()
        for name in ("in.tar", "out", "out.tar", "names"):
            (there / name).symlink_to(places[count] / name)
        words = WORDS[what](str(there))
        return lambda: ocitool(*words)

    assert growth(work, SIZE) < LINEAR


def test_work_that_grows_with_the_square_is_found() -> None:
    def work(count: int) -> Callable[[], object]:
        return lambda: [abs(one - two) for one in range(count) for two in range(count)]

    assert growth(work, 20) > LINEAR


def test_the_work_grows_with_the_indexes_of_a_store(ocitool: Run, tmp_path: Path) -> None:
    def work(count: int) -> Callable[[], object]:
        blobs: dict[str, bytes] = {}
        entries = []
        for number in range(count):
            pair = [image([ONE], codec="none", architecture=name, author=str(number)) for name in ("amd64", "arm64")]
            raw = pretty(index_of([one.descriptor for one in pair]))
            blobs |= {**pair[0].blobs, **pair[1].blobs, sha256(raw): raw}
            top = {"mediaType": mediatypes.OCI_INDEX, "digest": sha256(raw), "size": len(raw)}
            entries.append({**top, "annotations": {REF: f"app:{number}"}})
        place = write_layout(tmp_path / f"in-{count}", [], index=index_of(entries))
        write_files(place, {f"blobs/{digest.replace(':', '/')}": data for digest, data in blobs.items()})
        return lambda: ocitool("copy", "--all-platforms", place, f"{tmp_path}/out-{count}/")

    assert growth(work, 10) < LINEAR


def test_twelve_thousand_names_are_a_store_as_any_other(ocitool: Run, tmp_path: Path) -> None:
    images = [image([ONE], tag=f"x/y{number}:0", codec="none", author=str(number)) for number in range(60)]
    tags = [{**one.descriptor, "annotations": {REF: f"x/y{number}:{tag}"}}
            for number, one in enumerate(images) for tag in range(200)]  # fmt: skip
    source = write_layout(tmp_path / "in", images, index=index_of(tags))
    for words in (
        ("copy", source, tmp_path / "out.tar.gz"),
        ("copy", tmp_path / "out.tar.gz", f"{tmp_path}/out/"),
        ("inspect", tmp_path / "out.tar.gz"),
        ("layout", "rm", tmp_path / "out", "x/y7:0", "x/y59:199"),
        ("layout", "gc", tmp_path / "out"),
    ):
        assert 0 == ocitool(*words).code
    left = json.loads((tmp_path / "out" / "index.json").read_bytes())["manifests"]
    assert 60 * 200 - 2 == len(left)
    assert {one.digest for one in images} == {entry["digest"] for entry in left}
