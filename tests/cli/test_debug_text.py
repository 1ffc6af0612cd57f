"""`--debug` shows where an error comes from, and escapes what it quotes as everything else."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import pytest
from support.images import image, write_layout

HOSTILE = "h\x1b]0;pwned\x07\u202egnp.\u200b\x9b31m\nocitool: error: forged"


@pytest.mark.parametrize("command", [("unpack", "--rootless"), ("cat",), ("diff", "i:app")], ids=" ".join)
def test_a_traceback_is_escaped(command: tuple[str, ...], ocitool: Any, tmp_path: Path) -> None:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as tar:
        entry = tarfile.TarInfo(HOSTILE)
        entry.type, entry.linkname = tarfile.LNKTYPE, "nothing"
        tar.addfile(entry)
    write_layout(tmp_path / "i", [image([raw.getvalue()], tag="app")])
    words = {"unpack": (*command, "i:app", "u"), "cat": ("cat", "i:app", HOSTILE), "diff": ("diff", "i:app", "i:" + HOSTILE)}
    result = ocitool(*words[command[0]], "--debug", cwd=tmp_path)
    assert result.code not in (0, 1) and "Traceback" in result.err, str(result)
    assert not any(one in result.out + result.err for one in "\x1b\x07\u202e\u200b\x9b"), repr(result.err)
    assert not any(line.startswith("ocitool: error: forged") for line in result.err.splitlines()), result.err
