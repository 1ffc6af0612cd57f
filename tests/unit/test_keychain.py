"""Where credentials are looked for and kept: containers-auth.json(5), Docker's config.json, docker-credential-helpers."""

from __future__ import annotations

import base64
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ocitool.errors import DestinationError, FormatError, NotFoundError, OcitoolError, TransportError
from ocitool.transports.registry.keychain import Credentials, Keychain

HOST, SECRET = "reg.example:5000", "s3cret-w0rd"
VARIABLES = ("REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "DOCKER_CONFIG")
HELPER = """#!/bin/sh
# As docker-credential-helpers: get and erase are given a server, store a JSON document; what is said goes to stdout.
cd "{kept}" || exit 1
given=$(cat)
printf '%s %s\\n' "$1" "$given" >> log
name=$(printf %s "$given" | tr -c 'A-Za-z0-9\\n' _)
case $1 in
get) if [ -f "get-$name" ]; then cat "get-$name"; else echo "credentials not found in native keychain"; exit 1; fi ;;
store) printf %s "$given" > stored ;;
erase) rm "get-$name" ;;
esac
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home directory, and no variable that names another place."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def file(home: Path) -> Path:
    """The file that is written to, in a directory that is there."""
    (home / ".docker").mkdir()
    return home / ".docker" / "config.json"


class Helper:
    """A credential helper on PATH that knows what it is told, and its log."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def knows(self, server: str, user: str, secret: str) -> None:
        name = "".join(c if c.isascii() and c.isalnum() else "_" for c in server)
        answer = {"ServerURL": server, "Username": user, "Secret": secret}
        (self.directory / f"get-{name}").write_text(json.dumps(answer))

    def log(self) -> list[str]:
        log = self.directory / "log"
        return log.read_text().splitlines() if log.exists() else []

    @property
    def stored(self) -> Any:
        return json.loads((self.directory / "stored").read_text())


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Helper]:
    """`helper("x")` installs docker-credential-x; `script` takes the place of its own."""
    bin = tmp_path / "bin"
    bin.mkdir()
    monkeypatch.setenv("PATH", f"{bin}:{os.environ['PATH']}")

    def install(name: str, script: str = HELPER) -> Helper:
        kept = tmp_path / f"kept-{name}"
        kept.mkdir()
        command = bin / f"docker-credential-{name}"
        command.write_text(script.replace("{kept}", str(kept)))
        command.chmod(0o755)
        return Helper(kept)

    return install


def entry(user: str, password: str = SECRET) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def put(path: Path, fields: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(fields))
    return path


def auths(path: Path, user: str) -> Path:
    """A file that knows this user of `HOST`."""
    return put(path, {"auths": {HOST: entry(user)}})


def user(host: str = HOST, path: str | None = "app", authfile: Path | None = None) -> str | None:
    """Whose credentials are found."""
    found = Keychain(str(authfile) if authfile else None).find(host, path)
    return found.user if found else None


# The order of files


def places(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Every place, each with a user of its own, in the order in which they are asked."""
    for name in VARIABLES[1:]:
        monkeypatch.setenv(name, str(tmp_path / name))
    found = {
        "runtime": tmp_path / "XDG_RUNTIME_DIR" / "containers" / "auth.json",
        "config": tmp_path / "XDG_CONFIG_HOME" / "containers" / "auth.json",
        "docker": tmp_path / "DOCKER_CONFIG" / "config.json",
    }
    for name, path in found.items():
        auths(path, user=name)
    return found


def test_the_places_are_asked_in_the_order_of_the_man_page(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, path in places(home, tmp_path, monkeypatch).items():
        assert name == user()
        path.unlink()
    assert user() is None


def test_a_file_that_does_not_know_the_registry_leaves_it_to_the_next(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = places(home, tmp_path, monkeypatch)
    put(found["runtime"], {"auths": {"other.example": entry("other")}})
    put(found["config"], {})
    assert "docker" == user()


def test_without_variables_the_home_directory_is_asked(home: Path) -> None:
    auths(home / ".docker" / "config.json", user="docker")
    assert "docker" == user()
    auths(home / ".config" / "containers" / "auth.json", user="podman")
    assert "podman" == user()


@pytest.mark.parametrize("by", ["option", "variable"])
def test_a_file_that_is_named_is_the_only_one(by: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places(home, tmp_path, monkeypatch)
    named = put(tmp_path / "named.json", {"auths": {"other.example": entry("other")}})
    if by == "variable":
        monkeypatch.setenv("REGISTRY_AUTH_FILE", str(named))
    authfile = named if by == "option" else None
    assert (None, "other") == (user(authfile=authfile), user("other.example", authfile=authfile))


def test_the_option_wins_over_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(auths(tmp_path / "a.json", user="variable")))
    assert "option" == user(authfile=auths(tmp_path / "b.json", user="option"))


def test_an_authfile_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError) as caught:
        user(authfile=tmp_path / "none.json")
    assert str(tmp_path / "none.json") == caught.value.where


# The spelling of keys


@pytest.mark.parametrize("key", [HOST, f"https://{HOST}", f"http://{HOST}", f"{HOST}/", f"https://{HOST}/v1/",
                                 f"https://{HOST}/v2/", HOST.upper(), f"HTTPS://{HOST.upper()}"])  # fmt: skip
def test_a_host_is_found_however_it_is_spelt(key: str, file: Path) -> None:
    put(file, {"auths": {key: entry("me")}})
    assert "me" == user()


@pytest.mark.parametrize(
    ("host", "keys"), [(HOST, (HOST, f"https://{HOST}")), ("docker.io", ("https://index.docker.io/v1/", "docker.io"))]
)
def test_of_two_spellings_of_a_host_the_one_that_tools_write_is_believed(host: str, keys: tuple[str, str], file: Path) -> None:
    written, other = {keys[0]: entry("written")}, {keys[1]: entry("other")}
    for auths in (written | other, other | written):
        put(file, {"auths": auths})
        assert "written" == user(host, "app")


HUB = ["docker.io", "index.docker.io", "registry-1.docker.io", "https://index.docker.io/v1/", "https://index.docker.io/v1",
       "https://registry-1.docker.io/v2/"]  # fmt: skip


@pytest.mark.parametrize("key", HUB)
def test_docker_hub_has_several_names(key: str, file: Path) -> None:
    put(file, {"auths": {key: entry("me")}})
    assert "me" == user("docker.io", "library/app")


@pytest.mark.parametrize("key", ["reg.example", "reg.example:5001", "xreg.example:5000", "reg.example:5000.evil.example",
                                 f"evil.example/{HOST}", f"https://evil.example@{HOST}x", "docker.io"])  # fmt: skip
def test_another_hosts_credentials_are_not_this_ones(key: str, file: Path) -> None:
    put(file, {"auths": {key: entry("other")}})
    assert user() is None


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("team/app", "app"), ("team/app/sub", "app"), ("team/other", "team"), ("team/apple", "team"),
        ("teams/app", "host"), ("other", "host"), (None, "host"),
    ],
)  # fmt: skip
def test_of_the_keys_above_a_repository_the_longest_wins(path: str | None, expected: str, file: Path) -> None:
    keys = {HOST: "host", f"{HOST}/team": "team", f"https://{HOST}/team/app": "app", "other.example/team/app/sub": "other"}
    put(file, {"auths": {key: entry(name) for key, name in keys.items()}})
    assert expected == user(path=path)


def test_a_key_of_a_repository_alone_is_not_the_hosts(file: Path) -> None:
    put(file, {"auths": {f"{HOST}/team/app": entry("app")}})
    assert (None, None, "app") == (user(path=None), user(path="team"), user(path="team/app"))


# What an entry says


ENTRIES: dict[str, tuple[dict[str, Any], Credentials]] = {
    "auth": (entry("me"), Credentials("me", SECRET)),
    "a password with colons": (entry("me", "a:b:c"), Credentials("me", "a:b:c")),
    "not ASCII": (entry("mé", "pässwört"), Credentials("mé", "pässwört")),
    "fields": ({"username": "me", "password": SECRET}, Credentials("me", SECRET)),
    "auth before fields": ({**entry("me"), "username": "x", "password": "y"}, Credentials("me", SECRET)),
    "an empty auth": ({"auth": "", "username": "me", "password": SECRET}, Credentials("me", SECRET)),
    "an identity token": ({**entry("me", ""), "identitytoken": "refresh"}, Credentials("me", identity="refresh")),
    "lines of base64": ({"auth": base64.encodebytes(b"AWS:" + b"p" * 90).decode()}, Credentials("AWS", "p" * 90)),
    "lines with carriage returns": ({"auth": " bWU6\r\n" + "cGE=\r\n"}, Credentials("me", "pa")),
    "no padding": ({"auth": "bWU6cGE"}, Credentials("me", "pa")),
    "the alphabet of URLs": ({"auth": base64.urlsafe_b64encode("me:ÿ?>ÿ".encode()).decode()}, Credentials("me", "ÿ?>ÿ")),
    "undecodable beside fields": ({"auth": "!!", "username": "me", "password": SECRET}, Credentials("me", SECRET)),
    "a registry token": ({**entry("me"), "registrytoken": "bearer"}, Credentials(bearer="bearer")),
}


@pytest.mark.parametrize("name", ENTRIES)
def test_an_entry_gives_credentials(name: str, file: Path) -> None:
    fields, expected = ENTRIES[name]
    put(file, {"auths": {HOST: fields}})
    assert expected == Keychain(None).find(HOST, "app")


@pytest.mark.parametrize("fields", [{}, {"auth": ""}, {"auth": "!!"}, {"auth": "bm9jb2xvbg=="}, {"auth": 7}, {"auth": "/w=="},
                                    {"email": "a@b"}, None, [], "text"])  # fmt: skip
def test_an_entry_that_says_nothing_is_none(fields: Any, file: Path) -> None:
    put(file, {"auths": {HOST: fields}})
    assert Keychain(None).find(HOST, "app") is None


@pytest.mark.parametrize("auth", ["not base64! s3cret", "bm9jb2xvbg==", 7, "/w==", ["bWU6cGE="], "bWU6cGE=!"])
def test_an_entry_that_cannot_be_decoded_is_named_once_and_without_its_content(auth: Any, file: Path) -> None:
    put(file, {"auths": {HOST: {"auth": auth}, "other.example": {"auth": "!"}}})
    messages: list[str] = []
    keychain = Keychain(None, messages.append)
    assert [None, None] == [keychain.find(HOST, path) for path in ("app", "other")]
    assert [f"{file}: auth of {HOST} is not USER:PASSWORD in base64, so that entry is not used"] == messages


def test_an_entry_above_one_that_cannot_be_decoded_is_used(file: Path) -> None:
    put(file, {"auths": {HOST: entry("me"), f"{HOST}/team": {"auth": "!"}}})
    messages: list[str] = []
    assert Credentials("me", SECRET) == Keychain(None, messages.append).find(HOST, "team/app")
    assert 1 == len(messages) and f"{HOST}/team" in messages[0]


def test_credentials_show_nothing_of_themselves() -> None:
    made = Credentials("some-user", SECRET, "some-identity", "some-bearer")
    for text in (repr(made), str(made), f"{made}", f"{[made]}", f"{ {'a': made} }", "%s %r" % (made, made)):  # noqa: UP031
        for secret in ("some-user", SECRET, "some-identity", "some-bearer", made.basic):
            assert secret not in text


# Helpers


def test_the_helper_of_a_host_comes_before_the_store_and_both_before_the_file(
    file: Path, helper: Callable[..., Helper]
) -> None:
    own, store = helper("own"), helper("store")
    own.knows(HOST, "own", SECRET)
    store.knows(HOST, "store", SECRET)
    fields = {"credHelpers": {HOST: "own"}, "credsStore": "store", "auths": {HOST: entry("file")}}
    for expected, leaving in (("own", "credHelpers"), ("store", "credsStore"), ("file", "auths")):
        put(file, fields)
        assert expected == user()
        del fields[leaving]


def test_a_helper_that_knows_nothing_leaves_it_to_the_file_without_a_word(file: Path, helper: Callable[..., Helper]) -> None:
    helper("x")
    put(file, {"credsStore": "x", "auths": {HOST: entry("file")}})
    messages: list[str] = []
    found = Keychain(None, messages.append).find(HOST, None)
    assert found is not None
    assert ("file", []) == (found.user, messages)


def test_the_helper_of_another_host_is_not_asked(file: Path, helper: Callable[..., Helper]) -> None:
    other = helper("x")
    put(file, {"credHelpers": {"other.example": "x"}})
    assert (None, []) == (user(), other.log())


@pytest.mark.parametrize(("host", "server"), [(HOST, HOST), ("docker.io", "https://index.docker.io/v1/")])
def test_a_helper_is_asked_by_the_name_that_docker_uses(
    host: str, server: str, file: Path, helper: Callable[..., Helper]
) -> None:
    made = helper("x")
    made.knows(server, "me", SECRET)
    put(file, {"credsStore": "x"})
    assert Credentials("me", SECRET) == Keychain(None).find(host, "library/app")
    assert [f"get {server}"] == made.log()


def test_a_secret_of_the_user_token_is_an_identity_token(file: Path, helper: Callable[..., Helper]) -> None:
    helper("x").knows(HOST, "<token>", "refresh")
    put(file, {"credsStore": "x"})
    assert Credentials(identity="refresh") == Keychain(None).find(HOST, None)


def test_a_helper_that_answers_with_nothing_knows_nobody(file: Path, helper: Callable[..., Helper]) -> None:
    helper("x").knows(HOST, "", "")
    put(file, {"credsStore": "x", "auths": {HOST: entry("file")}})
    assert "file" == user()


LEAK = "echo 'the secret is s3cret-w0rd'; echo 's3cret-w0rd' >&2; "
BROKEN = {
    "fails": f"#!/bin/sh\n{LEAK}exit 3\n",
    "says nothing": "#!/bin/sh\nexit 0\n",
    "no JSON": f"#!/bin/sh\n{LEAK}\n",
    "a list": f"#!/bin/sh\necho '[\"{SECRET}\"]'\n",
    "other fields": f'#!/bin/sh\necho \'{{"Password": "{SECRET}"}}\'\n',
    "numbers": f'#!/bin/sh\necho \'{{"Username": 1, "Secret": ["{SECRET}"]}}\'\n',
    "deep": "#!/bin/sh\nhead -c 200000 /dev/zero | tr '\\0' '['\n",
    "no program": "\x00\x01",
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_helper_that_fails_is_told_of_without_its_words(name: str, file: Path, helper: Callable[..., Helper]) -> None:
    helper("x", BROKEN[name])
    put(file, {"credsStore": "x", "auths": {HOST: entry("file")}})
    messages: list[str] = []
    found = Keychain(None, messages.append).find(HOST, "app")
    assert "file" == (found.user if found else None)
    assert 1 == len(messages)
    assert "docker-credential-x" in messages[0]
    assert SECRET not in messages[0]


def test_a_helper_that_is_missing_is_told_of(file: Path) -> None:
    put(file, {"credsStore": "not-there"})
    messages: list[str] = []
    assert Keychain(None, messages.append).find(HOST, "app") is None
    assert 1 == len(messages)
    assert "docker-credential-not-there is not installed" in messages[0] and "logged in" not in messages[0]


@pytest.mark.parametrize("name", ["../x", "a/b", "x y", "", "-" * 100, 7, None])
def test_a_helpers_name_that_is_none_runs_nothing(name: Any, file: Path, helper: Callable[..., Helper]) -> None:
    made = helper("x")
    put(file, {"credsStore": name, "credHelpers": {HOST: name}})
    assert (None, []) == (user(), made.log())


# Keeping and forgetting


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def store(authfile: Path | None = None, host: str = HOST) -> str:
    return Keychain(str(authfile) if authfile else None).store(host, Credentials("me", SECRET))


def test_what_is_kept_is_found_again(home: Path) -> None:
    assert str(home / ".docker" / "config.json") == store()
    assert Credentials("me", SECRET) == Keychain(None).find(HOST, "app")


def test_docker_hub_is_kept_under_the_name_that_docker_uses(file: Path) -> None:
    store(host="docker.io")
    assert {"auths": {"https://index.docker.io/v1/": entry("me")}} == json.loads(file.read_text())


def test_what_is_kept_goes_into_the_file_that_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two, three = tmp_path / "new" / "one.json", tmp_path / "two.json", tmp_path / "three"
    assert str(one) == store(one)
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(two))
    assert str(two) == store()
    monkeypatch.delenv("REGISTRY_AUTH_FILE")
    monkeypatch.setenv("DOCKER_CONFIG", str(three))
    assert str(three / "config.json") == store()
    for path in (one, two, three / "config.json"):
        assert "me" == user(authfile=path)


@pytest.mark.parametrize("before", [None, 0o600, 0o644, 0o666, 0o400])
def test_the_file_is_for_its_owner_alone_whatever_it_was(before: int | None, file: Path) -> None:
    if before is not None:
        put(file, {"auths": {}}).chmod(before)
    store()
    assert 0o600 == mode(file)
    Keychain(None).erase(HOST)
    assert 0o600 == mode(file)


def test_a_directory_that_is_made_is_for_its_owner_alone(home: Path) -> None:
    store()
    assert 0o700 == mode(home / ".docker")


def test_other_fields_and_hosts_are_kept(file: Path) -> None:
    others = {"HttpHeaders": {"X": "1"}, "psFormat": "{{.ID}}", "credHelpers": {"gcr.example": "gcloud"}, "ä": [1, None]}
    put(file, {**others, "auths": {"other.example": {**entry("other"), "email": "a@b"}, HOST: entry("old")}})
    store()
    kept = {"other.example": {**entry("other"), "email": "a@b"}}
    assert {**others, "auths": {**kept, HOST: entry("me")}} == json.loads(file.read_text())
    assert Keychain(None).erase(HOST)
    assert {**others, "auths": kept} == json.loads(file.read_text())


@pytest.mark.parametrize("key", [f"https://{HOST}", f"https://{HOST}/v1/", f"{HOST}/"])
def test_another_spelling_of_the_host_does_not_stay_beside_it(key: str, file: Path) -> None:
    put(file, {"auths": {key: entry("old")}})
    store()
    assert {"auths": {HOST: entry("me")}} == json.loads(file.read_text())


def test_what_is_kept_for_a_repository_outlives_login_and_logout_of_its_host(file: Path) -> None:
    """As with podman: each key is a login of its own."""
    put(file, {"auths": {f"{HOST}/team/app": entry("app"), HOST: entry("old")}})
    store()
    assert {f"{HOST}/team/app": entry("app"), HOST: entry("me")} == json.loads(file.read_text())["auths"]
    assert Keychain(None).erase(HOST)
    assert {f"{HOST}/team/app": entry("app")} == json.loads(file.read_text())["auths"]
    assert not Keychain(None).erase(HOST)


def test_a_symbolic_link_is_followed_and_stays(file: Path, tmp_path: Path) -> None:
    target = auths(tmp_path / "dotfiles" / "config.json", user="old")
    file.symlink_to(target)
    store()
    assert file.is_symlink()
    assert (0o600, {"auths": {HOST: entry("me")}}) == (mode(target), json.loads(target.read_text()))
    assert [target.name] == [path.name for path in target.parent.iterdir()]


@pytest.mark.parametrize("content", ["", " \n", "{}", '{"auths": {}}', '{"auths": null}'])
def test_a_file_with_nothing_in_it_is_written(content: str, file: Path) -> None:
    file.write_text(content)
    assert not Keychain(None).erase(HOST)
    store()
    assert {"auths": {HOST: entry("me")}} == json.loads(file.read_text())


CORRUPT = {"cut": b'{"auths": {', "a list": b"[]", "text": b"password", "no UTF-8": b"\xff\xfe", "deep": b"[" * 200_000}


@pytest.mark.parametrize("name", CORRUPT)
@pytest.mark.parametrize("act", ["find", "store", "erase"])
def test_a_file_that_cannot_be_parsed_is_an_error_and_stays(act: str, name: str, file: Path) -> None:
    file.write_bytes(CORRUPT[name])
    keychain = Keychain(None)
    with pytest.raises(FormatError) as caught:
        {"find": lambda: keychain.find(HOST, None), "store": store, "erase": lambda: keychain.erase(HOST)}[act]()
    assert (str(file), CORRUPT[name]) == (caught.value.where, file.read_bytes())


def test_the_file_is_replaced_whole_or_not_at_all(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = auths(file, user="old").read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    for name in ("fsync", "replace", "write"):
        with monkeypatch.context() as patched:
            patched.setattr(os, name, full)
            with pytest.raises(DestinationError):
                store()
        assert (before, [file.name]) == (file.read_bytes(), os.listdir(file.parent))
    inode = file.stat().st_ino
    with open(file) as reader:
        store()
        assert before == reader.read().encode()
    assert inode != file.stat().st_ino


def test_a_helper_keeps_what_the_file_names_it_for(file: Path, helper: Callable[..., Helper]) -> None:
    made = helper("x")
    before = put(file, {"credsStore": "x"}).read_bytes()
    assert "docker-credential-x" == store()
    assert {"ServerURL": HOST, "Username": "me", "Secret": SECRET} == made.stored
    assert before == file.read_bytes()


def test_a_helper_forgets_and_then_there_is_nothing(file: Path, helper: Callable[..., Helper]) -> None:
    made = helper("x")
    made.knows(HOST, "me", SECRET)
    put(file, {"credsStore": "x"})
    keychain = Keychain(None)
    assert (True, False) == (keychain.erase(HOST), keychain.erase(HOST))
    assert f"erase {HOST}" in made.log()


@pytest.mark.parametrize(("act", "kind"), [("store", DestinationError), ("erase", TransportError)])
@pytest.mark.parametrize("script", [BROKEN["fails"], None], ids=["fails", "missing"])
def test_a_helper_that_cannot_keep_or_forget_is_an_error_without_its_words(
    act: str, kind: type[OcitoolError], script: str | None, file: Path, helper: Callable[..., Helper]
) -> None:
    if script is not None:
        helper("x", script)
    put(file, {"credsStore": "x"})
    with pytest.raises(kind if script else TransportError) as caught:
        store() if act == "store" else Keychain(None).erase(HOST)
    assert "docker-credential-x" in caught.value.what
    assert SECRET not in f"{caught.value!r} {caught.value.what} {caught.value.hint}"


@pytest.mark.parametrize(
    "entry",
    [{"registrytoken": "a\nb"}, {"registrytoken": "é"}, {"username": "\ud800"}, {"identitytoken": "\udfff"}],
    ids=ascii,
)
def test_what_no_header_can_hold_is_refused_and_not_said(entry: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "auth.json"
    path.write_text(json.dumps({"auths": {"reg.example": entry}}))
    with pytest.raises(FormatError) as caught:
        Keychain(str(path)).find("reg.example", None)
    assert str(path) == caught.value.where
    assert not any(text in caught.value.what for text in entry.values())


def test_a_line_break_behind_a_token_is_none_of_it(tmp_path: Path) -> None:
    path = tmp_path / "auth.json"
    path.write_text(json.dumps({"auths": {"reg.example": {"registrytoken": "secret\n"}}}))
    assert Credentials(bearer="secret") == Keychain(str(path)).find("reg.example", None)


def test_a_login_goes_where_the_one_that_is_believed_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    podmans = tmp_path / "config" / "containers" / "auth.json"
    podmans.parent.mkdir(parents=True)
    podmans.write_text(json.dumps({"auths": {"reg.example": {"auth": Credentials("old", "old").basic}}}))
    assert str(podmans) == Keychain(None).store("reg.example", Credentials("new", "new"))
    assert Credentials("new", "new") == Keychain(None).find("reg.example", None)
    assert str(tmp_path / "docker" / "config.json") == Keychain(None).store("other.example", Credentials("a", "b"))
    assert Keychain(None).erase("reg.example") and Keychain(None).find("reg.example", None) is None


def test_a_device_named_for_the_logins_is_written_to(monkeypatch: pytest.MonkeyPatch) -> None:
    leader, terminal = os.openpty()
    monkeypatch.setattr("ocitool.transports.registry.keychain._read", lambda file, *, must: {})
    Keychain(os.ttyname(terminal)).store("localhost:5000", Credentials("user", "password"))
    kept = {"auths": {"localhost:5000": {"auth": Credentials("user", "password").basic}}}
    assert kept == json.loads(os.read(leader, 1 << 12))
    os.close(terminal)
    os.close(leader)
