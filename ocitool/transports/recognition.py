"""What a file or directory is if it is not an image, and what can be done with it: the messages and hints of `opening`.

Hints must be true: what they name was looked at, and their commands work as they are.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from ocitool.blob import FileBlob, OpenFile, unreadable
from ocitool.errors import FormatError, NotAnImageError, OcitoolError
from ocitool.layers import codecs, magic
from ocitool.layers.magic import Prefix

_SYSTEM = ("bin", "etc", "usr", "var", "lib", "sbin", "proc", "dev", "root", "opt", "tmp")
"""Top-level directories of a root file system; a directory with three of them is taken for one."""

_SHOWN = 5
_EMPTY = "the file is empty"


def no_directory(path: str, is_image: Callable[[str], bool]) -> OcitoolError:
    """Returns the error for a directory that is not an image. `is_image` says whether a directory in it is one."""
    try:
        names = sorted(os.listdir(path))
    except OSError as error:
        return unreadable(path, error)
    what, hint = _directory(path, names, is_image)
    return NotAnImageError(f"not an OCI layout: {what}", path, hint=hint)


def _directory(path: str, names: list[str], is_image: Callable[[str], bool]) -> tuple[str, str | None]:
    quoted = shlex.quote(path)
    if not names:
        return "the directory is empty", None
    if "ocitool.json" in names or ("rootfs" in names and os.path.isdir(os.path.join(path, "rootfs"))):
        return (
            "an unpacked image, and no image itself",
            f"ocitool repack {quoted} DEST makes an image of what ocitool unpacked here; the files are in {quoted}/rootfs",
        )
    above = _layout_above(path)
    if above is not None:
        return "it is a part of a layout", f"the layout is {shlex.quote(above)}"
    if len(set(names) & set(_SYSTEM)) >= 3:
        return (
            "it has no index.json; it is an unpacked root file system",
            f"an unpacked root file system is no image; tar -C {quoted} -c . | docker import - NAME makes one of it, and "
            f"ocitool append SRC DEST --layer {quoted} puts its files on an image",
        )
    inside = [name for name in names if name.endswith(tuple(codecs.ENDINGS)) or is_image(os.path.join(path, name))]
    if inside:
        shown = ", ".join(shlex.quote(os.path.join(path, name)) for name in inside[:_SHOWN])
        more = f" and {len(inside) - _SHOWN} more" if len(inside) > _SHOWN else ""
        return "the directory has no index.json", f"in it may be images: {shown}{more}"
    return "the directory has no index.json", None


def _layout_above(path: str) -> str | None:
    """Returns the layout that a path is in, at most three levels up: DIR/blobs/ALGORITHM/BLOB."""
    at = os.path.abspath(path)
    for _ in range(3):
        at = os.path.dirname(at)
        if os.path.isfile(os.path.join(at, "index.json")) and os.path.isdir(os.path.join(at, "blobs")):
            return at
    return None


def image_file(path: str) -> str | None:
    """Returns what a regular file is: an archive, a known binary format, or a document or blob of a layout. None for
    any other file, and for one that is empty or cannot be read."""
    try:
        opened = OpenFile(path)
    except OcitoolError:
        return None
    head = FileBlob(opened, 0, opened.size)
    compression = codecs.detected(head)
    if compression != "none":
        return f"a file compressed with {compression}"
    if opened.size and magic.is_tar(head):
        return "an archive"
    if (found := magic.recognise(head)) is not None:
        return found.name
    layout = _layout_above(path)
    first = os.path.relpath(os.path.abspath(path), layout).split(os.sep)[0] if layout is not None else None
    return "a part of an OCI layout" if first in ("index.json", "oci-layout", "blobs") else None


def no_archive(path: str, head: Prefix, error: FormatError, wrappers: Sequence[str] = ()) -> FormatError:
    """Returns the error for a file that is not a tar. `error`: that of the tar reader, used if the file is not
    recognised. `wrappers`: the compressions of the file, outermost first; `head`: the start of the decompressed
    content."""
    what, hint = _file(path, head)
    if wrappers and what is not None and what != _EMPTY:
        what = " in ".join((what, *reversed(wrappers)))
        hint = f"unpack it first: {codecs.CODECS[wrappers[0]].unpack} {shlex.quote(path)} > FILE; then look at FILE"
    if what is None:
        return type(error)(f"not an image archive: {error.what}", path, hint=error.hint or hint)
    if what == _EMPTY:
        return FormatError(f"not an image archive: {what}", path)
    return NotAnImageError(f"not an image archive: {what}", path, hint=hint)


def _file(path: str, head: Prefix) -> tuple[str | None, str | None]:
    first = head.pread(codecs.SNIFF, 0)
    quoted = shlex.quote(path)
    if not first:
        return _EMPTY, None
    if first.lstrip()[:1] in (b"{", b"["):
        return _document(path)
    known = magic.recognise(head)
    if known is None:
        return None, None
    if known.unpack is None:
        return f"it is {known.name}", None
    return f"it is {known.name}", "unpack it first: " + known.unpack.replace("FILE", quoted)


def _document(path: str) -> tuple[str, str]:
    above = _layout_above(path)
    name = os.path.basename(path)
    directory = os.path.dirname(path) or "."
    if above is not None and name == "index.json":
        return "it is the index of a layout", f"the layout is {shlex.quote(directory)}"
    if above is not None:
        return (
            "it is a document of a layout",
            f"{shlex.quote(above)} is the layout; {shlex.quote(f'{above}:@sha256:{name}')} names a manifest of it",
        )
    if name == "manifest.json":
        return "it is a JSON document", f"{shlex.quote(directory)} is the directory that it describes"
    return "it is a JSON document", f"ocitool validate --as manifest {shlex.quote(path)} checks one that stands alone"


def compressed_too_often(path: str, how: str, outer: str) -> NotAnImageError:
    """Returns the error for a file with more levels of compression than are read. `how`: all of them, innermost first."""
    source = "" if path == "-" else f" {shlex.quote(path)}"
    return NotAnImageError(
        f"not an image archive: compressed more than twice ({how})", path,
        hint=f"{codecs.CODECS[outer].unpack}{source} | ocitool COMMAND -",
    )  # fmt: skip


class MemberNames(Protocol):
    """The members of a tar (`archive_members.Members`)."""

    where: str
    tops: set[bytes]
    is_layer: bool

    def names(self) -> Iterator[bytes]: ...


def no_image(members: MemberNames, images: Sequence[str]) -> NotAnImageError:
    """Returns the error for a tar that is not an image archive. `images`: directories in it that contain images."""
    where, quoted, names = members.where, shlex.quote(members.where), list(members.names())
    missing = "it has neither index.json nor manifest.json nor repositories"
    inside = sorted(name.decode("utf-8", "replace") for name in names if name.endswith(tuple(map(str.encode, codecs.ENDINGS))))
    if images:
        what = f"it holds images in several directories: {', '.join(images[:_SHOWN])}"
        hint = f"unpack it first: tar -xf {quoted}; then name one of them"
    elif len({os.fsencode(name) for name in _SYSTEM} & members.tops) >= 3 or members.is_layer:
        what = "a tar of files, as of a root file system (docker export) or a layer"
        hint = f"docker import {quoted} NAME makes an image of it; ocitool append SRC DEST --layer {quoted} puts it on one"
    elif inside and len(names) <= 64:
        what = f"it holds {', '.join(inside[:_SHOWN])}"
        hint = f"unpack it first: tar -xf {quoted}" if where != "-" else "unpack it first"
    else:
        what, hint = missing, f"a tar of files becomes a layer with ocitool append SRC DEST --layer {quoted}"
    text = what if what == missing else f"{what}; {missing}"
    return NotAnImageError(f"not an image archive: {text}", where, hint=hint)
