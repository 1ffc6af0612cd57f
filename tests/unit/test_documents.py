"""Documents: what is read, what is kept, what is refused."""

from __future__ import annotations

import base64
import json
from random import Random
from typing import Any

import pytest

from ocitool import limits
from ocitool.digest import Digest
from ocitool.errors import FormatError, LimitError, UnsupportedError
from ocitool.spec import mediatypes
from ocitool.spec.document import Document, parse, parse_object, serialised
from ocitool.spec.manifest import Config, Index, Manifest, parse_descriptor, read

DIGEST = "sha256:" + "a" * 64
CONFIG = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": DIGEST, "size": 2}
MANIFEST: dict[str, Any] = {"schemaVersion": 2, "config": CONFIG, "layers": []}
INDEX: dict[str, Any] = {"schemaVersion": 2, "manifests": []}
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


def raw(value: object) -> bytes:
    return json.dumps(value).encode()


@pytest.mark.parametrize("text", [b'{"a":1,"a":1}', b'{"a":1,"\\u0061":2}', b'[{"x":{"b":[],"b":{}}}]'])
def test_a_key_that_stands_twice_is_refused(text: bytes) -> None:
    with pytest.raises(FormatError, match="twice"):
        parse(text, "x")


@pytest.mark.parametrize("text", [b"NaN", b"[Infinity]", b'{"a":-Infinity}', b"1e999", b"-1e999"])
def test_a_number_that_is_none_is_refused(text: bytes) -> None:
    with pytest.raises(FormatError):
        parse(text, "x")


@pytest.mark.parametrize("text", [b'"\xff"', b'"\xc0\x80"', b'"\xed\xa0\x80"', b"\xff\xfe{\0}\0", b"\x1f\x8b"])
def test_what_is_not_utf_8_is_refused(text: bytes) -> None:
    with pytest.raises(FormatError, match="UTF-8"):
        parse(text, "x")


@pytest.mark.parametrize("text", [b'"\\ud800"', b'{"\\uDFFF":1}', b'["\\udc00\\ud800"]'])
def test_half_a_surrogate_pair_is_refused(text: bytes) -> None:
    with pytest.raises(FormatError, match="surrogate"):
        parse(text, "x")


def test_a_whole_surrogate_pair_is_one_character() -> None:
    assert parse(b'["\\ud83d\\ude00", "\\\\ud800"]', "x") == ["\U0001f600", "\\ud800"]


@pytest.mark.parametrize(
    "text", [b"", b"{", b"{} {}", b"\xef\xbb\xbf{}", b"{'a':1}", b"[1,]", b'"\n"', b"01", b"nul", b"/**/{}"]
)
def test_what_is_not_json_is_refused(text: bytes) -> None:
    with pytest.raises(FormatError):
        parse(text, "x")


def test_an_integer_of_thousands_of_digits_is_refused() -> None:
    with pytest.raises(FormatError, match="too long"):
        parse(b"1" * 5000, "x")


def test_nesting_is_bounded() -> None:
    most = limits.DOCUMENT_DEPTH
    assert parse(b"[" * most + b"]" * most, "x")
    for opening, closing in ((b"[", b"]"), (b'{"a":', b"}"), (b'[{"a":', b"}]")):
        with pytest.raises(LimitError):
            parse(opening * (most + 1) + b"1" + closing * (most + 1), "x")


def test_nesting_far_beyond_the_parser_is_a_limit_error() -> None:
    with pytest.raises(LimitError):
        parse(b"[" * 300_000, "x")


def test_brackets_in_a_string_do_not_nest() -> None:
    text = '"' + "[{" * 1000 + '\\"[\\\\"'
    assert parse(text.encode(), "x") == json.loads(text)


def test_size_is_bounded() -> None:
    assert parse(b" " * (limits.DOCUMENT_SIZE - 2) + b"{}", "x") == {}
    with pytest.raises(LimitError):
        parse(b" " * (limits.DOCUMENT_SIZE - 1) + b"{}", "x")


def test_the_number_of_values_is_bounded() -> None:
    with pytest.raises(LimitError):
        parse(b"[" + b"0," * limits.DOCUMENT_VALUES + b"0]", "x")


@pytest.mark.parametrize("text", [b"[]", b"1", b"null", b'"x"'])
def test_a_document_is_an_object(text: bytes) -> None:
    with pytest.raises(FormatError, match="object"):
        parse_object(text, "x")


@pytest.mark.parametrize("text", [b"NaN", b'{"a":1,"a":2}', b"{", b"\xff", b"[" * 100, b"1" * 5000, b'"\\ud800"'])
def test_an_error_names_its_document(text: bytes) -> None:
    with pytest.raises((FormatError, LimitError)) as caught:
        parse(text, "the-place")
    assert caught.value.where == "the-place"


def test_unknown_fields_and_raw_bytes_stay() -> None:
    text = b'{ "schemaVersion":2,\n "x-new": {"\\u0061": [1.50, null]},"config":' + raw(CONFIG) + b', "layers": null }\n'
    found = read(text, "x")
    assert (text, {"a": [1.5, None]}, Digest.of(text)) == (found.raw, found.fields["x-new"], found.digest)


def test_a_manifest_and_an_index_are_told_apart_by_content() -> None:
    assert isinstance(read(raw(MANIFEST), "x"), Manifest)
    assert isinstance(read(raw(INDEX), "x"), Index)


@pytest.mark.parametrize("extra", [{"layers": []}, {"config": CONFIG}, {"layers": None}, {"config": None}, {"config": 1}])
def test_a_manifest_and_an_index_at_once_is_refused(extra: dict[str, Any]) -> None:
    with pytest.raises(FormatError, match="at once"):
        read(raw({**INDEX, **extra}), "x")


def test_manifests_null_is_an_empty_index() -> None:
    found = read(raw({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": None}), "x")
    assert isinstance(found, Index) and found.manifests == ()


@pytest.mark.parametrize(
    ("own", "stated"),
    [
        (OCI_MANIFEST, OCI_INDEX),
        (OCI_MANIFEST, DOCKER_MANIFEST),
        (DOCKER_MANIFEST, OCI_MANIFEST),
        (OCI_INDEX, None),
        (None, OCI_INDEX),
    ],
)
def test_a_manifest_whose_media_type_contradicts_is_refused(own: str | None, stated: str | None) -> None:
    fields = {**MANIFEST, "mediaType": own} if own else MANIFEST
    with pytest.raises(FormatError):
        read(raw(fields), "x", stated)


@pytest.mark.parametrize(("own", "stated"), [(OCI_MANIFEST, None), (None, OCI_MANIFEST), (OCI_INDEX, DOCKER_MANIFEST)])
def test_an_index_whose_media_type_contradicts_is_refused(own: str | None, stated: str | None) -> None:
    fields = {**INDEX, "mediaType": own} if own else INDEX
    with pytest.raises(FormatError):
        read(raw(fields), "x", stated)


@pytest.mark.parametrize(
    ("own", "stated"),
    [
        *((own, stated) for own in (None, OCI_MANIFEST, "application/x-unknown") for stated in (None, "", "text/plain")),
        (None, OCI_MANIFEST), (OCI_MANIFEST, OCI_MANIFEST),
    ],
)  # fmt: skip
def test_other_media_types_are_kept(own: str | None, stated: str | None) -> None:
    fields = {**MANIFEST, "mediaType": own} if own else MANIFEST
    assert read(raw(fields), "x", stated).media_type == (own or mediatypes.OCI_MANIFEST)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"schemaVersion": 2},
        {"fsLayers": []},
        {"mediaType": 7, **MANIFEST},
        {"layers": []},
        {"config": 1},
        {"config": CONFIG, "layers": {}},
        {"config": CONFIG, "layers": [1]},
        {"manifests": "x"},
    ],
)
def test_what_is_neither_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(FormatError):
        read(raw(fields), "x")


@pytest.mark.parametrize("size", [None, -1, 1.0, True, "2", 1 << 63, 10**400])
def test_a_descriptor_without_a_size_is_refused(size: object) -> None:
    with pytest.raises(FormatError):
        parse_descriptor({**CONFIG, "size": size}, "x")


@pytest.mark.parametrize(
    "change", [{"digest": None}, {"digest": "x"}, {"digest": "sha256:../../x"}, {"mediaType": 1}, {"mediaType": None}]
)
def test_a_descriptor_without_a_digest_or_of_a_wrong_type_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(FormatError):
        parse_descriptor({**CONFIG, **change}, "x")


def test_a_descriptor_keeps_everything() -> None:
    fields = {
        **CONFIG,
        "urls": ["https://example.com/x", 7],
        "annotations": {"a": "b", "c": 1},
        "new": [1],
        "artifactType": "t",
    }
    found = parse_descriptor(fields, "x")
    assert (fields, ("https://example.com/x",), {"a": "b"}) == (found.fields, found.urls, found.annotations)


def embedded(content: bytes, **changes: object) -> bytes | None:
    fields = {
        "mediaType": "m", "digest": str(Digest.of(b"{}")), "size": 2, "data": base64.b64encode(content).decode(), **changes,
    }  # fmt: skip
    return parse_descriptor(fields, "x").embedded()


def test_embedded_data_is_verified() -> None:
    assert embedded(b"{}") == b"{}"
    assert embedded(b"{}", digest=str(Digest.of(b"{}", "sha512"))) == b"{}"


@pytest.mark.parametrize(
    "changes", [{"data": "e30="[:-1]}, {"data": "e3 0="}, {"data": "é"}, {"data": "e30=\n"}, {"size": 3}, {"digest": DIGEST}]
)
def test_embedded_data_that_does_not_match_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(FormatError):
        embedded(b"{}", **changes)


def test_embedded_data_of_an_unknown_algorithm_cannot_be_checked() -> None:
    with pytest.raises(UnsupportedError):
        embedded(b"{}", digest="other:abc")


def test_a_descriptor_without_data_embeds_nothing() -> None:
    assert embedded(b"", data=None) is None


def test_an_artifact_has_its_type() -> None:
    empty = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": DIGEST, "size": 2, "data": "e30="}
    found = read(raw({**MANIFEST, "config": empty, "artifactType": "application/x", "subject": CONFIG}), "x")
    assert isinstance(found, Manifest)
    assert ("application/x", False) == (found.artifact_type, found.is_image)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"rootfs": None, "history": None, "config": None},
        {"rootfs": [], "history": {}, "config": []},
        {"rootfs": {"diff_ids": 7}, "history": [1], "os": 1, "created": []},
    ],
)
def test_a_configuration_fails_soft(fields: dict[str, Any]) -> None:
    found = Config(raw(fields), fields)
    assert ((), (), {}, None) == (found.diff_ids, found.history, found.settings, found.created)
    assert (str(found.platform), found.keys("Volumes")) == ("unknown/unknown", ())


def test_a_diff_id_that_is_none_keeps_its_place() -> None:
    fields = {"rootfs": {"diff_ids": [DIGEST, "x", None, DIGEST]}}
    assert [True, False, False, True] == [found is not None for found in Config(b"", fields).diff_ids]


def test_a_document_is_named_by_its_bytes() -> None:
    assert Document(b"{ }", {}).digest == Digest.of(b"{ }") != Document(b"{}", {}).digest


@pytest.mark.parametrize(("bounds", "fits"), [((9, 6), True), ((8, 6), False), ((9, 2), True), ((9, 1), False)])
def test_what_is_written_within_bounds_is_read_within_them(bounds: tuple[int, int], fits: bool) -> None:
    value, most = {"a": "bc"}, limits.JsonLimits(bounds[0] + 1, bounds[1])
    if fits:
        assert value == parse(serialised(value, most), "x", most)
    else:
        with pytest.raises(LimitError):
            serialised(value, most)
        with pytest.raises(LimitError):
            parse(b'{"a":"bc"}', "x", most)


def nested(random: Random, depth: int) -> Any:
    """A value of at most this depth, with strings that look like brackets and quotes."""
    if depth == 0 or random.random() < 0.02:
        return random.choice(["[[{{", ']"}', "\\", '\\"[', "", '"', "{\\\\", 1])
    inner = nested(random, depth - 1)
    return [inner, "]}"] if random.random() < 0.5 else {random.choice(["[{", '"', "\\", '}\\"']): inner}


@pytest.mark.parametrize("seed", range(50))
def test_brackets_in_strings_with_escapes_neither_hide_nor_make_depth(seed: int) -> None:
    random, most = Random(seed), limits.DOCUMENT_DEPTH
    value = [nested(random, most - 1) for _ in range(40)]
    assert parse(json.dumps(value).encode(), "x") == value
    deep: Any = "[\\"
    for _ in range(most + 1):
        deep = {'"[': deep}
    with pytest.raises(LimitError):
        parse(json.dumps([*value, deep]).encode(), "x")
