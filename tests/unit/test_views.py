"""Laws of views: text and Markdown of one result say the same, and all that is of an image is a quote, escaped by both."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.diffs import EVIL, HOSTILE, change, hostile, image, layer, result, side
from support.views import own_words, plain

from ocitool import masking
from ocitool.comparison.notable_rules import SEVERITIES
from ocitool.comparison.result import (
    ConfigChange,
    Diff,
    Failure,
    FileChange,
    IndexDiff,
    LayerPair,
    Notable,
    PlatformDiff,
    Quoted,
    Summary,
)
from ocitool.layers.entry import Kind
from ocitool.report import markdown
from ocitool.report.diff_view import diff_view, index_view
from ocitool.report.phrases import Quote
from ocitool.report.text.diff import diff_text
from ocitool.report.text.parts import Paint
from ocitool.spec.manifest import Platform


def text_of(found: Diff | IndexDiff) -> str:
    return "\n".join(diff_text(found, Paint(False), all=True))


def facts(text: str) -> list[str]:
    """What a text report states, cell by cell, without the words that only say where it stands in the report."""
    found: list[str] = []
    for line in text.splitlines():
        setting = re.fullmatch(r"  [ADM] (/\S+(?: \w+)?): (.*)", line)
        if setting:
            sides, said = setting[2].removesuffix(" (value changed)"), " (value changed)" in setting[2]
            found += [setting[1], *sides.split(" -> "), *(["(value changed)"] if said else [])]
            continue
        failed = re.fullmatch(r"  --fail-on (\S+): (.*)|(linux/\S+): (.*)", line)
        if failed:
            found += filter(None, failed.groups())
            continue
        words = re.split(r"\s{2,}", line.strip())
        words = [word[1:-1] if re.fullmatch(r"\(.*\)", word) else word for word in words]
        found += [word for word in words if not re.fullmatch(r"[ADMTm]?|layer (\d+|gone)|\d+ changes?", word)]
    return [word for word in found if word not in ("notable", "layers", "configuration", "files")]


def unsaid(text: str, page: str) -> list[str]:
    """What a text report states and a page does not."""
    folded = plain(page).casefold()
    return [fact for fact in facts(text) if fact.casefold() not in folded]


def counted(text: str) -> dict[str, int]:
    """LazyRows of each kind in a text report."""
    return {
        "settings": len(re.findall(r"^  [ADM] /", text, re.MULTILINE)),
        "files": len(re.findall(r"^  [ADMTRm]  /", text, re.MULTILINE)),
    }


def rows_of(page: str) -> dict[str, int]:
    """LazyRows of each kind on a page."""
    tables = dict.fromkeys(("settings", "files"), 0)
    heads = {"| change | where |": "settings", "| change | path |": "files"}
    for block in page.split("\n\n"):
        for head, name in heads.items():
            if block.startswith(head):
                tables[name] += block.strip().count("\n") - 1
    return tables


NAMES = st.text("abc/.-", min_size=1, max_size=12).map(lambda name: name.strip("/.-") or "x")
WORDS = st.sampled_from(["", "x", "RUN make", "--flag y", "postgres://u:hunter2@h/x", "a|b", "`tick`"])
MADE_BY = ["RUN make", "ENV API_TOKEN=hunter2", None, "COPY a b", "RUN x", "CMD y"]
LAYERS = [layer(number, by) for number, by in enumerate(MADE_BY)]


@st.composite
def settings_of(draw: Any) -> ConfigChange:
    key = draw(st.sampled_from([None, "API_TOKEN", "LANG"]))
    places = ["/config/User", "/config/Env/0", "/history/3", "/history/3/created", "/container", "/author"]
    where = draw(st.sampled_from(places))
    before, after = draw(WORDS), draw(WORDS)
    if key == "API_TOKEN" and where == "/config/Env/0":
        before, after = before + "hunter2", "hunter2" + after
    if where == "/history/3":
        before, after = ({"created_by": f"RUN API_TOKEN={text} make"} for text in (before, after))
    kind = draw(st.sampled_from(["added", "removed", "modified"]))
    return ConfigChange("config", where, key, kind, None if kind == "added" else before, None if kind == "removed" else after)


@st.composite
def files_of(draw: Any) -> FileChange:
    path, of = draw(NAMES).encode(), draw(st.sampled_from([*LAYERS, None]))
    size = draw(st.integers(0, 10**7))
    kind = draw(st.sampled_from(["mtime", "content", "added", "removed", "link", "mode"]))
    if kind in ("added", "removed"):
        of_kind, mode = draw(st.sampled_from([Kind.FILE, Kind.DIRECTORY, Kind.SYMLINK])), draw(st.sampled_from([0o755, 0o4755]))
        one = side(size, of_kind, b"to", mode)
        return FileChange(path, kind, (), None if kind == "added" else one, one if kind == "added" else None, of)
    if kind == "link":
        return FileChange(path, "metadata", ("linkTarget",), side(0, Kind.SYMLINK, b"a|b"), side(0, Kind.SYMLINK, b"`c`"), of)
    fields = {"mtime": ("mtime",), "content": ("content", "mtime"), "mode": ("mode",)}[kind]
    return change(path, fields, size, of)


SENTENCES = [
    ("setuid", ("new setuid file",)),
    ("port", ("new port ", Quoted("80"))),
    ("unshared-layer", ("cannot be shared any more: ", Quoted("its files changed"))),
    ("unshared-layer", ("cannot be shared any more: ", Quoted("built again after the instruction ENV API_TOKEN=hunter2"))),
]


@st.composite
def notables(draw: Any) -> Notable:
    rule, said = draw(st.sampled_from(SENTENCES))
    return Notable(rule, draw(NAMES).encode(), None, draw(st.sampled_from(LAYERS)), said, draw(st.sampled_from(SEVERITIES)))


@st.composite
def pairs_of(draw: Any) -> tuple[LayerPair, ...]:
    chosen = draw(st.lists(st.sampled_from(LAYERS), max_size=6, unique=True))
    return tuple(draw(st.sampled_from([
        LayerPair("shared", one, one), LayerPair("changed", one, one, "its input changed", LAYERS[0]),
        LayerPair("removed", one, None), LayerPair("added", None, one, "the instruction is new"),
    ])) for one in sorted(chosen))  # fmt: skip


@st.composite
def diffs(draw: Any) -> Diff:
    failed = (Failure("size:+10MB", 10_000_000, 12_300_000), Failure("files", 0, 3, "linux/arm64"))
    return result(
        config=tuple(draw(st.lists(settings_of(), max_size=8))), files=tuple(draw(st.lists(files_of(), max_size=12))),
        notable=tuple(draw(st.lists(notables(), max_size=20))), layers=draw(pairs_of()),
        after=image(tuple(LAYERS), tags=("shop:1",)), failures=draw(st.sampled_from([(), failed])),
        summary=Summary(*draw(st.tuples(*[st.integers(0, 2000)] * 8)), True),
    )  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(diffs())
def test_text_and_markdown_of_a_diff_say_the_same(found: Diff) -> None:
    text, page = text_of(found), markdown.diff_markdown(found)
    assert [] == unsaid(text, page)
    assert counted(text) == rows_of(page)
    assert "hunter2" not in text + page
    parts = settings_part(text, "\nconfiguration\n", "\n\n"), settings_part(page, "| where |", "</det")
    assert parts[0].count("***") == parts[1].count("***")


def settings_part(report: str, head: str, end: str) -> str:
    return report.partition(head)[2].partition(end)[0]


def test_the_comparison_of_two_reports_can_fail() -> None:
    found = result(
        config=(ConfigChange("config", "/config/User", None, "modified", "app", "root"),),
        files=(change(b"seen", ("content",), 7, LAYERS[1]), change(b"quiet", ("mtime",), 0, LAYERS[1])),
    )
    text, page = text_of(found), markdown.diff_markdown(found)
    assert [] == unsaid(text, page)
    for word in ("`app`", "`/seen`", "content 0 B -> 7 B", "1 path of layer 1", "`RUN make`", "its files changed"):
        assert unsaid(text, page.replace(word, "")), word
    assert counted(text) != rows_of(re.sub(r"(?m)^\| modified \| `/seen.*\n", "", page))


def indexes(found: Diff, name: str = "linux") -> IndexDiff:
    entries = (
        PlatformDiff(Platform(name, "amd64", None), "both", found), PlatformDiff(Platform(name, "s390x", None), "added", None),
        PlatformDiff(Platform(name, "arm64", None), "both", None),
    )  # fmt: skip
    return IndexDiff(found.before_reference, found.after_reference, False, True, entries, found.config, ())


@settings(max_examples=10, deadline=None)
@given(diffs())
def test_text_and_markdown_of_indexes_say_the_same(found: Diff) -> None:
    both = indexes(found)
    said = [fact for fact in unsaid(text_of(both), markdown.diff_markdown(both)) if "on both sides" not in fact]
    assert [f"{found.before_reference} -> {found.after_reference} (shop:1)"] == said  # beside each platform, in text


@settings(max_examples=25, deadline=None)
@given(diffs(), st.integers(1, 40))
def test_a_screen_has_24_lines_of_80_columns_however_much_differs(found: Diff, times: int) -> None:
    much = found._replace(
        config=found.config * times,
        notable=found.notable * times,
        layers=found.layers * times,
        failures=found.failures[:2],
        not_compared=(),
        patches=None,
    )
    lines = list(diff_text(much, Paint(False)))
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80


# Quotes


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_of_an_image_is_among_our_words(text: str) -> None:
    one = hostile(text)._replace(patches=())
    for view in (diff_view(one, grown=True), index_view(indexes(one, text))):
        assert [] == [word for word in own_words(view) if EVIL in word]


def test_what_is_said_in_our_words_is_found() -> None:
    view = diff_view(hostile(f"\n{EVIL}")._replace(patches=()))
    assert [EVIL] == [word for word in own_words(view._replace(verdict=(EVIL, Quote(EVIL, "name")))) if EVIL in word]


@pytest.mark.parametrize("text", HOSTILE)
def test_each_quote_is_escaped_in_text(text: str) -> None:
    """No line more than of harmless names, and none that moves the cursor or turns the direction of text."""
    for make in (lambda found: found, indexes):
        shown, harmless = (text_of(make(hostile(one)._replace(patches=()))) for one in (text, EVIL))
        assert EVIL in shown
        assert shown.count("\n") == harmless.count("\n")
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069\u2028]", shown)


def test_values_that_look_secret_are_quotes_without_them() -> None:
    change_ = ConfigChange("config", "/config/Env/0", "API_TOKEN", "added", None, "hunter2")
    shown, hidden = [], diff_view(result(config=(change_,)))
    with masking.revealed():
        shown = [row.after for row in diff_view(result(config=(change_,))).config.rows]
    assert [Quote("hunter2", "value")] == shown
    assert [Quote("***", "value")] == [row.after for row in hidden.config.rows]


# Folds


def test_more_layers_than_a_few_whose_files_differ_by_time_alone_are_counted_together() -> None:
    files = tuple(change(b"f%d" % n, ("mtime",), 0, layer(n % 30)) for n in range(90))
    found = result(files=files)
    folded = [one for (one,) in diff_view(found).files.folded]
    assert 21 == len(folded)
    assert "3 paths of layer 0 differ by modification time alone" == folded[0]
    assert "30 paths of 10 more layers differ by modification time alone" == folded[-1]
    for line in folded:
        assert f"  {line}" in text_of(found).splitlines()
        assert f"- {line}" in markdown.diff_markdown(found).splitlines()


@pytest.mark.parametrize(("shared", "rows"), [(3, 3), (4, 1), (60, 1)])
def test_shared_layers_in_a_row_are_one_row_in_both(shared: int, rows: int) -> None:
    pairs = tuple(LayerPair("shared", layer(n), layer(n)) for n in range(shared))
    found = result(layers=(*pairs, LayerPair("added", None, layer(shared), "the instruction is new")))
    assert rows + 1 == len(diff_view(found).layers)
    assert rows == text_of(found).count("  shared  ") == markdown.diff_markdown(found).count("| shared |")


def test_a_layer_that_is_stored_otherwise_is_no_part_of_a_run() -> None:
    pairs = [LayerPair("shared", layer(n), layer(n)) for n in range(9)]
    pairs[4] = pairs[4]._replace(reason="stored as zstd, was gzip")
    assert ["0–3", "4", "5–8"] == [row.number for row in diff_view(result(layers=tuple(pairs))).layers]


def test_sizes_that_round_to_the_limit_are_told_exactly() -> None:
    (row,) = diff_view(result(failures=(Failure("size:+10MB", 10_000_000, 10_000_001),))).failures
    assert ("10,000,001", " (limit ", "10,000,000", ")") == row.met
