"""The user's credentials in this process, and their masking in everything that is printed.

A registry, token server or proxy may repeat what was sent to it. All code that reads a credential registers it
(`remember`); every output of text (errors, notices, tracebacks, reports) is passed through `masked`. The bytes of
documents and files (`cat`, `inspect --raw`) and of images are not, and stay as they are.

A credential is found as it is, in base64 of either alphabet at any offset of the encoded text, in hexadecimal, and in
the escapes of URLs, JSON and JSON pointers, HTML and Python, also nested; line breaks and zero-width characters within
it are ignored; before a `…` its visible part is found.

Bounds: of what servers give, the last `_GIVEN` secrets are known, of each its ends; of an address the first
`_PARAMETERS`. A secret shorter than `_SHORTEST` is masked only together with its user name, since it occurs in any
text; one shorter than `_WORD`, or of digits only, is masked only as a whole word. A password that is a word of the
reports masks that word.
"""

import re
from collections.abc import Callable, Iterable
from threading import Lock
from typing import NamedTuple

from ocitool.patterns import pattern

MASK = "***"

_SHORTEST, _WORD = 4, 8
_PART = 5
"""Characters of a credential's beginning or end that are hidden at a `…`."""
_CORE = 4
"""Characters of base64 that tell: fewer are no sign."""
_ROUNDS = 4
"""Spellings within spellings that are undone."""
_LONG = 1 << 14
"""Characters beyond which a text is searched line by line."""

_WHOLE, _SLICE = 64, 24
"""A token of more characters is known by so many at either end of it: there may be thousands of tokens."""

_BASE64 = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_")
_TOKEN = _BASE64 | frozenset(".~=")
_RUN = frozenset(" \t\r\n\"'…").isdisjoint
"""Characters that a long secret goes on with."""
_INVISIBLE = "\x00-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f"
_INVISIBLE += "\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U000e0000-\U000e0fff"
_SPELT = pattern(
    r"(?P<percent>(?:%[0-9A-Fa-f]{2})++)|(?P<units>(?:\\u[0-9A-Fa-f]{4})++)|\\x(?P<byte>[0-9A-Fa-f]{2})|\\[nrt]"
    r"|\\(?P<plain>[!-/:-@\[-`{-~])|~(?P<pointer>[01])"
    r"|&(?:#(?P<number>[0-9]{1,7})|#[xX](?P<hex>[0-9A-Fa-f]{1,6})|(?P<entity>quot|amp|lt|gt|apos));"
    rf"|[{_INVISIBLE}]"
)
_SAID = {"quot": '"', "amp": "&", "lt": "<", "gt": ">", "apos": "'", "0": "~", "1": "/"}

_GIVEN = 2_000
"""Tokens and signatures of servers that are known at once, the last ones: a server may give any number of them."""
_CHOSEN = pattern(r"\S{32}|(?=\S*[A-Za-z])(?=\S*[0-9])\S{16}")
"""What a server may have made a secret of: no word."""
_PARAMETERS = 100
"""Of an address that are looked at."""


class _Search(NamedTuple):
    """What finds credentials. `expression`: the short ones, and what long ones are known by. The long ones of the user's that
    are no tokens are looked for whole, which takes time that grows with the text whatever they hold: `forms`, in base64
    `cores`, and `hexadecimal`."""

    expression: re.Pattern[str]
    forms: frozenset[str]
    cores: frozenset[str]
    hexadecimal: frozenset[str]


_ONE_BASE64 = str.maketrans("-_", "+/")
_SMALL_HEX = str.maketrans("ABCDEF", "abcdef")

_lock = Lock()
_texts: set[str] = set()
_given: dict[str, None] = {}
_search: _Search | None = None


def remember(*secrets: str) -> None:
    """Registers passwords and tokens of the user."""
    global _search
    new = [_ends(one) for one in secrets if one and one.strip()]
    with _lock:
        if not _texts.issuperset(new):
            _texts.update(new)
            _search = None


def remember_given(*secrets: str) -> None:
    """Registers secrets that a server gave; the last `_GIVEN` are known. Texts that may be words of a report are not
    registered: a server could otherwise hide words from a reviewer of its image."""
    global _search
    with _lock:
        for one in filter(_CHOSEN.match, secrets):
            if (kept := _ends(one, given=True)) not in _texts:
                _search = _search if kept in _given else None
                _given.pop(kept, None)
                _given[kept] = None
        while len(_given) > _GIVEN:
            del _given[next(iter(_given))]


def _encoded(text: str) -> bytes:
    """Returns a text as bytes. A credential in a file may contain a lone surrogate, which UTF-8 cannot encode."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def _ends(secret: str, *, given: bool = False) -> str:
    """Returns what is kept of a secret: of a long token, and of whatever a server gave, only its ends, since there may
    be any number."""
    whole = len(secret) <= 2 * _WHOLE or not (given or _TOKEN.issuperset(secret))
    return secret if whole else secret[:_WHOLE] + secret[-_WHOLE:]


def remember_login(user: str, password: str) -> None:
    """Registers a password, and its form in Basic authorization."""
    if password:
        from base64 import b64encode

        pair = f"{user}:{password}"
        remember(password, pair, b64encode(_encoded(pair)).decode("ascii"))


def remember_address(url: str) -> None:
    """Registers the secrets of an address: the login before its host, and signatures in its query."""
    from urllib.parse import unquote, urlsplit

    try:
        parts = urlsplit(url)
        user, password = parts.username, parts.password
    except ValueError:
        return
    if password:
        remember_login(user or "", password)
        remember_login(unquote(user or ""), unquote(password))
    if parts.query:
        from ocitool.masking.names import secret_parameter

        for pair in parts.query.split("&", _PARAMETERS)[:_PARAMETERS]:
            name, _, value = pair.partition("=")
            if len(value) <= _LONG and secret_parameter(unquote(name)):
                remember_given(value, unquote(value))


def forget() -> None:
    """Forgets all credentials: another command begins in this process."""
    global _search
    with _lock:
        _texts.clear()
        _given.clear()
        _search = None


def masked(text: str) -> str:
    """Returns the text with `***` for everything that equals, contains or encodes a registered credential. Without any
    it costs nothing; otherwise its time is linear in the text."""
    if not _texts and not _given:
        return text
    if len(text) > _LONG and "\n" in text:
        return "\n".join(map(_replaced, text.split("\n")))
    return _replaced(text)


def _replaced(text: str) -> str:
    search = _pattern()
    spans = [*_found(search, text), *_clipped(text)]
    characters, places = text, None
    for _ in range(_ROUNDS):
        if _SPELT.search(characters) is None:
            break
        characters, places = _undone(characters, places)
        at = places
        spans += [(at[start], at[end]) for start, end in [*_found(search, characters), *_clipped(characters)]]
    return _without(text, spans) if spans else text


def _without(text: str, spans: list[tuple[int, int]]) -> str:
    shown: list[str] = []
    at = 0
    for start, end in sorted(spans):
        if start >= at or not shown:
            shown += [text[at:start], MASK]
        at = max(at, end)
    return "".join([*shown, text[at:]])


def _found(search: _Search, text: str) -> Iterable[tuple[int, int]]:
    """Yields the spans of credentials in a text. That of base64 includes the adjacent characters, which hold some of its
    bits. Of a long token only the ends are known: the span is all of the token; of another long value that a server
    gave, it ends at a blank."""
    last = 0
    for match in search.expression.finditer(text):
        start, end = match.span()
        if end <= last:
            continue
        if match.lastgroup == "base64":
            start -= start > 0 and text[start - 1] in _BASE64
            end += end < len(text) and text[end] in _BASE64
        elif match.lastgroup in ("token", "run"):
            part = _TOKEN.__contains__ if match.lastgroup == "token" else _RUN
            while start > last and part(text[start - 1]):
                start -= 1
            while end < len(text) and part(text[end]):
                end += 1
        if match.lastgroup != "plain":
            while text.startswith("=", end):
                end += 1
        yield start, end
        last = end
    yield from _whole(search.forms, text)
    yield from _whole(search.hexadecimal, text.translate(_SMALL_HEX) if search.hexadecimal else "")
    for start, end in _whole(search.cores, text.translate(_ONE_BASE64) if search.cores else ""):
        start -= start > 0 and text[start - 1] in _BASE64
        end += end < len(text) and text[end] in _BASE64
        while text.startswith("=", end):
            end += 1
        yield start, end


def _whole(words: Iterable[str], text: str) -> Iterable[tuple[int, int]]:
    for word in words:
        at = text.find(word)
        while at >= 0:
            yield at, at + len(word)
            at = text.find(word, at + len(word))


def _clipped(text: str) -> Iterable[tuple[int, int]]:
    """Yields the spans of beginnings of credentials before a `…`, and of their ends after one."""
    if "…" not in text:
        return
    back, size = text[::-1], len(text)
    for secret in (*tuple(_texts), *tuple(_given)):
        for at, length in _begun(secret, text):
            yield at - length, at
        for at, length in _begun(secret[::-1], back):
            yield size - at, size - at + length


def _begun(secret: str, text: str) -> Iterable[tuple[int, int]]:
    """Yields the place of each `…` that follows a beginning of the secret, and the length of the longest such beginning.
    It uses the algorithm of Knuth, Morris and Pratt, whose time is linear: a server that chose the secret writes the
    text too."""
    at = text.find(secret[:_PART]) if len(secret) > _PART else -1
    if at < 0:
        return
    borders = [0, 0]
    length = 0
    for character in secret[1:]:
        while length and character != secret[length]:
            length = borders[length]
        length += character == secret[length]
        borders.append(length)
    length = 0
    for place in range(at, len(text)):
        character = text[place]
        if character == "…" and length >= _PART:
            yield place, length
        while length and (length == len(secret) or character != secret[length]):
            length = borders[length]
        length += character == secret[length]


def _undone(text: str, before: list[int] | None) -> tuple[str, list[int]]:
    """Returns the text with one layer of encoding (percent, `\\u`, entities and the like) decoded, and for each of its
    characters, and its end, the place in the original text. `before`: these places for `text`, if it was decoded
    before."""
    shown: list[str] = []
    places: list[int] = []
    at = 0
    for match in _SPELT.finditer(text):
        start, end = match.span()
        shown.append(text[at:start])
        places += range(at, start)
        for character, place in _spelt(match):
            shown.append(character)
            places.append(start + place)
        at = end
    shown.append(text[at:])
    places += range(at, len(text) + 1)
    return "".join(shown), places if before is None else [before[place] for place in places]


def _spelt(match: re.Match[str]) -> list[tuple[str, int]]:
    """Returns the characters that an encoded sequence means, with their places in it."""
    kind = match.lastgroup
    if kind is None:
        return []  # a break, or what has no width
    word = match[kind]
    if kind == "percent":
        raw = bytes.fromhex(word.replace("%", ""))
        return _placed(raw.decode("utf-8", "surrogateescape"), lambda one: 3 * len(one.encode("utf-8", "surrogateescape")))
    if kind == "units":
        raw = bytes.fromhex(word.replace("\\u", ""))
        return _placed(raw.decode("utf-16-be", "surrogatepass"), lambda one: 6 if ord(one) < 0x10000 else 12)
    if kind == "byte":
        return [(chr(int(word, 16)), 0)]
    if kind in ("number", "hex"):
        point = int(word, 10 if kind == "number" else 16)
        return [(chr(point), 0)] if point < 0x110000 else []
    return [(_SAID.get(word, word) if kind in ("entity", "pointer") else word, 0)]


def _placed(text: str, width: Callable[[str], int]) -> list[tuple[str, int]]:
    found = []
    at = 0
    for character in text:
        found.append((character, at))
        at += width(character)
    return found


def _pattern() -> _Search:
    """Returns the search for all registered credentials. Its expression tries long words before shorter ones."""
    global _search
    with _lock:
        if _search is None:
            words: dict[str, set[str]] = {"plain": set(), "base64": set(), "token": set(), "run": set()}
            forms: set[str] = set()
            cores: set[str] = set()
            hexadecimal: set[str] = set()
            for secret in (*_texts, *_given):
                raw = _encoded(secret)
                token = _TOKEN.issuperset(secret)
                if len(secret) > _WHOLE and (token or secret not in _texts):
                    ends = (secret[:_SLICE], secret[-_SLICE:])
                    words["token" if token else "run"].update(re.escape(one) for one in ends)
                    words["token"].update(_either(core) for one in ends for core in _cores(_encoded(one)))
                elif len(secret) > _WHOLE:
                    forms.update(_forms(secret, raw))
                    cores.update(_cores(raw))
                    hexadecimal.add(raw.hex())
                else:
                    words["plain"].update(_plain(secret, raw))
                    words["base64"].update(_either(core) for core in _cores(raw))
            expression = re.compile("|".join(f"(?P<{kind}>{_any(found)})" for kind, found in words.items()))
            _search = _Search(expression, frozenset(forms), frozenset(cores), frozenset(hexadecimal))
        return _search


def _any(words: set[str]) -> str:
    return "|".join(sorted(words, key=len, reverse=True)) or "(?!)"


def _forms(secret: str, raw: bytes) -> set[str]:
    """Returns the forms in which a credential is looked for: itself, in lower case, with `+` for blanks, as Latin-1, and
    decoded, if it looks like an encoded text itself."""
    forms = [secret, secret.replace(" ", "+"), raw.decode("latin-1")]
    if len(secret) >= _WORD:
        forms.append(secret.lower())  # as hosts are written
    for form in forms:
        undone = _undone(form, None)[0]
        if undone not in forms and len(undone) >= _SHORTEST and len(forms) < 3 * _ROUNDS:
            forms.append(undone)
    return set(forms)


def _plain(secret: str, raw: bytes) -> Iterable[str]:
    """Yields the expressions for the forms of a credential, and for its hexadecimal digits."""
    if len(secret) >= _SHORTEST:
        for text in _forms(secret, raw):
            word = len(text) < _WORD or text.isdigit()
            before = r"(?<![A-Za-z0-9])" if word and text[0].isalnum() else ""
            after = r"(?![A-Za-z0-9])" if word and text[-1].isalnum() else ""
            yield before + re.escape(text) + after
    if len(raw) >= _SHORTEST:
        yield f"(?i:{raw.hex()})"


def _either(core: str) -> str:
    """Returns the expression for a part of base64 in either alphabet."""
    return core.replace("+", "[+-]").replace("/", "[/_]")


def _cores(raw: bytes) -> Iterable[str]:
    """Yields what the base64 of any data with these bytes contains, for each of their three positions: without the
    characters that also hold bits of adjacent bytes."""
    from base64 import b64encode

    for shift, skipped in ((0, 0), (1, 2), (2, 3)):
        encoded = b64encode(bytes(shift) + raw).decode("ascii")
        core = encoded[skipped : (shift + len(raw)) * 8 // 6]
        if len(core) >= _CORE and len(raw) >= _SHORTEST:
            yield core
