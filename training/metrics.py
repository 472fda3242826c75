"""How good a forecast was, and how sure we are of that.

A metric here is written once, as a function of *weights*: `auc(rows)` sorts the rows and returns a function that takes
how often each customer is counted and gives the AUC of that reweighted population. With weights of one it is the
metric as every textbook has it; with the counts of a draw of customers with replacement it is one bootstrap replicate,
and a few hundred of those, as one matrix, are its interval (Efron and Tibshirani 1993, chapter 13). Whole customers are
drawn, not rows, because the same customer at two cutoffs is not two witnesses. Two forecasts measured under the same
draws differ by a number whose interval is the paired one: what both find hard cancels.

Without a warning: a metric that the rows cannot give (one class, no spend) is NaN, and so is its interval.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

CONFIDENCE = 0.90  # of every interval that holdfast prints
BINS = 10  # groups of equal size in calibration error and decile tables
EDGE = 1e-6  # probabilities are held this far from 0 and 1 before their logarithm is taken
DRAWS = 200  # bootstrap replicates; the ends of a 90 % interval then wobble by about a tenth of its length
CHUNK = 1 << 15  # weights in hand at once: in the processor's cache, a third of the time of 1 << 18


@dataclass(frozen=True)
class Rows:
    """Forecasts beside what came true, one row per customer and cutoff.

    `churned` is 0 or 1; `spend` and `expected` are in major units of currency over the horizon, `lower` and `upper` the
    ends of the interval. What a forecast does not give is None, and the metrics that need it are NaN.
    """

    churned: Floats
    probability: Floats | None = None
    spend: Floats | None = None
    expected: Floats | None = None
    lower: Floats | None = None
    upper: Floats | None = None

    def __len__(self) -> int:
        return len(self.churned)


Weighted = Callable[[Floats], Floats]  # (k, n) weights, each row a population -> (k,) values of the metric


def _dot(weight: Floats, value: Floats) -> Floats:
    """Weighted sums, (k, n) and (n,) -> (k,); in one fixed order, which a threaded BLAS does not promise."""
    sums: Floats = np.einsum("kn,n->k", weight, value)
    return sums


def _ratio(above: Floats, below: Floats) -> Floats:
    """above / below, NaN where below is not positive."""
    ratio: Floats = np.divide(above, below, out=np.full(len(above), np.nan), where=below > 0)
    return ratio


def _mean_of(value: Floats) -> Weighted:
    return lambda weight: _ratio(_dot(weight, value), weight.sum(axis=1))


def _probability(rows: Rows) -> Floats:
    assert rows.probability is not None
    return np.clip(rows.probability, EDGE, 1 - EDGE)


@dataclass(frozen=True)
class _Ties:
    """Rows put in the order of a score and cut into groups of equal score; g groups."""

    order: Codes
    starts: Codes

    @classmethod
    def of(cls, score: Floats) -> _Ties:
        order = np.argsort(score, kind="stable")
        new = np.flatnonzero(np.diff(score[order]) != 0) + 1
        return cls(order, np.concatenate([[0], new]).astype(np.int64))

    def sums(self, ordered: Floats) -> Floats:
        """(k, n) in this order -> (k, g)."""
        return ordered if len(self.starts) == len(self.order) else np.add.reduceat(ordered, self.starts, axis=1)

    def ranks(self, weight: Floats) -> Floats:
        """The middle rank of every row when each row stands `weight` times; (k, n) in the rows' own order."""
        size = self.sums(weight[:, self.order])
        middle = np.cumsum(size, axis=1) - (size - 1) / 2
        lengths = np.diff(np.append(self.starts, len(self.order)))
        out = np.empty_like(weight)
        out[:, self.order] = np.repeat(middle, lengths, axis=1) if len(self.starts) < len(self.order) else middle
        return out


def auc(rows: Rows) -> Weighted:
    """P(a churned customer has the higher churn probability than one who stayed), ties counting half."""
    ties = _Ties.of(_probability(rows))
    churned = rows.churned[ties.order]

    def value(weight: Floats) -> Floats:
        ordered = weight[:, ties.order]
        lost, all_ = ties.sums(ordered * churned), ties.sums(ordered)
        stayed = all_ - lost
        below = np.cumsum(stayed, axis=1) - stayed / 2
        return _ratio((lost * below).sum(axis=1), lost.sum(axis=1) * stayed.sum(axis=1))

    return value


def log_loss(rows: Rows) -> Weighted:
    """Mean of -log(probability given to what happened), in nats."""
    p = _probability(rows)
    return _mean_of(-np.where(rows.churned > 0, np.log(p), np.log1p(-p)))


def brier(rows: Rows) -> Weighted:
    """Mean squared distance of the probability from what happened (Brier 1950, the half that is in use today)."""
    return _mean_of((_probability(rows) - rows.churned) ** 2)


def bins_of(score: Floats, bins: int = BINS) -> Codes:
    """The quantile group of every row, 0 the lowest; ties are broken by the row's place so that groups are even."""
    n = len(score)
    group = np.empty(n, np.int64)
    ranks = pd.Series(np.arange(1, n + 1))
    group[np.argsort(score, kind="stable")] = pd.qcut(ranks, min(bins, n), labels=False) if n > 1 else 0
    return group


def ece(rows: Rows) -> Weighted:
    """Expected calibration error: over ten groups of equal size by probability, mean |mean probability - churned|.

    The groups are those of the rows as they are, in every replicate.
    """
    p = _probability(rows)
    group, gap = bins_of(p), p - rows.churned
    order = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[order], np.arange(group.max() + 1))

    def value(weight: Floats) -> Floats:
        sums = np.add.reduceat((weight * gap)[:, order], starts, axis=1)
        return _ratio(np.abs(sums).sum(axis=1), weight.sum(axis=1))

    return value


def ece_floor(rows: Rows) -> Weighted:
    """The calibration error to expect of forecasts that are exactly right, from sampling alone.

    A group of n rows misses by a normal amount with variance sum p(1-p) / n^2, whose mean size is sqrt(2/pi) times its
    standard deviation. Calibration error below this says nothing; the excess over it does.
    """
    p = _probability(rows)
    group = bins_of(p)
    member = np.eye(int(group.max()) + 1)[:, group]

    def value(weight: Floats) -> Floats:
        noise = np.sqrt(np.einsum("kn,bn->kb", weight * p * (1 - p), member)).sum(axis=1)
        return _ratio(np.sqrt(2 / np.pi) * noise, weight.sum(axis=1))

    return value


def level(rows: Rows) -> Weighted:
    """Mean probability over the share that churned: 1 is right, above it the forecast was too dark."""
    return _total(_probability(rows), rows.churned)


def _total(forecast: Floats, truth: Floats) -> Weighted:
    return lambda weight: _ratio(_dot(weight, forecast), _dot(weight, truth))


def slope(rows: Rows) -> Weighted:
    """Calibration slope (Cox 1958): b in logit P(churned) = a + b logit p. Below 1 the probabilities are too extreme.

    The value is the maximum-likelihood fit; replicates take one Newton step from it (Davidson and MacKinnon 1999): six
    weighted sums instead of a fit.
    """
    p = _probability(rows)
    x = np.log(p) - np.log1p(-p)
    a, b = _logistic(x, rows.churned)
    fitted = 1 / (1 + np.exp(-(a + b * x)))
    rest, spread = rows.churned - fitted, fitted * (1 - fitted)

    def value(weight: Floats) -> Floats:
        g0, g1 = _dot(weight, rest), _dot(weight, rest * x)
        h00, h01, h11 = _dot(weight, spread), _dot(weight, spread * x), _dot(weight, spread * x * x)
        return b + _ratio(h00 * g1 - h01 * g0, h00 * h11 - h01 * h01)

    return value


def _logistic(x: Floats, y: Floats) -> tuple[float, float]:
    """Intercept and slope by Newton's method, NaN where there is nothing to fit or classes can be told apart."""
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return np.nan, np.nan
    a = b = 0.0
    for _ in range(50):
        fitted = 1 / (1 + np.exp(-np.clip(a + b * x, -30, 30)))
        spread, rest = fitted * (1 - fitted), y - fitted
        h00, h01, h11 = spread.sum(), (spread * x).sum(), (spread * x * x).sum()
        deter = h00 * h11 - h01 * h01
        if deter <= 1e-12 * h00 * h11:
            return np.nan, np.nan
        step_a = (h11 * rest.sum() - h01 * (rest * x).sum()) / deter
        step_b = (h00 * (rest * x).sum() - h01 * rest.sum()) / deter
        a, b = a + step_a, b + step_b
        if abs(step_a) + abs(step_b) < 1e-10:
            break
    return float(a), float(b)


def lift(rows: Rows, top: float = 0.10) -> Weighted:
    """Churn rate among the `top` share with the highest probabilities, over the churn rate of all."""
    caught = gain(rows, top)
    return lambda weight: caught(weight) / top


def gain(rows: Rows, top: float = 0.20) -> Weighted:
    """Share of all who churned that stands in the `top` share with the highest probabilities.

    A group of equal probabilities that straddles the line is taken in proportion: its order is nobody's doing.
    """
    ties = _Ties.of(-_probability(rows))
    churned = rows.churned[ties.order]

    def value(weight: Floats) -> Floats:
        ordered = weight[:, ties.order]
        lost, size = ties.sums(ordered * churned), ties.sums(ordered)
        before = np.cumsum(size, axis=1) - size
        taken = np.clip(top * size.sum(axis=1)[:, None] - before, 0, size)
        share = np.divide(taken, size, out=np.zeros_like(size), where=size > 0)
        return _ratio((lost * share).sum(axis=1), lost.sum(axis=1))

    return value


def _spend(rows: Rows) -> tuple[Floats, Floats]:
    assert rows.spend is not None
    assert rows.expected is not None
    return rows.spend, rows.expected


def gini(rows: Rows) -> Weighted:
    """Area under the cumulative share of spend, customers in order of expected spend, over that of the perfect order.

    1 is perfect, 0 is chance. Ties keep the rows' order.
    """
    spend, expected = _spend(rows)
    ours, best = _area(spend, expected), _area(spend, spend)
    return lambda weight: _ratio(ours(weight), best(weight))


def _area(spend: Floats, score: Floats) -> Weighted:
    """Mean of the cumulative share of spend, less one half; a row of weight w stands as w rows one after another."""
    order = np.argsort(-score, kind="stable")
    ordered = spend[order]

    def value(weight: Floats) -> Floats:
        w = weight[:, order]
        money = w * ordered
        before = np.cumsum(money, axis=1) - money
        inside = (w * before + money * (w + 1) / 2).sum(axis=1)
        return _ratio(_ratio(inside, w.sum(axis=1)), money.sum(axis=1)) - 0.5

    return value


def spearman(rows: Rows) -> Weighted:
    """Rank correlation of expected and true spend, ties at their middle rank."""
    spend, expected = _spend(rows)
    one, other = _Ties.of(spend), _Ties.of(expected)

    def value(weight: Floats) -> Floats:
        size = weight.sum(axis=1)
        x, y = one.ranks(weight), other.ranks(weight)
        x -= ((weight * x).sum(axis=1) / size)[:, None]
        y -= ((weight * y).sum(axis=1) / size)[:, None]
        wx = weight * x
        return _ratio((wx * y).sum(axis=1), np.sqrt((wx * x).sum(axis=1) * (weight * y * y).sum(axis=1)))

    return value


def mae(rows: Rows) -> Weighted:
    """Mean absolute error of expected spend, major units. It rewards medians: a well-levelled mean may lose on it."""
    spend, expected = _spend(rows)
    return _mean_of(np.abs(expected - spend))


def total(rows: Rows) -> Weighted:
    """Sum of expected spend over the sum that came."""
    spend, expected = _spend(rows)
    return _total(expected, spend)


def coverage(rows: Rows) -> Weighted:
    """Share of customers whose spend fell inside their interval, ends included."""
    assert rows.spend is not None
    assert rows.lower is not None
    assert rows.upper is not None
    return _mean_of(((rows.spend >= rows.lower - 1e-9) & (rows.spend <= rows.upper + 1e-9)).astype(float))


@dataclass(frozen=True)
class Metric:
    """One metric: what of Rows it needs, which way is better (+1 more, -1 less, 0 nearer to `ideal`), and in words."""

    function: Callable[[Rows], Weighted]
    needs: tuple[str, ...]
    better: int
    words: str
    ideal: float = np.nan


_CHURN, _SPEND = ("probability",), ("spend", "expected")
METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        "auc": Metric(auc, _CHURN, 1, "AUC of churn"),
        "log_loss": Metric(log_loss, _CHURN, -1, "log loss of churn"),
        "brier": Metric(brier, _CHURN, -1, "Brier score of churn"),
        "ece": Metric(ece, _CHURN, -1, "calibration error of churn"),
        "ece_floor": Metric(ece_floor, _CHURN, 0, "calibration error that sampling alone gives"),
        "level": Metric(level, _CHURN, 0, "predicted over realised churn rate", 1.0),
        "slope": Metric(slope, _CHURN, 0, "calibration slope", 1.0),
        "lift": Metric(lift, _CHURN, 1, "lift of the top 10 %"),
        "gain": Metric(gain, _CHURN, 1, "share of churned in the top 20 %"),
        "gini": Metric(gini, _SPEND, 1, "Gini of spend"),
        "spearman": Metric(spearman, _SPEND, 1, "rank correlation of spend"),
        "mae": Metric(mae, _SPEND, -1, "absolute error of spend"),
        "total": Metric(total, _SPEND, 0, "predicted over realised spend", 1.0),
        "coverage": Metric(coverage, ("spend", "lower", "upper"), 0, "share inside the 90 % interval", 0.9),
    }
)

# Replicates of an absolute value sit above it, since a draw adds noise to every group: their spread is right, their
# place is not, so their interval is moved to have its middle at the value.
_CENTRED = frozenset({"ece"})


@dataclass(frozen=True)
class Estimate:
    """A number with its 90 % bootstrap interval; NaN where the rows could not give it."""

    value: float
    lower: float
    upper: float

    def __str__(self) -> str:
        return f"{self.value:.4f} ({self.lower:.4f} to {self.upper:.4f})"


@dataclass(frozen=True)
class Draws:
    """Customers drawn with replacement, `times` times: how often each of them came up.

    The draws depend on the number of customers and the seed alone, so everything measured with one Draws is paired.
    `code` says for every row of a table which customer it is, 0 <= code < customers.
    """

    code: Codes
    customers: int
    times: int = DRAWS
    seed: int = 7

    @classmethod
    def of(cls, customer_id: Iterable[object], times: int = DRAWS, seed: int = 7) -> Draws:
        """Draws of the customers of a table, one id per row."""
        code, seen = pd.factorize(pd.Series(customer_id), sort=True)
        return cls(code.astype(np.int64), len(seen), times, seed)

    def take(self, rows: NDArray[np.bool_] | Codes) -> Draws:
        """The same draws for some of the rows."""
        return Draws(self.code[rows], self.customers, self.times, self.seed)

    def weights(self) -> Iterator[Floats]:
        """(k, n) weights of the rows, a few replicates at a time."""
        step = max(1, CHUNK // max(1, len(self.code)))
        counts = _counts(self.customers, self.times, self.seed)
        for start in range(0, self.times, step):
            yield counts[start : start + step, self.code].astype(np.float64)


@lru_cache(maxsize=2)
def _counts(customers: int, times: int, seed: int) -> NDArray[np.uint8]:
    """(times, customers) counts. They are nearly Poisson with mean 1: 255 is never near."""
    out = np.empty((times, customers), np.uint8)
    rng = np.random.default_rng(seed)
    for draw in out:
        draw[:] = np.bincount(rng.integers(0, customers, customers), minlength=customers)
    out.flags.writeable = False
    return out


def replicates(metric: str, rows: Rows, draws: Draws) -> tuple[float, Floats]:
    """A metric's value and its (times,) bootstrap replicates. NaN where it needs what the rows lack."""
    if not _can(metric, rows):
        return np.nan, np.full(draws.times, np.nan)
    of = METRICS[metric].function(rows)
    return float(of(np.ones((1, len(rows))))[0]), np.concatenate([of(weight) for weight in draws.weights()])


def value_of(metric: str, rows: Rows) -> float:
    """A metric without an interval; NaN where it needs what the rows lack."""
    return float(METRICS[metric].function(rows)(np.ones((1, len(rows))))[0]) if _can(metric, rows) else np.nan


def _can(metric: str, rows: Rows) -> bool:
    return len(rows) > 0 and all(getattr(rows, need) is not None for need in METRICS[metric].needs)


def _estimate(metric: str, value: float, replicate: Floats) -> Estimate:
    known = replicate[np.isfinite(replicate)]
    if not np.isfinite(value) or len(known) < len(replicate) / 2:
        return Estimate(value, np.nan, np.nan)
    lower, middle, upper = np.quantile(known, [(1 - CONFIDENCE) / 2, 0.5, (1 + CONFIDENCE) / 2])
    shift = value - middle if metric in _CENTRED else 0.0
    return Estimate(value, float(max(lower + shift, 0.0) if metric in _CENTRED else lower), float(upper + shift))


def rows_of(table: pd.DataFrame) -> Rows:
    """A table with `churned` (and `spend`) beside the columns of the forecasts -> Rows; columns may be missing."""

    def column(name: str) -> Floats | None:
        if name not in table or table[name].isna().all():
            return None
        return table[name].to_numpy(np.float64)

    churned = table["churned"].to_numpy(np.float64)
    return Rows(
        churned,
        column("churn_probability"),
        column("spend"),
        column("expected_spend"),
        column("spend_lower"),
        column("spend_upper"),
    )


def measure(table: pd.DataFrame, metrics: Iterable[str] = METRICS, draws: Draws | None = None) -> dict[str, Estimate]:
    """Metrics of one forecast at one cutoff: name -> value with interval.

    `table` has `customer_id`, `churned`, `spend` and the forecasts' columns (`tables.md`), one row per customer.
    """
    rows = rows_of(table)
    draws = draws or Draws.of(table["customer_id"])
    return {name: _estimate(name, *replicates(name, rows, draws)) for name in metrics}


def measure_by_cutoff(
    table: pd.DataFrame, metrics: Iterable[str] = METRICS, *, times: int = DRAWS, seed: int = 7
) -> pd.DataFrame:
    """Metrics per cutoff and, under the cutoff "all", their mean over the cutoffs where there are several.

    One line for each (cutoff, metric): value, lower, upper, at_risk. One draw of customers serves all cutoffs, so the
    interval of the mean knows that customers recur.
    """
    draws = Draws.of(table["customer_id"], times, seed)
    parts = _by_cutoff(table)
    found: list[dict[str, object]] = []
    for name in metrics:
        pairs = [replicates(name, rows_of(table.iloc[at]), draws.take(at)) for _, at in parts]
        for (cutoff, at), (value, drawn) in zip(parts, pairs, strict=True):
            found.append(_line(cutoff, name, _estimate(name, value, drawn), len(at)))
        if len(parts) > 1:
            found.append(_line("all", name, _mean_over(name, pairs), len(table)))
    return pd.DataFrame(found)


def _by_cutoff(table: pd.DataFrame) -> list[tuple[object, Codes]]:
    """The places of each cutoff's rows, cutoffs ascending."""
    return [(cutoff, np.asarray(at, np.int64)) for cutoff, at in table.groupby("cutoff", sort=True).indices.items()]


def _mean_over(metric: str, pairs: list[tuple[float, Floats]]) -> Estimate:
    return _estimate(metric, float(np.mean([value for value, _ in pairs])), np.mean([d for _, d in pairs], axis=0))


def _line(cutoff: object, metric: str, estimate: Estimate, at_risk: int) -> dict[str, object]:
    return {
        "cutoff": cutoff,
        "metric": metric,
        "value": estimate.value,
        "lower": estimate.lower,
        "upper": estimate.upper,
        "at_risk": at_risk,
    }


def mean_over_cutoffs(table: pd.DataFrame, metric: str) -> float:
    """A metric's mean over the cutoffs of a table, without an interval."""
    known = [rows_of(table.iloc[at]) for _, at in _by_cutoff(table)]
    return float(np.mean([value_of(metric, rows) for rows in known])) if known else np.nan


def difference(
    one: pd.DataFrame, other: pd.DataFrame, metrics: Iterable[str] = METRICS, *, times: int = DRAWS, seed: int = 7
) -> dict[str, Estimate]:
    """one - other, paired by customer, averaged over the cutoffs that both have: name -> difference with interval.

    Both tables must hold the same (customer_id, cutoff); `match` makes them so.
    """
    assert list(one["customer_id"]) == list(other["customer_id"])
    draws = Draws.of(one["customer_id"], times, seed)
    parts = [(one.iloc[at], other.iloc[at], draws.take(at)) for _, at in _by_cutoff(one)]
    return {name: _mean_over("difference", [_pair(name, *part) for part in parts]) for name in metrics}


def _pair(metric: str, one: pd.DataFrame, other: pd.DataFrame, draws: Draws) -> tuple[float, Floats]:
    ours, theirs = replicates(metric, rows_of(one), draws), replicates(metric, rows_of(other), draws)
    return ours[0] - theirs[0], ours[1] - theirs[1]


def match(one: pd.DataFrame, other: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows of both tables whose (customer_id, cutoff) stand in both, in the same order."""
    key = ["customer_id", "cutoff"]
    both = one[key].merge(other[key], on=key).drop_duplicates().sort_values(key, kind="stable")
    return both.merge(one, on=key, how="left"), both.merge(other, on=key, how="left")


def calibration(table: pd.DataFrame, by: str = "decile") -> pd.DataFrame:
    """What was predicted and what came, group by group: (group, customers, predicted, churned, lower, upper).

    `by` is a column of the table, or "decile" for ten even groups by churn probability, 1 the lowest. `lower` and
    `upper` are the Wilson 90 % interval of the share that churned. With spend in the table also the means of
    `expected_spend` and `spend` and, where there are intervals, their `coverage`.
    """
    group = bins_of(table["churn_probability"].to_numpy(np.float64)) + 1 if by == "decile" else table[by].to_numpy()
    return pd.DataFrame([_group_line(name, part) for name, part in table.groupby(group, sort=True, dropna=False)])


def _group_line(name: object, part: pd.DataFrame) -> dict[str, object]:
    n, rate = len(part), float(part["churned"].mean())
    lower, upper = wilson(rate, n)
    line = {"group": name, "customers": n, "predicted": float(part["churn_probability"].mean())}
    line |= {"churned": rate, "lower": lower, "upper": upper}
    for column in ("expected_spend", "spend"):
        if column in part:
            line[column] = float(part[column].mean())
    if "spend_lower" in part and "spend" in part:
        rows = rows_of(part)
        line["coverage"] = np.nan if rows.lower is None else float(coverage(rows)(np.ones((1, n)))[0])
    return line


def wilson(rate: float, n: float, z: float = 1.6448536269514722) -> tuple[float, float]:
    """The 90 % interval of a share seen in n trials (Wilson 1927)."""
    middle = (rate + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    return float(max(middle - half, 0.0)), float(min(middle + half, 1.0))


def gain_curve(table: pd.DataFrame, points: int = 101) -> pd.DataFrame:
    """Cumulative gain: (share of customers by falling churn probability, share of the churned `caught` among them).

    Straight through groups of equal probability, as in `gain`.
    """
    rows, shares = rows_of(table), np.linspace(0, 1, points)
    ties = _Ties.of(-_probability(rows))
    caught = np.cumsum(np.add.reduceat(rows.churned[ties.order], ties.starts))
    ends = np.append(ties.starts[1:], len(rows)) / len(rows)
    known = caught / caught[-1] if caught[-1] > 0 else np.full(len(caught), np.nan)
    return pd.DataFrame({"share": shares, "caught": np.interp(shares, np.append(0.0, ends), np.append(0.0, known))})
