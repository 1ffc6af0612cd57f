"""Login and logout: docker login(1), docker-credential-helpers. Every run is with --debug, and no secret is in what it says."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from support.registry import ScriptedRegistry
from support.registry_command import (
    BOTH,
    OTHER,
    PASSWORD,
    SECRET,
    USER,
    WRONG,
    Auth,
    RegistryCommand,
    basic,
    basic_credentials,
    registry_with,
    tokens,
)

# Login and logout


@pytest.mark.parametrize(("auth", "end"), [(basic, "\n"), (tokens, ""), (tokens, "\r\n")], ids=["basic", "tokens", "CRLF"])
def test_who_is_logged_in_pulls_and_who_is_logged_out_does_not(end: str, auth: Auth, command: RegistryCommand) -> None:
    with registry_with(auth()) as registry:
        pull = ("pull", f"{registry.host}/app:1", "--insecure")
        result = command("login", "-u", USER, registry.host, "--insecure", stdin=PASSWORD + end)
        assert (registry.host in result.out, str(command.file) in result.out) == (True, True)
        assert 0o600 == command.file.stat().st_mode & 0o7777
        assert {registry.host: {"auth": basic_credentials(USER, PASSWORD)}} == json.loads(command.file.read_text())["auths"]
        command(*pull, "out/")
        command("logout", registry.host)
        command(*pull, "none/", code=8)
        command("logout", registry.host, code=3)


@BOTH
def test_a_wrong_password_is_refused_and_what_was_kept_stays(auth: Auth, command: RegistryCommand) -> None:
    with registry_with(auth()) as registry:
        login = ("login", "-u", USER, registry.host, "--insecure")
        result = command(*login, stdin=WRONG, code=8)
        assert "\nhint: " in result.err and "ocitool login" not in result.err.splitlines()[-1], str(result)
        assert [] == list(command.home.iterdir())
        assert len(registry.requests) <= 4
        command(*login, stdin=PASSWORD)
        before = command.file.read_bytes()
        command(*login, stdin=WRONG, code=8)
        assert before == command.file.read_bytes()


def test_a_login_is_judged_by_what_it_is_given_and_replaces_what_was_kept(command: RegistryCommand) -> None:
    with registry_with(tokens()) as registry:
        command.write_auths(
            {registry.host: {"auth": basic_credentials(USER, WRONG)}, "other.example": {"auth": basic_credentials(USER, OTHER)}}
        )
        command("login", "-u", USER, registry.host, "--insecure", "--password-stdin", stdin=PASSWORD)
        command("pull", f"{registry.host}/app:1", "out/", "--insecure")
        kept = json.loads(command.file.read_text())["auths"]
        assert {
            registry.host: {"auth": basic_credentials(USER, PASSWORD)},
            "other.example": {"auth": basic_credentials(USER, OTHER)},
        } == kept


def test_a_registry_that_is_not_there_is_not_logged_in_to(command: RegistryCommand) -> None:
    with ScriptedRegistry() as gone:
        host = gone.host
    command("login", "-u", USER, host, "--insecure", stdin=PASSWORD, code=8)
    assert [] == list(command.home.iterdir())


@pytest.mark.parametrize("words", [(USER, "--password", PASSWORD), (USER, "-p", PASSWORD), (f"{USER}:{PASSWORD}",)])
def test_no_password_is_taken_from_the_command_line(words: tuple[str, ...], command: RegistryCommand) -> None:
    with registry_with(basic()) as registry:
        command("login", registry.host, "--insecure", "-u", *words, stdin=PASSWORD, code=2)
        assert [] == registry.requests


@pytest.mark.parametrize("text", ["\n", f"{PASSWORD}\n{OTHER}\n"])
def test_a_password_is_one_line(text: str, command: RegistryCommand) -> None:
    with registry_with(basic()) as registry:
        command("login", "-u", USER, registry.host, "--insecure", stdin=text, code=2)
        assert [] == registry.requests


def test_a_registry_that_asks_nobody_is_told_of(command: RegistryCommand) -> None:
    with ScriptedRegistry() as registry:
        result = command("login", "-u", USER, registry.host, "--insecure", stdin=PASSWORD)
        assert re.search(rf"^ocitool: note: {registry.host} requires no credentials", result.err, re.MULTILINE), str(result)


@pytest.mark.parametrize("named", ["--authfile", "REGISTRY_AUTH_FILE"])
def test_a_file_that_is_named_keeps_the_login_alone(named: str, command: RegistryCommand) -> None:
    file = str(command.folder / "auth.json")
    words, env = (("--authfile", file), {}) if named == "--authfile" else ((), {named: file})
    with registry_with(tokens()) as registry:
        command("login", "-u", USER, registry.host, "--insecure", *words, stdin=PASSWORD, **env)
        assert not command.file.exists()
        command("pull", f"{registry.host}/app:1", "out/", "--insecure", code=8)
        command("pull", f"{registry.host}/app:1", "out/", "--insecure", *words, **env)
        command("logout", registry.host, *words, **env)
        command("logout", registry.host, *words, code=3, **env)


def test_a_link_to_the_file_of_logins_is_kept(command: RegistryCommand) -> None:
    (command.folder / "real").mkdir()
    link, target = command.folder / "auth.json", command.folder / "real" / "auth.json"
    link.symlink_to("real/auth.json")
    with registry_with(tokens()) as registry:
        command("login", "-u", USER, registry.host, "--insecure", "--authfile", str(link), stdin=PASSWORD)
        command("pull", f"{registry.host}/app:1", "out/", "--insecure", "--authfile", str(target))
    assert (True, 0o600) == (link.is_symlink(), target.stat().st_mode & 0o777)


HELPER = """#!/bin/sh
cd "$(dirname "$0")"
{ echo "$0 $@"; tr '\\0' ' ' < /proc/$PPID/cmdline; tr '\\0' '\\n' < /proc/$PPID/environ; } >> seen
if [ -f fails ]; then echo "it holds pa55"; echo "it holds pa55" >&2; exit 1; fi
case "$1" in
store) cat > kept ;;
get) cat > asked; if [ -f kept ]; then cat kept; else echo "credentials not found in native keychain"; exit 1; fi ;;
erase) rm -f kept ;;
esac
"""


@pytest.fixture
def helper(command: RegistryCommand) -> Path:
    """The directory of docker-credential-fake, on PATH."""
    (command.folder / "bin").mkdir()
    script = command.folder / "bin" / "docker-credential-fake"
    script.write_text(HELPER)
    script.chmod(0o755)
    command.env["PATH"] = f"{script.parent}:{os.environ['PATH']}"
    return script.parent


@pytest.mark.parametrize(("named", "auth"), [("credsStore", tokens), ("credHelpers", basic)], ids=["store", "helper"])
def test_a_helper_keeps_the_login_and_is_told_the_password_on_standard_input_alone(
    named: str, auth: Auth, command: RegistryCommand, helper: Path
) -> None:
    with registry_with(auth()) as registry:
        command.write_auths({}, **{named: "fake" if named == "credsStore" else {registry.host: "fake"}})
        assert "docker-credential-fake" in command("login", "-u", USER, registry.host, "--insecure", stdin=PASSWORD).out
        kept = {"ServerURL": registry.host, "Username": USER, "Secret": PASSWORD}
        assert kept == json.loads((helper / "kept").read_text())
        assert {} == json.loads(command.file.read_text())["auths"]
        command("pull", f"{registry.host}/app:1", "out/", "--insecure")
        assert registry.host == (helper / "asked").read_text().strip()
        command("logout", registry.host)
        assert not (helper / "kept").exists()
        command("logout", registry.host, code=3)
        command("pull", f"{registry.host}/app:1", "none/", "--insecure", code=8)
    seen = (helper / "seen").read_text()
    assert "-m ocitool login" in seen and "docker-credential-fake store" in seen
    assert [] == SECRET.findall(seen)


def test_a_helper_that_fails_keeps_nothing_and_its_words_are_not_said(command: RegistryCommand, helper: Path) -> None:
    (helper / "fails").touch()
    with registry_with(basic()) as registry:
        command.write_auths({}, credsStore="fake")
        before = command.file.read_bytes()
        assert "docker-credential-fake" in command("login", "-u", USER, registry.host, "--insecure", stdin=PASSWORD, code=9).err
        assert before == command.file.read_bytes()
        result = command("pull", f"{registry.host}/app:1", "out/", "--insecure", code=8)
        assert "ocitool: note: " in result.err and "docker-credential-fake" in result.err, str(result)
        command("logout", registry.host, code=8)
