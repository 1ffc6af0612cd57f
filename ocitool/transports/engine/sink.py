"""Writing images to an engine: the universal archive, streamed into `POST /images/load` as it is made."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from ocitool import limits
from ocitool.blob import Blob
from ocitool.digest import Digest
from ocitool.errors import FormatError, LimitError, NotFoundError, TransportError, UnsupportedError, UsageError
from ocitool.reference import ENGINE
from ocitool.spec.document import parse
from ocitool.spec.mediatypes import DOCKER_CODECS
from ocitool.task import Task
from ocitool.transports.archive_sink import archive_stream
from ocitool.transports.engine.client import Engine, quoted
from ocitool.transports.engine.images import error_text
from ocitool.transports.engine.problems import EngineError
from ocitool.transports.sink import PLAIN, OutputImage, StatelessSink, WriteOutcome, WriteRequest, plain_size

_ZSTD_LOADED = (1, 42)
"""The API of Docker 23, the first that loads layers in zstd."""


class EngineSink(StatelessSink):
    """The images of an engine. `dry_run`: the engine is asked, and nothing is sent."""

    def __init__(self, engine: Engine, where: str, *, dry_run: bool) -> None:
        self.where = where
        self._engine = engine
        self._dry_run = dry_run
        engine.version  # noqa: B018  (one that cannot be reached ends the command before any work)

    def write(self, request: WriteRequest, task: Task, *, verify: bool) -> WriteOutcome:
        """Sends what the engine lacks: an image that it has by the id of the same configuration only gets its names.

        Raises what reading the blobs raises, `EngineError` if the engine refuses them, `TransportError` if it then has another
        image under a name, `UsageError` and `UnsupportedError` for what no engine takes.
        """
        self._check(request, task)
        there = [root for root in request.roots if self._has(root)]
        missing = [root for root in request.roots if root not in there]
        skipped = frozenset[Digest]().union(*(root.needs for root in there)) - frozenset().union(
            *(root.needs for root in missing)
        )
        if self._dry_run:
            return WriteOutcome(skipped, False)
        if missing:
            needed = frozenset[Digest]().union(*(root.needs for root in missing))
            blobs = tuple(blob for blob in request.blobs if blob.digest in needed)
            self._load(request._replace(roots=tuple(missing), blobs=blobs), task)
        for root in there:
            self._name(root)
        for root in request.roots:
            self._verify(root)
        return WriteOutcome(skipped, True)

    def _check(self, request: WriteRequest, task: Task) -> None:
        """Raises for what this engine cannot take, before anything is sent."""
        if request.omitted:
            raise UsageError("an engine takes whole images, and layers are left out", self.where, hint="without --omit")
        held: dict[Digest, Blob | None] = {blob.digest: blob for blob in request.blobs if blob.digest is not None}
        for root in request.roots:
            if not root.images:
                raise UsageError("an engine takes images, and this is an artifact", root.where or self.where)
            if root.loaded is None and not root.is_index:
                raise UnsupportedError("an engine takes whole images, and a layer of this one is kept elsewhere", root.where)
            layers = [layer for image in root.images for layer in image.layers]
            if plain_size(layers, held) >= PLAIN and self._is_containerd():
                text = "layers that are not compressed: the engine keeps and pushes them so"
                task.notice("plain", f"{text}; --compression gzip compresses them")
            old = self._engine.version.api < _ZSTD_LOADED and not self._engine.version.is_podman
            codecs = {layer.codec(held.get(layer.digest)) for layer in layers}
            if old and not codecs <= {None, *DOCKER_CODECS}:
                raise UnsupportedError(
                    f"the engine {self._engine.version.version} cannot load layers in zstd", self.where,
                    hint="--compression gzip converts them",
                )  # fmt: skip

    def _is_containerd(self) -> bool:
        """Whether the engine keeps blobs as they are, in a containerd image store."""
        info = self._engine.get("/info", "description of the engine")
        status = info.get("DriverStatus") if isinstance(info, dict) else None
        return isinstance(status, list) and ["driver-type", "io.containerd.snapshotter.v1"] in status

    def _has(self, root: OutputImage) -> bool:
        """Whether the engine has the image, which a graph driver keeps by the digest of its configuration."""
        if root.is_index or root.image_id is None:
            return False
        return self._id(str(root.image_id)) == root.image_id

    def _id(self, name: str) -> Digest | None:
        """Returns the id of an image that the engine has, None if it has none of this name."""
        try:
            fields = self._engine.get(f"/images/{quoted(name)}/json", f"image {name}")
            return Digest.parse(fields["Id"])
        except NotFoundError:
            return None
        except (TypeError, KeyError, FormatError):
            raise FormatError("the engine's answer describes no image: it has no id", f"{self._engine.where}: {name}") from None

    def _load(self, request: WriteRequest, task: Task) -> None:
        size = sum(blob.size for blob in request.blobs)
        with (  # another thread reads and hashes what this one sends
            task.ahead(archive_stream(request, task)) as chunks,
            self._engine.upload("/images/load", "image to load", chunks, quiet="1") as answer,
        ):
            for value in json_values(answer.pieces, f"{self._engine.where}: load"):
                if (error := error_text(value)) is not None:
                    raise EngineError(f"the engine failed to load the image: {error}", self._engine.where, 200)
        if self._engine.is_remote:
            task.transferred("sent", self.where.removeprefix(str(ENGINE.prefix)), size)

    def _name(self, root: OutputImage) -> None:
        for name in root.names:
            repository, _, tag = name.rpartition(":")
            self._engine.send("POST", f"/images/{quoted(str(root.image_id))}/tag", f"image {name}", repo=repository, tag=tag)

    def _verify(self, root: OutputImage) -> None:
        """Raises `TransportError` if a name does not lead to what was written: an id is the digest of its configuration, or of
        a manifest or index of it."""
        expected = {root.digest, root.image_id, *root.needs}
        for name in root.names:
            found = self._id(name)
            if found not in expected:
                what = "has no image" if found is None else f"has the image {found}, and not what was sent,"
                raise TransportError(f"the engine {what} under the name {name}", self._engine.where)


def json_values(pieces: Iterable[bytes], where: str) -> Iterator[Any]:
    """Yields the JSON values of an answer that comes line by line. Raises `LimitError` beyond the size of an answer,
    `FormatError` for what is not JSON."""
    line = bytearray()
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > limits.ENGINE_ANSWER.size:
            raise LimitError(f"an answer of more than {limits.ENGINE_ANSWER.size} bytes", where)
        *whole, rest = piece.split(b"\n")
        for one in whole:
            line += one
            if line.strip():
                yield parse(bytes(line), where)
            line.clear()
        line += rest
    if line.strip():
        yield parse(bytes(line), where)
