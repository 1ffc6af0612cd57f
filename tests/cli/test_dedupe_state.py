"""`dedupe --state`: what a second run asks a registry for, and what becomes of a directory that is not as it was left."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.copying import AMD, ARM, ONE, TWO
from support.images import image, layer_tar, sha256
from support.registries import NO_REGISTRY_SETTINGS, put_images, put_index
from support.registry import ScriptedRegistry
from support.report import done, report_of

from ocitool.dedupe import state
from ocitool.digest import Digest
from ocitool.task import Task

Run = Callable[..., Any]
parquet = pytest.importorskip("pyarrow.parquet")
FILE = "seen/documents.parquet"


@pytest.fixture
def registry() -> Iterator[ScriptedRegistry]:
    with ScriptedRegistry() as made:
        for number in range(6):
            put_images(
                made,
                "app",
                image([ONE, TWO][: 1 + number % 2], created=f"2024-01-0{1 + number % 3}T00:00:00Z"),
                tag=f"t{number}",
            )
        both = [image([ONE, TWO], platform=AMD, created=None), image([ONE], platform=ARM, architecture="arm64")]
        put_index(made, "app", both, "all")
        yield made


@pytest.fixture
def run(ocitool: Run, tmp_path: Path) -> Run:
    return lambda *words, **how: ocitool(*words, cwd=tmp_path, env={**NO_REGISTRY_SETTINGS, "HOME": str(tmp_path)}, **how)


def words(registry: ScriptedRegistry, *more: str) -> tuple[str, ...]:
    return ("dedupe", f"docker://{registry.host}/app", "--tags", "*", "--insecure", "--state", "seen", *more)


def asked(registry: ScriptedRegistry) -> Counter[tuple[str, str]]:
    """What was asked for, but for the version of the protocol and the list of tags."""
    found = Counter((one.method, one.path.partition("/app/")[2]) for one in registry.sent() if one.path.count("/") > 2)
    del found["GET", "tags/list"]
    return found


def a_head_each(registry: ScriptedRegistry) -> Counter[tuple[str, str]]:
    return Counter(("HEAD", f"manifests/{tag}") for _, tag in registry.tags)


def test_a_second_run_makes_one_head_a_tag_and_gets_nothing(run: Run, registry: ScriptedRegistry) -> None:
    first = done(run, *words(registry))
    assert 7 == len(first["images"]) and {"GET"} == {method for method, _ in asked(registry)}
    registry.forget()
    assert first == done(run, *words(registry))
    assert a_head_each(registry) == asked(registry)


def test_a_first_run_asks_for_no_more_than_one_without_state(run: Run, registry: ScriptedRegistry) -> None:
    report = done(run, *(word for word in words(registry) if word not in ("--state", "seen")))
    without = asked(registry)
    registry.forget()
    assert (report, without) == (done(run, *words(registry)), asked(registry))


def test_a_tag_that_moved_costs_its_manifest_and_a_new_configuration(run: Run, registry: ScriptedRegistry) -> None:
    done(run, *words(registry))
    new = image([ONE, layer_tar([("x", b"x")])], created="2025-05-05T00:00:00Z")
    put_images(registry, "app", new, tag="t1")
    same = image([ONE], created="2024-01-01T00:00:00Z")  # the configuration of t0
    same.manifest["annotations"] = {"again": "1"}
    put_images(registry, "app", same, tag="t3")
    registry.forget()
    report = done(run, *words(registry))
    wanted = [f"manifests/{new.digest}", f"blobs/{sha256(new.config)}", f"manifests/{same.digest}"]
    assert a_head_each(registry) + Counter(("GET", path) for path in wanted) == asked(registry)
    registry.forget()
    assert report == done(run, *words(registry))
    assert a_head_each(registry) == asked(registry)


def test_what_a_run_did_not_need_is_kept_for_others(run: Run, registry: ScriptedRegistry) -> None:
    done(run, *words(registry))
    put_images(registry, "app", image([TWO]), tag="t9")
    done(run, "dedupe", f"docker://{registry.host}/app:t9", "--insecure", "--state", "seen")
    registry.forget()
    done(run, *words(registry))
    assert a_head_each(registry) == asked(registry)


def test_beyond_the_limit_what_the_last_run_needed_is_kept(
    run: Run, registry: ScriptedRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    done(run, *words(registry))
    monkeypatch.setattr(state, "STATE_DOCUMENTS", 4)
    put_images(registry, "app", image([TWO]), tag="t9")
    some = ("dedupe", f"docker://{registry.host}/app", "--tags", "t[039]", "--insecure", "--state", "seen")
    report = done(run, *some)
    registry.forget()
    assert report == done(run, *some)
    assert {"HEAD"} == {method for method, _ in asked(registry)}
    done(run, *words(registry))
    assert "GET" in {method for method, _ in asked(registry)}


def spoiled(path: Path, how: str) -> None:
    data = bytearray(path.read_bytes())
    if how == "cut":
        del data[len(data) // 2 :]
    elif how == "empty":
        data.clear()
    elif how == "text":
        data[:] = b"hello"
    elif how == "flipped":
        data[len(data) // 4] ^= 1
    else:
        import pyarrow as pa

        table = parquet.read_table(path)
        digests, documents = (table.column(name).to_pylist() for name in ("digest", "document"))
        if how == "another document":
            documents = [raw.replace(b"amd64", b"amd46").replace(b"linux", b"xunil") for raw in documents]
        elif how == "nothing":
            documents = [b""] * len(documents)
        elif how == "other digests":
            digests = digests[::-1]
        elif how == "another type":
            documents = [raw.decode() for raw in documents]
        schema = state._schema() if how != "another type" else None
        parquet.write_table(pa.table({"digest": digests, "document": documents}, schema=schema), path)
        return
    path.write_bytes(data)


@pytest.mark.parametrize(
    "how", ["cut", "empty", "text", "flipped", "another document", "nothing", "other digests", "another type"]
)
def test_a_file_that_no_run_left_is_never_believed_and_made_anew(
    how: str, run: Run, registry: ScriptedRegistry, tmp_path: Path
) -> None:
    report = done(run, *words(registry))
    spoiled(tmp_path / FILE, how)
    assert report["images"] == done(run, *words(registry))["images"]
    done(run, *words(registry))  # one that is damaged in places is made anew of what that run fetched
    registry.forget()
    assert report["images"] == done(run, *words(registry))["images"]
    assert a_head_each(registry) == asked(registry)


def test_a_directory_that_is_open_to_others_is_refused(run: Run, registry: ScriptedRegistry, tmp_path: Path) -> None:
    (tmp_path / "seen").mkdir()
    (tmp_path / "seen").chmod(0o777)
    result = run(*words(registry))
    assert (9, "") == (result.code, result.out) and "open to others" in result.err and "chmod 700" in result.err
    assert [] == os.listdir(tmp_path / "seen") and [] == registry.sent()


def test_what_is_kept_is_for_its_owner_alone(run: Run, registry: ScriptedRegistry, tmp_path: Path) -> None:
    done(run, *words(registry))
    assert [0o700, 0o600] == [path.stat().st_mode & 0o777 for path in (tmp_path / "seen", tmp_path / FILE)]
    os.link(tmp_path / FILE, tmp_path / "other")  # another name may be in reach of others
    result = run(*words(registry), "--format", "json")
    assert "made anew" in result.err, str(result)
    report_of(result)


def test_without_its_package_it_says_what_to_install(
    run: Run, registry: ScriptedRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    result = run(*words(registry))
    assert 2 == result.code and "ocitool[export]" in result.err and [] == registry.sent()


def test_a_run_that_ends_early_leaves_the_file_as_it_was(run: Run, registry: ScriptedRegistry, tmp_path: Path) -> None:
    done(run, *words(registry))
    before = (tmp_path / FILE).read_bytes()
    put_images(registry, "app", image([TWO]), tag="t9")
    assert 3 == run(*words(registry, "--strict", "gone/")).code
    assert (before, ["documents.parquet"]) == ((tmp_path / FILE).read_bytes(), os.listdir(tmp_path / "seen"))


def test_a_run_that_learns_nothing_writes_nothing(run: Run, registry: ScriptedRegistry, tmp_path: Path) -> None:
    done(run, *words(registry))
    before = (tmp_path / FILE).stat()
    done(run, *words(registry))
    assert before.st_ino == (tmp_path / FILE).stat().st_ino


def test_thousands_of_documents_are_held_a_few_groups_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each group of rows is read once if documents are asked for in the order in which they came."""
    documents = [b"%d" % number * 50 for number in range(20 * state._ROWS)]
    digests = list(map(Digest.of, documents))
    with Task() as task:
        with state.kept_documents(str(tmp_path / "seen"), task) as kept:
            for digest, raw in zip(digests, documents, strict=True):
                kept.add(digest, raw)
                assert len(kept._new) < state._ROWS
        reads: Counter[int] = Counter()
        real = state._GroupedFile.group
        monkeypatch.setattr(state._GroupedFile, "group", lambda self, number: reads.update([number]) or real(self, number))
        with state.kept_documents(str(tmp_path / "seen"), task) as kept:
            assert documents == list(map(kept.find, digests))
            assert len(kept._groups) <= state._GROUPS
    assert dict.fromkeys(range(20), 1) == reads
