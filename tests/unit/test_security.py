"""SECURITY.md names only what exists: commands, options and variables are ocitool's (test_docs.py follows its links)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import typer

from ocitool import cli

ROOT = Path(__file__).resolve().parents[2]
PAGE = "SECURITY.md"

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
SPAN = re.compile(r"`([^`\n]+)`")
HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)
OPTION = re.compile(r"--[a-z][a-z-]*")
VARIABLE = re.compile(r"\bOCITOOL_[A-Z_]+\b")

SECTIONS = (
    "Reporting a fault", "Supported versions", "What is promised", "Threat model", "Hostile images", "Registries",
    "Shared directories", "Bounds", "Secrets in reports",
)  # fmt: skip


def options() -> dict[str, set[str]]:
    """The options of each command, and under "" those of the program and all commands together."""
    program = typer.main.get_command(cli.app)
    found: dict[str, set[str]] = {"": {opt for one in program.params for opt in one.opts}}
    for name in cli.COMMANDS:
        command = program.get_command(None, name)  # type: ignore[attr-defined]
        below = {f"{name} {sub}": one for sub, one in getattr(command, "commands", {}).items()}
        found |= {key: {opt for one in each.params for opt in one.opts} for key, each in {name: command, **below}.items()}
    found[""] |= set().union(*found.values())
    return found


def unknown_commands(text: str) -> Iterator[str]:
    known = options()
    for span in SPAN.findall(text):
        words = span.split()
        if words[0] == "ocitool" and len(words) > 1:
            name = words[1] if words[1] != "layout" or len(words) == 2 else " ".join(words[1:3])
            if words[1].startswith("--"):
                name = ""
            if name not in known or not set(OPTION.findall(span)) <= known[name] | known[""] & {"--help"}:
                yield span


def unknown_options(text: str) -> Iterator[str]:
    known = options()[""]
    ours = [span for span in SPAN.findall(text) if span.startswith(("--", "ocitool "))]
    yield from (one for span in ours for one in OPTION.findall(span) if one not in known)


def unknown_variables(text: str) -> Iterator[str]:
    code = "\n".join(file.read_text("utf-8") for file in (ROOT / "ocitool").rglob("*.py"))
    yield from (name for name in VARIABLE.findall(text) if f'"{name}"' not in code)


def missing_sections(text: str) -> Iterator[str]:
    headings = HEADING.findall(text)
    yield from (name for name in SECTIONS if name not in headings)


def addresses(text: str) -> Iterator[str]:
    """Mail addresses: reports go through the hosting site, which keeps them private."""
    yield from re.findall(r"[\w.+-]+@[\w-]+\.[\w.]+", text)


CHECKS: dict[Callable[[str], Iterator[str]], str] = {
    unknown_commands: "`ocitool inspect --redact x`",
    unknown_options: "`--no-such-option`",
    unknown_variables: "`OCITOOL_NO_SUCH_VARIABLE`",
    missing_sections: "# Threat model",
    addresses: "write to security@example.org",
}
"""Each check, and a text in which it finds something."""


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_it_names_only_what_exists(check: Callable[[str], Iterator[str]]) -> None:
    assert [] == list(check((ROOT / PAGE).read_text("utf-8")))


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_each_check_can_fail(check: Callable[[str], Iterator[str]]) -> None:
    assert list(check(CHECKS[check]))


def test_the_readme_leads_to_it() -> None:
    assert PAGE in LINK.findall((ROOT / "README.md").read_text("utf-8"))
