"""Which packages changed between two images, which changed files that explains, and what is read for it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.images import AnyEntry, entry, image, layer_tar, write_layout
from support.packages import stanza
from support.report import report_of

from ocitool import limits

Run = Callable[..., Any]
STATUS, INFO = "var/lib/dpkg/status", "var/lib/dpkg/info"
RELEASE: AnyEntry = ("etc/os-release", b"ID=debian\nVERSION_ID=12\n")


def dpkg(*packages: tuple[str, str, str]) -> list[AnyEntry]:
    """The database of packages: each its name, its version and a file it has."""
    listed = [(f"{INFO}/{name}.list", f"/.\n/usr\n/{file}\n".encode()) for name, _, file in packages]
    return [(STATUS, b"".join(stanza(name, version) for name, version, _ in packages)), *listed]


def write(place: Path, *layers: Sequence[AnyEntry], codec: str = "gzip") -> Path:
    return write_layout(place, [image([layer_tar(list(entries)) for entries in layers], codec=codec)])


def found(ocitool: Run, a: Path, b: Path, *words: str) -> dict[str, Any]:
    report: dict[str, Any] = report_of(ocitool("diff", "--format", "json", *words, a, b), 0, 1)
    return report


BEFORE = [RELEASE, *dpkg(("ssl", "1.0", "usr/lib/ssl.so"), ("bash", "5", "usr/bin/bash")),
          ("usr/lib/ssl.so", b"1"), ("usr/bin/bash", b"b")]  # fmt: skip
AFTER = [RELEASE, *dpkg(("ssl", "1.1", "usr/lib/ssl.so"), ("bash", "5", "usr/bin/bash")),
         ("usr/lib/ssl.so", b"two"), ("usr/bin/bash", b"b")]  # fmt: skip


def test_an_upgraded_package_explains_its_files_and_the_database_follows(ocitool: Run, tmp_path: Path) -> None:
    report = found(ocitool, write(tmp_path / "a", BEFORE), write(tmp_path / "b", [*AFTER, ("srv/x", b"")]))
    (package,) = report["packages"]
    assert {"type": "deb", "name": "ssl", "kind": "upgraded", "before": "1.0", "after": "1.1", "source": None, "files": 1,
            "sizeDelta": 2, "purl": "pkg:deb/debian/ssl@1.1?arch=amd64&distro=debian-12"} == {
            key: value for key, value in package.items() if key != "layer"}  # fmt: skip
    assert 0 == package["layer"]["index"]
    explained = {file["path"]: (file["package"], file.get("followsPackages")) for file in report["files"]}
    assert {
        "/usr/lib/ssl.so": (0, None),
        f"/{STATUS}": (None, "deb"),
        "/srv": (None, None),
        "/srv/x": (None, None),
    } == explained


@pytest.mark.parametrize(
    ("before", "after", "kind"), [(BEFORE, AFTER, "upgraded"), (AFTER, BEFORE, "downgraded"), ([RELEASE], AFTER, "added"),
                                  (BEFORE, [RELEASE], "removed")]
)  # fmt: skip
def test_what_happened_to_a_package_is_told(
    ocitool: Run, tmp_path: Path, before: list[AnyEntry], after: list[AnyEntry], kind: str
) -> None:
    report = found(ocitool, write(tmp_path / "a", before), write(tmp_path / "b", after))
    at, ssl = next((at, one) for at, one in enumerate(report["packages"]) if one["name"] == "ssl")
    paths = [file["path"] for file in report["files"] if file["package"] == at]
    assert (kind, len(paths), True) == (ssl["kind"], ssl["files"], "/usr/lib/ssl.so" in paths)


def test_a_file_that_changed_though_its_package_did_not_is_notable(ocitool: Run, tmp_path: Path) -> None:
    patched = [one if one != ("usr/bin/bash", b"b") else ("usr/bin/bash", b"evil") for one in AFTER]
    report = found(ocitool, write(tmp_path / "a", BEFORE), write(tmp_path / "b", patched))
    told = [(one["path"], one["message"]) for one in report["notable"] if one["rule"] == "package-file-changed"]
    assert [("/usr/bin/bash", "changed, but its package bash 5 is the same")] == told


@pytest.mark.parametrize(
    ("path", "content", "grave"), [("usr/bin/tool", b"2", True), ("usr/bin/tool", None, True), ("etc/tool.conf", b"2", False),
                                   ("usr/share/doc/tool", None, False)]
)  # fmt: skip
def test_programs_are_graver_than_settings_and_documents(
    ocitool: Run, tmp_path: Path, path: str, content: bytes | None, grave: bool
) -> None:
    """A database differs by another package; the file is changed or removed."""
    before = write(tmp_path / "a", [*dpkg(("tool", "1", path), ("x", "1", "x")), (path, b"1")])
    changed: list[AnyEntry] = [] if content is None else [(path, content)]
    after = write(tmp_path / "b", [*dpkg(("tool", "1", path), ("x", "2", "x")), *changed])
    failed = ocitool("diff", "--format", "json", "--fail-on", "notable", before, after)
    assert grave == any(failure["rule"] == "notable" for failure in report_of(failed, 0, 1)["failures"])
    assert ["package-file-changed"] == [one["rule"] for one in failed.json()["notable"]]


def test_only_other_times_and_compiled_modules_are_no_change_of_a_package(ocitool: Run, tmp_path: Path) -> None:
    pyc = "usr/lib/python3/__pycache__/m.cpython-311.pyc"
    listed = dpkg(("bash", "5", "usr/bin/bash"), ("py", "3", "usr/lib/python3/m.py"), ("x", "1", "x"))
    other = dpkg(("bash", "5", "usr/bin/bash"), ("py", "3", "usr/lib/python3/m.py"), ("x", "2", "x"))
    before = write(tmp_path / "a", [*listed, ("usr/bin/bash", b"b"), ("usr/lib/python3/m.py", b"m"), (pyc, b"1")])
    after = [*other, entry("usr/bin/bash", b"b", mtime=10**18), ("usr/lib/python3/m.py", b"m"), (pyc, b"2")]
    assert [] == found(ocitool, before, write(tmp_path / "b", after))["notable"]


def test_packages_are_null_only_if_no_database_was_among_the_compared_files(ocitool: Run, tmp_path: Path) -> None:
    a, b = write(tmp_path / "a", BEFORE), write(tmp_path / "b", AFTER)
    same = write(tmp_path / "c", [*BEFORE, ("srv", None)])
    asked: list[tuple[Path, tuple[str, ...]]] = [
        (b, ()), (same, ()), (b, ("--path", "var/**")), (b, ("--path", "usr/**")), (b, ("--ignore-path", "var/**")),
    ]  # fmt: skip
    counts = [found(ocitool, a, other, *words)["packages"] for other, words in asked]
    assert [1, 0, 1, None, None] == [None if one is None else len(one) for one in counts]


def test_a_database_that_cannot_be_read_is_a_notice_and_its_exit_code_is_that_of_a_difference(
    ocitool: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "PACKAGE_FILES", 3)
    result = ocitool("diff", "--format", "json", write(tmp_path / "a", BEFORE), write(tmp_path / "b", AFTER))
    assert 1 == result.code
    notices = [one["text"] for one in report_of(result, 1)["notices"] if one["code"] == "packages"]
    assert 4 == len(notices) and all("/var/lib/dpkg/info/" in text and "more than 3 files" in text for text in notices)


@pytest.mark.parametrize("broken", [0, 1])
def test_packages_of_a_database_that_cannot_be_read_were_neither_removed_nor_added(
    broken: int, ocitool: Run, tmp_path: Path
) -> None:
    sides: list[list[AnyEntry]] = [[(STATUS, stanza("ssl") + stanza("bash"))], [(STATUS, stanza("ssl") + stanza("bash"))]]
    sides[broken] = [(STATUS, b"Package\xff" * 100)]
    report = found(ocitool, write(tmp_path / "a", sides[0]), write(tmp_path / "b", sides[1]))
    assert [] == report["packages"]
    assert ["/var/lib/dpkg: no field Package" in one["text"] for one in report["notices"] if one["code"] == "packages"] == [
        True
    ]


def test_a_base_that_both_images_have_is_read_if_their_database_is_in_layers_of_it_too(ocitool: Run, tmp_path: Path) -> None:
    """Both upper layers list the same paths, so that `diff` alone would leave the base out."""
    upper: list[list[AnyEntry]] = [
        [(STATUS, stanza("ssl", version) + stanza("bash", "5")), ("usr/lib/ssl.so", content), ("usr/bin/bash", content * 2)]
        for version, content in (("1.0", b"1"), ("1.1", b"two"))
    ]
    report = found(ocitool, write(tmp_path / "a", BEFORE, upper[0]), write(tmp_path / "b", BEFORE, upper[1]))
    assert ["ssl"] == [one["name"] for one in report["packages"]]
    assert "pkg:deb/debian/ssl@1.1?arch=amd64&distro=debian-12" == report["packages"][0]["purl"]
    assert ["/usr/bin/bash"] == [one["path"] for one in report["notable"] if one["rule"] == "package-file-changed"]


@pytest.mark.parametrize("kind", ["deb", "conda"])
def test_a_distribution_that_another_package_brings_is_not_listed_beside_it(ocitool: Run, tmp_path: Path, kind: str) -> None:
    """What records it is a file of that package, which is the cause of all of its changed files."""

    def layer(version: str) -> list[AnyEntry]:
        site = "usr/lib/python3/dist-packages"
        info = f"{site}/PyYAML-{version}.dist-info"
        files: dict[str, bytes] = {
            f"{site}/yaml.py": version.encode(), f"{info}/METADATA": f"Name: PyYAML\nVersion: {version}\n".encode(),
            f"{info}/RECORD": f"yaml.py,,\n../../../../{info}/METADATA,,\n".encode(),
        }  # fmt: skip
        if kind == "deb":
            listed = "".join(f"/{path}\n" for path in files).encode()
            return [*files.items(), (STATUS, stanza("python3-yaml", version)), (f"{INFO}/python3-yaml.list", listed)]
        record = {"name": "pyyaml", "version": version, "files": [path.removeprefix("usr/") for path in files]}
        return [*files.items(), ("usr/conda-meta/pyyaml.json", json.dumps(record).encode())]

    report = found(ocitool, write(tmp_path / "a", layer("6.0")), write(tmp_path / "b", layer("6.1")))
    assert [(kind, "6.0", "6.1")] == [(one["type"], one["before"], one["after"]) for one in report["packages"]]
    assert {0} == {file["package"] for file in report["files"] if "PyYAML" in file["path"] or "yaml.py" in file["path"]}


def test_packages_that_list_each_others_records_are_both_listed(ocitool: Run, tmp_path: Path) -> None:
    def layer(version: str) -> list[AnyEntry]:
        files: list[AnyEntry] = []
        for name, other in (("a", "b"), ("b", "a")):
            files.append((f"lib/{name}-{version}.dist-info/METADATA", f"Name: {name}\nVersion: {version}\n".encode()))
            files.append((f"lib/{name}-{version}.dist-info/RECORD", f"{other}-{version}.dist-info/METADATA,,\n".encode()))
        return files

    report = found(ocitool, write(tmp_path / "a", layer("1")), write(tmp_path / "b", layer("2")))
    assert ["a", "b"] == [one["name"] for one in report["packages"]]


def test_a_base_without_a_database_that_differs_is_not_read(ocitool: Run, tmp_path: Path) -> None:
    """Its bytes are gone, which reading it would show. `var/lib/dpkg` is in the base alone; an npm package differs above it."""
    places = []
    for version in ("1", "2"):
        upper: list[AnyEntry] = [(f"{directory}/", None) for directory in ("srv", "srv/node_modules", "srv/node_modules/a")]
        upper.append(("srv/node_modules/a/package.json", b'{"name": "a", "version": "%s"}' % version.encode()))
        made = image([layer_tar(list(BEFORE)), layer_tar(upper)])
        place = write_layout(tmp_path / version, [made])
        (place / "blobs" / made.manifest["layers"][0]["digest"].replace(":", "/")).write_bytes(bytes(len(made.layers[0])))
        places.append(place)
    assert ["a"] == [one["name"] for one in found(ocitool, *places)["packages"]]
