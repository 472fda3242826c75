"""A training gives a bundle with its evidence, the same bytes for the same inputs, and a run that remembers it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from corner import open_shop, purchases

from features.config import Config
from features.errors import MissingInput, ServiceAway
from features.store import HistoryStore
from features.windows import to_date
from models import bundle
from training import train
from training.journal import Journal
from training.track import Tracker
from training.train import RunSummary


def test_the_same_inputs_give_the_same_bytes(
    trained: tuple[Config, RunSummary, object], copied: Callable[[Config], Config]
) -> None:
    """Also with the back-test computed anew, in another folder."""
    config = copied(trained[0])
    for path in (config.var / "backtests").glob("*"):
        path.unlink()
    again = train.run(config)
    first = trained[1].folder
    for path in sorted(p for p in first.rglob("*") if p.is_file()):
        assert (again.folder / path.relative_to(first)).read_bytes() == path.read_bytes(), path.name
    assert again.bundle == trained[1].bundle


def test_the_bundle_carries_its_evidence_and_its_recipe(trained: tuple[Config, RunSummary, object]) -> None:
    config, summary = trained[0], trained[1]
    made = bundle.load(summary.folder, config.span)
    assert made.as_of == HistoryStore(config.var / "history").last_day
    told = json.loads((summary.folder / "metrics.json").read_text())
    assert summary.evidence is not None
    (day,) = told
    assert day == str(to_date(made.as_of - config.windows.horizon))
    line = summary.evidence.table.query("model == 'holdfast' and metric == 'log_loss'").iloc[0]
    assert told[day]["models"]["holdfast"]["log_loss"] == pytest.approx([line.value, line.lower, line.upper], abs=1e-6)
    recipe = json.loads((summary.folder / "training.json").read_text())
    assert recipe["model"]["trees"] == 20
    assert "threads" not in recipe["model"]


def test_the_card_says_what_it_is_how_good_and_what_moves_it(trained: tuple[Config, RunSummary, object]) -> None:
    card = (trained[1].folder / "model-card.md").read_text(encoding="utf-8")
    assert card.startswith("# Forecasts of Corner shop, learned to 2024-02-")
    for words in ("in the 30 days after it", "| rhythm |", "| money |", "BG/NBD + Gamma-Gamma", "Calibration by stage"):
        assert words in card, words


def test_no_customer_is_in_the_bundle(trained: tuple[Config, RunSummary, object]) -> None:
    ids = pd.read_parquet(trained[0].root / "purchases.parquet")["customer_id"].unique()
    text = b"".join(path.read_bytes() for path in trained[1].folder.rglob("*") if path.is_file()).decode()
    assert not [customer for customer in ids if customer in text]


def test_the_run_remembers_the_bundle_and_mlflow_serves_it(
    trained: tuple[Config, RunSummary, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The registry's champion, loaded by MLflow alone, forecasts what the bundle forecasts."""
    config, summary = trained[0], trained[1]
    tracker = Tracker.of(config)
    run = tracker.find(summary.run)
    assert (run.kind, run.status, run.tags["holdfast.bundle"]) == ("train", "FINISHED", summary.bundle)
    assert tracker.pointed("champion") == summary.bundle
    monkeypatch.chdir(tmp_path)  # MLflow makes a database of its own here the moment it is asked without an address
    mlflow.set_tracking_uri(tracker.uri)
    try:
        served = mlflow.pyfunc.load_model(f"models:/{tracker.model}@champion")
    finally:
        mlflow.set_tracking_uri("")
    store = HistoryStore(config.var / "history")
    asked = pd.DataFrame({"history": [str(store.folder)], "as_of": [str(to_date(store.last_day))]})
    pd.testing.assert_frame_equal(served.predict(asked), summary.forecaster.forecast(store, store.last_day))


def test_a_server_that_is_away_is_noticed_before_anything_is_fitted(
    trained: tuple[Config, RunSummary, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = trained[0]
    state = config.state.model_copy(update={"tracking": "http://127.0.0.1:9"})
    monkeypatch.setattr(train, "fit", None)
    with pytest.raises(ServiceAway):
        train.run(config.model_copy(update={"state": state}))


def test_a_log_shorter_than_a_horizon_cannot_be_learned_from(tmp_path: Path) -> None:
    log = purchases(60, 1, days=80)
    config = open_shop(tmp_path / "short", log[log["ordered_at"] < "2023-01-25"])
    with pytest.raises(MissingInput):
        train.run(config)
    assert not (config.var / "mlflow.db").exists(), "no run is begun for what cannot be learned from"
    assert Journal(config.var / "bundles").latest is None
