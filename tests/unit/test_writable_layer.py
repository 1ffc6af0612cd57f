"""The writable layer of a container, of an engine that says what a test wants: cases that real engines show by chance."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from support.images import entry, layer_tar

from ocitool.blob import BytesBlob
from ocitool.containers.writable_layer import WritableLayer, writable_layer
from ocitool.errors import FormatError, NotFoundError, OcitoolError, UnsafeError
from ocitool.images.image import Image, Layer
from ocitool.layers.cache import IndexCache
from ocitool.layers.entry import Entry, Kind
from ocitool.layers.tar import entries
from ocitool.layers.tar_notes import TarNotes
from ocitool.layers.tarinput import ChunkInput
from ocitool.spec.manifest import Config, Platform
from ocitool.task import Task
from ocitool.transports.engine.client import Stream
from ocitool.transports.engine.containers import NETWORK_FILES, RUNTIME_DIRECTORIES, InspectedContainer
from ocitool.trees.indexing import Indexer

TIME = 1_600_000_000_000_000_000
CONTAINER = InspectedContainer(
    "abc", "web", "app:1", "sha256:0", "exited", False, False, "overlay2", (*NETWORK_FILES, *RUNTIME_DIRECTORIES)
)
AnyEntry = tuple[Entry, bytes]


class ScriptedContainer:
    """An engine with one container. `there`: its file system; `changes`: what it lists. `broken`: archives that are given in
    place of the real ones, by path. `sockets` are in no archive."""

    where = "unix:///scripted"
    is_remote = False

    def __init__(self, there: list[AnyEntry], changes: list[tuple[str, int]], sockets: tuple[str, ...] = ()) -> None:
        self.there = {one.path: (one, content) for one, content in there}
        self.changes = changes
        self.sockets = sockets
        self.broken: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.gone = False

    def get(self, path: str, what: str, **query: Any) -> Any:
        if path.endswith("/changes"):
            return [{"Path": name, "Kind": kind} for name, kind in self.changes]
        if self.gone:
            raise NotFoundError("the engine has no container web", self.where)
        return {"Id": "abc", "Name": "/web", "Image": "sha256:0", "Config": {}, "State": {}}

    @contextmanager
    def stream(self, path: str, what: str, *, method: str = "GET", **query: Any) -> Iterator[Stream]:
        if path.endswith("/export"):
            self.asked.append("export")
            yield Stream({}, iter([layer_tar(list(self.there.values()))]))
            return
        name = parse_qs(urlsplit(path).query, encoding="latin-1")["path"][0].lstrip("/")
        key = name.encode("latin-1")
        self.asked.append(f"{method} {name}")
        if name in self.sockets and method == "HEAD":
            yield Stream({"X-Docker-Container-Path-Stat": stat_header(1 << 24)}, iter([]))
            return
        if key not in self.there:
            raise NotFoundError(f"the engine has no {what}", self.where)
        found = self.there[key][0]
        if method == "HEAD":
            yield Stream(
                {"X-Docker-Container-Path-Stat": stat_header(1 << 31 if found.kind == Kind.DIRECTORY else 0)}, iter([])
            )
            return
        cut = len(key.rpartition(b"/")[0])
        cut += 1 if cut else 0
        below = [
            (one._replace(path=one.path[cut:], link=one.link[cut:] if one.kind == Kind.HARDLINK else one.link), content)
            for one, content in self.there.values() if one.path == key or one.path.startswith(key + b"/")
        ]  # fmt: skip
        yield Stream({}, iter([self.broken.get(name) or layer_tar(below)]))


def stat_header(mode: int) -> str:
    said = {"name": "x", "size": 1, "mode": mode, "mtime": "2020-01-01T00:00:00Z", "linkTarget": ""}
    return base64.b64encode(json.dumps(said).encode()).decode()


def item(name: str | bytes, what: bytes | str | None = b"", **fields: Any) -> AnyEntry:
    return entry(name, what, **{"mtime": TIME, **fields})


def image_of(*layers: bytes) -> Image:
    made = tuple(
        Layer(n, BytesBlob(tar), None, None, len(tar), "application/vnd.oci.image.layer.v1.tar", None, None)
        for n, tar in enumerate(layers)
    )
    return Image(
        "test", "docker-archive", (), None, None, Config(b"{}", {}), "sha256:0", made, Platform("linux", "amd64", None),
        False, False,
    )  # fmt: skip


def read(
    engine: ScriptedContainer, image: list[AnyEntry], task: Task | None = None, container: InspectedContainer = CONTAINER
) -> WritableLayer:
    indexer = Indexer(IndexCache(None), task or Task())
    any_engine: Any = engine
    return writable_layer(any_engine, container, image_of(layer_tar(image)), indexer)


def members(found: WritableLayer) -> dict[str, Entry]:
    """The members of the layer by their names in the tar."""
    data = b"".join(bytes(chunk) for chunk in found.tar(Task()))
    made = {}
    for one in entries(ChunkInput(iter([data])), TarNotes()):
        prefix = {Kind.WHITEOUT: "whiteout ", Kind.OPAQUE: "opaque "}.get(one.kind, "")
        made[prefix + one.path.decode("latin-1")] = one
    return made


BASE = [item("d", None), item("d/a", b"a"), item("d/b", b"b"), item("d/sub", None), item("d/sub/c", b"c"), item("e", None)]


def test_a_directory_that_is_listed_as_deleted_and_there_was_made_again() -> None:
    """So engines on overlayfs list it: the directory has an opaque mark there."""
    there = [item("d", None, mode=0o700), item("d/new", b"n"), item("e", None)]
    found = members(read(ScriptedContainer(there, [("/d", 2), ("/d/new", 1)]), BASE))
    assert list(found) == ["d", "opaque d", "d/new"]
    assert found["d"].mode == 0o700


def test_an_empty_directory_that_was_made_again() -> None:
    found = members(read(ScriptedContainer([item("d", None), item("e", None)], [("/d", 2)]), BASE))
    assert list(found) == ["d", "opaque d"]


def test_what_is_in_a_directory_that_was_made_again_need_not_be_listed() -> None:
    there = [item("d", None), item("d/a", b"a"), item("d/x", None), item("d/x/y", b"y")]
    found = members(read(ScriptedContainer(there, [("/d", 2)]), BASE))
    assert set(found) == {"d", "whiteout d/b", "whiteout d/sub", "d/x", "d/x/y"}  # d/a is as it was


def test_deleted_paths_are_looked_up_once_for_each_directory() -> None:
    engine = ScriptedContainer([item("e", None)], [("/d", 2), ("/d/a", 2), ("/d/sub", 2), ("/nowhere", 2)])
    assert list(members(read(engine, BASE))) == ["whiteout d"]
    assert engine.asked == ["HEAD d"]


def test_attributes_alone_read_no_content_of_a_directory() -> None:
    engine = ScriptedContainer([item("d", None, uid=5), *BASE[1:]], [("/d", 0)])
    found = read(engine, BASE)
    assert list(members(found)) == ["d"] and members(found)["d"].uid == 5
    assert engine.asked == ["GET d"]


def test_fractions_of_seconds_and_attributes_of_what_did_not_change_come_from_the_image() -> None:
    mark = ((b"user.mark", b"x"),)
    low = [
        item("d", None, mtime=TIME + 5), item("d/kept", b"k", xattrs=mark, mtime=TIME + 7), item("d/new", b"o", xattrs=mark),
    ]  # fmt: skip
    there = [item("d", None), item("d/kept", b"k", mode=0o600), item("d/new", b"n", mtime=TIME + 10**9)]
    found = members(read(ScriptedContainer(there, [("/d", 0), ("/d/kept", 0), ("/d/new", 0)]), low))
    assert (found["d"].mtime, found["d/kept"].mtime, found["d/new"].mtime) == (TIME + 5, TIME + 7, TIME + 10**9)
    assert (found["d/kept"].xattrs, found["d/new"].xattrs) == (mark, None)


def test_what_is_listed_and_did_not_change_is_not_in_the_layer() -> None:
    found = read(ScriptedContainer(BASE, [("/d", 0), ("/d/a", 0), ("/e", 0)]), BASE)
    assert not found.changes


def test_names_of_one_file_that_came_by_different_requests() -> None:
    there = [*BASE, item("d/one", b"same", mtime=TIME), item("e/two", "hard:d/one"), item("e/equal", b"same", mtime=TIME)]
    engine = ScriptedContainer(there, [("/d/one", 1), ("/e/two", 1), ("/e/equal", 1)])
    # Each alone is a file of its own.
    alone = engine.there[b"e/two"][0]
    engine.broken = {"e/two": layer_tar([item("two", b"same", mtime=TIME)])}
    assert alone.kind == Kind.HARDLINK
    found = members(read(engine, BASE))
    kinds = {name: one.kind for name, one in found.items()}
    assert kinds == {"d": Kind.DIRECTORY, "d/one": Kind.FILE, "e": Kind.DIRECTORY, "e/equal": Kind.FILE, "e/two": Kind.HARDLINK}
    assert found["e/two"].link == b"d/one"
    assert engine.asked[-1] == "export"  # the archive of both is that of the root


def test_names_with_bytes_that_the_engine_does_not_say() -> None:
    low = [*BASE, item(b"e/\xe8", b"gone"), item(b"e/\xe9", b"changed"), item(b"e/\xea", b"kept")]
    there = [*BASE, item(b"e/\xe9", b"changed!"), item(b"e/\xea", b"kept"), item(b"e/\xff", b"new")]
    engine = ScriptedContainer(there, [("/e/\ufffd", 2), ("/e/\ufffd", 0), ("/e/\ufffd", 1)])
    assert set(members(read(engine, low))) == {"e", "e/\xe9", "e/\xff", "whiteout e/\xe8"}


def test_mounts_are_no_part_of_the_layer() -> None:
    there = [*BASE, item("e/vol", None), item("e/vol/x", b"x"), item("e/y", b"y"), item("etc", None), item("etc/hosts", b"h")]
    changes = [("/e/vol", 1), ("/e/vol/x", 1), ("/e/y", 1), ("/etc", 1), ("/etc/hosts", 1), ("/dev", 1), ("/dev/null", 1)]
    container = CONTAINER._replace(mounts=(*CONTAINER.mounts, b"e/vol"))
    assert set(members(read(ScriptedContainer(there, changes), BASE, container=container))) == {"e", "e/y", "etc"}


def test_a_parent_that_only_the_engine_made() -> None:
    there = [*BASE, item("made", None, mode=0o711), item("made/x", b"x")]
    found = members(read(ScriptedContainer(there, [("/made/x", 1)]), BASE))
    assert set(found) == {"made", "made/x"} and found["made"].mode == 0o711


def test_sockets_and_what_is_gone_are_named() -> None:
    with Task() as task:
        engine = ScriptedContainer(BASE, [("/e/socket", 1), ("/e/gone", 1), ("/d/a", 0)], sockets=("e/socket",))
        engine.there.pop(b"d/a")
        found = read(engine, BASE, task)
        texts = [notice.text for notice in task.notices]
    assert set(members(found)) == {"d", "whiteout d/a"}
    assert any("/e/socket" in text and "sockets" in text for text in texts)
    assert any("/d/a, /e/gone" in text and "gone" in text for text in texts)


def broken(name: str, archive: bytes) -> ScriptedContainer:
    engine = ScriptedContainer([*BASE, item("e/x", b"x")], [("/e/x", 1)])
    engine.broken = {name: archive}
    return engine


@pytest.mark.parametrize(
    ("engine", "kind"),
    [
        (lambda: broken("e/x", layer_tar([item("other", b"x")])), UnsafeError),
        (lambda: broken("e/x", layer_tar([item("../x", b"x")])), UnsafeError),
        (lambda: broken("e/x", layer_tar([item("x", None), item("x/y", "hard:x/none")])), FormatError),
        (lambda: broken("e/x", layer_tar([item("x", b"x" * 600)])[:700]), FormatError),
        (lambda: broken("e/x", b"no tar" * 100), FormatError),
        (lambda: ScriptedContainer(BASE, [("/../x", 1)]), FormatError),
        (lambda: ScriptedContainer(BASE, [("/d/\0", 2)]), FormatError),
        (lambda: ScriptedContainer(BASE, [("/d", 7)]), FormatError),
        (lambda: ScriptedContainer([*BASE, item("e/.wh.x", b"x")], [("/e/.wh.x", 1)]), FormatError),
    ],
)  # fmt: skip
def test_answers_that_make_no_layer(engine: Callable[[], ScriptedContainer], kind: type[OcitoolError]) -> None:
    with pytest.raises(kind):
        read(engine(), BASE)


def test_a_container_that_is_removed_meanwhile_is_no_layer_of_deletions() -> None:
    engine = ScriptedContainer([], [("/d", 2), ("/e/x", 1)])
    engine.gone = True
    with pytest.raises(NotFoundError):
        read(engine, BASE)
