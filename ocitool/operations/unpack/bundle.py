"""Makes the `config.json` of a runtime bundle, by which an OCI runtime starts the unpacked image.

Sources: image-spec conversion.md for the fields that come from the configuration; runtime-spec 1.0.2 config.md and
config-linux.md for the document. Mounts, capabilities and masked paths are the defaults of Docker and `runc spec`. Without
Entrypoint and Cmd the process is `sh`; without PATH and HOME the environment has the usual values.
"""

from __future__ import annotations

import json
import os
import posixpath
import stat
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from ocitool import limits
from ocitool.disk.scan_directory import HeldDirectories, Root
from ocitool.disk.snapshot import IdRange
from ocitool.errors import FormatError, LimitError, NotFoundError, TransportError
from ocitool.spec.manifest import Config, string, string_members

_OCI = "org.opencontainers.image."
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_CAPABILITIES = [
    f"CAP_{name}"
    for name in (
        "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "NET_RAW", "SETFCAP",
        "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
    )
]  # fmt: skip
_MASKED = [
    "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats",
    "/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap",
]  # fmt: skip
_READONLY = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
_SYSTEM = ("/proc", "/dev", "/sys")
_RUNTIME_ANNOTATIONS = (
    "run.oci.", "module.wasm.", "org.systemd.property.", "org.criu.", "dev.gvisor.", "io.katacontainers.",
)  # fmt: skip
"""Prefixes of annotations that make runtimes (crun, runc, runsc, Kata Containers) act on the host: write files, set
properties of systemd units, start programs."""
ACCOUNTS = 4 * limits.MiB
"""Most bytes of /etc/passwd and of /etc/group; a larger file raises `LimitError`."""
_GROUPS = 65_536
"""Most supplementary groups that Linux accepts (NGROUPS_MAX)."""
_NO_ID = (1 << 32) - 1


def runtime_config(
    config: Config,
    *,
    rootless: bool = False,
    uid_map: Sequence[IdRange] = (),
    gid_map: Sequence[IdRange] = (),
    rootfs: Root | None = None,
) -> bytes:
    """Returns the document. `rootfs`: the unpacked file system, in which names of users and groups are looked up.

    Raises `NotFoundError` for a user or group that does not exist, `FormatError` for an invalid value in the configuration.
    """
    settings = config.settings
    user = _user(string(settings.get("User")) or "", rootfs)
    if rootless:
        # The user's only id becomes the id in the container that the image asks for.
        uid_map = uid_map or (IdRange(user.uid, os.geteuid(), 1),)
        gid_map = gid_map or (IdRange(user.gid, os.getegid(), 1),)
    mapped = bool(uid_map or gid_map)
    document: dict[str, Any] = {
        "ociVersion": "1.0.2",
        "process": _process(settings, user, rootless),
        "root": {"path": "rootfs", "readonly": False},
        "hostname": string(settings.get("Hostname")) or "ocitool",
        "mounts": [*_system_mounts(rootless, gid_map), *_volumes(config)],
        "annotations": _annotations(config),
        "linux": {
            "namespaces": [{"type": name} for name in _namespaces(rootless, mapped)],
            "maskedPaths": _MASKED,
            "readonlyPaths": _READONLY,
        },
    }
    if mapped:
        document["linux"]["uidMappings"] = _mappings(uid_map or gid_map)
        document["linux"]["gidMappings"] = _mappings(gid_map or uid_map)
    if not rootless:
        document["linux"]["resources"] = {"devices": [{"allow": False, "access": "rwm"}]}
    return json.dumps(document, indent=2).encode() + b"\n"


def _process(settings: dict[str, Any], user: User, rootless: bool) -> dict[str, Any]:
    env = _texts(settings.get("Env"))
    names = {item.partition("=")[0] for item in env}
    if "PATH" not in names:
        env.append(_PATH)
    if "HOME" not in names:
        env.append(f"HOME={user.home}")
    groups = {} if rootless or not user.groups else {"additionalGids": user.groups}
    capabilities = _CAPABILITIES if user.uid == 0 else []  # another user starts without any, and can gain only these
    return {
        "terminal": False,
        "user": {"uid": user.uid, "gid": user.gid, **groups},
        "args": [*_texts(settings.get("Entrypoint")), *_texts(settings.get("Cmd"))] or ["sh"],
        "env": env,
        "cwd": _absolute(string(settings.get("WorkingDir")) or "/"),
        "capabilities": {"bounding": _CAPABILITIES, "effective": capabilities, "permitted": capabilities},
        "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
        "noNewPrivileges": True,
    }


def _texts(value: object) -> list[str]:
    """Returns the strings of a list. Raises `FormatError` for one with a zero byte, which no process can get."""
    if not isinstance(value, list):
        return []
    texts = [item for item in value if isinstance(item, str)]
    if any("\0" in item for item in texts):
        raise FormatError("an argument or variable of the configuration has a zero byte")
    return texts


def _absolute(path: str) -> str:
    return posixpath.normpath("/" + path.lstrip("/"))


def _annotations(config: Config) -> dict[str, str]:
    """Returns the annotations (conversion.md, "Annotation Fields"). A label overrides a derived value; labels that
    runtimes act on are left out."""
    fields, settings = config.fields, config.settings
    features = fields.get("os.features")
    derived = {
        "os": string(fields.get("os")),
        "architecture": string(fields.get("architecture")),
        "variant": string(fields.get("variant")),
        "os.version": string(fields.get("os.version")),
        "os.features": ",".join(_texts(features)),
        "author": config.author,
        "created": config.created,
        "stopSignal": string(settings.get("StopSignal")),
        "exposedPorts": ",".join(config.keys("ExposedPorts")),
    }
    made = {_OCI + name: value for name, value in derived.items() if value}
    left_out = runtime_labels(config)
    return made | {
        name: value for name, value in string_members(settings.get("Labels")).items() if name and name not in left_out
    }


def runtime_labels(config: Config) -> list[str]:
    """Returns the labels of an image that would make a runtime act on the host if they became annotations. The bundle does
    not have them: only the operator may set such annotations."""
    return [name for name in string_members(config.settings.get("Labels")) if name.startswith(_RUNTIME_ANNOTATIONS)]


def _volumes(config: Config) -> Iterator[dict[str, Any]]:
    """Yields mounts for volumes (conversion.md, "Config.Volumes"): what is written there does not reach the root file
    system. A volume over the root, or over a system mount, is left out."""
    paths = sorted({_absolute(path) for path in config.keys("Volumes") if path and "\0" not in path})
    for path in paths:
        if path != "/" and not any(path == mount or path.startswith(mount + "/") for mount in _SYSTEM):
            yield _mount(path, "tmpfs", "tmpfs", "rw", "nosuid", "nodev", "relatime")


def _mount(destination: str, kind: str, source: str, *options: str) -> dict[str, Any]:
    return {"destination": destination, "type": kind, "source": source, "options": list(options)}


def _system_mounts(rootless: bool, gid_map: Sequence[IdRange]) -> Iterator[dict[str, Any]]:
    safe = ("nosuid", "noexec", "nodev")
    tty = not gid_map or any(inside <= 5 < inside + size for inside, _, size in gid_map)
    yield _mount("/proc", "proc", "proc", *safe)
    yield _mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k")
    terminals = ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620")
    yield _mount("/dev/pts", "devpts", "devpts", *terminals, *(["gid=5"] if tty else []))
    yield _mount("/dev/shm", "tmpfs", "shm", *safe, "mode=1777", "size=65536k")
    yield _mount("/dev/mqueue", "mqueue", "mqueue", *safe)
    if rootless:  # a container without its own network namespace may not mount sysfs
        yield _mount("/sys", "none", "/sys", "rbind", *safe, "ro")
    else:
        yield _mount("/sys", "sysfs", "sysfs", *safe, "ro")
        yield _mount("/sys/fs/cgroup", "cgroup", "cgroup", *safe, "relatime", "ro")


def _namespaces(rootless: bool, mapped: bool) -> list[str]:
    found = ["pid", "ipc", "uts", "mount", "cgroup"]
    if not rootless:
        found.append("network")
    return [*found, "user"] if mapped else found


def _mappings(ranges: Sequence[IdRange]) -> list[dict[str, int]]:
    return [{"containerID": inside, "hostID": outside, "size": size} for inside, outside, size in ranges]


# Users


class User(NamedTuple):
    """The user that the process runs as."""

    uid: int
    gid: int
    groups: list[int]
    home: str


def _user(text: str, rootfs: Root | None) -> User:
    """Returns the user for `user`, `uid`, `user:group`, `uid:gid` and mixed forms (config.md, "User"). A number without
    an account is taken as it is, with group 0; supplementary groups apply only if no group is given."""
    name, colon, group = text.partition(":")
    name = name or "0"
    uid = _number(name)
    gid, home, login = 0, "/", name
    accounts = _accounts(rootfs, b"etc/passwd", 7)
    found = next((row for row in accounts if name == row[0] or (uid is not None and uid == _number(row[2]))), None)
    if found is None and uid is None:
        raise NotFoundError(f"the image's user {name[:100]!r} is not in its /etc/passwd", hint="edit --user sets another")
    if found is not None:
        login, home = found[0], found[5] if found[5].startswith("/") else "/"
        uid, gid = _number(found[2]), _number(found[3]) or 0
        if uid is None:
            raise FormatError(f"/etc/passwd has no valid number for the user {name[:100]!r}")
    assert uid is not None
    groups: set[int] = set()
    if colon and group:
        number = _number(group)
        if number is None:
            rows = _accounts(rootfs, b"etc/group", 4)
            number = next((_number(row[2]) for row in rows if row[0] == group), None)
        if number is None:
            raise NotFoundError(f"the image's group {group[:100]!r} is not in its /etc/group", hint="edit --user sets another")
        gid = number
    elif found is not None:
        for row in _accounts(rootfs, b"etc/group", 4):
            number = _number(row[2])
            if number is not None and login in row[3].split(","):
                groups.add(number)
            if len(groups) > _GROUPS:
                raise LimitError(f"a user in more than {_GROUPS} groups")
    return User(uid, gid, sorted(groups - {gid}), home)


def _number(text: str) -> int | None:
    """Returns a user or group id; None for any other text."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 11 and int(text) < _NO_ID else None


def _accounts(rootfs: Root | None, path: bytes, fields: int) -> Iterator[list[str]]:
    """Yields the rows of /etc/passwd or /etc/group that have so many fields; none if the file does not exist."""
    data = _inside(rootfs, path) if rootfs is not None else b""
    for line in data.splitlines():
        row = line.decode("utf-8", "replace").split(":")
        if len(row) == fields and not line.startswith(b"#"):
            yield row


def _inside(root: Root, path: bytes) -> bytes:
    """Returns the content of a regular file, with links resolved inside `root` as after chroot(2); empty if there is
    none."""
    with HeldDirectories(root) as below:
        done: list[bytes] = []
        left = path.split(b"/")[::-1]
        hops = 0
        while left:
            name = left.pop()
            if name == b"..":
                done = done[:-1]
            elif name and name != b".":
                try:
                    at = below.directory(b"/".join(done))
                    status = os.stat(name, dir_fd=at, follow_symlinks=False)
                    if stat.S_ISLNK(status.st_mode):
                        hops += 1
                        if hops > limits.SYMLINK_HOPS:
                            return b""
                        target = os.readlink(name, dir_fd=at)
                        if target.startswith(b"/"):
                            done = []
                        left += target.split(b"/")[::-1]
                        continue
                    if not left and stat.S_ISREG(status.st_mode):
                        return _read(at, name)
                except (FileNotFoundError, NotADirectoryError):
                    return b""
                except OSError as error:
                    raise TransportError(f"cannot be read: {error.strerror}", "/" + path.decode()) from None
                done.append(name)
    return b""


def _read(at: int, name: bytes) -> bytes:
    descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=at)
    with os.fdopen(descriptor, "rb") as file:
        data = file.read(ACCOUNTS + 1)
    if len(data) > ACCOUNTS:
        raise LimitError(f"a list of accounts of more than {ACCOUNTS} bytes", "/etc")
    return data
