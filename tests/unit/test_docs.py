"""README and the pages of docs/ are executed: each command prints what they show (`support/examples.py` says how they are
written), and each link leads somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
from support.engine import ScriptedEngine
from support.examples import HOST, Command, Runner, blocks, forgotten, matches
from support.registry import ScriptedRegistry

ROOT = Path(__file__).resolve().parents[2]
PAGES = {path.relative_to(ROOT).as_posix(): path for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))}
RUN_WITH_REAL_ENGINES = "docs/container-life.md"
"""It is run by tests/conformance/test_container_life.py."""


@pytest.mark.parametrize("page", [page for page in PAGES if page != RUN_WITH_REAL_ENGINES])
def test_a_page_prints_what_it_shows_from_its_top_to_its_end(page: str, tmp_path: Path, testdata: Path) -> None:
    found = [block for block in blocks(PAGES[page].read_text("utf-8")) if block.runs]
    with (
        ScriptedRegistry() if any(block.asks_a_registry for block in found) else nullcontext() as registry,
        ScriptedEngine() if any(block.asks_an_engine for block in found) else nullcontext() as engine,
    ):
        runner = Runner(tmp_path, testdata, registry.host if registry else HOST, engine.host if engine else None)
        for block in found:
            runner.run(block, page)


@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_ours_is_one_that_runs(page: str) -> None:
    assert [] == forgotten(PAGES[page].read_text("utf-8")), "begin these with `$ ` so that they are executed"


SQL = re.compile(r"^```sql\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_queries_find_something_in_the_rows_that_are_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import duckdb

    images = [str(ROOT / "testdata" / f"app-v{n}.tar") for n in (1, 2)]
    subprocess.run([sys.executable, "-m", "ocitool", "dedupe", "-q", *images, "--export", tmp_path / "rows"], check=True)
    monkeypatch.chdir(tmp_path)
    queries = [query for path in PAGES.values() for query in SQL.findall(path.read_text("utf-8"))]
    assert [True] * 3 == [bool(duckdb.sql(query).fetchall()) for query in queries]


# Links

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCED = re.compile(r"^(```+).*?^\1\s*$", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)
OTHERS = ("SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md")


def anchors(text: str) -> list[str]:
    """The names of a page's headings in links."""
    headings = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", one) for one in HEADING.findall(FENCED.sub("", text))]
    return [re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings]


def dead_links(text: str, page: Path) -> Iterator[str]:
    """Links of a page to files that are not there, and to headings that their page has not. Other addresses are left alone."""
    for target in LINK.findall(FENCED.sub("", text)):
        if "://" in target:
            continue
        name, _, part = target.partition("#")
        there = page.parent / name
        if not there.exists() or (part and part not in anchors(there.read_text("utf-8") if name else text)):
            yield target


@pytest.mark.parametrize("page", [*PAGES, *OTHERS])
def test_every_link_leads_to_a_file_and_a_heading(page: str) -> None:
    assert [] == list(dead_links((ROOT / page).read_text("utf-8"), ROOT / page))


def test_every_page_is_reached_from_the_readme() -> None:
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page.suffix == ".md" and page.is_file() and page not in reached:
            reached.add(page)
            links = LINK.findall(FENCED.sub("", page.read_text("utf-8")))
            waiting += [(page.parent / one.partition("#")[0]).resolve() for one in links if "://" not in one and one[0] != "#"]
    assert set() == set(PAGES.values()) - reached


def first_command(text: str) -> str:
    """What a page's first block is: it begins with a command and what that prints."""
    found = re.search(r"^```+(\w+)\n(.*)\n", text, re.MULTILINE)
    return found[2] if found and found[1] in ("console", "sh", "pycon") else ""


@pytest.mark.parametrize("page", [page for page in PAGES if page.startswith("docs/")])
def test_a_page_begins_with_a_command(page: str) -> None:
    """The maps and the tables of words alone do not."""
    assert first_command(PAGES[page].read_text("utf-8")).startswith(("$ ", ">>> "))


# Numbers in sentences, of which the generated parts are not


def facts() -> dict[str, list[str]]:
    """What pages say in words of their own, with the numbers of the code."""
    import tomllib

    from ocitool import limits
    from ocitool.dedupe.layers import LayerReader
    from ocitool.layers import compress
    from ocitool.report.markdown.page import LIMIT
    from ocitool.transports.registry.endpoint import RETRIES
    from ocitool.validation import RULES

    python = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["requires-python"].removeprefix(">=")
    counts = {5: "five", 6: "six"}
    assert f"({limits.MAX_LAYERS})" in RULES["layer-limit"]
    return {
        "README.md": [f"Python {python} or later"],
        "docs/install.md": [f"Python {python} or later", f"| Python | {python} to "],
        "docs/review.md": [f"at most {LIMIT:,} characters"],
        "docs/registries.md": [f"tried {counts[1 + RETRIES]} times in all"],
        "docs/storage.md": [f"of more than {LayerReader.MAX_SAMPLED // limits.GiB} GiB a part"],
        "docs/performance.md": [f"| `{name}`, `{compress.parse(name)}` |" for name in ("gzip", "zstd")],
        "SECURITY.md": [
            f"gives up after {limits.lock_wait() // 60} minutes", f"attempts ({1 + RETRIES},",
            f"{limits.SLOWEST // limits.KiB} KiB a second",
        ],
    }  # fmt: skip


def unsaid(stated: list[str], text: str) -> list[str]:
    """Which of these a text does not state as they are."""
    return [fact for fact in stated if fact not in " ".join(text.split())]


def test_numbers_in_sentences_are_those_of_the_code() -> None:
    for page, stated in facts().items():
        text = (ROOT / page).read_text("utf-8")
        assert [] == unsaid(stated, text), page
        assert stated == unsaid(stated, re.sub(r"\d|five", "0", text)), page


# These tests can fail

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
```sh
ocitool forgotten
```
"""


def test_blocks_are_read_as_the_docstring_says() -> None:
    first, second = blocks(EXAMPLE)
    assert first.commands == (
        Command(3, "ocitool diff a b", ("one", "...", "two"), 1),
        Command(9, "ocitool ls a", (), 3),
        Command(10, "echo x", (), 0),
    )
    assert [True, True, False] == [command.ours for command in first.commands]
    assert (True, False) == (first.runs, second.runs)
    assert ["ocitool forgotten"] == forgotten(EXAMPLE)


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("ocitool ls a", True),
        ("ocitool copy --tags '*' a b", True),
        ("ocitool ls a | sort", False),
        ("ocitool ls *.tar", False),
        ("ocitool ls a && ocitool ls b", False),
        ('ocitool ls "$HOME"', False),
        ("mkdir a", False),
    ],
)
def test_what_needs_a_shell_gets_one(text: str, plain: bool) -> None:
    assert Command(1, text, (), 0).plain is plain


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


@pytest.mark.parametrize(
    "example",
    [
        "```console\n$ ocitool ls testdata/app-v1.tar /nowhere\n```\n",
        "```console\n$ ocitool --version\nocitool of another name\n```\n",
        "```console\n$ ocitool ls testdata/app-v1.tar | sort -u  # exit 7\n```\n",
        "```pycon\n>>> 1 + 1\n3\n```\n",
    ],
)
def test_an_example_that_does_otherwise_is_found(example: str, tmp_path: Path, testdata: Path) -> None:
    with pytest.raises(AssertionError, match=r"PAGE\.md"):
        Runner(tmp_path, testdata).run(blocks(example)[0], "PAGE.md")


def test_commands_of_other_programs_run_if_a_test_wants_it(tmp_path: Path, testdata: Path) -> None:
    (block,) = blocks("```console\n$ echo localhost:2376\nlocalhost:2377\n```\n")
    for name in ("few", "every"):
        (tmp_path / name).mkdir()
    Runner(tmp_path / "few", testdata).run(block, "PAGE.md")
    with pytest.raises(AssertionError, match=r"PAGE\.md"):
        Runner(tmp_path / "every", testdata, remote="127.0.0.1:1", every=True).run(block, "PAGE.md")


def test_a_session_of_python_that_prints_what_it_shows_is_right(tmp_path: Path, testdata: Path) -> None:
    runner = Runner(tmp_path, testdata)
    page = "```pycon\n>>> import os\n```\nand\n```pycon\n>>> os.listdir()\n['test...']\n```\n"
    for block in blocks(page):
        runner.run(block, "")


def test_a_link_that_leads_nowhere_is_found() -> None:
    text = "# A\n[a](#a) [b](README.md#no-such) [c](#none) [d](NONE.md) [e](docs)\n```\n[f](x.md)\n```\n"
    assert ["README.md#no-such", "#none", "NONE.md"] == list(dead_links(text, ROOT / "X.md"))
