"""One small shop and a forecaster fitted to it, shared by the tests of this room."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # memory.py and shops.py stand beside the tests

from memory import MemoryStore
from shops import ECONOMICS, SETTINGS, WINDOWS, shop

from models import forecaster
from models.forecaster import Forecaster


@pytest.fixture(scope="session")
def small() -> MemoryStore:
    """600 customers over 500 days."""
    return shop(600, 3, days=500)


@pytest.fixture(scope="session")
def fitted(small: MemoryStore) -> Forecaster:
    return forecaster.fit(small, small.last_day - 70, WINDOWS, SETTINGS, ECONOMICS)
