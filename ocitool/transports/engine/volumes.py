"""Volumes of an engine: which there are, and the content of one as a tar, read and written through a container that mounts it.

Two ways lead to the content. The archive API of the engine needs no program: the container is created and never started. It
drops what the engine's tar writer does not know (`DROPPED`). A helper is a container that runs GNU tar, which keeps all of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from ocitool.errors import FormatError, NotFoundError, OcitoolError, TransportError, UnsupportedError, UsageError
from ocitool.patterns import pattern
from ocitool.task import Task
from ocitool.transports.engine import leftovers
from ocitool.transports.engine.leftovers import Container, created_container, own_image, volume_path

if TYPE_CHECKING:
    from ocitool.transports.engine.client import Engine

_NAME = pattern(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}")
MOUNT = "ocitool-volume"
"""The directory, below the root of a container, in which the volume is mounted: no image has it."""
DROPPED = ("fractions of seconds", "extended attributes but security.capability", "sockets")
"""What the archive API of Docker leaves out of the content of a volume."""
PODMAN_DROPPED = ("owners", "fractions of seconds", "an entry called dev at the root", "sockets")
"""What Podman's leaves out."""
_COMPLAINTS = 1 << 16
"""Bytes of what a helper says that are kept."""
_TAR = (
    "--format=pax", "--xattrs", "--xattrs-include=*", "--acls", "--sparse", "--numeric-owner", "--sort=name",
)  # fmt: skip


class VolumeInfo(NamedTuple):
    """A volume as its engine states it. `created`: when, as the engine writes it. `options`: of its driver. `size`: bytes of
    its content, None if the engine does not tell. `used_by`: names of containers that mount it, running or not."""

    name: str
    driver: str
    labels: Mapping[str, str]
    options: Mapping[str, str]
    created: str | None
    size: int | None = None
    used_by: tuple[str, ...] = ()


def check_name(name: str) -> str:
    """Returns the name of a volume. Raises `UsageError` for an invalid name."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"invalid name of a volume: {name}", hint="letters, digits and _ . - only")
    return name


def find(engine: Engine, name: str) -> VolumeInfo | None:
    """Returns a volume; None if there is none of this name. Raises what `Engine.get` raises."""
    try:
        found = engine.get(volume_path(check_name(name)), f"volume {name}")
    except NotFoundError:
        return None
    return _volume(found) if isinstance(found, dict) else None


def existing(engine: Engine, name: str) -> VolumeInfo:
    """Returns a volume. Raises `NotFoundError` if there is none of this name."""
    found = find(engine, name)
    if found is None:
        raise NotFoundError(f"the engine has no volume {name}", engine.where, hint="ocitool volume ls lists them")
    return found


def every(engine: Engine, *, sizes: bool) -> list[VolumeInfo]:
    """Returns all volumes, by name, and which containers mount them. `sizes`: the engine is asked to add up their content,
    which may take it long."""
    answer = engine.get("/volumes", "volumes")
    rows = answer.get("Volumes") if isinstance(answer, dict) else None
    users = _users(engine)
    known = _sizes(engine) if sizes else {}
    found = [_volume(row) for row in rows or () if isinstance(row, dict)]
    return [
        one._replace(size=known.get(one.name), used_by=tuple(users.get(one.name, ())))
        for one in sorted(found, key=lambda one: one.name)
    ]


def _volume(row: Mapping[str, Any]) -> VolumeInfo:
    def words(value: object) -> dict[str, str]:
        return {key: word for key, word in value.items() if isinstance(word, str)} if isinstance(value, dict) else {}

    created = row.get("CreatedAt")
    return VolumeInfo(
        str(row.get("Name") or ""), str(row.get("Driver") or ""), words(row.get("Labels")), words(row.get("Options")),
        created if isinstance(created, str) and created else None,
    )  # fmt: skip


def _users(engine: Engine) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for one in engine.get("/containers/json", "containers", all=1) or ():
        names = one.get("Names") if isinstance(one, dict) else None
        if not isinstance(names, list) or not names or not isinstance(names[0], str):
            continue
        for mount in one.get("Mounts") or ():
            if isinstance(mount, dict) and mount.get("Type") == "volume" and isinstance(mount.get("Name"), str):
                found.setdefault(mount["Name"], []).append(names[0].lstrip("/"))
    return {name: sorted(set(users)) for name, users in found.items()}


def _sizes(engine: Engine) -> dict[str, int]:
    narrow = {"type": "volume"} if engine.version.api >= (1, 42) else {}
    answer = engine.get("/system/df", "disk usage", **narrow)
    found = {}
    for row in (answer.get("Volumes") if isinstance(answer, dict) else None) or ():
        usage = row.get("UsageData") if isinstance(row, dict) else None
        size = usage.get("Size") if isinstance(usage, dict) else None
        if type(size) is int and size >= 0 and isinstance(row.get("Name"), str):
            found[row["Name"]] = size
    return found


class MountedVolume:
    """A volume, and the image of the containers that mount it."""

    def __init__(self, engine: Engine, task: Task, name: str, own: str, helper: str | None) -> None:
        self.name = name
        self.where = f"{engine.where}: volume {name}"
        self._engine = engine
        self._task = task
        self._own = own
        self._helper = helper

    @property
    def dropped(self) -> tuple[str, ...]:
        """What is lost on the way that is taken. Of a helper nothing is known beforehand: it says what it leaves out."""
        if self._helper is not None:
            return ()
        return PODMAN_DROPPED if self._engine.version.is_podman else DROPPED

    @contextmanager
    def content(self) -> Iterator[Iterator[bytes]]:
        """Gives a tar of the content, as the engine or the helper writes it: names begin with `MOUNT`, or are below the root.

        Raises what `Engine.stream` raises; when the block ends, or raises `FormatError`, `TransportError` if the helper failed,
        which explains a tar that cannot be read."""
        if self._helper is None:
            with self._archive() as pieces:
                yield pieces
            return
        command = ["--create", *_TAR, "-C", f"/{MOUNT}", "."]
        with self._created(self._helper, command, read_only=True) as container:
            program = _Program(self._engine, container, f"tar of {self._helper}")
            try:
                with program.output() as pieces:
                    yield pieces
            except FormatError:
                program.end()
                raise
            self._tell(program.end())

    @contextmanager
    def _archive(self) -> Iterator[Iterator[bytes]]:
        with (
            self._created(self._own, read_only=True) as container,
            self._engine.stream(f"{container.path}/archive", f"volume {self.name}", path=f"/{MOUNT}") as answer,
        ):
            yield answer.pieces

    def _tell(self, complaints: Iterable[str]) -> None:
        for text in complaints:
            self._task.notice("volume", f"{self.where}: {text}")

    def is_empty(self) -> bool:
        """Whether there is nothing in the volume. Reads no more than its first entries."""
        from ocitool.layers.tar import entries
        from ocitool.layers.tar_notes import TarNotes
        from ocitool.layers.tarinput import ChunkInput

        with self._archive() as pieces:
            listed = entries(ChunkInput(pieces), TarNotes(), whiteouts=False)
            return next(listed, None) is None or next(listed, None) is None

    def fill(self, tar: Iterable[bytes]) -> None:
        """Writes the entries of a tar into the volume; their names begin with `prefix`. Raises what `Engine.send` and `tar`
        raise, `TransportError` if the helper failed."""
        if self._helper is None:
            place = f"/{MOUNT}" if self._engine.version.is_podman else "/"
            with self._created(self._own) as container:
                self._engine.send("PUT", f"{container.path}/archive", f"volume {self.name}", body=tar, path=place)
            return
        options = [one for one in _TAR if not one.startswith(("--sort", "--format", "--sparse"))]
        command = ["--extract", *options, "--same-owner", "--preserve-permissions", "--overwrite", "-C", f"/{MOUNT}", "-f", "-"]
        with self._created(self._helper, command, stdin=True) as container:
            program = _Program(self._engine, container, f"tar of {self._helper}")
            program.feed(tar)
            self._tell(program.end())

    @property
    def prefix(self) -> bytes:
        """What the names in a tar for `fill` begin with. The archive API of Docker sets no attributes of the directory that it
        unpacks into, so the volume's root has to be an entry in it."""
        return b"" if self._helper is not None or self._engine.version.is_podman else MOUNT.encode()

    @contextmanager
    def _created(
        self, image: str, command: list[str] | None = None, *, read_only: bool = False, stdin: bool = False
    ) -> Iterator[Container]:
        mount = {
            "Type": "volume", "Source": self.name, "Target": f"/{MOUNT}", "ReadOnly": read_only,
            "VolumeOptions": {"NoCopy": True},
        }  # fmt: skip
        host: dict[str, Any] = {"NetworkMode": "none", "Mounts": [mount]}
        config: dict[str, Any] = {"Image": image, "Cmd": ["/none"], "HostConfig": host, "NetworkDisabled": True}
        if command is not None:
            config |= {
                "Entrypoint": ["tar"], "Cmd": command, "User": "0:0", "WorkingDir": "/", "Env": ["LC_ALL=C"], "Tty": False,
                "OpenStdin": stdin, "StdinOnce": stdin, "AttachStdin": stdin,
            }  # fmt: skip
            if not stdin:  # all of its output is read as it comes
                host["LogConfig"] = {"Type": "none", "Config": {}}
        try:
            with created_container(self._engine, self._task, config) as container:
                yield container
        except NotFoundError as error:
            if command is not None and error.hint is None:
                error.hint = f"load or pull {image} into the engine first"
            raise


@contextmanager
def mounted(
    engine: Engine, task: Task, name: str, *, helper: str | None = None, creates: VolumeInfo | None = None
) -> Iterator[MountedVolume]:
    """Gives a volume to read or fill. Leftovers of dead processes are removed first.

    `creates`: the volume does not exist, and is made so; it is removed again if the block ends with an error. Raises what
    `Engine.send` raises."""
    if engine.version.os == "windows":
        raise UnsupportedError("volumes of an engine on Windows cannot be read", engine.where)
    leftovers.remove(engine, task)
    with ExitStack() as stack:
        own = stack.enter_context(own_image(engine, task, creates=name if creates is not None else None))
        if creates is not None:
            body = {"Name": name, "Driver": creates.driver or "local", "Labels": dict(creates.labels)}
            engine.send("POST", "/volumes/create", f"volume {name}", json=body)
        yield MountedVolume(engine, task, name, own, helper)


class _Program:
    """A program in a container that is not started yet. It is started when its output is asked for, or when it is fed."""

    def __init__(self, engine: Engine, container: Container, what: str) -> None:
        self._engine = engine
        self._container = container
        self._what = what
        self._complaints = b""
        self._written = 0

    @contextmanager
    def output(self) -> Iterator[Iterator[bytes]]:
        """Gives what it writes to standard output."""
        path = f"{self._container.path}/attach"
        with self._engine.stream(path, self._what, method="POST", stream=1, stdout=1, stderr=1) as answer:
            self._start()
            yield self._demultiplexed(answer.pieces)

    def _start(self) -> None:
        try:
            self._engine.send("POST", f"{self._container.path}/start", self._what)
        except NotFoundError as error:  # how engines say that the image has no such program
            raise TransportError(error.what, error.where, hint=_NEEDS_TAR) from None
        except OcitoolError as error:
            error.hint = error.hint or _NEEDS_TAR
            raise

    def _demultiplexed(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """Yields standard output of frames: a byte that says of which stream, three zeros, four bytes of length, and the data
        (Docker's API, "Attach to a container"). Of what is in one frame no more than a piece is held."""
        from ocitool.layers.tarinput import ChunkInput

        frames = ChunkInput(pieces)
        while head := frames.read(8):
            if len(head) < 8 or head[0] not in (0, 1, 2) or any(head[1:4]):
                raise TransportError(f"the output of {self._what} is not in frames", self._engine.where)
            for piece in frames.pieces(int.from_bytes(head[4:], "big")):
                if head[0] == 2:
                    self._complaints += bytes(piece)[: _COMPLAINTS - len(self._complaints)]
                else:
                    self._written += len(piece)
                    yield bytes(piece)

    def feed(self, data: Iterable[bytes]) -> None:
        """Starts it, and writes to its standard input."""
        with self._engine.hijacked(f"{self._container.path}/attach", self._what, stream=1, stdin=1) as write:
            self._start()
            for piece in data:
                if not write(piece):  # it has ended: its exit code and what it said tell why
                    return

    def end(self) -> list[str]:
        """Waits until it has ended; returns what it complained about. Raises `TransportError` if it failed."""
        answer = self._engine.send("POST", f"{self._container.path}/wait", self._what)
        code = answer.get("StatusCode") if isinstance(answer, dict) else None
        if not self._complaints:
            self._read_log()
        lines = [line.strip() for line in self._complaints.decode("utf-8", "replace").splitlines() if line.strip()]
        if code not in (0, 1) or (code == 1 and not self._written):  # 1: files changed while they were read (GNU tar manual)
            said = f": {lines[0][:300]}" if lines else ""
            hint = _NEEDS_TAR if "unrecognized option" in said or code in (126, 127) else None
            raise TransportError(f"{self._what} ended with code {code}{said}", self._engine.where, hint=hint)
        return [f"{self._what}: {line[:300]}" for line in lines[:_LINES]]

    def _read_log(self) -> None:
        with (
            suppress(OcitoolError),  # of a container without a log
            self._engine.stream(f"{self._container.path}/logs", self._what, stdout=0, stderr=1, tail=_LINES) as answer,
        ):
            for _ in self._demultiplexed(answer.pieces):
                pass


_LINES = 20
_NEEDS_TAR = "the image of --helper needs GNU tar"
