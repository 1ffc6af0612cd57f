"""Packages of conda and gems of Ruby, from records as their documentation gives them."""

from __future__ import annotations

import json

import pytest
from support.language_packages import packages_among
from support.packages import packages_of

from ocitool.packages.conda import CondaReader
from ocitool.packages.gem import GemReader
from ocitool.packages.package import DatabaseError, DatabaseProblem, Package
from ocitool.packages.purl import package_url

RECORD = {
    "arch": None, "build": "pyh0701188_6", "build_number": 6, "channel": "conda-forge/noarch", "depends": ["python >=3.8"],
    "extracted_package_dir": "/opt/conda/pkgs/pysocks-1.7.1-pyh0701188_6",
    "files": ["lib/python3.11/site-packages/PySocks-1.7.1.dist-info/METADATA", "lib/python3.11/site-packages/socks.py"],
    "fn": "pysocks-1.7.1-pyh0701188_6.tar.bz2", "license": "BSD-3-Clause", "name": "pysocks", "noarch": "python",
    "paths_data": {"paths": [{"_path": "lib/python3.11/site-packages/socks.py", "path_type": "hardlink"}], "paths_version": 1},
    "subdir": "noarch", "version": "1.7.1",
}  # fmt: skip
"""What conda and micromamba write for a package (`PrefixRecord`), shortened."""

GEMSPEC = """\
# -*- encoding: utf-8 -*-
# stub: debug 1.4.0 x86_64-linux lib
# stub: ext/debug/extconf.rb

Gem::Specification.new do |s|
  s.name = "debug".freeze
  s.version = "1.4.0"
  s.platform = "x86_64-linux".freeze

  s.required_rubygems_version = Gem::Requirement.new(">= 0".freeze) if s.respond_to? :required_rubygems_version=
  s.require_paths = ["lib".freeze]
  s.description = "A \\"s.name\\"\\n  s.name = \\"other\\"".freeze
  s.executables = ["rdbg".freeze, "../x".freeze]
  s.files = ["exe/rdbg".freeze, "lib/debug.rb".freeze]
  s.licenses = ["Ruby".freeze, "BSD-2-Clause".freeze]
end
"""
"""What RubyGems 3.3 writes when it installs a gem."""


def test_a_record_of_conda_names_its_build_and_files() -> None:
    path = "opt/conda/conda-meta/pysocks-1.7.1-pyh0701188_6.json"
    files = [f"opt/conda/{name}".encode() for name in RECORD["files"]]  # type: ignore[attr-defined]
    expected = Package(
        "conda", "pysocks", "1.7.1-pyh0701188_6", path.encode(), architecture="noarch", license="BSD-3-Clause",
        files=(*files, path.encode()),
    )  # fmt: skip
    assert [expected] == packages_among(CondaReader(), {path: json.dumps(RECORD)})


def test_an_environment_is_one_database_and_its_history_none() -> None:
    reader = CondaReader()
    paths = (b"conda-meta/a.json", b"opt/conda/conda-meta/a.json", b"opt/conda/conda-meta/history", b"xconda-meta/a.json")
    assert [b"conda-meta", b"opt/conda/conda-meta", None, None] == [reader.database_of(p, None) for p in paths]  # type: ignore[arg-type]


@pytest.mark.parametrize("change", [{"name": None}, {"version": 1}, {"version": ""}])
def test_a_record_without_name_or_version_is_a_problem(change: dict[str, object]) -> None:
    with pytest.raises(DatabaseError, match="names no package"):
        CondaReader().add(b"conda-meta/a.json", json.dumps({**RECORD, **change}).encode())


def test_lists_of_other_types_are_passed_over() -> None:
    for files in (None, {}, [1, None, "a"]):
        [package] = packages_among(CondaReader(), {"conda-meta/a.json": json.dumps({**RECORD, "files": files})})
        assert ((b"a",) if files else ()) == package.files[:-1]


def test_a_gem_is_read_from_its_stub_line_and_owns_its_directory() -> None:
    root = "usr/local/bundle/"
    path = root + "specifications/debug-1.4.0-x86_64-linux.gemspec"
    expected = Package(
        "gem", "debug", "1.4.0", path.encode(), architecture="x86_64-linux", license="Ruby OR BSD-2-Clause",
        files=(
            path.encode(), b"usr/local/bundle/cache/debug-1.4.0-x86_64-linux.gem",
            b"usr/local/bundle/build_info/debug-1.4.0-x86_64-linux.info", b"usr/local/bundle/bin/rdbg",
        ),
        directory=b"usr/local/bundle/gems/debug-1.4.0-x86_64-linux",
    )  # fmt: skip
    assert [expected] == packages_among(GemReader(), {path: GEMSPEC})


def test_an_old_gem_without_the_line_is_read_from_its_assignments() -> None:
    text = "\n".join(line for line in GEMSPEC.splitlines() if "stub" not in line)
    [found] = packages_among(GemReader(), {"specifications/a.gemspec": text})
    assert ("debug", "1.4.0", "x86_64-linux") == (found.name, found.version, found.architecture)


def test_a_default_gem_has_its_files_in_the_library_of_ruby() -> None:
    path = "usr/local/lib/ruby/gems/3.3.0/specifications/default/debug-1.4.0.gemspec"
    text = GEMSPEC.replace(" x86_64-linux lib", " ruby lib")
    [found] = packages_among(GemReader(), {path: text})
    assert {b"usr/local/bin/rdbg", b"usr/local/lib/ruby/3.3.0/debug.rb"} <= set(found.files)
    assert "" == found.architecture


def test_specifications_are_those_that_rubygems_wrote() -> None:
    reader = GemReader()
    paths = (b"a/specifications/default/x.gemspec", b"specifications/x.gemspec", b"a/gems/x-1/x.gemspec",
             b"a/specifications/cache/x.gemspec", b"a/specifications/x.rb")  # fmt: skip
    expected = [b"a/specifications", b"specifications", None, None, None]
    assert expected == [reader.database_of(path, None) for path in paths]  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "Gem::Specification.new", "# stub: a", "# stub: ../a 1 ruby lib\n"])
def test_a_file_that_names_no_gem_is_a_problem(text: str) -> None:
    with pytest.raises(DatabaseError, match="names no gem"):
        GemReader().add(b"specifications/a.gemspec", text.encode())


def test_the_languages_packages_of_an_image_are_listed_together() -> None:
    found = packages_of(
        [
            ("opt/conda/conda-meta/pysocks-1.7.1-pyh0701188_6.json", json.dumps(RECORD).encode()),
            ("app/node_modules/x/package.json", b'{"name": "x", "version": "1.0.0"}'),
            ("app/node_modules/x/test/package.json", b"{"),
            ("app/node_modules/y/package.json", b"{"),
            ("usr/lib/python3/site-packages/a-1.dist-info/METADATA", b"Name: A\nVersion: 1\n"),
            ("usr/lib/ruby/gems/3.1.0/specifications/debug-1.4.0.gemspec", GEMSPEC.encode()),
        ]
    )
    expected = [("conda", "pysocks"), ("gem", "debug"), ("npm", "x"), ("pypi", "a")]
    assert expected == [(one.kind, one.name) for one in found.packages]
    assert (DatabaseProblem(b"app/node_modules/y/package.json", "it is not JSON that can be read"),) == found.problems


def test_package_urls_have_the_qualifiers_of_their_types() -> None:
    """As in the definitions of the types: https://github.com/package-url/purl-spec."""
    conda = Package("conda", "numpy", "1.26.4-py311h7125741_0", b"", architecture="linux-64")
    assert "pkg:conda/numpy@1.26.4?build=py311h7125741_0&subdir=linux-64" == package_url(conda)
    assert "pkg:gem/debug@1.4.0?platform=x86_64-linux" == package_url(
        Package("gem", "debug", "1.4.0", b"", architecture="x86_64-linux")
    )
    assert "pkg:npm/%40types/node@20.1.0" == package_url(Package("npm", "node", "20.1.0", b"", "@types"))
