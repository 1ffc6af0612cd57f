"""What docs/, README.md and the man pages repeat of the code is what the code says: `docs/make.py` writes it."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from generator import commands, figures, pages, tables, troff
from generator.commands import Command, Option, every, program

from ocitool import errors, limits

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OCITOOL_MAX_LAYER_ENTRIES", "OCITOOL_MAX_RATIO", "OCITOOL_CACHE_SIZE", "OCITOOL_LOCK_WAIT"):
        monkeypatch.delenv(name, raising=False)


def test_generated_parts_are_what_the_code_says() -> None:
    assert [] == [path.relative_to(ROOT).as_posix() for path in pages.stale()], "run .venv-test/bin/python docs/make.py"


def test_every_command_and_every_table_is_on_one_page() -> None:
    texts = [path.read_text("utf-8") for path in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md"))]
    assert sorted(pages.parts(ROOT)) == sorted(name for text in texts for name in pages.names(text))


def of_limits() -> set[str]:
    """The names of all limits. `DOCUMENT` and the units are made of others, or for others."""
    names = {name for name, value in vars(limits).items() if name.isupper() and isinstance(value, int | tuple)}
    return {name for name in names if name != "DOCUMENT"} - {"KiB", "MiB", "GiB"} | {
        name for name, value in vars(limits).items() if callable(value) and not name.startswith("_") and name[0].islower()
        and value.__module__ == limits.__name__
    }  # fmt: skip


def unlisted() -> set[str]:
    # One function gives the least of two numbers that are in the table.
    return of_limits() - tables.named_limits() - {"layer_entries"}


def test_the_table_of_limits_has_every_limit() -> None:
    assert set() == unlisted()


def test_a_limit_that_the_table_lacks_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ANOTHER", 5, raising=False)
    assert {"ANOTHER"} == unlisted()


def test_the_table_of_limits_has_the_numbers_that_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PATH_DEPTH", 77)
    assert ("a path", "64 KiB, 77 components, 40 symbolic links", "") in list(tables.limit_rows())


def test_exit_codes_have_every_code_of_an_error() -> None:
    of_errors = {one.exit_code for one in tables.error_classes(errors.OcitoolError)}
    assert {0, 1, 70, 129, 141, 143} | of_errors == set(errors.EXIT_CODES)


READ = re.compile(r'(?:environ(?:\.get\(|\[)|_from_environment\()"([A-Z_]+)"')


def unnamed_variables(code: str) -> set[str]:
    """Variables of the environment that code reads and the table of variables lacks."""
    return set(READ.findall(code)) - {name for names, _ in tables.VARIABLES for name in names.split(", ")}


def test_the_table_of_variables_has_every_variable_that_is_read() -> None:
    code = "".join(path.read_text("utf-8") for path in (ROOT / "ocitool").rglob("*.py"))
    assert set() == unnamed_variables(code)
    assert {"A", "B"} == unnamed_variables('os.environ.get("A"), os.environ["B"], environ.get("NO_COLOR")')


ODD = (".TH is no request here", "'so is this", r"C:\new\fB and \(aq", "--a-b 'c' \"d\" `e` ^~", "...")
"""Texts that Markdown or troff could take for their own words."""

# The check can fail


def changed(path: str, old: str, new: str) -> Callable[[Path], Path]:
    def change(root: Path) -> Path:
        text = (root / path).read_text("utf-8")
        assert old in text
        (root / path).write_text(text.replace(old, new, 1), "utf-8")
        return root / path

    return change


def another_page(root: Path) -> Path:
    path = root / "docs" / "man" / "ocitool-gone.1"
    path.write_text("")
    return path


def no_page(root: Path) -> Path:
    path = root / "docs" / "man" / "ocitool-diff.1"
    path.unlink()
    return path


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("copy")
    shutil.copytree(ROOT / "docs", root / "docs", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "README.md", root)
    return root


@pytest.mark.parametrize(
    "change",
    [
        changed("docs/reference/limits.md", "400,000 values", "400,001 values"),
        changed("docs/reference/exit-codes.md", "| 7 |", "| 77 |"),
        changed("docs/reference/edit.md", "Set a label.", "Set a lable."),
        changed("docs/reference/validate-rules.md", "`schema`", "`scheme`"),
        changed("docs/reference/fields.md", "`.images[].reference`", "`.images[].name`"),
        changed("README.md", "skopeo inspect", "skopeo"),
        changed("docs/man/ocitool.1", "interrupted", "broken"),
        another_page,
        no_page,
    ],
)
def test_what_is_stale_is_found_and_written_anew(change: Callable[[Path], Path], copied: Path) -> None:
    path = change(copied)
    assert [path] == list(pages.stale(copied))
    assert [path] == list(pages.write(copied))
    assert [] == list(pages.stale(copied))


def test_make_says_what_is_stale_and_ends_with_1(copied: Path) -> None:
    path = another_page(copied)
    script = copied / "docs" / "make.py"
    words = [sys.executable, script, "--check"]
    environment = {"PYTHONPATH": str(ROOT), "PATH": ""}
    shutil.copytree(ROOT / "schemas", copied / "schemas", dirs_exist_ok=True)
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert (1, "stale: docs/man/ocitool-gone.1\n") == (done.returncode, done.stdout), done.stderr
    path.unlink()


# Markdown


def shown(markdown: str) -> str:
    """What a reader sees of a line of Markdown."""
    from markdown_it import MarkdownIt

    return html.unescape(re.sub(r"<[^>]+>", "", MarkdownIt("gfm-like", {"linkify": False}).renderInline(markdown)))


def test_markdown_shows_help_as_it_is() -> None:
    texts = [*ODD, "a `b` | *c* __d__ [e](f) <g> ~~h~~ !", *(option.text for one in every(program()) for option in one.options)]
    texts += [text for one in every(program()) for text in one.about]
    assert [text.replace("`", "") for text in texts] == [shown(commands.escaped(text)).replace("`", "") for text in texts]


# Man pages


def test_groff_renders_every_man_page_without_a_warning(need: Callable[..., str]) -> None:
    made = sorted((ROOT / "docs" / "man").glob("*.1"))
    done = subprocess.run([need("groff"), "-man", "-ww", "-z", "-Tutf8", *made], capture_output=True, text=True)
    assert (0, "") == (done.returncode, done.stderr)


def test_a_man_page_shows_text_as_it_is(need: Callable[..., str]) -> None:
    one = Command("ocitool odd", "ocitool odd A", "Odd.", (ODD[0],), (Option("A", ODD[1]),), (), (), ODD, ((ODD[2], False),))
    page = troff.page(one, one, "1", [("1", ODD[3])], [])
    done = subprocess.run([need("groff"), "-man", "-ww", "-Tascii", "-P-c"], input=page, capture_output=True, text=True)
    shown = " ".join(done.stdout.replace("\b", "").split())
    assert "" == done.stderr
    for text in ODD:
        assert " ".join(text.split()) in shown


RECORD = {
    "jobs": {
        "copy": {
            "programs": {
                "ours, cold": {"wall": 0.0612, "cpu": 1.234, "peak": 47.4, "sent MB": "12.5"},
                "least": {"wall": 20.5, "cpu": 0.2, "peak": 30},
            },
            "targets": ["met: a", "**not met**: b: 2 of 1 s"],
        }
    }
}


def test_a_figure_of_the_record_stands_where_a_row_names_it() -> None:
    assert "0.061 s (1.23), 47 MB; 0.061 s; 12.5" == figures.filled(
        "{copy: ours, cold}; {copy: ours, cold | wall}; {copy: ours, cold | sent MB}", RECORD
    )


def test_a_peak_that_is_not_above_that_of_the_starting_process_is_not_shown() -> None:
    assert "20.5 s (0.20)" == figures.filled("{copy: least}", RECORD)


def test_a_row_that_names_what_was_not_measured_is_an_error() -> None:
    with pytest.raises(KeyError, match="ours, warm"):
        figures.filled("{copy: ours, warm}", RECORD)


def test_targets_that_were_missed_are_named(tmp_path: Path) -> None:
    (tmp_path / figures.RECORD).parent.mkdir(parents=True)
    (tmp_path / figures.RECORD).write_text(json.dumps(RECORD))
    assert "- `copy`: b: 2 of 1 s" == figures.missed(tmp_path)


def test_the_record_of_the_table_has_five_rounds_at_least() -> None:
    assert json.loads((ROOT / figures.RECORD).read_text("utf-8"))["rounds"] >= 5
