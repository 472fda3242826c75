"""Is the champion still right? Three looks, each with a line beyond which somebody should act.

*Drift now*: the features of today's customers beside those the bundle learned from, as population stability index
(Siddiqi 2006), feature by feature; it needs no outcome and warns first. *Closed forecasts*: what was published a
horizon ago and has come true or not: level, calibration, lift. *Age*: a bundle that has not seen the last horizon has
not seen the last season. The first asks for a look, the others for a retraining; the numbers stand beside their
intervals, and a list that was acted on is judged on the customers nobody acted on, since acting was meant to make
forecasts wrong.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray

from features.config import Config
from features.errors import MissingInput
from features.snapshot import Snapshot
from features.store import HistoryStore
from features.windows import Windows, to_date, to_day
from models import bundle
from models.forecaster import Forecaster
from training import metrics, printed
from training.backtest import outcomes
from training.journal import Journal
from training.metrics import Estimate

Floats = NDArray[np.float64]

FORECAST = "churn_probability"
TREATED, DAYS = "treated", ("entered", "closes")  # the ledger's words
GROUPS = 10  # of equal size among what was learned from
LOOK, ACT = 0.10, 0.25  # of the index: the customary lines (Siddiqi 2006)
LEVEL = (0.9, 1.1)  # predicted over realised: outside with its whole interval is wrong
ENOUGH = 300  # customers nobody acted on, to be judged on them alone
SMALLEST = 1e-4  # of a share, so that an empty group is a large drift and not an infinite one


@dataclass(frozen=True)
class Reference:
    """A feature as it was learned from: the inner edges of at most GROUPS groups (repeated values make fewer), and the
    share of rows in each, the last being those where the feature is absent."""

    edges: tuple[float, ...]
    shares: tuple[float, ...]

    @classmethod
    def of(cls, values: NDArray[np.float32]) -> Reference:
        known = values[np.isfinite(values)].astype(np.float64)
        inner = np.linspace(0, 1, GROUPS + 1)[1:-1]
        edges = np.unique(np.quantile(known, inner, method="lower")) if len(known) else np.empty(0)
        return cls(tuple(map(float, edges)), tuple(map(float, shares_of(values, edges))))


def shares_of(values: NDArray[np.float32], edges: Floats) -> Floats:
    """Share of rows in each group: up to and with the first edge, ..., above the last, and absent."""
    known = values[np.isfinite(values)].astype(np.float64)
    counts = np.bincount(np.searchsorted(edges, known, side="left"), minlength=len(edges) + 1)
    return np.append(counts, len(values) - len(known)) / max(len(values), 1)


def psi(expected: Sequence[float], seen: Sequence[float]) -> float:
    """Population stability index: sum over groups of (seen - expected) x ln(seen / expected).

    0 is the same distribution; it is a symmetrised relative entropy, so groups of equal size weigh alike.
    """
    e, s = np.clip(expected, SMALLEST, None), np.clip(seen, SMALLEST, None)
    return float(((s - e) * np.log(s / e)).sum())


def noise(groups: int, seen: int) -> float:
    """The index to expect where nothing drifted, from the sampling of `seen` rows: (groups - 1) / seen."""
    return (groups - 1) / max(seen, 1)


def drift(reference: Mapping[str, Reference], now: Snapshot) -> pd.DataFrame:
    """(feature, psi, noise, look) of every feature that was learned from, the most drifted first.

    `look`: "" below LOOK or within the noise of a small shop, "look" above, "act" above ACT.
    """
    lines = []
    for name, learned in reference.items():
        seen = shares_of(now.column(name), np.asarray(learned.edges))
        index, floor = psi(learned.shares, seen.tolist()), noise(len(learned.shares), len(now))
        lines.append({"feature": name, "psi": index, "noise": floor, "look": _look(index - 2 * floor)})
    found = pd.DataFrame(lines, columns=["feature", "psi", "noise", "look"])
    return found.sort_values(["psi", "feature"], ascending=[False, True], ignore_index=True)


def _look(excess: float) -> str:
    return "act" if excess >= ACT else "look" if excess >= LOOK else ""


@dataclass(frozen=True)
class Closed:
    """One publication whose horizon has closed: `metrics` of its forecasts on `customers` customers, `untouched` when
    those that were acted on were left out, `better` the log loss of the base rate less ours (above 0: worth having)."""

    name: str
    cutoff: int
    customers: int
    untouched: bool
    metrics: Mapping[str, Estimate]
    better: Estimate

    @property
    def wrong(self) -> list[str]:
        """What is wrong beyond its interval."""
        level, lift = self.metrics["level"], self.metrics["lift"]
        found = []
        if level.upper < LEVEL[0] or level.lower > LEVEL[1]:
            found.append(f"the level is {printed.interval('level', level)}, allowed {LEVEL[0]} to {LEVEL[1]}")
        if lift.upper < 1:
            found.append(f"the top of the list churned less than the rest: lift {printed.interval('lift', lift)}")
        if self.better.upper < 0:
            found.append(f"one rate for all would have been better: {printed.difference('log_loss', self.better)}")
        return found


@dataclass(frozen=True)
class Report:
    """What was looked at; `reasons` to act, none where all is fine."""

    bundle: str
    as_of: int
    customers: int
    drift: pd.DataFrame
    closed: tuple[Closed, ...]
    held_out: pd.DataFrame
    reasons: tuple[str, ...]

    @property
    def act(self) -> bool:
        """Whether somebody should do something: `holdfast monitor` then leaves with 10."""
        return bool(self.reasons)

    @property
    def lines(self) -> list[str]:
        """The report as text."""
        lines = [f"{self.bundle} on {to_date(self.as_of)}: {self.customers:,} customers at risk", ""]
        lines += [*_drift_lines(self.drift), "", *_closed_lines(self.closed), *_held_out_lines(self.held_out), ""]
        return lines + ([f"act: {reason}" for reason in self.reasons] or ["fine: nothing to act on"])


def _drift_lines(found: pd.DataFrame, shown: int = 8) -> list[str]:
    if found.empty:
        return ["drift: the bundle says nothing of what it learned from"]
    lines = found.head(shown).to_dict("records")
    body = [[str(at["feature"]), f"{at['psi']:.3f}", f"{at['noise']:.3f}", str(at["look"])] for at in lines]
    head = f"drift of {len(found)} features against training (index; {LOOK} asks for a look, {ACT} to act):"
    return [head, *printed.aligned(["feature", "index", "noise", ""], body)]


def _closed_lines(closed: Sequence[Closed]) -> list[str]:
    if not closed:
        return ["closed forecasts: none yet; the first closes one horizon after the first list"]
    shown = ("level", "lift", "auc", "log_loss", "ece")
    body = [[c.name, f"{c.customers:,}", *(printed.interval(m, c.metrics[m]) for m in shown)] for c in closed]
    who = "those nobody acted on" if all(c.untouched for c in closed) else "everybody forecast"
    return [f"closed forecasts ({who}):", *printed.aligned(["list", "customers", *shown], body)]


def _held_out_lines(found: pd.DataFrame) -> list[str]:
    if found.empty:
        return []
    body = [
        [
            str(at["group"]),
            f"{at['customers']:,}",
            f"{at['predicted']:.1%}",
            f"{at['churned']:.1%} ({at['lower']:.1%} to {at['upper']:.1%})",
        ]
        for at in found.to_dict("records")
    ]
    return ["held out of closed lists:", *printed.aligned(["list", "customers", "predicted", "churned"], body)]


def closed_forecasts(
    published: Path,
    store: HistoryStore,
    windows: Windows,
    as_of: int,
    ledger: pd.DataFrame | None = None,
    *,
    last: int = 6,
    seed: int = 7,
) -> tuple[Closed, ...]:
    """The youngest `last` publications whose horizon has closed by `as_of`, the oldest of them first.

    Judged are the customers nobody acted on: `ledger` says who was worked, and without it whoever stood on a list and
    was not held out counts as worked.
    """
    as_of = min(as_of, store.last_day)
    folders = {(cutoff, folder.name): folder for folder, cutoff in _publications(published)}
    chosen = sorted(key for key in folders if key[0] + windows.horizon <= as_of)[-last:]
    return tuple(
        _closed(
            folders[key],
            key[0],
            outcomes(store, key[0], windows, as_of),
            seed,
            touched=_touched(folders[key], key[0], windows.horizon, ledger),
        )
        for key in chosen
    )


def _publications(published: Path) -> list[tuple[Path, int]]:
    """Every publication's folder and day; the pointer `current` and unfinished ones are not among them."""
    manifests = [path for path in sorted(published.glob("*/manifest.json")) if _is_publication(path.parent)]
    return [(path.parent, int(json.loads(path.read_text(encoding="utf-8"))["as_of"])) for path in manifests]


def _is_publication(folder: Path) -> bool:
    return not folder.is_symlink() and not folder.name.startswith(".")


def _closed(folder: Path, cutoff: int, came: pd.DataFrame, seed: int, *, touched: set[str]) -> Closed:
    forecasts = pq.read_table(folder / "forecasts.parquet", partitioning=None).to_pandas()
    rows = came.merge(forecasts.drop(columns=["cutoff"]), on="customer_id")
    alone = rows[~rows["customer_id"].isin(touched)]
    untouched = len(alone) >= ENOUGH and alone["churned"].sum() >= ENOUGH / 10
    rows = alone if untouched else rows
    draws = metrics.Draws.of(rows["customer_id"], seed=seed)
    base = rows.assign(churn_probability=rows["churned"].mean())
    better = metrics.difference(base, rows, ["log_loss"], seed=seed)["log_loss"]
    found = metrics.measure(rows, ("level", "lift", "auc", "log_loss", "ece"), draws)
    return Closed(folder.name, cutoff, len(rows), untouched, found, better)


def run(
    config: Config,
    as_of: int | None = None,
    ledger: pd.DataFrame | None = None,
    progress: Callable[[str], None] | None = None,
) -> Report:
    """Look at the champion on a day, by default the last in the store.

    `ledger` is the ledger's table of what became of listed customers: customer_id, list, arm ("treated" or not),
    entered and closes (dates), closed (bool), churn_probability as forecast, churned. Raises MissingInput where there
    is no champion, BundleRefused where it is damaged or made for other windows.
    """
    store = HistoryStore(config.var / "history")
    as_of = store.last_day if as_of is None else as_of
    name = Journal(config.var / "bundles").champion
    if name is None:
        raise MissingInput(
            "there is no champion to monitor", where=str(config.var / "bundles"), do="run `holdfast promote`"
        )
    champion = bundle.load(config.var / "bundles" / name, config.span)
    if progress:
        progress("drift of the features")
    now = champion.snapshot(store, as_of)
    found = drift(_references(config.var / "bundles" / name), _with_forecast(champion, now))
    if progress:
        progress("closed forecasts")
    closed = closed_forecasts(config.var / "published", store, config.span, as_of, ledger, seed=config.model.seed)
    reasons = tuple(_reasons(champion, as_of, found, closed))
    return Report(name, as_of, len(now), found, closed, held_out(ledger), reasons)


def _references(folder: Path) -> dict[str, Reference]:
    path = folder / "drift.json"
    told = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return {name: Reference(tuple(at["edges"]), tuple(at["shares"])) for name, at in told.items()}


def _with_forecast(champion: Forecaster, now: Snapshot) -> Snapshot:
    """The snapshot with the forecast as one more column: what drifts matters most where it moves this."""
    probability = champion.forecast_rows(now)["churn_probability"].to_numpy(np.float32)
    X = np.asfortranarray(np.column_stack([now.X, probability]))
    return replace(now, names=(*now.names, FORECAST), X=X)


def _reasons(champion: Forecaster, as_of: int, found: pd.DataFrame, closed: Sequence[Closed]) -> Iterator[str]:
    """Why somebody should act. A feature may drift without harm; that the forecast itself drifts so far may not."""
    age, horizon = as_of - champion.as_of, champion.windows.horizon
    if age > horizon:
        yield f"the champion learned to {to_date(champion.as_of)}, {age} days ago: more than one horizon. Train again"
    for index in found.loc[(found["feature"] == FORECAST) & (found["look"] == "act"), "psi"]:
        yield f"the forecasts have drifted (index {index:.3f}): look at the features above, then train again"
    if closed:
        yield from (f"{closed[-1].name}: {wrong}" for wrong in closed[-1].wrong)


def _touched(folder: Path, cutoff: int, horizon: int, ledger: pd.DataFrame | None) -> set[str]:
    """Who may have been worked in the horizon after a cutoff: by the ledger, else by standing on a list for action."""
    if ledger is None:
        return _listed(folder)
    entered, closes = (np.array([to_day(str(day)[:10]) for day in ledger[name]], np.int64) for name in DAYS)
    meanwhile = (entered <= cutoff + horizon) & (closes > cutoff) & (ledger["arm"] == TREATED).to_numpy(bool)
    return set(ledger.loc[meanwhile, "customer_id"])


def held_out(ledger: pd.DataFrame | None) -> pd.DataFrame:
    """Of the held-out of each list, whose horizon has closed: what was predicted and what came (metrics.calibration).

    They stood at the top of a list and nobody acted on them: the fairest judges of a list there are.
    """
    if ledger is None or ledger.empty:
        return pd.DataFrame(columns=["group", "customers", "predicted", "churned", "lower", "upper"])
    judged = ledger[ledger["closed"].astype(bool) & (ledger["arm"] != TREATED) & ledger["churned"].notna()]
    return metrics.calibration(judged, "list")


def _listed(folder: Path) -> set[str]:
    """Who stood on a list for action and was not held out."""
    lists = (folder / f"{name}.parquet" for name in ("early-warning", "retention"))
    return {
        customer
        for path in lists
        if path.exists()
        for customer in pq.read_table(path, columns=["customer_id"], partitioning=None)["customer_id"].to_pylist()
    }
