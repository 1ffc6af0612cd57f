"""The value in which a change of one path is passed from what finds changes (a comparison, a directory, an edit) to
`plan`."""

from __future__ import annotations

from typing import NamedTuple

from ocitool.layers.entry import Entry


class Change(NamedTuple):
    """A change of one path: `entry` is the entry that `path` shall have, None if the path is removed.

    `content` is False if the bytes of a file did not change: a plan may then take them from the layer that holds them.

    Hard links: the names of one file are one group. Its first name in the order of `Tree.walk` is a `FILE` entry, each
    other name a `HARDLINK` whose `link` is the first name. If anything of a group changed (content, attributes, the set
    of names), each of its names is a change, even if it looks unchanged. A removed directory is one change for each
    path in it too.
    """

    path: bytes
    entry: Entry | None
    content: bool = True
