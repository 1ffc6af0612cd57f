"""Registries that answer otherwise about referrers than the specification has it: nothing that is there gets lost unsaid."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import places
from support.copying import AMD, ARM, ONE, TWO
from support.images import Image, image, index_of, pretty, write_layout
from support.registries import (
    INSECURE,
    PASSWORD,
    USER,
    NoWaitTask,
    authfile,
    digest,
    has_image,
    open_remote,
    push,
    put_images,
    put_index,
    session,
)
from support.registry import BasicAuth, BlobServer, Fault, Reply, ScriptedRegistry, TokenAuth, digest_of

from ocitool.digest import Digest
from ocitool.errors import TransportError
from ocitool.images import indexes
from ocitool.operations.copy import copy
from ocitool.pipeline.image_writer import WriteOptions
from ocitool.spec import mediatypes
from ocitool.transports.opening import open_source

APP = image([ONE], tag="app")
READ_INSTEAD = "its fallback tag (sha256-HEX) is read instead"


def about(subject: dict[str, Any], kind: str = "a/bill") -> Image:
    """An artifact that speaks of a manifest."""
    one = image([kind.encode()], config=b"{}", codec="none")
    one.manifest |= {"artifactType": kind, "subject": {name: subject[name] for name in ("mediaType", "digest", "size")}}
    one.manifest["config"]["mediaType"] = "application/vnd.oci.empty.v1+json"
    return one


BILL = about(APP.descriptor)
ENTRY = {"mediaType": mediatypes.OCI_MANIFEST, "digest": BILL.digest, "size": len(BILL.raw), "artifactType": "a/bill"}


@pytest.fixture
def tagged() -> Iterator[ScriptedRegistry]:
    """An image, an artifact that speaks of it, and the tag that stands for the list of such."""
    with ScriptedRegistry(referrers=False) as registry:
        put_images(registry, "app", BILL)
        put_images(registry, "app", APP, tag="1")
        registry.put_manifest("app", mediatypes.OCI_INDEX, pretty(index_of([ENTRY])), APP.digest.replace(":", "-"))
        yield registry


def beside(registry: ScriptedRegistry, task: NoWaitTask, subject: str = APP.digest) -> list[str]:
    found = open_remote(registry, "app:1", task).referrers(Digest.parse(subject))  # type: ignore[attr-defined]
    return [str(one.descriptor.digest) for one in found]


def fetched(registry: ScriptedRegistry, task: NoWaitTask, place: Path) -> None:
    copy([f"docker://{registry.host}/app:1"], session(task), WriteOptions(f"{place}/"), referrers=True)


# The registry's own list


ANSWERS: dict[str, dict[str, Any]] = {
    **{str(status): {"status": status} for status in (400, 401, 403, 404, 405, 406, 410, 429, 500, 501, 502, 503, 504)},
    "a page for people": {"status": 200, "body": b"<html>"},
    "nothing": {"status": 200, "body": b""},
    "another document": {"status": 200, "body": b"{}"},
    "errors": {"status": 200, "body": b'{"errors": [{"code": "UNSUPPORTED"}]}'},
    "an array": {"status": 200, "body": b"[]"},
    "a redirect to itself": {"redirect": "{path}"},
    "a redirect to what is not there": {"redirect": "/login?next={path}"},
    "a redirect to no address": {"redirect": "http://[/"},
    "a redirect to where no server is": {"redirect": "http://127.0.0.1:1/"},
    "no answer": {"cut_response": -1},
    "half an answer": {"cut_response": 3, "status": 200, "body": b'{"manifests": []}'},
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_whatever_the_list_of_referrers_is_answered_the_tag_is_read_and_it_is_said(
    answer: dict[str, Any], tagged: ScriptedRegistry, task: NoWaitTask, tmp_path: Path
) -> None:
    tagged.faults.append(Fault("GET", "^/v2/app/referrers/", **answer))
    fetched(tagged, task, tmp_path / "out")
    assert BILL.raw == (tmp_path / "out/blobs" / BILL.digest.replace(":", "/")).read_bytes()
    said = [notice.text for notice in task.notices_of("referrer")]
    assert 1 == len(said) and said[0].startswith(f"{tagged.host}/app: ") and READ_INSTEAD in said[0], said


@pytest.mark.parametrize("auth", [BasicAuth(USER, PASSWORD), TokenAuth(USER, PASSWORD)], ids=["basic", "token"])
@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_there_costs_no_other_request_its_authorization(
    status: int, auth: BasicAuth | TokenAuth, task: NoWaitTask, tmp_path: Path
) -> None:
    """Harbor 2.7 answers 401 without a challenge."""
    with ScriptedRegistry(auth=auth, referrers=False) as registry:
        put_images(registry, "app", BILL)
        put_images(registry, "app", APP, tag="1")
        registry.put_manifest("app", mediatypes.OCI_INDEX, pretty(index_of([ENTRY])), APP.digest.replace(":", "-"))
        registry.faults.append(Fault("GET", "/referrers/|sig$|att$|sbom$", status=status))
        access = INSECURE._replace(authfile=authfile(tmp_path, registry.host))
        copy([f"docker://{registry.host}/app:1"], session(task, access), WriteOptions(f"{tmp_path}/out/"), referrers=True)
        assert BILL.raw == (tmp_path / "out/blobs" / BILL.digest.replace(":", "/")).read_bytes()
        assert 2 == len(task.notices_of("referrer")), task.notices


def test_a_page_for_people_at_another_host_is_no_list_of_referrers(tagged: ScriptedRegistry, task: NoWaitTask) -> None:
    with BlobServer(b"<html>log in</html>") as other:
        tagged.faults.append(Fault("GET", "^/v2/app/referrers/", redirect=f"{other.url}/login"))
        assert [BILL.digest] == beside(tagged, task)


def test_a_list_that_a_registry_gives_is_said_nothing_of(task: NoWaitTask, tmp_path: Path) -> None:
    with ScriptedRegistry() as registry:
        put_images(registry, "app", BILL)
        put_images(registry, "app", APP, tag="1")
        fetched(registry, task, tmp_path / "out")
        assert [] == task.notices_of("referrer")


def test_what_fails_for_long_is_tried_once_for_each_further_manifest(tagged: ScriptedRegistry, task: NoWaitTask) -> None:
    tagged.faults.append(Fault("GET", "^/v2/app/referrers/", status=503))
    source = open_remote(tagged, "app:1", task)
    for name in (APP.digest, BILL.digest, digest_of(b"x")):
        source.referrers(Digest.parse(name))  # type: ignore[attr-defined]
    assert [5, 1, 1] == [len(tagged.sent("GET", f"/referrers/{one}")) for one in (APP.digest, BILL.digest, digest_of(b"x"))]


def test_a_list_that_one_manifest_has_not_is_asked_for_of_the_next(task: NoWaitTask) -> None:
    """Some registries answer 404 for a manifest that nothing speaks of."""
    with ScriptedRegistry() as registry:
        put_images(registry, "app", BILL)
        put_images(registry, "app", APP, tag="1")
        registry.faults.append(Fault("GET", "/referrers/", status=404, times=1))
        assert [] == beside(registry, task, digest_of(b"x"))
        assert [BILL.digest] == beside(registry, task)


def test_a_list_of_referrers_that_breaks_off_is_an_error(task: NoWaitTask, tmp_path: Path) -> None:
    with ScriptedRegistry(referrers_page=1) as registry:
        put_images(registry, "app", BILL, about(APP.descriptor, "a/other"))
        put_images(registry, "app", APP, tag="1")
        registry.faults.append(Fault("GET", "/referrers/.*last=", status=403))
        with pytest.raises(TransportError, match="denied"):
            fetched(registry, task, tmp_path / "out")


@pytest.mark.parametrize("subject", ["the image", "the artifact"])
def test_an_image_that_a_list_says_to_speak_of_itself_keeps_its_tag(subject: str, task: NoWaitTask, tmp_path: Path) -> None:
    class Circular(ScriptedRegistry):
        def _get_referrers(self, call: Any) -> Reply:
            reply = super()._get_referrers(call)
            if call.ref == (APP.digest if subject == "the image" else BILL.digest):
                fields = json.loads(reply.body)
                reply.body = pretty({**fields, "manifests": [*fields["manifests"], APP.descriptor]})
            return reply

    with Circular() as registry, ScriptedRegistry() as other:
        put_images(registry, "app", BILL)
        put_images(registry, "app", APP, tag="1")
        copy([f"docker://{registry.host}/app:1"], session(task), WriteOptions(f"docker://{other.host}/app:2"), referrers=True)
        assert {("app", "2"): APP.digest} == other.tags
        assert has_image(other, "app", APP) and has_image(other, "app", BILL)
        fetched(registry, task, tmp_path / "out")
        assert {f"{registry.host}/app:1": APP.digest} == places.names(tmp_path / "out")


def test_an_artifact_in_the_form_before_oci_1_1_is_asked_for_by_its_type(task: NoWaitTask) -> None:
    stated = {name: APP.descriptor[name] for name in ("mediaType", "digest", "size")}
    raw = pretty({"mediaType": mediatypes.OCI_ARTIFACT, "artifactType": "a/b", "blobs": [], "subject": stated})
    with ScriptedRegistry() as registry, ScriptedRegistry() as other:
        put_images(registry, "app", APP, tag="1")
        artifact = registry.put_manifest("app", mediatypes.OCI_ARTIFACT, raw)
        copy([f"docker://{registry.host}/app:1"], session(task), WriteOptions(f"docker://{other.host}/app:1"), referrers=True)
        assert (mediatypes.OCI_ARTIFACT, raw) == other.manifests["app", artifact]


# What a registry says when it gets an artifact


class NoListRegistry(ScriptedRegistry):
    """Answers a referrer with OCI-Subject, and keeps no list."""

    def _get_referrers(self, call: Any) -> Reply:
        return Reply(status=404)


def test_the_tag_is_written_where_a_registry_only_says_that_it_lists_referrers(task: NoWaitTask, tmp_path: Path) -> None:
    other = about(BILL.descriptor, "a/signature")
    layout = write_layout(tmp_path / "in", [APP, BILL, other])
    with NoListRegistry() as registry:
        push(registry, task, f"oci:{layout}:app", referrers=True)
        assert [BILL.digest] == beside(registry, task)
        assert [other.digest] == beside(registry, task, BILL.digest)
        assert 1 == sum("returns no list of them" in notice.text for notice in task.notices_of("referrer"))


def test_whether_a_registry_gives_the_list_that_it_says_to_keep_is_asked_once(task: NoWaitTask, tmp_path: Path) -> None:
    layout = write_layout(tmp_path / "in", [APP, BILL, about(APP.descriptor, "a/other")])
    with ScriptedRegistry() as registry:
        push(registry, task, f"oci:{layout}:app", referrers=True)
        assert 1 == len(registry.sent("GET", "/referrers/"))
        assert {("app", "1"): APP.digest} == registry.tags
        assert [] == task.notices_of("referrer")


def test_a_tag_that_is_read_late_costs_no_referrer(task: NoWaitTask, tmp_path: Path) -> None:
    """As where a cache stands before the registry."""
    others = [about(APP.descriptor, f"a/{n}") for n in range(3)]
    layout = write_layout(tmp_path / "in", [APP, *others])
    with ScriptedRegistry(referrers=False) as registry:
        registry.faults.append(Fault("GET", "/manifests/sha256-", status=404))
        push(registry, task, f"oci:{layout}:app", referrers=True)
        assert [one.digest for one in others] == [entry["digest"] for entry in listed(registry, APP.digest)]
        assert (1, 1) == tuple(len(registry.sent(method, "/manifests/sha256-")) for method in ("GET", "PUT"))


def test_a_list_of_dockers_type_is_written_on_as_an_index(task: NoWaitTask, tmp_path: Path) -> None:
    other = about(APP.descriptor, "a/other")
    layout = write_layout(tmp_path / "in", [APP, other])
    with ScriptedRegistry(referrers=False) as registry:
        put_images(registry, "app", BILL)
        raw = pretty({"schemaVersion": 2, "mediaType": mediatypes.DOCKER_LIST, "manifests": [ENTRY], "annotations": {"a": "b"}})
        registry.put_manifest("app", mediatypes.DOCKER_LIST, raw, APP.digest.replace(":", "-"))
        push(registry, task, f"oci:{layout}:app", referrers=True)
        assert [BILL.digest, other.digest] == [entry["digest"] for entry in listed(registry, APP.digest)]
        media_type, raw = registry.manifests["app", registry.tags["app", APP.digest.replace(":", "-")]]
        assert {"a": "b"} == json.loads(raw)["annotations"] and mediatypes.OCI_INDEX == media_type


@pytest.mark.parametrize("subject", [{}, {"digest": "x"}, {"digest": 3}, {"size": 1}, "a", []], ids=str)
def test_a_subject_without_a_digest_is_none(subject: Any, task: NoWaitTask, tmp_path: Path) -> None:
    one = image([ONE], tag="app")
    one.manifest["subject"] = subject
    with ScriptedRegistry(referrers=False) as registry:
        registry.faults.append(Fault("PUT", "/manifests/", status=201, body=b""))
        push(registry, task, f"oci:{write_layout(tmp_path / 'in', [one])}:app")
        assert 1 == len(registry.sent("PUT", "/manifests/"))


# The tags that stand for it, and cosign's


ABSENT = pytest.mark.parametrize("status", [400, 401, 403, 405, 410])


@ABSENT
def test_a_tag_that_is_not_there_may_be_answered_in_other_ways(
    status: int, tagged: ScriptedRegistry, task: NoWaitTask, tmp_path: Path
) -> None:
    tagged.faults.append(Fault("GET", r"/manifests/sha256-.*\.", status=status))
    fetched(tagged, task, tmp_path / "out")
    assert BILL.raw == (tmp_path / "out/blobs" / BILL.digest.replace(":", "/")).read_bytes()
    assert 1 == sum("are taken to be absent" in notice.text for notice in task.notices_of("referrer"))


@ABSENT
def test_a_list_that_is_not_there_may_be_answered_in_other_ways_when_it_is_begun(
    status: int, task: NoWaitTask, tmp_path: Path
) -> None:
    layout = write_layout(tmp_path / "in", [APP, BILL])
    with ScriptedRegistry(referrers=False) as registry:
        registry.faults.append(Fault("GET", "/manifests/sha256-", status=status))
        push(registry, task, f"oci:{layout}:app", referrers=True)
        assert [ENTRY] == listed(registry, APP.digest)
        assert 1 == sum("are taken to be absent" in notice.text for notice in task.notices_of("referrer"))


@pytest.mark.parametrize("status", [408, 409, 413, 429, 451, 503])
def test_a_tag_that_fails_is_an_error(status: int, tagged: ScriptedRegistry, task: NoWaitTask, tmp_path: Path) -> None:
    tagged.faults.append(Fault("GET", r"/manifests/sha256-.*\.sig", status=status))
    with pytest.raises(TransportError):
        fetched(tagged, task, tmp_path / "out")


def listed(registry: ScriptedRegistry, subject: str) -> list[dict[str, Any]]:
    raw = registry.manifests["app", registry.tags["app", subject.replace(":", "-")]][1]
    found: list[dict[str, Any]] = json.loads(raw)["manifests"]
    return found


def gitlab(registry: ScriptedRegistry, subject: str) -> None:
    """Takes a tag like a digest for that digest: nothing can be tagged so, and what is asked for is the manifest itself."""
    registry.tags["app", subject.replace(":", "-")] = subject


def test_an_index_that_a_registry_gives_for_its_own_tag_is_no_list_of_referrers(task: NoWaitTask) -> None:
    with ScriptedRegistry(referrers=False) as registry:
        images = [image([ONE], platform=AMD), image([TWO], platform=ARM)]
        index = put_index(registry, "app", images, "1")
        gitlab(registry, index)
        assert [] == beside(registry, task, index)


def test_an_index_that_a_registry_gives_for_its_own_tag_does_not_get_into_the_list(task: NoWaitTask, tmp_path: Path) -> None:
    one = image([ONE], platform=AMD)
    raw = pretty(index_of([one.descriptor]))
    top = {"mediaType": mediatypes.OCI_INDEX, "digest": digest_of(raw), "size": len(raw)}
    bill = about(top)
    one.extra[digest_of(raw)] = raw
    layout = write_layout(tmp_path / "in", [one, bill], index=index_of([
        {**top, "annotations": {"org.opencontainers.image.ref.name": "app"}}, bill.descriptor,
    ]))  # fmt: skip
    with ScriptedRegistry(referrers=False) as registry:
        gitlab(registry, digest_of(raw))
        writing = WriteOptions(f"docker://{registry.host}/app:1")
        copy([f"oci:{layout}:app"], session(task), writing, referrers=True, all_platforms=True)
        assert [bill.digest] == [entry["digest"] for entry in listed(registry, digest_of(raw))]


def test_what_stands_for_a_list_of_referrers_and_is_none_is_told(tagged: ScriptedRegistry, task: NoWaitTask) -> None:
    tagged.tags["app", APP.digest.replace(":", "-")] = BILL.digest
    source = open_remote(tagged, "app:1", task)
    messages: list[str] = []
    source.tell = lambda code, text: messages.append(text)
    assert [] == source.referrers(Digest.parse(APP.digest))  # type: ignore[attr-defined]
    assert 1 == len(messages) and "the referrers tag does not point to an index" in messages[0]


def test_the_tag_of_a_long_digest_is_cut_as_the_specification_has_it(task: NoWaitTask) -> None:
    """ "Referrers Tag Schema": 32 characters of the algorithm, 64 of the rest. A longer one is no tag."""
    long = digest_of(b"x", "sha512")
    assert f"sha512-{long[7:71]}" == Digest.parse(long).referrers_tag
    assert f"sha256-{digest(b'x').encoded}" == digest(b"x").referrers_tag
    assert "a-b-c_-" == Digest("a+b", "c_=").referrers_tag
    with ScriptedRegistry(referrers=False) as registry:
        put_images(registry, "app", BILL)
        put_images(registry, "app", APP, tag="1")
        registry.put_manifest("app", mediatypes.OCI_INDEX, pretty(index_of([ENTRY])), f"sha512-{long[7:71]}")
        assert [BILL.digest] == beside(registry, task, long)
        assert [] == [one for one in registry.sent("GET", "/manifests/") if len(one.path.rpartition("/")[2]) > 128]


def test_a_layout_may_have_the_tag_of_a_long_digest(task: NoWaitTask, tmp_path: Path) -> None:
    long = Digest.parse(digest_of(APP.raw, "sha512"))
    gone = {**ENTRY, "digest": digest_of(b"gone")}
    raw = pretty(index_of([gone]))
    app = image([ONE], tag="app")
    app.extra[digest_of(raw)] = raw
    top = {"mediaType": mediatypes.OCI_INDEX, "digest": digest_of(raw), "size": len(raw),
           "annotations": {"org.opencontainers.image.ref.name": long.referrers_tag}}  # fmt: skip
    layout = write_layout(tmp_path / "in", [app], index=index_of([app.descriptor, top]))
    source = open_source(f"oci:{layout}", "layers", task).source
    assert [gone["digest"]] == [str(one.descriptor.digest) for one in indexes.all_referrers(source, [long])]


# Both ways


@pytest.mark.parametrize("referrers", [True, False], ids=["to lists", "to no lists"])
def test_what_is_read_by_the_tag_goes_on_to_another_registry(
    referrers: bool, tagged: ScriptedRegistry, task: NoWaitTask
) -> None:
    tagged.faults.append(Fault("GET", "^/v2/app/referrers/", status=403))
    with ScriptedRegistry(referrers=referrers) as other:
        copy([f"docker://{tagged.host}/app:1"], session(task), WriteOptions(f"docker://{other.host}/app:2"), referrers=True)
        assert has_image(other, "app", BILL)
        assert referrers or [ENTRY] == listed(other, APP.digest)
