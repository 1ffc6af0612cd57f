"""What ocitool writes to real registries, other tools read as it was, and the other way round.

The reference tools are docker-registry, which keeps no lists of referrers, and `crane registry serve` (OCI 1.1), which does;
and crane, oras, regctl and skopeo, as far as they are in the folder of tools or on PATH. An index, images, artifacts that speak
of them, what speaks of these, and cosign's tags go to each registry and come back, by us and by each tool, with their tags, to
the byte."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.images import Image, image, index_of, layer_tar, pretty, sha256, write_layout
from support.real_registry import real_registry

ROOT = Path(__file__).resolve().parents[2]
NAME = "org.opencontainers.image.ref.name"
AMD, ARM = ({"os": "linux", "architecture": name} for name in ("amd64", "arm64"))
EMPTY = "application/vnd.oci.empty.v1+json"


class Wrong(Exception):
    """What is not as it should be."""


def about(subject: dict[str, Any], kind: str) -> Image:
    """An artifact of this kind that speaks of a manifest."""
    one = image([kind.encode()], config=b"{}", codec="none")
    one.manifest |= {"artifactType": kind, "annotations": {"of": kind}}
    one.manifest["config"]["mediaType"] = EMPTY
    one.manifest["subject"] = {name: subject[name] for name in ("mediaType", "digest", "size")}
    return one


class Content:
    """What goes round: `tags` lead to digests, `spoken` from a manifest to what speaks of it, `blobs` has all of it."""

    def __init__(self) -> None:
        images = [
            image([layer_tar([("etc/", None), ("etc/name", name.encode() * 1000)])], platform=platform, architecture=name)
            for name, platform in (("amd64", AMD), ("arm64", ARM))
        ]  # fmt: skip
        alone = image([layer_tar([("alone", b"alone" * 1000)])])
        raw = pretty(index_of([one.descriptor for one in images]))
        top = {"mediaType": "application/vnd.oci.image.index.v1+json", "digest": sha256(raw), "size": len(raw)}
        bill, mark = about(top, "application/x-bill"), about(images[0].descriptor, "application/x-mark")
        second = about(bill.descriptor, "application/x-mark")
        cosign = image([b"signature"], config=b'{"of":"index"}', codec="none")
        self.index, self.alone = top["digest"], alone.digest
        self.spoken = {self.index: {bill.digest}, images[0].digest: {mark.digest}, bill.digest: {second.digest}}
        self.tags = {
            "all": self.index, "alone": alone.digest, "bill": bill.digest, self.index.replace(":", "-") + ".sig": cosign.digest,
        }  # fmt: skip
        self.raw = {self.index: raw}
        self.blobs: dict[str, bytes] = {self.index: raw}
        self.artifacts = [bill, mark, second, cosign]
        for one in (*images, alone, *self.artifacts):
            self.blobs |= one.blobs
            self.raw[one.digest] = one.raw
        self._entries = [top, alone.descriptor, *(one.descriptor for one in self.artifacts)]
        self._images = [*images, alone, *self.artifacts]

    def layout(self, place: Path, prefix: str = "") -> Path:
        """As a layout, its names behind the prefix."""
        self._images[0].extra[self.index] = self.raw[self.index]
        by_digest = {digest: tag for tag, digest in self.tags.items()}
        entries = []
        for one in self._entries:
            name = by_digest.get(one["digest"])
            entries.append({**one, "annotations": {NAME: prefix + name}} if name else one)
        return write_layout(place, self._images, index=index_of(entries))

    def below(self, digest: str) -> set[str]:
        """The digests of a manifest and of all that it names."""
        fields = json.loads(self.raw[digest])
        children = [one["digest"] for one in fields.get("manifests", ())]
        blobs = [one["digest"] for one in (*fields.get("layers", ()), *([fields["config"]] if "config" in fields else ()))]
        return {digest, *blobs}.union(*map(self.below, children))

    def with_referrers(self, digest: str) -> set[str]:
        """These, and all that speaks of them by `subject`."""
        found = self.below(digest)
        while more := {one for name in found for one in self.spoken.get(name, ()) if one not in found}:
            found = found.union(*map(self.below, more))
        return found


class Bench:
    """A registry, the tools, and a directory to work in."""

    def __init__(self, host: str, place: Path, tools: Path | None, content: Content) -> None:
        self.host, self.place, self.content = host, place, content
        self.path = os.pathsep.join([*([str(tools)] if tools else ()), os.environ["PATH"]])
        self.plain = ("--host", f"reg={host},tls=disabled")
        self.count = 0

    def has(self, tool: str) -> bool:
        return shutil.which(tool, path=self.path) is not None

    def fresh(self) -> Path:
        self.count += 1
        return self.place / f"place-{self.count}"

    def run(self, *words: str) -> str:
        """What a tool prints, which must end well."""
        env = {**os.environ, "PATH": self.path, "HOME": str(self.place), "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "ocitool", *words[1:]] if words[0] == "ocitool" else list(words)
        done = subprocess.run(command, env=env, cwd=self.place, capture_output=True, text=True, timeout=120)
        if done.returncode:
            raise Wrong(f"`{' '.join(words)}` ends with {done.returncode}: {done.stderr.strip()[-600:]}")
        return done.stdout

    def us(self, *words: str) -> str:
        return self.run("ocitool", *words, "--insecure")

    def regctl(self, *words: str) -> str:
        return self.run("regctl", *self.plain, *words)


def equal(wanted: Any, found: Any, what: str) -> None:
    if wanted != found:
        raise Wrong(f"{what}: {found!r} instead of {wanted!r}")


def holds(bench: Bench, layout: Path, wanted: Iterable[str], *, all_of_it: bool = False) -> None:
    """The layout has these blobs, byte for byte; with `all_of_it` no other manifest of ours."""
    have = {f"sha256:{path.name}": path.read_bytes() for path in (layout / "blobs/sha256").iterdir()}
    missing = [name for name in wanted if have.get(name) != bench.content.blobs[name]]
    if missing:
        raise Wrong(f"{len(missing)} blobs are missing or differ, as {missing[0]}")
    more = set(bench.content.raw) & set(have) - set(wanted)
    if all_of_it and more:
        raise Wrong(f"{sorted(more)[0]} came along")


# Laws. Each takes a repository's path that is its own


def written(bench: Bench, repo: str) -> None:
    """Everything of the layout, by us."""
    layout = bench.content.layout(bench.fresh(), f"reg.example/{repo}:")
    bench.us("copy", "--all-platforms", "--referrers", str(layout), f"docker://{bench.host}/")


def again(bench: Bench, repo: str) -> None:
    """A second time nothing but documents is sent, and not the manifest of an image that its tag leads to already."""
    layout = bench.content.layout(bench.fresh(), f"reg.example/{repo}:")
    words = ("copy", "--all-platforms", "--referrers", str(layout), f"docker://{bench.host}/", "--format", "json")
    report = json.loads(bench.us(*words))
    sizes = {name: len(data) for name, data in bench.content.blobs.items() if name not in bench.content.raw}
    equal(sum(sizes.values()) + len(bench.content.raw[bench.content.alone]), report["bytes"]["skipped"], "skipped")


def tags_by(tool: str) -> Callable[[Bench, str], None]:
    def law(bench: Bench, repo: str) -> None:
        name = f"{bench.host}/{repo}"
        words = {
            "ocitool": ("ocitool", "tags", "--insecure", name), "crane": ("crane", "ls", "--insecure", name),
            "oras": ("oras", "repo", "tags", "--plain-http", name), "regctl": ("regctl", *bench.plain, "tag", "ls", name),
            "skopeo": ("skopeo", "list-tags", "--tls-verify=false", f"docker://{name}"),
        }[tool]  # fmt: skip
        text = bench.run(*words)
        found = set(json.loads(text)["Tags"] if tool == "skopeo" else text.split())
        lists = {tag for tag in found if tag.startswith("sha256-") and not tag.endswith(".sig")}
        equal(set(bench.content.tags), found - lists, "tags")
        unlisted = {digest.replace(":", "-") for digest in bench.content.spoken}
        equal(True, not lists or unlisted <= lists, f"tags of lists of referrers are all or none: {lists}")

    return law


def documents_by(tool: str) -> Callable[[Bench, str], None]:
    def law(bench: Bench, repo: str) -> None:
        for tag, digest in bench.content.tags.items():
            name, raw = f"{bench.host}/{repo}:{tag}", bench.content.raw[digest].decode()
            kind = "index" if digest == bench.content.index else "manifest"
            words = {
                "ocitool": ("ocitool", "inspect", "--insecure", "--raw", kind, f"docker://{name}"),
                "crane": ("crane", "manifest", "--insecure", name),
                "oras": ("oras", "manifest", "fetch", "--plain-http", name),
                "regctl": ("regctl", *bench.plain, "manifest", "get", "--format", "raw-body", name),
                "skopeo": ("skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{name}"),
            }[tool]
            equal(raw, bench.run(*words).rstrip("\n"), f"the manifest {tag}")

    return law


def listed_by(tool: str) -> Callable[[Bench, str], None]:
    """What speaks of a manifest."""

    def law(bench: Bench, repo: str) -> None:
        for digest, wanted in bench.content.spoken.items():
            name = f"{bench.host}/{repo}@{digest}"
            if tool == "oras":
                text = bench.run("oras", "discover", "--plain-http", "--depth", "1", "--format", "json", name)
                found = {one["digest"]: one["artifactType"] for one in json.loads(text)["referrers"]}
            else:
                text = bench.regctl("artifact", "list", "--format", "{{json .Descriptors}}", name)
                found = {one["digest"]: one["artifactType"] for one in json.loads(text)}
            kinds = {one: json.loads(bench.content.raw[one])["artifactType"] for one in wanted}
            equal(kinds, found, f"what speaks of {digest}")

    return law


def read_by(tool: str) -> Callable[[Bench, str], None]:
    """The index with all that speaks of it, as far as the tool takes it along, into a layout."""

    def law(bench: Bench, repo: str) -> None:
        content, layout = bench.content, bench.fresh()
        name = f"{bench.host}/{repo}:all"
        alone, whole = content.below(content.index), content.with_referrers(content.index)
        if tool == "ocitool":
            bench.us("copy", "--all-platforms", "--referrers", f"docker://{name}", f"{layout}/")
            holds(bench, layout, whole | content.below(content.artifacts[-1].digest), all_of_it=True)
        elif tool == "crane":
            bench.run("crane", "pull", "--insecure", "--format", "oci", name, str(layout))
            holds(bench, layout, alone)
        elif tool == "oras":
            bench.run("oras", "cp", "-r", "--from-plain-http", "--to-oci-layout", name, f"{layout}:all")
            holds(bench, layout, whole)
        elif tool == "regctl":
            bench.regctl("image", "copy", "--referrers", "--digest-tags", name, f"ocidir://{layout}:all")
            holds(bench, layout, whole | content.below(content.artifacts[-1].digest))
        else:
            words = ("--insecure-policy", "copy", "--all", "--src-tls-verify=false")
            bench.run("skopeo", *words, f"docker://{name}", f"oci:{layout}:all")
            holds(bench, layout, alone)

    return law


def everything(bench: Bench, repo: str) -> None:
    """All tags, by us, into a layout, and from there to the registry again under another name."""
    layout, content = bench.fresh(), bench.content
    bench.us("copy", "--tags", "*", "--all-platforms", "--referrers", f"docker://{bench.host}/{repo}", f"{layout}/")
    holds(bench, layout, content.blobs)
    bench.us("copy", "--all-platforms", "--referrers", f"{layout}/", f"docker://{bench.host}/back/")
    tags_by("ocitool")(bench, f"back/{repo}")
    documents_by("ocitool")(bench, f"back/{repo}")


def written_by(tool: str) -> Callable[[Bench, str], None]:
    """The index as the tool puts it, with what speaks of it as far as the tool takes it along, read by us."""

    def law(bench: Bench, repo: str) -> None:
        content, name = bench.content, f"{bench.host}/{repo}-{tool}:all"
        source = content.layout(bench.fresh())
        wanted = content.below(content.index)
        if tool == "crane":
            only = bench.fresh()
            bench.us("copy", "--all-platforms", f"oci:{source}:all", f"{only}/")
            bench.run("crane", "push", "--insecure", "--index", str(only), name)
            # A layout is pushed as an index of its own: what it names is what we look for.
            name = f"{bench.host}/{repo}-{tool}@{content.index}"
        elif tool == "oras":
            bench.run("oras", "cp", "-r", "--to-plain-http", "--from-oci-layout", f"{source}:all", name)
            wanted = content.with_referrers(content.index)
        elif tool == "regctl":
            # In a layout it finds what has a tag for its list, as we do not write it.
            bench.regctl("image", "copy", "--referrers", "--digest-tags", f"{bench.host}/{repo}:all", name)
            wanted = content.with_referrers(content.index) | content.below(content.artifacts[-1].digest)
        else:
            words = ("--insecure-policy", "copy", "--all", "--dest-tls-verify=false")
            bench.run("skopeo", *words, f"oci:{source}:all", f"docker://{name}")
        layout = bench.fresh()
        bench.us("copy", "--all-platforms", "--referrers", f"docker://{name}", f"{layout}/")
        holds(bench, layout, wanted, all_of_it=True)

    return law


def attached_by(tool: str) -> Callable[[Bench, str], None]:
    """What a tool attaches to an image, read by us."""

    def law(bench: Bench, repo: str) -> None:
        name, file = f"{bench.host}/{repo}:alone", bench.fresh()
        file.write_text(f"bill by {tool}")
        kind = ("--artifact-type", "application/x-more")
        if tool == "oras":
            bench.run("oras", "attach", "--plain-http", "--disable-path-validation", *kind, name, str(file))
        else:
            bench.regctl("artifact", "put", *kind, "--subject", name, "--file", str(file))
        layout = bench.fresh()
        bench.us("copy", "--referrers", f"docker://{name}", f"{layout}/")
        held = [path.read_bytes() for path in (layout / "blobs/sha256").iterdir()]
        equal(True, f"bill by {tool}".encode() in held, "the file that was attached is there")

    return law


def mounted(bench: Bench, repo: str) -> None:
    """From repository to repository of one registry no blob crosses the network."""
    words = (
        "copy",
        "--all-platforms",
        "--referrers",
        f"docker://{bench.host}/{repo}:all",
        f"docker://{bench.host}/new/{repo}:all",
    )
    report = json.loads(bench.us(*words, "--format", "json"))
    documents = sum(map(len, bench.content.raw.values()))
    if report["bytes"]["transferred"] > 6 * documents:
        raise Wrong(f"{report['bytes']['transferred']} bytes went over the network, documents have {documents}")
    layout = bench.fresh()
    bench.us("copy", "--all-platforms", "--referrers", f"docker://{bench.host}/new/{repo}:all", f"{layout}/")
    holds(bench, layout, bench.content.with_referrers(bench.content.index))


def catalogued(bench: Bench, repo: str) -> None:
    found = set(bench.us("catalog", bench.host).split())
    equal(True, repo in found, f"{repo} is in the catalogue")
    if bench.has("crane"):
        equal(set(bench.run("crane", "catalog", "--insecure", bench.host).split()), found, "the catalogue")


LAWS: list[tuple[str, str, Callable[[Bench, str], None]]] = [
    ("written by", "ocitool", written),
    ("written again by", "ocitool", again),
    *(("tags listed by", tool, tags_by(tool)) for tool in ("ocitool", "crane", "oras", "regctl", "skopeo")),
    *(("manifests read by", tool, documents_by(tool)) for tool in ("ocitool", "crane", "oras", "regctl", "skopeo")),
    *(("referrers listed by", tool, listed_by(tool)) for tool in ("oras", "regctl")),
    *(("the index with all of it read by", tool, read_by(tool)) for tool in ("ocitool", "crane", "oras", "regctl", "skopeo")),
    ("all tags into a layout and back by", "ocitool", everything),
    ("to another repository by", "ocitool", mounted),
    *(("read by ocitool as written by", tool, written_by(tool)) for tool in ("crane", "oras", "regctl", "skopeo")),
    *(("read by ocitool as attached by", tool, attached_by(tool)) for tool in ("oras", "regctl")),
    ("the catalogue read by", "ocitool", catalogued),
]


def run(tools: Path | None, say: Callable[[str], None]) -> Iterator[str]:
    """The findings. Says a row of the table for each law, with a column for each registry."""
    content = Content()
    with tempfile.TemporaryDirectory(prefix="registries-") as name:
        place = Path(name)
        with real_registry(place) as docker, crane_registry(place, tools) as crane:
            hosts = {"docker-registry": docker.host, **({"crane registry": crane} if crane else {})}
            benches = {}
            for registry, host in hosts.items():
                (place / registry).mkdir()
                benches[registry] = Bench(host, place / registry, tools, content)
            if crane is None:
                say("crane is not there, so docker-registry is the only reference: --tools names the folder of tools")
            say(f"{'':54}" + "".join(f"{registry:18}" for registry in benches))
            for what, tool, law in LAWS:
                cells = []
                for registry, bench in benches.items():
                    if tool != "ocitool" and not bench.has(tool):
                        cells.append("not there")
                        continue
                    try:
                        law(bench, "team/app")
                        cells.append("as it was")
                    except (Wrong, subprocess.TimeoutExpired, ValueError, KeyError) as error:
                        cells.append("DIFFERS")
                        yield f"{what} {tool}, {registry}: {error}"
                say(f"{what + ' ' + tool:54}" + "".join(f"{cell:18}" for cell in cells))
            if crane is not None:
                yield from between(list(benches.values()), say)


def between(benches: list[Bench], say: Callable[[str], None]) -> Iterator[str]:
    """From each registry to the other, by us, with what speaks of the images."""
    for source, there in (benches, benches[::-1]):
        try:
            trust = ("--insecure-host", source.host, "--insecure-host", there.host)
            words = ("copy", "--tags", "*", "--all-platforms", "--referrers", f"docker://{source.host}/team/app")
            source.run("ocitool", *words, f"docker://{there.host}/over/", *trust)
            layout = there.fresh()
            there.us("copy", "--all-platforms", "--referrers", f"docker://{there.host}/over/team/app:all", f"{layout}/")
            holds(there, layout, there.content.with_referrers(there.content.index))
            tags_by("ocitool")(there, "over/team/app")
            say(f"{source.place.name} to {there.place.name}: as it was")
        except Wrong as error:
            yield f"{source.place.name} to {there.place.name}: {error}"


@contextmanager
def crane_registry(place: Path, tools: Path | None) -> Iterator[str | None]:
    """The address of `crane registry serve`, a registry of OCI 1.1 with lists of referrers; None if there is no crane."""
    program = shutil.which("crane", path=os.pathsep.join([*([str(tools)] if tools else ()), os.environ["PATH"]]))
    if program is None:
        yield None
        return
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (place / "crane-data").mkdir()
    command = [program, "registry", "serve", "--address", f"127.0.0.1:{port}", "--disk", str(place / "crane-data")]
    with open(place / "crane.log", "wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError((place / "crane.log").read_text(errors="replace")[-2000:]) from None
                time.sleep(0.05)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)
