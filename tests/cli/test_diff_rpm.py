"""Which packages of rpm changed between two images, in each format of its database."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.report import report_of
from support.review_pairs import rpm_update
from support.rpm_databases import FORMATS

Run = Callable[..., Any]


def found(ocitool: Run, place: Path, name: str) -> dict[str, Any]:
    pair = rpm_update(place, name)
    report: dict[str, Any] = report_of(ocitool("diff", "--format", "json", pair.before, pair.after), 1)
    return report


@pytest.mark.parametrize("name", FORMATS)
def test_every_changed_file_is_explained_by_a_package_or_follows(name: str, ocitool: Run, tmp_path: Path) -> None:
    report = found(ocitool, tmp_path, name)
    assert [
        ("chair", "removed", "0.9-1", None, 2),
        ("shelf", "upgraded", "2:1.2-3", "2:1.10-1", 1),
        ("shelf-empty", "upgraded", "2:4~rc1-3", "2:4-1", 0),
        ("stool", "added", None, "3-1", 2),
    ] == [(one["name"], one["kind"], one["before"], one["after"], one["files"]) for one in report["packages"]]
    assert "pkg:rpm/fedora/shelf@1.10-1?arch=noarch&distro=fedora-40&epoch=2" == report["packages"][1]["purl"]
    assert {
        "/opt/chair": (0, None), "/opt/chair/a file of chair": (0, None), "/opt/stool": (3, None),
        "/opt/stool/a file of stool": (3, None), "/usr/share/shelf/label": (1, None), f"/var/lib/rpm/{name}": (None, "rpm"),
    } == {file["path"]: (file["package"], file.get("followsPackages")) for file in report["files"]}  # fmt: skip
