"""Laws of `validate`: every rule fires on what breaks it, none on what is whole."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from support import layers as raw_tar
from support.images import (
    Image,
    config_of,
    docker_files,
    entry,
    gz,
    hybrid_files,
    image,
    index_of,
    layer_tar,
    layout_files,
    pretty,
    sha256,
    write_docker_archive,
    write_files,
    write_layout,
    write_oci_archive,
    write_tar,
)  # fmt: skip

from ocitool import validation
from ocitool.errors import FormatError, LimitError, NotFoundError, UsageError
from ocitool.layers.entry import Kind
from ocitool.task import Task
from ocitool.validation import DOCUMENTS, LIMIT, RULES, Validation, validate, validate_document

ROOT = Path(__file__).resolve().parents[2]
AMD64, ARM64 = {"os": "linux", "architecture": "amd64"}, {"os": "linux", "architecture": "arm64"}

BASE = layer_tar([("etc/", None), ("etc/motd", b"hello\n"), ("bin/", None), ("bin/sh", b"#!"), ("bin/ls", "hard:bin/sh"),
                  ("lib", "link:bin")])  # fmt: skip
TOP = layer_tar([("etc/", None), ("etc/.wh.motd", b""), ("etc/issue", b"new\n"), ("opt/", None), ("opt/.wh..wh..opq", b"")])


def run(path: object) -> Validation:
    with Task() as task:
        return validate(str(path), task)


def rules(result: Validation) -> dict[str, str]:
    return {finding.rule: finding.severity for finding in result.findings}


def of(tmp_path: Path, images: Sequence[Image], **changes: Any) -> dict[str, str]:
    return rules(run(write_layout(tmp_path / "layout", images, **changes)))


def of_layers(tmp_path: Path, *tars: bytes) -> dict[str, str]:
    return of(tmp_path, [image(tars, tag="app")])


def of_files(tmp_path: Path, files: dict[str, bytes]) -> dict[str, str]:
    return rules(run(write_files(tmp_path / "layout", files)))


# The whole image


@pytest.mark.parametrize("codec", ["none", "gzip", "zstd"])
def test_a_whole_image_has_no_finding_in_any_container(tmp_path: Path, codec: str) -> None:
    one = image([BASE, TOP], tag="docker.io/library/app:1", codec=codec)
    for result in (
        run(write_layout(tmp_path / "layout", [one])),
        run(write_oci_archive(tmp_path / "oci.tar", [one])),
        run(write_docker_archive(tmp_path / "docker.tar", [one])),
        run(write_tar(tmp_path / "hybrid.tar", hybrid_files([one]))),
    ):
        assert result.findings == ()
        assert result.valid and not result.truncated
        assert result.checked.layers == 2 and result.checked.entries == 11
        assert result.checked.blobs >= 3 and result.checked.documents >= 2
        assert result.checked.bytes > sum(map(len, one.layers))


def test_a_layer_that_images_share_is_read_once(tmp_path: Path) -> None:
    result = run(write_layout(tmp_path / "l", [image([BASE], tag="a"), image([BASE, TOP], tag="b")]))
    assert result.findings == () and result.checked.layers == 2


def test_a_selector_limits_the_check_to_what_it_picks(tmp_path: Path) -> None:
    broken = image([BASE], tag="bad", config=config_of([TOP]))
    path = write_layout(tmp_path / "l", [image([BASE, TOP], tag="good"), broken])
    assert not run(path).valid
    assert run(f"{path}:good").findings == ()
    assert not run(f"{path}:bad").valid
    assert not run(f"{path}:@1").valid
    assert run(f"{path}:@0").valid
    second = image([TOP], tag="app:2", config=config_of([BASE]))
    archive = write_docker_archive(tmp_path / "d.tar", [image([BASE], tag="app:1"), second])
    assert run(f"{archive}:app:1").valid and run(f"{archive}:@0").valid
    assert not run(f"{archive}:app:2").valid and not run(f"{archive}:@1").valid
    for missing in ("app:3", "@2", "@sha256:" + "0" * 64):
        with pytest.raises(NotFoundError):
            run(f"{archive}:{missing}")


def portable() -> Iterator[str]:
    for line in (ROOT / "testdata" / "portable.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            yield line.split()[0]


@pytest.mark.parametrize("name", sorted(set(portable())))
def test_every_portable_image_is_valid(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert run(name).valid


def test_a_source_that_is_none_is_an_error_not_a_finding(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(b"no tar" * 300)
    with pytest.raises(FormatError):
        run(tmp_path / "x.tar")
    with pytest.raises(NotFoundError):
        run(tmp_path / "none.tar")


# Documents


def test_schema_breach_in_any_document_is_found(tmp_path: Path) -> None:
    assert of(tmp_path, [image([BASE], tag="a", os=7)]) == {"schema": "error"}
    one = image([BASE], tag="a")
    one.manifest["schemaVersion"] = 3
    assert "schema" in of(tmp_path / "m", [one])
    files = layout_files([image([BASE], tag="a")])
    assert of_files(tmp_path / "l", {**files, "oci-layout": b'{"imageLayoutVersion":"2"}'}) == {"schema": "error"}
    index = index_of([image([BASE], tag="a").descriptor], schemaVersion=1)
    assert of(tmp_path / "i", [image([BASE], tag="a")], index=index) == {"schema": "error"}


def test_a_document_that_is_no_strict_json_is_found(tmp_path: Path) -> None:
    config = pretty(config_of([BASE]))[:-1] + b',"os":"linux"}'
    assert of(tmp_path, [image([BASE], tag="a", config=config)])["document"] == "error"
    files = layout_files([image([BASE], tag="a")])
    assert of_files(tmp_path / "l", {**files, "oci-layout": b"{"}) == {"document": "error"}


def test_a_document_that_contradicts_its_descriptor_is_found(tmp_path: Path) -> None:
    one = image([BASE], tag="a")
    other = {**one.descriptor, "mediaType": "application/vnd.oci.image.index.v1+json"}
    assert of(tmp_path, [one], index=index_of([other])) == {"document": "error"}


def test_a_manifest_that_is_an_index_too_is_refused(tmp_path: Path) -> None:
    one = image([BASE], tag="a")
    one.manifest["manifests"] = []
    assert of(tmp_path, [one])["ambiguous"] == "error"


def test_a_missing_oci_layout_file_is_found(tmp_path: Path) -> None:
    files = layout_files([image([BASE], tag="a")])
    del files["oci-layout"]
    assert of_files(tmp_path, files) == {"layout-file": "error"}


def test_a_document_beyond_the_limits_is_found(tmp_path: Path) -> None:
    config = pretty(config_of([BASE]))[:-1] + b',"x":' + b"[" * 100 + b"]" * 100 + b"}"
    assert of(tmp_path, [image([BASE], tag="a", config=config)])["limit"] == "error"


def test_an_index_that_leads_to_itself_is_found_and_ends(tmp_path: Path) -> None:
    name = "blake9:" + "a" * 64
    inner = pretty(index_of([{"mediaType": "application/vnd.oci.image.index.v1+json", "digest": name, "size": 0}]))
    for size in range(len(inner), len(inner) + 4):
        raw = inner.replace(b'"size":0', b'"size":%d' % size)
        if len(raw) == size:
            break
    files = layout_files([], index=raw)
    files["blobs/blake9/" + "a" * 64] = raw
    found = of_files(tmp_path, files)
    assert found["cycle"] == "error" and found["digest-algorithm"] == "warning"


def test_indexes_nested_too_deep_are_found(tmp_path: Path) -> None:
    one = image([BASE])
    descriptor = one.descriptor
    for _ in range(12):
        raw = pretty(index_of([descriptor]))
        one.extra[sha256(raw)] = raw
        descriptor = {"mediaType": "application/vnd.oci.image.index.v1+json", "digest": sha256(raw), "size": len(raw)}
    assert of(tmp_path, [one], index=index_of([descriptor]))["limit"] == "error"


def test_a_tag_of_two_manifests_is_found(tmp_path: Path) -> None:
    assert of(tmp_path, [image([BASE], tag="a"), image([TOP], tag="a")]) == {"duplicate-tag": "warning"}
    platforms = [image([BASE], tag="a", platform=AMD64), image([TOP], tag="a", platform=ARM64, architecture="arm64")]
    assert of(tmp_path / "p", platforms) == {}
    archive = write_docker_archive(tmp_path / "d.tar", [image([BASE], tag="a:1"), image([TOP], tag="a:1")])
    assert rules(run(archive)) == {"duplicate-tag": "warning"}


def test_two_members_of_one_name_are_found(tmp_path: Path) -> None:
    files = list(layout_files([image([BASE], tag="a")]).items())
    assert rules(run(write_tar(tmp_path / "a.tar", [*files, files[0]]))) == {"duplicate-member": "warning"}


def test_a_configuration_under_another_digest_is_found(tmp_path: Path) -> None:
    files = docker_files([image([BASE], tag="a:1")])
    name = next(name for name in files if name.endswith(".json") and name != "manifest.json")
    files["0" * 64 + ".json"] = files.pop(name)
    files["manifest.json"] = files["manifest.json"].replace(name.encode(), b"0" * 64 + b".json")
    assert rules(run(write_tar(tmp_path / "a.tar", files))) == {"config-name": "error"}
    files["config.json"] = files.pop("0" * 64 + ".json")
    files["manifest.json"] = files["manifest.json"].replace(b"0" * 64 + b".json", b"config.json")
    assert rules(run(write_tar(tmp_path / "b.tar", files))) == {}


def test_a_hybrid_of_two_minds_is_found(tmp_path: Path) -> None:
    one, other = image([BASE], tag="a:1"), image([TOP], tag="a:1")
    files = {**layout_files([one]), **{"blobs/" + d.replace(":", "/"): b for d, b in other.blobs.items()}}
    files["manifest.json"] = hybrid_files([other])["manifest.json"]
    assert rules(run(write_tar(tmp_path / "a.tar", files))) == {"hybrid": "error"}
    files = hybrid_files([one])
    files["manifest.json"] = files["manifest.json"].replace(b'"Layers":["', b'"Layers":["blobs/sha256/' + b"0" * 64 + b'","')
    assert rules(run(write_tar(tmp_path / "b.tar", files))) == {"hybrid": "error"}


def test_the_format_before_docker_1_10_is_named() -> None:
    assert rules(run(ROOT / "testdata/encodings/docker-1.tar")) == {"legacy-format": "warning"}


def attested(about: str, one: Image) -> list[Image]:
    unknown = {"architecture": "unknown", "os": "unknown"}
    annotations = {"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": about}
    config = {**unknown, "rootfs": {"type": "layers", "diff_ids": []}}
    notes = image([], config=config, platform=unknown, annotations=annotations)
    return [one, notes]


def test_an_attestation_of_nothing_is_found(tmp_path: Path) -> None:
    one = image([BASE], tag="a")
    assert of(tmp_path / "good", attested(one.digest, one)) == {}
    assert of(tmp_path / "bad", attested("sha256:" + "0" * 64, one)) == {"dangling-attestation": "error"}


def test_a_platform_that_index_and_configuration_dispute_is_found(tmp_path: Path) -> None:
    assert of(tmp_path, [image([BASE], tag="a", platform=ARM64)]) == {"platform": "warning"}


# Blobs


def test_a_changed_byte_in_any_blob_is_found(tmp_path: Path) -> None:
    files = layout_files([image([BASE], tag="a", codec="none")])
    for n, name in enumerate(name for name in files if name.startswith("blobs/")):
        changed = bytearray(files[name])
        changed[len(changed) // 2] ^= 1
        assert of_files(tmp_path / str(n), {**files, name: bytes(changed)})["digest"] == "error"


def test_a_digest_that_cannot_be_checked_is_found(tmp_path: Path) -> None:
    one = image([BASE], tag="a")
    one.manifest["layers"][0]["digest"] = "blake9:abc"
    one.extra["blake9:abc"] = one.layers[0]
    found = of(tmp_path, [one])
    assert found["digest-algorithm"] == "warning" and "layer-damaged" not in found


def test_sha512_is_checked_like_sha256(tmp_path: Path) -> None:
    import hashlib

    one = image([BASE], tag="a", config=config_of([], rootfs={
        "type": "layers", "diff_ids": ["sha512:" + hashlib.sha512(BASE).hexdigest()]}, history=None))  # fmt: skip
    name = "sha512:" + hashlib.sha512(one.layers[0]).hexdigest()
    one.manifest["layers"][0]["digest"] = name
    one.extra[name] = one.layers[0]
    assert of(tmp_path / "good", [one]) == {}
    one.extra[name] = gz(TOP)
    assert "digest" in of(tmp_path / "bad", [one])


def test_a_size_that_is_another_is_found(tmp_path: Path) -> None:
    for where in ("config", "layers"):
        one = image([BASE], tag="a")
        (one.manifest["config"] if where == "config" else one.manifest["layers"][0])["size"] += 1
        assert of(tmp_path / where, [one]) == {"size": "error"}


def test_embedded_data_that_is_other_data_is_found(tmp_path: Path) -> None:
    one = image([BASE], tag="a")
    one.manifest["config"]["data"] = base64.b64encode(one.config).decode()
    assert of(tmp_path / "good", [one]) == {}
    one.manifest["config"]["data"] = base64.b64encode(b"{}").decode()
    assert of(tmp_path / "bad", [one]) == {"embedded-data": "error"}


def test_a_missing_blob_of_the_only_image_is_an_error(tmp_path: Path) -> None:
    files = layout_files([image([BASE], tag="a")])
    for n, name in enumerate(name for name in files if name.startswith("blobs/")):
        left = {key: data for key, data in files.items() if key != name}
        assert of_files(tmp_path / str(n), left) == {"missing-blob": "error"}
    files = docker_files([image([BASE], tag="a:1")])
    left = {key: data for key, data in files.items() if not key.endswith("layer.tar")}
    assert rules(run(write_tar(tmp_path / "d.tar", left))) == {"missing-blob": "error"}


def test_a_missing_platform_beside_a_whole_one_is_a_warning(tmp_path: Path) -> None:
    here, gone = image([BASE], platform=AMD64), image([TOP], platform=ARM64, architecture="arm64")
    raw = pretty(index_of([here.descriptor, gone.descriptor]))
    here.extra[sha256(raw)] = raw
    top = {"mediaType": "application/vnd.oci.image.index.v1+json", "digest": sha256(raw), "size": len(raw)}
    assert of(tmp_path / "one", [here], index=index_of([top])) == {"missing-platform": "warning"}
    files = layout_files([here], index=index_of([top]))
    del files["blobs/" + here.digest.replace(":", "/")]
    assert of_files(tmp_path / "none", files) == {"missing-blob": "error"}


def test_a_foreign_layer_is_named_and_not_missed(tmp_path: Path) -> None:
    one = image([BASE, TOP], tag="a")
    one.manifest["layers"][0]["urls"] = ["https://example.com/layer"]
    files = layout_files([one])
    assert of_files(tmp_path / "here", files) == {"foreign-layer": "warning"}
    del files["blobs/" + sha256(one.layers[0]).replace(":", "/")]
    assert of_files(tmp_path / "gone", files) == {"foreign-layer": "warning"}


# Layers and configuration


def test_layers_and_diff_ids_of_other_numbers_are_found(tmp_path: Path) -> None:
    assert of(tmp_path, [image([BASE, TOP], tag="a", config=config_of([BASE], history=None))]) == {"layer-count": "error"}


def test_more_layers_than_engines_take_are_found(tmp_path: Path) -> None:
    assert of(tmp_path / "125", [image([BASE] * 125, tag="a")]) == {}
    assert of(tmp_path / "126", [image([BASE] * 126, tag="a")]) == {"layer-limit": "warning"}
    archive = write_docker_archive(tmp_path / "d.tar", [image([BASE] * 126, tag="a:1", codec="none")])
    assert "layer-limit" in rules(run(archive))


def test_a_layer_of_unknown_type_is_found(tmp_path: Path) -> None:
    one = image([BASE], tag="a")
    one.manifest["layers"][0]["mediaType"] = "application/x-thing"
    assert of(tmp_path, [one]) == {"layer-type": "warning"}


@pytest.mark.parametrize("data", [gz(BASE)[:-9], gz(b"no tar at all" * 99), BASE[:700]])
def test_a_layer_that_cannot_be_read_is_found(tmp_path: Path, data: bytes) -> None:
    one = image([BASE], tag="a")
    one.layers = [data]
    one.manifest["layers"][0].update(digest=sha256(data), size=len(data))
    assert of(tmp_path, [one])["layer-damaged"] == "error"


def test_a_layer_beyond_the_limits_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCITOOL_MAX_LAYER_ENTRIES", "3")
    assert of_layers(tmp_path, BASE) == {"limit": "error"}


def test_a_forged_diff_id_is_found(tmp_path: Path) -> None:
    one = image([BASE], tag="a", config=config_of([TOP]))
    assert of(tmp_path, [one]) == {"diff-id": "error"}
    archive = write_docker_archive(tmp_path / "d.tar", [image([BASE], tag="a:1", config=config_of([TOP]), codec="none")])
    assert rules(run(archive)) == {"diff-id": "error"}


def test_a_shared_layer_is_held_against_each_images_diff_id(tmp_path: Path) -> None:
    assert of(tmp_path, [image([BASE], tag="a"), image([BASE], tag="b", config=config_of([TOP]))]) == {"diff-id": "error"}


def test_a_media_type_that_lies_is_found(tmp_path: Path) -> None:
    one = image([BASE], tag="a", codec="none")
    one.manifest["layers"][0]["mediaType"] += "+gzip"
    assert of(tmp_path, [one]) == {"media-type": "warning"}


def test_a_history_of_other_layers_is_found(tmp_path: Path) -> None:
    empty = {"created_by": "ENV A=b", "empty_layer": True}
    history = config_of([BASE])["history"]
    assert of(tmp_path / "good", [image([BASE], tag="a", history=[*history, empty])]) == {}
    assert of(tmp_path / "none", [image([BASE], tag="a", history=None)]) == {}
    assert of(tmp_path / "bad", [image([BASE], tag="a", history=history * 2)]) == {"history": "warning"}


# Tar rules

TAR_RULES: dict[str, tuple[str, bytes]] = {
    "tar-no-end": ("warning", layer_tar([("a", b"x")], end=b"")),
    "tar-trailing-data": ("warning", layer_tar([("a", b"x")]) + b"more"),
    "tar-global-pax": ("warning", raw_tar.pax((b"mtime", b"1"), flag=b"g") + layer_tar([("a", b"x")])),
    "tar-size-without-data": ("warning", raw_tar.head(b"l", b"2", 5, link=b"x") + raw_tar.END),
    "tar-time": ("warning", raw_tar.pax((b"mtime", b"99999999999")) + layer_tar([("a", b"x")])),
    "tar-absolute-name": ("warning", layer_tar([("/a", b"x")])),
    "unsafe-path": ("error", layer_tar([("../a", b"x")])),
    "duplicate-path": ("warning", layer_tar([("a", b"x"), ("./a", b"y")])),
    "invalid-whiteout": ("error", layer_tar([("d/", None), ("d/.wh.", b"")])),
    "whiteout-and-entry": ("warning", layer_tar([(".wh.a", b""), ("a", b"x")])),
    "opaque-order": ("warning", layer_tar([("d/.wh..wh..opq", b""), ("d/", None)])),
    "aufs-metadata": ("warning", layer_tar([(".wh..wh.plnk", b"")])),
    "missing-parent": ("warning", layer_tar([("d/a", b"x")])),
    "below-non-directory": ("warning", layer_tar([("d", "link:etc"), ("d/a", b"x")])),
    "hardlink-broken": ("error", layer_tar([("a", "hard:nothing")])),
    "hardlink-directory": ("error", layer_tar([("d/", None), ("a", "hard:d")])),
    "hardlink-late": ("warning", layer_tar([("a", "hard:b"), ("b", b"x")])),
}


@pytest.mark.parametrize("rule", sorted(TAR_RULES))
def test_each_tar_rule_fires_alone(tmp_path: Path, rule: str) -> None:
    severity, tar = TAR_RULES[rule]
    assert of_layers(tmp_path, tar) == {rule: severity}


@pytest.mark.parametrize("tar", [
    layer_tar([("x", "hard:../../etc/passwd")]), layer_tar([("../.wh.a", b"")]), layer_tar([("../../d/", None)]),
])  # fmt: skip
def test_links_and_whiteouts_leave_the_root_no_more_than_files(tmp_path: Path, tar: bytes) -> None:
    assert of_layers(tmp_path, tar)["unsafe-path"] == "error"


def test_symlink_targets_may_lead_anywhere(tmp_path: Path) -> None:
    assert of_layers(tmp_path, layer_tar([("a", "link:/etc"), ("b", "link:../../..")])) == {}


def test_a_hard_link_to_itself_or_a_later_directory_is_broken(tmp_path: Path) -> None:
    assert of_layers(tmp_path / "self", layer_tar([("a", "hard:a")]))["hardlink-broken"] == "error"
    late = layer_tar([("a", "hard:d"), ("d/", None)])
    assert of_layers(tmp_path / "late", late) == {"hardlink-directory": "error"}


def test_a_hard_link_into_a_lower_layer_is_a_warning(tmp_path: Path) -> None:
    assert of_layers(tmp_path / "file", BASE, layer_tar([("x", "hard:etc/motd")])) == {"hardlink-across": "warning"}
    assert of_layers(tmp_path / "dir", BASE, layer_tar([("x", "hard:etc")])) == {"hardlink-directory": "error"}
    assert of_layers(tmp_path / "none", BASE, layer_tar([("x", "hard:etc/none")])) == {"hardlink-broken": "error"}


def test_an_entry_below_a_lower_link_or_file_is_found(tmp_path: Path) -> None:
    below = {"missing-parent": "warning", "below-non-directory": "warning"}
    assert of_layers(tmp_path / "link", BASE, layer_tar([("lib/a", b"x")])) == below
    assert of_layers(tmp_path / "file", BASE, layer_tar([("etc/", None), ("etc/motd/a", b"x")])) == below
    assert of_layers(tmp_path / "replaced", BASE, layer_tar([("lib/", None), ("lib/a", b"x")])) == {}
    hidden = layer_tar([(".wh.lib", b""), ("lib/a", b"x")])
    assert of_layers(tmp_path / "hidden", BASE, hidden) == {"missing-parent": "warning"}


def test_a_whiteout_below_a_link_is_found_as_an_entry_is(tmp_path: Path) -> None:
    assert "below-non-directory" in of_layers(tmp_path, BASE, layer_tar([("lib/.wh.a", b"")]))


def test_what_stands_on_a_damaged_layer_is_not_judged_by_it(tmp_path: Path) -> None:
    one = image([BASE, layer_tar([("x", "hard:etc/motd")])], tag="a")
    files = layout_files([one])
    files["blobs/" + sha256(one.layers[0]).replace(":", "/")] = gz(TOP)
    assert "hardlink-broken" not in of_files(tmp_path, files)


def test_one_finding_counts_all_of_its_rule_in_a_layer(tmp_path: Path) -> None:
    many = layer_tar([(f"d{n}/f", b"") for n in range(1000)])
    (finding,) = run(write_layout(tmp_path / "l", [image([many], tag="a")])).findings
    assert finding.rule == "missing-parent" and "1000" in finding.message and "/d0" in finding.message
    assert finding.subject == f"layer 0 {sha256(gz(many))}"


def test_notes_beyond_those_kept_are_counted(tmp_path: Path) -> None:
    many = layer_tar([(f"/f{n}", b"") for n in range(500)])
    (finding,) = run(write_layout(tmp_path / "l", [image([many], tag="a")])).findings
    assert finding.rule == "tar-absolute-name" and "500" in finding.message


# Bounds


def test_findings_are_bounded_and_errors_kept_before_warnings(tmp_path: Path) -> None:
    images = [image([layer_tar([(f"d{n}/f", b"")])], tag=f"t{n}") for n in range(250)]
    result = run(write_layout(tmp_path / "w", images))
    assert len(result.findings) == LIMIT and result.truncated and result.valid
    images.append(image([BASE], tag="bad", config=config_of([TOP])))
    result = run(write_layout(tmp_path / "e", images))
    assert len(result.findings) == LIMIT and result.truncated and not result.valid


def test_text_from_an_image_is_cut(tmp_path: Path) -> None:
    long = "\x1b]0;x\n" * 2000
    for finding in run(write_layout(tmp_path / "a", [image([layer_tar([(long + "/a", b"")])], tag="a")])).findings:
        assert len(finding.message) <= 200 and len(finding.subject) <= 200
    result = validate_document("config", pretty({long: 1, "config": {"Labels": {long: 1}}}), "x")
    assert all(len(finding.message) <= 200 for finding in result.findings)


def test_names_that_are_no_text_are_shown_with_replacements(tmp_path: Path) -> None:
    (finding,) = run(write_layout(tmp_path / "a", [image([layer_tar([(b"\xff/a", b"")])], tag="a")])).findings
    assert "\ufffd" in finding.message


def test_every_rule_in_the_code_is_listed_and_every_listed_rule_is_in_the_code() -> None:
    texts = [file.read_text() for file in Path(validation.__file__).parent.glob("*.py")]
    body = "".join(text.partition('"""Every rule id')[2] or text for text in texts)
    for rule in re.findall(r"""(?:error|warn|say|_breaks)\(\s*"([a-z-]+)",""", body):
        assert rule in RULES, rule
    tar = "".join(path.read_text() for path in (ROOT / "ocitool/layers").glob("tar*.py"))
    noted = set(re.findall(r'notes\.add\("([a-z-]+)"', tar))
    assert noted and noted <= set(RULES)
    for rule in set(RULES) - noted:
        assert f'"{rule}"' in body, rule


# Bare documents

GOOD: dict[str, Any] = {
    "descriptor": image([BASE]).manifest["config"],
    "manifest": image([BASE]).manifest,
    "index": index_of([image([BASE]).descriptor]),
    "config": config_of([BASE]),
    "layout": {"imageLayoutVersion": "1.0.0"},
    "docker-manifest": {
        "schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": {"mediaType": "application/vnd.docker.container.image.v1+json", "digest": sha256(b""), "size": 1},
        "layers": [{"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip", "digest": sha256(b""), "size": 1}],
    },
    "docker-manifest-list": {
        "schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.list.v2+json",
        "manifests": [{"mediaType": "application/vnd.docker.distribution.manifest.v2+json", "digest": sha256(b""), "size": 1,
                       "platform": AMD64}],
    },
    "docker-archive-manifest": [{"Config": "a.json", "RepoTags": None, "Layers": ["a/layer.tar"]}],
}  # fmt: skip


def document(kind: str, value: object) -> dict[str, str]:
    return rules(validate_document(kind, pretty(value), "x.json"))


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_a_good_bare_document_is_valid_and_an_empty_one_not(kind: str) -> None:
    result = validate_document(kind, pretty(GOOD[kind]), "x.json")
    assert result.valid and result.findings == () and result.reference == "x.json"
    assert result.checked == (1, 0, 0, 0, len(pretty(GOOD[kind])))
    assert document(kind, [{}] if kind == "docker-archive-manifest" else {}) == {"schema": "error"}
    assert document(kind, "text") == {"schema": "error"}


def test_a_bare_document_shows_what_a_schema_cannot_say() -> None:
    manifest, index = GOOD["manifest"], GOOD["index"]
    assert "ambiguous" in document("manifest", {**manifest, "manifests": []})
    assert "ambiguous" in document("index", {**index, "layers": []})
    assert document("manifest", {**manifest, "layers": manifest["layers"] * 126}) == {"layer-limit": "warning"}
    assert document("descriptor", {**GOOD["descriptor"], "data": "e30="}) == {"embedded-data": "error"}
    assert document("descriptor", {**GOOD["descriptor"], "digest": "blake9:abc"}) == {"digest-algorithm": "warning"}
    assert document("config", {**GOOD["config"], "history": [{}, {}]}) == {"history": "warning"}
    note = {**index["manifests"][0], "annotations": {
        "vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": "sha256:" + "0" * 64}}  # fmt: skip
    assert document("index", index_of([note])) == {"dangling-attestation": "error"}


def test_a_bare_document_that_is_no_json_is_an_error() -> None:
    for raw in (b"", b"{", b'{"a":1,"a":2}', b"\xff"):
        with pytest.raises(FormatError):
            validate_document("index", raw, "x.json")
    with pytest.raises(LimitError):
        validate_document("index", b"[" * 1000, "x.json")
    with pytest.raises(UsageError):
        validate_document("report-diff", b"{}", "x.json")


def test_the_builders_names_and_kinds_are_what_the_reader_reads() -> None:
    made = entry("d/", None)[0]
    assert (made.kind, made.path) == (Kind.DIRECTORY, b"d")
