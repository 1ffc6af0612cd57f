"""The floor: the least work that answers a question about layers, with no care for correctness.

    floor.py full LAYOUT...     of the largest layer of each: SHA-256 of the stored bytes, gunzip, SHA-256 of
                                the unpacked bytes and of the content of each file; one thread per layer
    floor.py codec LAYOUT...    the same, the tar not looked at: decompression and hashing alone
    floor.py read FILE...       SHA-256 of each file, one thread per file

Steps of 512 KiB; ISA-L where its binding is installed, else zlib.
"""

from __future__ import annotations

import hashlib
import json
import sys
import threading
import zlib
from pathlib import Path
from typing import Any

STEP = 512 * 1024
try:
    from isal import igzip_lib
except ImportError:
    igzip_lib = None


def gunzip() -> Any:
    if igzip_lib is None:
        return zlib.decompressobj(wbits=31)
    return igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)


def big_layer(layout: Path) -> Path:
    def blob(digest: str) -> Path:
        return layout / "blobs" / digest.replace(":", "/")

    entry = json.loads((layout / "index.json").read_bytes())["manifests"][0]
    layers = json.loads(blob(entry["digest"]).read_bytes())["layers"]
    return blob(max(layers, key=lambda layer: layer["size"])["digest"])


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


def layer(path: Path, walk: bool) -> None:
    stored, unpacked, engine, contents = hashlib.sha256(), hashlib.sha256(), gunzip(), Contents()
    with open(path, "rb", buffering=0) as file:
        while chunk := file.read(STEP):
            stored.update(chunk)
            data = engine.decompress(chunk)
            unpacked.update(data)
            if walk:
                contents.feed(data)
    results.append(f"{path.name[:12]} sha256:{unpacked.hexdigest()} {len(contents.digests)} contents")


def read(path: Path) -> None:
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        while chunk := file.read(STEP):
            digest.update(chunk)
    results.append(f"{path.name} sha256:{digest.hexdigest()}")


results: list[str] = []


def main() -> None:
    mode, *names = sys.argv[1:]
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
    if len(results) != len(names):
        raise SystemExit(1)
    print("\n".join(sorted(results)))


if __name__ == "__main__":
    main()
