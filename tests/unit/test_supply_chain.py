"""What is installed is known: lock files cover pyproject.toml with hashes, builds are reproducible, and it is written down."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ("requirements.lock", "requirements-build.lock")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
WANTED = PROJECT["project"]["dependencies"]
HASH = "    --hash=sha256:" + "0" * 64 + "\n"


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("sbom", ROOT / ".ci" / "sbom.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SBOM = script()


def text(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


# Lock files


def uncovered(lock: str, wanted: list[str]) -> Iterator[str]:
    """Requirements that no pin satisfies wherever they hold."""
    pins = {canonicalize_name(one.name): one for one in SBOM.pins(lock)}
    for one in map(Requirement, wanted):
        pin = pins.get(canonicalize_name(one.name))
        elsewhere = pin is not None and pin.marker and str(one.marker) != str(Marker(pin.marker))
        if pin is None or elsewhere or not one.specifier.contains(pin.version):
            yield str(one)


def unlocked(lock: str) -> Iterator[str]:
    """Dependencies of ocitool that the file does not have in a version that pyproject.toml allows."""
    yield from uncovered(lock, WANTED)


def unhashed(lock: str) -> Iterator[str]:
    yield from (one.name for one in SBOM.pins(lock) if not one.hashes)


def hosts(lock: str) -> Iterator[str]:
    """Lines that name an index or another place, which pip would go to."""
    yield from (line for line in lock.splitlines() if re.search(r"://|--(extra-)?index|--find-links|@ ", line))


def open_ends(lock: str) -> Iterator[str]:
    """What a pinned package that is installed here needs here, and no pin gives."""
    pins = {canonicalize_name(one.name) for one in SBOM.pins(lock)}
    for name in pins:
        try:
            needed = requires(name) or []
        except PackageNotFoundError:
            continue
        for one in map(Requirement, needed):
            if (one.marker is None or one.marker.evaluate({"extra": ""})) and canonicalize_name(one.name) not in pins:
                yield f"{name}: {one}"


CHECKS: dict[Callable[[str], Iterator[str]], str] = {
    unhashed: "rich==15.0.0 \\\n    # via ocitool (pyproject.toml)\n",
    hosts: "--index-url https://example.org/simple\n",
    open_ends: "rich==15.0.0 \\\n" + HASH,
    unlocked: "rich==1.0 \\\n" + HASH,
}


@pytest.mark.parametrize("lock", LOCKS)
@pytest.mark.parametrize("check", [unhashed, hosts, open_ends], ids=lambda check: check.__name__)
def test_a_lock_file_is_whole(lock: str, check: Callable[[str], Iterator[str]]) -> None:
    assert [] == list(check(text(lock)))


def test_every_dependency_is_locked_in_a_version_that_it_allows() -> None:
    assert [] == list(unlocked(text("requirements.lock")))
    assert [] == list(uncovered(text("requirements-build.lock"), PROJECT["build-system"]["requires"]))


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_each_check_of_lock_files_can_fail(check: Callable[[str], Iterator[str]]) -> None:
    assert list(check(CHECKS[check]))


def test_a_line_that_no_lock_file_has_is_refused() -> None:
    with pytest.raises(ValueError, match="no lock file"):
        SBOM.pins("rich>=15\n")


# Hooks before a commit


def remote(hooks: dict[str, Any]) -> Iterator[str]:
    """Hooks that need something else than this repository and its environment."""
    for repository in hooks["repos"]:
        for one in repository["hooks"]:
            local = repository["repo"] == "local" and one["language"] == "system"
            if not local or not one["entry"].startswith(".venv-test/bin/"):
                yield one["id"]


def test_hooks_before_a_commit_need_no_network() -> None:
    import yaml  # what Dask reads its settings with

    assert [] == list(remote(yaml.safe_load(text(".pre-commit-config.yaml"))))
    hook = {"id": "x", "language": "python", "entry": ".venv-test/bin/ruff"}
    assert ["x"] == list(remote({"repos": [{"repo": "local", "hooks": [hook]}]}))


# The bill of materials


def bill(wheel: bytes | None = b"wheel") -> dict[str, Any]:
    return SBOM.bill(PROJECT["project"], "1.2.3", text("requirements.lock"), wheel)  # type: ignore[no-any-return]


def test_the_bill_of_materials_lists_every_locked_package_once() -> None:
    listed = [(one["name"], one["version"], one["purl"]) for one in bill()["components"]]
    pins = SBOM.pins(text("requirements.lock"))
    assert listed == [(one.name, one.version, f"pkg:pypi/{one.name}@{one.version}") for one in pins]
    assert len(listed) == len(set(listed)) > len(WANTED)


def test_the_bill_of_materials_says_what_needs_what() -> None:
    below = {one["ref"]: one["dependsOn"] for one in bill()["dependencies"]}
    own = "pkg:pypi/ocitool@1.2.3"
    assert {one.split("@")[0].removeprefix("pkg:pypi/") for one in below[own]} == {Requirement(one).name for one in WANTED}
    reached: set[str] = set()
    waiting = [own]
    while waiting:
        ref = waiting.pop()
        if ref not in reached:
            reached.add(ref)
            waiting += below[ref]
    assert reached == set(below)


def test_the_bill_of_materials_is_of_this_wheel_and_always_the_same() -> None:
    assert bill() == bill()
    sha256 = hashlib.sha256(b"wheel").hexdigest()
    assert [{"alg": "SHA-256", "content": sha256}] == bill()["metadata"]["component"]["hashes"]
    assert "hashes" not in bill(None)["metadata"]["component"]
    assert 3 == len({bill(wheel)["serialNumber"] for wheel in (b"wheel", b"another", None)})


def test_the_script_prints_it() -> None:
    done = subprocess.run([sys.executable, ROOT / ".ci" / "sbom.py"], capture_output=True, check=True)
    printed = json.loads(done.stdout)
    assert ("CycloneDX", "1.6") == (printed["bomFormat"], printed["specVersion"])
    assert "ocitool" == printed["metadata"]["component"]["name"]
    assert str(ROOT).encode() not in done.stdout


# The wheel and the sdist


def sources(where: Path) -> Path:
    """A copy of what the build reads."""
    for name in ("ocitool", "schemas", "docs"):
        shutil.copytree(ROOT / name, where / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("README.md", "CHANGELOG.md", "SECURITY.md", "LICENSE", "pyproject.toml", ".gitignore"):
        shutil.copy(ROOT / name, where / name)
    return where


def built(where: Path, mask: str, **env: str) -> dict[str, bytes]:
    """What the sources there build to, without a network."""
    words = [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--sdist", "--outdir", "out", "."]
    environment = {name: value for name, value in os.environ.items() if name != "SOURCE_DATE_EPOCH"} | env
    masked = ["sh", "-c", f'umask {mask}; exec "$@"', "sh", *words]
    subprocess.run(masked, cwd=where, env=environment, check=True, capture_output=True)
    return {file.name: file.read_bytes() for file in (where / "out").iterdir()}


def test_the_wheel_and_the_sdist_are_the_same_bytes_wherever_and_whenever_they_are_built(tmp_path: Path) -> None:
    one, two = sources(tmp_path / "one"), sources(tmp_path / "a" / "longer directory")
    for path in two.rglob("*"):
        os.chmod(path, 0o700 if path.is_dir() else 0o600)
        os.utime(path, (1_000_000_000, 1_000_000_000))
    first = built(one, "022", TZ="UTC", LC_ALL="C")
    second = built(two, "077", TZ="Asia/Tokyo", LC_ALL="C.UTF-8", PYTHONHASHSEED="7")
    assert 2 == len(first) == len(second)
    assert first == second
