"""The record of blobs that were hashed: what is kept of it, by whom it is shared, and how much of it there may be."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from ocitool.digest import Digest
from ocitool.directories import OpenDirectory
from ocitool.transports import verifications
from ocitool.transports.verifications import Verifications

LATER = 10_000_000_000


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OCITOOL_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def put(layout: Path, data: bytes) -> tuple[Digest, str]:
    path = layout / "blobs/sha256" / Digest.of(data).encoded
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return Digest.of(data), str(path)


def folder(path: str) -> OpenDirectory:
    return OpenDirectory(os.path.dirname(path))


def keep(records: Verifications, digest: Digest, path: str) -> None:
    status = os.stat(path)
    records.record(digest, folder(path), status, status, verifications.now() + LATER)


def has(layout: Path, digest: Digest, path: str, **how: bool) -> bool:
    """Whether another run believes a blob."""
    with open(path, "rb") as file:
        return Verifications(str(layout), **{"cached": True, **how}).has(digest, folder(path), file.fileno())


def test_two_runs_at_a_time_lose_nothing_of_each_other(cache: Path, tmp_path: Path) -> None:
    one, two = put(tmp_path, b"one"), put(tmp_path, b"two")
    runs = [Verifications(str(tmp_path), cached=True) for _ in range(2)]
    for run, blob in zip(runs, (one, two), strict=True):
        keep(run, *blob)
    for run in runs:
        run.save()
    assert [True, True] == [has(tmp_path, *blob) for blob in (one, two)]


def test_a_file_that_changed_while_it_was_hashed_is_not_recorded(cache: Path, tmp_path: Path) -> None:
    blob, other = put(tmp_path, b"one"), put(tmp_path, b"two")
    records = Verifications(str(tmp_path), cached=True)
    records.record(blob[0], folder(blob[1]), os.stat(other[1]), os.stat(blob[1]), verifications.now() + LATER)
    records.save()
    assert not has(tmp_path, *blob)


@pytest.mark.parametrize(("age", "kept"), [(verifications._TICK // 2, False), (2 * verifications._TICK, True)])
def test_what_was_written_is_recorded_once_a_change_of_it_would_show(age: int, kept: bool, cache: Path, tmp_path: Path) -> None:
    digest, path = put(tmp_path, b"one")
    placed = os.stat(path)
    records = Verifications(str(tmp_path), cached=True)
    with open(path, "rb") as file:
        records.record_written(digest, folder(path), placed, file.fileno(), placed.st_ctime_ns + age)
    records.save()
    assert kept == has(tmp_path, digest, path)


def test_what_was_changed_since_it_was_written_is_not_recorded(cache: Path, tmp_path: Path) -> None:
    digest, path = put(tmp_path, b"one")
    placed = os.stat(path)
    os.utime(path, ns=(1, 1))
    records = Verifications(str(tmp_path), cached=True)
    with open(path, "rb") as file:
        records.record_written(digest, folder(path), placed, file.fileno(), verifications.now() + LATER)
    records.save()
    assert not has(tmp_path, digest, path)


def test_a_digest_is_not_believed_of_another_ones_file(cache: Path, tmp_path: Path) -> None:
    one, two = put(tmp_path, b"one"), put(tmp_path, b"two")
    records = Verifications(str(tmp_path), cached=True)
    keep(records, *one)
    records.save()
    assert [True, False] == [has(tmp_path, digest, one[1]) for digest in (one[0], two[0])]
    assert not has(tmp_path, one[0], two[1])


def test_without_a_cache_nothing_is_known_or_kept(cache: Path, tmp_path: Path) -> None:
    blob = put(tmp_path, b"one")
    records = Verifications(str(tmp_path), cached=False)
    keep(records, *blob)
    records.save()
    assert not cache.exists() and not has(tmp_path, *blob)
    kept = Verifications(str(tmp_path), cached=True)
    keep(kept, *blob)
    kept.save()
    assert [False, True] == [has(tmp_path, *blob, cached=cached) for cached in (False, True)]


def test_of_many_blobs_those_that_were_used_last_stay(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifications, "_MAX_BLOBS", 3)
    blobs = [put(tmp_path, bytes([n])) for n in range(4)]
    for blob in (*blobs[:3], blobs[0], blobs[3]):
        records = Verifications(str(tmp_path), cached=True)
        with open(blob[1], "rb") as file:
            records.has(blob[0], folder(blob[1]), file.fileno())
        keep(records, *blob)
        records.save()
    assert 3 == sum(has(tmp_path, *blob) for blob in blobs) and has(tmp_path, *blobs[3])


def test_of_many_layouts_those_that_were_used_last_stay(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifications, "_MAX_LAYOUTS", 2)
    found = []
    for number in range(4):
        layout = tmp_path / str(number)
        blob = put(layout, b"one")
        records = Verifications(str(layout), cached=True)
        keep(records, *blob)
        records.save()
        for age, path in enumerate(sorted((cache / "verified").iterdir(), key=lambda one: one.stat().st_mtime_ns)):
            os.utime(path, (age, age))
        found.append((layout, *blob))
    assert 2 == len(list((cache / "verified").iterdir()))
    assert has(*found[-1])


def test_a_cache_that_cannot_be_written_costs_nothing(cache: Path, tmp_path: Path) -> None:
    cache.write_bytes(b"a file")
    blob = put(tmp_path, b"one")
    records = Verifications(str(tmp_path), cached=True)
    keep(records, *blob)
    records.save()
    assert not has(tmp_path, *blob)


@pytest.mark.parametrize("kind", ["vfat", "fuse.sshfs", "9p", None])
def test_file_systems_that_may_keep_no_ctimes_have_no_records(
    kind: str | None, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob = put(tmp_path, b"one")
    records = Verifications(str(tmp_path), cached=True)
    keep(records, *blob)
    with monkeypatch.context() as patched:
        patched.setattr(verifications, "_file_system", lambda path: kind)
        records.save()
    assert not (cache / "verified").exists() and not has(tmp_path, *blob)


def test_the_file_system_of_a_directory_is_the_one_that_its_path_leads_to(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/proc/self")
    assert "proc" == verifications._file_system(str(tmp_path / "link")) == verifications._file_system("/proc/self/fd")
    assert verifications._file_system("/") not in ("proc", None)
    assert "proc" != verifications._file_system("/procedure")


@pytest.fixture
def mounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the kernel tells of mounts, to be written anew."""
    mountinfo = tmp_path / "mountinfo"
    mountinfo.write_bytes(Path("/proc/self/mountinfo").read_bytes())

    def other(path: Any, *words: Any, **how: Any) -> Any:
        return open(mountinfo if path == "/proc/self/mountinfo" else path, *words, **how)

    monkeypatch.setattr(verifications, "open", other, raising=False)
    return mountinfo


@pytest.mark.parametrize("point", [b"/a\rb", b"/\r", b"/a\x85b", b"/\xff\x0c"])
def test_no_name_of_a_mount_of_another_user_ends_a_run(point: bytes, mounts: Path, tmp_path: Path) -> None:
    before = verifications._file_system(str(tmp_path))
    mounts.write_bytes(b"9999999 1 0:99 / %s rw - fuse x rw\n" % point + mounts.read_bytes())
    assert before is not None and before == verifications._file_system(str(tmp_path))


def test_a_file_system_is_known_whatever_its_directory_is_called(mounts: Path, tmp_path: Path) -> None:
    held = OpenDirectory(str(tmp_path))
    fdinfo = Path(f"/proc/self/fdinfo/{held.descriptor}").read_text()
    number = fdinfo.partition("mnt_id:")[2].split()[0]
    lines = [line for line in mounts.read_bytes().splitlines(True) if not line.startswith(number.encode() + b" ")]
    mounts.write_bytes(b"".join(lines) + b"%s 1 0:99 / /a\\011b rw - fuse.theirs x rw\n" % number.encode())
    assert "fuse.theirs" == verifications._file_system(str(tmp_path))


def test_a_link_to_a_file_is_not_believed(cache: Path, tmp_path: Path) -> None:
    digest, path = put(tmp_path, b"one")
    os.rename(path, tmp_path / "elsewhere")
    os.symlink(tmp_path / "elsewhere", path)
    records = Verifications(str(tmp_path), cached=True)
    keep(records, digest, path)
    records.save()
    assert not has(tmp_path, digest, path)
