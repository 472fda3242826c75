"""From a table of the shop to the tables that are stored: one function a table, rows in, rows out.

What becomes known later is a row of its own on the day it became known: an answer, a delivery, an opened mail. So a
cutoff needs to look at nothing but the day of a row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from features.block import Ints, Words
from features.hashing import hash_ids
from features.intake import Counts, Plan, priced
from features.manifest import TableEntry
from features.rows import SHAPES, UNDATED, Rows, unnamed, words_of
from features.tables import CONTRACTS, Contract, Unit, conform, flat, ints_of, present, score_range

Derived = Iterator[tuple[str, Rows]]


def _known_numbers(rows: pa.Table, names: Iterable[str], called: Mapping[str, str] | None = None) -> dict[str, Ints]:
    """Optional numbers with their `_known`, for the columns the table has."""
    found = {}
    for name in names:
        if name in rows.column_names:
            ours = (called or {}).get(name, name)
            found[ours] = ints_of(rows, name)
            found[f"{ours}_known"] = present(rows, name).astype(np.int64)
    return found


def _words(rows: pa.Table, names: Iterable[str]) -> dict[str, Words]:
    return {name: words_of(rows[name]) for name in names if name in rows.column_names}


def _from_purchases(rows: pa.Table, who: Ints, plan: Plan) -> Derived:
    day, amount = ints_of(rows, "at"), ints_of(rows, "amount")
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
        quantity = {name: value for name, value in optional.items() if name.startswith("quantity")}
        yield "lines", Rows(who, day, {"amount": amount, "lines": one, **quantity}, _words(rows, names)).take(buys)
    if "delivered_at" in rows.column_names:
        yield "deliveries", _deliveries(rows, who, day).take(buys & present(rows, "delivered_at"))


def _named(
    rows: pa.Table, who: Ints, day: Ints, column: str, counts: NDArray[np.bool_], *, words: bool = False
) -> Rows:
    """The ids behind a distinct count, as hashes; 0 where the row has none."""
    if column not in rows.column_names:
        return unnamed(who, day)
    ids = flat(rows[column])
    order = np.where(present(rows, column), hash_ids(ids).view(np.int64), 0)
    kept = {"order_id": words_of(ids)} if words else {}
    return Rows(who, day, {"bought": counts.astype(np.int64), "order": order}, kept)


def _deliveries(rows: pa.Table, who: Ints, day: Ints) -> Rows:
    """Known on the day of delivery; a delivery said to be before the order counts on the order's day."""
    came = np.maximum(ints_of(rows, "delivered_at"), day)
    has = present(rows, "promised_at") if "promised_at" in rows.column_names else np.zeros(len(day), bool)
    late = np.where(has, came - ints_of(rows, "promised_at"), 0) if has.any() else np.zeros(len(day), np.int64)
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
    amount, words = np.abs(ints_of(rows, "amount")), _words(rows, ("reason",))
    numbers = {"amount": amount, "lines": np.ones(len(who), np.int64), **{f"_{name}": amount for name in words}}
    yield "returns", Rows(who, ints_of(rows, "at"), numbers, words)


def _later(
    rows: pa.Table, who: Ints, column: str, words: Mapping[str, Words], numbers: Mapping[str, Ints] | None = None
) -> Rows:
    """What became known on a later day of a row, with the days it took."""
    day = ints_of(rows, column)
    waited = {"waited": day - ints_of(rows, "at")}
    return Rows(who, day, {**waited, **(numbers or {})}, words).take(present(rows, column))


def _from_complaints(rows: pa.Table, who: Ints, plan: Plan) -> Derived:
    words = _words(rows, ("kind",))
    yield "complaints", Rows(who, ints_of(rows, "at"), {}, words)
    if "answered_at" in rows.column_names:
        yield "complaints_answered", _later(rows, who, "answered_at", words)
    if "resolved_at" in rows.column_names:
        outcome = _known_numbers(rows, ("reopened", "satisfied"))
        yield "complaints_resolved", _later(rows, who, "resolved_at", words, outcome)


def _from_surveys(rows: pa.Table, who: Ints, plan: Plan) -> Derived:
    low, high = score_range({name: flat(rows[name]) for name in rows.column_names})
    score = flat(rows["score"]).fill_null(0).to_numpy(zero_copy_only=False)
    has, answered = present(rows, "score"), present(rows, "at")
    scaled = np.where(has, np.rint((score - low) / (high - low) * 1e6), 0).astype(np.int64)
    numbers = {"score": scaled, "score_known": has.astype(np.int64)}
    words = _words(rows, ("kind", "channel", "reason"))
    yield "surveys", Rows(who, ints_of(rows, "at"), numbers, words).take(answered)
    if "invited_at" in rows.column_names:
        asked = {name: value for name, value in words.items() if name != "reason"}
        yield "invitations", Rows(who, ints_of(rows, "invited_at"), {}, asked).take(present(rows, "invited_at"))


def _from_events(rows: pa.Table, who: Ints, plan: Plan) -> Derived:
    day, kind = ints_of(rows, "at"), words_of(rows["kind"])
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
    numbers = {name: ints_of(rows, name) for name in ("cost", "control") if name in rows.column_names}
    yield "campaigns", Rows(who, ints_of(rows, "at"), numbers, words)
    for what in ("opened", "clicked", "redeemed"):
        if f"{what}_at" in rows.column_names:
            yield f"campaigns_{what}", _later(rows, who, f"{what}_at", words)


def _from_costs(rows: pa.Table, who: Ints, plan: Plan) -> Derived:
    yield (
        "costs",
        Rows(
            who, ints_of(rows, "at"), {"amount": ints_of(rows, "amount")}, _words(rows, ("kind", "channel", "cohort"))
        ),
    )


def _from_referrals(rows: pa.Table, who: Ints, plan: Plan) -> Derived:
    yield "referrals", Rows(who, ints_of(rows, "at"), {}, _words(rows, ("referred_id",)))


def _from_customers(rows: pa.Table, who: Ints, plan: Plan) -> Derived:
    day = np.full(len(who), UNDATED)
    if "joined_at" in rows.column_names:
        day = np.where(present(rows, "joined_at"), ints_of(rows, "joined_at"), UNDATED)
    numbers = _known_numbers(
        rows,
        ("birth_date", "income", "points", "consent_email", "consent_sms", "consent_phone", "vip"),
        {"birth_date": "birth_day"},
    )
    words = _words(rows, SHAPES["customers"].words)
    yield "customers", Rows(who, day, {**numbers, "_seq": ints_of(rows, "_seq")}, words)


def _from_attitudes(rows: pa.Table, who: Ints, plan: Plan) -> Derived:
    yield "attitudes", Rows(who, ints_of(rows, "at"), {}, _words(rows, ("question", "answer")))


DERIVE: Mapping[str, Callable[[pa.Table, Ints, Plan], Derived]] = {
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


def declared_tables(plan: Plan) -> dict[str, TableEntry]:
    """The stored tables that the columns of the shop's tables promise, as yet without rows."""
    declared: dict[str, TableEntry] = {}
    for table, names in plan.names.items():
        empty = _empty(CONTRACTS[table], names, plan.unit)
        if table == "purchases":
            empty = priced(empty, Counts())
        for stored, rows in DERIVE[table](empty, np.zeros(0, np.int64), plan):
            declared[stored] = TableEntry(tuple(rows.numbers), tuple(rows.words), None, None, True, 0, {})
    return declared


def _empty(contract: Contract, names: Mapping[str, str], unit: Unit) -> pa.Table:
    raw = pa.table(
        {name: pa.array([], pa.string()) for name in contract.names if name in names or name == "customer_id"}
    )
    rows = conform(contract, raw, unit)[0]
    return rows.append_column("_seq", pa.array([], pa.int64())) if contract.name == "customers" else rows
