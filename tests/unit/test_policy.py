"""The policy of a repository: what is read, what is refused, and what an entry accepts."""

from __future__ import annotations

import datetime
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocitool.byte_sizes import UNITS, byte_size
from ocitool.errors import NotFoundError, UsageError
from ocitool.policy import documents, updating
from ocitool.policy.acceptance import Accept, Acceptance, Acceptances
from ocitool.policy.budget import KEYS, BudgetLine, Limit, Measures, check
from ocitool.policy.dive_rules import dive_budget

TODAY = datetime.date(2026, 11, 29)


def read(text: str) -> documents.Policy:
    return documents.policy(tomllib.loads(text), "p")


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("10MB", 10_000_000), ("1.5 GiB", 3 << 29), ("1.000001kB", 1000), ("7B", 7), ("999999999999999TB", None)],
)
def test_a_size_is_what_its_unit_says(text: str, size: int | None) -> None:
    assert (999_999_999_999_999 * 10**12 if size is None else size) == byte_size(text)


@pytest.mark.parametrize("text", ["", "MB", "1 000", "-1MB", "1e3", "10 mb", "1iB", "10MBs", "\u0661MB"])
def test_what_is_not_a_size_is_none(text: str) -> None:
    assert byte_size(text) is None


@given(st.integers(0, 10**15 - 1), st.sampled_from(sorted(UNITS)))
def test_whole_numbers_are_exact(number: int, unit: str) -> None:
    assert number * UNITS[unit] == byte_size(f"{number}{unit}")


def test_a_policy_has_what_its_file_says() -> None:
    policy = read("""
        fail-on = ["security"]
        [[accept]]
        rule = "setuid"
        path = "/usr/bin/sudo"
        reason = "needed"
        until = 2027-01-31
        [budget]
        size = "10MB"
        waste = { percent = 2.5, floor = "1MB" }
        layers = 9
        [budget.paths]
        "/usr/**" = 7
    """)
    assert ("security",) == policy.fail_on
    assert (Accept("setuid", "/usr/bin/sudo", None, "needed", datetime.date(2027, 1, 31), 1),) == policy.accept
    limits = (Limit("size", 10**7), Limit("waste", 10**6, 2.5), Limit("layers", 9), Limit("paths", 7, glob="/usr/**"))
    assert limits == policy.budget


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[budgets]", "unknown table budgets"),
        ("[budget]\nsizes = 1", "unknown limit sizes"),
        ("budget = 1", "budget: not a table"),
        ("[budget]\nsize = true", "budget.size: not a size"),
        ("[budget]\nsize = -1", "budget.size: not a size"),
        ('[budget]\nsize = "5 %"', "budget.size: a percentage needs a floor"),
        ('[budget]\nsize = { percent = 5, floor = "1MB" }', "budget.size: not a size"),
        ("[budget]\ngrowth = { percent = 5 }", "budget.growth: a percentage needs a floor"),
        ('[budget]\ngrowth = { percent = "5", floor = 1 }', "budget.growth: percent is not a number"),
        ("[budget]\ngrowth = { percent = nan, floor = 1 }", "budget.growth: percent is not a number"),
        ("[budget]\ngrowth = { percent = 5, floor = 1, x = 1 }", "unknown key in budget.growth: x"),
        ("[budget]\nlayers = 1.5", "budget.layers: not a number of layers"),
        ("[budget]\npaths = 1", "budget.paths: not a table"),
        ('[budget.paths]\n"" = 1', "budget.paths: : an empty path"),
        ("accept = 1", "accept: not a list of tables"),
        ("accept = [1]", "accept: not a list of tables"),
        ('[[accept]]\nreason = "x"', "accept entry 1: no rule"),
        ('[[accept]]\nrule = "setuid"', "accept entry 1: no reason"),
        ('[[accept]]\nrule = "setuid"\nreason = " "', "accept entry 1: no reason"),
        ('[[accept]]\nrule = "setuid"\nreason = "x"\nuntill = 2027-01-01', "unknown key in accept entry 1: untill"),
        ('[[accept]]\nrule = "setuid"\nreason = "x"\nuntil = "soon"', "accept entry 1: until is not a date"),
        ('[[accept]]\nrule = "setuid"\nreason = "x"\npath = ""', "accept entry 1: path: an empty path"),
        ('fail-on = "security"', "fail-on: not a list of rules"),
    ],
)
def test_what_is_not_understood_is_refused(text: str, why: str) -> None:
    with pytest.raises(UsageError) as raised:
        read(text)
    assert str(raised.value).startswith(why)


# Acceptance


def accept(**fields: object) -> Accept:
    return Accept("setuid", None, None, "why", None, 1)._replace(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("entry", "rule", "path", "name", "accepted"),
    [
        (accept(), "setuid", b"a", None, True),
        (accept(), "setgid", b"a", None, False),
        (accept(path="/usr/**"), "setuid", b"usr/bin/su", None, True),
        (accept(path="/usr"), "setuid", b"usr/bin/su", None, True),
        (accept(path="/usr/**"), "setuid", b"opt/su", None, False),
        (accept(path="/usr/**"), "setuid", None, None, False),
        (accept(name="TOKEN"), "setuid", None, "TOKEN", True),
        (accept(name="TOKEN"), "setuid", None, "TOKENS", False),
        (accept(name="TOKEN"), "setuid", None, None, False),
    ],
)
def test_an_entry_accepts_its_rule_at_its_path_or_name(
    entry: Accept, rule: str, path: bytes | None, name: str | None, accepted: bool
) -> None:
    assert (Acceptance(entry, False) if accepted else None) == Acceptances([entry], TODAY).of(rule, path, name)


@pytest.mark.parametrize(("days", "ended"), [(0, False), (-1, True), (400, False)])
def test_an_entry_counts_on_its_last_day_and_not_after(days: int, ended: bool) -> None:
    entry = accept(until=TODAY + datetime.timedelta(days))
    assert Acceptance(entry, ended) == Acceptances([entry], TODAY).of("setuid", b"a", None)


def test_an_entry_that_has_not_ended_comes_before_one_that_has() -> None:
    ended, other = accept(until=datetime.date(2020, 1, 1)), accept(number=2)
    assert Acceptance(other, False) == Acceptances([ended, other], TODAY).of("setuid", b"a", None)


# Budgets


@pytest.mark.parametrize(
    ("limit", "values", "status"),
    [
        (Limit("size", 10), {"size": 10}, "kept"),
        (Limit("size", 10), {"size": 11}, "exceeded"),
        (Limit("size", 10), {}, "not-checked"),
        (Limit("growth", 10, 5.0), {"growth": 50, "size before": 1000}, "kept"),
        (Limit("growth", 10, 5.0), {"growth": 51, "size before": 1000}, "exceeded"),
        (Limit("growth", 10, 5.0), {"growth": 10, "size before": 20}, "kept"),
        (Limit("growth", 10, 5.0), {"growth": 11, "size before": 20}, "exceeded"),
        (Limit("growth", 10, 5.0), {"growth": 11}, "not-checked"),
        (Limit("growth", 10), {"growth": -5}, "kept"),
        (Limit("lowestEfficiency", least=0.9), {"lowestEfficiency": 0.9}, "kept"),
        (Limit("lowestEfficiency", least=0.9), {"lowestEfficiency": 0.89}, "exceeded"),
    ],
)
def test_a_limit_is_kept_up_to_its_value(limit: Limit, values: dict[str, float], status: str) -> None:
    assert [status] == [line.status for line in check((limit,), Measures(values))]


@given(st.sampled_from(sorted(KEYS)), st.integers(-10, 1 << 60), st.integers(0, 1000))
def test_what_an_update_writes_is_read_again_as_it_is_and_kept(key: str, actual: int, headroom: int) -> None:
    line = BudgetLine(Limit(key), None, actual)
    raw, changes = updating.updated(b"", [line], "p", headroom=headroom)
    limit = updating.limit_for(line, headroom)
    assert read(raw.decode()).budget == (Limit(key, limit),)
    assert len(changes) == 1 and actual <= limit


def test_an_update_changes_numbers_and_nothing_else() -> None:
    text = '# ours\n[budget]  # limits\nsize = "1MB"   # why\n\n[budget.paths]\n"/a" = 3 # three\n[[accept]]\nrule = "x"\n'
    lines = [BudgetLine(Limit("size", 10**6), 10**6, 2_500_000), BudgetLine(Limit("paths", 3, glob="/a"), 3, 9)]
    raw, changes = updating.updated(text.encode(), lines, "p", headroom=0)
    assert text.replace("1MB", "2.5MB").replace('"/a" = 3', '"/a" = "9B"') == raw.decode()
    assert [("size", "1MB", "2.5MB"), ("paths /a", "3", "9B")] == [tuple(one) for one in changes]


def test_an_update_leaves_percentages_and_what_was_not_measured() -> None:
    text = b'[budget]\ngrowth = { percent = 5, floor = "1MB" }\ntransfer = "1MB"\n'
    lines = [BudgetLine(Limit("growth", 10**6, 5.0), None, 3), BudgetLine(Limit("transfer", 10**6), 10**6, None)]
    assert (text, ()) == updating.updated(text, lines, "p", headroom=0)


# Files


def test_the_nearest_policy_up_to_the_top_of_the_repository_counts(tmp_path: Path) -> None:
    inner = tmp_path / "repository" / "a" / "b"
    inner.mkdir(parents=True)
    (tmp_path / ".ocitool.toml").touch()
    assert documents.find(inner) is None
    (tmp_path / "repository" / ".git").mkdir()
    assert documents.find(inner) is None
    (tmp_path / "repository" / ".dive-ci").touch()
    assert tmp_path / "repository" / ".dive-ci" == documents.find(inner)
    (tmp_path / "repository" / ".ocitool.toml").touch()
    assert tmp_path / "repository" / ".ocitool.toml" == documents.find(inner)
    (inner.parent / ".ocitool.toml").touch()
    assert inner.parent / ".ocitool.toml" == documents.find(inner)
    assert tmp_path / "repository" / ".ocitool.toml" == documents.beginning(inner)


@pytest.mark.parametrize("content", [b"\xff", b"= 1", b"a = " + b"[" * 100_000, b"#" * (documents.LARGEST + 1)])
def test_a_file_that_is_no_policy_is_an_error(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_bytes(content)
    with pytest.raises(UsageError):
        documents.read(tmp_path / "p.toml")


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        documents.read(tmp_path / "p.toml")


# Rules of dive


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        (b"", {"lowestEfficiency": 0.9, "highestUserWastedPercent": 0.1}),
        (b"rules:\n", {"lowestEfficiency": 0.9, "highestUserWastedPercent": 0.1}),
        (
            b"rules:\n  lowestEfficiency: 0.95\n  highestWastedBytes: 20MB\n  highestUserWastedPercent: 0.20\n",
            {"lowestEfficiency": 0.95, "highestWastedBytes": 20_000_000, "highestUserWastedPercent": 0.2},
        ),
        (b"rules: {lowestEfficiency: disabled, highestUserWastedPercent: 'off', highestWastedBytes: 1.5gib}",
         {"highestWastedBytes": 3 << 29}),
        (b"rules: {lowestEfficiency: off, highestUserWastedPercent: false, highestWastedBytes: 10 M}",
         {"highestWastedBytes": 10_000_000}),
    ],
)  # fmt: skip
def test_rules_of_dive_are_read_as_dive_reads_them(text: bytes, limits: dict[str, float]) -> None:
    assert limits == {one.key: one.most if one.least is None else one.least for one in dive_budget(text, "p")}


@pytest.mark.parametrize(
    "text",
    [b"rules: {lowest: 1}", b"rules: 1", b"- 1", b"rules: {lowestEfficiency: 2}", b"rules: {highestWastedBytes: many}",
     b"rules: {lowestEfficiency: .nan}", b"a: [", b"\xff", b"a: &a [*a]\nrules: *b", b"[" * 10_000],
)  # fmt: skip
def test_other_rules_of_dive_are_refused(text: bytes) -> None:
    with pytest.raises(UsageError):
        dive_budget(text, "p")
