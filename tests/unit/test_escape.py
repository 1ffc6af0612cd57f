"""What hides, turns text or passes for something else is written out where text of an image is shown; the rest is not."""

from __future__ import annotations

import time

import pytest

from ocitool.report.escape import shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sud\u043e", r"sud\u043e"),  # one Cyrillic letter in a Latin word
        ("\u0440\u0430ypal", r"\u0440\u0430ypal"),
        ("/usr/bin/\u0441\u0441", r"/usr/bin/\u0441\u0441"),  # a word that is all look-alikes, in a Latin path
        ("API_\u03a4OKEN", r"API_\u03a4OKEN"),
        ("etc\u2215passwd", r"etc\u2215passwd"),  # slashes that divide nothing
        ("etc\uff0fpasswd", r"etc\uff0fpasswd"),
        ("latest\ua7891", r"latest\ua7891"),
        ("\uff53udo", r"\uff53udo"),
        ("\U0001d5ccudo", r"\U0001d5ccudo"),
        ("\u217cs", r"\u217cs"),
        ("a\u2800b", r"a\u2800b"),  # a blank that is no space
        ("\U000e0041x", r"\U000e0041x"),  # tags
        ("a\u202eb\\", r"a\u202eb\\"),
    ],
)
def test_look_alikes_and_what_cannot_be_seen_are_written_out(text: str, expected: str) -> None:
    assert expected == shown(text)
    assert expected == shown(text.encode())


@pytest.mark.parametrize(
    "text",
    [
        "\u041f\u0440\u0438\u0432\u0435\u0442 \u043c\u0438\u0440", "\u043a\u043e\u0442.txt",
        "\u041e\u0431\u0440\u0430\u0437 \u0441 nginx",
        "\u65e5\u672c\u8a9e", "\u8bf4\u660e\uff1a\u8fd9\u662f Docker \u955c\u50cf", "\u65e5\u672c\u8a9e\uff21\uff22\uff23",
        "na\u00efve caf\u00e9",
        "Stra\u00dfe", "kap\u0131", "\u03b1\u03b2\u03b3", "\u05d0\u05d1", "a\\b", "\u20ac 5", "emoji \U0001f600", "25 \u00b5s",
    ],
)  # fmt: skip
def test_honest_text_is_shown_as_it_is(text: str) -> None:
    assert text == shown(text)


@pytest.mark.parametrize(
    "text", ["a" * 65_000 + "\u043e", "\u0430b" * 32_000, ("a" * 99 + "\u00e9") * 650, "\u043e" * 65_000 + "\u0416"]
)
def test_the_longest_path_is_judged_at_once(text: str) -> None:
    started = time.process_time()
    shown(text)
    assert time.process_time() - started < 0.5
