"""What `dedupe` takes for each image of a large collection: files opened, and memory."""

from __future__ import annotations

import os
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from support.many_images import write_many

import ocitool
from ocitool.report.formats import lines


def test_a_layer_that_many_images_share_is_opened_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_many(tmp_path / "many", 200, own=2)
    opened: Counter[str] = Counter()
    real = os.open

    def counting(path: Any, *more: Any, **named: Any) -> int:
        opened[os.path.basename(os.fsdecode(path))] += 1
        return real(path, *more, **named)

    monkeypatch.setattr(os, "open", counting)
    found = ocitool.dedupe(tmp_path / "many")
    blobs = {path.name for path in (tmp_path / "many/blobs/sha256").iterdir()}
    used = {key.partition(":")[2] for key in found.collection.blobs}
    assert dict.fromkeys(used, 1) == {name: opened[name] for name in used}
    assert 200 * 4 < len(used) <= len(blobs)


@pytest.mark.parametrize("format", ["text", "json", "markdown"])
def test_an_image_of_twelve_layers_takes_at_most_7_kb(format: Any, tmp_path: Path) -> None:
    """With four layers that no other image has; from the first to the last line of the report."""
    counts, peaks = (200, 600), []
    for count in counts:
        write_many(tmp_path / str(count), count, own=4)
        tracemalloc.start()
        for _ in lines("dedupe", ocitool.dedupe(tmp_path / str(count)), format):
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert (peaks[1] - peaks[0]) / (counts[1] - counts[0]) < 7_000
