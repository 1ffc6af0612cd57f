"""Several images for one os/architecture in an index: each is known by its whole platform, and what is taken is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.images import docker_files, image, index_of, layer_tar, pretty, sha256, write_layout, write_tar
from support.indexes import AMD, ARM, INDEX, S390, linux, multi, of, windows
from support.report import done, report_of

Run = Callable[..., Any]
OLD, NEW = windows("10.0.17763.1"), windows("10.0.20348.1")
EROFS = "application/vnd.erofs.layer.v1"


def erofs(platform: Any) -> Any:
    made = of(platform, "erofs")
    made.manifest["layers"][0]["mediaType"] = EROFS
    return made


def taken(ocitool: Run, *words: Any) -> tuple[str, str]:
    """The digest of the image that a command takes, and what is told of the choice."""
    result = ocitool("inspect", "--format", "json", *words)
    (only,) = report_of(result)["images"]
    return only["digest"], " ".join(one["text"] for one in result.json()["notices"] if one["code"] == "platform")


@pytest.fixture
def twins(tmp_path: Path) -> tuple[Path, Any, Any]:
    first, second = of(OLD, "one"), of(NEW, "two")
    return multi(tmp_path / "twins", first, second), first, second


def test_an_os_version_picks_its_image(ocitool: Run, twins: Any) -> None:
    path, first, second = twins
    for version, one in (("10.0.17763.1", first), ("10.0.20348.1", second), ("10.0.20348", second)):
        assert (one.digest, "") == taken(ocitool, "--platform", f"windows({version})/amd64", path)


def test_an_os_version_that_is_not_there_is_not_found_and_the_others_are_named(ocitool: Run, twins: Any) -> None:
    result = ocitool("inspect", "--platform", "windows(10.0.99999.1)/amd64", twins[0])
    assert (3, True) == (result.code, "windows(10.0.20348.1)/amd64" in result.err)


def test_of_images_that_match_equally_the_first_is_taken_and_the_others_are_named(ocitool: Run, twins: Any) -> None:
    path, first, second = twins
    digest, message = taken(ocitool, "--platform", "windows/amd64", path)
    assert digest == first.digest
    assert (
        f"taken is windows(10.0.17763.1)/amd64 {first.digest}, and not windows(10.0.20348.1)/amd64 {second.digest}" in message
    )
    for words in (("ls",), ("cat",), ("copy",), ("squash",), ("edit", "--env", "K=1"), ("inspect", "--raw", "manifest")):
        rest = {"cat": ["f"], "copy": [f"{path}-out/"], "squash": [f"{path}-out/"], "edit": [f"{path}-out/"]}.get(words[0], [])
        result = ocitool(words[0], "--platform", "windows/amd64", path, *rest, *words[1:])
        assert (0, True) == (result.code, second.digest in result.err), words


def test_a_digest_picks_the_other(ocitool: Run, twins: Any) -> None:
    path, _, second = twins
    assert (second.digest, "") == taken(ocitool, f"{path}:@{second.digest}")


def test_reports_state_versions_and_features(ocitool: Run, tmp_path: Path, twins: Any) -> None:
    path = multi(tmp_path / "m", of(OLD), of(linux("erofs")))
    report = done(ocitool, "inspect", "--all-platforms", str(path))
    expected = [
        {"os": "windows", "architecture": "amd64", "variant": None, "osVersion": "10.0.17763.1"},
        {"os": "linux", "architecture": "amd64", "variant": None, "osFeatures": ["erofs"]},
    ]
    assert expected == [one["platform"] for one in report["images"]]
    assert expected == [one["platform"] for one in report["index"]["manifests"]]
    report = done(ocitool, "copy", "--all-platforms", str(path), f"{tmp_path}/out/")
    assert expected == [one["platform"] for one in report["images"]]
    assert "windows(10.0.17763.1)/amd64" in ocitool("inspect", "--all-platforms", path).out
    record = ocitool("unpack", "--platform", "windows/amd64", path, tmp_path / "u")
    assert 0 == record.code
    stated = json.loads((tmp_path / "u/image/reference.json").read_text())["platform"]
    assert ("10.0.17763.1", []) == (stated["osVersion"], stated["osFeatures"])


@pytest.mark.parametrize("words", [(), ("--platform", "linux/amd64")])
@pytest.mark.parametrize("feature", ["erofs", "soci"])
def test_an_image_that_needs_what_was_not_asked_for_comes_last(
    ocitool: Run, tmp_path: Path, feature: str, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    as_on_amd64(monkeypatch)
    plain, special = of(linux()), of(linux(feature), "special")
    for number, images in enumerate(((special, plain), (plain, special))):
        path = multi(tmp_path / str(number), *images)
        assert (plain.digest, "") == taken(ocitool, *words, path)
        assert (special.digest, "") == taken(ocitool, "--platform", f"linux(+{feature})/amd64", path)


def test_a_feature_alone_is_taken_and_told(ocitool: Run, tmp_path: Path) -> None:
    special = of(linux("erofs"))
    digest, message = taken(ocitool, "--platform", "linux/amd64", multi(tmp_path / "m", special, of(ARM)))
    assert (special.digest, True) == (digest, "linux(+erofs)/amd64, not quite linux/amd64" in message)


def test_an_image_that_cannot_be_worked_on_comes_last(ocitool: Run, tmp_path: Path) -> None:
    """An EROFS image whose descriptor says nothing of it."""
    special, plain = erofs(linux()), of(linux())
    digest, message = taken(ocitool, "--platform", "linux/amd64", multi(tmp_path / "m", special, plain))
    assert (plain.digest, True) == (digest, special.digest in message)
    assert special.digest == taken(ocitool, "--platform", "linux/amd64", multi(tmp_path / "n", special, of(ARM)))[0]


VARIANTS = [
    ("linux/amd64", "amd64", ["v3", None], None, ""),
    ("linux/amd64", "amd64", ["v3", "v1"], "v1", ""),
    ("linux/amd64", "amd64", ["v3", "v2"], "v2", "not quite linux/amd64"),
    ("linux/amd64/v3", "amd64", ["v1", "v3"], "v3", ""),
    ("linux/arm/v7", "arm", ["v6", "v7"], "v7", ""),
    ("linux/arm/v7", "arm", ["v6", None], None, ""),
    ("linux/arm", "arm", ["v5", "v6", "v7", "v8"], "v7", ""),
    ("linux/arm", "arm", ["v5", "v6"], "v6", "not quite linux/arm"),
    ("linux/arm64", "arm64", ["v9", "v8"], "v8", ""),
    ("linux/arm64/v8", "arm64", ["v9", None], None, ""),
    ("linux/aarch64", "arm64", ["v8"], "v8", ""),
]


@pytest.mark.parametrize(("asked", "architecture", "offered", "expected", "message"), VARIANTS)
def test_the_variant_that_a_host_would_take_is_taken(
    ocitool: Run, tmp_path: Path, asked: str, architecture: str, offered: list[str | None], expected: str | None, message: str
) -> None:
    def platform(variant: str | None) -> dict[str, Any]:
        return {"os": "linux", "architecture": architecture, **({"variant": variant} if variant else {})}

    images = {variant: of(platform(variant), str(variant)) for variant in offered}
    digest, notices = taken(ocitool, "--platform", asked, multi(tmp_path / "m", of(S390), *images.values()))
    assert images[expected].digest == digest
    assert message in notices if message else not notices


def test_two_manifests_of_one_platform_under_one_tag_are_told(ocitool: Run, tmp_path: Path) -> None:
    for platform in (linux(), None):  # stated by the descriptors, or by the configurations alone
        first, second = of(linux(), "one"), of(linux(), "two")
        for one in (first, second):
            one.tag, one.platform = "app", platform
        path = write_layout(tmp_path / str(platform), [first, second])
        digest, message = taken(ocitool, "--platform", "linux/amd64", f"{path}:app")
        assert (first.digest, True) == (digest, second.digest in message)


def test_nameless_manifests_of_two_os_versions_are_one_image(ocitool: Run, tmp_path: Path) -> None:
    path = write_layout(tmp_path / "l", [of(OLD, "one"), of(NEW, "two")])
    assert 0 == ocitool("cat", "--platform", "windows(10.0.20348.1)/amd64", path, "f").code
    arms = [of(ARM, "one"), of({**ARM, "variant": "v8"}, "two")]
    assert 3 == ocitool("cat", write_layout(tmp_path / "two", arms), "f").code  # two images, none picked


def test_what_a_configuration_leaves_out_its_descriptor_says(ocitool: Run, tmp_path: Path) -> None:
    """Bases are found by the platform that the index states, though no configuration says an os.version."""
    plain = {"os": "windows", "architecture": "amd64"}
    made = {}
    for name, more in (("base", []), ("app", [layer_tar([("app", b"")])])):
        images = []
        for platform in (OLD, NEW):
            one = image([layer_tar([("v", platform["os.version"].encode())]), *more], codec="none", **plain)
            one.platform = platform
            images.append(one)
        made[name] = multi(tmp_path / name, *images)
    report = done(ocitool, "squash", "--all-platforms", str(made["app"]), f"{tmp_path}/out/", "--keep-base", str(made["base"]))
    assert [2, 2] == [len(one["layers"]) for one in report["images"]]
    report = done(
        ocitool, "rebuild", "--all-platforms", str(made["app"]), f"{tmp_path}/re/", "--against", str(made["base"]),
    )  # fmt: skip
    assert ["same", "same"] == [one["layers"][0]["match"] for one in report["details"]["rebuilt"]]
    report = done(
        ocitool, "rebase", "--all-platforms", str(made["app"]), f"{tmp_path}/b/", "--old-base", str(made["base"]),
        "--new-base", str(made["base"]),
    )  # fmt: skip
    assert ["windows(10.0.17763.1)/amd64", "windows(10.0.20348.1)/amd64"] == [
        one["platform"] for one in report["details"]["rebased"]
    ]


@pytest.mark.parametrize(
    "words", [("edit", "--env", "K=1"), ("copy",), ("squash",), ("append", "--layer"), ("rebuild", "--against")]
)
def test_every_writer_keeps_each_image_of_one_platform(ocitool: Run, tmp_path: Path, twins: Any, words: Any) -> None:
    path, *images = twins
    options = [*words[1:]]
    if words[0] == "append":
        (tmp_path / "more").mkdir()
        options.append(tmp_path / "more")
    if words[0] == "rebuild":
        options.append(path)
    report = report_of(ocitool(words[0], "--all-platforms", path, f"{tmp_path}/out/", *options, "--format", "json"))
    versions = [one["platform"]["osVersion"] for one in report["images"]]
    assert ["10.0.17763.1", "10.0.20348.1"] == versions
    assert "windows(10.0.20348.1)/amd64" in ocitool("inspect", f"{tmp_path}/out/").out
    for one, version in zip(images, versions, strict=True):
        expected = ocitool("cat", f"{path}:@{one.digest}", "f").stdout
        assert expected == ocitool("cat", "--platform", f"windows({version})/amd64", f"{tmp_path}/out", "f").stdout


def test_an_archive_names_the_image_that_can_be_read(ocitool: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """manifest.json has one image: the host's, and of two for it the one that needs nothing special."""
    as_on_amd64(monkeypatch)
    special, plain = of(linux("erofs"), "special"), of(linux())
    done(ocitool, "copy", "--all-platforms", str(multi(tmp_path / "m", special, plain)), f"{tmp_path}/a.tar")
    import tarfile

    with tarfile.open(tmp_path / "a.tar") as archive:
        member = archive.extractfile("manifest.json")
        assert member is not None
        (only,) = json.loads(member.read())
    assert only["Config"].endswith(sha256(plain.config)[7:])


def test_an_only_image_for_another_version_is_not_taken_when_a_version_is_asked_for(ocitool: Run, tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", docker_files([of(OLD)]))
    for command in (("inspect",), ("ls",), ("copy", tmp_path / "out.tar")):
        result = ocitool(command[0], "--platform", "windows(10.0.20348.1)/amd64", path, *command[1:])
        assert (3, True) == (result.code, "the image is for windows(10.0.17763.1)/amd64" in result.err)


def test_validate_knows_one_platform_from_another(ocitool: Run, tmp_path: Path) -> None:
    def rules(*images: Any) -> set[str]:
        for one in images:
            one.tag = "app"
        path = write_layout(tmp_path / sha256(pretty([one.digest for one in images]))[7:20], images)
        return {one["rule"] for one in report_of(ocitool("validate", "--format", "json", path), 0, 1)["findings"]}

    assert "duplicate-tag" not in rules(of(OLD, "one"), of(NEW, "two"))
    assert "duplicate-tag" in rules(of(OLD, "one"), of(OLD, "two"))
    assert "duplicate-tag" in rules(of(ARM, "one"), of({**ARM, "variant": "v8"}, "two"))
    lying = of(OLD, "three")
    lying.platform = NEW
    assert "platform" in rules(lying)
    arm = of(ARM, "four")
    arm.platform = {**ARM, "variant": "v8"}
    assert "platform" not in rules(arm)


def as_on_amd64(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    machine = os.uname()
    monkeypatch.setattr(os, "uname", lambda: os.uname_result((*machine[:4], "x86_64")))


def test_an_image_and_an_index_under_one_name_are_all_their_platforms(ocitool: Run, tmp_path: Path) -> None:
    mine, other = of(AMD, "one"), of(ARM, "two")
    raw = pretty(index_of([mine.descriptor, other.descriptor]))
    named = {"annotations": {"org.opencontainers.image.ref.name": "m"}}
    top = {"mediaType": INDEX, "digest": sha256(raw), "size": len(raw), **named}
    mine.extra |= {sha256(raw): raw, **other.blobs}
    path = write_layout(tmp_path / "l", [mine], index=index_of([mine.descriptor | named, top]))
    assert b"two" == ocitool("cat", f"{path}:m", "/f", "--platform", "linux/arm64").stdout
    assert 2 == len(report_of(ocitool("inspect", path, "--all-platforms", "--format", "json"))["images"])
    for to in ("to/", "to.tar"):
        assert 0 == ocitool("copy", "--all-platforms", path, f"{tmp_path}/{to}").code
        result = ocitool("diff", "--all-platforms", path, f"{tmp_path}/{to}")
        assert 0 == result.code and "no difference in 2 platforms" in result.out, str(result)


def test_of_an_image_whose_configuration_is_not_here_the_hint_names_the_other_platforms(ocitool: Run, tmp_path: Path) -> None:
    mine, other = of(AMD, "one"), of(ARM, "two")
    path = multi(tmp_path / "l", mine, other)
    (path / "blobs" / sha256(mine.config).replace(":", "/")).unlink()
    result = ocitool("ls", path, "--platform", "linux/amd64")
    assert 3 == result.code and "it holds linux/arm64 beside it; --platform picks one" in result.err, str(result)
    assert 0 == ocitool("ls", path, "--platform", "linux/arm64").code
