"""Packages of npm, yarn and pnpm, by where their `package.json` stands."""

from __future__ import annotations

import json

import pytest
from support.language_packages import packages_among

from ocitool.packages.npm import NpmReader
from ocitool.packages.package import DatabaseError, Package


def among(**fields: object) -> list[Package]:
    return packages_among(NpmReader(), {"app/node_modules/x/package.json": json.dumps(fields)})


@pytest.mark.parametrize(
    ("path", "database"),
    [
        ("node_modules/a/package.json", "node_modules"),
        ("app/node_modules/a/package.json", "app/node_modules"),
        ("app/node_modules/@s/a/package.json", "app/node_modules"),
        ("app/node_modules/a/node_modules/@s/b/node_modules/c/package.json", "app/node_modules"),
        ("usr/local/lib/node_modules/npm/node_modules/abbrev/package.json", "usr/local/lib/node_modules"),
        ("app/node_modules/.pnpm/@s+a@1.0.0/node_modules/@s/a/package.json", "app/node_modules"),
        ("app/node_modules/.store/a-npm-1.0.0-0123456789/package/package.json", "app/node_modules"),
        ("app/.yarn/unplugged/a-npm-1.0.0-01/node_modules/a/package.json", "app/.yarn/unplugged/a-npm-1.0.0-01/node_modules"),
        ("package.json", None),
        ("app/package.json", None),
        ("app/xnode_modules/a/package.json", None),
        ("app/node_modules/package.json", None),
        ("app/node_modules/@s/package.json", None),
        ("app/node_modules/.cache/package.json", None),
        ("app/node_modules/a/dist/esm/package.json", None),
        ("app/node_modules/a/test/node_modules/b/package.json", None),
        ("app/node_modules/a/package.json/x", None),
    ],
)
def test_a_package_is_a_directory_in_node_modules_and_the_outermost_one_is_the_database(
    path: str, database: str | None
) -> None:
    found = NpmReader().database_of(path.encode(), None)  # type: ignore[arg-type]
    assert (database.encode() if database else None) == found


def test_a_package_owns_its_directory_and_the_links_to_its_commands() -> None:
    text = json.dumps({"name": "@s/a", "version": "1.0.0-rc.1", "license": "MIT", "bin": {"one": "x.js", "../two": "y.js"}})
    local = packages_among(NpmReader(), {"app/node_modules/@s/a/package.json": text})
    assert [
        Package(
            "npm", "a", "1.0.0-rc.1", b"app/node_modules/@s/a/package.json", "@s", license="MIT",
            files=(b"app/node_modules/.bin/one",), directory=b"app/node_modules/@s/a",
        )
    ] == local  # fmt: skip
    [installed_globally] = packages_among(NpmReader(), {"usr/lib/node_modules/@s/a/package.json": text})
    assert (b"usr/bin/one",) == installed_globally.files
    [alone] = among(name="x", version="1", bin="cli.js")
    assert (b"app/node_modules/.bin/x",) == alone.files


@pytest.mark.parametrize(
    ("stated", "license"),
    [("ISC", "ISC"), ({"type": "BSD"}, "BSD"), ([{"type": "MIT"}, "GPL", 3], "MIT OR GPL"), (5, ""), (None, "")],
)
def test_a_licence_is_read_in_its_old_forms_too(stated: object, license: str) -> None:
    assert [license] == [one.license for one in among(name="x", version="1", license=stated)]


@pytest.mark.parametrize(
    "fields", [{"type": "module"}, {"name": "x"}, {"version": "1"}, {"name": 1, "version": "1"}, {"name": "x", "version": ""},
               {"name": "@s/", "version": "1"}, {"name": "x" * 215, "version": "1"}]
)  # fmt: skip
def test_a_file_without_name_or_version_is_no_package(fields: dict[str, object]) -> None:
    assert [] == among(**fields)


def test_the_last_of_two_equal_keys_counts_as_for_npm() -> None:
    text = b'\xef\xbb\xbf{"name": "a", "version": "1", "version": "2"}'
    [found] = packages_among(NpmReader(), {"node_modules/a/package.json": text})
    assert "2" == found.version


@pytest.mark.parametrize(("text", "reason"), [("{", "not JSON"), ("[]", "not a JSON object"), ("[" * 100_000, "not JSON")])
def test_what_is_not_json_is_a_problem(text: str, reason: str) -> None:
    with pytest.raises(DatabaseError, match=reason):
        NpmReader().add(b"node_modules/a/package.json", text.encode())
