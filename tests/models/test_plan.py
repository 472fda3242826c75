"""The plan fits its limits, is never better than its bound, and is the best there is where that can be checked."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import plan
from models.plan import Limits

OWNERS = ("desk", "desk", "store")


def brute_force(profit: np.ndarray, cost: np.ndarray, owners: tuple[str, ...], limits: Limits) -> float:
    """The best total over every assignment, by looking at all of them."""
    best = 0.0
    for choice in itertools.product(range(-1, profit.shape[1]), repeat=len(profit)):
        on = [(i, a) for i, a in enumerate(choice) if a >= 0]
        if any(not np.isfinite(profit[i, a]) for i, a in on):
            continue
        spent = sum(cost[i, a] for i, a in on)
        if limits.budget is not None and spent > limits.budget + 1e-9:
            continue
        if limits.length is not None and len(on) > limits.length:
            continue
        if any(sum(owners[a] == o for _, a in on) > most for o, most in limits.capacity.items()):
            continue
        best = max(best, sum(profit[i, a] for i, a in on))
    return best


whole = st.integers(-3, 9).map(float)


@st.composite
def instances(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, Limits]:
    n = draw(st.integers(0, 5))
    profit = np.array(draw(st.lists(whole, min_size=3 * n, max_size=3 * n))).reshape(n, 3)
    cost = np.array(draw(st.lists(st.integers(0, 5).map(float), min_size=3 * n, max_size=3 * n))).reshape(n, 3)
    forbidden = np.array(draw(st.lists(st.booleans(), min_size=3 * n, max_size=3 * n)), bool).reshape(n, 3)
    limits = Limits(
        draw(st.none() | st.integers(0, 9).map(float)),
        draw(st.dictionaries(st.sampled_from(["desk", "store"]), st.integers(0, 3).map(float))),
        draw(st.none() | st.integers(0, 4).map(float)),
    )
    return np.where(forbidden, np.nan, profit), cost, limits


@given(instances())
def test_a_tiny_plan_is_the_best_of_all_plans(instance: tuple[np.ndarray, np.ndarray, Limits]) -> None:
    profit, cost, limits = instance
    made = plan.choose(profit, cost, OWNERS, limits)
    assert made.total == pytest.approx(brute_force(profit, cost, OWNERS, limits), abs=1e-9)


@given(instances())
def test_the_certificate_holds_without_the_exact_solver(instance: tuple[np.ndarray, np.ndarray, Limits]) -> None:
    """The plan of the prices alone fits every limit, and brute force lies between it and its bound."""
    profit, cost, limits = instance
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "EXACT_CELLS", 0)
        made = plan.choose(profit, cost, OWNERS, limits)
    best = brute_force(profit, cost, OWNERS, limits)
    assert made.total <= best + 1e-9
    assert made.bound >= best - 1e-9
    on = np.flatnonzero(made.action >= 0)
    assert np.isfinite(profit[on, made.action[on]]).all()
    assert limits.budget is None or cost[on, made.action[on]].sum() <= limits.budget + 1e-9
    assert limits.length is None or len(on) <= limits.length
    for owner, most in limits.capacity.items():
        assert sum(OWNERS[a] == owner for a in made.action[on]) <= most


def market(n: int, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    p, v = rng.beta(2, 2, n), rng.lognormal(3, 1, n)
    cost = np.stack([np.full(n, 0.1), np.full(n, 1.0), 0.02 * v], axis=1)
    theta = np.array([0.06, 0.09, 0.12]) * (1 + 0.4 * rng.standard_normal((n, 3)))
    return np.stack([plan.score(p, v, theta[:, a], cost[:, a]) for a in range(3)], axis=1), cost


def test_a_large_plan_has_a_small_certified_gap_and_prices_for_what_binds() -> None:
    profit, cost = market(30_000)
    made = plan.choose(profit, cost, OWNERS, Limits(600.0, {"desk": 2_000, "store": 1_000}, 2_500))
    assert 0 <= made.gap <= 1e-4
    assert not made.exact
    assert made.used["budget"] <= 600 * (1 + 1e-9)
    assert made.used["desk"] <= 2_000
    assert made.used["store"] <= 1_000
    assert made.used["length"] <= 2_500
    assert made.prices["budget"] > 0


def test_a_shadow_price_is_what_one_more_contact_earns() -> None:
    """With one action and capacity the plan is the top rows: the price lies between the last row in and the first
    out."""
    profit = np.sort(np.random.default_rng(0).uniform(1, 9, (500, 1)), axis=0)[::-1]
    made = plan.choose(profit, np.zeros_like(profit), ("desk",), Limits(None, {"desk": 120}))
    assert set(np.flatnonzero(made.action == 0)) == set(range(120))
    assert profit[120, 0] - 1e-3 <= made.prices["desk"] <= profit[119, 0] + 1e-3


def test_equal_customers_do_not_break_the_plan() -> None:
    """Everybody ties: the prices cannot tell customers apart, the refill must."""
    made = plan.choose(np.full((900, 1), 2.0), np.full((900, 1), 1.0), ("desk",), Limits(333.0))
    assert made.total == pytest.approx(666.0)


def test_an_action_may_have_a_capacity_of_its_own() -> None:
    """The better action takes two of five; the others get the second best."""
    profit = np.tile([5.0, 4.0], (5, 1))
    made = plan.choose(profit, np.zeros((5, 2)), ("desk", "desk"), Limits(actions={0: 2}))
    assert np.bincount(made.action).tolist() == [2, 3]
    assert made.used["action 0"] == 2
    assert Limits(9.0, {"desk": 9}, 9, {0: 9}).scaled(1 / 0.9) == Limits(10.0, {"desk": 10}, 10, {0: 10})


def test_an_action_that_loses_money_is_never_chosen() -> None:
    made = plan.choose(np.array([[-1.0, 0.0], [2.0, 1.0]]), np.zeros((2, 2)), ("a", "b"), Limits())
    assert made.action.tolist() == [-1, 0]
    assert made.total == 2.0


def test_the_same_problem_gives_the_same_plan() -> None:
    profit, cost = market(5_000)
    limits = Limits(50.0, {"desk": 300}, 400)
    first, second = (plan.choose(profit, cost, OWNERS, limits) for _ in range(2))
    assert (first.action == second.action).all()
    assert first.prices == second.prices


def test_the_score_by_hand() -> None:
    """p = .4, 50 of margin, theta .06, a contact for .2: .24 x 50 x .06 - .2 = .52; over two horizons 1.24."""
    assert plan.score(0.4, 50.0, 0.06, 0.2) == pytest.approx(0.52)
    assert plan.score(0.4, 50.0, 0.06, 0.2, carry=2.0) == pytest.approx(1.24)
    assert np.isnan(plan.score(np.nan, 50.0, 0.06, 0.2))


def test_who_surely_stays_or_surely_leaves_is_worth_no_contact() -> None:
    assert (plan.score([0.0, 1.0], 1_000.0, 0.06, 0.1) == -0.1).all()


def test_incumbents_keep_their_place_against_noise_only() -> None:
    profit = np.array([10.0, 9.0, -1.0])
    raised = plan.favour_incumbents(profit, np.array([False, True, True]))
    assert raised.tolist() == [10.0, 11.25, -1.0]


def test_the_best_length_is_where_the_next_row_would_lose() -> None:
    earned, length = plan.curve(np.array([3.0, -2.0, 5.0, np.nan, 1.0]))
    assert earned.tolist() == [5.0, 8.0, 9.0, 7.0]
    assert length == 3
    assert plan.curve(np.array([-1.0]))[1] == 0
