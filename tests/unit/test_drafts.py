"""From an image to one that is to be written: unedited documents stay as they are, the others follow from the draft."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.images import Image as Made
from support.images import (
    config_of,
    image,
    index_of,
    layer_tar,
    pretty,
    sha256,
    write_docker_archive,
    write_files,
    write_layout,
)

from ocitool.blob import BytesBlob
from ocitool.digest import Digest
from ocitool.errors import FormatError, UsageError
from ocitool.images import drafts
from ocitool.images.image import Image
from ocitool.images.platform_choice import single
from ocitool.spec import mediatypes
from ocitool.task import Task
from ocitool.transports.opening import open_source
from ocitool.transports.sink import OutputImage, OutputLayer

ONE, TWO, NEW = layer_tar([("a", b"1")]), layer_tar([("b", b"2")]), layer_tar([("c", b"3")])
NOTE = {"created": "2024-02-02T00:00:00Z", "created_by": "test"}


@pytest.fixture
def task() -> Iterator[Task]:
    with Task() as running:
        yield running


def read(made: Made, task: Task, place: Path) -> Image:
    return single(open_source(str(write_layout(place / "layout", [made])), "layers", task), None)


def docker_typed(made: Made) -> Made:
    made.manifest["mediaType"] = mediatypes.DOCKER_MANIFEST
    made.manifest["config"]["mediaType"] = mediatypes.DOCKER_CONFIG
    for layer in made.manifest["layers"]:
        layer["mediaType"] = f"{mediatypes.DOCKER_LAYER}.gzip"
    return made


def started(image: Image) -> drafts.ImageDraft:
    return drafts.start(image, [drafts.kept(image, layer) for layer in image.layers])


def piece(image: Image, data: bytes = NEW, codec: str = "none") -> OutputLayer:
    digest = Digest.of(data)
    return OutputLayer(digest, len(data), digest, drafts.layer_type(image, codec), "new", BytesBlob(data, digest))


def fields(documents: OutputImage) -> tuple[Any, Any]:
    config, manifest = json.loads(documents.config), json.loads(documents.manifest)
    assert sha256(documents.manifest) == str(documents.digest) == documents.descriptor["digest"]
    assert str(documents.image_id) == manifest["config"]["digest"] == sha256(documents.config)
    assert len(documents.config) == manifest["config"]["size"]
    assert [str(p.diff_id) for p in documents.layers] == config["rootfs"]["diff_ids"]
    assert [str(p.digest) for p in documents.layers] == [layer["digest"] for layer in manifest["layers"]]
    return config, manifest


def test_what_nobody_edited_keeps_both_documents_byte_for_byte(task: Task, tmp_path: Path) -> None:
    made = image([ONE, TWO], config=json.dumps(config_of([ONE, TWO], **{"x-mine": 1.50}), indent=1).encode())
    found = drafts.finish(started(read(made, task, tmp_path)))
    assert (made.config, made.raw, made.digest) == (found.config, found.manifest, str(found.digest))


def test_documents_named_by_sha512_keep_those_digests(task: Task, tmp_path: Path) -> None:
    made = image([ONE])

    def sha512(data: bytes) -> str:
        return "sha512:" + hashlib.sha512(data).hexdigest()

    made.manifest["config"]["digest"] = sha512(made.config)
    entry = {**made.descriptor, "digest": sha512(made.raw)}
    layer = made.layers[0]
    blobs = {sha512(made.raw): made.raw, sha512(made.config): made.config, sha256(layer): layer}
    files = {"blobs/" + digest.replace(":", "/"): data for digest, data in blobs.items()}
    write_files(tmp_path / "in", {"oci-layout": b"{}", "index.json": pretty(index_of([entry])), **files})
    found = single(open_source(str(tmp_path / "in"), "layers", task), None)
    same = drafts.finish(started(found))
    assert (sha512(made.raw), sha512(made.config)) == (str(same.digest), str(same.image_id))
    other = drafts.finish(drafts.replaced(started(found), 0, piece(found, ONE)))
    assert sha512(made.config) == str(other.image_id) == json.loads(other.manifest)["config"]["digest"]


def test_another_layer_of_the_same_content_leaves_the_configuration(task: Task, tmp_path: Path) -> None:
    found = read(image([ONE, TWO]), task, tmp_path)
    documents = drafts.finish(drafts.replaced(started(found), 0, piece(found, ONE)))
    _, manifest = fields(documents)
    assert found.config.raw == documents.config
    assert [mediatypes.OCI_LAYER, f"{mediatypes.OCI_LAYER}+gzip"] == [layer["mediaType"] for layer in manifest["layers"]]


def test_unknown_members_and_annotations_survive_an_edit(task: Task, tmp_path: Path) -> None:
    made = image([ONE, TWO], **{"x-mine": {"a": 1}})
    made.manifest |= {"x-other": [1], "annotations": {"k": "v"}}
    made.manifest["layers"][1]["annotations"] = {"l": "v"}
    found = read(made, task, tmp_path)
    config, manifest = fields(drafts.finish(drafts.replaced(started(found), 0, piece(found))))
    assert ({"a": 1}, [1], {"k": "v"}) == (config["x-mine"], manifest["x-other"], manifest["annotations"])
    assert made.manifest["layers"][1] == manifest["layers"][1]


@pytest.mark.parametrize(("annotations", "expected"), [({"n": "1"}, {"n": "1"}), ({}, None)])
def test_annotations_are_replaced_or_taken_away(
    annotations: dict[str, str], expected: dict[str, str] | None, task: Task, tmp_path: Path
) -> None:
    made = image([ONE])
    made.manifest["annotations"] = {"k": "v"}
    found = drafts.finish(drafts.annotated(started(read(made, task, tmp_path)), annotations))
    assert expected == json.loads(found.manifest).get("annotations")
    assert made.config == found.config


EMPTY = {"created_by": "ENV", "empty_layer": True}
STEPS: list[dict[str, Any]] = [{"created_by": "0"}, EMPTY, {"created_by": "1"}, EMPTY]


@pytest.mark.parametrize(
    ("number", "expected"),
    [(0, [NOTE, *STEPS]), (1, [*STEPS[:2], NOTE, *STEPS[2:]]), (2, [*STEPS, NOTE])],
)
def test_a_layer_is_inserted_with_its_history(number: int, expected: list[Any], task: Task, tmp_path: Path) -> None:
    found = read(image([ONE, TWO], history=STEPS), task, tmp_path)
    config, _ = fields(drafts.finish(drafts.inserted(started(found), number, piece(found), NOTE)))
    assert expected == config["history"]
    assert sha256(NEW) == config["rootfs"]["diff_ids"][number]


@pytest.mark.parametrize(("number", "expected"), [(0, STEPS[1:]), (1, [*STEPS[:2], EMPTY])])
def test_a_layer_is_dropped_with_its_history(number: int, expected: list[Any], task: Task, tmp_path: Path) -> None:
    config, _ = fields(drafts.finish(drafts.dropped(started(read(image([ONE, TWO], history=STEPS), task, tmp_path)), number)))
    assert expected == config["history"]
    assert [sha256([TWO, ONE][number])] == config["rootfs"]["diff_ids"]


def test_a_note_stands_for_no_layer(task: Task, tmp_path: Path) -> None:
    config, _ = fields(drafts.finish(drafts.noted(started(read(image([ONE]), task, tmp_path)), NOTE)))
    assert {**NOTE, "empty_layer": True} == config["history"][-1]
    assert 1 == len(config["rootfs"]["diff_ids"])


@pytest.mark.parametrize("history", [None, [{"created_by": "one of two"}], "odd", ["odd"]])
def test_a_history_that_is_absent_or_wrong_is_left_as_it_is(history: Any, task: Task, tmp_path: Path) -> None:
    found = read(image([ONE, TWO], history=history), task, tmp_path)
    for draft in (drafts.inserted(started(found), 1, piece(found), NOTE), drafts.dropped(started(found), 0),
                  drafts.noted(started(found), NOTE)):  # fmt: skip
        assert history == json.loads(drafts.finish(draft).config).get("history")


def test_the_first_layer_of_an_empty_image_begins_a_history(task: Task, tmp_path: Path) -> None:
    found = read(image([], history=None), task, tmp_path)
    config, _ = fields(drafts.finish(drafts.inserted(started(found), 0, piece(found), NOTE)))
    assert [NOTE] == config["history"]


@pytest.mark.parametrize(
    ("codec", "manifest", "layers"),
    [
        ("none", mediatypes.DOCKER_MANIFEST, [f"{mediatypes.DOCKER_LAYER}.gzip", mediatypes.DOCKER_LAYER]),
        ("gzip", mediatypes.DOCKER_MANIFEST, [f"{mediatypes.DOCKER_LAYER}.gzip", f"{mediatypes.DOCKER_LAYER}.gzip"]),
        ("zstd", mediatypes.OCI_MANIFEST, [f"{mediatypes.OCI_LAYER}+gzip", f"{mediatypes.OCI_LAYER}+zstd"]),
    ],
)
def test_dockers_types_stay_but_for_zstd(codec: str, manifest: str, layers: list[str], task: Task, tmp_path: Path) -> None:
    found = read(docker_typed(image([ONE, TWO])), task, tmp_path)
    documents = drafts.finish(drafts.replaced(started(found), 1, piece(found, codec=codec)))
    _, made = fields(documents)
    assert (manifest, layers) == (made["mediaType"], [layer["mediaType"] for layer in made["layers"]])
    kind = mediatypes.OCI_CONFIG if codec == "zstd" else mediatypes.DOCKER_CONFIG
    assert (kind, manifest) == (made["config"]["mediaType"], documents.descriptor["mediaType"])


def test_a_docker_archive_gets_an_oci_manifest_the_same_each_time(task: Task, tmp_path: Path) -> None:
    path = write_docker_archive(tmp_path / "a.tar", [image([ONE, TWO], codec="none")])
    raws = []
    for _ in range(2):
        found = single(open_source(str(path), "layers", task), None)
        pieces = [
            OutputLayer(Digest.of(tar), len(tar), layer.diff_id, layer.media_type, "kept", layer.blob)
            for layer, tar in zip(found.layers, (ONE, TWO), strict=True)
        ]
        documents = drafts.finish(drafts.start(found, pieces))
        assert found.config.raw == documents.config
        raws.append(documents.manifest)
    _, manifest = fields(documents)
    assert raws[0] == raws[1]
    assert (mediatypes.OCI_MANIFEST, {mediatypes.OCI_LAYER}) == (
        manifest["mediaType"], {layer["mediaType"] for layer in manifest["layers"]},
    )  # fmt: skip


def test_a_manifest_that_says_no_type_of_its_own_is_given_none(task: Task, tmp_path: Path) -> None:
    made = image([ONE, TWO])
    del made.manifest["mediaType"]
    found = read(made, task, tmp_path)
    assert "mediaType" not in json.loads(drafts.finish(drafts.replaced(started(found), 0, piece(found))).manifest)


def test_artifacts_and_images_that_do_not_align_are_refused(task: Task, tmp_path: Path) -> None:
    artifact = image([ONE])
    artifact.manifest["config"]["mediaType"] = "application/vnd.example+json"
    found = open_source(str(write_layout(tmp_path / "artifact", [artifact])), "layers", task)
    from ocitool.images.select import targets

    thing = targets(found)[0].image
    assert thing is not None
    with pytest.raises(UsageError, match="an artifact"):
        started(thing)
    odd = image([ONE, TWO], rootfs={"type": "layers", "diff_ids": [sha256(ONE)]})
    with pytest.raises(FormatError, match="do not align"):
        started(read(odd, task, tmp_path))


def test_embedded_data_of_an_old_configuration_does_not_stay(task: Task, tmp_path: Path) -> None:
    import base64

    made = image([ONE])
    made.manifest["config"]["data"] = base64.b64encode(made.config).decode()
    found = read(made, task, tmp_path)
    _, manifest = fields(drafts.finish(drafts.configured(started(found), {**found.config.fields, "author": "me"})))
    assert "data" not in manifest["config"]
