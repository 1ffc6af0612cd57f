"""rpm databases against `rpm -qa`, with the tag that `rpm -ql` prints: made by rpm and by the tool of Berkeley DB."""

from __future__ import annotations

import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ocitool.packages.rpm.reader import RpmReader

SPECIFICATION = """
Name: shelf
Version: {version}
Release: 3
{more}
Summary: A shelf
License: MIT AND BSD-2-Clause
BuildArch: noarch
%description
A shelf.
%install
mkdir -p %{{buildroot}}/usr/share/shelf/board
for n in $(seq {files}); do echo $n > "%{{buildroot}}/usr/share/shelf/board/oak $n"; done
ln -s board %{{buildroot}}/usr/share/shelf/link
%files
/usr/share/shelf
%ghost /var/log/shelf.log
%package empty
Summary: Installs nothing
%description empty
Nothing.
%files empty
"""
QUERY = r"%{NAME}\t%|EPOCH?{%{EPOCH}:}|%{VERSION}-%{RELEASE}\t%{ARCH}\t%{LICENSE}[\t%{FILENAMES}]\n"

pytestmark = pytest.mark.tools


def call(*command: str | Path) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Path]]:
    """The directory of a database in a format, in which rpm installed two packages, then another version of them."""
    work = tmp_path_factory.mktemp("rpm")
    kept: list[Path] = []
    for number, (version, more, files) in enumerate([("1.9", "", 3), ("1.10~rc1", "Epoch: 1", 400)]):
        specification = work / "shelf.spec"
        specification.write_text(SPECIFICATION.format(version=version, more=more, files=files))
        call("rpmbuild", "--quiet", "-bb", "--define", f"_topdir {work}/{number}", specification)
        kept.append(work / str(number) / "RPMS/noarch")

    def made(form: str) -> Path:
        root = work / form
        if not root.exists():
            for packages in kept:
                call("rpm", "--define", f"_db_backend {form}", "--define", "_dbpath /var/lib/rpm", "--root", root, "--nodeps",
                     "--noscripts", "--force-debian", "-U", *packages.glob("*.rpm"))  # fmt: skip
        return root / "var/lib/rpm"

    yield made


def as_rpm_lists(directory: Path) -> None:
    reader = RpmReader()
    for name in ("rpmdb.sqlite", "rpmdb.sqlite-wal", "Packages.db", "Packages"):
        if (directory / name).exists():
            reader.add(b"var/lib/rpm/" + name.encode(), (directory / name).read_bytes())
    found = [
        "\t".join([p.name, p.version, p.architecture, p.license, *("/" + file.decode() for file in p.files)])
        for p in reader.packages()
    ]
    assert sorted(call("rpm", "-qa", "--dbpath", directory, "--qf", QUERY).splitlines()) == sorted(found)
    assert len(found) == 2


def test_sqlite_lists_what_rpm_lists(need: Callable[..., str], installed: Callable[[str], Path]) -> None:
    need("rpm", "rpmbuild")
    as_rpm_lists(installed("sqlite"))


def test_ndb_lists_what_rpm_lists(need: Callable[..., str], installed: Callable[[str], Path], tmp_path: Path) -> None:
    need("rpm", "rpmbuild")
    call("rpm", "--define", "_db_backend ndb", "--dbpath", tmp_path, "--initdb")
    if (tmp_path / "Packages.db").exists():  # else rpm was built without it: testdata/rpm has what another rpm wrote and said
        as_rpm_lists(installed("ndb"))


@pytest.mark.parametrize("settings", ["", "db_pagesize=512\n", "db_pagesize=65536\n", "db_lorder=4321\n"])
def test_berkeley_db_lists_what_rpm_lists(
    settings: str, need: Callable[..., str], installed: Callable[[str], Path], tmp_path: Path
) -> None:
    """rpm reads this format, and no longer writes it: the headers that it wrote are put there by Berkeley DB's own tool."""
    need("rpm", "rpmbuild", "db5.3_load")
    connection = sqlite3.connect(installed("sqlite") / "rpmdb.sqlite")
    headers = connection.execute("SELECT hnum, blob FROM Packages").fetchall()
    connection.close()
    order = "big" if "lorder" in settings else "little"
    items = [(0, max(number for number, _ in headers).to_bytes(4, order)), *headers]
    dump = "".join(f" {number.to_bytes(4, order).hex()}\n {blob.hex()}\n" for number, blob in items)
    (tmp_path / "dump").write_text(f"VERSION=3\nformat=bytevalue\ntype=hash\n{settings}HEADER=END\n{dump}DATA=END\n")
    call("db5.3_load", "-f", tmp_path / "dump", tmp_path / "Packages")
    as_rpm_lists(tmp_path)
