"""Features at machine speed: the whole catalogue against LightGBM's binning, fifty features against the usual tools.

    python benchmarks/features.py [--quick] [--json FILE] [--millions 1 10 100] [--costs]

Everything is measured in one run on one simulated log (14 lines a customer over 1,100 days, products and categories,
24 weekly cutoffs, H = 91, A = 182), so the figures are ratios. Prints a table *figure, value, interval, target,
verdict* and exits 1 when a target is missed. The interval is the span over repetitions. `--quick` keeps to a million
lines and stays under five minutes. `--costs` writes the price of every feature into features/costs.json and does
nothing else.

The competitors' queries stand below as their own users would write them: filters pushed down, one group-by per cutoff,
all threads but one switched off for everybody. Before anything is timed the results are compared. The tools side by
side and the weekly refresh are measured in processor time, so that a busy machine does not show.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path = [place for place in sys.path if Path(place).resolve() != Path(__file__).resolve().parent]  # not this file
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS"):
    os.environ.setdefault(_name, "1")

import duckdb  # noqa: E402
import lightgbm as lgb  # noqa: E402
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import polars as pl  # noqa: E402
import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402

from features import catalogue, config, ingest, population, snapshot  # noqa: E402
from features.block import Block, parts  # noqa: E402
from features.catalogue import Feature, Span  # noqa: E402
from features.history import Floats, History, ratio  # noqa: E402
from features.laws import PROCESS  # noqa: E402
from features.store import HistoryStore  # noqa: E402
from features.windows import Windows, to_date  # noqa: E402

FIRST, DAYS, LINES_A_CUSTOMER = 18_000, 1_100, 14
WINDOWS = Windows(91, 182)
CUTOFFS = [FIRST + DAYS - 1 - WINDOWS.horizon - 7 * k for k in range(24)][::-1]


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
        return f"| {self.figure:<72} | {self.value:>9.3g} | {interval:>18} | {self.target or '':>8} | {verdict:<6} |"


def at_most(figure: str, values: Sequence[float], most: float) -> Figure:
    value = float(np.median(values))
    return Figure(figure, value, min(values), max(values), f"<= {most:g}", value <= most)


def at_least(figure: str, values: Sequence[float], least: float) -> Figure:
    value = float(np.median(values))
    return Figure(figure, value, min(values), max(values), f">= {least:g}", value >= least)


def told(figure: str, value: float) -> Figure:
    return Figure(figure, value, value, value)


def seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def processor(work: Callable[[], Any]) -> float:
    """Seconds of processor time: what one thread's work costs whoever else is on the machine."""
    start = time.process_time()
    work()
    return time.process_time() - start


# -- the log -----------------------------------------------------------------------------------------------------------


def write_log(lines: int, path: Path, *, products: int = 2_000, categories: int = 20) -> None:
    """A purchase log in random order of days: customers of very different rates, prices in cents."""
    draw, left, first = np.random.default_rng(7), lines, 0
    with pq.ParquetWriter(path, _schema(), compression="zstd") as writer:
        while left > 0:
            n = min(left, 2_000_000)
            customers = max(1, n // LINES_A_CUSTOMER)
            rate = draw.gamma(0.6, 1 / 0.6, customers)
            who = first + draw.choice(customers, n, p=rate / rate.sum())
            product = np.minimum((5 * draw.pareto(0.8, n)).astype(np.int64), products - 1)
            columns = {
                "customer_id": pa.array(np.char.mod("c%08d", who)),
                "at": pa.array((FIRST + draw.integers(0, DAYS, n)).astype(np.int32), pa.date32()),
                "amount": pa.array(np.rint(np.exp(draw.normal(3, 1, n)) * 100 + 1) / 100),
                "product_id": pa.array(np.char.mod("p%05d", product)),
                "category": pa.array(np.char.mod("k%02d", product % categories)),
            }
            writer.write_table(pa.table(columns, schema=_schema()))
            left, first = left - n, first + customers


def _schema() -> pa.Schema:
    text = pa.string()
    return pa.schema(
        {"customer_id": text, "at": pa.date32(), "amount": pa.float64(), "product_id": text, "category": text}
    )


def stored(folder: Path, log: Path) -> HistoryStore:
    """The log taken in."""
    folder.mkdir(parents=True, exist_ok=True)
    said = {"shop": {"currency": "USD"}, "tables": {"purchases": {"path": str(log)}}}
    settings = config.build(said, folder / "holdfast.toml")
    ingest.ingest(settings)
    return HistoryStore(ingest.history_folder(settings))


# -- the whole catalogue -----------------------------------------------------------------------------------------------


def whole_catalogue(millions: int, folder: Path) -> Iterator[tuple[float, Figure]]:
    """Time a row against LightGBM's binning of the same rows, peak memory, and ingest against DuckDB's group-by; beside
    the figure of the whole run its processor seconds, 0 beside the others."""
    log = folder / f"log{millions}.parquet"
    write_log(millions * 1_000_000, log)
    by_duckdb = seconds(lambda: _duckdb_group(log))
    taken_in = seconds(lambda: stored(folder / f"store{millions}", log))
    store = HistoryStore(folder / f"store{millions}" / "var" / "history")
    alone = _alone(folder / f"store{millions}" / "var" / "history", folder / "snapshot.parquet")
    whole, rows = alone["seconds"], alone["rows"]
    computing, binning = [], []
    features = catalogue.select(store.tables)
    crowd = population.freeze(store, CUTOFFS, WINDOWS, process=PROCESS)
    for X, spent in _blocks(store, features, crowd):
        computing.append(spent / len(X))
        threads = {"num_threads": 1, "verbose": -1}
        data = lgb.Dataset(X, np.zeros(len(X)), params=threads)
        binning.append(seconds(data.construct) / len(X))
    ratios = [a / b for a, b in zip(computing, binning, strict=True)]
    name = f"{millions} million lines"
    yield 0, at_most(f"{name}: a row of {len(features)} features / binning it", ratios, 1.0)
    yield 0, told(f"{name}: microseconds a row, in memory", 1e6 * float(np.median(computing)))
    yield 0, told(f"{name}: microseconds a row, read, population and Parquet included", 1e6 * whole / rows)
    yield alone["cpu"], told(f"{name}: seconds for {rows:,} rows", whole)
    yield 0, at_most(f"{name}: peak memory of the feature run (GB)", [alone["peak"]], 4.0)
    yield 0, at_most(f"{name}: ingest / DuckDB's group-by of the same file", [taken_in / by_duckdb], 3.5)


def _alone(history: Path, out: Path) -> dict[str, Any]:
    """The feature run in a process of its own, which tells its rows, seconds, processor seconds and peak memory."""
    command = [sys.executable, __file__, "--alone", str(history), str(out)]
    said: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    out.unlink()
    return said


def run_alone(history: str, out: str) -> None:
    """What `_alone` starts."""
    start, cpu = time.perf_counter(), time.process_time()
    rows = snapshot.write(HistoryStore(history), CUTOFFS, WINDOWS, out, labels=False)
    said = {"rows": rows, "seconds": time.perf_counter() - start, "cpu": time.process_time() - cpu}
    print(json.dumps(said | {"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}))


def _duckdb_group(log: Path) -> None:
    """Every customer's rows gathered, on all threads."""
    query = f"""SELECT customer_id, list("at"), list(amount), list(product_id), list(category)
                FROM '{log}' GROUP BY customer_id"""
    with duckdb.connect() as db:
        db.sql(query).to_arrow_table()


def _blocks(
    store: HistoryStore, features: Sequence[Feature], crowd: population.Population
) -> Iterator[tuple[Any, float]]:
    """Matrices of up to two million rows from the first buckets, and the seconds their features took."""
    pieces: list[Any] = []
    spent = 0.0
    for bucket in range(store.buckets):
        for part in parts(store.block(bucket), max(1_000, snapshot.ROWS_A_PART // len(CUTOFFS))):
            start = time.perf_counter()
            pieces.append(matrix(part, features, crowd, store.exponent))
            spent += time.perf_counter() - start
            if sum(map(len, pieces)) >= 500_000:
                yield stacked(pieces), spent
                pieces, spent = [], 0.0
                if bucket >= store.buckets // 2:
                    return
    if pieces:
        yield stacked(pieces), spent


def stacked(pieces: Sequence[Any], kind: Any = np.float32) -> Any:
    """One matrix in column order, which LightGBM bins fastest."""
    X = np.empty((sum(map(len, pieces)), pieces[0].shape[1]), kind, order="F")
    for k in range(X.shape[1]):
        np.concatenate([piece[:, k] for piece in pieces], out=X[:, k])
    return X


def matrix(part: Block, features: Sequence[Feature], crowd: population.Population | None, exponent: int) -> Any:
    """The features of a part as a float32 matrix."""
    h = History(part, CUTOFFS, WINDOWS, population=crowd, exponent=exponent)
    X = np.empty((len(h), len(features)), np.float32, order="F")
    with np.errstate(all="ignore"):
        for k, made in enumerate(features):
            X[:, k] = made(h)
    return X


def write_costs(folder: Path) -> None:
    """Microseconds a row of every feature, the least of seven runs of the whole catalogue, into features/costs.json."""
    from training import simulate

    simulate.shop(4_000, 7, folder / "shop")
    settings = config.load(folder / "shop" / "holdfast.toml")
    ingest.ingest(settings)
    store = HistoryStore(ingest.history_folder(settings))
    last = store.last_day - WINDOWS.horizon
    cutoffs = [last - 7 * k for k in range(24)][::-1]
    crowd = population.freeze(store, cutoffs, WINDOWS, process=PROCESS)
    features, best, rows = catalogue.select(store.tables), {}, 0
    with np.errstate(all="ignore"):
        for _ in range(7):
            h = History(next(parts(store.block(0), 1_000)), cutoffs, WINDOWS, population=crowd, exponent=store.exponent)
            rows = len(h)
            for made in features:
                took = seconds(lambda made=made, h=h: made(h))
                best[made.name] = min(best.get(made.name, took), took)
    costs = {name: round(1e6 * took / rows, 4) for name, took in best.items()}
    catalogue.COSTS.write_text(json.dumps(costs, indent=1) + "\n", encoding="utf-8")
    print(f"{len(costs)} features, {sum(costs.values()):.2f} microseconds a row together, over {rows:,} rows")


# -- fifty features, five tools ----------------------------------------------------------------------------------------

LASTS = tuple(Span("", times).days(WINDOWS.horizon) for times in (1 / 8, 1 / 4, 1 / 2, 1, 2, 4))
BEFORES = LASTS[1:5]


def fifty(h: History) -> dict[str, Floats]:
    """Fifty features that every tool can say: counts, sums, means, extremes, changes and lines over many windows."""
    found: dict[str, Floats] = {"recency": h.days_since(), "tenure": h.days_since_first()}
    found |= {"days": h.count(), "spend": h.total("amount"), "lines": h.total("lines")}
    found |= {"largest": h.over(np.maximum, "amount"), "smallest": h.over(np.minimum, "amount")}
    found["gap"] = h.gap_mean()
    for last in LASTS:
        found[f"days{last}"], found[f"spend{last}"] = h.count(last), h.total("amount", last)
        found[f"lines{last}"] = h.total("lines", last)
        found[f"ticket{last}"] = ratio(found[f"spend{last}"], found[f"days{last}"])
        found[f"largest{last}"] = h.over(np.maximum, "amount", last)
    for last in BEFORES:
        found[f"days{last}b"], found[f"spend{last}b"] = h.count(last, last), h.total("amount", last, last)
        found[f"change{last}"] = ratio(found[f"spend{last}"], found[f"spend{last}b"])
    return found


def by_history(blocks: Sequence[Block]) -> pa.Table:
    """A table in chunks, as DuckDB's and polars' are."""
    chunks = []
    with np.errstate(all="ignore"):
        for block in blocks:
            h = History(block, CUTOFFS, WINDOWS)
            chunks.append(pa.table({"who": h.who, "cutoff": h.cut, **fifty(h)}))
    return pa.concat_tables(chunks)


def _sql(cutoff: int, table: str) -> str:
    """One cutoff in DuckDB: SUM(CASE ...), which is five times faster there than FILTER."""

    def window(value: str, last: int, before: int = 0, of: str = "SUM") -> str:
        inside = f"day > {cutoff - before - last} AND day <= {cutoff - before}"
        return f"{of}(CASE WHEN {inside} THEN {value} {'ELSE 0 ' if of == 'SUM' else ''}END)"

    columns = [f"{cutoff} - MAX(day) AS recency", f"{cutoff} - MIN(day) AS tenure", "COUNT(*) AS days"]
    columns += ["SUM(amount) AS spend", "SUM(lines) AS lines", "MAX(amount) AS largest", "MIN(amount) AS smallest"]
    columns += ["(MAX(day) - MIN(day)) / NULLIF(COUNT(*) - 1, 0) AS gap"]
    for last in LASTS:
        columns += [f"{window('1', last)} AS days{last}", f"{window('amount', last)} AS spend{last}"]
        columns += [f"{window('lines', last)} AS lines{last}", f"spend{last} / NULLIF(days{last}, 0) AS ticket{last}"]
        columns += [f"{window('amount', last, of='MAX')} AS largest{last}"]
    for last in BEFORES:
        columns += [f"{window('1', last, last)} AS days{last}b", f"{window('amount', last, last)} AS spend{last}b"]
        columns += [f"spend{last} / NULLIF(spend{last}b, 0) AS change{last}"]
    having = f"HAVING MAX(day) > {cutoff - WINDOWS.active}"
    chosen = ", ".join(columns)
    return f"SELECT who, {cutoff} AS cutoff, {chosen} FROM {table} WHERE day <= {cutoff} GROUP BY who {having}"


def by_duckdb(rows: pa.Table) -> Any:
    with duckdb.connect() as db:
        db.execute("SET threads TO 1")
        db.register("arrow_rows", rows)
        db.execute("CREATE TABLE rows AS SELECT * FROM arrow_rows")
        return pa.concat_tables([db.sql(_sql(cutoff, "rows")).to_arrow_table() for cutoff in CUTOFFS])


def by_polars(rows: pl.DataFrame) -> pl.DataFrame:
    day, amount = pl.col("day"), pl.col("amount")
    made = []
    for cutoff in CUTOFFS:
        columns = [(cutoff - day.max()).alias("recency"), (cutoff - day.min()).alias("tenure"), pl.len().alias("days")]
        columns += [amount.sum().alias("spend"), pl.col("lines").sum().alias("lines")]
        columns += [amount.max().alias("largest"), amount.min().alias("smallest")]
        columns += [((day.max() - day.min()) / (pl.len() - 1)).alias("gap")]
        for last in LASTS:
            inside = day > cutoff - last
            columns += [inside.sum().alias(f"days{last}"), (amount * inside).sum().alias(f"spend{last}")]
            columns += [(pl.col("lines") * inside).sum().alias(f"lines{last}")]
            columns += [pl.when(inside).then(amount).max().alias(f"largest{last}")]
        for last in BEFORES:
            inside = (day > cutoff - 2 * last) & (day <= cutoff - last)
            columns += [inside.sum().alias(f"days{last}b"), (amount * inside).sum().alias(f"spend{last}b")]
        frame = (
            rows.lazy().filter(day <= cutoff).group_by("who").agg(columns).filter(pl.col("recency") < WINDOWS.active)
        )
        ratios = [(pl.col(f"spend{last}") / pl.col(f"days{last}")).alias(f"ticket{last}") for last in LASTS]
        ratios += [(pl.col(f"spend{last}") / pl.col(f"spend{last}b")).alias(f"change{last}") for last in BEFORES]
        made.append(frame.with_columns(pl.lit(cutoff).alias("cutoff"), *ratios).collect())
    return pl.concat(made)


def by_pandas(rows: pd.DataFrame) -> pd.DataFrame:
    made = []
    for cutoff in CUTOFFS:
        known = rows[rows.day <= cutoff]
        groups = known.groupby("who", sort=False)
        frame = groups.agg(
            first=("day", "min"), latest=("day", "max"), days=("day", "size"), spend=("amount", "sum"),
            lines=("lines", "sum"), largest=("amount", "max"), smallest=("amount", "min"),
        )  # fmt: skip
        frame["recency"], frame["tenure"] = cutoff - frame.latest, cutoff - frame["first"]
        frame["gap"] = (frame.latest - frame["first"]) / (frame.days - 1).replace(0, np.nan)
        frame = frame[frame.recency < WINDOWS.active]
        for last in LASTS:
            recent = known[known.day > cutoff - last].groupby("who", sort=False)
            sums = {"days": ("day", "size"), "spend": ("amount", "sum"), "lines": ("lines", "sum")}
            window = recent.agg(**sums, largest=("amount", "max"))
            window = window.reindex(frame.index)
            counts = window[["days", "spend", "lines"]].fillna(0)
            frame[[f"days{last}", f"spend{last}", f"lines{last}"]] = counts.to_numpy()
            frame[f"largest{last}"] = window.largest.to_numpy()
            frame[f"ticket{last}"] = frame[f"spend{last}"] / frame[f"days{last}"].replace(0, np.nan)
        for last in BEFORES:
            older = known[(known.day > cutoff - 2 * last) & (known.day <= cutoff - last)].groupby("who", sort=False)
            window = older.agg(days=("day", "size"), spend=("amount", "sum")).reindex(frame.index).fillna(0)
            frame[[f"days{last}b", f"spend{last}b"]] = window.to_numpy()
            frame[f"change{last}"] = frame[f"spend{last}"] / frame[f"spend{last}b"].replace(0, np.nan)
        frame["cutoff"] = cutoff
        made.append(frame.reset_index())
    return pd.concat(made, ignore_index=True)


def side_by_side(store: HistoryStore, buckets: int, folder: Path) -> Iterator[Figure]:
    """The same fifty features from the same customer-days, one thread each; results compared before timing counts."""
    blocks, rows = _flat(store, buckets)
    small = list(parts_of(blocks))
    found = by_history(small)
    names = found.column_names[2:]
    ours = np.stack([found[name].to_numpy() for name in names]).T
    columns = {"who": rows["who"], "day": rows["day"], "amount": rows["amount"], "lines": rows["lines"]}
    table, frame, polar = pa.table(columns), pd.DataFrame(columns), pl.DataFrame(columns)
    mine = min(processor(lambda: by_history(small)) for _ in range(5))
    yield told(f"fifty features, {len(ours):,} rows: microseconds a row", 1e6 * mine / len(ours))
    rivals: list[tuple[str, float, Callable[[], Any]]] = [
        ("DuckDB, SQL per cutoff", 12, lambda: by_duckdb(table).to_pandas()),
        ("polars, group-by per cutoff", 10, lambda: by_polars(polar).to_pandas()),
        ("pandas, group-by per cutoff", 10, lambda: by_pandas(frame)),
    ]
    for name, least, work in rivals:
        _refuse_other(name, work(), ours, names)
        yield at_least(f"fifty features: {name} / History", [processor(work) / mine for _ in range(3)], least)
    yield by_featuretools(next(parts(blocks[0], 500)), folder)


FEATURETOOLS = "HOLDFAST_FEATURETOOLS"
"""Names an interpreter that has featuretools (whose 1.31 wants pandas below 3); without it this one is tried."""


def by_featuretools(block: Block, folder: Path) -> Figure:
    """featuretools on one part, in an interpreter that has it, against History on the same part."""
    figure = "fifty features: featuretools / History"
    python = os.environ.get(FEATURETOOLS, sys.executable)
    if subprocess.run([python, "-c", "import featuretools"], check=False, capture_output=True).returncode:
        return told(f"{figure}: skipped, {FEATURETOOLS} names no interpreter with it", float("nan"))
    table, out = block.tables["purchases"], folder / "found.npz"
    asked: dict[str, Any] = {"who": table.who, "day": table.day}
    asked |= {name: table.measures[name] for name in ("amount", "lines")}
    asked |= {"cutoffs": CUTOFFS, "active": WINDOWS.active, "lasts": LASTS, "befores": BEFORES}
    np.savez(folder / "rows.npz", **asked)
    script = Path(__file__).with_name("by_featuretools.py")
    subprocess.run([python, str(script), str(folder / "rows.npz"), str(out)], check=True, capture_output=True)
    found = by_history([block])
    names = found.column_names[2:]
    with np.load(out) as theirs:
        frame = pd.DataFrame({column: theirs[column] for column in ("who", "cutoff", *names)})
        spent = float(theirs["seconds"])
    _refuse_other("featuretools", frame, np.stack([found[column].to_numpy() for column in names]).T, names)
    mine = min(processor(lambda: by_history([block])) for _ in range(5))
    return at_least(f"{figure}, {len(found):,} rows", [spent / mine], 200)


def parts_of(blocks: Sequence[Block]) -> Iterator[Block]:
    """Parts larger than those of a snapshot: fifty columns leave more room in cache than the whole catalogue."""
    for block in blocks:
        yield from parts(block, 4 * snapshot.ROWS_A_PART // len(CUTOFFS))


def _flat(store: HistoryStore, buckets: int) -> tuple[list[Block], dict[str, Any]]:
    """Some buckets' purchases as blocks and as one table of rows with customers numbered through."""
    blocks = [store.block(bucket, ("purchases",)) for bucket in range(min(buckets, store.buckets))]
    first = np.cumsum([0, *(len(block.customers) for block in blocks)])
    tables = [block.tables["purchases"] for block in blocks]
    rows = {"who": np.concatenate([t.who + first[k] for k, t in enumerate(tables)])}
    rows["day"] = np.concatenate([t.day for t in tables])
    rows |= {name: np.concatenate([t.measures[name] for t in tables]) for name in ("amount", "lines")}
    return blocks, rows


def _refuse_other(name: str, theirs: pd.DataFrame, ours: Any, names: Sequence[str]) -> None:
    """Stop where a rival's numbers are not ours."""
    theirs = theirs.sort_values(["who", "cutoff"])[list(names)].astype(float).replace([np.inf, -np.inf], np.nan)
    values = theirs.to_numpy()
    if values.shape != ours.shape:
        raise SystemExit(f"{name} has {values.shape} values, History {ours.shape}")
    off = ~np.isclose(values, ours, rtol=1e-9, equal_nan=True)
    if off.any():
        raise SystemExit(
            f"{name} does not agree on {', '.join(n for n, bad in zip(names, off.T, strict=True) if bad.any())}"
        )


# -- the weekly refresh ------------------------------------------------------------------------------------------------


def weekly(folder: Path, log: Path) -> Iterator[Figure]:
    """Append a week and answer one cutoff, against rebuilding 24; the new rows equal the rebuild's, byte by byte."""
    whole = pq.read_table(log)
    last = FIRST + DAYS - 7
    old, new = folder / "old.parquet", folder / "week.parquet"
    days = whole["at"].cast(pa.int32()).to_numpy()
    pq.write_table(whole.filter(pa.array(days < last)), old)
    pq.write_table(whole.filter(pa.array(days >= last)), new)
    cutoffs = [FIRST + DAYS - 1 - 7 * k for k in range(24)][::-1]
    stored(folder / "weekly", old)
    settings = config.build({"tables": {"purchases": {"path": str(old)}}}, folder / "weekly" / "holdfast.toml")

    found: dict[str, snapshot.Snapshot] = {}

    def refresh() -> None:
        ingest.append(settings, "purchases", new)
        store = HistoryStore(ingest.history_folder(settings))
        found["one"] = snapshot.build(store, cutoffs[-1:], WINDOWS, labels=False)

    def rebuild() -> None:
        found["full"] = snapshot.build(stored(folder / "rebuilt", log), cutoffs, WINDOWS, labels=False)

    fresh, rebuilt = processor(refresh), processor(rebuild)
    one, full = found["one"], found["full"]
    same = full.take(full.cutoff == cutoffs[-1])
    order, other = np.argsort(one.customer_id), np.argsort(same.customer_id)
    equal = np.array_equal(one.X[order].view(np.int32), same.X[other].view(np.int32))
    yield at_most(f"weekly refresh / rebuilding 24 cutoffs ({to_date(cutoffs[-1])})", [fresh / rebuilt], 0.20)
    yield at_least("weekly refresh: equal to the rebuild byte by byte (1 is yes)", [float(equal)], 1)


# -- the run -----------------------------------------------------------------------------------------------------------


def run(millions: Sequence[int], folder: Path) -> Iterator[Figure]:
    whole: dict[int, float] = {}
    for size in millions:
        for cpu, figure in whole_catalogue(size, folder):
            whole[size] = cpu or whole.get(size, 0.0)
            yield figure
    for size in millions:
        if size * 10 in whole:
            yield at_most(
                f"{size} to {size * 10} million lines: growth of the processor time",
                [whole[size * 10] / whole[size]],
                10.5,
            )
    first = min(millions)
    store = HistoryStore(folder / f"store{first}" / "var" / "history")
    yield from side_by_side(store, store.buckets if first == 1 else 8, folder)
    yield from weekly(folder, folder / f"log{first}.parquet")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="a million lines, under five minutes")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--millions", type=int, nargs="+", default=[1, 10, 100])
    parser.add_argument("--costs", action="store_true", help="measure each feature and write features/costs.json")
    parser.add_argument("--alone", nargs=2, metavar=("HISTORY", "OUT"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.alone:
        run_alone(*asked.alone)
        return 0
    folder = Path(tempfile.mkdtemp(prefix="holdfast-features-"))
    try:
        if asked.costs:
            write_costs(folder)
            return 0
        figures = []
        print(f"| {'figure':<72} | {'value':>9} | {'interval':>18} | {'target':>8} | verdict |")
        for figure in run([1] if asked.quick else asked.millions, folder):
            print(figure, flush=True)
            figures.append(figure)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if asked.json:
        asked.json.write_text(json.dumps([asdict(figure) for figure in figures], indent=1) + "\n", encoding="utf-8")
    return 0 if all(figure.held for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
