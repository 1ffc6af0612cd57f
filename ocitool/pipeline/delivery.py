"""The last step: images under their names, their blobs from wherever they are, written all at once; and what that came
to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import copy

from ocitool import limits
from ocitool.blob import LEFT_OUT, Blob, missing_blob
from ocitool.digest import Digest
from ocitool.errors import IntegrityError
from ocitool.pipeline.image_writer import ImageWriter, WriteResult
from ocitool.pipeline.output_names import roots, with_names
from ocitool.pipeline.problems import problem_at, refuse_nothing
from ocitool.reference import PREFIX
from ocitool.spec import mediatypes
from ocitool.task import Task
from ocitool.transports.destinations import Destination
from ocitool.transports.sink import PLAIN, OutputImage, WriteOutcome, WriteRequest, plain_size


def deliver(
    writer: ImageWriter, command: str, outputs: Sequence[OutputImage], details: object = None, findings: int = 0
) -> WriteResult:
    """Writes the images. Raises `UsageError` if names clash, `NotFoundError` if a blob is found nowhere. If some of many
    images cannot be written, they go into `problems`; if none can, the first error is raised."""
    done = _Delivery(writer, outputs)
    return WriteResult(
        command, writer.options.destination, writer.options.dry_run, done.verified, done.roots, done.images,
        done.kept, done.made, done.skipped, done.omitted, writer.task.bytes_transferred, done.from_fallback,
        tuple(writer.layers.engines), tuple(writer.task.notices), details, findings, tuple(writer.problems), done.unchanged,
    )  # fmt: skip


class _Delivery:
    """Writes outputs, and has the figures of the `WriteResult`."""

    def __init__(self, writer: ImageWriter, outputs: Sequence[OutputImage]) -> None:
        self._writer = writer
        self._task: Task = writer.task
        self._target: Destination = writer.target
        named = with_names(outputs, writer.names, self._target, self._task)
        new = [output for output in named if not output.is_there]
        blobs, omitted = self._gathered(new)
        wanted = tuple(output._replace(loaded=self._loaded(output, blobs)) for output in new)
        self._warn(new)
        writer.layers.check_unwritten(blobs, dry_run=writer.options.dry_run)
        request = WriteRequest(wanted, tuple(blobs.values()), tuple(omitted), lambda blob: self._others(blob, new))
        outcome = self._written(request) if wanted or not named else WriteOutcome(frozenset(), not writer.options.dry_run)
        if outcome.lost or outcome.refused:
            named = self._arrived(named, outcome)
        refuse_nothing(named, writer.problems, self._task)
        self.verified = outcome.verified
        self.roots = roots(named, self._target)
        self.images = tuple(image.without_bytes() for output in named for image in output.images)
        self.omitted = sum(omitted.values())
        self.from_fallback = sum(size for digest, size in writer.blobs.fallback_sizes.items() if digest not in outcome.skipped)
        self.unchanged = outcome.unchanged + sum(len(output.names) for output in named if output.is_there)
        self._count(named, blobs, outcome)

    def _written(self, request: WriteRequest) -> WriteOutcome:
        try:
            return self._writer.sink.write(request, self._task, verify=self._writer.session.verify)
        except IntegrityError:
            self._writer.layers.check_claims()
            raise

    def _count(self, named: Sequence[OutputImage], blobs: Mapping[Digest, Blob], outcome: WriteOutcome) -> None:
        sizes = {digest: size for output in named for digest, size, _ in output.blobs}
        there = {digest for output in named if output.is_there for digest, _, _ in output.blobs}
        fresh = frozenset().union(*(output.made for output in named)) - outcome.skipped
        skipped = sum(sizes[digest] for digest in outcome.skipped if digest in sizes)
        self.made = sum(size for digest, size in sizes.items() if digest in fresh)
        self.kept = sum(sizes[digest] for digest in blobs if digest in sizes) - self.made - skipped
        self.skipped = skipped + sum(sizes[digest] for digest in there - blobs.keys())

    def _others(self, blob: Blob, outputs: Sequence[OutputImage]) -> Iterator[Blob]:
        """Yields further blobs that are stated under the digest of this one, from the other images and from what
        `--with` names. For a digest that only a docker archive states there are none: it is refused if it is wrong."""
        digest = blob.digest
        assert digest is not None
        if self._writer.layers.is_claimed(digest):
            return
        own = [one for output in outputs for stated, _, one in output.blobs if stated == digest and one is not None]
        for one in (*own, *self._writer.blobs.others(blob)):
            if one is not blob and one.size == blob.size:
                yield one

    def _arrived(self, outputs: Sequence[OutputImage], outcome: WriteOutcome) -> list[OutputImage]:
        """Returns the outputs that were written, with the names that they got; the rest goes into `problems`."""
        found = []
        problems = self._writer.problems
        for output in outputs:
            lost = outcome.why(output) if not output.is_there else None
            if lost is not None:
                problems.append(problem_at(output.where, copy(lost)))  # which others have too, in other places
                continue
            refused = {name: outcome.refused[name] for name in output.names if name in outcome.refused}
            problems += [problem_at(name, copy(error)) for name, error in refused.items()]
            names = tuple(name for name in output.names if name not in refused)
            if names or not refused:
                found.append(output.named(names) if refused else output)
        return found

    def _gathered(self, outputs: Sequence[OutputImage]) -> tuple[dict[Digest, Blob], dict[Digest, int]]:
        """Returns the blobs of the outputs, wherever they are found, and the sizes of the layers that are left out."""
        blobs: dict[Digest, Blob] = {}
        omitted: dict[Digest, int] = {}
        omit = self._writer.options.omit
        for output in outputs:
            layers = {layer.digest for image in output.images for layer in image.layers}
            for digest, size, blob in output.blobs:
                if digest in omit and digest in layers:
                    omitted[digest] = size
                elif digest not in blobs:
                    found = self._writer.blobs.found(digest, size, blob)
                    if found is not None:
                        blobs[digest] = found
                    elif digest not in output.foreign:
                        raise missing_blob("blob", digest, output.where, hint=LEFT_OUT)
                    else:
                        text = f"the layer {digest} is kept elsewhere (urls) and is not copied"
                        fetched = "; --foreign fetches it" if output.where.startswith(PREFIX) else ""
                        self._task.notice("foreign", f"{output.where}: {text}{fetched}")
        return blobs, omitted

    def _loaded(self, output: OutputImage, blobs: Mapping[Digest, Blob]) -> Digest | None:
        """Returns the image ID that `manifest.json` names; None if one of its layers is not written, since engines would
        refuse the archive."""
        image = output.loaded_image
        if image is None or image.image_id is None:
            return None
        layers = [layer.digest for layer in image.layers]
        if all(digest in blobs for digest in (image.image_id, *layers)):
            return output.loaded
        if self._archived and self._writer.options.omit.isdisjoint(layers):
            text = f"{output.where}: a layer is kept elsewhere (urls), so docker load will not see the image"
            self._task.notice("foreign", text)
        return None

    @property
    def _archived(self) -> bool:
        return self._target.transport.archive

    def _warn(self, outputs: Sequence[OutputImage]) -> None:
        task = self._task
        for output in outputs:
            for image in output.images:
                if len(image.layers) > limits.MAX_LAYERS:
                    task.notice("layers", f"{len(image.layers)} layers: Docker takes no more than {limits.MAX_LAYERS}")
            if not self._archived or output.kind is not None:  # no engine loads an artifact
                continue
            if not output.names:
                task.notice("untagged", "the archive holds an image without a name; --tag NAME:TAG gives one")
            for name in output.names:
                if name and "/" not in name and ":" not in name:
                    task.notice(
                        "untagged", f"{name} is a tag without a repository: docker load will not name the image; "
                        f"--tag NAME:{name} does",
                    )  # fmt: skip
            if self._target.transport.engine:
                continue  # the sink asks the engine what it takes
            held = {digest: blob for digest, _, blob in output.blobs}
            loaded = output.loaded_image
            usual = (None, *mediatypes.DOCKER_CODECS)
            layers = loaded.layers if loaded is not None else ()
            if any(layer.codec(held.get(layer.digest)) not in usual for layer in layers):
                task.notice("zstd", "layers in zstd: older engines refuse them; --compression gzip converts")
            if plain_size(layers, held) >= PLAIN:
                text = "layers that are not compressed: an engine with the containerd image store pushes them so"
                task.notice("plain", f"{text}; --compression gzip compresses them")
