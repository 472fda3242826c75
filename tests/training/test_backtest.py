"""A back-test trains on the past alone, leaves nobody out, computes nothing twice and goes on after a kill."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from corner import open_shop

from features.config import Config
from features.errors import UsageError
from features.store import HistoryStore
from features.windows import Windows, to_date
from models import forecaster, rules
from training import backtest
from training.backtest import OURS, BacktestResult
from training.track import Tracker
from training.train import RunSummary


def _log(config: Config) -> pd.DataFrame:
    log = pd.read_parquet(config.root / "purchases.parquet")
    return log.assign(day=(log["ordered_at"] - pd.Timestamp("1970-01-01")).dt.days)


def _evidence(trained: tuple[Config, RunSummary, object]) -> BacktestResult:
    evidence = trained[1].evidence
    assert evidence is not None
    return evidence


def test_everybody_at_risk_is_forecast_once_by_every_model(trained: tuple[Config, RunSummary, object]) -> None:
    config, result = trained[0], _evidence(trained)
    log, (cutoff,) = _log(config), result.closed
    recent = log[(log.day <= cutoff) & (log.day > cutoff - config.windows.active)]
    wanted = sorted(recent.customer_id.unique())
    assert result.models == [OURS, *rules.NAMES]
    for model in result.models:
        assert sorted(result.of(model)["customer_id"]) == wanted, model


def test_what_came_is_what_the_log_says(trained: tuple[Config, RunSummary, object]) -> None:
    config, result = trained[0], _evidence(trained)
    log, (cutoff,) = _log(config), result.closed
    came = log[(log.day > cutoff) & (log.day <= cutoff + config.windows.horizon)].groupby("customer_id").amount.sum()
    ours = result.judged(OURS).set_index("customer_id")
    wanted = came.reindex(ours.index).fillna(0.0)
    assert np.allclose(ours["spend"], wanted)
    assert (ours["churned"] == (wanted == 0)).all()


def test_forecasts_have_the_columns_of_the_contract(trained: tuple[Config, RunSummary, object]) -> None:
    result = _evidence(trained)
    forecasts = result.forecasts
    assert tuple(forecasts.columns) == backtest.FORECASTS
    assert forecasts["cutoff"].unique().tolist() == [to_date(result.closed[0])]
    numbers = forecasts.drop(columns=["customer_id", "cutoff", "stage", "bundle"])
    assert numbers.notna().all().all()
    assert set(forecasts["stage"]) <= {"exploration", "growth", "stable", "decline"}
    assert (forecasts["spend_lower"] <= forecasts["expected_spend"]).all()


def test_a_log_cut_at_the_cutoff_gives_the_same_forecasts(
    trained: tuple[Config, RunSummary, object], tmp_path: Path
) -> None:
    """The truncation law, to the last bit, for the model and for every rule."""
    config, result = trained[0], _evidence(trained)
    (cutoff,) = result.closed
    log = _log(config)
    cut = open_shop(tmp_path / "cut", log[log.day <= cutoff].drop(columns="day"))
    again = backtest.run_job(backtest.job_of(cut, HistoryStore(cut.var / "history")), [cutoff])
    columns = ["model", "customer_id", "churn_probability", "expected_spend", "spend_lower", "spend_upper", "clv"]
    order = ["model", "customer_id"]
    whole, short = (r.rows[columns].sort_values(order, ignore_index=True) for r in (result, again))
    pd.testing.assert_frame_equal(whole, short, check_exact=True)
    assert again.closed == []
    assert again.rows["churned"].isna().all()
    assert "horizon not closed" in again.lines[0]


def test_nothing_is_computed_twice(trained: tuple[Config, RunSummary, object], monkeypatch: pytest.MonkeyPatch) -> None:
    config, result = trained[0], _evidence(trained)
    monkeypatch.setattr(forecaster, "fit", _never)
    monkeypatch.setattr(forecaster, "prepare_for", _never)
    again = backtest.run_job(backtest.job_of(config, HistoryStore(config.var / "history")), result.closed)
    pd.testing.assert_frame_equal(again.rows, result.rows)
    assert again.keys == result.keys


def _never(*_: object, **__: object) -> None:
    raise AssertionError("this was known already")


def test_a_killed_back_test_goes_on_where_it_stopped(
    trained: tuple[Config, RunSummary, object],
    copied: Callable[[Config], Config],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first of two cutoffs is kept when the second is interrupted; then only the second is fitted. A file that was
    torn is as good as none."""
    config, result = copied(trained[0]), _evidence(trained)
    (known,) = result.closed
    job = replace(backtest.job_of(config, HistoryStore(config.var / "history")), cores=1)
    made, torn = [], result.rows.assign(cutoff=known - 10)

    def fake(self: backtest.Job, cutoff: int, *_: object) -> pd.DataFrame:
        made.append(cutoff)
        if len(made) == 2:
            raise KeyboardInterrupt
        backtest.write(torn, config.var / "backtests" / f"{self.key(cutoff)}.parquet")
        return torn

    monkeypatch.setattr(backtest.Job, "_made", fake)
    with pytest.raises(KeyboardInterrupt):
        backtest.run_job(job, [known - 20, known - 10, known])
    made.clear()
    again = backtest.run_job(job, [known - 20, known])
    assert made == []
    assert len(again.rows) == 2 * len(result.rows)
    path = config.var / "backtests" / f"{job.key(known)}.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    backtest.run_job(job, [known - 20, known])
    assert made == [known]
    assert not list((config.var / "backtests").glob("*.unfinished"))


def test_a_kept_cutoff_is_named_by_everything_it_depends_on(corner: Config) -> None:
    job = backtest.job_of(corner, HistoryStore(corner.var / "history"))
    day = job.store.last_day - 60
    others = [
        replace(job, windows=Windows(31, 90)),
        replace(job, settings=job.settings.model_copy(update={"trees": 21})),
        replace(job, economics=job.economics.model_copy(update={"margin": 0.5})),
        replace(job, last_day=day + 29),
    ]
    names = {job.key(day), job.key(day - 1), *(other.key(day) for other in others)}
    assert len(names) == 2 + len(others)
    assert replace(job, settings=job.settings.model_copy(update={"threads": 4})).key(day) == job.key(day)
    assert replace(job, last_day=job.last_day - 1).key(day) == job.key(day)


def test_the_rolling_origin_stands_one_horizon_apart_and_wants_two_of_history() -> None:
    windows = Windows(30, 60)
    assert backtest.rolling(1_000, 1_300, windows) == [1_180, 1_210, 1_240, 1_270]
    assert backtest.rolling(1_000, 1_110, windows) == [1_080]
    assert backtest.rolling(1_000, 1_050, windows) == [1_020]
    assert backtest.rolling(1_000, 1_020, windows) == []


def test_a_cutoff_outside_the_log_is_refused(corner: Config) -> None:
    store = HistoryStore(corner.var / "history")
    job = backtest.job_of(corner, store)
    for cutoff in (store.first_day - 1, store.last_day + 1):
        with pytest.raises(UsageError, match="outside the log"):
            backtest.run_job(job, [cutoff])


def test_a_person_can_be_taken_out_of_what_is_kept(trained: tuple[Config, RunSummary, object], tmp_path: Path) -> None:
    result = _evidence(trained)
    folder = shutil.copytree(trained[0].var / "backtests", tmp_path / "backtests")
    person = result.rows["customer_id"].iloc[0]
    assert backtest.forget(folder, person) == len(result.models)
    (key,) = result.keys.values()
    left = backtest.kept_rows(folder, key)
    assert left is not None
    assert person not in set(left["customer_id"])
    assert len(left) == len(result.rows) - len(result.models)
    assert backtest.forget(folder, person) == 0


def test_the_command_writes_forecasts_and_remembers_the_run(
    trained: tuple[Config, RunSummary, object], tmp_path: Path
) -> None:
    config, result = trained[0], _evidence(trained)
    out = tmp_path / "forecasts.parquet"
    told = backtest.command(config, result.closed, out)
    pd.testing.assert_frame_equal(pd.read_parquet(out), told.forecasts, check_dtype=False)
    tracker = Tracker.of(config)
    run = next(run for run in tracker.runs() if run.kind == "backtest")
    values = tracker._client.get_run(run.id).data.metrics
    line = told.table.query("model == 'recency' and metric == 'auc'").iloc[0]
    assert values["recency/auc"] == pytest.approx(line["value"])
    assert values["recency/auc_lower"] == pytest.approx(line["lower"])
    assert run.params["windows.horizon"] == "30"
    assert run.tags["holdfast.data_sha256"] == HistoryStore(config.var / "history").digest
    names = {"reliability", "gain", "spend", "level", "coverage"}
    assert {
        path.name.removesuffix(".svg") for path in tracker.artifact(run.id, "pictures", tmp_path).iterdir()
    } == names


def test_the_table_and_the_verdict_name_every_rule(trained: tuple[Config, RunSummary, object]) -> None:
    text = "\n".join(_evidence(trained).lines)
    for name in rules.NAMES:
        assert text.count(name) >= 2, name
    assert "90 % interval" in text
