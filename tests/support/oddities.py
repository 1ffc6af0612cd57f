"""Image files that are odd but real, as other tools or a hand leave them. `tests/campaign/run oddities` prints a table of what
real tools and ocitool say of each."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import zstandard

from support.images import (
    Image,
    docker_files,
    hybrid_files,
    image,
    index_of,
    layer_tar,
    layout_files,
    pretty,
    sha256,
    write_docker_archive,
    write_files,
    write_layout,
    write_tar,
)

ONE, TWO = (layer_tar([("etc/", None), (f"etc/{name}", name.encode() * 300)]) for name in ("one", "two"))
APP, LIB = image([ONE], tag="example.com/app:1"), image([ONE, TWO], tag="example.com/lib:1")
INDEX = "application/vnd.oci.image.index.v1+json"


class Oddity(NamedTuple):
    """`item`: of which kind. `make`: writes it into a folder and gives its path. `pick`: the name of one sound image in it."""

    item: int
    name: str
    make: Callable[[Path], Path]
    pick: str | None = "example.com/app:1"


def _layout(*images: Image, entries: list[Any] | None = None, blobs: dict[str, bytes] | None = None) -> Callable[[Path], Path]:
    """A layout of images, more index entries and more blobs."""

    def make(folder: Path) -> Path:
        holder = images[0]
        index = index_of([*(one.descriptor for one in images), *(entries or ())])
        path = write_layout(folder / "layout", list(images), index=index)
        for digest, data in (blobs or {}).items():
            write_files(path, {"blobs/" + digest.replace(":", "/"): data})
        assert holder.tag
        return path

    return make


def _entry(media_type: str, data: bytes, **more: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": sha256(data), "size": len(data), **more}


def _named(name: str) -> dict[str, Any]:
    return {"annotations": {"org.opencontainers.image.ref.name": name}}


def _with(media_type: str, data: bytes, **more: Any) -> Callable[[Path], Path]:
    """A layout with one more entry, of which the blob is there."""
    return _layout(APP, entries=[_entry(media_type, data, **more)], blobs={sha256(data): data})


def _index(entries: list[tuple[Image, dict[str, Any]]], absent: tuple[int, ...] = ()) -> Callable[[Path], Path]:
    """A layout of one index of platforms named app:1, some of its manifests not here."""

    def make(folder: Path) -> Path:
        document = index_of([{**one.descriptor, "platform": platform} for one, platform in entries])
        raw = pretty(document)
        held = [one for n, (one, _) in enumerate(entries) if n not in absent]
        path = write_layout(folder / "layout", held, index=index_of([_entry(INDEX, raw, **_named("example.com/app:1"))]))
        return write_files(path, {"blobs/" + sha256(raw).replace(":", "/"): raw})

    return make


def _hybrid(change: Callable[[dict[str, bytes]], None]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        files = hybrid_files([image([ONE], tag=APP.tag, codec="none"), image([ONE, TWO], tag=LIB.tag, codec="none")])
        change(files)
        return write_tar(folder / "hybrid.tar", files)

    return make


def _forget_in_index(files: dict[str, bytes]) -> None:
    index = json.loads(files["index.json"])
    index["manifests"] = index["manifests"][:1]
    files["index.json"] = pretty(index)


def _null_layers(files: dict[str, bytes]) -> None:
    index = json.loads(files["index.json"])
    entry = index["manifests"][0]
    manifest = json.loads(files.pop("blobs/" + entry["digest"].replace(":", "/")))
    raw = pretty({**manifest, "layers": None})
    entry.update(digest=sha256(raw), size=len(raw))
    files["blobs/" + sha256(raw).replace(":", "/")] = raw
    files["index.json"] = pretty(index)


def _replaced(name: str, change: Callable[[Any], Any]) -> Callable[[dict[str, bytes]], None]:
    """A change of the JSON document `name`, or of its bytes if `change` gives bytes."""

    def replace(files: dict[str, bytes]) -> None:
        found = change(json.loads(files[name]))
        files[name] = found if isinstance(found, bytes) else pretty(found)

    return replace


def _damaged_index(folder: Path) -> Path:
    files = hybrid_files([image([ONE], tag=APP.tag, codec="none")])
    return write_files(folder / "extracted", files | {"index.json": b"{"})


def _v1_beside(files: dict[str, bytes]) -> None:
    """Images in the first format beside the other two, of one a parent is missing."""
    files["repositories"] = pretty({"old": {"v1": "b" * 64, "v2": "c" * 64}})
    for top, more in (("b" * 64, {"parent": "d" * 64}), ("c" * 64, {})):
        files[f"{top}/json"] = pretty({"id": top, "os": "linux", "architecture": "amd64", **more})
        files[f"{top}/layer.tar"] = TWO


def _fewer(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], Path]:
    """A layout of an image whose manifest names fewer layers than its configuration states."""

    def make(folder: Path) -> Path:
        one = image([ONE, TWO], tag="example.com/app:1")
        change(one.manifest)
        return write_layout(folder / "layout", [one])

    return make


def _nested(depth: int) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        entry, blobs = {**C.descriptor, "platform": ARM64}, dict(C.blobs)
        for level in range(depth):
            raw = pretty(index_of([entry, *ODD_ENTRIES]))
            blobs[sha256(raw)] = raw
            entry = _entry(INDEX, raw, **(_named("example.com/deep:1") if level == depth - 1 else {}))
        return _layout(APP, entries=[entry], blobs=blobs)(folder)

    return make


def _linked_blobs(folder: Path) -> Path:
    path = write_layout(folder / "layout", [APP, LIB])
    (path / "blobs").rename(folder / "elsewhere")
    (path / "blobs").symlink_to(folder / "elsewhere")
    return path


def _linked_to_itself(folder: Path) -> Path:
    path = write_layout(folder / "layout", [APP, LIB])
    blob = path / "blobs" / LIB.digest.replace(":", "/")
    blob.unlink()
    blob.symlink_to(blob.name)
    return path


def _members(prefix: str, times: int = 1) -> Callable[[Path], Path]:
    """A layout packed with names that begin so, some times one after the other."""

    def make(folder: Path) -> Path:
        files = layout_files([APP], index=index_of([APP.descriptor]))
        with tarfile.open(folder / "app.tar", "w") as packed:
            for name, data in [*files.items()] * times:
                member = tarfile.TarInfo(prefix + name)
                member.size = len(data)
                packed.addfile(member, io.BytesIO(data))
        return folder / "app.tar"

    return make


def _twins(folder: Path) -> Path:
    return write_layout(folder / "layout", [image([tar], tag="example.com/app:1", platform=AMD64) for tar in (ONE, TWO)])


def _damaged(folder: Path) -> Path:
    path = write_layout(folder / "layout", [APP, LIB])
    (path / "blobs" / LIB.digest.replace(":", "/")).write_bytes(b"x" * len(LIB.raw))
    return path


def _of_layer_type(media_type: str, data: bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        odd = image([ONE], tag="example.com/app:1")
        odd.layers.append(data)
        odd.manifest["layers"].append({"mediaType": media_type, "digest": sha256(data), "size": len(data)})
        config = json.loads(odd.config)
        config["rootfs"]["diff_ids"].append(sha256(b"unpacked" + data))
        odd.config = pretty(config)
        odd.manifest["config"].update(digest=sha256(odd.config), size=len(odd.config))
        return write_layout(folder / "layout", [odd])

    return make


def _archive(folder: Path, name: str = "app.tar", tag: str | None = "example.com/app:1") -> Path:
    return write_docker_archive(folder / name, [image([ONE, TWO], tag=tag, codec="none")])


def _behind(more: Callable[[Path], bytes]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = _archive(folder)
        path.write_bytes(path.read_bytes() + more(folder))
        return path

    return make


def _second(folder: Path) -> bytes:
    return write_docker_archive(folder / "second.tar", [image([TWO], tag="example.com/lib:1", codec="none")]).read_bytes()


def _many_names(entries: int) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        index = index_of([{**APP.descriptor, **_named(f"t{n}")} for n in range(entries)])
        return write_layout(folder / "layout", [APP], index=index)

    return make


def _repacked(*how: str) -> Callable[[Path], Path]:
    """A `docker save` archive unpacked and packed again with GNU tar."""

    def make(folder: Path) -> Path:
        sparse = layer_tar([("big", b"\0" * 3_000_000 + b"end")])
        source = docker_files([image([sparse], tag="example.com/app:1", codec="none")])
        write_files(folder / "files", source)
        subprocess.run(["cp", "-r", "--sparse=always", folder / "files", folder / "holes"], check=True)
        words = [word.replace("SNAPSHOT", str(folder / "snapshot")) for word in how]
        subprocess.run(["tar", *words, "-cf", folder / "app.tar", "-C", folder / "holes", *sorted(source)], check=True)
        return folder / "app.tar"

    return make


def _parent(folder: Path) -> Path:
    write_layout(folder / "parent" / "layout", [APP])
    with tarfile.open(folder / "parent.tar.gz", "w:gz") as archive:
        archive.add(folder / "parent" / "layout", "layout")
    return folder / "parent.tar.gz"


def _dir(folder: Path) -> Path:
    """What skopeo writes for `dir:`."""
    files = {"version": b"Directory Transport Version: 1.1\n", "manifest.json": APP.raw}
    return write_files(folder / "dir", files | {digest[7:]: data for digest, data in APP.blobs.items() if digest != APP.digest})


def _extracted(folder: Path) -> Path:
    return write_files(folder / "extracted", docker_files([image([ONE, TWO], tag="example.com/app:1", codec="none")]))


def _wrapped(packed: Callable[[bytes], bytes], name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / name
        path.write_bytes(packed(_archive(folder, "plain.tar").read_bytes()))
        return path

    return make


def _lz4(data: bytes) -> bytes:
    return (
        subprocess.run(["lz4", "-c"], input=data, capture_output=True, check=True).stdout
        if shutil.which("lz4")
        else (b"\x04\x22\x4d\x18" + data)
    )


def _exported(folder: Path) -> Path:
    (folder / "export.tar").write_bytes(layer_tar([("bin/", None), ("bin/sh", b"#!"), ("etc/", None), ("etc/passwd", b"root")]))
    return folder / "export.tar"


def _no_image(folder: Path) -> Path:
    return write_tar(folder / "none.tar", layout_files([], index=index_of([])))


SCHEMA1 = pretty({"schemaVersion": 1, "name": "old", "tag": "1", "architecture": "amd64", "fsLayers": [], "history": []})
ARTIFACT = pretty({"mediaType": "application/vnd.oci.artifact.manifest.v1+json", "artifactType": "x/y", "blobs": []})
CACHE = pretty({"schemaVersion": 2, "mediaType": INDEX, "manifests": [
    {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": sha256(ONE), "size": len(ONE)},
    {"mediaType": "application/vnd.buildkit.cacheconfig.v0", "digest": sha256(b"{}"), "size": 2}]})  # fmt: skip
WINDOWS = {"os": "windows", "architecture": "amd64"}
AMD64 = {"os": "linux", "architecture": "amd64"}
ARM64 = {"os": "linux", "architecture": "arm64"}
A, B = (image([tar], architecture="amd64") for tar in (ONE, TWO))
C = image([ONE, TWO], architecture="arm64")
ODD_ENTRIES: list[Any] = [3, None, {"digest": "sha256:zz"}, {"mediaType": "application/xml", "digest": sha256(b"q"), "size": 1}]
ODD_PLATFORM: dict[str, Any] = {"os": 5, "architecture": None, "variant": [], "os.features": "x", "os.version": {}}
SHA512 = "sha512:" + hashlib.sha512(LIB.raw).hexdigest()

ODDITIES = (
    Oddity(1, "hybrid: index.json lacks an image", _hybrid(_forget_in_index), "example.com/lib:1"),
    Oddity(1, 'hybrid: `"layers": null`', _hybrid(_null_layers)),
    Oddity(1, "hybrid: index.json with a byte order mark", _hybrid(_replaced(
        "index.json", lambda index: b"\xef\xbb\xbf" + pretty(index)))),
    Oddity(1, "hybrid: bytes behind manifest.json", _hybrid(_replaced("manifest.json", lambda listed: pretty(listed) + b"}"))),
    Oddity(1, "hybrid: names that are empty or numbers", _hybrid(_replaced(
        "manifest.json", lambda listed: [{**listed[0], "RepoTags": ["", 5]}, listed[1]]))),
    Oddity(1, "hybrid: manifest.json with fewer layers", _hybrid(_replaced(
        "manifest.json", lambda listed: [listed[0], {**listed[1], "Layers": listed[1]["Layers"][:1]}]))),
    Oddity(1, "hybrid: a configuration outside", _hybrid(_replaced(
        "manifest.json", lambda listed: [{**listed[0], "Config": "../../etc/passwd"}, listed[1]])), None),
    Oddity(1, "hybrid: repositories beside, a parent missing", _hybrid(_v1_beside)),
    Oddity(1, "hybrid extracted, index.json damaged", _damaged_index),
    Oddity(1, "a layout, `\"layers\": null`", _fewer(lambda manifest: manifest.update(layers=None))),
    Oddity(1, "a layout, fewer layers than diff_ids", _fewer(lambda manifest: manifest["layers"].pop())),
    Oddity(2, "three levels of indexes with odd entries", _nested(3)),
    Oddity(2, "an entry twice, of other sizes", _layout(APP, entries=[{**APP.descriptor, "size": 3}])),
    Oddity(2, "an entry of another kind than its document", _layout(
        APP, LIB, entries=[{**LIB.descriptor, "mediaType": INDEX}])),
    Oddity(2, "a manifest by sha512", _layout(
        APP, LIB, entries=[{**LIB.descriptor, "digest": SHA512}], blobs={SHA512: LIB.raw})),
    Oddity(2, "annotations and a platform of odd types", _layout(APP, LIB, entries=[
        {**LIB.descriptor, "annotations": ["a"], "platform": "linux/amd64"},
        {**LIB.descriptor, "annotations": {"org.opencontainers.image.ref.name": 5}, "platform": ODD_PLATFORM}])),
    Oddity(2, "blobs is a link", _linked_blobs),
    Oddity(2, "a manifest is a link to itself", _linked_to_itself),
    Oddity(2, "entry of an unknown media type", _with("application/xml", b"<a/>")),
    Oddity(2, "schema 1 beside", _with("application/vnd.docker.distribution.manifest.v1+json", SCHEMA1)),
    Oddity(2, "artifact manifest beside", _with("application/vnd.oci.artifact.manifest.v1+json", ARTIFACT)),
    Oddity(2, "BuildKit cache index beside", _layout(APP, entries=[_entry(INDEX, CACHE)], blobs={
        sha256(CACHE): CACHE, sha256(ONE): ONE, sha256(b"{}"): b"{}"})),
    Oddity(2, "empty nested index beside", _with(INDEX, pretty(index_of([])))),
    Oddity(2, "damaged manifest beside", _damaged),
    Oddity(2, "missing manifest beside", _layout(APP, entries=[LIB.descriptor])),
    Oddity(2, "bad descriptor beside", _layout(APP, entries=[{"mediaType": INDEX, "digest": "sha256:zz", "size": -1}])),
    Oddity(3, "two windows/amd64, by os.version", _index([
        (A, {**WINDOWS, "os.version": "10.0.17763.1"}), (B, {**WINDOWS, "os.version": "10.0.20348.1"})])),
    Oddity(3, "a twin that needs os.features", _index([(A, {**AMD64, "os.features": ["erofs"]}), (B, AMD64)])),
    Oddity(3, "two manifests of one platform, one tag", _twins),
    Oddity(4, "one of three platforms present", _index([(A, AMD64), (C, ARM64), (B, {"os": "linux", "architecture": "s390x"})],
                                                       (0, 2))),
    Oddity(5, "encrypted layer", _of_layer_type("application/vnd.oci.image.layer.v1.tar+gzip+encrypted", b"\x93cipher" * 90)),
    Oddity(5, "nydus bootstrap layer", _of_layer_type("application/vnd.oci.image.layer.nydus.blob.v1", b"nydus" * 90)),
    Oddity(6, "two archives, one behind the other", _behind(_second)),
    Oddity(6, "bytes behind the end", _behind(lambda folder: b"surplus" * 100)),
    Oddity(6, "an archive without an image", _no_image, None),
    Oddity(6, "a name that docker refuses", lambda folder: _archive(folder, tag="Example.com/App:1"), None),
    Oddity(6, "a manifest without layers", _layout(image([], tag="example.com/app:1"))),
    Oddity(7, "10,001 entries", _many_names(10_001), "t7"),
    Oddity(8, "repacked with tar -S", _repacked("-S")),
    Oddity(8, "repacked with tar -S --format=posix", _repacked("-S", "--format=posix")),
    Oddity(8, "repacked with tar -g", _repacked("-g", "SNAPSHOT")),
    Oddity(8, "tar -czf of a layout's parent", _parent),
    Oddity(8, "dir: of skopeo", _dir, None),
    Oddity(8, "an extracted docker save", _extracted),
    Oddity(8, "gzip in gzip", _wrapped(lambda data: gzip.compress(gzip.compress(data)), "app.tar.gz")),
    Oddity(8, "zstd in gzip", _wrapped(lambda data: gzip.compress(zstandard.compress(data)), "app.tar.gz")),
    Oddity(8, "gzip in gzip in gzip", _wrapped(
        lambda data: gzip.compress(gzip.compress(gzip.compress(data))), "app.tar.gz"), None),
    Oddity(8, "lz4", _wrapped(_lz4, "app.tar.lz4")),
    Oddity(8, "absolute names of members", _members("/")),
    Oddity(8, "every member twice", _members("./", 2)),
    Oddity(8, "three directories deep", _members("a/b/c/")),
    Oddity(8, "docker export", _exported, None),
)  # fmt: skip
