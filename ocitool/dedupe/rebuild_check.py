"""Tries `rebuild` on two images of a collection, as the command that is advised will do: layers that differ in volatile files
are equal only if nothing else differs in them, nor in the merged file systems."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ocitool.dedupe.collection import Collection, ImageEntry, StoredBlob
from ocitool.errors import CancelledError, OcitoolError
from ocitool.images import platform_choice
from ocitool.layers.index import LayerIndex
from ocitool.operations.rebuild.reuse import old_image, reused_layers
from ocitool.operations.rebuild.suggestion import more_reuse
from ocitool.pipeline.indexed_image import IndexedImage
from ocitool.pipeline.session import Session

Pair = tuple[StoredBlob, StoredBlob]
"""A layer that can be dropped, and the one that stays."""


class RebuildCheck:
    """Finds out which layers `rebuild` re-uses, and with which `--ignore-path`. Documents are read again, layers only for the
    contents of files that a rule of a volatile class is about. Each check takes time linear in the entries of two images."""

    MAX_CHECKS = 1_000
    """Most images that are checked; a notice says if there are more."""

    def __init__(self, collection: Collection, recall: Callable[[StoredBlob], LayerIndex | None], session: Session) -> None:
        self._collection = collection
        self._recall = recall
        self._session = session
        self._left = self.MAX_CHECKS
        self._old: tuple[int, IndexedImage | None] = (-1, None)
        """The image that was last taken layers from, by its number."""

    def confirmed(
        self, users: Sequence[int], keeper: int, pairs: Sequence[Pair]
    ) -> tuple[list[Pair], dict[int, Sequence[str]]]:
        """Returns those of the pairs whose layers all the users can take from the keeper, and the globs that each of them
        needs for it."""
        members = self._collection.members
        left, globs = list(pairs), {}
        for user in users:
            found = self._tried(members[user], members[keeper]) if left else None
            if found is None:
                return [], {}
            reused, globs[user] = found
            left = [pair for pair in left if pair[0] in reused]
        return left, globs

    def _tried(self, user: ImageEntry, keeper: ImageEntry) -> tuple[set[StoredBlob], Sequence[str]] | None:
        """Returns the layers of an image that need not stay, and the globs for that; None if it cannot be found out."""
        self._left -= 1
        if self._left == -1:
            text = f"{self.MAX_CHECKS:,} images were tried for layers that differ in volatile files alone, others were not"
            self._session.task.notice("not-tried", text)
        if self._left < 0:
            return None
        try:
            new = self._indexed(user)
            if self._old[0] != keeper.number:
                self._old = keeper.number, self._indexed(keeper)
            old = self._old[1]
            return None if new is None or old is None else self._reused(user, new, old)
        except CancelledError:
            raise
        except OcitoolError as error:
            self._session.task.notice(
                "not-tried", f"{user.reference} was not rebuilt out of {keeper.reference} to try: {error}"
            )
            return None

    def _reused(self, user: ImageEntry, new: IndexedImage, old: IndexedImage) -> tuple[set[StoredBlob], Sequence[str]]:
        olds = [old_image(new, old, times=False, ignored=None)]
        matches = reused_layers(new, olds, times=False, ignored=None)
        more = more_reuse(new, olds, matches, (), times=False, task=self._session.task)
        best = matches if more is None else more.matches
        layers = user.platform_images[0].layers
        own = {layer for layer, match in zip(layers, best, strict=True) if match.how == "changed"}
        return set(layers) - own, () if more is None else more.globs

    def _indexed(self, member: ImageEntry) -> IndexedImage | None:
        """Returns an image with the indexes that were made of its layers; None if one could not be read, or if the image is
        another one by now."""
        (stack,) = member.platform_images
        image = platform_choice.single(self._session.open(member.reference, "layers"), None)
        indexes = [index for layer in stack.layers if (index := self._recall(layer)) is not None]
        if len(indexes) != len(image.layers) or image.image_id != member.image_id:
            return None
        return IndexedImage(image, indexes)
