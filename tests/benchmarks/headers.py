"""Reads every header of a tar by seeking, in this process, with each reader in turn; prints JSON.

    headers.py RUNS FILE

The minimal walk keeps names and sizes only and believes everything; tarfile is the standard library's.
"""

from __future__ import annotations

import json
import os
import sys
import tarfile
import time
from collections.abc import Callable


def minimal(path: str) -> int:
    count = at = 0
    with open(path, "rb") as file:
        descriptor = file.fileno()
        while (header := os.pread(descriptor, 512, at)) and header[0]:
            size = int(header[124:135].strip(b" \0") or b"0", 8)
            at += 512 + size + -size % 512
            count += header[156:157] not in b"xgLK"
    return count


def standard(path: str) -> int:
    with tarfile.open(path, "r:") as archive:
        return sum(1 for _ in archive)


class FileReader:
    """What ocitool's reader asks for: a size and reads anywhere."""

    def __init__(self, path: str) -> None:
        self._file = open(path, "rb")  # noqa: SIM115
        self.size = os.fstat(self._file.fileno()).st_size

    def pread(self, size: int, offset: int) -> bytes:
        return os.pread(self._file.fileno(), size, offset)


def ours() -> Callable[[str], int] | None:
    try:
        from ocitool.layers.tar import entries
        from ocitool.layers.tar_notes import TarNotes
        from ocitool.layers.tarinput import SeekInput
    except ImportError:
        return None
    return lambda path: sum(1 for _ in entries(SeekInput(FileReader(path)), TarNotes()))


def main() -> None:
    runs, path = int(sys.argv[1]), sys.argv[2]
    readers = {"minimal walk": minimal, "tarfile": standard, "ocitool": ours()}
    times: dict[str, list[float]] = {name: [] for name, reader in readers.items() if reader}
    counts: dict[str, int] = {}
    for _ in range(runs):
        for name in times:
            reader = readers[name]
            assert reader is not None
            began = time.perf_counter()
            counts[name] = reader(path)
            times[name].append(time.perf_counter() - began)
    print(json.dumps({name: {"entries": counts[name], "seconds": taken} for name, taken in times.items()}))


if __name__ == "__main__":
    main()
