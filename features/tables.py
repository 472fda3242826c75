"""What a table may hold: every column declared once, with its type, its bounds and its meaning.

The contract is the documentation: `docs/tables.md` is written from the objects below, and `conform` checks rows against
the same objects. Checks run on whole Arrow columns, and what comes out is typed: ids and words are text exactly as
given, times are whole days in the shop's zone, money is whole minor units. A row that cannot be used is set aside with
its column, its value and the reason; nothing is mended in silence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Kind = Literal["id", "time", "date", "money", "number", "whole", "score", "flag", "word"]
DayOrder = Literal["", "dmy", "mdy"]
Mask = NDArray[np.bool_]

FIRST_DAY, LAST_DAY = 0, 47_846  # 1970-01-01 .. 2100-12-31
FIRST_BIRTH = -36_525  # 1870-01-01
MOST = 10**13  # a single amount in minor units: sums of them stay far below 2**53, where whole numbers end in float64
THOUSANDTHS = 1_000

# ISO 4217: minor units of the currencies that do not have two digits.
EXPONENTS: Mapping[str, int] = {
    **dict.fromkeys(
        (
            "BIF",
            "CLP",
            "DJF",
            "GNF",
            "ISK",
            "JPY",
            "KMF",
            "KRW",
            "PYG",
            "RWF",
            "UGX",
            "UYI",
            "VND",
            "VUV",
            "XAF",
            "XOF",
            "XPF",
        ),
        0,
    ),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
    **dict.fromkeys(("CLF", "UYW"), 4),
}

MEANS: Mapping[Kind, str] = {
    "id": "text, exactly as given",
    "time": "date or time, 1970 to 2100, all with a zone or none",
    "date": "date, 1870 to 2100",
    "money": "amount in the shop's currency",
    "number": "number, kept in thousandths",
    "whole": "whole number",
    "score": "number between low and high",
    "flag": "true or false",
    "word": "text",
}


@dataclass(frozen=True)
class Column:
    """One column: its name, what it holds, whether the table must have it and whether a row may lack it.

    `low` is the least value allowed (in the column's own unit), `words` the only ones allowed where it is not empty.
    """

    name: str
    kind: Kind
    meaning: str
    required: bool = False
    nullable: bool = True
    low: float | None = None
    words: tuple[str, ...] = ()

    @property
    def allowed(self) -> str:
        """What a value may be, in words."""
        if self.words:
            return ", ".join(self.words)
        return MEANS[self.kind] + (f", at least {self.low:g}" if self.low is not None else "")


@dataclass(frozen=True)
class Contract:
    """One table: its columns in order and what its rows are."""

    name: str
    meaning: str
    columns: tuple[Column, ...]

    def __getitem__(self, name: str) -> Column:
        return next(column for column in self.columns if column.name == name)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    @property
    def required(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns if column.required)


def _id(meaning: str, name: str = "customer_id", *, required: bool = True, nullable: bool = True) -> Column:
    return Column(name, "id", meaning, required=required, nullable=nullable)


def _at(meaning: str) -> Column:
    return Column("at", "time", meaning, required=True, nullable=False)


_CUSTOMER = "who; a row without one is a guest's: counted and set aside"
_BY_ORDER = _CUSTOMER + "; a table without the column but with order_id takes the customer of that order"

CONTRACTS: Mapping[str, Contract] = {
    contract.name: contract
    for contract in (
        Contract(
            "purchases",
            "one row per line of an order. A line with a negative amount is a return; a line of 0 is neither",
            (
                _id(_CUSTOMER),
                _at("when it was ordered"),
                Column("amount", "money", "what was paid for the line; without the column each line counts 1 unit"),
                Column("unit_price", "money", "where there is no amount: amount = unit_price x quantity"),
                Column("quantity", "number", "how many"),
                Column("product_id", "word", "what was bought"),
                Column("category", "word", "the kind of product"),
                Column("order_id", "id", "lines with the same one are one order"),
                Column("channel", "word", "where it was bought: web, store, phone"),
                Column("store", "word", "which store"),
                Column("discount", "money", "what was taken off the price", low=0),
                Column("cost", "money", "what the goods cost the shop", low=0),
                Column("status", "word", "the order's state; for `only`"),
                Column("promised_at", "time", "when delivery was promised"),
                Column("delivered_at", "time", "when it was delivered; known from that day on"),
            ),
        ),
        Contract(
            "returns",
            "one row per returned line: netted in money, never a visit",
            (
                _id(_BY_ORDER),
                _at("when it came back"),
                Column(
                    "amount", "money", "what was paid back; the sign does not matter", required=True, nullable=False
                ),
                Column("order_id", "id", "the order it belonged to"),
                Column("product_id", "word", "what came back"),
                Column("quantity", "number", "how many"),
                Column("reason", "word", "why"),
            ),
        ),
        Contract(
            "complaints",
            "one row per complaint. Until a later date has come, what it says is not known",
            (
                _id(_BY_ORDER),
                _at("when it was opened"),
                Column("kind", "word", "about what", words=("product", "service", "price", "delivery", "other")),
                Column("answered_at", "time", "first answer"),
                Column("resolved_at", "time", "when it was settled"),
                Column("reopened", "flag", "opened again after it was settled"),
                Column("satisfied", "flag", "content with how it was settled"),
                Column("order_id", "id", "the order it is about"),
            ),
        ),
        Contract(
            "surveys",
            "one row per answer. The score is scaled by low and high to 0..1",
            (
                _id(_BY_ORDER),
                Column("at", "time", "when it was answered; empty: asked, and no answer yet", required=True),
                Column("score", "score", "the answer; only an exit interview may lack one", required=True),
                Column("kind", "word", "csat where there is none", words=("csat", "nps", "review", "exit")),
                Column("low", "score", "the worst possible score; without it 0 for nps, else 1"),
                Column("high", "score", "the best possible score; without it 10 for nps, else 5"),
                Column("channel", "word", "how it was asked"),
                Column("invited_at", "time", "when it was asked"),
                Column("reason", "word", "the stated reason (exit interviews)"),
                Column("order_id", "id", "the order it is about"),
            ),
        ),
        Contract(
            "events",
            "one row per event on site or in the app",
            (
                _id(_CUSTOMER),
                _at("when"),
                Column(
                    "kind",
                    "word",
                    "what was done",
                    required=True,
                    nullable=False,
                    words=("visit", "view", "search", "cart", "checkout"),
                ),
                Column("product_id", "word", "which product"),
                Column("category", "word", "the kind of product"),
                Column("session_id", "id", "events with the same one are one session"),
            ),
        ),
        Contract(
            "campaigns",
            "one row per contact of a campaign with a customer, treated or held out",
            (
                _id(_CUSTOMER),
                _at("when the contact was made, or would have been"),
                Column("campaign_id", "word", "which campaign", required=True, nullable=False),
                Column("action", "word", "what was done"),
                Column("channel", "word", "by which channel"),
                Column("cost", "money", "what the contact cost", low=0),
                Column("control", "flag", "randomly held out; without any such row the table is no evidence of effect"),
                Column("opened_at", "time", "when it was opened"),
                Column("clicked_at", "time", "when it was followed"),
                Column("redeemed_at", "time", "when the offer was used"),
            ),
        ),
        Contract(
            "costs",
            "one row per cost; without a customer it is shared over its channel or cohort",
            (
                _at("when"),
                Column("amount", "money", "how much", required=True, nullable=False),
                Column(
                    "kind",
                    "word",
                    "what for",
                    required=True,
                    nullable=False,
                    words=("acquisition", "activation", "service", "retention", "concession", "other"),
                ),
                _id("whose; empty: shared", required=False),
                Column("channel", "word", "whose acquisition channel shares it"),
                Column("cohort", "word", "which cohort shares it"),
            ),
        ),
        Contract(
            "referrals",
            "one row per customer brought by a customer",
            (
                _id("who referred"),
                _at("when"),
                _id("who was referred", "referred_id", nullable=False),
            ),
        ),
        Contract(
            "customers",
            "one row per customer; of several the last file's is kept. Demographics stay out of models unless let in",
            (
                _id("who"),
                Column(
                    "joined_at", "time", "when known first; empty: the first day that anything is known of the customer"
                ),
                Column("channel", "word", "how the customer came"),
                Column("region", "word", "where the customer lives"),
                Column("store", "word", "the customer's own store"),
                Column("birth_date", "date", "birth"),
                Column("gender", "word", "gender"),
                Column("income", "money", "income a year"),
                Column("tier", "word", "level in the loyalty programme"),
                Column("points", "whole", "points in the loyalty programme"),
                Column("consent_email", "flag", "may be written to"),
                Column("consent_sms", "flag", "may be texted"),
                Column("consent_phone", "flag", "may be called"),
                Column("vip", "flag", "may be exempted from the hold-out"),
            ),
        ),
        Contract(
            "attitudes",
            "one row per answer to a question about attitudes; never imputed",
            (
                _id(_CUSTOMER),
                _at("when"),
                Column("question", "word", "what was asked", required=True, nullable=False),
                Column("answer", "word", "what was answered", required=True, nullable=False),
            ),
        ),
    )
}


@dataclass(frozen=True)
class Unit:
    """How days and money are read: the shop's zone, its currency's digits, and the order of day and month in texts
    such as 03/04/2019 (empty: such texts are not dates)."""

    zone: str = "UTC"
    exponent: int = 2
    order: DayOrder = ""


@dataclass(frozen=True)
class Bad:
    """Rows that cannot be used: place in the batch, column, value as text, reason; equally long."""

    row: NDArray[np.int64]
    column: list[str] = field(default_factory=list)
    value: list[str] = field(default_factory=list)
    reason: list[str] = field(default_factory=list)


def exponent_of(currency: str) -> int:
    """Digits of the currency's minor unit (ISO 4217): 2 unless the table of exceptions says otherwise."""
    return EXPONENTS.get(currency, 2)


def conform(contract: Contract, rows: pa.Table, unit: Unit) -> tuple[pa.Table, Bad]:
    """Typed columns of the rows that hold to the contract, and the rows that do not.

    `rows` has the contract's columns by their own names, of any type a file may give them; columns the table lacks are
    left out of the result. Typed: id -> large_string, word -> a dictionary of them, time and date -> int32 days, money
    -> int64 minor units, number -> int64 thousandths, whole -> int64, score -> float64, flag -> int8; absent is null.
    Row numbers of `Bad` count from the first row given. Each bad row is named once, by its first bad column.
    """
    typed: dict[str, pa.Array] = {}
    failed = np.zeros(rows.num_rows, bool)
    found: list[tuple[NDArray[np.int64], str, list[str], str]] = []

    def fail(mask: Mask, column: str, reason: str) -> None:
        new = np.flatnonzero(mask & ~failed)
        if len(new):
            found.append((new, column, _shown(rows, column, new), reason))
            failed[new] = True

    for column in contract.columns:
        if column.name not in rows.column_names:
            continue
        values, wrong, reason = read_column(_joined(rows[column.name]), column, unit)
        if wrong is not None:
            fail(wrong, column.name, reason)
        if not column.nullable and values.null_count:
            fail(values.is_null().to_numpy(zero_copy_only=False), column.name, "is missing")
        typed[column.name] = values
    for mask, name, reason in _across(contract.name, typed):
        fail(mask, name, reason)
    table = pa.table(typed) if typed else rows.select([])
    return (table.filter(pa.array(~failed)) if found else table), _gather(found)


def read_column(values: pa.Array, column: Column, unit: Unit) -> tuple[pa.Array, Mask | None, str]:
    """One column typed, the rows it fails on (None: none) and why they fail."""
    if pa.types.is_dictionary(values.type) and column.kind != "word":
        values = values.dictionary_decode()
    typed, wrong = _READERS[column.kind](values, unit)
    reason = f"is not what {column.name} may be: {column.allowed}"
    if column.low is not None:
        wrong = _either(wrong, _true(pc.less(typed, column.low)))
    if column.words:
        allowed = pc.is_in(flat(typed), pa.array(column.words, pa.large_string()))
        wrong = _either(wrong, ~_true(allowed) & _true(typed.is_valid()))
    if wrong is not None and not wrong.any():
        wrong = None
    return typed, wrong, reason


def flat(values: pa.ChunkedArray | pa.Array) -> pa.Array:
    """One plain array: chunks joined, dictionaries decoded."""
    values = _joined(values)
    return values.dictionary_decode() if pa.types.is_dictionary(values.type) else values


def ints_of(rows: pa.Table, name: str) -> NDArray[np.int64]:
    """A typed column as whole numbers, int64 (n,); absent is 0."""
    return _numbers(flat(rows[name]))[0]


def present(rows: pa.Table, name: str) -> Mask:
    """Where a typed column has a value."""
    return flat(rows[name]).is_valid().to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]


def _joined(values: pa.ChunkedArray | pa.Array) -> pa.Array:
    if isinstance(values, pa.ChunkedArray):
        values = values.chunk(0) if values.num_chunks == 1 else values.combine_chunks()
    if isinstance(values, pa.ChunkedArray):  # an empty column, or too long for 32-bit offsets
        values = pa.concat_arrays(values.chunks) if values.num_chunks else pa.array([], values.type)
    return values


# -- one reader a kind: (values, unit) -> (typed values, rows that are wrong or None) ----------------------------------


def _text(values: pa.Array, unit: Unit) -> tuple[pa.Array, Mask | None]:
    """Text exactly as given; whole numbers become their decimal digits; the empty text is absent."""
    kind, wrong = values.type, None
    if pa.types.is_floating(kind):  # pandas turns ids with gaps into floats: 17850.0 is the id 17850
        numbers = values.to_numpy(zero_copy_only=False).astype(np.float64)
        wrong = np.isfinite(numbers) & ((np.rint(numbers) != numbers) | (np.abs(numbers) >= 2.0**53))
        wrong |= np.isinf(numbers)
        gone = np.isnan(numbers) | wrong
        values = pa.array(np.where(gone, 0, numbers).astype(np.int64), mask=gone)
    elif pa.types.is_decimal(kind):
        values = values.cast(pa.decimal128(38, 0))
    elif pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        values = values.cast(pa.large_string())
    texts = values if values.type == pa.large_string() else values.cast(pa.large_string())
    empty = pc.equal(pc.binary_length(texts), 0)
    if pc.any(empty).as_py():
        texts = pc.if_else(empty, pa.scalar(None, pa.large_string()), texts)
    return texts, wrong


def _word(values: pa.Array, unit: Unit) -> tuple[pa.Array, Mask | None]:
    """Text exactly as given, as a dictionary: words repeat."""
    if not pa.types.is_dictionary(values.type):
        texts, wrong = _text(values, unit)
        return texts.dictionary_encode(), wrong
    words, wrong = _text(values.dictionary, unit)
    codes = values.indices.cast(pa.int32())
    if words.null_count or wrong is not None:  # the empty word is absent
        wrong = None if wrong is None else np.append(wrong, False)[codes.fill_null(-1).to_numpy()]
        codes = pc.if_else(words.is_valid().take(codes), codes, None)
    return pa.DictionaryArray.from_arrays(codes, words), wrong


def _days(values: pa.Array, unit: Unit, first: int = FIRST_DAY) -> tuple[pa.Array, Mask | None]:
    kind = values.type
    if pa.types.is_timestamp(kind):
        days, absent = _days_of_times(values, unit.zone)
        wrong = None
    elif pa.types.is_date(kind):
        days, absent = _numbers(values.cast(pa.date32()).view(pa.int32()))
        wrong = None
    else:
        texts, wrong = _text(values, unit)
        days, absent, unread = days_of_texts(texts, unit)
        wrong = _either(wrong, unread)
    outside = ~absent & ((days < first) | (days > LAST_DAY))
    wrong = _either(wrong, outside) if outside.any() else wrong
    return pa.array(np.where(absent | outside, 0, days).astype(np.int32), mask=absent if absent.any() else None), wrong


def _births(values: pa.Array, unit: Unit) -> tuple[pa.Array, Mask | None]:
    return _days(values, unit, FIRST_BIRTH)


def _money(values: pa.Array, unit: Unit) -> tuple[pa.Array, Mask | None]:
    return _scaled(values, 10.0**unit.exponent)


def _number(values: pa.Array, unit: Unit) -> tuple[pa.Array, Mask | None]:
    return _scaled(values, THOUSANDTHS)


def _whole(values: pa.Array, unit: Unit) -> tuple[pa.Array, Mask | None]:
    numbers, absent, wrong = _floats(values)
    wrong = wrong | (~absent & (np.rint(numbers) != numbers))
    return _ints(numbers, absent, wrong), wrong


def _score(values: pa.Array, unit: Unit) -> tuple[pa.Array, Mask | None]:
    numbers, absent, wrong = _floats(values)
    return pa.array(numbers, mask=absent | wrong), wrong


_FLAGS = {"true": 1, "t": 1, "yes": 1, "y": 1, "1": 1, "是": 1, "false": 0, "f": 0, "no": 0, "n": 0, "0": 0, "否": 0}


def _flag(values: pa.Array, unit: Unit) -> tuple[pa.Array, Mask | None]:
    if pa.types.is_boolean(values.type):
        return values.cast(pa.int8()), None
    texts, wrong = _text(values, unit)
    place = pc.index_in(pc.utf8_lower(pc.utf8_trim_whitespace(texts)), pa.array(list(_FLAGS), pa.large_string()))
    flags = pa.array(list(_FLAGS.values()), pa.int8()).take(place)
    return flags, _either(wrong, _true(flags.is_null()) & _true(texts.is_valid()))


_READERS: Mapping[Kind, Callable[[pa.Array, Unit], tuple[pa.Array, Mask | None]]] = {
    "id": _text,
    "word": _word,
    "time": _days,
    "date": _births,
    "money": _money,
    "number": _number,
    "whole": _whole,
    "score": _score,
    "flag": _flag,
}


# -- numbers -----------------------------------------------------------------------------------------------------------

_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?$"


def _scaled(values: pa.Array, scale: float) -> tuple[pa.Array, Mask | None]:
    """Whole numbers of 1/scale, to the nearest: 19.99 is 1999 hundredths though int(19.99 * 100) is 1998."""
    numbers, absent, wrong = _floats(values)
    numbers = numbers * scale
    wrong = wrong | (np.abs(numbers) > MOST)
    return _ints(np.rint(numbers), absent, wrong), wrong


def _floats(values: pa.Array) -> tuple[NDArray[np.float64], Mask, Mask]:
    """Numbers, which of them are absent, and which of them are no finite numbers. Both read 0."""
    if pa.types.is_boolean(values.type) or pa.types.is_temporal(values.type):
        return np.zeros(len(values)), np.zeros(len(values), bool), _true(values.is_valid())
    absent = values.is_null().to_numpy(zero_copy_only=False) if values.null_count else np.zeros(len(values), bool)
    unread = np.zeros(len(values), bool)
    if _is_text(values.type):
        values, absent, unread = _numbers_in_text(values)
    numbers = values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    if values.null_count:
        numbers = np.where(absent | unread, 0.0, numbers)
    finite = np.isfinite(numbers)
    if not finite.all():
        absent = absent | np.isnan(numbers)  # pandas writes a missing number as NaN
        unread = unread | np.isinf(numbers)
        numbers = np.where(finite, numbers, 0.0)
    return numbers, absent, unread


def _numbers_in_text(values: pa.Array) -> tuple[pa.Array, Mask, Mask]:
    texts = pc.utf8_trim_whitespace(values)
    absent = _true(pc.fill_null(pc.equal(pc.binary_length(texts), 0), True))
    unread = ~_true(pc.match_substring_regex(texts, _NUMBER)) & ~absent
    readable = texts
    if absent.any() or unread.any():
        readable = pc.if_else(pa.array(absent | unread), pa.scalar(None, texts.type), texts)
    return readable.cast(pa.float64()), absent, unread


def _ints(numbers: NDArray[np.float64], absent: Mask, wrong: Mask) -> pa.Array:
    gone = absent | wrong
    if not gone.any():
        return pa.array(numbers.astype(np.int64))
    return pa.array(np.where(gone, 0, numbers).astype(np.int64), mask=gone)


# -- days --------------------------------------------------------------------------------------------------------------

_PER_DAY = {"s": 86_400, "ms": 86_400_000, "us": 86_400_000_000, "ns": 86_400_000_000_000}
_CLOCK = (
    r"(?:[T\s]+(?P<hour>\d{1,2})[:时](?P<minute>\d{1,2})(?:[:分](?P<second>\d{1,2})(?:[.,]\d+)?秒?)?"
    r"(?:\s*(?P<half>[AaPp])\.?[Mm]\.?)?\s*(?P<zone>Z|z|UTC|GMT|[+-]\d{2}(?::?\d{2})?)?)?\s*$"
)
_PATTERNS = {
    "": r"^\s*(?P<year>\d{4})[-/.年](?P<month>\d{1,2})[-/.月](?P<day>\d{1,2})日?" + _CLOCK,
    "dmy": r"^\s*(?P<day>\d{1,2})[-/.](?P<month>\d{1,2})[-/.](?P<year>\d{4})" + _CLOCK,
    "mdy": r"^\s*(?P<month>\d{1,2})[-/.](?P<day>\d{1,2})[-/.](?P<year>\d{4})" + _CLOCK,
}


def days_of_texts(texts: pa.Array, unit: Unit) -> tuple[NDArray[np.int64], Mask, Mask]:
    """Days, which texts are absent, which are no dates. Read: ISO 8601 with or without time and zone, 20190304,
    2019/3/4, 2019年3月4日, and 03/04/2019 where the unit says which comes first."""
    absent = _true(texts.is_null())
    try:  # the common case: every text is ISO 8601 and has no zone
        days, absent = _days_of_times(texts.cast(pa.timestamp("s")), unit.zone)
        return days, absent, np.zeros(len(texts), bool)
    except pa.ArrowInvalid:
        texts = pc.replace_substring_regex(texts, r"^\s*(\d{4})(\d{2})(\d{2})\s*$", r"\1-\2-\3")
    days, unread, zoned = _days_by_pattern(texts, _PATTERNS[""], unit.zone)
    again = np.flatnonzero(unread & ~absent)
    if unit.order and len(again):
        days[again], unread[again], zoned[again] = _days_by_pattern(
            texts.take(pa.array(again)), _PATTERNS[unit.order], unit.zone
        )
    return days, absent, (unread | _misfits(zoned, absent | unread)) & ~absent


def _misfits(zoned: Mask, silent: Mask) -> Mask:
    """Where some times carry a zone and some do not, nobody knows what the fewer mean: those are not read."""
    some, none = int((zoned & ~silent).sum()), int((~zoned & ~silent).sum())
    return np.zeros(len(zoned), bool) if not some or not none else zoned == (some < none)


def _days_by_pattern(texts: pa.Array, pattern: str, zone: str) -> tuple[NDArray[np.int64], Mask, Mask]:
    """Days, which texts are no dates, and which carry a zone."""
    parts = pc.extract_regex(texts, pattern)
    unread = _true(parts.is_null())

    def part(name: str) -> NDArray[np.int64]:
        texts = pc.struct_field(parts, name)
        return _numbers(pc.if_else(pc.equal(texts, ""), None, texts).cast(pa.int64()))[0]

    year, month, day = part("year"), part("month"), part("day")
    hour, minute, second = part("hour"), part("minute"), part("second")
    half = _upper(parts, "half")
    unread |= (month < 1) | (month > 12) | (day < 1) | (hour > 23) | (minute > 59) | (second > 60)
    unread |= (half != "") & ((hour < 1) | (hour > 12))
    hour = np.where(half == "", hour, hour % 12 + 12 * (half == "P"))
    first = ((year - 1970) * 12 + np.clip(month, 1, 12) - 1).astype("datetime64[M]")
    length = ((first + 1).astype("datetime64[D]") - first.astype("datetime64[D]")).astype(np.int64)
    unread |= day > length
    days = first.astype("datetime64[D]").astype(np.int64) + day - 1
    offset, zoned, strange = _offsets(_upper(parts, "zone"))
    unread |= strange
    if zoned.any():
        seconds = (days * 86_400 + hour * 3_600 + minute * 60 + second - offset)[zoned]
        days[zoned] = _days_of_times(pa.array(seconds).cast(pa.timestamp("s", "UTC")), zone)[0]
    return days, unread, zoned


def _upper(parts: pa.Array, name: str) -> NDArray[np.object_]:
    return np.asarray(
        pc.fill_null(pc.utf8_upper(pc.struct_field(parts, name)), "").to_numpy(zero_copy_only=False), object
    )


def _offsets(zones: NDArray[np.object_]) -> tuple[NDArray[np.int64], Mask, Mask]:
    """Seconds east of Greenwich, which texts carry a zone, and which carry an impossible one."""
    words, place = np.unique(zones.astype(str), return_inverse=True)
    seconds = np.zeros(len(words), np.int64)
    for i, word in enumerate(words):
        if word[:1] in ("+", "-"):
            digits = word[1:].replace(":", "").ljust(4, "0")
            seconds[i] = (1 if word[0] == "+" else -1) * (int(digits[:2]) * 3_600 + int(digits[2:]) * 60)
    return seconds[place], (words != "")[place], (np.abs(seconds) > 18 * 3_600)[place]


def _days_of_times(times: pa.Array, zone: str) -> tuple[NDArray[np.int64], Mask]:
    """Days of timestamps. Those with a zone are moved to the shop's first; naive ones are taken as they stand."""
    if times.type.tz is not None:
        times = pc.local_timestamp(times.cast(pa.timestamp(times.type.unit, zone)))
    numbers, absent = _numbers(times.view(pa.int64()))
    return np.floor_divide(numbers, _PER_DAY[times.type.unit]), absent


# -- checks across columns ---------------------------------------------------------------------------------------------


_LATER = ("answered_at", "resolved_at", "opened_at", "clicked_at", "redeemed_at")


def _across(table: str, typed: Mapping[str, pa.Array]) -> list[tuple[Mask, str, str]]:
    """What only several columns together can say: (rows that fail, the column to name, why)."""
    found = [
        (_true(pc.less(typed[name], typed["at"])), name, "is before at")
        for name in _LATER
        if name in typed and "at" in typed
    ]
    if table == "purchases":
        found += _amount_checks(typed)
    if table == "surveys":
        found += _score_checks(typed)
    if table == "referrals":
        found += [(_true(pc.equal(typed["customer_id"], typed["referred_id"])), "referred_id", "is the customer")]
    return found


def _amount_checks(typed: Mapping[str, pa.Array]) -> list[tuple[Mask, str, str]]:
    """A line needs an amount, or a unit price and a quantity whose product is one."""
    if "unit_price" not in typed:
        return [(_true(typed["amount"].is_null()), "amount", "is missing")] if "amount" in typed else []
    price, quantity = (typed.get(name, pa.nulls(len(typed["at"]), pa.int64())) for name in ("unit_price", "quantity"))
    given = _true(typed["amount"].is_valid()) if "amount" in typed else np.zeros(len(price), bool)
    priced = _true(price.is_valid()) & _true(quantity.is_valid())
    product = _numbers(price)[0] * (_numbers(quantity)[0] / THOUSANDTHS)
    named = "amount" if "amount" in typed else "unit_price"
    return [(~given & ~priced, named, "is missing"), (~given & (np.abs(product) > MOST), "unit_price", "is too large")]


def _score_checks(typed: Mapping[str, pa.Array]) -> list[tuple[Mask, str, str]]:
    low, high = score_range(typed)
    score, answered = typed["score"], _true(typed["at"].is_valid())
    asked = _true(typed["invited_at"].is_valid()) if "invited_at" in typed else np.zeros(len(score), bool)
    kind = flat(typed["kind"]) if "kind" in typed else pa.nulls(len(score), pa.large_string())
    outside = _true(pc.or_(pc.less(score, pa.array(low)), pc.greater(score, pa.array(high))))
    return [
        (~answered & ~asked, "at", "is missing"),
        (answered & _true(score.is_null()) & ~_true(pc.equal(kind, "exit")), "score", "is missing"),
        (~(low < high), "low" if "low" in typed else "score", "is not below high"),
        (outside, "score", "is not between low and high"),
    ]


def score_range(typed: Mapping[str, pa.Array]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The worst and the best possible score of each row: as given, else 0 to 10 for nps and 1 to 5 for the rest."""
    n = len(typed["score"])
    nps = _true(pc.equal(flat(typed["kind"]), "nps")) if "kind" in typed else np.zeros(n, bool)

    def given(name: str, of_nps: float, of_rest: float) -> NDArray[np.float64]:
        usual = np.where(nps, of_nps, of_rest)
        if name not in typed:
            return usual
        return np.asarray(pc.coalesce(typed[name], pa.array(usual)).to_numpy(zero_copy_only=False), np.float64)

    return given("low", 0.0, 1.0), given("high", 10.0, 5.0)


# -- small pieces ------------------------------------------------------------------------------------------------------


def _is_text(kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _true(mask: pa.Array) -> Mask:
    """An Arrow mask as NumPy's; unknown is false."""
    mask = mask.fill_null(False) if mask.null_count else mask
    return mask.to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]


def _numbers(values: pa.Array) -> tuple[NDArray[np.int64], Mask]:
    absent = _true(values.is_null()) if values.null_count else np.zeros(len(values), bool)
    filled = values.fill_null(0) if values.null_count else values
    return filled.to_numpy(zero_copy_only=False).astype(np.int64), absent


def _either(one: Mask | None, other: Mask | None) -> Mask | None:
    if one is None or other is None:
        return other if one is None else one
    return one | other


def _shown(rows: pa.Table, column: str, places: NDArray[np.int64]) -> list[str]:
    """The offending values as a reader would write them, cut at 200 characters."""
    values = flat(rows[column]).take(pa.array(places)).to_pylist()
    return ["" if value is None else str(value)[:200] for value in values]


def _gather(found: list[tuple[NDArray[np.int64], str, list[str], str]]) -> Bad:
    if not found:
        return Bad(np.zeros(0, np.int64))
    rows = np.concatenate([new for new, *_ in found])
    order = np.argsort(rows, kind="stable")
    columns = [name for new, name, _, _ in found for _ in new]
    values = [value for _, _, shown, _ in found for value in shown]
    reasons = [reason for new, _, _, reason in found for _ in new]
    return Bad(rows[order], [columns[i] for i in order], [values[i] for i in order], [reasons[i] for i in order])
