"""Two runs side by side: what was set differently, and what difference it made, customer by customer.

Both runs' forecasts of the same customers at the same cutoffs are measured under the same draws, so the interval is
that of the difference and not of two numbers that happen to stand next to each other. What only one of them forecast is
left out and counted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from features.config import Config
from features.errors import MissingInput, UsageError
from features.windows import to_date
from training import backtest, metrics, printed
from training.metrics import METRICS, Estimate
from training.track import Kept, Tracker

SHOWN = ("auc", "log_loss", "brier", "ece", "level", "lift", "gini", "mae", "total", "coverage")


@dataclass(frozen=True)
class Comparison:
    """`settings`: name -> both values where they differ; `differences`: metric -> (one, other, one - other)."""

    one: Kept
    other: Kept
    cutoffs: tuple[int, ...]
    customers: int
    left_out: int
    settings: dict[str, tuple[str, str]]
    differences: dict[str, tuple[float, float, Estimate]]

    @property
    def lines(self) -> list[str]:
        """The comparison as text."""
        days = ", ".join(str(to_date(cutoff)) for cutoff in self.cutoffs)
        lines = [f"one    {_named(self.one)}", f"other  {_named(self.other)}"]
        lines.append(
            f"on {self.customers:,} forecasts that both made ({days}); {self.left_out:,} only one of them made"
        )
        lines += [f"  {name}: {ours} | {theirs}" for name, (ours, theirs) in self.settings.items()]
        body = [
            [
                METRICS[m].words,
                printed.number(m, a),
                printed.number(m, b),
                printed.difference(m, d),
                printed.verdict(m, d),
            ]
            for m, (a, b, d) in self.differences.items()
        ]
        return [*lines, "", *printed.aligned(["", "one", "other", "one - other (90 %)", "one is"], body)]


def run(config: Config, one: str, other: str, progress: Callable[[str], None] | None = None) -> Comparison:
    """Compare two runs, each named by its id, the beginning of its id, or its name.

    Raises MissingInput where a run or its forecasts are not there, UsageError where they share no closed forecast.
    """
    tracker = Tracker.of(config)
    ours, theirs = tracker.find(one), tracker.find(other)
    if progress:
        progress(f"comparing {ours.name} with {theirs.name}")
    a, b = (_judged(config.var / "backtests", kept) for kept in (ours, theirs))
    return compare(ours, theirs, a, b, seed=config.model.seed)


def compare(one: Kept, other: Kept, ours: pd.DataFrame, theirs: pd.DataFrame, *, seed: int = 7) -> Comparison:
    """Compare the forecasts of two runs, each with what came true beside it."""
    a, b = metrics.match(ours, theirs)
    if a.empty:
        raise UsageError(
            "the two runs have no closed forecast in common",
            got=f"{_days(ours)} and {_days(theirs)}",
            do="back-test both at the same cutoffs: holdfast backtest --cutoff DATE",
        )
    found = metrics.difference(a, b, SHOWN, seed=seed)
    return Comparison(
        one,
        other,
        tuple(sorted(int(day) for day in a["cutoff"].unique())),
        len(a),
        len(ours) + len(theirs) - 2 * len(a),
        _unequal(one, other),
        {m: (metrics.mean_over_cutoffs(a, m), metrics.mean_over_cutoffs(b, m), found[m]) for m in SHOWN},
    )


def _judged(folder: Path, run: Kept) -> pd.DataFrame:
    """Our closed forecasts of a run, from the kept files that its tags name."""
    keys = [pair.partition("=")[2] for pair in run.tags.get("holdfast.backtest", "").split()]
    parts = [backtest.kept_rows(folder, key) for key in keys]
    known = [part[(part["model"] == backtest.OURS) & part["churned"].notna()] for part in parts if part is not None]
    if not keys or len(known) < len(keys):
        raise MissingInput(
            f"the forecasts of the run {run.name} are not kept here",
            where=str(folder),
            do="repeat it: holdfast backtest or holdfast train, with the settings of that run",
        )
    return pd.concat(known, ignore_index=True)


def _unequal(one: Kept, other: Kept) -> dict[str, tuple[str, str]]:
    """Parameters and hashes in which two runs differ."""
    a, b = ({**run.params, **_hashes(run)} for run in (one, other))
    names: Sequence[str] = sorted(a.keys() | b.keys())
    return {name: (a.get(name, "–"), b.get(name, "–")) for name in names if a.get(name) != b.get(name)}


def _hashes(run: Kept) -> dict[str, str]:
    return {
        name: run.tags[f"holdfast.{name}"][:12] for name in ("data_sha256", "code") if f"holdfast.{name}" in run.tags
    }


def _named(run: Kept) -> str:
    return f"{run.name} ({run.id[:8]})"


def _days(rows: pd.DataFrame) -> str:
    return ", ".join(str(to_date(day)) for day in sorted(rows["cutoff"].unique())) or "none"
