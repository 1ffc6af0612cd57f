"""Random edits of every portable image, repacked in both modes, and what reference tools see of them; seed after seed."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from conftest import NoEngine, private_engine
from support.written_images import WrittenImages

ROUND = 3
"""Seeds that go to the engines at a time."""


def run(seconds: float, seed: int, say: Callable[[str], None]) -> Iterator[str]:
    end, images = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        with tempfile.TemporaryDirectory() as name:
            written_images = WrittenImages(Path(name))
            written_images.repacked(range(seed, seed + ROUND))
            written_images.pack()
            images += len(written_images.products)
            yield from written_images.by_directory()
            yield from written_images.by_umoci()
            for driver in ("vfs", "overlay2"):
                try:
                    with private_engine(driver, "/tmp") as docker:
                        yield from written_images.by_engine(docker, driver)
                except NoEngine as error:
                    say(f"no engine with {driver}: {error}")
        seed += ROUND
        say(f"{images} images, next seed {seed}")
