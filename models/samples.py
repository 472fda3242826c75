"""The rows that models learn from, read once for all the cutoffs that will be asked.

Training at one cutoff needs a dozen snapshots, and a back-test of a dozen cutoffs shares many of them. `prepare`
works out which days any of the cutoffs needs, takes them from the store in one pass, and keeps no more rows of each
than training will use. Which rows are kept is decided by a hash of the customer and the day: the same rows whoever
else is in the log, in whatever order. Nothing here looks at an outcome; a fit at c uses only snapshots whose horizon
closed by c, so preparing for later cutoffs too changes nothing in an earlier one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from features import population as crowd
from features import snapshot
from features.block import Block, EventTable, Ints, parts
from features.catalogue import Feature, named, select
from features.errors import MissingInput
from features.hashing import hash_ids, mix
from features.history import At, History
from features.snapshot import Snapshot
from features.windows import Windows, to_date
from models.procedure import Procedure
from models.schedule import Schedule, enough, schedule, shares

Progress = Callable[[str], None] | None
BTYD = ("btyd_frequency", "btyd_recency", "btyd_age", "btyd_amount")


class Market(Protocol):
    """The shop by day without gaps: int64 arrays of one length."""

    day: Ints
    visits: Ints
    firsts: Ints
    spend: Ints


class Store(snapshot.Store, Protocol):
    """What forecasting needs of a store; `features.store.HistoryStore` is one."""

    @property
    def first_day(self) -> int: ...
    def daily(self, as_of: int | None = None) -> Any: ...


@dataclass(frozen=True)
class Prepared:
    """Snapshots for some cutoffs, and what else a fit asks of the past.

    `rows`: customers at risk at every training day, thinned, ordered by day and customer. `lapsed`: the same of
    customers who are not at risk. `seen`: (x, t_x, T, mean repeat amount) of everybody on the days a purchase process
    is fitted. `plans`: training days by cutoff; `budgets`: rows at risk to read for it.
    `kept`: work that several fits share, by (name, day).
    """

    windows: Windows
    procedure: Procedure
    first_day: int
    market: Market
    scale: float
    features: tuple[Feature, ...]
    plans: dict[int, Schedule]
    budgets: dict[int, int]
    rows: Snapshot
    lapsed: Snapshot
    seen: Snapshot
    kept: dict[tuple[str, int], Any] = field(default_factory=dict, compare=False)

    def at(self, days: Sequence[int], *, lapsed: bool = False) -> Snapshot:
        """The rows of these days."""
        rows = self.lapsed if lapsed else self.rows
        return rows.take(np.isin(rows.cutoff, np.asarray(days, np.int64)))

    def training(self, plan: Schedule, *, lapsed: bool = False) -> Snapshot:
        """The rows to learn from under a plan: no more than the procedure wants, whatever else was prepared. Label
        `weight`: the customers that a row stands for."""
        rows = self.at(plan.days, lapsed=lapsed)
        if lapsed:
            return thinned(rows, self.procedure.lapsed_rows)
        return balanced(thinned(rows, self.budgets[plan.as_of]), self.procedure.rows)

    def rehearsal(self, as_of: int) -> int:
        """Customers on whom a fit at `as_of` is back-tested."""
        return rehearsal(self.budgets[as_of], self.procedure)

    def share(self, name: str, day: int, make: Callable[[], Any]) -> Any:
        """`make()`, worked out once for all fits."""
        if (name, day) not in self.kept:
            self.kept[name, day] = make()
        return self.kept[name, day]


def features_for(store: Store, families: Sequence[str] = (), modules: Sequence[str] = ()) -> tuple[Feature, ...]:
    """What the store's tables allow, of some families, and always what the purchase process needs."""
    chosen = select(store.tables, families, modules)
    present = {made.name for made in chosen}
    return (*chosen, *(made for made in named(BTYD) if made.name not in present))


def prepare(
    store: Store,
    cutoffs: Sequence[int],
    windows: Windows,
    procedure: Procedure,
    features: Sequence[Feature],
    *,
    jobs: int = 1,
    progress: Progress = None,
) -> Prepared:
    """Read what fits at these cutoffs will need. Raises MissingInput where a cutoff has no closed history."""
    H, first = windows.horizon, store.first_day
    asked = sorted(set(cutoffs))
    for as_of in asked:
        if not schedule(as_of, first, windows, procedure).recent:
            raise not_enough(first, as_of, windows, procedure)
    # a fit is back-tested one horizon earlier, which needs the days of that cutoff too
    every = sorted({*asked, *(c - H for c in asked)})
    plans = {c: schedule(c, first, windows, procedure) for c in every}
    days = sorted({day for plan in plans.values() for day in plan.days})
    at_risk, back, lapsed = _counts(store, days, windows, every[-1])
    budgets = {c: budget(plan.days, at_risk, back, procedure) for c, plan in plans.items()}
    plans = {
        c: enough(plan, at_risk, procedure.enough_rows * budgets[c] // procedure.rows, procedure)
        for c, plan in plans.items()
    }
    days = sorted({day for plan in plans.values() for day in plan.days})
    people = crowd.freeze(store, days, windows) if any(f.scope == "population" for f in features) else None

    def rows(at: At, counts: dict[int, int], most: dict[int, int], rehearsed: dict[int, int]) -> Snapshot:
        """Customers are drawn first, so that a large shop's snapshots are never built whole; rows then."""
        keep = {d: int(n) for d, n in zip(days, _most(plans, days, counts, most), strict=True)}
        for day in set(rehearsed) & set(keep):
            keep[day] = max(keep[day], min(counts[day], rehearsed[day]))
        share = max((keep[d] / counts[d] for d in days if counts[d]), default=1.0)
        drawn = Drawn(store, min(1.0, 1.2 * share)) if share < 0.5 else store
        built = snapshot.build(
            drawn, days, windows, features=features, at=at, population=people, as_of=every[-1], jobs=jobs
        )
        return _ordered(built, keep)

    if progress:
        progress(f"training days: {len(days)}, customers at risk on the last: {at_risk.get(days[-1], 0):,}")
    seen = snapshot.build(
        store, every, windows, features=named(BTYD), at="seen", labels=False, as_of=every[-1], jobs=jobs
    )
    return Prepared(
        windows,
        procedure,
        first,
        store.daily(every[-1]),
        float(10**store.exponent),
        tuple(features),
        plans,
        budgets,
        rows("at risk", at_risk, budgets, {c - H: rehearsal(budgets[c], procedure) for c in asked}),
        rows("lapsed", lapsed, dict.fromkeys(every, procedure.lapsed_rows), {}),
        seen,
    )


def not_enough(first_day: int, as_of: int, windows: Windows, procedure: Procedure) -> MissingInput:
    """Why nothing can be learned yet, and from when on it can."""
    H = windows.horizon
    need = first_day + min(procedure.least_history, (H + 1) // 2) + H
    return MissingInput(
        "not enough closed history: no horizon has closed that could be learned from",
        where=f"as of {to_date(as_of)}, the log begins on {to_date(first_day)}",
        allowed=f"as of {to_date(need)} or later with a horizon of {H} days",
        got=f"{as_of - first_day + 1} days of history",
        do="wait, or choose a shorter [windows] horizon",
    )


@dataclass(frozen=True)
class Drawn:
    """A store of which only a share of the customers is read: those whose hash falls below it."""

    store: Store
    share: float

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    def block(self, bucket: int, tables: Sequence[str] | None = None, as_of: int | None = None) -> Block:
        block = self.store.block(bucket, tables, as_of)
        # mixed once more: the low bits of the plain hash chose the bucket
        keep = _fractions(mix(hash_ids(list(block.customers)))) < self.share
        place = np.cumsum(keep) - 1
        return Block(block.customers[keep], {name: _kept(t, keep, place) for name, t in block.tables.items()})


def _kept(table: EventTable, keep: NDArray[np.bool_], place: Ints) -> EventTable:
    rows = keep[table.who]
    return EventTable(
        place[table.who[rows]],
        table.day[rows],
        {name: values[rows] for name, values in table.measures.items()},
        {name: type(column)(column.code[rows], column.words) for name, column in table.words.items()},
        table.since,
    )


def _fractions(hashes: NDArray[np.uint64]) -> NDArray[np.float64]:
    return (hashes >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _counts(store: Store, days: Sequence[int], windows: Windows, as_of: int) -> tuple[dict[int, int], ...]:
    """Customers at risk on each day, those of them who bought in the horizon, and customers lapsed, from one pass over
    the purchases."""
    found = np.zeros((3, len(days)), np.int64)
    for bucket in range(store.buckets):
        block = store.block(bucket, ("purchases",), as_of)
        for part in parts(block, max(1_000, snapshot.ROWS_A_PART // max(len(days), 1))):
            h = History(part, days, windows, at="seen")
            silent = h.days_since() >= windows.active
            back = ~silent & (h.later(windows.horizon).count(windows.horizon) > 0)
            found += [np.bincount(h.column[which], minlength=len(days)) for which in (~silent, back, silent)]
    return tuple({d: int(n) for d, n in zip(days, row, strict=True)} for row in found)


def budget(days: Sequence[int], at_risk: dict[int, int], back: dict[int, int], procedure: Procedure) -> int:
    """Rows to read for training on these days: what the procedure says, and more where it would hold too few of the
    rarer outcome."""
    rows = sum(at_risk[d] for d in days)
    came = sum(back[d] for d in days)
    rare = min(came, rows - came)
    wanted = round(procedure.rare_share * procedure.rows * rows / rare) if rare else procedure.rows
    return max(procedure.rows, min(wanted, procedure.most_rows))


def rehearsal(rows: int, procedure: Procedure) -> int:
    """Customers to judge skill on where training reads so many rows."""
    return min(procedure.rehearsal_rows * rows // procedure.rows, procedure.most_rehearsal_rows)


def balanced(rows: Snapshot, most: int) -> Snapshot:
    """At most so many rows (and at least half of them of the commoner outcome): all of the rarer outcome, of the
    commoner a share of each day, chosen by the order of the hash, that stands for the rest (label `weight`).

    Where ten rows of the common outcome stand beside one of the rare, more of them tell next to nothing.
    """
    weight = np.ones(len(rows))
    if len(rows) > most:
        gone = rows.labels["purchase_days"] == 0
        common = gone if 2 * gone.sum() >= len(rows) else ~gone
        share = max(most - int((~common).sum()), most // 2) / max(int(common.sum()), 1)
        days, counts = np.unique(rows.cutoff[common], return_counts=True)
        keep = {int(d): max(1, round(n * share)) for d, n in zip(days, counts, strict=True)}
        some = _order(rows.customer_id[common], rows.cutoff[common], keep)
        left = np.flatnonzero(common)[some]
        weight[left] = [counts[k] / keep[int(days[k])] for k in np.searchsorted(days, rows.cutoff[left])]
        chosen = np.sort(np.r_[np.flatnonzero(~common), left])
        rows, weight = rows.take(chosen), weight[chosen]
    return replace(rows, labels={**rows.labels, "weight": weight})


def _most(plans: dict[int, Schedule], days: Sequence[int], counts: dict[int, int], rows: dict[int, int]) -> Ints:
    """Rows to keep of each day: what the cutoff that needs most of it needs."""
    need = dict.fromkeys(days, 0)
    for c, plan in plans.items():
        for day, n in zip(plan.days, shares((counts[d] for d in plan.days), rows[c]), strict=True):
            need[day] = max(need[day], int(n))
    return np.array([need[day] for day in days], np.int64)


def _ordered(built: Snapshot, keep: dict[int, int]) -> Snapshot:
    """By day and customer; of each day the `keep` rows that the hash puts first."""
    order = _order(built.customer_id, built.cutoff, keep)
    by_customer = np.argsort(built.customer_id[order].astype(str), kind="stable")
    order = order[by_customer]
    return built.take(order[np.argsort(built.cutoff[order], kind="stable")])


def _order(customer_id: NDArray[Any], cutoff: Ints, keep: dict[int, int]) -> Ints:
    """Places of the rows that the hash puts first, `keep` of each day."""
    lot = mix(hash_ids(list(customer_id)) ^ cutoff.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15))
    order = np.lexsort((lot, cutoff))
    cut = cutoff[order]
    opens = np.searchsorted(cut, cut)  # where each row's day begins
    days, place = np.unique(cut, return_inverse=True)
    allowed = np.array([keep[int(day)] for day in days], np.int64)[place]
    return order[np.arange(len(order)) - opens < allowed]


def thinned(rows: Snapshot, most: int) -> Snapshot:
    """At most so many rows, the largest days cut to one size, chosen by the order of the hash."""
    days, counts = np.unique(rows.cutoff, return_counts=True)
    if counts.sum() <= most:
        return rows
    return _ordered(rows, {int(d): int(n) for d, n in zip(days, shares(counts, most), strict=True)})
