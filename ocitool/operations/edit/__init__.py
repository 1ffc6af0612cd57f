"""`edit`: an image with another configuration, or with other content in its layers; all else byte for byte.

Layers are opened only where content is asked for: an edit of the configuration costs the copy of the blobs.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from ocitool import masking
from ocitool.errors import UsageError
from ocitool.images import config_edits, drafts, select
from ocitool.images.config_edits import Settings
from ocitool.images.drafts import FinishedImage, ImageDraft
from ocitool.images.image import Image
from ocitool.operations.edit.content_edits import ContentEdits, Editor, EntryLocation, shown_path
from ocitool.operations.edit.file_addition import parse_addition
from ocitool.operations.edit.redact import SHORTEST, Redaction, Redactor
from ocitool.pipeline import index_rewrite
from ocitool.pipeline.image_writer import ImageWriter, WriteOptions, WriteResult, refuse_inside
from ocitool.pipeline.indexed_image import refuse_unreadable
from ocitool.pipeline.session import Session
from ocitool.pipeline.source_date import source_date, timestamp
from ocitool.spec import mediatypes
from ocitool.task import Task
from ocitool.transports.opening import Opened

__all__ = ["ContentEdits", "Redaction", "edit", "parse_addition"]

NOTHING = Redaction()


def edit(
    reference: str, settings: Settings, content: ContentEdits, reading: Session, writing: WriteOptions, *,
    redaction: Redaction = NOTHING, platform: str | None = None, all_platforms: bool = False,
) -> WriteResult:  # fmt: skip
    """The image that the reference means, or with `all_platforms` every image of an index, edited and written.

    `findings` of the result: contents that were to be removed and still stand elsewhere in the image, and files that hold
    what is redacted. `NotFoundError` for what is to be redacted and stands nowhere.
    """
    if redaction.search and not redaction.words and not settings.unset_env and not content.remove:
        raise UsageError("--search is for --redact, --unset-env and --rm", hint="it names files that hold what they take out")
    if not settings and not content and not redaction and writing.compression is None:
        raise UsageError("nothing to edit", hint="ocitool edit --help lists what can be; ocitool copy writes it as it is")
    for one in content.add:
        if os.path.isdir(one.source):
            refuse_inside(writing.destination, one.source)
    opened = reading.open(reference, "layers")
    with ImageWriter(writing, reading, platform=platform) as writer:
        editor = Editor(content, reading, writer)
        redactor = Redactor(redaction, settings.unset_env, reading.task)
        if redaction or settings.unset_env:
            for image in _all(opened, platform, all_platforms):
                redactor.learn(image)
        embedded: list[EntryLocation] = []

        def change(image: Image) -> FinishedImage:
            draft = redactor.redacted(drafts.start(image, writer.pieces(image)))
            draft = editor.edited(image, draft)
            if redaction.search:
                embedded.extend(one for one in _holders(image, editor, redactor, reading, writer) if one not in embedded)
            draft = draft._replace(pieces=writer.recompressed(image, draft.pieces))
            for number in reversed(editor.dropped(image)):
                draft = drafts.dropped(draft, number)
            draft = _configured(draft, settings, reading.task)
            editor.tell_mentions(draft)
            documents = drafts.finish(draft)
            if redaction.words or settings.unset_env:
                editor.replace_documents(image, documents)
            told = [*redactor.tell_leftovers(documents, image), *(("", name) for name in redaction.words)]
            for text in config_edits.leftovers(draft.config, settings):
                if not any(text.startswith(place.partition(" ")[0]) and text.endswith(name) for place, name in told):
                    reading.task.notice("leftover", f"{image.where}: {text}")
            return documents

        if not all_platforms:
            _tell_others(opened, platform, reading.task)
        output = index_rewrite.rewrite(opened, writer, change, platform, all_platforms, redactor)
        editor.settle()
        redactor.settle(redaction.search, bool(embedded))
        details = dict(editor.details or {})
        if redaction.words:
            details["redacted"] = redactor.details
        if redaction.search:
            details["embedded"] = [{"layer": one.layer, "path": shown_path(one.path)} for one in embedded]
        written = writer.deliver("edit", [output], details=details or None, findings=len(editor.elsewhere) + len(embedded))
        editor.tell_remains(written)
        return written._replace(notices=tuple(reading.task.notices))


def _all(opened: Opened, platform: str | None, all_platforms: bool) -> Iterator[Image]:
    """The images that are edited, as far as they are here."""
    target = select.sole(opened) if all_platforms else None
    if target is not None and target.document is not None and target.may_be_image:
        for _, entry in select.platforms(opened.source, target):
            if entry.present:
                yield select.resolve(opened.source, entry)
    else:
        yield select.single(opened, platform)


def _holders(image: Image, editor: Editor, redactor: Redactor, reading: Session, writer: ImageWriter) -> list[EntryLocation]:
    """What stays in the layers of an image and holds what is redacted, or the content of a file that is removed. What is
    equal to that file as a whole is told by the editor."""
    from ocitool.operations.edit.search import contents, holders

    gone = editor.dropped(image)
    image = writer.completed(image)
    indexer = reading.indexer()
    texts: list[str | bytes] = [*redactor.texts, *contents(image, editor.lost, SHORTEST, indexer, reading.task)]
    if not texts:
        return []
    numbers = [layer.number for layer in image.layers if layer.number not in gone]
    for number in numbers:
        refuse_unreadable(image, image.layers[number])
    found = holders(image, numbers, texts, indexer, reading.task)
    lost = {
        EntryLocation(number, indexer.indexes(image, [image.layers[number]])[0].paths[row])
        for number, rows in editor.lost.items() for row in rows
    }  # fmt: skip
    removed = editor.content.remove
    return [
        one for one in found if one not in lost | editor.same
        and not any(one.path == path or one.path.startswith(path + b"/") for path in removed)
    ]  # fmt: skip


def _tell_others(opened: Opened, platform: str | None, task: Task) -> None:
    """Of an index one image is left: that is said."""
    target = select.sole(opened)
    if target.document is not None and len(list(select.platforms(opened.source, target))) > 1:
        image = select.for_platform(opened, target, platform)
        only = f"only {masking.stated(image.platform)} is written"
        task.notice("platform", f"{opened.source.where}: {only}; --all-platforms takes all")


def _configured(draft: ImageDraft, settings: Settings, task: Task) -> ImageDraft:
    """The draft with these settings, and with an entry of history where they change something."""
    if not settings:
        return draft
    manifest = draft.image.manifest.fields if draft.image.manifest else {}
    fields = config_edits.apply(draft.config, settings)
    noted = config_edits.annotate(manifest, settings)
    for text in config_edits.missing(draft.config, manifest, settings):
        task.notice("unset", f"{draft.image.where}: {text}")
    if fields != draft.config:
        # A date that was asked for makes the edit repeatable; SOURCE_DATE_EPOCH goes before it, as everywhere.
        created = settings.created if settings.created and source_date() is None else timestamp()
        draft = drafts.noted(
            drafts.configured(draft, fields), {"created": created, "created_by": config_edits.describe(settings)}
        )
    annotations = noted.get("annotations") or {}
    if annotations != (manifest.get("annotations") or {}):
        draft = drafts.annotated(draft, annotations)
        if manifest.get("mediaType") == mediatypes.DOCKER_MANIFEST:
            task.notice("annotation", f"{draft.image.where}: Docker manifests have no annotations; some tools will drop them")
    return draft
