"""Members of archives that are links, and lists of images that stand in one archive twice."""

from __future__ import annotations

import gzip
import io
import lzma
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from support.images import docker_files, hybrid_files, image, layer_tar, layout_files, write_files, write_tar
from support.report import report_of

Run = Callable[..., Any]
ONE, TWO = (layer_tar([("etc/", None), (f"etc/{name}", name.encode())]) for name in ("one", "two"))
APP, LIB = image([ONE, TWO], tag="app:1", codec="none"), image([TWO], tag="lib:1", codec="none")
FORMS = [docker_files, layout_files, hybrid_files]


def packed(path: Path, files: Mapping[str, bytes], links: Mapping[str, str]) -> Path:
    """An archive of these files, links first."""
    with tarfile.open(path, "w") as archive:
        for name, target in links.items():
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, target
            archive.addfile(link)
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def sound(ocitool: Run, path: Path) -> None:
    """Both images are read whole and no member is one that no image names."""
    found = report_of(ocitool("validate", path, "--format", "json"))
    assert ([], 2) == (found["findings"], found["checked"]["layers"])
    assert b"/etc/two" in ocitool("ls", "-R", f"{path}:app:1").stdout


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("root", ["/", "relative"])
def test_members_that_are_links_lead_to_members_from_the_top_of_the_archive_too(
    root: str, form: Any, ocitool: Run, tmp_path: Path
) -> None:
    files = form([APP, LIB])
    links = {}
    for number, name in enumerate([name for name, data in files.items() if data in (ONE, TWO)]):
        files[f"store/{number}"] = files.pop(name)
        links[name] = ("/" if root == "/" else "../" * name.count("/")) + f"store/{number}"
    sound(ocitool, packed(tmp_path / "a.tar", files, links))


@pytest.mark.parametrize("form", [layout_files, hybrid_files])
@pytest.mark.parametrize(("link", "target"), [("blobs", "kept/here"), ("blobs/sha256", "../kept/here/sha256")])
def test_a_directory_of_an_archive_may_be_a_link(link: str, target: str, form: Any, ocitool: Run, tmp_path: Path) -> None:
    files = {
        name.replace("blobs/", "kept/here/", 1) if name.startswith("blobs/") else name: data
        for name, data in form([APP, LIB]).items()
    }
    sound(ocitool, packed(tmp_path / "a.tar", files, {link: target}))


@pytest.mark.parametrize("form", FORMS)
def test_lists_of_images_may_be_links(form: Any, ocitool: Run, tmp_path: Path) -> None:
    files = form([APP, LIB])
    links = {name: f"lists/{name}" for name in ("index.json", "manifest.json") if name in files}
    for name, target in links.items():
        files[target] = files.pop(name)
    sound(ocitool, packed(tmp_path / "a.tar", files, links))


def test_directories_that_link_in_a_circle_are_an_error_and_no_hang(ocitool: Run, tmp_path: Path) -> None:
    path = packed(tmp_path / "a.tar", {"index.json": layout_files([APP])["index.json"]}, {"blobs": "b", "b": "blobs"})
    result = ocitool("ls", path)
    assert 4 == result.code and "circle" in result.err, str(result)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("below", ["", "./", "dir/"])
def test_a_list_of_images_that_a_later_one_replaces_is_told(below: str, form: Any, ocitool: Run, tmp_path: Path) -> None:
    """As `tar -A` joins archives: the later list counts, as for tar."""
    both = [(below + name, data) for one in (APP, LIB) for name, data in form([one]).items()]
    path = write_tar(tmp_path / "a.tar", both)
    for words in (("inspect", path), ("copy", path, f"{tmp_path}/to/")):
        result = ocitool(*words)
        assert 0 == result.code and "stands twice" in result.err, str(result)
    again = write_tar(tmp_path / "again.tar", [(below + name, data) for name, data in [*form([APP]).items()] * 2])
    assert "stands twice" not in ocitool("inspect", again).err


@pytest.mark.parametrize("files", [docker_files([APP]), {"manifest.json": APP.raw, "version": b""}])
def test_a_directory_names_the_images_in_directories_below_it(files: Any, ocitool: Run, tmp_path: Path) -> None:
    write_files(tmp_path / "above/image", files)
    write_files(tmp_path / "above/page", {"manifest.json": b'{"name": "a page"}'})
    result = ocitool("inspect", tmp_path / "above")
    assert 4 == result.code and result.err.endswith(f"in it may be images: {tmp_path}/above/image\n"), str(result)


@pytest.mark.parametrize(("packed", "codec", "unpack"), [(gzip.compress, "gzip", "gzip -dc"), (lzma.compress, "xz", "xz -dc")])
def test_a_compressed_file_that_is_no_tar_is_called_what_is_in_it_with_a_hint_that_begins_outside(
    packed: Callable[[bytes], bytes], codec: str, unpack: str, ocitool: Run, tmp_path: Path
) -> None:
    (tmp_path / "a.tar").write_bytes(packed(b"\x04\x22\x4d\x18" + b"x" * 999))
    result = ocitool("inspect", tmp_path / "a.tar")
    assert 4 == result.code and f"an lz4 file in {codec}" in result.err and f"{unpack} {tmp_path}/a.tar >" in result.err


@pytest.mark.parametrize("manifest", [b"{", b"", b"\xff", None], ids=str)
def test_a_dir_image_whose_manifest_json_cannot_be_read_is_told_so(
    manifest: bytes | None, ocitool: Run, tmp_path: Path
) -> None:
    files = {"version": b"Directory Transport Version: 1.1\n"} | ({} if manifest is None else {"manifest.json": manifest})
    result = ocitool("inspect", write_files(tmp_path / "d", files))
    assert 4 == result.code and "manifest.json" in result.err and "layout" not in result.err, str(result)
