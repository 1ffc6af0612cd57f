"""`unpack --as tar`: writes the merged file system as one tar.

Directories come first (see `trees.changeset_tar`). A reader that sets their times and modes at its end restores all of
them: GNU tar does so with --delay-directory-restore; otherwise files that are made later change the times of directories.
Memory: the indexes and the tree, and about 100 bytes for each visible file.
"""

from __future__ import annotations

import os
import sys
from typing import NamedTuple

from ocitool.atomic import Temporary, sweep
from ocitool.blob import expected_sizes
from ocitool.disk.staging import check_layers
from ocitool.errors import DestinationError, UsageError
from ocitool.images.image import Image
from ocitool.pipeline.session import Session
from ocitool.progress import Notice
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


def unpack(reference: str, dest: str, session: Session, *, platform: str | None = None, force: bool = False) -> FlatResult:
    """Writes the tar to a file, which appears whole or not at all, or for `-` to standard output.

    Raises `DestinationError` for an existing file unless `force` replaces it. If a layer does not match its digest, raises
    `IntegrityError`; standard output then has a tar without its end-of-archive blocks.
    """
    task = session.task
    if dest == "-" and sys.stdout.isatty():
        raise UsageError("the output is a terminal, to which no tar is written", hint="redirect it, or name a file")
    if dest != "-" and os.path.isdir(dest):
        raise DestinationError("the destination is a directory, a tar needs a file", dest)
    place = new_file(dest, force=force) if dest != "-" else None
    image = session.image(reference, platform)
    check_layers(image)
    tree = Tree(session.indexer().unhashed_indexes(image, image.layers))  # `tar_chunks` hashes the layers
    changes = changeset(None, tree)
    size = 0
    task.expect(expected_sizes(layer.blob for layer in image.layers), anew=True)
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
