"""Images made by every command that writes some, for reference tools: all in one layout, and once more in one archive for
engines.

What is repacked was edited at random, on disk; the other commands change one image in ways that each of them is for.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from ocitool.disk.attributes import Ownership
from ocitool.images.config_edits import Settings
from ocitool.layers.compress import parse
from ocitool.operations.append import LayerInput, append
from ocitool.operations.copy import copy
from ocitool.operations.edit import ContentEdits, edit
from ocitool.operations.edit.file_addition import FileAddition
from ocitool.operations.repack import Mode, RepackOptions, repack
from ocitool.operations.unpack.editable import unpack
from ocitool.pipeline.image_writer import WriteOptions
from ocitool.pipeline.session import Session
from ocitool.task import Task
from support import scripts
from support.images import layer_tar
from support.reference_tools import (
    FileSystem,
    coarse,
    differences,
    distinct,
    of_container,
    of_directory,
    of_umoci,
    ours,
    reference,
    run,
)

MODES: tuple[Mode, ...] = ("rewrite", "append")
APP = "testdata/app-v2.tar"


class WrittenImage(NamedTuple):
    """An image that a command made, and our merged tree of it. `directory`: what it is to be, where that is known."""

    name: str
    what: str
    tree: FileSystem
    directory: FileSystem | None

    def differences_from(self, tool: str, they: FileSystem, *, copies: bool = False) -> list[str]:
        """What a tool sees otherwise. `copies`: it begins a layer with a copy of the one below (vfs), in which the names of
        one symlink become several: that is the one thing in which the drivers differ."""
        we = coarse(self.tree) if tool == "docker" else self.tree
        if copies:
            we, they = ({path: {**one, "links": []} if one["type"] == "link" else one for path, one in tree.items()}
                        for tree in (we, they))  # fmt: skip
        return [f"{self.what}: {text}" for text in differences(tool, self.name, we, they)]


class WrittenImages:
    def __init__(self, place: Path) -> None:
        self.place = place
        self.layout = f"{place}/layout"
        self.archive = place / "all.tar"
        self.products: list[WrittenImage] = []

    def make(
        self, what: str, run: Callable[[Session, WriteOptions], object], *, directory: FileSystem | None = None, **more: Any
    ) -> None:
        name = f"written:n{len(self.products)}"
        with Task() as task:
            run(Session(task, cached=False), WriteOptions(f"{self.layout}/", names=(name,), **more))
        with Task() as task:
            tree = ours(Session(task, cached=False).image(f"{self.layout}:{name}", None), task)
        self.products.append(WrittenImage(name, what, tree, directory))

    def repacked(self, seeds: Iterable[int], lines: Iterable[str] | None = None) -> None:
        """Each portable image, edited at random, in both modes."""
        for line in distinct() if lines is None else lines:
            for seed in seeds:
                self._repacked(line, seed)

    def _plain(self, line: str) -> str:
        """The image without volumes: no engine makes a container where a volume's place became something else."""
        with Task() as task:
            reading = Session(task, cached=False)
            volumes = tuple(reading.image(reference(line), None).config.settings.get("Volumes") or ())
            if not volumes:
                return reference(line)
            plain = f"{self.place}/plain.tar"
            edit(reference(line), Settings(unset_volumes=volumes), ContentEdits(), reading, WriteOptions(plain, force=True))
        return plain

    def _repacked(self, line: str, seed: int) -> None:
        work = self.place / "work"
        source = self._plain(line)
        with Task() as task:
            unpack(source, str(work), Session(task, cached=False), owners=Ownership())
        done = scripts.edit(work / "rootfs", f"{line} {seed}")
        directory = of_directory(os.fsencode(work / "rootfs"))
        for mode in MODES:

            def run(reading: Session, writing: WriteOptions, mode: Mode = mode) -> None:
                repack(str(work), RepackOptions(mode=mode, dir_times=True), reading, writing)

            self.make(f"repack --mode {mode} of {line}, seed {seed} ({'; '.join(done)})", run, directory=directory)
        shutil.rmtree(work)

    def others(self) -> None:
        """What `append`, `edit` and `copy` make of one image."""
        app = self._plain(APP)
        layer, upper, tar = self._layer(), self._upper(), self.place / "layer.tar"
        tar.write_bytes(layer_tar([
            ("etc/", None), ("etc/.wh.group", b""), ("srv/", None), ("srv/shop/", None), ("srv/shop/static/", None),
            ("srv/shop/static/.wh..wh..opq", b""), ("srv/shop/static/new.css", b"new"),
            ("srv/shop/again", "hard:srv/shop/static/new.css"),
        ]))  # fmt: skip
        for kind, path in (("layer", layer), ("layer", tar), ("upperdir", upper)):
            added = [LayerInput(kind, str(path))]  # type: ignore[arg-type]
            self.make(f"append --{kind} {path.name}", partial(append, app, added))
        contents = {
            "--rm": ContentEdits(remove=(b"srv/shop/shop.py", b"srv/shop/static"), same_content=True),
            "--add": ContentEdits(add=(FileAddition(str(layer), b"opt/added"), FileAddition(str(tar), b"etc/passwd"))),
            "--add --layer 0": ContentEdits(add=(FileAddition(str(layer), b"opt/added"),), layer=0),
            "--drop-layer": ContentEdits(drop=(-1, 3)),
        }
        for what, content in contents.items():
            self.make(f"edit {what}", partial(edit, app, Settings(), content))
        settings = Settings(env=(("A", "b"),), labels=(("c", "d"),), user="7", workdir="/srv")
        self.make("edit --env --label --user --workdir", lambda r, w: edit(app, settings, ContentEdits(), r, w))
        self.make("copy", lambda r, w: copy([app], r, w))
        self.make("copy --compression gzip", lambda r, w: copy([app], r, w), compression=parse("gzip"))
        zipped = reference("testdata/encodings/oci-gzip.tar")
        self.make("copy --compression none", lambda r, w: copy([zipped], r, w), compression=parse("none"))

    def _layer(self) -> Path:
        """A directory to append: owners, modes, links and attributes of its own, over what the image has."""
        top = self.place / "layer"
        (top / "srv/shop").mkdir(parents=True)
        (top / "srv/shop/shop.py").write_bytes(b"other")
        (top / "srv/shop/link").symlink_to("shop.py")
        os.link(top / "srv/shop/shop.py", top / "srv/shop/hard")
        scripts.edit(top, "layer", 20)
        os.chown(top / "srv", 5, 6)
        return top

    def _upper(self) -> Path:
        """As overlayfs leaves it: whiteouts are devices, an opaque directory has a mark."""
        top = self.place / "upper"
        (top / "etc").mkdir(parents=True)
        os.mknod(top / "etc/group", 0o020000, os.makedev(0, 0))
        (top / "srv/shop/static").mkdir(parents=True)
        os.setxattr(top / "srv/shop/static", "trusted.overlay.opaque", b"y")
        (top / "srv/shop/static/only").write_bytes(b"only")
        (top / "usr").mkdir()
        (top / "usr/os-release").write_bytes(b"a file now")
        os.mknod(top / "tmp", 0o020000, os.makedev(0, 0))
        return top

    def pack(self) -> Path:
        """All of it as one archive."""
        with Task() as task:
            copy([self.layout], Session(task, cached=False), WriteOptions(str(self.archive)))
        return self.archive

    # Judgements: what was seen otherwise, nothing where all agree.

    def by_directory(self) -> list[str]:
        """The directories that were repacked."""
        return [
            text
            for one in self.products
            if one.directory is not None
            for text in one.differences_from("directory", one.directory)
        ]

    def by_umoci(self) -> list[str]:
        place = self.place / "bundle"
        return [
            text
            for one in self.products
            for text in one.differences_from("umoci", of_umoci(f"{self.layout}:{one.name}", place))
        ]

    def by_engine(self, docker: Callable[..., Any], driver: str) -> list[str]:
        docker("load", "-i", self.archive)
        messages = []
        for one in self.products:
            they = of_container(docker, one.name, self.place / "export.tar")
            messages += one.differences_from("docker", they, copies=driver == "vfs")
        return messages

    def by_skopeo(self, products: Iterable[WrittenImage]) -> None:
        """It copies each by both kinds of archive; it verifies every digest."""
        for number, one in enumerate(products):
            for transport in ("docker-archive", "oci-archive"):
                name = f"{transport}:{self.archive}:docker.io/library/{one.name}"
                run("skopeo", "copy", "--insecure-policy", name, f"dir:{self.place}/{transport}-{number}")
