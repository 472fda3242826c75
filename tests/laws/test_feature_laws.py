"""Every feature of the catalogue keeps every law; five planted leaks do not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features import catalogue, laws

CATALOGUE = tuple(catalogue.catalogue().values())
LEAKY = catalogue.load(Path(__file__).with_name("leaky_features.py"))

shops = st.builds(
    laws.example,
    st.integers(0, 2**32 - 1),
    customers=st.integers(1, 7),
    days=st.sampled_from((20, 150, 420)),
    rate=st.sampled_from((0.01, 0.04, 0.15)),
    horizon=st.sampled_from((1, 7, 30, 91)),
)


@pytest.mark.parametrize("law", laws.LAWS)
@given(e=shops, seed=st.integers(0, 2**32 - 1))
def test_the_whole_catalogue_keeps_the_law(law: str, e: laws.Example, seed: int) -> None:
    breaches = list(laws.LAWS[law](CATALOGUE, e, np.random.default_rng(seed)))
    assert not breaches, "\n".join(map(str, breaches))


@pytest.mark.parametrize("leaky", LEAKY, ids=lambda made: made.name)
def test_a_planted_leak_is_caught(leaky: catalogue.Feature) -> None:
    assert laws.check([leaky], examples=5)
