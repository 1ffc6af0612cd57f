"""The table of compression levels: what each costs and gives on one layer. Run by hand.

    compression.py LAYER.tar [--cores N] [LEVEL...]

LEVEL is spelled as for --compression; `zlib:6` is zlib's one stream at level 6, about what Go's writers give. Every row is a
process of its own, so that its CPU seconds and peak memory are its own. CPU seconds are user and system, without the SHA-256 of
the result; the wall clock includes it, as every writer pays for it, and means something on an idle machine only. Each output is
decoded again, outside of the clock, and the bytes of one core are compared with those of N.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ALL = ("zlib:6", *(f"gzip:{level}" for level in range(1, 10)), *(f"zstd:{level}" for level in (1, 2, 3, 6, 9, 12, 15, 19)))


class Sample(NamedTuple):
    engine: str
    size: int
    cpu: float
    wall: float
    peak: int
    digest: str


def chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(1 << 19):
            yield chunk


def encoded(path: Path, level: str, cores: int) -> Iterator[bytes]:
    if level.startswith("zlib:"):
        stream = zlib.compressobj(int(level[5:]), wbits=31)
        for chunk in chunks(path):
            yield stream.compress(chunk)
        yield stream.flush()
        return
    from ocitool.layers.compress import compress, parse
    from ocitool.task import Task

    with Task(cores=cores) as task:
        yield from compress(chunks(path), parse(level), task)


def sample(path: Path, level: str, cores: int) -> Sample:
    from ocitool.layers.compress import engine, parse

    name = f"zlib {zlib.ZLIB_RUNTIME_VERSION}" if level.startswith("zlib:") else engine(parse(level))
    for _ in encoded(Path(os.devnull), level, 1):
        pass  # the imports
    size, cpu, wall = 0, cpu_seconds(), time.monotonic()
    kept = hashlib.sha256()
    hashing = 0.0
    for piece in encoded(path, level, cores):
        size += len(piece)
        began = time.thread_time()
        kept.update(piece)
        hashing += time.thread_time() - began
    cpu, wall = cpu_seconds() - cpu - hashing, time.monotonic() - wall
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return Sample(name, size, cpu, wall, peak, kept.hexdigest())


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def restored(path: Path, level: str) -> bool:
    """Whether our own decoder gives the layer back."""
    from ocitool.layers.codecs import decode

    def digest(pieces: Iterator[bytes]) -> bytes:
        hasher = hashlib.sha256()
        for piece in pieces:
            hasher.update(piece)
        return hasher.digest()

    codec = "zstd" if level.startswith("zstd") else "gzip"
    return digest(chunks(path)) == digest(decode(encoded(path, level, 2), codec))


def apart(path: Path, level: str, cores: int, what: str = "sample") -> list[object]:
    argv = [sys.executable, __file__, str(path), level, "--cores", str(cores), "--only", what]
    found: list[object] = json.loads(subprocess.run(argv, check=True, stdout=subprocess.PIPE).stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("layer", type=Path)
    parser.add_argument("--cores", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--only", choices=("sample", "restored"), help=argparse.SUPPRESS)
    parser.add_argument("level", nargs="*")
    args = parser.parse_args()
    levels = args.level or list(ALL)
    if args.only == "sample":
        print(json.dumps(sample(args.layer, levels[0], args.cores)))
        return
    if args.only == "restored":
        print(json.dumps([restored(args.layer, levels[0])]))
        return
    total = args.layer.stat().st_size
    base = int(Sample(*apart(args.layer, "zlib:6", 1)).size) if levels != ["zlib:6"] else 0  # type: ignore[arg-type]
    print(f"{total / 1e6:.1f} MB, {args.cores} cores\n")
    print("| level | engine | size, MB | ratio | against zlib 6 | MB/s of one core | wall, s | peak, MB |")
    print("|---|---|---:|---:|---:|---:|---:|---:|")
    for level in levels:
        one = Sample(*apart(args.layer, level, 1))  # type: ignore[arg-type]
        many = Sample(*apart(args.layer, level, args.cores))  # type: ignore[arg-type]
        if one.digest != many.digest:
            raise SystemExit(f"{level}: {args.cores} cores give other bytes than one")
        if apart(args.layer, level, args.cores, "restored") != [True]:
            raise SystemExit(f"{level}: is not decoded to what it was")
        beside = f"{one.size / base - 1:+.1%}" if base else ""
        print(
            f"| {level} | {one.engine} | {one.size / 1e6:.1f} | {one.size / total:.4f} | {beside} "
            f"| {total / one.cpu / 1e6:.0f} | {many.wall:.2f} | {many.peak / 1e6:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
