"""Destinations: parsed from the words of the user, and opened as sinks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import NamedTuple

from ocitool import reference
from ocitool.digest import Digest
from ocitool.errors import UsageError
from ocitool.layers import codecs
from ocitool.reference import Repository, Transport
from ocitool.task import Task
from ocitool.transports.engine import EngineOptions, Engines
from ocitool.transports.registry import Access, Registries
from ocitool.transports.sink import DryRunSink, Sink


def _archive_endings() -> str:
    """Returns the file name endings of archives for messages, one for each codec."""
    *others, last = [".tar", *(codecs.CODECS[name].endings[0] for name in codecs.WRITERS)]
    return f"{', '.join(others)} or {last}"


class Destination(NamedTuple):
    """Where images are written. `name`: the name in the reference itself, or None. `repository`: at a registry; if it
    is None there, `prefix` precedes the repositories in the names of the images."""

    transport: Transport
    path: str
    name: str | None
    repository: Repository | None = None
    prefix: str | None = None

    def names(self, requested: Iterable[str]) -> tuple[str, ...]:
        """Returns the names that an image gets here, each once: that of the reference and those of `--tag`; at a
        registry `latest` if there are none. Empty if the image keeps the names of its source. Raises `UsageError`."""
        found = [*((self.name,) if self.name is not None else ()), *map(self.parse_name, requested)]
        if not found and self.repository is not None and not self.nameless:
            found = [f"{self.repository.name}:latest"]
        return reference.distinct(found)

    @property
    def remote(self) -> bool:
        return self.transport.remote

    @property
    def nameless(self) -> bool:
        """Whether an image gets no name: the destination is a digest without a tag."""
        return self.repository is not None and self.repository.digest is not None and self.repository.tag is None

    def refuse_inside(self, directory: str) -> None:
        """Raises `UsageError` if the destination is in a directory that becomes part of the image, since the output
        would be read as input."""
        inside = os.path.realpath(directory).rstrip("/") + "/"
        if not (self.transport.stream or self.transport.engine or self.remote) and (
            os.path.realpath(self.path) + "/"
        ).startswith(inside):
            raise UsageError(f"the destination stands in {directory}, which goes into the image", self.path)

    def digest_references(self, digest: Digest, repositories: Iterable[str]) -> tuple[str, ...]:
        """Returns references by digest to an image that was written here. `repositories`: those of a registry that have
        it."""
        if self.transport.remote:
            return tuple(f"{reference.PREFIX}{name}@{digest}" for name in repositories)
        return () if self.transport.stream or self.transport.engine else (f"{self.path}:@{digest}",)

    def parse_name(self, text: str) -> str:
        """Returns a name that the user gave, in the form that this destination needs: a bare tag is allowed in layouts,
        and for a repository, which has a name already. Raises `UsageError` for an invalid name."""
        if self.nameless:
            raise UsageError("the destination is a digest, which has no tag", self.path)
        if self.repository is not None:
            if not reference.is_tag(text):
                raise UsageError(f"invalid tag: {text}", hint=f"docker://{self.repository.name} is the name; --tag gives a tag")
            return f"{self.repository.name}:{text}"
        if not self.transport.store:
            return self.destination_name(image_name(text))
        if not reference.is_layout_name(text):
            raise UsageError(f"invalid image name: {text}", hint="letters, digits and . _ - : @ + / only")
        return text

    def destination_name(self, name: str) -> str:
        """Returns the name here for the name at the source: fully qualified in archives, so that all engines load it
        under the same one. Raises `UsageError` for a bare tag if a repository is needed."""
        if self.prefix is None:
            return reference.canonical(name) if self.transport.archive else name
        if reference.is_bare(name):
            raise UsageError(
                f"{name} is a tag without a repository: it is not known where it belongs below {self.path}",
                hint=f"--tag NAME:{name}, or docker://HOST/REPOSITORY:{name}",
            )
        return f"{self.prefix}{reference.short_name(name)}"


def parse(text: str) -> Destination:
    """Returns the destination that the user named; for a plain path this looks whether it is a directory. Raises
    `UsageError` if nothing can be written there."""
    if text == "-":
        return Destination(reference.STREAM, "-", None)
    ref = reference.parse(text)
    if ref.transport is not None and ref.transport.remote:
        return _registry(text, ref.details)
    if ref.transport is not None and not ref.transport.written:
        raise UsageError(f"{ref.transport.prefix} can be read, and not written", text, hint=f"oci:{ref.details} is a layout")
    if ref.transport is not None and ref.transport.engine:
        if "@" in ref.details or ref.details.startswith("sha256:"):
            raise UsageError("a destination takes a name, not an id or digest", text)
        return Destination(ref.transport, text, image_name(ref.details))
    if ref.transport is not None:
        path, _, name = ref.details.partition(":")
        if name.startswith("@") or not path:
            raise UsageError("a destination takes a name, not a position or digest", text)
        if ref.transport.image_names and name:
            name = image_name(name)
        elif name and not reference.is_layout_name(name):
            raise UsageError(f"invalid image name: {name}", text)
        return Destination(
            ref.transport, path, (reference.canonical(name) if ref.transport.archive else name) if name else None
        )
    if text.endswith("/") or os.path.isdir(text):
        return Destination(reference.LAYOUT, text.rstrip("/") or "/", None)
    if archive_codec(text) is not None:
        return Destination(reference.DOCKER_ARCHIVE, text, None)
    if ".tar" in os.path.basename(text):
        raise UsageError("neither an archive nor a layout", text, hint=f"archives end in {_archive_endings()}")
    raise UsageError(
        "neither an archive nor a layout", text,
        hint=f"{text}.tar is an archive, {text}/ an OCI layout, docker://{text} would be at a registry; oci:DIR:TAG and "
        "docker-archive:FILE:NAME give names too",
    )  # fmt: skip


def image_name(text: str) -> str:
    """Returns `NAME[:TAG]` fully qualified. Raises `UsageError` for a name that engines refuse."""
    if not reference.is_image_name(text):
        raise UsageError(f"invalid image name: {text}", hint="NAME[:TAG], in lower case, as in app:1.0 or host/team/app")
    return reference.qualified(text)


def _registry(text: str, details: str) -> Destination:
    if details.endswith("/"):
        first, _, path = details.rstrip("/").partition("/")
        if not reference.is_host(first):
            first, path = reference.DEFAULT_HOST, details.rstrip("/")
        if path and not reference.is_path(path):
            raise UsageError(f"invalid repository name: {path}", text)
        host = reference.host_name(first)
        return Destination(reference.REGISTRY, text, None, None, f"{host}/{path}/" if path else f"{host}/")
    where = reference.parse_repository(details)
    name = f"{where.name}:{where.tag}" if where.tag is not None else None
    return Destination(reference.REGISTRY, text, name, where)


def archive_codec(path: str) -> str | None:
    """Returns the codec of an archive with this file name; None if it is not the name of an archive."""
    written_codecs = ("none", *codecs.WRITERS)
    return next((codec for ending, codec in codecs.ENDINGS.items() if path.endswith(ending) and codec in written_codecs), None)


class SinkOptions(NamedTuple):
    """How a destination is written. `force`: an existing archive is replaced. `dry_run`: nothing is written, but what
    is there is still looked up. `replaces_index`: an image may replace an index under a tag; else that is refused.
    `cached`: records in the cache directory about the blobs of a layout are used and added to."""

    force: bool = False
    dry_run: bool = False
    replaces_index: bool = False
    cached: bool = False


def open_sink(
    destination: Destination, task: Task, registries: Registries | None = None, engines: Engines | None = None, *,
    force: bool = False, dry_run: bool = False, replaces_index: bool = False, cached: bool = False,
) -> Sink:  # fmt: skip
    """Returns an open sink, which the caller closes. The options are those of `SinkOptions`. Raises `DestinationError`
    if something else is in its place, `UsageError` if standard output is a terminal."""
    options = SinkOptions(force, dry_run, replaces_index, cached)
    if destination.transport.engine:
        from ocitool.transports.engine.sink import EngineSink

        return EngineSink((engines or Engines(EngineOptions(), task)).engine(), destination.path, dry_run=dry_run)
    return _SINKS[destination.transport](destination, options, task, registries or Registries(Access(), task))


def _registry_sink(destination: Destination, options: SinkOptions, task: Task, registries: Registries) -> Sink:
    from ocitool.transports.registry.sink import RegistrySink

    host = destination.repository.host if destination.repository else str(destination.prefix).partition("/")[0]
    return RegistrySink(
        registries.client(host), destination.repository, dry_run=options.dry_run, replaces_index=options.replaces_index
    )


def _layout_sink(destination: Destination, options: SinkOptions, task: Task, registries: Registries) -> Sink:
    from ocitool.transports import layout_sink

    if not options.dry_run:
        replaces = options.replaces_index
        return layout_sink.LayoutSink(destination.path, task, replaces_index=replaces, cached=options.cached)
    if (problem := layout_sink.write_problem(destination.path)) is not None:
        raise problem
    return layout_sink.DryRunLayoutSink(destination.path, replaces_index=options.replaces_index)


def _archive_sink(destination: Destination, options: SinkOptions, task: Task, registries: Registries) -> Sink:
    from ocitool.transports import archive_sink

    path = destination.path
    if not options.dry_run:
        return archive_sink.ArchiveSink(path, force=options.force, compression=archive_codec(path) or "none")
    if (problem := archive_sink.write_problem(path, force=options.force)) is not None:
        raise problem
    return DryRunSink(path)


def _standard_output(destination: Destination, options: SinkOptions, task: Task, registries: Registries) -> Sink:
    from ocitool.transports import archive_sink

    output = archive_sink.StandardOutput()
    return DryRunSink(destination.path) if options.dry_run else output


_SINKS: dict[Transport, Callable[[Destination, SinkOptions, Task, Registries], Sink]] = {
    reference.REGISTRY: _registry_sink,
    reference.LAYOUT: _layout_sink,
    reference.OCI_ARCHIVE: _archive_sink,
    reference.DOCKER_ARCHIVE: _archive_sink,
    reference.STREAM: _standard_output,
}
"""The function that opens a destination, for each transport that can be written."""
