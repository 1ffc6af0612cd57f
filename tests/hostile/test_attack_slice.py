"""A short seeded slice of the campaign of whole commands; `tests/campaign/run attack registry` is the long one."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(("target", "times"), [("attack", 60), ("registry", 15)])
def test_no_command_breaks_a_law(target: str, times: int, tmp_path: Path) -> None:
    words = [sys.executable, ROOT / "tests" / "campaign" / "run", target, "--times", str(times), "--seed", "2", "--cores", "1"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    count = re.search(rf"^{target}: (\d+) commands in", done.stdout, re.MULTILINE)
    assert (0, True) == (done.returncode, count is not None and int(count[1]) >= times), done.stdout + done.stderr
