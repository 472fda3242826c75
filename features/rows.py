"""What the store keeps of each table, and how many rows of a customer and day become one.

Rows of one customer and day are *added*: amounts, counts and the rest are whole numbers, so it does not matter in which
order, or in how many deltas, they came. That is why a store built from deltas equals one built from everything at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.block import Ints, Words
from features.tables import LAST_DAY

NEVER = LAST_DAY + 1  # the first day of a customer of whom no day is known


UNDATED = -1  # the day of a customers row without joined_at, until it is read


@dataclass(frozen=True)
class Shape:
    """What a stored table holds.

    Rows of one customer and day that agree in `keys` and `words` become one row whose `sums` are added, unless `every`
    row stands for itself. `largest` words are those of the day's largest line (of equal ones the first by its bytes).
    A measure in `complete` is 0 with `<name>_known` 0 unless every line has it; one in `partial` is 0 with
    `<name>_known` 0 where the row lacks it. `distinct` names a hidden table that keeps the ids apart which the measure
    of that name counts. `of` is the table of the shop it comes from.
    """

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
    """Rows of one stored table of one bucket, in no order unless said: customers by place, days, numbers, words."""

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


def empty_rows() -> Rows:
    none = np.zeros(0, np.int64)
    return Rows(none, none)


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


# -- distinct ids ------------------------------------------------------------------------------------------------------


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


# -- several parts, one on top of the other ----------------------------------------------------------------------------


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
        codes.append(recode(piece.code, place.astype(np.int64)))
    return Words(np.concatenate(codes), to_objects(union))


def recode(code: Ints, place: Ints) -> Ints:
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


def to_arrow(rows: Rows) -> pa.Table:
    """Rows as they are written: who and day int32, numbers int64, words as dictionaries."""
    columns: dict[str, pa.Array] = {
        "who": pa.array(rows.who.astype(np.int32)),
        "day": pa.array(rows.day.astype(np.int32)),
    }
    columns |= {name: pa.array(values) for name, values in rows.numbers.items()}
    for name, value in rows.words.items():
        words = shrunk(value)
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
    return Words(recode(code, place), to_objects(dictionary.take(pa.array(order))))


def shrunk(words: Words) -> Words:
    """Only the words that a row holds."""
    used = np.zeros(len(words.words) + 1, bool)
    used[words.code] = True
    if used[:-1].all():
        return words
    place = np.cumsum(used[:-1]) - 1
    return Words(recode(words.code, place), words.words[used[:-1]])
