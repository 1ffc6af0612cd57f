"""An open image: its documents, its layers, and the files of its merged file system."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Protocol

from ocitool.api.arguments import Reference
from ocitool.api.running import Cancellation, RegistryOptions, open_session, own_errors
from ocitool.errors import UsageError
from ocitool.images import platform_choice, select
from ocitool.images.image import Image, Layer
from ocitool.operations import listing
from ocitool.operations.listing import File
from ocitool.progress import Notice, Progress
from ocitool.transports.engine import EngineOptions
from ocitool.trees.nodes import Directory
from ocitool.trees.tree import Tree

if TYPE_CHECKING:
    from ocitool.digest import Digest
    from ocitool.pipeline.session import Session
    from ocitool.spec.manifest import Config, Manifest, Platform
    from ocitool.trees.indexing import Indexer

ImagePath = str | bytes
"""A path in an image, with a leading slash or without."""


class ImageInfo(Protocol):
    """What an image states of itself: an `Image`, or an image in a result.

    `digest`: the digest of the manifest, None for an image of a docker archive, which has no manifest. `image_id`: the
    digest of the configuration, which is the id in engines. `tags`: its names in the source. `layers`: the lowest first, as
    the image states them. `size`: stored bytes of all layers."""

    @property
    def tags(self) -> tuple[str, ...]: ...
    @property
    def digest(self) -> Digest | None: ...
    @property
    def image_id(self) -> str: ...
    @property
    def media_type(self) -> str: ...
    @property
    def platform(self) -> Platform: ...
    @property
    def manifest(self) -> Manifest | None: ...
    @property
    def config(self) -> Config: ...
    @property
    def layers(self) -> tuple[Layer, ...]: ...
    @property
    def size(self) -> int: ...


def open(
    reference: Reference,
    *,
    platform: str | None = None,
    verify: bool = False,
    no_cache: bool = False,
    jobs: int = 4,
    registry: RegistryOptions | None = None,
    engine: EngineOptions | None = None,
    progress: Progress | None = None,
    cancellation: Cancellation | None = None,
) -> OpenImage:
    """Opens the one image that a reference names; if that is an index, its image for `platform` (default: the host's).

    Its documents are read now, a layer when a file in it is needed. Raises `UsageError`, `NotFoundError`, and what reading
    raises. The image is closed by `with`, by `close()`, or when nothing refers to it any more."""
    with ExitStack() as stack:
        session = stack.enter_context(
            open_session(verify=verify, no_cache=no_cache, jobs=jobs, registry=registry, engine=engine,
                         platform=platform, progress=progress, cancellation=cancellation)
        )  # fmt: skip
        opened = session.open(os.fspath(reference), "layers")
        target = select.sole_target(opened)
        image = platform_choice.image_of(opened, target, platform)
        documents = {"config": image.config.raw}
        if image.manifest is not None:
            documents["manifest"] = image.manifest.raw
        if target.document is not None:
            documents["index"] = target.document.raw
        return OpenImage(os.fspath(reference), image, documents, session, stack.pop_all())


class OpenImage:
    """An image that `open` opened: `ocitool.Image`. It is a context manager that closes the image.

    It keeps the files of its layers open, and has threads after layers were read. They are released when it is closed, or
    when nothing refers to it any more. After that its facts are still available, but no file can be read. Several threads
    may read from one image. After an interruption by Ctrl-C or `Cancellation` it cannot be read any more: open it again.
    """

    def __init__(
        self, reference: str, image: Image, documents: Mapping[str, bytes], session: Session, resources: ExitStack
    ) -> None:
        self._reference = reference
        self._image = image
        self._stated = _without_blobs(image)
        """The image without blobs: what callers get must not keep files open."""
        self._documents = MappingProxyType(dict(documents))
        self._resources = resources
        self._open_session: Session | None = session
        self._indexer: Indexer | None = session.indexer()
        self._tree: Tree | None = None

    def __enter__(self) -> OpenImage:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<ocitool.Image {self._reference} {self.digest or self.image_id}>"

    def close(self) -> None:
        """Releases files and threads. Does nothing if the image is closed already."""
        self._image = self._stated
        self._open_session = self._indexer = self._tree = None
        self._resources.close()

    @property
    def closed(self) -> bool:
        """Whether the image is closed."""
        return self._open_session is None

    @property
    def reference(self) -> str:
        """The reference that it was opened by."""
        return self._reference

    @property
    def tags(self) -> tuple[str, ...]:
        """Its names in the source."""
        return self._image.tags

    @property
    def digest(self) -> Digest | None:
        """The digest of the manifest. None for an image of a docker archive, which has no manifest."""
        return self._image.digest

    @property
    def image_id(self) -> str:
        """The digest of its configuration, which is its id in engines. An archive of Docker's first format has other
        ids."""
        return self._image.image_id

    @property
    def media_type(self) -> str:
        """The media type of the manifest."""
        return self._image.media_type

    @property
    def platform(self) -> Platform:
        """The platform that its configuration and its entry in an index state."""
        return self._image.platform

    @property
    def manifest(self) -> Manifest | None:
        """The manifest, parsed. None for an image of a docker archive."""
        return self._image.manifest

    @property
    def config(self) -> Config:
        """The configuration, parsed."""
        return self._image.config

    @property
    def documents(self) -> Mapping[str, bytes]:
        """The exact bytes of `config`, of `manifest` if there is one, and of `index` if the reference names one."""
        return self._documents

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers as the image states them, the lowest first."""
        return self._stated.layers

    @property
    def size(self) -> int:
        """Stored bytes of all layers."""
        return self._image.size

    @property
    def notices(self) -> tuple[Notice, ...]:
        """The notices on this image so far."""
        return tuple(self._session.task.notices)

    def tree(self) -> MergedTree:
        """Returns the merged file system. Reads each layer once, unless the cache has its index; takes about 300 bytes of
        memory for each path. The tree can be used after the image is closed."""
        return MergedTree(self._merged(), self._stated)

    def walk(self, path: ImagePath = "/", *, layer: int | None = None) -> Iterator[File]:
        """Yields the files below a path in the order of their names, a directory before its files. If the path is not that
        of a directory, yields this one file. With `layer`, yields the entries of that layer with its whiteouts (0 is the
        lowest layer, -1 the top one).

        Raises `NotFoundError`, `UsageError` for a layer number that does not exist, and what reading layers raises."""
        if layer is None:
            return self.tree().walk(path)
        session, indexer = self._session, self._indexes
        with own_errors():
            session.task.check()
            found = listing.files_of_layer(self._image, layer, indexer, listing.normal_path(path), recursive=True)
        own = self._stated.layers[layer]
        return (file._replace(layer=own) for file in found)

    def read(self, path: ImagePath, *, layer: int | None = None) -> bytes:
        """Returns the verified content of a file. Links are followed. With `layer`, returns the content in that layer.

        Raises `NotFoundError`, `UsageError` if it is not a regular file, and what reading its layer raises."""
        return b"".join(self.chunks(path, layer=layer))

    def chunks(self, path: ImagePath, *, layer: int | None = None) -> Iterator[bytes]:
        """Yields what `read` returns in chunks, so that memory does not grow with the file. `IntegrityError` may be raised
        after the last chunk: the content is verified only when the iterator has ended."""
        session, indexer = self._session, self._indexes
        with own_errors():
            session.task.check()
            tree = self._merged() if layer is None else None
            yield from listing.content_at_path(
                self._image,
                listing.normal_path(path),
                session,
                indexer,
                layer=layer,
                hint="walk() gives what is in it",
                tree=tree,
            )

    @property
    def _session(self) -> Session:
        if self._open_session is None:
            raise UsageError("the image is closed", self._reference)
        return self._open_session

    @property
    def _indexes(self) -> Indexer:
        if self._indexer is None:
            raise UsageError("the image is closed", self._reference)
        return self._indexer

    def _merged(self) -> Tree:
        session, indexer = self._session, self._indexes
        with own_errors():
            session.task.check()
            if self._tree is None:  # two threads at once may both make it; the results are equal
                self._tree = Tree(indexer.indexes(self._image))
            return self._tree


def _without_blobs(image: Image) -> Image:
    return image._replace(layers=tuple(layer._replace(blob=None) for layer in image.layers))


class MergedTree:
    """The merged file system of an image: all its layers applied in order."""

    def __init__(self, tree: Tree, image: Image) -> None:
        self._tree = tree
        self._image = image

    def find(self, path: ImagePath, *, follow: bool = True) -> File | None:
        """Returns the file at a path, or None. Symbolic links in the path are followed inside the image, the last
        one only with `follow`."""
        wanted = listing.normal_path(path)
        node = self._tree.find(wanted, follow=follow)
        return None if node is None else listing.file_at(self._tree, self._image, wanted, node)

    def children(self, path: ImagePath = "/") -> Iterator[File]:
        """Yields the files of a directory in the order of their names; none if the path is not a directory. Raises
        `NotFoundError`."""
        wanted = listing.normal_path(path)
        node = self._tree.find(wanted, follow=True)
        if node is not None and not isinstance(node, Directory):
            return iter(())
        return iter(listing.files(self._tree, self._image, wanted, recursive=False))

    def walk(self, path: ImagePath = "/") -> Iterator[File]:
        """Yields what `Image.walk` yields."""
        return iter(listing.files(self._tree, self._image, listing.normal_path(path), recursive=True))
