"""`ocitool diff` of indexes: each image has one counterpart, and what was not compared is said and is no "no difference"."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.images import docker_files, entry, image, layer_tar, write_layout, write_oci_archive, write_tar
from support.indexes import AMD, ARM, S390, attestation, linux, multi, of, windows
from support.registries import put_index
from support.registry import ScriptedRegistry
from support.report import report_of

Run = Callable[..., Any]
OLD, NEW = windows("10.0.17763.1"), windows("10.0.20348.1")
RULES = ("files", "config", "notable", "size:+1GB", "size:+5%", "transfer:+1GB")


@pytest.fixture(autouse=True)
def amd64(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    machine = os.uname()
    monkeypatch.setattr(os, "uname", lambda: os.uname_result((*machine[:4], "x86_64")))


def compared(ocitool: Run, *words: Any, code: int = 1) -> Any:
    return report_of(ocitool("diff", "--format", "json", *words), code)


def statuses(report: Any) -> list[tuple[str, Any]]:
    """Each platform with what became of it: `same`, the paths that differ, or its status."""
    found = []
    for one in report["platforms"]:
        platform, found_diff = one["platform"], one["diff"]
        name = platform.get("osVersion") or "+".join(platform.get("osFeatures", ())) or platform["architecture"]
        what = one["status"] if found_diff is None else found_diff["identical"] or [f["path"] for f in found_diff["files"]]
        found.append((name, "same" if what is True else what))
    return found


# --all-platforms: counterparts


@pytest.mark.parametrize("platforms", [(OLD, NEW), (NEW, OLD), (linux("erofs"), linux()), (linux(), linux("erofs")),
                                       (linux(), linux(variant="v3")), (linux(), linux())])  # fmt: skip
def test_every_image_of_one_architecture_is_compared_with_its_own(ocitool: Run, tmp_path: Path, platforms: Any) -> None:
    """The last pair is of equal platforms, which place and digest tell apart."""
    first, second = (of(platform, text) for platform, text in zip(platforms, ("one", "two"), strict=True))
    a = multi(tmp_path / "a", first, second)
    one_changed = multi(tmp_path / "b", of(platforms[0], "ONE"), second)
    other_changed = multi(tmp_path / "c", first, of(platforms[1], "TWO"))
    both = multi(tmp_path / "d", of(platforms[0], "ONE"), of(platforms[1], "TWO"))
    words = ("--all-platforms", a)
    assert ["same", "same"] == [what for _, what in statuses(compared(ocitool, *words, a, code=0))]
    assert [["/f"], "same"] == [what for _, what in statuses(compared(ocitool, *words, one_changed))]
    assert ["same", ["/f"]] == [what for _, what in statuses(compared(ocitool, *words, other_changed))]
    assert [["/f"], ["/f"]] == [what for _, what in statuses(compared(ocitool, *words, both))]


@pytest.mark.parametrize("platform", [OLD, linux(), linux("erofs")])
def test_a_second_image_of_a_platform_that_came_or_went_is_told(ocitool: Run, tmp_path: Path, platform: Any) -> None:
    first, second = of(platform, "one"), of(platform, "two")
    a, b = multi(tmp_path / "a", first), multi(tmp_path / "b", second, first)
    assert ["same", "added"] == [what for _, what in statuses(compared(ocitool, "--all-platforms", a, b))]
    assert ["removed", "same"] == [what for _, what in statuses(compared(ocitool, "--all-platforms", b, a))]


def test_images_of_one_platform_are_told_apart_by_annotations(ocitool: Run, tmp_path: Path) -> None:
    def pair(x: str, y: str) -> tuple[Any, Any]:
        return of(AMD, x, annotations={"kind": "x"}), of(AMD, y, annotations={"kind": "y"})

    a = multi(tmp_path / "a", *pair("one", "two"))
    b = multi(tmp_path / "b", *reversed(pair("one!", "two")))
    report = compared(ocitool, "--all-platforms", a, b)
    assert [("amd64", ["/f"]), ("amd64", "same")] == statuses(report)
    assert ["/manifests"] == [one["pointer"] for one in report["config"]]  # the order


def test_another_revision_of_a_windows_build_is_its_counterpart(ocitool: Run, tmp_path: Path) -> None:
    a = multi(tmp_path / "a", of(OLD, "one"), of(NEW, "two"))
    b = multi(tmp_path / "b", of(windows("10.0.17763.9"), "one"), of(windows("10.0.26100.1"), "two"))
    report = compared(ocitool, "--all-platforms", a, b)
    assert [("10.0.17763.9", []), ("10.0.20348.1", "removed"), ("10.0.26100.1", "added")] == statuses(report)
    messages = [one["text"] for one in report["notices"] if one["code"] == "platform"]
    assert 1 == len(messages) and "windows(10.0.17763.1)/amd64" in messages[0] and "windows(10.0.17763.9)/amd64" in messages[0]


def test_spellings_of_one_platform_are_counterparts(ocitool: Run, tmp_path: Path) -> None:
    """The documents differ, and the images do not."""
    one, other = of(ARM), of(ARM)
    other.platform = {**ARM, "variant": "v8"}
    report = compared(ocitool, "--all-platforms", multi(tmp_path / "a", one), multi(tmp_path / "b", other))
    assert ["same"] == [what for _, what in statuses(report)]
    assert [("/manifests/0/platform/variant", "added")] == [(one["pointer"], one["kind"]) for one in report["config"]]


# Without it: the rest is compared by digest


MORE: list[tuple[str, Any, Any, str]] = [
    ("changed", (AMD, ARM), "changed", "linux/arm64"),
    ("os.version", (AMD, OLD, NEW), "changed", "windows(10.0.20348.1)/amd64"),
    ("os.features", (AMD, linux("erofs")), "changed", "linux(+erofs)/amd64"),
    ("variant", (AMD, linux(variant="v3")), "changed", "linux/amd64/v3"),
    ("twin", (AMD, AMD), "changed", "linux/amd64"),
]


@pytest.mark.parametrize(("name", "platforms", "status", "shown"), MORE)
@pytest.mark.parametrize("nested", [False, True])
def test_another_image_that_changed_is_named_and_is_a_difference(
    ocitool: Run, tmp_path: Path, name: str, platforms: Any, status: str, shown: str, nested: bool
) -> None:
    images = [of(platform, str(n)) for n, platform in enumerate(platforms)]
    make = multi if not nested else lambda path, *images: write_oci_archive(path, images)
    a, b = make(tmp_path / "a", *images), make(tmp_path / "b", *images[:-1], of(platforms[-1], "other"))
    if nested and name == "twin":
        return  # nameless manifests of one platform are two images, and one has to be picked
    report = compared(ocitool, a, b)
    assert (False, [], [status]) == (report["identical"], report["files"], [one["status"] for one in report["notCompared"]])
    for form in ("text", "markdown"):
        result = ocitool("diff", "--format", form, a, b)
        assert (1, True) == (result.code, shown in result.out)
        assert "no difference\n" not in result.out and "No difference\n" not in result.out
    assert [True] * 6 == [ocitool("diff", "--fail-on", rule, a, b).code == 1 for rule in RULES]
    assert 0 == ocitool("diff", "--fail-on", "none", a, b).code
    assert 1 == ocitool("diff", "--semantic", a, b).code == ocitool("diff", "--path", "/f", a, b).code


def test_an_image_that_came_or_went_is_named_and_is_a_difference(ocitool: Run, tmp_path: Path) -> None:
    a, b = multi(tmp_path / "a", of(AMD)), multi(tmp_path / "b", of(AMD), of(ARM), of(S390))
    for words, status in (((a, b), "added"), ((b, a), "removed")):
        report = compared(ocitool, *words)
        assert [(status, "arm64"), (status, "s390x")] == [
            (one["status"], one["platform"]["architecture"]) for one in report["notCompared"]
        ]
        met = [rule for rule in RULES if ocitool("diff", "--fail-on", rule, *words).code]
        assert (["files", "config", "notable"] if status == "added" else ["files", "config"]) == met
    failures = compared(ocitool, "--fail-on", "files", a, b)["failures"]
    assert [("files", "linux/arm64", None), ("files", "linux/s390x", None)] == [
        (one["rule"], one["platform"], one["actual"]) for one in failures
    ]


def test_a_platform_that_is_asked_for_is_all_that_counts(ocitool: Run, tmp_path: Path) -> None:
    a = multi(tmp_path / "a", of(AMD), of(ARM, "one"))
    b = multi(tmp_path / "b", of(AMD), of(ARM, "two"), annotations={"a": "b"})
    words = ("--platform", "linux/amd64", "--fail-on", "files", "--fail-on", "config", a, b)
    report = compared(ocitool, *words, code=0)
    assert (True, []) == (report["identical"], report["failures"])
    assert ["arm64"] == [one["platform"]["architecture"] for one in report["notCompared"]]
    assert 0 == ocitool("diff", "--platform", "linux/amd64", a, b).code
    assert 1 == ocitool("diff", "--platform", "linux/arm64", a, b).code


def test_a_twin_of_the_platform_that_is_asked_for_counts(ocitool: Run, tmp_path: Path) -> None:
    a, b = multi(tmp_path / "a", of(OLD), of(NEW, "one")), multi(tmp_path / "b", of(OLD), of(NEW, "two"))
    assert 1 == ocitool("diff", "--platform", "windows/amd64", a, b).code
    assert 0 == ocitool("diff", "--platform", "windows(10.0.17763)/amd64", a, b).code


def test_equal_indexes_have_nothing_that_was_not_compared(ocitool: Run, tmp_path: Path) -> None:
    a, b = (multi(tmp_path / name, of(AMD), of(ARM)) for name in "ab")
    assert [] == compared(ocitool, a, b, code=0)["notCompared"]
    result = ocitool("diff", a, b)
    assert (0, True) == (result.code, "no difference\n" in result.out)


def test_an_index_and_a_single_image_are_said_to_be(ocitool: Run, tmp_path: Path) -> None:
    index = multi(tmp_path / "index", of(AMD), of(ARM))
    single = write_layout(tmp_path / "single", [of(AMD)])
    archive = write_tar(tmp_path / "a.tar", docker_files([of(AMD)]))
    for words in ((index, single), (single, index), (index, archive)):
        result = ocitool("diff", *words)
        message = f"{index} is an index of 2"
        assert (True, True) == (message in result.err, "not compared: linux/arm64" in result.out)
        assert "no difference\n" not in result.out


@pytest.mark.parametrize("words", [(), ("--all-platforms",)])
def test_the_index_documents_are_compared(ocitool: Run, tmp_path: Path, words: tuple[str, ...]) -> None:
    def changed(name: str, *images: Any, **changes: Any) -> list[tuple[str, str]]:
        report = compared(ocitool, *words, a, multi(tmp_path / name, *images, **changes))
        assert not report["identical"]
        return [(one["pointer"], one["kind"]) for one in report["config"] if one["document"] == "index"]

    a = multi(tmp_path / "a", of(AMD), of(ARM))
    assert [("/annotations/k", "added")] == changed("b", of(AMD), of(ARM), annotations={"k": "v"})
    noted = changed("c", of(AMD), of(ARM, annotations={"k": "v"}))
    assert [("/manifests/1/annotations/k", "added")] == noted
    assert [("/manifests", "modified")] == changed("d", of(ARM), of(AMD))
    note = image(config=b"{}", annotations={"n": "1"})
    note.manifest["config"]["mediaType"] = note.manifest["artifactType"] = "application/vnd.example.note"
    assert [("/manifests/2", "added")] == changed("e", of(AMD), of(ARM), note)
    odd = [*(one.descriptor for one in (of(AMD), of(ARM))), {"mediaType": "odd"}]
    assert [("/manifests", "modified")] == changed("f", of(AMD), of(ARM), manifests=odd)
    page = ocitool("diff", "--format", "markdown", "--all-platforms", a, tmp_path / "c").out
    assert "Indexes differ: 0 platforms changed, 0 on one side only, 2 identical, 1 change in the documents" in page


@pytest.mark.parametrize("words", [(), ("--all-platforms",)])
def test_attestations_are_compared_as_far_as_their_images_are_the_same(
    ocitool: Run, tmp_path: Path, words: tuple[str, ...]
) -> None:
    amd, arm = of(AMD), of(ARM)
    a = multi(tmp_path / "a", amd, arm, attestation(amd), attestation(arm))
    other = multi(tmp_path / "b", amd, arm, attestation(amd), attestation(arm, "other"))
    lost = multi(tmp_path / "c", amd, arm, attestation(amd))
    again = of(AMD, "y")
    rebuilt = multi(tmp_path / "d", again, arm, attestation(again, "new"), attestation(arm))

    def changes(b: Path) -> list[tuple[str, str]]:
        report = compared(ocitool, *words, a, b)
        return [(one["pointer"], one["kind"]) for one in report["config"] if one["document"] == "index"]

    assert [("/manifests/3/digest", "modified")] == changes(other)
    assert [("/manifests/3", "removed")] == changes(lost)
    assert [] == changes(rebuilt)  # it follows from the image
    assert 0 == ocitool("diff", *words, a, a).code


def test_nothing_more_is_asked_of_a_registry(run: Run, registry: ScriptedRegistry) -> None:
    images = [of(AMD), of(ARM, "one"), of(OLD, "two")]
    put_index(registry, "a", images, "1")
    put_index(registry, "b", [images[0], of(ARM, "other"), of(NEW, "two")], "1")
    words = (f"docker://{registry.host}/a:1", f"docker://{registry.host}/b:1", "--format", "json")
    counts = []
    for more in (("--platform", "linux/amd64"), ()):
        registry.requests.clear()
        report = report_of(run("diff", *words, *more), 0, 1)
        counts.append(len(registry.sent("GET|HEAD", "/(manifests|blobs)/")))
    assert ["changed", "removed", "added"] == [one["status"] for one in report["notCompared"]]
    assert counts[0] == counts[1] > 0


# Rules


def test_an_image_that_came_is_looked_at_by_the_rules(ocitool: Run, tmp_path: Path) -> None:
    suid = image(
        [layer_tar([entry("su", b"x", mode=0o4755)])], platform=ARM, **ARM, config=None,
    )  # fmt: skip
    a, b = multi(tmp_path / "a", of(AMD)), multi(tmp_path / "b", of(AMD), suid)
    words = ("--all-platforms", "--fail-on", "notable", a, b)
    report = compared(ocitool, *words)
    assert [("setuid", "/su")] == [(one["rule"], one["path"]) for one in report["platforms"][1]["notable"]]
    assert [("notable", 1, "linux/arm64")] == [(one["rule"], one["actual"], one["platform"]) for one in report["failures"]]
    for form in ("text", "markdown"):
        shown = ocitool("diff", "--format", form, *words).out
        assert "setuid" in shown and "linux/arm64" in shown and "/su" in shown
    assert 0 == ocitool("diff", "--all-platforms", "--fail-on", "notable", b, a).code
    assert 0 == ocitool("diff", "--all-platforms", "--fail-on", "notable", a, multi(tmp_path / "c", of(AMD), of(ARM))).code


def test_every_rule_that_is_met_is_named_with_its_platform(ocitool: Run, tmp_path: Path) -> None:
    a = multi(tmp_path / "a", of(AMD, "1"), of(ARM, "1"), of(S390))
    b = multi(tmp_path / "b", of(AMD, "2"), of(ARM, "2", author="me"), of(OLD), annotations={"k": "v"})
    words = ("--all-platforms", "--fail-on", "files", "--fail-on", "config", a, b)
    expected = {
        ("files", "linux/amd64"), ("files", "linux/arm64"), ("files", "linux/s390x"), ("files", "windows(10.0.17763.1)/amd64"),
        ("config", "linux/arm64"), ("config", "linux/s390x"), ("config", "windows(10.0.17763.1)/amd64"), ("config", None),
    }  # fmt: skip
    failures = [(one["rule"], one["platform"]) for one in compared(ocitool, *words)["failures"]]
    assert (expected, len(expected)) == (set(failures), len(failures))
    text = ocitool("diff", *words).out
    page = ocitool("diff", "--format", "markdown", *words).out
    for rule, platform in expected - {("config", None)}:
        assert f"--fail-on {rule}: {platform}: " in text
        assert f"- `{rule}`: `{platform}`: " in page


def test_an_image_whose_manifest_is_not_here_meets_every_rule(ocitool: Run, tmp_path: Path) -> None:
    a, b = multi(tmp_path / "a", of(AMD), of(ARM, "one")), multi(tmp_path / "b", of(AMD), of(ARM, "two"))
    (b / "blobs" / of(ARM, "two").digest.replace(":", "/")).unlink()
    words = ("--all-platforms", "--fail-on", "notable", a, b)
    report = compared(ocitool, *words)
    assert [("notable", None, "linux/arm64")] == [(one["rule"], one["actual"], one["platform"]) for one in report["failures"]]
    assert "not compared" in ocitool("diff", *words).out
