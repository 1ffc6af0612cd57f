"""What stands on disk, as an entry."""

from __future__ import annotations

import stat
from types import SimpleNamespace
from typing import Any

import pytest

from ocitool.errors import UnsupportedError
from ocitool.images.dirscan import Seen, entry_of


@pytest.mark.parametrize("nanoseconds", [1 << 63, -(1 << 63) - 1])
def test_a_time_that_no_index_of_a_layer_holds_is_refused(nanoseconds: int) -> None:
    status: Any = SimpleNamespace(st_mode=stat.S_IFREG | 0o644, st_size=1, st_mtime_ns=nanoseconds, st_uid=0, st_gid=0)
    with pytest.raises(UnsupportedError, match="modification time"):
        entry_of(Seen(b"f", status, -1, b"f"))
