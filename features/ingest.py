"""Tables to the history store: ingest, append, erase, compact.

Rows go one way: read in batches, checked against their contract, spread over buckets by the hash of the customer's id,
spilled to disk where memory would not hold them, then bucket by bucket collapsed to customer and day and written. So
memory is bounded by a batch and a bucket, never by the log. What cannot be used is counted and lies in quarantine with
its line and the reason; lines without a customer are counted and set aside. Lines are never taken for duplicates: two
equal lines of one order are two pieces of one product in many shops, and `check` counts them for the owner to judge.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from features import store as st
from features.block import Ints, Words
from features.config import TABLES, Config, Table
from features.errors import BadData, CannotWrite, MissingInput, TryAgain, UsageError
from features.hashing import NAME as HASH_NAME
from features.hashing import bucket_of, hash_ids, pack, unpack
from features.reader import (
    Batch,
    Source,
    batches,
    keep_only,
    line_of,
    names_of,
    rows_guessed,
    sha256_of,
    shown,
    source_of,
)
from features.store import SHAPES, UNDATED, FileEntry, HistoryStore, Manifest, Part, Rows, Shape, TableEntry
from features.tables import CONTRACTS, Bad, Contract, Unit, conform, exponent_of, flat, score_range
from features.windows import to_date

Progress = Callable[[str], None] | None

ROWS_PER_BUCKET = 1 << 16  # fewer customers a block cost more per row than they save
BUCKETS = 64
SPILL = 1 << 28  # bytes kept in memory before rows go to disk
SHOWN = 5  # offending rows named in a message


@dataclass
class Counts:
    """What became of a table's rows: `read` = `kept` + `filtered` + `guests` + `bad` + `later` + `erased`."""

    read: int = 0
    kept: int = 0
    filtered: int = 0
    guests: int = 0
    bad: int = 0
    later: int = 0
    erased: int = 0
    free: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    first: list[str] = field(default_factory=list)

    def add(self, other: Counts) -> None:
        """The numbers of a batch, to those of the table."""
        for name, number in other.as_dict().items():
            setattr(self, name, getattr(self, name) + number)

    def as_dict(self) -> dict[str, int]:
        names = ("read", "kept", "filtered", "guests", "bad", "later", "erased", "free")
        return {name: int(getattr(self, name)) for name in names}


@dataclass(frozen=True)
class IngestReport:
    """What an ingest or append did: rows by table and fate, the store's sums, and where quarantined rows lie."""

    folder: Path
    generation: int
    digest: str
    customers: int
    first_day: int
    last_day: int
    counts: Mapping[str, Mapping[str, int]]
    sums: Mapping[str, Mapping[str, int]]
    quarantine: Path | None
    notes: tuple[str, ...] = ()

    @property
    def lines(self) -> list[str]:
        """The report as it is printed."""
        said = [
            f"{self.customers:,} customers, purchases {to_date(self.first_day)} to {to_date(self.last_day)}, "
            f"generation {self.generation}"
        ]
        for table, counts in self.counts.items():
            fates = ", ".join(f"{counts[fate]:,} {words}" for fate, words in _FATES.items() if counts.get(fate))
            said.append(f"{table}: {counts['read']:,} rows read; {fates or 'nothing in it'}")
        if self.quarantine:
            said.append(f"rows that cannot be used: {self.quarantine}")
        return said + list(self.notes)


_FATES = {
    "kept": "kept",
    "filtered": "left out by `only`",
    "guests": "without a customer (set aside)",
    "bad": "not usable (quarantined)",
    "later": "after the as-of day",
    "erased": "of erased customers",
    "free": "of amount 0 (neither purchase nor return)",
}


def history_folder(config: Config) -> Path:
    """Where the store lies."""
    return config.var / "history"


def ingest(config: Config, as_of: int | None = None, progress: Progress = None) -> IngestReport:
    """Build the store anew from every table of the settings, keeping rows up to `as_of`.

    Raises MissingInput, BadData, BadConfiguration, UsageError, ServiceAway, CannotWrite or TryAgain; the store that was
    there stays true until the new one is whole.
    """
    if "purchases" not in config.tables:
        raise MissingInput(
            "there is no purchases table", where=f"{config.path}: [tables]", do="add [tables.purchases] with its path"
        )
    sources = {name: _source(config, name, config.source_of(name)) for name in TABLES if name in config.tables}
    names = {name: names_of(source, CONTRACTS[name]) for name, source in sources.items()}
    amounts = bool({"amount", "unit_price"} & set(names["purchases"]))
    with writing(history_folder(config)) as desk:
        old = _manifest_of(desk.folder)
        plan = Plan(
            sources=sources,
            names=names,
            unit=Unit(config.shop.timezone, exponent_of(config.shop.currency) if amounts else 0),
            buckets=buckets_for(sum(rows_guessed(source) for source in sources.values())),
            as_of=as_of,
            max_bad_share=config.ingest.max_bad_share,
            with_orders=any(_joined(name, names[name]) for name in names),
            erased=old.erased if old else (),
            name=desk.next_name(),
        )
        taken = _take_in(desk, plan, None, progress)
        manifest = Manifest(
            generation=int(plan.name),
            buckets=plan.buckets,
            timezone=config.shop.timezone,
            currency=config.shop.currency,
            exponent=plan.unit.exponent,
            has_amounts=amounts,
            as_of=as_of,
            customers=taken.customers,
            parts=(taken.part,),
            market=desk.write_market(plan.name, taken.market),
            quarantine=taken.quarantine,
            erased=plan.erased,
        )
        return desk.publish(manifest, taken)


def append(config: Config, table: str, file: str | Path, progress: Progress = None) -> IngestReport:
    """Add a file of a table as one more part: late lines go to their own days.

    The blocks are then those of a store built from everything at once. A file whose sha256 the store has is refused.
    """
    if table not in TABLES:
        raise UsageError("no table is called so", got=table, allowed=", ".join(TABLES))
    path = str(file) if "://" in str(file) else str(Path(file).resolve())
    source = _source(config, table, path)
    with writing(history_folder(config)) as desk:
        old = HistoryStore(desk.folder)
        names = names_of(source, CONTRACTS[table])
        amounts = bool({"amount", "unit_price"} & set(names))
        if table == "purchases" and amounts != old.has_amounts:
            raise BadData(
                f"the file has {'' if amounts else 'no '}amounts, the store has {'' if old.has_amounts else 'none'}".rstrip(),
                where=path,
                do="give both the same columns",
            )
        known = {(said["table"], said["sha256"]) for part in old.manifest.parts for said in part.sources}
        again = [name for name in source.files if (table, _sha(name)) in known]
        if again:
            raise UsageError(
                "the store already has this file", where=", ".join(again), do="nothing: its lines are there once"
            )
        plan = Plan(
            sources={table: source},
            names={table: names},
            unit=Unit(old.timezone, old.exponent),
            buckets=old.buckets,
            as_of=old.manifest.as_of,
            max_bad_share=config.ingest.max_bad_share,
            with_orders="order_id" in old.manifest.tables["orders"].words if "orders" in old.manifest.tables else False,
            erased=old.manifest.erased,
            name=desk.next_name(),
            first_place=sum(said["table"] == table for part in old.manifest.parts for said in part.sources),
            keep_ids=frozenset({"orders", "sessions"} & set(old.manifest.tables)),
        )
        taken = _take_in(desk, plan, old, progress)
        manifest = replace(
            old.manifest,
            generation=int(plan.name),
            parts=(*old.manifest.parts, taken.part),
            quarantine=(*old.manifest.quarantine, *taken.quarantine),
        )
        manifest = desk.counted_again(manifest)
        return desk.publish(manifest, taken)


def compact(store: HistoryStore, progress: Progress = None) -> HistoryStore:
    """Lay all parts together into one. The blocks stay the same, bit for bit; files fewer, reading faster."""
    with writing(store.folder) as desk:
        return _rewritten(desk, HistoryStore(store.folder), None, progress)[0]


@dataclass(frozen=True)
class Receipt:
    """That a customer was erased, without saying who: the salted mark, what was removed by table, and the generation
    of the store that no longer has it. The files of earlier generations are gone."""

    mark: str
    removed: Mapping[str, int]
    generation: int
    digest: str


def erase(store: HistoryStore, customer_id: str, progress: Progress = None) -> Receipt:
    """Remove a customer from every file of the store; later ingests leave its lines out.

    Others' rows that name the customer (who was referred) stay without the name. Raises MissingInput where the store
    does not know the id.
    """
    with writing(store.folder) as desk:
        store = HistoryStore(store.folder)
        store.customer(customer_id, tables=())
        after, mark, removed = _rewritten(desk, store, customer_id, progress)
        return Receipt(mark, removed, after.generation, after.digest)


def _rewritten(
    desk: Desk, store: HistoryStore, gone: str | None, progress: Progress
) -> tuple[HistoryStore, str, Mapping[str, int]]:
    """The store as one part, without a customer."""
    tell = progress or (lambda line: None)
    old, name = store.manifest, desk.next_name()
    removed: Counter[str] = Counter()
    market, customers = MarketSum(), 0
    with PartWriter(desk.new_part(name), old.buckets) as writer:
        for bucket in range(old.buckets):
            tell(f"rewriting bucket {bucket + 1} of {old.buckets}")
            ids, tables = store.stored(bucket)
            if gone is not None:
                ids, tables = _without(ids, tables, gone, removed)
            writer.add_bucket(bucket, ids, tables, market)
            customers += ids.num_rows
        shared = store.shared_costs()
        writer.add(0, "shared_costs", shared)
    salt = old.erased[0].partition(":")[0] if old.erased else hashlib.sha256(store.digest.encode()).hexdigest()[:16]
    mark = "" if gone is None else erased_mark(gone, salt)
    part = Part(
        name,
        desk.settle(name, writer),
        writer.entries({table: entry for table, entry in old.tables.items()}),
        tuple(said for part in old.parts for said in part.sources),
        _added_counts(old.parts),
        writer.words,
    )
    manifest = replace(
        old,
        generation=int(name),
        parts=(part,),
        customers=customers,
        market=desk.write_market(name, market),
        quarantine=old.quarantine if gone is None else desk.quarantine_without(name, old.quarantine, gone),
        erased=old.erased if gone is None else tuple(sorted({*old.erased, mark})),
    )
    desk.point_at(manifest)
    return HistoryStore(desk.folder), mark, dict(removed)


def _without(
    ids: pa.Table, tables: Mapping[str, Rows], gone: str, removed: Counter[str]
) -> tuple[pa.Table, dict[str, Rows]]:
    """A bucket without a customer, and without its name in others' rows."""
    stays = ids["customer_id"].to_numpy() != gone
    place = np.cumsum(stays) - 1
    left = {}
    for name, rows in tables.items():
        kept = rows.take(stays[rows.who])
        removed[name] += len(rows) - len(kept)
        words = {key: _unnamed_word(value, gone) if key == "referred_id" else value for key, value in kept.words.items()}
        left[name] = replace(kept, who=place[kept.who], words=words)
    return ids.filter(pa.array(stays)), left


def _unnamed_word(words: Words, gone: str) -> Words:
    named = np.append(words.words == gone, False)[words.code]
    return Words(np.where(named, -1, words.code), words.words)


def _added_counts(parts: Sequence[Part]) -> dict[str, dict[str, int]]:
    total: dict[str, Counter[str]] = {}
    for part in parts:
        for table, counts in part.counts.items():
            total.setdefault(table, Counter()).update(counts)
    return {table: dict(counts) for table, counts in total.items()}


# -- what is planned, what was taken in --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """How sources become a part: the columns they have, how their days and money are read, where the rows go.
    `with_orders` keeps order ids in words, for tables that know a row's order and not its customer."""

    sources: Mapping[str, Source]
    names: Mapping[str, Mapping[str, str]]
    unit: Unit
    buckets: int
    as_of: int | None
    max_bad_share: float
    with_orders: bool
    erased: tuple[str, ...]
    name: str
    first_place: int = 0
    keep_ids: frozenset[str] = frozenset()


@dataclass
class MarketSum:
    """The market added up bucket by bucket."""

    visits: Counter[int] = field(default_factory=Counter)
    firsts: Counter[int] = field(default_factory=Counter)
    spend: Counter[int] = field(default_factory=Counter)

    def add(self, rows: Rows) -> None:
        """Purchases of whole customers, sorted by customer and day."""
        opens = np.ones(len(rows), bool)
        opens[1:] = rows.who[1:] != rows.who[:-1]
        _count(self.visits, rows.day, np.ones(len(rows), np.int64))
        _count(self.firsts, rows.day[opens], np.ones(int(opens.sum()), np.int64))
        _count(self.spend, rows.day, rows.numbers["amount"])

    def table(self) -> pa.Table:
        days = np.arange(min(self.visits, default=0), max(self.visits, default=-1) + 1)
        columns = {"day": days}
        for name in ("visits", "firsts", "spend"):
            counts: Counter[int] = getattr(self, name)
            columns[name] = np.array([counts[int(day)] for day in days], np.int64)
        return pa.table(columns)


def _count(counts: Counter[int], days: Ints, values: Ints) -> None:
    if len(days):
        first = int(days.min())
        sums = np.zeros(int(days.max()) - first + 1, np.int64)
        np.add.at(sums, days - first, values)
        counts.update({first + int(i): int(sums[i]) for i in np.flatnonzero(sums)})


@dataclass(frozen=True)
class Taken:
    """A part that was written, and what the manifest and the report say of it."""

    part: Part
    counts: Mapping[str, Counts]
    quarantine: tuple[FileEntry, ...]
    customers: int
    market: MarketSum


def buckets_for(rows: int) -> int:
    """How many buckets a log of this many rows gets: a power of two, 64 for all but small logs and huge ones."""
    wanted = max(1, rows // ROWS_PER_BUCKET)
    few = 1 << (wanted.bit_length() - 1)
    return max(min(few, BUCKETS), 1 << max(0, (rows >> 22).bit_length()) if rows >> 28 else 1)


def _source(config: Config, table: str, path: str) -> Source:
    said = config.tables.get(table)
    if said is None:
        return source_of(table, path, {}, {}, None)
    return source_of(table, path, said.columns, said.only, said.table)


def _joined(table: str, names: Mapping[str, str]) -> bool:
    """Whether a table's rows find their customer through their order."""
    return table not in ("purchases", "costs") and "customer_id" not in names and "order_id" in names


def _sha(file: str) -> str:
    return "" if "://" in file else sha256_of(file)


def _manifest_of(folder: Path) -> Manifest | None:
    """The manifest in force; None where there is none or it cannot be read (then a new store is built over it)."""
    try:
        return Manifest.from_json(st.current(folder))
    except (MissingInput, BadData, KeyError, TypeError, ValueError):
        return None


# -- first pass: rows checked and spread over buckets ------------------------------------------------------------------


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


class Quarantine:
    """The rows that cannot be used, as they are found."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str, int, str, str, str]] = []

    def add(self, table: str, counts: Counts, file: str, line: int, column: str, value: str, reason: str) -> None:
        counts.bad += 1
        counts.reasons[f"{column} {reason}".strip()] += 1
        if len(counts.first) < SHOWN:
            counts.first.append(f"{Path(file).name} line {line}: {column} {value!r} {reason}".replace("  ", " "))
        self.rows.append((table, shown(file), line, column, repr(value), reason))

    def table(self) -> pa.Table:
        names = ("table", "file", "line", "column", "value", "reason")
        return pa.table({name: [row[i] for row in self.rows] for i, name in enumerate(names)})


def _take_in(desk: Desk, plan: Plan, old: HistoryStore | None, progress: Progress) -> Taken:
    tell = progress or (lambda line: None)
    quarantine, spreads, counts, shared = Quarantine(), {}, {}, []
    orders: pa.Table | None = None
    for table, source in plan.sources.items():
        tell(f"reading {table}")
        if _joined(table, plan.names[table]) and orders is None:
            orders = _orders_of(spreads.get("purchases"), old)
        counts[table] = Counts()
        spreads[table] = Spread(desk.spill / table, plan.buckets)
        for rows in _checked(plan, table, source, counts[table], quarantine, orders):
            if table == "costs":
                alone = pc.is_null(rows["customer_id"])
                shared.append(rows.filter(alone))
                rows = rows.filter(pc.invert(alone))
            if rows.num_rows:
                spreads[table].add(rows)
        spreads[table].close()
        _refuse_broken(table, source, counts[table], plan.max_bad_share)
    tell("sorting by customer and day")
    return _write_part(desk, plan, spreads, counts, quarantine, shared)


def _checked(
    plan: Plan, table: str, source: Source, counts: Counts, quarantine: Quarantine, orders: pa.Table | None
) -> Iterator[pa.Table]:
    """Typed rows of a source that can be used; the rest is counted."""
    contract = CONTRACTS[table]
    skipped: dict[str, list[int]] = {}

    def check(batch: Batch) -> tuple[Batch, Counts, Ints, pa.Table, Bad]:
        found = Counts(read=batch.rows.num_rows)
        rows, place = _filtered(batch, source, found)
        if orders is not None and "customer_id" not in rows.column_names:
            rows = rows.append_column("customer_id", _customers_by_order(rows, orders))
        typed, bad = conform(contract, rows, plan.unit)
        return batch, found, place, _usable(plan, table, typed, batch, found), bad

    for batch, found, place, typed, bad in _ahead(check, batches(source, contract, plan.names[table])):
        lines = skipped.setdefault(batch.file, [])
        for line, text in batch.skipped:
            lines.append(line)
            counts.read += 1
            quarantine.add(table, counts, batch.file, line, "", text, "has too many or too few fields")
        for i, column, value, reason in zip(bad.row, bad.column, bad.value, bad.reason, strict=True):
            line = line_of(batch.file, batch.first + int(place[i]), lines)
            quarantine.add(table, counts, batch.file, line, column, value, reason)
        counts.add(found)
        yield typed


def _usable(plan: Plan, table: str, typed: pa.Table, batch: Batch, counts: Counts) -> pa.Table:
    """The rows that go into the store: with a customer, not after the as-of day, of nobody erased, not of amount 0."""
    typed = _with_customer(table, typed, counts)
    typed = _up_to(plan.as_of, typed, counts)
    typed = _without_erased(plan.erased, typed, counts)
    if table == "purchases":
        typed = _priced(typed, counts)
    if table == "customers":
        typed = typed.append_column("_seq", pa.array(np.full(typed.num_rows, plan.first_place + batch.place)))
    counts.kept += typed.num_rows
    return typed


def _ahead(work: Callable[[Any], Any], items: Iterable[Any], threads: int = 2) -> Iterator[Any]:
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


def _priced(rows: pa.Table, counts: Counts) -> pa.Table:
    """Purchases with an amount in every line: given, else unit price x quantity, else 1 unit; lines of 0 left out."""
    n = rows.num_rows
    if "unit_price" in rows.column_names:
        product = np.rint(_ints(rows, "unit_price").astype(np.float64) * _ints(rows, "quantity") / 1_000).astype(
            np.int64
        )
        given = rows["amount"] if "amount" in rows.column_names else pa.nulls(n, pa.int64())
        amount = pc.coalesce(given, pa.array(product))
        rows = rows.drop_columns([c for c in ("amount", "unit_price") if c in rows.column_names])
        rows = rows.append_column("amount", amount)
    elif "amount" not in rows.column_names:
        return rows.append_column("amount", pa.array(np.ones(n, np.int64)))
    free = int(pc.sum(pc.equal(rows["amount"], 0)).as_py() or 0)
    counts.free += free
    return rows.filter(pc.not_equal(rows["amount"], 0)) if free else rows


def _refuse_broken(table: str, source: Source, counts: Counts, most: float) -> None:
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
        fates = ", ".join(f"{n:,} {_FATES[fate]}" for fate, n in counts.as_dict().items() if n and fate in _FATES)
        raise BadData("no purchase is left", where=where, got=f"{counts.read:,} rows: {fates or 'the table is empty'}")


# -- orders know their customer ----------------------------------------------------------------------------------------


def _orders_of(spread: Spread | None, old: HistoryStore | None) -> pa.Table:
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
        raise BadData(
            "a table without customer_id takes it from the orders, and purchases have no order_id",
            do="name order_id in the columns of [tables.purchases], or give the table a customer_id; then ingest anew",
        )
    return pa.concat_tables(pieces)


def _customers_by_order(rows: pa.Table, orders: pa.Table) -> pa.ChunkedArray:
    place = pc.index_in(rows["order_id"].cast(pa.large_string()), orders["order_id"].combine_chunks())
    return orders["customer_id"].take(place)


# -- second pass: bucket by bucket -------------------------------------------------------------------------------------


def _write_part(
    desk: Desk,
    plan: Plan,
    spreads: Mapping[str, Spread],
    counts: Mapping[str, Counts],
    quarantine: Quarantine,
    shared: Sequence[pa.Table],
) -> Taken:
    market, customers = MarketSum(), 0
    with PartWriter(desk.new_part(plan.name), plan.buckets) as writer:

        def collapsed(bucket: int) -> tuple[int, pa.Table, dict[str, Rows]]:
            held = {name: rows for name, spread in spreads.items() if (rows := spread.bucket(bucket)) is not None}
            return bucket, *_bucket(held, plan)

        for bucket, ids, tables in _ahead(collapsed, range(plan.buckets)):
            customers += ids.num_rows
            writer.add_bucket(bucket, ids, tables, market)
        if shared and sum(rows.num_rows for rows in shared):
            writer.add(0, "shared_costs", _shared(shared))
    sources = tuple(
        {"table": table, "path": shown(file), "sha256": _sha(file)}
        for table, source in plan.sources.items()
        for file in source.files
    )
    files = desk.settle(plan.name, writer)
    entries = writer.entries(_declared(plan))
    fates = {name: count.as_dict() for name, count in counts.items()}
    part = Part(plan.name, files, entries, sources, fates, writer.words)
    return Taken(part, counts, desk.write_quarantine(plan.name, quarantine), customers, market)


def _shared(pieces: Sequence[pa.Table]) -> pa.Table:
    rows = pa.concat_tables(pieces, promote_options="default")
    n = rows.num_rows

    def column(name: str) -> Any:
        return rows[name].cast(pa.string()) if name in rows.column_names else pa.nulls(n, pa.string())

    table = pa.table(
        {"day": rows["at"], "amount": rows["amount"], **{name: column(name) for name in ("kind", "channel", "cohort")}}
    )
    return table.sort_by([(name, "ascending") for name in table.column_names])


def _bucket(held: Mapping[str, pa.Table], plan: Plan) -> tuple[pa.Table, dict[str, Rows]]:
    """A bucket's customers (id, first purchase, first day known) and its stored tables, collapsed."""
    coded = {name: _coded(flat(rows["customer_id"])) for name, rows in held.items()}
    ids = st.sorted_unique([texts for _, texts in coded.values()])
    tables: dict[str, list[Rows]] = {}
    for name, rows in held.items():
        code, texts = coded[name]
        who = pc.index_in(texts, ids).to_numpy(zero_copy_only=False).astype(np.int64)[code]
        for stored, derived in _DERIVE[name](rows, who, plan):
            tables.setdefault(stored, []).append(_cut(derived, plan.as_of))
    collapsed = {name: st.collapse(st.lay_together(pieces), SHAPES[name]) for name, pieces in tables.items()}
    for name in ("purchases", "events"):
        if name in collapsed:
            hidden = collapsed.get(SHAPES[name].distinct)
            collapsed[name] = st.with_distinct(collapsed[name], SHAPES[name], hidden)
    _refuse_sums(collapsed)
    collapsed = {name: collapsed[name] for name in SHAPES if name in collapsed}
    return _ids_table(ids, collapsed), collapsed


def _coded(ids: pa.Array) -> tuple[Ints, pa.Array]:
    """Each row's id as a code, and the ids behind the codes."""
    if pa.types.is_fixed_size_binary(ids.type) and ids.type.byte_width == 8:
        coded = pa.Array.from_buffers(pa.uint64(), len(ids), ids.buffers(), offset=ids.offset).dictionary_encode()
        eight = coded.dictionary
        texts = pa.FixedSizeBinaryArray.from_buffers(pa.binary(8), len(eight), eight.buffers(), offset=eight.offset)
    else:
        coded = ids.dictionary_encode()
        texts = coded.dictionary
    return coded.indices.to_numpy(), unpack(texts)


def _cut(rows: Rows, as_of: int | None) -> Rows:
    return rows if as_of is None or not len(rows) or rows.day.max() <= as_of else rows.take(rows.day <= as_of)


def _refuse_sums(tables: Mapping[str, Rows]) -> None:
    for name, rows in tables.items():
        for measure in SHAPES[name].sums:
            if (
                float(np.abs(rows.numbers[measure].astype(np.float64)).sum()) >= 2.0**53
                if measure in rows.numbers
                else False
            ):
                raise BadData(
                    f"the sum of {measure} in {name} is too large to be exact",
                    allowed="below 2**53 minor units a bucket",
                    do="is the currency right, and are the amounts in its major unit?",
                )


def _ids_table(ids: pa.Array, tables: Mapping[str, Rows]) -> pa.Table:
    bought, known = np.full((2, len(ids)), st.NEVER, np.int64)
    for name, rows in tables.items():
        dated = rows.take(rows.day != UNDATED) if name == "customers" else rows
        np.minimum.at(known, dated.who, dated.day)
        if name == "purchases":
            np.minimum.at(bought, rows.who, rows.day)
    return pa.table(
        {
            "customer_id": ids.cast(pa.string()),
            "first_bought": pa.array(bought.astype(np.int32)),
            "first_known": pa.array(known.astype(np.int32)),
        }
    )


# -- from a table of the shop to the tables that are stored ------------------------------------------------------------

Derived = Iterator[tuple[str, Rows]]


def _ints(rows: pa.Table, name: str) -> Ints:
    column = flat(rows[name])
    column = column.fill_null(0) if column.null_count else column
    return column.to_numpy(zero_copy_only=False).astype(np.int64, copy=False)  # type: ignore[no-any-return]


def _valid(rows: pa.Table, name: str) -> NDArray[np.bool_]:
    return flat(rows[name]).is_valid().to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]


def _known_numbers(rows: pa.Table, names: Iterable[str], called: Mapping[str, str] | None = None) -> dict[str, Ints]:
    """Optional numbers with their `_known`, for the columns the table has."""
    found = {}
    for name in names:
        if name in rows.column_names:
            ours = (called or {}).get(name, name)
            found[ours] = _ints(rows, name)
            found[f"{ours}_known"] = _valid(rows, name).astype(np.int64)
    return found


def _words(rows: pa.Table, names: Iterable[str]) -> dict[str, Words]:
    return {name: st.words_of(rows[name]) for name in names if name in rows.column_names}


def _from_purchases(rows: pa.Table, who: Ints, plan: Plan) -> Derived:
    day, amount = _ints(rows, "at"), _ints(rows, "amount")
    one, buys = np.ones(len(who), np.int64), amount > 0
    optional = _known_numbers(rows, ("quantity", "discount", "cost"))
    largest = _words(rows, ("channel", "store"))
    every = Rows(
        who, day, {"amount": amount, "lines": one, **optional, **{f"_{name}": amount for name in largest}}, largest
    )
    yield "purchases", every.take(buys)
    if (amount < 0).any():
        yield "returns", Rows(who, day, {"amount": -amount, "lines": one}).take(amount < 0)
    if "order_id" in rows.column_names or "orders" in plan.keep_ids:
        yield "orders", _named(rows, who, day, "order_id", buys, words=plan.with_orders)
    if names := [name for name in ("product_id", "category") if name in rows.column_names]:
        quantity = {name: optional[name] for name in ("quantity", "quantity_known") if name in optional}
        yield "lines", Rows(who, day, {"amount": amount, "lines": one, **quantity}, _words(rows, names)).take(buys)
    if "delivered_at" in rows.column_names:
        yield "deliveries", _deliveries(rows, who, day).take(buys & _valid(rows, "delivered_at"))


def _named(
    rows: pa.Table, who: Ints, day: Ints, column: str, counts: NDArray[np.bool_], *, words: bool = False
) -> Rows:
    """The ids behind a distinct count, as hashes; 0 where the row has none."""
    if column not in rows.column_names:
        return st.unnamed(who, day)
    ids = flat(rows[column])
    order = np.where(_valid(rows, column), hash_ids(ids).view(np.int64), 0)
    kept = {"order_id": st.words_of(ids)} if words else {}
    return Rows(who, day, {"bought": counts.astype(np.int64), "order": order}, kept)


def _deliveries(rows: pa.Table, who: Ints, day: Ints) -> Rows:
    """Known on the day of delivery; a delivery said to be before the order counts on the order's day."""
    came = np.maximum(_ints(rows, "delivered_at"), day)
    has = _valid(rows, "promised_at") if "promised_at" in rows.column_names else np.zeros(len(day), bool)
    late = np.where(has, came - _ints(rows, "promised_at"), 0) if has.any() else np.zeros(len(day), np.int64)
    return Rows(
        who,
        came,
        {
            "lines": np.ones(len(who), np.int64),
            "waited": came - day,
            "late_days": np.maximum(late, 0),
            "early_days": np.maximum(-late, 0),
            "late_days_known": has.astype(np.int64),
        },
    )


def _from_returns(rows: pa.Table, who: Ints, plan: Plan) -> Derived:
    amount, words = np.abs(_ints(rows, "amount")), _words(rows, ("reason",))
    numbers = {"amount": amount, "lines": np.ones(len(who), np.int64), **{f"_{name}": amount for name in words}}
    yield "returns", Rows(who, _ints(rows, "at"), numbers, words)


def _later(
    rows: pa.Table, who: Ints, column: str, words: Mapping[str, Words], numbers: Mapping[str, Ints] | None = None
) -> Rows:
    """What became known on a later day of a row, with the days it took."""
    day = _ints(rows, column)
    waited = {"waited": day - _ints(rows, "at")}
    return Rows(who, day, {**waited, **(numbers or {})}, words).take(_valid(rows, column))


def _from_complaints(rows: pa.Table, who: Ints, plan: Plan) -> Derived:
    words = _words(rows, ("kind",))
    yield "complaints", Rows(who, _ints(rows, "at"), {}, words)
    if "answered_at" in rows.column_names:
        yield "complaints_answered", _later(rows, who, "answered_at", words)
    if "resolved_at" in rows.column_names:
        outcome = _known_numbers(rows, ("reopened", "satisfied"))
        yield "complaints_resolved", _later(rows, who, "resolved_at", words, outcome)


def _from_surveys(rows: pa.Table, who: Ints, plan: Plan) -> Derived:
    low, high = score_range({name: flat(rows[name]) for name in rows.column_names})
    score = flat(rows["score"]).fill_null(0).to_numpy(zero_copy_only=False)
    has, answered = _valid(rows, "score"), _valid(rows, "at")
    scaled = np.where(has, np.rint((score - low) / (high - low) * 1e6), 0).astype(np.int64)
    numbers = {"score": scaled, "score_known": has.astype(np.int64)}
    words = _words(rows, ("kind", "channel", "reason"))
    yield "surveys", Rows(who, _ints(rows, "at"), numbers, words).take(answered)
    if "invited_at" in rows.column_names:
        asked = {name: value for name, value in words.items() if name != "reason"}
        yield "invitations", Rows(who, _ints(rows, "invited_at"), {}, asked).take(_valid(rows, "invited_at"))


def _from_events(rows: pa.Table, who: Ints, plan: Plan) -> Derived:
    day, kind = _ints(rows, "at"), st.words_of(rows["kind"])
    counts = {}
    for name in SHAPES["events"].sums:
        code = np.flatnonzero(kind.words == name)
        counts[name] = (kind.code == code[0]).astype(np.int64) if len(code) else np.zeros(len(who), np.int64)
    yield "events", Rows(who, day, counts)
    if "session_id" in rows.column_names or "sessions" in plan.keep_ids:
        yield "sessions", _named(rows, who, day, "session_id", np.ones(len(who), bool))
    if "category" in rows.column_names:
        yield "event_lines", Rows(who, day, counts, _words(rows, ("category",)))


def _from_campaigns(rows: pa.Table, who: Ints, plan: Plan) -> Derived:
    words = _words(rows, ("action", "channel", "campaign_id"))
    numbers = {name: _ints(rows, name) for name in ("cost", "control") if name in rows.column_names}
    yield "campaigns", Rows(who, _ints(rows, "at"), numbers, words)
    for what in ("opened", "clicked", "redeemed"):
        if f"{what}_at" in rows.column_names:
            yield f"campaigns_{what}", _later(rows, who, f"{what}_at", words)


def _from_costs(rows: pa.Table, who: Ints, plan: Plan) -> Derived:
    yield (
        "costs",
        Rows(who, _ints(rows, "at"), {"amount": _ints(rows, "amount")}, _words(rows, ("kind", "channel", "cohort"))),
    )


def _from_referrals(rows: pa.Table, who: Ints, plan: Plan) -> Derived:
    yield "referrals", Rows(who, _ints(rows, "at"), {}, _words(rows, ("referred_id",)))


def _from_customers(rows: pa.Table, who: Ints, plan: Plan) -> Derived:
    day = np.full(len(who), UNDATED)
    if "joined_at" in rows.column_names:
        day = np.where(_valid(rows, "joined_at"), _ints(rows, "joined_at"), UNDATED)
    numbers = _known_numbers(
        rows,
        ("birth_date", "income", "points", "consent_email", "consent_sms", "consent_phone", "vip"),
        {"birth_date": "birth_day"},
    )
    words = _words(rows, SHAPES["customers"].words)
    yield "customers", Rows(who, day, {**numbers, "_seq": _ints(rows, "_seq")}, words)


def _from_attitudes(rows: pa.Table, who: Ints, plan: Plan) -> Derived:
    yield "attitudes", Rows(who, _ints(rows, "at"), {}, _words(rows, ("question", "answer")))


_DERIVE: Mapping[str, Callable[[pa.Table, Ints, Plan], Derived]] = {
    "purchases": _from_purchases,
    "returns": _from_returns,
    "complaints": _from_complaints,
    "surveys": _from_surveys,
    "events": _from_events,
    "campaigns": _from_campaigns,
    "costs": _from_costs,
    "referrals": _from_referrals,
    "customers": _from_customers,
    "attitudes": _from_attitudes,
}


def _declared(plan: Plan) -> dict[str, TableEntry]:
    """The stored tables that the columns of the shop's tables promise, as yet without rows."""
    declared: dict[str, TableEntry] = {}
    for table, names in plan.names.items():
        empty = _empty(CONTRACTS[table], names, plan.unit)
        if table == "purchases":
            empty = _priced(empty, Counts())
        for stored, rows in _DERIVE[table](empty, np.zeros(0, np.int64), plan):
            declared[stored] = TableEntry(tuple(rows.numbers), tuple(rows.words), None, None, True, 0, {})
    return declared


def _empty(contract: Contract, names: Mapping[str, str], unit: Unit) -> pa.Table:
    raw = pa.table(
        {name: pa.array([], pa.string()) for name in contract.names if name in names or name == "customer_id"}
    )
    rows = conform(contract, raw, unit)[0]
    return rows.append_column("_seq", pa.array([], pa.int64())) if contract.name == "customers" else rows


@dataclass
class Stat:
    """What a stored table of a part adds up to."""

    rows: int = 0
    first: int = st.NEVER
    last: int = -1
    sums: Counter[str] = field(default_factory=Counter)
    numbers: dict[str, None] = field(default_factory=dict)
    words: dict[str, None] = field(default_factory=dict)

    def add(self, rows: Rows) -> None:
        self.numbers.update(dict.fromkeys(rows.numbers))
        self.words.update(dict.fromkeys(rows.words))
        days = rows.day[rows.day != UNDATED]
        self.rows += len(rows)
        self.first = min(self.first, int(days.min(initial=st.NEVER)))
        self.last = max(self.last, int(days.max(initial=-1)))
        for name, values in rows.numbers.items():
            if name not in ("order", "orders", "sessions") and not name.startswith("_"):
                self.sums[name] += int(values.sum())


def _entry(shape: Shape, declared: TableEntry | None, stat: Stat | None) -> TableEntry:
    stat = stat or Stat()
    numbers = dict.fromkeys(declared.numbers if declared else ()) | stat.numbers
    words = dict.fromkeys(declared.words if declared else ()) | stat.words
    if shape.distinct == "orders":
        numbers["orders"] = None
    return TableEntry(
        tuple(numbers),
        tuple(words),
        stat.first if stat.first != st.NEVER else None,
        stat.last if stat.last >= 0 else None,
        declared is not None and declared.declared,
        stat.rows,
        dict(stat.sums),
    )


# -- writing that survives a kill --------------------------------------------------------------------------------------


class PartWriter:
    """A part being written: one Parquet file a table, one row group a bucket."""

    def __init__(self, folder: Path, buckets: int) -> None:
        self.folder, self.buckets = folder, buckets
        self.writers: dict[str, pq.ParquetWriter] = {}
        self.groups: dict[str, list[int]] = {}
        self.stats: dict[str, Stat] = {}
        self.words: dict[str, tuple[str, ...]] = {}

    def __enter__(self) -> PartWriter:
        return self

    def __exit__(self, *problem: object) -> None:
        for writer in self.writers.values():
            writer.close()

    def add_bucket(self, bucket: int, ids: pa.Table, tables: Mapping[str, Rows], market: MarketSum) -> None:
        """One bucket's customers and collapsed tables; its purchases go into the market too."""
        self.add(bucket, "ids", ids)
        for name, rows in tables.items():
            self.add_rows(bucket, name, rows)
        if "purchases" in tables:
            market.add(tables["purchases"])

    def entries(self, promised: Mapping[str, TableEntry]) -> dict[str, TableEntry]:
        """What the part says of each stored table; promised ones without rows are there too."""
        names = [name for name in SHAPES if name in promised or name in self.stats]
        return {name: _entry(SHAPES[name], promised.get(name), self.stats.get(name)) for name in names}

    def add_rows(self, bucket: int, name: str, rows: Rows) -> None:
        if len(rows):
            self.stats.setdefault(name, Stat()).add(rows)
            self.add(bucket, name, st.to_arrow(rows))

    def add(self, bucket: int, name: str, table: pa.Table) -> None:
        if not table.num_rows:
            return
        if name not in self.writers:
            words = [f.name for f in table.schema if pa.types.is_dictionary(f.type)]
            self.writers[name] = pq.ParquetWriter(
                self.folder / f"{name}.parquet",
                table.schema,
                use_dictionary=words,
                column_encoding={f.name: "DELTA_BINARY_PACKED" for f in table.schema if pa.types.is_integer(f.type)},
                compression="lz4",
                write_statistics=False,
                write_page_checksum=True,
                dictionary_pagesize_limit=1 << 30,
            )
            self.groups[name] = [0] * self.buckets
            self.words[name] = tuple(words)
        self.groups[name][bucket] = table.num_rows
        self.writers[name].write_table(table, row_group_size=table.num_rows)


class Desk:
    """The one writer's place in a store's folder: what is new lies beside what is true until it is published."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.spill = folder / ".spill"

    def clean(self) -> None:
        """Remove what no manifest names: left by a killed writer, or by the generation before."""
        manifest = _manifest_of(self.folder)
        if manifest is None:
            return
        keep = {self.folder / entry.path for entry in manifest.entries()}
        keep |= {self.folder / ".lock", self.folder / "CURRENT"}
        keep.add(self.folder / (self.folder / "CURRENT").read_text(encoding="utf-8").strip())
        for path in sorted(self.folder.rglob("*"), reverse=True):
            if path.is_dir() and not path.is_symlink():
                if not any(path.iterdir()):
                    path.rmdir()
            elif path not in keep:
                path.unlink()

    def next_name(self) -> str:
        """A number that nothing in the folder has had."""
        digits = [d for path in self.folder.rglob("*") for d in re.findall(r"\d{6}", path.name)]
        return f"{max(map(int, digits), default=0) + 1:06d}"

    def new_part(self, name: str) -> Path:
        folder = self.folder / "parts" / f".new-{name}"
        folder.mkdir(parents=True)
        return folder

    def settle(self, name: str, writer: PartWriter) -> dict[str, FileEntry]:
        """The part's files made durable and moved to their place."""
        place = self.folder / "parts" / name
        files = {}
        for table in writer.writers:
            file = writer.folder / f"{table}.parquet"
            files[table] = _entry_of(file, f"parts/{name}/{table}.parquet", tuple(writer.groups[table]))
        _sync(writer.folder)
        os.rename(writer.folder, place)
        _sync(place.parent)
        return files

    def write_market(self, name: str, market: MarketSum) -> FileEntry:
        file = self.folder / f"market-{name}.parquet"
        table = market.table()
        pq.write_table(table, file, compression="lz4", write_page_checksum=True)
        return _entry_of(file, file.name, (table.num_rows,))

    def write_quarantine(self, name: str, quarantine: Quarantine) -> tuple[FileEntry, ...]:
        if not quarantine.rows:
            return ()
        return (self._write_csv(f"quarantine-{name}.csv", quarantine.table()),)

    def quarantine_without(self, name: str, entries: Sequence[FileEntry], gone: str) -> tuple[FileEntry, ...]:
        """The quarantined rows that do not show an id."""
        left = []
        for entry in entries:
            text = pa.string()
            convert = pacsv.ConvertOptions(column_types=dict.fromkeys(("value", "reason", "column"), text))
            rows = pacsv.read_csv(self.folder / entry.path, convert_options=convert)
            left.append(rows.filter(pc.invert(pc.match_substring(rows["value"], gone))))
        rows = pa.concat_tables(left, promote_options="permissive") if left else None
        return () if rows is None or not rows.num_rows else (self._write_csv(f"quarantine-{name}.csv", rows),)

    def _write_csv(self, name: str, rows: pa.Table) -> FileEntry:
        pacsv.write_csv(rows, self.folder / name)
        return _entry_of(self.folder / name, name, (rows.num_rows,))

    def counted_again(self, manifest: Manifest) -> Manifest:
        """The manifest with its market and its customers counted over all parts."""
        store = HistoryStore(self.folder, manifest.to_json())
        market, customers = MarketSum(), 0
        for bucket in range(manifest.buckets):
            rows, ids = store.purchase_days(bucket)
            market.add(rows)
            customers += ids
        return replace(manifest, market=self.write_market(f"{manifest.generation:06d}", market), customers=customers)

    def publish(self, manifest: Manifest, taken: Taken) -> IngestReport:
        """Make a generation true: its manifest, then `CURRENT`, each by a rename; then clean."""
        self.point_at(manifest)
        store = HistoryStore(self.folder)
        quarantined = self.folder / taken.quarantine[0].path if taken.quarantine else None
        sums = {name: dict(entry.sums) for name, entry in store.manifest.tables.items() if not SHAPES[name].hidden}
        return IngestReport(
            self.folder,
            store.generation,
            store.digest,
            store.customers_total,
            store.first_day,
            store.last_day,
            {name: count.as_dict() for name, count in taken.counts.items()},
            sums,
            quarantined,
        )

    def point_at(self, manifest: Manifest) -> None:
        name = f"manifest-{manifest.generation:06d}.json"
        _write_whole(self.folder / name, manifest.to_json())
        _write_whole(self.folder / "CURRENT", f"{name}\n".encode())
        self.clean()


def _entry_of(file: Path, path: str, groups: tuple[int, ...]) -> FileEntry:
    with open(file, "rb") as handle:
        os.fsync(handle.fileno())
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
        size = handle.tell()
    return FileEntry(path, sum(groups), size, digest, groups)


def _write_whole(file: Path, data: bytes) -> None:
    """All of the file or none of it."""
    new = file.with_name(f".new-{file.name}")
    with open(new, "wb") as handle:
        handle.write(data)
        handle.flush()
        os.fsync(handle.fileno())
    os.rename(new, file)
    _sync(file.parent)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def writing(folder: Path) -> Iterator[Desk]:
    """The store's folder, held by one writer. Raises TryAgain where another holds it, CannotWrite where disk refuses."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / ".lock", "w", encoding="utf-8") as lock:
            _hold(lock, folder)
            desk = Desk(folder)
            desk.clean()
            try:
                yield desk
            finally:
                shutil.rmtree(desk.spill, ignore_errors=True)
    except OSError as error:
        raise CannotWrite(
            "the history store cannot be written", where=str(error.filename or folder), got=error.strerror
        ) from None


def _hold(lock: Any, folder: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise TryAgain(
            "another command is writing the history store", where=str(folder), do="wait for it, then run again"
        ) from None


# -- erasure -----------------------------------------------------------------------------------------------------------

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
