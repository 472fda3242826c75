"""Population: what everybody together had done by each cutoff, frozen so that a customer's features can use it.

One pass over the store adds up whole numbers per day, so the result does not depend on how customers are blocked. Each
cutoff's table holds nothing that happened after it: running sums stop at the cutoff.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from features.block import Block, Ints
from features.errors import UsageError
from features.history import Floats, History
from features.windows import Windows

if TYPE_CHECKING:
    from features.snapshot import Store


@dataclass(frozen=True)
class Population:
    """Tables per cutoff: `numbers[name][k]` is known at `cutoffs[k]`, NaN where it is absent.

    `process` holds the parameters of BG/NBD (r, alpha in days, a, b), fitted on data before the first cutoff they are
    used for, or None.
    """

    cutoffs: Ints
    numbers: Mapping[str, Floats] = field(default_factory=dict)
    process: Mapping[str, float] | None = None

    def with_process(self, process: Mapping[str, float]) -> Population:
        """The same with a purchase process's parameters."""
        return replace(self, process=dict(process))

    def per_row(self, h: History, name: str) -> Floats:
        """A number of each row's cutoff. Raises UsageError for a cutoff that was not frozen."""
        place = np.searchsorted(self.cutoffs, h.cutoffs)
        if not np.isin(h.cutoffs, self.cutoffs).all():
            raise UsageError("the population tables are for other cutoffs", do="freeze them for the cutoffs asked")
        return self.numbers[name][place][h.column]


class Days:
    """Whole numbers added up by day, from a first day on."""

    def __init__(self) -> None:
        self.sums: dict[str, Ints] = {}

    def add(self, name: str, day: Ints, value: Ints | None = None) -> None:
        """Add a value (1 by default) to the days of events."""
        seen = int(day.max(initial=-1)) + 1
        sums = np.zeros(max(seen, len(self.sums.get(name, ()))), np.int64)
        sums[: len(self.sums.get(name, ()))] += self.sums.get(name, np.empty(0, np.int64))
        np.add.at(sums, day, np.ones_like(day) if value is None else value)
        self.sums[name] = sums

    def upto(self, name: str, cutoffs: Ints) -> Floats:
        """The sum over all days up to each cutoff."""
        running = np.concatenate(([0], np.cumsum(self.sums.get(name, np.empty(0, np.int64)))))
        return running[np.clip(cutoffs + 1, 0, len(running) - 1)].astype(np.float64)


def freeze(
    store: Store,
    cutoffs: Sequence[int] | Ints,
    windows: Windows,
    *,
    process: Mapping[str, float] | None = None,
    progress: Callable[[str], None] | None = None,
) -> Population:
    """The population tables of every cutoff, from one pass over the store."""
    cutoffs, days = np.unique(np.asarray(cutoffs, np.int64)), Days()
    for bucket in range(store.buckets):
        _add_rhythm(days, store.block(bucket, ("purchases",), int(cutoffs[-1])))
    if progress:
        progress(f"population: {len(cutoffs)} cutoffs frozen")
    gaps = days.upto("gaps", cutoffs)
    numbers = {"log_gap": np.where(gaps > 0, days.upto("log gap", cutoffs) / 1e6 / np.maximum(gaps, 1), np.nan)}
    return Population(cutoffs, numbers, process)


def _add_rhythm(days: Days, block: Block) -> None:
    purchases = block.tables["purchases"]
    again = np.flatnonzero(np.diff(purchases.who) == 0) + 1
    gap = purchases.day[again] - purchases.day[again - 1]
    days.add("log gap", purchases.day[again], np.rint(1e6 * np.log(gap)).astype(np.int64))
    days.add("gaps", purchases.day[again])
