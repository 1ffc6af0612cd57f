"""The header of an rpm package, as the database keeps it: all that is known of the package, by numbered tags.

Source: rpm's manual, "Package format" (header structure, data types) and "Tags". All numbers are big-endian:

- the number of entries and the size of the data, 4 bytes each;
- the entries: tag, type, offset of the value in the data, number of items, 4 bytes each;
- the data.

In a package file eight bytes of magic stand before it, in a database they do not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from struct import Struct, unpack_from
from typing import NamedTuple

from ocitool import limits
from ocitool.packages.package import DatabaseError, Package
from ocitool.packages.path_budget import PathBudget

_ENTRY = Struct(">4I")

_NAME, _VERSION, _RELEASE, _EPOCH, _LICENSE, _ARCHITECTURE = 1000, 1001, 1002, 1003, 1014, 1022
_OLD_FILE_NAMES, _SOURCE_RPM = 1027, 1044
_DIRECTORY_INDEXES, _BASE_NAMES, _DIRECTORY_NAMES = 1116, 1117, 1118

_INT32, _STRING, _STRING_ARRAY, _I18N_STRING = 4, 6, 8, 9
_TYPES = {
    **dict.fromkeys((_NAME, _VERSION, _RELEASE, _LICENSE, _ARCHITECTURE, _SOURCE_RPM), (_STRING, _I18N_STRING)),
    **dict.fromkeys((_EPOCH, _DIRECTORY_INDEXES), (_INT32,)),
    **dict.fromkeys((_OLD_FILE_NAMES, _BASE_NAMES, _DIRECTORY_NAMES), (_STRING_ARRAY,)),
}
"""The tags that are read, and the types that their values may have."""

_KEY = "gpg-pubkey"
"""The name under which rpm keeps each key that it trusts as if it were a package."""


class _Value(NamedTuple):
    """Where the value of a tag is in the data of a header."""

    offset: int
    items: int


def read_package(blob: bytes, database: bytes, budget: PathBudget) -> Package | None:
    """Returns the package of a header, None for a key that rpm trusts: `rpm -qa` lists those as packages named
    `gpg-pubkey`, but they install nothing.

    The version is `epoch:version-release`, without the epoch if it is 0 or absent. Files are those of `rpm -ql`:
    directories, ghosts and files that were left out when the package was installed are among them, but the root is not.

    Raises `DatabaseError`.
    """
    if len(blob) < 8:
        raise DatabaseError("a header is truncated")
    entries, size = unpack_from(">2I", blob)
    start = 8 + entries * _ENTRY.size
    if start + size > len(blob):
        raise DatabaseError("a header is truncated")
    data = blob[start : start + size]
    values: dict[int, _Value] = {}
    for tag, kind, offset, count in _ENTRY.iter_unpack(blob[8:start]):
        if tag in _TYPES and tag not in values:
            if kind not in _TYPES[tag] or offset >= size or not 0 < count <= size - offset:
                raise DatabaseError(f"tag {tag} of a header is invalid")
            values[tag] = _Value(offset, count)
    name, version, release = (_text(data, values, tag) for tag in (_NAME, _VERSION, _RELEASE))
    if not name or not version:
        raise DatabaseError("a header names no package")
    if name == _KEY:
        return None
    epoch = _numbers(data, values, _EPOCH)
    stated = f"{version}-{release}" if release else version
    source, source_version = _source(_text(data, values, _SOURCE_RPM))
    return Package(
        "rpm",
        name,
        f"{epoch[0]}:{stated}" if epoch and epoch[0] else stated,
        database,
        architecture=_text(data, values, _ARCHITECTURE),
        source="" if source == name else source,
        source_version="" if source_version == stated else source_version,
        license=_text(data, values, _LICENSE),
        files=tuple(path for path in _files(data, values, budget) if path),
    )


def _text(data: bytes, values: Mapping[int, _Value], tag: int) -> str:
    """Returns a text, the first if there are translations, and an empty one if there is none."""
    value = values.get(tag)
    if value is None:
        return ""
    end = data.find(b"\0", value.offset, value.offset + limits.PACKAGE_TEXT)
    if end < 0:
        raise DatabaseError(f"tag {tag} of a header does not end, or has more than {limits.PACKAGE_TEXT} bytes")
    return data[value.offset : end].decode("utf-8", "replace")


def _texts(data: bytes, values: Mapping[int, _Value], tag: int) -> list[bytes]:
    value = values.get(tag)
    if value is None:
        return []
    found = data[value.offset :].split(b"\0", value.items)
    if len(found) <= value.items:
        raise DatabaseError(f"tag {tag} of a header is truncated")
    del found[value.items :]
    return found


def _numbers(data: bytes, values: Mapping[int, _Value], tag: int) -> tuple[int, ...]:
    value = values.get(tag)
    if value is None:
        return ()
    if value.items * 4 > len(data) - value.offset:
        raise DatabaseError(f"tag {tag} of a header is truncated")
    return unpack_from(f">{value.items}I", data, value.offset)


def _files(data: bytes, values: Mapping[int, _Value], budget: PathBudget) -> Iterator[bytes]:
    """Yields the paths that the package installed, without a leading slash. Packages of before 2000 list them whole, all
    others as names in directories."""
    if _BASE_NAMES not in values:
        yield from budget.taken(path.lstrip(b"/") for path in _texts(data, values, _OLD_FILE_NAMES))
        return
    names = _texts(data, values, _BASE_NAMES)
    directories = _texts(data, values, _DIRECTORY_NAMES)
    indexes = _numbers(data, values, _DIRECTORY_INDEXES)
    if len(indexes) != len(names) or max(indexes) >= len(directories):
        raise DatabaseError("the lists of files of a header do not fit each other")
    budget.take(len(names), sum(map(len, names)) + sum(len(directories[index]) for index in indexes))
    for index, name in zip(indexes, names, strict=True):
        yield (directories[index] + name).lstrip(b"/")


def _source(file_name: str) -> tuple[str, str]:
    """Returns name and version of the source package in `NAME-VERSION-RELEASE.src.rpm`; two empty texts if it is none."""
    parts = file_name.removesuffix(".rpm").removesuffix(".src").removesuffix(".nosrc").rsplit("-", 2)
    return (parts[0], f"{parts[1]}-{parts[2]}") if len(parts) == 3 else ("", "")
