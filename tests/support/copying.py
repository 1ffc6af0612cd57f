"""What the tests of `copy` share: images to copy, and how a run is checked."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from ocitool.spec import mediatypes
from support import places
from support.images import (
    Image,
    image,
    index_of,
    layer_tar,
    layout_files,
    pretty,
    sha256,
)
from support.report import report_of

Run = Callable[..., Any]
AMD, ARM = {"os": "linux", "architecture": "amd64"}, {"os": "linux", "architecture": "arm64"}
TEXT = bytes(range(256)) * 300
ONE, TWO = layer_tar([("etc/", None), ("etc/motd", TEXT)]), layer_tar([("b", TEXT[::-1])])


def copied(ocitool: Run, *words: str | os.PathLike[str], **how: Any) -> Any:
    """The report of a copy that worked."""
    return report_of(ocitool("copy", "--format", "json", *words, **how))


def notes(report: Any) -> set[str]:
    """The codes of its notices."""
    return {notice["code"] for notice in report["notices"]}


def refused(code: int, result: Any, *words: str) -> None:
    """The run ended with this code and said these words."""
    assert code == result.code, str(result)
    for word in words:
        assert word in result.err, str(result)


def rooted(**changes: Any) -> Image:
    """The image that most tests copy."""
    return image([ONE, TWO], tag="app:1", **changes)


def multiarch(tag: str | None = "app:1", **changes: Any) -> tuple[dict[str, bytes], list[Image]]:
    """The files of a layout with an index of two platforms and the attestation of the first, and these three images."""
    amd = image([ONE], platform=AMD)
    arm = image([ONE, TWO], platform=ARM, architecture="arm64")
    about = {"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": amd.digest}
    statement = image([], config=b"{}", platform={"os": "unknown", "architecture": "unknown"}, annotations=about)
    inner = pretty(index_of([one.descriptor for one in (amd, arm, statement)], **changes))
    kind = changes.get("mediaType", mediatypes.OCI_INDEX)
    entry: dict[str, Any] = {"mediaType": kind, "digest": sha256(inner), "size": len(inner)}
    if tag:
        entry["annotations"] = {places.REF_NAME: tag}
    files = layout_files([amd, arm, statement], index=index_of([entry]))
    files["blobs/" + sha256(inner).replace(":", "/")] = inner
    return files, [amd, arm, statement]
