"""The index cache: nothing is believed that was not computed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.images import compress, layer_tar
from support.layers import columns, member, sample, scanned
from support.merged import memory_image
from support.streams import encode

from ocitool.digest import Digest
from ocitool.layers import cache as module
from ocitool.layers.cache import IndexCache, default_directory
from ocitool.layers.index import LayerIndex
from ocitool.task import Task
from ocitool.trees.indexing import Indexer

SAMPLE = sample()
OTHER = member(b"other", b"x") + bytes(1024)


def kept(directory: Path, data: bytes = SAMPLE, identity: str | None = "1:2:3") -> tuple[IndexCache, LayerIndex]:
    cache, index = IndexCache(str(directory)), scanned(data)
    cache.store(index, identity)
    return cache, index


def files(directory: Path) -> list[Path]:
    return sorted(path for path in directory.rglob("*") if path.is_file())


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def test_what_was_kept_is_found_by_its_stored_digest(directory: Path) -> None:
    cache, index = kept(directory)
    found = cache.find(index.digest, None)
    assert found is not None and columns(index) == columns(found)
    assert ("all", index.digest, index.codec) == (found.hashed, found.digest, found.codec)


def test_what_was_kept_is_found_by_its_file_identity(directory: Path) -> None:
    cache, index = kept(directory)
    found = cache.find(None, "1:2:3")
    assert found is not None and (columns(index), index.digest) == (columns(found), found.digest)


def test_another_process_finds_it(directory: Path) -> None:
    _, index = kept(directory)
    assert IndexCache(str(directory)).find(index.digest, None) is not None


def test_nothing_is_found_by_a_diff_id(directory: Path) -> None:
    cache, index = IndexCache(str(directory)), scanned(encode("gzip", SAMPLE))
    cache.store(index, "i")
    assert index.diff_id != index.digest
    assert cache.find(index.diff_id, None) is None


def test_nothing_else_is_found(directory: Path) -> None:
    cache, _ = kept(directory)
    assert [None] * 4 == [
        cache.find(*key) for key in ((None, None), (Digest.of(b"x"), None), (None, "1:2"), (Digest.of(b"x"), "i"))
    ]


def test_known_bytes_under_a_digest_that_is_not_theirs_are_not_found(directory: Path) -> None:
    cache, _ = kept(directory)
    assert cache.find(Digest.of(b"forged"), "1:2:3") is None


def test_the_other_key_is_tried_when_one_leads_nowhere(directory: Path) -> None:
    cache, index = kept(directory, identity="old")
    assert cache.find(index.digest, "new") is not None


def test_two_encodings_of_one_layer_keep_their_own_codec(directory: Path) -> None:
    cache = IndexCache(str(directory))
    stored = {codec: encode(codec, SAMPLE) for codec in ("gzip", "zstd")}
    for codec, data in stored.items():
        cache.store(scanned(data), codec)
    for codec, data in stored.items():
        found = cache.find(Digest.of(data), None)
        assert found is not None and (codec, Digest.of(data)) == (found.codec, found.digest)


def test_an_index_of_another_diff_id_algorithm_is_not_found(directory: Path) -> None:
    cache, index = kept(directory)
    assert cache.find(index.digest, None, "sha512") is None
    long = scanned(SAMPLE, algorithm="sha512")
    cache.store(long, None)
    found = cache.find(index.digest, None, "sha512")
    assert found is not None and Digest.of(SAMPLE, "sha512") == found.diff_id


def test_an_incomplete_index_is_not_kept(directory: Path) -> None:
    cache = IndexCache(str(directory))
    for name, value in (("hashed", "some"), ("digest", None), ("diff_id", None)):
        index = scanned(SAMPLE)
        setattr(index, name, value)
        cache.store(index, "i")
    assert files(directory) == []


def test_an_empty_layer_is_kept(directory: Path) -> None:
    cache, index = kept(directory, bytes(1024))
    found = cache.find(index.digest, None)
    assert found is not None and (len(found), found.size) == (0, 1024)


def test_a_damaged_byte_anywhere_is_not_believed_and_rebuilt(directory: Path) -> None:
    cache, index = kept(directory, identity=None)
    for path in files(directory):
        good = path.read_bytes()
        for at in range(len(good)):
            path.write_bytes(good[:at] + bytes([good[at] ^ 0x41]) + good[at + 1 :])
            assert cache.find(index.digest, None) is None
        path.write_bytes(good)
    path = files(directory)[-1]
    path.write_bytes(b"damaged")
    cache.store(index, None)
    assert cache.find(index.digest, None) is not None


def test_a_file_cut_anywhere_is_not_believed(directory: Path) -> None:
    cache, index = kept(directory, identity=None)
    for path in files(directory):
        good = path.read_bytes()
        for cut in range(0, len(good), 7):
            path.write_bytes(good[:cut])
            assert cache.find(index.digest, None) is None
        path.write_bytes(good)


def test_a_cache_poisoned_by_another_layers_files_is_not_believed(directory: Path) -> None:
    cache, index = kept(directory, SAMPLE, None)
    mine = {path.parent.name: path for path in files(directory)}
    _, other = kept(directory, OTHER, None)
    for path in files(directory):
        if path not in mine.values():
            good = mine[path.parent.name].read_bytes()
            mine[path.parent.name].write_bytes(path.read_bytes())
            assert cache.find(index.digest, None) is None
            mine[path.parent.name].write_bytes(good)
    assert cache.find(index.digest, None) is not None and cache.find(other.digest, None) is not None


def test_an_index_that_states_another_diff_id_is_not_believed(directory: Path) -> None:
    cache, index = kept(directory, SAMPLE, None)
    cache._write("indexes", module._name(str(index.diff_id)), module.dump(scanned(OTHER)))
    assert cache.find(index.digest, None) is None


@pytest.mark.parametrize("body", [b"", b"x", b"\xff\xff", b"a b", b"sha256:00 sha256:00 none", b"../../x y z"])
def test_an_id_that_is_none_is_not_believed(directory: Path, body: bytes) -> None:
    cache, index = kept(directory, SAMPLE, None)
    cache._write("ids", module._name(f"sha256 digest {index.digest}"), [body])
    assert cache.find(index.digest, None) is None


def test_another_parser_version_is_not_believed(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, index = kept(directory)
    monkeypatch.setattr(module, "PARSER", module.PARSER + 1)
    assert cache.find(index.digest, "1:2:3") is None


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702, 0o1777])
def test_a_directory_open_to_others_is_refused(directory: Path, mode: int) -> None:
    _, index = kept(directory)
    os.chmod(directory, mode)
    cache = IndexCache(str(directory))
    assert cache.refused is not None
    assert cache.find(index.digest, None) is None
    cache.store(index, None)


def test_a_directory_is_made_for_the_user_alone(directory: Path) -> None:
    IndexCache(str(directory))
    assert directory.stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_directory_of_another_user_is_refused(directory: Path) -> None:
    directory.mkdir(mode=0o700)
    os.chown(directory, 12345, 12345)
    assert IndexCache(str(directory)).refused is not None


def test_a_directory_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    cache = IndexCache(str(tmp_path / "file" / "cache"))
    assert cache.refused is not None and cache.find(Digest.of(b""), None) is None


def test_without_a_directory_nothing_is_kept() -> None:
    cache = IndexCache(None)
    cache.store(scanned(SAMPLE), "i")
    assert (None, None) == (cache.find(None, "i"), cache.refused)


def test_the_least_recently_used_go_first(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = IndexCache(str(directory))
    indexes = [scanned(member(b"f%d" % i, b"x") + bytes(1024)) for i in range(6)]
    for turn, index in enumerate(indexes):
        cache.store(index, None)
        for path in files(directory):
            if path.stat().st_mtime > 1000:
                os.utime(path, (turn, turn))
    assert cache.find(indexes[0].digest, None) is not None  # used now: the youngest
    bound = sum(path.stat().st_size for path in files(directory)) // 2
    monkeypatch.setenv("OCITOOL_CACHE_SIZE", str(bound))
    cache.store(indexes[5], None)
    assert sum(path.stat().st_size for path in files(directory)) <= bound
    found = [cache.find(index.digest, None) is not None for index in indexes]
    assert [True, False, False, True] == [found[0], found[1], found[2], found[5]]


def test_a_full_disk_costs_the_cache_and_not_the_command(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, index = IndexCache(str(directory)), scanned(SAMPLE)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    cache.store(index, "i")
    assert [] == files(directory)


WRITER = """
import sys
from support.layers import member, scanned
from ocitool.layers.cache import IndexCache
cache = IndexCache(sys.argv[1])
for turn in range(30):
    for i in range(4):
        data = member(b"f%d" % i, b"x" * i) + bytes(1024)
        index = scanned(data)
        cache.store(index, str(i))
        found = cache.find(index.digest, str(i))
        assert found is None or (list(found) == list(index) and found.diff_id == index.diff_id)
assert found is not None
"""


def test_processes_may_share_a_cache(directory: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    running = [subprocess.Popen([sys.executable, "-c", WRITER, str(directory)], env=environment) for _ in range(3)]
    assert [0, 0, 0] == [process.wait(60) for process in running]
    assert (8 + 4, 0) == (len(files(directory)), sum("." in path.name for path in files(directory)))


def test_the_directory_is_named_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCITOOL_CACHE_DIR", "/somewhere")
    assert default_directory() == "/somewhere"


@pytest.mark.parametrize("how", ["indexes", "unhashed_indexes"])
def test_a_known_layer_without_entries_is_not_read_again(tmp_path: Path, how: str) -> None:
    """A plain one in memory is: its headers cost less than the hash that alone could tell that it is the same."""
    stored = compress(layer_tar([]), "gzip")
    image = memory_image([stored])
    with Task() as task:
        cache = IndexCache(str(tmp_path / "cache"))
        (known,) = Indexer(cache, task).computed_indexes([(image, image.layers[0])])
        (found,) = getattr(Indexer(cache, task), how)(image, image.layers)
    assert (0, known.diff_id, "all") == (len(found), found.diff_id, found.hashed)
