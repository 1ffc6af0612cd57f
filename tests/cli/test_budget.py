"""`ocitool budget`: an image against the limits of a repository."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.images import image, layer_tar, write_docker_archive
from support.registry_command import Run

BUDGET = (
    '[budget]\nsize = "10B"\nlayers = 2\nwaste = "3B"\ngrowth = { percent = 50, floor = "2B" }\n[budget.paths]\n"/srv/**" = 4\n'
)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with two images, which the command runs in."""
    (tmp_path / ".git").mkdir()
    old = [layer_tar([("a", b"1234"), ("srv/b", b"12")])]
    new = [*old, layer_tar([("a", b"12345"), ("srv/c", b"123")])]
    write_docker_archive(tmp_path / "old.tar", [image(old, tag="app:1")])
    write_docker_archive(tmp_path / "new.tar", [image(new, tag="app:2")])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def statuses(run: Run, *words: str) -> dict[str, str]:
    report = run("budget", "--format", "json", *words).json()
    return {one["key"]: one["status"] for one in report["limits"]}


def test_each_limit_is_kept_exceeded_or_not_checked(place: Path, ocitool: Run) -> None:
    (place / ".ocitool.toml").write_text(BUDGET)
    wanted = {"size": "kept", "layers": "kept", "waste": "exceeded", "growth": "not-checked", "paths": "exceeded"}
    assert wanted == statuses(ocitool, "new.tar")
    assert wanted | {"growth": "exceeded"} == statuses(ocitool, "--against", "old.tar", "new.tar")


def test_the_exit_code_is_1_if_a_limit_is_exceeded(place: Path, ocitool: Run) -> None:
    (place / ".ocitool.toml").write_text(BUDGET)
    assert (0, 1) == (ocitool("budget", "old.tar").code, ocitool("budget", "new.tar").code)


def test_text_and_markdown_name_each_limit(place: Path, ocitool: Run) -> None:
    (place / ".ocitool.toml").write_text(BUDGET)
    for form in ("text", "markdown"):
        done = ocitool("budget", "--format", form, "new.tar")
        assert "2 of 4 limits exceeded, 1 not checked" in done.out
        assert all(word in done.out for word in ("size", "layers", "waste", "growth", "/srv/**", "needs --against"))


def test_an_update_makes_the_image_keep_its_budget(place: Path, ocitool: Run) -> None:
    (place / ".ocitool.toml").write_text("# ours\n" + BUDGET)
    assert 0 == ocitool("budget", "--update", "new.tar").code
    assert (place / ".ocitool.toml").read_text().startswith("# ours\n[budget]\n")
    assert 0 == ocitool("budget", "new.tar").code


def test_an_update_begins_a_budget_at_the_top_of_the_repository(
    place: Path, ocitool: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "below").mkdir()
    monkeypatch.chdir(place / "below")
    assert 0 == ocitool("budget", "--update", "--headroom", "0", "../new.tar").code
    assert '[budget]\nsize = "10B"\nlayers = 2\nwaste = "4B"\n' == (place / ".ocitool.toml").read_text()
    assert 0 == ocitool("budget", "../new.tar").code


def test_a_dry_run_says_what_it_would_write_and_writes_nothing(place: Path, ocitool: Run) -> None:
    report = ocitool("budget", "--update", "-n", "--format", "json", "new.tar").json()
    assert ["size", "layers", "waste"] == [one["name"] for one in report["updated"]]
    assert not (place / ".ocitool.toml").exists()


def test_without_a_policy_it_is_a_usage_error_that_says_how_to_begin(place: Path, ocitool: Run) -> None:
    done = ocitool("budget", "new.tar")
    assert 2 == done.code and "hint: ocitool budget --update new.tar" in done.err


def test_a_policy_without_budget_is_a_usage_error(place: Path, ocitool: Run) -> None:
    (place / ".ocitool.toml").write_text('fail-on = ["files"]\n')
    assert 2 == ocitool("budget", "new.tar").code


def test_rules_of_dive_are_read_and_never_written(place: Path, ocitool: Run) -> None:
    (place / ".dive-ci").write_text("rules:\n  highestWastedBytes: 8B\n")
    wanted = {"lowestEfficiency": "exceeded", "highestWastedBytes": "exceeded", "highestUserWastedPercent": "exceeded"}
    assert wanted == statuses(ocitool, "new.tar")
    assert 2 == ocitool("budget", "--update", "new.tar").code


def test_layers_are_not_read_if_no_limit_is_about_their_files(place: Path, ocitool: Run) -> None:
    (place / ".ocitool.toml").write_text('[budget]\nlayers = 2\nstored = "1MB"\n')
    broken = image([b"not a tar"], tag="app:3")
    write_docker_archive(place / "broken.tar", [broken])
    assert 0 == ocitool("budget", "broken.tar").code


def test_the_report_goes_where_it_is_told(place: Path, ocitool: Run) -> None:
    (place / ".ocitool.toml").write_text(BUDGET)
    ocitool("budget", "--format", "json", "--report", "out.json", "new.tar")
    assert "budget" == json.loads((place / "out.json").read_text())["report"]


@pytest.mark.parametrize(
    ("name", "efficiency", "wasted", "share"),
    [("app-v2", 0.973, 71, 0.0393), ("hardlinks", 0.8493, 52, 1.1556), ("whiteouts", 0.75, 82, 2.9286)],
)
def test_the_numbers_are_those_of_dive_0_13(
    name: str, efficiency: float, wasted: int, share: float, place: Path, testdata: Path, ocitool: Run
) -> None:
    (place / ".dive-ci").write_text("rules: {lowestEfficiency: 0, highestWastedBytes: 1TB, highestUserWastedPercent: 1}\n")
    report = ocitool("budget", "--format", "json", str(testdata / f"{name}.tar")).json()
    wanted = [pytest.approx(efficiency, abs=1e-4), wasted, pytest.approx(share, abs=1e-4)]
    assert wanted == [one["actual"] for one in report["limits"]]
