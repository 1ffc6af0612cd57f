"""Sending to a registry: in which order, what is not sent at all, and what is done where the registry breaks or refuses."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from support.copying import ONE, TWO, multiarch
from support.images import image, index_of, pretty, sha256, write_files, write_layout
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
    cut_requests,
    digest,
    has_image,
    push,
    put_images,
    random_bytes,
)
from support.registry import BasicAuth, BlobServer, Fault, ScriptedRegistry, certificates

from ocitool import atomic
from ocitool.blob import BytesBlob
from ocitool.errors import IntegrityError, TransportError
from ocitool.limits import MiB
from ocitool.spec import mediatypes
from ocitool.transports.registry import Access, blobs, source
from ocitool.transports.registry.blobs import UploadTarget
from ocitool.transports.registry.client import Client
from ocitool.transports.registry.endpoint import RETRIES

SMALL = random_bytes(900, seed=1)
UNIT = 1000
"""What stands for a MiB here: up to so many bytes a blob goes with the end of its upload."""


@pytest.fixture(autouse=True)
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousandth of the sizes that the program goes by."""
    for name, size in (("_MONOLITHIC_SIZE", UNIT), ("_MIN_CHUNK_SIZE", UNIT), ("_CHUNK_SIZE", 16 * UNIT)):
        assert getattr(blobs, name) == size // UNIT * MiB
        monkeypatch.setattr(blobs, name, size)


def send(
    registry: ScriptedRegistry, task: NoWaitTask, data: bytes = DATA, origins: Sequence[str] = (), access: Access = INSECURE
) -> bool:
    """Puts these bytes into app; they are there then."""
    done = blobs.send(UploadTarget(client(registry, task, access), "app"), BytesBlob(data, digest(data)), origins)
    assert data == registry.blobs["app", sha256(data)]
    return done


def stored(registry: ScriptedRegistry) -> list[tuple[str, str]]:
    """What was stored, in its order: what kind of thing, and under which name."""
    found = []
    for one in registry.sent("PUT"):
        if one.status == 201:
            name = one.asked("digest") or one.path.rpartition("/")[2]
            kind = "blob" if one.asked("digest") else one.headers["content-type"].split(".")[-2]
            found.append((kind if ":" in name else "tag", name))
    return found


def began(registry: ScriptedRegistry) -> int:
    return len(registry.sent("POST"))


# Order


def test_blobs_come_before_manifests_before_indexes_before_tags(
    registry: ScriptedRegistry, task: NoWaitTask, tmp_path: Path
) -> None:
    files, images = multiarch()
    outer = pretty(index_of(json.loads(files["index.json"])["manifests"]))
    files["blobs/" + sha256(outer).replace(":", "/")] = outer
    entry = {"mediaType": mediatypes.OCI_INDEX, "digest": sha256(outer), "size": len(outer)}
    files["index.json"] = pretty(index_of([entry]))
    push(registry, task, write_files(tmp_path / "layout", files), all_platforms=True, names=("1", "2"))
    kinds = [kind for kind, _ in stored(registry)]
    assert ["blob"] * kinds.count("blob") + ["manifest"] * 3 + ["index", "tag", "tag"] == kinds
    assert {("app", "1"): sha256(outer), ("app", "2"): sha256(outer)} == registry.tags
    assert all(has_image(registry, "app", one) for one in images)
    assert [] == [one for one in registry.sent() if one.status >= 400 and one.method != "HEAD"]


def test_the_largest_blob_goes_first(registry: ScriptedRegistry, tmp_path: Path) -> None:
    one = image([random_bytes(size, seed=size) for size in (20_000, 500, 60_000, 4_000)], codec="none", tag="app")
    with NoWaitTask(jobs=1) as task:
        push(registry, task, write_layout(tmp_path / "layout", [one]))
    sizes = [len(registry.blobs["app", name]) for kind, name in stored(registry) if kind == "blob"]
    assert sorted(sizes, reverse=True) == sizes
    assert 5 == len(sizes)


# What is not sent


def test_blobs_that_are_there_are_not_sent(registry: ScriptedRegistry, task: NoWaitTask, tmp_path: Path) -> None:
    one = image([ONE, TWO], tag="app")
    registry.put_blob("app", one.layers[0])
    written = push(registry, task, write_layout(tmp_path / "layout", [one]))
    assert {sha256(one.layers[1]), sha256(one.config)} == {name for kind, name in stored(registry) if kind == "blob"}
    assert len(one.layers[0]) == written.skipped
    registry.forget()
    again = push(registry, task, tmp_path / "layout")
    assert [] == stored(registry)
    assert 0 == began(registry) == again.kept


def test_what_another_repository_has_is_mounted(registry: ScriptedRegistry, task: NoWaitTask) -> None:
    registry.put_blob("other", DATA)
    assert not send(registry, task, origins=["other", "third"])
    assert 0 == registry.bytes_received
    assert ["other"] == [one.asked("from") for one in registry.sent("POST")]


def test_within_a_registry_layers_are_neither_fetched_nor_sent(registry: ScriptedRegistry, task: NoWaitTask) -> None:
    one = image([DATA], codec="none")
    put_images(registry, "one", one, tag="1")
    push(registry, task, f"docker://{registry.host}/one:1", "two/deep:1")
    assert has_image(registry, "two/deep", one)
    assert len(one.config) == registry.bytes_served
    assert 0 == registry.bytes_received


def test_a_mount_that_began_an_upload_goes_on_with_that(registry: ScriptedRegistry, task: NoWaitTask) -> None:
    registry.put_blob("other", DATA)
    registry.faults.append(Fault("POST", "mount=", no_mount=True))
    assert send(registry, task, origins=["other", "third"])
    assert 1 == began(registry)
    assert {} == registry.uploads


@pytest.mark.parametrize("status", [400, 403, 404, 405, 500])
def test_where_a_mount_is_refused_the_blob_is_sent(status: int, registry: ScriptedRegistry, task: NoWaitTask) -> None:
    registry.faults.append(Fault("POST", "mount=", status=status))
    assert send(registry, task, origins=["other"])


def test_between_registries_nothing_is_kept_on_this_machine(
    registry: ScriptedRegistry, task: NoWaitTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a temporary file")

    one = image([random_bytes(3 * MiB), ONE], codec="none")
    with ScriptedRegistry() as here:
        put_images(here, "one", one, tag="1")
        monkeypatch.setattr(atomic.Temporary, "__init__", refuse)
        monkeypatch.setattr(source, "anonymous_temporary", refuse)
        push(registry, task, f"docker://{here.host}/one:1")
        assert len(one.config) + sum(map(len, one.layers)) == here.bytes_served
    assert has_image(registry, "app", one)


# Where the upload is


@pytest.mark.parametrize("data", [SMALL, DATA], ids=["at once", "streamed"])
@pytest.mark.parametrize("location", ["{path}", "{base}{path}?_state=abc%3D&x=", "{path}?_state=a+b%2Fc&digestive=1&y"])
def test_an_upload_goes_on_where_the_registry_says_byte_for_byte(
    location: str, data: bytes, registry: ScriptedRegistry, task: NoWaitTask
) -> None:
    registry.faults.append(Fault("POST|PATCH", "/uploads/", location=location))
    assert send(registry, task, data)
    assert 1 == began(registry)
    assert [] == task.pauses


def test_each_answer_may_move_the_upload(registry: ScriptedRegistry, task: NoWaitTask) -> None:
    registry.faults.append(Fault("POST", "/uploads/", location="{path}?_state=1"))
    registry.faults.append(Fault("PATCH", "/uploads/", location="{path}?_state=2"))
    assert send(registry, task)
    assert 1 == began(registry)


@pytest.mark.parametrize("data", [SMALL, DATA], ids=["at once", "streamed"])
def test_an_upload_at_another_host_gets_no_authorization(data: bytes, task: NoWaitTask, tmp_path: Path) -> None:
    with ScriptedRegistry(auth=BasicAuth(USER, PASSWORD)) as registry, ScriptedRegistry(store=registry.store) as other:
        registry.faults.append(Fault("POST", "/uploads/", location=f"{other.url}{{path}}?sig=secret%3D"))
        access = INSECURE._replace(authfile=authfile(tmp_path, registry.host))
        assert send(registry, task, data, access=access)
        assert 0 == registry.bytes_received
        assert len(data) == other.bytes_received
        assert [] == [one for one in other.requests if "authorization" in one.headers]


# Connections that break


@pytest.mark.parametrize("tenth", range(10))
def test_an_upload_that_is_cut_goes_on_where_it_was_cut(tenth: int, registry: ScriptedRegistry, task: NoWaitTask) -> None:
    registry.faults.append(Fault("PATCH", cut_request=tenth * TENTH, times=1))
    assert send(registry, task)
    assert len(DATA) == registry.bytes_received
    assert 1 == len(registry.sent("GET", UPLOAD))
    if tenth:
        assert 1 == began(registry)
        assert [f"{tenth * TENTH}-{len(DATA) - 1}"] == [one.headers["content-range"] for one in registry.sent("PATCH")[1:]]


def test_an_upload_that_is_cut_at_every_tenth_sends_no_byte_twice(registry: ScriptedRegistry, task: NoWaitTask) -> None:
    registry.faults += cut_requests("PATCH", UPLOAD, TENTH)
    assert send(registry, task)
    assert len(DATA) == registry.bytes_received
    assert 1 == began(registry)
    assert 10 == len(registry.sent("GET", UPLOAD))


@pytest.mark.parametrize("tenth", range(10))
def test_an_upload_that_the_registry_gave_up_begins_again(tenth: int, task: NoWaitTask) -> None:
    with ScriptedRegistry(keep_uploads=False) as registry:
        registry.faults.append(Fault("PATCH", cut_request=tenth * TENTH, times=1))
        assert send(registry, task)
        assert 2 == began(registry)
        assert tenth * TENTH + len(DATA) == registry.bytes_received


@pytest.mark.parametrize("keep", [True, False])
def test_an_upload_that_never_gets_further_is_given_up(keep: bool, task: NoWaitTask) -> None:
    with ScriptedRegistry(keep_uploads=keep) as registry:
        registry.faults.append(Fault("PATCH", cut_request=0 if keep else TENTH))
        with pytest.raises(TransportError, match="the connection was cut"):
            send(registry, task)
        assert RETRIES + 1 == len(registry.sent("PATCH"))
        assert {} == registry.blobs == registry.uploads


@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT"])
@pytest.mark.parametrize("data", [SMALL, DATA], ids=["at once", "streamed"])
def test_an_answer_that_is_lost_costs_another_attempt(
    method: str, data: bytes, registry: ScriptedRegistry, task: NoWaitTask
) -> None:
    registry.faults.append(Fault(method, "/uploads/", cut_response=-1, times=1))
    assert send(registry, task, data)


def test_an_upload_that_is_forgotten_begins_again(registry: ScriptedRegistry, task: NoWaitTask) -> None:
    registry.faults.append(Fault("PATCH", hook=lambda _: registry.uploads.clear(), times=1))
    assert send(registry, task)
    assert 2 == began(registry)


# Refusals that may pass


@pytest.mark.parametrize("status", [408, 429, 500, 503, 504])
@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT"])
def test_an_answer_that_may_pass_is_waited_out(method: str, status: int, registry: ScriptedRegistry, task: NoWaitTask) -> None:
    registry.faults.append(Fault(method, "/uploads/", status=status, times=2))
    assert send(registry, task)
    assert 2 == len(task.pauses) == len(task.notices_of("retry"))


@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT"])
def test_the_registry_says_how_long_to_wait(method: str, registry: ScriptedRegistry, task: NoWaitTask) -> None:
    registry.faults.append(Fault(method, "/uploads/", status=429, headers={"Retry-After": "7"}, times=1))
    assert send(registry, task)
    assert [7.0] == task.pauses


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/uploads/"), ("PATCH", UPLOAD), ("PUT", UPLOAD), ("PUT", "/manifests/")],
)
def test_a_refusal_that_stays_is_an_error_and_nothing_is_tagged(
    method: str, path: str, registry: ScriptedRegistry, tmp_path: Path
) -> None:
    one = image([DATA], codec="none", tag="app")
    registry.put_blob("app", one.config)
    registry.faults.append(Fault(method, path, status=500))
    with NoWaitTask(jobs=1) as task:
        with pytest.raises(TransportError, match="500") as caught:
            push(registry, task, write_layout(tmp_path / "layout", [one]))
        assert 8 == caught.value.exit_code
        assert RETRIES + 1 == len(registry.sent(method, path))
        assert RETRIES == len(task.pauses) == len(task.notices_of("retry"))
    assert {} == registry.tags == registry.manifests


def test_a_refusal_of_one_blob_of_many_tags_nothing(registry: ScriptedRegistry, task: NoWaitTask, tmp_path: Path) -> None:
    files, images = multiarch()
    registry.faults.append(Fault("PUT", f"digest=sha256%3A{sha256(images[1].layers[1])[7:]}", status=403))
    with pytest.raises(TransportError, match="denied"):
        push(registry, task, write_files(tmp_path / "layout", files), all_platforms=True)
    assert {} == registry.tags == registry.manifests


# Sizes


@pytest.mark.parametrize("most", [60 * UNIT, 16 * UNIT, 5 * UNIT, UNIT])
def test_a_registry_that_takes_no_large_bodies_gets_chunks(most: int, registry: ScriptedRegistry, task: NoWaitTask) -> None:
    registry.faults.append(Fault("PUT|PATCH", UPLOAD, max_body=most))
    assert send(registry, task)
    assert max(one.body_size for one in registry.sent("PATCH") if one.status == 202) <= most


def test_a_small_blob_that_is_too_large_at_once_is_sent_in_chunks(registry: ScriptedRegistry, task: NoWaitTask) -> None:
    registry.faults.append(Fault("PUT", UPLOAD, max_body=500))
    assert send(registry, task, SMALL)


def test_a_registry_that_takes_nothing_is_given_up(registry: ScriptedRegistry, task: NoWaitTask) -> None:
    registry.faults.append(Fault("PUT|PATCH", UPLOAD, status=413))
    with pytest.raises(TransportError, match="413"):
        send(registry, task)
    assert len(registry.sent("PATCH")) <= 20
    assert {} == registry.uploads


@pytest.mark.parametrize(("least", "sizes"), [("30000", [30_000] * 3 + [10_007]), ("5", [16_000] * 6 + [4_007])])
def test_the_registry_says_how_small_chunks_may_be(
    least: str, sizes: list[int], registry: ScriptedRegistry, task: NoWaitTask
) -> None:
    registry.faults.append(Fault("POST", headers={"OCI-Chunk-Min-Length": least}))
    assert send(registry, task)
    assert sizes == [one.body_size for one in registry.sent("PATCH")]
    starts = [sum(sizes[:n]) for n in range(len(sizes))]
    said = [f"{start}-{start + size - 1}" for start, size in zip(starts, sizes, strict=True)]
    assert said == [one.headers["content-range"] for one in registry.sent("PATCH")]


def test_chunks_that_are_cut_go_on_where_they_were_cut(registry: ScriptedRegistry, task: NoWaitTask) -> None:
    registry.faults.append(Fault("POST", headers={"OCI-Chunk-Min-Length": "30000"}))
    registry.faults.append(Fault("PATCH", cut_request=7, after=1, times=1))
    assert send(registry, task)
    assert len(DATA) == registry.bytes_received


# Bytes that are not what they should be


@pytest.mark.parametrize("data", [SMALL, DATA], ids=["at once", "streamed"])
@pytest.mark.parametrize("change", ["flipped", "short", "long"])
def test_bytes_that_are_not_the_digests_are_not_stored(
    change: str, data: bytes, registry: ScriptedRegistry, task: NoWaitTask
) -> None:
    wrong = BytesBlob({"flipped": data[:-1] + b"?", "short": data[:-5], "long": data + b"?"}[change], digest(data))
    wrong.size = len(data)
    with pytest.raises(IntegrityError):
        blobs.send(UploadTarget(client(registry, task), "app"), wrong, ())
    assert {} == registry.blobs == registry.uploads


def test_a_damaged_layer_ends_the_push_and_nothing_is_tagged(
    registry: ScriptedRegistry, task: NoWaitTask, tmp_path: Path
) -> None:
    one = image([DATA, ONE], codec="none", tag="app")
    layout = write_layout(tmp_path / "layout", [one])
    (layout / "blobs" / sha256(DATA).replace(":", "/")).write_bytes(DATA[:-1] + b"?")
    with pytest.raises(IntegrityError):
        push(registry, task, layout)
    assert ("app", sha256(DATA)) not in registry.blobs
    assert {} == registry.tags == registry.manifests


def test_a_manifest_that_the_registry_stored_as_another_is_an_integrity_error_and_nothing_is_tagged(
    registry: ScriptedRegistry, task: NoWaitTask, tmp_path: Path
) -> None:
    files, _ = multiarch()
    registry.faults.append(Fault("PUT", "/manifests/sha256:", headers={"Docker-Content-Digest": sha256(b"other")}))
    with pytest.raises(IntegrityError, match="the registry stored"):
        push(registry, task, write_files(tmp_path / "layout", files), all_platforms=True)
    assert {} == registry.tags


def test_a_lost_answer_to_the_end_of_an_upload_sends_no_byte_again(registry: ScriptedRegistry, task: NoWaitTask) -> None:
    registry.faults.append(Fault("PUT", UPLOAD, cut_response=-1, times=1))
    assert send(registry, task)
    assert len(DATA) == registry.bytes_received
    assert 1 == began(registry)


def test_an_upload_is_not_led_from_tls_to_where_there_is_none(
    need: Callable[..., str], task: NoWaitTask, tmp_path: Path
) -> None:
    need("openssl")
    made = certificates(tmp_path)
    with ScriptedRegistry(tls=made.server) as registry, BlobServer() as plain:
        registry.faults.append(Fault("POST", "/uploads/", location=f"{plain.url}{{path}}"))
        asking = Client(registry.host, Access(ca=str(made.ca)), task)
        with pytest.raises(TransportError, match="without TLS"):
            blobs.send(blobs.UploadTarget(asking, "app"), BytesBlob(DATA, digest(DATA)), ())
        assert [] == plain.requests


def test_uploads_are_authorized_where_a_proxy_speaks_tls_for_the_registry(
    need: Callable[..., str], task: NoWaitTask, tmp_path: Path
) -> None:
    """It does not know, and names its uploads without."""
    need("openssl")
    made = certificates(tmp_path)
    with ScriptedRegistry(tls=made.server, auth=BasicAuth(USER, PASSWORD)) as registry:
        registry.faults.append(Fault("POST|PATCH", "/uploads/", location=f"http://{registry.host}{{path}}"))
        access = Access(ca=str(made.ca), authfile=authfile(tmp_path, registry.host))
        assert blobs.send(blobs.UploadTarget(Client(registry.host, access, task), "app"), BytesBlob(DATA, digest(DATA)), ())
        assert DATA == registry.blobs["app", str(digest(DATA))]
