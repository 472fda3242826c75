"""The little language of rules: what it can say, what it refuses, and that nothing unknown makes a rule fire."""

from __future__ import annotations

import numpy as np
import pytest

from features.errors import BadConfiguration
from features.lifecycle.expression import parse

COLUMNS = {"a": np.array([1.0, 2.0, np.nan]), "b": np.array([2.0, 2.0, 2.0]), "H": np.float64(10)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a < b", [True, False, False]),
        ("not (a < b)", [False, True, True]),
        ("known(a) and not (a < b)", [False, True, False]),
        ("a == 2 or b > H", [False, True, False]),
        ("1 <= a <= 1.5", [True, False, False]),
        ("most(a, b) >= 2", [True, True, True]),
        ("least(a, b) < 2", [True, False, False]),
        ("either(a, 7) == 7", [False, False, True]),
        ("a + b * 2 - -1 > 6", [False, True, False]),
        ("H / 0 > 1", [False, False, False]),
    ],
)
def test_rules_hold_where_they_should(text: str, expected: list[bool]) -> None:
    assert parse(text, "here").holds(COLUMNS, 3).tolist() == expected


def test_division_by_zero_is_absent_and_not_infinite() -> None:
    assert np.isnan(parse("a / (b - 2)", "here").number(COLUMNS, 3)).all()


def test_names_are_columns_and_not_functions() -> None:
    assert parse("known(a) and most(b, H) > 1", "here").names == {"a", "b", "H"}


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "a.real > 1",
        "a if b else H",
        "[a][0] > 1",
        "known(x=a)",
        "a ** b",
        "a != b",
        "lambda: 1",
        "'a' == b",
        "True",
        "a <",
        "sum(a)",
    ],
)
def test_anything_else_is_refused_with_its_place(text: str) -> None:
    with pytest.raises(BadConfiguration) as refused:
        parse(text, "stages.toml [taxonomies.life] stable")
    assert "stages.toml [taxonomies.life] stable" in str(refused.value)


def test_a_sum_keeps_the_unit_of_its_parts_and_a_ratio_does_not() -> None:
    assert parse("a - b", "here").adds
    assert parse("most(a, b)", "here").adds
    assert not parse("a / b", "here").adds
    assert not parse("a < b", "here").adds
