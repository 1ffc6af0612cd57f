"""The choice of one image: the only one that a reference means, and that of an index for a platform."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ocitool import masking
from ocitool.blob import missing_blob
from ocitool.errors import NotFoundError, UnsupportedError, UsageError
from ocitool.images.image import Image, platform_of_config
from ocitool.images.index_children import IndexChild, image_of_child
from ocitool.images.platforms import Rank, parse_platform, rank, with_missing_values
from ocitool.images.select import Target, sole_target
from ocitool.spec import mediatypes
from ocitool.spec.manifest import Manifest, Platform
from ocitool.transports.opening import Opened
from ocitool.transports.source import Source


def single(opened: Opened, platform: str | None, *, like: Platform | None = None) -> Image:
    """Returns the single image that a reference means. Raises what `sole_target` and `image_of` raise."""
    return image_of(opened, sole_target(opened), platform, like=like)


def image_of(opened: Opened, target: Target, platform: str | None, *, like: Platform | None = None) -> Image:
    """Returns the image of a target for a platform. `like` replaces the host's platform if no `platform` is given.

    Raises `NotFoundError` if no image is for the platform, `UsageError` for an artifact or attestation.
    """
    image = target.image if target.image is not None else for_platform(opened, target, platform, like)
    if not image.is_image:
        raise UsageError("an artifact, where an image is needed", opened.source.where)
    if target.document is None:
        check_platform(opened, image, platform)
    if any(entry.stated_kind == "attestation" for entry in target.entries if target.image is not None):
        raise UsageError("an attestation, where an image is needed", opened.source.where)
    return image


def platforms(source: Source, target: Target) -> Iterator[tuple[Platform, IndexChild]]:
    """Yields the images of an index with their platforms, in its order. A platform that the descriptor does not state
    is the configuration's."""
    for entry in target.entries:
        if entry.kind == "image":
            yield platform_of(source, entry), entry


def for_platform(opened: Opened, target: Target, platform: str | None, like: Platform | None = None) -> Image:
    """Returns the image of an index for a platform: the given one, else `like`'s, else the host's; else the only image
    that is present.

    A notice names other images that match as well, and in what the image differs from what was wanted. Raises
    `NotFoundError`.
    """
    source = opened.source
    wanted = like if platform is None and like is not None and like.os and like.architecture else parse_platform(platform)
    chosen = _nearest(opened, target, wanted, strict=platform is not None)
    if chosen is None or not (source.remote or chosen.present):
        chosen = _only_present(opened, target, wanted, chosen, asked=platform is not None)
    try:
        return image_of_child(source, chosen, _tags_of_target(target))
    except NotFoundError as error:  # its configuration
        others = [str(have) for have, entry in platforms(source, target) if entry is not chosen and entry.document is not None]
        if error.hint is None and others:
            error.hint = f"it holds {', '.join(others[:_MAX_NAMED])} beside it; --platform picks one"
        raise


def check_platform(opened: Opened, image: Image, platform: str | None) -> None:
    """Raises `NotFoundError` if the image is for another platform than the given one; adds a notice if it is not quite
    the same."""
    if platform is None:
        return
    wanted = parse_platform(platform)
    found = rank(wanted, image.platform, strict=True)
    if found is None:
        raise NotFoundError(f"the image is for {masking.stated(image.platform)}, not {platform}", opened.source.where)
    if not found.exact:
        text = f"{opened.source.where}: the image is for {masking.stated(image.platform)}, not quite {wanted}"
        opened.source.tell("platform", text)


class _Candidate(NamedTuple):
    rank: Rank
    entry: IndexChild
    platform: Platform

    def __str__(self) -> str:
        return f"{masking.stated(self.platform)} {self.entry.descriptor.digest}"


def _nearest(opened: Opened, target: Target, wanted: Platform, *, strict: bool) -> IndexChild | None:
    """Returns the nearest image for a platform, the first of equally near ones; None if none matches.

    Images with layers of unknown types come last, and of these the missing ones. Entries whose descriptor states
    another platform are not read.
    """
    found = []
    for entry in target.entries:
        offered = _offered_platform(opened.source, entry, wanted)
        near = rank(wanted, offered, strict=strict)
        if offered is not None and near is not None:
            found.append(_Candidate(near, entry, offered))
    found.sort(key=lambda one: one.rank)
    chosen = next((one for one in found if _is_workable(one.entry)), None)
    if chosen is None:
        images = [one for one in found if one.entry.kind == "image"]
        chosen = next((one for one in images if one.entry.present), images[0] if images else None)
    if chosen is not None and chosen.entry.present:
        _notice_choice(opened, wanted, chosen, found)
    return chosen and chosen.entry


def _notice_choice(opened: Opened, wanted: Platform, chosen: _Candidate, found: Sequence[_Candidate]) -> None:
    """Adds notices about the choice: other images that match as well, and a platform that is not quite the wanted one."""
    others = {one.entry.descriptor.digest: one for one in found if one.rank <= chosen.rank}
    others.pop(chosen.entry.descriptor.digest)
    listed = [str(one) for one in others.values()]
    if len(listed) > _MAX_NAMED:
        listed[_MAX_NAMED:] = [f"{len(listed) - _MAX_NAMED} more"]
    if listed:
        text = f"several images are for {wanted}: taken is {chosen}, and not {', '.join(listed)}"
        opened.source.tell("platform", f"{opened.source.where}: {text}; --platform or @DIGEST picks another")
    if not chosen.rank.exact:
        text = f"{opened.source.where}: the image is for {masking.stated(chosen.platform)}, not quite {wanted}"
        opened.source.tell("platform", text)


_MAX_NAMED = 10
"""Most images that a message names besides the one that was chosen."""


def _is_workable(entry: IndexChild) -> bool:
    """Returns whether an image is present and all its layers are of known types."""
    if entry.kind != "image" or not isinstance(entry.document, Manifest):
        return False
    return all(not one.media_type or mediatypes.layer_codec(one.media_type) for one in entry.document.layers)


def _offered_platform(source: Source, entry: IndexChild, wanted: Platform) -> Platform | None:
    """Returns the platform of an image, None for anything else. The configuration is read only for values that the
    descriptor lacks."""
    if entry.stated_kind not in ("image", "artifact"):
        return None
    stated = entry.descriptor.platform
    if stated is None:
        return platform_of(source, entry) if entry.kind == "image" else None
    if rank(wanted, stated) is None or stated.os_version or stated.os_features:
        return stated
    lacks = wanted.os_version is not None or wanted.os_features
    if not lacks or entry.kind != "image" or not isinstance(entry.document, Manifest):
        return stated
    return with_missing_values(stated, platform_of_config(source, entry.document))


_KINDS = {
    mediatypes.DOCKER_SCHEMA1: "a Docker schema 1 manifest",
    mediatypes.DOCKER_SCHEMA1_SIGNED: "a Docker schema 1 manifest",
    mediatypes.OCI_ARTIFACT: "an artifact manifest",
}


def _only_present(opened: Opened, target: Target, wanted: Platform, absent: IndexChild | None, *, asked: bool) -> IndexChild:
    """Returns the only image of an index that is present, unless a platform was asked for. Raises `NotFoundError`,
    which lists what is present."""
    offered = list(platforms(opened.source, target))
    here = [(have, entry) for have, entry in offered if entry.document is not None]
    others = ", ".join(str(have) for have, entry in offered if entry.document is None)
    if len(here) == 1 and not asked:
        have, entry = here[0]
        if others:
            text = f"{have} is taken, the only image that is here; not here: {others}"
            opened.source.tell("platform", f"{opened.source.where}: {text}")
        return entry
    if target.opaque:
        what = target.entries[0].descriptor.media_type
        raise UnsupportedError(f"{_KINDS.get(what, what)}, where an image is needed", opened.source.where)
    if not offered and target.unread is not None:
        raise target.unread
    names = ", ".join(str(have) for have, _ in here)
    hint = f"it holds {names}; --platform picks one" if names else "it holds no image"
    if others:
        hint = (f"here are {names}; --platform picks one" if names else "no image is here") + f"; not here: {others}"
    if absent is not None:
        raise missing_blob("manifest", f"{absent.descriptor.digest} for {wanted}", opened.source.where, hint=hint)
    raise NotFoundError(f"no image for {wanted}", opened.source.where, hint=hint)


def platform_of(source: Source, entry: IndexChild) -> Platform:
    """Returns the platform that the descriptor states, else the configuration's."""
    platform = entry.descriptor.platform
    if platform is None and isinstance(entry.document, Manifest):
        platform = platform_of_config(source, entry.document)
    return platform or Platform(None, None, None)


def _tags_of_target(target: Target) -> tuple[str, ...]:
    return tuple(dict.fromkeys(tag for entry in target.entries for tag in entry.tags))
