"""`ocitool append --layer DIR`: what the image has stays the image's, unless it is asked for, and what changes is said."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import places
from support.images import (
    AnyEntry,
    entry,
    gz,
    image,
    index_of,
    layer_tar,
    layout_files,
    pretty,
    sha256,
    write_files,
    write_layout,
)
from support.report import report_of

Run = Callable[..., Any]
BASE: list[AnyEntry] = [
    entry("etc/", None, mode=0o750, uid=3, gid=4, mtime=7 * 10**9, xattrs=((b"user.a", b"1"),)), ("etc/passwd", b"root"),
    ("etc/group", b"root"), entry("tmp/", None, mode=0o1777), ("usr/", None), ("usr/bin/", None), ("usr/bin/sh", b"shell"),
    ("bin", "link:usr/bin"), ("opt", b"a file"),
]  # fmt: skip


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    return write_layout(tmp_path / "src", [image([layer_tar(BASE)], tag="app")])


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """`etc` and `tmp` as mktemp makes them, a file in each, and a directory of its own."""
    made = tmp_path / "new"
    for name in ("etc", "tmp", "srv"):
        (made / name).mkdir(parents=True)
        (made / name).chmod(0o700)
        (made / name / "file").write_bytes(b"1")
    (made / "srv/file").chmod(0o640)
    return made


class Appended:
    def __init__(self, ocitool: Run, layout: Path | str, place: Path, words: tuple[object, ...]) -> None:
        self.report = report_of(ocitool("append", layout, f"oci:{place / 'out'}", *words, "--format", "json"))
        self.at = {}
        if "--all-platforms" not in words:
            listed = report_of(ocitool("ls", place / "out", "--recursive", "--format", "json"))
            self.at = {one["path"]: one for one in listed["entries"]}

    def facts(self, path: str, *fields: str) -> list[Any]:
        return [self.at[path][field] for field in fields]

    def notices_of(self, code: str) -> list[str]:
        return [one["text"] for one in self.report["notices"] if one["code"] == code]


@pytest.fixture
def append(ocitool: Run, layout: Path, tmp_path: Path) -> Callable[..., Appended]:
    return lambda *words: Appended(ocitool, layout, tmp_path, words)


def test_directories_of_the_image_keep_their_attributes(append: Callable[..., Appended], directory: Path) -> None:
    made = append("--layer", directory)
    assert ["0750", 3, 4, {"user.a": "MQ=="}] == made.facts("/etc", "mode", "uid", "gid", "xattrs")
    assert ["1970-01-01T00:00:07Z", "1777"] == [*made.facts("/etc", "mtime"), *made.facts("/tmp", "mode")]


def test_they_take_those_on_disk_if_that_is_asked_for(append: Callable[..., Appended], directory: Path) -> None:
    made = append("--layer", directory, "--dirs-from-layer")
    assert ["0700", 0, 0, {}] == made.facts("/etc", "mode", "uid", "gid", "xattrs")
    assert ["2 directories of the image: /etc, /tmp" in text for text in made.notices_of("directories")] == [True]


def test_new_directories_and_files_have_the_mode_on_disk(append: Callable[..., Appended], directory: Path) -> None:
    made = append("--layer", directory)
    assert ["0700", "0640"] == [*made.facts("/srv", "mode"), *made.facts("/srv/file", "mode")]


@pytest.mark.parametrize(
    ("words", "owner"), [((), [0, 0]), (("--owner", "5:6"), [5, 6]), (("--owner", "5"), [5, 5]), (("--keep-owner",), [11, 12])]
)
def test_what_is_new_is_roots_or_of_the_owner_asked_for(
    words: tuple[str, ...], owner: list[int], append: Callable[..., Appended], directory: Path
) -> None:
    if os.geteuid() == 0:
        for path in ("srv", "srv/file", "etc"):
            os.chown(directory / path, 11, 12)
    elif words == ("--keep-owner",):
        owner = [os.geteuid(), os.getegid()]
    made = append("--layer", directory, *words)
    assert [owner, owner, [3, 4]] == [made.facts(path, "uid", "gid") for path in ("/srv", "/srv/file", "/etc")]


def test_to_puts_the_tree_below_a_path(append: Callable[..., Appended], directory: Path, tmp_path: Path) -> None:
    made = append("--layer", directory, "--to", "/etc/new/place")
    assert ["0750", 3] == made.facts("/etc", "mode", "uid")
    assert [["0755", 0], ["0755", 0]] == [made.facts(path, "mode", "uid") for path in ("/etc/new", "/etc/new/place")]
    assert ["0700", "file"] == [*made.facts("/etc/new/place/etc", "mode"), *made.facts("/etc/new/place/etc/file", "type")]
    config = places.blobs(tmp_path / "out")[places.manifest(tmp_path / "out")["config"]["digest"]]
    assert "ocitool append --layer new --to /etc/new/place" == json.loads(config)["history"][-1]["created_by"]


def test_to_follows_links_of_the_image(append: Callable[..., Appended], directory: Path) -> None:
    made = append("--layer", directory, "--to", "bin/x/")
    assert ["symlink", "file"] == [*made.facts("/bin", "type"), *made.facts("/usr/bin/x/srv/file", "type")]


@pytest.mark.parametrize("to", ["/bin/../lib/x", "bin/.././lib/x/", "/usr/none/../lib/x", "/tmp/../usr/lib/x"])
def test_two_dots_in_to_lead_up_from_where_links_led_to(to: str, append: Callable[..., Appended], directory: Path) -> None:
    assert ["file"] == append("--layer", directory, "--to", to).facts("/usr/lib/x/srv/file", "type")


def test_links_lead_to_where_their_target_is_put(append: Callable[..., Appended], directory: Path) -> None:
    os.link(directory / "srv/file", directory / "srv/link")
    made = append("--layer", directory, "--to", "/data")
    assert ["/data/srv/file", "/data/srv/link"] == made.at["/data/srv/file"]["links"]


@pytest.mark.parametrize(
    ("words", "code"),
    [(("--to", "/opt/x"), 2), (("--to", "../x"), 2), (("--to", "/.wh.x"), 2), (("--owner", "root"), 2), (("--owner", ""), 2),
     (("--owner", "1:2:3"), 2), (("--owner", "4294967296"), 2), (("--owner", "1", "--keep-owner"), 2)],
)  # fmt: skip
def test_wrong_words_write_nothing(
    words: tuple[str, ...], code: int, ocitool: Run, layout: Path, directory: Path, tmp_path: Path
) -> None:
    result = ocitool("append", layout, f"oci:{tmp_path / 'out'}", "--layer", directory, *words)
    assert (code, False) == (result.code, (tmp_path / "out/index.json").exists())


@pytest.mark.parametrize("words", [("--to", "/x"), ("--owner", "1"), ("--keep-owner",), ("--dirs-from-layer",)])
@pytest.mark.parametrize("how", ["--layer", "--upperdir"])
def test_what_is_for_directories_is_refused_of_tars_and_upper_directories(
    how: str, words: tuple[str, ...], ocitool: Run, layout: Path, directory: Path, tmp_path: Path
) -> None:
    (tmp_path / "layer.tar").write_bytes(layer_tar([("x", b"1")]))
    of = tmp_path / "layer.tar" if how == "--layer" else directory
    assert 2 == ocitool("append", layout, f"oci:{tmp_path / 'out'}", how, of, *words).code


def test_files_that_are_overwritten_are_counted_and_named(append: Callable[..., Appended], directory: Path) -> None:
    for name in ("passwd", "group"):
        (directory / "etc" / name).write_bytes(b"new")
    (text,) = append("--layer", directory).notices_of("overwritten")
    assert "overwrites 2 files of the image: /etc/group, /etc/passwd" in text


def test_nothing_is_said_if_nothing_is_overwritten(append: Callable[..., Appended], directory: Path) -> None:
    assert [] == append("--layer", directory).report["notices"]


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda d: (d / "bin").mkdir(), "/bin was a symbolic link and is a directory now"),
        (lambda d: (d / "usr").write_bytes(b""), "/usr was a directory and is a file now"),
        (lambda d: (d / "opt").mkdir(), "/opt was a file and is a directory now"),
        (lambda d: (d / "usr").symlink_to("etc"), "/usr was a directory and is a symbolic link now"),
    ],
)
def test_a_change_of_type_is_said_by_itself(
    make: Callable[[Path], object], text: str, append: Callable[..., Appended], directory: Path
) -> None:
    make(directory)
    assert [text in one for one in append("--layer", directory).notices_of("type-changed")] == [True]


def test_a_tar_is_kept_as_it_is_and_what_it_changes_is_said(append: Callable[..., Appended], tmp_path: Path) -> None:
    tar = layer_tar([entry("tmp/", None, mode=0o755), ("etc/", None), ("etc/passwd", b"new"), ("etc/.wh.group", b"")])
    (tmp_path / "layer.tar").write_bytes(tar)
    made = append("--layer", tmp_path / "layer.tar", "--compression", "none")
    assert sha256(tar) == made.report["images"][0]["layers"][-1]["diffId"]
    assert ["1 file of the image: /etc/passwd" in text for text in made.notices_of("overwritten")] == [True]
    assert ["2 directories of the image: /tmp, /etc" in text for text in made.notices_of("directories")] == [True]


def test_a_tar_that_gives_the_root_other_attributes_is_said(append: Callable[..., Appended], tmp_path: Path) -> None:
    """As `tar -C $(mktemp -d) -cf layer.tar .` does: an image whose root only its owner may enter."""
    (tmp_path / "layer.tar").write_bytes(layer_tar([entry("./", None, mode=0o700, uid=9), ("./file", b"")]))
    texts = append("--layer", tmp_path / "layer.tar").notices_of("directories")
    assert [True] == [text.endswith("1 directory of the image: /") for text in texts]


def test_a_tar_that_lists_the_root_as_it_is_changes_nothing(append: Callable[..., Appended], tmp_path: Path) -> None:
    (tmp_path / "layer.tar").write_bytes(layer_tar([entry("./", None, mode=0o755), ("./file", b"")]))
    assert [] == append("--layer", tmp_path / "layer.tar").notices_of("directories")


def test_a_later_layer_finds_what_an_earlier_one_put_there(
    append: Callable[..., Appended], tmp_path: Path, directory: Path
) -> None:
    (tmp_path / "layer.tar").write_bytes(layer_tar([entry("srv/", None, mode=0o711, uid=9), ("srv/file", b"0")]))
    made = append("--layer", tmp_path / "layer.tar", "--layer", directory)
    assert ["0711", 9] == made.facts("/srv", "mode", "uid")
    assert ["1 file of the image: /srv/file" in text for text in made.notices_of("overwritten")] == [True]


def test_an_upper_directory_says_directories_itself(append: Callable[..., Appended], directory: Path) -> None:
    made = append("--upperdir", directory)
    assert (["0700"], []) == (made.facts("/etc", "mode"), made.notices_of("overwritten"))


@pytest.mark.parametrize("content", [b"", gz(b"")])
def test_an_empty_file_is_no_layer(content: bytes, ocitool: Run, layout: Path, tmp_path: Path) -> None:
    (tmp_path / "layer.tar").write_bytes(content)
    result = ocitool("append", layout, f"oci:{tmp_path / 'out'}", "--layer", tmp_path / "layer.tar")
    assert (4, False) == (result.code, (tmp_path / "out/index.json").exists())
    assert "hint: " in result.err


def test_a_layer_of_nothing_is_said(append: Callable[..., Appended], tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    (tmp_path / "layer.tar").write_bytes(bytes(10240))
    assert 2 == len(append("--layer", tmp_path / "nothing", "--layer", tmp_path / "layer.tar").notices_of("empty"))


def test_images_of_an_index_keep_each_their_own_directories(ocitool: Run, directory: Path, tmp_path: Path) -> None:
    modes = {"amd64": 0o750, "arm64": 0o711}
    ones = [
        image([layer_tar([entry("etc/", None, mode=mode)])], platform={"os": "linux", "architecture": name}, architecture=name)
        for name, mode in modes.items()
    ]
    nested = pretty(index_of([one.descriptor for one in ones]))
    top = index_of([{"mediaType": "application/vnd.oci.image.index.v1+json", "digest": sha256(nested), "size": len(nested),
                     "annotations": {"org.opencontainers.image.ref.name": "t"}}])  # fmt: skip
    files = layout_files(ones, index=top)
    files["blobs/" + sha256(nested).replace(":", "/")] = nested
    write_files(tmp_path / "multi", files)
    Appended(ocitool, f"{tmp_path}/multi:t", tmp_path, ("--layer", directory, "--all-platforms"))
    for name, mode in modes.items():
        listed = ocitool("ls", "--long", tmp_path / "out", "/", "--platform", f"linux/{name}", "--format", "json").json()
        assert {f"{mode:04o}"} == {one["mode"] for one in listed["entries"] if one["path"] == "/etc"}


def test_an_image_of_which_a_layer_is_not_here_gets_the_layer_and_that_is_said(
    ocitool: Run, layout: Path, directory: Path, tmp_path: Path
) -> None:
    (blob,) = [path for path in layout.glob("blobs/sha256/*") if path.read_bytes()[:2] == b"\x1f\x8b"]
    blob.unlink()
    result = ocitool("append", layout, tmp_path / "out.tar", "--layer", directory)
    assert 3 == result.code
    assert "was not checked" in result.err
