"""The law of the store: images of all formats, copied into one layout and out again, have identical manifests and blobs."""

from __future__ import annotations

import hashlib
import json
import tarfile
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ocitool.operations import layout as keeping
from ocitool.operations.copy import copy
from ocitool.pipeline.image_writer import WriteOptions
from ocitool.pipeline.session import Session
from ocitool.task import Task

ROOT = Path(__file__).resolve().parents[2] / "testdata"
REF = "org.opencontainers.image.ref.name"
REFERENCES = [
    *sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("*.tar")),
    *sorted(
        path.relative_to(ROOT).as_posix() for path in ROOT.glob("encodings/*")
        if path.name not in ("multi.tar", "oci")
    ),
    *(f"encodings/multi.tar:@{n}" for n in range(4)), "encodings/oci:1.1",
    *(f"multiarch:{tag}" for tag in ("latest", "nested", "only-arm64", "arm64", "notes")),
]  # fmt: skip
NO_CONFIGURATION = {"encodings/docker-1.tar"}
"""An image from before Docker 1.10 has no configuration and states no diff_id; one is made."""


class RootClosure(NamedTuple):
    """A root with all that it leads to: digest to bytes."""

    digest: str
    blobs: dict[str, bytes]


def held(root: str, blobs: dict[str, bytes]) -> RootClosure:
    """What is reached from a root; what is not there is not in it."""
    found: dict[str, bytes] = {}
    waiting = [root]
    while waiting:
        digest = waiting.pop()
        if digest in found or digest not in blobs:
            continue
        found[digest] = blobs[digest]
        assert digest == "sha256:" + hashlib.sha256(blobs[digest]).hexdigest()
        if blobs[digest][:1] == b"{":
            document = json.loads(blobs[digest])
            waiting += [one["digest"] for one in document.get("manifests", ())]
            waiting += [one["digest"] for one in (document["config"], *document["layers"])] if "layers" in document else []
    return RootClosure(root, found)


def of_layout(path: Path) -> dict[str, RootClosure]:
    blobs = {f"{file.parent.name}:{file.name}": file.read_bytes() for file in path.glob("blobs/*/*")}
    entries = json.loads((path / "index.json").read_bytes())["manifests"]
    return {entry["annotations"][REF]: held(entry["digest"], blobs) for entry in entries}


def of_archive(path: Path) -> tuple[RootClosure, set[str]]:
    """Its only image, and all of its blobs. Read by tarfile, which is not ours."""
    with tarfile.open(path) as archive:
        members = {member.name: archive.extractfile(member).read() for member in archive if member.isfile()}  # type: ignore[union-attr]
    blobs = {name[6:].replace("/", ":"): data for name, data in members.items() if name.startswith("blobs/")}
    (digest,) = {entry["digest"] for entry in json.loads(members["index.json"])["manifests"]}
    return held(digest, blobs), set(blobs)


@pytest.fixture(scope="module")
def round_trips(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, RootClosure], Path]:
    """Every image into one layout, the layout collected and tidied up, every image out again: what was said of each on its way
    in, the layout, and the folder of archives."""
    place = tmp_path_factory.mktemp("round-trips")
    said = {}
    with Task() as task:
        reading = Session(task, False)
        for n, reference in enumerate(REFERENCES):
            writing = WriteOptions(str(place / "store") + "/", (f"image:{n}",))
            said[reference] = copy([str(ROOT / reference)], reading, writing, all_platforms=True)
        keeping.normalize(str(place / "store"), task)
        keeping.collect(str(place / "store"), task)
        for n in range(len(REFERENCES)):
            writing = WriteOptions(str(place / f"{n}.tar"), ())
            copy([f"{place}/store:image:{n}"], reading, writing, all_platforms=True)
    return said, of_layout(place / "store"), place


def test_there_are_thirty_and_more() -> None:
    assert len(REFERENCES) >= 30


@pytest.mark.parametrize("reference", REFERENCES)
def test_into_one_layout_and_out_again_is_identical(reference: str, round_trips: Any) -> None:
    _, store, place = round_trips
    n = REFERENCES.index(reference)
    out, blobs = of_archive(place / f"{n}.tar")
    assert store[f"image:{n}"] == out
    assert set(out.blobs) == blobs


@pytest.mark.parametrize("reference", REFERENCES)
def test_what_came_in_is_what_the_source_holds(reference: str, round_trips: Any) -> None:
    """OCI: the very manifest. Docker archives have none: configuration and diff_ids."""
    said, store, _ = round_trips
    n = REFERENCES.index(reference)
    with Task() as task:
        source = Session(task, False).open(str(ROOT / reference), "layers").source
        if source.index is not None:
            assert {str(image.digest) for image in said[reference].images} <= set(store[f"image:{n}"].blobs)
            assert any(str(entry.digest) == store[f"image:{n}"].digest for entry in source.index.manifests)
            return
        record = source.records[int(reference.partition("@")[2] or 0)]
    (image,) = said[reference].images
    if reference not in NO_CONFIGURATION:
        assert "sha256:" + hashlib.sha256(record.config).hexdigest() == str(image.image_id)
        stated = json.loads(record.config)["rootfs"]["diff_ids"]
        assert stated == [str(layer.diff_id) for layer in image.layers]


def test_one_file_system_in_all_encodings_is_stored_once_for_each_form(round_trips: Any) -> None:
    """The uncompressed docker archives of one image share every blob of it."""
    _, store, _ = round_trips
    forms = ["encodings/docker-1.2.tar", "encodings/docker-1.2.tar.gz", "encodings/docker-1.2.tar.zst", "encodings/bazel.tar",
             "encodings/docker-1.2-symlinks.tar", "encodings/docker-1.2-hardlinks.tar", "app-v2.tar"]  # fmt: skip
    assert 1 == len({store[f"image:{REFERENCES.index(form)}"].digest for form in forms})


def test_the_layout_is_valid(ocitool: Any, round_trips: Any) -> None:
    result = ocitool("validate", round_trips[2] / "store", "--format", "json")
    errors = {one["rule"] for one in result.json()["findings"] if one["severity"] == "error"}
    assert set() == errors, str(result)
