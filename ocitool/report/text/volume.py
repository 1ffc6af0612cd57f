"""`volume ls` and `volume restore` as text."""

from __future__ import annotations

from collections.abc import Iterator

from ocitool.report.escape import human, shown, stated
from ocitool.report.phrases import count_of
from ocitool.report.text.parts import columns
from ocitool.volumes.listing import VolumeList
from ocitool.volumes.restore import VolumeRestored


def volumes_text(result: VolumeList) -> Iterator[str]:
    if not result.volumes:
        yield f"{shown(result.engine)}: no volumes"
        return
    rows = [("NAME", "DRIVER", "SIZE", "USED BY", "LABELS")]
    for one in result.volumes:
        size = human(one.size) if one.size is not None else "-"
        labels = ", ".join(f"{shown(key)}={stated(value)}" for key, value in sorted(one.labels.items()))
        rows.append((shown(one.name), shown(one.driver), size, ", ".join(map(shown, one.used_by)) or "-", labels or "-"))
    yield from columns(rows, indent="")


def restored_text(result: VolumeRestored) -> Iterator[str]:
    made = " (new)" if result.created else ""
    entries = "1 entry" if result.entries == 1 else f"{result.entries:,} entries"
    what = f"{entries}, {human(result.size)} in {count_of(result.files, 'file')}"
    yield f"restored {shown(result.reference)} to volume {shown(result.name)}{made} of {shown(result.engine)}: {what}"
