"""The same package installed twice by rpm: its database has other bytes, and `diff` and `rebuild` see that it is the same."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.images import AnyEntry, entry, image, layer_tar, write_layout
from support.registries import random_bytes
from support.report import report_of

SPECIFICATION = """
Name: shelf
Version: {version}
Release: 1
Summary: A shelf
License: MIT
BuildArch: noarch
%description
A shelf.
%install
mkdir -p %{{buildroot}}/usr/share/shelf
echo oak > %{{buildroot}}/usr/share/shelf/board
%files
/usr/share/shelf/board
"""

pytestmark = pytest.mark.tools


def call(*command: str | Path) -> None:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def layer(need: Callable[..., str], tmp_path: Path) -> Callable[[str, str], bytes]:
    """A layer with what an installation left."""
    need("rpm", "rpmbuild")

    def made(name: str, version: str) -> bytes:
        folder, root = tmp_path / f"built-{version}", tmp_path / name
        if not folder.exists():
            (tmp_path / "shelf.spec").write_text(SPECIFICATION.format(version=version))
            call("rpmbuild", "--quiet", "-bb", "--define", f"_topdir {folder}", tmp_path / "shelf.spec")
        call("rpm", "--define", "_db_backend sqlite", "--define", "_dbpath /var/lib/rpm", "--root", root, "--nodeps",
             "--force-debian", "-U", *folder.glob("RPMS/noarch/*.rpm"))  # fmt: skip
        files = sorted(path for path in root.rglob("*") if path.is_file())
        entries: list[AnyEntry] = [entry(str(path.relative_to(root)), path.read_bytes()) for path in files]
        return layer_tar([*entries, ("usr/lib/other", random_bytes(90_000, 1))])

    return made


def test_a_database_that_rpm_wrote_twice_is_noise_until_a_package_changes(
    ocitool: Callable[..., Any], layer: Callable[[str, str], bytes], tmp_path: Path
) -> None:
    first = layer("first", "1")
    time.sleep(1.1)  # it holds the time of the installation in seconds
    second, third = layer("second", "1"), layer("third", "2")
    tars = {"old": first, "same": second, "newer": third}
    old, same, newer = (write_layout(tmp_path / f"image-{name}", [image([tar], tag="a:1")]) for name, tar in tars.items())

    def volatile(other: Path) -> dict[str, str]:
        report = report_of(ocitool("diff", old, other, "--format", "json"), 1)
        return {item["path"]: item["volatile"] for item in report["files"] if item["path"].endswith("/rpmdb.sqlite")}

    assert {"/var/lib/rpm/rpmdb.sqlite": "package-database"} == volatile(same)
    assert {"/var/lib/rpm/rpmdb.sqlite": None} == volatile(newer)
    for other, wanted in ((same, ["/var/lib/rpm/**"]), (newer, None)):
        result = ocitool("rebuild", other, tmp_path / "x.tar", "--against", old, "--dry-run", "--format", "json")
        suggestion = report_of(result)["details"]["rebuilt"][0]["suggestion"]
        assert wanted == (suggestion and suggestion["ignorePaths"])
