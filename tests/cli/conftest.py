"""What tests of registries at the command line may ask for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.images import write_layout
from support.registries import NO_REGISTRY_SETTINGS
from support.registry import Certificates, ScriptedRegistry, certificates
from support.registry_command import (
    APP,
    BIG,
    RegistryCommand,
    Run,
)

PROCESSES = {
    "test_contract", "test_dedupe_ends", "test_dedupe_work", "test_faults", "test_report_file", "test_signals", "test_terminal",
}  # fmt: skip
"""Modules about the process itself: its exit codes, streams and signals."""


@pytest.fixture
def ocitool(request: pytest.FixtureRequest, ocitool: Run, inside: Run) -> Run:
    return ocitool if request.path.stem in PROCESSES else inside


@pytest.fixture
def registry() -> Iterator[ScriptedRegistry]:
    with ScriptedRegistry() as one:
        yield one


@pytest.fixture
def run(ocitool: Run, tmp_path: Path) -> Run:
    """The command with --insecure, in a directory of its own, at a home without credentials."""
    home = tmp_path / "home"
    home.mkdir()
    env = {**NO_REGISTRY_SETTINGS, "HOME": str(home)}
    return lambda *words, **how: ocitool(*words, "--insecure", cwd=tmp_path, env=env, **how)


@pytest.fixture
def command(ocitool: Run, tmp_path: Path) -> RegistryCommand:
    write_layout(tmp_path / "app", [APP])
    write_layout(tmp_path / "big", [BIG])
    return RegistryCommand(ocitool, tmp_path)


@pytest.fixture(scope="module")
def made(need: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    need("openssl")
    return certificates(tmp_path_factory.mktemp("certificates"))
