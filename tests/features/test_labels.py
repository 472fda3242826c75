"""Labels of Ann and Bob as of 8 days before the end of their story, worked out by hand, and what is closed when."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from story import CUTOFF, SHOP, WINDOWS

from features import labels
from features.history import Floats, History

THEN = CUTOFF - 8


@pytest.fixture(scope="module")
def found() -> Mapping[str, Floats]:
    with np.errstate(invalid="ignore", divide="ignore"):
        return labels.compute(History(SHOP.block(0), [THEN, CUTOFF], WINDOWS, at="seen"), CUTOFF, horizons=[4])


EXPECTED = {  # Ann at THEN, Ann at CUTOFF, Bob at THEN, Bob at CUTOFF
    "churned": [0, np.nan, 1, np.nan],
    "returned": [np.nan, np.nan, np.nan, np.nan],  # both were at risk
    "partial_churn": [0, np.nan, np.nan, np.nan],  # 100 is above half of 30 x 8 / 16
    "own_cadence_churn": [0, np.nan, 1, np.nan],
    "spend": [100, np.nan, 0, np.nan],
    "net_spend": [100 - 15, np.nan, 0, np.nan],
    "margin": [100 - 50 - 15, np.nan, 0, np.nan],
    "orders": [3, np.nan, 0, np.nan],
    "purchase_days": [2, np.nan, 0, np.nan],
    "category_loss": [0, np.nan, np.nan, np.nan],  # x and y were bought again
    "days_to_next": [2, np.nan, 8, np.nan],
    "next_seen": [1, np.nan, 0, np.nan],
    "churned_4d": [0, np.nan, 1, np.nan],
    "spend_4d": [40, np.nan, 0, np.nan],
    "purchase_days_4d": [1, np.nan, 0, np.nan],
}


@pytest.mark.parametrize("name", EXPECTED)
def test_the_label(name: str, found: Mapping[str, Floats]) -> None:
    np.testing.assert_allclose(found[name], EXPECTED[name], equal_nan=True)


def test_every_label_has_a_worked_example() -> None:
    assert set(labels.LABELS) <= set(EXPECTED)


@pytest.mark.parametrize(("last_day", "closed"), [(THEN + 7, False), (THEN + 8, True)])
def test_a_horizon_is_closed_on_its_last_day(last_day: int, closed: bool) -> None:
    h = History(SHOP.upto(last_day).block(0), [THEN], WINDOWS)
    assert (~np.isnan(labels.compute(h, last_day)["spend"])).all() == closed


def test_a_shorter_horizon_closes_earlier() -> None:
    found = labels.compute(History(SHOP.block(0), [CUTOFF - 4], WINDOWS), CUTOFF, horizons=[4])
    assert np.isnan(found["churned"]).all()
    assert list(found["churned_4d"]) == [0]


def test_the_next_category_in_words() -> None:
    h = History(SHOP.block(0), [THEN], WINDOWS)
    assert list(labels.words(h, CUTOFF)["next_category"]) == ["z", None]


def test_without_costs_there_is_no_margin_and_without_returns_no_net_spend() -> None:
    bare = SHOP.rows["purchases"]
    less = type(bare)(bare.customer, bare.day, {"amount": bare.measures["amount"]})
    found = labels.compute(History(type(SHOP)({"purchases": less}).block(0), [THEN], WINDOWS), CUTOFF)
    assert np.isnan(found["margin"]).all()
    assert np.isnan(found["net_spend"]).all()
    assert list(found["spend"]) == [100, 0]
