"""LightGBM as text: forests are grown, kept, hashed and read back as their text, so a loaded one is the grown one.

Growing is made independent of threads (`deterministic`, row-wise histograms) and of the machine's clock; the number
of threads, which the text would otherwise name, is taken out of it. Features that a forest may use are chosen by
name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray

from models.procedure import Procedure

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Forest:
    """The mean of some boosters' raw scores. `texts` are LightGBM's model files, one per bag."""

    texts: tuple[str, ...]

    @cached_property
    def boosters(self) -> tuple[lgb.Booster, ...]:
        return tuple(lgb.Booster(model_str=text) for text in self.texts)

    def score(self, X: NDArray[np.float32]) -> Floats:
        """Raw score per row of a feature matrix (n, k)."""
        if not len(X):
            return np.zeros(0)
        scores = [b.predict(X, raw_score=True) for b in self.boosters]
        return np.asarray(sum(scores[1:], scores[0]) / len(scores), np.float64)

    def contributions(self, X: NDArray[np.float32]) -> tuple[Floats, float]:
        """Exact Shapley values (n, k) and the score they start from."""
        if not len(X):
            return np.zeros(X.shape), 0.0
        parts = [np.asarray(b.predict(X, pred_contrib=True)) for b in self.boosters]
        mean = sum(parts[1:], parts[0]) / len(parts)
        return mean[:, :-1], float(mean[0, -1])


class Binned:
    """A feature matrix as LightGBM's histograms, made once and shared by every forest grown on it."""

    def __init__(self, X: NDArray[np.float32], procedure: Procedure, weight: Floats | None = None) -> None:
        """`weight`: the customers each row stands for."""
        self.procedure, self.rows = procedure, len(X)
        self._data = lgb.Dataset(X, weight=weight, params=self._params({}), free_raw_data=True).construct()

    def grow(
        self,
        target: Floats,
        start: Floats,
        *,
        objective: str,
        trees: int,
        bags: int = 1,
        **more: Any,
    ) -> Forest:
        """A forest for a target per row, started from a raw score per row."""
        self._data.set_label(target).set_init_score(start)
        params = self._params({"objective": objective, "num_iterations": trees, **more})
        texts = [_text(lgb.train(params | {"seed": self.procedure.seed + bag}, self._data)) for bag in range(bags)]
        return Forest(tuple(texts))

    def _params(self, more: dict[str, Any]) -> dict[str, Any]:
        p = self.procedure
        return {
            "num_leaves": p.leaves,
            "learning_rate": p.learning_rate,
            "feature_fraction": p.columns,
            "min_data_in_leaf": max(5, round(self.rows * p.leaf_share)),
            "lambda_l2": p.l2,
            "max_bin": p.bins,
            "feature_pre_filter": False,
            "boost_from_average": False,
            "deterministic": True,
            "force_row_wise": True,
            "num_threads": p.threads,
            "verbosity": -1,
        } | more


def _text(booster: lgb.Booster) -> str:
    return re.sub(r"\[num_threads: \d+\]", "[num_threads: 0]", booster.model_to_string())
