"""`copy --tags`: many tags of a repository, of which one may be bad, given at a time, and not given again."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import places
from support.copying import AMD, ARM, ONE, TWO
from support.images import image, index_of, pretty, write_layout
from support.registries import put_images, put_index
from support.registry import Fault, ScriptedRegistry
from support.report import done

from ocitool.spec import mediatypes
from ocitool.transports.registry.tags import SINGLE_LOOKUPS

Run = Callable[..., Any]

FINE, OTHER = image([ONE]), image([TWO, ONE])


def filled(registry: ScriptedRegistry) -> None:
    """Three tags, of which `b` leads to a layer that is gone."""
    put_images(registry, "app", FINE, tag="a")
    put_images(registry, "app", image([ONE, b"another tar"]), tag="b")
    put_images(registry, "app", FINE, tag="c")


def lose_the_layer_of(registry: ScriptedRegistry, tag: str) -> None:
    manifest = json.loads(registry.manifests["app", registry.tags["app", tag]][1])
    del registry.blobs["app", manifest["layers"][1]["digest"]]


def give_no_manifest_of(registry: ScriptedRegistry, tag: str) -> None:
    registry.faults.append(Fault("GET", f"/app/manifests/{tag}$", status=403))


def break_the_manifest_of(registry: ScriptedRegistry, tag: str) -> None:
    registry.put_manifest("app", mediatypes.OCI_MANIFEST, b"{", tag)


def flip_the_layer_of(registry: ScriptedRegistry, tag: str) -> None:
    manifest = json.loads(registry.manifests["app", registry.tags["app", tag]][1])
    registry.faults.append(Fault("GET", f"/blobs/{manifest['layers'][1]['digest']}", flip=-1))
    registry.faults.append(Fault("POST", "mount", no_mount=True))


BREAKS = (lose_the_layer_of, give_no_manifest_of, break_the_manifest_of, flip_the_layer_of)


def there(registry: ScriptedRegistry, place: str, tmp_path: Path) -> set[str]:
    """The tags at a destination."""
    if place.startswith("docker://"):
        return {tag for repo, tag in registry.tags if repo == "m/app"}
    if place.endswith("/"):
        return {name.rpartition(":")[2] for name in places.names(tmp_path / place)}
    with tarfile.open(tmp_path / place) as tar:
        index = json.load(tar.extractfile("index.json"))  # type: ignore[arg-type]
    names = [entry["annotations"]["org.opencontainers.image.ref.name"] for entry in index["manifests"]]
    return {name.rpartition(":")[2] for name in names}


@pytest.mark.parametrize("place", ["docker://{host}/m/", "store/", "a.tar", "a.tar.gz"])
@pytest.mark.parametrize("spoil", BREAKS)
def test_one_bad_tag_is_named_and_the_others_are_copied(
    spoil: Callable[[ScriptedRegistry, str], None], place: str, run: Run, registry: ScriptedRegistry, tmp_path: Path
) -> None:
    filled(registry)
    spoil(registry, "b")
    place = place.format(host=registry.host)
    result = run("copy", "--tags", "*", f"docker://{registry.host}/app", place, "--format", "json")
    assert 1 == result.code, str(result)
    found = json.loads(result.out)
    assert [f"docker://{registry.host}/app:b"] == [one["where"] for one in found["problems"]]
    assert "app:b" in result.err
    assert {"a", "c"} == {tag.rpartition(":")[2] for one in found["images"] for tag in one["tags"]}
    assert {"a", "c"} == there(registry, place, tmp_path)


@pytest.mark.parametrize("words", [("-q",), ()])
def test_a_bad_tag_is_named_in_text_and_quietly(words: tuple[str, ...], run: Run, registry: ScriptedRegistry) -> None:
    filled(registry)
    lose_the_layer_of(registry, "b")
    result = run("copy", *words, "--tags", "*", f"docker://{registry.host}/app", f"docker://{registry.host}/m/")
    assert 1 == result.code
    assert f"docker://{registry.host}/app:b" in (result.err if words else result.out)


@pytest.mark.parametrize(("spoil", "code"), [(lose_the_layer_of, 3), (give_no_manifest_of, 8), (break_the_manifest_of, 4)])
def test_strict_ends_at_the_first_bad_tag(
    spoil: Callable[[ScriptedRegistry, str], None], code: int, run: Run, registry: ScriptedRegistry, tmp_path: Path
) -> None:
    filled(registry)
    spoil(registry, "b")
    result = run("copy", "--strict", "--tags", "*", f"docker://{registry.host}/app", f"docker://{registry.host}/m/")
    assert code == result.code, str(result)
    assert set() == there(registry, "docker://", tmp_path)


def test_if_no_tag_can_be_copied_the_first_reason_ends_it_and_the_others_are_told(
    run: Run, registry: ScriptedRegistry, tmp_path: Path
) -> None:
    put_images(registry, "app", FINE, tag="a")
    put_images(registry, "app", OTHER, tag="b")
    for one in ("a", "b"):
        lose_the_layer_of(registry, one) if one == "b" else give_no_manifest_of(registry, one)
    result = run("copy", "--tags", "*", f"docker://{registry.host}/app", "store/")
    assert 8 == result.code, str(result)
    assert "app:a" in result.err and "app:b" in result.err
    assert not (tmp_path / "store" / "index.json").exists()


def test_an_index_of_which_an_image_is_bad_is_left_out_whole(run: Run, registry: ScriptedRegistry, tmp_path: Path) -> None:
    amd, arm = image([ONE], platform=AMD), image([ONE, TWO], platform=ARM, architecture="arm64")
    put_index(registry, "app", [amd, arm], "both")
    put_images(registry, "app", FINE, tag="a")
    del registry.blobs["app", arm.manifest["layers"][1]["digest"]]
    result = run("copy", "--tags", "*", f"docker://{registry.host}/app", f"docker://{registry.host}/m/")
    assert 1 == result.code, str(result)
    assert {"a"} == there(registry, "docker://", tmp_path)


def test_a_tag_that_the_registry_does_not_move_is_named_and_the_others_are_given(
    run: Run, registry: ScriptedRegistry, tmp_path: Path
) -> None:
    filled(registry)
    registry.put_manifest("m/app", mediatypes.OCI_MANIFEST, OTHER.raw, "b")
    body = json.dumps({"errors": [{"code": "TAG_INVALID", "message": "the repository is immutable"}]}).encode()
    registry.faults.append(Fault("PUT", "/m/app/manifests/b$", status=400, body=body))
    result = run("copy", "--tags", "*", f"docker://{registry.host}/app", f"docker://{registry.host}/m/", "--format", "json")
    assert 1 == result.code, str(result)
    (problem,) = json.loads(result.out)["problems"]
    assert f"{registry.host}/m/app:b" == problem["where"]
    assert "the repository is immutable" in problem["text"] and OTHER.digest in problem["text"]
    assert OTHER.digest == registry.tags["m/app", "b"]
    assert {"a", "b", "c"} == there(registry, "docker://", tmp_path)


@pytest.mark.parametrize("status", [400, 403, 405, 409, 412, 422])
@pytest.mark.parametrize("said", ["by HEAD", "after the refusal"])
def test_the_same_image_under_an_immutable_tag_is_success(status: int, said: str, run: Run, registry: ScriptedRegistry) -> None:
    put_images(registry, "app", FINE, tag="1")
    put_images(registry, "prod", FINE, tag="1")
    registry.faults.append(Fault("PUT", "/prod/manifests/", status=status))
    if said != "by HEAD":
        registry.faults.append(Fault("HEAD", "/prod/manifests/", status=404, times=1))
    done(run, "copy", f"docker://{registry.host}/app:1", f"docker://{registry.host}/prod:1")


@pytest.mark.parametrize("status", [400, 403, 409, 412])
def test_another_image_under_an_immutable_tag_is_a_failure_that_names_both(
    status: int, run: Run, registry: ScriptedRegistry
) -> None:
    put_images(registry, "app", FINE, tag="1")
    put_images(registry, "prod", OTHER, tag="1")
    registry.faults.append(Fault("PUT", "/prod/manifests/1", status=status))
    result = run("copy", f"docker://{registry.host}/app:1", f"docker://{registry.host}/prod:1")
    assert 8 == result.code, str(result)
    assert FINE.digest in result.err and OTHER.digest in result.err
    assert OTHER.digest == registry.tags["prod", "1"]


def test_excluded_tags_are_not_copied(run: Run, registry: ScriptedRegistry, tmp_path: Path) -> None:
    for tag in ("1.0", "1.1", "1.1-rc1", "nightly"):
        put_images(registry, "app", FINE, tag=tag)
    words = ("--tags", "1.*", "--tags", "n*", "--exclude", "*-rc*", "--exclude", "night*")
    done(run, "copy", *words, f"docker://{registry.host}/app", f"docker://{registry.host}/m/")
    assert {"1.0", "1.1"} == there(registry, "docker://", tmp_path)
    result = run("pull", "--tags", "1.*", "--exclude", "2.*", f"{registry.host}/app", "store/")
    assert 0 == result.code and "--exclude 2.* matches no tag" in result.err
    assert 2 == run("copy", "--exclude", "x", f"docker://{registry.host}/app:1.0", "store/").code


@pytest.mark.parametrize("words", [(), ("--dry-run",)])
@pytest.mark.parametrize("place", ["docker://{host}/m/", "store/"])
def test_a_tag_that_holds_an_index_at_the_destination_is_named_and_the_others_are_copied(
    place: str, words: tuple[str, ...], run: Run, registry: ScriptedRegistry, tmp_path: Path
) -> None:
    for tag in "abc":
        put_images(registry, "app", FINE, tag=tag)
    put_index(registry, "index", [image([ONE], platform=AMD), image([TWO], platform=ARM)], "b")
    place = place.format(host=registry.host)
    name = f"{registry.host}/app:b" if place == "store/" else f"{registry.host}/m/app:b"
    to = place if place == "store/" else f"docker://{name}"
    done(run, "copy", "--all-platforms", f"docker://{registry.host}/index:b", to, *(("--tag", name) if to == place else ()))
    result = run("copy", "--tags", "*", f"docker://{registry.host}/app", place, "--format", "json", *words)
    assert 1 == result.code, str(result)
    assert [name] == [one["where"] for one in json.loads(result.out)["problems"]]
    assert "the tag holds an index" in result.err
    assert ({"b"} if words else {"a", "b", "c"}) == there(registry, place, tmp_path)


@pytest.mark.parametrize("place", ["docker://{host}/m/", "store/"])
def test_strict_writes_nothing_if_a_tag_holds_an_index_at_the_destination(
    place: str, run: Run, registry: ScriptedRegistry, tmp_path: Path
) -> None:
    for tag in "ab":
        put_images(registry, "app", FINE, tag=tag)
    place = place.format(host=registry.host)
    put_index(registry, "m/app", [image([ONE], platform=AMD), image([TWO], platform=ARM)], "b")
    if place == "store/":
        words = ("--tag", f"{registry.host}/app:b")
        done(run, "copy", "--all-platforms", f"docker://{registry.host}/m/app:b", place, *words)
    result = run("copy", "--strict", "--tags", "*", f"docker://{registry.host}/app", place)
    assert (9, True) == (result.code, "the tag holds an index" in result.err), str(result)
    assert {"b"} == there(registry, place, tmp_path)


def test_what_a_list_calls_tags_and_cannot_be_any_is_told(run: Run, registry: ScriptedRegistry, tmp_path: Path) -> None:
    put_images(registry, "app", FINE, tag="1")
    registry.tags |= {("app", odd): FINE.digest for odd in ("1.0+build", "a/b", "-c")}
    result = run("copy", "--tags", "*", f"docker://{registry.host}/app", "store/")
    assert (0, True) == (result.code, "3 invalid tags in its list left out" in result.err), str(result)
    assert {"1"} == there(registry, "store/", tmp_path)


def test_tags_that_name_a_digest_are_no_images(run: Run, registry: ScriptedRegistry, tmp_path: Path) -> None:
    put_images(registry, "app", FINE, tag="1")
    for suffix in ("", ".sig", ".att", ".sbom", ".imgpkg", ".image-locations.imgpkg", ".cosign-v2"):
        registry.put_manifest("app", mediatypes.OCI_INDEX, pretty(index_of([])), f"sha256-{'a' * 64}{suffix}")
    done(run, "copy", "--tags", "*", f"docker://{registry.host}/app", f"docker://{registry.host}/m/")
    assert {"1"} == there(registry, "docker://", tmp_path)


def test_tags_that_name_a_digest_and_are_not_copied_are_said(run: Run, registry: ScriptedRegistry) -> None:
    put_images(registry, "app", FINE, tag="1")
    names = [f"sha256-{letter * 64}.sig" for letter in "ab"]
    for name in names:
        registry.put_manifest("app", mediatypes.OCI_INDEX, pretty(index_of([])), name)
    where, said = f"docker://{registry.host}/app", "tags that name a digest are not copied"

    def notes(*words: str) -> list[str]:
        result = run("copy", *words, where, f"docker://{registry.host}/m/")
        assert 0 == result.code, str(result)
        return [line for line in result.err.splitlines() if "note:" in line]

    note = f"ocitool: note: {where}: {said} (2, the first: {names[0]}); --referrers takes those of the images"
    assert [note] == notes("--tags", "*")
    assert [] == [note for note in notes("--tags", "*", "--referrers") if said in note]
    assert [] == notes("--tags", "1*")
    assert [] == notes("--tags", "*", "--exclude", "sha256-*")


def test_tags_that_lead_to_the_same_image_there_are_not_given_again(run: Run, registry: ScriptedRegistry) -> None:
    for number in range(8):
        put_images(registry, "app", FINE if number % 2 else OTHER, tag=f"t{number}")
    words = ("copy", "--tags", "*", f"docker://{registry.host}/app", f"docker://{registry.host}/m/")
    done(run, *words)
    registry.forget()
    found = done(run, *words)
    assert 8 == found["unchanged"]
    assert {"HEAD": 8, "GET": 8, "PUT": 0} == {how: len(registry.sent(how, "/manifests/")) for how in ("HEAD", "GET", "PUT")}
    assert [] == registry.sent(".*", "/blobs/")
    assert 0 == found["bytes"]["written"] == found["bytes"]["kept"]
    registry.tags["m/app", "t3"] = OTHER.digest
    registry.forget()
    assert 7 == done(run, *words)["unchanged"]
    assert ["t3"] == [one.path.rpartition("/")[2] for one in registry.sent("PUT", "/manifests/")]
    assert FINE.digest == registry.tags["m/app", "t3"]


@pytest.mark.parametrize("names", [("1",), ("1", "2"), ("1", "2", "3")])
def test_a_push_of_what_is_there_says_that_nothing_was_written(
    names: tuple[str, ...], run: Run, registry: ScriptedRegistry
) -> None:
    put_images(registry, "src", FINE, tag="1")
    more = [f"--tag={name}" for name in names[1:]]
    words = ("copy", f"docker://{registry.host}/src:1", f"docker://{registry.host}/app:1", *more)
    assert 0 == done(run, *words)["unchanged"]
    registry.forget()
    rehearsed, found = done(run, *words, "--dry-run"), done(run, *words)
    assert [] == registry.sent("PUT|POST|PATCH")
    for one in (rehearsed, found):
        assert len(names) == one["unchanged"]
        assert (0, 0) == (one["bytes"]["kept"], one["bytes"]["written"])
    registry.tags["app", names[-1]] = OTHER.digest
    found = done(run, *words)
    assert len(names) - 1 == found["unchanged"] and found["bytes"]["kept"] == len(FINE.raw)


def test_of_many_tags_those_that_the_list_of_the_destination_lacks_are_not_asked_for(
    run: Run, registry: ScriptedRegistry
) -> None:
    for number in range(20):
        put_images(registry, "app", FINE if number % 2 else OTHER, tag=f"t{number:02}")
    words = ("copy", "--tags", "*", f"docker://{registry.host}/app", f"docker://{registry.host}/m/")
    done(run, *words)
    assert (SINGLE_LOOKUPS, 1) == asked(registry)
    registry.forget()
    assert 20 == done(run, *words)["unchanged"]
    assert (20, 1) == asked(registry)


@pytest.mark.parametrize("fault", [
    {"status": 404}, {"status": 403}, {"status": 500}, {"body": b"<html>"}, {"body": b'{"tags": null}',
    "headers": {"Link": '</v2/m/app/tags/list?n=1>; rel="next"'}},
])  # fmt: skip
def test_a_list_of_the_destination_that_is_not_to_be_had_hides_no_tag(
    fault: dict[str, Any], run: Run, registry: ScriptedRegistry
) -> None:
    for number in range(12):
        put_images(registry, "app", FINE, tag=f"t{number:02}")
        put_images(registry, "m/app", FINE, tag=f"t{number:02}")
    registry.faults.append(Fault("GET", "/m/app/tags/list", **fault))
    found = done(run, "copy", "--tags", "*", f"docker://{registry.host}/app", f"docker://{registry.host}/m/")
    assert 12 == found["unchanged"]
    assert 12 == asked(registry)[0]


def asked(registry: ScriptedRegistry) -> tuple[int, int]:
    """How many tags of the destination were asked for, and how often its list."""
    return len(registry.sent("HEAD", "/m/app/manifests/")), len(registry.sent("GET", "/m/app/tags/list"))


def test_a_tag_that_the_destination_fails_to_tell_of_is_named(run: Run, registry: ScriptedRegistry, tmp_path: Path) -> None:
    filled(registry)
    registry.faults[:] = [Fault("HEAD", "/m/app/manifests/b$", status=500, headers={"Retry-After": "0"})]
    result = run("copy", "--tags", "*", f"docker://{registry.host}/app", f"docker://{registry.host}/m/")
    assert (1, True) == (result.code, "answers 500" in result.out), str(result)
    assert {"a", "c"} == there(registry, "docker://", tmp_path)


def test_a_tag_for_which_the_destination_fails_is_named_and_a_destination_that_fails_for_many_ends_it(
    run: Run, registry: ScriptedRegistry, tmp_path: Path
) -> None:
    for number in range(8):
        put_images(registry, "app", FINE, tag=f"t{number}")
    words = ("copy", "--tags", "*", f"docker://{registry.host}/app", f"docker://{registry.host}/m/", "--jobs", "1")
    at_once = {"Retry-After": "0"}
    registry.faults[:] = [Fault("PUT", "/m/app/manifests/t[35]$", status=500, headers=at_once)]
    result = run(*words, "--format", "json")
    assert 1 == result.code, str(result)
    assert [f"{registry.host}/m/app:t{number}" for number in (3, 5)] == sorted(
        one["where"] for one in json.loads(result.out)["problems"]
    )
    assert {"t0", "t1", "t2", "t4", "t6", "t7"} == there(registry, "docker://", tmp_path)
    registry.tags.clear()
    for number in range(8):
        put_images(registry, "app", FINE, tag=f"t{number}")
    registry.forget()
    registry.faults[:] = [Fault("PUT", "/m/app/manifests/t", status=500, headers=at_once)]
    assert 8 == run(*words).code
    tried = {request.path for request in registry.sent("PUT", "/m/app/manifests/t")}
    assert 4 <= len(tried) <= 4 + 2  # the fourth failure ends it; the two threads may have begun one more each


def test_one_tag_that_leads_to_the_image_already_is_put_again_by_force_alone(
    run: Run, registry: ScriptedRegistry, tmp_path: Path
) -> None:
    write_layout(tmp_path / "layout", [FINE])
    for source in (f"docker://{registry.host}/app:1", "layout"):
        put_images(registry, "app", FINE, tag="1")
        words = ("copy", source, f"docker://{registry.host}/m:1")
        done(run, *words)
        registry.forget()
        done(run, *words)
        assert (1, 0) == tuple(len(registry.sent(how, "/m/manifests/1")) for how in ("HEAD", "PUT"))
        done(run, *words, "--force")
        assert 1 == len(registry.sent("PUT", "/m/manifests/1"))


@pytest.mark.parametrize("word", ["--force", "--verify"])
def test_what_is_to_be_made_sure_of_is_looked_at_again(word: str, run: Run, registry: ScriptedRegistry) -> None:
    put_images(registry, "app", FINE, tag="1")
    words = ("copy", "--tags", "*", f"docker://{registry.host}/app", f"docker://{registry.host}/m/")
    done(run, *words)
    lost = FINE.manifest["layers"][0]["digest"]
    del registry.blobs["m/app", lost]
    done(run, *words, word)
    assert ("m/app", lost) in registry.blobs


@pytest.mark.parametrize(("at_once", "requests"), [(100, 3), (10, 3), (3, 3 + 16), (0, 1 + 25)])
def test_tags_of_one_image_are_given_together_where_the_registry_answers_them(
    at_once: int, requests: int, run: Run, tmp_path: Path
) -> None:
    with ScriptedRegistry(tags_at_once=at_once) as registry:
        for number in range(25):
            put_images(registry, "app", FINE, tag=f"t{number}")
        done(run, "copy", "--tags", "*", f"docker://{registry.host}/app", f"docker://{registry.host}/m/")
        assert {f"t{number}" for number in range(25)} == there(registry, "docker://", tmp_path)
        assert requests == len(registry.sent("PUT", "/m/app/manifests/"))


@pytest.mark.parametrize("status", [400, 404, 405, 414])
def test_a_registry_that_refuses_tags_of_the_query_gets_them_one_by_one(
    status: int, run: Run, registry: ScriptedRegistry, tmp_path: Path
) -> None:
    for number in range(5):
        put_images(registry, "app", FINE, tag=f"t{number}")
    registry.faults.append(Fault("PUT", r"/m/app/manifests/.*\?tag=", status=status))
    done(run, "copy", "--tags", "*", f"docker://{registry.host}/app", f"docker://{registry.host}/m/")
    assert 5 == len(there(registry, "docker://", tmp_path))


def test_two_tags_cost_two_requests(run: Run, registry: ScriptedRegistry) -> None:
    put_images(registry, "app", FINE, tag="1")
    done(run, "copy", f"docker://{registry.host}/app:1", f"docker://{registry.host}/m:1", "--tag", "2")
    assert 2 == len(registry.sent("PUT", "/m/manifests/"))


# What was copied, said


@pytest.mark.parametrize("place", ["docker://{host}/m:1", "store/", "a.tar", "a.tar.gz", "oci-archive:b.tar"])
def test_a_foreign_layer_that_is_not_copied_is_named(place: str, run: Run, registry: ScriptedRegistry) -> None:
    layer: dict[str, Any] = {
        **FINE.manifest["layers"][0], "mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", "urls": ["http://127.0.0.1:9/l"],
    }  # fmt: skip
    manifest = {**FINE.manifest, "layers": [layer]}
    registry.put_manifest("app", mediatypes.OCI_MANIFEST, json.dumps(manifest).encode(), "1")
    registry.put_blob("app", FINE.config)
    result = run("copy", f"docker://{registry.host}/app:1", place.format(host=registry.host))
    assert 0 == result.code, str(result)
    assert f"the layer {layer['digest']} is kept elsewhere (urls) and is not copied; --foreign fetches it" in result.err


def test_of_an_artifact_it_is_said_what_was_copied(run: Run, registry: ScriptedRegistry) -> None:
    kind = "application/vnd.cncf.helm.config.v1+json"
    config, chart = registry.put_blob("chart", b"{}"), registry.put_blob("chart", b"chart")
    fields = {
        "schemaVersion": 2, "mediaType": mediatypes.OCI_MANIFEST,
        "config": {"mediaType": kind, "digest": config, "size": 2},
        "layers": [{"mediaType": "application/vnd.cncf.helm.chart.content.v1.tar+gzip", "digest": chart, "size": 5}],
    }  # fmt: skip
    registry.put_manifest("chart", mediatypes.OCI_MANIFEST, json.dumps(fields).encode(), "1")
    text = run("pull", f"{registry.host}/chart:1", "store/").out
    assert f"artifact {kind}" in text and "wrote 1 artifact to store/" in text
    assert "0 images" not in text
    (root,) = done(run, "pull", f"{registry.host}/chart:1", "other/")["roots"]
    assert kind == root["artifactType"]


@pytest.mark.parametrize("place", ["store/", "a.tar"])
def test_a_pulled_image_is_found_by_its_name_with_and_without_the_host(
    place: str, run: Run, registry: ScriptedRegistry
) -> None:
    put_images(registry, "team/app", FINE, tag="1")
    done(run, "pull", f"{registry.host}/team/app:1", place)
    for name in (f"{registry.host}/team/app:1", "team/app:1"):
        assert FINE.digest == run("inspect", f"{place}:{name}", "--digest").out.strip()
    assert 3 == run("inspect", f"{place}:app:1").code


def test_a_name_without_a_host_that_several_images_have_is_refused(run: Run, registry: ScriptedRegistry) -> None:
    put_images(registry, "app", FINE, tag="1")
    done(run, "pull", f"{registry.host}/app:1", "store/")
    put_images(registry, "app", OTHER, tag="1")
    done(run, "pull", f"{registry.host}/app:1", "store/", "--tag", "reg.example/app:1")
    result = run("inspect", "store/:app:1")
    assert 3 == result.code and "several images" in result.err
