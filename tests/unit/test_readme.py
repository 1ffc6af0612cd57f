"""The README is executed: every `$ ocitool ...` in its ```console and ```sh blocks runs, and prints what it shows.

In a block, a line that begins with `$ ` is a command (`\\` at its end continues it), the lines behind it are what it
prints, standard output and error together. No such lines: the output is not compared. A line `...` stands for any
lines; `...` within a line, for any text in it. A line `# exit 1` behind the output, or at the end of the command, is its
exit code; without it that is 0. Other commands than ocitool's, `sed` and `mkdir` are not run, except the set-up line
with `pip install` and `testdata/`, which runs in a copy of the repository. What must not run (placeholders) belongs in
a ```text block. `localhost:5000` is a registry of the test's own, one for each block.
"""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from support.registry import ScriptedRegistry

from ocitool import errors

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
HOST = "localhost:5000"

EXIT = re.compile(r"(?:^|\s)#\s*exit (\d+)\s*$")
FENCE = re.compile(r"^(?P<fence>```+)(?:console|sh)\s*\n(?P<body>.*?)^(?P=fence)\s*$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Command:
    line: int
    text: str
    shown: tuple[str, ...]
    code: int

    @property
    def ours(self) -> bool:
        return self.text.startswith("ocitool ")

    @property
    def runs(self) -> bool:
        return self.ours or self.text.startswith(("sed ", "mkdir "))

    @property
    def setup(self) -> bool:
        return "pip install" in self.text and "testdata/" in self.text


def blocks(markdown: str) -> list[list[Command]]:
    """The commands of each block."""
    return [
        commands(match["body"], markdown.count("\n", 0, match.start("body")) + 1) for match in FENCE.finditer(markdown)
    ]


def commands(body: str, line: int) -> list[Command]:
    found: list[Command] = []
    lines = body.splitlines()
    at = 0
    while at < len(lines):
        start, text, shown = at, lines[at], []
        at += 1
        if not text.startswith("$ "):
            continue
        while text.endswith("\\") and at < len(lines):
            text = text[:-1] + lines[at].removeprefix("> ").lstrip()
            at += 1
        while at < len(lines) and not lines[at].startswith("$ "):
            shown.append(lines[at].rstrip())
            at += 1
        while shown and not shown[-1]:
            shown.pop()
        code = EXIT.search(text)
        if code is not None:
            text = text[: code.start()]
        elif shown and (code := EXIT.fullmatch(shown[-1])) is not None:
            shown.pop()
        found.append(Command(line + start, text[2:].strip(), tuple(shown), int(code[1]) if code else 0))
    return found


def matches(shown: tuple[str, ...], printed: list[str]) -> bool:
    """Whether the lines are those shown, where a line `...` stands for any, also none."""
    pattern = "".join(r"(?:.*\n)*?" if line.strip() == "..." else _line(line) + r"\n" for line in shown)
    return re.fullmatch(pattern, "".join(f"{line.rstrip()}\n" for line in printed)) is not None


def _line(line: str) -> str:
    return ".*".join(re.escape(part) for part in line.split("..."))


def text() -> str:
    return README.read_text("utf-8") if README.is_file() else ""


BLOCKS = blocks(text())


@pytest.fixture
def readme() -> str:
    assert README.is_file(), "README.md is missing"
    return text()


SQL = re.compile(r"^```sql\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_its_queries_find_something_in_the_rows_that_are_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import duckdb

    images = [str(ROOT / "testdata" / f"app-v{n}.tar") for n in (1, 2)]
    subprocess.run([sys.executable, "-m", "ocitool", "dedupe", "-q", *images, "--export", tmp_path / "rows"], check=True)
    monkeypatch.chdir(tmp_path)
    queries = SQL.findall(text())
    assert [True] * 3 == [bool(duckdb.sql(query).fetchall()) for query in queries]


def execute(command: Command, cwd: Path, programs: Path) -> tuple[int, list[str]]:
    env = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "FORCE_COLOR", "VIRTUAL_ENV"}}
    env |= {"PATH": f"{programs}:{os.environ['PATH']}", "OCITOOL_CACHE_DIR": str(programs.parent / "cache")}
    env |= {"NO_COLOR": "1", "TERM": "dumb", "LC_ALL": "C.UTF-8", "REGISTRY_AUTH_FILE": str(programs / "none.json")}
    done = subprocess.run(
        ["bash", "-c", command.text],
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=300,
    )
    return done.returncode, done.stdout.decode("utf-8", "replace").splitlines()


def test_it_has_examples(readme: str) -> None:
    ours = [command for block in BLOCKS for command in block if command.ours]
    assert any(command.shown for command in ours), "README.md shows no `$ ocitool ...` with its output"


def test_every_command_of_ours_is_one_that_runs(readme: str) -> None:
    forgotten = [
        line for match in FENCE.finditer(readme) for line in match["body"].splitlines() if line.startswith("ocitool ")
    ]
    assert not forgotten, "begin these with `$ ` so that they are executed"


@pytest.mark.parametrize(
    "block",
    [block for block in BLOCKS if any(command.ours for command in block)],
    ids=lambda block: f"line-{block[0].line}",
)
def test_it_prints_what_it_shows(block: list[Command], tmp_path: Path, testdata: Path) -> None:
    """The commands of one block run one after the other in one directory."""
    programs, cwd = tmp_path / "bin", tmp_path / "work"
    programs.mkdir()
    cwd.mkdir()
    (cwd / "testdata").symlink_to(testdata)
    (programs / "ocitool").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m ocitool "$@"\n')
    (programs / "ocitool").chmod(0o755)
    with ScriptedRegistry() as registry:
        for command in block:
            if command.runs:
                check(command, cwd, programs, registry.host)


def check(command: Command, cwd: Path, programs: Path, host: str) -> None:
    there = command if HOST not in command.text else replace(command, text=command.text.replace(HOST, host))
    code, printed = execute(there, cwd, programs)
    printed = [line.replace(host, HOST) for line in printed]
    whole = "\n".join(printed)
    assert code == command.code, f"README.md:{command.line}: {command.text}\nexit {code}\n{whole}"
    if command.shown and not matches(command.shown, printed):
        assert printed == list(command.shown), f"README.md:{command.line}: {command.text}\n{whole}"


def test_the_set_up_command_works_in_a_fresh_copy(readme: str, tmp_path: Path) -> None:
    found = [command for block in BLOCKS for command in block if command.setup]
    assert len(found) == 1, "README.md has one `$ ...pip install... testdata/...` line that installs and runs `diff`"
    assert any("tests/run" in command.text for block in BLOCKS for command in block), (
        "README.md's other set-up command is `$ tests/run`"
    )
    copy = tmp_path / "copy"
    shutil.copytree(
        ROOT, copy, symlinks=True, ignore=shutil.ignore_patterns(".venv*", ".git", ".*_cache", "*.egg-info")
    )
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python3").symlink_to(Path(sys.executable).resolve())
    code, printed = execute(found[0], copy, tmp_path / "bin")
    whole = "\n".join(printed)
    assert code == found[0].code, f"README.md:{found[0].line}: {found[0].text}\nexit {code}\n{whole}"
    assert "layer" in whole.lower(), "it ends with the report of `diff`"


def exit_codes() -> set[int]:
    """Every code of the error classes, and those that no error has."""
    classes, codes = [errors.OcitoolError], {0, 1, 70, 130, 141, 143}
    for one in classes:
        codes.add(one.exit_code)
        classes += one.__subclasses__()
    return codes


def test_it_lists_every_exit_code(readme: str) -> None:
    rows = {int(code) for code in re.findall(r"^\|\s*`?(\d+)`?\s*\|", readme, re.MULTILINE)}
    assert rows >= exit_codes(), f"no table row `| CODE | ...` for {sorted(exit_codes() - rows)}"


def test_it_lists_every_rule_of_validate(readme: str) -> None:
    rules: dict[str, str] = importlib.import_module("ocitool.operations.validate").RULES
    missing = [rule for rule in rules if f"`{rule}`" not in readme]
    assert rules
    assert not missing, f"README.md has no `RULE` for {missing}"


# ------------------------------------------------------------------------------------- this test can fail

EXAMPLE = """Text
```console
$ ocitool diff a \\
    b
one
...
two
# exit 1
$ ocitool ls a  # exit 3
$ echo x
```
```text
$ ocitool not-run
```
"""


def test_blocks_are_read_as_the_docstring_says() -> None:
    (block,) = blocks(EXAMPLE)
    assert block == [
        Command(3, "ocitool diff a b", ("one", "...", "two"), 1),
        Command(9, "ocitool ls a", (), 3),
        Command(10, "echo x", (), 0),
    ]
    assert [command.ours for command in block] == [True, True, False]


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("a", "a", True),
        ("a", "a  ", True),
        ("a", "b", False),
        ("a", "a b", False),
        ("a ...", "a b", True),
        ("a ... c", "a b d", False),
        ("a|...|d", "a|b|c|d", True),
        ("a|...|d", "a|d", True),
        ("a|...|d", "a|b", False),
        ("...", "", True),
        ("a", "a|b", False),
    ],
)
def test_output_is_compared_line_by_line(shown: str, printed: str, same: bool) -> None:
    assert matches(tuple(shown.split("|")), printed.split("|") if printed else []) is same
