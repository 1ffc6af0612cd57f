"""Files and layouts that are whole or not there, whoever works beside us and whatever fails."""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.images import image, layer_tar, write_layout

from ocitool import atomic
from ocitool.atomic import SpooledBlob, Temporary, sweep
from ocitool.blob import BytesBlob, FileBlob, OpenFile
from ocitool.digest import Digest
from ocitool.directories import OpenDirectory
from ocitool.errors import DestinationError, IntegrityError, TransportError
from ocitool.operations import layout
from ocitool.progress import Progress
from ocitool.task import Task
from ocitool.transports import layout_sink, layout_store
from ocitool.transports.archive_sink import ArchiveSink
from ocitool.transports.layout_lock import LayoutLock
from ocitool.transports.layout_sink import LayoutSink
from ocitool.transports.layout_store import LockedLayout, StoredFile
from ocitool.transports.sink import OutputImage, WriteRequest

DATA = b"content" * 100


@pytest.fixture
def task() -> Iterator[Task]:
    with Task() as made:
        yield made


def bundle(data: bytes = DATA, name: str = "a") -> WriteRequest:
    digest = Digest.of(data)
    descriptor = {"mediaType": "x/y", "digest": str(digest), "size": len(data)}
    return WriteRequest((OutputImage(descriptor, (name,)),), (BytesBlob(data, digest),))


def write(directory: Path, task: Task, what: WriteRequest | None = None) -> None:
    sink = LayoutSink(str(directory), task)
    try:
        sink.write(what or bundle(), task, verify=False)
    finally:
        sink.close()


def names(directory: Path) -> list[str]:
    return [entry["annotations"]["org.opencontainers.image.ref.name"]
            for entry in json.loads((directory / "index.json").read_bytes())["manifests"]]  # fmt: skip


# Temporaries


def test_a_temporary_is_swept_when_its_owner_is_dead_and_not_before(tmp_path: Path) -> None:
    temporary = Temporary(str(tmp_path))
    assert (0, True) == (sweep(str(tmp_path)), os.path.exists(temporary.path))
    os.close(os.dup(temporary.descriptor))
    fcntl.flock(temporary.descriptor, fcntl.LOCK_UN)  # as the kernel does for the dead
    assert (1, False) == (sweep(str(tmp_path)), os.path.exists(temporary.path))
    temporary.discard()


@pytest.mark.parametrize("name", [".ocitool-1.part", "ocitool-0123456789abcdef.part", ".ocitool-0123456789abcdef.part.x"])
def test_a_sweep_leaves_files_of_other_names(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"")
    assert 0 == sweep(str(tmp_path))
    assert [name] == os.listdir(tmp_path)


def test_a_sweep_leaves_what_is_no_regular_file(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"")
    (tmp_path / ".ocitool-0123456789abcdef.part").symlink_to("target")
    (tmp_path / ".ocitool-1123456789abcdef.part").mkdir()
    os.mkfifo(tmp_path / ".ocitool-2123456789abcdef.part")
    assert 0 == sweep(str(tmp_path))
    assert 4 == len(os.listdir(tmp_path))


def test_a_temporary_that_a_sweeper_holds_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sweeper locks it between its creation and its owner's lock, and removes it afterwards."""
    held: list[tuple[int, str]] = []
    real = fcntl.flock

    def flock(descriptor: int, how: int) -> None:
        if not held:
            (name,) = os.listdir(tmp_path)
            mine = os.open(tmp_path / name, os.O_RDONLY)
            held.append((mine, name))
            real(mine, fcntl.LOCK_EX | fcntl.LOCK_NB)
        real(descriptor, how)

    monkeypatch.setattr(atomic.fcntl, "flock", flock)
    temporary = Temporary(str(tmp_path))
    assert temporary.path != str(tmp_path / held[0][1])
    os.unlink(tmp_path / held[0][1])
    temporary.replace("done")
    assert ["done"] == os.listdir(tmp_path)
    os.close(held[0][0])


def test_a_nameless_temporary_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    temporary = atomic.anonymous_temporary()
    temporary.write(DATA)
    assert [] == os.listdir(tmp_path)
    assert DATA == os.pread(temporary.descriptor, 10_000, 0)
    temporary.discard()


def test_a_kernel_copy_whose_source_fails_half_way_is_a_transport_error(
    tmp_path: Path, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EIO may be of either side; the source is asked."""
    spool = Temporary(str(tmp_path))
    spool.write(DATA)
    blob = SpooledBlob(spool, Digest.of(DATA))
    calls: list[int] = []

    def copy(source: int, target: int, count: int, offset: int) -> int:
        calls.append(offset)
        if len(calls) > 1:
            raise OSError(errno.EIO, "Input/output error")
        return os.write(target, os.pread(source, 200, offset))

    def pread(*_: int) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("os.copy_file_range", copy)
    temporary = Temporary(str(tmp_path))
    with pytest.raises(DestinationError):
        temporary.append_blob(blob, task)
    calls.clear()
    monkeypatch.setattr("ocitool.blob.os.pread", lambda *a: pread() if len(calls) > 1 else b"x" * 200)
    with pytest.raises(TransportError):
        temporary.append_blob(blob, task)
    temporary.discard(), spool.discard()


@pytest.mark.parametrize("verify", [False, True])
@pytest.mark.parametrize("kind", ["archive", "layout"])
def test_a_source_that_is_cut_short_while_it_is_read_leaves_the_old(
    kind: str, verify: bool, tmp_path: Path, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = os.urandom(3_000_000)
    (tmp_path / "source").write_bytes(data)
    monkeypatch.setattr(atomic, "FICLONE", 0)  # a reflink would be done before anything is cut
    blob = FileBlob(OpenFile(str(tmp_path / "source")), 0, len(data), Digest.of(data))

    class Cutting(Progress):
        def advance(self, label: str, done: int, total: int | None) -> None:
            os.truncate(tmp_path / "source", 1_200_000)

    descriptor = {"mediaType": "x/y", "digest": str(blob.digest), "size": len(data)}
    cutting = Task(progress=Cutting())
    place = tmp_path / "place"
    place.mkdir()
    sink: ArchiveSink | LayoutSink
    if kind == "archive":
        (place / "old.tar").write_bytes(b"old")
        sink = ArchiveSink(str(place / "old.tar"), force=True)
    else:
        write(place, task)
        sink = LayoutSink(str(place), cutting)
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    with pytest.raises(IntegrityError):
        sink.write(WriteRequest((OutputImage(descriptor, ("new",)),), (blob,)), cutting, verify=verify)
    sink.close()
    assert before == {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}


# A layout that is made


def test_a_layout_that_was_made_for_nothing_goes_again(tmp_path: Path, task: Task) -> None:
    LayoutSink(str(tmp_path / "new"), task).close()
    assert [] == os.listdir(tmp_path)


@pytest.mark.parametrize("when", ["before the lock", "after the lock"])
def test_a_layout_that_its_maker_took_away_again_is_made_again(
    when: str, tmp_path: Path, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "new"
    first = [LayoutSink(str(place), task)]

    class Late(LayoutLock):
        def __init__(self, at: OpenDirectory, task: Task, *, exclusive: bool) -> None:
            if first and when == "before the lock":
                first.pop().close()
            super().__init__(at, task, exclusive=exclusive)
            if first:
                os.rename(place, tmp_path / "gone")
                first.pop().close()

    monkeypatch.setattr(layout_sink, "LayoutLock", Late)
    write(place, task)
    assert ["a"] == names(place)


def test_the_maker_of_a_layout_takes_nothing_away_that_another_finished(
    tmp_path: Path, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "new"
    maker = LayoutSink(str(place), task)
    other: list[LayoutSink] = [LayoutSink(str(place), task)]
    real = LayoutLock.try_exclusive

    def alone(lock: LayoutLock) -> bool:
        if other:  # it finishes at the last moment
            sink = other.pop()
            sink.write(bundle(), task, verify=False)
            sink.close()
        return real(lock)

    monkeypatch.setattr(LayoutLock, "try_exclusive", alone)
    maker.close()
    assert ["a"] == names(place)
    assert DATA == (place / "blobs/sha256" / Digest.of(DATA).encoded).read_bytes()


def test_what_cannot_be_made_whole_is_not_made(tmp_path: Path, task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise DestinationError("No space left on device")

    monkeypatch.setattr(layout_sink, "write_document", full)
    with pytest.raises(DestinationError):
        LayoutSink(str(tmp_path / "new"), task)
    assert [] == os.listdir(tmp_path)


@pytest.mark.parametrize("parent", ["missing", "file"])
def test_a_layout_without_a_directory_to_stand_in_is_refused_at_once(parent: str, tmp_path: Path, task: Task) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DestinationError):
        LayoutSink(str(tmp_path / parent / "new"), task)


# Locks


def test_gc_waits_for_a_writer(tmp_path: Path) -> None:
    """A cancelled task ends the wait, and nothing was freed."""
    store = write_layout(tmp_path / "s", [image([layer_tar([("a", b"a")])], tag="a")])
    unnamed = store / "blobs/sha256" / Digest.of(DATA).encoded
    unnamed.write_bytes(DATA)
    with Task() as writing, Task() as collecting:
        sink = LayoutSink(str(store), writing)
        collecting.cancel()
        with pytest.raises(Exception, match="interrupted"):
            layout.collect(str(store), collecting)
        assert unnamed.exists()
        sink.write(bundle(name="b"), writing, verify=False)
        sink.close()
    with Task() as later:
        assert 0 == len(layout.collect(str(store), later).freed)


@pytest.mark.parametrize("how", ["rm", "normalize"])
def test_names_change_under_the_lock_of_the_index(how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The entry that another writer adds while we wait for that lock is seen."""
    one = image([layer_tar([("a", b"a")])], tag="a")
    store = write_layout(tmp_path / "s", [one])
    real = LayoutLock.index

    def late(lock: LayoutLock) -> Any:
        monkeypatch.setattr(LayoutLock, "index", real)
        with Task() as other:
            write(store, other, bundle(name="b"))
        return real(lock)

    monkeypatch.setattr(LayoutLock, "index", late)
    with Task() as task:
        if how == "rm":
            layout.remove(str(store), ["a"], task)
        else:
            (store / "oci-layout").unlink()
            layout.normalize(str(store), task)
    assert (["b"] if how == "rm" else ["a", "b"]) == names(store)


# link, beneath


@pytest.fixture
def pair(tmp_path: Path, task: Task) -> Iterator[list[tuple[LockedLayout, StoredFile]]]:
    for name in ("one", "two"):
        write(tmp_path / name, task)
    with LockedLayout(str(tmp_path / "one"), task) as one, LockedLayout(str(tmp_path / "two"), task) as two:
        yield [(held, held.files().blobs[0]) for held in (one, two)]


def test_a_file_that_changed_after_it_was_hashed_is_not_linked(pair: Any, task: Task) -> None:
    (_, kept), (_, other) = pair
    os.rename(kept.path, kept.path + "x")
    Path(kept.path).write_bytes(b"other")
    assert "they changed meanwhile" == layout_store.share(*pair, task)
    assert DATA == Path(other.path).read_bytes()


def test_two_names_of_one_file_leave_no_temporary(pair: Any, task: Task, tmp_path: Path) -> None:
    (_, kept), (two, other) = pair
    os.unlink(other.path)
    os.link(kept.path, other.path)
    layout_store.share(pair[0], (two, other._replace(key=kept.key)), task)
    assert ["blobs", "index.json", "oci-layout"] == sorted(os.listdir(tmp_path / "two"))


@pytest.mark.parametrize("number", [errno.EPERM, errno.EMLINK, errno.EXDEV])
def test_where_hard_links_are_refused_the_blob_stays_or_is_cloned(
    number: int, pair: Any, task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(layout_store.os, "link", link)
    outcome = layout_store.share(*pair, task)
    assert outcome in ("hard links are refused here", "cloned")
    assert DATA == Path(pair[1][1].path).read_bytes()
    assert ["blobs", "index.json", "oci-layout"] == sorted(os.listdir(tmp_path / "two"))


def test_a_full_disk_ends_linking_and_leaves_both(pair: Any, task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(layout_store.os, "link", link)
    with pytest.raises(DestinationError):
        layout_store.share(*pair, task)
    assert DATA == Path(pair[1][1].path).read_bytes()


STEPS: dict[str, Callable[[Path, Task], object]] = {
    "rm": lambda store, task: layout.remove(str(store), ["a"], task),
    "normalize": lambda store, task: layout.normalize(str(store), task),
}


@pytest.mark.parametrize("how", list(STEPS))
def test_an_index_that_cannot_be_replaced_stays(how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = image([layer_tar([("a", b"a")])], tag="a")
    bare = {key: one.descriptor[key] for key in ("mediaType", "digest", "size")}
    store = write_layout(tmp_path / "s", [one], index={"schemaVersion": 2, "manifests": [one.descriptor, bare]})
    before = (store / "index.json").read_bytes()

    def replace(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with Task() as task, monkeypatch.context() as patch:
        patch.setattr(atomic.os, "replace", replace)
        with pytest.raises(DestinationError):
            STEPS[how](store, task)
    assert before == (store / "index.json").read_bytes()
    assert ["blobs", "index.json", "oci-layout"] == sorted(os.listdir(store))
