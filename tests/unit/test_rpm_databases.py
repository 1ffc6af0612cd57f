"""rpm's databases: real ones of all formats against what rpm said of them, and made ones that are odd or hostile."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from struct import pack_into

import pytest
from support.rpm_databases import FORMATS, database, header, in_berkeley, in_ndb, in_sqlite, package, real, stated, with_log

from ocitool import limits
from ocitool.layers.entry import Entry, Kind
from ocitool.packages.package import DatabaseError, Package
from ocitool.packages.rpm.reader import RpmReader

DIRECTORY = "var/lib/rpm"


def read(**files: bytes) -> list[Package]:
    """The packages of a directory of rpm, its files by name with `_` in place of the other characters."""
    return read_files({DIRECTORY: {PLAIN[name]: content for name, content in files.items()}})


PLAIN = {"sqlite": "rpmdb.sqlite", "log": "rpmdb.sqlite-wal", "ndb": "Packages.db", "berkeley": "Packages"}


def read_files(directories: dict[str, dict[str, bytes]]) -> list[Package]:
    reader = RpmReader()
    for directory, files in directories.items():
        for name, content in files.items():
            path = f"{directory}/{name}".encode()
            assert reader.database_of(path, Entry(path, Kind.FILE, 0o644, 0, 0, 0, len(content))) == directory.encode()
            reader.add(path, content)
    return list(reader.packages())


def broken(**files: bytes) -> str:
    """The reason why these cannot be read wholly."""
    with pytest.raises(DatabaseError) as raised:
        read(**files)
    return str(raised.value)


def names(packages: list[Package]) -> list[str]:
    return [package.name for package in packages]


@pytest.mark.parametrize("state", ["before", "after"])
@pytest.mark.parametrize("name", FORMATS)
def test_a_database_that_rpm_wrote_is_read_as_rpm_reads_it(name: str, state: str) -> None:
    found = read_files({DIRECTORY: {name: real(state, name)}})
    assert [
        (name, version, architecture, license, sorted(files.split("|")[:-1]))
        for name, version, architecture, _, license, files in stated(state)
    ] == sorted((p.name, p.version, p.architecture, p.license, sorted("/" + file.decode() for file in p.files)) for p in found)
    assert {package.database.decode() for package in found} == {f"{DIRECTORY}/{name}"}


def test_source_is_named_where_it_differs_from_the_package() -> None:
    found = {p.name: (p.source, p.source_version) for p in read(ndb=real("before", "Packages.db"))}
    assert found == {"chair": ("", ""), "lamp": ("", ""), "shelf": ("", ""), "shelf-empty": ("shelf", "1.2-3")}


@pytest.mark.parametrize("name", FORMATS)
def test_packages_of_any_size_are_read_from_every_format(name: str) -> None:
    headers = [package(f"p{size}", license="x" * size) for size in (1, 3900, 4000, 4070, 8200, 60_000)]
    assert [f"p{size}" for size in (1, 3900, 4000, 4070, 8200, 60_000)] == names(
        read_files({DIRECTORY: {name: database(name, headers)}})
    )


@pytest.mark.parametrize("page_size", [512, 4096, 65536])
@pytest.mark.parametrize("order", ["<", ">"])
def test_berkeley_db_is_read_in_either_byte_order_and_any_page_size(order: str, page_size: int) -> None:
    headers = [package("lamp", license="x" * 9000), package("chair")]
    assert names(read(berkeley=in_berkeley(headers, order, page_size))) == ["lamp", "chair"]


def logged() -> tuple[bytes, bytes]:
    """A database, and its log: the lamp has another version there, the filler is removed, and the chair is new."""
    before = [package("lamp", "1"), package("filler", license="x" * 20_000)]
    return with_log(before, [package("lamp", "2"), package("chair", license="y" * 9000)])


def test_what_is_committed_in_the_write_ahead_log_counts() -> None:
    content, log = logged()
    assert [("lamp", "2-1"), ("chair", "1.0-1")] == [(p.name, p.version) for p in read(sqlite=content, log=log)]
    assert names(read(sqlite=content, log=b"")) == ["lamp", "filler"]
    assert names(read(sqlite=content, log=b"no log" * 100)) == ["lamp", "filler"]


def test_a_torn_write_ahead_log_counts_as_far_as_sqlite_counts_it(tmp_path: Path) -> None:
    content, log = logged()
    results = set()
    for number, end in enumerate(range(len(log) % 4120, len(log) + 1, 4120)):
        for torn in (log[:end], log[: end - 100] + bytes(100) + log[end:]):
            copy = tmp_path / f"copy{number}.sqlite"
            copy.write_bytes(content)
            Path(f"{copy}-wal").write_bytes(torn)
            connection = sqlite3.connect(copy)
            expected = [bytes(row[0]) for row in connection.execute("SELECT blob FROM Packages")]
            connection.close()
            copy.unlink()
            found = read(sqlite=content, log=torn)
            assert len(expected) == len(found)
            results.add(tuple(names(found)))
    before = ("lamp", "filler")
    assert {before, (*before, "lamp"), (*before, "lamp", "chair"), ("lamp", "chair")} == results


def test_a_trusted_key_is_not_a_package() -> None:
    headers = [package("gpg-pubkey", "e7aa2d5d", "5e3b0b4d"), package("lamp")]
    assert names(read(ndb=in_ndb(headers))) == ["lamp"]


def test_epoch_zero_and_an_absent_release_are_not_in_the_version() -> None:
    headers = [package(epoch=0), package(epoch=1), header(name="lamp", version="1.0")]
    assert [p.version for p in read(ndb=in_ndb(headers))] == ["1.0-1", "1:1.0-1", "1.0"]


def test_paths_of_old_packages_are_listed_whole() -> None:
    assert read(ndb=in_ndb([package(old_file_names=[b"/etc/a", b"/b"])]))[0].files == (b"etc/a", b"b")


def test_the_root_is_not_a_file_of_a_package() -> None:
    """The package `filesystem` of Fedora lists it."""
    assert read(ndb=in_ndb([package(files=[b"/", b"/etc"])]))[0].files == (b"etc",)


def test_the_newest_format_in_a_directory_counts() -> None:
    old, new, newest = (package(name) for name in ("old", "new", "newest"))
    assert names(read(sqlite=in_sqlite([newest]), ndb=in_ndb([new]), berkeley=in_berkeley([old]))) == ["newest"]
    assert names(read(ndb=in_ndb([new]), berkeley=in_berkeley([old]))) == ["new"]
    assert names(read(log=b"")) == []


def test_each_directory_is_a_database_of_its_own() -> None:
    content = in_ndb([package("lamp", files=[b"/a"])])
    found = read_files({"usr/lib/sysimage/rpm": {"Packages.db": content}, "usr/share/rpm": {"Packages.db": content}})
    assert {b"usr/lib/sysimage/rpm/Packages.db", b"usr/share/rpm/Packages.db"} == {p.database for p in found}


@pytest.mark.parametrize("path", [b"var/lib/rpm/Name", b"var/lib/rpm/sub/Packages", b"Packages", b"lib/rpm/Packages"])
def test_other_files_are_no_database(path: bytes) -> None:
    assert RpmReader().database_of(path, Entry(path, Kind.FILE, 0o644, 0, 0, 0, 0)) is None


def test_a_header_that_cannot_be_read_hides_no_other() -> None:
    reader = RpmReader()
    reader.add(b"var/lib/rpm/Packages.db", in_ndb([package("a"), b"", header(version="1"), package("b")]))
    found = []
    with pytest.raises(DatabaseError, match=r"^2 problems, first: a header is truncated$"):
        for one in reader.packages():
            found.append(one.name)
    assert found == ["a", "b"]


def test_a_database_of_unreadable_headers_is_given_up() -> None:
    headers = [b"12345678"] * 2000 + [package("lamp")]
    assert "1000 problems, first: a header is truncated" == broken(sqlite=in_sqlite(headers))


@pytest.mark.parametrize("name", FORMATS)
def test_a_truncated_database_is_a_reason(name: str) -> None:
    content = database(name, [package("lamp", license="x" * 9000), package("chair")])
    for size in (0, 1, 20, 100, 600, 4095, 4096, 5000, len(content) - 4096, len(content) - 1):
        with pytest.raises(DatabaseError):
            read_files({DIRECTORY: {name: content[:size]}})


LISTS: dict[str, Callable[[], bytes]] = {
    "fewer directories": lambda: header(
        name="a", version="1", base_names=[b"x"], directory_names=[b"/"], directory_indexes=[1]
    ),
    "fewer indexes": lambda: header(
        name="a", version="1", base_names=[b"x", b"y"], directory_names=[b"/"], directory_indexes=[0]
    ),
    "no directories": lambda: header(name="a", version="1", base_names=[b"x"]),
    "a text as a number": lambda: header(name=1, version="1"),
    "no version": lambda: header(name="a"),
    "no name": lambda: header(version="1"),
}


@pytest.mark.parametrize("kind", list(LISTS))
def test_a_header_whose_values_do_not_fit_each_other_is_a_reason(kind: str) -> None:
    assert "header" in broken(ndb=in_ndb([LISTS[kind]()]))


def test_a_long_text_is_refused() -> None:
    assert "65536 bytes" in broken(ndb=in_ndb([package(license="x" * limits.PACKAGE_TEXT)]))


def test_paths_do_not_take_more_memory_than_the_limit() -> None:
    count = limits.PACKAGE_PATH_MEMORY // 60_000
    lists = {"directory_indexes": [0] * count, "base_names": [b"x"] * count, "directory_names": [b"/" + b"d" * 60_000]}
    assert "of packages' files take more than" in broken(ndb=in_ndb([header(name="a", version="1", **lists)]))


def test_headers_that_share_blocks_of_an_ndb_are_refused() -> None:
    content = bytearray(in_ndb([package(license="x" * 30_000)] * 2))
    content[32 + 16 + 8 : 32 + 32] = content[32 + 8 : 32 + 16]
    pack_into("<I", content, 32 + 16 + 4, 1)
    for slot in range(2, 254):
        content[32 + slot * 16 : 32 + slot * 16 + 16] = content[32:48]
    assert "overlap" in broken(ndb=bytes(content))


def test_a_damaged_package_of_an_ndb_is_refused() -> None:
    content = bytearray(in_ndb([package()]))
    content[4096 + 40] ^= 1
    assert broken(ndb=bytes(content)) == "package 1 of the ndb database is damaged"


def overflow(page: int, following: int) -> bytes:
    """A Berkeley DB with one header of three pages, one of which names another as the next."""
    content = bytearray(in_berkeley([package(license="x" * 10_000)]))
    pack_into("<I", content, page * 4096 + 16, following)
    return bytes(content)


@pytest.mark.parametrize(("page", "following"), [(1, 1), (2, 0), (2, 99), (1, 4)])
def test_overflow_pages_in_a_circle_or_astray_are_refused(page: int, following: int) -> None:
    assert "Berkeley DB" in broken(berkeley=overflow(page, following))


def test_values_that_share_overflow_pages_are_refused() -> None:
    content = bytearray(in_berkeley([package(license="x" * 40_000)]))
    content += content[-4096:] * 20  # The last page names the package.
    pack_into("<I", content, 32, len(content) // 4096 - 1)
    assert "overlap" in broken(berkeley=bytes(content))


@pytest.mark.parametrize(
    ("offset", "value", "reason"),
    [
        (20, 0, "pages of 0"),
        (20, 3000, "pages of 3000"),
        (24, 1, "encrypted"),
        (26, 1, "checksums"),
        (25, 9, "no Berkeley DB hash"),
    ],
)
def test_an_unknown_form_of_berkeley_db_is_refused(offset: int, value: int, reason: str) -> None:
    content = bytearray(in_berkeley([package()]))
    pack_into("<I" if offset == 20 else "B", content, offset, value)
    assert reason in broken(berkeley=bytes(content))


HOSTILE = {
    "a view": ("DROP TABLE Packages", "CREATE VIEW Packages AS SELECT randomblob(1000) AS blob"),
    "an endless view": (
        "DROP TABLE Packages",
        "CREATE VIEW Packages AS WITH RECURSIVE n(blob) AS (SELECT x'00' UNION ALL SELECT blob FROM n) SELECT blob FROM n",
    ),
    "a virtual table": ("DROP TABLE Packages", "CREATE VIRTUAL TABLE Packages USING fts4(blob)"),
    "a computed column": ("DROP TABLE Packages", "CREATE TABLE Packages (n, blob AS (zeroblob(n)))",
                          "INSERT INTO Packages (n) VALUES (1000000000)"),
    "texts": ("DROP TABLE Packages", "CREATE TABLE Packages (blob)", "INSERT INTO Packages VALUES ('text')"),
    "no column": ("ALTER TABLE Packages RENAME COLUMN blob TO other",),
    "no table": ("DROP TABLE Packages",),
}  # fmt: skip


@pytest.mark.parametrize("kind", list(HOSTILE))
def test_a_hostile_schema_runs_nothing(kind: str) -> None:
    assert broken(sqlite=in_sqlite([package()], *HOSTILE[kind]))


def test_pages_of_an_sqlite_database_in_a_circle_end() -> None:
    content = bytearray(in_sqlite([package(f"p{number}", license="x" * 3000) for number in range(2000)]))
    roots = [at for at in range(0, len(content), 4096) if content[at] == 5]
    assert roots
    for root in roots:  # Each cell of an inner page names the page itself.
        cells = int.from_bytes(content[root + 3 : root + 5], "big")
        for cell in range(cells):
            at = root + int.from_bytes(content[root + 12 + 2 * cell : root + 14 + 2 * cell], "big")
            content[at : at + 4] = (root // 4096 + 1).to_bytes(4, "big")
    assert broken(sqlite=bytes(content))


def test_rows_that_share_their_pages_are_no_more_than_the_file_holds() -> None:
    content = bytearray(in_sqlite([package(f"p{number}", license="x" * 3000) for number in range(100)]))
    root = next(at for at in range(0, len(content), 4096) if content[at] == 5)
    cells = int.from_bytes(content[root + 3 : root + 5], "big")
    for cell in range(2, cells):  # Each cell names the inner page again whose cells name a page of packages.
        at = root + int.from_bytes(content[root + 12 + 2 * cell : root + 14 + 2 * cell], "big")
        content[at : at + 4] = content[root + 8 : root + 12]
    reader = RpmReader()
    reader.add(b"var/lib/rpm/rpmdb.sqlite", bytes(content))
    found = []
    with suppress(DatabaseError):
        for one in reader.packages():
            found.append(len(one.license))
    assert len(content) > sum(found)
