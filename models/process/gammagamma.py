"""Gamma-Gamma: what one purchase is worth, told apart from how often it comes.

P. S. Fader and B. G. S. Hardie (2013), "The Gamma-Gamma Model of Monetary Value". A customer's purchases scatter
around an own mean (Gamma with shape p), the means scatter over customers (Gamma(q, gamma) on the rate). The expected
amount is the customer's mean drawn towards everybody's, the less the more purchases there are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import digamma, gammaln

from features.errors import BadData
from models.process.likelihood import Estimate, Floats, Levels, Objective, floats, maximise

NAMES = ("p", "q", "gamma")


@dataclass(frozen=True)
class GammaGamma:
    """Shape p of a customer's purchases, shape q and scale gamma (in money) of the customers' rates."""

    p: float
    q: float
    gamma: float

    @classmethod
    def fit(cls, purchases: ArrayLike, mean: ArrayLike) -> tuple[GammaGamma, Estimate]:
        """Maximum likelihood from customers' numbers of purchases (> 0) and mean amounts (> 0).

        The papers count repeat purchases alone. Raises BadData where no customer has a purchase or an amount is not
        positive.
        """
        x, z = floats(purchases, mean)
        if not len(x) or not (np.isfinite(x + z) & (x > 0) & (z > 0)).all():
            raise BadData(
                "the Gamma-Gamma model cannot be fitted to these amounts",
                allowed="customers with at least one purchase and a mean amount above 0",
                got=f"{len(x)} customers",
            )
        order = np.lexsort((z, x))  # sums of floats depend on their order: take one that the data decide
        x, z = x[order], z[order]
        unit = float(np.mean(z))
        start = [(4.0, 4.0, 4.0), (1.0, 3.0, 2.0), (20.0, 3.0, 0.2)]
        found = maximise(_objective(x, z / unit), start, NAMES, len(x))
        estimate = found.rescaled((1.0, 1.0, unit), -len(x) * float(np.log(unit)))
        return cls(*estimate.values), estimate

    def log_likelihood(self, purchases: ArrayLike, mean: ArrayLike) -> Floats:
        """Each customer's log-likelihood of the mean amount of so many purchases (equation 1a of the note)."""
        x, z = floats(purchases, mean)
        p, q, gamma = self.p, self.q, self.gamma
        out: Floats = gammaln(p * x + q) - gammaln(p * x) - gammaln(q) + q * np.log(gamma)
        return out + (p * x - 1) * np.log(z) + p * x * np.log(x) - (p * x + q) * np.log(gamma + x * z)

    def expected_amount(self, purchases: ArrayLike, mean: ArrayLike) -> Floats:
        """Expected amount of a purchase to come (equation 5). A customer without a purchase (0, or NaN as mean) gets
        the population's mean. Where q <= 1 that mean does not exist; q is then taken as 1.1, which shrinks less."""
        x, z = floats(purchases, mean)
        z = np.where(x > 0, z, 0.0)
        return self.p * (self.gamma + x * z) / (self.p * x + max(self.q, 1.1) - 1)


def _objective(x: Floats, z: Floats) -> Objective:
    ones, total = np.ones(len(x)), x * z
    xs = Levels.of(x, ones)
    fixed = float(np.sum(-np.log(z)))
    x_log_total = float(np.sum(x * np.log(total)))
    customers = float(len(x))

    def f(theta: Floats) -> tuple[float, Floats]:
        p, q, gamma = np.exp(theta)
        px = p * xs.values
        sums = np.log(gamma + total)
        value = xs.total(gammaln(px + q) - gammaln(px)) + customers * (q * np.log(gamma) - gammaln(q))
        value += fixed + p * x_log_total - float(np.sum((p * x + q) * sums))
        d_p = xs.total(xs.values * (digamma(px + q) - digamma(px))) + x_log_total - np.sum(x * sums)
        d_q = xs.total(digamma(px + q)) + customers * (np.log(gamma) - digamma(q)) - np.sum(sums)
        d_gamma = customers * q / gamma - np.sum((p * x + q) / (gamma + total))
        return value, np.array([d_p * p, d_q * q, d_gamma * gamma])

    return f
