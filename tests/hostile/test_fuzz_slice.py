"""A short seeded slice of the fuzz campaign; `tests/campaign/run` is the long one."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


def campaign() -> ModuleType:
    path = Path(__file__).resolve().parents[1] / "campaign" / "fuzz.py"
    spec = importlib.util.spec_from_file_location("campaign_fuzz", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


FUZZ = campaign()
LONG = ("tar", "codec", "documents")
"""Targets that need more time to get anywhere; the readers of packages see hundreds of inputs in less."""


@pytest.mark.parametrize("target", list(FUZZ.TARGETS))
def test_no_mutant_breaks_a_law(target: str) -> None:
    found = FUZZ.run(target, 2.0 if target in LONG else 0.3, seed=1)
    assert isinstance(found, int), found
