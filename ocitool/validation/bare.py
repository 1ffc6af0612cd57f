"""Validates a single document: against its schema, and by the rules that a schema cannot express."""

from __future__ import annotations

import sys

from ocitool import limits
from ocitool.blob import unreadable
from ocitool.errors import FormatError, NotFoundError, UsageError
from ocitool.spec.document import parse
from ocitool.spec.manifest import Config, Index, Manifest, parse_descriptor
from ocitool.validation.findings import Checked, Findings, Validation, ambiguous

DOCUMENTS = (
    "descriptor", "manifest", "index", "config", "layout", "docker-manifest", "docker-manifest-list",
    "docker-archive-manifest",
)  # fmt: skip
"""The kinds of `validate_document`."""
_LISTS = ("index", "docker-archive-manifest")
"""The kinds of `index.json` and `manifest.json`, which list a whole store and may be larger."""


def validate_document(kind: str, raw: bytes, where: str) -> Validation:
    """Validates one document. Raises `UsageError` for an unknown kind, `FormatError` or `LimitError` if it is not strict
    JSON."""
    if kind not in DOCUMENTS:
        raise UsageError(f"invalid kind of document: {kind}", hint="one of " + ", ".join(DOCUMENTS))
    found = Findings()
    value = parse(raw, where, limits.STORE if kind in _LISTS else limits.DOCUMENT)
    clean = found.schema(kind, value, kind)
    fields = value if isinstance(value, dict) else {}
    twofold = ambiguous(fields) and kind not in ("descriptor", "config", "layout")
    if twofold:
        found.error("ambiguous", kind, "it has both manifests and layers or config")
    if kind == "config":
        config = Config(raw, fields)
        made = [entry for entry in config.history if not entry.empty_layer]
        if config.history and len(made) != len(config.diff_ids):
            found.warn("history", kind, f"{len(made)} layers in the history, {len(config.diff_ids)} diff_ids")
        found.config(config, kind)
        for digest in config.diff_ids:
            found.is_checkable(digest, kind)
    elif clean and not twofold:
        try:
            if kind == "descriptor":
                found.descriptors([parse_descriptor(value, where)], kind)
            elif kind in ("manifest", "docker-manifest"):
                manifest = Manifest(raw, fields, where)
                found.descriptors([manifest.config, *manifest.layers], kind)
                found.manifest(manifest, kind)
            elif kind in ("index", "docker-manifest-list"):
                index = Index(raw, fields, where)
                found.descriptors(index.manifests, kind)
                found.attestations(index, kind)
        except FormatError as error:
            found.error("document", kind, error.what)
    return found.result(where, Checked(1, 0, 0, 0, len(raw)))


def document_file(path: str) -> bytes:
    """Returns the bytes of a file, or of standard input (`-`); of a file that is too large one byte more than allowed, so
    that the parser refuses it. Raises `NotFoundError`, or what reading raises."""
    if path == "-":
        return sys.stdin.buffer.read(limits.STORE.size + 1)
    try:
        with open(path, "rb") as file:
            return file.read(limits.STORE.size + 1)
    except FileNotFoundError:
        raise NotFoundError("no such file", path) from None
    except OSError as error:
        raise unreadable(path, error) from None
