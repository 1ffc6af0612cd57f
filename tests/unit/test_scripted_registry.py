"""The registry of the tests is itself what it says: seen with nothing but http.client."""

from __future__ import annotations

import base64
import gzip
import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import pytest
from support.registry import (
    INDEX,
    BasicAuth,
    BlobServer,
    Fault,
    HttpServer,
    ScriptedRegistry,
    TokenAuth,
    certificates,
    digest_of,
)

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DATA = bytes(range(256)) * 40


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def code(self) -> str:
        found: str = json.loads(self.body)["errors"][0]["code"]
        return found


def ask(
    site: HttpServer, method: str, path: str, body: Any = None, *, tls: ssl.SSLContext | None = None, **headers: str
) -> Answer:
    """One request on a connection of its own; `Content_Type=` is a header."""
    host = site.host
    connection = http.client.HTTPSConnection(host, context=tls) if tls else http.client.HTTPConnection(host, timeout=10)
    try:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        with connection.getresponse() as response:
            return Answer(response.status, response.headers, response.read())
    finally:
        connection.close()


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def location(answer: Answer) -> str:
    parts = urlsplit(answer.headers["Location"])
    return parts.path + (f"?{parts.query}" if parts.query else "")


def started(site: HttpServer, repo: str = "app", **headers: str) -> str:
    answer = ask(site, "POST", f"/v2/{repo}/blobs/uploads/", **headers)
    assert 202 == answer.status
    return location(answer)


def blob(digest: str, repo: str = "app") -> str:
    return f"/v2/{repo}/blobs/{digest}"


def test_an_image_is_pushed_in_pieces_and_pulled(registry: ScriptedRegistry) -> None:
    place = started(registry)
    for start in range(0, len(DATA), 4096):
        piece = DATA[start : start + 4096]
        answer = ask(registry, "PATCH", place, piece, Content_Range=f"{start}-{start + len(piece) - 1}")
        assert (202, f"0-{start + len(piece) - 1}") == (answer.status, answer.headers["Range"])
        place = location(answer)
    digest = digest_of(DATA)
    assert 201 == ask(registry, "PUT", f"{place}?digest={quote(digest)}").status
    assert DATA == registry.blobs["app", digest] == ask(registry, "GET", blob(digest)).body
    manifest = json.dumps({"schemaVersion": 2, "layers": [{"digest": digest}]}).encode()
    put = ask(registry, "PUT", "/v2/app/manifests/v1", manifest, Content_Type=MANIFEST)
    assert (201, digest_of(manifest)) == (put.status, put.headers["Docker-Content-Digest"])
    for ref in ("v1", digest_of(manifest)):
        got = ask(registry, "GET", f"/v2/app/manifests/{ref}", Accept=f"{INDEX}, {MANIFEST}")
        assert (manifest, MANIFEST) == (got.body, got.headers["Content-Type"])
        head = ask(registry, "HEAD", f"/v2/app/manifests/{ref}")
        assert (b"", str(len(manifest))) == (head.body, head.headers["Content-Length"])
    assert 404 == ask(registry, "GET", "/v2/app/manifests/v1", Accept=INDEX).status
    assert (len(DATA), len(DATA)) == (registry.bytes_received, registry.bytes_served)
    assert [4096, 4096, 2048] == [request.body_size for request in registry.sent("PATCH")]


def test_one_connection_serves_many_requests(registry: ScriptedRegistry) -> None:
    connection = http.client.HTTPConnection(registry.host)
    connection.connect()
    first = connection.sock
    for _ in range(3):
        connection.request("PUT", "/v2/app/manifests/v1", b"no json")
        with connection.getresponse() as response:
            assert 400 == response.status
            response.read()
        assert first is connection.sock
    connection.close()


def test_the_last_bytes_may_come_with_the_put_and_a_chunked_body_has_no_length(registry: ScriptedRegistry) -> None:
    place = started(registry)
    # http.client sends what has no length in chunks.
    ask(registry, "PATCH", place, iter([DATA[:10], DATA[10:5000]]))
    put = ask(registry, "PUT", f"{place}?digest={digest_of(DATA, 'sha512')}", DATA[5000:])
    assert (201, DATA) == (put.status, registry.blobs["app", digest_of(DATA, "sha512")])


def test_a_wrong_digest_and_a_wrong_place_are_refused(registry: ScriptedRegistry) -> None:
    place = started(registry)
    assert "0-0" == ask(registry, "GET", place).headers["Range"]
    ask(registry, "PATCH", place, b"abc")
    assert 416 == ask(registry, "PATCH", place, b"def", Content_Range="4-6").status
    status = ask(registry, "GET", place)
    assert (204, "0-2") == (status.status, status.headers["Range"])
    put = ask(registry, "PUT", f"{place}?digest={digest_of(b'abcd')}")
    assert (400, "DIGEST_INVALID") == (put.status, put.code)
    assert "MANIFEST_INVALID" == ask(registry, "PUT", "/v2/app/manifests/v1", b"{").code
    assert 204 == ask(registry, "DELETE", started(registry)).status
    assert {} == registry.blobs == registry.uploads


def test_a_manifest_waits_for_what_it_names(registry: ScriptedRegistry) -> None:
    index = json.dumps({"manifests": [{"digest": digest_of(b"{}")}]}).encode()

    def put(ref: str, data: bytes) -> Answer:
        return ask(registry, "PUT", f"/v2/app/manifests/{ref}", data, Content_Type=INDEX)

    assert (400, "MANIFEST_BLOB_UNKNOWN") == (put("v1", index).status, put("v1", index).code)
    assert (400, "DIGEST_INVALID") == (put(digest_of(b"x"), b"{}").status, put(digest_of(b"x"), b"{}").code)
    assert [201, 201] == [put(digest_of(b"{}"), b"{}").status, put("v1", index).status]
    registry.check = False
    assert 201 == put("v2", json.dumps({"config": {"digest": digest_of(b"gone")}}).encode()).status


def test_deletion_is_by_tag_or_by_digest_with_all_its_tags(registry: ScriptedRegistry) -> None:
    digest = registry.put_manifest("app", INDEX, b"{}", "a")
    registry.tags["app", "b"] = registry.tags["app", "c"] = digest
    assert 202 == ask(registry, "DELETE", "/v2/app/manifests/a").status
    registry.delete_tags = False
    assert 400 == ask(registry, "DELETE", "/v2/app/manifests/b").status
    assert 202 == ask(registry, "DELETE", f"/v2/app/manifests/{digest}").status
    assert {} == registry.tags == registry.manifests
    held = registry.put_blob("app", DATA)
    assert [202, 404] == [ask(registry, "DELETE", blob(held)).status for _ in range(2)]


@pytest.mark.parametrize(
    ("asked", "status", "span"),
    [("bytes=0-0", 206, (0, 1)), ("bytes=10-", 206, (10, 256)), ("bytes=-6", 206, (250, 256)), ("bytes=256-", 416, None),
     ("bytes=5-999", 206, (5, 256)), ("bytes=0-1,3-4", 200, (0, 256))],
)  # fmt: skip
def test_a_range_of_a_blob(registry: ScriptedRegistry, asked: str, status: int, span: tuple[int, int] | None) -> None:
    answer = ask(registry, "GET", blob(registry.put_blob("app", DATA[:256])), Range=asked)
    assert status == answer.status
    if span:
        assert DATA[span[0] : span[1]] == answer.body
    stated = {206: f"bytes {span[0]}-{span[1] - 1}/256" if span else "", 416: "bytes */256", 200: None}[status]
    assert stated == answer.headers["Content-Range"]


def followed(registry: ScriptedRegistry, path: str, key: str) -> list[list[Any]]:
    pages = []
    while path:
        answer = ask(registry, "GET", path)
        pages.append(json.loads(answer.body)[key])
        path = (answer.headers["Link"] or "").partition("<")[2].partition(">")[0]
    return pages


def test_lists_come_in_pages(registry: ScriptedRegistry) -> None:
    for tag in "ecabd":
        registry.put_manifest("app", INDEX, b"{}", tag)
        registry.put_blob(f"lib/{tag}", b"")
    assert [["a", "b"], ["c", "d"], ["e"]] == followed(registry, "/v2/app/tags/list?n=2", "tags")
    assert [["d", "e"]] == followed(registry, "/v2/app/tags/list?last=c", "tags")
    assert [["app", "lib/a"], ["lib/b", "lib/c"], ["lib/d", "lib/e"]] == followed(registry, "/v2/_catalog?n=2", "repositories")
    registry.page = 4
    assert [4, 1] == [len(page) for page in followed(registry, "/v2/app/tags/list", "tags")]
    assert "NAME_UNKNOWN" == ask(registry, "GET", "/v2/none/tags/list").code


def test_referrers_are_found_by_their_subject(registry: ScriptedRegistry) -> None:
    subject = registry.put_manifest("app", MANIFEST, b"{}")
    for kind in ("a", "b"):
        data = json.dumps({"artifactType": f"x/{kind}", "subject": {"digest": subject}, "annotations": {"k": kind}}).encode()
        put = ask(registry, "PUT", f"/v2/app/manifests/{digest_of(data)}", data, Content_Type=MANIFEST)
        assert subject == put.headers["OCI-Subject"]
    path = f"/v2/app/referrers/{subject}"
    found = json.loads(ask(registry, "GET", path).body)["manifests"]
    assert {("x/a", "a"), ("x/b", "b")} == {(one["artifactType"], one["annotations"]["k"]) for one in found}
    filtered = ask(registry, "GET", f"{path}?artifactType=x/b")
    assert ("artifactType", 1) == (filtered.headers["OCI-Filters-Applied"], len(json.loads(filtered.body)["manifests"]))
    registry.referrers_page = 1
    assert [1, 1] == [len(page) for page in followed(registry, path, "manifests")]
    assert [] == json.loads(ask(registry, "GET", f"/v2/app/referrers/{digest_of(b'')}").body)["manifests"]
    registry.referrers = False
    assert 404 == ask(registry, "GET", path).status
    assert ask(registry, "PUT", "/v2/app/manifests/t", data, Content_Type=MANIFEST).headers["OCI-Subject"] is None


def test_a_blob_is_mounted_from_where_it_is(registry: ScriptedRegistry) -> None:
    digest = registry.put_blob("base", DATA)
    path = f"/v2/app/blobs/uploads/?mount={digest}&from="
    assert [202, 201] == [ask(registry, "POST", path + repo).status for repo in ("other", "base")]
    assert DATA == registry.blobs["app", digest]
    registry.faults.append(Fault("POST", no_mount=True))
    assert 202 == ask(registry, "POST", path + "base").status


def test_basic_authority() -> None:
    with ScriptedRegistry(auth=BasicAuth("u", "p")) as registry:
        refused = ask(registry, "GET", "/v2/")
        assert (401, 'Basic realm="scripted"') == (refused.status, refused.headers["WWW-Authenticate"])
        assert 401 == ask(registry, "GET", "/v2/", Authorization=basic("u", "wrong")).status
        assert 200 == ask(registry, "GET", "/v2/", Authorization=basic("u", "p")).status


def token(site: HttpServer, *scopes: str, **headers: str) -> str:
    answer = ask(site, "GET", "/token?" + urlencode([("scope", scope) for scope in scopes]), **headers)
    assert 200 == answer.status
    return f"Bearer {json.loads(answer.body)['token']}"


def test_a_token_is_good_for_its_scopes() -> None:
    with ScriptedRegistry(auth=TokenAuth("u", "p")) as registry:
        digest = registry.put_blob("base", DATA)
        refused = ask(registry, "POST", f"/v2/app/blobs/uploads/?mount={digest}&from=base")
        scope = "repository:app:pull,push repository:base:pull"
        challenge = f'Bearer realm="{registry.url}/token",service="scripted",scope="{scope}"'
        assert (401, challenge) == (refused.status, refused.headers["WWW-Authenticate"])
        assert 401 == ask(registry, "GET", "/token").status
        pull = token(registry, "repository:base:pull", Authorization=basic("u", "p"))
        assert DATA == ask(registry, "GET", blob(digest, "base"), Authorization=pull).body
        short = ask(registry, "POST", "/v2/base/blobs/uploads/", Authorization=pull)
        assert 401 == short.status
        assert 'error="insufficient_scope"' in (short.headers["WWW-Authenticate"] or "")
        both = token(registry, *scope.split(), Authorization=basic("u", "p"))
        assert 201 == ask(registry, "POST", registry.requests[0].path, Authorization=both).status
        registry.revoke_tokens()
        gone = ask(registry, "GET", "/v2/", Authorization=pull)
        assert 'error="invalid_token"' in (gone.headers["WWW-Authenticate"] or "")


def test_tokens_expire_and_may_be_anonymous_or_denied() -> None:
    auth = TokenAuth("u", "p", expires_in=0, anonymous=True, denied=[("repository", "secret", "pull")])
    with ScriptedRegistry(auth=auth) as registry:
        digest = registry.put_blob("app", DATA)
        assert 401 == ask(registry, "GET", blob(digest), Authorization=token(registry, "repository:app:pull")).status
        auth.expires_in = None
        free = token(registry, "repository:app:pull,push repository:secret:pull")
        assert 200 == ask(registry, "GET", blob(digest), Authorization=free).status
        assert 401 == ask(registry, "POST", "/v2/app/blobs/uploads/", Authorization=free).status
        assert 401 == ask(registry, "GET", blob(digest, "secret"), Authorization=free).status
        assert 401 == ask(registry, "GET", "/token", Authorization=basic("u", "wrong")).status


def test_oauth2_gives_tokens_for_a_password_and_a_refresh_token_elsewhere() -> None:
    auth = TokenAuth("u", "p")
    with ScriptedRegistry(auth=auth) as realm, ScriptedRegistry(auth=auth, realm=f"{realm.url}/token") as registry:

        def post(**form: str) -> Answer:
            return ask(realm, "POST", "/token", urlencode({"scope": "registry:catalog:*", **form}))

        first = json.loads(post(grant_type="password", username="u", password="p", access_type="offline").body)
        second = json.loads(post(grant_type="refresh_token", refresh_token=first["refresh_token"]).body)
        assert f'realm="{realm.url}/token"' in (ask(registry, "GET", "/v2/").headers["WWW-Authenticate"] or "")
        assert 200 == ask(registry, "GET", "/v2/_catalog", Authorization=f"Bearer {second['access_token']}").status
        assert 401 == post(grant_type="refresh_token", refresh_token="wrong").status
        auth.oauth = False
        assert 405 == post(grant_type="password", username="u", password="p").status


def test_a_fault_meets_the_requests_it_counts(registry: ScriptedRegistry) -> None:
    registry.faults.append(Fault("GET", "^/v2/$", status=429, headers={"Retry-After": "7"}, after=1, times=2))
    answers = [ask(registry, "GET", "/v2/") for _ in range(4)]
    assert [200, 429, 429, 200] == [answer.status for answer in answers] == [one.status for one in registry.requests]
    assert (None, "7") == (answers[0].headers["Retry-After"], answers[1].headers["Retry-After"])
    assert 4 == registry.faults[0].seen


def test_an_early_fault_meets_who_has_no_authority() -> None:
    with ScriptedRegistry(auth=BasicAuth("u", "p")) as registry:
        registry.faults += [Fault(status=500), Fault(status=503, body=b"busy", early=True, times=1)]
        assert b"busy" == ask(registry, "GET", "/v2/").body
        assert 401 == ask(registry, "GET", "/v2/").status
        assert 500 == ask(registry, "GET", "/v2/", Authorization=basic("u", "p")).status
        assert [1, 3] == [fault.seen for fault in registry.faults]


def test_an_answer_is_cut(registry: ScriptedRegistry) -> None:
    path = blob(registry.put_blob("app", DATA))
    registry.faults += [Fault("GET", "/blobs/", cut_response=100, times=1), Fault("GET", "/blobs/", cut_response=-1, after=1)]
    with pytest.raises(http.client.IncompleteRead) as caught:
        ask(registry, "GET", path)
    assert (DATA[:100], len(DATA) - 100) == (caught.value.partial, caught.value.expected)
    with pytest.raises(http.client.RemoteDisconnected):
        ask(registry, "GET", path)
    assert [200, 0] == [request.status for request in registry.requests]
    assert 100 == registry.bytes_served


@pytest.mark.parametrize(("keep", "status"), [(True, 204), (False, 404)])
def test_a_request_is_cut_and_its_session_is_kept_or_not(registry: ScriptedRegistry, keep: bool, status: int) -> None:
    registry.keep_uploads = keep
    registry.faults.append(Fault("PATCH", cut_request=100))
    place = started(registry)
    with pytest.raises(OSError):
        ask(registry, "PATCH", place, DATA)
    answer = ask(registry, "GET", place)
    assert (status, "0-99" if keep else None) == (answer.status, answer.headers["Range"])
    assert [(100, 0)] == [(one.body_size, one.status) for one in registry.sent("PATCH")]


def test_a_session_keeps_what_came_before_the_client_left(registry: ScriptedRegistry) -> None:
    place = started(registry)
    with socket.create_connection(registry.host.split(":")) as raw:
        raw.sendall(f"PATCH {place} HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc".encode())
        while not registry.bytes_received:
            time.sleep(0.001)
    assert "0-2" == ask(registry, "GET", place).headers["Range"]


def spoilt(registry: ScriptedRegistry, asked: str = "", **fault: Any) -> Answer:
    registry.faults[:] = [Fault("GET", "/blobs/", **fault)]
    return ask(registry, "GET", blob(registry.put_blob("app", DATA)), **({"Range": asked} if asked else {}))


def test_a_body_is_wrong_short_or_long(registry: ScriptedRegistry) -> None:
    assert DATA[:7] + bytes([DATA[7] ^ 1]) + DATA[8:] == spoilt(registry, flip=7).body
    assert DATA[:-1] + bytes([DATA[-1] ^ 1]) == spoilt(registry, flip=-1).body
    for size in (-5, 5):
        answer = spoilt(registry, resize=size)
        assert str(len(DATA) + size) == answer.headers["Content-Length"] == str(len(answer.body))
    with pytest.raises(http.client.IncompleteRead):
        spoilt(registry, resize=-5, lie=True)
    answer = spoilt(registry, resize=5, lie=True)
    assert (str(len(DATA)), DATA) == (answer.headers["Content-Length"], answer.body)
    answer = spoilt(registry, chunked=True, resize=70000)
    assert (None, len(DATA) + 70000) == (answer.headers["Content-Length"], len(answer.body))
    with pytest.raises(http.client.IncompleteRead):
        spoilt(registry, chunked=True, cut_response=3)


def test_an_encoding_is_claimed_or_real(registry: ScriptedRegistry) -> None:
    label, real = spoilt(registry, encoding="label"), spoilt(registry, encoding="gzip")
    assert ["gzip"] * 2 == [label.headers["Content-Encoding"], real.headers["Content-Encoding"]]
    assert (DATA, DATA) == (label.body, gzip.decompress(real.body))


def test_a_range_is_ignored_or_another(registry: ScriptedRegistry) -> None:
    whole, other = spoilt(registry, "bytes=9-", ignore_range=True), spoilt(registry, "bytes=9-", range_shift=-4)
    assert (200, DATA) == (whole.status, whole.body)
    assert (206, f"bytes 5-{len(DATA) - 1}/{len(DATA)}") == (other.status, other.headers["Content-Range"])
    assert DATA[5:] == other.body


@pytest.mark.parametrize(
    "template", ["{path}", "{path}?_state=abc%3D&x=", "{base}{path}?_state=abc%3D&x=", "http://[::1]:9{path}"]
)
def test_the_location_of_an_upload_is_as_the_test_wants(registry: ScriptedRegistry, template: str) -> None:
    registry.faults += [Fault("POST", location=template, headers={"OCI-Chunk-Min-Length": "99"}), Fault("PATCH", max_body=9)]
    answer = ask(registry, "POST", "/v2/app/blobs/uploads/")
    path = f"/v2/app/blobs/uploads/{answer.headers['Docker-Upload-UUID']}"
    assert template.format(base=registry.url, path=path) == answer.headers["Location"]
    assert "99" == answer.headers["OCI-Chunk-Min-Length"]
    place = location(answer)
    assert 413 == ask(registry, "PATCH", place, bytes(10)).status
    assert 202 == ask(registry, "PATCH", place, b"abc").status
    end = ("&" if "?" in place else "?") + f"digest={digest_of(b'abc')}"
    if "?" in place:
        assert 400 == ask(registry, "PUT", place.replace("%3D&x=", "%3D") + end).status
    assert 201 == ask(registry, "PUT", place + end).status


def test_headers_are_dropped_and_redirects_recorded(registry: ScriptedRegistry) -> None:
    digest = registry.put_manifest("app", INDEX, b"{}", "v1")
    registry.faults.append(Fault("HEAD|GET", drop=("docker-content-digest",), times=1))
    heads = [ask(registry, "HEAD", "/v2/app/manifests/v1").headers["Docker-Content-Digest"] for _ in range(2)]
    assert [None, digest] == heads
    with BlobServer(DATA) as other:
        registry.faults.append(Fault("GET", "/blobs/", redirect=f"{other.url}/far{{path}}?signed=1"))
        answer = ask(registry, "GET", blob(digest))
        assert (307, f"{other.url}/far{blob(digest)}?signed=1") == (answer.status, answer.headers["Location"])
        assert DATA[3:] == ask(other, "GET", location(answer), Range="bytes=3-", Authorization="secret").body
        (seen,) = other.requests
        assert ("secret", "bytes=3-") == (seen.headers["authorization"], seen.headers["range"])


def test_a_hook_changes_the_registry_between_two_requests(registry: ScriptedRegistry) -> None:
    old = registry.put_manifest("app", INDEX, b"{}", "v1")

    def move(_: object) -> None:
        registry.put_manifest("app", INDEX, b'{"a":1}', "v1")

    registry.faults.append(Fault("GET", "/manifests/", hook=move, after=1))
    got = [ask(registry, "GET", "/v2/app/manifests/v1").headers["Docker-Content-Digest"] for _ in range(2)]
    assert [old, digest_of(b'{"a":1}')] == got


def test_a_silent_server_ends_with_its_context(recwarn: pytest.WarningsRecorder) -> None:
    before = threading.active_count()
    with ScriptedRegistry() as registry:
        registry.faults.append(Fault(hang=1000))
        idle = socket.create_connection(registry.host.split(":"))
        waiting = http.client.HTTPConnection(registry.host, timeout=0.1)
        waiting.request("GET", "/v2/")
        with pytest.raises(TimeoutError):
            waiting.getresponse()
        assert 1 == len(registry.requests)
    waiting.close()
    idle.close()
    assert (before, []) == (threading.active_count(), list(recwarn))


def test_an_error_within_the_server_fails_the_test() -> None:
    def fail(_: object) -> None:
        raise KeyError("oops")

    with pytest.raises(AssertionError, match="oops"), ScriptedRegistry() as registry:
        registry.faults.append(Fault(hook=fail))
        with pytest.raises(http.client.RemoteDisconnected):
            ask(registry, "GET", "/v2/")


def test_many_clients_at_once(registry: ScriptedRegistry) -> None:
    digest, bodies = registry.put_blob("app", DATA), []
    threads = [threading.Thread(target=lambda: bodies.append(ask(registry, "GET", blob(digest)).body)) for _ in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ([DATA] * 40, 40 * len(DATA), 40) == (bodies, registry.bytes_served, len(registry.sent("GET", "/blobs/")))


def test_tls_with_and_without_a_certificate_of_the_client(need: Callable[..., str], tmp_path: Path) -> None:
    need("openssl")
    made = certificates(tmp_path)
    plain, known = ssl.create_default_context(cafile=made.ca), ssl.create_default_context(cafile=made.ca)
    known.load_cert_chain(*made.client)
    with ScriptedRegistry(tls=made.server) as registry:
        path = blob(registry.put_blob("app", DATA))
        assert DATA == ask(registry, "GET", path, tls=plain).body
        with pytest.raises(ssl.SSLCertVerificationError):
            ask(registry, "GET", path, tls=ssl.create_default_context())
        registry.faults.append(Fault(cut_response=10))
        with pytest.raises(http.client.IncompleteRead):
            ask(registry, "GET", path, tls=plain)
    with ScriptedRegistry(tls=made.server, client_ca=made.ca) as registry:
        assert 200 == ask(registry, "GET", "/v2/", tls=known).status
        with pytest.raises(OSError):
            ask(registry, "GET", "/v2/", tls=plain)
