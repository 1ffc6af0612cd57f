"""Pairs of images as pull requests bring them, each with what the report of `diff` must name.

    pair = PAIRS["debian-update"](directory)

`dpkg` and `pip` make the images of their packages; the other databases, programs and archives are made by code, as tools write
them.
"""

from __future__ import annotations

import os
import random
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from support import rpm_databases
from support.images import AnyEntry, Image, config_of, entry, image, layer_tar, write_layout
from support.programs import elf, go_info, modules_text, zipped


class Pair(NamedTuple):
    """Two images, and words that the report on them must have: what was changed."""

    before: str
    after: str
    words: tuple[str, ...]


class Step(NamedTuple):
    """An instruction and the layer it made, as an uncompressed tar."""

    instruction: str
    tar: bytes


def noise(seed: str, size: int) -> bytes:
    """Bytes that do not compress, the same for a seed."""
    return random.Random(seed).randbytes(size)


def built(steps: Sequence[Step], tag: str, *, created: str = "2024-02-10T00:00:00Z", **settings: Any) -> Image:
    """The image of these steps. `settings`: of its configuration, such as `Labels`."""
    history = [{"created": created, "created_by": step.instruction} for step in steps]
    tars = [step.tar for step in steps]
    config = {"Env": ["PATH=/usr/local/bin:/usr/bin:/bin"], "Cmd": ["/bin/bash"], **settings}
    return image(tars, tag=tag, config=config_of(tars, created=created, config=config, history=history))


def pair_of(place: Path, before: Image, after: Image, *words: str) -> Pair:
    write_layout(place / "image", [before, after])
    return Pair(f"oci:{place}/image:{before.tag}", f"oci:{place}/image:{after.tag}", words)


def directory_tar(root: Path, only: Callable[[str], bool] = lambda path: True) -> bytes:
    """A layer of what is below a directory, all of it root's."""
    found: list[AnyEntry] = []
    for directory, names, files in os.walk(root):
        names.sort()
        for name in sorted((*names, *files)):
            path = Path(directory, name)
            status, inside = path.lstat(), str(path.relative_to(root))
            if not only(inside):
                continue
            what: bytes | str | None = None
            if stat.S_ISLNK(status.st_mode):
                what = "link:" + os.readlink(path)
            elif stat.S_ISREG(status.st_mode):
                what = path.read_bytes()
            found.append(entry(inside, what, mode=stat.S_IMODE(status.st_mode), mtime=status.st_mtime_ns // 10**9 * 10**9))
    return layer_tar(found)


def run(*command: str | Path, cwd: Path | None = None, **environment: str) -> None:
    done = subprocess.run(command, cwd=cwd, env={**os.environ, **environment}, capture_output=True)
    assert done.returncode == 0, (command, done.stdout[-2000:], done.stderr[-2000:])


# Debian


class Deb(NamedTuple):
    """A Debian package. `version`: before and after; `files`: how many it has in /usr/share, beside its own few."""

    name: str
    source: str
    version: tuple[str, str]
    files: int
    own: tuple[str, ...] = ()


_GLIBC, _OPENSSL = ("2.36-9+deb12u3", "2.36-9+deb12u4"), ("3.0.11-1~deb12u2", "3.0.13-1~deb12u1")
_SYSTEMD, _SHADOW = ("252.19-1~deb12u1", "252.22-1~deb12u1"), ("1:4.13+dfsg1-1", "1:4.13+dfsg1-1+b1")
DEBS = (
    Deb("base-files", "base-files", ("12.4+deb12u4", "12.4+deb12u5"), 12, ("etc/debian_version",)),
    Deb("libc6", "glibc", _GLIBC, 40, ("usr/lib/x86_64-linux-gnu/libc.so.6", "usr/lib/x86_64-linux-gnu/libm.so.6")),
    Deb("libc-bin", "glibc", _GLIBC, 24, ("usr/bin/getent", "usr/sbin/ldconfig")),
    Deb("libssl3", "openssl", _OPENSSL, 4, ("usr/lib/x86_64-linux-gnu/libssl.so.3", "usr/lib/x86_64-linux-gnu/libcrypto.so.3")),
    Deb("openssl", "openssl", _OPENSSL, 110, ("usr/bin/openssl",)),
    Deb("libsystemd0", "systemd", _SYSTEMD, 3, ("usr/lib/x86_64-linux-gnu/libsystemd.so.0.35.0",)),
    Deb("libudev1", "systemd", _SYSTEMD, 3, ("usr/lib/x86_64-linux-gnu/libudev.so.1.7.5",)),
    Deb("libgnutls30", "gnutls28", ("3.7.9-2+deb12u1", "3.7.9-2+deb12u2"), 18, ("usr/lib/x86_64-linux-gnu/libgnutls.so.30",)),
    Deb("perl-base", "perl", ("5.36.0-7+deb12u1", "5.36.0-7+deb12u2"), 120, ("usr/bin/perl",)),
    Deb("tzdata", "tzdata", ("2023c-5+deb12u1", "2024a-0+deb12u1"), 240, ()),
    Deb("login", "shadow", _SHADOW, 20, ("usr/bin/faillog", "usr/sbin/nologin")),
    Deb("passwd", "shadow", _SHADOW, 60, ("usr/bin/passwd", "usr/sbin/useradd")),
    Deb("gpgv", "gnupg2", ("2.2.40-1.1", "2.2.40-1.1+b1"), 4, ("usr/bin/gpgv",)),
    *(
        Deb(name, name, (version, version), 12, (f"usr/bin/{name}",))
        for name, version in {
            "adduser": "3.134", "apt": "2.6.1", "bash": "5.2.15-2+b2", "coreutils": "9.1-1", "dash": "0.5.12-2",
            "dpkg": "1.21.22", "findutils": "4.9.0-4", "grep": "3.8-5", "gzip": "1.12-1", "hostname": "3.23+nmu1",
            "mawk": "1.3.4.20200120-3.1", "sed": "4.9-1", "tar": "1.34+dfsg-1.2", "util-linux": "2.38.1-5+b1",
        }.items()
    ),
)  # fmt: skip
"""13 packages of 9 sources with a new version, and others."""


def debian_roots(place: Path) -> tuple[Path, Path]:
    """Two root file systems that dpkg made: one installed, the other a copy of it with 13 packages updated."""
    before, after = place / "before", place / "after"
    for number, root in enumerate((before, after)):
        if number:
            shutil.copytree(before, root, symlinks=True)
        else:
            _empty_root(root)
        _installed(
            place / f"debs-{number}", root, [deb for deb in DEBS if not number or deb.version[0] != deb.version[1]], number
        )
    return before, after


def _empty_root(root: Path) -> None:
    for name in ("etc", "var/lib/dpkg/info", "var/lib/dpkg/updates", "var/log/apt", "var/cache/ldconfig", "usr/bin", "usr/lib"):
        (root / name).mkdir(parents=True)
    (root / "bin").symlink_to("usr/bin")
    (root / "lib").symlink_to("usr/lib")
    (root / "var/lib/dpkg/status").touch()
    (root / "etc/os-release").write_text('ID=debian\nVERSION_ID="12"\n')


def _installed(place: Path, root: Path, debs: Sequence[Deb], number: int) -> None:
    files = []
    for deb in debs:
        tree, version = place / deb.name, deb.version[number]
        (tree / "DEBIAN").mkdir(parents=True)
        source = "" if deb.source == deb.name else f"Source: {deb.source}\n"
        (tree / "DEBIAN/control").write_text(
            f"Package: {deb.name}\nVersion: {version}\n{source}Architecture: amd64\nMaintainer: Nobody <nobody@example.org>\n"
            f"Description: {deb.name}\n"
        )
        shared = [f"usr/share/{deb.name}/part-{part:03}.dat" for part in range(deb.files)]
        for name in (*deb.own, *shared, f"usr/share/doc/{deb.name}/changelog.Debian.gz", f"usr/share/doc/{deb.name}/copyright"):
            path = tree / ("bin/bash" if name == "usr/bin/bash" else name)
            path.parent.mkdir(parents=True, exist_ok=True)
            fixed = name.endswith("copyright")
            size = 40_000 if name in deb.own else 300
            path.write_bytes(noise(f"{name} {'' if fixed else version}", size + 16 * number * (not fixed)))
            path.chmod(0o4755 if name == "usr/bin/passwd" else 0o755 if "bin/" in name else 0o644)
            os.utime(path, (1_700_000_000 + number * 10**6 * (not fixed),) * 2)
        files.append(place / f"{deb.name}.deb")
        run("dpkg-deb", "-Znone", "--root-owner-group", "--build", tree, files[-1])
    run(
        "dpkg", f"--root={root}", f"--log={root}/var/log/dpkg.log", "--force-not-root", "--force-bad-path", "--force-unsafe-io",
        "--install", *files,
    )  # fmt: skip
    for name in ("etc/ld.so.cache", "var/cache/ldconfig/aux-cache", "var/log/apt/history.log"):
        (root / name).write_bytes(noise(f"{name} {number}", 9_000))


def debian_update(place: Path) -> Pair:
    """A base image with 13 updated packages, and the application's layer on both."""
    roots = debian_roots(place)
    app = Step("COPY app /srv/app # buildkit", layer_tar([("srv/", None), ("srv/app", noise("app", 9_000))]))
    before, after = (
        built([Step("/bin/sh -c #(nop) ADD file:4b03 in / ", directory_tar(root)), app], tag)
        for root, tag in zip(roots, ("12.4", "12.5"), strict=True)
    )
    return pair_of(place, before, after, "13 packages upgraded", "openssl", "3.0.11-1~deb12u2 -> 3.0.13-1~deb12u1", "glibc")


PAIRS: dict[str, Callable[[Path], Pair]] = {"debian-update": debian_update}


# rpm


def rpm_update(place: Path, name: str) -> Pair:
    """A database of rpm (testdata/rpm, in the format of this file name) before and after an update, and the packages' files."""
    images = []
    for state, version, other in (("before", "1.2", "chair"), ("after", "1.10", "stool")):
        tar = layer_tar([
            ("etc/os-release", b"ID=fedora\nVERSION_ID=40\n"), (f"var/lib/rpm/{name}", rpm_databases.real(state, name)),
            ("usr/share/shelf/label", f"{version}\n".encode()), ("usr/share/shelf/board/oak", b"board\n"),
            ("usr/share/shelf/link", "link:label"), ("opt/lamp/a file of lamp", b"lamp\n"),
            (f"opt/{other}/a file of {other}", noise(other, 100)),
        ])  # fmt: skip
        images.append(built([Step("RUN dnf --assumeyes upgrade", tar)], state))
    before, after = images
    return pair_of(place, before, after, "shelf", "2:1.2-3", "2:1.10-1", "chair", "stool")


PAIRS |= {f"rpm-{name}": partial(rpm_update, name=name) for name in rpm_databases.FORMATS}


# The other databases of packages


def two(
    place: Path, instruction: str, before: Sequence[AnyEntry], after: Sequence[AnyEntry], *words: str, **settings: Any
) -> Pair:
    """A pair of images of one base whose upper layer differs."""
    base = Step("/bin/sh -c #(nop) ADD file:base in / ", layer_tar([("etc/os-release", b"ID=alpine\nVERSION_ID=3.19.1\n")]))
    images = [built([base, Step(instruction, layer_tar(list(entries)))], tag, **settings)
              for tag, entries in (("before", before), ("after", after))]  # fmt: skip
    return pair_of(place, images[0], images[1], *words)


def apk_update(place: Path) -> Pair:
    """`apk upgrade`: musl and busybox; a script of the application beside it."""
    sides: list[list[AnyEntry]] = []
    for musl, busybox in (("1.2.4-r2", "1.36.1-r15"), ("1.2.4_git20230717-r4", "1.36.1-r19")):
        packages = [("musl", musl, "lib", ["ld-musl-x86_64.so.1"]), ("busybox", busybox, "bin", ["busybox"]),
                    ("ssl_client", busybox, "usr/bin", ["ssl_client"]), ("zlib", "1.3.1-r0", "lib", ["libz.so.1"])]  # fmt: skip
        database = "".join(
            f"P:{name}\nV:{version}\nA:x86_64\nL:MIT\no:{'busybox' if name == 'ssl_client' else name}\nF:{directory}\n"
            + "".join(f"R:{file}\na:0:0:755\nZ:Q1ZcQ==\n" for file in files) + "\n"
            for name, version, directory, files in packages
        )  # fmt: skip
        made: list[AnyEntry] = [("lib/apk/db/installed", database.encode()), ("etc/apk/world", f"busybox={busybox}\n".encode())]
        made += [
            entry(f"{directory}/{file}", noise(f"{name} {version}", 4000), mode=0o755)
            for name, version, directory, files in packages for file in files
        ]  # fmt: skip
        sides.append(made)
    return two(
        place, "RUN apk upgrade", sides[0], sides[1], "3 packages upgraded", "musl", "1.36.1-r15 -> 1.36.1-r19", "ssl_client"
    )


def pip_update(place: Path) -> Pair:
    """`pip install --upgrade` of a wheel, and a new one that it needs."""
    roots = []
    for number, wheels in enumerate(([("requests", "2.31.0")], [("requests", "2.32.3"), ("certifi", "2024.2.2")])):
        made = [_wheel(place / f"wheels-{number}", name, version) for name, version in wheels]
        root = place / f"root-{number}"
        run(sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--no-compile", "--target",
            root / "usr/local/lib/python3.12/site-packages", *made, PIP_DISABLE_PIP_VERSION_CHECK="1")  # fmt: skip
        roots.append(directory_tar(root))
    images = [
        built([Step("RUN pip install -r requirements.txt", tar)], tag) for tar, tag in zip(roots, ("1", "2"), strict=True)
    ]
    return pair_of(place, images[0], images[1], "requests", "2.31.0 -> 2.32.3", "certifi", "1 package upgraded, 1 added")


def _wheel(place: Path, name: str, version: str) -> Path:
    place.mkdir(exist_ok=True)
    info = f"{name}-{version}.dist-info"
    modules = {
        f"{name}/{module}.py": f"# {version}\n".encode() * 30 for module in ("__init__", "api", "models", "sessions", "utils")
    }
    members = {
        **modules,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nLicense: MIT\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{member},,\n" for member in (*members, f"{info}/RECORD"))
    path = place / f"{name}-{version}-py3-none-any.whl"
    path.write_bytes(zipped({**members, f"{info}/RECORD": record.encode()}))
    return path


def npm_update(place: Path) -> Pair:
    """Two bumps of npm packages, of 39 files together."""
    sides: list[list[AnyEntry]] = []
    for number in (0, 1):
        made: list[AnyEntry] = [("srv/package-lock.json", noise(f"lock {number}", 800))]
        for name, versions, files in (
            ("express", ("4.18.2", "4.19.2"), 24),
            ("qs", ("6.11.0", "6.12.1"), 13),
            ("ms", ("2.1.3",) * 2, 3),
        ):
            version = versions[number]
            made.append((f"srv/node_modules/{name}/package.json", f'{{"name": "{name}", "version": "{version}"}}'.encode()))
            made += [(f"srv/node_modules/{name}/lib/{at}.js", f"// {version}\n".encode() * 9) for at in range(files)]
        sides.append(made)
    words = ("2 packages upgraded", "express", "4.18.2 -> 4.19.2", "qs")
    return two(place, "RUN npm ci --omit=dev", sides[0], sides[1], *words)


def go_update(place: Path) -> Pair:
    """A Go program that was built again with newer modules, of the same size, which is one that Go programs have."""
    programs = []
    for net in ("v0.17.0", "v0.23.0"):
        lines = ("path\texample.org/shop", "mod\texample.org/shop\t(devel)\t", f"dep\tgolang.org/x/net\t{net}\th1:x=")
        programs.append(elf(extra={b".go.buildinfo": go_info(b"go1.22.1", modules_text(*lines))}) + noise(net, 300_000))
    before, after = ([entry("usr/local/bin/shop", program, mode=0o755)] for program in programs)
    return two(
        place,
        "COPY --from=build /out/shop /usr/local/bin/shop # buildkit",
        before,
        after,
        "1 package upgraded",
        "golang.org/x/net",
        "v0.17.0 -> v0.23.0",
    )


def jar_update(place: Path) -> Pair:
    """A Java archive with another version of a library, and a new class."""
    sides: list[list[AnyEntry]] = []
    for number, version in enumerate(("2.17.0", "2.17.1")):
        inner = zipped({"META-INF/maven/org.apache.logging.log4j/log4j-core/pom.properties":
                        f"groupId=org.apache.logging.log4j\nartifactId=log4j-core\nversion={version}\n".encode(),
                        "org/apache/Log.class": noise(version, 900)})  # fmt: skip
        members = {
            "META-INF/MANIFEST.MF": b"Manifest-Version: 1.0\n",
            "BOOT-INF/lib/log4j-core.jar": inner,
            "shop/Main.class": noise("main", 2000),
        }
        if number:
            members["shop/Remote.class"] = noise("remote", 700)
        sides.append([("srv/app.jar", zipped(members, deflated=False))])
    return two(
        place, "COPY target/app.jar /srv/ # buildkit", sides[0], sides[1], "log4j-core", "2.17.0 -> 2.17.1", "Remote.class"
    )


# Without packages


def renamed_directory(place: Path) -> Pair:
    """A directory of 2,000 files that has another name."""
    before, after = (
        [(f"srv/{name}/part-{at % 20}/{at}.js", noise(f"{at}", 60)) for at in range(2000)] for name in ("static", "assets")
    )
    return two(place, "COPY dist /srv # buildkit", before, after, "/srv/assets/**", "from /srv/static/**", "2,000 files")


def other_modes(place: Path) -> Pair:
    """`chmod -R` of 2,000 files in a layer of its own."""
    base = Step("COPY lib /lib # buildkit", layer_tar([(f"lib/{at % 9}/{at}.so", noise(f"{at}", 80)) for at in range(2000)]))
    changed = layer_tar([entry(f"lib/{at % 9}/{at}.so", noise(f"{at}", 80), mode=0o755) for at in range(2000)])
    after = built([base, Step("RUN chmod -R 755 /lib", changed)], "after")
    return pair_of(place, built([base], "before"), after, "/lib/**", "2,000 files", "0644 -> 0755", "chmod -R")


def replaced_model(place: Path) -> Pair:
    """A model of equal size with another content, and three bytes more in its settings."""
    before, after = (
        [("srv/model.bin", noise(f"model {number}", 2_000_000)), ("srv/config.json", b"x" * (100 + 3 * number))]
        for number in (0, 1)
    )
    return two(place, "COPY model /srv # buildkit", before, after, "/srv/model.bin", "2.0 MB", "config.json")


def new_secret(place: Path) -> Pair:
    """A key in a variable, LD_PRELOAD, and another entrypoint."""
    step = Step("COPY app /srv # buildkit", layer_tar([("srv/app", b"app")]))
    variables = ["PATH=/usr/bin", "AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG/bPxRfiCYzzzzzzzzzz", "LD_PRELOAD=/tmp/x.so"]
    after = built([step], "after", Env=variables, Entrypoint=["/bin/sh", "-c"])
    before = built([step], "before", Env=["PATH=/usr/bin"], Entrypoint=["/srv/app"])
    return pair_of(place, before, after, "AWS_SECRET_ACCESS_KEY", "LD_PRELOAD", "Entrypoint", "!")


def built_twice(place: Path) -> Pair:
    """One Dockerfile built on two days: other times, logs and caches."""
    images = []
    for number in (0, 1):
        time = {"mtime": (1_700_000_000 + number * 86_400) * 10**9}
        layer = [entry("usr/bin/app", noise("app", 9_000), mode=0o755, **time), entry("etc/app.conf", b"x", **time)]
        layer += [entry(name, noise(f"{name} {number}", 2_000), **time)
                  for name in ("var/log/dpkg.log", "var/log/apt/history.log", "var/cache/ldconfig/aux-cache")]  # fmt: skip
        images.append(
            built(
                [Step("RUN apt-get install -y app", layer_tar(layer))], f"day-{number}", created=f"2024-02-1{number}T00:00:00Z"
            )
        )
    return pair_of(place, images[0], images[1], "3 files differ, all volatile", "package-log", "rm -rf /var/log/apt")


def other_label(place: Path) -> Pair:
    """A label alone."""
    step = Step("COPY app /srv # buildkit", layer_tar([("srv/app", b"app")]))
    before, after = (built([step], tag, Labels={"org.opencontainers.image.version": tag}) for tag in ("1.0", "1.1"))
    return pair_of(place, before, after, "no visible change; label version 1.0 -> 1.1")


PAIRS |= {
    "apk-update": apk_update, "pip-update": pip_update, "npm-update": npm_update, "go-update": go_update,
    "jar-update": jar_update,
    "renamed-directory": renamed_directory, "other-modes": other_modes, "replaced-model": replaced_model,
    "new-secret": new_secret, "built-twice": built_twice, "other-label": other_label,
}  # fmt: skip
