"""Whole images, broken in every way: the documented exit code and one line, in bounded time and memory.

Most runs call the operations in this process, where only an `OcitoolError` may come out; a sample goes through the command.
"""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import random
import resource
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.images import (
    docker_files,
    entry,
    image,
    index_of,
    layer_tar,
    layout_files,
    pretty,
    sha256,
    write_files,
    write_layout,
    write_oci_archive,
    write_tar,
)  # fmt: skip
from support.layers import END, member, pad, pax

from ocitool import validation
from ocitool.comparison import DiffOptions, diff
from ocitool.errors import OcitoolError
from ocitool.operations import inspect, listing
from ocitool.pipeline.session import Session
from ocitool.task import Task

CODES = {0, 1, 2, 3, 4, 5, 6, 7, 8}
TARS = [
    layer_tar([("etc/", None), ("etc/motd", b"hello\n" * 300), ("bin/", None), ("bin/sh", b"#!/bin/sh\n")]),
    layer_tar([("etc/motd", b"bye\n"), ("bin/.wh.sh", b""), ("h", "hard:etc/motd"), ("l", "link:etc")]),
]
GOOD = image(TARS, tag="v1")


Done = subprocess.CompletedProcess[bytes]


def run(*words: str | os.PathLike[str], stdin: bytes = b"", timeout: float = 60, **env: str) -> Done:
    """The command with at most 1.5 GB of address space."""

    def bounded() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (1_500_000_000, 1_500_000_000))

    done = subprocess.run(
        [sys.executable, "-m", "ocitool", *words, *([] if words[0] == "validate" else ["--no-cache"])], input=stdin,
        capture_output=True, timeout=timeout, preexec_fn=bounded, env={**os.environ, **env},
    )  # fmt: skip
    err = done.stderr.decode()
    assert done.returncode in CODES, f"{words}: {done.returncode}\n{err}"
    assert "Traceback" not in err and "a bug" not in err
    if done.returncode > 1:
        lines = [line for line in err.splitlines() if not line.startswith("ocitool: note: ")]
        assert lines[0].startswith("ocitool: error: ") and len(lines) <= 2, err
    return done


def everything(reference: str) -> Iterator[Callable[[Task], object]]:
    """Each operation on an image."""
    yield lambda task: inspect.inspect(reference, Session(task), files=True, all_platforms=True)
    yield lambda task: list(listing.ls(reference, "", Session(task), recursive=True).items)
    yield lambda task: b"".join(listing.cat(reference, "etc/motd", Session(task)))
    yield lambda task: diff(reference, reference, DiffOptions(), Session(task, None, True))
    yield lambda task: validation.validate(reference, task)


def survives(reference: str | os.PathLike[str]) -> None:
    for operation in everything(os.fspath(reference)):
        with Task(jobs=1) as task:
            try:
                operation(task)
            except OcitoolError as error:
                assert error.exit_code in CODES and "\n" not in str(error), error


def files_of(kind: str) -> bytes:
    if kind == "docker":
        files = docker_files([image(TARS, tag="a:1", codec="none")])
    else:
        files = layout_files([GOOD])
    return layer_tar(list(files.items()))


@pytest.mark.parametrize("kind", ["docker", "oci"])
def test_archives_cut_at_every_block(tmp_path: Path, kind: str) -> None:
    data = files_of(kind)
    path = tmp_path / "cut.tar"
    for cut in range(0, len(data), 512):
        path.write_bytes(data[:cut])
        survives(path)
        if cut % 4096 == 0:
            path.write_bytes(data[: cut + 7])
            survives(path)


@pytest.mark.parametrize("codec", [gzip.compress, bz2.compress, lzma.compress])
def test_compressed_archives_cut_anywhere(tmp_path: Path, codec: Any) -> None:
    data = codec(files_of("oci"))
    for cut in range(0, len(data), 97):
        (tmp_path / "cut").write_bytes(data[:cut])
        survives(tmp_path / "cut")


def test_layouts_with_every_file_cut(tmp_path: Path) -> None:
    files = layout_files([GOOD])
    for name, data in files.items():
        for cut in {0, 1, len(data) // 2, len(data) - 1}:
            survives(write_files(tmp_path / "layout", {**files, name: data[:cut]}))
        (tmp_path / "layout" / name).unlink()
        survives(tmp_path / "layout")


@pytest.mark.parametrize("kind", ["docker", "oci"])
def test_flipped_bytes(tmp_path: Path, kind: str) -> None:
    data = files_of(kind)
    dice = random.Random(f"flip {kind}")
    for _ in range(150):
        broken = bytearray(data)
        for _ in range(dice.choice((1, 1, 4))):
            broken[dice.randrange(len(data))] = dice.randrange(256)
        (tmp_path / "x.tar").write_bytes(broken)
        survives(tmp_path / "x.tar")


def test_a_sample_through_the_command(tmp_path: Path) -> None:
    dice = random.Random("sample")
    for number in range(25):
        data = bytearray(files_of(dice.choice(("docker", "oci"))))
        if number % 2:
            del data[dice.randrange(len(data)) :]
        else:
            data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        (tmp_path / "x.tar").write_bytes(data)
        words = dice.choice([("inspect", "--files"), ("ls", "-R"), ("validate",), ("inspect", "--verify", "--format", "json")])
        if number % 3:
            run(*words, tmp_path / "x.tar")
        else:
            run(*words, "-", stdin=bytes(data))


# Documents


def layout_of(path: Path, **files: bytes) -> Path:
    named = {name.replace("_", "."): data for name, data in files.items()}
    return write_files(path, {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}', **named})


def nested(depth: int) -> tuple[dict[str, bytes], bytes]:
    """Indexes in indexes around an image: further blobs, and the outermost."""
    blobs = {"blobs/" + digest.replace(":", "/"): data for digest, data in GOOD.blobs.items()}
    inner, kind = GOOD.raw, GOOD.manifest["mediaType"]
    for _ in range(depth):
        blobs["blobs/" + sha256(inner).replace(":", "/")] = inner
        inner = pretty(index_of([{"mediaType": kind, "digest": sha256(inner), "size": len(inner)}]))
        kind = "application/vnd.oci.image.index.v1+json"
    return blobs, inner


@pytest.mark.parametrize(("depth", "code"), [(1, 0), (3, 0), (30, 7), (300, 7)])
def test_indexes_within_indexes(tmp_path: Path, depth: int, code: int) -> None:
    blobs, top = nested(depth)
    path = write_files(tmp_path / "x", {**blobs, "oci-layout": b'{"imageLayoutVersion":"1.0.0"}', "index.json": top})
    assert run("ls", path).returncode == code
    assert run("inspect", "--all-platforms", path).returncode == code
    run("validate", path)


def test_an_index_that_names_itself_or_everything_many_times(tmp_path: Path) -> None:
    blobs, top = nested(2)
    wide = index_of(json.loads(top)["manifests"] * 3000)
    path = layout_of(tmp_path / "x", **blobs, index_json=pretty(wide))
    for words in (("inspect", "--all-platforms"), ("ls",), ("validate",)):
        run(*words, path)
    for _ in range(6):  # a billion laughs: each level names the one below ten times
        inner = pretty(index_of([{"mediaType": "application/vnd.oci.image.index.v1+json", "digest": sha256(top),
                                  "size": len(top),
                                  "annotations": {"n": str(n)}} for n in range(10)]))  # fmt: skip
        blobs["blobs/" + sha256(top).replace(":", "/")] = top
        top = inner
    path = write_files(tmp_path / "y", {**blobs, "oci-layout": b'{"imageLayoutVersion":"1.0.0"}', "index.json": top})
    for words in (("inspect", "--all-platforms"), ("ls",), ("validate",), ("diff", "--all-platforms", path)):
        run(*words, path)


BOMBS = {
    "deep arrays": b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "many values": b'{"a":[' + b"0," * 1_500_000 + b"0]}",
    "many keys": b"{" + b",".join(b'"%d":0' % n for n in range(300_000)) + b"}",
    "a huge integer": b'{"schemaVersion":' + b"9" * 1_000_000 + b"}",
    "a huge float": b'{"a":1e999999999,"b":-1e-999999}',
    "not a number": b'{"a":NaN,"b":Infinity}',
    "duplicate keys": b'{"manifests":[],"manifests":[]}',
    "half a surrogate": b'{"a":"\\ud800"}',
    "no text": b"\xff\xfe{}",
    "no object": b"[]",
    "nothing": b"",
    "null": b"null",
    "giant": b'{"a":"' + b"x" * (5 << 20) + b'"}',
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_json_bombs_wherever_a_document_stands(tmp_path: Path, bomb: str) -> None:
    data = BOMBS[bomb]
    layout = layout_of(tmp_path / "layout", index_json=data)
    manifest = {"mediaType": GOOD.manifest["mediaType"], "digest": sha256(data), "size": len(data)}
    files = {**layout_files([GOOD], index=index_of([manifest])), "blobs/" + sha256(data).replace(":", "/"): data}
    as_manifest = write_files(tmp_path / "manifest", files)
    as_config = write_layout(tmp_path / "config", [image([], config=data)])
    as_list = write_tar(tmp_path / "x.tar", {"manifest.json": data})
    for path in (layout, as_manifest, as_config, as_list):
        survives(path)
    assert run("inspect", layout).returncode in (0, 3, 4, 7)
    run("validate", as_config)


def test_wrong_types_everywhere(tmp_path: Path) -> None:
    """Each value of each document in turn replaced by one of another type."""
    documents = {"config": json.loads(GOOD.config), "manifest": GOOD.manifest, "index": index_of([GOOD.descriptor])}

    def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
        if at:
            yield at
        for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
            yield from places(value[key], (*at, key))

    for name, document in documents.items():
        for place in places(document):
            for wrong in (None, -1, 1 << 70, 1.5, "x", "../..", [], {}, [[]], True):
                changed = json.loads(json.dumps(document))
                holder = changed
                for key in place[:-1]:
                    holder = holder[key]
                holder[place[-1]] = wrong
                made = image(TARS, tag="v1")
                index = None
                if name == "config":
                    made = image(TARS, tag="v1", config=pretty(changed))
                elif name == "manifest":
                    made.manifest = changed
                else:
                    index = changed
                path = os.fspath(write_oci_archive(tmp_path / "x.tar", [made], index=index))
                for operation in (inspect.inspect, lambda where, reading: validation.validate(where, reading.task)):
                    with Task(jobs=1) as task:
                        try:
                            operation(path, Session(task))
                        except OcitoolError as error:
                            assert error.exit_code in CODES


# Layers


def zeros(size: int, codec: str) -> bytes:
    """So many zeros, compressed, without ever being held."""
    if codec == "gzip":
        maker = zlib.compressobj(9, wbits=31)
        return b"".join(maker.compress(bytes(1 << 20)) for _ in range(size >> 20)) + maker.flush()
    import zstandard

    one = zstandard.ZstdCompressor(level=1).compress(bytes(1 << 24))
    return one * (size >> 24)


@pytest.mark.parametrize("codec", ["gzip", "zstd"])
def test_compression_bombs(tmp_path: Path, codec: str) -> None:
    made = image([TARS[0]])
    made.layers = [zeros(1 << 28, codec)]
    made.manifest["layers"][0].update(digest=sha256(made.layers[0]), size=len(made.layers[0]))
    path = write_layout(tmp_path / "x", [made])
    for words in (("ls",), ("inspect", "--files")):
        assert run(*words, path, OCITOOL_MAX_UNPACKED_SIZE="100000000").returncode == 7
    run("validate", path, OCITOOL_MAX_UNPACKED_SIZE="100000000")
    (tmp_path / "bomb.tar").write_bytes(made.layers[0])
    assert run("inspect", tmp_path / "bomb.tar", OCITOOL_MAX_UNPACKED_SIZE="100000000").returncode in (4, 7)


def test_a_million_entries_where_few_are_allowed(tmp_path: Path) -> None:
    block = layer_tar([("a", b"")])[:512]
    made = image([block * 1_000_000 + bytes(1024)])
    path = write_layout(tmp_path / "x", [made])
    for words in (("ls",), ("inspect", "--files"), ("diff", "--verify", path)):
        assert run(*words, path, OCITOOL_MAX_LAYER_ENTRIES="1000").returncode == 7
    run("validate", path, OCITOOL_MAX_LAYER_ENTRIES="1000")


def test_a_sparse_file_of_many_terabytes_costs_nothing(tmp_path: Path) -> None:
    sparse = pax((b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.name", b"lastlog"),
                 (b"GNU.sparse.realsize", b"%d" % (1 << 50)))  # fmt: skip
    path = write_layout(tmp_path / "x", [image([sparse + member(b"lastlog", pad(b"0\n")) + END])])
    assert f"{1 << 50}" in run("ls", "-l", path).stdout.decode()
    for words in (("inspect", "--files"), ("diff", "--verify", path), ("validate",)):
        assert run(*words, path).returncode == 0


# Names

HOSTILE = [b"a\nb", b"\x1b[31mred", b"\x9b31m", "\u202eevil".encode(), b"\xff\xfe", b"\x07\x08\r", b"\x7f", "\u2028".encode(),
           b"`code`</details>", b"-rf", b" ", b"\xc2\x9b31m", "\U000e0041".encode(), b"\\n"]  # fmt: skip


def test_nothing_of_a_name_reaches_the_terminal_raw(tmp_path: Path) -> None:
    text = b"".join(HOSTILE).decode("utf-8", "replace")
    tar = [layer_tar([*((name, b"x") for name in HOSTILE),
                      *(entry(b"l" + name, "link:x", link=name) for name in HOSTILE),
                      *(entry(b"x%d" % n, b"", xattrs=((b"user." + name.replace(b"\n", b""), name),))
                        for n, name in enumerate(HOSTILE))])]  # fmt: skip
    config = {"created": text, "author": text, "history": [{"created_by": text, "created": text}],
              "config": {"Env": [text, f"{text}={text}"], "User": text, "Cmd": [text], "Labels": {text: text},
                         "ExposedPorts": {text: {}}, "Volumes": {text: {}}, "WorkingDir": text}}  # fmt: skip
    made = image(tar, **config)
    made.annotations[text] = text
    made.manifest["annotations"] = {text: text}
    path = write_layout(tmp_path / ("\x1b\u202e" + "x"), [made])
    other = write_layout(tmp_path / "other", [image([layer_tar([("k", b"")]), layer_tar([(".wh.k", b"")])])])
    made.tag = text
    tagged = write_layout(tmp_path / "tagged", [made])
    runs: list[tuple[str | Path, ...]] = []
    for where in (path, tagged):
        for form in ("text", "json", "markdown"):
            runs += [("inspect", "--files", "--format", form, where), ("diff", "-p", "--format", form, where, other),
                     ("diff", "-p", "--format", form, other, where)]  # fmt: skip
        for form in ("text", "json"):
            runs += [("ls", "-lR", "--format", form, where), ("ls", "-R", "--layer", "0", "--format", form, where),
                     ("validate", "--format", form, where)]  # fmt: skip
        runs += [("ls", where, text), ("cat", where, text), ("inspect", f"{where}:{text}"), ("ls", "--platform", text, where)]
    for words in runs:
        done = run(*words)
        for stream in (done.stdout, done.stderr):
            raw = {*range(32), 127} - {10} & set(stream)
            assert not raw, (words, raw)
            shown = stream.decode("utf-8")
            assert not {"\u202e", "\x9b", "\u2028", "\U000e0041"} & set(shown), words
