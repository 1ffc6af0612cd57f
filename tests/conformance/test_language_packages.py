"""Packages of languages, beside what their managers say of the same installation: pip, importlib, npm and RubyGems."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.language_packages import npm_archive, packages_below, wheel

from ocitool.packages.gem import GemReader
from ocitool.packages.npm import NpmReader
from ocitool.packages.python import PythonReader

pytestmark = pytest.mark.tools


def run(*command: str | Path, folder: Path, **environment: str) -> str:
    home = {"HOME": str(folder), "PIP_CONFIG_FILE": os.devnull, "PYTHONDONTWRITEBYTECODE": "", **environment}
    done = subprocess.run(command, cwd=folder, env={**os.environ, **home}, capture_output=True, text=True, timeout=120)
    assert 0 == done.returncode, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that pip installed three wheels into: names of every form, a command, a name with a comma, and a
    distribution within another one."""
    folder = tmp_path_factory.mktemp("pip")
    vendored = "Big.Lib/_vendor/small-0.1.dist-info/METADATA"
    wheels = [
        wheel(folder, "PyThing", "2.0rc1", {"pything/__init__.py": b"", "pything/a,b.txt": b""}, {"thing": "pything:main"}),
        wheel(folder, "zope.like_name", "1.0+local.1", {"zope/like.py": b"x = 1\n"}),
        wheel(folder, "big-lib", "3", {"big/_vendor/__init__.py": b"", vendored: b"Name: small\nVersion: 0.1\n"}),
    ]
    options = ("--no-index", "--no-deps", "--disable-pip-version-check", "--target", folder / "site")
    run(sys.executable, "-m", "pip", "install", "-q", *options, *wheels, folder=folder)
    return folder / "site"


def test_pip_lists_the_same_distributions(site: Path) -> None:
    command = (sys.executable, "-m", "pip", "list", "--disable-pip-version-check", "--format", "json", "--path", site)
    listed = json.loads(run(*command, folder=site.parent))
    expected = sorted((re.sub(r"[-_.]+", "-", one["name"]).lower(), one["version"]) for one in listed)
    assert 3 == len(expected)
    assert expected == [(one.name, one.version) for one in packages_below(PythonReader(), site, "app/site/")]


def test_importlib_names_the_same_files(site: Path) -> None:
    expected = {
        one.version: {os.fsencode(os.path.normpath(f"app/site/{file}")) for file in one.files or ()}
        for one in importlib.metadata.distributions(path=[str(site)])
    }
    found = {one.version: set(one.files) for one in packages_below(PythonReader(), site, "app/site/")}
    assert expected == found
    assert any(b"__pycache__" in file for file in found["2.0rc1"])
    assert any(file.endswith(b"a,b.txt") for file in found["2.0rc1"])


def test_npm_lists_the_same_packages(need: Callable[..., str], tmp_path: Path) -> None:
    """Nested, scoped and renamed packages; files of the same name that are none."""
    npm = need("npm")
    app, second = tmp_path / "app", tmp_path / "second"
    app.mkdir()
    second.mkdir()
    leaf = npm_archive(tmp_path, {"name": "leaf", "version": "1.0.0"})
    newer = npm_archive(second, {"name": "leaf", "version": "2.0.0-rc.1"})
    inside = {
        "cli.js": b"#!/usr/bin/env node\n", "dist/esm/package.json": b'{"type": "module"}',
        "test/node_modules/x/package.json": b'{"name": "x", "version": "9.9.9"}',
    }  # fmt: skip
    fields = {"name": "@scope/mid", "version": "1.2.3", "dependencies": {"leaf": f"file:{newer}"}, "bin": {"mid": "cli.js"}}
    middle = npm_archive(tmp_path, fields, inside)
    (app / "package.json").write_text('{"name": "app", "version": "0.0.1", "private": true}')
    options = ("--offline", "--no-audit", "--no-fund", "--no-update-notifier", "--cache", tmp_path / "cache")
    run(npm, "install", *options, leaf, middle, f"other@file:{leaf}", folder=app)

    expected = sorted(_listed(json.loads(run(npm, "ls", "--all", "--json", *options, folder=app))))
    packages = packages_below(NpmReader(), app, "app/")
    directories = [str(one.directory, "utf-8").rpartition("app/")[2] for one in packages]
    assert ["@scope/mid", "leaf", "leaf", "other"] == [name for name, _ in expected]
    assert expected == sorted(
        (directory.rpartition("node_modules/")[2], one.version) for directory, one in zip(directories, packages, strict=True)
    )
    commands = [app.parent / os.fsdecode(file) for one in packages for file in one.files]
    assert [app / "node_modules/.bin/mid"] == commands
    assert all(command.is_symlink() for command in commands)


def _listed(tree: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yields the packages of `npm ls`, by the names of their directories."""
    for name, one in tree.get("dependencies", {}).items():
        yield name, one["version"]
        yield from _listed(one)


def test_rubygems_lists_the_same_gems(need: Callable[..., str], tmp_path: Path) -> None:
    """A gem that RubyGems built and installed, with its default ones."""
    ruby, home = need("ruby"), tmp_path / "gems"
    (tmp_path / "lib").mkdir()
    (tmp_path / "exe").mkdir()
    (tmp_path / "lib/small.rb").write_text("module Small; end\n")
    (tmp_path / "exe/small").write_text("#!/usr/bin/env ruby\n")
    (tmp_path / "small.gemspec").write_text(
        'Gem::Specification.new do |s|\n s.name = "small_gem"\n s.version = "1.2.pre"\n s.summary = "A \\"test\\""\n'
        ' s.authors = ["x"]\n s.licenses = ["MIT"]\n s.homepage = "https://example.com"\n s.bindir = "exe"\n'
        ' s.executables = ["small"]\n s.files = ["lib/small.rb", "exe/small"]\nend\n'
    )
    script = (
        'require "rubygems/package"; require "rubygems/installer"; require "json";'
        'file = Gem::Package.build(Gem::Specification.load("small.gemspec"));'
        f'Gem::Installer.at(file, install_dir: "{home}", bin_dir: "{home}/bin", document: []).install;'
        "puts JSON.generate(Gem::Specification.dirs.flat_map { |d| Dir[d + '/{,default/}*.gemspec'] }"
        ".map { |f| s = Gem::Specification.load(f); [f, s.name, s.version.to_s, s.licenses.join(' OR ')] })"
    )
    output = run(ruby, "-e", script, folder=tmp_path, GEM_HOME=str(home)).splitlines()[-1]
    expected = sorted((path, name, version, license) for path, name, version, license in json.loads(output))
    reader = GemReader()
    for path, *_ in expected:
        assert reader.database_of(os.fsencode(path.lstrip("/")), None) is not None  # type: ignore[arg-type]
        reader.add(os.fsencode(path.lstrip("/")), Path(path).read_bytes())
    packages = sorted(reader.packages(), key=lambda one: one.database)
    assert expected == [(os.fsdecode(b"/" + one.database), one.name, one.version, one.license) for one in packages]
    [small] = [one for one in packages if one.name == "small_gem"]
    installed = {os.fsencode(path) for path in home.rglob("*") if path.is_file()}
    owned = {b"/" + file for file in small.files}
    inside = b"/" + (small.directory or b"") + b"/"
    assert installed == {path for path in installed if path in owned or path.startswith(inside)}
    assert len(expected) > 1
