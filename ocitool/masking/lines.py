"""Command lines, and the words of commands, without the secrets in them: a shell's line is read as the shell reads it.

Where a secret stands, its word's value is hidden and nothing else: the next command, a pipe, a redirection are shown, and so
is what a value would run (`$(...)`, backquotes). One pass over the text; commands inside of commands are followed to a depth.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ocitool.masking import text as texts
from ocitool.masking.names import secret_name, secret_parameter
from ocitool.masking.patterns import pattern
from ocitool.masking.text import Named

MASK = "***"

_DEPTH = 12
"""Commands in words in commands that are followed; what is deeper is searched as plain text."""
_OPEN, _SHUT = "\ufdd0", "\ufdd1"
"""Characters that Unicode keeps for programs: they stand around the number of what is kept of a word."""
_KEPT = pattern(f"{_OPEN}([0-9]+){_SHUT}")
_ONLY_KEPT = pattern(f"{_OPEN}([0-9]+){_SHUT}")

_PLAIN = pattern(r"[^\s;&|<>()'\"\\$`]++")
_BLANK = pattern(r"[^\S\n]++")
_OPERATOR = pattern(r"[;&|)\n][;&|\s]*+|\(")
_QUOTED = pattern(r"[^\"\\$`]++")
_IN_BRACES = pattern(r"[^}$`]++")
_ANSI = pattern(r"(?:[^'\\]++|\\.)*+", re.DOTALL)
_VARIABLE = pattern(r"[A-Za-z_][A-Za-z0-9_]*+|[0-9@*#?$!-]")
_DEFAULT = pattern(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*+):?[-=+?]")
_WORTH = pattern(
    r"pass|pwd|pw|secret|tok|cred|key|auth|jwt|salt|dsn|pin|psk|sas|otp|cookie|webhook|conn|netrc|bearer|identified|://|private"
    r"|gh[oprsu]_|_pat_|[rs]k_|sk|hf_|npm_|akia|asia|abia|acca|gl|xo|xapp|xkeysib|nrak|pypi|aiza|sq0|hv|sg\.|ya29|eyj|age|shp"
    r"|do[opr]_v1|lin_api|atatt|sntry|rubygems|curl|http|mysql|mariadb|login|mongo|redis|ldap|sqlcmd|zip|lftp|smbclient|7z",
    re.IGNORECASE,
)
"""Without any of it there is nothing to hide, and the text is left as it is at once."""

_ASSIGNMENT = pattern(r"(?P<head>[\[{(,&@]*+-{0,2}(?P<name>[^\s=\"'<>|\\]{1,400}?)\+?=)")
_HEADER = pattern(
    r"(?P<head>[\[{(]?(?P<name>[A-Za-z][A-Za-z0-9_-]{0,100}):\s++(?:(?i:basic|bearer|token|digest|apikey)\s++)?)"
)
_SCHEME = frozenset({"basic", "bearer", "token", "digest", "apikey"})
_OPTION = pattern(r"--?[A-Za-z][A-Za-z0-9_.-]*+")
_SCRIPT_FLAG = pattern(r"-[A-Za-z]*c|/[cC]|-(?i:command|e|E|S)|--(?:command|eval|exec|split-string|init-command)|CMD-SHELL")
_SCRIPT_WORDS = frozenset({"eval", "ssh", "watch", "trap", "su", "runuser"})
_WATCHED = _SCRIPT_WORDS | {"set", "echo", "printf", "=", ":="}
_NO_VALUE = pattern(r"--[a-z][a-z0-9-]*+(?:=|\Z)")

_ORDINARY = pattern(r"[A-Za-z0-9_./@%+,=][A-Za-z0-9_./@%+,=-]*+")
"""Words that are no option and hold no other word."""

_USER = pattern(r"[A-Za-z_\ufdd0-\ufdd1][\w.\ufdd0-\ufdd1-]*+")
_OF_USER = "user"
_COMMANDS: dict[str, dict[str, str]] = {
    "curl": {"-u": _OF_USER, "--user": _OF_USER, "-U": _OF_USER, "--proxy-user": _OF_USER},
    "http": {"-a": _OF_USER, "--auth": _OF_USER},
    "https": {"-a": _OF_USER, "--auth": _OF_USER},
    "lftp": {"-u": _OF_USER},
    "smbclient": {"-U": _OF_USER},
    "sshpass": {"-p": ""}, "login": {"-p": ""}, "redis-cli": {"-a": ""}, "sqlcmd": {"-P": ""},
    "unzip": {"-P": ""}, "zip": {"-P": ""}, "7z": {"-p": ""}, "7za": {"-p": ""},
    **{name: {"-p": ""} for name in ("mysql", "mysqldump", "mysqladmin", "mysqlimport", "mariadb", "mariadb-dump")},
    **{name: {"-p": ""} for name in ("mongo", "mongosh", "mongodump", "mongorestore", "mongoimport", "mongoexport")},
    **{name: {"-w": ""} for name in ("ldapsearch", "ldapadd", "ldapmodify", "ldappasswd")},
}  # fmt: skip
"""Commands whose short options take a password, or `user:password`. `login`: of docker, podman, skopeo, helm and others."""


class Masker:
    """Hides what it takes for a secret, and remembers it in `hidden`, in the order of the text. `named` says which names are
    secret; without `everywhere` secrets that no name tells (tokens, keys, passwords in URLs) stay."""

    def __init__(self, named: Named = secret_name, *, everywhere: bool = True) -> None:
        self.hidden: list[str] = []
        self.named = named
        self.everywhere = everywhere
        self._kept: list[tuple[str, bool]] = []

    # What others ask for

    def value(self, value: str) -> str:
        """A value that is secret as a whole."""
        return self._hide(value)

    def line(self, line: str, depth: int = 0) -> str:
        """A shell's line, or any text in which one may stand."""
        if self.everywhere and _WORTH.search(line) is None:
            return line
        line = _foreign(line) if not depth else line
        if depth > _DEPTH:
            return self._anywhere(line)
        if "'" not in line and '\\"' not in line:  # else quotes in it are a shell's, and its words are looked into
            line = texts.hide_members(line, self._hide_unless_run, self.named)
        if self.everywhere:
            line = texts.hide_keys(line, self._hide_key_in_line)
        shown, _ = _Line(self, line, depth).read(0, "")
        return shown if depth else self._restored(shown)

    def text(self, text: str) -> str:
        """A text of any kind: JSON, form data, prose, a command line."""
        if self.everywhere and _WORTH.search(text) is None:
            return text
        if text.lstrip()[:1] in ("{", "["):
            return self._anywhere(text)
        return self.line(text)

    def words(self, words: Sequence[str]) -> list[str]:
        """The words of a command as a list holds them: what a shell is given as its script is read as one."""
        state = _Words(self, 0)
        return [self._restored(state.next(_foreign(word), first=not at)) for at, word in enumerate(words)]

    # For the parts

    def keep(self, text: str, variable: bool = False) -> str:
        """What stands for a part of a word that is shown in any case."""
        self._kept.append((text, variable))
        return f"{_OPEN}{len(self._kept) - 1}{_SHUT}"

    def _restored(self, text: str) -> str:
        return _KEPT.sub(lambda found: self._restored(self._kept[int(found[1])][0]), text) if _OPEN in text else text

    def _hide(self, value: str) -> str:
        if not value or value.strip(" ,]}\"'") == MASK:
            return value
        if _OPEN not in value:
            self.hidden.append(value)
            return MASK
        only = _ONLY_KEPT.fullmatch(value)
        if only is not None:
            return value  # a variable, or what a command gives: not the secret itself
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
        """The inside of a key is hidden where it is nothing else: its words are long, but for the last one."""
        words = value.replace("\\n", " ").replace("\\", " ").split()
        if all(len(word) >= 24 and re.fullmatch(r"[A-Za-z0-9+/=]++", word) for word in words[:-1]) and re.fullmatch(
            r"[A-Za-z0-9+/=]*+", words[-1] if words else ""
        ):
            self._hide(value)
            return f"\n{MASK}\n" if value[:1] == "\n" else MASK
        return value

    def _anywhere(self, text: str) -> str:
        if not self.everywhere:
            return texts.hide_members(text, self._hide, self.named)
        return texts.hide_anywhere(text, self._hide, self.named)

    # One word

    def word(self, word: str, depth: int) -> str:
        """A word that is data: what is assigned in it goes to its end."""
        for _ in range(4):
            found = _ASSIGNMENT.match(word)
            if found is None or "://" in found["name"]:
                break
            name = re.split(r"[/:]", found["name"])[-1]
            rest = word[found.end() :]
            if self.named(name):
                return found["head"] + self._hide(rest)
            return found["head"] + (self.word(rest, depth + 1) if depth < _DEPTH else self._anywhere(rest))
        found = _HEADER.match(word)
        if found is not None and "\n" not in word and self.named(found["name"]):
            return found["head"] + self._hide(word[found.end() :])
        if "\n" in word:
            return "\n".join(self.word(line, depth + 1) if line else line for line in word.split("\n"))
        if re.search(r"\s", word) is not None:
            # What a shell would have run in this word is kept already, so that a member's value is nothing but a value.
            return self._anywhere(self.line(texts.hide_members(word, self._hide, self.named), depth + 1))
        return self._anywhere(word)


def _foreign(text: str) -> str:
    """The text without the characters that are used for what is kept."""
    return text.replace(_OPEN, "\ufffd").replace(_SHUT, "\ufffd") if _OPEN in text or _SHUT in text else text


class _Words:
    """The words of one command, one after the other: what each is depends on those before it."""

    def __init__(self, masker: Masker, depth: int, *, pairs: bool = False) -> None:
        self._masker = masker
        self._depth = depth
        self._chpasswd = pairs
        """Whether `user:password` goes to chpasswd: what echo and printf say is taken for that."""
        self.restart()

    def restart(self) -> None:
        """Another command begins."""
        self._options: dict[str, str] = {}
        self._next = ""
        """What the next word is: `secret`, `user`, `script`, or like any other."""
        self._last: list[str] = []
        self._remote = self._pairs = False

    def next(self, word: str, *, first: bool = False, quoted: bool = True) -> str:
        """The word as it is shown. `first`: of a list that a shell may be put before; `quoted`: one that may hold a line."""
        masker, kind = self._masker, self._next
        special = kind or first or self._options or self._remote or not masker.everywhere or self._says_password()
        if not special and _ORDINARY.fullmatch(word) and _WORTH.search(word) is None and word not in _WATCHED:
            self._last = [*self._last[-1:], word]
            return word
        bare = word.strip("[]{}(),&")
        self._next = ""
        if kind == "secret" and _NO_VALUE.match(word) is None:
            if bare.lower() in _SCHEME:
                self._next = "secret"
                return word
            return masker._hide(word)
        if kind == "user":
            user, colon, password = word.partition("%" if "%" in word and ":" not in word else ":" if ":" in word else ",")
            return f"{user}{colon}{masker._hide(password)}" if colon else masker._anywhere(word)
        shown = self._attached(word)
        if shown is None and self._pairs and self._last and not bare.startswith("-"):
            user, colon, password = word.partition(":")
            shown = f"{user}:{masker._hide(password)}" if colon and password and _USER.fullmatch(user) else None
        if shown is None and quoted and self._says_password():
            shown = masker._hide(word)
        if shown is None:
            if quoted and (kind == "script" or first or self._remote) and re.search(r"[\s;&|<>()]", word):
                shown = masker.line(word, self._depth + 1)
            else:
                shown = masker.word(word, self._depth)
        self._look_ahead(bare, kind)
        return shown

    def _says_password(self) -> bool:
        """`PASSWORD '...'` and `IDENTIFIED BY '...'`, as SQL has it."""
        last = self._last[-1].lower() if self._last else ""
        return last == "password" or (last == "by" and self._last[0].lower() == "identified")

    def _attached(self, word: str) -> str | None:
        """An option with its value in one word, `-pPASSWORD`."""
        flag = word[:2]
        if len(word) <= 2 or flag not in self._options or word[2:3] == "=":
            return None
        if self._options[flag] == _OF_USER:
            user, colon, password = word.partition(":")
            return f"{user}{colon}{self._masker._hide(password)}"
        return flag + self._masker._hide(word[2:])

    def _look_ahead(self, bare: str, kind: str) -> None:
        masker = self._masker
        command = bare.rpartition("/")[2]
        if masker.everywhere and command in _COMMANDS:
            self._options = {**self._options, **_COMMANDS[command]}
        if command in _SCRIPT_WORDS:
            self._remote = True
        if self._chpasswd and command in ("echo", "printf"):
            self._pairs = True
        how = self._options.get(bare)
        if how is not None:
            self._next = how or "secret"
        elif _SCRIPT_FLAG.fullmatch(bare) or (kind == "script" and bare == "--"):
            self._next = "script"
        else:
            name = bare.lstrip("-").rstrip(":")
            if bare in ("=", ":=", "=>"):
                name = self._last[-1] if self._last else ""
            elif not (_OPTION.fullmatch(bare) or (bare.endswith(":") and len(bare) > 1) or self._last[-1:] == ["set"]):
                name = ""
            self._next = "secret" if name and masker.named(name) else ""
        self._last = [*self._last[-1:], bare]


class _Line:
    """A line read as a shell reads it, by one position that only moves on."""

    def __init__(self, masker: Masker, text: str, depth: int) -> None:
        self._masker = masker
        self._text = text
        self._depth = depth
        self._chpasswd = masker.everywhere and "chpasswd" in text

    def read(self, at: int, stop: str, depth: int = 0) -> tuple[str, int]:
        """The line from a position to the character that ends it, as it is shown, and where that is (or the text's end)."""
        text, end = self._text, len(self._text)
        words = _Words(self._masker, self._depth + depth, pairs=self._chpasswd)
        shown: list[str] = []
        while at < end:
            character = text[at]
            if stop and character == stop:
                return "".join(shown), at
            operator = _OPERATOR.match(text, at)
            if operator is not None:
                if character == "(" and depth + self._depth < _DEPTH:
                    inner, at = self.read(at + 1, ")", depth + 1)
                    shown += ["(", inner, text[at : at + 1]]
                    at += 1
                else:
                    shown.append(operator[0])
                    at = operator.end()
                words.restart()
                continue
            blank = _BLANK.match(text, at)
            if blank is not None:
                shown.append(blank[0])
                at = blank.end()
                continue
            if character in "<>":
                shown.append(character)
                at += 1
                continue
            raw, cooked, quoted, at = self._word(at, stop, depth)
            masked = words.next(cooked, quoted=quoted)
            shown.append(raw if masked == cooked else _quoted(masked))
        return "".join(shown), at

    def _word(self, at: int, stop: str, depth: int) -> tuple[str, str, bool, int]:
        """A word as it is written, as the shell takes it, whether any of it was quoted, and where it ends."""
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
        """The inside of double quotes and their end."""
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
        """`$NAME`, `${...}`, `$(...)` or backquotes: as written, without secrets, and as it stands in the word."""
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
        """`${NAME}`, or with a default, which is a word of its own."""
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
    """A word of which something is hidden, in quotes again where it needs them."""
    bare = _KEPT.sub("", word)
    if re.search(r"[\s;&|<>()'\"]", bare) is None:
        return word
    return f"'{word}'" if '"' in bare and "'" not in bare else '"' + word.replace('"', '\\"') + '"'


__all__ = ["MASK", "Masker", "secret_parameter"]
