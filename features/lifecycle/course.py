"""How stages follow each other: every customer's stage at a row of cutoffs, transitions, and how long a stage lasts.

Shares of transitions carry intervals that know that one customer makes many of them: the variance of a ratio of sums
over customers (Cochran, *Sampling Techniques*, 1977, section 6.3). The time in a stage is a survival curve (Kaplan and
Meier 1958; variance by Greenwood): a spell that had begun before the first cutoff is left out, since its length is not
known and long ones would be seen too often; a spell that still lasts counts as censored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.block import Ints
from features.errors import UsageError
from features.history import Floats, History
from features.lifecycle.measures import compute
from features.lifecycle.passes import histories
from features.lifecycle.taxonomy import Schemes, Taxonomy
from features.snapshot import Store
from features.windows import Windows

Z90 = 1.6448536269514722
Codes = NDArray[np.int8]

UNKNOWN = -1
"""The code of a customer who was not known yet."""


def steps(last: int, first: int, step: int, most: int) -> list[int]:
    """Cutoffs `step` days apart that end on `last` and do not begin before `first`: at most `most`, ascending."""
    return [last - step * k for k in range(most) if last - step * k >= first][::-1]


@dataclass
class Course:
    """What happened in one scheme between consecutive cutoffs.

    `pairs[i, j]` customers who went from stage i to stage j in a step, summed over steps; `squares[i, j]` and `cross`
    are the sums over customers of n_ij**2, n_ij n_i and n_i**2 that the intervals need. `counts[c, i]` customers in
    stage i at cutoff c. `ended[i, k]`, `open[i, k]` spells of k steps in stage i whose beginning was seen.
    """

    taxonomy: Taxonomy
    cutoffs: Ints
    counts: Ints
    pairs: Ints
    squares: Floats
    cross: Floats
    own: Floats
    ended: Ints
    open: Ints
    spells: list[pd.DataFrame] = field(default_factory=list)

    @classmethod
    def empty(cls, taxonomy: Taxonomy, cutoffs: Sequence[int]) -> Course:
        k, c = len(taxonomy.stages), len(cutoffs)

        def ints(*shape: int) -> Ints:
            return np.zeros(shape, np.int64)

        def floats(*shape: int) -> Floats:
            return np.zeros(shape)

        return cls(
            taxonomy, np.asarray(cutoffs, np.int64), ints(c, k), ints(k, k), floats(k, k), floats(k, k), floats(k),
            ints(k, c + 1), ints(k, c + 1),
        )  # fmt: skip

    @property
    def step(self) -> int:
        """Days between cutoffs."""
        return int(self.cutoffs[1] - self.cutoffs[0]) if len(self.cutoffs) > 1 else 0

    @property
    def names(self) -> list[str]:
        return [stage.name for stage in self.taxonomy.stages]

    def add(self, code: Codes) -> None:
        """Add customers: their codes at the cutoffs, int8 (customers, cutoffs), UNKNOWN where not known yet."""
        k = len(self.taxonomy.stages)
        for c in range(len(self.cutoffs)):
            self.counts[c] += np.bincount(code[:, c][code[:, c] >= 0], minlength=k)
        self._add_pairs(code, k)
        self._add_spells(code, k)

    def _add_pairs(self, code: Codes, k: int) -> None:
        before, after = code[:, :-1].astype(np.int64), code[:, 1:].astype(np.int64)
        who, step = np.nonzero((before >= 0) & (after >= 0))
        cell = before[who, step] * k + after[who, step]
        each = np.bincount(who * (k * k) + cell, minlength=len(code) * k * k).reshape(len(code), k, k).astype(np.int64)
        left = each.sum(axis=2)
        self.pairs += each.sum(axis=0)
        self.squares += (each.astype(np.float64) ** 2).sum(axis=0)
        self.cross += np.einsum("cij,ci->ij", each, left)
        self.own += (left.astype(np.float64) ** 2).sum(axis=0)

    def _add_spells(self, code: Codes, k: int) -> None:
        _, start, length, stage, closed = spells_of(code)
        seen = start > 0
        width = self.ended.shape[1]

        def tally(chosen: NDArray[np.bool_]) -> Ints:
            key = stage[chosen].astype(np.int64) * width + length[chosen]
            return np.bincount(key, minlength=k * width).reshape(k, width)

        self.ended += tally(seen & closed)
        self.open += tally(seen & ~closed)

    # -- what it says

    def matrix(self) -> pd.DataFrame:
        """Transition shares with 90 % intervals: from, to, customers_steps, share, low, high; rows in order of life."""
        total = self.pairs.sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            share = self.pairs / total[:, None]
            variance = (self.squares - 2 * share * self.cross + share**2 * self.own[:, None]) / total[:, None] ** 2.0
        half = Z90 * np.sqrt(np.maximum(variance, 0.0))
        place = {stage.name: n for n, stage in enumerate(self.taxonomy.stages)}
        order = [place[stage.name] for stage in self.taxonomy.in_life]
        rows = [
            (self.names[i], self.names[j], int(self.pairs[i, j]), share[i, j], max(share[i, j] - half[i, j], 0.0),
             min(share[i, j] + half[i, j], 1.0))
            for i in order for j in order if total[i]
        ]  # fmt: skip
        return pd.DataFrame(rows, columns=["from", "to", "steps", "share", "low", "high"])

    def durations(self) -> pd.DataFrame:
        """How long a stage lasts, in days: spells seen to begin, median with a 90 % interval, mean within the years
        seen, and the mean time still to come in it (`stays`); NaN where more than half of the spells outlast the
        record."""
        rows = [self._duration(i) for i in range(len(self.names)) if (self.ended[i] + self.open[i]).sum()]
        return pd.DataFrame(
            rows, columns=["stage", "spells", "ended", "median", "low", "high", "mean_within", "within"]
        )

    def _duration(self, i: int) -> tuple[str, int, int, float, float, float, float, int]:
        ended, still = self.ended[i], self.open[i]
        curve, low, high = survival(ended, still)
        median, least, most = (self.step * _below(one, 0.5) for one in (curve, low, high))
        seen = int(np.flatnonzero(ended + still)[-1])
        within = float(self.step * curve[:seen].sum())
        total = int((ended + still).sum())
        return (self.names[i], total, int(ended.sum()), median, least, most, within, self.step * seen)


def _below(curve: Floats, level: float) -> float:
    """The first step at which a curve is at or below a level; NaN where it never is."""
    found = np.flatnonzero(curve <= level)
    return float(found[0]) if len(found) else np.nan


def survival(ended: Ints, still: Ints) -> tuple[Floats, Floats, Floats]:
    """S(k), share of spells that last longer than k steps, with Greenwood's 90 % interval on the log-log scale.

    `ended[k]` spells ended after k steps, `still[k]` were cut off after k steps.
    """
    at_risk = np.cumsum((ended + still)[::-1])[::-1]
    with np.errstate(invalid="ignore", divide="ignore"):
        curve = np.cumprod(1.0 - ended / np.maximum(at_risk, 1), dtype=np.float64)
        terms = np.where(at_risk > ended, ended / (at_risk * np.maximum(at_risk - ended, 1.0)), 0.0)
        spread = Z90 * np.sqrt(np.cumsum(terms)) / np.abs(np.log(curve))
        low, high = curve ** np.exp(spread), curve ** np.exp(-spread)
    inside = (curve > 0) & (curve < 1)
    return curve, np.where(inside, low, curve), np.where(inside, high, curve)


def spells_of(code: Codes) -> tuple[Ints, Ints, Ints, Codes, NDArray[np.bool_]]:
    """Runs of one stage: customer's row, first cutoff's place, length in cutoffs, stage, and whether the end was seen.
    Rows of UNKNOWN are no spell."""
    rows, columns = code.shape
    opens = np.ones((rows, columns), bool)
    opens[:, 1:] = code[:, 1:] != code[:, :-1]
    place = np.flatnonzero(opens.ravel())
    length = np.diff(np.append(place, rows * columns))
    who, start = place // columns, place % columns
    stage = code.ravel()[place]
    closed = start + length < columns
    kept = stage != UNKNOWN
    return who[kept], start[kept], length[kept], stage[kept], closed[kept]


def follow(
    store: Store,
    cutoffs: Sequence[int],
    windows: Windows,
    schemes: Schemes,
    names: Sequence[str],
    *,
    edges: tuple[float, float],
    spells: Callable[[str, pd.DataFrame], None] | None = None,
    as_of: int | None = None,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Course]:
    """Follow everybody through the cutoffs in the schemes of these names: one pass over the store.

    `edges` are the value tiers of one day, so that a customer moves and not the scale. `spells` is called for each
    scheme and part with the stage history: customer_id, stage, since, until (the first cutoff in another stage; NaT:
    still there), seen (whether its beginning was seen) and evidence (the sentence at its first cutoff, in English).
    """
    if len(cutoffs) < 2:
        raise UsageError("a course needs two cutoffs", got=str(len(cutoffs)))
    courses = {name: Course.empty(schemes[name], cutoffs) for name in names}
    for h in histories(store, cutoffs, windows, as_of=as_of):
        full = schemes.complete(compute(h, schemes.columns), windows, edges)
        for name, course in courses.items():
            code = np.full((len(h.block.customers), len(h.cutoffs)), UNKNOWN, np.int8)
            code[h.who, h.column] = course.taxonomy.assign(full, len(h))
            course.add(code)
            if spells:
                spells(name, _history(h, code, course.taxonomy, schemes, full))
    if progress:
        progress(f"stages at {len(cutoffs)} cutoffs")
    return courses


def _history(h: History, code: Codes, taxonomy: Taxonomy, schemes: Schemes, full: dict[str, Floats]) -> pd.DataFrame:
    who, start, length, stage, closed = spells_of(code)
    row = np.full(code.shape, -1, np.int64)
    row[h.who, h.column] = np.arange(len(h))
    began, end = row[who, start], h.cutoffs[np.where(closed, start + length, 0)].astype("datetime64[D]")
    return pd.DataFrame(
        {
            "customer_id": h.block.customers[who],
            "stage": taxonomy.names(stage),
            "since": h.cutoffs[start].astype("datetime64[D]").astype("datetime64[s]"),
            "until": np.where(closed, end, np.datetime64("NaT")).astype("datetime64[s]"),
            "seen": start > 0,
            "evidence": [
                schemes.say(taxonomy.stages[code], full, int(row), "en") for code, row in zip(stage, began, strict=True)
            ],
        }
    )
