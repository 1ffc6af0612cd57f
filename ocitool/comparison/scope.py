"""Decides which files are compared (`--path`, `--ignore-path`), and finds globs that match nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ocitool.comparison.options import DiffOptions
from ocitool.comparison.result import FileChange
from ocitool.globs import matcher, refuse_unmatched, unmatched
from ocitool.images.image import Image, Layer
from ocitool.pipeline.layer_identity import common_base_length
from ocitool.task import Task
from ocitool.trees.indexing import Indexer


class PathFilter:
    """The path globs of a comparison. `keep(path)` returns whether a path is compared."""

    def __init__(self, options: DiffOptions) -> None:
        self.keep: Callable[[bytes], bool] = matcher(options.paths)
        if options.ignored_paths:
            only, but = self.keep, matcher(options.ignored_paths)
            self.keep = lambda path: only(path) and not but(path)
        self._options = options
        self._left = [*options.paths, *options.ignored_paths]
        """Globs that have matched nothing so far."""
        self._recorded = self._incomplete = False

    def record_matches(self, old: Image, new: Image, files: Iterable[FileChange], indexer: Indexer) -> None:
        """Finds out which globs match a path of two images: first among the differences, then in the layers of one image
        only, then in their common layers, unless these are in a registry: no layer is fetched for this."""
        self._left = unmatched(self._left, (change.path for change in files))
        base = common_base_length(old, new)
        own = [(image, layer) for image in (old, new) for layer in image.layers[base:]]
        shared = [(new, layer) for layer in new.layers[:base]]
        self._recorded = True
        for image, layer in (*own, *shared):
            if not self._left:
                return
            if layer.number < base and not _is_local(layer):
                self._incomplete = True
                continue
            for index in indexer.indexes_of([(image, layer)]):
                self._left = unmatched(self._left, index.paths)

    def check_matches(self, task: Task) -> None:
        """Raises `UsageError` for globs that matched nothing in any compared image; a notice if common layers were not
        searched."""
        if not self._recorded:
            return
        options = self._options
        for option, globs in (("--path", options.paths), ("--ignore-path", options.ignored_paths)):
            missed = [glob for glob in self._left if glob in globs]
            if missed and self._incomplete:
                text = f"whether {option} {' '.join(missed)} matches anything is not known"
                task.notice("no-match", f"{text}: layers that both images have were not fetched")
            else:
                refuse_unmatched(missed, option, "path of either image", task, allowed=options.allow_no_match)


def _is_local(layer: Layer) -> bool:
    return layer.blob is not None and not layer.blob.remote
