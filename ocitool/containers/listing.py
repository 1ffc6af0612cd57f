"""`engine containers`: the containers of an engine, and the image of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from ocitool.digest import Digest
from ocitool.errors import FormatError, NotFoundError, UsageError
from ocitool.images import platform_choice
from ocitool.images.image import Image
from ocitool.pipeline.session import Session
from ocitool.progress import Notice
from ocitool.reference import ENGINE
from ocitool.transports.engine.containers import ContainerSummary, InspectedContainer, list_containers
from ocitool.transports.opening import Opened

if TYPE_CHECKING:
    from ocitool.transports.engine.client import Engine


class ContainerList(NamedTuple):
    """The report of `engine containers`. `engine`: its address; `name`, `version`: as it states them."""

    engine: str
    name: str
    version: str
    containers: tuple[ContainerSummary, ...]
    notices: tuple[Notice, ...]


def containers(session: Session, *, running: bool = False) -> ContainerList:
    """Returns the containers of the engine, by name. `running`: only those that run or are paused. Raises what `Engine.get`
    raises."""
    engine = session.engine()
    found = list_containers(engine, stopped=not running)
    version = engine.version
    return ContainerList(engine.where, version.name, version.version, found, tuple(session.task.notices))


class ContainerImage(NamedTuple):
    """The image of a container. `reference`: by which it was opened; `platform`: that of the image, for an index."""

    opened: Opened
    image: Image
    reference: str
    platform: str | None


def container_image(
    engine: Engine, container: InspectedContainer, session: Session, reference: str | None, platform: str | None
) -> ContainerImage:
    """Returns the image that a container was made of: from the engine, or from where `reference` says, which must be the same
    by its diff_ids.

    Raises what opening an image raises, `UsageError` for another image.
    """
    if reference is None:
        reference = f"{ENGINE.prefix}{container.image_id}"
        try:
            opened = session.open(reference, "layers")
        except NotFoundError as error:
            error.hint = "--image REF names the container's image in a file or at a registry"
            raise
        return ContainerImage(opened, platform_choice.single(opened, platform), reference, platform)
    stated, own = _stated(engine, container, session)
    platform = platform or own
    opened = session.open(reference, "layers")
    image = platform_choice.single(opened, platform)
    if stated is not None and list(image.config.diff_ids) != stated:
        other = next((n for n, pair in enumerate(zip(image.config.diff_ids, stated, strict=False)) if pair[0] != pair[1]), None)
        why = f"layer {other} is another one" if other is not None else f"it has {len(image.layers)} layers, not {len(stated)}"
        raise UsageError(
            f"not the image of container {container.name}: {why}", reference,
            hint=f"the container was made of {container.image} ({container.image_id})",
        )  # fmt: skip
    return ContainerImage(opened, image, reference, platform)


def _stated(engine: Engine, container: InspectedContainer, session: Session) -> tuple[list[Digest] | None, str | None]:
    """Returns the diff_ids and the platform that the engine states of a container's image; None, with a notice, if it has the
    image no more."""
    what = f"image {container.image_id}"
    try:
        found: Any = engine.get(f"/images/{quote(container.image_id, safe=':')}/json", what)
    except NotFoundError:
        text = f"container {container.name}: the engine has its image no more, so --image could not be compared with it"
        session.task.notice("image", text)
        return None, None
    try:
        layers = [Digest.parse(one) for one in found["RootFS"]["Layers"]]
        parts = [found["Os"], found["Architecture"], found.get("Variant") or ""]
        platform = "/".join(part for part in parts if part)
    except (TypeError, KeyError, FormatError, AttributeError):
        raise FormatError("the engine's answer does not say which layers the image has", f"{engine.where}: {what}") from None
    return layers, platform
