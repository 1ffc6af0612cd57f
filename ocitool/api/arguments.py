"""What arguments mean that the command line and Python both take. All raise `UsageError`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TypeVar

from ocitool.errors import UsageError

if TYPE_CHECKING:
    from ocitool.digest import Digest
    from ocitool.disk.rootfs import Ownership
    from ocitool.operations.append import LayerInput
    from ocitool.operations.edit import ContentEdits
    from ocitool.pipeline.image_writer import WriteOptions

T = TypeVar("T", bound=str)

Reference = str | os.PathLike[str]
"""An image as the command line names it, or a path."""

References = Reference | Iterable[Reference]
"""One or several."""

Words = str | Iterable[str]
"""One or several values of an option that may be repeated."""


def words(given: Words) -> tuple[str, ...]:
    """The values; a text is one value, and not its characters."""
    return (given,) if isinstance(given, str) else tuple(given)


def references(given: References) -> tuple[str, ...]:
    """The references; a text or path is one reference."""
    return tuple(os.fspath(one) for one in ((given,) if isinstance(given, str | os.PathLike) else given))


def optional(given: Reference | None) -> str | None:
    return None if given is None else os.fspath(given)


def one_of(option: str, given: T, known: Sequence[T]) -> T:
    """The value of an option that has a list of them."""
    if given not in known:
        raise UsageError(f"{option}: no such value", given, hint="one of " + ", ".join(known))
    return given


def one_or_all(platform: str | None, all_platforms: bool) -> None:
    if platform and all_platforms:
        raise UsageError("--platform and --all-platforms exclude each other")


def once(*given: str | None) -> None:
    """Several references cannot be standard input."""
    if given.count("-") > 1:
        raise UsageError("standard input can be read once")


def write_options(
    destination: Reference, *, tag: Words = (), compression: str | None = None, force: bool = False, dry_run: bool = False,
    fallback: References = (), omit: frozenset[Digest] = frozenset(),
) -> WriteOptions:  # fmt: skip
    """The options of a writing command as its operation wants them."""
    from ocitool.pipeline.image_writer import WriteOptions

    asked = None
    if compression is not None:
        from ocitool.layers import compress

        asked = compress.parse(compression)
    return WriteOptions(os.fspath(destination), words(tag), asked, force, dry_run, references(fallback), omit)


def layer_inputs(
    layer: References, upperdir: References, *, to: Reference | None,
    owner: str | None, keep_owner: bool, dirs_from_layer: bool,
) -> list[LayerInput]:  # fmt: skip
    """The layers that `append` puts on an image."""
    from ocitool.operations.append import LayerInput
    from ocitool.operations.append.directory import Placement

    layers = references(layer)
    if owner is not None and keep_owner:
        raise UsageError("--owner or --keep-owner, not both")
    if not layers and (to or owner or keep_owner or dirs_from_layer):
        raise UsageError("--to, --owner, --keep-owner and --dirs-from-layer are for --layer DIR")
    placing = Placement(_path(optional(to)), None if keep_owner else _owner(owner), dirs_from_layer)
    found = [LayerInput("layer", path, placing) for path in layers]
    return found + [LayerInput("upperdir", path) for path in references(upperdir)]


def _owner(text: str | None) -> tuple[int, int]:
    """`UID:GID`, or one number for both."""
    parts = ("0" if text is None else text).split(":")
    numbers = all(part.isascii() and part.isdigit() and len(part) < 11 for part in parts)
    if len(parts) > 2 or not numbers or not all(int(part) < 1 << 32 for part in parts):
        raise UsageError(f"--owner {text}: not UID or UID:GID", hint="numbers: a name means another number in each image")
    return int(parts[0]), int(parts[-1])


def _path(text: str | None) -> bytes:
    from ocitool.layers.entry import WHITEOUT_PREFIX, escapes, normalise

    given = os.fsencode(text or "")
    if escapes(normalise(given)) or any(part.startswith(WHITEOUT_PREFIX) for part in given.split(b"/")):
        raise UsageError(f"--to {text}: no path that an image can hold")
    return b"/".join(part for part in given.split(b"/") if part not in (b"", b"."))


def content_edits(rm: Words, rm_content: bool, add: Words, layer: int | None, drop_layer: Iterable[int]) -> ContentEdits:
    """What `edit` does to the files of an image."""
    from ocitool.layers.entry import escapes, normalise
    from ocitool.operations.edit import ContentEdits, parse_addition

    removed, added = words(rm), words(add)
    if layer is not None and not added:
        raise UsageError("--layer is for --add")
    if rm_content and not removed:
        raise UsageError("--rm-content is for --rm")
    paths = []
    for word in removed:
        path = normalise(os.fsencode(word))
        if not path or escapes(path):
            raise UsageError(f"--rm {word}: no path below the root")
        paths.append(path)
    return ContentEdits(tuple(paths), rm_content, tuple(map(parse_addition, added)), layer, tuple(drop_layer))


FORMS = ("editable", "rootfs", "bundle", "layers", "tar")
"""What `unpack` makes of an image."""


def file_mode(mode: int | None, text: str) -> int | None:
    """The mode of a directory that its owner can use. `text`: as it was given."""
    if mode is not None and (mode & 0o700 != 0o700 or not 0 <= mode <= 0o777):
        raise UsageError(f"--mode {text}: not a mode that its owner can use", hint="four octal digits from 0700 to 0777")
    return mode


def ownership(
    form: str, dest: str, *, platform: str | None, all_platforms: bool, rootless: bool, rootless_xattr: bool, uid_map: Words,
    gid_map: Words, mode: int | None, force: bool,
) -> Ownership:  # fmt: skip
    """Who owns what `unpack` makes; and whether its options go with each other."""
    from ocitool.disk.rootfs import Ownership, parse_map

    owners = Ownership(
        rootless or os.geteuid() != 0, parse_map(words(uid_map), "--uid-map"), parse_map(words(gid_map), "--gid-map"),
        rootless_xattr,
    )  # fmt: skip
    of_ids = rootless or rootless_xattr or words(uid_map) or words(gid_map)
    for given, what, forms in (
        (all_platforms, "--all-platforms", ("layers",)),
        (force, "--force", ("tar",)),
        (mode is not None, "--mode", FORMS[:-1]),
        (of_ids, "ownership", FORMS[:-1]),
    ):
        if given and form not in forms:
            raise UsageError(f"{what} is for --as {', '.join(forms)}")
    one_or_all(platform, all_platforms)
    if dest == "-" and form != "tar":
        raise UsageError(
            f"standard output takes no directory, and --as {form} makes one", hint="--as tar; or ./- for that name"
        )
    if rootless_xattr and not owners.rootless:
        raise UsageError("--rootless-xattr needs --rootless: root sets the owners themselves")
    return owners
