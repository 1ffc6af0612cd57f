"""What stands on disk, as an entry."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ocitool.disk.scan_directory import WalkedPath, entry_of


@pytest.mark.parametrize(("nanoseconds", "nearest"), [(1 << 63, (1 << 63) - 1), (-(1 << 63) - 1, -(1 << 63)), (-7, -7)])
def test_a_time_that_no_index_of_a_layer_holds_is_the_nearest_that_it_does(
    nanoseconds: int, nearest: int, tmp_path: Path
) -> None:
    made = tmp_path / "f"
    made.write_bytes(b"1")
    real = made.stat()
    status: Any = SimpleNamespace(
        st_mode=stat.S_IFREG | 0o644, st_size=1, st_mtime_ns=nanoseconds, st_uid=real.st_uid, st_gid=real.st_gid
    )
    at = os.open(tmp_path, os.O_RDONLY)
    try:
        assert nearest == entry_of(WalkedPath(b"f", status, at, b"f")).mtime
    finally:
        os.close(at)
