"""The classes of what is notable: what each rule finds in contents, settings and layers, in which order, and what --fail-on
says of it."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable
from pathlib import Path
from shutil import rmtree
from typing import Any

import pytest
from support.images import AnyEntry, Image, config_of, entry, image, layer_tar, write_layout
from support.packages import stanza
from support.report import report_of

Run = Callable[..., Any]
Pair = Callable[..., tuple[Path, Path]]
CAPABILITY = ((b"security.capability", b"\1"),)
BODY = b"MIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n" * 4
KEY = b"-----BEGIN PRIVATE KEY-----\n" + BODY + b"-----END PRIVATE KEY-----\n"
CERTIFICATE = b"-----BEGIN CERTIFICATE-----\n" + BODY + b"-----END CERTIFICATE-----\n"
PASSWD = b"root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1::/usr/sbin:/usr/sbin/nologin\n"
SHADOW = b"root:*:19000:0:99999:7:::\napp:!:19000:0:99999:7:::\n"
GROUP = b"root:x:0:\nsudo:x:27:\n"
SOURCES = b"deb http://deb.debian.org/debian bookworm main\n"


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    """Two layouts of images: lists of layers, each a list of entries, or images."""

    def make(*both: Any) -> tuple[Path, Path]:
        made = [one if isinstance(one, Image) else image([layer_tar(entries) for entries in one]) for one in both]
        return write_layout(tmp_path / "a", [made[0]]), write_layout(tmp_path / "b", [made[1]])

    return make


def configured(**settings: Any) -> Image:
    tars = [layer_tar([("k", b"")])]
    return image(tars, config=config_of(tars, config={"User": "app"} | settings))


def found(ocitool: Run, a: Path, b: Path, *words: str) -> list[Any]:
    return list(report_of(ocitool("diff", "--format", "json", *words, a, b), 0, 1)["notable"])


CONTENTS: dict[str, tuple[str, bytes | None, bytes, list[tuple[str, str, str]]]] = {
    "a key under a name that says nothing": (
        "srv/docs/notes.txt", None, b"see\n" + KEY, [("secret-content", "security", "holds a private key")]),
    "a key in a file that had none": (
        "srv/conf", b"a = 1\n" * 9, b"a = 1\n" + KEY, [("secret-content", "security", "holds a private key")]),
    "a key in JSON": (
        "srv/account.json", None, json.dumps({"private_key": KEY.decode()}).encode(),
        [("secret-content", "security", "holds a private key")]),
    "a key that a password protects": (
        "srv/x", None, KEY.replace(b"BEGIN ", b"BEGIN ENCRYPTED "),
        [("secret-content", "security", "holds an encrypted private key")]),
    "the words of a program about keys": ("usr/lib/ssh.py", None, b"if '-----BEGIN PRIVATE KEY-----' in text: load(text)", []),
    "a token": (
        "srv/deploy.sh", None, b"curl -H 'X: ghp_" + b"a1" * 18 + b"' x",
        [("secret-content", "security", "holds a token of a known form")]),
    "a token in an example of a library": ("usr/lib/python3/tests/x.py", None, b"TOKEN = 'ghp_" + b"a1" * 18 + b"'", []),
    "credentials of npm": (
        "root/.npmrc", None, b"//registry.npmjs.org/:_authToken=abcdef0123\n",
        [("secret-content", "security", "holds credentials")]),
    "settings of npm": (
        "app/.npmrc", None, b"fund=false\nregistry=https://registry.npmjs.org/\n",
        [("secret-file", "info", "looks secret by its path, but holds neither key nor credentials")]),
    "a repository with a password": (
        "app/.git/config", None, b'[remote "origin"]\n\turl = https://me:hunter2@git.example.org/x\n',
        [("secret-content", "security", "holds credentials")]),
    "a repository without one": (
        "app/.git/config", None, b'[core]\n\tbare = false\n[remote "origin"]\n\turl = https://git.example.org/x\n',
        [("secret-file", "info", "looks secret by its path, but holds neither key nor credentials")]),
    "a secret that looks like a setting": (
        "app/db_password", None, b"c2VjcmV0IG9mIG91cnM=\n",
        [("secret-file", "security", "new: a file whose path looks secret")]),
    "a public certificate": (
        "app/server.pem", None, CERTIFICATE,
        [("secret-file", "info", "looks secret by its path, but holds neither key nor credentials")]),
    "a certificate with its key": (
        "app/server.pem", None, CERTIFICATE + KEY, [("secret-content", "security", "holds a private key")]),
    "a new root": (
        "etc/passwd", PASSWD, PASSWD + b"eve:x:0:0::/:/bin/sh\n",
        [("accounts", "security", "eve: has user number 0, as root has")]),
    "a login shell": (
        "etc/passwd", PASSWD, PASSWD.replace(b"/usr/sbin/nologin", b"/bin/sh"),
        [("accounts", "security", "daemon: has a login shell now")]),
    "accounts of the network": (
        "etc/passwd", PASSWD, PASSWD + b"+::::::\n", [("accounts", "security", "+: has user number 0, as root has")]),
    "an account of a service": (
        "etc/passwd", PASSWD, PASSWD + b"app:x:999:999::/:/usr/sbin/nologin\n", [("accounts", "info", "new in passwd: app")]),
    "a password": (
        "etc/shadow", SHADOW, SHADOW.replace(b"app:!", b"app:$6$salt$hunter2"),
        [("accounts", "security", "app: has another password")]),
    "no password": (
        "etc/shadow", SHADOW, SHADOW.replace(b"root:*", b"root:"), [("accounts", "security", "root: needs no password")]),
    "a date of a password": (
        "etc/shadow", SHADOW, SHADOW.replace(b"19000", b"19001"), [("accounts", "info", "changed in shadow: root, app")]),
    "a member of sudo": (
        "etc/group", GROUP, GROUP.replace(b"27:", b"27:app"),
        [("accounts", "security", "sudo: is a group with new members, which may act as root")]),
    "another host of packages": (
        "etc/apt/sources.list", SOURCES, SOURCES + b"deb https://pkg.example.org/apt stable main\n",
        [("package-source", "security", "packages come from another source: pkg.example.org")]),
    "another release of packages": (
        "etc/apt/sources.list", SOURCES, SOURCES.replace(b"bookworm", b"trixie"),
        [("package-source", "info", "settings of the sources of packages changed, not their hosts")]),
    "packages without signatures": (
        "etc/yum.repos.d/x.repo", b"[x]\nbaseurl=https://x.org/\ngpgcheck=1\n", b"[x]\nbaseurl=https://x.org/\ngpgcheck=0\n",
        [("package-source", "security", "packages are taken without a check of their signatures or of the server")]),
    "a host of apk": (
        "etc/apk/repositories", b"https://dl-cdn.alpinelinux.org/alpine/v3.19/main\n", b"http://10.0.0.1/x\n",
        [("package-source", "security", "packages come from another source: 10.0.0.1")]),
    "settings of every login": (
        "etc/environment", b"LANG=C.UTF-8\n" * 3, b"LANG=C.UTF-8\n" * 4,
        [("loader", "security", "changed: decides which code programs load")]),
    "a key in a scheduled command": (
        "etc/cron.d/x", None, b"* * * * * root x\n" + KEY,
        [("secret-content", "security", "holds a private key"), ("cron", "security", "new: commands that are run by time")]),
    "a long list of groups": (
        "etc/group", GROUP, GROUP + b"g:x:1:a\n" * 140_000,
        [("engine-exploit", "security", "has 1,120,021 bytes, which engines read into memory (CVE-2026-47262)"),
         ("accounts", "security", "changed: who may log in, or act as others")]),
}  # fmt: skip


@pytest.mark.parametrize("case", CONTENTS)
def test_the_content_of_a_small_file_says_what_is_notable(ocitool: Run, pair: Pair, case: str) -> None:
    path, before, after, expected = CONTENTS[case]
    a, b = pair([[("k", b""), *([(path, before)] if before is not None else [])]], [[("k", b""), (path, after)]])
    items = [one for one in found(ocitool, a, b) if one["path"] == "/" + path]
    assert expected == [(one["rule"], one["severity"], one["message"]) for one in items]
    for form in ("text", "markdown", "json"):
        out = ocitool("diff", "--format", form, a, b).out
        assert "hunter2" not in out and "MIIEvQ" not in out and "a1a1a1" not in out


def test_hosts_that_move_from_one_file_of_sources_to_another_are_no_news(ocitool: Run, pair: Pair) -> None:
    new = b"Types: deb\nURIs: http://deb.debian.org/debian\nSuites: trixie\n"
    a, b = pair([[("etc/apt/sources.list", SOURCES)]], [[("etc/apt/sources.list.d/debian.sources", new)]])
    assert [("package-source", "info")] == [(one["rule"], one["severity"]) for one in found(ocitool, a, b) if one["path"]]


SETTINGS: dict[str, tuple[dict[str, Any], dict[str, Any], list[tuple[str, str, str | None]]]] = {
    "a secret": ({}, {"Env": ["AWS_SECRET_ACCESS_KEY=hunter2"]}, [("secret-env", "security", "AWS_SECRET_ACCESS_KEY")]),
    "a token in a label": ({}, {"Labels": {"api.token": "hunter2"}}, [("secret-label", "security", "api.token")]),
    "a password of a command": (
        {"Cmd": ["x"]}, {"Cmd": ["x", "--password", "hunter2"]},
        [("secret-command", "security", None), ("command", "security", "Cmd")]),
    "another user": ({"User": "a"}, {"User": "b"}, [("user", "info", None)]),
    "directories before those of PATH": (
        {"Env": ["PATH=/usr/bin:/bin"]}, {"Env": ["PATH=/opt/x/bin:/usr/bin:/bin"]}, [("path-prefix", "security", "PATH")]),
    "directories behind those of PATH": (
        {"Env": ["PATH=/usr/bin:/bin"]}, {"Env": ["PATH=/usr/bin:/bin:/opt/x/bin"]}, [("path-prefix", "info", "PATH")]),
    "another version in PATH": (
        {"Env": ["PATH=/opt/jdk-17.0.1/bin:/bin"]}, {"Env": ["PATH=/opt/jdk-21/bin:/bin"]}, [("path-prefix", "info", "PATH")]),
    "another order of PATH": (
        {"Env": ["PATH=/usr/bin:/bin"]}, {"Env": ["PATH=/bin:/usr/bin"]}, [("path-prefix", "security", "PATH")]),
    "a directory of PATH that every user may write": (
        {"Env": ["PATH=/bin"]}, {"Env": ["PATH=/bin:/tmp/x"]}, [("path-prefix", "security", "PATH")]),
    "a relative directory of PATH": ({"Env": ["PATH=/bin"]}, {"Env": ["PATH=/bin:"]}, [("path-prefix", "security", "PATH")]),
    "an entry without a value": ({}, {"Env": ["SSH_AUTH_SOCK"]}, [("engine-exploit", "security", "SSH_AUTH_SOCK")]),
    "a line break in HOME": ({}, {"Env": ["HOME=/\nx:x:0:0::/:/bin/sh"]}, [("engine-exploit", "security", "HOME")]),
    "a label of the restart monitor": (
        {}, {"Labels": {"containerd.io/restart.loguri": "binary:///bin/sh"}},
        [("engine-exploit", "security", "containerd.io/restart.loguri")]),
    "a working directory of a process": ({}, {"WorkingDir": "/proc/self/fd/8"}, [("engine-exploit", "security", None)]),
    "a user above 2^31": ({}, {"User": "4294967296"}, [("engine-exploit", "security", None), ("user", "info", None)]),
    "a volume that leads up": (
        {}, {"Volumes": {"/../etc": {}}}, [("engine-exploit", "security", "/../etc"), ("volume", "security", "/../etc")]),
    "a volume over proc": (
        {}, {"Volumes": {"/proc": {}}}, [("engine-exploit", "security", "/proc"), ("volume", "security", "/proc")]),
    "what was there before": (
        {"Env": ["X"], "Labels": {"containerd.io/restart.x": ""}},
        {"Env": ["A=1", "X"], "Labels": {"containerd.io/restart.x": ""}}, []),
}  # fmt: skip


@pytest.mark.parametrize("case", SETTINGS)
def test_settings_are_notable_by_what_they_do(ocitool: Run, pair: Pair, case: str) -> None:
    before, after, expected = SETTINGS[case]
    a, b = pair(configured(**before), configured(**after))
    items = found(ocitool, a, b)
    assert expected == [(one["rule"], one["severity"], one["key"]) for one in items]
    assert "hunter2" not in ocitool("diff", a, b).out + ocitool("diff", "--format", "markdown", a, b).out + json.dumps(items)


@pytest.mark.parametrize(
    ("path", "target"), [("proc", "x"), ("dev", "x"), ("etc/passwd", "../x"), ("bin/app", "/proc/self/exe")]
)
def test_links_that_engines_were_exploited_by_are_notable(ocitool: Run, pair: Pair, path: str, target: str) -> None:
    a, b = pair([[("k", b"")]], [[("k", b""), entry(path, f"link:{target}")]])
    assert "engine-exploit" in [one["rule"] for one in found(ocitool, a, b) if one["severity"] == "security"]


def test_a_secret_of_a_setting_is_not_told_again_of_the_history(ocitool: Run, pair: Pair) -> None:
    tars = [layer_tar([("k", b"")])]
    history = [{"created_by": "ENV API_TOKEN=hunter2"}]
    before = image(tars, config=config_of(tars, config={}))
    for env, expected in ((["API_TOKEN=hunter2"], ["secret-env"]), ([], ["secret-command"])):
        a, b = pair(before, image(tars, config=config_of(tars, config={"Env": env}, history=history)))
        assert expected == [one["rule"] for one in found(ocitool, a, b)]
        rmtree(a)
        rmtree(b)


def test_security_stands_first_and_costs_by_their_bytes(ocitool: Run, pair: Pair) -> None:
    """One layer hides 3 MB, the next 2 MB, and a setuid file is new."""
    big: list[AnyEntry] = [("m/a", b"x" * 2_000_000), ("m/b", b"y" * 3_000_000)]
    last = [("m/.wh.b", b""), entry("su", b"1", mode=0o4755)]
    a, b = pair([[("k", b"")]], [[("k", b"")], big, [("m/.wh.a", b"")], last])
    items = found(ocitool, a, b)
    assert [("setuid", "security"), ("deleted-still-ships", "cost"), ("deleted-still-ships", "cost")] == [
        (one["rule"], one["severity"]) for one in items
    ]
    assert [0, 3_000_000, 2_000_000] == [one["bytes"] for one in items]
    lines = [line.split() for line in ocitool("diff", "--stat", a, b).out.splitlines()]
    assert ["/su", "/m/b", "/m/a"] == [line[2] for line in lines if line[:1] in (["security"], ["cost"])]


def test_few_deleted_bytes_are_information(ocitool: Run, pair: Pair) -> None:
    a, b = pair([[("k", b"")]], [[("k", b"")], [("m/a", b"x" * 900_000)], [("m/.wh.a", b"")]])
    assert [("deleted-still-ships", "info")] == [(one["rule"], one["severity"]) for one in found(ocitool, a, b)]
    assert 0 == ocitool("diff", "--fail-on", "notable", a, b).code
    assert 1 == ocitool("diff", "--fail-on", "deleted-still-ships", a, b).code


@pytest.mark.parametrize(("path", "severity"), [("etc/pw", "security"), ("var/log/dpkg.log", "info")])
def test_a_file_that_is_emptied_is_about_security_unless_it_is_a_log(
    ocitool: Run, pair: Pair, path: str, severity: str
) -> None:
    a, b = pair([[("k", b"")]], [[("k", b"")], [(path, b"K" * 300)], [(path, b"")]])
    assert [severity] == [one["severity"] for one in found(ocitool, a, b)]


def test_many_layers_are_a_cost_from_120_on(ocitool: Run, pair: Pair) -> None:
    for count, expected in ((120, []), (121, [("layer-count", "cost")])):
        layers = [[(f"f{number}", b"1")] for number in range(count)]
        a, b = pair(layers[:1], layers)
        assert expected == [(one["rule"], one["severity"]) for one in found(ocitool, a, b)]
        rmtree(a)
        rmtree(b)


def fold(*paths: str, mode: int = 0o666, content: bytes = b"1") -> list[AnyEntry]:
    return [entry(path, content, mode=mode) for path in paths]


def test_what_one_layer_did_alike_in_a_directory_is_one_row(ocitool: Run, pair: Pair) -> None:
    a, b = pair([[("k", b"")]], [[("k", b""), *fold(*(f"srv/x/w{number}" for number in range(300)))]])
    lines = [line for line in ocitool("diff", "--stat", a, b).out.splitlines() if "world-writable" in line]
    assert 1 == len(lines)
    assert "/srv/x/" in lines[0]
    assert "300 files: new file that everybody may write: w0, w1, w10 and others" in lines[0]
    assert 300 == len(found(ocitool, a, b))


def test_rows_of_too_many_directories_are_those_of_the_directories_above(ocitool: Run, pair: Pair) -> None:
    paths = [f"srv/x/d{number}/{name}" for number in range(40) for name in "abc"]
    a, b = pair([[("k", b"")]], [[("k", b""), *fold(*paths)]])
    lines = [line for line in ocitool("diff", "--stat", a, b).out.splitlines() if "world-writable" in line]
    assert [True] == ["/srv/x/" in line and "120 files" in line for line in lines]


def test_a_key_among_documents_keeps_its_own_row(ocitool: Run, pair: Pair) -> None:
    keys = ["srv/docs/id_rsa", "srv/docs/notes.txt", "srv/docs/tls.key"]
    a, b = pair(
        [[("k", b"")]], [[("k", b""), *fold(*(f"srv/docs/w{n}" for n in range(50))), *fold(*keys, content=KEY, mode=0o644)]]
    )
    for words in ((), ("--stat",), ("--format", "markdown")):
        out = ocitool("diff", *words, a, b).out
        assert [1] * 3 == [sum("secret-content" in line and path in line for line in out.splitlines()) for path in keys]


FAIL_ON = {
    "security": 1, "notable": 1, "cost": 0, "info": 0, "setuid": 1, "setuid,secret-env": 1, "secret-env": 0, "secret": 0,
    "notable:setuid": 1, "notable:secret-env,setuid": 1, "cost,setuid": 1, "none": 0,
}  # fmt: skip


@pytest.mark.parametrize("rule", FAIL_ON)
def test_rules_and_classes_are_named_with_commas(ocitool: Run, pair: Pair, rule: str) -> None:
    a, b = pair([[("k", b"")]], [[("k", b""), entry("su", b"1", mode=0o4755)]])
    result = ocitool("diff", "--format", "json", "--fail-on", rule, a, b)
    failures = report_of(result, FAIL_ON[rule])["failures"]
    assert [[{"rule": "setuid", "count": 1}]] * FAIL_ON[rule] == [one["firedBy"] for one in failures]
    if failures:
        for words in ((), ("--format", "markdown")):
            assert "1 (limit 0) by setuid" in ocitool("diff", *words, "--fail-on", rule, a, b).out


@pytest.mark.parametrize(
    "rule", ["danger", "setuid,files", "setuid,", "", "setuid secret-env", "notable:", "size:setuid", "x:setuid"]
)
def test_what_names_no_rule_is_refused_with_those_there_are(ocitool: Run, pair: Pair, rule: str) -> None:
    a, b = pair([[("k", b"")]], [[("k", b"1")]])
    result = ocitool("diff", "--fail-on", rule, a, b)
    assert (2, True) == (result.code, "secret-env" in result.err)


def packaged(version: str, content: bytes) -> list[AnyEntry]:
    """A layer with the package `login` of dpkg, a setuid file of it, and one with capabilities."""
    return [
        ("var/lib/dpkg/status", stanza("login", version)),
        ("var/lib/dpkg/info/login.list", b"/.\n/usr/bin/su\n/usr/bin/ping\n"),
        entry("usr/bin/su", content, mode=0o4755), entry("usr/bin/ping", content, mode=0o755, xattrs=CAPABILITY),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "rule"), [("etc/sudoers.d", "accounts"), ("etc/cron.d", "cron"), ("etc/apt/keyrings", "trust")]
)
def test_a_link_in_place_of_a_directory_that_decides_on_permissions_is_about_security(
    path: str, rule: str, ocitool: Run, pair: Pair
) -> None:
    a, b = pair([[(path, None)]], [[(path, "link:/srv/x")]])
    assert [(f"/{path}", rule, "security")] == [(one["path"], one["rule"], one["severity"]) for one in found(ocitool, a, b)]


def test_what_comes_with_a_package_is_information(ocitool: Run, pair: Pair) -> None:
    a, b = pair([packaged("1.0", b"1")], [packaged("1.1", b"2")])
    items = [(one["rule"], one["severity"], one["message"]) for one in found(ocitool, a, b)]
    assert [
        ("setuid-content", "info", "the content of a setuid or setgid file changed, by package login 1.0 -> 1.1"),
        ("capability", "info", "the content of a file with capabilities changed, by package login 1.0 -> 1.1"),
    ] == items
    assert 0 == ocitool("diff", "--fail-on", "notable", a, b).code


HOSTILE_LIST = (
    b"etc/shadow", b"etc/ld.so.preload", b"root/.ssh/authorized_keys", b"srv/notes.txt", b"usr/bin/su", b"etc/sudoers.d/x",
    b"usr/local/share/ca-certificates/x.crt",
)  # fmt: skip


def listing(kind: str, version: str, evil: bool) -> list[AnyEntry]:
    """A layer with a package whose database lists files of the system, and accounts."""
    files: list[AnyEntry] = [
        ("etc/shadow", SHADOW + (b"evil::1:0:99999:7:::\n" if evil else b"")), entry("usr/bin/su", b"%d" % evil, mode=0o4755),
    ]  # fmt: skip
    if evil:
        files += [("etc/ld.so.preload", b"/x.so"), ("root/.ssh/authorized_keys", b"ssh-ed25519 A x"), ("srv/notes.txt", KEY)]
        files += [("etc/sudoers.d/x", b"x ALL=(ALL) NOPASSWD: ALL\n"), ("usr/local/share/ca-certificates/x.crt", b"x")]
    if kind == "deb":
        listed = b"".join(b"/%b\n" % path for path in HOSTILE_LIST)
        return [("var/lib/dpkg/status", stanza("p", version)), ("var/lib/dpkg/info/p.list", listed), *files]
    record = b"".join(b"../../../../%b,,\n" % path for path in HOSTILE_LIST)
    place = f"usr/lib/python3/dist-packages/p-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: p\nVersion: {version}\n".encode()
    return [(f"{place}/METADATA", metadata), (f"{place}/RECORD", record), *files]


@pytest.mark.parametrize("kind", ["deb", "pypi"])
def test_no_database_explains_away_accounts_keys_and_files_of_homes(kind: str, ocitool: Run, pair: Pair) -> None:
    a, b = pair([listing(kind, "1", evil=False)], [listing(kind, "2", evil=True)])
    assert {
        ("/etc/shadow", "accounts"), ("/etc/ld.so.preload", "loader"), ("/root/.ssh/authorized_keys", "accounts"),
        ("/srv/notes.txt", "secret-content"), ("/etc/sudoers.d/x", "accounts"),
        ("/usr/local/share/ca-certificates/x.crt", "trust"), *([("/usr/bin/su", "setuid-content")] if kind == "pypi" else []),
    } == {(one["path"], one["rule"]) for one in found(ocitool, a, b) if one["severity"] == "security"}  # fmt: skip


def test_a_file_of_the_distribution_is_altered_even_if_a_package_of_a_language_lists_it(ocitool: Run, pair: Pair) -> None:
    def layer(version: str) -> list[AnyEntry]:
        database = stanza("login") + stanza("other", version)
        files = [entry("usr/bin/su", version.encode(), mode=0o755), ("var/lib/dpkg/info/login.list", b"/usr/bin/su\n")]
        return [*listing("pypi", version, evil=False)[:2], ("var/lib/dpkg/status", database), *files]

    a, b = pair([layer("1")], [layer("2")])
    assert [("/usr/bin/su", "package-file-changed", "security")] == [
        (one["path"], one["rule"], one["severity"]) for one in found(ocitool, a, b)
    ]


def test_a_removed_package_explains_no_file_that_is_left_with_another_content(ocitool: Run, pair: Pair) -> None:
    a, b = pair([packaged("1.0", b"1")], [[("var/lib/dpkg/status", stanza("base")), *packaged("1.0", b"2")[2:]]])
    assert {("/usr/bin/su", "setuid-content", "security"), ("/usr/bin/ping", "capability", "security")} == {
        (one["path"], one["rule"], one["severity"]) for one in found(ocitool, a, b)
    }


def test_an_added_package_explains_no_change_of_a_file_that_another_package_has(ocitool: Run, pair: Pair) -> None:
    both = stanza("login", "1.0") + stanza("evil")
    evil: list[AnyEntry] = [("var/lib/dpkg/status", both), ("var/lib/dpkg/info/evil.list", b"/usr/bin/ping\n")]
    a, b = pair([packaged("1.0", b"1")], [[*packaged("1.0", b"2")[1:], *evil]])
    assert ("/usr/bin/ping", "package-file-changed") in {
        (one["path"], one["rule"]) for one in found(ocitool, a, b) if one["severity"] == "security"
    }


def test_a_setuid_file_that_a_package_brings_is_about_security(ocitool: Run, pair: Pair) -> None:
    a, b = pair([[("var/lib/dpkg/status", stanza("base"))]], [packaged("1.0", b"1")])
    assert {("setuid", "security"), ("capability", "security")} == {
        (one["rule"], one["severity"]) for one in found(ocitool, a, b) if one["path"]
    }


def test_an_older_version_of_a_package_is_about_security(ocitool: Run, pair: Pair) -> None:
    a, b = pair([packaged("1:1.0", b"1")], [packaged("2.0", b"1")])
    (item,) = [one for one in found(ocitool, a, b) if one["rule"] == "package-downgraded"]
    assert ("security", "login", "login 2.0 now, was 1:1.0") == (item["severity"], item["key"], item["message"])
    assert 1 == ocitool("diff", "--fail-on", "package-downgraded", a, b).code


def library(time: int) -> list[AnyEntry]:
    """A layer of 9,000 bytes that do not compress."""
    return [entry("lib", random.Random(1).randbytes(9000), mtime=time * 10**9)]


@pytest.mark.parametrize(("floor", "expected"), [(5_000, "cost"), (50_000_000, "info")])
def test_bytes_that_are_stored_again_without_need_are_a_cost(
    ocitool: Run, pair: Pair, monkeypatch: pytest.MonkeyPatch, floor: int, expected: str
) -> None:
    """Layer 1 changed, so layer 2 was built again with the same files."""
    monkeypatch.setattr(sys.modules["ocitool.comparison.notable"], "UNSHARED_FLOOR", floor)
    a, b = pair(*([[("k", b"")], [("app", app)], library(time)] for app, time in ((b"1", 1), (b"2", 2))))
    (item,) = [one for one in found(ocitool, a, b) if one["rule"] == "unshared-layer"]
    assert (expected, True) == (item["severity"], 9000 < item["bytes"] < 20_000)
    assert int(expected == "cost") == ocitool("diff", "--fail-on", "notable", a, b).code


def test_after_another_base_every_layer_is_built_again_and_none_is_a_cost(
    ocitool: Run, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["ocitool.comparison.notable"], "UNSHARED_FLOOR", 5_000)
    a, b = pair(*([[("base", base)], library(time)] for base, time in ((b"1", 1), (b"2", 2))))
    assert [("unshared-layer", "info")] == [(one["rule"], one["severity"]) for one in found(ocitool, a, b)]


def test_what_updates_bring_is_a_few_rows(ocitool: Run, pair: Pair) -> None:
    paths = [f"d{number}/site-{number}/.git/config" for number in range(20)]
    a, b = pair([[("k", b"")]], [[("k", b""), *((path, b"[core]\n\tbare = false\n") for path in paths)]])
    lines = [line for line in ocitool("diff", "--stat", a, b).out.splitlines() if line.startswith("  info")]
    assert (9, "  info  12 more (--format json lists all)") == (len(lines), lines[-1])
    assert "- info: 12 more" in ocitool("diff", "--format", "markdown", a, b).out


# One image


def suspect() -> Image:
    tars = [
        layer_tar([("etc/passwd", PASSWD), ("etc/group", GROUP), ("etc/pam.d/su", b"auth"), ("etc/apt/sources.list", SOURCES),
                   entry("usr/bin/su", b"1", mode=0o4755)]),
        layer_tar([("srv/notes", KEY), ("tmp/x", b"k" * 2_000_000)]), layer_tar([("tmp/.wh.x", b"")]),
    ]  # fmt: skip
    return image(tars, config=config_of(tars, config={"Env": ["PATH=/usr/bin", "LD_PRELOAD=/x.so", "DB_PASSWORD=hunter2"]}))


def test_one_image_has_what_is_notable_without_another(ocitool: Run, tmp_path: Path) -> None:
    place = write_layout(tmp_path / "a", [suspect()])
    report = report_of(ocitool("inspect", "--format", "json", "--notable", place), 0)
    (item,) = report["images"]
    assert [
        ("secret-content", "security", "holds a private key"),
        ("secret-env", "security", "a value that looks secret: DB_PASSWORD"),
        ("setuid", "security", "setuid file, owner 0:0"),
        ("loader", "security", "LD_PRELOAD decides which code programs load"),
        ("deleted-still-ships", "cost", "deleted, but its 2000000 bytes still ship in layer 1"),
        ("user-root", "info", "USER is root"),
    ] == [(one["rule"], one["severity"], one["message"]) for one in item["notable"]]
    for words in ((), ("--format", "markdown")):
        out = ocitool("inspect", "--notable", *words, place).out
        positions = [out.index(one["rule"]) for one in item["notable"]]
        assert positions == sorted(positions)
        assert "hunter2" not in out and "MIIEvQ" not in out


@pytest.mark.parametrize(("rule", "code"), [("security", 1), ("notable", 1), ("cost", 1), ("setuid,device", 1), ("device", 0)])
def test_a_rule_that_one_image_meets_is_exit_1(ocitool: Run, tmp_path: Path, rule: str, code: int) -> None:
    place = write_layout(tmp_path / "a", [suspect()])
    result = ocitool("inspect", "--format", "json", "--fail-on", rule, place)
    assert code == len(report_of(result, code)["failures"])
    for words in ((), ("--format", "markdown")):
        other = ocitool("inspect", "--fail-on", rule, *words, place)
        assert (code, bool(code)) == (other.code, "(limit 0) by" in other.out)


@pytest.mark.parametrize("rule", ["files", "size:+1", "config", "x", ""])
def test_rules_of_two_images_are_none_of_one(ocitool: Run, tmp_path: Path, rule: str) -> None:
    assert 2 == ocitool("inspect", "--fail-on", rule, write_layout(tmp_path / "a", [suspect()])).code


def test_without_the_option_nothing_is_looked_for(ocitool: Run, tmp_path: Path) -> None:
    report = report_of(ocitool("inspect", "--format", "json", write_layout(tmp_path / "a", [suspect()])), 0)
    assert ([None], []) == ([one["notable"] for one in report["images"]], report["failures"])


def test_files_of_packages_are_information_in_one_image(ocitool: Run, tmp_path: Path) -> None:
    files = [*packaged("1.0", b"1"), entry("usr/bin/mine", b"1", mode=0o4755)]
    place = write_layout(tmp_path / "a", [image([layer_tar(files)])])
    (item,) = report_of(ocitool("inspect", "--format", "json", "--notable", place), 0)["images"]
    setuid = [(one["path"], one["severity"]) for one in item["notable"] if one["rule"] == "setuid"]
    assert [("/usr/bin/mine", "security"), ("/usr/bin/su", "info")] == setuid
