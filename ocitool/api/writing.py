"""Functions that write images, or unpack them into files. An output appears whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Literal, get_args, overload

from ocitool.api.arguments import (
    FORMS,
    Reference,
    References,
    Words,
    content_edits,
    file_mode,
    layer_inputs,
    once,
    one_of,
    one_or_all,
    optional,
    ownership,
    references,
    words,
    write_options,
)
from ocitool.api.running import Cancellation, RegistryOptions, open_session
from ocitool.errors import UsageError
from ocitool.operations.rebuild import Plan
from ocitool.operations.repack import Mode
from ocitool.operations.unpack.editable import Form, UnpackResult
from ocitool.operations.unpack.flat import FlatResult
from ocitool.operations.unpack.store import StoreResult
from ocitool.pipeline.image_writer import WriteResult
from ocitool.progress import Progress
from ocitool.transports.engine import EngineOptions


def copy(
    sources: References, dest: Reference, *, tag: Words = (), compression: str | None = None, with_: References = (),
    omit: References = (), tags: Words = (), exclude: Words = (), strict: bool = False, allow_no_match: bool = False,
    referrers: bool = False, platform: str | None = None, all_platforms: bool = False, force: bool = False,
    dry_run: bool = False, verify: bool = False, no_cache: bool = False, jobs: int = 4,
    registry: RegistryOptions | None = None,
    engine: EngineOptions | None = None, progress: Progress | None = None, cancellation: Cancellation | None = None,
) -> WriteResult:  # fmt: skip
    """Copies images, byte for byte, to an archive, a layout or a registry; blobs that are there already are not written.

    `with_`: images from which blobs are taken that the source lacks or a registry would have to send. `omit`: images, or
    `@FILE` with digests, whose layers are left out. `problems` of the result: those of many tags that could not be copied;
    with `strict` the first problem is raised."""
    from ocitool.operations.copy import copy, omitted

    one_or_all(platform, all_platforms)
    images = references(sources)
    if not images:
        raise UsageError("copy needs a source")
    once(*images, *references(with_))
    with open_session(verify=verify, no_cache=no_cache, jobs=jobs, registry=registry, engine=engine,
                      platform=platform, progress=progress, cancellation=cancellation) as session:  # fmt: skip
        left_out = omitted(references(omit), session)
        options = write_options(
            dest, tag=tag, compression=compression, force=force, dry_run=dry_run, fallback=with_,
            omit=frozenset().union(*left_out.values()),
        )  # fmt: skip
        return copy(
            images, session, options, platform=platform, all_platforms=all_platforms, tags=words(tags), referrers=referrers,
            omit=left_out, allow_no_match=allow_no_match, exclude=words(exclude), strict=strict,
        )  # fmt: skip


def append(
    src: Reference, dest: Reference, *, layer: References = (), upperdir: References = (), to: str | None = None,
    owner: str | None = None, keep_owner: bool = False, dirs_from_layer: bool = False, message: str | None = None,
    tag: Words = (), compression: str | None = None, with_: References = (), platform: str | None = None,
    all_platforms: bool = False, force: bool = False, dry_run: bool = False, verify: bool = False, no_cache: bool = False,
    jobs: int = 4, registry: RegistryOptions | None = None,
    engine: EngineOptions | None = None, progress: Progress | None = None,
    cancellation: Cancellation | None = None,
) -> WriteResult:  # fmt: skip
    """Writes an image with more layers on top: directories or tars (`layer`), then upper directories of overlayfs
    (`upperdir`)."""
    from ocitool.operations.append import append

    one_or_all(platform, all_platforms)
    additions = layer_inputs(
        layer, upperdir, to=to, owner=owner, keep_owner=keep_owner, dirs_from_layer=dirs_from_layer
    )  # fmt: skip
    options = write_options(dest, tag=tag, compression=compression, force=force, dry_run=dry_run, fallback=with_)
    with open_session(verify=verify, no_cache=no_cache, jobs=jobs, registry=registry, engine=engine,
                      platform=platform, progress=progress, cancellation=cancellation) as session:  # fmt: skip
        return append(
            os.fspath(src), additions, session, options, message=message, platform=platform, all_platforms=all_platforms
        )


def edit(
    src: Reference, dest: Reference, *, env: Words = (), unset_env: Words = (), label: Words = (), unset_label: Words = (),
    annotation: Words = (), unset_annotation: Words = (), cmd: str | None = None, unset_cmd: bool = False,
    entrypoint: str | None = None, unset_entrypoint: bool = False, user: str | None = None, workdir: str | None = None,
    expose: Words = (), unset_expose: Words = (), volume: Words = (), unset_volume: Words = (),
    unset_healthcheck: bool = False, stop_signal: str | None = None, created: str | None = None, rm: Words = (),
    rm_content: bool = False, add: Words = (), redact: Words = (), search: bool = False, layer: int | None = None,
    drop_layer: int | Iterable[int] = (), tag: Words = (), compression: str | None = None, with_: References = (),
    platform: str | None = None, all_platforms: bool = False, force: bool = False, dry_run: bool = False,
    verify: bool = False, no_cache: bool = False, jobs: int = 4, registry: RegistryOptions | None = None,
    engine: EngineOptions | None = None, progress: Progress | None = None, cancellation: Cancellation | None = None,
) -> WriteResult:  # fmt: skip
    """Writes an image with another configuration, or with other files in the layers that it has.

    `findings` of the result: the number of files elsewhere in the image that hold what `rm` removed, and of those that
    `search` found. The image is written even if there are any."""
    from ocitool.images import config_edits
    from ocitool.operations.edit import Redaction, edit

    one_or_all(platform, all_platforms)
    dropped = (drop_layer,) if isinstance(drop_layer, int) else tuple(drop_layer)
    content = content_edits(rm, rm_content, add, layer, dropped)
    settings = config_edits.parse(
        env=words(env), unset_env=words(unset_env), labels=words(label), unset_labels=words(unset_label),
        annotations=words(annotation), unset_annotations=words(unset_annotation), cmd=cmd, unset_cmd=unset_cmd,
        entrypoint=entrypoint, unset_entrypoint=unset_entrypoint, user=user, workdir=workdir, expose=words(expose),
        unset_expose=words(unset_expose), volumes=words(volume), unset_volumes=words(unset_volume),
        unset_healthcheck=unset_healthcheck, stop_signal=stop_signal, created=created,
    )  # fmt: skip
    options = write_options(dest, tag=tag, compression=compression, force=force, dry_run=dry_run, fallback=with_)
    with open_session(verify=verify, no_cache=no_cache, jobs=jobs, registry=registry, engine=engine,
                      platform=platform, progress=progress, cancellation=cancellation) as session:  # fmt: skip
        return edit(
            os.fspath(src), settings, content, session, options, redaction=Redaction(words(redact), search), platform=platform,
            all_platforms=all_platforms,
        )  # fmt: skip


def squash(
    src: Reference, dest: Reference, *, from_: int | None = None, last: int | None = None,
    keep_base: Reference | None = None, tag: Words = (), compression: str | None = None, with_: References = (),
    platform: str | None = None, all_platforms: bool = False, force: bool = False, dry_run: bool = False,
    verify: bool = False, no_cache: bool = False, jobs: int = 4, registry: RegistryOptions | None = None,
    engine: EngineOptions | None = None, progress: Progress | None = None, cancellation: Cancellation | None = None,
) -> WriteResult:  # fmt: skip
    """Writes an image with its layers, or the upper ones, as one layer; its file system stays the same."""
    from ocitool.operations.squash import SquashRange, squash

    one_or_all(platform, all_platforms)
    once(os.fspath(src), optional(keep_base), *references(with_))
    options = write_options(dest, tag=tag, compression=compression, force=force, dry_run=dry_run, fallback=with_)
    with open_session(verify=verify, no_cache=no_cache, jobs=jobs, registry=registry, engine=engine,
                      platform=platform, progress=progress, cancellation=cancellation) as session:  # fmt: skip
        layers = SquashRange(from_, last, optional(keep_base))
        return squash(os.fspath(src), layers, session, options, platform=platform, all_platforms=all_platforms)


def rebase(
    src: Reference, dest: Reference, *, old_base: Reference | None = None, new_base: Reference | None = None,
    fail_on: Literal["none", "conflict"] = "none", tag: Words = (), compression: str | None = None, with_: References = (),
    platform: str | None = None, all_platforms: bool = False, force: bool = False, dry_run: bool = False,
    verify: bool = False, no_cache: bool = False, jobs: int = 4, registry: RegistryOptions | None = None,
    engine: EngineOptions | None = None, progress: Progress | None = None, cancellation: Cancellation | None = None,
) -> WriteResult:  # fmt: skip
    """Writes an image with the layers of a new base in place of those of its old base.

    `findings` of the result: the number of conflicts, if `fail_on` is `conflict`; the image is written even if there are
    any."""
    from ocitool.operations.rebase import BaseReferences, rebase

    one_or_all(platform, all_platforms)
    once(os.fspath(src), optional(old_base), optional(new_base), *references(with_))
    conflict = one_of("--fail-on", fail_on, ("none", "conflict")) == "conflict"
    options = write_options(dest, tag=tag, compression=compression, force=force, dry_run=dry_run, fallback=with_)
    with open_session(verify=verify, no_cache=no_cache, jobs=jobs, registry=registry, engine=engine,
                      platform=platform, progress=progress, cancellation=cancellation) as session:  # fmt: skip
        bases = BaseReferences(optional(old_base), optional(new_base))
        return rebase(
            os.fspath(src), bases, session, options, platform=platform, all_platforms=all_platforms, fail_on_conflict=conflict
        )


def rebuild(
    new: Reference, dest: Reference, *, against: References = (), plan: Plan = "auto", strict_times: bool = False,
    ignore_path: Words = (), allow_no_match: bool = False, tag: Words = (), compression: str | None = None,
    with_: References = (), platform: str | None = None, all_platforms: bool = False, force: bool = False,
    dry_run: bool = False, verify: bool = False, no_cache: bool = False, jobs: int = 4,
    registry: RegistryOptions | None = None,
    engine: EngineOptions | None = None, progress: Progress | None = None, cancellation: Cancellation | None = None,
) -> WriteResult:  # fmt: skip
    """Writes an image with the layers of older images (`against`) in place of its own that equal them. Nothing is built."""
    from ocitool.operations.rebuild import RebuildOptions, rebuild

    one_or_all(platform, all_platforms)
    older = references(against)
    once(os.fspath(new), *older, *references(with_))
    chosen = one_of("--plan", plan, get_args(Plan))
    options = write_options(dest, tag=tag, compression=compression, force=force, dry_run=dry_run, fallback=with_)
    with open_session(verify=verify, no_cache=no_cache, jobs=jobs, registry=registry, engine=engine,
                      platform=platform, progress=progress, cancellation=cancellation) as session:  # fmt: skip
        how = RebuildOptions(older, chosen, strict_times, words(ignore_path), allow_no_match)
        return rebuild(os.fspath(new), how, session, options, platform=platform, all_platforms=all_platforms)


def repack(
    directory: Reference, dest: Reference, *, source: Reference | None = None, mode: Mode = "rewrite",
    keep_base: Reference | None = None, checksum: bool = False, dir_times: bool = False, tag: Words = (),
    compression: str | None = None, force: bool = False, dry_run: bool = False, verify: bool = False,
    no_cache: bool = False, jobs: int = 4, registry: RegistryOptions | None = None,
    engine: EngineOptions | None = None, progress: Progress | None = None,
    cancellation: Cancellation | None = None,
) -> WriteResult:  # fmt: skip
    """Writes the image in a directory that `unpack` made, with the changes in `DIR/rootfs`. Without any change, the digest
    is that of the unpacked image."""
    from ocitool.operations.repack import RepackOptions, repack

    chosen = one_of("--mode", mode, get_args(Mode))
    options = write_options(dest, tag=tag, compression=compression, force=force, dry_run=dry_run)
    with open_session(verify=verify, no_cache=no_cache, jobs=jobs, registry=registry, engine=engine,
                      progress=progress, cancellation=cancellation) as session:  # fmt: skip
        how = RepackOptions(optional(source), chosen, optional(keep_base), checksum, dir_times)
        return repack(os.fspath(directory), how, session, options)


@overload
def unpack(
    reference: Reference, dest: Reference, *, as_: Form = "editable", platform: str | None = None,
    all_platforms: bool = False, rootless: bool = False, rootless_xattr: bool = False, uid_map: Words = (), gid_map: Words = (),
    mode: int | None = None, force: bool = False, no_cache: bool = False, jobs: int = 4,
    registry: RegistryOptions | None = None,
    engine: EngineOptions | None = None, progress: Progress | None = None, cancellation: Cancellation | None = None,
) -> UnpackResult: ...  # fmt: skip
@overload
def unpack(
    reference: Reference, dest: Reference, *, as_: Literal["layers"], platform: str | None = None,
    all_platforms: bool = False, rootless: bool = False, rootless_xattr: bool = False, uid_map: Words = (), gid_map: Words = (),
    mode: int | None = None, force: bool = False, no_cache: bool = False, jobs: int = 4,
    registry: RegistryOptions | None = None,
    engine: EngineOptions | None = None, progress: Progress | None = None, cancellation: Cancellation | None = None,
) -> StoreResult: ...  # fmt: skip
@overload
def unpack(
    reference: Reference, dest: Reference, *, as_: Literal["tar"], platform: str | None = None,
    all_platforms: bool = False, rootless: bool = False, rootless_xattr: bool = False, uid_map: Words = (), gid_map: Words = (),
    mode: int | None = None, force: bool = False, no_cache: bool = False, jobs: int = 4,
    registry: RegistryOptions | None = None,
    engine: EngineOptions | None = None, progress: Progress | None = None, cancellation: Cancellation | None = None,
) -> FlatResult: ...  # fmt: skip
def unpack(
    reference: Reference, dest: Reference, *, as_: Form | Literal["layers", "tar"] = "editable", platform: str | None = None,
    all_platforms: bool = False, rootless: bool = False, rootless_xattr: bool = False, uid_map: Words = (), gid_map: Words = (),
    mode: int | None = None, force: bool = False, no_cache: bool = False, jobs: int = 4,
    registry: RegistryOptions | None = None,
    engine: EngineOptions | None = None, progress: Progress | None = None, cancellation: Cancellation | None = None,
) -> UnpackResult | StoreResult | FlatResult:  # fmt: skip
    """Unpacks an image into files; every layer is verified. `as_`: `editable` for `repack`, the file system alone
    (`rootfs`), a runtime `bundle`, each layer once for overlay mounts (`layers`), or one `tar`. `mode`: the mode of the
    directory that is made, as 0o755."""
    one_of("--as", as_, FORMS)
    source, destination = os.fspath(reference), os.fspath(dest)
    owners = ownership(
        as_, destination, platform=platform, all_platforms=all_platforms, rootless=rootless, rootless_xattr=rootless_xattr,
        uid_map=uid_map, gid_map=gid_map, mode=mode, force=force,
    )  # fmt: skip
    directory_mode = None if mode is None else file_mode(mode, f"{mode:04o}")
    with open_session(no_cache=no_cache, jobs=jobs, registry=registry, engine=engine, platform=platform, progress=progress,
                      cancellation=cancellation) as session:  # fmt: skip
        if as_ == "layers":
            from ocitool.operations.unpack import store

            return store.unpack(
                source, destination, session, platform=platform, all_platforms=all_platforms, owners=owners, mode=directory_mode
            )
        if as_ == "tar":
            from ocitool.operations.unpack import flat

            return flat.unpack(source, destination, session, platform=platform, force=force)
        from ocitool.operations.unpack import editable

        return editable.unpack(source, destination, session, form=as_, platform=platform, owners=owners, mode=directory_mode)
