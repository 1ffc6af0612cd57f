"""The cache saves work and never changes an answer: each command says the same whatever the cache holds."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from support.images import config_of, image, layer_tar, sha256, write_docker_archive, write_layout
from support.registry_command import Run

from ocitool.blob import FileBlob
from ocitool.layers.codecs import SNIFF

LOWER = layer_tar([("etc/", None), ("etc/motd", b"hello\n" * 40), ("bin/", None), ("bin/sh", b"#!" * 700)])
UPPER = layer_tar([("etc/", None), ("etc/.wh.motd", b""), ("srv/", None), ("srv/app", bytes(range(256)) * 40)])
OTHER = layer_tar([("etc/", None), ("etc/motd", b"other\n")])
TARS = [LOWER, UPPER]


def flipped(path: Path, place: float = 0.7) -> None:
    """One byte of the file becomes another."""
    data = bytearray(path.read_bytes())
    data[int(len(data) * place)] ^= 0x55
    path.write_bytes(bytes(data))


def blob(layout: Path, data: bytes) -> Path:
    return layout / "blobs" / sha256(data).replace(":", "/")


def sound(path: Path, codec: str) -> Path:
    return write_layout(path, [image(TARS, tag="app", codec=codec)])


def lying(path: Path, codec: str) -> Path:
    """Its configuration states another diff_id than the upper layer has."""
    return write_layout(path, [image(TARS, tag="app", codec=codec, config=config_of([LOWER, OTHER]))])


def mislabelled(path: Path, codec: str) -> Path:
    made = image(TARS, tag="app", codec=codec)
    made.manifest["layers"][1]["mediaType"] = "application/vnd.oci.image.layer.v1.tar+zstd"
    return write_layout(path, [made])


COMMANDS: dict[str, Callable[[Path, Path], list[str | Path]]] = {
    "ls": lambda it, _: ["ls", "-lR", it],
    "ls of a layer": lambda it, _: ["ls", "-R", "--layer", "1", "--format", "json", it],
    "cat": lambda it, _: ["cat", it, "/srv/app"],
    "inspect": lambda it, _: ["inspect", "--files", "--format", "json", it],
    "diff": lambda it, other: ["diff", "--format", "json", it, other],
    "dedupe": lambda it, other: ["dedupe", "--files", "--format", "json", it, other],
    "squash": lambda it, _: ["squash", it, "OUT", "--format", "json"],
}


def answers(ocitool: Run, words: list[str | Path], tmp_path: Path, *more: str, **env: str) -> tuple[int, bytes]:
    out = tmp_path / "out.tar"
    out.unlink(missing_ok=True)
    result = ocitool(*[out if word == "OUT" else word for word in words], *more, env=env)
    return result.code, result.stdout


@pytest.mark.parametrize("codec", ["none", "gzip"])
@pytest.mark.parametrize("make", [sound, lying, mislabelled])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_warm_a_disabled_and_a_refused_cache_give_the_answer_of_a_cold_one(
    command: str, make: Callable[[Path, str], Path], codec: str, ocitool: Run, tmp_path: Path
) -> None:
    one, other = make(tmp_path / "one", codec), write_layout(tmp_path / "two", [image([LOWER, OTHER], tag="app", codec=codec)])
    words = COMMANDS[command](one, other)
    cold = answers(ocitool, words, tmp_path, "--no-cache")
    refused = tmp_path / "open"
    refused.mkdir()
    refused.chmod(0o777)
    assert [cold] * 4 == [
        answers(ocitool, words, tmp_path),
        answers(ocitool, ["dedupe", "--files", one], tmp_path) and answers(ocitool, words, tmp_path),  # all is known now
        answers(ocitool, words, tmp_path, OCITOOL_CACHE_DIR=str(refused)),
        answers(ocitool, words, tmp_path, OCITOOL_CACHE_DIR=str(one / "index.json")),
    ]


@pytest.mark.parametrize("how", ["in its place", "in a copy"])
@pytest.mark.parametrize("codec", ["none", "gzip"])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_layer_that_was_damaged_since_it_was_cached_is_told_as_without_a_cache(
    command: str, codec: str, how: str, ocitool: Run, tmp_path: Path
) -> None:
    one, other = sound(tmp_path / "one", codec), write_layout(tmp_path / "two", [image([OTHER], tag="app")])
    ocitool("dedupe", "--files", one, other)
    if how == "in a copy":
        shutil.copytree(one, tmp_path / "copy")
        one = tmp_path / "copy"
    flipped(blob(one, image(TARS, codec=codec).layers[1]), 0.4)
    words = COMMANDS[command](one, other)
    assert answers(ocitool, words, tmp_path, "--no-cache") == answers(ocitool, words, tmp_path)


@pytest.mark.parametrize("spoil", [flipped, lambda path: path.write_bytes(b""), lambda path: os.truncate(path, 40)])
def test_a_damaged_cache_gives_the_answer_of_a_cold_one(spoil: Callable[[Path], None], ocitool: Run, tmp_path: Path) -> None:
    one, cache = sound(tmp_path / "one", "gzip"), tmp_path / "cache"
    first = answers(ocitool, ["ls", "-lR", one], tmp_path, OCITOOL_CACHE_DIR=str(cache))
    kept = [path for path in cache.rglob("*") if path.is_file()]
    for path in kept:
        spoil(path)
    assert (True, first) == (bool(kept), answers(ocitool, ["ls", "-lR", one], tmp_path, OCITOOL_CACHE_DIR=str(cache)))


@pytest.mark.parametrize("limit", ["OCITOOL_MAX_UNPACKED_SIZE", "OCITOOL_MAX_LAYER_ENTRIES"])
@pytest.mark.parametrize("command", ["ls", "dedupe"])
def test_what_was_cached_under_wider_limits_is_beyond_narrow_ones_as_ever(
    command: str, limit: str, ocitool: Run, tmp_path: Path
) -> None:
    one = sound(tmp_path / "one", "gzip")
    words = COMMANDS[command](one, one)
    answers(ocitool, words, tmp_path)
    cold = answers(ocitool, words, tmp_path, "--no-cache", **{limit: "2"})
    assert (True, cold) == (cold[0] != 0, answers(ocitool, words, tmp_path, **{limit: "2"}))


def test_a_copy_of_a_known_layer_is_hashed_and_not_unpacked(
    ocitool: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ocitool("ls", "-R", sound(tmp_path / "one", "gzip"))
    shutil.copytree(tmp_path / "one", tmp_path / "copy")

    def never(*_: object, **__: object) -> None:
        raise AssertionError("the layer was unpacked")

    monkeypatch.setattr("ocitool.layers.codecs.decode", never)
    assert 0 == ocitool("ls", "-R", tmp_path / "copy").code


def test_the_second_run_reads_no_layer(ocitool: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = sound(tmp_path / "one", "gzip")  # of a plain layer the headers are read each time
    first = ocitool("ls", "-R", one)
    layers = {len(data) for data in image(TARS).layers}
    read = FileBlob.pread

    def documents_only(blob: FileBlob, size: int, offset: int) -> bytes:
        assert blob.size not in layers or (offset == 0 and size <= SNIFF), "a layer was read"
        return read(blob, size, offset)

    monkeypatch.setattr(FileBlob, "pread", documents_only)
    assert first.stdout == ocitool("ls", "-R", one).stdout
    with pytest.raises(AssertionError, match="a layer was read"):
        ocitool("ls", "-R", "--no-cache", one)


def test_a_docker_archive_that_changed_is_read_again(ocitool: Run, tmp_path: Path) -> None:
    path = write_docker_archive(tmp_path / "a.tar", [image([LOWER], tag="app:1", codec="none")])
    before = answers(ocitool, ["inspect", "--files", path], tmp_path)
    write_docker_archive(path, [image([OTHER], tag="app:1", codec="none")])
    after = answers(ocitool, ["inspect", "--files", path], tmp_path)
    assert (True, answers(ocitool, ["inspect", "--files", path], tmp_path, "--no-cache")) == (before != after, after)
