"""Who we are at registries: credentials of each kind and for each repository, where they go and where they never go. Every
run is with --debug, and no secret is in what it says.

Laws: distribution's "Token Authentication" and "OAuth2", RFC 7617 and 9110.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
from support import places
from support.copying import TWO
from support.images import sha256
from support.registries import has_image
from support.registry import BasicAuth, BlobServer, Fault, Reply, Request, ScriptedRegistry, TokenAuth
from support.registry_command import (
    APP,
    BIG,
    BOTH,
    LARGE,
    OTHER,
    PASSWORD,
    SECRET,
    SIGNED,
    USER,
    WRONG,
    Auth,
    RegistryCommand,
    assert_login_hint,
    authorizations,
    basic,
    basic_credentials,
    registry_with,
    tokens,
)

from ocitool.limits import MiB


@pytest.mark.parametrize(
    "text", [PASSWORD, ascii(PASSWORD), f"Basic {basic_credentials(USER, WRONG)}", f"token-{'0f' * 8}", SIGNED]
)
def test_a_secret_that_is_said_is_found(text: str) -> None:
    assert [] == SECRET.findall("token-server, https://127.0.0.1:5000/v2/app, ci-user, refresh")
    assert 1 == len(SECRET.findall(f"Traceback: {text!s} at"))


# Credentials of each kind


def by_password(auth: Any) -> dict[str, str]:
    return {"auth": basic_credentials(USER, PASSWORD)}


def by_refresh_token(auth: Any) -> dict[str, str]:
    return {"auth": basic_credentials("00000000-0000-0000-0000-000000000000", ""), "identitytoken": auth.refresh_token}


def by_token(auth: Any) -> dict[str, str]:
    auth.tokens["token-" + "0f" * 8] = {("repository", "app", action) for action in ("pull", "push")}, float("inf")
    return {"registrytoken": "token-" + "0f" * 8}


KINDS: dict[str, tuple[Auth, Callable[[Any], dict[str, str]] | None]] = {
    "nobody, where nobody is asked": (lambda: None, None),
    "a password, where nobody is asked": (lambda: None, by_password),
    "a password": (basic, by_password),
    "a password for tokens": (tokens, by_password),
    "a password for tokens of the other name": (lambda: tokens(key="access_token", oauth=False, expires_in=None), by_password),
    "a refresh token": (tokens, by_refresh_token),
    "a token": (tokens, by_token),
}


@pytest.mark.parametrize("kind", [*KINDS, "a token for nobody"])
def test_who_may_pull_pulls(kind: str, command: RegistryCommand) -> None:
    make, entry = KINDS.get(kind, (lambda: tokens(anonymous=True), None))
    auth = make()
    with registry_with(auth) as registry:
        if entry is not None:
            command.write_auths({registry.host: entry(auth)})
        command("pull", f"{registry.host}/app:1", "out/", "--insecure")
        assert APP.blobs == places.blobs(command.folder / "out")


@pytest.mark.parametrize("kind", [*list(KINDS)[:2], *list(KINDS)[-2:]])
def test_who_may_push_pushes(kind: str, command: RegistryCommand) -> None:
    make, entry = KINDS[kind]
    auth = make()
    with ScriptedRegistry(auth=auth) as registry:
        if entry is not None:
            command.write_auths({registry.host: entry(auth)})
        command("push", "app", f"{registry.host}/app:1", "--insecure")
        assert has_image(registry, "app", APP)
        assert APP.digest == registry.tags["app", "1"]
        if auth is None:
            assert {None} == authorizations(registry)


@pytest.mark.parametrize("words", [("tags", "docker://{}/app"), ("catalog", "docker://{}")], ids=["tags", "catalog"])
def test_who_may_look_looks(words: tuple[str, str], command: RegistryCommand) -> None:
    with registry_with(tokens()) as registry:
        command.set_credentials(registry.host)
        assert command(words[0], words[1].format(registry.host), "--insecure").out


def test_a_refresh_token_is_changed_by_a_post_and_is_in_no_address_or_header(command: RegistryCommand) -> None:
    auth = tokens()
    with registry_with(auth) as registry:
        command.write_auths({registry.host: by_refresh_token(auth)})
        command("pull", f"{registry.host}/app:1", "out/", "--insecure")
        assert {("POST", "/token", None)} == {
            (one.method, one.path, one.headers.get("authorization")) for one in registry.sent(path="^/token")
        }


# Tokens that end in the middle


ENDS = {"at the first blob": ("GET", "/blobs/", {}), "within a blob": ("GET", sha256(LARGE), {"cut_response": MiB})}


@pytest.mark.parametrize("when", ENDS)
def test_a_pull_goes_on_with_another_token(when: str, command: RegistryCommand) -> None:
    method, path, fault = ENDS[when]
    with registry_with(tokens(), one=BIG) as registry:
        command.set_credentials(registry.host)
        registry.faults.append(Fault(method, path, hook=lambda _: registry.revoke_tokens(), times=1, **fault))
        command("pull", f"{registry.host}/app:1", "out/", "--insecure", "--jobs", "1")
        assert BIG.blobs == places.blobs(command.folder / "out")
        assert 2 <= len(registry.sent(path="^/token")) <= 3
        assert 401 in {one.status for one in registry.sent("GET", "/blobs/")}


@pytest.mark.parametrize("method", ["HEAD", "POST", "PATCH", "PUT", "PUT of the manifest", "PATCH, cut", "PATCH, cut and lost"])
def test_a_push_goes_on_with_another_token(method: str, command: RegistryCommand) -> None:
    path = "/manifests/" if "manifest" in method else "/blobs/"
    fault: dict[str, Any] = {"cut_request": MiB} if "," in method else {"early": True}
    with ScriptedRegistry(auth=tokens(), keep_uploads="lost" not in method) as registry:
        command.set_credentials(registry.host)
        verb = re.split(r"\W", method)[0]
        registry.faults.append(Fault(verb, path, hook=lambda _: registry.revoke_tokens(), times=1, **fault))
        command("push", "big", f"{registry.host}/app:1", "--insecure", "--jobs", "1")
        assert has_image(registry, "app", BIG)
        assert BIG.digest == registry.tags["app", "1"]
        assert len(registry.sent(path="^/token")) <= 5


def test_a_token_that_lives_a_second_is_renewed_each_time(command: RegistryCommand) -> None:
    with ScriptedRegistry(auth=tokens(expires_in=1), latency=0.15) as registry:
        command.set_credentials(registry.host)
        command("push", "big", f"{registry.host}/app:1", "--insecure", "--jobs", "1")
        assert has_image(registry, "app", BIG)
        assert len(registry.sent(path="^/token")) >= 2


# Refused


@BOTH
@pytest.mark.parametrize(
    ("words", "who"),
    [
        (("pull", "{}/app:1", "out/"), "nobody"),
        (("pull", "{}/app:1", "out/"), "a stranger"),
        (("push", "big", "{}/app:2"), "a stranger"),
    ],
    ids=["pull-nobody", "pull-stranger", "push-stranger"],
)
def test_who_is_refused_is_told_how_to_log_in_and_at_once(
    words: tuple[str, ...], who: str, auth: Auth, command: RegistryCommand
) -> None:
    with registry_with(auth()) as registry:
        if who == "a stranger":
            command.set_credentials(registry.host, password=WRONG)
        result = command(*(word.format(registry.host) for word in words), "--insecure", code=8)
        assert_login_hint(result, registry)
        assert len(registry.requests) <= 4 * (1 if words[0] == "pull" else len(BIG.layers))
        assert 0 == registry.bytes_received and not registry.sent("POST|PATCH|PUT")
        assert ["1"] == [tag for _, tag in registry.tags]
        assert not (command.folder / "out/index.json").exists()


@pytest.mark.parametrize("path", ["/manifests/", "/blobs/", "^/token"])
def test_forbidden_is_final(path: str, command: RegistryCommand) -> None:
    with registry_with(tokens()) as registry:
        command.set_credentials(registry.host)
        registry.faults.append(Fault("GET", path, status=403))
        assert_login_hint(command("pull", f"{registry.host}/app:1", "out/", "--insecure", "--jobs", "1", code=8), registry)
        assert 1 == len([one for one in registry.requests if one.status == 403])


def test_who_may_only_pull_pushes_nothing(command: RegistryCommand) -> None:
    with ScriptedRegistry(auth=tokens(denied=[("repository", "app", "push")])) as registry:
        command.set_credentials(registry.host)
        assert_login_hint(command("push", "big", f"{registry.host}/app:1", "--insecure", code=8), registry)
        assert ({}, {}, {}, 0) == (registry.tags, registry.manifests, registry.blobs, registry.bytes_received)


@BOTH
def test_no_bytes_are_sent_twice_for_want_of_authority(auth: Auth, command: RegistryCommand) -> None:
    with ScriptedRegistry(auth=auth()) as registry:
        command.set_credentials(registry.host)
        command("push", "big", f"{registry.host}/app:1", "--insecure")
        assert [] == [one for one in registry.sent("POST|PATCH|PUT") if one.status == 401]
        assert sum(map(len, [*BIG.layers, BIG.config])) == registry.bytes_received


# Several repositories, several hosts


class OwnerAuth(BasicAuth):
    """The first part of a repository's path is the user that it belongs to; nobody else may touch it."""

    words: ClassVar = {"one": PASSWORD, "two": OTHER}

    def __init__(self) -> None:
        super().__init__("", "")

    def refuse(self, request: Request, needed: list[Any], realm: str) -> Reply | None:
        owners = {name.partition("/")[0] for _, name, _ in needed}
        refusals = [BasicAuth(owner, self.words.get(owner, "")).refuse(request, needed, realm) for owner in owners]
        return next((refusal for refusal in refusals if refusal is not None), None)


class OwnerTokenAuth(TokenAuth):
    """The same, with tokens."""

    def __init__(self) -> None:
        super().__init__("", "")
        all_of = {name: [("repository", f"{name}/app", action) for action in ("pull", "push")] for name in OwnerAuth.words}
        others = {"one": all_of["two"], "two": all_of["one"]}
        self.owners = [TokenAuth(name, word, denied=others[name]) for name, word in OwnerAuth.words.items()]
        for owner in self.owners:
            owner.tokens = self.tokens

    def give(self, request: Request, form: str) -> Reply:
        knowing = [owner for owner in self.owners if owner.knows(request.headers.get("authorization", ""))]
        return knowing[0].give(request, form) if knowing else super().give(request, form)


@pytest.mark.parametrize("auth", [OwnerAuth, OwnerTokenAuth])
def test_each_repository_has_its_own_user(auth: Callable[[], BasicAuth], command: RegistryCommand) -> None:
    with registry_with(auth(), "one/app") as registry:
        entries = {f"{registry.host}/{name}": {"auth": basic_credentials(name, word)} for name, word in OwnerAuth.words.items()}
        command.write_auths({registry.host: {"auth": basic_credentials(USER, WRONG)}, **entries})
        command("copy", f"docker://{registry.host}/one/app:1", f"docker://{registry.host}/two/app:1", "--insecure")
        assert has_image(registry, "two/app", APP)
        command("pull", f"{registry.host}/two/app:1", "out/", "--insecure")
        assert_login_hint(command("pull", f"{registry.host}/three/app:1", "no/", "--insecure", code=8), registry)


def test_a_mount_is_authorized_in_both_repositories_and_sends_nothing(command: RegistryCommand) -> None:
    auth = tokens()
    with registry_with(auth, "from", one=BIG) as registry:
        command.set_credentials(registry.host)
        command("copy", f"docker://{registry.host}/from:1", f"docker://{registry.host}/to:1", "--insecure")
        assert has_image(registry, "to", BIG)
        mounts = registry.sent("POST", "mount=")
        assert {201} == {one.status for one in mounts if one.status != 401}
        wanted = {("repository", "to", "pull"), ("repository", "to", "push"), ("repository", "from", "pull")}
        assert wanted in [allowed for allowed, _ in auth.tokens.values()]
        assert registry.bytes_received <= len(BIG.config)


def test_what_may_not_be_mounted_is_sent(command: RegistryCommand) -> None:
    auth = tokens()
    with ScriptedRegistry(auth=auth) as registry:
        command.set_credentials(registry.host)
        command("push", "app", f"{registry.host}/from:1", "--insecure")
        auth.denied.add(("repository", "from", "pull"))
        command("push", "app", f"{registry.host}/to:1", "--insecure")
        assert [] != registry.sent("POST", "mount=")
        assert has_image(registry, "to", APP)


@BOTH
def test_credentials_of_one_host_are_never_sent_to_another(auth: Auth, command: RegistryCommand) -> None:
    other = type(auth())(USER, OTHER)  # type: ignore[call-arg,misc]
    with registry_with(auth()) as source, ScriptedRegistry(auth=other) as target, registry_with(None) as third:
        command.write_auths(
            {source.host: {"auth": basic_credentials(USER, PASSWORD)}, target.host: {"auth": basic_credentials(USER, OTHER)}}
        )
        words = [word for host in (source.host, target.host, third.host) for word in ("--insecure-host", host)]
        command("copy", f"docker://{source.host}/app:1", f"docker://{target.host}/app:1", *words)
        command("copy", f"docker://{source.host}/app:1", f"docker://{third.host}/app:1", *words)
        assert has_image(target, "app", APP)
        for registry, word in ((source, PASSWORD), (target, OTHER)):
            given = {f"Bearer {token}" for token in getattr(registry.auth, "tokens", {})}
            assert authorizations(registry) <= {None, f"Basic {basic_credentials(USER, word)}", *given}
        assert {None} == authorizations(third)


ASKS = {"WWW-Authenticate": 'Basic realm="storage"'}
REDIRECTED: dict[str, tuple[Auth, int, dict[str, Any]]] = {
    "answers": (basic, 0, {}),
    "answers a token": (tokens, 0, {}),
    "refuses once": (tokens, 0, {"status": 403, "times": 1}),
    "asks for a password": (basic, 8, {"status": 401, "headers": ASKS}),
}


@pytest.mark.parametrize("target", REDIRECTED)
def test_where_a_redirect_leads_gets_no_credentials(target: str, command: RegistryCommand) -> None:
    auth, code, fault = REDIRECTED[target]
    with registry_with(auth()) as registry, BlobServer(TWO) as storage:
        command.set_credentials(registry.host, storage.host)
        registry.faults.append(Fault("GET", sha256(TWO), redirect=f"{storage.url}/{SIGNED}"))
        storage.faults.append(Fault(**fault))
        command("pull", f"{registry.host}/app:1", "out/", "--insecure", code=code)
        assert {None} == authorizations(storage)
        assert {f"/{SIGNED}"} == {one.path for one in storage.requests}


NOWHERE = ["http://127.0.0.1:9/", "http://nowhere.invalid/", "http://[/"]


@pytest.mark.parametrize("target", NOWHERE)
def test_a_signed_address_that_leads_nowhere_is_not_said(target: str, command: RegistryCommand) -> None:
    with registry_with(basic()) as registry:
        command.set_credentials(registry.host)
        registry.faults.append(Fault("GET", sha256(TWO), redirect=target + SIGNED))
        command("pull", f"{registry.host}/app:1", "out/", "--insecure", code=8)


@pytest.mark.parametrize(("one", "auth"), [("app", tokens), ("big", basic)], ids=["app", "big"])
def test_where_an_upload_is_sent_on_to_gets_no_credentials(one: str, auth: Auth, command: RegistryCommand) -> None:
    with ScriptedRegistry(auth=auth(), check=False) as registry, BlobServer() as storage:
        command.set_credentials(registry.host, storage.host)
        registry.faults.append(Fault("POST", "/uploads/", location=storage.url + "{path}" + SIGNED))
        storage.faults.append(Fault("PATCH", status=202, body=b""))
        command("push", one, f"{registry.host}/app:1", "--insecure")
        assert {None} == authorizations(storage)
        assert all(SIGNED in request.path for request in storage.requests)
        storage.faults.append(Fault(status=403))
        command("push", one, f"{registry.host}/new:1", "--insecure", "--no-cache", code=8)


def test_where_a_token_server_leads_gets_no_credentials(command: RegistryCommand) -> None:
    answer = json.dumps({"token": "token-" + "0f" * 8}).encode()
    auth = tokens()
    by_token(auth)
    with registry_with(auth) as registry, BlobServer(answer) as elsewhere:
        command.set_credentials(registry.host)
        registry.faults.append(Fault("GET", "^/token", redirect=f"{elsewhere.url}/{SIGNED}"))
        result = command("pull", f"{registry.host}/app:1", "out/", "--insecure", code=8)
        assert elsewhere.host in result.err, str(result)
        assert [] == elsewhere.requests


def test_the_next_page_of_a_list_is_fetched_from_the_registry_alone(command: RegistryCommand) -> None:
    with registry_with(basic()) as registry, BlobServer(b'{"tags": ["evil"]}') as other:
        command.set_credentials(registry.host, other.host)
        link = {"Link": f'<{other.url}/v2/app/tags/list{SIGNED}>; rel="next"'}
        registry.faults.append(Fault("GET", "/tags/", headers=link))
        command("tags", f"docker://{registry.host}/app", "--insecure", code=4)
        assert [] == other.requests


def test_netrc_is_neither_used_nor_sent(command: RegistryCommand) -> None:
    (command.home / ".netrc").write_text("machine 127.0.0.1 login netrc password fr0m-netrc\n")
    (command.home / ".netrc").chmod(0o600)
    env = {"NETRC": str(command.home / ".netrc")}
    with registry_with(BasicAuth("netrc", "fr0m-netrc")) as registry, registry_with(None) as free, BlobServer(TWO) as storage:
        free.faults.append(Fault("GET", sha256(TWO), redirect=f"{storage.url}/"))
        assert_login_hint(command("pull", f"{registry.host}/app:1", "out/", "--insecure", code=8, **env), registry)
        command("pull", f"{free.host}/app:1", "out/", "--insecure", **env)
        assert [{None}] * 3 == [authorizations(one) for one in (registry, free, storage)]
