"""Checks of documents and reports against the JSON Schemas in `schemas/`.

`problems(kind, document)` is the interface. The schemas are JSON Schema 2020-12, written from the OCI image
specification 1.1.1 (descriptor.md, manifest.md, image-index.md, config.md, image-layout.md, annotations.md) and from
what Docker's registry and `docker save` write. Two rules go beyond those texts: an integer must be written as one
(`2.0` is refused, as by every reader made with Go), and a manifest has no `manifests`, an index no `layers` or `config`
(CVE-2021-41190).

Documents are untrusted. Problems are found lazily, and at most `limit` of them; a message never contains a value of the
document; no pattern is ambiguous or keeps state for each character; and depth costs nothing, since no schema refers to
itself. Time and memory grow with the document's size alone, which its reader has bounded: measured, 0.1 ms a descriptor
and 0.1 s for the worst string of 4 MiB.

jsonschema takes 0.1 to 0.2 s to import, so it is imported inside a function, and only here.
"""

from __future__ import annotations

import functools
import itertools
import json
import re
from calendar import isleap
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ocitool.patterns import pattern

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError

__all__ = ["KINDS", "URN", "SchemaViolation", "load", "problems"]

KINDS: tuple[str, ...] = (
    "descriptor",
    "manifest",
    "index",
    "config",
    "layout",
    "docker-manifest",
    "docker-manifest-list",
    "docker-archive-manifest",
)
"""The documents of images. Reports have schemas as well: `report-inspect`, `report-diff`, ..."""

URN = "urn:ocitool:schema:"
"""What `$id` of every schema begins with; the schema's name follows."""

_SHARED = ("descriptor",)  # the schemas that others refer to

_MESSAGE_LIMIT = 200


class SchemaViolation(NamedTuple):
    """One violation of a schema. `pointer`: an RFC 6901 JSON pointer, "" for the whole document."""

    pointer: str
    message: str


def load(name: str) -> dict[str, object]:
    """Returns the schema `name` as a new value. Raises `ValueError` if there is none."""
    if re.fullmatch(r"[a-z]+(-[a-z]+)*", name):
        package = Path(__file__).resolve().parent.parent
        # An installed wheel carries the schemas inside the package, a checkout has them beside it.
        for folder in (package / "schemas", package.parent / "schemas"):
            file = folder / f"{name}.json"
            if file.is_file():
                schema: dict[str, object] = json.loads(file.read_text("utf-8"))
                return schema
    raise ValueError(f"no schema named {name!r}")


def problems(kind: str, document: object, limit: int = 50) -> tuple[SchemaViolation, ...]:
    """Returns the first `limit` violations of schema `kind` by a parsed JSON document, in the schema's order.

    `kind` is one of KINDS or the name of a report's schema; any other raises `ValueError`. `document` is a value as
    `json.loads` returns it.
    """
    errors: Iterator[ValidationError] = _validator(kind).iter_errors(document)
    return tuple(
        SchemaViolation(_pointer(error.absolute_path), error.message[:_MESSAGE_LIMIT])
        for error in itertools.islice(errors, max(limit, 0))
    )


def _pointer(path: Iterable[str | int]) -> str:
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


# ------------------------------------------------------------------------------------------------ keywords
#
# jsonschema's own messages print the offending value whole, which for a hostile document is slow, long and
# may be deeper than `repr` goes. These take the place of the keywords that do so and that our schemas use.

_TYPES: dict[str, tuple[type, ...]] = {
    "array": (list,),
    "boolean": (bool,),
    "integer": (int,),
    "null": (type(None),),
    "number": (int, float),
    "object": (dict,),
    "string": (str,),
}


def _is_type(value: object, name: str) -> bool:
    return isinstance(value, _TYPES[name]) and (not isinstance(value, bool) or name == "boolean")


def _kind_of(value: object) -> str:
    return next((name for name in _TYPES if _is_type(value, name)), "of no JSON type")


def _type(expected: Any, value: object, _schema: Mapping[str, Any]) -> str | None:
    names = [expected] if isinstance(expected, str) else expected
    if any(_is_type(value, name) for name in names):
        return None
    return f"must be {' or '.join(names)}, is {_kind_of(value)}"


def _same(one: object, other: object) -> bool:
    return type(one) is type(other) and one == other


def _const(expected: Any, value: object, _schema: Mapping[str, Any]) -> str | None:
    return None if _same(expected, value) else f"must be {json.dumps(expected)}"


def _enum(expected: Any, value: object, _schema: Mapping[str, Any]) -> str | None:
    if any(_same(one, value) for one in expected):
        return None
    return f"must be one of {', '.join(json.dumps(one) for one in expected)}"


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    # In JSON Schema `$` is the very end; in Python it is also before a last newline.
    return re.compile(pattern[:-1] + r"\Z" if pattern.endswith("$") else pattern)


def _pattern(expected: Any, value: object, schema: Mapping[str, Any]) -> str | None:
    if not isinstance(value, str) or _compiled(expected).search(value):
        return None
    return f"must be a valid {schema.get('title', 'text of its form')}"


def _format(expected: Any, value: object, _schema: Mapping[str, Any]) -> str | None:
    if expected != "date-time" or not isinstance(value, str) or _is_date_time(value):
        return None
    return "must be a date and time as in RFC 3339 section 5.6"


def _minimum(expected: Any, value: object, _schema: Mapping[str, Any]) -> str | None:
    return f"must be at least {expected}" if _is_type(value, "number") and value < expected else None


def _maximum(expected: Any, value: object, _schema: Mapping[str, Any]) -> str | None:
    return f"must be at most {expected}" if _is_type(value, "number") and value > expected else None


def _min_length(expected: Any, value: object, _schema: Mapping[str, Any]) -> str | None:
    return "must not be empty" if isinstance(value, str) and len(value) < expected else None


def _not(expected: Any, value: object, _schema: Mapping[str, Any]) -> str | None:
    """Checks `not`, which our schemas use only around `required`, to forbid fields."""
    names = expected["required"]
    if isinstance(value, dict) and all(name in value for name in names):
        return f"must not have {', '.join(json.dumps(name) for name in names)}"
    return None


_KEYWORDS: dict[str, Callable[[Any, object, Mapping[str, Any]], str | None]] = {
    "type": _type,
    "const": _const,
    "enum": _enum,
    "pattern": _pattern,
    "format": _format,
    "minimum": _minimum,
    "maximum": _maximum,
    "minLength": _min_length,
    "not": _not,
}


@functools.cache
def _validator(name: str) -> Any:
    """Returns the validator of one schema. It resolves only our own URNs, so no reference leads to a network."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import ValidationError
    from jsonschema.validators import extend
    from referencing import Registry
    from referencing.jsonschema import DRAFT202012

    def keyword(check: Callable[[Any, object, Mapping[str, Any]], str | None]) -> Any:
        def run(_validator: Any, expected: Any, value: object, schema: Mapping[str, Any]) -> Iterator[ValidationError]:
            message = check(expected, value, schema)
            if message is not None:
                yield ValidationError(message)

        return run

    def required(_validator: Any, names: list[str], value: object, _schema: Mapping[str, Any]) -> Iterator[ValidationError]:
        if isinstance(value, dict):
            for name in names:
                if name not in value:
                    yield ValidationError(f"must have {json.dumps(name)}")

    def additional(validator: Any, allowed: Any, value: object, schema: Mapping[str, Any]) -> Iterator[ValidationError]:
        """Reports in the document's order, one problem for each field; jsonschema walks a set, and makes one problem of
        all."""
        if not isinstance(value, dict):
            return
        known = schema.get("properties", {})
        for name in value:
            if name in known:
                continue
            if allowed is False:
                yield ValidationError("is a field that this document does not have", path=[name])
            else:
                yield from validator.descend(value[name], allowed, path=name)

    def contents(one: str) -> dict[str, object]:
        # At a "$schema" jsonschema goes back to its own class for that draft, and to its own keywords.
        return {key: value for key, value in load(one).items() if key != "$schema"}

    keywords = {word: keyword(check) for word, check in _KEYWORDS.items()}
    made: Any = extend(  # type: ignore[no-untyped-call]
        Draft202012Validator, {**keywords, "required": required, "additionalProperties": additional}
    )
    registry: Registry[Any] = Registry().with_resources(
        (URN + one, DRAFT202012.create_resource(contents(one))) for one in _SHARED
    )
    return made(contents(name), registry=registry)


# ----------------------------------------------------------------------------------------------- date-time

_DATE_TIME = pattern(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.[0-9]+)?"
    r"(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))"
)

_DAYS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def _is_date_time(text: str) -> bool:
    """Returns whether a text is a date and time of RFC 3339 section 5.6, with the limits of 5.7: days of the month, and second
    60 only at 23:59 UTC.

    `datetime` does not do: it has no leap second and no year 0, and accepts forms of ISO 8601 that RFC 3339 lacks.
    """
    match = _DATE_TIME.fullmatch(text)
    if match is None:
        return False
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    sign, offset_hour, offset_minute = match[7], int(match[8] or 0), int(match[9] or 0)
    if hour > 23 or minute > 59 or second > 60 or offset_hour > 23 or offset_minute > 59:
        return False
    if not 1 <= month <= 12 or not 1 <= day <= _DAYS[month - 1]:
        return False
    if (month, day) == (2, 29) and not isleap(year):
        return False
    offset = (offset_hour * 60 + offset_minute) * (-1 if sign == "-" else 1)
    return second < 60 or (hour * 60 + minute - offset) % (24 * 60) == 23 * 60 + 59
