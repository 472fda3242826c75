"""Pareto/NBD: buys at a steady rate until a moment of leaving that no purchase marks.

D. C. Schmittlein, D. G. Morrison and R. Colombo (1987), "Counting Your Customers: Who Are They and What Will They Do
Next?", Management Science 33(1), 1-24; computation after P. S. Fader and B. G. S. Hardie (2005), "A Note on Deriving
the Pareto/NBD Model and Related Expressions".

A customer's likelihood is a survival term and an integral over the moments y at which he may have left:

    Gamma(r+x)/Gamma(r) alpha^r beta^s * [ (alpha+T)^-(r+x) (beta+T)^-s
                                           + s * integral_{t_x}^{T} (alpha+y)^-(r+x) (beta+y)^-(s+1) dy ]

The papers write the integral as a difference of Gauss hypergeometric functions, which lose their digits where customers
hardly differ. We integrate: on a logarithmic grid of moments y = t + h (e^u - 1), h the length on which the integrand
first falls, a fixed rule gives some nine digits whatever the parameters, and the derivatives by the parameters come
from the same points. The integral from t to infinity depends on (x, t) alone, of which there are far fewer than
customers.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import digamma, gammaln

from models.process.likelihood import Counts, Estimate, Floats, Histories, Levels, Objective, floats, maximise

Theta = tuple[float, float, float, float]
NAMES = ("r", "alpha", "s", "beta")
CHUNK = 4096  # (x, t) pairs integrated at a time: the working set stays in the processor's cache


def _rule(edges: tuple[float, ...], nodes: int) -> tuple[Floats, Floats]:
    """Gauss-Legendre points and weights, so many between each two edges."""
    z, q = np.polynomial.legendre.leggauss(nodes)
    spans = [(lo + (hi - lo) * (z + 1) / 2, q * (hi - lo) / 2) for lo, hi in pairwise(edges)]
    return np.concatenate([points for points, _ in spans]), np.concatenate([weights for _, weights in spans])


NEAR, NEAR_WEIGHTS = _rule((0.0, 1.0, 2.0, 3.0), 7)  # where the integrand falls; at u = 3 an exponential is at e^-19
NEAR_END = 3.0
FARTHEST = 600.0  # e^600 days: as good as for ever
FAR, FAR_WEIGHTS = _rule((0.0, 4.0, 14.0, 40.0), 8)  # times 1/k: beyond, it falls like e^(-k u)


@dataclass(frozen=True)
class _Tail:
    """Per (x, t): log of the integral from t to infinity, and its derivatives by (r, alpha, s, beta)."""

    log: Floats
    slopes: Floats


def _tails(theta: Theta, x: Floats, t: Floats, slopes: bool) -> _Tail:
    """In pieces, so that memory does not grow with the customers."""
    log, slope = np.empty(len(x)), np.empty((4 if slopes else 0, len(x)))
    for start in range(0, len(x), CHUNK):
        rows = slice(start, start + CHUNK)
        log[rows] = _tail(theta, x[rows], t[rows], slope[:, rows])
    return _Tail(log, slope)


def _tail(theta: Theta, x: Floats, t: Floats, slope: Floats) -> Floats:
    r, alpha, s, beta = theta
    h = (1 / ((r + x) / (alpha + t) + (s + 1) / (beta + t)))[:, None]
    k = (r + s + x)[:, None]
    u = np.hstack([np.broadcast_to(NEAR, (len(x), len(NEAR))), np.minimum(NEAR_END + FAR / k, FARTHEST)])
    log_width = np.hstack([np.broadcast_to(np.log(NEAR_WEIGHTS), (len(x), len(NEAR))), np.log(FAR_WEIGHTS) - np.log(k)])
    y = t[:, None] + h * np.expm1(u)
    log_alpha, log_beta = np.log(alpha + y), np.log(beta + y)
    mass = u + log_width - (r + x)[:, None] * log_alpha - (s + 1) * log_beta
    top = mass.max(axis=1, keepdims=True)
    mass = np.exp(mass - top)
    total = mass.sum(axis=1)
    if len(slope):
        mean = mass / total[:, None]
        slope[0] = -np.sum(mean * log_alpha, axis=1)
        slope[1] = -(r + x) * np.sum(mean / (alpha + y), axis=1)
        slope[2] = -np.sum(mean * log_beta, axis=1)
        slope[3] = -(s + 1) * np.sum(mean / (beta + y), axis=1)
    return np.asarray(np.log(total) + top[:, 0] + np.log(h[:, 0]), np.float64)


@dataclass(frozen=True)
class _Pairs:
    """Distinct (x, t), with the place of each row among them."""

    x: Floats
    t: Floats
    place: NDArray[np.int64]

    @classmethod
    def of(cls, x: Floats, t: Floats) -> _Pairs:
        order = np.lexsort((t, x))
        xs, ts = x[order], t[order]
        new = np.ones(len(x), bool)
        new[1:] = (np.diff(xs) != 0) | (np.diff(ts) != 0)
        place = np.empty(len(x), np.int64)
        place[order] = np.cumsum(new) - 1
        return cls(xs[new], ts[new], place)

    def tails(self, theta: Theta) -> Floats:
        return _tails(theta, self.x, self.t, slopes=False).log[self.place]


def _log_left(theta: Theta, from_t: Floats, from_T: Floats) -> Floats:
    """log of s times the integral over (t_x, T], from the tails that begin at its two ends."""
    with np.errstate(divide="ignore"):
        within = np.log(-np.expm1(np.minimum(from_T - from_t, 0.0)))
    return np.asarray(np.log(theta[2]) + from_t + within, np.float64)


@dataclass(frozen=True)
class ParetoNBD:
    """Purchase rate ~ Gamma(r, alpha), rate of leaving ~ Gamma(s, beta); alpha and beta in time units.

    Every method takes x, t_x, T as arrays of one length (repeat purchase days, age at the last one, age now) and
    returns a float array of that length.
    """

    r: float
    alpha: float
    s: float
    beta: float

    @classmethod
    def fit(cls, counts: Counts) -> tuple[ParetoNBD, Estimate]:
        """Maximum likelihood from a fixed start; the estimate says whether it converged and gives standard errors."""
        unit = counts.mean_age
        objective = _objective(counts.scaled(unit))
        found = maximise(objective, [(0.5, 0.5, 0.5, 0.5), (1.0, 1.0, 1.0, 2.0)], NAMES, counts.customers)
        estimate = found.rescaled((1.0, unit, 1.0, unit), -counts.purchases * float(np.log(unit)))
        return cls(*estimate.values), estimate

    def log_likelihood(self, x: ArrayLike, tx: ArrayLike, T: ArrayLike) -> Floats:
        """Each customer's log-likelihood (equations 15 to 18 of the note)."""
        return self._log_likelihood(Histories.of(x, tx, T))

    def probability_alive(self, x: ArrayLike, tx: ArrayLike, T: ArrayLike) -> Floats:
        """P(has not left by T)."""
        return self._alive(Histories.of(x, tx, T))

    def probability_none(self, x: ArrayLike, tx: ArrayLike, T: ArrayLike, t: ArrayLike) -> Floats:
        """P(no purchase in (T, T+t]): the same history with a silence longer by t, over the history itself."""
        h = Histories.of(x, tx, T)
        return np.minimum(np.exp(self._log_likelihood(h.longer(t)) - self._log_likelihood(h)), 1.0)

    def expected_purchases(self, x: ArrayLike, tx: ArrayLike, T: ArrayLike, t: ArrayLike) -> Floats:
        """Expected repeat purchase days in (T, T+t] (equation 41 of the note; its limit where s is 1)."""
        x, tx, T, t = floats(x, tx, T, t)
        longer = np.log1p(t / (self.beta + T))
        slower = 1 - self.s
        spans = np.expm1(slower * longer) / slower if abs(slower) > 1e-9 else longer
        rate = (self.r + x) / (self.alpha + T)
        return np.asarray(rate * (self.beta + T) * spans * self._alive(Histories(x, tx, T)), np.float64)

    @property
    def _theta(self) -> Theta:
        return self.r, self.alpha, self.s, self.beta

    def _front(self, x: Floats) -> Floats:
        front: Floats = gammaln(self.r + x) - gammaln(self.r) + self.r * np.log(self.alpha) + self.s * np.log(self.beta)
        return front

    def _log_likelihood(self, h: Histories) -> Floats:
        return np.asarray(self._front(h.x) + np.logaddexp(*self._parts(h)), np.float64)

    def _alive(self, h: Histories) -> Floats:
        survived, left = self._parts(h)
        return np.asarray(np.exp(survived - np.logaddexp(survived, left)), np.float64)

    def _parts(self, h: Histories) -> tuple[Floats, Floats]:
        """Logarithms of the survival term and of "left in (t_x, T]"."""
        survived = -(self.r + h.x) * np.log(self.alpha + h.T) - self.s * np.log(self.beta + h.T)
        from_t, from_T = (_Pairs.of(h.x, t).tails(self._theta) for t in (h.tx, h.T))
        return survived, _log_left(self._theta, from_t, from_T)


def _theta(log_theta: Floats) -> Theta:
    r, alpha, s, beta = map(float, np.exp(log_theta))
    return r, alpha, s, beta


def _objective(c: Counts) -> Objective:
    """Log-likelihood and gradient at log parameters; the integrals run once per distinct (x, t)."""
    x, w = c.frequency, c.weight
    xs, Ts = Levels.of(x, w), Levels.of(c.age, w)
    near, far = _Pairs.of(x, c.recency), _Pairs.of(x, c.age)
    customers = w.sum()

    def f(log_theta: Floats) -> tuple[float, Floats]:
        r, alpha, s, beta = theta = _theta(log_theta)
        a, b = _tails(theta, near.x, near.t, slopes=True), _tails(theta, far.x, far.t, slopes=True)
        from_t, from_T = a.log[near.place], b.log[far.place]
        log_a, log_b = np.log(alpha + Ts.values)[Ts.place], np.log(beta + Ts.values)[Ts.place]
        survived = -(r + x) * log_a - s * log_b
        left = _log_left(theta, from_t, from_T)
        both = np.logaddexp(survived, left)
        value = xs.total(gammaln(r + xs.values) - gammaln(r)) + float(np.sum(w * both))
        value += customers * (r * np.log(alpha) + s * np.log(beta))
        p = np.exp(survived - both) * w
        slopes = np.array(
            [
                xs.total(digamma(r + xs.values) - digamma(r)) + customers * np.log(alpha) - np.sum(p * log_a),
                customers * r / alpha - np.sum(p * (r + x) / (alpha + c.age)),
                customers * np.log(beta) - np.sum(p * log_b),
                customers * s / beta - np.sum(p * s / (beta + c.age)),
            ]
        )
        # the derivative of the integral over (t_x, T] is that of the one tail less that of the other
        u = np.log(s) + from_t - both
        u, v = np.exp(u) * w, np.exp(np.log(s) + from_T - both) * w
        from_near = np.bincount(near.place, weights=u, minlength=len(near.x))
        from_far = np.bincount(far.place, weights=v, minlength=len(far.x))
        slopes += np.sum(a.slopes * from_near, axis=1) - np.sum(b.slopes * from_far, axis=1)
        slopes[2] += np.sum(np.exp(left - both) * w) / s
        return value, slopes * theta

    return f
