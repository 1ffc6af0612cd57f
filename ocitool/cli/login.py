"""`ocitool login`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from ocitool.cli import options
from ocitool.cli.shared import TALK, Shared, with_shared
from ocitool.errors import UsageError

app = typer.Typer(rich_markup_mode=None, add_completion=False)

_EXAMPLES = """\b
Examples:
  ocitool login -u ci reg.example < password.txt
  printf %s "$REGISTRY_PASSWORD" | ocitool login -u "$REGISTRY_USER" reg.example
"""

_MAX_PASSWORD = 1 << 16


@app.command(epilog=_EXAMPLES, short_help="Keep a user's name and password for a registry.")
@with_shared(*TALK, engine=False)
def command(
    host: Annotated[
        options.Host,
        typer.Argument(metavar="HOST", parser=options.registry, help="The registry, as in references.", show_default=False),
    ],
    username: Annotated[str, typer.Option("--username", "-u", metavar="NAME", help="The user name.", show_default=False)],
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Changes nothing: the password is always read from standard input.")
    ] = False,
    *,
    shared: Shared,
) -> None:
    """Check a user name and password with a registry, and keep them: with the credential helper that the file of
    credentials names, else in that file. The password comes from standard input only; on a terminal it is not shown."""
    if ":" in username or not username:
        raise UsageError("invalid user name: it must not be empty or contain a colon")
    password = _password()
    with shared.running() as session:
        from ocitool.operations import login

        where = login.login(host, username, password, session)
    if not shared.quiet:
        print(f"logged in to {host}, kept in {where}")


def _password() -> str:
    if sys.stdin is not None and sys.stdin.isatty():
        from getpass import getpass

        text = getpass("Password: ")
    else:
        data = sys.stdin.buffer.read(_MAX_PASSWORD + 1) if sys.stdin is not None else b""
        try:
            text = data.decode().removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError:
            raise UsageError("the password is not UTF-8") from None
    if not text or "\n" in text or len(text) > _MAX_PASSWORD:
        raise UsageError("no password on standard input", hint="one line, as in: ocitool login -u NAME HOST < FILE")
    return text
