"""Man pages: commands in the language of man(7)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from generator.commands import Command, Option, pieces

_SPECIAL = {"\\": r"\e", "-": r"\-", "'": r"\(aq", "`": r"\(ga", "^": r"\(ha", "~": r"\(ti", "|": r"|\:", '"': r"\(dq"}


def literal(text: str) -> str:
    """Text that is shown as it is, whatever troff makes of its characters or of the first one of a line."""
    shown = "".join(_SPECIAL.get(character, character) for character in text)
    return "\n".join(rf"\&{line}" if line.startswith(".") else line for line in shown.split("\n"))


def words(text: str) -> str:
    """A help text, code in bold; of links of Markdown, the words."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    return "".join(rf"\fB{literal(piece)}\fR" if code else literal(piece) for code, piece in pieces(text))


Rows = Iterable[tuple[str, str]]


def page(command: Command, root: Command, version: str, exit_codes: Rows, variables: Rows) -> str:
    """The man page of a command. That of the program has the exit codes and the variables of the environment."""
    lines = [
        r".\" Written by docs/make.py from the help of the command line: do not edit.",
        f'.TH {literal(command.page.upper())} 1 "" "ocitool {literal(version)}" "User Commands"',
        ".nh",  # no hyphens in names of options
        ".ad l",
        ".SH NAME",
        f"{literal(command.page)} \\- {literal(_lower(command.short))}",
        ".SH SYNOPSIS",
        rf"\fB{literal(command.path)}\fR {literal(command.usage.removeprefix(command.path).strip())}",
        ".SH DESCRIPTION",
        *_paragraphs(map(words, command.about)),
    ]
    if command.below:
        lines += [".SH COMMANDS"]
        for one in command.below:
            lines += [".TP", rf"\fB{literal(one.page)}\fR(1)", literal(one.short)]
    for title, options in (("ARGUMENTS", command.arguments), ("OPTIONS", command.options), ("COMMON OPTIONS", command.common)):
        if options:
            lines += [f".SH {title}", *(line for option in options for line in _option(option))]
    if command.examples:
        lines += [".SH EXAMPLES", ".EX", *map(literal, command.examples), ".EE"]
    if command.notes:
        lines.append(".SH NOTES")
        for text, verbatim in command.notes:
            lines += [".PP", *([".EX", literal(text), ".EE"] if verbatim else [words(text)])]
    if command is root:
        lines += [".SH EXIT STATUS", *_terms(exit_codes), ".SH ENVIRONMENT", *_terms(variables)]
    others = [one.page for one in root.below] if command is root else [root.page]
    lines += [".SH SEE ALSO", ",\n".join(rf"\fB{literal(one)}\fR(1)" for one in others)]
    return "\n".join(lines) + "\n"


def _lower(sentence: str) -> str:
    """A sentence as what stands behind a name: without capital and full stop."""
    first = sentence[0].lower() if sentence[1:2].islower() or sentence[1:2] == " " else sentence[0]
    return (first + sentence[1:]).removesuffix(".")


def _paragraphs(texts: Iterable[str]) -> Iterator[str]:
    for number, text in enumerate(texts):
        if number:
            yield ".PP"
        yield text


def _option(option: Option) -> Iterator[str]:
    yield from (".TP", rf"\fB{literal(option.names)}\fR", words(option.text))


def _terms(rows: Rows) -> Iterator[str]:
    for term, text in rows:
        yield from (".TP", rf"\fB{literal(term)}\fR", words(text))
