"""What tests of registries at the command line may ask for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.desk import (
    APP,
    BIG,
    Desk,
    Run,
)
from support.images import write_layout
from support.registry import Certificates, certificates


@pytest.fixture
def desk(ocitool: Run, tmp_path: Path) -> Desk:
    write_layout(tmp_path / "app", [APP])
    write_layout(tmp_path / "big", [BIG])
    return Desk(ocitool, tmp_path)


@pytest.fixture(scope="module")
def made(need: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    need("openssl")
    return certificates(tmp_path_factory.mktemp("certificates"))
