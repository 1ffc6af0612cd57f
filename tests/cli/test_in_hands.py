"""What people have in hands: repacked archives, directories of other tools, and what is no image but looks like one."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard
from support.images import (
    Image,
    docker_files,
    hybrid_files,
    image,
    layer_tar,
    layout_files,
    pretty,
    sha256,
    write_docker_archive,
    write_files,
    write_layout,
    write_oci_archive,
    write_tar,
)
from support.registry_command import Run

HOLES = layer_tar([("etc/", None), ("etc/motd", b"hello\n"), ("zeros", bytes(600_000)), ("end", b"x" * 900)])
UPPER = layer_tar([("srv/", None), ("srv/app", b"app\n")])
DOCKER = image([HOLES, UPPER], tag="app:1", codec="none")
OCI = image([HOLES, UPPER], tag="app")
SHAPES: dict[str, tuple[Image, Callable[[list[Image]], dict[str, bytes]]]] = {
    "docker": (DOCKER, docker_files), "hybrid": (DOCKER, hybrid_files), "oci": (OCI, layout_files),
}  # fmt: skip


def facts(ocitool: Run, path: Path | str) -> Any:
    """Of its image: configuration, and the files that it holds."""
    shown = ocitool("inspect", "--format", "json", path)
    listed = ocitool("ls", "-lR", "--no-cache", path)
    assert (0, 0) == (shown.code, listed.code), f"{shown}{listed}"
    (one,) = shown.json()["images"]
    return one["imageId"], [layer["size"] for layer in one["layers"]], listed.out


def unpacked(path: Path, shape: str) -> Path:
    """The files of an archive in a directory, those with zeros in them with holes."""
    made, files = SHAPES[shape]
    for name, data in files([made]).items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        with open(path / name, "wb") as file:
            for at in range(0, len(data), 4096):
                if data[at : at + 4096].strip(b"\0"):
                    os.pwrite(file.fileno(), data[at : at + 4096], at)
            file.truncate(len(data))
    return path


TAR = {
    "gnu": ["--format=gnu", "-S"],
    "0.0": ["--format=posix", "-S", "--sparse-version=0.0"],
    "0.1": ["--format=posix", "-S", "--sparse-version=0.1"],
    "1.0": ["--format=posix", "-S", "--sparse-version=1.0"],
    "incremental": ["--format=gnu", "-g", "snapshot"],
    "incremental pax": ["--format=posix", "-g", "snapshot"],
    "incremental sparse": ["--format=gnu", "-S", "-g", "snapshot"],
}


@pytest.mark.parametrize("how", ["file", "gzip", "pipe"])
@pytest.mark.parametrize("shape", ["docker", "oci"])
@pytest.mark.parametrize("kind", TAR)
def test_an_archive_that_tar_made_sparse_or_incremental_is_the_image_it_was(
    kind: str, shape: str, how: str, ocitool: Run, need: Callable[..., str], tmp_path: Path
) -> None:
    need("tar")
    source = unpacked(tmp_path / "x", shape)
    archive = tmp_path / "a.tar"
    subprocess.run(["tar", *TAR[kind], "-cf", archive, "-C", source, "."], check=True, cwd=tmp_path)
    plain = write_tar(tmp_path / "plain.tar", SHAPES[shape][1]([SHAPES[shape][0]]))
    assert how != "file" or "incremental" in kind or archive.stat().st_size < plain.stat().st_size or shape == "oci"
    if how == "gzip":
        archive.write_bytes(gzip.compress(archive.read_bytes(), 1))
    if how == "pipe":
        found = ocitool("ls", "-lR", "-", stdin=archive.read_bytes())
        assert facts(ocitool, plain)[2] == found.out, str(found)
    else:
        assert facts(ocitool, plain) == facts(ocitool, archive)
        assert 0 == ocitool("copy", archive, f"{tmp_path}/out/").code
        assert 0 == ocitool("validate", tmp_path / "out").code


def test_a_sparse_member_that_stands_for_terabytes_is_beyond_the_limits(ocitool: Run, tmp_path: Path) -> None:
    with open(tmp_path / "layer.tar", "wb") as file:
        file.truncate(1 << 40)
    (tmp_path / "manifest.json").write_bytes(pretty([{"Config": "c", "Layers": ["layer.tar"]}]))
    (tmp_path / "c").write_bytes(DOCKER.config)
    subprocess.run(["tar", "-cSf", "a.tar", "c", "manifest.json", "layer.tar"], cwd=tmp_path, check=True)
    assert 7 == (result := ocitool("inspect", tmp_path / "a.tar")).code, str(result)


# Directories


@pytest.mark.parametrize("deep", ["x", "srv/images/x"])
@pytest.mark.parametrize("shape", SHAPES)
def test_an_archive_of_the_directory_of_an_image_is_the_image(shape: str, deep: str, ocitool: Run, tmp_path: Path) -> None:
    made, files = SHAPES[shape]
    found = {f"{deep}/{name}": data for name, data in files([made]).items()}
    plain = write_tar(tmp_path / "plain.tar", files([made]))
    packed = write_tar(tmp_path / "a.tgz", {"other": b"", **found})
    packed.write_bytes(gzip.compress(packed.read_bytes(), 1))
    assert facts(ocitool, plain) == facts(ocitool, packed)
    notices = ocitool("inspect", "--format", "json", packed).json()["notices"]
    assert [f"the image stands in the directory {deep} of {packed}"] == [notice["text"] for notice in notices]


def test_links_in_the_archive_of_a_directory_stay_links(ocitool: Run, tmp_path: Path) -> None:
    files = docker_files([DOCKER])
    names = [name for name in files if name.endswith("layer.tar")]
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, data in {**files, "blob": files[names[0]]}.items():
            info = tarfile.TarInfo(f"x/{name}")
            if name == names[0]:
                info.type, info.linkname = tarfile.SYMTYPE, "../blob"
                tar.addfile(info)
            else:
                info.size = len(data)
                tar.addfile(info, __import__("io").BytesIO(data))
    assert facts(ocitool, write_docker_archive(tmp_path / "b.tar", [DOCKER])) == facts(ocitool, tmp_path / "a.tar")


def test_of_several_images_in_directories_of_an_archive_none_is_taken_and_all_are_named(ocitool: Run, tmp_path: Path) -> None:
    files = {f"{top}/{name}": data for top in ("one", "two") for name, data in layout_files([OCI]).items()}
    result = ocitool("inspect", write_tar(tmp_path / "a.tar", files))
    assert (4, True) == (result.code, "one, two" in result.err and "tar -xf" in result.err), str(result)


def dir_files(made: Image) -> dict[str, bytes]:
    """As skopeo writes `dir:`."""
    blobs = {digest.partition(":")[2]: data for digest, data in made.blobs.items() if digest != made.digest}
    return {**blobs, "manifest.json": made.raw, "version": b"Directory Transport Version: 1.1\n"}


@pytest.mark.parametrize("prefix", ["", "dir:"])
def test_a_directory_of_skopeos_is_an_image_by_its_transport_and_by_its_content(
    prefix: str, ocitool: Run, tmp_path: Path
) -> None:
    made = write_files(tmp_path / "d", dir_files(OCI))
    layout = write_layout(tmp_path / "l", [OCI])
    assert facts(ocitool, layout) == facts(ocitool, f"{prefix}{made}")
    shown = ocitool("inspect", "--format", "json", f"{prefix}{made}").json()
    assert ("dir", OCI.digest) == (shown["transport"], shown["images"][0]["digest"])
    assert 0 == ocitool("validate", f"{prefix}{made}").code
    assert 0 == ocitool("copy", f"{prefix}{made}", f"oci:{tmp_path}/out:app").code
    assert OCI.digest in ocitool("inspect", f"oci:{tmp_path}/out:app").out


def test_a_directory_of_skopeos_with_an_index_has_its_platforms(ocitool: Run, tmp_path: Path) -> None:
    amd, arm = (image([UPPER], platform={"os": "linux", "architecture": a}, architecture=a) for a in ("amd64", "arm64"))
    index = pretty({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
                    "manifests": [amd.descriptor, arm.descriptor]})  # fmt: skip
    files = {**dir_files(amd), **dir_files(arm), "manifest.json": index}
    files |= {f"{one.digest[7:]}.manifest.json": one.raw for one in (amd, arm)}
    found = ocitool("inspect", "--all-platforms", "--format", "json", write_files(tmp_path / "d", files)).json()
    assert [amd.digest, arm.digest] == [one["digest"] for one in found["images"]]
    assert sha256(index) == found["index"]["digest"]


def test_what_skopeo_really_writes_is_read(ocitool: Run, need: Callable[..., str], testdata: Path, tmp_path: Path) -> None:
    source = testdata / "app-v1.tar"
    skopeo = [need("skopeo"), "--insecure-policy", "copy", "-q"]
    subprocess.run([*skopeo, f"docker-archive:{source}", f"dir:{tmp_path}/d"], check=True)
    assert ocitool("ls", "-lR", source).out == ocitool("ls", "-lR", tmp_path / "d").out
    subprocess.run([*skopeo, f"dir:{tmp_path}/d", f"oci:{tmp_path}/o:x"], check=True)
    digests = [ocitool("inspect", "--digest", where).out for where in (f"dir:{tmp_path}/d", f"oci:{tmp_path}/o:x")]
    assert ocitool("validate", tmp_path / "d").code == 0 and all(digests)


def test_dir_is_not_written(ocitool: Run, tmp_path: Path) -> None:
    result = ocitool("copy", write_layout(tmp_path / "l", [OCI]), f"dir:{tmp_path}/d")
    assert (2, True) == (result.code, "dir: can be read, and not written" in result.err), str(result)


@pytest.mark.parametrize("link", [None, "symlink", "hardlink"])
def test_an_extracted_docker_save_is_an_image(link: str | None, ocitool: Run, tmp_path: Path) -> None:
    plain = write_docker_archive(tmp_path / "a.tar", [DOCKER])
    files = docker_files([DOCKER])
    place = write_files(tmp_path / "x", files)
    first = next(place / name for name in files if name.endswith("layer.tar"))
    if link:
        (place / "blob").write_bytes(first.read_bytes())
        first.unlink()
        if link == "symlink":
            first.symlink_to("../blob")
        else:
            os.link(place / "blob", first)
    assert facts(ocitool, plain) == facts(ocitool, place)
    assert 0 == ocitool("validate", place).code
    assert 0 == ocitool("copy", place, f"{tmp_path}/out/").code


def test_an_extracted_docker_save_of_the_first_format_is_an_image(ocitool: Run, testdata: Path, tmp_path: Path) -> None:
    source = testdata / "encodings" / "docker-1.tar"
    with tarfile.open(source) as tar:
        tar.extractall(tmp_path / "x", filter="data")
    assert facts(ocitool, source) == facts(ocitool, tmp_path / "x")


@pytest.mark.parametrize("where", ["absolute", "relative", "through a directory", "in manifest.json"])
def test_nothing_outside_of_an_extracted_archive_is_read(where: str, ocitool: Run, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(UPPER)
    files = docker_files([DOCKER])
    place = write_files(tmp_path / "x", files)
    name = [name for name in files if name.endswith("layer.tar")][1]
    (place / name).unlink()
    if where == "absolute":
        (place / name).symlink_to(tmp_path / "secret")
    elif where == "relative":
        (place / name).symlink_to("../../secret")
    elif where == "through a directory":
        (place / name).parent.rmdir()
        (tmp_path / "layer.tar").write_bytes(UPPER)
        (place / name).parent.symlink_to("..")
    else:
        (place / "manifest.json").write_bytes(files["manifest.json"].replace(name.encode(), b"../secret"))
    result = ocitool("ls", "-R", place)
    assert (3, "") == (result.code, result.out), str(result)


def test_a_fifo_in_an_extracted_archive_is_refused_without_waiting(ocitool: Run, tmp_path: Path) -> None:
    place = write_files(tmp_path / "x", docker_files([DOCKER]))
    name = next(name for name in docker_files([DOCKER]) if name.endswith("layer.tar"))
    (place / name).unlink()
    os.mkfifo(place / name)
    assert 4 == ocitool("inspect", place).code


# What is no image


def lz4(data: bytes) -> bytes:
    return b"\x04\x22\x4d\x18" + data[:100]


SYSTEM = [(name, None) for name in ("bin/", "dev/", "etc/", "usr/", "var/")]
FILES: dict[str, tuple[bytes, str, str]] = {
    # content, what it is said to be, a word of the hint
    "empty": (b"", "the file is empty", ""),
    "lz4": (lz4(UPPER), "an lz4 file", "lz4 -d"),
    "lzip": (b"LZIP\1" + bytes(99), "an lzip file", "lzip -d"),
    "7z": (b"7z\xbc\xaf\x27\x1c" + bytes(99), "a 7z archive", "7z x"),
    "zip": (b"PK\3\4" + bytes(99), "a zip archive", "unzip"),
    "rar": (b"Rar!\x1a\x07\1\0" + bytes(99), "a rar archive", "unrar x"),
    "squashfs": (b"hsqs" + bytes(999), "a squashfs file system", "unsquashfs"),
    "qcow2": (b"QFI\xfb\0\0\0\3" + bytes(999), "a qcow2 disk image", ""),
    "iso": (bytes(32768) + b"\1CD001\1" + bytes(999), "an ISO image", ""),
    "elf": (b"\x7fELF" + bytes(999), "a program", ""),
    "gzip thrice": (gzip.compress(gzip.compress(gzip.compress(UPPER))), "more than twice (gzip in gzip in gzip)", "gzip -dc"),
    "gzip in xz in bzip2": (bz2.compress(lzma.compress(gzip.compress(UPPER))), "(gzip in xz in bzip2)", "bzip2 -dc"),
    "lz4 in gzip": (gzip.compress(lz4(UPPER)), "an lz4 file", ""),
    "export": (layer_tar([*SYSTEM, ("etc/passwd", b"")]), "a root file system", "docker import"),
    "layer": (layer_tar([("etc/", None), ("etc/.wh.motd", b"")]), "a layer", "append"),
    "archive in a tar": (layer_tar([("app.tar", DOCKER.layers[0])]), "it holds app.tar", "tar -xf"),
    "json": (pretty(DOCKER.manifest), "a JSON document", "validate --as manifest"),
    "tar of something": (layer_tar([("README", b"x")]), "neither index.json nor manifest.json", "append"),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_file_that_is_no_image_is_called_what_it_is(kind: str, ocitool: Run, tmp_path: Path) -> None:
    data, what, hint = FILES[kind]
    path = tmp_path / "it"
    path.write_bytes(data)
    result = ocitool("inspect", path)
    assert (4, True, True) == (result.code, what in result.err, hint in result.err), str(result)
    assert not [word for word in ("checksum", "damaged", "Traceback") if word in result.err]


TWICE: dict[str, Callable[[bytes], bytes]] = {
    "gzip in gzip": lambda data: gzip.compress(gzip.compress(data)),
    "zstd in gzip": lambda data: gzip.compress(zstandard.compress(data)),
    "gzip in zstd": lambda data: zstandard.compress(gzip.compress(data)),
    "xz in gzip": lambda data: gzip.compress(lzma.compress(data)),
    "gzip in bzip2": lambda data: bz2.compress(gzip.compress(data)),
}


@pytest.mark.parametrize("how", TWICE)
def test_what_is_compressed_twice_is_read_and_that_is_said(how: str, ocitool: Run, tmp_path: Path) -> None:
    path = write_docker_archive(tmp_path / "a.tar", [DOCKER])
    (tmp_path / "it").write_bytes(TWICE[how](path.read_bytes()))
    for result in (ocitool("ls", "-R", tmp_path / "it"), ocitool("ls", "-R", "-", stdin=(tmp_path / "it").read_bytes())):
        assert (0, ocitool("ls", "-R", path).out) == (result.code, result.out), str(result)
        assert f"is compressed twice ({how})" in result.err


def test_the_ratio_of_what_is_compressed_twice_counts_as_a_whole(
    ocitool: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = gzip.compress(layer_tar([("zeros", bytes(12 << 20))]))
    (tmp_path / "once").write_bytes(data)
    (tmp_path / "twice").write_bytes(gzip.compress(data))
    monkeypatch.setattr("ocitool.limits.RATIO_FREE", 1 << 20)
    monkeypatch.setenv("OCITOOL_MAX_RATIO", "1500")  # each step alone is below it
    assert 4 == ocitool("inspect", tmp_path / "once").code
    assert 7 == ocitool("inspect", tmp_path / "twice").code


def test_the_hint_for_what_is_compressed_too_often_works(ocitool: Run, tmp_path: Path) -> None:
    path = write_docker_archive(tmp_path / "a.tar", [DOCKER])
    (tmp_path / "it").write_bytes(gzip.compress(gzip.compress(gzip.compress(path.read_bytes()))))
    hint = ocitool("ls", tmp_path / "it").err.partition("hint: ")[2].partition(" | ocitool")[0]
    piped = subprocess.run(hint, shell=True, capture_output=True, check=True).stdout
    assert ocitool("ls", "-R", path).out == ocitool("ls", "-R", "-", stdin=piped).out


def test_an_index_and_a_blob_of_a_layout_lead_to_the_layout(ocitool: Run, tmp_path: Path) -> None:
    layout = write_layout(tmp_path / "l", [OCI])
    result = ocitool("inspect", layout / "index.json")
    assert (4, True) == (result.code, f"the layout is {layout}" in result.err), str(result)
    result = ocitool("inspect", layout / "blobs" / OCI.digest.replace(":", "/"))
    hint = f"{layout}:@{OCI.digest}"
    assert (4, True, 0) == (result.code, hint in result.err, ocitool("inspect", hint).code), str(result)
    for below in ("blobs", "blobs/sha256"):
        result = ocitool("inspect", layout / below)
        assert (4, True) == (result.code, f"the layout is {layout}" in result.err), str(result)


def test_a_directory_that_is_no_image_is_called_what_it_is(ocitool: Run, tmp_path: Path) -> None:
    system, empty, store = tmp_path / "system", tmp_path / "empty", tmp_path / "store"
    for name in ("bin", "etc", "usr"):
        (system / name).mkdir(parents=True)
    empty.mkdir()
    store.mkdir()
    write_docker_archive(store / "a.tar", [DOCKER])
    for place, what, hint in (
        (system, "an unpacked root file system", "docker import"), (empty, "the directory is empty", ""),
        (store, "the directory has no index.json", str(store / "a.tar")),
    ):  # fmt: skip
        result = ocitool("inspect", place)
        assert (4, True, True) == (result.code, what in result.err, hint in result.err), str(result)
    assert 0 == ocitool("unpack", store / "a.tar", tmp_path / "u").code
    result = ocitool("inspect", tmp_path / "u")
    assert (4, True) == (result.code, f"ocitool repack {tmp_path / 'u'} DEST" in result.err), str(result)
    assert 0 == (done := ocitool("repack", tmp_path / "u", tmp_path / "again.tar")).code, str(done)


def test_a_directory_that_may_not_be_entered_is_8_and_says_so(ocitool: Run, tmp_path: Path, monkeypatch: Any) -> None:
    layout = write_layout(tmp_path / "l", [OCI])
    lstat, stat = os.lstat, os.stat

    def closed(real: Callable[..., Any]) -> Callable[..., Any]:
        def look(path: Any, *more: Any, **how: Any) -> Any:
            if isinstance(path, str) and path.startswith(f"{layout}/"):
                raise PermissionError(13, "Permission denied", path)
            return real(path, *more, **how)

        return look

    monkeypatch.setattr("os.lstat", closed(lstat))
    monkeypatch.setattr("os.stat", closed(stat))
    for path in (layout, layout / "index.json"):
        result = ocitool("inspect", path)
        assert (8, True) == (result.code, "Permission denied" in result.err), str(result)


@pytest.mark.parametrize("long", [28, 31])
def test_a_zstd_window_beyond_the_limit_is_7(long: int, ocitool: Run, need: Callable[..., str], tmp_path: Path) -> None:
    zstd = shutil.which("zstd") or need("zstd")
    path = write_oci_archive(tmp_path / "a.tar", [OCI])
    packed = subprocess.run([zstd, "-qc", f"--long={long}"], input=path.read_bytes(), capture_output=True, check=True).stdout
    (tmp_path / "a.tar.zst").write_bytes(packed)
    result = ocitool("inspect", tmp_path / "a.tar.zst")
    assert (7, True) == (result.code, "a zstd frame with a window of" in result.err), str(result)
    made = image([UPPER], codec="zstd")
    made.layers[0] = packed
    made.manifest["layers"][0] |= {"digest": sha256(packed), "size": len(packed)}
    assert 7 == ocitool("ls", write_layout(tmp_path / "l", [made])).code
