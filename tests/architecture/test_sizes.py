"""No file, function or package is larger than a reader can hold, but for functions that say why."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

SOURCES = Path(__file__).parents[2] / "ocitool"
LINES_OF_FILE = 500
LINES_OF_FUNCTION, BRANCHES = 80, 30
LINES_OF_PACKAGE, LINES_OF_OPERATIONS = 5_000, 7_500
"""Of a package without those in it; `operations`, which has a package for each larger command, counts with them."""

FUNCTIONS = {
    "masking/lines.py::_Line._read": "the loop over a secret's surroundings, a state machine of one character each",
    "masking/words.py::Words.next": "the loop over words of a command, a state machine",
    "trees/merge.py::LayerMerge._apply": "the loop over entries of a layer: a call for each would cost a tenth of the merging",
}


def branches(function: ast.AST) -> int:
    """Places where a function may go on in more than one way."""
    count = 0
    for node in ast.walk(function):
        if isinstance(node, ast.If | ast.IfExp | ast.For | ast.While | ast.ExceptHandler | ast.match_case):
            count += 1
        elif isinstance(node, ast.BoolOp):
            count += len(node.values) - 1
        elif isinstance(node, ast.comprehension):
            count += 1 + len(node.ifs)
    return count


def large_functions(source: str) -> Iterator[str]:
    """The names of the functions, with the class that they are in, that are too long or have too many branches."""
    tree = ast.parse(source)
    within = {id(one): f"{node.name}." for node in ast.walk(tree) if isinstance(node, ast.ClassDef) for one in node.body}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > LINES_OF_FUNCTION or branches(node) > BRANCHES:
                yield within.get(id(node), "") + node.name


def large_packages(lines: dict[str, int]) -> set[str]:
    """The packages that are too large, by the lines of each file."""
    sums: Counter[str] = Counter()
    for name, count in lines.items():
        package = name.rpartition("/")[0]
        sums["operations" if package.startswith("operations/") else package] += count
    return {name for name, count in sums.items() if count > (LINES_OF_OPERATIONS if name == "operations" else LINES_OF_PACKAGE)}


TEXTS = {str(path.relative_to(SOURCES)): path.read_text("utf-8") for path in sorted(SOURCES.rglob("*.py"))}
COUNTS = {name: text.count("\n") for name, text in TEXTS.items()}


def test_a_file_has_at_most_five_hundred_lines() -> None:
    assert [] == [name for name, count in COUNTS.items() if count > LINES_OF_FILE]


def test_a_function_has_at_most_eighty_lines_and_thirty_branches() -> None:
    assert sorted(FUNCTIONS) == sorted(f"{name}::{found}" for name, text in TEXTS.items() for found in large_functions(text))


def test_a_package_has_at_most_five_thousand_lines() -> None:
    assert set() == large_packages(COUNTS)


def test_a_function_that_is_too_long_or_has_too_many_branches_is_found() -> None:
    long = "def long():\n" + "    x = 1\n" * LINES_OF_FUNCTION
    branching = "        if x and y: pass\n" * (BRANCHES // 2)
    wide = f"class C:\n    def wide(self):\n{branching}        return [a for a in b]\n"
    small = "def small():\n" + "    if x: pass\n" * BRANCHES
    assert ["long", "C.wide"] == list(large_functions(f"{long}{wide}{small}"))


def test_a_package_that_is_too_large_is_found() -> None:
    lines = {"trees/a.py": 3_000, "trees/b.py": 2_001, "disk/a.py": 5_000, "operations/a.py": 5_000, "operations/x/a.py": 2_501}
    assert {"trees", "operations"} == large_packages(lines)
