"""The reports of `engine containers` and `engine df`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ocitool.containers.listing import ContainerList
from ocitool.report.json.fields import clean, created_by, notice_list, rfc3339

if TYPE_CHECKING:
    from ocitool.containers.disk_usage import EngineUsage
from ocitool.transports.engine.containers import ContainerSummary


def containers_json(result: ContainerList) -> dict[str, Any]:
    return {
        "report": "engine-containers",
        "version": 1,
        "engine": _engine(result),
        "containers": [_container(one) for one in result.containers],
        "notices": notice_list(result.notices),
    }


def df_json(result: EngineUsage) -> dict[str, Any]:
    deduped = result.images
    return {
        "report": "engine-df",
        "version": 1,
        "engine": _engine(result.containers),
        "images": [
            {
                "reference": clean(one.reference), "tags": clean(one.tags), "imageId": clean(one.image_id),
                "size": usage.size, "unique": usage.own, "shared": usage.shared,
                "containers": [clean(each.id) for each in result.containers_of(one)],
            }
            for one, usage in deduped.largest()
        ],
        "containers": [_container(one) for one in result.containers.containers],
        "bytes": {
            "layers": deduped.unique, "referenced": deduped.referenced, "saved": deduped.saved, "writable": result.written,
        },
        "problems": [
            {"where": clean(one.where), "text": clean(str(one.error)), "exitCode": one.error.exit_code}
            for one in deduped.problems
        ],
        "notices": notice_list(deduped.notices),
    }  # fmt: skip


def _engine(result: ContainerList) -> dict[str, Any]:
    return {"address": clean(result.engine), "name": clean(result.name), "version": clean(result.version)}


def _container(one: ContainerSummary) -> dict[str, Any]:
    return {
        "id": clean(one.id),
        "names": clean(list(one.names)),
        "image": clean(one.image),
        "imageId": clean(one.image_id),
        "state": clean(one.state),
        "status": clean(one.status),
        "created": rfc3339(one.created * 1_000_000_000),
        "command": created_by(one.command),
        "writableBytes": one.writable,
        "totalBytes": one.whole,
    }
