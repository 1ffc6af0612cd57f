"""mypy understands a program that uses the public API as its users do, and finds what is wrong in another."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ROOT / "tests" / "consumer"


def found(*programs: Path) -> list[str]:
    """What `mypy --strict` says. It takes half a second with the cache that the check of our own types leaves, five without."""
    words = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--hide-error-context", *programs]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert not done.stderr, done.stderr
    return done.stdout.splitlines()


def expected(program: Path) -> list[str]:
    """The errors that its comments name, a line and a code each."""
    lines = program.read_text("utf-8").splitlines()
    return [f"{number}: {code}" for number, line in enumerate(lines, 1) for code in re.findall(r"# wrong: ([a-z-]+)", line)]


def test_a_program_has_the_types_that_it_asserts_and_a_wrong_one_has_not() -> None:
    wrong = PROGRAMS / "wrong.py"
    said = found(PROGRAMS / "program.py", wrong)
    errors = [one for line in said if (one := re.fullmatch(r"(.+?):(\d+): error: .*\[([a-z-]+)\]", line)) is not None]
    assert {"tests/consumer/wrong.py"} == {one[1] for one in errors}, said
    assert expected(wrong) == [f"{one[2]}: {one[3]}" for one in errors], said
