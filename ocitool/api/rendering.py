"""A result as the commands print it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, get_args

from ocitool import credentials
from ocitool.api.arguments import one_of
from ocitool.errors import UsageError

if TYPE_CHECKING:
    from ocitool.dedupe import Deduped
    from ocitool.operations.diff import Diff, IndexDiff
    from ocitool.operations.inspect import Inspection
    from ocitool.operations.tags import Tags
    from ocitool.operations.unpack.editable import UnpackResult
    from ocitool.operations.unpack.flat import FlatResult
    from ocitool.operations.unpack.store import StoreResult
    from ocitool.operations.validate import Validation
    from ocitool.pipeline.image_writer import WriteResult

Format = Literal["text", "json", "markdown"]


def render(
    result: Inspection | Diff | IndexDiff | Validation | Deduped | Tags | WriteResult | UnpackResult | StoreResult | FlatResult,
    format: Format = "text", *, show_secrets: bool = False, stat: bool = False,
) -> str:  # fmt: skip
    """The report of a result as its command prints it: text, JSON that validates against the schema of the report, or Markdown
    (of `inspect`, `diff` and `dedupe`).

    Texts of an image are escaped in it, and what looks like a secret is `***` unless `show_secrets`. `stat`: of a diff totals
    and layers, no lists. Raises `UsageError` for anything else than the results of functions of `ocitool`."""
    from ocitool import masking

    renderer = _RENDERERS.get(type(result).__name__)
    if renderer is None:
        raise UsageError(f"no report is made of {type(result).__name__}")
    one_of("--format", format, get_args(Format))
    with masking.revealed(show_secrets):
        return "".join(credentials.replaced(line) + "\n" for line in renderer(result, format, stat))


def _inspect(result: Inspection, format: Format, stat: bool) -> Iterable[str]:
    if format == "json":
        from ocitool.report.json.fields import json_text
        from ocitool.report.json.inspect import inspect_json

        return [json_text(inspect_json(result))]
    if format == "markdown":
        from ocitool.report import markdown

        return [markdown.inspect_markdown(result)]
    from ocitool.report.text.inspect import inspect_text
    from ocitool.report.text.parts import Paint

    return inspect_text(result, Paint(False))


def _diff(result: Diff | IndexDiff, format: Format, stat: bool) -> Iterable[str]:
    if format == "json":
        from ocitool.report.json.diff import diff_json
        from ocitool.report.json.fields import json_text

        return [json_text(diff_json(result))]
    if format == "markdown":
        from ocitool.report import markdown

        return [markdown.diff_markdown(result, stat=stat)]
    from ocitool.report.text.diff import diff_text
    from ocitool.report.text.parts import Paint

    return diff_text(result, Paint(False), stat=stat)


def _validate(result: Validation, format: Format, stat: bool) -> Iterable[str]:
    _not_markdown(format)
    if format == "json":
        from ocitool.report.json.fields import json_text
        from ocitool.report.json.validate import validate_json

        return [json_text(validate_json([result]))]
    from ocitool.report.text.parts import Paint
    from ocitool.report.text.validate import validate_text

    return validate_text([result], Paint(False))


def _dedupe(result: Deduped, format: Format, stat: bool) -> Iterable[str]:
    if format == "json":
        from ocitool.report.json.dedupe import dedupe_json

        return dedupe_json(result)
    if format == "markdown":
        from ocitool.report.markdown.dedupe import dedupe_markdown

        return [dedupe_markdown(result)]
    from ocitool.report.text.dedupe import dedupe_text
    from ocitool.report.text.parts import Paint

    return dedupe_text(result, Paint(False))


def _written(result: WriteResult, format: Format, stat: bool) -> Iterable[str]:
    _not_markdown(format)
    if format == "json":
        from ocitool.report.json.written import written_json

        return written_json(result)
    from ocitool.report.text.written import written_text

    return written_text(result)


def _tags(result: Tags, format: Format, stat: bool) -> Iterable[str]:
    _not_markdown(format)
    if format == "json":
        from ocitool.report.json.tags import tags_json

        return tags_json(result)
    from ocitool.report.text.tags import tags_text

    return tags_text(result)


def _unpacked(result: UnpackResult, format: Format, stat: bool) -> Iterable[str]:
    _not_markdown(format)
    if format == "json":
        from ocitool.report.json.fields import json_text
        from ocitool.report.json.unpack import unpack_json

        return [json_text(unpack_json(result))]
    from ocitool.report.text.unpack import unpack_text

    return unpack_text(result)


def _flat(result: FlatResult, format: Format, stat: bool) -> Iterable[str]:
    _not_markdown(format)
    if format == "json":
        from ocitool.report.json.fields import json_text
        from ocitool.report.json.unpack import flat_json

        return [json_text(flat_json(result))]
    from ocitool.report.text.unpack import flat_text

    return flat_text(result)


def _stored(result: StoreResult, format: Format, stat: bool) -> Iterable[str]:
    _not_markdown(format)
    if format == "json":
        from ocitool.report.json.fields import json_text
        from ocitool.report.json.unpack import store_json

        return [json_text(store_json(result))]
    from ocitool.report.text.unpack import store_text

    return store_text(result)


def _not_markdown(format: Format) -> None:
    if format == "markdown":
        raise UsageError("--format markdown is for results of inspect, diff and dedupe")


_RENDERERS: Mapping[str, Callable[[Any, Format, bool], Iterable[str]]] = {
    "Inspection": _inspect,
    "Diff": _diff,
    "IndexDiff": _diff,
    "Validation": _validate,
    "Deduped": _dedupe,
    "Tags": _tags,
    "WriteResult": _written,
    "UnpackResult": _unpacked,
    "FlatResult": _flat,
    "StoreResult": _stored,
}
"""By the names of their classes, which occur once: so that no module of another result is imported."""
