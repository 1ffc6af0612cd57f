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


class Yard:
    """A directory with a collection, and a copy of how it was before an advice was followed."""

    def __init__(self, run: Callable[..., Any], top: Path) -> None:
        self.top, self.was, self._run = top / "yard", top / "was", run
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

    def sh(self, command: str) -> None:
        """Runs a command line, which ends well."""
        done = subprocess.run(["sh", "-c", command], cwd=self.top, env=self._env, stdin=subprocess.DEVNULL, capture_output=True)
        assert 0 == done.returncode, f"{command}\n{done.stdout.decode()}\n{done.stderr.decode()}"

    def keep(self) -> None:
        shutil.copytree(self.top, self.was)

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
        result = self._run("diff", "--fail-on", "files", *words, self.was / before, self.top / after)
        assert 0 == result.code, str(result)

    def true(self, kind: str, *words: str, within: float = 0.05) -> None:
        """Whatever is advised of a kind saves what it said."""
        for advised in self.advice(kind, *words):
            before = self.blobs()
            self.sh(advised["command"])
            saved = before - self.blobs()
            assert abs(saved - advised["saves"]) <= within * advised["saves"], f"saved {saved}, said {advised}"

    def follow(self, kind: str, *words: str, archives: bool = False, within: float = 0.05) -> Any:
        """Follows the one advice of a kind: it saves what it said and is not given again."""
        measure = self.disk if kind == "contained" else self.unique if archives else self.blobs
        advised, before = self.only(kind, *words), measure()
        self.keep()
        self.sh(advised["command"])
        saved = before - measure()
        assert abs(saved - advised["saves"]) <= within * advised["saves"], f"saved {saved}, said {advised}"
        assert [] == self.advice(kind, *words)
        return advised


@pytest.fixture
def yard(ocitool: Callable[..., Any], tmp_path: Path) -> Yard:
    return Yard(ocitool, tmp_path)


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


def expected(yard: Yard, *names: str) -> None:
    """A layout beside the collection with the images as they would be on the new base."""
    write_layout(yard.was / "expected", [app(name, NEW_LIBS) for name in names])


def test_rebase_saves_what_the_old_base_alone_held(yard: Yard) -> None:
    yard.layout([old_base(tag="debian:12.1"), new_base(tag="debian:12.2"), app("a")])
    yard.follow("rebase")
    expected(yard, "a")
    yard.diff("expected:a:1", "store:a:1")


def test_rebase_moves_all_images_of_the_old_base(yard: Yard) -> None:
    yard.layout([old_base(tag="debian:12.1"), new_base(tag="debian:12.2"), app("a"), app("b")])
    assert ["./store:a:1", "./store:b:1"] == yard.follow("rebase")["images"]
    expected(yard, "a", "b")
    yard.diff("expected:a:1", "store:a:1")
    yard.diff("expected:b:1", "store:b:1")


def test_rebase_says_nothing_that_an_untagged_image_prevents(yard: Yard) -> None:
    """What a command writes beside it would not take its place."""
    yard.layout([old_base(tag="debian:12.1"), new_base(tag="debian:12.2"), app("a", tag=None)])
    assert [] == yard.advice("rebase")


def test_rebase_takes_every_name_of_the_old_base_away(yard: Yard) -> None:
    old, new, one = old_base(tag="debian:12.1"), new_base(tag="debian:12.2"), app("a")
    entries = [old.descriptor, named(old, "debian:oldstable"), new.descriptor, one.descriptor]
    yard.layout([old, new, one], index=index_of(entries))
    yard.follow("rebase")


def test_rebase_moves_every_name_of_an_image(yard: Yard) -> None:
    old, new, one = old_base(tag="debian:12.1"), new_base(tag="debian:12.2"), app("a")
    yard.layout([old, new, one], index=index_of([*(x.descriptor for x in (old, new, one)), named(one, "a:latest")]))
    yard.follow("rebase")
    expected(yard, "a")
    yard.diff("expected:a:1", "store:a:latest")


@pytest.mark.parametrize(("how", "codec"), [("oci", "gzip"), ("docker", "none")])
def test_rebase_works_in_archives(yard: Yard, how: str, codec: str) -> None:
    for name, one in {
        "old.tar": old_base(tag="debian:12.1", codec=codec), "new.tar": new_base(tag="debian:12.2", codec=codec),
        "it's a.tar": app("a", codec=codec), "b.tar": app("b", codec=codec),
    }.items():  # fmt: skip
        WRITE[how](yard.top / name, [one])
    yard.follow("rebase", archives=True)
    expected(yard, "a", "b")
    yard.diff("expected:a:1", "it's a.tar")
    yard.diff("expected:b:1", "b.tar")


def test_rebase_counts_nothing_that_another_image_keeps(yard: Yard) -> None:
    top, both = several({"amd64": [SYSTEM, OLD_LIBS, OWN["b"]], "arm64": [OWN["c"]]}, "b:1")
    one = [old_base(tag="debian:12.1"), new_base(tag="debian:12.2"), app("a")]
    yard.layout([*one, *both], index=index_of([*(x.descriptor for x in one), top]))
    assert [] == [found for found in yard.advice("rebase") if found["saves"] > 5000]


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
def test_rebase_is_not_advised_without_gain(yard: Yard, images: list[Image]) -> None:
    yard.layout(images)
    assert [] == [found for found in yard.advice("rebase") if found["saves"] > 5000]


def test_rebase_is_not_advised_for_several_platforms(yard: Yard) -> None:
    top, both = several({"amd64": [SYSTEM, OLD_LIBS, OWN["b"]], "arm64": [OWN["c"]]}, "b:1")
    one = [old_base(tag="debian:12.1"), new_base(tag="debian:12.2")]
    yard.layout([*one, *both], index=index_of([*(x.descriptor for x in one), top]))
    assert [] == yard.advice("rebase")


# recompress

PARTS = [tree("usr", "usr"), tree("opt", "opt")]
TOP = tree("srv", "srv", 1)


def tight(tag: str | None = "tight:1", **how: Any) -> Image:
    """The same layers, one of its own above them, in another compression."""
    return image([*PARTS, TOP], tag=tag, **{"codec": "zstd", **how})


def test_recompress_saves_the_larger_blobs(yard: Yard) -> None:
    yard.layout([image(PARTS, tag="wide:1"), tight()])
    yard.follow("recompress")
    yard.diff("store:wide:1", "store:wide:1")


def test_recompress_rewrites_every_image_that_has_them(yard: Yard) -> None:
    yard.layout([image(PARTS, tag="wide:1"), image([*PARTS, OWN["a"]], tag="wide:2"), tight()])
    assert ["./store:wide:1", "./store:wide:2"] == yard.follow("recompress")["images"]
    yard.diff("store:wide:1", "store:wide:1")
    yard.diff("store:wide:2", "store:wide:2")


def test_recompress_is_not_advised_for_an_untagged_image(yard: Yard) -> None:
    yard.layout([image(PARTS), tight()])
    assert [] == yard.advice("recompress")


def test_recompress_is_not_advised_where_an_untagged_image_has_the_blobs_too(yard: Yard) -> None:
    yard.layout([image(PARTS, tag="wide:1"), image([*PARTS, OWN["a"]]), tight()])
    assert [] == yard.advice("recompress")


def test_recompress_rewrites_an_image_wherever_it_is(yard: Yard) -> None:
    for name in ("one", "two"):
        yard.layout([image(PARTS, tag="wide:1")], name)
    write_oci_archive(yard.top / "three.tar", [image(PARTS, tag="wide:1")])
    yard.layout([tight()], "tight")
    yard.follow("recompress", archives=True)
    for place in ("one:wide:1", "two:wide:1", "three.tar"):
        yard.diff(place, place)


def test_recompress_is_told_by_an_image_that_the_command_can_take(yard: Yard) -> None:
    """Of an index only the image of the host's platform is."""
    wide, (top, both) = image(PARTS, tag="wide:1"), several({"amd64": [TOP], "arm64": PARTS}, "both:1", codec="zstd")
    yard.layout([wide, *both], index=index_of([wide.descriptor, top]))
    yard.true("recompress")


def test_recompress_works_in_archives_in_place(yard: Yard) -> None:
    write_oci_archive(yard.top / "it's wide.tar", [image(PARTS, tag="wide:1")])
    write_oci_archive(yard.top / "tight.tar", [tight()])
    yard.follow("recompress", archives=True)
    yard.diff("it's wide.tar", "it's wide.tar")


def test_recompress_counts_each_image_for_itself(yard: Yard) -> None:
    """What only one of two images has beside the layers of both is saved by that image's rewrite alone."""
    yard.layout([image(PARTS, tag="wide:1"), image([PARTS[0], OWN["a"]], tag="wide:2"), tight()])
    yard.keep()
    before = yard.blobs()
    advised = yard.advice("recompress")
    for one in advised:
        yard.sh(one["command"])
    saves = sum(one["saves"] for one in advised)
    assert abs(before - yard.blobs() - saves) <= 0.05 * saves
    assert [] == yard.advice("recompress")


def test_recompress_never_takes_platforms_away(yard: Yard) -> None:
    top, both = several({"amd64": PARTS, "arm64": [OWN["a"]]}, "both:1")
    small = tight()
    yard.layout([small, *both], index=index_of([small.descriptor, top]))
    assert [] == yard.advice("recompress")


def test_recompress_is_not_advised_where_an_artifact_keeps_the_blobs(yard: Yard) -> None:
    wide = image(PARTS, tag="wide:1")
    yard.layout([wide, tight(), speaking_of(wide)])
    assert [] == yard.advice("recompress")


# rebuild


def build_tars(time: int) -> list[bytes]:
    """Layers of the same files at a time."""
    return [tree(name, name, mtime=time * 10**9) for name in ("usr", "opt")]


def build(time: int, *own: bytes, **how: Any) -> Image:
    return image([*build_tars(time), *own], **how)


def test_rebuild_saves_layers_that_differ_in_times_alone(yard: Yard) -> None:
    yard.layout([build(1_700_000_000, tag="app:1"), build(1_710_000_000, OWN["a"], tag="app:2")])
    yard.follow("rebuild", ".", "--files")
    yard.diff("store:app:2", "store:app:2", "--semantic")


def test_rebuild_is_not_advised_for_an_untagged_image(yard: Yard) -> None:
    yard.layout([build(1_700_000_000, tag="app:1"), build(1_710_000_000, OWN["a"])])
    assert [] == yard.advice("rebuild", ".", "--files")


def test_rebuild_takes_layers_from_an_untagged_image(yard: Yard) -> None:
    yard.layout([build(1_700_000_000), build(1_710_000_000, OWN["a"], tag="app:2")])
    yard.follow("rebuild", ".", "--files")
    yard.diff("store:app:2", "store:app:2", "--semantic")


def test_rebuild_is_told_by_an_image_that_the_command_can_take(yard: Yard) -> None:
    """Of an index only the image of the host's platform is."""
    one, (top, both) = build(1_710_000_000, OWN["a"], tag="app:2"), several({"amd64": [TOP], "arm64": build_tars(1)}, "both:1")
    yard.layout([*both, one], index=index_of([top, one.descriptor]))
    yard.true("rebuild", ".", "--files")


@pytest.mark.parametrize(("how", "codec"), [("oci", "gzip"), ("docker", "none")])
def test_rebuild_works_in_archives_in_place(yard: Yard, how: str, codec: str) -> None:
    WRITE[how](yard.top / "old.tar", [build(1_700_000_000, tag="app:1", codec=codec)])
    WRITE[how](yard.top / "it's new.tar", [build(1_710_000_000, OWN["a"], tag="app:2", codec=codec)])
    yard.follow("rebuild", ".", "--files", archives=True)
    yard.diff("it's new.tar", "it's new.tar", "--semantic")


def test_rebuild_never_takes_platforms_away(yard: Yard) -> None:
    old = build(1_600_000_000, tag="app:1")
    top, both = several({"amd64": build_tars(1_710_000_000), "arm64": [OWN["a"]]}, "app:2")
    yard.layout([old, *both], index=index_of([old.descriptor, top]))
    assert [] == yard.advice("rebuild", ".", "--files")


def install(time: int, *more: tuple[str, bytes]) -> bytes:
    """What a build leaves of one instruction: the same files at another time, its logs, its caches, its compiled Python."""
    left = [
        ("var/log/apt/history.log", b"began %d" % time), ("var/cache/ldconfig/aux-cache", text(f"aux{time}", 30_000)),
        ("var/cache/apt/pkgcache.bin", text(f"apt{time}", 30_000)), ("usr/lib/m/__pycache__/a.cpython-311.pyc", b"\0%d" % time),
    ]  # fmt: skip
    found = [*files("installed", "usr/lib/one", "usr/lib/two", mtime=time * 10**9), *left, *more]
    return layer_tar(found)


@pytest.mark.parametrize("how", ["layout", "oci"])
def test_two_builds_that_differ_in_logs_and_caches_get_the_advice_to_rebuild_with_the_whole_layer(yard: Yard, how: str) -> None:
    old = image([LOW, install(1_700_000_000)], tag="app:1")
    new = image([LOW, install(1_710_000_000), OWN["a"]], tag="app:2")
    if how == "layout":
        yard.layout([old, new])
    else:
        write_oci_archive(yard.top / "old.tar", [old])
        write_oci_archive(yard.top / "new.tar", [new])
    advised = yard.follow("rebuild", ".", "--files", archives=how == "oci")
    assert advised["saves"] in (len(old.layers[1]), len(new.layers[1]))
    for glob in ("'/var/log/**'", "'/var/cache/**'", "'**/__pycache__/**'"):
        assert f"--ignore-path {glob}" in advised["command"]


def test_builds_that_differ_in_a_file_besides_logs_are_not_taken_for_one_another(yard: Yard) -> None:
    yard.layout([
        image([LOW, install(1_700_000_000)], tag="app:1"), image([LOW, install(1_710_000_000, ("z", b"other"))], tag="app:2")
    ])  # fmt: skip
    assert [] == yard.advice("rebuild", ".", "--files")


def test_rebuild_is_not_advised_for_a_mode_or_a_byte(yard: Yard) -> None:
    one = build(1_700_000_000, tag="app:1")
    mode = image([tree("usr", "usr", mode=0o600), tree("opt", "optional")], tag="app:2")
    yard.layout([one, mode])
    assert [] == yard.advice("rebuild", ".", "--files")


# squash

DATA = ("data/one", "data/two", "data/it's three")
PLAIN = layer_tar([("data/", None), *files("data", *DATA)])
OPENED = layer_tar([("data/", None), *files("data", *DATA, mode=0o777)])
LOW = tree("bin", "low")
COPIED = [LOW, PLAIN, OPENED]


def test_squash_saves_the_files_that_were_copied_up(yard: Yard) -> None:
    yard.layout([image(COPIED, tag="app:1")])
    yard.follow("squash", ".", "--files")
    yard.diff("store:app:1", "store:app:1")


def test_squash_keeps_what_lies_below(yard: Yard) -> None:
    yard.layout([image(COPIED, tag="app:1"), image([LOW], tag="low:1")])
    yard.follow("squash", ".", "--files")
    yard.diff("store:app:1", "store:app:1")


def test_squash_saves_of_a_layer_with_more_in_it_what_it_said(yard: Yard) -> None:
    more = layer_tar([("data/", None), *files("data", *DATA, mode=0o777), *files("more", "more", size=500_000)])
    yard.layout([image([LOW, PLAIN, more], tag="app:1")])
    yard.follow("squash", ".", "--files")
    yard.diff("store:app:1", "store:app:1")


def test_squash_of_two_copies_says_of_both_what_one_command_saves(yard: Yard) -> None:
    one = layer_tar([("data/", None), *files("data", *DATA[:1], mode=0o777)])
    two = layer_tar([("data/", None), *files("data", *DATA[1:], mode=0o777)])
    yard.layout([image([LOW, PLAIN, one, two], tag="app:1")])
    advised, before = yard.advice("squash", ".", "--files"), yard.blobs()
    yard.keep()
    yard.sh(advised[0]["command"])
    saved = before - yard.blobs()
    assert abs(saved - advised[0]["saves"]) <= 0.05 * advised[0]["saves"], f"saved {saved}, said {advised}"


def test_squash_saves_of_files_that_gzip_makes_no_smaller_what_it_said(yard: Yard) -> None:
    """Beside them in the layer are files that it makes much smaller."""
    copied = [entry("picture", packed("picture", 600_000), mode=mode) for mode in (0o644, 0o600)]
    yard.layout([image([LOW, layer_tar(copied[:1]), layer_tar([copied[1], ("doc", prose("doc", 900_000))])], tag="app:1")])
    yard.follow("squash", ".", "--files")


def test_squash_works_in_a_store_of_any_name(yard: Yard) -> None:
    yard.layout([image(COPIED, tag="app:1")], AWKWARD)
    yard.follow("squash", ".", "--files")


@pytest.mark.parametrize("word", ["store/", "oci:store", "{top}/store"])
def test_squash_works_however_the_store_was_named(yard: Yard, word: str) -> None:
    yard.layout([image(COPIED, tag="app:1")])
    yard.follow("squash", word.format(top=yard.top), "--files")
    yard.diff("store:app:1", "store:app:1")


@pytest.mark.parametrize("word", ["oci-archive:app.tar", "app.tar:app:1"])
def test_squash_works_however_the_archive_was_named(yard: Yard, word: str) -> None:
    write_oci_archive(yard.top / "app.tar", [image(COPIED, tag="app:1")])
    yard.follow("squash", word.format(top=yard.top), "--files", archives=True)
    yard.diff("app.tar", "app.tar")


def test_squash_works_in_a_store_whose_name_begins_with_a_dash(yard: Yard) -> None:
    yard.layout([image(COPIED, tag="app:1")], "-store")
    yard.follow("squash", "--files", "--", "-store")


def test_squash_is_not_advised_for_an_untagged_image(yard: Yard) -> None:
    yard.layout([image(COPIED), image([TOP], tag="top:1")])
    assert [] == yard.advice("squash", ".", "--files")


def test_squash_rewrites_an_image_wherever_it_is(yard: Yard) -> None:
    for name in ("one", "two"):
        yard.layout([image(COPIED, tag="app:1")], name)
    yard.follow("squash", ".", "--files", archives=True)
    yard.diff("one:app:1", "two:app:1")


def test_squash_moves_every_name_of_an_image(yard: Yard) -> None:
    one = image(COPIED, tag="app:1")
    yard.layout([one], index=index_of([one.descriptor, named(one, "app:latest")]))
    yard.follow("squash", ".", "--files")
    yard.diff("store:app:1", "store:app:latest")


@pytest.mark.parametrize(("how", "codec"), [("oci", "gzip"), ("docker", "none"), ("oci", "zstd")])
def test_squash_works_in_archives_in_place(yard: Yard, how: str, codec: str) -> None:
    WRITE[how](yard.top / "it's mine.tar", [image(COPIED, tag="app:1", codec=codec)])
    yard.follow("squash", ".", "--files", archives=True)
    yard.diff("it's mine.tar", "it's mine.tar")


def test_squash_is_not_advised_for_one_of_several_in_an_archive(yard: Yard) -> None:
    write_oci_archive(yard.top / "all.tar", [image(COPIED, tag="app:1"), image([TOP], tag="top:1")])
    assert [] == yard.advice("squash", ".", "--files")


def test_shared_copies_are_looked_at_only(yard: Yard) -> None:
    shared = image([LOW, PLAIN], tag="lower:1")
    yard.layout([image(COPIED, tag="app:1"), shared])
    advised, before = yard.only("squash", ".", "--files"), yard.blobs()
    yard.sh(advised["command"])
    assert before == yard.blobs()
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
def test_squash_is_not_advised_without_copies(yard: Yard, top: bytes) -> None:
    yard.layout([image([LOW, PLAIN, top], tag="app:1")])
    assert [] == yard.advice("squash", ".", "--files")


def test_squash_is_not_advised_for_tiny_files(yard: Yard) -> None:
    tars = [layer_tar([("d/", None), *files("d", "d/a", "d/b", size=9000, mode=mode)]) for mode in (0o644, 0o600)]
    yard.layout([image(tars, tag="app:1")])
    assert [] == yard.advice("squash", ".", "--files")


def test_squash_is_not_advised_where_an_artifact_keeps_the_layers(yard: Yard) -> None:
    one = image(COPIED, tag="app:1")
    yard.layout([one, speaking_of(one)])
    assert [] == yard.advice("squash", ".", "--files")


def test_squash_is_not_advised_for_several_platforms(yard: Yard) -> None:
    top, both = several({"amd64": COPIED, "arm64": [OWN["a"]]}, "app:1")
    yard.layout(both, index=index_of([top]))
    assert [] == yard.advice("squash", ".", "--files")


# repeated, in one layer

SAME = text("same", 900_000)
LINKED = ("usr/lib/it's one.so", 'usr/lib/a "two" $HOME.so', "usr/three")


def doubled(*names: str, content: bytes = SAME) -> bytes:
    parents = dict.fromkeys(str(up) for name in names for up in reversed(Path(name).parents) if str(up) != ".")
    return layer_tar([*((up + "/", None) for up in parents), *((name, content) for name in names), *files("x", "x")])


def test_repeated_in_one_layer_is_held_once_by_hard_links(yard: Yard) -> None:
    yard.layout([image([LOW, doubled(*LINKED)], tag="app:1")])
    yard.follow("repeated", ".", "--files")
    yard.diff("store:app:1", "store:app:1", "--ignore", "links", "--ignore", "mtime")


@pytest.mark.parametrize(("twice", "beside"), [(packed, prose), (prose, packed)])
def test_repeated_in_one_layer_saves_what_it_said_whatever_is_beside(yard: Yard, twice: Any, beside: Any) -> None:
    content = twice("twice", 600_000)
    yard.layout([image([LOW, layer_tar([("a", content), ("beside", beside("beside", 900_000)), ("b", content)])], tag="app:1")])
    yard.follow("repeated", ".", "--files")


def test_repeated_in_one_layer_leaves_nothing_beside(yard: Yard) -> None:
    yard.layout([image([LOW, doubled(*LINKED)], tag="app:1")])
    yard.follow("repeated", ".", "--files")
    assert ["store"] == [path.name for path in yard.top.iterdir()]


def test_repeated_in_one_layer_works_for_several_files(yard: Yard) -> None:
    other = text("other", 700_000)
    tar = layer_tar([("a", SAME), ("b", other), *files("x", "x"), ("c", SAME), ("d", other)])
    yard.layout([image([LOW, tar], tag="app:1")])
    yard.follow("repeated", ".", "--files")
    yard.diff("store:app:1", "store:app:1", "--ignore", "links")


def test_links_are_not_advised_for_an_untagged_image(yard: Yard) -> None:
    yard.layout([image([LOW, doubled(*LINKED)]), image([TOP], tag="top:1")])
    assert [] == yard.advice("repeated", ".", "--files")


def test_repeated_in_one_layer_is_linked_wherever_the_image_is(yard: Yard) -> None:
    for name in ("one", "two"):
        yard.layout([image([LOW, doubled(*LINKED)], tag="app:1")], name)
    yard.follow("repeated", ".", "--files", archives=True)
    yard.diff("one:app:1", "two:app:1", "--ignore", "links")


@pytest.mark.parametrize(("how", "codec"), [("oci", "gzip"), ("docker", "none")])
def test_repeated_in_one_layer_works_in_archives_in_place(yard: Yard, how: str, codec: str) -> None:
    WRITE[how](yard.top / "it's mine.tar", [image([LOW, doubled(*LINKED)], tag="app:1", codec=codec)])
    yard.follow("repeated", ".", "--files", archives=True)
    yard.diff("it's mine.tar", "it's mine.tar", "--ignore", "links")


@pytest.mark.parametrize(
    "upper",
    [[("a", text("newer", 100_000))], [(".wh.a", b"")], [("a", "link:b")]],
    ids=["overwritten", "deleted", "replaced-by-a-symlink"],
)
def test_repeated_in_one_layer_changes_no_file_where_an_upper_layer_has_another(yard: Yard, upper: list[Any]) -> None:
    yard.layout([image([LOW, doubled("a", "b"), layer_tar(upper)], tag="app:1")])
    yard.keep()
    for advised in yard.advice("repeated", ".", "--files"):
        yard.sh(advised["command"])
    yard.diff("store:app:1", "store:app:1", "--ignore", "links")


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
def test_links_are_not_advised_for_what_cannot_be_one_file(yard: Yard, tar: bytes) -> None:
    yard.layout([image([LOW, tar], tag="app:1")])
    assert [] == yard.advice("repeated", ".", "--files")


def test_links_are_not_advised_in_a_layer_that_others_have(yard: Yard) -> None:
    tar = doubled("a", "b")
    yard.layout([image([LOW, tar], tag="app:1"), image([LOW, tar, OWN["a"]], tag="app:2")])
    assert [] == yard.advice("repeated", ".", "--files")


def test_links_are_not_advised_for_several_platforms(yard: Yard) -> None:
    top, both = several({"amd64": [doubled("a", "b")], "arm64": [OWN["a"]]}, "app:1")
    yard.layout(both, index=index_of([top]))
    assert [] == yard.advice("repeated", ".", "--files")


def test_links_are_not_advised_where_an_artifact_keeps_the_layer(yard: Yard) -> None:
    one = image([LOW, doubled("a", "b")], tag="app:1")
    yard.layout([one, speaking_of(one)])
    assert [] == yard.advice("repeated", ".", "--files")


# repeated, in two layers

UNDER = layer_tar([("opt/", None), ("opt/it's lib", SAME), *files("y", "y")])
OVER = layer_tar([("srv/", None), ('srv/a "copy" $HOME', SAME), *files("z", "z")])


def test_repeated_in_two_layers_saves_the_upper_one(yard: Yard) -> None:
    yard.layout([image([UNDER, OVER], tag="app:1")])
    yard.follow("repeated", ".", "--files")


@pytest.mark.parametrize(("twice", "beside"), [(packed, prose), (prose, packed)])
def test_repeated_in_two_layers_saves_what_it_said_whatever_is_beside(yard: Yard, twice: Any, beside: Any) -> None:
    content = twice("twice", 600_000)
    tars = [layer_tar([("a", content)]), layer_tar([("b", content), ("beside", beside("beside", 900_000))])]
    yard.layout([image(tars, tag="app:1")])
    yard.follow("repeated", ".", "--files")


def test_repeated_in_two_layers_puts_a_symlink_to_the_lower_one_and_changes_nothing_else(yard: Yard) -> None:
    yard.layout([image([UNDER, OVER], tag="app:1")])
    yard.follow("repeated", ".", "--files")
    wanted = layer_tar([("srv/", None), ('srv/a "copy" $HOME', "link:/opt/it's lib"), *files("z", "z")])
    write_layout(yard.was / "wanted", [image([UNDER, wanted], tag="app:1")])
    yard.diff("wanted:app:1", "store:app:1", "--ignore", "mtime")


def test_repeated_in_two_layers_works_above_a_shared_layer(yard: Yard) -> None:
    yard.layout([image([UNDER, OVER], tag="app:1"), image([UNDER], tag="under:1")])
    yard.follow("repeated", ".", "--files")
    yard.diff("store:under:1", "store:under:1")


def test_nothing_is_taken_out_of_an_untagged_image(yard: Yard) -> None:
    yard.layout([image([UNDER, OVER]), image([TOP], tag="top:1")])
    assert [] == yard.advice("repeated", ".", "--files")


def test_repeated_in_two_layers_works_for_several_files(yard: Yard) -> None:
    names = ("one", "two", "three")
    tars = [layer_tar([(f"{at}/", None), *((f"{at}/{n}", text(n, 300_000)) for n in names)]) for at in ("opt", "srv")]
    yard.layout([image([LOW, *tars, TOP], tag="app:1")])
    yard.follow("repeated", ".", "--files")


def test_nothing_is_taken_out_whose_name_an_upper_layer_has_for_another_file(yard: Yard) -> None:
    """It would be taken out of the upper layer too."""
    newer = layer_tar([("srv/", None), ('srv/a "copy" $HOME', text("newer", 90_000))])
    yard.layout([image([UNDER, OVER, newer], tag="app:1")])
    assert [] == yard.advice("repeated", ".", "--files")


def test_nothing_is_taken_out_whose_name_a_shared_layer_has_too(yard: Yard) -> None:
    """It would be taken out of the shared layer too, which then were two."""
    base = layer_tar([("srv/", None), ('srv/a "copy" $HOME', text("older", 90_000)), *files("base", "base", size=900_000)])
    yard.layout([image([base, UNDER, OVER], tag="app:1"), image([base], tag="base:1")])
    yard.true("repeated", ".", "--files")


def test_nothing_is_taken_out_where_an_artifact_keeps_the_layer(yard: Yard) -> None:
    one = image([UNDER, OVER], tag="app:1")
    yard.layout([one, speaking_of(one)])
    assert [] == yard.advice("repeated", ".", "--files")


@pytest.mark.parametrize(
    "tars",
    [[UNDER, UNDER], [UNDER, layer_tar([("z", SAME[:80_000])])], [layer_tar([(name, SAME[:9_000])]) for name in "st"]],
    ids=["same-layer", "prefix", "tiny"],
)
def test_nothing_is_taken_out_that_is_not_there_twice(yard: Yard, tars: list[bytes]) -> None:
    yard.layout([image(tars, tag="app:1")])
    assert [] == yard.advice("repeated", ".", "--files")


def test_nothing_is_taken_out_of_a_layer_that_others_have(yard: Yard) -> None:
    yard.layout([image([UNDER, OVER], tag="app:1"), image([OVER], tag="over:1")])
    assert [] == yard.advice("repeated", ".", "--files")


def test_nothing_is_taken_out_where_the_lower_file_is_gone(yard: Yard) -> None:
    """The copy is then the only one that whoever runs the image sees."""
    gone = layer_tar([("opt/", None), ("opt/.wh.it's lib", b""), ("srv/", None), ("srv/copy", SAME), *files("z", "z")])
    yard.layout([image([UNDER, gone], tag="app:1")])
    assert [] == yard.advice("repeated", ".", "--files")


def test_nothing_is_taken_out_of_several_platforms(yard: Yard) -> None:
    top, both = several({"amd64": [UNDER, OVER], "arm64": [OWN["a"]]}, "app:1")
    yard.layout(both, index=index_of([top]))
    assert [] == yard.advice("repeated", ".", "--files")


# zstd

ZSTD = (".", "--zstd", "9")


def test_zstd_saves_what_was_estimated(yard: Yard) -> None:
    yard.layout([image([*PARTS, OWN["a"]], tag="app:1"), image([*PARTS, OWN["b"]], tag="app:2")])
    yard.follow("zstd", *ZSTD, within=0.1)
    yard.diff("store:app:1", "store:app:1")
    yard.diff("store:app:2", "store:app:2")


def test_zstd_counts_nothing_that_an_untagged_image_keeps(yard: Yard) -> None:
    yard.layout([image([*PARTS, OWN["a"]], tag="app:1"), image([*PARTS, OWN["b"]])])
    yard.true("zstd", *ZSTD, within=0.1)


def test_zstd_moves_every_name_of_an_image(yard: Yard) -> None:
    one = full(image([*PARTS, OWN["a"]]), "reg.example/team/app:1")
    yard.layout([one], index=index_of([one.descriptor, named(one, "app:latest")]))
    yard.follow("zstd", *ZSTD, within=0.1)
    yard.diff("store:app:latest", "store:app:latest")
    yard.diff("store:app:latest", "store:reg.example/team/app:1")


def test_zstd_converts_every_platform(yard: Yard) -> None:
    top, both = several({"amd64": PARTS, "arm64": [OWN["a"]]}, "app:1")
    yard.layout(both, index=index_of([top]))
    yard.follow("zstd", *ZSTD, within=0.1)
    yard.diff("store:app:1", "store:app:1", "--all-platforms")


def test_zstd_works_in_archives_in_place(yard: Yard) -> None:
    write_oci_archive(yard.top / "it's a.tar", [image([*PARTS, OWN["a"]], tag="a:1")])
    write_oci_archive(yard.top / "b.tar", [image([*PARTS, OWN["b"]], tag="b:1")])
    yard.follow("zstd", *ZSTD, archives=True, within=0.1)
    yard.diff("it's a.tar", "it's a.tar")


def test_zstd_is_not_advised_where_nothing_is_gzip(yard: Yard) -> None:
    yard.layout([tight(), image([OWN["a"]], tag="plain:1", codec="none")])
    assert [] == yard.advice("zstd", *ZSTD)


def test_zstd_counts_no_layer_that_an_artifact_keeps(yard: Yard) -> None:
    one = image([*PARTS, OWN["a"]], tag="app:1")
    yard.layout([one, speaking_of(one)])
    yard.true("zstd", *ZSTD, within=0.1)


def test_zstd_converts_all_images_of_an_archive(yard: Yard) -> None:
    write_oci_archive(yard.top / "all.tar", [image([*PARTS, OWN[name]], tag=f"{name}:1") for name in "ab"])
    yard.follow("zstd", *ZSTD, archives=True, within=0.1)
    for place in ("all.tar:a:1", "all.tar:b:1"):
        yard.diff(place, place)


# contained


def whole(tag: str | None, **how: Any) -> Image:
    return image(PARTS, tag=tag, **how)


def test_contained_saves_the_documents_of_an_image_whose_layers_another_has(yard: Yard) -> None:
    yard.layout([whole("base:1"), image([*PARTS, TOP], tag="app:1")])
    assert f" @{whole('base:1').digest} " in yard.follow("contained")["command"]
    yard.diff("store:app:1", "store:app:1")


def test_contained_saves_layers_in_another_compression(yard: Yard) -> None:
    yard.layout([whole("base:1"), tight()])
    yard.follow("contained")


def test_contained_saves_what_two_images_alone_share(yard: Yard) -> None:
    yard.layout([whole("base:1"), whole("base:2", created="2024-05-01T00:00:00Z"), tight()])
    yard.follow("contained")


def test_contained_takes_an_untagged_image_away(yard: Yard) -> None:
    yard.layout([whole(None), tight()])
    yard.follow("contained")


def test_contained_takes_an_image_away_wherever_it_is(yard: Yard) -> None:
    yard.layout([whole("base:1")], "one")
    yard.layout([whole("base:1"), tight()], "two")
    write_oci_archive(yard.top / "three.tar", [whole("base:1")])
    yard.follow("contained")


def test_contained_works_for_archives(yard: Yard) -> None:
    write_oci_archive(yard.top / "it's the base.tar", [whole("base:1")])
    write_oci_archive(yard.top / "app.tar", [tight()])
    yard.follow("contained")
    assert ["app.tar"] == [path.name for path in yard.top.iterdir()]


def test_contained_is_not_advised_for_the_same_image_or_an_equal_one(yard: Yard) -> None:
    yard.layout([whole("base:1"), whole("base:2", created="2024-05-01T00:00:00Z")])
    write_oci_archive(yard.top / "base.tar", [whole("base:1")])
    assert [] == yard.advice("contained")


def test_contained_is_not_advised_where_an_artifact_keeps_it(yard: Yard) -> None:
    base = whole("base:1")
    yard.layout([base, tight(), speaking_of(base)])
    assert [] == yard.advice("contained")


def test_contained_is_not_advised_for_several_platforms(yard: Yard) -> None:
    top, both = several({"amd64": PARTS, "arm64": [OWN["a"]]}, "base:1")
    holders = [tight(), image([OWN["a"], TOP], tag="arm:1", architecture="arm64")]
    yard.layout([*holders, *both], index=index_of([*(one.descriptor for one in holders), top]))
    assert [] == yard.advice("contained")


# link


def test_link_saves_the_blobs_that_layouts_both_have(yard: Yard) -> None:
    yard.layout([image([*PARTS, OWN["a"]], tag="a:1")], "one")
    yard.layout([image([*PARTS, OWN["b"]], tag="b:1")], AWKWARD)
    yard.follow("link")
    yard.diff("one:a:1", "one:a:1")
    yard.diff(f"{AWKWARD}:b:1", f"{AWKWARD}:b:1")


def test_link_counts_three_layouts_and_what_is_linked_already(yard: Yard) -> None:
    for name in ("one", "two"):
        yard.layout([image([*PARTS, OWN["a"]], tag="a:1")], name)
    yard.sh("ocitool layout link one two")
    yard.layout([image([PARTS[1], OWN["b"]], tag="b:1")], "three")
    yard.follow("link")


def test_link_names_only_layouts_that_gain(yard: Yard) -> None:
    for name, own in (("one", "a"), ("two", "b")):
        yard.layout([image([*PARTS, OWN[own]], tag="a:1")], name)
    yard.layout([image([OWN["c"]], tag="c:1")], "alone")
    assert "alone" not in yard.follow("link")["command"]


def test_link_counts_nothing_that_keeps_another_name(yard: Yard) -> None:
    for name in ("one", "two"):
        yard.layout([image(PARTS, tag="a:1")], name)
    for blob in (yard.top / "two/blobs/sha256").iterdir():
        os.link(blob, yard.top / f"kept-{blob.name}")
    assert [] == yard.advice("link", "one", "two")


def test_link_joins_no_files_of_another_mode(yard: Yard) -> None:
    for name in ("one", "two"):
        yard.layout([image(PARTS, tag="a:1")], name)
    for blob in (yard.top / "two/blobs/sha256").iterdir():
        blob.chmod(0o600)
    assert [] == yard.advice("link")


def test_link_is_not_advised_where_nothing_is_equal(yard: Yard) -> None:
    yard.layout([image([OWN["a"]], tag="a:1")], "one")
    yard.layout([image([OWN["b"]], tag="b:1")], "two")
    assert [] == yard.advice("link")


# store


def archives(yard: Yard, how: str = "oci", names: Sequence[str] = ("it's a.tar", "b.tar"), **more: Any) -> list[Path]:
    """Two archives that share most of their layers."""
    return [
        WRITE[how](yard.top / name, [image([*PARTS, OWN[own]], tag=f"{own}:1", **more)])
        for name, own in zip(names, ("a", "b"), strict=True)
    ]


def stored(yard: Yard, paths: Sequence[Path]) -> None:
    """Follows the advice to keep archives in one layout: files before, its blobs after."""
    advised, before = yard.only("store"), sum(path.stat().st_size for path in paths)
    yard.keep()
    yard.sh(advised["command"])
    saved = before - yard.blobs()
    assert abs(saved - advised["saves"]) <= 0.05 * advised["saves"], f"saved {saved}, said {advised}"
    assert [False] * len(paths) == [path.exists() for path in paths]
    assert [] == yard.advice("store")


@pytest.mark.parametrize(("how", "codec"), [("oci", "gzip"), ("docker", "none")])
def test_store_saves_what_archives_share(yard: Yard, how: str, codec: str) -> None:
    stored(yard, archives(yard, how, codec=codec))
    yard.diff("it's a.tar", "store:a:1")
    yard.diff("b.tar", "store:b:1")


def test_store_is_not_advised_for_two_images_of_one_name(yard: Yard) -> None:
    for own in ("a", "b"):
        write_oci_archive(yard.top / f"{own}.tar", [image([*PARTS, OWN[own]], tag="app:latest")])
    assert [] == yard.advice("store")


def test_store_keeps_untagged_images(yard: Yard) -> None:
    stored(yard, [write_oci_archive(yard.top / f"{own}.tar", [image([*PARTS, OWN[own]])]) for own in ("a", "b")])
    assert 2 == len(yard.report("store")["images"])


def test_store_keeps_every_platform(yard: Yard) -> None:
    top, both = several({"amd64": PARTS, "arm64": [OWN["a"]]}, "app:1")
    paths = [write_oci_archive(yard.top / "all.tar", both, index=index_of([top]))]
    paths.append(write_oci_archive(yard.top / "one.tar", [image([*PARTS, OWN["b"]], tag="b:1")]))
    stored(yard, paths)
    yard.diff("all.tar:app:1", "store:app:1", "--all-platforms")


def test_store_counts_the_same_image_in_two_archives_once(yard: Yard) -> None:
    one = image([*PARTS, OWN["a"]], tag="a:1")
    stored(yard, [write_oci_archive(yard.top / name, [one]) for name in ("a.tar", "again.tar")])
    yard.diff("a.tar", "store:a:1")


def test_store_counts_all_that_an_archive_holds_where_one_image_was_asked_about(yard: Yard) -> None:
    shared, *_ = archives(yard)
    write_oci_archive(shared, [image([*PARTS, OWN["a"]], tag="a:1"), image([*PARTS, OWN["c"]], tag="c:1")])
    before = sum(path.stat().st_size for path in yard.top.iterdir())
    for advised in yard.advice("store", f"{shared.name}:a:1", "b.tar"):
        yard.sh(advised["command"])
        saved = before - yard.blobs()
        assert abs(saved - advised["saves"]) <= 0.05 * advised["saves"], f"saved {saved}, said {advised}"


def test_store_takes_no_name_from_an_image_that_is_there_already(yard: Yard) -> None:
    yard.layout([image([OWN["c"]], tag="a:1")])
    archives(yard)
    yard.keep()
    for advised in yard.advice("store"):
        yard.sh(advised["command"])
    yard.diff("store:a:1", "store:a:1")


def test_store_says_of_archives_that_are_compressed_what_a_layout_saves(yard: Yard) -> None:
    for path in archives(yard):
        yard.sh(f"gzip '{path.name}'" if "'" not in path.name else f'gzip "{path.name}"')
    stored(yard, sorted(yard.top.iterdir()))


def test_store_leaves_an_archive_alone_that_could_not_be_read_whole(yard: Yard) -> None:
    first, second = archives(yard)
    one, bad = image([*PARTS, OWN["c"]], tag="c:1"), image([TOP], tag="bad:1")
    found = layout_files([one, bad])
    del found[f"blobs/sha256/{sha256(bad.config)[7:]}"]
    write_tar(second, found)
    result = yard._run("dedupe", ".", "--format", "json", cwd=yard.top)
    assert [] == [
        advised for advised in report_of(result, 1)["advice"] if advised["kind"] == "store" and "b.tar" in advised["command"]
    ]
    assert first.exists()


def test_store_is_not_advised_for_one_archive_or_what_shares_nothing(yard: Yard) -> None:
    write_oci_archive(yard.top / "a.tar", [image([OWN["a"]], tag="a:1")])
    assert [] == yard.advice("store")
    write_oci_archive(yard.top / "b.tar", [image([OWN["b"]], tag="b:1")])
    assert [] == [advised for advised in yard.advice("store") if advised["saves"] > 50_000]


# All of them


def test_the_same_image_in_two_places_is_advised_nothing_but_to_share_the_place(yard: Yard) -> None:
    one = image(PARTS, tag="app:1")
    yard.layout([one], "one")
    yard.layout([one], "two")
    write_oci_archive(yard.top / "app.tar", [one])
    assert {"link"} == {advised["kind"] for advised in yard.report(".", "--files")["advice"]}


def test_tiny_images_of_other_contents_are_advised_nothing(yard: Yard) -> None:
    yard.layout([image([layer_tar([(name, name.encode() * 100)])], tag=f"{name}:1") for name in ("a", "b", "c")])
    assert [] == yard.report(".", "--files")["advice"]
