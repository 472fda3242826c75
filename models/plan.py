"""Who gets which action: the choice that earns most under a budget, the owners' capacities and a list length.

An action is worth what it changes. With p the churn probability, an action that moves the log odds of staying by theta
saves about p(1 - p) theta of a customer, so its expected profit is `p (1 - p) v k theta - cost`, with v the margin the
customer brings if buying: neither those sure to stay nor those sure to leave are worth a contact. Theta starts from a
prior (.06, give or take .03, alike for all actions) and moves only when enough held-out customers have closed; costs
are computed, never learned.

Choosing is a knapsack with many classes and few shared limits. Give each limit a price, charge it to every action, and
each customer chooses alone: the best prices bound what any plan can earn (Lagrangian duality; Fisher, Management
Science 1981). The prices are found on a sample by a linear program and then on all customers by cutting planes from
the centre (Elzinga and Moore, Mathematical Programming 1975); the plan they induce is trimmed until it fits and filled
up again. The gap between the plan and the bound is its certificate. Tiny instances are solved exactly by HiGHS.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import Bounds, LinearConstraint, linprog, milp
from scipy.sparse import coo_array

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]

EXACT_CELLS = 400  # customers x actions up to which HiGHS proves the optimum in a moment
SAMPLE = 8_000
ROUNDS = 120
CLOSE_ENOUGH = 1e-6  # relative gap at which the search for prices stops
REFILL = 20_000  # rows tried one by one when a trimmed plan is filled up again


@dataclass(frozen=True)
class Theta:
    """What is believed of one action: the shift of the log odds of staying, and how sure we are of it."""

    mean: float = 0.06
    sd: float = 0.03
    rows: int = 0


@dataclass(frozen=True)
class Limits:
    """What may be spent at the most; None and a missing owner mean no limit. `budget` is money, `capacity` contacts by
    owner, `actions` contacts by the place of an action, `length` rows in all."""

    budget: float | None = None
    capacity: Mapping[str, float] = field(default_factory=dict)
    length: float | None = None
    actions: Mapping[int, float] = field(default_factory=dict)

    def scaled(self, factor: float) -> Limits:
        """The same limits made wider: with a tenth held out, 1/.9 of the budget is planned for."""
        return Limits(
            None if self.budget is None else self.budget * factor,
            {owner: most * factor for owner, most in self.capacity.items()},
            None if self.length is None else self.length * factor,
            {place: most * factor for place, most in self.actions.items()},
        )


@dataclass(frozen=True)
class Plan:
    """A feasible plan and its certificate.

    action   per customer the index of the action, -1 for none
    total    expected profit of the plan; `bound` is what no plan can exceed, `gap` (bound - total) / bound
    prices   what one more unit of each limit would earn: "budget" a unit of money, "length" a row, else an owner's
             contact
    used     how much of each limit the plan takes
    exact    HiGHS proved it optimal
    """

    action: Ints
    profit: Floats
    total: float
    bound: float
    gap: float
    prices: dict[str, float]
    used: dict[str, float]
    exact: bool


def score(
    churn_probability: ArrayLike, margin_if_active: ArrayLike, theta: ArrayLike, cost: ArrayLike, carry: float = 1.0
) -> Floats:
    """Expected profit of one action: p (1 - p) v k theta - cost, in the shop's currency.

    `carry` is k: how many horizons' margin a saved customer brings; 1 counts the horizon alone, which is what a
    hold-out can check. NaN where the probability or the margin is NaN.
    """
    p = np.asarray(churn_probability, float)
    gain = p * (1.0 - p) * np.maximum(np.asarray(margin_if_active, float), 0.0) * carry * np.asarray(theta, float)
    return np.asarray(gain - np.asarray(cost, float), float)


def favour_incumbents(profit: Floats, incumbent: NDArray[np.bool_], factor: float = 1.25) -> Floats:
    """Profits with those of last list's customers made `factor` times as large where positive, so that noise does not
    reshuffle Monday's list (.9 % of modelled profit buys a Jaccard of .89 instead of .76)."""
    raised = np.where(profit > 0, profit * factor, profit)
    return np.where(incumbent.reshape(-1, *[1] * (profit.ndim - 1)), raised, profit)


def choose(profit: Floats, cost: Floats, owners: Sequence[str], limits: Limits) -> Plan:
    """The plan that earns most.

    `profit` and `cost` have a row per customer and a column per action; NaN or -inf in `profit` forbids that action for
    that customer. `owners` names who carries each action out. At most one action a customer; an action that does not
    pay is never chosen. Deterministic; ties go to the lower action and the earlier customer.
    """
    problem = _Problem.of(profit, cost, owners, limits)
    if problem.profit.size == 0:
        return problem.plan(np.full(problem.customers, -1, np.int64), 0.0, problem.no_prices(), exact=True)
    prices, bound = _prices(problem)
    rough = problem.plan(_recover(problem, prices), bound, prices, exact=False)
    if problem.profit.size > EXACT_CELLS or rough.gap <= 0.0:
        return rough
    return _exact(problem, rough, prices)


def curve(profit: Floats) -> tuple[Floats, int]:
    """Expected profit by list length, and the length at which it is largest.

    `profit` is the expected profit of each customer's best action, in any order, NaN for none. The first entry of the
    curve is the profit of a list of one; the last row of the best list still earns, the next one would not.
    """
    earned = np.cumsum(np.sort(profit[np.isfinite(profit)])[::-1])
    return earned, int(np.argmax(earned) + 1) if earned.size and earned.max() > 0 else 0


@dataclass(frozen=True)
class _Problem:
    """A choice with its limits as rows of one table: action a of customer i uses `unit[l, a] + rate[l] x cost[a, i]` of
    limit l, of which there is `most[l]`. Arrays are action-major, so that every pass reads memory forward."""

    profit: Floats  # actions x customers, -inf where forbidden
    cost: Floats
    names: tuple[str, ...]
    unit: Floats  # limits x actions
    rate: Floats  # limits
    most: Floats  # limits

    @classmethod
    def of(cls, profit: Floats, cost: Floats, owners: Sequence[str], limits: Limits) -> _Problem:
        gains = np.ascontiguousarray(np.where(np.isfinite(profit) & (profit > 0), profit, -np.inf).T)
        rows: list[tuple[str, list[float], float, float]] = []
        if limits.budget is not None:
            rows.append(("budget", [0.0] * len(owners), 1.0, limits.budget))
        bound = sorted(set(owners) & set(limits.capacity))
        rows += [(owner, [float(owner == o) for o in owners], 0.0, limits.capacity[owner]) for owner in bound]
        places = range(len(owners))
        rows += [
            (f"action {a}", [float(a == b) for b in places], 0.0, limits.actions[a]) for a in sorted(limits.actions)
        ]
        if limits.length is not None:
            rows.append(("length", [1.0] * len(owners), 0.0, limits.length))
        return cls(
            gains,
            np.ascontiguousarray(np.nan_to_num(np.asarray(cost, float)).T),
            tuple(row[0] for row in rows),
            np.array([row[1] for row in rows], float).reshape(len(rows), len(owners)),
            np.array([row[2] for row in rows], float),
            np.array([row[3] for row in rows], float),
        )

    @property
    def customers(self) -> int:
        return int(self.profit.shape[1])

    def no_prices(self) -> Floats:
        return np.zeros(len(self.names))

    def some(self, chosen: Ints) -> _Problem:
        """The same problem for a sample of customers, its limits shrunk alike."""
        part = self.most * (len(chosen) / self.customers)
        return _Problem(self.profit[:, chosen], self.cost[:, chosen], self.names, self.unit, self.rate, part)

    def best(self, prices: Floats) -> tuple[Floats, Ints]:
        """Per customer the best profit left after the prices, and its action; -1 and 0 where none is left."""
        left, action = np.zeros(self.customers), np.full(self.customers, -1, np.int64)
        for a in range(len(self.profit)):
            reduced = self.reduced(a, prices)
            better = reduced > left
            left[better], action[better] = reduced[better], a
        return left, action

    def reduced(self, action: int, prices: Floats) -> Floats:
        """Profit of one action after the prices."""
        return np.asarray(
            self.profit[action] - (prices @ self.rate) * self.cost[action] - float(prices @ self.unit[:, action]), float
        )

    def usage(self, action: Ints) -> Floats:
        """How much of each limit a plan takes."""
        on = np.flatnonzero(action >= 0)
        counts = np.bincount(action[on], minlength=len(self.profit)).astype(float)
        return np.asarray(self.unit @ counts + self.rate * self.cost[action[on], on].sum(), float)

    def dual(self, prices: Floats) -> tuple[float, Floats]:
        """What no plan can exceed at these prices, and how that changes with each price."""
        left, action = self.best(prices)
        return float(prices @ self.most + left.sum()), self.most - self.usage(action)

    def plan(self, action: Ints, bound: float, prices: Floats, *, exact: bool) -> Plan:
        on = np.flatnonzero(action >= 0)
        profit = np.zeros(self.customers)
        profit[on] = self.profit[action[on], on]
        total = float(profit.sum())
        bound = max(bound, total)
        return Plan(
            action,
            profit,
            total,
            bound,
            (bound - total) / bound if bound > 0 else 0.0,
            dict(zip(self.names, prices.tolist(), strict=True)),
            dict(zip(self.names, self.usage(action).tolist(), strict=True)),
            exact,
        )


def _prices(problem: _Problem) -> tuple[Floats, float]:
    """The prices of the limits and the bound they prove: first from a sample, then on all customers."""
    start = problem.no_prices()
    if not len(start):
        return start, problem.dual(start)[0]
    if problem.customers > 2 * SAMPLE:
        chosen = np.linspace(0, problem.customers - 1, SAMPLE).astype(np.int64)
        start, _ = _central_cuts(problem.some(chosen), start)
    return _central_cuts(problem, start)


def _central_cuts(problem: _Problem, start: Floats) -> tuple[Floats, float]:
    """Smallest bound over prices >= 0, by cutting planes from the Chebyshev centre of what is left.

    Each evaluation gives a supporting plane of the dual, a convex function. The linear program places the largest ball
    under the best bound and above all planes; its centre is tried next. Stops when the planes leave nothing to win.
    """
    ceiling = _ceiling(problem)
    bound, slope = problem.dual(start)
    best, planes = start, [(start, bound, slope)]
    if not (start > 0).any() and (slope >= 0).all():
        return start, bound  # nothing binds: no price can lower the bound
    for _ in range(ROUNDS):
        centre, floor = _centre(planes, bound, ceiling)
        if centre is None or bound - floor <= CLOSE_ENOUGH * max(abs(bound), 1e-12):
            break
        value, slope = problem.dual(centre)
        planes.append((centre, value, slope))
        if value < bound:
            best, bound = centre, value
    return best, bound


def _ceiling(problem: _Problem) -> Floats:
    """No useful price is higher: at it, nothing that uses the limit pays any more."""
    highest = np.zeros(len(problem.names))
    for a, gains in enumerate(problem.profit):
        pays = np.isfinite(gains)
        for row in range(len(highest)):
            per = problem.unit[row, a] + problem.rate[row] * problem.cost[a, pays]
            worth = gains[pays][per > 0] / per[per > 0]
            highest[row] = max(highest[row], worth.max(initial=0.0))
    return np.asarray(highest + 1e-12)


def _centre(planes: list[tuple[Floats, float, Floats]], bound: float, ceiling: Floats) -> tuple[Floats | None, float]:
    """The centre to try next, and a floor under the dual. Prices are scaled by their ceilings, values by the bound."""
    unit = max(abs(bound), 1e-12)
    slopes = np.array([slope * ceiling for _, _, slope in planes]) / unit
    offsets = np.array([value - float(slope @ at) for at, value, slope in planes]) / unit
    k = len(ceiling)
    norms = np.sqrt(1.0 + (slopes**2).sum(axis=1, keepdims=True))
    planes_above = np.hstack([slopes, -np.ones((len(planes), 1)), norms])
    under_bound = np.array([[0.0] * k + [1.0, 1.0]])
    inside = np.vstack([np.hstack([sign * np.eye(k), np.zeros((k, 1)), np.ones((k, 1))]) for sign in (1.0, -1.0)])
    ball: Any = linprog(
        [0.0] * (k + 1) + [-1.0],
        A_ub=np.vstack([planes_above, under_bound, inside]),
        b_ub=np.concatenate([-offsets, [bound / unit], np.ones(k), np.zeros(k)]),
        bounds=[(0.0, 1.0)] * k + [(None, None), (0.0, None)],
    )
    low: Any = linprog(
        [0.0] * k + [1.0],
        A_ub=planes_above[:, : k + 1],
        b_ub=-offsets,
        bounds=[(0.0, 1.0)] * k + [(None, None)],
    )
    floor = float(low.fun) * unit if low.success else -np.inf
    if not ball.success or ball.x[-1] <= 1e-14:
        return (low.x[:k] * ceiling if low.success else None), floor
    return ball.x[:k] * ceiling, floor


def _recover(problem: _Problem, prices: Floats) -> Ints:
    """A plan that fits: what the prices induce, without the least profitable rows of what is exceeded, filled up
    again."""
    left, action = problem.best(prices)
    action = _trim(problem, action, left)
    return _refill(problem, action, prices)


def _trim(problem: _Problem, action: Ints, left: Floats) -> Ints:
    """Take rows out of every exceeded limit, those with the least profit after prices first."""
    action = action.copy()
    for row in range(len(problem.names)):
        over = problem.usage(action)[row] - problem.most[row]
        if over <= _slack(problem, row):
            continue
        on = np.flatnonzero(action >= 0)
        uses = problem.unit[row, action[on]] + problem.rate[row] * problem.cost[action[on], on]
        on, uses = on[uses > 0], uses[uses > 0]
        order = np.argsort(left[on], kind="stable")
        enough = int(np.searchsorted(np.cumsum(uses[order]), over - _slack(problem, row)) + 1)
        action[on[order[:enough]]] = -1
    return action


def _slack(problem: _Problem, row: int) -> float:
    """Rounding that a sum of many costs may carry."""
    return 1e-9 * max(1.0, float(problem.most[row]))


def _refill(problem: _Problem, action: Ints, prices: Floats) -> Ints:
    """Give what is left of the limits to the best of the customers without an action, and then to better actions."""
    action, free = action.copy(), problem.most - problem.usage(action)
    slack = np.array([_slack(problem, row) for row in range(len(free))])
    for reduced, a, i in _candidates(problem, action, prices):
        now = action[i]
        gain = problem.profit[a, i] - (problem.profit[now, i] if now >= 0 else 0.0)
        takes = problem.unit[:, a] + problem.rate * problem.cost[a, i]
        if now >= 0:
            takes = takes - problem.unit[:, now] - problem.rate * problem.cost[now, i]
        if gain > 0 and (takes <= free + slack).all() and np.isfinite(reduced):
            action[i], free = a, free - takes
    return action


def _candidates(problem: _Problem, action: Ints, prices: Floats) -> list[tuple[float, int, int]]:
    """(profit after prices relative to what is chosen, action, customer), best first, at most REFILL of them."""
    now = np.zeros(problem.customers)
    found: list[tuple[Floats, Ints, Ints]] = []
    for a in range(len(problem.profit)):
        now = np.where(action == a, problem.reduced(a, prices), now)
    for a in range(len(problem.profit)):
        better = problem.reduced(a, prices) - now
        at = np.flatnonzero(np.isfinite(better) & (action != a))
        if len(at) > REFILL:
            at = np.sort(at[np.argpartition(-better[at], REFILL)[:REFILL]])
        found.append((better[at], np.full(len(at), a, np.int64), at))
    reduced, which, who = (np.concatenate(parts) for parts in zip(*found, strict=True))
    order = np.lexsort((which, who, -reduced))[:REFILL]
    return list(zip(reduced[order].tolist(), which[order].tolist(), who[order].tolist(), strict=True))


def _exact(problem: _Problem, rough: Plan, prices: Floats) -> Plan:
    """HiGHS's proved optimum of a tiny instance; the rough plan where it did not finish within its nodes."""
    which, who = np.nonzero(np.isfinite(problem.profit))
    if not len(who):
        return rough
    once = coo_array((np.ones(len(who)), (who, np.arange(len(who)))), shape=(problem.customers, len(who)))
    limits: list[Any] = [LinearConstraint(once.tocsr(), ub=np.ones(problem.customers))]
    if len(problem.names):
        uses = problem.unit[:, which] + problem.rate[:, None] * problem.cost[which, who]
        limits.append(LinearConstraint(uses, ub=problem.most))
    found = milp(
        -problem.profit[which, who],
        constraints=limits,
        integrality=np.ones(len(who), np.int64),
        bounds=Bounds(0, 1),
        options={"mip_rel_gap": 0.0, "node_limit": 20_000},
    )
    if not found.success:
        return rough
    action = np.full(problem.customers, -1, np.int64)
    taken = found.x > 0.5
    action[who[taken]] = which[taken]
    fits = (problem.usage(action) <= problem.most + [_slack(problem, r) for r in range(len(problem.names))]).all()
    proved = problem.plan(action, 0.0, prices, exact=True)
    return proved if fits and proved.total >= rough.total else rough
