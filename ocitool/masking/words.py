"""Masks the words of a command one after the other."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ocitool.masking import commands
from ocitool.masking.commands import APART, COOKIE, HEADER, LIST, LOGIN, PROXY, SCRIPT, SECRET, USER
from ocitool.masking.search import hide_urls
from ocitool.masking.worth import worth
from ocitool.patterns import pattern

if TYPE_CHECKING:
    from ocitool.masking.lines import Masker

_SCHEME = frozenset({"basic", "bearer", "token", "digest", "apikey"})
_OPTION = pattern(r"--?[A-Za-z][A-Za-z0-9_.-]*+")
_SCRIPT_FLAG = pattern(r"-[A-Za-z]*c|/[cC]|-(?i:command|e|E|S)|--(?:command|eval|exec|split-string|init-command)|CMD-SHELL")
_SCRIPT_WORDS = frozenset({"eval", "ssh", "watch", "trap", "su", "runuser"})
_EQUALS = frozenset({"=", ":=", "=>", "==", "!=", "=~"})
_SAYS = frozenset({"echo", "printf", "yes"})
_PASSES = frozenset({"cat", "tee", "tr", "sed", "head", "tail", "base64"})
"""Commands that print what they read."""
_SETS = frozenset({"set", "setx"})
_WATCHED = _SCRIPT_WORDS | _EQUALS | _SAYS | _PASSES | _SETS
_NO_VALUE = pattern(r"--[a-z][a-z0-9-]*+(?:=|\Z)|#\Z")
_MOUNT = pattern(r"(?:id|type|source|src|env|target|dst)=")
"""Options of `--mount=type=secret`, which name a secret but do not have its value."""
_FIELD = pattern(r"X?[A-Za-z][A-Za-z0-9_-]*+:\s*+(?:(?i:basic|bearer|token|digest|apikey)\s++)?")
_ORDINARY = pattern(r"[A-Za-z0-9_./@%+,=][A-Za-z0-9_./@%+,=-]*+")
"""Words that are neither options nor contain another word."""
_USER = pattern(r"[A-Za-z_\ufdd0-\ufdd1][\w.\ufdd0-\ufdd1-]*+")
_ITEM = pattern(r",(?=[A-Za-z_][A-Za-z0-9_.\[\]-]*+=)")
_PAIR = pattern(r"([^;=]*+=)([^;]++)")


class Words:
    """The state while the words of a command are read: the kind of a word depends on those before it."""

    def __init__(self, masker: Masker, depth: int, *, pairs: bool = False, document: bool = False) -> None:
        self._masker = masker
        self._depth = depth
        self._chpasswd = pairs
        """The text has a chpasswd: words of echo and printf count as its `user:password`."""
        self._document = document
        """The text has here-documents: lines may be such `user:password` themselves."""
        self.restart()

    def restart(self) -> None:
        """Forgets the command, since another one begins."""
        self._options: dict[str, str] = {}
        self._places: dict[int, str] = {}
        """Kinds of the arguments of the command, by their number; 0: all."""
        self._possible: tuple[commands.Position, ...] = ()
        """Positions that apply if a certain subcommand follows."""
        self._valued: frozenset[str] = frozenset()
        self._count = 0
        self._next = ""
        """The kind of the next word, empty for an ordinary one."""
        self._last: list[str] = []
        self._remote = self._pairs = self._curl = self._sudo = False
        self.says: bool = False
        """The command prints its words, as echo does."""
        self.passes: bool = False
        """The command prints what it reads, as cat does."""
        self.reads: bool = False
        """The command reads a password from standard input."""

    def next(self, word: str, *, first: bool = False, quoted: bool = True) -> str:
        """Returns the next word, masked. `first`: the first of a list, which may be a shell command; `quoted`: it may be
        one too."""
        masker, kind = self._masker, self._next
        special: object = kind or first or self._options or self._remote or not masker.everywhere or self.says_password()
        special = special or self._places or self._possible or (self._document and not self._last)
        if not special and _ORDINARY.fullmatch(word) and not worth(word) and word not in _WATCHED:
            self._last = [*self._last[-3:], word]
            return word
        bare = word.strip("[]{}(),&")
        self._next = ""
        if kind in (SECRET, APART) and bare.lower() in _SCHEME:
            self._next = kind
            return word
        if kind and kind != SCRIPT and not (kind in (SECRET, APART) and (_NO_VALUE.match(word) or _MOUNT.match(word))):
            return self._as(kind, word)
        shown = self._attached(word)
        if shown is None:
            shown = self._placed(word, bare)
        if shown is None and ((self._pairs and self._last) or (self._document and not self._last)) and bare[:1] != "-":
            user, colon, password = word.partition(":")
            shown = f"{user}:{masker._hide(password)}" if colon and password and _USER.fullmatch(user) else None
        if shown is None and quoted and self.says_password():
            shown = masker._hide(word)
        if shown is None:
            if quoted and (kind == SCRIPT or first or self._remote) and re.search(r"[\s;&|<>()`]", word):
                shown = masker.line(word, self._depth + 1)
            else:
                shown = masker.word(word, self._depth)
        self._look_ahead(bare, kind)
        return shown

    def _as(self, kind: str, word: str) -> str:
        """Masks a word of a kind."""
        masker = self._masker
        if kind in (SECRET, APART):
            return masker._hide(word)
        if kind == USER and "://" not in word:
            user, colon, password = word.partition("%" if "%" in word and ":" not in word else ":" if ":" in word else ",")
            return f"{user}{colon}{masker._hide(password)}" if colon else masker._anywhere(word)
        if kind == LOGIN:
            user, slash, rest = word.partition("/")
            password, at, place = rest.rpartition("@") if "@" in rest else (rest, "", "")
            return f"{user}{slash}{masker._hide(password)}{at}{place}" if slash and user else masker._anywhere(word)
        if kind == HEADER:
            found = _FIELD.match(word)
            if found is not None and masker.named(word.partition(":")[0]):
                return found[0] + masker._hide(word[found.end() :])
        if kind == COOKIE and "=" in word:
            return _PAIR.sub(lambda found: found[1] + masker._hide(found[2]), word)
        if kind == PROXY and "://" not in word and "@" in word:
            return hide_urls(f"://{word}", masker._hide)[3:]
        if kind == LIST and "=" in word:
            return ",".join(masker.word(item, self._depth) for item in _ITEM.split(word))
        if kind == SCRIPT:
            return masker.line(word, self._depth + 1)
        return masker.word(word, self._depth)

    def _placed(self, word: str, bare: str) -> str | None:
        """Masks a word that is a secret by its position; returns None for any other."""
        if bare[:1] in ("-", "/") and len(bare) > 1 and not (bare[0] == "/" and self._places.keys() - {0}):
            if 3 in self._places and "n" in bare and not bare.startswith("--"):
                self._places = {2: SECRET}  # htpasswd without a file
            if bare in self._valued or (bare[:2] != "--" and "-" + bare[-1] in self._valued):
                self._count -= 1
            return None
        for possible in self._possible:
            if possible.subcommand is not None and possible.subcommand.fullmatch(bare):
                self._places, self._possible, self._count = {possible.number: possible.kind}, (), 0
                return None
        if not self._places:
            return None
        self._count += 1
        if word == "-":
            self.reads = True
            return None
        kind = self._places.get(self._count, self._places.get(0))
        return self._as(kind, word) if kind is not None else None

    def says_password(self) -> bool:
        """Returns whether the next word is a password by the words before: `PASSWORD '...'` and `IDENTIFIED BY '...'` of
        SQL."""
        last = self._last[-1].lower() if self._last else ""
        if last == "password":
            return self._last[-2:-1] not in (["-u"], ["--unset"])  # `env -u PASSWORD`: the next word is a command
        return last == "by" and any(one.lower() == "identified" for one in self._last)

    def _attached(self, word: str) -> str | None:
        """Masks an option with its value in one word, `-pPASSWORD` or `--user=me:PASSWORD`; returns None for any other
        word."""
        name, equals, rest = word.partition("=")
        if equals and name.startswith("--"):
            kind = self._options.get(name) or (commands.ANYWHERE.get(name) if self._masker.everywhere else None)
            return f"{name}={self._as(kind, rest)}" if kind else None
        start = self._cluster(word)
        flag = "-" + word[start : start + 1]
        kind = self._options.get(flag)
        if kind is None or kind == APART or len(word) <= start + 1 or (word[start + 1] == "=" and kind == SECRET):
            return None
        return word[: start + 1] + self._as(kind, word[start + 1 :])

    def _cluster(self, word: str) -> int:
        """Returns the position of the option with a value in a word of several options."""
        found = commands.CLUSTER.match(word) if self._curl else None
        return found.end() if found is not None else 1 if word[:1] == "-" and word[1:2] != "-" else len(word)

    def _look_ahead(self, bare: str, kind: str) -> None:
        """Derives the kind of the next word from this one."""
        masker = self._masker
        command = bare.rpartition("/")[2]
        if masker.everywhere:
            self._command(command if command in commands.OPTIONS or command in commands.POSITIONS else command.lower(), bare)
        if command in _SCRIPT_WORDS:
            self._remote = True
        self.passes = self.passes or command in _PASSES
        if command in _SAYS:
            self.says = True
            self._pairs = self._chpasswd
        how = self._options.get(bare) or (commands.ANYWHERE.get(bare) if masker.everywhere else None)
        start = self._cluster(bare)
        if how is None and len(bare) == start + 1:
            how = self._options.get("-" + bare[start:])
        if how is not None:
            self._next = how
        elif (_SCRIPT_FLAG.fullmatch(bare) and not self.says) or (kind == SCRIPT and bare == "--"):
            self._next = SCRIPT
        else:
            name = bare.lstrip("-").rstrip(":")
            if bare in _EQUALS:
                name = masker._restored(self._last[-1]).strip('"${}') if self._last else ""
            elif _SETS.isdisjoint(self._last[-1:]) and not (_OPTION.fullmatch(bare) or (bare.endswith(":") and len(bare) > 1)):
                name = ""
            self._next = SECRET if name and masker.named(name) else ""
        self._last = [*self._last[-3:], bare]

    def _command(self, name: str, bare: str) -> None:
        """Sets the kinds of options and arguments of a command."""
        if name in commands.OPTIONS:
            self._options = {**self._options, **commands.OPTIONS[name]}
            self._curl = self._curl or name == "curl"
        if name in commands.POSITIONS and not self._places:
            self._possible = commands.POSITIONS[name]
            self._valued = commands.VALUED.get(name, frozenset())
            self._places = {one.number: one.kind for one in self._possible if one.subcommand is None}
            self._count = 0
        self._sudo = self._sudo or name == "sudo"
        if bare in commands.STDIN or name in commands.STDIN or (bare == "-S" and self._sudo):
            self.reads = True
