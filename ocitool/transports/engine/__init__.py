"""Docker engines and what speaks their API (Podman's service): where one is, requests to it, its images.

In the direction of the data:
    address.py    which engine is meant, and how it is reached
    unix.py, ssh.py    connections to a socket, and through ssh
    client.py     requests: the version of the API, answers, streams
    problems.py   what goes wrong, as errors of ours
    images.py     an image that is read: look it up, receive its archive
    description.py    what an engine says of an image, as a source
    sink.py       images that are written

Every command makes an `Engines`; what it needs, `docker` (docker-py) too, is loaded when an engine is first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from ocitool.atomic import Temporary
    from ocitool.spec.manifest import Platform
    from ocitool.task import Task
    from ocitool.transports.engine.client import Engine

__all__ = ["EngineOptions", "Engines"]


class EngineOptions(NamedTuple):
    """Which engine is meant: its address (`--host`: `unix:///PATH`, `tcp://HOST[:PORT]`, `ssh://[USER@]HOST`) or the name of a
    context of the docker client (`--context`). If neither is given: `DOCKER_HOST`, `DOCKER_CONTEXT`, the current context, else
    the local socket."""

    host: str | None = None
    context: str | None = None


class Engines:
    """The engine of one command, made when it is first asked for. `platform` returns the one that the command asks for; None if
    it asks for none."""

    def __init__(self, options: EngineOptions, task: Task, *, platform: Callable[[], Platform] | None = None) -> None:
        self.spool: Callable[[], Temporary] | None = None
        """Makes a file at the destination for each large layer that is received, if one is written to."""
        self._platform = platform
        self._options = options
        self._task = task
        self._engine: Engine | None = None

    @property
    def platform(self) -> Platform | None:
        """The platform that the command asks for (`--platform`). Raises `UsageError`."""
        return self._platform() if self._platform is not None else None

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
            self._engine = None
