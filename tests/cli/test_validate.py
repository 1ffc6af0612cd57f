"""`ocitool validate` on the command line; the rules themselves have tests of their own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.images import image, layer_tar, write_layout
from support.report import report_of

Run = Callable[..., Any]
ENCODINGS = sorted(path.name for path in (Path(__file__).parents[2] / "testdata" / "encodings").iterdir())


@pytest.mark.parametrize("name", ENCODINGS)
def test_every_encoding_is_valid(ocitool: Run, testdata: Path, name: str) -> None:
    report = report_of(ocitool("validate", "--format", "json", testdata / "encodings" / name))
    assert report["valid"] and not [f for f in report["findings"] if f["severity"] == "error"]


def test_several_images_and_the_worst_decides(ocitool: Run, testdata: Path, tmp_path: Path) -> None:
    made = image([layer_tar([("a", b"")])], rootfs={"type": "layers", "diff_ids": ["sha256:" + "0" * 64]})
    bad = write_layout(tmp_path / "bad", [made])
    report = report_of(ocitool("validate", "--format", "json", testdata / "app-v1.tar", bad), 1)
    assert not report["valid"] and [one["valid"] for one in report["results"]] == [True, False]
    assert ocitool("validate", bad).code == 1


def test_a_document_alone(ocitool: Run, tmp_path: Path) -> None:
    made = image([layer_tar([])])
    path = tmp_path / "manifest.json"
    path.write_bytes(made.raw)
    assert report_of(ocitool("validate", "--as", "manifest", "--format", "json", path))["valid"]
    assert ocitool("validate", "--as", "config", "-", stdin=made.config).code == 0
    assert ocitool("validate", "--as", "index", path).code == 1
    assert ocitool("validate", "--as", "manifest", tmp_path / "missing.json").code == 3
    assert ocitool("validate", "--as", "config", "-", stdin=b"{").code == 4


def test_raw_documents_can_be_piped_into_it(ocitool: Run, testdata: Path) -> None:
    raw = ocitool("inspect", "--raw", "index", f"{testdata}/multiarch:latest").stdout
    assert ocitool("validate", "--as", "index", "-", stdin=raw).code == 0


def test_what_is_no_image_at_all(ocitool: Run, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"no image")
    result = ocitool("validate", "--format", "json", tmp_path / "x")
    assert result.code in (1, 4)
    assert ocitool("validate", tmp_path / "missing").code == 3
