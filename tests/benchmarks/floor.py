"""The floor: the least work that answers a question about layers, with no care for correctness.

    floor.py full LAYOUT...     of the largest layer of each: SHA-256 of the stored bytes, gunzip, SHA-256 of
                                the unpacked bytes and of the content of each file; one thread per layer
    floor.py codec LAYOUT...    the same, the tar not looked at: decompression and hashing alone
    floor.py distinct LAYOUT... as by `full` of all layers, each distinct one once, the largest first, one process a core
    floor.py read FILE...       SHA-256 of each file, one thread per file
    floor.py squash LAYOUT FILE all layers behind one another as one gzip FILE: each read as by `codec`, one after the
                                other in one thread; deflate at level 2 on all cores; SHA-256 of both sides of it
    floor.py copy SOURCE CODEC DIR  each layer of a layout or a docker archive as a file of that codec (gzip or zstd, our
                                default levels), written as by `squash`, one after the other
    floor.py repack LAYOUT DIR  the largest layer as by `copy`, the others as they are: read, SHA-256, written
    floor.py rebuild NEW OLD DIR    the layers of NEW that OLD lacks, and those of OLD that NEW lacks, as by `distinct`;
                                the layers of NEW as they are: read, SHA-256, written

Steps of 512 KiB; ISA-L where its binding is installed, else zlib.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tarfile
import threading
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from typing import Any, NamedTuple

STEP = 512 * 1024
FLUSH = 64 * 1024  # ISA-L takes new Huffman tables at each flush
WINDOW = 32 * 1024
LEVEL = 2
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
deflater: Any = zlib
try:
    from isal import igzip_lib, isal_zlib

    deflater = isal_zlib
except ImportError:
    igzip_lib = None


def gunzip() -> Any:
    if igzip_lib is None:
        return zlib.decompressobj(wbits=31)
    return igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)


def layers(layout: Path) -> list[Path]:
    """The stored layers of a layout's first image, lowest first."""

    def blob(digest: str) -> Path:
        return layout / "blobs" / digest.replace(":", "/")

    entry = json.loads((layout / "index.json").read_bytes())["manifests"][0]
    return [blob(layer["digest"]) for layer in json.loads(blob(entry["digest"]).read_bytes())["layers"]]


def big_layer(layout: Path) -> Path:
    return max(layers(layout), key=lambda path: path.stat().st_size)


class Contents:
    """Hashes what lies between tar headers; feed it the tar in pieces of any size."""

    def __init__(self) -> None:
        self.digests: list[bytes] = []
        self.part = b""  # the beginning of a header
        self.left = 0  # bytes of content still to come
        self.padding = 0
        self.content = hashlib.sha256()

    def feed(self, data: bytes) -> None:
        view, at, end = memoryview(data), 0, len(data)
        while at < end:
            if self.left:
                n = min(self.left, end - at)
                self.content.update(view[at : at + n])
                at += n
                self.left -= n
                if not self.left:
                    self.digests.append(self.content.digest())
            elif self.padding:
                n = min(self.padding, end - at)
                at += n
                self.padding -= n
            else:
                header = data[at : at + 512 - len(self.part)]
                at += len(header)
                if self.part or len(header) < 512:
                    self.part += header
                    if len(self.part) < 512:
                        return
                    header, self.part = self.part, b""
                size = int(header[124:135].strip(b" \0") or b"0", 8)
                if size and header[156:157] in b"0\0xgLK":
                    self.left, self.padding = size, -size % 512
                    self.content = hashlib.sha256()


class Stored(NamedTuple):
    """A stored layer: gzip, the whole file; or plain, `size` bytes of an archive from `offset` on."""

    path: Path
    offset: int = 0
    size: int | None = None


def members(archive: Path) -> list[Stored]:
    """The layers of a docker archive's first image, plain."""
    with tarfile.open(archive) as tar:
        listed = tar.extractfile("manifest.json")
        assert listed is not None
        found = map(tar.getmember, json.load(listed)[0]["Layers"])
        return [Stored(archive, one.offset_data, one.size) for one in found]


def unpack(layer: Path | Stored, take: Callable[[bytes], object]) -> str:
    """Hashes the stored and the unpacked bytes (of plain ones the same), hands the unpacked ones on; gives their digest."""
    path, offset, left = layer if isinstance(layer, Stored) else Stored(layer)
    stored, unpacked, engine = hashlib.sha256(), hashlib.sha256(), gunzip()
    with open(path, "rb", buffering=0) as file:
        file.seek(offset)
        while chunk := file.read(STEP if left is None else min(STEP, left)):
            if left is None:
                stored.update(chunk)
                data = engine.decompress(chunk)
            else:
                data = chunk
                left -= len(chunk)
            unpacked.update(data)
            take(data)
    return f"{path.name[:12]} sha256:{unpacked.hexdigest()}"


def layer(path: Path, walk: bool) -> None:
    contents = Contents()
    line = unpack(path, contents.feed if walk else lambda data: None)
    results.append(f"{line} {len(contents.digests)} contents")


def distinct(layouts: Iterable[Path]) -> int:
    """How many there are."""
    return distinct_layers(path for layout in layouts for path in layers(layout))


def distinct_layers(found: Iterable[Path]) -> int:
    """How many there are. Each process takes the next number from one pipe, and tells its results on another one."""
    paths = sorted({path.name: path for path in found}.values(), key=lambda p: -p.stat().st_size)
    numbers, out = os.pipe()
    os.write(out, b"".join(n.to_bytes(2, "big") for n in range(len(paths))))
    os.close(out)
    received, tell = os.pipe()
    children = []
    for _ in range(CORES):
        children.append(os.fork())
        if not children[-1]:
            try:
                while number := os.read(numbers, 2):
                    layer(paths[int.from_bytes(number, "big")], True)
                    os.write(tell, f"{results.pop()}\n".encode())
            finally:
                os._exit(0)
    os.close(tell)
    with open(received) as lines:
        results.extend(lines.read().splitlines())
    for child in children:
        os.waitpid(child, 0)
    return len(paths)


def read(path: Path) -> None:
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        while chunk := file.read(STEP):
            digest.update(chunk)
    results.append(f"{path.name} sha256:{digest.hexdigest()}")


def pack(stored_layers: Sequence[Stored], codec: str, target: Path) -> None:
    """Writes the layers behind one another as one file."""
    pieces: Queue[bytes | None] = Queue(4)
    threading.Thread(target=unpack_all, args=(stored_layers, pieces), daemon=True).start()
    plain, stored = hashlib.sha256(), hashlib.sha256()

    def hashed() -> Iterator[bytearray]:
        for block in blocks(iter(pieces.get, None)):
            plain.update(block)
            yield block

    with open(target, "wb", buffering=0) as file:
        for data in {"gzip": gzipped, "zstd": zstandard_of}[codec](hashed()):
            stored.update(data)
            file.write(data)
    results.append(f"{target.name} sha256:{stored.hexdigest()} of sha256:{plain.hexdigest()}")


def gzipped(unpacked: Iterable[bytearray]) -> Iterator[bytes]:
    crc, size, before = 0, 0, b""
    under_way: deque[Future[bytes]] = deque()
    with ThreadPoolExecutor(CORES) as pool:
        yield b"\x1f\x8b\x08" + bytes(6) + b"\xff"
        for block in unpacked:
            crc = deflater.crc32(block, crc)
            size += len(block)
            under_way.append(pool.submit(deflate, block, before))
            before = bytes(block[-WINDOW:])
            if len(under_way) > CORES + 2:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
        yield b"\x03\x00" + crc.to_bytes(4, "little") + (size & 0xFFFFFFFF).to_bytes(4, "little")


def zstandard_of(unpacked: Iterable[bytearray]) -> Iterator[bytes]:
    import zstandard

    stream = zstandard.ZstdCompressor(level=3, threads=CORES, write_checksum=True).compressobj()
    for block in unpacked:
        yield stream.compress(block)
    yield stream.flush()


def unpack_all(stored_layers: Iterable[Stored], pieces: Queue[bytes | None]) -> None:
    try:
        for one in stored_layers:
            results.append(unpack(one, pieces.put))
    finally:
        pieces.put(None)


def as_it_is(path: Path, target: Path) -> None:
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as file, open(target, "wb", buffering=0) as out:
        while chunk := file.read(STEP):
            digest.update(chunk)
            out.write(chunk)
    results.append(f"{path.name[:12]} sha256:{digest.hexdigest()}")


def copied(source: Path, codec: str, target: Path) -> int:
    """How many results there are."""
    target.mkdir()
    found = members(source) if source.is_file() else [Stored(path) for path in layers(source)]
    for number, one in enumerate(found):
        pack([one], codec, target / str(number))
    return 2 * len(found)


def repacked(layout: Path, target: Path) -> int:
    target.mkdir()
    largest, found = big_layer(layout), layers(layout)
    for number, path in enumerate(found):
        if path == largest:
            pack([Stored(path)], "gzip", target / str(number))
        else:
            as_it_is(path, target / str(number))
    return len(found) + 1


def rebuilt(new: Path, old: Path, target: Path) -> int:
    target.mkdir()
    ours, theirs = layers(new), layers(old)
    common = {path.name for path in ours} & {path.name for path in theirs}
    count = distinct_layers(path for path in (*ours, *theirs) if path.name not in common)
    for path in ours:
        as_it_is(path, target / path.name)
    return count + len(ours)


def blocks(pieces: Iterable[bytes]) -> Iterator[bytearray]:
    block = bytearray()
    for piece in pieces:
        view = memoryview(piece)
        while view:
            room = STEP - len(block)
            block += view[:room]
            view = view[room:]
            if len(block) == STEP:
                yield block
                block = bytearray()
    if block:
        yield block


def deflate(block: bytearray, before: bytes) -> bytes:
    more = {"zdict": before} if before else {}
    stream = deflater.compressobj(LEVEL, deflater.DEFLATED, -15, 8, deflater.Z_DEFAULT_STRATEGY, **more)
    out: list[bytes] = []
    with memoryview(block) as view:
        for start in range(0, len(view), FLUSH):
            out += stream.compress(view[start : start + FLUSH]), stream.flush(deflater.Z_SYNC_FLUSH)
    return b"".join(out)


results: list[str] = []


def main() -> None:
    mode, *names = sys.argv[1:]
    wanted = len(names)
    if mode == "squash":
        layout, target = map(Path, names)
        pack([Stored(path) for path in layers(layout)], "gzip", target)
        wanted = len(layers(layout)) + 1
    elif mode == "copy":
        wanted = copied(Path(names[0]), names[1], Path(names[2]))
    elif mode == "repack":
        wanted = repacked(*map(Path, names))
    elif mode == "rebuild":
        wanted = rebuilt(*map(Path, names))
    elif mode == "distinct":
        wanted = distinct(map(Path, names))
    else:
        in_threads(mode, names)
    if len(results) != wanted:
        raise SystemExit(1)
    print("\n".join(sorted(results)))


def in_threads(mode: str, names: Iterable[str]) -> None:
    threads = []
    for name in names:
        if mode == "read":
            threads.append(threading.Thread(target=read, args=(Path(name),)))
        else:
            threads.append(threading.Thread(target=layer, args=(big_layer(Path(name)), mode == "full")))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
