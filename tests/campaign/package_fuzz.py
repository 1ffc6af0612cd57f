"""Fuzz targets for what reads installed packages: the database of every package manager, programs and archives; and for what
looks inside changed files.

Each target takes the bytes of one file, and has the reader take it at every path at which it looks for such a file.
"""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Callable, Iterable
from functools import cache
from itertools import islice
from struct import pack_into, unpack_from

from support import programs, rpm_databases
from support.layers import sample
from support.packages import stanza
from support.streams import encode

from ocitool.comparison.inside.content import InnerContent
from ocitool.comparison.inside.formats import content_of
from ocitool.comparison.inside.reading import compare_contents
from ocitool.layers.entry import Entry, Kind
from ocitool.packages.elf import ElfError, links_of, read_elf
from ocitool.packages.os_release import distribution
from ocitool.packages.package import DatabaseError, Package, PackageKind
from ocitool.packages.path_budget import PathBudget
from ocitool.packages.purl import package_url
from ocitool.packages.readers import READERS, readers
from ocitool.packages.rpm import berkeley, ndb, sqlite
from ocitool.packages.rpm.header import read_package
from ocitool.packages.versions import compare

MOST = 100_000
"""Packages that a target looks at."""


def read(kind: PackageKind, files: Iterable[tuple[str, bytes]]) -> None:
    """Errors of ours only; what is found keeps the promises of `Package`."""
    reader = readers([kind])[kind]
    for name, content in files:
        path = name.encode()
        reader.database_of(path, Entry(path, Kind.FILE, 0o755, 0, 0, 0, len(content)))
        with contextlib.suppress(DatabaseError):
            reader.add(path, content)
    last = None
    with contextlib.suppress(DatabaseError):
        for package in islice(reader.packages(), MOST):
            kept(package)
            if last is not None:
                ordered(kind, last, package.version)
            last = package.version


def kept(package: Package) -> None:
    """What `Package` promises, and what reports need: a name, text that can be written, and paths of a tree."""
    assert package.name, "a package without a name"
    for field in package:
        if isinstance(field, str):
            field.encode()
    assert package_url(package).isascii()
    assert not package.database.startswith(b"/")
    assert not any(file.startswith(b"/") for file in package.files), "a path with a leading slash"
    assert b"" not in package.files, "an empty path"


def ordered(kind: PackageKind, one: str, other: str) -> None:
    """The order of versions has two directions, and a version is as new as itself."""
    forward, backward = compare(kind, one, other), compare(kind, other, one)
    assert (forward is None) == (backward is None)
    assert forward is None or backward is None or forward == -backward, f"{one!r} and {other!r} have no order"
    assert compare(kind, one, one) in (0, None)


def at(kind: PackageKind, *paths: str) -> Callable[[bytes], None]:
    """A target of one kind: the same bytes at each of the paths, then at all of them together."""

    def target(data: bytes) -> None:
        for path in paths:
            read(kind, [(path, data)])
        if len(paths) > 1:
            read(kind, [(path, data) for path in paths])

    return target


def rpm_header(data: bytes) -> None:
    with contextlib.suppress(DatabaseError):
        package = read_package(data, b"Packages", PathBudget())
        if package is not None:
            kept(package)


def rpm_sqlite(data: bytes) -> None:
    within(data, lambda: sqlite.header_blobs(data))


def rpm_log(data: bytes) -> None:
    """A write-ahead log over a database that is right, with the checksums that it states, and with those that it should."""
    content = LOGGED[0]
    within(content + data, lambda: sqlite.header_blobs(content, data))
    resealed = bytearray(data)
    if len(data) >= 32:
        size = int.from_bytes(data[8:12], "big")
        sums = sqlite._checksum(data[:24], (0, 0), ">" if data[3] & 1 else "<")
        pack_into(">2I", resealed, 24, *sums)
        for start in range(32, len(data) - 24 - size + 1, 24 + size) if 512 <= size <= 1 << 16 else ():
            sums = sqlite._checksum(data[start : start + 8], sums, ">" if data[3] & 1 else "<")
            body = data[start + 24 : start + 24 + size]
            sums = sqlite._checksum(body[: len(body) & ~7], sums, ">" if data[3] & 1 else "<")
            pack_into(">2I", resealed, start + 16, *sums)
    within(content + data, lambda: sqlite.header_blobs(content, bytes(resealed)))


def rpm_ndb(data: bytes) -> None:
    """As it is, and with the right checksum of each package."""
    within(data, lambda: ndb.header_blobs(data))
    resealed = bytearray(data)
    for slot in range(32, min(len(data), 4096) - 15, 16):
        first, blocks = unpack_from("<2I", data, slot + 8)
        start, end = first * 16, (first + blocks) * 16 - 12
        if start < end <= len(data) - 12:
            pack_into("<I", resealed, end, zlib.adler32(data[start:end]))
    within(data, lambda: ndb.header_blobs(bytes(resealed)))


def rpm_berkeley(data: bytes) -> None:
    within(data, lambda: berkeley.header_blobs(data))


def within(data: bytes, headers: Callable[[], Iterable[bytes]]) -> None:
    """The headers of a database are no larger than it is."""
    size = 0
    with contextlib.suppress(DatabaseError):
        for blob in headers():
            size += len(blob)
            assert size <= len(data), "headers overlap"
            rpm_header(blob)


def elf(data: bytes) -> None:
    with contextlib.suppress(ElfError):
        links_of(data, read_elf(data))


def inside(data: bytes) -> None:
    """What `diff` sums up of a changed file, and its comparison with another and itself."""
    found = content_of(data)
    if found is None:
        return
    text = [found.format, found.note, *found.facts, *found.facts.values()]
    "".join(text).encode()
    other = compare_contents(found, found)
    assert not (other.parts or other.facts or other.added or other.removed or other.modified), "differs from itself"
    for one in insides():
        compare_contents(one, found)


@cache
def insides() -> list[InnerContent]:
    return [found for sample in corpus("inside") if (found := content_of(sample)) is not None]


def os_release(data: bytes) -> None:
    found = distribution(data)
    if found is not None:
        assert package_url(Package("deb", "a", "1", b"status"), found).isascii()


def versions(data: bytes) -> None:
    one, _, other = data.decode("utf-8", "replace").partition(" ")
    for kind in READERS:
        ordered(kind, one, other)


PATHS: dict[str, tuple[PackageKind, tuple[str, ...]]] = {
    "dpkg": ("deb", ("var/lib/dpkg/status", "var/lib/dpkg/info/a.list", "var/lib/dpkg/diversions", "var/lib/dpkg/status.d/a",
                     "var/lib/dpkg/status.d/a.md5sums")),
    "apk": ("apk", ("lib/apk/db/installed",)),
    "rpm-sqlite": ("rpm", ("var/lib/rpm/rpmdb.sqlite",)),
    "rpm-log": ("rpm", ("var/lib/rpm/rpmdb.sqlite-wal",)),
    "rpm-ndb": ("rpm", ("usr/lib/sysimage/rpm/Packages.db",)),
    "rpm-berkeley": ("rpm", ("var/lib/rpm/Packages",)),
    "python": ("pypi", ("s/a-1.dist-info/METADATA", "s/a-1.dist-info/RECORD", "s/b.egg-info", "s/c.egg-info/PKG-INFO",
                        "s/c.egg-info/installed-files.txt")),
    "conda": ("conda", ("opt/conda-meta/a.json",)),
    "npm": ("npm", ("app/node_modules/@scope/a/package.json", "usr/lib/node_modules/npm/package.json")),
    "gem": ("gem", ("usr/lib/ruby/gems/3.1.0/specifications/a-1.gemspec",
                    "usr/lib/ruby/gems/3.1.0/specifications/default/b-1.gemspec")),
    "go": ("golang", ("usr/bin/app",)),
    "java": ("maven", ("app/a-1.0.jar",)),
}  # fmt: skip
"""Target -> the kind of packages, and where their reader looks for such a file."""

TARGETS: dict[str, Callable[[bytes], None]] = {
    **{name: at(kind, *paths) for name, (kind, paths) in PATHS.items()},
    "rpm-header": rpm_header,
    "rpm-sqlite": rpm_sqlite,
    "rpm-log": rpm_log,
    "rpm-ndb": rpm_ndb,
    "rpm-berkeley": rpm_berkeley,
    "elf": elf,
    "inside": inside,
    "os-release": os_release,
    "versions": versions,
}  # fmt: skip

JSON_WORDS = (b"[", b"]", b"{", b"}", b'"', b",", b":", b"null", b"\\ud800", b"\\u0000", b"1e999", b"9" * 5000, b'"name":1,',
              b'"version":"', b'"files":["/a","","../b"]', b"\xff", b"\xef\xbb\xbf", b"\0")  # fmt: skip
WORDS: dict[str, tuple[bytes, ...]] = {
    "dpkg": (
        b"\n\n", b"\nPackage: ", b"\nVersion: ", b"\nConffiles:\n /etc/x", b"\n ", b"Status: install ok ", b"/", b"\n.", b":",
        b"\nSource: a (1", b"\xff", b"\0", b"\r", b"  ",
    ),
    "apk": (b"\n\n", b"\nF:", b"\nR:", b"\nP:", b"\nV:", b"/", b"..", b"\0", b"\xff", b"\r"),
    "python": (
        b"\n\n", b"\nName: ", b"\nVersion: ", b'"', b",", b"\n/", b"../", b"\r", b"\0", b"\xff", b"\x0c", b"//", b"/.",
    ),
    "conda": JSON_WORDS,
    "npm": JSON_WORDS,
    "gem": (b"\n  s.name = ", b'"', b"\\", b".freeze, ", b"\n# stub: ", b"[", b"]", b"\0", b"\xff", b"/", b"../", b'""'),
    "os-release": (b"\nID=", b"'", b'"', b"\\", b"#", b"=", b"\n", b"\0", b"\xff"),
    "versions": (
        b" ", b"~", b"^", b"+", b"-", b":", b"0" * 30, b"9" * 5000, b".", b"rc", b"_alpha", b"dev", "\u0663".encode(), b"v",
    ),
    "inside": (b"PK\x01\x02", b"`\n", b"/0", b"#1/9", b".tar", b"debian-binary", b"\xff", b"\0", b"9" * 12, b" ", b"\x1f\x8b"),
    "java": (b"PK\x01\x02", b"PK\x05\x06", b"PK\x03\x04", b"\xff\xff\xff\xff", b"\xff\xff", b"\0", b"=", b"\n"),
}  # fmt: skip
"""What mutations put into the samples of a target, beside numbers and bits."""


def corpus(target: str) -> list[bytes]:
    """The samples of a target."""
    return CORPORA[target]()


def _rpm(name: str) -> list[bytes]:
    headers = [
        rpm_databases.package("lamp", files=[b"/opt/lamp/a", b"/opt/lamp/b"], epoch=1, architecture="noarch", license="MIT"),
        rpm_databases.package("shelf", "2", license="x" * 5000, source_rpm="shelf-2-1.src.rpm"),
    ]
    return [rpm_databases.real("before", name), rpm_databases.database(name, headers), rpm_databases.database(name, [])]


def _logged() -> tuple[bytes, bytes]:
    return rpm_databases.with_log([rpm_databases.package("lamp", "1")], [rpm_databases.package("chair", license="y" * 9000)])


LOGGED = _logged()


def _headers() -> list[bytes]:
    real = berkeley.header_blobs(rpm_databases.real("before", "Packages"))
    return [*real, rpm_databases.package(old_file_names=[b"/etc/a", b"/b"])]


def _programs() -> list[bytes]:
    modules = programs.modules_text(
        "path\ta", "mod\ta\tv1", "dep\tb\tv2\th1:x", "=>\tc/d\tv3", "build\tvcs.revision=b", 'build\t"-a"="b"'
    )
    inline = {b".go.buildinfo": programs.go_info(b"go1.22", modules)}
    old = {b".go.buildinfo": programs.go_pointers(b"go1.17", modules, 528)}
    made = [programs.elf(bits=bits, order=order, symbols=True, extra=inline) for bits in (32, 64) for order in "<>"]
    return [*made, programs.elf(extra=old, headers=False)]


def _archives() -> list[bytes]:
    pom = {"META-INF/maven/g/a/pom.properties": b"groupId=g\nartifactId=a\nversion=1"}
    manifest = {"META-INF/MANIFEST.MF": b"Implementation-Title: x\nImplementation-Version: 2\n 3\n"}
    return [
        programs.zipped(pom | manifest | {"lib/b.jar": programs.zipped(manifest)}),
        programs.zipped(pom | {"lib/b.jar": programs.zipped(pom)}, deflated=False, front=b"#!/bin/sh\n"),
    ]


DPKG = (
    stanza("bash", "5.2-1", Source="bash-src (5.1)", Conffiles="\n /etc/a 0123\n /etc/b new") + stanza("a", "2:1~rc1-2"),
    b"/.\n/usr\n/usr/bin/a\n",
    b"/bin/sh\n/bin/sh.distrib\ndash\n",
    b"0123456789abcdef0123456789abcdef  usr/lib/os-release\n",
)  # fmt: skip
PYTHON = (
    b"Metadata-Version: 2.1\nName: a.b\nVersion: 1.0rc1\nLicense: MIT\n\nText\n",
    b'a/__init__.py,sha256=x,1\n"b,c",,\n../../bin/a,,\n',
    b"../a.py\nPKG-INFO\n",
)
CONDA = b'{"name": "a", "version": "1.0", "build": "0", "subdir": "noarch", "files": ["x", "y/../z"], "license": "MIT"}'
NPM = b'{"name": "@s/a", "version": "1.0.0-rc.1", "bin": {"a": "x", "b": "y"}, "licenses": [{"type": "MIT"}, "x"]}'
GEM = (
    b'# stub: a 1.0 ruby lib\n  s.name = "a".freeze\n  s.version = "1.0"\n  s.executables = ["a".freeze]\n'
    b'  s.licenses = ["MIT"]\n',
    b'  s.name = "b"\n  s.version = "1"\n  s.platform = "x86"\n  s.files = ["lib/b.rb".freeze, "x"]\n',
)
VERSIONS = (
    b"1:1.2~rc1-3+b1 1.10.0-r2", b"1.0.dev1 2.0rc1+local.7", b"v1.2.3-0.20200101-abc v1.2.3+incompatible", b"1^git 1~a"
)  # fmt: skip


def _files() -> list[bytes]:
    tar = sample(2, 3)
    members = {b"debian-binary": b"2.0\n", b"control.tar.gz": encode("gzip", tar), b"data.tar.xz": encode("xz", tar)}
    static = {b"//": b"a long name of an object.o/\n", b"/0": b"object", b"#1/8": b"short.o\0object", b"/": b"\0\0\0\0"}
    compressed = [encode(codec, data) for codec in ("gzip", "zstd", "bzip2") for data in (tar, b"text\n" * 9)]
    databases = [rpm_databases.in_sqlite([]), rpm_databases.in_berkeley([]), b"\xca\xfe\xba\xbe\0\0\0\x40", b"TZif2"]
    return [programs.ar(members), programs.ar(static), tar, *compressed, *databases, *_programs(), *_archives()]


CORPORA: dict[str, Callable[[], list[bytes]]] = {
    "dpkg": lambda: list(DPKG),
    "apk": lambda: [b"P:musl\nV:1.2.5-r0\nA:x86_64\nL:MIT\no:musl\nF:lib\nR:ld-musl-x86_64.so.1\na:0:0:755\nF:\nR:ldd\n\n" * 2],
    "rpm-header": _headers,
    "rpm-sqlite": lambda: _rpm("rpmdb.sqlite"),
    "rpm-log": lambda: [LOGGED[1]],
    "rpm-ndb": lambda: _rpm("Packages.db"),
    "rpm-berkeley": lambda: [*_rpm("Packages"), rpm_databases.in_berkeley([rpm_databases.package()] * 3, ">", 512)],
    "python": lambda: list(PYTHON),
    "conda": lambda: [CONDA],
    "npm": lambda: [NPM],
    "gem": lambda: list(GEM),
    "go": _programs,
    "elf": _programs,
    "java": _archives,
    "inside": _files,
    "os-release": lambda: [b'NAME="Debian"\nID=debian\nVERSION_ID="12"\n# x\nID="a b"\n'],
    "versions": lambda: list(VERSIONS),
}
