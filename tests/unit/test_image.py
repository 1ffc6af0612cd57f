"""An image binds manifest, configuration and layers, and pairs only what can be paired for certain."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from support.images import Image as Made
from support.images import (
    image,
    index_of,
    layer_tar,
    layout_files,
    pretty,
    sha256,
    write_docker_archive,
    write_layout,
    write_tar,
)

from ocitool.errors import FormatError, IntegrityError, NotFoundError, UnsupportedError
from ocitool.images.image import Image, read_manifest
from ocitool.images.platform_choice import single
from ocitool.layers.cache import IndexCache
from ocitool.spec import mediatypes
from ocitool.task import Task
from ocitool.transports.opening import open_source
from ocitool.trees.indexing import Indexer

TARS = [layer_tar([(name, name.encode())]) for name in ("a", "b")]


def read(made: Made, tmp_path: Path) -> Image:
    with Task() as task:
        return single(open_source(str(write_layout(tmp_path / "l", [made])), "layers", task), None)


def indexed(found: Image, **options: Any) -> list[Any]:
    with Task() as task:
        return Indexer(IndexCache(None), task, **options).indexes(found)


def test_layers_diff_ids_and_history_are_one_row_each(tmp_path: Path) -> None:
    found = read(image(TARS), tmp_path)
    assert [(x.number, str(x.diff_id), x.created_by) for x in found.layers] == [
        (0, sha256(TARS[0]), "RUN step 0"), (1, sha256(TARS[1]), "RUN step 1"),
    ]  # fmt: skip


def test_history_without_a_layer_is_passed_over(tmp_path: Path) -> None:
    history = [{"created_by": "one"}, {"created_by": "ENV", "empty_layer": True}, {"created_by": "two"}]
    assert [x.created_by for x in read(image(TARS, history=history), tmp_path).layers] == ["one", "two"]


def test_history_of_another_length_names_no_instruction(tmp_path: Path) -> None:
    found = read(image(TARS, history=[{"created_by": "one"}]), tmp_path)
    assert ([x.created_by for x in found.layers], found.history_aligned, found.aligned) == ([None, None], False, True)


def test_history_is_optional(tmp_path: Path) -> None:
    assert read(image(TARS, history=None), tmp_path).history_aligned


def test_diff_ids_of_another_number_are_paired_with_nothing(tmp_path: Path) -> None:
    found = read(image(TARS, rootfs={"type": "layers", "diff_ids": [sha256(TARS[0])]}), tmp_path)
    assert ([x.diff_id for x in found.layers], found.aligned) == ([None, None], False)


def test_unknown_fields_stay(tmp_path: Path) -> None:
    made = image(TARS, unheard={"of": [1]})
    made.manifest["subject"] = {"mediaType": "x", "digest": made.digest, "size": 1, "more": True}
    found = read(made, tmp_path)
    assert found.manifest is not None
    assert (found.config.fields["unheard"], found.manifest.fields["subject"]["more"]) == ({"of": [1]}, True)


def test_platform_is_the_configurations_else_the_descriptors(tmp_path: Path) -> None:
    made = image(TARS, os=None, architecture=None, platform={"os": "linux", "architecture": "riscv64"})
    assert str(read(made, tmp_path).platform) == "linux/riscv64"


@pytest.mark.parametrize("codec", ["none", "gzip", "zstd"])
def test_compression_is_known_by_the_first_bytes_whatever_the_media_type_says(codec: str, tmp_path: Path) -> None:
    made = image(TARS, codec=codec)
    for layer in made.manifest["layers"]:
        layer["mediaType"] = mediatypes.OCI_LAYER + ("+zstd" if codec == "gzip" else "+gzip")
    found = read(made, tmp_path)
    assert [x.compression for x in found.layers] == [codec, codec]
    assert [str(index.diff_id) for index in indexed(found, verify=True)] == [sha256(tar) for tar in TARS]


def test_layer_of_another_size_than_stated_is_refused(tmp_path: Path) -> None:
    made = image(TARS)
    made.manifest["layers"][0]["size"] += 1
    with pytest.raises(IntegrityError, match="stated"):
        read(made, tmp_path)


def test_layer_of_other_content_than_stated_is_refused_when_it_is_read(tmp_path: Path) -> None:
    made = image(TARS)
    found = read(made, tmp_path)
    path = tmp_path / "l/blobs" / made.manifest["layers"][0]["digest"].replace(":", "/")
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(IntegrityError):
        indexed(found)


def test_diff_id_that_the_layer_does_not_have_is_refused_when_it_is_read(tmp_path: Path) -> None:
    forged = {"type": "layers", "diff_ids": [sha256(TARS[0]), sha256(TARS[0])]}
    with pytest.raises(IntegrityError, match="unpacks to"):
        indexed(read(image(TARS, rootfs=forged), tmp_path))


def test_same_layer_listed_twice_is_two_layers(tmp_path: Path) -> None:
    found = read(image([TARS[0], TARS[0]]), tmp_path)
    assert ([x.number for x in found.layers], len(indexed(found))) == ([0, 1], 2)


def test_missing_layer_is_refused_only_when_it_is_read(tmp_path: Path) -> None:
    made = image(TARS)
    path = write_layout(tmp_path / "l", [made])
    (path / "blobs" / made.manifest["layers"][1]["digest"].replace(":", "/")).unlink()
    with Task() as task:
        found = single(open_source(str(path), "layers", task), None)
        assert len(Indexer(IndexCache(None), task).indexes(found, found.layers[:1])) == 1
        with pytest.raises(NotFoundError):
            Indexer(IndexCache(None), task).indexes(found)


def test_embedded_data_takes_the_place_of_a_missing_blob(tmp_path: Path) -> None:
    made = image(TARS)
    made.manifest["config"]["data"] = base64.b64encode(made.config).decode()
    path = write_layout(tmp_path / "l", [made])
    (path / "blobs" / sha256(made.config).replace(":", "/")).unlink()
    with Task() as task:
        assert single(open_source(str(path), "layers", task), None).image_id == sha256(made.config)


@pytest.mark.parametrize("data", ["!!", base64.b64encode(b"{}").decode()])
def test_embedded_data_that_is_not_what_its_digest_says_is_refused(data: str, tmp_path: Path) -> None:
    made = image(TARS)
    made.manifest["config"]["data"] = data
    path = write_layout(tmp_path / "l", [made])
    (path / "blobs" / sha256(made.config).replace(":", "/")).unlink()
    with pytest.raises(FormatError), Task() as task:
        single(open_source(str(path), "layers", task), None)


def test_encrypted_layer_cannot_be_worked_on(tmp_path: Path) -> None:
    made = image(TARS)
    made.manifest["layers"][0]["mediaType"] += "+encrypted"
    with pytest.raises(UnsupportedError, match="encrypted"):
        indexed(read(made, tmp_path))


def test_configuration_that_is_no_object_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError):
        read(image(TARS, config=b"[]"), tmp_path)


def test_image_id_of_a_docker_archive_is_the_digest_of_its_configuration(tmp_path: Path) -> None:
    made = image(TARS, codec="none", tag="a:1")
    with Task() as task:
        found = single(open_source(str(write_docker_archive(tmp_path / "a", [made])), "layers", task), None)
    assert (found.image_id, found.digest, found.manifest) == (sha256(made.config), None, None)


def test_foreign_urls_are_kept_and_never_fetched(tmp_path: Path) -> None:
    made = image(TARS)
    made.manifest["layers"][0]["urls"] = ["https://host.invalid/layer"]
    found = read(made, tmp_path)
    assert found.manifest is not None and found.manifest.layers[0].urls == ("https://host.invalid/layer",)


# A hybrid archive, of which opening it has read the manifests


def hybrid(tmp_path: Path, **changes: Any) -> Any:
    made = image(TARS, tag="one:1")
    descriptor = {**made.descriptor, **changes}
    line = {"Config": "blobs/" + sha256(made.config).replace(":", "/"), "RepoTags": ["one:1"], "Layers": []}
    files = {**layout_files([made], index=index_of([descriptor])), "manifest.json": pretty([line])}
    with Task() as task:
        source = open_source(str(write_tar(tmp_path / "hybrid.tar", files)), "documents", task).source
    assert source.index is not None
    return source


def test_a_manifest_that_opening_an_archive_has_read_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = hybrid(tmp_path)
    monkeypatch.setattr(source, "blob", lambda descriptor: pytest.fail("it is read again"))
    found = read_manifest(source, source.index.manifests[0])
    assert source.index.manifests[0].digest == found.digest


def test_a_manifest_of_another_size_than_its_entry_states_is_refused_though_its_digest_is_right(tmp_path: Path) -> None:
    source = hybrid(tmp_path, size=1)
    with pytest.raises(IntegrityError, match="1 are stated"):
        read_manifest(source, source.index.manifests[0])
