"""The laws of `ocitool layout`: what is named stays, what is not goes when asked, and nothing else is touched."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.disk import fingerprint
from support.images import Image, image, index_of, layer_tar, pretty, sha256, write_files, write_layout
from support.report import report_of

from ocitool.spec import mediatypes

Run = Callable[..., Any]
REF, FULL = "org.opencontainers.image.ref.name", "io.containerd.image.name"
BASE = layer_tar([("base", b"b" * 3000)])
OWN = {name: layer_tar([(name, name.encode() * 1000)]) for name in ("a", "b", "c")}


def app(name: str, **more: Any) -> Image:
    return image([BASE, OWN[name]], tag=name, **more)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return write_layout(tmp_path / "store", [app("a"), app("b")])


def index(store: Path) -> Any:
    return json.loads((store / "index.json").read_bytes())


def tags(store: Path) -> list[str | None]:
    return [entry.get("annotations", {}).get(REF) for entry in index(store)["manifests"]]


def blobs(store: Path) -> set[str]:
    return {f"{path.parent.name}:{path.name}" for path in store.glob("blobs/*/*")}


def set_index(store: Path, *entries: Any, **fields: Any) -> None:
    (store / "index.json").write_bytes(pretty(index_of(entries, **fields)))


def put(store: Path, data: bytes) -> dict[str, Any]:
    """Stores a blob; the descriptor without a media type."""
    (store / "blobs/sha256" / sha256(data)[7:]).write_bytes(data)
    return {"digest": sha256(data), "size": len(data)}


def manifest(store: Path, *, subject: Any = None, content: bytes = b"sig", **fields: Any) -> dict[str, Any]:
    """Stores an artifact and gives its descriptor."""
    document = {
        "schemaVersion": 2, "mediaType": mediatypes.OCI_MANIFEST, "artifactType": "application/x.sig",
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", **put(store, b"{}")},
        "layers": [{"mediaType": "application/x.sig", **put(store, content)}], **fields,
    }  # fmt: skip
    if subject is not None:
        document["subject"] = subject
    return {"mediaType": mediatypes.OCI_MANIFEST, **put(store, pretty(document))}


def named(descriptor: dict[str, Any], name: str) -> dict[str, Any]:
    return {**descriptor, "annotations": {REF: name}}


# rm


def test_rm_drops_the_entry_and_no_blob(ocitool: Run, store: Path) -> None:
    before = blobs(store)
    report = report_of(ocitool("layout", "rm", store, "a", "--format", "json"))
    assert [{"digest": app("a").digest, "tags": ["a"], "referrer": False}] == report["removed"]
    assert ["b"] == tags(store)
    assert before == blobs(store)


def test_rm_says_what_gc_then_frees(ocitool: Run, store: Path) -> None:
    own = sum(len(data) for digest, data in app("a").blobs.items() if digest not in app("b").blobs)
    assert own == report_of(ocitool("layout", "rm", store, "a", "--format", "json"))["bytes"]["freeable"]
    assert own == report_of(ocitool("layout", "gc", store, "--format", "json"))["bytes"]["freed"]


def test_rm_leaves_other_entries_member_for_member(ocitool: Run, store: Path) -> None:
    other = {**app("b").descriptor, "x": [1, {"y": None}], "annotations": {REF: "b", "z": "é"}}
    set_index(store, app("a").descriptor, other, unknown={"k": "v"})
    assert ocitool("layout", "rm", store, "a").code == 0
    assert index_of([other], unknown={"k": "v"}) == index(store)


@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("a", ["full", "b", "a2"]), ("@0", ["full", "b", "a2"]), (f"@{app('a').digest}", ["full", "b"]),
        ("example.org/x:1", ["a", "b", "a2"]), ("@2", ["a", "full", "a2"]),
    ],
)  # fmt: skip
def test_rm_takes_every_spelling(name: str, left: list[str], ocitool: Run, tmp_path: Path) -> None:
    one, other = app("a"), app("b")
    full = {**app("c").descriptor, "annotations": {REF: "full", FULL: "example.org/x:1"}}
    store = write_layout(tmp_path / "s", [one, other, app("c")])
    set_index(store, one.descriptor, full, other.descriptor, named(one.descriptor, "a2"))
    assert ocitool("layout", "rm", store, name).code == 0
    assert left == tags(store)


def test_rm_drops_all_platforms_of_a_name(ocitool: Run, tmp_path: Path) -> None:
    both = [app(name, platform={"os": "linux", "architecture": arch}) for name, arch in (("a", "amd64"), ("b", "arm64"))]
    store = write_layout(tmp_path / "s", both)
    set_index(store, *(named(one.descriptor, "app") for one in both), app("c").descriptor)
    assert ocitool("layout", "rm", store, "app").code == 0
    assert ["c"] == tags(store)


def test_rm_of_an_unknown_name_is_3_and_drops_nothing(ocitool: Run, store: Path) -> None:
    before = (store / "index.json").read_bytes()
    result = ocitool("layout", "rm", store, "a", "nope")
    assert 3 == result.code
    assert "hint: it holds a; b" in result.err
    assert before == (store / "index.json").read_bytes()


def test_rm_of_what_stands_only_inside_an_index_is_3(ocitool: Run, store: Path) -> None:
    inner = app("a").descriptor
    set_index(store, {"mediaType": mediatypes.OCI_INDEX, **put(store, pretty(index_of([inner])))})
    assert 3 == ocitool("layout", "rm", store, f"@{inner['digest']}").code


def test_rm_of_a_damaged_image_is_possible(ocitool: Run, store: Path) -> None:
    (store / "blobs" / app("a").digest.replace(":", "/")).write_bytes(b"{")
    report = report_of(ocitool("layout", "rm", store, "a", "--format", "json"))
    freed = report_of(ocitool("layout", "gc", store, "--format", "json"))["bytes"]["freed"]
    assert (freed, ["b"]) == (report["bytes"]["freeable"], tags(store))


@pytest.fixture
def signed(store: Path) -> Path:
    """Image a has a cosign signature, a referrer by subject, and a referrer of that."""
    one = app("a").descriptor
    sig = named(manifest(store, content=b"cosign"), f"sha256-{one['digest'][7:]}.sig")
    sbom = manifest(store, content=b"sbom", subject=one)
    about = manifest(store, content=b"about", subject=sbom)
    set_index(store, one, app("b").descriptor, sig, sbom, about)
    return store


def test_rm_names_what_speaks_of_a_dropped_image_and_leaves_it(ocitool: Run, signed: Path) -> None:
    report = report_of(ocitool("layout", "rm", signed, "a", "--format", "json"))
    assert {"signature", "application/x.sig"} == {one["kind"] for one in report["referrers"]}
    assert 4 == len(tags(signed))


def test_rm_referrers_drops_them_too_and_theirs(ocitool: Run, signed: Path) -> None:
    report = report_of(ocitool("layout", "rm", "--referrers", signed, "a", "--format", "json"))
    assert [False, True, True, True] == [one["referrer"] for one in report["removed"]]
    assert [] == report["referrers"]
    assert ["b"] == tags(signed)


def test_rm_of_one_of_two_names_leaves_the_signature_without_a_word(ocitool: Run, signed: Path) -> None:
    set_index(signed, *index(signed)["manifests"], named(app("a").descriptor, "a2"))
    report = report_of(ocitool("layout", "rm", "--referrers", signed, "a", "--format", "json"))
    assert ([], 1, 0) == (report["referrers"], len(report["removed"]), report["bytes"]["freeable"])


# gc


def test_gc_frees_exactly_what_no_name_leads_to(ocitool: Run, store: Path) -> None:
    set_index(store, app("b").descriptor)
    report = report_of(ocitool("layout", "gc", store, "--format", "json"))
    assert set(app("b").blobs) == blobs(store)
    assert {"freed": 3, "kept": 4} == report["blobs"]
    assert set(app("a").blobs) - set(app("b").blobs) == {one["digest"] for one in report["freed"]}
    assert ocitool("validate", store).code == 0


def test_gc_of_a_clean_layout_changes_nothing(ocitool: Run, store: Path) -> None:
    before = fingerprint(store)
    assert ocitool("layout", "gc", store).code == 0
    assert before == fingerprint(store)


@pytest.mark.parametrize("words", [("rm", "a"), ("gc",), ("normalize",)])
def test_a_dry_run_changes_nothing(words: tuple[str, ...], ocitool: Run, store: Path) -> None:
    set_index(store, app("a").descriptor, {key: app("a").descriptor[key] for key in ("mediaType", "digest", "size")})
    (store / "oci-layout").unlink()
    before = fingerprint(store)
    assert ocitool("layout", words[0], "--dry-run", store, *words[1:]).code == 0
    assert before == fingerprint(store)


def test_gc_keeps_all_of_a_nested_index(ocitool: Run, testdata: Path, tmp_path: Path) -> None:
    store = tmp_path / "multiarch"
    shutil.copytree(testdata / "multiarch", store)
    before = blobs(store)
    assert ocitool("layout", "gc", store).code == 0
    assert before == blobs(store)


def test_gc_keeps_whatever_any_document_names(ocitool: Run, store: Path) -> None:
    """Artifacts with `blobs`, documents of unknown type, descriptors in unknown members, embedded documents."""
    deep = put(store, b"deep")
    odd = put(store, pretty({"things": [{"here": {"mediaType": "x/y", **deep}}]}))
    old = put(store, pretty({"blobs": [{"mediaType": "x/z", **put(store, b"old")}]}))
    named_there = put(store, b"named in a document that no strict parser takes")["digest"].encode()
    twice = put(store, b'{"a":1,"a":"' + named_there + b'"}')
    inner = pretty({"schemaVersion": 2, "config": put(store, b"cfg"), "layers": []})
    import base64

    embedded = {"mediaType": mediatypes.OCI_MANIFEST, "digest": sha256(inner), "size": len(inner),
                "data": base64.b64encode(inner).decode()}  # fmt: skip
    kinds = [{"mediaType": "x/odd", **odd}, {"mediaType": "x/old", **old}, {"mediaType": "x/twice", **twice}, embedded]
    set_index(store, app("a").descriptor, app("b").descriptor, *kinds)
    before = blobs(store)
    assert ocitool("layout", "gc", store).code == 0
    assert before == blobs(store)


def test_gc_keeps_referrers_of_kept_images_and_frees_those_of_others(ocitool: Run, store: Path) -> None:
    kept = manifest(store, content=b"about b", subject=app("b").descriptor)
    of_kept = manifest(store, content=b"about about b", subject=kept)
    gone = manifest(store, content=b"about a", subject=app("a").descriptor)
    set_index(store, app("b").descriptor)
    assert ocitool("layout", "gc", store).code == 0
    assert {kept["digest"], of_kept["digest"]} <= blobs(store)
    assert not {gone["digest"], sha256(b"about a")} & blobs(store)


def test_gc_keeps_what_a_docker_manifest_beside_the_index_names(ocitool: Run, store: Path) -> None:
    config, *layers = ["blobs/" + sha256(data).replace(":", "/") for data in (app("a").config, *app("a").layers)]
    (store / "manifest.json").write_bytes(pretty([{"Config": config, "Layers": layers}]))
    set_index(store)
    assert ocitool("layout", "gc", store).code == 0
    assert {sha256(data) for data in (app("a").config, *app("a").layers)} == blobs(store)


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (lambda raw: raw[:-1], 5), (lambda raw: raw.replace(b"2", b"3", 1), 5), (lambda raw: b"", 5),
    ],
)  # fmt: skip
def test_gc_frees_nothing_where_a_manifest_is_damaged(
    damage: Callable[[bytes], bytes], code: int, ocitool: Run, store: Path
) -> None:
    path = store / "blobs" / app("b").digest.replace(":", "/")
    path.write_bytes(damage(path.read_bytes()))
    set_index(store, app("b").descriptor)
    before = blobs(store)
    assert code == ocitool("layout", "gc", store).code
    assert before == blobs(store)


@pytest.mark.parametrize("raw", [b"not json", b"{", b'{"schemaVersion":2,"manifests":[],"layers":[]}'])
def test_gc_frees_nothing_where_a_manifest_is_no_manifest(raw: bytes, ocitool: Run, store: Path) -> None:
    set_index(store, {"mediaType": mediatypes.OCI_MANIFEST, **put(store, raw)})
    before = blobs(store)
    code = ocitool("layout", "gc", store).code
    if raw.endswith(b"]}"):  # ambiguous, but what it names can be told
        assert 0 == code
    else:
        assert (4, before) == (code, blobs(store))


def test_gc_without_an_index_is_4_and_frees_nothing(ocitool: Run, store: Path) -> None:
    (store / "index.json").unlink()
    before = blobs(store)
    assert 4 == ocitool("layout", "gc", store).code
    assert before == blobs(store)


def test_gc_leaves_files_alone_that_are_no_blobs(ocitool: Run, store: Path) -> None:
    odd = ["blobs/sha256/README", "blobs/sha256/" + "A" * 64, "blobs/md5/" + "0" * 32, "blobs/note"]
    write_files(store, dict.fromkeys(odd, b"x"))
    (store / "blobs/sha256" / ("0" * 64)).mkdir()
    (store / "blobs/sha256" / ("1" * 64)).symlink_to("/etc/passwd")
    report = report_of(ocitool("layout", "gc", store, "--format", "json"))
    assert all((store / name).exists() for name in odd)
    assert (store / "blobs/sha256" / ("1" * 64)).is_symlink()
    assert {"unknown"} == {one["code"] for one in report["notices"]}
    assert 0 == report["blobs"]["freed"]


def test_gc_tells_bytes_that_a_link_still_holds_from_bytes_that_are_free(ocitool: Run, store: Path, tmp_path: Path) -> None:
    blob = put(store, b"twice" * 100)
    os.link(store / "blobs" / blob["digest"].replace(":", "/"), tmp_path / "other")
    report = report_of(ocitool("layout", "gc", store, "--format", "json"))
    assert (0, 500) == (report["bytes"]["freed"], report["bytes"]["linked"])


# link


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    return write_layout(tmp_path / "one", [app("a")]), write_layout(tmp_path / "two", [app("b"), app("a")])


def inodes(store: Path) -> dict[str, int]:
    return {path.name: path.stat().st_ino for path in store.glob("blobs/*/*")}


def test_link_makes_equal_blobs_one_file(ocitool: Run, two: tuple[Path, Path]) -> None:
    one, other = two
    report = report_of(ocitool("layout", "link", one, other, "--format", "json"))
    assert {"linked": 4, "cloned": 0, "already": 0} == report["blobs"]
    assert sum(len(data) for data in app("a").blobs.values()) == report["bytes"]["saved"]
    assert inodes(one).items() <= inodes(other).items()
    assert (0, 0) == (ocitool("validate", one).code, ocitool("validate", other).code)


def test_link_again_does_nothing(ocitool: Run, two: tuple[Path, Path]) -> None:
    assert ocitool("layout", "link", *two).code == 0
    before = [fingerprint(one) for one in two]
    report = report_of(ocitool("layout", "link", *two, "--format", "json"))
    assert ({"linked": 0, "cloned": 0, "already": 4}, 0) == (report["blobs"], report["bytes"]["saved"])
    assert before == [fingerprint(one) for one in two]


def test_link_counts_a_file_of_two_names_once_both_are_gone(ocitool: Run, two: tuple[Path, Path], tmp_path: Path) -> None:
    assert ocitool("layout", "link", *two).code == 0
    apart = write_layout(tmp_path / "apart", [app("a")])
    report = report_of(ocitool("layout", "link", apart, *two, "--format", "json"))
    assert sum(len(data) for data in app("a").blobs.values()) == report["bytes"]["saved"]
    assert 8 == report["blobs"]["linked"]


def test_link_dry_run_says_the_same_and_does_nothing(ocitool: Run, two: tuple[Path, Path]) -> None:
    before = [fingerprint(one) for one in two]
    rehearsed = report_of(ocitool("layout", "link", "--dry-run", *two, "--format", "json"))
    assert before == [fingerprint(one) for one in two]
    assert {**rehearsed, "dryRun": False} == report_of(ocitool("layout", "link", *two, "--format", "json"))


@pytest.mark.parametrize("which", [0, 1])
def test_link_never_shares_a_damaged_blob(which: int, ocitool: Run, two: tuple[Path, Path]) -> None:
    name = "blobs/" + sha256(app("a").layers[0]).replace(":", "/")
    data = (two[which] / name).read_bytes()
    (two[which] / name).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    report = report_of(ocitool("layout", "link", *two, "--format", "json"), 1)
    assert [str(two[which] / name)] == report["damaged"]
    assert 3 == report["blobs"]["linked"]
    assert data == (two[1 - which] / name).read_bytes()


def test_link_leaves_files_of_another_mode_with_their_mode(ocitool: Run, two: tuple[Path, Path]) -> None:
    name = "blobs/" + sha256(app("a").layers[0]).replace(":", "/")
    os.chmod(two[1] / name, 0o600)
    report = report_of(ocitool("layout", "link", *two, "--format", "json"))
    assert 0o600 == (two[1] / name).stat().st_mode & 0o777
    assert 3 == report["blobs"]["linked"]
    assert (two[0] / name).stat().st_ino != (two[1] / name).stat().st_ino
    assert 1 == len(report["refused"]) + report["blobs"]["cloned"]


@pytest.mark.parametrize("words", [(), (".",), ("/nope",)])
def test_link_wants_two_layouts(words: tuple[str, ...], ocitool: Run, store: Path) -> None:
    assert (3 if words == ("/nope",) else 2) == ocitool("layout", "link", store, *words, cwd=store).code


# normalize


def test_normalize_leaves_a_tidy_layout_byte_for_byte(ocitool: Run, store: Path) -> None:
    (store / "index.json").write_text(json.dumps(index(store), indent=3))
    before = fingerprint(store)
    report = report_of(ocitool("layout", "normalize", "--verify", store, "--format", "json"))
    assert ([], [], True) == (report["changes"], report["findings"], report["verified"])
    assert before == fingerprint(store)


def test_normalize_is_done_after_one_run(ocitool: Run, store: Path) -> None:
    one, bare = app("a").descriptor, {key: app("a").descriptor[key] for key in ("mediaType", "digest", "size")}
    set_index(store, bare, one, one, app("b").descriptor)
    (store / "oci-layout").unlink()
    assert 3 == len(report_of(ocitool("layout", "normalize", store, "--format", "json"))["changes"])
    assert ([one, app("b").descriptor], True) == (index(store)["manifests"], (store / "oci-layout").exists())
    assert [] == report_of(ocitool("layout", "normalize", store, "--format", "json"))["changes"]


@pytest.mark.parametrize(
    "other",
    [
        {"annotations": {REF: "a2"}}, {"annotations": {REF: "a", "x": "y"}, "platform": None},
        {"annotations": {"x": "y"}}, {"artifactType": "x/y"}, {"data": "e30="},
    ],
)  # fmt: skip
def test_normalize_keeps_every_entry_that_says_something_of_its_own(other: Any, ocitool: Run, store: Path) -> None:
    one = app("a", platform={"os": "linux", "architecture": "amd64"}).descriptor
    bare = {key: one[key] for key in ("mediaType", "digest", "size")}
    entries = [one, {key: value for key, value in {**bare, **other}.items() if value is not None}]
    set_index(store, *entries)
    ocitool("layout", "normalize", store)
    assert entries == index(store)["manifests"]


@pytest.mark.parametrize("other", [{"annotations": {}}, {"annotations": None}, {"annotations": []}])
def test_normalize_keeps_one_of_two_that_say_the_same_in_other_words(other: Any, ocitool: Run, store: Path) -> None:
    bare = {key: app("a").descriptor[key] for key in ("mediaType", "digest", "size")}
    for entries in ([bare, {**bare, **other}], [{**bare, **other}, bare]):
        set_index(store, *entries)
        assert 0 == ocitool("layout", "normalize", store).code
        assert [entries[0]] == index(store)["manifests"]


def findings(result: Any, code: int) -> list[tuple[str, str]]:
    return [(one["rule"], one["severity"]) for one in report_of(result, code)["findings"]]


def test_normalize_reports_blobs_that_are_not_what_they_should_be_and_leaves_them(ocitool: Run, store: Path) -> None:
    layers = [store / "blobs" / sha256(data).replace(":", "/") for data in app("a").layers]
    layers[0].write_bytes(b"")
    layers[1].write_bytes(b"x" * layers[1].stat().st_size)
    before = fingerprint(store)
    assert [("size", "error")] == findings(ocitool("layout", "normalize", store, "--format", "json"), 1)
    found = findings(ocitool("layout", "normalize", "--verify", store, "--format", "json"), 1)
    assert {("size", "error"), ("digest", "error")} == set(found)
    assert before == fingerprint(store)


def test_normalize_names_attestations_of_images_that_are_gone(ocitool: Run, store: Path) -> None:
    annotations = {"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": "sha256:" + "0" * 64}
    about = {**manifest(store), "annotations": annotations}
    set_index(store, app("a").descriptor, about)
    assert [("dangling-attestation", "warning")] == findings(ocitool("layout", "normalize", store, "--format", "json"), 0)
    assert 2 == len(index(store)["manifests"])


def test_normalize_reports_one_name_for_two_images(ocitool: Run, store: Path) -> None:
    set_index(store, named(app("a").descriptor, "x"), named(app("b").descriptor, "x"))
    assert [("duplicate-tag", "error")] == findings(ocitool("layout", "normalize", store, "--format", "json"), 1)


def test_normalize_takes_platforms_of_one_name_for_one_image(ocitool: Run, store: Path) -> None:
    pairs = [(app("a"), "amd64"), (app("b"), "arm64")]
    set_index(store, *({**named(o.descriptor, "x"), "platform": {"os": "linux", "architecture": a}} for o, a in pairs))
    assert [] == findings(ocitool("layout", "normalize", store, "--format", "json"), 0)


# all of them


@pytest.mark.parametrize("words", [("rm", "x"), ("gc",), ("normalize",)])
@pytest.mark.parametrize(("what", "code"), [("missing", 3), ("file", 4), ("empty", 4), ("garbage", 4)])
def test_a_directory_that_is_no_layout_is_refused(
    words: tuple[str, ...], what: str, code: int, ocitool: Run, tmp_path: Path
) -> None:
    place = tmp_path / "place"
    if what == "file":
        place.write_bytes(b"x")
    elif what != "missing":
        place.mkdir()
        if what == "garbage":
            (place / "index.json").write_bytes(b"garbage")
    result = ocitool("layout", words[0], place, *words[1:])
    assert code == result.code, str(result)
    assert "Traceback" not in result.err


@pytest.mark.parametrize("words", [("rm", "a"), ("gc",), ("normalize",), ("link",)])
def test_text_ends_with_one_line_about_the_whole(words: tuple[str, ...], ocitool: Run, store: Path, tmp_path: Path) -> None:
    more = [write_layout(tmp_path / "more", [app("a")])] if words == ("link",) else []
    result = ocitool("layout", words[0], store, *more, *words[1:])
    assert 0 == result.code
    last = result.out.splitlines()[-1]
    assert last.startswith("2 layouts: 4 blobs linked" if more else f"{store}: "), last


def test_temporaries_of_the_dead_go_and_those_of_the_living_stay(ocitool: Run, store: Path) -> None:
    import fcntl

    names = [store / f".ocitool-{n * 16}.part" for n in "ab"]
    for name in names:
        name.write_bytes(b"x")
    with open(names[1], "rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert 1 == report_of(ocitool("layout", "gc", store, "--format", "json"))["temporaries"]
    assert [False, True] == [name.exists() for name in names]


def test_a_control_character_in_a_name_never_reaches_the_terminal(ocitool: Run, store: Path) -> None:
    set_index(store, named(app("a").descriptor, "a\x1b[31m"))
    result = ocitool("layout", "rm", store, "@0")
    assert 0 == result.code
    assert "\x1b" not in result.out and "\\x1b" in result.out
