"""BG/NBD: buys at a steady rate until, after some repeat purchase, the customer leaves for good.

P. S. Fader, B. G. S. Hardie and K. L. Lee (2005), "Counting Your Customers the Easy Way: An Alternative to the
Pareto/NBD Model", Marketing Science 24(2), 275-284. A one-time buyer is alive by construction, which is why P(alive)
is no churn score: use `probability_none`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from models.process import betageometric as core
from models.process.likelihood import Counts, Estimate, Floats, Histories, floats


@dataclass(frozen=True)
class BGNBD:
    """Purchase rate ~ Gamma(r, alpha), probability of leaving after each repeat purchase ~ Beta(a, b); alpha is a time.

    Every method takes x, t_x, T as arrays of one length (repeat purchase days, age at the last one, age now) and
    returns a float array of that length.
    """

    r: float
    alpha: float
    a: float
    b: float
    EXTRA: ClassVar[int] = 0

    @classmethod
    def fit(cls, counts: Counts) -> tuple[BGNBD, Estimate]:
        """Maximum likelihood from a fixed start; the estimate says whether it converged and gives standard errors."""
        estimate = core.fit(counts, cls.EXTRA)
        return cls(*estimate.values), estimate

    def log_likelihood(self, x: ArrayLike, tx: ArrayLike, T: ArrayLike) -> Floats:
        """Each customer's log-likelihood (equation 6 of the paper)."""
        return core.log_likelihood(self._theta, Histories.of(x, tx, T), self.EXTRA)

    def probability_alive(self, x: ArrayLike, tx: ArrayLike, T: ArrayLike) -> Floats:
        """P(has not left by T)."""
        return core.probability_alive(self._theta, Histories.of(x, tx, T), self.EXTRA)

    def probability_none(self, x: ArrayLike, tx: ArrayLike, T: ArrayLike, t: ArrayLike) -> Floats:
        """P(no purchase in (T, T+t]): the same history with a silence longer by t, over the history itself."""
        h = Histories.of(x, tx, T)
        before, after = (core.log_likelihood(self._theta, past, self.EXTRA) for past in (h, h.longer(t)))
        return np.exp(after - before)

    def expected_purchases(self, x: ArrayLike, tx: ArrayLike, T: ArrayLike, t: ArrayLike) -> Floats:
        """Expected repeat purchase days in (T, T+t] (equation 10 of the paper)."""
        x, tx, T, t = floats(x, tx, T, t)
        h = Histories(x, tx, T)
        alive = core.probability_alive(self._theta, h, self.EXTRA)
        return alive * core.expected_if_alive(self._theta, h, t, self.EXTRA)

    @property
    def _theta(self) -> core.Theta:
        return self.r, self.alpha, self.a, self.b
