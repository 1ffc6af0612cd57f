"""`copy`: images from any place to any other, blobs and documents byte for byte."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import NamedTuple, TypeVar

from ocitool import masking, reference
from ocitool.blob import missing_blob, unopened
from ocitool.digest import Digest
from ocitool.errors import CancelledError, FormatError, NotFoundError, OcitoolError, UsageError
from ocitool.globs import nothing_matches, refuse_unmatched
from ocitool.images import indexes, platform_choice, select
from ocitool.images.closure import closure
from ocitool.images.image import Image
from ocitool.images.index_children import all_children
from ocitool.images.select import Target
from ocitool.operations.tags import matches_any, matching_tags, unmatched_globs
from ocitool.patterns import pattern
from ocitool.pipeline import index_rewrite
from ocitool.pipeline.delivery import deliver
from ocitool.pipeline.image_writer import ImageWriter, WriteOptions, WriteResult
from ocitool.pipeline.output_layers import kept, unhashed_layer
from ocitool.pipeline.problems import Problem, problem_at, refuse_nothing
from ocitool.pipeline.rewrite import convert
from ocitool.pipeline.session import Session
from ocitool.reference import Repository
from ocitool.spec.manifest import REF_NAME, with_names
from ocitool.transports.opening import Opened
from ocitool.transports.sink import OutputImage
from ocitool.transports.source import RemoteSource, Source

T = TypeVar("T")
R = TypeVar("R")


def copy(
    references: Sequence[str],
    session: Session,
    write_options: WriteOptions,
    *,
    command: str = "copy",
    platform: str | None = None,
    all_platforms: bool = False,
    tags: Sequence[str] = (),
    referrers: bool = False,
    omit: Mapping[str, frozenset[Digest]] | None = None,
    allow_no_match: bool = False,
    exclude: Sequence[str] = (),
    strict: bool = False,
) -> WriteResult:
    """Copies all images that the references name: of an index the image of one platform, or with `all_platforms` the index
    and everything in it. Between registries indexes are copied as a whole too, unless `platform` is given.

    - tags: globs of tags, for every repository that is named without one; exclude: globs of tags that are left out. A tag
      that cannot be copied is one of the `problems`, and the others are copied; with `strict`, or if none can be copied, the
      first problem is raised.
    - referrers: also copies signatures, bills of materials and other referrers of the images.
    - omit: the digests of `write_options.omit`, by the argument that named them.
    - allow_no_match: globs and arguments of `omit` may match nothing.

    Between registries a tag of `tags` that leads to the same digest at the destination is skipped without reading what it
    leads to, unless everything is to be verified, or written again (`write_options.force`). Only the manifest of an image
    that has none is generated, and the layers that `write_options.compression` applies to.
    """
    if tags and all(_repository(word) is None for word in references):
        raise UsageError("--tags is for a repository that is named without a tag", ", ".join(references))
    if exclude and not tags:
        raise UsageError("--exclude leaves out tags of those that --tags names", hint="--tags '*' names all")
    requests = _expanded(references, tags, exclude, session, allow_no_match, notice_digest_tags=not referrers)
    if strict:
        requests = [one._replace(optional=False) for one in requests]
    problems: list[Problem] = []
    skip = platform is None and not (
        referrers or omit or write_options.compression or write_options.fallback or write_options.force
    )
    skip = skip and write_options.target.remote and not session.verify
    with ExitStack() as stack:
        early: ImageWriter | None = None
        if _from_engine(references):  # layers of an engine are received into files of the destination: it is opened first
            early = stack.enter_context(ImageWriter(write_options, session, platform=platform))
        opened = _without_problems(_opened(requests, session), problems)
        refuse_nothing(opened, problems, session.task)
        writer = early or stack.enter_context(ImageWriter(write_options, session, platform=platform))
        copying = _Copying(writer, platform, all_platforms, referrers, skip)
        # Of what is made again each layer is made once, so one image follows the other.
        many = write_options.compression is None and all(optional for _, optional in opened)
        mapped = session.task.map if many else _one_by_one
        each = mapped(lambda row: _tried(row[0].source.where, row[1], lambda: copying.outputs(*row)), opened)
        outputs = [output for found in _without_problems(each, problems) for output in found]
        refuse_nothing(outputs, problems, session.task)
        _tell_left_out([one for one, _ in opened], outputs, session)
        if omit is not None:
            _refuse_needless(omit, outputs, session, allow_no_match)
        writer.problems += problems
        written = deliver(writer, command, outputs)
        for one, optional in opened:
            if not optional:  # what a glob picks is copied as it was when it was read
                _tell_moved(one.source, session)
    return written._replace(notices=tuple(session.task.notices))


def _from_engine(references: Sequence[str]) -> bool:
    """Returns whether one of the references names an image of an engine."""
    return any((transport := reference.parse(word).transport) is not None and transport.engine for word in references)


class _Copying(NamedTuple):
    """What makes outputs of opened sources. `skip_existing`: a tag that a glob picked is not read if the destination has it."""

    writer: ImageWriter
    platform: str | None
    all_platforms: bool
    referrers: bool
    skip_existing: bool

    def outputs(self, opened: Opened, optional: bool) -> list[OutputImage]:
        """Returns everything that a source gives to copy. `optional`: a glob picked it, among others."""
        source, writer = opened.source, self.writer
        if isinstance(source, RemoteSource):
            source.reuse_documents(writer.blobs.near)
        if optional and self.skip_existing and (existing := _existing(source, writer)) is not None:
            return [existing]
        # Between registries a tag comes to name what it named: a promotion that drops platforms is found out too late.
        between_registries = writer.options.target.remote and source.remote
        whole = self.all_platforms or (between_registries and self.platform is None)
        targets = _targets(opened)
        try:
            images = [_output(opened, target, writer, self.platform, whole) for target in targets]
        except CancelledError:
            raise
        except OcitoolError as error:
            raise _others_hinted(error, opened) if len(targets) > 1 else error from None
        made = _with_referrers(source, targets, images, writer) if self.referrers else images
        return [output._replace(optional=True) for output in made] if optional else made


class _Request(NamedTuple):
    """A reference. `optional`: a glob picked it, and the others are copied even if this one cannot be."""

    word: str
    optional: bool


def _tried(where: str, optional: bool, what: Callable[[], T]) -> T | Problem:
    """Returns what `what` returns, or the problem that it raises if it is about one of many."""
    try:
        return what()
    except OcitoolError as error:
        if not optional or error.ends_run:
            raise
        return problem_at(where, error)


def _without_problems(found: Iterable[T | Problem], problems: list[Problem]) -> list[T]:
    """Returns what was made, in its order, and appends the problems among it to `problems`."""
    rows = list(found)
    problems += [one for one in rows if isinstance(one, Problem)]
    return [one for one in rows if not isinstance(one, Problem)]


def _one_by_one(function: Callable[[T], R], items: Sequence[T]) -> list[R]:
    return [function(item) for item in items]


def _existing(source: Source, writer: ImageWriter) -> OutputImage | None:
    """Returns what a tag leads to, as an unchanged output, if the same tag leads to it at the destination; else None."""
    if not isinstance(source, RemoteSource) or source.index is None:
        return None
    root = source.index.manifests[0]
    names = [name] if (name := root.annotations.get(REF_NAME)) else []
    return index_rewrite.unchanged(source, root, names) if names and writer.named(names) == {root.digest} else None


def _expanded(
    references: Sequence[str], globs: Sequence[str], exclude: Sequence[str], session: Session, allowed: bool, *,
    notice_digest_tags: bool,
) -> list[_Request]:  # fmt: skip
    """Returns the references, with each repository without a tag replaced by its tags that match. `notice_digest_tags`: add
    a notice that tags of the form of a digest (`sha256-...`) are left out."""
    found: list[_Request] = []
    picked: list[str] = []
    others: list[str] = []
    for text in references:
        where = _repository(text)
        if not globs or where is None:
            found.append(_Request(text, False))
            continue
        chosen, digest_tags = matching_tags(where, globs, session)
        left_out = [tag for tag in digest_tags if not matches_any(tag, exclude)] if notice_digest_tags else []
        if left_out:
            skipped = f"{where}: tags that name a digest are not copied ({len(left_out)}, the first: {left_out[0]})"
            session.task.notice("referrer", f"{skipped}; --referrers takes those of the images")
        if not chosen and not allowed:
            raise nothing_matches("tag", globs, str(where))
        picked += chosen
        others += digest_tags
        kept = [tag for tag in chosen if not matches_any(tag, exclude)]
        found += [_Request(str(where._replace(tag=tag)), True) for tag in kept]
    refuse_unmatched(unmatched_globs(globs, picked), "--tags", "tag", session.task, allowed=allowed)
    refuse_unmatched(unmatched_globs(exclude, [*picked, *others]), "--exclude", "tag", session.task, allowed=True)
    if not found:
        raise NotFoundError("no image is left to copy", ", ".join(references))
    return found


def _refuse_needless(
    omit: Mapping[str, frozenset[Digest]], outputs: Sequence[OutputImage], session: Session, allowed: bool
) -> None:
    """Raises if digests to omit are of no layer that is copied. An argument without digests is right for a side that has
    nothing yet."""
    layers = {layer.digest for output in outputs for image in output.images for layer in image.layers}
    needless = [word for word, digests in omit.items() if digests and layers.isdisjoint(digests)]
    refuse_unmatched(needless, "--omit", "layer of what is copied", session.task, allowed=allowed)


def _repository(word: str) -> Repository | None:
    """Returns the repository that a reference names without a tag or digest; None for any other reference."""
    where = reference.at_registry(word)
    return where if where is not None and where.tag is None and where.digest is None else None


def _opened(requests: Sequence[_Request], session: Session) -> list[tuple[Opened, bool] | Problem]:
    """Opens the sources, and returns each with whether it is optional. Those at registries are opened several at a time."""

    def opened(one: _Request) -> tuple[Opened, bool] | Problem:
        return _tried(one.word, one.optional, lambda: (session.open(one.word, "layers"), one.optional))

    if all(reference.host_of(one.word) is not None for one in requests):
        return session.task.map(opened, requests, lambda _: True)
    return [opened(one) for one in requests]


def _with_referrers(
    source: Source, targets: Sequence[Target], outputs: Sequence[OutputImage], writer: ImageWriter
) -> list[OutputImage]:
    """Returns the images and their referrers, each with its subject. A target that is a referrer of another, as in a layout,
    is not an image of its own; a referrer that is part of an image that is copied is not copied once more."""
    tops = [Digest.parse(output.descriptor["digest"]) for output in outputs]
    subjects = dict.fromkeys([*tops, *(image.digest for output in outputs for image in output.images)])
    spoken = indexes.all_referrers(source, subjects)
    if isinstance(source, RemoteSource):
        writer.report_referrers_error(source)
    # At a registry each target was asked for by its name: it is an image, even if it is listed as a referrer.
    about = {one.descriptor.digest for one in spoken} if not isinstance(source, RemoteSource) else set()
    _tell_unread(source, {*about, *subjects}, writer)
    found = []
    for target, digest, output in zip(targets, tops, outputs, strict=True):
        stated = target.top.digest if target.top is not None else digest  # of an index only one platform may have been taken
        if about.isdisjoint((digest, stated)):
            found.append(output)
    held = {digest for output in found for digest, _, _ in output.blobs}
    for one in spoken:
        if one.descriptor.digest in held:
            continue
        names = (one.tag,) if one.tag is not None else ()
        descriptor = one.descriptor._replace(fields=with_names(one.descriptor.fields, {}))
        try:
            below = closure(source, descriptor)
        except NotFoundError:  # listed, and never stored or deleted since: there is nothing that could be copied
            text = f"{source.where}: {descriptor.digest}, listed as speaking of {one.subject}, is not here and is not copied"
            writer.task.notice("missing", text)
            continue
        output = index_rewrite.copy_found(source, descriptor, names, below, writer)
        found.append(output._replace(subject=one.subject))
    return found


def _tell_unread(source: Source, known: Collection[Digest], writer: ImageWriter) -> None:
    """Adds notices about entries of a source of which it cannot be known whether they are referrers of an image."""
    if source.index is None or isinstance(source, RemoteSource):
        return
    for entry, _ in all_children(source, source.index):
        one = entry.descriptor
        if entry.document is None and not entry.opaque and one.platform is None and one.digest not in known:
            why = "cannot be read" if entry.present else "is not here"
            text = f"{source.where}: {one.digest} {why}: whether it refers to an image is not known"
            writer.task.notice("missing", text)


def _tell_left_out(opened: Sequence[Opened], outputs: Sequence[OutputImage], session: Session) -> None:
    """Adds notices about attestations that are listed next to the images of a source, not in an image's index: they are not
    copied."""
    held = {digest for output in outputs for digest, _, _ in output.blobs}
    for source in (one.source for one in opened if one.selector is None and one.source.index is not None):
        for entry in source.index.manifests if source.index is not None else ():
            if entry.is_attestation and entry.digest not in held:
                text = f"{source.where}: the attestation {entry.digest} is not copied; --referrers takes those of the images"
                session.task.notice("attestation", text)


def _tell_moved(source: Source, session: Session) -> None:
    """Adds a notice if a tag names another digest now than when it was read."""
    if isinstance(source, RemoteSource) and (now := source.resolve()) is not None:
        text = f"{source.where}: the tag was moved meanwhile and names {now} now; what was read is what it named before"
        session.task.notice("moved", text)


def _targets(opened: Opened) -> tuple[Target, ...]:
    """Returns everything that a reference names. Raises the first error of any of it, and `NotFoundError` for nothing."""
    for one in select.unreadable(opened):
        raise _others_hinted(one.error(opened.source.where), opened)
    try:
        found = select.targets(opened)
    except CancelledError:
        raise
    except OcitoolError as error:
        raise _others_hinted(error, opened) from None
    if not found:
        raise NotFoundError("it holds no image", opened.source.where)
    return found


def _others_hinted(error: OcitoolError, opened: Opened) -> OcitoolError:
    """Returns the error of one entry of several, with the hint that the others can be copied by name: without names all are
    copied or none."""
    index = opened.source.index
    count = (len(index.entries) if index is not None else 0) + sum(one.instead_of is None for one in opened.source.records)
    if error.hint is None and opened.selector is None and count > 1:
        error.hint = f"the others can be picked: {opened.source.where}:NAME or :@N"
    return error


def _output(opened: Opened, target: Target, writer: ImageWriter, platform: str | None, all_platforms: bool) -> OutputImage:
    """Returns what is to be written of a target: its index, one image of it, or whatever else it is, byte for byte."""
    source = opened.source
    names = index_rewrite.names_of(target)
    if target.document is source.index and len(target.entries) == 1 and not target.entries[0].present:
        raise missing_blob("manifest", target.entries[0].descriptor.digest, source.where)
    if target.opaque and target.document is source.index:
        root = target.entries[0].descriptor
        return index_rewrite.copy_closure(source, root, names, closure(source, root), writer)
    if target.document is not None and all_platforms:
        if writer.options.compression is not None or target.document is source.index:
            return index_rewrite.rewrite_index(opened, target, writer, lambda one: _converted(one, writer))
        _, descriptor = index_rewrite.index_of(opened, target)
        return index_rewrite.copy_closure(source, descriptor, names, closure(source, descriptor), writer)
    if target.document is not None:
        try:
            image = platform_choice.for_platform(opened, target, platform)
        except NotFoundError:
            if platform is not None or target.document is source.index or target.may_be_image:
                raise
            # An index without any image, as of a build cache, has nothing to choose from.
            _, descriptor = index_rewrite.index_of(opened, target)
            return index_rewrite.copy_closure(source, descriptor, names, closure(source, descriptor), writer)
        _tell_what_stays(source.where, image, target, writer, platform)
        entry = next((entry for entry in target.entries if entry.descriptor.digest == image.digest), None)
    else:
        assert target.image is not None
        image = target.image
        if image.is_image:
            platform_choice.check_platform(opened, image, platform)
        entry = target.entries[0] if target.entries else None
    convertible = image.is_image and (entry is None or entry.kind == "image")
    if entry is None or (writer.options.compression is not None and convertible):
        output = _converted(image._replace(tags=names), writer)
        index_rewrite.report_lost_referrers(source, image, output, writer)
        return output if entry is None else index_rewrite.with_descriptor_of(output, entry.descriptor)
    return index_rewrite.copy_closure(source, entry.descriptor, names, closure(source, entry.descriptor), writer)


def _tell_what_stays(where: str, image: Image, target: Target, writer: ImageWriter, platform: str | None) -> None:
    """Adds notices about what of an index is not copied when one image of it is."""
    if platform is None and any(
        entry.stated_kind == "image" and entry.descriptor.digest != image.digest for entry in target.entries
    ):
        writer.task.notice("platform", f"{where}: only {masking.stated(image.platform)} is written; --all-platforms takes all")
    if any(entry.stated_kind == "attestation" for entry in target.entries):
        text = f"{where}: the image is written without its index and attestations; --all-platforms takes all"
        writer.task.notice("attestation", text)


def _converted(image: Image, writer: ImageWriter) -> OutputImage:
    """Returns the image with its layers in the compression asked for, if any, and with a manifest made if it has none."""
    output = convert(image, writer)
    if output.image_id != image.config.digest and image.image_id == str(image.config.digest):
        what = "other diff_ids than its layers have" if image.config.diff_ids else "no diff_ids"
        text = f"the configuration {image.image_id} states {what}: those of its layers are written into it, it becomes"
        writer.task.notice("config", f"{image.where}: {text} {output.image_id}")
    return output


def omitted(arguments: Sequence[str], session: Session) -> dict[str, frozenset[Digest]]:
    """Returns the digests that the other side has, by argument: those of the blobs of a reference, or those in `@FILE`, which
    has a digest a line or is a JSON report of ocitool."""
    return {
        argument: frozenset(_listed(argument[1:]) if argument.startswith("@") else _of_reference(argument, session))
        for argument in arguments
    }


def _of_reference(argument: str, session: Session) -> Iterator[Digest]:
    """Yields the digests of all blobs of what a reference names."""
    opened = session.open(argument, "layers")
    for target in _targets(opened):
        if target.image is not None and target.image.manifest is None:
            for layer in target.image.layers:
                if layer.digest is not None:
                    yield layer.digest
                elif layer.blob is not None:
                    yield (unhashed_layer(target.image, layer) or kept(target.image, layer, session.task)).digest
        for entry in target.entries:
            if entry.document is not None:
                yield from (descriptor.digest for descriptor, _ in closure(opened.source, entry.descriptor).blobs)


_DIGEST = pattern(r"(?<![0-9a-z])sha(?:256:[0-9a-f]{64}|512:[0-9a-f]{128})(?![0-9a-zA-Z])")


def _of_before(text: str) -> str:
    """Returns the part of a text to search for digests: of the report of a diff, which names both images, the older one."""
    import json

    try:
        report = json.loads(text)
    except (ValueError, RecursionError):
        return text
    if not isinstance(report, dict) or report.get("report") != "diff":
        return text
    try:
        parts = [report, *((one["diff"] or {}) for one in report.get("platforms") or ())]
        return json.dumps([row["before"] for part in parts for row in part.get("layers") or ()])
    except (KeyError, TypeError, AttributeError):
        return text


def _listed(path: str) -> Iterator[Digest]:
    """Yields every digest in a file, a list or JSON. A diff_id or a configuration's digest among them does no harm: only
    layers are left out, by the digest of their stored bytes."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read(1 << 28)
    except OSError as error:
        raise unopened(path, error) from None
    found = _DIGEST.findall(_of_before(text))
    if not found and text.strip():
        raise FormatError("a list of digests without a digest", path, hint="a digest a line, or a JSON report of ocitool")
    yield from (Digest.parse(one) for one in found)
