"""What the forecasts would have been worth: train on what was known at a cutoff, forecast, look at what came.

Each cutoff is a small world of its own: the forecaster and the rules it must beat are fitted on the log up to that day,
forecast every customer at risk, and are judged on the horizon behind it. The rules stand in every table, because a
forecast that does not beat "who was silent longest" is not worth a model. What a cutoff gave is kept in a file named by
everything it depends on (history, cutoff, windows, settings, code), written whole or not at all: a back-test that was
killed goes on where it stopped, and nothing is computed twice, whichever command asks.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from joblib import Parallel, cpu_count, delayed

from features import snapshot
from features.catalogue import fingerprint
from features.config import Config, Economics, Model
from features.errors import CannotWrite, UsageError
from features.lifecycle import standing, taxonomy
from features.lifecycle.taxonomy import Schemes
from features.store import HistoryStore
from features.windows import Windows, to_date
from models import bundle, forecaster, rules
from models.forecaster import Forecaster
from models.samples import Prepared
from training import figures, metrics
from training.metrics import METRICS
from training.printed import aligned, number
from training.track import Run, Tracker

Progress = Callable[[str], None]

OURS = "holdfast"
LIFE = "life"  # the stage scheme that lists print
SHOWN = ("auc", "log_loss", "brier", "ece", "level", "gini", "total", "coverage")  # in the printed table
CUTOFFS = 4  # when none are named
FORECASTS = (
    "customer_id", "cutoff", "churn_probability", "expected_spend", "spend_lower", "spend_upper", "expected_margin",
    "clv", "stage", "bundle", "skill",
)  # fmt: skip
KEPT = (*FORECASTS, "churned", "spend")


@dataclass(frozen=True)
class BacktestResult:
    """Forecasts of several cutoffs, ours and the rules', beside what came.

    `rows` is the long table: model, customer_id, cutoff (day number), churned and spend (NaN where the horizon has not
    closed), and the columns of forecasts, which a rule may lack. `keys` says for each cutoff which kept file it is.
    """

    rows: pd.DataFrame
    windows: Windows
    currency: str
    keys: Mapping[int, str] = field(default_factory=dict)
    seed: int = 7

    @cached_property
    def forecasts(self) -> pd.DataFrame:
        """Our forecasts in the columns of `tables.md`, the cutoff as a date: everybody at risk at every cutoff."""
        ours = self.of(OURS).reindex(columns=list(FORECASTS))
        return ours.assign(cutoff=[to_date(day) for day in ours["cutoff"]])

    @cached_property
    def table(self) -> pd.DataFrame:
        """Every metric of every model at every closed cutoff and, under "all", their mean.

        Columns cutoff, model, metric, value, lower, upper, at_risk.
        """
        closed = self.rows[self.rows["churned"].notna()]
        parts = [
            metrics.measure_by_cutoff(part, seed=self.seed).assign(model=name)
            for name, part in closed.groupby("model", sort=False)
        ]
        columns = ["cutoff", "model", "metric", "value", "lower", "upper", "at_risk"]
        return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)

    @property
    def models(self) -> list[str]:
        """Ours first, then the rules."""
        return list(dict.fromkeys(self.rows["model"]))

    @property
    def closed(self) -> list[int]:
        """The cutoffs whose horizon has closed."""
        return sorted(int(day) for day in self.rows.loc[self.rows["churned"].notna(), "cutoff"].unique())

    def of(self, model: str) -> pd.DataFrame:
        """One model's rows at all cutoffs."""
        return self.rows[self.rows["model"] == model].reset_index(drop=True)

    def judged(self, model: str) -> pd.DataFrame:
        """One model's rows at the closed cutoffs, in an order that is the same for every model."""
        rows = self.of(model)
        return rows[rows["churned"].notna()].sort_values(["cutoff", "customer_id"], kind="stable", ignore_index=True)

    def best_rule(self, metric: str = "log_loss", skip: Sequence[str] = ()) -> str | None:
        """The rule that is best over the closed cutoffs; None where there is nothing to judge."""
        rivals = [name for name in self.models if name not in (OURS, *skip)]
        means = {name: metrics.mean_over_cutoffs(self.judged(name), metric) for name in rivals}
        known = {name: value for name, value in means.items() if np.isfinite(value)}
        return min(known, key=lambda name: -METRICS[metric].better * known[name], default=None)

    @property
    def lines(self) -> list[str]:
        """The back-test as text: a table a cutoff, and by how much the best rule is beaten."""
        lines: list[str] = []
        for cutoff in sorted(self.rows["cutoff"].unique()):
            lines += [*self._cutoff_lines(int(cutoff)), ""]
        return lines + self.verdict

    def _cutoff_lines(self, cutoff: int) -> list[str]:
        ours = self.of(OURS)
        ours = ours[ours["cutoff"] == cutoff]
        head = f"{to_date(cutoff)}: {len(ours):,} customers at risk"
        if cutoff not in self.closed:
            return [f"{head}, horizon not closed: forecast only"]
        lines = [f"{head}, {ours['churned'].mean():.1%} churned in the {self.windows.horizon} days after"]
        if not ours["skill"].all():
            lines.append("  no skill: the log does not tell customers apart; everybody gets the level")
        found = self.table[self.table["cutoff"] == cutoff].pivot(index="model", columns="metric", values="value")
        values = found.to_dict("index")
        body = [[name, *(number(m, values[name][m]) for m in SHOWN)] for name in self.models]
        return lines + aligned(["", *(HEADS[m] for m in SHOWN)], body)

    @property
    def verdict(self) -> list[str]:
        """Ours against each rule: the paired difference in log loss, with its interval."""
        if not self.closed:
            return ["no horizon has closed: nothing can be judged yet"]
        days = f"mean of {len(self.closed)} cutoffs" if len(self.closed) > 1 else "one cutoff"
        body = []
        for name in self.models:
            if name != OURS:
                found = metrics.difference(self.judged(name), self.judged(OURS), ["log_loss"], seed=self.seed)[
                    "log_loss"
                ]
                body.append([name, f"{found.value:+.4f}", f"({found.lower:+.4f} to {found.upper:+.4f})"])
        return [f"log loss of each rule less that of {OURS}, {days}, 90 % interval:", *aligned(["", "", ""], body)[1:]]


HEADS = {
    "auc": "AUC", "log_loss": "log loss", "brier": "Brier", "ece": "ECE", "level": "level", "gini": "Gini",
    "total": "total", "coverage": "in 90 %",
}  # fmt: skip


def run(
    store: HistoryStore,
    cutoffs: Sequence[int],
    windows: Windows,
    settings: Model,
    economics: Economics,
    *,
    modules: Sequence[str] = (),
    schemes: Schemes | None = None,
    keep: Path | None = None,
    as_of: int | None = None,
    progress: Progress | None = None,
) -> BacktestResult:
    """Back-test at some cutoffs (day numbers), by default at those of `rolling`.

    `modules` are the shop's own feature files and `schemes` its stages; `keep` is the folder where a cutoff's rows are
    kept for the next who asks; `as_of` is the last day that is known, by default the store's. Raises UsageError for a
    cutoff outside the log and MissingInput for one before which no horizon has closed.
    """
    last_day = store.last_day if as_of is None else min(as_of, store.last_day)
    job = Job(store, windows, settings, economics, last_day, tuple(modules), schemes or taxonomy.load(), keep)
    return run_job(job, cutoffs, progress)


def run_job(job: Job, cutoffs: Sequence[int], progress: Progress | None = None) -> BacktestResult:
    """`run` for what a job says."""
    first, last = job.store.first_day, job.last_day
    cutoffs = sorted(set(cutoffs)) or rolling(first, last, job.windows)
    _check(cutoffs, first, last)
    rows = pd.concat(job.rows(cutoffs, progress), ignore_index=True)
    keys = {cutoff: job.key(cutoff) for cutoff in cutoffs}
    return BacktestResult(rows, job.windows, job.store.currency, keys, job.settings.seed)


def rolling(first_day: int, last_day: int, windows: Windows, count: int = CUTOFFS) -> list[int]:
    """Cutoffs one horizon apart, so that no outcome counts twice, back from the last whose horizon has closed.

    The log must be at least two horizons old at each: one to learn from and its outcome. None where the log is shorter.
    """
    latest = last_day - windows.horizon
    wanted = [latest - k * windows.horizon for k in range(count)]
    return sorted(day for day in wanted if day >= first_day + 2 * windows.horizon) or [
        day for day in (latest,) if day > first_day
    ]


def _check(cutoffs: Sequence[int], first_day: int, last_day: int) -> None:
    allowed = f"{to_date(first_day)} to {to_date(last_day)}"
    if not cutoffs:
        raise UsageError("the log is shorter than one horizon: there is no cutoff to go back to", allowed=allowed)
    for cutoff in cutoffs:
        if not first_day <= cutoff <= last_day:
            raise UsageError("a cutoff lies outside the log", allowed=allowed, got=str(to_date(cutoff)))


@dataclass(frozen=True)
class Job:
    """All that a cutoff's rows depend on but the cutoff itself."""

    store: HistoryStore
    windows: Windows
    settings: Model
    economics: Economics
    last_day: int
    modules: tuple[str, ...]
    schemes: Schemes
    keep: Path | None = None
    cores: int | None = None  # cutoffs fitted at once; by default as many as the machine has cores for

    def key(self, cutoff: int) -> str:
        """Names the rows of a cutoff: the same inputs, the same name. Threads change nothing and are left out."""
        told = {
            "history": self.store.digest,
            "cutoff": cutoff,
            "closed": self.last_day >= cutoff + self.windows.horizon,
            "windows": self.windows.as_dict(),
            "model": self.settings.model_dump(exclude={"threads"}),
            "economics": self.economics.model_dump(include={"margin", "discount_rate", "years"}),
            "modules": {path: fingerprint(path) for path in self.modules},
            "stages": hashlib.sha256(self.schemes.path.read_bytes()).hexdigest(),
            "code": code(),
        }
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:20]

    def rows(
        self, cutoffs: Sequence[int], progress: Progress | None = None, prepared: Prepared | None = None
    ) -> list[pd.DataFrame]:
        """The rows of each cutoff, from its kept file where there is one. The others share what they read of the store
        (or what was `prepared` for them), and each is kept as soon as it is there. They are fitted side by side on the
        machine's cores, which changes no result."""
        found = {cutoff: kept_rows(self.keep, self.key(cutoff)) if self.keep else None for cutoff in cutoffs}
        missing = [cutoff for cutoff, rows in found.items() if rows is None]
        if missing and prepared is None:
            prepared = forecaster.prepare_for(
                self.store, missing, self.windows, self.settings, modules=self.modules, progress=progress
            )
        cores = min(len(missing), self.cores or cpu_count() // self.settings.threads)
        if cores > 1:
            each = Parallel(cores, return_as="generator")(delayed(self._made)(day, prepared, None) for day in missing)
        else:
            each = (self._made(day, prepared, progress) for day in missing if prepared is not None)
        for place, (cutoff, rows) in enumerate(zip(missing, each, strict=True), 1):
            if progress:
                progress(f"back-tested {place} of {len(missing)}: {to_date(cutoff)}")
            found[cutoff] = rows
        return [rows for rows in found.values() if rows is not None]

    def fit(self, cutoff: int, prepared: Prepared, progress: Progress | None) -> Forecaster:
        """The forecaster of a cutoff."""
        return forecaster.fit(
            self.store,
            cutoff,
            self.windows,
            self.settings,
            self.economics,
            modules=self.modules,
            prepared=prepared,
            progress=progress,
        )

    def _made(self, cutoff: int, prepared: Prepared, progress: Progress | None) -> pd.DataFrame:
        fitted = self.fit(cutoff, prepared, progress)
        rivals = rules.fit_prepared(prepared, cutoff)
        seen = fitted.snapshot(self.store, cutoff)
        truth = self._staged(outcomes(self.store, cutoff, self.windows, self.last_day), cutoff)
        parts = [_beside(truth, fitted.forecast_rows(seen), OURS)]
        parts += [_beside(truth, rule.forecast_rows(seen), name) for name, rule in rivals.items()]
        made = pd.concat(parts, ignore_index=True)
        made = made.assign(skill=fitted.skill.found, bundle=f"backtest-{self.key(cutoff)}")[["model", *KEPT]]
        if self.keep:
            write(made, self.keep / f"{self.key(cutoff)}.parquet")
        return made

    def _staged(self, truth: pd.DataFrame, cutoff: int) -> pd.DataFrame:
        """With the stage on the life curve, as lists print it."""
        stands = standing.look(self.store, cutoff, self.windows, self.schemes)
        stage = pd.Series(stands.stages(LIFE), index=stands.customer_id)
        return truth.assign(stage=stage.reindex(truth["customer_id"]).to_numpy(object))


def outcomes(store: HistoryStore, cutoff: int, windows: Windows, last_day: int) -> pd.DataFrame:
    """Who was at risk at a cutoff and what came: (customer_id, cutoff, churned, spend), NaN where not closed.

    `spend` is in major units of currency, gross, in (t, t+H].
    """
    seen = snapshot.build(store, [cutoff], windows, features=[], labels=True, as_of=last_day)
    columns = {"customer_id": seen.customer_id, "cutoff": seen.cutoff}
    return pd.DataFrame(columns | {name: seen.labels[name] for name in ("churned", "spend")})


def _beside(truth: pd.DataFrame, forecasts: pd.DataFrame, model: str) -> pd.DataFrame:
    """A model's forecasts beside what came: one row for everybody at risk, or this is an error of ours."""
    found = truth.merge(forecasts.drop(columns="cutoff"), on="customer_id", how="left", validate="one_to_one")
    if len(forecasts) != len(truth) or found["churn_probability"].isna().any():
        raise RuntimeError(f"{model} forecast {len(forecasts)} of {len(truth)} customers at risk")
    return found.assign(model=model)


def kept_rows(folder: Path, key: str) -> pd.DataFrame | None:
    """The rows of a cutoff as they were kept; None where they were not, or the file is not whole."""
    try:
        rows: pd.DataFrame = pq.read_table(folder / f"{key}.parquet", partitioning=None).to_pandas()
    except (OSError, pa.ArrowInvalid):
        return None
    return rows


def write(table: pd.DataFrame, path: Path) -> None:
    """A table as Parquet, whole or not at all. Raises CannotWrite."""
    unfinished = path.with_name(f"{path.name}.unfinished")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pandas(table, preserve_index=False), unfinished)
        unfinished.replace(path)
    except OSError as error:
        raise CannotWrite("the forecasts could not be written", where=str(path), got=str(error.strerror)) from error
    finally:
        unfinished.unlink(missing_ok=True)


def forget(folder: Path, customer_id: str) -> int:
    """Take a person out of every kept file; returns how many rows that were."""
    gone = 0
    for path in sorted(folder.glob("*.parquet")):
        rows = pq.read_table(path, partitioning=None).to_pandas()
        theirs = rows["customer_id"] == customer_id
        if theirs.any():
            write(rows[~theirs], path)
            gone += int(theirs.sum())
    return gone


@cache
def code() -> str:
    """sha256 of the code that forecasts depend on: the rooms features and models, as bundles name it."""
    return bundle.code_digest()


# -- the command -------------------------------------------------------------------------------------------------------


def command(
    config: Config, cutoffs: Sequence[int], out: Path | None = None, progress: Progress | None = None
) -> BacktestResult:
    """`holdfast backtest`: back-test, write the forecasts to `out` (Parquet), remember it as a run."""
    store = HistoryStore(config.var / "history")
    tracker = Tracker.of(config)
    with tracker.run("backtest", f"backtest {to_date(store.last_day)}") as tracked:
        log_inputs(tracked, config, store)
        result = run_job(job_of(config, store), cutoffs, progress)
        log_result(tracked, result)
    if out:
        write(result.forecasts, out)
    return result


def job_of(config: Config, store: HistoryStore, as_of: int | None = None) -> Job:
    """What the settings say a back-test depends on; rows are kept in `var/backtests`."""
    return Job(
        store,
        config.span,
        config.model,
        config.economics,
        store.last_day if as_of is None else min(as_of, store.last_day),
        own_features(config),
        taxonomy.beside(config.root),
        config.var / "backtests",
    )


def own_features(config: Config) -> tuple[str, ...]:
    """The shop's own feature files, as absolute paths."""
    return tuple(str(config.root / path) for path in config.features.modules)


def log_inputs(run: Run, config: Config, store: HistoryStore) -> None:
    """What a run was made of: every setting that forecasts depend on, the history and the code by their hashes."""
    told: dict[str, object] = {f"windows.{name}": value for name, value in config.span.as_dict().items()}
    told |= {f"model.{name}": value for name, value in config.model.model_dump().items()}
    told |= {f"economics.{name}": getattr(config.economics, name) for name in ("margin", "discount_rate", "years")}
    run.params(told)
    run.tags({"holdfast.code": code(), "holdfast.history_generation": store.generation})
    span = f"{to_date(store.first_day)} to {to_date(store.last_day)}"
    profile = json.dumps({"customers": store.customers_total, "tables": list(store.tables), "days": span})
    run.dataset(config.shop.name, store.digest, str(store.folder), profile)


def log_result(run: Run, result: BacktestResult) -> None:
    """Metrics per cutoff (their step is the day), segments, tables and pictures."""
    run.tags({"holdfast.backtest": " ".join(f"{to_date(day)}={key}" for day, key in sorted(result.keys.items()))})
    run.metrics(_series(result.table))
    run.table("tables/backtest.csv", _dated(result.table))
    run.text("backtest.txt", "\n".join(result.lines) + "\n")
    if result.closed:
        for name, table in segments(result).items():
            run.table(f"tables/calibration_by_{name}.csv", table)
            run.metrics(_segment_series(name, table))
        for name, picture in pictures(result).items():
            run.text(f"pictures/{name}.svg", picture)


def _series(table: pd.DataFrame) -> Iterable[tuple[str, float, int]]:
    """(name, value, day): `holdfast/auc`, `holdfast/auc_lower`, `_upper`; means over cutoffs as `mean/holdfast/auc`."""
    for line in table.to_dict("records"):
        mean = line["cutoff"] == "all"
        name, step = f"{'mean/' if mean else ''}{line['model']}/{line['metric']}", 0 if mean else int(line["cutoff"])
        for column in ("value", "lower", "upper"):
            yield name if column == "value" else f"{name}_{column}", float(line[column]), step


def _segment_series(by: str, table: pd.DataFrame) -> Iterable[tuple[str, float, int]]:
    for line in table.to_dict("records"):
        for column in ("predicted", "churned", "lower", "upper", "coverage"):
            yield f"{by}/{line['group']}/{column}", float(line.get(column, np.nan)), 0


def _dated(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(cutoff=[c if c == "all" else str(to_date(c)) for c in table["cutoff"]])


def segments(result: BacktestResult) -> dict[str, pd.DataFrame]:
    """Calibration of our forecasts by decile of risk, by decile of expected spend, by stage and by cutoff."""
    ours = result.judged(OURS)
    spent = metrics.bins_of(ours["expected_spend"].to_numpy(np.float64)) + 1
    ours = ours.assign(spend_decile=spent, day=[str(to_date(day)) for day in ours["cutoff"]])
    return {
        "decile": metrics.calibration(ours),
        "spend_decile": metrics.calibration(ours, "spend_decile"),
        "stage": metrics.calibration(ours, "stage"),
        "cutoff": metrics.calibration(ours, "day"),
    }


def pictures(result: BacktestResult) -> dict[str, str]:
    """The five pictures of a back-test, as SVG."""
    groups, ours = segments(result), result.table[result.table["model"] == OURS]
    curves = {name: metrics.gain_curve(result.judged(name)) for name in result.models}
    return {
        "reliability": figures.reliability(groups["decile"]),
        "gain": figures.gain(curves),
        "spend": figures.spend_by_decile(groups["spend_decile"], result.currency),
        "level": figures.level(ours[ours["cutoff"] != "all"]),
        "coverage": figures.coverage(groups["spend_decile"]),
    }
