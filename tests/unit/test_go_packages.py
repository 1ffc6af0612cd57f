"""Build information of Go, in the formats before and since Go 1.18."""

from __future__ import annotations

import pytest
from support.programs import elf, go_info, go_pointers, modules_text

from ocitool.layers.entry import Entry, Kind
from ocitool.packages.elf import read_elf
from ocitool.packages.go import GoReader, go_build
from ocitool.packages.package import DatabaseError

LINES = (
    "path\texample.com/app/cmd", "mod\texample.com/app\tv1.2.3\th1:abc=", "dep\texample.com/a\tv0.1.0\th1:def=",
    "dep\texample.com/b\tv0.2.0", "=>\texample.com/fork\tv0.3.0\th1:ghi=", "dep\texample.com/c\tv0.0.0", "=>\t../c\t(devel)\t",
    "build\t-compiler=gc", 'build\t-ldflags="-X \\"a=b c\\""', "build\tvcs.revision=0123", "build\tvcs.modified=true",
)  # fmt: skip
PACKAGES = [
    ("stdlib", "1.22.1"), ("example.com/app", "v1.2.3"), ("example.com/a", "v0.1.0"), ("example.com/fork", "v0.3.0"),
    ("example.com/c", "v0.0.0"),
]  # fmt: skip
PATH = b"usr/bin/app"


def packages(content: bytes) -> list[tuple[str, str]]:
    reader = GoReader()
    reader.add(PATH, content)
    found = list(reader.packages())
    assert {("golang", PATH)} >= {(one.kind, one.database) for one in found}
    return [("/".join(filter(None, (one.namespace, one.name))), one.version) for one in found]


def program(version: bytes = b"go1.22.1", lines: tuple[str, ...] = LINES) -> bytes:
    return elf(extra={b".go.buildinfo": go_info(version, modules_text(*lines))})


def test_the_packages_are_the_library_the_main_module_and_what_is_linked_in() -> None:
    assert packages(program()) == PACKAGES


@pytest.mark.parametrize(("bits", "order"), [(32, "<"), (32, ">"), (64, "<"), (64, ">")])
def test_the_format_of_pointers_says_the_same(bits: int, order: str) -> None:
    empty = read_elf(elf(bits=bits, order=order, extra={b".go.buildinfo": b"x"}))
    offset = next(one.offset for one in empty.sections if one.name == b".go.buildinfo")
    info = go_pointers(b"go1.17.13", modules_text(*LINES), offset, bits=bits, order=order)
    content = elf(bits=bits, order=order, extra={b".go.buildinfo": info})
    assert packages(content) == [("stdlib", "1.17.13"), *PACKAGES[1:]]


def test_without_a_table_of_sections_it_is_found_in_the_data() -> None:
    content = bytearray(elf(extra={b".go.buildinfo": go_info(b"go1.22.1", modules_text(*LINES))}, headers=False))
    content[64 + 4] = 6  # the first segment: readable and writable, not executable
    assert packages(bytes(content)) == PACKAGES


def test_settings_and_the_main_package_are_known() -> None:
    build = go_build(content := program(), read_elf(content))
    assert build is not None
    assert ("example.com/app/cmd", "-X \"a=b c\"", "0123", "true") == (
        build.path, *(dict(build.settings)[name] for name in ("-ldflags", "vcs.revision", "vcs.modified")),
    )  # fmt: skip


@pytest.mark.parametrize("content", [b"", b"#!/bin/sh\n", elf(), elf(extra={b".go.buildinfo": b""}), b"\x7fELF" + bytes(100)])
def test_a_file_that_go_did_not_link_has_no_packages(content: bytes) -> None:
    assert packages(content) == []


def test_a_program_without_modules_has_the_standard_library_alone() -> None:
    assert packages(elf(extra={b".go.buildinfo": go_info(b"go1.22.1 X:boringcrypto", b"")})) == [("stdlib", "1.22.1")]


@pytest.mark.parametrize("info", [
    go_info(b"go1.22.1", b"")[:32] + b"\xff" * 12,
    go_info(b"go1.22.1", b"")[:32] + b"\xff\xff\xff\x7f",
    go_info(b"go1.22.1", b"")[:32] + b"\xff\x07go",
    go_info(b"v" * 2000, b""),
    go_info(b"go1.22.1", b"x" * (5 << 20)),
    go_info(b"go1.22.1", modules_text(*["dep\ta\tb"] * 100_001)),
    go_pointers(b"go1", b"", 0)[:14] + b"\x07\0" + bytes(16),
], ids=range(7))  # fmt: skip
def test_damaged_or_endless_information_is_refused(info: bytes) -> None:
    with pytest.raises(DatabaseError):
        packages(elf(extra={b".go.buildinfo": info}))


@pytest.mark.parametrize(("mode", "size", "expected"), [
    (0o755, 1 << 20, PATH), (0o644, 1 << 20, None), (0o755, 1000, None), (0o755, 1 << 30, None),
])  # fmt: skip
def test_only_programs_of_a_sensible_size_are_read(mode: int, size: int, expected: bytes | None) -> None:
    assert GoReader().database_of(PATH, Entry(PATH, Kind.FILE, mode, 0, 0, 0, size)) == expected
