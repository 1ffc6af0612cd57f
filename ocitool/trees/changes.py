"""What a path of a file system is to become: the word between whoever finds changes and whoever plans layers for them."""

from __future__ import annotations

from typing import NamedTuple

from ocitool.layers.entry import Entry


class Change(NamedTuple):
    """`entry` is what is to stand at `path`, None for nothing.

    The names of one file are one group: the first in the order of a walk (`Tree.walk`) is a `FILE` entry, each other a
    `HARDLINK` whose `link` is that first name. Where anything of a group changed (content, attributes, membership), every
    name of it is a change, also names that look the same. A removed directory is one change a path: each thing below it is
    listed too. `content` says whether a file's bytes changed: where they did not, whoever plans may take them from where
    they stand.
    """

    path: bytes
    entry: Entry | None
    content: bool = True
