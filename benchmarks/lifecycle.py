"""Stages, causes and satisfaction against a shop whose truth is known; stages, ledger and figures against their
features' time.

    python benchmarks/lifecycle.py [--quick] [--json FILE] [--customers N]

Prints a table *figure, value, interval, target, verdict* and exits 1 when a target is missed. Accuracy is measured
on five simulated shops (the interval is their span), each beside the simplest rule that could replace what is
measured. Time and memory are measured once, on one shop of N customers (a million, or 100,000 with --quick):
everything of one date beside the whole catalogue of that date in the same run.

Truth: what a customer's latent state says on the last day. *Stage* is compared among those who have bought: the S4
stages and lapsed. *Cause* among those whom the truth calls declining or lapsed with a cause and whom the report
judges. *Dissatisfied* means aggrieved: with a grievance that has not healed."""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path = [place for place in sys.path if Path(place).resolve() != Path(__file__).resolve().parent]  # not this file
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402

from features import config, ingest, snapshot  # noqa: E402
from features.lifecycle import standing, taxonomy  # noqa: E402
from features.lifecycle.passes import gather, histories  # noqa: E402
from features.store import HistoryStore  # noqa: E402
from features.windows import to_date  # noqa: E402
from models import profit, satisfaction, segments  # noqa: E402
from serving import findings, kpis  # noqa: E402
from training import simulate  # noqa: E402

SEEDS = (1, 2, 3, 4, 5)
STAGES = ("exploration", "growth", "stable", "decline", "lapsed")


@dataclass(frozen=True)
class Figure:
    """One line of the table; `target` None is for information."""

    figure: str
    value: float
    low: float
    high: float
    target: str | None = None
    held: bool = True

    def __str__(self) -> str:
        verdict = "" if self.target is None else "held" if self.held else "MISSED"
        interval = f"{self.low:.3g} to {self.high:.3g}"
        return f"| {self.figure:<78} | {self.value:>9.3g} | {interval:>18} | {self.target or '':>8} | {verdict:<6} |"


def told(figure: str, values: Sequence[float]) -> Figure:
    return Figure(figure, float(np.median(values)), min(values), max(values))


def above(figure: str, values: Sequence[float], least: float) -> Figure:
    value = float(np.median(values))
    return Figure(figure, value, min(values), max(values), f"> {least:g}", value > least)


def at_most(figure: str, values: Sequence[float], most: float) -> Figure:
    value = float(np.median(values))
    return Figure(figure, value, min(values), max(values), f"<= {most:g}", value <= most)


# -- accuracy ----------------------------------------------------------------------------------------------------------


def accuracy(customers: int, folder: Path) -> Iterator[Figure]:
    """Stage, cause and satisfaction against the truth of several shops."""
    runs = [_one_shop(customers, seed, folder / f"shop{seed}") for seed in SEEDS]
    frame = pd.DataFrame([scores for scores, _ in runs])
    for what, ours, rule, named in (
        ("stage: macro F1", "stage", "stage rule", "at risk is stable, the rest lapsed"),
        ("stage: macro F1", "stage", "stage recency", "four bands of recency"),
        ("cause: macro F1", "cause", "cause rule", "always the most frequent"),
        ("dissatisfied: AUC of the proxy", "mood", "mood rule", "an open complaint or none"),
    ):
        yield above(f"{what} less that of the rule ({named})", list(frame[ours] - frame[rule]), 0.0)
    for name in frame.columns:
        yield told(name, list(frame[name]))
    print("\nstage: truth down, ours across (first shop, customers)\n")
    print(runs[0][1].to_string(), "\n")


def _one_shop(customers: int, seed: int, folder: Path) -> tuple[dict[str, float], pd.DataFrame]:
    simulate.shop(customers, seed, folder)
    chosen = config.load(folder / "holdfast.toml")
    ingest.ingest(chosen)
    f = findings.find(chosen)
    truth = _truth(folder, f.as_of).reindex(pd.Index(f.now.customer_id))
    bought = f.now.bought & truth["stage"].notna().to_numpy()
    true, ours = truth["stage"].to_numpy(object)[bought], f.now.stages("life")[bought]
    recency, H, A = f.now.column("recency")[bought], chosen.span.horizon, chosen.span.active
    simple = np.where(recency < A, "stable", "lapsed").astype(object)
    banded = np.select([recency < H / 3, recency < H, recency < A], ["growth", "stable", "decline"], "lapsed")
    scores = {
        "stage": macro_f1(true, ours),
        "stage rule": macro_f1(true, simple),
        "stage recency": macro_f1(true, banded.astype(object)),
        "stage: accuracy": float((true == ours).mean()),
        "stage rule: accuracy": float((true == simple).mean()),
    }
    table = pd.crosstab(pd.Series(true, name="truth"), pd.Series(ours, name="ours"))
    return {**scores, **_cause_scores(f, truth), **_mood_scores(f, truth)}, table


def _truth(folder: Path, as_of: int) -> pd.DataFrame:
    """State, stage and cause of each customer on the last day, and the last cause there ever was."""
    spells = pd.read_parquet(folder / "truth" / "spells.parquet")
    spells = spells[pd.to_datetime(spells["since"]).dt.date <= to_date(as_of)].sort_values("since", kind="stable")
    return spells.groupby("customer_id").last()


def _cause_scores(f: findings.Findings, truth: pd.DataFrame) -> dict[str, float]:
    judged = f.causes.set_index("customer_id")["cause"]
    true = truth["cause"].reindex(judged.index)
    known = true.notna().to_numpy()
    names = {"life cycle": "own life cycle", "contact": "own life cycle"}
    actual = np.array([names.get(str(one), str(one)) for one in true[known]], object)
    ours = judged[known].to_numpy(object)
    most = max(sorted(set(actual)), key=lambda one: (actual == one).sum())
    always = np.full(len(actual), most, object)
    return {
        "cause": macro_f1(actual, ours),
        "cause rule": macro_f1(actual, always),
        "cause: accuracy": float((actual == ours).mean()),
        "cause rule: accuracy": float((actual == always).mean()),
    }


def _mood_scores(f: findings.Findings, truth: pd.DataFrame) -> dict[str, float]:
    """Of customers at risk: does the proxy put the aggrieved below the rest?"""
    here = f.now.at_risk & truth["state"].notna().to_numpy()
    angry = truth["state"].to_numpy(object)[here]
    aggrieved = np.array(["aggrieved" in str(state) for state in angry])
    stand_in = satisfaction.proxy(f.columns(satisfaction.FEATURES))[here]
    complaint = np.nan_to_num(f.now.column("open_complaints")[here]) > 0
    return {
        "mood": auc(-np.nan_to_num(stand_in, nan=satisfaction.NEUTRAL), aggrieved),
        "mood rule": auc(complaint.astype(float), aggrieved),
    }


def macro_f1(true: np.ndarray, ours: np.ndarray) -> float:
    """Mean F1 over the classes that the truth holds."""
    scores = []
    for name in sorted(set(true)):
        hit = float(((true == name) & (ours == name)).sum())
        scores.append(2 * hit / max(float((true == name).sum() + (ours == name).sum()), 1.0))
    return float(np.mean(scores))


def auc(score: np.ndarray, positive: np.ndarray) -> float:
    """Chance that a positive has the higher score, ties half."""
    rank = pd.Series(score).rank().to_numpy()
    n1, n0 = positive.sum(), (~positive).sum()
    return float((rank[positive].sum() - n1 * (n1 + 1) / 2) / max(n1 * n0, 1))


# -- time --------------------------------------------------------------------------------------------------------------


def cost(customers: int, folder: Path) -> Iterator[Figure]:
    """Everything of one date against the whole catalogue of that date, in one run."""
    simulate.shop(customers, 7, folder / "large", truth_every=104)
    chosen = config.load(folder / "large" / "holdfast.toml")
    ingest.ingest(chosen)
    store = HistoryStore(chosen.var / "history")
    span, day, spent = chosen.span, store.last_day, {}

    def timed(name: str, start: float) -> None:
        spent[name] = time.perf_counter() - start

    start = time.perf_counter()
    rows = snapshot.build(store, [day], span, at="known", labels=False)
    timed("features", start)
    known, columns = len(rows), rows.X.shape[1]
    del rows
    start = time.perf_counter()
    names = (*satisfaction.FEATURES, *segments.FEATURES, "spend_total")
    schemes = taxonomy.load()
    stands, earns = standing.asks(store, schemes, names), profit.asks(0.3, 0.1)
    found = gather(histories(store, [day], span), lambda h: {**stands(h), **earns(h)})
    now = standing.of(store, day, span, schemes, found=found, extra=names)
    profit.of(store, day, found=found, margin=0.3, discount_rate=0.1)
    timed("stages, tiers and ledger", start)
    start = time.perf_counter()
    segments.rfm(now.column("recency"), now.column("frequency"), now.column("spend_total"))
    mood = satisfaction.known({n: now.column(n) for n in satisfaction.FEATURES}, fresh=364)
    satisfaction.quadrants(now.tier == 3, mood.value)
    segments.cluster({n: now.column(n) for n in segments.CLUSTERED}, now.customer_id)
    timed("segments", start)
    start = time.perf_counter()
    kpis.weekly(store, day, span, weeks=1)
    timed("figures", start)
    mine = sum(seconds for name, seconds in spent.items() if name != "features")
    yield at_most(f"{known:,} customers: lifecycle / {columns} features", [mine / spent["features"]], 1.0)
    for name, seconds in spent.items():
        yield told(f"seconds: {name}", [seconds])
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    yield at_most("peak memory of the whole run, GB", [memory], 4.0)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="small shops, under five minutes")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--customers", type=int, help="of the timed shop; a million by default")
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="holdfast-lifecycle-"))
    figures = []
    try:
        print(f"| {'figure':<78} | {'value':>9} | {'interval':>18} | {'target':>8} | verdict |")
        large = asked.customers or (100_000 if asked.quick else 1_000_000)
        for part in (accuracy(6_000 if asked.quick else 30_000, folder), cost(large, folder)):
            for figure in part:
                print(figure, flush=True)
                figures.append(figure)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if asked.json:
        asked.json.write_text(json.dumps([asdict(figure) for figure in figures], indent=1) + "\n", encoding="utf-8")
    return 0 if all(figure.held for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
