"""`ocitool rebuild`: which volatile paths alone keep layers from being re-used, and that ignoring them gives what was told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.images import AnyEntry, Image, entry, image, layer_tar, write_layout
from support.report import report_of
from support.twice_built import BASE, FIRST, SECOND, build, built, pyc

Run = Callable[..., Any]


class Pair:
    """An older build and a newer one, each in a layout."""

    def __init__(self, ocitool: Run, top: Path) -> None:
        self._run, self._top = ocitool, top

    def rebuilt(self, old: Image, new: Image, *options: str) -> Any:
        """The report on the newer image out of the older one."""
        a, b = (write_layout(self._top / name, [one]) for name, one in (("old", old), ("new", new)))
        result = self._run("rebuild", b, self._top / "out.tar", "--against", a, "--force", *options, "--format", "json")
        return report_of(result)["details"]["rebuilt"][0]


@pytest.fixture
def pair(ocitool: Run, tmp_path: Path) -> Pair:
    return Pair(ocitool, tmp_path)


def transfer(report: Any, plan: str = "reuse") -> int:
    return next(one["transfer"] for one in report["plans"] if one["plan"] == plan)


def ignoring(report: Any) -> list[str]:
    return [word for glob in report["suggestion"]["ignorePaths"] for word in ("--ignore-path", glob)]


def test_the_globs_that_are_told_save_what_is_told(pair: Pair) -> None:
    old, new = build(FIRST), build(SECOND)
    before = pair.rebuilt(old, new)
    assert ["/etc/shadow", "/var/cache/apt/**", "/var/log/apt/**", "/var/log/dpkg.log*"] == before["suggestion"]["ignorePaths"]
    assert [1] == before["suggestion"]["layers"]
    assert len(new.layers[1]) == before["suggestion"]["saves"]
    after = pair.rebuilt(old, new, *ignoring(before))
    assert transfer(before) - before["suggestion"]["saves"] == transfer(after) == 0
    assert after["suggestion"] is None


def test_text_has_the_options_ready_to_paste(pair: Pair, ocitool: Run, tmp_path: Path) -> None:
    for name, one in (("old", build(FIRST)), ("new", build(SECOND))):
        write_layout(tmp_path / name, [one])
    shown = ocitool("rebuild", tmp_path / "new", tmp_path / "x.tar", "--against", tmp_path / "old", "--dry-run").out
    assert "volatile files alone keep layer 1 from being re-used" in shown
    assert "  --ignore-path /etc/shadow --ignore-path '/var/cache/apt/**' --ignore-path '/var/log/apt/**'" in shown


def test_globs_that_are_given_already_are_not_told_again(pair: Pair) -> None:
    report = pair.rebuilt(build(FIRST), build(SECOND), "--ignore-path", "/var/log/**")
    assert ["/etc/shadow", "/var/cache/apt/**"] == report["suggestion"]["ignorePaths"]


@pytest.mark.parametrize(
    "more",
    [("usr/bin/x", b"other"), ("var/log/app.key", b"secret"), entry("var/log/x", b"", mode=0o755), ("srv/b.pyc", pyc(1)),
     (".wh.gone", b"")],
    ids=["program", "key", "executable", "compiled", "whiteout"],
)  # fmt: skip
def test_nothing_is_told_if_a_layer_differs_in_more(pair: Pair, more: AnyEntry) -> None:
    assert None is pair.rebuilt(build(FIRST), build(SECOND, more))["suggestion"]


def test_other_code_in_compiled_files_is_never_taken_from_an_old_image(pair: Pair) -> None:
    assert None is pair.rebuilt(build(FIRST, code="old"), build(SECOND, code="new"))["suggestion"]


def test_another_password_is_no_other_day(pair: Pair) -> None:
    entries = [one for one in built(SECOND) if "shadow" not in str(one[0])]
    other = image([BASE, layer_tar([*entries, entry("etc/shadow", b"root::1:0:99999:7:::\n", mode=0o640)])], tag="app:1")
    assert None is pair.rebuilt(build(FIRST), other)["suggestion"]


def test_a_wide_glob_is_not_told_if_it_would_take_back_what_is_no_noise(pair: Pair) -> None:
    """The glob of the logs of one layer matches a program that another layer has in the same place."""
    tools = [layer_tar([entry("var/log/apt/run", what, mode=0o755)]) for what in (b"old", b"new")]
    old, new = (image([BASE, layer_tar(built(when)), tool], tag="app:1")
                for when, tool in zip((FIRST, SECOND), tools, strict=True))  # fmt: skip
    report = pair.rebuilt(old, new)
    taken = pair.rebuilt(old, new, *(ignoring(report) if report["suggestion"] else ()))
    assert "/var/log/apt/run" not in [one["path"] for one in taken["ignored"]]


def test_a_package_database_counts_only_with_the_same_packages(pair: Pair) -> None:
    def made(note: bytes, version: str) -> Image:
        status = f"Package: one\nStatus: install ok installed\nArchitecture: all\nVersion: {version}\nX: ".encode() + note
        return image([BASE, layer_tar([("usr/lib/one", b"1" * 9000), ("var/lib/dpkg/status", status + b"\n")])], tag="app:1")

    assert ["/var/lib/dpkg/status"] == pair.rebuilt(made(b"a", "1"), made(b"b", "1"))["suggestion"]["ignorePaths"]
    assert None is pair.rebuilt(made(b"a", "1"), made(b"b", "2"))["suggestion"]


def test_a_layer_moved_in_the_list_is_found_by_its_instruction(pair: Pair) -> None:
    lines = ("ADD file:x in /", "RUN apt-get install one", "RUN other")
    history = [{"created_by": line} for line in lines]
    old = image([BASE, layer_tar(built(FIRST))], tag="app:1", history=history[:2])
    new = image([BASE, layer_tar([("n", b"n")]), layer_tar(built(SECOND))], tag="app:1",
                history=[history[0], history[2], history[1]])  # fmt: skip
    assert [2] == pair.rebuilt(old, new)["suggestion"]["layers"]
