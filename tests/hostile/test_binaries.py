"""Programs and archives that are cut, mutated or lie: the readers end, with an error of theirs at most."""

from __future__ import annotations

import contextlib
import gzip
import lzma
import random
import struct
from collections.abc import Callable

import pytest
from support.layers import sample
from support.programs import elf, go_info, go_pointers, modules_text, zipped

from ocitool.comparison.inside import programs
from ocitool.comparison.inside.formats import content_of
from ocitool.comparison.inside.reading import compare_contents
from ocitool.packages.elf import ElfError, links_of, read_elf
from ocitool.packages.go import GoReader
from ocitool.packages.java import JavaReader
from ocitool.packages.package import DatabaseError

_MODULES = modules_text("path\ta", "mod\ta\tv1", "dep\tb\tv2", "=>\tc\tv3", "build\ta=b")
_POM = {"META-INF/maven/g/a/pom.properties": b"groupId=g\nartifactId=a\nversion=1"}

SAMPLES = [
    *(elf(bits=bits, order=order, symbols=True, extra={b".go.buildinfo": go_info(b"go1.22", _MODULES)})
      for bits in (32, 64) for order in "<>"),
    elf(extra={b".go.buildinfo": go_pointers(b"go1.17", _MODULES, 528)}),
    zipped(_POM | {"lib/b.jar": zipped(_POM), "META-INF/MANIFEST.MF": b"Implementation-Title: x\n"}),
    zipped(_POM | {"lib/b.jar": zipped(_POM)}, deflated=False),
]  # fmt: skip
NUMBERS = (b"\xff" * 8, b"\xff\xff\xff\x7f", bytes(8), b"\x7f" + bytes(7), bytes(7) + b"\x7f", b"\x01\0\0\0")


def mutants(sample: bytes, count: int) -> list[bytes]:
    chance = random.Random(18)
    found = [sample[:length] for length in range(0, len(sample), max(len(sample) // 150, 1))]
    for _ in range(count):
        made = bytearray(sample)
        for _ in range(chance.choice((1, 1, 2, 5))):
            at, number = chance.randrange(len(made)), chance.choice((*NUMBERS, chance.randbytes(1)))
            made[at : at + len(number)] = number
        found.append(bytes(made))
    return found


def read_headers(content: bytes) -> None:
    with contextlib.suppress(ElfError):
        links_of(content, read_elf(content))


def read_go(content: bytes) -> None:
    with contextlib.suppress(DatabaseError):
        GoReader().add(b"a", content)


def read_java(content: bytes) -> None:
    with contextlib.suppress(DatabaseError):
        JavaReader().add(b"a.jar", content)


@pytest.mark.parametrize("read", [read_headers, read_go, read_java])
@pytest.mark.parametrize("sample", SAMPLES, ids=range(len(SAMPLES)))
def test_no_mutant_ends_in_another_error(read: Callable[[bytes], None], sample: bytes) -> None:
    for mutant in mutants(sample, 400):
        read(mutant)


@pytest.mark.parametrize("sample", [
    *SAMPLES, sample(), gzip.compress(sample()), lzma.compress(sample()),
    b"!<arch>\n" + b"debian-binary".ljust(48) + b"4         `\n2.0\n" + b"a".ljust(48) + b"9         `\n123456789\n",
    b"!<arch>\n" + b"//".ljust(48) + b"6         `\nname/\n" + b"/0".ljust(48) + b"2         `\nxx",
    b"SQLite format 3\0" + bytes(84),
], ids=range(len(SAMPLES) + 6))  # fmt: skip
def test_no_mutant_breaks_looking_inside(sample: bytes) -> None:
    whole = content_of(sample)
    assert whole is not None
    for mutant in mutants(sample, 150):
        found = content_of(mutant)
        if found is not None:
            compare_contents(whole, found)


def test_sections_that_share_their_bytes_cost_no_more_than_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand sections that are each the whole file of a megabyte."""
    read = 0

    def counted(data: memoryview) -> int:
        nonlocal read
        read += len(data)
        return 0

    monkeypatch.setattr(programs, "crc32", counted)
    section = struct.pack("<II4QII2Q", 0, 1, 0, 0, 0, 1 << 20, 0, 0, 0, 0)
    header = elf()[:40] + struct.pack("<Q", 64) + elf()[48:56] + struct.pack("<4H", 0, 64, 1001, 0)
    found = content_of((header + section * 1001).ljust(1 << 20, b"\0"))
    assert found is not None and len(found.parts) == 1000
    assert read <= 3 << 20
