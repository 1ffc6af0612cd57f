"""`python .ci/sbom.py [WHEEL]`: the bill of materials of ocitool's wheel as CycloneDX 1.6 JSON, on standard output.

Made from pyproject.toml, requirements.lock and the wheel alone, so that the same files give the same bytes: no time, no random
number. Written by hand, in the standard library: cyclonedx-bom makes a flat list of a requirements file, without what needs
what, nor the wheel's own hash, and it would be one more package to trust where packages are built.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import tomllib
import uuid
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
LOCK = "requirements.lock"
_PIN = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^ ;\\]+)(?: ; (?P<marker>.*?))?(?: \\)?$")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


class Pin(NamedTuple):
    """One package of a lock file. `via`: the names of those that need it, "ocitool" among them."""

    name: str
    version: str
    marker: str
    hashes: tuple[str, ...]
    via: tuple[str, ...]

    @property
    def purl(self) -> str:
        return f"pkg:pypi/{self.name}@{self.version}"


def pins(lock: str) -> list[Pin]:
    """The packages of a lock file as .ci/lock writes it."""
    found: list[Pin] = []
    for line in lock.splitlines():
        if match := _PIN.match(line):
            found.append(Pin(match["name"], match["version"], match["marker"] or "", (), ()))
        elif match := _HASH.search(line):
            found[-1] = found[-1]._replace(hashes=(*found[-1].hashes, match[1]))
        elif line.strip().startswith("#") and (name := line.strip().removeprefix("#").strip().removeprefix("via").strip()):
            found[-1] = found[-1]._replace(via=(*found[-1].via, name.partition(" ")[0]))
        elif line.strip() and not line.strip().startswith("#"):
            raise ValueError(f"a line that no lock file has: {line!r}")
    return found


def bill(project: dict[str, Any], version: str, lock: str, wheel: bytes | None = None) -> dict[str, Any]:
    """The document for this `project` table of pyproject.toml and this lock file."""
    every = pins(lock)
    own: dict[str, Any] = {
        "type": "application", "bom-ref": f"pkg:pypi/{project['name']}@{version}", "name": project["name"], "version": version,
        "purl": f"pkg:pypi/{project['name']}@{version}", "description": project["description"],
        "licenses": [{"license": {"id": project["license"]}}],
    }  # fmt: skip
    if wheel is not None:
        own["hashes"] = [{"alg": "SHA-256", "content": hashlib.sha256(wheel).hexdigest()}]
    components = [
        {
            "type": "library", "bom-ref": one.purl, "name": one.name, "version": one.version, "purl": one.purl,
            "properties": [
                *([{"name": "ocitool:lock:marker", "value": one.marker}] if one.marker else []),
                *({"name": "ocitool:lock:sha256", "value": each} for each in one.hashes),
            ],
        }
        for one in every
    ]  # fmt: skip
    needs = {project["name"]: own["bom-ref"], **{one.name: one.purl for one in every}}
    graph: dict[str, list[str]] = {ref: [] for ref in needs.values()}
    for one in every:
        for name in one.via:
            graph[needs[name]].append(one.purl)
    made = {
        "bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1,
        "metadata": {"component": own}, "components": components,
        "dependencies": [{"ref": ref, "dependsOn": sorted(below)} for ref, below in graph.items()],
    }  # fmt: skip
    serial = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(made, sort_keys=True))
    return {"$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json", "serialNumber": f"urn:uuid:{serial}", **made}


def version(source: str) -> str:
    """What `__version__` is set to."""
    match = re.search(r'^__version__ = "([^"]+)"$', source, re.MULTILINE)
    assert match is not None
    return match[1]


def main(words: list[str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    own = version((ROOT / "ocitool" / "__init__.py").read_text("utf-8"))
    wheel = Path(words[0]).read_bytes() if words else None
    print(json.dumps(bill(project, own, (ROOT / LOCK).read_text("utf-8"), wheel), indent=2))


if __name__ == "__main__":
    main(sys.argv[1:])
