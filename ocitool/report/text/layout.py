"""Renders `layout rm`, `gc`, `link` and `normalize` as text: what was done, and a summary in the last line."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from ocitool.operations.layout import Collected, Linked, Normalized, Removed
from ocitool.report.escape import human, shown
from ocitool.report.phrases import count_of
from ocitool.report.text.parts import columns

_LISTED = 20


def rm_text(result: Removed) -> Iterator[str]:
    verb = "would drop" if result.dry_run else "dropped"
    yield from columns(
        [(verb, ", ".join(shown(name) for name in one.names) or "(no name)", str(one.digest or "-")) for one in result.entries],
        indent="",
    )
    for one in result.referrers:
        name = ", ".join(shown(tag) for tag in one.tags) or str(one.digest)
        yield f"left: the {shown(one.kind)} {name} of {one.subject} (--referrers drops it too)"
    its = "its" if len(result.entries) == 1 else "their"
    if result.freeable is None:
        closing = "how much gc would free is unknown"
    elif not result.freeable:
        closing = f"other images need all {its} blobs"
    elif result.dry_run:
        closing = f"gc would then free {its} {human(result.freeable)}"
    else:
        closing = f"ocitool layout gc {shown(shlex.quote(result.directory))} frees {its} {human(result.freeable)}"
    count = len(result.entries)
    yield f"{shown(result.directory)}: {verb} {count:,} {'entry' if count == 1 else 'entries'}; {closing}"


def gc_text(result: Collected) -> Iterator[str]:
    verb = "would free" if result.dry_run else "freed"
    for file in result.freed[:_LISTED]:
        yield f"{verb} {file.digest} {human(file.size)}"
    if len(result.freed) > _LISTED:
        yield f"and {len(result.freed) - _LISTED:,} more"
    linked = f" (and {human(result.linked_bytes)} that other names still hold)" if result.linked_bytes else ""
    freed = f"{count_of(len(result.freed), 'blob')}, {human(result.freed_bytes)}{linked}"
    kept = f"kept {count_of(result.kept, 'blob')}, {human(result.kept_bytes)}"
    yield f"{shown(result.directory)}: {verb} {freed}; {kept}{_swept(result.temporaries)}"


def link_text(result: Linked) -> Iterator[str]:
    for path in result.damaged:
        yield f"error: {shown(path)}: content is not what its digest says; left alone"
    for one in result.refused[:_LISTED]:
        yield f"not linked: {shown(one.path)} ({human(one.size)}): {one.reason}"
    if len(result.refused) > _LISTED:
        yield f"and {len(result.refused) - _LISTED:,} more not linked"
    parts = [f"{count_of(result.linked, 'blob')} {'would be ' if result.dry_run else ''}linked"]
    if result.cloned:
        parts.append(f"{count_of(result.cloned, 'blob')} reflinked")
    if result.already:
        parts.append(f"{count_of(result.already, 'blob')} linked already")
    saved = f"{human(result.saved)} {'would be saved' if result.dry_run else 'saved'}"
    yield f"{count_of(len(result.directories), 'layout')}: {', '.join(parts)}; {saved}{_swept(result.temporaries)}"


def normalize_text(result: Normalized) -> Iterator[str]:
    for change in result.changes:
        yield f"{'to do: ' if result.dry_run else ''}{shown(change)}"
    for finding in result.findings:
        yield f"{finding.severity} {finding.rule}: {shown(finding.subject)}: {shown(finding.message)}"
    errors = sum(finding.severity == "error" for finding in result.findings)
    changes = count_of(len(result.changes), "change") if result.changes else "nothing to mend"
    found = f"{count_of(errors, 'error')}, {count_of(len(result.findings) - errors, 'warning')}" if result.findings else (
        "nothing wrong" if result.verified else "nothing wrong (blobs were not hashed: --verify does)"
    )  # fmt: skip
    yield f"{shown(result.directory)}: {changes}; {found}"


def _swept(count: int) -> str:
    return f"; removed {count:,} temporary {'file' if count == 1 else 'files'} of dead processes" if count else ""
