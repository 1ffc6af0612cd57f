"""Twenty pairs of images as bots bring them to a pull request: on most of them a reviewer wants to read one line.

    before, after = written(BUMPS["label"], directory)

An image of Debian, packages of apt, pip and npm, and an application; nothing is run, all layers are made by code.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from support.images import Image, config_of, entry, image, layer_tar, write_layout
from support.packages import stanza
from support.review_pairs import noise

DAY = 86_400 * 10**9
MONDAY = 1_717_401_600 * 10**9
SITE = "usr/lib/python3.11/site-packages/"
LOGS = ("var/log/dpkg.log", "var/log/apt/history.log", "var/log/apt/term.log", "var/log/alternatives.log")
CACHES = (
    "var/cache/apt/pkgcache.bin", "var/cache/apt/srcpkgcache.bin", "var/cache/ldconfig/aux-cache",
    "var/cache/debconf/config.dat-old",
    "var/lib/apt/lists/deb.example_dists_bookworm_InRelease",
    "var/lib/apt/lists/deb.example_dists_bookworm_main_binary-amd64_Packages.lz4",
)  # fmt: skip

Files = Mapping[str, bytes]


class Step(NamedTuple):
    """An instruction and the files of the layer that it made. `days`: how much later their times are than Monday."""

    instruction: str
    files: Files
    days: int = 0


class Build(NamedTuple):
    """An image. `days`: how many days after Monday it was built."""

    steps: tuple[Step, ...]
    config: Mapping[str, Any]
    days: int = 0
    codec: str = "gzip"
    annotations: Mapping[str, str] = {}

    def made(self, tag: str) -> Image:
        created = f"2024-06-{3 + self.days:02}T10:00:00Z"
        tars = [layer_tar(_entry(step, path, content) for path, content in sorted(step.files.items())) for step in self.steps]
        history = [{"created": created, "created_by": step.instruction} for step in self.steps]
        config = config_of(tars, created=created, config=dict(self.config), history=history)
        made = image(tars, tag=tag, config=config, codec=self.codec)
        if self.annotations:
            made.manifest["annotations"] = dict(self.annotations)
        return made


def _entry(step: Step, path: str, content: bytes) -> Any:
    mode = 0o755 if "bin/" in path or content.startswith(b"#!") else 0o644
    return entry(path, content, mode=mode, mtime=MONDAY + step.days * DAY)


class Bump(NamedTuple):
    """A pair of images. `words`: what the report must say."""

    before: Build
    after: Build
    words: tuple[str, ...] = ()


def written(bump: Bump, place: Path) -> tuple[str, str]:
    """Writes both images, and returns their references."""
    write_layout(place / "image", [bump.before.made("before"), bump.after.made("after")])
    return f"oci:{place}/image:before", f"oci:{place}/image:after"


# The layers


def debian(release: str = "12.5", openssl: str = "3.0.11-1~deb12u2") -> Files:
    """The base: packages with their lists and files."""
    packages = {
        "base-files": (f"12.4+deb12u{release.rpartition('.')[2]}", "", ["etc/debian_version", "usr/lib/os-release"]),
        "libssl3": (openssl, "openssl", ["usr/lib/x86_64-linux-gnu/libssl.so.3", "usr/lib/x86_64-linux-gnu/libcrypto.so.3"]),
        "openssl": (openssl, "", ["usr/bin/openssl"]),
        **{
            name: ("1.0", "", [f"usr/bin/{name}", f"usr/share/doc/{name}/copyright"]) for name in ("bash", "sed", "tar", "grep")
        },
    }
    files: dict[str, bytes] = {}
    status = b""
    for name, (version, source, paths) in packages.items():
        status += stanza(name, version, **({"Source": source} if source else {}))
        files |= {path: noise(f"{path} {version}", 20_000) for path in paths}
        files[f"var/lib/dpkg/info/{name}.list"] = "".join(f"/{path}\n" for path in paths).encode()
        files[f"var/lib/dpkg/info/{name}.md5sums"] = noise(f"{name} {version} sums", 60).hex().encode()
    files["etc/debian_version"] = f"{release}\n".encode()
    files["usr/lib/os-release"] = f'ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Debian {release}"\n'.encode()
    return {**files, "var/lib/dpkg/status": status, "etc/machine-id": b""}


def apt(run: str, *names: str) -> Files:
    """What a run of apt-get leaves in logs and caches, of another content in each run."""
    return {name: noise(f"{name} {run}", 6_000) for name in names}


def pip(requests: str = "2.31.0", source_time: int = 0) -> Files:
    """Packages that pip installed, with the modules that Python compiled."""
    files: dict[str, bytes] = {}
    for name, version in {"requests": requests, "urllib3": "2.0.7", "idna": "3.6"}.items():
        info, modules = f"{name}-{version}.dist-info", [f"{name}/{module}.py" for module in ("__init__", "api", "models")]
        compiled = {path: path.replace("/", "/__pycache__/").replace(".py", ".cpython-311.pyc") for path in modules}
        for path in modules:
            source = noise(f"{path} {version}", 4_000).hex().encode()
            files[SITE + path] = source
            head = struct.pack("<4sIII", b"\xa7\r\r\n", 0, MONDAY // 10**9 + source_time, len(source))
            files[SITE + compiled[path]] = head + noise(f"{path} {version} code", 3_000)
        listed = [*modules, *compiled.values(), f"{info}/METADATA", f"{info}/RECORD"]
        files[f"{SITE}{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode()
        files[f"{SITE}{info}/RECORD"] = "".join(f"{path},,\n" for path in listed).encode()
    return files


def npm(lodash: str = "4.17.20") -> Files:
    files: dict[str, bytes] = {}
    for name, version in {"lodash": lodash, "express": "4.18.2", "@types/node": "20.1.0"}.items():
        home = f"srv/node_modules/{name}/"
        files[home + "package.json"] = f'{{"name": "{name}", "version": "{version}"}}'.encode()
        files |= {f"{home}lib/{part}.js": noise(f"{name} {version} {part}", 2_000) for part in range(8)}
    locked = "".join(f'"node_modules/{name}": {{"version": "{version}"}},' for name, version in (("lodash", lodash),))
    return {**files, "srv/node_modules/.package-lock.json": f'{{"packages": {{{locked[:-1]}}}}}'.encode()}


APP: Files = {"srv/run": b"#!/bin/sh\nexec python3 /srv/app.py\n", "srv/app.py": noise("app", 9_000).hex().encode()}
CONFIG = {
    "Env": ["PATH=/usr/local/bin:/usr/bin:/bin", "APP_VERSION=1.2.3"], "Cmd": ["/srv/run"], "WorkingDir": "/srv",
    "Labels": {"org.opencontainers.image.revision": "0a1b2c3", "org.opencontainers.image.created": "2024-06-03T10:00:00Z"},
}  # fmt: skip


def steps(
    base: Files | None = None, apt_files: Files | None = None, pip_files: Files | None = None, npm_files: Files | None = None,
    app: Files | None = None, days: int = 0,
) -> tuple[Step, ...]:  # fmt: skip
    """The layers of the image; what is not given is as on Monday."""
    return (
        Step("/bin/sh -c #(nop) ADD file:4b03 in / ", base or debian(), days),
        Step("RUN /bin/sh -c apt-get update && apt-get install -y openssl # buildkit", apt_files or apt("monday", *LOGS), days),
        Step("RUN /bin/sh -c pip install -r requirements.txt # buildkit", pip_files or pip(), days),
        Step("RUN /bin/sh -c npm ci # buildkit", npm_files or npm(), days),
        Step("COPY . /srv # buildkit", app or APP, days),
    )


def labelled(**labels: str) -> Mapping[str, Any]:
    return {**CONFIG, "Labels": {**CONFIG["Labels"], **{f"org.opencontainers.image.{key}": one for key, one in labels.items()}}}  # type: ignore[dict-item]


MONDAYS = Build(steps(), CONFIG)


def changed(**fields: Any) -> Build:
    """Monday's image with other layers, settings and so on."""
    return MONDAYS._replace(**fields)


def _with(path: str, content: bytes) -> Files:
    return {**APP, path: content}


def _squashed() -> tuple[Step, ...]:
    merged: dict[str, bytes] = {}
    for step in MONDAYS.steps:
        merged |= step.files
    return (Step("squashed", merged),)


_LATER = (MONDAYS.steps[0]._replace(days=3), *MONDAYS.steps[1:])
_SWAPPED = (*MONDAYS.steps[:2], MONDAYS.steps[3], MONDAYS.steps[2], MONDAYS.steps[4])
_OTHER_WORDS = tuple(
    step._replace(instruction=step.instruction.replace("RUN /bin/sh -c ", "/bin/sh -c ").replace(" # buildkit", ""))
    for step in MONDAYS.steps
)
_REBUILT = steps(apt_files=apt("tuesday", *LOGS, *CACHES), pip_files=pip(source_time=86_400), days=1)

BUMPS: dict[str, Bump] = {
    "base-rebuilt": Bump(MONDAYS, changed(steps=_LATER)),
    "created": Bump(MONDAYS, changed(days=3)),
    "label": Bump(MONDAYS, changed(config=labelled(revision="9f8e7d6"))),
    "labels-and-created": Bump(
        MONDAYS, changed(config=labelled(revision="9f8e7d6", created="2024-06-05T10:00:00Z", version="1.2.3"), days=2)
    ),
    "annotations": Bump(MONDAYS, changed(annotations={"org.opencontainers.image.revision": "9f8e7d6"})),
    "rebuilt": Bump(changed(steps=steps(apt_files=apt("monday", *LOGS, *CACHES))), changed(steps=_REBUILT, days=1)),
    "times": Bump(MONDAYS, changed(steps=steps(days=1), days=1)),
    "times-of-app": Bump(MONDAYS, changed(steps=(*MONDAYS.steps[:4], MONDAYS.steps[4]._replace(days=2)))),
    "zstd": Bump(MONDAYS, changed(codec="zstd")),
    "squashed": Bump(MONDAYS, changed(steps=_squashed())),
    "order": Bump(MONDAYS, changed(steps=_SWAPPED)),
    "instructions": Bump(MONDAYS, changed(steps=_OTHER_WORDS)),
    "apt-caches": Bump(
        changed(steps=steps(apt_files=apt("monday", *LOGS, *CACHES))),
        changed(steps=steps(apt_files=apt("tuesday", *LOGS, *CACHES))),
    ),
    "pycache": Bump(MONDAYS, changed(steps=steps(pip_files=pip(source_time=5)))),
    "machine-id": Bump(
        changed(steps=steps(app=_with("etc/machine-id", b"0" * 32 + b"\n"))),
        changed(steps=steps(app=_with("etc/machine-id", b"1" * 32 + b"\n"))),
    ),
    "engine-files": Bump(
        changed(steps=steps(app=_with("etc/resolv.conf", b"nameserver 10.0.0.1\n"))),
        changed(steps=steps(app=_with("etc/resolv.conf", b"nameserver 10.0.0.2\n"))),
    ),
    "variable": Bump(
        MONDAYS,
        changed(config={**CONFIG, "Env": ["PATH=/usr/local/bin:/usr/bin:/bin", "APP_VERSION=1.2.4"]}),
        ("APP_VERSION", "1.2.4"),
    ),
    "debian-point-release": Bump(MONDAYS, changed(steps=steps(debian("12.6"))), ("base-files", "12.4+deb12u5 -> 12.4+deb12u6")),
    "pip": Bump(MONDAYS, changed(steps=steps(pip_files=pip("2.32.3"))), ("requests", "2.31.0 -> 2.32.3")),
    "npm": Bump(MONDAYS, changed(steps=steps(npm_files=npm("4.17.21"))), ("lodash", "4.17.20 -> 4.17.21")),
}
"""By what was bumped. The first sixteen change nothing that a container would notice."""
