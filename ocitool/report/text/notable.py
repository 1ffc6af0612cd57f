"""Notable changes, and the rules of `--fail-on` that are met, as parts of text reports."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ocitool.report.notable import FailureRow, NotableRow
from ocitool.report.phrases import Phrase
from ocitool.report.text.parts import Paint, columns, rendered


def failure_lines(failures: Iterable[FailureRow], paint: Paint) -> Iterator[str]:
    for failure in failures:
        yield paint(f"  --fail-on {': '.join(map(rendered, filter(None, failure)))}", "31")


def notable_lines(notable: Sequence[NotableRow], paint: Paint, accepted: Phrase = (), nothing: str = "") -> Iterator[str]:
    """Yields the lines after an empty one. `accepted`: a remark below them. `nothing`: what stands there if nothing is notable;
    if empty, no line does."""
    if not notable and not accepted:
        yield from ("", nothing) if nothing else ()
        return
    yield ""
    yield paint.bold("notable")
    yield from columns([
        [row.severity, row.rule, rendered(row.place), f"layer {row.layer}" if row.layer is not None else "", rendered(row.text)]
        for row in notable if not row.more
    ])  # fmt: skip
    for row in notable:
        if row.more:
            yield "  ".join(("", row.severity, f"{row.rule}: {rendered(row.text)}" if row.rule else rendered(row.text)))
    if accepted:
        yield "  " + rendered(accepted)
