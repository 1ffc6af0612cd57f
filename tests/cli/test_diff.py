"""`ocitool diff`: what changed, what caused it, and when that fails a build."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.images import (
    AnyEntry,
    Image,
    config_of,
    entry,
    image,
    index_of,
    layer_tar,
    pretty,
    sha256,
    write_docker_archive,
    write_layout,
    write_oci_archive,
)  # fmt: skip
from support.report import report_of

from ocitool.layers.entry import Kind

Run = Callable[..., Any]
BASE = layer_tar([("etc/", None), ("etc/motd", b"hello\n"), ("bin/", None), ("bin/sh", b"#!" * 100)])
AMD, ARM = {"os": "linux", "architecture": "amd64"}, {"os": "linux", "architecture": "arm64"}


@pytest.fixture
def pair(tmp_path: Path) -> Callable[..., tuple[Path, Path]]:
    """Two layouts of images, each given by its layers' entries or made already."""

    def make(a: Image | Sequence[Sequence[AnyEntry]], b: Image | Sequence[Sequence[AnyEntry]]) -> tuple[Path, Path]:
        found = []
        for name, what in (("a", a), ("b", b)):
            one = what if isinstance(what, Image) else image([layer_tar(entries) for entries in what])
            found.append(write_layout(tmp_path / name, [one]))
        return found[0], found[1]

    return make


def changes(report: Any) -> list[tuple[str, str, list[str]]]:
    return [(item["path"], item["kind"], item["fields"]) for item in report["files"]]


def blob(layout: Path, made: Image, number: int) -> Path:
    return layout / "blobs" / made.manifest["layers"][number]["digest"].replace(":", "/")


def spoil(path: Path) -> None:
    """All but its first bytes, which say how it is compressed."""
    path.write_bytes(path.read_bytes()[:4].ljust(path.stat().st_size, b"\0"))


# Files

OLD, NEW = b"12345\n", b"54321\n"
FIELDS: dict[str, tuple[AnyEntry, AnyEntry]] = {
    "type": (("x", b""), ("x", "link:y")),
    "content": (("x", OLD), ("x", NEW)),
    "mode": (entry("x", OLD), entry("x", OLD, mode=0o600)),
    "uid": (entry("x", OLD), entry("x", OLD, uid=7)),
    "gid": (entry("x", OLD), entry("x", OLD, gid=7)),
    "mtime": (entry("x", OLD), entry("x", OLD, mtime=1_700_000_000_000_000_001)),
    "linkTarget": (("x", "link:a"), ("x", "link:b")),
    "xattrs": (entry("x", OLD), entry("x", OLD, xattrs=((b"user.a", b"\xff"),))),
    "device": (entry("x", kind=Kind.CHAR, device=(1, 3)), entry("x", kind=Kind.CHAR, device=(1, 5))),
}


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("shared", [True, False])
def test_each_field_is_told_and_can_be_ignored(ocitool: Run, pair: Any, field: str, shared: bool) -> None:
    before, after = FIELDS[field]
    base: list[list[AnyEntry]] = [[("base", b"")]] if shared else []
    a, b = pair([*base, [before]], [*base, [after]])
    kind = {"type": "type", "content": "modified", "linkTarget": "modified", "device": "modified"}.get(field, "metadata")
    report = report_of(ocitool("diff", "--format", "json", a, b), 1)
    assert changes(report) == [("/x", kind, [] if field == "type" else [field])]
    assert report["summary"]["mtimeOnly"] == (field == "mtime")
    assert changes(report_of(ocitool("diff", "--format", "json", "--ignore", field, a, b), 0, 1)) == []
    others = [word for name in FIELDS if name != field for word in ("--ignore", name)]
    assert len(report_of(ocitool("diff", "--format", "json", *others, a, b), 1)["files"]) == 1


def test_links_is_a_field(ocitool: Run, pair: Any) -> None:
    a, b = pair([[("a", b"x"), ("b", b"x")]], [[("a", b"x"), ("b", "hard:a")]])
    report = report_of(ocitool("diff", "--format", "json", a, b), 1)
    assert changes(report) == [("/a", "metadata", ["links"]), ("/b", "metadata", ["links"])]
    assert report["summary"]["sizeDelta"] == -1
    assert changes(report_of(ocitool("diff", "--format", "json", "--ignore", "links", a, b), 1)) == []


def test_a_field_that_is_none_is_wrong_usage(ocitool: Run, pair: Any) -> None:
    assert ocitool("diff", "--ignore", "colour", *pair([], [])).code == 2


def test_added_removed_and_who_did_it(ocitool: Run, pair: Any) -> None:
    a, b = pair([[("d/", None), ("d/old", b"12"), ("k", b"")]], [[("d/", None), ("d/old", b"12"), ("k", b"")],
                                                                  [("d/.wh.old", b""), ("d/new", b"123")]])  # fmt: skip
    report = report_of(ocitool("diff", "--format", "json", a, b), 1)
    assert changes(report) == [("/d/new", "added", []), ("/d/old", "removed", [])]
    assert [item["layer"]["index"] for item in report["files"]] == [1, 1]
    assert report["summary"]["sizeDelta"] == 1 and report["shared"]["layers"] == 1
    back = report_of(ocitool("diff", "--format", "json", b, a), 1)
    assert changes(back) == [("/d/new", "removed", []), ("/d/old", "added", [])]
    assert [item["layer"] for item in back["files"]] == [None, None]


def test_an_image_and_itself(ocitool: Run, testdata: Path) -> None:
    for name in ("app-v1.tar", "whiteouts.tar", "encodings/docker-29.tar", "encodings/oci"):
        report = report_of(ocitool("diff", "--format", "json", testdata / name, testdata / name))
        assert report["identical"] and not report["files"] and not report["config"] and not report["notable"]
        assert report["summary"]["transferBytes"] == 0
        assert report_of(ocitool("diff", "--verify", "--format", "json", testdata / name, testdata / name))["verified"]


def test_one_image_in_two_encodings_has_the_same_files(ocitool: Run, testdata: Path) -> None:
    folder = testdata / "encodings"
    for a, b in (("docker-1.2.tar", "docker-25.tar"), ("docker-1.2.tar", "oci"), ("oci", "oci-zstd.tar")):
        report = report_of(ocitool("diff", "--semantic", "--format", "json", folder / a, folder / b), 0, 1)
        assert report["files"] == [], (a, b)


def test_path_picks_and_decides(ocitool: Run, pair: Any) -> None:
    a, b = pair([[("etc/", None), ("etc/a", b"1"), ("usr/b", b"1")]], [[("etc/", None), ("etc/a", b"2"), ("usr/b", b"2")]])
    for glob in ("etc/**", "/etc/*", "etc/a"):
        assert [c[0] for c in changes(report_of(ocitool("diff", "--format", "json", "--path", glob, a, b), 1))] == ["/etc/a"]
    report = report_of(ocitool("diff", "--format", "json", "--path", "etc", "--ignore-path", "etc/a", a, b))
    assert report["identical"] and report["files"] == []
    assert len(report_of(ocitool("diff", "--format", "json", "--path", "etc/*", "--path", "usr/*", a, b), 1)["files"]) == 2


def test_stat_lists_no_files(ocitool: Run, pair: Any) -> None:
    a, b = pair([[("name-of-file", b"1")]], [[("name-of-file", b"2")]])
    assert "name-of-file" in ocitool("diff", a, b).out
    out = ocitool("diff", "--stat", a, b)
    assert out.code == 1 and "name-of-file" not in out.out and "1 modified" in out.out


@pytest.mark.parametrize("codec", ["none", "gzip", "zstd"])
def test_patches(ocitool: Run, pair: Any, codec: str) -> None:
    old = layer_tar([("gone", b"g\n"), ("t", b"a\nb\n"), ("bin", b"\0"), ("cr", b"a\r\nb"), ("same", b"s")])
    new = layer_tar([("new", b"n"), ("t", b"a\nc\n"), ("bin", b"\1"), ("cr", b"a\r\nc"), ("same", b"s")])
    a, b = pair(image([old], codec=codec), image([new], codec=codec))
    report = report_of(ocitool("diff", "-p", "--format", "json", a, b), 1)
    end = "\n\\ No newline at end of file\n"
    assert {item["path"]: item["text"].split("\n", 2)[2] for item in report["patch"]} == {
        "/cr": f"@@ -1,2 +1,2 @@\n a\r\n-b{end}+c{end}",
        "/gone": "@@ -1 +0,0 @@\n-g\n",
        "/new": f"@@ -0,0 +1 @@\n+n{end}",
        "/t": "@@ -1,2 +1,2 @@\n a\n-b\n+c\n",
    }
    assert report["patch"][0]["text"].startswith("--- a/cr\n+++ b/cr\n")
    text = ocitool("diff", "-p", a, b).out
    assert "\n+c\n" in text and "\n a\\r\n" in text


# Layers


def test_the_same_file_system_in_other_layers_or_codecs_is_semantically_identical(ocitool: Run, pair: Any) -> None:
    files: list[AnyEntry] = [("etc/", None), ("etc/a", b"1"), ("b", b"2"), ("l", "link:b"), ("h", "hard:b")]
    whole = image([layer_tar(files)])
    split = image([layer_tar([*files[:2], ("junk", b"j")]), layer_tar([(".wh.junk", b""), *files[2:]])])
    zstd = image([layer_tar(files)], codec="zstd", created="2025-01-01T00:00:00Z")
    for other in (split, zstd):
        a, b = pair(whole, other)
        report = report_of(ocitool("diff", "--format", "json", a, b), 1)
        assert report["files"] == [] and not report["identical"]
        report = report_of(ocitool("diff", "--semantic", "--format", "json", a, b), 0, 1)
        assert report["files"] == []
        if other is zstd:
            assert report["identical"]


def test_equivalent_layers_and_what_had_them_built_again(ocitool: Run, pair: Any) -> None:
    late = 1_800_000_000_000_000_000
    a, b = pair(
        [[("base", b"")], [("app", b"1")], [("lib", b"x"), ("lib2", b"y")], [("end", b"")]],
        [[("base", b"")], [("app", b"22")], [entry("lib2", b"y", mtime=late), entry("lib", b"x", mtime=late)], [("end", b"z")]],
    )
    report = report_of(ocitool("diff", "--format", "json", a, b), 1)
    assert [layer["status"] for layer in report["layers"]] == ["shared", "changed", "equivalent", "changed"]
    assert [layer["rebuiltBecauseOf"] and layer["rebuiltBecauseOf"]["index"] for layer in report["layers"]] == [
        None, None, 1, 1,
    ]  # fmt: skip
    assert report["layers"][2]["rebuiltBecauseOf"]["createdBy"] == "RUN step 1"
    assert report["summary"]["mtimeOnly"] == 2
    assert [item["layer"]["index"] for item in report["notable"] if item["rule"] == "unshared-layer"] == [2, 3]


def test_transfer_counts_what_the_other_side_lacks(ocitool: Run, pair: Any) -> None:
    old = image([BASE, layer_tar([("a", b"1")])])
    new = image([BASE, layer_tar([("a", b"22" * 500)]), layer_tar([("b", b"")]), layer_tar([("b", b"")])])
    a, b = pair(old, new)
    report = report_of(ocitool("diff", "--format", "json", a, b), 1)
    expected = len(new.layers[1]) + len(new.layers[2]) + len(new.config) + len(new.raw)
    assert report["summary"]["transferBytes"] == expected and not report["summary"]["transferEstimated"]
    assert report["shared"] == {"layers": 1, "bytes": len(new.layers[0])}


def test_a_docker_archive_and_a_layout_of_one_image(ocitool: Run, tmp_path: Path) -> None:
    tars = [BASE, layer_tar([("a", b"1")])]
    layout = write_layout(tmp_path / "layout", [image(tars)])
    archive = write_docker_archive(tmp_path / "a.tar", [image(tars, codec="none", tag="x:1")])
    for pair in ((layout, archive), (archive, layout)):
        report = report_of(ocitool("diff", "--format", "json", *pair))
        assert report["identical"] and [layer["status"] for layer in report["layers"]] == ["shared", "shared"]
        assert report["summary"]["transferBytes"] in (0, len(image(tars).raw))
        assert report_of(ocitool("diff", "--verify", "--format", "json", *pair))["verified"]


def test_an_image_for_another_platform_can_be_compared(ocitool: Run, pair: Any) -> None:
    a, b = pair(image([BASE]), image([BASE], architecture="arm64"))
    report = report_of(ocitool("diff", "--format", "json", a, b), 1)
    assert [(c["pointer"], c["before"], c["after"]) for c in report["config"]] == [("/architecture", "amd64", "arm64")]


# What is opened


def test_a_shared_layer_that_no_question_needs_is_not_opened(ocitool: Run, pair: Any) -> None:
    old, new = (image([BASE, layer_tar([("etc/", None), ("etc/motd", text)])]) for text in (b"1", b"2"))
    a, b = pair(old, new)
    spoil(blob(a, old, 0))
    spoil(blob(b, new, 0))
    assert changes(report_of(ocitool("diff", "--format", "json", a, b), 1)) == [("/etc/motd", "modified", ["content"])]
    assert ocitool("diff", "--verify", a, b).code == 5


def test_a_shared_layer_is_opened_where_only_it_knows(ocitool: Run, pair: Any) -> None:
    old, new = image([BASE, layer_tar([("x", b"")])]), image([BASE, layer_tar([("etc/motd", b"2"), ("x", b"")])])
    a, b = pair(old, new)
    report = report_of(ocitool("diff", "--no-cache", "--format", "json", a, b), 1)
    assert changes(report) == [("/etc/motd", "modified", ["content"])]
    for path in (blob(a, old, 0), blob(b, new, 0)):
        spoil(path)
    assert ocitool("diff", "--no-cache", a, b).code in (4, 5)


def test_an_index_once_made_is_used_again(ocitool: Run, pair: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of layers that did not change since: what the cache knows of others is in test_cache."""
    old, new = image([BASE, layer_tar([("x", b"")])]), image([BASE, layer_tar([("etc/motd", b"2")])])
    a, b = pair(old, new)
    first = ocitool("diff", "--format", "json", a, b)
    monkeypatch.setattr("ocitool.layers.index_workers.index_layer", None)
    again = ocitool("diff", "--format", "json", a, b)
    assert (again.code, again.stdout) == (1, first.stdout)


def test_a_forged_diff_id_warns_and_is_5_with_verify(ocitool: Run, tmp_path: Path) -> None:
    honest = image([BASE], codec="none", tag="x:1")
    forged = image([layer_tar([("evil", b"e" * 9999)])], codec="none", tag="x:1", config=honest.config)
    a, b = write_docker_archive(tmp_path / "a.tar", [honest]), write_docker_archive(tmp_path / "b.tar", [forged])
    result = ocitool("diff", "--format", "json", a, b)
    report = report_of(result)
    assert not report["verified"] and [notice["code"] for notice in report["notices"]] == ["claim"]
    assert "ocitool: note: " in result.err and "--verify" in result.err
    assert ocitool("diff", "--verify", a, b).code == 5


# --fail-on


@pytest.mark.parametrize(
    ("rule", "code", "actual"),
    [
        ("files", 1, 2), ("config", 1, None), ("notable", 1, 1), ("none", 0, None), ("size:+1kB", 1, 2000),
        ("size:+1999", 1, 2000),
        ("size:+2000B", 0, None), ("size:+2KiB", 0, None), ("size:+5%", 1, None), ("size:+100000%", 0, None),
        ("transfer:+1B", 1, None), ("transfer:+20MiB", 0, None),
    ],
)  # fmt: skip
def test_rules(ocitool: Run, pair: Any, rule: str, code: int, actual: int | None) -> None:
    a, b = pair(image([BASE]), image([BASE, layer_tar([entry("su", b"s" * 1500, mode=0o4755), ("f", b"f" * 500)])]))
    report = report_of(ocitool("diff", "--format", "json", "--fail-on", rule, a, b), code)
    assert [failure["rule"] for failure in report["failures"]] == [rule] * code
    if actual is not None and code:
        assert report["failures"][0]["actual"] == actual
    assert ocitool("diff", "--fail-on", rule, a, a).code == 0


def test_several_rules_and_bad_ones(ocitool: Run, pair: Any) -> None:
    a, b = pair([[("a", b"1")]], [[("a", b"2")]])
    report = report_of(ocitool("diff", "--format", "json", "--fail-on", "size:+1%", "--fail-on", "files", a, b), 1)
    assert [failure["rule"] for failure in report["failures"]] == ["files"]
    for rule in ("everything", "size", "size:10", "size:+", "size:+5XB", "transfer:+5%", "size:+-5", "", "size:+5%x"):
        assert ocitool("diff", "--fail-on", rule, a, b).code == 2, rule


# Notable

SU = {"mode": 0o4755}
NOTABLE: dict[str, tuple[AnyEntry | None, AnyEntry | None]] = {
    "setuid": (entry("x", b"1"), entry("x", b"1", **SU)),
    "setgid": (None, entry("x", b"1", mode=0o2755)),
    "setuid-content": (entry("x", b"1", **SU), entry("x", b"2", **SU)),
    "world-writable": (None, entry("x", b"1", mode=0o666)),
    "device": (entry("x", kind=Kind.CHAR, device=(1, 3)), entry("x", kind=Kind.BLOCK, device=(1, 3))),
    "capability": (entry("x", b"1"), entry("x", b"1", xattrs=((b"security.capability", b"\1"),))),
}


@pytest.mark.parametrize("rule", NOTABLE)
def test_notable_files(ocitool: Run, pair: Any, rule: str) -> None:
    before, after = NOTABLE[rule]
    a, b = pair([[("k", b""), *filter(None, [before])]], [[("k", b""), *filter(None, [after])]])
    found = report_of(ocitool("diff", "--format", "json", a, b), 1)["notable"]
    assert [(item["rule"], item["path"]) for item in found] == [(rule, "/x")]
    assert found[0]["layer"]["index"] == 0
    back = report_of(ocitool("diff", "--format", "json", b, a), 1)["notable"]
    assert [item["rule"] for item in back] == {"device": ["device"], "setuid-content": ["setuid-content"]}.get(rule, [])


def test_a_directory_that_everybody_may_write_needs_the_sticky_bit(ocitool: Run, pair: Any) -> None:
    a, b = pair([[("k", b"")]], [[("k", b""), entry("t", None, mode=0o1777), entry("w", None, mode=0o777)]])
    found = report_of(ocitool("diff", "--format", "json", a, b), 1)["notable"]
    assert [(item["rule"], item["path"]) for item in found] == [("world-writable", "/w")]


@pytest.mark.parametrize(
    ("before", "after", "rule", "pointer"),
    [
        ({"User": "app"}, {"User": "root:app"}, "user-root", "/config/User"),
        ({"User": "1000"}, {"User": "0:1000"}, "user-root", "/config/User"),
        ({"User": "app"}, {}, "user-root", "/config/User"),
        ({}, {"User": "root"}, None, None),
        ({"User": "root"}, {"User": "app"}, None, None),
        ({}, {"ExposedPorts": {"80/tcp": {}}}, "port", "/config/ExposedPorts/80~1tcp"),
        ({"ExposedPorts": {"80/tcp": {}}}, {}, None, None),
        ({}, {"Volumes": {"/data": {}}}, "volume", "/config/Volumes/~1data"),
    ],
)
def test_notable_settings(ocitool: Run, pair: Any, before: Any, after: Any, rule: str | None, pointer: str | None) -> None:
    sides = []
    for settings in (before, after):
        fields = json.loads(image([BASE]).config)
        fields["config"] = settings
        sides.append(image([BASE], config=pretty(fields)))
    a, b = pair(*sides)
    found = report_of(ocitool("diff", "--format", "json", a, b), 1)["notable"]
    assert [(item["rule"], item["pointer"]) for item in found] == ([(rule, pointer)] if rule else [])


def test_deleted_files_that_still_ship(ocitool: Run, pair: Any) -> None:
    a, b = pair([[("key", b"secret"), ("k", b"")]], [[("key", b"secret"), ("k", b"")], [(".wh.key", b"")]])
    report = report_of(ocitool("diff", "--format", "json", a, b), 1)
    assert [(i["rule"], i["path"], i["layer"]["index"]) for i in report["notable"]] == [("deleted-still-ships", "/key", 1)]
    assert report_of(ocitool("diff", "--format", "json", b, b))["notable"] == []


# Configuration


def test_settings_by_pointer_and_variables_by_name(ocitool: Run, pair: Any) -> None:
    def of(settings: Any, **more: Any) -> Image:
        return image([BASE], config=pretty({**json.loads(image([BASE]).config), "config": settings, **more}))

    a, b = pair(
        of({"Env": ["A=1", "B=2", "C=3"], "Labels": {"a/b~c": "1"}, "Cmd": ["x"]}),
        of({"Env": ["C=3", "A=9", "D=4"], "Labels": {"a/b~c": "2"}, "Cmd": ["x", "y"]}, author="me"),
    )
    report = report_of(ocitool("diff", "--format", "json", a, b), 1)
    assert [(c["document"], c["pointer"], c["key"], c["kind"], c["before"], c["after"]) for c in report["config"]] == [
        ("config", "/author", None, "added", None, "me"),
        ("config", "/config/Cmd", None, "modified", ["x"], ["x", "y"]),
        ("config", "/config/Env/1", "A", "modified", "1", "9"),
        ("config", "/config/Env/1", "B", "removed", "2", None),
        ("config", "/config/Env/2", "D", "added", None, "4"),
        ("config", "/config/Labels/a~1b~0c", None, "modified", "1", "2"),
    ]


def test_secrets_are_masked_in_text_and_markdown(ocitool: Run, pair: Any) -> None:
    config = {**json.loads(image([BASE]).config), "config": {"Env": ["API_TOKEN=hunter2"]},
              "history": [{"created_by": "ENV API_TOKEN=hunter2"}]}  # fmt: skip
    a, b = pair(image([BASE]), image([BASE], config=pretty(config)))
    for form in ("text", "markdown"):
        assert b"hunter2" not in ocitool("diff", "--format", form, a, b).stdout
    assert ocitool("diff", "--format", "markdown", a, b).out.startswith("<!-- ocitool diff -->\n")


# Indexes


def multi(path: Path, *images: Image) -> Path:
    inner = pretty(index_of([one.descriptor for one in images]))
    images[0].extra[sha256(inner)] = inner
    top = index_of([{"mediaType": "application/vnd.oci.image.index.v1+json", "digest": sha256(inner), "size": len(inner)}])
    return write_layout(path, images, index=top)


def test_all_platforms(ocitool: Run, tmp_path: Path) -> None:
    def of(platform: dict[str, str], name: str) -> Image:
        return image([layer_tar([(name, b"")])], platform=platform, **platform)

    a = multi(tmp_path / "a", of(AMD, "x"), of(ARM, "x"))
    b = multi(tmp_path / "b", of(AMD, "x"), of(ARM, "y"))
    c = multi(tmp_path / "c", of(AMD, "x"))
    report = report_of(ocitool("diff", "--all-platforms", "--format", "json", a, b), 1)
    assert [(e["platform"]["architecture"], e["diff"]["identical"]) for e in report["platforms"]] == [
        ("amd64", True), ("arm64", False),
    ]  # fmt: skip
    assert report_of(ocitool("diff", "--all-platforms", "--format", "json", a, a))["identical"]
    gone = report_of(ocitool("diff", "--all-platforms", "--format", "json", a, c), 1)
    assert [(e["platform"]["architecture"], e["status"]) for e in gone["platforms"]] == [
        ("amd64", "both"), ("arm64", "removed"),
    ]  # fmt: skip
    assert ocitool("diff", "--all-platforms", "--fail-on", "files", a, b).code == 1
    assert ocitool("diff", "--all-platforms", "--fail-on", "none", a, b).code == 0
    assert ocitool("diff", "--all-platforms", "--platform", "linux/amd64", a, b).code == 2
    for form in ("text", "markdown"):
        assert "linux/arm64" in ocitool("diff", "--all-platforms", "--format", form, a, b).out
    assert report_of(ocitool("diff", "--platform", "linux/amd64", "--format", "json", a, b))["identical"]
    report = report_of(ocitool("diff", "--platform", "linux/arm64", "--format", "json", a, b), 1)
    assert {path for path, _, _ in changes(report)} == {"/x", "/y"}


def test_the_second_image_is_picked_for_the_platform_of_the_first(ocitool: Run, tmp_path: Path) -> None:
    one = write_oci_archive(tmp_path / "one.tar", [image([BASE], **ARM)])
    both = multi(tmp_path / "both", image([BASE], platform=AMD, **AMD), image([BASE], platform=ARM, **ARM))
    assert report_of(ocitool("diff", "--format", "json", one, both))["identical"]


def test_a_platform_that_came_is_a_difference_and_meets_files_and_config(ocitool: Run, testdata: Path) -> None:
    words = ("diff", "--all-platforms", testdata / "multiarch:latest", testdata / "multiarch:nested")
    assert 1 == ocitool(*words).code
    assert [1, 1, 0] == [ocitool(*words, "--fail-on", rule).code for rule in ("files", "config", "none")]


def test_a_platform_that_is_missing_on_both_sides_is_no_difference(ocitool: Run, testdata: Path) -> None:
    assert 0 == ocitool("diff", "--all-platforms", testdata / "multiarch:nested", testdata / "multiarch:nested").code


def test_layers_that_are_only_compressed_otherwise_are_said_to_be(ocitool: Run, testdata: Path) -> None:
    words = ("diff", testdata / "encodings/oci", testdata / "encodings/oci-zstd.tar")
    shown = ocitool(*words)
    assert (1, True) == (shown.code, "stored as zstd, was gzip" in shown.out)
    assert 0 == ocitool(*words, "--semantic").code


def test_semantic_takes_a_docker_and_an_oci_configuration_of_one_image_for_equal(ocitool: Run, testdata: Path) -> None:
    assert 0 == ocitool("diff", "--semantic", testdata / "app-v2.tar", testdata / "encodings/oci").code


# Secrets

KEY = b"-----BEGIN OPENSSH PRIVATE KEY-----\nhunter2\n-----END OPENSSH PRIVATE KEY-----\n"
WITHHELD = ["root/.ssh/id_rsa", "etc/tls/server.key", "app/.env", "app/.env.production", "root/.npmrc", "root/.pypirc",
            "root/.netrc",
            "root/.docker/config.json", "root/.aws/credentials", "root/.kube/config", "root/.git-credentials", "etc/shadow",
            "etc/nginx/.htpasswd", "x/store.p12", "x/me.pem"]  # fmt: skip
SHOWN = ["app/.env.example", "etc/environment", "app/package.json", "etc/ssl/certs/ca.pem", "root/.ssh/id_rsa.pub",
         "app/keys.py"]  # fmt: skip


@pytest.mark.parametrize("form", ["text", "markdown", "json"])
def test_a_patch_never_shows_a_file_whose_path_looks_secret(ocitool: Run, pair: Any, form: str) -> None:
    names = [*WITHHELD, *SHOWN]
    a, b = pair([[(name, b"old\n") for name in names]], [[(name, f"hunter2 {name}!\n".encode()) for name in names]])
    seen = ocitool("diff", "-p", "--format", form, a, b).out
    assert SHOWN == [name for name in names if f"hunter2 {name}!" in seen]
    assert form == "json" or len(WITHHELD) == seen.count("--show-secrets shows it")
    shown = ocitool("diff", "-p", "--show-secrets", "--format", form, a, b).out
    assert names == [name for name in names if f"hunter2 {name}!" in shown]


def test_a_patch_never_shows_a_file_that_holds_a_key_or_a_token(ocitool: Run, pair: Any) -> None:
    token = b"ghp_" + b"a1" * 18
    a, b = pair([[("k", KEY), ("t", b"x\n"), ("s", b"a\n")]], [[("k", b"gone\n"), ("t", b"auth " + token), ("s", b"b\n")]])
    report = report_of(ocitool("diff", "-p", "--format", "json", a, b), 1)
    assert [("/k", "content"), ("/s", None), ("/t", "content")] == [(p["path"], p["withheld"]) for p in report["patch"]]
    assert [["withheld", "2 changed files look secret: no patch shows the content (--show-secrets does)"]] == [
        [n["code"], n["text"]] for n in report["notices"]
    ]
    assert token.decode() in ocitool("diff", "-p", "--show-secrets", a, b).out


def test_a_second_name_of_a_secret_file_is_withheld_too(ocitool: Run, pair: Any) -> None:
    link = ("srv/x", "hard:root/.netrc")
    a, b = pair([[("root/.netrc", b"old"), link]], [[("root/.netrc", b"hunter2"), link]])
    assert "hunter2" not in ocitool("diff", "-p", a, b).out


def test_show_secrets_shows_values_in_every_report(ocitool: Run, pair: Any) -> None:
    settings = {"Env": ["API_TOKEN=hunter2"], "Cmd": ["--password", "hunter3"]}
    config = {**json.loads(image([BASE]).config), "config": settings}
    a, b = pair(image([BASE]), image([BASE], config=pretty(config)))
    for words in (("diff", a, b), ("inspect", b)):
        for form in ("text", "markdown", "json"):
            shown = ocitool(*words, "--show-secrets", "--format", form).out
            assert ["hunter2", "hunter3"] == [secret for secret in ("hunter2", "hunter3") if secret in shown]
            seen = ocitool(*words, "--format", form).out
            assert (words[0], form) == ("inspect", "json") or "hunter" not in seen
    assert "hunter2" in ocitool("inspect", "--format", "json", b).json()["images"][0]["config"]["Env"][0]


def test_variables_are_told_one_by_one_if_a_side_has_none(ocitool: Run, pair: Any) -> None:
    def of(**settings: Any) -> Image:
        return image([BASE], config=pretty({**json.loads(image([BASE]).config), "config": settings}))

    a, b = pair(of(), of(Env=["A=1", "B=2"]))
    for first, second, kind in ((a, b, "added"), (b, a, "removed")):
        report = report_of(ocitool("diff", "--format", "json", first, second), 1)
        assert [("/config/Env/0", "A", kind), ("/config/Env/1", "B", kind)] == [
            (c["pointer"], c["key"], c["kind"]) for c in report["config"]
        ]


# Globs


@pytest.mark.parametrize("spelling", ["etc", "/etc", "etc/", "/etc/", "./etc", "./etc/"])
def test_a_directory_means_all_below_it(ocitool: Run, pair: Any, spelling: str) -> None:
    below = [("etc/a", b"1"), ("etc/x/b", b"1"), ("etcetera", b"1")]
    a, b = pair([below], [[(name, b"22") for name, _ in below]])
    report = report_of(ocitool("diff", "--format", "json", "--path", spelling, a, b), 1)
    assert ["/etc/a", "/etc/x/b"] == [path for path, _, _ in changes(report)]
    report = report_of(ocitool("diff", "--format", "json", "--ignore-path", spelling, a, b), 1)
    assert ["/etcetera"] == [path for path, _, _ in changes(report)]


@pytest.mark.parametrize("words", [("--path", ""), ("--ignore-path", ""), ("--path", "etc/*", "--ignore-path", "")])
def test_an_empty_glob_is_2(ocitool: Run, pair: Any, words: tuple[str, ...]) -> None:
    """As of a variable that is not set: it would mean everything."""
    result = ocitool("diff", *words, *pair([[("etc/a", b"1")]], [[("etc/a", b"22")]]))
    assert (2, "", True) == (result.code, result.out, "an empty path" in result.err)


@pytest.mark.parametrize("option", ["--path", "--ignore-path"])
@pytest.mark.parametrize("glob", ["usr/locl/**", "!etc/**", "etc/b", "ETC"])
def test_a_glob_that_matches_nothing_is_2(ocitool: Run, pair: Any, option: str, glob: str) -> None:
    a, b = pair([[("etc/a", b"1")]], [[("etc/a", b"22")]])
    words = ("diff", option, "etc/*", option, glob, a, b)
    result = ocitool(*words)
    assert (2, "", True) == (result.code, result.out, f"{option} {glob} matches no path of either image" in result.err)
    assert "hint: " in result.err
    result = ocitool(*words, "--allow-no-match")
    assert f"ocitool: note: {option} {glob} matches no path of either image" in result.err
    assert result.code == (1 if option == "--path" else 0)


def test_a_glob_may_match_in_one_image_or_in_layers_that_both_have(ocitool: Run, pair: Any) -> None:
    base = [("base/x/f", b"")]
    a, b = pair([base, [("gone", b"")]], [base, [("come", b"")]])
    for glob in ("base", "base/x", "base/*", "base/x/f"):
        assert ocitool("diff", "--path", glob, a, b).code == 0
    for glob in ("gone", "come"):
        assert ocitool("diff", "--path", glob, a, b).code == 1


def of_user(name: str, content: bytes) -> Image:
    tars = [layer_tar([("etc/a", content)])]
    return image(tars, config=config_of(tars, config={"User": name}))


@pytest.mark.parametrize("form", ["text", "markdown"])
def test_no_difference_never_stands_above_one_of_the_configuration(ocitool: Run, pair: Any, form: str) -> None:
    a, b = pair(of_user("app", b"1"), of_user("0", b"1"))
    words = ("diff", "--format", form, "--path", "etc", a, b)
    result = ocitool(*words)
    assert (0, True) == (result.code, "the configuration was not compared" in result.out)
    assert "no difference" not in result.out and "/config/User" not in result.out and "user-root" not in result.out
    report = report_of(ocitool("diff", "--format", "json", "--path", "etc", a, b), 0)
    assert ([], [], True) == (report["config"], report["notable"], report["identical"])
    assert {"paths": ["etc"], "ignoredPaths": [], "config": False, "ignoredVolatile": False} == report["compared"]


def test_a_rule_about_the_configuration_has_it_compared_beside_paths(ocitool: Run, pair: Any) -> None:
    a, b = pair(of_user("app", b"1"), of_user("0", b"1"))
    result = ocitool("diff", "--path", "etc", "--fail-on", "config", a, b)
    assert (1, True) == (result.code, "/config/User" in result.out)
    assert "no difference" not in result.out and "not compared" not in result.out


def test_paths_that_are_ignored_leave_the_configuration_compared(ocitool: Run, pair: Any) -> None:
    a, b = pair([[("etc/a", b"1")]], [[("etc/a", b"22")]])
    assert ocitool("diff", "--ignore-path", "etc", a, b).code == 0
    a, b = pair(of_user("app", b"1"), of_user("0", b"22"))
    result = ocitool("diff", "--ignore-path", "etc", a, b)
    assert (1, True) == (result.code, "/config/User" in result.out)


def test_a_glob_of_many_platforms_matches_if_it_does_in_one(ocitool: Run, tmp_path: Path) -> None:
    def of(platform: dict[str, str], name: str) -> Image:
        return image([layer_tar([entry(name, b"1")])], platform=platform, **platform)

    a = multi(tmp_path / "a", of(AMD, "x"), of(ARM, "y"))
    assert ocitool("diff", "--all-platforms", "--path", "y", a, a).code == 0
    assert ocitool("diff", "--all-platforms", "--path", "z", a, a).code == 2


def test_indexes_of_which_only_paths_were_compared_are_not_said_to_be_identical(ocitool: Run, tmp_path: Path) -> None:
    for name, content in (("a", "1"), ("b", "2")):
        multi(tmp_path / name, *(two_files(platform, content) for platform in (AMD, ARM)))
    words = ("--all-platforms", "--path", "same", tmp_path / "a", tmp_path / "b")
    text, page = (ocitool("diff", "--format", form, *words) for form in ("text", "markdown"))
    assert (0, 0) == (text.code, page.code)
    said = "no file that matches same differs in 2 platforms; the configuration was not compared (--path)"
    assert (True, False) == (said in text.out, "no difference" in text.out)
    said = "No file that matches `same` differs in 2 platforms; the configuration was not compared (--path)"
    assert (True, False) == (said in page.out, "No difference" in page.out)


def two_files(platform: dict[str, str], content: str) -> Image:
    tar = layer_tar([("same", b"x"), ("other", content.encode())])
    return image([tar], platform=platform, **platform)


def test_a_page_says_no_file_differs_if_only_settings_do(ocitool: Run, pair: Any) -> None:
    a, b = pair(image([BASE]), image([BASE], author="me"))
    page = ocitool("diff", "--format", "markdown", "--ignore-path", "bin", a, b)
    assert (1, True) == (page.code, "### No file outside `bin` differs; 1 configuration change\n" in page.out)


@pytest.mark.parametrize("form", ["text", "json", "markdown"])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([("id_rsa", b"hunter7\n")], [("plain", b"hunter7\n")]),
        ([("plain", b"hunter7\n")], [("app/.env", b"hunter7\n")]),
        ([("app/.env", b"hunter7\n"), ("x", b"hunter7\n")], []),
        ([("x.py", b"u = 'https://me:hunter7@h/x'\n")], [("x.py", b"u = 'https://me:hunter8@h/x'\n")]),
        ([], [("x.yml", b"db:\n  password: hunter7\n")]),
        ([("x.ini", b"[db]\npassword = hunter7\n")], [("x.ini", b"[db]\npassword = hunter8\n")]),
        ([], [("x.toml", b'api_token = "hunter7"\n')]),
        ([], [("x.properties", b"spring.datasource.password=hunter7\n")]),
    ],
)
def test_a_patch_shows_no_secret_under_another_name_or_in_settings(
    ocitool: Run, pair: Any, form: str, before: Any, after: Any
) -> None:
    a, b = pair([[("k", b""), *before]], [[("k", b""), *after]])
    for words in ((a, b), (b, a)):
        result = ocitool("diff", "-p", "--format", form, *words)
        assert (1, False) == (result.code, "hunter" in result.out + result.err)
    assert "hunter7" in ocitool("diff", "-p", "--show-secrets", "--format", form, a, b).out


def test_a_patch_of_settings_shows_what_is_no_secret_and_that_one_changed(ocitool: Run, pair: Any) -> None:
    old, new = (f"host: {name}\ntoken: {name}7\ntls_key: /etc/{name}.key\n# it's {name}\n".encode() for name in ("old", "evil"))
    a, b = pair([[("x.yml", old)]], [[("x.yml", new)]])
    shown = ocitool("diff", "-p", a, b).out.splitlines()
    lines = ["-host: old", "-token: ***", "-tls_key: /etc/old.key", "-# it's old"]
    lines += [line.replace("-", "+", 1).replace("old", "evil") for line in lines]
    assert lines == [line for line in shown if line in lines]


def test_a_program_in_a_patch_is_shown_as_it_is(ocitool: Run, pair: Any) -> None:
    a, b = pair([[("x.py", b"token = load('a')\n")]], [[("x.py", b"token = load('evil')\n")]])
    assert "+token = load('evil')" in ocitool("diff", "-p", a, b).out
