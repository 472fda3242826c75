"""The parts of the procedure, each against a value worked out by hand or by brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory import MemoryStore
from scipy.optimize import minimize
from scipy.special import expit
from shops import ECONOMICS, SETTINGS, WINDOWS

from features.config import Model
from features.snapshot import Snapshot
from features.windows import Windows
from models import clv, forecaster, linear, rules
from models.churn import prior_blend, refit
from models.design import learn
from models.forecaster import Forecaster
from models.intervals import amount_at, below, conformal, interval
from models.level import day_intercepts, intercept, level, seasonal_index
from models.margin import margin_of
from models.procedure import Procedure
from models.process.gammagamma import GammaGamma
from models.process.paretonbd import ParetoNBD
from models.purchase import Customers, Purchase
from models.samples import balanced, budget
from models.schedule import Schedule, enough, schedule, shares
from models.skill import judge

P = Procedure(threads=1)

# -- days and rows


@given(st.integers(0, 2_000), st.integers(1, 400), st.integers(1, 400))
def test_every_training_day_is_closed_and_has_history(length: int, horizon: int, active: int) -> None:
    plan = schedule(10_000 + length, 10_000, Windows(horizon, active), P)
    for day in plan.days:
        assert day + horizon <= 10_000 + length
        assert day - 10_000 >= min(60, (horizon + 1) // 2)
    assert len(plan.recent) <= P.snapshots
    if plan.recent:
        assert plan.recent[-1] == plan.as_of - horizon


def test_training_days_of_a_known_case() -> None:
    plan = schedule(1_000, 0, Windows(90, 180), P)
    assert plan.recent[-3:] == (850, 880, 910)
    assert plan.season == (621, 636, 651)
    short = enough(plan, dict.fromkeys(plan.days, 9_000), P.enough_rows, P)
    assert short.recent == (820, 850, 880, 910)  # 18,000 rows after two, yet four are kept
    assert short.season == plan.season


def test_where_few_return_more_is_read_up_to_a_cap() -> None:
    days, at_risk = [1, 2], {1: 50_000, 2: 150_000}
    assert budget(days, at_risk, {1: 20_000, 2: 90_000}, P) == P.rows
    assert budget(days, at_risk, {1: 40_000, 2: 150_000}, P) == 2 * 20 * P.rows // (2 * 12)  # churners can be the few
    assert budget(days, at_risk, {1: 10, 2: 10}, P) == P.most_rows
    assert budget(days, at_risk, {1: 0, 2: 0}, P) == P.rows  # nothing to look for


def test_all_of_the_rare_outcome_is_kept_and_the_common_one_weighted_back_to_its_number() -> None:
    rng = np.random.default_rng(5)
    n = 6_000
    back = rng.random(n) < 0.02
    labels = {"purchase_days": back.astype(float), "spend": 10.0 * back}
    ids = np.array([f"c{k}" for k in range(n)], object)
    rows = Snapshot(
        ids, np.repeat([100, 130], n // 2), ("f",), np.asfortranarray(rng.random((n, 1), np.float32)), labels
    )
    kept = balanced(rows, 1_000)
    assert abs(len(kept) - 1_000) <= 2
    assert kept.labels["purchase_days"].sum() == back.sum()
    for day in (100, 130):
        of_day = kept.cutoff == day
        assert kept.labels["weight"][of_day].sum() == pytest.approx(n // 2)
        assert (kept.labels["weight"][of_day & (kept.labels["purchase_days"] > 0)] == 1).all()
    whole = balanced(rows, n)
    assert len(whole) == n
    assert (whole.labels["weight"] == 1).all()


def test_a_weighted_fit_is_the_fit_of_the_rows_it_stands_for() -> None:
    rng = np.random.default_rng(6)
    Z, day = rng.normal(size=(400, 2)), np.repeat([0, 1], 200)
    y, times = (rng.random(400) < expit(Z[:, 0])).astype(float), rng.integers(1, 4, 400)
    weighted = linear.fit(Z, y, day, 5.0, times.astype(float))
    repeated = linear.fit(np.repeat(Z, times, axis=0), np.repeat(y, times), np.repeat(day, times), 5.0)
    for a, b in zip(weighted, repeated, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    assert intercept(Z[:, 0], y, times.astype(float)) == pytest.approx(
        intercept(np.repeat(Z[:, 0], times), np.repeat(y, times))
    )


def test_the_fewer_events_the_more_is_left_to_the_purchase_process() -> None:
    few, many = (prior_blend(P, 0.0, events).weights for events in (100.0, 100_000.0))
    assert few[2] > 0.4
    assert many[2] < 0.21
    for weights in (few, many):
        assert sum(weights) == pytest.approx(1.0)
        assert min(weights) > 0


@given(st.lists(st.integers(0, 5_000), min_size=1, max_size=20), st.integers(1, 20_000))
def test_the_largest_snapshots_are_cut_to_one_size(counts: list[int], rows: int) -> None:
    kept = shares(counts, rows)
    assert kept.sum() <= max(rows, 0)
    assert (kept <= counts).all()
    cut = kept < np.array(counts)
    if cut.any():
        assert len(set(kept[cut])) == 1
        assert kept.sum() > rows - len(counts)


def test_a_large_shop_is_drawn_by_customer_before_it_is_read(small: MemoryStore) -> None:
    few = forecaster.prepare_for(small, [small.last_day], WINDOWS, Model(rows=500, threads=1))
    many = forecaster.prepare_for(small, [small.last_day], WINDOWS, Model(rows=100_000, threads=1))
    chosen = set(zip(few.rows.customer_id, few.rows.cutoff, strict=True))
    assert len(few.training(few.plans[small.last_day])) <= 500
    assert chosen < set(zip(many.rows.customer_id, many.rows.cutoff, strict=True))


# -- models


def test_the_regression_is_the_maximum_of_its_penalised_likelihood() -> None:
    rng = np.random.default_rng(0)
    Z, day = rng.normal(size=(400, 3)), rng.integers(0, 2, 400)
    y = (rng.random(400) < expit(Z @ [1.0, -2.0, 0.0] + np.array([0.5, -1.0])[day])).astype(float)
    w, b = linear.fit(Z, y, day, 2.0)

    def loss(theta: np.ndarray) -> float:
        score = Z @ theta[:3] + theta[3:][day]
        prior = 0.5 * 2.0 * (theta[:3] ** 2).sum() - (0.5 * theta[3:] - np.logaddexp(0, theta[3:])).sum()
        return float(prior - (y * score - np.logaddexp(0, score)).sum())

    best = minimize(loss, np.zeros(5), method="BFGS", options={"gtol": 1e-8}).x
    np.testing.assert_allclose(np.r_[w, b], best, atol=1e-5)


def test_a_nearly_separable_sample_does_not_throw_newton_off() -> None:
    """Skewed columns and rare stayers: whole Newton steps overshoot here and end in nonsense."""
    rng = np.random.default_rng(1)
    Z = np.clip(rng.standard_cauchy((2_000, 30)), -5, 5)
    y = (rng.random(2_000) < expit(4 * Z[:, 0] + 3)).astype(float)
    w, _ = linear.fit(Z, y, np.zeros(2_000, np.int64), 1.0)
    assert w[0] > 2
    assert np.abs(w[1:]).max() < 1


def test_absent_values_take_the_mean_and_a_column_of_their_own() -> None:
    X = np.array([[1.0, np.nan, 5.0], [3.0, 0.5, 5.0], [7.0, 0.7, 5.0], [9.0, np.nan, 5.0]], np.float32)
    one_time = np.array([True, False, False, True])
    plan = learn(X, one_time)
    assert plan.values == (0, 1)  # a constant tells nothing
    assert plan.logs == (True, False)
    Z = plan.matrix(X, one_time)
    assert Z[0, 1] == 0.0
    np.testing.assert_allclose(Z[:, 2], [0.5, -0.5, -0.5, 0.5])
    assert np.isfinite(plan.matrix(np.full((2, 3), np.nan, np.float32), np.array([True, False]))).all()


def test_refitted_weights_follow_the_evidence_and_stay_positive() -> None:
    rng = np.random.default_rng(2)
    good, noise = rng.normal(size=20_000), rng.normal(size=20_000)
    y = (rng.random(20_000) < expit(good)).astype(float)
    scores, one_time = np.column_stack([good, noise, -good]), np.zeros(20_000, bool)
    weights = refit(prior_blend(P, 0.0, 1e6), scores, y, one_time, P).weights
    assert weights[0] > 0.6
    assert weights[1] < 0.1
    assert weights[2] == 0.0
    few = refit(prior_blend(P, 0.0, 1e6), scores[:20], y[:20], one_time[:20], P).weights
    np.testing.assert_allclose(few, (0.4, 0.4, 0.2), atol=0.08)  # twenty customers do not overrule the study


# -- level


@given(st.floats(-3, 3), st.floats(0.1, 4))
def test_the_intercept_matches_the_mean(shift: float, spread: float) -> None:
    score = np.linspace(-spread, spread, 500)
    y = (np.arange(500) % 3 == 0).astype(float)
    p = expit(score + shift + intercept(score + shift, y))
    assert p.mean() == pytest.approx((y.sum() + 0.5) / 501, abs=1e-9)
    assert np.isfinite(intercept(score, np.zeros(500)))


def test_the_level_is_the_mean_of_two_witnesses() -> None:
    plan = Schedule(1_000, (870, 890, 910), (636,))
    values = {636: 2.0, 870: 0.0, 890: 0.0, 910: 1.0}
    told = {"half_life": 20.0, "active": 100, "first_day": 0, "procedure": P}
    recent = 1.0 / (1 + 0.5 + 0.25)
    found = level(plan, values, index=0.3, **told)
    assert found.recent == pytest.approx(recent + 0.3)
    assert found.value == pytest.approx((recent + 0.3 + 2.0) / 2)
    young = level(plan, values, index=0.0, **(told | {"first_day": 536}))  # half of 2A known then: a quarter's trust
    assert young.value == pytest.approx((recent + 0.25 * 2.0) / 1.25)
    alone = level(Schedule(1_000, plan.recent, ()), {d: values[d] for d in plan.recent}, index=0.0, **told)
    assert not alone.season_known
    assert alone.value == pytest.approx(recent)


class Series:
    """A market of two years with a bump in the same weeks of both."""

    day = np.arange(0, 800)
    visits = np.where((day % 364 >= 300) & (day % 364 < 330), 200, 100)
    firsts = np.zeros_like(visits)
    spend = visits


def test_the_seasonal_index_sees_the_coming_bump_and_refuses_an_acquisition_phase() -> None:
    plan = Schedule(300 + 363, (603, 613, 623, 633), ())
    found = seasonal_index(Series(), Series.visits, plan, horizon=30, half_life=20.0, procedure=P)
    assert found == pytest.approx(0.8 * np.log(2), abs=0.03)
    new = Series()
    new.firsts = Series.visits
    assert seasonal_index(new, Series.visits, plan, horizon=30, half_life=20.0, procedure=P) == 0.0
    early = Schedule(350, (290, 320), ())
    assert seasonal_index(Series(), Series.visits, early, horizon=30, half_life=20.0, procedure=P) == 0.0
    assert seasonal_index(Series(), Series.visits, plan, horizon=200, half_life=20.0, procedure=P) == 0.0


def test_intercepts_are_one_a_day() -> None:
    got = day_intercepts(np.zeros(4), np.array([1.0, 0.0, 1.0, 1.0]), np.array([5, 5, 9, 9]))
    assert got[5] == pytest.approx(0.0)
    assert got[9] == pytest.approx(np.log(2.5 / 0.5))


# -- skill


def test_skill_is_found_where_it_is_and_nowhere_else() -> None:
    """AUC of about .60 on 3,000 customers in at least 18 of 20 samples; chance in at most 1 of 20."""
    rng = np.random.default_rng(3)
    signal, chance = 0, 0
    for _ in range(20):
        score = 0.36 * rng.normal(size=3_000)
        signal += judge(score, (rng.random(3_000) < expit(score)).astype(float), "", P).found
        chance += judge(score, (rng.random(3_000) < 0.5).astype(float), "", P).found
    assert signal >= 18
    assert chance <= 1
    assert not judge(np.zeros(9), np.ones(9), "", P).found


# -- amounts


def test_quantiles_of_a_known_distribution_are_read_off_both_ways() -> None:
    from scipy.stats import norm

    logs = np.tile(norm.ppf(P.quantiles), (3, 1))
    share = np.array([0.03, 0.5, 0.99])
    amounts = amount_at(logs, P.quantiles, share)
    np.testing.assert_allclose(np.log(amounts), norm.ppf(share), atol=1e-9)
    np.testing.assert_allclose(below(logs, P.quantiles, amounts), share, atol=1e-9)
    assert below(logs, P.quantiles, np.zeros(3)).tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("gone", [0.0, 0.03, 0.3, 0.7, 0.95])
def test_an_interval_holds_what_it_promises(gone: float) -> None:
    rng = np.random.default_rng(4)
    n = 40_000
    spend = np.where(rng.random(n) < gone, 0.0, np.exp(rng.normal(3.0, 0.8, n)))
    from scipy.stats import norm

    logs, p = np.tile(3.0 + 0.8 * norm.ppf(P.quantiles), (n, 1)), np.full(n, gone)
    lower, upper = interval(p, logs, P.quantiles, 0.9)
    inside = ((spend >= lower) & (spend <= upper)).mean()
    assert inside == pytest.approx(max(0.9, gone), abs=0.01)
    if gone < 0.9:
        assert conformal(p, logs, P.quantiles, spend, 0.9) == pytest.approx(0.9, abs=0.015)


# -- money


def test_clv_of_a_constant_process_is_rate_times_time_and_joins_the_forecast_without_a_step() -> None:
    forever = Purchase(ParetoNBD(1e4, 1e4 * 30, 1e-5, 1e5), GammaGamma(1e3, 1e4, 1e4 / 1e3 * 20), True)
    one = Customers(*(np.array([v]) for v in (10.0, 290.0, 300.0, 20.0)))
    near = forever.spend(one, 90)
    told = {"season": 1.0, "horizon": 90, "rate": 0.0}
    assert near[0] == pytest.approx(90 / 30 * 20, rel=0.01)
    assert clv.value(forever, one, near, years=3.0, **told)[0] == pytest.approx(3 * 365.25 / 30 * 20, rel=0.02)
    years = np.linspace(90 / 365.25, 0.6, 12)
    path = np.array([clv.value(forever, one, 2 * near, years=float(y), **told)[0] for y in years])
    slope = np.diff(path) / np.diff(years)
    np.testing.assert_allclose(slope, slope[0], rtol=0.03)  # twice the process's rate, before and after the horizon
    seasonal = clv.value(forever, one, 2 * near, years=3.0, season=2.0, horizon=90, rate=0.0)[0]
    assert 3 * 365.25 / 30 * 20 < seasonal < 1.35 * 3 * 365.25 / 30 * 20  # a season's peak is not carried on for years


def test_a_higher_discount_rate_is_worth_less_and_more_years_more(small: MemoryStore, fitted: Forecaster) -> None:
    rows = fitted.snapshot(small, fitted.as_of)
    c = Customers.of(rows)
    near = fitted.process.spend(c, 60)
    told = {"season": 1.0, "horizon": 60}
    base = clv.value(fitted.process, c, near, years=2.0, rate=0.1, **told)
    assert (clv.value(fitted.process, c, near, years=2.0, rate=0.2, **told) < base).all()
    assert (clv.value(fitted.process, c, near, years=3.0, rate=0.1, **told) > base).all()
    assert (base >= near * clv.discount(60, 0.1)).all()


def test_the_margin_share_is_read_off_the_best_known_source() -> None:
    def rows(**labels: list[float]) -> Snapshot:
        n = 40
        told = {name: np.array(values * (n // len(values))) for name, values in labels.items()}
        return Snapshot(np.full(n, "a", object), np.zeros(n, np.int64), (), np.zeros((n, 0), np.float32), told)

    nan = float("nan")
    assert margin_of(rows(spend=[10.0, 0.0], margin=[nan], net_spend=[nan]), 0.3).share == 0.3
    assert margin_of(rows(spend=[10.0], margin=[nan], net_spend=[8.0]), 0.3).share == pytest.approx(0.24)
    assert margin_of(rows(spend=[10.0], margin=[4.0], net_spend=[8.0]), 0.3).share == pytest.approx(0.4)


# -- rules


def test_rules_are_calibrated_and_every_one_has_a_row_for_everybody(small: MemoryStore, fitted: Forecaster) -> None:
    found = rules.fit(small, fitted.as_of, WINDOWS, SETTINGS, ECONOMICS)
    assert tuple(found) == rules.NAMES
    rows = fitted.snapshot(small, fitted.as_of)
    ours = fitted.forecast_rows(rows)
    for name, rule in found.items():
        frame = rule.forecast_rows(rows)
        assert frame.customer_id.tolist() == ours.customer_id.tolist()
        assert ((frame.churn_probability > 0) & (frame.churn_probability < 1)).all()
        assert (frame.expected_spend > 0).all()
        assert abs(frame.churn_probability.mean() - ours.churn_probability.mean()) < 0.12, name
        again = rule.forecast(small, fitted.as_of).set_index("customer_id").churn_probability
        assert again.loc[frame.customer_id].tolist() == frame.churn_probability.tolist()
    silent = Customers.of(rows).T - Customers.of(rows).tx
    p = found[rules.RECENCY].forecast_rows(rows).churn_probability.to_numpy()
    assert (np.diff(p[np.argsort(silent, kind="stable")]) >= 0).all()
    assert found[rules.BASE_RATE].forecast_rows(rows).churn_probability.nunique() == 1
