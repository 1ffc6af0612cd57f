"""How often a layout syncs: each blob's bytes once, the names of all blobs together, before the index."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from support.registries import NoWaitTask

from ocitool.blob import BytesBlob
from ocitool.digest import Digest
from ocitool.directories import OpenDirectory
from ocitool.transports.layout_sink import LayoutSink
from ocitool.transports.sink import WriteRequest


def test_the_names_of_many_blobs_are_synced_once_after_the_last_of_them(
    task: NoWaitTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    sync: Callable[[OpenDirectory], None] = OpenDirectory.sync

    def count(self: OpenDirectory) -> None:
        if self.path.endswith("sha256"):
            synced.append(len(os.listdir(self.descriptor)))
        sync(self)

    monkeypatch.setattr(OpenDirectory, "sync", count)
    blobs = tuple(BytesBlob(raw, Digest.of(raw)) for raw in (b"%d" % number for number in range(20)))
    sink = LayoutSink(str(tmp_path / "new"), task)
    try:
        sink.write(WriteRequest(roots=(), blobs=blobs), task, verify=False)
    finally:
        sink.close()
    assert [20] == synced
