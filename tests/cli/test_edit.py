"""`ocitool edit`: what was asked is changed, everything else is the very bytes that it was."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.images import (
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
)
from support.report import report_of

Run = Callable[..., Any]
SECRET = b"hunter2-and-more-of-it"
LOWER = layer_tar([("etc/", None), ("etc/conf", b"lower"), ("bin/", None), ("bin/sh", b"shell" * 99)])
MIDDLE = layer_tar([("etc/", None), ("etc/token", SECRET), ("etc/other", "hard:etc/token"), ("srv/", None), ("srv/a", b"a")])
UPPER = layer_tar([("etc/", None), ("etc/token", SECRET + b"2"), ("srv/", None), ("srv/b", b"b")])
TARS = [LOWER, MIDDLE, UPPER]


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    return write_layout(tmp_path / "src", [image(TARS, tag="app")])


class Written:
    """An image as it stands in a layout, found by tag or as the only one."""

    def __init__(self, layout: Path, tag: str | None = None) -> None:
        self.layout = layout
        index = json.loads((layout / "index.json").read_bytes())
        tags = [(one.get("annotations") or {}).get("org.opencontainers.image.ref.name") for one in index["manifests"]]
        self.descriptor = index["manifests"][tags.index(tag) if tag else 0]
        self.manifest = self.document(self.descriptor["digest"])

    def blob(self, digest: str) -> bytes:
        data = (self.layout / "blobs" / digest.replace(":", "/")).read_bytes()
        assert sha256(data) == digest
        return data

    def document(self, digest: str) -> Any:
        return json.loads(self.blob(digest))

    @property
    def config(self) -> Any:
        return self.document(self.manifest["config"]["digest"])

    @property
    def layers(self) -> list[bytes]:
        return [self.blob(layer["digest"]) for layer in self.manifest["layers"]]

    @property
    def tars(self) -> list[bytes]:
        return [gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data for data in self.layers]

    def names(self, layer: int) -> list[str]:
        return tarfile.open(fileobj=io.BytesIO(self.tars[layer])).getnames()

    def member(self, layer: int, name: str) -> tarfile.TarInfo:
        return tarfile.open(fileobj=io.BytesIO(self.tars[layer])).getmember(name)


def edited(ocitool: Run, source: Path | str, to: Path, *words: str, code: int = 0, **more: Any) -> tuple[Written, Any, str]:
    """The image after an edit into a layout, its report, and what was said."""
    result = ocitool("edit", source, f"oci:{to}", *words, "--format", "json", **more)
    report = report_of(result, code)
    assert 0 == ocitool("validate", to).code, str(ocitool("validate", to))
    return Written(to), report, result.err


# Configuration


def test_an_edit_of_the_configuration_keeps_every_layer(ocitool: Run, layout: Path, tmp_path: Path) -> None:
    made, report, _ = edited(ocitool, layout, tmp_path / "d", "--env", "A=b", "--label", "c=d", "--user", "7")
    before = Written(layout)
    assert before.manifest["layers"] == made.manifest["layers"]
    assert {**before.config["config"], "Env": ["PATH=/bin", "A=b"], "Labels": {"c": "d"}, "User": "7"} == made.config["config"]
    assert ["kept"] * 3 == [layer["origin"] for layer in report["images"][0]["layers"]]
    kept = sum(layer["size"] for layer in before.manifest["layers"])
    assert (kept, True) == (report["bytes"]["kept"], report["bytes"]["written"] > 0)


def test_the_history_gets_one_entry_without_values(ocitool: Run, layout: Path, tmp_path: Path) -> None:
    env = {"SOURCE_DATE_EPOCH": "1714564800"}
    made, _, _ = edited(ocitool, layout, tmp_path / "d", "--env", "A=b", env=env)
    entry = {"created": "2024-05-01T12:00:00Z", "created_by": "ocitool edit --env A", "empty_layer": True}
    assert [*Written(layout).config["history"], entry] == made.config["history"]


def test_unknown_fields_and_the_order_of_keys_survive(ocitool: Run, tmp_path: Path) -> None:
    one = image(TARS, **{"x-mine": {"b": 1, "a": [None]}, "os.features": ["f"]})
    one.manifest["x-other"] = [1.5]
    before = Written(write_layout(tmp_path / "src", [one]))
    made, _, _ = edited(ocitool, tmp_path / "src", tmp_path / "d", "--user", "7")
    assert list(before.config) == list(made.config)
    assert before.config["x-mine"] == made.config["x-mine"]
    assert (list(before.manifest), [1.5]) == (list(made.manifest), made.manifest["x-other"])


@pytest.mark.parametrize("words", [("--env", "PATH=/bin"), ("--unset-env", "NONE"), ("--cmd", '["/bin/sh"]'), ("--user", "")])
def test_what_is_so_already_changes_no_digest(ocitool: Run, layout: Path, tmp_path: Path, words: tuple[str, ...]) -> None:
    made, report, _ = edited(ocitool, layout, tmp_path / "d", *words)
    assert Written(layout).descriptor["digest"] == made.descriptor["digest"]
    assert 0 == report["bytes"]["written"]


def test_an_edit_made_twice_is_the_edit_made_once(ocitool: Run, layout: Path, tmp_path: Path) -> None:
    words = ("--env", "A=b", "--expose", "80", "--created", "@0", "--annotation", "k=v")
    once, _, _ = edited(ocitool, layout, tmp_path / "a", *words)
    twice, _, _ = edited(ocitool, tmp_path / "a", tmp_path / "b", *words)
    again, _, _ = edited(ocitool, layout, tmp_path / "c", *words)
    assert once.descriptor["digest"] == twice.descriptor["digest"] == again.descriptor["digest"]


def test_annotations_are_the_manifests(ocitool: Run, layout: Path, tmp_path: Path) -> None:
    made, _, _ = edited(ocitool, layout, tmp_path / "a", "--annotation", "k=v", "--annotation", "l=w")
    assert ({"k": "v", "l": "w"}, Written(layout).config) == (made.manifest["annotations"], made.config)
    less, _, _ = edited(ocitool, tmp_path / "a", tmp_path / "b", "--unset-annotation", "k", "--unset-annotation", "l")
    assert Written(layout).manifest == less.manifest


def test_every_kind_of_source_is_edited(ocitool: Run, tmp_path: Path) -> None:
    one = image(TARS, codec="none", tag="example.test/app:1")
    docker, oci = write_docker_archive(tmp_path / "d.tar", [one]), write_oci_archive(tmp_path / "o.tar", [one])
    write_layout(tmp_path / "l", [one])
    configs = set()
    for n, source in enumerate((docker, oci, tmp_path / "l", "-")):
        stdin = docker.read_bytes() if source == "-" else None
        words = ("--env", "A=b", "--created", "@0")
        made, _, _ = edited(ocitool, source, tmp_path / f"to{n}", *words, stdin=stdin)
        configs.add(sha256(made.blob(made.manifest["config"]["digest"])))
        assert [sha256(tar) for tar in TARS] == [layer["digest"] for layer in made.manifest["layers"]]
    assert 1 == len(configs)


def test_a_damaged_layer_is_not_carried_over_for_a_configuration(ocitool: Run, layout: Path, tmp_path: Path) -> None:
    first = Written(layout).manifest["layers"][0]["digest"]
    path = layout / "blobs" / first.replace(":", "/")
    path.write_bytes(bytes(len(path.read_bytes())))
    for words in ((), ("--verify",)):
        assert 5 == ocitool("edit", layout, tmp_path / "a.tar", "--user", "7", *words).code
        assert not (tmp_path / "a.tar").exists()


def test_an_archive_may_replace_itself(ocitool: Run, tmp_path: Path) -> None:
    path = write_docker_archive(tmp_path / "a.tar", [image(TARS, codec="none", tag="example.test/app:1")])
    assert 9 == ocitool("edit", path, path, "--user", "7").code
    assert 0 == ocitool("edit", path, path, "--user", "7", "--force").code
    assert "7" == json.loads(ocitool("inspect", "--raw", "config", path).out)["config"]["User"]
    assert 0 == ocitool("validate", path).code


def test_what_was_to_be_removed_and_was_not_there_is_said(ocitool: Run, layout: Path, tmp_path: Path) -> None:
    _, report, said = edited(ocitool, layout, tmp_path / "d", "--unset-env", "NONE", "--user", "7")
    assert "no variable NONE to unset" in said
    assert ["unset"] == [notice["code"] for notice in report["notices"] if notice["code"] == "unset"]


def test_a_dry_run_writes_nothing(ocitool: Run, layout: Path, tmp_path: Path) -> None:
    result = ocitool("edit", layout, f"oci:{tmp_path / 'd'}", "--rm", "/etc/token", "--dry-run", "--format", "json")
    report = report_of(result)
    assert (True, False) == (report["dryRun"], (tmp_path / "d").exists())
    assert ["kept", "rewritten", "rewritten"] == [layer["origin"] for layer in report["images"][0]["layers"]]


@pytest.mark.parametrize(
    "words",
    [
        (), ("--env", "A"), ("--env", "A=1", "--unset-env", "A"), ("--expose", "80/foo"), ("--workdir", "rel"),
        ("--cmd", "[1]"), ("--created", "now"), ("--layer", "0", "--user", "7"), ("--rm-content",), ("--rm", "/"),
        ("--rm", "/../x"), ("--add", "x"), ("--add", ":/x"), ("--drop-layer", "3"), ("--drop-layer", "-4"),
        ("--platform", "linux/amd64", "--all-platforms", "--user", "7"),
    ],
)  # fmt: skip
def test_words_that_mean_nothing_are_usage_errors(ocitool: Run, layout: Path, tmp_path: Path, words: tuple[str, ...]) -> None:
    result = ocitool("edit", layout, f"oci:{tmp_path / 'd'}", *words)
    assert (2, False) == (result.code, (tmp_path / "d").exists()), str(result)


def test_help_shows_every_flag_and_examples(ocitool: Run) -> None:
    said = ocitool("edit", "--help").out
    flags = ["env", "label", "expose", "volume", "cmd", "entrypoint"]
    more = ["user", "workdir", "unset-healthcheck", "stop-signal", "created", "annotation", "rm", "add", "drop-layer", "layer"]
    for flag in [*flags, *(f"unset-{flag}" for flag in flags), *more]:
        assert f"--{flag} " in said
    assert "Examples:" in said


# --rm


def test_a_removed_path_is_in_no_layer_with_its_hard_links(ocitool: Run, layout: Path, tmp_path: Path) -> None:
    made, report, said = edited(ocitool, layout, tmp_path / "d", "--rm", "/etc/token")
    assert not any(SECRET in tar for tar in made.tars)
    assert ["etc", "srv", "srv/a"] == made.names(1)
    assert ["etc", "srv", "srv/b"] == made.names(2)
    assert ["kept", "rewritten", "rewritten"] == [layer["origin"] for layer in report["images"][0]["layers"]]
    assert LOWER == made.tars[0]
    assert "/etc/other is out of layer 1" in said and "/etc/token is out of layers 1, 2" in said
    assert ["/etc/token"] == report["details"]["removed"]


def test_the_other_entries_of_the_layer_are_as_they_were(ocitool: Run, layout: Path, tmp_path: Path) -> None:
    made, _, _ = edited(ocitool, layout, tmp_path / "d", "--rm", "etc/token")
    assert layer_tar([("etc/", None), ("srv/", None), ("srv/a", b"a")]) == made.tars[1]


def test_a_removed_directory_goes_with_all_below(ocitool: Run, layout: Path, tmp_path: Path) -> None:
    made, _, _ = edited(ocitool, layout, tmp_path / "d", "--rm", "/etc")
    assert [["bin", "bin/sh"], ["srv", "srv/a"], ["srv", "srv/b"]] == [made.names(n) for n in range(3)]


def test_a_path_through_a_link_is_the_one_that_it_leads_to(ocitool: Run, tmp_path: Path) -> None:
    tars = [layer_tar([("usr/lib/", None), ("usr/lib/x", SECRET), ("lib", "link:usr/lib")]), layer_tar([("lib/x", SECRET * 2)])]
    source = write_layout(tmp_path / "src", [image(tars)])
    result = ocitool("edit", source, f"oci:{tmp_path / 'd'}", "--rm", "/lib/x")
    assert 0 == result.code, str(result)
    made = Written(tmp_path / "d")
    assert not any(SECRET in tar for tar in made.tars)
    assert "usr/lib" in made.names(0) and "lib" in made.names(0)


@pytest.mark.parametrize("codec", ["none", "gzip", "zstd"])
def test_a_layer_made_again_keeps_its_codec(ocitool: Run, tmp_path: Path, codec: str) -> None:
    source = write_layout(tmp_path / "src", [image(TARS, codec=codec)])
    made, _, _ = edited(ocitool, source, tmp_path / "d", "--rm", "/etc/token")
    types = [layer["mediaType"] for layer in Written(source).manifest["layers"]]
    assert types == [layer["mediaType"] for layer in made.manifest["layers"]]
    magic = {"gzip": b"\x1f\x8b", "zstd": b"\x28\xb5\x2f\xfd", "none": b"etc"}[codec]
    assert all(data.startswith(magic) for data in made.layers[1:])
    assert 0 == ocitool("cat", tmp_path / "d", "/srv/a").code


def test_a_path_that_no_layer_carries_is_not_found_and_nothing_is_written(ocitool: Run, layout: Path, tmp_path: Path) -> None:
    result = ocitool("edit", layout, f"oci:{tmp_path / 'd'}", "--rm", "/etc/token", "--rm", "/etc/none")
    assert (3, False) == (result.code, (tmp_path / "d").exists())
    assert "/etc/none" in result.err


def test_the_same_content_elsewhere_is_named_and_exit_code_1(ocitool: Run, tmp_path: Path) -> None:
    copy = layer_tar([("opt/", None), ("opt/copy", SECRET), ("opt/link", "hard:opt/copy"), ("opt/no", SECRET[:-1] + b"!")])
    source = write_layout(tmp_path / "src", [image([*TARS, copy])])
    made, report, said = edited(ocitool, source, tmp_path / "d", "--rm", "/etc/token", code=1)
    assert [{"layer": 3, "path": "/opt/copy"}] == report["details"]["sameContent"]
    assert "ocitool: error: what --rm took out still stands in layer 3 (/opt/copy)" in said and "--rm-content" in said
    assert "/opt/copy" in ocitool("edit", source, tmp_path / "q.tar", "--rm", "/etc/token", "--quiet").err
    assert not any(SECRET in tar for tar in made.tars[:3])
    made, report, _ = edited(ocitool, source, tmp_path / "e", "--rm", "/etc/token", "--rm-content")
    assert not any(SECRET in tar for tar in made.tars)
    assert [] == report["details"]["sameContent"]
    assert ["opt", "opt/no"] == made.names(3)


def test_another_version_of_a_file_with_that_content_stays(ocitool: Run, tmp_path: Path) -> None:
    tars = [layer_tar([("a", SECRET), ("b", SECRET)]), layer_tar([("b", b"harmless")])]
    source = write_layout(tmp_path / "src", [image(tars)])
    made, _, _ = edited(ocitool, source, tmp_path / "d", "--rm", "/a", "--rm-content")
    assert [[], ["b"]] == [made.names(0), made.names(1)]


def test_a_hidden_version_does_not_come_back_with_a_removed_link(ocitool: Run, tmp_path: Path) -> None:
    tars = [layer_tar([("b", b"old")]), layer_tar([("a", SECRET), ("b", "hard:a")])]
    made, _, _ = edited(ocitool, write_layout(tmp_path / "src", [image(tars)]), tmp_path / "d", "--rm", "/a")
    assert 3 == ocitool("cat", tmp_path / "d", "/b").code
    assert [["b"], [".wh.b"]] == [made.names(0), made.names(1)]


def test_empty_files_are_no_content(ocitool: Run, tmp_path: Path) -> None:
    source = write_layout(tmp_path / "src", [image([layer_tar([("a", b""), ("b", b"")])])])
    edited(ocitool, source, tmp_path / "d", "--rm", "/a")


def test_where_the_configuration_speaks_of_a_removed_path_is_named_without_its_text(ocitool: Run, tmp_path: Path) -> None:
    history = [{"created_by": f"RUN step {n}"} for n in range(3)]
    history[1]["created_by"] = "COPY token /etc/token # pw=hunter3"
    config = {"Env": ["TOKEN_FILE=/etc/token", "B=tokens"], "Cmd": ["cat", "/etc/token"]}
    source = write_layout(tmp_path / "src", [_with(TARS, history, config)])
    _, report, said = edited(ocitool, source, tmp_path / "d", "--rm", "/etc/token")
    texts = [notice["text"].partition(": ")[2] for notice in report["notices"] if notice["code"] == "mention"]
    assert [
        "history[1] mentions /etc/token", "config.Env (TOKEN_FILE) mentions /etc/token", "config.Cmd mentions /etc/token",
    ] == texts  # fmt: skip
    assert "hunter3" not in said


def _with(tars: list[bytes], history: list[Any], config: dict[str, Any]) -> Image:
    return image(tars, config=pretty({**config_of(tars), "history": history, "config": config}))


def test_a_layout_that_still_holds_the_old_layers_is_named(ocitool: Run, layout: Path) -> None:
    result = ocitool("edit", f"{layout}:app", f"oci:{layout}:clean", "--rm", "/etc/token", "--format", "json")
    (text,) = [notice["text"] for notice in report_of(result)["notices"] if notice["code"] == "remains"]
    assert f"ocitool layout gc {layout}" in text and f"after ocitool layout rm {layout} app" in text
    result = ocitool("edit", f"{layout}:app", f"oci:{layout}:app", "--rm", "/etc/token", "--format", "json")
    (text,) = [notice["text"] for notice in report_of(result)["notices"] if notice["code"] == "remains"]
    assert f"ocitool layout gc {layout} frees them now" in text


def test_a_new_layout_holds_nothing_of_what_was_removed(ocitool: Run, layout: Path, tmp_path: Path) -> None:
    _, report, _ = edited(ocitool, layout, tmp_path / "d", "--rm", "/etc/token")
    assert [] == [notice for notice in report["notices"] if notice["code"] == "remains"]
    assert not _holds(tmp_path / "d", SECRET)


@pytest.mark.parametrize("tag", ["app", "clean"])
def test_after_gc_the_layout_itself_holds_nothing_of_what_was_removed(ocitool: Run, layout: Path, tag: str) -> None:
    result = ocitool("edit", f"{layout}:app", f"oci:{layout}:{tag}", "--rm", "/etc/token")
    assert 0 == result.code, str(result)
    assert _holds(layout, SECRET)
    if tag != "app":
        assert 0 == ocitool("layout", "rm", layout, "app").code
    assert 0 == ocitool("layout", "gc", layout).code
    assert not _holds(layout, SECRET)
    assert b"a" == ocitool("cat", layout, "/srv/a").stdout


def _holds(layout: Path, text: bytes) -> bool:
    """Whether any file of a layout has the text, unpacked or as it stands."""
    found = [path.read_bytes() for path in layout.rglob("*") if path.is_file()]
    return any(text in data or (data[:2] == b"\x1f\x8b" and text in gzip.decompress(data)) for data in found)


# What is written, and from where


def test_compression_is_of_every_layer_once(ocitool: Run, layout: Path, tmp_path: Path) -> None:
    made, report, _ = edited(ocitool, layout, tmp_path / "d", "--rm", "/etc/token", "--compression", "zstd")
    assert all(data.startswith(b"\x28\xb5\x2f\xfd") for data in made.layers)
    assert ["rewritten"] * 3 == [layer["origin"] for layer in report["images"][0]["layers"]]


def test_layers_that_the_source_lacks_come_from_with(ocitool: Run, layout: Path, tmp_path: Path) -> None:
    full = write_layout(tmp_path / "full", [image(TARS, tag="app")])
    first = Written(layout).manifest["layers"][0]["digest"]
    (layout / "blobs" / first.replace(":", "/")).unlink()
    result = ocitool("edit", layout, f"oci:{tmp_path / 'x'}", "--user", "7")
    assert (3, False) == (result.code, (tmp_path / "x").exists()), str(result)
    made, _, _ = edited(ocitool, layout, tmp_path / "d", "--user", "7", "--with", str(full))
    assert 3 == len(made.layers)


def test_a_layout_that_has_the_layers_needs_no_source_of_them(ocitool: Run, layout: Path, tmp_path: Path) -> None:
    full = write_layout(tmp_path / "full", [image(TARS, tag="app")])
    first = Written(layout).manifest["layers"][0]["digest"]
    (layout / "blobs" / first.replace(":", "/")).unlink()
    assert 0 == ocitool("edit", layout, f"oci:{full}:new", "--user", "7").code
    assert "7" == Written(full, "new").config["config"]["User"]


def test_standard_output_takes_the_image_and_standard_error_the_report(ocitool: Run, layout: Path, tmp_path: Path) -> None:
    result = ocitool("edit", layout, "-", "--user", "7", "--tag", "example.test/a:1")
    (tmp_path / "o.tar").write_bytes(result.stdout)
    assert (0, 0) == (result.code, ocitool("validate", tmp_path / "o.tar").code)
    assert "3 kept" in result.err


# --add


@pytest.fixture
def host(tmp_path: Path) -> Path:
    root = tmp_path / "host"
    (root / "tree" / "sub").mkdir(parents=True)
    (root / "file").write_bytes(b"from the host")
    (root / "file").chmod(0o750)
    os.utime(root / "file", (1_600_000_000, 1_600_000_000))
    (root / "tree" / "sub" / "one").write_bytes(b"1")
    os.link(root / "tree" / "sub" / "one", root / "tree" / "two")
    os.symlink("/nowhere", root / "tree" / "link")
    return root


def test_a_file_is_added_to_the_top_layer_as_roots(ocitool: Run, layout: Path, host: Path, tmp_path: Path) -> None:
    made, report, _ = edited(ocitool, layout, tmp_path / "d", "--add", f"{host}/file:/opt/new/file")
    assert ["kept", "kept", "rewritten"] == [layer["origin"] for layer in report["images"][0]["layers"]]
    assert [*("etc", "etc/token", "srv", "srv/b"), "opt", "opt/new", "opt/new/file"] == made.names(2)
    found = made.member(2, "opt/new/file")
    assert (0, 0, 0o750, 1_600_000_000) == (found.uid, found.gid, found.mode, found.mtime)
    assert b"from the host" == ocitool("cat", tmp_path / "d", "/opt/new/file").stdout


def test_a_directory_is_added_with_links_and_all(ocitool: Run, layout: Path, host: Path, tmp_path: Path) -> None:
    made, _, _ = edited(ocitool, layout, tmp_path / "d", "--add", f"{host}/tree:/t")
    assert ["t", "t/link", "t/sub", "t/sub/one", "t/two"] == sorted(name for name in made.names(2) if name[0] == "t")
    kinds = {name: made.member(2, name) for name in ("t/link", "t/sub/one", "t/two")}
    assert "/nowhere" == kinds["t/link"].linkname
    assert {True, False} == {kinds["t/two"].islnk(), kinds["t/sub/one"].islnk()}
    assert b"1" == ocitool("cat", tmp_path / "d", "/t/two").stdout


def test_a_trailing_slash_adds_into_a_directory(ocitool: Run, layout: Path, host: Path, tmp_path: Path) -> None:
    made, _, _ = edited(ocitool, layout, tmp_path / "d", "--add", f"{host}/file:/srv/")
    assert "srv/file" in made.names(2)


def test_source_date_epoch_is_the_latest_time(ocitool: Run, layout: Path, host: Path, tmp_path: Path) -> None:
    env = {"SOURCE_DATE_EPOCH": "1500000000"}
    made, _, _ = edited(ocitool, layout, tmp_path / "d", "--add", f"{host}/file:/x", "--add", f"{host}/tree:/t", env=env)
    assert {1_500_000_000} == {made.member(2, name).mtime for name in made.names(2) if name[0] in "xt"}


def test_parents_are_listed_with_the_attributes_that_they_have(ocitool: Run, host: Path, tmp_path: Path) -> None:
    tars = [layer_tar([entry("tmp/", None, mode=0o1777, uid=5, mtime=7 * 10**9)]), layer_tar([("x", b"")])]
    source = write_layout(tmp_path / "src", [image(tars)])
    made, _, _ = edited(ocitool, source, tmp_path / "d", "--add", f"{host}/file:/tmp/f")
    found = made.member(1, "tmp")
    assert (0o1777, 5, 7) == (found.mode, found.uid, found.mtime)


def test_a_file_replaces_another_in_its_layer_and_its_old_links_keep_the_old_content(
    ocitool: Run, host: Path, tmp_path: Path
) -> None:
    tars = [layer_tar([("a", b"old"), ("b", "hard:a")])]
    source = write_layout(tmp_path / "src", [image(tars)])
    made, _, _ = edited(ocitool, source, tmp_path / "d", "--add", f"{host}/file:/a")
    assert [b"from the host", b"old"] == [ocitool("cat", tmp_path / "d", name).stdout for name in ("a", "b")]
    assert ["a", "b"] == sorted(made.names(0))


def test_a_lower_layer_takes_what_no_upper_one_hides(ocitool: Run, layout: Path, host: Path, tmp_path: Path) -> None:
    made, report, _ = edited(ocitool, layout, tmp_path / "d", "--add", f"{host}/file:/bin/new", "--layer", "0")
    assert "bin/new" in made.names(0)
    assert ["rewritten", "kept", "kept"] == [layer["origin"] for layer in report["images"][0]["layers"]]
    result = ocitool("edit", layout, tmp_path / "x.tar", "--add", f"{host}/file:/srv/b", "--layer", "0")
    assert (2, True) == (result.code, "layer 2 hides it" in result.err and "--layer 2" in result.err), str(result)


@pytest.mark.parametrize("over", [("srv/.wh.new", b""), ("srv", b"a file"), ("srv/.wh..wh..opq", b""), ("srv", "link:etc")])
def test_what_an_upper_layer_hides_cannot_be_added_below(
    ocitool: Run, host: Path, tmp_path: Path, over: tuple[str, bytes | str]
) -> None:
    tars = [layer_tar([("etc/", None), ("srv/", None)]), layer_tar([over])]
    source = write_layout(tmp_path / "src", [image(tars)])
    result = ocitool("edit", source, tmp_path / "x.tar", "--add", f"{host}/file:/srv/new", "--layer", "0")
    assert (2, False) == (result.code, (tmp_path / "x.tar").exists()), str(result)


def test_nothing_is_added_through_a_link(ocitool: Run, host: Path, tmp_path: Path) -> None:
    source = write_layout(tmp_path / "src", [image([layer_tar([("usr/lib/", None), ("lib", "link:usr/lib")])])])
    result = ocitool("edit", source, tmp_path / "x.tar", "--add", f"{host}/file:/lib/new")
    assert (2, True) == (result.code, "a link to usr/lib" in result.err)


def test_a_file_does_not_take_a_directorys_place(ocitool: Run, layout: Path, host: Path, tmp_path: Path) -> None:
    assert 2 == ocitool("edit", layout, tmp_path / "x.tar", "--add", f"{host}/file:/etc").code


@pytest.mark.parametrize("words", [("--add", "{host}/none:/x")])
def test_what_is_not_on_the_host_is_not_found(
    ocitool: Run, layout: Path, host: Path, tmp_path: Path, words: tuple[str, ...]
) -> None:
    assert 3 == ocitool("edit", layout, tmp_path / "x.tar", *(word.format(host=host) for word in words)).code


def test_one_edit_may_remove_and_add_the_same_path(ocitool: Run, layout: Path, host: Path, tmp_path: Path) -> None:
    words = ("--rm", "/etc/token", "--add", f"{host}/file:/etc/token", "--layer", "1")
    made, _, _ = edited(ocitool, layout, tmp_path / "d", *words)
    assert b"from the host" == ocitool("cat", tmp_path / "d", "/etc/token").stdout
    assert not any(SECRET in tar for tar in made.tars)


def test_what_a_layer_cannot_hold_is_refused_and_nothing_written(
    ocitool: Run, layout: Path, host: Path, tmp_path: Path
) -> None:
    (host / "tree" / ".wh.x").write_bytes(b"")
    os.mkfifo(host / "pipe")
    for source, code in ((host / "tree", 4), (host / "pipe", 2)):
        result = ocitool("edit", layout, tmp_path / "x.tar", "--add", f"{source}:/t")
        assert (code, False) == (result.code, (tmp_path / "x.tar").exists()), str(result)


def test_links_in_an_added_directory_are_not_followed(ocitool: Run, layout: Path, host: Path, tmp_path: Path) -> None:
    os.symlink(host / "file", host / "tree" / "to-file")
    os.symlink("/", host / "tree" / "to-root")
    made, _, _ = edited(ocitool, layout, tmp_path / "d", "--add", f"{host}/tree:/t")
    assert all(made.member(2, f"t/{name}").issym() for name in ("to-file", "to-root"))
    assert 5 + 2 == len([name for name in made.names(2) if name.startswith("t")])


# Hostile layers


def test_an_entry_that_leaves_the_root_is_refused_where_layers_are_opened(ocitool: Run, tmp_path: Path) -> None:
    source = write_layout(tmp_path / "src", [image([layer_tar([("a", b"x"), ("../out", b"y")])])])
    assert 0 == ocitool("edit", source, tmp_path / "a.tar", "--user", "7").code
    result = ocitool("edit", source, tmp_path / "b.tar", "--rm", "/a")
    assert (6, False) == (result.code, (tmp_path / "b.tar").exists()), str(result)


def test_a_layer_that_is_not_what_it_is_said_to_be_is_not_made_again(ocitool: Run, layout: Path, tmp_path: Path) -> None:
    one = image(TARS)
    one.config = one.config.replace(sha256(MIDDLE).encode(), sha256(b"other").encode())
    one.manifest["config"].update(digest=sha256(one.config), size=len(one.config))
    source = write_layout(tmp_path / "wrong", [one])
    result = ocitool("edit", source, f"oci:{tmp_path / 'd'}", "--rm", "/etc/token")
    assert (5, False) == (result.code, (tmp_path / "d").exists()), str(result)


# --drop-layer


def test_a_dropped_layer_goes_with_its_history(ocitool: Run, tmp_path: Path) -> None:
    history = [{"created_by": "0"}, {"created_by": "e", "empty_layer": True}, {"created_by": "1"}, {"created_by": "2"}]
    source = write_layout(tmp_path / "src", [image(TARS, history=history)])
    made, report, _ = edited(ocitool, source, tmp_path / "d", "--drop-layer", "1")
    assert [LOWER, UPPER] == made.tars
    assert [sha256(LOWER), sha256(UPPER)] == made.config["rootfs"]["diff_ids"]
    assert ["0", "e", "2"] == [item["created_by"] for item in made.config["history"]]
    assert ["kept", "kept"] == [layer["origin"] for layer in report["images"][0]["layers"]]


def test_numbers_of_dropped_layers_count_in_the_source(ocitool: Run, layout: Path, tmp_path: Path) -> None:
    made, _, _ = edited(ocitool, layout, tmp_path / "d", "--drop-layer", "0", "--drop-layer", "-1", "--drop-layer", "2")
    assert [MIDDLE] == made.tars
    none, _, _ = edited(ocitool, layout, tmp_path / "e", "--drop-layer", "0", "--drop-layer", "1", "--drop-layer", "2")
    assert [] == none.tars == none.config["history"]


def test_a_link_whose_target_is_dropped_is_named(ocitool: Run, tmp_path: Path) -> None:
    source = write_layout(tmp_path / "src", [image([layer_tar([("a", b"x")]), layer_tar([("b", "hard:a")])])])
    result = ocitool("edit", source, tmp_path / "d.tar", "--drop-layer", "0")
    assert (0, True) == (result.code, "the hard link /b has no target any more" in result.err)
    lost = layer_tar([("c", "hard:nothing")])
    source = write_layout(tmp_path / "src2", [image([layer_tar([("a", b"x")]), lost])])
    result = ocitool("edit", source, tmp_path / "e.tar", "--drop-layer", "0")
    assert (0, False) == (result.code, "the hard link" in result.err)


def test_dropping_removing_and_adding_count_layers_alike(ocitool: Run, layout: Path, host: Path, tmp_path: Path) -> None:
    words = ("--drop-layer", "0", "--rm", "/etc/token", "--add", f"{host}/file:/srv/new", "--layer", "1")
    made, report, _ = edited(ocitool, layout, tmp_path / "d", *words)
    assert [["etc", "srv", "srv/a", "srv/new"], ["etc", "srv", "srv/b"]] == [made.names(0), made.names(1)]
    assert 2 == len(report["images"][0]["layers"])
    words = ("--drop-layer", "0", "--add", f"{host}/file:/x", "--layer", "0")
    assert 2 == ocitool("edit", layout, tmp_path / "x.tar", *words).code


# Indexes


@pytest.fixture
def multi(tmp_path: Path) -> Path:
    """Two platforms, an attestation of each, and an unrelated artifact, in one index; a signature of the first beside it."""
    amd = image([LOWER, MIDDLE], platform={"os": "linux", "architecture": "amd64"})
    arm = image([LOWER, UPPER], platform={"os": "linux", "architecture": "arm64"}, architecture="arm64")
    about = [_attestation(amd, "1"), _attestation(arm, "2")]
    other = image([], config=b'{"x":1}')
    other.manifest["config"]["mediaType"] = "application/x-thing"
    raw = pretty(index_of([one.descriptor for one in (amd, arm, *about, other)]))
    blobs = {sha256(raw): raw}
    for one in (amd, arm, *about, other):
        blobs.update(one.blobs)
    signature = image([], config=b'{"s":1}', tag="sha256-" + sha256(raw)[7:] + ".sig")
    signature.manifest["artifactType"] = "application/x-signature"
    top = {"mediaType": "application/vnd.oci.image.index.v1+json", "digest": sha256(raw), "size": len(raw),
           "annotations": {"org.opencontainers.image.ref.name": "app"}}  # fmt: skip
    signature.extra = blobs
    return write_layout(tmp_path / "multi", [signature], index=index_of([top, signature.descriptor]))


def _attestation(about: Image, salt: str) -> Image:
    made = image([], config=pretty({"salt": salt}), platform={"os": "unknown", "architecture": "unknown"})
    made.annotations = {"vnd.docker.reference.digest": about.digest, "vnd.docker.reference.type": "attestation-manifest"}
    return made


def test_every_image_of_an_index_is_edited_and_attestations_go(ocitool: Run, multi: Path, tmp_path: Path) -> None:
    words = ("--all-platforms", "--env", "A=b")
    result = ocitool("edit", f"{multi}:app", f"oci:{tmp_path / 'd'}", *words, "--format", "json")
    report = report_of(result)
    made = Written(tmp_path / "d", "app")
    before = Written(multi, "app").manifest["manifests"]
    entries = made.manifest["manifests"]
    assert [one.get("platform") for one in before[:2]] == [one.get("platform") for one in entries[:2]]
    assert before[4] == entries[2] and 3 == len(entries)
    for one in entries[:2]:
        assert "A=b" in made.document(made.document(one["digest"])["config"]["digest"])["config"]["Env"]
    assert 2 == len(report["images"])
    codes = [notice["code"] for notice in report["notices"]]
    assert (2, 1) == (codes.count("attestation"), codes.count("referrer")), str(result)


def test_attestations_of_images_that_did_not_change_stay(ocitool: Run, multi: Path, tmp_path: Path) -> None:
    words = ("--all-platforms", "--rm", "/etc/other")
    result = ocitool("edit", f"{multi}:app", f"oci:{tmp_path / 'd'}", *words, "--format", "json")
    report_of(result)
    before, after = (Written(path, "app").manifest["manifests"] for path in (multi, tmp_path / "d"))
    assert before[0]["digest"] != after[0]["digest"]
    assert [before[1], before[3], before[4]] == after[1:]


def test_a_path_that_no_platform_has_is_not_found(ocitool: Run, multi: Path, tmp_path: Path) -> None:
    assert 3 == ocitool("edit", f"{multi}:app", f"oci:{tmp_path / 'd'}", "--all-platforms", "--rm", "/none").code


def test_one_platform_of_an_index_is_said_to_be_all_that_is_left(ocitool: Run, multi: Path, tmp_path: Path) -> None:
    words = ("--platform", "linux/arm64", "--user", "7")
    made, _, said = edited(ocitool, f"{multi}:app", tmp_path / "d", *words)
    assert ("arm64", "7") == (made.config["architecture"], made.config["config"]["User"])
    assert "only linux/arm64 is written; --all-platforms takes all" in said


def test_an_artifact_cannot_be_edited(ocitool: Run, tmp_path: Path) -> None:
    one = image([], config=b"{}", tag="t")
    one.manifest["config"]["mediaType"] = "application/x-thing"
    source = write_layout(tmp_path / "src", [one])
    assert 2 == ocitool("edit", source, tmp_path / "d.tar", "--user", "7").code


def test_the_same_edit_gives_the_same_archive(ocitool: Run, layout: Path, host: Path, tmp_path: Path) -> None:
    words = ("--rm", "/etc/token", "--add", f"{host}/tree:/t", "--env", "A=b", "--tag", "example.test/a:1")
    found = set()
    for n in range(2):
        path = tmp_path / f"{n}.tar"
        env = {"SOURCE_DATE_EPOCH": "1714564800"}
        result = ocitool("edit", layout, path, *words, "--jobs", str(1 + 3 * n), env=env)
        assert 0 == result.code, str(result)
        found.add(hashlib.sha256(path.read_bytes()).digest())
    assert 1 == len(found)


def test_a_removal_leaves_a_record_that_names_no_path_and_is_the_same_each_time(
    ocitool: Run, layout: Path, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        report_of(ocitool("edit", layout, f"oci:{tmp_path}/{name}", "--rm", "/etc/other", "--format", "json"), 0, 1)
    (*before, record) = Written(tmp_path / "one").config["history"]
    assert Written(layout).config["history"] == before
    assert ("ocitool edit --rm", True) == (record["created_by"], record["empty_layer"])
    assert "other" not in record["comment"]
    assert Written(tmp_path / "one").descriptor["digest"] == Written(tmp_path / "two").descriptor["digest"]


def test_an_image_that_lacks_the_path_gets_no_record(ocitool: Run, tmp_path: Path) -> None:
    amd, arm = {"os": "linux", "architecture": "amd64"}, {"os": "linux", "architecture": "arm64"}
    images = [image([MIDDLE], platform=amd), image([LOWER], platform=arm, architecture="arm64")]
    source = write_layout(tmp_path / "src", images, index=index_of([{**one.descriptor} for one in images]))
    (tmp_path / "host").write_bytes(b"new")
    words = ("--all-platforms", "--rm", "/etc/token", "--add", f"{tmp_path / 'host'}:/new")
    report = report_of(ocitool("edit", source, f"oci:{tmp_path}/out", *words, "--format", "json"), 0, 1)
    records = []
    for one in report["images"]:
        config = json.loads((tmp_path / "out/blobs" / one["imageId"].replace(":", "/")).read_bytes())
        records.append([entry for entry in config["history"] if entry.get("created_by") == "ocitool edit --rm"])
    assert [1, 0] == [len(found) for found in records]
