"""Edits of a configuration: each flag a law, read off image-spec config.md and Docker's Dockerfile reference."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ocitool.errors import FormatError, UsageError
from ocitool.images.config_edits import (
    Settings,
    annotate,
    apply,
    describe,
    nothing_to_unset,
    parse,
    parse_time,
    remaining_mentions,
)


def edited(config: dict[str, Any] | None, **flags: Any) -> Any:
    """The `config` section after these flags."""
    return apply({"os": "linux"} if config is None else {"os": "linux", "config": config}, parse(**flags)).get("config")


@pytest.mark.parametrize(
    ("before", "flags", "after"),
    [
        ({"Env": ["A=1", "B=2"]}, {"env": ["A=3"]}, {"Env": ["A=3", "B=2"]}),
        ({"Env": ["A=1"]}, {"env": ["B=2", "C="]}, {"Env": ["A=1", "B=2", "C="]}),
        ({}, {"env": ["A=x=y"]}, {"Env": ["A=x=y"]}),
        (None, {"env": ["A=1"]}, {"Env": ["A=1"]}),
        ({"Env": None}, {"env": ["A=1"]}, {"Env": ["A=1"]}),
        ({"Env": ["A=1", "B=2", "A=3"]}, {"env": ["A=4"]}, {"Env": ["A=4", "B=2"]}),
        ({"Env": ["A"]}, {"env": ["A=1"]}, {"Env": ["A=1"]}),
        ({"Env": ["AB=1", "a=1"]}, {"env": ["A=1"]}, {"Env": ["AB=1", "a=1", "A=1"]}),
        ({"Env": ["A=1"]}, {"env": ["A=2", "A=3"]}, {"Env": ["A=3"]}),
        ({"Env": ["A=1", "B=2"]}, {"unset_env": ["A"]}, {"Env": ["B=2"]}),
        ({"Env": ["A=1", "B=2", "A=3"]}, {"unset_env": ["A"]}, {"Env": ["B=2"]}),
        ({"Env": ["A=1"], "Cmd": ["x"]}, {"unset_env": ["A"]}, {"Cmd": ["x"]}),
        ({"Env": []}, {"unset_env": ["A"]}, {"Env": []}),
        ({"Env": None}, {"unset_env": ["A"]}, {"Env": None}),
    ],
)
def test_variables_are_set_in_place_or_appended_and_removed_by_name(before: Any, flags: Any, after: Any) -> None:
    assert after == edited(before, **flags)


def test_windows_does_not_tell_the_case_of_variables_apart() -> None:
    fields = {"os": "windows", "config": {"Env": ["Path=c:\\bin", "B=1"]}}
    assert ["PATH=d:\\", "B=1"] == apply(fields, parse(env=["PATH=d:\\"]))["config"]["Env"]


@pytest.mark.parametrize(
    ("before", "flags", "after"),
    [
        ({"Labels": {"b": "1", "a": "2"}}, {"labels": ["b=3", "c="]}, {"Labels": {"b": "3", "a": "2", "c": ""}}),
        (None, {"labels": ["a=b=c"]}, {"Labels": {"a": "b=c"}}),
        ({"Labels": None}, {"labels": ["a=b"]}, {"Labels": {"a": "b"}}),
        ({"Labels": {"a": "1", "b": "2"}}, {"unset_labels": ["a"]}, {"Labels": {"b": "2"}}),
        ({"Labels": {"a": "1"}}, {"unset_labels": ["a"]}, {}),
        ({"Labels": {}}, {"unset_labels": ["a"]}, {"Labels": {}}),
    ],
)
def test_labels(before: Any, flags: Any, after: Any) -> None:
    assert json.dumps(after) == json.dumps(edited(before, **flags))


@pytest.mark.parametrize(
    ("before", "flags", "after"),
    [
        ({}, {"expose": ["80"]}, {"ExposedPorts": {"80/tcp": {}}}),
        ({"ExposedPorts": {"80/tcp": {}}}, {"expose": ["80", "53/UDP"]}, {"ExposedPorts": {"80/tcp": {}, "53/udp": {}}}),
        ({"ExposedPorts": {"80": {}}}, {"expose": ["80/tcp"]}, {"ExposedPorts": {"80": {}}}),
        ({}, {"expose": ["8000-8002/udp"]}, {"ExposedPorts": {"8000/udp": {}, "8001/udp": {}, "8002/udp": {}}}),
        ({"ExposedPorts": {"80": {}, "81/tcp": {}}}, {"unset_expose": ["80"]}, {"ExposedPorts": {"81/tcp": {}}}),
        ({"ExposedPorts": {"80/tcp": {}, "80/udp": {}}}, {"unset_expose": ["80"]}, {"ExposedPorts": {"80/udp": {}}}),
        ({"ExposedPorts": {"80/tcp": {}}}, {"unset_expose": ["1-65535"]}, {}),
    ],
)
def test_a_port_without_protocol_is_tcps_and_a_range_is_every_port_of_it(before: Any, flags: Any, after: Any) -> None:
    assert after == edited(before, **flags)


@pytest.mark.parametrize(
    ("before", "flags", "after"),
    [
        ({}, {"volumes": ["/data"]}, {"Volumes": {"/data": {}}}),
        ({"Volumes": {"/data/": {}}}, {"volumes": ["/data", "/b"]}, {"Volumes": {"/data/": {}, "/b": {}}}),
        ({"Volumes": {"/data/": {}, "/b": {}}}, {"unset_volumes": ["/data"]}, {"Volumes": {"/b": {}}}),
        ({"Volumes": {"/data": {}}}, {"unset_volumes": ["/data/"]}, {}),
        ({}, {"volumes": ["/"]}, {"Volumes": {"/": {}}}),
        ({}, {"volumes": ["C:\\data"]}, {"Volumes": {"C:\\data": {}}}),
    ],
)
def test_volumes(before: Any, flags: Any, after: Any) -> None:
    assert after == edited(before, **flags)


@pytest.mark.parametrize(("flag", "key"), [("cmd", "Cmd"), ("entrypoint", "Entrypoint")])
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('["/app", "--x"]', ["/app", "--x"]),
        (' ["/app"] ', ["/app"]),
        ("[]", []),
        ("echo hi", ["/bin/sh", "-c", "echo hi"]),
        ("[ -e /x ] && y", ["/bin/sh", "-c", "[ -e /x ] && y"]),
    ],
)
def test_a_command_is_a_json_array_or_a_line_for_the_shell(flag: str, key: str, text: str, words: list[str]) -> None:
    assert {key: words, "User": "u"} == edited({key: ["old"], "User": "u"}, **{flag: text})


def test_a_line_is_for_the_shell_of_the_image() -> None:
    assert ["/bin/bash", "-euc", "x"] == edited({"Shell": ["/bin/bash", "-euc"]}, cmd="x")["Cmd"]
    assert ["cmd", "/S", "/C", "x"] == apply({"os": "windows"}, parse(cmd="x"))["config"]["Cmd"]


def test_arguments_of_windows_are_escaped_already_in_a_line_and_only_there() -> None:
    fields = {"os": "windows", "config": {"Cmd": ["a"], "ArgsEscaped": True}}
    assert {"Cmd": ["b"]} == apply(fields, parse(cmd='["b"]'))["config"]
    assert True is apply({"os": "windows"}, parse(cmd="b"))["config"]["ArgsEscaped"]
    assert fields == apply(fields, parse(cmd='["a"]'))
    assert {"Cmd": ["b"], "ArgsEscaped": True} == edited({"Cmd": ["a"], "ArgsEscaped": True}, cmd='["b"]')


def test_cmd_entrypoint_and_healthcheck_can_be_removed() -> None:
    before = {"Cmd": ["a"], "Entrypoint": ["b"], "Healthcheck": {"Test": ["NONE"]}, "User": "u"}
    assert {"User": "u"} == edited(before, unset_cmd=True, unset_entrypoint=True, unset_healthcheck=True)
    assert {"Cmd": None} == edited({"Cmd": None}, unset_cmd=True)


def test_an_entrypoint_leaves_the_cmd_alone() -> None:
    assert {"Cmd": ["a"], "Entrypoint": ["b"]} == edited({"Cmd": ["a"]}, entrypoint='["b"]')


@pytest.mark.parametrize(
    ("flag", "key", "value"),
    [("user", "User", "1000:1000"), ("workdir", "WorkingDir", "/srv"), ("stop_signal", "StopSignal", "SIGRTMIN+3")],
)
def test_user_workdir_and_stop_signal_are_set_and_an_empty_one_removes(flag: str, key: str, value: str) -> None:
    assert {key: value} == edited({}, **{flag: value})
    assert {} == edited({key: "SIGTERM"}, **{flag: ""})
    assert {key: ""} == edited({key: ""}, **{flag: ""})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-05-01T12:00:00Z", "2024-05-01T12:00:00Z"),
        ("2024-05-01t12:00:00.123456789+02:00", "2024-05-01T12:00:00.123456789+02:00"),
        ("@0", "1970-01-01T00:00:00Z"),
        ("@1714564800", "2024-05-01T12:00:00Z"),
        ("@-1", "1969-12-31T23:59:59Z"),
    ],
)
def test_created_is_rfc_3339_or_seconds_since_the_epoch(text: str, expected: str) -> None:
    assert {"os": "linux", "created": expected} == apply({"os": "linux", "created": "x"}, parse(created=text))


@pytest.mark.parametrize(
    "text",
    ["", "now", "2024-05-01", "2024-13-01T00:00:00Z", "2024-05-01T12:00:00", "@", "@1.5", "@999999999999",
     "2024-05-01 12:00:00Z"],
)  # fmt: skip
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no time") as caught:
        parse_time(text)
    assert "2024-05-01T12:00:00Z" in (caught.value.hint or "")


def test_annotations_are_the_manifests_and_no_affair_of_the_configuration() -> None:
    asked = parse(annotations=["a=1", "b=2"], unset_annotations=["c"])
    assert {"x": 1, "annotations": {"b": "2", "a": "1"}} == annotate({"x": 1, "annotations": {"b": "0", "c": ""}}, asked)
    assert {"annotations": {"a": "1", "b": "2"}} == annotate({}, asked)
    assert {"x": 1} == annotate({"x": 1, "annotations": {"c": "1"}}, parse(unset_annotations=["c"]))
    assert {"config": {}} == apply({"config": {}}, asked)


@pytest.mark.parametrize(
    ("flags", "what"),
    [
        ({"env": ["A"]}, "--env A: no value"),
        ({"env": ["=x"]}, "--env =x: no name"),
        ({"labels": ["a"]}, "--label a: no value"),
        ({"annotations": ["=1"]}, "--annotation =1: no name"),
        ({"unset_env": ["A=1"]}, "--unset-env A=...: a name has no value"),
        ({"unset_env": [""]}, "--unset-env: an empty name"),
        ({"cmd": '["a"'}, "not a JSON array of strings"),
        ({"cmd": "['a']"}, "not a JSON array of strings"),
        ({"cmd": "[1]"}, "not a JSON array of strings"),
        ({"entrypoint": " "}, "--entrypoint: an empty command"),
        ({"user": "a b"}, "invalid user"),
        ({"user": "a:b:c"}, "invalid user"),
        ({"workdir": "app"}, "--workdir app: not an absolute path"),
        ({"volumes": ["data"]}, "--volume data: not an absolute path"),
        ({"volumes": [""]}, "--volume: an empty path"),
        ({"expose": ["80/foo"]}, "--expose 80/foo: invalid port"),
        ({"expose": ["0"]}, "invalid port"),
        ({"expose": ["65536"]}, "invalid port"),
        ({"expose": ["9-8"]}, "invalid port"),
        ({"unset_expose": ["http"]}, "--unset-expose http: invalid port"),
        ({"stop_signal": "-9"}, "invalid signal"),
        ({"env": ["A=\udcff"]}, "not UTF-8"),
        ({"cmd": '["\\udcff"]'}, "not UTF-8"),
        ({"env": ["A=1"], "unset_env": ["A"]}, "--env and --unset-env ask for both"),
        ({"expose": ["80"], "unset_expose": ["79-81"]}, "--expose and --unset-expose ask for both"),
        ({"volumes": ["/a/"], "unset_volumes": ["/a"]}, "--volume and --unset-volume ask for both"),
        ({"cmd": "a", "unset_cmd": True}, "--cmd and --unset-cmd ask for both"),
    ],
)
def test_words_that_mean_nothing_or_contradict_each_other_are_refused(flags: dict[str, Any], what: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(**flags)
    assert what in str(caught.value)


def test_no_word_is_no_setting() -> None:
    assert not parse()
    assert parse(user="")
    assert Settings() == parse()


@pytest.mark.parametrize(
    ("fields", "flags"),
    [
        ({"config": []}, {"env": ["A=1"]}),
        ({"config": {"Env": {}}}, {"env": ["A=1"]}),
        ({"config": {"Env": [1]}}, {"unset_env": ["A"]}),
        ({"config": {"Labels": []}}, {"labels": ["a=1"]}),
        ({"config": {"Volumes": ["/a"]}}, {"volumes": ["/a"]}),
    ],
)
def test_what_is_not_of_its_shape_cannot_be_edited(fields: dict[str, Any], flags: dict[str, Any]) -> None:
    with pytest.raises(FormatError):
        apply(fields, parse(**flags))


def test_what_no_setting_is_about_may_be_of_any_shape() -> None:
    assert {"config": {"Env": 7, "User": "u"}} == apply({"config": {"Env": 7}}, parse(user="u"))


def test_a_history_names_settings_without_values() -> None:
    asked = parse(
        env=["TOKEN=hunter2"], labels=["a=hunter2"], cmd="run hunter2", unset_healthcheck=True, user="7", expose=["80"]
    )
    line = "ocitool edit --env TOKEN --label a --expose 80/tcp --cmd --unset-healthcheck --user 7"
    assert line == describe(asked)


def test_describe_says_every_setting_that_is_asked_for() -> None:
    asked = {
        "env": ["A=1"], "unset_env": ["B"], "labels": ["c=1"], "unset_labels": ["d"], "annotations": ["e=1"],
        "unset_annotations": ["f"], "user": "", "workdir": "/w", "expose": ["1"], "unset_expose": ["2"], "volumes": ["/v"],
        "unset_volumes": ["/u"], "unset_healthcheck": True, "stop_signal": "9", "created": "@0",
    }  # fmt: skip
    for more in ({"cmd": "x", "entrypoint": "y"}, {"unset_cmd": True, "unset_entrypoint": True}):
        said = describe(parse(**asked, **more))
        plural = {"labels": "label", "annotations": "annotation", "volumes": "volume"}
        for flag in {**asked, **more}:
            word = flag.removeprefix("unset_")
            word = flag[: -len(word)] + plural.get(word, word)
            assert f"--{word.replace('_', '-')}" in said.split()


def test_what_is_to_be_removed_and_is_not_there_is_named() -> None:
    asked = parse(
        unset_env=["A", "B"], unset_labels=["c"], unset_annotations=["d"], unset_volumes=["/v"], unset_expose=["80"],
        unset_cmd=True,
    )  # fmt: skip
    found = nothing_to_unset({"config": {"Env": ["A=1"]}}, {}, asked)
    assert ["no variable B to unset", "no label c to unset", "no annotation d to unset", "no exposed port 80/tcp to unset",
            "no volume /v to unset", "no cmd to unset"] == found  # fmt: skip
    there = {"config": {"Env": ["A=", "B"], "Labels": {"c": ""}, "Volumes": {"/v/": {}}, "ExposedPorts": {"80": {}}, "Cmd": []}}
    assert [] == nothing_to_unset(there, {"annotations": {"d": ""}}, asked)


def test_a_removed_variable_that_still_stands_elsewhere_is_named_without_its_value() -> None:
    fields = {
        "container_config": {"Env": ["TOKEN=hunter2"]},
        "history": [{"created_by": "ENV TOKEN=hunter2"}, {"created_by": "ENV MYTOKEN=1"}, {"created_by": "ENV TOKEN hunter2"},
                    {"created_by": "ocitool edit --env TOKEN --user x"}],
    }  # fmt: skip
    said = remaining_mentions(fields, parse(unset_env=["TOKEN"]))
    assert [
        "container_config.Env, which no runtime reads, still holds TOKEN",
        "history[0] still mentions TOKEN",
        "history[2] still mentions TOKEN",
    ] == said
    assert [] == remaining_mentions(fields, parse(unset_env=["OTHER"]))
