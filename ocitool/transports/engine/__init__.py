"""Docker engines and what speaks their API (Podman's service): where one is, requests to it, its images.

In the direction of the data:
    address.py    which engine is meant, and how it is reached
    ssh.py        connections through ssh
    client.py     requests: the version of the API, answers, streams
    problems.py   what goes wrong, as errors of ours

`docker` (docker-py) is loaded when the first request is made, never before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocitool.task import Task
from ocitool.transports.engine.address import EngineOptions

if TYPE_CHECKING:
    from ocitool.transports.engine.client import Engine

__all__ = ["EngineOptions", "Engines"]


class Engines:
    """The engine of one command, made when it is first asked for."""

    def __init__(self, options: EngineOptions, task: Task) -> None:
        self._options = options
        self._task = task
        self._engine: Engine | None = None

    def engine(self) -> Engine:
        """Returns the engine. Nothing is sent yet. Raises what `address.find` raises."""
        if self._engine is None:
            from ocitool.transports.engine import address
            from ocitool.transports.engine.client import Engine

            self._engine = Engine(address.find(self._options), self._task)
        return self._engine

    def close(self) -> None:
        if self._engine is not None:
            self._engine.close()
