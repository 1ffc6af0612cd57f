"""`edit`: writes an image with another configuration, or with other content in its layers; all else stays byte for byte.

Layers are opened only to edit their content: an edit of the configuration costs no more than a copy of the blobs.

`content_edits` removes and adds files, with `file_addition` for those of the host and `layer_edits` to combine the edits of
each layer; `redact` removes secrets from documents, and `search` finds them in layers.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import cache
from typing import NamedTuple

from ocitool import masking
from ocitool.digest import Digest
from ocitool.errors import UsageError
from ocitool.images import config_edits, drafts, platform_choice, select
from ocitool.images.config_edits import Settings
from ocitool.images.drafts import ImageDraft
from ocitool.images.image import Image
from ocitool.images.index_children import image_of_child
from ocitool.operations.edit.content_edits import (
    ContentChange,
    ContentEdits,
    EntryLocation,
    dropped,
    edit_content,
    refuse_missing,
    replaced_documents,
    tell_mentions,
    tell_remains,
)
from ocitool.operations.edit.file_addition import parse_addition
from ocitool.operations.edit.redact import SHORTEST, Redaction, Redactor
from ocitool.pipeline.image_writer import ImageWriter, WriteOptions, WriteResult
from ocitool.pipeline.indexed_image import refuse_unreadable
from ocitool.pipeline.rewrite import rewrite
from ocitool.pipeline.session import Session
from ocitool.pipeline.source_date import source_date, timestamp
from ocitool.spec import mediatypes
from ocitool.task import Task
from ocitool.transports.opening import Opened
from ocitool.transports.sink import OutputImage
from ocitool.trees.indexing import Indexer

__all__ = ["ContentEdits", "Redaction", "edit", "parse_addition", "with_settings"]

NOTHING = Redaction()


def edit(
    reference: str, settings: Settings, content: ContentEdits, session: Session, write_options: WriteOptions, *,
    redaction: Redaction = NOTHING, platform: str | None = None, all_platforms: bool = False,
) -> WriteResult:  # fmt: skip
    """Edits and writes the image that the reference names, or with `all_platforms` every image of an index.

    `findings` of the result: the number of files elsewhere in the image that have the content of removed files or hold what
    is redacted. Raises `NotFoundError` for a text that is to be redacted and occurs nowhere.
    """
    if redaction.search and not redaction.words and not settings.unset_env and not content.remove:
        raise UsageError("--search is for --redact, --unset-env and --rm", hint="it names files that hold what they take out")
    if not settings and not content and not redaction:
        hint = "ocitool edit --help lists what can be; ocitool copy writes it as it is, or in another --compression"
        raise UsageError("nothing to edit", hint=hint)
    for one in content.add:
        if os.path.isdir(one.source):
            write_options.target.refuse_inside(one.source)
    opened = session.open(reference, "layers")
    with ImageWriter(write_options, session, platform=platform) as writer:
        indexer = cache(session.indexer)  # made only if contents are edited or searched
        redactor = Redactor(redaction, settings.unset_env, session.task)
        if redaction or settings.unset_env:
            for image in _all(opened, platform, all_platforms):
                redactor.collect_values(image)
        replaced: dict[Digest, int] = {}

        def change(draft: ImageDraft) -> tuple[ImageDraft, _EditedImage]:
            image = draft.image
            draft, edited = edit_content(redactor.redacted(draft), content, indexer, writer)
            holders = _holders(image, content, edited, redactor, indexer(), session.task) if redaction.search else []
            for number in reversed(dropped(image, content)):
                draft = drafts.dropped(draft, number)
            draft = with_settings(draft, settings, session.task)
            tell_mentions(draft, content, session.task)
            return draft, _EditedImage(draft, edited, tuple(holders))

        def summary(done: Sequence[tuple[OutputImage, _EditedImage]]) -> tuple[EditReport | None, int]:
            for output, one in done:
                replaced.update(one.content.replaced)
                if redaction.words or settings.unset_env:
                    replaced.update(replaced_documents(one.draft.image, output))
                _tell_leftovers(output, one.draft, settings, redaction, redactor, session.task)
            refuse_missing(content, {path for _, one in done for path in one.content.found})
            same = tuple(dict.fromkeys(place for _, one in done for place in one.content.elsewhere))
            embedded = tuple(dict.fromkeys(place for _, one in done for place in one.embedded))
            redactor.refuse_unfound(redaction.search, bool(embedded))
            places = redactor.places if redaction.words else None
            report = EditReport(content.remove, same, places, embedded if redaction.search else None)
            reports = content.remove or redaction.words or redaction.search
            return report if reports else None, len(same) + len(embedded)

        if not all_platforms:
            _tell_others(opened, platform, session.task)
        written = rewrite(
            "edit", opened, change, writer, summary, platform=platform, all_platforms=all_platforms, around=redactor
        )
        tell_remains(written, replaced, writer)
        return written._replace(notices=tuple(session.task.notices))


class _EditedImage(NamedTuple):
    """An edited image, and what its edits found. `embedded`: files that still hold what was taken out."""

    draft: ImageDraft
    content: ContentChange
    embedded: tuple[EntryLocation, ...]


class EditReport(NamedTuple):
    """What was taken out. `removed`: paths. `same_content`: files that still have the content of a removed file.
    `redacted`: for each redacted text, the places that it was in; None if nothing was to be redacted. `embedded`: files
    that still hold what was taken out; None if they were not searched."""

    removed: tuple[bytes, ...]
    same_content: tuple[EntryLocation, ...]
    redacted: tuple[tuple[str, ...], ...] | None
    embedded: tuple[EntryLocation, ...] | None


def _tell_leftovers(
    output: OutputImage, draft: ImageDraft, settings: Settings, redaction: Redaction, redactor: Redactor, task: Task
) -> None:
    """Adds a notice for each place where the written documents still hold what was to be removed."""
    image = draft.image
    reported = [*redactor.tell_leftovers(output, image), *(("", name) for name in redaction.words)]
    for text in config_edits.remaining_mentions(draft.config, settings):
        if not any(text.startswith(place.partition(" ")[0]) and text.endswith(name) for place, name in reported):
            task.notice("leftover", f"{image.where}: {text}")


def _all(opened: Opened, platform: str | None, all_platforms: bool) -> Iterator[Image]:
    """Yields the images that are edited, without those of an index whose manifests are missing."""
    target = select.sole_target(opened) if all_platforms else None
    if target is not None and target.document is not None and target.may_be_image:
        for _, entry in platform_choice.platforms(opened.source, target):
            if entry.present:
                yield image_of_child(opened.source, entry)
    else:
        yield platform_choice.single(opened, platform)


def _holders(
    image: Image, content: ContentEdits, edited: ContentChange, redactor: Redactor, indexer: Indexer, task: Task
) -> list[EntryLocation]:
    """Returns the entries that remain in the layers of an image and hold what is redacted, or the content of a removed
    file. Files that equal a removed file as a whole are left out: they are reported separately."""
    from ocitool.operations.edit.search import contents, holders

    gone = dropped(image, content)
    texts: list[str | bytes] = [*redactor.texts, *contents(image, edited.lost, SHORTEST, indexer, task)]
    if not texts:
        return []
    numbers = [layer.number for layer in image.layers if layer.number not in gone]
    for number in numbers:
        refuse_unreadable(image, image.layers[number])
    found = holders(image, numbers, texts, indexer, task)
    lost = {
        EntryLocation(number, indexer.indexes(image, [image.layers[number]])[0].paths[row])
        for number, rows in edited.lost.items() for row in rows
    }  # fmt: skip
    return [
        one for one in found if one not in lost | edited.same
        and not any(one.path == path or one.path.startswith(path + b"/") for path in content.remove)
    ]  # fmt: skip


def _tell_others(opened: Opened, platform: str | None, task: Task) -> None:
    """Adds a notice if only one of several images of an index is written."""
    target = select.sole_target(opened)
    if target.document is not None and len(list(platform_choice.platforms(opened.source, target))) > 1:
        image = platform_choice.for_platform(opened, target, platform)
        only = f"only {masking.stated(image.platform)} is written"
        task.notice("platform", f"{opened.source.where}: {only}; --all-platforms takes all")


def with_settings(draft: ImageDraft, settings: Settings, task: Task) -> ImageDraft:
    """Returns the draft with these settings, and with a history entry if they change the configuration."""
    if not settings:
        return draft
    manifest = draft.image.manifest.fields if draft.image.manifest else {}
    fields = config_edits.apply(draft.config, settings)
    noted = config_edits.annotate(manifest, settings)
    for text in config_edits.nothing_to_unset(draft.config, manifest, settings):
        task.notice("unset", f"{draft.image.where}: {text}")
    if fields != draft.config:
        # The date of --created makes the edit repeatable; SOURCE_DATE_EPOCH takes precedence, as everywhere.
        created = settings.created if settings.created and source_date() is None else timestamp()
        draft = drafts.configured(draft, fields)._replace(dated=settings.created is not None)
        draft = drafts.noted(draft, {"created": created, "created_by": config_edits.describe(settings)})
    annotations = noted.get("annotations") or {}
    if annotations != (manifest.get("annotations") or {}):
        draft = drafts.annotated(draft, annotations)
        if manifest.get("mediaType") == mediatypes.DOCKER_MANIFEST:
            task.notice("annotation", f"{draft.image.where}: Docker manifests have no annotations; some tools will drop them")
    return draft
