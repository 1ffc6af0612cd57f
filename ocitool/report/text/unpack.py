"""`unpack` as text."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from ocitool.operations.unpack.editable import Unpacked
from ocitool.report.escape import human, shown
from ocitool.report.text.parts import count_of


def unpack(result: Unpacked) -> Iterator[str]:
    rootless = ", rootless" if result.owners.rootless else ""
    size = f"{human(result.written)}{rootless}, verified"
    yield f"{shown(result.destination)}: {count_of(result.entries, 'path')}, {size}"
    destination = shown(shlex.quote(result.destination))
    if result.form == "editable":
        yield f"next: edit {destination}/rootfs, then: ocitool repack {destination} NEW"
    elif result.form == "bundle":
        yield f"next: crun run --bundle {destination} NAME"
