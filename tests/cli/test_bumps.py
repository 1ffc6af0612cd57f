"""What `diff` says of what bots bring to a pull request: one line if nothing is to be reviewed, else the cause."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from support.bumps import BUMPS, written

import ocitool as api

Run = Callable[..., Any]
QUIET = list(BUMPS)[:16]


@cache
def reports(name: str) -> dict[str, str]:
    """The report on a pair in each format."""
    with TemporaryDirectory() as place:
        result = api.diff(*written(BUMPS[name], Path(place)), no_cache=True, jobs=1)
        return {"text": api.render(result), "markdown": api.render(result, "markdown")}


def verdict(name: str, form: str) -> list[str]:
    """The lines of a report that a reader sees after the names of the images, but for how noise of the build is avoided; of
    Markdown those that are not folded, with the heading."""
    text = reports(name)[form]
    if form == "markdown":
        while "<details>" in text:
            text = re.sub(r"<details>(?:(?!<details>).)*?</details>", "", text, flags=re.DOTALL)
        text = re.sub(r"<!--.*?-->|`[^\n]*\(`before`\)[^\n]*\(`after`\)", "", text)
    else:
        text = text.partition("(after)")[2].partition("\nvolatile")[0]
        text = re.sub(r"\n    (?=\S)", " ", text)  # a line that was too long goes on, further in
    return [line for line in text.splitlines() if line]


def test_there_are_twenty() -> None:
    assert 20 == len(BUMPS)


@pytest.mark.parametrize("form", ["text", "markdown"])
def test_for_fifteen_of_twenty_the_report_is_one_line(form: str) -> None:
    lines = {name: len(verdict(name, form)) for name in BUMPS}
    assert 15 <= sum(number <= 1 for number in lines.values()), lines


@pytest.mark.parametrize("name", QUIET)
def test_what_no_container_would_notice_is_said_to_be_nothing(name: str) -> None:
    assert re.search(r"no visible change|no file|all volatile|, volatile", verdict(name, "text")[0])


@pytest.mark.parametrize("name", list(BUMPS)[16:])
def test_what_was_bumped_is_named_in_every_format(name: str) -> None:
    for report in reports(name).values():
        assert [] == [word for word in BUMPS[name].words if word not in report.replace("`", "")]


@pytest.mark.parametrize("name", ["rebuilt", "squashed", "label"])
def test_a_check_for_what_is_notable_passes(ocitool: Run, tmp_path: Path, name: str) -> None:
    assert 0 == ocitool("diff", *written(BUMPS[name], tmp_path), "--fail-on", "notable").code
