"""Options that commands share. A decorator adds them to a command, whose signature lists only its own options.

The command gets their values as one object, `Shared`, with methods that use them: run a session, make write options, show a
report.
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, NamedTuple, get_type_hints

from ocitool.cli import access, options
from ocitool.cli.access import Access
from ocitool.pipeline.session import Session
from ocitool.report.formats import AnyFormat, OutputFormat, PackagesFormat, ReviewFormat
from ocitool.transports.engine import EngineOptions

if TYPE_CHECKING:
    from ocitool.digest import Digest
    from ocitool.pipeline.image_writer import WriteOptions, WriteResult


class Shared(NamedTuple):
    """The values of the shared options. An option that a command does not have, has its default."""

    tag: list[str] | None = None
    compression: str | None = None
    supply: list[str] | None = None
    platform: str | None = None
    all_platforms: bool = False
    force: bool = False
    dry_run: bool = False
    format: AnyFormat = OutputFormat.text
    report: str | None = None
    verify: bool = False
    no_cache: bool = False
    jobs: int = 4
    quiet: bool = False
    no_color: bool = False
    debug: bool = False
    access: Access | None = None
    engine_host: str | None = None
    engine_context: str | None = None

    def running(self, *, bars: bool = True) -> AbstractContextManager[Session]:
        """Provides a session (`options.running`)."""
        return options.running(
            verify=self.verify, no_cache=self.no_cache, jobs=self.jobs, quiet=self.quiet, bars=bars, access=self.access,
            engine=EngineOptions(self.engine_host, self.engine_context), platform=self.platform,
        )  # fmt: skip

    def write_options(self, destination: str, *, omit: "frozenset[Digest]" = frozenset()) -> "WriteOptions":
        """Returns the options of a writing command (`options.write_options`)."""
        return options.write_options(
            destination, tag=self.tag, compression=self.compression, force=self.force, dry_run=self.dry_run,
            fallback=self.supply, omit=omit, report=self.report,
        )  # fmt: skip

    def show(self, report: str, result: object, **view: bool) -> None:
        """Writes a report (one of `formats.REPORTS`) in the format of `--format` to where `--report` says."""
        options.show(report, result, self.format, self.report, colour=options.colour(self.no_color, self.report), **view)

    def show_written(self, result: "WriteResult") -> None:
        """Writes the report of a writing command."""
        options.write_written(result, self.format, self.report, quiet=self.quiet)


_ALL: Mapping[str, tuple[str, Any, Any]] = {
    "tag": ("tag", options.Tag, None),
    "compression": ("compression", options.CompressionOption, None),
    "conversion": ("compression", options.ConversionOption, None),
    "supply": ("supply", options.With, None),
    "platform": ("platform", options.PlatformOption, None),
    "all_platforms": ("all_platforms", options.AllPlatforms, False),
    "force": ("force", options.Force, False),
    "dry_run": ("dry_run", options.DryRun, False),
    "format": ("format", options.FormatOption, OutputFormat.text),
    "review": ("format", options.ReviewFormatOption, ReviewFormat.text),
    "bill": ("format", options.PackagesFormatOption, PackagesFormat.text),
    "report": ("report", options.ReportOption, None),
    "verify": ("verify", options.Verify, False),
    "no_cache": ("no_cache", options.NoCache, False),
    "no_notes": ("no_cache", options.NoNotes, False),
    "jobs": ("jobs", options.Jobs, 4),
    "quiet": ("quiet", options.Quiet, False),
    "no_color": ("no_color", options.NoColor, False),
    "debug": ("debug", options.Debug, False),
    "engine_host": ("engine_host", options.EngineHost, None),
    "engine_context": ("engine_context", options.EngineContext, None),
}
"""Parameter, annotation and default by the name that `with_shared` takes. A parameter may be several options, as `format`
is."""

READ = ("verify", "no_cache", "jobs")
OUTPUT = ("format", "report")
REVIEW = ("review", "report")
TALK = ("quiet", "debug")
ENGINE = ("engine_host", "engine_context")
PLATFORMS = ("platform", "all_platforms")
WRITE = ("tag", "compression", "supply", *PLATFORMS, "force", "dry_run", *OUTPUT, *READ, *TALK)
"""All options of a command that makes an image from an image."""


def with_shared(
    *names: str, remote: bool = True, engine: bool | None = None, more: Mapping[str, tuple[Any, Any]] | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Returns a decorator that adds options to a command: those of `_ALL` named here, after its own, then those of
    registries if `remote`, and those that choose an engine if `engine` (default: as `remote`). The command gets their
    values as `shared`. `more`: further options (annotation and default by
    name), which come before its own; the command gets their values as the mapping `more`."""
    chosen = (*names, *ENGINE) if (remote if engine is None else engine) else names
    added = {_ALL[name][0]: _ALL[name][1:] for name in chosen}
    hosts = access.OPTIONS if remote else {}
    first = more or {}

    def decorated(command: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(command)
        hints = get_type_hints(command, include_extras=True)
        own = [one.replace(annotation=hints[one.name]) for one in signature.parameters.values() if one.kind is not _NAMED]
        positional = [one for one in own if one.default is inspect.Parameter.empty]
        parameters = [
            *positional, *_parameters(first), *(one for one in own if one.default is not inspect.Parameter.empty),
            *_parameters(added), *_parameters(hosts),
        ]  # fmt: skip

        @functools.wraps(command)
        def run(**given: Any) -> None:
            registry = {name: given.pop(name) for name in hosts}
            registries = access.of(registry, given) if remote else None
            shared = Shared(access=registries, **{name: given.pop(name) for name in added})
            options.one_or_all(shared.platform, shared.all_platforms)
            if first:
                given["more"] = {name: given.pop(name) for name in first}
            command(**given, shared=shared)

        run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {one.name: one.annotation for one in parameters} | {"return": None}
        return run

    return decorated


_NAMED = inspect.Parameter.KEYWORD_ONLY


def _parameters(options: Mapping[str, tuple[Any, Any]]) -> list[inspect.Parameter]:
    return [
        inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default, annotation=annotation)
        for name, (annotation, default) in options.items()
    ]
