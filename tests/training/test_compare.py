"""Two runs are compared on the forecasts that both made, customer by customer."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
import pytest

from features.config import Config
from features.errors import MissingInput, UsageError
from training import compare
from training.gate import Verdict
from training.track import Kept
from training.train import RunSummary


def _kept(name: str, params: Mapping[str, str]) -> Kept:
    return Kept(f"{name}0123456789", "train", name, "FINISHED", params, {"holdfast.code": f"{name}-code"})


def _rows(n: int, cutoffs: tuple[int, ...], noise: float) -> pd.DataFrame:
    parts = []
    for cutoff in cutoffs:
        rng = np.random.default_rng(cutoff)
        truth = rng.beta(2, 2, n)
        churned = (rng.random(n) < truth).astype(float)
        guess = 1 / (1 + np.exp(-(np.log(truth / (1 - truth)) + noise * rng.standard_normal(n))))
        part = pd.DataFrame({"customer_id": [f"c{k}" for k in range(n)], "cutoff": cutoff, "churned": churned})
        parts.append(part.assign(spend=1 - churned, churn_probability=guess, expected_spend=1 - guess))
    return pd.concat(parts, ignore_index=True)


def test_the_sharper_run_is_called_better_with_its_interval() -> None:
    one, other = _kept("one", {"trees": "150", "leaves": "8"}), _kept("other", {"trees": "300", "leaves": "8"})
    found = compare.compare(one, other, _rows(900, (100, 130), 0.0), _rows(800, (130, 160), 1.0))
    assert found.cutoffs == (130,)
    assert (found.customers, found.left_out) == (800, 1000 + 800)
    assert found.settings == {"trees": ("150", "300"), "code": ("one-code", "other-code")}
    ours, theirs, gap = found.differences["log_loss"]
    assert ours - theirs == pytest.approx(gap.value)
    assert gap.upper < 0
    text = "\n".join(found.lines)
    assert "trees: 150 | 300" in text
    line = next(line for line in found.lines if line.strip().startswith("log loss"))
    assert line.endswith("better")


def test_runs_without_a_forecast_in_common_are_refused() -> None:
    one = _kept("one", {})
    with pytest.raises(UsageError, match="no closed forecast in common"):
        compare.compare(one, one, _rows(50, (100,), 0.0), _rows(50, (130,), 0.0))


def test_a_run_does_not_differ_from_itself(trained: tuple[Config, RunSummary, Verdict]) -> None:
    config, summary = trained[0], trained[1]
    found = compare.run(config, summary.run, summary.run[:12])
    assert found.settings == {}
    assert summary.evidence is not None
    assert found.customers == len(summary.evidence.judged("holdfast"))
    for name, (ours, theirs, gap) in found.differences.items():
        assert ours == theirs, name
        assert (gap.value, gap.lower, gap.upper) == (0.0, 0.0, 0.0), name


def test_a_run_whose_forecasts_are_not_kept_here_says_so(
    trained: tuple[Config, RunSummary, Verdict], copied: Callable[[Config], Config]
) -> None:
    config = copied(trained[0])
    for path in (config.var / "backtests").iterdir():
        path.unlink()
    elsewhere = config.model_copy(
        update={"state": config.state.model_copy(update={"tracking": trained[0].tracking_uri})}
    )
    with pytest.raises(MissingInput, match="are not kept here"):
        compare.run(elsewhere, trained[1].run, trained[1].run)
