"""Places of images: layouts and archives of every form, whose documents, digests, sizes, names and members are odd or lies.

A document is changed first and its digest computed then, so that it is read and not just refused; only lies about digests and
sizes are left as they are.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from campaign.attack import layers
from support.images import Image, config_of, docker_files, hybrid_files, index_of, layout_files, pretty, sha256, write_files
from support.layers import head, member
from support.streams import encode

from ocitool.spec import mediatypes

TEXTS = (
    "", "a", "latest", "1.0", "\x1b[31mred\x1b[0m", "\x1b]0;title\x07", "a\nb", "a\r\nhint: run this", "\u202etxt.exe",
    "zero\u200bwidth",
    "\U000e0041\U000e0042", "sud\u043e", "`a`", "```", "|x|", "<b>", "$(id)", "../../x", "/etc/passwd",
    "x" * 300,
    "y" * 5000, "e\u0301", "\x00", "\x7f", "\x9b31m", "-", "--help", "a:b:c", "a@sha256:0", "[link](http://x)", "**", "\ufeff",
    "a=b=c", "=",
    "\\", "\\x1b", "'", '"', "%s", "{}", "\u2028", "true", "sha256:" + "0" * 64, "sha512:" + "a" * 128, "sha256:" + "../" * 10,
    "md5:1",
)  # fmt: skip
NUMBERS = (0, -1, 1, 1.5, 1e300, 1 << 31, 1 << 63, 1 << 64, -(1 << 70), 10**400)
TIMES = (
    "2024-01-01T00:00:00Z",
    "0001-01-01T00:00:00Z",
    "9999-12-31T23:59:60+23:59",
    "1970-01-01",
    "x",
    "",
    "2024-01-01T00:00:00." + "1" * 400 + "Z",
)
TYPES = (
    mediatypes.OCI_MANIFEST, mediatypes.OCI_INDEX, mediatypes.OCI_CONFIG, mediatypes.OCI_LAYER, mediatypes.OCI_LAYER + "+gzip",
    mediatypes.OCI_LAYER + "+zstd", mediatypes.OCI_LAYER + "+br", "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json", "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "application/vnd.oci.empty.v1+json", "text/plain", "",
    "\x1b[31m/x",
)  # fmt: skip
NAMES = ("app", "app:1", "docker.io/library/app:1", "localhost:5000/a/b:t", "base", "v1", *TEXTS)
PLATFORMS: tuple[Any, ...] = (
    {"os": "linux", "architecture": "amd64"}, {"os": "linux", "architecture": "arm64", "variant": "v8"},
    {"os": "windows", "architecture": "amd64", "os.version": "10.0.1", "os.features": ["win32k"]}, {"os": "unknown",
    "architecture": "unknown"},
    {"os": "\x1b[31m", "architecture": "\u202e"}, {}, None, [], {"os": 1, "architecture": None},
)  # fmt: skip


@dataclass(slots=True)
class Place:
    """A place that was written: what to call it, and what it costs."""

    name: str
    """Its path below the directory it was made in."""
    tags: list[str]
    stored: int = 0
    entries: int = 0
    unpacked: int = 0
    secrets: tuple[str, ...] = ()
    paths: list[str] = field(default_factory=list)
    images: list[Image] = field(default_factory=list)

    @property
    def directory(self) -> bool:
        return not self.name.endswith((".tar", ".gz", ".zst", ".xz", ".bz2"))


def value(chance: random.Random, depth: int = 0) -> Any:
    """Any JSON value."""
    turn = chance.randrange(8 if depth < 3 else 5)
    if turn < 2:
        return chance.choice(TEXTS)
    if turn == 2:
        return chance.choice(NUMBERS)
    if turn == 3:
        return chance.choice((None, True, False))
    if turn == 4:
        return chance.choice(([], {}, [None], {"": ""}))
    if turn == 5:
        return [value(chance, depth + 1) for _ in range(chance.choice((1, 2, 40)))]
    return {chance.choice(TEXTS): value(chance, depth + 1) for _ in range(chance.randrange(1, 5))}


def changed(chance: random.Random, document: Any, times: int) -> Any:
    """The document with so many values replaced, removed, added or repeated."""
    document = json.loads(json.dumps(document))
    for _ in range(times):
        spots = list(_spots(document))
        if not spots:
            break
        holder, key = chance.choice(spots)
        turn = chance.randrange(6)
        if turn < 2:
            holder[key] = value(chance)
        elif turn == 2:
            del holder[key]
        elif turn == 3 and isinstance(holder, list):
            holder += [holder[key]] * chance.choice((1, 2, 20))
        elif turn == 3:
            holder[
                chance.choice(("layers", "manifests", "config", "mediaType", "urls", "data", "subject", "artifactType", "size"))
            ] = value(chance)
        elif turn == 4 and isinstance(holder[key], str):
            holder[key] = chance.choice(
                (*TYPES, *TIMES, holder[key] + chance.choice(TEXTS), holder[key][:-1], holder[key].upper())
            )
        elif isinstance(holder[key], int):
            holder[key] = chance.choice((*NUMBERS, holder[key] + 1, holder[key] - 1))
    return document


def _spots(document: Any) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    waiting = [document]
    while waiting:
        one = waiting.pop()
        keys: Any = range(len(one)) if isinstance(one, list) else list(one) if isinstance(one, dict) else ()
        for key in keys:
            found.append((one, key))
            waiting.append(one[key])
    return found


def text_of(chance: random.Random, document: Any) -> bytes:
    """Its JSON, which by chance is odd where values cannot be."""
    raw = json.dumps(document, separators=(",", ":"), ensure_ascii=chance.random() < 0.7).encode("utf-8", "surrogatepass")
    turn = chance.random()
    if turn < 0.9:
        return raw
    if turn < 0.92:
        return b"\xef\xbb\xbf" + raw
    if turn < 0.94:
        return raw.replace(b'"mediaType":', b'"mediaType":"x","mediaType":', 1)
    if turn < 0.96:
        return raw[:-1]
    if turn < 0.97:
        return raw[:-1] + b',"x":"\\ud800"}'
    if turn < 0.985:
        return raw[:-1] + b',"x":' + b"[" * chance.choice((60, 70, 5000, 100_000)) + b"}"
    return b" " * chance.choice((10, 3_000_000)) + raw


def plants(chance: random.Random) -> list[tuple[str, str, str]]:
    """Secrets in places whose masking is promised: (field, text, the secret)."""

    def new() -> str:
        return "".join(chance.choice("ABCDEFGHJKLMNPQRSTUVWXYZabcdefghjkmnpqrstuvwxyz23456789") for _ in range(24))

    one = [new() for _ in range(12)]
    every = [
        ("Env", f"API_TOKEN={one[0]}", one[0]), ("Env", f"DB_PASSWORD={one[1]}&x;y", one[1]), ("Labels",
        f"db.password={one[2]}", one[2]),
        ("Env", f"DATABASE_URL=postgres://app:{one[3]}@db:5432/x", one[3]), ("history",
        f"RUN |1 NPM_TOKEN={one[4]} /bin/sh -c npm ci", one[4]),
        ("history", f"/bin/sh -c mysql --password={one[5]} -e x", one[5]), ("Cmd", f"--password={one[6]}", one[6]),
        ("Env", f"GITHUB=ghp_{one[7]}abcdefghijkl", one[7]), ("history",
        f'RUN curl -H "Authorization: Bearer {one[8]}" https://x/', one[8]),
        ("annotation", f"registry.password={one[9]}", one[9]), ("history", f"RUN curl https://u:{one[10]}@host/a.tgz # c",
        one[10]),
        ("Entrypoint", f"API_SECRET={one[11]}", one[11]),
    ]  # fmt: skip
    return chance.sample(every, chance.randrange(1, 6))


def image(chance: random.Random, canary: bytes) -> tuple[Image, list[layers.Layer], tuple[str, ...]]:
    """An image, its layers, and the secrets in it."""
    made = [layers.layer(chance, canary) for _ in range(chance.choice((0, 1, 1, 2, 2, 3, 5)))]
    if chance.random() < 0.03 and made:
        made = made * chance.choice((3, 40, 130))
    config = config_of([one.tar for one in made])
    wild = chance.random() < 0.3
    if chance.random() < 0.1:
        count = chance.choice((50, 1000, 5000))
        config["history"] = [
            {"created_by": f"RUN step {i % 9} {'x' * (i % 50)}", "empty_layer": i >= len(made)} for i in range(count)
        ]
    if wild:
        config = changed(chance, config, chance.choice((1, 1, 2, 4, 8)))
        if isinstance(config, dict) and chance.random() < 0.5:
            settings = {"Env": [chance.choice(TEXTS) for _ in range(4)],
                "Labels": {chance.choice(TEXTS): chance.choice(TEXTS) for _ in range(4)},
                        "ExposedPorts": {chance.choice(TEXTS): {}}, "User": chance.choice(TEXTS),
                        "WorkingDir": chance.choice(TEXTS)}  # fmt: skip
            config["config"] = settings
    secrets, annotations = [], {}
    if isinstance(config, dict) and isinstance(config.get("config"), dict) and not (wild and chance.random() < 0.5):
        for where, text, secret in plants(chance):
            secrets.append(secret)
            if where == "annotation":
                annotations[text.partition("=")[0]] = text.partition("=")[2]
            elif where == "Labels":
                config["config"]["Labels"] = {text.partition("=")[0]: text.partition("=")[2]}
            elif where == "history":
                entry = {"created": "2024-01-01T00:00:00Z", "created_by": text, "empty_layer": True}
                config["history"] = [entry, *(config["history"] if isinstance(config.get("history"), list) else ())]
            else:
                old = config["config"].get(where)
                config["config"][where] = [*(old if isinstance(old, list) else ()), text]
    raw = text_of(chance, config) if wild else pretty(config)
    types = {"none": "", "gzip": "+gzip", "zstd": "+zstd"}
    manifest: dict[str, Any] = {
        "schemaVersion": 2, "mediaType": mediatypes.OCI_MANIFEST,
        "config": {"mediaType": mediatypes.OCI_CONFIG, "digest": sha256(raw), "size": len(raw)},
        "layers": [
            {"mediaType": mediatypes.OCI_LAYER + types.get(one.codec, ""), "digest": sha256(one.stored),
            "size": len(one.stored)} for one in made
        ],
    }  # fmt: skip
    if chance.random() < 0.15:
        manifest = changed(chance, manifest, chance.choice((1, 1, 2, 5)))
    if annotations:
        manifest["annotations"] = annotations
    platform = chance.choice(PLATFORMS) if chance.random() < 0.3 else None
    return Image(raw, manifest, [one.stored for one in made], chance.choice(NAMES), platform), made, tuple(secrets)


def files_of(chance: random.Random, images: list[Image], form: str) -> dict[str, bytes]:
    """The files of a layout, of a `docker save` archive, or of both in one, with mutations of what lists them."""
    for one in images:
        if not isinstance(one.manifest, dict):
            one.manifest = {}
    if form == "docker":
        files = docker_files(images)
        listed = "manifest.json"
    elif form == "hybrid":
        files, listed = hybrid_files(images), chance.choice(("manifest.json", "index.json"))
    else:
        files, listed = layout_files(images), "index.json"
        if chance.random() < 0.1:
            nest(chance, files, images)
    if chance.random() < 0.2:
        document = json.loads(files[listed])
        if chance.random() < 0.2 and isinstance(document, dict):
            document["manifests"] = document["manifests"] * chance.choice((2, 50, 400))
        files[listed] = text_of(chance, changed(chance, document, chance.choice((1, 1, 2, 5))))
    for _ in range(chance.choice((0, 0, 0, 0, 0, 1, 2))):
        spoil(chance, files)
    return files


def nest(chance: random.Random, files: dict[str, bytes], images: list[Image]) -> None:
    """Indexes within indexes, each listed often."""
    entries = [one.descriptor for one in images]
    for _ in range(chance.choice((1, 3, 8, 12))):
        raw = pretty(index_of(entries * chance.choice((1, 2, 30))))
        files["blobs/" + sha256(raw).replace(":", "/")] = raw
        entries = [{"mediaType": mediatypes.OCI_INDEX, "digest": sha256(raw), "size": len(raw)}]
    files["index.json"] = pretty(index_of(entries * chance.choice((1, 20))))


def spoil(chance: random.Random, files: dict[str, bytes]) -> None:
    """A file that is lost, something else, cut, or under the name of another."""
    name, turn = chance.choice(sorted(files)), chance.randrange(6)
    if turn == 0:
        del files[name]
    elif turn == 1:
        files[name] = files[name][:-1] + b"!"
    elif turn == 2:
        files[name] = files[name][: len(files[name]) // 2]
    elif turn == 3:
        files[name] = files[chance.choice(sorted(files))]
    elif turn == 4:
        files[chance.choice(("x", "../x", "blobs/sha256/" + "0" * 64, "blobs/sha256/short", "blobs/\x1b/x", "a/b"))] = b"stray"
    else:
        files[name] = files[name] + b"\0" * chance.choice((1, 512, 10240))


def archive(chance: random.Random, files: dict[str, bytes], canary: bytes) -> bytes:
    """A tar of the files, with members that are repeated, moved, links, of wrong size, or hostile names."""
    items = list(files.items())
    if chance.random() < 0.2:
        chance.shuffle(items)
    parts = []
    for name, data in items:
        path, turn = name.encode("utf-8", "surrogateescape"), chance.random()
        if turn < 0.02:
            parts.append(head(path[:99], chance.choice((b"1", b"2")), link=layers.target(chance, canary)[:99]))
            continue
        if turn < 0.04:
            path = chance.choice((b"./" + path, b"/" + path, b"a/../" + path, path + b"/"))
        if turn < 0.06:
            parts.append(member(path[:99], data[::-1]))
        parts.append(
            member(path[:99], data)
            if turn < 0.98
            else head(path[:99], b"0", len(data) + chance.choice((1, 512, 1 << 30))) + data
        )
    if chance.random() < 0.1:
        parts.insert(chance.randrange(len(parts) + 1), layers.entry(chance, canary))
    whole = bytearray(b"".join(parts) + bytes(1024))
    for _ in range(chance.choice((0, 0, 0, 0, 1, 2))):
        layers.reseal(whole, chance)
    return bytes(whole)


FORMS = ("layout", "layout", "layout", "oci", "docker", "hybrid")


def place(chance: random.Random, where: Path, name: str, canary: bytes, form: str | None = None) -> Place:
    """Makes a place of one to three images below `where`."""
    form = form or chance.choice(FORMS)
    triples = [image(chance, canary) for _ in range(chance.choice((1, 1, 1, 2, 3)))]
    images = [one for one, _, _ in triples]
    made = [one for _, each, _ in triples for one in each]
    files = files_of(chance, images, form)
    secrets = tuple(secret for _, _, each in triples for secret in each)
    found = Place(name, [one.tag for one in images if one.tag], 0, 0, 0, secrets, [], images)
    if form == "layout":
        write(where / name, files)
        found.stored = sum(map(len, files.values()))
    else:
        data, whole = archive(chance, files, canary), chance.choice(("none", "none", "none", "gzip", "zstd", "xz", "bzip2"))
        if whole != "none":
            data = encode(whole, data) if chance.random() < 0.9 else encode(whole, data)[:-5]
        elif chance.random() < 0.03:
            data = data[: chance.randrange(len(data))]
        found.name += ".tar" + {"none": "", "gzip": ".gz", "zstd": ".zst", "xz": ".xz", "bzip2": ".bz2"}[whole]
        (where / found.name).write_bytes(data)
        found.stored = len(data)
        found.unpacked = sum(map(len, files.values()))
    found.entries = (
        sum(one.entries for one in made)
        + 5 * len(files)
        + sum(data.count(b'"') // 8 for data in files.values() if len(data) < 1 << 20)
    )
    found.unpacked += sum(one.unpacked for one in made)
    found.paths = ["etc/motd", "a", "a/b/c", "/", "l0/f1", "h0", "zeros", "d/", "../x", "\x1b[2J"]
    return found


def write(where: Path, files: dict[str, bytes]) -> None:
    write_files(where, {name: data for name, data in files.items() if ".." not in name})


def names_of(found: Place) -> list[str]:
    """References to the place and its images, right and wrong."""
    plain = [found.name, *[f"{found.name}:@0"] * 4] if len(found.images) > 1 else [found.name] * 4
    plain += [f"{found.name}:@9", f"{found.name}:nothing"] if len(found.name) % 2 else []
    tags = [f"{found.name}:{tag}" for tag in found.tags if "\0" not in tag]
    digests = [f"{found.name}:@{one.digest}" for one in found.images]
    kind = "oci:" if found.directory else "oci-archive:"
    other = [] if found.directory else [f"docker-archive:{found.name}"]
    return [*plain, *plain, *tags, *digests, kind + found.name, *other]
