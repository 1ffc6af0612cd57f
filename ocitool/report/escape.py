"""Escapes text that comes from an image or a server, for a terminal and for Markdown."""

from __future__ import annotations

import re

from ocitool import credentials, masking
from ocitool.patterns import pattern

_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\"}
_UNSAFE = (
    "\x00-\x1f\x7f-\x9f"  # C0, DEL, C1
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f"
    "\u2800\ufdd0-\ufdef\ufeff\uffa0\ufff0-\ufffb"  # invisible characters, direction controls, line separators
    "\ud800-\udfff"
    "\U00013430-\U00013455\U0001bca0-\U0001bca3\U0001d159\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
    "\U0001d400-\U0001d7ff"  # mathematical letters, which look like ASCII letters
)
_OTHER = (
    "\u0251\u0261\u0370-\u058f\u13a0-\u13fd\u2160-\u217f\u2c80-\u2cff\ua4d0-\ua4ff\uff21-\uff3a\uff41-\uff5a"  # letters
    "\u02d0\u2024\u2044\u2215\u2216\u2236\u2571\u29f5\u29f8\u29f9\ua789\ufe68"  # colons, dots and slashes
)
"""Characters that make a word suspicious if it also has Latin letters: those of scripts with look-alikes of Latin letters,
and look-alikes of the separators in paths and references."""
_ALIKE = frozenset(
    "\u0391\u0392\u0395\u0396\u0397\u0399\u039a\u039c\u039d\u039f\u03a1\u03a4\u03a5\u03a7\u03b1\u03b3\u03b9\u03ba\u03bd\u03bf\u03c1\u03c5\u03c7\u03f2\u03f3"
    "\u0405\u0406\u0408\u0410\u0412\u0415\u041a\u041c\u041d\u041e\u0420\u0421\u0422\u0423\u0425\u0430\u0435\u043e\u0440\u0441\u0443\u0445"
    "\u0455\u0456\u0458\u0475\u04ae\u04af\u04bb\u04c0\u04cf\u0501\u050c\u050d\u051a\u051b\u051c\u051d\u0570\u0578\u057d\u0581\u0585"
)
"""Greek, Cyrillic and Armenian letters that look like Latin ones (Unicode TR 39)."""
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
    """Returns the text escaped for a terminal. Control characters, direction controls and invisible characters become
    `\\n`, `\\x1b`, `\\u202e`; so do look-alikes of a letter or slash (`sud\\u043e`); a byte that is not UTF-8 becomes
    `\\xff`. Backslashes are doubled only in a text in which something else was escaped."""
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
    """Returns what `shown` returns of a text that is not ASCII. Look-alikes are recognised by their context: letters of two
    scripts in one word, or a text with Latin letters in which all letters of other scripts look like Latin ones."""
    foreign = set(_FOREIGN.findall(text))
    if foreign and foreign <= _ALIKE and _LATIN.search(text) is not None:
        return _FOREIGN_OR_BACKSLASH.sub(_escaped, text)
    return text if _SPOOF.search(text) is None else _SPOOF_OR_BACKSLASH.sub(_spoof, text)


def _spoof(found: re.Match[str]) -> str:
    word = found.group()
    return _escaped(found) if len(word) == 1 else "".join(one if one.isascii() else _written_out(one) for one in word)


def stated(value: object) -> str:
    """Returns free text of a document, such as a platform or media type, masked and escaped for a terminal."""
    return shown(masking.stated(value))


def shown_content(text: str) -> str:
    """Returns text of a file escaped for a terminal as by `shown`, but with its line ends and tabs as they are. A lone
    surrogate U+DC80-U+DCFF stands for a byte that is not UTF-8."""
    return _HAZARD_IN_CONTENT.sub(_escaped_byte, text)


def printed(text: str) -> str:
    """Returns a message for standard error (error, hint, notice), escaped as by `shown`. Messages may quote servers and
    URLs, so the user's credentials and the passwords and signatures in URLs are masked."""
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
    """Returns the text, escaped, as a Markdown code span that its content cannot close."""
    content = shown(text)
    if not content:
        content = " "  # two backticks would be no span
    elif content.strip(" ") and ("`" in (content[0], content[-1]) or content[0] == content[-1] == " "):
        content = f" {content} "  # CommonMark strips one space from each end
    ticks = "`" * (max(map(len, _BACKTICKS.findall(content)), default=0) + 1)
    return f"{ticks}{content}{ticks}"


def cell(text: str | bytes) -> str:
    """Returns the text as a code span for a table cell. In a table a pipe ends the cell even within a span, unless a
    backslash precedes it: the row is split, and that backslash removed, before spans are parsed. A pipe that follows a
    backslash in the text, on which renderers disagree, becomes `\\x7c`."""
    return code(_AFTER_BACKSLASH.sub(lambda found: found[1] * 2 + "\\x7c", shown(text))).replace("|", "\\|")


def fence(text: str, language: str = "") -> list[str]:
    """Returns the lines of a fenced block that its content cannot close. `language` must never come from an image."""
    lines = [_HAZARD_BUT_NEWLINE.sub(_escaped_in_text, line) for line in text.split("\n")]
    if lines and not lines[-1]:
        lines.pop()
    ticks = "`" * max(3, 1 + max((len(run) for line in lines for run in _BACKTICKS.findall(line)), default=0))
    return [ticks + language, *lines, ticks]


def _escaped_in_text(found: re.Match[str]) -> str:
    return "\t" if found.group() == "\t" else _escaped(found)  # a tab is harmless in a block


def clip(text: str, length: int) -> str:
    """Returns the text, cut to `length` characters with an ellipsis if it is longer."""
    return text if len(text) <= length else text[: max(0, length - 1)] + "…"


def clip_difference(before: str, after: str, length: int) -> tuple[str, str]:
    """Returns two texts cut to `length` characters such that their difference stays visible: their beginnings if these
    differ, else the parts that begin shortly before the first difference."""
    if clip(before, length) != clip(after, length) or before == after:
        return clip(before, length), clip(after, length)
    at = next((n for n, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), min(len(before), len(after)))
    start = max(0, at - length // 4)
    return clip("…" + before[start:], length), clip("…" + after[start:], length)


def human(size: int) -> str:
    """Returns a number of bytes as `340 B` or `1.2 MB` (MB is 10^6)."""
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
    """Returns a difference in bytes with its sign: `+1.2 MB`, `-340 B`, `0 B`."""
    return f"+{human(size)}" if size > 0 else human(size)
