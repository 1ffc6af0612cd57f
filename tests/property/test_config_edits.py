"""Laws of configuration edits that hold for any configuration and any settings."""

from __future__ import annotations

import contextlib
import copy
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ocitool.errors import OcitoolError
from ocitool.images.config_edits import annotate, apply, parse

few = settings(max_examples=200, deadline=None, derandomize=True)
KEY = st.sampled_from(["A", "B", "Path", "PATH", "x-y"])
TEXT = st.text(st.characters(codec="utf-8"), max_size=4)
PAIR = st.builds("{}={}".format, KEY, TEXT)
PORT = st.sampled_from(["80", "80/udp", "79-81", "1/sctp"])
PLACE = st.sampled_from(["/a", "/a/", "/b", "C:\\a"])
OBJECT = st.dictionaries(st.sampled_from(["80", "80/tcp", "81/udp", "/a", "/a/", "zz"]), st.just({}), max_size=3)
SECTION = st.fixed_dictionaries(
    {},
    optional={
        "Env": st.none() | st.lists(PAIR | KEY, max_size=4), "Labels": st.none() | st.dictionaries(KEY, TEXT, max_size=3),
        "ExposedPorts": st.none() | OBJECT, "Volumes": st.none() | OBJECT, "Cmd": st.none() | st.lists(TEXT, max_size=2),
        "Entrypoint": st.none() | st.lists(TEXT, max_size=2), "User": TEXT, "WorkingDir": TEXT, "StopSignal": TEXT,
        "ArgsEscaped": st.booleans(), "Shell": st.lists(TEXT, max_size=2), "Healthcheck": st.none() | st.just({"Test": []}),
        "x-unknown": TEXT,
    },
)  # fmt: skip
FIELDS = st.fixed_dictionaries(
    {"os": st.sampled_from(["linux", "windows"])},
    optional={
        "config": st.none() | SECTION, "created": TEXT, "unknown": st.lists(TEXT), "annotations": st.dictionaries(KEY, TEXT),
    },
)  # fmt: skip
COMMAND = st.none() | st.sampled_from(["run", '["a","b"]', "[]"])
some = st.lists
FLAGS = st.fixed_dictionaries(
    {},
    optional={
        "env": some(PAIR, max_size=3), "unset_env": some(KEY, max_size=2), "labels": some(PAIR, max_size=3),
        "unset_labels": some(KEY, max_size=2), "annotations": some(PAIR, max_size=2),
        "unset_annotations": some(KEY, max_size=2), "cmd": COMMAND, "unset_cmd": st.booleans(),
        "entrypoint": COMMAND, "unset_entrypoint": st.booleans(),
        "user": st.sampled_from([None, "", "u", "1:2"]), "workdir": st.sampled_from([None, "", "/w"]),
        "expose": some(PORT, max_size=2), "unset_expose": some(PORT, max_size=2), "volumes": some(PLACE, max_size=2),
        "unset_volumes": some(PLACE, max_size=2), "unset_healthcheck": st.booleans(),
        "stop_signal": st.sampled_from([None, "", "SIGTERM"]), "created": st.sampled_from([None, "@0"]),
    },
)  # fmt: skip
KNOWN = {
    "env": "Env", "unset_env": "Env", "labels": "Labels", "unset_labels": "Labels", "cmd": "Cmd", "unset_cmd": "Cmd",
    "entrypoint": "Entrypoint", "unset_entrypoint": "Entrypoint", "user": "User", "workdir": "WorkingDir",
    "expose": "ExposedPorts", "unset_expose": "ExposedPorts", "volumes": "Volumes", "unset_volumes": "Volumes",
    "unset_healthcheck": "Healthcheck", "stop_signal": "StopSignal",
}  # fmt: skip


def asked(flags: dict[str, Any]) -> Any:
    with contextlib.suppress(OcitoolError):
        return parse(**flags)
    return None


@few
@given(FIELDS, FLAGS)
def test_an_edit_made_twice_is_the_edit_made_once(fields: dict[str, Any], flags: dict[str, Any]) -> None:
    wanted = asked(flags)
    if wanted is not None:
        once = apply(fields, wanted)
        assert repr(once) == repr(apply(once, wanted))  # the order of keys counts
        noted = annotate(fields, wanted)
        assert repr(noted) == repr(annotate(noted, wanted))


@few
@given(FIELDS, FLAGS)
def test_an_edit_changes_only_what_it_is_about_and_never_its_input(fields: dict[str, Any], flags: dict[str, Any]) -> None:
    wanted, before = asked(flags), copy.deepcopy(fields)
    if wanted is not None:
        after = apply(fields, wanted)
        assert before == fields
        touched = {KNOWN[flag] for flag, value in flags.items() if flag in KNOWN and value}
        touched |= {KNOWN[flag] for flag in ("user", "workdir", "stop_signal") if flags.get(flag) is not None}
        if touched & {"Cmd", "Entrypoint"}:
            touched.add("ArgsEscaped")
        old, new = fields.get("config") or {}, after.get("config") or {}
        assert {k: v for k, v in old.items() if k not in touched} == {k: v for k, v in new.items() if k not in touched}
        assert [key for key in old if key in new and key != "ArgsEscaped"] == [
            key for key in new if key in old and key != "ArgsEscaped"
        ]
        kept = ("os", "unknown", "annotations", *(() if wanted.created else ("created",)))
        assert {key: fields.get(key) for key in kept} == {key: after.get(key) for key in kept}


@few
@given(FIELDS)
def test_nothing_asked_for_changes_nothing(fields: dict[str, Any]) -> None:
    assert repr(fields) == repr(apply(fields, parse())) == repr(annotate(fields, parse()))
