"""An open destination: how it is to be written to, what it and other places have, layers that are made for it, the result.

    with ImageWriter(options, session) as writer:
        layer = writer.layers.made(tar, codec, image, "new")      # compressed once, into a spool
        result = deliver(writer, "append", [drafts.finish(draft)])

Nothing can be seen at the destination before `delivery.deliver` ends; at a registry, no tag.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from ocitool.digest import Digest
from ocitool.errors import FormatError, LimitError, NotFoundError, TransportError
from ocitool.images import indexes
from ocitool.images.index_children import all_children
from ocitool.images.indexes import ReferrerReport
from ocitool.pipeline.blob_lookup import BlobLookup
from ocitool.pipeline.layer_writer import LayerWriter
from ocitool.pipeline.problems import Problem
from ocitool.pipeline.session import Session
from ocitool.progress import Notice
from ocitool.reference import distinct
from ocitool.task import Task
from ocitool.transports import destinations
from ocitool.transports.destinations import Destination
from ocitool.transports.sink import OutputImage, Sink
from ocitool.transports.source import RemoteSource, Source

if TYPE_CHECKING:
    from types import TracebackType

    from ocitool.layers.compress import Compression


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """Where to write and how. `names`, beside the destination's own, replace the source's; `compression` converts layers;
    `fallback`: references whose blobs may be used if the source lacks them; `omit`: digests that are left out. Raises
    `UsageError` if the words for the destination name no place that can be written to."""

    destination: str
    names: tuple[str, ...] = ()
    compression: Compression | None = None
    force: bool = False
    dry_run: bool = False
    fallback: tuple[str, ...] = ()
    omit: frozenset[Digest] = frozenset()
    target: Destination = field(init=False)
    """What `destination` says."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "target", destinations.parse(self.destination))


class WriteResult(NamedTuple):
    """The result of a writing command. Sizes are bytes of blobs: `kept` were taken over as they were, `written` were
    made, `skipped` were at the destination already, `omitted` were left out; `from_fallback`, a part of `kept`, came
    from what `--with` names. `transferred`: bytes sent and received over a network, with documents and repeated
    transfers. `verified`: every byte was hashed, in this run or, if the blob was at the destination already, in an
    earlier run that is on record."""

    command: str
    destination: str
    dry_run: bool
    verified: bool
    roots: tuple[OutputImage, ...]
    """What names point to at the destination, each digest once."""
    images: tuple[OutputImage, ...]
    kept: int
    written: int
    skipped: int
    omitted: int
    transferred: int
    from_fallback: int
    engines: tuple[str, ...]
    notices: tuple[Notice, ...]
    details: object = None
    """What one command alone tells: a frozen value of its own type."""
    findings: int = 0
    """Things found that make the exit code 1 although the image was written."""
    problems: tuple[Problem, ...] = ()
    """Of many images, those that could not be copied."""
    unchanged: int = 0
    """How many of the names led to their images before: nothing of these was written."""


class ImageWriter:
    """An open destination, and the layers made for it. As a context manager it releases locks and temporary files at its
    end."""

    def __init__(self, options: WriteOptions, session: Session, *, platform: str | None = None) -> None:
        """`platform`: the one that the user asked for, if any. Then one image may replace an index, as with `force`."""
        self.options = options
        self.session = session
        self.task: Task = session.task
        self.target = target = options.target
        self.names = target.names(options.names)
        self.sink: Sink = destinations.open_sink(
            target, self.task, session.registries, session.engines, force=options.force, dry_run=options.dry_run,
            replaces_index=options.force or platform is not None, cached=session.cached,
        )  # fmt: skip
        self.blobs = BlobLookup(self.sink, options.fallback, session, remote=target.remote)
        self.layers = LayerWriter(self.sink, self.blobs, options.compression, options.omit, self.task, remote=target.remote)
        if session.engines is not None:
            session.engines.spool = self.layers.spool
        self.problems: list[Problem] = []
        """What is left out and named, of many images."""
        self._referrers: dict[int, tuple[Source, Mapping[Digest, Sequence[ReferrerReport]]]] = {}

    def __enter__(self) -> ImageWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.layers.close()
        self.sink.close()

    def named(self, names: Sequence[str]) -> set[Digest | None]:
        """Returns the digests that names point to at the destination, as far as it knows them. `names`: the names at the
        source, which are used if the user gave none."""
        own = self.names or distinct(map(self.target.destination_name, names))
        return {self.sink.tag_digest(name) for name in own}

    def referrers(self, source: Source, digest: Digest) -> Sequence[ReferrerReport]:
        """Returns the referrers of a manifest at a source. If a registry's list cannot be read, a notice says so, and
        there are none."""
        if isinstance(source, RemoteSource):
            try:
                found = indexes.referrer_reports(source.referrers(digest))
                if source.referrers_error is not None and not isinstance(source.referrers_error, NotFoundError):
                    self.report_referrers_error(source)
                return found
            except (TransportError, FormatError, LimitError) as error:
                text = f"{source.where}: whether anything speaks of {digest} is not known: {error.what}"
                self.task.notice("referrer", text)
                return ()
        return self._referrers_by_subject(source).get(digest, ())

    def report_referrers_error(self, source: RemoteSource) -> None:
        """Sends a notice if a registry did not return its list of referrers."""
        if (error := source.referrers_error) is not None:
            text = f"its list of referrers is not known: {error.what}; its fallback tag (sha256-HEX) is read instead"
            self.task.notice("referrer", f"{error.where}: {text}")

    def _referrers_by_subject(self, source: Source) -> Mapping[Digest, Sequence[ReferrerReport]]:
        """Returns all referrers in a source by the digest of their subject. A source is searched once."""
        if id(source) not in self._referrers:
            manifests = all_children(source, source.index) if source.index is not None else ()
            found: dict[Digest, list[ReferrerReport]] = {}
            for referrer in indexes.referrers(source, {listed.descriptor.digest for listed, _ in manifests}):
                found.setdefault(referrer.subject, []).append(referrer)
            self._referrers[id(source)] = source, found
        return self._referrers[id(source)][1]
