"""The entries of an index: what each is, and which names it has.

`index_children` gives the entries of one index, `all_children` those of nested indexes too. At a registry every document that
is read is a request, so the document of an entry is read when it is first needed, and once.
"""

from collections.abc import Iterator
from typing import Literal, NamedTuple

from ocitool import limits, masking
from ocitool.blob import missing_blob
from ocitool.digest import Digest
from ocitool.errors import CancelledError, LimitError, NotFoundError, OcitoolError, UnsupportedError
from ocitool.images.image import Image, from_manifest, read_entry
from ocitool.spec import mediatypes
from ocitool.spec.manifest import ATTESTATION_TYPE, CONTAINERD_NAME, REF_NAME, Descriptor, Index, InvalidDescriptor, Manifest
from ocitool.transports.source import NO_NAMES, ArchiveNames, Source

EntryKind = Literal["image", "attestation", "artifact", "index"]


class _ProbeResult(NamedTuple):
    """The result of reading an entry: a document, or the reason for its absence."""

    document: Manifest | Index | None
    present: bool
    problem: OcitoolError | None


class _Probe:
    """Reads a document once, however many entries lead to it.

    No lock is held meanwhile, since reading may be a request. Two threads at the same moment may both read it, with one
    result.
    """

    def __init__(self, source: Source, descriptor: Descriptor) -> None:
        self._source = source
        self._descriptor = descriptor
        self._found: _ProbeResult | None = None

    @property
    def result(self) -> _ProbeResult:
        if self._found is None:
            self._found = self._read()
        return self._found

    def _read(self) -> _ProbeResult:
        try:
            return _ProbeResult(read_entry(self._source, self._descriptor), True, None)
        except CancelledError:
            raise
        except NotFoundError:
            return _ProbeResult(None, False, None)
        except OcitoolError as error:
            return _ProbeResult(None, True, error)


class IndexChild(NamedTuple):
    """An entry of an index. Its document is read when one of the properties needs it."""

    descriptor: Descriptor
    tags: tuple[str, ...]
    probe: _Probe

    @property
    def document(self) -> Manifest | Index | None:
        """The manifest or index; None if it is missing, cannot be read (see `problem`), or is `opaque`."""
        return self.probe.result.document

    @property
    def problem(self) -> OcitoolError | None:
        return self.probe.result.problem

    @property
    def present(self) -> bool:
        return self.probe.result.present

    @property
    def opaque(self) -> bool:
        """Whether the content is present, but neither a manifest nor an index: it can be listed and copied, not
        interpreted."""
        return self.present and self.document is None and self.problem is None

    @property
    def nested(self) -> Index | None:
        """The document if it is an index. Not read if the media type says that it is a manifest."""
        if self.descriptor.media_type in mediatypes.MANIFESTS:
            return None
        return self.document if isinstance(self.document, Index) else None

    @property
    def stated_kind(self) -> EntryKind:
        """The kind by the descriptor alone."""
        return stated_kind(self.descriptor)

    @property
    def kind(self) -> EntryKind:
        if self.stated_kind in ("attestation", "index"):
            return self.stated_kind
        document = self.document
        if document is None:
            return self.stated_kind
        if isinstance(document, Index):
            return "index"
        return "image" if document.is_image else "artifact"


def stated_kind(descriptor: Descriptor | InvalidDescriptor) -> EntryKind:
    """Returns the kind that a descriptor states."""
    if descriptor.annotations.get(ATTESTATION_TYPE) == "attestation-manifest":
        return "attestation"
    if descriptor.media_type in mediatypes.INDEXES:
        return "index"
    if descriptor.media_type and descriptor.media_type not in mediatypes.MANIFESTS:
        return "artifact"
    return "artifact" if descriptor.fields.get("artifactType") else "image"


def index_children(source: Source, index: Index) -> tuple[IndexChild, ...]:
    """Returns the entries of an index; nothing is read. Raises `LimitError`."""
    if len(index.manifests) > limits.INDEX_MANIFESTS:
        raise LimitError(f"an index of more than {limits.INDEX_MANIFESTS} manifests", source.where)
    looks: dict[tuple[Digest, str, int], _Probe] = {}
    found = []
    for descriptor in index.manifests:
        stated = descriptor.media_type
        known = not stated or stated in mediatypes.DOCUMENTS or source.remote
        key = (descriptor.digest, stated if known else "other", descriptor.size)  # unknown media types: the content decides
        look = looks.setdefault(key, _Probe(source, descriptor))  # many descriptors of one document: it is read once
        found.append(IndexChild(descriptor, tags_of(source, descriptor), look))
    return tuple(found)


def index_child(source: Source, descriptor: Descriptor) -> IndexChild:
    return IndexChild(descriptor, tags_of(source, descriptor), _Probe(source, descriptor))


def tags_of(source: Source, descriptor: Descriptor | InvalidDescriptor) -> tuple[str, ...]:
    """Returns the names of a manifest. Names from outside the index (an archive's manifest.json) are one shared tuple
    for all its entries."""
    outside = source.names.get(descriptor.digest, NO_NAMES) if descriptor.digest is not None else NO_NAMES
    own = tuple(name for name in own_tags(descriptor) if name not in outside.spellings)
    return (*outside, *own) if own else outside


def own_tags(descriptor: Descriptor | InvalidDescriptor) -> tuple[str, ...]:
    """Returns the names that an entry states in its annotations, at most two."""
    annotations = descriptor.annotations
    found = [name for key in (CONTAINERD_NAME, REF_NAME) if (name := annotations.get(key))]
    # A hybrid archive's ref.name is often the bare tag of its full name.
    return ArchiveNames.of(found) if len(found) > 1 else tuple(found)


def all_children(source: Source, index: Index) -> Iterator[tuple[IndexChild, int]]:
    """Yields all entries that can be reached from an index, each digest once, with their depth. Cycles are followed
    once. Raises `LimitError`."""
    seen: set[Digest] = set()
    stack = [(entry, 0) for entry in reversed(index_children(source, index))]
    while stack:
        entry, depth = stack.pop()
        again = entry.descriptor.digest in seen
        if again and depth:
            continue
        seen.add(entry.descriptor.digest)
        if len(seen) > limits.INDEX_MANIFESTS:
            raise LimitError(f"more than {limits.INDEX_MANIFESTS} manifests", source.where)
        yield entry, depth
        below = entry.nested if not again else None  # an index that is listed many times is read once
        if below is not None:
            if depth >= limits.INDEX_DEPTH:
                raise LimitError(f"indexes nested more than {limits.INDEX_DEPTH} deep", source.where)
            stack += [(child, depth + 1) for child in reversed(index_children(source, below))]


def image_of_child(source: Source, entry: IndexChild, tags: tuple[str, ...] = ()) -> Image:
    """Returns the image of an entry. Raises `NotFoundError` if its manifest is missing, and what reading it raises."""
    if entry.problem is not None:
        raise entry.problem
    if entry.opaque:
        raise UnsupportedError(f"{masking.stated(entry.descriptor.media_type)}, where an image is needed", source.where)
    if not isinstance(entry.document, Manifest):
        which = f"{entry.descriptor.digest} for {entry.descriptor.platform or 'its platform'}"
        raise missing_blob("manifest", which, source.where)
    return from_manifest(source, entry.descriptor, entry.document, entry.tags or tags)
