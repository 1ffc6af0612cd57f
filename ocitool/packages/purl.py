"""Package URLs (purl), by the types of https://github.com/package-url/purl-spec."""

from __future__ import annotations

from urllib.parse import quote

from ocitool.packages.package import Distribution, Package, PackageKind
from ocitool.packages.readers import SYSTEM_KINDS

_ARCHITECTURE: dict[PackageKind, str] = {"conda": "subdir", "gem": "platform"}
"""The qualifier for the architecture of a package, if it is another than `arch`."""


def package_url(package: Package, distribution: Distribution | None = None) -> str:
    """Returns the package URL of a package. `distribution`: that of its tree, which is the namespace of the packages of a
    distribution and their qualifier `distro`. A name of slashes and spaces alone, which a URL cannot have, is quoted twice."""
    from packageurl import PackageURL

    namespace, name, version, architecture = map(
        _encodable, (package.namespace, package.name, package.version, package.architecture)
    )
    qualifiers = {}
    if package.kind == "rpm" and ":" in version:
        qualifiers["epoch"], _, version = version.partition(":")
    if package.kind == "conda" and "-" in version:
        version, _, qualifiers["build"] = version.partition("-")
    if architecture:
        qualifiers[_ARCHITECTURE.get(package.kind, "arch")] = architecture
    if package.kind in SYSTEM_KINDS and distribution is not None:
        namespace = namespace or _encodable(distribution.id)
        qualifiers["distro"] = _encodable("-".join(filter(None, distribution)))
    if not name.strip().strip("/"):
        name = quote(name, safe="") or "-"
    return PackageURL(package.kind, namespace.strip("/ ") or None, name, version or None, qualifiers).to_string()


def _encodable(text: str) -> str:
    """Returns the text without lone surrogates, which UTF-8 cannot encode."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
