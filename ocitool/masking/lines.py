"""Masks secrets in command lines and in the words of commands. A shell command is parsed as a shell does it.

Only the value of the secret word is masked: the next command, a pipe or redirection stay visible, and so does a command
within a value (`$(...)`, backquotes). The text is read in one pass; nested commands are parsed up to a depth.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence

from ocitool.masking import search
from ocitool.masking.names import secret_name, secret_parameter
from ocitool.masking.search import Named
from ocitool.masking.words import Words
from ocitool.masking.worth import worth
from ocitool.patterns import pattern

MASK = "***"

_DEPTH = 12
"""Levels of nested commands that are parsed; deeper ones are searched as plain text."""
_OPEN, _SHUT = "\ufdd0", "\ufdd1"
"""Noncharacters of Unicode: they enclose the number of a part of a word that is kept (`Masker.keep`)."""
_KEPT = pattern(f"{_OPEN}([0-9]+){_SHUT}")
_ONLY_KEPT = pattern(f"{_OPEN}([0-9]+){_SHUT}")

_PLAIN = pattern(r"[^\s;&|<>()'\"\\$`]++")
_BLANK = pattern(r"[^\S\n]++")
_DOCUMENT = pattern(r"<<-?[ \t]*+(?P<quote>['\"]?)\\?(?P<word>[A-Za-z_][A-Za-z0-9_]*+)(?P=quote)")
_OPENS, _CLOSES = frozenset({"{", "do", "then"}), frozenset({"}", "done", "fi"})
"""Words that open and close a group of commands."""
_OPERATOR = pattern(r"[;&|)\n][;&|\s]*+|\(")
_ONE = pattern(
    r"(?P<head>\s*+(?P<name>[A-Za-z_][A-Za-z0-9_.-]*+)=)"
    r"(?P<value>(?![\s'\"])(?:[^\s&;'\"$`]++|&&?+(?![A-Za-z_][\w.\[\]%-]*=|&)|;(?![A-Za-z_ ][\w.]*=))++)\s*+"
)
"""A text that is one assignment, and not the fields of a form or the settings of a driver."""
_GLUED = pattern(
    r"[&>](?![&>\s]|[0-9]*-?(?:[\s;|)]|\Z)|[A-Za-z_][\w.\[\]%-]*=|/dev/)[^\s;&|<>()'\"\\$`]++(?=[&>]|\s*(?:\n|\Z))"
)
_QUOTED = pattern(r"[^\"\\$`]++")
_IN_BRACES = pattern(r"[^}$`]++")
_ANSI = pattern(r"(?:[^'\\]++|\\.)*+", re.DOTALL)
_VARIABLE = pattern(r"[A-Za-z_][A-Za-z0-9_]*+|[0-9@*#?$!-]")
_DEFAULT = pattern(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*+):?[-=+?]")
_ASSIGNMENT = pattern(r"(?P<head>[\[{(,&@]*+-{0,2}(?P<name>[^\s=\"'<>|\\]{1,400}?)\+?=)")
_HEADER = pattern(r"(?P<head>[\[{(]?(?P<name>[A-Za-z][A-Za-z0-9_-]{0,100}):\s++(?:(?i:basic|bearer|token|digest|apikey)\s++)?)")

_DATA = pattern(
    r"(?P<head>[ \t]*+(?:-[ \t]++)?(?P<name>[A-Za-z_][A-Za-z0-9_.-]*+):[ \t]++|<(?P<element>[A-Za-z_][A-Za-z0-9_.:-]*+)>)"
    r"(?P<value>[^;&|<>()'\"$`\\\n]++)(?=</|\n|\Z)"
)
"""A line of YAML, or an element of XML, in a here-document (`<<EOF`); it has nothing that a shell would run."""
_INNOCENT = pattern(
    r"(?:file:/{0,2}+)?~?/?(?:[A-Za-z0-9._@-]{1,200}/){0,30}+[A-Za-z0-9._@-]{1,200}"
    r"\.(?:pem|key|crt|cer|der|p12|pfx|jks|keystore|json|ya?ml|txt|pub|asc|gpg|conf|cfg|ini|env|toml|properties)"
    r"|/(?:var/)?run/secrets/[A-Za-z0-9._@/-]+|/dev/(?:stdin|null|fd/[0-9]+)"
    r"|(?i:true|false|yes|no|on|off|none|null|enabled|disabled)"
)
"""Values that are not secrets, though they are in the position of one: the path of a secret, a switch."""


class Masker:
    """Masks secrets, and records them in `hidden` in the order of the text. `named` decides which names are secret. Without
    `everywhere` only their values are masked, not tokens, keys or passwords in URLs. While `data` is set, the text may be
    something else than a shell command."""

    def __init__(self, named: Named = secret_name, *, everywhere: bool = True) -> None:
        self.hidden: list[str] = []
        self.named = named
        self.everywhere = everywhere
        self.data = False
        self._kept: list[tuple[str, bool]] = []

    # For callers

    def value(self, value: str) -> str:
        """Returns the mask for a value that is secret as a whole."""
        return self._hide(value)

    def line(self, line: str, depth: int = 0) -> str:
        """Returns a shell command, or any text that may contain one, masked."""
        if self.everywhere and not worth(line):
            return line
        line = _foreign(line) if not depth else line
        if depth > _DEPTH:
            return self._anywhere(line)
        if "'" not in line and '\\"' not in line:  # otherwise quotes are those of a shell, and words are searched one by one
            line = search.hide_members(line, self._hide_unless_run, self.named)
        if self.everywhere:
            line = search.hide_logins(search.hide_keys(line, self._hide_key_in_line), self._hide)
        shown, _ = _Line(self, line, depth).read(0, "")
        return shown if depth else self._restored(shown)

    def text(self, text: str) -> str:
        """Returns a text of any kind, masked: JSON, form data, prose, a command line."""
        if self.everywhere and not worth(text):
            return text
        if text.lstrip()[:1] in ("{", "[", "<"):
            return self._anywhere(search.hide_flow(text, self._hide, self.named) if self.everywhere else text)
        if self.everywhere:
            text = search.hide_whole(search.hide_keys(_foreign(text), self._hide), self._hide)
            text = search.hide_urls(search.hide_lines(text, self._hide, self.named), self._hide)
        if self.everywhere and ";" in text and search.is_connection(text):
            return search.hide_connection(text, self._hide, self.named)
        found = _ONE.fullmatch(text)
        if found is not None and self.named(found["name"]):
            return found["head"] + self._hide(found["value"])  # not a shell command: `;` and the like belong to the value
        self.data = True
        try:
            return self.line(text)
        finally:
            self.data = False

    def words(self, words: Sequence[str]) -> list[str]:
        """Returns the words of a command that is given as a list, masked. A word that is the script of a shell is parsed as
        a command."""
        state = Words(self, 0)
        return [self._restored(state.next(_foreign(word), first=not at)) for at, word in enumerate(words)]

    # For `_Line` and `Words`

    def keep(self, text: str, variable: bool = False) -> str:
        """Returns a placeholder for a part of a word that is never masked."""
        self._kept.append((text, variable))
        return f"{_OPEN}{len(self._kept) - 1}{_SHUT}"

    def _restored(self, text: str) -> str:
        """Returns a text with its placeholders replaced by the parts they stand for."""
        return _KEPT.sub(lambda found: self._restored(self._kept[int(found[1])][0]), text) if _OPEN in text else text

    def _hide(self, value: str) -> str:
        """Returns the mask for a secret, with its kept parts; records the secret. Paths and switches are returned as they
        are."""
        if not value or value.strip(" ,]}\"'") == MASK or (self.everywhere and _INNOCENT.fullmatch(value) is not None):
            return value
        if _OPEN not in value:
            self.hidden.append(value)
            return MASK
        only = _ONLY_KEPT.fullmatch(value)
        if only is not None:
            return value  # a variable, or the output of a command: not the secret itself
        shown: list[str] = []
        at = 0
        for found in _KEPT.finditer(value):
            if not self._kept[int(found[1])][1]:
                shown += [self._hide(value[at : found.start()]), found[0]]
                at = found.end()
        rest = value[at:]
        if rest:
            self.hidden.append(self._restored(rest))
            shown.append(MASK)
        return "".join(shown)

    def _hide_unless_run(self, value: str) -> str:
        return value if "$" in value or "`" in value else self._hide(value)

    def _hide_key_in_line(self, value: str) -> str:
        """Masks the content of a private key in a command, if it is only that: all its words but the last are long."""
        words = value.replace("\\n", " ").replace("\\", " ").split()
        if all(len(word) >= 24 and re.fullmatch(r"[A-Za-z0-9+/=]++", word) for word in words[:-1]) and re.fullmatch(
            r"[A-Za-z0-9+/=]*+", words[-1] if words else ""
        ):
            self._hide(value)
            return f"\n{MASK}\n" if value[:1] == "\n" else MASK
        return value

    def _anywhere(self, text: str) -> str:
        if not self.everywhere:
            return search.hide_members(text, self._hide, self.named)
        return search.hide_anywhere(text, self._hide, self.named)

    # One word

    def word(self, word: str, depth: int) -> str:
        """Returns a word that is data, masked: an assignment in it extends to its end."""
        if self.everywhere and ";" in word and search.is_connection(word):
            return search.hide_connection(word, self._hide, self.named)
        for _ in range(4):
            found = _ASSIGNMENT.match(word)
            if found is None or "://" in found["name"]:
                break
            name = re.split(r"[/:,]", found["name"].rstrip(":?!"))[-1]
            rest = word[found.end() :]
            if ",id=" in found["head"]:
                return word  # an option of a mount: the name of a secret
            if self.named(name):
                return found["head"] + self._hide(rest)
            return found["head"] + (self.word(rest, depth + 1) if depth < _DEPTH else self._anywhere(rest))
        found = _HEADER.match(word)
        if found is not None and "\n" not in word and self.named(found["name"]):
            return found["head"] + self._hide(word[found.end() :])
        if "\n" in word:
            return "\n".join(self.word(line, depth + 1) if line else line for line in word.split("\n"))
        if re.search(r"\s", word) is not None:
            # Commands in this word are placeholders already, so the value of a member is nothing but a value.
            inner = search.hide_members(word, self._hide, self.named)
            return self._anywhere(self.line(search.hide_spoken(inner, self._hide) if self.everywhere else inner, depth + 1))
        return self._anywhere(word)


def _foreign(text: str) -> str:
    """Returns the text without the characters that enclose placeholders."""
    return text.replace(_OPEN, "\ufffd").replace(_SHUT, "\ufffd") if _OPEN in text or _SHUT in text else text


class _Line:
    """Parses a command as a shell does. The position in the text only moves forward."""

    def __init__(self, masker: Masker, text: str, depth: int) -> None:
        self._masker = masker
        self._text = text
        self._depth = depth
        self._chpasswd = masker.everywhere and "chpasswd" in text
        self._documents = "<<" in text
        self._starts: dict[str, list[int]] | None = None
        """The offsets of lines, by their stripped text."""

    def read(self, at: int, stop: str, depth: int = 0, *, secret: bool = False) -> tuple[str, int]:
        """Returns the masked command from a position to the character `stop`, and the position of that (or the end of the
        text). `secret`: its words are the values of a secret array."""
        shown: list[str] = []
        _, at = self._read(shown, at, stop, depth, secret)
        return "".join(shown), at

    def _read(
        self, shown: list[str], at: int, stop: str, depth: int, secret: bool = False
    ) -> tuple[list[tuple[int, str]], int]:
        """Appends the masked parts to `shown`. Returns the words that its commands print, with their positions in `shown`,
        and the end."""
        text, end = self._text, len(self._text)
        words = Words(self._masker, self._depth + depth, pairs=self._chpasswd, document=self._chpasswd and self._documents)
        said: list[tuple[int, str]] = []
        """Words of echo and printf, with their positions in `shown`, of this command or of all commands of a group."""
        piped: list[tuple[int, str]] = []
        """The same of the commands whose output this one reads."""
        whole: list[tuple[int, str]] = []
        groups, until, read_from = 0, "", False
        """The number of open groups; the word that ends the here-document which begins with the next line; whether a
        password is read from that."""
        here, document = False, self._masker.everywhere and self._documents
        while at < end:
            character = text[at]
            if stop and character == stop:
                break
            if document and (character == "<" or text[at - 1] == "\n"):
                data = _DATA.match(text, at)
                if data is not None and self._masker.named(data["name"] or data["element"]):
                    shown += [data["head"], self._masker._hide(data["value"])]
                    at = data.end()
                    continue
            operator = _OPERATOR.match(text, at)
            if operator is not None:
                self._hide_piped(shown, piped, words)
                if character == "(":
                    pass
                elif operator[0].strip() == "|":
                    piped = piped if words.passes else []
                    piped += said
                    said = []
                elif not groups:
                    whole += said
                    piped, said = [], []
                if character == "(" and depth + self._depth < _DEPTH:
                    array = _ASSIGNMENT.fullmatch(shown[-1]) if shown else None
                    secret_array = array is not None and self._masker.named(array["name"])
                    secret_array = secret_array or (words.says_password() and text[at + 1 : at + 2] in ("'", '"'))
                    shown.append("(")
                    inner, at = self._read(shown, at + 1, ")", depth + 1, secret_array)
                    said += inner
                    shown.append(text[at : at + 1])
                    at += 1
                else:
                    shown.append(operator[0])
                    at = operator.end()
                    read_from |= bool(until) and words.reads
                    if until and "\n" in operator[0]:
                        at = self._hide_document(shown, at, until) if read_from and not self._chpasswd else at
                        until, read_from = "", False
                words.restart()
                secret = False
                continue
            blank = _BLANK.match(text, at)
            if blank is not None:
                shown.append(blank[0])
                at = blank.end()
                continue
            if character in "<>":
                here = text.startswith("<<<", at)
                begins = _DOCUMENT.match(text, at) if document and not here else None
                until = begins["word"] if begins is not None else until
                shown.append("<<<" if here else character)
                at += 3 if here else 1
                continue
            raw, cooked, quoted, at = self._word(at, stop, depth)
            groups = max(0, groups + (raw in _OPENS) - (raw in _CLOSES))
            if here:
                here = False
                said.append((len(shown), cooked))
                masked = self._here(cooked, words)
            else:
                if words.says and not cooked.startswith("-"):
                    said.append((len(shown), cooked))
                masked = self._masker._hide(cooked) if secret else words.next(cooked, quoted=quoted)
                if masked != cooked and masked.endswith(MASK) and self._masker.data:
                    at = self._rest(at)
            shown.append(raw if masked == cooked else _quoted(masked))
        self._hide_piped(shown, piped, words)
        return [*whole, *said, *(piped if words.passes else ())], at

    def _hide_document(self, shown: list[str], at: int, until: str) -> int:
        """Masks the lines of a here-document up to the line that ends it."""
        if self._starts is None:
            self._starts, start = {}, 0
            for line in self._text.split("\n"):
                self._starts.setdefault(line.strip(), []).append(start)
                start += len(line) + 1
        starts = self._starts.get(until, [])
        place = bisect_right(starts, at)
        if place == len(starts):
            return at
        shown += [self._masker._hide(self._text[at : starts[place] - 1]), "\n"]
        return starts[place]

    def _hide_piped(self, shown: list[str], piped: list[tuple[int, str]], words: Words) -> None:
        """Masks the words that earlier commands print into this one, if it reads a password."""
        if words.reads:
            for at, word in piped:
                if not (self._chpasswd and ":" in word) and word != "%s":
                    shown[at] = _quoted(self._masker._hide(word))
            piped.clear()

    def _rest(self, at: int) -> int:
        """Returns the end of a secret in a text that may not be a shell command. A secret may contain `&` or `>`: what
        follows these without a space, up to the end of the line, is neither another field of a form nor another command."""
        while (more := _GLUED.match(self._text, at)) is not None:
            self._masker.hidden[-1] += more[0]
            at = more.end()
        return at

    def _here(self, word: str, words: Words) -> str:
        """Returns a word that a command gets on standard input (`<<<`), masked."""
        user, colon, password = word.partition(":")
        if self._chpasswd and colon:
            return f"{user}:{self._masker._hide(password)}"
        if words.reads:
            return self._masker._hide(word)
        return self._masker.word(word, self._depth)

    def _word(self, at: int, stop: str, depth: int) -> tuple[str, str, bool, int]:
        """Returns a word as it is written, as the shell interprets it, whether a part was quoted, and its end."""
        text, end = self._text, len(self._text)
        raw: list[str] = []
        cooked: list[str] = []
        quoted = False
        while at < end:
            character = text[at]
            plain = _PLAIN.match(text, at)
            if plain is not None:
                raw.append(plain[0])
                cooked.append(plain[0])
                at = plain.end()
            elif character == "\\":
                raw.append(text[at : at + 2])
                if text[at + 1 : at + 2] != "\n":
                    cooked.append(text[at + 1 : at + 2] or "\\")
                at += 2
            elif character == "'":
                shut = text.find("'", at + 1)
                shut = end if shut < 0 else shut
                raw.append(text[at : shut + 1])
                cooked.append(text[at + 1 : shut])
                quoted, at = True, shut + 1
            elif character == '"':
                one, other, at = self._double(at + 1, stop, depth)
                raw.append(f'"{one}')
                cooked.append(other)
                quoted = True
            elif character == "$" and text[at + 1 : at + 2] == "'":
                found = _ANSI.match(text, at + 2)
                assert found is not None
                raw.append(text[at : found.end() + 1])
                cooked.append(re.sub(r"\\(.)", r"\1", found[0], flags=re.DOTALL))
                quoted, at = True, found.end() + 1
            elif character == "$" or (character == "`" and stop != "`"):
                one, other, at = self._expansion(at, stop, depth)
                raw.append(one)
                cooked.append(other)
            else:
                break
        return "".join(raw), "".join(cooked), quoted, min(at, end)

    def _double(self, at: int, stop: str, depth: int) -> tuple[str, str, int]:
        """Returns the content of double quotes as written and as interpreted, and the end."""
        text, end = self._text, len(self._text)
        raw: list[str] = []
        cooked: list[str] = []
        while at < end:
            plain = _QUOTED.match(text, at)
            if plain is not None:
                raw.append(plain[0])
                cooked.append(plain[0])
                at = plain.end()
            elif text[at] == '"':
                return "".join([*raw, '"']), "".join(cooked), at + 1
            elif text[at] == "\\":
                raw.append(text[at : at + 2])
                escaped = text[at + 1 : at + 2]
                cooked.append(escaped if escaped in '"\\$`' else "" if escaped == "\n" else text[at : at + 2])
                at += 2
            elif text[at] == "`" and stop == "`":
                break  # the command ends, and with it the word
            else:
                one, other, at = self._expansion(at, stop, depth)
                raw.append(one)
                cooked.append(other)
        return "".join(raw), "".join(cooked), min(at, end)

    def _expansion(self, at: int, stop: str, depth: int) -> tuple[str, str, int]:
        """Reads `$NAME`, `${...}`, `$(...)` or backquotes. Returns it twice, as a placeholder (as written and as
        interpreted), and its end."""
        text = self._text
        after = text[at + 1 : at + 2]
        deeper = depth + self._depth < _DEPTH
        if text[at] == "`" and deeper:
            inner, shut = self.read(at + 1, "`", depth + 1)
            shown = f"`{inner}{text[shut : shut + 1]}"
            kept = self._masker.keep(shown)
            return kept, kept, shut + 1
        if after == "(" and deeper:
            inner, shut = self.read(at + 2, ")", depth + 1)
            shown = f"$({inner}{text[shut : shut + 1]}"
            kept = self._masker.keep(shown)
            return kept, kept, shut + 1
        if after == "{" and deeper:
            return self._braces(at + 2, depth)
        variable = _VARIABLE.match(text, at + 1) if text[at] == "$" else None
        if variable is not None:
            kept = self._masker.keep("$" + variable[0], variable=True)
            return kept, kept, variable.end()
        return text[at], text[at], at + 1

    def _braces(self, at: int, depth: int) -> tuple[str, str, int]:
        """Reads `${NAME}`, or `${NAME:-DEFAULT}`, whose default is masked like a word."""
        text, end = self._text, len(self._text)
        found = _DEFAULT.match(text, at)
        start = at = found.end() if found else at
        cooked: list[str] = []
        while at < end and text[at] != "}":
            if text[at] in "$`":
                _, other, at = self._expansion(at, "", depth + 1)
                cooked.append(other)
            else:
                step = _IN_BRACES.match(text, at)
                assert step is not None
                cooked.append(step[0])
                at = step.end()
        inner = "".join(cooked)
        if found is not None and self._masker.named(found["name"]):
            inner = self._masker._hide(inner)
            shown = f"${{{found[0]}{inner}{text[at : at + 1]}"
        else:
            shown = f"${{{found[0] if found else ''}{inner}{text[at : at + 1]}"
        variable = start == at or (found is None and _OPEN not in inner)
        kept = self._masker.keep(shown, variable=variable)
        return kept, kept, min(at + 1, end)


def _quoted(word: str) -> str:
    """Returns a masked word in quotes, if a shell needs them."""
    bare = _KEPT.sub("", word)
    if re.search(r"[\s;&|<>()'\"]", bare) is None:
        return word
    return f"'{word}'" if '"' in bare and "'" not in bare else '"' + word.replace('"', '\\"') + '"'


__all__ = ["MASK", "Masker", "secret_parameter"]
