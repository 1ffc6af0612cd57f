"""`ocitool packages` and `inspect --packages`: what is installed in an image, as text, JSON and a bill of materials."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.images import image, layer_tar, write_layout
from support.packages import stanza
from support.report import done, report_of

Run = Callable[..., Any]
STATUS = "var/lib/dpkg/status"


@pytest.fixture
def v1(testdata: Path) -> Path:
    """An image in which dpkg and pip installed packages."""
    return testdata / "packages-v1.tar"


def layout(path: Path, *layers: list[tuple[str, bytes]], **more: Any) -> Path:
    return write_layout(path, [image([layer_tar(one) for one in layers], **more)])


def test_packages_are_listed_with_size_and_layer_and_counted(ocitool: Run, v1: Path) -> None:
    lines = [line.split() for line in ocitool("packages", v1).out.splitlines()]
    assert ["type", "name", "version", "arch", "size", "layer"] == lines[0]
    assert ["deb", "till", "2.9-1", "amd64", "175", "B", "0"] == lines[3]
    assert ["pypi", "receipt", "1.4.0", "-", "623", "B", "1"] == lines[4]
    assert "4 packages (3 deb, 1 pypi), 1.3 kB, on debian 12" == " ".join(lines[5])


def test_report_names_source_database_and_the_layer_with_its_instruction(ocitool: Run, v1: Path) -> None:
    report = done(ocitool, "packages", str(v1))
    assert {"id": "debian", "version": "12"} == report["distribution"]
    found = {one["name"]: one for one in report["packages"]}
    layer = found["libtill1"].pop("layer")
    assert (0, "dpkg -i till.deb") == (layer["index"], layer["createdBy"])
    assert found["libtill1"] == {
        "type": "deb", "name": "libtill1", "version": "2.9-1", "architecture": "amd64",
        "purl": "pkg:deb/debian/libtill1@2.9-1?arch=amd64&distro=debian-12", "source": "till",
        "sourceVersion": None, "license": None, "database": "/var/lib/dpkg/status",
        "files": 4, "size": 340,
    }  # fmt: skip
    assert ("pkg:pypi/receipt@1.4.0", "MIT", 1) == (
        found["receipt"]["purl"], found["receipt"]["license"], found["receipt"]["layer"]["index"]
    )  # fmt: skip


def test_kind_leaves_the_other_packages_out(ocitool: Run, v1: Path) -> None:
    assert ["pypi"] == [one["type"] for one in done(ocitool, "packages", str(v1), "--kind", "pypi")["packages"]]
    assert 2 == ocitool("packages", v1, "--kind", "bottle").code


def test_inspect_lists_packages_of_each_image_when_asked(ocitool: Run, v1: Path) -> None:
    found = done(ocitool, "inspect", str(v1), "--packages")["images"][0]
    alone = done(ocitool, "packages", str(v1))
    assert (alone["packages"], alone["distribution"], []) == (
        found["packages"],
        found["distribution"],
        found["packageProblems"],
    )
    assert done(ocitool, "inspect", str(v1))["images"][0]["packages"] is None
    for format in ("text", "markdown"):
        out = ocitool("inspect", v1, "--packages", "--format", format).out
        assert "4 packages (3 deb, 1 pypi), 1.3 kB, on" in out and "libtill1" in out


def test_image_without_packages_says_so(ocitool: Run, tmp_path: Path) -> None:
    empty = layout(tmp_path / "empty", [("etc/motd", b"")])
    assert "no packages: the image has none of the databases that are known\n" == ocitool("packages", empty).out


def test_unreadable_database_is_a_notice_and_the_rest_is_listed(ocitool: Run, tmp_path: Path) -> None:
    bad = ("usr/lib/python3/dist-packages/x-1.dist-info/METADATA", b"no field at all\n")
    wheel = ("opt/app.jar", b"PK\x03\x04 that is all")
    found = ocitool("packages", layout(tmp_path / "bad", [(STATUS, stanza("a")), bad, wheel]), "--format", "json")
    report = report_of(found)
    assert (["a"], 0) == ([one["name"] for one in report["packages"]], found.code)
    assert [one["reason"] for one in report["problems"]] and len(report["problems"]) == len(report["notices"])


def test_text_of_a_database_reaches_no_terminal_unescaped(ocitool: Run, tmp_path: Path) -> None:
    evil = layout(tmp_path / "evil", [(STATUS, b"Package: a\x1b[31m\xff\nVersion: 1\x07\nStatus: install ok installed\n")])
    out = ocitool("packages", evil).out
    assert "a\\x1b[31m" in out and "\x1b" not in out and "\x07" not in out
    assert 1 == len(done(ocitool, "packages", str(evil))["packages"])
    assert 0 == ocitool("packages", evil, "--format", "cyclonedx").code


def bill(run: Run, source: Path, **how: Any) -> Any:
    result = run("packages", source, "--format", "cyclonedx", **how)
    assert 0 == result.code, str(result)
    return json.loads(result.out)


def test_bill_of_materials_is_valid_by_the_schema_of_cyclonedx(ocitool: Run, v1: Path, tmp_path: Path) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    validator = JsonStrictValidator(SchemaVersion.V1_6)
    copy = ("node_modules/a/package.json", b'{"name": "@s/a", "version": "1", "license": "MIT OR Apache-2.0"}')
    odd = layout(tmp_path / "odd", [(STATUS, stanza("a") + stanza("a") + stanza("/")), copy, ("x/" + copy[0], copy[1])])
    for source in (v1, odd):
        assert validator.validate_str(json.dumps(bill(ocitool, source))) is None


def test_bill_of_materials_is_the_same_bytes_each_time_and_wherever_the_image_lies(
    ocitool: Run, v1: Path, tmp_path: Path
) -> None:
    once = bill(ocitool, v1)
    assert 0 == ocitool("copy", v1, f"{tmp_path}/other/").code
    assert once == bill(ocitool, tmp_path / "other")
    assert "2023-11-14T22:13:20Z" == once["metadata"]["timestamp"]
    later = bill(ocitool, v1, env={"SOURCE_DATE_EPOCH": "1800000000"})
    assert "2027-01-15T08:00:00Z" == later["metadata"]["timestamp"]
    assert once["serialNumber"] != later["serialNumber"]


def test_copies_of_a_package_are_one_component_with_their_places(ocitool: Run, tmp_path: Path) -> None:
    files = [(f"{top}/node_modules/a/package.json", b'{"name": "a", "version": "1"}') for top in ("app", "web")]
    found = bill(ocitool, layout(tmp_path / "copies", files))["components"]
    assert [["/" + path for path, _ in files]] == [[at["location"] for at in one["evidence"]["occurrences"]] for one in found]


def test_time_that_is_none_is_left_out_of_the_bill(ocitool: Run, tmp_path: Path) -> None:
    odd = layout(tmp_path / "odd", [(STATUS, stanza("a"))], created="yesterday")
    assert "timestamp" not in bill(ocitool, odd)["metadata"]
