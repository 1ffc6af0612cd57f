"""Text that comes from an image, made safe to show: on a terminal, in Markdown, in a review that others read."""

from __future__ import annotations

import re

from ocitool.patterns import pattern

_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\"}
_UNSAFE = (
    "\x00-\x1f\x7f-\x9f"  # C0, DEL, C1
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f"
    "\ufeff\uffa0\ufff0-\ufffb"  # what has no width, turns the direction of text, or ends a line
    "\ud800-\udfff"
    "\U000e0000-\U000e0fff"
)
_HAZARD = pattern(f"[{_UNSAFE}]")
_HAZARD_OR_BACKSLASH = pattern(f"[{_UNSAFE}\\\\]")
_HAZARD_BUT_NEWLINE = pattern(f"(?!\n)[{_UNSAFE}]")
_AFTER_BACKSLASH = pattern(r"(\\+)\|")
_BACKTICKS = pattern("`+")


def shown(text: str | bytes) -> str:
    """For a terminal: what would move the cursor, turn the direction of text or hide itself is written out as `\\n`,
    `\\x1b`, `\\u202e`; a byte that is not UTF-8 as `\\xff`. Backslashes are doubled only in a text that needed it."""
    if isinstance(text, str):
        return text if _HAZARD.search(text) is None else _HAZARD_OR_BACKSLASH.sub(_escaped, text)
    try:
        return shown(text.decode("utf-8"))
    except UnicodeDecodeError:
        # A lone surrogate U+DC80-U+DCFF stands for a byte.
        return _HAZARD_OR_BACKSLASH.sub(_escaped_byte, text.decode("utf-8", "surrogateescape"))


def _escaped(found: re.Match[str]) -> str:
    character = found.group()
    point = ord(character)
    if character in _NAMED:
        return _NAMED[character]
    if point < 0x100:
        return f"\\x{point:02x}"
    return f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"


def _escaped_byte(found: re.Match[str]) -> str:
    point = ord(found.group())
    return f"\\x{point - 0xDC00:02x}" if 0xDC80 <= point <= 0xDCFF else _escaped(found)


def code(text: str | bytes) -> str:
    """A Markdown code span that its content cannot close."""
    content = shown(text)
    if not content:
        content = " "  # two backticks would be no span
    elif content.strip(" ") and ("`" in (content[0], content[-1]) or content[0] == content[-1] == " "):
        content = f" {content} "  # CommonMark takes one space off each end again
    ticks = "`" * (max(map(len, _BACKTICKS.findall(content)), default=0) + 1)
    return f"{ticks}{content}{ticks}"


def cell(text: str | bytes) -> str:
    """A code span in a table. There a pipe ends the cell even in a span, unless a backslash stands before it; the row
    is split before spans are read, and takes that one backslash away. A pipe after a backslash, on which renderers
    disagree, is written out as `\\x7c`."""
    return code(_AFTER_BACKSLASH.sub(lambda found: found[1] * 2 + "\\x7c", shown(text))).replace("|", "\\|")


def fence(text: str, language: str = "") -> list[str]:
    """The lines of a fenced block that its content cannot close. `language` is ours, never of an image."""
    lines = [_HAZARD_BUT_NEWLINE.sub(_escaped_in_text, line) for line in text.split("\n")]
    if lines and not lines[-1]:
        lines.pop()
    ticks = "`" * max(3, 1 + max((len(run) for line in lines for run in _BACKTICKS.findall(line)), default=0))
    return [ticks + language, *lines, ticks]


def _escaped_in_text(found: re.Match[str]) -> str:
    return "\t" if found.group() == "\t" else _escaped(found)  # a tab is harmless in a block, and means what it says


def clip(text: str, length: int) -> str:
    """The beginning, where the whole is too long."""
    return text if len(text) <= length else text[: max(0, length - 1)] + "…"


def apart(before: str, after: str, length: int) -> tuple[str, str]:
    """Two texts that differ, each shortened so that it can be seen that they do: the beginnings, else what begins shortly
    before the difference."""
    if clip(before, length) != clip(after, length) or before == after:
        return clip(before, length), clip(after, length)
    at = next((n for n, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), min(len(before), len(after)))
    start = max(0, at - length // 4)
    return clip("…" + before[start:], length), clip("…" + after[start:], length)


def human(size: int) -> str:
    """`340 B`, `1.2 MB`; MB is 10^6."""
    sign, size = ("-" if size < 0 else ""), abs(size)
    if size < 1000:
        return f"{sign}{size} B"
    value = float(size)
    for unit in ("kB", "MB", "GB", "TB", "PB", "EB"):
        value /= 1000
        if value < 999.95 or unit == "EB":
            break
    return f"{sign}{value:.1f} {unit}"


def signed(size: int) -> str:
    """With its sign, as a difference: `+1.2 MB`, `-340 B`, `0 B`."""
    return f"+{human(size)}" if size > 0 else human(size)
