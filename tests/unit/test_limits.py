"""README.md lists every limit, with the number that counts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ocitool import limits

README = Path(__file__).parents[2] / "README.md"
UNITS = {"KiB", "MiB", "GiB", "DOCUMENT", "STORE"}
"""Names of `limits` that are no limits of their own."""

OTHER = {
    "RATIO_FREE": "beyond the first GiB",
    "LAYER_ENTRIES": "20,000,000; of a compressed one",
    "ENTRIES_FREE": "a compressed one 500,000",
    "DOCUMENT_DEPTH": "64 levels, 400,000 values",
    "INDEX_DEPTH": "8 levels",
    "TAR_HEADERS": "1,000 headers",
    "ENTRY_HEADERS": "1,024 bytes for each entry",
    "ENTRY_LINK_STEPS": "64 for each entry",
    "IMPLIED_FREE": "50,000 and 32 for each entry",
    "ENTRY_IMPLIED": "50,000 and 32 for each entry",
    "IMPLIED_DIRECTORIES": "never more than 500,000",
    "LINKED_PATHS": "below symbolic links | 64 MiB",
    "ENTRY_LINKED": "256 bytes for each entry",
    "SYMLINK_HOPS": "40 symbolic links",
    "PATH_DEPTH": "1,024 components",
}
"""How README.md says what a number alone does not tell."""


def said(name: str, value: int) -> str:
    if name in OTHER:
        return OTHER[name]
    for unit, size in (("GiB", limits.GiB), ("MiB", limits.MiB), ("KiB", limits.KiB)):
        if not name.endswith(NUMBERS) and value % size == 0:
            return f"{value // size} {unit}"
    return f"{value:,}"


NUMBERS = ("MANIFESTS", "MEMBERS", "SEGMENTS", "VALUES", "STEPS", "DIRECTORIES")
NAMES = sorted(name for name, value in vars(limits).items() if name.isupper() and isinstance(value, int) and name not in UNITS)


def unsaid(text: str) -> list[str]:
    """The limits that a text does not list with their numbers."""
    section = text.partition("\n## Limits\n")[2].partition("\n## ")[0]
    return [name for name in NAMES if said(name, getattr(limits, name)) not in section]


def test_readme_lists_every_limit_with_its_number() -> None:
    assert unsaid(README.read_text()) == []


@pytest.mark.parametrize("name", ["PATH_DEPTH", "EXPANSION", "LINK_STEPS"])
def test_a_limit_of_another_number_is_found(name: str) -> None:
    text = said(name, getattr(limits, name))
    assert name in unsaid(README.read_text().replace(text, "9"))


def test_every_number_of_other_words_is_that_of_its_limit() -> None:
    for name, text in OTHER.items():
        numbers = {int(number.replace(",", "")) for number in re.findall(r"[\d,]*\d", text)}
        value = getattr(limits, name)
        assert value in numbers or value // limits.MiB in numbers or (name, value) == ("RATIO_FREE", limits.GiB), name
