"""`validate`: reads and hashes everything in a source, and checks it against every rule.

In the direction of the data: `documents` reads documents and blobs; `archives` checks the files around the images, `images`
the tree of an index, `bare` a single document; `layers` reads each distinct layer, and `tars` checks its tar; `findings`
has the rules and collects the findings.
"""

from __future__ import annotations

from ocitool.images import select
from ocitool.task import Task
from ocitool.transports.archive import DockerArchive
from ocitool.transports.engine import Engines
from ocitool.transports.opening import open_source
from ocitool.transports.registry import Registries
from ocitool.validation import archives
from ocitool.validation.bare import DOCUMENTS, validate_document
from ocitool.validation.documents import ValidationReader
from ocitool.validation.findings import LIMIT, RULES, Checked, Finding, Severity, Validation
from ocitool.validation.images import ImageChecks
from ocitool.validation.layers import LayerChecks

__all__ = [
    "DOCUMENTS",
    "LIMIT",
    "RULES",
    "Checked",
    "Finding",
    "Severity",
    "Validation",
    "validate",
    "validate_document",
]


def validate(
    reference: str, task: Task, registries: Registries | None = None, engines: Engines | None = None
) -> Validation:  # fmt: skip
    """Validates the whole source that a reference names, or what its selector picks, and returns the findings.

    Raises what opening raises: `UsageError`, `NotFoundError`, `FormatError`, `LimitError`, `TransportError`.
    """
    opened = open_source(reference, "layers", task, registries, engines)
    source, selector = opened.source, opened.selector
    reader = ValidationReader(source, task)
    archives.container(reader, opened.problems)
    entries, records = select.selected(source, selector) if selector is not None else ((), list(enumerate(source.records)))
    if source.index is not None:
        ImageChecks(reader).index(source.index, selector, entries)
    elif isinstance(source, DockerArchive):
        archives.listed_images(reader, source)
    archives.records(reader, records)
    if selector is None:
        archives.unnamed(reader)
    LayerChecks(reader).check()
    checked = Checked(reader.documents, reader.blobs, reader.layers, reader.entries, reader.bytes)
    return reader.findings.result(reference, checked, reader.unnamed)
