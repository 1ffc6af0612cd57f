"""A pytest plugin that keeps a copy of each image file and image directory that a test leaves, once by content, in the
directory named by OCITOOL_CORPUS: what the campaign `sweep` goes through. Files above 4 MB are left out."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

LARGEST = 4 << 20
MAGIC = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ", b"BZh")
TOP = ("index.json", "oci-layout", "manifest.json", "repositories")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    folder = getattr(item, "funcargs", {}).get("tmp_path")
    if isinstance(folder, Path):
        keep(folder, Path(os.environ["OCITOOL_CORPUS"]))


def keep(folder: Path, corpus: Path) -> None:
    """What changes or cannot be read while it is copied is left out."""
    for place in places(folder):
        with contextlib.suppress(OSError, shutil.Error):
            name = corpus / identity(place)
            if not name.exists():
                (shutil.copytree if place.is_dir() else shutil.copyfile)(place, name)


def places(folder: Path) -> Iterator[Path]:
    for path, directories, names in os.walk(folder):
        if any(name in names for name in TOP):
            directories.clear()
            yield Path(path)
            continue
        for name in names:
            one = Path(path, name)
            with contextlib.suppress(OSError):
                if not one.is_symlink() and one.is_file() and 0 < one.stat().st_size <= LARGEST and looks_like_archive(one):
                    yield one


def looks_like_archive(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(512)
    return head[257:262] == b"ustar" or head.startswith(MAGIC)


def identity(place: Path) -> str:
    """A name of the content."""
    files = [place] if place.is_file() else sorted(path for path in place.rglob("*") if path.is_file())
    if sum(path.stat().st_size for path in files) > LARGEST:
        raise OSError("too large")
    hasher = hashlib.sha256()
    for path in files:
        hasher.update(b"%s\0%s\0" % (os.fsencode(path.relative_to(place)), hashlib.sha256(path.read_bytes()).digest()))
    return hasher.hexdigest()[:24] + ("" if place.is_dir() else "".join(place.suffixes[-2:]))
