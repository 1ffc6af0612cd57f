"""Packages and the order of versions, as the tools say that wrote them: dpkg and rpm."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from support.packages import Files, packages_of

from ocitool.packages.package import Package, PackageKind
from ocitool.packages.versions import compare

pytestmark = pytest.mark.tools
DPKG = Path("/var/lib/dpkg")
FIELDS = "${Package}\t${Version}\t${Architecture}\t${source:Package}\t${source:Version}\t${db:Status-Status}\t${Package}\n"


def output(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def debian(need: Callable[..., str]) -> tuple[Package, ...]:
    """The packages of this machine, by the files of its database in a layer."""
    need("dpkg-query")
    files = [DPKG / "status", DPKG / "diversions", *DPKG.glob("info/*")]
    layer: Files = [(str(path).lstrip("/"), path.read_bytes()) for path in files if path.is_file()]
    found = packages_of(layer)
    assert not found.problems
    return found.packages


def test_packages_of_debian_are_those_of_dpkg_query(debian: tuple[Package, ...]) -> None:
    lines = (line.split("\t") for line in output("dpkg-query", "-W", "-f", FIELDS).splitlines())
    expected = sorted(line[:5] for line in lines if line[5] not in ("config-files", "not-installed"))
    ours = sorted(
        [one.name, one.version, one.architecture, one.source or one.name, one.source_version or one.version] for one in debian
    )
    assert expected == ours


def test_files_of_debian_packages_are_those_of_dpkg_query(debian: tuple[Package, ...]) -> None:
    chosen = random.Random(4).sample(debian, min(60, len(debian))) + [one for one in debian if one.name in ("dash", "bash")]
    names = {f"{one.name}:{one.architecture}" if one.architecture != "all" else one.name: one for one in chosen}
    listed = output("dpkg-query", "-L", *names).split("\n\n")
    assert len(names) == len(listed)
    for (name, package), text in zip(names.items(), listed, strict=True):
        files: list[str] = []
        for line in text.splitlines():
            if line.startswith("diverted by "):  # said of the path before it
                files[-1] = line.partition(" to: ")[2]
            elif line.startswith("/") and line != "/.":
                files.append(line)
        ours = {"/" + file.decode() for file in package.files if not file.startswith(b"var/lib/dpkg/info/")}
        assert (name, sorted({*files, *(ours & conffiles(name))})) == (name, sorted(ours))


def conffiles(name: str) -> set[str]:
    """The configuration files of a package, which it may have dropped since."""
    return {line.split()[0] for line in output("dpkg-query", "-W", "-f", "${Conffiles}", name).splitlines() if line.strip()}


@pytest.mark.parametrize(
    ("kind", "pieces"),
    [("deb", "0 1 2 10 01 a b ~ + . - rc deb12u1 dfsg 00 9 Z :"), ("rpm", "0 1 2 10 01 a b ~ ^ + . rc _ 00 9 Z")],
)
def test_order_of_versions_is_that_of_the_tool(kind: PackageKind, pieces: str, need: Callable[..., str]) -> None:
    chance = random.Random(16)

    def version() -> str:
        text = "1" + "".join(chance.choice(pieces.split()) for _ in range(chance.randrange(6)))
        return f"0:{text}" if kind == "deb" else text

    pairs = [(a, chance.choice([version(), a + chance.choice(pieces.split())])) for a in (version() for _ in range(150))]
    expected = by_dpkg(pairs, need) if kind == "deb" else by_rpm(pairs, need)
    assert len(expected) > 100
    assert expected == [(a, b, compare(kind, a, b)) for a, b, _ in expected]


LESS_OR_GREATER = """while read -r a b; do
    dpkg --compare-versions "$a" lt "$b"; less=$?
    dpkg --compare-versions "$a" gt "$b"; echo $less $?
done"""


def by_dpkg(pairs: list[tuple[str, str]], need: Callable[..., str]) -> list[tuple[str, str, int]]:
    """The order of pairs by dpkg, without those that are no versions to it."""
    need("dpkg")
    text = "".join(f"{a} {b}\n" for a, b in pairs)
    done = subprocess.run(["sh", "-c", LESS_OR_GREATER], check=True, capture_output=True, text=True, input=text)
    signs = {"0 1": -1, "1 0": 1, "1 1": 0}
    answers = zip(pairs, done.stdout.splitlines(), strict=True)
    return [(a, b, signs[answer]) for (a, b), answer in answers if answer in signs]


def by_rpm(pairs: list[tuple[str, str]], need: Callable[..., str]) -> list[tuple[str, str, int]]:
    lua = "".join(f'print(rpm.vercmp("{a}", "{b}"), "") ' for a, b in pairs)
    found = output(need("rpm"), "--eval", f"%{{lua:{lua}}}").split()
    return [(a, b, int(sign)) for (a, b), sign in zip(pairs, found, strict=True)]
