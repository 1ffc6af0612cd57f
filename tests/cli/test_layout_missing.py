"""`ocitool layout` over blobs that are not here: what is lost is never taken for what is not needed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.images import Image, image, index_of, layer_tar, pretty, sha256, write_layout
from support.report import report_of

from ocitool.spec import mediatypes

Run = Callable[..., Any]
BASE = layer_tar([("base", b"b" * 3000)])
OWN = {name: layer_tar([(name, name.encode() * 1000)]) for name in ("a", "b")}


def app(name: str) -> Image:
    return image([BASE, OWN[name]], tag=name)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return write_layout(tmp_path / "store", [app("a"), app("b")])


@pytest.fixture
def partial(store: Path) -> Path:
    """An index of which one platform was fetched, and a blob that nothing names."""
    here = {**app("a").descriptor, "platform": {"os": "linux", "architecture": "amd64"}}
    other = {**descriptor(b"not here"), "platform": {"os": "linux", "architecture": "arm64"}}
    set_index(store, {"mediaType": mediatypes.OCI_INDEX, **put(store, pretty(index_of([here, other])))})
    return store


def blobs(store: Path) -> set[str]:
    return {f"{path.parent.name}:{path.name}" for path in store.glob("blobs/*/*")}


def path_of(store: Path, digest: str) -> Path:
    return store / "blobs" / digest.replace(":", "/")


def set_index(store: Path, *entries: Any) -> None:
    (store / "index.json").write_bytes(pretty(index_of(entries)))


def put(store: Path, data: bytes) -> dict[str, Any]:
    path_of(store, sha256(data)).write_bytes(data)
    return {"digest": sha256(data), "size": len(data)}


def descriptor(data: bytes, media_type: str = mediatypes.OCI_MANIFEST) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": sha256(data), "size": len(data)}


def notices(report: Any) -> list[str]:
    return [one["code"] for one in report["notices"]]


@pytest.mark.parametrize("words", [(), ("--dry-run",)])
@pytest.mark.parametrize("media_type", [mediatypes.OCI_MANIFEST, mediatypes.OCI_INDEX, "application/x.unknown", None])
def test_gc_refuses_if_an_entry_of_the_index_is_not_here(
    media_type: str | None, words: tuple[str, ...], ocitool: Run, store: Path
) -> None:
    lost = descriptor(b"lost")
    lost["mediaType"] = media_type
    set_index(store, app("b").descriptor, {key: value for key, value in lost.items() if value is not None})
    before = blobs(store)
    result = ocitool("layout", "gc", store, *words)
    assert (3, before) == (result.code, blobs(store))
    assert "hint: nothing was freed" in result.err


def test_gc_of_an_entry_whose_content_is_embedded_goes_on(ocitool: Run, store: Path) -> None:
    set_index(store, app("b").descriptor, {**descriptor(b"{}"), "data": "e30="})
    assert 0 == ocitool("layout", "gc", store).code
    assert sha256(app("a").layers[1]) not in blobs(store)


@pytest.mark.parametrize("content", [b"\0" * 40, b'{"a":', b""])
def test_gc_refuses_if_an_entry_of_unknown_type_is_damaged(content: bytes, ocitool: Run, store: Path) -> None:
    odd = put(store, b'{"blobs":[]}')
    path_of(store, odd["digest"]).write_bytes(content)
    set_index(store, app("b").descriptor, {"mediaType": "application/x.odd", **odd})
    before = blobs(store)
    assert (5, before) == (ocitool("layout", "gc", store).code, blobs(store))


@pytest.mark.parametrize("fields", [b"{}", b'{"manifests":null}', b'{"manifests":{}}', b'{"manifests":[{}]}',
                                    b'{"manifests":[7]}', b'{"manifests":[{"digest":"sha256:00"}]}'])  # fmt: skip
def test_gc_refuses_an_index_that_does_not_say_what_is_needed(fields: bytes, ocitool: Run, store: Path) -> None:
    (store / "index.json").write_bytes(fields)
    before = blobs(store)
    assert (4, before) == (ocitool("layout", "gc", store).code, blobs(store))


@pytest.mark.parametrize("raw", [b"", b"[{", b'[{"Config":"blobs/sha'])
def test_gc_refuses_a_damaged_docker_manifest_beside_the_index(raw: bytes, ocitool: Run, store: Path) -> None:
    (store / "manifest.json").write_bytes(raw)
    set_index(store)
    before = blobs(store)
    assert (4, before) == (ocitool("layout", "gc", store).code, blobs(store))


def test_gc_keeps_the_layers_of_a_schema_1_manifest(ocitool: Run, store: Path) -> None:
    old = put(store, pretty({"schemaVersion": 1, "fsLayers": [{"blobSum": sha256(app("a").layers[1])}]}))
    set_index(store, {"mediaType": "application/vnd.docker.distribution.manifest.v1+json", **old})
    assert 0 == ocitool("layout", "gc", store).code
    assert {old["digest"], sha256(app("a").layers[1])} == blobs(store)


def test_gc_of_a_partial_index_frees_what_nothing_names_and_says_what_is_not_here(ocitool: Run, partial: Path) -> None:
    report = report_of(ocitool("layout", "gc", partial, "--format", "json"))
    assert {sha256(app("a").layers[0]), sha256(app("a").layers[1])} <= blobs(partial)
    assert sha256(app("b").layers[1]) not in blobs(partial)
    assert [f"linux/arm64 {sha256(b'not here')}" in one["text"] for one in report["notices"]] == [True]


def test_gc_of_an_image_without_its_configuration_keeps_its_layers(ocitool: Run, store: Path) -> None:
    path_of(store, sha256(app("a").config)).unlink()
    before = blobs(store)
    assert (0, before) == (ocitool("layout", "gc", store).code, blobs(store))


def test_gc_refuses_if_a_nested_index_is_damaged(ocitool: Run, partial: Path) -> None:
    digest = json.loads((partial / "index.json").read_bytes())["manifests"][0]["digest"]
    set_index(partial, {"mediaType": mediatypes.OCI_INDEX, **put(partial, pretty(index_of([
        {"mediaType": mediatypes.OCI_INDEX, "digest": digest, "size": path_of(partial, digest).stat().st_size}
    ])))})  # fmt: skip
    path_of(partial, digest).write_bytes(b"{}")
    before = blobs(partial)
    assert (5, before) == (ocitool("layout", "gc", partial).code, blobs(partial))


def test_gc_says_nothing_of_a_subject_that_is_elsewhere(ocitool: Run, store: Path) -> None:
    signature = {"schemaVersion": 2, "config": put(store, b"{}"), "layers": [], "subject": descriptor(b"elsewhere")}
    set_index(store, app("a").descriptor, {"mediaType": mediatypes.OCI_MANIFEST, **put(store, pretty(signature))})
    assert [] == notices(report_of(ocitool("layout", "gc", store, "--format", "json")))


def test_rm_of_an_entry_that_is_not_here_lets_gc_go_on_and_says_what_it_frees(ocitool: Run, store: Path) -> None:
    path_of(store, app("a").digest).unlink()
    said = report_of(ocitool("layout", "rm", store, f"@{app('a').digest}", "--format", "json"))["bytes"]["freeable"]
    freed = report_of(ocitool("layout", "gc", store, "--format", "json"))["bytes"]["freed"]
    assert len(app("a").layers[1]) + len(app("a").config) == freed == said


def test_rm_says_that_gc_would_refuse_if_another_entry_is_not_here(ocitool: Run, store: Path) -> None:
    path_of(store, app("b").digest).unlink()
    report = report_of(ocitool("layout", "rm", store, "a", "--format", "json"))
    assert (None, ["unknown"]) == (report["bytes"]["freeable"], notices(report))


@pytest.mark.parametrize("lost", [app("a").digest, sha256(app("a").config), sha256(app("a").layers[1])])
def test_normalize_names_what_an_image_needs_and_is_not_here(lost: str, ocitool: Run, store: Path) -> None:
    path_of(store, lost).unlink()
    result = ocitool("layout", "normalize", store)
    assert 1 == result.code
    assert f"error missing-blob: manifest {app('a').digest}: the blob {lost} is not here" in result.out


def test_normalize_warns_of_platforms_that_are_not_here(ocitool: Run, partial: Path) -> None:
    result = ocitool("layout", "normalize", partial)
    assert 0 == result.code
    assert f"warning missing-platform: manifest {sha256(b'not here')}" in result.out


def test_normalize_says_nothing_of_an_entry_of_unknown_type_that_is_here(ocitool: Run, store: Path) -> None:
    set_index(store, app("b").descriptor, {"mediaType": "application/x.odd", **put(store, b'{"x":1}')})
    assert "nothing wrong" in ocitool("layout", "normalize", store).out


def test_link_says_which_entries_are_not_here(ocitool: Run, store: Path, tmp_path: Path) -> None:
    other = write_layout(tmp_path / "other", [app("a")])
    path_of(store, app("b").digest).unlink()
    report = report_of(ocitool("layout", "link", store, other, "--format", "json"))
    assert ["missing"] == notices(report)
    assert app("b").digest in report["notices"][0]["text"]


def listed_in_an_index(store: Path, *children: Any) -> None:
    set_index(store, {"mediaType": mediatypes.OCI_INDEX, **put(store, pretty(index_of([app("a").descriptor, *children])))})


@pytest.mark.parametrize("media_type", [mediatypes.OCI_MANIFEST, "application/x.unknown", None])
def test_gc_says_which_manifests_of_any_type_an_index_lists_and_are_not_here(
    media_type: str | None, ocitool: Run, store: Path
) -> None:
    child = {**descriptor(b"not here"), "mediaType": media_type}
    listed_in_an_index(store, {key: value for key, value in child.items() if value is not None})
    report = report_of(ocitool("layout", "gc", store, "--format", "json"))
    assert ["absent"] == notices(report)


@pytest.mark.parametrize("media_type", [mediatypes.OCI_MANIFEST, mediatypes.OCI_INDEX, mediatypes.DOCKER_MANIFEST])
def test_gc_says_which_manifests_a_document_of_unknown_type_names_and_are_not_here(
    media_type: str, ocitool: Run, store: Path
) -> None:
    named = pretty({"bundle": [{"image": {**descriptor(b"not here"), "mediaType": media_type}}]})
    set_index(store, {"mediaType": "application/x.bundle", **put(store, named)})
    report = report_of(ocitool("layout", "gc", store, "--format", "json"))
    assert ["absent"] == notices(report)
    assert descriptor(b"not here")["digest"] in report["notices"][0]["text"]


@pytest.mark.parametrize("damage", [b"", bytes(100), b"garbage"])
@pytest.mark.parametrize("media_type", ["application/x.unknown", None])
def test_gc_refuses_if_what_an_index_lists_is_damaged_whatever_its_type(
    media_type: str | None, damage: bytes, ocitool: Run, store: Path
) -> None:
    child = {**app("b").descriptor, "mediaType": media_type}
    listed_in_an_index(store, {key: value for key, value in child.items() if value is not None})
    path_of(store, app("b").digest).write_bytes(damage)
    before = blobs(store)
    assert (5, before) == (ocitool("layout", "gc", store).code, blobs(store))


@pytest.mark.parametrize("digest", [None, "sha256:", "SHA256:" + "0" * 64, 7])
def test_gc_refuses_a_nested_index_of_which_an_entry_has_no_sound_digest(digest: Any, ocitool: Run, store: Path) -> None:
    listed_in_an_index(store, {**app("b").descriptor, "digest": digest})
    before = blobs(store)
    result = ocitool("layout", "gc", store)
    assert (4, before) == (result.code, blobs(store))
    assert "manifests[1].digest" in result.err


def test_gc_refuses_a_manifest_of_which_a_layer_has_no_sound_digest(ocitool: Run, store: Path) -> None:
    manifest = app("b").manifest
    manifest["layers"][1] = {**manifest["layers"][1], "digest": manifest["layers"][1]["digest"].upper()}
    set_index(store, {"mediaType": mediatypes.OCI_MANIFEST, **put(store, pretty(manifest))})
    before = blobs(store)
    result = ocitool("layout", "gc", store)
    assert (4, before) == (result.code, blobs(store))
    assert "layers[1].digest" in result.err


def test_normalize_names_an_entry_of_a_nested_index_without_a_sound_digest(ocitool: Run, store: Path) -> None:
    listed_in_an_index(store, {**app("b").descriptor, "digest": "sha256:"})
    report = report_of(ocitool("layout", "normalize", store, "--format", "json"), 1)
    assert ["document"] == [one["rule"] for one in report["findings"]]


@pytest.mark.parametrize(("words", "said"), [((), True), (("--verify",), False)])
def test_normalize_says_that_blobs_were_not_hashed(words: tuple[str, ...], said: bool, ocitool: Run, store: Path) -> None:
    assert said == ("not hashed" in ocitool("layout", "normalize", store, *words).out)


# A damaged oci-layout


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"imageLayoutVersion": 1}'])
@pytest.mark.parametrize("command", ["copy", "layout normalize"])
def test_a_damaged_layout_file_is_written_anew(command: str, content: bytes, ocitool: Run, store: Path, tmp_path: Path) -> None:
    (store / "oci-layout").write_bytes(content)
    more = write_layout(tmp_path / "more", [app("b")])
    words = ["copy", f"{more}:b", f"{store}/"] if command == "copy" else [*command.split(), str(store)]
    assert ocitool(*words).code == 0
    assert json.loads((store / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    assert ocitool("validate", str(store)).code == 0


def test_a_layout_file_of_another_version_is_left_as_it_is(ocitool: Run, store: Path, tmp_path: Path) -> None:
    (store / "oci-layout").write_bytes(b'{"imageLayoutVersion": "1.1.0"}')
    ocitool("copy", f"{write_layout(tmp_path / 'more', [app('b')])}:b", f"{store}/")
    assert (store / "oci-layout").read_bytes() == b'{"imageLayoutVersion": "1.1.0"}'
