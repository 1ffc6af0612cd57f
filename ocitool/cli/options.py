"""Options that several commands share, and functions that do what they ask for: run a session, check outputs, write the
report."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Annotated

import typer

from ocitool import credentials
from ocitool.api import arguments
from ocitool.api.arguments import once as once
from ocitool.api.arguments import one_or_all as one_or_all
from ocitool.errors import DestinationError, UsageError
from ocitool.layers import codecs
from ocitool.pipeline.session import Session, engines
from ocitool.progress import Notice, Progress
from ocitool.report import formats
from ocitool.report.formats import AnyFormat, OutputFormat, PackagesFormat, ReviewFormat
from ocitool.spec import mediatypes
from ocitool.task import Task, handling_signals
from ocitool.transports.engine import EngineOptions
from ocitool.transports.registry import Access, Registries

if TYPE_CHECKING:
    from ocitool.cli.progress import Shown
    from ocitool.digest import Digest
    from ocitool.pipeline.image_writer import WriteOptions, WriteResult


_ARCHIVES = ", ".join(["*.tar", *(f"*{codecs.CODECS[name].endings[0]}" for name in codecs.WRITERS)])


Ref = Annotated[
    str,
    typer.Argument(
        metavar="REF",
        help="An image: archive, layout, dir:DIR, docker://HOST/REPO:TAG, docker-daemon:NAME, - for standard input.",
    ),
]
FormatOption = Annotated[OutputFormat, typer.Option("--format", "-f", help="How to print the report.")]
ReviewFormatOption = Annotated[ReviewFormat, typer.Option("--format", "-f", help="How to print the report.")]
PackagesFormatOption = Annotated[PackagesFormat, typer.Option("--format", "-f", help="How to print the report.")]


def _report(path: str | None) -> str | None:
    """Checks that the report can be written, before any work is done, and returns its path. Raises `UsageError`,
    `DestinationError`."""
    if path not in (None, "-"):
        from ocitool.transports.outputs import is_replaced
        from ocitool.transports.recognition import image_file

        assert path is not None
        if os.path.isdir(path):
            raise UsageError("the report needs a file, this is a directory", path)
        if not os.path.isdir(os.path.dirname(os.path.realpath(path))):
            raise DestinationError("the report cannot be written: its directory does not exist", path)
        if is_replaced(path) and (found := image_file(path)) is not None:
            raise DestinationError(
                f"the report would replace {found}", path, hint="name another file, or remove this one first"
            )
    return path


ReportOption = Annotated[
    str | None,
    typer.Option("--report", metavar="FILE", callback=_report, help="Write the report to this file; - is standard output."),
]
PlatformOption = Annotated[
    str | None,
    typer.Option(
        "--platform",
        metavar="OS/ARCH[/VARIANT]",
        help="The image of an index to take; an os.version as in 'windows(10.0.17763.1)/amd64'. Default: the host's.",
    ),
]
AllPlatforms = Annotated[bool, typer.Option("--all-platforms", help="Take every image of an index.")]
EngineHost = Annotated[
    str | None,
    typer.Option(
        "--host",
        "-H",
        metavar="ADDRESS",
        help="The engine of docker-daemon: unix:///PATH, tcp://HOST:PORT, ssh://USER@HOST. Default: DOCKER_HOST, ...",
    ),
]
EngineContext = Annotated[
    str | None, typer.Option("--context", metavar="NAME", help="The engine of docker-daemon: a context of the docker client.")
]
Verify = Annotated[bool, typer.Option("--verify", help="Read and hash every layer; trust no stated digest and no cache.")]
NoNotes = Annotated[bool, typer.Option("--no-cache", help="Do not use or keep records of which repositories have which blobs.")]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Do not use or keep indexes of layers.")]
Jobs = Annotated[
    int, typer.Option("--jobs", "-j", metavar="N", min=1, max=64, help="How many layers to read, fetch or send at a time.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print no progress and no notes on standard error.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks.")]
NoColor = Annotated[bool, typer.Option("--no-color", help="Print no colours (also: NO_COLOR).")]

Src = Annotated[
    str,
    typer.Argument(
        metavar="SRC", help="The image: archive, layout, docker://HOST/REPO:TAG, docker-daemon:NAME, or - for standard input."
    ),
]
Dest = Annotated[
    str,
    typer.Argument(metavar="DEST", help=f"{_ARCHIVES}, a layout/, docker://HOST/REPO:TAG, docker-daemon:NAME, or -."),
]
Tag = Annotated[
    list[str] | None,
    typer.Option("--tag", "-t", metavar="NAME[:TAG]", help="A name for the image: in addition to DEST's, instead of SRC's."),
]
_CODECS = f"{'|'.join(mediatypes.SUFFIXES)}[:LEVEL]"
CompressionOption = Annotated[
    str | None,
    typer.Option(
        "--compression",
        metavar=_CODECS,
        help="Convert all layers that are written, if the image changes; copy converts one that does not.",
    ),
]
ConversionOption = Annotated[
    str | None, typer.Option("--compression", metavar=_CODECS, help="Convert all layers that are written.")
]
With = Annotated[
    list[str] | None,
    typer.Option(
        "--with",
        metavar="REF",
        help="Take blobs from this image if the source lacks them or is a registry. Of several, the first that has it.",
    ),
]
ShowSecrets = Annotated[bool, typer.Option("--show-secrets", help="Show secrets instead of ***, and files that look secret.")]
AllowNoMatch = Annotated[
    bool, typer.Option("--allow-no-match", help="Print a note, not an error, for a glob or list that matches nothing.")
]
Force = Annotated[bool, typer.Option("--force", help="Replace an archive that exists, and an index under a tag by one image.")]
PolicyOption = Annotated[
    str | None,
    typer.Option("--policy", metavar="FILE", help="What is accepted and allowed. Default: the repository's .ocitool.toml."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", "-n", help="Write nothing; report what would be written.")]


def at_registry(text: str) -> str:
    """Returns a reference to an image in a registry; `docker://` is added if it is left out. Raises `UsageError` for a
    file."""
    if "://" in text:
        return text
    from ocitool import reference

    if text.startswith(str(reference.ENGINE.prefix)):
        raise UsageError("expected an image in a registry, got an image of an engine", text, hint="ocitool copy takes them")
    if text == "-" or os.path.exists(text) or text.startswith(reference.LOCAL):
        raise UsageError("expected an image in a registry, got a file", text, hint="ocitool copy takes files")
    return reference.PREFIX + text


class Host(str):
    """The host of a registry as it is written in references, with its port."""


def registry(text: str) -> Host:
    """Returns the host that an argument names, with `docker://` or without. Raises `UsageError`."""
    from ocitool import reference

    host = text.removeprefix(reference.PREFIX).rstrip("/")
    if "/" in host:
        raise UsageError("expected a registry without a repository", text, hint=reference.PREFIX + host.partition("/")[0])
    return Host(reference.host_name(host))


class FileLines(list[str]):
    """The lines of a file, without comments and empty ones."""


def listed(path: str) -> FileLines:
    """Returns the lines of a file without comments and empty lines. Raises what opening it raises, as `OcitoolError`."""
    from ocitool.blob import unopened

    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            lines = [line.partition("#")[0].strip() for line in file]
    except OSError as error:
        raise unopened(path, error) from None
    return FileLines(line for line in lines if line)


def check_outputs(destination: str, report: str | None) -> None:
    """Raises `UsageError` if both the image and the report are to go to standard output."""
    if destination == report == "-":
        raise UsageError("standard output takes the image, so the report needs another file", hint="--report FILE")


def write_options(
    destination: str, *, tag: list[str] | None = None, compression: str | None = None, force: bool = False,
    dry_run: bool = False, fallback: list[str] | None = None, omit: frozenset[Digest] = frozenset(), report: str | None = None,
) -> WriteOptions:  # fmt: skip
    """Returns the options of a writing command for its operation. Raises `UsageError`, also if image and report go to
    standard output."""
    check_outputs(destination, report)
    return arguments.write_options(
        destination, tag=tag or (), compression=compression, force=force, dry_run=dry_run, fallback=fallback or (), omit=omit
    )


def show(name: str, result: object, format: AnyFormat, report: str | None, *, colour: bool = False, **view: bool) -> None:
    """Writes a report (one of `formats.REPORTS`) in a format to a file or standard output."""
    write(formats.lines(name, result, format.value, colour=colour, **view), report)


def write_written(result: WriteResult, format: AnyFormat, report: str | None, *, quiet: bool = False) -> None:
    """Writes the report of a writing command, to standard error if the image goes to standard output. If `quiet`, a report
    for people is written only if `--report` names a file."""
    if quiet and formats.FORMATS[format.value].prose and report is None:
        return
    lines = formats.lines("written", result, format.value)
    if result.destination == "-" and report is None:
        for line in lines:
            print(credentials.masked(line), file=sys.stderr)
    else:
        write(lines, report)


def end_with_problems(result: WriteResult, format: AnyFormat, *, quiet: bool = False) -> None:
    """Exits with 1 if some of many images were not copied. If no text report lists them, lines on standard error do."""
    from ocitool.report.escape import printed

    if quiet or not formats.FORMATS[format.value].prose:
        for one in result.problems:
            print(credentials.masked(f"ocitool: error: {printed(str(one.error))}"), file=sys.stderr)
    if result.problems:
        raise typer.Exit(1)


@contextmanager
def running(
    *,
    verify: bool = False,
    no_cache: bool = False,
    jobs: int = 4,
    quiet: bool = False,
    bars: bool = True,
    access: Access | None = None,
    engine: EngineOptions | None = None,
    platform: str | None = None,
) -> Iterator[Session]:
    """Provides a session that shows progress on standard error: bars on a terminal, else a line for each blob that a
    network transfers. Notices are printed at once. A report must be printed after the block: within it, it would mix with
    the bars."""
    terminal = sys.stderr is not None and sys.stderr.isatty() and bars and not quiet
    progress = None if quiet else _LateProgress(terminal)
    _allow_files()
    with Task(jobs=jobs, progress=progress) as task, handling_signals(task):
        registries = Registries(access or Access(), task, cached=not no_cache)
        asked = engines(engine, task, platform)
        try:
            yield Session(task, not no_cache, verify, registries, asked)
        finally:
            if progress is not None:
                progress.close()
            registries.close()
            asked.close()


class _LateProgress(Progress):
    """Bars or lines that are imported and made when there is something to show: most reading commands end before that."""

    def __init__(self, bars: bool) -> None:
        self._bars = bars
        self._made: list[Shown] = []

    def notice(self, notice: Notice) -> None:
        self._shown().notice(notice)

    def expect(self, blobs: Sequence[tuple[str, int]], times: int, anew: bool) -> None:
        self._shown().expect(blobs, times, anew)

    def advance(self, label: str, done: int, total: int | None) -> None:
        self._shown().advance(label, done, total)

    def transferred(self, done: str, label: str, size: int) -> None:
        self._shown().transferred(done, label, size)

    def count(self, what: str, done: int, total: int, size: int, whole: int) -> None:
        self._shown().count(what, done, total, size, whole)

    def close(self) -> None:
        for one in self._made:
            one.close()

    def _shown(self) -> Shown:
        if not self._made:
            from ocitool.cli.progress import Bars, Lines

            self._made.append(Bars() if self._bars else Lines())
        return self._made[0]


_MAX_OPEN_FILES = 1 << 16


def _allow_files() -> None:
    """Raises the soft limit of open files: blobs stay open while they are referenced, and a store of images may have more
    of them than the usual limit of 1024."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _MAX_OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def colour(no_color: bool, report: str | None) -> bool:
    """Returns whether to colour the report: on a terminal, unless an option or the environment forbids it
    (no-color.org)."""
    plain = no_color or report not in (None, "-") or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return not plain and sys.stdout.isatty()


def write_exact(pieces: Iterable[bytes], *, force: bool) -> None:
    """Writes content to standard output byte for byte. On a terminal, unless `force`, control characters are escaped, and
    binary content raises `UsageError`."""
    if force or not sys.stdout.isatty():
        for piece in pieces:
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
        return
    from ocitool.report.terminal import text

    for part in text(pieces):
        sys.stdout.write(part)
    sys.stdout.flush()


_BLOCK = 1 << 16


def write(lines: Iterable[str], report: str | None) -> None:
    """Writes the lines of a report, with the user's credentials masked, to standard output or to a file, which appears, or
    replaces an old one, when it is complete."""
    if report in (None, "-"):
        out = sys.stdout
        for line in lines:
            out.write(credentials.masked(line) + "\n")
        return
    from ocitool.transports.outputs import output_file

    with output_file(report) as file:
        block = bytearray()  # one system call for many lines: a report may have a million
        for line in lines:
            block += credentials.masked(line).encode("utf-8", "backslashreplace") + b"\n"
            if len(block) >= _BLOCK:
                file.write(bytes(block))
                block.clear()
        file.write(bytes(block))
