"""An image of an engine, read: what the engine says of it, and the archive that it sends (`GET /images/get`).

Engines with graph drivers (vfs, overlay2) and Podman send what `docker save` writes: their id of an image is the digest of its
configuration, and layers are not compressed. Engines with the containerd image store send the OCI documents and blobs as they
were pulled or built: their id is the digest of a manifest or index.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from ocitool.atomic import Temporary
from ocitool.digest import Digest
from ocitool.errors import FormatError, IntegrityError
from ocitool.reference import ENGINE
from ocitool.spec.manifest import Platform
from ocitool.task import Task
from ocitool.transports.archive import DockerArchive, OciArchive, Want, read_stream
from ocitool.transports.archive_members import Members, is_docker
from ocitool.transports.engine.client import Engine, quoted
from ocitool.transports.engine.problems import EngineError, words

PLATFORM_SAVED, PLATFORM_SHOWN = (1, 48), (1, 49)
"""The first versions of the API that take a platform: of `/images/get` and `/images/NAME/history`, of `/images/NAME/json`."""
_BLOCK = 1 << 19
_SHOWN = 1 << 16
"""Most bytes at the end of a broken archive that are searched for the engine's error."""


class EngineImage(NamedTuple):
    """An image that an engine has. `name`: by which it was asked for; `platform`: the one that the command asks for; `fields`:
    the engine's answer (`/images/NAME/json`)."""

    engine: Engine
    name: str
    platform: Platform | None
    fields: Mapping[str, Any]
    id: Digest

    @property
    def where(self) -> str:
        return f"{ENGINE.prefix}{self.name}"

    @property
    def is_containerd(self) -> bool:
        """Whether it is in a containerd image store: its id is then no configuration's digest, and its blobs are as pulled."""
        driver = self.fields.get("GraphDriver")
        named = driver.get("Name") if isinstance(driver, dict) else None
        return isinstance(self.fields.get("Descriptor"), dict) or named == "overlayfs"

    def platform_query(self, since: tuple[int, int]) -> str | None:
        """Returns the platform as a request takes it; None if none is asked for, or the engine does not take it (`since`: the
        version of the API that does)."""
        return platform_json(self.platform) if self.platform and self.engine.version.api >= since else None


def platform_json(platform: Platform) -> str:
    """Returns a platform as requests take it: the JSON of an OCI platform object."""
    fields = {
        "os": platform.os, "architecture": platform.architecture, "variant": platform.variant,
        "os.version": platform.os_version, "os.features": list(platform.os_features),
    }  # fmt: skip
    return json.dumps({key: value for key, value in fields.items() if value})


def look_up(engine: Engine, name: str, platform: Platform | None = None) -> EngineImage:
    """Returns what the engine says of an image (`name`: as `reference.parse_engine_image` gives it). Raises `NotFoundError` if
    it has none of this name, `FormatError` for an answer that is none, and what `Engine.get` raises."""
    shown = platform_json(platform) if platform and engine.version.api >= PLATFORM_SHOWN else None
    what = f"image {name}"
    fields = engine.get(f"/images/{quoted(name)}/json", what, platform=shown)
    try:
        found = Digest.parse(fields["Id"])
    except (TypeError, KeyError, FormatError):
        raise FormatError("the engine's answer describes no image: it has no id", f"{engine.where}: {what}") from None
    return EngineImage(engine, name, platform, fields, found)


def received(image: EngineImage, want: Want, task: Task, spool: Callable[[], Temporary] | None = None) -> Members:
    """Returns the members of the archive that the engine sends of an image. It is read once, to its end, by another thread;
    members go to one unnamed temporary file, layers only if they are wanted, large ones to files that `spool` makes.

    Raises what `archive.read_stream` and `Engine.stream` raise, and `EngineError` if the engine writes an error into it.
    """
    query = image.platform_query(PLATFORM_SAVED)
    with (
        image.engine.stream("/images/get", f"image {image.name}", names=image.name, platform=query) as answer,
        task.ahead(_blocks(answer.pieces)) as blocks,
    ):
        pieces = _Ending(blocks)
        try:
            members = read_stream(image.where, pieces, want, task, spool=spool)
        except FormatError:
            said = pieces.error()
            if said is None:
                raise
            raise EngineError(f"the engine failed to send the image: {said}", image.engine.where, 200) from None
    if image.engine.is_remote:
        task.transferred("fetched", image.name, pieces.size)
    return members


def by_config(image: EngineImage, members: Members) -> DockerArchive | None:
    """Returns the images of the archive's `manifest.json` if the engine's id is the digest of a configuration there. An index
    beside it is made for the archive alone, with manifests that the engine does not keep."""
    if not is_docker(members):
        return None
    source = DockerArchive(members)
    if all(Digest.of(record.config) != image.id for record in source.records if record.problem is None):
        return None
    source.notices = ()
    return source


def check(image: EngineImage, source: OciArchive | DockerArchive) -> None:
    """Checks that the engine sent the image that it names. Raises `IntegrityError`. The answer for one platform of several may
    have another id than what is sent."""
    ids = {str(Digest.of(record.config)) for record in source.records} | {record.image_id for record in source.records}
    ids |= {str(entry.digest) for entry in (source.index.manifests if source.index is not None else ())}
    if str(image.id) not in ids and image.platform is None:
        raise IntegrityError(
            f"the engine sent another image than {image.id}", image.where,
            hint="the name may have been given to another image meanwhile; try again",
        )  # fmt: skip


def _blocks(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yields the bytes in blocks: engines send 32 KiB at a time, and each piece has its costs."""
    block: list[bytes] = []
    size = 0
    for piece in pieces:
        block.append(piece)
        size += len(piece)
        if size >= _BLOCK:
            yield b"".join(block)
            block, size = [], 0
    if block:
        yield b"".join(block)


class _Ending:
    """The pieces of an answer. `size`: bytes so far. The last two are kept: an engine writes an error as JSON after what it has
    sent of the archive."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._last = b""
        self._before = b""
        self.size = 0

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        piece = next(self._pieces)
        self.size += len(piece)
        self._before, self._last = self._last, piece
        return piece

    def error(self) -> str | None:
        """Returns the error at the end of what the engine sent, None if there is none. Reads a little further."""
        end = self._before + self._last
        rest = b""
        for piece in self._pieces:
            rest += piece
            if len(rest) > _SHOWN:
                return None  # more of the archive
        return written_error((end + rest)[-_SHOWN:])


def written_error(data: bytes) -> str | None:
    """Returns the text of the last error that an engine wrote as JSON (`{"errorDetail": {"message": ...}}`) into other data."""
    at = max(data.rfind(b'{"errorDetail"'), data.rfind(b'{"error"'))
    if at < 0:
        return None
    try:
        value, _ = json.JSONDecoder().raw_decode(data[at:].decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None
    return error_text(value)


def error_text(value: Any) -> str | None:
    """Returns the error in one JSON value of an engine's stream, None if it is not an error."""
    if not isinstance(value, dict) or not ("errorDetail" in value or "error" in value):
        return None
    detail = value.get("errorDetail")
    text = detail.get("message") if isinstance(detail, dict) else None
    if not isinstance(text, str) or not text:
        text = value.get("error")
    return words(text.encode("utf-8", "replace")) if isinstance(text, str) and text else "an error without a text"
