"""Why a churn probability is what it is: the blend's log odds taken apart by feature, exactly.

The blend is a sum on the logit, so its Shapley values are the weighted sums of its members'. For the forest they are
TreeSHAP (Lundberg et al. 2020), which LightGBM computes exactly; for the regression a coefficient times the distance
from the training mean, which is the Shapley value of a linear model; the purchase process, a law of timing and no
sum, stands as one term of its own. What is left is the usual log odds, the same for all customers of a day.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.churn import Blend, Members
from models.view import View

Floats = NDArray[np.float64]
PROCESS = "purchase_process"
BRANCH = ("one_time_buyer", "btyd_frequency")  # who carries the one-time buyers' offset, where it was fitted on


@dataclass(frozen=True)
class Contributions:
    """`values` (n, k) in log odds of churning, by `names` (features, then the purchase process); each row's sum plus
    `usual` is its `logit`, to rounding."""

    names: tuple[str, ...]
    values: Floats
    usual: float

    @property
    def logit(self) -> Floats:
        return np.asarray(self.usual + self.values.sum(axis=1), np.float64)

    def of(self, names: Sequence[str]) -> Floats:
        """Columns of these names, (n, len(names)); 0 for a feature the model does not read."""
        place = {name: k for k, name in enumerate(self.names)}
        none = np.zeros(len(self.values))
        return np.column_stack([self.values[:, place[name]] if name in place else none for name in names])

    def by_family(self, family: Mapping[str, str]) -> dict[str, Floats]:
        """Sums per feature family; `family` names each feature's, the purchase process is its own."""
        out: dict[str, Floats] = {}
        for k, name in enumerate(self.names):
            at = family.get(name, name)
            out[at] = out.get(at, 0.0) + self.values[:, k]
        return out


def contributions(members: Members, blend: Blend, view: View) -> Contributions:
    """Of each row of the view."""
    w_linear, w_forest, w_process = blend.weights
    shap, start = members.forest.contributions(view.X)
    values = w_linear * members.linear.terms(view.X, view.one_time) + w_forest * shap
    process = w_process * members.process_score(view)
    branch = blend.one_time * (view.one_time - blend.one_time_share)
    carrier = next((members.names.index(name) for name in BRANCH if name in members.names), None)
    if carrier is None:
        process = process + branch
    else:
        values[:, carrier] += branch
    usual = blend.level + w_linear * members.linear.usual_score + w_forest * start
    return Contributions((*members.names, PROCESS), np.column_stack([values, process]), usual)
