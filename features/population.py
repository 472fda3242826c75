"""Population: what everybody together had done by each cutoff, frozen so that a customer's features can use it.

Two kinds of tables, both leak-proof by construction:

*The market.* Whole numbers added up by day; a cutoff's figures are differences of running sums that stop at the cutoff.

*Neighbours.* How customers who bought the same product, came by the same channel … went on. The question is asked one
horizon back: of those who were at risk at t-H and had bought the thing, who bought again in (t-H, t], and for how much?
That window has closed at t, so nobody's future, one's own included, can enter. Small groups are drawn to the average of
everybody.

Only whole numbers are added, so neither blocks nor processes show in the result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from features.block import Block, EventTable, Ints, parts
from features.errors import UsageError
from features.history import Events, Floats, History, ratio
from features.mixes import each
from features.windows import Windows

if TYPE_CHECKING:
    from features.snapshot import Store

YEAR = 365
PRIOR = 20
"""Customers of the average that every group is given."""
MILLION, THOUSAND = 1_000_000, 1_000
PAIRS_A_PART = 4_000_000
"""Pairs of an event and a cutoff that are laid out at once."""


@dataclass(frozen=True)
class Kind:
    """What makes neighbours: the word of a table's rows in the active window, or one word per customer (`each_has_one`:
    that of the first row)."""

    table: str
    word: str
    each_has_one: bool = False


KINDS: Mapping[str, Kind] = {
    "product": Kind("lines", "product_id"),
    "category": Kind("lines", "category"),
    "store": Kind("purchases", "store"),
    "first_channel": Kind("purchases", "channel", each_has_one=True),
    "region": Kind("customers", "region", each_has_one=True),
}


@dataclass(frozen=True)
class Following:
    """How the buyers of each word went on: per cutoff and word (the last entry is for words nobody had by then) the
    share that bought again in millionths, and the mean spend in thousandths of the minor unit. Words ascend."""

    words: NDArray[np.object_]
    returned: Ints
    spend: Ints


@dataclass(frozen=True)
class Population:
    """Tables per cutoff: `numbers[name][k]` is known at `cutoffs[k]`, NaN where it is absent.

    `process` holds the parameters of BG/NBD (r, alpha in days, a, b), fitted on data before the first cutoff they are
    used for, or None.
    """

    cutoffs: Ints
    numbers: Mapping[str, Floats] = field(default_factory=dict)
    following: Mapping[str, Following] = field(default_factory=dict)
    process: Mapping[str, float] | None = None
    _places: dict[str, tuple[NDArray[np.object_], Ints]] = field(default_factory=dict, compare=False, repr=False)

    def with_process(self, process: Mapping[str, float]) -> Population:
        """The same with a purchase process's parameters."""
        return replace(self, process=dict(process))

    def rows(self, h: History) -> Ints:
        """Where the history's cutoffs stand here. Raises UsageError for a cutoff that was not frozen."""
        if not np.isin(h.cutoffs, self.cutoffs).all():
            raise UsageError("the population tables are for other cutoffs", do="freeze them for the cutoffs asked")
        return np.searchsorted(self.cutoffs, h.cutoffs)

    def per_row(self, h: History, name: str) -> Floats:
        """A number of each row's cutoff."""
        return self.numbers[name][self.rows(h)][h.column] if name in self.numbers else h.nan

    def places(self, kind: str, words: NDArray[np.object_]) -> Ints:
        """Where a block's words stand among a kind's; unknown ones, and the last entry for absent ones, stand last."""
        kept, places = self._places.get(kind, (None, None))
        if kept is not words or places is None:
            known = self.following[kind].words
            found = np.searchsorted(known, words) if len(known) else np.zeros(len(words), np.int64)
            same = np.array([k < len(known) and known[k] == w for k, w in zip(found, words, strict=True)], bool)
            places = np.append(np.where(same, found, len(known)), len(known)).astype(np.int64)
            self._places[kind] = words, places
        return places

    def went_on(self, h: History, kind: str, what: str, *, last_day: bool = False) -> Floats:
        """How neighbours of a kind went on, per row: `what` is "returned" (share) or "spend" (major units).

        The mean over the rows of the kind's table in the active window (or on the last day there is one), or that of
        the customer's one word. NaN where no such window has closed yet, and where the customer has no word.
        """
        kinship = KINDS[kind]
        if kind not in self.following or not h.has(kinship.table, kinship.word) or not len(h.events(kinship.table)):
            return h.nan
        column = h.events(kinship.table).words[kinship.word]
        tables: Ints = getattr(self.following[kind], what)[self.rows(h)]
        code = self.places(kind, column.words)[column.code]
        if kinship.each_has_one:
            first = np.minimum(h.start(kinship.table), len(code) - 1)
            there = (h.start(kinship.table) < h.upto(0, kinship.table)) & (column.code[first] >= 0)
            value = np.where(there, tables[h.column, code[first]], np.nan)
        else:
            row, event = h.kept(
                ("neighbours", kinship.table, last_day),
                lambda: each(*(_last_day(h, kinship.table) if last_day else h.edges(h.A, 0, kinship.table))),
            )
            known = (column.code >= 0)[event]
            sums = np.bincount(row, tables[h.column[row], code[event]] * known, len(h))
            value = ratio(sums.astype(np.float64), np.bincount(row, known, len(h)).astype(np.float64))
            if not last_day:
                value = np.where(np.isnan(h.count(h.A, table=kinship.table)), np.nan, value)
        value /= MILLION if what == "returned" else THOUSAND * h.scale
        return np.where(np.isnan(self.per_row(h, "return_rate")), np.nan, value)


def _last_day(h: History, table: str) -> tuple[Ints, Ints]:
    """The positions of a table's rows on the last day that has any."""
    events = h.events(table)
    opens = np.ones(len(events), bool)
    opens[1:] = (np.diff(events.who) != 0) | (np.diff(events.day) != 0)
    first = h.derive(
        "first of its day", lambda _: np.maximum.accumulate(np.where(opens, np.arange(len(opens)), 0)), table
    )
    lo, hi = h.value(first, table=table), h.upto(0, table)
    return np.where(np.isnan(lo), hi, np.nan_to_num(lo)).astype(np.int64), hi


def freeze(
    store: Store,
    cutoffs: Sequence[int] | Ints,
    windows: Windows,
    *,
    process: Mapping[str, float] | None = None,
    neighbours: bool = True,
    read: Callable[[int, Sequence[str]], Block] | None = None,
    progress: Callable[[str], None] | None = None,
) -> Population:
    """The population tables of every cutoff, from one pass over the store.

    `read` gives a bucket's tables as they are known on the last cutoff; by default the store does.
    """
    cutoffs = np.unique(np.asarray(cutoffs, np.int64))
    days, groups = Days(), {kind: Groups(len(cutoffs)) for kind in KINDS} if neighbours else {}
    everybody = Groups(len(cutoffs))
    needed = ("purchases", *(kind.table for kind in KINDS.values() if neighbours))
    wanted = [name for name in store.tables if name in needed]
    for bucket in range(store.buckets):
        block = read(bucket, wanted) if read else store.block(bucket, wanted, int(cutoffs[-1]))
        days.add_block(block)
        for part in parts(block, max(1, PAIRS_A_PART // (len(cutoffs) * _rows_a_customer(block)))):
            _add_following(part, cutoffs, windows, everybody, groups)
    if progress:
        progress(f"population: {len(cutoffs)} cutoffs frozen")
    numbers = {**days.numbers(cutoffs, windows.horizon), "return_rate": everybody.rate("returned")[:, 0]}
    following = {kind: made.shrunk(everybody) for kind, made in groups.items() if made.places}
    return Population(cutoffs, numbers, following, process)


def _rows_a_customer(block: Block) -> int:
    rows = max((len(table.day) for table in block.tables.values()), default=0)
    return max(1, rows // max(1, len(block.customers)))


# -- the market: sums by day -------------------------------------------------------------------------------------------


class Days:
    """Whole numbers added up by day."""

    def __init__(self) -> None:
        self.sums: dict[str, Ints] = {}
        self.first: int | None = None

    def add_block(self, block: Block) -> None:
        """Purchase days, first purchases, money and gaps of a block's customers."""
        purchases = block.tables["purchases"]
        opens = np.ones(len(purchases.day), bool)
        opens[1:] = np.diff(purchases.who) != 0
        again = np.flatnonzero(~opens)
        gap = purchases.day[again] - purchases.day[again - 1]
        self._add("visits", purchases.day)
        self._add("firsts", purchases.day[opens])
        self._add("amount", purchases.day, purchases.measures["amount"])
        self._add("gaps", purchases.day[again])
        self._add("log gap", purchases.day[again], np.rint(1e6 * np.log(gap)).astype(np.int64))
        if purchases.since is not None:
            self.first = purchases.since if self.first is None else min(self.first, purchases.since)

    def _add(self, name: str, day: Ints, value: Ints | None = None) -> None:
        had = self.sums.get(name, np.zeros(0, np.int64))
        sums = np.zeros(max(len(had), int(day.max(initial=-1)) + 1), np.int64)
        sums[: len(had)] = had
        np.add.at(sums, day, 1 if value is None else value)
        self.sums[name] = sums

    def _upto(self, name: str, day: Ints) -> Ints:
        running = np.concatenate(([0], np.cumsum(self.sums.get(name, np.zeros(0, np.int64)))))
        return running[np.clip(day + 1, 0, len(running) - 1)]

    def total(self, name: str, cutoffs: Ints, last: int | None = None, before: int = 0) -> Floats:
        """The sum over a window of each cutoff; NaN where it opens before the log does."""
        if last is None:
            return self._upto(name, cutoffs - before).astype(np.float64)
        sums = self._upto(name, cutoffs - before) - self._upto(name, cutoffs - before - last)
        opens = cutoffs - before - last + 1
        return np.where((self.first is not None) & (opens >= (self.first or 0)), sums, np.nan)

    def numbers(self, cutoffs: Ints, H: int) -> dict[str, Floats]:
        """The market's figures at each cutoff."""
        coming = YEAR * -(-H // YEAR) - H
        visits, before = self.total("visits", cutoffs, H), self.total("visits", cutoffs, H, H)
        ticket = ratio(self.total("amount", cutoffs, H), visits)
        ticket_before = ratio(self.total("amount", cutoffs, H, H), before)
        return {
            "log_gap": ratio(self.total("log gap", cutoffs), self.total("gaps", cutoffs)) / 1e6,
            "change": ratio(visits, before),
            "season": ratio(self.total("visits", cutoffs, H, coming), self.total("visits", cutoffs, H, coming + H)),
            "year_on_year": ratio(visits, self.total("visits", cutoffs, H, YEAR)),
            "new_share": ratio(self.total("firsts", cutoffs, H), visits),
            "ticket_change": ratio(ticket, ticket_before),
        }


# -- neighbours: how groups of customers went on -----------------------------------------------------------------------


class Groups:
    """Customers, returns and money per cutoff and word, added up over blocks."""

    def __init__(self, cutoffs: int) -> None:
        self.places: dict[str, int] = {}
        self.sums = {name: np.zeros((cutoffs, 0), np.int64) for name in ("customers", "returned", "spend")}

    def add(self, words: Sequence[str], sums: Mapping[str, Ints]) -> None:
        """Add (cutoffs x words) sums."""
        place = np.array([self.places.setdefault(word, len(self.places)) for word in words], np.int64)
        for name, added in sums.items():
            had = self.sums[name]
            grown = np.zeros((len(had), len(self.places)), np.int64)
            grown[:, : had.shape[1]] = had
            grown[:, place] += added
            self.sums[name] = grown

    def rate(self, name: str) -> Floats:
        """Mean per customer of each cutoff and word; NaN without customers."""
        if not self.places:
            return np.full((len(self.sums["customers"]), 1), np.nan)
        return ratio(self.sums[name].astype(np.float64), self.sums["customers"].astype(np.float64))

    def shrunk(self, everybody: Groups) -> Following:
        """Means drawn to everybody's, as if PRIOR average customers had been in each group."""
        words = np.array(sorted(self.places), object)
        order = np.array([self.places[word] for word in words], np.int64)
        tables = {}
        for name, unit in (("returned", MILLION), ("spend", THOUSAND)):
            average = np.nan_to_num(everybody.rate(name)[:, :1])
            sums, customers = self.sums[name][:, order], self.sums["customers"][:, order]
            means = (sums + PRIOR * average) / (customers + PRIOR)
            tables[name] = np.rint(unit * np.hstack((means, average))).astype(np.int64)
        return Following(words, tables["returned"], tables["spend"])


def _add_following(
    block: Block, cutoffs: Ints, windows: Windows, everybody: Groups, groups: Mapping[str, Groups]
) -> None:
    """Add how a block's customers went on in the horizon that ended on each cutoff."""
    past, n = cutoffs - windows.horizon, len(block.customers)
    purchases = Events(block.tables["purchases"], n)
    then, now, opened = (
        purchases.counted(edges).reshape(n, -1)[:, :-1] for edges in (past, cutoffs, past - windows.active)
    )
    amount = purchases.prefix("amount")
    outcome = {"returned": (now > then).astype(np.int64), "spend": amount[now] - amount[then]}
    at_risk = then > opened
    who, column = np.nonzero(at_risk)
    everybody.add(("everybody",), _sums(who, np.zeros_like(who), column, outcome, 1))
    for name, made in groups.items():
        kind = KINDS[name]
        table = block.tables.get(kind.table)
        if table is None or kind.word not in table.words or not len(table.day):
            continue
        word = table.words[kind.word]
        if kind.each_has_one:
            who, code, column = _of_customers(table, word.code, past, at_risk)
        else:
            who, code, column = _of_events(table, word.code, past, windows.active)
        made.add(list(word.words), _sums(who, code, column, outcome, len(word.words)))


def _sums(who: Ints, code: Ints, column: Ints, outcome: Mapping[str, Ints], words: int) -> dict[str, Ints]:
    cutoffs = next(iter(outcome.values())).shape[1]
    key = column * words + code
    sums = {"customers": np.bincount(key, minlength=cutoffs * words)}
    for name, values in outcome.items():
        sums[name] = np.rint(np.bincount(key, values[who, column], cutoffs * words)).astype(np.int64)
    return {name: values.reshape(cutoffs, words) for name, values in sums.items()}


def _of_events(table: EventTable, code: Ints, past: Ints, active: int) -> tuple[Ints, Ints, Ints]:
    """Customer, word and cutoff for each distinct word of a customer's active window: its last row in it stands for
    it."""
    row = np.flatnonzero((code >= 0) & (table.day > past[0] - active) & (table.day <= past[-1]))
    who, day, code = table.who[row], table.day[row], code[row]
    order = np.argsort(who * (int(code.max(initial=0)) + 1) + code, kind="stable")  # rows lie by customer and day
    following = np.full(len(row), np.iinfo(np.int64).max)
    same = (np.diff(who[order]) == 0) & (np.diff(code[order]) == 0)
    following[order[:-1][same]] = day[order[1:][same]]
    event, column = each(np.searchsorted(past, day), np.searchsorted(past, np.minimum(day + active, following)))
    return who[event], code[event], column


def _of_customers(table: EventTable, code: Ints, past: Ints, at_risk: NDArray[np.bool_]) -> tuple[Ints, Ints, Ints]:
    """Customer, word and cutoff for each customer at risk whose first row was there by then."""
    opens = np.ones(len(code), bool)
    opens[1:] = np.diff(table.who) != 0
    first = np.flatnonzero(opens & (code >= 0))
    known = at_risk[table.who[first]] & (table.day[first][:, None] <= past)
    row, column = np.nonzero(known)
    return table.who[first[row]], code[first[row]], column
