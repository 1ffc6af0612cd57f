"""`engine containers` and `engine df` as text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ocitool.containers.listing import ContainerList
from ocitool.report.escape import human, shown
from ocitool.report.phrases import count_of
from ocitool.report.text.parts import columns
from ocitool.transports.engine.containers import ContainerSummary

if TYPE_CHECKING:
    from ocitool.containers.disk_usage import EngineUsage

_ID = 12


def containers_text(result: ContainerList) -> Iterator[str]:
    if result.containers:
        rows = [["name", "image", "state", "writable", "all"]]
        rows += [
            [container_name(one), shown(one.image or one.image_id), shown(one.status or one.state), size(one.writable),
             size(one.whole)]
            for one in result.containers
        ]  # fmt: skip
        yield from columns(rows, right=(3, 4), indent="")
    total = sum(one.writable or 0 for one in result.containers)
    yield f"{shown(result.engine)}: {count_of(len(result.containers), 'container')}, {human(total)} written"


def df_text(result: EngineUsage) -> Iterator[str]:
    deduped, containers = result.images, result.containers.containers
    if deduped.collection.members:
        rows = [["image", "size", "unique", "shared", "containers"]]
        rows += [
            [shown(one.reference.removeprefix(_PREFIX)), human(usage.size), human(usage.own), human(usage.shared),
             ", ".join(map(container_name, result.containers_of(one))) or "-"]
            for one, usage in deduped.largest()
        ]  # fmt: skip
        yield from columns(rows, right=(1, 2, 3), indent="")
        yield ""
    if containers:
        rows = [["container", "image", "state", "writable"]]
        rows += [
            [container_name(one), shown(one.image or one.image_id), shown(one.state), size(one.writable)]
            for one in sorted(containers, key=lambda one: (-(one.writable or 0), one.names))
        ]
        yield from columns(rows, right=(3,), indent="")
        yield ""
    yield (
        f"{count_of(len(deduped.collection.members), 'image')}: {human(deduped.unique)} in "
        f"{count_of(deduped.layers, 'layer')}, {human(deduped.saved)} saved by sharing"
    )
    yield f"{count_of(len(containers), 'container')}: {human(result.written)} written"


_PREFIX = "docker-daemon:"


def container_name(one: ContainerSummary) -> str:
    return ", ".join(map(shown, one.names)) or shown(one.id[:_ID])


def size(size: int | None) -> str:
    return human(size) if size is not None else "?"
