"""Packages of programs and archives that the real tools made: `go`, `javac` and `jar`, with `go version -m` as judge."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from ocitool.packages.elf import read_elf
from ocitool.packages.go import GoBuild, GoModule, GoReader, go_build
from ocitool.packages.java import JavaReader

pytestmark = pytest.mark.tools

_MODULE = """module example.com/app

go 1.18

require (
\texample.com/lib v1.2.3
\texample.com/used v0.1.0
)

replace example.com/lib => ../lib

replace example.com/used v0.1.0 => ../used
"""
_MAIN = """package main

import (
\t"example.com/lib"
\t"example.com/used"
)

func main() { println(lib.Name(), used.Name(), x) }

var x string
"""


def run(*command: str | os.PathLike[str], at: Path, **variables: str) -> str:
    env = {
        **os.environ,
        "GOFLAGS": "-mod=mod",
        "GOPROXY": "off",
        "CGO_ENABLED": "0",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        **variables,
    }
    done = subprocess.run(command, cwd=at, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def sources(need: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Go program with two modules beside it, in a git repository with a commit and a change."""
    need("go", "git")
    top = tmp_path_factory.mktemp("go")
    for name in ("lib", "used"):
        (top / name).mkdir()
        (top / name / "go.mod").write_text(f"module example.com/{name}\n\ngo 1.18\n")
        (top / name / "a.go").write_text(f'package {name}\n\nfunc Name() string {{ return "{name}" }}\n')
    (top / "app").mkdir()
    (top / "app/go.mod").write_text(_MODULE)
    (top / "app/main.go").write_text(_MAIN)
    run("git", "init", "-q", at=top)
    run("git", "add", ".", at=top)
    run("git", "-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "-qm", "a", at=top)
    return top


def told(build: GoBuild) -> list[str]:
    """A build as `go version -m` prints it, without the first line. Trailing tabs, which depend on its version, are left
    out."""

    def lines(word: str, one: GoModule) -> list[str]:
        names = "\t".join((one.path, one.version, one.sum)).rstrip()
        if one.replaced is None:
            return [f"{word}\t{names}"]
        return ["\t".join((word, *one.replaced)), f"=>\t{names}"]

    found = [f"path\t{build.path}"]
    if build.main is not None:
        found += lines("mod", build.main)
    for one in build.dependencies:
        found += lines("dep", one)
    for name, value in build.settings:
        quoted = json.dumps(value) if set(value) & set(' "') else value
        found.append(f"build\t{name}={quoted}")
    return found


@pytest.mark.parametrize("flags", [
    ("-ldflags=-s -w -X 'main.x=two words'", "-buildvcs=false"), ('-ldflags=-X main.x=a"b\\c',),
], ids=range(2))  # fmt: skip
def test_a_go_program_says_what_go_version_says(sources: Path, flags: tuple[str, ...], tmp_path: Path) -> None:
    run("go", "build", *flags, "-o", tmp_path / "app", ".", at=sources / "app")
    content = (tmp_path / "app").read_bytes()
    build = go_build(content, read_elf(content))
    assert build is not None
    judged = run("go", "version", "-m", tmp_path / "app", at=tmp_path).splitlines()
    assert (judged[0].rpartition(" ")[2], [line.strip() for line in judged[1:] if line.strip()]) == (build.version, told(build))
    reader = GoReader()
    reader.add(b"app", content)
    names = [(one.namespace, one.name) for one in reader.packages()]
    assert [("", "stdlib"), *(("example.com", name) for name in ("app", "lib", "used"))] == names
    assert ("-buildvcs=false" in flags) == ("vcs.revision" not in dict(build.settings))


def test_a_program_of_go_1_17_has_its_information_behind_pointers(need: Callable[..., str], tmp_path: Path) -> None:
    need("go")
    encoded = Path(run("go", "env", "GOROOT", at=tmp_path).strip(), "src/debug/buildinfo/testdata/go117/go117.base64")
    if not encoded.exists():
        pytest.skip("this Go has no program of Go 1.17 among its sources")
    content = base64.b64decode(encoded.read_bytes())
    (tmp_path / "app").write_bytes(content)
    (tmp_path / "app").chmod(0o755)
    build = go_build(content, read_elf(content))
    assert build is not None
    judged = run("go", "version", "-m", tmp_path / "app", at=tmp_path).splitlines()
    assert (judged[0].rpartition(" ")[2], [line.split("\t")[2:] for line in judged if line.startswith("\tmod")]) == (
        build.version, [[build.main.path, build.main.version, build.main.sum]] if build.main else [],
    )  # fmt: skip


def test_an_archive_of_jar_has_the_packages_that_its_files_name(need: Callable[..., str], tmp_path: Path) -> None:
    need("jar", "javac")
    (tmp_path / "A.java").write_text("package org.a; public class A { public static void main(String[] args) {} }")
    run("javac", "-d", tmp_path / "classes", tmp_path / "A.java", at=tmp_path)
    (tmp_path / "manifest").write_text(
        "Implementation-Title: a\nImplementation-Version: 1.2\nImplementation-Vendor-Id: org.a\n"
    )
    pom = tmp_path / "inner/META-INF/maven/org.b/b/pom.properties"
    pom.parent.mkdir(parents=True)
    pom.write_text("groupId=org.b\nartifactId=b\nversion=2.0\n")
    run("jar", "cf", tmp_path / "b-2.0.jar", "-C", tmp_path / "inner", ".", at=tmp_path)
    (tmp_path / "classes/WEB-INF/lib").mkdir(parents=True)
    (tmp_path / "b-2.0.jar").rename(tmp_path / "classes/WEB-INF/lib/b-2.0.jar")
    run("jar", "cfm", tmp_path / "a.war", tmp_path / "manifest", "-C", tmp_path / "classes", ".", at=tmp_path)
    reader = JavaReader()
    reader.add(b"opt/a.war", (tmp_path / "a.war").read_bytes())
    assert [("org.a", "a", "1.2"), ("org.b", "b", "2.0")] == [(p.namespace, p.name, p.version) for p in reader.packages()]
