"""Reading from a registry that breaks, lies, turns away and sends on: what is believed, what is asked again, what is kept."""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from pathlib import Path

import pytest
from support import places
from support.copying import ONE
from support.images import image, sha256
from support.registries import (
    DATA,
    TENTH,
    NoWaitTask,
    client,
    cut_responses,
    digest,
    layers,
    one_layer,
    open_remote,
    put_images,
    ranges,
    read,
    read_verified,
    session,
)
from support.registry import Fault, Request, ScriptedRegistry

from ocitool.digest import Digest
from ocitool.errors import FormatError, IntegrityError, LimitError, NotFoundError, TransportError, UnsupportedError
from ocitool.limits import MiB
from ocitool.operations.copy import copy
from ocitool.pipeline.image_writer import WriteOptions
from ocitool.spec import mediatypes
from ocitool.transports.registry import blobs
from ocitool.transports.registry.endpoint import RETRIES

PATIENCE = 0.25


@pytest.fixture
def short_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer, and each piece of it, is waited for this long only."""
    monkeypatch.setattr("ocitool.transports.registry.endpoint._TIMEOUT", PATIENCE)


# Connections that break


def test_a_blob_cut_at_every_tenth_is_whole_and_no_byte_comes_twice(
    registry: ScriptedRegistry, task: NoWaitTask, tmp_path: Path
) -> None:
    one = image([DATA], codec="none")
    put_images(registry, "app", one, tag="1")
    registry.faults += cut_responses("GET", sha256(DATA), TENTH)
    copy([f"docker://{registry.host}/app:1"], session(task), WriteOptions(f"{tmp_path}/layout/"))
    assert one.blobs == places.blobs(tmp_path / "layout")
    asked = [request.headers.get("range", "") for request in registry.sent("GET", sha256(DATA))]
    assert ["", *(f"bytes={n * TENTH}-" for n in range(1, 11))] == asked
    assert len(DATA) + len(one.config) == registry.bytes_served


@pytest.mark.parametrize("tenth", range(10))
def test_a_blob_cut_once_goes_on_where_it_was_cut(tenth: int, registry: ScriptedRegistry, task: NoWaitTask) -> None:
    registry.faults.append(Fault("GET", "/blobs/", cut_response=tenth * TENTH, times=1))
    assert DATA == read_verified(registry, task)
    assert ["", f"bytes={tenth * TENTH}-" if tenth else ""] == ranges(registry)
    assert len(DATA) == registry.bytes_served


def test_a_read_from_the_middle_that_is_cut_goes_on(registry: ScriptedRegistry, task: NoWaitTask) -> None:
    registry.faults.append(Fault("GET", "/blobs/", cut_response=TENTH, times=1))
    assert DATA[55_555:] == read(registry, task, offset=55_555)
    assert ["bytes=55555-", "bytes=65555-"] == ranges(registry)


@pytest.mark.parametrize("cut", [-1, 0], ids=["no answer", "no body"])
def test_a_connection_that_always_breaks_is_given_up(cut: int, registry: ScriptedRegistry, task: NoWaitTask) -> None:
    registry.faults.append(Fault("GET", "/blobs/", cut_response=cut))
    with pytest.raises(TransportError, match="the connection was cut"):
        read(registry, task)
    assert RETRIES + 1 == len(registry.sent("GET"))
    assert RETRIES == len(task.pauses) == len(task.notices_of("retry"))


def test_a_blob_that_always_breaks_a_little_further_on_is_given_up_some_day(
    registry: ScriptedRegistry, task: NoWaitTask
) -> None:
    registry.faults.append(Fault("GET", "/blobs/", cut_response=7))
    with pytest.raises(TransportError, match="the connection was cut"):
        read(registry, task)
    assert len(registry.sent("GET")) <= 150


def test_a_document_that_is_cut_is_fetched_again(registry: ScriptedRegistry, task: NoWaitTask) -> None:
    put_images(registry, "app", image([ONE]), tag="1")
    registry.faults.append(Fault("GET", "/manifests/", cut_response=20, times=1))
    assert image([ONE]).digest == str(client(registry, task).document("app", "1").digest)


def test_a_list_that_is_cut_is_fetched_again(registry: ScriptedRegistry, task: NoWaitTask) -> None:
    put_images(registry, "app", image([ONE]), tag="1")
    registry.faults.append(Fault("GET", "/tags/", cut_response=5, times=1))
    assert ["1"] == client(registry, task).tags("app")


# Silence


def test_a_silent_registry_is_asked_again(registry: ScriptedRegistry, task: NoWaitTask, short_timeout: None) -> None:
    registry.faults.append(Fault("GET", "/blobs/", hang=60, times=1))
    assert DATA == read_verified(registry, task)


def test_a_registry_that_falls_silent_within_a_blob_is_asked_for_the_rest(
    registry: ScriptedRegistry, task: NoWaitTask, short_timeout: None
) -> None:
    registry.faults.append(Fault("GET", "/blobs/", cut_response=4 * TENTH, hang=60, times=1))
    assert DATA == read_verified(registry, task)
    assert ["", f"bytes={4 * TENTH}-"] == ranges(registry)


def test_a_registry_that_stays_silent_is_given_up(registry: ScriptedRegistry, task: NoWaitTask, short_timeout: None) -> None:
    registry.faults.append(Fault("GET", "/blobs/", hang=60))
    began = time.monotonic()
    with pytest.raises(TransportError, match="does not answer in time"):
        read(registry, task)
    assert RETRIES + 1 == len(registry.sent("GET"))
    assert time.monotonic() - began < (RETRIES + 1) * PATIENCE + 2


# Bodies that are not what was asked for


def test_a_short_body_is_completed(registry: ScriptedRegistry, task: NoWaitTask) -> None:
    registry.faults.append(Fault("GET", "/blobs/", resize=-30, times=1))
    assert DATA == read_verified(registry, task)
    assert ["", f"bytes={len(DATA) - 30}-"] == ranges(registry)


def test_bodies_that_are_always_short_are_an_integrity_error(registry: ScriptedRegistry, task: NoWaitTask) -> None:
    registry.faults.append(Fault("GET", "/blobs/", resize=-30))
    with pytest.raises(IntegrityError):
        read_verified(registry, task)
    assert len(registry.sent("GET")) <= 2 * RETRIES


def test_a_blob_shorter_than_stated_is_an_integrity_error(registry: ScriptedRegistry, task: NoWaitTask) -> None:
    with pytest.raises(IntegrityError):  # the registry answers 416 to who wants more
        read(registry, task, size=len(DATA) + 1)
    assert ["", f"bytes={len(DATA)}-", ""] == ranges(registry)  # and with all of it to who starts over
    assert [200, 416, 200] == [one.status for one in registry.sent("GET")]


def test_a_body_that_is_too_long_is_an_integrity_error_and_not_read_to_its_end(
    registry: ScriptedRegistry, task: NoWaitTask
) -> None:
    registry.faults.append(Fault("GET", "/blobs/", resize=50 * MiB))
    with pytest.raises(IntegrityError, match="longer than its stated size"):
        read_verified(registry, task)
    assert 1 == len(registry.sent("GET"))
    assert registry.bytes_served < 20 * MiB


def test_a_content_length_beyond_the_body_is_a_broken_connection(registry: ScriptedRegistry, task: NoWaitTask) -> None:
    registry.faults.append(Fault("GET", "/blobs/", resize=-30, lie=True, times=1))
    assert DATA == read_verified(registry, task)


def test_what_follows_the_content_length_is_not_of_the_blob(registry: ScriptedRegistry, task: NoWaitTask) -> None:
    registry.faults.append(Fault("GET", "/blobs/", resize=30, lie=True))
    asking = client(registry, task)
    registry.put_blob("app", DATA)
    for _ in range(2):  # nor of the next answer on that connection
        assert DATA == b"".join(blobs.fetch(asking, "app", digest(DATA), len(DATA)))


def test_a_body_without_a_length_is_read_to_its_end(registry: ScriptedRegistry, task: NoWaitTask) -> None:
    registry.faults.append(Fault("GET", "/blobs/", chunked=True))
    assert DATA == read_verified(registry, task)


def test_a_layer_labelled_as_an_encoded_body_stays_as_it_is(registry: ScriptedRegistry, task: NoWaitTask) -> None:
    one = image([ONE])  # in gzip
    put_images(registry, "app", one, tag="1")
    registry.faults.append(Fault("GET", "/", encoding="label"))
    (layer,) = layers(open_remote(registry, "app:1", task))
    assert one.layers[0] == b"".join(layer.chunks())


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("data", [DATA, bytes(100_000)], ids=["longer", "shorter"])
def test_a_body_that_really_was_encoded_is_decoded(
    data: bytes, chunked: bool, registry: ScriptedRegistry, task: NoWaitTask
) -> None:
    """By a proxy that compresses whatever passes. Without a length the blob's own first bytes must tell, as those of a layer in
    gzip and of a document do."""
    stored = gzip.compress(data) if chunked else data
    registry.faults.append(Fault("GET", "/blobs/", encoding="gzip", chunked=chunked))
    assert stored == read_verified(registry, task, stored)
    assert b"{}" == read_verified(registry, task, b"{}")


def test_an_encoded_body_that_is_cut_is_read_from_its_start(registry: ScriptedRegistry, task: NoWaitTask) -> None:
    registry.faults += [*cut_responses("GET", "/blobs/", 5 * TENTH, 1), Fault("GET", "/blobs/", encoding="gzip")]
    registry.faults.append(Fault("GET", "/blobs/", ignore_range=True))
    assert DATA == read_verified(registry, task)


def test_a_chunked_layer_labelled_as_an_encoded_body_stays_as_it_is(registry: ScriptedRegistry, task: NoWaitTask) -> None:
    layer = gzip.compress(b"a tar" * 100)
    registry.faults.append(Fault("GET", "/", encoding="label", chunked=True))
    assert layer == read_verified(registry, task, layer)


def test_an_encoded_body_that_decodes_to_more_than_the_blob_is_an_integrity_error(
    registry: ScriptedRegistry, task: NoWaitTask
) -> None:
    bomb = gzip.compress(bytes(20 * MiB), 1)
    registry.faults.append(Fault("GET", "/blobs/", status=200, body=bomb, headers={"Content-Encoding": "gzip"}))
    with pytest.raises(IntegrityError, match="longer than its stated size"):
        read_verified(registry, task)


@pytest.mark.parametrize("name", ["1", "digest"])
def test_an_encoded_manifest_is_decoded_and_its_digest_is_that_of_the_document(
    name: str, registry: ScriptedRegistry, task: NoWaitTask, tmp_path: Path
) -> None:
    one = image([ONE])
    put_images(registry, "app", one, tag="1")
    registry.faults.append(Fault("GET", "/", encoding="gzip"))
    found = client(registry, task).document("app", name if name == "1" else digest(one.raw))
    assert (one.raw, one.digest) == (found.raw, str(found.digest))
    assert ["1"] == client(registry, task).tags("app")
    copy([f"docker://{registry.host}/app:1"], session(task), WriteOptions(f"{tmp_path}/layout/"))
    assert one.blobs == places.blobs(tmp_path / "layout")


@pytest.mark.parametrize("path", ["/manifests/", "/tags/"])
def test_an_encoded_document_that_is_a_bomb_is_beyond_the_limit(
    path: str, registry: ScriptedRegistry, task: NoWaitTask
) -> None:
    put_images(registry, "app", image([ONE]), tag="1")
    bomb = gzip.compress(bytes(40 * MiB), 1)
    registry.faults.append(Fault("GET", path, status=200, body=bomb, headers={"Content-Encoding": "gzip"}))
    with pytest.raises(LimitError):
        client(registry, task).tags("app") if path == "/tags/" else client(registry, task).document("app", "1")


def test_a_damaged_encoding_of_a_document_is_a_format_error(registry: ScriptedRegistry, task: NoWaitTask) -> None:
    body = gzip.compress(image([ONE]).raw)[:-9]
    registry.faults.append(Fault("GET", "/manifests/", status=200, body=body, headers={"Content-Encoding": "gzip"}))
    with pytest.raises(FormatError):
        client(registry, task).document("app", "1")


def test_wrong_bytes_of_a_layer_end_the_pull_with_5_and_nothing_is_stored(
    registry: ScriptedRegistry, task: NoWaitTask, tmp_path: Path
) -> None:
    put_images(registry, "app", image([DATA], codec="none"), tag="1")
    registry.faults.append(Fault("GET", sha256(DATA), flip=-1))
    with pytest.raises(IntegrityError) as caught:
        copy([f"docker://{registry.host}/app:1"], session(task), WriteOptions(f"{tmp_path}/layout/"))
    assert 5 == caught.value.exit_code
    assert caught.value.where is not None and sha256(DATA) in caught.value.where
    left = list(tmp_path.rglob("*"))
    assert [] == [path for path in left if digest(DATA).encoded in path.name or path.name == "index.json"]


def test_wrong_bytes_of_a_document_are_an_integrity_error(registry: ScriptedRegistry, task: NoWaitTask) -> None:
    put_images(registry, "app", image([ONE]), tag="1")
    registry.faults.append(Fault("GET", "/manifests/", flip=30))
    for name in (digest(image([ONE]).raw), "1"):  # by tag: the header names another digest
        with pytest.raises(IntegrityError):
            client(registry, task).document("app", name)


def test_a_tag_whose_header_lies_is_an_integrity_error(registry: ScriptedRegistry, task: NoWaitTask) -> None:
    put_images(registry, "app", image([ONE]), tag="1")
    registry.faults.append(Fault("GET", "/manifests/", headers={"Docker-Content-Digest": sha256(b"another")}))
    with pytest.raises(IntegrityError):
        open_remote(registry, "app:1", task)


@pytest.mark.parametrize("header", [None, "nonsense"])
def test_without_a_header_that_says_a_digest_it_is_computed(
    header: str | None, registry: ScriptedRegistry, task: NoWaitTask
) -> None:
    put_images(registry, "app", image([ONE]), tag="1")
    name = "Docker-Content-Digest"
    registry.faults.append(Fault("GET|HEAD", "/", drop=(name,), headers={} if header is None else {name: header}))
    asking = client(registry, task)
    assert image([ONE]).digest == str(asking.document("app", "1").digest)
    assert image([ONE]).digest == str(asking.tag_digest("app", "1"))


def test_a_document_of_more_than_4_mib_is_beyond_the_limit(registry: ScriptedRegistry, task: NoWaitTask) -> None:
    registry.put_manifest("app", mediatypes.OCI_MANIFEST, b" " * (4 * MiB + 1), "1")
    for chunked in (False, True):
        registry.faults[:] = [Fault("GET", "/manifests/", chunked=chunked)]
        with pytest.raises(LimitError):
            client(registry, task).document("app", "1")


def test_a_manifest_that_is_called_an_index_is_refused(registry: ScriptedRegistry, task: NoWaitTask) -> None:
    registry.put_manifest("app", mediatypes.OCI_INDEX, image([ONE]).raw, "1")
    with pytest.raises(FormatError):
        open_remote(registry, "app:1", task)


@pytest.mark.parametrize("said", ["application/json", "text/plain; charset=utf-8", ""])
def test_a_content_type_that_says_nothing_is_overlooked(said: str, registry: ScriptedRegistry, task: NoWaitTask) -> None:
    put_images(registry, "app", image([ONE]), tag="1")
    registry.faults.append(Fault("GET", "/manifests/", headers={"Content-Type": said}))
    assert mediatypes.OCI_MANIFEST == open_remote(registry, "app:1", task).root.media_type  # type: ignore[attr-defined]


# Ranges


@pytest.mark.parametrize(
    "answer",
    [{"ignore_range": True}, {"range_shift": 5}, {"range_shift": -5}, {"drop": ("Content-Range",)},
     {"headers": {"Content-Range": "bytes nonsense"}}],
    ids=["ignored", "later", "earlier", "unsaid", "nonsense"],
)  # fmt: skip
def test_a_registry_that_cannot_do_ranges_is_read_from_the_start(
    answer: dict[str, object], registry: ScriptedRegistry, task: NoWaitTask
) -> None:
    registry.faults += [*cut_responses("GET", "/blobs/", 5 * TENTH, 1), Fault("GET", "/blobs/", after=1, **answer)]  # type: ignore[arg-type]
    assert DATA == read_verified(registry, task)
    assert len(registry.sent("GET")) <= 3


def test_the_first_bytes_are_had_from_a_registry_that_cannot_do_ranges(registry: ScriptedRegistry, task: NoWaitTask) -> None:
    one = one_layer(registry, 3 * MiB)
    registry.faults.append(Fault("GET", "/blobs/", ignore_range=True))
    (layer,) = layers(open_remote(registry, "app:1", task))
    assert one.layers[0][100:200] == layer.pread(100, 100)


# Answers that may be another one in a moment


@pytest.mark.parametrize("status", [400, 405, 412, 416, 501])
@pytest.mark.parametrize("first", [0, 5 * TENTH], ids=["first bytes", "resume"])
def test_a_part_that_is_refused_is_had_by_starting_over(
    status: int, first: int, registry: ScriptedRegistry, task: NoWaitTask
) -> None:
    def only_whole(request: Request) -> None:
        refusal.status = status if "range" in request.headers else None

    refusal = Fault("GET", "/blobs/", hook=only_whole)
    registry.put_blob("app", DATA)
    registry.faults += [*cut_responses("GET", "/blobs/", first, 1), refusal] if first else [refusal]
    coming = blobs.fetch(client(registry, task), "app", digest(DATA), len(DATA), 0, None if first else TENTH)
    assert (DATA if first else DATA[:TENTH]) == b"".join(coming)
    assert 3 - (not first) == len(registry.sent("GET"))


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524])
def test_an_answer_that_may_pass_is_waited_out(status: int, registry: ScriptedRegistry, task: NoWaitTask) -> None:
    registry.faults.append(Fault("GET", "/blobs/", status=status, times=2))
    assert DATA == read_verified(registry, task)
    assert 3 == len(registry.sent("GET"))
    assert 2 == len(task.pauses) == len(task.notices_of("retry"))
    assert f"{registry.host}: " in task.notices_of("retry")[0].text


@pytest.mark.parametrize("status", [429, 500, 503])
@pytest.mark.parametrize("path", ["/blobs/", "/manifests/", "/tags/"])
def test_an_answer_that_stays_is_an_error_after_so_many_attempts(
    path: str, status: int, registry: ScriptedRegistry, task: NoWaitTask
) -> None:
    put_images(registry, "app", image([ONE]), tag="1")
    registry.faults.append(Fault("GET", path, status=status))
    asking = client(registry, task)
    with pytest.raises(TransportError) as caught:
        if path == "/blobs/":
            list(blobs.fetch(asking, "app", digest(ONE), len(ONE)))
        elif path == "/manifests/":
            asking.document("app", "1")
        else:
            asking.tags("app")
    assert 8 == caught.value.exit_code
    assert ("too many requests" if status == 429 else str(status)) in caught.value.what
    assert RETRIES + 1 == len(registry.sent("GET", path))
    assert RETRIES == len(task.pauses) == len(task.notices_of("retry"))


def test_attempts_are_longer_apart_each_time(registry: ScriptedRegistry, task: NoWaitTask) -> None:
    registry.faults.append(Fault("GET", "/blobs/", status=500))
    with pytest.raises(TransportError):
        read(registry, task)
    assert sorted(task.pauses) == task.pauses
    assert 0 < task.pauses[0] < task.pauses[-1] < 60


@pytest.mark.parametrize(("asked", "waited"), [("7", 7.0), ("0", 0.0), ("100000", 60.0)])
def test_the_registry_says_how_long_to_wait(asked: str, waited: float, registry: ScriptedRegistry, task: NoWaitTask) -> None:
    registry.faults.append(Fault("GET", "/blobs/", status=429, headers={"Retry-After": asked}, times=1))
    assert DATA == read_verified(registry, task)
    assert [waited] == task.pauses


FORMS = {
    "IMF-fixdate": lambda at: formatdate(at, usegmt=True), "asctime": lambda at: time.asctime(time.gmtime(at)),
    "RFC 850": lambda at: time.strftime("%A, %d-%b-%y %H:%M:%S GMT", time.gmtime(at)), "without a zone": formatdate,
}  # fmt: skip
"""Of a date (RFC 9110, 5.6.7), all of them in UTC."""


@pytest.fixture
def _zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("_zone")
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_the_registry_says_until_when_to_wait(
    form: Callable[[float], str], registry: ScriptedRegistry, task: NoWaitTask
) -> None:
    at = form(time.time() + 30)
    registry.faults.append(Fault("GET", "/blobs/", status=503, headers={"Retry-After": at}, times=1))
    assert DATA == read_verified(registry, task)
    assert 25 < task.pauses[0] < 31


@pytest.mark.parametrize("asked", ["soon", "-5", "Thu, 01 Jan 1970 00:00:00 GMT", "1e400"])
def test_nonsense_about_waiting_harms_nothing(asked: str, registry: ScriptedRegistry, task: NoWaitTask) -> None:
    registry.faults.append(Fault("GET", "/blobs/", status=503, headers={"Retry-After": asked}, times=1))
    assert DATA == read_verified(registry, task)
    assert 0 <= task.pauses[0] < 2


def test_a_bad_request_is_told_as_one_also_where_it_is_the_first_of_all(registry: ScriptedRegistry, task: NoWaitTask) -> None:
    """A registry that may have TLS is tried with it after a 400, which is what a TLS server says to plain HTTP."""
    registry.put_blob("app", DATA)
    registry.faults.append(Fault("GET", "/blobs/", status=400))
    asking = client(registry, task)
    for _ in range(2):
        with pytest.raises(TransportError, match="scripted") as caught:
            list(blobs.fetch(asking, "app", digest(DATA), len(DATA)))
        assert 8 == caught.value.exit_code
    registry.faults.clear()
    assert DATA == b"".join(blobs.fetch(asking, "app", digest(DATA), len(DATA)))
    assert [] == task.pauses


def test_what_is_not_there_is_not_asked_for_again(registry: ScriptedRegistry, task: NoWaitTask) -> None:
    put_images(registry, "app", image([ONE]), tag="1")
    with pytest.raises(NotFoundError):
        list(blobs.fetch(client(registry, task), "app", digest(DATA), len(DATA)))
    with pytest.raises(NotFoundError, match="no such tag"):
        open_remote(registry, "app:2", task)
    assert 2 == len(registry.sent("GET"))
    assert [] == task.pauses


@pytest.mark.parametrize("name", ["md5:" + "0" * 32, "sha1:" + "0" * 40, "foo:abcd", "shake_128:00"])
def test_a_digest_that_cannot_be_checked_is_not_asked_for(name: str, registry: ScriptedRegistry, task: NoWaitTask) -> None:
    with pytest.raises(UnsupportedError, match="cannot be checked"):
        client(registry, task).document("app", Digest.parse(name))
    assert [] == registry.requests


@pytest.mark.parametrize(
    "text", ["Mon, 99 Jan 2020 00:00:00 +99999999999999999999", "1 Jan 99999999999 00:00:00 GMT", "x", "-1"]
)
def test_a_time_to_wait_until_that_is_none_is_no_bug(text: str, registry: ScriptedRegistry, task: NoWaitTask) -> None:
    registry.faults.append(Fault("GET", "/blobs/", status=503, headers={"Retry-After": text}, times=1))
    assert DATA == read_verified(registry, task)
    assert 1 == len(task.pauses)


@pytest.mark.parametrize("answer", ["gone", "no digest and gone", "failing"])
def test_whether_a_tag_moved_is_asked_once_and_may_stay_unknown(
    answer: str, registry: ScriptedRegistry, task: NoWaitTask
) -> None:
    put_images(registry, "app", image([ONE]), tag="1")
    source = open_remote(registry, "app:1", task)
    registry.forget()
    if answer == "failing":
        registry.faults.append(Fault("HEAD", "/manifests/", status=500))
    elif answer == "gone":
        registry.tags.clear()
    else:
        registry.faults.append(Fault("HEAD", "/manifests/", drop=("Docker-Content-Digest",), hook=lambda _: None))
        registry.faults.append(Fault("GET", "/manifests/", status=404))
    assert source.resolve() is None  # type: ignore[attr-defined]
    assert 1 == len(registry.sent("HEAD")) and [] == task.pauses
