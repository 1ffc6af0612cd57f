"""Blocks of a tar and the numbers in its headers: octal, base-256 (GNU), and decimal in pax records."""

from __future__ import annotations

from ocitool.errors import FormatError

BLOCK = 512
ZEROS = bytes(BLOCK)
POSIX_MAGIC = b"ustar\x0000"
"""Magic and version of a header whose prefix field is the beginning of its name."""


def signed_sum(header: bytes) -> int:
    """Returns the checksum as some old tars computed it, with signed bytes."""
    body = header[:148] + b" " * 8 + header[156:]
    return sum(body) - 256 * sum(byte > 127 for byte in body)


class NotANumberError(Exception):
    """A numeric field does not hold a number. `of` makes the error for users of it."""

    def of(self, what: str, start: int) -> FormatError:
        return FormatError(f"the {what} of the tar header at offset {start} is not {self.args[0]}")


def number(field: bytes) -> int:
    """Returns the number in a header field: octal text, or base-256 if the top bit is set (GNU). Raises `NotANumberError`."""
    text = field[:-1]
    if field[-1] or not text.isdigit():  # nearly all are digits and a zero byte
        lead = field[0]
        if lead & 0x80:
            bits = 8 * len(field) - 1  # the first bit only says base-256; the rest is a two's complement number
            value = int.from_bytes(field, "big") & ((1 << bits) - 1)
            return value - (1 << bits) if lead & 0x40 else value
        text = field.strip(b" \0")
        if not text:
            return 0
        text = text.split(b"\0", 1)[0].rstrip(b" ")
        if not text.isdigit():
            raise NotANumberError("a number")
    try:
        return int(text, 8)
    except ValueError:
        raise NotANumberError("octal") from None


class Numbers(dict[bytes, int]):
    """Numbers of fields, remembered: most entries of a layer repeat the same few modes, owners and times. Raises what `number`
    raises."""

    def __missing__(self, field: bytes) -> int:
        if len(self) > 8192:
            self.clear()
        value = self[field] = number(field)
        return value


def stated_number(field: bytes, what: str, start: int) -> int:
    """Returns the number in a header field. Raises `FormatError`, which names the field (`what`) and the header's offset
    (`start`)."""
    try:
        return number(field)
    except NotANumberError as error:
        raise error.of(what, start) from None


def decimal(text: bytes, start: int) -> int:
    digits = text[1:] if text[:1] == b"-" else text
    if not digits.isdigit() or len(digits) > 20:
        raise FormatError(f"a pax record at offset {start} is not a number")
    return int(text)
