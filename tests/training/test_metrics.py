"""Metrics agree with scikit-learn and with arithmetic, and their intervals are what a bootstrap by customer gives."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from training import metrics
from training.metrics import METRICS, Draws, Rows, rows_of


def _table(n: int, seed: int = 0, *, ties: bool = False, cutoffs: int = 1) -> pd.DataFrame:
    """Calibrated forecasts of n customers at each of some cutoffs, with what came true."""
    rng = np.random.default_rng(seed)
    parts = []
    for cutoff in range(cutoffs):
        p = rng.beta(2, 2, n)
        p = p.round(1).clip(0.05, 0.95) if ties else p
        churned = (rng.random(n) < p).astype(float)
        spend = np.where(churned == 1, 0.0, rng.gamma(2, 20, n)).round(2)
        expected = (1 - p) * 40
        part = {"customer_id": [f"c{i}" for i in range(n)], "cutoff": cutoff, "churned": churned, "spend": spend}
        part |= {"churn_probability": p, "expected_spend": expected, "spend_lower": 0.0, "spend_upper": 90.0}
        parts.append(pd.DataFrame(part))
    return pd.concat(parts, ignore_index=True)


def _value(name: str, table: pd.DataFrame) -> float:
    rows = rows_of(table)
    return float(METRICS[name].function(rows)(np.ones((1, len(rows))))[0])


def _by_hand(table: pd.DataFrame) -> dict[str, float]:
    """The metrics by scikit-learn, pandas and plain loops."""
    y, p = table.churned, table.churn_probability
    spend, expected = table.spend.to_numpy(), table.expected_spend.to_numpy()
    bins = pd.qcut(p.rank(method="first"), 10, labels=False)

    def area(score: np.ndarray) -> float:
        return float((np.cumsum(spend[np.argsort(-score, kind="stable")]) / spend.sum()).mean() - 0.5)

    return {
        "auc": roc_auc_score(y, p),
        "log_loss": log_loss(y, p),
        "brier": brier_score_loss(y, p),
        "ece": sum(abs(p[bins == b].mean() - y[bins == b].mean()) * (bins == b).mean() for b in range(10)),
        "level": p.mean() / y.mean(),
        "gini": area(expected) / area(spend),
        "spearman": pd.Series(expected).corr(table.spend, method="spearman"),
        "mae": np.abs(expected - spend).mean(),
        "total": expected.sum() / spend.sum(),
        "coverage": ((spend >= table.spend_lower) & (spend <= table.spend_upper)).mean(),
    }


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("n", [60, 997])
def test_metrics_agree_with_the_libraries(n: int, ties: bool) -> None:
    table = _table(n, seed=n, ties=ties)
    for name, wanted in _by_hand(table).items():
        assert _value(name, table) == pytest.approx(wanted, abs=1e-12), name


def test_the_slope_is_that_of_an_unpenalised_logistic_regression() -> None:
    table = _table(2000, seed=4)
    x = np.log(table.churn_probability / (1 - table.churn_probability)).to_numpy()[:, None]
    fitted = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(x, table.churned)
    assert _value("slope", table) == pytest.approx(fitted.coef_[0, 0], abs=1e-6)


def test_lift_and_gain_count_the_top_and_share_a_tie_that_straddles_the_line() -> None:
    """Twenty customers, four churned. Top two by probability: one churned of 4, so 0.25 is caught by 10 %: lift 2.5.
    The top 20 % is those two and two of the eight at 0.5, of whom two churned: 1 + 2 * 2/8 = 1.5 of 4."""
    p = np.array([0.9, 0.8] + [0.5] * 8 + [0.1] * 10)
    churned = np.array([1, 0] + [1, 1] + [0] * 6 + [1] + [0] * 9, float)
    one = np.ones((1, 20))
    assert metrics.lift(Rows(churned, p))(one)[0] == pytest.approx(2.5)
    assert metrics.gain(Rows(churned, p))(one)[0] == pytest.approx(1.5 / 4)
    curve = metrics.gain_curve(pd.DataFrame({"churned": churned, "churn_probability": p}))
    assert np.interp(0.2, curve.share, curve.caught) == pytest.approx(1.5 / 4)
    assert curve.caught.iloc[-1] == 1.0


@given(st.integers(2, 40), st.integers(0, 10_000), st.booleans())
def test_a_weight_is_the_same_as_repeating_the_row(n: int, seed: int, ties: bool) -> None:
    """Every metric of a reweighted table equals that of the table with its rows repeated."""
    table = _table(n, seed, ties=ties)
    weight = np.random.default_rng(seed).integers(0, 4, n)
    repeated = table.loc[np.repeat(np.arange(n), weight)].reset_index(drop=True)
    fixed_groups = {"ece", "ece_floor", "slope"}
    for name in set(METRICS) - fixed_groups:
        rows = rows_of(table)
        ours = METRICS[name].function(rows)(weight[None, :].astype(float))[0]
        theirs = _value(name, repeated) if len(repeated) else np.nan
        assert ours == pytest.approx(theirs, abs=1e-9, nan_ok=True), name


def test_what_the_rows_cannot_give_is_missing() -> None:
    table = _table(50).assign(churned=1.0)
    found = metrics.measure(table.drop(columns=["expected_spend", "spend_lower"]))
    assert all(np.isnan(found[name].value) for name in ("auc", "gini", "total", "mae", "coverage"))
    assert all(np.isnan(found[name].lower) for name in ("auc", "gini", "total", "mae", "coverage"))
    assert np.isfinite(found["log_loss"].value)


def test_the_interval_of_a_mean_is_that_of_the_central_limit_theorem() -> None:
    table = _table(3000, seed=2)
    p = table.churn_probability
    loss = -np.where(table.churned == 1, np.log(p), np.log(1 - p))
    half = 1.645 * loss.std() / np.sqrt(len(loss))
    found = metrics.measure(table, ["log_loss"], Draws.of(table.customer_id, times=2000))["log_loss"]
    assert found.upper - found.value == pytest.approx(half, rel=0.1)
    assert found.value - found.lower == pytest.approx(half, rel=0.1)


def test_customers_are_drawn_whole() -> None:
    """The same customers and outcomes at four cutoffs say no more than at one: the interval must not shrink."""
    once = _table(400, seed=5)
    four = pd.concat([once.assign(cutoff=c) for c in range(4)], ignore_index=True)
    single = metrics.measure_by_cutoff(once, ["log_loss"]).iloc[0]
    mean = metrics.measure_by_cutoff(four, ["log_loss"]).query("cutoff == 'all'").iloc[0]
    assert mean.value == pytest.approx(single.value)
    assert (mean.lower, mean.upper) == pytest.approx((single.lower, single.upper))


def test_a_paired_difference_is_sharper_than_the_two_intervals() -> None:
    table = _table(2000, seed=6)
    worse = table.assign(churn_probability=(table.churn_probability * 0.7 + 0.15))
    alone = metrics.measure(table, ["log_loss"])["log_loss"]
    paired = metrics.difference(table, worse, ["log_loss"])["log_loss"]
    assert paired.value == pytest.approx(_value("log_loss", table) - _value("log_loss", worse))
    assert paired.upper - paired.lower < 0.5 * (alone.upper - alone.lower)
    assert paired.upper < 0


def test_a_forecast_does_not_differ_from_itself() -> None:
    table = _table(300, seed=8, cutoffs=3)
    for name, found in metrics.difference(table, table).items():
        assert (found.value, found.lower, found.upper) == (0.0, 0.0, 0.0), name


def test_match_keeps_only_what_both_forecast_and_in_one_order() -> None:
    table = _table(30, cutoffs=2)
    one, other = metrics.match(table.sample(frac=0.8, random_state=1), table.sample(frac=0.8, random_state=2))
    assert 0 < len(one) < len(table)
    assert list(zip(one.customer_id, one.cutoff, strict=True)) == list(
        zip(other.customer_id, other.cutoff, strict=True)
    )


def test_the_calibration_floor_is_what_right_forecasts_show() -> None:
    shown = [_value("ece", _table(1000, seed)) for seed in range(60)]
    assert np.mean(shown) == pytest.approx(_value("ece_floor", _table(1000)), rel=0.1)


def test_decile_table_holds_everybody_once_and_its_intervals_cover() -> None:
    """Of ten deciles with a 90 % interval about nine hold the true rate; over 30 tables 270 +- 15."""
    inside = 0
    for seed in range(30):
        deciles = metrics.calibration(_table(1000, seed))
        assert deciles.customers.sum() == 1000
        assert list(deciles.group) == list(range(1, 11))
        inside += int(((deciles.predicted >= deciles.lower) & (deciles.predicted <= deciles.upper)).sum())
    assert 255 <= inside <= 288


def test_groups_may_be_stages_and_carry_money_and_coverage() -> None:
    table = _table(100).assign(stage=np.repeat(["growth", "stable"], 50))
    groups = metrics.calibration(table, "stage").set_index("group")
    growth = table[table.stage == "growth"]
    assert groups.loc["growth", "spend"] == pytest.approx(growth.spend.mean())
    assert groups.loc["growth", "coverage"] == pytest.approx(((growth.spend >= 0) & (growth.spend <= 90)).mean())


def test_wilson_of_nothing_seen_in_ten() -> None:
    """With z = 1.645: lower 0, upper z^2 / (n + z^2) = 2.7055 / 12.7055."""
    assert metrics.wilson(0.0, 10) == pytest.approx((0.0, 2.70554 / 12.70554), abs=1e-5)
