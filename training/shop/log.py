"""From what happened in a simulated shop to the tables a shop would hold: purchases by line, returns, complaints,
surveys …

The world notes trips, grievances, contacts and visits as rows of whole numbers; here baskets are filled, opinions are
asked and answered by those who feel like it, and everything gets the columns of holdfast's own tables. Rows whose day
has not come yet (a return next week) wait until it has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.special import ndtri

from training.shop import chain
from training.shop.chain import ACTIONS
from training.shop.customers import CHANNELS, GENDERS, REGIONS, STORES, identifiers
from training.shop.dice import BEFORE, Floats, Ints, Stream, draw
from training.shop.market import pick
from training.shop.world import CAUSES, NEVER, World

_TEXT, _DAY, _MONEY = pa.string(), pa.date32(), pa.float64()

SCHEMAS: Mapping[str, pa.Schema] = {
    name: pa.schema(columns)
    for name, columns in {
        "purchases": [
            ("customer_id", _TEXT), ("at", pa.timestamp("ms")), ("amount", _MONEY), ("quantity", pa.int64()),
            ("product_id", _TEXT), ("category", _TEXT), ("order_id", _TEXT), ("channel", _TEXT), ("store", _TEXT),
            ("discount", _MONEY), ("cost", _MONEY),
        ],
        "returns": [
            ("customer_id", _TEXT), ("at", _DAY), ("amount", _MONEY), ("order_id", _TEXT), ("product_id", _TEXT),
            ("quantity", pa.int64()), ("reason", _TEXT),
        ],
        "complaints": [
            ("customer_id", _TEXT), ("at", _DAY), ("kind", _TEXT), ("answered_at", _DAY), ("resolved_at", _DAY),
            ("reopened", pa.bool_()), ("satisfied", pa.bool_()),
        ],
        "surveys": [
            ("customer_id", _TEXT), ("at", _DAY), ("score", pa.float64()), ("kind", _TEXT), ("low", pa.float64()),
            ("high", pa.float64()), ("channel", _TEXT), ("invited_at", _DAY), ("reason", _TEXT),
        ],
        "events": [
            ("customer_id", _TEXT), ("at", _DAY), ("kind", _TEXT), ("category", _TEXT), ("session_id", _TEXT),
        ],
        "campaigns": [
            ("customer_id", _TEXT), ("at", _DAY), ("campaign_id", _TEXT), ("action", _TEXT), ("channel", _TEXT),
            ("cost", _MONEY), ("control", pa.bool_()), ("opened_at", _DAY), ("clicked_at", _DAY), ("redeemed_at", _DAY),
        ],
        "costs": [("at", _DAY), ("amount", _MONEY), ("kind", _TEXT), ("customer_id", _TEXT), ("channel", _TEXT)],
        "referrals": [("customer_id", _TEXT), ("at", _DAY), ("referred_id", _TEXT)],
        "customers": [
            ("customer_id", _TEXT), ("joined_at", _DAY), ("channel", _TEXT), ("region", _TEXT), ("store", _TEXT),
            ("birth_date", _DAY), ("gender", _TEXT), ("income", _MONEY), ("tier", _TEXT), ("points", pa.int64()),
            ("consent_email", pa.bool_()), ("consent_sms", pa.bool_()), ("consent_phone", pa.bool_()),
            ("vip", pa.bool_()),
        ],
    }.items()
}  # fmt: skip
"""The tables of a simulated shop and their columns."""

_KINDS = ("product", "service", "price", "delivery", "other")
_REASONS = ("defective", "not as described", "changed my mind", "wrong size", "arrived too late")
_CONTACT_CHANNEL = ("", "email", "email", "phone")
_ACQUISITION = (150, 520, 430, 610, 300)
_ADVICE_WEEKS = 4

Columns = dict[str, Any]


def tables(world: World, until: int) -> dict[str, pa.Table]:
    """All that the shop has come to know since this was last asked and until the end of day `until`, table by table;
    a customer's row comes with the first one asked for, open complaints and fresh contacts when they are settled.

    Takes the happenings out of the world. `referrals` lacks its rows: who followed whose advice needs all customers
    (see `advice` and `followed`)."""
    trips = world.happened.all("trips")
    lines = _lines(world, trips) if trips else {}
    makers: Mapping[str, Callable[[], Columns | None]] = {
        "purchases": lambda: _purchases(world, trips, lines) if trips else None,
        "returns": lambda: _returns(world, trips, lines) if trips else None,
        "complaints": lambda: _complaints(world),
        "surveys": lambda: _surveys(world, trips) if trips else None,
        "events": lambda: _events(world, trips, lines) if trips else None,
        "campaigns": lambda: _campaigns(world),
        "costs": lambda: _costs(world),
    }
    told = {}
    for name, make in makers.items():
        columns = make()
        table = SCHEMAS[name].empty_table() if columns is None else pa.table(columns, schema=SCHEMAS[name])
        told[name] = _come(world, name, table, until)
    world.clear()
    return told


def _come(world: World, name: str, table: pa.Table, until: int) -> pa.Table:
    """The rows of the logged days up to `until`; later ones wait."""
    waiting = world.waiting.pop(name, None)
    table = table if waiting is None else pa.concat_tables([waiting, table])
    day = pc.cast(pc.cast(table["at"], pa.date32()), pa.int32()).to_numpy()
    world.waiting[name] = table.filter(pa.array(day > until))
    return table.filter(pa.array((day >= world.start) & (day <= until)))


# Baskets


def _lines(world: World, trips: Mapping[str, Ints]) -> Columns:
    """The lines of all trips; `trip` is the trip's place."""
    p, market = world.p, world.market
    who = world.who.number[trips["pos"]]
    size = draw(world.seed, trips["week"], Stream.BASKET + trips["nth"], who)[0]
    odds = world.who.line_odds[trips["pos"]]
    count = 1 + np.minimum(np.log(size) / np.log(odds), chain.LINES - 1).astype(np.int64)
    trip = np.repeat(np.arange(len(who)), count)
    nth = np.arange(len(trip)) - np.repeat(np.cumsum(count) - count, count)
    stream = Stream.LINE + 2 * (chain.LINES * trips["nth"][trip] + nth)
    week, number, pos = trips["week"][trip], who[trip], trips["pos"][trip]
    u = draw(world.seed, week, stream, number)
    v = draw(world.seed, week, stream + 1, number)
    at = week - market.first
    category = _categories(world, pos, at, u)
    product = pick(u[3], world.who.tier[pos], p.products)
    quantity = 1 + (v[0] < chain.EXTRA)
    gross = quantity * np.rint(market.prices[category, product] * market.price[at]).astype(np.int64)
    promoted = (market.promoted[at] == category[:, None]).any(axis=1)
    discount = np.rint(gross * p.promotion * promoted).astype(np.int64)
    coupon = trips["coupon"][trip]
    discount += np.rint((gross - discount) * p.coupon * coupon).astype(np.int64)
    cost = quantity * np.rint(market.costs[category, product] * market.price[at]).astype(np.int64)
    return {
        "trip": trip, "nth": nth, "category": category, "product": product, "quantity": quantity,
        "amount": gross - discount, "discount": discount, "cost": cost, "u": v,
    }  # fmt: skip


def _categories(world: World, pos: Ints, at: Ints, u: Floats) -> Ints:
    """Where each line comes from: a promotion, the favourite or second category, or the shop at large."""
    who, market = world.who.take(pos), world.market
    switched, favourite, second = chain.slots(world.p, market, who, at)
    last = len(market.popularity) - 1
    category = np.minimum(np.searchsorted(np.cumsum(market.popularity), u[2]), last)
    category = np.where(u[1] < favourite + second, who.second, category)
    category = np.where(u[1] < favourite, who.favourite, category)
    promoted = market.promoted[at, (u[2] < 0.5).astype(np.int64)]
    return np.asarray(np.where(u[0] < switched, promoted, category))


def _purchases(world: World, trips: Mapping[str, Ints], lines: Columns) -> Columns:
    trip = lines["trip"]
    clock = _clock(world, trips)
    return {
        "customer_id": _ids(world, trips["pos"][trip]),
        "at": pa.array((trips["day"] * 86_400_000 + clock)[trip].astype("datetime64[ms]")),
        "amount": lines["amount"] / 100,
        "quantity": lines["quantity"],
        "product_id": _product(world, lines["category"], lines["product"]),
        "category": _word(_category_words(world), lines["category"]),
        "order_id": _orders(world, trips).take(pa.array(trip)),
        "channel": _word(("store", "online"), _online(world, trips)[trip].astype(np.int64)),
        "store": _word(_store_words(), np.where(_online(world, trips), -1, _home(world)[trips["pos"]])[trip]),
        "discount": lines["discount"] / 100,
        "cost": lines["cost"] / 100,
    }


def _clock(world: World, trips: Mapping[str, Ints]) -> Ints:
    u = draw(world.seed, trips["week"], Stream.BASKET + trips["nth"], world.who.number[trips["pos"]])
    return np.asarray(((9 + 12 * (0.5 * u[1] + 0.5 * u[2])) * 3600).astype(np.int64) * 1000)


def _online(world: World, trips: Mapping[str, Ints]) -> NDArray[np.bool_]:
    u = draw(world.seed, trips["week"], Stream.BASKET + trips["nth"], world.who.number[trips["pos"]])
    return np.asarray(world.who.online[trips["pos"]] & (u[3] < 0.75))


def _home(world: World) -> Ints:
    return np.asarray((draw(world.seed, BEFORE, Stream.ADDRESS, world.who.number)[0] * STORES).astype(np.int64))


def _returns(world: World, trips: Mapping[str, Ints], lines: Columns) -> Columns:
    u, trip = lines["u"], lines["trip"]
    defective = (trips["bad"][trip] == 0) & (lines["nth"] == 0)
    back = np.flatnonzero(u[1] < np.where(defective, world.p.returned_bad, world.p.returned))
    other = 1 + (u[3][back] * (len(_REASONS) - 1)).astype(np.int64)
    return {
        "customer_id": _ids(world, trips["pos"][trip[back]]),
        "at": _date(trips["day"][trip[back]] + 3 + (25 * u[2][back]).astype(np.int64)),
        "amount": lines["amount"][back] / 100,
        "order_id": _orders(world, trips).take(pa.array(trip[back])),
        "product_id": _product(world, lines["category"][back], lines["product"][back]),
        "quantity": lines["quantity"][back],
        "reason": _word(_REASONS, np.where(defective[back], 0, other)),
    }


# Voice


def _complaints(world: World) -> Columns | None:
    rows = world.happened.all("complaints")
    if not rows:
        return None
    return {
        "customer_id": _ids(world, rows["pos"]),
        "at": _date(rows["day"]),
        "kind": _word(_KINDS, rows["kind"]),
        "answered_at": _date(rows["answered"]),
        "resolved_at": _date(rows["resolved"]),
        "reopened": rows["reopened"].astype(bool),
        "satisfied": pa.array(rows["satisfied"].astype(bool), mask=rows["resolved"] == NEVER),
    }


def _surveys(world: World, trips: Mapping[str, Ints]) -> Columns:
    """After trips: those asked who answer, the delighted and the angry more often; and of those gone, the few who say
    why."""
    asked, exits = _opinions(world, trips), _exits(world)
    whole: dict[str, NDArray[Any]] = {name: np.concatenate([asked[name], exits[name]]) for name in asked}
    return {
        "customer_id": _ids(world, whole["pos"]),
        "at": _date(whole["day"]),
        "score": whole["score"].astype(np.float64),
        "kind": _word(("csat", "nps", "review", "exit"), whole["kind"]),
        "low": np.array([1.0, 0.0, 1.0, 1.0])[whole["kind"]],
        "high": np.array([5.0, 10.0, 5.0, 5.0])[whole["kind"]],
        "channel": _word(("email", "phone", "web"), whole["channel"]),
        "invited_at": _date(whole["invited"]),
        "reason": _word(CAUSES, whole["reason"]),
    }


def _opinions(world: World, trips: Mapping[str, Ints]) -> dict[str, Ints]:
    p, first = world.p, np.flatnonzero(trips["nth"] == 0)
    pos, week, day = (trips[name][first] for name in ("pos", "week", "day"))
    u = draw(world.seed, week, Stream.SURVEY, world.who.number[pos])
    asked = np.flatnonzero(u[0] < p.surveyed)
    pos, week, day, angry, u = pos[asked], week[asked], day[asked], trips["angry"][first[asked]], u[:, asked]
    v = draw(world.seed, week, Stream.ANSWER, world.who.number[pos])
    pleased = 1 / (1 + np.exp(-(0.6 + 0.8 * world.who.content[pos] + 0.6 * ndtri(v[0]) - 2.0 * angry)))
    says = np.flatnonzero(v[1] < p.answers + (p.answers_extreme - p.answers) * (2 * pleased - 1) ** 2)
    kind = np.searchsorted([0.6, 0.85], v[2][says])
    low, high = np.array([1, 0, 1])[kind], np.array([5, 10, 5])[kind]
    invited = day[says] + 1 + (3 * u[1][says]).astype(np.int64)
    grief = trips["grief"][first[asked]][says]
    return {
        "pos": pos[says],
        "day": invited + (6 * u[2][says] ** 2).astype(np.int64),
        "score": np.rint(low + pleased[says] * (high - low)).astype(np.int64),
        "kind": kind,
        "channel": np.where(kind == 2, 2, (u[3][says] < 0.2).astype(np.int64)),
        "invited": invited,
        "reason": np.where((pleased[says] < 0.4) & (grief >= 0), grief, -1),
    }


def _exits(world: World) -> dict[str, Ints]:
    """Two in three say the true cause; of the others most say price, as people do."""
    rows = world.happened.all("partings") or {name: np.zeros(0, dtype=np.int64) for name in ("pos", "week", "cause")}
    u = draw(world.seed, rows["week"], Stream.PARTING, world.who.number[rows["pos"]])
    says = np.flatnonzero(u[0] < world.p.exits)
    left = world.start + 7 * rows["week"][says]
    polite = np.where(u[2][says] < 0.6, 2, np.where(u[2][says] < 0.8, 1, 5))
    return {
        "pos": rows["pos"][says],
        "day": left + 14 + (14 * u[3][says]).astype(np.int64),
        "score": 1 + (3 * u[2][says]).astype(np.int64),
        "kind": np.full(len(says), 3),
        "channel": np.zeros(len(says), dtype=np.int64),
        "invited": left + 10,
        "reason": np.where(u[1][says] < 0.65, rows["cause"][says], polite),
    }


def _events(world: World, trips: Mapping[str, Ints], lines: Columns) -> Columns:
    """Sessions in the web shop: idle ones (a view, now and then a search or an abandoned cart) and those that end in
    an order."""
    idle, bought = _idle(world), _checkouts(world, trips, lines)
    whole = {name: np.concatenate([idle[name], bought[name]]) for name in idle}
    ids = _ids(world, whole["pos"])
    suffix = pa.array(np.where(whole["kind"] >= 0, whole["session"], 0)).cast(_TEXT)
    return {
        "customer_id": ids,
        "at": _date(whole["day"]),
        "kind": _word(("visit", "view", "search", "cart", "checkout"), whole["kind"]),
        "category": _word(_category_words(world), whole["category"]),
        "session_id": pc.binary_join_element_wise(ids, suffix, "-"),
    }


def _idle(world: World) -> dict[str, Ints]:
    rows = world.happened.all("visits") or {name: np.zeros(0, dtype=np.int64) for name in ("pos", "week", "count")}
    pos, week = rows["pos"], rows["week"]
    u = draw(world.seed, week, Stream.BROWSE, world.who.number[pos])
    day = world.start + 7 * week + (7 * u[0]).astype(np.int64)
    looked = np.where(u[1] < 0.5, world.who.favourite[pos], world.who.second[pos])
    pieces = []
    for kind, on in ((0, u[0] > 0), (1, u[1] < 0.9), (2, u[2] < 0.3), (3, u[3] < 0.22)):
        pieces.append((np.flatnonzero(on), kind))
    again = np.flatnonzero(rows["count"] > 1)
    who = np.concatenate([place for place, _ in pieces] + [again])
    kinds = np.concatenate([np.full(len(place), kind) for place, kind in pieces] + [np.zeros(len(again), np.int64)])
    late = np.concatenate([np.zeros(len(who) - len(again), np.int64), np.ones(len(again), np.int64)])
    when = np.minimum(day[who] + 2 * late, world.start + 7 * week[who] + 6)
    known = np.where((kinds == 1) | (kinds == 3), looked[who], -1)
    return {"pos": pos[who], "day": when, "kind": kinds, "category": known, "session": when * 2}


def _checkouts(world: World, trips: Mapping[str, Ints], lines: Columns) -> dict[str, Ints]:
    online = np.flatnonzero(_online(world, trips))
    top = np.zeros(len(trips["pos"]), dtype=np.int64)
    top[lines["trip"][::-1]] = lines["category"][::-1]
    kinds = np.tile([0, 1, 3, 4], len(online))
    who = np.repeat(online, 4)
    known = np.where((kinds == 1) | (kinds == 3), top[who], -1)
    day = trips["day"][who]
    return {"pos": trips["pos"][who], "day": day, "kind": kinds, "category": known, "session": day * 2 + 1}


# Contacts, costs, advice, the card


def _campaigns(world: World) -> Columns | None:
    rows = world.happened.all("contacts")
    if not rows:
        return None
    action, control = rows["action"], rows["control"].astype(bool)
    cost = np.array([0, world.p.cost_discount, world.p.cost_reminder, world.p.cost_service])[action]
    weeks, campaign = np.unique(rows["campaign"], return_inverse=True)
    names = ["by hand" if one < 0 else f"{'service' if one % 2 == 0 else 'mailing'} {one // 2:03d}" for one in weeks]
    return {
        "customer_id": _ids(world, rows["pos"]),
        "at": _date(rows["day"]),
        "campaign_id": _word(names, campaign),
        "action": _word(ACTIONS, action),
        "channel": _word(_CONTACT_CHANNEL, action),
        "cost": np.where(control, 0, cost) / 100,
        "control": control,
        "opened_at": _date(rows["opened"]),
        "clicked_at": _date(rows["clicked"]),
        "redeemed_at": _date(_redeemed(world, rows)),
    }


def _redeemed(world: World, rows: Mapping[str, Ints]) -> Ints:
    """The day a contact's coupon was redeemed: the first redemption of that customer from the contact on, within 3
    weeks."""
    used = world.happened.all("redeemed")
    if not used or not len(used["pos"]):
        return np.full(len(rows["pos"]), NEVER)
    span = 10**6
    key = np.sort(used["pos"] * span + used["day"])
    want = rows["pos"] * span + rows["day"]
    found = key[np.minimum(np.searchsorted(key, want), len(key) - 1)]
    fits = (found >= want) & (found < want + 21) & (rows["action"] == chain.DISCOUNT) & (rows["control"] == 0)
    return np.where(fits, found % span, NEVER)


def _costs(world: World) -> Columns | None:
    """What single customers cost: winning them, a welcome gift, complaints, goodwill."""
    new = np.flatnonzero((world.who.joined >= world.costed) & (world.who.joined < world.week))
    u = draw(world.seed, BEFORE, Stream.PERSON, world.who.number[new])
    came = world.start + 7 * world.who.joined[new]
    won = np.rint(np.array(_ACQUISITION)[world.who.channel[new]] * (0.6 + 0.8 * u[2])).astype(np.int64)
    gift = u[3] < 0.4
    rows = world.happened.all("complaints") or {
        "pos": new[:0],
        "day": new[:0],
        "resolved": new[:0],
        "satisfied": new[:0],
    }
    settled = rows["resolved"] > NEVER
    waited = np.where(settled, rows["resolved"] - rows["day"], 14)
    goodwill = settled & (rows["satisfied"] == 1) & (world.who.number[rows["pos"]] % 3 == 0)
    at = [came, came[gift], rows["day"], rows["resolved"][goodwill]]
    amount = [won, np.full(gift.sum(), 300), 400 + 12 * waited, np.full(goodwill.sum(), 500)]
    pos = [new, new[gift], rows["pos"], rows["pos"][goodwill]]
    kind = np.repeat([0, 1, 2, 3], [len(piece) for piece in at])
    whole = np.concatenate(pos)
    return {
        "at": _date(np.concatenate(at)),
        "amount": np.concatenate(amount) / 100,
        "kind": _word(("acquisition", "activation", "service", "concession"), kind),
        "customer_id": _ids(world, whole),
        "channel": _word(CHANNELS, np.where(kind < 2, world.who.channel[whole], -1)),
    }


def shared_costs(world: World, until: int) -> pa.Table:
    """What the shop spends on keeping customers without naming them: a row a quarter and channel."""
    days = np.arange(world.start + 90, until + 1, 91)
    at, channel = np.repeat(days, len(CHANNELS)), np.tile(np.arange(len(CHANNELS)), len(days))
    amount = np.rint(np.array(_ACQUISITION)[channel] * world.total * 0.05).astype(np.int64)
    nobody = np.full(len(at), None, dtype=object)
    columns = {
        "at": _date(at), "amount": amount / 100, "kind": np.full(len(at), "retention", dtype=object),
        "customer_id": nobody, "channel": _word(CHANNELS, channel),
    }  # fmt: skip
    return pa.table(columns, schema=SCHEMAS["costs"])


def advice(world: World) -> dict[str, Ints]:
    """Trips after which a contented customer told a friend: customer `number`, `week`, `day`. Asked before `tables`."""
    trips = world.happened.all("trips")
    if not trips:
        return {name: np.zeros(0, dtype=np.int64) for name in ("number", "week", "day")}
    happy = np.flatnonzero((trips["nth"] == 0) & (trips["angry"] == 0))
    number = world.who.number[trips["pos"][happy]]
    u = draw(world.seed, trips["week"][happy], Stream.ADVICE, number)
    told = happy[u[0] < world.who.advocate[trips["pos"][happy]]]
    return {"number": world.who.number[trips["pos"][told]], "week": trips["week"][told], "day": trips["day"][told]}


def followed(told: Mapping[str, Ints], number: Ints, joined: Ints) -> pa.Table:
    """Who followed whose advice: each customer who came by referral follows the oldest advice of the last four weeks
    that nobody followed yet. `number`, `joined`: those customers, by week of arrival."""
    order = np.lexsort((told["number"], told["day"]))
    by_week, advised = told["week"][order], 0
    pairs = []
    for one in np.argsort(joined, kind="stable"):
        while advised < len(order) and by_week[advised] < joined[one] - _ADVICE_WEEKS:
            advised += 1
        if advised < len(order) and by_week[advised] < joined[one]:
            pairs.append((order[advised], one))
            advised += 1
    giver, taker = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    columns = {
        "customer_id": pa.array(identifiers(told["number"][giver]), _TEXT),
        "at": _date(told["day"][giver]),
        "referred_id": pa.array(identifiers(number[taker]), _TEXT),
    }
    return pa.table(columns, schema=SCHEMAS["referrals"])


def cards(world: World) -> pa.Table:
    """The customers table: what the shop wrote down when the customer came. Tier, points and vip date from then, so
    they tell nothing of what came later."""
    number, who = world.who.number, world.who
    a, b = draw(world.seed, BEFORE, Stream.ADDRESS, number), draw(world.seed, BEFORE, Stream.CONSENT, number)
    life, person = (draw(world.seed, BEFORE, stream, number) for stream in (Stream.LIFE, Stream.PERSON))
    age = 19 + 60 * (0.6 * a[1] + 0.4 * a[2]) - 8 * who.online
    member = np.searchsorted([0.55, 0.85], 0.6 * life[3] + 0.4 * np.exp(-5 * who.rate))
    columns = {
        "customer_id": _ids(world, np.arange(len(number))),
        "joined_at": _date(world.start + 7 * who.joined),
        "channel": _word(CHANNELS, who.channel),
        "region": _word(REGIONS, (a[3] * len(REGIONS)).astype(np.int64)),
        "store": _word(_store_words(), _home(world)),
        "birth_date": _date(world.start - np.rint(age * 365.25).astype(np.int64)),
        "gender": _word(GENDERS[:2], np.where(person[2] < 0.52, 0, np.where(person[2] < 0.97, 1, -1))),
        "income": np.rint(np.exp(7.8 + 0.4 * ndtri(person[3]) + 0.25 * who.tier / 4)),
        "tier": _word(("gold", "silver", "basic"), member),
        "points": np.array([500, 200, 0])[member],
        "consent_email": who.mailable,
        "consent_sms": b[1] < 0.45,
        "consent_phone": b[2] < 0.35,
        "vip": b[3] < 0.005 + 0.02 * (member == 0),
    }
    return pa.table(columns, schema=SCHEMAS["customers"])


# Columns


def _ids(world: World, pos: Ints) -> pa.Array:
    return world.arrow_ids.take(pa.array(pos))


def _date(day: Ints) -> pa.Array:
    return pa.array(day.astype(np.int32), mask=day == NEVER).cast(_DAY)


def _word(words: tuple[str, ...] | list[str], code: Ints) -> pa.Array:
    """Words by code; -1 is absent."""
    return pa.array(list(words), _TEXT).take(pa.array(code, mask=code < 0))


def _orders(world: World, trips: Mapping[str, Ints]) -> pa.Array:
    return pc.binary_join_element_wise(_ids(world, trips["pos"]), pa.array(trips["day"]).cast(_TEXT), "-")


def _product(world: World, category: Ints, product: Ints) -> pa.Array:
    names = [f"P{c:02d}-{k:02d}" for c in range(world.p.categories) for k in range(world.p.products)]
    return _word(names, category * world.p.products + product)


def _category_words(world: World) -> list[str]:
    return [f"category {one + 1:02d}" for one in range(world.p.categories)]


def _store_words() -> list[str]:
    return [f"S{one + 1}" for one in range(STORES)]
