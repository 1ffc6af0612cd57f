"""The table of rules, and the findings of a validation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from ocitool import limits, masking
from ocitool.digest import Digest
from ocitool.errors import FormatError, IntegrityError, LimitError, NotFoundError, OcitoolError, UnsafeError
from ocitool.layers.entry import shown_path
from ocitool.spec import mediatypes
from ocitool.spec.manifest import ATTESTATION_SUBJECT, Config, Descriptor, Index, Manifest
from ocitool.spec.schema import problems

RULES: dict[str, str] = {
    # Documents
    "schema": "a document does not match its JSON Schema",
    "document": "a document is not strict JSON, or not of the kind that it should be",
    "ambiguous": "a document is a manifest and an index at once (CVE-2021-41190)",
    "layout-file": "the file oci-layout is missing",
    "limit": "something is larger, deeper or more than the limits allow",
    "cycle": "an index leads back to itself",
    "duplicate-tag": "one tag names several manifests",
    "no-image": "an archive or layout holds no image at all",
    "unnamed-member": "members of an archive that no image names: nothing of them is checked",
    "archive-trailing": "data follows the end of an archive, such as a second archive, whose images no reader sees",
    "docker-name": "a name in manifest.json for which docker load refuses the archive",
    "duplicate-member": "an archive holds two members of one name: readers disagree which counts",
    "config-name": "the configuration's file name in a docker archive is not its digest",
    "hybrid": "index.json and manifest.json of one archive describe different images",
    "legacy-format": "a docker archive from before 1.10, which states no digests of its layers",
    "entry-type": "an index lists something that is neither a manifest nor an index: only its digest is checked",
    "dangling-attestation": "an attestation refers to a manifest that its index does not list",
    "env": "an entry of Env without `=`: engines disagree, and some take the value from their own environment",
    "platform": "index and configuration state different platforms",
    # Blobs
    "digest": "content does not match its digest",
    "digest-algorithm": "a digest of an unregistered algorithm: it is valid, but cannot be checked",
    "size": "content has another size than its descriptor states",
    "embedded-data": "the embedded data of a descriptor does not match its digest",
    "missing-blob": "a blob that the image needs is missing",
    "missing-platform": "blobs of one entry of an index are missing, while another image of it is complete",
    "foreign-layer": "a layer has to be fetched from other URLs (`urls`), which needs `--foreign`",
    # Layers
    "no-layers": "a manifest without layers, which not every registry and engine takes",
    "layer-count": "the number of layers is not the number of diff_ids",
    "layer-limit": f"more layers than engines accept ({limits.MAX_LAYERS})",
    "layer-type": "a layer's media type is unknown, or is not that of a tar: its content is not checked",
    "layer-damaged": "a layer cannot be decompressed or is not a tar",
    "diff-id": "an uncompressed layer does not match the diff_id that the configuration states",
    "media-type": "a layer's media type states another compression than its bytes have",
    "history": "the history has another number of layers than the image",
    "volume-content": "a layer writes below a volume that was declared before: a volume that has content already hides it",
    # The tar of a layer
    "tar-no-end": "the end-of-archive blocks are missing",
    "tar-trailing-data": "data follows the end-of-archive blocks",
    "tar-global-pax": "a global pax header, which many readers ignore",
    "tar-size-without-data": "an entry of a type without data states a size",
    "tar-time": "a modification time that is not a number, or not within the years 1677 to 2262",
    "tar-absolute-name": "a name begins with a slash",
    "unsafe-path": "a path or hard link leads out of the root file system",
    "duplicate-path": "a layer lists one path twice: the later entry counts",
    "invalid-whiteout": "a whiteout of nothing, of `.` or of `..`",
    "whiteout-and-entry": "a layer hides a path and lists it too: engines disagree about what was below",
    "opaque-order": "an opaque marker comes before its directory",
    "aufs-metadata": "metadata of AUFS, which is not part of the file system",
    "missing-parent": "a parent directory is not listed in the layer: engines disagree about its attributes",
    "below-non-directory": "an entry is below a symbolic link or file: engines disagree about where it goes",
    "hardlink-broken": "the target of a hard link does not exist, or is the link itself",
    "hardlink-directory": "a hard link to a directory",
    "hardlink-late": "a hard link comes before its target",
    "hardlink-across": "a hard link's target is in a lower layer: not every engine can make it",
}
"""The meaning of every rule id that `validate` can report. Ids are stable."""

LIMIT = 200
"""Most findings of one validation."""

_TEXT = 200
_SCHEMA_PROBLEMS = 20

DAMAGE = (FormatError, IntegrityError, LimitError, UnsafeError, NotFoundError)
"""Errors that a broken image raises, which become findings. Any other (an unreadable file, an interrupt) ends the
validation."""

Severity = Literal["error", "warning"]


class Finding(NamedTuple):
    """One broken rule. `subject` and `message` may contain any character of the image: they are escaped when printed."""

    rule: str
    severity: Severity
    subject: str
    message: str


class Checked(NamedTuple):
    """What was read: the numbers of documents parsed, blobs hashed (documents and layers included), layers unpacked, their
    entries, and bytes hashed."""

    documents: int
    blobs: int
    layers: int
    entries: int
    bytes: int


class Validation(NamedTuple):
    """The result. `truncated`: there were more findings than are listed; errors are kept before warnings. `unnamed`: the
    number of archive members, or blobs of a layout, that no image names, so that they were not checked."""

    reference: str | None
    findings: tuple[Finding, ...]
    checked: Checked
    truncated: bool
    unnamed: int = 0

    @property
    def valid(self) -> bool:
        """Whether there is no finding of severity error."""
        return not any(finding.severity == "error" for finding in self.findings)


class Findings:
    """Collects findings in order, each once. Beyond `LIMIT` errors and `LIMIT` warnings they are only counted."""

    def __init__(self) -> None:
        self._found: list[Finding] = []
        self._seen: set[tuple[str, str, str]] = set()
        self._counts: Counter[str] = Counter()

    def _add(self, rule: str, severity: Severity, subject: str, message: str) -> None:
        finding = Finding(rule, severity, subject[:_TEXT], message[:_TEXT])
        key = (rule, finding.subject, finding.message)
        if key in self._seen:
            return
        self._counts[severity] += 1
        if self._counts[severity] <= LIMIT:
            self._seen.add(key)
            self._found.append(finding)

    def error(self, rule: str, subject: str, message: str) -> None:
        self._add(rule, "error", subject, message)

    def warn(self, rule: str, subject: str, message: str) -> None:
        self._add(rule, "warning", subject, message)

    def damage(self, error: OcitoolError, subject: str, rule: str) -> None:
        """Adds the finding for an exception. Its class decides the rule; if it does not, `rule` is taken."""
        if isinstance(error, IntegrityError):
            rule = "digest"
        elif isinstance(error, LimitError):
            rule = "limit"
        elif isinstance(error, UnsafeError):
            rule = "unsafe-path"
        elif isinstance(error, NotFoundError):
            rule = "missing-blob"
        self.error(rule, subject, error.what)

    def schema(self, kind: str, value: object, subject: str) -> bool:
        """Returns whether a document matches its schema; adds findings if it does not."""
        found = problems(kind, value, _SCHEMA_PROBLEMS)
        for problem in found:
            self.error("schema", subject, f"{problem.pointer[:100] or '/'}: {problem.message}")
        return not found

    def is_checkable(self, digest: Digest | None, subject: str) -> bool:
        """Returns whether a digest can be checked; adds a finding for an unregistered algorithm."""
        if digest is None:
            return False
        try:
            digest.hasher()
        except FormatError as error:
            self.warn("digest-algorithm", subject, error.what)
            return False
        return True

    def descriptors(self, found: Sequence[Descriptor], subject: str) -> None:
        """Checks the digests and the embedded data of descriptors."""
        for one in found:
            if self.is_checkable(one.digest, subject):
                try:
                    one.embedded()
                except FormatError as error:
                    self.error("embedded-data", subject, error.what)

    def manifest(self, manifest: Manifest, subject: str, *, attests: bool = False) -> None:
        """Checks a manifest without reading what it names. `attests`: its descriptor says that it is a buildx
        attestation."""
        if not manifest.layers and not attests:
            self.warn("no-layers", subject, "it has no layers")
        if not manifest.is_image:
            return
        if len(manifest.layers) > limits.MAX_LAYERS:
            self.warn("layer-limit", subject, f"{len(manifest.layers)} layers, engines accept {limits.MAX_LAYERS}")
        foreign = [layer for layer in manifest.layers if layer.urls]
        if foreign:
            self.warn("foreign-layer", subject, f"{len(foreign)} layers with urls; the first: {foreign[0].digest}")
        if is_attestation(manifest):
            return
        for number, layer in enumerate(manifest.layers):
            content = mediatypes.layer_type(layer.media_type).content
            if layer.media_type and content != "tar":
                what = mediatypes.CONTENTS[content]
                message = f"the layer is {what}, not a tar: its content was not checked"
                if content == "unknown":
                    message = f"unknown media type {masking.stated(layer.media_type)}"
                self.warn("layer-type", f"layer {number} {layer.digest}", message)

    def config(self, config: Config, subject: str) -> None:
        """Checks a configuration for what its schema does not cover."""
        env = config.settings.get("Env")
        loose = [one for one in env if isinstance(one, str) and "=" not in one[1:]] if isinstance(env, list) else []
        if loose:
            message = counted("entries of Env that are not NAME=VALUE", len(loose), b"")
            self.warn("env", subject, f"{message}: {masking.text(loose[0])}")

    def attestations(self, index: Index, subject: str) -> None:
        """Checks that an index lists the subject of each attestation in it."""
        listed = {str(one.digest) for one in index.manifests}
        for one in index.manifests:
            about = one.annotations.get(ATTESTATION_SUBJECT)
            if one.is_attestation and about not in listed:
                self.error(
                    "dangling-attestation", subject,
                    f"the attestation {one.digest} is about {about or 'nothing'}, which is not listed",
                )  # fmt: skip

    def result(self, reference: str | None, checked: Checked, unnamed: int = 0) -> Validation:
        """Returns the result, with at most `LIMIT` findings, errors before warnings."""
        errors = min(self._counts["error"], LIMIT)
        room = LIMIT - errors
        kept: list[Finding] = []
        for finding in self._found:
            if finding.severity == "warning":
                if not room:
                    continue
                room -= 1
            kept.append(finding)
        return Validation(reference, tuple(kept), checked, self._counts.total() > len(kept), unnamed)


def ambiguous(fields: dict[str, Any]) -> bool:
    """Returns whether a document is both a manifest and an index (CVE-2021-41190)."""
    return "manifests" in fields and ("layers" in fields or "config" in fields)


def is_attestation(manifest: Manifest) -> bool:
    """Returns whether a manifest has in-toto statements as layers: such a manifest looks like an image, but is not."""
    return bool(manifest.layers) and all("in-toto" in layer.media_type for layer in manifest.layers)


def counted(text: str, count: int, path: bytes) -> str:
    """Returns a message for `count` violations of a rule, with their number and the first path as example."""
    if not path:
        return text if count == 1 else f"{text} ({count} times)"
    shown = shown_path(path, 150)
    return f"{text}: {shown}" if count == 1 else f"{text}: {count}, the first {shown}"
