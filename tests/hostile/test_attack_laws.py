"""The laws that the campaign holds commands against, each shown to pass an honest run and to fail a broken one."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest
from campaign.attack import laws, runs
from campaign.attack.laws import CommandFacts, Observation
from campaign.attack.runs import PathState, RunResult, stood
from support.images import image, layer_tar, sha256, write_docker_archive, write_layout, write_oci_archive

ROOT = Path(__file__).resolve().parents[2]
SECRET = "s3cr3t/+w\u00f6rd&more"
FINE = RunResult(0, b"fine\n", b"", 0.1, 0.2, 10 << 20, False)
FAILED = FINE._replace(code=3, out=b"", err=b"ocitool: error: no such image (a)\n")
FILE = PathState(0o100000, 0o644, (0, 0), 5, 1, (1, 1), "content")


def seen(ran: RunResult = FINE, root: Path = Path("/none"), **changes: object) -> Observation:
    asked = {name: changes.pop(name) for name in list(changes) if name in CommandFacts.__dataclass_fields__}
    return replace(Observation(CommandFacts(**{"words": ("inspect", "a"), **asked}), ran, {}, {}, (), {}, root), **changes)  # type: ignore[arg-type]


def breaches(law: Callable[[Observation], Iterator[str]], ran: RunResult = FINE, **changes: object) -> list[str]:
    return list(law(seen(ran, **changes)))


def test_an_honest_run_breaks_no_law() -> None:
    assert [] == laws.breaches(seen())
    assert [] == laws.breaches(seen(FAILED))


@pytest.mark.parametrize(
    "ran",
    [
        FINE._replace(hung=True),
        FINE._replace(code=70),
        FINE._replace(code=-9),
        FINE._replace(code=99),
        FINE._replace(err=b"Traceback (most recent call last):\n"),
        FAILED._replace(err=b"ocitool: error: a bug: KeyError: 'x'\n"),
        FAILED._replace(err=b""),
        FAILED._replace(err=FAILED.err * 2),
        FAILED._replace(code=0),
        FAILED._replace(code=7, err=b"ocitool: error: out of memory\n"),
    ],
)
def test_an_end_that_is_not_documented_is_found(ran: RunResult) -> None:
    assert breaches(laws.ended, ran)


def test_a_traceback_that_was_asked_for_is_none() -> None:
    assert [] == breaches(
        laws.ended, FAILED._replace(err=b"Traceback (most recent call last):\n" + FAILED.err), words=("ls", "a", "--debug")
    )


def test_time_is_held_against_bytes_and_entries() -> None:
    assert breaches(laws.quick, FINE._replace(cpu=5.0))
    assert breaches(laws.quick, FINE._replace(wall=60.0))
    assert [] == breaches(laws.quick, FINE._replace(cpu=5.0), entries=8_000)
    assert [] == breaches(laws.quick, FINE._replace(cpu=5.0), stored=2_000_000)


def test_memory_is_held_against_bytes_and_entries() -> None:
    assert breaches(laws.small, FINE._replace(peak=300 << 20))
    assert [] == breaches(laws.small, FINE._replace(peak=300 << 20), stored=8 << 20)


@pytest.mark.parametrize(
    "said",
    [
        SECRET,
        f"token={SECRET}&x",
        base64.b64encode(SECRET.encode()).decode(),
        base64.b64encode(f"user:{SECRET}".encode()).decode(),
        base64.b64encode(f"us:{SECRET}:more".encode()).decode(),
        quote(SECRET, safe=""),
        json.dumps(SECRET),
        SECRET.encode().hex(),
    ],
)
@pytest.mark.parametrize("where", ["out", "err", "report"])
def test_a_credential_is_found_in_every_spelling_and_output(said: str, where: str) -> None:
    data = f"ocitool: error: {said} is refused\n".encode()
    ran = FINE if where == "report" else FINE._replace(**{where: data})
    reports = {"out/report": data} if where == "report" else {}
    assert breaches(laws.masked, ran, credentials=(SECRET,), reports=reports)
    assert breaches(laws.masked, ran, secrets=(SECRET,), reports=reports)
    assert [] == breaches(laws.masked, FINE, credentials=(SECRET,))


def test_a_secret_in_content_that_was_asked_for_is_none_but_one_in_an_error_is() -> None:
    assert [] == breaches(laws.masked, FINE._replace(out=SECRET.encode()), secrets=(SECRET,), verbatim=True)
    assert breaches(laws.masked, FINE._replace(err=SECRET.encode()), secrets=(SECRET,), verbatim=True)


def test_a_credential_that_went_elsewhere_is_found() -> None:
    assert breaches(laws.masked, leaked_to=("GET /moved of another host",))


@pytest.mark.parametrize(
    "wild", ["\x1b[31m", "\x07", "\r", "\x7f", "\x9b", "\u202e", "\u200b", "\U000e0041", "\ufeff", "\u2028"]
)
def test_what_moves_hides_or_turns_text_is_found(wild: str) -> None:
    assert breaches(laws.tame, FINE._replace(err=f"no such file: {wild}x\n".encode()))
    assert breaches(laws.tame, FINE._replace(out=f"no such file: {wild}x\n".encode()))


def test_bytes_that_are_no_text_are_found() -> None:
    assert breaches(laws.tame, FINE._replace(out=b"\xff\n"))
    assert [] == breaches(laws.tame, FINE._replace(out=b"\xff\x1b\n"), verbatim=True)
    assert breaches(laws.tame, FINE._replace(out=b"\xff\x1b\n"), verbatim=True, terminal=True)


def test_our_own_colours_are_let_through_on_a_terminal_alone() -> None:
    coloured = FINE._replace(out=b"\x1b[1;32mgreen\x1b[0m\n\x1b[?25l\x1b[2K")
    assert [] == breaches(laws.tame, coloured, terminal=True)
    assert breaches(laws.tame, coloured)
    assert breaches(laws.tame, FINE._replace(out=b"\x1b]0;title\x07"), terminal=True)


def test_what_is_made_changed_or_removed_outside_is_found() -> None:
    for before, after in (
        ({}, {"x": FILE}),
        ({"x": FILE}, {}),
        ({"x": FILE}, {"x": FILE._replace(when=(1, 2))}),
        ({"x": FILE}, {"x": FILE._replace(mode=0)}),
    ):
        assert breaches(laws.within, before=before, after=after)
    assert [] == breaches(laws.within, before={"x": FILE}, after={"x": FILE})
    assert breaches(laws.within, left=("tmpabc",))


def test_what_stands_is_seen_to_the_last_change(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "kept").write_text("one")
    (tmp_path / "link").symlink_to("kept")
    before = stood(tmp_path, ("out/new",))
    (tmp_path / "out" / "new").write_text("allowed")
    assert before == stood(tmp_path, ("out/new",))
    os.chmod(tmp_path / "kept", 0o600)
    os.chmod(tmp_path / "kept", 0o644)
    assert ["kept"] == [path for path, one in stood(tmp_path, ("out/new",)).items() if before[path] != one]
    (tmp_path / "out" / "other").write_text("not allowed")
    assert "out/other" in stood(tmp_path, ("out/new",))


def test_an_image_that_is_not_whole_is_found(tmp_path: Path) -> None:
    made = image([layer_tar([("a", b"x")])], tag="app", codec="none")
    layer = made.manifest["layers"][0]["digest"].replace(":", "/")
    write_layout(tmp_path / "fine", [made])
    write_oci_archive(tmp_path / "fine.tar", [made])
    write_docker_archive(tmp_path / "docker.tar", [made])
    write_layout(tmp_path / "poisoned", [made])
    (tmp_path / "poisoned" / "blobs" / layer).write_bytes(b"poison")
    write_layout(tmp_path / "lost", [made])
    (tmp_path / "lost" / "blobs" / layer).unlink()
    lost = image([], tag="b")
    lost.manifest["layers"] = [{"mediaType": "x", "digest": sha256(b"?"), "size": 1}]
    write_oci_archive(tmp_path / "lost.tar", [lost])
    for name in ("fine", "fine.tar"):
        assert [] == breaches(laws.true, root=tmp_path, copies=name), name
    for name in ("poisoned", "lost", "lost.tar", "docker.tar"):
        assert breaches(laws.true, root=tmp_path, copies=name), name
        assert [] == breaches(laws.true, FAILED, root=tmp_path, copies=name), name


def test_requests_without_end_are_found() -> None:
    assert breaches(laws.bounded, requests=1_000, documents=5)
    assert [] == breaches(laws.bounded, requests=100, documents=5)


PROBE = """
import sys
sys.path[:0] = sys.argv[1:3]
from pathlib import Path
from campaign.attack import runs
from ocitool import cli
def odd():
    {body}
cli.main = odd
done = runs.run(("x",), Path("/"), {{}}, seconds={seconds}, stdin=b"given", terminal={terminal})
print(done.code, done.hung, done.out, done.err[-60:], done.cpu > 0.5, done.peak > 50 << 20)
"""


@pytest.mark.parametrize(
    ("body", "terminal", "expected"),
    [
        ("import os; print('hello'); sys.stdout.flush(); os._exit(3)", False, "3 False b'hello\\n' b'' False False"),
        ("import os; print(sys.stdin.read(), os.isatty(1)); sys.stdout.flush(); os._exit(0)", False,
        "0 False b'given False\\n' b'' False False"),
        ("import os; print(os.isatty(1)); sys.stdout.flush(); os._exit(0)", True, "0 False b'True\\n' b'' False False"),
        ("import os, time; time.sleep(60)", False, "-9 True b'' b'' False False"),
        ("import os; x = bytearray(100 << 20); os._exit(0)", False, "0 False b'' b'' False True"),
        ("import os, time\n    while time.process_time() < 0.6: pass\n    os._exit(0)", False, "0 False b'' b'' True False"),
        ("import os; os.kill(os.getpid(), 11)", False, "-11 False b'' b'' False False"),
    ],
)  # fmt: skip
def test_a_run_is_measured(body: str, terminal: bool, expected: str) -> None:
    code = PROBE.format(body=body, terminal=terminal, seconds=1 if "sleep" in body else 60)
    words = [sys.executable, "-c", code, str(ROOT), str(ROOT / "tests")]
    assert expected == subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


def test_an_error_that_main_raises_is_seen() -> None:
    code = PROBE.format(body="raise KeyError('a fault of the program')", terminal=False, seconds=60)
    done = subprocess.run(
        [sys.executable, "-c", code, str(ROOT), str(ROOT / "tests")], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(f"{runs.FAULT} False") and "a fault of the program" in done.stdout
