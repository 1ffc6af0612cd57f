"""What a document states of itself in free words, as its platform, author or types, is no place for a secret to be printed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from support.copying import ONE, TWO, Run
from support.images import image, write_layout

TOKEN = "ghp_" + "aB3dE5gH7jK9mN1pQ3sT5vX7zB9dF1hJ3kL5"
FIELDS = ["os.version", "architecture", "variant", "author", "created", "os.features"]
COMMANDS = [
    ("inspect", "{a}"), ("inspect", "{a}:@1", "--files"), ("diff", "{a}:@1", "{b}:@1"),
    ("diff", "{a}", "{b}", "--all-platforms"),
    ("dedupe", "{a}", "{b}"), ("validate", "{a}"), ("copy", "{a}", "{new}/", "--all-platforms"), ("copy", "{a}:@1", "{new}/"),
    ("squash", "{a}:@1", "{new}/"), ("edit", "{a}:@1", "{new}/", "--env", "A=b"), ("ls", "{a}:@1"), ("layout", "gc", "{a}"),
]  # fmt: skip


@pytest.fixture(params=FIELDS)
def sides(request: pytest.FixtureRequest, tmp_path: Path) -> Sequence[Path]:
    value: Any = [TOKEN] if request.param == "os.features" else TOKEN
    made = []
    for name, tars in (("a", [ONE]), ("b", [ONE, TWO])):
        one = image(tars, tag="app:1", **{request.param: value})
        platform: dict[str, Any] = {"os": "linux", "architecture": "amd64"}
        if request.param not in ("author", "created"):
            platform[request.param] = value
        one.platform = platform
        made.append(write_layout(tmp_path / name, [one]))
    return made


@pytest.mark.parametrize("form", ["text", "json", "markdown"])
def test_no_report_prints_a_secret_of_a_platform_or_author(
    form: str, sides: Sequence[Path], ocitool: Run, tmp_path: Path
) -> None:
    for number, words in enumerate(COMMANDS):
        if form == "markdown" and words[0] not in ("inspect", "diff", "dedupe"):
            continue
        said = (word.format(a=sides[0], b=sides[1], new=tmp_path / f"new{number}") for word in words)
        ended = ocitool(*said, "--format", form)
        assert TOKEN.encode() not in ended.stdout + ended.stderr, str(ended)


def test_what_is_hidden_is_shown_where_that_is_asked_for(sides: Sequence[Path], ocitool: Run) -> None:
    ended = ocitool("inspect", sides[0], "--format", "json", "--show-secrets")
    assert TOKEN in json.dumps(json.loads(ended.stdout)), str(ended)
