"""`ocitool rebase`: the new base's very blobs, then the image's own very blobs; what was inherited follows the base."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from support import places
from support.copying import AMD, ARM, Run, multiarch, refused
from support.images import (
    Image,
    compress,
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
)
from support.merged import memory_image
from support.reference_tools import FileSystem, ours
from support.registries import NO_REGISTRY_SETTINGS, bytes_transferred, put_images, put_index
from support.registry import ScriptedRegistry
from support.report import report_of

from ocitool.images.platform_choice import single
from ocitool.spec import mediatypes
from ocitool.task import Task
from ocitool.transports.opening import open_source
from ocitool.validation import validate

NAME, DIGEST = "org.opencontainers.image.base.name", "org.opencontainers.image.base.digest"
SHARED = layer_tar([("bin/", None), ("bin/sh", b"shell" * 99), ("etc/", None), ("etc/os", b"12.1"), ("etc/conf", b"1")])
UPDATE = layer_tar([("etc/", None), ("etc/os", b"12.2"), ("usr/", None), ("usr/old", b"old")])
FIXED = layer_tar([("etc/", None), ("etc/os", b"12.3"), ("usr/", None), ("usr/new", b"new")])
EXTRA = layer_tar([("var/", None), ("var/lib", b"lib")])
APP = layer_tar([("app/", None), ("app/run", b"run" * 50), ("app/link", "hard:app/run"), ("app/sh", "link:/bin/sh")])
CONFIG = layer_tar([("app/", None), ("app/conf", b"conf"), ("app/.wh.sh", b"")])
OLD, NEW, OWN = [SHARED, UPDATE], [SHARED, FIXED, EXTRA], [APP, CONFIG]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Layouts of the old base, the new base and an image on the old one."""
    write_layout(tmp_path / "old", [image(OLD)])
    write_layout(tmp_path / "new", [image(NEW)])
    write_layout(tmp_path / "src", [image([*OLD, *OWN], tag="app")])
    return tmp_path


class Made(NamedTuple):
    """What was written, and its report."""

    place: Path
    manifest: Any
    config: Any
    report: Any
    err: str

    @property
    def layers(self) -> list[bytes]:
        blobs = places.blobs(self.place)
        return [blobs[layer["digest"]] for layer in self.manifest["layers"]]

    @property
    def rebase_report(self) -> Any:
        """Of its only image."""
        (found,) = self.report["details"]["rebased"]
        return found

    @property
    def annotations(self) -> dict[str, str]:
        return dict(self.manifest.get("annotations", {}))


def rebase(ocitool: Run, place: Path, *words: str | Path, src: str | Path = "src", to: str = "out", **how: Any) -> Any:
    """The run, with the bases of the place unless `bases` is False, into a layout or, as NAME.tar, an archive."""
    bases = ("--old-base", place / "old", "--new-base", place / "new") if how.pop("bases", True) else ()
    goal = place / to if to.endswith(".tar") else f"oci:{place / to}"
    return ocitool("rebase", place / src, goal, *bases, *words, "--format", "json", **how)


def rebased(ocitool: Run, place: Path, *words: str | Path, to: str = "out", code: int = 0, **how: Any) -> Made:
    """The image on its new base, without an error of `validate`."""
    result = rebase(ocitool, place, *words, to=to, **how)
    report = report_of(result, code)
    assert valid(place / to)
    manifest = places.manifest(place / to)
    config = json.loads(places.blobs(place / to)[manifest["config"]["digest"]])
    return Made(place / to, manifest, config, report, result.err)


def tree(stored: Path | Sequence[bytes]) -> FileSystem:
    """The merged tree of an image on disk, or of these layers."""
    with Task() as task:
        if isinstance(stored, Path):
            return ours(single(open_source(str(stored), "layers", task), None), task)
        return ours(memory_image(stored), task)


def valid(written: Path) -> bool:
    with Task() as task:
        return validate(str(written), task).valid


def written_nothing(place: Path, to: str = "out") -> bool:
    return not any(path.name.startswith(to) or path.name.startswith(".") for path in place.iterdir())


# Layers


def test_the_new_bases_very_blobs_come_below_the_images_very_own(ocitool: Run, place: Path) -> None:
    made = rebased(ocitool, place)
    assert [*image(NEW).layers, *image(OWN).layers] == made.layers
    assert [sha256(tar) for tar in (*NEW, *OWN)] == made.config["rootfs"]["diff_ids"]
    origins = ["reused"] * 3 + ["kept"] * 2
    assert origins == [layer["origin"] for layer in made.report["images"][0]["layers"]]


def test_the_merged_tree_is_that_of_the_new_base_with_the_own_layers_on_it(ocitool: Run, place: Path) -> None:
    assert tree([*NEW, *OWN]) == tree(rebased(ocitool, place).place)


def test_the_report_names_both_bases(ocitool: Run, place: Path) -> None:
    rebase_report = rebased(ocitool, place).rebase_report
    assert {"image": str(place / "old"), "digest": image(OLD).digest, "layers": 2} == rebase_report["oldBase"]
    assert {"image": str(place / "new"), "digest": image(NEW).digest, "layers": 3} == rebase_report["newBase"]
    assert ([], [], "linux/amd64") == (rebase_report["conflicts"], rebase_report["settings"], rebase_report["platform"])


def test_on_the_same_base_layers_and_tree_are_the_same(ocitool: Run, place: Path) -> None:
    made = rebased(ocitool, place, "--old-base", place / "old", "--new-base", place / "old", bases=False)
    before = places.manifest(place / "src")
    assert before["layers"] == made.manifest["layers"]
    assert tree(place / "src") == tree(made.place)
    assert ([], []) == (made.rebase_report["conflicts"], made.rebase_report["settings"])


def test_on_the_same_base_the_configuration_is_the_same(ocitool: Run, place: Path) -> None:
    made = rebased(ocitool, place, "--old-base", place / "old", "--new-base", place / "old", bases=False)
    assert json.loads(image([*OLD, *OWN]).config) == made.config


def test_there_and_back_again_is_where_it_began(ocitool: Run, place: Path) -> None:
    rebased(ocitool, place)
    back = ("--old-base", place / "new", "--new-base", place / "old")
    made = rebased(ocitool, place, *back, bases=False, src="out", to="back")
    assert image([*OLD, *OWN]).layers == made.layers
    assert json.loads(image([*OLD, *OWN]).config) == made.config


def test_an_image_without_layers_of_its_own_becomes_its_base(ocitool: Run, place: Path) -> None:
    write_layout(place / "src", [image(OLD, tag="app")])
    assert image(NEW).layers == rebased(ocitool, place).layers


@pytest.mark.parametrize(("old", "new"), [([], NEW), (OLD, [])], ids=["old", "new"])
def test_a_base_without_layers_is_one(old: list[bytes], new: list[bytes], ocitool: Run, place: Path) -> None:
    write_layout(place / "old", [image(old)])
    write_layout(place / "new", [image(new)])
    write_layout(place / "src", [image([*old, *OWN])])
    made = rebased(ocitool, place)
    assert image([*new, *OWN]).layers == made.layers
    assert len(old) == made.rebase_report["oldBase"]["layers"]


def test_a_base_may_share_layers_with_the_own_ones(ocitool: Run, place: Path) -> None:
    write_layout(place / "new", [image([*NEW, *OWN])])
    assert image([*NEW, *OWN, *OWN]).layers == rebased(ocitool, place).layers


def test_the_tag_stays_and_another_may_be_given(ocitool: Run, place: Path) -> None:
    rebased(ocitool, place)
    assert ["app"] == list(places.names(place / "out"))
    rebased(ocitool, place, "--tag", "app:2", to="other")
    assert ["app:2"] == list(places.names(place / "other"))


def test_unknown_fields_stay_the_images(ocitool: Run, place: Path) -> None:
    more: dict[str, Any] = {"x-mine": {"a": [None]}, "author": "me"}
    mine = image([*OLD, *OWN], **more)
    mine.manifest["x-other"] = [1.5]
    write_layout(place / "src", [mine])
    made = rebased(ocitool, place)
    assert ({"a": [None]}, "me", [1.5]) == (made.config["x-mine"], made.config["author"], made.manifest["x-other"])


def test_a_dry_run_writes_nothing_and_tells_all(ocitool: Run, place: Path) -> None:
    found = report_of(rebase(ocitool, place, "--dry-run"))
    assert (True, 5) == (found["dryRun"], len(found["images"][0]["layers"]))
    assert written_nothing(place)


def test_two_runs_give_the_same_bytes(ocitool: Run, place: Path) -> None:
    env = {"SOURCE_DATE_EPOCH": None}
    for to, jobs in (("a.tar", "1"), ("b.tar", "4")):
        report_of(rebase(ocitool, place, "--tag", "example.test/app:2", "--jobs", jobs, to=to, env=env))
    assert (place / "a.tar").read_bytes() == (place / "b.tar").read_bytes()
    assert "2024-01-01T00:00:00Z" == json.loads(ocitool("inspect", "--raw", "config", place / "a.tar").out)["created"]


def test_source_date_epoch_is_the_time_of_the_configuration(ocitool: Run, place: Path) -> None:
    made = rebased(ocitool, place, env={"SOURCE_DATE_EPOCH": "1714564800"})
    assert "2024-05-01T12:00:00Z" == made.config["created"]


def test_help_shows_every_flag_and_examples(ocitool: Run) -> None:
    said = ocitool("rebase", "--help").out
    for flag in ("old-base", "new-base", "fail-on", "compression", "with", "all-platforms", "tag", "force", "dry-run"):
        assert f"--{flag} " in said
    assert "Examples:" in said


# The old base is known by its diff_ids

FORMS = {
    "gzip": lambda path, tars: write_layout(path, [image(tars)]),
    "zstd": lambda path, tars: write_layout(path, [image(tars, codec="zstd")]),
    "none": lambda path, tars: write_oci_archive(path, [image(tars, codec="none")]),
    "docker": lambda path, tars: write_docker_archive(path, [image(tars, codec="none", tag="base:1")]),
}


@pytest.mark.parametrize("kind", FORMS)
def test_the_old_base_is_found_however_it_is_stored(kind: str, ocitool: Run, place: Path) -> None:
    FORMS[kind](place / "base", OLD)
    made = rebased(ocitool, place, "--old-base", place / "base", "--new-base", place / "new", bases=False)
    assert image([*NEW, *OWN]).layers == made.layers


@pytest.mark.parametrize("kind", FORMS)
def test_the_image_may_be_stored_in_any_way(kind: str, ocitool: Run, place: Path) -> None:
    FORMS[kind](place / "mine", [*OLD, *OWN])
    made = rebased(ocitool, place, src="mine")
    codec = "none" if kind == "docker" else kind
    assert [*image(NEW).layers, *(compress(tar, codec) for tar in OWN)] == made.layers


@pytest.mark.parametrize("kind", FORMS)
def test_the_new_bases_blobs_are_taken_as_they_are_stored(kind: str, ocitool: Run, place: Path) -> None:
    FORMS[kind](place / "base", NEW)
    made = rebased(ocitool, place, "--old-base", place / "old", "--new-base", place / "base", bases=False)
    codec = "none" if kind == "docker" else kind
    assert [*(compress(tar, codec) for tar in NEW), *image(OWN).layers] == made.layers
    suffix = "" if codec == "none" else f"+{codec}"
    assert [mediatypes.OCI_LAYER + suffix] * 3 == [layer["mediaType"] for layer in made.manifest["layers"][:3]]


def test_a_docker_manifest_keeps_its_types_on_a_base_of_another_family(ocitool: Run, place: Path) -> None:
    mine = image([*OLD, *OWN])
    mine.manifest["mediaType"] = mediatypes.DOCKER_MANIFEST
    mine.manifest["config"]["mediaType"] = mediatypes.DOCKER_CONFIG
    for layer in mine.manifest["layers"]:
        layer["mediaType"] = mediatypes.DOCKER_LAYER + ".gzip"
    write_layout(place / "src", [mine])
    made = rebased(ocitool, place)
    assert {mediatypes.DOCKER_LAYER + ".gzip"} == {layer["mediaType"] for layer in made.manifest["layers"]}
    assert (mediatypes.DOCKER_MANIFEST, {}) == (made.manifest["mediaType"], made.annotations)


def test_a_docker_manifest_on_a_zstd_base_becomes_an_oci_one(ocitool: Run, place: Path) -> None:
    mine = image([*OLD, *OWN])
    mine.manifest["mediaType"] = mediatypes.DOCKER_MANIFEST
    for layer in mine.manifest["layers"]:
        layer["mediaType"] = mediatypes.DOCKER_LAYER + ".gzip"
    write_layout(place / "src", [mine])
    write_layout(place / "new", [image(NEW, codec="zstd")])
    made = rebased(ocitool, place)
    wanted = [mediatypes.OCI_LAYER + suffix for suffix in ("+zstd", "+zstd", "+zstd", "+gzip", "+gzip")]
    assert (mediatypes.OCI_MANIFEST, wanted) == (made.manifest["mediaType"], [x["mediaType"] for x in made.manifest["layers"]])


@pytest.mark.parametrize(
    ("old", "word"),
    [
        ([FIXED], "layer 0"),
        ([SHARED, FIXED], "layer 1"),
        ([*OLD, CONFIG], "layer 2"),
        ([*OLD, *OWN, EXTRA], "5 layers"),
    ],
)
@pytest.mark.parametrize("kind", ["gzip", "zstd", "docker"])
def test_what_the_image_does_not_begin_with_is_no_base(
    old: list[bytes], word: str, kind: str, ocitool: Run, place: Path
) -> None:
    FORMS[kind](place / "base", old)
    result = rebase(ocitool, place, "--old-base", place / "base", "--new-base", place / "new", bases=False)
    refused(2, result, "not a base of the image", word, str(place / "base"))
    assert written_nothing(place)


def test_a_diff_id_that_only_the_configuration_says_makes_no_base(ocitool: Run, place: Path) -> None:
    """The base states the image's diff_id for another layer."""
    FORMS["docker"](place / "mine", [*OLD, *OWN])
    liar = image([SHARED, FIXED], config=image(OLD).config)
    write_layout(place / "old", [liar])
    result = rebase(ocitool, place, src="mine")
    assert (True, True) == (result.code in (2, 5), written_nothing(place)), str(result)


# Compression


@pytest.mark.parametrize("codec", ["zstd", "none"])
def test_only_own_layers_are_compressed_otherwise(codec: str, ocitool: Run, place: Path) -> None:
    made = rebased(ocitool, place, "--compression", codec)
    assert image(NEW).layers == made.layers[:3]
    assert [layer["digest"] for layer in image(NEW).manifest["layers"]] == [x["digest"] for x in made.manifest["layers"][:3]]
    assert OWN == [unzipped(data, codec) for data in made.layers[3:]]
    assert [sha256(tar) for tar in (*NEW, *OWN)] == made.config["rootfs"]["diff_ids"]
    origins = ["reused"] * 3 + ["rewritten"] * 2
    assert origins == [layer["origin"] for layer in made.report["images"][0]["layers"]]


def unzipped(data: bytes, codec: str) -> bytes:
    if codec == "zstd":
        import zstandard

        return zstandard.ZstdDecompressor().decompressobj().decompress(data)
    return gzip.decompress(data) if codec == "gzip" else data


def test_own_layers_that_are_compressed_so_already_stay(ocitool: Run, place: Path) -> None:
    write_layout(place / "new", [image(NEW, codec="zstd")])
    made = rebased(ocitool, place, "--compression", "gzip")
    assert [*image(NEW, codec="zstd").layers, *image(OWN).layers] == made.layers


def test_layers_of_archives_are_compressed_whosever_they_are(ocitool: Run, place: Path) -> None:
    FORMS["docker"](place / "mine", [*OLD, *OWN])
    FORMS["docker"](place / "plain", NEW)
    words = ("--old-base", place / "old", "--new-base", place / "plain", "--compression", "gzip")
    made = rebased(ocitool, place, *words, bases=False, src="mine")
    assert [*NEW, *OWN] == [gzip.decompress(data) for data in made.layers]


# Annotations


def annotated(one: Image, **stated: str) -> Image:
    """With annotations of its base: `name` and `digest`; others as they are spelled."""
    names = {"name": NAME, "digest": DIGEST}
    one.manifest["annotations"] = {names.get(key, key): value for key, value in stated.items()}
    return one


def app(**stated: str) -> Image:
    return annotated(image([*OLD, *OWN], tag="app"), **stated)


@pytest.fixture
def home(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str | None]:
    """The environment of one who knows no registry."""
    return {**NO_REGISTRY_SETTINGS, "HOME": str(tmp_path_factory.mktemp("home"))}


def test_without_flags_the_annotations_name_both_bases(
    ocitool: Run, place: Path, registry: ScriptedRegistry, home: dict[str, str | None]
) -> None:
    name = f"{registry.host}/base:1"
    put_images(registry, "base", image(OLD))
    put_images(registry, "base", image(NEW), tag="1")
    write_layout(place / "src", [app(name=name, digest=image(OLD).digest, other="x")])
    made = rebased(ocitool, place, "--insecure-host", registry.host, bases=False, env=home)
    assert [*image(NEW).layers, *image(OWN).layers] == made.layers
    assert {NAME: name, DIGEST: image(NEW).digest, "other": "x"} == made.annotations
    assert f"docker://{name}" == made.rebase_report["newBase"]["image"]
    assert ["base", "base"] == [notice["code"] for notice in made.report["notices"]]
    assert bytes_transferred(registry) == made.report["bytes"]["transferred"]


def test_what_annotations_name_is_followed_once_more(
    ocitool: Run, place: Path, registry: ScriptedRegistry, home: dict[str, str | None]
) -> None:
    """The result of one rebase is what the next begins with."""
    put_images(registry, "base", image(OLD))
    put_images(registry, "base", image(NEW), tag="1")
    write_layout(place / "src", [app(name=f"{registry.host}/base:1", digest=image(OLD).digest)])
    trust = ("--insecure-host", registry.host)
    rebased(ocitool, place, *trust, bases=False, env=home)
    put_images(registry, "base", image([SHARED, EXTRA]), tag="1")
    made = rebased(ocitool, place, *trust, bases=False, env=home, src="out", to="next")
    assert image([SHARED, EXTRA, *OWN]).layers == made.layers
    assert image([SHARED, EXTRA]).digest == made.annotations[DIGEST]


@pytest.mark.parametrize("where", ["source", "index of the source", "with"])
def test_the_old_base_is_looked_for_here_before_the_registry_is_asked(
    where: str, ocitool: Run, place: Path, registry: ScriptedRegistry, home: dict[str, str | None]
) -> None:
    old, words, src = image(OLD), ["--insecure-host", registry.host], "src:app"
    put_images(registry, "base", old)
    put_images(registry, "base", image(NEW), tag="1")
    mine = app(name=f"{registry.host}/base:1", digest=old.digest)
    beside = [mine]
    if where == "source":
        beside.append(image(OLD, tag="base"))
    elif where == "index of the source":
        (place / "src").rename(place / "unused")
        nested(place / "src", "base", [image(OLD, platform=AMD)], mine)
        src = "src:app"
    else:
        words += ["--with", str(place / "old")]
    if where != "index of the source":
        write_layout(place / "src", beside)
    made = rebased(ocitool, place, *words, bases=False, src=src, env=home)
    assert image([*NEW, *OWN]).layers == made.layers
    assert [] == registry.sent(path=old.digest)
    assert [] == [one for layer in image([UPDATE]).layers for one in registry.sent(path=sha256(layer))]


def test_the_old_base_may_stand_where_the_new_one_is(ocitool: Run, place: Path) -> None:
    write_layout(place / "bases", [image(OLD, tag="1"), image(NEW, tag="2")])
    write_layout(place / "src", [app(digest=image(OLD).digest, name="127.0.0.1:9/base:1")])
    made = rebased(ocitool, place, "--new-base", f"{place}/bases:2", bases=False)
    assert image([*NEW, *OWN]).layers == made.layers
    assert image(OLD).digest == made.rebase_report["oldBase"]["digest"]


def test_a_flag_is_stronger_than_an_annotation(ocitool: Run, place: Path) -> None:
    write_layout(place / "src", [app(name="127.0.0.1:9/base:1", digest=sha256(b"elsewhere"))])
    made = rebased(ocitool, place)
    assert ({DIGEST: image(NEW).digest}, []) == (made.annotations, made.report["notices"])


def test_the_new_base_by_a_flag_and_the_old_one_by_its_annotations(
    ocitool: Run, place: Path, registry: ScriptedRegistry, home: dict[str, str | None]
) -> None:
    put_images(registry, "base", image(OLD))
    write_layout(place / "src", [app(name=f"{registry.host}/base:1", digest=image(OLD).digest)])
    words = ("--new-base", place / "new", "--insecure-host", registry.host)
    made = rebased(ocitool, place, *words, bases=False, env=home)
    assert image([*NEW, *OWN]).layers == made.layers


@pytest.mark.parametrize(("stated", "flags"), [({}, ()), ({"digest": image(OLD).digest}, ()), ({}, ("--old-base", "old"))])
def test_without_a_name_of_the_new_base_the_flag_is_hinted_at(
    stated: dict[str, str], flags: tuple[str, ...], ocitool: Run, place: Path
) -> None:
    write_layout(place / "src", [app(**stated)])
    refused(2, rebase(ocitool, place, *flags, bases=False, cwd=place), NAME, "hint: --new-base REF")
    assert written_nothing(place)


def test_without_a_digest_of_the_old_base_the_flag_is_hinted_at(ocitool: Run, place: Path) -> None:
    refused(2, rebase(ocitool, place, "--new-base", place / "new", bases=False), DIGEST, "hint: --old-base REF")
    assert written_nothing(place)


def test_an_archive_of_docker_has_no_annotations(ocitool: Run, place: Path) -> None:
    FORMS["docker"](place / "mine", [*OLD, *OWN])
    refused(2, rebase(ocitool, place, bases=False, src="mine"), "hint: --new-base REF")


def test_an_old_base_that_is_nowhere_is_not_found(ocitool: Run, place: Path) -> None:
    write_layout(place / "src", [app(digest=sha256(b"nowhere"))])
    refused(3, rebase(ocitool, place, "--new-base", place / "new", bases=False), "hint: --old-base REF")
    assert written_nothing(place)


def test_a_base_that_the_registry_no_longer_has_is_not_found(
    ocitool: Run, place: Path, registry: ScriptedRegistry, home: dict[str, str | None]
) -> None:
    put_images(registry, "base", image(NEW), tag="1")
    write_layout(place / "src", [app(name=f"{registry.host}/base:1", digest=image(OLD).digest)])
    refused(3, rebase(ocitool, place, "--insecure-host", registry.host, bases=False, env=home))
    assert written_nothing(place)


@pytest.mark.parametrize(("key", "value", "codes"), [("digest", "sha256:x", (4,)), ("name", "a\x1b[31m b", (2, 4))])
def test_annotations_that_mean_nothing_are_refused_and_shown_escaped(
    key: str, value: str, codes: tuple[int, ...], ocitool: Run, place: Path
) -> None:
    stated = {"digest": image(OLD).digest, "name": "127.0.0.1:9/base:1"} | {key: value}
    write_layout(place / "src", [app(**stated)])
    words = () if key == "name" else ("--new-base", place / "new")
    result = rebase(ocitool, place, *words, bases=False)
    assert (True, True, False) == (result.code in codes, written_nothing(place), "\x1b" in result.err), str(result)


@pytest.mark.parametrize(
    ("tag", "name"), [("example.test/base:2", "example.test/base:2"), ("2", None), (None, None)], ids=["full", "bare", "none"]
)
def test_the_name_of_a_base_on_disk_is_its_full_tag(tag: str | None, name: str | None, ocitool: Run, place: Path) -> None:
    write_layout(place / "new", [image(NEW, tag=tag)])
    write_layout(place / "src", [app(name="example.test/base:1", digest=image(OLD).digest)])
    made = rebased(ocitool, place)
    assert {DIGEST: image(NEW).digest} | ({NAME: name} if name else {}) == made.annotations


def test_the_name_of_a_base_at_a_registry_is_its_tag_there(
    ocitool: Run, place: Path, registry: ScriptedRegistry, home: dict[str, str | None]
) -> None:
    put_images(registry, "team/base", image(NEW), tag="2")
    words = ("--old-base", place / "old", "--insecure-host", registry.host)
    for reference, name in (("team/base:2", "team/base:2"), (f"team/base@{image(NEW).digest}", "team/base")):
        new = f"docker://{registry.host}/{reference}"
        made = rebased(ocitool, place, *words, "--new-base", new, "--force", bases=False, env=home, to=f"out{len(name)}")
        assert {NAME: f"{registry.host}/{name}", DIGEST: image(NEW).digest} == made.annotations


def test_nothing_names_the_old_base_any_more_where_the_new_one_has_no_digest(ocitool: Run, place: Path) -> None:
    FORMS["docker"](place / "plain", NEW)
    write_layout(place / "src", [app(digest=image(OLD).digest, other="x")])
    made = rebased(ocitool, place, "--old-base", place / "old", "--new-base", place / "plain", bases=False)
    assert {NAME: "base:1", "other": "x"} == made.annotations


def test_at_one_registry_no_layer_is_sent(
    ocitool: Run, place: Path, registry: ScriptedRegistry, home: dict[str, str | None]
) -> None:
    old, new = image(OLD), image(NEW)
    put_images(registry, "base", old)
    put_images(registry, "base", new, tag="1")
    put_images(registry, "app", app(name=f"{registry.host}/base:1", digest=old.digest), tag="1")
    registry.forget()
    words = (f"docker://{registry.host}/app:1", f"docker://{registry.host}/app:2", "--format", "json")
    found = report_of(ocitool("rebase", *words, "--insecure-host", registry.host, env=home))
    manifest = json.loads(registry.manifests["app", registry.tags["app", "2"]][1])
    assert [layer["digest"] for layer in image([*NEW, *OWN]).manifest["layers"]] == [x["digest"] for x in manifest["layers"]]
    assert manifest["config"]["size"] == registry.bytes_received
    assert bytes_transferred(registry) == found["bytes"]["transferred"]


# History


def steps(*words: str) -> list[dict[str, Any]]:
    """A history: each word an instruction, with a `-` before it one that made no layer."""
    return [{"created_by": word.strip("-"), **({"empty_layer": True} if word[0] == "-" else {})} for word in words]


@pytest.mark.parametrize(
    ("old", "mine", "new", "made"),
    [
        (("a", "b"), ("a", "b", "c", "d"), ("x", "y", "z"), ("x", "y", "z", "c", "d")),
        (("a", "b", "-cmd"), ("a", "b", "-cmd", "-env", "c", "d", "-e"), ("-f", "x", "y", "z", "-g"),
         ("-f", "x", "y", "z", "-g", "-env", "c", "d", "-e")),
        (("x", "y"), ("-e", "a", "b", "-env", "c", "d"), ("x", "y", "z"), ("x", "y", "z", "-env", "c", "d")),
    ],
)  # fmt: skip
def test_the_history_is_the_new_bases_then_the_images_own(
    old: tuple[str, ...], mine: tuple[str, ...], new: tuple[str, ...], made: tuple[str, ...], ocitool: Run, place: Path
) -> None:
    write_layout(place / "old", [image(OLD, history=steps(*old))])
    write_layout(place / "new", [image(NEW, history=steps(*new))])
    write_layout(place / "src", [image([*OLD, *OWN], history=steps(*mine))])
    assert steps(*made) == rebased(ocitool, place).config["history"]


WRONG: list[Any] = [None, [], steps("a"), steps("a", "b", "c", "d", "e", "f"), steps("-a")]


@pytest.mark.parametrize("history", WRONG, ids=["none", "empty", "few", "many", "no layer"])
@pytest.mark.parametrize("whose", ["old", "new", "src"])
def test_a_history_that_is_absent_or_wrong_does_not_spoil_the_others(
    history: Any, whose: str, ocitool: Run, place: Path
) -> None:
    tars = {"old": OLD, "new": NEW, "src": [*OLD, *OWN]}[whose]
    write_layout(place / whose, [image(tars, history=history)])
    found = rebased(ocitool, place).config["history"]
    assert 5 == len([one for one in found if not one.get("empty_layer")])
    steps = [one.get("created_by") for one in found]
    if whose != "new":
        assert ["RUN step 0", "RUN step 1", "RUN step 2"] == steps[:3]
    if whose != "src":
        assert ["RUN step 2", "RUN step 3"] == steps[3:]


def test_where_neither_states_a_history_there_is_none(ocitool: Run, place: Path) -> None:
    write_layout(place / "new", [image(NEW, history=None)])
    write_layout(place / "src", [image([*OLD, *OWN], history=None)])
    assert "history" not in rebased(ocitool, place).config


# Settings


def configured(place: Path, old: Any, new: Any, mine: Any) -> None:
    """The three images with these `config` sections."""
    for name, tars, section in (("old", OLD, old), ("new", NEW, new), ("src", [*OLD, *OWN], mine)):
        fields = json.loads(image(tars).config)
        del fields["config"]
        raw = pretty(fields if section is None else {**fields, "config": section})
        write_layout(place / name, [image(tars, config=raw)])


def test_settings_that_the_image_inherited_follow_and_its_own_stay(ocitool: Run, place: Path) -> None:
    old = {"Env": ["PATH=/bin", "LANG=C"], "Cmd": ["sh"], "Labels": {"v": "1"}, "Volumes": {"/old": {}}, "User": "1"}
    new = {"Env": ["PATH=/usr/bin", "LANG=C", "TZ=UTC"], "Cmd": ["bash"], "Labels": {"v": "2"}, "StopSignal": "TERM"}
    mine = {**old, "Env": ["PATH=/bin", "LANG=de", "APP=1"], "Labels": {"v": "1", "app": "x"}, "Entrypoint": ["/app/run"],
            "ExposedPorts": {"80/tcp": {}}}  # fmt: skip
    configured(place, old, new, mine)
    made = rebased(ocitool, place)
    wanted = {
        "Env": ["PATH=/usr/bin", "LANG=de", "TZ=UTC", "APP=1"], "Cmd": ["sh"], "Labels": {"v": "2", "app": "x"},
        "Entrypoint": ["/app/run"], "ExposedPorts": {"80/tcp": {}}, "StopSignal": "TERM",
    }  # fmt: skip
    assert (wanted, []) == (made.config["config"], made.rebase_report["settings"])


def test_settings_that_both_changed_stay_the_images_and_are_named(ocitool: Run, place: Path) -> None:
    old = {"Env": ["A=1", "B=1"], "Cmd": ["sh"], "Labels": {"v": "1"}, "ExposedPorts": {"1/tcp": {}}, "User": "1"}
    new = {"Env": ["A=2", "B=2"], "Cmd": ["bash"], "Labels": {"v": "2"}, "ExposedPorts": {"1/tcp": {"x": 1}}, "User": "2"}
    mine = {"Env": ["A=3", "B=1"], "Cmd": ["app"], "Labels": {"v": "3"}, "User": "1"}
    configured(place, old, new, mine)
    made = rebased(ocitool, place)
    assert {"Env": ["A=3", "B=2"], "Cmd": ["app"], "Labels": {"v": "3"}, "User": "2"} == made.config["config"]
    named = ["Cmd", "Env A", "ExposedPorts 1/tcp", "Labels v"]
    assert named == sorted(made.rebase_report["settings"])
    assert ["conflict"] == [notice["code"] for notice in made.report["notices"]]
    assert all(name in made.err for name in named)


def test_settings_that_both_changed_fail_where_conflicts_are_to(ocitool: Run, place: Path) -> None:
    configured(place, {"User": "1"}, {"User": "2"}, {"User": "3"})
    made = rebased(ocitool, place, "--fail-on", "conflict", code=1)
    assert ({"User": "3"}, ["User"]) == (made.config["config"], made.rebase_report["settings"])


@pytest.mark.parametrize(
    ("old", "new", "mine", "made"),
    [(None, None, None, None), (None, {"User": "2"}, None, {"User": "2"}), (None, None, {"User": "3"}, {"User": "3"}),
     ({"User": "1"}, {"User": "2"}, None, None)],
)  # fmt: skip
def test_a_configuration_may_have_no_settings_at_all(
    old: Any, new: Any, mine: Any, made: Any, ocitool: Run, place: Path
) -> None:
    configured(place, old, new, mine)
    assert made == (rebased(ocitool, place).config.get("config") or None)


# Conflicts: which there are is for tests/unit/test_rebase.py

MINE = layer_tar([("etc/", None), ("etc/os", b"mine"), ("etc/conf", b"mine"), ("usr/", None), ("usr/.wh.new", b"")])
BOTH = [("/etc/os", "changed", "changed", 3)]


@pytest.fixture
def clashing(place: Path) -> Path:
    """The image and the new base both changed /etc/os."""
    write_layout(place / "src", [image([*OLD, APP, MINE])])
    return place


def conflicts(made: Made) -> list[tuple[str, str, str, int]]:
    return [(one["path"], one["base"], one["app"], one["layer"]) for one in made.rebase_report["conflicts"]]


def test_conflicts_are_told_and_the_images_files_count(ocitool: Run, clashing: Path) -> None:
    made = rebased(ocitool, clashing)
    assert [*BOTH, ("/usr/new", "added", "removed", 3)] == conflicts(made)
    assert ["conflict"] == [notice["code"] for notice in made.report["notices"]]
    assert "/etc/os, /usr/new" in made.err
    assert b"mine" == ocitool("cat", clashing / "out", "/etc/os").stdout
    assert tree([*NEW, APP, MINE]) == tree(made.place)


def test_conflicts_fail_where_they_are_to_and_the_image_is_written_all_the_same(ocitool: Run, clashing: Path) -> None:
    made = rebased(ocitool, clashing, "--fail-on", "conflict", code=1)
    assert image([*NEW, APP, MINE]).layers == made.layers
    assert BOTH == conflicts(made)[:1]


def test_without_a_conflict_nothing_fails(ocitool: Run, place: Path) -> None:
    assert [] == conflicts(rebased(ocitool, place, "--fail-on", "conflict"))


def test_an_unknown_rule_is_a_usage_error(ocitool: Run, place: Path) -> None:
    assert (2, True) == (rebase(ocitool, place, "--fail-on", "all").code, written_nothing(place))


def test_a_person_is_told_the_bases_and_the_conflicts_escaped(ocitool: Run, place: Path) -> None:
    name = b"\x1b[31m\xff"
    write_layout(place / "new", [image([SHARED, layer_tar([(name, b"1"), ("etc/os", b"theirs")])])])
    write_layout(place / "src", [image([*OLD, layer_tar([(name, b"2"), ("etc/os", b"mine")])])])
    result = ocitool("rebase", place / "src", place / "out.tar", "--old-base", place / "old", "--new-base", place / "new")
    assert (0, False) == (result.code, "\x1b" in result.out + result.err), str(result)
    assert f"base: 2 layers of {place / 'old'} before" in result.out
    assert f"2 layers of {place / 'new'} now" in result.out
    assert "/etc/os" in result.out and "base: changed" in result.out and "image: changed" in result.out


# Hard links of own layers into the base


def linked(place: Path, *own: Sequence[tuple[str, bytes | str | None]]) -> None:
    """The image links to /etc/conf of the old base, which the new one lacks."""
    write_layout(place / "src", [image([*OLD, *map(layer_tar, own)])])
    write_layout(place / "new", [image([FIXED])])


def test_a_hard_link_to_what_the_new_base_lacks_is_refused(ocitool: Run, place: Path) -> None:
    linked(place, [("app", b"")], [("link", "hard:etc/conf")])
    refused(4, rebase(ocitool, place), "layer 3", "/link")
    assert written_nothing(place)


def test_a_hard_link_to_what_the_new_base_has_too_leads_there(ocitool: Run, place: Path) -> None:
    linked(place, [("link", "hard:etc/os")])
    rebased(ocitool, place)
    assert b"12.3" == ocitool("cat", place / "out", "/link").stdout


def test_a_hard_link_within_an_own_layer_leads_where_it_led(ocitool: Run, place: Path) -> None:
    linked(place, [("link", "hard:first"), ("first", b"1st")], [("other", "hard:link")])
    rebased(ocitool, place)
    assert [b"1st", b"1st"] == [ocitool("cat", place / "out", path).stdout for path in ("/link", "/other")]


@pytest.mark.parametrize("over", [(".wh.link", b""), ("link", b"a file")])
def test_a_hard_link_that_no_engine_can_make_is_refused_though_it_is_hidden_later(
    over: tuple[str, bytes], ocitool: Run, place: Path
) -> None:
    linked(place, [("link", "hard:etc/conf")], [over])
    refused(4, rebase(ocitool, place), "layer 2", "/link")
    assert written_nothing(place)


def test_a_hard_link_below_a_symbolic_link_is_refused_like_any_other(ocitool: Run, place: Path) -> None:
    linked(place, [("app/", None), ("to", "link:app")], [("to/link", "hard:etc/conf")])
    refused(4, rebase(ocitool, place), "layer 3", "link")
    assert written_nothing(place)


# Platforms


def nested(path: Path, tag: str, images: Sequence[Image], *beside: Image) -> Path:
    """A layout whose tag is an index of these images; others stand beside it."""
    raw = pretty(index_of([one.descriptor for one in images]))
    annotations = {places.REF_NAME: tag}
    top = {"mediaType": mediatypes.OCI_INDEX, "digest": sha256(raw), "size": len(raw), "annotations": annotations}
    files = layout_files([*images, *beside], index=index_of([top, *(one.descriptor for one in beside)]))
    return write_files(path, {**files, "blobs/" + sha256(raw).replace(":", "/"): raw})


def amd(*tars: bytes, **changes: Any) -> Image:
    return image(tars, platform=AMD, **changes)


def arm(*tars: bytes, **changes: Any) -> Image:
    return image(tars, platform=ARM, architecture="arm64", **changes)


def ppc(*tars: bytes) -> Image:
    return image(tars, platform={"os": "linux", "architecture": "ppc64le"}, architecture="ppc64le")


@pytest.mark.parametrize("whose", ["old", "new"])
def test_a_base_for_another_platform_is_refused(whose: str, ocitool: Run, place: Path) -> None:
    tars = {"old": OLD, "new": NEW}[whose]
    write_layout(place / whose, [image(tars, architecture="arm64")])
    refused(2, rebase(ocitool, place), "linux/arm64", "linux/amd64")
    assert written_nothing(place)


@pytest.mark.parametrize("whose", ["old", "new"])
@pytest.mark.parametrize("count", [1, 2])
def test_an_index_without_the_images_platform_is_refused(whose: str, count: int, ocitool: Run, place: Path) -> None:
    tars = {"old": OLD, "new": NEW}[whose]
    nested(place / "index", "base", [arm(*tars), ppc(*tars)][:count])
    words = [word for name in ("old", "new") for word in (f"--{name}-base", place / ("index" if name == whose else name))]
    result = rebase(ocitool, place, *words, bases=False)
    refused(2 if count == 1 else 3, result, "linux/amd64")
    assert written_nothing(place)


@pytest.mark.parametrize("kind", [amd, arm])
def test_an_index_as_base_gives_the_image_of_the_images_platform(kind: Callable[..., Image], ocitool: Run, place: Path) -> None:
    nested(place / "bases-old", "base", [arm(*OLD), amd(*OLD)])
    nested(place / "bases-new", "base", [arm(*NEW, EXTRA), amd(*NEW)])
    write_layout(place / "src", [kind(*OLD, *OWN)])
    words = ("--old-base", place / "bases-old", "--new-base", place / "bases-new")
    made = rebased(ocitool, place, *words, bases=False)
    wanted = amd(*NEW) if kind is amd else arm(*NEW, EXTRA)
    assert [*wanted.layers, *image(OWN).layers] == made.layers
    assert wanted.digest == made.rebase_report["newBase"]["digest"] == made.annotations[DIGEST]
    assert json.loads(wanted.config)["architecture"] == made.config["architecture"]


@pytest.fixture
def multi(tmp_path: Path) -> Path:
    """Bases and images of two platforms, each as an index."""
    nested(tmp_path / "old", "base", [amd(*OLD), arm(*OLD)])
    nested(tmp_path / "new", "base", [amd(*NEW), arm(*NEW[:2])])
    nested(tmp_path / "src", "app", [amd(*OLD, *OWN), arm(*OLD, APP, layer_tar([("etc/os", b"mine")]))])
    return tmp_path


def test_every_image_of_an_index_gets_its_own_base(ocitool: Run, multi: Path) -> None:
    found = report_of(rebase(ocitool, multi, "--all-platforms"))
    assert ["linux/amd64", "linux/arm64"] == [one["platform"] for one in found["details"]["rebased"]]
    assert [0, 1] == [len(one["conflicts"]) for one in found["details"]["rebased"]]
    blobs = places.blobs(multi / "out")
    entries = places.manifest(multi / "out")["manifests"]
    assert [AMD, ARM] == [one["platform"] for one in entries]
    wanted = [amd(*NEW, *OWN), arm(*NEW[:2], APP, layer_tar([("etc/os", b"mine")]))]
    for named, made in zip(entries, wanted, strict=True):
        layers = [layer["digest"] for layer in json.loads(blobs[named["digest"]])["layers"]]
        assert [layer["digest"] for layer in made.manifest["layers"]] == layers
    assert ["app"] == list(places.names(multi / "out"))
    assert valid(multi / "out")


def test_a_conflict_of_one_platform_is_enough_to_fail(ocitool: Run, multi: Path) -> None:
    found = report_of(rebase(ocitool, multi, "--all-platforms", "--fail-on", "conflict"), 1)
    assert 2 == len(found["images"])
    report_of(rebase(ocitool, multi, "--platform", "linux/amd64", "--fail-on", "conflict", to="one"), 0)


def test_a_base_that_lacks_one_of_the_platforms_writes_nothing(ocitool: Run, multi: Path) -> None:
    write_layout(multi / "only", [amd(*NEW)])
    words = ("--all-platforms", "--old-base", multi / "old", "--new-base", multi / "only")
    refused(2, rebase(ocitool, multi, *words, bases=False), "linux/arm64")
    assert written_nothing(multi)


def test_one_platform_of_an_index_is_rebased_alone(ocitool: Run, multi: Path) -> None:
    made = rebased(ocitool, multi, "--platform", "linux/arm64")
    assert [*arm(*NEW[:2]).layers, *image([APP]).layers] == made.layers[:3]


def test_attestations_of_rebased_images_go(ocitool: Run, place: Path) -> None:
    files, images = multiarch()
    write_files(place / "multi", files)
    nested(place / "bases", "base", [amd(*OLD), arm(*OLD)])
    nested(place / "none", "base", [amd(), arm()])
    words = ("--all-platforms", "--old-base", place / "none", "--new-base", place / "bases")
    found = report_of(rebase(ocitool, place, *words, bases=False, src="multi"))
    assert ["attestation"] == [notice["code"] for notice in found["notices"] if notice["code"] == "attestation"]
    assert [AMD, ARM] == [one["platform"] for one in places.manifest(place / "out")["manifests"]]
    assert images[2].digest not in places.blobs(place / "out")


def test_an_index_base_by_annotations(
    ocitool: Run, place: Path, registry: ScriptedRegistry, home: dict[str, str | None]
) -> None:
    old = put_index(registry, "base", [amd(*OLD), arm(*OLD)], "0")
    put_index(registry, "base", [amd(*NEW), arm(*NEW[:2])], "1")
    for number, (stated, kind) in enumerate([(old, arm), (arm(*OLD).digest, arm), (old, amd)]):
        mine = annotated(kind(*OLD, *OWN), name=f"{registry.host}/base:1", digest=stated)
        src = write_layout(place / f"src{number}", [mine])
        trust = ("--insecure-host", registry.host)
        made = rebased(ocitool, place, *trust, bases=False, src=src, to=f"out{number}", env=home)
        wanted = arm(*NEW[:2]) if kind is arm else amd(*NEW)
        assert [*wanted.layers, *image(OWN).layers] == made.layers
        assert wanted.digest == made.annotations[DIGEST]


# Bad input


def damage(layout: Path, data: bytes) -> None:
    """One byte of a stored blob is another one."""
    path = layout / "blobs" / sha256(data).replace(":", "/")
    path.write_bytes(data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])


@pytest.mark.parametrize(
    ("whose", "tar"), [("src", APP), ("src", CONFIG), ("src", UPDATE), ("src", SHARED), ("new", FIXED), ("new", EXTRA)]
)
def test_a_corrupt_layer_is_5_and_nothing_is_written(whose: str, tar: bytes, ocitool: Run, place: Path) -> None:
    damage(place / whose, image([tar]).layers[0])
    refused(5, rebase(ocitool, place), str(place / whose))
    assert written_nothing(place)


def test_a_layer_that_the_image_has_too_is_taken_from_it(ocitool: Run, place: Path) -> None:
    damage(place / "new", image([SHARED]).layers[0])
    rebased(ocitool, place)


def test_a_corrupt_layer_of_an_old_base_that_must_be_read_is_5(ocitool: Run, place: Path) -> None:
    write_layout(place / "old", [image(OLD, codec="zstd")])
    damage(place / "old", image([UPDATE], codec="zstd").layers[0])
    refused(5, rebase(ocitool, place), str(place / "old"))
    assert written_nothing(place)


@pytest.mark.parametrize("whose", ["src", "new"])
def test_a_layer_that_is_not_what_the_configuration_says_is_5(whose: str, ocitool: Run, place: Path) -> None:
    tars = {"src": [*OLD, *OWN], "new": NEW}[whose]
    lies = [*tars[:-1], layer_tar([("other", b"")])]
    write_layout(place / whose, [image(tars, config=image(lies).config)])
    refused(5, rebase(ocitool, place), f"layer {len(tars) - 1}")
    assert written_nothing(place)


@pytest.mark.parametrize("whose", ["src", "new"])
def test_fewer_diff_ids_than_layers_are_4(whose: str, ocitool: Run, place: Path) -> None:
    tars = {"src": [*OLD, *OWN], "new": NEW}[whose]
    diff_ids = [sha256(tar) for tar in tars[:-1]]
    write_layout(place / whose, [image(tars, rootfs={"type": "layers", "diff_ids": diff_ids})])
    refused(4, rebase(ocitool, place), "diff_ids")
    assert written_nothing(place)


@pytest.mark.parametrize("kind", ["application/x-unknown", mediatypes.OCI_LAYER + "+gzip+encrypted"])
@pytest.mark.parametrize(("whose", "number"), [("src", 3), ("src", 1), ("new", 2)])
def test_a_layer_that_cannot_be_read_is_4(kind: str, whose: str, number: int, ocitool: Run, place: Path) -> None:
    odd = image({"src": [*OLD, *OWN], "new": NEW}[whose])
    odd.manifest["layers"][number]["mediaType"] = kind
    write_layout(place / whose, [odd])
    refused(4, rebase(ocitool, place), f"layer {number}")
    assert written_nothing(place)


@pytest.mark.parametrize("whose", ["old", "new", "src"])
def test_an_artifact_is_no_image(whose: str, ocitool: Run, place: Path) -> None:
    odd = image([], config=b"{}")
    odd.manifest["config"]["mediaType"] = "application/x-thing"
    write_layout(place / whose, [odd])
    refused(2, rebase(ocitool, place), "an artifact")
    assert written_nothing(place)


@pytest.mark.parametrize("whose", ["old", "new", "src"])
def test_an_attestation_is_no_image(whose: str, ocitool: Run, place: Path) -> None:
    files, images = multiarch()
    write_files(place / "multi", files)
    named = {name: f"{place}/multi:@{images[2].digest}" if name == whose else place / name for name in ("old", "new", "src")}
    words = ("--old-base", named["old"], "--new-base", named["new"])
    refused(2, rebase(ocitool, place, *words, bases=False, src=named["src"]), "an attestation")
    assert written_nothing(place)


@pytest.mark.parametrize("whose", ["old", "new", "src"])
def test_what_is_not_there_is_not_found(whose: str, ocitool: Run, place: Path) -> None:
    (place / whose).rename(place / "moved")
    refused(3, rebase(ocitool, place), str(place / whose))
    assert written_nothing(place)


def test_a_layer_of_the_new_base_that_is_not_here_is_3(ocitool: Run, place: Path) -> None:
    (place / "new" / "blobs" / sha256(image([EXTRA]).layers[0]).replace(":", "/")).unlink()
    refused(3, rebase(ocitool, place), str(place / "new"))
    assert written_nothing(place)


def test_an_own_layer_that_leaves_the_root_is_6(ocitool: Run, place: Path) -> None:
    write_layout(place / "src", [image([*OLD, layer_tar([("../out", b"")])])])
    assert (6, True) == (rebase(ocitool, place).code, written_nothing(place))


def test_one_or_all_platforms_but_not_both(ocitool: Run, place: Path) -> None:
    result = rebase(ocitool, place, "--platform", "linux/amd64", "--all-platforms")
    assert (2, True) == (result.code, written_nothing(place))


def test_a_destination_that_is_there_is_not_replaced_unasked(ocitool: Run, place: Path) -> None:
    (place / "out.tar").write_bytes(b"mine")
    assert 9 == rebase(ocitool, place, to="out.tar").code
    assert b"mine" == (place / "out.tar").read_bytes()
    report_of(rebase(ocitool, place, "--force", to="out.tar"))


def test_an_archive_may_replace_itself(ocitool: Run, place: Path) -> None:
    write_docker_archive(place / "app.tar", [image([*OLD, *OWN], codec="none", tag="example.test/app:1")])
    made = rebased(ocitool, place, "--force", src="app.tar", to="app.tar")
    assert [*image(NEW).layers, *OWN] == made.layers
