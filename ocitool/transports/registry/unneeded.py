"""Libraries that another one names and never calls for us: left out of its import, which takes a fifth of a short command."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any


@contextmanager
def unneeded(name: str) -> Iterator[None]:
    """What is imported within gets a stand-in for this module, which becomes the module itself where somebody uses it."""
    if name in sys.modules:
        yield
        return
    stand_in = ModuleType(name)

    def real(attribute: str) -> Any:
        if sys.modules.get(name) is stand_in:
            del sys.modules[name]
        return getattr(import_module(name), attribute)

    stand_in.__getattr__ = real  # type: ignore[method-assign]
    sys.modules[name] = stand_in
    try:
        yield
    finally:
        if sys.modules.get(name) is stand_in:
            del sys.modules[name]
