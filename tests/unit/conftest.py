"""What tests of registries in this process may ask for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.registries import DATA, NoWaitTask
from support.registry import BlobServer, ScriptedRegistry


@pytest.fixture
def registry() -> Iterator[ScriptedRegistry]:
    with ScriptedRegistry() as one:
        yield one


@pytest.fixture
def blob_server() -> Iterator[BlobServer]:
    """Where the registry's blobs are kept; it answers with DATA."""
    with BlobServer(DATA) as one:
        yield one


@pytest.fixture
def task() -> Iterator[NoWaitTask]:
    with NoWaitTask() as running:
        yield running
