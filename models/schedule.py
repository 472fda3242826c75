"""Which days to learn from: snapshots whose horizon has closed, near the cutoff and in the same season of other
years.

A snapshot at t may be used for a forecast at c only if (t, t+H] lies before c. The nearest one is c-H; going back in
thirds of H shows the level moving, and one from the same season last year shows what this time of year does.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.windows import Windows
from models.procedure import Procedure


@dataclass(frozen=True)
class Schedule:
    """Training days for one cutoff, ascending. A day may be both recent and in season."""

    as_of: int
    recent: tuple[int, ...]
    season: tuple[int, ...]

    @property
    def days(self) -> tuple[int, ...]:
        return tuple(sorted({*self.recent, *self.season}))


def schedule(as_of: int, first_day: int, windows: Windows, procedure: Procedure) -> Schedule:
    """All the days that may be learned from at `as_of` in a log that begins on `first_day`; none where it is short."""
    H = windows.horizon
    step = max(1, round(H * procedure.spacing))
    shift = max(1, round(H * procedure.season_shift))
    earliest = first_day + min(procedure.least_history, (H + 1) // 2)
    latest = as_of - H
    recent = [latest - k * step for k in range(procedure.snapshots)]
    season = [
        as_of - year * procedure.year + offset
        for year in range(1, procedure.years_back + 1)
        for offset in (-shift, 0, shift)
    ]
    return Schedule(as_of, _within(recent, earliest, latest), _within(season, earliest, latest))


def _within(days: Iterable[int], earliest: int, latest: int) -> tuple[int, ...]:
    return tuple(sorted({day for day in days if earliest <= day <= latest}))


def enough(plan: Schedule, at_risk: dict[int, int], wanted: int, procedure: Procedure) -> Schedule:
    """The same without the recent days that lie further back than it takes to have so many rows. `at_risk` counts the
    rows of each day."""
    kept: list[int] = []
    rows = 0
    for day in sorted(plan.recent, reverse=True):
        if rows >= wanted and len(kept) >= procedure.least_snapshots:
            break
        kept.append(day)
        rows += at_risk.get(day, 0)
    return Schedule(plan.as_of, tuple(sorted(kept)), plan.season)


def shares(at_risk: Iterable[int], rows: int) -> NDArray[np.int64]:
    """How many rows of each snapshot to keep, at most `rows` together: the largest are cut to one size."""
    counts = np.asarray(list(at_risk), np.int64)
    if counts.sum() <= rows:
        return counts
    lo, hi = 0, int(counts.max())
    while lo < hi:
        middle = (lo + hi + 1) // 2
        lo, hi = (middle, hi) if int(np.minimum(counts, middle).sum()) <= rows else (lo, middle - 1)
    return np.minimum(counts, lo)
