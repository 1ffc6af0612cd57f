"""`ocitool diff`: which changes are noise of the build, what they cost, and when they are none."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.images import AnyEntry, entry, image, layer_tar, write_layout, write_oci_archive
from support.report import report_of
from support.twice_built import BASE, FIRST, SECOND, built, pyc

Run = Callable[..., Any]
Pair = Callable[..., tuple[Path, Path]]


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    def make(old: list[AnyEntry], new: list[AnyEntry], base: bool = True) -> tuple[Path, Path]:
        low = [BASE] if base else []
        one, other = (image([*low, layer_tar(entries)], tag="app:1") for entries in (old, new))
        return write_layout(tmp_path / "a", [one]), write_layout(tmp_path / "b", [other])

    return make


OLD, NEW = built(FIRST), built(SECOND)


def classes(report: Any) -> dict[str, str]:
    return {item["path"]: item["volatile"] for item in report["files"] if item["volatile"] is not None}


def test_two_builds_of_one_file_differ_in_nothing_but_noise(pair: Pair, ocitool: Run) -> None:
    report = report_of(ocitool("diff", *pair(OLD, NEW), "--format", "json"), 1)
    assert {
        "/etc/shadow": "account-date", "/srv/__pycache__/a.cpython-311.pyc": "bytecode",
        "/var/cache/apt/pkgcache.bin": "apt-cache",
        "/var/log/apt/history.log": "package-log", "/var/log/dpkg.log": "package-log",
    } == classes(report)  # fmt: skip
    assert {item["path"] for item in report["files"]} - classes(report).keys() == {"/srv/a.py"}  # by its time alone
    assert [("apt-cache", 1, 30_000), ("package-log", 2, 43)] == [
        (one["class"], one["files"], one["bytes"]) for one in report["volatile"] if one["ignorePaths"]
    ]
    top = report["layers"][-1]["after"]
    assert {"layers": 1, "bytes": top["size"]} == report["summary"]["builtAlike"]


def test_the_first_line_says_that_all_of_it_is_volatile_and_rows_say_what_to_do(pair: Pair, ocitool: Run) -> None:
    shown = ocitool("diff", *pair(OLD, NEW)).out
    assert "5 files differ, all volatile; 1 path by modification time alone" in shown
    assert "volatile: because of these alone 1 layer" in shown
    assert "apt-cache" in shown and "RUN --mount=type=cache,target=/var/cache/apt" in shown
    assert "/var/log/dpkg.log\n" not in shown  # folded into its class
    whole = ocitool("diff", "--all", *pair(OLD, NEW)).out
    options = next(line for line in whole.splitlines() if "--ignore-path" in line)
    assert "--ignore-path '/var/cache/apt/**' --ignore-path '/var/log/apt/**' --ignore-path '/var/log/dpkg.log*'" in options
    assert "pyc" not in options and "shadow" not in options  # a path is not enough for them
    markdown = ocitool("diff", "--format", "markdown", *pair(OLD, NEW)).out
    assert "<summary>5 volatile files: because of these alone 1 layer" in markdown
    assert "| `rm -rf /var/log/apt /var/log/*.log` |" in markdown


def test_the_options_that_are_told_leave_these_files_out(pair: Pair, ocitool: Run) -> None:
    a, b = pair(OLD, NEW)
    report = report_of(ocitool("diff", a, b, "--format", "json"), 1)
    globs = [word for one in report["volatile"] for glob in one["ignorePaths"] for word in ("--ignore-path", glob)]
    left = report_of(ocitool("diff", a, b, *globs, "--format", "json"), 1)
    assert {"account-date", "bytecode"} == set(classes(left).values())


def test_without_volatile_files_two_builds_do_not_differ(pair: Pair, ocitool: Run) -> None:
    a, b = pair(OLD, NEW)
    report = report_of(ocitool("diff", a, b, "--semantic", "--ignore-volatile", "--format", "json"))
    assert (True, [], []) == (report["identical"], report["files"], report["volatile"])
    assert report["compared"]["ignoredVolatile"]
    assert "no file outside volatile paths differs" in ocitool("diff", a, b, "--semantic", "--ignore-volatile").out
    for options, code in (((), 1), (("--fail-on", "files"), 1), (("--ignore-volatile", "--fail-on", "files"), 0)):
        assert code == ocitool("diff", a, b, "--semantic", *options).code


def test_a_real_change_beside_noise_is_seen_and_ends_the_saving(pair: Pair, ocitool: Run) -> None:
    a, b = pair(OLD, [*NEW[1:], ("usr/lib/one", b"changed")])
    report = report_of(ocitool("diff", a, b, "--ignore-volatile", "--semantic", "--format", "json"), 1)
    assert ["/usr/lib/one"] == [item["path"] for item in report["files"]]
    shown = ocitool("diff", a, b).out
    assert "files: 6 modified, 1 with other metadata (1 by modification time alone, 5 volatile)" in " ".join(shown.split())
    assert "because of these alone" not in shown
    assert "/usr/lib/one" in shown


@pytest.mark.parametrize(
    "changed",
    [("var/log/x", entry("var/log/x", b"2", mode=0o755)), ("var/log/x", entry("var/log/x", b"2", uid=7)),
     ("var/log/x", entry("var/log/x", b"2", mode=0o4755)), ("var/log/x", ("var/log/x", "link:/etc/passwd")),
     ("var/cache/y.key", ("var/cache/y.key", b"2")),
     ("srv/b.pyc", ("srv/b.pyc", pyc(1, "other"))), ("etc/shadow", entry("etc/shadow", b"root::1:0:99999:7:::\n", mode=0o640))],
    ids=["program", "owner", "setuid", "link", "key", "code", "password"],
)  # fmt: skip
def test_what_is_more_than_noise_at_such_a_path_is_a_change(pair: Pair, ocitool: Run, changed: tuple[str, AnyEntry]) -> None:
    path, after = changed
    before = entry(
        path, pyc(2) if path.endswith("pyc") else b"root:*:1:0:99999:7:::\n", mode=0o640 if "shadow" in path else 0o644
    )
    report = report_of(ocitool("diff", *pair([before], [after]), "--format", "json"), 1)
    assert [("/" + path, None)] == [(item["path"], item["volatile"]) for item in report["files"]]


def test_a_part_of_the_files_says_nothing_about_layers(pair: Pair, ocitool: Run) -> None:
    a, b = pair(OLD, [*NEW[1:], ("usr/lib/one", b"changed")])
    for options in (("--path", "var"), ("--ignore-path", "usr"), ("--ignore", "content")):
        report = report_of(ocitool("diff", a, b, *options, "--format", "json"), 0, 1)
        assert {"layers": 0, "bytes": 0} == report["summary"]["builtAlike"]


def test_new_noise_is_counted_with_its_bytes(pair: Pair, ocitool: Run) -> None:
    lists = [("var/lib/apt/lists/", None), ("var/lib/apt/lists/all_Packages", b"x" * 1000)]
    report = report_of(ocitool("diff", *pair([("etc/x", b"")], [("etc/x", b""), *lists]), "--format", "json"), 1)
    assert ("apt-lists", 1000) == (report["volatile"][-1]["class"], report["volatile"][-1]["bytes"])
    assert "rm -rf /var/lib/apt/lists/*" == report["volatile"][-1]["advice"]


def test_a_file_of_a_layer_that_both_images_have_was_not_built_twice(pair: Pair, ocitool: Run, tmp_path: Path) -> None:
    """Only what was built again is read for its content: a compiled file that a new layer puts over an old one is a change."""
    low = layer_tar([("srv/a.pyc", pyc(1))])
    a = write_layout(tmp_path / "a", [image([low])])
    b = write_layout(tmp_path / "b", [image([low, layer_tar([("srv/a.pyc", pyc(2))])])])
    report = report_of(ocitool("diff", a, b, "--format", "json"), 1)
    assert {} == classes(report)


def databases(when: int, version: str) -> Iterator[AnyEntry]:
    yield "lib/apk/db/installed", f"P:musl\nV:{version}\nA:x86_64\nF:lib\nR:libc.musl\n\n".encode()
    yield "lib/apk/db/scripts.tar", b"%d" % when


@pytest.mark.parametrize(("version", "wanted"), [("1.2", {"/lib/apk/db/scripts.tar"}), ("1.3", set())])
def test_a_package_database_is_noise_only_if_no_package_changed(
    pair: Pair, ocitool: Run, version: str, wanted: set[str]
) -> None:
    a, b = pair(list(databases(1, "1.2")), list(databases(2, version)))
    report = report_of(ocitool("diff", a, b, "--format", "json"), 1)
    assert wanted == {path for path, name in classes(report).items() if name == "package-database"}


def test_a_database_that_cannot_be_read_is_a_change(pair: Pair, ocitool: Run) -> None:
    a, b = pair([("var/lib/rpm/rpmdb.sqlite", b"1")], [("var/lib/rpm/rpmdb.sqlite", b"2")])
    assert {} == classes(report_of(ocitool("diff", a, b, "--format", "json"), 1))


def test_all_platforms_have_their_noise(tmp_path: Path, ocitool: Run) -> None:
    for name, entries in (("a", OLD), ("b", NEW)):
        write_oci_archive(tmp_path / f"{name}.tar", [image([layer_tar(entries)], tag="x:1")])
    found = ocitool("diff", tmp_path / "a.tar", tmp_path / "b.tar", "--all-platforms", "--format", "json")
    report = json.loads(found.out)
    assert [5] == [len(classes(one["diff"])) for one in report["platforms"]]


@pytest.mark.parametrize("words", [(), ("--ignore-volatile",)])
def test_a_token_in_a_log_is_no_noise(words: tuple[str, ...], ocitool: Run, tmp_path: Path) -> None:
    token = b"Authorization: ghp_" + b"a1" * 18 + b"\n"
    a, b = (write_layout(tmp_path / name, [image([layer_tar([("var/log/x", log), ("var/log/y", log[:9])])])])
            for name, log in (("a", b"begun\n"), ("b", token)))  # fmt: skip
    report = report_of(ocitool("diff", "--format", "json", "--fail-on", "security", *words, a, b), 1)
    assert [("/var/log/x", "secret-content")] == [(one["path"], one["rule"]) for one in report["notable"]]
    assert ("/var/log/x", None) in {(one["path"], one.get("volatile")) for one in report["files"]}
