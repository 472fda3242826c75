"""The life curve against sums on paper."""

from __future__ import annotations

import numpy as np
import pytest
from little_shop import buys, shop

from features.lifecycle import curve


@pytest.fixture
def drawn(tmp_path):
    """Periods of 10 days from 1 January; today is 4 February (day 35 of the log).

    Ann first buys on 1 January (35 days: three whole periods): 100 on day 1, 50 on day 12 with 20 sent back on day 13,
    30 on day 34 (fourth period, not whole). Bob first buys on 16 January (20 days: two whole periods): 60 on day 16 and
    40 on day 35 (his second period). Ann cost 7 of service on day 5 and 9 of acquisition, which is no cost to serve.
    Goods cost half of what is paid.
    """
    tables = {
        "purchases": [
            *buys("Ann", "2024-01-01", amount=100.0), *buys("Ann", "2024-01-12", amount=50.0),
            *buys("Ann", "2024-02-03", amount=30.0), *buys("Bob", "2024-01-16", amount=60.0),
            *buys("Bob", "2024-02-04", amount=40.0),
        ],
        "returns": [{"customer_id": "Ann", "at": "2024-01-13", "amount": 20.0}],
        "costs": [
            {"customer_id": "Ann", "at": "2024-01-05", "amount": 7.0, "kind": "service"},
            {"customer_id": "Ann", "at": "2024-01-01", "amount": 9.0, "kind": "acquisition"},
        ],
    }  # fmt: skip
    config, store = shop(tmp_path, tables)
    return curve.draw(store, store.last_day, config.span, store.first_day, margin=0.5, period=10)


def test_each_age_counts_those_who_lived_it(drawn) -> None:
    """Age 0: 100 + 60 by two; age 1: Ann 50 - 20 = 30, Bob 40; age 2: Ann alone, nothing."""
    table = drawn.by_age
    assert table.customers.tolist() == [2, 2, 1]
    assert table.visits.tolist() == [1.0, 1.0, 0.0]
    assert table.revenue.tolist() == [80.0, 35.0, 0.0]
    assert table.cost_to_serve.tolist() == [3.5, 0.0, 0.0]
    assert table.profit.tolist() == [40.0 - 3.5, 17.5, 0.0]
    assert drawn.assumed, "no cost of goods is recorded"


def test_cohorts_are_kept_apart(drawn) -> None:
    table = drawn.by_cohort.astype({"cohort": str}).set_index(["cohort", "age"])
    assert table.loc[("2024-01-01", 0), "profit"] == 50.0 - 7.0
    assert table.loc[("2024-01-01", 1), "profit_so_far"] == 43.0 + 15.0
    assert table.loc[("2024-01-11", 1), "profit"] == 20.0


def test_each_customer_is_placed_on_the_curve_at_his_age(drawn) -> None:
    """Bob's last whole period is age 1: 20 against 17.50 on the curve. Ann's is age 2, where the curve has nothing."""
    place = dict(zip(drawn.customer_id, drawn.place, strict=True))
    assert place["Bob"] == pytest.approx(20 / 17.5)
    assert np.isnan(place["Ann"])


def test_without_service_records_the_cost_to_serve_is_absent_and_not_zero(tmp_path) -> None:
    config, store = shop(tmp_path, {"purchases": buys("Ann", "2024-01-01", "2024-02-15")})
    drawn = curve.draw(store, store.last_day, config.span, store.first_day, margin=0.5, period=10)
    assert drawn.by_age.cost_to_serve.isna().all()


def test_recorded_cost_of_goods_is_used(tmp_path) -> None:
    rows = buys("Ann", "2024-01-01", amount=10.0, cost=9.0) + buys("Ann", "2024-01-31", amount=10.0, cost=9.0)
    config, store = shop(tmp_path, {"purchases": rows})
    drawn = curve.draw(store, store.last_day, config.span, store.first_day, margin=0.5, period=10)
    assert drawn.by_age.profit.tolist() == [1.0, 0.0, 0.0]
    assert not drawn.assumed
