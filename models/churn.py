"""Churn: three opinions blended on the logit, a level on top.

The logistic regression sees broad monotone effects, the forest their exceptions, the purchase process the timing law.
Each gives a logit without a level of its own; the blend is their weighted sum, one intercept for the day of the
forecast, and an offset for one-time buyers, who are a population of their own. All of it is additive on the logit, so
a forecast can be taken apart exactly (`contributions.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from models import design, linear
from models.forest import Binned, Forest
from models.level import intercept
from models.linear import Linear
from models.procedure import Procedure
from models.view import Outcomes, View

Floats = NDArray[np.float64]
MEMBERS = ("linear", "forest", "process")


@dataclass(frozen=True)
class Members:
    """The three models. `names` are the features of the matrix they read, `usual_process` the purchase process's mean
    logit over the training rows, from which its contribution is counted."""

    names: tuple[str, ...]
    linear: Linear
    forest: Forest
    usual_process: float

    def scores(self, view: View) -> Floats:
        """Logits without a level, (n, 3), in the order of MEMBERS."""
        linear, forest = self.linear.score(view.X, view.one_time), self.forest.score(view.X)
        return np.column_stack([linear, forest, self.process_score(view)])

    def process_score(self, view: View) -> Floats:
        """The purchase process's logit, less what is usual."""
        return process_logit(view.none) - self.usual_process


def process_logit(none: Floats) -> Floats:
    """The purchase process's logit, kept within what a probability of a real customer can be."""
    return np.asarray(logit(np.clip(none, 1e-5, 1 - 1e-5)), np.float64)


def fit_members(view: View, names: tuple[str, ...], came: Outcomes, binned: Binned, procedure: Procedure) -> Members:
    """From training rows, their outcomes, and their features as LightGBM's histograms."""
    plan = design.learn(view.X, view.one_time)
    Z = plan.matrix(view.X, view.one_time)
    w, b = linear.fit(Z, came.gone, came.place, procedure.ridge, came.weight)
    start = b[came.place]  # the forest begins at each snapshot's own level and learns only who differs from it
    forest = binned.grow(came.gone, start, objective="binary", trees=procedure.trees, bags=procedure.bags)
    return Members(
        names,
        Linear(plan, tuple(map(float, w)), tuple(map(float, np.average(Z, axis=0, weights=came.weight)))),
        forest,
        float(np.average(process_logit(view.none), weights=came.weight)),
    )


@dataclass(frozen=True)
class Blend:
    """logit = scores @ weights + level + one-time offset x (one-time - its usual share)."""

    weights: tuple[float, ...]
    level: float
    one_time: float
    one_time_share: float

    def logit(self, scores: Floats, one_time: NDArray[np.bool_]) -> Floats:
        return self.unlevelled(scores, one_time) + self.level

    def unlevelled(self, scores: Floats, one_time: NDArray[np.bool_]) -> Floats:
        """The same without the level."""
        branch = self.one_time * (one_time - self.one_time_share)
        return np.asarray((scores * np.array(self.weights)).sum(axis=1) + branch, np.float64)


def prior_blend(procedure: Procedure, one_time_share: float, events: float) -> Blend:
    """Before anything was back-tested. `events`: training rows of the rarer outcome; the fewer there are, the more is
    left to the purchase process. Horizons that overlap tell one outcome several times and count once."""
    once = events * procedure.spacing
    more = procedure.process_gain * procedure.events_half / (procedure.events_half + once)
    rest = 1 - more / (procedure.linear + procedure.forest)
    weights = (procedure.linear * rest, procedure.forest * rest, procedure.process + more)
    return Blend(weights, 0.0, 0.0, one_time_share)


def refit(blend: Blend, scores: Floats, y: Floats, one_time: NDArray[np.bool_], procedure: Procedure) -> Blend:
    """Weights and branch offset that do best on a back-test, drawn to the prior ones; the level is left free.

    A penalised logistic regression on (scores, one-time) by Newton steps, weights kept at 0 or above.
    """
    Z = np.column_stack([scores, one_time - blend.one_time_share])
    centre = np.array([*blend.weights, 0.0])
    spread = np.array([procedure.weight_spread] * len(blend.weights) + [procedure.branch_spread])
    if not 0 < one_time.mean() < 1:
        spread[-1] = 1e-6  # only one kind of buyer: the offset cannot be told from the level
    w = centre.copy()
    for _ in range(50):
        base = (Z * w).sum(axis=1)
        p = expit(base + intercept(base, y))
        weight = p * (1 - p)
        inner = Z - np.average(Z, axis=0, weights=weight)  # the free level takes the mean with it
        slope = (inner * (y - p)[:, None]).sum(axis=0) - (w - centre) / spread**2
        held = (w <= 0) & (slope < 0) & (np.arange(len(w)) < len(blend.weights))
        information = (inner * weight[:, None]).T @ inner + np.diag(1 / spread**2)
        information[held, :] = information[:, held] = 0.0
        information[held, held] = 1.0
        step = np.where(held, 0.0, np.linalg.solve(information, np.where(held, 0.0, slope)))
        moved = w + step
        moved[:-1] = np.maximum(moved[:-1], 0.0)
        done, w = np.abs(moved - w).max() < 1e-9, moved
        if done:
            break
    return Blend(tuple(map(float, w[:-1])), blend.level, float(w[-1]), blend.one_time_share)
