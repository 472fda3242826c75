"""A forecast's log odds are the sum of its contributions, and these are Shapley values."""

from __future__ import annotations

from itertools import combinations
from math import factorial
from typing import Any

import numpy as np
import pytest
from memory import MemoryStore
from shops import ECONOMICS, SETTINGS, random_shop

from features.windows import Windows
from models import forecaster
from models.contributions import PROCESS
from models.forecaster import Forecaster
from models.forest import Binned, Forest
from models.procedure import Procedure


def test_contributions_and_the_usual_odds_add_up_to_the_forecast(small: MemoryStore, fitted: Forecaster) -> None:
    rows = fitted.snapshot(small, fitted.as_of)
    told = fitted.contributions(rows)
    p = fitted.forecast_rows(rows).churn_probability.to_numpy()
    np.testing.assert_allclose(told.logit, np.log(p / (1 - p)), atol=1e-9)
    assert told.names[-1] == PROCESS
    assert len(np.unique(told.values[:, -1])) > 10


def test_families_sum_what_their_features_contribute(small: MemoryStore, fitted: Forecaster) -> None:
    told = fitted.contributions(fitted.snapshot(small, fitted.as_of))
    families = told.by_family({made.name: made.family for made in fitted.features()})
    np.testing.assert_allclose(sum(families.values()), told.values.sum(axis=1), atol=1e-9)
    assert {"rhythm", "money", PROCESS} <= set(families)
    np.testing.assert_array_equal(told.of(["recency", "no such feature"])[:, 1], 0.0)
    np.testing.assert_array_equal(told.of(["recency"])[:, 0], told.values[:, told.names.index("recency")])


def test_without_skill_nothing_is_explained() -> None:
    store = random_shop(300, 0)
    made = forecaster.fit(store, store.last_day - 91, Windows(91, 182), SETTINGS, ECONOMICS)
    assert not made.skill.found
    told = made.contributions(made.snapshot(store, made.as_of))
    assert not told.values.any()
    np.testing.assert_allclose(1 / (1 + np.exp(-told.logit)), made.base.rate)


def walk(node: dict[str, Any], row: np.ndarray, known: frozenset[int]) -> float:
    """A tree's expected value when only some features are known: both ways, by their training rows, at the others."""
    if "leaf_value" in node:
        return float(node["leaf_value"])
    left, right = node["left_child"], node["right_child"]
    if node["split_feature"] in known:
        return walk(left if row[node["split_feature"]] <= node["threshold"] else right, row, known)
    a, b = (child.get("internal_count", child.get("leaf_count")) for child in (left, right))
    return (a * walk(left, row, known) + b * walk(right, row, known)) / (a + b)


def test_a_forests_contributions_equal_shapley_values_worked_out_over_all_subsets() -> None:
    rng = np.random.default_rng(0)
    X = np.asfortranarray(rng.normal(size=(600, 4)).astype(np.float32))
    y = (X[:, 0] * X[:, 1] + X[:, 2] + rng.normal(size=600) > 0).astype(float)
    grower = Binned(X, Procedure(threads=1, columns=1.0, leaves=5, l2=1.0))
    forest = grower.grow(y, np.zeros(600), objective="binary", trees=6)
    told, start = forest.contributions(X[:8])
    trees = [tree["tree_structure"] for tree in forest.boosters[0].dump_model()["tree_info"]]

    def value(row: np.ndarray, known: frozenset[int]) -> float:
        return sum(walk(tree, row, known) for tree in trees)

    for row, parts in zip(X[:8].astype(float), told, strict=True):
        for j in range(4):
            rest = [k for k in range(4) if k != j]
            exact = sum(
                factorial(size) * factorial(3 - size) / factorial(4)
                * (value(row, frozenset((*some, j))) - value(row, frozenset(some)))
                for size in range(4)
                for some in combinations(rest, size)
            )  # fmt: skip
            assert parts[j] == pytest.approx(exact, abs=1e-9)
        assert start == pytest.approx(value(row, frozenset()), abs=1e-9)


def test_threads_do_not_change_a_tree() -> None:
    rng = np.random.default_rng(1)
    X = np.asfortranarray(rng.normal(size=(3_000, 10)).astype(np.float32))
    y = (X[:, 0] + rng.normal(size=3_000) > 0).astype(float)
    grown = [
        Binned(X, Procedure(threads=n)).grow(y, np.zeros(3_000), objective="binary", trees=5).texts for n in (1, 2)
    ]
    assert grown[0] == grown[1]


def test_the_linear_models_terms_are_coefficient_times_distance_from_the_mean(
    small: MemoryStore, fitted: Forecaster
) -> None:
    """Which is the Shapley value of a linear model: adding a column to any coalition always adds that."""
    assert fitted.models is not None
    linear, view = fitted.models.members.linear, fitted.view(fitted.snapshot(small, fitted.as_of))
    terms = linear.terms(view.X, view.one_time)
    np.testing.assert_allclose(terms.sum(axis=1) + linear.usual_score, linear.score(view.X, view.one_time), atol=1e-12)
    assert isinstance(fitted.models.members.forest, Forest)
