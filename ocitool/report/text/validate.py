"""Renders `validate` as text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ocitool.report.escape import human, shown
from ocitool.report.phrases import count_of
from ocitool.report.text.parts import Paint
from ocitool.validation import Validation


def validate_text(results: Sequence[Validation], paint: Paint) -> Iterator[str]:
    for result in results:
        errors = sum(finding.severity == "error" for finding in result.findings)
        warnings = len(result.findings) - errors
        found = f"{count_of(errors, 'error')}, {count_of(warnings, 'warning')}" if result.findings else "no finding"
        word = paint("valid", "32") if result.valid else paint("not valid", "31")
        checked = result.checked
        yield (
            f"{paint.bold(shown(result.reference or '-'))}: {word}, {found} "
            f"({count_of(checked.documents, 'document')}, {count_of(checked.layers, 'layer')}, {human(checked.bytes)} read)"
        )
        if result.unnamed:
            yield f"  not looked at: {result.unnamed:,} that no image names"
        for finding in result.findings:
            colour = "31" if finding.severity == "error" else "33"
            yield f"  {paint(finding.severity, colour)} {finding.rule}: {shown(finding.subject)}: {shown(finding.message)}"
        if result.truncated:
            yield "  and more: only the first findings are listed"
