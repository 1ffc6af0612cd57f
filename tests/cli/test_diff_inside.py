"""`diff`: what changed inside archives, programs and databases, and when it is looked for."""

from __future__ import annotations

import gzip
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.images import AnyEntry, entry, image, layer_tar, write_layout
from support.programs import elf, go_info, modules_text, zipped
from support.report import report_of

Run = Callable[..., Any]


@pytest.fixture
def pair(tmp_path: Path) -> Callable[..., tuple[Path, Path]]:
    """Two layouts of images that share a layer, each with one more of these files."""

    def make(a: list[AnyEntry], b: list[AnyEntry]) -> tuple[Path, Path]:
        base = layer_tar([("etc/", None), ("base.jar", zipped({"a": b"1"}))])
        return tuple(  # type: ignore[return-value]
            write_layout(tmp_path / name, [image([base, layer_tar(files)])]) for name, files in (("a", a), ("b", b))
        )

    return make


def insides(report: Any) -> dict[str, Any]:
    return {item["path"]: item["inside"] for item in report["files"] if "inside" in item}


def program(version: str, text: bytes = b"code") -> bytes:
    info = go_info(b"go1.22.1", modules_text(f"mod\texample.com/app\t{version}", "build\tvcs.revision=" + version))
    return elf(extra={b".go.buildinfo": info}, text=text)


def database(path: Path, *statements: str) -> bytes:
    with sqlite3.connect(path) as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()
    return path.read_bytes()


def test_a_new_class_of_an_archive_is_named(ocitool: Run, pair: Any) -> None:
    a, b = pair(
        [("app.jar", zipped({"A.class": b"1", "B.class": b"2"}))], [("app.jar", zipped({"A.class": b"1", "C.class": b"22"}))]
    )
    report = report_of(ocitool("diff", "--format", "json", a, b), 1)
    found = insides(report)["/app.jar"]
    assert [("added", "C.class", None, 2), ("removed", "B.class", 1, None)] == [tuple(part.values()) for part in found["parts"]]
    assert ("a zip archive", "members", 1, 1, 0) == tuple(
        found[key] for key in ("format", "partsAre", "added", "removed", "modified")
    )
    text = ocitool("diff", a, b).out
    assert "/app.jar: a zip archive, members: 1 added, 1 removed" in text and "A C.class 2 B" in text
    assert "`C.class` 2 B" in ocitool("diff", "--format", "markdown", a, b).out


def test_a_program_tells_sections_and_what_go_recorded(ocitool: Run, pair: Any) -> None:
    a, b = pair([entry("app", program("v1"), mode=0o755)], [entry("app", program("v2", b"longer code"), mode=0o755)])
    found = insides(report_of(ocitool("diff", "--format", "json", a, b), 1))["/app"]
    facts = {one["name"]: (one["before"], one["after"]) for one in found["facts"]}
    assert {"main module": ("example.com/app v1", "example.com/app v2"), "build vcs.revision": ("v1", "v2")} == facts
    assert ("modified", ".text", 4, 11) in [tuple(part.values()) for part in found["parts"]]


def test_a_database_tells_its_pages_and_its_schema(ocitool: Run, pair: Any, tmp_path: Path) -> None:
    old = database(tmp_path / "1", "create table a(x)")
    new = database(tmp_path / "2", "create table a(x)", "create table b(x)", "insert into b values (randomblob(20000))")
    found = insides(report_of(ocitool("diff", "--format", "json", *pair([("x.db", old)], [("x.db", new)])), 1))["/x.db"]
    facts = {one["name"]: one["after"] for one in found["facts"]}
    assert ("an SQLite database", "2", True) == (found["format"], facts["version of the schema"], int(facts["pages"]) > 6)


def test_the_same_members_stored_otherwise_are_told_so(ocitool: Run, pair: Any) -> None:
    members = {"a": b"1" * 100, "b": b"2"}
    again = zipped(members, deflated=False)
    found = insides(report_of(ocitool("diff", "--format", "json", *pair([("x.jar", zipped(members))], [("x.jar", again)])), 1))
    assert found["/x.jar"]["same"].startswith("no member differs") and found["/x.jar"]["parts"] == []


@pytest.mark.parametrize(("name", "mode", "quick"), [
    ("app.jar", 0o644, True), ("app", 0o755, True), ("lib/x.so.6.1", 0o644, True), ("app", 0o644, False),
    ("x.txt", 0o644, False),
])  # fmt: skip
def test_only_likely_files_are_looked_into_unless_all_are_asked_for(
    ocitool: Run, pair: Any, name: str, mode: int, quick: bool
) -> None:
    files = [[entry(name, zipped({"a": content}), mode=mode)] for content in (b"1", b"2")]
    a, b = pair(*files)
    assert quick == bool(insides(report_of(ocitool("diff", "--format", "json", a, b), 1)))
    report = report_of(ocitool("diff", "--inside", "--format", "json", a, b), 1)
    assert (list(insides(report)), {"all": True, "leftOut": 0}) == ([f"/{name}"], report["inside"])


def test_a_file_of_a_shared_layer_is_looked_into_only_if_all_are_asked_for(ocitool: Run, pair: Any) -> None:
    a, b = pair([("other", b"")], [("base.jar", zipped({"a": b"2"}))])
    report = report_of(ocitool("diff", "--format", "json", a, b), 1)
    assert ({}, {"all": False, "leftOut": 1}) == (insides(report), report["inside"])
    assert ["/base.jar"] == list(insides(report_of(ocitool("diff", "--inside", "--format", "json", a, b), 1)))


def test_files_beyond_the_bytes_that_may_be_unpacked_are_counted(
    ocitool: Run, pair: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ocitool.comparison.inside import reading

    monkeypatch.setattr(reading, "QUICK_BYTES", 20_000)
    large = [bytes([number]) * 30_000 for number in range(2)]
    a, b = pair(
        *([("a.jar", zipped({"a": b"%d" % n})), ("b.jar", large[n]), ("c.jar", zipped({"c": b"%d" % n}))] for n in range(2))
    )
    report = report_of(ocitool("diff", "--format", "json", a, b), 1)
    assert (["/a.jar"], 2) == (list(insides(report)), report["inside"]["leftOut"])
    assert "2 changed files not looked into: --inside does" in ocitool("diff", a, b).out


def test_what_cannot_be_read_is_told_and_the_code_is_the_same(ocitool: Run, pair: Any) -> None:
    damaged = zipped({"a": b"1", "b": b"2"})
    a, b = pair([("x.jar", damaged)], [("x.jar", damaged[:-40] + damaged[-30:])])
    found = insides(report_of(ocitool("diff", "--format", "json", a, b), 1))["/x.jar"]
    assert "damaged" in found["note"] or "no directory" in found["note"]


def test_a_secret_in_a_setting_of_the_build_is_masked(ocitool: Run, pair: Any) -> None:
    def made(key: str) -> bytes:
        info = go_info(b"go1.22", modules_text("path\ta", f'build\t-ldflags="-X main.apiKey={key}"'))
        return elf(extra={b".go.buildinfo": info})

    keys = ("Zm9vYmFyYmF6cXV4", "cXV1eGNvcmdlZ3JhdWx0")
    a, b = pair(*([entry("app", made(key), mode=0o755)] for key in keys))
    for form in ("json", "text", "markdown"):
        out = ocitool("diff", "--format", form, a, b).out
        assert "-ldflags" in out and not any(key in out for key in keys), form


def test_names_with_several_links_are_looked_into_once(ocitool: Run, pair: Any) -> None:
    files = [[("x.jar", zipped({"a": c})), ("y.jar", "hard:x.jar")] for c in (b"1", b"2")]
    assert ["/x.jar"] == list(insides(report_of(ocitool("diff", "--format", "json", *pair(*files)), 1)))


def test_compressed_text_says_whether_its_content_changed(ocitool: Run, pair: Any) -> None:
    a, b = pair([("a.gz", gzip.compress(b"text", mtime=1))], [("a.gz", gzip.compress(b"text", mtime=2))])
    found = insides(report_of(ocitool("diff", "--format", "json", a, b), 1))["/a.gz"]
    facts = [("time in the header", "1970-01-01 00:00:01+00:00", "1970-01-01 00:00:02+00:00")]
    assert ([], facts) == (found["parts"], [tuple(one.values()) for one in found["facts"]])
    assert found["same"].startswith("no member differs")


def test_an_image_and_its_like_have_no_inside(ocitool: Run, testdata: Path) -> None:
    report = json.loads(ocitool("diff", "--inside", "--format", "json", testdata / "app-v1.tar", testdata / "app-v1.tar").out)
    assert insides(report) == {} and "inside" not in report
