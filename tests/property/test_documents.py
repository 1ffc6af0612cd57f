"""Laws of documents that hold for any input."""

from __future__ import annotations

import contextlib
import json

from hypothesis import given, settings
from hypothesis import strategies as st

from ocitool.digest import Digest
from ocitool.errors import FormatError, OcitoolError
from ocitool.spec.document import parse, parse_object
from ocitool.spec.manifest import Manifest, read

few = settings(max_examples=200, deadline=None, derandomize=True)
TEXT = st.text(st.characters(codec="utf-8"), max_size=10)
VALUE = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
CONFIG = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": "sha256:" + "a" * 64, "size": 2}


@few
@given(VALUE, st.booleans(), st.sampled_from([None, 1, "\t"]))
def test_any_json_is_read_as_it_stands(value: object, ascii_only: bool, indent: int | str | None) -> None:
    assert value == parse(json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode(), "x")


@few
@given(st.dictionaries(TEXT.filter(lambda key: key not in ("manifests", "fsLayers", "mediaType")), VALUE, max_size=4))
def test_a_manifest_keeps_its_bytes_and_unknown_fields(extra: dict[str, object]) -> None:
    fields = {**extra, "config": CONFIG, "layers": []}
    raw = json.dumps(fields).encode()
    found = read(raw, "x")
    assert isinstance(found, Manifest)
    assert (raw, fields, Digest.of(raw)) == (found.raw, found.fields, found.digest)


@few
@given(st.binary(max_size=200))
def test_any_bytes_give_a_value_or_an_error_of_ours(raw: bytes) -> None:
    with contextlib.suppress(OcitoolError):
        parse_object(raw, "x")


@few
@given(st.text(max_size=90))
def test_a_digest_is_its_own_text(text: str) -> None:
    try:
        digest = Digest.parse(text)
    except FormatError:
        return
    assert str(digest) == text
    assert "/" not in text and ".." not in text
