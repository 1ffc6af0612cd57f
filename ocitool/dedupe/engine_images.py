"""The images of an engine: what names each, and the sizes of its layers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ocitool import reference
from ocitool.dedupe.discovery import Tolerant
from ocitool.errors import FormatError
from ocitool.pipeline.session import Session
from ocitool.progress import Counter
from ocitool.transports.archive import Want
from ocitool.transports.opening import Opened
from ocitool.transports.source import DockerImageRecord

if TYPE_CHECKING:
    from ocitool.transports.engine.client import Engine  # with it comes docker-py


def opened_images(name: str, session: Session, want: Want, tolerant: Tolerant) -> Iterator[tuple[str, Opened]]:
    """Yields the images that a reference to an engine means, all of them if it names none, each with its reference.

    Only what the engine says of them is read, unless their layers are wanted. `tolerant`: takes the errors of single images.
    """
    wanted = [name] if name != reference.ENGINE.prefix else references(session.engine())
    progress = Counter("images", len(wanted), session.task)
    opened: list[tuple[str, Opened]] = []
    for text in wanted:
        with tolerant(text):
            opened.append((text, session.open(text, "layers" if want == "layers" else "summary")))
        progress.one_more()
    yield from with_sizes(opened)


def references(engine: Engine) -> list[str]:
    """Returns a reference to each image of an engine, by its first name; by its id if it has none. Raises what `Engine.get`
    raises, and `FormatError` for an answer that is not a list of images."""
    found = engine.get("/images/json", "list of images")
    if not isinstance(found, list) or not all(isinstance(one, dict) and isinstance(one.get("Id"), str) for one in found):
        raise FormatError("the answer is not a list of images", engine.where)
    named = []
    for one in found:
        tags = one.get("RepoTags")
        names = sorted(tag for tag in tags if isinstance(tag, str) and tag != _NONE) if isinstance(tags, list) else []
        named.append(f"{reference.ENGINE.prefix}{names[0] if names else one['Id']}")
    return sorted(dict.fromkeys(named))


_NONE = "<none>:<none>"


def with_sizes(opened: Sequence[tuple[str, Opened]]) -> Iterator[tuple[str, Opened]]:
    """Yields the sources with sizes of layers that an engine's answers leave open.

    The engine's history does not say which of its entries without bytes made a layer. Then layers get the sizes that other
    images say, and what is left of the image's size goes to the highest of those that none does.
    """
    known: dict[str, int] = {}
    later: list[tuple[str, Opened]] = []
    for text, one in opened:
        records = one.source.records
        if len(records) != 1 or records[0].described is None:
            yield text, one
        elif _sizes_known(records[0]):
            known |= {diff_id: blob.size for diff_id, blob in _layers(records[0])}
            yield text, one
        else:
            later.append((text, one))
    for text, one in later:
        record = one.source.records[0]
        layers = _layers(record)
        missing = [number for number, (diff_id, _) in enumerate(layers) if diff_id not in known]
        left = max(0, (record.described or 0) - sum(known.get(diff_id, 0) for diff_id, _ in layers))
        for number, (diff_id, blob) in enumerate(layers):
            blob.size = known.get(diff_id, left if missing and number == missing[-1] else 0)
        yield text, one


def _layers(record: DockerImageRecord) -> list[tuple[str, Any]]:
    diff_ids = json.loads(record.config)["rootfs"]["diff_ids"]
    return [(str(diff_id), blob) for diff_id, blob in zip(diff_ids, record.layers, strict=False) if blob is not None]


def _sizes_known(record: DockerImageRecord) -> bool:
    """Whether the layers' sizes are those of the image: they are all 0 if they are not known."""
    return sum(blob.size for _, blob in _layers(record)) > 0 or not record.described
