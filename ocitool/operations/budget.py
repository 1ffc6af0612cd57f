"""`budget`: holds an image against the budget of a repository's policy, and writes measured numbers into it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from ocitool.comparison.policies import check_policy
from ocitool.comparison.transfer import transfer_bytes
from ocitool.errors import UsageError
from ocitool.images import platform_choice, select
from ocitool.images.image import Image
from ocitool.pipeline.layer_identity import with_diff_ids
from ocitool.pipeline.session import Session
from ocitool.policy import documents, updating
from ocitool.policy.budget import BudgetLine, Limit, check
from ocitool.policy.measures import measured, reads_layers, with_baseline
from ocitool.policy.updating import UpdatedLimit
from ocitool.progress import Notice
from ocitool.transports.outputs import output_file
from ocitool.trees.tree import Tree, visible_bytes


class BudgetReport(NamedTuple):
    """The result. `against`: the reference of the image before, None without one. `policy`: the file. `updated`: the limits
    that were written, or would be written in a dry run; None if that was not asked for."""

    reference: str
    against: str | None
    policy: str
    image: Image
    lines: tuple[BudgetLine, ...]
    updated: tuple[UpdatedLimit, ...] | None
    notices: tuple[Notice, ...]

    @property
    def kept(self) -> bool:
        """Whether no limit is exceeded."""
        return all(line.status != "exceeded" for line in self.lines)


def budget(
    reference: str, session: Session, *, against: str | None = None, policy: str | None = None, update: bool = False,
    headroom: int = 5, dry_run: bool = False, platform: str | None = None,
) -> BudgetReport:  # fmt: skip
    """Returns each limit of the budget with what was measured. `against`: the image before, for `growth` and `transfer`.
    `policy`: the file; by default that of the repository that the current directory is in. `update`: write what was
    measured into the file, with `headroom` per cent more, and begin a budget if it has none. Raises `UsageError`, and what
    reading raises."""
    path = Path(policy) if policy is not None else documents.find(Path.cwd())
    begins = path is None or (update and not path.exists())
    path = path or documents.beginning(Path.cwd())
    where = os.fspath(path)
    if begins and not update:
        raise UsageError(
            f"no {documents.NAME} here, nor above it in the repository", hint=f"ocitool budget --update {reference}"
        )
    if update and path.name == documents.DIVE_NAME:
        raise UsageError("rules of dive are read, not written", where, hint=f"--policy {documents.NAME} begins a budget")
    given = documents.Policy(where) if begins else documents.read(path)
    check_policy(given)
    limits = given.budget or (tuple(Limit(key) for key in updating.NEW) if update else ())
    if not limits:
        raise UsageError("no [budget]", where, hint=f"ocitool budget --update {reference}")
    opened = session.open(reference, "layers")
    image = platform_choice.image_of(opened, select.sole_target(opened), platform)
    indexer = session.indexer()
    indexes = indexer.indexes(image) if reads_layers(limits) else None
    measures = measured(limits, image, indexes)
    if against is not None:
        earlier = session.open(against, "layers")
        before = platform_choice.image_of(earlier, select.sole_target(earlier), platform, like=image.platform)
        before, image = with_diff_ids((before, image), indexer)
        growth = size = None
        if indexes is not None:
            size = visible_bytes(Tree(indexer.indexes(before)))
            growth = int(measures.values["size"]) - size
        measures = with_baseline(measures, growth, size, transfer_bytes(before, image)[0])
    lines = tuple(check(limits, measures))
    written = None
    if update:
        content, written = updating.updated(given.raw, lines, where, headroom=headroom)
        lines = tuple(_with_new_limit(line, headroom) for line in lines)
        if written and not dry_run:
            with output_file(where) as file:
                file.write(content)
    return BudgetReport(reference, against, where, image, lines, written, tuple(session.task.notices))


def _with_new_limit(line: BudgetLine, headroom: int) -> BudgetLine:
    return line._replace(limit=updating.limit_for(line, headroom)) if updating.is_written(line) else line
