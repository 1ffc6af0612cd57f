"""`validate`: all that a source holds, read and hashed, and every rule that it breaks.

Documents first (schemas, digests, what a schema cannot say), then each distinct layer once in one streaming pass (digest,
diff_id, the rules of its tar), then what only the stack of an image's layers shows. Damage inside an image is a finding; a
source of which nothing can be read is an error. Findings are bounded: one for each rule and place, `LIMIT` in all.
"""

from __future__ import annotations

from ocitool.images import select
from ocitool.operations.validate import archives
from ocitool.operations.validate.bare import DOCUMENTS, validate_document
from ocitool.operations.validate.documents import ValidationReader
from ocitool.operations.validate.findings import LIMIT, RULES, Checked, Finding, Severity, Validation
from ocitool.operations.validate.images import ImageChecks
from ocitool.operations.validate.layers import LayerChecks
from ocitool.task import Task
from ocitool.transports.archive import DockerArchive
from ocitool.transports.opening import open_source
from ocitool.transports.registry import Registries

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


def validate(reference: str, task: Task, registries: Registries | None = None) -> Validation:
    """Everything the reference names: the whole source, or what its selector picks.

    Raises what opening raises (`UsageError`, `NotFoundError`, `FormatError`, `LimitError`, `TransportError`).
    """
    opened = open_source(reference, "layers", task, registries)
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
    LayerChecks(reader).read()
    checked = Checked(reader.documents, reader.blobs, reader.layers, reader.entries, reader.bytes)
    return reader.found.result(reference, checked, reader.unnamed)
