"""The readers of databases of packages, by kind: the one place that names them."""

from __future__ import annotations

from collections.abc import Collection
from importlib import import_module

from ocitool.packages.package import PackageKind, PackageReader

READERS: dict[PackageKind, tuple[str, str]] = {
    "deb": ("dpkg", "DpkgReader"),
    "apk": ("apk", "ApkReader"),
    "rpm": ("rpm.reader", "RpmReader"),
    "conda": ("conda", "CondaReader"),
    "pypi": ("python", "PythonReader"),
    "npm": ("npm", "NpmReader"),
    "gem": ("gem", "GemReader"),
    "golang": ("go", "GoReader"),
    "maven": ("java", "JavaReader"),
}
"""Kind of packages -> the module of this package and its class that reads their databases."""

SYSTEM_KINDS: frozenset[PackageKind] = frozenset({"deb", "apk", "rpm"})
"""Kinds of the packages that a distribution is made of."""


def readers(kinds: Collection[PackageKind] | None = None) -> dict[PackageKind, PackageReader]:
    """Returns a new reader for each of the kinds, all by default, in the order of the table. A kind without a reader has
    none."""
    found = {}
    for kind, (module, name) in READERS.items():
        if kinds is None or kind in kinds:
            reader: PackageReader = getattr(import_module(f"ocitool.packages.{module}"), name)()
            found[kind] = reader
    return found
