"""What a report says about installed packages, for every format."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from ocitool.operations.packages import InstalledPackage, InstalledPackages
from ocitool.report.escape import human
from ocitool.report.packages_view import full_name
from ocitool.report.phrases import LazyRows, Phrase, Quote, count_of

HEADS = ("type", "name", "version", "arch", "size", "layer")
"""The columns of `InstalledRow`; the last two are numbers."""


class InstalledRow(NamedTuple):
    """An installed package."""

    type: str
    name: Phrase
    version: Phrase
    architecture: Phrase
    size: str
    layer: str


class InstalledView(NamedTuple):
    """Installed packages. `total`: how many, of which types, their size, and the distribution."""

    total: Phrase
    rows: LazyRows[InstalledRow]


def installed_view(found: InstalledPackages) -> InstalledView:
    return InstalledView(_total(found), LazyRows(found.packages, _row))


def _total(found: InstalledPackages) -> Phrase:
    if not found.packages:
        return ("no packages: the image has none of the databases that are known",)
    kinds = Counter(one.package.kind for one in found.packages)
    counts = ", ".join(f"{count:,} {kind}" for kind, count in kinds.items())
    text = f"{count_of(len(found.packages), 'package')} ({counts})"
    sizes = [one.size for one in found.packages if one.size is not None]
    text += f", {human(sum(sizes))}" if sizes else ""
    if found.distribution is None:
        return (text,)
    return (text, ", on ", Quote(" ".join(filter(None, found.distribution)), "name"))


def _row(one: InstalledPackage) -> InstalledRow:
    package = one.package
    return InstalledRow(
        package.kind, (Quote(full_name(package), "name"),), (Quote(package.version or "-", "name"),),
        (Quote(package.architecture or "-", "name"),), "-" if one.size is None else human(one.size),
        "-" if one.layer is None else str(one.layer.number),
    )  # fmt: skip
