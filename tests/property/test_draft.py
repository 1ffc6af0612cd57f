"""Any sequence of edits of a draft leaves documents that agree with each other."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from support.images import image, layer_tar, sha256, write_layout

from ocitool.blob import BytesBlob
from ocitool.digest import Digest
from ocitool.images import drafts
from ocitool.images.drafts import ImageDraft, OutputLayer
from ocitool.images.platform_choice import single
from ocitool.spec import mediatypes
from ocitool.spec.schema import problems
from ocitool.task import Task
from ocitool.transports.opening import open_source

CODECS = ("none", "gzip", "zstd")
EDITS = st.lists(
    st.tuples(st.sampled_from(["insert", "drop", "replace", "note"]), st.integers(0, 5), st.sampled_from(CODECS)), max_size=8
)
HISTORY = st.one_of(st.just("right"), st.none(), st.just("short"))


@st.composite
def histories(draw: st.DrawFn, layers: int) -> list[dict[str, Any]] | None:
    kind = draw(HISTORY)
    if kind is None:
        return None
    entries: list[dict[str, Any]] = [{"created_by": f"layer {n}"} for n in range(layers)]
    for at in draw(st.lists(st.integers(0, layers), max_size=3)):
        entries.insert(at, {"created_by": "no layer", "empty_layer": True})
    return entries[1:] if kind == "short" else entries


def made_piece(draft: ImageDraft, number: int, codec: str) -> OutputLayer:
    data = b"%d" % number
    media_type = drafts.layer_type(draft.image, codec)
    return OutputLayer(
        Digest.of(data), len(data), Digest.of(b"tar" + data), media_type, "new", BytesBlob(data, Digest.of(data))
    )


def edited(draft: ImageDraft, kind: str, at: int, codec: str, serial: int) -> ImageDraft:
    size = len(draft.layers)
    if kind == "insert":
        return drafts.inserted(draft, at % (size + 1), made_piece(draft, serial, codec), {"created_by": f"layer {serial}"})
    if kind == "note":
        return drafts.noted(draft, {"created_by": "no layer"})
    if not size:
        return draft
    if kind == "drop":
        return drafts.dropped(draft, at % size)
    return drafts.replaced(draft, at % size, made_piece(draft, serial, codec))


@given(st.data(), st.integers(0, 3), EDITS, st.booleans())
def test_documents_agree_after_any_edits(
    data: st.DataObject, layers: int, edits: list[tuple[str, int, str]], docker: bool
) -> None:
    made = image([layer_tar([(f"f{n}", b"")]) for n in range(layers)], history=data.draw(histories(layers)))
    if docker:
        made.manifest["mediaType"] = mediatypes.DOCKER_MANIFEST
        made.manifest["config"]["mediaType"] = mediatypes.DOCKER_CONFIG
        for layer in made.manifest["layers"]:
            layer["mediaType"] = f"{mediatypes.DOCKER_LAYER}.gzip"
    with tempfile.TemporaryDirectory() as place, Task() as task:
        source = single(open_source(str(write_layout(Path(place) / "in", [made])), "layers", task), None)
        draft = drafts.start(source, [drafts.kept(source, layer) for layer in source.layers])
        for serial, (kind, at, codec) in enumerate(edits):
            draft = edited(draft, kind, at, codec, serial + 10)
        documents = drafts.finish(draft)
    config, manifest = json.loads(documents.config), json.loads(documents.manifest)
    if not edits:
        assert (made.config, made.raw) == (documents.config, documents.manifest)
    assert sha256(documents.manifest) == str(documents.digest)
    assert sha256(documents.config) == manifest["config"]["digest"]
    assert [str(piece.diff_id) for piece in draft.layers] == config["rootfs"]["diff_ids"]
    assert [str(piece.digest) for piece in draft.layers] == [layer["digest"] for layer in manifest["layers"]]
    before = json.loads(made.config).get("history")
    entries = config.get("history")
    if before is not None and sum(1 for e in before if not e.get("empty_layer")) == layers:
        assert len(draft.layers) == sum(1 for e in entries if not e.get("empty_layer"))
    types = {layer["mediaType"] for layer in manifest["layers"]}
    oci = manifest["mediaType"] == mediatypes.OCI_MANIFEST
    assert all(kind.startswith(mediatypes.OCI_LAYER if oci else mediatypes.DOCKER_LAYER) for kind in types)
    assert oci or not any("zstd" in kind for kind in types)
    assert [] == list(problems("manifest" if oci else "docker-manifest", manifest))
