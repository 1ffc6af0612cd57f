"""What goes into real engines and comes out: nothing is lost, and the engine's own tools see the same.

The engines are dockerd and podman of this machine, and a current moby with the containerd image store and BuildKit, if the
folder of tools has `dockerd`, `containerd`, `containerd-shim-runc-v2`, `runc` and, in `config/cli-plugins`, `docker-buildx`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from campaign.registries import Content, Wrong, equal
from conftest import NoEngine, private_engine
from support.engine_state import held, import_programs
from support.images import Image, image, layer_tar, write_docker_archive, write_layout
from support.podman_service import NoService, podman_service

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ("app-v1.tar", "app-v2.tar", "devices.tar", "empty-layers.tar", "hardlinks.tar", "links-across.tar", "names.tar",
          "pax-global.tar", "whiteouts.tar", "xattrs.tar")  # fmt: skip
AS_THEY_ARE = ("sparse.tar",)
"""Only for engines that keep blobs: one with a graph driver cannot put sparse layers together again ("could not verify layer
data"), for `docker save` neither."""


class Bench:
    """An engine and a directory to work in. `client`: runs the docker client there; None for podman. `containerd`: it keeps
    documents and blobs as they are. `plugins`: a configuration of the docker client with buildx."""

    def __init__(
        self, host: str, place: Path, *, client: Any = None, containerd: bool = False, plugins: Path | None = None
    ) -> None:  # fmt: skip
        self.host, self.place, self.client, self.containerd, self.plugins = host, place, client, containerd, plugins
        self.count = 0

    def fresh(self, end: str = "") -> Path:
        self.count += 1
        return self.place / f"place-{self.count}{end}"

    def id(self, name: str) -> str:
        """The id of an image by the docker client."""
        said: str = self.client("image", "inspect", "--format", "{{.Id}}", name).stdout.decode()
        return said.strip()

    def run(self, *words: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Our command at the engine, which must end with this code."""
        unset = ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "DOCKER_TLS_VERIFY", "DOCKER_TLS")
        env = {name: value for name, value in os.environ.items() if name not in unset}
        env |= {"HOME": str(self.place), "PYTHONPATH": str(ROOT), "OCITOOL_CACHE_DIR": str(self.place / "cache")}
        command = [sys.executable, "-m", "ocitool", *map(str, words), "--host", self.host]
        done = subprocess.run(command, env=env, cwd=self.place, capture_output=True, text=True, timeout=300)
        if done.returncode != code:
            raise Wrong(f"`ocitool {' '.join(map(str, words))}` ends with {done.returncode}: {done.stderr.strip()[-600:]}")
        return done

    def report(self, *words: str | Path, code: int = 0) -> Any:
        return json.loads(self.run(*words, "--format", "json", code=code).stdout)

    def images(self, *words: str | Path) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.report(*words)["images"]
        return found


class Came(NamedTuple):
    """What of an image must be the same on the other side. `digest` and `blobs` only if the engine keeps documents as they
    are."""

    image_id: str
    diff_ids: tuple[str, ...]
    digest: str | None = None
    blobs: tuple[str, ...] = ()


def came(one: dict[str, Any], *, exact: bool) -> Came:
    layers = one["layers"]
    stored = (one["digest"], tuple(layer["digest"] for layer in layers)) if exact else (None, ())
    return Came(one["imageId"], tuple(layer["diffId"] for layer in layers), *stored)


def same(before: dict[str, Any], after: dict[str, Any], what: str, *, exact: bool) -> None:
    """The image is the one it was."""
    equal(came(before, exact=exact), came(after, exact=exact), what)


# Laws


def round_trip(bench: Bench) -> None:
    """File to engine to file: the configuration's digest, with the containerd store the manifest's too; diff finds nothing."""
    for name in (*IMAGES, *(AS_THEY_ARE if bench.containerd else ())):
        there = f"docker-daemon:round/{name.removesuffix('.tar')}:1"
        packed, back = bench.fresh(), bench.fresh()
        bench.run("copy", ROOT / "testdata" / name, f"{packed}/", "--tag", "t", "--compression", "gzip")
        (sent,) = bench.images("copy", f"oci:{packed}:t", there)
        (received,) = bench.images("copy", there, f"{back}/")
        same(sent, received, name, exact=bench.containerd)
        raw = [bench.run("inspect", "--raw", "config", one).stdout for one in (f"oci:{packed}:t", there)]
        equal(*raw, f"the configuration of {name}")
        bench.run("validate", f"{back}/")
        found = bench.report("diff", f"oci:{packed}:t", there, "--verify")
        equal([], found["files"], f"files of {name} that differ")
        equal(True, found["verified"], f"{name} is verified")


def described(bench: Bench) -> None:
    """What is said of an image without fetching a layer is what it is."""
    bench.run("copy", ROOT / "testdata" / "app-v2.tar", "docker-daemon:said:1")
    (said,) = bench.images("inspect", "docker-daemon:said:1")
    (exact,) = bench.images("inspect", "docker-daemon:said:1", "--files")
    equal((False, True), (said["configVerbatim"], exact["configVerbatim"]), "configVerbatim")
    for key in ("platform", "created", "volumes", "exposedPorts"):
        equal(exact[key], said[key], key)
    equal([one["diffId"] for one in exact["layers"]], [one["diffId"] for one in said["layers"]], "diff_ids")
    for key in ("Env", "Cmd", "Entrypoint", "User", "WorkingDir", "Labels"):
        equal(exact["config"].get(key), said["config"].get(key), key)


def seen_by_the_client(bench: Bench) -> None:
    """The docker client saves what we read, and loads what we write."""
    for name in ("app-v1.tar", "hardlinks.tar"):
        (sent,) = bench.images("copy", ROOT / "testdata" / name, "docker-daemon:seen:1")
        known = bench.id("seen:1")
        equal(True, known in (sent["imageId"], sent["digest"]), f"the client's id of {name}, {known}, is ours")
        saved, back, ours = bench.fresh(".tar"), bench.fresh(), bench.fresh(".tar")
        bench.client("save", "-o", saved, "seen:1")
        (by_client,) = bench.images("copy", saved, f"{back}/")
        (by_us,) = bench.images("copy", "docker-daemon:seen:1", ours, "--tag", "seen:1")
        same(by_client, by_us, f"{name} as docker save writes it", exact=bench.containerd)
        bench.client("rmi", "seen:1")
        bench.client("load", "-i", ours)
        (again,) = bench.images("copy", "docker-daemon:seen:1", f"{bench.fresh()}/")
        same(sent, again, f"{name} as docker load reads it", exact=bench.containerd)


def recovered(bench: Bench) -> None:
    """`--with` finds the blobs of the source by diff_id, whatever the engine made of them."""
    packed = bench.fresh()
    bench.run("copy", ROOT / "testdata" / "app-v1.tar", f"{packed}/", "--tag", "t", "--compression", "gzip")
    (sent,) = bench.images("copy", f"oci:{packed}:t", "docker-daemon:with:1")
    (back,) = bench.images("copy", "docker-daemon:with:1", f"{bench.fresh()}/", "--with", f"oci:{packed}:t")
    equal([one["digest"] for one in sent["layers"]], [one["digest"] for one in back["layers"]], "blobs")


def run_there(bench: Bench) -> None:
    """A container runs from what was edited at the engine, and what it wrote is an image layer: diff agrees with docker diff in
    paths, and the image that commit makes runs with it."""
    import_programs(bench.client, "programs:1", "sh", "mkdir", "ln", "rm", "chmod", "cat", "mv")
    bench.run("edit", "docker-daemon:programs:1", "docker-daemon:programs:2", "--env", "SAID=from-us")
    script = "echo $SAID > /new; mkdir -p /d/e; ln /new /d/hard; ln -s x /d/soft; chmod 700 /bin/cat; rm /bin/mv"
    bench.client("run", "--network", "none", "--name", "wrote", "programs:2", "/bin/sh", "-c", script)
    try:
        listed = bench.client("diff", "wrote").stdout.decode().splitlines()
        found = bench.report("engine", "diff", "wrote", code=1)
        paths_agree(listed, [one["path"] for one in found["files"]])
        made = bench.fresh(".tar")
        bench.run("engine", "commit", "wrote", made, "--cmd", '["/bin/cat", "/d/hard"]', "--tag", "committed:1")
        bench.run("copy", made, "docker-daemon:committed:1")
        said = bench.client("run", "--rm", "--network", "none", "committed:1").stdout.decode()
        equal("from-us\n", said, "what the image prints")
        names = {name for one in bench.report("engine", "containers")["containers"] for name in one["names"]}
        equal(True, "wrote" in names, "the container is listed")
        bench.report("engine", "df")
        bench.report("dedupe", "docker-daemon:")
    finally:
        bench.client("rm", "-f", "wrote")


def volumes(bench: Bench) -> None:
    """A volume that is saved and restored under another name has the same content, and two saves have one layer."""
    import_programs(bench.client, "volumes:1", "sh", "mkdir", "ln", "chmod", "cat")
    script = "mkdir -p /v/d; echo kept > /v/d/file; ln /v/d/file /v/hard; ln -s d/file /v/soft; chmod 600 /v/d/file"
    saved, again = bench.fresh(), bench.fresh()
    try:
        inside = ("run", "--rm", "--network", "none", "-v")
        bench.client(*inside, "kept:/v", "volumes:1", "/bin/sh", "-c", script)
        bench.run("volume", "save", "kept", f"{saved}/")
        bench.run("volume", "restore", f"{saved}/", "restored")
        said = bench.client(*inside, "restored:/v", "volumes:1", "/bin/cat", "/v/soft", "/v/hard").stdout.decode()
        equal("kept\nkept\n", said, "what a container reads")
        bench.run("volume", "save", "restored", f"{again}/")
        layers = [bench.images("inspect", f"{place}/")[0]["layers"][0]["digest"] for place in (saved, again)]
        equal(*layers, "the layers of two saves")
        bench.run("volume", "diff", "docker-volume:kept", "docker-volume:restored")
    finally:
        bench.client("volume", "rm", "-f", "kept", "restored")


def paths_agree(listed: list[str], found: list[str]) -> None:
    """Ours are the paths of `docker diff`; it lists directories too of which only an entry or the time changed."""
    theirs = {line[2:] for line in listed}
    if more := set(found) - theirs:
        raise Wrong(f"docker diff does not list {sorted(more)[0]}")
    if fewer := {line[2:] for line in listed if line[0] in "AD"} - set(found):
        raise Wrong(f"docker diff lists {sorted(fewer)[0]} too")


def platforms(bench: Bench) -> None:
    """An index goes in whole and comes out whole; --platform takes one image of it."""
    content = Content()
    layout = content.layout(bench.fresh())
    bench.run("copy", "--all-platforms", f"oci:{layout}:all", "docker-daemon:multi:1")
    children = {one["platform"]["architecture"]: one["digest"] for one in json.loads(content.raw[content.index])["manifests"]}
    for name, digest in children.items():
        (one,) = bench.images("copy", "docker-daemon:multi:1", f"{bench.fresh()}/", "--platform", f"linux/{name}")
        equal(digest, one["digest"], f"linux/{name}")
        (said,) = bench.images("inspect", "docker-daemon:multi:1", "--platform", f"linux/{name}")
        equal(True, name in json.dumps(said["platform"]), f"the platform of linux/{name}")
    whole = bench.fresh()
    bench.run("copy", "--all-platforms", "docker-daemon:multi:1", f"{whole}/")
    kept = whole / "blobs" / content.index.replace(":", "/")
    equal(content.raw[content.index], kept.read_bytes(), "the index")
    equal(content.index, bench.run("inspect", "--digest", "docker-daemon:multi:1").stdout.strip(), "the digest")
    bench.run("copy", "docker-daemon:multi:1", bench.fresh(".tar"), "--platform", "linux/s390x", code=3)


def attested(bench: Bench) -> None:
    """An image of BuildKit with attestations: with all of it, its index stays as it is; alone it is written without, and says
    so."""
    context = bench.fresh()
    context.mkdir()
    (context / "Dockerfile").write_text("FROM scratch\nCOPY file /file\nLABEL a=b\n")
    (context / "file").write_text("built\n")
    env = {**bench.client.env, "DOCKER_CONFIG": str(bench.plugins)}
    env.pop("DOCKER_API_VERSION")
    words = ["docker", "buildx", "build", "--network", "host", "--provenance=mode=max", "-t", "attested:1", str(context)]
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise RuntimeError(done.stderr)
    whole, alone = bench.fresh(), bench.fresh()
    bench.run("copy", "--all-platforms", "docker-daemon:attested:1", f"{whole}/")
    (entry,) = json.loads((whole / "index.json").read_text())["manifests"]
    equal(
        bench.id("attested:1"),
        entry["digest"],
        "the index",
    )
    index = json.loads((whole / "blobs" / entry["digest"].replace(":", "/")).read_bytes())
    kinds = [one.get("annotations", {}).get("vnd.docker.reference.type") for one in index["manifests"]]
    equal([None, "attestation-manifest"], kinds, "the manifests of the index")
    bench.run("validate", f"{whole}/")
    done = bench.run("copy", "docker-daemon:attested:1", f"{alone}/")
    equal(True, "without its index and attestations" in done.stderr, "that attestations are left is said")
    bench.client("rmi", "attested:1")
    bench.run("copy", "--all-platforms", f"{whole}/", "docker-daemon:attested:1")
    equal(
        entry["digest"],
        bench.id("attested:1"),
        "the index again",
    )


def plain(bench: Bench) -> None:
    """An engine with the containerd store keeps plain layers plain, which is said."""
    archive = bench.fresh(".tar")
    large: Image = image([layer_tar([("large", bytes(2 << 20))])], tag="plain:1", codec="none")
    write_docker_archive(archive, [large])
    done = bench.run("copy", archive, "docker-daemon:plain:1")
    equal(bench.containerd, "--compression gzip compresses them" in done.stderr, "the notice of plain layers")
    done = bench.run("copy", archive, "docker-daemon:plain:2", "--compression", "gzip")
    equal(False, "compresses them" in done.stderr, "the notice of plain layers with --compression")


def zstd(bench: Bench) -> None:
    """Layers in zstd go in if the engine loads them, and are refused before anything is sent if not."""
    packed = bench.fresh()
    write_layout(packed, [image([layer_tar([("etc/", None), ("etc/motd", b"hello\n" * 1000)])], tag="t", codec="zstd")])
    old = bench.client is not None and not bench.containerd
    bench.run("copy", f"oci:{packed}:t", "docker-daemon:zstd:1", code=4 if old else 0)


class Law(NamedTuple):
    """`needs`: what the engine must have: `client`, `containerd` or `plugins`."""

    what: str
    holds: Callable[[Bench], None]
    needs: str | None = None


LAWS = [
    Law("file to engine to file", round_trip),
    Law("described without its layers", described),
    Law("blobs found again with --with", recovered),
    Law("plain layers are said", plain),
    Law("layers in zstd", zstd),
    Law("saved and loaded by docker", seen_by_the_client, "client"),
    Law("run, diff, commit, df, dedupe", run_there, "client"),
    Law("volumes saved and restored", volumes, "client"),
    Law("several platforms", platforms, "containerd"),
    Law("attestations of BuildKit", attested, "plugins"),
]


def judged(law: Law, bench: Bench) -> str | None:
    """What is wrong by a law, None if nothing is. Volumes and containers must be those that were there."""
    try:
        before = held(bench.client) if bench.client is not None else {}
        law.holds(bench)
        after = held(bench.client) if bench.client is not None else {}
        for kind in ("containers", "volumes"):
            equal(before.get(kind), after.get(kind), f"the {kind} of the engine")
    except (Wrong, subprocess.TimeoutExpired) as error:
        return str(error)
    except (ValueError, KeyError) as error:
        return f"a report is not as it was: {error!r}"
    return None


def run(tools: Path | None, say: Callable[[str], None]) -> Iterator[str]:
    """The findings. Says a row of the table for each law, with a column for each engine."""
    with tempfile.TemporaryDirectory(prefix="engines-") as name, ExitStack() as stack:
        benches = started(Path(name), tools, stack, say)
        say(f"{'':34}" + "".join(f"{engine:12}" for engine in benches))
        for law in LAWS:
            cells = []
            for engine, bench in benches.items():
                if law.needs is not None and not getattr(bench, law.needs):
                    cells.append("-")
                    continue
                wrong = judged(law, bench)
                cells.append("as it was" if wrong is None else "DIFFERS")
                if wrong is not None:
                    yield f"{law.what}, {engine}: {wrong}"
            say(f"{law.what:34}" + "".join(f"{cell:12}" for cell in cells))


def started(place: Path, tools: Path | None, stack: ExitStack, say: Callable[[str], None]) -> dict[str, Bench]:
    """The engines that can be started here, by their names."""
    found: dict[str, Bench] = {}
    for name in ("dockerd", "podman", "moby"):
        (place / name).mkdir()
        try:
            if name == "podman" and shutil.which("podman"):
                found[name] = Bench(stack.enter_context(podman_service()), place / name)
            elif name == "dockerd" and shutil.which("dockerd"):
                engine = stack.enter_context(private_engine("vfs", "/tmp"))
                found[name] = Bench(engine.host, place / name, client=engine)
            elif name == "moby" and tools is not None and (tools / "dockerd").exists():
                engine = stack.enter_context(private_engine(None, "/tmp", "--ip6tables=false", programs=tools))
                config = tools / "config"
                plugins = config if (config / "cli-plugins" / "docker-buildx").exists() else None
                found[name] = Bench(engine.host, place / name, client=engine, containerd=True, plugins=plugins)
            else:
                say(f"{name} is not there" + (": --tools names the folder of a current one" if name == "moby" else ""))
        except (NoEngine, NoService) as error:
            say(f"{name} did not start: {error}")
    return found
