"""`dedupe docker-daemon:` and `engine df`: all images of an engine, counted by what it says of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.engine import ScriptedEngine
from support.images import image, layer_tar, sha256, write_docker_archive
from support.report import report_of

Run = Callable[..., Any]
LOW, MIDDLE, TOP = (layer_tar([(name, name.encode() * size)]) for name, size in (("a", 10), ("b", 200), ("c", 3000)))


@pytest.fixture
def engine() -> Iterator[ScriptedEngine]:
    with ScriptedEngine() as found:
        yield found


def known(report: dict[str, Any]) -> dict[str, tuple[int, int]]:
    """Bytes of its own and shared ones, by image."""
    return {one["reference"].removeprefix("docker-daemon:"): (one["own"], one["shared"]) for one in report["images"]}


def test_images_are_counted_without_fetching_any(ocitool: Run, engine: ScriptedEngine) -> None:
    engine.add(image([LOW, MIDDLE], tag="app:1", codec="none"), "app:latest", sizes=[10, 200])
    engine.add(image([LOW, TOP], tag="app:2", codec="none"), sizes=[10, 3000])
    report = report_of(ocitool("dedupe", "docker-daemon:", "-H", engine.host, "--format", "json"))
    assert known(report) == {"app:1": (200, 10), "app:2": (3000, 10)}
    assert report["images"][0]["transport"] == "docker-daemon" and report["bytes"]["atRegistries"] is None
    assert report["bytes"]["saved"] == 10
    assert not [path for path in engine.sent("GET") if path == "/images/get"]
    assert "frees" in ocitool("dedupe", "docker-daemon:", "-H", engine.host).out


def test_sizes_that_one_history_leaves_open_come_from_other_images(ocitool: Run, engine: ScriptedEngine) -> None:
    """Of three entries, one without bytes may have made a layer: which of the two layers has the bytes?"""
    steps = [{"created_by": "COPY a"}, {"created_by": "something", "empty_layer": True}, {"created_by": "COPY b"}]
    engine.add(image([LOW, MIDDLE], tag="open:1", codec="none", history=steps), sizes=[0, 0, 200])
    engine.add(image([LOW, TOP], tag="sure:1", codec="none"), sizes=[10, 3000])
    report = report_of(ocitool("dedupe", "docker-daemon:", "-H", engine.host, "--format", "json"))
    assert known(report) == {"open:1": (190, 10), "sure:1": (3000, 10)}


def test_an_image_without_a_name_goes_by_its_id(ocitool: Run, engine: ScriptedEngine) -> None:
    one = image([LOW], codec="none")
    engine.add(one, sizes=[10])
    report = report_of(ocitool("dedupe", "docker-daemon:", "-H", engine.host, "--format", "json"))
    assert known(report) == {sha256(one.config): (10, 0)}


def test_an_image_that_cannot_be_read_is_a_problem(ocitool: Run, engine: ScriptedEngine) -> None:
    engine.add(image([LOW], tag="app:1", codec="none"), sizes=[10])
    engine.add(image([TOP], tag="bad:1", codec="none"), sizes=[3000])
    engine.faults["GET", "/images/bad:1/history"] = (500, {"message": "layer store is broken"})
    report = report_of(ocitool("dedupe", "docker-daemon:", "-H", engine.host, "--format", "json"), 1)
    assert known(report) == {"app:1": (10, 0)}
    assert "layer store is broken" in report["problems"][0]["text"]
    usage = report_of(ocitool("engine", "df", "-H", engine.host, "--format", "json"), 1)
    assert [one["reference"] for one in usage["images"]] == ["docker-daemon:app:1"] and len(usage["problems"]) == 1


def test_files_are_read_if_asked_for(ocitool: Run, engine: ScriptedEngine) -> None:
    engine.add(image([LOW, MIDDLE], tag="app:1", codec="none"))
    engine.add(image([LOW, TOP], tag="app:2", codec="none"))
    report = report_of(ocitool("dedupe", "--files", "docker-daemon:", "-H", engine.host, "--format", "json"))
    assert report["files"]["references"] == 3  # of each layer once, also of the one that both have
    assert [one for one in engine.sent("GET") if one == "/images/get"] == ["/images/get"] * 2


def test_one_image_beside_a_file(ocitool: Run, engine: ScriptedEngine, tmp_path: Path) -> None:
    engine.add(image([LOW, MIDDLE], tag="app:1", codec="none"), sizes=[10, 200])
    archive = write_docker_archive(tmp_path / "other.tar", [image([LOW, TOP], tag="other:1", codec="none")])
    report = report_of(ocitool("dedupe", "docker-daemon:app:1", archive, "-H", engine.host, "--format", "json"))
    assert len(report["images"]) == 2 and len(report["sharedLayers"]) == 1


def test_an_engine_without_images(ocitool: Run, engine: ScriptedEngine) -> None:
    usage = report_of(ocitool("engine", "df", "-H", engine.host, "--format", "json"))
    assert (usage["images"], usage["containers"], usage["bytes"]["layers"]) == ([], [], 0)
    assert "0 images" in ocitool("engine", "df", "-H", engine.host).out


@pytest.mark.parametrize("path", ["/images/json", "/containers/json"])
@pytest.mark.parametrize("answer", [{}, [1], [{"Id": 1}], "x"])
def test_answers_that_are_no_lists_are_errors(ocitool: Run, engine: ScriptedEngine, path: str, answer: Any) -> None:
    engine.faults["GET", path] = (200, answer)
    done = ocitool("engine", "df", "-H", engine.host)
    assert done.code in (1, 4) and "Traceback" not in done.err
    if path == "/containers/json":
        assert ocitool("engine", "containers", "-H", engine.host).code == 4


def test_names_of_an_engine_reach_no_terminal_unescaped(ocitool: Run, engine: ScriptedEngine) -> None:
    engine.faults["GET", "/containers/json"] = (200, [
        {"Id": "\x1b[31m", "Names": ["/\x1b]0;x\x07"], "Image": "\x1b[2J", "State": "\u202e", "Status": "\x9b", "Command": "x"},
    ])  # fmt: skip
    for words in (("containers",), ("df",)):
        out = ocitool("engine", *words, "-H", engine.host).out
        assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(out)
