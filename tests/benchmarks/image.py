"""Builds the images that the benchmarks run on, once, into a work directory.

    image.py WORK [--entries N] [--mirror URL] [PART...]

Parts, each rebuilt only when its recipe changed (a stamp file holds the recipe's hash):

field    a Debian bookworm with python3-numpy and an app: 5 layers, 8 history entries, some 12,000 entries,
         made by a real engine with `docker build`. field-a and field-b are the same Dockerfile without cache;
         field-c and field-d are field-a with a top layer that changes one small file, or adds one. Each as
         `docker save` wrote it (.tar) and as a layout with gzip layers; field-a as an OCI archive too.
         Needs root, network, mmdebstrap, dockerd, docker and skopeo.
update   update-a and update-b, two builds of the same kind between which packages of the big layer were updated:
         apt had the suite bookworm alone, then bookworm-updates and bookworm-security as well. Layouts. Needs the same.
sparse   huge.tar, a `docker save` archive with one layer of 20 GiB, nearly all of it a hole.
million  many-a and many-b, one layer of N entries each (default 1,000,000) of which 10 differ: .tar and
         gzip layout.
small    small-files, a layout with one gzip layer of 100,000 files of 0.2 to 6 kB in 6,000 directories, as node_modules,
         virtual environments of Python and target directories of Rust are: 300 MB, 137 MB stored.
entries  entries-10000 and entries-100000: as `million`, of so many entries.
archives many-archives, a directory of 1,000 small archives of 3 to 5 layers that share bases (`synthetic.py`).
images   images-1000 to images-100000, layouts of so many small images of 12 layers (`synthetic.py`).

It is a program of its own so that the process which measures stays small: Linux counts the memory of the
process that forks into the peak of the child.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import hashlib
import io
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

GIB = 1 << 30
HUGE = 20 * GIB
CREATED = "2024-01-01T00:00:00Z"

DOCKERFILE = """\
FROM ocitool-bench-base
ENV LANG=C.UTF-8
RUN apt-get -o Acquire::Check-Valid-Until=false -o Acquire::Check-Date=false update && \
    apt-get install -y --no-install-recommends python3-numpy
COPY vendor /srv/vendor
RUN python3 -m compileall -q /srv/vendor
COPY app /srv/app
ENV PYTHONPATH=/srv/vendor
CMD ["python3", "/srv/app/main.py"]
"""

UPDATED = DOCKERFILE.replace("RUN apt-get", 'ARG SUITES\nRUN sed -i "/$SUITES/!d" /etc/apt/sources.list && apt-get')
SUITES = {"update-a": " bookworm main", "update-b": " bookworm"}
"""What lines of sources.list must hold to be kept: the one suite; all three."""


def say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


def run(*argv: str | Path, **more: object) -> None:
    done = subprocess.run([str(a) for a in argv], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **more)  # type: ignore[call-overload]
    if done.returncode:
        sys.stderr.write(done.stdout.decode(errors="replace")[-4000:])
        raise SystemExit(f"bench: {argv[0]} ended with {done.returncode}")


def part(work: Path, name: str, recipe: str, build: Callable[[], object]) -> None:
    """Run `build` unless the stamp of `name` says that this very recipe was built already."""
    stamp = work / f"{name}.stamp"
    digest = hashlib.sha256(recipe.encode()).hexdigest()
    if stamp.exists() and stamp.read_text().strip() == digest:
        return
    stamp.unlink(missing_ok=True)
    say(f"building {name} in {work}")
    began = time.monotonic()
    build()
    stamp.write_text(digest + "\n")
    say(f"{name} built in {time.monotonic() - began:.0f} s")


# The realistic image


def app_files(root: Path) -> None:
    """The app and what it vendors: source text by code, the same bytes each time."""
    for package in range(8):
        for module in range(25):
            path = root / f"vendor/lib{package}/mod{module}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            seed = hashlib.sha256(f"{package}/{module}".encode()).hexdigest()
            path.write_text(
                "".join(f"def f{n}_{seed[n % 60 : n % 60 + 4]}(x):\n    return x * {n} + 0x{seed[:12]}\n\n" for n in range(60))
            )
    app = root / "app"
    app.mkdir()
    (app / "main.py").write_text("import numpy\n\nprint(numpy.__version__)\n")
    (app / "settings.ini").write_text("[app]\nworkers = 2\n")
    for n in range(20):
        (app / f"view{n}.html").write_text(f"<h1>{n}</h1>\n" + "<p>text</p>\n" * 200)


@contextlib.contextmanager
def engine(home: Path) -> Iterator[dict[str, str]]:
    """A private engine on a socket of its own; ended by its own process id."""
    sock = home / "docker.sock"
    with open(home / "log", "wb") as log:
        daemon = subprocess.Popen(
            ["dockerd", "--iptables=false", "--bridge=none", "--storage-driver=vfs", "-H", f"unix://{sock}",
             f"--data-root={home}/data", f"--exec-root={home}/exec", f"--pidfile={home}/pid"],
            stdout=log, stderr=log,
        )  # fmt: skip
    env = dict(os.environ, DOCKER_HOST=f"unix://{sock}", DOCKER_API_VERSION="1.41", DOCKER_BUILDKIT="0")
    try:
        for _ in range(200):
            if not subprocess.run(["docker", "version"], env=env, capture_output=True).returncode:
                break
            if daemon.poll() is not None:
                raise SystemExit("bench: dockerd did not start:\n" + (home / "log").read_text()[-2000:])
            time.sleep(0.3)
        else:
            raise SystemExit("bench: dockerd does not answer:\n" + (home / "log").read_text()[-2000:])
        yield env
    finally:
        daemon.terminate()
        daemon.wait()
        for mount in (home / "exec" / "netns").glob("*"):
            subprocess.run(["umount", str(mount)], capture_output=True)


@contextlib.contextmanager
def builder(work: Path, kind: str, dockerfile: str, mirror: list[str]) -> Iterator[tuple[Path, Callable[..., None]]]:
    """The context of the realistic image, its base made, and what builds and saves it as it is then; removes `kind`-*
    first."""
    missing = [tool for tool in ("mmdebstrap", "dockerd", "docker", "skopeo") if not shutil.which(tool)]
    if missing or os.geteuid():
        raise SystemExit(f"bench: the image {kind} needs root and {' '.join(missing) or 'nothing else'}")
    for old in work.glob(f"{kind}-*"):
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    home = Path(tempfile.mkdtemp(prefix="ocitool-bench-"))  # on disk: vfs copies the whole root file system per layer
    try:
        say("mmdebstrap (base)")
        run("mmdebstrap", "--variant=minbase", "--mode=root", "bookworm", home / "base.tar", *mirror)
        context = home / "context"
        context.mkdir()
        app_files(context)
        (context / "Dockerfile").write_text(dockerfile)
        with engine(home) as env:
            run("docker", "import", home / "base.tar", "ocitool-bench-base", env=env)

            def build(name: str, *options: str) -> None:
                say(f"docker build {name}")
                run("docker", "build", "--network=host", *options, "-t", f"{name}:latest", context, env=env)
                run("docker", "save", "-o", work / f"{name}.tar", f"{name}:latest", env=env)
                (work / f"{name}.tar").chmod(0o644)

            yield context, build
    finally:
        shutil.rmtree(home, ignore_errors=True)


def as_layout(work: Path, name: str) -> None:
    say(f"skopeo copy {name}")
    run("skopeo", "--insecure-policy", "copy", f"docker-archive:{work}/{name}.tar", f"oci:{work}/{name}:latest")


def field(work: Path, mirror: list[str]) -> None:
    with builder(work, "field", DOCKERFILE, mirror) as (context, build):
        build("field-a", "--no-cache")
        with open(context / "app/settings.ini", "a") as settings:
            settings.write("debug = no\n")
        build("field-c")
        (context / "app/settings.ini").write_text("[app]\nworkers = 2\n")
        (context / "app/extra.py").write_text("EXTRA = 1\n")
        build("field-d")
        (context / "app/extra.py").unlink()
        build("field-b", "--no-cache")
    for name in ("field-a", "field-b", "field-c", "field-d"):
        as_layout(work, name)
    source, target = f"oci:{work}/field-a:latest", f"oci-archive:{work}/field-a.oci.tar:latest"
    run("skopeo", "--insecure-policy", "copy", source, target)
    # The big layer alone, for the in-process benchmark of readers.
    with big_layer(work / "field-a.tar") as member, open(work / "field-a.layer.tar", "wb") as out:
        shutil.copyfileobj(member, out, 1 << 20)


@contextlib.contextmanager
def big_layer(path: Path) -> Iterator[IO[bytes]]:
    with tarfile.open(path) as archive:
        layers = [m for m in archive if m.isreg() and m.name.endswith("layer.tar")]
        member = archive.extractfile(max(layers, key=lambda m: m.size))
        assert member is not None
        yield member


def update(work: Path, mirror: list[str]) -> None:
    with builder(work, "update", UPDATED, mirror) as (_, build):
        for name, suites in SUITES.items():
            build(name, "--no-cache", "--build-arg", f"SUITES={suites}")
    old, new = (packages(work / f"{name}.tar") for name in SUITES)
    newer = [f"{name} {old[name]} -> {version}" for name, version in new.items() if old.get(name, version) != version]
    if not newer:
        raise SystemExit("bench: the mirror has no updates for the packages of update-a")
    say(f"updated: {', '.join(newer)}")
    for name in SUITES:
        as_layout(work, name)
        (work / f"{name}.tar").unlink()


def packages(path: Path) -> dict[str, str]:
    """The version of each package that is installed once the big layer of an archive is on."""
    with big_layer(path) as layer, tarfile.open(fileobj=layer) as tar:
        member = tar.extractfile("var/lib/dpkg/status")
        assert member is not None
        status = member.read().decode()
    return dict(re.findall(r"^Package: (.+)\n(?:.+\n)*?Version: (.+)$", status, re.MULTILINE))


# Archives made by code


def header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf(tarfile.PAX_FORMAT)


def config_of(diff_id: str) -> bytes:
    return json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "created": CREATED,
            "config": {"Env": ["PATH=/usr/bin"], "Cmd": ["/bin/true"]},
            "rootfs": {"type": "layers", "diff_ids": [diff_id]},
            "history": [{"created": CREATED, "created_by": "COPY . / # benchmark"}],
        }
    ).encode()


def save_docker_archive(path: Path, tag: str, size: int, fill: Callable[[io.BufferedWriter], str]) -> str:
    """A `docker save` archive with one layer of `size` bytes. `fill` writes it and gives its diff_id."""
    layer_id = hashlib.sha256(tag.encode()).hexdigest()
    with open(path, "wb") as out:
        out.write(header(f"{layer_id}/layer.tar", size))
        start = out.tell()
        diff_id = fill(out)
        out.seek(start + size + -size % 512)
        config = config_of(diff_id)
        config_name = hashlib.sha256(config).hexdigest() + ".json"
        manifest = [{"Config": config_name, "RepoTags": [f"{tag}:latest"], "Layers": [f"{layer_id}/layer.tar"]}]
        for name, text in ((config_name, config), ("manifest.json", json.dumps(manifest).encode())):
            out.write(header(name, len(text)) + text + bytes(-len(text) % 512))
        out.write(bytes(1024))
    return diff_id


def sparse(work: Path) -> None:
    first = header("var/lib/big.bin", HUGE - 4096)

    def fill(out: io.BufferedWriter) -> str:
        out.write(first)
        digest = hashlib.sha256(first)
        block, left = bytes(1 << 20), HUGE - len(first)
        while left:
            n = min(left, len(block))
            digest.update(memoryview(block)[:n])
            left -= n
        return "sha256:" + digest.hexdigest()

    save_docker_archive(work / "huge.tar", "huge", HUGE, fill)


def many_entries(count: int, changed: frozenset[int]) -> Iterator[bytes]:
    """`count` tar entries in blocks to write: a directory for each 99 files, most of which have content."""
    template = bytearray(header("x", 0))
    template[0:100] = bytes(100)
    template[108:124] = b"0000000\x000000000\x00"
    template[148:156] = b" " * 8
    made: list[bytes] = []
    for n in range(count):
        group, place = divmod(n, 100)
        name = b"usr/share/data/%03d/pack%05d/" % (group % 1000, group)
        entry = bytearray(template)
        content = b""
        if place:
            name += b"item-%07d.txt" % n
            if place % 10:  # nine of ten have content
                content = b"%d\n" % n * (1 + place % 7) + (b"changed\n" if n in changed else b"")
        else:
            entry[156:157] = b"5"
        entry[0 : len(name)] = name
        entry[100:108] = b"0000644\x00" if place else b"0000755\x00"
        entry[124:136] = b"%011o\x00" % len(content)
        entry[136:148] = b"%011o\x00" % (1_700_000_000 + n % 1000)
        entry[148:156] = b"%06o\x00 " % sum(entry)
        made.append(bytes(entry))
        if content:
            made.append(content + bytes(-len(content) % 512))
        if len(made) > 1000:
            yield b"".join(made)
            made.clear()
    yield b"".join(made) + bytes(1024)


def million(work: Path, count: int) -> None:
    work.mkdir(exist_ok=True)
    base: frozenset[int] = frozenset()
    other = frozenset(range(count // 20 + 1, count, count // 10))
    for name, changed in (("many-a", base), ("many-b", other)):
        say(f"{name}: {count:,} entries")
        size = sum(len(block) for block in many_entries(count, changed))
        stored = work / f"{name}.layer.tmp"
        with open(stored, "wb") as gz:

            def fill(out: io.BufferedWriter, changed: frozenset[int] = changed, gz: io.BufferedWriter = gz) -> str:
                digest = hashlib.sha256()
                packer = zlib.compressobj(1, wbits=31)
                for block in many_entries(count, changed):
                    digest.update(block)
                    out.write(block)
                    gz.write(packer.compress(block))
                gz.write(packer.flush())
                return "sha256:" + digest.hexdigest()

            diff_id = save_docker_archive(work / f"{name}.tar", name, size, fill)
        save_layout(work / name, stored, diff_id)


def small_files(work: Path) -> None:
    chance = random.Random(5)
    words = [b"%010x" % chance.getrandbits(40) for _ in range(4_000)]
    folders = [f"srv/app/node_modules/package-{n // 6}{f'/part-{n % 6}' if n % 6 else ''}" for n in range(6_000)]
    stored = work / "small-files.layer.tmp"
    with (
        gzip.GzipFile(stored, "wb", 6, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w|", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for folder in folders:
            info = tarfile.TarInfo(folder)
            info.type, info.mode, info.mtime = tarfile.DIRTYPE, 0o755, 1_700_000_000
            tar.addfile(info)
        for n in range(100_000):
            info = tarfile.TarInfo(f"{folders[n % len(folders)]}/file-{n}.js")
            info.size, info.mtime = chance.randrange(200, 6_000), 1_700_000_000 + n
            tar.addfile(info, io.BytesIO(b" ".join(chance.choices(words, k=info.size // 10))[: info.size].ljust(info.size)))
    with gzip.open(stored) as plain:
        diff_id = "sha256:" + hashlib.file_digest(plain, "sha256").hexdigest()  # type: ignore[arg-type]
    save_layout(work / "small-files", stored, diff_id)


def save_layout(root: Path, layer: Path, diff_id: str) -> None:
    """A layout with one gzip layer; takes ownership of the file `layer`."""
    shutil.rmtree(root, ignore_errors=True)
    blobs = root / "blobs/sha256"
    blobs.mkdir(parents=True)

    def put(media: str, body: bytes) -> dict[str, object]:
        digest = hashlib.sha256(body).hexdigest()
        (blobs / digest).write_bytes(body)
        return {
            "mediaType": f"application/vnd.oci.image.{media}+json",
            "digest": f"sha256:{digest}",
            "size": len(body),
        }

    with open(layer, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    stored = {
        "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
        "digest": f"sha256:{digest}",
        "size": layer.stat().st_size,
    }
    layer.rename(blobs / digest)
    config = put("config.v1", config_of(diff_id))
    manifest = {
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config,
        "layers": [stored],
    }
    entry = put("manifest.v1", json.dumps({"schemaVersion": 2, **manifest}).encode())
    entry["annotations"] = {"org.opencontainers.image.ref.name": "latest"}
    (root / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (root / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')


def archives(work: Path) -> None:
    import synthetic

    synthetic.archives(work)


def images(work: Path) -> None:
    import synthetic

    synthetic.layouts(work)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("work", type=Path)
    parser.add_argument("parts", nargs="*")
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--mirror", default="")
    args = parser.parse_args()
    work: Path = args.work
    work.mkdir(parents=True, exist_ok=True)
    mirror = [args.mirror] if args.mirror else []
    small = Path(__file__).with_name("synthetic.py").read_text()
    recipes: dict[str, tuple[str, Callable[[], object]]] = {
        "field": ("1" + DOCKERFILE + args.mirror, lambda: field(work, mirror)),
        "update": (f"1{UPDATED}{SUITES}{args.mirror}", lambda: update(work, mirror)),
        "sparse": (f"1 {HUGE}", lambda: sparse(work)),
        "million": (f"1 {args.entries}", lambda: million(work, args.entries)),
        "entries": ("1", lambda: [million(work / f"entries-{count}", count) for count in (10_000, 100_000)]),
        "small": ("1", lambda: small_files(work)),
        "archives": (small, lambda: archives(work)),
        "images": (small, lambda: images(work)),
    }
    for name in args.parts or recipes:
        part(work, name, *recipes[name])


if __name__ == "__main__":
    main()
