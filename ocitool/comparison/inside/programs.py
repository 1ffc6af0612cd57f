"""What is inside an ELF file: its sections, what it needs, and what the Go linker recorded."""

from __future__ import annotations

from zlib import crc32

from ocitool.comparison.inside.content import PARTS, InnerContent, InnerPart, fact
from ocitool.packages.elf import MAGIC, SHT_NOBITS, ElfError, ElfFile, links_of, read_elf
from ocitool.packages.go import GoBuild, GoModule, go_build
from ocitool.packages.package import DatabaseError


def content_of(data: bytes) -> InnerContent | None:
    """Returns what is inside an ELF file, None for another format."""
    if not data.startswith(MAGIC):
        return None
    try:
        file = read_elf(data)
    except ElfError as error:
        return InnerContent("an ELF file", {}, {}, "section", str(error))
    return InnerContent("an ELF file", _facts(data, file), _sections(data, file), "section")


def _sections(data: bytes, file: ElfFile) -> dict[bytes, InnerPart]:
    """Returns the sections by name. Of those with one name, as in object files, the second is `NAME (2)`."""
    found: dict[bytes, InnerPart] = {}
    counts: dict[bytes, int] = {}
    read = 0
    for section in file.sections[1:PARTS]:
        count = counts[section.name] = counts.get(section.name, 0) + 1
        name = section.name if count == 1 else b"%s (%d)" % (section.name, count)
        size = 0 if section.kind == SHT_NOBITS else section.size
        read += size
        if read > 2 * len(data):  # sections that share their bytes: the sum of all is bounded by the file
            size = 0
        found[name] = InnerPart(section.size, crc32(memoryview(data)[section.offset : section.offset + size]))
    return found


def _facts(data: bytes, file: ElfFile) -> dict[str, str]:
    links = links_of(data, file)
    facts = {
        "machine": f"{file.machine_name}, {file.bits} bits, {'little' if file.order == '<' else 'big'} endian",
        "type": file.kind_name,
        "soname": fact(links.soname),
        "interpreter": fact(links.interpreter),
        "needed": fact(b" ".join(links.needed)),
        "build id": links.build_id,
        "symbols": "stripped" if file.stripped else "not stripped",
    }
    try:
        build = go_build(data, file)
    except DatabaseError as error:
        return facts | {"Go": str(error)}
    return facts | _of_go(build) if build is not None else facts


def _of_go(build: GoBuild) -> dict[str, str]:
    facts = {"Go": fact(build.version), "main package": fact(build.path)}
    if build.main is not None:
        facts["main module"] = fact(f"{build.main.path} {_version(build.main)}")
    facts |= {fact(f"build {name}"): fact(value) for name, value in build.settings}
    return facts | {fact(f"module {_required(one)}"): fact(_version(one)) for one in build.dependencies}


def _required(module: GoModule) -> str:
    return module.replaced[0] if module.replaced is not None else module.path


def _version(module: GoModule) -> str:
    return module.version if module.replaced is None else f"{module.replaced[1]} => {module.path} {module.version}"
