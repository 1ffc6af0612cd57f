"""`ocitool dedupe`: every advice, followed on a real example, saves what it said, and the images stay what they were."""

from __future__ import annotations

import base64
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.copying import AMD
from support.images import (
    Image,
    entry,
    image,
    index_of,
    layer_tar,
    layout_files,
    pretty,
    sha256,
    write_docker_archive,
    write_layout,
    write_oci_archive,
    write_tar,
)
from support.report import report_of
from support.twice_built import FIRST, SECOND, built, pyc

from ocitool.spec import mediatypes

REF, FULL = "org.opencontainers.image.ref.name", "io.containerd.image.name"
AWKWARD = 'it\'s a "store" & $HOME `id`'
WRITE = {"layout": write_layout, "oci": write_oci_archive, "docker": write_docker_archive}


# Contents


def text(seed: str, size: int) -> bytes:
    """Bytes that gzip makes about 45 % of, as it does of programs and libraries: words and random base64 by turns."""
    dice = random.Random(seed)
    words = [base64.b32encode(dice.randbytes(dice.randint(2, 6))).lower().rstrip(b"=") for _ in range(900)]
    pieces, length = [], 0
    while length < size:
        piece = b" ".join(dice.choices(words, k=90)) + b"\n" + base64.b64encode(dice.randbytes(200)) + b"\n"
        pieces.append(piece)
        length += len(piece)
    return b"".join(pieces)[:size]


def packed(seed: str, size: int) -> bytes:
    """Bytes that gzip makes no smaller: pictures, archives."""
    return random.Random(seed).randbytes(size)


def prose(seed: str, size: int) -> bytes:
    """Bytes that gzip makes about 25 % of: documentation, locales."""
    dice = random.Random(seed)
    words = [base64.b32encode(dice.randbytes(4)).lower().rstrip(b"=") for _ in range(64)]
    return b" ".join(dice.choices(words, k=size // 4))[:size]


def files(seed: str, *names: str, size: int = 300_000, **changes: Any) -> list[Any]:
    """Entries of files, their directory first; `changes` are made to the files."""
    return [entry(name, text(seed + name, size), **changes) for name in names]


def tree(directory: str, seed: str, count: int = 4, size: int = 200_000, **changes: Any) -> bytes:
    """A layer of a directory of files."""
    return layer_tar([(directory + "/", None), *files(seed, *(f"{directory}/{n}" for n in range(count)), size=size, **changes)])


# Following advice


class Collection:
    """A directory with archives and layouts, and a copy of it from before an advice was followed."""

    def __init__(self, run: Callable[..., Any], top: Path) -> None:
        self.top, self.before, self._run = top / "collection", top / "before", run
        self.top.mkdir()
        bin = top / "bin"
        bin.mkdir()
        script = bin / "ocitool"
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m ocitool "$@"\n')
        script.chmod(0o755)
        self._env = {**os.environ, "PATH": f"{bin}:{os.environ['PATH']}", "OCITOOL_CACHE_DIR": str(top / "cache")}

    def layout(self, images: Sequence[Image], name: str = "store", **how: Any) -> Path:
        return write_layout(self.top / name, images, **how)

    def report(self, *words: str) -> Any:
        return report_of(self._run("dedupe", "--format", "json", *words, cwd=self.top))

    def advice(self, kind: str, *words: str) -> list[Any]:
        return [one for one in self.report(*(words or (".",)))["advice"] if one["kind"] == kind]

    def only(self, kind: str, *words: str) -> Any:
        found = self.advice(kind, *words)
        assert 1 == len(found), found
        return found[0]

    def run_shell(self, command: str) -> None:
        """Runs a command line, which ends well."""
        done = subprocess.run(["sh", "-c", command], cwd=self.top, env=self._env, stdin=subprocess.DEVNULL, capture_output=True)
        assert 0 == done.returncode, f"{command}\n{done.stdout.decode()}\n{done.stderr.decode()}"

    def save_copy(self) -> None:
        shutil.copytree(self.top, self.before)

    def blobs(self) -> int:
        """Bytes of the blobs of all layouts, of each file once however many names it has."""
        found = {((status := path.stat()).st_dev, status.st_ino): status.st_size for path in self.top.rglob("blobs/*/*")}
        return sum(found.values())

    def disk(self) -> int:
        """Bytes of those, and of archives."""
        return self.blobs() + sum(path.stat().st_size for path in self.top.glob("*.tar*"))

    def unique(self) -> int:
        return int(self.report(".")["bytes"]["unique"])

    def diff(self, before: str, after: str, *words: str) -> None:
        """No file of an image differs from what it was."""
        result = self._run("diff", "--fail-on", "files", *words, self.before / before, self.top / after)
        assert 0 == result.code, str(result)

    def saves_as_stated(self, kind: str, *words: str, within: float = 0.05) -> None:
        """Whatever is advised of a kind saves what it said."""
        for advised in self.advice(kind, *words):
            before = self.blobs()
            self.run_shell(advised["command"])
            saved = before - self.blobs()
            assert abs(saved - advised["saves"]) <= within * advised["saves"], f"saved {saved}, said {advised}"

    def follow(self, kind: str, *words: str, archives: bool = False, within: float = 0.05) -> Any:
        """Follows the one advice of a kind: it saves what it said and is not given again."""
        measure = self.disk if kind == "contained" else self.unique if archives else self.blobs
        advised, before = self.only(kind, *words), measure()
        self.save_copy()
        self.run_shell(advised["command"])
        saved = before - measure()
        assert abs(saved - advised["saves"]) <= within * advised["saves"], f"saved {saved}, said {advised}"
        assert [] == self.advice(kind, *words)
        return advised


@pytest.fixture
def collection(ocitool: Callable[..., Any], tmp_path: Path) -> Collection:
    return Collection(ocitool, tmp_path)


def named(one: Image, tag: str) -> dict[str, Any]:
    return {**one.descriptor, "annotations": {REF: tag}}


def full(one: Image, name: str) -> Image:
    """With the fully qualified name that containerd gives, and its tag beside it."""
    one.annotations = {REF: name.rpartition(":")[2], FULL: name}
    return one


def several(tars: dict[str, Sequence[bytes]], tag: str, **how: Any) -> tuple[dict[str, Any], list[Image]]:
    """The descriptor of an index of images by architecture, and the images; the last one carries the index as a blob."""
    images = [image(layers, architecture=arch, platform={**AMD, "architecture": arch}, **how) for arch, layers in tars.items()]
    inner = pretty(index_of([one.descriptor for one in images]))
    images[-1].extra[sha256(inner)] = inner
    top = {"mediaType": mediatypes.OCI_INDEX, "digest": sha256(inner), "size": len(inner), "annotations": {REF: tag}}
    return top, images


def speaking_of(one: Image) -> Image:
    """An artifact that has an image as its subject."""
    made = image([], config=b"{}")
    made.manifest["config"]["mediaType"] = "application/vnd.oci.empty.v1+json"
    made.manifest.update(artifactType="application/x.sbom", subject=one.descriptor)
    return made


# rebase

SYSTEM, OLD_LIBS, NEW_LIBS = tree("bin", "system"), tree("lib", "old"), tree("lib", "new")
OWN = {name: tree("app", name, 2) for name in ("a", "b", "c")}
LIBS = {"history": [{"created_by": "ADD rootfs"}, {"created_by": "RUN apt-get upgrade"}]}


def old_base(**how: Any) -> Image:
    return image([SYSTEM, OLD_LIBS], **{"created": "2024-01-01T00:00:00Z", **LIBS, **how})


def new_base(**how: Any) -> Image:
    return image([SYSTEM, NEW_LIBS], **{"created": "2024-02-01T00:00:00Z", **LIBS, **how})


def app(name: str, base: bytes = OLD_LIBS, **how: Any) -> Image:
    return image([SYSTEM, base, OWN[name]], **{"created": "2024-01-15T00:00:00Z", "tag": f"{name}:1", **how})


def expected(collection: Collection, *names: str) -> None:
    """A layout beside the collection with the images as they would be on the new base."""
    write_layout(collection.before / "expected", [app(name, NEW_LIBS) for name in names])


def test_rebase_saves_what_the_old_base_alone_held(collection: Collection) -> None:
    collection.layout([old_base(tag="debian:12.1"), new_base(tag="debian:12.2"), app("a")])
    collection.follow("rebase")
    expected(collection, "a")
    collection.diff("expected:a:1", "store:a:1")


def test_rebase_moves_all_images_of_the_old_base(collection: Collection) -> None:
    collection.layout([old_base(tag="debian:12.1"), new_base(tag="debian:12.2"), app("a"), app("b")])
    assert ["./store:a:1", "./store:b:1"] == collection.follow("rebase")["images"]
    expected(collection, "a", "b")
    collection.diff("expected:a:1", "store:a:1")
    collection.diff("expected:b:1", "store:b:1")


def test_rebase_says_nothing_that_an_untagged_image_prevents(collection: Collection) -> None:
    """What a command writes beside it would not take its place."""
    collection.layout([old_base(tag="debian:12.1"), new_base(tag="debian:12.2"), app("a", tag=None)])
    assert [] == collection.advice("rebase")


def test_rebase_takes_every_name_of_the_old_base_away(collection: Collection) -> None:
    old, new, one = old_base(tag="debian:12.1"), new_base(tag="debian:12.2"), app("a")
    entries = [old.descriptor, named(old, "debian:oldstable"), new.descriptor, one.descriptor]
    collection.layout([old, new, one], index=index_of(entries))
    collection.follow("rebase")


def test_rebase_moves_every_name_of_an_image(collection: Collection) -> None:
    old, new, one = old_base(tag="debian:12.1"), new_base(tag="debian:12.2"), app("a")
    collection.layout([old, new, one], index=index_of([*(x.descriptor for x in (old, new, one)), named(one, "a:latest")]))
    collection.follow("rebase")
    expected(collection, "a")
    collection.diff("expected:a:1", "store:a:latest")


@pytest.mark.parametrize(("how", "codec"), [("oci", "gzip"), ("docker", "none")])
def test_rebase_works_in_archives(collection: Collection, how: str, codec: str) -> None:
    for name, one in {
        "old.tar": old_base(tag="debian:12.1", codec=codec), "new.tar": new_base(tag="debian:12.2", codec=codec),
        "it's a.tar": app("a", codec=codec), "b.tar": app("b", codec=codec),
    }.items():  # fmt: skip
        WRITE[how](collection.top / name, [one])
    collection.follow("rebase", archives=True)
    expected(collection, "a", "b")
    collection.diff("expected:a:1", "it's a.tar")
    collection.diff("expected:b:1", "b.tar")


def test_rebase_counts_nothing_that_another_image_keeps(collection: Collection) -> None:
    top, both = several({"amd64": [SYSTEM, OLD_LIBS, OWN["b"]], "arm64": [OWN["c"]]}, "b:1")
    one = [old_base(tag="debian:12.1"), new_base(tag="debian:12.2"), app("a")]
    collection.layout([*one, *both], index=index_of([*(x.descriptor for x in one), top]))
    assert [] == [found for found in collection.advice("rebase") if found["saves"] > 5000]


@pytest.mark.parametrize(
    "images",
    [
        [old_base(tag="debian:12.1"), new_base(tag="debian:12.2"), app("a", NEW_LIBS)],
        [old_base(tag="debian:12.1"), app("a"), app("b")],
        [old_base(tag="debian:12.2", created="2024-03-01T00:00:00Z"), new_base(tag="debian:12.1"), app("a")],
        [old_base(tag="debian:12.1"), new_base(tag="alpine:3", history=[]), app("a")],
        [old_base(tag="debian:12.1"), new_base(tag="debian:12.2"), app("a"), speaking_of(old_base(tag="debian:12.1"))],
    ],
    ids=["base-is-newest", "no-newer", "base-is-younger", "another-family", "artifact-keeps-it"],
)
def test_rebase_is_not_advised_without_gain(collection: Collection, images: list[Image]) -> None:
    collection.layout(images)
    assert [] == [found for found in collection.advice("rebase") if found["saves"] > 5000]


def test_rebase_is_not_advised_for_several_platforms(collection: Collection) -> None:
    top, both = several({"amd64": [SYSTEM, OLD_LIBS, OWN["b"]], "arm64": [OWN["c"]]}, "b:1")
    one = [old_base(tag="debian:12.1"), new_base(tag="debian:12.2")]
    collection.layout([*one, *both], index=index_of([*(x.descriptor for x in one), top]))
    assert [] == collection.advice("rebase")


# recompress

PARTS = [tree("usr", "usr"), tree("opt", "opt")]
TOP = tree("srv", "srv", 1)


def tight(tag: str | None = "tight:1", **how: Any) -> Image:
    """The same layers, one of its own above them, in another compression."""
    return image([*PARTS, TOP], tag=tag, **{"codec": "zstd", **how})


def test_recompress_saves_the_larger_blobs(collection: Collection) -> None:
    collection.layout([image(PARTS, tag="wide:1"), tight()])
    collection.follow("recompress")
    collection.diff("store:wide:1", "store:wide:1")


def test_recompress_rewrites_every_image_that_has_them(collection: Collection) -> None:
    collection.layout([image(PARTS, tag="wide:1"), image([*PARTS, OWN["a"]], tag="wide:2"), tight()])
    assert ["./store:wide:1", "./store:wide:2"] == collection.follow("recompress")["images"]
    collection.diff("store:wide:1", "store:wide:1")
    collection.diff("store:wide:2", "store:wide:2")


def test_recompress_is_not_advised_for_an_untagged_image(collection: Collection) -> None:
    collection.layout([image(PARTS), tight()])
    assert [] == collection.advice("recompress")


def test_recompress_is_not_advised_where_an_untagged_image_has_the_blobs_too(collection: Collection) -> None:
    collection.layout([image(PARTS, tag="wide:1"), image([*PARTS, OWN["a"]]), tight()])
    assert [] == collection.advice("recompress")


def test_recompress_rewrites_an_image_wherever_it_is(collection: Collection) -> None:
    for name in ("one", "two"):
        collection.layout([image(PARTS, tag="wide:1")], name)
    write_oci_archive(collection.top / "three.tar", [image(PARTS, tag="wide:1")])
    collection.layout([tight()], "tight")
    collection.follow("recompress", archives=True)
    for place in ("one:wide:1", "two:wide:1", "three.tar"):
        collection.diff(place, place)


def test_recompress_is_told_by_an_image_that_the_command_can_take(collection: Collection) -> None:
    """Of an index only the image of the host's platform is."""
    wide, (top, both) = image(PARTS, tag="wide:1"), several({"amd64": [TOP], "arm64": PARTS}, "both:1", codec="zstd")
    collection.layout([wide, *both], index=index_of([wide.descriptor, top]))
    collection.saves_as_stated("recompress")


def test_recompress_works_in_archives_in_place(collection: Collection) -> None:
    write_oci_archive(collection.top / "it's wide.tar", [image(PARTS, tag="wide:1")])
    write_oci_archive(collection.top / "tight.tar", [tight()])
    collection.follow("recompress", archives=True)
    collection.diff("it's wide.tar", "it's wide.tar")


def test_recompress_counts_each_image_for_itself(collection: Collection) -> None:
    """What only one of two images has beside the layers of both is saved by that image's rewrite alone."""
    collection.layout([image(PARTS, tag="wide:1"), image([PARTS[0], OWN["a"]], tag="wide:2"), tight()])
    collection.save_copy()
    before = collection.blobs()
    advised = collection.advice("recompress")
    for one in advised:
        collection.run_shell(one["command"])
    saves = sum(one["saves"] for one in advised)
    assert abs(before - collection.blobs() - saves) <= 0.05 * saves
    assert [] == collection.advice("recompress")


def test_recompress_never_takes_platforms_away(collection: Collection) -> None:
    top, both = several({"amd64": PARTS, "arm64": [OWN["a"]]}, "both:1")
    small = tight()
    collection.layout([small, *both], index=index_of([small.descriptor, top]))
    assert [] == collection.advice("recompress")


def test_recompress_is_not_advised_where_an_artifact_keeps_the_blobs(collection: Collection) -> None:
    wide = image(PARTS, tag="wide:1")
    collection.layout([wide, tight(), speaking_of(wide)])
    assert [] == collection.advice("recompress")


# rebuild


def build_tars(time: int) -> list[bytes]:
    """Layers of the same files at a time."""
    return [tree(name, name, mtime=time * 10**9) for name in ("usr", "opt")]


def build(time: int, *own: bytes, **how: Any) -> Image:
    return image([*build_tars(time), *own], **how)


def test_rebuild_saves_layers_that_differ_in_times_alone(collection: Collection) -> None:
    collection.layout([build(1_700_000_000, tag="app:1"), build(1_710_000_000, OWN["a"], tag="app:2")])
    collection.follow("rebuild", ".", "--files")
    collection.diff("store:app:2", "store:app:2", "--semantic")


def test_rebuild_is_not_advised_for_an_untagged_image(collection: Collection) -> None:
    collection.layout([build(1_700_000_000, tag="app:1"), build(1_710_000_000, OWN["a"])])
    assert [] == collection.advice("rebuild", ".", "--files")


def test_rebuild_takes_layers_from_an_untagged_image(collection: Collection) -> None:
    collection.layout([build(1_700_000_000), build(1_710_000_000, OWN["a"], tag="app:2")])
    collection.follow("rebuild", ".", "--files")
    collection.diff("store:app:2", "store:app:2", "--semantic")


def test_rebuild_is_told_by_an_image_that_the_command_can_take(collection: Collection) -> None:
    """Of an index only the image of the host's platform is."""
    one, (top, both) = build(1_710_000_000, OWN["a"], tag="app:2"), several({"amd64": [TOP], "arm64": build_tars(1)}, "both:1")
    collection.layout([*both, one], index=index_of([top, one.descriptor]))
    collection.saves_as_stated("rebuild", ".", "--files")


@pytest.mark.parametrize(("how", "codec"), [("oci", "gzip"), ("docker", "none")])
def test_rebuild_works_in_archives_in_place(collection: Collection, how: str, codec: str) -> None:
    WRITE[how](collection.top / "old.tar", [build(1_700_000_000, tag="app:1", codec=codec)])
    WRITE[how](collection.top / "it's new.tar", [build(1_710_000_000, OWN["a"], tag="app:2", codec=codec)])
    collection.follow("rebuild", ".", "--files", archives=True)
    collection.diff("it's new.tar", "it's new.tar", "--semantic")


def test_rebuild_never_takes_platforms_away(collection: Collection) -> None:
    old = build(1_600_000_000, tag="app:1")
    top, both = several({"amd64": build_tars(1_710_000_000), "arm64": [OWN["a"]]}, "app:2")
    collection.layout([old, *both], index=index_of([old.descriptor, top]))
    assert [] == collection.advice("rebuild", ".", "--files")


def install(time: int, *more: tuple[str, bytes]) -> bytes:
    """What a build leaves of one instruction: the same files at another time, its logs, its caches, its compiled Python."""
    left = [
        ("var/log/apt/history.log", b"began %d" % time), ("var/cache/ldconfig/aux-cache", text(f"aux{time}", 30_000)),
        ("var/cache/apt/pkgcache.bin", text(f"apt{time}", 30_000)), entry("usr/lib/m/a.py", b"source", mtime=time * 10**9),
        entry("usr/lib/m/__pycache__/a.cpython-311.pyc", pyc(time), mtime=time * 10**9),
    ]  # fmt: skip
    found = [*files("installed", "usr/lib/one", "usr/lib/two", mtime=time * 10**9), *left, *more]
    return layer_tar(found)


@pytest.mark.parametrize("how", ["layout", "oci"])
def test_two_builds_that_differ_in_logs_and_caches_get_the_advice_to_rebuild_with_the_whole_layer(
    collection: Collection, how: str
) -> None:
    old = image([LOW, install(1_700_000_000)], tag="app:1")
    new = image([LOW, install(1_710_000_000), OWN["a"]], tag="app:2")
    if how == "layout":
        collection.layout([old, new])
    else:
        write_oci_archive(collection.top / "old.tar", [old])
        write_oci_archive(collection.top / "new.tar", [new])
    advised = collection.follow("rebuild", ".", "--files", archives=how == "oci")
    assert advised["saves"] in (len(old.layers[1]), len(new.layers[1]))
    for glob in ("'/var/log/apt/**'", "'/var/cache/apt/**'", "/var/cache/ldconfig/aux-cache"):
        assert f"--ignore-path {glob}" in advised["command"]
    assert "pyc" not in advised["command"]  # `rebuild` compares them itself: code that differs is never taken


def test_builds_of_compiled_python_with_other_code_are_not_taken_for_one_another(collection: Collection) -> None:
    path = "usr/lib/n/b.pyc"
    one, other = (image([LOW, install(when, (path, pyc(when, code)))], tag=f"app:{code}")
                  for when, code in ((1_700_000_000, "1"), (1_710_000_000, "2")))  # fmt: skip
    collection.layout([one, other])
    assert [] == collection.advice("rebuild", ".", "--files")


def test_builds_of_other_inputs_are_compared_if_the_instruction_is_the_same(collection: Collection) -> None:
    """Builders name the hash of the files that they copy: a base that was made again is another one to them."""
    made = [image([install(when)], tag=f"app:{when}", history=[{"created_by": f"ADD file:{digit * 64} in /"}])
            for when, digit in ((1_700_000_000, "a"), (1_710_000_000, "b"))]  # fmt: skip
    collection.layout(made)
    advised = collection.follow("rebuild", ".", "--files")
    assert advised["saves"] == len(made[1].layers[0])


def test_two_builds_of_one_file_share_all_but_their_documents_after_the_command(collection: Collection) -> None:
    """Base, packages, accounts, Python: each layer differs in times, logs, caches, days of passwords and compiled files."""
    base = text("base", 200_000)
    made = [
        image([layer_tar([("usr/lib/base", base), ("var/log/bootstrap.log", b"%d" % when)]), layer_tar(built(when))],
              tag=f"app:{when}")
        for when in (FIRST, SECOND)
    ]  # fmt: skip
    collection.layout(made)
    advised = collection.follow("rebuild", ".", "--files")
    assert sum(map(len, made[1].layers)) == advised["saves"]
    assert "/etc/shadow" in advised["command"]
    collection.diff(f"store:app:{SECOND}", f"store:app:{SECOND}", "--semantic", "--ignore-volatile")


def test_from_documents_alone_it_is_said_that_builds_of_one_file_are_worth_reading(collection: Collection) -> None:
    lines = {"history": [{"created_by": "ADD file:x"}, {"created_by": "RUN install"}]}
    old, new = (image([LOW, install(when)], tag=f"app:{when}", **lines) for when in (FIRST, SECOND))
    collection.layout([old, new])
    (notice,) = collection.report(".")["notices"]
    assert "built-again" == notice["code"]
    assert f"1 image is built by the instructions of another; up to {len(new.layers[1]):,} bytes" in notice["text"]
    assert [] == collection.report(".", "--files")["notices"]


def test_images_of_other_instructions_are_no_builds_of_one_another(collection: Collection) -> None:
    for n, when in enumerate((FIRST, SECOND)):
        lines = {"history": [{"created_by": "ADD file:x"}, {"created_by": f"RUN install {n}"}]}
        collection.layout([image([LOW, install(when)], tag=f"app:{when}", **lines)], f"store{n}")
    assert [] == collection.report(".")["notices"]


def test_builds_that_differ_in_a_file_besides_logs_are_not_taken_for_one_another(collection: Collection) -> None:
    collection.layout([
        image([LOW, install(1_700_000_000)], tag="app:1"), image([LOW, install(1_710_000_000, ("z", b"other"))], tag="app:2")
    ])  # fmt: skip
    assert [] == collection.advice("rebuild", ".", "--files")


def test_rebuild_is_not_advised_for_a_mode_or_a_byte(collection: Collection) -> None:
    one = build(1_700_000_000, tag="app:1")
    mode = image([tree("usr", "usr", mode=0o600), tree("opt", "optional")], tag="app:2")
    collection.layout([one, mode])
    assert [] == collection.advice("rebuild", ".", "--files")


# squash

DATA = ("data/one", "data/two", "data/it's three")
PLAIN = layer_tar([("data/", None), *files("data", *DATA)])
OPENED = layer_tar([("data/", None), *files("data", *DATA, mode=0o777)])
LOW = tree("bin", "low")
COPIED = [LOW, PLAIN, OPENED]


def test_squash_saves_the_files_that_were_copied_up(collection: Collection) -> None:
    collection.layout([image(COPIED, tag="app:1")])
    collection.follow("squash", ".", "--files")
    collection.diff("store:app:1", "store:app:1")


def test_squash_keeps_what_lies_below(collection: Collection) -> None:
    collection.layout([image(COPIED, tag="app:1"), image([LOW], tag="low:1")])
    collection.follow("squash", ".", "--files")
    collection.diff("store:app:1", "store:app:1")


def test_squash_saves_of_a_layer_with_more_in_it_what_it_said(collection: Collection) -> None:
    more = layer_tar([("data/", None), *files("data", *DATA, mode=0o777), *files("more", "more", size=500_000)])
    collection.layout([image([LOW, PLAIN, more], tag="app:1")])
    collection.follow("squash", ".", "--files")
    collection.diff("store:app:1", "store:app:1")


def test_squash_of_two_copies_says_of_both_what_one_command_saves(collection: Collection) -> None:
    one = layer_tar([("data/", None), *files("data", *DATA[:1], mode=0o777)])
    two = layer_tar([("data/", None), *files("data", *DATA[1:], mode=0o777)])
    collection.layout([image([LOW, PLAIN, one, two], tag="app:1")])
    advised, before = collection.advice("squash", ".", "--files"), collection.blobs()
    collection.save_copy()
    collection.run_shell(advised[0]["command"])
    saved = before - collection.blobs()
    assert abs(saved - advised[0]["saves"]) <= 0.05 * advised[0]["saves"], f"saved {saved}, said {advised}"


def test_squash_saves_of_files_that_gzip_makes_no_smaller_what_it_said(collection: Collection) -> None:
    """Beside them in the layer are files that it makes much smaller."""
    copied = [entry("picture", packed("picture", 600_000), mode=mode) for mode in (0o644, 0o600)]
    collection.layout(
        [image([LOW, layer_tar(copied[:1]), layer_tar([copied[1], ("doc", prose("doc", 900_000))])], tag="app:1")]
    )
    collection.follow("squash", ".", "--files")


def test_squash_works_in_a_store_of_any_name(collection: Collection) -> None:
    collection.layout([image(COPIED, tag="app:1")], AWKWARD)
    collection.follow("squash", ".", "--files")


@pytest.mark.parametrize("word", ["store/", "oci:store", "{top}/store"])
def test_squash_works_however_the_store_was_named(collection: Collection, word: str) -> None:
    collection.layout([image(COPIED, tag="app:1")])
    collection.follow("squash", word.format(top=collection.top), "--files")
    collection.diff("store:app:1", "store:app:1")


@pytest.mark.parametrize("word", ["oci-archive:app.tar", "app.tar:app:1"])
def test_squash_works_however_the_archive_was_named(collection: Collection, word: str) -> None:
    write_oci_archive(collection.top / "app.tar", [image(COPIED, tag="app:1")])
    collection.follow("squash", word.format(top=collection.top), "--files", archives=True)
    collection.diff("app.tar", "app.tar")


def test_squash_works_in_a_store_whose_name_begins_with_a_dash(collection: Collection) -> None:
    collection.layout([image(COPIED, tag="app:1")], "-store")
    collection.follow("squash", "--files", "--", "-store")


def test_squash_is_not_advised_for_an_untagged_image(collection: Collection) -> None:
    collection.layout([image(COPIED), image([TOP], tag="top:1")])
    assert [] == collection.advice("squash", ".", "--files")


def test_squash_rewrites_an_image_wherever_it_is(collection: Collection) -> None:
    for name in ("one", "two"):
        collection.layout([image(COPIED, tag="app:1")], name)
    collection.follow("squash", ".", "--files", archives=True)
    collection.diff("one:app:1", "two:app:1")


def test_squash_moves_every_name_of_an_image(collection: Collection) -> None:
    one = image(COPIED, tag="app:1")
    collection.layout([one], index=index_of([one.descriptor, named(one, "app:latest")]))
    collection.follow("squash", ".", "--files")
    collection.diff("store:app:1", "store:app:latest")


@pytest.mark.parametrize(("how", "codec"), [("oci", "gzip"), ("docker", "none"), ("oci", "zstd")])
def test_squash_works_in_archives_in_place(collection: Collection, how: str, codec: str) -> None:
    WRITE[how](collection.top / "it's mine.tar", [image(COPIED, tag="app:1", codec=codec)])
    collection.follow("squash", ".", "--files", archives=True)
    collection.diff("it's mine.tar", "it's mine.tar")


def test_squash_is_not_advised_for_one_of_several_in_an_archive(collection: Collection) -> None:
    write_oci_archive(collection.top / "all.tar", [image(COPIED, tag="app:1"), image([TOP], tag="top:1")])
    assert [] == collection.advice("squash", ".", "--files")


def test_shared_copies_are_looked_at_only(collection: Collection) -> None:
    shared = image([LOW, PLAIN], tag="lower:1")
    collection.layout([image(COPIED, tag="app:1"), shared])
    advised, before = collection.only("squash", ".", "--files"), collection.blobs()
    collection.run_shell(advised["command"])
    assert before == collection.blobs()
    fixed = sum(len(data) for data in {**image([LOW, PLAIN], tag="app:1").blobs, **shared.blobs}.values())
    assert abs(before - fixed - advised["saves"]) <= 0.05 * advised["saves"]


@pytest.mark.parametrize(
    "top",
    [
        layer_tar([("data/", None), *files("other", *DATA)]),
        layer_tar([("data/", None), *files("data", "data/four", "data/five")]),
        layer_tar([("data/", None), entry("data/one", b"tiny", mode=0o777)]),
    ],
    ids=["overwritten", "new", "tiny"],
)
def test_squash_is_not_advised_without_copies(collection: Collection, top: bytes) -> None:
    collection.layout([image([LOW, PLAIN, top], tag="app:1")])
    assert [] == collection.advice("squash", ".", "--files")


def test_squash_is_not_advised_for_tiny_files(collection: Collection) -> None:
    tars = [layer_tar([("d/", None), *files("d", "d/a", "d/b", size=9000, mode=mode)]) for mode in (0o644, 0o600)]
    collection.layout([image(tars, tag="app:1")])
    assert [] == collection.advice("squash", ".", "--files")


def test_squash_is_not_advised_where_an_artifact_keeps_the_layers(collection: Collection) -> None:
    one = image(COPIED, tag="app:1")
    collection.layout([one, speaking_of(one)])
    assert [] == collection.advice("squash", ".", "--files")


def test_squash_is_not_advised_for_several_platforms(collection: Collection) -> None:
    top, both = several({"amd64": COPIED, "arm64": [OWN["a"]]}, "app:1")
    collection.layout(both, index=index_of([top]))
    assert [] == collection.advice("squash", ".", "--files")


# repeated, in one layer

SAME = text("same", 900_000)
LINKED = ("usr/lib/it's one.so", 'usr/lib/a "two" $HOME.so', "usr/three")


def doubled(*names: str, content: bytes = SAME) -> bytes:
    parents = dict.fromkeys(str(up) for name in names for up in reversed(Path(name).parents) if str(up) != ".")
    return layer_tar([*((up + "/", None) for up in parents), *((name, content) for name in names), *files("x", "x")])


def test_repeated_in_one_layer_is_held_once_by_hard_links(collection: Collection) -> None:
    collection.layout([image([LOW, doubled(*LINKED)], tag="app:1")])
    collection.follow("repeated", ".", "--files")
    collection.diff("store:app:1", "store:app:1", "--ignore", "links", "--ignore", "mtime")


@pytest.mark.parametrize(("twice", "beside"), [(packed, prose), (prose, packed)])
def test_repeated_in_one_layer_saves_what_it_said_whatever_is_beside(collection: Collection, twice: Any, beside: Any) -> None:
    content = twice("twice", 600_000)
    collection.layout(
        [image([LOW, layer_tar([("a", content), ("beside", beside("beside", 900_000)), ("b", content)])], tag="app:1")]
    )
    collection.follow("repeated", ".", "--files")


def test_repeated_in_one_layer_leaves_nothing_beside(collection: Collection) -> None:
    collection.layout([image([LOW, doubled(*LINKED)], tag="app:1")])
    collection.follow("repeated", ".", "--files")
    assert ["store"] == [path.name for path in collection.top.iterdir()]


def test_repeated_in_one_layer_works_for_several_files(collection: Collection) -> None:
    other = text("other", 700_000)
    tar = layer_tar([("a", SAME), ("b", other), *files("x", "x"), ("c", SAME), ("d", other)])
    collection.layout([image([LOW, tar], tag="app:1")])
    collection.follow("repeated", ".", "--files")
    collection.diff("store:app:1", "store:app:1", "--ignore", "links")


def test_links_are_not_advised_for_an_untagged_image(collection: Collection) -> None:
    collection.layout([image([LOW, doubled(*LINKED)]), image([TOP], tag="top:1")])
    assert [] == collection.advice("repeated", ".", "--files")


def test_repeated_in_one_layer_is_linked_wherever_the_image_is(collection: Collection) -> None:
    for name in ("one", "two"):
        collection.layout([image([LOW, doubled(*LINKED)], tag="app:1")], name)
    collection.follow("repeated", ".", "--files", archives=True)
    collection.diff("one:app:1", "two:app:1", "--ignore", "links")


@pytest.mark.parametrize(("how", "codec"), [("oci", "gzip"), ("docker", "none")])
def test_repeated_in_one_layer_works_in_archives_in_place(collection: Collection, how: str, codec: str) -> None:
    WRITE[how](collection.top / "it's mine.tar", [image([LOW, doubled(*LINKED)], tag="app:1", codec=codec)])
    collection.follow("repeated", ".", "--files", archives=True)
    collection.diff("it's mine.tar", "it's mine.tar", "--ignore", "links")


@pytest.mark.parametrize(
    "upper",
    [[("a", text("newer", 100_000))], [(".wh.a", b"")], [("a", "link:b")]],
    ids=["overwritten", "deleted", "replaced-by-a-symlink"],
)
def test_repeated_in_one_layer_changes_no_file_where_an_upper_layer_has_another(
    collection: Collection, upper: list[Any]
) -> None:
    collection.layout([image([LOW, doubled("a", "b"), layer_tar(upper)], tag="app:1")])
    collection.save_copy()
    for advised in collection.advice("repeated", ".", "--files"):
        collection.run_shell(advised["command"])
    collection.diff("store:app:1", "store:app:1", "--ignore", "links")


@pytest.mark.parametrize(
    "tar",
    [
        layer_tar([entry("a", SAME), entry("b", SAME, mode=0o755)]),
        layer_tar([entry("a", SAME), entry("b", SAME, uid=7)]),
        layer_tar([("a", SAME), ("b", "hard:a")]),
        layer_tar([("a", SAME[:20_000]), ("b", SAME[:20_000])]),
        layer_tar([("a", SAME), ("b\nc", SAME)]),
    ],
    ids=["mode", "owner", "links-already", "tiny", "unprintable"],
)
def test_links_are_not_advised_for_what_cannot_be_one_file(collection: Collection, tar: bytes) -> None:
    collection.layout([image([LOW, tar], tag="app:1")])
    assert [] == collection.advice("repeated", ".", "--files")


def test_links_are_not_advised_in_a_layer_that_others_have(collection: Collection) -> None:
    tar = doubled("a", "b")
    collection.layout([image([LOW, tar], tag="app:1"), image([LOW, tar, OWN["a"]], tag="app:2")])
    assert [] == collection.advice("repeated", ".", "--files")


def test_links_are_not_advised_for_several_platforms(collection: Collection) -> None:
    top, both = several({"amd64": [doubled("a", "b")], "arm64": [OWN["a"]]}, "app:1")
    collection.layout(both, index=index_of([top]))
    assert [] == collection.advice("repeated", ".", "--files")


def test_links_are_not_advised_where_an_artifact_keeps_the_layer(collection: Collection) -> None:
    one = image([LOW, doubled("a", "b")], tag="app:1")
    collection.layout([one, speaking_of(one)])
    assert [] == collection.advice("repeated", ".", "--files")


# repeated, in two layers

UNDER = layer_tar([("opt/", None), ("opt/it's lib", SAME), *files("y", "y")])
OVER = layer_tar([("srv/", None), ('srv/a "copy" $HOME', SAME), *files("z", "z")])


def test_repeated_in_two_layers_saves_the_upper_one(collection: Collection) -> None:
    collection.layout([image([UNDER, OVER], tag="app:1")])
    collection.follow("repeated", ".", "--files")


@pytest.mark.parametrize(("twice", "beside"), [(packed, prose), (prose, packed)])
def test_repeated_in_two_layers_saves_what_it_said_whatever_is_beside(collection: Collection, twice: Any, beside: Any) -> None:
    content = twice("twice", 600_000)
    tars = [layer_tar([("a", content)]), layer_tar([("b", content), ("beside", beside("beside", 900_000))])]
    collection.layout([image(tars, tag="app:1")])
    collection.follow("repeated", ".", "--files")


def test_repeated_in_two_layers_puts_a_symlink_to_the_lower_one_and_changes_nothing_else(collection: Collection) -> None:
    collection.layout([image([UNDER, OVER], tag="app:1")])
    collection.follow("repeated", ".", "--files")
    wanted = layer_tar([("srv/", None), ('srv/a "copy" $HOME', "link:/opt/it's lib"), *files("z", "z")])
    write_layout(collection.before / "wanted", [image([UNDER, wanted], tag="app:1")])
    collection.diff("wanted:app:1", "store:app:1", "--ignore", "mtime")


def test_repeated_in_two_layers_works_above_a_shared_layer(collection: Collection) -> None:
    collection.layout([image([UNDER, OVER], tag="app:1"), image([UNDER], tag="under:1")])
    collection.follow("repeated", ".", "--files")
    collection.diff("store:under:1", "store:under:1")


def test_nothing_is_taken_out_of_an_untagged_image(collection: Collection) -> None:
    collection.layout([image([UNDER, OVER]), image([TOP], tag="top:1")])
    assert [] == collection.advice("repeated", ".", "--files")


def test_repeated_in_two_layers_works_for_several_files(collection: Collection) -> None:
    names = ("one", "two", "three")
    tars = [layer_tar([(f"{at}/", None), *((f"{at}/{n}", text(n, 300_000)) for n in names)]) for at in ("opt", "srv")]
    collection.layout([image([LOW, *tars, TOP], tag="app:1")])
    collection.follow("repeated", ".", "--files")


def test_nothing_is_taken_out_whose_name_an_upper_layer_has_for_another_file(collection: Collection) -> None:
    """It would be taken out of the upper layer too."""
    newer = layer_tar([("srv/", None), ('srv/a "copy" $HOME', text("newer", 90_000))])
    collection.layout([image([UNDER, OVER, newer], tag="app:1")])
    assert [] == collection.advice("repeated", ".", "--files")


def test_nothing_is_taken_out_whose_name_a_shared_layer_has_too(collection: Collection) -> None:
    """It would be taken out of the shared layer too, which then were two."""
    base = layer_tar([("srv/", None), ('srv/a "copy" $HOME', text("older", 90_000)), *files("base", "base", size=900_000)])
    collection.layout([image([base, UNDER, OVER], tag="app:1"), image([base], tag="base:1")])
    collection.saves_as_stated("repeated", ".", "--files")


def test_nothing_is_taken_out_where_an_artifact_keeps_the_layer(collection: Collection) -> None:
    one = image([UNDER, OVER], tag="app:1")
    collection.layout([one, speaking_of(one)])
    assert [] == collection.advice("repeated", ".", "--files")


@pytest.mark.parametrize(
    "tars",
    [[UNDER, UNDER], [UNDER, layer_tar([("z", SAME[:80_000])])], [layer_tar([(name, SAME[:9_000])]) for name in "st"]],
    ids=["same-layer", "prefix", "tiny"],
)
def test_nothing_is_taken_out_that_is_not_there_twice(collection: Collection, tars: list[bytes]) -> None:
    collection.layout([image(tars, tag="app:1")])
    assert [] == collection.advice("repeated", ".", "--files")


def test_nothing_is_taken_out_of_a_layer_that_others_have(collection: Collection) -> None:
    collection.layout([image([UNDER, OVER], tag="app:1"), image([OVER], tag="over:1")])
    assert [] == collection.advice("repeated", ".", "--files")


def test_nothing_is_taken_out_where_the_lower_file_is_gone(collection: Collection) -> None:
    """The copy is then the only one that whoever runs the image sees."""
    gone = layer_tar([("opt/", None), ("opt/.wh.it's lib", b""), ("srv/", None), ("srv/copy", SAME), *files("z", "z")])
    collection.layout([image([UNDER, gone], tag="app:1")])
    assert [] == collection.advice("repeated", ".", "--files")


def test_nothing_is_taken_out_of_several_platforms(collection: Collection) -> None:
    top, both = several({"amd64": [UNDER, OVER], "arm64": [OWN["a"]]}, "app:1")
    collection.layout(both, index=index_of([top]))
    assert [] == collection.advice("repeated", ".", "--files")


# zstd

ZSTD = (".", "--zstd", "9")


def test_zstd_saves_what_was_estimated(collection: Collection) -> None:
    collection.layout([image([*PARTS, OWN["a"]], tag="app:1"), image([*PARTS, OWN["b"]], tag="app:2")])
    collection.follow("zstd", *ZSTD, within=0.1)
    collection.diff("store:app:1", "store:app:1")
    collection.diff("store:app:2", "store:app:2")


def test_zstd_counts_nothing_that_an_untagged_image_keeps(collection: Collection) -> None:
    collection.layout([image([*PARTS, OWN["a"]], tag="app:1"), image([*PARTS, OWN["b"]])])
    collection.saves_as_stated("zstd", *ZSTD, within=0.1)


def test_zstd_moves_every_name_of_an_image(collection: Collection) -> None:
    one = full(image([*PARTS, OWN["a"]]), "reg.example/team/app:1")
    collection.layout([one], index=index_of([one.descriptor, named(one, "app:latest")]))
    collection.follow("zstd", *ZSTD, within=0.1)
    collection.diff("store:app:latest", "store:app:latest")
    collection.diff("store:app:latest", "store:reg.example/team/app:1")


def test_zstd_converts_every_platform(collection: Collection) -> None:
    top, both = several({"amd64": PARTS, "arm64": [OWN["a"]]}, "app:1")
    collection.layout(both, index=index_of([top]))
    collection.follow("zstd", *ZSTD, within=0.1)
    collection.diff("store:app:1", "store:app:1", "--all-platforms")


def test_zstd_works_in_archives_in_place(collection: Collection) -> None:
    write_oci_archive(collection.top / "it's a.tar", [image([*PARTS, OWN["a"]], tag="a:1")])
    write_oci_archive(collection.top / "b.tar", [image([*PARTS, OWN["b"]], tag="b:1")])
    collection.follow("zstd", *ZSTD, archives=True, within=0.1)
    collection.diff("it's a.tar", "it's a.tar")


def test_zstd_is_not_advised_where_nothing_is_gzip(collection: Collection) -> None:
    collection.layout([tight(), image([OWN["a"]], tag="plain:1", codec="none")])
    assert [] == collection.advice("zstd", *ZSTD)


def test_zstd_counts_no_layer_that_an_artifact_keeps(collection: Collection) -> None:
    one = image([*PARTS, OWN["a"]], tag="app:1")
    collection.layout([one, speaking_of(one)])
    collection.saves_as_stated("zstd", *ZSTD, within=0.1)


def test_zstd_converts_all_images_of_an_archive(collection: Collection) -> None:
    write_oci_archive(collection.top / "all.tar", [image([*PARTS, OWN[name]], tag=f"{name}:1") for name in "ab"])
    collection.follow("zstd", *ZSTD, archives=True, within=0.1)
    for place in ("all.tar:a:1", "all.tar:b:1"):
        collection.diff(place, place)


# contained


def whole(tag: str | None, **how: Any) -> Image:
    return image(PARTS, tag=tag, **how)


def test_contained_saves_the_documents_of_an_image_whose_layers_another_has(collection: Collection) -> None:
    collection.layout([whole("base:1"), image([*PARTS, TOP], tag="app:1")])
    assert f" @{whole('base:1').digest} " in collection.follow("contained")["command"]
    collection.diff("store:app:1", "store:app:1")


def test_contained_saves_layers_in_another_compression(collection: Collection) -> None:
    collection.layout([whole("base:1"), tight()])
    collection.follow("contained")


def test_contained_saves_what_two_images_alone_share(collection: Collection) -> None:
    collection.layout([whole("base:1"), whole("base:2", created="2024-05-01T00:00:00Z"), tight()])
    collection.follow("contained")


def test_contained_takes_an_untagged_image_away(collection: Collection) -> None:
    collection.layout([whole(None), tight()])
    collection.follow("contained")


def test_contained_takes_an_image_away_wherever_it_is(collection: Collection) -> None:
    collection.layout([whole("base:1")], "one")
    collection.layout([whole("base:1"), tight()], "two")
    write_oci_archive(collection.top / "three.tar", [whole("base:1")])
    collection.follow("contained")


def test_contained_works_for_archives(collection: Collection) -> None:
    write_oci_archive(collection.top / "it's the base.tar", [whole("base:1")])
    write_oci_archive(collection.top / "app.tar", [tight()])
    collection.follow("contained")
    assert ["app.tar"] == [path.name for path in collection.top.iterdir()]


def test_contained_is_not_advised_for_the_same_image_or_an_equal_one(collection: Collection) -> None:
    collection.layout([whole("base:1"), whole("base:2", created="2024-05-01T00:00:00Z")])
    write_oci_archive(collection.top / "base.tar", [whole("base:1")])
    assert [] == collection.advice("contained")


def test_contained_is_not_advised_where_an_artifact_keeps_it(collection: Collection) -> None:
    base = whole("base:1")
    collection.layout([base, tight(), speaking_of(base)])
    assert [] == collection.advice("contained")


def test_contained_is_not_advised_for_several_platforms(collection: Collection) -> None:
    top, both = several({"amd64": PARTS, "arm64": [OWN["a"]]}, "base:1")
    holders = [tight(), image([OWN["a"], TOP], tag="arm:1", architecture="arm64")]
    collection.layout([*holders, *both], index=index_of([*(one.descriptor for one in holders), top]))
    assert [] == collection.advice("contained")


# link


def test_link_saves_the_blobs_that_layouts_both_have(collection: Collection) -> None:
    collection.layout([image([*PARTS, OWN["a"]], tag="a:1")], "one")
    collection.layout([image([*PARTS, OWN["b"]], tag="b:1")], AWKWARD)
    collection.follow("link")
    collection.diff("one:a:1", "one:a:1")
    collection.diff(f"{AWKWARD}:b:1", f"{AWKWARD}:b:1")


def test_link_counts_three_layouts_and_what_is_linked_already(collection: Collection) -> None:
    for name in ("one", "two"):
        collection.layout([image([*PARTS, OWN["a"]], tag="a:1")], name)
    collection.run_shell("ocitool layout link one two")
    collection.layout([image([PARTS[1], OWN["b"]], tag="b:1")], "three")
    collection.follow("link")


def test_link_names_only_layouts_that_gain(collection: Collection) -> None:
    for name, own in (("one", "a"), ("two", "b")):
        collection.layout([image([*PARTS, OWN[own]], tag="a:1")], name)
    collection.layout([image([OWN["c"]], tag="c:1")], "alone")
    assert "alone" not in collection.follow("link")["command"]


def test_link_counts_nothing_that_keeps_another_name(collection: Collection) -> None:
    for name in ("one", "two"):
        collection.layout([image(PARTS, tag="a:1")], name)
    for blob in (collection.top / "two/blobs/sha256").iterdir():
        os.link(blob, collection.top / f"kept-{blob.name}")
    assert [] == collection.advice("link", "one", "two")


def test_link_joins_no_files_of_another_mode(collection: Collection) -> None:
    for name in ("one", "two"):
        collection.layout([image(PARTS, tag="a:1")], name)
    for blob in (collection.top / "two/blobs/sha256").iterdir():
        blob.chmod(0o600)
    assert [] == collection.advice("link")


def test_link_is_not_advised_where_nothing_is_equal(collection: Collection) -> None:
    collection.layout([image([OWN["a"]], tag="a:1")], "one")
    collection.layout([image([OWN["b"]], tag="b:1")], "two")
    assert [] == collection.advice("link")


# store


def archives(
    collection: Collection, how: str = "oci", names: Sequence[str] = ("it's a.tar", "b.tar"), **more: Any
) -> list[Path]:
    """Two archives that share most of their layers."""
    return [
        WRITE[how](collection.top / name, [image([*PARTS, OWN[own]], tag=f"{own}:1", **more)])
        for name, own in zip(names, ("a", "b"), strict=True)
    ]


def stored(collection: Collection, paths: Sequence[Path]) -> None:
    """Follows the advice to keep archives in one layout: files before, its blobs after."""
    advised, before = collection.only("store"), sum(path.stat().st_size for path in paths)
    collection.save_copy()
    collection.run_shell(advised["command"])
    saved = before - collection.blobs()
    assert abs(saved - advised["saves"]) <= 0.05 * advised["saves"], f"saved {saved}, said {advised}"
    assert [False] * len(paths) == [path.exists() for path in paths]
    assert [] == collection.advice("store")


@pytest.mark.parametrize(("how", "codec"), [("oci", "gzip"), ("docker", "none")])
def test_store_saves_what_archives_share(collection: Collection, how: str, codec: str) -> None:
    stored(collection, archives(collection, how, codec=codec))
    collection.diff("it's a.tar", "store:a:1")
    collection.diff("b.tar", "store:b:1")


def test_store_is_not_advised_for_two_images_of_one_name(collection: Collection) -> None:
    for own in ("a", "b"):
        write_oci_archive(collection.top / f"{own}.tar", [image([*PARTS, OWN[own]], tag="app:latest")])
    assert [] == collection.advice("store")


def test_store_keeps_untagged_images(collection: Collection) -> None:
    stored(collection, [write_oci_archive(collection.top / f"{own}.tar", [image([*PARTS, OWN[own]])]) for own in ("a", "b")])
    assert 2 == len(collection.report("store")["images"])


def test_store_keeps_every_platform(collection: Collection) -> None:
    top, both = several({"amd64": PARTS, "arm64": [OWN["a"]]}, "app:1")
    paths = [write_oci_archive(collection.top / "all.tar", both, index=index_of([top]))]
    paths.append(write_oci_archive(collection.top / "one.tar", [image([*PARTS, OWN["b"]], tag="b:1")]))
    stored(collection, paths)
    collection.diff("all.tar:app:1", "store:app:1", "--all-platforms")


def test_store_counts_the_same_image_in_two_archives_once(collection: Collection) -> None:
    one = image([*PARTS, OWN["a"]], tag="a:1")
    stored(collection, [write_oci_archive(collection.top / name, [one]) for name in ("a.tar", "again.tar")])
    collection.diff("a.tar", "store:a:1")


def test_store_counts_all_that_an_archive_holds_where_one_image_was_asked_about(collection: Collection) -> None:
    shared, *_ = archives(collection)
    write_oci_archive(shared, [image([*PARTS, OWN["a"]], tag="a:1"), image([*PARTS, OWN["c"]], tag="c:1")])
    before = sum(path.stat().st_size for path in collection.top.iterdir())
    for advised in collection.advice("store", f"{shared.name}:a:1", "b.tar"):
        collection.run_shell(advised["command"])
        saved = before - collection.blobs()
        assert abs(saved - advised["saves"]) <= 0.05 * advised["saves"], f"saved {saved}, said {advised}"


def test_store_takes_no_name_from_an_image_that_is_there_already(collection: Collection) -> None:
    collection.layout([image([OWN["c"]], tag="a:1")])
    archives(collection)
    collection.save_copy()
    for advised in collection.advice("store"):
        collection.run_shell(advised["command"])
    collection.diff("store:a:1", "store:a:1")


def test_store_says_of_archives_that_are_compressed_what_a_layout_saves(collection: Collection) -> None:
    for path in archives(collection):
        collection.run_shell(f"gzip '{path.name}'" if "'" not in path.name else f'gzip "{path.name}"')
    stored(collection, sorted(collection.top.iterdir()))


def test_store_leaves_an_archive_alone_that_could_not_be_read_whole(collection: Collection) -> None:
    first, second = archives(collection)
    one, bad = image([*PARTS, OWN["c"]], tag="c:1"), image([TOP], tag="bad:1")
    found = layout_files([one, bad])
    del found[f"blobs/sha256/{sha256(bad.config)[7:]}"]
    write_tar(second, found)
    result = collection._run("dedupe", ".", "--format", "json", cwd=collection.top)
    assert [] == [
        advised for advised in report_of(result, 1)["advice"] if advised["kind"] == "store" and "b.tar" in advised["command"]
    ]
    assert first.exists()


def test_store_is_not_advised_for_one_archive_or_what_shares_nothing(collection: Collection) -> None:
    write_oci_archive(collection.top / "a.tar", [image([OWN["a"]], tag="a:1")])
    assert [] == collection.advice("store")
    write_oci_archive(collection.top / "b.tar", [image([OWN["b"]], tag="b:1")])
    assert [] == [advised for advised in collection.advice("store") if advised["saves"] > 50_000]


# All of them


def test_the_same_image_in_two_places_is_advised_nothing_but_to_share_the_place(collection: Collection) -> None:
    one = image(PARTS, tag="app:1")
    collection.layout([one], "one")
    collection.layout([one], "two")
    write_oci_archive(collection.top / "app.tar", [one])
    assert {"link"} == {advised["kind"] for advised in collection.report(".", "--files")["advice"]}


def test_tiny_images_of_other_contents_are_advised_nothing(collection: Collection) -> None:
    collection.layout([image([layer_tar([(name, name.encode() * 100)])], tag=f"{name}:1") for name in ("a", "b", "c")])
    assert [] == collection.report(".", "--files")["advice"]
