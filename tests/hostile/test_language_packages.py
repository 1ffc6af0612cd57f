"""Records of languages' packages made to cost much or to fail: each ends with packages or `DatabaseError`, in linear time."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import pytest

from ocitool import limits
from ocitool.packages.conda import CondaReader
from ocitool.packages.gem import GemReader
from ocitool.packages.npm import NpmReader
from ocitool.packages.package import DatabaseError, PackageReader
from ocitool.packages.python import PythonReader

METADATA = b"site/a-1.dist-info/METADATA"
RECORD = b"site/a-1.dist-info/RECORD"
SPECIFICATION = b"specifications/a-1.gemspec"
PACKAGE_JSON = b"node_modules/a/package.json"
CONDA = b"conda-meta/a.json"

FORMS: list[tuple[type[PackageReader], bytes, bytes]] = [
    (PythonReader, METADATA, b"Name: a\nVersion: 1\nLicense: MIT\n\nText\n"),
    (PythonReader, RECORD, b'a/__init__.py,sha256=x,1\n"b,c",,\n../../bin/a,,\n'),
    (PythonReader, b"site/a.egg-info/installed-files.txt", b"../a.py\nPKG-INFO\n"),
    (NpmReader, PACKAGE_JSON, b'{"name": "a", "version": "1", "bin": {"a": "x"}, "license": {"type": "MIT"}}'),
    (CondaReader, CONDA, b'{"name": "a", "version": "1", "build": "0", "files": ["x", "y"]}'),
    (GemReader, SPECIFICATION, b'# stub: a 1 ruby lib\n  s.executables = ["a".freeze]\n  s.licenses = ["MIT"]\n'),
]
COSTS: list[tuple[type[PackageReader], bytes, Callable[[int], bytes]]] = [
    (PythonReader, METADATA, lambda size: b"a:\n" * (size // 3)),
    (PythonReader, METADATA, lambda size: b"Name: " + b"a-" * (size // 2)),
    (PythonReader, RECORD, lambda size: b"\n" * size),
    (PythonReader, RECORD, lambda size: b'"' * size),
    (PythonReader, RECORD, lambda size: b'"a\n' * (size // 3)),
    (PythonReader, RECORD, lambda size: b"/".join([b".."] * (size // 3))),
    (PythonReader, RECORD, lambda size: b"a/../" * (size // 5)),
    (NpmReader, PACKAGE_JSON, lambda size: b"[" * size),
    (NpmReader, PACKAGE_JSON, lambda size: b'{"a":' * (size // 5)),
    (NpmReader, PACKAGE_JSON, lambda size: b'{"name": ' + b"9" * size + b"}"),
    (CondaReader, CONDA, lambda size: b'{"name": "a", "version": "1", "files": [' + b'"",' * (size // 3) + b'""]}'),
    (GemReader, SPECIFICATION, lambda size: b"  s.files = [" + b'\\"' * (size // 2)),
    (GemReader, SPECIFICATION, lambda size: b"  s.files = [" + b'"\\' * (size // 2)),
    (GemReader, SPECIFICATION, lambda size: b"# stub: " * (size // 8)),
    (GemReader, SPECIFICATION, lambda size: b"  s.name = \n" * (size // 12)),
]


def read(reader: PackageReader, path: bytes, content: bytes) -> None:
    try:
        reader.add(path, content)
    except DatabaseError:
        return
    for package in reader.packages():
        assert package.name and package.version
        assert not any(file.startswith((b"/", b"../")) for file in package.files)


@pytest.mark.parametrize(("form", "path", "content"), FORMS, ids=lambda one: one.__name__ if isinstance(one, type) else "")
def test_truncated_and_changed_records_never_fail_otherwise(form: type[PackageReader], path: bytes, content: bytes) -> None:
    chance = random.Random(18)
    for end in range(len(content)):
        read(form(), path, content[:end])
    for _ in range(300):
        changed = bytearray(content)
        for _ in range(chance.randint(1, 4)):
            changed[chance.randrange(len(changed))] = chance.choice(b'\x00\xff\n\r"\\{}[],:/.' + content)
        read(form(), path, bytes(changed))


@pytest.mark.parametrize(("form", "path", "make"), COSTS)
def test_the_time_is_linear_in_the_size(form: type[PackageReader], path: bytes, make: Callable[[int], bytes]) -> None:
    """Ten seconds for a megabyte would be a quadratic step; each of these takes milliseconds."""
    begun = time.process_time()
    read(form(), path, make(1 << 20))
    assert time.process_time() - begun < 2


@pytest.mark.parametrize("form", [PythonReader, NpmReader, CondaReader, GemReader])
def test_long_and_deep_paths_are_judged_in_linear_time(form: type[PackageReader]) -> None:
    reader = form()
    begun = time.process_time()
    for unit in (
        b"node_modules/a/",
        b"node_modules/@",
        b"specifications/",
        b"a.dist-info/",
        b"pkgs/a-1-1/lib/python/",
        b"/",
        b"\n",
    ):
        for end in (b"package.json", b"METADATA", b"x.gemspec", b"PKG-INFO", b"a.json", b"x.egg-info"):
            reader.database_of(unit * (limits.PATH_LENGTH // len(unit)) + b"/" + end, None)  # type: ignore[arg-type]
    assert time.process_time() - begun < 2


def test_lists_of_files_are_bounded_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PACKAGE_FILES", 10)
    reader = PythonReader()
    reader.add(RECORD, b"a,,\n" * 6)
    with pytest.raises(DatabaseError, match="more than 10 files"):
        reader.add(RECORD.replace(b"a-1", b"b-1"), b"a,,\n" * 5)
    conda = CondaReader()
    with pytest.raises(DatabaseError, match="more than 10 files"):
        conda.add(CONDA, b'{"name": "a", "version": "1", "files": [' + b'"x",' * 10 + b'"x"]}')


def test_documents_of_too_many_values_are_refused() -> None:
    with pytest.raises(DatabaseError, match="values"):
        NpmReader().add(PACKAGE_JSON, b"[" + b"1," * limits.DOCUMENT_VALUES + b"1]")
    with pytest.raises(DatabaseError, match="larger than"):
        NpmReader().add(PACKAGE_JSON, b" " * (limits.DOCUMENT_SIZE + 1))
    with pytest.raises(DatabaseError, match="larger than"):
        GemReader().add(SPECIFICATION, b" " * (limits.DOCUMENT_SIZE + 1))
