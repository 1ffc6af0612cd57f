"""Renders `unpack` as text."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ocitool.report.escape import human, shown, stated
from ocitool.report.phrases import count_of

if TYPE_CHECKING:
    from ocitool.operations.unpack.editable import UnpackResult
    from ocitool.operations.unpack.flat import FlatResult
    from ocitool.operations.unpack.store import StoreResult


def unpack_text(result: UnpackResult) -> Iterator[str]:
    rootless = ", rootless" if result.owners.rootless else ""
    yield f"{shown(result.destination)}: {count_of(result.entries, 'path')}, {human(result.written)}{rootless}, verified"
    if result.form != "rootfs":
        yield _mode_remark(result.mode)
    destination = shown(shlex.quote(result.destination))
    if result.form == "editable":
        yield f"next: edit {destination}/rootfs, then: ocitool repack {destination} NEW"
    elif result.form == "bundle":
        yield f"next: crun run --bundle {destination} NAME"


def _mode_remark(mode: int) -> str:
    if mode & 0o001:
        return f"mode {mode:04o}: other users can run the image's setuid files"
    return f"mode {mode:04o}: closed to other users, who could run the image's setuid files; --mode opens it"


def flat_text(result: FlatResult) -> Iterator[str]:
    yield f"{shown(result.destination)}: {count_of(result.entries, 'path')}, {human(result.size)}, verified"


def store_text(result: StoreResult) -> Iterator[str]:
    rootless = ", rootless" if result.owners.rootless else ""
    for stored in result.images:
        image = stored.image
        name = shown(image.tags[0] if image.tags else image.image_id)
        fresh = sum(layer.fresh for layer in stored.layers)
        yield f"{name} ({stated(image.platform)}): {count_of(len(stored.layers), 'layer')}, {fresh} of them new{rootless}"
        if stored.command:
            yield shown(stored.command)
    yield _mode_remark(result.mode)
