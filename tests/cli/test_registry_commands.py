"""Every command that reads or writes images, at a registry: what it says, and which blobs it fetches or sends for that."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.copying import AMD, ARM, ONE, TEXT, TWO
from support.images import Image, entry, image, layer_tar, sha256
from support.packages import stanza
from support.registries import bytes_transferred, has_image, put_images, put_index
from support.registry import Fault, ScriptedRegistry
from support.report import done

from ocitool.spec import mediatypes

Run = Callable[..., Any]
TOP = layer_tar([("etc/", None), ("etc/motd", b"hello\n"), ("c", b"c")])
APP = image([ONE, TWO])
NEXT = image([ONE, TOP])


@pytest.fixture
def registry() -> Iterator[ScriptedRegistry]:
    """With APP and NEXT."""
    with ScriptedRegistry() as one:
        put_images(one, "app", APP, tag="1")
        put_images(one, "app", NEXT, tag="2")
        yield one


def asked(registry: ScriptedRegistry) -> list[str]:
    """The digests of the layers of which something was asked for, once for each request; and forgets what was asked."""
    layers = {sha256(data) for one in (APP, NEXT) for data in one.layers}
    found = [one.path.rpartition("/")[2] for one in registry.sent(".*", "/blobs/sha256:")]
    registry.forget()
    return [name for name in found if name in layers]


def pushed(registry: ScriptedRegistry, tag: str, found: Any) -> tuple[Any, Any]:
    """Manifest and configuration of app:TAG, which is what the report of a writing command says."""
    digest = registry.tags["app", tag]
    assert [digest] == [one["digest"] for one in found["images"]]
    assert [[f"{registry.host}/app:{tag}"]] == [one["tags"] for one in found["images"]]
    manifest = json.loads(registry.manifests["app", digest][1])
    assert {one["digest"] for one in manifest["layers"]} <= {name for repo, name in registry.blobs if repo == "app"}
    return manifest, json.loads(registry.blobs["app", manifest["config"]["digest"]])


def digests(one: Image) -> list[str]:
    return [sha256(data) for data in one.layers]


# Reading


def test_inspect_opens_no_layer_and_says_that_it_believes_media_types(run: Run, registry: ScriptedRegistry) -> None:
    found = done(run, "inspect", f"docker://{registry.host}/app:1")
    (one,) = found["images"]
    assert ("docker", None) == (found["transport"], found["index"])
    assert (APP.digest, sha256(APP.config)) == (one["digest"], one["imageId"])
    assert [f"{registry.host}/app:1"] == one["tags"]
    shown = [(layer["digest"], layer["compression"], layer["compressionVerified"], layer["present"]) for layer in one["layers"]]
    assert [(digest, "gzip", False, True) for digest in digests(APP)] == shown
    assert [] == asked(registry)


def test_inspect_of_an_index_does_not_know_what_is_there(run: Run, registry: ScriptedRegistry) -> None:
    images = [image([ONE], platform=AMD), image([TWO], platform=ARM, architecture="arm64")]
    put_index(registry, "app", images, "all")
    del registry.manifests["app", images[1].digest]
    found = done(run, "inspect", f"docker://{registry.host}/app:all", "--platform", "linux/amd64")
    listed = [(one["digest"], one["present"]) for one in found["index"]["manifests"]]
    assert [(one.digest, None) for one in images] == listed
    assert [images[0].digest] == [one["digest"] for one in found["images"]]
    assert 2 == len(registry.sent(".*", "/manifests/"))


def test_the_second_look_at_the_same_layers_asks_for_none(run: Run, registry: ScriptedRegistry) -> None:
    first = done(run, "ls", "-R", f"docker://{registry.host}/app:1")
    assert ["/b", "/etc", "/etc/motd"] == [one["path"] for one in first["entries"]]
    assert set(digests(APP)) == set(asked(registry))
    again = done(run, "ls", "-R", f"docker://{registry.host}/app:1")
    assert first == again
    assert [] == asked(registry)
    done(run, "ls", f"docker://{registry.host}/app:2")  # of which one layer is known
    assert {digests(NEXT)[1]} == set(asked(registry))


def test_diff_of_two_tags_and_again_from_the_cache(run: Run, registry: ScriptedRegistry) -> None:
    words = ("diff", f"docker://{registry.host}/app:1", f"docker://{registry.host}/app:2")
    first = done(run, *words, code=1)
    wanted = {("/b", "removed"), ("/c", "added"), ("/etc/motd", "modified")}
    assert wanted == {(one["path"], one["kind"]) for one in first["files"]}
    assert {digests(APP)[1], digests(NEXT)[1]} <= set(asked(registry))
    assert first == done(run, *words, code=1)
    assert [] == asked(registry)


def test_packages_fetches_each_layer_once_and_nothing_for_another_look(run: Run, registry: ScriptedRegistry) -> None:
    base = layer_tar([("var/lib/dpkg/status", stanza("a")), ("var/lib/dpkg/info/a.list", b"/etc/motd\n")])
    system = image([base, layer_tar([("etc/motd", b"")])])
    put_images(registry, "system", system, tag="1")
    registry.forget()
    for times in (1, 0):
        found = done(run, "packages", f"docker://{registry.host}/system:1")["packages"]
        assert [("a", 2, 1)] == [(one["name"], one["files"], one["layer"]["index"]) for one in found]
        fetched = [one.path.rpartition("/")[2] for one in registry.sent(".*", "/blobs/sha256:")]
        assert times * sorted(digests(system)) == sorted(name for name in fetched if name in digests(system))
        registry.forget()


def test_cat_prints_a_file(run: Run, registry: ScriptedRegistry) -> None:
    result = run("cat", f"docker://{registry.host}/app:1", "/etc/motd")
    assert (0, TEXT) == (result.code, result.stdout), str(result)
    result = run("cat", f"docker://{registry.host}/app:2", "/etc/motd")
    assert (0, b"hello\n") == (result.code, result.stdout), str(result)


def test_validate_reads_all_of_it_and_finds_wrong_bytes(run: Run, registry: ScriptedRegistry) -> None:
    found = done(run, "validate", f"docker://{registry.host}/app:1")
    assert [] == [one for one in found["findings"] if one["severity"] == "error"]
    assert set(digests(APP)) == set(asked(registry))
    registry.faults.append(Fault("GET", digests(APP)[1], flip=-1))
    found = done(run, "validate", f"docker://{registry.host}/app:1", code=1)
    (problem,) = [one for one in found["findings"] if one["severity"] == "error" and one["rule"].endswith("digest")]
    assert digests(APP)[1][7:19] in json.dumps(problem)


@pytest.mark.parametrize("kind", ["rootfs", "layers"])
def test_unpack_makes_the_files(kind: str, run: Run, registry: ScriptedRegistry, tmp_path: Path) -> None:
    done(run, "unpack", f"docker://{registry.host}/app:2", "out", "--as", kind, "--rootless")
    below = {"rootfs": [tmp_path / "out"], "layers": [tmp_path / "out/sha256" / sha256(tar)[7:] for tar in (ONE, TOP)]}[kind]
    found = [{str(path.relative_to(top)): path.read_bytes() for path in top.rglob("*") if path.is_file()} for top in below]
    merged = {"c": b"c", "etc/motd": b"hello\n"}
    assert {"rootfs": [merged], "layers": [{"etc/motd": TEXT}, merged]}[kind] == found
    assert set(digests(NEXT)) == set(asked(registry))


# Writing


def test_edit_sends_a_configuration_and_nothing_else(run: Run, registry: ScriptedRegistry) -> None:
    words = ("edit", f"docker://{registry.host}/app:1", f"docker://{registry.host}/app:edited", "--env", "A=B")
    found = done(run, *words)
    manifest, config = pushed(registry, "edited", found)
    assert APP.manifest["layers"] == manifest["layers"]
    assert "A=B" in config["config"]["Env"]
    assert manifest["config"]["size"] == registry.bytes_received
    assert bytes_transferred(registry) == found["bytes"]["transferred"]
    assert [] == [one for one in registry.sent("GET", "/blobs/sha256:") if not one.path.endswith(sha256(APP.config))]


def test_append_sends_the_new_layer(run: Run, registry: ScriptedRegistry, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new/d").write_bytes(b"d")
    words = ("append", f"docker://{registry.host}/app:1", f"docker://{registry.host}/app:more", "--layer", "new")
    found = done(run, *words)
    manifest, config = pushed(registry, "more", found)
    assert APP.manifest["layers"] == manifest["layers"][:2]
    assert ["kept", "kept", "new"] == [layer["origin"] for layer in found["images"][0]["layers"]]
    assert manifest["layers"][2]["size"] + manifest["config"]["size"] == registry.bytes_received
    assert 3 == len(config["rootfs"]["diff_ids"])
    assert bytes_transferred(registry) == found["bytes"]["transferred"]


def test_repack_sends_the_layer_that_was_edited(run: Run, registry: ScriptedRegistry, tmp_path: Path) -> None:
    done(run, "unpack", f"docker://{registry.host}/app:2", "dir", "--rootless")
    found = done(run, "repack", "dir", f"docker://{registry.host}/app:same")
    assert NEXT.digest == registry.tags["app", "same"] == found["images"][0]["digest"]
    assert 0 == registry.bytes_received
    (tmp_path / "dir/rootfs/c").write_bytes(b"edited")
    registry.forget()
    found = done(run, "repack", "dir", f"docker://{registry.host}/app:edited")
    manifest, _ = pushed(registry, "edited", found)
    assert digests(NEXT)[0] == manifest["layers"][0]["digest"]
    assert ["kept", "rewritten"] == [layer["origin"] for layer in found["images"][0]["layers"]]
    assert manifest["layers"][1]["size"] + manifest["config"]["size"] == registry.bytes_received
    assert bytes_transferred(registry) == found["bytes"]["transferred"]
    result = run("cat", f"docker://{registry.host}/app:edited", "c")
    assert b"edited" == result.stdout, str(result)


def test_insecure_is_for_one_registry_also_where_a_directory_names_the_other(run: Run, registry: ScriptedRegistry) -> None:
    done(run, "unpack", f"docker://{registry.host}/app:2", "dir", "--rootless")
    registry.forget()
    with ScriptedRegistry() as other:
        result = run("repack", "dir", f"docker://{other.host}/app:1")
        assert 8 == result.code and "--insecure-host" in result.err, str(result)
        assert [] == registry.requests  # nothing without TLS: the command does not name it
        assert {} == other.tags


def test_of_an_index_one_image_is_fetched_and_all_can_be_edited(run: Run, registry: ScriptedRegistry) -> None:
    images = [image([TOP], platform=AMD), image([TWO], platform=ARM, architecture="arm64")]
    put_index(registry, "app", images, "all")
    result = run("cat", f"docker://{registry.host}/app:all", "c", "--platform", "linux/amd64")
    assert b"c" == result.stdout, str(result)
    assert [] == registry.sent("GET", images[1].digest)
    words = ("edit", f"docker://{registry.host}/app:all", f"docker://{registry.host}/app:both", "--env", "A=B")
    done(run, *words, "--all-platforms")
    document = json.loads(registry.manifests["app", registry.tags["app", "both"]][1])
    assert [AMD, ARM] == [one["platform"] for one in document["manifests"]]
    assert all(has_image(registry, "app", one) for one in images)


def test_what_speaks_of_an_image_that_is_edited_is_named(run: Run, registry: ScriptedRegistry) -> None:
    app = image([TOP])
    put_images(registry, "app", app, tag="1")
    empty = registry.put_blob("app", b"{}")
    described = {"mediaType": "application/vnd.example.sbom", "digest": empty, "size": 2}
    manifest = {"schemaVersion": 2, "mediaType": mediatypes.OCI_MANIFEST, "artifactType": "application/vnd.example.sbom",
                "config": described, "layers": []}  # fmt: skip
    registry.put_manifest("app", mediatypes.OCI_MANIFEST, json.dumps({**manifest, "subject": app.descriptor}).encode())
    registry.put_manifest("app", mediatypes.OCI_MANIFEST, json.dumps(manifest).encode(), f"{app.digest.replace(':', '-')}.sig")
    result = run("edit", f"docker://{registry.host}/app:1", "out/", "--env", "A=B")
    assert 0 == result.code, str(result)
    for kind in ("application/vnd.example.sbom", "signature"):
        assert f"the {kind} " in result.err and f"speaks of {app.digest}" in result.err, str(result)
    registry.faults.append(Fault("GET", "/referrers/", status=403))
    result = run("edit", f"docker://{registry.host}/app:1", "out/", "--env", "A=C")
    assert 0 == result.code and "is not known: denied" in result.err, str(result)


def test_squash_at_a_registry_sends_the_one_layer(run: Run, registry: ScriptedRegistry) -> None:
    where = f"docker://{registry.host}/app"
    manifest, config = pushed(registry, "flat", done(run, "squash", f"{where}:1", f"{where}:flat"))
    assert (1, 1) == (len(manifest["layers"]), len(config["rootfs"]["diff_ids"]))
    assert manifest["layers"][0]["digest"] not in digests(APP)


def test_rebuild_at_a_registry_sends_no_layer_that_the_old_image_has(run: Run, registry: ScriptedRegistry) -> None:
    later = layer_tar([("etc/", None), entry("etc/motd", TEXT, mtime=1_600_000_000_000_000_000)])
    put_images(registry, "app", image([later, TWO]), tag="3")
    where = f"docker://{registry.host}/app"
    report = done(run, "rebuild", f"{where}:3", f"{where}:4", "--against", f"{where}:1")
    manifest, _ = pushed(registry, "4", report)
    assert digests(APP) == [layer["digest"] for layer in manifest["layers"]]
    assert "reuse" == report["details"]["rebuilt"][0]["plan"]
    assert [] == [one for one in registry.sent("P.*", "/blobs/") if sha256(later) in one.path]


def test_rebase_at_a_registry_by_annotations(run: Run, registry: ScriptedRegistry) -> None:
    """The own layer and the new base are there; nothing is sent but documents."""
    own = layer_tar([("own", b"o")])
    base, fixed = image([ONE]), image([TOP])
    app = image([ONE, own])
    name = f"{registry.host}/base:latest"
    app.manifest["annotations"] = {
        "org.opencontainers.image.base.name": name, "org.opencontainers.image.base.digest": base.digest,
    }  # fmt: skip
    put_images(registry, "base", base, tag="old")
    put_images(registry, "base", fixed, tag="latest")
    put_images(registry, "app", app, tag="app")
    where = f"docker://{registry.host}/app"
    report = done(run, "rebase", f"{where}:app", f"{where}:rebased")
    manifest, _ = pushed(registry, "rebased", report)
    assert [digests(fixed)[0], digests(app)[1]] == [layer["digest"] for layer in manifest["layers"]]
    assert {"org.opencontainers.image.base.name": name, "org.opencontainers.image.base.digest": fixed.digest} == manifest[
        "annotations"
    ]
