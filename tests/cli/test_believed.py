"""No byte is believed that was not hashed: what is copied, what is there already, and what advice leaves as the only one."""

from __future__ import annotations

import json
import mmap
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from support import places
from support.copying import copied, notes, refused
from support.images import (
    Image,
    docker_files,
    image,
    layer_tar,
    layout_files,
    sha256,
    write_docker_archive,
    write_files,
    write_layout,
    write_oci_archive,
    write_tar,
)
from support.registries import put_images
from support.registry import ScriptedRegistry
from support.report import report_of

from ocitool.blob import FileBlob
from ocitool.transports.layout_sink import LayoutSink

Run = Callable[..., Any]
APP = b"#!/bin/sh\necho GOOD\n"
LOWER = layer_tar([("etc/", None), ("etc/motd", b"hello\n" * 300)])
UPPER = layer_tar([("bin/", None), ("bin/app", APP * 50)])
GOOD = image([LOWER, UPPER], tag="app:1", codec="none")
OLD = image([LOWER], tag="base:1", codec="none")
LAYER, EVIL = sha256(UPPER), UPPER.replace(b"GOOD", b"EVIL")
AWAY = 10
"""Seconds that lie between the last change of a file and a run, for which no test waits."""


def blob(layout: Path, digest: str = LAYER) -> Path:
    return layout / "blobs" / digest.replace(":", "/")


def poisoned(layout: Path, data: bytes = EVIL) -> Path:
    """The layout with other bytes of the same size under the digest of a layer."""
    blob(layout).write_bytes(data)
    return layout


def bad_files() -> dict[str, bytes]:
    return {name: EVIL if data == UPPER else data for name, data in layout_files([GOOD]).items()}


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """The cache directory of the runs."""
    return tmp_path / "cache"


@pytest.fixture
def ocitool(ocitool: Run, cache: Path) -> Run:
    def run(*words: str | Path, env: dict[str, str] | None = None, **how: Any) -> Any:
        return ocitool(*words, env={"OCITOOL_CACHE_DIR": str(cache), **(env or {})}, **how)

    return run


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return write_layout(tmp_path / "good", [GOOD])


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    return write_files(tmp_path / "bad", bad_files())


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Bytes that were read of files, by the last part of their paths."""
    counted: dict[str, int] = {}
    real = FileBlob.pread

    def pread(self: FileBlob, size: int, offset: int) -> bytes:
        data = real(self, size, offset)
        name = os.path.basename(self._file.path)
        counted[name] = counted.get(name, 0) + len(data)
        return data

    monkeypatch.setattr(FileBlob, "pread", pread)
    return counted


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs begin some seconds after whatever was done to files."""
    from ocitool.transports import verifications

    real = verifications.now
    monkeypatch.setattr("ocitool.transports.layout_sink.now", lambda: real() + AWAY * 1_000_000_000)


# What is read and written


COMMANDS: dict[str, Sequence[str]] = {
    "copy": ("copy", "SRC", "DEST"),
    "copy, all platforms": ("copy", "--all-platforms", "SRC", "DEST"),
    "copy, verified": ("copy", "--verify", "SRC", "DEST"),
    "copy, compressed": ("copy", "--compression", "zstd", "SRC", "DEST"),
    "edit": ("edit", "SRC", "DEST", "--env", "A=b"),
    "edit of content": ("edit", "SRC", "DEST", "--rm", "/etc/motd"),
    "append": ("append", "SRC", "DEST", "--layer", "more"),
    "squash": ("squash", "SRC", "DEST"),
    "squash of what is above": ("squash", "three", "DEST", "--last", "2"),
    "rebuild": ("rebuild", "SRC", "DEST", "--against", "base", "--plan", "as-is"),
    "rebase": ("rebase", "SRC", "DEST", "--old-base", "base", "--new-base", "newer"),
    "repack": ("repack", "unpacked", "DEST", "--source", "SRC"),
}


@pytest.mark.parametrize("destination", ["a.tar", "oci-archive:a", "docker-archive:a", "a.tar.gz", "a.tar.zst", "a/", "-"])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_damaged_layer_is_5_for_every_command_and_destination_and_nothing_is_left(
    command: str, destination: str, ocitool: Run, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    write_files(work / "bad", bad_files())
    write_layout(work / "base", [OLD])
    write_layout(work / "newer", [image([layer_tar([("etc/", None), ("etc/os", b"2")])], tag="base:2", codec="none")])
    (work / "more").mkdir()
    (work / "more/f").write_bytes(b"f")
    if "repack" in command:
        write_layout(work / "sound", [GOOD])
        assert 0 == ocitool("unpack", "sound", "unpacked", cwd=work).code
        shutil.rmtree(work / "sound")
    if "three" in COMMANDS[command]:
        three = image([UPPER, LOWER, layer_tar([("x", b"x")])], tag="app:1", codec="none")
        poisoned(write_layout(work / "three", [three]))
    before = sorted(work.rglob("*"))
    words = [{"SRC": "bad", "DEST": destination}.get(word, word) for word in COMMANDS[command]]
    refused(5, ocitool(*words, cwd=work))
    assert before == sorted(work.rglob("*"))


@pytest.mark.parametrize("kind", ["oci archive", "docker archive", "docker archive of blobs", "compressed archive", "stdin"])
def test_a_damaged_layer_is_5_whatever_holds_it(kind: str, ocitool: Run, tmp_path: Path) -> None:
    if kind.startswith("docker"):
        files = {name: EVIL if data == UPPER else data for name, data in docker_files([GOOD]).items()}
    else:
        files = bad_files()
    source: Path | str = write_tar(tmp_path / "in.tar", files)
    how: dict[str, Any] = {}
    if kind == "compressed archive":
        from support.streams import PART

        (tmp_path / "in.tar").write_bytes(PART["gzip"]((tmp_path / "in.tar").read_bytes()))
    if kind == "stdin":
        how, source = {"stdin": (tmp_path / "in.tar").read_bytes()}, "-"
    for words in (("copy",), ("edit", "--env", "A=b")):
        refused(5, ocitool(*words, source, tmp_path / "a.tar", **how), "(" + str(source) if kind[:3] in ("oci", "doc") else "")
        assert not (tmp_path / "a.tar").exists()


@pytest.mark.parametrize("words", [(), ("--verify",), ("--layer", "1")])
def test_a_file_of_a_damaged_layer_is_5(words: tuple[str, ...], ocitool: Run, good: Path, bad: Path) -> None:
    assert (0, APP * 50) == ((found := ocitool("cat", *words, good, "/bin/app")).code, found.stdout)
    refused(5, ocitool("cat", *words, bad, "/bin/app"))


def test_a_layer_that_was_damaged_after_the_cache_knew_it_is_not_carried_over(ocitool: Run, good: Path, tmp_path: Path) -> None:
    assert 0 == ocitool("inspect", "--files", good).code
    poisoned(good)
    (tmp_path / "more").mkdir()
    for words in (("copy",), ("edit", "--env", "A=b"), ("squash", "--last", "1"), ("append", "--layer", tmp_path / "more")):
        refused(5, ocitool(*words, good, tmp_path / "out.tar"))


def test_a_damaged_layer_is_not_pushed(run: Run, registry: ScriptedRegistry, bad: Path) -> None:
    refused(5, run("push", bad, f"{registry.host}/app:1"))
    assert ("app", LAYER) not in registry.blobs and not registry.tags


# What is there already


def test_a_store_that_refused_a_damaged_image_takes_the_sound_one(ocitool: Run, good: Path, bad: Path, tmp_path: Path) -> None:
    refused(5, ocitool("copy", bad, f"{tmp_path}/store/"))
    copied(ocitool, good, f"{tmp_path}/store/")
    assert 0 == ocitool("validate", tmp_path / "store").code


@pytest.mark.parametrize("command", ["copy", "edit", "append", "squash"])
def test_a_damaged_blob_of_the_store_is_replaced_and_that_is_told(
    command: str, ocitool: Run, good: Path, tmp_path: Path
) -> None:
    poisoned(write_layout(tmp_path / "store", [GOOD]))
    words = {"edit": ("--env", "A=b"), "append": ("--layer", "more"), "squash": ("--last", "1")}.get(command, ())
    (tmp_path / "more").mkdir()
    report = report_of(ocitool(command, "--format", "json", good, f"{tmp_path}/store/", *words, cwd=tmp_path))
    assert "damaged" in notes(report)
    assert UPPER == blob(tmp_path / "store").read_bytes()
    assert 0 == ocitool("validate", tmp_path / "store").code


@pytest.mark.parametrize("command", [("edit", "--env", "A=b"), ("append", "--layer", "more"), ("copy", "--tag", "x")])
def test_a_damaged_blob_that_no_sound_one_replaces_is_5_and_the_index_stays(
    command: tuple[str, ...], ocitool: Run, tmp_path: Path
) -> None:
    store = poisoned(write_layout(tmp_path / "store", [GOOD]))
    (tmp_path / "more").mkdir()
    before = (store / "index.json").read_bytes()
    refused(5, ocitool(command[0], store, f"{store}/", *command[1:], cwd=tmp_path), LAYER)
    assert before == (store / "index.json").read_bytes()


def test_a_delta_is_not_completed_by_a_damaged_blob_of_the_store(ocitool: Run, good: Path, tmp_path: Path) -> None:
    """What a delta leaves out the destination is said to have."""
    copied(ocitool, good, tmp_path / "delta.tar", "--omit", good)
    store = poisoned(write_layout(tmp_path / "store", [GOOD]))
    refused(5, ocitool("copy", tmp_path / "delta.tar", f"{store}/"), LAYER)
    assert "damaged" in notes(copied(ocitool, tmp_path / "delta.tar", f"{store}/", "--with", good))
    assert UPPER == blob(store).read_bytes()


def test_a_repack_takes_a_sound_blob_from_elsewhere_in_place_of_a_damaged_one(ocitool: Run, good: Path, tmp_path: Path) -> None:
    assert 0 == ocitool("unpack", good, tmp_path / "work").code
    store = poisoned(write_layout(tmp_path / "store", [GOOD]))
    assert 0 == ocitool("repack", tmp_path / "work", f"{store}/").code
    assert UPPER == blob(store).read_bytes()
    poisoned(store)
    shutil.rmtree(good)
    refused(5, ocitool("repack", tmp_path / "work", f"{store}/"), LAYER)


def test_a_pull_fetches_a_damaged_blob_of_the_layout_again(run: Run, registry: ScriptedRegistry, tmp_path: Path) -> None:
    put_images(registry, "app", GOOD, tag="1")
    store = poisoned(write_layout(tmp_path / "store", [GOOD]))
    report = report_of(run("pull", f"{registry.host}/app:1", f"{store}/", "--format", "json"))
    assert "damaged" in notes(report)
    assert [LAYER] == [one.path.rpartition("/")[2] for one in registry.sent("GET", "/blobs/sha256:")]
    assert UPPER == blob(store).read_bytes()


def test_a_link_under_a_blobs_name_is_replaced_if_it_leads_to_other_bytes(ocitool: Run, good: Path, tmp_path: Path) -> None:
    store = write_layout(tmp_path / "store", [GOOD])
    (tmp_path / "evil").write_bytes(EVIL)
    blob(store).unlink()
    blob(store).symlink_to(tmp_path / "evil")
    copied(ocitool, good, f"{store}/")
    assert (UPPER, EVIL) == (blob(store).read_bytes(), (tmp_path / "evil").read_bytes())


# What is on record


def layer_bytes(counted: dict[str, int]) -> int:
    """Bytes of layers that were read, of any copy of them."""
    names = {digest.partition(":")[2] for digest in (sha256(LOWER), LAYER)}
    return sum(size for name, size in counted.items() if name in names)


def run_again(ocitool: Run, reads: dict[str, int], source: Path, store: Path, *words: str) -> int:
    """Bytes of layers that copying into the store once more reads."""
    reads.clear()
    assert copied(ocitool, source, f"{store}/", *words)["verified"]
    return layer_bytes(reads)


@pytest.fixture
def kept(ocitool: Run, good: Path, tmp_path: Path, later: None) -> Path:
    """A store whose blobs are on record."""
    store = write_layout(tmp_path / "store", [GOOD])
    copied(ocitool, good, f"{store}/")
    return store


BOTH = len(LOWER) + len(UPPER)


def test_a_copy_into_a_store_that_is_on_record_reads_no_layer(
    ocitool: Run, good: Path, kept: Path, reads: dict[str, int]
) -> None:
    assert 0 == run_again(ocitool, reads, good, kept)
    assert BOTH == run_again(ocitool, reads, good, kept, "--verify")
    assert BOTH == run_again(ocitool, reads, good, kept, "--no-cache")
    assert 0 == run_again(ocitool, reads, good, kept)


@pytest.mark.parametrize(
    "words",
    [
        ("edit", "--env", "A=b", "GOOD", "STORE"),
        ("edit", "--env", "A=b", "STORE", "STORE"),
        ("copy", "--all-platforms", "GOOD", "STORE"),
    ],
)
def test_a_command_that_writes_to_a_store_that_is_on_record_reads_no_layer_of_it(
    words: tuple[str, ...], ocitool: Run, good: Path, kept: Path, reads: dict[str, int]
) -> None:
    places = {"GOOD": str(good), "STORE": f"{kept}/"}
    reads.clear()
    assert 0 == ocitool(*(places.get(word, word) for word in words)).code
    assert 0 == layer_bytes(reads)


def test_validate_reads_every_layer_whatever_is_on_record(ocitool: Run, kept: Path, reads: dict[str, int]) -> None:
    for _ in range(2):
        reads.clear()
        assert 0 == ocitool("validate", str(kept)).code
        assert BOTH <= layer_bytes(reads)


def test_the_first_copy_into_a_store_hashes_what_is_there_once(
    ocitool: Run, good: Path, tmp_path: Path, reads: dict[str, int], later: None
) -> None:
    store = write_layout(tmp_path / "store", [GOOD])
    assert [BOTH, 0, 0] == [run_again(ocitool, reads, good, store) for _ in range(3)]


def test_what_a_copy_wrote_is_on_record_for_the_next(
    ocitool: Run, good: Path, tmp_path: Path, reads: dict[str, int], later: None
) -> None:
    copied(ocitool, good, f"{tmp_path}/store/")
    assert 0 == run_again(ocitool, reads, good, tmp_path / "store")


@pytest.mark.parametrize("before", [False, True])
def test_what_was_written_and_is_changed_before_or_after_it_is_on_record_is_read_again(
    before: bool, ocitool: Run, good: Path, tmp_path: Path, reads: dict[str, int], later: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store"
    close = LayoutSink.close

    def changed_and_closed(sink: LayoutSink) -> None:
        if Path(sink.where) == store:  # not one of an earlier test, which the garbage collector closes by now
            rewritten(blob(store))
        close(sink)

    with monkeypatch.context() as patch:
        if before:
            patch.setattr(LayoutSink, "close", changed_and_closed)
        copied(ocitool, good, f"{store}/")
    if not before:
        rewritten(blob(store))
    assert len(UPPER) == run_again(ocitool, reads, good, store)


def rewritten(path: Path) -> None:
    """The same bytes, written in place, and the old times put back."""
    status = path.stat()
    with open(path, "r+b") as file:
        file.write(path.read_bytes())
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def replaced(path: Path) -> None:
    """The same bytes in another file with the same times."""
    status = path.stat()
    shutil.copy2(path, path.parent / "new")
    os.utime(path.parent / "new", ns=(status.st_atime_ns, status.st_mtime_ns))
    os.replace(path.parent / "new", path)


CHANGES: dict[str, Callable[[Path], object]] = {
    "written in place, with the old times": rewritten,
    "another file, with the old times": replaced,
    "another time": lambda path: os.utime(path, ns=(1, 1)),
    "renamed and back": lambda path: os.rename(path.rename(path.parent / "x"), path),
    "another name": lambda path: os.link(path, path.parent.parent.parent / "name"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_blob_that_was_changed_since_is_read_again(
    change: str, ocitool: Run, good: Path, kept: Path, reads: dict[str, int]
) -> None:
    CHANGES[change](blob(kept))
    assert len(UPPER) == run_again(ocitool, reads, good, kept)
    assert 0 == run_again(ocitool, reads, good, kept)


def test_a_blob_that_is_damaged_after_it_was_on_record_is_found_whatever_its_times_say(
    ocitool: Run, good: Path, kept: Path
) -> None:
    status = blob(kept).stat()
    poisoned(kept)
    os.utime(blob(kept), ns=(status.st_atime_ns, status.st_mtime_ns))
    assert "damaged" in notes(copied(ocitool, good, f"{kept}/"))
    assert UPPER == blob(kept).read_bytes()


OTHERS: dict[str, Callable[[Path], object]] = {
    "a file that its group may write": lambda path: path.chmod(0o664),
    "a file that others may write": lambda path: path.chmod(0o646),
    "a directory that its group may write": lambda path: path.parent.chmod(0o775),
    "a directory that others may write": lambda path: path.parent.chmod(0o1777),
    "another user's file": lambda path: os.chown(path, 65534, 65534),
    "another user's directory": lambda path: os.chown(path.parent, 65534, 65534),
}


@pytest.mark.parametrize("what", OTHERS)
def test_what_others_may_change_is_read_each_time(
    what: str, ocitool: Run, good: Path, kept: Path, reads: dict[str, int], need: Callable[..., str]
) -> None:
    if "user's" in what:
        need("root")
    OTHERS[what](blob(kept))
    expected = BOTH if "directory" in what else len(UPPER)
    assert [expected, expected] == [run_again(ocitool, reads, good, kept) for _ in range(2)]


def test_a_file_that_changed_just_now_is_not_put_on_record(
    ocitool: Run, good: Path, tmp_path: Path, reads: dict[str, int]
) -> None:
    """Within one tick of a file system's clock a second change does not show."""
    store = write_layout(tmp_path / "store", [GOOD])
    assert [BOTH, BOTH] == [run_again(ocitool, reads, good, store) for _ in range(2)]


def test_a_file_that_a_process_has_mapped_for_writing_is_not_put_on_record(
    ocitool: Run, good: Path, tmp_path: Path, later: None
) -> None:
    """What is written to a page that waits to be stored changes no time of the file."""
    store = write_layout(tmp_path / "store", [GOOD])
    with open(blob(store), "r+b") as file:
        mapped = mmap.mmap(file.fileno(), 0)
    with mapped:
        mapped[600] = mapped[600]
        copied(ocitool, good, f"{store}/")
        mapped[600] ^= 1
        assert "damaged" in notes(copied(ocitool, good, f"{store}/"))
    assert UPPER == blob(store).read_bytes()


@pytest.mark.parametrize("change", [lambda raw: raw[:-5], lambda raw: b"", lambda raw: raw.replace(b"sha256:", b"sha512:", 1)])
def test_records_that_are_not_as_they_were_written_are_none(
    change: Callable[[bytes], bytes], ocitool: Run, good: Path, kept: Path, cache: Path, reads: dict[str, int]
) -> None:
    (path,) = cache.glob("verified/*")
    path.write_bytes(change(path.read_bytes()))
    assert [BOTH, 0] == [run_again(ocitool, reads, good, kept) for _ in range(2)]


@pytest.mark.parametrize("mode", [0o777, 0o770])
def test_records_in_a_cache_that_is_open_to_others_are_not_believed(
    mode: int, ocitool: Run, good: Path, kept: Path, cache: Path, reads: dict[str, int]
) -> None:
    cache.chmod(mode)
    try:
        assert [BOTH, BOTH] == [run_again(ocitool, reads, good, kept) for _ in range(2)]
    finally:
        cache.chmod(0o700)


def test_a_record_is_of_one_layout(ocitool: Run, good: Path, kept: Path, tmp_path: Path, reads: dict[str, int]) -> None:
    other = write_layout(tmp_path / "other", [GOOD])
    assert [BOTH, 0, 0] == [run_again(ocitool, reads, good, store) for store in (other, other, kept)]
    kept.rename(tmp_path / "moved")
    assert BOTH == run_again(ocitool, reads, good, tmp_path / "moved")


# Advice


def archives(tmp_path: Path, **contents: Image | bytes) -> list[Path]:
    made = []
    for name, one in contents.items():
        path = tmp_path / f"{name}.tar"
        made.append(path)
        if isinstance(one, Image):
            write_oci_archive(path, [one])
        else:
            write_tar(path, bad_files())
    return made


def follow(command: str, tmp_path: Path) -> int:
    """The exit code of an advised command line."""
    (tmp_path / "bin").mkdir(exist_ok=True)
    script = tmp_path / "bin/ocitool"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m ocitool "$@"\n')
    script.chmod(0o755)
    env = {**os.environ, "PATH": f"{script.parent}:{os.environ['PATH']}", "OCITOOL_CACHE_DIR": str(tmp_path / "cache")}
    return subprocess.run(["sh", "-c", command], cwd=tmp_path, env=env, capture_output=True).returncode


def sound_copies(tmp_path: Path) -> int:
    found = 0
    for path in (*tmp_path.glob("*.tar"), tmp_path / "store"):
        if path.exists():
            found += sum(data == UPPER for data in places.files(path).values())
    return found


@pytest.mark.parametrize("names", [("bad", "good"), ("good", "bad")])
@pytest.mark.parametrize("words", [(), ("--files",), ("--verify",)])
def test_no_advice_on_two_copies_of_which_one_is_damaged_takes_the_sound_one_away(
    words: tuple[str, ...], names: tuple[str, str], ocitool: Run, tmp_path: Path
) -> None:
    contents: dict[str, Image | bytes] = {"good": GOOD, "bad": b""}
    paths = archives(tmp_path, **{name: contents[name] for name in names})
    how = {"cwd": tmp_path}
    result = ocitool("dedupe", "--format", "json", *words, *(path.name for path in paths), **how)
    report = json.loads(result.stdout)
    for one in report["advice"]:
        follow(one["command"], tmp_path)
    assert sound_copies(tmp_path), report["advice"]
    if words:
        assert [f"bad.tar: layer {LAYER}"] == [one["where"] for one in report["problems"]]
        assert (1, [], [5]) == (result.code, report["advice"], [one["exitCode"] for one in report["problems"]])


def test_a_second_copy_is_read_by_files_and_verify_and_again_only_by_verify(
    ocitool: Run, tmp_path: Path, reads: dict[str, int]
) -> None:
    one, two = archives(tmp_path, one=GOOD, two=GOOD)

    def read(*words: str) -> list[int]:
        reads.clear()
        assert 0 == ocitool("dedupe", *words, "--jobs", "1", one, two).code
        return [reads.get(path.name, 0) for path in (one, two)]

    documents = read()
    for words, times in (("--files", 1), ("--files", 0), ("--verify", 1)):  # beside a few bytes that tell a codec
        assert [times, times] == [(now - before) // BOTH for now, before in zip(read(words), documents, strict=True)], words


def test_another_name_of_a_file_is_no_second_copy(ocitool: Run, good: Path, tmp_path: Path, reads: dict[str, int]) -> None:
    shutil.copytree(good, tmp_path / "linked", copy_function=os.link)
    reads.clear()
    assert 0 == ocitool("dedupe", "--files", "--jobs", "1", good, tmp_path / "linked").code
    assert layer_bytes(reads) < 2 * BOTH


def test_an_image_that_another_contains_is_deleted_once_the_other_is_found_sound(ocitool: Run, tmp_path: Path) -> None:
    """The base's own archive may hold the only sound copy of its layer."""
    write_oci_archive(tmp_path / "base.tar", [OLD])
    files = {name: bytes(len(LOWER)) if data == LOWER else data for name, data in layout_files([GOOD]).items()}
    write_tar(tmp_path / "app.tar", files)

    def contained(*words: str) -> list[str]:
        report = json.loads(ocitool("dedupe", "--format", "json", *words, "base.tar", "app.tar", cwd=tmp_path).stdout)
        return [one["command"] for one in report["advice"] if one["kind"] == "contained"]

    (command,) = contained()
    assert 0 != follow(command, tmp_path)
    assert (tmp_path / "base.tar").exists()
    assert [] == contained("--verify") == contained("--files")
    write_oci_archive(tmp_path / "app.tar", [GOOD])
    assert ["rm base.tar"] == contained("--verify") == contained("--files")
    assert 0 == follow(command, tmp_path)
    assert not (tmp_path / "base.tar").exists()


def test_a_docker_archive_is_a_second_copy_too(ocitool: Run, tmp_path: Path) -> None:
    for codec in ("none", "gzip"):
        one = image([LOWER, UPPER], tag="app:1", codec="none")
        write_docker_archive(tmp_path / "one.tar", [one])
        files = {name: EVIL if data == UPPER else data for name, data in docker_files([one]).items()}
        write_tar(tmp_path / "two.tar", files)
        if codec == "gzip":
            from support.streams import PART

            (tmp_path / "two.tar").write_bytes(PART["gzip"]((tmp_path / "two.tar").read_bytes()))
        result = ocitool("dedupe", "--files", "--format", "json", "one.tar", "two.tar", cwd=tmp_path)
        assert [5] == [one["exitCode"] for one in json.loads(result.stdout)["problems"]], str(result)
