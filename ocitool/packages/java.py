"""Packages of Java archives: `pom.properties` of Maven, the manifest, and as a last resort the name of the file.

An archive may contain others (those of Spring Boot in `BOOT-INF/lib`, of a web application in `WEB-INF/lib`): they are
read one level deep. The format is that of zip; see "JAR File Specification" for the manifest.
"""

from __future__ import annotations

from collections.abc import Iterator

from ocitool.layers.entry import Entry
from ocitool.packages.package import DatabaseError, Package
from ocitool.packages.zip_directory import MAGICS, Member, ZipDirectory, ZipError, read_directory, read_member
from ocitool.patterns import pattern

ENDINGS = (b".jar", b".war", b".ear", b".jpi", b".hpi")

_TEXT = 256 << 10
"""Most bytes of a manifest and of a `pom.properties`."""

_PACKAGES = 5_000
"""Most packages of one file with the archives in it."""

_NESTED = 2_000
"""Most archives inside one."""

_NESTED_SIZE, _NESTED_TOTAL = 128 << 20, 1 << 30
"""Most bytes of an archive inside another, and of all of them together."""

_POM = pattern(r"META-INF/maven/[^/]+/[^/]+/pom\.properties")
_VERSIONED = pattern(r"(.+?)-(\d[\w.+-]*)")
_NAME = 300
"""Most characters of a file name in which a version is looked for: the time of the search grows with their square."""

_TOKEN = pattern(r"[A-Za-z0-9_.\-]+")

Coordinates = tuple[str, str, str]
"""Group, name and version of a package."""


class JavaReader:
    """Reads the Java archives of a tree. Two archives with the same package have one of it each."""

    def __init__(self) -> None:
        self._found: list[Package] = []

    def database_of(self, path: bytes, entry: Entry) -> bytes | None:
        return path if path.lower().endswith(ENDINGS) else None

    def add(self, path: bytes, content: bytes) -> None:
        """Takes an archive. Raises `DatabaseError` if it is damaged or passes a limit; what was read until then is kept."""
        if not content.startswith(MAGICS) and b"PK\x05\x06" not in content[-(1 << 16) :]:
            return  # something else with this name
        found: dict[Coordinates, None] = {}  # in their order
        try:
            problem = _read(path, content, found)
        except ZipError as error:
            problem = str(error)
        self._found += [Package("maven", name, version, path, group) for group, name, version in found]
        if problem:
            raise DatabaseError(problem)

    def packages(self) -> Iterator[Package]:
        yield from self._found


def _read(path: bytes, content: bytes, found: dict[Coordinates, None]) -> str:
    """Adds the packages of an archive, then those of the archives in it. Returns what could not be read of the latter, empty
    if all could. Raises `ZipError` for the archive itself."""
    directory = read_directory(content)
    _read_own(path, content, directory, found)
    nested = [member for member in directory.named().values() if member.name.lower().endswith(ENDINGS)]
    total, damaged, reason = 0, 0, ""
    for count, member in enumerate(nested):
        total += member.size
        if count == _NESTED or total > _NESTED_TOTAL:
            return "not all archives in it were read: there are too many, or they are too large"
        try:
            inner = read_member(content, directory, member, _NESTED_SIZE)
            _read_own(member.name, inner, read_directory(inner), found)
        except ZipError as error:
            damaged, reason = damaged + 1, reason or str(error)
    return f"{damaged} of {len(nested)} archives in it: {reason}" if damaged else ""


def _read_own(path: bytes, content: bytes, directory: ZipDirectory, found: dict[Coordinates, None]) -> None:
    """Adds the packages of one archive: all that Maven put together in it, else what its manifest and its name say."""
    named = directory.named()
    anonymous = True
    for name, member in named.items():
        if name.endswith(b"/pom.properties") and _POM.fullmatch(name.decode("utf-8", "replace")):
            if len(found) >= _PACKAGES:
                raise ZipError(f"more than {_PACKAGES:,} packages")
            values = _properties(_text(content, directory, member))
            if values.get("artifactId"):
                anonymous = False
                found[values.get("groupId", ""), values["artifactId"], values.get("version", "")] = None
    if anonymous:
        manifest = named.get(b"META-INF/MANIFEST.MF")
        found[_described(path, _main_attributes(_text(content, directory, manifest)) if manifest else {})] = None


def _text(content: bytes, directory: ZipDirectory, member: Member) -> str:
    return read_member(content, directory, member, _TEXT).decode("utf-8", "replace")


def _properties(text: str) -> dict[str, str]:
    """Returns the properties of Maven, which writes one on a line and escapes nothing in coordinates."""
    pairs = (line.partition("=") for line in text.splitlines() if not line.startswith(("#", "!")))
    return {name.strip(): value.strip() for name, _, value in pairs}


def _main_attributes(text: str) -> dict[str, str]:
    """Returns the main section of a manifest by lower-case names; a line that begins with a space continues the one before
    it."""
    found: dict[str, str] = {}
    lines = text.replace("\r\n", "\n").replace("\r", "\n").partition("\n\n")[0].replace("\n ", "").split("\n")
    for line in lines:
        name, colon, value = line.partition(":")
        if colon:
            found.setdefault(name.strip().lower(), value.strip())
    return found


def _described(path: bytes, attributes: dict[str, str]) -> Coordinates:
    """Returns group, name and version by the manifest, what it does not say by the name of the file."""
    stem = path.rpartition(b"/")[2].decode("utf-8", "replace").rpartition(".")[0]
    named = _VERSIONED.fullmatch(stem) if len(stem) <= _NAME else None
    titles = (
        attributes.get("implementation-title", ""), attributes.get("bundle-symbolicname", "").partition(";")[0].strip(),
        attributes.get("automatic-module-name", ""),
    )  # fmt: skip
    name = next((title for title in titles if _TOKEN.fullmatch(title)), named[1] if named else stem)
    version = attributes.get("implementation-version") or attributes.get("bundle-version") or (named[2] if named else "")
    group = attributes.get("implementation-vendor-id", "")
    return (group if _TOKEN.fullmatch(group) else ""), name, version
