"""Text that comes from an image, made safe to show: on a terminal, in Markdown, in a review that others read."""

from __future__ import annotations

import re

from ocitool import credentials, masking
from ocitool.patterns import pattern

_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\"}
_UNSAFE = (
    "\x00-\x1f\x7f-\x9f"  # C0, DEL, C1
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f"
    "\u2800\ufdd0-\ufdef\ufeff\uffa0\ufff0-\ufffb"  # what has no width or ink, turns the direction of text, or ends a line
    "\ud800-\udfff"
    "\U00013430-\U00013455\U0001bca0-\U0001bca3\U0001d159\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
    "\U0001d400-\U0001d7ff"  # letters for formulas: ASCII letters in other clothes
)
_OTHER = (
    "\u0251\u0261\u0370-\u058f\u13a0-\u13fd\u2160-\u217f\u2c80-\u2cff\ua4d0-\ua4ff\uff21-\uff3a\uff41-\uff5a"  # letters
    "\u02d0\u2024\u2044\u2215\u2216\u2236\u2571\u29f5\u29f8\u29f9\ua789\ufe68"  # colons, dots and slashes
)
"""Characters beside which a Latin letter does not stand in an honest word: scripts that have look-alikes of Latin letters, and
look-alikes of what divides a path or reference."""
_ALIKE = frozenset(
    "\u0391\u0392\u0395\u0396\u0397\u0399\u039a\u039c\u039d\u039f\u03a1\u03a4\u03a5\u03a7\u03b1\u03b3\u03b9\u03ba\u03bd\u03bf\u03c1\u03c5\u03c7\u03f2\u03f3"
    "\u0405\u0406\u0408\u0410\u0412\u0415\u041a\u041c\u041d\u041e\u0420\u0421\u0422\u0423\u0425\u0430\u0435\u043e\u0440\u0441\u0443\u0445"
    "\u0455\u0456\u0458\u0475\u04ae\u04af\u04bb\u04c0\u04cf\u0501\u050c\u050d\u051a\u051b\u051c\u051d\u0570\u0578\u057d\u0581\u0585"
)
"""Greek, Cyrillic and Armenian letters that are drawn as Latin ones (Unicode TR 39)."""
_HAZARD = pattern(f"[{_UNSAFE}]")
_HAZARD_OR_BACKSLASH = pattern(f"[{_UNSAFE}\\\\]")
_MIXED = (
    f"(?<![A-Za-z{_OTHER}])(?:[A-Za-z]++[{_OTHER}]|[{_OTHER}]++[A-Za-z])[A-Za-z{_OTHER}]*+"
    "|(?<=[A-Za-z0-9])[\uff0e\uff0f\uff1a\uff3c](?=[A-Za-z0-9])"
)
_SPOOF = pattern(f"[{_UNSAFE}]|{_MIXED}")
_SPOOF_OR_BACKSLASH = pattern(f"[{_UNSAFE}\\\\]|{_MIXED}")
_FOREIGN = pattern(f"[{_OTHER}]")
_FOREIGN_OR_BACKSLASH = pattern(f"[{_UNSAFE}{_OTHER}\\\\]")
_LATIN = pattern("[A-Za-z]")
_HAZARD_IN_CONTENT = pattern(f"(?!\n|\t|\r\n)[{_UNSAFE}]")
_HAZARD_BUT_NEWLINE = pattern(f"(?!\n)[{_UNSAFE}]")
_AFTER_BACKSLASH = pattern(r"(?<!\\)(\\++)\|")
_BACKTICKS = pattern("`+")


def shown(text: str | bytes) -> str:
    """For a terminal: what would move the cursor, turn the direction of text or hide itself is written out as `\\n`,
    `\\x1b`, `\\u202e`; so is a letter or slash that passes for another one (`sud\\u043e`); a byte that is not UTF-8 as `\\xff`.
    Backslashes are doubled only in a text that needed it."""
    if isinstance(text, str):
        if text.isascii():
            return text if _HAZARD.search(text) is None else _HAZARD_OR_BACKSLASH.sub(_escaped, text)
        return _shown(text)
    try:
        return shown(text.decode("utf-8"))
    except UnicodeDecodeError:
        # A lone surrogate U+DC80-U+DCFF stands for a byte.
        return _HAZARD_OR_BACKSLASH.sub(_escaped_byte, text.decode("utf-8", "surrogateescape"))


def _shown(text: str) -> str:
    """`shown` of a text that is not ASCII. Look-alikes are told by their neighbours: letters of two scripts in one word, or, in
    a text that has Latin letters, letters of another script that all pass for Latin ones."""
    foreign = set(_FOREIGN.findall(text))
    if foreign and foreign <= _ALIKE and _LATIN.search(text) is not None:
        return _FOREIGN_OR_BACKSLASH.sub(_escaped, text)
    return text if _SPOOF.search(text) is None else _SPOOF_OR_BACKSLASH.sub(_spoof, text)


def _spoof(found: re.Match[str]) -> str:
    word = found.group()
    return _escaped(found) if len(word) == 1 else "".join(one if one.isascii() else _written_out(one) for one in word)


def stated(value: object) -> str:
    """For a terminal: what a document states of itself in free words, as its platform, without secrets."""
    return shown(masking.stated(value))


def shown_content(text: str) -> str:
    """For a terminal: text of a file with its lines and tabs as they are, and what `shown` calls a hazard written out. A lone
    surrogate U+DC80-U+DCFF stands for a byte that is not UTF-8."""
    return _HAZARD_IN_CONTENT.sub(_escaped_byte, text)


def printed(text: str) -> str:
    """As `shown`, of what is said on standard error: errors, hints, notices. They may quote servers and addresses, so no
    credential of ours stays in it, and no password or signature of an address."""
    return shown(masking.addresses(credentials.masked(text)))


def _escaped(found: re.Match[str]) -> str:
    return _written_out(found.group())


def _written_out(character: str) -> str:
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
