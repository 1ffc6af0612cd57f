"""Edits of multi-arch indexes, and what speaks of an image beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from support.images import Image, image, index_of, pretty, sha256, write_layout

from ocitool.digest import Digest
from ocitool.images.indexes import edit, referrers
from ocitool.spec.manifest import Index
from ocitool.transports.layout import Layout

ONE, TWO, NEW = (Digest.parse("sha256:" + digit * 64) for digit in "123")
TYPE = "application/vnd.oci.image.manifest.v1+json"


def entry(digest: Digest, **more: Any) -> dict[str, Any]:
    return {"mediaType": TYPE, "digest": str(digest), "size": 7, **more}


def attestation(digest: Digest, subject: Digest) -> dict[str, Any]:
    notes = {"vnd.docker.reference.digest": str(subject), "vnd.docker.reference.type": "attestation-manifest"}
    return entry(digest, platform={"os": "unknown", "architecture": "unknown"}, annotations=notes)


def index(*entries: dict[str, Any], **more: Any) -> Index:
    fields = index_of(entries, **more)
    return Index(json.dumps(fields, indent=3).encode(), fields, "x")


NEWER = {"mediaType": "other", "digest": str(NEW), "size": 9}


def test_an_entry_keeps_its_place_platform_annotations_and_unknown_members() -> None:
    more = {"platform": {"os": "linux", "x": 1}, "annotations": {"a": "b"}, "x-y": [1]}
    found = edit(index(entry(TWO), entry(ONE, **more), annotations={"k": "v"}), {ONE: NEWER})
    assert index_of([entry(TWO), {**NEWER, **more}], annotations={"k": "v"}) == json.loads(found.raw)
    assert () == found.dropped


def test_embedded_content_and_urls_go_with_the_content() -> None:
    found = edit(index(entry(ONE, data="eA==", urls=["https://example.test"])), {ONE: NEWER})
    assert [NEWER] == json.loads(found.raw)["manifests"]


def test_every_entry_of_a_digest_is_replaced() -> None:
    found = edit(index(entry(ONE, platform={"os": "a"}), entry(ONE, platform={"os": "b"})), {ONE: NEWER})
    assert [str(NEW)] * 2 == [item["digest"] for item in json.loads(found.raw)["manifests"]]


def test_attestations_of_what_is_replaced_or_dropped_go_and_others_stay() -> None:
    three, four = (Digest.parse("sha256:" + digit * 64) for digit in "45")
    before = index(entry(ONE), entry(TWO), attestation(three, ONE), attestation(four, TWO))
    replaced, dropped = edit(before, {ONE: NEWER}), edit(before, {ONE: None})
    assert [NEWER, entry(TWO), attestation(four, TWO)] == json.loads(replaced.raw)["manifests"]
    assert [entry(TWO), attestation(four, TWO)] == json.loads(dropped.raw)["manifests"]
    assert [three] == [item.digest for item in replaced.dropped] == [item.digest for item in dropped.dropped]


def test_an_index_that_names_nothing_of_it_keeps_its_bytes() -> None:
    before = index(entry(ONE), attestation(NEW, ONE))
    assert (before.raw, ()) == edit(before, {TWO: None})
    assert (before.raw, ()) == edit(before, {})
    assert (before.raw, ()) == edit(before, {ONE: entry(ONE)})


# Referrers


def artifact(subject: Digest | None, tag: str | None = None, **more: Any) -> Image:
    made = image([], config=b"{}", tag=tag)
    made.manifest.update({"artifactType": "application/x-sbom", **more})
    if subject is not None:
        made.manifest["subject"] = {"mediaType": TYPE, "digest": str(subject), "size": 7}
    return made


def test_what_speaks_of_an_image_is_found_by_subject_tag_and_annotation(tmp_path: Path) -> None:
    one = image([b""], tag="app")
    subject = Digest.parse(one.digest)
    other = Digest.parse(sha256(b"other"))
    speakers = [
        artifact(subject), artifact(None, f"sha256-{subject.encoded}.sig", a=1),
        artifact(None, f"sha256-{subject.encoded}.att", a=2), artifact(None, f"sha256-{subject.encoded}", a=3),
        artifact(other, a=4), artifact(None, f"sha256-{other.encoded}.sig", a=5),
    ]  # fmt: skip
    speakers.append(artifact(None, a=6))
    speakers[-1].annotations = attestation(ONE, subject)["annotations"]
    source = Layout(str(write_layout(tmp_path / "l", [one, *speakers])))
    found = {(item.kind, str(item.digest)) for item in referrers(source, [subject])}
    kinds = ["application/x-sbom", "signature", "attestation", "list of referrers"]
    assert {*zip(kinds, (one.digest for one in speakers[:4]), strict=True), ("attestation", speakers[-1].digest)} == found
    assert () == referrers(source, [ONE])
    assert () == referrers(source, [])


def test_what_speaks_of_an_image_of_a_nested_index_is_found(tmp_path: Path) -> None:
    one = image([b""])
    about = artifact(Digest.parse(one.digest))
    inner = pretty(index_of([one.descriptor, about.descriptor]))
    one.extra = {sha256(inner): inner, **about.blobs}
    top = {"mediaType": "application/vnd.oci.image.index.v1+json", "digest": sha256(inner), "size": len(inner)}
    source = Layout(str(write_layout(tmp_path / "l", [one], index=index_of([top]))))
    assert [about.digest] == [str(item.digest) for item in referrers(source, [Digest.parse(one.digest)])]
