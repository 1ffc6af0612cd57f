"""Parses and checks arguments, for the command line and for Python. All functions raise `UsageError` for an invalid one."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TypeVar

from ocitool.errors import UsageError

if TYPE_CHECKING:
    from ocitool.digest import Digest
    from ocitool.disk.attributes import Ownership
    from ocitool.operations.append import LayerInput
    from ocitool.operations.edit import ContentEdits
    from ocitool.pipeline.image_writer import WriteOptions

T = TypeVar("T", bound=str)

Reference = str | os.PathLike[str]
"""An image as the command line names it, or a path."""

References = Reference | Iterable[Reference]
"""One image or several."""

Words = str | Iterable[str]
"""One or several values of an option that may be repeated."""


def words(values: Words) -> tuple[str, ...]:
    """Returns the values of an option as a tuple; a string is one value."""
    return (values,) if isinstance(values, str) else tuple(values)


def references(values: References) -> tuple[str, ...]:
    """Returns references as strings; a string or path is one reference."""
    return tuple(os.fspath(one) for one in ((values,) if isinstance(values, str | os.PathLike) else values))


def optional(reference: Reference | None) -> str | None:
    """Returns a reference as a string, or None."""
    return None if reference is None else os.fspath(reference)


def one_of(option: str, value: T, known: Sequence[T]) -> T:
    """Returns the value of an option, which must be one of `known`."""
    if value not in known:
        raise UsageError(f"{option}: invalid value", value, hint="one of " + ", ".join(known))
    return value


def one_or_all(platform: str | None, all_platforms: bool) -> None:
    """Checks that `--platform` and `--all-platforms` are not given together."""
    if platform and all_platforms:
        raise UsageError("--platform and --all-platforms exclude each other")


def once(*references: str | None) -> None:
    """Checks that at most one of the references is standard input."""
    if references.count("-") > 1:
        raise UsageError("standard input can be read only once")


def write_options(
    destination: Reference, *, tag: Words = (), compression: str | None = None, force: bool = False, dry_run: bool = False,
    fallback: References = (), omit: frozenset[Digest] = frozenset(),
) -> WriteOptions:  # fmt: skip
    """Returns the options of a writing command for its operation."""
    from ocitool.pipeline.image_writer import WriteOptions

    codec = None
    if compression is not None:
        from ocitool.layers import compress

        codec = compress.parse(compression)
    return WriteOptions(os.fspath(destination), words(tag), codec, force, dry_run, references(fallback), omit)


def layer_inputs(
    layer: References, upperdir: References, *, to: Reference | None,
    owner: str | None, keep_owner: bool, dirs_from_layer: bool,
) -> list[LayerInput]:  # fmt: skip
    """Returns the layers that `append` puts on an image: those of `layer`, then those of `upperdir`."""
    from ocitool.operations.append import LayerInput
    from ocitool.operations.append.directory import Placement

    layers = references(layer)
    if owner is not None and keep_owner:
        raise UsageError("--owner or --keep-owner, not both")
    if not layers and (to or owner or keep_owner or dirs_from_layer):
        raise UsageError("--to, --owner, --keep-owner and --dirs-from-layer are for --layer DIR")
    placement = Placement(_path(optional(to)), None if keep_owner else _owner(owner), dirs_from_layer)
    inputs = [LayerInput("layer", path, placement) for path in layers]
    return inputs + [LayerInput("upperdir", path) for path in references(upperdir)]


def _owner(text: str | None) -> tuple[int, int]:
    """Parses `UID:GID`, or one number for both; returns 0, 0 if nothing is given."""
    parts = ("0" if text is None else text).split(":")
    numbers = all(part.isascii() and part.isdigit() and len(part) < 11 for part in parts)
    if len(parts) > 2 or not numbers or not all(int(part) < 1 << 32 for part in parts):
        raise UsageError(
            f"--owner {text}: expected UID or UID:GID", hint="numbers, since a name has another number in each image"
        )
    return int(parts[0]), int(parts[-1])


def _path(text: str | None) -> bytes:
    """Returns the path of `--to` without leading slash; a path out of the root, or a whiteout, is invalid."""
    from ocitool.layers.entry import WHITEOUT_PREFIX, escapes, normalise

    path = os.fsencode(text or "")
    if escapes(normalise(path)) or any(part.startswith(WHITEOUT_PREFIX) for part in path.split(b"/")):
        raise UsageError(f"--to {text}: invalid path for a file in an image")
    return b"/".join(part for part in path.split(b"/") if part not in (b"", b"."))


def content_edits(rm: Words, rm_content: bool, add: Words, layer: int | None, drop_layer: Iterable[int]) -> ContentEdits:
    """Returns the changes that `edit` makes to the files of an image."""
    from ocitool.layers.entry import escapes, normalise
    from ocitool.operations.edit import ContentEdits, parse_addition

    removed, added = words(rm), words(add)
    if layer is not None and not added:
        raise UsageError("--layer is for --add")
    if rm_content and not removed:
        raise UsageError("--rm-content is for --rm")
    paths = []
    for text in removed:
        path = normalise(os.fsencode(text))
        if not path or escapes(path):
            raise UsageError(f"--rm {text}: invalid path, it must be below the root")
        paths.append(path)
    return ContentEdits(tuple(paths), rm_content, tuple(map(parse_addition, added)), layer, tuple(drop_layer))


FORMS = ("editable", "rootfs", "bundle", "layers", "tar")
"""The forms into which `unpack` unpacks an image."""


def file_mode(mode: int | None, text: str) -> int | None:
    """Returns the mode of a directory, which must let its owner read, write and search. `text`: the mode as the user wrote
    it."""
    if mode is not None and (mode & 0o700 != 0o700 or not 0 <= mode <= 0o777):
        raise UsageError(f"--mode {text}: invalid mode", hint="four octal digits from 0700 to 0777")
    return mode


def ownership(
    form: str, dest: str, *, platform: str | None, all_platforms: bool, rootless: bool, rootless_xattr: bool, uid_map: Words,
    gid_map: Words, mode: int | None, force: bool,
) -> Ownership:  # fmt: skip
    """Returns how `unpack` sets owners, and checks that its options fit together and to the form."""
    from ocitool.disk.attributes import Ownership, parse_map

    owners = Ownership(
        rootless or os.geteuid() != 0, parse_map(words(uid_map), "--uid-map"), parse_map(words(gid_map), "--gid-map"),
        rootless_xattr,
    )  # fmt: skip
    sets_owners = rootless or rootless_xattr or words(uid_map) or words(gid_map)
    for given, what, forms in (
        (all_platforms, "--all-platforms", ("layers",)),
        (force, "--force", ("tar",)),
        (mode is not None, "--mode", FORMS[:-1]),
        (sets_owners, "ownership", FORMS[:-1]),
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
