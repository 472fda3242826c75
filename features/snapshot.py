"""Snapshot: one row per customer and cutoff, with features seen at the cutoff and labels from the horizon.

Buckets of the store are read one after another, cut into parts small enough for the processor's cache, and answered by
one History each; what is distributed over processes is the buckets' names. A row depends on nothing but its customer,
its cutoff and the frozen population, so neither parts nor processes show in the result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import joblib
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from features import labels as outcomes
from features import population as crowd
from features.block import Block, Ints, parts
from features.catalogue import Feature, select
from features.errors import CannotWrite, UsageError
from features.history import At, Floats, History
from features.population import Population
from features.windows import Windows

Progress = Callable[[str], None]

ROWS_A_PART = 25_000
"""Rows that one History answers at once: its arrays then stay in cache, and NumPy's calls cost little against them."""
ROWS_KEPT = 10_000_000
"""Rows of the store, a gigabyte at most, that wait in memory between the population's reading and the features'."""


class Store(Protocol):
    """What a snapshot needs of a store; `features.store.HistoryStore` is one."""

    @property
    def tables(self) -> tuple[str, ...]: ...
    @property
    def buckets(self) -> int: ...
    @property
    def exponent(self) -> int: ...
    @property
    def last_day(self) -> int: ...
    def block(self, bucket: int, tables: Sequence[str] | None = None, as_of: int | None = None) -> Block: ...


@dataclass(frozen=True)
class Snapshot:
    """n rows in bucket order, customers in the store's order, cutoffs ascending within a customer.

    `customer_id` objects (n), `cutoff` int64 days (n), `X` float32 (n, k) in column order with NaN for absent, `names`
    its columns, `labels` float64 (n) by name with NaN where the horizon is not closed, `words` object (n) by name.
    """

    customer_id: NDArray[np.object_]
    cutoff: Ints
    names: tuple[str, ...]
    X: NDArray[np.float32]
    labels: Mapping[str, Floats] = field(default_factory=dict)
    words: Mapping[str, NDArray[np.object_]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.cutoff)

    def column(self, name: str) -> NDArray[np.float32]:
        """One feature. Raises UsageError for a name the snapshot does not hold."""
        if name not in self.names:
            raise UsageError(f"the snapshot holds no feature {name!r}", do="ask snapshot.build for it")
        return self.X[:, self.names.index(name)]

    def take(self, mask: NDArray[Any]) -> Snapshot:
        """The rows of a mask or of positions."""
        return Snapshot(
            self.customer_id[mask],
            self.cutoff[mask],
            self.names,
            _columns([self.X[:, k][mask] for k in range(len(self.names))], len(self.cutoff[mask])),
            {name: values[mask] for name, values in self.labels.items()},
            {name: values[mask] for name, values in self.words.items()},
        )


def build(
    store: Store,
    cutoffs: Sequence[int],
    windows: Windows,
    *,
    features: Sequence[Feature] | None = None,
    at: At = "at risk",
    labels: bool = True,
    horizons: Sequence[int] = (),
    population: Population | None = None,
    as_of: int | None = None,
    jobs: int = 1,
    progress: Progress | None = None,
) -> Snapshot:
    """Features of every customer who is there (`at`) at each cutoff, and labels where their horizon has closed.

    `features` are all whose tables the store has, unless named. `as_of` is the last day that is known (the store's by
    default): rows after it do not exist, and no label reaches beyond it. `population` is frozen here where a feature
    needs it and none is given. `jobs` processes share the buckets and change nothing in the result.
    """
    job = _Job.of(
        store,
        cutoffs,
        windows,
        features=features,
        at=at,
        labels=labels,
        horizons=horizons,
        population=population,
        as_of=as_of,
        keep=jobs == 1,
        progress=progress,
    )
    if jobs == 1:
        pieces = [piece for bucket in range(store.buckets) for piece in job.run(bucket)]
    else:
        told = joblib.Parallel(n_jobs=jobs)(joblib.delayed(_run)(job, bucket) for bucket in range(store.buckets))
        pieces = [piece for made in told for piece in made]
    if progress:
        progress(f"snapshot: {sum(map(len, pieces)):,} rows x {len(job.features)} features")
    return _joined(pieces, job.names)


def write(
    store: Store,
    cutoffs: Sequence[int],
    windows: Windows,
    out: str | Path,
    *,
    features: Sequence[Feature] | None = None,
    at: At = "at risk",
    labels: bool = True,
    horizons: Sequence[int] = (),
    population: Population | None = None,
    as_of: int | None = None,
    progress: Progress | None = None,
) -> int:
    """The same as a Parquet file, streamed: a bucket is in memory at a time. Returns the rows written.

    Columns: customer_id (string), cutoff (date), the features (float32), the labels (float64, prefixed `label_`); NaN
    is written as null. The file appears whole or not at all. Raises CannotWrite where it cannot be written.
    """
    job = _Job.of(
        store,
        cutoffs,
        windows,
        features=features,
        at=at,
        labels=labels,
        horizons=horizons,
        population=population,
        as_of=as_of,
        keep=True,
        progress=progress,
    )
    out, rows, writer = Path(out), 0, None
    unfinished = out.with_name(out.name + ".unfinished")
    try:
        for bucket in range(store.buckets):
            for piece in job.run(bucket):
                table = arrow(piece)
                writer = writer or pq.ParquetWriter(unfinished, table.schema, use_dictionary=["customer_id"])
                writer.write_table(table)
                rows += len(piece)
        if writer is None:
            pq.write_table(arrow(_joined([], job.names)), unfinished)
        else:
            writer.close()
        unfinished.replace(out)
    except OSError as error:
        raise CannotWrite("the snapshot cannot be written", where=str(out), got=error.strerror or str(error)) from error
    finally:
        unfinished.unlink(missing_ok=True)
    if progress:
        progress(f"snapshot: {rows:,} rows x {len(job.features)} features -> {out}")
    return rows


def arrow(snapshot: Snapshot) -> pa.Table:
    """The snapshot as an Arrow table, absent as null."""
    columns = {
        "customer_id": pa.array(snapshot.customer_id, pa.string()),
        "cutoff": pa.array(snapshot.cutoff.astype(np.int32), pa.date32()),
    }
    columns |= {name: pa.array(snapshot.X[:, k], from_pandas=True) for k, name in enumerate(snapshot.names)}
    columns |= {f"label_{name}": pa.array(values, from_pandas=True) for name, values in snapshot.labels.items()}
    return pa.table(columns)


@dataclass(frozen=True)
class _Job:
    """All that a process needs to answer for a bucket."""

    store: Store
    cutoffs: Ints
    windows: Windows
    features: tuple[Feature, ...]
    at: At
    labels: bool
    horizons: tuple[int, ...]
    population: Population | None
    as_of: int
    kept: dict[int, Block] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        store: Store,
        cutoffs: Sequence[int],
        windows: Windows,
        *,
        features: Sequence[Feature] | None,
        at: At,
        labels: bool,
        horizons: Sequence[int],
        population: Population | None,
        as_of: int | None,
        keep: bool,
        progress: Progress | None,
    ) -> _Job:
        chosen = select(store.tables) if features is None else tuple(features)
        days, last_day = np.unique(np.asarray(cutoffs, np.int64)), store.last_day if as_of is None else as_of
        if len(days) and days[-1] > last_day:
            raise UsageError("a cutoff lies after the last day that is known", got=str(days[-1]), allowed=str(last_day))
        job = cls(store, days, windows, chosen, at, labels, tuple(horizons), population, last_day)
        if population is None and any(f.scope == "population" for f in chosen):
            read = job._keeping if keep and len(days) and days[-1] == last_day else None
            job = replace(job, population=crowd.freeze(store, days, windows, read=read, progress=progress))
        return job

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f.name for f in self.features)

    def run(self, bucket: int) -> Iterator[Snapshot]:
        """The rows of a bucket, part by part."""
        block = self.kept.pop(bucket, None) or self.store.block(bucket, self._tables(), self.as_of)
        for part in parts(block, max(1_000, ROWS_A_PART // len(self.cutoffs))):
            piece = self._answer(part)
            if len(piece):
                yield piece

    def _keeping(self, bucket: int, tables: Sequence[str]) -> Block:
        """A bucket as the population reads it, kept for `run` while there is room: both know the same days."""
        wanted = self._tables()
        if _rows(self.kept) >= ROWS_KEPT or (wanted is not None and not set(tables) <= set(wanted)):
            return self.store.block(bucket, tables, self.as_of)
        block = self.kept[bucket] = self.store.block(bucket, wanted, self.as_of)
        return Block(block.customers, {name: table for name, table in block.tables.items() if name in tables})

    def _tables(self) -> tuple[str, ...] | None:
        """The tables that the features and labels read; all of them where every customer known is asked for."""
        wanted = {"purchases", *(table for f in self.features for table in f.tables)}
        if self.labels:
            wanted |= {"returns", "lines", "surveys"}
        return None if self.at == "known" else tuple(name for name in self.store.tables if name in wanted)

    def _answer(self, block: Block) -> Snapshot:
        h = History(
            block,
            self.cutoffs,
            self.windows,
            at=self.at,
            population=self.population,
            exponent=self.store.exponent,
        )
        X = np.empty((len(h), len(self.features)), np.float32, order="F")
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            for k, made in enumerate(self.features):
                X[:, k] = made(h)
            found = outcomes.compute(h, self.as_of, self.horizons) if self.labels else {}
            said = outcomes.words(h, self.as_of) if self.labels else {}
        return Snapshot(h.customer_id, h.cut, self.names, X, found, said)


def _rows(blocks: Mapping[int, Block]) -> int:
    return sum(len(table.day) for block in blocks.values() for table in block.tables.values())


def _run(job: _Job, bucket: int) -> list[Snapshot]:
    return list(job.run(bucket))


def _columns(columns: Sequence[NDArray[np.float32]], rows: int) -> NDArray[np.float32]:
    """A matrix of these columns, in column order."""
    X = np.empty((rows, len(columns)), np.float32, order="F")
    for k, column in enumerate(columns):
        X[:, k] = column
    return X


def _joined(pieces: list[Snapshot], names: tuple[str, ...]) -> Snapshot:
    """One snapshot of many, each freed once it is copied."""
    if not pieces:
        empty = np.empty((0, len(names)), np.float32, order="F")
        return Snapshot(np.empty(0, object), np.empty(0, np.int64), names, empty)
    rows = np.cumsum([0, *map(len, pieces)])
    first = pieces[0]
    X = np.empty((rows[-1], len(names)), np.float32, order="F")
    customer_id, cutoff = np.empty(rows[-1], object), np.empty(rows[-1], np.int64)
    labels = {name: np.empty(rows[-1]) for name in first.labels}
    words = {name: np.full(rows[-1], None, object) for name in first.words}
    for k in range(len(pieces)):
        at, piece = slice(rows[k], rows[k + 1]), pieces[k]
        customer_id[at], cutoff[at] = piece.customer_id, piece.cutoff
        for column in range(len(names)):  # one by one: NumPy copies a block of columns twelve times slower
            X[at, column] = piece.X[:, column]
        for name, values in piece.labels.items():
            labels[name][at] = values
        for name, said in piece.words.items():
            words[name][at] = said
        pieces[k] = first if k == 0 else _NOTHING
    return Snapshot(customer_id, cutoff, names, X, labels, words)


_NOTHING = Snapshot(np.empty(0, object), np.empty(0, np.int64), (), np.empty((0, 0), np.float32))
