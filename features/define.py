"""What "lost" should mean here: the evidence for a horizon H and an active window A, and an argument for one pair.

A customer never says good-bye to a shop without contract, so churn is a definition before it is a fact. Three kinds
of evidence bear on it. *Silence*: how long customers stay away who do come back, as a survival curve in which those
who are still silent are censored and not forgotten; from it follows the chance that somebody silent for d days
returns. *Labels*: for each candidate pair (H, A), at several cutoffs, how many would be called churned, how much
that swings, how many of them buy again in the next H days (they were called too early) and how much money they
stood for. *Second purchase*: the silence after the very first purchase, a branch of its own, since most one-time
buyers never come back and their silence says little about the others'.

The argument is then mechanical and printed with its reasons: the shortest horizon whose label is wrong for few, and
with it the shortest window that still sees nearly all of the returning customers' money."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features import labels
from features.block import Block, Ints
from features.config import Config
from features.errors import BadData
from features.history import Floats, History, ratio
from features.store import HistoryStore
from features.windows import Windows, to_date

Progress = Callable[[str], None] | None

HORIZONS = (28, 56, 91, 182, 365)
"""Days: a month, two, a quarter, half a year, a year; the configured horizon joins them."""

ACTIVE = (1.0, 2.0, 4.0)
"""Active windows that are tried, as multiples of the horizon; the configured window joins them."""

CUTOFFS = 6
"""Closed cutoffs a horizon is tried at, the latest ones, half a horizon apart."""

SAMPLE = 200_000
"""Customers looked at, at the most, in whole buckets: a share of the buckets is a random part of the customers."""

TOO_EARLY = 0.15
"""A label is good enough when at most this share of the churned buy again within the next H days."""

SEEN = 0.90
"""A window is long enough when those at risk bring at least this share of all returning customers' money in the
horizon.
"""

BALANCE = (0.10, 0.90)
"""Churn rates outside leave too few of one kind to learn from."""


@dataclass(frozen=True)
class Silence:
    """How silences end: a life table of days.

    `ended[d]` silences ended by a purchase on their d-th day, `open[d]` were still silent after d days when the log
    ended. Kaplan and Meier, J. American Statistical Association 53 (1958), on whole days: S(d) = prod (1 - ended /
    at risk)."""

    ended: Ints
    open: Ints

    @property
    def at_risk(self) -> Ints:
        """Silences that were observed for at least d days."""
        return np.cumsum((self.ended + self.open)[::-1])[::-1]

    @property
    def silent(self) -> Floats:
        """S(d): share of silences that last longer than d days."""
        hazard = self.ended / np.maximum(self.at_risk, 1)
        return np.cumprod(1.0 - hazard, dtype=np.float64)

    def returns(self, after: int, within: int | None = None) -> float:
        """Chance that somebody silent for `after` days buys within the next `within` days (None: before the longest
        silence on record); NaN where nobody was observed silent that long."""
        curve = self.silent
        if after >= len(curve) or self.at_risk[after] == 0 or curve[after] == 0:
            return float("nan")
        end = len(curve) - 1 if within is None else min(after + within, len(curve) - 1)
        return float(1.0 - curve[end] / curve[after])

    def by(self, share: float) -> int | None:
        """First day by which this share of all silences that end on record have ended; None where none does."""
        done = 1.0 - self.silent
        return int(np.argmax(done >= share * done[-1])) if done[-1] > 0 else None

    def less_likely_than(self, chance: float, within: int) -> int | None:
        """First day of silence from which a purchase within the next days is less likely than `chance`; None where it
        never gets so unlikely while at least 30 silences are observed."""
        for day in range(max(len(self.ended) - within, 0)):
            if self.at_risk[min(day + within, len(self.ended) - 1)] < 30:
                return None
            if self.returns(day, within) < chance:
                return day
        return None


@dataclass(frozen=True)
class Candidate:
    """One pair of windows, judged at its cutoffs. Shares are means over the cutoffs; NaN where no cutoff could tell.

    churn_rate      at risk, and no purchase in (t, t+H]; `lowest` and `highest` over the cutoffs
    swing           standard deviation of the rate over the cutoffs
    too_early       of the churned, share with a purchase in (t+H, t+2H]
    partial         of those at risk, still buying but for less than (1-d) of their level (`labels.partial_churn`)
    own_cadence     of those with a gap of their own, no purchase within twice that gap (`labels.own_cadence_churn`)
    agreement       share of these whom the fixed horizon labels alike
    seen            of the money that earlier customers bring in (t, t+H], the share from those at risk
    at_stake        money of the trailing H days by those who then churn, per cutoff, in the major unit
    at_stake_share  the same as a share of all at risk
    """

    horizon: int
    active: int
    cutoffs: int
    at_risk: float
    churn_rate: float
    lowest: float
    highest: float
    swing: float
    too_early: float
    partial: float
    own_cadence: float
    agreement: float
    seen: float
    at_stake: float
    at_stake_share: float

    @property
    def misses(self) -> float:
        """How far the pair is from its marks, each miss as a share of the mark; what cannot be known counts as 1."""
        early = 1.0 if np.isnan(self.too_early) else max(0.0, self.too_early / TOO_EARLY - 1.0)
        unbalanced = max(0.0, BALANCE[0] / max(self.churn_rate, 1e-9) - 1.0, self.churn_rate / BALANCE[1] - 1.0)
        return early + unbalanced + max(0.0, (SEEN - self.seen) / (1.0 - SEEN)) + max(0.0, 1.0 - self.cutoffs / 3)

    def faults(self) -> list[str]:
        """What speaks against the pair, in words; empty for a good one."""
        found = []
        if self.cutoffs < 3:
            found.append(f"only {self.cutoffs} closed cutoffs")
        if not BALANCE[0] <= self.churn_rate <= BALANCE[1]:
            found.append(f"{self.churn_rate:.0%} churn leaves few of one kind to learn from")
        if np.isnan(self.too_early):
            found.append("the log is too short to see whether the churned come back")
        elif self.too_early > TOO_EARLY:
            found.append(f"{self.too_early:.0%} of the churned buy again in the next {self.horizon} days")
        if self.seen < SEEN:
            found.append(f"those at risk bring only {self.seen:.0%} of the returning customers' money")
        return found


@dataclass(frozen=True)
class Definition:
    """What the workbench found. `chosen` is the pair it argues for, None where the log is too short for any."""

    silence: Silence
    first_silence: Silence
    candidates: tuple[Candidate, ...]
    chosen: Candidate | None
    configured: Windows
    customers: int
    of_customers: int
    one_time_share: float
    span: tuple[int, int]
    has_amounts: bool
    currency: str

    @property
    def curve(self) -> pd.DataFrame:
        """The silence curves as a tidy table: day, share still silent, chance of a return within the configured H days,
        for all silences and for the one after the first purchase."""
        parts = []
        for kind, one in (("after any purchase", self.silence), ("after the first purchase", self.first_silence)):
            day = np.unique(np.concatenate([np.arange(0, len(one.ended), 7), [max(len(one.ended) - 1, 0)]]))
            back = [one.returns(int(d), self.configured.horizon) for d in day]
            parts.append(
                pd.DataFrame({"silence": kind, "day": day, "still_silent": one.silent[day], "returns_within_H": back})
            )
        return pd.concat(parts, ignore_index=True)

    @property
    def table(self) -> pd.DataFrame:
        """The candidates, one a row."""
        return pd.DataFrame([vars(one) for one in self.candidates])

    @property
    def lines(self) -> list[str]:
        """The page that `holdfast define` prints."""
        return list(_page(self))


def run(store: HistoryStore, config: Config, as_of: int | None = None, progress: Progress = None) -> Definition:
    """Weigh candidate horizons and windows on the store's purchases.

    `as_of` is the last day that is known (by default the store's). Raises BadData where there is no purchase by then.
    """
    last = store.last_day if as_of is None else min(as_of, store.last_day)
    blocks, seen = _sample(store, last)
    if not seen:
        raise BadData("there is no purchase to look at", where=str(config.path), got=f"as of {to_date(last)}")
    if progress:
        progress(f"silences of {seen:,} customers")
    silence, first, once = _silences(blocks, config.span, last)
    first_day = min(int(block.tables["purchases"].day.min()) for block in blocks if len(block.tables["purchases"].day))
    candidates = tuple(_candidates(blocks, config.span, (first_day, last), store.exponent, progress))
    return Definition(
        silence, first, candidates, _argue(candidates), config.span, seen, store.customers_total, once / seen,
        (first_day, last), store.has_amounts, store.currency if store.has_amounts else "units",
    )  # fmt: skip


def _sample(store: HistoryStore, last: int) -> tuple[list[Block], int]:
    """Whole buckets until there are enough customers with a purchase."""
    blocks, seen = [], 0
    for bucket in range(store.buckets):
        block = store.block(bucket, ["purchases"], as_of=last)
        blocks.append(block)
        seen += len(np.unique(block.tables["purchases"].who))
        if seen >= SAMPLE:
            break
    return blocks, seen


def _silences(blocks: Sequence[Block], windows: Windows, last: int) -> tuple[Silence, Silence, int]:
    """All silences, those after a first purchase, and the number of customers with one purchase day."""
    ended, still, first_ended, first_still, once = [], [], [], [], 0
    for block in blocks:
        h = History(block, [last], windows, at="seen")
        ended.append(h.events("gaps").measures["gap"])
        still.append(h.days_since().astype(np.int64))
        first = h.first("gap", table="gaps")
        first_ended.append(first[~np.isnan(first)].astype(np.int64))
        alone = h.count() == 1
        first_still.append(h.days_since()[alone].astype(np.int64))
        once += int(alone.sum())
    return _table(ended, still), _table(first_ended, first_still), once


def _table(ended: Sequence[Ints], still: Sequence[Ints]) -> Silence:
    a, b = np.concatenate(ended), np.concatenate(still)
    size = 1 + int(max(a.max(initial=0), b.max(initial=0)))
    return Silence(np.bincount(a, minlength=size), np.bincount(b, minlength=size))


def _candidates(
    blocks: Sequence[Block], windows: Windows, span: tuple[int, int], exponent: int, progress: Progress
) -> Iterator[Candidate]:
    first, last = span
    for horizon in sorted({*HORIZONS, windows.horizon}):
        spans = {round(times * horizon) for times in ACTIVE} | (
            {windows.active} if horizon == windows.horizon else set()
        )
        for active in sorted(spans):
            cutoffs = list(islice(_closed(horizon, active, first, last), CUTOFFS))[::-1]
            if cutoffs:
                if progress:
                    progress(f"horizon {horizon}, active window {active}: {len(cutoffs)} cutoffs")
                yield _judge(blocks, Windows(horizon, active, windows.drop), cutoffs, last, exponent)


def _closed(horizon: int, active: int, first: int, last: int) -> Iterator[int]:
    """Cutoffs, latest first, with their horizon behind them and a whole active window before them."""
    cutoff = last - horizon
    while cutoff - active + 1 >= first:
        yield cutoff
        cutoff -= max(1, horizon // 2)


def _judge(blocks: Sequence[Block], windows: Windows, cutoffs: Sequence[int], last: int, exponent: int) -> Candidate:
    """Sums over the blocks by cutoff, then shares."""
    sums = np.sum([_sums(History(b, cutoffs, windows, at="seen", exponent=exponent)) for b in blocks], axis=0)
    at_risk, churned, back, partial, twice, cadence, alike, seen, returning, lost, trailing = sums
    rate = churned / np.where(at_risk == 0, np.nan, at_risk)
    known = np.asarray(cutoffs) + 2 * windows.horizon <= last

    def share(above: Floats, below: Floats, where: NDArray[np.bool_] | slice = slice(None)) -> float:
        return float(ratio(above[where].sum(), below[where].sum()))

    return Candidate(
        windows.horizon, windows.active, len(cutoffs), float(at_risk.mean()), float(np.nanmean(rate)),
        float(np.nanmin(rate)), float(np.nanmax(rate)), float(np.nanstd(rate)), share(back, churned, known),
        share(partial, at_risk), share(cadence, twice), share(alike, twice), share(seen, returning),
        float(lost.mean()), share(lost, trailing),
    )  # fmt: skip


def _sums(h: History) -> Floats:
    """Eleven sums by cutoff, (11, cutoffs), of one block of customers who have bought."""
    ahead, beyond, at_risk = h.later(h.H), h.later(2 * h.H), h.days_since() < h.A
    spent, trailing = ahead.money(h.H), h.money(h.H)
    churned = labels.churned(h, ahead, h.H) == 1
    partial, own = labels.partial_churn(h, ahead, h.H), labels.own_cadence_churn(h, ahead, h.H)
    regular = ~np.isnan(own)
    weights = (
        at_risk, churned, churned & (beyond.count(h.H) > 0), partial == 1,
        regular, own == 1, regular & (own == churned),
        np.where(at_risk, spent, 0.0), spent, np.where(churned, trailing, 0.0), np.where(at_risk, trailing, 0.0),
    )  # fmt: skip
    return np.stack([np.bincount(h.column, np.nan_to_num(w), len(h.cutoffs)) for w in weights])


def _argue(candidates: Sequence[Candidate]) -> Candidate | None:
    """The fewest faults; of equals the smallest ones, then the shortest horizon, then the shortest window."""
    return min(candidates, key=lambda one: (len(one.faults()), one.misses, one.horizon, one.active), default=None)


# -- the page ----------------------------------------------------------------------------------------------------------


def _page(d: Definition) -> Iterator[str]:
    part = "" if d.customers == d.of_customers else f" (of {d.of_customers:,}; whole buckets, so a random part)"
    yield f"{d.customers:,} customers{part}, purchases from {to_date(d.span[0])} to {to_date(d.span[1])}"
    yield ""
    yield "How silences end"
    within = f"buys within {d.configured.horizon} days"
    yield f"  {'silent for':>12} {'still silent':>13} {within:>22} {'ever, on record':>16}"
    for day in (7, 14, 28, 56, 91, 182, 365, 730):
        if day < len(d.silence.ended) and d.silence.at_risk[day] >= 30:
            yield (
                f"  {f'{day} days':>12} {d.silence.silent[day]:>13.1%} "
                f"{d.silence.returns(day, d.configured.horizon):>22.1%} {d.silence.returns(day):>16.1%}"
            )
    yield from _second(d)
    yield from _choices(d)
    yield from _argument(d)


def _second(d: Definition) -> Iterator[str]:
    yield ""
    yield f"One-time buyers: {d.one_time_share:.1%} of the customers have a single purchase day"
    one, horizon = d.first_silence, d.configured.horizon
    half, most = one.by(0.5), one.by(0.9)
    if half is None:
        yield "  nobody has come back a second time: there is no second purchase to time"
        return
    yield f"  of the second purchases on record half came within {half} days of the first, nine tenths within {most}"
    fades = one.less_likely_than(0.05, horizon)
    if fades is None:
        yield f"  a second purchase within {horizon} days never falls below 5 % while enough are observed"
    else:
        yield f"  from day {fades} of silence on, a second purchase within {horizon} days is less likely than 5 %"


def _choices(d: Definition) -> Iterator[str]:
    yield ""
    yield f"Candidates (money in {d.currency}; shares are means over the closed cutoffs)"
    yield (
        f"  {'H':>5} {'A':>5} {'cutoffs':>8} {'at risk':>9} {'churn':>7} {'lowest–highest':>15} {'too early':>10} "
        f"{'partial':>8} {'own cadence':>12} {'agrees':>7} {'seen':>6} {'at stake':>14}"
    )
    for one in d.candidates:
        yield (
            f"  {one.horizon:>5} {one.active:>5} {one.cutoffs:>8} {one.at_risk:>9,.0f} {one.churn_rate:>7.1%} "
            f"{f'{one.lowest:.1%}–{one.highest:.1%}':>15} {_share(one.too_early):>10} {_share(one.partial):>8} "
            f"{_share(one.own_cadence):>12} {_share(one.agreement):>7} {_share(one.seen):>6} {one.at_stake:>14,.0f}"
        )


def _argument(d: Definition) -> Iterator[str]:
    yield ""
    one = d.chosen
    if one is None:
        yield "The log is too short: no horizon can be closed with a whole active window before it."
        return
    yield f"Argued for: horizon {one.horizon}, active {one.active}"
    yield f"  {one.churn_rate:.0%} of those at risk churn ({one.lowest:.0%} to {one.highest:.0%} over the cutoffs)"
    if not np.isnan(one.too_early):
        yield f"  {one.too_early:.0%} of the churned buy again in the {one.horizon} days after (called too early)"
    yield f"  those at risk bring {one.seen:.0%} of the money of returning customers"
    yield f"  those who churned stood for {one.at_stake:,.0f} {d.currency} of trailing spend ({one.at_stake_share:.0%})"
    for fault in one.faults():
        yield f"  against it: {fault}"
    same = (one.horizon, one.active) == (d.configured.horizon, d.configured.active)
    yield (
        "  these are the windows in force"
        if same
        else (
            f"  in force now: horizon {d.configured.horizon}, active {d.configured.active}; to change it, write\n"
            f"    [windows]\n    horizon = {one.horizon}\n    active = {one.active}"
        )
    )


def _share(value: float) -> str:
    return "—" if np.isnan(value) else f"{value:.1%}"
