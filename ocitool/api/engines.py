"""Functions about the containers of an engine."""

from __future__ import annotations

from ocitool.api.arguments import Reference, References, Words, optional, words, write_options
from ocitool.api.running import Cancellation, RegistryOptions, open_session
from ocitool.comparison import Diff
from ocitool.containers.disk_usage import EngineUsage
from ocitool.containers.listing import ContainerList
from ocitool.pipeline.image_writer import WriteResult
from ocitool.progress import Progress
from ocitool.transports.engine import EngineOptions


def engine_containers(
    *, running: bool = False, engine: EngineOptions | None = None, progress: Progress | None = None,
    cancellation: Cancellation | None = None,
) -> ContainerList:  # fmt: skip
    """Returns the containers of an engine with the bytes that they have written. `running`: only those that run."""
    from ocitool.containers.listing import containers

    with open_session(engine=engine, progress=progress, cancellation=cancellation) as session:
        return containers(session, running=running)


def engine_df(
    *, jobs: int = 4, engine: EngineOptions | None = None, progress: Progress | None = None,
    cancellation: Cancellation | None = None,
) -> EngineUsage:  # fmt: skip
    """Returns what the images of an engine take, in layers of their own and in shared ones, and what its containers have
    written."""
    from ocitool.containers.disk_usage import disk_usage

    with open_session(jobs=jobs, engine=engine, progress=progress, cancellation=cancellation) as session:
        return disk_usage(session)


def engine_diff(
    container: str, *, image: Reference | None = None, pause: bool = False, path: Words = (), ignore_path: Words = (),
    allow_no_match: bool = False, ignore_volatile: bool = False, patch: bool = False, inside: bool = False,
    extract: Reference | None = None, semantic: bool = False, ignore: Words = (), fail_on: Words = (),
    policy: Reference | None = None, show_secrets: bool = False,
    platform: str | None = None, verify: bool = False, no_cache: bool = False, jobs: int = 4,
    registry: RegistryOptions | None = None, engine: EngineOptions | None = None, progress: Progress | None = None,
    cancellation: Cancellation | None = None,
) -> Diff:  # fmt: skip
    """Returns what a container (its name, or the beginning of its id) changed of its image, and in `copied` which files it
    copied up. `image`: the image in a file or at a registry, instead of the engine's. `pause`: pauses a running container
    while it is read."""
    from ocitool.comparison import DiffOptions
    from ocitool.comparison.rules import rule
    from ocitool.containers.difference import engine_diff
    from ocitool.policy.documents import read

    diff_options = DiffOptions(
        ignore=words(ignore), semantic=semantic, paths=words(path), patch=patch, inside=inside, extract=optional(extract),
        secrets=show_secrets,
        ignored_paths=words(ignore_path), allow_no_match=allow_no_match, ignore_volatile=ignore_volatile,
        rules=tuple(map(rule, words(fail_on))), policy=read(policy) if policy is not None else None,
    )  # fmt: skip
    with open_session(verify=verify, no_cache=no_cache, jobs=jobs, registry=registry, engine=engine, platform=platform,
                      progress=progress, cancellation=cancellation) as session:  # fmt: skip
        return engine_diff(container, diff_options, session, image=optional(image), pause=pause, platform=platform)


def engine_commit(
    container: str, dest: Reference, *, image: Reference | None = None, pause: bool = False, message: str | None = None,
    env: Words = (), unset_env: Words = (), label: Words = (), unset_label: Words = (), annotation: Words = (),
    unset_annotation: Words = (), cmd: str | None = None, unset_cmd: bool = False, entrypoint: str | None = None,
    unset_entrypoint: bool = False, user: str | None = None, workdir: str | None = None, expose: Words = (),
    unset_expose: Words = (), volume: Words = (), unset_volume: Words = (), unset_healthcheck: bool = False,
    stop_signal: str | None = None, created: str | None = None, tag: Words = (), compression: str | None = None,
    with_: References = (), platform: str | None = None, force: bool = False, dry_run: bool = False, verify: bool = False,
    no_cache: bool = False, jobs: int = 4, registry: RegistryOptions | None = None, engine: EngineOptions | None = None,
    progress: Progress | None = None, cancellation: Cancellation | None = None,
) -> WriteResult:  # fmt: skip
    """Writes a container as an image: its image with one more layer that has exactly what the container changed, and with
    other settings. `image`: the image in a file or at a registry, whose layers are then kept as they are stored there."""
    from ocitool.containers.commit import engine_commit
    from ocitool.images import config_edits

    settings = config_edits.parse(
        env=words(env), unset_env=words(unset_env), labels=words(label), unset_labels=words(unset_label),
        annotations=words(annotation), unset_annotations=words(unset_annotation), cmd=cmd, unset_cmd=unset_cmd,
        entrypoint=entrypoint, unset_entrypoint=unset_entrypoint, user=user, workdir=workdir, expose=words(expose),
        unset_expose=words(unset_expose), volumes=words(volume), unset_volumes=words(unset_volume),
        unset_healthcheck=unset_healthcheck, stop_signal=stop_signal, created=created,
    )  # fmt: skip
    options = write_options(dest, tag=tag, compression=compression, force=force, dry_run=dry_run, fallback=with_)
    with open_session(verify=verify, no_cache=no_cache, jobs=jobs, registry=registry, engine=engine, platform=platform,
                      progress=progress, cancellation=cancellation) as session:  # fmt: skip
        return engine_commit(
            container, settings, session, options, image=optional(image), pause=pause, message=message, platform=platform
        )
