"""A stage: what the snapshots that had closed by one day teach, before anything was tried on what came after.

A fit at c makes two: one at c, which forecasts, and one at c-H, whose forecasts are held against what came (the
back-test inside a fit). Both go the same way, so the earlier is an honest rehearsal of the later.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from features.hashing import hash_ids, mix
from features.snapshot import Snapshot
from models.churn import Blend, Members, fit_members, prior_blend
from models.forest import Binned
from models.intervals import Amounts, fit_amounts
from models.level import Level, day_intercepts, level, seasonal_index
from models.purchase import Customers, Purchase
from models.purchase import fit as fit_purchase
from models.samples import Prepared, thinned
from models.schedule import Schedule
from models.spend import SpendModels, day_levels, fit_spend
from models.view import Outcomes, View

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Levels:
    """`gone` on the logit; `money` and `amount` (of buyers) on the logarithm. `tail` gives back what winsorising cut
    off; `usual_money` is the mean money level of the training days, to which the far future returns."""

    gone: Level
    money: Level
    amount: Level
    tail: float
    usual_money: float


@dataclass(frozen=True)
class Stage:
    """Fitted models and the training rows they came from. `scores`: the churn members' logits on those rows; `cap`: the
    amount at which training amounts were cut."""

    plan: Schedule
    process: Purchase
    members: Members
    spend: SpendModels
    amounts: Amounts
    view: View
    came: Outcomes
    scores: Floats
    cap: float

    def levels(self, blend: Blend, prepared: Prepared) -> Levels:
        """The levels at the stage's day if the churn members are weighted like this."""
        p, H, market = prepared.procedure, prepared.windows.horizon, prepared.market
        came, view, cut = self.came, self.view, np.minimum(self.came.spend, self.cap)
        base = blend.unlevelled(self.scores, view.one_time)
        gone = day_intercepts(base, came.gone, came.cutoff, came.weight)
        buys = 1 - expit(base + np.array([gone[int(day)] for day in came.days])[came.place])
        raw = self.spend.unlevelled(view, buys)
        money = day_levels(raw, cut, came.cutoff, came.weight)
        bought = cut > 0
        amount = day_levels(self.spend.if_buying(view)[bought], cut[bought], came.cutoff[bought], came.weight[bought])
        moved = seasonal_index(market, market.visits, self.plan, horizon=H, half_life=p.half_life, procedure=p)
        money_moved = seasonal_index(
            market, market.spend, self.plan, horizon=H, half_life=p.money_half_life, procedure=p
        )
        return Levels(
            self._level(gone, p.half_life, -moved, prepared),
            self._level(money, p.money_half_life, money_moved, prepared),
            self._level(amount, p.money_half_life, 0.0, prepared),
            float(np.log((came.weight * came.spend).sum() / (came.weight * cut).sum())),
            float(np.mean(list(money.values()))),
        )

    def _level(self, values: dict[int, float], half_life: float, moved: float, prepared: Prepared) -> Level:
        return level(
            self.plan,
            values,
            half_life=half_life,
            active=prepared.windows.active,
            first_day=prepared.first_day,
            index=moved,
            procedure=prepared.procedure,
        )


def process_at(prepared: Prepared, day: int) -> Purchase:
    """The purchase process of everybody seen by a day."""

    def make() -> Purchase:
        seen = prepared.seen.take(prepared.seen.cutoff == day)
        return fit_purchase(Customers.of(seen))[0]

    return prepared.share("process", day, make)  # type: ignore[no-any-return]


def stage_at(prepared: Prepared, day: int) -> Stage | None:
    """The stage of a day; None where too little had closed by then to fit anything."""
    return prepared.share("stage", day, lambda: _fit(prepared, day))  # type: ignore[no-any-return]


def _fit(prepared: Prepared, day: int) -> Stage | None:
    plan, p = prepared.plans[day], prepared.procedure
    rows = prepared.training(plan)
    if not len(rows) or Outcomes.of(rows).too_few(p):
        return None
    came, process = Outcomes.of(rows), process_at(prepared, day)
    names = usable(rows)
    view = View.of(rows, names, process, prepared.windows.horizon)
    binned = Binned(view.X, p, came.weight)
    members = fit_members(view, names, came, binned, p)
    scores = members.scores(view)
    base = prior_blend(p, float(view.one_time.mean()), came.events).unlevelled(scores, view.one_time)
    gone = day_intercepts(base, came.gone, came.cutoff, came.weight)
    buys = 1 - expit(base + np.array([gone[int(d)] for d in came.days])[came.place])
    bought = came.spend > 0
    cap = float(np.quantile(came.spend[bought], p.winsor))
    cut = np.minimum(came.spend, cap)
    buyers = Binned(np.asfortranarray(view.X[bought]), p, came.weight[bought])
    spend = fit_spend(view, cut, came, buys, binned=binned, buyers=buyers, procedure=p)
    amounts = fit_amounts(came.spend[bought] / view.ticket[bought], buyers, p)
    return Stage(plan, process, members, spend, amounts, view, came, scores, cap)


def usable(rows: Snapshot) -> tuple[str, ...]:
    """The features that tell customers of one day apart.

    What is the same for all customers of a day (how long the log has run, the season) could only be learned as a trend
    over the training days, and would then be carried on into days nobody has seen; that is the level rule's part.
    """
    varies = np.zeros(len(rows.names), bool)
    for day in np.unique(rows.cutoff):
        X = rows.X[rows.cutoff == day]
        seen = ~np.isnan(X)
        low = np.where(seen, X, np.inf).min(axis=0)
        high = np.where(seen, X, -np.inf).max(axis=0)
        varies |= seen.any(axis=0) & ((high > low) | ~seen.all(axis=0))
    return tuple(name for name, kept in zip(rows.names, varies, strict=True) if kept)


def held_back(prepared: Prepared, day: int) -> tuple[Stage, View, Outcomes] | None:
    """The stage of a day with the rows of that day and what came of them; None where there is no such stage."""
    stage = stage_at(prepared, day) if day in prepared.plans and prepared.plans[day].recent else None
    if stage is None:
        return None
    rows = thinned(prepared.at([day]), prepared.rehearsal(day + prepared.windows.horizon))
    if not len(rows):
        return None
    view = View.of(rows, stage.members.names, stage.process, prepared.windows.horizon)
    return stage, view, Outcomes.of(rows)


def folds(rows: Any, count: int = 2) -> NDArray[np.int64]:
    """A fold per customer, by hash: the same whoever else is there."""
    return (mix(hash_ids(list(rows)) ^ np.uint64(0x5BD1E995)) % np.uint64(count)).astype(np.int64)
