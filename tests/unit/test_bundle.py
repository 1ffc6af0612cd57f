"""The bundle's config.json: what of the image's configuration goes where (image-spec conversion.md)."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from ocitool.disk.snapshot import IdRange
from ocitool.errors import FormatError, LimitError, NotFoundError
from ocitool.operations.unpack import bundle
from ocitool.operations.unpack.bundle import runtime_config
from ocitool.spec.manifest import Config

PASSWD = "root:x:0:0::/root:/bin/sh\n#app:x:1:1::/:\nbroken:x\napp:x:1000:1001::/home/app:/bin/sh\nbad:x:no:0::/:\n"
GROUP = "root:x:0:\napp:x:1001:\nextra:x:2000:other,app\nmore:x:30:app\nnone:x:x:app\n"


def config(*, top: dict[str, Any] | None = None, **settings: Any) -> Config:
    return Config(b"{}", {"os": "linux", "architecture": "amd64", "config": settings, **(top or {})})


def made(image: Config, **how: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(runtime_config(image, **how))
    return found


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    root = tmp_path / "rootfs"
    (root / "etc").mkdir(parents=True)
    (root / "etc/passwd").write_text(PASSWD)
    (root / "etc/group").write_text(GROUP)
    return root


def test_the_same_configuration_gives_the_same_bytes() -> None:
    image = config(Labels={"b": "1", "a": "2"}, Volumes={"/b": {}, "/a": {}})
    assert runtime_config(image) == runtime_config(image)


def test_the_process_is_entrypoint_and_cmd() -> None:
    assert ["a", "b", "c"] == made(config(Entrypoint=["a", "b"], Cmd=["c"]))["process"]["args"]


def test_without_entrypoint_and_cmd_the_process_is_sh() -> None:
    assert [["sh"]] * 2 == [made(config(Cmd=cmd))["process"]["args"] for cmd in (None, [])]


def test_the_environment_has_a_path_and_a_home() -> None:
    assert ["A=1", bundle._PATH, "HOME=/"] == made(config(Env=["A=1"]))["process"]["env"]
    assert ["HOME=/h", "PATH=/p"] == made(config(Env=["HOME=/h", "PATH=/p"]))["process"]["env"]


@pytest.mark.parametrize(("stated", "cwd"), [(None, "/"), ("", "/"), ("/srv/", "/srv"), ("srv", "/srv"), ("/a/../../b", "/b")])
def test_the_process_starts_in_an_absolute_directory(stated: str | None, cwd: str) -> None:
    assert cwd == made(config(WorkingDir=stated))["process"]["cwd"]


@pytest.mark.parametrize(
    ("user", "uid", "gid", "groups", "home"),
    [
        ("", 0, 0, None, "/root"),
        ("root", 0, 0, None, "/root"),
        ("app", 1000, 1001, [30, 2000], "/home/app"),
        ("1000", 1000, 1001, [30, 2000], "/home/app"),
        ("app:extra", 1000, 2000, None, "/home/app"),
        ("app:7", 1000, 7, None, "/home/app"),
        ("77:extra", 77, 2000, None, "/"),
        ("77", 77, 0, None, "/"),
        ("77:88", 77, 88, None, "/"),
    ],
)
def test_the_user_is_looked_up_in_the_image(
    rootfs: Path, user: str, uid: int, gid: int, groups: list[int] | None, home: str
) -> None:
    process = made(config(User=user), rootfs=rootfs)["process"]
    found = process["user"]
    assert (uid, gid, groups) == (found["uid"], found["gid"], found.get("additionalGids"))
    assert f"HOME={home}" in process["env"]


@pytest.mark.parametrize("user", ["nobody", "app:nobody", "99999999999", "-1", "broken"])
def test_a_user_or_group_that_is_not_there_is_not_found(rootfs: Path, user: str) -> None:
    with pytest.raises(NotFoundError):
        made(config(User=user), rootfs=rootfs)


def test_a_user_without_a_number_is_refused(rootfs: Path) -> None:
    with pytest.raises(FormatError):
        made(config(User="bad"), rootfs=rootfs)


@pytest.mark.parametrize("target", ["../usr/passwd", "/usr/passwd", "/../../usr/passwd", "../l/passwd"])
def test_links_are_followed_inside_of_the_root(rootfs: Path, target: str) -> None:
    (rootfs / "usr").mkdir()
    (rootfs / "etc/passwd").rename(rootfs / "usr/passwd")
    (rootfs / "l").symlink_to("usr")
    (rootfs / "etc/passwd").symlink_to(target)
    assert 1000 == made(config(User="app"), rootfs=rootfs)["process"]["user"]["uid"]


@pytest.mark.parametrize("link", ["absolute", "relative", "directory", "loop", "fifo"])
def test_nothing_outside_of_the_root_is_read(rootfs: Path, tmp_path: Path, link: str) -> None:
    (tmp_path / "passwd").write_text(PASSWD)
    (rootfs / "etc/passwd").unlink()
    match link:
        case "absolute":
            (rootfs / "etc/passwd").symlink_to(tmp_path / "passwd")
        case "relative":
            (rootfs / "etc/passwd").symlink_to("../../passwd")
        case "loop":
            (rootfs / "etc/passwd").symlink_to("passwd")
        case "fifo":
            os.mkfifo(rootfs / "etc/passwd")
        case "directory":
            (rootfs / "etc/group").unlink()
            (rootfs / "etc").rmdir()
            (rootfs / "etc").symlink_to(tmp_path)
    with pytest.raises(NotFoundError):
        made(config(User="app"), rootfs=rootfs)


def test_a_list_of_accounts_is_bounded(rootfs: Path) -> None:
    (rootfs / "etc/passwd").write_bytes(b"\n" * (bundle.ACCOUNTS + 1))
    with pytest.raises(LimitError):
        made(config(User="app"), rootfs=rootfs)


@pytest.mark.parametrize(
    "label",
    ["run.oci.hooks.stdout", "module.wasm.image/variant", "org.systemd.property.ExecStartPre", "org.criu.config",
     "dev.gvisor.flag.debug", "io.katacontainers.config.hypervisor.path"],
)  # fmt: skip
def test_no_label_of_an_image_tells_a_runtime_what_to_do_on_the_machine(label: str) -> None:
    image = config(Labels={label: "/x", "mine": "1"})
    annotations = made(image)["annotations"]
    assert ("1", False, [label]) == (annotations["mine"], label in annotations, bundle.runtime_labels(image))


def test_annotations_say_what_the_image_says_and_labels_win() -> None:
    image = config(
        top={"author": "me", "created": "2024-01-01T00:00:00Z", "variant": "v8", "os.version": "1", "os.features": ["a", "b"]},
        StopSignal="SIGINT", ExposedPorts={"80/tcp": {}, "443": {}},
        Labels={"org.opencontainers.image.author": "you", "mine": "1", "bad": 1},
    )  # fmt: skip
    own = "org.opencontainers.image."
    expected = {
        own + "os": "linux", own + "architecture": "amd64", own + "variant": "v8", own + "os.version": "1",
        own + "os.features": "a,b", own + "author": "you", own + "created": "2024-01-01T00:00:00Z",
        own + "stopSignal": "SIGINT", own + "exposedPorts": "443,80/tcp", "mine": "1",
    }  # fmt: skip
    assert expected == made(image)["annotations"]


def test_volumes_are_mounts_of_their_own_but_not_over_the_system() -> None:
    names = ("/data/", "/data", "b", "/", "/x/..", "/proc", "/dev/shm", "/devel", "/a/../../proc/x", "//sys")
    image = config(Volumes={name: {} for name in names})
    mounts = [mount["destination"] for mount in made(image)["mounts"] if mount["type"] == "tmpfs"]
    assert ["/dev", "/dev/shm", "/b", "/data", "/devel"] == mounts


def test_only_root_starts_with_capabilities() -> None:
    root, other = (made(config(User=user))["process"]["capabilities"] for user in ("0", "1"))
    assert (root["bounding"], []) == (root["effective"], other["effective"])
    assert root["bounding"] == other["bounding"]


def namespaces(document: dict[str, Any]) -> set[str]:
    return {namespace["type"] for namespace in document["linux"]["namespaces"]}


def test_without_root_the_container_has_a_user_namespace_and_the_hosts_network() -> None:
    document = made(config(User="5:6"), rootless=True)
    assert {"pid", "ipc", "uts", "mount", "cgroup", "user"} == namespaces(document)
    assert [{"containerID": 5, "hostID": os.geteuid(), "size": 1}] == document["linux"]["uidMappings"]
    assert [{"containerID": 6, "hostID": os.getegid(), "size": 1}] == document["linux"]["gidMappings"]
    assert "resources" not in document["linux"]


def test_maps_are_taken_over() -> None:
    ranges = (IdRange(0, 100000, 65536),)
    linux = made(config(), uid_map=ranges, gid_map=ranges)["linux"]
    expected = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    assert (expected, expected) == (linux["uidMappings"], linux["gidMappings"])


def test_a_zero_byte_in_an_argument_is_refused() -> None:
    with pytest.raises(FormatError):
        made(config(Cmd=["a\0b"]))


@pytest.mark.parametrize("wrong", [None, 1, "text", [1], {"a": 1}])
def test_settings_of_a_wrong_type_read_as_absent(wrong: Any) -> None:
    names = ("User", "Env", "Cmd", "Entrypoint", "Labels", "WorkingDir", "StopSignal", "ExposedPorts", "Volumes", "Hostname")
    for name in names:
        if not (isinstance(wrong, str) and name in ("User", "WorkingDir", "StopSignal", "Hostname")):
            made(config(**{name: wrong}))
