"""Now, and the latest time that anything made here may have: both are `SOURCE_DATE_EPOCH` if it is set
(reproducible-builds.org), so that the same command makes the same bytes.

One rule holds for every command that changes images: it is the time of a new history entry and of the changed configuration
(`created`), and no file that comes from the host, nor a directory made for it, is later. What the image had keeps its times,
and an image that does not change keeps every byte."""

from __future__ import annotations

import os

from ocitool.errors import UsageError
from ocitool.images import drafts
from ocitool.images.drafts import ImageDraft


def source_date() -> int | None:
    """Returns `SOURCE_DATE_EPOCH` in seconds, None if it is not set. Raises `UsageError` if it is not a number."""
    text = os.environ.get("SOURCE_DATE_EPOCH")
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 12:
        raise UsageError("SOURCE_DATE_EPOCH must be a whole number of seconds")
    return int(text)


def timestamp() -> str:
    """Returns the current time, or `SOURCE_DATE_EPOCH` if it is set, as RFC 3339 in UTC."""
    from datetime import UTC, datetime

    epoch = source_date()
    moment = datetime.now(UTC) if epoch is None else datetime.fromtimestamp(epoch, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def made_at(otherwise: str | None) -> str | None:
    """Returns `SOURCE_DATE_EPOCH` if it is set, else `otherwise`, the time at which something was really made."""
    return timestamp() if source_date() is not None else otherwise


def with_timestamp(draft: ImageDraft) -> ImageDraft:
    """Returns the draft with `SOURCE_DATE_EPOCH` as `created`, if that variable is set, the change made a new
    configuration, and the change does not set `created` itself. An image that only gets annotations or another
    compression keeps its configuration."""
    if source_date() is None or draft.dated or not draft.is_configured_anew:
        return draft
    return drafts.configured(draft, {**draft.config, "created": timestamp()})


def clamped(mtime: int) -> int:
    """Returns a file's time in ns, at most `SOURCE_DATE_EPOCH` if that is set."""
    latest = source_date()
    return mtime if latest is None else min(mtime, latest * 1_000_000_000)
