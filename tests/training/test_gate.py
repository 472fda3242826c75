"""Nothing worse gets through the gate, and what it decides can be read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from features.config import Config
from features.errors import BundleRefused, MissingInput, TryAgain
from features.store import HistoryStore
from features.windows import Windows
from models import bundle, rules
from training import gate
from training.backtest import OURS, BacktestResult
from training.gate import Case, Evidence, Verdict
from training.journal import Journal
from training.track import Tracker
from training.train import RunSummary

TRUTH = np.random.default_rng(1).beta(2, 2, 2_000)
CHURNED = (np.random.default_rng(2).random(2_000) < TRUTH).astype(float)


def _rows(model: str, probability: np.ndarray) -> pd.DataFrame:
    columns: dict[str, Any] = {"model": model, "customer_id": [f"c{k}" for k in range(2_000)], "cutoff": 19_000}
    return pd.DataFrame({**columns, "churned": CHURNED, "spend": 1 - CHURNED, "churn_probability": probability})


def _blurred(noise: float, seed: int = 3) -> np.ndarray:
    """The true probabilities, known with some noise on the logit."""
    logit = np.log(TRUTH / (1 - TRUTH)) + noise * np.random.default_rng(seed).standard_normal(2_000)
    return np.asarray(1 / (1 + np.exp(-logit)))


def _evidence(
    ours: np.ndarray, rule: np.ndarray, champion: np.ndarray | None = None, why: str = "there is no champion yet"
) -> Evidence:
    base = _rows(rules.BASE_RATE, np.full(2_000, CHURNED.mean()))
    rows = pd.concat([_rows(OURS, ours), _rows(rules.RFM, rule), base], ignore_index=True)
    champions = None if champion is None else _rows("champion", champion)
    return Evidence(BacktestResult(rows, Windows(30, 90), "USD", {19_000: "key"}), champions, why)


def _made(skill: bool = True) -> Any:
    return SimpleNamespace(skill=SimpleNamespace(found=skill))


def test_a_better_model_passes_and_says_by_how_much() -> None:
    chosen, checks = gate.judge(_made(), _evidence(_blurred(0.0), _blurred(1.0)))
    assert chosen == OURS
    (line,) = [str(check) for check in checks if check.passed is not None]
    assert "pass  log loss against RFM logistic" in line
    assert "lower: -0." in line
    assert "cannot be told apart" not in line


def test_a_rule_that_is_better_is_promoted_in_its_place() -> None:
    chosen, checks = gate.judge(_made(), _evidence(_blurred(1.0), _blurred(0.0)))
    assert chosen == rules.RFM
    assert [check.passed for check in checks if check.what.startswith("log loss against RFM")] == [False]


def test_what_cannot_be_told_apart_passes_and_is_called_so() -> None:
    chosen, checks = gate.judge(_made(), _evidence(_blurred(0.5, 4), _blurred(0.5, 5)))
    assert chosen == OURS
    assert "cannot be told apart" in "".join(str(check) for check in checks)


def test_without_skill_the_rule_must_beat_the_base_rate() -> None:
    flat = np.full(2_000, CHURNED.mean())
    assert gate.judge(_made(skill=False), _evidence(flat, _blurred(0.1)))[0] == rules.RFM
    assert gate.judge(_made(skill=False), _evidence(flat, 0.7 * flat + 0.1))[0] == OURS


def test_what_is_worse_than_the_champion_is_refused() -> None:
    chosen, checks = gate.judge(_made(), _evidence(_blurred(0.6), _blurred(1.5), _blurred(0.0), "b-1 by its recipe"))
    assert chosen is None
    line = next(str(check) for check in checks if check.what == "log loss against champion")
    assert "fail" in line
    assert "b-1 by its recipe" in line


def test_what_is_better_than_the_champion_passes() -> None:
    assert gate.judge(_made(), _evidence(_blurred(0.0), _blurred(1.5), _blurred(0.6)))[0] == OURS


def test_without_evidence_a_bundle_is_taken_on_trust_and_the_gate_says_so() -> None:
    chosen, checks = gate.judge(_made(), None)
    assert chosen == OURS
    assert "taken on trust" in str(checks[0])


# -- on disk


def test_the_first_bundle_becomes_champion_and_the_verdict_is_a_run(
    trained: tuple[Config, RunSummary, Verdict],
) -> None:
    config, summary, verdict = trained
    assert verdict.promoted
    assert verdict.bundle == summary.bundle == Journal(config.var / "bundles").champion
    run = next(run for run in Tracker.of(config).runs() if run.kind == "gate")
    assert run.tags["holdfast.promoted"] == "True"
    assert verdict.lines[-1] == f"promoted: {summary.bundle}"


def test_promoting_again_changes_nothing(
    trained: tuple[Config, RunSummary, Verdict], copied: Callable[[Config], Config]
) -> None:
    config = copied(trained[0])
    verdict = gate.promote(config)
    assert verdict.promoted
    assert Journal(config.var / "bundles").champion == trained[1].bundle
    assert any("same recipe" in str(check) for check in verdict.checks)
    with pytest.raises(MissingInput, match="no earlier champion"):
        gate.rollback(config)


def test_a_rule_can_be_champion_and_rolled_back_from(
    trained: tuple[Config, RunSummary, Verdict], copied: Callable[[Config], Config]
) -> None:
    """Its bundle forecasts exactly what the rule says, and says that there is no skill; the registry follows."""
    config = copied(trained[0])
    journal, store = Journal(config.var / "bundles"), HistoryStore(config.var / "history")
    case = Case.of(config, journal, trained[1].bundle)
    verdict = gate._remembered(config, journal, gate._decided(case, rules.RECENCY, ()))
    assert verdict.bundle is not None
    assert verdict.bundle != trained[1].bundle
    assert "by the rule recency" in verdict.conclusion
    assert Tracker.of(config).pointed("champion") == verdict.bundle
    made = bundle.load(journal.bundles / "champion", config.span)
    ours = made.forecast(store, store.last_day)
    rule = rules.fit(store, store.last_day, config.span, config.model, config.economics)[rules.RECENCY]
    theirs = rule.forecast(store, store.last_day)
    pd.testing.assert_series_equal(ours["churn_probability"], theirs["churn_probability"])
    pd.testing.assert_series_equal(ours["expected_spend"], theirs["expected_spend"])
    assert not ours["skill"].any()
    back = gate.rollback(config)
    assert back.bundle == trained[1].bundle == journal.champion
    assert Tracker.of(config).pointed("champion") == trained[1].bundle or "MLflow" in back.conclusion


def test_a_damaged_bundle_is_refused_and_the_champion_stays(
    trained: tuple[Config, RunSummary, Verdict], copied: Callable[[Config], Config]
) -> None:
    config = copied(trained[0])
    journal = Journal(config.var / "bundles")
    journal.crown("somebody-else")
    path = journal.bundles / trained[1].bundle / "forecaster.json"
    path.write_bytes(path.read_bytes().replace(b"1", b"2", 1))
    with pytest.raises(BundleRefused) as refused:
        gate.promote(config)
    assert refused.value.exit_code == 70
    assert journal.champion == "somebody-else"


def test_an_unknown_bundle_names_the_known(trained: tuple[Config, RunSummary, Verdict]) -> None:
    for name in ("2020-01-01-ffffffff", "../bundles", "champion"):
        with pytest.raises(MissingInput, match="there is no bundle") as missing:
            gate.promote(trained[0], name)
        assert trained[1].bundle in missing.value.message()


def test_nobody_promotes_while_somebody_else_does(
    trained: tuple[Config, RunSummary, Verdict], copied: Callable[[Config], Config]
) -> None:
    config = copied(trained[0])
    with Journal(config.var / "bundles").alone(), pytest.raises(TryAgain):
        gate.promote(config)


def test_a_registry_that_is_away_does_not_undo_a_promotion(
    trained: tuple[Config, RunSummary, Verdict], copied: Callable[[Config], Config]
) -> None:
    config = copied(trained[0])
    (config.var / "bundles" / "champion").unlink()
    state = config.state.model_copy(update={"tracking": "http://127.0.0.1:9"})
    verdict = gate.promote(config.model_copy(update={"state": state}))
    assert verdict.promoted
    assert Journal(config.var / "bundles").champion == trained[1].bundle
    assert "MLflow was not told" in verdict.lines[-1]


def test_an_old_champion_is_judged_by_its_own_forecasts_a_young_one_by_its_recipe(
    trained: tuple[Config, RunSummary, Verdict], copied: Callable[[Config], Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = copied(trained[0])
    journal = Journal(config.var / "bundles")
    case = Case.of(config, journal, trained[1].bundle)
    result = case.back_test(case.recipe)
    other = replace(case, recipe={**case.recipe, "code": "another"})
    monkeypatch.setattr(Case, "back_test", lambda self, recipe: result)
    rows, why = other.champion_beside(result)
    assert "by its recipe" in why
    assert rows is not None
    assert list(rows["churn_probability"]) == list(result.judged(OURS)["churn_probability"])
    monkeypatch.setattr(Case, "cutoff", property(lambda self: self.made.as_of))
    rows, why = case.champion_beside(result)
    assert "has not seen the outcome" in why
    assert rows is not None
    assert not np.allclose(rows["churn_probability"].mean(), result.judged(OURS)["churn_probability"].mean(), atol=0)
