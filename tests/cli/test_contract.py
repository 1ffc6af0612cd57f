"""What scripts rely on whatever the command: exit codes, one line of error, clean streams, help."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.images import image, layer_tar, write_docker_archive, write_layout, write_oci_archive
from support.report import report_of

Run = Callable[..., Any]
COMMANDS = ("inspect", "ls", "cat", "diff", "validate")
OCITOOL = (sys.executable, "-m", "ocitool")


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    layer = layer_tar([("etc/", None), ("etc/motd", b"hello\n"), *((f"f{n:05}", b"") for n in range(5000))])
    return write_docker_archive(tmp_path / "app.tar", [image([layer], tag="app:1", codec="none")])


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    return write_layout(tmp_path / "layout", [image([layer_tar([("a", b"a" * 1000)])], tag="v1")])


def blob(layout: Path, number: int) -> Path:
    """The stored layer of the only image."""
    manifest = json.loads((layout / "index.json").read_bytes())["manifests"][0]["digest"]
    layers = json.loads((layout / "blobs" / manifest.replace(":", "/")).read_bytes())["layers"]
    return layout / "blobs" / layers[number]["digest"].replace(":", "/")


def failed(result: Any, code: int) -> str:
    """The error line of a run that failed as it should: one line, then perhaps a hint, no traceback, no output."""
    assert result.code == code, str(result)
    lines = [line for line in result.err.splitlines() if not line.startswith("ocitool: note: ")]
    assert lines[0].startswith("ocitool: error: "), str(result)
    assert len(lines) == 1 or (len(lines) == 2 and lines[1].startswith("hint: ")), str(result)
    assert "Traceback" not in result.err
    return result.err


# Exit codes


@pytest.mark.parametrize(
    "words",
    [
        ("inspect", "--wrong"), ("wrong",), ("inspect",), ("ls", "a", "b", "c"), ("inspect", "--format", "xml", "a"),
        ("diff", "-", "-"), ("validate", "-", "-"), ("inspect", ""), ("oci:",), ("inspect", "oci:"),
        ("inspect", "docker-daemon:"), ("inspect", "docker-daemon:Alpine"),
        ("inspect", "docker://"), ("inspect", "docker://a.b/C"), ("tags", "docker://a.b/c:1"),
        ("pull", "a.b/c@sha256:1", "x.tar"), ("copy", "--insecure", "docker://a.b/c", "docker://d.e/f"),
        ("login", "-u", "a:b", "c.d"), ("login", "-u", "a", "c.d"), ("catalog", "docker://a.b/c"),
        ("inspect", "--platform", "linux/a", "--all-platforms", "x"), ("ls", "--jobs", "0", "x"),
        ("validate", "--as", "x", "y"), ("unpack", "x", "-"), ("unpack", "--as", "bundle", "x", "-"),
        *((command, *words, "--platform", "linux/a", "--all-platforms")
          for command, words in (("copy", "xy"), ("unpack", "xy"), ("append", "xy"), ("edit", "xy"), ("diff", "xy"),
                                 ("squash", "xy"), ("rebuild", "xy"), ("rebase", "xy"))),
        ("squash", "x"), ("squash", "x", "y.tar", "--from", "a"), ("rebuild", "x", "y.tar", "--plan", "z"), ("rebase", "x"),
    ],
)  # fmt: skip
def test_wrong_words_are_2(ocitool: Run, words: tuple[str, ...]) -> None:
    failed(ocitool(*words), 2)


def test_what_is_said_stays_out_of_the_archive_though_standard_error_is_closed(layout: Path, tmp_path: Path) -> None:
    whole = subprocess.run([*OCITOOL, "copy", layout, "-"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    script = 'exec "$@" 2>&-'
    closed = subprocess.run(["sh", "-c", script, "sh", *OCITOOL, "copy", layout, "-"], stdout=subprocess.PIPE, check=True)
    assert whole.stdout == closed.stdout


def test_a_misspelt_command_is_told_the_nearest(ocitool: Run) -> None:
    assert "Did you mean 'inspect'?" in failed(ocitool("inspct", "x"), 2)


def test_a_group_without_a_command_shows_its_help(ocitool: Run) -> None:
    result = ocitool("layout")
    assert (2, True) == (result.code, " layout [OPTIONS] COMMAND" in result.err)


@pytest.mark.parametrize("command", [("inspect",), ("ls",), ("cat", "a"), ("diff", "a"), ("validate",)])
def test_a_missing_file_is_3_with_a_hint(ocitool: Run, command: tuple[str, ...], tmp_path: Path) -> None:
    words = [command[0], "missing.tar", *command[1:]]
    assert "hint: docker://" in failed(ocitool(*words, cwd=tmp_path, env={"PYTHONPATH": os.getcwd()}), 3)


@pytest.mark.parametrize(
    "data", [b"", b"garbage", b"\x1f\x8bgarbage", bytes(10240), b"PK\x03\x04" + bytes(2000), b"\x28\xb5\x2f\xfd"]
)
def test_garbage_is_4(ocitool: Run, tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.tar").write_bytes(data)
    failed(ocitool("inspect", tmp_path / "x.tar"), 4)
    failed(ocitool("inspect", "-", stdin=data), 4)
    (tmp_path / "dir").mkdir()
    failed(ocitool("inspect", tmp_path / "dir"), 4)


@pytest.mark.parametrize("words", [("ls",), ("inspect", "--files"), ("inspect", "--verify"), ("diff",), ("cat",)])
def test_a_wrong_digest_is_5(ocitool: Run, layout: Path, tmp_path: Path, words: tuple[str, ...]) -> None:
    good = write_layout(tmp_path / "good", [image([layer_tar([("b", b"")])])])
    path = blob(layout, 0)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    more = {"diff": (good,), "cat": ("a",)}.get(words[0], ())
    failed(ocitool(*words, layout, *more), 5)


def test_a_wrong_manifest_or_configuration_is_5(ocitool: Run, layout: Path) -> None:
    for path in (layout / "blobs" / "sha256").iterdir():
        before = path.read_bytes()
        if before.startswith(b"{"):
            path.write_bytes(before.replace(b'"', b" ", 1))
            failed(ocitool("inspect", layout), 5)
            path.write_bytes(before[:-1])
            failed(ocitool("inspect", layout), 5)
            path.write_bytes(before)


def test_a_forged_diff_id_is_5_wherever_the_layer_is_hashed(ocitool: Run, tmp_path: Path) -> None:
    made = image([layer_tar([("a", b"")])], rootfs={"type": "layers", "diff_ids": ["sha256:" + "1" * 64]})
    failed(ocitool("ls", write_layout(tmp_path / "layout", [made])), 5)


@pytest.mark.parametrize("name", ["../a", "a/../../b", ".wh..", "a/.wh...", ".wh."])
def test_an_entry_that_leaves_the_root_is_6(ocitool: Run, tmp_path: Path, name: str) -> None:
    path = write_layout(tmp_path / "layout", [image([layer_tar([(name, b"")])])])
    failed(ocitool("ls", path), 6)
    failed(ocitool("inspect", "--files", path), 6)


def test_a_limit_is_7(ocitool: Run, layout: Path) -> None:
    failed(ocitool("ls", layout, env={"OCITOOL_MAX_LAYER_ENTRIES": "0"}), 7)
    failed(ocitool("ls", layout, env={"OCITOOL_MAX_UNPACKED_SIZE": "1000"}), 7)
    failed(ocitool("ls", layout, env={"OCITOOL_MAX_LAYER_ENTRIES": "many"}), 2)


def test_what_may_not_be_read_is_8(layout: Path, archive: Path, tmp_path: Path, need: Callable[..., str]) -> None:
    if os.geteuid() == 0:
        need("setpriv")
    for path in (archive, blob(layout, 0)):
        path.chmod(0)
    # Root without the capabilities to read everything: another user could not run this Python.
    drop = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all"] if os.geteuid() == 0 else []
    for words in (("inspect", archive), ("ls", layout)):
        done = subprocess.run([*drop, *OCITOOL, *words, "--no-cache"], capture_output=True, text=True)
        assert done.returncode == 8, done.stderr
        assert done.stderr.startswith("ocitool: error: cannot be read: Permission denied ("), done.stderr


def test_a_report_into_a_missing_directory_is_9(ocitool: Run, archive: Path, tmp_path: Path) -> None:
    failed(ocitool("inspect", "--report", tmp_path / "missing" / "r.json", archive), 9)
    failed(ocitool("inspect", "--report", tmp_path, archive), 2)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize(
    "words", [("inspect",), ("ls", "-R"), ("cat",), ("inspect", "--raw", "config"), ("inspect", "--format", "json")]
)
def test_a_full_disk_is_9(archive: Path, words: tuple[str, ...]) -> None:
    more = ["etc/motd"] if words == ("cat",) else []
    with open("/dev/full", "w") as full:
        done = subprocess.run([*OCITOOL, *words, archive, *more], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 9, done.stderr
    assert done.stderr == "ocitool: error: the output cannot be written: No space left on device (standard output)\n"


def test_a_closed_standard_output_is_9(archive: Path) -> None:
    done = subprocess.run(["sh", "-c", 'exec "$@" >&-', "sh", *OCITOOL, "ls", archive], capture_output=True, text=True)
    assert done.returncode == 9 and "Traceback" not in done.stderr, done.stderr


def test_a_bug_is_70_in_one_line_and_debug_shows_where(archive: Path) -> None:
    program = "import ocitool.operations.listing as l, ocitool.cli\nl.ls = lambda *a, **k: 1 / 0\nocitool.cli.main()"
    command = [sys.executable, "-c", program, "ls", archive]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 70 and done.stderr.startswith("ocitool: error: a bug: ZeroDivisionError"), done.stderr
    assert done.stderr.splitlines()[1].startswith("hint: ") and "Traceback" not in done.stderr
    done = subprocess.run([*command, "--debug"], capture_output=True, text=True)
    assert "Traceback" in done.stderr and "ZeroDivisionError" in done.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("how", ["stdin", "fifo"])
@pytest.mark.parametrize("command", ["inspect", "ls"])
def test_signals(tmp_path: Path, archive: Path, number: int, code: int, how: str, command: str) -> None:
    """While it waits for a writer that is slow."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    source = "-" if how == "stdin" else str(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK) if how == "stdin" else None
    if reader is not None:
        os.set_blocking(reader, True)
    process = subprocess.Popen(
        [*OCITOOL, command, source], stdin=reader if reader is not None else subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    with open(fifo, "wb") as writer:  # opens once the reader is there
        writer.write(archive.read_bytes()[:20000])
        writer.flush()
        time.sleep(0.8)
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    if reader is not None:
        os.close(reader)
    assert process.returncode == code, err
    assert out == "" and err.splitlines()[-1] == "ocitool: error: " + ("interrupted" if code == 130 else "terminated")
    assert "Traceback" not in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["app.tar", "fifo"]


def test_a_reader_that_never_reads_help_is_141() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    for words in (("--help",), ("ls", "--help"), ("--version",)):
        done = subprocess.run([*OCITOOL, *words], stdout=writer, stderr=subprocess.PIPE)
        assert (done.returncode, done.stderr) == (141, b"")
    os.close(writer)


@pytest.mark.parametrize("words", [("ls", "-lR"), ("ls", "-R", "--format", "json")])
def test_a_reader_that_leaves_is_141_without_a_word(archive: Path, words: tuple[str, ...]) -> None:
    process = subprocess.Popen([*OCITOOL, *words, archive], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.read(10)
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert (process.wait(20), err) == (141, b"")


# Streams


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_examples(ocitool: Run, command: str) -> None:
    result = ocitool(command, "--help")
    assert result.code == 0 and not result.stderr
    assert "Examples:" in result.out and f"ocitool {command}" in result.out
    assert ocitool(command, "-h").stdout == result.stdout


def test_version_and_bare_help(ocitool: Run) -> None:
    assert re.fullmatch(r"ocitool \d+\.\d+\.\d+\S*\n", ocitool("--version").out)
    assert all(command in ocitool("--help").out for command in COMMANDS)


def test_standard_input_piped_and_redirected(ocitool: Run, archive: Path) -> None:
    expected = ocitool("ls", "-R", archive).stdout
    assert ocitool("ls", "-R", "-", stdin=archive.read_bytes()).stdout == expected
    with open(archive, "rb") as file:
        assert subprocess.run([*OCITOOL, "ls", "-R", "-"], stdin=file, capture_output=True).stdout == expected
    assert ocitool("diff", "-", archive, stdin=archive.read_bytes()).code == 0
    assert ocitool("diff", archive, "-", stdin=archive.read_bytes()).code == 0
    assert ocitool("validate", "-", stdin=archive.read_bytes()).code == 0


def test_the_report_goes_to_a_file_whole(ocitool: Run, archive: Path, tmp_path: Path) -> None:
    report = tmp_path / "r.json"
    report.write_text("old")
    for words in (("inspect", "--format", "json"), ("ls", "-R"), ("diff", "--format", "markdown", archive), ("validate",)):
        result = ocitool(*words, "--report", report, archive)
        assert (result.code, result.stdout) == (0, b""), str(result)
        assert report.read_bytes() == ocitool(*words, archive).stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["app.tar", "r.json"]


def test_a_failure_leaves_the_old_report(ocitool: Run, layout: Path, tmp_path: Path) -> None:
    report = tmp_path / "r.txt"
    report.write_text("old")
    blob(layout, 0).unlink()
    failed(ocitool("ls", "--report", report, layout), 3)
    assert report.read_text() == "old"


@pytest.mark.parametrize("words", [("inspect", "--files"), ("diff",), ("validate",), ("ls", "-lR")])
def test_no_escape_sequence_leaves_when_piped(ocitool: Run, testdata: Path, words: tuple[str, ...]) -> None:
    more = [testdata / "app-v2.tar"] if words == ("diff",) else []
    result = ocitool(*words, testdata / "app-v1.tar", *more, env={"FORCE_COLOR": "1", "TERM": "xterm-256color"})
    assert b"\x1b" not in result.stdout + result.stderr


def on_a_terminal(*words: str | Path, **env: str) -> bytes:
    master, slave = pty.openpty()
    wanted = {**os.environ, "TERM": "xterm", "PYTHONUNBUFFERED": "1", **env}
    process = subprocess.Popen([*OCITOOL, *words], stdout=slave, stderr=slave, stdin=subprocess.DEVNULL, env=wanted)
    os.close(slave)
    out = b""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if select.select([master], [], [], 0.2)[0]:
            try:
                data = os.read(master, 65536)
            except OSError:
                break
            if not data:
                break
            out += data
        elif process.poll() is not None:
            break
    process.wait(10)
    os.close(master)
    return out


def test_colour_on_a_terminal_unless_someone_objects(testdata: Path) -> None:
    words = ("diff", testdata / "app-v1.tar", testdata / "app-v2.tar")
    environment = {"NO_COLOR": ""}
    assert b"\x1b[" in on_a_terminal(*words, **environment)
    assert b"\x1b" not in on_a_terminal(*words, NO_COLOR="1")
    assert b"\x1b" not in on_a_terminal(*words, "--no-color", **environment)
    assert b"\x1b" not in on_a_terminal(*words, TERM="dumb", NO_COLOR="")


@pytest.mark.parametrize(
    "words",
    [("inspect", "--files", "-"), ("ls", "-"), ("diff", "-", "ARCHIVE"), ("validate", "-"), ("copy", "-", "OUT/x.tar"),
     ("unpack", "-", "OUT/x"), ("edit", "-", "OUT/x.tar", "--env", "A=1")],
)  # fmt: skip
def test_a_report_never_stands_among_the_bars(words: tuple[str, ...], archive: Path, tmp_path: Path) -> None:
    """Bars draw on standard error, which is a terminal here, once the input has kept them waiting; the report is another
    stream's. However long the program takes to start: it has begun once it took the first bytes."""
    places = {"ARCHIVE": str(archive), "OUT": str(tmp_path)}
    named = [places.get(word, word.replace("OUT/", f"{tmp_path}/")) for word in words]
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [*OCITOOL, *named, "--format", "json"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=slave,
        env={**os.environ, "TERM": "xterm", "OCITOOL_CACHE_DIR": str(tmp_path / "cache")},
    )  # fmt: skip
    os.close(slave)
    assert process.stdin is not None
    data = archive.read_bytes()
    process.stdin.write(data[:512])
    process.stdin.flush()
    untaken = array("i", [1])
    while untaken[0] and process.poll() is None:
        time.sleep(0.05)
        fcntl.ioctl(process.stdin, termios.FIONREAD, untaken)
    time.sleep(0.8)  # until bars are due
    report = process.communicate(data[512:], timeout=60)[0]
    drawn = os.read(master, 65536)
    os.close(master)
    assert (words[0], True) == (json.loads(report)["report"], b"\x1b[" in drawn)


def test_standard_input_that_is_a_terminal_is_refused() -> None:
    master, slave = pty.openpty()
    done = subprocess.run([*OCITOOL, "inspect", "-"], stdin=slave, capture_output=True, text=True, timeout=20)
    os.close(master)
    os.close(slave)
    assert done.returncode == 2 and "terminal" in done.stderr


def test_quiet_says_nothing_but_errors(ocitool: Run, testdata: Path) -> None:
    words = ("inspect", "--all-platforms", f"{testdata}/multiarch:partial")
    assert b"ocitool: note: " in ocitool(*words).stderr
    assert ocitool(*words, "--quiet").stderr == b""
    failed(ocitool("inspect", "--quiet", "missing"), 3)


def test_what_an_error_repeats_is_escaped(ocitool: Run, tmp_path: Path) -> None:
    for words in (("inspect", "a\x1b[31m\n\u202e"), ("ls", "--\x1b[31m\n"), ("diff", "--fail-on", "\x1b\n", "a", "b")):
        err = ocitool(*words).stderr
        assert b"\x1b" not in err and "\u202e".encode() not in err


# The cache


def test_no_cache_keeps_nothing(ocitool: Run, layout: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    ocitool("ls", "--no-cache", layout, env={"OCITOOL_CACHE_DIR": str(cache)})
    assert not cache.exists()
    ocitool("ls", layout, env={"OCITOOL_CACHE_DIR": str(cache)})
    assert cache.stat().st_mode & 0o777 == 0o700
    assert {path.name for path in cache.rglob("*") if path.is_dir()} >= {"ids", "indexes"}


def test_a_file_that_was_replaced_is_read_again(ocitool: Run, tmp_path: Path) -> None:
    """By file identity: a compressed layer in a docker archive has no digest."""
    path = tmp_path / "a.tar"
    for name in ("one", "two"):
        write_docker_archive(path, [image([layer_tar([(name, b"")])])])
        assert ocitool("ls", path).out == f"/{name}\n"


def test_a_cache_directory_that_cannot_be_made_costs_nothing_but_time(ocitool: Run, layout: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert ocitool("ls", layout, env={"OCITOOL_CACHE_DIR": str(tmp_path / "file" / "below")}).code == 0


def test_a_stated_diff_id_poisons_nothing(ocitool: Run, tmp_path: Path) -> None:
    """An archive that claims another's diff_id for its layer, read first, changes nothing of what the honest image is."""
    honest = image([layer_tar([("good", b"g")])], tag="app:1", codec="none")
    evil_layer = layer_tar([("evil", b"e")])
    forged = image([evil_layer], tag="app:1", codec="none", config=honest.config)
    good = write_docker_archive(tmp_path / "good.tar", [honest])
    bad = write_docker_archive(tmp_path / "bad.tar", [forged])
    bad_gzip = write_docker_archive(tmp_path / "bad-gzip.tar", [image([evil_layer], config=honest.config)])
    other = write_oci_archive(tmp_path / "other.tar", [image([layer_tar([("good", b"g"), ("more", b"")])])])
    ocitool("ls", bad)
    assert ocitool("ls", bad_gzip).code == 5
    ocitool("diff", bad, other)
    assert ocitool("inspect", "--verify", bad).code == 5
    assert ocitool("ls", good).out == "/good\n"
    report = report_of(ocitool("diff", "--format", "json", good, other), 1)
    assert [(item["path"], item["kind"]) for item in report["files"]] == [("/more", "added")]


BEGINS = {"bash": "_ocitool_completion()", "zsh": "#compdef ocitool", "fish": "complete --command ocitool"}


@pytest.mark.parametrize(("shell", "begin"), BEGINS.items(), ids=BEGINS)
def test_completion_is_for_the_shell_that_is_named(shell: str, begin: str, ocitool: Run, tmp_path: Path) -> None:
    for words in (("--show-completion", shell), (f"--show-completion={shell}",), ("--show-completion", f"/usr/bin/{shell}")):
        result = ocitool(*words)
        assert result.code == 0, str(result)
        assert result.out.startswith(begin), str(result)
    assert ocitool("--install-completion", shell, env={"HOME": str(tmp_path)}).code == 0
    made = "\n".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file() and "ocitool" in path.name)
    assert made.startswith(begin)


def test_a_shell_without_completion_is_2(ocitool: Run) -> None:
    assert "bash|zsh|fish" in failed(ocitool("--show-completion", "klingon"), 2)


def test_completion_that_cannot_be_installed_is_9(ocitool: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    failed(ocitool("--install-completion", "zsh", env={"HOME": str(tmp_path / "file")}), 9)
