"""The volumes that an image declares, and since which layer: what is written below one afterwards is hidden by a volume that
has content already.

The configuration says which paths are volumes. Only the history says when each was declared, by an instruction (`VOLUME` of a
Dockerfile, `ocitool edit --volume`); for a path that no instruction names, nothing is known.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from ocitool.layers.entry import normalise
from ocitool.patterns import pattern
from ocitool.spec.manifest import Config

_INSTRUCTION = pattern(r"(?:/bin/sh -c )?(?:#\(nop\)\s+)?VOLUME\s+(?P<paths>.*?)(?:\s+# buildkit)?", re.DOTALL)
_MERGING = ("ocitool squash", "ocitool rebuild")
"""What begins the instructions of layers that are made of several; docker's own squashing leaves no instruction."""
_OURS = pattern(r"--(?P<unset>unset-)?volume (?P<path>\S+)")


class DeclaredVolumes(NamedTuple):
    """`first`: by the path of a volume, the number of the first layer after its declaration. `merged`: numbers of layers that
    may hold what older ones had, of which it cannot be said when it was written."""

    first: Mapping[bytes, int]
    merged: frozenset[int] = frozenset()


def declared_volumes(config: Config, layers: int) -> DeclaredVolumes:
    """Returns the declared volumes that an instruction names. There are none if the history does not list as many layers as the
    image has. A volume at the root is left out."""
    if sum(not entry.empty_layer for entry in config.history) != layers:
        return DeclaredVolumes({})
    wanted = {normalise(key.encode("utf-8", "surrogateescape")) for key in config.keys("Volumes")} - {b""}
    found: dict[bytes, int] = {}
    merged = set()
    done = 0
    for entry in config.history if wanted else ():
        instruction = entry.created_by or ""
        for path, declared in _named(instruction, wanted):
            if declared:
                found.setdefault(path, done + (not entry.empty_layer))
            else:
                found.pop(path, None)
        if not entry.empty_layer:
            if not instruction or instruction.startswith(_MERGING):
                merged.add(done)
            done += 1
    return DeclaredVolumes(
        {path: first for path, first in found.items() if path in wanted and first < layers}, frozenset(merged)
    )


def _named(instruction: str, wanted: Collection[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Yields the volumes that an instruction names, each with whether it declares it, or takes it back."""
    if instruction.startswith("ocitool edit "):
        for match in _OURS.finditer(instruction):
            yield normalise(match["path"].encode("utf-8", "surrogateescape")), match["unset"] is None
        return
    declaration = _INSTRUCTION.fullmatch(instruction.strip())
    if declaration is None:
        return
    text = declaration["paths"]
    words = {text, *text.split()}
    if text.startswith("[") and text.endswith("]"):
        words |= {text[1:-1], *text[1:-1].split()}  # of a path with a space, builders write what two paths would be
        try:
            listed = json.loads(text)
        except (ValueError, RecursionError):
            listed = ()
        words.update(word for word in listed if isinstance(word, str))
    for word in words:
        path = normalise(word.encode("utf-8", "surrogateescape"))
        if path in wanted:
            yield path, True
