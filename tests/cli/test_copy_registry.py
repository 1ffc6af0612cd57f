"""`copy`, `pull` and `push` between registries, layouts and archives: digests stay, and only what is missing is sent."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import places
from support.copying import AMD, ARM, ONE, TWO, multiarch
from support.images import (
    Image,
    gz,
    image,
    index_of,
    layout_files,
    pretty,
    sha256,
    write_docker_archive,
    write_files,
    write_layout,
    write_oci_archive,
    zst,
)
from support.registries import NO_REGISTRY_SETTINGS, bytes_transferred, has_image, put_images, put_index
from support.registry import ScriptedRegistry
from support.report import done, report_of

from ocitool.spec import mediatypes

Run = Callable[..., Any]


def refused(code: int, result: Any, *words: str) -> None:
    assert code == result.code, str(result)
    for word in words:
        assert word in result.err, str(result)


def pushed(registry: ScriptedRegistry, repo: str, tag: str) -> Any:
    """The manifest under a tag."""
    return json.loads(registry.manifests[repo, registry.tags[repo, tag]][1])


def fetched(registry: ScriptedRegistry) -> set[str]:
    """The digests of the blobs that were asked for."""
    return {one.path.rpartition("/")[2] for one in registry.sent("GET", "/blobs/sha256:")}


# Many images


def test_tags_go_to_a_layout_and_back_below_a_prefix_unchanged(run: Run, registry: ScriptedRegistry, tmp_path: Path) -> None:
    amd, arm = image([ONE], platform=AMD), image([ONE, TWO], platform=ARM, architecture="arm64")
    wanted = {"v1.0": put_index(registry, "team/app", [amd, arm], "v1.0")}
    for tag, tars in {"v1.1": [TWO], "v2.0": [ONE, TWO], "latest": [TWO, ONE]}.items():
        one = image(tars)
        put_images(registry, "team/app", one, tag=tag)
        wanted[tag] = one.digest
    del wanted["v2.0"]
    words = ("--tags", "v1.*", "--tags", "l?test", "--all-platforms")
    found = done(run, "copy", *words, f"docker://{registry.host}/team/app", "store/")
    assert {f"{registry.host}/team/app:{tag}": digest for tag, digest in wanted.items()} == places.names(tmp_path / "store")
    assert bytes_transferred(registry) == found["bytes"]["transferred"] == found["bytes"]["kept"]
    registry.forget()
    found = done(run, "copy", "--all-platforms", "store/", f"docker://{registry.host}/mirror/")
    assert wanted == {tag: digest for (repo, tag), digest in registry.tags.items() if repo == "mirror/team/app"}
    assert has_image(registry, "mirror/team/app", amd)
    assert has_image(registry, "mirror/team/app", arm)
    assert 0 == registry.bytes_received == registry.bytes_served  # all of it is mounted: it came from there
    assert bytes_transferred(registry) == found["bytes"]["transferred"]


def test_a_glob_that_no_tag_matches_is_3(run: Run, registry: ScriptedRegistry, tmp_path: Path) -> None:
    put_images(registry, "app", image([ONE]), tag="1")
    result = run("copy", "--tags", "v*", f"docker://{registry.host}/app", "store/")
    refused(2, result, "no tag matches v*", f"{registry.host}/app")
    assert not (tmp_path / "store").exists()


def test_a_file_names_sources(run: Run, registry: ScriptedRegistry, tmp_path: Path) -> None:
    one, two, three = image([ONE]), image([TWO]), image([ONE, TWO], tag="local:3")
    put_images(registry, "one", one, tag="1")
    put_images(registry, "two", two, tag="2")
    write_oci_archive(tmp_path / "three.tar", [three])
    lines = ["# what we mirror", "", f"docker://{registry.host}/one:1  # the first", "   ", f"  docker://{registry.host}/two:2"]
    (tmp_path / "list").write_text("\n".join(lines))
    found = done(run, "copy", "three.tar", "--from-file", "list", "store/")
    wanted = {"local:3": three.digest, f"{registry.host}/one:1": one.digest, f"{registry.host}/two:2": two.digest}
    assert wanted == places.names(tmp_path / "store")
    assert bytes_transferred(registry) == found["bytes"]["transferred"]
    assert 3 == len(found["images"])


def test_a_file_of_sources_that_is_missing_is_3_and_one_without_a_name_2(run: Run, tmp_path: Path) -> None:
    refused(3, run("copy", "--from-file", "absent", "store/"), "no such file", "absent")
    (tmp_path / "empty").write_text("# nothing\n\n")
    refused(2, run("copy", "--from-file", "empty", "store/"), "needs a source")
    assert not (tmp_path / "store").exists()


def test_insecure_is_for_one_registry_also_where_a_file_names_two(run: Run, registry: ScriptedRegistry, tmp_path: Path) -> None:
    with ScriptedRegistry() as other:
        put_images(registry, "app", image([ONE]), tag="1")
        put_images(other, "app", image([TWO]), tag="1")
        refused(2, run("copy", f"docker://{registry.host}/app:1", f"docker://{other.host}/app:2"), "--insecure-host")
        assert [] == registry.requests == other.requests
        (tmp_path / "list").write_text(f"docker://{registry.host}/app:1\ndocker://{other.host}/app:1\n")
        refused(2, run("copy", "--from-file", "list", "store/"), "--insecure-host")
        assert not (registry.requests and other.requests)


@pytest.mark.parametrize("every", [True, False], ids=["all platforms", "one platform"])
def test_two_names_of_one_index_stay_two_wherever_it_goes(
    every: bool, run: Run, registry: ScriptedRegistry, tmp_path: Path
) -> None:
    files, images = multiarch()
    (entry,) = json.loads(files["index.json"])["manifests"]
    both = [entry | {"annotations": {places.REF_NAME: name}} for name in ("app:1", "app:latest")]
    files["index.json"] = pretty(index_of(both))
    write_files(tmp_path / "in", files)
    wanted = dict.fromkeys(("app:1", "app:latest"), entry["digest"] if every else images[0].digest)
    words = ("--all-platforms",) if every else ("--platform", "linux/amd64")
    for place in ("out", "out.tar"):
        done(run, "copy", *words, "in", place if place.endswith(".tar") else f"{place}/")
        assert wanted == {name.rpartition("/")[2]: found for name, found in places.names(tmp_path / place).items()}
    for place in ("in", "out.tar"):
        done(run, "copy", *words, place, f"docker://{registry.host}/{place}/")
        found = {name: top for (_, name), top in registry.tags.items()}
        assert {name.rpartition(":")[2]: top for name, top in wanted.items()} == found
        assert {f"{place}/app"} == {repo for repo, _ in registry.tags}
        registry.tags.clear()


# Between two registries


def test_from_one_registry_to_another_digests_stay_and_nothing_goes_twice(
    ocitool: Run, registry: ScriptedRegistry, tmp_path: Path
) -> None:
    one = image([ONE, TWO])
    put_images(registry, "app", one, tag="1")
    with ScriptedRegistry() as other:
        words = ("copy", f"docker://{registry.host}/app:1", f"docker://{other.host}/deep/er:2", "--format", "json")
        trust = ("--insecure-host", registry.host, "--insecure-host", other.host)
        alone = {**NO_REGISTRY_SETTINGS, "HOME": str(tmp_path)}
        found = report_of(ocitool(*words, *trust, env=alone))
        assert has_image(other, "deep/er", one)
        assert {("deep/er", "2"): one.digest} == other.tags
        assert bytes_transferred(registry) + bytes_transferred(other) == found["bytes"]["transferred"]
        assert registry.bytes_served == other.bytes_received == len(one.config) + sum(map(len, one.layers))
        for site in (registry, other):
            site.forget()
        found = report_of(ocitool(*words, *trust, env=alone))
        assert 0 == other.bytes_received
        assert set() == fetched(registry) & {layer["digest"] for layer in one.manifest["layers"]}
        assert sum(map(len, one.layers)) + len(one.config) + len(one.raw) == found["bytes"]["skipped"]
        assert 1 == found["unchanged"]


# What the other side has


def test_what_a_registry_has_is_left_out_and_mounted_there(run: Run, registry: ScriptedRegistry, tmp_path: Path) -> None:
    base = image([ONE], codec="none")
    put_images(registry, "base", base, tag="1")
    write_docker_archive(tmp_path / "docker-save.tar", [image([ONE, TWO], tag="team/app:2", codec="none")])
    found = done(run, "copy", "docker-save.tar", "out.tar", "--omit", f"docker://{registry.host}/base:1")
    assert len(ONE) == found["bytes"]["omitted"]
    assert {"org.ocitool.omitted": sha256(ONE)} == places.index(tmp_path / "out.tar")["annotations"]
    assert sha256(ONE) not in places.blobs(tmp_path / "out.tar") and sha256(ONE) not in fetched(registry)
    assert bytes_transferred(registry) == found["bytes"]["transferred"]
    registry.forget()
    words = ("--with", f"docker://{registry.host}/base:1", "--no-cache")
    found = done(run, "copy", "out.tar", f"docker://{registry.host}/mirror/", *words)
    (entry,) = places.index(tmp_path / "out.tar")["manifests"]
    assert {("base", "1"): base.digest, ("mirror/team/app", "2"): entry["digest"]} == registry.tags
    manifest = pushed(registry, "mirror/team/app", "2")
    assert [sha256(ONE), sha256(TWO)] == [layer["digest"] for layer in manifest["layers"]]
    assert ONE == registry.blobs["mirror/team/app", sha256(ONE)]
    assert len(TWO) + manifest["config"]["size"] == registry.bytes_received
    assert sha256(ONE) not in fetched(registry)
    assert [("base", sha256(ONE))] == [(one.asked("from"), one.asked("mount")) for one in registry.sent("POST", "mount=")]
    assert bytes_transferred(registry) == found["bytes"]["transferred"]


def test_a_layer_that_others_may_not_read_is_mounted_for_nobody_who_knows_its_digest_alone(
    ocitool: Run, registry: ScriptedRegistry, tmp_path: Path
) -> None:
    """An image that names the layer of a private repository, and has other bytes in its place, brings it into no other one."""
    env = {**NO_REGISTRY_SETTINGS, "HOME": str(tmp_path), "OCITOOL_CACHE_DIR": str(tmp_path / "cache")}

    def run(*words: str) -> Any:
        return ocitool(*words, "--insecure-host", registry.host, cwd=tmp_path, env=env)

    hidden = image([ONE], codec="none")
    put_images(registry, "private", hidden, tag="1")
    assert 0 == run("pull", f"{registry.host}/private:1", "mine.tar").code  # notes where its layers are
    evil = image([ONE], tag="app:1", codec="none")
    layout = write_layout(tmp_path / "evil", [evil])
    (layout / "blobs" / "sha256" / sha256(ONE).partition(":")[2]).write_bytes(b"x" * len(ONE))
    result = run("copy", "evil", f"docker://{registry.host}/public:1")
    mount = f"mount={sha256(ONE)}&from=private"
    assert (5, []) == (result.code, registry.sent("POST", mount))
    assert ("public", sha256(ONE)) not in registry.blobs
    assert 0 == run("copy", "mine.tar", f"docker://{registry.host}/public:1").code
    assert [201] == [one.status for one in registry.sent("POST", mount)]  # what one has is mounted
    with ScriptedRegistry() as other:
        other.put_manifest("evil", hidden.manifest["mediaType"], hidden.raw, "1")
        other.put_blob("evil", hidden.config)
        words = (f"docker://{other.host}/evil:1", f"docker://{registry.host}/shown:1", "--insecure-host", other.host)
        result = run("copy", *words)
    assert (3, True) == (result.code, sha256(ONE) in result.err), result.err
    assert ("shown", sha256(ONE)) not in registry.blobs


@pytest.mark.parametrize("kind", ["oci", "docker"])
def test_a_pull_with_an_old_archive_fetches_what_differs(
    kind: str, run: Run, registry: ScriptedRegistry, tmp_path: Path
) -> None:
    codec = {"oci": "gzip", "docker": "none"}[kind]
    old, new = image([ONE], tag="app:1", codec=codec), image([ONE, TWO], codec=codec)
    {"oci": write_oci_archive, "docker": write_docker_archive}[kind](tmp_path / "old.tar", [old])
    put_images(registry, "app", new, tag="2")
    found = done(run, "pull", f"{registry.host}/app:2", "out.tar", "--with", "old.tar")
    assert new.blobs == places.blobs(tmp_path / "out.tar")
    assert {f"{registry.host}/app:2": new.digest} == places.names(tmp_path / "out.tar")
    assert {sha256(new.config), sha256(new.layers[1])} == fetched(registry)
    assert len(new.config) + len(new.layers[1]) == registry.bytes_served
    assert bytes_transferred(registry) == found["bytes"]["transferred"]
    assert found["verified"]


# Pushing


def saved(tmp_path: Path, *tars: bytes) -> Image:
    """docker-save.tar of these layers, plain."""
    one = image(tars, tag="app:1", codec="none")
    write_docker_archive(tmp_path / "docker-save.tar", [one])
    return one


def layers_of(registry: ScriptedRegistry, found: Any) -> list[tuple[str, bytes]]:
    """Media type and bytes of each layer of app:1, which are what the report says."""
    manifest = pushed(registry, "app", "1")
    assert registry.tags["app", "1"] == found["images"][0]["digest"]
    expected = [(layer["digest"], layer["size"]) for layer in found["images"][0]["layers"]]
    assert [(layer["digest"], layer["size"]) for layer in manifest["layers"]] == expected
    return [(layer["mediaType"], registry.blobs["app", layer["digest"]]) for layer in manifest["layers"]]


def origins(found: Any) -> list[str]:
    return [layer["origin"] for layer in found["images"][0]["layers"]]


def test_plain_layers_of_a_docker_archive_are_compressed_on_their_way(
    run: Run, registry: ScriptedRegistry, tmp_path: Path
) -> None:
    one = saved(tmp_path, ONE, TWO)
    found = done(run, "push", "docker-save.tar", f"{registry.host}/app:1")
    sent = layers_of(registry, found)
    assert [(mediatypes.OCI_LAYER + "+gzip", tar) for tar in (ONE, TWO)] == [(kind, gzip.decompress(d)) for kind, d in sent]
    assert ["rewritten", "rewritten"] == origins(found)
    assert [sha256(ONE), sha256(TWO)] == [layer["diffId"] for layer in found["images"][0]["layers"]]
    assert one.config == registry.blobs["app", sha256(one.config)]
    assert bytes_transferred(registry) == found["bytes"]["transferred"]
    found = done(run, "push", "docker-save.tar", f"{registry.host}/app:1", "--compression", "none")
    assert [(mediatypes.OCI_LAYER, ONE), (mediatypes.OCI_LAYER, TWO)] == layers_of(registry, found)
    assert ["kept", "kept"] == origins(found)


def test_with_gives_the_gzip_blob_that_there_is_of_a_plain_layer(run: Run, registry: ScriptedRegistry, tmp_path: Path) -> None:
    saved(tmp_path, ONE, TWO)
    write_layout(tmp_path / "layout", [image([ONE], tag="base")])
    found = done(run, "push", "docker-save.tar", f"{registry.host}/app:1", "--with", "layout")
    (first, second) = layers_of(registry, found)
    assert (mediatypes.OCI_LAYER + "+gzip", gz(ONE)) == first
    assert TWO == gzip.decompress(second[1])
    assert ["reused", "rewritten"] == origins(found)


def test_with_everything_there_is_nothing_is_compressed(run: Run, registry: ScriptedRegistry, tmp_path: Path) -> None:
    saved(tmp_path, ONE, TWO)
    write_layout(tmp_path / "layout", [image([ONE], tag="base"), image([TWO], tag="other")])
    found = done(run, "push", "docker-save.tar", f"{registry.host}/app:1", "--with", "layout")
    assert [gz(ONE), gz(TWO)] == [data for _, data in layers_of(registry, found)]
    assert (["reused", "reused"], []) == (origins(found), found["engines"])


@pytest.mark.parametrize("lie", ["diff_id", "digest", "no gzip", "another codec"])
def test_with_is_not_believed_about_a_plain_layer(lie: str, run: Run, registry: ScriptedRegistry, tmp_path: Path) -> None:
    saved(tmp_path, ONE)
    base = image([ONE], tag="base")
    name = "blobs/" + sha256(gz(ONE)).replace(":", "/")
    files = layout_files([base])
    if lie == "diff_id":
        stated = {"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": [sha256(ONE)]}}
        files = layout_files([image([TWO], tag="base", config=stated)])
    elif lie == "digest":
        files[name] = gzip.compress(ONE, 6, mtime=1)  # as long, and not what its name says
        assert len(gz(ONE)) == len(files[name])
    elif lie == "no gzip":
        files[name] = gz(ONE)[:20] + bytes(len(gz(ONE)) - 20)
    else:
        files = layout_files([image([ONE], tag="base", codec="zstd")])
    wrong = {data for data in files.values() if data in (gz(TWO), zst(ONE), files.get(name, b"")) and data != gz(ONE)}
    write_files(tmp_path / "liar", files)
    found = done(run, "push", "docker-save.tar", f"{registry.host}/app:1", "--with", "liar")
    ((kind, data),) = layers_of(registry, found)
    assert (mediatypes.OCI_LAYER + "+gzip", ONE) == (kind, gzip.decompress(data))
    assert ["rewritten"] == origins(found)
    assert wrong and not wrong & set(registry.blobs.values())


def test_an_image_gets_as_many_tags_as_are_said(run: Run, registry: ScriptedRegistry, tmp_path: Path) -> None:
    one = image([ONE], tag="elsewhere")
    write_layout(tmp_path / "layout", [one])
    found = done(run, "push", "layout", f"{registry.host}/team/app", "--tag", "1", "--tag", "2")
    assert {("team/app", "1"): one.digest, ("team/app", "2"): one.digest} == registry.tags
    assert [f"{registry.host}/team/app:1", f"{registry.host}/team/app:2"] == found["images"][0]["tags"]
    assert len(one.config) + len(one.layers[0]) == registry.bytes_received
    assert bytes_transferred(registry) == found["bytes"]["transferred"]


def test_the_tag_of_the_destination_is_written_beside_those_of_the_option(
    run: Run, registry: ScriptedRegistry, tmp_path: Path
) -> None:
    one = image([ONE], tag="elsewhere")
    write_layout(tmp_path / "layout", [one])
    found = done(run, "push", "layout", f"{registry.host}/app:9", "--tag", "10")
    assert {("app", "9"): one.digest, ("app", "10"): one.digest} == registry.tags
    assert [f"{registry.host}/app:9", f"{registry.host}/app:10"] == found["images"][0]["tags"]


@pytest.mark.parametrize(
    "words",
    [
        ("copy", "layout"), ("edit", "layout", "--user", "7"), ("append", "layout", "--layer", "more"), ("squash", "layout"),
        ("rebuild", "layout", "--against", "layout"),
        ("rebase", "layout", "--old-base", "layout", "--new-base", "layout"),
    ],
    ids=lambda words: words[0],
)  # fmt: skip
def test_every_writing_command_reports_the_names_that_the_registry_has(
    words: tuple[str, ...], run: Run, registry: ScriptedRegistry, tmp_path: Path
) -> None:
    write_layout(tmp_path / "layout", [image([ONE], tag="elsewhere")])
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "file").write_bytes(b"x")
    found = done(run, *words[:2], f"docker://{registry.host}/app:9", *words[2:], "--tag", "10")
    assert {f"{registry.host}/{path}:{tag}" for path, tag in registry.tags} == set(found["images"][0]["tags"])
    assert {"9", "10"} == {tag for _, tag in registry.tags}


def test_a_destination_with_tag_and_digest_gets_the_tag(run: Run, registry: ScriptedRegistry, tmp_path: Path) -> None:
    one = image([ONE], tag="app:1")
    write_layout(tmp_path / "layout", [one])
    refused(2, run("push", "layout", f"{registry.host}/app:9@{sha256(b'other')}"), one.digest, sha256(b"other"))
    found = done(run, "push", "layout", f"{registry.host}/app:9@{one.digest}")
    assert {("app", "9"): one.digest} == registry.tags
    assert [f"{registry.host}/app:9"] == found["images"][0]["tags"]


def test_a_digest_as_destination_must_be_the_images(run: Run, registry: ScriptedRegistry, tmp_path: Path) -> None:
    one = image([ONE], tag="app:1")
    write_layout(tmp_path / "layout", [one])
    refused(2, run("push", "layout", f"{registry.host}/app@{sha256(b'other')}"), one.digest, sha256(b"other"))
    assert {} == registry.blobs == registry.manifests
    done(run, "push", "layout", f"{registry.host}/app@{one.digest}")
    assert has_image(registry, "app", one)
    assert {} == registry.tags


def test_lists_of_referrers_are_no_images_among_the_tags(run: Run, registry: ScriptedRegistry, tmp_path: Path) -> None:
    app = image([ONE])
    put_images(registry, "app", app, tag="1")
    for tag in (f"sha256-{'a' * 64}", f"sha256-{'b' * 64}.sig"):
        registry.put_manifest("app", mediatypes.OCI_INDEX, pretty(index_of([])), tag)
    done(run, "copy", "--tags", "*", f"docker://{registry.host}/app", "store/")
    assert {f"{registry.host}/app:1": app.digest} == places.names(tmp_path / "store")


def test_what_is_here_comes_before_what_is_far_whatever_with_names_first(
    run: Run, registry: ScriptedRegistry, tmp_path: Path
) -> None:
    app = image([ONE, TWO], tag="app")
    put_images(registry, "app", app, tag="1")
    put_images(registry, "base", app, tag="1")
    write_layout(tmp_path / "near", [app])
    registry.forget()
    made = report_of(
        run("pull", f"{registry.host}/app:1", "out/", "--with", f"docker://{registry.host}/base:1", "--with", "near",
            "--format", "json")
    )  # fmt: skip
    assert [] == [one for one in registry.sent("GET", "/blobs/") if any(sha256(layer) in one.path for layer in app.layers)]
    assert sum(map(len, app.layers)) <= made["bytes"]["lent"]
