"""Who we are at registries: credentials of each kind and for each repository, where they go and where they never go, TLS,
proxies, login and logout. Every run is with --debug, and no secret is in what it says.

Laws: distribution's "Token Authentication" and "OAuth2", RFC 7617 and 9110, docker login(1), docker-credential-helpers.
"""

from __future__ import annotations

import base64
import json
import os
import re
import select
import socket
import socketserver
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar

import pytest
from support import places
from support.copying import ONE, TWO
from support.images import image, layer_tar, sha256, write_layout
from support.registries import hold, holds, noise
from support.registry import BasicAuth, Certificates, Fault, Recorder, Reply, Request, ScriptedRegistry, TokenAuth, certificates

from ocitool.limits import MiB

Run = Callable[..., Any]
Auth = Callable[[], BasicAuth | None]
USER, PASSWORD, WRONG, OTHER = "ci-user", "pa55 wörd:/+", "wr0ng-word", "0ther-word"
SIGNED = "?X-Signature=5igned%2Ffor-us&X-Expires=9"
APP = image([ONE, TWO], codec="none", tag="app")
LARGE = layer_tar([("large", noise(2 * MiB))])
BIG = image([LARGE, ONE, TWO], codec="none", tag="app")
"""Its first layer is sent by PATCH, the others with the PUT that ends their upload."""


def plain(user: str, password: str) -> str:
    return base64.b64encode(f"{user}:{password}".encode()).decode()


SECRET = re.compile(
    "|".join(
        [
            "pa55", WRONG, OTHER, "5igned", "fr0m-netrc", "pr0xy-word", "token-[0-9a-f]{16}", "refresh-[0-9a-f]{16}",
            *(re.escape(plain(USER, word).rstrip("=")) for word in (PASSWORD, WRONG, OTHER)),
        ]
    )
)  # fmt: skip
"""Every password, token and signature that these tests use, as it is and as headers spell it."""


class Desk:
    """The command at a home of its own. Calling it judges the exit code, and that no secret is said."""

    def __init__(self, ocitool: Run, folder: Path) -> None:
        self.ocitool, self.folder, self.home = ocitool, folder, folder / "home"
        self.file = self.home / ".docker" / "config.json"
        self.home.mkdir()
        unset = ("REGISTRY_AUTH_FILE", "NETRC", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
        proxies = [name for word in ("http", "https", "all", "no") for name in (f"{word}_proxy", f"{word.upper()}_PROXY")]
        self.env: dict[str, str | None] = {
            **dict.fromkeys((*unset, *proxies)), "HOME": str(self.home), "DOCKER_CONFIG": str(self.file.parent),
            "XDG_RUNTIME_DIR": str(folder / "run"), "XDG_CONFIG_HOME": str(folder / "config"),
        }  # fmt: skip

    def __call__(self, *words: str | Path, code: int = 0, stdin: str = "", **env: str) -> Any:
        result = self.ocitool(*words, "--debug", cwd=self.folder, stdin=stdin.encode(), env={**self.env, **env}, timeout=60)
        assert [] == SECRET.findall(result.out + result.err), str(result)
        assert code == result.code, str(result)
        if code:
            assert 1 == result.err.count("ocitool: error: ") and "a bug" not in result.err, str(result)
        return result

    def keep(self, entries: dict[str, dict[str, str]], **more: Any) -> None:
        self.file.parent.mkdir(exist_ok=True)
        self.file.write_text(json.dumps({"auths": entries, **more}))

    def know(self, *hosts: str, user: str = USER, password: str = PASSWORD) -> None:
        self.keep({host: {"auth": plain(user, password)} for host in hosts})


@pytest.fixture
def desk(ocitool: Run, tmp_path: Path) -> Desk:
    write_layout(tmp_path / "app", [APP])
    write_layout(tmp_path / "big", [BIG])
    return Desk(ocitool, tmp_path)


@pytest.fixture(scope="module")
def made(need: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    need("openssl")
    return certificates(tmp_path_factory.mktemp("certificates"))


@contextmanager
def having(auth: BasicAuth | None, *repos: str, one: Any = APP, **how: Any) -> Iterator[ScriptedRegistry]:
    """A registry that has the image in these repositories, tag 1."""
    with ScriptedRegistry(auth=auth, **how) as registry:
        for repo in repos or ("app",):
            hold(registry, repo, one, tag="1")
        yield registry


def basic() -> BasicAuth:
    return BasicAuth(USER, PASSWORD)


def tokens(**how: Any) -> TokenAuth:
    return TokenAuth(USER, PASSWORD, **how)


BOTH = pytest.mark.parametrize("auth", [basic, tokens])


def authorizations(registry: Any) -> set[str | None]:
    return {one.headers.get("authorization") for one in registry.requests}


def hinted(result: Any, registry: Any) -> None:
    assert f"\nhint: ocitool login {registry.host} " in result.err, str(result)


@pytest.mark.parametrize("text", [PASSWORD, ascii(PASSWORD), f"Basic {plain(USER, WRONG)}", f"token-{'0f' * 8}", SIGNED])
def test_a_secret_that_is_said_is_found(text: str) -> None:
    assert [] == SECRET.findall("token-server, https://127.0.0.1:5000/v2/app, ci-user, refresh")
    assert 1 == len(SECRET.findall(f"Traceback: {text!s} at"))


# Credentials of each kind


def by_password(auth: Any) -> dict[str, str]:
    return {"auth": plain(USER, PASSWORD)}


def by_refresh_token(auth: Any) -> dict[str, str]:
    return {"auth": plain("00000000-0000-0000-0000-000000000000", ""), "identitytoken": auth.refresh_token}


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
def test_who_may_pull_pulls(kind: str, desk: Desk) -> None:
    make, entry = KINDS.get(kind, (lambda: tokens(anonymous=True), None))
    auth = make()
    with having(auth) as registry:
        if entry is not None:
            desk.keep({registry.host: entry(auth)})
        desk("pull", f"{registry.host}/app:1", "out/", "--insecure")
        assert APP.blobs == places.blobs(desk.folder / "out")


@pytest.mark.parametrize("kind", [*list(KINDS)[:2], *list(KINDS)[-2:]])
def test_who_may_push_pushes(kind: str, desk: Desk) -> None:
    make, entry = KINDS[kind]
    auth = make()
    with ScriptedRegistry(auth=auth) as registry:
        if entry is not None:
            desk.keep({registry.host: entry(auth)})
        desk("push", "app", f"{registry.host}/app:1", "--insecure")
        assert holds(registry, "app", APP)
        assert APP.digest == registry.tags["app", "1"]
        if auth is None:
            assert {None} == authorizations(registry)


@pytest.mark.parametrize("words", [("tags", "docker://{}/app"), ("catalog", "docker://{}")], ids=["tags", "catalog"])
def test_who_may_look_looks(words: tuple[str, str], desk: Desk) -> None:
    with having(tokens()) as registry:
        desk.know(registry.host)
        assert desk(words[0], words[1].format(registry.host), "--insecure").out


def test_a_refresh_token_is_changed_by_a_post_and_is_in_no_address_or_header(desk: Desk) -> None:
    auth = tokens()
    with having(auth) as registry:
        desk.keep({registry.host: by_refresh_token(auth)})
        desk("pull", f"{registry.host}/app:1", "out/", "--insecure")
        assert {("POST", "/token", None)} == {
            (one.method, one.path, one.headers.get("authorization")) for one in registry.sent(path="^/token")
        }


# Tokens that end in the middle


ENDS = {"at the first blob": ("GET", "/blobs/", {}), "within a blob": ("GET", sha256(LARGE), {"cut_response": MiB})}


@pytest.mark.parametrize("when", ENDS)
def test_a_pull_goes_on_with_another_token(when: str, desk: Desk) -> None:
    method, path, fault = ENDS[when]
    with having(tokens(), one=BIG) as registry:
        desk.know(registry.host)
        registry.faults.append(Fault(method, path, hook=lambda _: registry.revoke_tokens(), times=1, **fault))
        desk("pull", f"{registry.host}/app:1", "out/", "--insecure", "--jobs", "1")
        assert BIG.blobs == places.blobs(desk.folder / "out")
        assert 2 <= len(registry.sent(path="^/token")) <= 3
        assert 401 in {one.status for one in registry.sent("GET", "/blobs/")}


@pytest.mark.parametrize("method", ["HEAD", "POST", "PATCH", "PUT", "PUT of the manifest", "PATCH, cut", "PATCH, cut and lost"])
def test_a_push_goes_on_with_another_token(method: str, desk: Desk) -> None:
    path = "/manifests/" if "manifest" in method else "/blobs/"
    fault: dict[str, Any] = {"cut_request": MiB} if "," in method else {"early": True}
    with ScriptedRegistry(auth=tokens(), keep_uploads="lost" not in method) as registry:
        desk.know(registry.host)
        verb = re.split(r"\W", method)[0]
        registry.faults.append(Fault(verb, path, hook=lambda _: registry.revoke_tokens(), times=1, **fault))
        desk("push", "big", f"{registry.host}/app:1", "--insecure", "--jobs", "1")
        assert holds(registry, "app", BIG)
        assert BIG.digest == registry.tags["app", "1"]
        assert len(registry.sent(path="^/token")) <= 5


def test_a_token_that_lives_a_second_is_renewed_each_time(desk: Desk) -> None:
    with ScriptedRegistry(auth=tokens(expires_in=1), latency=0.15) as registry:
        desk.know(registry.host)
        desk("push", "big", f"{registry.host}/app:1", "--insecure", "--jobs", "1")
        assert holds(registry, "app", BIG)
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
def test_who_is_refused_is_told_how_to_log_in_and_at_once(words: tuple[str, ...], who: str, auth: Auth, desk: Desk) -> None:
    with having(auth()) as registry:
        if who == "a stranger":
            desk.know(registry.host, password=WRONG)
        result = desk(*(word.format(registry.host) for word in words), "--insecure", code=8)
        hinted(result, registry)
        assert len(registry.requests) <= 4 * (1 if words[0] == "pull" else len(BIG.layers))
        assert 0 == registry.bytes_received and not registry.sent("POST|PATCH|PUT")
        assert ["1"] == [tag for _, tag in registry.tags]
        assert not (desk.folder / "out/index.json").exists()


@pytest.mark.parametrize("path", ["/manifests/", "/blobs/", "^/token"])
def test_forbidden_is_final(path: str, desk: Desk) -> None:
    with having(tokens()) as registry:
        desk.know(registry.host)
        registry.faults.append(Fault("GET", path, status=403))
        hinted(desk("pull", f"{registry.host}/app:1", "out/", "--insecure", "--jobs", "1", code=8), registry)
        assert 1 == len([one for one in registry.requests if one.status == 403])


def test_who_may_only_pull_pushes_nothing(desk: Desk) -> None:
    with ScriptedRegistry(auth=tokens(denied=[("repository", "app", "push")])) as registry:
        desk.know(registry.host)
        hinted(desk("push", "big", f"{registry.host}/app:1", "--insecure", code=8), registry)
        assert ({}, {}, {}, 0) == (registry.tags, registry.manifests, registry.blobs, registry.bytes_received)


@BOTH
def test_no_bytes_are_sent_twice_for_want_of_authority(auth: Auth, desk: Desk) -> None:
    with ScriptedRegistry(auth=auth()) as registry:
        desk.know(registry.host)
        desk("push", "big", f"{registry.host}/app:1", "--insecure")
        assert [] == [one for one in registry.sent("POST|PATCH|PUT") if one.status == 401]
        assert sum(map(len, [*BIG.layers, BIG.config])) == registry.bytes_received


# Several repositories, several hosts


class Owners(BasicAuth):
    """The first part of a repository's path is the user that it belongs to; nobody else may touch it."""

    words: ClassVar = {"one": PASSWORD, "two": OTHER}

    def __init__(self) -> None:
        super().__init__("", "")

    def refuse(self, request: Request, needed: list[Any], realm: str) -> Reply | None:
        owners = {name.partition("/")[0] for _, name, _ in needed}
        refusals = [BasicAuth(owner, self.words.get(owner, "")).refuse(request, needed, realm) for owner in owners]
        return next((refusal for refusal in refusals if refusal is not None), None)


class TokenOwners(TokenAuth):
    """The same, with tokens."""

    def __init__(self) -> None:
        super().__init__("", "")
        all_of = {name: [("repository", f"{name}/app", action) for action in ("pull", "push")] for name in Owners.words}
        others = {"one": all_of["two"], "two": all_of["one"]}
        self.owners = [TokenAuth(name, word, denied=others[name]) for name, word in Owners.words.items()]
        for owner in self.owners:
            owner.tokens = self.tokens

    def give(self, request: Request, form: str) -> Reply:
        knowing = [owner for owner in self.owners if owner.knows(request.headers.get("authorization", ""))]
        return knowing[0].give(request, form) if knowing else super().give(request, form)


@pytest.mark.parametrize("auth", [Owners, TokenOwners])
def test_each_repository_has_its_own_user(auth: Callable[[], BasicAuth], desk: Desk) -> None:
    with having(auth(), "one/app") as registry:
        entries = {f"{registry.host}/{name}": {"auth": plain(name, word)} for name, word in Owners.words.items()}
        desk.keep({registry.host: {"auth": plain(USER, WRONG)}, **entries})
        desk("copy", f"docker://{registry.host}/one/app:1", f"docker://{registry.host}/two/app:1", "--insecure")
        assert holds(registry, "two/app", APP)
        desk("pull", f"{registry.host}/two/app:1", "out/", "--insecure")
        hinted(desk("pull", f"{registry.host}/three/app:1", "no/", "--insecure", code=8), registry)


def test_a_mount_is_authorized_in_both_repositories_and_sends_nothing(desk: Desk) -> None:
    auth = tokens()
    with having(auth, "from", one=BIG) as registry:
        desk.know(registry.host)
        desk("copy", f"docker://{registry.host}/from:1", f"docker://{registry.host}/to:1", "--insecure")
        assert holds(registry, "to", BIG)
        mounts = registry.sent("POST", "mount=")
        assert {201} == {one.status for one in mounts if one.status != 401}
        wanted = {("repository", "to", "pull"), ("repository", "to", "push"), ("repository", "from", "pull")}
        assert wanted in [allowed for allowed, _ in auth.tokens.values()]
        assert registry.bytes_received <= len(BIG.config)


def test_what_may_not_be_mounted_is_sent(desk: Desk) -> None:
    auth = tokens()
    with ScriptedRegistry(auth=auth) as registry:
        desk.know(registry.host)
        desk("push", "app", f"{registry.host}/from:1", "--insecure")
        auth.denied.add(("repository", "from", "pull"))
        desk("push", "app", f"{registry.host}/to:1", "--insecure")
        assert [] != registry.sent("POST", "mount=")
        assert holds(registry, "to", APP)


@BOTH
def test_credentials_of_one_host_are_never_sent_to_another(auth: Auth, desk: Desk) -> None:
    other = type(auth())(USER, OTHER)  # type: ignore[call-arg,misc]
    with having(auth()) as source, ScriptedRegistry(auth=other) as target, having(None) as third:
        desk.keep({source.host: {"auth": plain(USER, PASSWORD)}, target.host: {"auth": plain(USER, OTHER)}})
        words = [word for host in (source.host, target.host, third.host) for word in ("--insecure-host", host)]
        desk("copy", f"docker://{source.host}/app:1", f"docker://{target.host}/app:1", *words)
        desk("copy", f"docker://{source.host}/app:1", f"docker://{third.host}/app:1", *words)
        assert holds(target, "app", APP)
        for registry, word in ((source, PASSWORD), (target, OTHER)):
            given = {f"Bearer {token}" for token in getattr(registry.auth, "tokens", {})}
            assert authorizations(registry) <= {None, f"Basic {plain(USER, word)}", *given}
        assert {None} == authorizations(third)


ASKS = {"WWW-Authenticate": 'Basic realm="storage"'}
REDIRECTED: dict[str, tuple[Auth, int, dict[str, Any]]] = {
    "answers": (basic, 0, {}),
    "answers a token": (tokens, 0, {}),
    "refuses once": (tokens, 0, {"status": 403, "times": 1}),
    "asks for a password": (basic, 8, {"status": 401, "headers": ASKS}),
}


@pytest.mark.parametrize("target", REDIRECTED)
def test_where_a_redirect_leads_gets_no_credentials(target: str, desk: Desk) -> None:
    auth, code, fault = REDIRECTED[target]
    with having(auth()) as registry, Recorder(TWO) as storage:
        desk.know(registry.host, storage.host)
        registry.faults.append(Fault("GET", sha256(TWO), redirect=f"{storage.url}/{SIGNED}"))
        storage.faults.append(Fault(**fault))
        desk("pull", f"{registry.host}/app:1", "out/", "--insecure", code=code)
        assert {None} == authorizations(storage)
        assert {f"/{SIGNED}"} == {one.path for one in storage.requests}


NOWHERE = ["http://127.0.0.1:9/", "http://nowhere.invalid/", "http://[/"]


@pytest.mark.parametrize("target", NOWHERE)
def test_a_signed_address_that_leads_nowhere_is_not_said(target: str, desk: Desk) -> None:
    with having(basic()) as registry:
        desk.know(registry.host)
        registry.faults.append(Fault("GET", sha256(TWO), redirect=target + SIGNED))
        desk("pull", f"{registry.host}/app:1", "out/", "--insecure", code=8)


@pytest.mark.parametrize(("one", "auth"), [("app", tokens), ("big", basic)], ids=["app", "big"])
def test_where_an_upload_is_sent_on_to_gets_no_credentials(one: str, auth: Auth, desk: Desk) -> None:
    with ScriptedRegistry(auth=auth(), check=False) as registry, Recorder() as storage:
        desk.know(registry.host, storage.host)
        registry.faults.append(Fault("POST", "/uploads/", location=storage.url + "{path}" + SIGNED))
        storage.faults.append(Fault("PATCH", status=202, body=b""))
        desk("push", one, f"{registry.host}/app:1", "--insecure")
        assert {None} == authorizations(storage)
        assert all(SIGNED in request.path for request in storage.requests)
        storage.faults.append(Fault(status=403))
        desk("push", one, f"{registry.host}/new:1", "--insecure", "--no-cache", code=8)


def test_where_a_token_server_leads_gets_no_credentials(desk: Desk) -> None:
    answer = json.dumps({"token": "token-" + "0f" * 8}).encode()
    auth = tokens()
    by_token(auth)
    with having(auth) as registry, Recorder(answer) as elsewhere:
        desk.know(registry.host)
        registry.faults.append(Fault("GET", "^/token", redirect=f"{elsewhere.url}/{SIGNED}"))
        desk("pull", f"{registry.host}/app:1", "out/", "--insecure")
        assert {None} == authorizations(elsewhere)


def test_the_next_page_of_a_list_is_fetched_from_the_registry_alone(desk: Desk) -> None:
    with having(basic()) as registry, Recorder(b'{"tags": ["evil"]}') as other:
        desk.know(registry.host, other.host)
        link = {"Link": f'<{other.url}/v2/app/tags/list{SIGNED}>; rel="next"'}
        registry.faults.append(Fault("GET", "/tags/", headers=link))
        desk("tags", f"docker://{registry.host}/app", "--insecure", code=4)
        assert [] == other.requests


def test_netrc_is_neither_used_nor_sent(desk: Desk) -> None:
    (desk.home / ".netrc").write_text("machine 127.0.0.1 login netrc password fr0m-netrc\n")
    (desk.home / ".netrc").chmod(0o600)
    env = {"NETRC": str(desk.home / ".netrc")}
    with having(BasicAuth("netrc", "fr0m-netrc")) as registry, having(None) as free, Recorder(TWO) as storage:
        free.faults.append(Fault("GET", sha256(TWO), redirect=f"{storage.url}/"))
        hinted(desk("pull", f"{registry.host}/app:1", "out/", "--insecure", code=8, **env), registry)
        desk("pull", f"{free.host}/app:1", "out/", "--insecure", **env)
        assert [{None}] * 3 == [authorizations(one) for one in (registry, free, storage)]


# TLS


@BOTH
def test_an_authority_that_is_named_is_believed(auth: Auth, desk: Desk, made: Certificates) -> None:
    with ScriptedRegistry(auth=auth(), tls=made.server) as registry:
        desk("login", "-u", USER, registry.host, "--ca", made.ca, stdin=PASSWORD)
        desk("push", "big", f"{registry.host}/app:1", "--ca", made.ca)
        desk("pull", f"{registry.host}/app:1", "out/", "--ca", made.ca)
        assert BIG.blobs == places.blobs(desk.folder / "out")


def test_a_certificate_that_nobody_vouches_for_gets_no_word(desk: Desk, made: Certificates) -> None:
    with having(basic(), tls=made.server) as registry:
        desk.know(registry.host)
        for words in (("pull", f"{registry.host}/app:1", "out/"), ("login", "-u", USER, registry.host)):
            result = desk(*words, stdin=PASSWORD, code=8)
            assert "certificate" in result.err and "\nhint: --ca FILE" in result.err, str(result)
        assert [] == registry.requests


def test_insecure_does_without_an_authority(desk: Desk, made: Certificates) -> None:
    with having(tokens(), tls=made.server) as registry:
        desk.know(registry.host)
        desk("pull", f"{registry.host}/app:1", "out/", "--insecure")
        desk("push", "big", f"{registry.host}/app:2", "--insecure-host", registry.host)


def test_a_registry_that_wants_a_certificate_gets_it(desk: Desk, made: Certificates) -> None:
    both = desk.folder / "both.pem"
    both.write_text(Path(made.client[0]).read_text() + Path(made.client[1]).read_text())
    with having(tokens(), tls=made.server, client_ca=made.ca) as registry:
        desk.know(registry.host)
        words = ("pull", f"{registry.host}/app:1", "--ca", made.ca)
        result = desk(*words, "none/", code=8)
        assert re.search("^hint: .*--cert FILE", result.err, re.MULTILINE), str(result)
        desk(*words, "apart/", "--cert", made.client[0], "--key", made.client[1])
        desk(*words, "one/", "--cert", both)
        desk("pull", f"{registry.host}/app:1", "insecure/", "--insecure", "--cert", both)


def test_a_certificate_that_is_none_is_refused_before_anything_is_sent(desk: Desk, made: Certificates) -> None:
    for name, text in (("junk", "no certificate"), ("half", Path(made.client[0]).read_text()[:300])):
        (desk.folder / name).write_text(text)
    locked = ("ec", "-in", made.client[1], "-aes256", "-passout", "pass:pa55", "-out", "locked")
    subprocess.run(["openssl", *locked], cwd=desk.folder, check=True, capture_output=True)
    cert, key = made.client
    with having(None, tls=made.server) as registry:
        for words, code in [
            (("--cert", "half", "--key", key), 4), (("--cert", cert), 4), (("--key", key), 2),
            (("--cert", cert, "--key", made.server[1]), 4), (("--cert", cert, "--key", "locked"), 4),
            (("--ca", "junk"), 4),
        ]:  # fmt: skip
            desk("pull", f"{registry.host}/app:1", "out/", *words, code=code)
        assert [] == registry.requests


@pytest.mark.parametrize("method", ["PATCH", "GET"])
def test_a_transfer_over_tls_that_is_cut_goes_on(method: str, desk: Desk, made: Certificates) -> None:
    with having(None, "from", one=BIG, tls=made.server) as registry:
        fault = {"cut_response" if method == "GET" else "cut_request": MiB}
        registry.faults += [Fault(method, "/blobs/", after=after, times=1, **fault) for after in range(3)]
        desk("push", "big", f"{registry.host}/app:1", "--ca", made.ca, "--jobs", "1")
        desk("pull", f"{registry.host}/from:1", "out/", "--ca", made.ca, "--jobs", "1")
        assert holds(registry, "app", BIG)
        assert BIG.blobs == places.blobs(desk.folder / "out")


def test_nothing_leads_from_tls_to_where_there_is_none(desk: Desk, made: Certificates) -> None:
    words = ("--ca", made.ca)
    with having(tokens(), tls=made.server) as registry, Recorder(TWO) as open_to_all:
        desk.know(registry.host, open_to_all.host)
        registry.faults.append(Fault("GET", sha256(TWO), redirect=f"{open_to_all.url}/{SIGNED}"))
        desk("pull", f"{registry.host}/app:1", "out/", *words, code=8)
        registry.realm = f"{open_to_all.url}/token"
        desk("pull", f"{registry.host}/app:1", "out/", *words, code=8)
        assert [] == open_to_all.requests


COMMANDS = [
    ("copy", "docker://{0}/app:1", "docker://{1}/new:1"), ("pull", "{0}/app:1", "docker://{1}/new:1"),
    ("push", "docker://{0}/app:1", "{1}/new:1"), ("pull", "{0}/app:1", "out/", "--with", "docker://{1}/app:1"),
    ("copy", "docker://{0}/app:1", "docker://{1}/app:1", "out/"), ("diff", "docker://{0}/app:1", "docker://{1}/app:1"),
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_insecure_is_for_one_registry_alone(command: tuple[str, ...], desk: Desk) -> None:
    with having(None) as one, having(None) as two:
        words = [word.format(one.host, two.host) for word in command]
        result = desk(*words, "--insecure", code=2)
        assert one.host in result.err and two.host in result.err and "--insecure-host" in result.err, str(result)
        assert [] == one.requests + two.requests


# Proxies


class Tunnel(socketserver.ThreadingTCPServer):
    """A proxy that knows CONNECT alone. `asked`: the heads of the requests."""

    daemon_threads = True

    def __init__(self, status: str = "200 OK") -> None:
        self.status, self.asked = status, list[str]()
        super().__init__(("127.0.0.1", 0), Within)
        self.host = f"127.0.0.1:{self.server_address[1]}"

    def __enter__(self) -> Tunnel:
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing of clients that left."""


class Within(socketserver.StreamRequestHandler):
    server: Tunnel

    def handle(self) -> None:
        head = b"".join(iter(self.rfile.readline, b"\r\n")).decode()
        self.server.asked.append(head)
        self.wfile.write(f"HTTP/1.1 {self.server.status}\r\n\r\n".encode())
        name, _, port = head.split()[1].rpartition(":")
        if not self.server.status.startswith("200"):
            return
        with socket.create_connection((name, int(port)), 10) as there, suppress(OSError):
            ways = {self.connection: there, there: self.connection}
            while True:
                for source in select.select(list(ways), [], [])[0]:
                    if not (data := source.recv(1 << 16)):
                        return
                    ways[source].sendall(data)


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy"])
def test_a_registry_is_reached_through_the_proxy(name: str, desk: Desk) -> None:
    with having(basic()) as proxy:
        desk.know("registry.invalid:5000")
        env = {name: f"http://proxy-user:pr0xy-word@{proxy.host}"}
        desk("pull", "registry.invalid:5000/app:1", "out/", "--insecure", **env)
        assert APP.blobs == places.blobs(desk.folder / "out")
        assert {"registry.invalid:5000"} == {one.headers["host"] for one in proxy.requests}
        assert all(one.path.startswith("http://registry.invalid:5000/v2/") for one in proxy.requests)
        desk("pull", "registry.invalid:5000/app:1", "out/", "--insecure", NO_PROXY="registry.invalid", code=8, **env)


def test_no_proxy_is_asked_where_it_is_not_to_be(desk: Desk) -> None:
    with having(None) as registry, Recorder() as proxy:
        env = {"HTTP_PROXY": proxy.url, "HTTPS_PROXY": proxy.url, "NO_PROXY": "example.com,127.0.0.1"}
        desk("pull", f"{registry.host}/app:1", "out/", "--insecure", **env)
        assert [] == proxy.requests


def test_tls_goes_through_a_proxy_with_authorities_and_certificates(desk: Desk, made: Certificates) -> None:
    with having(tokens(), tls=made.server, client_ca=made.ca) as registry, Tunnel() as tunnel:
        desk.know(registry.host)
        cert = ("--cert", made.client[0], "--key", made.client[1])
        env = {"HTTPS_PROXY": f"http://proxy-user:pr0xy-word@{tunnel.host}"}
        desk("pull", f"{registry.host}/app:1", "out/", *cert, code=8, **env)
        assert [] == registry.requests
        desk("pull", f"{registry.host}/app:1", "out/", "--ca", made.ca, *cert, **env)
        desk("push", "big", f"{registry.host}/app:2", "--insecure", *cert, **env)
        assert {registry.host} == {head.split()[1] for head in tunnel.asked}
        credentials = plain("proxy-user", "pr0xy-word")
        assert all(f"Proxy-Authorization: Basic {credentials}" in head for head in tunnel.asked)
        assert all(credentials not in str(one.headers) for one in registry.requests)


@pytest.mark.parametrize("status", ["407 Proxy Authentication Required", "502 Bad Gateway", "gone", "unknown"])
def test_a_proxy_that_does_not_connect_is_told_of(status: str, desk: Desk) -> None:
    with Tunnel(status) as tunnel:
        host = {"gone": "127.0.0.1:9", "unknown": "proxy.invalid:3128"}.get(status, tunnel.host)
        env = {"HTTPS_PROXY": f"http://proxy-user:pr0xy-word@{host}"}
        result = desk("pull", "registry.invalid/app:1", "out/", code=8, **env)
        assert "proxy" in result.err.splitlines()[-2], str(result)
        assert "HTTPS_PROXY" in result.err.splitlines()[-1], str(result)


# Login and logout


@pytest.mark.parametrize(("auth", "end"), [(basic, "\n"), (tokens, ""), (tokens, "\r\n")], ids=["basic", "tokens", "CRLF"])
def test_who_is_logged_in_pulls_and_who_is_logged_out_does_not(end: str, auth: Auth, desk: Desk) -> None:
    with having(auth()) as registry:
        pull = ("pull", f"{registry.host}/app:1", "--insecure")
        result = desk("login", "-u", USER, registry.host, "--insecure", stdin=PASSWORD + end)
        assert (registry.host in result.out, str(desk.file) in result.out) == (True, True)
        assert 0o600 == desk.file.stat().st_mode & 0o7777
        assert {registry.host: {"auth": plain(USER, PASSWORD)}} == json.loads(desk.file.read_text())["auths"]
        desk(*pull, "out/")
        desk("logout", registry.host)
        desk(*pull, "none/", code=8)
        desk("logout", registry.host, code=3)


@BOTH
def test_a_wrong_password_is_refused_and_what_was_kept_stays(auth: Auth, desk: Desk) -> None:
    with having(auth()) as registry:
        login = ("login", "-u", USER, registry.host, "--insecure")
        hinted(desk(*login, stdin=WRONG, code=8), registry)
        assert [] == list(desk.home.iterdir())
        assert len(registry.requests) <= 4
        desk(*login, stdin=PASSWORD)
        before = desk.file.read_bytes()
        desk(*login, stdin=WRONG, code=8)
        assert before == desk.file.read_bytes()


def test_a_login_is_judged_by_what_it_is_given_and_replaces_what_was_kept(desk: Desk) -> None:
    with having(tokens()) as registry:
        desk.keep({registry.host: {"auth": plain(USER, WRONG)}, "other.example": {"auth": plain(USER, OTHER)}})
        desk("login", "-u", USER, registry.host, "--insecure", "--password-stdin", stdin=PASSWORD)
        desk("pull", f"{registry.host}/app:1", "out/", "--insecure")
        kept = json.loads(desk.file.read_text())["auths"]
        assert {registry.host: {"auth": plain(USER, PASSWORD)}, "other.example": {"auth": plain(USER, OTHER)}} == kept


def test_a_registry_that_is_not_there_is_not_logged_in_to(desk: Desk) -> None:
    with ScriptedRegistry() as gone:
        host = gone.host
    desk("login", "-u", USER, host, "--insecure", stdin=PASSWORD, code=8)
    assert [] == list(desk.home.iterdir())


@pytest.mark.parametrize("words", [(USER, "--password", PASSWORD), (USER, "-p", PASSWORD), (f"{USER}:{PASSWORD}",)])
def test_no_password_is_taken_from_the_command_line(words: tuple[str, ...], desk: Desk) -> None:
    with having(basic()) as registry:
        desk("login", registry.host, "--insecure", "-u", *words, stdin=PASSWORD, code=2)
        assert [] == registry.requests


@pytest.mark.parametrize("text", ["\n", f"{PASSWORD}\n{OTHER}\n"])
def test_a_password_is_one_line(text: str, desk: Desk) -> None:
    with having(basic()) as registry:
        desk("login", "-u", USER, registry.host, "--insecure", stdin=text, code=2)
        assert [] == registry.requests


def test_a_registry_that_asks_nobody_is_told_of(desk: Desk) -> None:
    with ScriptedRegistry() as registry:
        result = desk("login", "-u", USER, registry.host, "--insecure", stdin=PASSWORD)
        assert re.search(rf"^ocitool: note: {registry.host} asks nobody", result.err, re.MULTILINE), str(result)


@pytest.mark.parametrize("named", ["--authfile", "REGISTRY_AUTH_FILE"])
def test_a_file_that_is_named_keeps_the_login_alone(named: str, desk: Desk) -> None:
    file = str(desk.folder / "auth.json")
    words, env = (("--authfile", file), {}) if named == "--authfile" else ((), {named: file})
    with having(tokens()) as registry:
        desk("login", "-u", USER, registry.host, "--insecure", *words, stdin=PASSWORD, **env)
        assert not desk.file.exists()
        desk("pull", f"{registry.host}/app:1", "out/", "--insecure", code=8)
        desk("pull", f"{registry.host}/app:1", "out/", "--insecure", *words, **env)
        desk("logout", registry.host, *words, **env)
        desk("logout", registry.host, *words, code=3, **env)


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
def helper(desk: Desk) -> Path:
    """The directory of docker-credential-fake, on PATH."""
    (desk.folder / "bin").mkdir()
    script = desk.folder / "bin" / "docker-credential-fake"
    script.write_text(HELPER)
    script.chmod(0o755)
    desk.env["PATH"] = f"{script.parent}:{os.environ['PATH']}"
    return script.parent


@pytest.mark.parametrize(("named", "auth"), [("credsStore", tokens), ("credHelpers", basic)], ids=["store", "helper"])
def test_a_helper_keeps_the_login_and_is_told_the_password_on_standard_input_alone(
    named: str, auth: Auth, desk: Desk, helper: Path
) -> None:
    with having(auth()) as registry:
        desk.keep({}, **{named: "fake" if named == "credsStore" else {registry.host: "fake"}})
        assert "docker-credential-fake" in desk("login", "-u", USER, registry.host, "--insecure", stdin=PASSWORD).out
        kept = {"ServerURL": registry.host, "Username": USER, "Secret": PASSWORD}
        assert kept == json.loads((helper / "kept").read_text())
        assert {} == json.loads(desk.file.read_text())["auths"]
        desk("pull", f"{registry.host}/app:1", "out/", "--insecure")
        assert registry.host == (helper / "asked").read_text().strip()
        desk("logout", registry.host)
        assert not (helper / "kept").exists()
        desk("logout", registry.host, code=3)
        desk("pull", f"{registry.host}/app:1", "none/", "--insecure", code=8)
    seen = (helper / "seen").read_text()
    assert "-m ocitool login" in seen and "docker-credential-fake store" in seen
    assert [] == SECRET.findall(seen)


def test_a_helper_that_fails_keeps_nothing_and_its_words_are_not_said(desk: Desk, helper: Path) -> None:
    (helper / "fails").touch()
    with having(basic()) as registry:
        desk.keep({}, credsStore="fake")
        before = desk.file.read_bytes()
        assert "docker-credential-fake" in desk("login", "-u", USER, registry.host, "--insecure", stdin=PASSWORD, code=9).err
        assert before == desk.file.read_bytes()
        result = desk("pull", f"{registry.host}/app:1", "out/", "--insecure", code=8)
        assert "ocitool: note: " in result.err and "docker-credential-fake" in result.err, str(result)
        desk("logout", registry.host, code=8)
