"""Tables to the history store: ingest, append, erase, compact.

Rows go one way: read in batches and checked (`intake.py`), spread over buckets by the hash of the customer's id and
spilled to disk where memory would not hold them, then bucket by bucket turned into the stored tables (`derive.py`),
collapsed to customer and day (`rows.py`) and written (`publish.py`). So memory is bounded by a batch and a bucket,
never by the log.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.block import Ints, Words
from features.config import TABLES, Config
from features.derive import DERIVE, declared_tables
from features.errors import BadConfiguration, BadData, UsageError
from features.hashing import unpack
from features.intake import (
    FATES,
    Counts,
    Plan,
    Quarantine,
    Spread,
    ahead,
    checked_rows,
    erased_mark,
    fingerprint,
    joined_by_order,
    orders_of,
    refuse_broken,
)
from features.manifest import FileEntry, Manifest, Part
from features.publish import Desk, MarketSum, PartWriter, manifest_of, writing
from features.reader import Source, day_order, names_of, rows_guessed, shown, source_of
from features.rows import NEVER, SHAPES, UNDATED, Rows, collapse, lay_together, sorted_unique, with_distinct
from features.store import HistoryStore
from features.tables import CONTRACTS, DayOrder, Unit, exponent_of, flat
from features.windows import to_date

Progress = Callable[[str], None] | None


ROWS_PER_BUCKET = 1 << 16  # fewer customers a block cost more per row than they save


MOST_PER_BUCKET = 1 << 22  # more would take too much memory at once
BUCKETS = 64


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
            fates = ", ".join(f"{counts[fate]:,} {words}" for fate, words in FATES.items() if counts.get(fate))
            said.append(f"{table}: {counts['read']:,} rows read; {fates or 'nothing in it'}")
        if self.quarantine:
            said.append(f"rows that cannot be used: {self.quarantine}")
        return said + list(self.notes)


def _report(store: HistoryStore, taken: Taken) -> IngestReport:
    return IngestReport(
        store.folder,
        store.generation,
        store.digest,
        store.customers_total,
        store.first_day,
        store.last_day,
        {name: count.as_dict() for name, count in taken.counts.items()},
        {name: dict(entry.sums) for name, entry in store.manifest.tables.items() if not SHAPES[name].hidden},
        store.folder / taken.quarantine[0].path if taken.quarantine else None,
    )


def history_folder(config: Config) -> Path:
    """Where the store lies."""
    return config.var / "history"


def ingest(config: Config, as_of: int | None = None, progress: Progress = None) -> IngestReport:
    """Build the store anew from every table of the settings, keeping rows up to `as_of`.

    Raises BadConfiguration, MissingInput, BadData, UsageError, ServiceAway, CannotWrite or TryAgain; the store that was
    there stays true until the new one is whole.
    """
    plan = planned(config, as_of)
    with writing(history_folder(config)) as desk:
        old = manifest_of(desk.folder)
        plan = replace(plan, erased=old.erased if old else (), name=desk.next_name())
        taken = _take_in(desk, plan, None, progress)
        manifest = Manifest(
            generation=int(plan.name),
            buckets=plan.buckets,
            timezone=config.shop.timezone,
            currency=config.shop.currency,
            exponent=plan.unit.exponent,
            has_amounts=_has_amounts(plan.names["purchases"]),
            as_of=as_of,
            customers=taken.customers,
            parts=(taken.part,),
            market=desk.write_market(plan.name, taken.market),
            quarantine=taken.quarantine,
            erased=plan.erased,
        )
        return _report(desk.publish(manifest), taken)


def planned(config: Config, as_of: int | None = None) -> Plan:
    """What the settings say is to be taken in: files found, columns named, dates understood.

    Raises BadConfiguration, MissingInput, BadData, UsageError or ServiceAway.
    """
    if "purchases" not in config.tables:
        raise BadConfiguration(
            "there is no purchases table", where=f"{config.path}: [tables]", do="add [tables.purchases] with its path"
        )
    sources = {name: _source(config, name, config.source_of(name)) for name in TABLES if name in config.tables}
    names = {name: names_of(source, CONTRACTS[name]) for name, source in sources.items()}
    return Plan(
        sources=sources,
        names=names,
        orders={name: _order(sources[name], names[name]) for name in sources},
        unit=Unit(config.shop.timezone, exponent_of(config.shop.currency) if _has_amounts(names["purchases"]) else 0),
        buckets=buckets_for(sum(rows_guessed(source) for source in sources.values())),
        as_of=as_of,
        max_bad_share=config.ingest.max_bad_share,
        with_orders=any(joined_by_order(name, names[name]) for name in names),
    )


def _order(source: Source, names: Mapping[str, str], usual: DayOrder = "") -> DayOrder:
    theirs = names.get("at") or names.get("joined_at")
    return day_order(source, theirs, usual) if theirs else ""


def _has_amounts(names: Mapping[str, str]) -> bool:
    return bool({"amount", "unit_price"} & set(names))


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
        if table == "purchases" and _has_amounts(names) != old.has_amounts:
            raise BadData(
                "a delta without amounts cannot join a store with them, nor the other way round",
                where=path,
                got="the store has them, the file does not"
                if old.has_amounts
                else "the file has them, the store does not",
                do="give both the same columns",
            )
        before = [said for part in old.manifest.parts for said in part.sources if said["table"] == table]
        known = {said["sha256"] for said in before} - {""}
        again = [name for name in source.files if fingerprint(name) in known]
        if again:
            raise UsageError(
                "the store already has this file", where=", ".join(again), do="nothing: its lines are there once"
            )
        plan = Plan(
            sources={table: source},
            names={table: names},
            orders={table: _order(source, names, next((said["days"] for said in before if said["days"]), ""))},
            unit=Unit(old.timezone, old.exponent),
            buckets=old.buckets,
            as_of=old.manifest.as_of,
            max_bad_share=config.ingest.max_bad_share,
            with_orders="order_id" in old.manifest.tables["orders"].words if "orders" in old.manifest.tables else False,
            erased=old.manifest.erased,
            name=desk.next_name(),
            first_place=len(before),
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
        return _report(desk.publish(manifest), taken)


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
        writer.entries(old.tables),
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
    return desk.publish(manifest), mark, dict(removed)


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
        words = {
            key: _unnamed_word(value, gone) if key == "referred_id" else value for key, value in kept.words.items()
        }
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
    few = _power_of_two(rows // ROWS_PER_BUCKET)
    return few if few <= BUCKETS else max(BUCKETS, 2 * _power_of_two(rows // MOST_PER_BUCKET))


def _power_of_two(number: int) -> int:
    """The greatest that is not above the number, at least 1."""
    return 1 << (max(number, 1).bit_length() - 1)


def _source(config: Config, table: str, path: str) -> Source:
    said = config.tables.get(table)
    if said is None:
        return source_of(table, path, {}, {}, None)
    return source_of(table, path, said.columns, said.only, said.table)


# -- first pass: rows checked and spread over buckets ------------------------------------------------------------------


def _take_in(desk: Desk, plan: Plan, old: HistoryStore | None, progress: Progress) -> Taken:
    tell = progress or (lambda line: None)
    quarantine, shared = Quarantine(), []
    spreads: dict[str, Spread] = {}
    counts: dict[str, Counts] = {}
    orders: pa.Table | None = None
    for table, source in plan.sources.items():
        tell(f"reading {table}")
        if joined_by_order(table, plan.names[table]) and orders is None:
            orders = orders_of(spreads.get("purchases"), old)
        counts[table] = Counts()
        spreads[table] = Spread(desk.spill / table, plan.buckets)
        for rows in checked_rows(plan, table, counts[table], quarantine, orders):
            if table == "costs":
                shared.append(rows.filter(pc.is_null(rows["customer_id"])))
            owned = rows.filter(pc.is_valid(rows["customer_id"])) if table == "costs" else rows
            if owned.num_rows:
                spreads[table].add(owned)
        spreads[table].close()
        try:
            refuse_broken(table, source, counts[table], plan.max_bad_share)
        except BadData:
            desk.write_refused(quarantine)
            raise
    tell("sorting by customer and day")
    return _write_part(desk, plan, spreads=spreads, counts=counts, quarantine=quarantine, shared=shared)


# -- second pass: bucket by bucket -------------------------------------------------------------------------------------


def _write_part(
    desk: Desk,
    plan: Plan,
    *,
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

        for bucket, ids, tables in ahead(collapsed, range(plan.buckets)):
            customers += ids.num_rows
            writer.add_bucket(bucket, ids, tables, market)
        if shared and sum(rows.num_rows for rows in shared):
            writer.add(0, "shared_costs", _shared(shared))
    sources = tuple(
        {"table": table, "path": shown(file), "sha256": fingerprint(file), "days": plan.orders[table]}
        for table, source in plan.sources.items()
        for file in source.files
    )
    files = desk.settle(plan.name, writer)
    entries = writer.entries(declared_tables(plan))
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
    """A bucket's customers (id, first day that is known) and its stored tables, collapsed."""
    coded = {name: _coded(flat(rows["customer_id"])) for name, rows in held.items()}
    ids = sorted_unique([texts for _, texts in coded.values()])
    tables: dict[str, list[Rows]] = {}
    for name, rows in held.items():
        code, texts = coded[name]
        who = pc.index_in(texts, ids).to_numpy(zero_copy_only=False).astype(np.int64)[code]
        for stored, derived in DERIVE[name](rows, who, plan):
            tables.setdefault(stored, []).append(_cut(derived, plan.as_of))
    collapsed = {name: collapse(lay_together(pieces), SHAPES[name]) for name, pieces in tables.items()}
    for name in ("purchases", "events"):
        if name in collapsed:
            hidden = collapsed.get(SHAPES[name].distinct)
            collapsed[name] = with_distinct(collapsed[name], SHAPES[name], hidden)
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
    known = np.full(len(ids), NEVER, np.int64)
    for name, rows in tables.items():
        dated = rows.take(rows.day != UNDATED) if name == "customers" else rows
        np.minimum.at(known, dated.who, dated.day)
    return pa.table({"customer_id": ids.cast(pa.string()), "first_known": pa.array(known.astype(np.int32))})
