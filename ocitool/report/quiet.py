"""What `diff` says of images between which next to nothing is to be reviewed: one line, and how noise is avoided."""

from __future__ import annotations

from ocitool.comparison.config_changes import incidental
from ocitool.comparison.result import ConfigChange, Diff
from ocitool.report.escape import human
from ocitool.report.phrases import Phrase, Quote, count_of, joined, masked_quote, plain
from ocitool.report.sides import sides
from ocitool.report.volatile_view import volatile_files

_LABELS = ("/config/Labels/", "/annotations/")
_PREFIXES = ("org.opencontainers.image.", "org.label-schema.")
_MAX_LABELS = 4
_LONGEST = 60
"""Characters of a value that stands in the line."""


def is_quiet(result: Diff) -> bool:
    """Returns whether nothing differs that is worth a section of the report: no file but by its time or as volatile ones do, no
    setting but one short one, labels, times, the history and what builders note for themselves, and no rule is met."""
    settings = _settings(result)
    return (
        not result.failures
        and result.patches is None
        and result.copied is None
        and result.summary.mtime_only + len(result.volatile.classes) == len(result.files)
        and all(item.rule == "unshared-layer" for item in result.notable)
        and (not settings or (len(settings) == 1 and _is_short(settings[0])))
    )


def _settings(result: Diff) -> list[ConfigChange]:
    return [change for change in result.config if not _is_label(change) and not _is_noise(change)]


def _is_short(change: ConfigChange) -> bool:
    found = sides(change)
    return max(len(plain(side)) for side in (found.before, found.after)) <= _LONGEST


def _is_label(change: ConfigChange) -> bool:
    return change.pointer.startswith(_LABELS)


def _is_noise(change: ConfigChange) -> bool:
    return incidental(change) is not None or (change.document == "config" and change.pointer.startswith("/history/"))


def quiet_verdict(result: Diff) -> Phrase:
    """Returns the one line on two images that differ, but of which `is_quiet` is true."""
    parts: list[Phrase] = []
    settings = _settings(result)
    for change in settings:
        parts.append(("variable " if change.pointer.startswith("/config/Env/") else "setting ", *_value(change)))
    if result.volatile.classes:
        parts.append(volatile_files(result))
    elif result.files:
        parts.append((f"only times differ, of {count_of(len(result.files), 'path')}",))
    labels = [change for change in result.config if _is_label(change)]
    if len(labels) == 1:
        parts.append(("label ", *_value(labels[0])))
    elif labels:
        names = joined(((_name(change),) for change in labels[:_MAX_LABELS]), ", ")
        parts.append((f"{len(labels):,} labels differ: ", *names, ", ..." if len(labels) > _MAX_LABELS else ""))
    elif result.config and not parts:
        history = any(incidental(change) is None for change in result.config)
        parts.append(("only the history differs" if history else "only times of creation differ",))
    held = {layer.digest or layer.diff_id for layer in result.before.layers}
    again = sum((layer.digest or layer.diff_id) not in held for layer in result.after.layers)
    if again and not result.volatile.classes:  # a section on them says what ships again
        what = "ships again" if again == 1 else "ship again"
        parts.append((f"{count_of(again, 'layer')} {what} ({human(result.summary.transfer_bytes)} to transfer)",))
    return joined([("no file differs" if settings and not result.files else "no visible change",), *parts], "; ")


def _name(change: ConfigChange) -> Quote:
    name = change.name
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    return masked_quote(name)


def _value(change: ConfigChange) -> Phrase:
    found = sides(change)
    before, after = (Quote(plain(side), "value") for side in (found.before, found.after))
    if change.kind == "added":
        return (_name(change), " is new: ", after)
    if change.kind == "removed":
        return (_name(change), " is gone: ", before)
    return (_name(change), " ", before, " -> ", after)
