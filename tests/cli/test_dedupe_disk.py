"""`dedupe` says what lies on disk: archives are files of their own, and what deleting one frees is what `rm` frees."""

from __future__ import annotations

import gzip
import os
import random
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.copying import ONE, TWO
from support.images import Image, image, layer_tar, write_docker_archive, write_layout, write_oci_archive
from support.registries import put_images, random_bytes
from support.registry import ScriptedRegistry
from support.report import report_of

Run = Callable[..., Any]
BASE = layer_tar([("base", random_bytes(200_000))])


def app(name: str, tag: str | None = None, **how: Any) -> Image:
    return image([BASE, layer_tar([(name, random_bytes(20_000, len(name)))])], tag=tag or f"{name}:1", **how)


def report(run: Run, *words: Any, code: int = 0) -> Any:
    return report_of(run("dedupe", *words, "--format", "json"), code)


def by_name(found: Any) -> dict[str, Any]:
    return {Path(one["reference"]).name: one for one in found["images"]}


@pytest.mark.parametrize("write", [write_oci_archive, write_docker_archive])
def test_archives_take_their_files_and_deleting_one_frees_all_of_it(write: Any, ocitool: Run, tmp_path: Path) -> None:
    sizes = {name: write(tmp_path / f"{name}.tar", [app(name)]).stat().st_size for name in ("a", "bb")}
    found = report(ocitool, tmp_path)
    assert sum(sizes.values()) == found["bytes"]["onDisk"] > found["bytes"]["unique"]
    assert {f"{name}.tar": (size, size) for name, size in sizes.items()} == {
        name: (one["onDisk"], one["frees"]) for name, one in by_name(found).items()
    }
    assert all(one["marginal"] < 40_000 for one in found["images"])


def test_a_layout_takes_what_its_images_need_and_frees_what_gc_frees(ocitool: Run, tmp_path: Path) -> None:
    found = report(ocitool, write_layout(tmp_path / "store", [app("a"), app("bb")]))
    assert found["bytes"]["unique"] == found["bytes"]["onDisk"]
    assert [(one["own"] + one["shared"], one["marginal"]) for one in found["images"]] == [
        (one["onDisk"], one["frees"]) for one in found["images"]
    ]


def test_a_layout_beside_an_archive_counts_by_itself(ocitool: Run, tmp_path: Path) -> None:
    """The layout's blobs are freed although the archive has them too."""
    size = write_oci_archive(tmp_path / "a.tar", [app("a")]).stat().st_size
    alone = report(ocitool, write_layout(tmp_path / "store", [app("bb")]))
    found = report(ocitool, tmp_path)
    assert size + alone["bytes"]["unique"] == found["bytes"]["onDisk"]
    inside = next(one for one in found["images"] if "store" in one["reference"])
    assert (alone["bytes"]["unique"],) * 2 == (inside["onDisk"], inside["frees"])


def test_an_image_in_an_archive_and_a_layout_frees_both(ocitool: Run, tmp_path: Path) -> None:
    size = write_oci_archive(tmp_path / "a.tar", [app("a")]).stat().st_size
    write_layout(tmp_path / "store", [app("a")])
    (only,) = report(ocitool, tmp_path)["images"]
    assert size + only["own"] == only["onDisk"] == only["frees"]


def test_two_layouts_that_share_files_take_them_once_and_free_none_of_them(ocitool: Run, tmp_path: Path) -> None:
    one, two = (write_layout(tmp_path / name, [app("a")]) for name in ("one", "two"))
    apart = report(ocitool, one, two)
    assert 2 * apart["bytes"]["unique"] == apart["bytes"]["onDisk"] == apart["images"][0]["frees"]
    for path in one.rglob("blobs/*/*"):
        other = two / path.relative_to(one)
        other.unlink()
        os.link(path, other)
    joined = report(ocitool, one, two)
    assert (joined["bytes"]["unique"], 0) == (joined["bytes"]["onDisk"], joined["images"][0]["frees"])


def test_one_of_several_images_in_an_archive_frees_nothing(ocitool: Run, tmp_path: Path) -> None:
    size = write_oci_archive(tmp_path / "all.tar", [app("a"), app("bb")]).stat().st_size
    found = report(ocitool, tmp_path)
    assert size == found["bytes"]["onDisk"]
    assert [(size, 0)] * 2 == [(one["onDisk"], one["frees"]) for one in found["images"]]


def test_the_same_archive_twice_takes_and_frees_both_files_and_is_one_row(ocitool: Run, tmp_path: Path) -> None:
    size = sum(write_oci_archive(tmp_path / name, [app("a")]).stat().st_size for name in ("a.tar", "b.tar"))
    found = report(ocitool, tmp_path)
    (only,) = found["images"]
    assert (size, size, size) == (found["bytes"]["onDisk"], only["onDisk"], only["frees"])


def test_a_hard_link_takes_nothing_and_deleting_one_name_frees_nothing(ocitool: Run, tmp_path: Path) -> None:
    path = write_oci_archive(tmp_path / "a.tar", [app("a")])
    os.link(path, tmp_path / "b.tar")
    found = report(ocitool, tmp_path)
    assert path.stat().st_size == found["bytes"]["onDisk"]
    assert [0] == [one["frees"] for one in found["images"]]
    assert any("hard link" in one["text"] for one in found["notices"])
    assert [] == [one for one in found["advice"] if one["kind"] == "store"]


def test_a_compressed_archive_takes_what_its_file_takes(ocitool: Run, tmp_path: Path) -> None:
    for name in ("a", "bb"):
        plain = write_docker_archive(tmp_path / f"{name}.tar", [app(name, codec="none")])
        (tmp_path / f"{name}.tar.gz").write_bytes(gzip.compress(plain.read_bytes()))
        plain.unlink()
    found = report(ocitool, tmp_path)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) == found["bytes"]["onDisk"]


def test_what_is_at_a_registry_is_not_on_disk(registry: ScriptedRegistry, run: Run, tmp_path: Path) -> None:
    put_images(registry, "app", image([ONE, TWO]), tag="1")
    there = report(run, f"docker://{registry.host}/app:1")
    assert (None, there["bytes"]["unique"]) == (there["bytes"]["onDisk"], there["bytes"]["atRegistries"])
    size = write_oci_archive(tmp_path / "a.tar", [app("a")]).stat().st_size
    both = report(run, f"docker://{registry.host}/app:1", "a.tar")
    assert (size, there["bytes"]["unique"]) == (both["bytes"]["onDisk"], both["bytes"]["atRegistries"])
    assert [None, size] == [one["onDisk"] for one in both["images"]]


def test_text_of_archives_says_no_word_of_a_layout_that_is_not(ocitool: Run, tmp_path: Path) -> None:
    sizes = [write_oci_archive(tmp_path / f"{name}.tar", [app(name)]).stat().st_size for name in ("a", "bb")]
    for form in ("text", "markdown"):
        out = ocitool("dedupe", tmp_path, "--format", form).out
        assert "by sharing" not in out and not re.search(r"\d [kMGT]?B saved\*\*", out)
        assert "would save" in out
        assert f"{sum(sizes) / 1000:.1f} kB" in out
        assert f"{sizes[0] / 1000:.1f} kB" in out


def test_text_of_one_layout_says_what_sharing_saves(ocitool: Run, tmp_path: Path) -> None:
    out = ocitool("dedupe", write_layout(tmp_path / "store", [app("a"), app("bb")])).out
    assert "by sharing" in out and "would save" not in out


@pytest.mark.parametrize("form", ["text", "markdown"])
def test_a_row_names_all_tags(form: str, registry: ScriptedRegistry, run: Run, tmp_path: Path) -> None:
    for tag in ("1", "2", "latest"):
        put_images(registry, "app", image([ONE]), tag=tag)
    layout = write_layout(tmp_path / "store", [app("a", "x:1"), app("a", "x:2")])
    write_docker_archive(tmp_path / "a.tar", [app("bb", "named:7")])
    words = (f"docker://{registry.host}/app", "--tags", "*", layout, "a.tar")
    found = report(run, *words)
    assert {("x:1", "x:2"), ("named:7",)} <= {tuple(one["tags"]) for one in found["images"]}
    out = run("dedupe", *words, "--format", form, "--quiet").out
    for name in ("app:1", "app:2", "app:latest", "x:1", "x:2", "named:7"):
        assert name in out


# Advice


def test_removing_an_archive_saves_its_file(ocitool: Run, tmp_path: Path) -> None:
    size = write_oci_archive(tmp_path / "base.tar", [image([BASE], tag="base:1")]).stat().st_size
    write_oci_archive(tmp_path / "a.tar", [app("a")])
    (advised,) = [one for one in report(ocitool, tmp_path)["advice"] if one["kind"] == "contained"]
    assert (size, size) == (advised["saves"], advised["onDisk"])


def test_advice_that_deletes_what_other_advice_moves_is_an_alternative(ocitool: Run, tmp_path: Path) -> None:
    write_oci_archive(tmp_path / "base.tar", [image([BASE], tag="base:1")])
    write_oci_archive(tmp_path / "a.tar", [app("a")])
    write_oci_archive(tmp_path / "b.tar", [app("bb")])
    advice = report(ocitool, tmp_path)["advice"]
    assert {"contained", "store"} <= {one["kind"] for one in advice}
    second = next(at for at, one in enumerate(advice) if one["kind"] in ("contained", "store") and at)
    assert second in (1, 2) and advice[second]["insteadOf"]
    assert "not both" in ocitool("dedupe", tmp_path).out


def test_what_sharing_saves_of_archives_is_said_to_need_one_layout(ocitool: Run, tmp_path: Path) -> None:
    write_oci_archive(tmp_path / "a.tar", [app("a")])
    write_oci_archive(tmp_path / "b.tar", [image([BASE, ONE], tag="b:1", codec="none")])
    (advised,) = [one for one in report(ocitool, tmp_path)["advice"] if one["kind"] == "recompress"]
    assert 200_000 < advised["saves"] and advised["onDisk"] < 10_000
    assert "once all is in one layout" in ocitool("dedupe", tmp_path).out


def followed(ocitool: Run, advised: Any, place: Path) -> int:
    """Bytes that an advice saves on disk: of all files here, each once however many names it has."""

    def size() -> int:
        return sum({one.stat().st_ino: one.stat().st_size for one in place.rglob("*") if one.is_file()}.values())

    before = size()
    for part in advised["command"].split(" && "):
        words = shlex.split(part)
        if words[0] == "rm":
            for word in words[1:]:
                (place / word).unlink()
        else:
            result = ocitool(*words[1:], cwd=place)
            assert 0 == result.code, str(result)
    return before - size()


def saying(size: int, seed: int) -> bytes:
    """Bytes that gzip makes about half of."""
    dice = random.Random(seed)
    return b" ".join(b"%d" % dice.randrange(10**6) for _ in range(size // 7))


PROSE = [layer_tar([("a", saying(300_000, 7))]), layer_tar([("b", saying(200_000, 11))])]


@pytest.mark.parametrize(
    "kind",
    ["archive beside archive", "layout beside layout", "layout beside archive", "compressed archive beside archive"],
)
def test_what_a_recompression_saves_at_once_is_what_the_disk_shows(kind: str, ocitool: Run, tmp_path: Path) -> None:
    """An archive has whole blocks; in a compressed one plain layers take little; a layout frees them, and is no archive."""
    plain, packed = image(PROSE, tag="p:1", codec="none"), image([*PROSE, BASE], tag="q:1", codec="gzip")
    place = tmp_path / "place"
    place.mkdir()
    first, _, second = kind.partition(" beside ")
    for name, how, one in (("a", first, plain), ("b", second, packed)):
        store = write_layout(tmp_path / name, [one])
        ending = {"layout": "/", "compressed archive": ".tar.gz", "archive": ".tar"}[how]
        assert 0 == ocitool("copy", store, f"{place / name}{ending}").code
    found = report_of(ocitool("dedupe", ".", "--format", "json", cwd=place))
    (advised,) = [one for one in found["advice"] if one["kind"] == "recompress"]
    saved = followed(ocitool, advised, place)
    near = 0.02 * sum(map(len, PROSE)) if first == "compressed archive" else 100
    assert abs(saved - advised["onDisk"]) <= near, f"saved {saved}, said {advised}"


def test_one_image_is_named_that_has_all_the_layers_to_be_taken(ocitool: Run, tmp_path: Path) -> None:
    """Not for each layer the first one that has it: two commands, of which only one could be followed."""
    write_layout(tmp_path / "a", [image([PROSE[0]], tag="a:1", codec="gzip")])
    write_layout(tmp_path / "b", [image([*PROSE, BASE], tag="b:1", codec="gzip")])
    write_layout(tmp_path / "c", [image(PROSE, tag="c:1", codec="none")])
    advised = [one for one in report(ocitool, tmp_path)["advice"] if one["kind"] == "recompress"]
    assert [(sum(map(len, PROSE)), "b:b:1")] == [(one["saves"], one["command"].split()[5][-5:]) for one in advised]


@pytest.mark.parametrize("write", [write_oci_archive, write_docker_archive])
def test_what_one_layout_takes_counts_its_own_documents(write: Any, ocitool: Run, tmp_path: Path) -> None:
    """Of small archives they are much: an index, and manifests that `docker save` does not write."""
    for number in range(12):
        own = layer_tar([(f"f{number}", b"x")])
        write(tmp_path / f"{number}.tar", [image([PROSE[1], own], tag=f"n{number}:1", codec="none")])
    found = report_of(ocitool("dedupe", ".", "--format", "json", cwd=tmp_path))
    (advised,) = [one for one in found["advice"] if one["kind"] == "store"]
    saved = followed(ocitool, advised, tmp_path)
    assert abs(saved - advised["saves"]) <= 200, f"saved {saved}, said {advised}"


def test_an_archive_beside_a_layout_that_has_its_layers_may_go_into_it(ocitool: Run, tmp_path: Path) -> None:
    """What one layout of all would save is said, so how is said too."""
    write_layout(tmp_path / "store", [app("a")])
    write_oci_archive(tmp_path / "a.tar", [app("a")])
    write_oci_archive(tmp_path / "b.tar", [app("bb")])
    found = report_of(ocitool("dedupe", ".", "--format", "json", cwd=tmp_path))
    (advised,) = [one for one in found["advice"] if one["kind"] == "store"]
    saved = followed(ocitool, advised, tmp_path)
    assert abs(saved - advised["saves"]) <= 200, f"saved {saved}, said {advised}"
    assert 400_000 < saved and ["store"] == [path.name for path in tmp_path.iterdir() if path.name != "cache"]


def test_an_archive_beside_a_layout_of_other_images_stays(ocitool: Run, tmp_path: Path) -> None:
    write_layout(tmp_path / "store", [image([ONE], tag="one:1")])
    write_oci_archive(tmp_path / "a.tar", [app("a")])
    assert [] == report(ocitool, tmp_path)["advice"]


def assert_frees_as_gc(ocitool: Run, store: Path, one: Any) -> None:
    """What a row says that deleting its image frees is what `layout rm` and `layout gc` free."""
    before = sum(path.stat().st_size for path in store.glob("blobs/*/*"))
    ocitool("layout", "rm", store, f"@{one['digest']}")
    ocitool("layout", "gc", store)
    assert before - sum(path.stat().st_size for path in store.glob("blobs/*/*")) == one["frees"]


@pytest.mark.parametrize("picked", [["a:1"], ["a:1", "bb:1"], ["a:1", "a:2"], ["ccc:1", "bb:1", "a:1"]])
def test_images_picked_from_a_layout_free_what_gc_frees_beside_those_that_stay(
    picked: list[str], ocitool: Run, tmp_path: Path
) -> None:
    images = [app("a"), app("a", "a:2"), app("bb"), app("ccc")]
    for number in range(len({name.partition(":")[0] for name in picked})):
        store = write_layout(tmp_path / f"store{number}", images)
        found = report(ocitool, *(f"{store}:{name}" for name in picked))
        assert_frees_as_gc(ocitool, store, found["images"][number])


def test_an_image_picked_from_a_layout_that_gc_would_refuse_frees_nothing(ocitool: Run, tmp_path: Path) -> None:
    other = app("bb")
    store = write_layout(tmp_path / "store", [app("a"), other])
    (store / "blobs" / other.digest.replace(":", "/")).unlink()
    (one,) = report(ocitool, f"{store}:a:1")["images"]
    assert 0 == one["frees"]
    assert_frees_as_gc(ocitool, store, one)


@pytest.mark.parametrize(("write", "about"), [(write_oci_archive, False), (write_docker_archive, True)])
def test_what_gets_a_manifest_only_when_it_is_written_is_estimated(
    write: Any, about: bool, ocitool: Run, tmp_path: Path
) -> None:
    for name in ("a", "bb"):
        write(tmp_path / f"{name}.tar", [app(name, codec="none")])
    (store,) = [one for one in report(ocitool, tmp_path)["advice"] if one["kind"] == "store"]
    assert about == store["estimated"]
    assert about == ("about " in ocitool("dedupe", tmp_path).out)
