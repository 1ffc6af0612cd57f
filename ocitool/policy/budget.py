"""The limits of a budget, and whether an image keeps them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

Unit = Literal["bytes", "layers", "ratio"]
Status = Literal["kept", "exceeded", "not-checked"]


class BudgetKey(NamedTuple):
    """What a limit of a budget is about. `unit`: of the measured value. `of`: the measure that a percentage is of, None if the
    limit has none. `baseline`: the value is known only beside another image."""

    about: str
    unit: Unit
    of: str | None = None
    baseline: bool = False


KEYS: Mapping[str, BudgetKey] = {
    "size": BudgetKey("bytes of all files of the image, unpacked", "bytes"),
    "stored": BudgetKey("bytes of the layers as they are stored and sent", "bytes"),
    "layers": BudgetKey("number of layers", "layers"),
    "waste": BudgetKey("bytes of files that later layers hide, but that are still shipped", "bytes", of="size"),
    "growth": BudgetKey("bytes by which the files grew from the image before", "bytes", of="size before", baseline=True),
    "transfer": BudgetKey("bytes that a host with the image before must fetch", "bytes", of="stored", baseline=True),
}
"""The keys of `[budget]`, but for `paths`."""

DIVE_KEYS: Mapping[str, BudgetKey] = {
    "lowestEfficiency": BudgetKey("share of the bytes of all layers that no other layer has again", "ratio"),
    "highestWastedBytes": BudgetKey("bytes of all paths that more than one layer has", "bytes"),
    "highestUserWastedPercent": BudgetKey("these bytes beside those of all layers but the lowest", "ratio"),
}
"""The rules of `.dive-ci`, which are measured as dive does."""

PATH = BudgetKey("bytes of the files that match", "bytes")


class Limit(NamedTuple):
    """The limit of one value. `key`: one of `KEYS` or `DIVE_KEYS`, or `paths`. `glob`: the files it is about, for `paths`.

    The value must not be above `most`; with `percent`, the larger one of `most` and that percentage counts. `least`: it must
    not be below this instead."""

    key: str
    most: int | float = 0
    percent: float | None = None
    glob: str | None = None
    least: float | None = None

    @property
    def about(self) -> BudgetKey:
        """What the limit is about."""
        return PATH if self.glob is not None else KEYS.get(self.key) or DIVE_KEYS[self.key]

    @property
    def name(self) -> str:
        """The name of the limit in reports: `size`, `paths /usr/lib/**`."""
        return self.key if self.glob is None else f"{self.key} {self.glob}"


Budget = tuple[Limit, ...]


class Measures(NamedTuple):
    """What was measured. `values`: by key; a key that could not be measured is not in it. `paths`: bytes by glob."""

    values: Mapping[str, int | float]
    paths: Mapping[str, int] = {}


class BudgetLine(NamedTuple):
    """A limit and what was measured. `limit`: what the value must not pass, in the unit of the key; None if it depends on a
    value that is not known. `actual`: None if it was not measured."""

    given: Limit
    limit: int | float | None
    actual: int | float | None

    @property
    def status(self) -> Status:
        """Whether the limit is kept."""
        if self.actual is None or self.limit is None:
            return "not-checked"
        exceeded = self.actual < self.limit if self.given.least is not None else self.actual > self.limit
        return "exceeded" if exceeded else "kept"


def check(budget: Budget, measures: Measures) -> Iterator[BudgetLine]:
    """Yields each limit with what was measured, in the order of the budget."""
    for limit in budget:
        actual = measures.paths.get(limit.glob) if limit.glob is not None else measures.values.get(limit.key)
        yield BudgetLine(limit, _bound(limit, measures), actual)


def _bound(limit: Limit, measures: Measures) -> int | float | None:
    if limit.least is not None:
        return limit.least
    if limit.percent is None:
        return limit.most
    whole = measures.values.get(limit.about.of or "")
    return None if whole is None else max(limit.most, int(whole * limit.percent / 100))
