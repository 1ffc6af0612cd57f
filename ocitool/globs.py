"""GLOBs over paths: they match whole paths, with or without the leading slash; `**` crosses directories, `*` does not."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from ocitool.errors import UsageError


def matcher(globs: Sequence[str]) -> Callable[[bytes], bool]:
    """Whether a path (no leading slash) matches one of the globs; no globs match everything."""
    if not globs:
        return lambda path: True
    try:
        pattern = re.compile(b"|".join(b"(?:%s)" % _pattern(glob) for glob in globs), re.DOTALL)
    except re.error as error:
        raise UsageError(f"not a glob: {error}", " ".join(globs)) from None
    return lambda path: pattern.fullmatch(path) is not None


def _pattern(glob: str) -> bytes:
    text = glob.encode("utf-8", "surrogateescape").lstrip(b"/")
    out = b""
    at = 0
    while at < len(text):
        char = text[at : at + 1]
        if text[at : at + 3] == b"**/":
            out += b"(?:[^/]+/)*"
            at += 3
        elif text[at : at + 2] == b"**":
            out += b".*"
            at += 2
        elif char == b"*":
            out += b"[^/]*"
            at += 1
        elif char == b"?":
            out += b"[^/]"
            at += 1
        elif char == b"[" and (end := text.find(b"]", at + 2)) > 0:
            inner = text[at + 1 : end]
            negated = inner[:1] in (b"!", b"^")
            body = (inner[1:] if negated else inner).replace(b"\\", b"\\\\").replace(b"[", b"\\[").replace(b"^", b"\\^")
            out += b"[" + (b"^/" if negated else b"") + body + b"]"
            at = end + 1
        else:
            out += re.escape(char)
            at += 1
    return out
