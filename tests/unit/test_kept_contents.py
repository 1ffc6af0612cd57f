"""Contents of databases that are kept while a layer is indexed, so that it is not read again for them."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.images import gz, layer_tar
from support.layers import file_entry
from support.merged import memory_image
from support.packages import Files, stanza

from ocitool.blob import BytesBlob
from ocitool.layers import cache as module
from ocitool.layers import kept_contents
from ocitool.layers.cache import IndexCache
from ocitool.layers.kept_contents import ENDINGS, KeptContents
from ocitool.layers.scan import index_layer
from ocitool.packages.installed import installed
from ocitool.packages.package import PackageKind
from ocitool.packages.readers import readers
from ocitool.task import Task
from ocitool.trees.indexing import Indexer
from ocitool.trees.tree import Tree

STATUS = "var/lib/dpkg/status"
FILES: Files = [
    ("etc/passwd", b"root"), (STATUS, stanza("a")), ("var/lib/dpkg/info/a.list", b"/a\n"),
    ("var/lib/dpkg/info/a.postinst", b"#!"), ("usr/share/status", b"x"), ("usr/lib/os-release", b"ID=debian\n"),
]  # fmt: skip
KEPT = {1: stanza("a"), 2: b"/a\n", 5: b"ID=debian\n"}

PLACES: dict[PackageKind, str] = {
    "deb": "var/lib/dpkg/status var/lib/dpkg/diversions var/lib/dpkg/info/a.list",
    "apk": "lib/apk/db/installed usr/lib/apk/db/installed",
    "rpm": "var/lib/rpm/rpmdb.sqlite var/lib/rpm/Packages usr/lib/sysimage/rpm/Packages.db usr/lib/sysimage/rpm/rpmdb.sqlite",
    "pypi": "usr/lib/python3/dist-packages/a-1.dist-info/METADATA opt/v/lib/python3.12/site-packages/a-1.dist-info/RECORD",
    "conda": "opt/conda/conda-meta/a-1-0.json",
    "npm": "app/node_modules/a/package.json node_modules/@s/a/node_modules/b/package.json",
    "gem": "usr/local/lib/ruby/gems/3.3.0/specifications/a-1.gemspec",
}


def test_contents_of_databases_are_kept_by_row_and_no_others() -> None:
    kept = KeptContents()
    with Task() as task:
        index = index_layer(BytesBlob(layer_tar(FILES)), task, kept=kept)
        plain = index_layer(BytesBlob(layer_tar(FILES)), task)
    assert (KEPT, plain.contents) == (kept.found, index.contents)


def test_contents_are_kept_of_each_place_in_a_run_of_entries() -> None:
    places = [place for places in PLACES.values() for place in places.split()]
    for place in places:
        kept = KeptContents()
        files: Files = [*((f"srv/file{n}", b"x") for n in range(9)), (place, b"content"), ("srv/package.json", b"no")]
        with Task() as task:
            index_layer(BytesBlob(layer_tar(files)), task, kept=kept)
        assert (place, {9: b"content"}) == (place, kept.found)


@pytest.mark.parametrize("kind", PLACES)
def test_files_that_readers_ask_for_are_kept(kind: PackageKind) -> None:
    reader, kept = readers()[kind], KeptContents()
    for place in PLACES[kind].encode().split():
        entry = file_entry(place, 100)
        assert (place, True, True) == (place, place.endswith(ENDINGS), kept.wants(entry))
        assert reader.database_of(place, entry) is not None, place


@pytest.mark.parametrize(("limit", "value", "rows"), [("FILE", 10, [2, 5]), ("LAYER", 14, [2, 5]), ("LAYER", 9, [2])])
def test_only_so_much_is_kept(limit: str, value: int, rows: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_contents, limit, value)
    kept = KeptContents()
    with Task() as task:
        index_layer(BytesBlob(layer_tar(FILES)), task, kept=kept)
    assert rows == list(kept.found)


def test_layer_is_not_read_again_for_what_was_kept(tmp_path: Path) -> None:
    image = memory_image([gz(layer_tar(FILES))])
    with Task() as task:
        indexer = Indexer(IndexCache(str(tmp_path / "cache")), task)
        tree = Tree(indexer.indexes(image))
        lost = [layer._replace(blob=None) for layer in image.layers]
        assert ["a"] == [one.name for one in installed(tree, lost, task, indexer=indexer).packages]


def test_what_was_not_kept_is_read_from_the_layer(tmp_path: Path) -> None:
    image = memory_image([gz(layer_tar(FILES))])
    with Task() as task:
        for indexer in (Indexer(IndexCache(None), task), Indexer(IndexCache(str(tmp_path / "cache")), task, verify=True)):
            tree = Tree(indexer.indexes(image))
            assert {} == indexer.kept_contents(tree.indexes[0])
            assert ["a"] == [one.name for one in installed(tree, image.layers, task, indexer=indexer).packages]


def test_damaged_or_foreign_contents_are_not_known(tmp_path: Path) -> None:
    cache = IndexCache(str(tmp_path / "cache"))
    with Task() as task:
        index = index_layer(BytesBlob(layer_tar(FILES)), task)
    assert index.diff_id is not None
    cache.store(index, None, KEPT)
    assert KEPT == cache.find_contents(index.diff_id)
    name, good = module._name(str(index.diff_id)), b"".join(module.dump_contents(KEPT))
    for bad in (b"", good[:-1], good[:20], good.replace(b"index", b"other"), b"".join(module.dump(index))):
        cache._write("contents", name, [bad])
        assert {} == cache.find_contents(index.diff_id)
