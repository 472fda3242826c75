"""The simple value formulas, each with its numbers written out."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from models import value
from models.value import Base, Customers


def test_simple_clv_is_apv_times_frequency_over_churn() -> None:
    """20 x 3 / .25 = 240; with nobody churning there is no finite value; what is unknown stays unknown."""
    assert value.simple_clv([20, 20, 20], [3, 3, np.nan], [0.25, 0.0, 0.25])[0] == 240
    assert np.isnan(value.simple_clv([20, 20, 20], [3, 3, np.nan], [0.25, 0.0, 0.25])[1:]).all()


def test_value_less_costs_and_history_plus_future() -> None:
    assert value.clv_profit(240 * 0.3, 12, 10) == 50
    assert value.clv_total(46.99, 30.0) == pytest.approx(76.99)
    assert np.isnan(value.clv_profit(72, np.nan, 10))


def test_six_inputs() -> None:
    """.2 x (50 x 2 x 5 x .4 - 30) - 8 - 4 = .2 x 170 - 12 = 22."""
    assert value.clv_six(
        conversion=0.2, order_value=50, orders=2, life=5, margin=0.4, maintenance=30, acquisition=8, activation=4
    ) == pytest.approx(22.0)


def test_geometric_clv() -> None:
    """10 a period, .8 stay, 10 % a period: 10 x .8 / (1.1 - .8) = 26.67; at no discount and .5: 10."""
    assert value.geometric_clv(10, 0.8, 0.1) == pytest.approx(26.6667, abs=1e-4)
    assert value.geometric_clv(10, 0.5, 0.0) == 10
    assert np.isnan(value.geometric_clv(10, 1.0, 0.0))


def test_a_rate_is_drawn_towards_everybodys() -> None:
    """2 events in 1 period, everybody 0.5, worth 3 periods: (2 + 1.5) / 4 = .875. Without a period of one's own: .5."""
    assert value.shrunk([2, 0], [1, 0], 0.5, 3) == pytest.approx([0.875, 0.5])


GROUP = np.array(["web", "web", "shop", None], object)
C = Customers(
    at_risk=np.array([1.0, 1, 1, 0]),
    churned=np.array([0.0, 1, 0, np.nan]),
    purchases=np.array([3.0, 1, 2, 0]),
    paid=np.array([60.0, 20, 100, 0]),
    life_purchases=np.array([5.0, 1, 2, 1]),
    life_paid=np.array([90.0, 20, 100, 10]),
    acquisition=np.array([4.0, 4, 10, np.nan]),
    retention=np.array([1.0, 1, 2, np.nan]),
    profit=np.array([20.0, 3, 25, 1]),
    expected=np.array([10.0, 2, 30, np.nan]),
)


def test_groups_stand_side_by_side_and_unknown_is_one_of_them() -> None:
    """Web: 80 over 4 purchases = 20 each, 2 a customer, half churn: 20 x 2 / .5 = 80; at a margin of .3 it is 24,
    less 4 and 1: 19. Shop: nobody churned: no simple value. The fourth has no group and was not at risk."""
    table = value.by_group(GROUP, C, 0.3).set_index("group")
    web = table.loc["web"]
    assert (web["average_purchase"], web["purchases"], web["churn"], web["life"]) == (20, 2, 0.5, 2)
    assert (web["clv_simple"], web["clv_simple_margin"], web["clv_profit"]) == pytest.approx((80, 24, 19))
    assert (web["historic"], web["clv_model"], web["clv_total"]) == (11.5, 6.0, 17.5)
    assert np.isnan(table.loc["shop", "clv_simple"])
    assert np.isnan(table.loc["unknown", "churn"])
    assert table.loc["all", "churn"] == pytest.approx(1 / 3)


def test_payback_is_the_period_that_covers_the_cost_of_acquiring() -> None:
    cash = pd.DataFrame({"age": [0, 1, 2], "profit_so_far": [4.0, 9.0, 12.0]})
    assert value.payback(cash, 9.0) == 2
    assert np.isnan(value.payback(cash, 20.0))
    assert np.isnan(value.payback(cash, np.nan))


def test_tiers_are_quantiles_of_those_with_value() -> None:
    """Of 1..10 the quantiles .5 and .8 are 5.5 and 8.2."""
    told = value.tiers(np.array([*range(1, 11), 0, np.nan], float))
    assert told.tolist() == ["low"] * 5 + ["mid"] * 3 + ["high"] * 2 + ["low", None]


def test_pareto_and_gini() -> None:
    """1, 1, 2, 6: the best quarter has .6, the best half .8; Gini .4; the best fifth (.8 of a customer) .48."""
    told = value.pareto(np.array([1.0, 6, np.nan, 1, 2]))
    assert told.share_of_value[[0, 25, 50, 100]] == pytest.approx([0, 0.6, 0.8, 1.0])
    assert told.gini == pytest.approx(0.4)
    assert told.top_fifth == pytest.approx(0.48)
    assert np.isnan(value.pareto(np.array([-1.0, 0.0])).top_fifth)


def test_pareto_rises_above_one_where_some_customers_cost_money() -> None:
    assert value.pareto(np.array([6.0, 4.0, -5.0])).share_of_value.max() == pytest.approx(2.0, abs=0.05)


def test_contribution_is_share_rank_and_share_down_to_here() -> None:
    told = value.contribution(np.array([2.0, 6, np.nan, 2]))
    assert told["share"].tolist()[:2] == [0.2, 0.6]
    assert told["rank"].tolist()[:2] == [2, 1]
    assert told["rank"][3] == 2
    assert told["share_down_to"][3] == 1.0
    assert np.isnan(told["share_down_to"][2])


def test_potential_high_is_expected_to_cross_the_edge() -> None:
    now, coming = np.array([10.0, 10, 60, np.nan]), np.array([55.0, 20, 70, 80])
    assert value.potential_high(now, coming, 50.0).tolist() == [True, False, False, False]


def test_what_if_moves_price_units_and_value() -> None:
    """Price 10, 4 units, cost 6, retention .8, discount .1: margin 16, value 16 x .8 / .3 = 42.67, less 5: 37.67.
    Price +5 % at elasticity -2: 10.5 and 4 / 1.1025 = 3.628 units: margin 16.327, value 43.54 - 5 = 38.54."""
    base = Base(10, 4, 6, 0.8, 0.1, 5)
    assert base.clv == pytest.approx(37.6667, abs=1e-4)
    assert value.what_if(base, price=0.05, elasticity=-2).clv == pytest.approx(38.5374, abs=1e-4)
    table = value.what_ifs(base).set_index("case")
    assert table.loc["as it is", "difference"] == 0
    assert table.loc["retention +5 points", "clv"] == pytest.approx(16 * 0.85 / 0.25 - 5)
    assert table.loc["acquisition cost -10 %", "difference"] == pytest.approx(0.5)


def test_equity_change_adds_up() -> None:
    """Ann 10 -> 12, Bob 5 -> 1, Cat 3 gone, Dan came with 4: 18 + 4 - 3 + 2 - 4 = 17."""
    told = value.equity_change({"Ann": 10, "Bob": 5, "Cat": 3}, {"Ann": 12, "Bob": 1, "Dan": 4})
    assert (told.before, told.came, told.gone, told.rose, told.fell, told.after) == (18, 4, 3, 2, 4, 17)


def test_levers_divide_a_gap_into_frequency_and_ticket() -> None:
    """Target 4 visits of 25 = 100. A customer with 2 visits of 20 lacks 60: 2 visits x 22.50 = 45 by frequency, 15 by
    ticket. One without a visit lacks 100, all of it frequency."""
    told = value.levers(np.array([2.0, 0.0]), np.array([40.0, 0.0]), 4, 25)
    assert told["gap"].tolist() == [60, 100]
    assert told["frequency"].tolist() == [45, 100]
    assert told["ticket"].tolist() == [15, 0]


def test_budget_is_divided_by_value_at_risk() -> None:
    stage = np.array(["stable", "decline", "decline"], object)
    told = value.invest_by_stage(stage, np.array([10.0, 5, 5]), np.array([1.0, 2, 1]), np.array([3.0, 1, 1]))
    assert told.set_index("stage").loc["decline", "budget_share"] == 0.75


def test_cohorts_are_quarters_of_the_first_purchase() -> None:
    days = np.array(["2024-01-31", "2024-04-01", "2023-12-31"], "datetime64[D]").astype(np.int64)
    assert value.by_cohort(np.append(days, -1)).tolist() == ["2024Q1", "2024Q2", "2023Q4", None]
