"""The history store: every customer's rows, collapsed to customer and day, in Parquet files that are never changed.

A store is a folder. `CURRENT` names a manifest; the manifest names parts, and a part holds one Parquet file per table,
whose row groups are the buckets: customers are spread over buckets by a hash of their id (`hashing.py`), and inside a
bucket rows are sorted by customer and day. A weekly delta is one more part; reading a bucket lays the parts on top of
each other (`rows.py`), so a store built from deltas gives the same blocks, bit for bit, as one built from everything at
once. Nothing is overwritten: a new generation becomes true when `CURRENT` is renamed, and a killed writer leaves the
old one (`publish.py`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from features.block import Block, EventTable, Ints, Words
from features.errors import MissingInput, TryAgain
from features.hashing import NAME as HASH_NAME
from features.hashing import bucket_of
from features.manifest import FORMAT, Manifest, Part, TableEntry, current, damaged
from features.rows import (
    NEVER,
    SHAPES,
    UNDATED,
    Rows,
    Shape,
    collapse,
    empty_rows,
    from_arrow,
    lay_together,
    shrunk,
    sorted_unique,
    to_objects,
    unnamed,
    with_distinct,
)
from features.tables import flat


@dataclass(frozen=True)
class Market:
    """The whole shop by day: `day` runs without gaps; `visits` customers who bought, `firsts` of them for the first
    time, `spend` in minor units, all int64 (n,)."""

    day: Ints
    visits: Ints
    firsts: Ints
    spend: Ints


class HistoryStore:
    """A store opened for reading. Cheap to open, cheap to send to another process (only the folder travels).

    Raises MissingInput where there is no store and BadData where its files are not what its manifest says.
    """

    def __init__(self, folder: str | Path, manifest: bytes | None = None) -> None:
        self.folder = Path(folder)
        data = manifest or current(self.folder)
        try:
            self.manifest = Manifest.from_json(data)
        except (KeyError, TypeError, ValueError) as error:
            raise damaged(self.folder, f"its manifest cannot be read ({error})") from None
        self.digest = hashlib.sha256(data).hexdigest()
        if self.manifest.format != FORMAT or self.manifest.hash != HASH_NAME:
            raise damaged(self.folder, f"it has format {self.manifest.format} and hash {self.manifest.hash}")
        for entry in self.manifest.entries():
            file = self.folder / entry.path
            if not file.exists() or file.stat().st_size != entry.size:
                raise damaged(self.folder, f"{entry.path} is missing or has another size")

    def __reduce__(self) -> tuple[type[HistoryStore], tuple[Path]]:
        return HistoryStore, (self.folder,)

    @property
    def tables(self) -> tuple[str, ...]:
        """The tables the shop has, in the order of `SHAPES`."""
        return tuple(name for name in SHAPES if name in self.manifest.tables and not SHAPES[name].hidden)

    @property
    def buckets(self) -> int:
        return self.manifest.buckets

    @property
    def exponent(self) -> int:
        """Digits of the minor unit: `amount` / 10**exponent is in the shop's currency; 0 where there are no amounts."""
        return self.manifest.exponent

    @property
    def has_amounts(self) -> bool:
        return self.manifest.has_amounts

    @property
    def currency(self) -> str:
        return self.manifest.currency

    @property
    def timezone(self) -> str:
        return self.manifest.timezone

    @property
    def first_day(self) -> int:
        """The first day with a purchase."""
        return self.manifest.tables["purchases"].first_day or 0

    @property
    def last_day(self) -> int:
        """The last day with a purchase."""
        return self.manifest.tables["purchases"].last_day or 0

    @property
    def generation(self) -> int:
        return self.manifest.generation

    @property
    def customers_total(self) -> int:
        return self.manifest.customers

    def rows(self, table: str) -> int:
        """Rows of a stored table over all parts (a customer and day in two parts counts twice until `compact`)."""
        return self.manifest.tables[table].rows

    def total(self, table: str, measure: str) -> int:
        """The sum of a measure over the whole store: what reconciles with the source."""
        return self.manifest.tables[table].sums[measure]

    def block(self, bucket: int, tables: Iterable[str] | None = None, as_of: int | None = None) -> Block:
        """The customers of a bucket, in the order of their ids' bytes, with their rows in the tables asked for.

        With `as_of`, what became known after that day is not there, nor are customers first known after it.
        """
        wanted = self.tables if tables is None else tuple(name for name in tables if name in self.manifest.tables)
        ids, first_known, places = self._customers(bucket)
        found: dict[str, EventTable] = {}
        for name in wanted:
            entry = self.manifest.tables[name]
            if as_of is not None and not entry.declared and (entry.first_day is None or entry.first_day > as_of):
                continue
            rows = self._rows(bucket, name, places)
            if name == "customers":
                rows = _dated(rows, first_known)
            found[name] = _event_table(rows, SHAPES[name], entry)
        block = Block(ids, found)
        last = NEVER - 1 if as_of is None else as_of
        return (
            block if bool((first_known <= last).all()) and as_of is None else _known(block, first_known <= last, last)
        )

    def blocks(self, tables: Iterable[str] | None = None, as_of: int | None = None) -> Iterator[Block]:
        """All blocks, bucket by bucket; those without a customer too."""
        wanted = None if tables is None else tuple(tables)
        for bucket in range(self.buckets):
            yield self.block(bucket, wanted, as_of)

    def customer(self, customer_id: str, tables: Iterable[str] | None = None, as_of: int | None = None) -> Block:
        """A block of this one customer. Raises MissingInput where the store does not know the id."""
        block = self.block(int(bucket_of([customer_id], self.buckets)[0]), tables, as_of)
        mask = block.customers == customer_id
        if not mask.any():
            raise MissingInput("the store knows no such customer", where=str(self.folder), got=repr(customer_id))
        return _known(block, mask, NEVER)

    def daily(self, as_of: int | None = None) -> Market:
        """The market day by day from the first purchase to the last (or `as_of`)."""
        table = self._sound(
            lambda: pq.read_table(self.folder / self.manifest.market.path, page_checksum_verification=True)
        )
        columns = {name: table[name].to_numpy() for name in table.column_names}
        keep = slice(None) if as_of is None else columns["day"] <= as_of
        return Market(**{name: values[keep] for name, values in columns.items()})

    def shared_costs(self, as_of: int | None = None) -> pa.Table:
        """Costs that belong to no customer: day, amount (minor units), kind, channel, cohort."""
        names = ("day", "amount", "kind", "channel", "cohort")
        kinds = (pa.int32(), pa.int64(), pa.string(), pa.string(), pa.string())
        schema = pa.schema(list(zip(names, kinds, strict=True)))
        pieces = [
            self._sound(lambda p=part: pq.read_table(self.folder / p.files["shared_costs"].path).cast(schema))
            for part in self.manifest.parts
            if "shared_costs" in part.files
        ]
        costs = pa.concat_tables([schema.empty_table(), *pieces]).sort_by([(name, "ascending") for name in names])
        return costs if as_of is None else costs.filter(pc.less_equal(costs["day"], as_of))

    def orders(self) -> Iterator[pa.Table]:
        """order_id and customer_id of the purchases, bucket by bucket, where the store keeps them."""
        for bucket in range(self.buckets):
            for part in self.manifest.parts:
                table, ids = self.read_group(part, "orders", bucket), self.read_group(part, "ids", bucket)
                if table is not None and ids is not None and "order_id" in table.column_names:
                    yield pa.table(
                        {
                            "order_id": flat(table["order_id"]).cast(pa.large_string()),
                            "customer_id": flat(ids["customer_id"]).take(table["who"]).cast(pa.large_string()),
                        }
                    )

    def stored(self, bucket: int) -> tuple[pa.Table, dict[str, Rows]]:
        """A bucket over all parts as it would be written in one: its customers, every table, the hidden ones too."""
        ids, known, places = self._customers(bucket)
        table = pa.table(
            {
                "customer_id": pa.array(ids, pa.string()),
                "first_known": pa.array(known.astype(np.int32)),
            }
        )
        found = {name: self._rows(bucket, name, places) for name in self.manifest.tables if name in SHAPES}
        hidden = {SHAPES[name].distinct: name for name in found if SHAPES[name].distinct in found}
        found |= {ids: self._distinct(bucket, name, places) for ids, name in hidden.items()}
        return table, found

    def purchase_days(self, bucket: int) -> tuple[Rows, int]:
        """Who bought when for how much in a bucket, and how many customers it has."""
        ids, _, places = self._customers(bucket)
        pieces = self._pieces(bucket, "purchases", places, ["who", "day", "amount"])
        return collapse(lay_together(pieces), SHAPES["purchases"]) if pieces else empty_rows(), len(ids)

    def verify(self) -> None:
        """Read every byte. Raises BadData naming the first file whose sha256 is not the manifest's."""
        for entry in self.manifest.entries():
            with open(self.folder / entry.path, "rb") as handle:
                if hashlib.file_digest(handle, "sha256").hexdigest() != entry.sha256:
                    raise damaged(self.folder, f"{entry.path} has changed")

    # -- parts, laid on top of each other

    @cached_property
    def _opened(self) -> dict[str, pq.ParquetFile]:
        return {}

    def _sound(self, read: Any) -> pa.Table:
        try:
            return read()
        except FileNotFoundError:
            raise TryAgain("the store was rewritten while it was read", where=str(self.folder)) from None
        except (pa.ArrowInvalid, OSError) as error:
            raise damaged(self.folder, str(error).splitlines()[0][:200]) from None

    def read_group(self, part: Part, table: str, bucket: int, columns: list[str] | None = None) -> pa.Table | None:
        """The rows of one part, table and bucket as stored; None where there are none."""
        entry = part.files.get(table)
        if entry is None or not entry.groups[bucket]:
            return None

        def read() -> pa.Table:
            if entry.path not in self._opened:
                words = list(part.written.get(table, ()))
                self._opened[entry.path] = pq.ParquetFile(
                    self.folder / entry.path, read_dictionary=words, page_checksum_verification=True
                )
            group = sum(1 for rows in entry.groups[:bucket] if rows)
            return self._opened[entry.path].read_row_group(group, columns=columns, use_threads=False)

        return self._sound(read)

    def _customers(self, bucket: int) -> tuple[NDArray[np.object_], Ints, list[Ints | None]]:
        """Ids in order, the first day that anything is known of each, and for each part the place of its customers
        among them (None: has none here)."""
        read = [self.read_group(part, "ids", bucket) for part in self.manifest.parts]
        held = [table for table in read if table is not None]
        union = sorted_unique([flat(table["customer_id"]) for table in held])
        known = np.full(len(union), NEVER, np.int64)
        places: list[Ints | None] = []
        for table in read:
            if table is None:
                places.append(None)
                continue
            place = np.arange(len(union))
            if len(held) > 1:
                ids = flat(table["customer_id"]).cast(pa.large_string())
                place = pc.index_in(ids, union).to_numpy(zero_copy_only=False).astype(np.int64)
            known[place] = np.minimum(known[place], table["first_known"].to_numpy())
            places.append(place)
        return to_objects(union), known, places

    def _rows(self, bucket: int, name: str, places: Sequence[Ints | None]) -> Rows:
        shape = SHAPES[name]
        pieces = self._pieces(bucket, name, places)
        if len(pieces) < 2:
            return pieces[0] if pieces else empty_rows()
        rows = collapse(lay_together(pieces), shape)
        if shape.distinct in self.manifest.tables:
            return with_distinct(rows, shape, self._distinct(bucket, name, places))
        return with_distinct(rows, shape, None) if shape.distinct else rows

    def _pieces(
        self, bucket: int, name: str, places: Sequence[Ints | None], columns: list[str] | None = None
    ) -> list[Rows]:
        pieces = []
        for part, place in zip(self.manifest.parts, places, strict=True):
            table = self.read_group(part, name, bucket, columns)
            if table is not None and place is not None:
                rows = from_arrow(table)
                pieces.append(replace(rows, who=place[rows.who]))
        return pieces

    def _distinct(self, bucket: int, name: str, places: Sequence[Ints | None]) -> Rows:
        """The hidden ids behind a distinct count; rows of a part that kept none count as one unnamed id a day."""
        hidden = SHAPES[name].distinct
        pieces = self._pieces(bucket, hidden, places)
        for part, place in zip(self.manifest.parts, places, strict=True):
            if hidden not in part.files and place is not None:
                table = self.read_group(part, name, bucket)
                if table is not None:
                    rows = from_arrow(table)
                    pieces.append(unnamed(place[rows.who], rows.day))
        return collapse(lay_together(pieces), SHAPES[hidden])


def _dated(rows: Rows, first_known: Ints) -> Rows:
    """Customers without joined_at are dated by the first day that anything is known of them: no later row moves it."""
    return replace(rows, day=np.where(rows.day == UNDATED, first_known[rows.who], rows.day))


def _event_table(rows: Rows, shape: Shape, entry: TableEntry) -> EventTable:
    none = np.zeros(len(rows), np.int64)
    measures = {name: rows.numbers.get(name, none) for name in entry.numbers if not name.startswith("_")}
    for name in shape.complete:
        if f"{name}_known" in measures:
            known = (
                measures[f"{name}_known"] == measures["lines"] if "lines" in measures else measures[f"{name}_known"] > 0
            )
            measures[name] = np.where(known, measures[name], 0)
            measures[f"{name}_known"] = known.astype(np.int64)
    absent = Words(np.full(len(rows), -1, np.int64), np.array([], object))
    words = {name: rows.words.get(name, absent) for name in entry.words}
    return EventTable(rows.who, rows.day, measures, words, entry.since)


def _known(block: Block, who: NDArray[np.bool_], last: int) -> Block:
    """The block of these customers, with their rows up to a day."""
    place = np.cumsum(who) - 1
    tables = {}
    for name, table in block.tables.items():
        keep = who[table.who] & (table.day <= last)
        words = {key: shrunk(Words(value.code[keep], value.words)) for key, value in table.words.items()}
        since = table.since if table.since is not None and table.since <= last else None
        tables[name] = EventTable(
            place[table.who[keep]],
            table.day[keep],
            {key: value[keep] for key, value in table.measures.items()},
            words,
            since,
        )
    return Block(block.customers[who], tables)
