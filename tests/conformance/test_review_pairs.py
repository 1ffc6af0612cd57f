"""The report on pairs of images of which the files were made by the tools themselves: `npm`, `go`, `javac` and `jar`.

Those that code makes in the formats of the tools are tried in tests/cli/test_review_reports.py.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.report import report_of
from support.review_pairs import Pair, Step, built, directory_tar, pair_of, run

pytestmark = pytest.mark.tools

Make = Callable[[Path], Pair]


def written(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def pair_on_base(place: Path, instruction: str, roots: tuple[Path, Path], *words: str) -> Pair:
    """Two images, each of what is below a directory, on one base."""
    base = Step(
        "/bin/sh -c #(nop) ADD file:base in / ", directory_tar(written(place / "base", {"etc/os-release": "ID=debian\n"}))
    )
    before, after = (
        built([base, Step(instruction, directory_tar(root))], tag) for root, tag in zip(roots, ("1", "2"), strict=True)
    )
    return pair_of(place, before, after, *words)


def npm_pair(place: Path) -> Pair:
    """`npm install` of two newer packages among three, which `npm pack` packed."""

    def npm(*words: str | Path, at: Path) -> None:
        run("npm", *words, "--offline", "--no-audit", "--no-fund", "--no-update-notifier", cwd=at, HOME=str(place))

    sources = []
    for name, version, files in (("shelf", "4.18.2", 24), ("shelf", "4.19.2", 24), ("lamp", "6.11.0", 13),
                                 ("lamp", "6.12.1", 13), ("nail", "2.1.3", 3)):  # fmt: skip
        modules = {f"lib/{at}.js": f"// {name} {version}\nexports.at = {at}\n" for at in range(files)}
        fields = {"name": name, "version": version, "license": "MIT", "main": "lib/0.js"}
        sources.append(written(place / f"{name}-{version}", {**modules, "package.json": json.dumps(fields)}))
    npm("pack", *sources, at=place)
    roots = (place / "before", place / "after")
    written(roots[0] / "srv", {"package.json": '{"name": "shop", "version": "1.0.0", "private": true}', "index.js": "1\n"})
    npm("install", *(f"{place}/{name}.tgz" for name in ("shelf-4.18.2", "lamp-6.11.0", "nail-2.1.3")), at=roots[0] / "srv")
    shutil.copytree(roots[0], roots[1], symlinks=True)
    npm("install", *(f"{place}/{name}.tgz" for name in ("shelf-4.19.2", "lamp-6.12.1")), at=roots[1] / "srv")
    words = ("2 packages upgraded", "shelf", "4.18.2 -> 4.19.2", "lamp", "6.11.0 -> 6.12.1")
    return pair_on_base(place, "RUN npm ci --omit=dev", roots, *words)


def go_pair(place: Path) -> Pair:
    """A program built twice, the second time with a newer module and with other code. The cache is that of all builds here."""
    roots, at = (place / "before", place / "after"), "example.com/shelf"
    for root, version, text in zip(roots, ("v0.17.0", "v0.23.0"), ("one", "one, two"), strict=True):
        lib = {"go.mod": f"module {at}\n\ngo 1.18\n",
               "a.go": f'package shelf\n\nfunc Name() string {{ return "{version}" }}\n'}  # fmt: skip
        written(place / "shelf" / version, lib)
        module = f"module example.com/shop\n\ngo 1.18\n\nrequire {at} {version}\n\nreplace {at} => ../shelf/{version}\n"
        main = f'package main\n\nimport "{at}"\n\nfunc main() {{ println("{text}", shelf.Name()) }}\n'
        shop = written(place / "shop", {"go.mod": module, "main.go": main})
        run("go", "build", "-trimpath", "-buildvcs=false", "-o", root / "usr/local/bin/shop", ".", cwd=shop,
            GOFLAGS="-mod=mod", GOPROXY="off", CGO_ENABLED="0")  # fmt: skip
    words = (at, "v0.17.0 -> v0.23.0")
    return pair_on_base(place, "COPY --from=build /out/shop /usr/local/bin/shop # buildkit", roots, *words)


def jar_pair(place: Path) -> Pair:
    """An archive of `jar` with a newer version of its own and of a library in it, and a class more."""
    roots = (place / "before", place / "after")
    for root, version, classes in zip(roots, ("2.17.0", "2.17.1"), (["Main"], ["Main", "Remote"]), strict=True):
        sources = written(place / f"java-{version}", {
            **{f"{name}.java": f'package shop; public class {name} {{ String at = "{name}"; }}\n' for name in classes},
            "manifest": f"Implementation-Title: shop\nImplementation-Version: {version}\nImplementation-Vendor-Id: org.shop\n",
            "shelf/META-INF/maven/org.shelf/shelf/pom.properties": f"groupId=org.shelf\nartifactId=shelf\nversion={version}\n",
        })  # fmt: skip
        run("javac", "-d", sources / "classes", *(sources / f"{name}.java" for name in classes), cwd=sources)
        (sources / "classes/BOOT-INF/lib").mkdir(parents=True)
        (root / "srv").mkdir(parents=True)
        run("jar", "cf", sources / f"classes/BOOT-INF/lib/shelf-{version}.jar", "-C", sources / "shelf", ".", cwd=sources)
        run("jar", "cfm", root / "srv/app.jar", sources / "manifest", "-C", sources / "classes", ".", cwd=sources)
    words = ("org.shop:shop", "org.shelf:shelf", "2.17.0 -> 2.17.1", "shop/Remote.class")
    return pair_on_base(place, "COPY target/app.jar /srv/ # buildkit", roots, *words)


MAKERS: dict[str, tuple[tuple[str, ...], Make]] = {
    "npm": (("npm",), npm_pair), "go": (("go",), go_pair), "jar": (("jar", "javac"), jar_pair),
}  # fmt: skip


@pytest.fixture(scope="module")
def pairs(need: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Pair]:
    """A pair by its name; each is built once, and only if the tools are here."""
    made: dict[str, Pair] = {}

    def get(name: str) -> Pair:
        tools, make = MAKERS[name]
        need(*tools)
        if name not in made:
            made[name] = make(tmp_path_factory.mktemp(name))
        return made[name]

    return get


@pytest.mark.parametrize("name", MAKERS)
def test_the_report_on_files_of_the_real_tools_fits_one_screen_and_names_the_cause(
    name: str, pairs: Callable[[str], Pair], ocitool: Callable[..., Any]
) -> None:
    pair = pairs(name)
    place = pair.before.removeprefix("oci:").partition("/image:")[0]
    shown = ocitool("diff", "oci:image:1", "oci:image:2", cwd=place).out
    lines = shown.splitlines()
    assert [] == [word for word in pair.words if word not in shown], shown
    assert (True, True) == (len(lines) <= 24, max(map(len, lines)) <= 80), shown


def causes(report: Any) -> dict[str, list[str]]:
    """Paths of changed files, without directories, by what explains them: the name of a package, or the type of the packages
    that they follow."""
    found: dict[str, list[str]] = {}
    for file in report["files"]:
        if "directory" in {side["type"] for side in (file["before"], file["after"]) if side}:
            continue
        at = file["package"]
        cause = file.get("followsPackages", "") if at is None else report["packages"][at]["name"]
        found.setdefault(cause, []).append(file["path"])
    return found


def versions(report: Any) -> dict[str, tuple[str, str, str]]:
    return {one["name"]: (one["kind"], one["before"], one["after"]) for one in report["packages"]}


def report_on(pair: Pair, ocitool: Callable[..., Any]) -> Any:
    return report_of(ocitool("diff", "--format", "json", pair.before, pair.after), 1)


def test_what_npm_installed_is_explained_by_its_packages(pairs: Callable[[str], Pair], ocitool: Callable[..., Any]) -> None:
    report = report_on(pairs("npm"), ocitool)
    bumps = {"lamp": ("upgraded", "6.11.0", "6.12.1"), "shelf": ("upgraded", "4.18.2", "4.19.2")}
    explained = {
        name: sorted(
            [f"/srv/node_modules/{name}/package.json", *(f"/srv/node_modules/{name}/lib/{at}.js" for at in range(count))]
        )
        for name, count in (("shelf", 24), ("lamp", 13))
    }
    followers = ["/srv/node_modules/.package-lock.json", "/srv/package-lock.json"]
    others = {"npm": followers, "": ["/srv/package.json"]}  # the latter states what the application wants
    assert (bumps, explained | others) == (versions(report), {name: sorted(paths) for name, paths in causes(report).items()})


def test_a_program_that_go_built_is_explained_by_its_module(pairs: Callable[[str], Pair], ocitool: Callable[..., Any]) -> None:
    report = report_on(pairs("go"), ocitool)
    assert {"example.com/shelf": ("upgraded", "v0.17.0", "v0.23.0")} == versions(report)
    assert {"example.com/shelf": ["/usr/local/bin/shop"]} == causes(report)


def test_an_archive_of_jar_is_explained_by_the_packages_in_it(
    pairs: Callable[[str], Pair], ocitool: Callable[..., Any]
) -> None:
    report = report_on(pairs("jar"), ocitool)
    assert dict.fromkeys(("org.shop:shop", "org.shelf:shelf"), ("upgraded", "2.17.0", "2.17.1")) == versions(report)
    assert ["/srv/app.jar"] == [path for name in versions(report) for path in causes(report).get(name, ())]
    assert {1} == {one["layer"]["index"] for one in report["packages"]}, "both packages are in the one archive of layer 1"
    [inside] = [file["inside"] for file in report["files"] if "inside" in file]
    assert ("added", "shop/Remote.class") in [(part["kind"], part["name"]) for part in inside["parts"]]
