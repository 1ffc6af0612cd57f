"""The JSON report of `packages`, and the fields of an installed package."""

from __future__ import annotations

from typing import Any

from ocitool.operations.packages import ImagePackages, InstalledPackage, InstalledPackages
from ocitool.report.json.fields import clean, layer_fields, notice_list, path_fields
from ocitool.report.packages_view import full_name


def packages_json(result: ImagePackages) -> dict[str, Any]:
    return {
        "report": "packages",
        "version": 1,
        "reference": clean(result.reference),
        "imageId": result.image.image_id,
        "verified": result.verified,
        **installed_fields(result.found),
        "notices": notice_list(result.notices),
    }


def installed_fields(found: InstalledPackages) -> dict[str, Any]:
    """Returns the fields of the packages of one image."""
    distribution = found.distribution
    return {
        "distribution": None if distribution is None else {"id": distribution.id, "version": distribution.version or None},
        "packages": [_package(one) for one in found.packages],
        "problems": [{**path_fields(path), "reason": reason} for path, reason in found.problems],
    }


def _package(one: InstalledPackage) -> dict[str, Any]:
    package = one.package
    return {
        "type": package.kind,
        "name": clean(full_name(package)),
        "version": clean(package.version),
        "purl": one.purl,
        "architecture": clean(package.architecture) or None,
        "source": clean(package.source) or None,
        "sourceVersion": clean(package.source_version) or None,
        "license": clean(package.license) or None,
        "database": path_fields(package.database)["path"],
        "files": one.files,
        "size": one.size,
        "layer": layer_fields(one.layer),
    }
