"""`--as layers` checked against the kernel: what it shows of the printed mount is our merged tree, path by path; and what is
written through the mount is, as a layer, exactly that."""

from __future__ import annotations

import functools
import os
import random
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.disk import Found, as_nobody, on_disk, open_to_all
from support.images import Image as MadeImage
from support.images import image as made
from support.images import layer_tar, write_layout

from ocitool.digest import Digest
from ocitool.disk.overlay_changes import layer_members
from ocitool.disk.rootfs import Ownership
from ocitool.images.platform_choice import single
from ocitool.layers import tarwriter
from ocitool.layers.entry import Kind
from ocitool.layers.scan import index_layer, open_content
from ocitool.operations.unpack.flat import unpack as flat
from ocitool.operations.unpack.store import StoredImage, unpack
from ocitool.pipeline.session import Session
from ocitool.task import Task
from ocitool.transports.opening import open_source
from ocitool.trees.nodes import Directory
from ocitool.trees.tree import Tree

ROOT = Path(__file__).resolve().parents[2]
KINDS = {Kind.FILE: "file", Kind.DIRECTORY: "directory", Kind.SYMLINK: "symlink", Kind.CHAR: "char", Kind.BLOCK: "block",
         Kind.FIFO: "fifo"}  # fmt: skip
COPIED_LINKS = {("testdata/links-across.tar", b"a/sym"), ("testdata/links-across.tar", b"a/to-lower-symlink")}
"""Hard links across layers, which an overlay cannot have: it says so, and these are two files."""


@functools.cache
def overlay_works(where: Path) -> bool:
    for name in ("lower", "upper", "work", "merged"):
        (where / name).mkdir(parents=True)
    options = f"lowerdir={where}/lower,upperdir={where}/upper,workdir={where}/work"
    done = subprocess.run(
        ["mount", "-t", "overlay", "overlay", "-o", options, where / "merged"], capture_output=True, timeout=60
    )
    if done.returncode == 0:
        subprocess.run(["umount", where / "merged"], check=True, timeout=60)
    return done.returncode == 0


@pytest.fixture(scope="session")
def ground(need: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory on which overlays can be mounted."""
    need("root", "mount", "umount")
    where = tmp_path_factory.mktemp("overlay")
    if not overlay_works(where):
        if os.environ.get("OCITOOL_REQUIRE_TOOLS") == "1":
            pytest.fail("needs overlay mounts (OCITOOL_REQUIRE_TOOLS=1)", pytrace=False)
        pytest.skip("needs overlay mounts")
    return tmp_path_factory.mktemp("stores")


@contextmanager
def mounted(store: Path, image: StoredImage) -> Iterator[Path]:
    """The printed command, run in a shell."""
    assert image.command is not None
    merged = store / "images" / image.name / "merged"
    done = subprocess.run(["sh", "-c", image.command], capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    try:
        yield merged
    finally:
        subprocess.run(["umount", merged], check=True, timeout=60)


def stored(reference: str, store: Path) -> StoredImage:
    with Task() as task:
        return unpack(reference, str(store), Session(task, cached=False), owners=Ownership()).images[0]


def ours(reference: str) -> Found:
    """The merged tree as `on_disk` tells of directories."""
    with Task() as task:
        image = single(open_source(reference, "layers", task), None)
        tree = Tree([index_layer(layer.blob, task) for layer in image.layers if layer.blob is not None])
        found: Found = {}
        for path, node in [(b"", tree.root), *tree.walk()]:
            ref = node.ref if isinstance(node, Directory) else node
            entry = tree.entry(ref)
            content = None
            if entry.kind == Kind.FILE:
                blob = image.layers[tree.layer(tree.inode(ref))].blob
                assert blob is not None
                content = b"".join(open_content(blob, entry))
            found[path] = {
                "kind": KINDS[entry.kind], "mode": None if entry.kind == Kind.SYMLINK else entry.mode, "uid": entry.uid,
                "gid": entry.gid, "mtime": entry.mtime, "content": content,
                "target": entry.link if entry.kind == Kind.SYMLINK else None, "device": entry.device,
                "xattrs": dict(entry.xattrs or ()), "links": [] if isinstance(node, Directory) else tree.links(ref),
            }  # fmt: skip
    return found


def differences(we: Found, they: Found) -> list[str]:
    messages = []
    for path in sorted(we.keys() | they.keys()):
        if path not in we or path not in they:
            messages.append(f"{path!r}: only {'ours' if path in we else 'the kernel'} has it")
            continue
        messages += [
            f"{path!r}: {field}: {value!r}, the kernel {they[path][field]!r}"
            for field, value in we[path].items()
            if value != they[path][field]
        ]
    return messages


def lines() -> list[str]:
    odd = ["whiteouts-umoci", "links-across", "dialects", "empty-layers", "sparse-gnu", "pax-global"]
    chosen: dict[object, str] = {}
    for line in [*(ROOT / "testdata/portable.txt").read_text().split(), *(f"testdata/{name}.tar" for name in odd)]:
        with Task() as task:
            image = single(open_source(reference(line), "layers", task), None)
        chosen.setdefault(tuple(layer.diff_id for layer in image.layers), line)
    return list(chosen.values())


def reference(line: str) -> str:
    transport, colon, rest = line.partition(":") if line.startswith("oci-archive:") else ("", "", line)
    return f"{transport}{colon}{ROOT / rest}"


@pytest.mark.tools
@pytest.mark.parametrize("line", lines())
def test_the_mount_shows_the_merged_tree(line: str, ground: Path) -> None:
    """All into one store: what images share is shared."""
    image = stored(reference(line), ground / "all")
    we = ours(reference(line))
    for name, path in COPIED_LINKS:
        if name == line:
            we[path]["links"] = []
    with mounted(ground / "all", image) as merged:
        assert differences(we, on_disk(merged)) == []


@pytest.mark.tools
def test_a_hundred_layers_mount(ground: Path, tmp_path: Path) -> None:
    tars = [layer_tar([("d/", None), (f"d/f{n}", b"%d" % n), ("d/last", b"%d" % n)]) for n in range(100)]
    write_layout(tmp_path / "layout", [made(tars, tag="t")])
    image = stored(f"{tmp_path}/layout:t", ground / "hundred")
    with mounted(ground / "hundred", image) as merged:
        assert (101, b"99") == (len(os.listdir(merged / "d")), (merged / "d/last").read_bytes())


def odd_image(seed: int) -> MadeImage:
    """Layers of few names, so that they meet: whiteouts, opaque marks, links, parents that are missing."""
    chance = random.Random(seed)

    def path() -> str:
        return "/".join(chance.choice("abc") for _ in range(chance.randrange(1, 4)))

    def member() -> tuple[str, bytes | str | None]:
        kind = chance.randrange(10)
        at = path()
        if kind < 3:
            return at, b"%d" % chance.randrange(1000)
        if kind < 6:
            return at + "/", None
        if kind < 7:
            return at, f"link:{path()}"
        parent, slash, name = at.rpartition("/")
        if kind < 9:
            return f"{parent}{slash}.wh.{name}", b""
        return f"{at}/.wh..wh..opq", b""

    return made([layer_tar([member() for _ in range(chance.randrange(8))]) for _ in range(5)], tag="t")


@pytest.mark.tools
def test_random_layers_mount_to_the_merged_tree(ground: Path, tmp_path: Path) -> None:
    for seed in range(60):
        write_layout(tmp_path / str(seed), [odd_image(seed)])
        image = stored(f"{tmp_path}/{seed}:t", ground / "random")
        with mounted(ground / "random", image) as merged:
            assert differences(ours(f"{tmp_path}/{seed}:t"), on_disk(merged)) == [], seed


def test_the_comparison_notices_every_field(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"1")
    found = on_disk(tmp_path)
    for field in found[b"f"]:
        changed = {**found, b"f": {**found[b"f"], field: "something else"}}
        assert 1 == len(differences(changed, found)), field
    assert (2, 0) == (len(differences({}, found)), len(differences(found, found)))


# Copy-on-write made visible: what is written through the mount, as a layer on the same image, is what the mount showed.


def change(merged: Path) -> None:
    """Everything that a container may do to its files."""
    (merged / "d/deep/new").write_bytes(b"new")
    (merged / "d/changed").write_bytes(b"changed")
    (merged / "d/removed").unlink()
    subprocess.run(["rm", "-r", merged / "gone", merged / "replaced"], check=True, timeout=60)
    (merged / "replaced").mkdir()
    (merged / "replaced/only").write_bytes(b"only")
    (merged / "becomes-file/x").unlink()
    (merged / "becomes-file").rmdir()
    (merged / "becomes-file").write_bytes(b"file")
    (merged / "d/link").symlink_to("changed")
    os.link(merged / "d/changed", merged / "d/again")
    os.mkfifo(merged / "d/pipe")
    os.mknod(merged / "d/null", 0o020600, os.makedev(1, 3))
    os.chmod(merged / "d/mode", 0o4711)
    os.chown(merged / "d/owner", 12, 34)
    os.setxattr(merged / "d/attribute", "user.app", b"\0\xff")
    os.utime(merged / "d/time", ns=(0, 1_234_567_890_123_456_789))


@pytest.mark.tools
def test_what_was_written_through_the_mount_is_a_layer(ground: Path, tmp_path: Path) -> None:
    names = ["changed", "removed", "mode", "owner", "attribute", "time", "kept"]
    base = layer_tar([
        ("d/", None), *((f"d/{name}", name.encode()) for name in names), ("d/deep/", None), ("d/deep/old", b"old"),
        ("gone/", None), ("gone/x", b"x"), ("replaced/", None), ("replaced/x", b"x"), ("becomes-file/", None),
        ("becomes-file/x", b"x"),
    ])  # fmt: skip
    write_layout(tmp_path / "base", [made([base], tag="t")])
    image = stored(f"{tmp_path}/base:t", ground / "written")
    with mounted(ground / "written", image) as merged:
        change(merged)
        shown = on_disk(merged)
    with Task() as task:
        upper = layer_members(ground / "written/images" / image.name / "upper", task)
        layer = b"".join(tarwriter.write(upper))
    write_layout(tmp_path / "both", [made([base, layer], tag="t")])
    we = ours(f"{tmp_path}/both:t")
    del we[b""], shown[b""]  # the root's own attributes are no part of the layer
    assert differences(we, shown) == []
    again = stored(f"{tmp_path}/both:t", ground / "written")
    assert f"sha256/{Digest.of(layer).encoded}" == again.layers[1].directory, "a layer of ours is self-contained"
    with mounted(ground / "written", again) as merged:
        they = on_disk(merged)
        del they[b""]
        assert differences(we, they) == []


@pytest.mark.tools
def test_an_ordinary_user_mounts_in_a_namespace(ground: Path, need: Callable[..., str]) -> None:
    need("unshare")
    with open_to_all() as place:
        base = layer_tar([("d/", None), ("d/x", b"1"), ("d/y", b"2"), ("e/", None), ("e/x", b"3")])
        top = layer_tar([("d/", None), ("d/.wh.x", b""), ("e/", None), ("e/.wh..wh..opq", b""), ("e/z", b"4")])
        write_layout(place / "layout", [made([base, top], tag="t")])

        def run() -> tuple[int, bytes, bytes]:
            with Task() as task:
                result = unpack(f"{place}/layout:t", f"{place}/s", Session(task, cached=False), owners=Ownership(rootless=True))
            image = result.images[0]
            find = f"{image.command} && cd images/{image.name}/merged && find . -type f | sort"
            words = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", find]
            done = subprocess.run(words, capture_output=True, timeout=60)
            return done.returncode, done.stdout, done.stderr

        code, out, err = as_nobody(run)
        if code and b"unshare" in err:
            pytest.skip("needs user namespaces")
        assert (0, b"./d/y\n./e/z\n") == (code, out), err


# The flat tar, read by GNU tar as root.


@pytest.mark.tools
@pytest.mark.parametrize("line", lines())
def test_gnu_tar_extracts_the_merged_tree(line: str, need: Callable[..., str], tmp_path: Path) -> None:
    need("tar", "root")
    with Task() as task:
        flat(reference(line), f"{tmp_path}/flat.tar", Session(task, cached=False))
    (tmp_path / "root").mkdir()
    # Directories come before all files, so GNU tar has to keep their times and modes for the end.
    words = ["tar", "--xattrs", "--xattrs-include=*", "--numeric-owner", "--delay-directory-restore", "--warning=no-timestamp"]
    words += ["-xpf", f"{tmp_path}/flat.tar", "-C", f"{tmp_path}/root"]
    done = subprocess.run(words, capture_output=True, timeout=120)
    assert (0, b"") == (done.returncode, done.stderr)
    we, they = ours(reference(line)), on_disk(tmp_path / "root")
    del we[b""], they[b""]  # where no layer lists the root, the tar does not either
    assert differences(we, they) == []
