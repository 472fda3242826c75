"""The weekly figures against counts on paper.

Little shop of three weeks ending on Sunday 2024-01-28 (weeks end on 14, 21, 28 January), H 7 days, A 14 days:

         1st week (8-14)   2nd (15-21)       3rd (22-28)
Ann      10 Jan, 10        17 Jan, 10        24 Jan, 10 and 25 Jan, 20
Bob      8 Jan, 10         -                 -                            lapses on 22 January (14 days)
Cat      -                 -                 28 Jan, 40                   new
Dan      1 Jan, 10         -                 28 Jan, 10                   back after 27 days
Ann complains on 24 January and sends back 5 on the 26th.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from little_shop import buys, shop

from serving import kpis
from serving.kpis import KPIS, Weekly

TABLES = {
    "purchases": [
        *buys("Ann", "2024-01-10", "2024-01-17", "2024-01-24"), *buys("Ann", "2024-01-25", amount=20.0),
        *buys("Bob", "2024-01-08"), *buys("Cat", "2024-01-28", amount=40.0), *buys("Dan", "2024-01-01", "2024-01-28"),
    ],
    "complaints": [
        {"customer_id": "Ann", "at": "2024-01-24", "kind": "product"},
        {"customer_id": "Dan", "at": "2024-01-02", "kind": "product"},
    ],
    "returns": [
        {"customer_id": "Ann", "at": "2024-01-26", "amount": 5.0},
        {"customer_id": "Dan", "at": "2024-01-02", "amount": 1.0},
    ],
    "customers": [
        {"customer_id": "Ann", "region": "north"}, {"customer_id": "Bob", "region": "south"},
        {"customer_id": "Cat", "region": "south"},
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def weeks(tmp_path_factory: pytest.TempPathFactory) -> Weekly:
    config, store = shop(tmp_path_factory.mktemp("kpis"), TABLES, windows={"horizon": 7, "active": 14})
    return kpis.weekly(store, store.last_day, config.span, by="region")


def value(weeks: Weekly, name: str, group: str = "all") -> list[float]:
    kpi = next(one for one in KPIS if one.name == name)
    return list(weeks.values(kpi)[0][weeks.groups.index(group)])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # bought in the 14 days up to the week's end: 7: Dan; 14: Ann, Bob, Dan (1 January is 13 days ago);
        # 21: Ann, Bob; 28: Ann, Cat, Dan
        ("active", [1, 3, 2, 3]),
        # (active - active a week before) / active a week before; before the log nobody
        ("growth_rate", [np.nan, 2 / 1, -1 / 3, 1 / 2]),
        ("new", [1, 2, 0, 1]),
        ("reactivated", [0, 0, 0, 1]),
        ("lost", [0, 0, 1, 1]),
        ("revenue", [10, 20, 10, 80]),
        ("orders", [1, 2, 1, 4]),
        ("order_value", [10, 10, 10, 20]),
        ("complaint_rate", [np.nan, 0, 0, 1 / 4]),
        ("return_rate", [np.nan, 0, 0, 5 / 80]),
        # at risk a week before and silent since: 14: Dan of Dan; 21: Bob and Dan of three; 28: Bob of Ann and Bob
        ("churn_rate", [np.nan, 1, 2 / 3, 1 / 2]),
        # buyers of the last 7 days with two purchase days: 28: Ann of Ann, Cat, Dan
        ("repurchase_rate", [0, 0, 0, 1 / 3]),
        # first bought 7 to 13 days ago; second purchase within 7 days of the first: Ann (10, 17) yes, Bob no
        ("second_purchase", [np.nan, 0, 1 / 2, np.nan]),
        # trailing spend of those who then fell silent over that of all: 28: Ann 10 (17 January), Bob 0
        ("revenue_churn", [np.nan, 1, 1 / 2, 0]),
    ],
)
def test_figures_are_those_on_paper(weeks: Weekly, name: str, expected: list[float]) -> None:
    np.testing.assert_allclose(value(weeks, name), expected)


def test_segments_add_up_to_all_and_unknown_is_one(weeks: Weekly) -> None:
    assert weeks.groups == ("all", "north", "south", "unknown")
    assert value(weeks, "revenue", "north")[-1] == 30
    assert value(weeks, "revenue", "south")[-1] == 40
    assert value(weeks, "revenue", "unknown")[-1] == 10


def test_figures_without_their_table_name_it(tmp_path: Path) -> None:
    config, store = shop(tmp_path, {"purchases": TABLES["purchases"]}, windows={"horizon": 7, "active": 14})
    found = kpis.weekly(store, store.last_day, config.span)
    assert found.missing()["complaint_rate"] == ("complaints",)
    assert "complaint_rate" not in set(found.table()["kpi"])


def test_shares_carry_wilsons_interval(weeks: Weekly) -> None:
    """1 of 3: Wilson at 90 % is .0868 to .7293 (z2/n = .9018; (1/3 + .4509 -+ 1.645 sqrt(.0741 + .0752)) / 1.9018)."""
    kpi = next(one for one in KPIS if one.name == "repurchase_rate")
    _, low, high = weeks.values(kpi)
    assert (low[0, -1], high[0, -1]) == pytest.approx((0.078, 0.747), abs=2e-3)


def made(above: list[float], below: list[float] | None = None) -> Weekly:
    """Weeks of one figure: complaints per order, or new customers."""
    sums = {"new": np.array([above]), "complaints": np.array([above])}
    if below is not None:
        sums["orders"] = np.array([below], float)
    from features.windows import Windows

    return Weekly(Windows(91, 182), 7 * np.arange(len(above)), ("all",), sums, ("purchases", "complaints"))


def test_a_change_is_told_from_noise() -> None:
    """New customers 100, 100, 100, 100 and then 130, 130, 130, 130: means of four weeks 100 and 130. Poisson's
    error of the difference is sqrt(115 x (1/4 + 1/4)) = 7.58; the eight weeks scatter by 8 x 15^2 / 115 / 7 = 2.24
    times that variance: 30 / (7.58 x 1.495) = 2.65: p = .0081."""
    kpi = next(one for one in KPIS if one.name == "new")
    recent, before, p, verdict = made([100.0] * 4 + [130.0] * 4).change(kpi)
    assert (recent, before, verdict) == (130, 100, "up")
    assert p == pytest.approx(0.0081, abs=2e-4)
    assert made([100.0, 130, 80, 120, 90, 125, 95, 110]).change(kpi)[3] == "no change beyond noise"
    assert made([100.0] * 6).change(kpi)[3] == "too early"


def test_ratios_are_pooled_and_not_averaged() -> None:
    """Complaints 1 of 10 and 0 of 30, then 4 of 10 and 0 of 10 (weeks of two): 1/40 against 4/20."""
    kpi = next(one for one in KPIS if one.name == "complaint_rate")
    recent, before, _, _ = made([1.0, 0, 4, 0], [10, 30, 10, 10]).change(kpi, weeks=2)
    assert (recent, before) == (0.2, 0.025)


def test_retention_triangle_counts_each_customer_once_a_period(tmp_path: Path) -> None:
    """Periods of 10 days from 1 January: Ann buys on 1, 2 (same period), 12 and 25, Bob on 3; Cat on 15 and 30."""
    rows = [
        *buys("Ann", "2024-01-01", "2024-01-02", "2024-01-12", "2024-01-25"), *buys("Bob", "2024-01-03"),
        *buys("Cat", "2024-01-15", "2024-01-30"),
    ]  # fmt: skip
    _, store = shop(tmp_path, {"purchases": rows})
    told = kpis.triangle(store, store.last_day, period=10)
    assert told[["age", "customers", "bought"]].to_numpy().tolist() == [
        [0, 2, 2],
        [1, 2, 1],
        [2, 2, 1],
        [0, 1, 1],
        [1, 1, 1],
    ]
    assert told["cohort"].map(str).tolist() == ["2024-01-01"] * 3 + ["2024-01-11"] * 2


def test_cohorts_are_compared_at_one_age() -> None:
    """Early cohort 50 of 100, late 30 of 100: rate .4, error sqrt(.24 x .02) = .0693; the two cohorts scatter by chi2 =
    8.33 around the common rate with one degree of freedom, so the error is 2.89 times that: .2 / .2 = 1.0: p = .317."""
    table = pd.DataFrame({"cohort": [0, 1], "age": [1, 1], "customers": [100, 100], "bought": [50, 30]})
    early, late, p, verdict = kpis.compare_cohorts(table, 1)
    assert (early, late) == (0.5, 0.3)
    assert p == pytest.approx(0.3173, abs=1e-3)
    assert verdict == "no change beyond noise"
    assert kpis.compare_cohorts(table, 5)[3] == "too early"
