"""Makes a collection from references: finds the sources, opens them one after the other (several at a time in registries),
and reduces their images to facts. No layer is read, except one without digest and diff_id. An image that cannot be read
becomes a problem, and does not stop the others.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from threading import Lock

from ocitool import reference
from ocitool.blob import Blob, BytesBlob, FileBlob, missing_blob
from ocitool.dedupe import discovery, engine_images
from ocitool.dedupe.collection import (
    BlobLocation,
    Collection,
    ImageEntry,
    ImageRef,
    ImageSource,
    Kind,
    PlatformImage,
    StoredBlob,
    add_copy,
    location_of,
)
from ocitool.dedupe.discovery import RepositoryFilter
from ocitool.dedupe.group_parts import GroupParts, is_embedded, layer_key
from ocitool.dedupe.reference_names import ReferenceNames
from ocitool.dedupe.seen_layers import SeenBlob, SeenLayers
from ocitool.errors import CancelledError, FormatError, NotAnImageError, NotFoundError, OcitoolError, UsageError
from ocitool.globs import nothing_matches, refuse_unmatched
from ocitool.images import select
from ocitool.images.image import Image, Layer, from_manifest, from_record
from ocitool.images.select import Group, Target
from ocitool.operations import tags
from ocitool.pipeline.layer_identity import instruction, with_diff_ids
from ocitool.pipeline.problems import Problem, Tolerant
from ocitool.pipeline.session import Session
from ocitool.progress import Counter
from ocitool.spec.manifest import BASE_DIGEST, BASE_NAME, Descriptor, Manifest
from ocitool.transports import layout
from ocitool.transports.archive import Want
from ocitool.transports.opening import Opened
from ocitool.transports.source import Source
from ocitool.trees.indexing import readable_blob, refuse_other_than_tar


def take_inventory(
    references: Sequence[str], choice: RepositoryFilter, session: Session, want: Want, strict: bool
) -> tuple[Collection, list[Problem]]:
    """Returns the collection of these references, and the problems. `strict`: raise the first problem. Raises `UsageError`
    for globs that apply to none of the references."""
    if choice.repositories and not any(map(discovery.is_registry, references)):
        raise UsageError("--repos needs a registry", ", ".join(references), hint="docker://HOST --repos 'team/*'")
    if choice.tags and not any(map(discovery.is_fanned_out, references)):
        raise UsageError("--tags is for a repository that is named without a tag", ", ".join(references))
    inventory = _Inventory(session, want, strict)
    for name in references:
        with inventory.tolerant(name):
            inventory.add_reference(name, choice)
    inventory.check_globs(choice)
    return inventory.finish()


class _Inventory:
    """The collection in progress."""

    def __init__(self, session: Session, want: Want, strict: bool) -> None:
        self._session = session
        self._want = want
        self._strict = strict
        self._collection = Collection()
        self._problems: list[Problem] = []
        self._adding = Lock()
        self._seen: set[tuple[int, int]] = set()
        self._noticed = 0
        self._order = 0
        self._again: list[str] = []
        self._repositories: set[str] = set()
        self._tags: set[str] = set()
        self._access = session.asked().access.absolute()

    def check_globs(self, choice: RepositoryFilter) -> None:
        """Raises `NothingMatches` for globs that selected nothing, unless a source could not be read, which may be the
        reason."""
        if self._problems:
            return
        for option, globs, names in (
            ("--repos", choice.repositories, self._repositories), ("--tags", choice.tags, self._tags),
        ):  # fmt: skip
            missed, task = tags.unmatched_globs(globs, sorted(names)), self._session.task
            refuse_unmatched(missed, option, {"--repos": "repository"}.get(option, "tag"), task, allowed=choice.allow_no_match)

    def finish(self) -> tuple[Collection, list[Problem]]:
        """Returns the collection and the problems; adds problems for missing layers, and notices."""
        self._collection = self._collection.ordered()
        lacking: dict[str, list[str]] = {}
        for blob in self._collection.layers():
            if not blob.present and blob.codec != "foreign":
                for number in blob.users:
                    lacking.setdefault(self._collection.members[number].reference, []).append(blob.key)
        for where, keys in lacking.items():
            more = f" and {len(keys) - 1:,} more" if len(keys) > 1 else ""
            self._problem(Problem(where, missing_blob("layer", f"{keys[0]}{more}", where)))
        self._notice_problems()
        again = list(self._twice())
        for text in again[:_NAMED]:
            self._session.task.notice("twice", f"{text}, and counted once")
        if len(again) > _NAMED:
            text = f"{len(again) - _NAMED:,} more images are listed already, and counted once"
            self._session.task.notice("twice", text)
        return self._collection, self._problems

    def _twice(self) -> Iterator[str]:
        """Yields a sentence for each image that is listed more than once, but for several tags of a manifest in a registry,
        which are normal."""
        yield from self._again
        for member in self._collection.members:
            for named in list(member.places.values())[1:]:
                if named.source.path is not None:
                    yield f"{named.reference} is {member.reference}, which is listed already"

    def tolerant(self, where: str) -> Tolerant:
        """Returns a context that turns an error into a problem of this location."""
        return Tolerant(where, self._problem)

    def _problem(self, problem: Problem) -> None:
        if self._strict:
            raise problem.error
        with self._adding:
            self._problems.append(problem)
        self._notice_problems()

    def _notice_problems(self) -> None:
        """Adds a notice for each new problem. A single problem without any image gets none, since its error will be
        raised."""
        with self._adding:
            before = self._noticed
            if self._collection.members or len(self._problems) > 1:
                self._noticed = len(self._problems)
            new = self._problems[before : self._noticed]
        for problem in new:  # without the lock, since the terminal may be slow
            self._session.task.notice("unreadable", str(problem.error))

    # References

    def add_reference(self, name: str, choice: RepositoryFilter) -> None:
        """Adds what a reference names: images of a registry, everything below a directory, or one source."""
        if reference.host_of(name) is not None:
            self._registry(name, choice)
            return
        if name.startswith(str(reference.ENGINE.prefix)):
            self._engine(name)
            return
        found = reference.parse(name)
        if found.transport is None and os.path.isdir(found.details) and not layout.looks_like(found.details):
            self._directory(found.details)
        elif not self._local(name):
            raise NotFoundError("it holds no image", name)

    def _registry(self, name: str, choice: RepositoryFilter) -> None:
        wanted: dict[str, None] = {}
        before = len(self._problems)
        for where in discovery.repositories(name, choice, self._session):
            self._repositories.add(where.path)
            with self.tolerant(str(where)):
                found = discovery.images_of(where, choice, discovery.is_registry(name), self._session)
                wanted.update(dict.fromkeys(found))
                self._tags.update(text.rpartition(":")[2] for text in found)
        if not wanted and choice.tags and len(self._problems) == before and not choice.allow_no_match:
            raise nothing_matches("tag", choice.tags, name)
        progress = Counter("images", len(wanted), self._session.task)
        first = self._order
        self._order += len(wanted)

        def look(numbered: tuple[int, str]) -> None:
            order, text = numbered
            with self.tolerant(text):
                self._source(text, self._session.open(text, "documents"), ImageSource(reference.REGISTRY, None, None), order)
            progress.one_more()

        self._session.task.map(look, list(enumerate(wanted, first)))
        self._problems[before:] = sorted(self._problems[before:], key=lambda problem: problem.where)

    def _engine(self, name: str) -> None:
        """Adds an image of an engine, or all that it has."""
        for text, opened in engine_images.opened_images(name, self._session, self._want, self.tolerant):
            self._order += 1
            with self.tolerant(text):
                self._source(text, opened, ImageSource(reference.ENGINE, None, None), self._order)

    def _directory(self, top: str) -> None:
        before = len(self._problems)
        found, passed = discovery.find_images(top, self.tolerant)
        closed = len(self._problems) > before
        images = len(found)
        progress = Counter("archives", len(found), self._session.task)
        for path, sure in found:
            with self.tolerant(path):
                try:
                    holds = self._local(path)
                except FormatError as error:
                    if sure and not isinstance(error, NotAnImageError):
                        raise
                    holds = False
                images, passed = images - (not holds), passed + (not holds)
            progress.one_more()
        if passed:
            text = f"{top}: {passed:,} {'file' if passed == 1 else 'files'} without an image passed over"
            self._session.task.notice("passed-over", text)
        if not images and not closed:  # an unreadable part may have images
            raise NotFoundError("the directory holds no image", top)

    def _local(self, name: str) -> bool:
        """Adds the images of a source on this machine. Returns whether it has any."""
        opened = self._session.open(name, self._want)
        if self._want == "documents" and name != "-" and _unread(opened.source):
            opened = self._session.open(name, "layers")
        self._order += 1
        if name == "-":
            return self._source(name, opened, ImageSource(opened.source.transport, None, None), self._order)
        path = opened.source.where
        status = os.stat(path)
        if opened.selector is None:
            if (status.st_dev, status.st_ino) in self._seen:
                linked = status.st_nlink > 1 and stat.S_ISREG(status.st_mode) and not os.path.islink(path)
                self._again.append(f"{path} is another name of a file that is listed already (a hard link)" if linked else
                                   f"{path} is listed twice")  # fmt: skip
                return True
            self._seen.add((status.st_dev, status.st_ino))
        is_file = not stat.S_ISDIR(status.st_mode)
        site = ImageSource(opened.source.transport, path, status.st_size if is_file else None, is_file and status.st_nlink > 1)
        return self._source(name, opened, site, self._order)

    # The content of a source

    def _source(self, name: str, opened: Opened, site: ImageSource, order: int) -> bool:
        """Adds the images of an open source. Returns whether it has any."""
        names = ReferenceNames(name, opened)
        if site.transport.store:
            opened = opened._replace(source=SeenLayers(opened.source, self._collection, site))
        progress = Counter("images", names.expected if names.expected >= _MANY else 0, self._session.task)
        count = 0
        for position, group in enumerate(select.groups(opened)):
            self._session.task.check()
            count += 1
            progress.one_more()
            named = ImageRef((order, position), names.of(group), group.tags, site, names.only_one)
            problems = len(self._problems)
            with self.tolerant(named.reference):
                self._group(named, opened.source, group)
            if len(self._problems) > problems:
                self._collection.partial.add(site.path)
        for error in opened.problems:
            with self.tolerant(name):
                raise error
            self._collection.partial.add(site.path)
        for invalid in select.unreadable(opened):
            count += 1
            with self.tolerant(f"{name}:@{invalid.position}"):
                raise invalid.error(opened.source.where)
            self._collection.partial.add(site.path)
        if opened.selector is not None:
            self._collection.partial.add(site.path)
        if count and site.path is not None:
            self._collection.sources[site] = None
        return count > 0

    def _group(self, named: ImageRef, source: Source, group: Group) -> None:
        """Adds an image or index, or another location of one that was added before."""
        label = named.reference
        found = select.target(source, group)
        if found.image is None and found.document is source.index and not any(one.present for one in found.entries):
            raise missing_blob("manifest", found.entries[0].descriptor.digest, label)
        failed: list[OcitoolError] = []
        images = list(self._images(source, found, label, failed))
        parts = GroupParts(source, found, group, images)
        for error in parts.damaged or failed:
            with self.tolerant(label):
                raise error
        with self._adding:  # nothing in it sends a request or reads a document
            key = parts.key(images)
            known = self._collection.find(key)
            if known is None:
                self._collection.add(key, self._member(named, group, found, images, parts))
                return
            if known.kind == "index":  # each location may have other images of it
                self._collection.extend(key, self._member(named, group, found, images, parts))
            if known.places.setdefault(label, named) is not named:
                self._again.append(f"{label} is listed twice")
            for image in images:  # this source may have blobs that the other one lacks
                for _ in self._layers(image, named):
                    pass

    def _images(self, source: Source, found: Target, label: str, failed: list[OcitoolError]) -> Iterator[Image]:
        """Yields the images of a group; appends the errors of those that cannot be read to `failed`."""
        if found.image is not None:
            yield self._identified(found.image, label)
            return
        absent = 0
        for entry in found.entries:
            if entry.kind == "image" and isinstance(entry.document, Manifest):
                try:
                    image = from_manifest(source, entry.descriptor, entry.document, ())
                except CancelledError:
                    raise
                except OcitoolError as error:
                    failed.append(error)
                else:
                    yield image
            elif not entry.present:
                absent += 1
        if absent:
            text = f"{label}: {absent:,} of its {len(found.entries):,} manifests are not here and not counted"
            self._session.task.notice("missing", text)

    def _identified(self, image: Image, label: str) -> Image:
        """Returns the image with computed diff_ids for layers without digest and diff_id. From standard input their bytes
        are only available if layers are read."""
        unknown = [layer for layer in image.layers if layer.diff_id is None and layer.digest is None]
        if unknown and (self._want == "layers" or all(isinstance(layer.blob, FileBlob) for layer in unknown)):
            with self.tolerant(label):
                return with_diff_ids((image,), self._session.indexer())[0]
        return image

    def _member(self, place: ImageRef, group: Group, found: Target, images: Sequence[Image], parts: GroupParts) -> ImageEntry:
        collection = self._collection
        named: list[StoredBlob] = []
        stacks = []
        image_id: str | None = None
        layers = 0
        for image in images:
            manifest = image.manifest
            if manifest is not None and image.digest is not None:
                named.append(collection.blob(str(image.digest), image.digest, len(manifest.raw), len(manifest.raw)))
                digest = manifest.config.digest
                named.append(collection.blob(str(digest), digest, manifest.config.size, parts.kept[digest]))
                image_id = named[-1].key if image.image_id == named[-1].key else image.image_id
            else:
                # A configuration that is made of an engine's answers is none that the engine stores.
                size = len(image.config.raw) if image.described is None else 0
                key = str(image.config.digest) if image.described is None else image.image_id
                named.append(collection.blob(key, None if image.described else image.config.digest, size, size))
                image_id = image.image_id
            stored = tuple(self._layers(image, place))
            layers += len(stored)
            named += stored
            if image.is_image:
                stacks.append(_platform_image(image, stored, collection))
        named += [self._blob(one, blob) for one, blob in parts.rest(images)]
        own = {blob.key for blob in named} if parts.held else set()
        held = [self._blob(one, blob) for one, blob in parts.held]
        kind: Kind = "index" if found.document is not None else "image"
        if not stacks and (images or all(entry.opaque for entry in found.entries)):
            kind = "artifact"
        return ImageEntry(
            len(collection.members), {place.reference: place}, kind,
            group.entries[0].descriptor.digest if len(group.entries) == 1 else None,
            image_id if len(images) == 1 and stacks else None,
            tuple(stacks), layers, tuple(named), tuple(blob for blob in held if blob.key not in own),
        )  # fmt: skip

    def _layers(self, image: Image, place: ImageRef) -> Iterator[StoredBlob]:
        for layer in image.layers:
            blob, kept = layer.blob, layer.size if layer.blob is not None else None
            if isinstance(blob, BytesBlob) and image.manifest and is_embedded(image.manifest.layers[layer.number], blob):
                kept = 0
            stored = self._collection.blob(layer_key(layer, place.reference), layer.digest, layer.size, kept)
            if stored.diff_id is None and layer.diff_id is not None:
                stored.diff_id = str(layer.diff_id)
            if stored.created_by is None:
                stored.created_by = layer.created_by
            if not stored.is_layer:
                stored.is_layer = True
                stored.codec = "foreign" if blob is None and image.is_foreign(layer) else layer.compression
            if isinstance(blob, FileBlob):
                stored.seen = place.source
            if self._want == "layers" and blob is not None and not isinstance(blob, SeenBlob):
                if stored.problem is not None or (stored.place is None and stored.blob is None):
                    self._locate(stored, image, layer, blob)
                else:
                    add_copy(stored, blob, place.reference)
            yield stored

    def _blob(self, one: Descriptor, blob: Blob | None) -> StoredBlob:
        kept = None if blob is None else 0 if is_embedded(one, blob) else one.size
        return self._collection.blob(str(one.digest), one.digest, one.size, kept)

    def _locate(self, stored: StoredBlob, image: Image, layer: Layer, blob: Blob) -> None:
        """Records the location of a layer, and the error if it cannot be unpacked."""
        stored.problem = None
        try:
            if image.manifest is not None or not blob.remote:  # else an engine describes it, and there are no bytes to look at
                refuse_other_than_tar(layer, stated=image.manifest is not None)
                readable_blob(layer)
        except OcitoolError as error:
            stored.problem = error
        place = location_of(blob)
        if blob.remote:
            urls = image.manifest.layers[layer.number].urls if image.manifest is not None else ()
            place = BlobLocation("", 0, None, reference.at_registry(image.where), self._access, urls)
        stored.place = place
        stored.blob = blob if place is None else None


def _unread(source: Source) -> bool:
    """Returns whether the source has layers without digest and diff_id whose bytes were not kept when it was opened."""
    images = (from_record(source, one) for one in source.records if not all(isinstance(b, FileBlob) for b in one.layers))
    return any(layer.diff_id is None and layer.digest is None for image in images for layer in image.layers)


def _platform_image(image: Image, layers: tuple[StoredBlob, ...], collection: Collection) -> PlatformImage:
    annotations: Mapping[str, str] = image.manifest.annotations if image.manifest is not None else {}
    base = collection.text(annotations.get(BASE_NAME)), collection.text(annotations.get(BASE_DIGEST))
    pairs = list(zip(layers, image.layers, strict=True))
    instructions = tuple(_either(one.created_by, layer.created_by) for one, layer in pairs)
    platform = collection.text(str(image.platform)) or ""
    diff_ids = tuple(_either(one.diff_id, str(layer.diff_id) if layer.diff_id else None) for one, layer in pairs)
    whole = image.aligned and bool(image.config.diff_ids)
    lines = tuple(instruction(entry.created_by) for entry in image.config.history)
    made = hash(lines) if lines and all(lines) else None
    return PlatformImage(platform, layers, diff_ids, instructions, image.config.created, base, whole, made)


def _either(known: str | None, stated: str | None) -> str | None:
    """Returns what is stated; if it is known, the same string, so that it is in memory once."""
    return known if known == stated else stated


_NAMED = 10
"""Most images that notices name as listed twice."""

_MANY = 500
"""Images in one source from which on progress is reported."""
