"""What is inside single files, and how two of them differ."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.layers import sample
from support.programs import ar, elf, zipped

from ocitool.comparison.inside import content, reading, tars
from ocitool.comparison.inside.content import InnerContent, InnerPart, Room
from ocitool.comparison.inside.formats import content_of
from ocitool.comparison.inside.reading import FileInside, compare_contents


def tar(members: dict[str, bytes], **changes: object) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            for field, value in changes.items():
                setattr(info, field, value)
            archive.addfile(info, io.BytesIO(data))
    return made.getvalue()


def differences(before: bytes, after: bytes) -> list[tuple[str, bytes]]:
    return [(part.kind, part.name) for part in compared(before, after).parts]


def compared(before: bytes, after: bytes) -> FileInside:
    old, new = content_of(before), content_of(after)
    assert old is not None and new is not None
    return compare_contents(old, new)


def debian(files: dict[str, bytes], pack: Callable[[bytes], bytes] = lzma.compress) -> bytes:
    control = tar({"./control": b"Package: a\n"})
    return ar({b"debian-binary": b"2.0\n", b"control.tar.xz": pack(control), b"data.tar.xz": pack(tar(files))})


MAKERS: dict[str, Callable[[dict[str, bytes]], bytes]] = {
    "zip": zipped, "tar": tar, "tar.gz": lambda files: gzip.compress(tar(files)),
    "tar.xz": lambda files: lzma.compress(tar(files)), "tar.bz2": lambda files: bz2.compress(tar(files)),
    "ar": lambda files: ar({name.encode(): data for name, data in files.items()}),
}  # fmt: skip
NAMES = st.sampled_from(["a", "b.txt", "c/d", ".wh.e"])


@pytest.mark.parametrize("form", MAKERS)
@settings(max_examples=20)
@given(
    old=st.dictionaries(NAMES, st.binary(max_size=40), min_size=1),
    new=st.dictionaries(NAMES, st.binary(max_size=40), min_size=1),
)
def test_each_member_is_added_removed_modified_or_the_same(form: str, old: dict[str, bytes], new: dict[str, bytes]) -> None:
    expected = {("added", name) for name in new.keys() - old.keys()} | {("removed", name) for name in old.keys() - new.keys()}
    expected |= {("modified", name) for name in old.keys() & new.keys() if old[name] != new[name]}
    found = compared(MAKERS[form](old), MAKERS[form](new))
    assert expected == {(part.kind, part.name.decode()) for part in found.parts}
    assert bool(expected) == (found.same == "")


def test_members_of_a_debian_package_are_those_of_its_archives() -> None:
    assert [("modified", b"data/usr/a")] == differences(debian({"usr/a": b"1"}), debian({"usr/a": b"2"}))


def test_another_compression_of_a_debian_package_is_told() -> None:
    found = compared(debian({"a": b"1"}), debian({"a": b"1"}, gzip.compress))
    assert [("compression of control", "xz", "gzip"), ("compression of data", "xz", "gzip")] == list(map(tuple, found.facts))
    assert found.parts == ()


@pytest.mark.parametrize(("header", "name"), [
    (b"a.o/", b"a.o"), (b"/1", b"long-name-of-a-member.o"), (b"#1/4", b"name"),
])  # fmt: skip
def test_names_of_ar_are_read_in_all_spellings(header: bytes, name: bytes) -> None:
    table = b"xlong-name-of-a-member.o/\n"
    found = content_of(ar({b"/": b"symbols", b"//": table, header: b"name1"}))
    assert found is not None
    assert ([name], "") == (list(found.parts), found.note)


def test_times_and_owners_of_tar_members_are_no_difference() -> None:
    assert compared(tar({"a": b"1"}), tar({"a": b"1"}, mtime=5, uid=7)).same.startswith("no member differs")


def test_another_target_of_a_link_in_a_tar_is_a_difference() -> None:
    old, new = (tar({"a": b""}, type=tarfile.SYMTYPE, linkname=target) for target in ("x", "y"))
    assert [("modified", b"a")] == differences(old, new)


def test_what_a_program_needs_and_whether_it_is_stripped_are_facts() -> None:
    found = compared(elf(symbols=True), elf(needed=(b"libc.so.6", b"libevil.so"), build_id=b"\x03"))
    assert [
        ("needed", "libc.so.6", "libc.so.6 libevil.so"), ("build id", "0102", "03"), ("symbols", "not stripped", "stripped"),
    ] == list(map(tuple, found.facts))  # fmt: skip
    assert ("removed", b".symtab") in [(part.kind, part.name) for part in found.parts]


def test_a_program_for_another_machine_is_told() -> None:
    facts = {one.name: (one.before, one.after) for one in compared(elf(), elf(bits=32, order=">", machine=40)).facts}
    assert ("x86-64, 64 bits, little endian", "ARM, 32 bits, big endian") == facts["machine"]


def test_files_of_different_formats_are_told_by_their_formats() -> None:
    assert [("format", "an ELF file", "a zip archive")] == list(map(tuple, compared(elf(), zipped({"a": b""})).facts))


@pytest.mark.parametrize(("data", "format"), [
    (bytes(12) + b"\x61\x15\x06\0" + bytes(50), "a Berkeley DB database (hash)"),
    (b"\xce\x9a\x57\x13" + bytes(50), "a GDBM database"),
    (b"RpmP" + bytes(50), "an rpm database (ndb)"), (b"glibc-ld.so.cache1.1", "a cache of shared libraries (ldconfig)"),
    (sample(), "a tar archive"), (b"#!/bin/sh\n" + zipped({"a": b""}), "a zip archive"),
], ids=range(6))  # fmt: skip
def test_formats_are_known_by_their_first_bytes(data: bytes, format: str) -> None:
    found = content_of(data)
    assert found is not None and found.format == format


@pytest.mark.parametrize("data", [b"", b"\0" * 2000, b"text\n" * 200, b"\x89PNG", b"#!/bin/sh\n"])
def test_other_files_have_no_inside(data: bytes) -> None:
    assert content_of(data) is None


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress, bz2.compress])
def test_a_file_that_unpacks_to_more_than_the_limit_has_a_note(pack: Callable[[bytes], bytes]) -> None:
    note = "it, or the files before it, unpack to more than 1,048,576 bytes"
    for data in (bytes(3 << 20), tar({"a": b"x" * (3 << 20)})):
        found = content_of(pack(data), Room(1 << 20))
        assert found is not None
        assert ({}, note) == (found.parts, found.note)


def test_all_files_and_members_share_one_limit_of_unpacked_bytes() -> None:
    room = Room(1 << 20)
    small, package = gzip.compress(bytes(600_000)), debian({"a": bytes(600_000)})
    notes = [found.note for data in (small, small, small, package) if (found := content_of(data, room)) is not None]
    assert [False, True, True, True] == [note.endswith("unpack to more than 1,048,576 bytes") for note in notes]


def test_a_debian_package_with_a_member_in_another_encoding_has_the_rest() -> None:
    found = content_of(ar({b"debian-binary": b"2.0\n", b"\xff.tar": tar({"a": b"x"})}))
    assert found is not None
    assert ([b"\xff/a"], "compression of \ufffd") == ([*found.parts][-1:], next(iter(found.facts)))


def test_members_beyond_the_limit_are_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (tars, content):
        monkeypatch.setattr(module, "PARTS", 2)
    found = compared(tar(dict.fromkeys("abc", b"1")), tar(dict.fromkeys("abc", b"2")))
    assert ((), "only the first 2 members were compared") == (found.parts, found.note)


def test_changed_parts_are_counted_even_if_not_all_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "KEPT", 2)
    new = InnerContent("x", {}, {b"%d" % n: InnerPart(n, b"") for n in range(9)})
    found = compare_contents(InnerContent("x", {}, {}), new)
    assert (9, [b"8", b"7"]) == (found.added, [part.name for part in found.parts])
