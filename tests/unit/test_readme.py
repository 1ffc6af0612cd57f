"""README.md is short, and its set-up commands work. Its examples are executed by test_docs.py."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from support.examples import Command, Runner, blocks

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "README.md").read_text("utf-8")
COMMANDS = [command for block in blocks(TEXT) for command in block.commands]


def setup() -> list[Command]:
    return [command for command in COMMANDS if command.setup]


def test_it_has_at_most_250_lines() -> None:
    assert TEXT.count("\n") <= 250


def test_it_shows_what_commands_print() -> None:
    assert [command for command in COMMANDS if command.ours and command.shown]


def test_it_names_two_set_up_commands() -> None:
    assert 1 == len(setup()), "one `$ ...pip install... testdata/...` line installs and runs `diff`"
    assert ["tests/run"] == [command.text for command in COMMANDS if "tests/run" in command.text]


def test_the_set_up_command_works_in_a_fresh_copy(tmp_path: Path, testdata: Path) -> None:
    (command,) = setup()
    copy = tmp_path / "copy"
    ignored = shutil.ignore_patterns(".venv*", ".git", ".*_cache", "*.egg-info")
    shutil.copytree(ROOT, copy, symlinks=True, ignore=ignored)
    runner = Runner(tmp_path, testdata)
    (runner.programs / "ocitool").unlink()
    (runner.programs / "python3").symlink_to(Path(sys.executable).resolve())
    code, printed = runner.execute(command.text, cwd=copy)
    whole = "\n".join(printed)
    assert command.code == code, f"README.md:{command.line}: {command.text}\n{whole}"
    assert "layer" in whole.lower(), "it ends with the report of `diff`"
