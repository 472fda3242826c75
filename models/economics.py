"""What a customer is worth, what of it is at risk, and whether the relationship is worth keeping.

Three sums are easily taken for one another, so each has a function of its own and is printed with its window. *Value at
risk* is the churn probability times the margin the customer would bring in the horizon **if still buying**. *Revenue at
risk* is the same in revenue. *CLV at risk* is the difference between the lifetime value if kept and if lost, times the
probability. None of them may be built from `expected_spend`: that is an average over buying and silence, so the
probability would count the silence a second time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats: TypeAlias = NDArray[np.float64]

RECOVER, LET_LAPSE, TERMINATE = "recover", "let lapse", "terminate"


def value_at_risk(churn_probability: ArrayLike, margin_if_active: ArrayLike) -> Floats:
    """Margin of the horizon that is expected to be lost: p x margin in (t, t+H] if still buying, in the shop's
    currency.

    NaN where either is NaN. A negative margin (a customer who costs more than he brings) puts nothing at risk: 0.
    """
    lost: Floats = np.asarray(churn_probability, float) * np.maximum(np.asarray(margin_if_active, float), 0.0)
    return lost


def revenue_at_risk(churn_probability: ArrayLike, revenue_if_active: ArrayLike) -> float:
    """Revenue of the horizon that is expected to be lost, summed over customers; those with a NaN are left out."""
    return float(np.nansum(np.asarray(churn_probability, float) * np.asarray(revenue_if_active, float)))


def kept_and_lost(clv: ArrayLike, churn_probability: ArrayLike, return_probability: ArrayLike) -> tuple[Floats, Floats]:
    """CLV if kept and CLV if lost, from a CLV that is the mean over both.

    A lost customer comes back with `return_probability` and is then worth what a kept one is, so
    clv = kept x ((1 - p) + p x r) and lost = r x kept. NaN where kept is undefined (p = 1 and r = 0).
    """
    p, back = np.asarray(churn_probability, float), np.asarray(return_probability, float)
    share = (1.0 - p) + p * back
    kept = np.divide(
        np.asarray(clv, float), share, out=np.full(np.broadcast(clv, share).shape, np.nan), where=share > 0
    )
    return kept, kept * back


def clv_at_risk(churn_probability: ArrayLike, kept: ArrayLike, lost: ArrayLike) -> Floats:
    """p x (CLV if kept - CLV if lost), in the shop's currency; NaN where any of them is NaN."""
    risk: Floats = np.asarray(churn_probability, float) * (np.asarray(kept, float) - np.asarray(lost, float))
    return risk


def action_cost(contact: ArrayLike, discount: ArrayLike, order_value: ArrayLike, buys: ArrayLike) -> Floats:
    """What acting on a customer is expected to cost: the contact, paid always, and the discount, given away on one
    order if the customer buys. Costs are computed, never learned. A NaN order value or probability makes the
    concession 0 when there is no discount and NaN otherwise."""
    given = np.asarray(discount, float)
    concession = np.where(given > 0, given * np.asarray(order_value, float) * np.asarray(buys, float), 0.0)
    cost: Floats = np.asarray(contact, float) + concession
    return cost


@dataclass(frozen=True)
class WorthKeeping:
    """The sum behind recover, let lapse or terminate, every term of it (arrays, one entry a lapsed customer).

    returns        probability of buying again in the horizon if left alone
    lift           what the action adds to it
    value_back     net present value of a customer who is back, after what returning customers lose to a second churn
    keeping        cost of staying in touch over the horizon (regular contacts, service) if not terminated
    cost           cost of the action
    recover        (returns + lift) x value_back - keeping - cost
    let_lapse      returns x value_back - keeping
    terminate      0: no further contact, no further cost; a return is not counted on
    decision       the largest of the three; on a tie the one that does less
    """

    returns: Floats
    lift: Floats
    value_back: Floats
    keeping: Floats
    cost: Floats
    recover: Floats
    let_lapse: Floats
    terminate: Floats
    decision: NDArray[np.object_]


def worth_keeping(
    returns: ArrayLike,
    value_back: ArrayLike,
    *,
    theta: ArrayLike,
    cost: ArrayLike,
    keeping: ArrayLike,
    times_lost: ArrayLike,
    second_churn: float = 0.5,
) -> WorthKeeping:
    """Recover, let lapse or terminate, for each lapsed customer.

    The action adds q(1 - q) theta to the probability q of returning: theta is a shift of the log odds. Who was lost
    before is likelier to be lost again, so each earlier loss (`times_lost` beyond the present one) multiplies the
    value after a return by `second_churn`. A NaN in `returns` or `value_back` decides nothing: the decision is then
    let lapse.
    """
    q, worth, again = (np.asarray(x, float) for x in (returns, value_back, times_lost))
    worth = worth * second_churn ** np.maximum(again - 1.0, 0.0)
    theta, cost, keeping = (np.broadcast_to(np.asarray(x, float), q.shape) for x in (theta, cost, keeping))
    lift = q * (1.0 - q) * theta
    lapse = q * worth - keeping
    recover = lapse + lift * worth - cost
    best = np.maximum(np.maximum(recover, lapse), 0.0)
    decision = np.where(best == 0.0, TERMINATE, np.where(lapse == best, LET_LAPSE, RECOVER)).astype(object)
    decision[np.isnan(best)] = LET_LAPSE
    return WorthKeeping(q, lift, worth, keeping, cost, recover, lapse, np.zeros_like(q), decision)
