"""`volume ls`: the volumes of an engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ocitool.progress import Notice
from ocitool.task import Task
from ocitool.transports.engine.volumes import VolumeInfo, every

if TYPE_CHECKING:
    from ocitool.transports.engine.client import Engine


class VolumeList(NamedTuple):
    """The volumes of an engine, by name."""

    engine: str
    volumes: tuple[VolumeInfo, ...]
    notices: tuple[Notice, ...]


def volumes(engine: Engine, task: Task, *, sizes: bool = True) -> VolumeList:
    """Returns the volumes of an engine, with how much is in them if `sizes`: some engines add that up anew each time.
    Raises what `Engine.get` raises."""
    return VolumeList(engine.where, tuple(every(engine, sizes=sizes)), tuple(task.notices))
