"""What a push does where a registry sends its writing requests elsewhere, does not say what it holds, or says it wrongly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.copying import ONE, TWO
from support.images import image, write_layout
from support.registries import (
    INSECURE,
    PASSWORD,
    USER,
    Patient,
    authfile,
    client,
    digest,
    holds,
    noise,
    push,
)
from support.registry import BasicAuth, Fault, Reply, Request, ScriptedRegistry, TokenAuth, certificates

from ocitool.blob import BytesBlob
from ocitool.errors import OcitoolError, TransportError
from ocitool.limits import MiB
from ocitool.transports.registry import Access, blobs
from ocitool.transports.registry.blobs import Target
from ocitool.transports.registry.client import Client

LARGE = noise(MiB + 7)
"""A blob that is streamed."""


class Behind(ScriptedRegistry):
    """A registry below /real, which every other path is sent on to."""

    status = 308
    methods = ("POST", "PATCH", "PUT")
    to = "/real"
    """Where: a path, or an address."""

    def answer(self, request: Request, body: object) -> Reply:
        if request.path.startswith("/real/"):
            request = Request(request.method, request.path.removeprefix("/real"), request.headers)
        elif request.method in self.methods and request.path != "/token":
            body.read()  # type: ignore[attr-defined]
            return Reply(status=self.status, headers={"Location": self.to + request.path})
        return super().answer(request, body)  # type: ignore[arg-type]


def pushed(registry: ScriptedRegistry, task: Patient, tmp_path: Path) -> bool:
    """Whether an image with a blob that is sent at once and one that is streamed is there after a push."""
    one = image([ONE, LARGE], codec="none", tag="app")
    push(registry, task, write_layout(tmp_path / "layout", [one]))
    return holds(registry, "app", one)


# Redirects


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_writing_request_is_sent_on_with_its_method_and_its_body(status: int, task: Patient, tmp_path: Path) -> None:
    with Behind() as registry:
        registry.status = status
        assert pushed(registry, task, tmp_path)
        assert [] == task.pauses


@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT"])
def test_each_writing_request_may_be_sent_on(method: str, task: Patient, tmp_path: Path) -> None:
    with Behind() as registry:
        registry.methods = (method,)
        assert pushed(registry, task, tmp_path)
        assert [] == task.pauses


@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT"])
def test_after_303_nothing_is_taken_for_stored(method: str, task: Patient, tmp_path: Path) -> None:
    with Behind() as registry:
        registry.status, registry.methods = 303, (method,)
        with pytest.raises(TransportError, match="303"):
            pushed(registry, task, tmp_path)
        assert {} == registry.tags == registry.manifests


@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT"])
def test_writing_requests_that_lead_to_themselves_end(method: str, registry: ScriptedRegistry, task: Patient) -> None:
    registry.faults.append(Fault(method, redirect="{path}"))
    with pytest.raises(TransportError, match="redirects"):
        blobs.send(Target(client(registry, task), "app"), BytesBlob(LARGE, digest(LARGE)), ())
    assert len(registry.sent(method)) <= 6


@pytest.mark.parametrize("auth", [BasicAuth(USER, PASSWORD), TokenAuth(USER, PASSWORD)], ids=["basic", "token"])
def test_a_writing_request_at_another_host_carries_its_body_and_no_authorization(
    auth: BasicAuth, task: Patient, tmp_path: Path
) -> None:
    with ScriptedRegistry() as other, Behind(auth=auth, store=other.store) as registry:
        registry.to = other.url
        access = INSECURE._replace(authfile=authfile(tmp_path, registry.host))
        for data in (ONE, LARGE):
            blob = BytesBlob(data, digest(data))
            assert blobs.send(Target(client(registry, task, access), "app"), blob, ())
            assert data == other.blobs["app", str(digest(data))]
        assert [] == [one for one in other.requests if "authorization" in one.headers]
        assert {"POST", "PATCH", "PUT"} == {one.method for one in other.requests}


def test_the_redirects_own_origin_is_authorized(task: Patient, tmp_path: Path) -> None:
    with Behind(auth=BasicAuth(USER, PASSWORD)) as registry:
        access = INSECURE._replace(authfile=authfile(tmp_path, registry.host))
        assert blobs.send(Target(client(registry, task, access), "app"), BytesBlob(LARGE, digest(LARGE)), ())
        assert LARGE == registry.blobs["app", str(digest(LARGE))]


@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT"])
def test_a_writing_request_is_not_led_to_where_the_registry_may_not_send_us(
    method: str, registry: ScriptedRegistry, task: Patient
) -> None:
    registry.faults.append(Fault(method, "/uploads/", status=307, redirect="http://169.254.169.254/latest"))
    asking = client(registry, task, Access(insecure_hosts=(registry.host,)))
    with pytest.raises(TransportError, match="link-local"):
        blobs.send(Target(asking, "app"), BytesBlob(LARGE, digest(LARGE)), ())


def test_a_writing_request_is_not_led_from_tls_to_where_there_is_none(
    need: Callable[..., str], task: Patient, tmp_path: Path
) -> None:
    need("openssl")
    made = certificates(tmp_path)
    with ScriptedRegistry() as plain, ScriptedRegistry(tls=made.server) as registry:
        registry.faults.append(Fault("PATCH", redirect=f"{plain.url}{{path}}"))
        asking = Client(registry.host, Access(ca=str(made.ca)), task)
        with pytest.raises(TransportError, match="without TLS"):
            blobs.send(Target(asking, "app"), BytesBlob(LARGE, digest(LARGE)), ())
        assert [] == plain.requests


def test_the_address_of_an_upload_is_relative_to_where_it_began(task: Patient) -> None:
    """RFC 9110, 10.2.2: to the address that answered, not to the one that was asked first."""
    with ScriptedRegistry() as other, Behind(store=other.store) as registry:
        other.faults.append(Fault("POST|PATCH", location="{path}"))
        registry.to = other.url
        assert blobs.send(Target(client(registry, task), "app"), BytesBlob(LARGE, digest(LARGE)), ())
        assert ["POST"] == [one.method for one in registry.sent("POST|PATCH|PUT")]
        assert LARGE == other.blobs["app", str(digest(LARGE))]


def test_a_redirect_that_comes_before_the_body_was_read_is_followed(task: Patient) -> None:
    """The connection ends then, while the body is on its way."""
    data = noise(4 * MiB)

    class Early(Behind):
        methods = ("PATCH",)

        def answer(self, request: Request, body: object) -> Reply:
            if request.method == "PATCH" and not request.path.startswith("/real/"):
                body._source = iter(())  # type: ignore[attr-defined]
                return Reply(status=307, headers={"Location": "/real" + request.path, "Connection": "close"})
            return super().answer(request, body)

    with Early() as registry:
        assert blobs.send(Target(client(registry, task), "app"), BytesBlob(data, digest(data)), ())
        assert data == registry.blobs["app", str(digest(data))]


def test_chunks_are_sent_on_one_by_one_and_verified_once(task: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blobs, "_CHUNK", 300_000)
    with Behind() as registry:
        registry.methods = ("PATCH",)
        registry.faults.append(Fault("POST", headers={"OCI-Chunk-Min-Length": "1"}))
        assert blobs.send(Target(client(registry, task), "app"), BytesBlob(LARGE, digest(LARGE)), ())
        assert LARGE == registry.blobs["app", str(digest(LARGE))]
        wrong = BytesBlob(LARGE[:-1] + b"?", digest(TWO + LARGE))
        wrong.size = len(LARGE)
        with pytest.raises(OcitoolError, match="stated is"):
            blobs.send(Target(client(registry, task), "app"), wrong, ())
        assert ("app", str(digest(TWO + LARGE))) not in registry.blobs
