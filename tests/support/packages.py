"""The packages of an image that is made in memory, and parts of databases to put into it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from ocitool.images.image import Image
from ocitool.packages.installed import Databases, installed
from ocitool.packages.package import PackageKind, PackageList
from ocitool.task import Task
from ocitool.trees.tree import Tree
from support.images import layer_tar
from support.merged import memory_image, tree_of

Files = Sequence[tuple[str | bytes, bytes | str | None]]
"""The entries of a layer as `support.images.entry` takes them: path and content, `link:TARGET`, or None for a directory."""


def merged(task: Task, *layers: Files) -> tuple[Image, Tree]:
    """An image of these layers, lowest first, and its merged tree."""
    image = memory_image([layer_tar(files) for files in layers])
    return image, tree_of(image, task)


def packages_of(*layers: Files, kinds: Collection[PackageKind] | None = None, only: Databases | None = None) -> PackageList:
    """The packages of an image of these layers, lowest first."""
    with Task() as task:
        image, tree = merged(task, *layers)
        return installed(tree, image.layers, task, kinds=kinds, only=only)


def stanza(name: str, version: str = "1", architecture: str = "amd64", **fields: Any) -> bytes:
    """A paragraph of dpkg's `status`, of an installed package; `fields`: more of it, or others."""
    given = {"Package": name, "Status": "install ok installed", "Architecture": architecture, "Version": version, **fields}
    return "".join(f"{key}: {value}\n" for key, value in given.items()).encode() + b"\n"
