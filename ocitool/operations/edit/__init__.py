"""`edit`: an image with another configuration, or with other content in its layers; all else byte for byte.

Layers are opened only where content is asked for: an edit of the configuration costs the copy of the blobs.
"""

from __future__ import annotations

import os
from dataclasses import replace

from ocitool.errors import UsageError
from ocitool.images import draft as drafts
from ocitool.images import select
from ocitool.images import settings as configuration
from ocitool.images.draft import Documents, Draft
from ocitool.images.image import Image
from ocitool.images.settings import Settings
from ocitool.operations import revising
from ocitool.operations.dates import source_date, timestamp
from ocitool.operations.edit.adding import parse as addition
from ocitool.operations.edit.content import Content, Editor
from ocitool.operations.reading import Reading
from ocitool.operations.writing import Writer, Writing, Written, refuse_inside
from ocitool.spec import mediatypes
from ocitool.task import Task
from ocitool.transports.opening import Opened

__all__ = ["Content", "addition", "edit"]


def edit(
    reference: str, settings: Settings, content: Content, reading: Reading, writing: Writing, *, platform: str | None = None,
    all_platforms: bool = False,
) -> Written:  # fmt: skip
    """The image that the reference means, or with `all_platforms` every image of an index, edited and written.

    `findings` of the result: contents that were to be removed and still stand elsewhere in the image.
    """
    if not settings and not content and writing.compression is None:
        raise UsageError("nothing to edit", hint="ocitool edit --help lists what can be; ocitool copy writes it as it is")
    for one in content.add:
        if os.path.isdir(one.source):
            refuse_inside(writing.destination, one.source)
    opened = reading.open(reference, "layers")
    with Writer(writing, reading) as writer:
        editor = Editor(content, reading, writer)

        def change(image: Image) -> Documents:
            draft = drafts.start(image, writer.pieces(image))
            draft = editor.edited(image, draft)
            draft = draft._replace(pieces=writer.converted(image, draft.pieces))
            for number in reversed(editor.dropped(image)):
                draft = drafts.dropped(draft, number)
            draft = _configured(draft, settings, reading.task)
            editor.tell_mentions(draft)
            return drafts.finish(draft)

        if not all_platforms:
            _tell_others(opened, platform, reading.task)
        output = revising.output(opened, writer, change, platform, all_platforms)
        editor.settle()
        written = writer.deliver("edit", [output], details=editor.details, findings=len(editor.elsewhere))
        editor.tell_remains(written)
        return replace(written, notices=tuple(reading.task.notices))


def _tell_others(opened: Opened, platform: str | None, task: Task) -> None:
    """Of an index one image is left: that is said."""
    target = select.sole(opened)
    if target.document is not None and len(list(select.platforms(opened.source, target))) > 1:
        image = select.for_platform(opened, target, platform)
        task.notice("platform", f"{opened.source.where}: only {image.platform} is written; --all-platforms takes all")


def _configured(draft: Draft, settings: Settings, task: Task) -> Draft:
    """The draft with these settings, and with an entry of history where they change something."""
    if not settings:
        return draft
    manifest = draft.image.manifest.fields if draft.image.manifest else {}
    fields = configuration.apply(draft.config, settings)
    noted = configuration.annotate(manifest, settings)
    for text in configuration.missing(draft.config, manifest, settings):
        task.notice("unset", f"{draft.image.where}: {text}")
    for text in configuration.leftovers(fields, settings):
        task.notice("leftover", f"{draft.image.where}: {text}")
    if fields != draft.config:
        # A date that was asked for makes the edit repeatable; SOURCE_DATE_EPOCH goes before it, as everywhere.
        created = settings.created if settings.created and source_date() is None else timestamp()
        draft = drafts.noted(
            drafts.configured(draft, fields), {"created": created, "created_by": configuration.describe(settings)}
        )
    annotations = noted.get("annotations") or {}
    if annotations != (manifest.get("annotations") or {}):
        draft = drafts.annotated(draft, annotations)
        if manifest.get("mediaType") == mediatypes.DOCKER_MANIFEST:
            task.notice("annotation", f"{draft.image.where}: Docker manifests have no annotations; some tools will drop them")
    return draft
