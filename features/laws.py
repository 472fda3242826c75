"""Laws that every feature keeps, whoever wrote it.

*The future changes nothing*: rows after a cutoff may be there, be gone or be different. *Order, company and questions
change nothing*: the order of rows, how customers are put into blocks, which other customers there are and which other
cutoffs are asked. *Moving the calendar* changes only what declares to know the season, *another unit of money* only
what is money, and by just that. A feature is *absent* exactly when it says so.

`check` tries the laws on small random shops with every table, some tables and columns left out at random, the whole
catalogue on each; `holdfast check` runs it on a shop's own features and the tests on all of them. What a feature of
scope "population" or "season" may depend on beyond its customer is held fixed where the law is about the customer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features import population as crowd
from features.absence import undeclared
from features.block import Block, EventTable, Ints, Words, parts
from features.catalogue import Feature
from features.history import Floats, History
from features.population import Population
from features.windows import Windows

PROCESS = {"r": 0.5, "alpha": 40.0, "a": 0.8, "b": 2.5}
MONEY = ("amount", "cost", "discount")
RECORDED_WITH = {
    "lines": "purchases",
    "complaints_answered": "complaints",
    "complaints_resolved": "complaints",
    "campaigns_opened": "campaigns",
    "campaigns_clicked": "campaigns",
    "campaigns_redeemed": "campaigns",
    "event_lines": "events",
}


@dataclass(frozen=True)
class Rows:
    """Rows of one stored table in any order: ids, days, whole numbers and words (None where absent)."""

    customer: NDArray[np.object_]
    day: Ints
    measures: Mapping[str, Ints] = field(default_factory=dict)
    words: Mapping[str, NDArray[np.object_]] = field(default_factory=dict)

    def take(self, chosen: NDArray[Any]) -> Rows:
        """The rows of a mask or of places."""
        return Rows(
            self.customer[chosen],
            self.day[chosen],
            {name: values[chosen] for name, values in self.measures.items()},
            {name: values[chosen] for name, values in self.words.items()},
        )

    def __len__(self) -> int:
        return len(self.day)


@dataclass(frozen=True)
class Shop:
    """A store in memory: what `snapshot` and `population` ask of one. `since` overrides the tables' first days."""

    rows: Mapping[str, Rows]
    buckets: int = 1
    exponent: int = 2
    since: Mapping[str, int | None] | None = None

    @property
    def tables(self) -> tuple[str, ...]:
        return tuple(self.rows)

    @property
    def last_day(self) -> int:
        return int(self.rows["purchases"].day.max(initial=0))

    @property
    def customers(self) -> list[str]:
        return sorted({str(who) for rows in self.rows.values() for who in rows.customer})

    def first_days(self) -> dict[str, int | None]:
        """The day each table's records begin: for answers and lines, that of the table they belong to."""
        first = {name: int(rows.day.min()) if len(rows) else None for name, rows in self.rows.items()}
        return {name: first.get(RECORDED_WITH.get(name, name), first[name]) for name in first}

    def map(self, change: Callable[[str, Rows], Rows], **more: Any) -> Shop:
        """The shop with every table changed."""
        return replace(self, rows={name: change(name, rows) for name, rows in self.rows.items()}, **more)

    def upto(self, day: int) -> Shop:
        """The shop without any row after a day."""
        return self.map(lambda _, rows: rows.take(rows.day <= day))

    def block(self, bucket: int, tables: Sequence[str] | None = None, as_of: int | None = None) -> Block:
        """The customers whose place is the bucket's, with their rows up to a day."""
        ids = np.array(self.customers[bucket :: self.buckets], object)
        since = self.first_days() if self.since is None else self.since
        known = self if as_of is None else self.upto(as_of)
        return Block(
            ids,
            {
                name: _table(rows, ids, since.get(name))
                for name, rows in known.rows.items()
                if tables is None or name in tables
            },
        )


def _table(rows: Rows, ids: NDArray[np.object_], since: int | None) -> EventTable:
    place = {who: k for k, who in enumerate(ids)}
    rows = rows.take(np.array([who in place for who in rows.customer], bool))
    who = np.array([place[w] for w in rows.customer], np.int64)
    words = {name: _words(values) for name, values in rows.words.items()}
    ties = [*rows.measures.values(), *(w.code for w in reversed(words.values()))]
    order = np.lexsort((*ties, rows.day, who))
    return EventTable(
        who[order],
        rows.day[order],
        {name: values[order] for name, values in rows.measures.items()},
        {name: Words(w.code[order], w.words) for name, w in words.items()},
        since,
    )


def _words(values: NDArray[np.object_]) -> Words:
    words = np.array(sorted({v for v in values if v is not None}), object)
    place = {word: k for k, word in enumerate(words)}
    return Words(np.array([place.get(v, -1) for v in values], np.int64), words)


# -- random shops ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Example:
    """A shop, the cutoffs to ask about and the windows to ask with."""

    shop: Shop
    cutoffs: tuple[int, ...]
    windows: Windows

    @property
    def population(self) -> Population:
        """Frozen from the shop itself."""
        return crowd.freeze(self.shop, self.cutoffs, self.windows, process=PROCESS)


def example(seed: int, *, customers: int = 6, days: int = 400, rate: float = 0.04, horizon: int = 30) -> Example:
    """A random shop of a few customers: every table, each left out now and then, columns too."""
    draw = np.random.default_rng(seed)
    first = int(draw.integers(8_000, 12_000))
    rows = dict(_purchases(draw, [f"c{k}" for k in range(customers)], first, days, rate))
    for name in [name for name in rows if name != "purchases" and draw.random() < 0.1]:
        del rows[name]
    rows = {name: _without_columns(draw, table) for name, table in rows.items()}
    last = first + days
    cutoffs = np.unique(draw.integers(first, last, 4))
    return Example(Shop(rows), tuple(map(int, cutoffs)), Windows(horizon, int(draw.integers(horizon, 3 * horizon + 1))))


def _without_columns(draw: np.random.Generator, rows: Rows) -> Rows:
    gone = {name for name in ("quantity", "discount", "cost") if draw.random() < 0.1}
    gone |= {f"{name}_known" for name in gone}
    return replace(
        rows,
        measures={name: v for name, v in rows.measures.items() if name not in gone},
        words={name: v for name, v in rows.words.items() if draw.random() > 0.1},
    )


def _purchases(
    draw: np.random.Generator, ids: Sequence[str], first: int, days: int, rate: float
) -> Iterator[tuple[str, Rows]]:
    """Every table of a random shop. Whatever answers a row of another table comes after it."""

    def some(times: float) -> tuple[NDArray[np.object_], Ints]:
        """Customers and days of random events, `times` as frequent as purchases."""
        n = draw.poisson(times * rate * days, len(ids))
        n[0] = max(n[0], times == 1.0)  # a shop has sold something
        who = np.repeat(np.array(ids, object), n)
        return who, draw.integers(first, first + days, len(who))

    def word(n: int, *words: str) -> NDArray[np.object_]:
        return draw.choice(np.array([*words, None], object), n)

    def known(name: str, values: Ints) -> dict[str, Ints]:
        there = (draw.random(len(values)) < 0.9).astype(np.int64)
        return {name: values * there, f"{name}_known": there}

    who, day = some(1.0)
    who, day = _distinct(who, day)
    n = len(day)
    amount, lines = draw.integers(100, 50_000, n), draw.integers(1, 4, n)
    measures = {"amount": amount, "lines": lines, "orders": draw.integers(1, 3, n)}
    measures |= known("quantity", lines * 1000)
    measures |= known("discount", amount // 10 * draw.integers(0, 2, n)) | known("cost", amount // 2)
    yield "purchases", Rows(who, day, measures, {"channel": word(n, "shop", "web"), "store": word(n, "n", "s")})

    line = np.repeat(np.arange(n), lines)
    size = len(line)
    baskets = {"product_id": word(size, *"abcdefgh"), "category": word(size, *"xyz")}
    yield (
        "lines",
        Rows(
            who[line],
            day[line],
            {"amount": amount[line] // lines[line]} | known("quantity", 1000 * np.ones(size, np.int64)),
            baskets,
        ),
    )

    waited, late = draw.integers(0, 20, n), draw.integers(-3, 4, n)
    delivered = {"lines": lines, "waited": waited, "late_days": np.maximum(late, 0), "early_days": np.maximum(-late, 0)}
    promised = (draw.random(n) < 0.8).astype(np.int64)
    yield "deliveries", Rows(who, day + waited, delivered | {"late_days_known": promised})

    who, day = _distinct(*some(0.2))
    yield (
        "returns",
        Rows(
            who,
            day,
            {"amount": draw.integers(100, 9_000, len(day)), "lines": np.ones_like(day)},
            {"reason": word(len(day), "late", "broken")},
        ),
    )
    kinds = ("product", "service", "price", "delivery")
    yield from _answered("complaints", ("answered", "resolved"), some(0.3), draw, words={"kind": word}, kinds=kinds)
    who, day = some(0.3)
    n = len(day)
    yield (
        "surveys",
        Rows(
            who,
            day,
            known("score", draw.integers(0, 1_000_001, n)),
            {"kind": word(n, "csat", "exit"), "reason": word(n, "price"), "channel": word(n, "mail")},
        ),
    )
    yield "invitations", Rows(who, day - draw.integers(0, 3, n), {}, {"kind": word(n, "csat")})
    who, day = _distinct(*some(2.0))
    counts = {
        name: draw.integers(0, 3, len(day)) for name in ("visit", "view", "search", "cart", "checkout", "sessions")
    }
    yield "events", Rows(who, day, counts)
    yield "event_lines", Rows(who, day, {"view": counts["view"]}, {"category": word(len(day), *"xyz")})
    yield from _answered(
        "campaigns",
        ("opened", "clicked", "redeemed"),
        some(0.6),
        draw,
        words={"channel": word, "action": word, "campaign_id": word},
        kinds=("mail", "sms"),
    )
    who, day = some(0.1)
    yield "referrals", Rows(who, day, {}, {"referred_id": word(len(day), "r1", "r2")})
    who, day = some(0.2)
    yield (
        "costs",
        Rows(who, day, {"amount": draw.integers(1, 3_000, len(day))}, {"kind": word(len(day), "service", "retention")}),
    )
    joined = first + draw.integers(0, days, len(ids))
    yield (
        "customers",
        Rows(
            np.array(ids, object),
            joined,
            {},
            {"region": word(len(ids), "north", "south"), "channel": word(len(ids), "web")},
        ),
    )


def _answered(
    name: str,
    ends: Sequence[str],
    begun: tuple[NDArray[np.object_], Ints],
    draw: np.random.Generator,
    *,
    words: Mapping[str, Callable[..., NDArray[np.object_]]],
    kinds: Sequence[str],
) -> Iterator[tuple[str, Rows]]:
    """A table whose rows are answered later, and a table per way of being answered."""
    who, day = begun
    n = len(day)
    said = {column: word(n, *kinds) for column, word in words.items()}
    satisfied = (draw.random(n) < 0.5).astype(np.int64)
    measures = {"reopened": 1 - satisfied, "satisfied": satisfied, "satisfied_known": np.ones_like(day)}
    if name == "campaigns":
        measures = {"cost": draw.integers(0, 300, n), "control": (draw.random(n) < 0.2).astype(np.int64)}
    yield name, Rows(who, day, measures, said)
    for end in ends:
        answered, waited = draw.random(n) < 0.7, draw.integers(0, 15, n)
        told = Rows(who, day + waited, {"waited": waited}, said)
        yield f"{name}_{end}", told.take(answered)


def _distinct(who: NDArray[np.object_], day: Ints) -> tuple[NDArray[np.object_], Ints]:
    """One row per customer and day."""
    pairs = sorted({(str(w), int(d)) for w, d in zip(who, day, strict=True)})
    return np.array([w for w, _ in pairs], object), np.array([d for _, d in pairs], np.int64)


# -- answers -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answers:
    """Values (rows x features) of the customers and cutoffs in `keys`, which ascend."""

    keys: tuple[tuple[str, int], ...]
    values: Floats

    def of(self, keys: Sequence[tuple[str, int]]) -> Floats:
        """The values of some rows."""
        place = {key: k for k, key in enumerate(self.keys)}
        return self.values[[place[key] for key in keys]]


def answers(
    features: Sequence[Feature],
    shop: Shop,
    cutoffs: Sequence[int],
    windows: Windows,
    population: Population | None = None,
    *,
    customers_a_part: int = 1_000,
) -> Answers:
    """Every feature of everybody seen by each cutoff, with the shop's own population where none is given."""
    population = population or crowd.freeze(shop, cutoffs, windows, process=PROCESS)
    keys: list[tuple[str, int]] = []
    values = [np.empty((0, len(features)))]
    for bucket in range(shop.buckets):
        for part in parts(shop.block(bucket), customers_a_part):
            h = History(part, sorted(cutoffs), windows, at="seen", population=population, exponent=shop.exponent)
            keys += zip(map(str, h.customer_id), map(int, h.cut), strict=True)
            with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
                values.append(np.stack([made(h) for made in features], axis=1))
    order = sorted(range(len(keys)), key=keys.__getitem__)
    return Answers(tuple(keys[k] for k in order), np.concatenate(values)[order])


@dataclass(frozen=True)
class Breach:
    """A law that a feature broke, and for which customer it showed."""

    law: str
    feature: str
    told: str

    def __str__(self) -> str:
        return f"{self.feature} breaks the law {self.law!r}: {self.told}"


def _compare(
    law: str, features: Sequence[Feature], was: Answers, now: Answers, *, near: bool = False
) -> Iterator[Breach]:
    """A breach per feature whose rows are not the same, bit by bit unless `near`."""
    if was.keys != now.keys:
        yield Breach(law, "every feature", f"{len(was.keys)} rows became {len(now.keys)}")
        return
    same = np.isclose(was.values, now.values, 1e-6, 1e-6, equal_nan=True) if near else _identical(was, now)
    for k in map(int, np.flatnonzero(~same.all(axis=0))):
        row = int(np.flatnonzero(~same[:, k])[0])
        who, cutoff = was.keys[row]
        told = f"customer {who} at {cutoff}: {was.values[row, k]:.10g} became {now.values[row, k]:.10g}"
        yield Breach(law, features[k].name, told)


def _identical(was: Answers, now: Answers) -> NDArray[np.bool_]:
    same: NDArray[np.bool_] = (was.values == now.values) | (np.isnan(was.values) & np.isnan(now.values))
    return same


# -- the laws ----------------------------------------------------------------------------------------------------------

Law = Callable[[Sequence[Feature], Example, np.random.Generator], Iterator[Breach]]
LAWS: dict[str, Law] = {}


def law(name: str) -> Callable[[Law], Law]:
    """Enter a law under a name."""

    def enter(function: Law) -> Law:
        LAWS[name] = function
        return function

    return enter


@law("the future changes nothing")
def future(features: Sequence[Feature], e: Example, draw: np.random.Generator) -> Iterator[Breach]:
    """Cut off at a cutoff, or followed by another shop's future, all is as it was: the population tables too."""
    cutoff = int(draw.choice(e.cutoffs))
    was = answers(features, e.shop.upto(cutoff), [cutoff], e.windows)
    yield from _compare("the future changes nothing", features, was, answers(features, e.shop, [cutoff], e.windows))
    other = example(int(draw.integers(1 << 30)), customers=len(e.shop.customers)).shop
    strange = e.shop.map(lambda name, rows: _followed(rows, other.rows.get(name), cutoff))
    yield from _compare("the future changes nothing", features, was, answers(features, strange, [cutoff], e.windows))


def _followed(rows: Rows, other: Rows | None, cutoff: int) -> Rows:
    """The rows up to a day, then another table's rows moved behind it, as far as the columns agree."""
    past = rows.take(rows.day <= cutoff)
    if (
        other is None
        or not len(other)
        or set(other.measures) < set(past.measures)
        or set(other.words) < set(past.words)
    ):
        return past
    if any(name not in other.measures for name in past.measures) or any(name not in other.words for name in past.words):
        return past
    return Rows(
        np.concatenate((past.customer, other.customer)),
        np.concatenate((past.day, other.day - int(other.day.min()) + cutoff + 1)),
        {name: np.concatenate((values, other.measures[name])) for name, values in past.measures.items()},
        {name: np.concatenate((values, other.words[name])) for name, values in past.words.items()},
    )


@law("the order of rows changes nothing")
def order(features: Sequence[Feature], e: Example, draw: np.random.Generator) -> Iterator[Breach]:
    shuffled = e.shop.map(lambda _, rows: rows.take(draw.permutation(len(rows))))
    was, now = (answers(features, shop, e.cutoffs, e.windows) for shop in (e.shop, shuffled))
    yield from _compare("the order of rows changes nothing", features, was, now)


@law("company changes nothing")
def company(features: Sequence[Feature], e: Example, draw: np.random.Generator) -> Iterator[Breach]:
    """Given the population's tables and the days records began, nobody else's rows matter, nor how blocks are cut."""
    name, population, since = "company changes nothing", e.population, e.shop.first_days()
    was = answers(features, e.shop, e.cutoffs, e.windows, population)
    spread = replace(e.shop, buckets=2, since=since)
    now = answers(features, spread, e.cutoffs, e.windows, population, customers_a_part=1)
    yield from _compare(name, features, was, now)
    who = str(draw.choice(e.shop.customers))
    alone = e.shop.map(lambda _, rows: rows.take(rows.customer == who), since=since)
    now = answers(features, alone, e.cutoffs, e.windows, population)
    mine = tuple(key for key in was.keys if key[0] == who)
    yield from _compare(name, features, Answers(mine, was.of(mine)), now)


@law("other cutoffs change nothing")
def questions(features: Sequence[Feature], e: Example, draw: np.random.Generator) -> Iterator[Breach]:
    cutoff, was = int(draw.choice(e.cutoffs)), answers(features, e.shop, e.cutoffs, e.windows)
    mine = tuple(key for key in was.keys if key[1] == cutoff)
    now = answers(features, e.shop, [cutoff], e.windows)
    yield from _compare("other cutoffs change nothing", features, Answers(mine, was.of(mine)), now)


@law("the calendar changes nothing but the season")
def calendar(features: Sequence[Feature], e: Example, draw: np.random.Generator) -> Iterator[Breach]:
    shift, plain = int(draw.integers(1, 500)), [made for made in features if made.scope != "season"]
    moved = e.shop.map(lambda _, rows: replace(rows, day=rows.day + shift))
    was = answers(plain, e.shop, e.cutoffs, e.windows)
    now = answers(plain, moved, [c + shift for c in e.cutoffs], e.windows)
    back = Answers(tuple((who, cutoff - shift) for who, cutoff in now.keys), now.values)
    yield from _compare("the calendar changes nothing but the season", plain, was, back)


@law("the unit of money changes money alone")
def unit(features: Sequence[Feature], e: Example, draw: np.random.Generator) -> Iterator[Breach]:
    """All amounts times 100: money times 100, everything else as it was."""

    def richer(_: str, rows: Rows) -> Rows:
        return replace(rows, measures={n: v * 100 if n in MONEY else v for n, v in rows.measures.items()})

    scale = np.array([100.0 if made.unit.startswith("money") else 1.0 for made in features])
    was = answers(features, e.shop, e.cutoffs, e.windows)
    now = answers(features, e.shop.map(richer), e.cutoffs, e.windows)
    scaled = Answers(was.keys, was.values * scale)
    yield from _compare("the unit of money changes money alone", features, scaled, now, near=True)


@law("a table that is not kept is absent")
def missing(features: Sequence[Feature], e: Example, draw: np.random.Generator) -> Iterator[Breach]:
    """Without a table its features are absent in every row, and no other own feature notices."""
    name = "a table that is not kept is absent"
    table = str(draw.choice([t for t in e.shop.rows if t != "purchases"] or ["lines"]))
    less = replace(e.shop, rows={n: rows for n, rows in e.shop.rows.items() if n != table})
    was, now = (answers(features, shop, e.cutoffs, e.windows) for shop in (e.shop, less))
    for k, made in enumerate(features):
        if table in made.tables and not np.isnan(now.values[:, k]).all():
            yield Breach(name, made.name, f"has values without the table {table}")
    rest = [k for k, made in enumerate(features) if table not in made.tables]
    others = [features[k] for k in rest]
    yield from _compare(name, others, Answers(was.keys, was.values[:, rest]), Answers(now.keys, now.values[:, rest]))


@law("absent exactly when declared")
def declared(features: Sequence[Feature], e: Example, draw: np.random.Generator) -> Iterator[Breach]:
    """NaN where the feature's absence says so and nowhere else; an absence in words alone is not checked."""
    h = History(e.shop.block(0), e.cutoffs, e.windows, at="known", population=e.population, exponent=e.shop.exponent)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        for made in features:
            if made.absent.rule is undeclared:
                continue
            values = made(h)
            off = np.flatnonzero(np.isnan(values) != made.is_absent(h))
            if len(off):
                where = f"customer {h.customer_id[off[0]]} at {h.cut[off[0]]}"
                told = f"{where}: {values[off[0]]:.10g}, where it declares to be absent: {made.absence}"
                yield Breach("absent exactly when declared", made.name, told)


def check(features: Sequence[Feature], *, examples: int = 10, seed: int = 7) -> tuple[Breach, ...]:
    """Try every law on random shops; the first breach of each feature and law. Empty where all hold."""
    found: dict[tuple[str, str], Breach] = {}
    for k in range(examples):
        e = example(seed + k)
        for made in LAWS.values():
            for breach in made(features, e, np.random.default_rng(seed + k)):
                found.setdefault((breach.law, breach.feature), breach)
    return tuple(found.values())
