"""Packages of Go programs: the build information that the Go linker leaves in them.

The format is that of `debug/buildinfo` and `runtime/debug` in Go's standard library; `go version -m` prints the same. The
header is 32 bytes: a magic number, the size of pointers, flags; then, since Go 1.18, two strings with their length before
them, and before Go 1.18 two pointers to headers of strings.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

from ocitool import limits
from ocitool.layers.entry import Entry
from ocitool.packages.elf import MAGIC, PT_LOAD, ElfError, ElfFile, read_elf
from ocitool.packages.package import DatabaseError, Package
from ocitool.patterns import pattern

SMALLEST, LARGEST = 256 << 10, 256 << 20
"""Bytes of a program that is read: the smallest that Go links has a megabyte, the largest known are of 200 MB. What is larger
is most likely no program of Go. One at a time is in memory; of two images that are compared, one of each."""

_MAGIC = b"\xff Go buildinf:"
_ALIGNMENT = 16
_HEADER = 32
_INLINE, _BIG = 2, 1
_FRAME = 16
"""Bytes before and after the information on modules, by which Go finds it again."""

_TRIES = 10_000
"""Most places with the magic number that are looked at."""

_VERSION, _MODULES = 1_000, 4 << 20
"""Most bytes of the version, and of the information on modules."""

_LINES = 100_000
"""Most lines of the information on modules. Large programs have some hundred."""

_ESCAPED = pattern(r'\\(["\\])')


class GoModule(NamedTuple):
    """A module in a program. `version`: as recorded; `(devel)` for one that was built from a directory. `sum`: its checksum,
    empty if there is none. `replaced`: the module that stands in `go.mod` instead of it by a `replace`, as (path, version)."""

    path: str
    version: str
    sum: str
    replaced: tuple[str, str] | None = None


class GoBuild(NamedTuple):
    """What a Go program says of its build. `version`: of Go, such as `go1.22.1`, which may be followed by experiments.
    `path`: of the main package. `settings`: such as `vcs.revision` and `-buildmode`, in their order. `dependencies` names
    each module that is linked in; of a replaced one, its replacement."""

    version: str
    path: str
    main: GoModule | None
    dependencies: tuple[GoModule, ...]
    settings: tuple[tuple[str, str], ...]


def go_build(content: bytes, elf: ElfFile) -> GoBuild | None:
    """Returns the build information of a program, None if Go did not link it. Raises `DatabaseError` if it is damaged or
    passes a bound."""
    header = _find_header(content, elf)
    if header is None:
        return None
    flags = content[header + 15]
    if flags & _INLINE:
        version, at = _inline(content, header + _HEADER, _VERSION)
        modules, _ = _inline(content, at, _MODULES)
    else:
        size = content[header + 14]
        if size not in (4, 8):
            raise DatabaseError("build information of Go with an invalid size of pointers")
        order: Literal["little", "big"] = "big" if flags & _BIG else "little"

        def pointer(at: int) -> int:
            return int.from_bytes(content[at : at + size], order)

        def string(at: int, most: int) -> bytes:
            found = elf.offset_of(pointer(at))
            if found is None:
                return b""
            text, length = elf.offset_of(pointer(found[0])), pointer(found[0] + size)
            if text is None or not length:
                return b""
            if length > min(text[1], most):
                raise DatabaseError("build information of Go is truncated, or too long")
            return content[text[0] : text[0] + length]

        version, modules = string(header + 16, _VERSION), string(header + 16 + size, _MODULES)
    if not version:
        return None
    if len(modules) > 2 * _FRAME and modules[-_FRAME - 1 : -_FRAME] == b"\n":
        modules = modules[_FRAME:-_FRAME]
    else:
        modules = b""
    return _parsed(version.decode("utf-8", "replace"), modules.decode("utf-8", "replace"))


def _find_header(content: bytes, elf: ElfFile) -> int | None:
    """Returns where the header is in the file: in its own section, else in the first segment that can be written."""
    places = [(one.offset, one.size, one.address) for one in elf.sections if one.name == b".go.buildinfo"]
    places = places or [(s.offset, s.size, s.address) for s in elf.segments if s.kind == PT_LOAD and s.flags & 3 == 2]
    if not places:
        return None
    start, size, address = places[0]
    end = min(start + size, len(content))
    at = start
    for _ in range(_TRIES):
        at = content.find(_MAGIC, at, end)
        if at < 0:
            return None
        if not (address + at - start) % _ALIGNMENT and at + _HEADER <= end:
            return at
        at += 1
    return None


def _inline(content: bytes, at: int, most: int) -> tuple[bytes, int]:
    """Returns a string with its length before it (a varint, as in `encoding/binary`), and where it ends."""
    length = shift = 0
    while True:
        if at >= len(content) or shift > 63:
            raise DatabaseError("build information of Go is truncated")
        byte = content[at]
        at += 1
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    if length > most or at + length > len(content):
        raise DatabaseError("build information of Go is truncated, or too long")
    return content[at : at + length], at + length


def _parsed(version: str, text: str) -> GoBuild:
    """Returns the values of the lines; those of an unknown kind are left out, as Go does."""
    lines = text.split("\n")
    if len(lines) > _LINES:
        raise DatabaseError(f"build information of Go with more than {_LINES:,} lines")
    path, main = "", None
    modules: list[GoModule] = []
    settings: list[tuple[str, str]] = []
    for line in lines:
        kind, *fields = line.split("\t")
        if kind == "path" and fields:
            path = fields[0]
        elif kind in ("mod", "dep") and len(fields) >= 2:
            module = GoModule(fields[0], fields[1], fields[2] if len(fields) > 2 else "")
            if kind == "mod":
                main = module
            else:
                modules.append(module)
        elif kind == "=>" and len(fields) >= 2 and (modules or main):
            was = modules[-1] if modules else main
            assert was is not None
            new = GoModule(fields[0], fields[1], fields[2] if len(fields) > 2 else "", (was.path, was.version))
            if modules:
                modules[-1] = new
            else:
                main = new
        elif kind == "build" and fields:
            name, _, value = "\t".join(fields).partition("=")
            settings.append((_unquoted(name), _unquoted(value)))
    return GoBuild(version, path, main, tuple(modules), tuple(settings))


def _unquoted(text: str) -> str:
    """Returns a key or value, which Go quotes if it has spaces or quotation marks: without its quotes. Escapes that text
    which can be printed does not have are left as they are."""
    if len(text) < 2 or text[0] != text[-1] or text[0] not in '"`':
        return text
    return text[1:-1] if text[0] == "`" else _ESCAPED.sub(r"\1", text[1:-1])


class GoReader:
    """Reads the Go programs of a tree: regular files with an execute bit, of a size that Go links."""

    def __init__(self) -> None:
        self._found: list[Package] = []

    def database_of(self, path: bytes, entry: Entry) -> bytes | None:
        return path if entry.mode & 0o111 and SMALLEST <= entry.size <= LARGEST else None

    def add(self, path: bytes, content: bytes) -> None:
        """Takes a program. A file that is not ELF, or not of Go, has no packages and is no error."""
        if content[:4] != MAGIC:
            return
        try:
            build = go_build(content, read_elf(content))
        except ElfError:
            return
        if build is not None:
            if len(self._found) + len(build.dependencies) > limits.PACKAGES:
                raise DatabaseError(f"more than {limits.PACKAGES} packages")
            self._found.extend(_packages(path, build))

    def packages(self) -> Iterator[Package]:
        yield from self._found


def _packages(path: bytes, build: GoBuild) -> Iterator[Package]:
    """Yields the standard library, the main module and its dependencies."""
    number = build.version.partition(" ")[0]
    yield Package("golang", "stdlib", number.removeprefix("go"), path)
    for module in (*([build.main] if build.main else ()), *build.dependencies):
        if module.replaced is not None and module.path.startswith(("./", "../", "/")):  # a directory has no name elsewhere
            full, version = module.replaced
        else:
            full, version = module.path, module.version
        namespace, _, name = full.rstrip("/").rpartition("/")
        if name:
            yield Package("golang", name, version, path, namespace)
