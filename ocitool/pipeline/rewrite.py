"""The one way from an image to another one that is written; every command that changes images supplies its change alone.

    missing blobs are found -> layers -> change -> conversion -> times -> documents -> delivery

- A change is a step from a draft to a draft, with what the command tells of it. It may make layers (`writer.layers`);
  everything else that an image needs to be written is done here, and so the same for every command.
- An image that the change leaves as it is keeps its documents and layers byte for byte. Only `copy` converts it.
- `--with` and the destination lend what the source lacks before the change sees the image.
- `SOURCE_DATE_EPOCH` is the time at which a changed configuration says that the image was created (see `source_date`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from ocitool.images import drafts, platform_choice, select
from ocitool.images.drafts import ImageDraft
from ocitool.images.image import Image
from ocitool.pipeline.delivery import deliver
from ocitool.pipeline.image_writer import ImageWriter, WriteResult
from ocitool.pipeline.index_rewrite import IndexChange, report_lost_referrers, rewrite_index
from ocitool.pipeline.source_date import with_timestamp
from ocitool.transports.opening import Opened
from ocitool.transports.sink import OutputImage
from ocitool.transports.source import Source

T = TypeVar("T")

Change = Callable[[ImageDraft], tuple[ImageDraft, T]]
"""From a draft of the image as it is to one of the image that is wanted, and what the command tells of that."""

Summary = Callable[[Sequence[tuple[OutputImage, T]]], tuple[object, int]]
"""From the images that come out and what was told of each to `WriteResult.details` and `findings`. Raises what is wrong with
all of them; nothing is written then."""


def rewrite(
    command: str, opened: Opened, change: Change[T], writer: ImageWriter, summary: Summary[T], *, platform: str | None = None,
    all_platforms: bool = False, around: IndexChange | None = None,
) -> WriteResult:  # fmt: skip
    """Changes and writes what a reference names: one image, or with `all_platforms` an index with all of its images.
    Raises what `platform_choice.single` and `deliver` raise."""
    done: list[tuple[OutputImage, T]] = []

    def finish(image: Image) -> OutputImage:
        done.append(_finished(image, change, writer))
        return done[-1][0]

    target = select.sole_target(opened) if all_platforms else None
    if target is not None and target.document is not None and target.may_be_image:
        output = rewrite_index(opened, target, writer, finish, around)
    else:
        image = platform_choice.single(opened, platform)
        output = finish(image)
        report_lost_referrers(opened.source, image, output, writer)
    return deliver(writer, command, [output], *summary(done))


def rewrite_one(
    command: str, source: Source, image: Image, change: Change[T], writer: ImageWriter, summary: Summary[T]
) -> WriteResult:
    """Changes and writes one image, as `rewrite` does, if no reference names it."""
    output, told = _finished(image, change, writer)
    report_lost_referrers(source, image, output, writer)
    return deliver(writer, command, [output], *summary([(output, told)]))


def convert(image: Image, writer: ImageWriter) -> OutputImage:
    """Returns the image unchanged but for its compression, if another one was asked for; it gets a manifest if it has
    none."""
    output, _ = _finished(image, lambda draft: (draft, None), writer, always=True)
    return output


def _finished(image: Image, change: Change[T], writer: ImageWriter, *, always: bool = False) -> tuple[OutputImage, T]:
    """Returns the changed image with its new documents, and what the change returned. `always`: layers are converted
    even if the change leaves the image as it is."""
    image = writer.blobs.with_missing_layers(image)
    start = drafts.start(image, writer.layers.of_image(image))
    draft, told = change(start)
    changed = draft.differs(start)
    layers = writer.layers.converted(image, draft.layers, changed=changed or always)
    if changed:
        draft = with_timestamp(draft)
    return drafts.finish(draft._replace(layers=layers)), told
