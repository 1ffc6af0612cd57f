"""The examples of a Markdown page: which commands it shows, and whether they print what it shows.

In a ```console or ```sh block, a line that begins with `$ ` is a command (`\\` at its end continues it), the lines behind it
are what it prints, standard output and error together. No such lines: the output is not compared. A line `...` stands for any
lines; `...` within a line, for any text in it. A line `# exit 1` behind the output, or at the end of the command, is its
exit code; without it that is 0. Commands of ocitool, `sed` and `mkdir` are run, others are not. All blocks of a page run one
after the other in one directory, as a reader would do it. A plain `ocitool` command runs in this process, which is four times
as fast; one with pipes, quotes in quotes or redirections is bash's. `localhost:5000` is a registry of the test's own, one for
each page. `docker-daemon:` is an engine of the test's own. A test with real engines runs the commands of other programs too.

A ```pycon block is a session of Python, run by doctest in the same directory; names stay from one block of a page to the
next, and `...` in a line stands for any text. It has the same registry.

What must not run (placeholders) belongs in a ```text block.
"""

from __future__ import annotations

import doctest
import io
import os
import re
import shlex
import subprocess
import sys
from contextlib import chdir, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

from support.inside import run_together

HOST = "localhost:5000"
REMOTE = "localhost:2376"

OURS = re.compile(r"(?:[A-Z_]+=\S* )*ocitool ")
EXIT = re.compile(r"(?:^|\s)#\s*exit (\d+)\s*$")
FENCE = re.compile(r"^(?P<fence>```+)(?P<kind>console|sh|pycon)\s*\n(?P<body>.*?)^(?P=fence)\s*$", re.MULTILINE | re.DOTALL)
QUOTED = re.compile(r"'[^']*'|\"[^\"$`\\]*\"")
OF_THE_SHELL = re.compile(r"[|&;<>$`*?\\~#(){}]")


@dataclass(frozen=True, slots=True)
class Command:
    """A command that a page shows, with what it prints. `line`: of the page."""

    line: int
    text: str
    shown: tuple[str, ...]
    code: int

    @property
    def ours(self) -> bool:
        return OURS.match(self.text) is not None

    @property
    def runs(self) -> bool:
        return self.ours or self.text.startswith(("sed ", "mkdir "))

    @property
    def plain(self) -> bool:
        """Whether it needs no shell."""
        return self.text.startswith("ocitool ") and OF_THE_SHELL.search(QUOTED.sub("", self.text)) is None

    @property
    def setup(self) -> bool:
        return "pip install" in self.text and "testdata/" in self.text


@dataclass(frozen=True, slots=True)
class Block:
    """A block of a page: commands of the shell, or a session of Python."""

    line: int
    commands: tuple[Command, ...] = ()
    python: str = ""

    @property
    def runs(self) -> bool:
        return bool(self.python) or any(command.ours for command in self.commands)

    @property
    def asks_an_engine(self) -> bool:
        return any("docker-daemon:" in command.text for command in self.commands)

    @property
    def asks_a_registry(self) -> bool:
        return HOST in self.python or any(HOST in command.text for command in self.commands)


def blocks(markdown: str) -> list[Block]:
    """The blocks of a page that are executed."""
    found = []
    for match in FENCE.finditer(markdown):
        line = markdown.count("\n", 0, match.start("body")) + 1
        if match["kind"] == "pycon":
            found.append(Block(line, python=match["body"]))
        else:
            found.append(Block(line, tuple(commands(match["body"], line))))
    return found


def commands(body: str, line: int) -> list[Command]:
    """The commands of one block that begins at this line of its page."""
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


def forgotten(markdown: str) -> list[str]:
    """Lines of blocks that look like commands of ocitool and are not executed, since no `$ ` stands before them. Behind a
    command, they would be what it prints."""
    bodies = [re.split("^[$] ", match["body"], flags=re.MULTILINE)[0] for match in FENCE.finditer(markdown)]
    return [line for body in bodies for line in body.splitlines() if OURS.match(line)]


def matches(shown: tuple[str, ...], printed: list[str]) -> bool:
    """Whether the lines are those shown, where a line `...` stands for any, also none."""
    pattern = "".join(r"(?:.*\n)*?" if line.strip() == "..." else _line(line) + r"\n" for line in shown)
    return re.fullmatch(pattern, "".join(f"{line.rstrip()}\n" for line in printed)) is not None


def _line(line: str) -> str:
    return ".*".join(re.escape(part) for part in line.split("..."))


class Runner:
    """Runs the commands of blocks in a directory of its own, in which `testdata` is. `there`: what `localhost:5000` means;
    `remote`: what `localhost:2376` means; `engine`: the address of what `docker-daemon:` means. With `every`, commands of any
    program are run."""

    def __init__(
        self, parent: Path, testdata: Path, there: str = HOST, engine: str | None = None, *, remote: str = REMOTE,
        every: bool = False,
    ) -> None:  # fmt: skip
        self.cwd, self.programs, self.cache, self.there = parent / "work", parent / "bin", parent / "cache", there
        self._engine, self._remote, self._every = engine, remote, every
        self._names: dict[str, Any] = {}
        for directory in (self.cwd, self.programs):
            directory.mkdir()
        (self.cwd / "testdata").symlink_to(testdata)
        program = self.programs / "ocitool"
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m ocitool "$@"\n')
        program.chmod(0o755)

    def run(self, block: Block, page: str) -> None:
        """Raises `AssertionError` if it does not print what the page shows."""
        if block.python:
            self._python(block, page)
        for command in block.commands:
            if command.runs or self._every:
                self.check(command, page)

    def execute(self, text: str, *, plain: bool = False, cwd: Path | None = None) -> tuple[int, list[str]]:
        """Exit code and lines printed."""
        own = self._environment()
        if plain:
            code, printed = run_together(tuple(shlex.split(text)[1:]), own, self.cwd)
            return code, printed.decode("utf-8", "replace").splitlines()
        env = {name: value for name, value in {**os.environ, **own}.items() if value is not None}
        done = subprocess.run(
            ["bash", "-c", text], cwd=cwd or self.cwd, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, timeout=300,
        )  # fmt: skip
        return done.returncode, done.stdout.decode("utf-8", "replace").splitlines()

    def _environment(self) -> dict[str, str | None]:
        own: dict[str, str | None] = dict.fromkeys(("COLUMNS", "FORCE_COLOR", "VIRTUAL_ENV"))
        own |= {"PATH": f"{self.programs}:{os.environ['PATH']}", "OCITOOL_CACHE_DIR": str(self.cache), "NO_COLOR": "1"}
        own |= {"DOCKER_HOST": self._engine, "DOCKER_CONTEXT": None, "DOCKER_CONFIG": str(self.programs)}
        return own | {"TERM": "dumb", "LC_ALL": "C.UTF-8", "REGISTRY_AUTH_FILE": str(self.programs / "none.json")}

    def check(self, command: Command, page: str) -> None:
        """Runs one command. Raises `AssertionError` if it does not print what the page shows."""
        there = replace(command, text=command.text.replace(HOST, self.there).replace(REMOTE, self._remote))
        code, printed = self.execute(there.text, plain=there.plain)
        printed = [line.replace(self.there, HOST).replace(self._remote, REMOTE) for line in printed]
        whole = "\n".join(printed)
        assert code == command.code, f"{page}:{command.line}: {command.text}\nexit {code}\n{whole}"
        if command.shown and not matches(command.shown, printed):
            assert printed == list(command.shown), f"{page}:{command.line}: {command.text}\n{whole}"

    def _python(self, block: Block, page: str) -> None:
        python = block.python.replace(HOST, self.there)
        test = doctest.DocTestParser().get_doctest(python, self._names, page, page, block.line - 1)
        said = io.StringIO()
        own = {name: value for name, value in self._environment().items() if value is not None}
        with chdir(self.cwd), mock.patch.dict(os.environ, own), redirect_stdout(io.StringIO()):
            failed, _ = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=said.write, clear_globs=False)
        self._names = test.globs
        assert not failed, said.getvalue()
