"""Packages of merged trees: which databases are found, read once each and bounded, and which package has a path."""

from __future__ import annotations

import pytest
from support.packages import Files, merged, packages_of, stanza

from ocitool import limits
from ocitool.packages.footprint import footprints
from ocitool.packages.installed import databases_of, installed
from ocitool.packages.ownership import owners
from ocitool.packages.package import DatabaseProblem, Distribution, Package
from ocitool.packages.purl import package_url
from ocitool.task import Task

STATUS, INFO = "var/lib/dpkg/status", "var/lib/dpkg/info/"
ALPINE = b"P:musl\nV:1.2.5-r0\nA:x86_64\nL:MIT\no:musl\nF:lib\nR:ld-musl-x86_64.so.1\na:0:0:755\nF:usr\nF:usr/bin\nR:ldd\n\n"


def test_dpkg_package_has_the_paths_of_its_list_and_its_files_in_info() -> None:
    found = packages_of([
        (STATUS, stanza("bash", "5.2-1", Source="bash-src (5.1)")), (INFO + "bash.list", b"/.\n/bin\n/bin/bash\n"),
        (INFO + "bash.postinst", b"#!/bin/sh\n"),
    ])  # fmt: skip
    files = (b"bin", b"bin/bash", b"var/lib/dpkg/info/bash.list", b"var/lib/dpkg/info/bash.postinst")
    expected = Package(
        "deb", "bash", "5.2-1", b"var/lib/dpkg/status", "", "amd64", "bash-src", "5.1", "", files, None
    )  # fmt: skip
    assert ((expected,), ()) == found[:2]


@pytest.mark.parametrize(
    ("status", "listed"),
    [
        ("install ok installed", True),
        ("hold ok unpacked", True),
        ("install ok half-configured", True),
        ("install ok triggers-pending", True),
        ("deinstall ok config-files", False),
        ("purge ok not-installed", False),
    ],
)
def test_dpkg_package_without_files_is_not_installed(status: str, listed: bool) -> None:
    assert listed == bool(packages_of([(STATUS, stanza("a", Status=status))]).packages)


def test_dpkg_list_of_an_architecture_comes_before_that_of_the_name_alone() -> None:
    found = packages_of([
        (STATUS, stanza("libc6") + stanza("libc6", architecture="i386")),
        (INFO + "libc6:amd64.list", b"/lib/a\n"), (INFO + "libc6:i386.list", b"/lib/i\n"),
    ])  # fmt: skip
    assert [b"lib/a", b"lib/i"] == [package.files[0] for package in found.packages]


def test_dpkg_diversion_moves_the_file_of_every_other_package() -> None:
    diversions = b"/bin/sh\n/bin/sh.distrib\ndash\n"
    found = packages_of([
        (STATUS, stanza("bash") + stanza("dash")), (INFO + "bash.list", b"/bin/sh\n"), (INFO + "dash.list", b"/bin/sh\n"),
        ("var/lib/dpkg/diversions", diversions),
    ])  # fmt: skip
    assert [b"bin/sh.distrib", b"bin/sh"] == [package.files[0] for package in found.packages]


def test_dpkg_configuration_files_are_files_of_their_package() -> None:
    fields = {"Conffiles": "\n /etc/a.conf 0123\n /etc/b.conf newconffile obsolete"}
    assert (b"etc/a.conf", b"etc/b.conf") == packages_of([(STATUS, stanza("a", **fields))]).packages[0].files


def test_distroless_packages_have_a_file_each_and_their_checksums() -> None:
    found = packages_of([
        ("var/lib/dpkg/status.d/base", b"Package: base-files\nVersion: 12\nArchitecture: amd64\n"),
        ("var/lib/dpkg/status.d/base.md5sums", b"0123456789abcdef0123456789abcdef  usr/lib/os-release\n"),
    ])  # fmt: skip
    package = found.packages[0]
    assert ("base-files", b"var/lib/dpkg/status.d/base", (b"usr/lib/os-release",)) == (
        package.name, package.database, package.files
    )  # fmt: skip


@pytest.mark.parametrize("path", ["lib/apk/db/installed", "usr/lib/apk/db/installed"])
def test_apk_package_has_its_files_with_their_directories(path: str) -> None:
    files = (b"lib", b"lib/ld-musl-x86_64.so.1", b"usr", b"usr/bin", b"usr/bin/ldd")
    expected = Package("apk", "musl", "1.2.5-r0", path.encode(), architecture="x86_64", license="MIT", files=files)
    assert ((expected,), ()) == packages_of([(path, ALPINE)])[:2]


def test_database_of_a_lower_layer_counts_only_if_nothing_hides_it() -> None:
    upper: Files = [(STATUS, stanza("b"))]
    assert ["b"] == [package.name for package in packages_of([(STATUS, stanza("a"))], upper).packages]


def test_distribution_is_in_the_package_url() -> None:
    release: Files = [("etc/os-release", "link:../usr/lib/os-release"), ("usr/lib/os-release", b'ID=debian\nVERSION_ID="12"\n')]
    found = packages_of([(STATUS, stanza("a++", "1:2+b1")), *release])
    assert Distribution("debian", "12") == found.distribution
    expected = "pkg:deb/debian/a%2B%2B@1:2%2Bb1?arch=amd64&distro=debian-12"
    assert expected == package_url(found.packages[0], found.distribution)


def test_epoch_of_rpm_is_a_qualifier_of_the_package_url() -> None:
    package = Package("rpm", "shelf", "2:1.10-1", b"var/lib/rpm/rpmdb.sqlite", architecture="noarch")
    expected = "pkg:rpm/fedora/shelf@1.10-1?arch=noarch&distro=fedora-40&epoch=2"
    assert expected == package_url(package, Distribution("fedora", "40"))


def test_only_the_databases_are_read_that_are_asked_for() -> None:
    files: Files = [(STATUS, stanza("a")), ("lib/apk/db/installed", ALPINE)]
    with Task() as task:
        image, tree = merged(task, files)
        node = tree.find(b"lib/apk/db/installed")
        assert isinstance(node, int)
        only = databases_of([(b"lib/apk/db/installed", tree.entry(node)), (b"etc/passwd", tree.entry(node))])
        found = installed(tree, image.layers, task, only=only)
    assert (["apk"], ["musl"]) == (list(only), [package.name for package in found.packages])


def test_too_large_database_is_a_problem_and_others_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DATABASE_FILE", 200)
    found = packages_of([(STATUS, stanza("a")), ("lib/apk/db/installed", ALPINE * 3)])
    problem = DatabaseProblem(b"lib/apk/db/installed", "it is larger than 200 bytes")
    assert (["a"], (problem,)) == ([package.name for package in found.packages], found.problems)


@pytest.mark.parametrize(("limit", "packages"), [("PACKAGE_FILES", 0), ("PACKAGES", 1)])
def test_too_many_packages_or_files_are_a_problem(limit: str, packages: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, limit, 1)
    found = packages_of([("lib/apk/db/installed", ALPINE * 3)])
    assert (packages, 1) == (len(found.packages), len(found.problems))


def test_file_belongs_to_the_package_that_lists_it_through_a_merged_usr() -> None:
    files: Files = [
        ("bin", "link:usr/bin"), ("usr/bin/ls", b"x"), (STATUS, stanza("coreutils") + stanza("other")),
        (INFO + "coreutils.list", b"/.\n/bin\n/bin/ls\n"), (INFO + "other.list", b"/bin\n"),
    ]  # fmt: skip
    with Task() as task:
        image, tree = merged(task, files)
        packages = installed(tree, image.layers, task).packages
        found = owners(packages, tree, [b"usr/bin/ls", b"bin", b"etc/passwd", b"var/lib/dpkg/info/other.list"])
    names = {path: [package.name for package in of] for path, of in found.items()}
    expected = {b"usr/bin/ls": ["coreutils"], b"bin": ["coreutils", "other"], b"var/lib/dpkg/info/other.list": ["other"]}
    assert expected == names


def test_file_belongs_to_the_package_of_the_nearest_directory_if_none_lists_it() -> None:
    outer = Package("npm", "outer", "1", b"node_modules/outer/package.json", directory=b"node_modules/outer")
    inner = Package("npm", "inner", "1", b"n", directory=b"node_modules/outer/node_modules/inner")
    paths = [b"node_modules/outer/a.js", b"node_modules/outer/node_modules/inner/b/c.js", b"node_modules/other/a.js"]
    with Task() as task:
        _, tree = merged(task, [])
        assert {paths[0]: (outer,), paths[1]: (inner,)} == owners([outer, inner], tree, paths)


def test_compiled_python_belongs_to_the_package_of_its_source() -> None:
    package = Package("deb", "python3-x", "1", b"s", files=(b"usr/lib/python3/x.py",))
    paths = [b"usr/lib/python3/__pycache__/x.cpython-311.pyc", b"usr/lib/python3/__pycache__/y.cpython-311.opt-1.pyc"]
    with Task() as task:
        _, tree = merged(task, [])
        assert {paths[0]: (package,)} == owners([package], tree, paths)


def test_footprint_of_a_directory_leaves_nested_packages_out_and_counts_links_once() -> None:
    top = "node_modules/outer"
    files: Files = [
        (f"{top}/package.json", b"12"), (f"{top}/node_modules/inner/package.json", b"123"), ("etc/motd", b""),
    ]  # fmt: skip
    again: Files = [(f"{top}/bin/a", b"1234"), (f"{top}/bin/b", f"hard:{top}/bin/a"), (f"{top}/bin/c", "link:a")]
    outer = Package("npm", "outer", "1", f"{top}/package.json".encode(), directory=top.encode())
    inner = Package("npm", "inner", "1", b"n", directory=f"{top}/node_modules/inner".encode())
    built = Package("golang", "built", "1", b"etc/motd")
    with Task() as task:
        _, tree = merged(task, files, again)
        assert [(4, 6, 1), (1, 3, 0), (None, None, 0)] == list(footprints([outer, inner, built], tree))
