"""From the word for a destination to an open sink."""

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
from ocitool.transports.registry import Access, Registries
from ocitool.transports.sink import Rehearsal, Sink


def _said() -> str:
    """The endings as a user is told of them: one for each codec."""
    *most, last = [".tar", *(codecs.CODECS[name].endings[0] for name in codecs.WRITERS)]
    return f"{', '.join(most)} or {last}"


class Destination(NamedTuple):
    """`name`: what the reference itself calls the image, or None. `repository`: of a registry; if it is None, `prefix` stands
    before the repositories that the images' names give."""

    transport: Transport
    path: str
    name: str | None
    repository: Repository | None = None
    prefix: str | None = None

    def names(self, asked: Iterable[str]) -> tuple[str, ...]:
        """The names that an image gets here, each once: the reference's own and those asked for by `--tag`; at a registry
        `latest` if there is none of both. Empty if the image keeps the names of its source. Raises `UsageError`."""
        found = [*((self.name,) if self.name is not None else ()), *map(self.given, asked)]
        if not found and self.repository is not None and not self.nameless:
            found = [f"{self.repository.name}:latest"]
        return reference.distinct(found)

    @property
    def remote(self) -> bool:
        return self.transport.remote

    @property
    def nameless(self) -> bool:
        """Whether an image gets no name here: the destination is a digest, without a tag."""
        return self.repository is not None and self.repository.digest is not None and self.repository.tag is None

    def refuse_inside(self, directory: str) -> None:
        """`UsageError` if this is in a directory that becomes part of the image: what is written would be read."""
        inside = os.path.realpath(directory).rstrip("/") + "/"
        if not (self.transport.stream or self.remote) and (os.path.realpath(self.path) + "/").startswith(inside):
            raise UsageError(f"the destination stands in {directory}, which goes into the image", self.path)

    def pinned(self, digest: Digest, repositories: Iterable[str]) -> tuple[str, ...]:
        """How to refer to what was written here by its digest; `repositories`: where a registry has it."""
        if self.transport.remote:
            return tuple(f"{reference.PREFIX}{name}@{digest}" for name in repositories)
        return () if self.transport.stream else (f"{self.path}:@{digest}",)

    def given(self, text: str) -> str:
        """The name that a user gives an image, as this destination is to have it: layouts take bare tags, and so does a
        repository, which has a name already. `UsageError` for what is no name."""
        if self.nameless:
            raise UsageError("the destination is a digest, which has no tag", self.path)
        if self.repository is not None:
            if not reference.is_tag(text):
                raise UsageError(f"invalid tag: {text}", hint=f"docker://{self.repository.name} is the name; --tag gives a tag")
            return f"{self.repository.name}:{text}"
        if not self.transport.store:
            return self.placed(image_name(text))
        if not reference.is_layout_name(text):
            raise UsageError(f"invalid image name: {text}", hint="letters, digits and . _ - : @ + / only")
        return text

    def placed(self, name: str) -> str:
        """The name that an image has at its source, as it is here: in full in archives, so that every engine gives the image
        the same one. `UsageError` for a tag alone if the destination needs a repository."""
        if self.prefix is None:
            return reference.canonical(name) if self.transport.archive else name
        if reference.is_bare(name):
            raise UsageError(
                f"{name} is a tag without a repository: it is not known where it belongs below {self.path}",
                hint=f"--tag NAME:{name}, or docker://HOST/REPOSITORY:{name}",
            )
        return f"{self.prefix}{reference.short_name(name)}"


def parse(text: str) -> Destination:
    """Raises `UsageError` where the words name no place that can be written to. Looks whether a plain path is a directory."""
    if text == "-":
        return Destination(reference.STREAM, "-", None)
    ref = reference.parse(text)
    if ref.transport is not None and ref.transport.remote:
        return _registry(text, ref.details)
    if ref.transport is not None and not ref.transport.written:
        raise UsageError(f"{ref.transport.prefix} can be read, and not written", text, hint=f"oci:{ref.details} is a layout")
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
        raise UsageError("neither an archive nor a layout", text, hint=f"archives end in {_said()}")
    raise UsageError(
        "neither an archive nor a layout", text,
        hint=f"{text}.tar is an archive, {text}/ an OCI layout, docker://{text} would be at a registry; oci:DIR:TAG and "
        "docker-archive:FILE:NAME give names too",
    )  # fmt: skip


def image_name(text: str) -> str:
    """`NAME[:TAG]` in full. `UsageError` for what no engine would take."""
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
    """The codec of an archive that is written under this name, None if it is that of none."""
    written = ("none", *codecs.WRITERS)
    return next((codec for ending, codec in codecs.ENDINGS.items() if path.endswith(ending) and codec in written), None)


class SinkOptions(NamedTuple):
    """How a destination is written. `force`: an archive that exists is replaced. `dry_run`: nothing is written, and what is
    there already is still known. `replaces_index`: a tag that holds an index may come to name one image; else that is refused.
    `cached`: what the cache directory has on record of a layout's blobs may be believed, and more is recorded."""

    force: bool = False
    dry_run: bool = False
    replaces_index: bool = False
    cached: bool = False


def open_sink(
    destination: Destination, task: Task, registries: Registries | None = None, *, force: bool = False, dry_run: bool = False,
    replaces_index: bool = False, cached: bool = False,
) -> Sink:  # fmt: skip
    """Raises `DestinationError` where something stands in the way, `UsageError` where standard output is a terminal. The
    caller closes it. The options are those of `SinkOptions`."""
    options = SinkOptions(force, dry_run, replaces_index, cached)
    return _SINKS[destination.transport](destination, options, task, registries or Registries(Access(), task))


def _registry_sink(destination: Destination, options: SinkOptions, task: Task, registries: Registries) -> Sink:
    from ocitool.transports.registry.sink import RegistrySink

    host = destination.repository.host if destination.repository else str(destination.prefix).partition("/")[0]
    return RegistrySink(
        registries.client(host), destination.repository, rehearsing=options.dry_run, replaces_index=options.replaces_index
    )


def _layout_sink(destination: Destination, options: SinkOptions, task: Task, registries: Registries) -> Sink:
    from ocitool.transports import layout_sink

    if not options.dry_run:
        replaces = options.replaces_index
        return layout_sink.LayoutSink(destination.path, task, replaces_index=replaces, cached=options.cached)
    if (problem := layout_sink.refused(destination.path)) is not None:
        raise problem
    return layout_sink.RehearsedLayout(destination.path, replaces_index=options.replaces_index)


def _archive_sink(destination: Destination, options: SinkOptions, task: Task, registries: Registries) -> Sink:
    from ocitool.transports import archive_sink

    path = destination.path
    if not options.dry_run:
        return archive_sink.ArchiveSink(path, force=options.force, compression=archive_codec(path) or "none")
    if (problem := archive_sink.refused(path, force=options.force)) is not None:
        raise problem
    return Rehearsal(path)


def _standard_output(destination: Destination, options: SinkOptions, task: Task, registries: Registries) -> Sink:
    from ocitool.transports import archive_sink

    output = archive_sink.StandardOutput()
    return Rehearsal(destination.path) if options.dry_run else output


_SINKS: dict[Transport, Callable[[Destination, SinkOptions, Task, Registries], Sink]] = {
    reference.REGISTRY: _registry_sink,
    reference.LAYOUT: _layout_sink,
    reference.OCI_ARCHIVE: _archive_sink,
    reference.DOCKER_ARCHIVE: _archive_sink,
    reference.STREAM: _standard_output,
}
"""How each transport that is written opens a destination."""
