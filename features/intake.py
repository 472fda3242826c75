"""The first pass of an ingest: rows read, checked against their contract, counted, and spread over buckets.

Every row that was read has one fate, and the fates add up. What cannot be used goes to quarantine with its line and the
reason. Lines are never taken for duplicates: two equal lines of one order are two pieces of one product in many shops;
`inspect.check` counts them for the owner to judge.
"""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.block import Ints
from features.errors import BadData
from features.hashing import bucket_of, hash_ids, pack, unpack
from features.reader import Batch, Source, batches, keep_only, line_of, sha256_of, shown
from features.store import HistoryStore
from features.tables import CONTRACTS, THOUSANDTHS, Bad, DayOrder, Unit, conform, flat, ints_of

SPILL = 1 << 28  # bytes kept in memory before rows go to disk


SHOWN = 5  # offending rows named in a message


@dataclass
class Counts:
    """What became of a table's rows: `read` = `kept` + `filtered` + `guests` + `bad` + `later` + `erased` +
    `free`; of those kept, `bought` are purchases."""

    read: int = 0
    kept: int = 0
    filtered: int = 0
    guests: int = 0
    bad: int = 0
    later: int = 0
    erased: int = 0
    free: int = 0
    bought: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    first: list[str] = field(default_factory=list)

    def add(self, other: Counts) -> None:
        """The numbers of a batch, to those of the table."""
        for name, number in other.as_dict().items():
            setattr(self, name, getattr(self, name) + number)

    def as_dict(self) -> dict[str, int]:
        names = ("read", "kept", "filtered", "guests", "bad", "later", "erased", "free", "bought")
        return {name: int(getattr(self, name)) for name in names}


FATES = {
    "kept": "kept",
    "filtered": "left out by `only`",
    "guests": "without a customer (set aside)",
    "bad": "not usable (quarantined)",
    "later": "after the as-of day",
    "erased": "of erased customers",
    "free": "of amount 0 (neither purchase nor return)",
}


@dataclass(frozen=True)
class Plan:
    """How sources become a part: the columns they have, how their days and money are read, where the rows go.
    `with_orders` keeps order ids in words, for tables that know a row's order and not its customer."""

    sources: Mapping[str, Source]
    names: Mapping[str, Mapping[str, str]]
    orders: Mapping[str, DayOrder]
    unit: Unit
    buckets: int
    as_of: int | None
    max_bad_share: float
    with_orders: bool
    erased: tuple[str, ...] = ()
    name: str = ""
    first_place: int = 0
    keep_ids: frozenset[str] = frozenset()


def joined_by_order(table: str, names: Mapping[str, str]) -> bool:
    """Whether a table's rows find their customer through their order."""
    return table not in ("purchases", "costs") and "customer_id" not in names and "order_id" in names


def fingerprint(file: str) -> str:
    return "" if "://" in file else sha256_of(file)


# -- rows checked ------------------------------------------------------------------------------------------------------


def checked_rows(
    plan: Plan, table: str, counts: Counts, quarantine: Quarantine, orders: pa.Table | None = None
) -> Iterator[pa.Table]:
    """Typed rows of a source that can be used; the rest is counted."""
    contract, source = CONTRACTS[table], plan.sources[table]
    unit = replace(plan.unit, order=plan.orders[table])
    skipped: dict[str, list[int]] = {}

    def check(batch: Batch) -> tuple[Batch, Counts, Ints, pa.Table, Bad]:
        found = Counts(read=batch.rows.num_rows)
        rows, place = _filtered(batch, source, found)
        if orders is not None and joined_by_order(table, plan.names[table]):
            rows = rows.append_column("customer_id", _customers_by_order(rows, orders))
        typed, bad = conform(contract, rows, unit)
        return batch, found, place, _usable(plan, table, typed, batch, found), bad

    for batch, found, place, typed, bad in ahead(check, batches(source, contract, plan.names[table])):
        lines = skipped.setdefault(batch.file, [])
        for line, text in batch.skipped:
            lines.append(line)
            counts.read += 1
            quarantine.add(counts, BadRow(table, batch.file, line, "", text, "has too many or too few fields"))
        for i, column, value, reason in zip(bad.row, bad.column, bad.value, bad.reason, strict=True):
            line = line_of(batch.file, batch.first + int(place[i]), lines)
            quarantine.add(counts, BadRow(table, batch.file, line, column, value, reason))
        counts.add(found)
        yield typed


def _usable(plan: Plan, table: str, typed: pa.Table, batch: Batch, counts: Counts) -> pa.Table:
    """The rows that go into the store: with a customer, not after the as-of day, of nobody erased, not of amount 0."""
    typed = _with_customer(table, typed, counts)
    typed = _up_to(plan.as_of, typed, counts)
    typed = _without_erased(plan.erased, typed, counts)
    if table == "purchases":
        typed = priced(typed, counts)
        counts.bought += int((ints_of(typed, "amount") > 0).sum())
    if table == "customers":
        typed = typed.append_column("_seq", pa.array(np.full(typed.num_rows, plan.first_place + batch.place)))
    counts.kept += typed.num_rows
    return typed


def ahead(work: Callable[[Any], Any], items: Iterable[Any], threads: int = 2) -> Iterator[Any]:
    """`work` of each item, in order, with a few done ahead: Arrow and NumPy let go of the interpreter's lock."""
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Any] = deque()
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _filtered(batch: Batch, source: Source, counts: Counts) -> tuple[pa.Table, Ints]:
    rows, place = batch.rows, np.arange(batch.rows.num_rows)
    mask = keep_only(rows, source.only)
    if mask is not None:
        kept = pc.fill_null(mask, False)
        keep = np.asarray(kept.to_numpy(zero_copy_only=False) if isinstance(kept, pa.Array) else kept.to_numpy(), bool)
        counts.filtered += int((~keep).sum())
        rows, place = rows.filter(kept), place[keep]
    if "status" in rows.column_names:  # has done its work
        rows = rows.drop_columns(["status"])
    return rows, place


def _with_customer(table: str, rows: pa.Table, counts: Counts) -> pa.Table:
    if table == "costs":
        return (
            rows
            if "customer_id" in rows.column_names
            else rows.append_column("customer_id", pa.nulls(rows.num_rows, pa.large_string()))
        )
    guests = rows["customer_id"].null_count
    counts.guests += guests
    return rows.filter(pc.is_valid(rows["customer_id"])) if guests else rows


def _up_to(as_of: int | None, rows: pa.Table, counts: Counts) -> pa.Table:
    """Without the rows that nothing was known of on the as-of day."""
    days = [rows[name] for name in ("at", "invited_at", "joined_at") if name in rows.column_names]
    if as_of is None or not days:
        return rows
    keep = pc.fill_null(pc.less_equal(pc.min_element_wise(*days), as_of), True)
    kept = rows.filter(keep)
    counts.later += rows.num_rows - kept.num_rows
    return kept


def priced(rows: pa.Table, counts: Counts) -> pa.Table:
    """Purchases with an amount in every line: given, else unit price x quantity, else 1 unit; lines of 0 left out."""
    n = rows.num_rows
    if "unit_price" in rows.column_names:
        quantity = ints_of(rows, "quantity") if "quantity" in rows.column_names else np.zeros(n, np.int64)
        product = np.rint(ints_of(rows, "unit_price") * (quantity / THOUSANDTHS)).astype(np.int64)
        given = rows["amount"] if "amount" in rows.column_names else pa.nulls(n, pa.int64())
        amount = pc.coalesce(given, pa.array(product))
        rows = rows.drop_columns([c for c in ("amount", "unit_price") if c in rows.column_names])
        rows = rows.append_column("amount", amount)
    elif "amount" not in rows.column_names:
        return rows.append_column("amount", pa.array(np.ones(n, np.int64)))
    free = int(pc.sum(pc.equal(rows["amount"], 0)).as_py() or 0)
    counts.free += free
    return rows.filter(pc.not_equal(rows["amount"], 0)) if free else rows


def refuse_broken(table: str, source: Source, counts: Counts, most: float) -> None:
    usable = counts.read - counts.filtered
    where = ", ".join(shown(file) for file in source.files[:3])
    if counts.bad > most * max(usable, 1):
        raise BadData(
            f"{counts.bad:,} of {usable:,} rows of {table} cannot be used",
            where=where,
            allowed=f"a share of {most:g} ([ingest] max_bad_share)",
            got="\n           ".join(counts.first),
            do="mend the rows, or the columns in holdfast.toml; a higher max_bad_share puts them into quarantine",
        )
    if table == "purchases" and not counts.kept:
        fates = ", ".join(f"{n:,} {FATES[fate]}" for fate, n in counts.as_dict().items() if n and fate in FATES)
        raise BadData("no purchase is left", where=where, got=f"{counts.read:,} rows: {fates}" if fates else "no rows")
    if table == "purchases" and not counts.bought:
        raise BadData(
            "no line is a purchase",
            where=where,
            allowed="amounts above 0; those below are returns",
            got=f"{counts.kept:,} lines, none of them positive",
            do="is the sign turned round?",
        )


@dataclass(frozen=True)
class BadRow:
    """One row that cannot be used: where it is, which column, its value and what is wrong with it."""

    table: str
    file: str
    line: int
    column: str
    value: str
    reason: str

    def __str__(self) -> str:
        what = f"{self.column} {self.value!r}" if self.column else repr(self.value)
        return f"{Path(self.file).name} line {self.line}: {what} {self.reason}"


class Quarantine:
    """The rows that cannot be used, as they are found."""

    def __init__(self) -> None:
        self.rows: list[BadRow] = []

    def add(self, counts: Counts, row: BadRow) -> None:
        counts.bad += 1
        counts.reasons[f"{row.column} {row.reason}".strip()] += 1
        if len(counts.first) < SHOWN:
            counts.first.append(str(row))
        self.rows.append(row)

    def table(self) -> pa.Table:
        """The rows as they are written; a value as Python shows it, so that no spreadsheet takes it for a formula."""
        shape = {"table": pa.string(), "file": pa.string(), "line": pa.int64(), "column": pa.string()}
        schema = pa.schema([*shape.items(), ("value", pa.string()), ("reason", pa.string())])
        rows = [{**vars(row), "file": shown(row.file), "value": repr(row.value)} for row in self.rows]
        return pa.Table.from_pylist(rows, schema)


# -- rows spread over buckets ------------------------------------------------------------------------------------------


class Spread:
    """A table's checked rows by bucket: in memory while they are few, in Arrow files by bucket when they are many."""

    def __init__(self, folder: Path, buckets: int) -> None:
        self.folder, self.buckets = folder, buckets
        self.held: list[list[pa.Table]] = [[] for _ in range(buckets)]
        self.writers: dict[int, Any] = {}
        self.bytes = 0

    def add(self, rows: pa.Table) -> None:
        ids = flat(rows["customer_id"])
        bucket = bucket_of(ids, self.buckets)
        rows = rows.set_column(rows.column_names.index("customer_id"), "customer_id", pack(ids))
        order = np.argsort(bucket.astype(np.uint16), kind="stable")
        ends = np.cumsum(np.bincount(bucket, minlength=self.buckets))
        rows = rows.take(pa.array(order)) if self.buckets > 1 else rows
        for i in np.flatnonzero(np.diff(ends, prepend=0)):
            start = int(ends[i - 1]) if i else 0
            self.held[i].append(rows.slice(start, int(ends[i]) - start))
        self.bytes += rows.nbytes
        if self.bytes > SPILL:
            self.spill()

    def spill(self) -> None:
        """Move what is held to disk."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for bucket, held in enumerate(self.held):
            for rows in held:
                if bucket not in self.writers:
                    self.writers[bucket] = pa.ipc.new_stream(str(self.folder / f"{bucket}.arrow"), rows.schema)
                self.writers[bucket].write_table(rows.unify_dictionaries().combine_chunks())
            held.clear()
        self.bytes = 0

    def close(self) -> None:
        for writer in self.writers.values():
            writer.close()

    def bucket(self, bucket: int) -> pa.Table | None:
        """A bucket's rows; None where there are none."""
        pieces = list(self.held[bucket])
        if bucket in self.writers:
            with pa.ipc.open_stream(str(self.folder / f"{bucket}.arrow")) as stream:
                pieces.append(stream.read_all())
        return pa.concat_tables(_alike(pieces)) if pieces else None


def _alike(pieces: list[pa.Table]) -> list[pa.Table]:
    """Pieces with ids of one type: as text where some are wider than others or could not be packed."""
    if len({piece.schema.field("customer_id").type for piece in pieces}) < 2:
        return pieces
    place = pieces[0].column_names.index("customer_id")
    return [piece.set_column(place, "customer_id", unpack(flat(piece["customer_id"]))) for piece in pieces]


# -- orders know their customer ----------------------------------------------------------------------------------------


def orders_of(spread: Spread | None, old: HistoryStore | None) -> pa.Table:
    """order_id, customer_id of every purchase line that was kept."""
    pieces = []
    if spread is not None:
        for bucket in range(spread.buckets):
            rows = spread.bucket(bucket)
            if rows is not None and "order_id" in rows.column_names:
                ids = unpack(flat(rows["customer_id"]))
                pieces.append(pa.table({"order_id": rows["order_id"], "customer_id": ids}))
    if old is not None:
        pieces += list(old.orders())
    if not pieces:
        raise no_orders()
    return pa.concat_tables(pieces)


def no_orders() -> BadData:
    """A table that knows its rows' orders only, where purchases do not know theirs."""
    return BadData(
        "a table without customer_id takes it from the orders, and purchases have no order_id",
        do="name order_id in the columns of [tables.purchases], or give the table a customer_id; then ingest anew",
    )


def _customers_by_order(rows: pa.Table, orders: pa.Table) -> pa.ChunkedArray:
    place = pc.index_in(rows["order_id"].cast(pa.large_string()), orders["order_id"].combine_chunks())
    return orders["customer_id"].take(place)


# -- the erased --------------------------------------------------------------------------------------------------------


_PREFIX = 12  # bits of an id's hash that a mark shows: enough to look closely at one id in 4,096


def erased_mark(customer_id: str, salt: str) -> str:
    """A salted hash that says of an id whether it was erased, without holding it: salt, a few bits, sha256."""
    few = int(hash_ids([customer_id])[0]) & ((1 << _PREFIX) - 1)
    return f"{salt}:{few}:{hashlib.sha256(f'{salt}:{customer_id}'.encode()).hexdigest()}"


def erased_among(ids: pa.Array, erased: Sequence[str]) -> pa.Array:
    """Those of the ids that are erased."""
    if not erased:
        return ids.slice(0, 0)
    salt = erased[0].partition(":")[0]
    few = np.array([int(mark.split(":")[1]) for mark in erased], np.uint64)
    near = ids.filter(pa.array(np.isin(hash_ids(ids) & np.uint64((1 << _PREFIX) - 1), few)))
    marks = set(erased)
    return pa.array([i for i in near.to_pylist() if erased_mark(i, salt) in marks], pa.large_string())


def _without_erased(erased: Sequence[str], rows: pa.Table, counts: Counts) -> pa.Table:
    if not erased:
        return rows
    if "referred_id" in rows.column_names:
        rows = _forget(rows, "referred_id", erased_among(pc.unique(flat(rows["referred_id"])), erased))
    gone = erased_among(pc.unique(flat(rows["customer_id"]).drop_null()), erased)
    if not len(gone):
        return rows
    kept = rows.filter(pc.invert(pc.fill_null(pc.is_in(rows["customer_id"], gone), False)))
    counts.erased += rows.num_rows - kept.num_rows
    return kept


def _forget(rows: pa.Table, column: str, gone: pa.Array) -> pa.Table:
    """The rows with these words of a column absent."""
    if not len(gone):
        return rows
    left = pc.if_else(pc.is_in(rows[column], gone), pa.scalar(None, pa.large_string()), rows[column])
    return rows.set_column(rows.column_names.index(column), column, left)
