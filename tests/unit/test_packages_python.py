"""Distributions of Python, from the files that pip, uv and setuptools write."""

from __future__ import annotations

import pytest
from support.language_packages import packages_among

from ocitool.packages.package import DatabaseError, Package
from ocitool.packages.python import PythonReader

SITE = "usr/lib/python3.11/site-packages/"


def metadata(name: str, version: str, more: str = "") -> str:
    return f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{more}\nText.\nVersion: 9\n"


def only(files: dict[str, str | bytes]) -> Package:
    [package] = packages_among(PythonReader(), files)
    return package


def test_a_distribution_has_the_name_and_version_of_its_metadata() -> None:
    found = only({SITE + "a-1.dist-info/METADATA": metadata("ruamel.yaml_Clib", "1.0rc1", "License: MIT\n")})
    assert ("pypi", "ruamel-yaml-clib", "1.0rc1", "MIT") == (found.kind, found.name, found.version, found.license)
    assert (SITE + "a-1.dist-info/METADATA").encode() == found.database
    assert (SITE + "a-1.dist-info").encode() == found.directory


def test_a_licence_expression_goes_before_a_licence_and_unknown_is_none() -> None:
    both = "License: Apache\nLicense-Expression: Apache-2.0\n"
    assert only({"a-1.dist-info/METADATA": metadata("a", "1", both)}).license == "Apache-2.0"
    assert only({"a-1.dist-info/METADATA": metadata("a", "1", "License: UNKNOWN\n")}).license == ""


def test_paths_of_record_are_relative_to_the_directory_of_the_distribution() -> None:
    record = (
        b'a/__init__.py,sha256=x,1\r\n"a/b,""c"".py",,\n../../../bin/a,,\n/etc/a.conf,,\n../../../../../x,,\n\n./a/d\xff.py,,'
    )
    found = only({SITE + "a-1.dist-info/RECORD": record, SITE + "a-1.dist-info/METADATA": metadata("a", "1")})
    site = SITE.encode()
    expected = (site + b"a/__init__.py", site + b'a/b,"c".py', b"usr/bin/a", b"etc/a.conf", site + b"a/d\xff.py")
    assert expected == found.files


def test_eggs_and_their_records_are_read_in_every_form() -> None:
    found = packages_among(
        PythonReader(),
        {
            SITE + "one-1.egg-info": metadata("one", "1"),
            SITE + "two-2.egg-info/PKG-INFO": metadata("two", "2"),
            SITE + "two-2.egg-info/installed-files.txt": "../two/__init__.py\nPKG-INFO\n../../../../bin/two\n",
            SITE + "three-3-py3.11.egg/EGG-INFO/PKG-INFO": metadata("three", "3"),
            "app/src/four.egg-info/PKG-INFO": metadata("four", "4"),
        },
    )
    site = SITE.encode()
    files = (site + b"two/__init__.py", site + b"two-2.egg-info/PKG-INFO", b"usr/bin/two")
    expected = [("four", "4", ()), ("one", "1", ()), ("three", "3", ()), ("two", "2", files)]
    assert expected == [(one.name, one.version, one.files) for one in found]
    assert [b"app/src/four.egg-info", None, site + b"three-3-py3.11.egg", site + b"two-2.egg-info"] == [
        one.directory for one in found
    ]


def test_all_distributions_of_a_directory_are_one_database() -> None:
    reader = PythonReader()
    paths = ("a-1.dist-info/METADATA", "a-1.dist-info/RECORD", "b.egg-info", "c.egg/EGG-INFO/PKG-INFO")
    assert {SITE.encode()[:-1]} == {reader.database_of((SITE + path).encode(), None) for path in paths}  # type: ignore[arg-type]
    others = (SITE + "a/METADATA", SITE + "a-1.dist-info/WHEEL", SITE + "~a-1.dist-info/METADATA", "METADATA",
              "opt/conda/pkgs/a-1-py311_0/site-packages/a-1.dist-info/METADATA")  # fmt: skip
    assert {None} == {reader.database_of(path.encode(), None) for path in others}  # type: ignore[arg-type]


def test_a_distribution_that_another_one_carries_is_part_of_it() -> None:
    vendored = "setuptools/_vendor/wheel-0.45.dist-info/METADATA"
    found = packages_among(
        PythonReader(),
        {
            SITE + "setuptools-80.dist-info/METADATA": metadata("setuptools", "80"),
            SITE + "setuptools-80.dist-info/RECORD": f"{vendored},,\nwheel-1.dist-info/METADATA,,\n",
            SITE + vendored: metadata("wheel", "0.45"),
            SITE + "wheel-1.dist-info/METADATA": metadata("wheel", "1"),
            "app/_vendor/wheel-0.1.dist-info/METADATA": metadata("wheel", "0.1"),
        },
    )
    assert [("setuptools", "80"), ("wheel", "0.1"), ("wheel", "1")] == sorted((one.name, one.version) for one in found)


def test_a_distribution_that_is_recorded_twice_in_a_directory_is_one() -> None:
    """As `python3-cryptography` of Debian."""
    found = only(
        {
            SITE + "a.egg-info/PKG-INFO": metadata("A", "1"),
            SITE + "a-1.dist-info/METADATA": metadata("a", "1"),
            SITE + "a-1.dist-info/RECORD": "a.py,,\n",
        }
    )
    assert (SITE + "a.py").encode() in found.files


@pytest.mark.parametrize(
    "text", ["", "Name: a\n", "Version: 1\n", "\nName: a\nVersion: 1", "Name: a b\nVersion: 1\n", "Name: -\nVersion: 1"]
)
def test_metadata_without_name_or_version_is_a_problem(text: str) -> None:
    with pytest.raises(DatabaseError, match="it names no distribution and version"):
        PythonReader().add(b"a-1.dist-info/METADATA", text.encode())
