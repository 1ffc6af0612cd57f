"""`--referrers`: what speaks of images goes with them, from registries and to them, whether they keep such lists or not."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from support import places
from support.copying import AMD, ARM, ONE, TWO
from support.images import Image, image, index_of, pretty, sha256, write_layout
from support.registries import NO_REGISTRY_SETTINGS, bytes_transferred, has_image, put_images, put_index
from support.registry import Fault, ScriptedRegistry
from support.report import done, report_of

from ocitool.spec import mediatypes

Run = Callable[..., Any]


@pytest.fixture(params=[True, False], ids=["lists", "no lists"])
def source(request: pytest.FixtureRequest) -> Iterator[ScriptedRegistry]:
    """With the API of referrers, and without."""
    with ScriptedRegistry(referrers=request.param) as one:
        yield one


def about(subject: dict[str, Any], kind: str) -> Image:
    """An artifact of this kind that speaks of a manifest."""
    one = image([kind.encode()], config=b"{}", codec="none")
    one.manifest |= {"artifactType": kind, "annotations": {"of": kind}}
    one.manifest["config"]["mediaType"] = "application/vnd.oci.empty.v1+json"
    one.manifest["subject"] = {name: subject[name] for name in ("mediaType", "digest", "size")}
    return one


def tag_of(digest: str, ending: str = "") -> str:
    return digest.replace(":", "-") + ending


def listing(referrer: Image) -> dict[str, Any]:
    """How a list of referrers tells of it."""
    fields = referrer.manifest
    return {
        "mediaType": fields["mediaType"], "digest": referrer.digest, "size": len(referrer.raw),
        "artifactType": fields["artifactType"], "annotations": fields["annotations"],
    }  # fmt: skip


class IndexWithReferrers(NamedTuple):
    """An index, its images, what speaks of what (by digest), and cosign's signatures by tag."""

    index: str
    images: list[Image]
    referrers: dict[str, list[Image]]
    cosign: dict[str, Image]

    @property
    def artifacts(self) -> list[Image]:
        return [one for found in self.referrers.values() for one in found] + list(self.cosign.values())


def spoken(registry: ScriptedRegistry, repo: str = "app") -> IndexWithReferrers:
    """Signed and described at repo:1 in all ways: an index with a signature and an SBOM, the SBOM with a signature, one of its
    images with an SBOM, the index and the other image with cosign's tags. Where there is no API, tags stand for the lists."""
    images = [image([ONE], platform=AMD), image([ONE, TWO], platform=ARM, architecture="arm64")]
    digest = put_index(registry, repo, images, "1")
    raw = registry.manifests[repo, digest][1]
    top = {"mediaType": mediatypes.OCI_INDEX, "digest": digest, "size": len(raw)}
    bill = about(top, "a/bill")
    referrers = {
        digest: [about(top, "a/signature"), bill],
        images[1].digest: [about(images[1].descriptor, "a/own-bill")],
        bill.digest: [about(bill.descriptor, "a/signature-of-the-bill")],
    }
    cosign = {
        tag_of(digest, ".sig"): image([b"signature"], config=b'{"of":"index"}', codec="none"),
        tag_of(images[0].digest, ".att"): image([b"attestation"], config=b'{"of":"image"}', codec="none"),
    }
    for subject, found in referrers.items():
        put_images(registry, repo, *found)
        if not registry.referrers:
            raw = pretty(index_of([listing(one) for one in found]))
            registry.put_manifest(repo, mediatypes.OCI_INDEX, raw, tag_of(subject))
    for tag, one in cosign.items():
        put_images(registry, repo, one, tag=tag)
    return IndexWithReferrers(digest, images, referrers, cosign)


def arrived(registry: ScriptedRegistry, repo: str, all_of: IndexWithReferrers, *tags: str) -> None:
    """All of it is in the repository, and the index is under these tags; what speaks of it has no tags but cosign's, and those
    of the lists that the registry does not keep, which are complete."""
    assert registry.manifests[repo, all_of.index][0] == mediatypes.OCI_INDEX
    assert all(has_image(registry, repo, one) for one in (*all_of.images, *all_of.artifacts))
    wanted = dict.fromkeys(tags, all_of.index) | {tag: one.digest for tag, one in all_of.cosign.items()}
    found = {tag: digest for (name, tag), digest in registry.tags.items() if name == repo}
    lists = {} if registry.referrers else {tag_of(subject): ones for subject, ones in all_of.referrers.items()}
    assert wanted == {tag: digest for tag, digest in found.items() if tag not in lists}
    for tag, ones in lists.items():
        media_type, raw = registry.manifests[repo, found[tag]]
        assert mediatypes.OCI_INDEX == media_type
        entries = json.loads(raw)["manifests"]
        assert sorted(map(str, map(listing, ones))) == sorted(map(str, entries))


@pytest.mark.parametrize("place", ["out/", "out.tar"])
def test_what_speaks_of_an_index_and_its_images_comes_along_and_goes_back(
    place: str, source: ScriptedRegistry, run: Run, tmp_path: Path
) -> None:
    all_of = spoken(source)
    words = ("--referrers", "--all-platforms")
    found = done(run, "pull", f"{source.host}/app:1", place, *words)
    assert bytes_transferred(source) == found["bytes"]["transferred"]
    blobs = places.blobs(tmp_path / place)
    for one in (*all_of.images, *all_of.artifacts):
        assert one.blobs.items() <= blobs.items()
    names = places.names(tmp_path / place)
    assert all_of.index == names[f"{source.host}/app:1"]
    assert {one.digest for one in all_of.cosign.values()} <= set(names.values())
    assert 2 == len(found["images"])  # what speaks of an image is none
    for referrers in (True, False):
        with ScriptedRegistry(referrers=referrers) as other:
            found = done(run, "copy", *words, place, f"docker://{other.host}/mirror/")
            arrived(other, "mirror/app", all_of, "1")
            if referrers:  # else lists grow while they are read
                assert bytes_transferred(other) == found["bytes"]["transferred"]


@pytest.mark.parametrize("referrers", [True, False], ids=["to lists", "to no lists"])
def test_from_registry_to_registry(referrers: bool, source: ScriptedRegistry, ocitool: Run, tmp_path: Path) -> None:
    all_of = spoken(source)
    with ScriptedRegistry(referrers=referrers) as other:
        trust = ("--insecure-host", source.host, "--insecure-host", other.host)
        words = ("copy", "--referrers", "--all-platforms", f"docker://{source.host}/app:1", f"docker://{other.host}/new:2")
        report_of(ocitool(*words, *trust, "--format", "json", env={**NO_REGISTRY_SETTINGS, "HOME": str(tmp_path)}))
        arrived(other, "new", all_of, "2")


def test_within_a_registry_what_speaks_of_an_image_is_mounted(source: ScriptedRegistry, run: Run) -> None:
    all_of = spoken(source)
    done(run, "copy", "--referrers", "--all-platforms", f"docker://{source.host}/app:1", f"docker://{source.host}/new:2")
    arrived(source, "new", all_of, "2")
    assert 0 == source.bytes_received


def test_without_being_asked_nothing_of_it_comes(source: ScriptedRegistry, run: Run, tmp_path: Path) -> None:
    all_of = spoken(source)
    done(run, "pull", f"{source.host}/app:1", "out/", "--all-platforms")
    assert {one.digest for one in all_of.images} | {all_of.index} == {
        name for name, data in places.blobs(tmp_path / "out").items() if b'"schemaVersion"' in data
    }
    assert [] == source.sent("GET|HEAD", "/referrers/|sha256-")


def test_of_one_image_of_an_index_comes_what_speaks_of_that_image(source: ScriptedRegistry, run: Run, tmp_path: Path) -> None:
    all_of = spoken(source)
    done(run, "pull", f"{source.host}/app:1", "out/", "--referrers", "--platform", "linux/arm64")
    arm = all_of.images[1]
    wanted = {arm.digest, *(one.digest for one in all_of.referrers[arm.digest])}
    found = {name for name, data in places.blobs(tmp_path / "out").items() if b'"schemaVersion"' in data}
    assert wanted == found


def test_a_list_of_several_pages_is_read_whole(run: Run, tmp_path: Path) -> None:
    with ScriptedRegistry(referrers_page=1) as registry:
        all_of = spoken(registry)
        done(run, "pull", f"{registry.host}/app:1", "out/", "--referrers", "--all-platforms")
    assert all(one.blobs.items() <= places.blobs(tmp_path / "out").items() for one in all_of.artifacts)


def test_a_signature_that_stands_in_a_layout_goes_to_each_of_its_images_repositories(run: Run, tmp_path: Path) -> None:
    one = image([ONE], tag="team/app:1")
    mark = about(one.descriptor, "a/signature")
    write_layout(tmp_path / "in", [one, replace(one, tag="team/other:2"), mark])
    with ScriptedRegistry() as registry:
        done(run, "copy", "--referrers", "in", f"docker://{registry.host}/mirror/")
        assert {("mirror/team/app", "1"): one.digest, ("mirror/team/other", "2"): one.digest} == registry.tags
        for repo in ("mirror/team/app", "mirror/team/other"):
            assert has_image(registry, repo, one)
            assert has_image(registry, repo, mark), repo


@pytest.mark.parametrize("place", ["out/", "out.tar"])
def test_twice_the_same_adds_nothing(place: str, run: Run, tmp_path: Path) -> None:
    with ScriptedRegistry(referrers=False) as registry:
        all_of = spoken(registry)
        done(run, "pull", f"{registry.host}/app:1", place, "--referrers", "--all-platforms")
        entries = places.index(tmp_path / place)["manifests"]
        words = ("--force",) if place == "out.tar" else ()
        done(run, "pull", f"{registry.host}/app:1", place, "--referrers", "--all-platforms", *words)
        assert entries == places.index(tmp_path / place)["manifests"]
        for _ in range(2):
            done(run, "copy", "--referrers", "--all-platforms", place, f"docker://{registry.host}/mirror/")
            arrived(registry, "mirror/app", all_of, "1")
    assert sha256(ONE) not in places.blobs(tmp_path / place)


@pytest.mark.parametrize("odd", [{"mediaType": "a/b", "digest": "sha256:zz", "size": 3}, {"size": -1}, 3], ids=str)
def test_an_entry_of_a_list_that_is_no_descriptor_is_told_and_refuses_nothing(
    source: ScriptedRegistry, run: Run, tmp_path: Path, odd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    all_of = spoken(source)
    if source.referrers:
        given = source._get_referrers

        def more(call: Any) -> Any:
            reply = given(call)
            document = json.loads(reply.body)
            body = pretty({**document, "manifests": [odd, *document["manifests"]]})
            return replace(reply, body=body)

        monkeypatch.setattr(source, "_get_referrers", more)
    else:
        raw = pretty(index_of([odd, *(listing(one) for one in all_of.referrers[all_of.index])]))
        source.put_manifest("app", mediatypes.OCI_INDEX, raw, tag_of(all_of.index))
    result = run("copy", "--referrers", "--all-platforms", f"docker://{source.host}/app:1", tmp_path / "out.tar")
    assert (0, True) == (result.code, f"list of referrers of {all_of.index}, entry @0: a descriptor" in result.err), str(result)
    with tarfile.open(tmp_path / "out.tar") as archive:
        names = archive.getnames()
    assert all("blobs/" + one.digest.replace(":", "/") in names for one in all_of.artifacts)


# Referrers that are listed and not here


def test_a_referrer_that_a_registry_lists_and_has_not_is_told_and_refuses_nothing(run: Run, tmp_path: Path) -> None:
    with ScriptedRegistry(referrers=False) as registry:
        one, (here, gone) = image([ONE]), (about(image([ONE]).descriptor, kind) for kind in ("a/here", "a/gone"))
        put_images(registry, "app", one, tag="1")
        put_images(registry, "app", here)
        raw = pretty(index_of([listing(here), listing(gone)]))
        registry.put_manifest("app", mediatypes.OCI_INDEX, raw, tag_of(one.digest))
        result = run("copy", "--referrers", f"docker://{registry.host}/app:1", f"{tmp_path}/out/")
    assert 0 == result.code and f"{gone.digest}, listed as speaking of {one.digest}, is not here" in result.err, str(result)
    assert here.raw in places.blobs(tmp_path / "out").values()


@pytest.mark.parametrize("words", [(), ("--all-platforms",)], ids=["", "all platforms"])
@pytest.mark.parametrize("place", ["out/", "out.tar"])
def test_an_attestation_that_an_index_lists_and_is_not_here_is_told_and_refuses_nothing(
    place: str, words: tuple[str, ...], run: Run, tmp_path: Path
) -> None:
    one, gone = image([ONE], platform=AMD), image([TWO], platform={"os": "unknown", "architecture": "unknown"})
    gone.annotations = {
        "vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": one.digest,
    }  # fmt: skip
    raw = pretty(index_of([one.descriptor, gone.descriptor]))
    one.extra[sha256(raw)] = raw
    top = {"mediaType": mediatypes.OCI_INDEX, "digest": sha256(raw), "size": len(raw)}
    path = write_layout(tmp_path / "in", [one], index=index_of([top]))
    result = run("copy", "--referrers", *words, path, f"{tmp_path}/{place}")
    assert 0 == result.code and f"{gone.digest}, listed as speaking of" in result.err, str(result)
    assert one.raw in places.blobs(tmp_path / place).values()


@pytest.mark.parametrize("kept", [True, False], ids=["listed by tag", "beside"])
def test_a_referrer_of_a_layout_that_is_not_here_is_told(kept: bool, run: Run, tmp_path: Path) -> None:
    one = image([ONE], tag="1")
    gone = about(one.descriptor, "a/gone")
    raw = pretty(index_of([listing(gone)]))
    one.extra[sha256(raw)] = raw
    named = {"annotations": {"org.opencontainers.image.ref.name": tag_of(one.digest)}}
    by_tag = {"mediaType": mediatypes.OCI_INDEX, "digest": sha256(raw), "size": len(raw), **named}
    path = write_layout(tmp_path / "in", [one], index=index_of([one.descriptor, by_tag if kept else listing(gone)]))
    result = run("copy", "--referrers", f"{path}:1", f"{tmp_path}/out/")
    said = f"{gone.digest}, listed as speaking of {one.digest}, is not here" if kept else f"{gone.digest} is not here: whether"
    assert 0 == result.code and said in result.err, str(result)


def test_what_cannot_be_read_and_may_speak_of_an_image_is_told(run: Run, tmp_path: Path) -> None:
    one = image([ONE], tag="1")
    rotten = about(one.descriptor, "a/rotten")
    one.extra[rotten.digest] = b"x" * len(rotten.raw)
    path = write_layout(tmp_path / "in", [one], index=index_of([one.descriptor, rotten.descriptor]))
    result = run("copy", "--referrers", f"{path}:1", f"{tmp_path}/out/")
    assert 0 == result.code and f"{rotten.digest} cannot be read: whether it refers to an image" in result.err, str(result)


# Artifacts with a tag of their own, as `oras attach` and `oras push` leave them


BILLED = image([ONE], tag="1")


def named(one: Image, *tags: str) -> list[Image]:
    """The same under several tags."""
    return [replace(one, tag=tag) for tag in tags]


@pytest.mark.parametrize("place", ["out/", "out.tar"])
def test_an_artifact_that_speaks_of_an_image_keeps_its_tags(place: str, run: Run, tmp_path: Path) -> None:
    bill = about(BILLED.descriptor, "a/bill")
    write_layout(tmp_path / "in", [*named(BILLED, "r.io/app:1"), *named(bill, "r.io/app:1-bill", "r.io/app:bill")])
    done(run, "copy", "--referrers", "in", place)
    wanted = {"r.io/app:1": BILLED.digest, "r.io/app:1-bill": bill.digest, "r.io/app:bill": bill.digest}
    assert wanted == places.names(tmp_path / place)


@pytest.mark.parametrize("lists", [True, False], ids=["to lists", "to no lists"])
@pytest.mark.parametrize(
    ("names", "to", "wanted"),
    [
        (("r.io/app:1", "r.io/app:1-bill"), "mirror/", {("mirror/app", "1"), ("mirror/app", "1-bill")}),
        (("r.io/app:1", "r.io/app:1-bill"), "new:2", {("new", "2"), ("new", "1-bill")}),
        (("1", "1-bill"), "new:2", {("new", "2"), ("new", "1-bill")}),
        (("r.io/app:1", "r.io/bill:1"), "mirror/", {("mirror/app", "1"), ("mirror/bill", "1")}),
        (("r.io/app:1", "1-bill"), "mirror/", {("mirror/app", "1"), ("mirror/app", "1-bill")}),
    ],
)
def test_a_registry_has_the_tags_of_what_speaks_of_an_image(
    lists: bool, names: tuple[str, str], to: str, wanted: set[tuple[str, str]], run: Run, tmp_path: Path
) -> None:
    bill = about(BILLED.descriptor, "a/bill")
    write_layout(tmp_path / "in", [*named(BILLED, names[0]), *named(bill, names[1])])
    with ScriptedRegistry(referrers=lists) as registry:
        done(run, "copy", "--referrers", "in", f"docker://{registry.host}/{to}")
        found = {place for place in registry.tags if not place[1].startswith("sha256-")}
        assert wanted == found
        repo = to.partition(":")[0] if ":" in to else "mirror/app"
        assert has_image(registry, repo, bill)  # beside the image, wherever its tag is
        assert lists or [listing(bill)] == json.loads(
            registry.manifests[repo, registry.tags[repo, tag_of(BILLED.digest)]][1]
        )["manifests"]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "to", "why"),
    [("r.io/app:2", "new:2", "an image has it"), ("r.io/other:1-bill", "new:2", "it is of another repository")],
)
def test_a_tag_that_an_artifact_cannot_keep_is_told(name: str, to: str, why: str, run: Run, tmp_path: Path) -> None:
    bill = about(BILLED.descriptor, "a/bill")
    write_layout(tmp_path / "in", [*named(BILLED, "r.io/app:1"), *named(bill, name)])
    with ScriptedRegistry() as registry:
        result = run("copy", "--referrers", "in", f"docker://{registry.host}/{to}")
        assert 0 == result.code and f"does not keep the name {name}: {why}" in result.err, str(result)
        assert {("new", "2"): BILLED.digest} == registry.tags
        assert has_image(registry, "new", bill)


def test_the_signature_of_a_bill_keeps_its_tag_too(run: Run, tmp_path: Path) -> None:
    bill = about(BILLED.descriptor, "a/bill")
    mark = about(bill.descriptor, "a/signature")
    write_layout(tmp_path / "in", [*named(BILLED, "r.io/app:1"), *named(bill, "r.io/app:bill"), *named(mark, "r.io/app:mark")])
    with ScriptedRegistry() as registry:
        done(run, "copy", "--referrers", "in:r.io/app:1", f"docker://{registry.host}/new:2")
        tags = {("new", "2"): BILLED.digest, ("new", "bill"): bill.digest, ("new", "mark"): mark.digest}
        assert tags == registry.tags


def test_all_tags_of_a_registry_come_back_from_a_layout(run: Run, tmp_path: Path) -> None:
    with ScriptedRegistry() as registry:
        bill = about(BILLED.descriptor, "a/bill")
        put_images(registry, "app", BILLED, tag="1")
        put_images(registry, "app", bill, tag="1-bill")
        done(run, "copy", "--referrers", "--tags", "*", f"docker://{registry.host}/app", "out/")
        done(run, "copy", "--referrers", "out/", f"docker://{registry.host}/back/")
        assert {tag: name for (repo, tag), name in registry.tags.items() if repo == "app"} == {
            tag: name for (repo, tag), name in registry.tags.items() if repo == "back/app"
        }


@pytest.mark.parametrize("status", [403, 404, 429])
def test_it_is_said_if_a_registry_gives_no_list_of_referrers(status: int, run: Run, tmp_path: Path) -> None:
    with ScriptedRegistry(referrers=False) as registry:
        all_of = spoken(registry)
        registry.faults.append(Fault("GET", "/referrers/", status=status, headers={"Retry-After": "0"}))
        result = run("copy", "--referrers", "--all-platforms", f"docker://{registry.host}/app:1", "out/")
        said = f"{registry.host}/app: its list of referrers is not known: "
        assert (0, 1) == (result.code, result.err.count(said)), str(result)
        assert all(one.blobs.items() <= places.blobs(tmp_path / "out").items() for one in all_of.artifacts)


def test_an_edit_says_nothing_of_a_registry_that_keeps_no_lists(run: Run) -> None:
    with ScriptedRegistry(referrers=False) as registry:
        put_images(registry, "app", BILLED, tag="1")
        result = run("edit", f"docker://{registry.host}/app:1", "out/", "--env", "A=B")
        assert (0, False) == (result.code, "referrers" in result.err), str(result)


@pytest.mark.parametrize("lists", [True, False], ids=["to lists", "to no lists"])
def test_an_index_that_speaks_of_an_image_keeps_its_tag(lists: bool, run: Run, tmp_path: Path) -> None:
    inner = image([TWO], platform=AMD)
    subject = {name: BILLED.descriptor[name] for name in ("mediaType", "digest", "size")}
    raw = pretty(index_of([inner.descriptor], subject=subject, artifactType="a/collection"))
    inner.extra[sha256(raw)] = raw
    top = {"mediaType": mediatypes.OCI_INDEX, "digest": sha256(raw), "size": len(raw)}
    named_entry = {**top, "annotations": {"org.opencontainers.image.ref.name": "collection"}}
    write_layout(tmp_path / "in", [BILLED, inner], index=index_of([BILLED.descriptor, named_entry]))
    with ScriptedRegistry(referrers=lists) as registry:
        for words in (("--dry-run",), ()):
            done(run, "copy", "--referrers", "in", f"docker://{registry.host}/new:1", *words)
        assert {("new", "1"): BILLED.digest, ("new", "collection"): sha256(raw)}.items() <= registry.tags.items()
        assert has_image(registry, "new", replace(inner, extra={}))
        if not lists:
            entries = json.loads(registry.manifests["new", registry.tags["new", tag_of(BILLED.digest)]][1])["manifests"]
            assert [{**top, "artifactType": "a/collection"}] == entries


def test_an_image_that_an_index_leads_to_as_well_keeps_both_names(run: Run, tmp_path: Path) -> None:
    one = image([ONE], platform=AMD)
    raw = pretty(index_of([one.descriptor]))
    one.extra[sha256(raw)] = raw
    entries = [
        {**entry, "annotations": {"org.opencontainers.image.ref.name": f"r.io/app:{tag}"}}
        for tag, entry in (
            ("alone", one.descriptor), ("all", {"mediaType": mediatypes.OCI_INDEX, "digest": sha256(raw), "size": len(raw)})
        )
    ]  # fmt: skip
    write_layout(tmp_path / "in", [one], index=index_of(entries))
    done(run, "copy", "--referrers", "in", "out/")
    assert {"r.io/app:alone": one.digest, "r.io/app:all": one.digest} == places.names(tmp_path / "out")


@pytest.mark.parametrize("place", ["docker://{host}/new:1", "out/"])
def test_an_artifacts_tag_does_not_take_the_place_of_an_index(place: str, run: Run, tmp_path: Path) -> None:
    write_layout(tmp_path / "in", [BILLED, *named(about(BILLED.descriptor, "a/bill"), "bill")])
    with ScriptedRegistry() as registry:
        index = put_index(registry, "new", [image([ONE], platform=AMD), image([TWO], platform=ARM)], "bill")
        place = place.format(host=registry.host)
        if place == "out/":
            done(run, "copy", "--all-platforms", f"docker://{registry.host}/new:bill", place, "--tag", "bill")

        def held() -> str:
            return places.names(tmp_path / place)["bill"] if place == "out/" else registry.tags["new", "bill"]

        for words in ((), ("--dry-run",)):
            result = run("copy", "--referrers", "in", place, *words)
            assert (9, True) == (result.code, "an artifact would take its place" in result.err), str(result)
            assert index == held()
        done(run, "copy", "--referrers", "in", place, "--force")
        assert index != held()
