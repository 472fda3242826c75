"""Lapsed customers: who comes back by himself, and what he then brings.

They bought once and are not at risk any more, so they belong to win-back and never to the churn model. The model is
the plain version of the other one: the same blend and level rule for P(stays away), and for the amount the customer's
own ticket times what returning customers usually buy in their first horizon back.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from models.churn import Blend, Members, fit_members, prior_blend
from models.forest import Binned
from models.level import day_intercepts, level
from models.samples import Prepared
from models.stage import process_at, usable
from models.view import Outcomes, View

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Lapsed:
    """`members` is None where too few have returned so far to fit anything: then `rate` is everybody's probability of
    staying away. `tickets`: mean spend of a returning customer in units of his own ticket. `probabilities` and
    `log_tickets`: the quantiles of its logarithm."""

    members: Members | None
    blend: Blend
    rate: float
    tickets: float
    probabilities: tuple[float, ...]
    log_tickets: tuple[float, ...]

    def gone(self, view: View) -> Floats:
        """P(no purchase in the horizon) per row."""
        if self.members is None:
            return np.full(len(view.none), self.rate)
        scores = self.members.scores(view)
        return np.asarray(expit(self.blend.logit(scores, view.one_time)), np.float64)


def fit_lapsed(prepared: Prepared, day: int) -> Lapsed | None:
    """From the lapsed customers of the training days; None where there were none."""
    p, plan = prepared.procedure, prepared.plans[day]
    rows = prepared.training(plan, lapsed=True)
    if not len(rows):
        return None
    came, process = Outcomes.of(rows), process_at(prepared, day)
    names = usable(rows)
    view = View.of(rows, names, process, prepared.windows.horizon)
    blend = prior_blend(p, float(view.one_time.mean()), came.events)
    rate = (float(came.gone.sum()) + 0.5) / (len(came.gone) + 1)
    bought = came.spend > 0
    ratio = came.spend[bought] / view.ticket[bought] if bought.any() else np.ones(1)
    tickets = (float(ratio.sum()) + 1.0) / (len(ratio) + 1)  # one customer who buys once, against flukes
    quantiles = tuple(map(float, np.quantile(np.log(ratio), p.quantiles)))
    if came.too_few(p):
        return Lapsed(None, blend, rate, tickets, p.quantiles, quantiles)
    small = replace(p, trees=min(p.trees, 80), bags=1)
    members = fit_members(view, names, came, Binned(view.X, small), small)
    base = blend.unlevelled(members.scores(view), view.one_time)
    found = level(
        plan,
        day_intercepts(base, came.gone, came.cutoff),
        half_life=p.half_life,
        active=prepared.windows.active,
        first_day=prepared.first_day,
        index=0.0,
        procedure=p,
    )
    return Lapsed(members, replace(blend, level=found.value), rate, tickets, p.quantiles, quantiles)
