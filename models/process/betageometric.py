"""The arithmetic that BG/NBD and MBG/NBD share: purchases come at a gamma-mixed Poisson rate, and after a purchase the
customer leaves with a beta-mixed probability.

The two differ in one whole number: how often the coin of leaving has been tossed by the x-th repeat purchase. In the
BG/NBD of Fader, Hardie and Lee (2005) it is tossed after each repeat purchase (x times, so that a one-time buyer is
certainly alive), in the MBG/NBD of Batislam, Denizel and Filiztekin (2007) after the first purchase too (x + 1 times).
`extra` is that difference, 0 or 1.

With n = x + extra tosses, a customer's likelihood is

    Gamma(r+x) alpha^r / Gamma(r) * [         B(a, b+n)   / B(a, b) (alpha+T)^-(r+x)
                                      + (n>0) B(a+1, b+n-1) / B(a, b) (alpha+t_x)^-(r+x) ]

of which the first term is "still a customer" and the second "left at t_x".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh_tridiagonal
from scipy.special import digamma, gammaln

from models.process.likelihood import Counts, Estimate, Floats, Histories, Levels, Objective, maximise

Theta = tuple[float, float, float, float]
NAMES = ("r", "alpha", "a", "b")
NODES = 40  # of the quadrature over the probability of leaving: errors below 1e-9 of a purchase in the tests


@dataclass(frozen=True)
class _Terms:
    """Logarithms of a customer's likelihood in parts: `front` + log(exp(alive) + exp(left))."""

    front: Floats
    alive: Floats
    left: Floats


def _terms(theta: Theta, h: Histories, extra: int) -> _Terms:
    r, alpha, a, b = theta
    n = h.x + extra
    front = gammaln(r + h.x) - gammaln(r) + r * np.log(alpha) + _log_beta_ratio(a, b, n)
    alive = -(r + h.x) * np.log(alpha + h.T)
    return _Terms(front, alive, _log_odds_left(a, b, n) - (r + h.x) * np.log(alpha + h.tx))


def _log_odds_left(a: float, b: float, n: Floats) -> Floats:
    """log of B(a+1, b+n-1) / B(a, b+n); minus infinity before the first toss."""
    tossed = n > 0
    return np.where(tossed, np.log(a) - np.log(np.where(tossed, b + n - 1, 1.0)), -np.inf)


def _log_beta_ratio(a: float, b: float, n: Floats) -> Floats:
    """log B(a, b+n) / B(a, b)."""
    ratio: Floats = gammaln(a + b) + gammaln(b + n) - gammaln(b) - gammaln(a + b + n)
    return ratio


def log_likelihood(theta: Theta, h: Histories, extra: int) -> Floats:
    """Of each customer."""
    terms = _terms(theta, h, extra)
    total: Floats = terms.front + np.logaddexp(terms.alive, terms.left)
    return total


def probability_alive(theta: Theta, h: Histories, extra: int) -> Floats:
    """P(has not left by T)."""
    terms = _terms(theta, h, extra)
    return np.exp(terms.alive - np.logaddexp(terms.alive, terms.left))


def expected_if_alive(theta: Theta, h: Histories, t: Floats, extra: int) -> Floats:
    """Expected purchases in (T, T+t] of customers who are alive at T.

    Given rate and leaving probability p it is (1 - exp(-lambda p t)) / p. The rate's average is closed; that over p
    ~ Beta(a, b+n) is taken by Gauss-Jacobi quadrature, whose weight is that very beta density. The closed form of the
    paper (a hypergeometric function over a - 1) loses its digits near a = 1; this does not.
    """
    r, alpha, a, b = theta
    out = np.empty(len(h.x))
    for value in np.unique(h.x):
        rows = np.flatnonzero(h.x == value)
        p, w = _beta_rule(a, b + float(value) + extra)
        tau = t[rows] / (alpha + h.T[rows])
        terms = -np.expm1(-(r + value) * np.log1p(tau[:, None] * p)) / p
        out[rows] = np.sum(terms * w, axis=1)
    return out


def _beta_rule(a: float, b: float) -> tuple[Floats, Floats]:
    """Points and weights that average over Beta(a, b): Golub and Welsch's eigenvalues of the Jacobi recurrence.

    (SciPy's own rule overflows for b in the thousands, which a heavy buyer reaches.)
    """
    i, j, k = b - 1, a - 1, np.arange(1.0, NODES)
    s = 2 * k + i + j
    middle = np.r_[(j - i) / (i + j + 2), (j * j - i * i) / (s * (s + 2))]
    first = 4 * (1 + i) * (1 + j) / ((2 + i + j) ** 2 * (3 + i + j))
    k, s = k[1:], s[1:]
    side = np.sqrt(np.r_[first, 4 * k * (k + i) * (k + j) * (k + i + j) / (s * s * (s + 1) * (s - 1))])
    points, vectors = eigh_tridiagonal(middle, side)
    return np.maximum((1 + points) / 2, 1e-12), vectors[0] ** 2


def fit(counts: Counts, extra: int) -> Estimate:
    """Maximum likelihood from fixed starts, ages in units of their mean; the estimate is in the unit of the data."""
    unit = counts.mean_age
    objective = _objective(counts.scaled(unit), extra)
    found = maximise(objective, [(0.5, 0.5, 0.7, 2.5), (2.0, 2.0, 1.0, 1.0)], NAMES, counts.customers)
    return found.rescaled((1.0, unit, 1.0, 1.0), -counts.purchases * float(np.log(unit)))


def _objective(c: Counts, extra: int) -> Objective:
    """Log-likelihood and gradient at log parameters; gamma functions once per distinct x, logarithms once per age."""
    x, w, n = c.frequency, c.weight, c.frequency + extra
    xs, ts, Ts = Levels.of(x, w), Levels.of(c.recency, w), Levels.of(c.age, w)
    ns, tossed = xs.values + extra, n > 0
    customers = w.sum()

    def f(theta: Floats) -> tuple[float, Floats]:
        r, alpha, a, b = np.exp(theta)
        log_T, log_t = np.log(alpha + Ts.values), np.log(alpha + ts.values)
        alive = -(r + x) * log_T[Ts.place]
        left = _log_odds_left(a, b, ns)[xs.place] - (r + x) * log_t[ts.place]
        both = np.logaddexp(alive, left)
        value = (
            xs.total(gammaln(r + xs.values) - gammaln(r) + _log_beta_ratio(a, b, ns))
            + customers * r * np.log(alpha)
            + float(np.sum(w * both))
        )
        q = np.exp(left - both) * w  # the weight of "left" in each customer's likelihood
        p = w - q
        d_r = xs.total(digamma(r + xs.values) - digamma(r)) + customers * np.log(alpha)
        d_r -= np.sum(p * log_T[Ts.place]) + np.sum(q * log_t[ts.place])
        d_alpha = customers * r / alpha
        d_alpha -= np.sum((r + x) * (p / (alpha + c.age) + q / (alpha + c.recency)))
        shared = xs.total(digamma(a + b) - digamma(a + b + ns))
        d_a = shared + np.sum(q) / a
        d_b = shared + xs.total(digamma(b + ns) - digamma(b)) - np.sum(q[tossed] / (b + n[tossed] - 1))
        return value, np.array([d_r * r, d_alpha * alpha, d_a * a, d_b * b])

    return f
