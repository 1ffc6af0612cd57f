"""Bounds on what a hostile image may cost, all in one place; in bytes unless stated otherwise.

Some can be raised by the environment variable named beside them, for the rare honest image beyond the bound.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from ocitool.errors import UsageError

KiB, MiB, GiB = 1 << 10, 1 << 20, 1 << 30


def _from_environment(name: str, default: int, unit: str = "bytes") -> int:
    text = os.environ.get(name)
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise UsageError(f"{name} must be a whole number of {unit}")
    return int(text)


class JsonLimits(NamedTuple):
    """What a JSON document may cost, whether it is read or written: `size` in bytes, and `values` (array items and object
    members), which bound the memory that it takes once it is parsed."""

    size: int
    values: int


DOCUMENT_SIZE = 4 * MiB
"""A manifest, index or configuration; the largest manifest that registries accept."""

DOCUMENT_DEPTH = 64
"""Nesting of arrays and objects in a document."""

DOCUMENT_VALUES = 400_000
"""Values in one document."""

DOCUMENT = JsonLimits(DOCUMENT_SIZE, DOCUMENT_VALUES)
"""A document that has a digest: a manifest, an index, a configuration."""

STORE = JsonLimits(64 * MiB, 3_000_000)
"""A document that lists a whole store and goes to no registry: `index.json` of a layout or archive, `manifest.json` and
`repositories` of an archive. Room for 100,000 entries with a platform and two long names each. No entry takes less than eight
values, so no more than 400,000 entries are ever listed."""

INDEX_DEPTH = 8
"""An index within an index within an index."""

INDEX_MANIFESTS = 1_000_000
"""Manifests reached from one index, nested ones included: more than `STORE` lets one list, so that nothing that was written
is too much to read. What is held for each is small; the documents themselves are bounded by `DOCUMENT`."""

LIST = JsonLimits(32 * MiB, 4_000_000)
"""All pages of a registry's list of tags, repositories or referrers together; each of them alone has no more."""

ENGINE_ANSWER = JsonLimits(64 * MiB, 4_000_000)
"""One answer of an engine: a list of images, containers, volumes or changed paths."""

LIST_ITEMS = 1_000_000
"""Tags, repositories or referrers in one list."""

LIST_PAGES = 10_000
"""Pages of one list."""

LIST_SECONDS = 3600
"""Seconds for all pages of one list, waiting as long as the registry asks for included."""

TOKEN = JsonLimits(256 * KiB, 10_000)
"""A token server's answer."""

ERROR_SIZE = 64 * KiB
"""What is read of an answer that is not the one hoped for."""

ANSWER_HEAD = 1 * MiB
"""The lines before the body of a registry's answer, those of answers before it included."""

REDIRECTS = 5
"""Redirects that one request follows."""

SLOWEST = 1 * KiB
"""Bytes a second that an answer must bring while it is waited for, once the time-out of a request has passed: what drips
slower ends as if the connection were cut. So no answer takes longer than its bytes allow."""

ARCHIVE_MEMBERS = 1_000_000
"""Members of an image archive."""

TAR_HEADER_DATA = 1 * MiB
"""PAX records or a GNU long name of one entry."""

TAR_HEADERS = 1_000
"""Extension headers before one entry."""

GLOBAL_RECORDS = 512 * MiB
"""Names and xattrs that global pax headers give to the entries of one layer, counted for each of them: held once, and written
as often."""

LAYER_HEADERS = 64 * MiB
"""What is held of all entries of one layer beside the columns of its index: extension headers (pax records, long names), and
segments of sparse files and xattrs with 128 bytes each."""

ENTRY_HEADERS = 1 * KiB
"""So much more of it for each entry."""

SPARSE_SEGMENTS = 1_000_000
"""Data segments of one sparse file."""

PATH_LENGTH = 64 * KiB
"""An entry's path, above what any file system takes."""

PATH_DEPTH = 1_024
"""Components of an entry's path."""

IMPLIED_DIRECTORIES = 500_000
"""Directories that a merged tree may have to make because no layer lists them: a name of 2 kB can ask for a thousand."""

IMPLIED_FREE = 50_000
"""So many of them whatever the layers list, and `ENTRY_IMPLIED` for each of their entries."""

ENTRY_IMPLIED = 32

IMPLIED_PATHS = 64 * MiB
"""The paths of these directories, together."""

SYMLINK_HOPS = 40
"""Symbolic links followed for one path, as the Linux kernel."""

LINK_STEPS = 5_000_000
"""Names in the targets of the symbolic links that are followed while the layers of an image are merged and looked up in, and
`ENTRY_LINK_STEPS` more for each of their entries."""

LINKED_PATHS = 64 * MiB
"""Real paths of what stands in directories that are reached through symbolic links, and `ENTRY_LINKED` more for each entry."""

ENTRY_LINKED = 256

ENTRY_LINK_STEPS = 64
"""Names in targets of symbolic links for each entry."""

ZSTD_WINDOW = 128 * MiB
"""The window a zstd frame may ask for (what the reference decoder accepts by default)."""


def layer_entries(stored: int | None = None) -> int:
    """Entries of one layer (`OCITOOL_MAX_LAYER_ENTRIES`). Unless that is set, a layer that is unpacked from `stored` bytes has
    no more than one for each of them, beyond `ENTRIES_FREE`."""
    most = _from_environment("OCITOOL_MAX_LAYER_ENTRIES", LAYER_ENTRIES)
    if stored is None or "OCITOOL_MAX_LAYER_ENTRIES" in os.environ:
        return most
    return min(most, max(ENTRIES_FREE, stored))


LAYER_ENTRIES = 20_000_000

ENTRIES_FREE = 500_000
"""Below this entries are not set against stored bytes: a header of a tar may take less than a byte in a compressed layer, and
hundreds in memory."""


def unpacked_size() -> int:
    """One layer or archive, decompressed (`OCITOOL_MAX_UNPACKED_SIZE`)."""
    return _from_environment("OCITOOL_MAX_UNPACKED_SIZE", 1 << 40)


def unpacked_ratio() -> int:
    """Unpacked bytes a stored byte may become, once `RATIO_FREE` bytes are out (`OCITOOL_MAX_RATIO`)."""
    return _from_environment("OCITOOL_MAX_RATIO", 200)


def documents_size() -> int:
    """Manifests, indexes and configurations that one reference to a registry may hold at once (`OCITOOL_MAX_DOCUMENTS`)."""
    return _from_environment("OCITOOL_MAX_DOCUMENTS", 64 * MiB)


REPEATED = 64 * MiB
"""Bytes of configurations that a report shows again, for other images that have the same: each is printed with each of them."""


def lock_wait() -> int:
    """Seconds that the lock of a layout or store is waited for (`OCITOOL_LOCK_WAIT`)."""
    return _from_environment("OCITOOL_LOCK_WAIT", 600, "seconds")


RATIO_FREE = 1 * GiB
"""Below this the ratio is not asked: a layer with one large file of zeros is honest, and costs a second."""


EXPANSION = 8 * GiB
"""Bytes that the layers of one command may unpack to beyond the ratio, all together, with the holes of sparse files that are
hashed: each has its free GiB, and a manifest can name thousands."""


def cache_size() -> int:
    """All files of the index cache together (`OCITOOL_CACHE_SIZE`)."""
    return _from_environment("OCITOOL_CACHE_SIZE", 1 * GiB)
