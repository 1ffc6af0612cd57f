"""The JSON of what changed inside a file."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from ocitool import masking
from ocitool.comparison.inside.values import FileInside, InnerChange, InnerFact
from ocitool.report.json.fields import clean


def inside_fields(inside: FileInside) -> dict[str, Any]:
    return {
        "format": inside.format,
        "facts": [_fact(one) for one in inside.facts],
        "partsAre": f"{inside.word}s",
        "parts": [_part(one) for one in inside.parts],
        "added": inside.added,
        "removed": inside.removed,
        "modified": inside.modified,
        "same": inside.same or None,
        "note": clean(inside.note) or None,
    }


def _fact(fact: InnerFact) -> dict[str, Any]:
    before, after = (None if value is None else clean(masking.value(value, fact.name)) for value in (fact.before, fact.after))
    return {"name": clean(masking.text(fact.name)), "before": before, "after": after}


def _part(part: InnerChange) -> dict[str, Any]:
    name = part.name.decode("utf-8", "replace")
    exact = {"nameBase64": b64encode(part.name).decode()} if name.encode() != part.name else {}
    return {"kind": part.kind, "name": clean(name), **exact, "before": part.before, "after": part.after}
