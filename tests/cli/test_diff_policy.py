"""`diff` with the policy of a repository: what it accepts meets no rule, limits of its budget are rules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.images import entry, image, layer_tar, write_docker_archive
from support.registry_command import Run

ACCEPT = '[[accept]]\nrule = "setuid"\npath = "/usr/bin/*"\nreason = "sudo is needed"\n'


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository, which the command runs in, with an image and one to which two setuid files and a token came."""
    (tmp_path / ".git").mkdir()
    old = [layer_tar([("a", b"1234")])]
    new = [*old, layer_tar([entry("usr/bin/sudo", b"1", mode=0o4755), entry("opt/su", b"22", mode=0o4755)])]
    write_docker_archive(tmp_path / "old.tar", [image(old, tag="app:1")])
    settings = {"Env": ["API_TOKEN=aqwsedrftgyhujik"]}
    write_docker_archive(tmp_path / "new.tar", [image(new, tag="app:2", config={"config": settings})])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(place: Path, text: str) -> None:
    (place / ".ocitool.toml").write_text(text)


def diff(run: Run, *words: str) -> dict[str, Any]:
    found: dict[str, Any] = run("diff", "--format", "json", *words, "old.tar", "new.tar").json()
    return found


def accepted(report: dict[str, Any]) -> list[str]:
    return sorted(one["path"] or one["key"] for one in report["notable"] if one["accepted"] and not one["accepted"]["ended"])


def test_what_is_accepted_meets_no_rule(place: Path, ocitool: Run) -> None:
    assert 1 == ocitool("diff", "--fail-on", "setuid", "--path", "/usr", "old.tar", "new.tar").code
    write(place, ACCEPT)
    assert 0 == ocitool("diff", "--fail-on", "setuid", "--path", "/usr", "old.tar", "new.tar").code
    assert 1 == ocitool("diff", "--fail-on", "setuid", "old.tar", "new.tar").code
    assert ["/usr/bin/sudo"] == accepted(diff(ocitool))


def test_a_variable_is_accepted_by_its_name(place: Path, ocitool: Run) -> None:
    write(place, '[[accept]]\nrule = "secret-env"\nname = "API_TOKEN"\nreason = "a dummy"\n')
    assert ["API_TOKEN"] == accepted(diff(ocitool))


def test_a_group_of_rules_is_accepted_by_its_name(place: Path, ocitool: Run) -> None:
    write(place, '[[accept]]\nrule = "secret"\nreason = "dummies"\n')
    assert "API_TOKEN" in accepted(diff(ocitool))


@pytest.mark.parametrize("form", ["text", "markdown"])
def test_what_is_accepted_is_counted_and_not_listed(form: str, place: Path, ocitool: Run) -> None:
    write(place, ACCEPT)
    done = ocitool("diff", "--format", form, "--stat", "old.tar", "new.tar")
    assert "accepted by the policy: setuid 1" in done.out and 1 == done.out.count("new setuid file")


@pytest.mark.parametrize("form", ["text", "markdown"])
def test_an_entry_that_has_ended_accepts_nothing_and_is_named(form: str, place: Path, ocitool: Run) -> None:
    write(place, ACCEPT + "until = 2020-02-29\n")
    done = ocitool("diff", "--all", "--format", form, "--fail-on", "setuid", "old.tar", "new.tar")
    assert 1 == done.code and "was accepted until 2020-02-29: " in done.out and "sudo is needed" in done.out


def test_an_unknown_rule_is_a_usage_error(place: Path, ocitool: Run) -> None:
    write(place, '[[accept]]\nrule = "setuids"\nreason = "x"\n')
    done = ocitool("diff", "old.tar", "new.tar")
    assert 2 == done.code and "accept entry 1: invalid rule setuids" in done.err


def test_a_limit_that_is_exceeded_is_a_rule_that_is_met(place: Path, ocitool: Run) -> None:
    write(place, '[budget]\nsize = "6B"\nlayers = 1\ngrowth = { percent = 50, floor = "2B" }\n')
    report = diff(ocitool)
    assert ["exceeded", "exceeded", "exceeded"] == [one["status"] for one in report["budget"]]
    assert [("budget:size", 6, 7), ("budget:layers", 1, 2), ("budget:growth", 2, 3)] == [
        (one["rule"], one["limit"], one["actual"]) for one in report["failures"]
    ]
    done = ocitool("diff", "old.tar", "new.tar")
    assert "budget:size: 7 B (limit 6 B)" in done.out and "budget:layers: 2 (limit 1)" in done.out


@pytest.mark.parametrize(
    ("words", "code"), [((), 1), (("--fail-on", "none"), 0), (("--fail-on", "size:+1GB"), 1), (("--path", "/srv"), 0)]
)
def test_an_exceeded_limit_fails_unless_none_or_a_path_is_asked_for(
    words: tuple[str, ...], code: int, place: Path, ocitool: Run
) -> None:
    write(place, '[budget]\nsize = "3B"\n')
    assert code == ocitool("diff", *words, "--allow-no-match", "old.tar", "old.tar").code


def test_the_rules_of_the_policy_count_if_the_command_line_has_none(place: Path, ocitool: Run) -> None:
    write(place, 'fail-on = ["size:+1GB"]\n')
    assert 0 == ocitool("diff", "old.tar", "new.tar").code
    assert 1 == ocitool("diff", "--fail-on", "files", "old.tar", "new.tar").code


def test_another_policy_is_named(place: Path, ocitool: Run) -> None:
    (place / "other.toml").write_text("[budget]\nlayers = 1\n")
    assert None is diff(ocitool)["policy"]
    assert ("other.toml", "exceeded") == (
        (report := diff(ocitool, "--policy", "other.toml"))["policy"],
        report["budget"][0]["status"],
    )


def test_rules_of_dive_count_in_a_comparison_only_if_they_are_named(place: Path, ocitool: Run) -> None:
    (place / ".dive-ci").write_text("rules: {lowestEfficiency: 1}\n")
    assert None is diff(ocitool)["budget"]
    assert 2 == len(diff(ocitool, "--policy", ".dive-ci")["budget"])


def test_layers_that_both_images_have_are_not_read_for_limits_of_bytes_sent(place: Path, ocitool: Run) -> None:
    write(place, '[budget]\ntransfer = "1GB"\ngrowth = "1GB"\nlayers = 9\nstored = "1GB"\n')
    broken = image([b"not a tar", layer_tar([("a", b"1")])], tag="b:1")
    write_docker_archive(place / "old.tar", [broken])
    write_docker_archive(place / "new.tar", [image([b"not a tar", layer_tar([("a", b"2")])], tag="b:2")])
    assert ["kept"] * 4 == [one["status"] for one in diff(ocitool)["budget"]]


# One image alone


def test_what_is_accepted_meets_no_rule_of_inspect(place: Path, ocitool: Run) -> None:
    words = ("inspect", "--notable", "--fail-on", "setuid", "new.tar")
    assert 1 == ocitool(*words).code
    write(place, ACCEPT.replace("/usr/bin/*", "**"))
    done = ocitool(*words)
    assert 0 == done.code and "accepted by the policy: setuid 2" in done.out
    assert "accepted by the policy: setuid 2" in ocitool(*words, "--format", "markdown").out


def test_the_rules_of_the_policy_about_what_is_notable_count_for_one_image(place: Path, ocitool: Run) -> None:
    write(place, 'fail-on = ["security", "size:+1GB"]\n')
    assert (0, 1) == (ocitool("inspect", "new.tar").code, ocitool("inspect", "--notable", "new.tar").code)


def test_an_unknown_rule_is_a_usage_error_of_inspect_too(place: Path, ocitool: Run) -> None:
    write(place, '[[accept]]\nrule = "setuids"\nreason = "x"\n')
    assert (0, 2) == (ocitool("inspect", "new.tar").code, ocitool("inspect", "--notable", "new.tar").code)


def test_what_is_accepted_is_said_however_full_the_screen_is(place: Path, ocitool: Run) -> None:
    files = [entry(f"d{n}/su", b"1", mode=0o4755) for n in range(40)]
    write_docker_archive(place / "new.tar", [image([layer_tar([("a", b"1234")]), layer_tar(files)], tag="app:2")])
    write(place, ACCEPT.replace("/usr/bin/*", "/d0/**"))
    done = ocitool("diff", "old.tar", "new.tar")
    assert "notable (! security; accepted by the policy: setuid 1)" in done.out and 24 >= done.out.count("\n")


@pytest.mark.parametrize("text", ['fail-on = ["nope"]\n', '[[accept]]\nrule = "nope"\nreason = "x"\n'])
@pytest.mark.parametrize("words", [("budget", "new.tar"), ("inspect", "--notable", "new.tar"), ("diff", "old.tar", "new.tar")])
def test_a_policy_with_a_rule_that_does_not_exist_is_a_usage_error(
    text: str, words: tuple[str, ...], place: Path, ocitool: Run
) -> None:
    write(place, text + "[budget]\nlayers = 9\n")
    assert 2 == ocitool(*words).code
