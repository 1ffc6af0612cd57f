"""What a tag names is what is copied and reported: an index stays whole, and never gives way to one image unasked."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import places
from support.copying import AMD, ARM, ONE, TWO, copied, multiarch, refused
from support.images import image, index_of, pretty, sha256, write_files, write_layout
from support.registries import paths, put_images, put_index
from support.registry import Fault, ScriptedRegistry
from support.report import done

from ocitool.spec import mediatypes

Run = Callable[..., Any]
PAIR = [image([ONE], platform=AMD), image([ONE, TWO], platform=ARM, architecture="arm64")]
BOTH = ["linux/amd64", "linux/arm64"]
WRITERS: dict[str, tuple[str, ...]] = {
    "copy": (), "edit": ("--user", "7"), "append": ("--layer", "more"), "squash": (),
    "rebuild": ("--against", "again"), "rebase": ("--old-base", "base", "--new-base", "base"),
}  # fmt: skip


def platforms(root: Any) -> list[str]:
    return [f"{one['os']}/{one['architecture']}" for one in root["platforms"]]


def index_at(registry: ScriptedRegistry, path: str, tag: str) -> Any:
    """The index that a tag names, None if that is none."""
    media_type, raw = registry.manifests[path, registry.tags[path, tag]]
    return json.loads(raw)["manifests"] if media_type == mediatypes.OCI_INDEX else None


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A layout with an index of two platforms and an attestation, and what the commands want beside it."""
    files, _ = multiarch()
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "file").write_bytes(b"x")
    write_files(tmp_path / "again", files)
    pair = [image([ONE], platform=AMD), image([ONE], platform=ARM, architecture="arm64")]
    raw = pretty(index_of([one.descriptor for one in pair]))
    base = write_layout(tmp_path / "base", [], index=index_of([
        {"mediaType": mediatypes.OCI_INDEX, "digest": sha256(raw), "size": len(raw)}]))  # fmt: skip
    blobs = {**pair[0].blobs, **pair[1].blobs, sha256(raw): raw}
    write_files(base, {f"blobs/{digest.replace(':', '/')}": data for digest, data in blobs.items()})
    return write_files(tmp_path / "in", files)


# Reports


@pytest.mark.parametrize("command", WRITERS)
@pytest.mark.parametrize("place", ["registry", "out/", "out.tar"])
def test_a_report_names_the_index_that_the_tag_came_to_name(
    command: str, place: str, source: Path, run: Run, registry: ScriptedRegistry, tmp_path: Path
) -> None:
    destination = f"docker://{registry.host}/app:1" if place == "registry" else place
    report = done(run, command, "in", destination, *WRITERS[command], "--all-platforms")
    if place == "registry":
        name, digest = f"{registry.host}/app:1", registry.tags["app", "1"]
        reference = f"docker://{registry.host}/app@{digest}"
    else:
        ((name, digest),) = places.names(tmp_path / place).items()
        reference = f"{place.rstrip('/')}:@{digest}"
    (root,) = report["roots"]
    assert (digest, mediatypes.OCI_INDEX, [name], [reference]) == (
        root["digest"], root["mediaType"], root["names"], root["references"]
    )  # fmt: skip
    assert BOTH == platforms(root)
    assert digest == run("inspect", "--digest", reference).out.strip()


def test_the_root_of_one_image_is_its_manifest_without_platforms(run: Run, registry: ScriptedRegistry, tmp_path: Path) -> None:
    one = image([ONE], tag="app:1")
    write_layout(tmp_path / "in", [one])
    (root,) = done(run, "push", "in", f"{registry.host}/app", "--tag", "1", "--tag", "2")["roots"]
    names = [f"{registry.host}/app:{tag}" for tag in (1, 2)]
    assert (one.digest, mediatypes.OCI_MANIFEST, names, None) == (
        root["digest"], root["mediaType"], root["names"], root["platforms"]
    )  # fmt: skip


def test_a_repacked_image_is_a_root_too(run: Run, registry: ScriptedRegistry, tmp_path: Path) -> None:
    write_layout(tmp_path / "in", [image([ONE], tag="app:1")])
    assert 0 == run("unpack", "in", "work").code
    (root,) = done(run, "repack", "work", f"docker://{registry.host}/app:1")["roots"]
    assert registry.tags["app", "1"] == root["digest"]


def test_each_image_of_a_prefix_has_a_reference_of_its_own(run: Run, registry: ScriptedRegistry, tmp_path: Path) -> None:
    images = [image([ONE], tag="team/a:1"), image([TWO], tag="team/b:2")]
    write_layout(tmp_path / "in", images)
    found = done(run, "copy", "in", f"docker://{registry.host}/new/")["roots"]
    want = [[f"docker://{registry.host}/new/team/{name}@{one.digest}"] for name, one in zip("ab", images, strict=True)]
    assert want == [root["references"] for root in found]


def test_what_speaks_of_an_image_is_a_root_that_says_so(run: Run, registry: ScriptedRegistry, tmp_path: Path) -> None:
    one = image([ONE])
    put_images(registry, "app", one, tag="1")
    bill = image([b"bill"], config=b"{}", codec="none")
    bill.manifest["subject"] = {name: one.descriptor[name] for name in ("mediaType", "digest", "size")}
    put_images(registry, "app", bill)
    found = done(run, "pull", f"{registry.host}/app:1", "out/", "--referrers")["roots"]
    assert {one.digest: None, bill.digest: one.digest} == {root["digest"]: root["subject"] for root in found}


def test_nothing_refers_to_what_went_to_standard_output(ocitool: Run, tmp_path: Path) -> None:
    write_layout(tmp_path / "in", [image([ONE], tag="app:1")])
    result = ocitool("copy", tmp_path / "in", "-", "--report", tmp_path / "report", "--format", "json")
    assert 0 == result.code
    assert [[]] == [root["references"] for root in json.loads((tmp_path / "report").read_text())["roots"]]


def test_one_image_in_a_file_has_its_digest_once(run: Run, tmp_path: Path) -> None:
    one = image([ONE], tag="app:1")
    write_layout(tmp_path / "in", [one])
    assert 1 == run("copy", "in", "out/").out.count(one.digest)


def test_an_index_in_a_file_can_be_copied_from_the_last_line(source: Path, run: Run, tmp_path: Path) -> None:
    line = run("copy", "in", "out/", "--all-platforms").out.splitlines()[-1]
    (digest,) = places.names(tmp_path / "out").values()
    assert [f"out:@{digest}", "index of linux/amd64, linux/arm64"] == line.split("  ")


def test_the_last_line_can_be_copied(source: Path, run: Run, registry: ScriptedRegistry) -> None:
    result = run("push", "in", f"{registry.host}/app:1", "--all-platforms")
    line = result.out.splitlines()[-1]
    assert [f"{registry.host}/app@{registry.tags['app', '1']}", "index of linux/amd64, linux/arm64"] == line.split("  ")


# inspect --digest


@pytest.mark.parametrize("place", ["registry", "out/", "out.tar", "out.tar.gz"])
def test_inspect_digest_prints_what_the_reference_names(
    place: str, source: Path, run: Run, registry: ScriptedRegistry, tmp_path: Path
) -> None:
    destination = f"docker://{registry.host}/app:1" if place == "registry" else place
    (root,) = done(run, "copy", "in", destination, "--all-platforms")["roots"]
    for words in ((), ("--all-platforms",), ("--raw", "index")):
        assert root["digest"] == run("inspect", "--digest", destination, *words).out.strip()
    for one, platform in zip(PAIR, BOTH, strict=True):
        assert one.digest == run("inspect", "--digest", destination, "--platform", platform).out.strip()


def test_inspect_digest_asks_a_registry_for_one_document(run: Run, registry: ScriptedRegistry) -> None:
    put_index(registry, "app", PAIR, "1")
    registry.forget()
    run("inspect", "--digest", f"docker://{registry.host}/app:1")
    assert ["GET manifests/1"] == paths(registry, path="/app/")


def test_inspect_digest_of_a_name_without_an_index_needs_a_platform(run: Run, tmp_path: Path) -> None:
    pair = [image([ONE], platform=AMD, tag="app:1"), image([TWO], platform=ARM, architecture="arm64", tag="app:1")]
    write_layout(tmp_path / "in", pair)
    refused(3, run("inspect", "--digest", "in:app:1"), "no index", "linux/amd64, linux/arm64", "--platform")
    assert pair[1].digest == run("inspect", "--digest", "in:app:1", "--platform", "linux/arm64").out.strip()


# From a registry to a registry


def test_a_tag_comes_to_name_at_another_registry_what_it_named(run: Run, registry: ScriptedRegistry) -> None:
    digest = put_index(registry, "app", PAIR, "1")
    found = done(run, "copy", f"docker://{registry.host}/app:1", f"docker://{registry.host}/prod/app:1")
    assert digest == registry.tags["prod/app", "1"]
    assert BOTH == platforms(found["roots"][0])
    assert [] == found["notices"]


def test_what_is_reported_can_be_promoted_whole(source: Path, run: Run, registry: ScriptedRegistry) -> None:
    (root,) = done(run, "push", "in", f"{registry.host}/app:1", "--all-platforms")["roots"]
    done(run, "copy", *root["references"], f"docker://{registry.host}/prod/app:1")
    assert root["digest"] == registry.tags["prod/app", "1"]


def test_a_platform_is_taken_from_a_registry_to_a_registry_if_it_is_named(run: Run, registry: ScriptedRegistry) -> None:
    put_index(registry, "app", PAIR, "1")
    words = (f"docker://{registry.host}/app:1", f"docker://{registry.host}/prod/app:1")
    done(run, "copy", "--platform", "linux/arm64", *words)
    assert PAIR[1].digest == registry.tags["prod/app", "1"]


# An index under the tag


@pytest.fixture
def occupied(source: Path, registry: ScriptedRegistry, tmp_path: Path) -> dict[str, Callable[[], object]]:
    """Two places where app:1 is an index, by the word for it, with what tells what the tag names now."""
    write_files(tmp_path / "out", multiarch()[0])
    put_index(registry, "app", PAIR, "1")
    return {
        f"docker://{registry.host}/app:1": lambda: registry.tags["app", "1"],
        "oci:out:app:1": lambda: places.names(tmp_path / "out"),
    }


@pytest.mark.parametrize("command", WRITERS)
def test_one_platform_never_replaces_an_index_unasked(
    command: str, occupied: dict[str, Callable[[], object]], run: Run
) -> None:
    for destination, now in occupied.items():
        before = now()
        for words in ((), ("--dry-run",)):
            refused(9, run(command, "in", destination, *WRITERS[command], *words), *BOTH, "--force", "--all-platforms")
        assert before == now()


@pytest.mark.parametrize(
    "words", [("--force",), ("--platform", "linux/amd64"), ("--all-platforms",)], ids=["force", "platform", "all"]
)
@pytest.mark.parametrize("command", WRITERS)
def test_it_does_if_that_is_asked_for(
    command: str, words: tuple[str, ...], occupied: dict[str, Callable[[], object]], run: Run, registry: ScriptedRegistry
) -> None:
    for destination in occupied:
        (root,) = done(run, command, "in", destination, *WRITERS[command], *words)["roots"]
        assert (words == ("--all-platforms",)) == (root["platforms"] is not None)
    assert (words == ("--all-platforms",)) == (index_at(registry, "app", "1") is not None)


def test_an_edit_of_a_tag_in_its_place_keeps_the_index_or_is_refused(run: Run, registry: ScriptedRegistry) -> None:
    before = put_index(registry, "app", PAIR, "1")
    words = ("edit", f"docker://{registry.host}/app:1", f"docker://{registry.host}/app:1", "--user", "7")
    refused(9, run(*words), "index", *BOTH)
    assert before == registry.tags["app", "1"]
    done(run, *words, "--all-platforms")
    assert [AMD, ARM] == [entry["platform"] for entry in index_at(registry, "app", "1")]


def test_an_image_that_was_never_part_of_an_index_does_not_replace_one_either(
    run: Run, registry: ScriptedRegistry, tmp_path: Path
) -> None:
    before = put_index(registry, "app", PAIR, "1")
    write_layout(tmp_path / "one", [image([TWO], tag="app:1")])
    refused(9, run("push", "one", f"{registry.host}/app:1"), f"{registry.host}/app:1")
    assert before == registry.tags["app", "1"]
    assert not registry.sent("POST|PUT|PATCH")


def test_a_repacked_image_does_not_replace_one(run: Run, registry: ScriptedRegistry) -> None:
    before = put_index(registry, "app", PAIR, "1")
    assert 0 == run("unpack", f"docker://{registry.host}/app:1", "work").code
    refused(9, run("repack", "work", f"docker://{registry.host}/app:1"), "index")
    assert before == registry.tags["app", "1"]


def test_platforms_under_one_name_of_a_layout_are_an_index_too(ocitool: Run, tmp_path: Path) -> None:
    pair = [image([ONE], platform=AMD, tag="app:1"), image([TWO], platform=ARM, architecture="arm64", tag="app:1")]
    write_layout(tmp_path / "out", pair)
    one = write_layout(tmp_path / "one", [image([TWO], tag="app:1")])
    refused(9, ocitool("copy", one, tmp_path / "out"), "linux/amd64, linux/arm64")
    copied(ocitool, "--force", one, tmp_path / "out")


def test_a_tag_of_an_image_and_an_absent_one_cost_a_look_each(run: Run, registry: ScriptedRegistry, tmp_path: Path) -> None:
    put_images(registry, "app", image([ONE]), tag="1")
    write_layout(tmp_path / "one", [image([TWO], tag="app:1")])
    registry.forget()
    done(run, "push", "one", f"{registry.host}/app:1", "--tag", "2")
    assert ["HEAD manifests/1", "HEAD manifests/2"] == sorted(paths(registry, "HEAD|GET", "/manifests/"))


def test_an_index_and_what_may_replace_one_cost_no_look(source: Path, run: Run, registry: ScriptedRegistry) -> None:
    for words in (("--all-platforms",), ("--platform", "linux/amd64"), ("--force",)):
        done(run, "push", "in", f"{registry.host}/app:1", *words)
    assert [] == paths(registry, "HEAD|GET", "/manifests/")


def test_an_index_that_head_is_refused_for_is_not_replaced(
    source: Path, run: Run, registry: ScriptedRegistry, tmp_path: Path
) -> None:
    done(run, "push", "in", f"{registry.host}/app:1", "--all-platforms")
    before = dict(registry.tags)
    write_layout(tmp_path / "one", [image([TWO], tag="app:1")])
    registry.faults.append(Fault("HEAD", "/manifests/", status=403))
    assert 9 == run("push", "one", f"{registry.host}/app:1").code
    assert before == registry.tags


def test_a_text_report_ends_with_twenty_references_at_most(run: Run, registry: ScriptedRegistry, tmp_path: Path) -> None:
    write_layout(tmp_path / "in", [image([ONE], tag=f"app:{number}", author=str(number)) for number in range(22)])
    result = run("copy", "in", f"docker://{registry.host}/")
    assert "and 2 more; --format json lists all" == result.out.splitlines()[-1]
    assert 22 == len(done(run, "copy", "in", f"docker://{registry.host}/")["roots"])
