"""The history store: every customer's rows, collapsed to customer and day, in Parquet files that are never changed.

A store is a folder. `CURRENT` names a manifest; the manifest names parts, and a part holds one Parquet file per table,
whose row groups are the buckets: customers are spread over buckets by a hash of their id (`hashing.py`), and inside a
bucket rows are sorted by customer and day. A weekly delta is one more part; reading a bucket lays the parts on top of
each other, and because rows that fall on the same customer and day are *added* (whole numbers, so in any order), a store
built from deltas gives the same blocks, bit for bit, as one built from everything at once. Nothing is overwritten: a new
generation becomes true when `CURRENT` is renamed, so a killed writer leaves the old one.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from features.block import Block, EventTable, Ints, Words
from features.errors import BadData, MissingInput, TryAgain
from features.hashing import NAME as HASH_NAME
from features.hashing import bucket_of
from features.tables import LAST_DAY

FORMAT = 1
NEVER = LAST_DAY + 1  # the first day of a customer of whom no day is known
UNDATED = -1  # the day of a customers row without joined_at, until it is read


@dataclass(frozen=True)
class Shape:
    """What a stored table holds. Rows of one customer and day that agree in `keys` and `words` become one row whose
    `sums` are added, unless `every` row stands for itself. `largest` words are those of the day's largest line (of equal
    ones the first in the alphabet). A measure in `complete` is 0 with `<name>_known` 0 unless every line has it; one in
    `partial` is 0 with `<name>_known` 0 where the row lacks it. `distinct` names a hidden table that keeps the ids
    apart which the measure of that name counts. `of` is the table of the shop it comes from."""

    name: str
    of: str
    sums: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    largest: tuple[str, ...] = ()
    complete: tuple[str, ...] = ()
    partial: tuple[str, ...] = ()
    distinct: str = ""
    every: bool = False
    hidden: bool = False

    @property
    def numbers(self) -> tuple[str, ...]:
        """The stored whole-number columns; those with a leading underscore serve the merging of parts."""
        known = tuple(f"{name}_known" for name in self.complete + self.partial)
        both = (*self.complete, *self.partial, *known)
        return (*self.sums, *both, *self.keys, *(f"_{name}" for name in self.largest))


SHAPES: Mapping[str, Shape] = {
    shape.name: shape
    for shape in (
        Shape(
            "purchases",
            "purchases",
            sums=("amount", "lines"),
            largest=("channel", "store"),
            complete=("quantity", "discount", "cost"),
            distinct="orders",
        ),
        Shape("orders", "purchases", sums=("bought",), keys=("order",), words=("order_id",), hidden=True),
        Shape("lines", "purchases", sums=("amount", "lines"), complete=("quantity",), words=("product_id", "category")),
        Shape(
            "deliveries", "purchases", sums=("lines",), keys=("waited", "late_days", "early_days", "late_days_known")
        ),
        Shape("returns", "returns", sums=("amount", "lines"), largest=("reason",)),
        Shape("complaints", "complaints", words=("kind",), every=True),
        Shape("complaints_answered", "complaints", sums=("waited",), words=("kind",), every=True),
        Shape(
            "complaints_resolved",
            "complaints",
            sums=("waited",),
            partial=("reopened", "satisfied"),
            words=("kind",),
            every=True,
        ),
        Shape("surveys", "surveys", partial=("score",), words=("kind", "channel", "reason"), every=True),
        Shape("invitations", "surveys", words=("kind", "channel"), every=True),
        Shape("events", "events", sums=("visit", "view", "search", "cart", "checkout"), distinct="sessions"),
        Shape("sessions", "events", sums=("bought",), keys=("order",), hidden=True),
        Shape("event_lines", "events", sums=("visit", "view", "search", "cart", "checkout"), words=("category",)),
        Shape(
            "campaigns", "campaigns", sums=("cost", "control"), words=("action", "channel", "campaign_id"), every=True
        ),
        Shape(
            "campaigns_opened", "campaigns", sums=("waited",), words=("action", "channel", "campaign_id"), every=True
        ),
        Shape(
            "campaigns_clicked", "campaigns", sums=("waited",), words=("action", "channel", "campaign_id"), every=True
        ),
        Shape(
            "campaigns_redeemed", "campaigns", sums=("waited",), words=("action", "channel", "campaign_id"), every=True
        ),
        Shape("costs", "costs", sums=("amount",), words=("kind", "channel", "cohort"), every=True),
        Shape("referrals", "referrals", words=("referred_id",), every=True),
        Shape(
            "customers",
            "customers",
            keys=("_seq",),
            partial=("birth_day", "income", "points", "consent_email", "consent_sms", "consent_phone", "vip"),
            words=("channel", "region", "store", "gender", "tier"),
            every=True,
        ),
        Shape("attitudes", "attitudes", words=("question", "answer"), every=True),
    )
}


@dataclass(frozen=True)
class Rows:
    """Rows of one stored table of one bucket, in no order unless said: customers by place, days, whole numbers, words."""

    who: Ints
    day: Ints
    numbers: Mapping[str, Ints] = field(default_factory=dict)
    words: Mapping[str, Words] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.who)

    def take(self, places: NDArray[Any]) -> Rows:
        """The rows at these places, or those a mask keeps."""
        if places.dtype == bool and places.all():
            return self
        return Rows(
            self.who[places],
            self.day[places],
            {name: values[places] for name, values in self.numbers.items()},
            {name: Words(words.code[places], words.words) for name, words in self.words.items()},
        )


# -- collapsing: many rows of a customer and day become one ------------------------------------------------------------


def collapse(rows: Rows, shape: Shape) -> Rows:
    """Rows sorted by customer and day (then by all else, so that the order they came in does not show), those that
    agree in the shape's keys added up. Collapsing parts of a table and then the results gives the same."""
    if not len(rows):
        return rows
    if shape.name == "customers":
        return _latest(rows)
    apart = [rows.who, rows.day, *(rows.numbers[k] for k in shape.keys if k in rows.numbers)]
    apart += [rows.words[name].code for name in shape.words if name in rows.words]
    if shape.every:
        apart += [rows.numbers[name] for name in sorted(rows.numbers)]
    order = _order(apart)
    rows = rows.take(order)
    if shape.every:
        return rows
    opens = np.zeros(len(rows), bool)
    opens[0] = True
    for values in apart:
        opens[1:] |= np.diff(values[order]) != 0
    if opens.all():
        return rows
    return _added(rows, shape, opens)


def _added(rows: Rows, shape: Shape, opens: NDArray[np.bool_]) -> Rows:
    first = np.flatnonzero(opens)
    kept = rows.take(first)
    numbers = dict(kept.numbers)
    for name in rows.numbers:
        if name not in shape.keys and not name.startswith("_"):
            numbers[name] = np.add.reduceat(rows.numbers[name], first)
    words = dict(kept.words)
    group = np.cumsum(opens) - 1
    for name in shape.largest:
        if name in rows.words:
            best = _largest(group, rows.numbers[f"_{name}"], rows.words[name].code, len(first))
            numbers[f"_{name}"] = rows.numbers[f"_{name}"][best]
            words[name] = Words(rows.words[name].code[best], rows.words[name].words)
    return Rows(kept.who, kept.day, numbers, words)


def _largest(group: Ints, amount: Ints, code: Ints, groups: int) -> Ints:
    """For each group the row with the largest amount among those with a word; of equal ones the first word."""
    order = np.lexsort((code, -amount, code < 0, group))
    return order[np.searchsorted(group[order], np.arange(groups))]


def _latest(rows: Rows) -> Rows:
    """One row per customer: the last file's; of several in one file the greatest, column by column."""
    columns = [code.code for _, code in sorted(rows.words.items())]
    columns += [rows.numbers[name] for name in sorted(rows.numbers) if name != "_seq"]
    order = np.lexsort((*reversed([rows.who, rows.numbers["_seq"], rows.day, *columns]),))
    rows = rows.take(order)
    return rows.take(np.append(rows.who[1:] != rows.who[:-1], True))


def _order(columns: Sequence[Ints]) -> Ints:
    """The order of the rows by these columns, the first one weighing most. Packed into one number where they fit."""
    key, span = np.zeros(len(columns[0]), np.int64), 1
    for values in columns:
        low, high = int(values.min()), int(values.max())
        width = high - low + 1
        if span * width >= 2**62:
            return np.lexsort((*reversed(columns),))
        key *= width
        key += values - low
        span *= width
    return sorting(key, span)


def sorting(key: Ints, span: int) -> Ints:
    """The stable order of numbers 0 .. span-1. NumPy sorts 16-bit numbers by radix: two such passes beat one sort."""
    if not (key[1:] < key[:-1]).any():
        return np.arange(len(key))
    passes = (max(span - 1, 1).bit_length() + 15) // 16
    if passes > 3 or len(key) < 1_000:
        return np.argsort(key, kind="stable")
    order = np.argsort(key.astype(np.uint16), kind="stable")
    for place in range(1, passes):
        order = order[np.argsort((key >> (16 * place)).astype(np.uint16)[order], kind="stable")]
    return order


def lay_together(pieces: Sequence[Rows]) -> Rows:
    """The rows of several parts as one; a column that a part lacks is 0 there, a word absent."""
    if len(pieces) == 1:
        return pieces[0]
    lengths = [len(piece) for piece in pieces]
    numbers = {name: None for piece in pieces for name in piece.numbers}
    words = {name: None for piece in pieces for name in piece.words}

    def number(piece: Rows, name: str, n: int) -> Ints:
        return piece.numbers[name] if name in piece.numbers else np.zeros(n, np.int64)

    return Rows(
        np.concatenate([piece.who for piece in pieces]),
        np.concatenate([piece.day for piece in pieces]),
        {name: np.concatenate([number(p, name, n) for p, n in zip(pieces, lengths, strict=True)]) for name in numbers},
        {name: _join_words([p.words.get(name) for p in pieces], lengths) for name in words},
    )


def _join_words(pieces: Sequence[Words | None], lengths: Sequence[int]) -> Words:
    texts = [pa.array(piece.words, pa.large_string()) for piece in pieces if piece is not None]
    union = sorted_unique(texts)
    codes = []
    for piece, n in zip(pieces, lengths, strict=True):
        if piece is None:
            codes.append(np.full(n, -1, np.int64))
            continue
        place = pc.index_in(pa.array(piece.words, pa.large_string()), union).to_numpy(zero_copy_only=False)
        codes.append(_recode(piece.code, place.astype(np.int64)))
    return Words(np.concatenate(codes), to_objects(union))


def _recode(code: Ints, place: Ints) -> Ints:
    """Codes through a table of new places; -1 stays -1."""
    return np.append(place, -1)[code]


def sorted_unique(texts: Sequence[pa.Array]) -> pa.Array:
    """All texts once, in the order of their UTF-8 bytes."""
    if not texts:
        return pa.array([], pa.large_string())
    every = pc.unique(pa.chunked_array([text.cast(pa.large_string()) for text in texts]))
    return every.take(pc.sort_indices(every))


def to_objects(texts: pa.Array) -> NDArray[np.object_]:
    """Texts as a NumPy array of str."""
    return np.asarray(texts.to_numpy(zero_copy_only=False), dtype=object)


# -- rows on disk ------------------------------------------------------------------------------------------------------

_INT32 = {"who": pa.int32(), "day": pa.int32()}


def to_arrow(rows: Rows) -> pa.Table:
    """Rows as they are written: who and day int32, numbers int64, words as dictionaries."""
    columns: dict[str, pa.Array] = {
        "who": pa.array(rows.who.astype(np.int32)),
        "day": pa.array(rows.day.astype(np.int32)),
    }
    columns |= {name: pa.array(values) for name, values in rows.numbers.items()}
    for name, words in rows.words.items():
        words = shrunk(words)
        codes = pa.array(words.code.astype(np.int32), mask=words.code < 0)
        columns[name] = pa.DictionaryArray.from_arrays(codes, pa.array(words.words, pa.string()))
    return pa.table(columns)


def from_arrow(table: pa.Table) -> Rows:
    """Rows as they are read; word codes in the order of the words."""
    numbers: dict[str, Ints] = {}
    words: dict[str, Words] = {}
    for name in table.column_names:
        kind = table.schema.field(name).type
        if pa.types.is_dictionary(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind):
            words[name] = words_of(table[name])
        else:
            numbers[name] = table[name].to_numpy().astype(np.int64, copy=False)
    return Rows(numbers.pop("who"), numbers.pop("day"), numbers, words)


def words_of(column: pa.ChunkedArray | pa.Array) -> Words:
    """A column of text as codes into its own words in ascending order; null is -1."""
    if isinstance(column, pa.ChunkedArray):
        column = column.unify_dictionaries() if pa.types.is_dictionary(column.type) else column
        column = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
        if isinstance(column, pa.ChunkedArray):
            column = pa.array([], column.type)
    coded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    code = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    return _in_order(code, coded.dictionary)


def _in_order(code: Ints, dictionary: pa.Array) -> Words:
    used = np.zeros(len(dictionary) + 1, bool)
    used[code] = True
    order = pc.sort_indices(dictionary).to_numpy()
    order = order[used[order]]
    place = np.full(len(dictionary), -1, np.int64)
    place[order] = np.arange(len(order))
    return Words(_recode(code, place), to_objects(dictionary.take(pa.array(order))))


# -- the manifest ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FileEntry:
    """One file of a part: where it lies under the store, what it holds and what its bytes are. `groups` has the number
    of rows of each bucket; buckets without rows have no row group."""

    path: str
    rows: int
    size: int
    sha256: str
    groups: tuple[int, ...] = ()


@dataclass(frozen=True)
class TableEntry:
    """A stored table: its columns, the first and last day of its records (None: no rows yet), its sums. `declared`: the
    shop has the table even where it has no rows. `since` is the first day its records can speak of."""

    numbers: tuple[str, ...]
    words: tuple[str, ...]
    first_day: int | None
    last_day: int | None
    declared: bool
    rows: int
    sums: Mapping[str, int]
    since: int | None = None


@dataclass(frozen=True)
class Part:
    """What one ingest or append wrote: its files and stored tables, the sources it read (path, table, sha256), and what
    became of their rows."""

    name: str
    files: Mapping[str, FileEntry]
    tables: Mapping[str, TableEntry]
    sources: tuple[Mapping[str, Any], ...]
    counts: Mapping[str, Mapping[str, int]]
    written: Mapping[str, tuple[str, ...]]  # the word columns of each file


@dataclass(frozen=True)
class Manifest:
    """All that is true of one generation of a store. `erased` are salted hashes of the ids that were erased, so that
    their lines are not taken in again."""

    generation: int
    buckets: int
    timezone: str
    currency: str
    exponent: int
    has_amounts: bool
    as_of: int | None
    customers: int
    parts: tuple[Part, ...]
    market: FileEntry
    quarantine: tuple[FileEntry, ...] = ()
    erased: tuple[str, ...] = ()
    hash: str = HASH_NAME
    format: int = FORMAT

    @cached_property
    def tables(self) -> Mapping[str, TableEntry]:
        """The stored tables over all parts."""
        return merged_entries(self.parts)

    def entries(self) -> Iterator[FileEntry]:
        """Every file of this generation."""
        for part in self.parts:
            yield from part.files.values()
        yield self.market
        yield from self.quarantine

    def to_json(self) -> bytes:
        return (json.dumps(asdict(self), sort_keys=True, indent=1, ensure_ascii=False) + "\n").encode()

    @staticmethod
    def from_json(data: bytes) -> Manifest:
        """Raises KeyError, TypeError or ValueError where `data` is no manifest."""
        said = json.loads(data)
        said["parts"] = tuple(_part(part) for part in said["parts"])
        said["market"] = FileEntry(**_tuples(said["market"]))
        said["quarantine"] = tuple(FileEntry(**_tuples(entry)) for entry in said["quarantine"])
        said["erased"] = tuple(said["erased"])
        return Manifest(**said)


def _tuples(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}


def _part(said: dict[str, Any]) -> Part:
    files = {name: FileEntry(**_tuples(entry)) for name, entry in said["files"].items()}
    tables = {name: TableEntry(**_tuples(entry)) for name, entry in said["tables"].items()}
    return Part(said["name"], files, tables, tuple(said["sources"]), said["counts"], _tuples(said["written"]))


def merged_entries(parts: Sequence[Part]) -> Mapping[str, TableEntry]:
    """One entry per stored table, in the order of `SHAPES`."""
    found = {}
    for name in SHAPES:
        entries = [part.tables[name] for part in parts if name in part.tables]
        if entries:
            found[name] = _merged_entry(entries)
    return {name: replace(entry, since=_since(name, found)) for name, entry in found.items()}


def _merged_entry(entries: Sequence[TableEntry]) -> TableEntry:
    firsts = [entry.first_day for entry in entries if entry.first_day is not None]
    lasts = [entry.last_day for entry in entries if entry.last_day is not None]
    sums: Counter[str] = Counter()
    for entry in entries:
        sums.update(entry.sums)
    return TableEntry(
        tuple(dict.fromkeys(name for entry in entries for name in entry.numbers)),
        tuple(dict.fromkeys(name for entry in entries for name in entry.words)),
        min(firsts, default=None),
        max(lasts, default=None),
        any(entry.declared for entry in entries),
        sum(entry.rows for entry in entries),
        dict(sums),
    )


def _since(name: str, entries: Mapping[str, TableEntry]) -> int | None:
    """The first day of the records a table is made from; returns that are only negative lines begin with purchases."""
    if name in ("deliveries", "invitations"):
        return entries[name].first_day
    source = "purchases" if name == "returns" and not entries[name].declared else SHAPES[name].of
    return entries[source].first_day if source in entries else entries[name].first_day


# -- the store ---------------------------------------------------------------------------------------------------------


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
            raise _damaged(self.folder, f"its manifest cannot be read ({error})") from None
        self.digest = hashlib.sha256(data).hexdigest()
        if self.manifest.format != FORMAT or self.manifest.hash != HASH_NAME:
            raise _damaged(self.folder, f"it has format {self.manifest.format} and hash {self.manifest.hash}")
        for entry in self.manifest.entries():
            file = self.folder / entry.path
            if not file.exists() or file.stat().st_size != entry.size:
                raise _damaged(self.folder, f"{entry.path} is missing or has another size")

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
        """Digits of the minor unit: `amount` / 10**exponent is in the shop's currency (0 where there are no amounts)."""
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
        ids, first_bought, first_known, places = self._customers(bucket)
        found: dict[str, EventTable] = {}
        for name in wanted:
            entry = self.manifest.tables[name]
            if as_of is not None and not entry.declared and (entry.first_day is None or entry.first_day > as_of):
                continue
            rows = self._rows(bucket, name, places)
            if name == "customers":
                rows = _dated(rows, first_bought, first_known)
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
        table = self._checked(
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
            self._checked(lambda p=part: pq.read_table(self.folder / p.files["shared_costs"].path).cast(schema))
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
                            "order_id": _flat(table["order_id"]).dictionary_decode().cast(pa.large_string()),
                            "customer_id": _flat(ids["customer_id"]).take(table["who"]).cast(pa.large_string()),
                        }
                    )

    def stored(self, bucket: int) -> tuple[pa.Table, dict[str, Rows]]:
        """A bucket over all parts as it would be written in one: its customers, and every table, the hidden ones too."""
        ids, bought, known, places = self._customers(bucket)
        table = pa.table(
            {
                "customer_id": pa.array(ids, pa.string()),
                "first_bought": pa.array(bought.astype(np.int32)),
                "first_known": pa.array(known.astype(np.int32)),
            }
        )
        found = {name: self._rows(bucket, name, places) for name in self.manifest.tables if name in SHAPES}
        hidden = {SHAPES[name].distinct: name for name in found if SHAPES[name].distinct in found}
        found |= {ids: self._distinct(bucket, name, places) for ids, name in hidden.items()}
        return table, found

    def purchase_days(self, bucket: int) -> tuple[Rows, int]:
        """A bucket's purchases, and how many customers it has."""
        ids, _, _, places = self._customers(bucket)
        return self._rows(bucket, "purchases", places), len(ids)

    def verify(self) -> None:
        """Read every byte. Raises BadData naming the first file whose sha256 is not the manifest's."""
        for entry in self.manifest.entries():
            with open(self.folder / entry.path, "rb") as handle:
                if hashlib.file_digest(handle, "sha256").hexdigest() != entry.sha256:
                    raise _damaged(self.folder, f"{entry.path} has changed")

    # -- parts, laid on top of each other

    @cached_property
    def _opened(self) -> dict[str, pq.ParquetFile]:
        return {}

    def _checked(self, read: Any) -> pa.Table:
        try:
            return read()
        except FileNotFoundError:
            raise TryAgain("the store was rewritten while it was read", where=str(self.folder)) from None
        except (pa.ArrowInvalid, OSError) as error:
            raise _damaged(self.folder, str(error).splitlines()[0][:200]) from None

    def read_group(self, part: Part, table: str, bucket: int) -> pa.Table | None:
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
            return self._opened[entry.path].read_row_group(group, use_threads=False)

        return self._checked(read)

    def _customers(self, bucket: int) -> tuple[NDArray[np.object_], Ints, Ints, list[Ints | None]]:
        """Ids in order, the day of each one's first purchase and of the first that is known, and for each part the
        place of its customers among them (None: has none here)."""
        read = [self.read_group(part, "ids", bucket) for part in self.manifest.parts]
        held = [table for table in read if table is not None]
        union = sorted_unique([_flat(table["customer_id"]) for table in held])
        bought, known = np.full((2, len(union)), NEVER, np.int64)
        places: list[Ints | None] = []
        for table in read:
            if table is None:
                places.append(None)
                continue
            place = np.arange(len(union))
            if len(held) > 1:
                ids = _flat(table["customer_id"]).cast(pa.large_string())
                place = pc.index_in(ids, union).to_numpy(zero_copy_only=False).astype(np.int64)
            bought[place] = np.minimum(bought[place], table["first_bought"].to_numpy())
            known[place] = np.minimum(known[place], table["first_known"].to_numpy())
            places.append(place)
        return to_objects(union), bought, known, places

    def _rows(self, bucket: int, name: str, places: Sequence[Ints | None]) -> Rows:
        shape = SHAPES[name]
        pieces = self._pieces(bucket, name, places)
        if len(pieces) < 2:
            return pieces[0] if pieces else empty_rows()
        rows = collapse(lay_together(pieces), shape)
        if shape.distinct in self.manifest.tables:
            return with_distinct(rows, shape, self._distinct(bucket, name, places))
        return with_distinct(rows, shape, None) if shape.distinct else rows

    def _pieces(self, bucket: int, name: str, places: Sequence[Ints | None]) -> list[Rows]:
        pieces = []
        for part, place in zip(self.manifest.parts, places, strict=True):
            table = self.read_group(part, name, bucket)
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


def empty_rows() -> Rows:
    none = np.zeros(0, np.int64)
    return Rows(none, none)


def unnamed(who: Ints, day: Ints) -> Rows:
    """One id without a name for each of these customer days."""
    return Rows(who, day, {"bought": np.ones(len(who), np.int64), "order": np.zeros(len(who), np.int64)})


def with_distinct(rows: Rows, shape: Shape, ids: Rows | None) -> Rows:
    """The rows with the measure that counts ids. Without ids a day's purchases are one order, and sessions unknown."""
    if ids is None:
        counts = {"orders": np.ones(len(rows), np.int64)} if shape.distinct == "orders" else {}
    else:
        counts = {shape.distinct: count_distinct(rows, ids)}
    return replace(rows, numbers={**rows.numbers, **counts})


def count_distinct(rows: Rows, ids: Rows) -> Ints:
    """How many ids with a purchase each customer day of `rows` has; both sorted by customer and day."""
    ids = ids.take(ids.numbers["bought"] > 0)
    base = int(max(rows.day.max(initial=0), ids.day.max(initial=0))) + 1
    have = ids.who * base + ids.day
    want = rows.who * base + rows.day
    return np.searchsorted(have, want, "right") - np.searchsorted(have, want, "left")


def _flat(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)


def current(folder: Path) -> bytes:
    """The bytes of the manifest in force. Raises MissingInput where there is no store."""
    try:
        name = (folder / "CURRENT").read_text(encoding="utf-8").strip()
        return (folder / name).read_bytes()
    except FileNotFoundError:
        raise MissingInput(
            "there is no history store", where=str(folder), do="run `holdfast ingest` to make one"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise _damaged(folder, str(error)) from None


def _damaged(folder: Path, how: str) -> BadData:
    return BadData(
        "the history store is damaged", where=str(folder), got=how, do="run `holdfast ingest` to build it anew"
    )


def _dated(rows: Rows, first_bought: Ints, first_known: Ints) -> Rows:
    """Customers without joined_at are dated by their first purchase, else by the first day anything is known of them."""
    bought = np.where(first_bought == NEVER, first_known, first_bought)
    day = np.where(rows.day == UNDATED, bought[rows.who], rows.day)
    return replace(rows, day=day)


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


def shrunk(words: Words) -> Words:
    """Only the words that a row holds."""
    used = np.zeros(len(words.words) + 1, bool)
    used[words.code] = True
    if used[:-1].all():
        return words
    place = np.cumsum(used[:-1]) - 1
    return Words(_recode(words.code, place), words.words[used[:-1]])
