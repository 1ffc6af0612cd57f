"""Every command that changes images by every option that means the same for all of them.

A row is a command with a change, a column an option with its law. The sources are two platforms under one tag; each row takes
the one for `linux/amd64` unless its column says otherwise.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from support import places
from support.images import Image, entry, image, layer_tar
from support.indexes import AMD, ARM, multi
from support.report import report_of

Run = Callable[..., Any]
EPOCH, THEN = "1700000000", "2023-11-14T22:13:20Z"
BEFORE, SECOND = "2020-01-01T00:00:00Z", 10**9
LATER = 1_800_000_000
"""The time of the host's files: later than the epoch."""
ZSTD, GZIP = b"\x28\xb5\x2f\xfd", b"\x1f\x8b"


def tars(name: str) -> dict[str, list[bytes]]:
    """The layers of a platform: of its base, of the base's next version, its own, and its own as an older build had them."""
    base = [layer_tar([("etc/", None), ("etc/name", name.encode()), ("etc/old", b"1")])]
    own = [layer_tar([("srv/", None), ("srv/a", b"a" * 9)]), layer_tar([("srv/", None), ("srv/b", b"b"), ("srv/key", b"k")])]
    return {
        "base": base,
        "next": [layer_tar([("etc/", None), ("etc/name", name.encode()), ("etc/new", b"2")])],
        "src": [*base, *own],
        "older": [*base, layer_tar([entry("srv/", None, mtime=SECOND), entry("srv/a", b"a" * 9, mtime=SECOND)])],
    }


def built(what: str, platform: dict[str, Any]) -> Image:
    name = platform["architecture"]
    layers = tars(name)[what]
    history = [{"created": BEFORE, "created_by": f"layer {n}"} for n, _ in enumerate(layers)]
    return image(layers, platform=dict(platform), architecture=name, created=BEFORE, history=history)


SOURCE = built("src", AMD)


class Row(NamedTuple):
    """`words`: the command, in which SRC, DEST and HOST stand for paths. `nothing`: the same without a change, if it can be
    given."""

    words: str
    nothing: str | None = None


ROWS = {
    "edit --env": Row("edit SRC DEST --env A=b", "edit SRC DEST --unset-env NONE"),
    "edit --label": Row("edit SRC DEST --label a=b"),
    "edit --rm": Row("edit SRC DEST --rm /srv/key"),
    "edit --add": Row("edit SRC DEST --add HOST/file:/srv/file"),
    "edit --drop-layer": Row("edit SRC DEST --drop-layer -1"),
    "append": Row("append SRC DEST --layer HOST"),
    "append --upperdir": Row("append SRC DEST --upperdir HOST"),
    "squash": Row("squash SRC DEST --from 1", "squash SRC DEST --last 1"),
    "rebase": Row("rebase SRC DEST --old-base PLACE/base --new-base PLACE/next"),
    "rebuild": Row("rebuild SRC DEST --against PLACE/older --plan reuse", "rebuild SRC DEST --against PLACE/next --plan reuse"),
    "rebuild --plan delta": Row("rebuild SRC DEST --against PLACE/older --plan delta"),
}  # fmt: skip
REPACK = {
    "repack": Row("repack WORK DEST", "repack WORK DEST"),
    "repack --mode append": Row("repack WORK DEST --mode append"),
}
"""Of an image that was unpacked: of one platform, and with `--source` where others have `--with`."""
EVERY = [*ROWS, *REPACK]
IDLE = [name for name, row in {**ROWS, **REPACK}.items() if row.nothing is not None]


class TableRunner:
    """The sources in a directory, and the commands of the table run on them."""

    def __init__(self, ocitool: Run, place: Path) -> None:
        self._run = ocitool
        self.place = place

    def words(self, name: str, *, idle: bool = False, dest: str = "out/") -> list[str]:
        row = {**ROWS, **REPACK}[name]
        text = row.nothing if idle else row.words
        assert text is not None
        given = {"SRC": f"{self.place}/src", "DEST": f"{self.place}/{dest}", "WORK": f"{self.place}/work"}
        words = [given.get(word, word) for word in text.split()]
        return [word.replace("HOST", f"{self.place}/host").replace("PLACE", f"{self.place}") for word in words]

    def unpacked(self, *, idle: bool) -> None:
        """The source as `repack` wants it, edited unless it is to be left as it is."""
        work = self.place / "work"
        if not work.exists():
            assert 0 == self._run("unpack", self.place / "src", work, "--platform", "linux/amd64").code
            if not idle:
                (work / "rootfs/srv/a").write_bytes(b"edited")
                os.utime(work / "rootfs/srv/a", (LATER, LATER))

    def report(self, name: str, *more: str, idle: bool = False, dest: str = "out/", env: dict[str, str] | None = None) -> Any:
        """The JSON report of a row with more options."""
        if name in REPACK:
            self.unpacked(idle=idle)
        elif not {"--all-platforms", "--platform"} & {*more}:
            more = (*more, "--platform", "linux/amd64")
        words = self.words(name, idle=idle, dest=dest)
        result = self._run(*words, *more, "--format", "json", env={"SOURCE_DATE_EPOCH": None, **(env or {})})
        return report_of(result, 0, 1)

    def layers(self, report: Any, dest: str = "out") -> list[bytes]:
        """The stored bytes of the layers of the first image."""
        held = places.blobs(self.place / dest)
        return [held[layer["digest"]] for layer in report["images"][0]["layers"]]

    def config(self, report: Any, dest: str = "out", number: int = 0) -> Any:
        return json.loads(places.blobs(self.place / dest)[report["images"][number]["imageId"]])


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("sources")
    for what in ("base", "next", "src", "older"):
        multi(place / what, built(what, AMD), built(what, ARM))
    host = place / "host"
    host.mkdir()
    (host / "file").write_bytes(b"from the host")
    for path in (host / "file", host):
        os.utime(path, (LATER, LATER))
    return place


@pytest.fixture
def runner(ocitool: Run, tmp_path: Path, sources: Path) -> TableRunner:
    return TableRunner(ocitool, Path(shutil.copytree(sources, tmp_path / "place")))


# --with


@pytest.mark.parametrize("name", EVERY)
def test_layers_that_the_source_lacks_come_from_what_with_names(name: str, runner: TableRunner) -> None:
    wanted = runner.report(name, dest="whole/", env={"SOURCE_DATE_EPOCH": EPOCH})
    full = shutil.copytree(runner.place / "src", runner.place / "full")
    for layer in SOURCE.manifest["layers"]:
        (runner.place / "src/blobs" / layer["digest"].replace(":", "/")).unlink()
    option = "--source" if name in REPACK else "--with"
    found = runner.report(name, option, f"{full}", env={"SOURCE_DATE_EPOCH": EPOCH})
    assert [one["digest"] for one in wanted["images"]] == [one["digest"] for one in found["images"]]
    assert places.blobs(runner.place / "whole") == places.blobs(runner.place / "out")


# SOURCE_DATE_EPOCH


@pytest.mark.parametrize("name", EVERY)
def test_source_date_epoch_is_the_time_of_the_configuration_and_of_new_history(name: str, runner: TableRunner) -> None:
    config = runner.config(runner.report(name, env={"SOURCE_DATE_EPOCH": EPOCH}))
    times = {entry.get("created") for entry in config["history"]} - {BEFORE}
    assert (THEN, True) == (config["created"], times <= {THEN})


@pytest.mark.parametrize("name", EVERY)
def test_nothing_that_is_made_is_later_than_source_date_epoch(name: str, runner: TableRunner) -> None:
    report = runner.report(name, "--compression", "none", env={"SOURCE_DATE_EPOCH": EPOCH})
    assert int(EPOCH) >= max(latest(layer) for layer in runner.layers(report))


def latest(tar: bytes) -> float:
    with tarfile.open(fileobj=io.BytesIO(tar)) as opened:
        return max((member.mtime for member in opened), default=0)


@pytest.mark.parametrize("name", EVERY)
def test_with_source_date_epoch_two_runs_give_the_same_bytes(name: str, runner: TableRunner) -> None:
    for dest in ("a.tar", "b.tar"):
        runner.report(name, "--tag", "example.test/app:1", dest=dest, env={"SOURCE_DATE_EPOCH": EPOCH})
    assert (runner.place / "a.tar").read_bytes() == (runner.place / "b.tar").read_bytes()


@pytest.mark.parametrize("name", IDLE)
def test_an_image_that_does_not_change_stays_byte_for_byte_whatever_the_epoch(name: str, runner: TableRunner) -> None:
    report = runner.report(name, idle=True, env={"SOURCE_DATE_EPOCH": EPOCH})
    assert (SOURCE.digest, 0) == (report["images"][0]["digest"], report["bytes"]["written"])


def test_a_date_that_is_asked_for_goes_before_source_date_epoch(runner: TableRunner) -> None:
    report = runner.report("edit --env", "--created", "2021-01-01T00:00:00Z", env={"SOURCE_DATE_EPOCH": EPOCH})
    assert "2021-01-01T00:00:00Z" == runner.config(report)["created"]


# --compression


@pytest.mark.parametrize("name", EVERY)
def test_compression_converts_every_layer_of_a_changed_image_but_those_of_another_one(name: str, runner: TableRunner) -> None:
    report = runner.report(name, "--compression", "zstd")
    layers = report["images"][0]["layers"]
    heads = [(layer["origin"], data[:4] == ZSTD) for layer, data in zip(layers, runner.layers(report), strict=True)]
    assert [origin != "reused" for origin, _ in heads] == [converted for _, converted in heads]


@pytest.mark.parametrize("name", EVERY)
def test_without_compression_every_layer_keeps_the_codec_it_had(name: str, runner: TableRunner) -> None:
    assert {GZIP} == {data[:2] for data in runner.layers(runner.report(name))}


@pytest.mark.parametrize("name", IDLE)
def test_an_image_that_does_not_change_is_not_converted(name: str, runner: TableRunner) -> None:
    report = runner.report(name, "--compression", "zstd", idle=True)
    assert (SOURCE.digest, 0) == (report["images"][0]["digest"], report["bytes"]["written"])


def test_copy_converts_an_image_that_does_not_change(ocitool: Run, runner: TableRunner) -> None:
    words = ("copy", runner.place / "src", f"{runner.place}/out/", "--platform", "linux/amd64", "--compression", "zstd")
    report = report_of(ocitool(*words, "--format", "json"))
    assert {ZSTD} == {data[:4] for data in runner.layers(report)}


# --platform, --all-platforms


@pytest.mark.parametrize("name", ROWS)
def test_platform_picks_the_image_that_is_changed(name: str, runner: TableRunner) -> None:
    report = runner.report(name, "--platform", "linux/arm64")
    assert (["arm64"], None) == (
        [one["platform"]["architecture"] for one in report["images"]], report["roots"][0]["platforms"],
    )  # fmt: skip
    assert report["images"][0]["digest"] not in {SOURCE.digest, built("src", ARM).digest}


@pytest.mark.parametrize("name", ROWS)
def test_all_platforms_changes_each_as_it_is_changed_alone(name: str, runner: TableRunner) -> None:
    env = {"SOURCE_DATE_EPOCH": EPOCH}
    alone = [runner.report(name, "--platform", f"linux/{one}", dest=f"{one}/", env=env) for one in ("amd64", "arm64")]
    report = runner.report(name, "--all-platforms", env=env)
    assert [one["images"][0]["digest"] for one in alone] == [one["digest"] for one in report["images"]]
    assert ["amd64", "arm64"] == [one["architecture"] for one in report["roots"][0]["platforms"]]


# --dry-run


@pytest.mark.parametrize("name", EVERY)
def test_a_dry_run_writes_nothing_and_tells_what_would_be(name: str, runner: TableRunner) -> None:
    env = {"SOURCE_DATE_EPOCH": EPOCH}
    dry = runner.report(name, "--dry-run", env=env)
    assert not (runner.place / "out").exists()
    found = runner.report(name, env=env)
    kept = ("images", "roots", "details", "engines")
    assert [dry[key] for key in kept] == [found[key] for key in kept]
    assert (True, False) == (dry["dryRun"], found["dryRun"])


# The table itself


def said(options: Sequence[str], text: str) -> list[str]:
    return [option for option in options if option not in text]


@pytest.mark.parametrize("command", sorted({row.words.split()[0] for row in (*ROWS.values(), *REPACK.values())}))
def test_the_help_says_what_compression_means(command: str, ocitool: Run) -> None:
    text = " ".join(ocitool(command, "--help").out.replace("│", " ").split())
    assert [] == said(["if the image changes"], text)


def test_every_command_that_changes_images_has_rows() -> None:
    assert {"edit", "append", "squash", "rebase", "rebuild", "repack"} == {
        row.words.split()[0] for row in (*ROWS.values(), *REPACK.values())
    }
