"""gc frees exactly the blobs to which no path leads, whatever the documents look like."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocitool.errors import NotFoundError
from ocitool.operations.layout import collect
from ocitool.spec import mediatypes
from ocitool.task import Task

SHAPES = ("index", "manifest", "nested", "artifact", "leaf", "bytes")
TYPES = {"index": mediatypes.OCI_INDEX, "manifest": mediatypes.OCI_MANIFEST}


class StoredDocuments:
    """Documents that name earlier ones, so that each digest is known."""

    def __init__(self, chosen: list[tuple[str, list[int], int | None]]) -> None:
        self.data: list[bytes] = []
        self.types: list[str] = []
        self.names: list[set[int]] = []
        self.subjects: list[int | None] = []
        for number, (shape, picks, subject) in enumerate(chosen):
            named = [pick % number for pick in picks] if number and shape not in ("leaf", "bytes") else []
            about = subject % number if subject is not None and number and shape in ("index", "manifest", "artifact") else None
            self.data.append(self._made(number, shape, named, about))
            self.types.append(TYPES.get(shape, "application/x"))
            self.names.append(set(named) | ({about} if about is not None else set()))
            self.subjects.append(about)

    def _made(self, number: int, shape: str, named: list[int], about: int | None) -> bytes:
        listed = [self.descriptor(one) for one in named]
        document: dict[str, Any] = {"schemaVersion": 2, "number": number}
        if shape == "index":
            document["manifests"] = listed
        elif shape == "manifest":
            document |= {"config": self.descriptor(named[0]) if named else {}, "layers": listed[1:]}
        elif shape == "nested":
            document = {"deep": [{"er": listed}], "number": number}
        elif shape == "artifact":
            document["blobs"] = listed
        else:
            return b"\x00%d" % number if shape == "bytes" else b'{"leaf": %d}' % number
        if about is not None:
            document["subject"] = self.descriptor(about)
        return json.dumps(document).encode()

    def descriptor(self, number: int) -> dict[str, Any]:
        data = self.data[number]
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        return {"mediaType": self.types[number], "digest": digest, "size": len(data)}

    def needed(self, roots: set[int]) -> set[int]:
        """By the definition, until nothing changes: what is named by something needed, or speaks of something needed."""
        found = set(roots)
        while True:
            more = set().union(found, *(self.names[one] for one in found))
            more |= {n for n, subject in enumerate(self.subjects) if subject is not None and subject in more}
            if more == found:
                return found
            found = more


CHOSEN = st.lists(
    st.tuples(st.sampled_from(SHAPES), st.lists(st.integers(0, 50), max_size=3), st.none() | st.integers(0, 50)),
    min_size=1, max_size=14,
)  # fmt: skip


@settings(max_examples=150)
@given(CHOSEN, st.sets(st.integers(0, 50), max_size=3), st.data())
def test_gc_frees_exactly_what_is_not_needed(
    chosen: list[tuple[str, list[int], int | None]], picks: set[int], data: st.DataObject
) -> None:
    stored = StoredDocuments(chosen)
    roots = {pick % len(chosen) for pick in picks}
    absent = data.draw(st.sets(st.sampled_from(range(len(chosen))), max_size=1))
    with tempfile.TemporaryDirectory() as made, Task() as task:
        store = Path(made)
        (store / "blobs/sha256").mkdir(parents=True)
        index = {"schemaVersion": 2, "manifests": [stored.descriptor(one) for one in roots]}
        (store / "index.json").write_text(json.dumps(index))
        for number, content in enumerate(stored.data):
            if number not in absent:
                (store / "blobs/sha256" / hashlib.sha256(content).hexdigest()).write_bytes(content)
        for number in absent:  # names nothing that anyone could read, and speaks of nothing
            stored.names[number], stored.subjects[number] = set(), None
        kept = stored.needed(roots) - absent
        if roots & absent:  # what it names cannot be known
            with pytest.raises(NotFoundError):
                collect(str(store), task)
            kept = set(range(len(stored.data))) - absent
        else:
            collect(str(store), task)
        left = set(os.listdir(store / "blobs/sha256"))
    assert {stored.descriptor(one)["digest"][7:] for one in kept} == left
