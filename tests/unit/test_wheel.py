"""The wheel, built once and installed in a fresh environment elsewhere, is the whole program."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from ocitool.cli import COMMANDS


def run(*command: str | os.PathLike[str], cwd: Path, codes: tuple[int, ...] = (0,)) -> str:
    """Standard output of a command in an environment that knows nothing of the checkout or of the tests' own."""
    env = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}}
    env |= {"OCITOOL_CACHE_DIR": str(cwd / "cache"), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    done = subprocess.run(command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600)
    assert done.returncode in codes, f"{command}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    assert (root / "README.md").is_file(), "README.md is missing: pyproject.toml names it, no wheel can be built"
    # That pyproject.toml names all that the build needs is seen where README's command installs from a copy.
    run(sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", out, root, cwd=out)
    (made,) = out.glob("ocitool-*.whl")
    return made


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of programs of a fresh environment that has the wheel and what it depends on, no more."""
    home = tmp_path_factory.mktemp("installed")
    venv.create(home / "env", symlinks=True, system_site_packages=False)
    programs = home / "env" / "bin"
    run(sys.executable, "-m", "pip", "--python", programs / "python", "install", "--quiet", "--no-compile", wheel, cwd=home)
    return programs


def test_the_wheel_holds_the_package_and_every_schema(wheel: Path, root: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        for schema in (root / "schemas").glob("*.json"):
            assert archive.read(f"ocitool/schemas/{schema.name}") == schema.read_bytes()
    modules = {file.relative_to(root).as_posix() for file in (root / "ocitool").rglob("*.py")}
    assert modules <= names
    own = wheel.name.split("-py3")[0]
    tops = {name.split("/")[0] for name in names}
    assert tops == {"ocitool", f"{own}.dist-info", f"{own}.data"}, "nothing else is installed"


def test_the_wheel_installs_a_man_page_for_every_command(installed: Path) -> None:
    made = {path.name for path in (installed.parent / "share" / "man" / "man1").iterdir()}
    assert {"ocitool.1", "ocitool-layout-gc.1", *(f"ocitool-{command}.1" for command in COMMANDS)} <= made


def test_the_installed_program_is_not_the_checkout(installed: Path, root: Path, tmp_path: Path) -> None:
    where = Path(run(installed / "python", "-c", "import ocitool; print(ocitool.__file__)", cwd=tmp_path).strip())
    assert where.is_relative_to(installed.parent)
    assert not where.is_relative_to(root / "ocitool")


def test_inspect_works_from_the_wheel(installed: Path, testdata: Path, tmp_path: Path) -> None:
    report = json.loads(run(installed / "ocitool", "inspect", "--format", "json", testdata / "app-v1.tar", cwd=tmp_path))
    assert report["report"] == "inspect"
    assert len(report["images"]) == 1
    assert report["images"][0]["layers"]
    assert "shop:1.0" in run(installed / "ocitool", "inspect", testdata / "app-v1.tar", cwd=tmp_path)


def test_validate_works_from_the_wheel(installed: Path, testdata: Path, tmp_path: Path) -> None:
    command = (installed / "ocitool", "validate", "--format", "json")
    report = json.loads(run(*command, testdata / "encodings" / "oci", cwd=tmp_path))
    assert (report["report"], report["valid"]) == ("validate", True)


def test_validate_finds_the_schemas_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text('{"mediaType": "x/y", "size": -1}')
    command = (installed / "ocitool", "validate", "--format", "json", "--as", "descriptor", "bad.json")
    report = json.loads(run(*command, cwd=tmp_path, codes=(1,)))
    assert report["valid"] is False
    assert report["findings"]
