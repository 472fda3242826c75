"""The sums of money, each against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from models import economics


def test_value_at_risk_by_hand() -> None:
    """78 % risk of 7,950 margin if still buying: 6,201. A loss-making customer puts nothing at risk; absent stays
    absent."""
    got = economics.value_at_risk([0.78, 0.5, np.nan], [7950.0, -20.0, 10.0])
    assert got[:2].tolist() == [pytest.approx(6201.0), 0.0]
    assert np.isnan(got[2])


def test_revenue_at_risk_sums_those_that_are_known() -> None:
    assert economics.revenue_at_risk([0.5, 0.2, np.nan], [100.0, 50.0, 9.0]) == pytest.approx(60.0)


def test_kept_and_lost_average_to_the_clv() -> None:
    """p = .4, a lost customer returns with .25: kept = 70 / (.6 + .1) = 100, lost = 25; at risk .4 x 75 = 30."""
    kept, lost = economics.kept_and_lost([70.0], [0.4], [0.25])
    assert (kept[0], lost[0]) == (pytest.approx(100.0), pytest.approx(25.0))
    assert economics.clv_at_risk([0.4], kept, lost)[0] == pytest.approx(30.0)
    assert np.isnan(economics.kept_and_lost([70.0], [1.0], [0.0])[0][0])


def test_the_three_sums_differ() -> None:
    p, margin, revenue, clv = 0.4, 30.0, 100.0, 70.0
    kept, lost = economics.kept_and_lost(clv, p, 0.25)
    assert float(economics.value_at_risk(p, margin)) == pytest.approx(12.0)
    assert economics.revenue_at_risk(p, revenue) == pytest.approx(40.0)
    assert float(economics.clv_at_risk(p, kept, lost)) == pytest.approx(30.0)


def test_an_action_costs_its_contact_and_what_it_gives_away() -> None:
    """A letter for 1, 10 % off an order of 60 that comes with .5: 1 + 3 = 4; without a discount the order is not
    asked."""
    assert economics.action_cost(1.0, 0.1, 60.0, 0.5) == pytest.approx(4.0)
    assert economics.action_cost(1.0, 0.0, np.nan, np.nan) == 1.0


def test_worth_keeping_by_hand() -> None:
    """Returns .2, worth 100 back, theta .06, keeping .5: lift .2 x .8 x .06 = .0096, so the action brings .96.
    At a cost of .3 recover earns 20.16; at 2 it does not pay: let lapse 19.5. Worth 2 back: even .4 - .5 is a loss."""
    sums = economics.worth_keeping(
        [0.2, 0.2, 0.2], [100.0, 100.0, 2.0], theta=0.06, cost=[0.3, 2.0, 0.3], keeping=0.5, times_lost=[1, 1, 1]
    )
    assert sums.lift[0] == pytest.approx(0.0096)
    assert sums.recover.tolist() == [pytest.approx(20.16), pytest.approx(18.46), pytest.approx(-0.3808)]
    assert sums.let_lapse.tolist() == [pytest.approx(19.5), pytest.approx(19.5), pytest.approx(-0.1)]
    assert sums.decision.tolist() == ["recover", "let lapse", "terminate"]


def test_who_was_lost_before_is_worth_half_as_much_back() -> None:
    sums = economics.worth_keeping([0.2], [100.0], theta=0.06, cost=0.3, keeping=0.5, times_lost=[2])
    assert sums.value_back[0] == 50.0
    assert sums.let_lapse[0] == pytest.approx(9.5)


def test_a_tie_does_less_and_an_unknown_decides_nothing() -> None:
    sums = economics.worth_keeping([0.0, np.nan], [10.0, 10.0], theta=0.06, cost=0.0, keeping=0.0, times_lost=[1, 1])
    assert sums.decision.tolist() == ["terminate", "let lapse"]
