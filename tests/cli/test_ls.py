"""`ocitool ls`: the merged file system, or one layer's entries."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.images import entry, image, layer_tar, write_docker_archive, write_layout
from support.report import report_of

from ocitool.layers.entry import Kind
from ocitool.operations.listing import Listing
from ocitool.report.escape import shown
from ocitool.report.text.ls import ls_text
from ocitool.report.text.parts import escaped_path

Run = Callable[..., Any]


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    return write_layout(
        tmp_path / "layout",
        [
            image(
                [
                    layer_tar([("etc/", None), ("etc/motd", b"one"), ("etc/gone", b""), ("usr/bin/", None),
                               ("usr/bin/sh", b"#!"),
                               ("bin", "link:usr/bin"), ("hard", "hard:etc/motd"), ("loop", "link:loop"),
                               ("nowhere", "link:/not/there")]),
                    layer_tar([("etc/", None), ("etc/.wh.gone", b""), ("etc/new", b"three"), (b"etc/\xff\n", b"")]),
                ]
            )
        ],
    )  # fmt: skip


def listed(report: Any) -> list[str]:
    return [item["path"] for item in report["entries"]]


def test_the_root_lists_its_children_alone(ocitool: Run, layout: Path) -> None:
    report = report_of(ocitool("ls", "--format", "json", layout))
    assert listed(report) == ["/bin", "/etc", "/hard", "/loop", "/nowhere", "/usr"]
    assert report["layer"] is None


def test_recursive_lists_everything_in_the_order_of_paths(ocitool: Run, layout: Path) -> None:
    found = listed(report_of(ocitool("ls", "-R", "--format", "json", layout)))
    assert found == ["/bin", "/etc", "/etc/motd", "/etc/new", "/etc/\ufffd\n", "/hard", "/loop", "/nowhere", "/usr",
                     "/usr/bin", "/usr/bin/sh"]  # fmt: skip


@pytest.mark.parametrize("path", ["etc", "/etc", "/etc/", "./etc", "//etc/../etc/."])
def test_one_path_has_many_spellings(ocitool: Run, layout: Path, path: str) -> None:
    assert listed(report_of(ocitool("ls", "--format", "json", layout, path))) == ["/etc/motd", "/etc/new", "/etc/\ufffd\n"]


def test_a_link_to_a_directory_is_followed_and_the_path_is_the_one_asked_for(ocitool: Run, layout: Path) -> None:
    assert listed(report_of(ocitool("ls", "--format", "json", layout, "bin"))) == ["/bin/sh"]


@pytest.mark.parametrize("path", ["loop", "nowhere"])
def test_a_link_to_nothing_lists_itself(ocitool: Run, layout: Path, path: str) -> None:
    (item,) = report_of(ocitool("ls", "--format", "json", layout, path))["entries"]
    assert item["type"] == "symlink" and item["path"] == f"/{path}"


def test_a_file_lists_itself_with_all_it_is(ocitool: Run, layout: Path) -> None:
    (item,) = report_of(ocitool("ls", "--format", "json", layout, "etc/motd"))["entries"]
    assert (item["type"], item["size"], item["mode"], item["mtime"]) == ("file", 3, "0644", "2023-11-14T22:13:20Z")
    assert item["links"] == ["/etc/motd", "/hard"]
    assert item["layer"]["index"] == 0 and item["layer"]["createdBy"] == "RUN step 0"


def test_a_name_that_is_not_utf8_has_its_bytes_beside_it(ocitool: Run, layout: Path) -> None:
    items = report_of(ocitool("ls", "--format", "json", layout, "etc"))["entries"]
    assert [b64decode(item["pathBase64"]) for item in items if "pathBase64" in item] == [b"/etc/\xff\n"]
    assert ocitool("ls", layout, "etc").out.splitlines() == ["/etc/motd", "/etc/new", "/etc/\\xff\\n"]


def test_a_name_that_is_not_utf8_can_be_asked_for(ocitool: Run, layout: Path) -> None:
    name = b"etc/\xff\n".decode("utf-8", "surrogateescape")
    assert ocitool("ls", layout, name).out == "/etc/\\xff\\n\n"


def test_one_layer_lists_its_entries_whiteouts_among_them(ocitool: Run, layout: Path) -> None:
    report = report_of(ocitool("ls", "-R", "--layer", "1", "--format", "json", layout))
    assert [(i["path"], i["type"]) for i in report["entries"]] == [
        ("/etc", "directory"), ("/etc/gone", "whiteout"), ("/etc/new", "file"), ("/etc/\ufffd\n", "file"),
    ]  # fmt: skip
    assert report["layer"] == 1
    assert report == report_of(ocitool("ls", "-R", "--layer", "-1", "--format", "json", layout))


@pytest.mark.parametrize("number", ["2", "-3", "x"])
def test_a_layer_that_is_not_there_is_wrong_usage(ocitool: Run, layout: Path, number: str) -> None:
    assert ocitool("ls", "--layer", number, layout).code == 2


@pytest.mark.parametrize("words", [("gone",), ("etc/gone",), ("--layer", "0", "nothing"), ("etc/motd/below",)])
def test_a_missing_path_is_not_found(ocitool: Run, layout: Path, words: tuple[str, ...]) -> None:
    result = ocitool("ls", layout, *words)
    assert result.code == 3 and result.stdout == b"", str(result)


def test_long_lines(ocitool: Run, tmp_path: Path) -> None:
    device = entry("dev/null", b"", kind=Kind.CHAR, mode=0o666, device=(1, 3), size=0)
    setuid = entry("su", b"xx", mode=0o4755, uid=1, gid=2)
    path = write_docker_archive(tmp_path / "a.tar", [image([layer_tar([device, setuid, ("s", "link:su")])], codec="none")])
    lines = ocitool("ls", "-lR", path).out.splitlines()
    assert [line.split() for line in lines] == [
        ["drwxr-xr-x", "0:0", "0", "1970-01-01T00:00:00", "-", "/dev/"],
        ["crw-rw-rw-", "0:0", "1,3", "2023-11-14T22:13:20", "layer", "0", "/dev/null"],
        ["lrwxrwxrwx", "0:0", "0", "2023-11-14T22:13:20", "layer", "0", "/s", "->", "su"],
        ["-rwsr-xr-x", "1:2", "2", "2023-11-14T22:13:20", "layer", "0", "/su"],
    ]


def test_an_empty_image_has_an_empty_listing(ocitool: Run, tmp_path: Path) -> None:
    path = write_layout(tmp_path / "layout", [image([])])
    assert report_of(ocitool("ls", "--format", "json", path))["entries"] == []
    assert ocitool("ls", path).stdout == b""


def test_every_portable_image_of_testdata_lists(ocitool: Run, testdata: Path) -> None:
    for name in (testdata / "portable.txt").read_text().split():
        if (testdata / name).is_file():
            report_of(ocitool("ls", "-R", "--format", "json", testdata / name))


@pytest.mark.parametrize("command", ["ls", "cat"])
def test_an_empty_path_is_2(ocitool: Run, testdata: Path, command: str) -> None:
    result = ocitool(command, testdata / "app-v1.tar", "")
    assert (2, "", True) == (result.code, result.out, "an empty path" in result.err)


ODD_NAMES: list[bytes] = [
    b"new\nline", b"tab\t", b"\xff", "é".encode(), "sud\u043e".encode(), b"back\\slash", b"b\\\x1b[1m", b"\x7f",
]  # fmt: skip


@pytest.mark.parametrize("odd", ODD_NAMES)
@pytest.mark.parametrize("words", [[], ["--layer", "0"]])
def test_names_that_are_looked_at_together_are_shown_as_each_is(
    ocitool: Run, tmp_path: Path, odd: bytes, words: list[str]
) -> None:
    members: list[Any] = [
        ("a/", None), *((f"a/{n}", b"") for n in range(3)), (b"a/" + odd, b""), (b"a/link", "link:" + odd.decode("latin-1")),
        ("hard", "hard:missing"),
    ]  # fmt: skip
    where = write_layout(tmp_path / "layout", [image([layer_tar(members)])])
    link = odd.decode("latin-1").encode()
    expected = {b"a/": "/", b"a/0": "", b"a/1": "", b"a/2": "", b"a/" + odd: "", b"a/link": " -> " + shown(link),
                b"hard": " link to /missing"}  # fmt: skip
    order = sorted(expected, key=lambda path: path.rstrip(b"/"))
    found = ocitool("ls", "-R", *words, where)
    assert found.stdout.decode() == "".join(escaped_path(path.rstrip(b"/")) + expected[path] + "\n" for path in order)


def test_names_of_a_million_plain_files_would_not_be_looked_at_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [(b"usr/share/doc/%d" % n, n % 3, b"target") for n in range(10_000)]

    class Names:
        def names(self) -> Iterator[tuple[bytes, int, bytes]]:
            return iter(names)

    result = Listing("", None, None, False, Names(), ())  # type: ignore[arg-type]
    before = list(ls_text(result, long=False))
    for name in ("escaped_path", "shown"):
        monkeypatch.setattr(f"ocitool.report.text.ls.{name}", None)
    made = list(ls_text(result, long=False))
    assert (before, 10_000) == (made, "\n".join(made).count("\n") + 1)
    assert len(made) < 10
