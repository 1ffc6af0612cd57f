"""The report on pairs of images as pull requests bring them: one screen, which names the cause."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.report import report_of
from support.review_pairs import PAIRS, Pair

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Pair]:
    """A pair by its name; each is built once."""
    made: dict[str, Pair] = {}

    def pair(name: str) -> Pair:
        if name not in made:
            made[name] = PAIRS[name](tmp_path_factory.mktemp(name))
        return made[name]

    return pair


def in_place(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """The names of the two images as a user types them: in the directory where they are."""
    place = pair.before.removeprefix("oci:").partition("/image:")[0]
    monkeypatch.chdir(place)
    return pair.before.replace(f"{place}/", ""), pair.after.replace(f"{place}/", "")


@pytest.mark.parametrize("name", PAIRS)
def test_the_report_fits_one_screen_and_names_the_cause(
    name: str, pairs: Callable[[str], Pair], ocitool: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = ocitool("diff", *in_place(pairs(name), monkeypatch)).out
    lines = shown.splitlines()
    assert [] == [word for word in pairs(name).words if word not in shown]
    assert (True, True) == (len(lines) <= 24, max(map(len, lines)) <= 80), shown


@pytest.mark.parametrize("name", PAIRS)
def test_markdown_names_the_cause_too(name: str, pairs: Callable[[str], Pair], ocitool: Run, tmp_path: Path) -> None:
    before, after, words = pairs(name)
    page = ocitool("diff", "--format", "markdown", before, after).out.replace("`", "").casefold()
    assert [] == [word for word in words if word.casefold() not in page and word != "!"]


def test_packages_explain_the_files_of_an_update_of_debian(pairs: Callable[[str], Pair], ocitool: Run) -> None:
    """At least 95 of 100: those of the packages, and the databases, logs and caches that follow."""
    report = report_of(ocitool("diff", "--format", "json", *pairs("debian-update")[:2]), 1)
    explained = sum(file["package"] is not None or "followsPackages" in file for file in report["files"])
    assert len(report["files"]) > 700
    assert explained >= 0.95 * len(report["files"])
    assert 13 == len(report["packages"]) == sum(package["kind"] == "upgraded" for package in report["packages"])


def test_a_pair_without_a_visible_change_is_one_line_of_verdict(pairs: Callable[[str], Pair], ocitool: Run) -> None:
    first, *rest = ocitool("diff", *pairs("other-label")[:2]).out.splitlines()
    assert (True, ["  no visible change; label version 1.0 -> 1.1"]) == (" -> " in first, rest)
