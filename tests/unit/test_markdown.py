"""Laws of the Markdown reports: nothing of an image outside of code, never too long, never cut inside a block."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.diffs import EVIL, HOSTILE, change, hostile, image, layer, result

from ocitool import masking
from ocitool.comparison.result import (
    ConfigChange,
    Failure,
    IndexDiff,
    LayerPair,
    Notable,
    Patch,
    PlatformDiff,
    Quoted,
)
from ocitool.operations.inspect import InspectedImage, Inspection, LayerFacts
from ocitool.progress import Notice
from ocitool.report import markdown
from ocitool.report.escape import cell, code, fence, human, shown, signed
from ocitool.spec.manifest import Platform


def text_outside(page: str) -> str:
    """What Markdown would read as text: blocks first (fences, then rows into cells), then code spans by CommonMark's rule
    (a run of backticks closes at the next run of equal length)."""
    outside: list[str] = []
    closing: str | None = None
    for line in page.split("\n"):
        opening = re.match(r"(`{3,})([^`]*)$", line)
        if closing is not None:
            run = re.fullmatch(r" {0,3}(`+) *", line)
            if run and len(run[1]) >= len(closing):
                closing = None
        elif opening:
            closing = opening[1]
            outside.append(opening[2])
        elif line.startswith("| "):
            outside += [_without_spans(part) for part in re.split(r"(?<!\\)\|", line)]
        else:
            outside.append(_without_spans(line))
    assert closing is None, "a fence is left open"
    return "\n".join(outside)


def _without_spans(text: str) -> str:
    runs = list(re.finditer("`+", text))
    kept, at, n = "", 0, 0
    while n < len(runs):
        end = next((k for k in range(n + 1, len(runs)) if len(runs[k][0]) == len(runs[n][0])), None)
        assert end is not None, f"backticks that close nothing: {text!r}"
        kept += text[at : runs[n].start()]
        at, n = runs[end].end(), end + 1
    return kept + text[at:]


def balanced(page: str) -> None:
    text = text_outside(page)
    assert text.count("<details>") == text.count("</details>") == text.count("<summary>") == text.count("</summary>")
    assert all(re.fullmatch(r"[\d,]+ [a-z ]+", summary) for summary in re.findall("<summary>(.*?)</summary>", text))
    for header, rule in re.findall(r"^(\|.*\|)\n(\| -.*\|)$", page, re.MULTILINE):
        assert header.count("|") == rule.count("|")


def columns_agree(page: str) -> None:
    width = None
    for line in page.split("\n"):
        if not line.startswith("| "):
            width = None
            continue
        count = len(re.split(r"(?<!\\)\|", line))
        assert width in (None, count), line
        width = count


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_of_an_image_stands_outside_of_code_in_a_diff(text: str) -> None:
    one = hostile(text)
    both = IndexDiff(text, text, False, True, (PlatformDiff(Platform(text, text, text), "both", one),
                     PlatformDiff(Platform(text, None, None), "added", None)), one.config, one.notices)  # fmt: skip
    for page in (markdown.diff_markdown(one), markdown.diff_markdown(one, stat=True), markdown.diff_markdown(both)):
        assert EVIL in page
        assert EVIL not in text_outside(page)
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069\u2028]", page)
        balanced(page)
        columns_agree(page)


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_of_an_image_stands_outside_of_code_in_an_inspection(text: str) -> None:
    config = {"os": text, "author": text, "created": text, "config": {
        "User": text, "Cmd": [text], "Entrypoint": text, "Env": [f"{text}={text}", text], "Labels": {text: text},
        "ExposedPorts": {text: {}}, "Volumes": {text: {}}, "Healthcheck": {"Test": [text]}}}  # fmt: skip
    item = InspectedImage(image((layer(0, text),), config, (text,)), (LayerFacts("gzip", None, None),), None, False)
    page = markdown.inspect_markdown(Inspection(text, "oci", None, (), (item, item), (Notice("x", text),)))
    assert page.startswith("<!-- ocitool inspect -->\n")
    assert EVIL in page and EVIL not in text_outside(page)
    balanced(page)
    columns_agree(page)


def test_a_comment_begins_with_its_marker() -> None:
    assert markdown.diff_markdown(result()).startswith("<!-- ocitool diff -->\n### No file and no setting differs; ")
    assert markdown.diff_markdown(IndexDiff("a", "b", True, True, (), (), ())).startswith(
        "<!-- ocitool diff -->\n### No difference in 0 platforms"
    )


def test_a_hundred_thousand_changes_fit_and_what_is_cut_is_counted() -> None:
    name = "`|\x1b" * 40
    files = tuple(change(f"{name}{n}".encode(), size=n) for n in range(100_000))
    big = result(
        files=files,
        config=tuple(ConfigChange("config", f"/config/Labels/{n}", None, "added", None, name) for n in range(10_000)),
        notable=tuple(Notable("setuid", b"x%d/x" % n, None, None, ("new setuid file",), "security") for n in range(10_000)),
        patches=tuple(Patch(b"x", f"--- a\n+++ b\n+{'`' * 90}{n}\n" * 400) for n in range(1_000)),
        layers=tuple(LayerPair("added", None, layer(n, name)) for n in range(2_000)),
    )
    platforms = tuple(PlatformDiff(Platform("linux", f"cpu{n}", None), "both", big) for n in range(30))
    for page in (
        markdown.diff_markdown(big),
        markdown.diff_markdown(IndexDiff("a", "b", False, True, platforms, big.config, ())),
    ):
        assert 40_000 < len(page) <= markdown.LIMIT
        balanced(page)
        columns_agree(page)
        assert re.search(r"… [\d,]+ (more )?changes not shown \(`ocitool diff --format json` has all\)", page)
    assert "- security **setuid**: 9,985 more" in page


def test_a_section_that_does_not_fit_is_said() -> None:
    files = tuple(change(b"p" * 280 + b"%d" % n) for n in range(1_000))
    page = markdown.diff_markdown(result(files=files, patches=(Patch(b"x", "+a\n" * 150),) * 2))
    assert "… 2 patches not shown" in page
    balanced(page)


def test_a_long_patch_is_cut_between_lines_and_its_fence_closed() -> None:
    page = markdown.diff_markdown(result(patches=(Patch(b"x", "".join(f"+{n}\n" for n in range(1_000))),)))
    assert "+199\n```\n\n… 800 more lines of this patch not shown" in page
    balanced(page)


def test_changes_of_mtime_alone_fold_into_a_line_a_layer() -> None:
    files = [change(b"quiet%d" % n, ("mtime",), 0, layer(3)) for n in range(1_490)]
    page = markdown.diff_markdown(result(files=(*files, change(b"loud"))))
    assert "- 1,490 paths of layer 3 differ by modification time alone" in page
    assert "quiet" not in page and "`/loud`" in page
    assert "- 1,490 paths of layer 3 differ" in markdown.diff_markdown(result(files=tuple(files)))


def test_history_timestamps_fold_into_a_line() -> None:
    times = [ConfigChange("config", f"/history/{n}/created", None, "modified", "a", "b") for n in range(12)]
    other = ConfigChange("config", "/config/User", None, "modified", "app", "root")
    page = markdown.diff_markdown(result(config=(*times, other)))
    assert "- 12 times of creation differ\n" in page
    assert "/history/" not in page and "/config/User" in page
    assert "- 12 times of creation differ\n" in markdown.diff_markdown(result(config=tuple(times)))


def test_what_a_reviewer_must_see_comes_before_the_tables() -> None:
    page = markdown.diff_markdown(result(
        notable=(Notable("deleted-still-ships", b"a", None, layer(1), ("deleted",), "cost"),
                 Notable("setuid", b"b", None, layer(1), ("new setuid file, owner 0:0",), "security")),
        failures=(Failure("size:+10MB", 10_000_000, 12_300_000),), files=(change(b"c"),)))  # fmt: skip
    marks = ["setuid** `/b`", "deleted-still-ships**", "`size:+10MB`: 12.3 MB (limit 10.0 MB)", "**Layers**", "**Files**"]
    assert [page.index(mark) for mark in marks] == sorted(page.index(mark) for mark in marks)


def test_stat_lists_neither_files_nor_settings() -> None:
    setting = ConfigChange("config", "/a", None, "added", None, 1)
    page = markdown.diff_markdown(result(files=(change(b"c"),), config=(setting,)), stat=True)
    assert "<details>" not in page and "**Layers**" in page


def test_secrets_of_the_environment_are_masked_wherever_they_stand() -> None:
    env = ["DB_PASSWORD=hunter2", "DSN_URL=postgres://u:hunter2@host/db", "GITHUB_TOKEN=hunter2", "LANG=C.UTF-8"]
    secret = layer(1, "/bin/sh -c #(nop)  ENV API_KEY=hunter2 and hunter2 PATH=/bin")
    page = markdown.diff_markdown(result(
        config=(ConfigChange("config", "/config/Env/0", "DB_PASSWORD", "modified", "hunter2", "hunter2!"),
                ConfigChange("config", "/config", None, "removed", {"Env": env}, None),
                ConfigChange("config", "/history/1", None, "added", None, {"created_by": secret.created_by})),
        layers=(LayerPair("changed", secret, secret, f"built again after the instruction {secret.created_by}"),),
        notable=(Notable("unshared-layer", None, None, secret, ("cannot be shared any more: ",
                 Quoted(f"built again after the instruction {secret.created_by}")), "info"),)),
    )  # fmt: skip
    config = {"config": {"Env": env, "Cmd": ["sh", "-c", "SECRET=hunter2 run"]}}
    item = InspectedImage(image((secret,), config), (LayerFacts(None, None, None),), None, False)
    for text in (page, markdown.inspect_markdown(Inspection("x", "oci", None, (), (item,), ()))):
        assert "hunter2" not in text
        assert "***" in text and "C.UTF-8" in text


@pytest.mark.parametrize("name", ["PASSWORD", "MYSQL_PASS", "aws_secret_access_key", "TOKEN", "API-KEY", "npm.auth"])
def test_names_that_look_secret(name: str) -> None:
    assert masking.variable(name, "v") == "***" and masking.instruction(f"RUN {name}='a b' x") == f"RUN {name}=*** x"


@pytest.mark.parametrize("name", ["PATH", "AUTHOR", "COMPASS", "KEYBOARD", "HOME"])
def test_names_that_do_not(name: str) -> None:
    assert masking.variable(name, "v") == "v"


def test_sizes() -> None:
    sizes = (0, 340, 999, 1000, 1_200_000, 999_999, -1_200_000)
    assert [human(n) for n in sizes] == ["0 B", "340 B", "999 B", "1.0 kB", "1.2 MB", "1.0 MB", "-1.2 MB"]
    assert [signed(n) for n in (0, 5, -5)] == ["0 B", "+5 B", "-5 B"]


def test_shown_escapes_what_cannot_be_seen() -> None:
    assert shown("a\nb\x1b\u202e\u200b\x9b\ud800") == "a\\nb\\x1b\\u202e\\u200b\\x9b\\ud800"
    assert shown(b"a\xff") == "a\\xff" and shown("C:\\né日本") == "C:\\né日本" and shown("\\\n") == "\\\\\\n"


TEXT = st.text(st.one_of(st.sampled_from("`|\\ \n\x1b\u202e<a~"), st.characters()), max_size=40)


@given(st.one_of(TEXT, st.binary(max_size=30)))
def test_no_content_closes_its_code_span(text: str | bytes) -> None:
    assert _without_spans(f"<{code(text)}>") == "<>"
    body = code(text).strip("`")
    # One by one: beside the letters of an escape as `\\x1b` one of another script would count as a look-alike.
    assert "\n" not in body and all(shown(one) == one for one in body)


@given(st.lists(TEXT, min_size=1, max_size=4))
def test_no_content_ends_its_cell(texts: list[str]) -> None:
    row = f"| {' | '.join(map(cell, texts))} |"
    assert len(re.split(r"(?<!\\)\|", row)) == len(texts) + 2  # a backslash before it keeps a pipe
    assert len(re.split(r"(?<!\\)(?:\\\\)*\|", row)) == len(texts) + 2  # renderers that count backslashes
    assert _without_spans(row).replace(" ", "") == "|" * (len(texts) + 1)


@given(TEXT, st.sampled_from(["", "diff"]))
def test_no_content_closes_its_fence(text: str, language: str) -> None:
    page = "\n".join([*fence(text, language), "after"])
    assert text_outside(page) == f"{language}\nafter"
