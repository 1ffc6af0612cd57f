"""Package URLs (purl), by the types of https://github.com/package-url/purl-spec."""

from __future__ import annotations

from ocitool.packages.package import Distribution, Package
from ocitool.packages.readers import SYSTEM_KINDS


def package_url(package: Package, distribution: Distribution | None = None) -> str:
    """Returns the package URL of a package. `distribution`: that of its tree, which is the namespace of the packages of a
    distribution and their qualifier `distro`."""
    from packageurl import PackageURL

    namespace, version = package.namespace, package.version
    qualifiers = {}
    if package.kind == "rpm" and ":" in version:
        qualifiers["epoch"], _, version = version.partition(":")
    if package.architecture:
        qualifiers["arch"] = package.architecture
    if package.kind in SYSTEM_KINDS and distribution is not None:
        namespace = namespace or distribution.id
        qualifiers["distro"] = "-".join(filter(None, distribution))
    return PackageURL(package.kind, namespace or None, package.name, version or None, qualifiers).to_string()
