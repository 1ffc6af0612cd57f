"""The command on a terminal of its own, and every byte that it sent there."""

from __future__ import annotations

import os
import subprocess
import sys
import termios
from pathlib import Path


def on_terminal(*words: str | os.PathLike[str], cwd: Path) -> tuple[int, bytes, bytes]:
    """The exit code, what came to the terminal that is its standard output, and its standard error, which is none."""
    ours, its = os.openpty()
    fields = termios.tcgetattr(its)
    fields[1] &= ~termios.OPOST  # what arrives is what was written
    termios.tcsetattr(its, termios.TCSANOW, fields)
    env = {**os.environ, "OCITOOL_CACHE_DIR": str(cwd / "cache"), "TERM": "xterm", "LC_ALL": "C.UTF-8"}
    command = [sys.executable, "-m", "ocitool", *words]
    with subprocess.Popen(command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=its, stderr=subprocess.PIPE) as process:
        os.close(its)
        shown = b""
        while True:
            try:
                piece = os.read(ours, 1 << 16)
            except OSError:  # the other end is closed
                break
            if not piece:
                break
            shown += piece
        assert process.stderr is not None
        said = process.stderr.read()
    os.close(ours)
    return process.returncode, shown, said
