"""`engine commit`: a container's image with the container's writable layer as one more layer, and other settings if asked."""

from __future__ import annotations

from ocitool.containers.listing import container_image
from ocitool.containers.writable_layer import writable_layer
from ocitool.images.config_edits import Settings
from ocitool.images.drafts import ImageDraft, inserted
from ocitool.operations.edit import with_settings
from ocitool.pipeline.image_writer import ImageWriter, WriteOptions, WriteResult
from ocitool.pipeline.rewrite import rewrite
from ocitool.pipeline.session import Session
from ocitool.pipeline.source_date import clamped, timestamp
from ocitool.transports.engine.containers import inspect_container


def engine_commit(
    name: str, settings: Settings, session: Session, write_options: WriteOptions, *, image: str | None = None,
    pause: bool = False, message: str | None = None, platform: str | None = None,
) -> WriteResult:  # fmt: skip
    """Writes a container as an image. `image`: a reference to its image, whose layers are kept as they are stored there; else
    it comes from the engine. `pause`: a running container is paused while it is read.

    Raises `NotFoundError` for a container that does not exist, and what reading and writing an image raise.
    """
    engine = session.engine()
    container = inspect_container(engine, name)
    source = container_image(engine, container, session, image, platform)

    with ImageWriter(write_options, session, platform=source.platform) as writer:

        def committed(draft: ImageDraft) -> tuple[ImageDraft, None]:
            found = writable_layer(engine, container, draft.image, session.indexer(), pause=pause, clamped=clamped)
            if found.changes:
                layer = writer.layers.made(found.tar(session.task), writer.layers.new_codec(draft.image), draft.image, "new")
                entry = {"created": timestamp(), "created_by": f"ocitool engine commit {container.name}"}
                draft = inserted(draft, len(draft.layers), layer, entry | ({"comment": message} if message else {}))
            else:
                text = f"container {container.name} changed nothing of its image: no layer is added"
                session.task.notice("unchanged", text)
            return with_settings(draft, settings, session.task), None

        return rewrite("engine-commit", source.opened, committed, writer, lambda _: (None, 0), platform=source.platform)
