"""The files that a comparison is about, and whether each glob matches any."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ocitool.comparison.options import DiffOptions
from ocitool.comparison.result import FileChange
from ocitool.globs import matcher, refuse_unmatched, unmatched
from ocitool.images.image import Image, Layer
from ocitool.pipeline.layer_identity import common_base
from ocitool.task import Task
from ocitool.trees.indexing import Indexer


class PathFilter:
    """The path globs of a comparison. `keep`: whether a path is compared."""

    def __init__(self, question: DiffOptions) -> None:
        self.keep: Callable[[bytes], bool] = matcher(question.paths)
        if question.ignored_paths:
            only, but = self.keep, matcher(question.ignored_paths)
            self.keep = lambda path: only(path) and not but(path)
        self._question = question
        self._left = [*question.paths, *question.ignored_paths]
        self._looked = self._blind = False

    def look(self, old: Image, new: Image, files: Iterable[FileChange], indexer: Indexer) -> None:
        """Checks which globs match anything: in the differences, in the other layers, and last in the layers that both
        images have, as far as these are on this machine; none is fetched for it."""
        self._left = unmatched(self._left, (change.path for change in files))
        base = common_base(old, new)
        own = [(image, layer) for image in (old, new) for layer in image.layers[base:]]
        shared = [(new, layer) for layer in new.layers[:base]]
        self._looked = True
        for image, layer in (*own, *shared):
            if not self._left:
                return
            if layer.number < base and not _is_here(layer):
                self._blind = True
                continue
            for index in indexer.indexes_of([(image, layer)]):
                self._left = unmatched(self._left, index.paths)

    def settle(self, task: Task) -> None:
        """Raises `UsageError` for globs that match nothing in any compared image."""
        if not self._looked:
            return
        question = self._question
        for option, globs in (("--path", question.paths), ("--ignore-path", question.ignored_paths)):
            missed = [glob for glob in self._left if glob in globs]
            if missed and self._blind:
                text = f"whether {option} {' '.join(missed)} matches anything is not known"
                task.notice("no-match", f"{text}: layers that both images have were not fetched")
            else:
                refuse_unmatched(missed, option, "path of either image", task, allowed=question.allow_no_match)


def _is_here(layer: Layer) -> bool:
    return layer.blob is not None and not layer.blob.remote
