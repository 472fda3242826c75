"""Forecasts know only the past, repeat to the byte, add up, and say plainly where they know nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from memory import MemoryStore
from shops import ECONOMICS, SETTINGS, SPAN, START, WINDOWS, christmas, random_shop, shop

from features.config import Economics, Model
from features.errors import BadData, MissingInput, UsageError
from features.windows import Windows
from models import forecaster
from models.forecaster import Forecaster

MONEY = ("expected_spend", "spend_lower", "spend_upper", "expected_margin", "clv", "value_if_active")


def check_sound(frame: pd.DataFrame) -> None:
    """What every forecast must be, whatever it was made from."""
    p = frame.churn_probability
    assert ((p > 0) & (p < 1)).all()
    for name in MONEY:
        assert np.isfinite(frame[name]).all(), name
        assert (frame[name] >= 0).all(), name
    assert (frame.spend_lower <= frame.expected_spend).all()
    assert (frame.expected_spend <= frame.spend_upper).all()
    assert (frame.expected_margin <= frame.value_if_active + 1e-9).all()
    assert frame.customer_id.is_unique


def truth(store: MemoryStore, cutoff: int, windows: Windows) -> pd.DataFrame:
    log = store.log
    past = log[log.day <= cutoff].groupby("customer_id").day.max()
    ahead = log[(log.day > cutoff) & (log.day <= cutoff + windows.horizon)].groupby("customer_id").amount.sum() / 100
    at_risk = past[cutoff - past < windows.active].index
    spend = ahead.reindex(at_risk).fillna(0.0)
    return pd.DataFrame({"spend": spend, "churned": (spend == 0).astype(float)})


# -- only the past


def test_forecasts_from_a_log_cut_at_the_cutoff_equal_those_from_the_whole_log(small: MemoryStore) -> None:
    """The truncation law, through fitting, levels, back-test and forecast, to the last bit."""
    cutoff = small.last_day - 90
    cut = small.until(cutoff)
    assert len(cut.log) < len(small.log)
    assert set(cut.log.customer_id) < set(small.log.customer_id)
    whole, past = (forecaster.fit(s, cutoff, WINDOWS, SETTINGS, ECONOMICS) for s in (small, cut))
    assert whole == past
    for at in ("at risk", "lapsed"):
        pd.testing.assert_frame_equal(
            whole.forecast(small, cutoff, at), past.forecast(cut, cutoff, at), check_exact=True
        )


def test_preparing_for_other_cutoffs_too_changes_nothing(small: MemoryStore, fitted: Forecaster) -> None:
    cutoffs = [fitted.as_of - 60, fitted.as_of - 31, fitted.as_of]
    prepared = forecaster.prepare_for(small, cutoffs, WINDOWS, SETTINGS)
    assert forecaster.fit(small, fitted.as_of, WINDOWS, SETTINGS, ECONOMICS, prepared=prepared) == fitted


def test_neither_buckets_nor_the_order_of_lines_show(small: MemoryStore, fitted: Forecaster) -> None:
    shuffled = small.log.sample(frac=1.0, random_state=1)
    other = MemoryStore.of(shuffled.customer_id, shuffled.day, shuffled.amount / 100, buckets=16)
    again = forecaster.fit(other, fitted.as_of, WINDOWS, SETTINGS, ECONOMICS)
    assert again == fitted
    a, b = (f.forecast(s, f.as_of).set_index("customer_id").sort_index() for f, s in ((fitted, small), (again, other)))
    pd.testing.assert_frame_equal(a, b, check_exact=True)


def test_a_row_depends_on_itself_alone(small: MemoryStore, fitted: Forecaster) -> None:
    rows = fitted.snapshot(small, fitted.as_of)
    some = np.arange(len(rows)) % 7 == 3
    every = fitted.forecast_rows(rows)[some].reset_index(drop=True)
    pd.testing.assert_frame_equal(fitted.forecast_rows(rows.take(some)), every, check_exact=True)


# -- what it says


def test_everybody_at_risk_has_one_sound_row(small: MemoryStore, fitted: Forecaster) -> None:
    frame = fitted.forecast(small, fitted.as_of)
    check_sound(frame)
    assert set(frame.customer_id) == set(truth(small, fitted.as_of, WINDOWS).index)
    assert (frame.cutoff == pd.Timestamp(fitted.as_of, unit="D")).all()
    assert frame.skill.all()
    partial = frame.partial_churn_probability
    assert ((partial >= 0) & (partial <= 1 - frame.churn_probability + 1e-9)).all()


def test_lapsed_customers_are_the_rest_of_those_who_ever_bought(small: MemoryStore, fitted: Forecaster) -> None:
    lapsed = fitted.forecast(small, fitted.as_of, at="lapsed")
    check_sound(lapsed)
    seen = set(small.log[small.log.day <= fitted.as_of].customer_id)
    assert set(lapsed.customer_id) == seen - set(fitted.forecast(small, fitted.as_of).customer_id)
    np.testing.assert_allclose(lapsed.return_probability, 1 - lapsed.churn_probability)
    with pytest.raises(UsageError):
        fitted.forecast_rows(fitted.snapshot(small, fitted.as_of), at="everybody")


def test_on_a_plain_shop_it_ranks_levels_and_covers() -> None:
    store, windows = shop(2_000, 1), Windows(91, 182)
    cutoff = START + SPAN - 91
    made = forecaster.fit(store, cutoff, windows, Model(trees=50, rows=8_000, threads=1), ECONOMICS)
    frame = made.forecast(store, cutoff).set_index("customer_id")
    came = truth(store, cutoff, windows).reindex(frame.index)
    order = frame.churn_probability.rank().to_numpy()
    n1, n0 = came.churned.sum(), (1 - came.churned).sum()
    auc = (order[came.churned == 1].sum() - n1 * (n1 + 1) / 2) / (n1 * n0)
    assert made.skill.found
    assert auc > 0.78
    assert frame.churn_probability.mean() == pytest.approx(came.churned.mean(), abs=0.04)
    inside = (came.spend >= frame.spend_lower) & (came.spend <= frame.spend_upper)
    assert 0.86 < inside.mean() < 0.96
    assert frame.expected_spend.sum() == pytest.approx(came.spend.sum(), rel=0.2)


def test_a_strong_christmas_moves_the_level_the_right_way() -> None:
    """Just before the season, more buy than the snapshots of autumn would say; the index and last year know it."""
    store, windows = shop(1_500, 5, days=1_100, season=christmas, life=900), Windows(45, 120)
    cutoff = START + 365 * 2 + 312
    made = forecaster.fit(store, cutoff, windows, Model(trees=20, rows=5_000, threads=1), ECONOMICS)
    assert made.models is not None
    gone, came = made.models.levels.gone, truth(store, cutoff, windows)
    plain = gone.recent - gone.index
    assert gone.index < -0.2
    assert gone.season < plain - 0.3
    p = made.forecast(store, cutoff).churn_probability.to_numpy()
    unmoved = 1 / (1 + (1 - p) / p * np.exp(gone.value - plain))
    assert abs(p.mean() - came.churned.mean()) < 0.5 * abs(unmoved.mean() - came.churned.mean())


def test_the_probability_of_silence_falls_with_the_horizon_and_meets_the_forecast(
    small: MemoryStore, fitted: Forecaster
) -> None:
    rows = fitted.snapshot(small, fitted.as_of)
    p = fitted.forecast_rows(rows).churn_probability.to_numpy()
    days = [0, 1, 7, 30, WINDOWS.horizon, 120, 365]
    path = fitted.survival(rows, days)
    np.testing.assert_allclose(path[:, 0], 1.0)
    np.testing.assert_allclose(path[:, 4], p, rtol=1e-9)
    assert (np.diff(path, axis=1) < 0).all()
    due = fitted.next_purchase(rows)
    known = ~np.isnan(due)
    assert 0 < known.mean() < 1
    for k in np.flatnonzero(known)[:20]:
        before, after = fitted.survival(rows.take(np.array([k])), [due[k] - 1.5, due[k]])[0]
        assert before > 0.5 >= after
    assert (fitted.survival(rows, [1_095])[~known, 0] > 0.5).all()


# -- where there is nothing to know


@pytest.mark.parametrize("seed", range(2))
def test_random_purchases_have_no_skill_and_get_the_base_rate(seed: int) -> None:
    store, windows = random_shop(800, seed), Windows(91, 182)
    cutoff = store.last_day - 91
    made = forecaster.fit(store, cutoff, windows, Model(trees=20, rows=4_000, threads=1), ECONOMICS)
    frame, came = made.forecast(store, cutoff), truth(store, cutoff, windows)
    check_sound(frame)
    assert not made.skill.found
    assert not frame.skill.any()
    assert str(made.skill).startswith("no skill")
    assert frame.churn_probability.nunique() == 1
    assert frame.churn_probability[0] == pytest.approx(came.churned.mean(), abs=0.05)


def test_a_log_without_a_closed_horizon_says_from_when_on_it_can_forecast(small: MemoryStore) -> None:
    with pytest.raises(MissingInput, match="not enough closed history") as caught:
        forecaster.fit(small, small.first_day + 80, WINDOWS, SETTINGS, ECONOMICS)
    assert "allowed" in str(caught.value)
    day = small.first_day + 30 + 60
    assert forecaster.fit(small, day, WINDOWS, SETTINGS, ECONOMICS).as_of == day


def test_thirty_days_of_history_with_a_short_horizon_are_judged_by_customers_held_back() -> None:
    store = shop(900, 2, days=30, gap=6, life=60, spread=0.7)
    made = forecaster.fit(store, store.last_day, Windows(10, 20), SETTINGS, ECONOMICS)
    check_sound(made.forecast(store, store.last_day))
    assert made.skill.how in ("held out by customer", "one horizon earlier")


@pytest.mark.parametrize(
    "store",
    [
        shop(200, 4, days=400),
        shop(25, 4, days=400),
        MemoryStore.of(["only"] * 9, range(START, START + 360, 40), [5.0] * 9),
        MemoryStore.of([f"c{k}" for k in range(300)], [START + k for k in range(300)], [9.99] * 300),
        MemoryStore.of(["a", "b"] * 200, [START + k // 2 for k in range(400)], [1.0] * 400),
        replace(shop(300, 6, days=400), has_amounts=False, exponent=0),
    ],
    ids=["200 customers", "25 customers", "one customer", "nobody returns", "nobody ever leaves", "no amounts"],
)
def test_a_poor_log_gives_sound_numbers_or_a_plain_reason(store: MemoryStore) -> None:
    """Never NaN, never a traceback."""
    if not store.has_amounts:
        store = replace(store, log=store.log.assign(amount=1))
    try:
        made = forecaster.fit(store, store.last_day, WINDOWS, SETTINGS, ECONOMICS)
    except (BadData, MissingInput):
        return
    for at in ("at risk", "lapsed"):
        check_sound(made.forecast(store, store.last_day, at))
    if len(set(store.log.customer_id)) < 30:
        assert not made.skill.found


def test_a_day_before_the_log_is_refused(small: MemoryStore, fitted: Forecaster) -> None:
    with pytest.raises(MissingInput):
        fitted.forecast(small, small.first_day - 1)


def test_the_margin_share_and_years_come_from_the_settings(small: MemoryStore, fitted: Forecaster) -> None:
    richer = forecaster.fit(small, fitted.as_of, WINDOWS, SETTINGS, Economics(margin=0.6, years=4.0, discount_rate=0.1))
    a, b = fitted.forecast(small, fitted.as_of), richer.forecast(small, fitted.as_of)
    np.testing.assert_allclose(b.expected_margin, 2 * a.expected_margin)
    np.testing.assert_array_equal(a.churn_probability, b.churn_probability)
    assert (b.clv > 2 * a.clv).all()
