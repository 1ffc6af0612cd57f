"""The campaign `registries` finds what it looks for: blobs that are missing, that differ, or that are one too many."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from campaign.registries import Bench, Content, Wrong, equal, holds
from support.images import sha256

CONTENT = Content()
WANTED = CONTENT.with_referrers(CONTENT.index)


def damaged(layout: Path, digest: str) -> None:
    (layout / "blobs" / digest.replace(":", "/")).write_bytes(b"x")


BREACHES: dict[str, Callable[[Path], None]] = {
    "a blob is missing": lambda layout: os.remove(layout / "blobs" / CONTENT.index.replace(":", "/")),
    "a blob differs": lambda layout: damaged(layout, CONTENT.artifacts[1].digest),
}


def bench(place: Path) -> Bench:
    return Bench("127.0.0.1:1", place, None, CONTENT)


@pytest.mark.parametrize("breach", BREACHES.values(), ids=BREACHES)
def test_a_layout_that_lacks_something_is_found(breach: Callable[[Path], None], tmp_path: Path) -> None:
    layout = CONTENT.layout(tmp_path / "layout")
    holds(bench(tmp_path), layout, WANTED)
    breach(layout)
    with pytest.raises(Wrong, match="1 blobs are missing or differ"):
        holds(bench(tmp_path), layout, WANTED)


def test_what_comes_along_unasked_is_found(tmp_path: Path) -> None:
    layout = CONTENT.layout(tmp_path / "layout")
    with pytest.raises(Wrong, match="came along"):
        holds(bench(tmp_path), layout, WANTED, all_of_it=True)


def test_what_speaks_of_what_speaks_of_an_image_belongs_to_it() -> None:
    bill, mark, second, cosign = (one.digest for one in CONTENT.artifacts)
    assert {bill, mark, second} <= WANTED and cosign not in WANTED
    assert {CONTENT.alone} == {name for name in CONTENT.below(CONTENT.alone) if name in CONTENT.raw}
    assert all(sha256(data) == name for name, data in CONTENT.blobs.items())


def test_what_is_other_than_wanted_is_found(tmp_path: Path) -> None:
    with pytest.raises(Wrong, match="tags: 2 instead of 1"):
        equal(1, 2, "tags")
    with pytest.raises(Wrong, match="ends with 3"):
        bench(tmp_path).run("sh", "-c", "exit 3")
