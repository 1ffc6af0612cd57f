"""Fuzz targets for what reads bytes from strangers: the tar reader, the codecs and the document parser; and, in
`package_fuzz`, the readers of installed packages.

Each target takes bytes and raises only when a law is broken. `mutants` makes its inputs: seeded mutations of samples made
by code, so that a finding is repeated by its seed and turn alone.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import random
import time
import zlib
from collections.abc import Callable, Iterator

from campaign import package_fuzz
from support.layers import sample, scanned, seal
from support.streams import CODECS, encode, skippable, text

from ocitool.blob import BytesBlob
from ocitool.digest import Digest
from ocitool.errors import OcitoolError
from ocitool.layers import codecs, gzip_codec
from ocitool.layers.codecs import decode
from ocitool.layers.scan import index_headers
from ocitool.spec.document import parse
from ocitool.spec.manifest import Config, read

SECONDS = 2.0
"""What one input may take."""
PIECE = 1 << 20
"""What a decoder may give at a time."""
MOST = 64 << 20
"""Output after which a target looks no further."""


def tar(data: bytes) -> None:
    """Errors of ours only; scan and listing see the same entries when both accept."""
    index = headers = None
    with contextlib.suppress(OcitoolError):
        headers = index_headers(BytesBlob(data))
    if headers is not None and any(holes(headers, row) > MOST for row in headers.sparse):
        return
    if codecs.sniff(data[: codecs.SNIFF]) != "none":
        return
    with contextlib.suppress(OcitoolError):
        index = scanned(data)
    if index is not None:
        assert index.diff_id == Digest.of(data)
        assert headers is not None and list(index) == list(headers), "scan and listing disagree"
    elif headers is not None:
        raise AssertionError("listing accepts what scan refuses")


def holes(index: object, row: int) -> int:
    return index.sizes[row] - index.sparse[row][1]  # type: ignore[attr-defined, no-any-return]


def attempt(data: bytes, name: str, step: int) -> bytes | None:
    out = []
    size = 0
    try:
        for piece in decode((data[at : at + step] for at in range(0, len(data), step)), name):
            assert len(piece) <= PIECE, f"a piece of {len(piece)} bytes"
            out.append(piece)
            size += len(piece)
            if size > MOST:
                return b""
    except OcitoolError:
        return None
    return b"".join(out)


def codec(data: bytes) -> None:
    """Any chunking gives the same; both gzip engines agree with each other and with Python's gzip module."""
    for name in {codecs.sniff(data), "gzip", "zstd"} - {"none"}:
        whole = attempt(data, name, 1 << 19)
        assert whole == attempt(data, name, 1 + len(data) % 97), f"{name}: chunking changes the output"
        if name != "gzip":
            continue
        engine, gzip_codec._engine = gzip_codec._engine, lambda: (gzip_codec._ZlibMember, zlib.error)
        try:
            other = attempt(data, name, 1 << 19)
        finally:
            gzip_codec._engine = engine
        try:
            expected: bytes | None = gzip.decompress(data)
        except (OSError, EOFError, zlib.error):
            expected = None
        if whole is not None and expected is not None:
            assert whole == expected, "not what the gzip module gives"
            # zlib alone refuses the reserved header flags.
            assert other is None or whole == other, "engines give different bytes"


def documents(data: bytes) -> None:
    """Errors of ours only; what is accepted is what Python's parser reads, and can be written as text."""
    try:
        value = parse(data, "fuzz")
    except OcitoolError:
        return
    assert value == json.loads(data)
    json.dumps(value, ensure_ascii=False).encode()
    try:
        found = read(data, "fuzz")
        assert found.raw == data
        for descriptor in (*getattr(found, "layers", ()), *getattr(found, "manifests", ())):
            str(descriptor.platform), descriptor.annotations, descriptor.urls, descriptor.is_attestation
            descriptor.embedded()
    except OcitoolError:
        pass
    if isinstance(value, dict):
        config = Config(data, value)
        str(config.platform), config.diff_ids, config.history, config.settings, config.keys("Volumes")


TARGETS: dict[str, Callable[[bytes], None]] = {"tar": tar, "codec": codec, "documents": documents, **package_fuzz.TARGETS}


def corpus(target: str) -> list[bytes]:
    if target in package_fuzz.TARGETS:
        return package_fuzz.corpus(target)
    if target == "tar":
        return [sample(seed, files) for seed, files in ((1, 0), (2, 3), (3, 6))]
    if target == "codec":
        data = [b"", b"a", text(3000), bytes(5000), random.Random(1).randbytes(700)]
        streams = [encode(name, *data[i:]) for name in CODECS for i in range(len(data))]
        return [*streams, skippable(b"toc") + encode("zstd", text(300), b"x") + skippable(b"")]
    digest = str(Digest.of(b"{}"))
    descriptor = {
        "mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest, "size": 2, "data": "e30=", "urls": ["u"],
        "annotations": {"a": "\u00e9\U0001f600"}, "platform": {"os": "linux", "architecture": "arm", "variant": "v7"},
    }  # fmt: skip
    found: list[object] = [
        {"schemaVersion": 2, "config": descriptor, "layers": [descriptor, descriptor], "subject": descriptor},
        {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [descriptor]},
        {
            "os": "linux", "rootfs": {"type": "layers", "diff_ids": [digest, "x"]}, "config": {"Volumes": {"/v": {}}},
            "history": [{"created": "2020-01-01T00:00:00Z", "created_by": "RUN", "empty_layer": True}, None, 1.5e3],
        },
    ]  # fmt: skip
    return [json.dumps(value, ensure_ascii=flag).encode() for value in found for flag in (True, False)]


NUMBERS = ((100, 8), (108, 8), (116, 8), (124, 12), (136, 12), (329, 8), (337, 8), (386, 12), (398, 12), (483, 12))
TOKENS = (
    b"[", b"]", b"{", b"}", b'"', b",", b":", b"null", b"\\ud800", b"\\", b"1e999", b"NaN", b"-0", b"1" * 30, b'{"a":1,"a":2}',
    b'"manifests":null,', b'"layers":[],', b"\xff", b"\xef\xbb\xbf", b"\0",
)  # fmt: skip
WORDS = (
    b"\0",
    b"\xff",
    b"\x80",
    b"\x7f",
    b"7",
    b"0",
    b" ",
    b"-1",
    b"9" * 20,
    b"path=",
    b"size=",
    b"GNU.sparse.map=1,2",
    b"/",
    b"../",
    b".wh.",
)
FLAGS = b"\x0001234567xgLKSVXMND"


def mutate(data: bytes, chance: random.Random, pool: list[bytes], target: str) -> bytes:
    out = bytearray(data)
    words = TOKENS if target == "documents" else package_fuzz.WORDS.get(target, WORDS)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 6))):
        if not out:
            return bytes(out)
        at, turn = chance.randrange(len(out)), chance.randrange(10)
        if turn == 0:
            out[at] ^= 1 << chance.randrange(8)
        elif turn == 1:
            out[at] = chance.randrange(256)
        elif turn == 2:
            del out[at:]
        elif turn == 3:
            del out[at : at + chance.choice((1, 4, 512, 1024))]
        elif turn == 4:
            other = chance.choice(pool)
            start = chance.randrange(len(other) + 1)
            out[at:at] = other[start : start + chance.choice((1, 16, 512, 4096))]
        elif turn == 5:
            out[at : at + chance.choice((0, 1, 8))] = chance.choice(words)
        elif turn == 6:
            size = chance.choice((1, 16, 512))
            out[at:at] = out[at : at + size] * chance.choice((1, 2, 40))
        elif target == "tar" and len(out) >= 512:
            reseal(out, chance)
        else:
            out[at : at + 4] = chance.choice((0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 0x80000000)).to_bytes(4, "little")
    return bytes(out)


def reseal(out: bytearray, chance: random.Random) -> None:
    """One header's number or flag changed, its checksum made right again: the mutation that reaches deeper."""
    headers = [at for at in range(0, len(out) - 511, 512) if out[at + 257 : at + 262] == b"ustar"]
    if not headers:
        return
    start = chance.choice(headers)
    block = bytearray(out[start : start + 512])
    at, width = chance.choice(NUMBERS)
    turn = chance.randrange(5)
    if turn == 0:
        block[156] = chance.choice(FLAGS)
    elif turn == 1:
        block[at : at + width] = chance.choice((b"\x80", b"\xff", b"\xc0", b"7", b"0", b" ", b"\0")) * width
    elif turn == 2:
        block[at : at + width] = (b"%0*o" % (width - 1, chance.randrange(1 << chance.choice((3, 10, 20))))).ljust(width, b"\0")
    elif turn == 3:
        value = chance.choice((-1, -512, 1, 511, 513, 1 << 40, (1 << 62) + 5))
        block[at : at + width] = b"\xff" * width if value < 0 else b"\x80" + value.to_bytes(11, "big")[12 - width :]
    else:
        block[chance.randrange(512)] = chance.randrange(256)
    out[start : start + 512] = seal(block[:512].ljust(512, b"\0"))


def mutants(target: str, seed: int) -> Iterator[bytes]:
    chance, pool = random.Random(seed), corpus(target)
    yield from pool
    while True:
        yield mutate(chance.choice(pool), chance, pool, target)


def run(target: str, seconds: float, seed: int = 0) -> tuple[int, bytes, str] | int:
    """How many inputs passed; or the turn, the input and the reason of the first that broke a law."""
    check, until = TARGETS[target], time.monotonic() + seconds
    turn = 0
    for turn, data in enumerate(mutants(target, seed)):
        started = time.process_time()
        try:
            check(data)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            return turn, data, f"{type(error).__name__}: {error}"
        took = time.process_time() - started
        if took > SECONDS:
            return turn, data, f"took {took:.1f} s"
        if time.monotonic() > until:
            break
    return turn + 1
