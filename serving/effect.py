"""What acting was worth: the treated against the held out, as they were drawn, whatever was done afterwards.

*Intention to treat.* A customer counts in the arm he drew, once a quarter, with what he did in the horizon after his
first list: whoever was listed and never reached counts as treated, whoever was held out and contacted all the same as
held out (and is counted). *Adjusted.* The forecast of that very outcome, frozen before the draw, takes out what was
known (Lin, Annals of Applied Statistics 2013): in each arm the outcome is regressed on it and read at the common mean;
variances are HC3, the quantile is Student's with the controls' degrees of freedom, and with fewer than 100 controls
the bootstrap's own. *Winsorised* spend is a second line and says so: cut at the 99th percentile it answers another
question, more sharply. *Looks.* Looking each week and stopping at the first success calls half of all null effects.
Four looks are planned, counted in closed rows, with O'Brien and Fleming's bounds (Biometrics 1979); between them, and
before the first, the answer is "too early". Whoever was treated in the quarter before is analysed apart (wash-out),
and so is whoever is exempt.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import t

from features.config import Config
from features.errors import MissingInput
from features.store import HistoryStore
from features.windows import to_day
from serving.holdout import EXEMPT, HELD_OUT, TREATED, detectable, rows_needed
from serving.ledger import Ledger

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]

LEVEL = 0.9
FEW_CONTROLS = 100
RESAMPLES = 999
WINSOR = 0.99
LOOKS = 4
FAR = 1 << 20  # days that no log reaches: customer and day share one sorted number
BOUND = 1.733  # O'Brien-Fleming, four looks, two-sided 10 % (Jennison and Turnbull 2000, table 2.3)
FEWEST = 10  # customers in an arm below which a group is in the table, but not told in words
SMALLEST = 0.02  # the effect on retention that is worth seeing; plans the number of rows
TOUCHES = ("contacted", "offered", "refused")

MEASURES: Mapping[str, tuple[str, str]] = {
    "retention": ("kept", "kept_forecast"),
    "spend": ("spend", "spend_forecast"),
    "spend, winsorised": ("spend", "spend_forecast"),
    "margin": ("margin", "margin_forecast"),
    "profit": ("profit", "margin_forecast"),
}


@dataclass(frozen=True)
class Estimate:
    """A difference, treated less held out, a customer: with its standard error, its interval and the numbers in each
    arm. All NaN where an arm has fewer than three."""

    difference: float
    error: float
    low: float
    high: float
    treated: int
    held_out: int
    treated_mean: float
    held_out_mean: float


@dataclass(frozen=True)
class Verdict:
    """What may be said of retention by the planned looks: a word of WORDS, the look it was reached at (0: none yet),
    closed rows now and at the next look, weeks until then (NaN: nothing on the way), and the smallest effect that the
    rows closed so far would show."""

    word: str
    look: int
    closed: int
    next_look: int
    weeks: float
    sees: float


@dataclass(frozen=True)
class Effect:
    """The effect of acting: `table` has a row per scope (all, list, action, week), group and measure with the columns
    of Estimate, `total` (difference x treated customers) and, for retention, the verdict; `verdict` is that of all
    lists together, `contaminated` counts held-out customers who were contacted all the same, `apart` those analysed
    apart."""

    table: pd.DataFrame
    verdict: Verdict
    contaminated: int
    apart: Mapping[str, int]
    rows: pd.DataFrame

    @property
    def lines(self) -> list[str]:
        """The verdict, the table in words, and what was left out, a line each."""
        told, untold = [_say_verdict(self.verdict), ""], 0
        for (scope, group), part in self.table.groupby(["scope", "group"], sort=False):
            few = int(part[["treated", "held_out"]].to_numpy().min()) < FEWEST
            untold += few and scope != "all"
            if scope == "all" or not few:
                head = f"{scope}: {group}" if scope != "all" else "all lists"
                told += [head, *map(_say_line, part.to_dict("records"))]
        apart = ", ".join(f"{count:,} {name}" for name, count in self.apart.items() if count)
        return [
            *told,
            "",
            *([f"not told: {untold} groups with fewer than {FEWEST} closed rows in an arm"] if untold else []),
            f"held-out customers who were contacted all the same: {self.contaminated:,}",
            f"not in the comparison: {apart or 'nobody'}",
        ]


WORDS = ("worked", "failed", "no effect seen", "could be chance", "too early to tell", "cannot be measured")


def run(config: Config, as_of: int | None = None) -> Effect:
    """The effect of everything published so far, known by a day (the store's last where none is given).

    Raises MissingInput where there is no store or nothing has been published.
    """
    store = HistoryStore(config.var / "history")
    day = store.last_day if as_of is None else as_of
    with Ledger.open(config.database_url) as ledger:
        if ledger.publications().empty:
            raise MissingInput("no list has been published", do="run `holdfast score` first")
        return measure(outcomes(ledger, store, day, config.economics.margin), day)


def outcomes(ledger: Ledger, store: HistoryStore, as_of: int, margin: float) -> pd.DataFrame:
    """The experiment as a plain table: a row per customer and quarter, first entries only.

    customer_id, quarter, arm, population, stratum, share, exempt, wash_out, list (name), list_id, entered, closes,
    action, the frozen forecasts, closed, and where the horizon has closed by `as_of`: kept (1: bought in it), spend,
    margin (`margin` x spend where costs of goods are not recorded), cost (see `_costs`), profit = margin - cost.
    `touched`: a disposition says that he was reached. NaN where the horizon is open or the customer has been erased.
    """
    lists = ledger.lists()[["id", "name", "closes"]].rename(columns={"id": "list_id", "name": "list"})
    rows = ledger.assignments().merge(lists, on="list_id", how="left", validate="m:1")
    entered, closes = (np.array([to_day(str(day)) for day in rows[name]], np.int64) for name in ("entered", "closes"))
    rows["closed"] = closes <= as_of
    rows["kept"], rows["spend"], known = _bought(store, rows["customer_id"], entered, closes, as_of)
    rows["margin"] = np.where(np.isnan(known), margin * rows["spend"], known)
    rows["cost"] = _costs(ledger, rows)
    rows["profit"] = rows["margin"] - rows["cost"]
    done = ledger.standing()
    touched = set(done.loc[done["what"].isin(TOUCHES), "customer_id"])
    rows["touched"] = rows["customer_id"].isin(touched)
    return rows


def _bought(
    store: HistoryStore, customers: pd.Series, entered: Ints, closes: Ints, as_of: int
) -> tuple[Floats, Floats, Floats]:
    """Kept, spend and margin in (entered, closes] of each row; NaN where it is open, the customer is not in the store,
    or (margin) some line has no cost."""
    kept, spend, margin = (np.full(len(customers), np.nan) for _ in range(3))
    closed, scale = closes <= as_of, 10.0**store.exponent
    for block in store.blocks(("purchases",)) if closed.any() else ():
        place = pd.Index(block.customers).get_indexer(pd.Index(customers))
        rows = np.flatnonzero(closed & (place >= 0))
        table = block.tables["purchases"]
        key = table.who * FAR + table.day
        first, last = (np.searchsorted(key, place[rows] * FAR + day[rows], side="right") for day in (entered, closes))
        sums = {name: _between(table.measures.get(name), first, last) for name in ("amount", "cost", "cost_known")}
        kept[rows] = last > first
        spend[rows] = sums["amount"] / scale
        margin[rows] = np.where(sums["cost_known"] >= last - first, (sums["amount"] - sums["cost"]) / scale, np.nan)
    return kept, spend, margin


def _between(values: Ints | None, first: Ints, last: Ints) -> Floats:
    """Sums of a measure over ranges of rows; 0 where the shop has no such measure."""
    if values is None:
        return np.zeros(len(first))
    sums = np.concatenate([[0], np.cumsum(values)])
    between: Floats = (sums[last] - sums[first]).astype(np.float64)
    return between


def _costs(ledger: Ledger, rows: pd.DataFrame) -> Floats:
    """What was spent on each row's customer through the lists of his quarter: the ledger's costs between entry and
    close. Where nothing at all was written down for a list, its planned cost stands in for whoever was to be treated,
    so that acting is never free."""
    lines = ledger.costs().merge(rows[["customer_id", "entered", "closes"]], on="customer_id", how="inner")
    day = pd.to_datetime(lines["day"])
    inside = (day >= pd.to_datetime(lines["entered"])) & (day <= pd.to_datetime(lines["closes"]))
    paid = lines[inside].groupby(["customer_id", "entered"])["amount"].sum()
    known = paid.reindex(pd.MultiIndex.from_frame(rows[["customer_id", "entered"]])).fillna(0.0).to_numpy(float)
    silent = set(rows["list_id"]) - set(ledger.dispositions()["list_id"])
    planned = [ledger.entries(str(one))[["list_id", "customer_id", "cost"]] for one in sorted(silent)]
    if not planned:
        return known
    cost = pd.concat(planned, ignore_index=True).set_index(["list_id", "customer_id"])["cost"].astype(float)
    stands_in = cost.reindex(pd.MultiIndex.from_frame(rows[["list_id", "customer_id"]])).fillna(0.0).to_numpy(float)
    return np.where(rows["list_id"].isin(silent) & (rows["arm"] != HELD_OUT), stands_in, known)


# ------------------------------------------------------------------------------------------------------ the estimate


def estimate(
    outcome: NDArray[Any],
    forecast: NDArray[Any],
    treated: NDArray[np.bool_],
    *,
    share: NDArray[Any] | None = None,
    level: float = LEVEL,
    seed: int = 0,
) -> Estimate:
    """Lin's adjusted difference of two arms.

    `forecast` is one number a customer, frozen before the draw; where it is NaN the mean stands in, where it is
    constant the plain difference comes out. `share` is the chance of being held out: rows of different chances are
    estimated apart and put together by their numbers. `seed` moves the resamples of the bootstrap.
    """
    y, x = np.asarray(outcome, float), np.asarray(forecast, float)
    share = np.zeros(len(y)) if share is None else np.asarray(share, float)
    known = ~np.isnan(y)
    y, x, treated, share = y[known], x[known], treated[known], share[known]
    x = np.where(np.isnan(x), np.nanmean(x) if not np.isnan(x).all() else 0.0, x) if len(x) else x
    parts = [_two_arms(y[share == s], x[share == s], treated[share == s], level, seed) for s in np.unique(share)]
    parts = [part for part in parts if not np.isnan(part.difference)]
    if not parts:
        mean = [float(y[arm].mean()) if arm.any() else np.nan for arm in (treated, ~treated)]
        return _nothing(int(treated.sum()), int((~treated).sum()), mean)
    return parts[0] if len(parts) == 1 else _together(parts, level)


def _nothing(treated: int, held_out: int, means: Sequence[float]) -> Estimate:
    """No estimate: an arm is too small."""
    nan = float("nan")
    return Estimate(nan, nan, nan, nan, treated, held_out, means[0], means[1])


def _two_arms(y: Floats, x: Floats, treated: NDArray[np.bool_], level: float, seed: int) -> Estimate:
    """One group of equal chances."""
    n1, n0 = int(treated.sum()), int((~treated).sum())
    means = [float(y[arm].mean()) if arm.any() else np.nan for arm in (treated, ~treated)]
    if min(n1, n0) < 3:
        return _nothing(n1, n0, means)
    arms = (y[treated], x[treated], y[~treated], x[~treated])
    difference, error = (float(value) for value in _lin(*arms))
    tail = (1 - level) / 2
    if n0 < FEW_CONTROLS and error > 0:
        below, above = _bootstrap_t(*arms, difference=difference, tail=tail, seed=seed)
    else:
        above = float(t.ppf(1 - tail, max(1, n0 - 2)))
        below = -above
    return Estimate(difference, error, difference - above * error, difference - below * error, n1, n0, *means)


def _lin(y1: Floats, x1: Floats, y0: Floats, x0: Floats) -> tuple[Floats, Floats]:
    """Difference and standard error, along the last axis; earlier axes are resamples."""
    n1, n0 = y1.shape[-1], y0.shape[-1]
    centre = (x1.sum(axis=-1, keepdims=True) + x0.sum(axis=-1, keepdims=True)) / (n1 + n0)
    (one, v1), (zero, v0) = _at(y1, x1, centre), _at(y0, x0, centre)
    return one - zero, np.sqrt(v1 + v0)


def _at(y: Floats, x: Floats, centre: Floats) -> tuple[Floats, Floats]:
    """The regression of an arm read at `centre`, and its HC3 variance: sum of (w e / (1 - h))^2, with w the weight of
    each row in the reading and h its leverage."""
    n = y.shape[-1]
    off = x - x.mean(axis=-1, keepdims=True)
    spread = (off**2).sum(axis=-1, keepdims=True)
    per = np.divide(off, spread, out=np.zeros_like(off), where=spread > 1e-12 * max(1.0, float(np.abs(x).max()) ** 2))
    away = centre - x.mean(axis=-1, keepdims=True)
    slope = (per * y).sum(axis=-1, keepdims=True)
    level = y.mean(axis=-1, keepdims=True)
    residual = y - level - slope * off
    leverage = np.minimum(1.0 / n + per * off, 0.99)
    weight = 1.0 / n + away * per
    return (level + slope * away)[..., 0], ((weight * residual / (1 - leverage)) ** 2).sum(axis=-1)


def _bootstrap_t(
    y1: Floats, x1: Floats, y0: Floats, x0: Floats, *, difference: float, tail: float, seed: int
) -> tuple[float, float]:
    """Quantiles of the studentised difference over resamples within the arms (Efron and Tibshirani 1993, ch. 12)."""
    dice = np.random.Generator(np.random.Philox(seed))
    some = dice.integers(0, len(y1), (RESAMPLES, len(y1)))
    others = dice.integers(0, len(y0), (RESAMPLES, len(y0)))
    again, error = _lin(y1[some], x1[some], y0[others], x0[others])
    ratio = np.divide(again - difference, error, out=np.zeros_like(again), where=error > 0)
    low, high = np.quantile(ratio, [tail, 1 - tail])
    return float(low), float(high)


def _together(parts: Sequence[Estimate], level: float) -> Estimate:
    """Groups of different chances put together by their numbers of customers."""
    n = np.array([part.treated + part.held_out for part in parts], float)
    weight = n / n.sum()
    difference = float(sum(w * part.difference for w, part in zip(weight, parts, strict=True)))
    error = float(np.sqrt(sum((w * part.error) ** 2 for w, part in zip(weight, parts, strict=True))))
    treated, held = sum(part.treated for part in parts), sum(part.held_out for part in parts)
    reach = float(t.ppf(0.5 + level / 2, max(1, held - 2 * len(parts)))) * error
    means = [
        float(sum(w * getattr(part, name) for w, part in zip(weight, parts, strict=True)))
        for name in ("treated_mean", "held_out_mean")
    ]
    return Estimate(difference, error, difference - reach, difference + reach, treated, held, *means)


def winsorised(values: NDArray[Any], quantile: float = WINSOR) -> Floats:
    """Values cut at a quantile of all of them together."""
    values = np.asarray(values, float)
    known = values[~np.isnan(values)]
    return np.minimum(values, np.quantile(known, quantile)) if len(known) else values


# --------------------------------------------------------------------------------------------------------- the looks


def look_bounds(looks: int = LOOKS, bound: float = BOUND) -> Floats:
    """How many standard errors a difference must be from 0 at each look: bound x sqrt(looks / k)."""
    return bound * np.sqrt(looks / np.arange(1, looks + 1))


def judge(rows: pd.DataFrame, as_of: int, smallest: float = SMALLEST) -> Verdict:
    """The verdict on retention by the planned looks.

    `rows` are those of `outcomes` that enter the analysis. The plan: as many closed rows as show `smallest` with power
    .8, looked at after each quarter of them. The verdict is that of the last look reached, on the rows closed by then.
    """
    held = int((rows["arm"] == HELD_OUT).sum())
    if not held or held == len(rows):
        return Verdict("cannot be measured", 0, int(rows["closed"].sum()), 0, float("nan"), float("nan"))
    closed = rows[rows["closed"] & rows["kept"].notna()]
    share = held / len(rows)
    base = float(np.clip(closed["kept"].mean() if len(closed) else rows["kept_forecast"].mean(), 0.05, 0.95))
    needed = [int(np.ceil(rows_needed(smallest, share, base) * k / LOOKS)) for k in range(1, LOOKS + 1)]
    look = sum(len(closed) >= n for n in needed)
    following = needed[look] if look < LOOKS else 0
    weeks = _weeks_until(rows, following, as_of) if following else 0.0
    sees = detectable(len(closed), share, base)
    if not look:
        return Verdict("too early to tell", 0, len(closed), following, weeks, sees)
    return Verdict(_word(closed, needed[look - 1], look), look, len(closed), following, weeks, sees)


def _word(closed: pd.DataFrame, needed: int, look: int) -> str:
    """What the rows closed by a look say."""
    days = closed["closes"].astype(str)
    until = days.sort_values(kind="stable").iloc[needed - 1]
    seen = closed[days <= until]
    got = estimate(
        seen["kept"].to_numpy(), seen["kept_forecast"].to_numpy(), _treated(seen), share=seen["share"].to_numpy()
    )
    away = got.difference / got.error if got.error > 0 else 0.0
    if abs(away) >= look_bounds()[look - 1]:
        return "worked" if away > 0 else "failed"
    return "no effect seen" if look == LOOKS else "could be chance"


def _weeks_until(rows: pd.DataFrame, wanted: int, as_of: int) -> float:
    """Weeks until so many rows have closed: those on the way close on their day, later ones at the pace of entries so
    far. NaN where nothing comes."""
    closes = np.sort([to_day(str(day)) for day in rows["closes"]])
    if len(closes) >= wanted:
        return float(max(1, np.ceil((closes[wanted - 1] - as_of) / 7)))
    entered = [to_day(str(day)) for day in rows["entered"]]
    weeks = (max(entered) - min(entered)) / 7 + 1
    return float(np.ceil((closes[-1] - as_of) / 7 + (wanted - len(closes)) / (len(rows) / weeks)))


# -------------------------------------------------------------------------------------------------------- the report


def measure(rows: pd.DataFrame, as_of: int) -> Effect:
    """The effect from the table of `outcomes`."""
    used = rows[(rows["arm"] != EXEMPT) & ~rows["wash_out"].astype(bool)]
    lines = [line for scope, group, part in _scopes(used) for line in _lines(scope, group, part, as_of)]
    contaminated = int(((rows["arm"] == HELD_OUT) & rows["touched"]).sum())
    apart = {
        "exempt": int((rows["arm"] == EXEMPT).sum()),
        "treated in the weeks before": int(rows["wash_out"].sum()),
        "erased": int((rows["closed"] & rows["kept"].isna()).sum()),
        "open": int((~rows["closed"]).sum()),
    }
    return Effect(pd.DataFrame(lines), judge(used, as_of), contaminated, apart, rows)


def _scopes(rows: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Everything; each list; each action; each week of entry."""
    yield "all", "all", rows
    for scope, column in (("list", "list"), ("action", "action"), ("week", "entered")):
        for group, part in rows.groupby(column, sort=True):
            yield scope, str(group), part


def _lines(scope: str, group: str, rows: pd.DataFrame, as_of: int) -> Iterator[dict[str, Any]]:
    """A line per measure; the verdict beside retention."""
    closed = rows[rows["closed"]]
    for name, (outcome, forecast) in MEASURES.items():
        y = closed[outcome].to_numpy(float)
        got = estimate(
            winsorised(y) if name.endswith("winsorised") else y,
            closed[forecast].to_numpy(float),
            _treated(closed),
            share=closed["share"].to_numpy(float),
        )
        verdict = judge(rows, as_of) if name == "retention" else None
        yield {
            "scope": scope,
            "group": group,
            "measure": name,
            **asdict(got),
            "total": got.difference * got.treated,
            "verdict": verdict.word if verdict else None,
            "weeks": verdict.weeks if verdict else float("nan"),
            "sees": verdict.sees if verdict else float("nan"),
        }


def _treated(rows: pd.DataFrame) -> NDArray[np.bool_]:
    return np.asarray(rows["arm"] == TREATED, bool)


def _say_verdict(verdict: Verdict) -> str:
    """The verdict as a sentence."""
    sees = f"; {verdict.closed:,} closed rows show {verdict.sees:.1%} and more" if np.isfinite(verdict.sees) else ""
    if verdict.word == "too early to tell" and np.isfinite(verdict.weeks):
        wait = f"{verdict.weeks:.0f} more weeks until the first look at {verdict.next_look:,} rows"
        return f"too early to tell: {wait}{sees}"
    following = f"; next look at {verdict.next_look:,} rows" if verdict.next_look else ""
    return f"{verdict.word} (look {verdict.look} of {LOOKS}){sees}{following}"


def _say_line(line: Mapping[Any, Any]) -> str:
    """One measure: the difference a customer with its interval, the arms, and the total."""
    name, arms = line["measure"], f"{line['treated']:,} treated, {line['held_out']:,} held out"
    if np.isnan(line["difference"]):
        return f"  {name:<18} nothing to compare yet ({arms})"
    form = "{:+.2%}" if name == "retention" else "{:+,.2f}"
    difference, low, high = (form.format(line[key]) for key in ("difference", "low", "high"))
    total = "" if name == "retention" or name.endswith("winsorised") else f", in all {line['total']:+,.0f}"
    note = " (another question: the top hundredth cut off)" if name.endswith("winsorised") else ""
    return f"  {name:<18} {difference} [{low}, {high}] a customer{total} ({arms}){note}"


def for_monitor(config: Config, as_of: int | None = None) -> pd.DataFrame:
    """What became of what was forecast, as a plain table for monitoring: customer_id, list, list_id, entered, closes,
    arm, closed, churn_probability (as forecast before the draw), churned (1: no purchase in the horizon),
    spend_forecast, spend. Held-out and treated alike; empty where nothing has been published."""
    store = HistoryStore(config.var / "history")
    day = store.last_day if as_of is None else as_of
    with Ledger.open(config.database_url) as ledger:
        rows = outcomes(ledger, store, day, config.economics.margin)
    rows["churn_probability"], rows["churned"] = 1 - rows["kept_forecast"].astype(float), 1 - rows["kept"]
    names = ["customer_id", "list", "list_id", "entered", "closes", "arm", "closed", "churn_probability", "churned"]
    return rows[[*names, "spend_forecast", "spend"]]
