"""`ocitool diff`: renames, and groups of what happened to many files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.images import AnyEntry, entry, image, layer_tar, write_docker_archive, write_layout
from support.report import report_of

Run = Callable[..., Any]
Layers = Sequence[Sequence[AnyEntry]]
BIG = [bytes([letter]) * 100 for letter in b"abcdefghijkl"]


@pytest.fixture
def json_of(ocitool: Run, tmp_path: Path) -> Callable[..., Any]:
    """The JSON report on two images, each given by its layers' entries."""

    def compare(a: Layers, b: Layers, *words: str, codec: str = "none") -> Any:
        sides = []
        for name, layers in (("a", a), ("b", b)):
            made = image([layer_tar(entries) for entries in layers], codec=codec, tag=f"{name}:1")
            path = tmp_path / name
            sides.append(write_docker_archive(path, [made]) if codec == "none" else write_layout(path, [made]))
        return report_of(ocitool("diff", "--no-cache", "--format", "json", *words, *sides), 1)

    return compare


def renames(report: Any) -> dict[str, str]:
    return {item["path"]: item["renamedFrom"] for item in report["files"] if item["renamedFrom"]}


# Renames


@pytest.mark.parametrize("codec", ["none", "gzip"])
def test_a_renamed_file_is_found_by_its_content(json_of: Any, codec: str) -> None:
    report = json_of([[("old.conf", BIG[0]), ("k", BIG[1])]], [[("k", BIG[1]), ("new.conf", BIG[0])]], codec=codec)
    assert renames(report) == {"/new.conf": "/old.conf"} and report["summary"]["renamed"] == 1
    assert [(item["path"], item["kind"], item["group"]) for item in report["files"]] == [
        ("/new.conf", "added", 0), ("/old.conf", "removed", 0),
    ]  # fmt: skip
    (group,) = report["groups"]
    assert (group["kind"], group["path"], group["renamedFrom"], group["span"]) == ("renamed", "/new.conf", "/old.conf", "path")
    assert (group["bytes"], group["sizeDelta"]) == (100, 0)


@pytest.mark.parametrize("codec", ["none", "gzip"])
def test_a_file_that_an_upper_layer_renames_in_its_base_is_found(json_of: Any, codec: str) -> None:
    base = [("opt/", None), ("opt/a", BIG[0])]
    report = json_of([base], [base, [("opt/.wh.a", b""), ("opt/b", BIG[0])]], codec=codec)
    assert renames(report) == {"/opt/b": "/opt/a"}


def test_a_moved_directory_takes_what_no_content_tells_with_it(json_of: Any) -> None:
    def tree(root: str, changed: bytes) -> list[AnyEntry]:
        return [(f"{root}/", None), (f"{root}/a", BIG[0]), (f"{root}/b", BIG[1]), (f"{root}/hard", f"hard:{root}/a"),
                (f"{root}/soft", f"link:/{root}/a"), (f"{root}/empty", b""), (f"{root}/c", changed)]  # fmt: skip

    report = json_of([tree("one", BIG[2])], [tree("two", BIG[3])])
    moved = ["", "/a", "/b", "/c", "/empty", "/hard", "/soft"]
    assert renames(report) == {f"/two{name}": f"/one{name}" for name in moved}
    (group,) = report["groups"]
    assert (group["path"], group["renamedFrom"], group["span"]) == ("/two", "/one", "tree")
    assert (group["files"], group["directories"]) == (6, 1)
    assert group["counts"] | {} == {
        "added": 7, "removed": 7, "modified": 0, "type": 0, "metadata": 0, "renamed": 7, "edited": 2,  # the link's target
    }  # fmt: skip
    assert group["bytes"] == 300


def test_a_directory_that_leaves_a_link_behind_is_found(json_of: Any) -> None:
    report = json_of([[("app/", None), ("app/x", BIG[0])]], [[("app", "link:app-2"), ("app-2/", None), ("app-2/x", BIG[0])]])
    assert renames(report) == {"/app-2": "/app", "/app-2/x": "/app/x"}
    assert [(g["kind"], g["path"]) for g in report["groups"]] == [("renamed", "/app-2"), ("type", "/app")]


def test_a_file_that_takes_the_place_of_a_link_is_renamed_and_of_another_type(ocitool: Run, tmp_path: Path) -> None:
    old: list[AnyEntry] = [("python", "link:python3"), ("python3", BIG[0])]
    sides = [
        write_layout(tmp_path / name, [image([layer_tar(entries)])])
        for name, entries in (("a", old), ("b", [("python", BIG[0])]))
    ]
    rows = [line.split() for line in ocitool("diff", *sides).out.splitlines() if line.startswith(("  R  ", "  T  "))]
    assert [["R", "/python", "layer", "0", "from", "/python3"], ["T", "/python"]] == [rows[0], rows[1][:2]]


def test_copies_of_one_content_are_told_apart_by_name_and_directory(json_of: Any) -> None:
    report = json_of(
        [[("p/x/LICENSE", BIG[0]), ("p/y/LICENSE", BIG[0]), ("p/x/code", BIG[1]), ("p/NOTICE", BIG[0])]],
        [[("q/x/LICENSE", BIG[0]), ("q/y/LICENSE", BIG[0]), ("q/x/code", BIG[1]), ("q/NOTICE", BIG[0])]],
    )
    assert all(new == old.replace("/p", "/q", 1) for new, old in renames(report).items()) and len(renames(report)) == 7


def test_what_is_equal_by_chance_is_no_rename(json_of: Any) -> None:
    """Empty files, short contents, and licences of packages that came and went."""
    gone = [("old-a/LICENSE", BIG[0]), ("old-b/LICENSE", BIG[0]), ("one", b"1"), ("empty", b"")]
    came = [("new-a/LICENSE", BIG[0]), ("new-b/LICENSE", BIG[0]), ("uno", b"1"), ("void", b"")]
    assert renames(json_of([gone], [came])) == {}


def test_a_package_whose_licence_alone_is_that_of_another_did_not_move(json_of: Any) -> None:
    gone = [("a/", None), ("a/LICENSE", BIG[0]), ("a/index.js", BIG[1]), ("a/package.json", BIG[2])]
    came = [("b/", None), ("b/LICENSE", BIG[0]), ("b/index.js", BIG[3]), ("b/package.json", BIG[4])]
    assert renames(json_of([gone], [came])) == {"/b/LICENSE": "/a/LICENSE"}


def test_only_contents_of_sizes_that_pair_are_hashed(json_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from ocitool.trees import indexing

    hashed: list[list[str]] = []

    def count(index: Any, blob: Any, rows: Any, task: Any) -> Any:
        hashed.append([index.paths[row].decode() for row in rows])
        return hash_rows(index, blob, rows, task)

    hash_rows = indexing.hash_rows
    monkeypatch.setattr(indexing, "hash_rows", count)
    base = [("base", b"b" * 7)]
    gone, came = [("a", BIG[0]), ("b", b"1" * 101), ("k", b"k")], [("k", b"k"), ("x", BIG[0]), ("y", b"1" * 102)]
    assert renames(json_of([base, gone], [base, came])) == {"/x": "/a"}
    assert sorted(hashed) == [["a", "k"], ["k", "x"]]  # each layer once, the shared one never


def test_a_file_that_both_images_have_is_compared_with_the_hash_of_another_name(json_of: Any) -> None:
    base: list[AnyEntry] = [("x", b"1234"), ("y", "hard:x")]
    report = json_of([base], [base, [("y", b"5678")]])
    assert [(item["path"], item["fields"]) for item in report["files"]] == [("/x", ["links"]), ("/y", ["content", "links"])]


def test_directories_that_only_hostile_images_have_are_not_followed_but_their_files_are(json_of: Any) -> None:
    deep = "/".join(["d"] * 300)
    report = json_of([[(f"a/{deep}/f", BIG[0])]], [[(f"b/{deep}/f", BIG[0])]])
    assert renames(report) == {f"/b/{deep}/f": f"/a/{deep}/f"}


# Groups


def test_one_change_of_metadata_is_one_group(json_of: Any) -> None:
    def tree(mode: int, **more: int) -> list[AnyEntry]:
        return [entry(f"lib/d{n % 3}/f{n}", b"%03d" % n * 10, mode=mode, **more) for n in range(60)]

    report = json_of([tree(0o644)], [tree(0o644), tree(0o755)])
    (group,) = report["groups"]
    assert (group["kind"], group["path"], group["span"], group["files"]) == ("metadata", "/lib", "tree", 60)
    assert group["fields"] == [{"field": "mode", "before": "0644", "after": "0755"}]
    assert (group["bytes"], group["layer"]["index"]) == (60 * 30, 1)
    owner = json_of([tree(0o644)], [tree(0o644, uid=7, gid=8)])["groups"][0]
    assert owner["fields"] == [{"field": "uid", "before": 0, "after": 7}, {"field": "gid", "before": 0, "after": 8}]


@pytest.mark.parametrize(("directory", "span"), [("srv", "files"), ("usr/bin", "tree")])
def test_one_change_of_metadata_right_in_a_directory_of_the_system_is_one_group(
    directory: str, span: str, json_of: Any
) -> None:
    def tree(mode: int) -> list[AnyEntry]:
        return [entry(f"{directory}/f{n}", b"%03d" % n, mode=mode) for n in range(60)]

    (group,) = json_of([tree(0o644)], [tree(0o755)])["groups"]
    assert ("metadata", f"/{directory}", span, 60) == (group["kind"], group["path"], group["span"], group["files"])


def test_groups_are_in_the_order_of_their_bytes_and_name_the_largest_file(json_of: Any) -> None:
    def models(content: bytes, config: bytes) -> list[AnyEntry]:
        small = [(f"srv/models/part{n}", config + b"%02d" % n) for n in range(12)]
        return [("srv/models/weights", content * 9000), *small, ("etc/config.json", config)]

    report = json_of([models(b"1", b"{}")], [models(b"2", b"{   }")])
    first, second = report["groups"]
    assert (first["kind"], first["path"], first["files"], first["bytes"]) == ("modified", "/srv/models", 13, 9084)
    assert first["largest"] == {"path": "/srv/models/weights"}
    assert (second["path"], second["span"], second["bytes"]) == ("/etc/config.json", "path", 5)


def test_few_changes_are_listed_path_by_path(json_of: Any) -> None:
    paths = [f"/app/f{n}" for n in range(10)]
    report = json_of([[("k", b"k")]], [[("k", b"k"), *((path[1:], b"1" * n) for n, path in enumerate(paths[:9]))]])
    assert [group["path"] for group in report["groups"]] == [*reversed(paths[1:9]), "/app", "/app/f0"]
    report = json_of([[("k", b"k")]], [[("k", b"k"), *((path[1:], b"1") for path in paths)]])
    assert [(group["path"], group["counts"]["added"]) for group in report["groups"]] == [("/app", 11)]


def test_times_alone_are_the_last_group_of_their_layer(json_of: Any) -> None:
    late = 1_800_000_000_000_000_000
    report = json_of([[("a", b"1"), ("b", b"2")]], [[entry("a", b"1", mtime=late), ("b", b"3"), ("c", b"")]])
    assert [(group["kind"], group["path"]) for group in report["groups"]] == [
        ("modified", "/b"),
        ("added", "/c"),
        ("mtime", "/a"),
    ]


def test_what_does_not_fit_is_counted_and_all_lists_each_path(ocitool: Run, tmp_path: Path) -> None:
    paths = [f"opt/{n:02}/{m:02}" for n in range(30) for m in range(n + 1)]
    sides = []
    for name, more, time in (("a", b"", 0), ("b", b"!", 10**18)):
        tar = layer_tar([*((path, path.encode() + more) for path in paths), entry("etc/time", b"", mtime=time)])
        sides.append(write_layout(tmp_path / name, [image([tar])]))
    lines = ocitool("diff", *sides).out.splitlines()
    listed = [int(line.split("  ")[-1].split()[0]) for line in lines if line.startswith("  M  /opt/")]
    (rest,) = [int(line.split()[0]) for line in lines if line.endswith("more changes: --all lists them")]
    assert (30, len(paths) + 1, 24) == (listed[0], sum(listed) + rest, len(lines))
    every = ocitool("diff", "--all", *sides).out.splitlines()
    assert [f"/{path}" for path in paths] == [line.split()[1] for line in every if line.startswith("  M  /")]
