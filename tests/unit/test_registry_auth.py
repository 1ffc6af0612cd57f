"""Challenges (RFC 9110, 11.6.1) and tokens (distribution's "Token Authentication"): what is asked, of whom, and how often."""

from __future__ import annotations

import base64
import gc
import json
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from support.registry import BlobServer, Fault, ScriptedRegistry, TokenAuth

from ocitool import limits
from ocitool.errors import LimitError, OcitoolError, TransportError
from ocitool.task import Task
from ocitool.transports.registry import auth, keychain
from ocitool.transports.registry.access import Access
from ocitool.transports.registry.auth import Authorization, challenges
from ocitool.transports.registry.client import Client
from ocitool.transports.registry.keychain import Credentials
from ocitool.transports.registry.scopes import CATALOG_SCOPE, NO_SCOPE, pull_scope, push_scope

HOST, REALM = "reg.example", "https://tokens.example/token"
BEARER = f'Bearer realm="{REALM}",service="reg"'
ME = Credentials("me", "s3cret-w0rd")
BASIC_ME = "Basic " + base64.b64encode(b"me:s3cret-w0rd").decode()


def parsed(header: str) -> list[tuple[str, dict[str, str]]]:
    return [(one.scheme, dict(one.values)) for one in challenges(header)]


# Challenges


CHALLENGES: dict[str, tuple[str, list[tuple[str, dict[str, str]]]]] = {
    "nothing": ("", []),
    "no parameters": ("Basic", [("basic", {})]),
    "small and large letters": ('bEaReR ReAlM="R",SCOPE="S"', [("bearer", {"realm": "R", "scope": "S"})]),
    "commas in quotes": (
        'Bearer realm="r",scope="repository:a:pull,push"', [("bearer", {"realm": "r", "scope": "repository:a:pull,push"})],
    ),
    "several": ('Basic realm="b", Bearer realm="r",service="s"',
                [("basic", {"realm": "b"}), ("bearer", {"realm": "r", "service": "s"})]),
    "several without parameters": ("Negotiate, Basic realm=b", [("negotiate", {}), ("basic", {"realm": "b"})]),
    "a scheme in quotes": ('Basic realm="x, Bearer realm=y"', [("basic", {"realm": "x, Bearer realm=y"})]),
    "escapes": (r'Basic realm="a\"b\\c"', [("basic", {"realm": r'a"b\c'})]),
    "no quotes": ("Bearer realm=https://t.example/t,service=s", [("bearer", {"realm": "https://t.example/t", "service": "s"})]),
    "spaces and empty elements": (', ,Bearer   realm = "r" , ,service="s",', [("bearer", {"realm": "r", "service": "s"})]),
    "an empty value": ('Bearer realm="r",service=""', [("bearer", {"realm": "r", "service": ""})]),
    "the first of two values": ('Bearer realm="one",realm="two"', [("bearer", {"realm": "one"})]),
    "a token in place of parameters": ('NTLM TlRMTVNTUAAC==, Basic realm="b"', [("ntlm", {}), ("basic", {"realm": "b"})]),
}  # fmt: skip


@pytest.mark.parametrize("name", CHALLENGES)
def test_a_challenge_is_read(name: str) -> None:
    header, expected = CHALLENGES[name]
    assert expected == parsed(header)


PIECES = st.lists(st.sampled_from(["Basic", "realm", "a", " ", ",", "=", '"', "\\", "\t"])).map("".join)


@given(st.text() | PIECES)
def test_any_header_is_read_without_an_error(header: str) -> None:
    for scheme, values in parsed(header):
        assert scheme == scheme.lower()
        assert all(name == name.lower() for name in values)


QUOTED = st.text(st.characters(min_codepoint=32, max_codepoint=126))
NAMES = st.sampled_from(["realm", "service", "scope", "error", "charset"])


@given(st.lists(st.tuples(st.sampled_from(["Basic", "Bearer", "Digest"]), st.dictionaries(NAMES, QUOTED, min_size=1))))
def test_what_is_written_as_the_rfc_says_is_read_back(written: list[tuple[str, dict[str, str]]]) -> None:
    def quoted(text: str) -> str:
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

    texts = [f"{scheme} {','.join(f'{name}={quoted(value)}' for name, value in values.items())}" for scheme, values in written]
    assert [(scheme.lower(), values) for scheme, values in written] == parsed(", ".join(texts))


@pytest.mark.parametrize("piece", ["a", " ", ",", "a=", 'a="', '\\"', "a ", ", ", "a=b", "a=b,", 'Basic realm="x",', " =", '"'])
def test_a_header_of_64_kib_is_read_at_once(piece: str) -> None:
    started = time.perf_counter()
    for before, after in (("", ""), ('Bearer realm="', ""), ("Bearer a", "\0")):
        challenges(before + piece * (65536 // len(piece)) + after)
    assert time.perf_counter() - started < 2


# Scopes


def test_each_request_needs_the_scope_of_the_specification() -> None:
    assert (None, ()) == NO_SCOPE
    assert (None, ("registry:catalog:*",)) == CATALOG_SCOPE
    assert ("a/b", ("repository:a/b:pull",)) == pull_scope("a/b")
    assert ("a/b", ("repository:a/b:pull,push",)) == push_scope("a/b")
    assert ("a/b", ("repository:a/b:pull,push", "repository:c:pull")) == push_scope("a/b", "c")


# Tokens


class Server:
    """A token server as a function, with a record. `answers` are given in turn, the last one for ever."""

    def __init__(self, *answers: Mapping[str, Any]) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, str, dict[str, str], str | None]] = []
        self.delay = 0.0

    def __call__(self, method: str, url: str, fields: Mapping[str, str], authorization: str | None) -> Mapping[str, Any]:
        self.asked.append((method, url, dict(fields), authorization))
        time.sleep(self.delay)
        if self.answers:
            return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return {"token": f"t{len(self.asked)}", "expires_in": 300}

    @property
    def scopes(self) -> list[set[str]]:
        return [set(fields["scope"].split()) for _, _, fields, _ in self.asked]


def begun(server: Server, credentials: Credentials | None = ME, prefix: str = "https") -> Authorization:
    made = Authorization()
    made.prefix = prefix
    made.configure(HOST, lambda path: credentials, server, Task())
    return made


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Its first item is the time that tokens live by."""
    now = [1000.0]

    class Clock:
        @staticmethod
        def monotonic() -> float:
            return now[0]

    monkeypatch.setattr(auth, "time", Clock)
    return now


def test_nothing_is_said_before_a_challenge() -> None:
    server = Server()
    assert begun(server).header(pull_scope("app")) is None
    assert [] == server.asked


def test_a_basic_challenge_is_answered_once() -> None:
    made = begun(Server())
    assert made.renew('Basic realm="x"', pull_scope("app"), None)
    assert BASIC_ME == made.header(push_scope("other"))
    assert not made.renew('Basic realm="x"', pull_scope("app"), BASIC_ME)


def test_without_credentials_a_basic_challenge_is_the_end() -> None:
    made = begun(Server(), None)
    assert not made.renew('Basic realm="x"', pull_scope("app"), None)
    assert made.header(pull_scope("app")) is None


@pytest.mark.parametrize("header", ["", "Negotiate", 'Digest realm="x"', "garbage ==="])
def test_a_challenge_that_nobody_knows_is_the_end(header: str) -> None:
    assert not begun(Server()).renew(header, pull_scope("app"), None)


def test_a_token_is_asked_for_with_the_password_and_then_kept() -> None:
    server = Server()
    made = begun(server)
    assert made.renew(BEARER, pull_scope("app"), None)
    assert ["Bearer t1"] * 3 == [made.header(pull_scope("app")) for _ in range(3)]
    method, url, fields, authorization = server.asked[0]
    assert ("GET", REALM, BASIC_ME) == (method, url, authorization)
    assert ("reg", "repository:app:pull") == (fields["service"], fields["scope"])
    assert 1 == len(server.asked)


def test_without_credentials_a_token_is_asked_for_by_nobody() -> None:
    server = Server()
    assert begun(server, None).renew(BEARER, pull_scope("app"), None)
    assert server.asked[0][3] is None


def test_an_identity_token_is_changed_by_a_post_and_never_in_the_address() -> None:
    server = Server({"access_token": "a"})
    assert begun(server, Credentials(identity="refresh")).renew(BEARER, pull_scope("app"), None)
    method, url, fields, authorization = server.asked[0]
    assert ("POST", REALM, None) == (method, url, authorization)
    assert ("refresh_token", "refresh") == (fields["grant_type"], fields["refresh_token"])
    assert fields["client_id"]


def test_a_registry_token_is_used_as_it_is() -> None:
    server = Server()
    made = begun(server, Credentials(bearer="mine"))
    assert made.renew(BEARER, pull_scope("app"), None)
    assert ("Bearer mine", []) == (made.header(push_scope("app")), server.asked)
    assert not made.renew(BEARER, pull_scope("app"), "Bearer mine")


def test_each_scope_has_its_token() -> None:
    server = Server()
    made = begun(server)
    made.renew(BEARER, pull_scope("app"), None)
    headers = [
        made.header(scope) for scope in (pull_scope("app"), push_scope("app"), pull_scope("other"), push_scope("app", "other"))
    ]
    assert 4 == len(set(headers)) == len(server.asked)


def test_what_the_challenge_wants_is_asked_for_too() -> None:
    server = Server()
    begun(server).renew(f'{BEARER},scope="repository:app:delete extra:x:y"', pull_scope("app"), None)
    assert [{"repository:app:pull", "repository:app:delete", "extra:x:y"}] == server.scopes


def test_a_token_for_one_repository_is_not_asked_for_another() -> None:
    """Some servers refuse a request of which they grant a part only; and the other's name is none of its business."""
    server = Server()
    made = begun(server)
    made.renew(f'{BEARER},scope="repository:secret:pull"', pull_scope("secret"), None)
    made.header(pull_scope("app"))
    assert {"repository:app:pull"} == server.scopes[-1]


@pytest.mark.parametrize(
    ("answer", "life"),
    [
        ({"expires_in": 300}, 300), ({}, 60), ({"expires_in": 5}, 5), ({"expires_in": 0}, 60), ({"expires_in": -1}, 60),
        ({"expires_in": "x"}, 60), ({"expires_in": None}, 60), ({"expires_in": 1e300}, 60), ({"expires_in": float("nan")}, 60),
    ],
)  # fmt: skip
def test_a_token_is_renewed_before_it_ends(answer: dict[str, Any], life: float, clock: list[float]) -> None:
    server = Server({"token": "t", **answer})
    made = begun(server)
    made.renew(BEARER, pull_scope("app"), None)
    clock[0] += life * 0.8
    made.header(pull_scope("app"))
    assert 1 == len(server.asked)
    clock[0] += life * 0.19
    made.header(pull_scope("app"))
    assert 2 == len(server.asked)


def test_a_token_that_is_refused_is_renewed_at_once_and_not_for_ever() -> None:
    server = Server()
    made = begun(server)
    made.renew(BEARER, pull_scope("app"), None)
    assert made.renew(BEARER, pull_scope("app"), "Bearer t1")
    assert "Bearer t2" == made.header(pull_scope("app"))
    server.answers = [{"token": "t2"}]
    assert not made.renew(BEARER, pull_scope("app"), "Bearer t2")


def together(count: int, act: Any) -> list[Any]:
    """What `count` threads got that started at once."""
    barrier, results = threading.Barrier(count), []

    def run() -> None:
        barrier.wait()
        results.append(act())

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_many_threads_fetch_one_token() -> None:
    server = Server()
    server.delay = 0.02
    made = begun(server)
    assert [True] * 16 == together(16, lambda: made.renew(BEARER, pull_scope("app"), None))
    assert ["Bearer t1"] * 16 == together(16, lambda: made.header(pull_scope("app")))
    assert 1 == len(server.asked)


def test_many_threads_renew_one_token_once() -> None:
    server = Server()
    server.delay = 0.02
    made = begun(server)
    made.renew(BEARER, pull_scope("app"), None)
    assert [True] * 16 == together(16, lambda: made.renew(BEARER, pull_scope("app"), "Bearer t1"))
    assert 2 == len(server.asked)


# What is refused


BAD_REALMS = ["", "token", "/token", "//tokens.example/t", "https://", "https:///token", "ftp://tokens.example/", "https://[",
              "https://[::1", "file:///etc/passwd", "https://\u2100.example/"]  # fmt: skip


@pytest.mark.parametrize("realm", BAD_REALMS)
def test_a_realm_that_is_no_address_is_refused(realm: str) -> None:
    server = Server()
    with pytest.raises(TransportError) as caught:
        begun(server).renew(f'Bearer realm="{realm}"', pull_scope("app"), None)
    assert (HOST, []) == (caught.value.where, server.asked)


def test_a_challenge_without_a_realm_is_refused() -> None:
    with pytest.raises(TransportError):
        begun(Server()).renew('Bearer service="x"', pull_scope("app"), None)


def test_a_registry_with_tls_may_not_send_passwords_to_one_without() -> None:
    server = Server()
    with pytest.raises(TransportError) as caught:
        begun(server).renew('Bearer realm="http://tokens.example/"', pull_scope("app"), None)
    assert [] == server.asked
    assert "TLS" in caught.value.what
    assert begun(server, prefix="http").renew('Bearer realm="http://tokens.example/"', pull_scope("app"), None)


BAD_TOKENS: list[Any] = [None, "", 7, [], {"a": 1}, "a\nb", "a\r\nX-Evil: 1", "a\0b", "tökèn", "a\x7f", "a\u2028b"]


@pytest.mark.parametrize("token", BAD_TOKENS)
@pytest.mark.parametrize("name", ["token", "access_token"])
def test_a_token_that_cannot_stand_in_a_header_is_refused(name: str, token: Any) -> None:
    made = begun(Server({name: token, "expires_in": 300}))
    with pytest.raises(TransportError) as caught:
        made.renew(BEARER, pull_scope("app"), None)
    assert (HOST, None) == (caught.value.where, caught.value.hint)
    assert "Evil" not in caught.value.what


# Over HTTP


@pytest.fixture(autouse=True)
def _nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keychain.Keychain, "find", lambda self, host, path: ME)


@pytest.fixture
def registry() -> Iterator[ScriptedRegistry]:
    with ScriptedRegistry(auth=TokenAuth(ME.user, ME.password)) as made:
        made.put_manifest("app", "application/vnd.oci.image.manifest.v1+json", b"{}", "1")
        yield made


@pytest.fixture
def task() -> Iterator[Task]:
    with Task() as made:
        yield made


def connected(registry: ScriptedRegistry, task: Task) -> Client:
    made = Client(registry.host, Access({registry.host}), task)
    made.url("")
    registry.forget()
    return made


def test_a_document_costs_three_requests_and_the_next_one_one(registry: ScriptedRegistry, task: Task) -> None:
    made = connected(registry, task)
    assert b"{}" == made.document("app", "1").raw
    assert [401, 200, 200] == [one.status for one in registry.requests]
    made.document("app", "1")
    assert 4 == len(registry.requests)


ANSWERS: dict[str, bytes] = {
    "no JSON": b"<html>welcome</html>", "no object": b'["token"]', "nothing": b"", "no token": b"{}", "deep": b"[" * 300_000,
    "no UTF-8": b'{"token": "\xff"}', "a newline": json.dumps({"token": "a\r\nX-Evil: 1"}).encode(),
}  # fmt: skip


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_without_a_token_is_an_error(name: str, registry: ScriptedRegistry, task: Task) -> None:
    registry.faults.append(Fault("GET", "^/token", status=200, body=ANSWERS[name]))
    made = connected(registry, task)
    with pytest.raises(OcitoolError) as caught:
        made.document("app", "1")
    assert 70 != caught.value.exit_code
    assert 2 == len(registry.requests)
    assert all("x-evil" not in one.headers for one in registry.requests)


def test_a_huge_answer_is_not_read_to_its_end(registry: ScriptedRegistry, task: Task) -> None:
    with BlobServer(b"[" + b" " * limits.TOKEN.size + b" " * 4_000_000 + b"]") as huge:
        registry.realm = f"{huge.url}/token"
        with pytest.raises(LimitError):
            connected(registry, task).document("app", "1")


@pytest.mark.parametrize("realm", ["http://127.0.0.1:99999/", "http://[", "http://127.0.0.1:x/", "http://a b/", "http://.../"])
def test_no_address_of_a_token_server_is_a_bug_of_ours(
    realm: str, registry: ScriptedRegistry, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "other.example")
    registry.realm = realm
    with pytest.raises(TransportError):
        connected(registry, task).document("app", "1")


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_token_server_that_is_busy_is_asked_again(status: int, registry: ScriptedRegistry, task: Task) -> None:
    registry.faults.append(Fault("GET", "^/token", status=status, times=2))
    assert b"{}" == connected(registry, task).document("app", "1").raw


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_a_token_server_that_refuses_is_asked_once(status: int, registry: ScriptedRegistry, task: Task) -> None:
    registry.faults.append(Fault("GET", "^/token", status=status))
    with pytest.raises(TransportError):
        connected(registry, task).document("app", "1")
    assert 1 == len(registry.sent("GET", "^/token"))


def test_a_refusal_leaves_no_connection_behind(registry: ScriptedRegistry, task: Task) -> None:
    registry.faults.append(Fault("GET", "^/token", status=403))
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with pytest.raises(TransportError):
            connected(registry, task).document("app", "1")
        task.cancel()
        gc.collect()
    assert [] == [str(one.message) for one in seen]


def test_a_realm_with_a_query_keeps_it(registry: ScriptedRegistry, task: Task) -> None:
    registry.realm = f"{registry.url}/token?tenant=a%2Fb"
    connected(registry, task).document("app", "1")
    [asked] = registry.sent("GET", "^/token")
    assert asked.path.startswith("/token?tenant=a%2Fb&")


def test_the_password_goes_to_the_token_server_in_a_header_alone(registry: ScriptedRegistry, task: Task) -> None:
    connected(registry, task).document("app", "1")
    [asked] = registry.sent("GET", "^/token")
    assert BASIC_ME == asked.headers["authorization"]
    assert ME.password not in asked.path


def test_a_token_goes_to_no_other_host(registry: ScriptedRegistry, task: Task) -> None:
    made = connected(registry, task)
    made.document("app", "1")
    with BlobServer(b"{}") as other:
        made.request("GET", f"{other.url}/v2/app/manifests/1", pull_scope("app"), "tag").close()
        made.request("GET", f"{other.url}/v2/", NO_SCOPE, "login").close()
    assert [None, None] == [one.headers.get("authorization") for one in other.requests]


def test_no_netrc_takes_the_place_of_a_token(
    registry: ScriptedRegistry, task: Task, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login netrc password from-netrc\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    assert ("netrc", "from-netrc") == requests.utils.get_netrc_auth(registry.url)
    connected(registry, task).document("app", "1")
    wanted = {None, BASIC_ME, *(f"Bearer {token}" for token in registry.auth.tokens)}  # type: ignore[union-attr]
    assert wanted == {one.headers.get("authorization") for one in registry.requests}
