"""Renders installed packages as text."""

from __future__ import annotations

from collections.abc import Iterator

from ocitool.operations.packages import ImagePackages
from ocitool.report.installed_view import HEADS, InstalledView, installed_view
from ocitool.report.text.parts import columns, rendered


def packages_text(result: ImagePackages) -> Iterator[str]:
    view = installed_view(result.found)
    yield from installed_rows(view, "")
    yield rendered(view.total)


def installed_rows(view: InstalledView, indent: str) -> Iterator[str]:
    """Yields a line for each package, below a line of heads."""
    rows: list[tuple[str, ...]] = [HEADS] if len(view.rows) else []
    for type, name, version, architecture, size, layer in view.rows:
        rows.append((type, rendered(name), rendered(version), rendered(architecture), size, layer))
    yield from columns(rows, right=(4, 5), indent=indent)
