"""Files that appear whole or not at all."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from ocitool import atomic
from ocitool.atomic import SpooledBlob, Temporary, sweep, write_document
from ocitool.blob import STEP, Blob, BytesBlob, FileBlob, OpenFile
from ocitool.digest import Digest
from ocitool.errors import CancelledError, DestinationError, IntegrityError
from ocitool.task import Task
from ocitool.transports import outputs
from ocitool.transports.outputs import output_file

DATA = bytes(range(256)) * 5000


@pytest.fixture
def task() -> Iterator[Task]:
    with Task() as running:
        yield running


def hidden(place: Path) -> list[str]:
    return [path.name for path in place.iterdir() if path.name.startswith(".")]


def in_file(place: Path, data: bytes, *, before: bytes = b"", after: bytes = b"", digest: Digest | None = None) -> FileBlob:
    path = place / "source"
    path.write_bytes(before + data + after)
    return FileBlob(OpenFile(str(path)), len(before), len(data), digest or Digest.of(data))


def test_nothing_is_seen_before_place_and_nothing_is_left_after(tmp_path: Path) -> None:
    temporary = Temporary(str(tmp_path))
    temporary.write(DATA)
    assert not (tmp_path / "a").exists()
    temporary.place("a")
    assert DATA == (tmp_path / "a").read_bytes()
    assert [] == hidden(tmp_path)


def test_place_refuses_what_stands_there_and_replace_does_not(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    temporary = Temporary(str(tmp_path))
    temporary.write(b"new")
    with pytest.raises(DestinationError, match="exists already"):
        temporary.place("a")
    assert b"old" == (tmp_path / "a").read_bytes()
    temporary.replace("a")
    assert b"new" == (tmp_path / "a").read_bytes()
    assert [] == hidden(tmp_path)


def test_place_works_where_there_are_no_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    temporary = Temporary(str(tmp_path))
    temporary.place("a")
    again = Temporary(str(tmp_path))
    with pytest.raises(DestinationError, match="exists already"):
        again.place("a")
    again.discard()
    assert ["a"] == [path.name for path in tmp_path.iterdir()]


def test_discard_and_being_forgotten_leave_nothing(tmp_path: Path) -> None:
    temporary = Temporary(str(tmp_path))
    temporary.discard()
    temporary.discard()
    Temporary(str(tmp_path))  # nobody holds it
    assert [] == hidden(tmp_path)


def test_the_mode_is_that_of_any_new_file(tmp_path: Path) -> None:
    write_document(str(tmp_path), "a", b"x")
    (tmp_path / "b").write_bytes(b"x")
    assert stat.S_IMODE((tmp_path / "b").stat().st_mode) == stat.S_IMODE((tmp_path / "a").stat().st_mode)


def test_sweep_removes_what_nobody_holds_and_nothing_else(tmp_path: Path) -> None:
    alive = Temporary(str(tmp_path))
    dead = tmp_path / f".ocitool-{'0' * 16}.part"
    dead.write_bytes(b"left by a crash")
    kept = [tmp_path / name for name in (".ocitool-x.part", f".ocitool-{'0' * 16}.part2", "mine.part")]
    for path in kept:
        path.write_bytes(b"mine")
    link, pipe = tmp_path / f".ocitool-{'1' * 16}.part", tmp_path / f".ocitool-{'2' * 16}.part"
    link.symlink_to("mine.part")
    os.mkfifo(pipe)
    assert 1 == sweep(str(tmp_path))
    assert not dead.exists()
    assert {*kept, link, pipe, Path(alive.path)} == set(tmp_path.iterdir())
    alive.discard()


def test_sweep_of_a_directory_that_is_gone_does_nothing(tmp_path: Path) -> None:
    assert 0 == sweep(str(tmp_path / "gone"))


@pytest.mark.parametrize("apart", [True, False])
@pytest.mark.parametrize(("before", "after"), [(b"", b""), (b"x" * 700, b"y")])
def test_the_bytes_are_the_blobs_however_they_are_copied(
    apart: bool, before: bytes, after: bytes, task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(atomic, "THREAD_SIZE", 0 if apart else 1 << 30)
    temporary = Temporary(str(tmp_path))
    temporary.write(b"header")
    temporary.append_blob(in_file(tmp_path, DATA, before=before, after=after), task)
    temporary.write(b"end")
    temporary.replace("a")
    assert b"header" + DATA + b"end" == (tmp_path / "a").read_bytes()


@pytest.mark.parametrize("error", sorted(atomic._NO_KERNEL_COPY))
def test_where_the_kernel_cannot_copy_a_made_blob_its_bytes_are_read(
    error: int, task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(error, "no")

    monkeypatch.setattr(os, "copy_file_range", refuse, raising=False)
    spool, temporary = Temporary(str(tmp_path)), Temporary(str(tmp_path))
    monkeypatch.setattr(atomic, "FICLONE", 0)
    spool.write(DATA)
    temporary.append_blob(SpooledBlob(spool, Digest.of(DATA)), task)
    temporary.replace("a")
    spool.discard()
    assert DATA == (tmp_path / "a").read_bytes()


def test_a_disk_that_fills_up_is_a_destination_error(task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "copy_file_range", full, raising=False)
    monkeypatch.setattr(atomic, "FICLONE", 0)
    spool, temporary = Temporary(str(tmp_path)), Temporary(str(tmp_path))
    spool.write(DATA)
    with pytest.raises(DestinationError, match="No space left"):
        temporary.append_blob(SpooledBlob(spool, Digest.of(DATA)), task)
    blob = in_file(tmp_path, DATA)
    monkeypatch.setattr(os, "write", full)
    for least in (0, 1 << 30):
        monkeypatch.setattr(atomic, "THREAD_SIZE", least)
        with pytest.raises(DestinationError, match="No space left"):
            temporary.append_blob(blob, task)
    with pytest.raises(DestinationError, match="No space left"):
        temporary.write(b"x")
    temporary.discard(), spool.discard()


@pytest.mark.parametrize("blob", [BytesBlob(b"x" * 9, Digest.of(b"y" * 9)), BytesBlob(b"", Digest.of(b"y"))])
def test_bytes_that_are_not_their_digest_are_an_integrity_error(blob: Blob, task: Task, tmp_path: Path) -> None:
    temporary = Temporary(str(tmp_path))
    with pytest.raises(IntegrityError):
        temporary.append_blob(blob, task)
    temporary.discard()


@pytest.mark.parametrize("apart", [True, False])
def test_a_file_that_is_not_its_digest_is_an_integrity_error(
    apart: bool, task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(atomic, "THREAD_SIZE", 0 if apart else 1 << 30)
    for before in (b"", b"x"):
        temporary = Temporary(str(tmp_path))
        with pytest.raises(IntegrityError, match="stated is"):
            temporary.append_blob(in_file(tmp_path, DATA, before=before).with_digest(Digest.of(b"other")), task)
        temporary.discard()


@pytest.mark.parametrize("moment", range(1, 6))
def test_what_is_hashed_is_what_is_written_of_a_source_that_changes_meanwhile(
    moment: int, task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever moment another process picks to change the source: what has a name has the bytes of its digest."""
    data = bytes(range(256)) * (4 * STEP // 256)
    monkeypatch.setattr(atomic, "THREAD_SIZE", 0)
    real, calls = os.write, 0

    def write(descriptor: int, piece: bytes) -> int:
        nonlocal calls
        calls += 1
        if calls == moment:
            (tmp_path / "source").write_bytes(bytes(len(data) + 1))
        return real(descriptor, piece)

    monkeypatch.setattr(os, "write", write)
    temporary = Temporary(str(tmp_path))
    try:
        temporary.append_blob(in_file(tmp_path, data, before=b"x"), task)
    except IntegrityError:
        pass
    else:
        assert data == os.pread(temporary.descriptor, len(data) + 1, 0)
    temporary.discard()


def test_a_clone_is_hashed_too(task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a file system with reflinks gives it: of a source that is damaged, or that was just before it was cloned."""

    def clone(descriptor: int, request: int, source: int) -> int:
        assert atomic.FICLONE == request
        os.pwrite(descriptor, os.pread(source, len(DATA), 0), 0)
        return 0

    monkeypatch.setattr(fcntl, "ioctl", clone)
    for digest in (Digest.of(DATA), Digest.of(b"other")):
        temporary = Temporary(str(tmp_path))
        blob = in_file(tmp_path, DATA).with_digest(digest)
        if digest == Digest.of(DATA):
            temporary.append_blob(blob, task)
            assert DATA == os.pread(temporary.descriptor, len(DATA) + 1, 0)
        else:
            with pytest.raises(IntegrityError, match="stated is"):
                temporary.append_blob(blob, task)
        temporary.discard()


def test_a_file_that_shrank_since_it_was_opened_is_an_integrity_error(task: Task, tmp_path: Path) -> None:
    blob = in_file(tmp_path, DATA, after=b"more")
    os.truncate(tmp_path / "source", 1000)
    temporary = Temporary(str(tmp_path))
    with pytest.raises(IntegrityError, match="bytes where"):
        temporary.append_blob(blob, task)
    temporary.discard()


def test_a_spooled_blob_was_hashed_when_it_was_made(task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atomic, "verified", lambda *_: pytest.fail("hashed again"))
    spool = Temporary(str(tmp_path))
    spool.write(DATA)
    blob = SpooledBlob(spool, Digest.of(DATA))
    temporary = Temporary(str(tmp_path))
    temporary.append_blob(blob, task)
    assert DATA == os.pread(temporary.descriptor, len(DATA) + 1, 0)
    temporary.discard()
    spool.discard()


def test_a_copy_stops_when_it_is_cancelled(task: Task, tmp_path: Path) -> None:
    task.cancel()
    temporary = Temporary(str(tmp_path))
    with pytest.raises(CancelledError):
        temporary.append_blob(in_file(tmp_path, DATA, before=b"x"), task)
    temporary.discard()


def test_a_directory_that_cannot_be_written_is_a_destination_error(tmp_path: Path) -> None:
    with pytest.raises(DestinationError, match="cannot be written"):
        Temporary(str(tmp_path / "missing"))
    temporary = Temporary(str(tmp_path))
    for end in (temporary.place, temporary.replace):
        with pytest.raises(DestinationError, match="cannot be written"):
            end("missing/a")
    temporary.discard()
    assert [] == list(tmp_path.iterdir())


def test_a_pipe_that_is_not_read_ends_with_a_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outputs, "_READER_TIMEOUT", 0.05)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DestinationError, match="a pipe that is not read") as raised, output_file(str(tmp_path / "pipe")):
        pass
    assert "start its reader first" == raised.value.hint


def test_an_output_file_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("old")
    with pytest.raises(ZeroDivisionError), output_file(str(tmp_path / "old")) as file:
        file.write(b"new")
        raise ZeroDivisionError
    assert (["old"], "old") == (os.listdir(tmp_path), (tmp_path / "old").read_text())


def test_links_in_a_circle_are_no_output(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(DestinationError, match="cannot be written"), output_file(str(tmp_path / "a")):
        pass


def test_a_private_output_is_for_its_owner_alone(tmp_path: Path) -> None:
    (tmp_path / "old").touch(0o644)
    for name in ("old", "new"):
        with output_file(str(tmp_path / name), private=True) as file:
            file.write(b"password")
        assert 0o600 == stat.S_IMODE((tmp_path / name).stat().st_mode)
