"""Packages of languages as their managers install them, made without a network; and what a reader finds among files."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import os
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from ocitool.layers.entry import Entry, Kind
from ocitool.packages.package import Package, PackageReader


def packages_among(reader: PackageReader, files: Mapping[str, str | bytes]) -> list[Package]:
    """The packages of files by path; only what the reader asks for is given to it."""
    for name, content in files.items():
        path, data = os.fsencode(name), content.encode() if isinstance(content, str) else content
        if reader.database_of(path, _entry(len(data))) is not None:
            reader.add(path, data)
    return sorted(reader.packages())


def packages_below(reader: PackageReader, root: Path, prefix: str = "") -> list[Package]:
    """The packages of a directory on disk, as if it stood at `prefix` of an image."""
    found = {}
    for directory, _, names in os.walk(root):
        for name in names:
            file = Path(directory, name)
            path = file.relative_to(root).as_posix()
            if not file.is_symlink() and reader.database_of(os.fsencode(prefix + path), _entry(0)) is not None:
                found[prefix + path] = file.read_bytes()
    return packages_among(reader, found)


def _entry(size: int) -> Entry:
    return Entry(b"", Kind.FILE, 0o644, 0, 0, 0, size)


def wheel(folder: Path, name: str, version: str, files: Mapping[str, bytes], scripts: Mapping[str, str] | None = None) -> Path:
    """A wheel; `scripts`: commands and the functions that they call."""
    info = f"{name.replace('-', '_')}-{version}.dist-info"
    members = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nLicense: MIT\n\nA test.\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    if scripts:
        lines = [f"{command} = {function}" for command, function in scripts.items()]
        members[f"{info}/entry_points.txt"] = "\n".join(["[console_scripts]", *lines, ""]).encode()
    record = io.StringIO()
    rows = [(path, _record_hash(content), len(content)) for path, content in members.items()]
    csv.writer(record, lineterminator="\n").writerows([*rows, (f"{info}/RECORD", "", "")])
    members[f"{info}/RECORD"] = record.getvalue().encode()
    path = folder / f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in members.items():
            archive.writestr(member, content)
    return path


def _record_hash(content: bytes) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def npm_archive(folder: Path, fields: Mapping[str, object], files: Mapping[str, bytes] | None = None) -> Path:
    """What `npm pack` makes of a package: a tar.gz with everything below `package/`."""
    members = {"package.json": json.dumps(fields).encode(), **(files or {})}
    path = folder / f"{str(fields['name']).replace('/', '-').lstrip('@')}-{fields['version']}.tgz"
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo("package/" + name)
            member.size, member.mode = len(content), 0o755
            archive.addfile(member, io.BytesIO(content))
    return path
