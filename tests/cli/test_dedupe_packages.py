"""Copies of packages that `dedupe --files` counts: of which there are several, where, and what one of each would save."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.images import Named, image, layer_tar, write_layout
from support.packages import stanza

from ocitool.dedupe import layer_jobs, layers

Run = Callable[..., Any]
SITE = "usr/lib/python3.11/site-packages/"
BIG = 100_000


def distribution(name: str, version: str, *files: tuple[str, bytes], site: str = SITE) -> list[Named]:
    """The entries of a Python distribution; files by their paths in its directory."""
    info = f"{name}-{version}.dist-info"
    paths = [f"{name}/{path}" for path, _ in files]
    record = "".join(f"{path},,\n" for path in (*paths, f"{info}/METADATA", f"{info}/RECORD"))
    return [
        *((site + path, content) for path, (_, content) in zip(paths, files, strict=True)),
        (f"{site}{info}/METADATA", f"Name: {name}\nVersion: {version}\n".encode()),
        (f"{site}{info}/RECORD", record.encode()),
    ]


def size_of(entries: list[Named]) -> int:
    return sum(len(content) for _, content in entries if isinstance(content, bytes))


NUMPY = distribution("numpy", "1.26.4", ("core.so", b"n" * BIG), ("a.py", b"a"))


def store(place: Path, *images: tuple[list[Named], ...]) -> Path:
    """A layout of images, each of these layers on a common base."""
    base = layer_tar([("bin/sh", b"sh")])
    return write_layout(
        place / "store", [image([base, *map(layer_tar, layers)], tag=f"t{n}") for n, layers in enumerate(images)]
    )


def found(ocitool: Run, place: Path, *words: object) -> Any:
    return ocitool("dedupe", place, "--files", "--format", "json", *words).json()["packages"]


def short(packages: Any) -> list[tuple[object, ...]]:
    return [tuple(one[key] for key in ("type", "name", "version", "copies", "layers", "images")) for one in packages["top"]]


def test_copies_are_counted_by_layer_and_image(ocitool: Run, tmp_path: Path) -> None:
    """Two images share a layer with it, one has another Python, one another version of it."""
    one, two = ([*NUMPY, ("app/one", b"1")], [*NUMPY, ("app/two", b"2")])
    other_python = distribution("numpy", "1.26.4", ("core.so", b"n" * BIG), ("a.py", b"b"), site="opt/site-packages/")
    newer = distribution("numpy", "2.0", ("core.so", b"n" * BIG))
    packages = found(ocitool, store(tmp_path, (one,), (one, [("more", b"")]), (two,), (other_python,), (newer,)))
    assert [("pypi", "numpy", "1.26.4", 3, 3, 4)] == short(packages)
    [numpy] = packages["top"]
    paths = [SITE, SITE, "opt/site-packages/"]
    assert sorted(f"/{site}numpy-1.26.4.dist-info/METADATA" for site in paths) == sorted(p["path"] for p in numpy["places"])
    assert 2 * size_of(NUMPY) + size_of(other_python) == numpy["bytes"]
    assert 2 * size_of(NUMPY) - len(b"b") == numpy["saves"] == packages["saves"]
    assert ("pkg:pypi/numpy@1.26.4", 1, 0) == (numpy["purl"], packages["count"], packages["layersLeftOut"])


def test_two_directories_of_one_layer_hold_two_copies(ocitool: Run, tmp_path: Path) -> None:
    venv = distribution("numpy", "1.26.4", ("core.so", b"n" * BIG), ("a.py", b"a"), site="venv/lib/site-packages/")
    assert [("pypi", "numpy", "1.26.4", 2, 1, 1)] == short(found(ocitool, store(tmp_path, ([*NUMPY, *venv],))))


def test_nested_packages_of_npm_have_their_own_files_and_modules_are_no_copies(ocitool: Run, tmp_path: Path) -> None:
    outer: list[Named] = [
        ("app/node_modules/a/package.json", b'{"name": "a", "version": "1"}'), ("app/node_modules/a/a.js", b"a" * 5000),
        ("app/node_modules/a/node_modules/b/package.json", b'{"name": "b", "version": "2"}'),
        ("app/node_modules/a/node_modules/b/b.js", b"b" * 3000), ("app/node_modules/a/dist/package.json", b"{}"),
    ]  # fmt: skip
    packages = found(ocitool, store(tmp_path, (outer,), ([*outer, ("x", b"")],)))
    assert [("npm", "a", "1", 2, 2, 2), ("npm", "b", "2", 2, 2, 2)] == short(packages)
    assert [5000 + 29 + 2, 3000 + 29] == [one["saves"] for one in packages["top"]]


def test_a_debian_package_is_where_its_list_is_and_its_old_names_of_directories_are_followed(
    ocitool: Run, tmp_path: Path
) -> None:
    def installed(*more: str) -> list[Named]:
        status = b"".join(stanza(name) for name in ("libc6", "curl", *more))
        return [
            ("var/lib/dpkg/status", status), ("usr/bin/curl", b"c" * 7000), ("usr/lib/x/libcurl.so", b"l" * 9000),
            ("var/lib/dpkg/info/curl.list", b"/.\n/usr/bin\n/usr/bin/curl\n/lib/x/libcurl.so\n"),
        ]  # fmt: skip

    packages = found(ocitool, store(tmp_path, (installed("one"),), (installed("two"),)))
    assert [("deb", "curl", "1", 2, 2, 2)] == short(packages)
    assert 16_000 <= packages["saves"] <= 16_100


def test_a_file_that_a_layer_changes_is_no_copy_of_its_package(ocitool: Run, tmp_path: Path) -> None:
    """Alpine's database tells of all packages in every layer that installs one."""
    text = b"P:base\nV:1\nA:x86_64\nF:etc\nR:passwd\nR:services\n\n"
    whole: list[Named] = [("lib/apk/db/installed", text), ("etc/passwd", b"p" * 100), ("etc/services", b"s" * BIG)]
    part: list[Named] = [("lib/apk/db/installed", text), ("etc/passwd", b"p" * 100)]
    assert [] == found(ocitool, store(tmp_path, (whole,), (part,)))["top"]


def test_a_package_of_conda_that_is_a_distribution_too_counts_once(ocitool: Run, tmp_path: Path) -> None:
    files = ", ".join(f'"{path[len("usr/") :]}"' for path, _ in NUMPY if isinstance(path, str))
    record = f'{{"name": "numpy", "version": "1.26.4", "build": "py311_0", "files": [{files}]}}'
    layer = [*NUMPY, ("usr/conda-meta/numpy.json", record.encode())]
    packages = found(ocitool, store(tmp_path, (layer,), ([*layer, ("x", b"")],)))
    assert [("conda", "numpy", "1.26.4-py311_0", 2, 2, 2)] == short(packages)


def test_a_layer_is_read_again_only_if_it_has_a_file_of_a_database_in_common_and_the_cache_lacks_it(
    ocitool: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    real = layer_jobs.packages

    def noted(job: layer_jobs.LayerJob, files: Any, kinds: Any) -> layer_jobs.LayerPackages:
        read.append(job.key)
        return real(job, files, kinds)

    monkeypatch.setattr(layer_jobs, "packages", noted)
    alone = distribution("alone", "1", ("core.so", b"n" * BIG))
    place = store(tmp_path, (alone,), (NUMPY,), ([*NUMPY, ("x", b"")],), ([("usr/copy.so", b"n" * BIG)],))
    report = found(ocitool, place)
    assert (1, 0) == (report["count"], len(read))
    assert (report, 0) == (found(ocitool, place), len(read))
    assert (report, 2) == (found(ocitool, place, "--no-cache"), len(read))
    monkeypatch.setattr(layers, "MAX_READ", 0)
    limited = found(ocitool, place, "--no-cache")
    assert (0, 2, [], 2) == (limited["count"], limited["layersLeftOut"], limited["top"], len(read))


def test_the_sentence_is_that_of_the_text_and_of_markdown(ocitool: Run, tmp_path: Path) -> None:
    place = store(tmp_path, (NUMPY,), ([*NUMPY, ("x", b"")],), ([*NUMPY, ("y", b"")],))
    text = ocitool("dedupe", place, "--files").out
    assert "1 package of which there are several copies: one of each would save 200.2 kB, unpacked" in text
    assert "200.2 kB  numpy 1.26.4  pypi  3 copies in 3 layers of 3 images" in text
    markdown = ocitool("dedupe", place, "--files", "--format", "markdown").out
    assert "| 200.2 kB | `numpy` `1.26.4` | pypi | 3 copies in 3 layers of 3 images |" in markdown


def test_without_files_no_packages_are_looked_for(ocitool: Run, tmp_path: Path) -> None:
    assert ocitool("dedupe", store(tmp_path, (NUMPY,), (NUMPY,)), "--format", "json").json()["packages"] is None


def test_a_database_that_cannot_be_read_is_a_notice(ocitool: Run, tmp_path: Path) -> None:
    bad: Named = ("app/node_modules/a/package.json", b"{")
    done = ocitool("dedupe", store(tmp_path, ([*NUMPY, bad],), ([*NUMPY, bad, ("x", b"")],)), "--files", "--format", "json")
    assert 0 == done.code
    assert [("pypi", "numpy", "1.26.4", 2, 2, 2)] == short(done.json()["packages"])
    assert all("/app/node_modules/a/package.json: it is not JSON" in one["text"] for one in done.json()["notices"])
    assert 2 == len(done.json()["notices"])
