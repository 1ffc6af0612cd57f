"""Functions that read images and write nothing."""

from __future__ import annotations

import os
from typing import Literal, get_args, overload

from ocitool.api.arguments import Reference, References, Words, once, one_of, one_or_all, optional, references, words
from ocitool.api.running import Cancellation, RegistryOptions, open_session
from ocitool.comparison import Diff, IndexDiff
from ocitool.dedupe import Deduped
from ocitool.errors import UsageError
from ocitool.operations.budget import BudgetReport
from ocitool.operations.inspect import Inspection
from ocitool.operations.packages import ImagePackages
from ocitool.operations.tags import Tags
from ocitool.progress import Progress
from ocitool.transports.engine import EngineOptions
from ocitool.validation import Validation

DocumentKind = Literal["descriptor", "manifest", "index", "config", "layout", "docker-manifest", "docker-manifest-list"]


def inspect(
    reference: Reference, *, files: bool = False, packages: bool = False, notable: bool = False, fail_on: Words = (),
    policy: Reference | None = None, top: int = 10, platform: str | None = None, all_platforms: bool = False,
    verify: bool = False, no_cache: bool = False, jobs: int = 4, registry: RegistryOptions | None = None,
    engine: EngineOptions | None = None, progress: Progress | None = None, cancellation: Cancellation | None = None,
) -> Inspection:  # fmt: skip
    """Returns what an image is, layer by layer; for a store, all its images. Opens no layer unless `files`, `packages`,
    `notable`, `fail_on` or `verify` is set.

    `notable`: also find keys, setuid files and what else a reviewer must see. `fail_on`: rules about that; those that are met
    are `failures` of the result. `policy`: a file as `.ocitool.toml`; what it accepts meets no rule.
    `problems` of the result: what in a store could not be read; everything else is in the result."""
    from ocitool.comparison.policies import check_policy
    from ocitool.comparison.rules import notable_rule
    from ocitool.operations.inspect import inspect
    from ocitool.policy.documents import read

    one_or_all(platform, all_platforms)
    rules = tuple(map(notable_rule, words(fail_on)))
    accepting = read(policy) if policy is not None else None
    if accepting is not None:
        check_policy(accepting)
    with open_session(verify=verify, no_cache=no_cache, jobs=jobs, registry=registry, engine=engine,
                      platform=platform, progress=progress, cancellation=cancellation) as session:  # fmt: skip
        return inspect(
            os.fspath(reference), session, files=files, packages=packages, top=top, platform=platform,
            all_platforms=all_platforms, notable=notable, rules=rules, policy=accepting,
        )  # fmt: skip


def packages(
    reference: Reference, *, kind: Words = (), platform: str | None = None, verify: bool = False, no_cache: bool = False,
    jobs: int = 4, registry: RegistryOptions | None = None, engine: EngineOptions | None = None,
    progress: Progress | None = None, cancellation: Cancellation | None = None,
) -> ImagePackages:  # fmt: skip
    """Returns the packages that are installed in an image, by the databases in its merged file system. Nothing of the image is
    run.

    `kind`: kinds of packages, named as in package URLs; all by default. A database that cannot be read is one of the
    `found.problems` of the result."""
    from ocitool.operations.packages import packages
    from ocitool.packages.package import PackageKind

    wanted = [one_of("--kind", one, get_args(PackageKind)) for one in words(kind)]
    kinds: list[PackageKind] = [one for one in get_args(PackageKind) if one in wanted]
    with open_session(verify=verify, no_cache=no_cache, jobs=jobs, registry=registry, engine=engine,
                      platform=platform, progress=progress, cancellation=cancellation) as session:  # fmt: skip
        return packages(os.fspath(reference), session, kinds=kinds or None, platform=platform)


@overload
def diff(
    a: Reference, b: Reference, *, path: Words = (), ignore_path: Words = (), allow_no_match: bool = False,
    ignore_volatile: bool = False, patch: bool = False, inside: bool = False, extract: Reference | None = None,
    semantic: bool = False, ignore: Words = (), fail_on: Words = (), policy: Reference | None = None,
    show_secrets: bool = False,
    platform: str | None = None, all_platforms: Literal[False] = False, verify: bool = False, no_cache: bool = False,
    jobs: int = 4, registry: RegistryOptions | None = None,
    engine: EngineOptions | None = None, progress: Progress | None = None,
    cancellation: Cancellation | None = None,
) -> Diff: ...  # fmt: skip
@overload
def diff(
    a: Reference, b: Reference, *, path: Words = (), ignore_path: Words = (), allow_no_match: bool = False,
    ignore_volatile: bool = False, patch: bool = False, inside: bool = False, extract: Reference | None = None,
    semantic: bool = False, ignore: Words = (), fail_on: Words = (), policy: Reference | None = None,
    show_secrets: bool = False,
    platform: None = None, all_platforms: Literal[True], verify: bool = False, no_cache: bool = False,
    jobs: int = 4, registry: RegistryOptions | None = None,
    engine: EngineOptions | None = None, progress: Progress | None = None,
    cancellation: Cancellation | None = None,
) -> IndexDiff: ...  # fmt: skip
def diff(
    a: Reference, b: Reference, *, path: Words = (), ignore_path: Words = (), allow_no_match: bool = False,
    ignore_volatile: bool = False, patch: bool = False, inside: bool = False, extract: Reference | None = None,
    semantic: bool = False, ignore: Words = (), fail_on: Words = (), policy: Reference | None = None,
    show_secrets: bool = False,
    platform: str | None = None, all_platforms: bool = False, verify: bool = False, no_cache: bool = False,
    jobs: int = 4, registry: RegistryOptions | None = None,
    engine: EngineOptions | None = None, progress: Progress | None = None,
    cancellation: Cancellation | None = None,
) -> Diff | IndexDiff:  # fmt: skip
    """Returns what changed from image `a` to image `b`: layers, files, configuration, and what a reviewer should see first.
    With `all_platforms`, compares two indexes platform by platform.

    `fail_on`: rules; those that are met are `failures` of the result. `policy`: a file as `.ocitool.toml`; none is looked for.
    What it accepts meets no rule, and limits of its budget that are exceeded are failures. `patch`: also make unified diffs
    of text files, without files that look secret unless `show_secrets`. `inside`: look into all changed archives, programs
    and databases, not only where it is quick. `extract`: a new or empty directory to which both sides of what changed are
    written. An image that cannot be read is an error, never a difference."""
    from ocitool.comparison import DiffOptions, diff, diff_platforms
    from ocitool.comparison.rules import rule
    from ocitool.policy.documents import read

    one_or_all(platform, all_platforms)
    before, after = os.fspath(a), os.fspath(b)
    once(before, after)
    options = DiffOptions(
        ignore=words(ignore), semantic=semantic, paths=words(path), patch=patch, inside=inside, extract=optional(extract),
        secrets=show_secrets,
        ignored_paths=words(ignore_path), allow_no_match=allow_no_match, ignore_volatile=ignore_volatile,
        rules=tuple(map(rule, words(fail_on))), policy=read(policy) if policy is not None else None,
    )  # fmt: skip
    with open_session(verify=verify, no_cache=no_cache, jobs=jobs, registry=registry, engine=engine,
                      platform=platform, progress=progress, cancellation=cancellation) as session:  # fmt: skip
        if all_platforms:
            return diff_platforms(before, after, options, session)
        return diff(before, after, options, session, platform=platform)


def budget(
    reference: Reference, *, against: Reference | None = None, policy: Reference | None = None, update: bool = False,
    headroom: int = 5, dry_run: bool = False, platform: str | None = None, verify: bool = False, no_cache: bool = False,
    jobs: int = 4, registry: RegistryOptions | None = None, engine: EngineOptions | None = None,
    progress: Progress | None = None,
    cancellation: Cancellation | None = None,
) -> BudgetReport:  # fmt: skip
    """Returns each limit of a budget with what an image has. `against`: the image before, for growth and bytes to transfer.
    `policy`: the file that has the budget; by default `.ocitool.toml` or `.dive-ci` of the repository that the current
    directory is in.

    `update`: write what was measured into the file, sizes with `headroom` per cent more, unless `dry_run`."""
    from ocitool.operations.budget import budget

    if not 0 <= headroom <= 1000:
        raise UsageError(f"--headroom {headroom}: not in the range 0 to 1000")
    with open_session(verify=verify, no_cache=no_cache, jobs=jobs, registry=registry, engine=engine,
                      platform=platform, progress=progress, cancellation=cancellation) as session:  # fmt: skip
        return budget(
            os.fspath(reference), session, against=optional(against), policy=optional(policy), update=update,
            headroom=headroom, dry_run=dry_run, platform=platform,
        )  # fmt: skip


def validate(
    reference: Reference, *, as_: DocumentKind | None = None, jobs: int = 4, registry: RegistryOptions | None = None,
    engine: EngineOptions | None = None, progress: Progress | None = None, cancellation: Cancellation | None = None,
) -> Validation:  # fmt: skip
    """Returns every rule that an image, or a whole store, breaks; everything is read and hashed. `as_`: the reference is a
    file that holds one document of this kind. Damage is a finding; a source of which nothing can be read is an error."""
    from ocitool.validation import validate, validate_document
    from ocitool.validation.bare import document_file

    text = os.fspath(reference)
    with open_session(no_cache=True, jobs=jobs, registry=registry, engine=engine, progress=progress,
                      cancellation=cancellation) as session:  # fmt: skip
        if as_ is not None:
            return validate_document(one_of("--as", as_, get_args(DocumentKind)), document_file(text), text)
        return validate(text, session.task, session.registries, session.engines)


def dedupe(
    refs: References, *, files: bool = False, repos: Words = (), tags: Words = (),
    allow_no_match: bool = False, zstd: int | None = None, export: Reference | None = None, cluster: str | None = None,
    state: Reference | None = None, strict: bool = False, top: int = 10, verify: bool = False, no_cache: bool = False,
    jobs: int = 4, registry: RegistryOptions | None = None,
    engine: EngineOptions | None = None, progress: Progress | None = None, cancellation: Cancellation | None = None,
) -> Deduped:  # fmt: skip
    """Returns what many images share, what that saves, and what more could be saved. Reads no layer unless `files`, `zstd`,
    `export` or `verify` is set; then several layers are read at a time, each in a process of its own.

    `problems` of the result: sources that could not be read; with `strict` the first of them is raised."""
    from ocitool.dedupe import DedupeOptions, RepositoryFilter, dedupe

    if zstd is not None and not 1 <= zstd <= 19:
        raise UsageError(f"--zstd {zstd}: not in the range 1 to 19")
    sources = references(refs)
    once(*sources)
    repositories = RepositoryFilter(words(repos), words(tags), allow_no_match)
    options = DedupeOptions(repositories, files, optional(export), zstd, cluster, strict, top, optional(state))
    with open_session(verify=verify, no_cache=no_cache, jobs=jobs, registry=registry, engine=engine,
                      progress=progress, cancellation=cancellation) as session:  # fmt: skip
        return dedupe(sources, options, session)


def tags(
    reference: str, *, registry: RegistryOptions | None = None, progress: Progress | None = None,
    cancellation: Cancellation | None = None,
) -> Tags:  # fmt: skip
    """Returns the tags of a repository (`docker://HOST/REPO`), in the order of the registry."""
    from ocitool.operations.tags import tags

    with open_session(registry=registry, progress=progress, cancellation=cancellation) as session:
        return tags(reference, session)
