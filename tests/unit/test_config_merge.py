"""The configuration of an image on another base: three-way, each case a law; what the image says itself is never lost."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocitool.images.config_merge import merge_settings, own_history

Section = dict[str, Any]


def merged(old: Section, new: Section, mine: Section) -> Section:
    """The settings where no conflict is expected."""
    made, conflicts = merge_settings(old, new, mine)
    assert [] == conflicts
    return made


# Whole values

WHOLE = ["Cmd", "Entrypoint", "User", "WorkingDir", "StopSignal", "Healthcheck", "Shell", "x-vendor"]


@pytest.mark.parametrize("key", WHOLE)
def test_what_the_image_has_from_the_old_base_becomes_the_new_ones(key: str) -> None:
    assert {key: ["new"]} == merged({key: ["old"]}, {key: ["new"]}, {key: ["old"]})


@pytest.mark.parametrize("key", WHOLE)
def test_what_the_image_says_itself_stays(key: str) -> None:
    assert {key: ["mine"]} == merged({key: ["old"]}, {key: ["old"]}, {key: ["mine"]})
    assert {key: ["mine"]} == merged({}, {}, {key: ["mine"]})


@pytest.mark.parametrize("key", WHOLE)
def test_what_both_changed_stays_the_images_and_is_named(key: str) -> None:
    assert ({key: ["mine"]}, [key]) == merge_settings({key: ["old"]}, {key: ["new"]}, {key: ["mine"]})
    assert ({key: ["mine"]}, [key]) == merge_settings({}, {key: ["new"]}, {key: ["mine"]})


@pytest.mark.parametrize("key", WHOLE)
def test_what_both_changed_alike_is_no_conflict(key: str) -> None:
    assert {key: ["new"]} == merged({key: ["old"]}, {key: ["new"]}, {key: ["new"]})
    assert {key: ["new"]} == merged({}, {key: ["new"]}, {key: ["new"]})
    assert {} == merged({key: ["old"]}, {}, {})


@pytest.mark.parametrize("key", WHOLE)
def test_what_only_the_new_base_has_comes(key: str) -> None:
    assert {key: ["new"]} == merged({}, {key: ["new"]}, {})


@pytest.mark.parametrize("key", WHOLE)
def test_what_the_new_base_no_longer_has_goes(key: str) -> None:
    assert {} == merged({key: ["old"]}, {}, {key: ["old"]})


@pytest.mark.parametrize("key", WHOLE)
def test_what_the_image_took_away_stays_away(key: str) -> None:
    assert {} == merged({key: ["old"]}, {key: ["old"]}, {})
    assert ({}, [key]) == merge_settings({key: ["old"]}, {key: ["new"]}, {})


@pytest.mark.parametrize("key", WHOLE)
def test_what_the_new_base_took_away_and_the_image_changed_is_a_conflict(key: str) -> None:
    assert ({key: ["mine"]}, [key]) == merge_settings({key: ["old"]}, {}, {key: ["mine"]})


# Variables


@pytest.mark.parametrize(
    ("old", "new", "mine", "made", "conflicts"),
    [
        (["A=1"], ["A=2"], ["A=1"], ["A=2"], []),
        (["A=1"], ["A=1"], ["A=2"], ["A=2"], []),
        (["A=1"], ["A=2"], ["A=3"], ["A=3"], ["Env A"]),
        (["A=1"], ["A=2"], ["A=1", "B=mine"], ["A=2", "B=mine"], []),
        (["A=1", "B=1"], ["A=2", "B=2"], ["A=1", "B=3"], ["A=2", "B=3"], ["Env B"]),
        (["A=1"], [], ["A=1", "B=2"], ["B=2"], []),
        (["A=1"], ["A=1"], ["B=2"], ["B=2"], []),
        (["A=1"], ["A=1", "C=new"], ["A=1"], ["A=1", "C=new"], []),
        (["A=x=y"], ["A=x=z"], ["A=x=y"], ["A=x=z"], []),
        (["A=1"], ["A="], ["A=1"], ["A="], []),
        (["A"], ["A=1"], ["A"], ["A=1"], []),
        (["A=1", "AB=1"], ["A=2", "AB=1"], ["A=1", "AB=2"], ["A=2", "AB=2"], []),
        (["A=1", "a=1"], ["A=2", "a=1"], ["A=1", "a=3"], ["A=2", "a=3"], []),
    ],
)
def test_variables_follow_one_by_one(old: Any, new: Any, mine: Any, made: Any, conflicts: list[str]) -> None:
    assert ({"Env": made}, conflicts) == merge_settings({"Env": old}, {"Env": new}, {"Env": mine})


@pytest.mark.parametrize("nothing", [{}, {"Env": None}, {"Env": []}])
def test_no_variables_are_said_in_three_ways(nothing: Section) -> None:
    assert {"Env": ["A=1"]} == merged(nothing, {"Env": ["A=1"]}, nothing)
    assert {"Env": ["A=1"]} == merged(nothing, nothing, {"Env": ["A=1"]})
    assert [] == (merged({"Env": ["A=1"]}, nothing, {"Env": ["A=1"]}).get("Env") or [])


def test_variables_that_are_no_list_of_text_are_one_value() -> None:
    assert ({"Env": "A=3"}, ["Env"]) == merge_settings({"Env": ["A=1"]}, {"Env": ["A=2"]}, {"Env": "A=3"})
    assert {"Env": [1]} == merged({"Env": ["A=1"]}, {"Env": [1]}, {"Env": ["A=1"]})


# Labels, ports and volumes


def members(key: str, **named: str) -> Section:
    return {key: {name: (value if key == "Labels" else {"v": value}) for name, value in named.items()}}


KEYS = pytest.mark.parametrize("key", ["Labels", "ExposedPorts", "Volumes"])


@KEYS
def test_members_follow_one_by_one(key: str) -> None:
    old, new = members(key, same="1", upd="1", drop="1", both="1"), members(key, same="1", upd="2", both="2", came="1")
    mine = members(key, same="1", upd="1", drop="1", both="3", own="1")
    wanted = members(key, same="1", upd="2", both="3", came="1", own="1")
    assert (wanted, [f"{key} both"]) == merge_settings(old, new, mine)


@KEYS
def test_members_that_the_image_took_away_stay_away(key: str) -> None:
    assert {} == {name: value for name, value in merged(members(key, a="1"), members(key, a="1"), {}).items() if value}


@KEYS
@pytest.mark.parametrize("empty", [None, {}])
def test_members_come_where_there_were_none(key: str, empty: Any) -> None:
    assert members(key, a="1") == merged({key: empty}, members(key, a="1"), {key: empty})
    assert members(key, a="1") == merged({}, members(key, a="1"), {})
    assert members(key, a="1") == merged({key: empty}, {key: empty}, members(key, a="1"))


@KEYS
def test_members_that_are_no_object_are_one_value(key: str) -> None:
    assert ({key: ["x"]}, [key]) == merge_settings(members(key, a="1"), members(key, a="2"), {key: ["x"]})


# Laws for any settings. In `sections` a value says something and a variable stands once; nulls and empties are below.

words = st.sampled_from(["1", "2", ""])
whole = st.fixed_dictionaries({}, optional=dict.fromkeys(("Cmd", "User", "x"), words))
named = st.dictionaries(st.sampled_from(["A", "B", "C"]), words, min_size=1)
environments = named.map(lambda found: [f"{name}={value}" for name, value in sorted(found.items())])
sections = st.builds(
    lambda plain, more: {**plain, **more},
    whole,
    st.fixed_dictionaries({}, optional={"Env": environments, "Labels": named, "ExposedPorts": named, "Volumes": named}),
)
anything: st.SearchStrategy[Section] = st.fixed_dictionaries(
    {},
    optional={
        "Env": st.one_of(st.none(), st.lists(st.sampled_from(["A=1", "A=2", "B=1", "C", "=", ""]), max_size=4), words),
        "Labels": st.one_of(st.none(), st.dictionaries(st.sampled_from("ab"), st.one_of(st.none(), words)), words),
        "Volumes": st.one_of(st.none(), st.dictionaries(st.sampled_from("ab"), st.just({}))),
        "Cmd": st.one_of(st.none(), st.lists(words, max_size=2)),
        "User": words,
        "x": st.one_of(st.none(), st.booleans(), st.integers(0, 1)),
    },
)


@given(sections, sections)
def test_on_the_same_base_nothing_changes(old: Section, mine: Section) -> None:
    assert (mine, []) == merge_settings(old, old, mine)


@given(sections, sections)
def test_an_image_that_says_nothing_itself_has_the_settings_of_its_new_base(old: Section, new: Section) -> None:
    assert (new, []) == merge_settings(old, new, old)


@given(sections, sections)
def test_what_both_sides_say_alike_is_what_comes_out(old: Section, new: Section) -> None:
    assert (new, []) == merge_settings(old, new, new)


@given(sections, sections, sections)
def test_a_conflict_is_a_value_that_all_three_have_otherwise_and_the_image_keeps_its_own(
    old: Section, new: Section, mine: Section
) -> None:
    made, conflicts = merge_settings(old, new, mine)
    a, b, c, d = (flat(section) for section in (old, new, mine, made))
    wanted = {name for name in a.keys() | b.keys() | c.keys() if len({a.get(name), b.get(name), c.get(name)}) == 3}
    assert wanted == set(conflicts)
    assert len(wanted) == len(conflicts)
    for name in a.keys() | b.keys() | c.keys():
        assert (b.get(name) if c.get(name) == a.get(name) else c.get(name)) == d.get(name)


def flat(section: Section) -> dict[str, str]:
    """Each setting, and each variable, label, port and volume, under its name."""
    found: dict[str, str] = {}
    for key, value in section.items():
        if key == "Env":
            found |= {f"Env {line.partition('=')[0]}": line for line in value}
        elif isinstance(value, dict):
            found |= {f"{key} {name}": one for name, one in value.items()}
        elif value:  # empty and absent are one
            found[key] = value
    return found


@given(anything, anything, anything)
def test_any_values_are_taken_and_what_was_given_is_left_alone(old: Section, new: Section, mine: Section) -> None:
    before = repr((old, new, mine))
    made, _ = merge_settings(old, new, mine)
    assert made.keys() <= old.keys() | new.keys() | mine.keys()
    assert before == repr((old, new, mine))


@pytest.mark.parametrize(
    ("old", "mine"),
    [
        ({"Env": ["A=1", "B=1"]}, {"Env": ["B=1", "A=1"]}),
        ({"Env": ["A=1"]}, {"Env": ["OWN=1", "A=1"]}),
        ({}, {"Env": ["A=1", "A=2"]}),
        ({"Env": ["A=1", "A=2"]}, {"Env": ["A=1", "A=2"]}),
        ({}, {"Env": None}),
        ({}, {"Labels": None}),
        ({}, {"Labels": {}}),
        ({"User": None}, {"User": None}),
    ],
)
def test_on_the_same_base_nothing_changes_whatever_way_it_is_said(old: Section, mine: Section) -> None:
    assert (mine, []) == merge_settings(old, old, mine)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"Env": ["A=1"]}, {"Env": ["A=1", "A=2"]}),
        ({"Env": ["A=1"]}, {"Env": []}),
        ({"Env": ["A=1"]}, {"Env": None}),
        ({}, {"Labels": {}}),
        ({"Labels": {"a": "1"}}, {"Labels": {}}),
        ({"Labels": {"a": "1"}}, {"Labels": None}),
        ({"User": None}, {}),
        ({"User": "1"}, {"User": None}),
    ],
)
def test_an_image_that_says_nothing_itself_is_its_new_base_whatever_way_that_is_said(old: Section, new: Section) -> None:
    assert (new, []) == merge_settings(old, new, old)


# History


def steps(*words: str) -> list[dict[str, Any]]:
    """A history: each word an instruction, with a `-` before it one that made no layer."""
    return [{"created_by": word.strip("-"), **({"empty_layer": True} if word[0] == "-" else {})} for word in words]


@pytest.mark.parametrize(
    ("base", "mine", "layers", "own"),
    [
        (("a",), ("a", "b"), 1, ("b",)),
        (("a", "-env"), ("a", "-env", "b"), 1, ("b",)),
        (("a", "-env"), ("a", "-env", "-cmd", "b"), 1, ("-cmd", "b")),
        (("a", "-env"), ("a", "-other", "b"), 1, ("-other", "b")),
        (("-from", "a"), ("-from", "a"), 1, ()),
        (("x",), ("a", "b", "-e"), 1, ("b", "-e")),
        (("x", "y"), ("-e", "a", "-f", "b", "-g", "c"), 2, ("-g", "c")),
        ((), ("-e", "a"), 0, ("-e", "a")),
        (("-x",), ("-e", "a"), 0, ("-e", "a")),
        (("-x",), ("-x", "a"), 0, ("a",)),
    ],
)
def test_the_images_own_entries_are_those_behind_its_bases(
    base: tuple[str, ...], mine: tuple[str, ...], layers: int, own: tuple[str, ...]
) -> None:
    assert steps(*own) == own_history(steps(*base), steps(*mine), layers)


def test_a_step_at_another_time_is_another_step() -> None:
    base: list[dict[str, Any]] = [
        {"created": "2024-01-01T00:00:00Z", "created_by": "a"},
        {"created_by": "c", "empty_layer": True},
    ]
    mine = [{"created": "2024-01-02T00:00:00Z", "created_by": "a"}, *base[1:], {"created_by": "b"}]
    assert mine[1:] == own_history(base, mine, 1)


@given(st.lists(st.sampled_from(["a", "b", "-a"]), max_size=5), st.lists(st.sampled_from(["a", "b", "-a"]), max_size=5))
def test_own_entries_make_the_own_layers_whatever_the_base_says(base: list[str], own: list[str]) -> None:
    layers = sum(word[0] != "-" for word in base)
    assert steps(*own) == own_history(steps(*base), steps(*base, *own), layers)
    others = own_history(steps(*("x" + word if word[0] != "-" else word for word in base)), steps(*base, *own), layers)
    assert [step for step in steps(*own) if "empty_layer" not in step] == [step for step in others if "empty_layer" not in step]
