"""JSON that package managers wrote into an image, within bounds and as they read it."""

from __future__ import annotations

import json
from typing import Any

from ocitool.limits import JsonLimits
from ocitool.packages.package import DatabaseError
from ocitool.spec.document import count_values


def json_object(content: bytes, bounds: JsonLimits) -> dict[str, Any]:
    """Returns the object of a JSON text. Of a key that stands twice, the last value counts, and a byte order mark is passed
    over, as by npm and conda: documents of an image are stricter (`spec.document`), but here what the tool saw is right.
    Bytes that are not UTF-8 become replacement characters. Raises `DatabaseError`."""
    if len(content) > bounds.size:
        raise DatabaseError(f"it is larger than {bounds.size} bytes")
    if count_values(content) > bounds.values:
        raise DatabaseError(f"it has more than {bounds.values} values")
    try:
        value = json.loads(content.decode("utf-8-sig", "replace"))
    except (ValueError, RecursionError):  # the parser itself bounds the depth, and the length of numbers
        raise DatabaseError("it is not JSON that can be read") from None
    if not isinstance(value, dict):
        raise DatabaseError("it is not a JSON object")
    return value


def valid_text(text: str) -> str:
    """Returns a text of JSON with a question mark for each half of a surrogate pair, which JSON can spell and no other text
    can hold."""
    return text.encode("utf-8", "replace").decode()
