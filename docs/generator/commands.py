"""The commands as values, read from the objects that print `--help`, and as Markdown."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

SHARED = 3
"""An option that reads the same in so many commands is a common one."""


class Option(NamedTuple):
    """An option or argument. `names`: as in `-e, --env K=V`. `text`: what it does, with its default."""

    names: str
    text: str


class Command(NamedTuple):
    """A command. `path`: its words, as in `ocitool layout gc`. `notes`: what `--help` says behind the examples, as blocks of
    lines whose breaks count, or not."""

    path: str
    usage: str
    short: str
    about: tuple[str, ...]
    arguments: tuple[Option, ...]
    options: tuple[Option, ...]
    common: tuple[Option, ...]
    examples: tuple[str, ...]
    notes: tuple[tuple[str, bool], ...]
    below: tuple[Command, ...] = ()

    @property
    def page(self) -> str:
        """The name of its man page."""
        return self.path.replace(" ", "-")


@cache
def program() -> Command:
    """ocitool, with all its commands below it."""
    import typer

    from ocitool import cli

    return _with_common(_command(typer.main.get_command(cli.app), None))


def every(command: Command) -> Iterator[Command]:
    """The command and all below it."""
    yield command
    for one in command.below:
        yield from every(one)


def _command(command: Any, parent: Any) -> Command:
    context = command.context_class(command, info_name=command.name, parent=parent, **command.context_settings)
    words = " ".join(piece.strip("{}") for piece in command.collect_usage_pieces(context))
    arguments: list[Option] = []
    options: list[Option] = []
    for one in command.get_params(context):
        record = one.get_help_record(context)
        if record is not None:
            kind = arguments if one.param_type_name == "argument" else options
            kind.append(Option(record[0], _sentences(record[1], getattr(one, "multiple", False))))
    about = tuple(" ".join(part.split()) for part in (command.help or "").split("\n\n"))
    examples, notes = _epilog(command.epilog or "")
    below: tuple[Command, ...] = ()
    if hasattr(command, "list_commands"):
        below = tuple(_command(command.get_command(context, name), context) for name in command.list_commands(context))
    path = context.command_path
    short = command.get_short_help_str(200)
    return Command(path, f"{path} {words}", short, about, tuple(arguments), tuple(options), (), examples, notes, below)


def _sentences(text: str, repeatable: bool) -> str:
    """The help of an option, `Layers at a time.  [default: 4; 1<=x<=64]`, as sentences."""
    text, _, extra = text.replace("  [required]", "").partition("  [")
    extra = re.sub(r"(\d+)<=x<=(\d+)", r"from \1 to \2", re.sub(r"x>=(\d+)", r"\1 or more", extra))
    sentences = [text, *(part[:1].upper() + part[1:] for part in extra.removesuffix("]").split("; "))]
    sentences += ["May be given several times"] * repeatable
    return " ".join(one if one.endswith((".", "?")) else f"{one}." for one in filter(None, sentences))


def _epilog(text: str) -> tuple[tuple[str, ...], tuple[tuple[str, bool], ...]]:
    """The examples of an epilog, and the rest of it. Behind a line `\\b` breaks of lines count."""
    examples: tuple[str, ...] = ()
    notes = []
    for part in filter(str.strip, text.split("\n\n")):
        lines = part.strip("\n").split("\n")
        verbatim = lines[0] == "\b" and len(lines) > 2
        lines = lines[1:] if lines[0] == "\b" else lines
        if lines[0] == "Examples:":
            examples = tuple(line.removeprefix("  ") for line in lines[1:])
        else:
            notes.append(("\n".join(lines) if verbatim else " ".join(" ".join(lines).split()), verbatim))
    return examples, tuple(notes)


def _with_common(root: Command) -> Command:
    """With the options that many commands have set apart."""
    count = Counter(option for one in every(root) for option in one.options)

    def split(command: Command) -> Command:
        own = tuple(option for option in command.options if count[option] < SHARED)
        common = tuple(option for option in command.options if count[option] >= SHARED)
        return command._replace(options=own, common=common, below=tuple(map(split, command.below)))

    return split(root)


# Markdown


def reference(command: Command, level: int = 2) -> str:
    """What a page says of a command: usage, arguments, options, examples; of a group, of each command below it."""
    if command.below:
        table = [f"- [`{one.path}`](#{one.page}): {one.short}" for one in command.below]
        parts = [f"```text\n{command.usage}\n```", *map(escaped, command.about), "\n".join(table)]
        return "\n\n".join([*parts, *(f"{'#' * level} {one.path}\n\n{reference(one, level + 1)}" for one in command.below)])
    parts = [f"```text\n{command.usage}\n```", *map(escaped, command.about)]
    for title, options in (("Arguments", command.arguments), ("Options", command.options), ("Common options", command.common)):
        if options:
            parts += [f"{'#' * level} {title}", "\n".join(map(_item, options))]
    if command.examples:
        parts += [f"{'#' * level} Examples", "```text\n" + "\n".join(command.examples) + "\n```"]
    for text, verbatim in command.notes:
        parts.append(f"```text\n{text}\n```" if verbatim else escaped(text))
    return "\n\n".join(parts)


def _item(option: Option) -> str:
    return f"- `{option.names}`: {escaped(option.text)}"


CODE = re.compile(r"`([^`]+)`|(?<![\w-])(--[a-z][a-z-]*[a-z])(?![\w-])")
"""What of a help text is code: what stands between backquotes, and options."""


def escaped(text: str) -> str:
    """A help text as Markdown that shows just this, code in code spans."""
    return "".join(f"`{part}`" if code else re.sub(r"([\\*_<\[`|~])", r"\\\1", part) for code, part in pieces(text))


def pieces(text: str) -> Iterator[tuple[bool, str]]:
    """The pieces of a help text, and whether each is code."""
    end = 0
    for match in CODE.finditer(text):
        yield False, text[end : match.start()]
        yield True, match[1] or match[2]
        end = match.end()
    yield False, text[end:]


def index(root: Command) -> str:
    """A table of all commands."""
    rows = [f"| [`{one.path}`](reference/{one.path.split()[1]}.md) | {escaped(one.short)} |" for one in root.below]
    return "\n".join(["| Command | Does |", "|---|---|", *rows])
