"""Media types, and what each says: the kind of document, or the compression of a layer.

Sources: image-spec media-types.md and layer.md, Docker image manifest version 2 schema 2, RFC 6838 for unknown ones.
"""

from __future__ import annotations

import re

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"

OCI_ARTIFACT = "application/vnd.oci.artifact.manifest.v1+json"
"""The artifact manifest that image-spec 1.1 dropped before its release; registries still hold some."""
DOCKER_SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+json"
DOCKER_SCHEMA1_SIGNED = "application/vnd.docker.distribution.manifest.v1+prettyjws"

INDEXES = frozenset({OCI_INDEX, DOCKER_LIST})
MANIFESTS = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
DOCUMENTS = INDEXES | MANIFESTS
"""What is read. An index may list anything else, which is listed and carried (image-index.md, "manifests")."""
OTHER_MANIFESTS = frozenset({OCI_ARTIFACT, DOCKER_SCHEMA1, DOCKER_SCHEMA1_SIGNED})
"""Manifests that are carried and not read."""
AT_MANIFESTS = DOCUMENTS | OTHER_MANIFESTS | {""}
"""What registries keep among the manifests; all else that an index lists is a blob there."""
CONFIGS = frozenset({OCI_CONFIG, DOCKER_CONFIG})

_LAYERS = {
    OCI_LAYER: "none",
    f"{OCI_LAYER}+gzip": "gzip",
    f"{OCI_LAYER}+zstd": "zstd",
    "application/vnd.oci.image.layer.nondistributable.v1.tar": "none",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip": "gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd": "zstd",
    DOCKER_LAYER: "none",
    f"{DOCKER_LAYER}.gzip": "gzip",
    f"{DOCKER_LAYER}.zstd": "zstd",
    "application/vnd.docker.image.rootfs.foreign.diff.tar": "none",
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip": "gzip",
}


_GRAMMAR = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}", re.ASCII)


def is_media_type(text: str) -> bool:
    """RFC 6838, 4.2, without parameters."""
    return _GRAMMAR.fullmatch(text) is not None


def layer_codec(media_type: str) -> str | None:
    """`none`, `gzip` or `zstd` as a layer's media type states it; None when it is no layer type we know."""
    return _LAYERS.get(media_type)


def is_foreign(media_type: str) -> bool:
    """A layer whose bytes are kept elsewhere and may not be passed on (layer.md, "Non-Distributable Layers")."""
    return ".nondistributable." in media_type or ".foreign." in media_type


def as_oci(media_type: str) -> str:
    """A layer type of Docker's as OCI names it; any other as it stands."""
    for docker, oci in (
        (DOCKER_LAYER, OCI_LAYER),
        ("application/vnd.docker.image.rootfs.foreign.diff.tar", "application/vnd.oci.image.layer.nondistributable.v1.tar"),
    ):
        if media_type in (docker, f"{docker}.gzip", f"{docker}.zstd"):
            return oci + media_type[len(docker) :].replace(".", "+")
    return media_type
