"""What an engine holds, for tests that nothing is left behind; and the helper image that tests run in it."""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import subprocess
import tarfile
from decimal import ROUND_FLOOR, Decimal
from pathlib import PurePath
from typing import Any, NamedTuple


def held(engine: Any) -> dict[str, list[str]]:
    """The containers, images and volumes of an engine, by their ids and names."""
    return {
        "containers": sorted(engine("ps", "-aq", "--no-trunc").stdout.decode().split()),
        "images": sorted(engine("images", "-aq", "--no-trunc").stdout.decode().split()),
        "volumes": sorted(engine("volume", "ls", "-q").stdout.decode().split()),
    }


def import_programs(engine: Any, name: str, *programs: str) -> None:
    """Makes an image of programs of this machine, with the libraries that they need."""
    wanted = {os.path.realpath(shutil.which(program) or program): program for program in programs}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        libraries = set[str]()
        _directory(tar, "bin")
        for path, program in wanted.items():
            tar.add(path, f"bin/{program}")
            said = subprocess.run(["ldd", path], capture_output=True, text=True).stdout
            libraries |= set(re.findall(r"(/\S+)", said))
        for folder in sorted({part for library in libraries for part in map(str, PurePath(library).parents)} - {"/"}):
            _directory(tar, folder.lstrip("/"))
        for library in sorted(libraries):
            tar.add(os.path.realpath(library), library.lstrip("/"))
    engine("import", "-", name, stdin=buffer.getvalue())


def _directory(tar: tarfile.TarFile, name: str) -> None:
    member = tarfile.TarInfo(name)
    member.type, member.mode = tarfile.DIRTYPE, 0o755
    tar.addfile(member)


class Found(NamedTuple):
    """A file as GNU tar sees it in a container."""

    kind: bytes
    mode: int
    owner: tuple[int, int]
    mtime: Decimal
    target: str
    """Of a symbolic link; of a further name of a file, the first."""
    content: str
    device: tuple[int, int] | None
    xattrs: tuple[tuple[str, str], ...]


def seen_inside(engine: Any, volume: str, image: str) -> dict[str, Found]:
    """All files of a volume, as GNU tar in a container of `image` sees them."""
    words = ["run", "--rm", "--network", "none", "-v", f"{volume}:/data:ro", "--entrypoint", "tar", image, "--create"]
    words += ["--format=pax", "--xattrs", "--xattrs-include=*", "--numeric-owner", "--sort=name", "-C", "/data", "."]
    found = {}
    raw = engine(*words).stdout
    with tarfile.open(fileobj=io.BytesIO(raw), errors="surrogateescape") as tar:
        for member in tar:
            headers = member.pax_headers
            content = ""
            if member.isreg():
                file = tar.extractfile(member)
                assert file is not None
                content = hashlib.sha256(file.read()).hexdigest()
            xattrs = tuple(sorted((key, value) for key, value in headers.items() if key.startswith("SCHILY.xattr.")))
            found[member.name] = Found(
                member.type, member.mode, (member.uid, member.gid), Decimal(headers.get("mtime", str(int(member.mtime)))),
                member.linkname, content, (member.devmajor, member.devminor) if member.isdev() else None,
                xattrs if not member.islnk() else (),
            )  # fmt: skip
    return found


def in_whole_seconds(files: dict[str, Found]) -> dict[str, Found]:
    """What the archive API carries of them."""
    kept = "SCHILY.xattr.security.capability"
    return {
        name: file._replace(
            mtime=file.mtime.to_integral_value(ROUND_FLOOR), xattrs=tuple(pair for pair in file.xattrs if pair[0] == kept)
        )
        for name, file in files.items()
    }
