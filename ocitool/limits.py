"""The limits on what a hostile image or server can make ocitool use, in bytes unless stated otherwise.

Some can be raised by the environment variable in their docstring, for a harmless image that exceeds them.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from ocitool.errors import UsageError

KiB, MiB, GiB = 1 << 10, 1 << 20, 1 << 30


def _from_environment(name: str, default: int, unit: str = "bytes") -> int:
    """Returns the value of a variable, or the default. Raises `UsageError` for anything but a whole number."""
    text = os.environ.get(name)
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise UsageError(f"{name} must be a whole number of {unit}")
    return int(text)


class JsonLimits(NamedTuple):
    """The limits of a JSON document that is read or written: `size` in bytes, and `values` (array items and object
    members), which bound the memory of the parsed document."""

    size: int
    values: int


DOCUMENT_SIZE = 4 * MiB
"""The size of a manifest, index or configuration; registries accept no larger manifest."""

DOCUMENT_DEPTH = 64
"""Nesting of arrays and objects in a document."""

DOCUMENT_VALUES = 400_000
"""Values in one document."""

DOCUMENT = JsonLimits(DOCUMENT_SIZE, DOCUMENT_VALUES)
"""A document that has a digest: a manifest, an index, a configuration."""

STORE = JsonLimits(64 * MiB, 3_000_000)
"""A document that lists a whole store, and is never sent to a registry: `index.json` of a layout or archive,
`manifest.json` and `repositories` of an archive. It has room for 100,000 entries with a platform and two long names each.
An entry has at least eight values, so there are at most 400,000 entries."""

INDEX_DEPTH = 8
"""Levels of nested indexes."""

INDEX_MANIFESTS = 1_000_000
"""Manifests that can be reached from one index, with nested indexes: more than `STORE` allows, so that whatever was written
can be read. Little is kept in memory for each; the documents themselves are bounded by `DOCUMENT`."""

LIST = JsonLimits(32 * MiB, 4_000_000)
"""All pages of a registry's list of tags, repositories or referrers together."""

ENGINE_ANSWER = JsonLimits(64 * MiB, 4_000_000)
"""One answer of an engine: a list of images, containers, volumes or changed paths."""

LIST_ITEMS = 1_000_000
"""Tags, repositories or referrers in one list."""

LIST_PAGES = 10_000
"""Pages of one list."""

LIST_SECONDS = 3600
"""Seconds for all pages of one list, including the waiting times that the registry asks for."""

STATE_DOCUMENTS = 2_000_000
"""Manifests and configurations that `dedupe --state` keeps, those of a million images; beyond it only what the last run
needed."""

TOKEN = JsonLimits(256 * KiB, 10_000)
"""The answer of a token server."""

ERROR_SIZE = 64 * KiB
"""Bytes that are read of an error answer."""

ANSWER_HEAD = 1 * MiB
"""The status line and headers of a registry's answer, including those of interim answers before it."""

REDIRECTS = 5
"""Redirects that one request follows."""

SLOWEST = 1 * KiB
"""Bytes for each second that an answer must bring after the time-out of a request has passed. A slower answer ends like a
broken connection, so that the time of an answer is bounded by its size."""

ARCHIVE_MEMBERS = 1_000_000
"""Members of an image archive."""

TAR_HEADER_DATA = 1 * MiB
"""PAX records or a GNU long name of one entry."""

TAR_HEADERS = 1_000
"""Extension headers before one entry."""

GLOBAL_RECORDS = 512 * MiB
"""Names and xattrs that global pax headers give to the entries of one layer, counted for each entry: they are in memory
once, but written for each entry."""

LAYER_HEADERS = 64 * MiB
"""Memory for all entries of one layer in addition to the columns of its index: extension headers (pax records, long names),
segments of sparse files, and xattrs with 128 bytes each."""

ENTRY_HEADERS = 1 * KiB
"""Added to `LAYER_HEADERS` for each entry."""

SPARSE_SEGMENTS = 1_000_000
"""Data segments of one sparse file."""

PATH_LENGTH = 64 * KiB
"""The path of an entry; no file system accepts one as long."""

PATH_DEPTH = 1_024
"""Components of the path of an entry."""

IMPLIED_DIRECTORIES = 500_000
"""Directories of a merged tree that no layer lists: a path of 2 kB can imply a thousand."""

IMPLIED_FREE = 50_000
"""Implied directories that are allowed in any case, and `ENTRY_IMPLIED` more for each entry of the layers."""

ENTRY_IMPLIED = 32
"""Implied directories for each entry."""

IMPLIED_PATHS = 64 * MiB
"""The paths of all implied directories together."""

SYMLINK_HOPS = 40
"""Symbolic links that are followed for one path; the limit of the Linux kernel."""

LINK_STEPS = 5_000_000
"""Path components in the targets of all symbolic links that are followed while the layers of an image are merged and
searched, and `ENTRY_LINK_STEPS` more for each entry."""

LINKED_PATHS = 64 * MiB
"""Real paths of entries in directories that are reached through symbolic links, and `ENTRY_LINKED` more for each entry."""

ENTRY_LINKED = 256
"""Bytes of real paths for each entry."""

ENTRY_LINK_STEPS = 64
"""Path components in targets of symbolic links for each entry."""

PACKAGE_TEXT = 64 * KiB
"""One text about an installed package of rpm, such as its license."""

PACKAGE_PATH_MEMORY = 512 * MiB
"""Memory for the paths that the databases of one kind list as files of packages: a small database can name one long directory
for each of a million files."""

MAX_LAYERS = 125
"""Layers of an image that Docker accepts (its `maxLayerDepth`). Images with more are read; writing one gives a notice."""

ZSTD_WINDOW = 128 * MiB
"""The window of a zstd frame; the reference decoder accepts no larger one by default."""


def layer_entries(stored: int | None = None) -> int:
    """Returns the limit of entries of one layer (`OCITOOL_MAX_LAYER_ENTRIES`). Unless the variable is set, a layer of
    `stored` bytes may have one for each byte, but in any case `ENTRIES_FREE`."""
    most = _from_environment("OCITOOL_MAX_LAYER_ENTRIES", LAYER_ENTRIES)
    if stored is None or "OCITOOL_MAX_LAYER_ENTRIES" in os.environ:
        return most
    return min(most, max(ENTRIES_FREE, stored))


LAYER_ENTRIES = 20_000_000
"""Entries of one layer by default."""

ENTRIES_FREE = 500_000
"""Entries that are allowed for any number of stored bytes. A tar header may take less than a byte in a compressed layer,
but hundreds of bytes in memory."""


def unpacked_size() -> int:
    """Returns the limit of one decompressed layer or archive (`OCITOOL_MAX_UNPACKED_SIZE`)."""
    return _from_environment("OCITOOL_MAX_UNPACKED_SIZE", 1 << 40)


def unpacked_ratio() -> int:
    """Returns how many bytes a stored byte may unpack to, after the first `RATIO_FREE` bytes (`OCITOOL_MAX_RATIO`)."""
    return _from_environment("OCITOOL_MAX_RATIO", 200)


def documents_size() -> int:
    """Returns the limit of the manifests, indexes and configurations of one registry reference in memory
    (`OCITOOL_MAX_DOCUMENTS`)."""
    return _from_environment("OCITOOL_MAX_DOCUMENTS", 64 * MiB)


REPEATED = 64 * MiB
"""Bytes of configurations that a report repeats because several images have the same."""


def lock_wait() -> int:
    """Returns the seconds to wait for the lock of a layout or store (`OCITOOL_LOCK_WAIT`)."""
    return _from_environment("OCITOOL_LOCK_WAIT", 600, "seconds")


RATIO_FREE = 1 * GiB
"""Unpacked bytes to which the ratio does not apply: a layer with one large file of zeros is harmless, and costs a
second."""


EXPANSION = 8 * GiB
"""Bytes beyond the ratio to which all layers of one command together may unpack, including hashed holes of sparse files:
each layer has `RATIO_FREE`, and a manifest can name thousands."""


DATABASE_FILE = 512 * MiB
"""The content of a file in which installed packages are looked for, which is in memory as a whole; also the holes of all such
files of one image, if they are sparse."""

PACKAGES = 1_000_000
"""Installed packages of one image."""

PACKAGE_FILES = 5_000_000
"""Paths that the databases of one kind list as files of packages."""

PACKAGE_RECORD = JsonLimits(64 * MiB, 4_000_000)
"""The record of one package in JSON that lists its files, as conda writes it. A `package.json` is bounded by `DOCUMENT`."""


INNER_PARTS = 200_000
"""Members or sections of one changed file that `diff` compares."""

INNER_UNPACKED = 1 * GiB
"""Bytes to which the compressed contents that `diff` looks into may unpack, all together; `EXPANSION` with `--inside`."""

INNER_QUICK = 256 * MiB
"""Bytes that `diff` unpacks to look into changed files, all together, unless `--inside` asks for all."""


def cache_size() -> int:
    """Returns the limit of all files of the index cache together (`OCITOOL_CACHE_SIZE`)."""
    return _from_environment("OCITOOL_CACHE_SIZE", 1 * GiB)
