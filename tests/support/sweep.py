"""One image file or directory through every command that reads and through copies, held against laws that need no example:
no traceback, no exit 70, a copy and a comparison with itself that find no difference, and nothing dropped unsaid.

What a place holds is counted by the standard library alone (`census`), so that ocitool is not compared with itself.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import zstandard

from ocitool.report.escape import shown
from support.inside import Outcome
from support.places import CONTAINERD_NAME, REF_NAME

CODES = frozenset(range(10))
UNREADABLE = frozenset({4, 5, 6, 7})
Run = Callable[..., Outcome]


class StoredImages(NamedTuple):
    """What a place holds: the number of layers by the digest of the configuration, the names, and the digests of manifests by
    that of their configuration. `whole`: all was found."""

    images: dict[str, int]
    manifests: dict[str, str]
    names: frozenset[str]
    whole: bool


def census(place: Path) -> StoredImages | None:
    """None if the standard library cannot read the place as an archive or a layout of images."""
    try:
        files = _files(place)
        index = json.loads(files["index.json"]) if "index.json" in files else None
        listed = json.loads(files["manifest.json"]) if "manifest.json" in files else None
    except (OSError, ValueError, EOFError, tarfile.TarError, zstandard.ZstdError, zlib.error):
        return None
    if not isinstance(index, dict):
        index = None
    images: dict[str, int] = {}
    manifests: dict[str, str] = {}
    names: set[str] = set()
    whole = index is not None or isinstance(listed, list)
    try:
        for config, layers, name, manifest in _of_index(files, index or {}, 0, {}):
            if config:
                images[config], manifests[config] = layers, manifest
            whole = whole and bool(config)
            names |= {name} if name else set()
        for image in listed if isinstance(listed, list) else ():
            fields = {key.lower(): value for key, value in image.items()}
            data = files.get(_normal(fields["config"]))
            whole = whole and data is not None
            if data is not None:
                config = "sha256:" + hashlib.sha256(data).hexdigest()
                images[config] = max(images.get(config, 0), len(fields.get("layers") or ()))
                names |= set(fields.get("repotags") or ())
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    if not all(isinstance(name, str) for name in names):
        return None
    return StoredImages(images, manifests, frozenset(names), whole)


_Found = tuple[str, int, str, str]
_Known = dict[str, tuple[_Found, ...]]


def _of_index(files: dict[str, bytes], index: dict[str, Any], depth: int, known: _Known) -> Iterator[_Found]:
    """(configuration, layers, name, manifest) of each image; without a configuration for what is absent or not an image.
    `known`: what nested indexes hold: one may be listed twenty times at each of eight depths."""
    for entry in (index.get("manifests") or ()) if depth < 9 else ():
        annotations = entry.get("annotations") or {}
        name = (annotations.get(CONTAINERD_NAME) or annotations.get(REF_NAME) or "") if depth == 0 else ""
        data = files.get("blobs/" + entry["digest"].replace(":", "/"))
        document = json.loads(data) if data is not None else {}
        if "manifests" in document:
            if entry["digest"] not in known:
                known[entry["digest"]] = ()  # as long as it is looked at
                known[entry["digest"]] = tuple(dict.fromkeys(_of_index(files, document, depth + 1, known)))
            yield from ((one[0], one[1], name, one[3]) for one in known[entry["digest"]])
        elif str(document.get("config", {}).get("mediaType", "")).endswith(("image.config.v1+json", "container.image.v1+json")):
            yield document["config"]["digest"], len(document.get("layers") or ()), name, entry["digest"]
        elif data is None:
            yield "", 0, "", ""


def _normal(name: str) -> str:
    return str(Path(name)).lstrip("/")


def _files(place: Path) -> dict[str, bytes]:
    if place.is_dir():
        paths = (path for path in place.rglob("*") if path.is_file() and path.stat().st_size < 1 << 22)
        return {str(path.relative_to(place)): path.read_bytes() for path in paths}
    data = place.read_bytes()
    if data[:4] == b"\x28\xb5\x2f\xfd":
        data = zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True).read()
    elif data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    found = {}
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for member in archive:
            stream = None
            with suppress(KeyError, RecursionError):  # links through links, or in a circle: `tarfile` does not follow them
                stream = archive.extractfile(member) if member.isfile() or member.islnk() or member.issym() else None
            if stream is not None:
                found[_normal(member.name)] = stream.read()
    return found


def sweep(place: Path, work: Path, run: Run) -> list[str]:
    """What is wrong with how `run` answers for this place, one line each; `work` is an empty directory. Nothing is wrong with
    refusing a place that cannot be read."""
    findings: list[str] = []

    def ask(*words: object) -> Outcome:
        args = tuple(str(word) for word in words)
        done = run(args)
        err = done.stderr.decode("utf-8", "replace")
        if done.code not in CODES or "Traceback" in err or "a bug" in err:
            findings.append(f"{' '.join(args)}: exit {done.code}: {err.strip()[-300:]}")
        elif done.code > 1 and "ocitool: error: " not in err:
            findings.append(f"{' '.join(args)}: exit {done.code} without an error: {err.strip()[-300:]}")
        return done

    seen = ask("inspect", place, "--format", "json", "--all-platforms")
    ask("inspect", place, "--files", "--all-platforms")
    ask("ls", place, "--recursive")
    ask("diff", place, place)
    valid = ask("validate", place, "--format", "json")
    if seen.code not in (0, 1):
        return findings
    if seen.code == 1 and valid.code == 0:
        findings.append(f"inspect could not read a part of what is valid: {seen.stderr.decode('utf-8', 'replace')[-300:]}")
    images = json.loads(seen.stdout)["images"]
    held = census(place)
    for name in ("copy/", "copy.tar"):
        target = work / name.rstrip("/")
        made = ask("copy", "--all-platforms", "--format", "json", place, f"{target}/" if name.endswith("/") else target)
        said = (made.stdout + made.stderr + seen.stderr).decode("utf-8", "replace")
        if made.code not in (0, 1):
            if seen.code == 0 and valid.code == 0 and held is not None and held.whole:
                findings.append(f"{name} of a valid place: exit {made.code}: {said.strip()[-300:]}")
            continue
        findings += _lost(held, census(target), said, name)
        checked = ask("validate", target, "--format", "json")
        if valid.code == 0 and checked.code != 0:
            findings.append(f"{name} is not valid, but its source is: {checked.stdout.decode()[-400:]}")
        copies = [image["digest"] for image in json.loads(made.stdout)["images"]]
        met = set()
        for position, image in enumerate(images[:8]):
            digest = image["digest"]
            if digest in met or (digest is None and len(copies) != len(images)):
                continue
            met |= {digest} if digest is not None else set()
            copied = digest if digest in copies else copies[position] if digest is None else None
            if copied is None:
                continue
            named = image["tags"][0] if digest is None and image["tags"] else f"@{digest or position}"
            before = f"{place}:{named}"
            same = ask("diff", before, f"{target}:@{copied}")
            if same.code not in {0, 2, *UNREADABLE}:
                findings.append(f"image {position} differs from its copy {name}: exit {same.code}: "
                                f"{(same.stderr or same.stdout).decode()[-300:]}")  # fmt: skip
            ask("ls", before, "--recursive")
            itself = ask("diff", before, before)
            if itself.code == 1:
                findings.append(f"image {position} differs from itself: {itself.stdout.decode()[-300:]}")
    return findings


def _lost(held: StoredImages | None, copied: StoredImages | None, said: str, name: str) -> Iterator[str]:
    """What the copy does not have and the command did not name."""
    if held is None:
        return
    if copied is None:
        yield f"{name}: the copy cannot be read by the standard library"
        return
    for config, layers in held.images.items():
        found = copied.images.get(config)
        if found is None and config not in said and held.manifests.get(config, config) not in said:
            yield f"{name}: the image with the configuration {config} is not in the copy, unsaid"
        elif found is not None and found != layers:
            yield f"{name}: {layers} layers of {config} became {found}"
    bare = {one.rpartition(":")[2] for one in copied.names} | copied.names
    for one in held.names:
        if one.rpartition(":")[2] not in bare and not any(one in found for found in bare) and shown(one) not in said:
            yield f"{name}: the name {one!r} is not in the copy, unsaid"
