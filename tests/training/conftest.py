"""A small shop, taken in, trained and promoted once; tests that write go on in a copy of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from corner import open_shop, purchases

from features import config as settings
from features.config import Config
from training import gate, train
from training.gate import Verdict
from training.train import RunSummary


@pytest.fixture(scope="session")
def corner(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """A shop with signal, to be read only."""
    return open_shop(tmp_path_factory.mktemp("corner"), purchases(700, 3))


@pytest.fixture
def copied(tmp_path: Path) -> Callable[[Config], Config]:
    """A copy of a shop with everything in `var`, to be written to; the tracking database is left behind, since it knows
    where it lay."""

    def copy(config: Config) -> Config:
        shutil.copytree(config.root, tmp_path / "copy", symlinks=True, dirs_exist_ok=True)
        for name in ("mlflow.db", "mlartifacts"):
            path = tmp_path / "copy" / "var" / name
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
        return settings.load(tmp_path / "copy" / "holdfast.toml")

    return copy


@pytest.fixture(scope="session")
def trained(corner: Config) -> tuple[Config, RunSummary, Verdict]:
    """The same shop trained and promoted once, to be read only."""
    summary = train.run(corner)
    return corner, summary, gate.promote(corner)
