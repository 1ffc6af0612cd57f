"""Edits of an image's configuration: the wanted settings as a value, and pure functions from documents to documents.

Sources: image-spec config.md and annotations.md; for spellings that Docker allows beyond it, its Dockerfile reference.

Every edit is idempotent. A setting that has the wanted value already changes nothing, not a byte: if the fields come
back equal, the caller keeps the raw document. Unknown fields and the order of keys survive, and fields that no setting
is about may have any type. A list or object that loses its last member is removed; one that was empty before stays.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from ocitool.errors import FormatError, UsageError

Pairs = tuple[tuple[str, str], ...]
Command = tuple[str, ...] | str
"""A command as words, or as one line for the image's shell."""


class Settings(NamedTuple):
    """The wanted settings, as `parse` makes them. None leaves a setting alone; an empty `user`, `workdir` or
    `stop_signal` removes it.

    `annotations` belong to the manifest, everything else to the configuration.
    """

    env: Pairs = ()
    unset_env: tuple[str, ...] = ()
    labels: Pairs = ()
    unset_labels: tuple[str, ...] = ()
    annotations: Pairs = ()
    unset_annotations: tuple[str, ...] = ()
    cmd: Command | None = None
    unset_cmd: bool = False
    entrypoint: Command | None = None
    unset_entrypoint: bool = False
    user: str | None = None
    workdir: str | None = None
    expose: tuple[str, ...] = ()
    unset_expose: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    unset_volumes: tuple[str, ...] = ()
    unset_healthcheck: bool = False
    stop_signal: str | None = None
    created: str | None = None

    def __bool__(self) -> bool:
        """Returns whether any setting is wanted."""
        return tuple(self) != tuple(Settings())


# From arguments to settings


class Setting(NamedTuple):
    """A setting as the command line has it.

    - field: of `Settings`.
    - option: the option that sets it, in one form or two; metavar: None if it takes no argument; many: it may be given
      several times.
    - parse: a function from the option and its argument, or arguments, to the field's value; raises `UsageError`.
    - clashes: the field that sets what this one removes.
    - named: a function from a value of either field to the names that it sets or removes.
    """

    field: str
    option: tuple[str, ...]
    metavar: str | None
    help: str
    parse: Callable[[str, Any], Any]
    many: bool = False
    clashes: str | None = None
    named: Callable[[Any], Iterable[str]] = iter


def parse(**words: Any) -> Settings:
    """Returns the settings that arguments of a command line ask for, by field. A field that is missing, None or empty
    is left alone; an empty text is not.

    Raises `UsageError` for an invalid or contradictory argument.
    """
    given = {one.field: words.pop(one.field, None) for one in SETTINGS}
    assert not words, words
    asked = {
        one.field: one.parse(one.option[0], given[one.field])
        for one in SETTINGS if given[one.field] not in (None, False, [], ())
    }  # fmt: skip
    made = Settings(**asked)
    for one in SETTINGS:
        if one.clashes is not None and one.field in asked and one.clashes in asked:
            both = set(one.named(asked[one.clashes])) & set(one.named(asked[one.field]))
            if both:
                flag = one.option[0]
                raise UsageError(f"{flag.replace('--unset-', '--')} and {flag} ask for both at once", min(both) or None)
    return made


def parse_time(text: str) -> str:
    """Returns a time in the form of configurations (RFC 3339), from that form or from `@` and seconds since the epoch.
    Raises `UsageError`."""
    hint = "as in 2024-05-01T12:00:00Z, or @1714564800 (seconds since the epoch)"
    if re.fullmatch(r"@-?[0-9]{1,12}", text, re.ASCII):
        try:
            return datetime.fromtimestamp(int(text[1:]), UTC).strftime("%Y-%m-%dT%H:%M:%SZ").rjust(20, "0")
        except (ValueError, OverflowError, OSError):
            raise UsageError(f"{text} is no time", hint=hint) from None
    found = re.fullmatch(r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:\d\d)(?:\.\d+)?([Zz]|[+-]\d\d:\d\d)", text, re.ASCII)
    try:
        if found is None:
            raise ValueError
        datetime.fromisoformat(f"{found[1]}T{found[2]}{found[3].replace('z', 'Z')}")
    except ValueError:
        raise UsageError(f"{text} is no time", hint=hint) from None
    return text.upper()


def _text(flag: str, text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{flag}: a document holds text, and this is not UTF-8", text) from None
    return text


def _pairs(flag: str, words: Sequence[str]) -> Pairs:
    found = []
    for word in words:
        key, equals, value = _text(flag, word).partition("=")
        if not key or not equals:
            raise UsageError(f"{flag} {word}: no {'value' if key else 'name'}", hint=f"{flag} NAME=VALUE")
        found.append((key, value))
    return tuple(found)


def _names(flag: str, words: Sequence[str]) -> tuple[str, ...]:
    for word in words:
        if not _text(flag, word):
            raise UsageError(f"{flag}: an empty name")
        if flag == "--unset-env" and "=" in word:
            raise UsageError(f"{flag} {word.partition('=')[0]}=...: a name has no value", hint=f"{flag} NAME")
    return tuple(words)


def _command(flag: str, text: str) -> Command:
    """Parses a JSON array of words, else takes the text as a line for the shell.

    A text that looks like an array and is invalid is an error: Docker takes it for a line, and the container then fails
    to start.
    """
    bare = _text(flag, text).strip()
    if not bare:
        raise UsageError(f"{flag}: an empty command", hint=f"--unset-{flag[2:]} removes it; {flag} '[]' sets it to nothing")
    if not bare.startswith("["):
        return text
    try:
        words = json.loads(bare)
    except (ValueError, RecursionError):
        words = None
    if isinstance(words, list) and all(isinstance(word, str) for word in words):
        return tuple(_text(flag, word) for word in words)
    if words is not None or re.match(r"""\[\s*["'\]]""", bare):
        raise UsageError(f"{flag} {text}: not a JSON array of strings", hint=f"""{flag} '["/app", "--serve"]'""")
    return text  # `[ -e /x ] && ...`


def _user(flag: str, text: str) -> str:
    if text and not re.fullmatch(r"[^:\s]+(:[^:\s]+)?", _text(flag, text)):
        raise UsageError(f"{flag} {text}: invalid user", hint=f"{flag} NAME, UID, or either with :GROUP")
    return text


def _directory(flag: str, text: str) -> str:
    if text and not re.match(r"/|[A-Za-z]:[\\/]", _text(flag, text)):
        raise UsageError(f"{flag} {text}: not an absolute path", hint=f"{flag} /{text}")
    return text


def _volumes(flag: str, words: Sequence[str]) -> tuple[str, ...]:
    if not all(words):
        raise UsageError(f"{flag}: an empty path")
    return tuple(_directory(flag, text) for text in words)


def _signal(flag: str, text: str) -> str:
    if text and not re.fullmatch(r"[0-9]{1,3}|(SIG)?[A-Za-z][A-Za-z0-9]*([+-][0-9]{1,2})?", text, re.ASCII):
        raise UsageError(f"{flag} {text}: invalid signal", hint=f"{flag} SIGTERM, or a number")
    return text


def _port(flag: str, text: str) -> str:
    """Returns a port in the form `80/tcp` or `8000-8010/udp`; a port without protocol is TCP, as Docker writes it."""
    found = re.fullmatch(r"(\d{1,5})(?:-(\d{1,5}))?(?:/(tcp|udp|sctp))?", text.lower(), re.ASCII)
    if found is None or not 0 < int(found[1]) <= int(found[2] or found[1]) < 1 << 16:
        raise UsageError(f"{flag} {text}: invalid port", hint=f"{flag} 80, 53/udp, or 8000-8010/tcp")
    last = f"-{int(found[2])}" if found[2] and int(found[2]) != int(found[1]) else ""
    return f"{int(found[1])}{last}/{found[3] or 'tcp'}"


def _flag(flag: str, given: bool) -> bool:
    return given


def _moment(flag: str, text: str) -> str:
    return parse_time(text)


def _exposed(flag: str, words: Sequence[str]) -> tuple[str, ...]:
    return tuple(_port(flag, text) for text in words)


def _keys(value: Sequence[str | tuple[str, str]]) -> Iterator[str]:
    """Yields names, which stand alone or before a value."""
    return (one if isinstance(one, str) else one[0] for one in value)


def _whole(value: object) -> Iterator[str]:
    """Yields one name for a setting that has a single value."""
    yield ""


SETTINGS = (
    Setting("env", ("--env", "-e"), "K=V", "Set a variable.", _pairs, many=True),
    Setting("unset_env", ("--unset-env",), "K", "Remove a variable.", _names, many=True, clashes="env", named=_keys),
    Setting("labels", ("--label", "-l"), "K=V", "Set a label.", _pairs, many=True),
    Setting("unset_labels", ("--unset-label",), "K", "Remove a label.", _names, many=True, clashes="labels", named=_keys),
    Setting("annotations", ("--annotation",), "K=V", "Set an annotation of the manifest.", _pairs, many=True),
    Setting(
        "unset_annotations", ("--unset-annotation",), "K", "Remove an annotation.", _names, many=True, clashes="annotations",
        named=_keys,
    ),
    Setting("cmd", ("--cmd",), "JSON|LINE", "What runs: a JSON array, else a line for the shell.", _command),
    Setting("unset_cmd", ("--unset-cmd",), None, "Remove the command.", _flag, clashes="cmd", named=_whole),
    Setting("entrypoint", ("--entrypoint",), "JSON|LINE", "What always runs; the command is left as it is.", _command),
    Setting(
        "unset_entrypoint", ("--unset-entrypoint",), None, "Remove the entrypoint.", _flag, clashes="entrypoint", named=_whole
    ),
    Setting("user", ("--user",), "USER[:GROUP]", "Who runs it; '' removes.", _user),
    Setting("workdir", ("--workdir",), "PATH", "Where it runs; '' removes.", _directory),
    Setting("expose", ("--expose",), "PORT[/PROTO]", "Add a port, or a range of them.", _exposed, many=True),
    Setting(
        "unset_expose", ("--unset-expose",), "PORT[/PROTO]", "Remove ports.", _exposed, many=True, clashes="expose",
        named=lambda ports: _ports(ports),
    ),
    Setting("volumes", ("--volume",), "PATH", "Declare a volume.", _volumes, many=True),
    Setting(
        "unset_volumes", ("--unset-volume",), "PATH", "Remove a volume.", _volumes, many=True, clashes="volumes",
        named=lambda paths: map(_canonical_volume, paths),
    ),
    Setting("unset_healthcheck", ("--unset-healthcheck",), None, "Remove the health check.", _flag),
    Setting("stop_signal", ("--stop-signal",), "SIGNAL", "What ends it; '' removes.", _signal),
    Setting("created", ("--created",), "TIME", "RFC 3339, or @SECONDS.", _moment),
)  # fmt: skip
"""Every setting once: options, help and parsing come from here."""


# From documents to documents


def apply(fields: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """Returns a configuration with the settings applied. Raises `FormatError` if a field that must change has a wrong
    type."""
    stated = fields.get("config")
    section = dict(_typed(fields, "config", dict, "an object"))
    windows = fields.get("os") == "windows"
    _environment(section, settings.env, settings.unset_env, windows)
    _edit_mapping(section, "Labels", dict(settings.labels), settings.unset_labels)
    _edit_set(section, "ExposedPorts", list(_ports(settings.expose)), list(_ports(settings.unset_expose)), _canonical_port)
    _edit_set(section, "Volumes", settings.volumes, settings.unset_volumes, _canonical_volume)
    for key, command, unset in (
        ("Cmd", settings.cmd, settings.unset_cmd),
        ("Entrypoint", settings.entrypoint, settings.unset_entrypoint),
    ):
        if command is not None:
            words = [*_shell_words(section, windows), command] if isinstance(command, str) else list(command)
            if windows and words != section.get(key):
                # It tells a Windows runtime not to quote the words when it joins them: right for a line for the shell only.
                section.pop("ArgsEscaped", None)
                if isinstance(command, str):
                    section["ArgsEscaped"] = True
            section[key] = words
        elif unset and section.get(key) is not None:
            del section[key]
    for key, text in (("User", settings.user), ("WorkingDir", settings.workdir), ("StopSignal", settings.stop_signal)):
        if text:
            section[key] = text
        elif text == "" and section.get(key):
            del section[key]
    if settings.unset_healthcheck and section.get("Healthcheck") is not None:
        del section["Healthcheck"]
    edited = dict(fields)
    if section != (stated or {}):
        edited["config"] = section
    if settings.created is not None:
        edited["created"] = settings.created
    return edited


def annotate(fields: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """Returns a manifest with the annotations applied."""
    edited = dict(fields)
    _edit_mapping(edited, "annotations", dict(settings.annotations), settings.unset_annotations)
    return edited


def describe(settings: Settings) -> str:
    """Returns the command for a history entry: names without values, which the history would keep after the settings
    were removed."""
    words = ["ocitool edit"]
    for flag, pairs in (("env", settings.env), ("label", settings.labels), ("annotation", settings.annotations)):
        words += [f"--{flag} {key}" for key, _ in pairs]
    for flag, names in (
        ("unset-env", settings.unset_env), ("unset-label", settings.unset_labels),
        ("unset-annotation", settings.unset_annotations), ("expose", settings.expose),
        ("unset-expose", settings.unset_expose), ("volume", settings.volumes), ("unset-volume", settings.unset_volumes),
    ):  # fmt: skip
        words += [f"--{flag} {name}" for name in names]
    for flag, asked in (
        ("cmd", settings.cmd is not None), ("unset-cmd", settings.unset_cmd),
        ("entrypoint", settings.entrypoint is not None), ("unset-entrypoint", settings.unset_entrypoint),
        ("unset-healthcheck", settings.unset_healthcheck),
    ):  # fmt: skip
        words += [f"--{flag}"] if asked else []
    for flag, text in (
        ("user", settings.user), ("workdir", settings.workdir), ("stop-signal", settings.stop_signal),
        ("created", settings.created),
    ):  # fmt: skip
        words += [f"--{flag} {text or repr('')}"] if text is not None else []
    return " ".join(words)


# What the user should know


def nothing_to_unset(fields: Mapping[str, Any], manifest: Mapping[str, Any], settings: Settings) -> list[str]:
    """Returns one sentence for each setting that was to be removed and is not set. For documents that `apply` and
    `annotate` accepted."""
    section = _typed(fields, "config", dict, "an object")
    windows = fields.get("os") == "windows"

    def absent(
        what: str, wanted: Sequence[str], there: Iterable[str], same: Callable[[str], str] = lambda name: name
    ) -> Iterator[str]:
        held = set(map(same, there)) if wanted else ()
        return (f"no {what} {name} to unset" for name in wanted if same(name) not in held)

    found = [
        *absent("variable", settings.unset_env, section.get("Env") or (), lambda line: _variable_name(line, windows)),
        *absent("label", settings.unset_labels, section.get("Labels") or ()),
        *absent("annotation", settings.unset_annotations, manifest.get("annotations") or ()),
        *absent("exposed port", list(_ports(settings.unset_expose)), section.get("ExposedPorts") or (), _canonical_port),
        *absent("volume", settings.unset_volumes, section.get("Volumes") or (), _canonical_volume),
    ]
    for key, unset in (
        ("Cmd", settings.unset_cmd), ("Entrypoint", settings.unset_entrypoint), ("Healthcheck", settings.unset_healthcheck)
    ):  # fmt: skip
        if unset and section.get(key) is None:
            found.append(f"no {key.lower()} to unset")
    return found


def remaining_mentions(fields: Mapping[str, Any], settings: Settings) -> list[str]:
    """Returns one sentence for each place of the configuration that still holds a removed variable, without its value."""
    found = []
    old = fields.get("container_config")
    for name in settings.unset_env:
        word = re.compile(rf"(?<![A-Za-z0-9_]){re.escape(name)}[ =]")
        if isinstance(old, dict):
            lines = old.get("Env")
            if isinstance(lines, list) and any(isinstance(line, str) and _variable_name(line, False) == name for line in lines):
                found.append(f"container_config.Env, which no runtime reads, still holds {name}")
        history = fields.get("history")
        for position, item in enumerate(history if isinstance(history, list) else ()):
            line = item.get("created_by") if isinstance(item, dict) else None
            if isinstance(line, str) and not line.startswith("ocitool edit ") and word.search(line):
                found.append(f"history[{position}] still mentions {name}")
    return found


# Parts


def _typed(fields: Mapping[str, Any], key: str, kind: type, called: str) -> Any:
    """Returns the value of a key, an empty one if it is absent. Raises `FormatError` if it has another type; `called`
    names the type."""
    found = fields.get(key)
    if found is None:
        return kind()
    if not isinstance(found, kind):
        raise FormatError(f"{key} is not {called}")
    return found


def _strings(section: Mapping[str, Any], key: str) -> list[str]:
    found: list[Any] = _typed(section, key, list, "a list")
    if not all(isinstance(item, str) for item in found):
        raise FormatError(f"{key} is not a list of strings")
    return found


def _set_or_remove(section: dict[str, Any], key: str, value: Any) -> None:
    """Sets a value that has members; removes a key that lost its last one; leaves a key that had none as it was."""
    if value:
        section[key] = value
    elif section.get(key):
        del section[key]


def _edit_mapping(section: dict[str, Any], key: str, wanted: Mapping[str, str], unwanted: Sequence[str]) -> None:
    if not wanted and not unwanted:
        return
    found = {**_typed(section, key, dict, "an object"), **wanted}
    for name in unwanted:
        found.pop(name, None)
    _set_or_remove(section, key, found)


def _edit_set(
    section: dict[str, Any], key: str, wanted: Sequence[str], unwanted: Sequence[str], same: Callable[[str], str]
) -> None:
    """Edits an object used as a set: members are compared by `same`, and written as given."""
    if not wanted and not unwanted:
        return
    gone = set(map(same, unwanted))
    found = {name: value for name, value in _typed(section, key, dict, "an object").items() if same(name) not in gone}
    there = set(map(same, found))
    for name in wanted:
        if same(name) not in there:
            there.add(same(name))
            found[name] = {}
    _set_or_remove(section, key, found)


def _environment(section: dict[str, Any], wanted: Pairs, unwanted: Sequence[str], windows: bool) -> None:
    """Sets and removes variables. A variable that is set twice, which runtimes handle differently, keeps its first
    place only."""
    if not wanted and not unwanted:
        return
    gone = {_variable_name(name, windows) for name in unwanted} - {_variable_name(name, windows) for name, _ in wanted}
    lines = [line for line in _strings(section, "Env") if _variable_name(line, windows) not in gone]
    for key, value in wanted:
        line, name = f"{key}={value}", _variable_name(key, windows)
        at = [position for position, old in enumerate(lines) if _variable_name(old, windows) == name]
        if at:
            lines[at[0]] = line
            lines = [old for position, old in enumerate(lines) if position not in at[1:]]
        else:
            lines.append(line)
    _set_or_remove(section, "Env", lines)


def _variable_name(line: str, windows: bool) -> str:
    """Returns the name in NAME=VALUE; on Windows in upper case, since names there ignore case."""
    name = line.partition("=")[0]
    return name.upper() if windows else name


def _shell_words(section: Mapping[str, Any], windows: bool) -> list[str]:
    """Returns the command that runs a line: the image's own shell (Docker's `SHELL`), else the default of its operating
    system."""
    return _strings(section, "Shell") or (["cmd", "/S", "/C"] if windows else ["/bin/sh", "-c"])


def _ports(ports: Iterable[str]) -> Iterator[str]:
    """Yields every port of these ranges; a configuration has no ranges."""
    for text in ports:
        numbers, _, protocol = text.partition("/")
        first, _, last = numbers.partition("-")
        for number in range(int(first), int(last or first) + 1):
            yield f"{number}/{protocol}"


def _canonical_port(port: str) -> str:
    return port.lower() if "/" in port else f"{port}/tcp"


def _canonical_volume(path: str) -> str:
    """Returns a volume's path without a slash at its end."""
    return path.rstrip("/") or "/"
