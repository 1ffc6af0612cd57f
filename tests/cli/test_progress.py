"""What progress tells while a command runs: totals that are known from the start, never passed, and reached."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from support.images import image, layer_tar, sha256, write_docker_archive, write_layout
from support.registries import put_images, random_bytes
from support.registry import Fault, ScriptedRegistry

from ocitool.cli import progress
from ocitool.limits import MiB

Run = Callable[..., Any]

SIZES = (3 * MiB // 2, MiB, MiB // 2, MiB // 4)
LAYERS = [layer_tar([(f"file{number}", random_bytes(size, number))]) for number, size in enumerate(SIZES)]
APP = image(LAYERS, tag="app:1")
NEXT = image([*LAYERS, layer_tar([("more", random_bytes(MiB // 8, 9))])], tag="app:2")
PLAIN = image(LAYERS, tag="app:1", codec="none")


class Numbers(NamedTuple):
    through: int
    blobs: int
    done: int
    whole: int


class RecordedProgress:
    """All that was told, stage after stage."""

    def __init__(self) -> None:
        self.stages: list[list[Numbers]] = [[]]

    @property
    def moved(self) -> list[list[Numbers]]:
        return [stage for stage in self.stages if stage]


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Iterator[RecordedProgress]:
    recorded = RecordedProgress()
    add, expect = progress.TransferProgress.add, progress.TransferProgress.expect

    def added(self: progress.TransferProgress, label: str, count: int, total: int | None) -> None:
        add(self, label, count, total)
        recorded.stages[-1].append(Numbers(*self.numbers))

    def expected(self: progress.TransferProgress, blobs: Sequence[tuple[str, int]], times: int = 1, anew: bool = False) -> bool:
        anew = expect(self, blobs, times, anew)
        if anew:
            recorded.stages.append([])
        elif times < 0:  # what the registry has may be known after all else was sent
            recorded.stages[-1].append(Numbers(*self.numbers))
        return anew

    monkeypatch.setattr(progress.TransferProgress, "add", added)
    monkeypatch.setattr(progress.TransferProgress, "expect", expected)
    yield recorded


def unlawful(stages: Sequence[Sequence[Numbers]]) -> list[str]:
    """Where the laws of a progress line are broken."""
    found = [f"stage {at}: {n} passes its total" for at, stage in enumerate(stages) for n in stage if passes(n)]
    for at, stage in enumerate(stages):
        if len({(n.blobs, n.whole) for n in stage}) > 1:
            found.append(f"stage {at}: totals change from {stage[0]} to {stage[-1]}")
        if (stage[-1].through, stage[-1].done) != (stage[-1].blobs, stage[-1].whole):
            found.append(f"stage {at} ends at {stage[-1]}")
    return found


def passes(numbers: Numbers) -> bool:
    return numbers.through > numbers.blobs or numbers.done > numbers.whole


COMMANDS = (
    ("copy", "app:app:1", "new/"), ("copy", "app:app:1", "new.tar"),
    ("copy", "app", "new/", "--jobs", "1"), ("copy", "app", "new.tar"),
    ("copy", "app:app:1", "new/", "--compression", "zstd"), ("copy", "app", "new.tar", "--compression", "zstd"),
    ("copy", "app:app:1", "held/"), ("copy", "app:app:1", "held/", "--verify"), ("unpack", "app:app:1", "new"),
    ("unpack", "--as", "tar", "app:app:1", "new.tar"), ("unpack", "--as", "layers", "app:app:1", "new"),
    ("squash", "app:app:1", "new/", "--tag", "app:3"),
    ("squash", "app:app:1", "new.tar", "--from", "2"), ("edit", "app:app:1", "new.tar", "--rm", "/file1"),
    ("edit", "app:app:1", "held/", "--rm", "/file1", "--rm", "/file2"), ("edit", "app:app:1", "new/", "--env", "A=1"),
    ("append", "app:app:1", "new.tar", "--layer", "more.tar"), ("repack", "there", "new.tar"),
    ("copy", "plain", "new/", "--compression", "gzip"), ("squash", "plain", "new/"),
    ("copy", "saved.tar", "new/"), ("copy", "saved.tar", "new.tar", "--compression", "gzip"),
    ("edit", "saved.tar", "new/", "--env", "A=1"), ("validate", "saved.tar"), ("validate", "app"), ("squash", "twice", "new/"),
)  # fmt: skip


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_totals_stand_from_the_first_byte_and_are_reached(
    run: Run, recorded: RecordedProgress, tmp_path: Path, words: tuple[str, ...]
) -> None:
    write_layout(tmp_path / "app", [APP, NEXT])
    write_layout(tmp_path / "plain", [PLAIN])
    write_layout(tmp_path / "held", [image(LAYERS[1:3], tag="old:1")])
    write_layout(tmp_path / "twice", [image([LAYERS[0], LAYERS[1], LAYERS[0]])])
    write_docker_archive(tmp_path / "saved.tar", [image(LAYERS, tag="app:1", codec="none")])
    (tmp_path / "more.tar").write_bytes(layer_tar([("extra", random_bytes(MiB // 4, 77))]))
    if words[0] == "repack":
        assert 0 == run("unpack", "app:app:1", "there").code
        (tmp_path / "there/rootfs/file2").write_bytes(b"other")
        recorded.stages = [[]]
    result = run(*words)
    assert 0 == result.code, str(result)
    assert [] == unlawful(recorded.moved)
    assert recorded.moved


@pytest.mark.parametrize("jobs", ["1", "4"])
def test_a_pull_knows_all_layers_at_once(run: Run, recorded: RecordedProgress, registry: ScriptedRegistry, jobs: str) -> None:
    put_images(registry, "app", APP, tag="1")
    assert 0 == run("pull", f"{registry.host}/app:1", "out/", "--jobs", jobs).code
    assert [] == unlawful(recorded.moved)
    assert {len(LAYERS)} == {numbers.blobs for numbers in recorded.moved[-1]}


def test_layers_that_the_registry_has_count_off(
    run: Run, recorded: RecordedProgress, registry: ScriptedRegistry, tmp_path: Path
) -> None:
    put_images(registry, "app", APP, tag="1")
    write_layout(tmp_path / "next", [NEXT])
    assert 0 == run("push", "next", f"{registry.host}/app:2").code
    last = recorded.moved[-1][-1]
    assert (1, 1, last.whole) == (last.through, last.blobs, last.done)
    assert not any(map(passes, recorded.moved[-1]))


def test_what_is_sent_again_is_taken_back(
    run: Run, recorded: RecordedProgress, registry: ScriptedRegistry, tmp_path: Path
) -> None:
    large = image([layer_tar([("large", random_bytes(4 * MiB))])], tag="app:1", codec="none")
    write_layout(tmp_path / "large", [large])
    registry.faults.append(Fault("PATCH", cut_request=2 * MiB, times=1))
    assert 0 == run("push", "large", f"{registry.host}/app:1").code
    assert [] == unlawful(recorded.moved)
    assert any(later.done < sooner.done for sooner, later in zip(recorded.moved[0], recorded.moved[0][1:], strict=False))


def test_what_is_fetched_again_is_taken_back(
    run: Run, recorded: RecordedProgress, registry: ScriptedRegistry, tmp_path: Path
) -> None:
    """The first bytes that an earlier attempt left are not the layer's."""
    large = layer_tar([("large", random_bytes(4 * MiB))])
    put_images(registry, "app", image([large], codec="none"), tag="1")
    registry.faults.append(Fault("GET", sha256(large), cut_response=2 * MiB, flip=100))
    assert 0 != run("pull", f"{registry.host}/app:1", "out/").code
    registry.faults.clear()
    recorded.stages = [[]]
    assert 0 == run("pull", f"{registry.host}/app:1", "out/").code
    assert [] == unlawful(recorded.moved)


@pytest.mark.parametrize(
    ("stage", "what"),
    [([Numbers(1, 1, 10, 10), Numbers(2, 2, 20, 20)], "totals change"), ([Numbers(0, 1, 5, 10)], "ends at"),
     ([Numbers(1, 1, 11, 10)], "passes its total")],
)  # fmt: skip
def test_a_broken_law_is_seen(stage: list[Numbers], what: str) -> None:
    assert any(what in line for line in unlawful([stage]))
