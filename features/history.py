"""History: what a block of customers had done by each of many cutoffs, answered for all of them at once.

A feature asks questions of a History (`h.total("amount", last=91)`, `h.days_since()`, `h.gap_mean()`) and gets one
number per row, a row being a customer at a cutoff. Nothing loops over customers or cutoffs:

1. *Positions.* For a table and an edge (a number of days before the cutoff), one `bincount` and one `cumsum` over the
   grid customers x cutoffs give, for each row, the place just after the last event with `day <= cutoff - edge`. This
   is the only place where days are compared, so that the future stays out is decided in one line (`History.upto`).
2. *Sums.* What happened in a window is the difference of two prefix sums. Measures are whole numbers and the sums are
   int64, whose differences are exact even where a long prefix wraps: results cannot depend on who shares a block.
3. *`once`.* Consecutive cutoffs mostly see the same events, so whatever is dear (a median, distinct products) is worked
   out once per run of rows with equal edges.

Windows count back from the cutoff: `last=28, before=7` is the 28 days that end 7 days before it, and `last=None` is
everything on record. A table the shop does not have answers NaN throughout. So does a table without any record yet, and
a window that opens before the table's records do: what was not recorded is absent, not zero.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from features.block import Block, EventTable, Ints, Words
from features.errors import UsageError
from features.mixes import Mix, each
from features.rows import sorting
from features.windows import Windows

if TYPE_CHECKING:
    from features.population import Population

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
At = Literal["at risk", "lapsed", "seen", "known"]
Span = tuple[int | None, int]
T = TypeVar("T")


class Events:
    """One table of a block, with the measures and prefix sums that questions have needed so far."""

    def __init__(self, table: EventTable, customers: int) -> None:
        if len(table.day) and int(table.day.min()) < 0:
            raise UsageError("a day before 1970-01-01", got=str(int(table.day.min())))
        self.who, self.day, self.words, self.since = table.who, table.day, table.words, table.since
        self.measures: dict[str, Ints] = {"day": table.day, **table.measures}
        self.starts: Ints = np.searchsorted(self.who, np.arange(customers + 1)).astype(np.int64)
        self.first_day = int(self.day.min()) if len(self.day) else 0
        self._day_offset = self.day - self.first_day
        self._made: dict[Hashable, Any] = {}

    def __len__(self) -> int:
        return len(self.day)

    def kept(self, key: Hashable, make: Callable[[], T]) -> T:
        """`make()`, worked out at the first asking."""
        if key not in self._made:
            self._made[key] = make()
        value: T = self._made[key]
        return value

    def prefix(self, measure: str) -> Ints:
        """Sums of the measure over the rows before each position, rows + 1 of them."""
        return self.kept(("prefix", measure), lambda: np.concatenate(([0], np.cumsum(self.measures[measure]))))

    def counted(self, edges: Ints) -> Ints:
        """Per grid cell (customer, edge; one more ends each customer) the position after the last event up to it."""
        if len(edges) == 1:
            return self._counted(int(edges[0]))
        columns = np.searchsorted(edges, np.arange(self.first_day, int(self.day.max(initial=self.first_day)) + 1))
        cell = columns.take(self._day_offset)
        cell += self.kept(("cells", len(edges)), lambda: self.who * (len(edges) + 1))
        return np.cumsum(np.bincount(cell, minlength=(len(self.starts) - 1) * (len(edges) + 1)))

    def _counted(self, edge: int) -> Ints:
        """The same for one edge: no cell to look for, the days up to it come first in each customer's."""
        sofar = np.concatenate(([0], np.cumsum(self.day <= edge)))[self.starts]
        return np.stack((self.starts[:-1] + np.diff(sofar), self.starts[1:]), axis=1).ravel()

    def spans(self, op: np.ufunc, measure: str) -> NDArray[np.int64]:
        """Row k holds op over 2**k rows from each position on (the sparse table of range queries)."""

        def make() -> NDArray[np.int64]:
            longest = int(np.diff(self.starts).max(initial=0))
            rows = np.empty((max(1, longest.bit_length()), len(self)), np.int64)
            rows[0] = self.measures[measure]
            for k in range(1, len(rows)):
                reach = 1 << (k - 1)
                op(rows[k - 1, :-reach], rows[k - 1, reach:], out=rows[k, :-reach])
                rows[k, -reach:] = rows[k - 1, -reach:]
            return rows

        return self.kept(("spans", op.__name__, measure), make)

    def previous(self, word: str) -> Ints:
        """The position of the same customer's previous row with the same word, -1 for the first; absent words count
        as seen for ever, so that nothing counts them."""

        def make() -> Ints:
            code = self.words[word].code
            kinds = int(code.max(initial=0)) + 2
            key = self.who * kinds + code + 1
            order = sorting(key, kinds * len(self.starts))
            same = key[order][1:] == key[order][:-1]
            before = np.full(len(key), -1, np.int64)
            before[order[1:][same]] = order[:-1][same]
            before[code < 0] = len(key)
            return before

        return self.kept(("previous", word), make)


class History:
    """Questions about a block of customers at ascending cutoffs.

    Rows are customer-major: `who` is the row's customer as a place in `block.customers`, `cut` its cutoff. `at` says
    who has a row at a cutoff: "at risk" bought in the active window, "lapsed" bought but not in it, "seen" bought at
    all, "known" has a row in any table. `population` holds the frozen tables of everybody else; `exponent` is the
    number of digits of the currency's minor unit.

    Arrays that come back have one float64 per row; NaN is absent. Raises UsageError for cutoffs out of order.
    """

    def __init__(
        self,
        block: Block,
        cutoffs: Sequence[int] | Ints,
        windows: Windows,
        *,
        at: At = "at risk",
        population: Population | None = None,
        exponent: int = 2,
    ) -> None:
        self.block, self.windows, self.population = block, windows, population
        self.scale = float(10**exponent)
        self.H, self.A = windows.horizon, windows.active
        self.cutoffs = _ascending(cutoffs)
        self.absent: set[str] = set()
        self._cache: dict[Hashable, Any] = {}
        self._events = {name: Events(table, len(block.customers)) for name, table in block.tables.items()}
        grid = np.arange(len(block.customers) * (len(self.cutoffs) + 1)).reshape(-1, len(self.cutoffs) + 1)
        self._cells: Ints = grid[:, :-1].ravel()
        self._place(np.arange(len(block.customers) * len(self.cutoffs)))
        self._place(np.flatnonzero(self._present(at)))

    # -- rows ---------------------------------------------------------------------------------------------------------

    def _place(self, rows: Ints) -> None:
        """Keep these rows of the ones there were; every answer from now on is for them."""
        columns = len(self.cutoffs)
        self._cells = self._cells[rows]
        self.who: Ints = self._cells // (columns + 1)
        self.column: Ints = self._cells % (columns + 1)
        self.cut: Ints = self.cutoffs[self.column]
        self._cache.clear()
        for array in (self.who, self.column, self.cut):
            array.setflags(write=False)

    def _present(self, at: At) -> Bools:
        if at == "known":
            known: Bools = np.logical_or.reduce([self.upto(0, name) > self.start(name) for name in self._events])
            return known
        recency = self.days_since()
        if at == "at risk":
            return recency < self.A
        return recency >= self.A if at == "lapsed" else ~np.isnan(recency)

    def __len__(self) -> int:
        return len(self.who)

    @property
    def customer_id(self) -> NDArray[np.object_]:
        """The customer of each row."""
        return self.block.customers[self.who]

    def later(self, days: int) -> History:
        """The same rows with every cutoff moved on: what the days after a cutoff brought is what a later cutoff's
        window shows. For labels; a feature that asks this is caught by the laws."""
        moved = copy.copy(self)
        moved.cutoffs, moved.cut, moved._cache = self.cutoffs + days, self.cut + days, {}
        return moved

    def span(self, multiple: float) -> int:
        """A multiple of the horizon in whole days, at least one."""
        return max(1, round(multiple * self.H))

    # -- tables -------------------------------------------------------------------------------------------------------

    def has(self, table: str, column: str | None = None) -> bool:
        """Whether the shop has the table (and the column in it); what is asked for in vain is noted in `absent`."""
        events = self._table(table)
        if events is None or (column is not None and column not in events.measures and column not in events.words):
            self.absent.add(table if column is None else f"{table}.{column}")
            return False
        return True

    def _table(self, name: str) -> Events | None:
        if name == "gaps" and name not in self._events:
            self._events[name] = self._gaps()
        return self._events.get(name)

    def _gaps(self) -> Events:
        """One row per purchase day but the first, with the days since the one before."""
        purchases = self._events["purchases"]
        again = np.flatnonzero(purchases.who[1:] == purchases.who[:-1]) + 1
        gap = purchases.day[again] - purchases.day[again - 1]
        table = EventTable(purchases.who[again], purchases.day[again], {"gap": gap}, since=purchases.since)
        return Events(table, len(self.block.customers))

    def derive(self, measure: str, make: Callable[[Mapping[str, Ints]], ArrayLike], table: str = "purchases") -> str:
        """A whole-number measure made once from a table's others; every question answers for it. Returns its name."""
        events = self._table(table)
        if events is not None and measure not in events.measures:
            events.measures[measure] = np.asarray(make(events.measures), np.int64)
        return measure

    def derive_word(self, measure: str, word: str, make: Callable[[Words], ArrayLike], table: str = "purchases") -> str:
        """The same from a column of words: `make` turns it into a whole number per row."""
        events = self._table(table)
        if events is not None and word in events.words and measure not in events.measures:
            events.measures[measure] = np.asarray(make(events.words[word]), np.int64)
        return measure

    @property
    def nan(self) -> Floats:
        """Absent in every row."""
        return np.full(len(self.who), np.nan)

    # -- positions ----------------------------------------------------------------------------------------------------

    def kept(self, key: Hashable, make: Callable[[], T]) -> T:
        """`make()`, worked out once for this History."""
        if key not in self._cache:
            self._cache[key] = make()
        value: T = self._cache[key]
        return value

    def upto(self, before: int = 0, table: str = "purchases") -> Ints:
        """Per row, the position after the last event with day <= cutoff - before."""
        return self.kept(
            ("upto", table, before), lambda: self.events(table).counted(self.cutoffs - before)[self._cells]
        )

    def start(self, table: str = "purchases") -> Ints:
        """Per row, the position of the customer's first event."""
        return self.kept(("start", table), lambda: self.events(table).starts[self.who])

    def edges(self, last: int | None = None, before: int = 0, table: str = "purchases") -> tuple[Ints, Ints]:
        """Per row, the positions of a window's first event and of the one after its last."""
        return (self.start(table) if last is None else self.upto(before + last, table)), self.upto(before, table)

    def events(self, table: str = "purchases") -> Events:
        """A table's rows as they lie in the block, all days: for measures that `derive` makes, not for answers."""
        events = self._table(table)
        if events is None:
            raise UsageError(
                f"there is no table {table!r}", do="ask h.has(table) first, or a question that answers NaN"
            )
        return events

    def _recorded(self, values: Floats, table: str, last: int | None, before: int) -> Floats:
        """NaN where the window opens before the table's records do, or nothing at all is on record yet."""
        since, opens = self.events(table).since, before + (last or 1) - 1
        if since is not None and (not len(self.cutoffs) or int(self.cutoffs[0]) - opens >= since):
            return values
        return np.where(self.cut - opens < since, np.nan, values) if since is not None else self.nan

    def recorded(self, values: Floats, table: str) -> Floats:
        """The values, NaN where the table is not kept or has no record yet."""
        return self._recorded(values, table, None, 0) if self.has(table) else self.nan

    def recorded_days(self, table: str = "purchases") -> Floats:
        """Days from the first record of the table, by anyone, to the cutoff, both counted; NaN before it."""
        if not self.has(table) or (since := self.events(table).since) is None:
            return self.nan
        return np.where(self.cut >= since, self.cut - since + 1.0, np.nan)

    # -- sums: one subtraction ----------------------------------------------------------------------------------------

    def total(self, measure: str, last: int | None = None, before: int = 0, table: str = "purchases") -> Floats:
        """Sum of a measure over a window, in the table's whole units (money in minor units)."""
        if not self.has(table, measure):
            return self.nan
        lo, hi = self.edges(last, before, table)
        sums = self._prefix_at(measure, hi, before, table) - self._prefix_at(
            measure, lo, None if last is None else before + last, table
        )
        return self._recorded(sums.astype(np.float64), table, last, before)

    def _prefix_at(self, measure: str, edge: Ints, key: int | None, table: str) -> Ints:
        return self.kept(("at", table, measure, key), lambda: self.events(table).prefix(measure)[edge])

    def count(self, last: int | None = None, before: int = 0, table: str = "purchases") -> Floats:
        """Rows in a window; of purchases these are purchase days."""
        if not self.has(table):
            return self.nan
        lo, hi = self.edges(last, before, table)
        return self._recorded((hi - lo).astype(np.float64), table, last, before)

    def days(self, last: int | None = None, before: int = 0, table: str = "purchases") -> Floats:
        """Distinct days with a row in a window."""
        if table in ("purchases", "gaps"):
            return self.count(last, before, table)
        if not self.has(table):
            return self.nan
        events = self.events(table)
        opens = np.ones(len(events), np.int64)
        opens[1:] = (np.diff(events.who) != 0) | (np.diff(events.day) != 0)
        return self.total(self.derive("opens day", lambda _: opens, table), last, before, table)

    def money(
        self, last: int | None = None, before: int = 0, table: str = "purchases", measure: str = "amount"
    ) -> Floats:
        """Sum of an amount over a window in the currency's major unit."""
        return self.total(measure, last, before, table) / self.scale

    def moment(self, measure: str, last: int | None = None, table: str = "purchases") -> Floats:
        """Sum over a window of measure x days before the cutoff: what slopes and fading weights are made of."""
        by_day = self.derive(f"{measure} x day", lambda m: m[measure] * m["day"], table)
        return self.cut * self.total(measure, last, 0, table) - self.total(by_day, last, 0, table)

    def slope(self, measure: str, last: int, table: str = "purchases") -> Floats:
        """Least-squares slope of a measure per day over the days of a window, days without an event counting 0."""
        if last < 2:
            return self.nan
        middle = (last - 1) / 2
        return (middle * self.total(measure, last, 0, table) - self.moment(measure, last, table)) * (
            12 / (last * (last * last - 1.0))
        )

    def fading(self, measure: str, last: int, table: str = "purchases") -> Floats:
        """Sum over a window with weights that fall evenly from 1 on the cutoff day to 0 when the window opens."""
        return self.total(measure, last, 0, table) - self.moment(measure, last, table) / last

    @property
    def one(self) -> str:
        """A measure that is 1 in every row of purchases."""
        return self.derive("one", lambda m: np.ones_like(m["day"]))

    # -- gaps between purchase days -----------------------------------------------------------------------------------

    def gap_count(self, last: int | None = None, before: int = 0) -> Floats:
        """Gaps that ended in a window."""
        return self.count(last, before, "gaps")

    def gap_mean(self, last: int | None = None, before: int = 0) -> Floats:
        """Mean days between purchase days, over gaps that ended in a window; NaN without one."""
        return ratio(self.total("gap", last, before, "gaps"), self.gap_count(last, before))

    def gap_std(self, last: int | None = None) -> Floats:
        """Standard deviation of the gaps (dividing by their number); NaN below two of them."""
        square = self.derive("gap x gap", lambda m: m["gap"] ** 2, "gaps")
        n, s, q = self.gap_count(last), self.total("gap", last, 0, "gaps"), self.total(square, last, 0, "gaps")
        return np.where(n > 1, np.sqrt(np.maximum(n * q - s * s, 0)) / np.maximum(n, 1), np.nan)

    def gap_quantile(self, q: float, last: int | None = None) -> Floats:
        """Quantile of the gaps, linear between neighbours; NaN without one."""
        return self.quantile("gap", q, last, "gaps")

    # -- single events ------------------------------------------------------------------------------------------------

    def value(self, measure: str, back: int = 1, table: str = "purchases") -> Floats:
        """A measure of the back-th latest event (1 is the latest); NaN where there is none."""
        if not self.has(table, measure) or not len(self.events(table)):
            return self.nan
        position, values = self.upto(0, table) - back, self.events(table).measures[measure]
        return np.where(position >= self.start(table), values[np.maximum(position, 0)], np.nan)

    def first(self, measure: str, place: int = 1, table: str = "purchases") -> Floats:
        """A measure of the place-th event of all (1 is the first); NaN where there is none by the cutoff."""
        if not self.has(table, measure) or not len(self.events(table)):
            return self.nan
        position, values = self.start(table) + place - 1, self.events(table).measures[measure]
        there = position < self.upto(0, table)
        return np.where(there, values[np.where(there, position, 0)], np.nan)

    def days_since(self, table: str = "purchases", back: int = 1) -> Floats:
        """Days from the back-th latest event to the cutoff, 0 on the cutoff day; NaN where there is none."""
        return self.cut - self.value("day", back, table)

    def days_since_first(self, table: str = "purchases") -> Floats:
        """Days from the first event to the cutoff; NaN where there is none."""
        return self.cut - self.first("day", 1, table)

    def count_since(self, table: str, measure: str | None = None) -> Floats:
        """Rows of a table (or the sum of a measure of them) after the day of the last purchase."""
        if not self.has(table, measure):
            return self.nan
        events, purchases, name = self.events(table), self.events(), f"{table} {measure or 'rows'} by then"
        if name not in purchases.measures:
            far = 1 + max(int(events.day.max(initial=0)), int(purchases.day.max(initial=0)))
            place = np.searchsorted(events.who * far + events.day, purchases.who * far + purchases.day, side="right")
            before = place - events.starts[purchases.who]
            if measure is not None:
                sums = events.prefix(measure)
                before = sums[place] - sums[events.starts[purchases.who]]
            purchases.measures[name] = before
        sofar = self.count(table=table) if measure is None else self.total(measure, table=table)
        return sofar - np.where(self.upto() > self.start(), self.value(name), 0)

    # -- extremes, quantiles and anything else over the events of a window --------------------------------------------

    def over(self, op: np.ufunc, measure: str, last: int | None = None, table: str = "purchases") -> Floats:
        """`np.maximum`, `np.minimum` or `np.bitwise_or` of a measure over a window; NaN where the window is empty."""
        if not self.has(table, measure) or not len(self.events(table)):
            return self.nan
        events = self.events(table)

        def f(lo: Ints, hi: Ints) -> Floats:
            if int((hi - lo).sum()) <= 2 * len(events):  # few windows: to walk through them is cheaper than to prepare
                return _reduced(op, np.asarray(events.measures[measure], np.int64), lo, hi)
            spans = events.spans(op, measure)
            power = np.frexp(np.maximum(hi - lo, 1))[1].astype(np.int64) - 1
            flat, size = spans.ravel(), spans.shape[1]
            head = flat[power * size + np.minimum(lo, size - 1)]
            tail = flat[power * size + np.maximum(hi - (1 << power), 0)]
            return np.where(hi > lo, op(head, tail), np.nan)

        return self.once(f, [(last, 0)], table)

    def once(self, f: Callable[..., Any], spans: Sequence[Span], table: str = "purchases") -> Floats:
        """f(lo, hi, lo, hi ...) of the edges of windows, called with one entry per run of rows that share them all."""
        if not self.has(table):
            return self.nan
        edges = [edge for last, before in spans for edge in self.edges(last, before, table)]
        new, run = self._runs(tuple(spans), edges, table)
        values: Floats = np.asarray(f(*(edge[new] for edge in edges)), np.float64)[run]
        for last, before in spans:
            values = self._recorded(values, table, last, before)
        return values

    def _runs(self, spans: tuple[Span, ...], edges: Sequence[Ints], table: str) -> tuple[Ints, Ints]:
        """Which rows open a run of equal edges, and the run of each row."""

        def make() -> tuple[Ints, Ints]:
            opens = np.ones(len(self.who), bool)
            opens[1:] = np.logical_or.reduce([edge[1:] != edge[:-1] for edge in edges])
            return np.flatnonzero(opens), np.cumsum(opens) - 1

        return self.kept(("runs", table, spans), make)

    def quantile(self, measure: str, q: float, last: int | None = None, table: str = "purchases") -> Floats:
        """Quantile of a measure over a window, linear between neighbours; NaN where the window is empty."""
        if not self.has(table, measure):
            return self.nan

        def f(lo: Ints, hi: Ints) -> Floats:
            first, values = self._ordered(measure, last, table, lo, hi)
            n = hi - lo
            place = q * np.maximum(n - 1, 0)
            low = np.floor(place).astype(np.int64)
            a, b = values[first + low], values[first + np.minimum(low + 1, np.maximum(n - 1, 0))]
            return np.where(n > 0, a + (b - a) * (place - low), np.nan)

        return self.once(f, [(last, 0)], table)

    def above(self, measure: str, limit: Floats, last: int | None = None, table: str = "gaps") -> Floats:
        """Events of a window whose measure (0 or more) is above each row's own limit; NaN where the limit is."""
        if not self.has(table, measure):
            return self.nan
        lo, hi = self.edges(last, 0, table)
        new, run = self._runs(((last, 0),), (lo, hi), table)
        first, values = self._ordered(measure, last, table, lo[new], hi[new])
        key = np.repeat(np.arange(len(new)), (hi - lo)[new]) * _FAR + np.minimum(values[:-1].astype(np.int64), _FAR - 1)
        asked = run * _FAR + np.clip(np.nan_to_num(limit), -1, _FAR - 2).astype(np.int64)
        below = np.searchsorted(key, asked, side="right") - first[run]
        count = np.where(hi > lo, hi - lo - below, 0)
        return self._recorded(np.where(np.isnan(limit), np.nan, count), table, last, 0)

    def _ordered(self, measure: str, last: int | None, table: str, lo: Ints, hi: Ints) -> tuple[Ints, Floats]:
        return self.kept(
            ("sorted", table, measure, last), lambda: _sorted(self.events(table).measures[measure], lo, hi)
        )

    def spread(self, measure: str, last: int | None = None, table: str = "purchases") -> Floats:
        """Coefficient of variation (standard deviation over mean) of a measure in a window; NaN below two events."""
        if not self.has(table, measure):
            return self.nan
        values = self.events(table).measures[measure]

        def f(lo: Ints, hi: Ints) -> Floats:
            row, event = each(lo, hi)
            n, v = np.maximum(hi - lo, 1), values[event].astype(np.float64)
            mean = np.bincount(row, v, len(lo)) / n
            square = np.bincount(row, (v - mean[row]) ** 2, len(lo)) / n
            return np.where(hi - lo > 1, ratio(np.sqrt(square), np.abs(mean)), np.nan)

        return self.once(f, [(last, 0)], table)

    # -- words --------------------------------------------------------------------------------------------------------

    def distinct(self, word: str, last: int | None = None, before: int = 0, table: str = "purchases") -> Floats:
        """Distinct words in a window; absent words are not counted."""
        if not self.has(table, word):
            return self.nan
        previous = self.events(table).previous(word)
        if last is None:
            return self.total(self.derive(f"first {word}", lambda _: previous < 0, table), None, before, table)

        def f(lo: Ints, hi: Ints) -> Ints:
            row, event = each(lo, hi)
            return np.bincount(row[previous[event] < lo[row]], minlength=len(lo))

        return self.once(f, [(last, before)], table)

    def mix(
        self,
        f: Callable[..., ArrayLike],
        word: str,
        spans: Sequence[Span],
        measure: str | None = None,
        table: str = "purchases",
    ) -> Floats:
        """f of one `Mix` per window: how its rows (or a measure of them) divide over the words."""
        if not self.has(table, word) or (measure is not None and not self.has(table, measure)):
            return self.nan
        events = self.events(table)
        weight = None if measure is None else events.measures[measure]

        def g(*edges: Ints) -> ArrayLike:
            pairs = zip(spans, zip(edges[::2], edges[1::2], strict=True), strict=True)
            mixes = [
                self.kept(
                    ("mix", table, word, measure, span, tuple(spans)),
                    lambda lo=lo, hi=hi: Mix.of(lo, hi, events.words[word].code, weight),  # type: ignore[misc]
                )
                for span, (lo, hi) in pairs
            ]
            return f(*mixes)

        return self.once(g, spans, table)

    def word(self, word: str, back: int = 1, table: str = "purchases") -> NDArray[np.object_]:
        """The word of the back-th latest event; None where there is none."""
        return self._words_at(word, self.upto(0, table) - back, table) if self.has(table, word) else self._no_words

    def first_word(self, word: str, table: str = "purchases") -> NDArray[np.object_]:
        """The word of the first event; None where there is none by the cutoff."""
        if not self.has(table, word):
            return self._no_words
        start = self.start(table)
        return self._words_at(word, np.where(start < self.upto(0, table), start, -1), table)

    def _words_at(self, word: str, position: Ints, table: str) -> NDArray[np.object_]:
        column = self.events(table).words[word]
        there = position >= self.start(table)
        if not len(column.words) or not len(column.code):
            return self._no_words
        code = np.where(there, column.code[np.where(there, position, 0)], -1)
        found = column.words[code].astype(object)
        found[code < 0] = None
        return found

    @property
    def _no_words(self) -> NDArray[np.object_]:
        return np.full(len(self.who), None, object)


def ratio(above: Floats, below: Floats) -> Floats:
    """above / below; NaN where below is 0 or either is absent."""
    return above / np.where(below == 0, np.nan, below)


def _ascending(cutoffs: Sequence[int] | Ints) -> Ints:
    days = np.asarray(cutoffs, np.int64)
    if days.ndim != 1 or not len(days) or (np.diff(days) <= 0).any() or days[0] < 0:
        raise UsageError(
            "cutoffs must be distinct days in ascending order", got=str(days.tolist()), do="sort them and drop doubles"
        )
    return days


def _reduced(op: np.ufunc, values: Ints, lo: Ints, hi: Ints) -> Floats:
    """op over values[lo:hi] for each window, NaN where it is empty."""
    found = np.full(len(lo), np.nan)
    held = np.flatnonzero(hi > lo)
    ends = np.stack((lo[held], hi[held]), axis=1).ravel()
    if len(held):
        found[held] = op.reduceat(np.append(values, 0), ends)[::2]
    return found


_FAR = 1 << 24
"""Days that no gap reaches; windows and values below it share one integer to sort by."""


def _sorted(values: Ints, lo: Ints, hi: Ints) -> tuple[Ints, Floats]:
    """Where each window's values begin, and all of them in ascending order window by window, with a 0 at the end."""
    window, event = each(lo, hi)
    got, n = values[event], hi - lo
    if int(got.min(initial=0)) >= 0 and int(got.max(initial=0)) < _FAR:
        got = np.sort(window * _FAR + got) % _FAR
    else:
        got = got[np.lexsort((got, window))]
    return np.cumsum(n) - n, np.append(got, 0).astype(np.float64)
