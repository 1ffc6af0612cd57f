"""A program that uses ocitool as its users do: `tests/unit/test_api_types.py` has mypy check it, and it runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import assert_type

import ocitool


class RecordingProgress(ocitool.Progress):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.notices: list[str] = []
        self.bytes = 0

    def notice(self, notice: ocitool.Notice) -> None:
        self.notices.append(notice.text)

    def advance(self, label: str, done: int, total: int | None) -> None:
        self.bytes += done


def look(path: Path) -> None:
    with ocitool.open(path, platform="linux/amd64", registry=ocitool.RegistryOptions(insecure_host="localhost:5000")) as image:
        assert_type(image, ocitool.Image)
        assert_type(image.digest, ocitool.Digest | None)
        assert_type(image.platform, ocitool.Platform)
        assert_type(image.layers, tuple[ocitool.Layer, ...])
        assert_type(image.layers[0].digest, ocitool.Digest | None)
        assert_type(image.layers[0].created_by, str | None)
        assert_type(image.documents["config"], bytes)
        assert_type(image.read("/etc/os-release"), bytes)
        assert_type(image.chunks("/etc/os-release"), Iterator[bytes])
        for file in image.walk("/etc"):
            assert_type(file, ocitool.File)
            assert_type(file.path, bytes)
            assert_type(file.name, str)
            assert_type(file.entry, ocitool.Entry)
            assert_type(file.layer, ocitool.Layer | None)
            assert file.entry.kind is not ocitool.Kind.WHITEOUT
        tree = image.tree()
        assert_type(tree, ocitool.MergedTree)
        assert_type(tree.find("etc"), ocitool.File | None)
        assert_type([file.name for file in tree.children("/")], list[str])


def review(old: str, new: str) -> int:
    found = ocitool.diff(old, new, path="etc/**", ignore=["mtime"], fail_on=["notable", "size:+5%"])
    assert_type(found, ocitool.Diff)
    for change in found.files:
        assert_type(change, ocitool.FileChange)
        assert_type(change.name, str)
    print(ocitool.render(found, "markdown"))
    assert_type(ocitool.diff(old, new, all_platforms=True), ocitool.IndexDiff)
    return 1 if found.failures else 0


def change(image: str, store: str) -> None:
    progress = RecordingProgress()
    stop = ocitool.Cancellation()
    written = ocitool.edit(
        image, f"{store}:app", env=["LOG=info"], unset_env="TOKEN", cmd='["/app"]', rm="/root/.npmrc", drop_layer=[-1],
        tag="app:2", compression="zstd", dry_run=True, progress=progress, cancellation=stop,
    )  # fmt: skip
    assert_type(written, ocitool.WriteResult)
    assert_type([str(one.digest) for one in written.images], list[str])
    assert_type(ocitool.copy([image, image], store, with_=image, omit=[]), ocitool.WriteResult)
    assert_type(ocitool.squash(image, store, from_=2), ocitool.WriteResult)
    assert_type(ocitool.append(image, store, layer="dist", to="/srv", owner="1000:1000"), ocitool.WriteResult)
    assert_type(ocitool.rebase(image, store, old_base="a.tar", new_base="b.tar"), ocitool.WriteResult)
    assert_type(ocitool.rebuild(image, store, against="old.tar", plan="delta"), ocitool.WriteResult)
    assert_type(ocitool.repack("work", store, mode="append"), ocitool.WriteResult)
    assert_type(ocitool.unpack(image, "work"), ocitool.UnpackResult)
    assert_type(ocitool.unpack(image, "root", as_="rootfs"), ocitool.UnpackResult)
    assert_type(ocitool.unpack(image, "flat.tar", as_="tar"), ocitool.FlatResult)
    assert_type(ocitool.unpack(image, "layers", as_="layers"), ocitool.StoreResult)


def commands(image: ocitool.ImageInfo) -> list[str | None]:
    """Of an image that is open, and of one in a result."""
    return [layer.created_by for layer in image.layers]


def account(store: str) -> None:
    found = ocitool.inspect(store, files=True)
    assert_type(found, ocitool.Inspection)
    assert commands(ocitool.open(store)) == commands(found.images[0].image)
    assert_type(ocitool.budget(store, policy=".ocitool.toml").lines, tuple[ocitool.BudgetLine, ...])
    assert_type(ocitool.dedupe([store, "other.tar"]), ocitool.Deduped)
    assert_type(ocitool.dedupe(store).advice, tuple[ocitool.Advice, ...])
    assert_type(ocitool.tags("docker://localhost:5000/app").tags, tuple[str, ...])
    checked = ocitool.validate(store)
    assert_type(checked, ocitool.Validation)
    assert_type([finding.rule for finding in checked.findings], list[str])


def main(before: str, after: str) -> int:
    try:
        look(Path(before))
        return review(before, os.fspath(after))
    except ocitool.NotFoundError as error:
        assert_type(error.what, str)
        assert_type(error.hint, str | None)
        return error.exit_code
    except ocitool.OcitoolError as error:
        print(error, file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
