"""What acting was worth: an estimate that covers the truth, looks that do not find effects in noise, and honest
words."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest
from corner_shop import AS_OF, Shop

from features.errors import MissingInput
from features.windows import to_date
from serving import dispositions, effect
from serving.publish import Published


def lin_hc3(y: np.ndarray, x: np.ndarray, treated: np.ndarray) -> tuple[float, float]:
    """The coefficient of T and its HC3 error, from the matrices of the textbook."""
    off = x - x.mean()
    X = np.column_stack([np.ones(len(y)), treated, off, treated * off])
    bread = np.linalg.inv(X.T @ X)
    residual = y - X @ bread @ X.T @ y
    leverage = np.einsum("ij,jk,ik->i", X, bread, X)
    meat = (X * ((residual / (1 - leverage)) ** 2)[:, None]).T @ X
    return float((bread @ X.T @ y)[1]), float(np.sqrt((bread @ meat @ bread)[1, 1]))


def test_the_estimate_is_lins_regression_with_hc3() -> None:
    """Against the textbook: y on 1, T, x - mean x, T (x - mean x) by least squares, the sandwich written out."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=900)
    treated = rng.uniform(size=900) < 0.8
    y = 2.0 * x + 0.3 * treated * x + rng.normal(size=900) * (1 + treated)
    got = effect.estimate(y, x, treated)
    difference, error = lin_hc3(y, x, treated)
    assert got.difference == pytest.approx(difference, rel=1e-10)
    assert got.error == pytest.approx(error, rel=1e-10)
    assert got.low < got.difference < got.high


def test_without_a_forecast_it_is_the_plain_difference() -> None:
    y = np.array([1.0, 2, 3, 4, 5, 9, 10, 11])
    treated = np.array([0, 0, 0, 0, 0, 1, 1, 1], bool)
    for x in (np.full(8, np.nan), np.full(8, 3.0)):
        assert effect.estimate(y, x, treated).difference == pytest.approx(7.0)


def test_an_arm_that_is_too_small_gives_no_estimate() -> None:
    got = effect.estimate(np.array([1.0, 2, 3, 4]), np.zeros(4), np.array([True, True, True, False]))
    assert np.isnan(got.difference)
    assert (got.treated, got.held_out) == (3, 1)
    assert np.isnan(effect.estimate(np.array([]), np.array([]), np.array([], bool)).low)


def test_groups_of_different_chances_are_estimated_apart() -> None:
    """Half held out where the outcome is high, a tenth where it is low: pooled the effect would look like -3."""
    rng = np.random.default_rng(2)
    share = np.repeat([0.5, 0.1], 2_000)
    treated = rng.uniform(size=4_000) > share
    y = 10.0 * (share == 0.5) + 0.5 * treated + rng.normal(size=4_000)
    x = np.full(4_000, np.nan)
    assert effect.estimate(y, x, treated, share=share).difference == pytest.approx(0.5, abs=0.15)
    assert effect.estimate(y, x, treated).difference < -2


@pytest.mark.parametrize(
    ("size", "shops", "truth", "within"),
    [(500, 100, 0.04, 0.07), (3_000, 400, 0.0, 0.04), (3_000, 400, 0.04, 0.04)],
)
def test_ninety_per_cent_intervals_cover_ninety_per_cent(
    monkeypatch: pytest.MonkeyPatch, size: int, shops: int, truth: float, within: float
) -> None:
    """Retention with a frozen forecast, a tenth held out; few controls go through the bootstrap. The bounds are the
    nominal level with what so many shops scatter."""
    monkeypatch.setattr(effect, "RESAMPLES", 299)
    rng = np.random.default_rng(size)
    hits, shorter = 0, []
    for shop in range(shops):
        p = rng.beta(2, 3, size)
        treated = np.zeros(size, bool)
        treated[rng.permutation(size)[size // 10 :]] = True
        kept = (rng.uniform(size=size) < np.clip(p + truth * treated * 4 * p * (1 - p), 0, 1)).astype(float)
        true = float((truth * 4 * p * (1 - p)).mean())
        got = effect.estimate(kept, p, treated, seed=shop)
        plain = effect.estimate(kept, np.full(size, np.nan), treated, seed=shop)
        hits += got.low <= true <= got.high
        shorter.append(got.error / plain.error)
    assert hits / shops == pytest.approx(0.9, abs=within)
    assert np.mean(shorter) < 0.95


def test_winsorised_spend_is_sharper() -> None:
    rng = np.random.default_rng(8)
    y, treated = rng.pareto(1.8, 4_000), rng.uniform(size=4_000) < 0.9
    x = np.full(4_000, np.nan)
    assert effect.estimate(effect.winsorised(y), x, treated).error < 0.8 * effect.estimate(y, x, treated).error
    assert np.isnan(effect.winsorised([np.nan, 1.0])[0])


def test_four_looks_at_nothing_find_something_one_time_in_ten() -> None:
    """A random walk of independent steps, looked at after each quarter: the bounds are crossed by 10 %; looking with
    1.645 each time crosses by far more."""
    steps = np.random.default_rng(1).normal(size=(40_000, effect.LOOKS))
    z = np.cumsum(steps, axis=1) / np.sqrt(np.arange(1, effect.LOOKS + 1))
    assert (np.abs(z) > effect.look_bounds()).any(axis=1).mean() == pytest.approx(0.10, abs=0.006)
    assert (np.abs(z) > 1.645).any(axis=1).mean() > 0.2


def experiment(weeks: int, a_week: int, lift: float, seed: int = 0, *, base: float = 0.5) -> pd.DataFrame:
    """Rows as `outcomes` gives them: so many new customers a week, horizon 91 days, all closed by the end."""
    rng = np.random.default_rng(seed)
    size = weeks * a_week
    entered = [date(2025, 1, 6) + timedelta(days=7 * (k // a_week)) for k in range(size)]
    arm = np.where(np.arange(size) % 10 == 0, "held out", "treated")
    kept = rng.uniform(size=size) < base + lift * (arm == "treated")
    rows = pd.DataFrame({"customer_id": [f"{k}" for k in range(size)], "arm": arm, "entered": entered, "share": 0.1})
    rows["closes"] = [day + timedelta(days=91) for day in entered]
    rows["closed"], rows["exempt"], rows["wash_out"], rows["touched"] = True, False, False, False
    rows["list"], rows["list_id"], rows["action"] = (
        "retention",
        "l-1",
        np.where(np.arange(size) % 2, "reminder", "call"),
    )
    rows["kept"], rows["kept_forecast"] = kept.astype(float), base
    rows["spend"] = rows["margin"] = rows["profit"] = 10.0 * rows["kept"]
    return rows.assign(cost=0.0, spend_forecast=5.0, margin_forecast=5.0)


NOW = (date(2027, 1, 1) - date(1970, 1, 1)).days


@pytest.mark.parametrize(
    ("lift", "weeks", "word"), [(0.08, 20, "worked"), (-0.08, 20, "failed"), (0.0, 150, "no effect seen")]
)
def test_the_verdict(lift: float, weeks: int, word: str) -> None:
    verdict = effect.judge(experiment(weeks, 1_000, lift, seed=3), NOW, smallest=0.012 if lift == 0 else 0.02)
    assert verdict.word == word


def test_too_early_says_how_many_weeks_more() -> None:
    """Of 34,782 rows that show 2 points at a base of one half the first quarter is 8,696: at 1,000 a week, of which
    four weeks have closed, the ninth week's rows close five weeks from now."""
    rows = experiment(9, 1_000, 0.02)
    as_of = (rows["closes"].iloc[3_999] - date(1970, 1, 1)).days
    rows["closed"] = [(day - date(1970, 1, 1)).days <= as_of for day in rows["closes"]]
    rows.loc[~rows["closed"], ["kept", "spend", "margin", "profit"]] = np.nan
    verdict = effect.judge(rows, as_of)
    assert (verdict.word, verdict.look, verdict.closed) == ("too early to tell", 0, 4_000)
    assert 8_000 < verdict.next_look <= 9_000
    assert verdict.weeks == 5
    assert 0.04 < verdict.sees < 0.08


def test_without_a_hold_out_nothing_can_be_measured() -> None:
    rows = experiment(4, 100, 0.0)
    rows["arm"] = "treated"
    assert effect.judge(rows, NOW).word == "cannot be measured"


def test_the_report_speaks_of_all_lists_actions_and_weeks() -> None:
    rows = experiment(4, 500, 0.1)
    rows.loc[:9, "wash_out"] = True
    rows.loc[10, "arm"], rows.loc[20, "touched"] = "exempt", True
    report = effect.measure(rows, NOW)
    table = report.table.set_index(["scope", "group", "measure"])
    assert set(report.table["measure"]) == set(effect.MEASURES)
    assert {"call", "reminder"} == set(report.table.loc[report.table["scope"] == "action", "group"])
    assert (report.table["scope"] == "week").sum() == 4 * len(effect.MEASURES)
    whole = table.loc[("all", "all", "retention")]
    assert whole["treated"] + whole["held_out"] == 2_000 - 10 - (0 if rows.loc[10, "wash_out"] else 1)
    assert whole["total"] == pytest.approx(whole["difference"] * whole["treated"])
    assert report.contaminated == 1
    assert report.apart == {"exempt": 1, "treated in the weeks before": 10, "erased": 0, "open": 0}


def test_outcomes_are_counted_from_the_store_by_hand(listed: tuple[Shop, Published]) -> None:
    """Kept, spend and margin of (as_of, as_of + 60] for everybody drawn, row by row from the purchases."""
    shop, published = listed
    as_of = published.as_of + 60
    purchases = pd.read_parquet(shop.config.root / "purchases.parquet")
    day = (purchases["at"] - pd.Timestamp("1970-01-01")).dt.days
    inside = purchases[(day > published.as_of) & (day <= as_of)]
    spent = inside.groupby("customer_id")["amount"].sum()
    with shop.ledger() as book:
        rows = effect.outcomes(book, shop.store, as_of, margin=0.3).set_index("customer_id")
        open_still = effect.outcomes(book, shop.store, as_of - 1, margin=0.3)
    assert rows["closed"].all()
    for customer, row in rows.iterrows():
        assert row["kept"] == (customer in spent.index)
        assert row["spend"] == pytest.approx(spent.get(customer, 0.0))
        assert row["margin"] == pytest.approx(0.3 * row["spend"])
    assert rows["kept"].sum() > 5
    assert open_still["kept"].isna().all()
    assert not open_still["closed"].any()


def test_costs_are_what_was_written_down_or_what_was_planned(listed: tuple[Shop, Published]) -> None:
    shop, published = listed
    done = published.rows("retention")["customer_id"].iloc[0]
    row = {
        "list_id": published.list_id("retention"),
        "customer_id": done,
        "at": "2025-09-05",
        "what": "offered",
        "cost": "7",
    }
    with shop.ledger() as book:
        planned = effect.outcomes(book, shop.store, AS_OF + 60, 0.3).set_index("customer_id")
        entries = book.entries(published.list_id("retention")).set_index("customer_id")
        assert planned.loc[done, "cost"] == pytest.approx(entries.loc[done, "cost"])
        assert (planned.loc[planned["arm"] == "held out", "cost"] == 0).all()
        dispositions.take(book, [row])
        written = effect.outcomes(book, shop.store, AS_OF + 60, 0.3).set_index("customer_id")
    mine = written[written["list"] == "retention"]
    assert mine.loc[done, "cost"] == 7.0
    assert mine["cost"].sum() == 7.0
    assert mine.loc[done, "profit"] == pytest.approx(mine.loc[done, "margin"] - 7.0)
    assert mine["touched"].sum() == 1


def test_monitoring_gets_a_plain_table(listed: tuple[Shop, Published]) -> None:
    shop, published = listed
    table = effect.for_monitor(shop.config, AS_OF + 60)
    assert len(table) == len(set(table["customer_id"])) > 50
    forecasts = published.forecasts.set_index("customer_id")["churn_probability"]
    mine = table[table["list"] != "win-back"].set_index("customer_id")
    assert np.allclose(mine["churn_probability"], forecasts.reindex(mine.index))
    assert set(table["churned"]) == {0.0, 1.0}


def test_nothing_published_is_missing_and_a_young_list_is_too_early(shop: Shop) -> None:
    with pytest.raises(MissingInput, match="no list"):
        effect.run(shop.config)
    shop.score()
    report = effect.run(shop.config, AS_OF + 7)
    assert report.verdict.word == "too early to tell"
    assert report.verdict.weeks > 7
    assert report.apart["open"] == len(report.rows)
    assert str(to_date(AS_OF + 60)) == str(report.rows["closes"].iloc[0])


def test_the_report_is_said_in_lines(listed: tuple[Shop, Published]) -> None:
    early = effect.run(listed[0].config, AS_OF + 7).lines
    assert early[0].startswith("too early to tell")
    rows = experiment(20, 1_000, 0.08, seed=3)
    told = effect.measure(rows, NOW).lines
    assert told[0].startswith("worked (look ")
    assert any(line.startswith("  retention") and "[+" in line for line in told)
    assert any("the top hundredth cut off" in line for line in told)


def test_a_group_with_a_handful_in_an_arm_is_counted_and_not_told() -> None:
    line = {"measure": "retention", "difference": 0.3, "low": -0.1, "high": 38.0, "total": 3.0, "treated": 15}
    rows = pd.DataFrame([line | {"scope": "action", "group": "upsell", "held_out": 3}])
    verdict = effect.Verdict("too early to tell", 0, 18, 100, 3.0, 0.1)
    told = effect.Effect(rows, verdict, 0, {}, rows).lines
    assert not any("upsell" in one for one in told)
    assert "not told: 1 groups with fewer than 10 closed rows in an arm" in told
