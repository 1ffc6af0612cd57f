"""The tests' measure of memory, which campaigns fail by."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support import memory

TESTS = Path(__file__).resolve().parents[1]
PROGRAM = "from support import memory; print(memory.peak())"


def test_a_process_does_not_begin_with_the_peak_of_the_one_that_started_it() -> None:
    parent = f"import subprocess, sys; held = bytearray(300 << 20); subprocess.run([sys.executable, '-c', {PROGRAM!r}])"
    done = subprocess.run([sys.executable, "-c", parent], cwd=TESTS, capture_output=True, text=True, check=True)
    assert 0 < int(done.stdout) < 150 << 20


@pytest.mark.parametrize("size", [64 << 20, 256 << 20])
def test_the_peak_counts_what_was_freed(size: int) -> None:
    program = f"held = bytearray({size}); del held; {PROGRAM}"
    done = subprocess.run([sys.executable, "-c", program], cwd=TESTS, capture_output=True, text=True, check=True)
    assert size <= int(done.stdout) < size + (100 << 20)


def test_this_process_has_a_peak() -> None:
    assert memory.peak() > 1 << 20
