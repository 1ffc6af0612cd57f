"""What `ocitool dedupe` must not do for anybody's images: advise what destroys another's, take memory or time without bound."""

from __future__ import annotations

import gzip
import json
import os
import pickle
import re
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.images import Image, entry, image, index_of, layer_tar, pretty, sha256, write_layout, write_oci_archive
from support.layers import sparse_1_0
from support.report import report_of

from ocitool.blob import FileBlob, OpenFile
from ocitool.dedupe import layer_jobs, layers
from ocitool.dedupe.collection import BlobLocation, Collection, ImageEntry, ImageRef, ImageSource, StoredBlob
from ocitool.dedupe.commands import delete_commands, rewritable
from ocitool.dedupe.repeated_files import DistinctContents
from ocitool.layers.entry import Entry
from ocitool.layers.index import LayerIndex
from ocitool.reference import LAYOUT, OCI_ARCHIVE, REGISTRY, Transport

Run = Callable[..., Any]
NOISE = os.urandom(200_000)


def named(tag: str, *tars: bytes, created: str = "2024-01-01T00:00:00Z", **more: Any) -> Image:
    return image(tars, tag=tag, created=created, **more)


def layer(name: str, size: int = 3000) -> bytes:
    return layer_tar([(name, (name.encode() * size)[:size])])


def advice(ocitool: Run, *words: Any, kind: str | None = None) -> list[Any]:
    found = report_of(ocitool("dedupe", *words, "--format", "json"), 0, 1)["advice"]
    return [one for one in found if kind in (None, one["kind"])]


def doubled(**more: Any) -> list[bytes]:
    """Layers of which the upper copies a file of the lower one."""
    return [layer_tar([entry("big", NOISE)]), layer_tar([entry("big", NOISE, mode=0o755)])]


# Advice


def test_one_picked_image_of_an_archive_does_not_stand_for_the_archive(ocitool: Run, tmp_path: Path) -> None:
    base, other = named("base:1", layer("a")), named("precious:1", layer("p"))
    archive = write_oci_archive(tmp_path / "a.tar", [base, named("app:1", layer("a"), *doubled()), other])
    found = advice(ocitool, f"{archive}:base:1", f"{archive}:app:1", "--files")
    assert [] == [one for one in found if "rm " in one["command"] or "--force" in one["command"]]


@pytest.mark.parametrize("tag", ["@0", "--dry-run", "-f"])
def test_a_name_that_means_something_else_to_a_command_is_not_used(tag: str, ocitool: Run, tmp_path: Path) -> None:
    images = [named("app:1", layer("a"), layer("b")), named(tag, layer("a")), named("p:1", layer("p"))]
    store = write_layout(tmp_path / "s", images)
    (found,) = advice(ocitool, store, kind="contained")
    subprocess.run(["sh", "-c", commands(found["command"], tmp_path)], check=True, capture_output=True)
    left = {one.get("annotations", {}).get("org.opencontainers.image.ref.name") for one in entries(store)}
    assert {"app:1", "p:1"} == left


def test_a_name_that_two_images_answer_to_removes_one_of_them(ocitool: Run, tmp_path: Path) -> None:
    images = [named("docker.io/library/app:1", layer("p")), named("app:1", layer("a")), named("x:1", layer("a"), layer("b"))]
    store = write_layout(tmp_path / "s", images)
    (found,) = advice(ocitool, store, kind="contained")
    subprocess.run(["sh", "-c", commands(found["command"], tmp_path)], check=True, capture_output=True)
    assert {images[0].digest, images[2].digest} == {one["digest"] for one in entries(store)}


def test_a_reference_of_the_report_names_one_image(ocitool: Run, tmp_path: Path) -> None:
    images = [named("docker.io/library/app:1", layer("p")), named("app:1", layer("a")), named("@0", layer("b"))]
    store = write_layout(tmp_path / "s", images)
    report = report_of(ocitool("dedupe", store, "--format", "json"))
    digests = [ocitool("inspect", "--digest", one["reference"]).out.strip() for one in report["images"]]
    assert [one["digest"] for one in report["images"]] == digests


def entries(store: Path) -> list[Any]:
    found: list[Any] = json.loads((store / "index.json").read_bytes())["manifests"]
    return found


def commands(line: str, top: Path) -> str:
    program = top / "ocitool"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m ocitool "$@"\n')
    program.chmod(0o755)
    return f"PATH={top}:$PATH; {line}"


LATER = "2025-01-01T00:00:00Z"


@pytest.mark.parametrize(
    "new",
    [
        named("corp/base:alpine", layer("n"), created=LATER, history=[{"created_by": "ADD other"}]),
        named("corp/base:2", layer("a"), layer("more"), created=LATER),
        named("corp/base:2", layer("n"), created="2023-12-31T23:59:59Z"),
        named("corp/base:2", layer("n"), created="2024-01-01T12:00:00+14:00"),
        named("corp/base:2", layer("n"), created="yesterday"),
        named("corp/base:2", layer("n"), created=None),
    ],
    ids=["other-instructions", "built-on-it", "older", "older-by-its-zone", "no-time", "none"],
)
def test_what_is_no_newer_build_of_a_base_is_none(new: Image, ocitool: Run, tmp_path: Path) -> None:
    store = write_layout(tmp_path / "s", [named("corp/base:1", layer("a")), named("app:1", layer("a"), layer("b")), new])
    assert [] == advice(ocitool, store, kind="rebase")


def test_a_chain_of_images_is_no_chain_of_builds(ocitool: Run, tmp_path: Path) -> None:
    days = [f"2024-01-{day:02}T00:00:00Z" for day in range(1, 13)]
    chain = [named(f"c:{n}", *(layer(f"l{k}") for k in range(n + 1)), created=day) for n, day in enumerate(days)]
    assert [] == advice(ocitool, write_layout(tmp_path / "s", chain), kind="rebase")


def test_an_archive_of_which_nothing_was_read_is_not_removed(ocitool: Run, tmp_path: Path) -> None:
    good = [write_oci_archive(tmp_path / f"{name}.tar", [named(f"{name}:1", layer("a"), layer(name))]) for name in "xy"]
    empty = write_oci_archive(tmp_path / "empty.tar", [])
    (found,) = advice(ocitool, *good, empty, kind="store")
    assert str(empty) not in found["command"]


def test_names_that_mean_one_thing_are_two_images_of_one_name(ocitool: Run, tmp_path: Path) -> None:
    pair = [("a.tar", named("app:1", layer("a"))), ("b.tar", named("docker.io/library/app:1", layer("b")))]
    assert [] == advice(ocitool, *(write_oci_archive(tmp_path / name, [one]) for name, one in pair), kind="store")


def place(transport: Transport, reference: str, *tags: str, alone: bool = True) -> ImageRef:
    return ImageRef((0, 0), reference, tags, ImageSource(transport, "p" if transport.directory else "p.tar", None), alone)


@pytest.mark.parametrize(
    ("wanted", "one"),
    [
        (True, place(LAYOUT, "p:a", "a")), (False, place(LAYOUT, "p:@sha256:1")), (False, place(LAYOUT, "p:@0", "@0")),
        (True, place(OCI_ARCHIVE, "p.tar")), (False, place(OCI_ARCHIVE, "p.tar:a", "a", alone=False)),
        (False, ImageRef((0, 0), "p.tar.xz", (), ImageSource(OCI_ARCHIVE, "p.tar.xz", 1), True)),
        (True, ImageRef((0, 0), "docker://h/a:1", ("1",), ImageSource(REGISTRY, None, None), True)),
        (False, ImageRef((0, 0), "docker://h/a@sha256:1", (), ImageSource(REGISTRY, None, None), True)),
    ],
)  # fmt: skip
def test_an_image_is_written_anew_only_where_its_name_moves(wanted: bool, one: ImageRef) -> None:
    member = ImageEntry(0, {one.reference: one}, "image", None, None, (object(),), 0, (), ())  # type: ignore[arg-type]
    assert wanted == rewritable(member)
    assert one.source.transport != "docker" or delete_commands(member) is None


# Bounds


def test_what_a_large_file_takes_is_measured_in_pieces(tmp_path: Path) -> None:
    size = 64 << 20
    path = tmp_path / "layer"
    with gzip.open(path, "wb", 1) as file:
        file.write(layer_tar([entry("big", bytes(size))]))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    job = layer_jobs.LayerJob("x", BlobLocation(str(path)), None, path.stat().st_size, None, "sha256")
    files = tuple(one for one in layer_jobs.index(job).found if one.path == b"big")
    assert 0 < layer_jobs.compressed(job, files).size < 1 << 20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 << 10


def test_a_sparse_file_that_is_copied_up_is_not_expanded(ocitool: Run, tmp_path: Path) -> None:
    hole = sparse_1_0(b"hole", [(0, NOISE)], 1 << 40) + bytes(1024)
    store = write_layout(tmp_path / "s", [named("app:1", *(layer_tar([entry(name, b"")], end=b"") + hole for name in "ab"))])
    assert [] == advice(ocitool, store, "--files", kind="squash")


def test_bad_archives_leave_no_files_open(tmp_path: Path) -> None:
    for number in range(300):
        (tmp_path / f"{number}.tar").write_bytes(layer_tar([("a", bytes(5000))])[:2000])
    words = [sys.executable, "-m", "ocitool", "dedupe", "-q", str(tmp_path), "--format", "json"]
    done = subprocess.run(["sh", "-c", 'ulimit -n 64; exec "$@"', "sh", *words], capture_output=True)
    assert (1, 300) == (done.returncode, len(json.loads(done.stdout)["problems"]))


def test_a_job_for_another_process_holds_no_open_file(ocitool: Run, tmp_path: Path) -> None:
    file = tmp_path / "layer"
    file.write_bytes(layer("a"))
    stored = StoredBlob("x", None, 1)
    stored.place, stored.blob = BlobLocation(str(file)), FileBlob(OpenFile(str(file)), 0, 1)
    job = layers.job_for(stored)
    assert (True, None) == (job.reachable, job.blob)
    assert job == pickle.loads(pickle.dumps(job))


def test_an_image_that_thousands_share_with_is_summed_in_one_step_a_blob() -> None:
    collection = Collection()
    shared = collection.blob("sha256:s", None, 5, 5)
    for number in range(3):
        own = collection.blob(f"sha256:{number}", None, 7, 7)
        one = place(LAYOUT, f"p:{number}", str(number))
        collection.add(
            str(number), ImageEntry(number, {one.reference: one}, "image", None, None, (), 1, (own, shared, shared), ())
        )
    assert [(7, 5, 7)] * 3 == [tuple(collection.shares(member)) for member in collection.members]
    assert (3, 3 * 17, 26) == (*collection.referenced(), collection.unique())


def test_layers_of_other_contents_are_not_compared_in_pairs() -> None:
    contents = DistinctContents()
    for number in range(3):
        index = LayerIndex()
        made, _ = entry("a", b"x")
        index.add(Entry(*made), bytes([number + 1]) * 32)
        contents.add(StoredBlob(str(number), None, 1), index)
    assert [1, 1, 1] == [len(alike) for alike in contents.equal_but_times.values()]


def test_of_many_layers_some_are_compressed_to_learn_what_zstd_saves(
    ocitool: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layers.LayerReader, "MAX_SAMPLED", 100_000)
    texts = [b"".join(b"%d %d " % (n, k * n) for k in range(9000)) for n in range(12)]
    store = write_layout(tmp_path / "s", [named(f"n{n}", layer_tar([(f"f{n}", text)])) for n, text in enumerate(texts)])
    (advised,) = [one for one in advice(ocitool, store, "--zstd", "9") if one["kind"] == "zstd"]
    monkeypatch.undo()
    (known,) = [one for one in advice(ocitool, store, "--zstd", "9") if one["kind"] == "zstd"]
    assert (True, False) == (advised["estimated"], known["estimated"])
    assert re.search(r"estimated from [2-9] of 12, which are", advised["text"])
    assert known["saves"] == pytest.approx(advised["saves"], rel=0.1)


# Sources


def test_an_index_holds_what_all_of_its_places_hold(ocitool: Run, tmp_path: Path) -> None:
    parts = [
        image([layer(arch)], platform={"os": "linux", "architecture": arch}, architecture=arch) for arch in ("amd64", "arm64")
    ]
    document = pretty(index_of([one.descriptor for one in parts]))
    top = {"mediaType": "application/vnd.oci.image.index.v1+json", "digest": sha256(document), "size": len(document)}
    stores = []
    for name, held in (("one", parts[:1]), ("all", parts)):
        store = write_layout(tmp_path / name, held)
        (store / "blobs/sha256" / top["digest"][7:]).write_bytes(document)
        listed = {**top, "annotations": {"org.opencontainers.image.ref.name": "x"}}
        (store / "index.json").write_bytes(pretty(index_of([listed])))
        stores.append(store)
    sums = [report_of(ocitool("dedupe", *words, "--format", "json"), 0) for words in (stores, stores[::-1], stores[1:])]
    held_on_disk = [one["bytes"].pop("onDisk") for one in sums]  # what each layout has lies there, also what both have
    assert 1 == len({json.dumps([one["bytes"], one["layers"]]) for one in sums})
    on_disk = [sum(path.stat().st_size for path in store.glob("blobs/*/*")) for store in stores]
    assert [sum(on_disk), sum(on_disk), on_disk[1]] == held_on_disk


@pytest.mark.parametrize("words", [("docker://h.example/app:1", "--tags", "*"), ("docker://h.example/app", "--repos", "*")])
def test_globs_that_no_reference_is_for_are_2(words: tuple[str, ...], ocitool: Run) -> None:
    assert 2 == ocitool("dedupe", *words).code


def test_problems_stand_in_one_order(ocitool: Run, tmp_path: Path) -> None:
    made = [named(f"n{n}", layer(f"l{n}"), rootfs={"type": "layers", "diff_ids": [sha256(b"%d" % n)]}) for n in range(9)]
    store = write_layout(tmp_path / "s", made)
    wheres = [one["where"] for one in report_of(ocitool("dedupe", store, "--files", "--format", "json"), 1)["problems"]]
    assert (9, sorted(wheres)) == (len(wheres), wheres)
