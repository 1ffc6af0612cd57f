"""Beside other users: who can reach what was unpacked, how long a lock is waited for, and what an output may replace."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.disk import NOBODY, as_nobody, open_to_all
from support.images import entry, image, layer_tar, write_layout
from support.registry_command import Run
from support.report import report_of

from ocitool.layers.entry import Kind


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    tar = layer_tar([entry("", None, mode=0o755), entry("bin", None, mode=0o755), entry("bin/su", b"#!", mode=0o4755)])
    return write_layout(tmp_path / "app", [image([tar], tag="a")])


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# What is unpacked

FORMS = ("editable", "bundle", "layers")


@pytest.mark.parametrize("words", [(), ("--rootless",)], ids=["root", "rootless"])
@pytest.mark.parametrize("form", FORMS)
def test_what_is_unpacked_is_closed_to_other_users(
    form: str, words: tuple[str, ...], archive: Path, ocitool: Run, tmp_path: Path
) -> None:
    before = os.umask(0)
    try:
        report = report_of(ocitool("unpack", archive, tmp_path / "d", "--as", form, *words, "--format", "json"))
    finally:
        os.umask(before)
    assert (0o700, "0700") == (mode_of(tmp_path / "d"), report["mode"])


@pytest.mark.parametrize("form", [*FORMS, "rootfs"])
def test_a_mode_that_is_asked_for_is_given(form: str, archive: Path, ocitool: Run, tmp_path: Path) -> None:
    report = report_of(ocitool("unpack", archive, tmp_path / "d", "--as", form, "--mode", "0751", "-f", "json"))
    assert (0o751, "0751") == (mode_of(tmp_path / "d"), report["mode"])


def test_a_root_file_system_is_as_open_as_the_image_says_and_that_is_told(archive: Path, ocitool: Run, tmp_path: Path) -> None:
    result = ocitool("unpack", archive, tmp_path / "d", "--as", "rootfs", "-f", "json")
    report = report_of(result)
    assert (0o755, "0755") == (mode_of(tmp_path / "d"), report["mode"])
    assert "setuid" in {one["code"] for one in report["notices"]}
    closed = ocitool("unpack", archive, tmp_path / "e", "--as", "rootfs", "--mode", "700", "-f", "json")
    assert "setuid" not in {one["code"] for one in report_of(closed)["notices"]}


MAPS = ("--uid-map", "0:100000:65536", "--gid-map", "0:100000:65536")
GIVEN: dict[str, dict[str, Any]] = {
    "files with capabilities": {"xattrs": ((b"security.capability", bytes.fromhex("0100000280" + "00" * 15)),)},
    "devices": {"kind": Kind.BLOCK, "mode": 0o666, "device": (8, 0)},
}


@pytest.mark.parametrize("what", GIVEN)
def test_a_root_file_system_that_is_open_tells_all_that_gives_other_users_rights(
    what: str, ocitool: Run, tmp_path: Path, need: Callable[..., str]
) -> None:
    need("root")
    tar = layer_tar([entry("", None, mode=0o755), entry("it", b"", **GIVEN[what])])
    words = ("unpack", write_layout(tmp_path / "image", [image([tar])]), tmp_path / "d", "--as", "rootfs", "-f", "json")
    (notice,) = report_of(ocitool(*words))["notices"]
    assert ("setuid", True) == (notice["code"], f"the image's {what};" in notice["text"])
    shutil.rmtree(tmp_path / "d")
    assert "setuid" not in {one["code"] for one in report_of(ocitool(*words, "--rootless"))["notices"]}


@pytest.mark.parametrize("form", FORMS)
def test_the_text_report_says_to_whom_it_is_closed(form: str, archive: Path, ocitool: Run, tmp_path: Path) -> None:
    assert "mode 0700: closed to other users" in ocitool("unpack", archive, tmp_path / "d", "--as", form).out
    opened = ocitool("unpack", archive, tmp_path / "e", "--as", form, "--mode", "0755").out
    assert "mode 0755: other users can run the image's setuid files" in opened


def test_no_other_user_reaches_a_setuid_file(archive: Path, ocitool: Run, need: Callable[..., str]) -> None:
    need("root")
    with open_to_all() as place:
        assert 0 == ocitool("unpack", archive, place / "d").code
        assert 0o4755 == mode_of(place / "d/rootfs/bin/su")
        with pytest.raises(PermissionError):
            as_nobody(lambda: os.stat(place / "d/rootfs/bin/su"))


@pytest.mark.parametrize("form", FORMS)
def test_with_id_maps_the_containers_root_may_pass(
    form: str, archive: Path, ocitool: Run, tmp_path: Path, need: Callable[..., str]
) -> None:
    need("root")
    maps = ("--uid-map", "0:100000:65536", "--gid-map", "0:200000:65536")
    assert 0 == ocitool("unpack", archive, tmp_path / "d", "--as", form, *maps).code
    status = (tmp_path / "d").stat()
    assert (0o710, 0, 200_000) == (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid)


@pytest.mark.parametrize("form", ["editable", "bundle"])
def test_with_id_maps_the_containers_root_does_not_reach_devices_of_the_machine(
    form: str, ocitool: Run, tmp_path: Path, need: Callable[..., str]
) -> None:
    need("root")
    tar = layer_tar([entry("", None, mode=0o755), entry("sda", b"", **GIVEN["devices"])])
    source = write_layout(tmp_path / "image", [image([tar])])
    report = report_of(ocitool("unpack", source, tmp_path / "d", "--as", form, *MAPS, "-f", "json"))
    assert (0o700, ["devices"]) == (mode_of(tmp_path / "d"), [one["code"] for one in report["notices"]])
    assert 0 == ocitool("unpack", source, tmp_path / "e", "--as", form, *MAPS, "--mode", "0711").code
    assert 0o711 == mode_of(tmp_path / "e")


def test_with_a_map_of_groups_alone_it_is_closed(archive: Path, ocitool: Run, tmp_path: Path, need: Callable[..., str]) -> None:
    """Its files of root are then those of the machine's root, and setuid ones too."""
    need("root")
    assert 0 == ocitool("unpack", archive, tmp_path / "d", "--gid-map", "0:200000:65536").code
    assert 0o700 == mode_of(tmp_path / "d")


CAPABILITY, ONE = "security.capability", struct.pack("<5I", 0x02000001, 4, 0, 0, 0)


@pytest.fixture
def capable(tmp_path: Path) -> Path:
    """An image of two files with a capability each."""
    files = [entry(name, b"", mode=0o755, xattrs=((CAPABILITY.encode(), ONE),)) for name in ("it", "other")]
    return write_layout(tmp_path / "capable", [image([layer_tar([entry("", None, mode=0o755), *files])])])


@pytest.mark.parametrize("form", [*FORMS, "rootfs"])
def test_capabilities_of_files_with_id_maps_count_only_where_the_containers_root_is_root(
    form: str, capable: Path, ocitool: Run, tmp_path: Path, need: Callable[..., str]
) -> None:
    need("root")
    assert 0 == ocitool("unpack", capable, tmp_path / "d", "--as", form, *MAPS).code
    (found,) = (tmp_path / "d").rglob("it")
    assert struct.pack("<6I", 0x03000001, 4, 0, 0, 0, 100_000) == os.getxattr(found, CAPABILITY)


def test_capabilities_with_id_maps_are_repacked_as_the_image_states_them(
    capable: Path, ocitool: Run, tmp_path: Path, need: Callable[..., str]
) -> None:
    need("root")
    assert 0 == ocitool("unpack", capable, tmp_path / "d", *MAPS).code
    (tmp_path / "d/rootfs/it").chmod(0o711)
    os.removexattr(tmp_path / "d/rootfs/other", CAPABILITY)
    assert 0 == ocitool("repack", tmp_path / "d", f"oci:{tmp_path}/new:1").code
    assert 0 == ocitool("unpack", f"oci:{tmp_path}/new:1", tmp_path / "e").code
    assert (0o711, ONE) == (mode_of(tmp_path / "e/rootfs/it"), os.getxattr(tmp_path / "e/rootfs/it", CAPABILITY))
    assert CAPABILITY not in os.listxattr(tmp_path / "e/rootfs/other")


@pytest.mark.parametrize("mode", ["", "0", "0077", "0600", "1700", "4755", "888", "00700", "rwx", "-700", "0o700"])
def test_a_mode_that_is_none_is_refused(mode: str, archive: Path, ocitool: Run, tmp_path: Path) -> None:
    assert 2 == ocitool("unpack", archive, tmp_path / "d", f"--mode={mode}").code
    assert not (tmp_path / "d").exists()


def test_labels_that_a_runtime_would_obey_are_left_out_and_that_is_told(archive: Path, ocitool: Run, tmp_path: Path) -> None:
    labels = [word for n in range(7) for word in ("--label", f"run.oci.{n}=/x")]
    assert 0 == ocitool("edit", archive, f"{tmp_path}/new/", *labels).code
    report = report_of(ocitool("unpack", tmp_path / "new", tmp_path / "d", "--as", "bundle", "-f", "json"))
    (text,) = (one["text"] for one in report["notices"] if one["code"] == "annotations")
    assert "run.oci.4 and 2 more" in text and "run.oci" not in (tmp_path / "d/config.json").read_text()


def test_a_tar_has_no_mode_of_its_own(archive: Path, ocitool: Run, tmp_path: Path) -> None:
    assert 2 == ocitool("unpack", archive, tmp_path / "d.tar", "--as", "tar", "--mode", "0700").code


@pytest.mark.parametrize("how", ["umask", "access list"])
def test_no_other_user_puts_layers_into_a_store_that_he_may_read(
    how: str, archive: Path, ocitool: Run, need: Callable[..., str]
) -> None:
    need("root")
    with open_to_all() as place:
        if how == "access list":  # of the directory above, for whatever is made in it: no umask holds against it
            pairs = ((1, 7, -1), (2, 7, NOBODY), (4, 5, -1), (16, 7, -1), (32, 5, -1))
            value = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *one) for one in pairs)
            os.setxattr(place, "system.posix_acl_default", value)
        before = os.umask(0 if how == "umask" else 0o022)
        try:
            assert 0 == ocitool("unpack", archive, place / "store", "--as", "layers", "--mode", "0755").code
        finally:
            os.umask(before)
        for name in ("", "sha256", "l", "images"):
            with pytest.raises(PermissionError):
                as_nobody(lambda name=name: os.mkdir(place / "store" / name / "evil"))  # type: ignore[misc]


@pytest.mark.parametrize("how", ["theirs", "open", "link", "theirs below", "open below"])
def test_a_store_of_layers_of_another_user_is_not_added_to(
    how: str, archive: Path, ocitool: Run, need: Callable[..., str]
) -> None:
    need("root")
    with open_to_all() as place:
        assert 0 == ocitool("unpack", archive, place / "store", "--as", "layers").code
        where = place / "store"
        if how == "theirs":
            os.chown(where, NOBODY, NOBODY)
        elif how == "open":
            where.chmod(0o777)
        elif how == "theirs below":
            os.chown(where / "sha256", NOBODY, NOBODY)
        elif how == "open below":
            (where / "l").chmod(0o775)
        else:
            where = place / "link"
            where.symlink_to("store")
            os.chown(where, NOBODY, NOBODY, follow_symlinks=False)
        result = ocitool("unpack", archive, where, "--as", "layers")
        assert (9, True) == (result.code, "another user" in result.err)


# Locks


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Callable[[Path, int], None]]:
    held: list[int] = []

    def lock(path: Path, how: int) -> None:
        held.append(os.open(path, os.O_RDONLY))
        fcntl.flock(held[-1], how)

    yield lock
    for one in held:
        os.close(one)


LOCKS: dict[str, tuple[str, int, tuple[str, ...]]] = {
    "gc beside a reader": ("app", fcntl.LOCK_SH, ("layout", "gc", "app")),
    "a dry run of gc": ("app", fcntl.LOCK_SH, ("layout", "gc", "app", "--dry-run")),
    "a writer": ("app", fcntl.LOCK_EX, ("copy", "other", "app/")),
    "rm": ("app", fcntl.LOCK_EX, ("layout", "rm", "app", "a")),
    "normalize": ("app", fcntl.LOCK_EX, ("layout", "normalize", "app")),
    "link": ("other", fcntl.LOCK_EX, ("layout", "link", "app", "other")),
    "the index": ("app/blobs", fcntl.LOCK_SH, ("copy", "other", "app/")),
    "a store of layers": ("store", fcntl.LOCK_EX, ("unpack", "app", "store", "--as", "layers")),
    "a store's short names": ("store/l", fcntl.LOCK_SH, ("unpack", "app", "store", "--as", "layers")),
}


@pytest.mark.parametrize("how", list(LOCKS))
def test_a_lock_is_not_waited_for_without_end(
    how: str, archive: Path, ocitool: Run, tmp_path: Path, locked: Callable[[Path, int], None]
) -> None:
    write_layout(tmp_path / "other", [image([layer_tar([("b", b"b")])], tag="b")])
    assert 0 == ocitool("unpack", archive, tmp_path / "store", "--as", "layers").code
    before = {path: path.read_bytes() for path in archive.rglob("*") if path.is_file() and path.parent == archive}
    path, kind, words = LOCKS[how]
    locked(tmp_path / path, kind)
    result = ocitool(*words, cwd=tmp_path, env={"OCITOOL_LOCK_WAIT": "0"})
    assert 9 == result.code, str(result)
    assert f"waiting for process {os.getpid()}, which works on" in result.err
    assert f"locked for 0 seconds by process {os.getpid()}" in result.err
    assert "hint: run this when that has ended; OCITOOL_LOCK_WAIT" in result.err
    assert before == {path: path.read_bytes() for path in archive.rglob("*") if path.is_file() and path.parent == archive}


def test_a_wait_that_is_no_number_is_a_mistake(archive: Path, ocitool: Run) -> None:
    result = ocitool("layout", "gc", archive, env={"OCITOOL_LOCK_WAIT": "soon"})
    assert (2, True) == (result.code, "OCITOOL_LOCK_WAIT must be a whole number of seconds" in result.err)


# Outputs


@pytest.mark.parametrize("force", [False, True])
def test_an_archive_is_not_replaced_by_a_report(force: bool, archive: Path, ocitool: Run, tmp_path: Path) -> None:
    assert 0 == ocitool("copy", archive, tmp_path / "old.tar").code
    before = (tmp_path / "old.tar").read_bytes()
    more = ("--force",) if force else ()
    result = ocitool("copy", archive, tmp_path / "new.tar", *more, "--report", tmp_path / "old.tar")
    assert (9, before) == (result.code, (tmp_path / "old.tar").read_bytes())


def test_rows_go_to_no_standard_output(archive: Path, ocitool: Run, tmp_path: Path) -> None:
    result = ocitool("dedupe", archive, archive, "--export", "-", cwd=tmp_path)
    assert (2, False) == (result.code, (tmp_path / "-").exists())


def test_rows_are_not_written_through_a_link_of_another_user(archive: Path, ocitool: Run, need: Callable[..., str]) -> None:
    need("root")
    with open_to_all() as place:
        (place / "victim").write_text("precious")
        (place / "rows").mkdir()
        (place / "rows/files.parquet").symlink_to("../victim")
        os.chown(place / "rows/files.parquet", NOBODY, NOBODY, follow_symlinks=False)
        result = ocitool("dedupe", archive, archive, "--export", place / "rows")
        assert (9, "precious") == (result.code, (place / "victim").read_text())


@pytest.mark.parametrize("words", [("inspect", "{image}", "--report"), ("dedupe", "{image}", "{image}", "--report")])
def test_a_report_does_not_go_where_a_link_of_another_user_leads(
    words: tuple[str, ...], archive: Path, ocitool: Run, need: Callable[..., str]
) -> None:
    need("root")
    with open_to_all() as place:
        (place / "victim").write_text("precious")
        (place / "report").symlink_to("victim")
        os.chown(place / "report", NOBODY, NOBODY, follow_symlinks=False)
        result = ocitool(*(word.format(image=archive) for word in words), place / "report")
        assert (9, "precious") == (result.code, (place / "victim").read_text())
        assert "a symbolic link of another user, which is not followed" in result.err


@pytest.mark.parametrize("kind", ["device", "link to a device"])
def test_credentials_do_not_replace_what_is_no_file(kind: str, tmp_path: Path, need: Callable[..., str]) -> None:
    from ocitool.transports.registry.keychain import Credentials, Keychain

    need("root")
    path = tmp_path / "auth"
    os.mknod(tmp_path / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.symlink("null", path) if kind == "link to a device" else os.rename(tmp_path / "null", path)
    Keychain(str(path)).store("reg.example", Credentials("a", "b"))
    assert stat.S_ISCHR(path.stat().st_mode)
    assert (kind == "link to a device") == path.is_symlink()
