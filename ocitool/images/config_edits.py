"""Edits of an image's configuration: what is asked for as a value, and pure functions from documents to documents.

Sources: image-spec config.md and annotations.md; for spellings that Docker allows beyond it, its Dockerfile reference.

Every edit is idempotent. What is asked for and already so changes nothing, not even a byte: the caller keeps the raw
document where the fields come back equal. Unknown fields and the order of keys survive, and what no setting is about may be
of any shape. A list or object that loses its last member goes too, as if it had never been set; one that was empty before
stays as it was.
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
"""Words, or one line for the image's shell."""


class Settings(NamedTuple):
    """What an edit asks for; made by `parse`. None leaves alone, and an empty `user`, `workdir` or `stop_signal` removes.

    `annotations` are the manifest's, all else is the configuration's.
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
        """Whether anything is asked for."""
        return tuple(self) != tuple(Settings())


# From words to settings


class Setting(NamedTuple):
    """A setting as a command line has it.

    field: of `Settings`. option: what sets it, in one form or two. metavar: None if it takes no word. many: whether it may be
    given several times. parse: from the option and its word, or words, to the field's value; raises `UsageError`. clashes: the
    field that sets what this one removes. named: what a value of either sets or removes."""

    field: str
    option: tuple[str, ...]
    metavar: str | None
    help: str
    parse: Callable[[str, Any], Any]
    many: bool = False
    clashes: str | None = None
    named: Callable[[Any], Iterable[str]] = iter


def parse(**words: Any) -> Settings:
    """The settings that words of a command line ask for, by field; one that is missing, None or empty leaves alone, but for an
    empty word. `UsageError` on any that mean nothing or contradict another."""
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


def moment(text: str) -> str:
    """A time as configurations spell it (RFC 3339), from that spelling or from `@` and seconds since the epoch."""
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
    """A JSON array of words, else a line for the shell. What was meant as an array and is none is an error: Docker takes
    it for a line, and the container then fails to start."""
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
        raise UsageError(f"{flag} {text}: no user", hint=f"{flag} NAME, UID, or either with :GROUP")
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
        raise UsageError(f"{flag} {text}: no signal", hint=f"{flag} SIGTERM, or a number")
    return text


def _port(flag: str, text: str) -> str:
    """`80/tcp`, or `8000-8010/udp`; a port without protocol is TCP's, as Docker writes it."""
    found = re.fullmatch(r"(\d{1,5})(?:-(\d{1,5}))?(?:/(tcp|udp|sctp))?", text.lower(), re.ASCII)
    if found is None or not 0 < int(found[1]) <= int(found[2] or found[1]) < 1 << 16:
        raise UsageError(f"{flag} {text}: no port", hint=f"{flag} 80, 53/udp, or 8000-8010/tcp")
    last = f"-{int(found[2])}" if found[2] and int(found[2]) != int(found[1]) else ""
    return f"{int(found[1])}{last}/{found[3] or 'tcp'}"


def _flag(flag: str, given: bool) -> bool:
    return given


def _moment(flag: str, text: str) -> str:
    return moment(text)


def _exposed(flag: str, words: Sequence[str]) -> tuple[str, ...]:
    return tuple(_port(flag, text) for text in words)


def _keys(value: Sequence[str | tuple[str, str]]) -> Iterator[str]:
    """Names, of pairs or alone."""
    return (one if isinstance(one, str) else one[0] for one in value)


def _whole(value: object) -> Iterator[str]:
    """What is there once."""
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
        named=lambda paths: map(_place, paths),
    ),
    Setting("unset_healthcheck", ("--unset-healthcheck",), None, "Remove the health check.", _flag),
    Setting("stop_signal", ("--stop-signal",), "SIGNAL", "What ends it; '' removes.", _signal),
    Setting("created", ("--created",), "TIME", "RFC 3339, or @SECONDS.", _moment),
)  # fmt: skip
"""Every setting once: options, help and parsing come from here."""


# From documents to documents


def apply(fields: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """A configuration with the settings in it. `FormatError` where what is there is not what it has to be."""
    stated = fields.get("config")
    section = dict(_typed(fields, "config", dict, "an object"))
    windows = fields.get("os") == "windows"
    _environment(section, settings.env, settings.unset_env, windows)
    _change(section, "Labels", dict(settings.labels), settings.unset_labels)
    _sets(section, "ExposedPorts", list(_ports(settings.expose)), list(_ports(settings.unset_expose)), _canonical)
    _sets(section, "Volumes", settings.volumes, settings.unset_volumes, _place)
    for key, command, unset in (
        ("Cmd", settings.cmd, settings.unset_cmd),
        ("Entrypoint", settings.entrypoint, settings.unset_entrypoint),
    ):
        if command is not None:
            words = [*_shell(section, windows), command] if isinstance(command, str) else list(command)
            if windows and words != section.get(key):
                # How a runtime joins these words again: a line for the shell is taken as it stands.
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
    """A manifest with the annotations that are asked for."""
    edited = dict(fields)
    _change(edited, "annotations", dict(settings.annotations), settings.unset_annotations)
    return edited


def describe(settings: Settings) -> str:
    """The command, for a history: names without values, which would outlive the settings themselves there."""
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


def missing(fields: Mapping[str, Any], manifest: Mapping[str, Any], settings: Settings) -> list[str]:
    """Of what is to be removed, what is not there: one sentence each. For documents that `apply` and `annotate` took."""
    section = _typed(fields, "config", dict, "an object")
    windows = fields.get("os") == "windows"

    def absent(
        what: str, wanted: Sequence[str], there: Iterable[str], same: Callable[[str], str] = lambda name: name
    ) -> Iterator[str]:
        held = set(map(same, there)) if wanted else ()
        return (f"no {what} {name} to unset" for name in wanted if same(name) not in held)

    found = [
        *absent("variable", settings.unset_env, section.get("Env") or (), lambda line: _name(line, windows)),
        *absent("label", settings.unset_labels, section.get("Labels") or ()),
        *absent("annotation", settings.unset_annotations, manifest.get("annotations") or ()),
        *absent("exposed port", list(_ports(settings.unset_expose)), section.get("ExposedPorts") or (), _canonical),
        *absent("volume", settings.unset_volumes, section.get("Volumes") or (), _place),
    ]
    for key, unset in (
        ("Cmd", settings.unset_cmd), ("Entrypoint", settings.unset_entrypoint), ("Healthcheck", settings.unset_healthcheck)
    ):  # fmt: skip
        if unset and section.get(key) is None:
            found.append(f"no {key.lower()} to unset")
    return found


def leftovers(fields: Mapping[str, Any], settings: Settings) -> list[str]:
    """Where the configuration still holds variables that were to be removed: one sentence each, without their values."""
    found = []
    old = fields.get("container_config")
    for name in settings.unset_env:
        word = re.compile(rf"(?<![A-Za-z0-9_]){re.escape(name)}[ =]")
        if isinstance(old, dict):
            lines = old.get("Env")
            if isinstance(lines, list) and any(isinstance(line, str) and _name(line, False) == name for line in lines):
                found.append(f"container_config.Env, which no runtime reads, still holds {name}")
        history = fields.get("history")
        for position, item in enumerate(history if isinstance(history, list) else ()):
            line = item.get("created_by") if isinstance(item, dict) else None
            if isinstance(line, str) and not line.startswith("ocitool edit ") and word.search(line):
                found.append(f"history[{position}] still speaks of {name}")
    return found


# Parts


def _typed(fields: Mapping[str, Any], key: str, kind: type, called: str) -> Any:
    """What stands at a key; empty where nothing does."""
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


def _keep(section: dict[str, Any], key: str, value: Any) -> None:
    """Sets what has members; what lost its last one goes; what had none before stays as it was."""
    if value:
        section[key] = value
    elif section.get(key):
        del section[key]


def _change(section: dict[str, Any], key: str, wanted: Mapping[str, str], unwanted: Sequence[str]) -> None:
    if not wanted and not unwanted:
        return
    found = {**_typed(section, key, dict, "an object"), **wanted}
    for name in unwanted:
        found.pop(name, None)
    _keep(section, key, found)


def _sets(
    section: dict[str, Any], key: str, wanted: Sequence[str], unwanted: Sequence[str], same: Callable[[str], str]
) -> None:
    """Objects that are sets: members are told apart by `same`, and written as they are asked for."""
    if not wanted and not unwanted:
        return
    gone = set(map(same, unwanted))
    found = {name: value for name, value in _typed(section, key, dict, "an object").items() if same(name) not in gone}
    there = set(map(same, found))
    for name in wanted:
        if same(name) not in there:
            there.add(same(name))
            found[name] = {}
    _keep(section, key, found)


def _environment(section: dict[str, Any], wanted: Pairs, unwanted: Sequence[str], windows: bool) -> None:
    """A variable is set where it stands first; of one that stands twice, which runtimes disagree on, one is left."""
    if not wanted and not unwanted:
        return
    gone = {_name(name, windows) for name in unwanted} - {_name(name, windows) for name, _ in wanted}
    lines = [line for line in _strings(section, "Env") if _name(line, windows) not in gone]
    for key, value in wanted:
        line, name = f"{key}={value}", _name(key, windows)
        at = [position for position, old in enumerate(lines) if _name(old, windows) == name]
        if at:
            lines[at[0]] = line
            lines = [old for position, old in enumerate(lines) if position not in at[1:]]
        else:
            lines.append(line)
    _keep(section, "Env", lines)


def _name(line: str, windows: bool) -> str:
    """The name of a variable; Windows does not tell case apart."""
    name = line.partition("=")[0]
    return name.upper() if windows else name


def _shell(section: Mapping[str, Any], windows: bool) -> list[str]:
    """What a line is given to: the image's own shell (Docker's `SHELL`), else its system's."""
    return _strings(section, "Shell") or (["cmd", "/S", "/C"] if windows else ["/bin/sh", "-c"])


def _ports(ports: Iterable[str]) -> Iterator[str]:
    """Every port of these ranges; a configuration has no ranges."""
    for text in ports:
        numbers, _, protocol = text.partition("/")
        first, _, last = numbers.partition("-")
        for number in range(int(first), int(last or first) + 1):
            yield f"{number}/{protocol}"


def _canonical(port: str) -> str:
    return port.lower() if "/" in port else f"{port}/tcp"


def _place(path: str) -> str:
    """Volumes `/a` and `/a/` are one."""
    return path.rstrip("/") or "/"
