"""What `diff` says of images between which nothing is to be reviewed: one line."""

from __future__ import annotations

from ocitool.comparison.config_changes import incidental
from ocitool.comparison.result import ConfigChange, Diff
from ocitool.report.escape import human
from ocitool.report.phrases import Phrase, Quote, count_of, joined, masked_quote, plain
from ocitool.report.sides import sides

_LABELS = ("/config/Labels/", "/annotations/")
_PREFIXES = ("org.opencontainers.image.", "org.label-schema.")
_MAX_LABELS = 4


def is_quiet(result: Diff) -> bool:
    """Returns whether nothing differs that is worth a section of the report: no file but by its time, no setting but labels,
    times, the history and what builders note for themselves, and no rule is met."""
    return (
        not result.failures
        and result.patches is None
        and result.copied is None
        and result.summary.mtime_only == len(result.files)
        and all(item.rule == "unshared-layer" for item in result.notable)
        and all(_is_label(change) or _is_noise(change) for change in result.config)
    )


def _is_label(change: ConfigChange) -> bool:
    return change.pointer.startswith(_LABELS)


def _is_noise(change: ConfigChange) -> bool:
    return incidental(change) is not None or (change.document == "config" and change.pointer.startswith("/history/"))


def quiet_verdict(result: Diff) -> Phrase:
    """Returns the one line on two images that differ, but of which `is_quiet` is true."""
    parts: list[Phrase] = []
    if result.files:
        parts.append((f"only times differ, of {count_of(len(result.files), 'path')}",))
    labels = [change for change in result.config if _is_label(change)]
    if len(labels) == 1:
        parts.append(("label ", *_label(labels[0])))
    elif labels:
        names = joined(((_name(change),) for change in labels[:_MAX_LABELS]), ", ")
        parts.append((f"{len(labels):,} labels differ: ", *names, ", ..." if len(labels) > _MAX_LABELS else ""))
    elif result.config and not result.files:
        history = any(incidental(change) is None for change in result.config)
        parts.append(("only the history differs" if history else "only times of creation differ",))
    again = sum(not pair.same and pair.after is not None for pair in result.layers)
    if again:
        what = "ships again" if again == 1 else "ship again"
        parts.append((f"{count_of(again, 'layer')} {what} ({human(result.summary.transfer_bytes)} to transfer)",))
    return joined([("no visible change",), *parts], "; ")


def _name(change: ConfigChange) -> Quote:
    name = change.name
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    return masked_quote(name)


def _label(change: ConfigChange) -> Phrase:
    found = sides(change)
    before, after = (Quote(plain(side), "value") for side in (found.before, found.after))
    if change.kind == "added":
        return (_name(change), " is new: ", after)
    if change.kind == "removed":
        return (_name(change), " is gone: ", before)
    return (_name(change), " ", before, " -> ", after)
