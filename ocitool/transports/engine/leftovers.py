"""What ocitool makes at an engine for its own use, and takes away again: containers that never start, and their image.

Each of them has the label `org.ocitool.owner`, which names the process that made it. A process that is killed takes nothing
away: the next command that makes something at the engine removes what dead processes of this machine left (`remove`), and
names what processes of other machines made, of which it cannot know whether they live.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from ocitool.digest import Digest
from ocitool.errors import NotFoundError, OcitoolError
from ocitool.interrupts import undisturbed
from ocitool.layers import tarwriter
from ocitool.layers.entry import Entry, Kind
from ocitool.patterns import pattern
from ocitool.spec.document import parse_object, serialised
from ocitool.task import Task
from ocitool.transports.engine import problems

if TYPE_CHECKING:
    from ocitool.transports.engine.client import Engine

OWNER = "org.ocitool.owner"
"""The label of everything that is taken away again. Its value is an `Owner` as a JSON object."""
CREATES = "org.ocitool.creates-volume"
"""The label of an image of ours while its process fills a volume that did not exist before: the name of the volume. Labels of a
volume cannot be changed, so a volume that stays must not have the owner's."""

_PATIENCE = 60
"""Seconds in which an engine removes something. After that it is left to the next command."""
_NAMED = 5
"""How many containers of others one notice names."""
_TEXT = 200
_NAME = pattern(r"localhost/ocitool-[0-9a-f]{16}:own")
"""The names of images of ours."""


class Owner(NamedTuple):
    """A process that made something at an engine. `host`: the name of its machine; `machine`: its machine-id; `boot`: the id of
    its boot; `namespace`: of its process ids; `start`: when it started, in clock ticks since the boot. What the system does not
    tell is empty."""

    host: str
    machine: str
    boot: str
    namespace: str
    pid: int
    start: int

    def __str__(self) -> str:
        return f"process {self.pid} of {self.host or 'an unknown host'}"

    @property
    def label(self) -> dict[str, str]:
        """The label of what it makes."""
        return {OWNER: json.dumps(self._asdict(), sort_keys=True)}

    def is_dead(self, here: Owner) -> bool | None:
        """Whether it has ended; None if that cannot be known by the process `here`: it is one of another machine or container.

        A process id alone says nothing: the system gives it again, and every container counts its own."""
        if self.boot and self.boot == here.boot:
            if self.namespace != here.namespace:
                return None
            return _started(self.pid) != self.start
        if self.machine and (self.machine, self.host) == (here.machine, here.host) and self.boot and here.boot:
            return True  # this machine has started anew since
        return None


def this_process() -> Owner:
    """Returns this process as an owner."""
    return Owner(
        socket.gethostname(), _line("/etc/machine-id"), _line("/proc/sys/kernel/random/boot_id"), _namespace(), os.getpid(),
        _started(os.getpid()) or 0,
    )  # fmt: skip


def parse_owner(label: object) -> Owner | None:
    """Returns the owner that a label states; None for what is none of ours."""
    if not isinstance(label, str) or len(label) > 4096:
        return None
    try:
        found = parse_object(label.encode("utf-8", "replace"), OWNER)
    except OcitoolError:
        return None
    words = [found.get(name) for name in ("host", "machine", "boot", "namespace")]
    numbers = [found.get(name) for name in ("pid", "start")]
    if not all(isinstance(word, str) for word in words) or not all(type(number) is int for number in numbers):
        return None
    return Owner(*(str(word)[:_TEXT] for word in words), *numbers)  # type: ignore[arg-type]


def remove(engine: Engine, task: Task) -> None:
    """Removes what dead processes of this machine left at the engine, and adds a notice of what others' processes have there.

    Called before a command makes something. Raises what `Engine.get` raises; what cannot be removed is left."""
    here = this_process()
    others: dict[Owner | None, list[str]] = {}
    for left in (*_containers(engine), *_images(engine)):
        dead = left.owner.is_dead(here) if left.owner is not None else None
        if dead:
            with suppress(NotFoundError, problems.EngineError):  # another process was faster, or it is in use
                _remove(engine, left)
                task.notice("leftover", f"{engine.where}: removed {left.what} {left.name}, which {left.owner} left behind")
        elif dead is None:
            others.setdefault(left.owner, []).append(f"{left.what} {left.name}")
    for owner, names in others.items():
        listed = ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
        whose = f"is of {owner}" if owner is not None else "has an owner that cannot be read"
        task.notice("leftover", f"{engine.where}: {listed} {whose}: whether that has ended is not known here, so it is left")


class _Leftover(NamedTuple):
    what: str
    name: str
    path: str
    owner: Owner | None
    creates: str | None = None


def _containers(engine: Engine) -> Iterator[_Leftover]:
    for one in _listed(engine, "/containers/json", "containers", all=1):
        labels, names, number = one.get("Labels"), one.get("Names"), one.get("Id")
        if isinstance(labels, dict) and OWNER in labels and isinstance(number, str):
            name = str(names[0]).lstrip("/") if isinstance(names, list) and names else number[:12]
            yield _Leftover("container", name, _container_path(number), parse_owner(labels[OWNER]))


def _images(engine: Engine) -> Iterator[_Leftover]:
    for one in _listed(engine, "/images/json", "images"):
        labels, tags = one.get("Labels"), one.get("RepoTags")
        if isinstance(labels, dict) and OWNER in labels and isinstance(tags, list):
            for name in tags:
                if isinstance(name, str) and _NAME.fullmatch(name):  # any image can have a label, from any tool
                    creates = labels.get(CREATES)
                    volume = creates if isinstance(creates, str) and creates else None
                    yield _Leftover("image", name, _image_path(name), parse_owner(labels[OWNER]), volume)


def _listed(engine: Engine, path: str, what: str, **query: Any) -> list[Mapping[str, Any]]:
    found = engine.get(path, what, filters=json.dumps({"label": [OWNER]}), **query)
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _remove(engine: Engine, left: _Leftover) -> None:
    """Removes a container or image, and the volume that it states. Raises what `Engine.send` raises."""
    try:
        engine.send("DELETE", left.path, f"{left.what} {left.name}", **_QUERY[left.what])
    finally:
        if left.creates is not None:
            with suppress(NotFoundError, problems.EngineError):  # never made, or in use by another container
                engine.send("DELETE", volume_path(left.creates), f"volume {left.creates}")


_QUERY: Mapping[str, Mapping[str, Any]] = {"container": {"force": 1, "v": 1}, "image": {}}
"""`v`: volumes without a name, which only this container has, go with it. Those with a name stay."""


def volume_path(name: str) -> str:
    """Returns the path of requests about a volume."""
    return f"/volumes/{quote(name, safe='')}"


def _container_path(name: str) -> str:
    return f"/containers/{quote(name, safe='')}"


def _image_path(name: str) -> str:
    return f"/images/{quote(name, safe='/:')}"


class Container(NamedTuple):
    """A container that was created and not started. `path`: of requests about it. `name`: its name."""

    path: str
    name: str


@contextmanager
def own_image(engine: Engine, task: Task, *, creates: str | None = None) -> Iterator[str]:
    """Gives the name of an image without any layer, loaded into the engine for the time of the block.

    Each process has its own, so that none removes another's. It is removed however the block ends. `creates`: the name of a
    volume that does not exist and that the block makes; it is removed too unless the block ends without an error. Raises what
    `Engine.upload` raises."""
    name = f"localhost/ocitool-{os.urandom(8).hex()}:own"
    labels = this_process().label | ({CREATES: creates} if creates is not None else {})
    left = _Leftover("image", name, _image_path(name), None, creates)
    try:
        with undisturbed():  # a signal in between would leave an image that this process does not know of
            _load(engine, name, labels)
        yield name
        left = left._replace(creates=None)
    finally:
        _take_away(engine, task, left)


def _load(engine: Engine, name: str, labels: Mapping[str, str]) -> None:
    version = engine.version
    config = serialised(
        {
            "architecture": version.architecture or "amd64", "os": version.os or "linux",
            "config": {"Labels": dict(labels), "Cmd": ["/none"]},
            "rootfs": {"type": "layers", "diff_ids": []}, "history": [],
        }
    )  # fmt: skip
    hexadecimal = Digest.of(config).encoded
    listing = json.dumps([{"Config": f"{hexadecimal}.json", "RepoTags": [name], "Layers": []}]).encode()
    members = [(f"{hexadecimal}.json", config), ("manifest.json", listing)]
    tar = b"".join(
        tarwriter.write((Entry(path.encode(), Kind.FILE, 0o644, 0, 0, 0, len(data)), [data]) for path, data in members)
    )
    said = b""
    with engine.upload("/images/load", "image of ocitool", [tar], quiet=1) as answer:
        for piece in answer.pieces:
            said = (said + piece)[: 1 << 16]
    for line in said.splitlines():
        try:
            error = parse_object(line, engine.where).get("error")
        except OcitoolError:
            continue
        if isinstance(error, str):
            raise problems.EngineError(f"the engine did not load an image of ocitool: {error[:_TEXT]}", engine.where, 500)


@contextmanager
def created_container(engine: Engine, task: Task, config: Mapping[str, Any]) -> Iterator[Container]:
    """Gives a container that was created, and is removed however the block ends: by an error, Ctrl-C or SIGTERM too.

    `config`: the body of `POST /containers/create`; the label of the owner is added to it. Raises what `Engine.send` raises."""
    name = f"ocitool-{os.urandom(8).hex()}"
    made = Container(_container_path(name), name)
    body = {**config, "Labels": {**(config.get("Labels") or {}), **this_process().label}}
    try:
        with undisturbed():
            engine.send("POST", "/containers/create", f"container of {config.get('Image')}", json=body, name=name)
        yield made
    finally:
        _take_away(engine, task, _Leftover("container", name, made.path, None))


def _take_away(engine: Engine, task: Task, left: _Leftover) -> None:
    """Removes something, by a connection of its own: the command's is of no use once its task is cancelled. A failure is told
    and not raised, so that the error that ended the command is seen."""
    with undisturbed():
        apart = Task()
        connection = engine.detached(apart)
        try:
            apart.within(_PATIENCE, lambda: _remove(connection, left))
        except NotFoundError:
            pass  # it was not made
        except (OcitoolError, TimeoutError) as error:
            text = f"{left.what} {left.name} could not be removed ({error}); the next command that uses the engine does it"
            task.notice("leftover", f"{engine.where}: {text}")
        finally:
            connection.close()


def _started(pid: int) -> int | None:
    """Returns when a process started, in clock ticks since the boot; None if there is none that lives (proc(5), "stat")."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read(4096).rpartition(b")")[2].split()
        return None if fields[0] in (b"Z", b"X") else int(fields[19])
    except (OSError, IndexError, ValueError):
        return None


def _namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _line(path: str) -> str:
    """Returns the first line of a file of the system; nothing if it has none."""
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.readline(_TEXT).strip()
    except OSError:
        return ""
