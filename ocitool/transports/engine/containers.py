"""Containers of an engine: which there are, what each changed of its image, and the content of its paths.

The engine names changed paths in JSON, as text: a byte of a name that is not UTF-8 comes as U+FFFD (`as_engine_text`). The
archive calls take and give names as bytes. Their tars have whole seconds, no sockets, and of the extended attributes
`security.capability` alone.
"""

from __future__ import annotations

import base64
import binascii
import json
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from urllib.parse import quote, urlencode

from ocitool.errors import FormatError, NotFoundError, OcitoolError
from ocitool.layers.entry import normalise
from ocitool.task import Task

if TYPE_CHECKING:
    from ocitool.transports.engine.client import Engine, Stream

ChangedKind = Literal["modified", "added", "deleted"]
_KINDS: tuple[ChangedKind, ...] = ("modified", "added", "deleted")
"""By the number of each in the engine's answer."""

NETWORK_FILES = (b"etc/hosts", b"etc/hostname", b"etc/resolv.conf")
"""Files that every engine mounts over those of the image."""
RUNTIME_DIRECTORIES = (b"dev", b"proc", b"sys")
"""Directories that a runtime mounts in every container."""


class ContainerSummary(NamedTuple):
    """A container as a list of containers has it. `writable`: bytes of its writable layer, None if the engine does not say;
    `image`: the image as it was named, `image_id` its id."""

    id: str
    names: tuple[str, ...]
    image: str
    image_id: str
    state: str
    status: str
    created: int
    command: str
    writable: int | None
    whole: int | None
    """Bytes of its whole file system."""


class InspectedContainer(NamedTuple):
    """One container. `mounts`: normalised paths of what is mounted in it, as they are named; links in them are not followed.
    `driver`: of its storage."""

    id: str
    name: str
    image: str
    image_id: str
    state: str
    running: bool
    paused: bool
    driver: str
    mounts: tuple[bytes, ...]


class PathChange(NamedTuple):
    """A path that a container changed. `text`: as the engine has it, normalised; `lossy`: bytes of the name are not known."""

    text: str
    kind: ChangedKind

    @property
    def lossy(self) -> bool:
        return "\ufffd" in self.text

    @property
    def path(self) -> bytes:
        """The path, if it is not `lossy`."""
        return self.text.encode("utf-8", "surrogatepass")


class PathStat(NamedTuple):
    """What is at a path of a container. `kind`: the bits of a mode that say the type, as in `stat`."""

    kind: int
    size: int


def list_containers(engine: Engine, *, stopped: bool = True) -> tuple[ContainerSummary, ...]:
    """Returns the containers, by name. `stopped`: also those that do not run. Raises what `Engine.get` raises, `FormatError`
    for an answer that is not a list of containers."""
    found = engine.get("/containers/json", "list of containers", all="1" if stopped else None, size="1")
    summaries = [_summary(one, engine.where) for one in _objects(found, "containers", engine.where)]
    return tuple(sorted(summaries, key=lambda one: (one.names, one.id)))


def inspect_container(engine: Engine, name: str) -> InspectedContainer:
    """Returns a container by its name or the beginning of its id. Raises `NotFoundError` if there is none."""
    found = engine.get(f"/containers/{quote(name, safe='')}/json", f"container {name}")
    where = f"{engine.where}: container {name}"
    if not isinstance(found, dict):
        raise FormatError("the answer is not a container", where)
    state, config = _object(found, "State"), _object(found, "Config")
    return InspectedContainer(
        _text(found, "Id", where), _text(found, "Name", where).lstrip("/"), _said(config, "Image"),
        _digest(_text(found, "Image", where)), _said(state, "Status"), state.get("Running") is True,
        state.get("Paused") is True, _said(found, "Driver"), tuple(_mounts(found, config)),
    )  # fmt: skip


def _mounts(found: Mapping[str, Any], config: Mapping[str, Any]) -> Iterator[bytes]:
    """Yields where something is mounted: volumes, bind mounts, tmpfs, and what the engine and every runtime mount."""
    listed = found.get("Mounts")
    for one in listed if isinstance(listed, list) else ():
        if isinstance(one, dict) and isinstance(one.get("Destination"), str):
            yield _path(one["Destination"])
    for holder, key in ((_object(found, "HostConfig"), "Tmpfs"), (config, "Volumes")):
        yield from map(_path, _object(holder, key))
    yield from NETWORK_FILES
    yield from RUNTIME_DIRECTORIES


def changed_paths(engine: Engine, container: InspectedContainer) -> tuple[PathChange, ...]:
    """Returns what a container changed against its image, in the engine's order. Raises what `Engine.get` raises,
    `FormatError` for an answer that is not a list of changes."""
    where = f"{engine.where}: changes of {container.name}"
    found = engine.get(f"/containers/{quote(container.id, safe='')}/changes", f"container {container.name}")
    changes = []
    for one in _objects(found if found is not None else [], "changes", where):
        path, kind = one.get("Path"), one.get("Kind")
        if not isinstance(path, str) or not isinstance(kind, int) or not 0 <= kind < len(_KINDS):
            raise FormatError("a change without a path or of an unknown kind", where)
        text = _path(path).decode("utf-8", "surrogatepass")
        if text == ".." or text.startswith("../") or "\0" in text:
            raise FormatError("a changed path leaves the root, or has a NUL in it", where)
        if text:
            changes.append(PathChange(text, _KINDS[kind]))
    return tuple(changes)


def path_stat(engine: Engine, container: InspectedContainer, path: bytes) -> PathStat | None:
    """Returns what is at a path, a symbolic link itself; None if nothing does."""
    try:
        with engine.stream(_archive(container, path), _named(container, path), method="HEAD") as answer:
            return _stat_of(answer, f"{engine.where}: {_named(container, path)}")
    except NotFoundError:
        return None


@contextmanager
def path_archive(engine: Engine, container: InspectedContainer, path: bytes) -> Iterator[Stream]:
    """Gives the tar of a path and of all below it, volumes in it too. Its members begin with the last name of the path. Raises
    `NotFoundError` if nothing is there."""
    with engine.stream(_archive(container, path), _named(container, path)) as answer:
        yield answer


@contextmanager
def root_archive(engine: Engine, container: InspectedContainer) -> Iterator[Stream]:
    """Gives the tar of a container's whole file system, without what is mounted in it."""
    with engine.stream(f"/containers/{quote(container.id, safe='')}/export", f"container {container.name}") as answer:
        yield answer


@contextmanager
def paused(engine: Engine, container: InspectedContainer) -> Iterator[None]:
    """Pauses a container that runs and is not paused, until the block ends, however it ends."""
    if not container.running or container.paused:
        yield
        return
    what = f"container {container.name}"
    try:
        engine.send("POST", f"/containers/{quote(container.id, safe='')}/pause", what)
        yield
    finally:
        _unpause(engine, container, what)


def _unpause(engine: Engine, container: InspectedContainer, what: str) -> None:
    """Lets a container go on, by a connection and a task of its own: those of the command may have ended."""
    from ocitool.transports.engine.client import Engine

    other = Engine(engine.address, Task())
    try:
        other.send("POST", f"/containers/{quote(container.id, safe='')}/unpause", what)
    except OcitoolError:
        state = inspect_container(other, container.id)
        if state.paused:  # else it was never paused, or has ended
            raise
    finally:
        other.close()


def as_engine_text(path: bytes) -> str:
    """Returns a path as the engine has it in JSON: each byte that is not UTF-8 is U+FFFD."""
    text = path.decode("utf-8", "surrogateescape")
    return text if text.isascii() else "".join("\ufffd" if "\udc80" <= char <= "\udcff" else char for char in text)


def _archive(container: InspectedContainer, path: bytes) -> str:
    return f"/containers/{quote(container.id, safe='')}/archive?{urlencode({'path': b'/' + path})}"


def _named(container: InspectedContainer, path: bytes) -> str:
    return f"/{path.decode('utf-8', 'replace')} in container {container.name}"


_DIRECTORY, _SYMLINK, _DEVICE, _FIFO, _SOCKET, _CHARACTER = 1 << 31, 1 << 27, 1 << 26, 1 << 25, 1 << 24, 1 << 21
"""Bits of a mode as Go has it (os.FileMode)."""


def _stat_of(answer: Stream, where: str) -> PathStat:
    headers = {name.lower(): value for name, value in answer.headers.items()}
    try:
        said = json.loads(base64.b64decode(headers.get("x-docker-container-path-stat", "")))
        mode, size = said["mode"], said["size"]
        if not isinstance(mode, int) or not isinstance(size, int):
            raise TypeError
    except (ValueError, TypeError, KeyError, binascii.Error, RecursionError):
        raise FormatError("the engine does not say what is there", where) from None
    kinds = (
        (_DIRECTORY, stat.S_IFDIR), (_SYMLINK, stat.S_IFLNK), (_FIFO, stat.S_IFIFO), (_SOCKET, stat.S_IFSOCK),
        (_CHARACTER, stat.S_IFCHR), (_DEVICE, stat.S_IFBLK),
    )  # fmt: skip
    return PathStat(next((kind for bit, kind in kinds if mode & bit), stat.S_IFREG), size)


def _summary(found: Mapping[str, Any], where: str) -> ContainerSummary:
    names = found.get("Names")
    created = found.get("Created")
    return ContainerSummary(
        _text(found, "Id", where),
        tuple(sorted(name.lstrip("/") for name in names if isinstance(name, str))) if isinstance(names, list) else (),
        _said(found, "Image"), _digest(_said(found, "ImageID")), _said(found, "State"), _said(found, "Status"),
        created if isinstance(created, int) else 0, _said(found, "Command"), _size(found, "SizeRw"), _size(found, "SizeRootFs"),
    )  # fmt: skip


def _objects(found: Any, what: str, where: str) -> Sequence[Mapping[str, Any]]:
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise FormatError(f"the answer is not a list of {what}", where)
    return found


def _object(found: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = found.get(key)
    return value if isinstance(value, dict) else {}


def _text(found: Mapping[str, Any], key: str, where: str) -> str:
    value = found.get(key)
    if not isinstance(value, str) or not value:
        raise FormatError(f"the answer has no {key}", where)
    return value


def _said(found: Mapping[str, Any], key: str) -> str:
    value = found.get(key)
    return value if isinstance(value, str) else ""


def _size(found: Mapping[str, Any], key: str) -> int | None:
    """A size; a list leaves out one of 0 bytes."""
    value = found.get(key, 0)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _path(text: str) -> bytes:
    return normalise(text.encode("utf-8", "surrogatepass"))


def _digest(text: str) -> str:
    """An image's id with its algorithm: Podman leaves it out."""
    return f"sha256:{text}" if len(text) == 64 and ":" not in text else text
