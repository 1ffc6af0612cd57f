"""The command line: parses arguments, calls one operation, renders its result, and exits with a code.

Each command is a module of this package, which is imported when the command is called: `--version` and the help of one
command do not pay for the others. Everything that ends the program is in this module: errors become one line and an exit
code here.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from contextlib import suppress
from importlib import import_module
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from ocitool import __version__, credentials, signals
from ocitool.errors import DestinationError, OcitoolError, UsageError
from ocitool.signals import Terminated

COMMANDS = (
    "inspect", "ls", "cat", "packages", "diff", "budget", "validate", "copy", "pull", "push", "tags", "catalog", "login",
    "logout", "append", "unpack", "repack", "edit", "squash", "rebuild", "rebase", "dedupe", "layout", "engine", "volume",
)  # fmt: skip


SHELLS = ("bash", "zsh", "fish", "powershell", "pwsh")
"""Shells for which typer has completion."""

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class _Ended(BaseException):
    """Carries an interruption past click, which would otherwise exit with its own code."""

    def __init__(self, cause: BaseException) -> None:
        self.cause = cause


class _Lazy(TyperGroup):
    """A group of commands that imports each of them when it is called."""

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().make_context(*args, **kwargs)
        except (KeyboardInterrupt, BrokenPipeError) as error:
            raise _Ended(error) from None

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (KeyboardInterrupt, BrokenPipeError) as error:
            raise _Ended(error) from None

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        _complete(ctx, args)
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        self.commands = dict.fromkeys(COMMANDS, self)  # typer compares a misspelt name with these keys, and nothing else
        return super().resolve_command(ctx, args)

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        command = typer.main.get_command(import_module(f"ocitool.cli.{cmd_name}").app)
        command.name = cmd_name
        return command


def _complete(ctx: Any, args: list[str]) -> None:
    """Shows or installs completion for the shell named after the option, and exits. Returns if no shell is named: the
    options of typer itself take no value, and detect the running shell. Raises `UsageError`, `DestinationError`."""
    option, _, shell = args[0].partition("=") if args else ("", "", "")
    if option not in ("--show-completion", "--install-completion"):
        return
    shell = os.path.basename(shell or next((word for word in args[1:2] if not word.startswith("-")), ""))
    if not shell:
        return
    if shell not in SHELLS:
        raise UsageError("no completion for this shell", shell, hint=f"{option} {'|'.join(SHELLS)}")
    from typer.completion import install_callback, show_callback

    done = show_callback if option == "--show-completion" else install_callback
    try:
        done(ctx, ctx.command.params[0], shell)
    except OSError as error:
        raise DestinationError(f"completion cannot be installed: {error.strerror}", error.filename) from None


app = typer.Typer(
    cls=_Lazy,
    name="ocitool",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"ocitool {__version__}")
        raise typer.Exit()


@app.callback(
    epilog="A REF is an image: image.tar, layout:tag, archive.tar:name:tag, docker://HOST/REPO:TAG, docker-daemon:NAME,"
    " - for standard input."
)
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """See, compare, edit and move container images as files: no daemon, no root, and no network unless a registry is
    named."""


def main() -> NoReturn:
    """Runs the command line and exits. Exit codes: see `ocitool.errors`, and 1 for differences and findings."""
    if sys.stdout is None:  # the parent closed it: writing the first byte must fail, as on a full disk
        sys.stdout = open("/dev/full" if os.path.exists("/dev/full") else os.devnull, "w")  # noqa: SIM115
    if sys.stderr is None:  # otherwise `print` would write to standard output, into the middle of an archive
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    code = _run_and_report()
    signals.command_ended()
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        code = _reader_gone()
    except OSError as error:
        code = code if signals.received() else _unwritable(error)  # a terminal that was closed takes no more
    # All is closed and flushed; tearing the interpreter down object by object would only cost time (14 ms of 90).
    os._exit(code)


def _run_and_report() -> int:
    """Runs the command line and returns the exit code, also for a bug or an interruption; prints the error."""
    try:
        signals.command_started()
        code = run()
        signals.command_ended()  # in this block: a signal up to here is raised, a later one ends the program at once
    except Exception as error:
        code = _fail(f"a bug: {type(error).__name__}: {error}", hint="--debug shows where; please report it", code=70)
        _trace(error)
    except (KeyboardInterrupt, Terminated):  # in the last lines of `run`
        return _ended()
    # An interruption that Python dropped, or that reached a worker first, counts as well.
    return code if signals.received() in (0, code - 128) else _ended()


def _ended() -> int:
    """Prints that the command was interrupted, and returns 128 plus the number of the signal, an exit code that nothing
    else has."""
    number = signals.received() or signal.SIGINT
    return _fail(signals.MESSAGES[number], code=128 + number)


def run() -> int:
    """Runs the command line and returns the exit code. An exception that it raises is a bug."""
    credentials.forget()
    try:
        result = app(prog_name="ocitool", standalone_mode=False)
    except OcitoolError as error:
        if signals.received():  # the error is a consequence of the interruption
            return _ended()
        _trace(error)
        return _fail(error.what, where=error.where, hint=error.hint, code=error.exit_code)
    except _Ended as ended:
        return _ended() if isinstance(ended.cause, KeyboardInterrupt) else _reader_gone()
    except (typer.Abort, KeyboardInterrupt, Terminated):
        return _ended()
    except MemoryError:
        return _fail("out of memory", code=7)
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        return _unwritable(error)
    except Exception as error:
        # The usage errors of typer's own click are recognised by their attributes, as their classes are not public.
        if hasattr(error, "format_message") and hasattr(error, "exit_code"):
            context = getattr(error, "ctx", None)
            if type(error).__name__ == "NoArgsIsHelpError":  # its message is the help
                print(error.format_message(), file=sys.stderr)
                return 2
            return _fail(error.format_message(), hint=f"{context.command_path} --help" if context else None, code=2)
        raise
    if signals.received():  # typer turned it into a mere exit code
        return _ended()
    return result if isinstance(result, int) else 0


def _fail(what: str, *, where: str | None = None, hint: str | None = None, code: int) -> int:
    from ocitool.report.escape import printed

    place = f" ({printed(where)})" if where else ""
    try:
        print(f"ocitool: error: {printed(what)}{place}", file=sys.stderr)
        if hint:
            print(f"hint: {printed(hint)}", file=sys.stderr)
    except (OSError, ValueError):  # standard error is closed too; the exit code remains
        pass
    return code


def _trace(error: BaseException) -> None:
    """Prints the traceback if `--debug` is given, escaped, since messages may quote an image or a server."""
    if "--debug" not in sys.argv:
        return
    from traceback import format_exception

    from ocitool.report.escape import printed

    with suppress(OSError, ValueError):
        for part in format_exception(error):  # a frame has several lines; a newline in a message is escaped
            lines = part.split("\n") if part.startswith(("  File ", "Traceback ", "\n")) else [part.removesuffix("\n")]
            print("\n".join(map(printed, lines)).removesuffix("\n"), file=sys.stderr)


def _reader_gone() -> int:
    """Returns the exit code for a closed pipe at standard output, and discards further output."""
    _silence()
    return 141


def _unwritable(error: OSError) -> int:
    _silence()
    return _fail(f"the output cannot be written: {error.strerror}", where=error.filename or "standard output", code=9)


def _silence() -> None:
    """Discards everything written to standard output from now on, so that the flush at exit does not fail."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
