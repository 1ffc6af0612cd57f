"""Repositories as destinations: which names images get there, and how what speaks of them is listed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from support.copying import ONE, TWO
from support.images import Image, image, index_of, pretty, sha256, write_layout
from support.registries import (
    DATA,
    INSECURE,
    UPLOAD,
    NoWaitTask,
    client,
    digest,
    has_image,
    open_remote,
    paths,
    push,
    session,
)
from support.registry import Fault, ScriptedRegistry

from ocitool.blob import BytesBlob
from ocitool.digest import Digest
from ocitool.errors import FormatError, UsageError
from ocitool.operations.copy import copy
from ocitool.pipeline.image_writer import WriteOptions
from ocitool.reference import Repository
from ocitool.spec import mediatypes
from ocitool.transports.registry.client import Client
from ocitool.transports.registry.sink import RegistrySink
from ocitool.transports.sink import OutputImage, WriteRequest

# Referrers


def signed(place: Path, *kinds: str) -> tuple[Path, Image, list[Image]]:
    """A layout with an image and artifacts of these kinds that speak of it."""
    app = image([ONE], tag="app")
    made = []
    for kind in kinds:
        one = image([kind.encode()], config=b"{}", codec="none")
        one.manifest |= {"artifactType": kind, "annotations": {"of": kind}, "subject": app.descriptor}
        one.manifest["config"]["mediaType"] = "application/vnd.oci.empty.v1+json"
        del one.manifest["subject"]["annotations"]
        made.append(one)
    return write_layout(place, [app, *made]), app, made


def listed(registry: ScriptedRegistry, app: Image) -> list[dict[str, Any]]:
    """The descriptors of what speaks of the image, in the tag that stands for their list."""
    tag = registry.tags["app", app.digest.replace(":", "-")]
    media_type, raw = registry.manifests["app", tag]
    fields = json.loads(raw)
    assert mediatypes.OCI_INDEX == media_type == fields["mediaType"]
    found: list[dict[str, Any]] = fields["manifests"]
    return found


def test_a_registry_that_keeps_the_list_of_referrers_gets_no_tag_for_it(
    registry: ScriptedRegistry, task: NoWaitTask, tmp_path: Path
) -> None:
    layout, app, made = signed(tmp_path / "layout", "a/signature")
    push(registry, task, f"oci:{layout}:app", referrers=True)
    assert has_image(registry, "app", app)
    assert has_image(registry, "app", made[0])
    assert {("app", "1"): app.digest} == registry.tags
    assert [made[0].digest] == [one["digest"] for one in client(registry, task).referrers("app", digest(app.raw)) or ()]


@pytest.mark.parametrize("kinds", [["a/signature"], ["a/signature", "a/sbom", "a/report", "a/fourth"]], ids=["one", "four"])
def test_for_a_registry_that_keeps_no_list_of_referrers_a_tag_stands_for_it(
    kinds: list[str], task: NoWaitTask, tmp_path: Path
) -> None:
    layout, app, made = signed(tmp_path / "layout", *kinds)
    with ScriptedRegistry(referrers=False, latency=0.02) as registry:
        for _ in range(2):  # twice the same is once
            push(registry, task, f"oci:{layout}:app", referrers=True)
        wanted = [
            {"mediaType": mediatypes.OCI_MANIFEST, "digest": one.digest, "size": len(one.raw), "artifactType": kind,
             "annotations": {"of": kind}}
            for one, kind in zip(made, kinds, strict=True)
        ]  # fmt: skip
        assert wanted == sorted(listed(registry, app), key=lambda entry: kinds.index(entry["artifactType"]))


def test_what_stands_in_the_list_of_referrers_stays(task: NoWaitTask, tmp_path: Path) -> None:
    layout, app, made = signed(tmp_path / "layout", "a/signature")
    old = image([TWO]).descriptor | {"artifactType": "old", "annotations": {"by": "others"}}
    with ScriptedRegistry(referrers=False) as registry:
        tag = app.digest.replace(":", "-")
        registry.put_manifest("app", mediatypes.OCI_INDEX, pretty(index_of([old], annotations={"kept": "yes"})), tag)
        registry.check = False
        push(registry, task, f"oci:{layout}:app", referrers=True)
        assert [old["digest"], made[0].digest] == [entry["digest"] for entry in listed(registry, app)]
        assert old == listed(registry, app)[0]


def test_what_speaks_of_an_image_can_be_read_back(task: NoWaitTask, tmp_path: Path) -> None:
    layout, app, made = signed(tmp_path / "layout", "a/signature", "a/sbom")
    for referrers in (True, False):
        with ScriptedRegistry(referrers=referrers, referrers_page=1) as registry:
            push(registry, task, f"oci:{layout}:app", referrers=True)
            found = open_remote(registry, "app:1", task).referrers(digest(app.raw))  # type: ignore[attr-defined]
            assert {one.digest for one in made} == {str(one.descriptor.digest) for one in found}


# Names


def test_below_a_prefix_images_keep_their_own_names(registry: ScriptedRegistry, task: NoWaitTask, tmp_path: Path) -> None:
    names = ["app:1", "reg.example:5000/team/app:2", "docker.io/library/base:3", "docker.io/user/tool:4"]
    images = [image([ONE, name.encode()], codec="none", tag=name) for name in names]
    push(registry, task, write_layout(tmp_path / "layout", images), "mirror/")
    wanted = [("mirror/app", "1"), ("mirror/team/app", "2"), ("mirror/base", "3"), ("mirror/user/tool", "4")]
    assert {key: one.digest for key, one in zip(wanted, images, strict=True)} == registry.tags


def test_what_two_repositories_share_is_sent_once_and_mounted(
    registry: ScriptedRegistry, task: NoWaitTask, tmp_path: Path
) -> None:
    images = [image([DATA], codec="none", tag="a:1"), image([DATA, ONE], codec="none", tag="b:1")]
    push(registry, task, write_layout(tmp_path / "layout", images), "mirror/")
    assert all(has_image(registry, f"mirror/{name}", one) for name, one in zip("ab", images, strict=True))
    assert len({data for one in images for data in (one.config, *one.layers)}) == len(registry.sent("PUT", UPLOAD))


def test_one_name_for_two_images_is_wrong(registry: ScriptedRegistry, task: NoWaitTask, tmp_path: Path) -> None:
    layout = write_layout(tmp_path / "layout", [image([ONE], tag="a:1"), image([TWO], tag="b:1")])
    with pytest.raises(UsageError) as caught:
        push(registry, task, layout, "app:1")
    assert 2 == caught.value.exit_code
    same = write_layout(tmp_path / "same", [image([ONE], tag="x.example/a:1"), image([TWO], tag="y.example/a:1")])
    with pytest.raises(UsageError):
        push(registry, task, same, "mirror/")
    assert {} == registry.blobs


def test_two_images_for_one_tag_are_refused_before_anything_is_sent(registry: ScriptedRegistry, task: NoWaitTask) -> None:
    one, two = image([ONE], codec="none"), image([TWO], codec="none")
    name = f"{registry.host}/app:1"
    roots = tuple(OutputImage(made.descriptor, (name,)) for made in (one, two))
    held = tuple(BytesBlob(data, Digest.parse(key)) for made in (one, two) for key, data in made.blobs.items())
    sink = RegistrySink(Client(registry.host, INSECURE, task), Repository(registry.host, "app"))
    with pytest.raises(UsageError, match="two different images"):
        sink.write(WriteRequest(roots, held), task, verify=False)
    assert [] == registry.requests


def test_an_image_without_a_name_has_no_place_below_a_prefix(
    registry: ScriptedRegistry, task: NoWaitTask, tmp_path: Path
) -> None:
    for name in (None, "1.0"):
        layout = write_layout(tmp_path / str(name), [image([ONE], tag=name)])
        with pytest.raises(UsageError):
            push(registry, task, layout, "mirror/")
        push(registry, task, layout, "mirror/", names=("team/app:1",))
        assert {("mirror/team/app", "1"): image([ONE]).digest} == registry.tags


def test_a_digest_as_destination_gets_no_tag_and_takes_that_image_alone(
    registry: ScriptedRegistry, task: NoWaitTask, tmp_path: Path
) -> None:
    one = image([ONE], tag="app:1")
    layout = write_layout(tmp_path / "layout", [one])
    with pytest.raises(UsageError):
        push(registry, task, layout, f"app@{sha256(b'another')}")
    assert {} == registry.manifests
    push(registry, task, layout, f"app@{one.digest}")
    assert has_image(registry, "app", one)
    assert {} == registry.tags


def test_a_rehearsal_sends_nothing_and_knows_what_is_there(
    registry: ScriptedRegistry, task: NoWaitTask, tmp_path: Path
) -> None:
    one = image([ONE, TWO], tag="app")
    registry.put_blob("app", one.layers[0])
    to = WriteOptions(f"docker://{registry.host}/app:1", dry_run=True)
    written = copy([str(write_layout(tmp_path / "layout", [one]))], session(task), to)
    assert len(one.layers[0]) == written.skipped
    assert [] == [word for word in paths(registry) if not re.match("HEAD|GET", word)]


@pytest.mark.parametrize("order", [("1.0", "1.0-amd64"), ("1.0-amd64", "1.0"), ("all", "inner", "one")], ids="-".join)
def test_an_index_comes_after_every_child_it_names_also_one_with_a_tag_of_its_own(
    order: tuple[str, ...], registry: ScriptedRegistry, task: NoWaitTask, tmp_path: Path
) -> None:
    one, two = image([ONE], codec="none"), image([TWO], codec="none")
    inner = pretty(index_of([one.descriptor, two.descriptor]))
    nested = {"mediaType": mediatypes.OCI_INDEX, "digest": sha256(inner), "size": len(inner)}
    outer = pretty(index_of([nested]))
    documents = {"1.0": inner, "inner": inner, "all": outer, "1.0-amd64": one.raw, "one": one.raw}
    held = {**one.blobs, **two.blobs, sha256(inner): inner, sha256(outer): outer}
    blobs = tuple(BytesBlob(data, Digest.parse(key)) for key, data in held.items())
    roots = []
    for tag in order:
        kind = mediatypes.OCI_MANIFEST if documents[tag] == one.raw else mediatypes.OCI_INDEX
        fields = {"mediaType": kind, "digest": sha256(documents[tag]), "size": len(documents[tag])}
        roots.append(OutputImage(fields, (f"{registry.host}/app:{tag}",)))
    RegistrySink(Client(registry.host, INSECURE, task), None).write(WriteRequest(tuple(roots), blobs), task, verify=False)
    assert {("app", tag): sha256(documents[tag]) for tag in order} == registry.tags
    assert {201} == {sent.status for sent in registry.sent("PUT", "/manifests/")}


@pytest.mark.parametrize("kind", ["a/b\r\nX-Evil: 1", "a/b\n x", "é/x", "a/b; c=d", ""])
def test_what_is_no_media_type_becomes_no_header(kind: str, registry: ScriptedRegistry, task: NoWaitTask) -> None:
    with pytest.raises(FormatError, match="invalid media type"):
        client(registry, task).put_document("app", "1", kind, b"{}", digest(b"{}"))
    assert [] == registry.requests


@pytest.mark.parametrize("status", [400, 404, 405, 406, 501])
def test_a_registry_that_knows_no_list_of_referrers_is_asked_for_the_tag(
    status: int, registry: ScriptedRegistry, task: NoWaitTask
) -> None:
    registry.put_manifest("app", mediatypes.OCI_INDEX, pretty(index_of([])), "1")
    registry.faults.append(Fault("GET", "/referrers/", status=status))
    assert [] == open_remote(registry, "app:1", task).referrers(digest(b"x"))  # type: ignore[attr-defined]
    assert registry.sent("GET", f"/manifests/sha256-{digest(b'x').encoded}$")
