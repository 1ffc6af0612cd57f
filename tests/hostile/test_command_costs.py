"""Whole commands on small images that would cost much: what they may cost is counted in calls, names and bytes, not in time."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.images import Image, entry, image, layer_tar, write_layout

from ocitool import limits, masking
from ocitool.comparison import DiffOptions, diff
from ocitool.errors import FormatError, LimitError
from ocitool.images.config_edits import Settings
from ocitool.operations.append import LayerInput, append
from ocitool.operations.copy import copy
from ocitool.operations.edit import ContentEdits, edit
from ocitool.operations.layout.collect import collect
from ocitool.pipeline.image_writer import WriteOptions
from ocitool.pipeline.session import Session
from ocitool.report.json.fields import NAMES, link_fields
from ocitool.task import Task


def calls(function: Callable[[], object]) -> int:
    """How many functions of any kind are called."""
    count = 0

    def count_one(_: object, event: str, __: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(count_one)
    try:
        function()
    finally:
        sys.setprofile(None)
    return count


def test_what_grows_with_the_square_is_found() -> None:
    def square(count: int) -> int:
        return calls(lambda: [len("") for _ in range(count * count)])

    assert 4 * square(20) - 100 < square(40)


@pytest.mark.parametrize("show", [masking.instruction, masking.text, lambda text: masking.value({"Cmd": [text]}, "config")])
@pytest.mark.parametrize("word", ["`", "` ", "`x ", " ", "$(", "\\ ", "a=` "])
def test_backquotes_and_blanks_are_gone_over_once(word: str, show: Callable[[str], Any]) -> None:
    def cost(count: int) -> int:
        text = f"RUN TOKEN={word * count} PASSWORD=abcdefgh"
        return calls(lambda: show(text))

    cost(10)  # loads what it needs
    assert cost(4_000) <= 2.5 * cost(2_000) + 1_000


def linked(count: int, content: bytes = b"x") -> Image:
    links = [entry(f"l{n:05}", "hard:f") for n in range(count)]
    return image([layer_tar([entry("f", content), *links])], tag="app:1", codec="none")


def test_names_of_a_file_are_one_object_for_all_of_them_in_a_diff_and_few_are_shown(tmp_path: Path) -> None:
    sides = [str(write_layout(tmp_path / name, [linked(2_000, data)])) for name, data in (("a", b"x"), ("b", b"y"))]
    with Task(jobs=1) as task:
        found = diff(*sides, DiffOptions(), Session(task, cached=False))
    links = [change.after.links for change in found.files if change.after is not None]
    assert 2_001 == len(links)
    assert 1 == len({id(names) for names in links})
    shown = [link_fields(names) for names in links]
    assert {NAMES} == {len(fields["links"]) for fields in shown}
    assert 1 == len({id(fields["links"]) for fields in shown})
    assert {2_001 - NAMES} == {fields["linksMore"] for fields in shown}


def test_of_hard_links_that_an_edit_removes_few_are_named(tmp_path: Path) -> None:
    source = str(write_layout(tmp_path / "a", [linked(1_000)]))
    with Task(jobs=1) as task:
        edit(source, Settings(), ContentEdits(remove=(b"f",)), Session(task, cached=False), WriteOptions(f"oci:{tmp_path}/out"))
        notices = [notice for notice in task.notices if notice.code == "removed"]
    assert len(notices) <= 22
    assert notices[-1].text.endswith(f"and {1_001 - len(notices) + 1} more")


def test_of_files_that_are_no_blobs_gc_names_twenty(tmp_path: Path) -> None:
    where = write_layout(tmp_path / "a", [linked(1)])
    for number in range(50):
        (where / f"blobs/sha256/stranger-{number:02}").write_bytes(b"")
    with Task(jobs=1) as task:
        texts = [notice.text for notice in collect(str(where), task).notices if notice.code == "unknown"]
    assert 21 == len(texts)
    assert texts[-1].startswith("30 more files are not blobs")


def test_what_is_unpacked_of_with_counts_for_the_whole_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "EXPANSION", 5 << 20)
    tars = [layer_tar([entry(f"z{n}", bytes(2 << 20))]) for n in range(4)]
    lender = str(write_layout(tmp_path / "with", [image(tars, codec="zstd", tag="app:1")]))

    def copied(count: int) -> None:
        made = image(tars[:count], codec="none", tag=f"app:{count}")
        source = write_layout(tmp_path / f"in{count}", [made])
        for layer in made.manifest["layers"]:
            (source / "blobs" / layer["digest"].replace(":", "/")).unlink()
        with Task(jobs=1) as task:
            copy([str(source)], Session(task, cached=False), WriteOptions(f"oci:{tmp_path}/out{count}", fallback=(lender,)))

    copied(2)
    with pytest.raises(LimitError, match="together"):
        copied(4)


def test_a_layer_to_append_that_becomes_a_pipe_keeps_no_reader_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = str(write_layout(tmp_path / "a", [linked(1)]))
    os.mkfifo(tmp_path / "layer.tar")
    isfile = os.path.isfile
    pipe = str(tmp_path / "layer.tar")
    monkeypatch.setattr(os.path, "isfile", lambda path: path == pipe or isfile(path))  # it was one a moment ago
    with Task(jobs=1) as task, pytest.raises(FormatError, match="not a regular file"):
        append(source, [LayerInput("layer", pipe)], Session(task, cached=False), WriteOptions(f"oci:{tmp_path}/out"))
