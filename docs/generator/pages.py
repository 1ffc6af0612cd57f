"""The marked parts of pages, and the man pages: what they should be, and what they are.

A marked part of a page stands between `<!-- docs/make.py: NAME -->` and `<!-- end -->`, each on a line of its own. NAME is one
of `parts()`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from generator import commands, figures, python, tables, troff

ROOT = Path(__file__).resolve().parents[2]

PART = re.compile(r"^<!-- docs/make.py: (?P<name>[^\n]+?) -->\n.*?^<!-- end -->$", re.MULTILINE | re.DOTALL)


def parts(root: Path) -> dict[str, Callable[[], str]]:
    """What can be between marks, by name."""
    known: dict[str, Callable[[], str]] = {
        "exit codes": tables.exit_codes,
        "limits": tables.limits_table,
        "rules of validate": tables.validate_rules,
        "rules of diff": tables.notable_rules,
        "volatile classes": tables.volatile_classes,
        "variables": tables.variables,
        "schemas of reports": tables.report_schemas,
        "schemas of documents": tables.document_schemas,
        "fields of reports": tables.report_fields,
        "commands": lambda: commands.index(commands.program()),
        "measured": partial(figures.table, root),
        "measured in short": partial(figures.table, root, short=True),
        "how it was measured": partial(figures.conditions, root),
        "targets that were missed": partial(figures.missed, root),
        "python functions": python.functions,
        "python arguments": python.arguments,
        "python image": python.image,
        "python documents": python.documents,
        "python results": python.results,
    }
    known |= {f"command {one.path}": partial(commands.reference, one) for one in commands.program().below}
    return known


def filled(text: str, root: Path) -> str:
    """A page with its marked parts as they should be. Raises `KeyError` for a name that is not known."""
    known = parts(root)

    def part(match: re.Match[str]) -> str:
        return f"<!-- docs/make.py: {match['name']} -->\n{known[match['name']]()}\n<!-- end -->"

    return PART.sub(part, text)


def names(text: str) -> list[str]:
    """The marked parts of a page."""
    return [match["name"] for match in PART.finditer(text)]


def man_pages(root: Path) -> Iterator[tuple[Path, str]]:
    """Each man page: its file, and what it should hold."""
    from ocitool import __version__, errors

    program = commands.program()
    codes = [(str(code), text) for code, text in errors.EXIT_CODES.items()]
    for one in commands.every(program):
        text = troff.page(one, program, __version__, codes, list(tables.variable_rows()))
        yield root / "docs" / "man" / f"{one.page}.1", text


def wanted(root: Path = ROOT) -> Iterator[tuple[Path, str]]:
    """Every file with generated parts, and what it should hold."""
    for path in (root / "README.md", *sorted((root / "docs").rglob("*.md"))):
        text = path.read_text("utf-8")
        if PART.search(text):
            yield path, filled(text, root)
    yield from man_pages(root)


def stale(root: Path = ROOT) -> Iterator[Path]:
    """Files that are not what they should be; also man pages of commands that are gone."""
    files = dict(wanted(root))
    yield from (path for path, text in files.items() if not path.is_file() or path.read_text("utf-8") != text)
    yield from (path for path in sorted((root / "docs" / "man").glob("*")) if path not in files)


def write(root: Path = ROOT) -> Iterator[Path]:
    """Makes stale files what they should be, and returns which they were."""
    files = dict(wanted(root))
    for path in list(stale(root)):
        if path in files:
            path.parent.mkdir(exist_ok=True)
            path.write_text(files[path], "utf-8")
        else:
            path.unlink()
        yield path
