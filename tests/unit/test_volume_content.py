"""The tar of a volume: one for each content, whatever order it came in, and nothing in it that leads out of the volume."""

from __future__ import annotations

import io
import random
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.images import Image, entry, layer_tar, sha256, write_layout, zst

from ocitool.errors import OcitoolError, TransportError, UnsafeError
from ocitool.layers import tarwriter
from ocitool.layers.entry import Entry, Kind
from ocitool.layers.tarinput import ChunkInput
from ocitool.task import Task
from ocitool.volumes.artifact import ARTIFACT_TYPE, EMPTY, EMPTY_TYPE, LAYER_TYPE
from ocitool.volumes.content import Content, Counts, OutOfOrderError, checked_counts, members, sorted_tar_of, tar_of

Run = Callable[..., Any]


def coming(data: bytes, size: int = 700) -> Content:
    @contextmanager
    def content() -> Iterator[Iterator[bytes]]:
        yield iter([data[at : at + size] for at in range(0, len(data), size)])

    return content


def made(data: bytes, prefix: bytes = b"v", *, any_order: bool = False) -> bytes:
    read = sorted_tar_of if any_order else tar_of
    with Task() as task:
        return b"".join(map(bytes, read(coming(data), task, Counts(), prefix)))


NAMES = {  # by file: its names, in our order
    "one": ["a/b", "a/b.c", "a.b"], "two": ["a/.wh.two"], "three": ["z", "zz"], "four": ["a/d/four", "e"],
}  # fmt: skip


def tree(order: random.Random | None = None) -> bytes:
    """A tar below `v/`: in our order, or in any in which a link follows its target; then any name may have the content."""
    rows: list[tuple[Entry, bytes]] = []
    for path in ("", "a", "a/d", "m"):
        rows.append(entry(f"v/{path}".rstrip("/"), None, uid=len(path)))
    rows.append(entry("v/a/link", "link:../../etc"))
    files = []
    for content, names in NAMES.items():
        ordered = sorted(names, key=lambda name: name.replace("/", "\0"))
        if order is not None:
            order.shuffle(ordered)
        first = ordered[0]
        files.append((entry(f"v/{first}", content.encode()), [entry(f"v/{name}", f"hard:v/{first}") for name in ordered[1:]]))
    if order is None:
        rows += [file for file, _ in files] + [link for _, links in files for link in links]
        rows.sort(key=lambda row: row[0].path.replace(b"/", b"\0"))
    else:
        order.shuffle(rows)
        order.shuffle(files)
        for file, links in files:
            rows += [file, *links]
        links = [row for row in rows if row[0].kind == Kind.HARDLINK]
        rows = [row for row in rows if row[0].kind != Kind.HARDLINK]
        order.shuffle(rows)
        order.shuffle(links)
        rows += links
    return layer_tar(rows)


def test_entries_in_our_order_are_passed_on() -> None:
    out = made(tree())
    with tarfile.open(fileobj=io.BytesIO(out)) as tar:
        names = [member.name for member in tar]
        assert names == [".", *sorted(names[1:], key=lambda name: name.replace("/", "\0"))]
        link = tar.getmember("a.b")
        assert link.islnk() and link.linkname == "a/b", "of several names the first has the content"
        file = tar.extractfile("a/.wh.two")
        assert file is not None and file.read() == b"two"
    assert made(tree(), any_order=True) == out


@pytest.mark.parametrize("seed", range(30))
def test_any_order_makes_the_same_bytes(seed: int) -> None:
    data = tree(random.Random(seed))
    with pytest.raises(OutOfOrderError):
        made(data)
    assert made(data, any_order=True) == made(tree())


def test_counts() -> None:
    counts = Counts()
    with Task() as task:
        for _ in tar_of(coming(tree()), task, counts, b"v"):
            pass
    assert (counts.entries, counts.files, counts.size) == (13, 4, len("onetwothreefour"))
    assert not counts.fractions and not counts.xattrs and not counts.early
    data = layer_tar([entry("v", None, mtime=1), entry("v/x", b"", xattrs=((b"user.a", b"1"),))])
    with Task() as task:
        for _ in tar_of(coming(data), task, counts, b"v"):
            pass
    assert counts.fractions and counts.xattrs


ROOT = entry("v", None)


@pytest.mark.parametrize(
    "rows, error",
    [
        ([entry("v", b"")], UnsafeError),
        ([ROOT, entry("other", b"")], TransportError),
        ([ROOT, entry("../v/x", b"")], TransportError),
        ([ROOT, entry("v/x", "link:/"), entry("v/x/y", b"")], UnsafeError),
        ([ROOT, entry("v/x/y", b"")], TransportError),
        ([ROOT, entry("v/x", "hard:v/y")], UnsafeError),
        ([ROOT, entry("v/x", "hard:etc/passwd")], TransportError),
        ([ROOT, entry("v/d", None), entry("v/x", "hard:v/d")], UnsafeError),
        ([entry("v/x", b"")], TransportError),
        ([], TransportError),
    ],
)  # fmt: skip
def test_what_an_engine_must_not_send(rows: list[Any], error: type[OcitoolError]) -> None:
    with pytest.raises((error, OutOfOrderError)):
        made(layer_tar(rows))
    with pytest.raises(error):
        made(layer_tar(rows), any_order=True)


def test_a_path_twice() -> None:
    data = layer_tar([ROOT, entry("v/x", b"1"), entry("v/x", b"2")])
    with pytest.raises(TransportError, match="twice"):
        made(data, any_order=True)


@pytest.mark.parametrize("any_order", [False, True])
def test_a_tar_that_ends_too_soon_never_passes(any_order: bool) -> None:
    data = tree()
    whole = data[: -len(tarwriter.END)]
    for end in range(0, len(whole) + 1, 512):
        with pytest.raises(TransportError, match="cannot be read"):
            made(data[:end], any_order=any_order)


def test_links_in_a_circle() -> None:
    data = layer_tar([ROOT, entry("v/a", "hard:v/b"), entry("v/b", "hard:v/a")])
    with pytest.raises(UnsafeError):
        made(data, any_order=True)


# Artifacts that ocitool did not write


def artifact(tmp_path: Path, tar: bytes, **changes: Any) -> Path:
    layer = changes.pop("layer", zst(tar))
    manifest = {
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "artifactType": ARTIFACT_TYPE,
        "config": {"mediaType": EMPTY_TYPE, "digest": sha256(EMPTY), "size": len(EMPTY)},
        "layers": [{"mediaType": LAYER_TYPE, "digest": sha256(layer), "size": len(layer)}],
        "annotations": {"org.ocitool.volume.name": "v", "org.ocitool.volume.driver": "local"}, **changes,
    }  # fmt: skip
    return write_layout(tmp_path / "artifact", [Image(EMPTY, manifest, [layer], tag="v")])


TOP = entry("", None)


@pytest.mark.parametrize(
    "rows, code",
    [
        ([TOP, entry("../x", b"")], 6),
        ([TOP, entry("a/../../x", b"")], 6),
        ([TOP, entry("x", "hard:../etc/passwd")], 6),
        ([TOP, entry("x", "hard:y")], 6),
        ([TOP, entry("x", "link:/etc"), entry("x/passwd", b"")], 6),
        ([TOP, entry("x", b""), entry("x/passwd", b"")], 6),
        ([TOP, entry("x", b""), entry("x", b"")], 4),
        ([TOP, entry("x/y", b"")], 4),
        ([entry("x", b"")], 4),
        ([], 4),
    ],
)  # fmt: skip
def test_a_hostile_artifact_is_refused_at_once(ocitool: Run, tmp_path: Path, rows: list[Any], code: int) -> None:
    reference = artifact(tmp_path, layer_tar(rows))
    done = ocitool("volume", "restore", "-H", f"unix://{tmp_path}/no-engine", reference, "v")
    assert done.code == code, str(done)


def test_an_artifact_of_another_kind(ocitool: Run, tmp_path: Path) -> None:
    words = ["volume", "restore", "-H", f"unix://{tmp_path}/no-engine"]
    assert ocitool(*words, artifact(tmp_path / "1", b"", artifactType="application/x"), "v").code == 2
    assert ocitool(*words, artifact(tmp_path / "2", b"", layers=[]), "v").code == 4
    labels = {"org.ocitool.volume.labels": "[]"}
    assert ocitool(*words, artifact(tmp_path / "3", layer_tar([TOP]), annotations=labels), "v").code == 4
    assert ocitool(*words, artifact(tmp_path / "4", b"", layer=zst(b"no tar")), "v").code == 4
    assert ocitool(*words, artifact(tmp_path / "5", b"", layer=b"no zstd"), "v").code == 4
    done = ocitool(*words, artifact(tmp_path / "6", layer_tar([TOP])), "v")
    assert done.code == 8 and "no engine here" in done.err


def test_members_have_the_prefix() -> None:
    data = layer_tar([TOP, entry("x", b"1"), entry("y", "hard:x"), entry("z", "link:x")])
    out = b"".join(map(bytes, members(ChunkInput(iter([data])), source=len(data), prefix=b"p")))
    with tarfile.open(fileobj=io.BytesIO(out)) as tar:
        assert [(member.name, member.linkname) for member in tar] == [("p", ""), ("p/x", ""), ("p/y", "p/x"), ("p/z", "x")]
    assert checked_counts(ChunkInput(iter([data])), len(data)).entries == 4


def test_more_than_the_limits_allow(ocitool: Run, tmp_path: Path) -> None:
    reference = artifact(tmp_path, layer_tar([TOP, entry("zeros", bytes(3_000_000))]))
    words = ["volume", "restore", "-H", f"unix://{tmp_path}/no-engine", reference, "v"]
    done = ocitool(*words, env={"OCITOOL_MAX_UNPACKED_SIZE": "1000000"})
    assert done.code == 7, str(done)


def test_a_saved_volume_is_copied_and_valid(ocitool: Run, tmp_path: Path) -> None:
    reference = artifact(tmp_path, layer_tar([TOP, entry("x", b"1")]))
    done = ocitool("copy", reference, tmp_path / "copied.tar")
    assert done.code == 0 and "docker load" not in done.err, str(done)
    assert ocitool("validate", tmp_path / "copied.tar").code == 0
    assert ocitool("volume", "diff", reference, tmp_path / "copied.tar").code == 0
    other = artifact(tmp_path / "other", layer_tar([TOP, entry("x", b"2"), entry(".wh.y", b"")]))
    done = ocitool("volume", "diff", reference, other, "--format", "json")
    assert done.code == 1 and [(one["path"], one["kind"]) for one in done.json()["files"]] == [
        ("/.wh.y", "added"),
        ("/x", "modified"),
    ]
