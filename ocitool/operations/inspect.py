"""`inspect`: reports what an image is, layer by layer; with `files` also what its layers hold, and the bytes of hidden
files."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, NamedTuple

from ocitool import limits, masking
from ocitool.digest import Digest
from ocitool.errors import CancelledError, LimitError, NotFoundError, OcitoolError, UnsupportedError, UsageError
from ocitool.images import platform_choice, select
from ocitool.images.image import Image, Layer, document_bytes
from ocitool.images.index_children import EntryKind, IndexChild, image_of_child, index_children, own_tags, stated_kind, tags_of
from ocitool.images.platforms import matches, parse_platform
from ocitool.images.select import Target
from ocitool.layers.entry import Kind
from ocitool.pipeline.session import Session
from ocitool.progress import Notice
from ocitool.spec.manifest import Index, Platform
from ocitool.task import Task
from ocitool.transports.opening import Opened

if TYPE_CHECKING:
    from ocitool.comparison.result import Failure, Notable
    from ocitool.comparison.rules import FailRule
    from ocitool.layers.index import LayerIndex
    from ocitool.operations.packages import InstalledPackages
    from ocitool.policy.documents import Policy
    from ocitool.trees.indexing import Indexer
    from ocitool.trees.waste import Waste

Part = Literal["manifest", "config", "index"]


class LayerFacts(NamedTuple):
    """Facts of one layer. `compression`: by its first bytes, None if the layer is missing. `uncompressed_size`, and
    `files`, the number of regular files: None if not known."""

    compression: str | None
    uncompressed_size: int | None
    files: int | None


class InspectedImage(NamedTuple):
    """An image and its facts. `layers`: facts of each of its layers. `waste`: hidden and largest files, `packages`: what is
    installed, `notable`: what a reviewer should see first; each None unless requested. `verified`: every layer was read and
    hashed."""

    image: Image
    layers: tuple[LayerFacts, ...]
    waste: "Waste | None"
    verified: bool
    packages: "InstalledPackages | None" = None
    notable: "tuple[Notable, ...] | None" = None


class InspectedEntry(NamedTuple):
    """One entry of an index. `present`: None in a registry, from which only inspected images are requested. `problem`: why
    the entry, or something below it, cannot be read; then digest and size may be None."""

    digest: Digest | None
    media_type: str
    size: int | None
    platform: Platform | None
    annotations: Mapping[str, str]
    tags: tuple[str, ...]
    kind: EntryKind
    present: bool | None
    problem: str | None


class Inspection(NamedTuple):
    """The result. `document`, `entries`: the index that the reference names, if it names one. `problems`: what could not be
    read; all else is in the result. `failures`: the rules of `--fail-on` that are met."""

    reference: str
    transport: str
    document: Index | None
    entries: tuple[InspectedEntry, ...]
    images: tuple[InspectedImage, ...]
    notices: tuple[Notice, ...]
    problems: tuple[OcitoolError, ...] = ()
    failures: "tuple[Failure, ...]" = ()


class _RepeatedConfigs:
    """Counts the bytes of configurations that several images share. A report prints the configuration of each image, so
    that a few kB of manifests could make gigabytes of output."""

    def __init__(self) -> None:
        self._seen: set[Digest] = set()
        self._bytes = 0

    def add(self, image: Image) -> None:
        """Counts the configuration of an image. Raises `LimitError` beyond `limits.REPEATED`."""
        if image.config.digest not in self._seen:
            self._seen.add(image.config.digest)
            return
        self._bytes += len(image.config.raw)
        if self._bytes > limits.REPEATED:
            what = f"images with the same configuration would repeat more than {limits.REPEATED} bytes of it"
            raise LimitError(what, image.where, hint="a tag or digest in the reference picks one image")


class _Problems:
    """Collects what could not be read, each problem once, and gives a notice for each."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self._found: dict[str, OcitoolError] = {}

    def add(self, error: OcitoolError) -> None:
        if self._found.setdefault(str(error), error) is error:
            self.task.notice("unreadable", str(error))

    def all(self) -> tuple[OcitoolError, ...]:
        return tuple(self._found.values())

    @contextmanager
    def tolerant(self, tolerated: bool) -> Iterator[None]:
        """Provides a context in which an error is collected instead of raised, if `tolerated`; but for `UsageError` and
        cancellation."""
        try:
            yield
        except (CancelledError, UsageError):
            raise
        except OcitoolError as error:
            if not tolerated:
                raise
            self.add(error)


def inspect(
    reference: str,
    session: Session,
    *,
    files: bool = False,
    packages: bool = False,
    top: int = 10,
    platform: str | None = None,
    all_platforms: bool = False,
    notable: bool = False,
    rules: "Sequence[FailRule]" = (),
    policy: "Policy | None" = None,
) -> Inspection:
    """Returns what the reference names. Opens no layer unless `files`, `packages`, `notable` or `rules` is set or the session
    verifies; otherwise only the first bytes of layers are read. `rules`: rules of `--fail-on` about what is notable;
    `policy`: what of it is accepted.

    An image that cannot be read is one of the `problems` if there are several; a single or selected one raises what reading
    raises."""
    notable = notable or bool(rules)
    deep = files or packages or notable or session.verify
    opened = session.open(reference, "layers" if deep else "documents" if all_platforms else "summary")
    source = opened.source
    groups = list(select.groups(opened))
    unreadable = select.unreadable(opened)
    several = len(groups) + len(unreadable) > 1
    problems = _Problems(session.task)
    for error in opened.problems:
        problems.add(error)
    for one in unreadable:
        with problems.tolerant(several):
            raise one.error(source.where)
    if not groups and not unreadable:
        raise NotFoundError("it holds no image", source.where)
    found: list[Target] = []
    for group in groups:
        with problems.tolerant(several):
            found.append(select.target(source, group))
    index, entries = _index(opened, found, several, problems)
    indexer = session.indexer() if deep else None
    repeats = _RepeatedConfigs()
    selection = _Selection(opened, platform, all_platforms, several, problems, session.task)
    images = []
    for target in found:
        for image in selection.images(target):
            repeats.add(image)
            with problems.tolerant(several or all_platforms):
                found_image = _inspected(image, indexer, files, packages, top)
                images.append(_with_notable(found_image, indexer, policy) if notable else found_image)
    if platform is not None and not images and not problems.all():
        raise NotFoundError(f"no image for {platform}", source.where)
    return Inspection(
        reference, source.transport.name, index, entries, tuple(images), tuple(session.task.notices), problems.all(),
        tuple(_failures(images, rules)),
    )  # fmt: skip


def _failures(images: Sequence[InspectedImage], rules: "Sequence[FailRule]") -> "Iterator[Failure]":
    if not rules:
        return
    from ocitool.comparison.rules import failures_alone

    for item in images:
        platform = str(item.image.platform) if len(images) > 1 else None
        yield from failures_alone(rules, item.notable or (), platform)


def _index(
    opened: Opened, found: Sequence[Target], several: bool, problems: _Problems
) -> tuple[Index | None, tuple[InspectedEntry, ...]]:
    """Returns the index that the reference names, with its entries: the index of the source if the reference names the
    whole source."""
    source = opened.source
    index: Index | None = None
    listed: tuple[IndexChild, ...] = ()
    if several and source.index is not None:
        index, listed = source.index, index_children(source, source.index)
    elif found and found[0].document is not None:
        index, listed = found[0].document, found[0].entries
    if index is None:
        return None, ()
    with problems.tolerant(several):  # indexes that are nested too deep
        for error in select.unreadable_below(source, index):
            problems.add(error)
    others = Counter(one.descriptor.media_type for one in listed if not source.remote and one.opaque)
    for media_type, count in others.items():
        entries = "1 entry is" if count == 1 else f"{count} entries are"
        text = f"{source.where}: {entries} neither a manifest nor an index: {masking.stated(media_type)}"
        problems.task.notice("other", text)
    shown = []
    for one in listed:
        descriptor, problem = one.descriptor, None if source.remote else one.problem
        if problem is not None:
            problems.add(problem)
        kind, present = (one.stated_kind, None) if source.remote else (one.kind, one.present)
        shown.append(
            InspectedEntry(
                descriptor.digest, descriptor.media_type, descriptor.size, descriptor.platform, descriptor.annotations,
                own_tags(descriptor) or one.tags, kind, present, problem.what if problem is not None else None,
            )
        )  # fmt: skip
    for bad in index.invalid:
        tags = tags_of(source, bad)
        entry = InspectedEntry(
            bad.digest, bad.media_type, None, bad.platform, bad.annotations, tags, stated_kind(bad), None, bad.what
        )  # fmt: skip
        shown.insert(bad.position if index is source.index else len(shown), entry)
    return index, tuple(shown)


class _Selection(NamedTuple):
    """Decides which images of the targets are inspected."""

    opened: Opened
    platform: str | None
    all_platforms: bool
    several: bool
    problems: _Problems
    task: Task

    def images(self, target: Target) -> Iterator[Image]:
        """Yields the images of a target: all, or that of the platform."""
        source, platform = self.opened.source, self.platform
        if target.image is not None:
            if self.several and platform is not None and not matches(parse_platform(platform), target.image.platform):
                return
            platform_choice.check_platform(self.opened, target.image, platform)
            yield target.image
        elif self.all_platforms:
            for _, entry in platform_choice.platforms(source, target):
                if not entry.present:
                    what = entry.descriptor.platform or ", ".join((*entry.tags, str(entry.descriptor.digest)))
                    self.task.notice("missing", f"the manifest for {what} is not here")
                    continue
                with self.problems.tolerant(True):
                    yield image_of_child(source, entry, entry.tags)
        else:
            with self.problems.tolerant(self.several):
                yield from self._one(target)

    def _one(self, target: Target) -> Iterator[Image]:
        try:
            yield platform_choice.for_platform(self.opened, target, self.platform)
        except OcitoolError as error:
            if error is target.unread:
                return  # one of the problems already
            if not isinstance(error, NotFoundError | UnsupportedError):
                raise
            # The index itself is shown anyway; a missing image is an error only if it was selected, and nothing else is shown.
            if not self.several and (self.platform is not None or not target.entries or target.opaque):
                raise
            text = error.what
            if not any(entry.kind == "image" for entry in target.entries):
                if target.document is not None and target.document is not self.opened.source.index:
                    gone = any(entry.stated_kind == "index" and not entry.present for entry in target.entries)
                    what = "lists no image that is here" if gone else "holds no image"
                    self.task.notice("other", f"{self.opened.source.where}: index {target.document.digest} {what}")
                return
            if target.document is not self.opened.source.index:
                text += "; --platform picks another, --all-platforms shows all"
            self.task.notice("platform", text)


def _with_notable(found: InspectedImage, indexer: "Indexer | None", policy: "Policy | None") -> InspectedImage:
    """Returns the image with what is notable about it, if it is one."""
    if indexer is None or not found.image.is_image:
        return found
    from ocitool.comparison.alone import notable_of_image
    from ocitool.comparison.policies import with_acceptances

    return found._replace(notable=with_acceptances(notable_of_image(found.image, indexer), policy))


def _inspected(image: Image, indexer: "Indexer | None", files: bool, packages: bool, top: int) -> InspectedImage:
    if indexer is None or not image.is_image:
        facts = []
        for layer in image.layers:
            described = image.described is not None
            facts.append(LayerFacts(layer.compression, None, None) if described else _facts_by_first_bytes(layer))
        return InspectedImage(image, tuple(facts), None, False)
    indexes = indexer.indexes(image)
    facts = [
        LayerFacts(
            layer.compression,
            index.size if index.size is not None else layer.size,
            index.kinds.count(Kind.FILE) if files else None,
        )
        for layer, index in zip(image.layers, indexes, strict=True)
    ]
    listed = None
    if packages:
        from ocitool.operations.packages import packages_of
        from ocitool.trees.tree import Tree

        listed = packages_of(image, Tree(indexes), indexer)
    if not files:
        return InspectedImage(image, tuple(facts), None, indexer.verify, listed)
    from ocitool.trees.waste import waste

    _tell_volume_content(image, indexes, indexer.task)
    found = waste(indexes, lambda number, index, rows: indexer.with_hashes(image.layers[number], index, rows), top)
    return InspectedImage(image, tuple(facts), found, indexer.verify, listed)


def _tell_volume_content(image: Image, indexes: Sequence["LayerIndex"], task: Task) -> None:
    """Adds a notice for each layer that writes below a volume which was declared before."""
    if not image.config.keys("Volumes"):
        return
    from ocitool.images.declared_volumes import declared_volumes
    from ocitool.trees.volume_content import volume_content

    volumes = declared_volumes(image.config, len(image.layers))
    for number, index in enumerate(indexes):
        for content in volume_content(index, number, volumes):
            task.notice("volume-content", f"{image.where}: layer {number} {content}")


def _facts_by_first_bytes(layer: Layer) -> LayerFacts:
    """Returns the facts that follow from the media type and the first bytes of a layer."""
    kind, codec = layer.type, layer.compression
    is_content = kind.plain or kind.content == "unknown"  # an unknown type without compression is taken to be uncompressed
    plain = layer.size if codec == "none" and is_content and layer.blob is not None else None
    return LayerFacts(codec, plain, None)


def digest(reference: str, session: Session, platform: str | None = None) -> Digest:
    """Returns the digest of the manifest or index that the reference names; with `platform`, that of the platform's
    manifest. In a registry this costs one request."""
    if platform is not None:
        return raw(reference, "manifest", session, platform)[1]
    opened = session.open(reference, "documents")
    target = select.sole_target(opened)
    if target.top is not None:
        return target.top.digest
    if target.image is None:
        platforms = ", ".join(masking.stated(have) for have, _ in platform_choice.platforms(opened.source, target))
        raise NotFoundError(
            "the name stands for manifests of several platforms, and for no index of them", opened.source.where,
            hint=f"it holds {platforms}; --platform picks one",
        )  # fmt: skip
    return raw(reference, "manifest", session)[1]


def raw(reference: str, part: Part, session: Session, platform: str | None = None) -> tuple[bytes, Digest]:
    """Returns the exact bytes of a document, and its digest. Raises `NotFoundError` if the image does not have it."""
    opened = session.open(reference, "documents")
    target = select.sole_target(opened)
    if part == "index":
        if target.document is None:
            raise NotFoundError("the reference names an image, not an index", opened.source.where)
        return target.document.raw, target.document.digest
    if target.image is not None:
        image = target.image
    else:
        image = platform_choice.for_platform(opened, target, platform)
    if image.manifest is None:
        if part == "config":
            return image.config.raw, image.config.digest
        raise NotFoundError(
            "a docker archive has no manifest", opened.source.where, hint="--raw config gives the configuration"
        )
    if part == "config":
        descriptor = image.manifest.config
        return document_bytes(opened.source, descriptor, "config"), descriptor.digest
    assert image.digest is not None
    return image.manifest.raw, image.digest
