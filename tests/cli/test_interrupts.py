"""Commands that take long, interrupted: a slice of the campaign (`tests/campaign/run interrupt`)."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from cli.test_faults import module

INTERRUPT = module("interrupt")
BY_NAME = {case.name: case for case in INTERRUPT.cases()}
SLICE = [
    "ocitool copy --compression zstd:12 a.tar new/", "ocitool copy --compression zstd:19 - new/ < a.tar",
    "ocitool copy --compression gzip:9 a.tar new.tar", "ocitool copy --compression gzip:2 a.tar new/",
    "ocitool copy a new.tar.zst --tag a:1", "ocitool copy a.tar.bz2 new/", "ocitool inspect --files - < a.tar.xz",
    "ocitool squash --compression zstd:19 a new/", "ocitool unpack --as rootfs large new", "ocitool dedupe --files a b large",
    "ocitool diff --patch --inside a.tar b",
]  # fmt: skip
LOADED = 4.0
"""Seconds instead of the one that is promised: other tests run beside this one."""


@pytest.mark.skipif(not INTERRUPT.may_look(), reason="needs /proc")
def test_a_signal_ends_what_takes_long_and_leaves_nothing() -> None:
    cases = [BY_NAME[name] for name in SLICE]
    assert [] == list(INTERRUPT.run(0, 5, times=1, size=12 << 20, chosen=cases, longest=1.0, promised=LOADED))


def test_the_oracle_sees_what_comes_late_and_what_is_left(tmp_path: Path) -> None:
    case, most = BY_NAME[SLICE[0]], 1.0
    (tmp_path / "new/blobs/sha256").mkdir(parents=True)
    (tmp_path / "new/blobs/sha256/00").write_bytes(b"torn")
    (tmp_path / "state/tmp").mkdir(parents=True)
    (tmp_path / "state/tmp/.ocitool-0123456789abcdef.part").touch()
    end = INTERRUPT.End(143, "Traceback\nocitool: error: terminated\n", 1.5, True, False)
    (tmp_path / "here").mkdir()
    (tmp_path / "new").rename(tmp_path / "here/new")
    found = list(INTERRUPT.broken_laws(case, tmp_path / "here", signal.SIGTERM, end, most))
    assert ["it ended", "a proces", "a traceb", "it leave", "torn: to"] == [one[:8] for one in found]
    other = INTERRUPT.End(143, "ocitool: error: terminated\n", 0.5, True)
    found = list(INTERRUPT.broken_laws(BY_NAME["ocitool diff a b"], tmp_path / "here", signal.SIGINT, other, most))
    assert ["exit 143", "it leave"] == [one[:8] for one in found]
