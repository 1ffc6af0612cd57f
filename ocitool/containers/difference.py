"""`engine diff`: a container's image, compared with that image and the container's writable layer on it."""

from __future__ import annotations

from ocitool.comparison import Diff, DiffOptions, diff_images
from ocitool.containers.listing import container_image
from ocitool.containers.writable_layer import writable_layer
from ocitool.pipeline.session import Session
from ocitool.transports.engine.containers import inspect_container
from ocitool.trees.copied_files import copied_files


def engine_diff(
    name: str, diff_options: DiffOptions, session: Session, *, image: str | None = None, pause: bool = False,
    platform: str | None = None,
) -> Diff:  # fmt: skip
    """Returns what a container changed of its image, with the files that it copied up. `image`: a reference to the image, which
    else comes from the engine; `pause`: a running container is paused while it is read.

    Raises `NotFoundError` for a container that does not exist, and what reading the image raises.
    """
    diff_options.check()
    engine = session.engine()
    container = inspect_container(engine, name)
    source = container_image(engine, container, session, image, platform)
    indexer = session.indexer()
    found = writable_layer(engine, container, source.image, indexer, pause=pause)
    before = source.image
    after = before
    if found.changes:
        layer = found.layer(session.task)
        after = before._replace(layers=(*before.layers, layer))
    result = diff_images(
        container.image or source.reference, f"container {container.name}", before, after, diff_options, session, indexer
    )
    copied = copied_files(
        indexer.indexes(after), lambda number, index, rows: indexer.with_hashes(after.layers[number], index, rows),
        lowest=len(before.layers),
    )  # fmt: skip
    return result._replace(copied=copied, notices=tuple(session.task.notices))
