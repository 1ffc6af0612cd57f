"""`inspect` and `dedupe` say the same in text and in Markdown, and nothing of an image is among their own words."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.diffs import EVIL, HOSTILE
from support.images import config_of, image, layer_tar, pretty, write_layout
from support.views import own_words, plain

from ocitool.dedupe import DedupeOptions, RepositoryFilter, dedupe
from ocitool.operations.inspect import inspect
from ocitool.pipeline.session import Session
from ocitool.report.dedupe_view import dedupe_view
from ocitool.report.inspect_view import inspect_view
from ocitool.task import Task

Run = Callable[..., Any]


def facts(text: str) -> list[str]:
    """What a text report states, cell by cell, without bars and what only says where it stands."""
    found: list[str] = []
    for line in text.splitlines():
        if line.endswith(":") or line.startswith(("images:", "  and ")):
            continue
        line = line.partition("… (all of it")[0]  # there is more room on a page
        for word in re.split(r"\s{2,}", line.strip()):
            if re.search("[█░·▏▎▍▌▋▊▉]", word) or re.fullmatch(r"env|label|layer \d+|\(.*\)|", word):
                continue
            found += (
                re.split(r"(?<=\w)=(?=\S)|: (?=\d)| times$|(?<=images), (?=\d)", word)
                if not word.startswith("ocitool ")
                else [word]
            )
    return [word for word in found if word]


def unsaid(text: str, page: str) -> list[str]:
    """What a text report states and a page does not."""
    folded = plain(page).casefold()
    return [fact for fact in facts(text) if fact.casefold() not in folded and not re.fullmatch(r"[\d.]+ k?B, \d+", fact)]


COMMANDS = [
    ("inspect", "--files", "app-v2.tar"), ("inspect", "multiarch"), ("inspect", "--files", "whiteouts.tar"),
    ("dedupe", "--files", "app-v1.tar", "app-v2.tar"), ("dedupe", "encodings"),
]  # fmt: skip


@pytest.mark.parametrize("words", COMMANDS)
def test_all_that_text_says_is_said_on_the_page(ocitool: Run, testdata: Path, words: tuple[str, ...]) -> None:
    named = [str(testdata / word) if (testdata / word).exists() else word for word in words]
    text, page = (ocitool(*named, "--format", form).out for form in ("text", "markdown"))
    assert len(facts(text)) > 10
    assert [] == unsaid(text, page)
    assert text.count("***") == page.count("***")
    for fact in facts(text)[::3]:  # what is not on the page is missed
        if len(fact) > 6 and fact in plain(page):
            assert unsaid(text, plain(page).replace(fact, "")), fact


@pytest.mark.parametrize("evil", HOSTILE[::4])
def test_nothing_of_an_image_is_among_the_words_of_inspect_and_dedupe(tmp_path: Path, evil: str) -> None:
    history = [{"created_by": evil}]
    config = {"User": evil, "Env": [f"{evil}={evil}", evil], "Labels": {evil: evil}, "Volumes": {evil: {}}}
    tars = [layer_tar([(f"{EVIL}1", b"x" * 9000), (f"{EVIL}2", b"x" * 9000)])]
    fields = [config_of(tars, history=history, author=f"{evil}{n}", config=config) for n in "ab"]
    made = [image(tars, tag=f"{evil}{n}", config=pretty(one)) for n, one in zip("ab", fields, strict=True)]
    store = str(write_layout(tmp_path / "s", made))
    with Task(jobs=1) as task:
        session = Session(task, None, False)
        views = (
            dedupe_view(dedupe([store], DedupeOptions(RepositoryFilter(), files=True), session)),
            inspect_view(inspect(store, session)),
        )
    for view in views:
        assert [] == [word for word in own_words(view) if EVIL in word]
    assert [EVIL] == [word for word in own_words(views[0]._replace(images=EVIL)) if EVIL in word]
