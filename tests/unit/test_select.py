"""Which image a reference means: names, positions, digests, platforms, and what is no image."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from support.images import Image as Made
from support.images import image, index_of, layer_tar, pretty, sha256, write_docker_archive, write_layout

from ocitool import reference
from ocitool.blob import Blob, BytesBlob
from ocitool.digest import Digest
from ocitool.errors import FormatError, IntegrityError, LimitError, NotFoundError, OcitoolError, UsageError
from ocitool.images import platform_choice, select
from ocitool.images.image import Image
from ocitool.images.index_children import all_children, index_children
from ocitool.images.platform_choice import for_platform, single
from ocitool.images.platforms import matches, parse_platform
from ocitool.images.select import targets
from ocitool.spec import mediatypes
from ocitool.spec.manifest import Descriptor, Index, Platform
from ocitool.task import Task
from ocitool.transports.opening import Opened, open_source

ROOT = Path(__file__).resolve().parents[2]
MULTI = f"{ROOT}/testdata/encodings/multi.tar"
MULTIARCH = f"{ROOT}/testdata/multiarch"
LINUX = {"os": "linux", "architecture": "amd64"}


def opened(text: str | Path) -> Opened:
    with Task() as task:
        return open_source(str(text), "documents", task)


def picked(text: str | Path, platform: str | None = None) -> Image:
    return single(opened(text), platform)


@pytest.fixture(autouse=True)
def amd64(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every test runs as on linux/amd64."""
    pick = parse_platform
    monkeypatch.setattr(platform_choice, "parse_platform", lambda platform: pick(platform or "linux/amd64"))
    yield


def made(text: str = "x", **changes: Any) -> Made:
    return image([layer_tar([(text, b"")])], **changes)


# Several images


def test_several_images_and_none_picked_are_named() -> None:
    with pytest.raises(NotFoundError) as caught:
        picked(MULTI)
    assert all(name in (caught.value.hint or "") for name in ("shop:1.0", "shop:1.1", "shop:latest", "pair:a", "pair:b"))


@pytest.mark.parametrize(
    ("selector", "tag"),
    [("shop:1.0", "shop:1.0"), ("shop", "shop:latest"), ("docker.io/library/shop:1.1", "shop:1.1"), ("@2", "pair:a"),
     ("registry.example:5000/team/shop:1.1", "shop:1.1"), ("pair:b", "pair:b")],
)  # fmt: skip
def test_image_is_picked_by_name_or_position(selector: str, tag: str) -> None:
    assert tag in picked(f"{MULTI}:{selector}").tags


def test_image_of_an_archive_is_picked_by_its_id() -> None:
    image_id = picked(f"{MULTI}:@3").image_id
    assert picked(f"{MULTI}:@{image_id}").tags == ("pair:b",)


@pytest.mark.parametrize("selector", ["nothing", "shop:9", "@4", "@sha256:" + "0" * 64])
@pytest.mark.parametrize("where", [MULTI, MULTIARCH])
def test_what_is_not_there_is_not_found(selector: str, where: str) -> None:
    with pytest.raises(NotFoundError):
        picked(f"{where}:{selector}".replace("@4", "@9"))


@pytest.mark.parametrize("digest", ["manifest", "config"])
def test_image_of_a_layout_is_picked_by_the_digest_of_manifest_or_config(digest: str, tmp_path: Path) -> None:
    a, b = made("a", tag="a"), made("b", tag="b")
    write_layout(tmp_path / "l", [a, b])
    text = b.digest if digest == "manifest" else sha256(b.config)
    assert picked(f"{tmp_path}/l:@{text}").tags == ("b",)


def test_manifest_inside_a_nested_index_is_picked_by_its_digest() -> None:
    digest = picked(f"{MULTIARCH}:arm64").digest
    assert picked(f"{MULTIARCH}:@{digest}").digest == digest


def test_empty_source_holds_no_image(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no image"):
        picked(write_layout(tmp_path / "l", []))


def test_bare_tag_picks_also_where_the_full_name_is_known() -> None:
    assert picked(f"{ROOT}/testdata/encodings/docker-25.tar:1.1").tags == ("shop:1.1",)


def test_two_tags_of_one_manifest_are_one_image(tmp_path: Path) -> None:
    one_image = made(tag="a")
    other = {**one_image.descriptor, "annotations": {"org.opencontainers.image.ref.name": "b"}}
    write_layout(tmp_path / "l", [one_image], index=index_of([one_image.descriptor, other]))
    assert picked(tmp_path / "l").tags == ("a", "b")


def test_nameless_manifests_of_several_platforms_are_one_image(tmp_path: Path) -> None:
    a, b = (made(arch, platform={"os": "linux", "architecture": arch}, architecture=arch) for arch in ("amd64", "arm64"))
    write_layout(tmp_path / "l", [a, b])
    assert str(picked(tmp_path / "l", "linux/arm64").digest) == b.digest


def test_nameless_manifests_for_one_platform_are_several_images(tmp_path: Path) -> None:
    write_layout(tmp_path / "l", [made("a", platform=LINUX), made("b", platform=LINUX)])
    with pytest.raises(NotFoundError, match="2 images"):
        picked(tmp_path / "l")


# Platforms


@pytest.mark.parametrize(("platform", "architecture"), [(None, "amd64"), ("linux/arm64", "arm64"), ("linux/arm64/v8", "arm64")])
@pytest.mark.parametrize("tag", ["latest", "nested"])
def test_platform_picks_from_an_index_and_from_indexes_in_it(tag: str, platform: str | None, architecture: str) -> None:
    assert picked(f"{MULTIARCH}:{tag}", platform).platform.architecture == architecture


@pytest.mark.parametrize("platform", ["linux/s390x", "windows/amd64", "linux/arm64/v9"])
def test_platform_that_is_not_offered_is_not_found_and_the_others_are_named(platform: str) -> None:
    with pytest.raises(NotFoundError) as caught:
        picked(f"{MULTIARCH}:latest", platform)
    assert "linux/amd64" in (caught.value.hint or "")


@pytest.mark.parametrize("platform", ["linux", "linux/", "a/b/c/d", ""])
def test_what_is_no_platform_is_refused(platform: str) -> None:
    with pytest.raises(UsageError):
        parse_platform(platform)


def test_only_image_of_an_index_is_taken_whatever_the_host() -> None:
    assert picked(f"{MULTIARCH}:only-arm64").platform.architecture == "arm64"


def test_only_image_of_an_index_is_not_taken_for_a_platform_that_was_asked_for() -> None:
    with pytest.raises(NotFoundError):
        picked(f"{MULTIARCH}:only-arm64", "linux/amd64")


def test_single_image_is_not_taken_for_another_platform() -> None:
    with pytest.raises(NotFoundError):
        picked(f"{MULTIARCH}:arm64", "linux/amd64")


def test_missing_platform_is_fatal_only_when_asked_for() -> None:
    assert picked(f"{MULTIARCH}:partial").platform.architecture == "amd64"
    with pytest.raises(NotFoundError):
        picked(f"{MULTIARCH}:partial", "linux/s390x")


def test_images_of_an_index_have_its_tag() -> None:
    assert picked(f"{MULTIARCH}:latest").tags == ("latest",)


@pytest.mark.parametrize(
    ("wanted", "offered", "fits"),
    [
        ("linux/arm64", Platform("linux", "arm64", "v8"), True),
        ("linux/arm64/v8", Platform("linux", "arm64", None), True),
        ("linux/arm", Platform("linux", "arm", "v7"), True),
        ("linux/arm/v7", Platform("linux", "arm", "v6"), False),
        ("linux/amd64", Platform("linux", "arm64", None), False),
        ("linux/amd64", Platform("windows", "amd64", None), False),
        ("linux/amd64", None, False),
    ],
)
def test_platform_suits(wanted: str, offered: Platform | None, fits: bool) -> None:
    assert matches(parse_platform(wanted), offered) is fits


# What is no image


def test_artifact_is_refused_where_an_image_is_needed() -> None:
    with pytest.raises(UsageError, match="artifact"):
        picked(f"{MULTIARCH}:notes")


def test_attestation_is_refused_where_an_image_is_needed() -> None:
    source = opened(MULTIARCH).source
    assert source.index is not None
    digest = next(e.descriptor.digest for e, _ in all_children(source, source.index) if e.kind == "attestation")
    with pytest.raises(UsageError, match="attestation"):
        picked(f"{MULTIARCH}:@{digest}")


def test_attestations_are_no_platform_of_an_index() -> None:
    (target,) = targets(opened(f"{MULTIARCH}:latest"))
    offered = [str(platform) for platform, _ in platform_choice.platforms(opened(MULTIARCH).source, target)]
    assert offered == ["linux/amd64", "linux/arm64/v8"]


# Indexes in indexes


class Fake:
    """A source of documents in memory, of which nobody checks the digests."""

    transport, where = reference.LAYOUT, "fake"
    remote = False
    records = ()
    manifests: ClassVar[dict[Any, Any]] = {}

    def __init__(self, index: dict[str, Any], blobs: dict[str, bytes]) -> None:
        raw = pretty(index)
        self.index = Index(raw, index, "fake")
        self.names: dict[Digest, tuple[str, ...]] = {}
        self.blobs = blobs
        self.asked: list[str] = []

    def blob(self, descriptor: Descriptor) -> Blob | None:
        self.asked.append(str(descriptor.digest))
        data = self.blobs.get(str(descriptor.digest))
        return BytesBlob(data) if data is not None else None


def pointer(name: str, data: bytes, media_type: str = mediatypes.OCI_INDEX) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": "sha256:" + name * 64, "size": len(data)}


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A document that contains its own digest cannot be made, so digests are not checked here."""
    monkeypatch.setattr("ocitool.images.image.verified", lambda chunks, digest, size: chunks)


@pytest.mark.parametrize("circle", [["a"], ["a", "b"], ["a", "b", "c"]])
def test_indexes_in_a_circle_end(circle: list[str], unchecked: None) -> None:
    size = len(pretty(index_of([pointer("a", bytes(100))])))
    following = dict(zip(circle, [*circle[1:], circle[0]], strict=True))
    blobs = {"sha256:" + name * 64: pretty(index_of([pointer(after, bytes(size))])) for name, after in following.items()}
    assert {len(data) for data in blobs.values()} == {size}
    source = Fake(index_of([pointer("a", bytes(size))]), blobs)
    assert source.index is not None
    assert [entry.descriptor.digest.encoded[0] for entry, _ in all_children(source, source.index)] == circle


def nested(depth: int) -> Fake:
    blobs: dict[str, bytes] = {}
    index = index_of([])
    for _ in range(depth):
        raw = pretty(index)
        blobs[sha256(raw)] = raw
        index = index_of([{"mediaType": mediatypes.OCI_INDEX, "digest": sha256(raw), "size": len(raw)}])
    return Fake(index, blobs)


def test_indexes_nested_too_deep_are_refused() -> None:
    source = nested(12)
    with pytest.raises(LimitError, match="deep"):
        list(all_children(source, source.index))


def test_index_of_too_many_manifests_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ocitool.limits.INDEX_MANIFESTS", 2)
    source = Fake(index_of([pointer(name, b"x") for name in "abc"]), {})
    with pytest.raises(LimitError):
        list(all_children(source, source.index))


def test_document_that_thousands_of_descriptors_name_is_read_once() -> None:
    raw = made().raw
    descriptor = {"mediaType": mediatypes.OCI_MANIFEST, "digest": sha256(raw), "size": len(raw)}
    source = Fake(index_of([descriptor] * 5000), {sha256(raw): raw})
    entries = index_children(source, source.index)
    assert [] == source.asked  # until somebody asks for a document
    assert (5000, 1) == (sum(entry.document is not None for entry in entries), len(source.asked))


# Documents that contradict themselves (CVE-2021-41190)


def layout_of(tmp_path: Path, document: dict[str, Any], media_type: str) -> str:
    """A layout whose only manifest is this document, among the blobs of an honest image."""
    honest = made()
    raw = pretty(document)
    honest.extra[sha256(raw)] = raw
    descriptor = {"mediaType": media_type, "digest": sha256(raw), "size": len(raw)}
    return str(write_layout(tmp_path / "l", [honest], index=index_of([descriptor])))


@pytest.mark.parametrize("media_type", [mediatypes.OCI_MANIFEST, mediatypes.OCI_INDEX, "application/unknown"])
@pytest.mark.parametrize("key", ["layers", "config"])
def test_document_that_is_manifest_and_index_at_once_is_refused(key: str, media_type: str, tmp_path: Path) -> None:
    document = {"schemaVersion": 2, "manifests": [], key: made().manifest[key]}
    with pytest.raises(FormatError, match="at once"):
        picked(layout_of(tmp_path, document, media_type))


@pytest.mark.parametrize("inside", [True, False], ids=["document says so", "descriptor says so"])
def test_manifest_that_is_said_to_be_an_index_is_refused(inside: bool, tmp_path: Path) -> None:
    document = {**made().manifest}
    document["mediaType"] = mediatypes.OCI_INDEX if inside else mediatypes.OCI_MANIFEST
    with pytest.raises(FormatError):
        picked(layout_of(tmp_path, document, mediatypes.OCI_MANIFEST if inside else mediatypes.OCI_INDEX))


def test_index_that_is_said_to_be_a_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError):
        picked(layout_of(tmp_path, {"schemaVersion": 2, "manifests": []}, mediatypes.OCI_MANIFEST))


@pytest.mark.parametrize(
    ("spoil", "kind"),
    [({"size": 3}, IntegrityError), ({"digest": "sha256:" + "0" * 64}, NotFoundError)],
)
def test_manifest_that_is_not_what_its_descriptor_says_is_refused(
    spoil: dict[str, Any], kind: type[OcitoolError], tmp_path: Path
) -> None:
    honest = made()
    write_layout(tmp_path / "l", [honest], index=index_of([{**honest.descriptor, **spoil}]))
    with pytest.raises(kind):
        picked(tmp_path / "l")


def test_manifest_of_other_content_is_refused(tmp_path: Path) -> None:
    honest = made()
    path = write_layout(tmp_path / "l", [honest])
    (path / "blobs" / honest.digest.replace(":", "/")).write_bytes(honest.raw.replace(b"2", b"3", 1))
    with pytest.raises(IntegrityError):
        picked(path)


def test_image_of_a_docker_archive_and_of_its_id_are_one(tmp_path: Path) -> None:
    path = write_docker_archive(tmp_path / "a", [made("a", tag="a:1", codec="none"), made("b", codec="none")])
    assert picked(f"{path}:@1").image_id == picked(f"{path}:@{picked(f'{path}:@1').image_id}").image_id


def test_for_platform_prefers_the_first_that_suits() -> None:
    found = opened(f"{MULTIARCH}:latest")
    (target,) = targets(found)
    assert str(for_platform(found, target, None).platform) == "linux/amd64"


def test_whoever_lets_go_of_a_group_lets_go_of_what_was_read_of_it(tmp_path: Path) -> None:
    """A layout of thousands of images is gone through without all their manifests in memory."""
    layers = [layer_tar([(f"{n}", b"")]) for n in range(3)]
    place = write_layout(tmp_path / "it", [image([one], tag=f"app:{n}") for n, one in enumerate(layers)])
    names = opened(place)
    looks = []
    for group in select.groups(names):
        assert select.target(names.source, group).image is not None
        looks.append(weakref.ref(group.entries[0].probe))
        del group
        assert [None] * (len(looks) - 1) == [look() for look in looks[:-1]]
    assert 3 == len(looks)
