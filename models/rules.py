"""The simplest rules that could replace the model, each made as good as it can be.

A forecast is worth its trouble only if it beats these: who was silent longest, who is overdue by his own cadence, a
logistic regression on recency, frequency and money, BG/NBD with Gamma-Gamma, and the base rate. All are calibrated on
the same closed snapshots and levelled by the same recent intercepts as the model, so what the model gains over them
is not mere calibration.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from features import config, snapshot
from features.catalogue import named
from features.errors import BadData
from features.snapshot import Snapshot
from features.windows import Windows, to_date
from models import linear
from models.churn import process_logit
from models.forecaster import prepare_for
from models.level import day_intercepts, level
from models.process.bgnbd import BGNBD
from models.process.likelihood import group
from models.purchase import Customers, Purchase
from models.samples import BTYD, Prepared, Progress, Store
from models.schedule import Schedule
from models.spend import day_levels
from models.stage import process_at
from models.view import Outcomes

Floats = NDArray[np.float64]
RECENCY, CADENCE, RFM, BTYD_RULE, BASE_RATE = (
    "recency",
    "own cadence",
    "RFM logistic",
    "BG/NBD + Gamma-Gamma",
    "base rate",
)
NAMES = (RECENCY, CADENCE, RFM, BTYD_RULE, BASE_RATE)


@dataclass(frozen=True)
class Process:
    """What the rules know of timing and amounts: BG/NBD, Gamma-Gamma and the population's mean gap in days."""

    when: BGNBD
    worth: Purchase
    gap: float
    horizon: int


Score = Callable[[Customers, Process], Floats]


def _recency(c: Customers, _: Process) -> Floats:
    return np.log1p(c.T - c.tx)[:, None]


def _cadence(c: Customers, p: Process) -> Floats:
    gap = np.where(c.x > 0, np.maximum(c.tx, 1) / np.maximum(c.x, 1), p.gap)
    return np.log1p((c.T - c.tx) / gap)[:, None]


def _rfm(c: Customers, p: Process) -> Floats:
    return np.column_stack([np.log1p(c.T - c.tx), np.log1p(c.x), np.log(p.worth.ticket(c)), np.log1p(c.T)])


def _btyd(c: Customers, p: Process) -> Floats:
    return process_logit(p.when.probability_none(c.x, c.tx, c.T, p.horizon))[:, None]


def _nothing(c: Customers, _: Process) -> Floats:
    return np.zeros((len(c.x), 0))


SCORES: dict[str, Score] = {
    RECENCY: _recency,
    CADENCE: _cadence,
    RFM: _rfm,
    BTYD_RULE: _btyd,
    BASE_RATE: _nothing,
}


@dataclass(frozen=True)
class Rule:
    """A rule with what was calibrated: logit = score @ `slopes` + `level`; spend is `_amount` times exp(`money`)."""

    name: str
    as_of: int
    windows: Windows
    process: Process
    slopes: tuple[float, ...]
    level: float
    money: float

    def forecast(self, store: Store, as_of: int) -> pd.DataFrame:
        """The same face as the forecaster's: customers at risk on a day."""
        rows = snapshot.build(
            store, [as_of], self.windows, features=named(BTYD), at="at risk", labels=False, as_of=as_of
        )
        return self.forecast_rows(rows)

    def forecast_rows(self, rows: Snapshot) -> pd.DataFrame:
        """customer_id, cutoff, churn_probability, expected_spend, from a snapshot that holds the btyd_* features."""
        gone, spend = self.answers(Customers.of(rows))
        head = {"customer_id": rows.customer_id, "cutoff": pd.to_datetime(rows.cutoff, unit="D")}
        return pd.DataFrame({**head, "churn_probability": gone, "expected_spend": spend})

    def answers(self, customers: Customers) -> tuple[Floats, Floats]:
        """Churn probability and expected spend of each customer."""
        gone = self._gone(customers)
        return gone, np.asarray(_amount(self.name, customers, self.process, gone) * np.exp(self.money), np.float64)

    def _gone(self, c: Customers) -> Floats:
        score = (SCORES[self.name](c, self.process) * np.array(self.slopes)).sum(axis=1)
        return np.asarray(expit(score + self.level), np.float64)


def _amount(name: str, c: Customers, p: Process, gone: Floats) -> Floats:
    """Expected spend before its level: who buys times what he usually pays, as far as the rule knows it."""
    if name == BTYD_RULE:
        return p.when.expected_purchases(c.x, c.tx, c.T, p.horizon) * p.worth.ticket(c)
    return (1 - gone) * (p.worth.ticket(c) if name == RFM else 1.0)


def fit(
    store: Store,
    as_of: int,
    windows: Windows,
    settings: config.Model,
    economics: config.Economics,
    *,
    modules: Sequence[str] = (),
    prepared: Prepared | None = None,
    progress: Progress = None,
) -> dict[str, Rule]:
    """Every rule by name, calibrated on what had closed by `as_of`. Raises as `forecaster.fit` does."""
    prepared = prepared or prepare_for(store, [as_of], windows, settings, modules=modules, progress=progress)
    with threadpool_limits(1, user_api="blas"):
        return fit_prepared(prepared, as_of)


def fit_prepared(prepared: Prepared, as_of: int) -> dict[str, Rule]:
    """The same from rows that are read already."""
    plan = prepared.plans[as_of]
    rows = prepared.training(plan)
    if not len(rows):
        raise BadData("nobody was at risk on any day that could be learned from", where=f"as of {to_date(as_of)}")
    process = prepared.share("rules", as_of, lambda: _process(prepared, as_of))
    c, came = Customers.of(rows), Outcomes.of(rows)
    return {name: _calibrated(name, c, came, process=process, plan=plan, prepared=prepared) for name in NAMES}


def _process(prepared: Prepared, as_of: int) -> Process:
    seen = Customers.of(prepared.seen.take(prepared.seen.cutoff == as_of))
    when, _ = BGNBD.fit(group(seen.x, seen.tx, seen.T))
    repeats = float(seen.x.sum())
    gap = float(seen.tx.sum()) / repeats if repeats else float(prepared.windows.horizon)
    return Process(when, process_at(prepared, as_of), max(gap, 1.0), prepared.windows.horizon)


def _calibrated(
    name: str, c: Customers, came: Outcomes, *, process: Process, plan: Schedule, prepared: Prepared
) -> Rule:
    p = prepared.procedure
    Z = SCORES[name](c, process)
    centre = Z.mean(axis=0)
    slopes = linear.fit(Z - centre, came.gone, came.place, 1.0, came.weight)[0] if Z.shape[1] else np.zeros(0)
    score = (Z * slopes).sum(axis=1)
    told: dict[str, Any] = {
        "active": prepared.windows.active,
        "first_day": prepared.first_day,
        "index": 0.0,
        "procedure": p,
    }
    days = day_intercepts(score, came.gone, came.cutoff, came.weight)
    found = level(plan, days, half_life=p.half_life, **told).recent
    gone = np.asarray(expit(score + np.array([days[int(d)] for d in came.days])[came.place]), np.float64)
    money = day_levels(_amount(name, c, process, gone), came.spend, came.cutoff, came.weight)
    scale = level(plan, money, half_life=p.money_half_life, **told).recent if money else 0.0
    return Rule(name, plan.as_of, prepared.windows, process, tuple(map(float, slopes)), found, scale)
