"""The writable layer of a container, as a changeset on its image.

The engine's list of changes says which paths; the content comes from its archives. A directory that was deleted and made
again is listed as deleted by an engine on overlayfs, though it is there: then nothing of the image's directory shows through.

What the archives drop is completed from the image if nothing says that it changed: the fraction of a second of a time, and
extended attributes of a file with the same content. Memory: the indexes of the image and of what was fetched.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import TYPE_CHECKING, NamedTuple

from ocitool.atomic import anonymous_temporary
from ocitool.blob import FileBlob, OpenFile
from ocitool.containers.fetch_plan import in_order, is_below, parent_of, plan
from ocitool.containers.fetched_files import FetchedFiles
from ocitool.digest import Digest
from ocitool.errors import FormatError
from ocitool.images.image import Image, Layer
from ocitool.layers.entry import Entry, Kind, shown_path
from ocitool.layers.index import LayerIndex
from ocitool.spec import mediatypes
from ocitool.task import Task
from ocitool.transports.engine.containers import (
    InspectedContainer,
    as_engine_text,
    changed_paths,
    inspect_container,
    path_stat,
    paused,
)
from ocitool.trees import changeset_tar
from ocitool.trees.changeset import Changeset, changeset, rows_to_hash
from ocitool.trees.indexing import Indexer
from ocitool.trees.nodes import Directory, Node
from ocitool.trees.tree import Tree, node_at

if TYPE_CHECKING:
    from ocitool.transports.engine.client import Engine

_NAMED = 3
_CAPABILITY = b"security.capability"
_SECOND = 1_000_000_000


class WritableLayer(NamedTuple):
    """What a container holds beyond its image. `changes` turns `lower`, the image's tree, into `upper`; `source`: the image
    with what was fetched as its top layer."""

    container: InspectedContainer
    changes: Changeset
    lower: Tree
    upper: Tree
    source: Image

    def tar(self, task: Task) -> Iterator[bytes | memoryview]:
        """Yields the tar of the layer, each chunk valid until the next is asked for."""
        below = len(self.source.layers) - 1
        return changeset_tar.tar_chunks(self.changes, self.source, self.upper, task, lowest=below, unhashed=False)

    def layer(self, task: Task) -> Layer:
        """Returns the layer, uncompressed, in a temporary file without a name."""
        temporary = anonymous_temporary()
        try:
            hasher = Digest("sha256", "").hasher()
            for chunk in self.tar(task):
                task.check()
                hasher.update(chunk)
                temporary.write(chunk)
            file = OpenFile(temporary.path, descriptor=os.dup(temporary.descriptor))
        finally:
            temporary.discard()
        digest = Digest("sha256", hasher.hexdigest())
        number = len(self.source.layers) - 1
        blob = FileBlob(file, 0, file.size, digest)
        made_by = f"container {self.container.name}"
        return Layer(number, blob, digest, digest, file.size, mediatypes.tar_layer("none", docker=False), made_by, None)


def writable_layer(
    engine: Engine, container: InspectedContainer, image: Image, indexer: Indexer, *, pause: bool = False,
    clamped: Callable[[int], int] | None = None,
) -> WritableLayer:  # fmt: skip
    """Returns the writable layer of a container of this image. `pause`: a running container is paused while it is read;
    `clamped`: a function from the time of what changed to the one that the layer gets.

    Raises what requests to the engine raise, `FormatError` for a path that no layer can hold.
    """
    if container.running and not container.paused and not pause:
        indexer.task.notice(
            "running", f"container {container.name} is running: what it writes while it is read may be there in part; --pause "
            "holds it still",
        )  # fmt: skip
    return _Reader(engine, container, image, indexer, clamped).read(pause)


class _Reader:
    def __init__(
        self,
        engine: Engine,
        container: InspectedContainer,
        image: Image,
        indexer: Indexer,
        clamped: Callable[[int], int] | None,
    ) -> None:
        self._clamped = clamped
        self._engine = engine
        self._container = container
        self._image = image
        self._indexer = indexer
        self._task = indexer.task
        self._indexes = indexer.indexes(image)
        self._lower = Tree(self._indexes)
        self._mounts = {self._lower.real_path(path) or path for path in container.mounts}
        self._changed: set[bytes] = set()
        """Paths that are there, and were added or modified."""
        self._added: set[bytes] = set()
        self._deleted: set[bytes] = set()
        self._recreated: set[bytes] = set()
        """Directories of which nothing shows through from the image."""
        self._lossy: dict[str, bytes] = {}
        """Texts of paths with unknown bytes that are there, and the nearest directory above that is known."""
        self._lossy_deleted: dict[str, bytes] = {}
        self._by_size: dict[tuple[int, ...], list[bytes]] = {}
        self._dropped: list[bytes] = []
        self._vanished: list[bytes] = []

    def read(self, pause: bool) -> WritableLayer:
        fetched = FetchedFiles(self._engine, self._container, self._task)
        try:
            with paused(self._engine, self._container) if pause else nullcontext():
                self._take_changes()
                self._fetch(fetched)
                self._find_links(fetched)
                own = self._index(fetched)
                inspect_container(self._engine, self._container.id)  # of one that was removed all paths seem to be gone
            blob = fetched.blob()
        finally:
            fetched.close()
        self._hash(own)
        if self._engine.is_remote:
            self._task.transferred("fetched", f"container {self._container.name}", fetched.received)
        lower, upper = Tree(self._indexes), Tree([*self._indexes, own])
        self._tell(bool(len(own)))
        number = len(self._image.layers)
        layer = Layer(number, blob, None, None, blob.size, mediatypes.tar_layer("none", docker=False), None, None)
        source = self._image._replace(layers=(*self._image.layers, layer))
        return WritableLayer(self._container, changeset(lower, upper), lower, upper, source)

    # What changed

    def _take_changes(self) -> None:
        deleted = []
        for change in changed_paths(self._engine, self._container):
            path = change.path
            if is_below(path, self._mounts):
                continue
            if change.lossy:
                known = path[: path.index("\ufffd".encode())].rpartition(b"/")[0]
                (self._lossy_deleted if change.kind == "deleted" else self._lossy)[change.text] = known
            elif change.kind == "deleted":
                deleted.append(path)
            else:
                self._changed.add(path)
                if change.kind == "added":
                    self._added.add(path)
        for path in in_order(deleted):
            found = path_stat(self._engine, self._container, path) if self._may_be_recreated(path) else None
            if found is None:
                self._deleted.add(path)
            elif found.kind == stat.S_IFDIR:
                self._recreated.add(path)
                self._changed.add(path)
            else:
                self._changed.add(path)

    def _may_be_recreated(self, path: bytes) -> bool:
        """Whether a path that is listed as deleted may be there nevertheless: only a directory is listed so."""
        return isinstance(node_at(self._lower, path), Directory) and not is_below(parent_of(path), self._deleted)

    # What is there

    def _fetch(self, fetched: FetchedFiles) -> None:
        whole = self._recreated | set(self._lossy.values()) | set(self._lossy_deleted.values())
        alone = self._changed - whole - self._added
        for path in (*self._changed, *self._lossy.values()):  # a parent that the image lacks, made by the engine
            while path := parent_of(path):
                if path in self._changed or path in alone or path in whole:
                    continue
                if isinstance(node_at(self._lower, path), Directory):
                    break
                alone.add(path)
        self._changed |= alone
        for request in plan(alone, self._added - whole, whole, self._lower, self._mounts):
            fetched.fetch(request)
        for path in fetched.rows:
            if path not in self._changed and self._is_meant(path):
                self._changed.add(path)
        for text, known in self._lossy_deleted.items():
            node = node_at(self._lower, known)
            prefix = known + b"/" if known else b""
            for below, _ in self._lower.walk(node if isinstance(node, Directory) else None, known) if node is not None else ():
                if below not in fetched.rows and below.startswith(prefix) and as_engine_text(below) == text:
                    self._deleted.add(below)

    def _is_meant(self, path: bytes) -> bool:
        """Whether a fetched path is wanted though its own name was not listed: it is in a directory that was made again, or
        its name was listed with unknown bytes."""
        if self._recreated and is_below(path, self._recreated):
            return not is_below(path, self._mounts)
        return bool(self._lossy) and as_engine_text(path) in self._lossy

    def _find_links(self, fetched: FetchedFiles) -> None:
        """Looks for names of one file that came by different requests: only one archive of both can tell. Such files are
        equal in all that is known of them."""
        index = fetched.index
        alike: dict[tuple[int, int, int, int, int, bytes], list[bytes]] = {}
        for path in self._changed:
            row = fetched.rows.get(path)
            if row is None or index.kinds[inode := fetched.inodes[row]] != Kind.FILE:
                continue
            content = bytes(index.contents[32 * inode : 32 * inode + 32])
            key = (index.sizes[inode], index.mtimes[inode], index.modes[inode], index.uids[inode], index.gids[inode], content)
            alike.setdefault(key, []).append(path)
        wanted: set[bytes] = set()
        for key, paths in alike.items():
            paths += self._same_in_image(key) if not self._added.isdisjoint(paths) else ()
            requests = {fetched.requests[fetched.rows[path]] if path in fetched.rows else -1 for path in paths}
            if len(requests) > 1:
                wanted.update(paths)
        if not wanted:
            return
        top = os.path.commonpath([b"/" + parent_of(path) for path in wanted])[1:]
        if any(is_below(mount, {top}) for mount in self._mounts) or not top:
            top = b""
        fetched.look_for_links(top, wanted)

    def _same_in_image(self, key: tuple[int, int, int, int, int, bytes]) -> list[bytes]:
        """Returns unchanged files of the image of which a new file may be another name: engines on overlayfs list these as
        changed, others do not."""
        if self._container.driver.startswith(("overlay", "fuse-overlay")) or not key[0]:
            return []
        if not self._by_size:
            for path, node in self._lower.walk():
                if not isinstance(node, Directory):
                    entry = self._lower.entry(node)
                    if entry.kind == Kind.FILE:
                        found = (entry.size, entry.mtime // _SECOND, entry.mode, entry.uid, entry.gid)
                        self._by_size.setdefault(found, []).append(path)
        size, mtime, mode, uid, gid, _ = key
        like = self._by_size.get((size, mtime // _SECOND, mode, uid, gid), ())
        return [path for path in like if path not in self._changed and not is_below(path, self._deleted)]

    # The layer

    def _index(self, fetched: FetchedFiles) -> LayerIndex:
        """Returns the layer's index: what was fetched and is wanted, each file once with all of its names; whiteouts, and
        opaque markers of directories that were made again."""
        groups = self._names(fetched)
        made: list[tuple[Entry, bytes | None]] = []
        for inode, names in groups.items():
            first, *others = sorted(names)
            content = fetched.index.content(inode)
            entry = self._restored(fetched.index.entry(inode)._replace(path=first), content)
            made.append((entry, content))
            link = entry._replace(kind=Kind.HARDLINK, link=first, size=0, stored=0, segments=None, device=None)
            made += [(link._replace(path=name), None) for name in others]
        made += [(_marker(path, Kind.WHITEOUT), None) for path in self._deleted]
        made += [(_marker(path, Kind.OPAQUE), None) for path in self._recreated if path in fetched.rows]
        index = LayerIndex()
        for entry, content in sorted(made, key=lambda one: (one[0].path.split(b"/"), one[0].kind)):
            if content is None:
                index.add(entry)
            else:
                index.add(entry, content)
        index.hashed = "some"
        return index

    def _names(self, fetched: FetchedFiles) -> dict[int, list[bytes]]:
        """Returns the wanted paths by the row that has their content. An unchanged path that is another name of one is
        wanted too: a layer has all names of a file or none."""
        groups: dict[int, list[bytes]] = {}
        for path in self._changed:
            if path in fetched.rows:
                groups.setdefault(fetched.inodes[fetched.rows[path]], []).append(path)
            else:
                self._take_missing(path, fetched)
        for path, row in fetched.rows.items():
            if path not in self._changed and (names := groups.get(fetched.inodes[row])) is not None:
                names.append(path)
        holders = {path: inode for inode, names in groups.items() for path in names}
        for name, first in fetched.links.items():
            one, other = holders.get(name), holders.get(first)
            if one is None or other is None:
                known = one if one is not None else other
                if known is not None:
                    path = name if one is None else first
                    groups[known].append(path)
                    holders[path] = known
            elif one != other:
                moved = groups.pop(one)
                groups[other] += moved
                holders |= dict.fromkeys(moved, other)
        return groups

    def _take_missing(self, path: bytes, fetched: FetchedFiles) -> None:
        """Notes a changed path that no archive has: a socket, or one that is gone by now. Raises `FormatError` for others."""
        if path in fetched.unholdable:
            raise FormatError(
                "a name that begins with .wh. means a deleted file in a layer", shown_path(path),
                hint="rename or remove it in the container",
            )  # fmt: skip
        found = path_stat(self._engine, self._container, path)
        if found is not None and found.kind != stat.S_IFSOCK:
            raise FormatError("the engine's archives lack a changed path", f"{self._container.name}: {shown_path(path)}")
        (self._dropped if found is not None else self._vanished).append(path)
        if node_at(self._lower, path) is not None:
            self._deleted.add(path)

    def _restored(self, entry: Entry, content: bytes | None) -> Entry:
        """Returns an entry with what the archives drop and the image's entry has: the fraction of a second of an equal time,
        and extended attributes of a directory or of equal content."""
        node = node_at(self._lower, entry.path)
        ref = node.ref if isinstance(node, Directory) else node
        was = self._lower.entry(ref) if ref is not None and ref >= 0 else None
        same = was is not None and was.kind == entry.kind
        if was is not None and same and was.mtime // _SECOND * _SECOND == entry.mtime:
            entry = entry._replace(mtime=was.mtime)
        elif self._clamped is not None:
            entry = entry._replace(mtime=self._clamped(entry.mtime))
        if was is None or not same:
            return entry
        lost = [one for one in was.xattrs or () if one[0] != _CAPABILITY]
        if lost and (entry.kind != Kind.FILE or (was.size == entry.size and self._content(node) == content)):
            entry = entry._replace(xattrs=tuple(sorted((*lost, *(entry.xattrs or ())))))
        return entry

    def _content(self, node: Node | None) -> bytes | None:
        """Returns the SHA-256 of a file of the image."""
        assert isinstance(node, int)
        inode = self._lower.inode(node)
        number, row = self._lower.layer(inode), self._lower.row(inode)
        self._indexes[number] = self._indexer.with_hashes(self._image.layers[number], self._indexes[number], [row])
        return self._indexes[number].content(row)

    def _hash(self, own: LayerIndex) -> None:
        """Hashes contents of the image if only they tell whether a path changed."""
        below, _ = rows_to_hash(Tree(self._indexes), Tree([*self._indexes, own]))
        for number, rows in enumerate(below):
            if rows:
                layer = self._image.layers[number]
                self._indexes[number] = self._indexer.with_hashes(layer, self._indexes[number], rows)

    def _tell(self, any_changed: bool) -> None:
        name = self._container.name
        if any_changed:
            self._task.remark(
                "engine", f"container {name}: changed paths have times in whole seconds, and no extended attributes but "
                "security.capability: the engine's archives hold no others",
            )  # fmt: skip
        for paths, what in ((self._dropped, "sockets, which no archive has"), (self._vanished, "gone while it was read")):
            if paths:
                named = ", ".join(map(shown_path, sorted(paths)[:_NAMED]))
                more = f" and {len(paths) - _NAMED:,} more" if len(paths) > _NAMED else ""
                self._task.notice("engine", f"container {name}: left out, {what}: {named}{more}")


def _marker(path: bytes, kind: Kind) -> Entry:
    return Entry(path, kind, 0, 0, 0, 0, 0)
