"""Other users of the machine, who can write where a command does: each attack happens at the one moment that it needs.

The directory is theirs (or one of theirs stands above it), the command runs as root or as another user, and what it must not
change is `victim`."""

from __future__ import annotations

import contextlib
import os
import stat
import struct
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from support.disk import NOBODY, as_nobody, open_to_all
from support.images import image, layer_tar, write_layout

from ocitool import atomic, directories
from ocitool.atomic import Temporary, sweep
from ocitool.blob import BytesBlob
from ocitool.digest import Digest
from ocitool.disk import snapshot
from ocitool.disk.rootfs import Ownership
from ocitool.disk.staging_directory import StagingDirectory
from ocitool.errors import DestinationError, FormatError, OcitoolError, UnsafeError
from ocitool.layers.cache import IndexCache
from ocitool.operations import layout as operation
from ocitool.operations.repack import unpacked
from ocitool.operations.repack.unpacked import open_unpacked
from ocitool.operations.unpack import editable
from ocitool.pipeline.session import Session
from ocitool.task import Task
from ocitool.transports import directory, layout, layout_store, outputs
from ocitool.transports.archive_sink import ArchiveSink
from ocitool.transports.layout_sink import LayoutSink
from ocitool.transports.outputs import output_file
from ocitool.transports.registry import Access, Registries
from ocitool.transports.registry.mount_hints import MountHints
from ocitool.transports.sink import OutputImage, WriteRequest

SECRET = b"nobody may change this\n" * 100


@pytest.fixture
def task() -> Iterator[Task]:
    with Task(jobs=1) as made:
        yield made


@pytest.fixture
def place(need: Callable[..., str]) -> Iterator[Path]:
    """A directory of another user's, in which root works, beside root's own `victim`."""
    need("root")
    with open_to_all() as above:
        os.chmod(above, 0o755)
        (above / "victim").mkdir(0o755)
        (above / "victim/file").write_bytes(SECRET)
        (above / "home").mkdir(0o755)
        os.chown(above / "home", NOBODY, NOBODY)
        yield above / "home"
        assert SECRET == (above / "victim/file").read_bytes()


def theirs(path: Path) -> Path:
    os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    return path


def their_link(path: Path, target: str | Path) -> Path:
    path.symlink_to(target)
    return theirs(path)


def as_tmp(path: Path) -> None:
    """Where every user makes names and none removes another's."""
    os.chown(path, 0, 0)
    path.chmod(0o1777)


class RemoteBlob(BytesBlob):
    """A blob over a network, and what happens before it comes."""

    __slots__ = ("_first",)
    remote = True

    def __init__(self, data: bytes, first: Callable[[], object] = lambda: None) -> None:
        super().__init__(data, Digest.of(data))
        self._first = first

    def chunks(self, offset: int = 0) -> Iterator[bytes]:
        self._first()
        yield from super().chunks(offset)


def bundle(*blobs: BytesBlob) -> WriteRequest:
    first = blobs[0]
    descriptor = {"mediaType": "x/y", "digest": str(first.digest), "size": first.size}
    return WriteRequest((OutputImage(descriptor, ("a",)),), blobs)


def digest_name(data: bytes) -> str:
    return Digest.of(data).encoded


# Temporaries


def exchange(place: Path, ending: str, make: Callable[[Path], object]) -> Callable[[], None]:
    def act() -> None:
        (name,) = (one for one in os.listdir(place) if one.endswith(ending))
        os.rename(place / name, place / "moved")
        make(place / name)

    return act


@pytest.mark.parametrize("how", ["symbolic link", "hard link", "another file"])
def test_an_archive_is_written_into_the_file_that_was_made_and_no_other(how: str, place: Path, task: Task) -> None:
    victim = place.parent / "victim/file"
    makers: dict[str, Callable[[Path], object]] = {
        "symbolic link": lambda path: their_link(path, "../victim/file"),
        "hard link": lambda path: os.link(victim, path),
        "another file": lambda path: theirs(path) if path.write_bytes(b"theirs") else None,
    }
    late, early = RemoteBlob(b"a" * 3000), RemoteBlob(b"b" * 5000, exchange(place, ".part", makers[how]))
    ArchiveSink(str(place / "out.tar")).write(bundle(early, late), task, verify=False)
    made = (place / "out.tar").read_bytes()
    assert b"a" * 3000 in made and b"b" * 5000 in made
    assert (0, 0) == ((place / "out.tar").stat().st_uid, (place / "out.tar").is_symlink())


def test_a_replaced_archive_is_never_what_another_put_in_its_temporarys_place(place: Path, task: Task) -> None:
    (place / "out.tar").write_bytes(b"old")
    blob = RemoteBlob(b"a" * 3000, exchange(place, ".part", lambda path: their_link(path, "../victim/file")))
    with pytest.raises(DestinationError, match="exchanged"):
        ArchiveSink(str(place / "out.tar"), force=True).write(bundle(blob), task, verify=False)
    assert b"old" == (place / "out.tar").read_bytes()


def test_a_temporary_that_is_given_up_removes_no_other_file(place: Path) -> None:
    temporary = Temporary(str(place))
    exchange(place, ".part", lambda path: path.write_bytes(b"theirs"))()
    temporary.discard()
    assert b"theirs" == Path(temporary.path).read_bytes()


def test_a_sweep_removes_in_the_directory_that_it_listed(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f".ocitool-{'0' * 16}.part"
    (place / name).touch()
    (place.parent / "victim" / name).touch()
    real = directories.OpenDirectory.names

    def names(at: directories.OpenDirectory) -> list[str]:
        found = real(at)
        os.rename(place, place.parent / "moved")
        place.symlink_to("victim")
        return found

    monkeypatch.setattr(directories.OpenDirectory, "names", names)
    assert 1 == sweep(str(place))
    assert ["file", name] == sorted(os.listdir(place.parent / "victim"), reverse=True)
    os.unlink(place)
    os.rename(place.parent / "moved", place)


# Partial files


def partial(place: Path, data: bytes) -> Path:
    return place / f".ocitool-sha256-{digest_name(data)}.partial"


PREPARED: dict[str, Callable[[Path], object]] = {
    "a file of theirs": lambda path: theirs(path) if path.write_bytes(b"begun") else None,
    "a link": lambda path: their_link(path, "../victim/file"),
    "a link to nothing": lambda path: their_link(path, "../victim/new"),
    "a hard link": lambda path: os.link(path.parents[1] / "victim/file", path),
    "a file open to all": lambda path: path.chmod(0o666) if path.write_bytes(b"begun") else None,
    "a pipe": os.mkfifo,
    "a directory": lambda path: path.mkdir(),
}


@pytest.mark.parametrize("how", list(PREPARED))
def test_a_partial_file_that_another_prepared_is_not_used(how: str, place: Path, task: Task) -> None:
    data = b"blob" * 1000
    PREPARED[how](partial(place, data))
    before = os.lstat(partial(place, data))
    sink = LayoutSink(str(place), task)
    sink.write(bundle(RemoteBlob(data)), task, verify=False)
    sink.close()
    blob = place / "blobs/sha256" / digest_name(data)
    assert (data, 0, 1) == (blob.read_bytes(), blob.stat().st_uid, blob.stat().st_nlink)
    assert not blob.stat().st_mode & 0o022
    after = os.lstat(partial(place, data))
    assert (before.st_ino, before.st_size, before.st_mtime_ns) == (after.st_ino, after.st_size, after.st_mtime_ns)
    assert not (place.parent / "victim/new").exists()


def test_a_partial_file_of_ones_own_is_gone_on_with(tmp_path: Path, task: Task) -> None:
    data = b"blob" * 1000
    begun = atomic.Partial(str(tmp_path), Digest.of(data))
    begun.write(data[:1000])
    begun.discard()
    asked: list[int] = []

    class ResumedBlob(RemoteBlob):
        def chunks(self, offset: int = 0) -> Iterator[bytes]:
            asked.append(offset)
            yield from super().chunks(offset)

    again = atomic.Partial(str(tmp_path), Digest.of(data))
    again.fetch(ResumedBlob(data), task)
    again.replace("done")
    assert ([1000], data) == (asked, (tmp_path / "done").read_bytes())


# Layouts


def store_with_rubbish(path: Path, words: str = "abcdef") -> list[str]:
    """A layout of one image, and blobs that nothing names."""
    write_layout(path, [image([layer_tar([("a", b"a")])], tag="a")])
    names = [digest_name(word.encode()) for word in words]
    for name, word in zip(names, words, strict=True):
        (path / "blobs/sha256" / name).write_bytes(word.encode())
    return names


SWAPS = ["blobs/sha256", "blobs", ""]


def swap(place: Path, part: str, target: Path) -> None:
    """What stands at a part of a layout is another directory now."""
    at = place / part if part else place
    os.rename(at, str(at) + "-old")
    at.symlink_to(target / part)


@pytest.mark.parametrize("part", SWAPS)
def test_gc_removes_what_it_listed_and_nothing_in_another_layout(
    part: str, place: Path, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = place.parent / "victim"
    names = store_with_rubbish(place / "s")
    assert names == store_with_rubbish(other)
    collect = import_module("ocitool.operations.layout.collect")
    real = collect.reached

    def late(*words: Any) -> Any:
        swap(place / "s", part, other)
        return real(*words)

    monkeypatch.setattr(collect, "reached", late)
    assert len(names) == len(operation.collect(str(place / "s"), task).freed)
    assert set(names) <= set(os.listdir(other / "blobs/sha256"))


@pytest.mark.parametrize("part", SWAPS)
def test_gc_lists_the_directories_that_it_locked(part: str, place: Path, task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    other = place.parent / "victim"
    names = store_with_rubbish(place / "s")
    store_with_rubbish(other)
    real = layout_store.LockedLayout.files

    def late(store: layout_store.LockedLayout) -> layout_store.BlobFiles:
        swap(place / "s", part, other)
        if part:
            theirs(place / "s" / part)
        return real(store)

    monkeypatch.setattr(layout_store.LockedLayout, "files", late)
    with contextlib.suppress(OcitoolError):  # a link of theirs is not followed
        operation.collect(str(place / "s"), task)
    assert set(names) <= set(os.listdir(other / "blobs/sha256"))


@pytest.mark.parametrize("part", SWAPS)
def test_linking_replaces_what_it_listed_and_nothing_in_another_layout(
    part: str, place: Path, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, other = place.parent / "mine", place.parent / "victim"
    for at in (mine, place / "s", other):
        store_with_rubbish(at, "a")
    os.chmod(mine / "blobs/sha256" / digest_name(b"a"), 0o644)
    before = os.stat(other / "blobs/sha256" / digest_name(b"a"))
    real = layout_store.share
    done: list[int] = []

    def late(*words: Any) -> str:
        if not done:
            swap(place / "s", part, other)
        done.append(1)
        return real(*words)

    monkeypatch.setattr(layout_store, "share", late)
    operation.link([str(mine), str(place / "s")], task)
    after = os.stat(other / "blobs/sha256" / digest_name(b"a"))
    assert (before.st_ino, 1) == (after.st_ino, after.st_nlink)


def test_a_file_that_an_access_list_lets_another_user_change_is_not_linked(place: Path, task: Task) -> None:
    mine, name = place.parent / "mine", digest_name(b"a")
    for at in (place / "s", mine):
        store_with_rubbish(at, "a")
        os.chmod(at / "blobs/sha256" / name, 0o664)
    pairs = ((1, 6, -1), (2, 6, NOBODY), (4, 4, -1), (16, 6, -1), (32, 4, -1))
    value = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *one) for one in pairs)
    os.setxattr(place / "s/blobs/sha256" / name, "system.posix_acl_access", value)
    operation.link([str(place / "s"), str(mine)], task)
    with pytest.raises(PermissionError):
        as_nobody(lambda: os.close(os.open(mine / "blobs/sha256" / name, os.O_WRONLY)))


@pytest.mark.parametrize("part", SWAPS)
def test_blobs_are_written_into_the_layout_that_was_opened(part: str, place: Path, task: Task) -> None:
    other = place.parent / "victim"
    write_layout(other, [])
    (other / "blobs/sha256").mkdir(parents=True, exist_ok=True)
    before = {path: path.stat().st_mtime_ns for path in other.rglob("*")}
    sink = LayoutSink(str(place / "s"), task)
    first = RemoteBlob(b"a" * 3000, lambda: swap(place / "s", part, other))
    with contextlib.suppress(OcitoolError):
        sink.write(bundle(first, RemoteBlob(b"b" * 100)), task, verify=False)
    sink.close()
    assert before == {path: path.stat().st_mtime_ns for path in other.rglob("*")}


@pytest.mark.parametrize("part", ["blobs", "blobs/sha256"])
def test_a_link_of_another_user_in_a_layout_is_not_written_through(part: str, place: Path, task: Task) -> None:
    write_layout(place / "s", [])
    for name in ("blobs/sha256", "blobs"):
        if (place / "s" / name).exists() and name.startswith(part):
            (place / "s" / name).rmdir()
    (place / "s/blobs").mkdir(exist_ok=True) if part != "blobs" else None
    their_link(place / "s" / part, place.parent / "victim")
    sink = None
    with pytest.raises(DestinationError, match="a symbolic link of another user"):
        sink = LayoutSink(str(place / "s"), task)
        sink.write(bundle(BytesBlob(b"x", Digest.of(b"x"))), task, verify=False)
    if sink is not None:
        sink.close()
    assert ["file"] == os.listdir(place.parent / "victim")


def test_blobs_of_another_directory_by_a_link_of_ones_own_are_written(tmp_path: Path, task: Task) -> None:
    write_layout(tmp_path / "s", [])
    (tmp_path / "shared").mkdir()
    os.rename(tmp_path / "s/blobs", tmp_path / "shared/blobs") if (tmp_path / "s/blobs").exists() else None
    (tmp_path / "shared/blobs").mkdir(exist_ok=True)
    (tmp_path / "s/blobs").symlink_to("../shared/blobs")
    sink = LayoutSink(str(tmp_path / "s"), task)
    sink.write(bundle(BytesBlob(b"x", Digest.of(b"x"))), task, verify=False)
    sink.close()
    assert b"x" == (tmp_path / "shared/blobs/sha256" / digest_name(b"x")).read_bytes()


@pytest.mark.parametrize("what", ["layout", "gc"])
def test_a_layout_is_not_looked_for_behind_a_link_of_another_user(what: str, place: Path, task: Task) -> None:
    names = store_with_rubbish(place.parent / "victim")
    their_link(place / "s", "../victim")
    with pytest.raises(DestinationError, match="a symbolic link of another user"):
        if what == "gc":
            operation.collect(str(place / "s"), task)
        else:
            LayoutSink(str(place / "s"), task)
    assert set(names) <= set(os.listdir(place.parent / "victim/blobs/sha256"))


def test_a_layout_that_was_made_and_given_up_removes_no_other(place: Path, task: Task) -> None:
    other = place.parent / "victim"
    sink = LayoutSink(str(place / "s"), task)
    (other / "blobs").mkdir()
    (other / "blobs/keep").touch()
    swap(place / "s", "blobs", other)
    sink.close()
    assert ["keep"] == os.listdir(other / "blobs")


# Outputs


@pytest.mark.parametrize("target", ["../victim/file", "../victim/new", "/dev/null"])
@pytest.mark.parametrize("private", [False, True])
def test_an_output_does_not_follow_a_link_of_another_user(target: str, private: bool, place: Path) -> None:
    their_link(place / "out", target)
    with (
        pytest.raises(DestinationError, match="a symbolic link of another user"),
        output_file(str(place / "out"), private=private) as file,
    ):
        file.write(b"x")
    assert not (place.parent / "victim/new").exists()


@pytest.mark.parametrize("force", [False, True])
def test_an_archive_does_not_follow_a_link_of_another_user(force: bool, place: Path) -> None:
    their_link(place / "out.tar", "../victim/file")
    with pytest.raises(DestinationError):
        ArchiveSink(str(place / "out.tar"), force=force)


def test_credentials_do_not_become_those_of_a_user_who_prepared_the_file(place: Path) -> None:
    as_tmp(place)
    (place / "auth.json").touch()
    theirs(place / "auth.json")
    held = os.open(place / "auth.json", os.O_RDONLY)
    with output_file(str(place / "auth.json"), private=True) as file:
        file.write(b"password")
    status = (place / "auth.json").stat()
    assert (0, 0o600, b"") == (status.st_uid, stat.S_IMODE(status.st_mode), os.read(held, 100))
    os.close(held)


def test_a_report_of_root_in_a_users_own_directory_stays_the_users(place: Path) -> None:
    """As with sudo in a home whose group may write to it."""
    place.chmod(0o775)
    (place / "report").touch()
    theirs(place / "report")
    with output_file(str(place / "report")) as file:
        file.write(b"new")
    assert (NOBODY, b"new") == ((place / "report").stat().st_uid, (place / "report").read_bytes())


def test_what_is_private_is_so_before_it_has_a_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "old").touch(0o600)
    modes: list[int] = []
    real = os.write

    def write(descriptor: int, data: Any) -> int:
        modes.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        return real(descriptor, data)

    monkeypatch.setattr(atomic.os, "write", write)
    for name, private in (("new", True), ("old", False)):
        with output_file(str(tmp_path / name), private=private) as file:
            file.write(b"x")
    assert [0o600, 0o600] == modes


def test_a_pipe_of_another_user_in_a_shared_directory_gets_no_report(place: Path) -> None:
    as_tmp(place)
    os.mkfifo(place / "out")
    theirs(place / "out")
    reader = os.open(place / "out", os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(DestinationError, match="a pipe of another user"), output_file(str(place / "out")):
        pass
    os.close(reader)


def test_a_pipe_that_becomes_a_file_is_not_written_to(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place.chmod(0o755)
    os.mkfifo(place / "out")
    real = directories.OpenDirectory.open

    def late(at: directories.OpenDirectory, name: str, flags: int, mode: int = 0o666) -> int:
        os.unlink(place / "out")
        os.link(place.parent / "victim/file", place / "out")
        return real(at, name, flags, mode)

    monkeypatch.setattr(outputs.OpenDirectory, "open", late)
    with pytest.raises(DestinationError, match="replaced it"), output_file(str(place / "out")) as file:
        file.write(b"x")


# Caches

SAMPLE = layer_tar([("a", b"a")])


def indexed(cache: IndexCache) -> Any:
    from support.layers import scanned

    index = scanned(SAMPLE)
    cache.store(index, "1:2:3")
    return index


def test_hints_are_not_kept_in_a_cache_of_another_user(place: Path) -> None:
    (place / "origins").mkdir()
    (place / "origins/host").symlink_to("../../victim/file")
    place.chmod(0o777)
    origins = MountHints(str(place), "host")
    origins.add(Digest.of(b"x"), "a/b")
    origins.save()
    assert ["host"] == os.listdir(place / "origins")


@pytest.mark.parametrize("how", ["theirs", "open", "link"])
@pytest.mark.parametrize("table", ["ids", "indexes", "contents", "origins"])
def test_a_directory_of_another_user_in_a_cache_is_not_used(table: str, how: str, place: Path) -> None:
    cache = place.parent / "cache"
    cache.mkdir(0o700)
    if how == "link":
        (cache / table).symlink_to("../victim")
    else:
        (cache / table).mkdir()
        os.chmod(cache / table, 0o777) if how == "open" else theirs(cache / table)
    if table == "origins":
        origins = MountHints(str(cache), "host")
        origins.add(Digest.of(b"x"), "a/b")
        origins.save()
        assert [] == [name for name in os.listdir(cache / table) if name != "file"]
    else:
        found = IndexCache(str(cache))
        assert found.find(indexed(found).digest, None) is None
        assert found.refused is not None
        assert [] == [name for name in os.listdir(cache / table) if name != "file"]


@pytest.mark.parametrize("how", ["theirs", "a second name", "a link"])
def test_a_cached_file_of_another_user_is_not_believed(how: str, place: Path) -> None:
    cache = place.parent / "cache"
    index = indexed(IndexCache(str(cache)))
    for path in (*cache.glob("ids/*"), *cache.glob("indexes/*")):
        if how == "theirs":
            theirs(path)
        elif how == "a second name":
            os.link(path, place / path.name)
        else:
            os.rename(path, place / path.name)
            path.symlink_to(place / path.name)
    assert IndexCache(str(cache)).find(index.digest, None) is None


def test_a_cache_behind_a_link_of_another_user_is_not_used(place: Path) -> None:
    (place.parent / "victim").chmod(0o700)
    their_link(place / "cache", "../victim")
    assert "a symbolic link of another user" in str(IndexCache(str(place / "cache")).refused)
    MountHints(str(place / "cache"), "host").save()
    assert ["file"] == os.listdir(place.parent / "victim")


def test_a_cache_that_is_exchanged_while_it_is_used_is_not_written(place: Path) -> None:
    cache = IndexCache(str(place / "cache"))
    os.rename(place / "cache", place / "old")
    (place / "cache").symlink_to("../victim")
    (place.parent / "victim/ids").mkdir()
    indexed(cache)
    assert [] == os.listdir(place.parent / "victim/ids")


def test_hints_are_kept_and_cut_off_as_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ocitool.transports.registry.mount_hints._MAX_SIZE", 1000)
    for number in range(30):
        origins = MountHints(str(tmp_path / "cache"), "host:5000")
        origins.add(Digest.of(b"%d" % number), "a/b")
        origins.save()
    assert ["a/b"] == list(MountHints(str(tmp_path / "cache"), "host:5000").find(Digest.of(b"29")))
    assert [] == list(MountHints(str(tmp_path / "cache"), "host:5000").find(Digest.of(b"0")))


# Unpacking


def test_an_unpacked_image_does_not_go_behind_a_link_of_another_user(place: Path) -> None:
    (place.parent / "victim/empty").mkdir()
    their_link(place / "d", "../victim/empty")
    with pytest.raises(DestinationError, match="a symbolic link of another user"), StagingDirectory(str(place / "d")):
        pass


def test_a_directory_that_was_exchanged_is_not_published(place: Path) -> None:
    with pytest.raises(DestinationError, match="exchanged"), StagingDirectory(str(place / "d")) as work:
        os.rename(work.path, place / "moved")
        Path(work.path).mkdir()
        theirs(Path(work.path))
        work.publish()
    assert not (place / "d").exists()


@pytest.mark.parametrize(("owner", "mode"), [(NOBODY, 0o755), (NOBODY, 0o1777), (0, 0o777), (0, 0o775)])
def test_a_directory_that_another_gave_a_temporarys_name_is_not_removed(owner: int, mode: int, place: Path) -> None:
    """What stands in it, and what is mounted there, is not theirs to remove."""
    (place / ".mine.ocitool-0123456789abcdef/mounted").mkdir(parents=True)
    os.chown(place, owner, owner)
    place.chmod(mode)
    with StagingDirectory(str(place / "new")) as work:
        work.publish()
    assert (place / ".mine.ocitool-0123456789abcdef/mounted").is_dir()


def test_a_directory_that_another_made_is_not_worked_in(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.mkdir

    def mkdir(name: Any, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        real(name, mode, dir_fd=dir_fd)
        os.chown(name, NOBODY, NOBODY, dir_fd=dir_fd)

    with monkeypatch.context() as late, pytest.raises(DestinationError, match="exchanged"):
        late.setattr(os, "mkdir", mkdir)
        with StagingDirectory(str(place / "d")):
            pass


# What is legitimate


@pytest.mark.parametrize("owner", [0, NOBODY])
def test_links_of_ones_own_and_of_root_are_followed(owner: int, need: Callable[..., str]) -> None:
    """By an ordinary user, whose links are his own or the administrator's."""
    need("root")
    with open_to_all() as place:
        (place / "real").mkdir()
        os.chmod(place / "real", 0o777)
        (place / "link").symlink_to("real/out")
        os.chown(place / "link", owner, owner, follow_symlinks=False)

        def act() -> None:
            with output_file(str(place / "link")) as file:
                file.write(b"x")

        as_nobody(act)
        assert b"x" == (place / "real/out").read_bytes()


@pytest.mark.parametrize("path", ["/dev/stdout", "/proc/self/fd/1", "/proc/thread-self/fd/1"])
def test_the_systems_names_of_standard_output_are_known_whoever_owns_them(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root outside of a user namespace is another user inside."""
    monkeypatch.setattr(outputs.os, "geteuid", lambda: 12345)
    monkeypatch.setattr(outputs.os, "lstat", lambda *_: os.stat_result((0o120777, 1, 1, 1, 65534, 65534, 1, 0, 0, 0)))
    assert 1 == outputs._own_descriptor(path)


def test_a_link_of_another_user_to_an_open_descriptor_is_not_followed(place: Path) -> None:
    their_link(place / "out", "/proc/self/fd/1")
    with pytest.raises(DestinationError, match="a symbolic link of another user"), output_file(str(place / "out")):
        pass


def test_a_chain_of_links_that_ends_in_another_users_is_refused(place: Path) -> None:
    (place / "a").symlink_to("b")
    their_link(place / "b", "../victim/file")
    with pytest.raises(DestinationError, match="a symbolic link of another user"):
        directories.located(str(place / "a"))


def test_the_helpers_of_these_tests_can_see_a_breach(place: Path) -> None:
    """Written by the path, as a program without care does, the victim changes."""
    with open(place / "x", "wb") as file:
        exchange(place, "x", lambda path: their_link(path, "../victim/file"))()
        file.write(b"kept")
    with open(place / "x", "r+b") as again:
        again.write(b"A")
    assert b"A" == (place.parent / "victim/file").read_bytes()[:1]
    (place.parent / "victim/file").write_bytes(SECRET)


# Reading


def test_an_extracted_archive_lends_no_file_from_outside_of_it(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its files have no stated digest that would tell."""
    (place / "layer").mkdir()
    (place / "layer/file").write_bytes(b"theirs")
    real = os.lstat

    def late(path: Any, **how: Any) -> os.stat_result:
        found = real(path, **how)
        if str(path).endswith("layer/file") and (place / "layer").is_dir() and not (place / "layer").is_symlink():
            os.rename(place / "layer", place / "old")
            (place / "layer").symlink_to("../victim")
        return found

    monkeypatch.setattr(directory.os, "lstat", late)
    assert directory.file_below(str(place), "layer/file") is None


@pytest.mark.parametrize("read", [snapshot.read, unpacked._document], ids=["snapshot", "document"])
def test_a_file_of_an_unpacked_image_that_becomes_a_pipe_keeps_no_reader_waiting(
    read: Callable[[str], object], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(place / "it")
    monkeypatch.setattr(os.path, "isfile", lambda path: True)  # it was one a moment ago
    with pytest.raises(FormatError, match="not a regular file"):
        read(str(place / "it"))


def test_a_pipe_in_a_blobs_place_keeps_no_reader_waiting(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "blobs/sha256").mkdir(parents=True)
    os.mkfifo(place / "blobs/sha256" / digest_name(b"a"))
    regular = os.stat(__file__)
    monkeypatch.setattr(layout.os, "stat", lambda *_, **__: regular)  # it was a file a moment ago
    with pytest.raises(FormatError, match="not a regular file"):
        layout.stored_blob(str(place), Digest.of(b"a"))


def test_a_blob_that_becomes_a_pipe_keeps_no_gc_waiting_with_its_lock(
    place: Path, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    (name, *others) = store_with_rubbish(place / "s")
    real = layout_store.LockedLayout.files

    def late(store: layout_store.LockedLayout) -> layout_store.BlobFiles:
        found = real(store)
        os.mkfifo(place / "pipe")  # of another inode than the blob's
        os.replace(place / "pipe", place / "s/blobs/sha256" / name)
        return found

    monkeypatch.setattr(layout_store.LockedLayout, "files", late)
    operation.collect(str(place / "s"), task)
    left = os.listdir(place / "s/blobs/sha256")
    assert name in left and not set(others) & set(left)


def test_a_root_file_system_that_becomes_a_link_is_not_repacked(place: Path) -> None:
    write_layout(place.parent / "app", [image([layer_tar([("a", b"a")])], tag="a")])
    with Task() as task:
        reading = Session(task, False, False, Registries(Access(), task))
        editable.unpack(str(place.parent / "app"), str(place / "work"), reading, owners=Ownership())
    found = open_unpacked(str(place / "work"))
    os.rename(place / "work/rootfs", place / "work/old")
    (place / "work/rootfs").symlink_to("../../victim")
    assert ["a"] == found.root.names()
    with pytest.raises(UnsafeError, match="the root is a symbolic link"):
        open_unpacked(str(place / "work"))


def test_an_ordinary_user_writes_layouts_and_archives(need: Callable[..., str]) -> None:
    import_module("concurrent.futures.thread")  # which that user may not be able to read
    need("root")
    with open_to_all() as place:
        data = b"blob" * 1000

        def act() -> None:
            with Task(jobs=1) as task:
                for sink in (LayoutSink(str(place / "s"), task), ArchiveSink(str(place / "a.tar"))):
                    sink.write(bundle(RemoteBlob(data), BytesBlob(b"x", Digest.of(b"x"))), task, verify=False)
                    sink.close()
                ArchiveSink(str(place / "a.tar"), force=True).write(bundle(RemoteBlob(data)), task, verify=False)

        as_nobody(act)
        assert data == (place / "s/blobs/sha256" / digest_name(data)).read_bytes()
        assert ["a.tar", "s"] == sorted(os.listdir(place))
