"""One training: from the history to a bundle that could be promoted, with the evidence beside it.

The bundle is fitted on everything known by `as_of`, so its own forecasts cannot be judged yet. What is judged is its
recipe: the same settings fitted one horizon earlier, where what came is known, beside the rules. That evidence, the
settings, and the spread of every feature (for `monitor`) travel inside the bundle. A bundle's name is its day and the
beginning of its hash: the same history, settings and code give the same bytes and so the same name.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from features.config import Config
from features.snapshot import Snapshot
from features.store import HistoryStore
from features.windows import to_date
from models import bundle
from models.forecaster import Forecaster, prepare_for
from models.procedure import Procedure
from models.samples import Prepared, not_enough
from models.schedule import schedule
from training import backtest, figures, monitor
from training.backtest import BacktestResult
from training.journal import Journal
from training.track import Run, Tracker

Progress = Callable[[str], None]

SEEN = 4_000  # customers whose contributions are averaged for the card


@dataclass(frozen=True)
class RunSummary:
    """What a training made: the bundle's id and folder, the run that remembers it, and the evidence (None where the log
    is too short to hold a horizon back)."""

    bundle: str
    folder: Path
    run: str
    forecaster: Forecaster
    evidence: BacktestResult | None

    @property
    def lines(self) -> list[str]:
        """The training as text."""
        made = self.forecaster
        lines = [
            f"bundle {self.bundle}",
            f"  learned to {to_date(made.as_of)} from {made.rows:,} rows, {len(made.names)} features",
            f"  {made.skill}",
            *(f"  note: {note}" for note in made.notes),
            f"  run {self.run}",
            "",
        ]
        if self.evidence is None:
            return [*lines, "the log is too short to hold a horizon back: nothing could be judged"]
        return [*lines, "the same recipe one horizon earlier:", *self.evidence.lines]


def run(config: Config, as_of: int | None = None, progress: Progress | None = None) -> RunSummary:
    """Fit, judge the recipe one horizon earlier, log, and write `bundles/<id>/`.

    `as_of` is the last day that is known, by default the store's. Raises MissingInput where no horizon has closed,
    BadData where nobody was at risk, ServiceAway where the tracking server is away (before anything is fitted).
    """
    store = HistoryStore(config.var / "history")
    as_of = store.last_day if as_of is None else as_of
    procedure = Procedure.of(config.model)
    if not schedule(as_of, store.first_day, config.span, procedure).recent:  # before any run is begun
        raise not_enough(store.first_day, as_of, config.span, procedure)
    tracker = Tracker.of(config)
    with tracker.run("train", f"train {to_date(as_of)}") as tracked:
        backtest.log_inputs(tracked, config, store)
        made, evidence = fit(config, store, as_of, progress)
        if progress:
            progress("writing the bundle")
        seen = made.snapshot(store, as_of)
        families = influence(made, seen)
        files = {
            "training.json": as_json(recipe(config)),
            "drift.json": as_json(references(made, seen)),
            "model-card.md": card(config, made, evidence, families).encode(),
        }
        name = keep(config.var / "bundles", made, store.digest, measured(evidence), files)
        summary = RunSummary(name, config.var / "bundles" / name, tracked.id, made, evidence)
        _log(tracked, summary, families)
    return summary


def fit(
    config: Config, store: HistoryStore, as_of: int, progress: Progress | None = None
) -> tuple[Forecaster, BacktestResult | None]:
    """The forecaster of a day and its evidence; both read the store together."""
    held_back = as_of - config.windows.horizon
    judged = bool(schedule(held_back, store.first_day, config.span, Procedure.of(config.model)).recent)
    days = [held_back, as_of] if judged else [as_of]
    job = backtest.job_of(config, store, as_of)
    prepared: Prepared = prepare_for(store, days, config.span, config.model, modules=job.modules, progress=progress)
    evidence = None
    if judged:
        rows = job.rows([held_back], progress, prepared)
        keys = {held_back: job.key(held_back)}
        evidence = BacktestResult(
            pd.concat(rows, ignore_index=True), config.span, store.currency, keys, config.model.seed
        )
    return job.fit(as_of, prepared, progress), evidence


def keep(bundles: Path, made: Forecaster, data: str, metrics: Mapping[str, Any], files: Mapping[str, bytes]) -> str:
    """Write a bundle under the name that its content gives it, note that it was made, and return the name."""
    manifest = bundle.content(made, data, metrics, files)["manifest.json"]
    name = f"{to_date(made.as_of)}-{hashlib.sha256(manifest).hexdigest()[:8]}"
    bundle.write(made, bundles / name, data=data, metrics=metrics, files=files)
    Journal(bundles).note("trained", name)
    return name


def recipe(config: Config) -> dict[str, Any]:
    """What must be equal for two bundles to be the same recipe: settings and code, without the data."""
    return {
        "model": config.model.model_dump(exclude={"threads"}),
        "economics": config.economics.model_dump(include={"margin", "discount_rate", "years"}),
        "windows": config.span.as_dict(),
        "modules": list(config.features.modules),
        "code": backtest.code(),
    }


def references(made: Forecaster, seen: Snapshot) -> dict[str, Any]:
    """The spread of every feature, and of the churn probability, among the customers at risk on the day of training."""
    columns = {name: seen.column(name) for name in made.names}
    columns["churn_probability"] = made.forecast_rows(seen)["churn_probability"].to_numpy(np.float32)
    told = {name: monitor.Reference.of(values) for name, values in columns.items()}
    return {name: {"edges": r.edges, "shares": [round(s, 6) for s in r.shares]} for name, r in told.items()}


def measured(evidence: BacktestResult | None) -> dict[str, Any]:
    """The back-test's table as JSON: cutoff, model, metric -> [value, lower, upper]; six digits, null for missing."""
    if evidence is None:
        return {}
    found: dict[str, Any] = {}
    for line in evidence.table.to_dict("records"):
        numbers = [_rounded(line[name]) for name in ("value", "lower", "upper")]
        at = found.setdefault(str(to_date(line["cutoff"])), {"at_risk": int(line["at_risk"]), "models": {}})
        at["models"].setdefault(line["model"], {})[line["metric"]] = numbers
    return found


def _rounded(value: Any) -> float | None:
    return round(float(value), 6) if np.isfinite(value) else None


def influence(made: Forecaster, seen: Snapshot) -> dict[str, float]:
    """Mean absolute contribution to the log odds of churning, summed by feature family, the largest first."""
    if not len(seen):
        return {}
    family = {feature.name: feature.family for feature in made.features()}
    parts = made.contributions(seen.take(np.arange(min(len(seen), SEEN)))).by_family(family)
    means = {family: float(np.abs(values).mean()) for family, values in parts.items()}
    return dict(sorted(means.items(), key=lambda item: (-item[1], item[0])))


def as_json(value: Mapping[str, Any]) -> bytes:
    """A file of a bundle: keys in order, so that the same content gives the same bytes."""
    return (json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True) + "\n").encode()


def _log(tracked: Run, summary: RunSummary, families: Mapping[str, float]) -> None:
    made = summary.forecaster
    tracked.tags({"holdfast.bundle": summary.bundle, "holdfast.skill": str(made.skill)})
    tracked.metrics([("train/rows", made.rows, 0), ("train/skill_t", made.skill.t, 0)])
    if summary.evidence is not None:
        backtest.log_result(tracked, summary.evidence)
    if families:
        words = [family.replace("_", " ") for family in families]
        tracked.text("pictures/contributions.svg", figures.bars(words, list(families.values()), CONTRIBUTION, "Why"))
    tracked.text("model-card.md", (summary.folder / "model-card.md").read_text(encoding="utf-8"))
    tracked.bundle(summary.folder, summary.bundle)
    Journal(summary.folder.parent).mirror(tracked.tracker, challenger=summary.bundle)


CONTRIBUTION = "mean |contribution| to the log odds of churning"


def card(config: Config, made: Forecaster, evidence: BacktestResult | None, families: Mapping[str, float]) -> str:
    """The model card: what this is, what it learned from, how good it was, where it must not be trusted."""
    w = config.windows
    parts = [
        f"# Forecasts of {config.shop.name}, learned to {to_date(made.as_of)}",
        f"For every customer who bought in the {w.active} days up to a cutoff: the probability that nothing is bought "
        f"in the {w.horizon} days after it, the spend of those days with a 90 % interval, and the value over "
        f"{config.economics.years:g} years. For ranking and pricing retention work; not for credit, not for anything "
        "that is decided about a person without a person.",
        "## What it learned from\n\n"
        f"{made.rows:,} rows (customers at cutoffs whose horizon had closed), {len(made.names)} features of the "
        f"families {', '.join(families) or 'none'}.",
        f"## Skill\n\n{made.skill}." + "".join(f"\n\n{note}." for note in made.notes),
    ]
    if families:
        lines = [f"| {family.replace('_', ' ')} | {value:.3f} |" for family, value in families.items()]
        parts.append(f"## What moves it\n\n| family | {CONTRIBUTION} |\n|---|---|\n" + "\n".join(lines))
    if evidence is None:
        parts.append("## How good it was\n\nThe log is too short to hold a horizon back: nothing could be judged.")
    else:
        text = "\n".join(evidence.lines)
        parts.append(f"## How good the same recipe was one horizon earlier\n\n```\n{text}\n```")
        parts += [
            _groups(f"Calibration by {name.replace('_', ' ')}", t) for name, t in backtest.segments(evidence).items()
        ]
    return "\n\n".join(parts) + "\n"


def _groups(title: str, table: pd.DataFrame) -> str:
    head = ["group", "customers", "predicted", "churned", "lower", "upper"]
    lines = [
        f"| {row['group']} | {row['customers']:,} | " + " | ".join(f"{row[name]:.3f}" for name in head[2:]) + " |"
        for row in table.to_dict("records")
    ]
    return f"## {title}\n\n| {' | '.join(head)} |\n|{'---|' * len(head)}\n" + "\n".join(lines)
