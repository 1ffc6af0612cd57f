"""Large blobs fetched in ranges over several connections, if one connection is slow.

Many storage services and long routes limit each connection, to some 10 or 20 MB a second. Such a blob is fetched in
segments, as many at a time as `--jobs` and other blobs leave threads for. The bytes come in order all the same: hashing
them, and what a destination keeps of an interrupted fetch, are the same as with one connection.

A connection that is as fast as hashing and writing is left alone: on a local network, segments would only cost requests.
Memory is bounded by one segment for each thread, and one more.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from threading import Event

from ocitool.digest import Digest
from ocitool.errors import CancelledError
from ocitool.limits import MiB
from ocitool.task import Task
from ocitool.transports.registry import blobs
from ocitool.transports.registry.client import Client

SEGMENT = 8 * MiB
MIN_REST = 32 * MiB
"""Bytes that must remain: for fewer, another connection is opened too late to help."""
_FAST = 100_000_000
"""Bytes a second with which one connection is fast enough."""
_TRIAL = 0.5
"""Seconds of waiting for the network after which the speed of a connection is believed."""


def fetch(client: Client, path: str, digest: Digest, size: int, offset: int = 0) -> Iterator[bytes]:
    """Yields the bytes of a blob from `offset` as `blobs.fetch` does, over several connections if that pays."""
    position = offset
    rest, is_split = blobs.fetch(client, path, digest, size, offset), False
    for chunk in _until_slow(client.task, rest, size - offset):
        position += len(chunk)
        yield chunk
    try:
        for segment in _segments(client, path, digest, size, position) if position < size else ():
            rest, is_split = iter(()), True  # closes the first connection, which was kept until there is a range
            for chunk in segment:
                position += len(chunk)
                yield chunk
    except blobs.RangesUnsupported:
        yield from blobs.fetch(client, path, digest, size, position) if is_split else rest


def _until_slow(task: Task, chunks: Iterator[bytes], size: int) -> Iterator[bytes]:
    """Yields the chunks; ends before the last one if the connection is slow and a thread has nothing else to do."""
    began, waited, count, idle, asked = time.monotonic(), 0.0, 0, Event(), task.jobs == 1
    while True:
        before = time.monotonic()
        chunk = next(chunks, b"")
        waited += time.monotonic() - before
        if not chunk:
            return
        count += len(chunk)
        yield chunk
        if size - count < MIN_REST or not _is_slow(count, waited, time.monotonic() - began):
            continue
        if not asked:
            asked = True
            task.when_idle(idle.set)
        if idle.is_set():
            return


def _is_slow(count: int, waited: float, elapsed: float) -> bool:
    """Returns whether a connection is slow: most of the seconds that passed were spent waiting for it, and it brought less
    than `_FAST` bytes in each of them."""
    return waited >= _TRIAL and 2 * waited > elapsed and count < waited * _FAST


def _segments(client: Client, path: str, digest: Digest, size: int, position: int) -> Iterator[list[bytes]]:
    """Yields the chunks of each segment from `position` in order. Raises `RangesUnsupported` in the turn of a segment that
    the server does not send."""
    over = Event()

    def segment(start: int) -> list[bytes]:
        found = []
        for chunk in blobs.fetch_range(client, path, digest, size, start, min(SEGMENT, size - start)):
            if over.is_set():
                raise CancelledError("interrupted")
            found.append(chunk)
        return found

    try:
        # The first one alone: a server that knows no ranges would begin to send the whole blob to each thread.
        yield segment(position)
        starts = range(position + SEGMENT, size, SEGMENT)
        yield from client.task.spread(segment, starts, client.task.jobs + 1, waits=True)
    finally:
        over.set()
