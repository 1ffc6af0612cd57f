"""Masks secrets in the values of documents: settings, histories, labels."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

from ocitool.masking.lines import Masker
from ocitool.masking.names import tells_about
from ocitool.patterns import pattern

_REVEALED: ContextVar[bool] = ContextVar("revealed", default=False)


@contextmanager
def revealed() -> Iterator[None]:
    """Turns masking off in its block."""
    before = _REVEALED.set(True)
    try:
        yield
    finally:
        _REVEALED.reset(before)


def variable(name: str, value: str) -> str:
    """Returns the value of a variable or label, masked by its name."""
    return value if _REVEALED.get() else _variable(Masker(), name, value)


def text(text: str) -> str:
    """Returns a text of any kind, masked."""
    return text if _REVEALED.get() else _text(Masker(), text)


def instruction(line: str) -> str:
    """Returns an instruction of a history, masked."""
    return line if _REVEALED.get() else _remembered(line)


@lru_cache(64)
def _remembered(line: str) -> str:
    return _instruction(Masker(), line)


def value(value: Any, name: str = "") -> Any:
    """Returns a JSON value of a document, masked. `name`: the name of its key."""
    return value if _REVEALED.get() else _value(Masker(), value, name)


def changed_secret(before: Any, after: Any, name: str = "") -> bool:
    """Returns whether two values differ in masked parts, or differ but look the same when masked."""
    if _REVEALED.get():
        return False
    one, other = Masker(), Masker()
    same = _value(one, before, name) == _value(other, after, name) and before != after
    return same or any(a != b for a, b in zip(one.hidden, other.hidden, strict=False))


# With a masker, which decides what is secret: also for `edit --redact`


def masked(masker: Masker, fields: Any, name: str = "") -> Any:
    """Returns a JSON value masked by the given masker."""
    return _value(masker, fields, name)


def _variable(masker: Masker, name: str, value: str) -> str:
    return masker.value(value) if masker.named(name) else _text(masker, value)


def _text(masker: Masker, text: str) -> str:
    """Masks a text of any kind: JSON, `NAME=value NAME=value` without quotes, or what `Masker.text` reads."""
    if masker.everywhere:
        if text.lstrip()[:1] in ("{", "["):
            return _json(masker, text)
        found = _PAIR.match(text)
        if found is not None and masker.named(found["name"].strip('"')) and _RUNS.search(text) is None:
            return _pairs(masker, text)
    return masker.text(text)


def _json(masker: Masker, text: str) -> str:
    """Masks JSON in a text member by member; it is written anew only if something in it is masked."""
    import json

    before = len(masker.hidden)
    try:
        value = json.loads(text)
        shown = _value(masker, value, "")
        return text if shown == value else json.dumps(shown, ensure_ascii=False)
    except (ValueError, RecursionError):
        del masker.hidden[before:]
        return masker.text(text)


def _value(masker: Masker, value: Any, name: str) -> Any:
    """Masks a JSON value by the name of its key."""
    if isinstance(value, str):
        if name in ("created_by", "OnBuild"):
            return _instruction(masker, value)
        return _variable(masker, name, value)
    if isinstance(value, list):
        if name.lower() == "env":
            return [_pair(masker, item) for item in value]
        if name == "OnBuild":
            return [_value(masker, item, name) for item in value]
        if value and all(isinstance(item, str) for item in value) and not masker.named(name):
            if len(value) > 1 and value[-2].startswith("#(nop)"):  # a record of docker's classic builder, in two words
                return [*value[:-1], _instruction(masker, value[-1])]
            return masker.words(value)
        return [_value(masker, item, name) for item in value]
    if isinstance(value, dict) and masker.everywhere:
        pair_name = value.get("name", value.get("key"))
        pair_name = pair_name if isinstance(pair_name, str) and "value" in value else ""
        return {_key(masker, key): _value(masker, item, _name_of(masker, name, pair_name, key)) for key, item in value.items()}
    if isinstance(value, dict):
        return {_key(masker, key): _value(masker, item, key if isinstance(key, str) else name) for key, item in value.items()}
    if masker.named(name) and isinstance(value, int | float) and not isinstance(value, bool):
        return masker.value(str(value))
    return value


def _name_of(masker: Masker, name: str, pair_name: str, key: Any) -> str:
    """Returns the name by which a member is masked: its own key; in `{"name": ..., "value": ...}` that name; or the name of
    the whole object if that is secret."""
    if key == "value" and pair_name and masker.named(pair_name):
        return pair_name
    if not isinstance(key, str):
        return name
    return name if masker.named(name) and not masker.named(key) and not tells_about(key) and key != "Env" else key


def _key(masker: Masker, key: Any) -> Any:
    return masker.text(key) if isinstance(key, str) and masker.everywhere else key


def _pair(masker: Masker, item: Any) -> Any:
    if not isinstance(item, str):
        return _value(masker, item, "")
    name, equals, rest = item.partition("=")
    return f"{name}={_variable(masker, name, rest)}" if equals else masker.text(item)


_ASSIGNING = pattern(r"(?P<head>\s*+(?:/bin/sh -c )?(?:#\(nop\)\s++)?(?:ONBUILD\s++)?(?P<what>ENV|ARG|LABEL)\s++)")
"""Instructions in capitals, as builders write them; `env` is a command."""
_ARGUMENTS = pattern(r"(?P<head>\s*+(?:RUN\s++)?\|(?P<count>[0-9]{1,4})\s++)")
_RUN = pattern(r"(?P<head>\s*+(?:RUN\s++)?(?:/\S*+\s++)(?:-\S+\s++|pipefail\s++){0,5}?-[A-Za-z]*c\s++)(?![\"'])", re.IGNORECASE)
_WORDS = pattern(
    r"(?P<head>\s*+(?:/bin/sh -c )?(?:#\(nop\)\s++)?(?:ONBUILD\s++)?(?:CMD|ENTRYPOINT|SHELL|RUN|HEALTHCHECK)\s[^\[\"']*+)"
    r"(?P<words>\[(?:\s*+\"(?:[^\"\\]++|\\.)*+\"\s*+,?+)*+\s*+\])",
    re.IGNORECASE | re.DOTALL,
)
"""An instruction with a list, in JSON or, as builders write it, without commas."""
_STRING = pattern(r"\"(?:[^\"\\]++|\\.)*+\"", re.DOTALL)
_PAIR = pattern(r"(?:(?<=\s)|\A)(?P<name>\"?[A-Za-z_][A-Za-z0-9_.-]*+\"?)=")
_SURE = pattern(r"[A-Z_][A-Z0-9_]*+|[A-Za-z][A-Za-z0-9_-]*+(?:\.[A-Za-z0-9_-]++)++")
_RUNS = pattern(r"[;&|<>$`()'\"\\\n]|\s[-/.]|=\s|://")
"""`_SURE`: names that begin another variable even after a secret, whose value may contain spaces and `=`."""
_SHELL = pattern(
    r"\s(?=/\S++(?:\s++-\S+){0,5}?\s++-[A-Za-z]*c\s|(?:/\S*/)?(?:ba|da|a|z|k)?sh(?:\s+-\S+|\s+pipefail)*\s+-[A-Za-z]*c\s|(?:\S*\\)?(?:cmd|powershell|pwsh)(?:\.exe)?\s"
    r"|/bin/sh\s|RUN\s)",
    re.IGNORECASE,
)


def _instruction(masker: Masker, line: str) -> str:
    """Masks an instruction by its kind: assignments, a list, build arguments with a script, or a script."""
    found = _ASSIGNING.match(line)
    if found is not None:
        return found["head"] + _pairs(masker, line[found.end() :])
    listed = _WORDS.match(line)
    if listed is not None:
        return listed["head"] + _listed(masker, listed["words"]) + masker.line(line[listed.end() :])
    found = _ARGUMENTS.match(line)
    if found is None:
        return _script(masker, line)
    rest = line[found.end() :]
    shell = _SHELL.search(rest)
    end = shell.start() if shell else len(rest)
    return found["head"] + _pairs(masker, rest[:end], int(found["count"])) + _script(masker, rest[end:])


def _script(masker: Masker, line: str) -> str:
    """Masks a command that a history has after `/bin/sh -c` without quotes: the script is the rest of the line."""
    found = _RUN.match(line)
    return found["head"] + masker.line(line[found.end() :]) if found is not None else masker.line(line)


def _listed(masker: Masker, text: str) -> str:
    """Masks the words of a list in an instruction; all else in it stays as it is."""
    import json

    written = _STRING.findall(text)
    words = []
    for word in written:
        try:
            words.append(str(json.loads(word, strict=False)))
        except ValueError:
            words.append(word[1:-1])
    masked = masker.words(words)
    pairs = zip(written, words, masked, strict=True)
    shown = iter([old if word == hidden else json.dumps(hidden, ensure_ascii=False) for old, word, hidden in pairs])
    return _STRING.sub(lambda _: next(shown), text)


def _pairs(masker: Masker, text: str, count: int | None = None) -> str:
    """Masks `NAME=value NAME=value` of a history, which has no quotes, so that the end of a value has to be guessed. A
    secret value ends where another variable surely begins; if there are more names than `count`, at the end of the text."""
    starts = list(_PAIR.finditer(text))
    if not starts or starts[0].start() != 0:
        name, blank, rest = text.partition(" ")
        return f"{name}{blank}{masker.value(rest)}" if blank and masker.named(name) and not starts else masker.line(text)
    counted = count is not None and len(starts) == count
    shown: list[str] = []
    at = 0
    while at < len(starts):
        found = starts[at]
        secret = masker.named(found["name"].strip('"'))
        at += 1
        end_of_quotes = _end_of_quotes(text, found.end())
        while at < len(starts) and (
            starts[at].start() < end_of_quotes
            or (secret and not counted and (count is not None or not _SURE.fullmatch(starts[at]["name"])))
        ):
            at += 1
        end = starts[at].start() if at < len(starts) else len(text)
        value = text[found.end() : end]
        kept = value[len(value.rstrip()) :]
        value = value.rstrip()
        shown += [found[0], masker.value(value) if secret else masker.text(value), kept]
    return "".join(shown)


def _end_of_quotes(text: str, at: int) -> int:
    quote = text[at : at + 1]
    if quote not in ('"', "'") or not quote:
        return at
    shut = text.find(quote, at + 1)
    return shut + 1 if shut >= 0 else at
