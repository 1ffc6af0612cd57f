"""The bill of materials of an image: its packages as CycloneDX 1.6 in JSON.

It depends on the image alone: the serial number is made of the content, and the time is `SOURCE_DATE_EPOCH`, else that at
which the image was created. A package that is installed several times is one component with several occurrences.
"""

from __future__ import annotations

import json
import re
import uuid
from typing import Any

from ocitool import __version__
from ocitool.images.image import Image
from ocitool.operations.packages import ImagePackages, InstalledPackage, InstalledPackages
from ocitool.pipeline.source_date import made_at
from ocitool.report.json.fields import clean, path_fields, stated

_SPECIFICATION = "1.6"
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d+)?(?:Z|[+-]\d{2}:\d{2})", re.ASCII)


def packages_cyclonedx(result: ImagePackages) -> dict[str, Any]:
    image = result.image
    time = made_at(image.config.created)
    made = {
        "bomFormat": "CycloneDX",
        "specVersion": _SPECIFICATION,
        "version": 1,
        "metadata": {
            **({"timestamp": time} if time is not None and _TIME.fullmatch(time) else {}),
            "tools": {"components": [{"type": "application", "name": "ocitool", "version": __version__}]},
            "component": _image(image),
        },
        "components": [*_distribution(result.found), *_components(result.found)],
    }
    serial = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(made, sort_keys=True))
    schema = f"http://cyclonedx.org/schema/bom-{_SPECIFICATION}.schema.json"
    return {"$schema": schema, "serialNumber": f"urn:uuid:{serial}", **made}


def _image(image: Image) -> dict[str, Any]:
    identity = str(image.digest or image.image_id)
    return {
        "type": "container",
        "bom-ref": identity,
        "name": stated(image.tags[0]) if image.tags else "image",
        "version": identity,
        "properties": _properties(imageId=image.image_id, platform=stated(str(image.platform))),
    }


def _distribution(found: InstalledPackages) -> list[dict[str, Any]]:
    if found.distribution is None:
        return []
    name, version = map(clean, found.distribution)
    text = f"{name}-{version}" if version else name
    return [{
        "type": "operating-system", "bom-ref": f"os:{text}", "name": name, **({"version": version} if version else {}),
    }]  # fmt: skip


def _components(found: InstalledPackages) -> list[dict[str, Any]]:
    together: dict[str, list[InstalledPackage]] = {}
    for one in found.packages:
        together.setdefault(one.purl, []).append(one)
    return [_component(purl, copies) for purl, copies in together.items()]


def _component(purl: str, copies: list[InstalledPackage]) -> dict[str, Any]:
    package, layer = copies[0].package, copies[0].layer
    locations = dict.fromkeys(path_fields(one.package.database)["path"] for one in copies)
    made: dict[str, Any] = {"type": "library", "bom-ref": purl, "name": clean(package.name) or "-"}
    if package.namespace:
        made["group"] = clean(package.namespace)
    if package.version:
        made["version"] = clean(package.version)
    if package.license:
        made["licenses"] = [{"license": {"name": clean(package.license)}}]
    made["purl"] = purl
    properties = _properties(
        source=clean(package.source), sourceVersion=clean(package.source_version),
        layer=None if layer is None else str(layer.number),
        diffId=None if layer is None or layer.diff_id is None else str(layer.diff_id),
    )  # fmt: skip
    if properties:
        made["properties"] = properties
    made["evidence"] = {"occurrences": [{"location": location} for location in locations]}
    return made


def _properties(**values: str | None) -> list[dict[str, str]]:
    return [{"name": f"ocitool:{name}", "value": value} for name, value in values.items() if value]
