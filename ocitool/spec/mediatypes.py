"""Media types, and what each says: the kind of document, or what the bytes of a layer are.

Sources: image-spec media-types.md and layer.md, Docker image manifest version 2 schema 2, RFC 6838 for unknown ones.
"""

import re
from typing import NamedTuple

from ocitool.patterns import pattern

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


class LayerType(NamedTuple):
    """What a layer's media type says of its bytes. `content`: one of `CONTENTS`; `codec`: the compression that it states, None
    if it states none that we know; `tar`: whether they are the tar of a file system; `plain`: whether its bytes are its
    content, so that the unpacked size is the stored one."""

    content: str
    codec: str | None
    tar: bool = False
    plain: bool = False


CONTENTS = {
    "tar": "a tar",
    "encrypted": "encrypted",
    "nydus": "a Nydus blob",
    "wasm": "a WebAssembly module",
    "squashfs": "a squashfs file system",
    "erofs": "an EROFS file system",
    "sif": "a SIF image",
    "puzzlefs": "part of a PuzzleFS image",
    "statement": "a statement about an image (in-toto)",
    "signature": "a signature",
    "sbom": "a list of software (SBOM)",
    "helm": "a Helm chart",
    "buildkit": "a record of a BuildKit cache",
    "empty": "empty",
    "unknown": "of an unknown type",
}
"""What a layer may be, as it stands behind "the layer is"."""

SUFFIXES = {"none": ("", ""), "gzip": ("+gzip", ".gzip"), "zstd": ("+zstd", ".zstd")}
"""What stands behind OCI's and behind Docker's type of a layer in this compression. `layers.codecs` knows all else of it."""
DOCKER_CODECS = frozenset({"none", "gzip"})
"""Those that engines know which know Docker's types alone: a layer in another one makes an OCI image of theirs."""
_FAMILIES = (
    (OCI_LAYER, DOCKER_LAYER),
    ("application/vnd.oci.image.layer.nondistributable.v1.tar", "application/vnd.docker.image.rootfs.foreign.diff.tar"),
)
_TARS = {
    stem + suffix: LayerType("tar", codec, tar=True, plain=codec == "none")
    for stems in _FAMILIES for codec, suffixes in SUFFIXES.items() for stem, suffix in zip(stems, suffixes, strict=True)
}  # fmt: skip
_AS_OCI = {docker + behind: oci + suffix for oci, docker in _FAMILIES for suffix, behind in SUFFIXES.values()}

_ENCRYPTED = ("+encrypted", "+enc")
"""What ocicrypt puts behind a layer's type; imgcrypt's older releases wrote the short one."""

_OTHERS = (
    (r"application/vnd\.oci\.image\.layer\.nydus\..*", LayerType("nydus", None)),
    (r"application/(.*[.+])?wasm([.+].*)?", LayerType("wasm", "none", plain=True)),
    (r"application/.*\bsquashfs\b.*", LayerType("squashfs", None)),
    (r"application/.*\berofs\b.*", LayerType("erofs", None)),
    (r"application/vnd\.sylabs\.sif\..*", LayerType("sif", None)),
    (r"application/vnd\.puzzlefs\..*", LayerType("puzzlefs", None)),
    (r"application/vnd\.in-toto[.+].*|application/vnd\.dsse\.envelope\..*", LayerType("statement", "none", plain=True)),
    (
        r"application/vnd\.dev\.(cosign|sigstore)\..*|application/vnd\.cncf\.notary\..*|application/(jose\+json|cose)"
        r"|application/(pgp-signature|pkcs7-signature)",
        LayerType("signature", "none", plain=True),
    ),
    (r"(text|application)/(spdx|vnd\.cyclonedx|vnd\.syft)([.+].*)?", LayerType("sbom", "none", plain=True)),
    (r"application/vnd\.cncf\.helm\.chart\.content\..*\+gzip", LayerType("helm", "gzip")),
    (r"application/vnd\.cncf\.helm\..*", LayerType("helm", None)),
    (r"application/vnd\.buildkit\..*", LayerType("buildkit", "none", plain=True)),
    (r"application/vnd\.oci\.(empty|scratch)\.v1\+json", LayerType("empty", "none", plain=True)),
)
_UNKNOWN = LayerType("unknown", None)


_GRAMMAR = pattern(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}", re.ASCII)


_LONGEST = 255
"""Characters of a media type: RFC 6838 has two names of 127 at most."""


def is_media_type(text: str) -> bool:
    """Returns whether a text is a media type without parameters (RFC 6838, 4.2)."""
    return _GRAMMAR.fullmatch(text) is not None


def layer_type(media_type: str) -> LayerType:
    """Returns what a layer's media type states; `content` is `unknown` if no specification that we know defines the type."""
    tar = _TARS.get(media_type)
    if tar is not None:
        return tar
    if media_type.endswith(_ENCRYPTED):
        # The compression is that of the plaintext: nothing but the key can check it.
        return LayerType("encrypted", layer_codec(media_type.rpartition("+enc")[0]))
    if len(media_type) > _LONGEST:
        return _UNKNOWN
    return next((found for pattern, found in _OTHERS if re.fullmatch(pattern, media_type)), _UNKNOWN)


def layer_codec(media_type: str) -> str | None:
    """Returns the compression (`SUFFIXES`) that the media type of a tar layer states; None for any other type."""
    tar = _TARS.get(media_type)
    return tar.codec if tar is not None else None


def tar_layer(codec: str, *, docker: bool) -> str:
    """Returns the media type of a tar layer in this compression: that of Docker only if `docker`, and if its engines
    know the codec."""
    oci, suffix = SUFFIXES[codec]
    return DOCKER_LAYER + suffix if docker and codec in DOCKER_CODECS else OCI_LAYER + oci


def is_foreign(media_type: str) -> bool:
    """Returns whether a layer's bytes are kept elsewhere and may not be passed on (layer.md, "Non-Distributable Layers")."""
    return ".nondistributable." in media_type or ".foreign." in media_type


def as_oci(media_type: str) -> str:
    """Returns the OCI media type for one of Docker's layer types; any other type unchanged."""
    return _AS_OCI.get(media_type, media_type)
