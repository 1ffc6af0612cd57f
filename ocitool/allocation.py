"""How the C library keeps memory that threads free."""

from __future__ import annotations

from contextlib import suppress

_ARENA_MAX = -8  # M_ARENA_MAX of <malloc.h>
_ARENAS = 2


def keep_freed_memory() -> None:
    """Lets glibc keep freed blocks for the next ones, in two heaps for all threads. Called before a pool has threads; does
    nothing with another C library.

    glibc would return each freed block to the kernel, which clears the pages of the next one: freeing one large piece, never
    touched, raises the sizes up to which it keeps memory (mallopt(3), M_MMAP_THRESHOLD). It would also give each thread a heap
    of its own, and what grows in one cannot use what is free in another: a fifth of the peak of large indexes. With one heap
    for all, its end is returned to the kernel too often.
    """
    bytes(16 << 20)
    with suppress(ImportError, OSError, AttributeError):
        from ctypes import CDLL

        CDLL(None).mallopt(_ARENA_MAX, _ARENAS)
