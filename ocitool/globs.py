"""GLOBs over paths: they match whole paths, with or without the leading slash; `**` crosses directories, `*` does not. A path
without any of `*?[`, or with a slash at its end, means what it names and all below it.

A glob that matches nothing is most likely misspelt, and an answer about nothing would be a wrong one: `refuse_unmatched`."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence

from ocitool.errors import UsageError
from ocitool.task import Task


def matcher(globs: Sequence[str]) -> Callable[[bytes], bool]:
    """Whether a path (no leading slash) matches one of the globs; no globs match everything."""
    if not globs:
        return lambda path: True
    if "" in globs:  # most likely a variable that is not set
        raise UsageError("an empty path", hint="/ is the whole image")
    try:
        pattern = re.compile(b"|".join(b"(?:%s)" % _pattern(glob) for glob in globs), re.DOTALL)
    except re.error as error:
        raise UsageError(f"not a glob: {error}", " ".join(globs)) from None
    return lambda path: pattern.fullmatch(path) is not None


def unmatched(globs: Iterable[str], paths: Iterable[bytes]) -> list[str]:
    """The globs that match none of these paths (no leading slash), nor a directory that one of them is in."""
    left = {glob: matcher([glob]) for glob in globs}
    seen: set[bytes] = set()
    for path in paths:
        while left and path not in seen:
            seen.add(path)
            for glob in [glob for glob, matches in left.items() if matches(path)]:
                del left[glob]
            path = path.rpartition(b"/")[0]
        if not left:
            break
    return list(left)


class NothingMatches(UsageError):
    """What a glob is to pick from has nothing of that name."""

    def __init__(self, what: str, where: str | None = None) -> None:
        super().__init__(what, where, hint="correct it, or let --allow-no-match go on with a note")


def refuse_unmatched(globs: Collection[str], option: str, what: str, task: Task, *, allowed: bool) -> None:
    """`NothingMatches` for globs that match none of `what`; with `allowed` a notice."""
    if not globs:
        return
    text = f"{option} {' '.join(globs)} matches no {what}"
    if allowed:
        task.notice("no-match", text)
        return
    if any(glob.startswith("!") for glob in globs) and "path" in option:
        raise UsageError(text, hint="! is part of the name: it does not negate; --ignore-path GLOB leaves paths out")
    raise NothingMatches(text)


def _pattern(glob: str) -> bytes:
    text = glob.encode("utf-8", "surrogateescape")
    while text[:1] == b"/" or text[:2] == b"./" or text == b".":
        text = text[1:]
    below = not text or text.endswith(b"/") or not any(char in text for char in b"*?[")
    text = text.rstrip(b"/")
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
    if below:
        out = out + b"(?:/.*)?" if out else b".*"
    return out
