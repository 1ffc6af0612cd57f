"""The laws of `ocitool dedupe`: what it counts is what is there, what it says deleting frees is what deleting frees, and what
cannot be read is named and changes no other number."""

from __future__ import annotations

import base64
import bz2
import gzip
import hashlib
import io
import json
import lzma
import os
import posixpath
import random
import shutil
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from support.copying import AMD, ARM
from support.images import (
    Image,
    gz,
    image,
    index_of,
    layer_tar,
    layout_files,
    pretty,
    sha256,
    write_docker_archive,
    write_files,
    write_layout,
    write_oci_archive,
    write_tar,
    zst,
)
from support.report import done

from ocitool.report.escape import human
from ocitool.spec import mediatypes

Run = Callable[..., Any]
REF = "org.opencontainers.image.ref.name"
EMPTY = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": sha256(b"{}"), "size": 2}
BASE = layer_tar([("bin/", None), ("bin/sh", b"sh" * 900), ("bin/ash", "hard:bin/sh"), ("etc/motd", b"hello")])
MIDDLE = layer_tar([("etc/motd", b"hello"), ("etc/.wh.old", b""), ("usr/lib", random.Random(1).randbytes(3000))])
TOP = {name: layer_tar([("app", name.encode() * 1500), ("etc/motd", b"hello")]) for name in "abcd"}
TARS = [BASE, MIDDLE, *TOP.values()]
few = settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def app(name: str, **more: Any) -> Image:
    return image([BASE, MIDDLE, TOP[name]], tag=name, **more)


def report_on(run: Run, *words: Any, code: int = 0, **how: Any) -> Any:
    """The JSON report of a run that ended with this code."""
    return done(lambda *all_of_them: run(*all_of_them, **how), "dedupe", *map(str, words), code=code)


def ended(code: int, result: Any) -> Any:
    assert code == result.code, str(result)
    return result


def blob_of(store: Path, digest: str) -> Path:
    return store / "blobs" / digest.replace(":", "/")


def entry_of(document: bytes, kind: str = mediatypes.OCI_INDEX, **more: Any) -> dict[str, Any]:
    return {"mediaType": kind, "digest": sha256(document), "size": len(document), **more}


def named(descriptor: dict[str, Any], tag: str) -> dict[str, Any]:
    return {**descriptor, "annotations": {REF: tag}}


def attestation(of: Image, statement: bytes = b"statement") -> Image:
    about = {"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": of.digest}
    made = image([statement], codec="none", config=b'{"of":"%s"}' % of.digest.encode(), annotations=about,
                 platform={"os": "unknown", "architecture": "unknown"})  # fmt: skip
    made.manifest["layers"][0]["mediaType"] = "application/vnd.in-toto+json"
    return made


def artifact(tag: str | None, *, subject: Image | None = None, content: bytes = b"signature") -> Image:
    made = image([content], codec="none", config=b"{}", tag=tag)
    made.manifest |= {"artifactType": "application/x.sig", "config": EMPTY}
    made.manifest["layers"][0]["mediaType"] = "application/x.sig"
    if subject is not None:
        made.manifest["subject"] = {key: subject.descriptor[key] for key in ("mediaType", "digest", "size")}
    return made


def with_index(path: Path, inner: Sequence[Image], tag: str, *others: Image) -> Path:
    """A layout of an index of these images, beside others that stand for themselves."""
    raw = pretty(index_of([one.descriptor for one in inner]))
    top = index_of([named(entry_of(raw), tag), *(one.descriptor for one in others)])
    return write_files(write_layout(path, [*inner, *others], index=top), {f"blobs/sha256/{sha256(raw)[7:]}": raw})


# An independent count


class Made(NamedTuple):
    """An image by the documents that name it: `key` tells whether it is the same as another one; `blobs`: what it is made of,
    as often as it is named, with sizes; `layers`: which of them are layers; `stored`: the bytes of those that hold files."""

    key: str
    blobs: list[tuple[str, int]]
    layers: list[str]
    stored: dict[str, bytes]


def unpacked(data: bytes) -> bytes:
    if data.startswith(b"\x28\xb5\x2f\xfd"):
        return zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data), read_across_frames=True).read()
    for head, decompress in ((b"\x1f\x8b", gzip.decompress), (b"\xfd7zXZ", lzma.decompress), (b"BZh", bz2.decompress)):
        if data.startswith(head):
            return decompress(data)
    return data


def files_of(place: Path) -> dict[str, bytes]:
    if place.is_dir():
        return {str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*") if path.is_file()}
    with tarfile.open(fileobj=io.BytesIO(unpacked(place.read_bytes()))) as tar:
        found = {}
        for member in tar.getmembers():
            try:
                file = tar.extractfile(member)
            except KeyError:
                continue
            if file is not None:
                found[posixpath.normpath(member.name)] = file.read()
        return found


def made_in(place: Path, config: bytes = b"") -> Iterator[Made]:
    """The images of a layout or archive. `config`: of an archive that has none."""
    files = files_of(place)
    if "index.json" in files:
        yield from _of_layout(files)
    elif "manifest.json" in files:
        yield from _of_records(files)
    else:
        yield _of_version_1(files, config)


def _blob(files: dict[str, bytes], descriptor: dict[str, Any]) -> bytes | None:
    data = files.get("blobs/" + descriptor["digest"].replace(":", "/"))
    return base64.b64decode(descriptor["data"]) if data is None and "data" in descriptor else data


def _sized(files: dict[str, bytes], descriptor: dict[str, Any]) -> tuple[str, int]:
    return descriptor["digest"], len(files.get("blobs/" + descriptor["digest"].replace(":", "/"), b""))


def _of_layout(files: dict[str, bytes]) -> Iterator[Made]:
    entries = json.loads(files["index.json"])["manifests"]
    for top in {entry["digest"]: entry for entry in entries}.values():
        blobs: list[tuple[str, int]] = []
        layers: list[str] = []
        stored: dict[str, bytes] = {}
        beside: dict[str, int] = {}
        documents: dict[str, bytes] = {}
        waiting = [top]
        while waiting:
            entry = waiting.pop()
            raw = _blob(files, entry)
            if raw is None or entry["digest"] in documents:
                continue
            documents[entry["digest"]] = raw
            document = json.loads(raw)
            waiting += document.get("manifests", [])
            parts = [] if "manifests" in document else [document["config"], *document["layers"]]
            if not parts or "vnd.docker.reference.type" in entry.get("annotations", {}):
                beside |= dict(_sized(files, one) for one in [entry, *parts])
                continue
            blobs += [_sized(files, one) for one in [entry, *parts]]
            layers += [one["digest"] for one in parts[1:]]
            if parts[0]["mediaType"] in mediatypes.CONFIGS:
                stored |= {one["digest"]: data for one in parts[1:] if (data := _blob(files, one)) is not None}
        known = dict(blobs)
        yield Made(top["digest"], [*blobs, *((k, size) for k, size in beside.items() if k not in known)], layers, stored)


def _of_records(files: dict[str, bytes]) -> Iterator[Made]:
    for record in ({key.lower(): value for key, value in one.items()} for one in json.loads(files["manifest.json"])):
        config = files[posixpath.normpath(record["config"])]
        data = [files[posixpath.normpath(path)] for path in record["layers"]]
        diff_ids = json.loads(config)["rootfs"]["diff_ids"]
        keys = [key if sha256(one) == key else f"{key} in {len(one)}" for key, one in zip(diff_ids, data, strict=True)]
        blobs = [(sha256(config), len(config)), *((key, len(one)) for key, one in zip(keys, data, strict=True))]
        yield Made(f"{sha256(config)} {keys}", blobs, keys, dict(zip(keys, data, strict=True)))


def _of_version_1(files: dict[str, bytes], config: bytes) -> Made:
    ((tags,),) = (list(json.loads(files["repositories"]).values()),)
    (top,) = set(tags.values())
    data = []
    image_id: str | None = top
    while image_id:
        data.append(files[f"{image_id}/layer.tar"])
        image_id = json.loads(files[f"{image_id}/json"]).get("parent")
    keys = [sha256(one) for one in data]  # nothing states them: their bytes say what they are
    blobs = [(sha256(config), len(config)), *((key, len(one)) for key, one in zip(keys, data, strict=True))]
    return Made(top, blobs, keys, dict(zip(keys, data, strict=True)))


def counted(images: Iterable[Made]) -> dict[str, Any]:
    """What the report should say of these images, the same one counted once."""
    once: dict[str, Made] = {}
    made = [once.setdefault(one.key, one) for one in images if one.key not in once]
    sizes: dict[str, int] = {}
    for key, size in (blob for one in made for blob in one.blobs):
        sizes[key] = sizes.get(key) or size
    users = Counter(key for one in made for key in dict(one.blobs))
    references = [key for one in made for key in one.layers]
    referenced = sum(sizes[key] for one in made for key, _ in one.blobs)
    stored = {key: data for one in reversed(made) for key, data in one.stored.items()}
    files = [content for data in stored.values() for content in regular(unpacked(data))]
    distinct = {hashlib.sha256(content).digest(): len(content) for content in files}
    return {
        "layers": {"references": len(references), "unique": len(set(references))},
        "bytes": {"referenced": referenced, "unique": sum(sizes.values()), "saved": referenced - sum(sizes.values())},
        "images": [
            tuple(sum(sizes[key] for key in dict(one.blobs) if (users[key] == 1) == own) for own in (True, False))
            for one in made
        ],
        "files": {
            "references": len(files), "unique": len(distinct), "bytes": sum(map(len, files)),
            "uniqueBytes": sum(distinct.values()),
        },
    }  # fmt: skip


def regular(tar: bytes) -> Iterator[bytes]:
    """Contents of the regular files of a layer: of links none, nor of markers."""
    padded = tar + bytes(-len(tar) % 512 + 1024)  # an end that umoci leaves out
    with tarfile.open(fileobj=io.BytesIO(padded)) as members:
        for member in members:
            if member.isreg() and not posixpath.basename(member.name).startswith(".wh."):
                file = members.extractfile(member)
                assert file is not None
                yield file.read()


def as_one_layout(report: Any) -> Any:
    """The bytes that do not depend on where the images are."""
    return {name: report["bytes"][name] for name in ("referenced", "unique", "saved")}


def sums(report: Any) -> dict[str, Any]:
    """The same of a report."""
    files = report["files"] and {key: value for key, value in report["files"].items() if key != "top"}
    images = [(one["own"], one["shared"]) for one in report["images"]]
    return {"layers": report["layers"], "bytes": as_one_layout(report), "images": images, "files": files}


@st.composite
def collections(draw: st.DrawFn) -> list[tuple[str, list[Image]]]:
    """Images of few layers, so that they share, at several places."""
    places = []
    for number, kind in enumerate(draw(st.lists(st.sampled_from(["layout", "oci.tar", "docker.tar"]), min_size=1, max_size=3))):
        images = []
        for position in range(draw(st.integers(1, 3))):
            tars = draw(st.lists(st.sampled_from(TARS), max_size=4))
            codec = "none" if kind == "docker.tar" else draw(st.sampled_from(["none", "gzip", "zstd"]))
            author = draw(st.sampled_from(["me", "you"]))
            images.append(image(tars, tag=f"app:{position}", codec=codec, author=author))
        places.append((f"{number}-{kind}", images))
    return places


def written(where: Path, places: Sequence[tuple[str, list[Image]]]) -> list[Path]:
    shutil.rmtree(where, ignore_errors=True)
    where.mkdir()
    for name, images in places:
        if name.endswith("layout"):
            write_layout(where / name, images)
        elif name.endswith("oci.tar"):
            write_oci_archive(where / name, images)
        else:
            write_docker_archive(where / name, images)
    return [where / name for name, _ in places]


@few
@given(places=collections())
def test_every_sum_is_that_of_an_independent_count(ocitool: Run, tmp_path: Path, places: Any) -> None:
    paths = written(tmp_path / "places", places)
    expected = counted(one for path in paths for one in made_in(path))
    assert expected == sums(report_on(ocitool, "--files", *paths))


def real(testdata: Path) -> list[Path]:
    archives = [path for path in sorted(testdata.rglob("*")) if ".tar" in path.name]
    return [*archives, testdata / "encodings/oci", testdata / "multiarch"]


def test_every_sum_of_all_real_images_is_that_of_an_independent_count(ocitool: Run, testdata: Path) -> None:
    config = ocitool("inspect", "--raw", "config", testdata / "encodings/docker-1.tar").stdout
    paths = real(testdata)
    expected = counted(one for path in paths for one in made_in(path, config))
    assert expected == sums(report_on(ocitool, "--files", *paths))


def test_the_sums_of_each_real_image_alone_are_those_of_an_independent_count(ocitool: Run, testdata: Path) -> None:
    config = ocitool("inspect", "--raw", "config", testdata / "encodings/docker-1.tar").stdout
    for path in [testdata / "multiarch", *sorted(testdata.glob("encodings/[jmk]*.tar")), testdata / "encodings/docker-1.tar"]:
        assert counted(made_in(path, config)) == sums(report_on(ocitool, "--files", path)), path


def test_a_configuration_is_no_layer_though_a_layer_is_the_same_blob(ocitool: Run, tmp_path: Path) -> None:
    store = write_layout(tmp_path / "s", [artifact("a", content=b"{}")])
    assert {"references": 1, "unique": 1} == report_on(ocitool, store)["layers"]


def test_what_an_artifact_keeps_is_no_negative_saving(ocitool: Run, tmp_path: Path) -> None:
    made = [app("a"), artifact("sig", subject=app("a"))]
    report = report_on(ocitool, write_layout(tmp_path / "s", made, index=index_of([made[1].descriptor])))
    assert 0 == report["bytes"]["saved"] == report["bytes"]["referenced"] - report["bytes"]["unique"]


@pytest.mark.parametrize("other", ["docker-1.2.tar", "oci-gzip.tar", "docker-25.tar", "kaniko.tar"])
def test_the_order_of_images_changes_no_sum(ocitool: Run, testdata: Path, other: str) -> None:
    pair = [testdata / "encodings" / name for name in ("jib.tar", other)]
    assert report_on(ocitool, *pair)["bytes"] == report_on(ocitool, *reversed(pair))["bytes"]


def test_files_change_no_other_sum(ocitool: Run, testdata: Path) -> None:
    without, deep = (sums(report_on(ocitool, testdata, *words)) for words in ((), ("--files",)))
    assert {**without, "files": None} == {**deep, "files": None}


def test_a_file_that_repeats_is_named_with_its_places(ocitool: Run, tmp_path: Path) -> None:
    store = write_layout(tmp_path / "s", [app("a"), app("b")])
    found = {one["digest"]: one for one in report_on(ocitool, store, "--files")["files"]["top"]}[sha256(b"hello")]
    layers = {one["digest"] for made in (app("a"), app("b")) for one in made.manifest["layers"]}
    assert (5, 4, 15) == (found["size"], found["count"], found["saves"])
    assert {(layer, "/etc/motd") for layer in layers} == {(spot["layer"], spot["path"]) for spot in found["places"]}


def test_top_is_how_many_files_are_named(ocitool: Run, tmp_path: Path) -> None:
    store = write_layout(tmp_path / "s", [image([layer_tar([(f"{n}{m}", b"%d" % n * 9) for n in range(5) for m in "ab"])])])
    counts = [len(report_on(ocitool, store, "--files", "--top", top)["files"]["top"]) for top in (0, 3, 99)]
    assert [0, 3, 5] == counts


def test_shared_layers_are_those_of_several_images_and_what_saves_most_is_first(ocitool: Run, tmp_path: Path) -> None:
    made = [app("a"), app("b"), image([BASE], tag="c")]
    report = report_on(ocitool, write_layout(tmp_path / "s", made))
    base, middle = made[0].manifest["layers"][:2]
    expected = {base["digest"]: (base["size"], 2 * base["size"], 3), middle["digest"]: (middle["size"], middle["size"], 2)}
    found = {one["digest"]: (one["size"], one["saved"], len(one["images"])) for one in report["sharedLayers"]}
    assert expected == found
    saved = [one["saved"] for one in report["sharedLayers"]]
    assert sorted(saved, reverse=True) == saved
    assert {sha256(BASE), sha256(MIDDLE)} == {one["diffId"] for one in report["sharedLayers"]}
    assert {"RUN step 0", "RUN step 1"} == {one["createdBy"] for one in report["sharedLayers"]}


# What deleting frees


def freed(run: Run, store: Path, digest: str) -> int:
    """Bytes that a copy of the layout loses with this image."""
    copied = store.parent / "copied"
    shutil.copytree(store, copied)
    ended(0, run("layout", "rm", copied, f"@{digest}"))
    bytes_ = done(run, "layout", "gc", str(copied))["bytes"]
    shutil.rmtree(copied)
    return int(bytes_["freed"])


def frees_what_it_says(run: Run, store: Path) -> None:
    assert 0 == done(run, "layout", "gc", "--dry-run", str(store))["bytes"]["freed"]
    images = report_on(run, store)["images"]
    expected = {one["reference"]: freed(run, store, one["digest"]) for one in images}
    assert expected == {one["reference"]: one["marginal"] for one in images}


def test_marginal_is_what_deleting_frees_where_layers_are_shared(ocitool: Run, tmp_path: Path) -> None:
    frees_what_it_says(ocitool, write_layout(tmp_path / "s", [app("a"), app("b"), image([BASE, TOP["c"]], tag="c")]))


def test_marginal_is_what_deleting_all_tags_of_an_image_frees(ocitool: Run, tmp_path: Path) -> None:
    one, other = app("a"), app("b")
    entries = [one.descriptor, named(one.descriptor, "latest"), other.descriptor]
    frees_what_it_says(ocitool, write_layout(tmp_path / "s", [one, other], index=index_of(entries)))


def test_marginal_is_what_deleting_frees_of_an_index_beside_the_tag_of_its_platform(ocitool: Run, tmp_path: Path) -> None:
    amd, arm = app("a", platform=AMD), image([TOP["b"]], platform=ARM, architecture="arm64")
    frees_what_it_says(ocitool, with_index(tmp_path / "s", [amd, arm], "multi", amd, image([BASE], tag="base")))


def test_marginal_is_what_deleting_frees_of_an_index_with_attestations(ocitool: Run, tmp_path: Path) -> None:
    amd, arm = app("a", platform=AMD), image([TOP["b"]], platform=ARM, architecture="arm64")
    inner = [amd, arm, attestation(amd), attestation(arm, b"another")]
    frees_what_it_says(ocitool, with_index(tmp_path / "s", inner, "multi", app("c")))


def test_marginal_is_what_deleting_frees_of_an_image_that_an_artifact_speaks_of(ocitool: Run, tmp_path: Path) -> None:
    sig = artifact("sig", subject=app("a"))
    store = write_layout(tmp_path / "s", [app("a"), app("b"), sig])
    by_digest = {one["digest"]: one for one in report_on(ocitool, store)["images"]}
    assert (0, "artifact") == (by_digest[app("a").digest]["marginal"], by_digest[sig.digest]["kind"])
    assert freed(ocitool, store, app("a").digest) == by_digest[app("a").digest]["marginal"]


def test_marginal_is_what_deleting_frees_of_an_artifact_whose_image_stays(ocitool: Run, tmp_path: Path) -> None:
    frees_what_it_says(ocitool, write_layout(tmp_path / "s", [app("a"), app("b"), artifact("sig", subject=app("a"))]))


def test_marginal_is_what_deleting_frees_of_an_artifact_that_alone_keeps_an_image(ocitool: Run, tmp_path: Path) -> None:
    made = [app("a"), app("b"), artifact("sig", subject=app("a"))]
    index = index_of([made[1].descriptor, made[2].descriptor])
    frees_what_it_says(ocitool, write_layout(tmp_path / "s", made, index=index))


def test_marginal_is_what_deleting_frees_where_content_is_embedded(ocitool: Run, tmp_path: Path) -> None:
    made = artifact("note")
    made.manifest["layers"][0]["data"] = base64.b64encode(made.layers[0]).decode()
    store = write_layout(tmp_path / "s", [made, app("a")])
    blob_of(store, sha256(made.layers[0])).unlink()
    frees_what_it_says(ocitool, store)


def test_marginal_is_what_deleting_frees_of_real_images(ocitool: Run, testdata: Path, tmp_path: Path) -> None:
    frees_what_it_says(ocitool, Path(shutil.copytree(testdata / "multiarch", tmp_path / "multiarch")))


@few
@given(stacks=st.lists(st.lists(st.sampled_from(TARS), max_size=4), min_size=2, max_size=4))
def test_marginal_is_own_where_nothing_speaks_of_anything(ocitool: Run, tmp_path: Path, stacks: Any) -> None:
    shutil.rmtree(tmp_path / "s", ignore_errors=True)
    store = write_layout(tmp_path / "s", [image(tars, tag=f"{n}") for n, tars in enumerate(stacks)])
    images = report_on(ocitool, store)["images"]
    assert [one["own"] for one in images] == [one["marginal"] for one in images]
    assert images[0]["marginal"] == freed(ocitool, store, images[0]["digest"])


# The same image


def counted_once(run: Run, *words: Any, **how: Any) -> Any:
    """The report of one image that stands under these words, which say so."""
    result = ended(0, run("dedupe", *words, "--format", "json", **how))
    report = report_on(run, *words, **how)
    (notice,) = (one["text"] for one in report["notices"] if one["code"] == "twice")
    assert "counted once" in notice
    assert notice in result.err
    (only,) = report["images"]
    assert ((only["own"], 0), 0) == ((report["bytes"]["unique"], only["shared"]), report["bytes"]["saved"])
    return report


def test_tags_of_one_manifest_are_one_image(ocitool: Run, tmp_path: Path) -> None:
    entries = [named(app("a").descriptor, tag) for tag in ("a", "b", "c")]
    store = write_layout(tmp_path / "s", [app("a")], index=index_of(entries))
    report = report_on(ocitool, store)
    assert [(f"{store}:a", [])] == [(one["reference"], one["also"]) for one in report["images"]]
    assert {"references": 3, "unique": 3} == report["layers"]
    assert [] == report["notices"]


def test_tags_of_one_docker_image_are_one_image(ocitool: Run, testdata: Path) -> None:
    assert 4 == len(report_on(ocitool, testdata / "encodings/multi.tar")["images"])


def test_platforms_of_one_tag_are_one_image(ocitool: Run, tmp_path: Path) -> None:
    made = [app("a", platform=AMD), app("b", platform=ARM, architecture="arm64")]
    entries = [{**named(one.descriptor, "x"), "platform": one.platform} for one in made]
    store = write_layout(tmp_path / "s", made, index=index_of(entries))
    (only,) = report_on(ocitool, store)["images"]
    assert ("index", ["linux/amd64", "linux/arm64"], 6) == (only["kind"], only["platforms"], only["layers"])


def test_a_word_that_stands_twice_is_one(ocitool: Run, tmp_path: Path) -> None:
    store = write_layout(tmp_path / "s", [app("a")])
    assert [str(store)] == counted_once(ocitool, store, store)["references"]


@pytest.mark.parametrize("link", [os.link, os.symlink])
def test_a_file_of_two_names_is_one(ocitool: Run, tmp_path: Path, link: Callable[[Path, Path], None]) -> None:
    archive = write_oci_archive(tmp_path / "a.tar", [app("a")])
    link(archive, tmp_path / "b.tar")
    counted_once(ocitool, archive, tmp_path / "b.tar")


def test_a_layout_of_two_names_is_one(ocitool: Run, tmp_path: Path) -> None:
    write_layout(tmp_path / "s", [app("a")])
    (tmp_path / "t").symlink_to("s")
    counted_once(ocitool, tmp_path / "s", tmp_path / "t")


def test_a_file_below_two_directories_is_one(ocitool: Run, tmp_path: Path) -> None:
    archive = write_oci_archive(tmp_path / "a.tar", [app("a")])
    counted_once(ocitool, tmp_path, archive)


@pytest.mark.parametrize("write", [write_layout, write_oci_archive])
def test_an_image_at_two_places_is_one_and_both_are_named(ocitool: Run, tmp_path: Path, write: Any) -> None:
    store, other = write_layout(tmp_path / "s", [app("a")]), write(tmp_path / "t", [app("a")])
    (only,) = counted_once(ocitool, store, other)["images"]
    (again,) = only["also"]
    assert (f"{store}:a", str(other)) == (only["reference"], again.removesuffix(":a"))


def test_a_layout_and_one_of_its_tags_are_one(ocitool: Run, tmp_path: Path) -> None:
    store = write_layout(tmp_path / "s", [app("a")])
    counted_once(ocitool, store, f"{store}:a")
    counted_once(ocitool, f"{store}:a", store)


def test_a_docker_image_at_two_places_is_one(ocitool: Run, tmp_path: Path) -> None:
    one, other = (write_docker_archive(tmp_path / name, [app("a", codec="none")]) for name in ("a.tar", "b.tar"))
    (only,) = counted_once(ocitool, one, other)["images"]
    assert [str(other)] == only["also"]


def test_many_that_are_listed_twice_are_all_counted_once(ocitool: Run, tmp_path: Path) -> None:
    made = [image([BASE], tag=f"t{n}", author=str(n)) for n in range(30)]
    report = report_on(ocitool, write_layout(tmp_path / "s", made), write_oci_archive(tmp_path / "a.tar", made))
    assert (30, 30) == (len(report["images"]), sum(len(one["also"]) for one in report["images"]))
    assert "more images are listed already, and counted once" in report["notices"][-1]["text"]


# Directories, archives, standard input

COMPRESSED = {".tar.gz": gz, ".tar.zst": zst, ".tar.xz": lzma.compress, ".tar.bz2": bz2.compress}


def test_directories_are_walked_to_the_bottom(ocitool: Run, tmp_path: Path) -> None:
    top = tmp_path / "images"
    (top / "one/two/three").mkdir(parents=True)
    paths = [write_layout(top / "one/store", [app("a")]), write_oci_archive(top / "one/two/three/b.tar", [app("b")]),
             write_docker_archive(top / "odd name", [app("c", codec="none")])]  # fmt: skip
    report = report_on(ocitool, top, "--files")
    turned = report_on(ocitool, *sorted(paths, key=lambda path: path.name != "store"), "--files")
    assert as_one_layout(turned) == as_one_layout(report)
    assert {f"{paths[0]}:a", str(paths[1]), str(paths[2])} == {one["reference"] for one in report["images"]}


def test_what_is_no_image_is_passed_over_and_said(ocitool: Run, tmp_path: Path) -> None:
    write_oci_archive(tmp_path / "a.tar", [app("a")])
    write_files(tmp_path, {"note.txt": b"text", "deep/er/data.bin": b"\0" * 600, "empty": b""})
    write_tar(tmp_path / "source.tar", {"main.c": b"int main"})
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "dangling.tar").symlink_to("nowhere")
    report = report_on(ocitool, tmp_path)
    assert [str(tmp_path / "a.tar")] == [one["reference"] for one in report["images"]]
    (notice,) = report["notices"]
    assert ("passed-over", True) == (notice["code"], "6 files without an image" in notice["text"])


@pytest.mark.parametrize("codec", COMPRESSED)
def test_what_is_compressed_and_no_archive_is_passed_over_too(ocitool: Run, tmp_path: Path, codec: str) -> None:
    write_oci_archive(tmp_path / "a.tar", [app("a")])
    write_files(tmp_path, {"log": COMPRESSED[codec](b"lines\n" * 500), "note": COMPRESSED[codec](b"short")})
    assert ["passed-over"] == [notice["code"] for notice in report_on(ocitool, tmp_path)["notices"]]


def test_garbage_that_says_it_is_an_archive_is_a_problem(ocitool: Run, tmp_path: Path) -> None:
    write_oci_archive(tmp_path / "a.tar", [app("a")])
    write_files(tmp_path, {"x.tar": b"garbage" * 300})
    report = report_on(ocitool, tmp_path, code=1)
    assert [(str(tmp_path / "x.tar"), 4)] == [(one["where"], one["exitCode"]) for one in report["problems"]]
    assert [str(tmp_path / "a.tar")] == [one["reference"] for one in report["images"]]


def test_links_to_directories_are_not_followed(ocitool: Run, tmp_path: Path) -> None:
    top, elsewhere = tmp_path / "top", tmp_path / "elsewhere"
    for path in (top, elsewhere):
        path.mkdir()
    write_oci_archive(top / "a.tar", [app("a")])
    write_oci_archive(elsewhere / "b.tar", [app("b")])
    write_layout(elsewhere / "store", [app("c")])
    for name, target in (("up", ".."), ("self", "."), ("there", elsewhere), ("store", elsewhere / "store")):
        (top / name).symlink_to(target)
    assert [str(top / "a.tar")] == [one["reference"] for one in report_on(ocitool, top)["images"]]


def test_a_directory_without_an_image_is_3(ocitool: Run, tmp_path: Path) -> None:
    write_files(tmp_path, {"note.txt": b"text"})
    result = ended(3, ocitool("dedupe", tmp_path, "--format", "json"))
    assert ("", True) == (result.out, "no image" in result.err)


@pytest.mark.parametrize("write", [write_oci_archive, write_docker_archive])
@pytest.mark.parametrize("ending", COMPRESSED)
def test_a_compressed_archive_counts_as_what_is_in_it(ocitool: Run, tmp_path: Path, ending: str, write: Any) -> None:
    plain = write(tmp_path / "a.tar", [app("a", codec="none"), app("b", codec="none")])
    packed = tmp_path / f"b{ending}"
    packed.write_bytes(COMPRESSED[ending](plain.read_bytes()))
    for words in ((), ("--files",)):
        assert sums(report_on(ocitool, plain, *words)) == sums(report_on(ocitool, packed, *words))


@pytest.mark.parametrize("pack", [bytes, gz])
def test_standard_input_counts(ocitool: Run, tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    archive = write_oci_archive(tmp_path / "a.tar", [app("a"), app("b")])
    for words in ((), ("--files",)):
        assert sums(report_on(ocitool, archive, *words)) == sums(
            report_on(ocitool, "-", *words, stdin=pack(archive.read_bytes()))
        )


def test_standard_input_counts_beside_others(ocitool: Run, tmp_path: Path) -> None:
    archive, store = write_oci_archive(tmp_path / "a.tar", [app("a")]), write_layout(tmp_path / "s", [app("b")])
    expected = sums(report_on(ocitool, store, archive, "--files"))
    assert expected == sums(report_on(ocitool, store, "-", "--files", stdin=archive.read_bytes()))


def test_standard_input_twice_is_2(ocitool: Run) -> None:
    ended(2, ocitool("dedupe", "-", "-"))


# Bases


def chain(diff_ids: Sequence[str]) -> str:
    """config.md, "Layer ChainID"."""
    if len(diff_ids) == 1:
        return diff_ids[0]
    return sha256(f"{chain(diff_ids[:-1])} {diff_ids[-1]}".encode())


def bases_of(report: Any) -> list[tuple[Any, ...]]:
    return [(base["name"], base["layers"], base["on"], base["images"]) for base in report["bases"]]


@few
@given(stacks=st.lists(st.lists(st.sampled_from(TARS[:3]), max_size=4), min_size=1, max_size=5))
def test_bases_are_the_prefixes_where_images_part_or_end(ocitool: Run, tmp_path: Path, stacks: Any) -> None:
    shutil.rmtree(tmp_path / "s", ignore_errors=True)
    store = write_layout(tmp_path / "s", [image(tars, tag=f"{n}", author=str(n)) for n, tars in enumerate(stacks)])
    ids = [tuple(sha256(tar) for tar in tars) for tars in stacks]
    prefixes = {own[:n] for own in ids for n in range(1, len(own) + 1)}
    users = {one: [f"{store}:{n}" for n, own in enumerate(ids) if own[: len(one)] == one] for one in prefixes}
    several = {prefix: on for prefix, on in users.items() if len(on) > 1}
    expected = {prefix: on for prefix, on in several.items() if on not in [users.get((*prefix, sha256(tar))) for tar in TARS]}
    report = report_on(ocitool, store)
    assert {chain(prefix): on for prefix, on in expected.items()} == {one["chainId"]: one["images"] for one in report["bases"]}
    longest = [max((prefix for prefix in expected if own[: len(prefix)] == prefix), key=len, default=None) for own in ids]
    found = [None if one["base"] is None else report["bases"][one["base"]]["chainId"] for one in report["images"]]
    assert [None if prefix is None else chain(prefix) for prefix in longest] == found


def test_a_base_stands_on_the_next_shorter_one(ocitool: Run, tmp_path: Path) -> None:
    made = [image([BASE], tag="base"), image([BASE, MIDDLE], tag="middle"), app("a"), app("b")]
    store = write_layout(tmp_path / "s", made)
    base, middle, *apps = [f"{store}:{tag}" for tag in ("base", "middle", "a", "b")]
    report = report_on(ocitool, store)
    assert [(base, 1, None, [base, middle, *apps]), (middle, 2, 0, [middle, *apps])] == bases_of(report)
    assert [0, 1, 1, 1] == [one["base"] for one in report["images"]]
    sizes = [one["size"] for one in made[1].manifest["layers"]]
    expected = [(sizes[0], 3 * sizes[0]), (sum(sizes), 2 * sum(sizes))]
    assert expected == [(one["size"], one["saved"]) for one in report["bases"]]
    assert [chain([sha256(BASE)]), chain([sha256(BASE), sha256(MIDDLE)])] == [one["chainId"] for one in report["bases"]]


def annotated(name: str, base: str | None) -> Image:
    made = app(name)
    if base is not None:
        made.manifest["annotations"] = {"org.opencontainers.image.base.name": base}
    return made


@pytest.mark.parametrize(
    ("said", "name"), [(("debian:12", "debian:12"), "debian:12"), (("debian:12", "debian:13"), None), ((None, None), None)]
)
def test_a_base_that_is_not_here_has_the_name_that_all_on_it_say(
    ocitool: Run, tmp_path: Path, said: tuple[str | None, ...], name: str | None
) -> None:
    store = write_layout(tmp_path / "s", [annotated(tag, base) for tag, base in zip("ab", said, strict=True)])
    assert [(name, 2)] == [one[:2] for one in bases_of(report_on(ocitool, store))]


def test_the_name_of_an_image_goes_before_what_others_say(ocitool: Run, tmp_path: Path) -> None:
    store = write_layout(tmp_path / "s", [annotated("a", "x:1"), annotated("b", "x:1"), image([BASE, MIDDLE], tag="mine")])
    assert [(f"{store}:mine", 2)] == [one[:2] for one in bases_of(report_on(ocitool, store))]


def test_layers_in_other_compressions_are_one_base(ocitool: Run, tmp_path: Path) -> None:
    made = [app("a"), app("b", codec="zstd"), app("c", codec="none")]
    store = write_layout(tmp_path / "s", made)
    archive = write_docker_archive(tmp_path / "d.tar", [app("d", codec="none")])
    (base,) = report_on(ocitool, store, archive)["bases"]
    assert (2, chain([sha256(BASE), sha256(MIDDLE)])) == (base["layers"], base["chainId"])
    assert [f"{store}:a", f"{store}:b", f"{store}:c", str(archive)] == base["images"]


def test_a_base_that_only_platforms_of_one_image_share_is_none(ocitool: Run, tmp_path: Path) -> None:
    inner = [app("a", platform=AMD), app("b", platform=ARM, architecture="arm64")]
    assert [] == report_on(ocitool, with_index(tmp_path / "s", inner, "multi"))["bases"]


def test_an_index_with_a_base_of_its_own_counts(ocitool: Run, tmp_path: Path) -> None:
    store = with_index(tmp_path / "s", [image([BASE], platform=AMD)], "multi", app("a"))
    assert [(f"{store}:multi linux/amd64", 1, None, [f"{store}:multi", f"{store}:a"])] == bases_of(report_on(ocitool, store))


# Equal layers


def test_layers_that_unpack_to_the_same_are_named_the_smallest_first(ocitool: Run, tmp_path: Path) -> None:
    made = [image([TOP["a"]], tag=codec, codec=codec) for codec in ("none", "gzip", "zstd")]
    store = write_layout(tmp_path / "s", [*made, app("b")])
    (found,) = report_on(ocitool, store)["equalUncompressed"]
    blobs = sorted((len(data), sha256(data)) for one in made for data in one.layers)
    assert sha256(TOP["a"]) == found["diffId"]
    assert blobs == list(zip(found["sizes"], found["digests"], strict=True))
    assert [f"{store}:{codec}" for codec in ("none", "gzip", "zstd")] == found["images"]


def test_what_saves_most_of_equal_layers_is_first(ocitool: Run, tmp_path: Path) -> None:
    store = write_layout(tmp_path / "s", [app("a"), app("a", codec="none"), app("b")])
    found = [(one["diffId"], sum(one["sizes"][1:])) for one in report_on(ocitool, store)["equalUncompressed"]]
    assert {sha256(tar): len(tar) for tar in (BASE, MIDDLE, TOP["a"])} == dict(found)
    assert sorted((size for _, size in found), reverse=True) == [size for _, size in found]


def test_layers_of_one_compression_are_not_equal_but_the_same(ocitool: Run, tmp_path: Path) -> None:
    assert [] == report_on(ocitool, write_layout(tmp_path / "s", [app("a"), app("b")]))["equalUncompressed"]


# Bad input

GOOD = [image([BASE], tag="good"), image([BASE, TOP["d"]], tag="better")]
BAD = image([layer_tar([("bad", b"bad" * 500)])], tag="bad")


def spoiled(path: Path) -> None:
    """Other bytes of the same size."""
    path.write_bytes(bytes(byte ^ 0x55 for byte in path.read_bytes()))


def bad_layout(path: Path, spoil: Callable[[Path], None], digest: str) -> Path:
    spoil(blob_of(write_layout(path, [BAD]), digest))
    return path


def self_listing(path: Path) -> Path:
    """index.json lists an index, and that one lists itself; no digest of it can be right."""
    entry = {"mediaType": mediatypes.OCI_INDEX, "digest": "sha256:" + "1" * 64, "size": 0}
    raw = pretty(index_of([{**entry, "size": 333}])).ljust(333)
    write_files(path, layout_files([], index=index_of([{**entry, "size": 333}])))
    return write_files(path, {"blobs/sha256/" + "1" * 64: raw})


def nested(path: Path) -> Path:
    """An index in an index in an index, deeper than allowed."""
    entry, files = BAD.descriptor, {}
    for _ in range(12):
        raw = pretty(index_of([entry]))
        entry = entry_of(raw)
        files[f"blobs/sha256/{sha256(raw)[7:]}"] = raw
    return write_files(write_layout(path, [BAD], index=index_of([entry])), files)


def of_bytes(data: bytes) -> Callable[[Path], Path]:
    def make(path: Path) -> Path:
        path.write_bytes(data)
        return path

    return make


def truncated(write: Any, pack: Callable[[bytes], bytes]) -> Callable[[Path], Path]:
    def make(path: Path) -> Path:
        write(path, [BAD])
        data = pack(path.read_bytes())
        path.write_bytes(data[: len(data) // 2 + 100])
        return path

    return make


MANIFEST, CONFIG, LAYER = BAD.digest, sha256(BAD.config), sha256(BAD.layers[0])
BROKEN: dict[str, tuple[Callable[[Path], Path], int]] = {
    "truncated-oci": (truncated(write_oci_archive, bytes), 4),
    "truncated-docker": (truncated(write_docker_archive, bytes), 4),
    "truncated-gzip": (truncated(write_oci_archive, gz), 4),
    "truncated-zstd": (truncated(write_oci_archive, zst), 4),
    "garbage": (of_bytes(b"garbage" * 1000), 4),
    "empty-file": (of_bytes(b""), 4),
    "no-image": (lambda path: write_tar(path, {"main.c": b"int main"}), 4),
    "index-garbage": (lambda path: write_files(path, {"index.json": b"garbage"}), 4),
    "index-circle": (self_listing, 5),
    "index-deep": (nested, 7),
    "empty-layout": (lambda path: write_layout(path, []), 3),
    "nowhere": (lambda path: path, 3),
    "corrupt-manifest": (lambda path: bad_layout(path, spoiled, MANIFEST), 5),
    "short-manifest": (lambda path: bad_layout(path, lambda blob: blob.write_bytes(b"{}") and None, MANIFEST), 5),
    "no-manifest": (lambda path: bad_layout(path, Path.unlink, MANIFEST), 3),
    "corrupt-config": (lambda path: bad_layout(path, spoiled, CONFIG), 5),
    "no-config": (lambda path: bad_layout(path, Path.unlink, CONFIG), 3),
    "short-layer": (lambda path: bad_layout(path, lambda blob: blob.write_bytes(b"short") and None, LAYER), 5),
    "long-layer": (lambda path: bad_layout(path, lambda blob: blob.write_bytes(bytes(5000)) and None, LAYER), 5),
}


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return write_layout(tmp_path / "good", GOOD)


def only_problem(run: Run, words: Sequence[Any], code: int, named: str, **how: Any) -> Any:
    """The report of a run with one problem, that names it and has this exit code."""
    report = report_on(run, *words, code=1, **how)
    (problem,) = report["problems"]
    assert code == problem["exitCode"]
    assert named in problem["where"] and named in problem["text"]
    result = ended(1, run("dedupe", *words, "--format", "json", **how))
    assert problem["text"] in result.err
    return report


def without(report: Any, *fields: str) -> Any:
    """All that a report says about images."""
    left = ("references", "problems", "notices", *fields)
    return {key: value for key, value in report.items() if key not in left}


@pytest.mark.parametrize("name", BROKEN)
def test_what_cannot_be_read_is_named_and_changes_nothing_else(ocitool: Run, good: Path, tmp_path: Path, name: str) -> None:
    make, code = BROKEN[name]
    bad = make(tmp_path / "bad.tar")
    for words in ([good, bad], [bad, good]):
        assert without(report_on(ocitool, good)) == without(only_problem(ocitool, words, code, str(bad)))


@pytest.mark.parametrize("name", BROKEN)
def test_alone_it_ends_with_its_own_exit_code(ocitool: Run, tmp_path: Path, name: str) -> None:
    make, code = BROKEN[name]
    bad = make(tmp_path / "bad.tar")
    result = ended(code, ocitool("dedupe", bad, "--format", "json"))
    assert ("", True) == (result.out, str(bad) in result.err)


@pytest.mark.parametrize("name", ["truncated-oci", "empty-layout", "nowhere", "corrupt-manifest", "short-layer", "index-deep"])
def test_strict_ends_with_its_exit_code_and_prints_no_report(ocitool: Run, good: Path, tmp_path: Path, name: str) -> None:
    make, code = BROKEN[name]
    bad = make(tmp_path / "bad.tar")
    result = ended(code, ocitool("dedupe", "--strict", good, bad, "--format", "json"))
    assert ("", True) == (result.out, str(bad) in result.err)


@pytest.mark.parametrize("name", ["truncated-oci", "truncated-gzip", "garbage", "corrupt-manifest", "no-config", "short-layer"])
def test_what_cannot_be_read_below_a_directory_is_named_too(ocitool: Run, tmp_path: Path, name: str) -> None:
    top = tmp_path / "top"
    good = write_layout(top / "good", GOOD)
    make, code = BROKEN[name]
    bad = make(top / "bad.tar")
    assert without(report_on(ocitool, good)) == without(only_problem(ocitool, [top], code, str(bad)))


@pytest.mark.parametrize("digest", [MANIFEST, CONFIG])
def test_other_images_of_the_same_layout_are_counted(ocitool: Run, tmp_path: Path, digest: str) -> None:
    store = write_layout(tmp_path / "s", [GOOD[0], BAD, GOOD[1]])
    expected = without(report_on(ocitool, f"{store}:good", f"{store}:better"))
    spoiled(blob_of(store, digest))
    found = without(only_problem(ocitool, [store], 5, str(store)), "advice")
    del expected["advice"]
    for report in (expected, found):  # what deleting frees is another matter beside an image of which nothing is known
        report["images"] = [{**one, "frees": None, "onDisk": None} for one in report["images"]]
        report["bytes"] = {**report["bytes"], "onDisk": None}
    assert expected == found


@pytest.mark.parametrize("platform", [AMD, ARM])
def test_an_index_of_which_one_manifest_is_corrupt_is_a_problem_and_its_other_images_count(
    ocitool: Run, good: Path, tmp_path: Path, platform: dict[str, str]
) -> None:
    inner = [image([TOP["a"]], platform=AMD), image([TOP["b"]], platform=ARM, architecture="arm64")]
    bad = with_index(tmp_path / "bad", inner, "multi")
    spoiled(blob_of(bad, next(one.digest for one in inner if one.platform == platform)))
    report = only_problem(ocitool, [good, bad], 5, str(bad))
    assert report_on(ocitool, good)["images"] == report["images"][:2]
    assert [f"{bad}:multi"] == [one["reference"] for one in report["images"][2:]]
    assert report_on(ocitool, good)["layers"]["references"] + 1 == report["layers"]["references"]


def test_a_missing_layer_is_a_problem_and_its_image_counts_without_it(ocitool: Run, good: Path, tmp_path: Path) -> None:
    bad = bad_layout(tmp_path / "bad", Path.unlink, LAYER)
    report = only_problem(ocitool, [good, bad], 3, str(bad))
    assert LAYER in report["problems"][0]["text"]
    assert (len(BAD.raw) + len(BAD.config), 0) == (report["images"][2]["own"], report["images"][2]["shared"])
    assert report_on(ocitool, good)["images"] == report["images"][:2]


@pytest.mark.parametrize("first", [True, False])
def test_a_missing_layer_that_another_image_has_is_no_problem(ocitool: Run, tmp_path: Path, first: bool) -> None:
    lacking, other = bad_layout(tmp_path / "bad", Path.unlink, LAYER), image([unpacked(BAD.layers[0]), BASE], tag="other")
    words = [lacking, write_layout(tmp_path / "other", [other])]
    report = report_on(ocitool, *(words if first else reversed(words)), "--files")
    size = len(BAD.layers[0])
    expected = {f"{lacking}:bad": (len(BAD.raw) + len(BAD.config), size)}
    assert expected.items() <= {one["reference"]: (one["own"], one["shared"]) for one in report["images"]}.items()
    assert 3 == report["files"]["references"]


@pytest.mark.parametrize("first", [True, False])
def test_a_missing_layer_that_another_place_of_the_image_has_is_no_problem(ocitool: Run, tmp_path: Path, first: bool) -> None:
    words = [bad_layout(tmp_path / "bad", Path.unlink, LAYER), write_layout(tmp_path / "whole", [BAD])]
    report = report_on(ocitool, *(words if first else reversed(words)), "--files")
    assert sum(map(len, BAD.blobs.values())) == report["bytes"]["unique"]
    assert (1, 1) == (len(report["images"]), report["files"]["references"])


def test_a_foreign_layer_that_is_elsewhere_is_no_problem(ocitool: Run, tmp_path: Path) -> None:
    made = image([BASE, MIDDLE], tag="foreign")
    made.manifest["layers"][0] |= {
        "mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", "urls": ["https://foreign.example/layer"],
    }  # fmt: skip
    store = write_layout(tmp_path / "s", [made])
    blob_of(store, sha256(made.layers[0])).unlink()
    assert 2 == report_on(ocitool, store)["layers"]["unique"]


def deep_problem(run: Run, good: Path, bad: Path, code: int, named: str) -> None:
    """With --files the one layer of `bad` is a problem, and no other number is another one."""
    flat = report_on(run, good, bad)
    report = only_problem(run, [good, bad, "--files"], code, named)
    assert without(flat, "files", "packages", "advice") == without(report, "files", "packages", "advice")
    assert report_on(run, good, "--files")["files"] == report["files"]


def test_a_corrupt_layer_is_a_problem_where_layers_are_read(ocitool: Run, good: Path, tmp_path: Path) -> None:
    deep_problem(ocitool, good, bad_layout(tmp_path / "bad", spoiled, LAYER), 5, LAYER)


def test_a_layer_with_one_wrong_bit_is_a_problem_where_layers_are_read(ocitool: Run, good: Path, tmp_path: Path) -> None:
    def flipped(path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[4] ^= 1  # gzip's time: unpacks to the same
        path.write_bytes(data)

    deep_problem(ocitool, good, bad_layout(tmp_path / "bad", flipped, LAYER), 5, LAYER)


def test_a_diff_id_that_is_a_lie_is_a_problem_where_layers_are_read(ocitool: Run, good: Path, tmp_path: Path) -> None:
    lie = image([TOP["a"]], tag="bad", rootfs={"type": "layers", "diff_ids": ["sha256:" + "1" * 64]})
    deep_problem(ocitool, good, write_layout(tmp_path / "bad", [lie]), 5, "bad")


@pytest.mark.parametrize("first", [True, False])
def test_a_lie_about_a_layer_of_others_is_the_liars_problem(ocitool: Run, good: Path, tmp_path: Path, first: bool) -> None:
    lie = image([BASE], tag="bad", rootfs={"type": "layers", "diff_ids": ["sha256:" + "1" * 64]})
    bad = write_layout(tmp_path / "bad", [lie])
    words = [bad, good] if first else [good, bad]
    report = only_problem(ocitool, [*words, "--files"], 5, str(bad))
    alone = report_on(ocitool, good, "--files")
    assert alone["files"] == report["files"]
    assert alone["bases"] == report["bases"]


def test_a_layer_that_is_cut_short_is_a_problem_where_layers_are_read(ocitool: Run, good: Path, tmp_path: Path) -> None:
    cut_short = image([TOP["a"][:700]], tag="bad")
    deep_problem(ocitool, good, write_layout(tmp_path / "bad", [cut_short]), 4, "bad")


@pytest.mark.parametrize("kind", ["application/vnd.oci.image.layer.v1.tar+gzip+encrypted", "application/vnd.example.layer"])
def test_a_layer_that_holds_no_files_is_a_problem_where_layers_are_read(
    ocitool: Run, good: Path, tmp_path: Path, kind: str
) -> None:
    made = image([TOP["a"]], tag="bad")
    made.manifest["layers"][0]["mediaType"] = kind
    deep_problem(ocitool, good, write_layout(tmp_path / "bad", [made]), 4, "bad")


@pytest.mark.parametrize("first", [True, False])
def test_a_type_that_one_image_states_is_no_problem_of_others(ocitool: Run, good: Path, tmp_path: Path, first: bool) -> None:
    made = image([BASE], tag="bad", author="me")
    made.manifest["layers"][0]["mediaType"] += "+encrypted"
    bad = write_layout(tmp_path / "bad", [made])
    report = report_on(ocitool, *([bad, good] if first else [good, bad]), "--files")
    assert report_on(ocitool, good, "--files")["files"] == report["files"]


def test_strict_stops_at_a_layer_too(ocitool: Run, good: Path, tmp_path: Path) -> None:
    result = ended(5, ocitool("dedupe", "--strict", "--files", good, bad_layout(tmp_path / "bad", spoiled, LAYER)))
    assert ("", True) == (result.out, LAYER in result.err)


def test_an_image_that_cannot_be_read_at_one_place_is_counted_at_another(ocitool: Run, tmp_path: Path) -> None:
    bad, whole = bad_layout(tmp_path / "bad", spoiled, MANIFEST), write_layout(tmp_path / "whole", [BAD])
    report = only_problem(ocitool, [bad, whole, "--files"], 5, str(bad))
    assert [f"{whole}:bad"] == [one["reference"] for one in report["images"]]


def test_a_link_that_leads_to_itself_is_a_problem(ocitool: Run, tmp_path: Path) -> None:
    good = write_layout(tmp_path / "top/good", GOOD)
    (tmp_path / "top/loop").symlink_to("loop")
    report = only_problem(ocitool, [tmp_path / "top"], 8, str(tmp_path / "top/loop"))
    assert without(report_on(ocitool, good)) == without(report)


class ProcessEnd(NamedTuple):
    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


def unprivileged(need: Callable[..., str]) -> Run:
    """The command without the rights of root to read everything."""
    if os.geteuid() == 0:
        need("setpriv")
    drop = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all"] if os.geteuid() == 0 else []

    def run(*words: Any) -> ProcessEnd:
        command = [*drop, sys.executable, "-m", "ocitool", *map(str, words), "--no-cache"]
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        return ProcessEnd(done.returncode, done.stdout, done.stderr)

    return run


@pytest.mark.parametrize("what", ["archive", "layout", "directory", "blob", "index"])
def test_what_may_not_be_read_is_a_problem(need: Callable[..., str], tmp_path: Path, what: str) -> None:
    run = unprivileged(need)
    top = tmp_path / "top"
    good = write_layout(top / "good", GOOD)
    bad = write_oci_archive(top / "bad.tar", [BAD]) if what == "archive" else write_layout(top / "bad/store", [BAD])
    closed = {"archive": bad, "layout": bad, "directory": top / "bad", "blob": blob_of(bad, LAYER), "index": bad / "index.json"}
    closed[what].chmod(0)
    report = only_problem(run, [top], 8, str(top / "bad"))
    closed[what].chmod(0o755)
    assert "Permission denied" in report["problems"][0]["text"]
    assert without(report_on(run, good)) == without(report)


def test_of_a_directory_that_may_not_be_entered_nothing_else_is_said(need: Callable[..., str], tmp_path: Path) -> None:
    run = unprivileged(need)
    (tmp_path / "closed").mkdir()
    write_oci_archive(tmp_path / "closed/bad.tar", [BAD])
    (tmp_path / "closed").chmod(0)
    result = run("dedupe", tmp_path / "closed")
    (tmp_path / "closed").chmod(0o755)
    assert (8, "") == (result.code, result.out)
    assert "Permission denied" in result.err and "no image" not in result.err


@pytest.mark.parametrize("words", [("--repos", "*"), ("--tags", "*"), ("--top", "-1"), ("--cluster", "tcp://127.0.0.1:1")])
def test_words_that_mean_nothing_here_are_2(ocitool: Run, good: Path, words: tuple[str, ...]) -> None:
    ended(2, ocitool("dedupe", good, *words))


# Formats


def test_text_shows_the_sums_and_their_bars(ocitool: Run, tmp_path: Path) -> None:
    store = write_layout(tmp_path / "s", [app("a"), app("b")])
    report = report_on(ocitool, store)["bytes"]
    head, referenced, unique, saved = ocitool("dedupe", store).out.splitlines()[:4]
    assert "2 images, 6 layers, 4 distinct" == head
    for line, name in ((referenced, "referenced"), (unique, "unique"), (saved, "saved")):
        assert [name, *human(report[name]).split()] == line.split()[:3]
        full = round(24 * report[name] / report["referenced"])
        assert abs(full - line.count("█")) <= 1, line
    assert f"{100 * report['saved'] / report['referenced']:.0f} % by sharing" in saved


def test_text_lists_images_layers_bases_and_equal_layers(ocitool: Run, tmp_path: Path) -> None:
    store = write_layout(tmp_path / "s", [app("a"), app("b"), app("c", codec="zstd")])
    text = ocitool("dedupe", store, "--files").out
    headings = ["images: ", "layers that are shared most", "images on a common base", "layers that are equal unpacked",
                "files in distinct layers"]  # fmt: skip
    assert [] == [heading for heading in headings if heading not in text]
    assert all(f"{store}:{tag}" in text for tag in "abc")


def test_top_is_how_many_of_each_are_listed(ocitool: Run, tmp_path: Path) -> None:
    store = write_layout(tmp_path / "s", [app("a"), app("b"), app("c")])
    assert "and 2 more (--top 3" in ocitool("dedupe", store, "--top", "1").out
    for form in ("text", "markdown"):
        assert str(store) not in ocitool("dedupe", store, "--files", "--top", "0", "--format", form).out


def test_top_0_leaves_the_sums(ocitool: Run, good: Path) -> None:
    assert ocitool("dedupe", good).out.splitlines()[:4] == ocitool("dedupe", good, "--top", "0").out.splitlines()[:4]


@pytest.mark.parametrize("form", ["text", "markdown"])
def test_problems_stand_in_every_format(ocitool: Run, good: Path, tmp_path: Path, form: str) -> None:
    result = ended(1, ocitool("dedupe", good, tmp_path / "nowhere", "--format", form))
    assert str(tmp_path / "nowhere") in result.out


@pytest.mark.parametrize("form", ["text", "json", "markdown"])
def test_the_report_may_go_to_a_file(ocitool: Run, good: Path, tmp_path: Path, form: str) -> None:
    expected = ocitool("dedupe", good, "--format", form).stdout
    result = ended(0, ocitool("dedupe", good, "--format", form, "--report", tmp_path / "report"))
    assert (b"", expected) == (result.stdout, (tmp_path / "report").read_bytes())


def test_markdown_of_two_thousand_images_fits_a_comment(ocitool: Run, tmp_path: Path) -> None:
    made = [image([BASE], tag=f"registry.example/{'long/' * 20}{n}", author=str(n)) for n in range(2000)]
    store = write_layout(tmp_path / "s", made)
    page = ended(0, ocitool("dedupe", store, "--top", "2000", "--format", "markdown")).out
    assert page.startswith("<!-- ocitool dedupe -->\n### 2,000 images\n")
    assert len(page) < 60_000
    assert "images not shown" in page or "more images" in page


EVIL = ["`", "``", "``` x", "|", "a`|`b", "\\|", "<b>x</b>", "[x](http://x)", "a\n\n# x", "\x1b[31mx", "x\x9b31m", "\u202ex"]


def outside(page: str) -> str:
    """What a page shows that is no code."""
    found = []
    for token in MarkdownIt("commonmark").enable("table").parse(page):
        found += [child.content for child in token.children or () if child.type != "code_inline"]
        if not token.children and token.type not in ("fence", "code_block"):
            found.append(token.content)
    return "\n".join(found)


@pytest.mark.parametrize("evil", EVIL)
def test_nothing_of_an_image_leaves_its_code_span(ocitool: Run, tmp_path: Path, evil: str) -> None:
    marked = f"EVIL{evil}EVIL"
    history = [{"created_by": marked}, {"created_by": f"RUN {marked}"}, {"created_by": marked}]
    made = [app("a", history=history), app("b", codec="zstd", history=history), app("c", history=history)]
    for number, one in enumerate(made):
        one.tag = f"{marked}{number}"
        one.manifest["annotations"] = {"org.opencontainers.image.base.name": marked}
    odd = layer_tar([(f"{marked}1".replace("/", ""), b"x" * 9000), (f"{marked}2".replace("/", ""), b"x" * 9000)])
    store = write_layout(tmp_path / "s", [*made, image([odd], tag=f"{marked}odd")])
    page = ended(0, ocitool("dedupe", store, "--files", "--format", "markdown")).out
    assert "EVIL" in page
    assert "EVIL" not in outside(page)
    assert page.isprintable() or set(filter(lambda c: not c.isprintable(), page)) == {"\n"}


@pytest.mark.parametrize("evil", ["\x1b[31m", "\r", "\x07", "\x9b", "\u202e", "\u2028", "\x7f"])
def test_text_writes_control_characters_out(ocitool: Run, tmp_path: Path, evil: str) -> None:
    made = [image([BASE], tag=f"x{evil}{n}", history=[{"created_by": f"RUN {evil}"}], author=n) for n in "ab"]
    odd = layer_tar([(f"{evil}1", b"x" * 900), (f"{evil}2", b"x" * 900)])
    store = write_layout(tmp_path / "s", [*made, image([odd], tag=f"{evil}odd")])
    spoiled(blob_of(store, made[1].digest))
    result = ended(1, ocitool("dedupe", store, "--files", "--no-color"))
    assert evil not in result.out + result.err
    assert repr(evil)[1:-1] in result.out


def test_json_of_odd_names_is_valid(ocitool: Run, tmp_path: Path) -> None:
    made = image([layer_tar([(b"\xff1", b"x" * 9000), (b"\xff2", b"x" * 9000)])], tag="\x7f")
    (found,) = report_on(ocitool, write_layout(tmp_path / "s", [made]), "--files")["files"]["top"]
    assert [b"/\xff1", b"/\xff2"] == [base64.b64decode(spot["pathBase64"]) for spot in found["places"]]


def test_the_same_question_has_the_same_answer(ocitool: Run, testdata: Path) -> None:
    assert ocitool("dedupe", "--files", testdata).stdout == ocitool("dedupe", "--files", testdata, "--jobs", "1").stdout


# The cache


def test_a_layer_that_was_known_and_is_damaged_since_is_a_problem_as_without_the_cache(ocitool: Run, tmp_path: Path) -> None:
    store = write_layout(tmp_path / "s", [app("a"), app("b")])
    report_on(ocitool, store, "--files")
    digests = {sha256(data) for one in (app("a"), app("b")) for data in one.layers}
    for digest in digests:
        spoiled(blob_of(store, digest))
    report = report_on(ocitool, store, "--files", code=1)
    assert digests == {one["where"].rpartition(" ")[2] for one in report["problems"]}
    assert report_on(ocitool, store, "--files", "--no-cache", code=1)["problems"] == report["problems"]


def test_a_layer_of_a_docker_archive_is_not_read_again(ocitool: Run, tmp_path: Path) -> None:
    archive = write_docker_archive(tmp_path / "a.tar", [app("a", codec="none")])
    before = report_on(ocitool, archive, "--files")
    assert before == report_on(ocitool, archive, "--files")
    archive.write_bytes(archive.read_bytes().replace(b"a" * 1500, b"A" * 1500))
    assert [5] == [one["exitCode"] for one in report_on(ocitool, archive, "--files", code=1)["problems"]]


@pytest.mark.parametrize("word", ["--no-cache", "--verify"])
def test_without_the_cache_it_is_read_and_the_corruption_named(ocitool: Run, good: Path, tmp_path: Path, word: str) -> None:
    bad = write_layout(tmp_path / "bad", [BAD])
    report_on(ocitool, good, bad, "--files")
    spoiled(blob_of(bad, LAYER))
    only_problem(ocitool, [good, bad, "--files", word], 5, LAYER)


def test_verify_says_so_and_reads_every_layer(ocitool: Run, good: Path, tmp_path: Path) -> None:
    assert [True, False] == [report_on(ocitool, good, *words)["verified"] for words in (("--verify",), ("--files",))]
    only_problem(ocitool, [good, bad_layout(tmp_path / "bad", spoiled, LAYER), "--verify"], 5, LAYER)


def test_documents_alone_are_read_where_nothing_asks_for_more(ocitool: Run, good: Path) -> None:
    before = report_on(ocitool, good)
    for data in {data for one in GOOD for data in one.layers}:
        spoiled(blob_of(good, sha256(data)))
    assert (None, before) == (before["files"], report_on(ocitool, good))
