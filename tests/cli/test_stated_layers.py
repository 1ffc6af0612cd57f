"""Layers of a docker archive, which names no digests: what its configuration states of them is believed only until they are
written, and a layer is read once for both."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from support import places
from support.copying import ONE, TWO, Run, copied, refused
from support.images import gz, image, sha256, write_docker_archive, write_layout, write_oci_archive

from ocitool.blob import FileBlob

COMMANDS = [("copy",), ("edit", "--env", "A=b")]
DESTINATIONS = ["a.tar", "out/", "a.tar.gz"]


def stating(path: Path, tars: list[bytes], stated: list[bytes]) -> Path:
    """An archive with these layers, whose configuration states those."""
    rootfs = {"type": "layers", "diff_ids": [sha256(tar) for tar in stated]}
    config = {"os": "linux", "architecture": "amd64", "rootfs": rootfs}
    return write_docker_archive(path, [image(tars, tag="app:1", codec="none", config=config)])


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("destination", DESTINATIONS)
def test_a_plain_layer_is_read_once(
    command: tuple[str, ...], destination: str, ocitool: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tar = ONE + bytes(1 << 20)
    source = write_docker_archive(tmp_path / "in.tar", [image([tar, TWO], tag="app:1", codec="none")])
    read: Counter[int] = Counter()
    pread = FileBlob.pread

    def counting(self: FileBlob, size: int, offset: int) -> bytes:
        data = pread(self, size, offset)
        if self.path == str(source):
            read[self.size] += len(data)
        return data

    monkeypatch.setattr(FileBlob, "pread", counting)
    name, *flags = command
    ended = ocitool(name, source, f"{tmp_path}/{destination}", *flags)
    assert 0 == ended.code, str(ended)
    heads = 4 << 10  # first bytes, which tell the compression
    assert len(tar) <= read[len(tar)] <= len(tar) + heads


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("flags", [(), ("--dry-run",)])
@pytest.mark.parametrize("destination", [*DESTINATIONS, "-"])
def test_a_layer_that_is_not_what_the_configuration_states_is_refused_by_its_name(
    destination: str, flags: tuple[str, ...], command: tuple[str, ...], ocitool: Run, tmp_path: Path
) -> None:
    source = stating(tmp_path / "in.tar", [ONE, ONE], [ONE, TWO])
    to = destination if destination == "-" else f"{tmp_path}/{destination}"
    name, *more = command
    ended = ocitool(name, *flags, source, to, *more)
    refused(5, ended, f"{source}: layer 1", f"unpacks to {sha256(ONE)}, the configuration states {sha256(TWO)}")
    assert ["in.tar"] == sorted(one.name for one in tmp_path.iterdir())


@pytest.mark.parametrize("command", COMMANDS)
def test_a_layer_is_refused_if_the_destination_has_what_the_configuration_states(
    command: tuple[str, ...], ocitool: Run, tmp_path: Path
) -> None:
    write_layout(tmp_path / "out", [image([ONE, TWO], tag="old:1", codec="none")])
    source = stating(tmp_path / "in.tar", [ONE, ONE], [ONE, TWO])
    name, *more = command
    refused(5, ocitool(name, source, f"{tmp_path}/out/", *more), f"{source}: layer 1", f"unpacks to {sha256(ONE)}")


@pytest.mark.parametrize("others", [(), ("other.tar",)])
def test_a_layer_is_refused_if_another_one_is_what_the_configuration_states(
    others: tuple[str, ...], ocitool: Run, tmp_path: Path
) -> None:
    write_oci_archive(tmp_path / "other.tar", [image([ONE, TWO], tag="old:1", codec="none")])
    source = stating(tmp_path / "in.tar", [ONE, TWO], [ONE, ONE])
    words = [*(tmp_path / one for one in others), source]
    refused(5, ocitool("copy", *words, f"{tmp_path}/out/"), f"{source}: layer 1", f"unpacks to {sha256(TWO)}")
    assert not (tmp_path / "out/index.json").exists()


def test_a_layer_that_is_left_out_is_held_to_what_is_stated_too(ocitool: Run, tmp_path: Path) -> None:
    source = stating(tmp_path / "in.tar", [ONE, ONE], [ONE, TWO])
    words = ("--omit", write_oci_archive(tmp_path / "there.tar", [image([TWO], tag="old:1", codec="none")]))
    refused(5, ocitool("copy", *words, source, tmp_path / "a.tar"), f"unpacks to {sha256(ONE)}")


@pytest.mark.parametrize("destination", DESTINATIONS)
def test_images_of_an_archive_that_share_layers_are_written_as_they_are(destination: str, ocitool: Run, tmp_path: Path) -> None:
    images = [image([ONE, TWO], tag="app:1", codec="none"), image([ONE], tag="app:2", codec="none")]
    source = write_docker_archive(tmp_path / "in.tar", images)
    report = copied(ocitool, source, f"{tmp_path}/{destination}")
    assert [[sha256(ONE), sha256(TWO)], [sha256(ONE)]] == [
        [layer["digest"] for layer in one["layers"]] for one in report["images"]
    ]
    copied(ocitool, f"{tmp_path}/{destination}", f"{tmp_path}/layout/")
    assert {sha256(ONE): ONE, sha256(TWO): TWO}.items() <= places.blobs(tmp_path / "layout").items()


def test_a_compressed_layer_is_named_by_its_own_bytes(ocitool: Run, tmp_path: Path) -> None:
    source = write_docker_archive(tmp_path / "in.tar", [image([ONE], tag="app:1", codec="gzip")])
    (layer,) = copied(ocitool, source, tmp_path / "a.tar")["images"][0]["layers"]
    assert (sha256(gz(ONE)), sha256(ONE)) == (layer["digest"], layer["diffId"])
