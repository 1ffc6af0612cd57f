"""`validate` says what it did not look at, and `copy` writes no name for which docker load refuses an archive."""

from __future__ import annotations

import base64
import gzip
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from support.images import (
    config_of,
    docker_files,
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
)
from support.registry_command import Run

from ocitool import reference

TAR = layer_tar([("etc/", None), ("etc/motd", b"hello\n")])
ONE = image([TAR], tag="app:1", codec="none")
OTHER = image([layer_tar([("srv/", None)])], tag="app:2", codec="none")
GARBAGE = b"-----BEGIN PGP SIGNATURE-----\n" * 40


def found(ocitool: Run, *words: str | Path) -> tuple[int, dict[str, str], Any]:
    result = ocitool("validate", "--format", "json", *words)
    report = result.json()
    return result.code, {one["rule"]: one["severity"] for one in report["findings"]}, report


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize(
    ("behind", "severity"), [("archive", "error"), ("garbage", "warning"), ("far garbage", "warning"), ("zeros", None)]
)
def test_what_stands_behind_the_end_of_an_archive_is_told(
    behind: str, severity: str | None, packed: bool, ocitool: Run, tmp_path: Path
) -> None:
    one = write_docker_archive(tmp_path / "a.tar", [ONE])
    more = {
        "archive": write_docker_archive(tmp_path / "b.tar", [OTHER]).read_bytes(), "garbage": GARBAGE,
        "far garbage": bytes(200_000) + GARBAGE, "zeros": bytes(20_000),
    }[behind]  # fmt: skip
    data = one.read_bytes() + more
    one.write_bytes(gzip.compress(data, 1) if packed else data)
    code, rules, _ = found(ocitool, one)
    assert (int(severity == "error"), {"archive-trailing": severity} if severity else {}) == (code, rules)
    stderr = ocitool("inspect", one).err
    assert (behind in ("archive", "garbage")) == ("data behind the end of the archive" in stderr)


def test_an_archive_without_an_image_is_an_error_and_an_empty_layout_a_warning(ocitool: Run, tmp_path: Path) -> None:
    empty = write_tar(tmp_path / "a.tar", {"manifest.json": b"[]"})
    assert (1, {"no-image": "error"}) == found(ocitool, empty)[:2]
    assert (1, {"no-image": "error"}) == found(ocitool, write_oci_archive(tmp_path / "b.tar", []))[:2]
    assert (0, {"no-image": "warning"}) == found(ocitool, write_layout(tmp_path / "l", []))[:2]


@pytest.mark.parametrize("files", [docker_files, hybrid_files, layout_files])
def test_members_that_no_image_names_are_counted(files: Any, ocitool: Run, tmp_path: Path) -> None:
    members = files([ONE])
    assert (0, {}) == found(ocitool, write_tar(tmp_path / "a.tar", members))[:2]
    code, rules, report = found(ocitool, write_tar(tmp_path / "b.tar", {**members, "README": b"", "blobs/sha256/x": b"y"}))
    assert (0, {"unnamed-member": "warning"}, 2) == (code, rules, report["checked"]["unnamed"])
    assert "2 members that no image names; the first: README" in ocitool("validate", tmp_path / "b.tar").out


def test_two_saves_in_one_archive_leave_members_that_no_image_names(ocitool: Run, tmp_path: Path) -> None:
    """As `tar -A` makes it: of two members manifest.json the later counts."""
    both = [*docker_files([ONE]).items(), *docker_files([OTHER]).items()]
    code, rules, report = found(ocitool, write_tar(tmp_path / "a.tar", both))
    assert (0, {"duplicate-member": "warning", "unnamed-member": "warning"}, 2) == (code, rules, report["checked"]["unnamed"])


def test_blobs_of_a_layout_that_no_image_names_are_counted(ocitool: Run, tmp_path: Path) -> None:
    layout = write_files(tmp_path / "l", {**layout_files([ONE]), f"blobs/sha256/{sha256(b'x')[7:]}": b"x"})
    code, rules, report = found(ocitool, layout)
    assert (0, {}, 1) == (code, rules, report["checked"]["unnamed"])
    assert "not looked at: 1 that no image names" in ocitool("validate", layout).out


@pytest.mark.parametrize("name", sorted(path.name for path in (Path(__file__).parents[2] / "testdata/encodings").glob("*.tar")))
def test_of_what_real_tools_write_every_member_belongs_to_an_image(name: str, ocitool: Run, testdata: Path) -> None:
    code, rules, report = found(ocitool, testdata / "encodings" / name)
    assert (0, 0) == (code, report["checked"]["unnamed"])
    assert not {"unnamed-member", "archive-trailing", "docker-name", "no-image", "no-layers", "env"} & rules.keys()


A = "a" * 64
NAMES = {
    # what docker load 20.10 does with it as RepoTags
    "app:1": True, "app": False, "formats/Name:Tag": False, "formats/name:Tag": True, "<none>:<none>": False, "": False,
    f"docker.io/formats/b@sha256:{A}": False, f"app:1@sha256:{A}": True, "Foo/bar:1": False, "Foo.example/bar:1": True,
    "localhost:5000/x:1": True, f"h.io/{'a' * 250}:1": True, f"h.io/{'a' * 251}:1": False, f"{A}:1": True,
    f"app:{'t' * 128}": True, f"app:{'t' * 129}": False, "app:.x": False, "app:-x": False, "a__b:1": True, "a___b:1": False,
    "a..b:1": False, "h..io/a:1": False, "h-.io/a:1": False, "-h.io/a:1": False, "h.io:/a:1": False, "h.io:123456/a:1": True,
    "app/:1": False, "/app:1": False, "app:1:2": False, "[::1]:5000/a:1": False, "docker.io/a:1": True, "app :1": False,
    "ä:1": False, "h_x.io/a:1": True, "a-_b:1": False, "a---b:1": True, f"{'a' * 237}:1": True, f"{'a' * 238}:1": False,
    "h.io/a/b/c/d:1": True,
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_loadable_if_docker_load_takes_it(name: str) -> None:
    assert NAMES[name] == reference.is_loadable(name)


@pytest.mark.parametrize("files", [docker_files, hybrid_files])
@pytest.mark.parametrize("name", ["formats/Name:Tag", "app", "", f"app@sha256:{A}", f"h.io/{'a' * 251}:1", "<none>:<none>"])
def test_a_name_for_which_docker_load_refuses_the_archive_is_an_error(
    name: str, files: Any, ocitool: Run, tmp_path: Path
) -> None:
    members = files([ONE])
    listed = json.loads(members["manifest.json"])
    listed[0]["RepoTags"] = [name]
    code, rules, _ = found(ocitool, write_tar(tmp_path / "a.tar", {**members, "manifest.json": pretty(listed)}))
    assert (1, "error") == (code, rules["docker-name"])


def test_one_name_of_two_images_is_told(ocitool: Run, tmp_path: Path) -> None:
    members = hybrid_files([ONE, OTHER])
    members["manifest.json"] = members["manifest.json"].replace(b"app:2", b"app:1")
    assert "warning" == found(ocitool, write_tar(tmp_path / "a.tar", members))[1]["duplicate-tag"]


def repo_tags(path: Path) -> list[Any]:
    with tarfile.open(path) as tar:
        member = tar.extractfile("manifest.json")
        assert member is not None
        return [one["RepoTags"] for one in json.loads(member.read())]


@pytest.mark.parametrize("destination", ["out.tar", "-"])
def test_a_copy_leaves_names_out_that_docker_load_refuses_and_says_so(destination: str, ocitool: Run, tmp_path: Path) -> None:
    digest = image([TAR]).digest
    bad = f"docker.io/formats/b@{digest}"
    one = image([TAR], annotations={"org.opencontainers.image.ref.name": bad})
    good = image([TAR], tag="docker.io/formats/b:1")
    layout = write_layout(tmp_path / "l", [one, good])
    target = tmp_path / "out.tar"
    result = ocitool("copy", layout, target if destination != "-" else "-")
    if destination == "-":
        target.write_bytes(result.stdout)
    assert (0, True) == (result.code, f"{bad} stands in index.json alone: docker load would refuse" in result.err), str(result)
    assert [["docker.io/formats/b:1"]] == repo_tags(target)
    with tarfile.open(target) as tar:
        index = tar.extractfile("index.json")
        assert index is not None and bad in index.read().decode()
    assert (0, {}) == found(ocitool, target)[:2]


@pytest.mark.parametrize("tag", ["formats/Name:Tag", "<none>:<none>"])
def test_a_copy_of_an_archive_that_docker_load_refuses_is_one_that_it_takes(tag: str, ocitool: Run, tmp_path: Path) -> None:
    source = write_docker_archive(tmp_path / "in.tar", [image([TAR], tag=tag, codec="none")])
    result = ocitool("copy", source, tmp_path / "out.tar")
    assert (0, [None], True) == (result.code, repo_tags(tmp_path / "out.tar"), "stands in index.json alone" in result.err)


def test_a_digest_of_an_algorithm_that_is_not_registered_is_a_warning(ocitool: Run, tmp_path: Path) -> None:
    """descriptor.md, "Digests": implementations should let them pass."""
    name = "multihash+base58:QmRZxt2b1FVZPNqd8hsiykDL3TdBDeTSPX9Kv46HmX4Gx8"
    one = image([TAR], tag="app", codec="none")
    one.manifest["layers"][0]["digest"] = name
    one.extra[name] = one.layers[0]
    code, rules, _ = found(ocitool, write_layout(tmp_path / "l", [one]))
    assert (0, {"digest-algorithm": "warning"}) == (code, rules)
    fields = {"mediaType": "application/octet-stream", "size": 1, "digest": name}
    (tmp_path / "d.json").write_bytes(pretty(fields))
    assert (0, {"digest-algorithm": "warning"}) == found(ocitool, "--as", "descriptor", tmp_path / "d.json")[:2]


def test_a_manifest_without_layers_is_a_warning(ocitool: Run, tmp_path: Path) -> None:
    one = image([], tag="app")
    assert (0, {"no-layers": "warning"}) == found(ocitool, write_layout(tmp_path / "l", [one]))[:2]
    (tmp_path / "m.json").write_bytes(one.raw)
    assert (0, {"no-layers": "warning"}) == found(ocitool, "--as", "manifest", tmp_path / "m.json")[:2]


@pytest.mark.parametrize("env", [["PATH=/bin", "*"], ["HOME"], ["=x"], [""]])
def test_an_entry_of_env_without_a_value_is_a_warning(env: list[str], ocitool: Run, tmp_path: Path) -> None:
    config = config_of([TAR], config={"Env": env})
    (tmp_path / "c.json").write_bytes(pretty(config))
    assert (0, {"env": "warning"}) == found(ocitool, "--as", "config", tmp_path / "c.json")[:2]
    layout = write_layout(tmp_path / "l", [image([TAR], tag="app", config=config)])
    assert (0, {"env": "warning"}) == found(ocitool, layout)[:2]
    good = write_layout(tmp_path / "good", [image([TAR], tag="app", config=config_of([TAR], config={"Env": ["A=", "B=1=2"]}))])
    assert (0, {}) == found(ocitool, good)[:2]


def test_an_entry_of_env_that_is_named_does_not_show_a_token(ocitool: Run, tmp_path: Path) -> None:
    config = config_of([TAR], config={"Env": ["ghp_" + "Ab1" * 12]})
    layout = write_layout(tmp_path / "l", [image([TAR], tag="app", config=config)])
    for form in ("text", "json"):
        result = ocitool("validate", layout, "--format", form)
        assert (0, True, False) == (result.code, "NAME=VALUE: ***" in result.out, "ghp_" in result.out)


# Lists of images that cannot be read, or contradict themselves


@pytest.mark.parametrize("index", [b"{", b"\xef\xbb\xbf{}", b"[]", "{}".encode("utf-16")], ids=["cut", "BOM", "list", "UTF-16"])
@pytest.mark.parametrize("extracted", [False, True], ids=["archive", "directory"])
def test_a_hybrid_whose_index_json_cannot_be_read_is_not_valid(
    ocitool: Run, tmp_path: Path, extracted: bool, index: bytes
) -> None:
    files = hybrid_files([ONE, OTHER]) | {"index.json": index}
    place = write_files(tmp_path / "it", files) if extracted else write_tar(tmp_path / "it", files)
    code, rules, report = found(ocitool, place)
    assert (1, "error", False) == (code, rules.get("document"), report["valid"])
    assert ["index.json"] == [one["subject"] for one in report["findings"] if one["rule"] == "document"]


def test_images_that_only_manifest_json_of_an_extracted_archive_has_are_validated(ocitool: Run, tmp_path: Path) -> None:
    files = hybrid_files([ONE, OTHER])
    index = json.loads(files["index.json"])
    del index["manifests"][1]
    layer = "blobs/" + sha256(OTHER.layers[0]).replace(":", "/")
    files |= {"index.json": pretty(index), layer: bytes(len(files[layer]))}
    for place in (write_tar(tmp_path / "it.tar", files), write_files(tmp_path / "it", files)):
        code, rules, _ = found(ocitool, place)
        assert (1, "error", "error") == (code, rules.get("hybrid"), rules.get("digest"))


def test_images_of_one_configuration_with_layers_compressed_differently_are_each_right(ocitool: Run, tmp_path: Path) -> None:
    images = [image([TAR], tag=f"app:{codec}", codec=codec) for codec in ("none", "gzip", "zstd")]
    assert 0 == ocitool("copy", write_layout(tmp_path / "it", images), tmp_path / "copy.tar").code
    assert (0, True) == ((made := found(ocitool, tmp_path / "copy.tar"))[0], made[2]["valid"])


def test_an_entry_that_states_another_size_of_a_manifest_listed_before_is_an_error(ocitool: Run, tmp_path: Path) -> None:
    index = json.loads(layout_files([ONE])["index.json"])
    index["manifests"].append({**index["manifests"][0], "size": 3})
    code, rules, _ = found(ocitool, write_layout(tmp_path / "it", [ONE], index=index))
    assert (1, "error") == (code, rules.get("size"))


def test_an_entry_that_states_another_kind_of_a_manifest_listed_before_is_an_error(ocitool: Run, tmp_path: Path) -> None:
    index = json.loads(layout_files([ONE])["index.json"])
    index["manifests"].append({**index["manifests"][0], "mediaType": "application/vnd.oci.image.index.v1+json"})
    code, rules, _ = found(ocitool, write_layout(tmp_path / "it", [ONE], index=index))
    assert (1, "error") == (code, rules.get("document"))


def test_a_blob_that_is_a_link_to_itself_is_a_finding_and_hides_no_other_image(ocitool: Run, tmp_path: Path) -> None:
    layout = write_layout(tmp_path / "it", [ONE, OTHER])
    blob = layout / "blobs" / OTHER.digest.replace(":", "/")
    blob.unlink()
    blob.symlink_to(blob.name)
    code, rules, report = found(ocitool, layout)
    assert (1, "error", 1) == (code, rules.get("document"), report["checked"]["layers"])


def test_blobs_that_is_a_file_is_reported_as_blobs_that_are_missing(ocitool: Run, tmp_path: Path) -> None:
    layout = write_layout(tmp_path / "it", [ONE])
    (layout / "blobs").rename(tmp_path / "away")
    (layout / "blobs").write_bytes(b"")
    code, rules, _ = found(ocitool, layout)
    assert (1, "error") == (code, rules.get("missing-blob"))


def test_a_tar_of_a_dir_image_is_called_what_it_is_and_the_hint_is_true(ocitool: Run, tmp_path: Path) -> None:
    blobs = {digest[7:]: data for digest, data in ONE.blobs.items() if digest != ONE.digest}
    files = {"version": b"Directory Transport Version: 1.1\n", "manifest.json": ONE.raw} | blobs
    result = ocitool("inspect", write_tar(tmp_path / "it.tar", files))
    assert (4, True) == (result.code, "skopeo (dir:)" in result.err and "a directory of its own" in result.err), str(result)
    assert 0 == ocitool("inspect", write_files(tmp_path / "it", files)).code


@pytest.mark.parametrize("part", ["manifest", "config", "layer"])
def test_embedded_data_that_is_not_what_the_digest_says_is_an_error_though_the_blob_is_right(
    part: str, ocitool: Run, tmp_path: Path
) -> None:
    one = image([TAR], tag="app:1")
    wrong = {"data": base64.b64encode(b"other").decode()}
    if part == "config":
        one.manifest["config"] |= wrong
    elif part == "layer":
        one.manifest["layers"][0] |= wrong
    index = index_of([one.descriptor | (wrong if part == "manifest" else {})])
    code, rules, _ = found(ocitool, write_layout(tmp_path / "l", [one], index=index))
    assert (1, {"embedded-data": "error"}) == (code, rules)


def test_an_image_of_repositories_beside_an_index_is_called_so(ocitool: Run, tmp_path: Path) -> None:
    top = "b" * 64
    old = {"repositories": pretty({"old": {"1": top}}), f"{top}/json": pretty({"id": top}), f"{top}/layer.tar": TAR}
    result = ocitool("validate", write_tar(tmp_path / "a.tar", {**hybrid_files([ONE]), **old}))
    assert "legacy-format: repositories, old:1:" in result.out, str(result)
    assert "no image names" not in result.out, str(result)
