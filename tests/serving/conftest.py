"""Fixtures of the corner shop: fresh, with lists published, or with settings of one's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from corner_shop import Shop, copied, make_shop

from serving import publish
from serving.publish import Published


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folders made once: `plain`, a shop that was ingested, and `listed`, one that has published its lists."""
    home = tmp_path_factory.mktemp("shops")
    make_shop(home / "plain")
    copied(home / "plain", home / "listed").score()
    return home


@pytest.fixture
def shop(made: Path, tmp_path: Path) -> Shop:
    """A shop with its history and nothing published."""
    return copied(made / "plain", tmp_path / "shop")


@pytest.fixture
def listed(made: Path, tmp_path: Path) -> tuple[Shop, Published]:
    """A shop that has published the lists of AS_OF."""
    one = copied(made / "listed", tmp_path / "shop")
    return one, publish.current(one.config.var)


@pytest.fixture
def new_shop(tmp_path: Path) -> Callable[..., Shop]:
    """Make a fresh shop with settings of one's own."""
    number = iter(range(100))
    return lambda said=None, data=None: make_shop(tmp_path / f"shop{next(number)}", said, data)
