"""A merged tree as plain values, so that two can be compared: every field, content and link group, path by path."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ocitool.blob import BytesBlob
from ocitool.digest import Digest
from ocitool.images.image import Image, Layer
from ocitool.layers.entry import Kind
from ocitool.layers.scan import index_layer, open_content
from ocitool.spec.manifest import Config, Platform
from ocitool.task import Task
from ocitool.trees.nodes import Directory
from ocitool.trees.tree import Tree


def memory_image(stored: Sequence[bytes], *, digests: Sequence[Digest | None] | None = None) -> Image:
    """An image of these layers as they are stored, in memory; what it states is true unless `digests` says otherwise."""
    layers = []
    for number, data in enumerate(stored):
        digest = Digest.of(data) if digests is None else digests[number]
        layers.append(Layer(number, BytesBlob(data, digest), digest, None, len(data), "", None, None))
    nothing = Platform(None, None, None)
    return Image("memory", "oci", (), None, None, Config(b"{}", {}), "", tuple(layers), nothing, True, True)


def tree_of(image: Image, task: Task) -> Tree:
    return Tree([index_layer(layer.blob, task) for layer in image.layers if layer.blob is not None])


def described(image: Image, tree: Tree) -> dict[bytes, dict[str, Any]]:
    found: dict[bytes, dict[str, Any]] = {}
    for path, node in [(b"", tree.root), *tree.walk()]:
        ref = node.ref if isinstance(node, Directory) else node
        entry = tree.entry(ref)
        content = None
        if entry.kind == Kind.FILE:
            blob = image.layers[tree.layer(tree.inode(ref))].blob
            assert blob is not None
            content = b"".join(open_content(blob, entry))
        found[path] = {
            "kind": entry.kind, "mode": entry.mode, "uid": entry.uid, "gid": entry.gid, "mtime": entry.mtime,
            "size": entry.size, "link": entry.link if entry.kind == Kind.SYMLINK else b"", "device": entry.device,
            "xattrs": entry.xattrs, "segments": entry.segments, "content": content,
            "links": [] if isinstance(node, Directory) else tree.links(ref),
        }  # fmt: skip
    return found
