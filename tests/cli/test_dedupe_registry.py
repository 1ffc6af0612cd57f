"""`dedupe` of what registries hold: which images globs mean, that the numbers are those of a layout, what is asked for."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.copying import AMD, ARM, ONE, TWO
from support.images import Image, image, index_of, layer_tar, pretty, sha256, write_layout
from support.registries import NO_REGISTRY_SETTINGS, PASSWORD, USER, authfile, put_images, put_index, random_bytes
from support.registry import Fault, ScriptedRegistry, TokenAuth
from support.report import done, report_of

from ocitool.layers.codecs import SNIFF
from ocitool.limits import MiB
from ocitool.spec import mediatypes

Run = Callable[..., Any]
THREE = layer_tar([("etc/", None), ("etc/motd", b"hello\n"), ("c", b"c" * 5000)])
LARGE = layer_tar([("large", random_bytes(2 * MiB, 5)), ("c", b"c" * 5000)])
AT_ONCE = {"Retry-After": "0"}


def filled(registry: ScriptedRegistry) -> ScriptedRegistry:
    """team/app with v1.0, v1.1, v2.0 and latest; team/web with v1.0 and an index; other with latest."""
    put_images(registry, "team/app", image([ONE]), tag="v1.0")
    put_images(registry, "team/app", image([ONE, TWO]), tag="v1.1")
    put_images(registry, "team/app", image([ONE, TWO, THREE]), tag="v2.0")
    put_images(registry, "team/app", image([TWO]), tag="latest")
    put_images(registry, "team/web", image([ONE, THREE]), tag="v1.0")
    both = [image([ONE, TWO], platform=AMD, created=None), image([ONE], platform=ARM, architecture="arm64")]
    put_index(registry, "team/web", both, "all")
    put_images(registry, "other", image([THREE, LARGE]), tag="latest")
    return registry


def names(report: Any) -> set[str]:
    """What the images are called, without the host."""
    return {one["reference"].rpartition("/v2/")[2].partition("//")[2].partition("/")[2] for one in report["images"]}


def at(registry: ScriptedRegistry, name: str = "") -> str:
    return f"docker://{registry.host}{'/' if name else ''}{name}"


def numbers(report: Any) -> Any:
    """All that does not depend on where the images are: by digests in place of references."""
    digests = {one["reference"]: one["digest"] for one in report["images"]}
    own = ("kind", "digest", "imageId", "platforms", "layers", "own", "shared", "marginal")
    unlike = {"name": None, "on": None, "createdBy": None}  # these go by the order of images

    def sorted_by_content(values: Any) -> list[str]:
        return sorted(json.dumps(value, sort_keys=True) for value in values)

    return {
        "images": sorted_by_content({name: one[name] for name in own} for one in report["images"]),
        **{name: report[name] for name in ("layers", "files")},
        "bytes": {name: report["bytes"][name] for name in ("referenced", "unique", "saved")},
        **{
            name: sorted_by_content(
                {**one, **unlike, "images": sorted(map(digests.get, one["images"]))} for one in report[name]
            )
            for name in ("sharedLayers", "bases", "equalUncompressed")
        },
    }  # fmt: skip


def blobs(registry: ScriptedRegistry) -> Counter[str]:
    """How often each blob was asked for, in any way."""
    return Counter(one.path.rpartition("/")[2] for one in registry.sent(".*", "/blobs/sha256:"))


def whole(registry: ScriptedRegistry) -> Counter[str]:
    """How often each blob was sent, but for the first bytes of a large one, which tell its codec."""
    return Counter(one.path.rpartition("/")[2] for one in registry.sent("GET", "/blobs/sha256:") if one.status == 200)


def configs(registry: ScriptedRegistry) -> set[str]:
    documents = (json.loads(raw) for _, raw in registry.manifests.values())
    return {one["config"]["digest"] for one in documents if "config" in one}


def layers(registry: ScriptedRegistry) -> set[str]:
    documents = (json.loads(raw) for _, raw in registry.manifests.values())
    return {layer["digest"] for one in documents for layer in one.get("layers", ())}


def local(tmp_path: Path) -> str:
    """A layout beside the registry."""
    write_layout(tmp_path / "near", [image([ONE, TWO], tag="near")])
    return "near"


def named(result: Any, code: int, *words: str) -> Any:
    """The report of a run that named one problem with this code of its own, in the report and on standard error."""
    report = report_of(result, 1)
    (problem,) = report["problems"]
    assert code == problem["exitCode"], str(result)
    for word in words:
        assert word in problem["where"] + problem["text"], str(result)
        assert word in result.err, str(result)
    assert "Traceback" not in result.err
    return report


def refused(result: Any, code: int, *words: str) -> None:
    assert (code, "") == (result.code, result.out), str(result)
    assert 1 == result.err.count("ocitool: error: ") and "a bug" not in result.err, str(result)
    for word in words:
        assert word in result.err, str(result)


# Which images


@pytest.mark.parametrize(
    ("globs", "wanted"),
    [
        (("v1.*",), {"v1.0", "v1.1"}), (("v1.*", "l?test"), {"v1.0", "v1.1", "latest"}),
        (("*",), {"v1.0", "v1.1", "v2.0", "latest"}),
        (("v[2-9].0", "v2.*"), {"v2.0"}), (("v1.0",), {"v1.0"}), (("v1.0", "latest"), {"v1.0", "latest"}),
    ],
)  # fmt: skip
def test_tags_are_chosen_by_globs(globs: tuple[str, ...], wanted: set[str], run: Run, registry: ScriptedRegistry) -> None:
    words = [word for glob in globs for word in ("--tags", glob)]
    report = done(run, "dedupe", at(filled(registry), "team/app"), *words)
    assert {f"team/app:{tag}" for tag in wanted} == names(report)


@pytest.mark.parametrize(
    ("globs", "wanted"),
    [
        (("team/*",), {"team/app:v1.0", "team/app:v1.1", "team/app:v2.0", "team/app:latest", "team/web:v1.0", "team/web:all"}),
        (("*/web", "oth?r"), {"team/web:v1.0", "team/web:all", "other:latest"}),
        (("other", "o*"), {"other:latest"}),
    ],
)
def test_repositories_are_chosen_by_globs_with_all_their_tags(
    globs: tuple[str, ...], wanted: set[str], run: Run, registry: ScriptedRegistry
) -> None:
    words = [word for glob in globs for word in ("--repos", glob)]
    assert wanted == names(done(run, "dedupe", at(filled(registry)), *words))


def test_repositories_and_tags_are_chosen_together(run: Run, registry: ScriptedRegistry) -> None:
    words = ("--repos", "team/*", "--repos", "other", "--tags", "v1.0", "--tags", "late*")
    report = done(run, "dedupe", at(filled(registry)), *words)
    assert {"team/app:v1.0", "team/app:latest", "team/web:v1.0", "other:latest"} == names(report)
    assert [] == report["problems"]


def test_all_pages_of_both_lists_are_read(run: Run) -> None:
    with ScriptedRegistry(page=2) as registry:
        for number in range(5):
            for tag in range(5):
                put_images(registry, f"r{number}", image([ONE], created=f"2024-01-0{number + 1}T00:00:0{tag}Z"), tag=f"t{tag}")
        report = done(run, "dedupe", at(registry), "--repos", "r*")
        assert {f"r{number}:t{tag}" for number in range(5) for tag in range(5)} == names(report)


def test_a_slash_behind_the_host_changes_nothing(run: Run, registry: ScriptedRegistry) -> None:
    words = ("--repos", "other")
    found = [done(run, "dedupe", at(filled(registry)) + end, *words)["images"] for end in ("", "/")]
    assert found[0] == found[1] != []


def test_a_host_alone_is_2_and_the_hint_says_how_to_mean_all_of_it(run: Run, registry: ScriptedRegistry) -> None:
    for words in ((), ("--tags", "*")):
        refused(run("dedupe", at(filled(registry)), *words), 2, f"hint: {at(registry)} --repos '*'")
    assert [] == registry.requests


def test_a_repository_alone_means_its_tag_latest(run: Run, registry: ScriptedRegistry) -> None:
    report = done(run, "dedupe", at(filled(registry), "team/app"))
    assert [image([TWO]).digest] == [one["digest"] for one in report["images"]]
    assert [] == registry.sent(".*", "/tags/list|_catalog")


def test_globs_leave_a_repository_with_a_tag_or_digest_alone(run: Run, registry: ScriptedRegistry) -> None:
    filled(registry)
    words = (at(registry, "team/app:v2.0"), at(registry, f"team/app@{image([ONE]).digest}"), at(registry, "team/web"))
    report = done(run, "dedupe", *words, "--tags", "v1.*")
    assert {image(tars).digest for tars in ([ONE, TWO, THREE], [ONE], [ONE, THREE])} == {
        one["digest"] for one in report["images"]
    }


@pytest.mark.parametrize(
    ("name", "words", "said"),
    [
        ("team/app", ("--tags", "x*", "--tags", "y"), "no tag matches x* or y"),
        ("", ("--repos", "x*"), "no repository matches x*"),
        ("", ("--repos", "team/*", "--tags", "x*"), "x*"),
    ],
    ids=["tags", "repositories", "tags of repositories"],
)
def test_globs_that_nothing_matches_are_2(
    name: str, words: tuple[str, ...], said: str, run: Run, registry: ScriptedRegistry
) -> None:
    refused(run("dedupe", at(filled(registry), name), *words), 2, said, registry.host)


def test_one_glob_of_several_that_nothing_matches_is_2_or_noted(run: Run, registry: ScriptedRegistry) -> None:
    host, app = at(filled(registry), ""), at(registry, "team/app")
    for name, words in ((app, ("--tags", "latest", "--tags", "V1.*")), (host, ("--repos", "team/*", "--repos", "taem/*"))):
        result = run("dedupe", name, *words)
        assert (2, True) == (result.code, f"{words[0]} {words[3]} matches no" in result.err), str(result)
        result = run("dedupe", name, *words, "--allow-no-match")
        assert (0, True) == (result.code, f"note: {words[0]} {words[3]} matches no" in result.err), str(result)


def test_globs_are_2_where_no_registry_is_named(run: Run, tmp_path: Path) -> None:
    for word in ("--repos", "--tags"):
        refused(run("dedupe", local(tmp_path), word, "*"), 2, word)


def test_cosigns_tags_and_lists_of_referrers_are_no_images(run: Run, registry: ScriptedRegistry) -> None:
    app = image([ONE])
    put_images(registry, "app", app, tag="1")
    for tag in (f"sha256-{'a' * 64}", *(f"sha256-{'b' * 64}.{kind}" for kind in ("sig", "att", "sbom"))):
        put_images(registry, "app", image([TWO]), tag=tag)
    for words in ((at(registry, "app"), "--tags", "*"), (at(registry), "--repos", "*")):
        registry.forget()
        assert {"app:1"} == names(done(run, "dedupe", *words))
        assert [] == registry.sent(".*", "/manifests/sha256-")


def test_one_image_under_many_names_is_counted_once_and_they_are_named(run: Run, registry: ScriptedRegistry) -> None:
    for repo, tag in (("a", "1"), ("a", "2"), ("b", "1")):
        put_images(registry, repo, image([ONE]), tag=tag)
    report = done(run, "dedupe", at(registry), "--repos", "*", "--jobs", "1")
    (one,) = report["images"]
    assert {f"{registry.host}/{name}" for name in ("a:1", "a:2", "b:1")} == {
        name.removeprefix("docker://") for name in (one["reference"], *one["also"])
    }
    assert 0 == report["bytes"]["saved"] == one["shared"]


# What it comes to


@pytest.fixture
def stored(run: Run, registry: ScriptedRegistry) -> str:
    """A layout of all that the registry holds."""
    filled(registry)
    for repo in ("team/app", "team/web", "other"):
        done(run, "copy", "--all-platforms", "--tags", "*", at(registry, repo), "store/")
    registry.forget()
    return "store"


def test_the_numbers_are_those_of_the_same_images_in_a_layout(run: Run, registry: ScriptedRegistry, stored: str) -> None:
    there, here = done(run, "dedupe", at(registry), "--repos", "*"), done(run, "dedupe", stored)
    assert 7 == len(there["images"])
    assert here["bytes"]["saved"] > 0
    assert numbers(here) == numbers(there)


def test_the_report_does_not_depend_on_which_answer_comes_first(run: Run, registry: ScriptedRegistry) -> None:
    filled(registry)
    words = ("dedupe", at(registry), "--repos", "*")
    wanted = done(run, *words, "--jobs", "1")
    registry.faults += [Fault("GET", f"/manifests/{tag}$", hang=wait) for tag, wait in (("latest", 0.3), ("v1.0", 0.15))]
    assert wanted == done(run, *words, "--jobs", "8")


def test_advice_to_recompress_saves_as_much_as_in_a_layout(run: Run, registry: ScriptedRegistry, stored: str) -> None:
    put_images(registry, "team/app", image([ONE, TWO], codec="none", created="2025-01-01T00:00:00Z"), tag="plain")
    done(run, "copy", at(registry, "team/app:plain"), "store/")
    there, here = done(run, "dedupe", at(registry), "--repos", "*"), done(run, "dedupe", stored)
    advised = [sum(one["saves"] for one in report["advice"] if one["kind"] == "recompress") for report in (here, there)]
    assert advised[0] == advised[1] > 0


def test_an_index_counts_all_its_platforms(run: Run, registry: ScriptedRegistry) -> None:
    both = [image([ONE, TWO], platform=AMD), image([ONE, THREE], platform=ARM, architecture="arm64")]
    digest = put_index(registry, "app", both, "all")
    report = done(run, "dedupe", at(registry, "app:all"))
    (one,) = report["images"]
    assert ("index", digest, ["linux/amd64", "linux/arm64"], 4) == (
        one["kind"], one["digest"], one["platforms"], one["layers"],
    )  # fmt: skip
    assert {"references": 4, "unique": 3} == report["layers"]
    stored = sum(map(len, registry.blobs.values())) + sum(len(raw) for _, raw in registry.manifests.values())
    assert (stored, stored + len(both[0].layers[0])) == (report["bytes"]["unique"], report["bytes"]["referenced"])


def test_what_is_deleted_there_frees_what_was_said(run: Run, registry: ScriptedRegistry) -> None:
    """`marginal` of each image is what the bytes of all shrink by without it."""
    filled(registry)
    report = done(run, "dedupe", at(registry), "--repos", "*", "--tags", "v*", "--tags", "all")
    for one in report["images"]:
        others = [other["reference"] for other in report["images"] if other is not one]
        left = done(run, "dedupe", *others)
        assert report["bytes"]["unique"] - left["bytes"]["unique"] == one["marginal"], one["reference"]


# What is asked for


def test_each_configuration_is_fetched_once_whatever_wants_it_at_a_time(run: Run, registry: ScriptedRegistry) -> None:
    registry.latency = 0.01
    for number in range(24):
        one = image([ONE, TWO][: 1 + number % 2], created=f"2024-01-0{1 + number % 3}T00:00:00Z")
        one.manifest["annotations"] = {"number": str(number)}
        put_images(registry, "app", one, tag=f"t{number}")
    report = done(run, "dedupe", at(registry, "app"), "--tags", "*", "--jobs", "8")
    assert 24 == len(report["images"])
    assert dict.fromkeys(configs(registry), 1) == blobs(registry)
    assert {f"t{number}": 1 for number in range(24)} == Counter(
        one.path.rpartition("/")[2] for one in registry.sent(".*", "/manifests/")
    )


def test_manifests_of_an_index_are_asked_for_once_a_tag_and_no_layer_ever(run: Run, registry: ScriptedRegistry) -> None:
    filled(registry)
    registry.tags["team/web", "same"] = registry.tags["team/web", "all"]
    done(run, "dedupe", at(registry), "--repos", "*", "--jobs", "8")
    assert dict.fromkeys(configs(registry), 1) == blobs(registry)
    asked = Counter(one.path for one in registry.sent(".*", "/manifests/"))
    children = [image([ONE, TWO], platform=AMD, created=None), image([ONE], platform=ARM, architecture="arm64")]
    for child in children:
        assert asked.pop(f"/v2/team/web/manifests/{child.digest}") <= 2
    assert {f"/v2/{repo}/manifests/{tag}": 1 for repo, tag in registry.tags} == asked


def test_files_are_read_once_a_layer_and_are_those_of_the_layout(run: Run, registry: ScriptedRegistry, stored: str) -> None:
    there = done(run, "dedupe", at(registry), "--repos", "*", "--files", "--no-cache")
    assert dict.fromkeys(configs(registry) | layers(registry), 1) == whole(registry)
    assert registry.bytes_served <= sum(len(data) for data in registry.blobs.values()) + SNIFF
    here = done(run, "dedupe", stored, "--files", "--no-cache")
    assert here["files"]["references"] > here["files"]["unique"] > 0
    assert numbers(here) == numbers(there)


def test_files_that_were_read_before_are_not_fetched_again(run: Run, registry: ScriptedRegistry) -> None:
    words = ("dedupe", at(filled(registry)), "--repos", "*", "--files", "--jobs", "1")
    first = done(run, *words)
    registry.forget()
    assert first == done(run, *words)
    assert dict.fromkeys(configs(registry), 1) == blobs(registry)


def test_processes_that_read_layers_know_who_we_are(ocitool: Run, tmp_path: Path) -> None:
    with ScriptedRegistry(auth=TokenAuth(USER, PASSWORD)) as registry:
        tars = [layer_tar([("n", random_bytes(6 * MiB, seed))]) for seed in range(3)]
        put_images(registry, "app", image(tars, codec="none"), tag="1")
        words = ("--insecure-host", registry.host, "--authfile", authfile(tmp_path, registry.host))
        env = {**NO_REGISTRY_SETTINGS, "HOME": str(tmp_path)}
        result = ocitool("dedupe", at(registry), "--repos", "*", "--files", *words, "--format", "json", env=env)
        report = report_of(result)
        assert 3 == report["files"]["references"]
        assert {sha256(tar) for tar in tars} <= set(blobs(registry))


# What goes wrong


@pytest.mark.parametrize(("status", "code"), [(404, 3), (401, 8), (403, 8), (500, 8)])
def test_a_registry_without_a_catalogue_is_named_and_the_rest_counted(
    status: int, code: int, run: Run, registry: ScriptedRegistry, tmp_path: Path
) -> None:
    filled(registry).faults.append(Fault("GET", "_catalog", status=status, headers=AT_ONCE))
    words = ("dedupe", at(registry), "--repos", "*", "--format", "json")
    report = named(run(*words, local(tmp_path)), code, registry.host)
    assert ["near:near"] == [one["reference"] for one in report["images"]]
    refused(run(*words), code, registry.host)


@pytest.mark.parametrize(("status", "code"), [(404, 3), (401, 8), (500, 8)])
def test_a_repository_whose_tags_are_not_told_is_named_and_the_rest_counted(
    status: int, code: int, run: Run, registry: ScriptedRegistry
) -> None:
    filled(registry).faults.append(Fault("GET", "team/app/tags", status=status, headers=AT_ONCE))
    report = named(run("dedupe", at(registry), "--repos", "*", "--format", "json"), code, f"{registry.host}/team/app")
    assert {"team/web:v1.0", "team/web:all", "other:latest"} == names(report)
    refused(run("dedupe", at(registry, "team/app"), "--tags", "*"), code, registry.host)


def spoiled(registry: ScriptedRegistry, how: str) -> Image:
    """app with good:1, and app:bad, whose image is broken in this way and gone from the registry where it is so."""
    put_images(registry, "app", image([ONE, TWO]), tag="good")
    one = image([ONE, THREE], created="2020-01-01T00:00:00Z")
    if how == "no JSON":
        one = image([ONE, THREE], config=b'{"os": ')
    put_images(registry, "app", one, tag="bad")
    if how == "vanished":
        registry.faults.append(Fault("GET", "/manifests/bad", hook=lambda _: registry.tags.pop(("app", "bad"), None)))
    elif how == "other bytes":
        registry.faults.append(Fault("GET", "/manifests/bad", flip=-1))
    elif how == "no config":
        del registry.blobs["app", sha256(one.config)]
    elif how == "another config":
        registry.faults.append(Fault("GET", sha256(one.config), flip=10))
    return one


BROKEN = {"vanished": 3, "other bytes": 5, "no config": 3, "another config": 5, "no JSON": 4}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_image_is_named_and_the_rest_counted(how: str, run: Run, registry: ScriptedRegistry) -> None:
    spoiled(registry, how)
    words = ("dedupe", at(registry, "app"), "--tags", "*", "--format", "json")
    report = named(run(*words), BROKEN[how], f"{registry.host}/app:bad")
    assert {"app:good"} == names(report)
    good = image([ONE, TWO])
    assert sum(map(len, good.blobs.values())) == report["bytes"]["unique"] == report["bytes"]["referenced"]


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_image_alone_ends_with_its_own_code(how: str, run: Run, registry: ScriptedRegistry) -> None:
    spoiled(registry, how)
    refused(run("dedupe", at(registry, "app:bad")), BROKEN[how], registry.host)


@pytest.mark.parametrize("how", BROKEN)
def test_strict_stops_at_a_broken_image(how: str, run: Run, registry: ScriptedRegistry, tmp_path: Path) -> None:
    spoiled(registry, how)
    words = ("dedupe", at(registry, "app"), "--tags", "*", local(tmp_path), "--strict")
    refused(run(*words), BROKEN[how], registry.host)


@pytest.mark.parametrize("what", ["configuration", "manifest"])
def test_what_is_broken_within_an_index_is_named_and_the_rest_counted(what: str, run: Run, registry: ScriptedRegistry) -> None:
    filled(registry)
    arm = image([ONE], platform=ARM, architecture="arm64")
    registry.faults.append(Fault("GET", {"configuration": sha256(arm.config), "manifest": arm.digest}[what], flip=-1))
    result = run("dedupe", at(registry, "team/web"), "--tags", "*", "--format", "json")
    report = named(result, 5, f"{registry.host}/team/web:all")
    assert {"team/web:v1.0", "team/web:all"} == names(report)


@pytest.mark.parametrize("how", ["gone", "other bytes"])
def test_a_configuration_that_many_want_and_nobody_gets_is_a_problem_of_each(
    how: str, run: Run, registry: ScriptedRegistry
) -> None:
    for number in range(20):
        one = image([ONE])
        one.manifest["annotations"] = {"number": str(number)}
        put_images(registry, "app", one, tag=f"t{number:02}")
    put_images(registry, "app", image([TWO]), tag="good")
    registry.latency = 0.01
    fault = Fault("GET", sha256(image([ONE]).config), **({"status": 404} if how == "gone" else {"flip": 10}))
    registry.faults.append(fault)
    report = done(run, "dedupe", at(registry, "app"), "--tags", "*", "--jobs", "8", code=1)
    assert {"app:good"} == names(report)
    assert {f"{at(registry, 'app')}:t{number:02}".removeprefix("docker://") for number in range(20)} == {
        one["where"].removeprefix("docker://") for one in report["problems"]
    }


def test_a_configuration_that_comes_at_the_second_try_is_for_all(run: Run, registry: ScriptedRegistry) -> None:
    for number in range(8):
        one = image([ONE])
        one.manifest["annotations"] = {"number": str(number)}
        put_images(registry, "app", one, tag=f"t{number}")
    registry.latency = 0.01
    registry.faults.append(Fault("GET", sha256(image([ONE]).config), status=404, times=1))
    report = done(run, "dedupe", at(registry, "app"), "--tags", "*", "--jobs", "8", code=1)
    assert (7, 1) == (len(report["images"]), len(report["problems"]))


@pytest.mark.parametrize("words", [("app:1",), ("app", "--tags", "*"), ("", "--repos", "*")])
def test_a_registry_that_is_down_is_named_beside_a_good_layout(words: tuple[str, ...], run: Run, tmp_path: Path) -> None:
    with ScriptedRegistry() as gone:
        words = (at(gone, words[0]), *words[1:])
    report = named(run("dedupe", *words, local(tmp_path), "--format", "json"), 8, gone.host, "refused")
    assert ["near:near"] == [one["reference"] for one in report["images"]]
    refused(run("dedupe", *words), 8, gone.host, "refused")


def test_two_broken_images_and_nothing_else_are_a_report_without_images(run: Run, registry: ScriptedRegistry) -> None:
    put_images(registry, "app", image([ONE]), tag="1")
    report = done(run, "dedupe", at(registry, "app:2"), at(registry, "app:3"), code=1)
    assert ([], [3, 3]) == (report["images"], [one["exitCode"] for one in report["problems"]])


# Layers that cannot be read


def two(registry: ScriptedRegistry, *tars: bytes) -> Image:
    """app:1 of these layers, and app:2 of ONE and TWO."""
    one = image(tars, codec="none")
    put_images(registry, "app", one, tag="1")
    put_images(registry, "app", image([ONE, TWO], codec="none"), tag="2")
    return one


@pytest.mark.parametrize("fault", [{"flip": 600}, {"status": 404}, {"status": 403}, {"status": 500, "headers": AT_ONCE}])
@pytest.mark.parametrize("size", [1, 6 * MiB], ids=["read here", "read by processes"])
def test_a_layer_that_cannot_be_read_is_named_and_the_rest_read(
    size: int, fault: dict[str, Any], run: Run, registry: ScriptedRegistry
) -> None:
    tars = [layer_tar([("n", random_bytes(size, seed))]) for seed in range(3)]
    two(registry, *tars)
    registry.faults.append(Fault("GET", sha256(tars[0]), **fault))
    result = run("dedupe", at(registry, "app"), "--tags", "*", "--files", "--format", "json")
    code = 5 if "flip" in fault else 3 if fault["status"] == 404 else 8
    report = named(result, code, sha256(tars[0]), f"{registry.host}/app:1")
    assert {"app:1", "app:2"} == names(report)
    assert 4 == report["files"]["references"]
    assert dict.fromkeys((sha256(tar) for tar in (*tars[1:], ONE, TWO)), 1).items() <= whole(registry).items()


@pytest.mark.parametrize("size", [1, 6 * MiB], ids=["read here", "read by processes"])
def test_strict_stops_at_a_layer_that_cannot_be_read(size: int, run: Run, registry: ScriptedRegistry) -> None:
    tars = [layer_tar([("n", random_bytes(size, seed))]) for seed in range(3)]
    two(registry, *tars)
    registry.faults.append(Fault("GET", sha256(tars[0]), flip=600))
    result = run("dedupe", at(registry, "app"), "--tags", "*", "--files", "--strict")
    refused(result, 5, sha256(tars[0]), f"{registry.host}/app:1")


def test_a_layer_that_is_not_what_the_configuration_states_is_named(run: Run, registry: ScriptedRegistry) -> None:
    stated = {"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": [sha256(ONE), sha256(THREE)]}}
    put_images(registry, "app", image([ONE, TWO], config=stated), tag="1")
    result = run("dedupe", at(registry, "app:1"), "--files", "--format", "json")
    report = named(result, 5, sha256(image([TWO]).layers[0]), sha256(TWO), sha256(THREE))
    assert 1 == report["files"]["references"]


def test_an_artifact_is_counted_and_its_blobs_are_no_layers_to_read(run: Run, registry: ScriptedRegistry) -> None:
    put_images(registry, "app", image([ONE]), tag="1")
    blob, empty = registry.put_blob("app", b"sbom" * 99), registry.put_blob("app", b"{}")
    kind = "application/vnd.example.sbom"
    manifest = {
        "schemaVersion": 2, "mediaType": mediatypes.OCI_MANIFEST, "artifactType": kind,
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": empty, "size": 2},
        "layers": [{"mediaType": kind, "digest": blob, "size": 396}],
    }  # fmt: skip
    registry.put_manifest("app", mediatypes.OCI_MANIFEST, pretty(manifest), "sbom")
    report = done(run, "dedupe", at(registry, "app"), "--tags", "*", "--files")
    assert {"image", "artifact"} == {one["kind"] for one in report["images"]}
    assert 1 == report["files"]["references"]


def test_an_empty_index_is_no_image_and_stops_nothing(run: Run, registry: ScriptedRegistry) -> None:
    put_images(registry, "app", image([ONE]), tag="1")
    registry.put_manifest("app", mediatypes.OCI_INDEX, pretty(index_of([])), "empty")
    result = run("dedupe", at(registry, "app"), "--tags", "*", "--format", "json")
    assert "app:1" in names(report_of(result, 0, 1)), str(result)
