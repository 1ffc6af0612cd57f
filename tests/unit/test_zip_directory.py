"""The directory of zip archives, read as `zipfile` reads it."""

from __future__ import annotations

import io
import struct
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.programs import zipped

from ocitool.packages import zip_directory
from ocitool.packages.zip_directory import ZipError, read_directory, read_member

NAMES = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=12)


@given(st.dictionaries(NAMES, st.binary(max_size=400), max_size=6), st.booleans(), st.binary(max_size=60))
def test_it_has_the_members_that_zipfile_has(members: dict[str, bytes], deflated: bool, front: bytes) -> None:
    content = zipped(members, deflated=deflated, front=front)
    with zipfile.ZipFile(io.BytesIO(content)) as judge:
        expected = [(one.filename.encode(), one.file_size, one.compress_size, one.CRC) for one in judge.infolist()]
    directory = read_directory(content)
    assert expected == [(one.name, one.size, one.stored, one.crc) for one in directory.members]
    assert list(members.values()) == [read_member(content, directory, one, 1000) for one in directory.members]


def test_members_and_their_number_may_need_64_bits() -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        with archive.open("large", "w", force_zip64=True) as file:
            file.write(b"content")
        for number in range(70_000):
            archive.writestr(f"{number}", b"")
    directory = read_directory(made.getvalue())
    assert (70_001, b"content") == (
        len(directory.members), read_member(made.getvalue(), directory, directory.members[0], 100),
    )  # fmt: skip


def test_sizes_of_64_bits_are_read() -> None:
    extra = struct.pack("<2H2Q", 1, 16, 1 << 33, 1 << 32)
    entry = struct.pack("<4s6H3I5H2I", b"PK\x01\x02", 0, 0, 0, 0, 0, 0, 7, 0xFFFFFFFF, 0xFFFFFFFF, 1, 20, 0, 0, 0, 0, 5)
    directory = read_directory(entry + b"a" + extra + struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 1, 1, 67, 0, 0))
    assert [(b"a", 1 << 33, 1 << 32, 7, 5)] == [(m.name, m.size, m.stored, m.crc, m.offset) for m in directory.members]


def test_a_name_that_occurs_twice_is_counted() -> None:
    with pytest.warns(UserWarning, match="Duplicate"):
        made = io.BytesIO()
        with zipfile.ZipFile(made, "w") as archive:
            archive.writestr("a", b"1")
            archive.writestr("a", b"22")
    directory = read_directory(made.getvalue())
    assert (1, 2, 2) == (directory.twice, len(directory.members), directory.named()[b"a"].size)


def test_more_members_than_the_limit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zip_directory, "MEMBERS", 3)
    assert len(read_directory(zipped(dict.fromkeys("abc", b""))).members) == 3
    with pytest.raises(ZipError, match="more than 3 members"):
        read_directory(zipped(dict.fromkeys("abcd", b"")))


@pytest.mark.parametrize("members", [{"bomb": bytes(1 << 20)}, {"large": bytes(range(256)) * 4096}])
def test_a_member_larger_than_asked_for_is_not_unpacked(members: dict[str, bytes]) -> None:
    content = zipped(members)
    directory = read_directory(content)
    with pytest.raises(ZipError, match="more than 1,000 bytes"):
        read_member(content, directory, directory.members[0], 1000)
    lies = directory.members[0]._replace(size=10)
    with pytest.raises(ZipError, match="another size"):
        read_member(content, directory, lies, 1000)
