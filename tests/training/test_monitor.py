"""Drift is measured as the textbook says, closed forecasts are judged on those nobody acted on, acting has reasons."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from features.config import Config
from features.errors import MissingInput
from features.snapshot import Snapshot
from features.store import HistoryStore
from features.windows import to_date
from training import backtest, monitor
from training.gate import Verdict
from training.monitor import Reference
from training.train import RunSummary


def _snapshot(**columns: np.ndarray) -> Snapshot:
    X = np.asfortranarray(np.column_stack(list(columns.values())).astype(np.float32))
    return Snapshot(np.arange(len(X)).astype(object), np.zeros(len(X), np.int64), tuple(columns), X)


def test_the_index_of_a_worked_example() -> None:
    """Expected .5 .5, seen .75 .25: (.25) ln 1.5 + (-.25) ln .5 = .1014 + .1733 = .2747."""
    assert monitor.psi([0.5, 0.5], [0.75, 0.25]) == pytest.approx(0.2747, abs=1e-4)
    assert monitor.psi([0.3, 0.7], [0.3, 0.7]) == 0.0
    assert np.isfinite(monitor.psi([1.0, 0.0], [0.0, 1.0]))


def test_a_reference_has_even_groups_and_one_for_the_absent() -> None:
    values = np.concatenate([np.arange(900), np.full(100, np.nan)]).astype(np.float32)
    reference = Reference.of(values)
    assert len(reference.edges) == 9
    assert reference.shares[-1] == pytest.approx(0.1)
    assert np.allclose(reference.shares[:-1], 0.09, atol=0.002)
    assert sum(reference.shares) == pytest.approx(1.0)


def test_repeated_values_make_fewer_groups_and_no_trouble() -> None:
    reference = Reference.of(np.array([0.0] * 95 + [1.0] * 5, np.float32))
    assert reference.edges == (0.0,)
    assert reference.shares == pytest.approx((0.95, 0.05, 0.0))
    assert Reference.of(np.full(10, np.nan, np.float32)).shares == (0.0, 1.0)


def test_drift_finds_what_moved_and_leaves_noise_alone() -> None:
    rng = np.random.default_rng(5)
    before = {name: rng.standard_normal(4_000) for name in ("still", "moved", "vanished")}
    references = {name: Reference.of(values.astype(np.float32)) for name, values in before.items()}
    vanished = np.where(rng.random(500) < 0.5, np.nan, rng.standard_normal(500))
    now = _snapshot(still=rng.standard_normal(500), moved=1 + rng.standard_normal(500), vanished=vanished)
    found = monitor.drift(references, now).set_index("feature")
    assert list(found["look"]) == ["act", "act", ""]
    assert found.index[-1] == "still"
    assert found.loc["still", "psi"] < 0.06


def test_nothing_has_drifted_on_the_day_of_training(trained: tuple[Config, RunSummary, Verdict]) -> None:
    config, summary = trained[0], trained[1]
    report = monitor.run(config)
    assert report.bundle == summary.bundle
    assert set(report.drift["feature"]) == {*summary.forecaster.names, "churn_probability"}
    assert report.drift["psi"].max() < 1e-9
    assert not report.act
    assert report.lines[-1] == "fine: nothing to act on"
    assert "none yet" in "\n".join(report.lines)


def test_a_champion_that_has_not_seen_the_last_horizon_is_a_reason_to_act(
    trained: tuple[Config, RunSummary, Verdict],
) -> None:
    config = trained[0]
    report = monitor.run(config, HistoryStore(config.var / "history").last_day + config.windows.horizon + 1)
    assert report.act
    assert any("more than one horizon" in reason for reason in report.reasons)


def test_without_a_champion_there_is_nothing_to_monitor(
    trained: tuple[Config, RunSummary, Verdict], copied: Callable[[Config], Config]
) -> None:
    config = copied(trained[0])
    (config.var / "bundles" / "champion").unlink()
    with pytest.raises(MissingInput, match="no champion"):
        monitor.run(config)


@pytest.fixture
def published(trained: tuple[Config, RunSummary, Verdict], tmp_path: Path) -> Callable[..., Path]:
    """A publication of the evidence's forecasts, changed by a function, with a list of the hundred at most risk."""
    evidence = trained[1].evidence
    assert evidence is not None

    def publish(change: Callable[[pd.DataFrame], pd.DataFrame] = lambda rows: rows) -> Path:
        (cutoff,) = evidence.closed
        folder = tmp_path / "published" / f"{to_date(cutoff)}-1"
        folder.mkdir(parents=True)
        rows = change(evidence.judged("holdfast").drop(columns=["churned", "spend", "model"]))
        rows.assign(cutoff=str(to_date(cutoff))).to_parquet(folder / "forecasts.parquet")
        rows.nlargest(100, "churn_probability").to_parquet(folder / "retention.parquet")
        (folder / "manifest.json").write_text(json.dumps({"id": folder.name, "as_of": cutoff, "files": {}}))
        (tmp_path / "published" / "current").symlink_to(folder.name)
        return tmp_path / "published"

    return publish


def _closed(config: Config, folder: Path, ledger: pd.DataFrame | None = None) -> monitor.Closed:
    store = HistoryStore(config.var / "history")
    (found,) = monitor.closed_forecasts(folder, store, config.span, store.last_day, ledger)
    return found


def test_closed_forecasts_are_those_of_the_back_test_at_the_same_day(
    trained: tuple[Config, RunSummary, Verdict], published: Callable[..., Path]
) -> None:
    """Once, though `current` points to the same folder; everybody is judged, since too few were not listed."""
    evidence = trained[1].evidence
    assert evidence is not None
    found = _closed(trained[0], published())
    judged = evidence.judged("holdfast")
    assert (found.customers, found.untouched) == (len(judged), False)
    line = evidence.table.query("model == 'holdfast' and metric == 'auc'").iloc[0]
    assert found.metrics["auc"].value == pytest.approx(line["value"])
    assert found.wrong == []


def test_a_level_that_is_off_and_a_list_upside_down_are_reasons(
    trained: tuple[Config, RunSummary, Verdict], published: Callable[..., Path]
) -> None:
    def spoil(rows: pd.DataFrame) -> pd.DataFrame:
        return rows.assign(churn_probability=1 - 0.5 * rows["churn_probability"])

    wrong = " ".join(_closed(trained[0], published(spoil)).wrong)
    assert "the level is" in wrong
    assert "churned less than the rest" in wrong
    assert "one rate for all" in wrong


def test_whom_the_ledger_calls_treated_is_left_out(
    trained: tuple[Config, RunSummary, Verdict], published: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, evidence = trained[0], trained[1].evidence
    assert evidence is not None
    monkeypatch.setattr(monitor, "ENOUGH", 50)
    (cutoff,) = evidence.closed
    ids = evidence.judged("holdfast")["customer_id"].tolist()
    day, closes = to_date(cutoff), to_date(cutoff + config.windows.horizon)
    arms = ["treated"] * 40 + ["held out"] * 60
    table = {"customer_id": ids[:100], "list": "retention", "arm": arms, "entered": day, "closes": closes}
    ledger = pd.DataFrame({**table, "closed": True, "churn_probability": 0.5, "churned": [0.0, 1.0] * 50})
    folder = published()
    found = _closed(config, folder, ledger)
    assert (found.customers, found.untouched) == (len(ids) - 40, True)
    earlier = ledger.assign(closes=to_date(cutoff))
    assert _closed(config, folder, earlier).customers == len(ids)
    held = monitor.held_out(ledger)
    assert held.to_dict("records")[0]["customers"] == 60
    assert held.to_dict("records")[0]["churned"] == 0.5


def test_an_open_publication_is_not_judged(
    trained: tuple[Config, RunSummary, Verdict], published: Callable[..., Path]
) -> None:
    config, store = trained[0], HistoryStore(trained[0].var / "history")
    assert monitor.closed_forecasts(published(), store, config.span, store.last_day - 1) == ()
    assert backtest.rolling(store.first_day, store.last_day, config.span)[-1] == store.last_day - 30
