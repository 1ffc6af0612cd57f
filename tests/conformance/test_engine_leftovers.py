"""What ocitool makes at an engine for its own use is gone when the block ends, or when the next command begins."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from support.engine_state import held

from ocitool.task import Task

PROGRAM = """
import sys, time
from ocitool.task import Task
from ocitool.transports.engine import EngineOptions, Engines, leftovers
task = Task()
engine = Engines(EngineOptions(sys.argv[1]), task).engine()
with leftovers.own_image(engine, task, creates=sys.argv[2] or None) as image:
    if sys.argv[2]:
        engine.send("POST", "/volumes/create", "volume", json={"Name": sys.argv[2]})
    with leftovers.created_container(engine, task, {"Image": image, "Cmd": ["/none"]}):
        print("made", flush=True)
        time.sleep(600)
"""


@pytest.fixture
def engine(docker_engine: Any) -> Iterator[Any]:
    before = held(docker_engine)
    yield docker_engine
    assert held(docker_engine) == before


def connected(engine: Any, task: Task) -> Any:
    from ocitool.transports.engine import EngineOptions, Engines

    return Engines(EngineOptions(engine.host), task).engine()


def started(engine: Any, creates: str = "") -> subprocess.Popen[bytes]:
    """A process that has made an image and a container, and lives."""
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, engine.host, creates], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"made\n"
    return process


def ended(process: subprocess.Popen[bytes], number: int) -> None:
    process.send_signal(number)
    process.wait(30)
    assert process.stdout is not None
    process.stdout.close()


def removed(engine: Any) -> list[str]:
    from ocitool.transports.engine import leftovers

    with Task() as task:
        connection = connected(engine, task)
        leftovers.remove(connection, task)
        connection.close()
    return [notice.text for notice in task.notices]


def test_what_a_killed_process_left_is_removed_by_the_next(engine: Any) -> None:
    before = held(engine)
    process = started(engine, "half-filled")
    assert held(engine)["volumes"] == [*before["volumes"], "half-filled"]
    ended(process, signal.SIGKILL)
    told = removed(engine)
    assert held(engine) == before
    assert len(told) == 2 and all(f"process {process.pid}" in text for text in told), told
    assert removed(engine) == []


@pytest.mark.parametrize("number", [signal.SIGINT])
def test_an_interrupted_process_leaves_nothing(engine: Any, number: int) -> None:
    before = held(engine)
    ended(started(engine, "unfinished"), number)
    assert held(engine) == before


def test_what_a_living_process_has_is_left_to_it(engine: Any) -> None:
    processes = [started(engine), started(engine)]
    try:
        while_they_live = held(engine)
        assert removed(engine) == [] and held(engine) == while_they_live
        ended(processes[0], signal.SIGINT)
        assert len(held(engine)["images"]) == len(while_they_live["images"]) - 1
    finally:
        for process in processes:
            if process.poll() is None:
                ended(process, signal.SIGINT)


def test_what_others_have_is_named_and_left(engine: Any) -> None:
    from ocitool.transports.engine import leftovers

    here = leftovers.this_process()
    others = {
        "elsewhere": here._replace(host="elsewhere", machine="0" * 32, boot="other").label[leftovers.OWNER],
        "process 7 of": here._replace(namespace="pid:[1]", pid=7).label[leftovers.OWNER],
        "cannot be read": "no JSON",
        "an unknown host": json.dumps({**here._asdict(), "host": "", "boot": "", "start": 0}),
    }
    with Task() as task:
        connection = connected(engine, task)
        with leftovers.own_image(connection, task) as image:
            for label in others.values():
                engine("create", "--label", f"{leftovers.OWNER}={label}", "--network", "none", image, "/none")
            made = held(engine)
            told = removed(engine)
            assert held(engine) == made
            for word in others:
                assert any(word in text for text in told), (word, told)
            engine("rm", *engine("ps", "-aq").stdout.decode().split())
        connection.close()


def test_a_dead_process_is_known_as_such() -> None:
    from ocitool.transports.engine import leftovers

    here = leftovers.this_process()
    assert here.is_dead(here) is False
    assert here._replace(start=here.start + 1).is_dead(here) is True  # its number was given to another process
    assert here._replace(pid=2**22 + 1).is_dead(here) is True
    assert here._replace(namespace="pid:[2]").is_dead(here) is None
    assert here._replace(host="other", boot="other").is_dead(here) is None
    assert here._replace(boot="earlier", pid=os.getpid()).is_dead(here._replace(machine="m")) is None
    assert here._replace(boot="earlier", machine="m").is_dead(here._replace(machine="m")) is True
    assert here._replace(boot="").is_dead(here._replace(boot="")) is None
    with subprocess.Popen(["true"]) as child:
        child_owner = here._replace(pid=child.pid, start=1)
        assert child_owner.is_dead(here) is True
    assert leftovers.parse_owner(here.label[leftovers.OWNER]) == here
    for wrong in (
        None,
        "",
        "[]",
        "{}",
        "x" * 5000,
        json.dumps({**here._asdict(), "pid": "1"}),
        json.dumps({**here._asdict(), "pid": True}),
    ):
        assert leftovers.parse_owner(wrong) is None


def test_an_image_with_our_label_and_another_name_is_no_leftover(engine: Any, tmp_path: Any) -> None:
    """Whoever builds an image chooses its labels: that must not make ocitool remove a volume."""
    from ocitool.transports.engine import leftovers

    dead = leftovers.this_process()._replace(pid=2**22 + 1)
    (tmp_path / "Dockerfile").write_text(
        f"FROM scratch\nLABEL {leftovers.OWNER}={json.dumps(dead.label[leftovers.OWNER])} {leftovers.CREATES}=precious\n"
    )
    engine("volume", "create", "precious")
    engine("build", "-q", "-t", "trap:1", str(tmp_path))
    try:
        removed(engine)
        assert "precious" in held(engine)["volumes"] and engine("images", "-q", "trap:1").stdout
    finally:
        engine("rmi", "trap:1")
        engine("volume", "rm", "precious")
