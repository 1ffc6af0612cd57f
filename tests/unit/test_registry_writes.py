"""What a push does where a registry sends its writing requests elsewhere, does not say what it holds, or says it wrongly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.copying import ONE, TWO
from support.images import image, sha256, write_layout
from support.registries import (
    DATA,
    INSECURE,
    PASSWORD,
    TENTH,
    UPLOAD,
    USER,
    NoWaitTask,
    authfile,
    client,
    digest,
    has_image,
    open_remote,
    push,
    put_images,
    put_index,
    random_bytes,
)
from support.registry import BasicAuth, Fault, Reply, Request, ScriptedRegistry, TokenAuth, certificates

from ocitool.blob import BytesBlob
from ocitool.errors import DestinationError, OcitoolError, TransportError
from ocitool.limits import MiB
from ocitool.operations.copy import copy
from ocitool.pipeline.image_writer import WriteOptions
from ocitool.pipeline.session import Session
from ocitool.spec.manifest import parse_descriptor
from ocitool.transports.registry import Access, Registries, blobs
from ocitool.transports.registry.blobs import UploadTarget
from ocitool.transports.registry.client import Client

LARGE = random_bytes(MiB + 7)
"""A blob that is streamed."""


class RedirectingRegistry(ScriptedRegistry):
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


def pushed(registry: ScriptedRegistry, task: NoWaitTask, tmp_path: Path) -> bool:
    """Whether an image with a blob that is sent at once and one that is streamed is there after a push."""
    one = image([ONE, LARGE], codec="none", tag="app")
    layout = tmp_path / "layout"
    push(registry, task, layout if layout.exists() else write_layout(layout, [one]))
    return has_image(registry, "app", one)


# Redirects


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_writing_request_is_sent_on_with_its_method_and_its_body(status: int, task: NoWaitTask, tmp_path: Path) -> None:
    with RedirectingRegistry() as registry:
        registry.status = status
        assert pushed(registry, task, tmp_path)
        assert [] == task.pauses


@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT"])
def test_each_writing_request_may_be_sent_on(method: str, task: NoWaitTask, tmp_path: Path) -> None:
    with RedirectingRegistry() as registry:
        registry.methods = (method,)
        assert pushed(registry, task, tmp_path)
        assert [] == task.pauses


@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT"])
def test_after_303_nothing_is_taken_for_stored(method: str, task: NoWaitTask, tmp_path: Path) -> None:
    with RedirectingRegistry() as registry:
        registry.status, registry.methods = 303, (method,)
        with pytest.raises(TransportError, match="303"):
            pushed(registry, task, tmp_path)
        assert {} == registry.tags == registry.manifests


@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT"])
def test_writing_requests_that_lead_to_themselves_end(method: str, registry: ScriptedRegistry, task: NoWaitTask) -> None:
    registry.faults.append(Fault(method, redirect="{path}"))
    with pytest.raises(TransportError, match="redirects"):
        blobs.send(UploadTarget(client(registry, task), "app"), BytesBlob(LARGE, digest(LARGE)), ())
    assert len(registry.sent(method)) <= 6


@pytest.mark.parametrize("auth", [BasicAuth(USER, PASSWORD), TokenAuth(USER, PASSWORD)], ids=["basic", "token"])
def test_a_writing_request_at_another_host_carries_its_body_and_no_authorization(
    auth: BasicAuth, task: NoWaitTask, tmp_path: Path
) -> None:
    with ScriptedRegistry() as other, RedirectingRegistry(auth=auth, store=other.store) as registry:
        registry.to = other.url
        access = INSECURE._replace(authfile=authfile(tmp_path, registry.host))
        for data in (ONE, LARGE):
            blob = BytesBlob(data, digest(data))
            assert blobs.send(UploadTarget(client(registry, task, access), "app"), blob, ())
            assert data == other.blobs["app", str(digest(data))]
        assert [] == [one for one in other.requests if "authorization" in one.headers]
        assert {"POST", "PATCH", "PUT"} == {one.method for one in other.requests}


def test_the_redirects_own_origin_is_authorized(task: NoWaitTask, tmp_path: Path) -> None:
    with RedirectingRegistry(auth=BasicAuth(USER, PASSWORD)) as registry:
        access = INSECURE._replace(authfile=authfile(tmp_path, registry.host))
        assert blobs.send(UploadTarget(client(registry, task, access), "app"), BytesBlob(LARGE, digest(LARGE)), ())
        assert LARGE == registry.blobs["app", str(digest(LARGE))]


@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT"])
def test_a_writing_request_is_not_led_to_where_the_registry_may_not_send_us(
    method: str, registry: ScriptedRegistry, task: NoWaitTask
) -> None:
    registry.faults.append(Fault(method, "/uploads/", status=307, redirect="http://169.254.169.254/latest"))
    asking = client(registry, task, Access(insecure_hosts=(registry.host,)))
    with pytest.raises(TransportError, match="link-local"):
        blobs.send(UploadTarget(asking, "app"), BytesBlob(LARGE, digest(LARGE)), ())


def test_a_writing_request_is_not_led_from_tls_to_where_there_is_none(
    need: Callable[..., str], task: NoWaitTask, tmp_path: Path
) -> None:
    need("openssl")
    made = certificates(tmp_path)
    with ScriptedRegistry() as plain, ScriptedRegistry(tls=made.server) as registry:
        registry.faults.append(Fault("PATCH", redirect=f"{plain.url}{{path}}"))
        asking = Client(registry.host, Access(ca=str(made.ca)), task)
        with pytest.raises(TransportError, match="without TLS"):
            blobs.send(UploadTarget(asking, "app"), BytesBlob(LARGE, digest(LARGE)), ())
        assert [] == plain.requests


def test_the_address_of_an_upload_is_relative_to_where_it_began(task: NoWaitTask) -> None:
    """RFC 9110, 10.2.2: to the address that answered, not to the one that was asked first."""
    with ScriptedRegistry() as other, RedirectingRegistry(store=other.store) as registry:
        other.faults.append(Fault("POST|PATCH", location="{path}"))
        registry.to = other.url
        assert blobs.send(UploadTarget(client(registry, task), "app"), BytesBlob(LARGE, digest(LARGE)), ())
        assert ["POST"] == [one.method for one in registry.sent("POST|PATCH|PUT")]
        assert LARGE == other.blobs["app", str(digest(LARGE))]


def test_a_redirect_that_comes_before_the_body_was_read_is_followed(task: NoWaitTask) -> None:
    """The connection ends then, while the body is on its way."""
    data = random_bytes(4 * MiB)

    class EarlyRedirects(RedirectingRegistry):
        methods = ("PATCH",)

        def answer(self, request: Request, body: object) -> Reply:
            if request.method == "PATCH" and not request.path.startswith("/real/"):
                body._source = iter(())  # type: ignore[attr-defined]
                return Reply(status=307, headers={"Location": "/real" + request.path, "Connection": "close"})
            return super().answer(request, body)

    with EarlyRedirects() as registry:
        assert blobs.send(UploadTarget(client(registry, task), "app"), BytesBlob(data, digest(data)), ())
        assert data == registry.blobs["app", str(digest(data))]


def test_chunks_are_sent_on_one_by_one_and_verified_once(task: NoWaitTask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blobs, "_CHUNK_SIZE", 300_000)
    with RedirectingRegistry() as registry:
        registry.methods = ("PATCH",)
        registry.faults.append(Fault("POST", headers={"OCI-Chunk-Min-Length": "1"}))
        assert blobs.send(UploadTarget(client(registry, task), "app"), BytesBlob(LARGE, digest(LARGE)), ())
        assert LARGE == registry.blobs["app", str(digest(LARGE))]
        wrong = BytesBlob(LARGE[:-1] + b"?", digest(TWO + LARGE))
        wrong.size = len(LARGE)
        with pytest.raises(OcitoolError, match="stated is"):
            blobs.send(UploadTarget(client(registry, task), "app"), wrong, ())
        assert ("app", str(digest(TWO + LARGE))) not in registry.blobs


# HEAD


@pytest.mark.parametrize("status", [400, 401, 403, 405, 410, 451, 501])
def test_a_head_that_is_refused_says_nothing_and_the_blob_is_sent(
    status: int, registry: ScriptedRegistry, task: NoWaitTask, tmp_path: Path
) -> None:
    registry.faults.append(Fault("HEAD", "/blobs/", status=status))
    assert pushed(registry, task, tmp_path)
    assert [] == task.pauses


@pytest.mark.parametrize("status", [429, 500, 503, 520])
def test_a_head_that_stays_unanswered_says_nothing_and_the_blob_is_sent(
    status: int, registry: ScriptedRegistry, task: NoWaitTask, tmp_path: Path
) -> None:
    registry.faults.append(Fault("HEAD", "/blobs/", status=status))
    assert pushed(registry, task, tmp_path)


def test_a_quota_that_is_used_up_ends_a_push_all_the_same(registry: ScriptedRegistry, task: NoWaitTask, tmp_path: Path) -> None:
    registry.faults.append(Fault(".*", "/blobs/", status=429))
    with pytest.raises(TransportError, match="too many requests"):
        pushed(registry, task, tmp_path)


def test_a_page_for_people_says_nothing_of_a_blob(registry: ScriptedRegistry, task: NoWaitTask, tmp_path: Path) -> None:
    """As of a proxy that wants a login, and answers every HEAD with 200."""
    registry.faults.append(Fault("HEAD", "/blobs/", status=200, headers={"Content-Type": "text/html; charset=utf-8"}))
    assert pushed(registry, task, tmp_path)


def test_storage_that_refuses_the_head_of_a_signed_address_says_nothing(
    registry: ScriptedRegistry, task: NoWaitTask, tmp_path: Path
) -> None:
    with ScriptedRegistry() as storage:
        storage.faults.append(Fault("HEAD", status=403))
        registry.faults.append(Fault("HEAD", "/blobs/", redirect=f"{storage.url}/blob?signature=of+GET"))
        assert pushed(registry, task, tmp_path)
        assert [] != storage.requests


@pytest.mark.parametrize("status", [401, 403, 501])
def test_a_blob_whose_head_is_refused_may_be_there_and_is_read(
    status: int, registry: ScriptedRegistry, task: NoWaitTask
) -> None:
    one = image([DATA], codec="none")
    put_images(registry, "app", one, tag="1")
    source = open_remote(registry, "app:1", task)
    registry.faults.append(Fault("HEAD", "/blobs/", status=status))
    extra = registry.put_blob("app", TWO)
    blob = source.blob(parse_descriptor({"mediaType": "application/x", "digest": extra, "size": len(TWO)}, "test"))
    assert blob is not None
    assert TWO == b"".join(blob.chunks())


@pytest.mark.parametrize("status", [401, 403])
def test_a_lost_answer_to_the_end_of_an_upload_is_no_success_where_the_head_is_refused(
    status: int, registry: ScriptedRegistry, task: NoWaitTask
) -> None:
    registry.faults += [Fault("HEAD", status=status), Fault("PUT", UPLOAD, status=502, times=1)]
    assert blobs.send(UploadTarget(client(registry, task), "app"), BytesBlob(DATA, digest(DATA)), ())
    assert DATA == registry.blobs["app", sha256(DATA)]


@pytest.mark.parametrize("status", [401, 403, 405, 501])
def test_where_every_head_is_refused_a_get_tells_what_a_tag_names(
    status: int, registry: ScriptedRegistry, task: NoWaitTask, tmp_path: Path
) -> None:
    registry.faults.append(Fault("HEAD", status=status))
    assert pushed(registry, task, tmp_path)
    put_index(registry, "app", [image([ONE], tag="app")], "1")
    with pytest.raises(DestinationError, match="index"):
        pushed(registry, task, tmp_path)


@pytest.mark.parametrize("stated", ["application/json", "text/plain; charset=utf-8", "application/octet-stream", None])
def test_an_index_is_spared_whatever_type_the_answer_to_head_states(
    stated: str | None, registry: ScriptedRegistry, task: NoWaitTask, tmp_path: Path
) -> None:
    put_index(registry, "app", [image([ONE], tag="app")], "1")
    how: dict[str, Any] = {"headers": {"Content-Type": stated}} if stated else {"drop": ("Content-Type",)}
    registry.faults.append(Fault("HEAD|GET", "/manifests/1$", **how))
    with pytest.raises(DestinationError, match="index"):
        pushed(registry, task, tmp_path)


@pytest.mark.parametrize("raw", [b"[]", b"no JSON", b'{"schemaVersion": 1, "fsLayers": []}'])
def test_what_is_no_index_is_not_spared(raw: bytes, registry: ScriptedRegistry, task: NoWaitTask, tmp_path: Path) -> None:
    registry.put_manifest("app", "application/json", raw, "1")
    registry.faults.append(Fault("HEAD|GET", "/manifests/1$", status=200, body=raw, headers={"Content-Type": "text/plain"}))
    assert pushed(registry, task, tmp_path)


@pytest.mark.parametrize("status", [400, 403])
def test_a_registry_that_refuses_to_speak_of_a_tag_that_is_not_there_is_pushed_to(
    status: int, registry: ScriptedRegistry, task: NoWaitTask, tmp_path: Path
) -> None:
    registry.faults.append(Fault("GET|HEAD", "/manifests/", status=status))
    assert pushed(registry, task, tmp_path)


# Uploads that go on wrongly


@pytest.mark.parametrize("status", [400, 416])
@pytest.mark.parametrize("method", ["PATCH", "PUT"])
def test_an_upload_whose_resume_is_refused_starts_over(
    method: str, status: int, registry: ScriptedRegistry, task: NoWaitTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blobs, "_MONOLITHIC_SIZE", 1000)
    resumed = "PATCH" == method
    registry.faults.append(Fault("PATCH", cut_request=5 * TENTH, times=1))
    registry.faults.append(Fault(method, UPLOAD, status=status, after=int(resumed), times=1))
    assert blobs.send(UploadTarget(client(registry, task), "app"), BytesBlob(DATA, digest(DATA)), ())
    assert DATA == registry.blobs["app", sha256(DATA)]
    assert 2 == len(registry.sent("POST"))


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
def test_a_bad_request_without_a_resume_is_an_error_at_once(
    method: str, registry: ScriptedRegistry, task: NoWaitTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blobs, "_MONOLITHIC_SIZE", 1000)
    registry.faults.append(Fault(method, UPLOAD, status=400))
    with pytest.raises(TransportError, match="400"):
        blobs.send(UploadTarget(client(registry, task), "app"), BytesBlob(DATA, digest(DATA)), ())
    assert 1 == len(registry.sent(method))
    assert {} == registry.uploads


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
@pytest.mark.parametrize("status", [401, 403])
def test_an_upload_that_storage_refuses_begins_again_with_another_address(
    status: int, method: str, registry: ScriptedRegistry, task: NoWaitTask
) -> None:
    with ScriptedRegistry(store=registry.store) as storage:
        registry.faults.append(Fault("POST", location=f"{storage.url}{{path}}?signature=1"))
        storage.faults.append(Fault(method, status=status, times=1))
        assert blobs.send(blobs.UploadTarget(client(registry, task), "app"), BytesBlob(LARGE, digest(LARGE)), ())
        assert LARGE == registry.blobs["app", sha256(LARGE)]
        assert 2 == len(registry.sent("POST"))


def test_storage_that_refuses_every_upload_is_named_and_no_login_advised(registry: ScriptedRegistry, task: NoWaitTask) -> None:
    with ScriptedRegistry() as storage:
        other = storage.host.replace("127.0.0.1", "localhost")
        registry.faults.append(Fault("PATCH", redirect=f"http://{other}{{path}}"))
        storage.faults.append(Fault(status=403))
        with pytest.raises(TransportError, match="denied") as caught:
            blobs.send(blobs.UploadTarget(client(registry, task), "app"), BytesBlob(LARGE, digest(LARGE)), ())
    assert f"{other} sent this response" in str(caught.value.hint)


# Mounts that are none


class NoMountRegistry(ScriptedRegistry):
    """Answers each mount with 201 and mounts nothing."""

    def _post_uploads(self, call: Any) -> Reply:
        if call.request.asked("mount"):
            return Reply(status=201, headers={"Location": f"/v2/{call.name}/blobs/{call.request.asked('mount')}"})
        return super()._post_uploads(call)


def test_a_mount_that_left_nothing_is_made_up_for_and_not_tried_again(
    task: NoWaitTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OCITOOL_CACHE_DIR", str(tmp_path))
    one = image([DATA, ONE, TWO], codec="none")
    with NoMountRegistry() as registry:
        put_images(registry, "one", one, tag="1")
        for name, mounts in (("two", 4), ("three", 0)):
            registry.forget()
            registries = Registries(INSECURE, task, cached=True)
            reading = Session(task, cached=False, registries=registries)
            copy([f"docker://{registry.host}/one:1"], reading, WriteOptions(f"docker://{registry.host}/{name}:1"))
            registries.close()
            assert has_image(registry, name, one)
            assert mounts == len(registry.sent("POST", "mount="))
    assert 4 == len(task.notices_of("mount"))


def test_a_registry_that_only_says_that_it_mounts_and_takes_every_manifest_gets_the_blobs(task: NoWaitTask) -> None:
    one = image([DATA, ONE, TWO], codec="none")
    with NoMountRegistry(check=False) as registry:
        put_images(registry, "one", one, tag="1")
        push(registry, task, f"docker://{registry.host}/one:1", "two:1")
        assert has_image(registry, "two", one)
        assert 4 == len(task.notices_of("mount"))


def test_the_first_mount_of_a_command_is_looked_at_and_the_others_are_not(registry: ScriptedRegistry, task: NoWaitTask) -> None:
    put_images(registry, "one", image([DATA, ONE, TWO], codec="none"), tag="1")
    push(registry, task, f"docker://{registry.host}/one:1", "two:1")
    assert (4, 5) == (len(registry.sent("POST", "mount=")), len(registry.sent("HEAD", "/two/blobs/")))


@pytest.mark.parametrize("status", [403, 501])
def test_a_mount_that_cannot_be_looked_at_is_believed(status: int, registry: ScriptedRegistry, task: NoWaitTask) -> None:
    one = image([DATA, ONE], codec="none")
    put_images(registry, "one", one, tag="1")
    registry.faults.append(Fault("HEAD", "/blobs/", status=status))
    push(registry, task, f"docker://{registry.host}/one:1", "two:1")
    assert has_image(registry, "two", one)
    assert 0 == registry.bytes_received


@pytest.mark.parametrize("status", [429, 500, 503, 524])
def test_where_a_mount_fails_for_long_the_others_are_tried_once(status: int, task: NoWaitTask) -> None:
    one = image([DATA, ONE, TWO, b"more"], codec="none")
    with ScriptedRegistry() as registry, NoWaitTask(jobs=1) as alone:
        put_images(registry, "one", one, tag="1")
        registry.faults.append(Fault("POST", "mount=", status=status))
        push(registry, alone, f"docker://{registry.host}/one:1", "two:1")
        assert has_image(registry, "two", one)
        assert (5 + 4, 4) == (len(registry.sent("POST", "mount=")), len(alone.pauses))


def test_a_blob_that_head_says_is_there_is_sent_if_the_manifest_is_refused_for_want_of_it(
    registry: ScriptedRegistry, task: NoWaitTask, tmp_path: Path
) -> None:
    """As of a registry whose cache knows nothing of what was deleted."""
    registry.faults.append(Fault("HEAD", "/blobs/", status=200, body=b""))
    assert pushed(registry, task, tmp_path)
    assert 3 == len(task.notices_of("damaged"))
    assert 2 == len(registry.sent("PUT", "/manifests/"))


@pytest.mark.parametrize("refusal", [b'{"errors": [{"code": "MANIFEST_INVALID"}]}', b"no JSON", b""])
def test_what_head_says_is_believed_if_a_manifest_is_refused_for_another_reason(
    refusal: bytes, registry: ScriptedRegistry, task: NoWaitTask, tmp_path: Path
) -> None:
    registry.faults += [Fault("HEAD", "/blobs/", status=200, body=b""), Fault("PUT", "/manifests/", status=400, body=refusal)]
    with pytest.raises(TransportError, match="400"):
        pushed(registry, task, tmp_path)
    assert (1, 0) == (len(registry.sent("PUT", "/manifests/")), len(registry.sent("POST")))


def test_a_manifest_that_is_refused_for_another_reason_is_put_once_where_mounts_were_right(
    registry: ScriptedRegistry, task: NoWaitTask
) -> None:
    one = image([DATA], codec="none")
    put_images(registry, "one", one, tag="1")
    registry.faults.append(Fault("PUT", "/two/manifests/", status=400))
    with pytest.raises(TransportError, match="400"):
        push(registry, task, f"docker://{registry.host}/one:1", "two:1")
    assert 1 == len(registry.sent("PUT", "/two/manifests/"))
