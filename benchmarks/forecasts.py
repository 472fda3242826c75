"""Forecasts that hold: CDNOW beside its published rivals, simulated shops with a known law, chance, and the cost of it.

    python benchmarks/forecasts.py [--quick] [--json FILE] [--only WORD ...]

Prints a table *figure, value, interval, target, verdict* and exits 1 when a target is missed. Intervals are 90 %
bootstrap intervals by customer, or the span over seeds where there are several. What cannot be measured here is a line
that says why. The CDNOW log is looked for beside the project or where HOLDFAST_LOGS says;
`--quick` (under five minutes on two idle cores) takes fewer seeds, fewer shops and smaller matrices. `--only` keeps to
the parts named: cdnow, shops, chance, faint, truncation, cost, machine.

Cost is processor time, all in one run, so that the figures are ratios and a busy machine does not show.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import resource
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TypeVar

sys.path = [place for place in sys.path if Path(place).resolve() != Path(__file__).resolve().parent]  # not this file
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import lightgbm as lgb  # noqa: E402
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from joblib.externals.loky import get_reusable_executor  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from features import config as settings  # noqa: E402
from features import ingest  # noqa: E402
from features.config import Config  # noqa: E402
from features.store import HistoryStore  # noqa: E402
from features.windows import to_date, to_day  # noqa: E402
from models import forecaster  # noqa: E402
from models.forest import Forest  # noqa: E402
from models.process.bgnbd import BGNBD  # noqa: E402
from models.process.likelihood import group  # noqa: E402
from training import backtest, metrics, simulate  # noqa: E402
from training.backtest import OURS, BacktestResult, Job  # noqa: E402

PROJECT = Path(__file__).resolve().parent.parent
LOGS = Path(os.environ.get("HOLDFAST_LOGS", PROJECT.parent / "shared" / "data"))

# CDNOW, H 91, A 182: the best of recency, own cadence, RFM logistic regression, and of BG/NBD and Pareto/NBD with
# Gamma-Gamma fitted by pymc-marketing (MAP); each figure is the best of them all, so no single rival has the row.
RIVALS: Mapping[str, Mapping[str, float]] = {
    "1997-12-31": {"auc": 0.7007, "log_loss": 0.6106, "brier": 0.2113, "gini": 0.626, "level": 0.05},
    "1998-01-31": {"auc": 0.7047, "log_loss": 0.6139, "brier": 0.2120, "gini": 0.639, "level": 0.05},
    "1998-03-31": {"auc": 0.7226, "log_loss": 0.5916, "brier": 0.2021, "gini": 0.655, "level": 0.07},
}
SHOPS = ("shop", "christmas", "growth", "price_shock", "one_product", "cohort")
COVERAGE = (0.88, 0.94)
ALIKE = 7.0  # shape of the law of purchase rates in the faint shop: AUC about .60 (in a usual shop it is 1)
Made = TypeVar("Made")


@dataclass(frozen=True)
class Figure:
    """One line of the table; `target` None is for information, `why` says why there is no value."""

    figure: str
    value: float
    low: float = np.nan
    high: float = np.nan
    target: str | None = None
    held: bool = True
    why: str = ""

    def __str__(self) -> str:
        if self.why:
            return f"| {self.figure:<64} | {'–':>9} | {self.why}"
        verdict = "" if self.target is None else "held" if self.held else "MISSED"
        interval = f"{self.low:.4g} to {self.high:.4g}" if np.isfinite(self.low) else ""
        return f"| {self.figure:<64} | {self.value:>9.4g} | {interval:>20} | {self.target or '':>14} | {verdict:<6} |"


def above(figure: str, found: metrics.Estimate, least: float) -> Figure:
    return Figure(figure, found.value, found.lower, found.upper, f"> {least:g}", found.value > least)


def below(figure: str, found: metrics.Estimate, most: float) -> Figure:
    return Figure(figure, found.value, found.lower, found.upper, f"< {most:g}", found.value < most)


def between(figure: str, found: metrics.Estimate, least: float, most: float) -> Figure:
    target = f"{least:g} to {most:g}"
    return Figure(figure, found.value, found.lower, found.upper, target, least <= found.value <= most)


def span(values: Sequence[float]) -> metrics.Estimate:
    """The median with the smallest and the largest."""
    return metrics.Estimate(float(np.median(values)), float(min(values)), float(max(values)))


# -- shops -------------------------------------------------------------------------------------------------------------


def take_in(folder: Path, purchases: pd.DataFrame, horizon: int = 91, active: int = 182) -> Config:
    """A shop of purchases alone (customer_id, at, amount), ingested."""
    folder.mkdir(parents=True, exist_ok=True)
    purchases[["customer_id", "at", "amount"]].to_parquet(folder / "purchases.parquet")
    (folder / "holdfast.toml").write_text(
        f'[tables.purchases]\npath = "purchases.parquet"\n[windows]\nhorizon = {horizon}\nactive = {active}\n',
        encoding="utf-8",
    )
    chosen = settings.load(folder / "holdfast.toml")
    ingest.ingest(chosen)
    return chosen


def simulated(
    folder: Path, scenario: str, customers: int, seed: int, *, weeks: int = 104, alike: float | None = None
) -> Config:
    """The purchases of a simulated shop, without its other tables; `alike` is the shape of its law of rates."""
    law = simulate.of(scenario)
    law = law if alike is None else replace(law, rate_shape=alike)
    simulate.shop(customers, seed, folder / "all", parameters=law, weeks=weeks)
    return take_in(folder / "bare", pd.read_parquet(folder / "all" / "purchases.parquet"))


def job_of(config: Config) -> Job:
    """Nothing is kept from an earlier benchmark."""
    return replace(backtest.job_of(config, HistoryStore(config.var / "history")), keep=None)


# -- parts -------------------------------------------------------------------------------------------------------------


def cdnow(folder: Path, quick: bool) -> Iterator[Figure]:
    """The published log under the usual protocol."""
    log = LOGS / "cdnow" / "transactions.parquet"
    if not log.exists():
        yield Figure("CDNOW", np.nan, why=f"no log at {log}; HOLDFAST_LOGS names the folder of the logs")
        return
    config = take_in(folder / "cdnow", pd.read_parquet(log).rename(columns={"ordered_at": "at"}))
    result = backtest.run_job(job_of(config), [to_day(day) for day in RIVALS])
    for cutoff in result.closed:
        yield from _cdnow_at(result, cutoff)
    yield from _beside_rules("CDNOW", result)


def _cdnow_at(result: BacktestResult, cutoff: int) -> Iterator[Figure]:
    day, best = str(to_date(cutoff)), RIVALS[str(to_date(cutoff))]
    found = metrics.measure(result.judged(OURS).query("cutoff == @cutoff"))
    name = f"CDNOW {day}"
    yield above(f"{name}: AUC (target: best rival)", found["auc"], best["auc"])
    yield below(f"{name}: log loss (target: best rival)", found["log_loss"], best["log_loss"])
    yield below(f"{name}: Brier (target: best rival)", found["brier"], best["brier"])
    yield above(f"{name}: Gini of spend", found["gini"], best["gini"] - 5e-4)
    yield below(f"{name}: calibration error", found["ece"], 0.03)
    yield between(f"{name}: level", found["level"], 1 - best["level"], 1 + best["level"])
    yield between(f"{name}: share inside the 90 % interval", found["coverage"], *COVERAGE)
    yield Figure(f"{name}: predicted over realised spend", *_numbers(found["total"]))


def _numbers(found: metrics.Estimate) -> tuple[float, float, float]:
    return found.value, found.lower, found.upper


def _beside_rules(name: str, result: BacktestResult) -> Iterator[Figure]:
    """Ours less the best rule of the same run, paired by customer, mean of the cutoffs."""
    for metric in ("auc", "log_loss", "brier", "gini"):
        better = metrics.METRICS[metric].better
        rule = result.best_rule(metric) or ""
        found = metrics.difference(result.judged(OURS), result.judged(rule), [metric])[metric]
        held = found.value * better > 0 or found.lower <= 0 <= found.upper
        target = "better or equal"
        yield Figure(f"{name}: {metric} less that of {rule}", *_numbers(found), target=target, held=held)


def shops(folder: Path, quick: bool) -> Iterator[Figure]:
    """Simulated shops of one kind each, the last two cutoffs of a rolling origin."""
    for scenario in SHOPS[1:3] if quick else SHOPS:
        config = simulated(folder / scenario, scenario, 3_000 if quick else 8_000, 1, weeks=130)
        yield from _shop(scenario, config, 1 if quick else 2)
    yield from _shop("shop of 200 customers", simulated(folder / "few", "shop", 200, 1), 1, strict=False)
    short = pd.read_parquet(folder / "few" / "all" / "purchases.parquet")
    first = short["at"].min()
    config = take_in(folder / "short", short[short["at"] < first + pd.Timedelta(days=30)], 7, 21)
    yield from _shop("30 days of history (H 7)", config, 1, strict=False)


def _shop(name: str, config: Config, cutoffs: int, strict: bool = True) -> Iterator[Figure]:
    """`strict`: enough customers for calibration to be a target and not only a figure."""
    job = job_of(config)
    days = backtest.rolling(job.store.first_day, job.last_day, job.windows, cutoffs)
    result = backtest.run_job(job, days)
    for cutoff in result.closed:
        found = metrics.measure(result.judged(OURS).query("cutoff == @cutoff"))
        where = f"{name} {to_date(cutoff)}"
        yield Figure(f"{where}: AUC", *_numbers(found["auc"]))
        if strict:
            yield below(f"{where}: calibration error (floor + .015)", found["ece"], found["ece_floor"].value + 0.015)
            yield between(f"{where}: share inside the 90 % interval", found["coverage"], *COVERAGE)
        else:
            yield Figure(f"{where}: calibration error", *_numbers(found["ece"]))
        yield Figure(f"{where}: level", *_numbers(found["level"]))
        yield Figure(f"{where}: predicted over realised spend", *_numbers(found["total"]))
    yield from _beside_rules(name, result)
    if strict:
        yield from _groups(name, result)


def _groups(name: str, result: BacktestResult) -> Iterator[Figure]:
    """Groups whose churn rate's 90 % interval holds what was predicted; nine in ten would be chance."""
    for by, table in backtest.segments(result).items():
        if by in ("decile", "stage"):
            large = table[table["customers"] >= 50]
            inside = (large["predicted"] >= large["lower"]) & (large["predicted"] <= large["upper"])
            yield Figure(f"{name}: share of groups by {by} whose level is inside its interval", float(inside.mean()))


def chance(folder: Path, quick: bool) -> Iterator[Figure]:
    """Customers who are all alike and buy at random: nothing can be forecast, and that must be said."""
    found: list[tuple[float, ...]] = []
    seeds = range(1, 5 if quick else 21)
    for seed in seeds:
        result = _latest(simulated(folder / f"chance{seed}", "random", 1_500 if quick else 3_000, seed))
        ours = result.judged(OURS)
        rate, p = float(ours["churned"].mean()), ours["churn_probability"].to_numpy()
        base = ours.assign(churn_probability=rate)
        loss = metrics.difference(ours, base, ["log_loss"])["log_loss"].value
        found.append((float(not ours["skill"].any()), rate, float(p.min()), float(p.max()), loss))
        shutil.rmtree(folder / f"chance{seed}")
    silent, rates, low, high, losses = np.array(found).T
    least = len(seeds) - 1
    yield Figure(
        f"chance: 'no skill' said, of {len(seeds)} seeds",
        silent.sum(),
        target=f">= {least}",
        held=silent.sum() >= least,
    )
    known = float(rates.mean())  # all alike and memoryless: the base rate is one number, best known from all seeds
    off = np.maximum(np.abs(low - known), np.abs(high - known))
    yield below("chance: farthest probability from the base rate", span(off.tolist()), 0.02)
    yield below("chance: log loss over that of the base rate", span(losses.tolist()), 0.001)


def faint(folder: Path, quick: bool) -> Iterator[Figure]:
    """Customers who differ a little: it must be found."""
    found: list[tuple[float, ...]] = []
    seeds = range(1, 4 if quick else 21)
    for seed in seeds:
        result = _latest(simulated(folder / f"faint{seed}", "faint", 3_000, seed, alike=ALIKE))
        ours = result.judged(OURS)
        found.append((float(ours["skill"].all()), metrics.measure(ours, ["auc"])["auc"].value))
        shutil.rmtree(folder / f"faint{seed}")
    said, areas = np.array(found).T
    yield Figure("faint signal: AUC of holdfast", *_numbers(span(areas.tolist())))
    yield _counted(f"faint signal: skill found, of {len(seeds)} seeds", said, len(seeds) - max(1, len(seeds) // 10))


def _counted(figure: str, said: NDArray[np.float64], least: int) -> Figure:
    count = float(said.sum())
    return Figure(figure, count, target=f">= {least}", held=count >= least)


def _latest(config: Config) -> BacktestResult:
    job = job_of(config)
    return backtest.run_job(job, [job.last_day - job.windows.horizon])


def truncation(folder: Path, quick: bool) -> Iterator[Figure]:
    """A log cut at the cutoff gives the same forecasts as the whole log, to the last bit."""
    simulate.shop(1_000 if quick else 4_000, 3, folder / "whole")
    log = pd.read_parquet(folder / "whole" / "purchases.parquet")
    whole = take_in(folder / "a", log)
    cutoff = HistoryStore(whole.var / "history").last_day - 60
    cut = take_in(folder / "b", log[log["at"] < pd.Timestamp(to_date(cutoff + 1))])
    one, other = (backtest.run_job(job_of(config), [cutoff]).forecasts for config in (whole, cut))
    numbers = one.select_dtypes("number").columns
    same = one[["customer_id"]].equals(other[["customer_id"]])
    apart = float(np.nanmax(np.abs(one[numbers].to_numpy() - other[numbers].to_numpy()))) if same else np.inf
    yield Figure("truncation: largest difference of any forecast", apart, target="= 0", held=apart == 0.0)


def cost(folder: Path, quick: bool) -> Iterator[Figure]:
    """A back-test of twelve cutoffs beside one training."""
    config = simulated(folder / "cost", "shop", 3_000 if quick else 12_000, 5, weeks=156)
    job, step = replace(job_of(config), cores=1), 14  # one after another: what is counted is work, not waiting
    days = [job.last_day - job.windows.horizon - step * k for k in range(12)][::-1]
    job.rows(days[-1:])  # libraries are loaded and compiled before anything is timed
    one = _seconds(lambda: job.rows(days[-1:]))
    twelve = _seconds(lambda: job.rows(days))
    yield Figure("cost: one training with its rules, processor seconds", one)
    yield Figure("cost: 12 cutoffs over one training", twelve / one, target="<= 13", held=twelve <= 13 * one)
    kept = replace(job, keep=folder / "kept")
    kept.rows(days[-1:])
    again = _seconds(lambda: kept.rows(days[-1:]))
    yield Figure("cost: the same cutoff asked again, share of the first time", again / one)


def machine(folder: Path, quick: bool) -> Iterator[Figure]:
    """Beside the bare library: fitting, scoring, and the purchase process."""
    config = simulated(folder / "machine", "shop", 20_000 if quick else 60_000, 9)
    job = job_of(config)
    rows = 24_000 if quick else 400_000
    chosen = config.model.model_copy(update={"rows": rows})
    cutoff = job.last_day
    prepared = forecaster.prepare_for(job.store, [cutoff], job.windows, chosen)
    told = (job.store, cutoff, job.windows, chosen, config.economics)
    made, ours = _timed(lambda: forecaster.fit(*told, prepared=prepared))
    training = prepared.training(prepared.plans[cutoff])
    churned = training.labels["churned"]
    params = {"objective": "binary", "verbosity": -1, "num_threads": 1, "num_leaves": 31, "max_bin": 255}
    bare = _seconds(lambda: lgb.train(params, lgb.Dataset(training.X, label=churned), num_boost_round=100))
    name = f"machine: fit over LightGBM's defaults on {len(training):,} x {training.X.shape[1]}"
    yield Figure(name, ours / bare, target="< 3" if not quick else None, held=ours < 3 * bare)
    yield from _scoring(job, made, cutoff, 100_000 if quick else 1_000_000)
    yield from _process(made, job, cutoff)


def _scoring(job: Job, made: forecaster.Forecaster, cutoff: int, customers: int) -> Iterator[Figure]:
    seen = made.snapshot(job.store, cutoff)
    many = seen.take(np.resize(np.arange(len(seen)), customers))
    if made.models is None or not made.skill.found:
        yield Figure("machine: scoring over bare predict", np.nan, why="the simulated shop gave no skill")
        return
    ours = _seconds(lambda: made.forecast_rows(many))
    X, forests = made.view(many).X, list(_forests(made.models))
    bare = _seconds(lambda: [booster.predict(X, num_threads=1) for forest in forests for booster in forest.boosters])
    name = f"machine: scoring {customers:,} customers over bare predict of the same {len(forests)} forests"
    yield Figure(name, ours / bare, target="<= 2", held=ours <= 2 * bare)


def _forests(value: object) -> Iterator[Forest]:
    """Every forest that a fitted value holds, however deep."""
    if isinstance(value, Forest):
        yield value
    elif isinstance(value, tuple):
        for part in value:
            yield from _forests(part)
    elif hasattr(value, "__dataclass_fields__"):
        for name in value.__dataclass_fields__:
            yield from _forests(getattr(value, name))


def _process(made: forecaster.Forecaster, job: Job, cutoff: int) -> Iterator[Figure]:
    seen = made.snapshot(job.store, cutoff, at="seen")
    x, tx, T = (seen.column(f"btyd_{name}").astype(float)[:20_000] for name in ("frequency", "recency", "age"))
    ours = _seconds(lambda: BGNBD.fit(group(x, tx, T)))
    yield Figure(f"machine: BG/NBD on {len(x):,} customers, processor seconds", ours)
    name = "machine: pymc-marketing's MAP over ours"
    if importlib.util.find_spec("pymc_marketing") is None:
        yield Figure(name, np.nan, why="pymc-marketing is not installed (it wants an environment of its own)")
        return
    from pymc_marketing import clv  # type: ignore[import-not-found]

    weeks = {"frequency": x, "recency": tx / 7, "T": np.maximum(T, 1) / 7}
    data = pd.DataFrame({"customer_id": np.arange(len(x)), **weeks})
    theirs = _seconds(lambda: clv.BetaGeoModel(data=data).fit(method="map", progressbar=False))
    yield Figure(name, theirs / ours, target=">= 50", held=theirs >= 50 * ours)


def _timed(work: Callable[[], Made]) -> tuple[Made, float]:
    """What the work made and the processor time it took, that of its worker processes included."""
    start = _used()
    made = work()
    get_reusable_executor().shutdown(wait=True)  # only workers that have ended are counted
    return made, _used() - start


def _used() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def _seconds(work: Callable[[], object]) -> float:
    return _timed(work)[1]


PARTS = {f.__name__: f for f in (cdnow, shops, chance, faint, truncation, cost, machine)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="under five minutes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the figures as JSON")
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS), help="these parts alone")
    asked = parser.parse_args()
    found: list[Figure] = []
    print(f"| {'figure':<64} | {'value':>9} | {'interval':>20} | {'target':>14} | {'verdict':<6} |")
    print(f"|{'-' * 66}|{'-' * 11}|{'-' * 22}|{'-' * 16}|{'-' * 8}|")
    with tempfile.TemporaryDirectory() as place:
        for name in asked.only:
            for figure in PARTS[name](Path(place) / name, asked.quick):
                print(figure, flush=True)
                found.append(figure)
    if asked.json:
        told = [
            {k: None if isinstance(v, float) and np.isnan(v) else v for k, v in asdict(figure).items()}
            for figure in found
        ]
        asked.json.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    missed = [figure.figure for figure in found if not figure.held]
    targets = sum(figure.target is not None for figure in found)
    print(f"\n{len(missed)} of {targets} targets missed" if missed else f"\nall {targets} targets held")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
