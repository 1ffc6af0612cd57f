"""ocitool: see, compare, edit and move container images as files.

This is the Python API. The names in `__all__`, with the fields and methods that docs/python-api.md lists, are stable under
semantic versioning. Everything else in this package, its modules included, is private and may change at any time.

A name is imported when it is first used.
"""

import sys
from types import ModuleType

__version__ = "0.1.0"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocitool.api.engines import engine_commit, engine_containers, engine_df, engine_diff
    from ocitool.api.image import ImageInfo, MergedTree
    from ocitool.api.image import OpenImage as Image
    from ocitool.api.image import open as open
    from ocitool.api.reading import budget, dedupe, diff, inspect, packages, tags, validate
    from ocitool.api.rendering import render
    from ocitool.api.running import Cancellation, RegistryOptions
    from ocitool.api.writing import append, copy, edit, rebase, rebuild, repack, squash, unpack
    from ocitool.comparison import Diff, IndexDiff
    from ocitool.comparison.result import (
        ConfigChange,
        Failure,
        FieldChange,
        FileChange,
        FileGroup,
        FileGroups,
        LayerPair,
        Notable,
        NotCompared,
        Patch,
        PlatformDiff,
        Side,
        Summary,
    )
    from ocitool.containers.disk_usage import EngineUsage
    from ocitool.containers.listing import ContainerList
    from ocitool.dedupe import Deduped
    from ocitool.dedupe.advice import Advice
    from ocitool.digest import Digest
    from ocitool.errors import (
        CancelledError,
        DestinationError,
        FormatError,
        IntegrityError,
        LimitError,
        NotAnImageError,
        NotFoundError,
        OcitoolError,
        TransportError,
        UnsafeError,
        UnsupportedError,
        UsageError,
    )
    from ocitool.images.image import Layer
    from ocitool.layers.entry import Entry, Kind
    from ocitool.operations.budget import BudgetReport
    from ocitool.operations.inspect import InspectedEntry, InspectedImage, Inspection, LayerFacts
    from ocitool.operations.listing import File
    from ocitool.operations.packages import ImagePackages, InstalledPackage, InstalledPackages
    from ocitool.operations.tags import Tags
    from ocitool.operations.unpack.editable import UnpackResult
    from ocitool.operations.unpack.flat import FlatResult
    from ocitool.operations.unpack.store import StoredImage, StoredLayer, StoreResult
    from ocitool.packages.package import DatabaseProblem, Distribution, Package
    from ocitool.pipeline.image_writer import WriteResult
    from ocitool.pipeline.problems import Problem
    from ocitool.policy.budget import BudgetKey, BudgetLine, Limit
    from ocitool.policy.updating import UpdatedLimit
    from ocitool.progress import Notice, Progress
    from ocitool.spec.manifest import Config, Descriptor, HistoryEntry, Index, Manifest, Platform
    from ocitool.transports.engine import EngineOptions
    from ocitool.transports.engine.containers import ContainerSummary
    from ocitool.transports.sink import OutputImage, OutputLayer
    from ocitool.trees.copied_files import CopiedFile, CopiedFiles, CopyCost
    from ocitool.validation import Checked, Finding, Validation

__all__ = [
    "Advice", "BudgetKey", "BudgetLine", "BudgetReport", "Cancellation", "CancelledError", "Checked", "Config",
    "ConfigChange", "ContainerList", "ContainerSummary", "CopiedFile", "CopiedFiles", "CopyCost", "DatabaseProblem",
    "Deduped", "Descriptor", "DestinationError", "Diff", "Digest", "Distribution", "EngineOptions", "EngineUsage",
    "Entry", "Failure", "FieldChange", "File", "FileChange", "FileGroup", "FileGroups", "Finding", "FlatResult",
    "FormatError", "HistoryEntry", "Image", "ImageInfo", "ImagePackages", "Index", "IndexDiff", "InspectedEntry",
    "InspectedImage", "Inspection", "InstalledPackage", "InstalledPackages", "IntegrityError", "Kind", "Layer",
    "LayerFacts", "LayerPair", "Limit", "LimitError", "Manifest", "MergedTree", "NotAnImageError", "NotCompared",
    "NotFoundError", "Notable", "Notice", "OcitoolError", "OutputImage", "OutputLayer", "Package", "Patch",
    "Platform", "PlatformDiff", "Problem", "Progress", "RegistryOptions", "Side", "StoreResult", "StoredImage",
    "StoredLayer", "Summary", "Tags", "TransportError", "UnpackResult", "UnsafeError", "UnsupportedError",
    "UpdatedLimit", "UsageError", "Validation", "WriteResult", "__version__", "append", "budget", "copy", "dedupe",
    "diff", "edit", "engine_commit", "engine_containers", "engine_df", "engine_diff", "inspect", "open", "packages",
    "rebase", "rebuild", "render", "repack", "squash", "tags", "unpack", "validate",
]  # fmt: skip

_NAMES = {
    "api.engines": "engine_commit engine_containers engine_df engine_diff",
    "api.image": "ImageInfo MergedTree OpenImage=Image open",
    "api.reading": "budget dedupe diff inspect packages tags validate",
    "api.rendering": "render",
    "api.running": "Cancellation RegistryOptions",
    "api.writing": "append copy edit rebase rebuild repack squash unpack",
    "containers.disk_usage": "EngineUsage",
    "containers.listing": "ContainerList",
    "dedupe": "Deduped",
    "dedupe.advice": "Advice",
    "digest": "Digest",
    "errors": (
        "CancelledError DestinationError FormatError IntegrityError LimitError NotAnImageError NotFoundError "
        "OcitoolError TransportError UnsafeError UnsupportedError UsageError"
    ),
    "images.image": "Layer",
    "layers.entry": "Entry Kind",
    "comparison": "Diff IndexDiff",
    "comparison.result": (
        "ConfigChange Failure FieldChange FileChange FileGroup FileGroups LayerPair NotCompared Notable Patch PlatformDiff "
        "Side Summary"
    ),
    "operations.budget": "BudgetReport",
    "operations.inspect": "InspectedEntry InspectedImage Inspection LayerFacts",
    "operations.listing": "File",
    "operations.packages": "ImagePackages InstalledPackage InstalledPackages",
    "operations.tags": "Tags",
    "operations.unpack.editable": "UnpackResult",
    "operations.unpack.flat": "FlatResult",
    "operations.unpack.store": "StoreResult StoredImage StoredLayer",
    "validation": "Checked Finding Validation",
    "packages.package": "DatabaseProblem Distribution Package",
    "pipeline.image_writer": "WriteResult",
    "pipeline.problems": "Problem",
    "spec.manifest": "Config Descriptor HistoryEntry Index Manifest Platform",
    "policy.budget": "BudgetKey BudgetLine Limit",
    "policy.updating": "UpdatedLimit",
    "progress": "Notice Progress",
    "transports.engine": "EngineOptions",
    "transports.engine.containers": "ContainerSummary",
    "trees.copied_files": "CopiedFile CopiedFiles CopyCost",
    "transports.sink": "OutputImage OutputLayer",
}
"""The public names by the module that defines them. `A=B`: the class `A` has the public name `B`."""

_HOMES = {
    name.rpartition("=")[2]: (module, name.partition("=")[0]) for module, names in _NAMES.items() for name in names.split()
}


if not TYPE_CHECKING:  # a type checker would accept any name

    def __getattr__(name: str) -> object:
        """Imports a public name when it is first used (PEP 562)."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        module, there = _HOMES[name]
        value: object = getattr(import_module(f"{__name__}.{module}"), there)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted(__all__)


class _Package(ModuleType):
    """The class of this module. `ocitool.dedupe` is a function and also a package; as an attribute it must stay the
    function, while `from ocitool.dedupe import ...` finds the package."""

    def __setattr__(self, name: str, value: object) -> None:
        """Ignores the import system's attempt to set a subpackage as attribute if a public function has its name."""
        if name not in _HOMES or not isinstance(value, ModuleType):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
