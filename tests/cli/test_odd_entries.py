"""Stores in which one entry is odd: of a type that is not read, damaged, absent, or no descriptor. It hides no other."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.copying import AMD, ARM
from support.images import Image, gz, image, index_of, layer_tar, pretty, sha256, write_layout
from support.registries import put_images
from support.registry import ScriptedRegistry
from support.report import report_of

from ocitool.spec import mediatypes

Run = Callable[..., Any]
ONE = layer_tar([("etc/", None), ("etc/motd", b"hello\n")])
TWO = layer_tar([("srv/", None), ("srv/app", b"app\n")])
GOOD = image([ONE], tag="good")
NAME = "org.opencontainers.image.ref.name"


def blob(data: bytes, media_type: str, **more: Any) -> tuple[dict[str, Any], dict[str, bytes]]:
    return {"mediaType": media_type, "digest": sha256(data), "size": len(data), **more}, {sha256(data): data}


def nested(parts: list[tuple[dict[str, Any], dict[str, bytes]]]) -> tuple[dict[str, Any], dict[str, bytes]]:
    made, held = blob(pretty(index_of([one for one, _ in parts])), mediatypes.OCI_INDEX)
    return made, {key: data for part in (held, *(below for _, below in parts)) for key, data in part.items()}


SBOM = b'{"spdx": 1}'
SCHEMA_1 = pretty({"schemaVersion": 1, "fsLayers": [{"blobSum": sha256(gz(TWO))}], "history": []})
ARTIFACT = pretty({
    "mediaType": mediatypes.OCI_ARTIFACT, "artifactType": "application/spdx+json",
    "blobs": [blob(SBOM, "application/spdx+json")[0]],
})  # fmt: skip
CACHE = nested([
    blob(gz(TWO), f"{mediatypes.OCI_LAYER}+gzip"),
    blob(pretty({"layers": [{"blob": sha256(gz(TWO))}], "records": []}), "application/vnd.buildkit.cacheconfig.v0"),
])  # fmt: skip
UNKNOWN = {
    "xml": blob(b"<a/>", "application/xml"),
    "json": blob(b'{"config": "x", "layers": 3}', "application/vnd.example+json"),
    "broken json": blob(b'{"a": ', "application/vnd.example+json"),
    "schema 1": (blob(SCHEMA_1, mediatypes.DOCKER_SCHEMA1_SIGNED)[0], {sha256(SCHEMA_1): SCHEMA_1, sha256(gz(TWO)): gz(TWO)}),
    "artifact manifest": (blob(ARTIFACT, mediatypes.OCI_ARTIFACT)[0], {sha256(ARTIFACT): ARTIFACT, sha256(SBOM): SBOM}),
    "empty index": nested([]),
    "build cache": CACHE,
}
"""Sound entries that hold no image: each with the blobs that it leads to."""

ROTTEN = image([TWO], tag="rotten")
SHORT = image([TWO], tag="short")
UNREAD = {
    "rotten manifest": (ROTTEN.descriptor, {**ROTTEN.blobs, ROTTEN.digest: b"x" * len(ROTTEN.raw)}),
    "short layer": (SHORT.descriptor, {**SHORT.blobs, sha256(gz(TWO)): gz(TWO)[:50]}),
    "no json": blob(b"<", mediatypes.OCI_MANIFEST),
    "unknown digest algorithm": ({"mediaType": mediatypes.OCI_MANIFEST, "digest": "md5:abc", "size": 1}, {}),
}
"""Entries of manifests that cannot be read. The last one is also absent."""

INVALID: dict[str, Any] = {
    "no digest": {"mediaType": mediatypes.OCI_MANIFEST, "size": 1, "annotations": {NAME: "odd"}},
    "no size": {"mediaType": mediatypes.OCI_MANIFEST, "digest": sha256(b"x"), "annotations": {NAME: "odd"}},
    "upper case": {"mediaType": mediatypes.OCI_MANIFEST, "digest": "sha256:" + "A" * 64, "size": 1},
    "negative size": {"mediaType": mediatypes.OCI_INDEX, "digest": sha256(b"x"), "size": -1},
    "media type": {"mediaType": 3, "digest": sha256(b"x"), "size": 1},
    "null": None,
    "text": "x",
}
"""Entries that are no descriptors."""


def store(path: Path, entry: Any, held: dict[str, bytes] | None = None, good: Image = GOOD) -> Path:
    """A layout of a good image and an odd entry behind it."""
    extra = Image(good.config, good.manifest, good.layers, good.tag, good.platform, good.annotations, held or {})
    return write_layout(path, [extra], index=index_of([good.descriptor, entry]))


def entries(layout: Path) -> Any:
    return json.loads((layout / "index.json").read_bytes())["manifests"]


def said(ocitool: Run, where: Path, code: int, *words: str) -> Any:
    result = ocitool("inspect", where, "--format", "json", *words)
    assert code == result.code, str(result)
    return report_of(result, code)


# Sound entries that are no image


@pytest.mark.parametrize("kind", UNKNOWN)
def test_what_is_no_image_is_listed_as_what_it_is_and_is_no_error(kind: str, ocitool: Run, tmp_path: Path) -> None:
    entry, held = UNKNOWN[kind]
    for words in ((), ("--all-platforms",)):
        found = said(ocitool, store(tmp_path / "l", entry, held), 0, *words)
        assert [["good"]] == [one["tags"] for one in found["images"]]
        assert ["image", "index" if "index" in kind or "cache" in kind else "artifact"] == [
            one["kind"] for one in found["index"]["manifests"]
        ]
        assert entry["mediaType"] == found["index"]["manifests"][1]["mediaType"] and not found["problems"]
        assert ["other"] == [one["code"] for one in found["notices"]] or words


@pytest.mark.parametrize("kind", UNKNOWN)
def test_the_only_image_needs_no_name_beside_what_is_none(kind: str, ocitool: Run, tmp_path: Path) -> None:
    path = store(tmp_path / "l", *UNKNOWN[kind])
    for words in (("ls", path), ("cat", path, "/etc/motd"), ("diff", path, path), ("diff", "--all-platforms", path, path)):
        result = ocitool(*words)
        assert 0 == result.code and "the only image is taken; 1 other entry is not an image" in result.err, str(result)


@pytest.mark.parametrize("kind", UNKNOWN)
@pytest.mark.parametrize("words", [(), ("--all-platforms",)], ids=["", "all platforms"])
def test_copy_carries_what_is_no_image_with_all_that_it_names(
    words: tuple[str, ...], kind: str, ocitool: Run, tmp_path: Path
) -> None:
    entry, held = UNKNOWN[kind]
    path = store(tmp_path / "l", entry, held)
    assert 0 == ocitool("copy", *words, path, f"{tmp_path}/to/").code
    assert [GOOD.descriptor, entry] == entries(tmp_path / "to")
    for digest, data in held.items():
        assert data == (tmp_path / "to/blobs" / digest.replace(":", "/")).read_bytes()


def test_what_is_no_image_is_copied_alone_by_its_position(ocitool: Run, tmp_path: Path) -> None:
    entry, held = UNKNOWN["xml"]
    result = ocitool("copy", f"{store(tmp_path / 'l', entry, held)}:@1", f"{tmp_path}/to/")
    assert 0 == result.code and b"index" not in result.stdout, str(result)
    assert [entry] == entries(tmp_path / "to")


def test_what_is_no_image_and_not_what_its_digest_says_is_not_carried(ocitool: Run, tmp_path: Path) -> None:
    entry, _ = UNKNOWN["xml"]
    result = ocitool("copy", store(tmp_path / "l", entry, {entry["digest"]: b"<b/>"}), f"{tmp_path}/to/")
    assert 5 == result.code and entry["digest"] in result.err, str(result)


@pytest.mark.parametrize("kind", [kind for kind in UNKNOWN if kind != "empty index"])
def test_validate_warns_of_what_is_no_image_and_goes_on(kind: str, ocitool: Run, tmp_path: Path) -> None:
    result = ocitool("validate", store(tmp_path / "l", *UNKNOWN[kind]), "--format", "json")
    assert {"entry-type"} <= {one["rule"] for one in json.loads(result.stdout)["findings"]} and 0 == result.code, str(result)


@pytest.mark.parametrize("kind", UNKNOWN)
def test_dedupe_counts_what_is_no_image(kind: str, ocitool: Run, tmp_path: Path) -> None:
    entry, held = UNKNOWN[kind]
    found = report_of(ocitool("dedupe", store(tmp_path / "l", entry, held), "--format", "json"))
    assert [] == found["problems"]
    assert sum(map(len, GOOD.blobs.values())) + sum(map(len, held.values())) == found["bytes"]["unique"]


@pytest.mark.parametrize("command", [("edit", "--label", "a=b"), ("squash",)], ids=lambda one: str(one[0]))
def test_edits_of_a_whole_index_carry_what_is_no_image(command: tuple[str, ...], ocitool: Run, tmp_path: Path) -> None:
    entry, held = UNKNOWN["artifact manifest"]
    inner_image = image([ONE, TWO])
    top, below = nested([(inner_image.descriptor, inner_image.blobs), (entry, held)])
    path = store(tmp_path / "l", {**top, "annotations": {NAME: "all"}}, below)
    result = ocitool(command[0], f"{path}:all", f"{tmp_path}/to/", "--all-platforms", *command[1:])
    assert 0 == result.code, str(result)
    (listed,) = entries(tmp_path / "to")
    inner = json.loads((tmp_path / "to/blobs" / listed["digest"].replace(":", "/")).read_bytes())["manifests"]
    assert entry == inner[1] and inner[0]["digest"] != inner_image.digest
    assert SBOM == (tmp_path / "to/blobs" / sha256(SBOM).replace(":", "/")).read_bytes()


# Entries that cannot be read


@pytest.mark.parametrize("kind", UNREAD)
@pytest.mark.parametrize("form", ["text", "json", "markdown"])
def test_what_cannot_be_read_is_told_while_the_rest_is_shown(form: str, kind: str, ocitool: Run, tmp_path: Path) -> None:
    entry, held = UNREAD[kind]
    path = store(tmp_path / "l", entry, held)
    for words in ((), ("--all-platforms",)):
        result = ocitool("inspect", path, "--format", form, *words)
        assert result.code == (0 if kind == "unknown digest algorithm" else 1), str(result)
        assert GOOD.digest[:19].encode() in result.stdout
        if result.code:
            assert b"problem" in result.stdout and "note:" in result.err


@pytest.mark.parametrize("kind", ["rotten manifest", "short layer"])
def test_a_picked_image_beside_one_that_cannot_be_read_is_whole(kind: str, ocitool: Run, tmp_path: Path) -> None:
    path = store(tmp_path / "l", *UNREAD[kind])
    for words in (("inspect", f"{path}:good"), ("ls", f"{path}:good"), ("copy", f"{path}:good", f"{tmp_path}/to/")):
        assert 0 == ocitool(*words).code
    assert 5 == ocitool("inspect", f"{path}:{kind.partition(' ')[0]}").code


@pytest.mark.parametrize("kind", ["rotten manifest", "short layer", "no json"])
def test_a_copy_of_all_is_refused_by_what_cannot_be_read_and_says_what_can_be_done(
    kind: str, ocitool: Run, tmp_path: Path
) -> None:
    result = ocitool("copy", store(tmp_path / "l", *UNREAD[kind]), f"{tmp_path}/to/")
    assert result.code in (4, 5) and "the others can be picked" in result.err, str(result)
    assert not (tmp_path / "to").exists()


@pytest.mark.parametrize("kind", ["rotten manifest", "short layer"])
def test_dedupe_counts_the_images_of_an_index_beside_one_that_cannot_be_read(kind: str, ocitool: Run, tmp_path: Path) -> None:
    entry, held = UNREAD[kind]
    inner = image([ONE], platform=AMD)
    top, below = nested([(inner.descriptor, inner.blobs), ({**entry, "annotations": {}}, held)])
    found = report_of(ocitool("dedupe", store(tmp_path / "l", top, below), "--format", "json"), 1)
    assert 1 == len(found["problems"])
    assert 1 == found["layers"]["unique"] and 2 == found["layers"]["references"]


def test_an_unreadable_configuration_of_another_platform_does_not_stand_in_the_way(ocitool: Run, tmp_path: Path) -> None:
    mine, other = image([ONE], tag="app"), image([TWO], config=b"no configuration", tag="app")
    top, below = nested([(other.descriptor, other.blobs), (mine.descriptor, mine.blobs)])
    path = store(tmp_path / "l", {**top, "annotations": {NAME: "all"}}, below)
    assert 0 == ocitool("ls", f"{path}:all", "--platform", "linux/amd64").code


# Entries that are no descriptors


@pytest.mark.parametrize("kind", INVALID)
def test_an_entry_that_is_no_descriptor_is_listed_with_what_is_wrong(kind: str, ocitool: Run, tmp_path: Path) -> None:
    found = said(ocitool, store(tmp_path / "l", INVALID[kind]), 1)
    good, bad = found["index"]["manifests"]
    assert (GOOD.digest, None) == (good["digest"], good["problem"])
    assert bad["size"] is None and bad["problem"] and 4 == found["problems"][0]["exitCode"]


@pytest.mark.parametrize("kind", INVALID)
def test_a_picked_image_beside_what_is_no_descriptor_is_whole(kind: str, ocitool: Run, tmp_path: Path) -> None:
    path = store(tmp_path / "l", INVALID[kind])
    for words in (("inspect", f"{path}:good"), ("ls", f"{path}:@0"), ("copy", f"{path}:good", f"{tmp_path}/to/"),
                  ("edit", f"{path}:good", f"{tmp_path}/edited/", "--label", "a=b")):  # fmt: skip
        assert 0 == ocitool(*words).code
    assert 4 == ocitool("inspect", f"{path}:@1").code


@pytest.mark.parametrize("kind", INVALID)
def test_a_copy_of_all_is_refused_by_the_entry_that_is_no_descriptor(kind: str, ocitool: Run, tmp_path: Path) -> None:
    result = ocitool("copy", "--all-platforms", store(tmp_path / "l", INVALID[kind]), f"{tmp_path}/to/")
    assert 4 == result.code and "entry @1" in result.err and "the others can be picked" in result.err, str(result)


@pytest.mark.parametrize("kind", INVALID)
def test_writers_to_a_layout_keep_what_is_no_descriptor(kind: str, ocitool: Run, tmp_path: Path) -> None:
    path = store(tmp_path / "l", INVALID[kind])
    assert 0 == ocitool("copy", f"{path}:good", f"{path}/", "--tag", "second").code
    assert [GOOD.descriptor, INVALID[kind]] == entries(path)[:2] and 3 == len(entries(path))
    assert 0 == ocitool("layout", "rm", path, "second").code
    assert [GOOD.descriptor, INVALID[kind]] == entries(path)


@pytest.mark.parametrize("kind", INVALID)
def test_an_index_keeps_what_is_no_descriptor_in_copies_and_edits(kind: str, ocitool: Run, tmp_path: Path) -> None:
    inner = image([ONE], platform=AMD)
    top, below = blob(pretty(index_of([inner.descriptor, INVALID[kind]])), mediatypes.OCI_INDEX, annotations={NAME: "all"})
    path = store(tmp_path / "l", top, {**below, **inner.blobs})
    for words in (("copy",), ("edit", "--label", "a=b")):
        to = tmp_path / words[0]
        result = ocitool(words[0], f"{path}:all", f"{to}/", "--all-platforms", *words[1:])
        assert 0 == result.code and "entry @1" in result.err, str(result)
        (listed,) = entries(to)
        assert INVALID[kind] == json.loads((to / "blobs" / listed["digest"].replace(":", "/")).read_bytes())["manifests"][1]


@pytest.mark.parametrize("kind", INVALID)
def test_validate_and_normalize_find_what_is_no_descriptor(kind: str, ocitool: Run, tmp_path: Path) -> None:
    path = store(tmp_path / "l", INVALID[kind])
    for words in (("validate",), ("layout", "normalize")):
        result = ocitool(*words, path)
        assert 1 == result.code and ("manifests/1" in result.out or "entry @1" in result.out), str(result)
    assert [GOOD.descriptor, INVALID[kind]] == entries(path)


@pytest.mark.parametrize("kind", INVALID)
def test_layout_rm_drops_what_is_no_descriptor_by_its_position(kind: str, ocitool: Run, tmp_path: Path) -> None:
    path = store(tmp_path / "l", INVALID[kind])
    report_of(ocitool("layout", "rm", path, "@1", "--format", "json"))
    assert [GOOD.descriptor] == entries(path)


@pytest.mark.parametrize("kind", INVALID)
def test_layout_link_shares_blobs_beside_what_is_no_descriptor(kind: str, ocitool: Run, tmp_path: Path) -> None:
    a, b = (store(tmp_path / name, INVALID[kind]) for name in "ab")
    assert len(GOOD.blobs) == report_of(ocitool("layout", "link", a, b, "--format", "json"))["blobs"]["linked"]


@pytest.mark.parametrize("kind", ["no digest", "upper case", "null"])
def test_gc_frees_nothing_while_it_is_not_known_what_an_entry_needs(kind: str, ocitool: Run, tmp_path: Path) -> None:
    path = store(tmp_path / "l", INVALID[kind], UNKNOWN["xml"][1])
    result = ocitool("layout", "gc", path)
    assert 4 == result.code and "layout rm" in result.err, str(result)
    assert (path / "blobs" / sha256(b"<a/>").replace(":", "/")).exists()


def test_dedupe_names_what_is_no_descriptor_and_counts_the_rest(ocitool: Run, tmp_path: Path) -> None:
    found = report_of(ocitool("dedupe", store(tmp_path / "l", INVALID["no size"]), "--format", "json"), 1)
    assert 1 == len(found["images"]) == len(found["problems"])


def test_several_and_none_picked_counts_what_cannot_be_read(ocitool: Run, tmp_path: Path) -> None:
    for number, odd in enumerate([INVALID["no size"], UNREAD["rotten manifest"][0]]):
        result = ocitool("ls", store(tmp_path / str(number), odd, UNREAD["rotten manifest"][1]))
        assert 3 == result.code and "good" in result.err, str(result)


# Registries


def test_a_build_cache_at_a_registry_is_copied_whole_and_its_blobs_are_blobs(
    run: Run, registry: ScriptedRegistry, tmp_path: Path
) -> None:
    entry, held = CACHE
    for digest, data in held.items():
        if digest == entry["digest"]:
            registry.put_manifest("app", mediatypes.OCI_INDEX, data, "cache")
        else:
            registry.put_blob("app", data)
    assert 0 == run("inspect", f"docker://{registry.host}/app:cache").code
    assert 1 == len(registry.sent("GET", "/manifests/")) and not registry.sent(".*", "/blobs/")
    result = run("copy", f"docker://{registry.host}/app:cache", f"{tmp_path}/to/")
    assert 0 == result.code, str(result)
    assert set(held) == {f"sha256:{one.name}" for one in (tmp_path / "to/blobs/sha256").iterdir()}
    result = run("copy", f"{tmp_path}/to", f"docker://{registry.host}/again:cache")
    assert 0 == result.code, str(result)
    assert entry["digest"] == registry.tags["again", "cache"]
    assert set(held) - {entry["digest"]} == {digest for repo, digest in registry.blobs if repo == "again"}


def test_an_image_at_a_registry_is_found_beside_other_entries_without_a_request_for_them(
    run: Run, registry: ScriptedRegistry
) -> None:
    mine = image([ONE], platform=AMD)
    put_images(registry, "app", mine)
    others = [entry for entry, _ in UNKNOWN.values() if entry["mediaType"] != mediatypes.OCI_INDEX]
    top = pretty(index_of([*others, INVALID["no size"], mine.descriptor]))
    registry.forget()
    registry.put_manifest("app", mediatypes.OCI_INDEX, top, "all")
    result = run("inspect", f"docker://{registry.host}/app:all", "--platform", "linux/amd64", "--format", "json")
    assert 1 == result.code, str(result)
    assert [mine.digest] == [one["digest"] for one in report_of(result, 1)["images"]]
    assert 2 == len(registry.sent(".*", "/manifests/")) and 1 == len(registry.sent(".*", "/blobs/"))


# An index of which one image is here (Docker 29 `save`, `ctr export`)

ARM64 = image([ONE], platform=ARM, architecture="arm64")
OTHERS = [image([TWO], platform={"os": "linux", "architecture": name}, architecture=name) for name in ("amd64", "s390x")]


def partial(path: Path, *here: Image) -> Path:
    """A layout of an index of three platforms with the blobs of some of them."""
    top, held = blob(pretty(index_of([one.descriptor for one in (OTHERS[0], ARM64, OTHERS[1])])), mediatypes.OCI_INDEX)
    for one in here:
        held |= one.blobs
    holder = image([ONE])
    return write_layout(path, [Image(holder.config, holder.manifest, holder.layers, extra=held)], index=index_of([top]))


@pytest.fixture
def on_amd64(monkeypatch: pytest.MonkeyPatch) -> None:
    from ocitool.images import platform_choice

    pick = platform_choice.parse_platform
    monkeypatch.setattr(platform_choice, "parse_platform", lambda platform: pick(platform or "linux/amd64"))


@pytest.mark.parametrize("words", [("ls",), ("inspect",)], ids=str)
def test_the_only_image_that_is_here_is_taken_and_what_is_absent_is_named(
    words: tuple[str, ...], on_amd64: None, ocitool: Run, tmp_path: Path
) -> None:
    result = ocitool(*words, partial(tmp_path / "l", ARM64))
    assert 0 == result.code, str(result)
    assert "linux/arm64 is taken, the only image that is here; not here: linux/amd64, linux/s390x" in result.err


def test_copy_takes_the_only_image_that_is_here(on_amd64: None, ocitool: Run, tmp_path: Path) -> None:
    result = ocitool("copy", partial(tmp_path / "l", ARM64), f"{tmp_path}/to/")
    assert 0 == result.code and "not here: linux/amd64" in result.err, str(result)
    assert [ARM64.digest] == [one["digest"] for one in entries(tmp_path / "to")]


def test_an_absent_platform_that_was_asked_for_is_not_found_and_those_here_are_named(ocitool: Run, tmp_path: Path) -> None:
    result = ocitool("ls", partial(tmp_path / "l", ARM64), "--platform", "linux/amd64")
    assert 3 == result.code and "here are linux/arm64;" in result.err, str(result)


def test_of_several_images_that_are_here_none_is_taken_for_an_absent_host(on_amd64: None, ocitool: Run, tmp_path: Path) -> None:
    result = ocitool("ls", partial(tmp_path / "l", ARM64, OTHERS[1]))
    assert 3 == result.code, str(result)
    assert "here are linux/arm64, linux/s390x; --platform picks one; not here: linux/amd64" in result.err


def test_where_no_image_is_here_that_is_said(on_amd64: None, ocitool: Run, tmp_path: Path) -> None:
    result = ocitool("ls", partial(tmp_path / "l"))
    assert 3 == result.code and "no image is here" in result.err, str(result)


def test_indexes_that_are_nested_too_deep_hide_no_other_image(ocitool: Run, tmp_path: Path) -> None:
    deep = (GOOD.descriptor, dict(GOOD.blobs))
    for _ in range(12):
        deep = nested([deep])
    layout = store(tmp_path / "s", *deep)
    found = report_of(ocitool("inspect", layout, "--format", "json"), 1)
    assert [GOOD.digest] == [one["digest"] for one in found["images"]]
    assert any("nested" in one["text"] for one in found["problems"])
    for picked in ("good", f"@{GOOD.digest}"):
        assert 0 == ocitool("inspect", f"{layout}:{picked}").code


# Indexes nested in indexes


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_what_cannot_be_read_below_one_of_several_indexes_is_told(depth: int, ocitool: Run, tmp_path: Path) -> None:
    entry, held = UNREAD["rotten manifest"]
    inner = image([ONE], platform=AMD)
    parts = [({**entry, "annotations": {}}, held), (inner.descriptor, inner.blobs)]
    for _ in range(depth):
        parts = [nested(parts)]
    found = said(ocitool, store(tmp_path / "l", *parts[0]), 1)
    assert 1 == len(found["problems"]) and 2 == len(found["images"])


@pytest.mark.parametrize("alone", [True, False])
def test_an_index_of_an_index_that_cannot_be_read_is_not_said_to_hold_no_image(
    alone: bool, ocitool: Run, tmp_path: Path
) -> None:
    rotten = {"mediaType": mediatypes.OCI_INDEX, "digest": sha256(b"x"), "size": 1}
    top, held = nested([(rotten, {sha256(b"x"): b"y"})])
    path = store(tmp_path / "l", {**top, "annotations": {NAME: "top"}}, held)
    found = said(ocitool, Path(f"{path}:top") if alone else path, 1)
    assert 1 == len(found["problems"]) and not found["notices"][1:]
    for words in (("ls", f"{path}:top"), ("copy", path, f"{tmp_path}/to/")):
        assert 5 == ocitool(*words).code
    result = ocitool("ls", path)
    assert 3 == result.code and "none was picked" in result.err, str(result)


def test_an_entry_of_a_nested_index_that_is_no_descriptor_is_told_with_the_index_that_lists_it(
    ocitool: Run, tmp_path: Path
) -> None:
    inner, held = blob(pretty(index_of([None])), mediatypes.OCI_INDEX)
    found = said(ocitool, store(tmp_path / "l", *nested([(inner, held)])), 1)
    assert [f"index {inner['digest']}" in found["problems"][0]["where"]] == [True]


def test_a_copy_that_is_refused_by_an_entry_that_is_not_here_says_what_can_be_done(ocitool: Run, tmp_path: Path) -> None:
    gone = {"mediaType": mediatypes.OCI_MANIFEST, "artifactType": "a/b", "digest": sha256(b"gone"), "size": 4}
    result = ocitool("copy", store(tmp_path / "l", gone), f"{tmp_path}/to/")
    assert 3 == result.code and "the others can be picked" in result.err, str(result)


@pytest.mark.parametrize("depth", [0, 1])
def test_an_index_that_is_not_here_is_not_said_to_be_no_image(depth: int, ocitool: Run, tmp_path: Path) -> None:
    part: Any = ({"mediaType": mediatypes.OCI_INDEX, "digest": sha256(b"gone"), "size": 4}, {})
    for _ in range(depth):
        part = nested([part])
    path = store(tmp_path / "l", *part)
    result = ocitool("ls", path)
    assert 0 == result.code and "1 other entry is not here" in result.err, str(result)
    assert not depth or f"index {part[0]['digest']} lists no image that is here" in ocitool("inspect", path).err


@pytest.mark.parametrize("command", [("inspect", "--files"), ("inspect", "--verify"), ("inspect", "--files", "--verify")])
def test_a_damaged_layer_of_one_image_hides_no_other_image(ocitool: Run, tmp_path: Path, command: tuple[str, ...]) -> None:
    """Several layers are read at a time: what ends their reading does not end the command."""
    tars = [layer_tar([(f"{n}", bytes(n))]) for n in range(6)]
    images = [image(tars[:3], tag="app:1"), image(tars[3:], tag="app:2")]
    place = write_layout(tmp_path / "it", images)
    blob = place / "blobs" / sha256(images[0].layers[1]).replace(":", "/")
    data = blob.read_bytes()
    blob.write_bytes(data[:-8] + bytes([data[-8] ^ 1]) + data[-7:])
    result = ocitool(*command, "--format", "json", place)
    report = result.json()
    assert (1, [["app:2"]]) == (result.code, [one["tags"] for one in report["images"]]), str(result)
    assert "interrupted" not in result.err
