"""Any image, any edits of its unpacked directory: what is repacked unpacks to the same directory, in every mode."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from support.images import image, layer_tar, write_layout

from ocitool.disk.rootfs import Ownership
from ocitool.operations.repack import Mode, RepackOptions, repack
from ocitool.operations.unpack.editable import unpack
from ocitool.pipeline.image_writer import WriteOptions, WriteResult
from ocitool.pipeline.session import Session
from ocitool.task import Task

Edit = Callable[[Path], None]
OWNERS = Ownership(os.geteuid() != 0, (), (), False)

names = st.sampled_from(["a", "b", "c"])
paths = st.lists(names, min_size=1, max_size=3).map("/".join)
contents = st.sampled_from([b"", b"1", b"2", b"two", b"x" * 700])
items = st.one_of(
    st.tuples(paths, contents),
    st.tuples(paths.map(lambda path: path + "/"), st.none()),
    st.tuples(paths, paths.map(lambda path: f"link:/{path}")),
    st.tuples(paths.map(lambda path: f"{path.rpartition('/')[0]}/.wh.{path.rpartition('/')[2]}".lstrip("/")), st.just(b"")),
    st.tuples(paths.map(lambda path: path + "/.wh..wh..opq"), st.just(b"")),
)
stacks = st.lists(st.lists(items, max_size=7), max_size=3)


def _edit(method: Callable[..., None], *words: Any) -> Edit:
    def apply(root: Path) -> None:
        with contextlib.suppress(OSError):  # what a file system refuses was not edited
            method(*(root / word if isinstance(word, str) else word for word in words))

    return apply


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def replace(path: Path, content: bytes) -> None:
    with contextlib.suppress(OSError):
        remove(path)
    path.write_bytes(content)


def point(path: Path, target: bytes) -> None:
    os.symlink(target, os.fsencode(path))


def write(path: Path, content: bytes) -> None:
    if not path.is_symlink():  # it may lead out of the directory
        path.write_bytes(content)


def chmod(path: Path, mode: int) -> None:
    if not path.is_symlink():
        path.chmod(mode | (0o700 if path.is_dir() else 0o600))


def within(method: Callable[..., None]) -> Callable[..., None]:
    """Only where no link is on the way: it may lead out of the directory."""

    def guarded(*words: Any) -> None:
        for word in words:
            if isinstance(word, Path) and any(above.is_symlink() for above in word.parents):
                return
        method(*words)

    return guarded


edits = st.one_of(
    st.builds(_edit, st.just(within(remove)), paths),
    st.builds(_edit, st.just(within(write)), paths, contents),
    st.builds(_edit, st.just(within(replace)), paths, contents),
    st.builds(_edit, st.just(within(Path.mkdir)), paths),
    st.builds(_edit, st.just(within(chmod)), paths, st.sampled_from([0o777, 0o4711, 0o1755, 0o600])),
    st.builds(_edit, st.just(within(os.link)), paths, paths),
    st.builds(_edit, st.just(within(os.rename)), paths, paths),
    st.builds(_edit, st.just(within(point)), paths, st.sampled_from([b"a", b"/b", b"../c", b"\xff"])),
    st.builds(_edit, st.just(within(os.mkfifo)), paths),
)
scripts = st.lists(edits, max_size=8)


def state(root: Path) -> dict[str, Any]:
    """Everything below a directory: kinds, modes, owners, contents, names of one file, times of all but directories."""
    found: dict[str, Any] = {}
    files: dict[int, list[str]] = {}
    for base, directories, others in os.walk(root):
        for name in (*directories, *others):
            path = Path(base, name)
            status = path.lstat()
            at = str(path.relative_to(root))
            what: Any = None
            if stat.S_ISLNK(status.st_mode):
                what = os.readlink(os.fsencode(path))
            elif stat.S_ISREG(status.st_mode):
                what = path.read_bytes()
            time = None if stat.S_ISDIR(status.st_mode) else status.st_mtime_ns
            found[at] = [status.st_mode, status.st_uid, time, what]
            if not stat.S_ISDIR(status.st_mode):
                files.setdefault(status.st_ino, []).append(at)
    for group in files.values():
        for name in group:
            found[name].append(sorted(group))
    return found


def repacked(folder: Path, script: Sequence[Edit], question: RepackOptions, task: Task) -> WriteResult:
    for edit in script:
        edit(folder / "work/rootfs")
    return repack(str(folder / "work"), question, Session(task, False), WriteOptions(f"{folder}/out/"))


def unpacked(source: Path, target: Path, task: Task) -> Path:
    unpack(str(source), str(target), Session(task, False), owners=OWNERS)
    return target / "rootfs"


modes = st.sampled_from(["rewrite", "append"])


@settings(max_examples=60, deadline=None)
@given(stacks, scripts, modes, st.booleans())
def test_what_is_repacked_unpacks_to_the_directory(stack: Any, script: list[Edit], mode: Mode, keep: bool) -> None:
    with tempfile.TemporaryDirectory() as name, Task(jobs=1) as task:
        folder = Path(name)
        tars = [layer_tar(one) for one in stack]
        source = write_layout(folder / "src", [image(tars, tag="app")])
        base = str(write_layout(folder / "base", [image(tars[:1])])) if keep and mode == "rewrite" else None
        unpacked(source, folder / "work", task)
        repacked(folder, script, RepackOptions(mode=mode, keep_base=base), task)
        assert state(folder / "work/rootfs") == state(unpacked(folder / "out", folder / "again", task))


@settings(max_examples=25, deadline=None)
@given(stacks, modes)
def test_what_nobody_edited_is_the_same_image(stack: Any, mode: Mode) -> None:
    with tempfile.TemporaryDirectory() as name, Task(jobs=1) as task:
        folder = Path(name)
        made = image([layer_tar(one) for one in stack], tag="app")
        unpacked(write_layout(folder / "src", [made]), folder / "work", task)
        result = repacked(folder, [], RepackOptions(mode=mode), task)
        assert ([made.digest], 0) == ([str(one.digest) for one in result.images], result.written)


def test_two_directories_that_differ_are_told_apart(tmp_path: Path) -> None:
    for name, content in (("a", b"1"), ("b", b"2")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "f").write_bytes(content)
        os.utime(tmp_path / name / "f", ns=(0, 0))
    assert state(tmp_path / "a") != state(tmp_path / "b")
