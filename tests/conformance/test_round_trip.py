"""Round trip: every image of testdata, unpacked and put together again. Nothing edited: the same image; one edit: one layer.

In one process, so that all images can be asked everything; what the command line adds has tests of its own.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from support.disk import as_nobody, open_to_all
from support.reference_tools import ROOT, FileSystem, differences, of_directory, ours

from ocitool import comparison
from ocitool.disk.rootfs import Ownership
from ocitool.errors import FormatError, NotFoundError, UsageError
from ocitool.images.image import Image
from ocitool.layers.cache import IndexCache
from ocitool.operations.repack import Mode, RepackOptions, repack
from ocitool.operations.unpack.editable import unpack
from ocitool.pipeline.image_writer import WriteOptions, WriteResult
from ocitool.pipeline.session import Session
from ocitool.task import Task
from ocitool.trees.indexing import Indexer
from ocitool.trees.nodes import ref_of
from ocitool.trees.tree import Tree

REFUSED = {"multiarch:notes": UsageError, "encodings/docker-1.tar": FormatError}
"""An artifact, and an image without a configuration: there are no diff_ids to keep."""

PLATFORMS: dict[str, list[str | None]] = {"multiarch:latest": ["linux/amd64", "linux/arm64"]}
MODES: list[Mode] = ["rewrite", "append"]


class Case(NamedTuple):
    """`name`: as testdata/tools.txt has it."""

    name: str
    platform: str | None

    def reference(self, testdata: Path) -> str:
        transport, colon, rest = self.name.partition(":") if self.name.startswith("oci-archive:") else ("", "", self.name)
        return f"{transport}{colon}{testdata / rest}"


def named() -> list[str]:
    """All images of testdata."""
    lines = (ROOT / "testdata/tools.txt").read_text().splitlines()[1:]
    return [line.split()[0] for line in lines]


CASES = [Case(name, platform) for name in named() if name not in REFUSED for platform in PLATFORMS.get(name, [None])]


@contextmanager
def reading() -> Iterator[Session]:
    with Task() as task:
        yield Session(task, cached=False)


def take_apart(reference: str, place: Path, *, platform: str | None = None, rootless: bool) -> Path:
    with reading() as read:
        unpack(reference, str(place), read, platform=platform, owners=Ownership(rootless))
    return place


def put_together(work: Path, destination: object, *, force: bool = False, **question: Any) -> WriteResult:
    with reading() as read:
        return repack(str(work), RepackOptions(**question), read, WriteOptions(f"{destination}", force=force))


class Facts(NamedTuple):
    """What makes an image this image. `digest`: of the manifest; None where an archive has none."""

    digest: str | None
    config: bytes
    layers: list[tuple[str, str]]
    """What unpacks, and what it is stored as."""


def facts(image: Image) -> Facts:
    layers = []
    for layer in image.layers:
        assert layer.blob is not None
        layers.append((str(layer.diff_id), hashlib.sha256(b"".join(layer.blob.chunks())).hexdigest()))
    return Facts(str(image.digest) if image.digest else None, image.config.raw, layers)


def read_facts(reference: str, platform: str | None = None) -> Facts:
    with reading() as read:
        return facts(read.image(reference, platform))


def check(source: Facts, written: WriteResult, *, skipped: bool = False) -> None:
    """The same image, and no blob made but the manifest of an archive that has none."""
    made = read_facts(written.destination)
    assert source == made._replace(digest=made.digest if source.digest else None)
    assert {"kept"} >= {layer.origin for layer in written.images[0].layers}
    if source.digest:
        assert (source.digest, 0) == (str(written.images[0].digest), written.written)
    if skipped:
        assert (0, 0) == (written.kept, written.written)
    else:
        assert written.kept > 0 == written.skipped


def round_trip(case: Case, testdata: Path, place: Path, rootless: bool) -> None:
    """All that is asked of an image that nobody edited. `testdata` is a copy that is moved away in the end."""
    reference = case.reference(testdata)
    source = read_facts(reference, case.platform)
    work = take_apart(reference, place / "work", platform=case.platform, rootless=rootless)
    for mode in MODES:
        check(source, put_together(work, f"{place}/{mode}/", mode=mode))
        check(source, put_together(work, f"{place}/{mode}/", mode=mode), skipped=True)
    check(source, put_together(work, place / "out.tar"))
    if case.name.startswith(("multiarch", "encodings/oci:")) or case.name == "encodings/oci":
        # Some of their names are those of indexes, whose place one image takes only if that is asked for.
        into = put_together(work, f"{testdata / case.name.partition(':')[0]}/", force=True)
        assert (source.digest, 0, 0) == (str(into.images[0].digest), into.kept, into.written)
    testdata.rename(place / "moved")
    with pytest.raises(NotFoundError):
        put_together(work, place / "none.tar")
    check(source, put_together(work, place / "moved.tar", source=case.reference(place / "moved")))
    assert not (place / "none.tar").exists()


def copied(case: Case, place: Path) -> Path:
    """A folder that has the case's file as testdata has it."""
    name = case.name.removeprefix("oci-archive:").partition(":")[0]
    (place / "testdata" / name).parent.mkdir(parents=True)
    if (ROOT / "testdata" / name).is_dir():
        shutil.copytree(ROOT / "testdata" / name, place / "testdata" / name)
    else:
        shutil.copy(ROOT / "testdata" / name, place / "testdata" / name)
    return place / "testdata"


def ids(case: Case) -> str:
    return f"{case.name}-{case.platform}" if case.platform else case.name


def test_every_file_of_testdata_is_asked() -> None:
    files = {str(path.relative_to(ROOT / "testdata")) for path in (ROOT / "testdata").rglob("*.tar*") if path.is_file()}
    assert set() == files - {name.removeprefix("oci-archive:").partition(":")[0] for name in named()}


@pytest.mark.parametrize("rootless", [False, True], ids=["root", "rootless"])
@pytest.mark.parametrize("case", CASES, ids=ids)
def test_what_nobody_edited_is_the_same_image(case: Case, rootless: bool, need: Callable[..., str], tmp_path: Path) -> None:
    if not rootless:
        need("root")
    round_trip(case, copied(case, tmp_path), tmp_path, rootless)


def test_for_an_ordinary_user_it_is_the_same_image_too(need: Callable[..., str]) -> None:
    """All of them in one process of that user's."""
    need("root")
    with open_to_all() as place:

        def all_of_them() -> int:
            for number, case in enumerate(CASES):
                (place / str(number)).mkdir()
                round_trip(case, copied(case, place / str(number)), place / str(number), True)
            return len(CASES)

        assert len(CASES) == as_nobody(all_of_them)


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_put_together_again_is_not_taken_apart(name: str, tmp_path: Path) -> None:
    with pytest.raises(REFUSED[name]):
        take_apart(Case(name, None).reference(ROOT / "testdata"), tmp_path / "work", rootless=True)
    assert [] == os.listdir(tmp_path)


def test_another_image_is_told_apart(tmp_path: Path) -> None:
    """The check can fail."""
    work = take_apart(str(ROOT / "testdata/app-v1.tar"), tmp_path / "work", rootless=True)
    written = put_together(work, f"{tmp_path}/out/")
    one, other = (read_facts(str(ROOT / f"testdata/app-v{n}.tar")) for n in (1, 2))
    check(one, written)
    for changed in (other, one._replace(config=b"{}"), one._replace(layers=one.layers[1:]), one._replace(digest="sha256:0")):
        with pytest.raises(AssertionError):
            check(changed, written)


# One edit


class Edited(NamedTuple):
    """One edit of a directory. `names`: all names of the file that was edited; `carriers`: the layers that have them, which are
    the ones to be made again (none: any one layer)."""

    path: bytes
    names: frozenset[bytes]
    kind: str
    carriers: frozenset[int]


def one_edit(root: Path, tree: Tree, before: FileSystem, how: str, chance: random.Random) -> Edited | None:
    """Some regular file gets a byte more, another mode, or goes; or some directory gets a new file. None: there is none."""
    if how == "new":
        place = chance.choice([b"", *sorted(path for path, fields in before.items() if fields["type"] == "directory")])
        path = place + b"/a-new-file" if place else b"a-new-file"
        at(root, path).write_bytes(b"new")
        return Edited(path, frozenset([path]), "added", frozenset())
    files = sorted(path for path, fields in before.items() if fields["type"] == "file")
    if not files:
        return None
    merged = dict(tree.walk())
    path = chance.choice(files)
    names = frozenset([path, *before[path]["links"]])
    carriers = frozenset(tree.layer(ref_of(merged[name])) for name in names)
    mode = at(root, path).stat().st_mode & 0o7777
    if how == "content":
        at(root, path).chmod(mode | 0o200)
        with at(root, path).open("ab") as file:
            file.write(b"\n")
        at(root, path).chmod(mode)
        return Edited(path, names, "modified", carriers)
    if how == "mode":
        at(root, path).chmod(mode ^ 0o040)
        return Edited(path, names, "metadata", carriers)
    at(root, path).unlink()
    return Edited(path, names, "removed", carriers)


def at(root: Path, path: bytes) -> Path:
    return root / os.fsdecode(path)


def same_file_system() -> list[Case]:
    """Of images with the same layers one."""
    found: dict[object, Case] = {}
    with reading() as read:
        for case in CASES:
            image = read.image(case.reference(ROOT / "testdata"), case.platform)
            found.setdefault(tuple(layer.diff_id for layer in image.layers), case)
    return list(found.values())


@pytest.mark.parametrize(
    ("how", "rootless"),
    [("content", False), ("mode", False), ("delete", False), ("new", False), ("content", True), ("new", True)],
)
@pytest.mark.parametrize("case", same_file_system(), ids=ids)
def test_one_edit_is_one_layer(case: Case, how: str, rootless: bool, need: Callable[..., str], tmp_path: Path) -> None:
    if not rootless:
        need("root")
    reference = case.reference(ROOT / "testdata")
    work = take_apart(reference, tmp_path / "work", platform=case.platform, rootless=rootless)
    with reading() as read:
        image = read.image(reference, case.platform)
        tree, before, source = Tree(Indexer(IndexCache(None), read.task).indexes(image)), ours(image, read.task), facts(image)
        edited = one_edit(work / "rootfs", tree, before, how, random.Random(f"{case.name} {how}"))
        if edited is None:
            return
        for mode in MODES:
            out = f"{tmp_path}/{mode}/"
            written = put_together(work, out, mode=mode)
            again = read.image(out, None)
            changed = [n for n, (old, new) in enumerate(zip(source.layers, facts(again).layers, strict=False)) if old != new]
            origins = [layer.origin for layer in written.images[0].layers]
            if mode == "append":
                assert ([], ["kept"] * len(source.layers) + ["new"]) == (changed, origins)
            else:
                assert len(source.layers) == len(again.layers)
                assert changed == [number for number, origin in enumerate(origins) if origin != "kept"]
                assert set(changed) == set(edited.carriers) or (not edited.carriers and len(changed) == 1)
            check_edit(edited, before, ours(again, read.task), work / "rootfs", rootless)
            found = comparison.diff(reference, out, comparison.DiffOptions(), read, platform=case.platform)
            assert expected_changes(edited) == {change.path: change.kind for change in found.files}


def expected_changes(edited: Edited) -> dict[bytes, str]:
    """What `diff` is to say: all names of the file changed; where one of several goes, the others are links fewer."""
    return {**dict.fromkeys(edited.names, "metadata" if edited.kind == "removed" else edited.kind), edited.path: edited.kind}


def check_edit(edited: Edited, before: FileSystem, after: FileSystem, root: Path, rootless: bool) -> None:
    """Everything but the edited file is as it was; as root, all of it is what the directory is."""

    def others(found: FileSystem) -> FileSystem:
        return {path: fields for path, fields in found.items() if path not in edited.names}

    assert others(before) == others(after)
    on_disk = of_directory(os.fsencode(root))
    if rootless:
        assert on_disk.keys() == after.keys()
        return
    parent = edited.path.rpartition(b"/")[0]
    if parent:
        on_disk[parent]["mtime"] = before[parent]["mtime"]  # kept, since a child is all that changed there
    assert [] == differences("directory", "edited", after, on_disk)
