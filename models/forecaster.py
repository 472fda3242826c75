"""The forecaster: everything learned from a log by a day, and what it says of each customer on that day.

`fit` follows one procedure for every log: take training snapshots whose horizon has closed, fit three churn models
and three spend models to them, find the level, then do the same one horizon earlier, where the outcome is known, to
learn how far to trust each model, how wide intervals must be, and whether any of it beats the base rate. Where it
does not, the forecaster says so and forecasts the rate and the mean spend of the latest closed snapshots: no pretty
numbers.

Whatever is fitted at c uses only what was known at c: from a log cut at c come the same forecasts, to the last bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from features import config, snapshot
from features.catalogue import Feature, named
from features.errors import BadData, MissingInput, UsageError
from features.snapshot import Snapshot
from features.windows import Windows, to_date
from models import clv
from models.churn import Blend, Members, fit_members, prior_blend, refit
from models.contributions import Contributions, contributions
from models.forest import Binned
from models.golden import Golden
from models.intervals import Amounts, below, conformal, interval
from models.lapsed import Lapsed, fit_lapsed
from models.margin import Margin, margin_of
from models.procedure import Procedure
from models.purchase import Purchase
from models.samples import BTYD, Prepared, Progress, Store, features_for, prepare
from models.skill import Skill, judge
from models.spend import SpendModels
from models.stage import Levels, Stage, folds, held_back, process_at, stage_at
from models.view import Outcomes, View

if TYPE_CHECKING:
    from models.rules import Rule

Floats = NDArray[np.float64]
TRAILING = ((1, "spend_1h"), (2, "spend_2h"), (4, "spend_4h"))


@dataclass(frozen=True)
class Base:
    """What is forecast where there is no skill: the churn rate, the mean spend and the quantiles of a buyer's spend (on
    the logarithm) on the latest closed days."""

    rate: float
    mean_spend: float
    probabilities: tuple[float, ...]
    log_amounts: tuple[float, ...]

    @classmethod
    def of(cls, came: Outcomes, procedure: Procedure) -> Base:
        age = came.cutoff - came.cutoff.max()
        weight = came.weight * np.exp2(age / procedure.base_half_life)
        money = came.weight * np.exp2(age / procedure.money_half_life)
        spend = came.spend[came.spend > 0]
        amounts = np.quantile(np.log(spend), procedure.quantiles) if len(spend) else np.zeros(len(procedure.quantiles))
        rate = (float((weight * came.gone).sum()) + 0.5) / (float(weight.sum()) + 1)
        mean = float(np.average(came.spend, weights=money))
        return cls(rate, mean, procedure.quantiles, tuple(map(float, amounts)))


@dataclass(frozen=True)
class Models:
    """The fitted models with their levels and what the back-test taught: `blend` its weights, `nominal` the level at
    which intervals are drawn."""

    members: Members
    blend: Blend
    spend: SpendModels
    amounts: Amounts
    levels: Levels
    nominal: float

    def gone(self, view: View) -> Floats:
        """Churn probability per row."""
        scores = self.members.scores(view)
        return np.asarray(expit(self.blend.logit(scores, view.one_time)), np.float64)

    def expected_spend(self, view: View, gone: Floats) -> Floats:
        raw = self.spend.unlevelled(view, 1 - gone)
        return np.asarray(raw * np.exp(self.levels.money.value + self.levels.tail), np.float64)

    def if_buying(self, view: View) -> Floats:
        """Expected spend of the horizon given that something is bought."""
        raw = self.spend.if_buying(view)
        return np.asarray(raw * np.exp(self.levels.amount.value + self.levels.tail), np.float64)

    def log_amounts(self, view: View) -> Floats:
        """Quantiles of a buyer's log spend, (n, q)."""
        shift = np.log(view.ticket) + self.levels.amount.value
        return np.asarray(self.amounts.quantiles(view.X) + shift[:, None], np.float64)


@dataclass(frozen=True)
class Forecaster:
    """Forecasts for one shop, as learned by `as_of`. Made by `fit`, kept by `models.bundle`.

    `names`: the features read, always chosen by name. `models` is None where there were too few customers to fit any;
    `modules` are the shop's own feature files. `rows`: training rows; `notes`: what a reader should know, in words.
    `rule`: the calibrated rule that speaks in place of the models where they have no skill; without one it is the base
    rate.
    """

    as_of: int
    windows: Windows
    procedure: Procedure
    names: tuple[str, ...]
    modules: tuple[str, ...]
    process: Purchase
    models: Models | None
    lapsed: Lapsed | None
    base: Base
    skill: Skill
    margin: Margin
    years: float
    discount_rate: float
    rows: int
    notes: tuple[str, ...]
    golden: Golden
    rule: Rule | None = None

    # -- rows

    def features(self) -> tuple[Feature, ...]:
        """The features this was fitted on, by their stored names, and those the purchase process needs."""
        return named(dict.fromkeys((*self.names, *BTYD)), self.modules)

    def snapshot(self, store: Store, as_of: int, at: Any = "at risk", jobs: int = 1) -> Snapshot:
        """The rows this forecasts, with the features it needs and no labels."""
        if as_of < store.first_day:
            raise MissingInput(
                "the log begins after the day asked for", got=str(to_date(as_of)), allowed=str(to_date(store.first_day))
            )
        return snapshot.build(
            store, [as_of], self.windows, features=self.features(), at=at, labels=False, as_of=as_of, jobs=jobs
        )

    # -- forecasts

    def forecast(self, store: Store, as_of: int, at: Any = "at risk", jobs: int = 1) -> pd.DataFrame:
        """One row per customer who is at risk (or `lapsed`) on `as_of`; see `forecast_rows`."""
        return self.forecast_rows(self.snapshot(store, as_of, at, jobs), at)

    def forecast_rows(self, rows: Snapshot, at: Any = "at risk") -> pd.DataFrame:
        """Forecasts of a snapshot's rows, each of which depends on itself alone, in the order of the rows.

        customer_id, cutoff (date), churn_probability, expected_spend, spend_lower, spend_upper (90 %), expected_margin,
        clv (present value of margin over the configured years), value_if_active (margin of the horizon if still
        buying), partial_churn_probability, one_time (second purchase not yet made), skill (bool). For lapsed customers
        churn_probability is that of staying away, `return_probability` its complement, and value_if_active the margin
        of the horizon if they return. Money in the currency's major unit.
        """
        if at not in ("at risk", "lapsed"):
            raise UsageError("forecasts are for customers at risk or lapsed", got=str(at))
        with threadpool_limits(1, user_api="blas"):
            numbers = self._lapsed(rows) if at == "lapsed" else self._at_risk(rows)
        head = {"customer_id": rows.customer_id, "cutoff": pd.to_datetime(rows.cutoff, unit="D")}
        return pd.DataFrame({**head, **numbers, "skill": np.full(len(rows), self.skill.found)})

    def view(self, rows: Snapshot) -> View:
        """The rows as the models read them."""
        names = self.models.members.names if self.models else ()
        return View.of(rows, names, self.process, self.windows.horizon)

    def contributions(self, rows: Snapshot) -> Contributions:
        """The log odds of churning taken apart by feature, for customers at risk; all 0 where there is no skill."""
        view = self.view(rows)
        if self.models is None or not self.skill.found:
            usual = float(np.log(self.base.rate / (1 - self.base.rate)))
            return Contributions(self.names, np.zeros((len(rows), len(self.names))), usual)
        with threadpool_limits(1, user_api="blas"):
            return contributions(self.models.members, self.models.blend, view)

    def survival(self, rows: Snapshot, days: Sequence[float]) -> Floats:
        """P(no purchase in the next d days) for customers at risk: (n, len(days)), falling in d.

        The purchase process gives the shape over time, the forecast for the horizon its height: the process's
        probability is raised to the power at which it meets the forecast, which keeps it falling from 1.
        """
        view = self.view(rows)
        with threadpool_limits(1, user_api="blas"):
            known = self.models is not None and self.skill.found
            gone = self.models.gone(view) if self.models and known else np.full(len(rows), self.base.rate)
        power = np.log(gone) / np.minimum(np.log(view.none), -1e-9)
        return np.column_stack([self.process.none(view.customers, float(d)) ** power for d in days])

    def next_purchase(self, rows: Snapshot, limit: int = 1_095) -> Floats:
        """Days until a customer at risk has bought again with probability one half; NaN where that is not expected
        within `limit` days. By bisection on `survival`."""
        view = self.view(rows)
        half = self.survival(rows, [limit])[:, 0] <= 0.5
        power = np.log(self.survival(rows, [self.windows.horizon])[:, 0]) / np.minimum(np.log(view.none), -1e-9)
        lo, hi = np.zeros(len(rows)), np.full(len(rows), float(limit))
        c = view.customers
        while len(rows) and float((hi - lo).max()) > 0.5:
            middle = (lo + hi) / 2
            later = self.process.when.probability_none(c.x, c.tx, c.T, middle) ** power > 0.5
            lo, hi = np.where(later, middle, lo), np.where(later, hi, middle)
        return np.where(half, np.ceil(hi), np.nan)

    def _at_risk(self, rows: Snapshot) -> dict[str, NDArray[Any]]:
        view = self.view(rows)
        if self.models is None or not self.skill.found:
            return self._without_skill(view)
        gone = self.models.gone(view)
        spend, logs = self.models.expected_spend(view, gone), self.models.log_amounts(view)
        known = self.models.amounts.probabilities
        return self._priced(
            view,
            gone,
            spend,
            ends=interval(gone, logs, known, self.models.nominal),
            if_buying=np.maximum(self.models.if_buying(view), spend),
            season=float(np.exp(self.models.levels.money.value - self.models.levels.usual_money)),
            partial=(1 - gone) * below(logs, known, self._shrunken_level(rows)),
        )

    def _without_skill(self, view: View) -> dict[str, NDArray[Any]]:
        n, base = len(view.none), self.base
        everybody = np.full(n, base.rate), np.full(n, base.mean_spend)
        gone, spend = self.rule.answers(view.customers) if self.rule else everybody
        logs = np.tile(base.log_amounts, (n, 1))
        ends = interval(gone, logs, base.probabilities, self.procedure.coverage)
        buying = spend / np.maximum(1 - gone, 1e-6)
        return self._priced(view, gone, spend, ends=ends, if_buying=buying)

    def _priced(
        self,
        view: View,
        gone: Floats,
        spend: Floats,
        *,
        ends: tuple[Floats, Floats],
        if_buying: Floats,
        season: float = 1.0,
        partial: Floats | None = None,
    ) -> dict[str, NDArray[Any]]:
        value = clv.value(
            self.process,
            view.customers,
            spend,
            season=season,
            horizon=self.windows.horizon,
            years=self.years,
            rate=self.discount_rate,
        )
        return {
            "churn_probability": gone,
            "expected_spend": spend,
            "spend_lower": np.minimum(ends[0], spend),
            "spend_upper": np.maximum(ends[1], spend),
            "expected_margin": self.margin.share * spend,
            "clv": self.margin.share * value,
            "value_if_active": self.margin.share * if_buying,
            "partial_churn_probability": np.full(len(gone), np.nan) if partial is None else partial,
            "one_time": view.one_time,
        }

    def _lapsed(self, rows: Snapshot) -> dict[str, NDArray[Any]]:
        names = self.lapsed.members.names if self.lapsed and self.lapsed.members else ()
        view = View.of(rows, names, self.process, self.windows.horizon)
        if self.lapsed is None:  # nobody was lapsed in any closed snapshot: the purchase process alone knows the law
            gone, back = view.none, np.maximum(view.process_spend / np.maximum(1 - view.none, 1e-9), view.ticket)
            logs = np.log(back)[:, None] + np.zeros(len(self.base.probabilities))
        else:
            gone, back = self.lapsed.gone(view), view.ticket * self.lapsed.tickets
            logs = np.log(view.ticket)[:, None] + np.array(self.lapsed.log_tickets)
        ends = interval(gone, logs, self.procedure.quantiles, self.procedure.coverage)
        spend = (1 - gone) * back
        priced = self._priced(view, gone, spend, ends=ends, if_buying=back)
        return {**priced, "return_probability": 1 - gone}

    def _shrunken_level(self, rows: Snapshot) -> Floats:
        """The spend below which a buying customer counts as partly churned: (1-d) of the trailing level, taken per
        horizon over the window nearest to the active one that a feature tells."""
        known = [(abs(times * self.windows.horizon - self.windows.active), times, name) for times, name in TRAILING]
        told = [(times, name) for _, times, name in sorted(known) if name in rows.names]
        if not told:
            return np.full(len(rows), np.nan)
        times, name = told[0]
        return np.asarray((1 - self.windows.drop) * rows.column(name).astype(np.float64) / times, np.float64)


def fit(
    store: Store,
    as_of: int,
    windows: Windows,
    settings: config.Model,
    economics: config.Economics,
    *,
    modules: Sequence[str] = (),
    prepared: Prepared | None = None,
    jobs: int = 1,
    progress: Progress = None,
) -> Forecaster:
    """Learn from what was known by `as_of`.

    `prepared` lets several fits share what they read: `prepare_for(store, cutoffs, ...)`. Raises MissingInput where no
    horizon has closed yet, and BadData where nobody was at risk on any closed day.
    """
    prepared = prepared or prepare_for(store, [as_of], windows, settings, modules=modules, jobs=jobs, progress=progress)
    if as_of not in prepared.plans:
        raise UsageError("nothing was prepared for this cutoff", got=str(to_date(as_of)))
    with threadpool_limits(1, user_api="blas"):
        return _fit(prepared, as_of, economics, tuple(modules), progress or _silent)


def prepare_for(
    store: Store,
    cutoffs: Sequence[int],
    windows: Windows,
    settings: config.Model,
    *,
    modules: Sequence[str] = (),
    jobs: int = 1,
    progress: Progress = None,
) -> Prepared:
    """What fits at these cutoffs need of the store, read once."""
    features = features_for(store, settings.families, modules)
    return prepare(store, cutoffs, windows, Procedure.of(settings), features, jobs=jobs, progress=progress)


def _silent(_: str) -> None:
    return None


def _fit(
    prepared: Prepared, as_of: int, economics: config.Economics, modules: tuple[str, ...], progress: Any
) -> Forecaster:
    p, plan = prepared.procedure, prepared.plans[as_of]
    rows = prepared.training(plan)
    if not len(rows):
        raise BadData(
            "nobody was at risk on any day that could be learned from",
            where=f"as of {to_date(as_of)}",
            allowed=f"customers who bought within {prepared.windows.active} days of a closed snapshot",
            do="choose a longer [windows] active",
        )
    came = Outcomes.of(rows)
    progress(f"training: {len(rows):,} rows of {len(came.days)} snapshots")
    stage = stage_at(prepared, as_of)
    learned: tuple[Models | None, Skill, list[str]]
    if stage is None:
        learned = None, Skill(False, 0.0, 0.0, 0.0, 0, "too few customers to fit a model"), list[str]()
    else:
        learned = _with_backtest(prepared, stage, as_of)
    models, skill, notes = learned
    progress(str(skill))
    lapsed = fit_lapsed(prepared, as_of)
    names = dict.fromkeys(stage.members.names if stage else ())
    names |= dict.fromkeys(lapsed.members.names if lapsed and lapsed.members else ())
    return Forecaster(
        as_of,
        prepared.windows,
        p,
        tuple(names),
        modules,
        process_at(prepared, as_of),
        models,
        lapsed,
        Base.of(came, p),
        skill,
        margin_of(rows, economics.margin),
        economics.years,
        economics.discount_rate,
        len(rows),
        tuple(notes),
        Golden.of(rows, tuple(names)),
    )


def _with_backtest(prepared: Prepared, stage: Stage, as_of: int) -> tuple[Models, Skill, list[str]]:
    """The stage's models with what its rehearsal one horizon earlier teaches."""
    p, H = prepared.procedure, prepared.windows.horizon
    notes: list[str] = []
    blend = prior_blend(p, float(stage.view.one_time.mean()), stage.came.events)
    rehearsal = held_back(prepared, as_of - H)
    nominal = p.coverage
    if rehearsal is not None:
        earlier, view, came = rehearsal
        scores = earlier.members.scores(view)
        base = prior_blend(p, blend.one_time_share, earlier.came.events)
        skill = judge(base.unlevelled(scores, view.one_time), came.gone, "one horizon earlier", p)
        refitted = refit(blend, scores, came.gone, view.one_time, p)
        before = _models(earlier, refitted, prepared, p.coverage)
        found = conformal(
            before.gone(view), before.log_amounts(view), before.amounts.probabilities, came.spend, p.coverage
        )
        nominal, blend = (p.coverage + found) / 2, refitted
    else:
        notes.append("too little history for a back-test one horizon earlier: weights are the usual ones")
        skill = _cross_judged(prepared, stage)
    models = _models(stage, blend, prepared, nominal)
    if not models.levels.gone.season_known:
        notes.append("the coming season was not yet observed: the level may be off")
    return models, skill, notes


def _models(stage: Stage, blend: Blend, prepared: Prepared, nominal: float) -> Models:
    levels = stage.levels(blend, prepared)
    return Models(stage.members, replace(blend, level=levels.gone.value), stage.spend, stage.amounts, levels, nominal)


def _cross_judged(prepared: Prepared, stage: Stage) -> Skill:
    """Skill where the log is too short to hold a horizon back: customers are held back instead, half by half."""
    p, view, came = prepared.procedure, stage.view, stage.came
    fold = folds(prepared.training(stage.plan).customer_id)
    score = np.zeros(len(fold))
    for held in (0, 1):
        mine, rest = fold == held, fold != held
        if min(mine.sum(), rest.sum()) < p.least_customers // 2 or len(np.unique(came.gone[rest])) < 2:
            return Skill(False, 0.0, 0.0, 0.0, len(fold), "too few customers to hold some back")
        inner, outer = view.take(rest), view.take(mine)
        members = fit_members(inner, stage.members.names, came.take(rest), Binned(inner.X, p, came.weight[rest]), p)
        base = prior_blend(p, float(view.one_time.mean()), came.events / 2)
        score[mine] = base.unlevelled(members.scores(outer), outer.one_time)
    return judge(score, came.gone, "held out by customer", p, came.weight)
