"""Customer lifetime value: the near horizon as the models forecast it, the years after as the purchase process goes
on.

    clv = sum over periods of expected margin in the period / (1 + rate)^(years to its middle)

The first period is the horizon, and its margin is the forecast itself. For the rest the purchase process says how
spending fades as customers leave; it is scaled so that it joins the forecast without a step: what makes this customer
different from what the process expects of him stays, what makes this *season* different fades with a half-life of one
horizon towards the mean level of the training days. At a discount rate of 0 and a process in which nobody leaves the
sum is rate x time x ticket x margin share.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from models.purchase import Customers, Purchase

Floats = NDArray[np.float64]
YEAR = 365.25
OWN_LIMIT = 10.0  # times the process's expectation: more is noise in a number near zero


def edges(horizon: int, years: float) -> Floats:
    """Ends of the periods in days: the horizon, then periods that grow by a fifth, to the last day."""
    end, out = max(years * YEAR, float(horizon)), [float(horizon)]
    while out[-1] < end - 1e-9:
        out.append(min(end, out[-1] + max(30.0, out[-1] / 5)))
    return np.array(out)


def value(
    process: Purchase,
    c: Customers,
    near: Floats,
    *,
    season: float,
    horizon: int,
    years: float,
    rate: float,
) -> Floats:
    """Present value of expected spend over `years`, per customer; times the margin share it is CLV.

    `near`: forecast spend of the horizon. `season`: how much of near / process is shared by everybody now beyond the
    usual (a factor; 1 is a usual season). A horizon longer than the years counts in proportion.
    """
    ticket, ends = process.ticket(c), edges(horizon, years)
    total = near * min(1.0, years * YEAR / horizon) * discount(min(horizon, years * YEAR) / 2, rate)
    before = process.count(c, float(ends[0]))
    own = np.clip(near / np.maximum(before * ticket, 1e-12), 0.0, OWN_LIMIT * season)
    for start, end in pairwise(ends):
        after = process.count(c, float(end))
        middle = float(start + end) / 2
        fades = season ** (np.exp2(-(middle - horizon) / horizon) - 1)
        total = total + (after - before) * ticket * own * fades * discount(middle, rate)
        before = after
    return np.asarray(total, np.float64)


def discount(days: float, rate: float) -> float:
    """Present value of 1 in so many days at a yearly rate."""
    return float((1 + rate) ** (-days / YEAR))
