"""The reports of `volume ls` and `volume restore`: one report, told apart by `action`."""

from __future__ import annotations

from typing import Any

from ocitool.report.json.fields import clean, notice_list, stated
from ocitool.volumes.listing import VolumeList
from ocitool.volumes.restore import VolumeRestored


def volumes_json(result: VolumeList) -> dict[str, Any]:
    return {
        "report": "volume",
        "version": 1,
        "action": "ls",
        "engine": clean(result.engine),
        "volumes": [
            {
                "name": clean(one.name),
                "driver": clean(one.driver),
                "labels": {clean(key): stated(value) for key, value in one.labels.items()},
                "created": clean(one.created),
                "size": one.size,
                "usedBy": clean(list(one.used_by)),
            }
            for one in result.volumes
        ],
        "notices": notice_list(result.notices),
    }


def restored_json(result: VolumeRestored) -> dict[str, Any]:
    return {
        "report": "volume",
        "version": 1,
        "action": "restore",
        "engine": clean(result.engine),
        "reference": clean(result.reference),
        "digest": result.digest,
        "volume": {"name": clean(result.name), "driver": clean(result.driver), "created": result.created},
        "entries": result.entries,
        "files": result.files,
        "size": result.size,
        "helper": clean(result.helper),
        "notices": notice_list(result.notices),
    }
