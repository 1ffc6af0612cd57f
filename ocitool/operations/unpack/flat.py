"""`unpack --as tar`: the merged file system as one flat tar.

Directories come first (see `images.layertar`): a reader that sets their times and modes at its end restores all. GNU tar
does so with --delay-directory-restore, else files made later change the times of directories.
Memory: indexes and tree, and about 100 bytes a visible file.
"""

from __future__ import annotations

import os
import sys
from typing import NamedTuple

from ocitool.atomic import Temporary, sweep
from ocitool.blob import expected
from ocitool.disk.staging import check_layers
from ocitool.errors import DestinationError, UsageError
from ocitool.images.image import Image
from ocitool.pipeline.session import Session
from ocitool.task import Notice
from ocitool.transports.outputs import keep_mode, new_file
from ocitool.trees import changeset_tar
from ocitool.trees.changeset import changeset
from ocitool.trees.tree import Tree


class FlatResult(NamedTuple):
    """The result. `entries`: members written; `size`: bytes of the tar."""

    reference: str
    image: Image
    destination: str
    entries: int
    size: int
    notices: tuple[Notice, ...]


def unpack(reference: str, dest: str, reading: Session, *, platform: str | None = None, force: bool = False) -> FlatResult:
    """The tar into a file, whole or not at all, or for `-` to standard output.

    An existing file is a `DestinationError` unless `force` replaces it. On standard output a layer that turns out not
    to be what it states ends the tar without its end-of-archive blocks, and the command with an `IntegrityError`.
    """
    task = reading.task
    if dest == "-" and sys.stdout.isatty():
        raise UsageError("a tar is not written to a terminal", hint="redirect the output, or name a file")
    if dest != "-" and os.path.isdir(dest):
        raise DestinationError("a directory, where a tar is to be written", dest)
    place = new_file(dest, force=force) if dest != "-" else None
    image = reading.image(reference, platform)
    check_layers(image)
    tree = Tree(reading.indexer().indexes(image))
    changes = changeset(None, tree)
    size = 0
    task.expect(expected(layer.blob for layer in image.layers), anew=True)
    if place is None:
        for piece in changeset_tar.tar_chunks(changes, image, tree, task):
            sys.stdout.buffer.write(piece)
            size += len(piece)
        sys.stdout.buffer.flush()
    else:
        at, name = place
        sweep(at)
        temporary = Temporary(at, private=force and at.stat(name) is not None)
        try:
            for piece in changeset_tar.tar_chunks(changes, image, tree, task):
                temporary.write(piece)
                size += len(piece)
            if force:
                keep_mode(temporary, name)
                temporary.replace(name)
            else:
                temporary.place(name)
        finally:
            temporary.discard()
    return FlatResult(reference, image, dest, len(changes), size, tuple(task.notices))
