"""Laws of packages: what changes between two lists, whose a path is, and what a reading of some databases finds."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from support.packages import Files, merged, stanza

from ocitool.packages.changes import package_changes
from ocitool.packages.footprint import footprints
from ocitool.packages.installed import databases_of, installed
from ocitool.packages.ownership import owners
from ocitool.packages.package import Package, PackageKind
from ocitool.task import Task

KINDS: list[PackageKind] = ["deb", "npm", "rpm"]
PACKAGES = st.lists(
    st.tuples(
        st.sampled_from(KINDS), st.sampled_from("ab"), st.sampled_from(["1", "2", "2.0", "10", "x"]),
        st.sampled_from([b"s", b"t"]), st.just(""), st.sampled_from(["", "amd64"]),
    ).map(lambda fields: Package(*fields)),
    max_size=8,
)  # fmt: skip
Versions = Counter[tuple[str, str, str, str]]


def versions(packages: list[Package]) -> Versions:
    return Counter((one.kind, one.name, one.version, one.architecture) for one in packages)


@given(PACKAGES, PACKAGES)
def test_changes_lead_from_one_list_to_the_other(before: list[Package], after: list[Package]) -> None:
    changes = package_changes(before, after)
    lost = versions([change.before for change in changes if change.before is not None])
    came = versions([change.after for change in changes if change.after is not None])
    assert versions(after) == versions(before) - lost + came
    assert not lost & came or any(change.kind == "changed" for change in changes)
    assert (versions(before) == versions(after)) == (not changes)


@given(PACKAGES, PACKAGES)
def test_changes_backwards_are_the_opposite(before: list[Package], after: list[Package]) -> None:
    opposite = {"upgraded": "downgraded", "downgraded": "upgraded", "added": "removed", "removed": "added"}
    there = Counter((opposite.get(change.kind, change.kind), change.package.name) for change in package_changes(before, after))
    back = Counter((change.kind, change.package.name) for change in package_changes(after, before))
    assert there.total() == back.total()
    for kind in ("added", "removed"):
        assert {name: count for (of, name), count in there.items() if of == kind} == {
            name: count for (of, name), count in back.items() if of == kind
        }


@given(PACKAGES)
def test_order_of_a_list_does_not_matter(packages: list[Package]) -> None:
    assert () == package_changes(packages, packages[::-1])


NAMES = ("a", "b", "c")
LISTS = st.lists(st.sampled_from(["/bin/x", "/usr/bin/y", "/usr/bin/x", "/etc/z", "/lib/w", "/gone"]), max_size=4, unique=True)
TREE: Files = [
    ("bin", "link:usr/bin"),
    ("lib", "link:usr/lib"),
    *((f"usr/{at}", b"xy") for at in ("bin/x", "bin/y", "lib/w")),
    ("etc/z", b"1"),
]
REAL = {b"bin/x": b"usr/bin/x", b"lib/w": b"usr/lib/w"}


@settings(max_examples=30)
@given(st.tuples(LISTS, LISTS, LISTS))
def test_path_is_of_the_packages_that_list_it_by_any_of_its_names(lists: tuple[list[str], ...]) -> None:
    database: Files = [
        ("var/lib/dpkg/status", b"".join(map(stanza, NAMES))),
        *((f"var/lib/dpkg/info/{name}.list", "".join(f"{path}\n" for path in paths).encode()) for name, paths in
          zip(NAMES, lists, strict=True)),
    ]  # fmt: skip
    with Task() as task:
        image, tree = merged(task, TREE, database)
        found = installed(tree, image.layers, task)
        paths = [path for path, _ in tree.walk()]
        expected: dict[bytes, set[str]] = {}
        for name, listed in zip(NAMES, lists, strict=True):
            for path in listed:
                plain = path[1:].encode()
                expected.setdefault(REAL.get(plain, plain), set()).add(name)
        expected = {path: names for path, names in expected.items() if path in paths}
        ours = {path: {one.name for one in of} for path, of in owners(found.packages, tree, paths).items()}
        assert expected == {path: names for path, names in ours.items() if not path.startswith(b"var/")}
        for package, print_ in zip(found.packages, footprints(found.packages, tree), strict=True):
            mine = [path for path, names in expected.items() if package.name in names]
            sizes = sum(1 if path == b"etc/z" else 2 for path in mine)
            assert print_.files == len(mine) + 1 and print_.size is not None and print_.size >= sizes  # and its list
        node = tree.find(b"var/lib/dpkg/status")
        assert isinstance(node, int)
        only = databases_of([(b"var/lib/dpkg/status", tree.entry(node))])
        assert found == installed(tree, image.layers, task, only=only)
