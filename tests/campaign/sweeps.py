"""The campaign `sweep`: every image of testdata and every one that the test suite makes, held against the laws of
`support.sweep`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from support.inside import Outcome, run_inside
from support.sweep import sweep

ROOT = Path(__file__).resolve().parents[2]


def run(corpus: Path, say: Callable[[str], None]) -> Iterator[str]:
    """Findings. An empty or absent `corpus` is first filled by a run of the test suite; its failures do not count here."""
    corpus.mkdir(parents=True, exist_ok=True)
    if not any(corpus.iterdir()):
        say(f"the test suite runs, what it makes goes to {corpus}")
        words = ["-q", "-p", "campaign.collecting", "-p", "no:cacheprovider", "-n", "auto", "--dist", "worksteal"]
        env = {**os.environ, "OCITOOL_CORPUS": str(corpus), "PYTHONPATH": str(ROOT / "tests")}
        subprocess.run([sys.executable, "-m", "pytest", *words], cwd=ROOT, env=env, stdout=subprocess.DEVNULL)
    testdata = ROOT / "testdata"
    places = [*testdata.glob("*.tar"), *(testdata / "encodings").iterdir(), testdata / "multiarch", *sorted(corpus.iterdir())]
    say(f"{len(places)} places")
    with ProcessPoolExecutor() as pool:
        for done, (place, findings) in enumerate(zip(places, pool.map(swept, places, chunksize=4), strict=True), 1):
            yield from (f"{place}: {finding}" for finding in findings)
            if done % 500 == 0:
                say(f"{done} places done")


def swept(place: Path) -> list[str]:
    work = Path(tempfile.mkdtemp(prefix="sweep-"))

    def command(words: tuple[str, ...]) -> Outcome:
        return run_inside(words, {"OCITOOL_CACHE_DIR": str(work / "cache"), "TMPDIR": str(work)})

    try:
        return sweep(place, work, command)
    except Exception as error:  # a fault of the sweep itself must not hide the rest
        return [f"the sweep failed: {error!r}"]
    finally:
        shutil.rmtree(work, ignore_errors=True)
