"""The lifecycle-profit ledger: what each customer has brought, line by line, to the cent.

The lines are those of the life-cycle view of customer value: base profit and cross-sale profit, the saving of
serving somebody who knows the shop, the income from recommendations, less what it took to acquire, activate, retain
and serve, and less price concessions. Every line names the tables it was read from; a line whose table the shop
does not keep is *missing*, not zero, and the sum says so. Everything is in whole minor units, so the lines add up
exactly: what the ledger calls paid is what the purchases table holds, and the difference is printed.

Conventions, each a choice that a page should know:

- Amounts are what was paid. Profit is shown at list price (paid + discount) with the discount as a concession below it,
  so that a discount is seen and still counts once.
- Where the cost of goods is recorded it is taken; where it is not, (1 - margin) of what was paid net of returns.
The cost
  of goods sent back is not given back.
- Cross-sale is what was paid in categories that the customer did not buy on the first purchase day, at the
customer's own
  mean margin.
- Saving: serving is charged at the rate of beginners (service cost per purchase day in the first active window of all
  customers), and what a customer cost less than that is the saving. The two add up to what was really spent.
- Costs without a customer are shared equally over the customers of their channel and cohort (year-month of the first
  purchase), the odd cents going to the first in the store's order; what fits nobody stays unallocated and is printed.
- Referral income is imputed (referrals x what acquiring a customer costs) and stands outside the cash sum. So does the
  scenario of negative word of mouth, whose parameters are the reader's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.block import EventTable, Ints
from features.history import Floats, History
from features.lifecycle.passes import Columns, gather, histories
from features.store import HistoryStore
from features.windows import Windows

Objects: TypeAlias = NDArray[np.object_]
Progress = Callable[[str], None] | None

NEVER = -1
"""The first purchase day of somebody who has not bought."""

KINDS = ("acquisition", "activation", "retention", "service", "concession", "other")
YEAR = 365.25


@dataclass(frozen=True)
class Line:
    """A line of the ledger: what it is called, the tables it comes from, and what else is to be known of it. `lacks`:
    the tables that would be needed and are not there; such a line has no amount."""

    name: str
    label: Mapping[str, str]
    tables: tuple[str, ...]
    note: Mapping[str, str] = field(default_factory=dict)
    lacks: tuple[str, ...] = ()
    cash: bool = True


def _line(name: str, en: str, zh: str, *tables: str, cash: bool = True) -> Line:
    return Line(name, {"en": en, "zh-CN": zh}, tables, cash=cash)


LINES = (
    _line("base", "base profit", "基本利润", "purchases"),
    _line("cross", "cross-sale profit", "关联销售利润", "lines"),
    _line("serving", "cost to serve at a beginner's rate", "服务成本（按新客户水平）", "costs"),
    _line("saving", "saving of an experienced customer", "成本节约", "costs"),
    _line("concession", "price concessions", "价格优惠", "purchases.discount"),
    _line("acquisition", "acquisition cost", "获取成本", "costs"),
    _line("activation", "activation cost", "激活成本", "costs"),
    _line("retention", "retention cost", "保留成本", "costs", "campaigns"),
    _line("other", "other cost", "其他成本", "costs"),
    _line("referral", "referral income (imputed)", "推荐收益（估算）", "referrals", "costs", cash=False),
)
"""In the order in which they are printed. Amounts are signed: the cash lines add up to the profit."""


@dataclass(frozen=True)
class Scenario:
    """Negative word of mouth, a what-if: a dissatisfied customer tells `reach` people, of whom a share `deterred` would
    have become customers worth the mean."""

    reach: float = 9.0
    deterred: float = 0.02


@dataclass(frozen=True)
class Ledger:
    """The ledger of everybody known on a day; n customers in the store's order. Who has cost or returned something and
    never bought on record has a ledger too, with `first_day` NEVER.

    `amounts` int64 (n) minor units by line, signed; lines that lack a table are not in it. `parts` int64 (n): paid,
    returned, discount, goods. `npv` float64 (n), major units: cash discounted to the first purchase day. `cac` is
    the mean acquisition cost of those it is known for (major units; NaN without costs). `unallocated` minor units
    by kind: shared costs that fit nobody. `assumed`: how the cost of goods came about."""

    as_of: int
    exponent: int
    currency: str
    customer_id: Objects
    first_day: Ints
    lines: tuple[Line, ...]
    amounts: Mapping[str, Ints]
    parts: Mapping[str, Ints]
    npv: Floats
    cac: float
    unallocated: Mapping[str, int]
    assumed: str

    def __len__(self) -> int:
        return len(self.customer_id)

    @property
    def scale(self) -> int:
        """Minor units in a major one."""
        return int(10**self.exponent)

    @property
    def profit(self) -> Ints:
        """The cash lines added up, minor units (n)."""
        cash = [self.amounts[line.name] for line in self.lines if line.cash and line.name in self.amounts]
        total: Ints = np.sum(cash, axis=0, dtype=np.int64)
        return total

    @property
    def lacking(self) -> tuple[str, ...]:
        """Lines the profit is without, because a table is missing."""
        return tuple(line.name for line in self.lines if line.lacks)

    def totals(self, language: str = "en") -> pd.DataFrame:
        """One row a line: line, label, amount (major units; NaN where its table is missing), tables, lacks, note."""
        rows = []
        for line in self.lines:
            known = line.name in self.amounts
            amount = float(self.amounts[line.name].sum()) / self.scale if known else np.nan
            rows.append((line.name, line.label[language], amount, ", ".join(line.tables), ", ".join(line.lacks),
                         line.note.get(language, "")))  # fmt: skip
        return pd.DataFrame(rows, columns=["line", "label", "amount", "tables", "lacks", "note"])

    def of(self, row: int, language: str = "en") -> pd.DataFrame:
        """One customer's ledger: the columns of `totals`, in his amounts."""
        table = self.totals(language)
        table["amount"] = [
            float(self.amounts[name][row]) / self.scale if name in self.amounts else np.nan for name in table["line"]
        ]
        return table

    def frame(self) -> pd.DataFrame:
        """Everything by customer in major units, tidy for a file; missing lines are columns of NaN."""
        first = np.where(self.first_day == NEVER, np.datetime64("NaT"), self.first_day.astype("datetime64[D]"))
        columns: dict[str, object] = {"customer_id": self.customer_id, "first_day": first.astype("datetime64[s]")}
        columns |= {name: values / self.scale for name, values in self.parts.items()}
        for line in self.lines:
            values = self.amounts.get(line.name)
            columns[line.name] = np.full(len(self), np.nan) if values is None else values / self.scale
        return pd.DataFrame({**columns, "profit": self.profit / self.scale, "npv": self.npv})

    def word_of_mouth(self, dissatisfied: Floats, worth: float, scenario: Scenario) -> Floats:
        """The scenario line, major units (n): -P(dissatisfied) x reach x deterred x worth of a customer. NaN where
        nothing is known of a customer's satisfaction."""
        cost: Floats = -np.asarray(dissatisfied, float) * scenario.reach * scenario.deterred * worth
        return cost

    def reconcile(self, store: HistoryStore) -> pd.DataFrame:
        """What the ledger holds against what the store holds, in major units: source, ledger, store, difference.

        The difference is 0.00 in every row when the ledger is of the store's last day."""
        here = {("purchases", "amount"): self.parts["paid"], ("returns", "amount"): self.parts["returned"]}
        rows = []
        for (table, measure), values in here.items():
            if table in store.tables:
                rows.append((f"{table}.{measure}", int(values.sum()), store.total(table, measure)))
        if "costs" in store.tables:
            shared = int(np.sum(store.shared_costs()["amount"].to_numpy()))
            rows.append(("costs.amount", self._spent(), store.total("costs", "amount") + shared))
        told = pd.DataFrame(rows, columns=["source", "ledger", "store"])
        told["difference"] = told["ledger"] - told["store"]
        for name in ("ledger", "store", "difference"):
            told[name] = told[name] / self.scale
        return told

    def _spent(self) -> int:
        """Everything of the costs table that the ledger holds, allocated or not."""
        names = ("serving", "saving", "acquisition", "activation", "retention", "other")
        held = -sum(int(self.amounts[name].sum()) for name in names if name in self.amounts)
        held -= int(self.parts["contacts"].sum())
        return held + int(self.parts["rebates"].sum()) + sum(self.unallocated.values())


def run(
    store: HistoryStore,
    as_of: int,
    windows: Windows,
    *,
    margin: float,
    discount_rate: float,
    progress: Progress = None,
) -> Ledger:
    """The ledger of everybody known by a day: one pass over the store.

    `margin` stands in where no cost of goods is recorded; `discount_rate` is a year's, for `npv`.
    """
    found = gather(histories(store, [as_of], windows), asks(margin, discount_rate))
    if progress:
        progress(f"profit ledger of {len(found['customer_id']):,} customers")
    return of(store, as_of, found=found, margin=margin, discount_rate=discount_rate)


def asks(margin: float, discount_rate: float) -> Callable[[History], Columns]:
    """What a walk over the store has to answer for a ledger: for those who ask for more in the same walk."""
    return lambda h: {f"ledger {name}": values for name, values in _read(h, margin=margin, rate=discount_rate).items()}


def of(store: HistoryStore, as_of: int, *, found: Columns, margin: float, discount_rate: float) -> Ledger:
    """The ledger from what a walk of the day answered to `asks`."""
    mine = {name.removeprefix("ledger "): values for name, values in found.items()}
    return _Maker(store, as_of, mine, margin, discount_rate).ledger()


# -- one part ----------------------------------------------------------------------------------------------------------


def _read(h: History, *, margin: float, rate: float) -> dict[str, NDArray[Any]]:
    """Whole sums of each customer's rows by the cutoff."""
    paid, returned = _whole(h.total("amount")), _whole(h.total("amount", table="returns"))
    first = np.nan_to_num(h.first("day"), nan=NEVER).astype(np.int64)
    goods, recorded = _goods(h, paid, returned, margin)
    columns = {
        "paid": paid, "returned": returned, "first": first, "goods": goods, "recorded": recorded,
        "discount": _whole(h.total("discount")), "cross": _cross(h), "days": _whole(h.count()),
        "contacts": _whole(h.total("cost", table="campaigns")), "referrals": _whole(h.count(table="referrals")),
        "start service": _early(h, first), "start days": _early_days(h, first), "npv": _npv(h, first, margin, rate),
        "channel": h.word("channel", table="customers"),
    }  # fmt: skip
    return columns | {f"cost {kind}": _whole(h.total(_of_kind(h, kind), table="costs")) for kind in KINDS}


def _whole(values: Floats) -> Ints:
    """Sums as whole numbers; 0 where there is no table, which the lines say."""
    return np.nan_to_num(values).astype(np.int64)


def _of_kind(h: History, kind: str) -> str:
    """The amount of the costs that are of a kind."""

    def amounts() -> Ints:
        words = h.events("costs").words["kind"]
        is_kind = np.append(np.asarray(words.words == kind, bool), False)[words.code]
        return np.where(is_kind, h.events("costs").measures["amount"], 0)

    return h.derive(f"amount {kind}", lambda _: amounts(), "costs")


def _goods(h: History, paid: Ints, returned: Ints, margin: float) -> tuple[Ints, NDArray[np.bool_]]:
    """Cost of goods, and whether all of it is recorded."""
    if not h.has("purchases", "cost_known"):
        return np.rint((1 - margin) * (paid - returned)).astype(np.int64), np.zeros(len(paid), bool)
    unknown = h.derive("amount without cost", lambda m: m["amount"] * (m["cost_known"] <= 0))
    rest = _whole(h.total(unknown))
    return _whole(h.total("cost")) + np.rint((1 - margin) * rest).astype(np.int64), rest == 0


def _cross(h: History) -> Ints:
    """Paid in categories that were not bought on the first purchase day."""
    if not h.has("lines", "category"):
        return np.zeros(len(h), np.int64)
    lines = h.events("lines")
    code, first_day = lines.words["category"].code, lines.day[np.minimum(lines.starts[lines.who], len(lines) - 1)]
    at_first = lines.day == first_day
    key = lines.who * (int(code.max(initial=0)) + 2) + code + 1
    new = ~np.isin(key, key[at_first]) & (code >= 0)
    return _whole(h.total(h.derive("amount of new categories", lambda m: m["amount"] * new, "lines"), table="lines"))


def _early(h: History, first: Ints) -> Ints:
    """Service cost in the first active window of the relationship."""
    if not h.has("costs"):
        return np.zeros(len(h), np.int64)
    costs, begun = h.events("costs"), _first_of(h, first)
    name = _of_kind(h, "service")
    early = h.derive("early service", lambda m: m[name] * (m["day"] - begun[costs.who] < h.A), "costs")
    return _whole(h.total(early, table="costs"))


def _early_days(h: History, first: Ints) -> Ints:
    purchases, begun = h.events(), _first_of(h, first)
    return _whole(h.total(h.derive("early days", lambda m: m["day"] - begun[purchases.who] < h.A)))


def _first_of(h: History, first: Ints) -> Ints:
    """First purchase day by customer of the block, NEVER for those without."""
    begun = np.full(len(h.block.customers), NEVER, np.int64)
    begun[h.who] = first
    return begun


def _npv(h: History, first: Ints, margin: float, rate: float) -> Floats:
    """Cash discounted to each customer's first purchase day, minor units: paid less goods, returns, own costs and
    contacts. A cost before the first purchase weighs more than its amount; without a purchase nothing is discounted."""
    begun, worth = _first_of(h, first), np.zeros(len(h.block.customers))

    def add(table: EventTable, value: NDArray[Any]) -> None:
        start = begun[table.who]
        factor = (1 + rate) ** (-np.where(start == NEVER, 0, table.day - start) / YEAR)
        worth[:] += np.bincount(table.who, value * factor, len(worth))

    tables = h.block.tables
    bought = tables["purchases"]
    amount = bought.measures["amount"].astype(np.float64)
    recorded = "cost_known" in bought.measures
    kept = amount * margin
    if recorded:
        kept = np.where(bought.measures["cost_known"] > 0, amount - bought.measures["cost"], kept)
    add(bought, kept)
    for name, measure, share in (
        ("returns", "amount", 1.0 if recorded else margin), ("costs", "amount", 1.0), ("campaigns", "cost", 1.0)
    ):  # fmt: skip
        if name in tables and measure in tables[name].measures:
            add(tables[name], -share * tables[name].measures[measure])
    return worth[h.who]


# -- putting it together -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Maker:
    """The gathered sums and what the shop keeps."""

    store: HistoryStore
    as_of: int
    found: Mapping[str, NDArray[Any]]
    margin: float
    rate: float

    def ledger(self) -> Ledger:
        shared, unallocated = self._shared()
        parts = self._parts()
        amounts = self._amounts(parts, shared)
        cac = self._cac(amounts)
        if "referrals" in self.store.tables and not np.isnan(cac):
            amounts["referral"] = np.rint(self._ints("referrals") * cac * 10**self.store.exponent).astype(np.int64)
        lines = tuple(self._told(line) for line in LINES)
        late = sum(shared.values(), np.zeros(len(parts["paid"])))
        return Ledger(
            self.as_of, self.store.exponent, self.store.currency, self.found["customer_id"], self._ints("first"), lines,
            {line.name: amounts[line.name] for line in lines if not line.lacks}, parts,
            (self._floats("npv") - late * self._half_life()) / 10**self.store.exponent, cac, unallocated,
            self._assumed(),
        )  # fmt: skip

    def _ints(self, name: str) -> Ints:
        values = self.found.get(name)
        return np.empty(0, np.int64) if values is None else values.astype(np.int64)

    def _floats(self, name: str) -> Floats:
        values = self.found.get(name)
        return np.empty(0) if values is None else values.astype(np.float64)

    def _half_life(self) -> Floats:
        """The discount factor of shared costs: they fall due half-way through the relationship so far."""
        first = self._ints("first")
        factor: Floats = (1 + self.rate) ** (-np.where(first == NEVER, 0, self.as_of - first) / 2 / YEAR)
        return factor

    def _parts(self) -> dict[str, Ints]:
        names = ("paid", "returned", "discount", "goods", "contacts")
        return {name: self._ints(name) for name in names} | {"rebates": self._ints("cost concession")}

    def _amounts(self, parts: Mapping[str, Ints], shared: Mapping[str, Ints]) -> dict[str, Ints]:
        gross = parts["paid"] + parts["discount"] - parts["returned"] - parts["goods"]
        cross_paid = self._ints("cross")
        share = cross_paid / np.where(parts["paid"] == 0, 1, parts["paid"])
        cross = np.rint(gross * share).astype(np.int64)
        spent = {kind: self._ints(f"cost {kind}") + shared[kind] for kind in KINDS}
        serving = np.rint(self._rate() * self._ints("days")).astype(np.int64)
        return {
            "base": gross - cross, "cross": cross, "serving": -serving, "saving": serving - spent["service"],
            "concession": -(parts["discount"] + spent["concession"]), "acquisition": -spent["acquisition"],
            "activation": -spent["activation"], "retention": -(spent["retention"] + parts["contacts"]),
            "other": -spent["other"],
        }  # fmt: skip

    def _rate(self) -> float:
        """Service cost per purchase day of beginners, minor units."""
        days = int(self._ints("start days").sum())
        return int(self._ints("start service").sum()) / days if days else 0.0

    def _cac(self, amounts: Mapping[str, Ints]) -> float:
        """Mean acquisition cost of those it is known for, major units."""
        paid = amounts["acquisition"] < 0
        if "costs" not in self.store.tables or not paid.any():
            return float("nan")
        return float(-amounts["acquisition"][paid].mean() / 10**self.store.exponent)

    def _shared(self) -> tuple[dict[str, Ints], dict[str, int]]:
        """Shared costs by kind and customer, and what fits nobody."""
        customers = len(self.found["customer_id"])
        given = {kind: np.zeros(customers, np.int64) for kind in KINDS}
        left: dict[str, int] = {}
        if "costs" not in self.store.tables:
            return given, left
        rows = self.store.shared_costs(self.as_of).to_pandas()
        rows = rows.groupby(["kind", "channel", "cohort"], dropna=False, sort=True)["amount"].sum()
        for (kind, channel, cohort), amount in rows.items():
            members = np.flatnonzero(self._members(channel, cohort))
            if len(members):
                given[kind][members] += spread(int(amount), len(members))
            else:
                left[kind] = left.get(kind, 0) + int(amount)
        return given, left

    def _members(self, channel: object, cohort: object) -> NDArray[np.bool_]:
        """Buyers of a channel and a cohort; NaN means all of them."""
        members: NDArray[np.bool_] = self._ints("first") != NEVER
        if isinstance(channel, str):
            members &= np.asarray(self.found["channel"] == channel, bool)
        if isinstance(cohort, str):
            members &= cohorts(self._ints("first")) == cohort
        return members

    def _told(self, line: Line) -> Line:
        """A line with what it lacks and what is to be known of it."""
        store, has = self.store, self.store.tables
        lacks = [table for table in line.tables if table.partition(".")[0] not in has]
        if line.name == "concession":
            kept = any(self._ints(name).any() for name in ("discount", "cost concession"))
            lacks = [] if kept or _has_column(store, "discount") or "costs" in has else ["purchases.discount"]
        if line.name == "cross":
            lacks = [] if _has_category(store) else ["purchases.category"]
        if line.name == "retention":
            lacks = [] if "costs" in has or "campaigns" in has else ["costs", "campaigns"]
        note = {}
        if line.name == "base" and not self._ints("recorded").all():
            note = {"en": f"cost of goods taken as {1 - self.margin:.0%} of what was paid, where it is not recorded",
                    "zh-CN": f"未记录商品成本处按实付金额的{1 - self.margin:.0%}计"}  # fmt: skip
        return Line(line.name, line.label, line.tables, note, tuple(lacks), line.cash)

    def _assumed(self) -> str:
        recorded = self._ints("recorded").astype(bool)
        if len(recorded) and recorded.all():
            return "recorded"
        return "assumed" if not recorded.any() else "partly recorded"


def _has_column(store: HistoryStore, name: str) -> bool:
    return f"{name}_known" in store.manifest.tables["purchases"].numbers


def _has_category(store: HistoryStore) -> bool:
    return "lines" in store.tables and "category" in store.manifest.tables["lines"].words


def spread(amount: int, members: int) -> Ints:
    """A whole amount over so many members as evenly as whole numbers allow; the first get the odd units.

    spread(10, 4) is 3, 3, 2, 2; it adds up to the amount, whatever its sign.
    """
    each, odd = divmod(amount, members)
    return np.full(members, each, np.int64) + (np.arange(members) < odd)


def cohorts(first_day: Ints) -> Objects:
    """Year-month of each first purchase day, such as "2024-03"; None without one."""
    months = first_day.astype("datetime64[D]").astype("datetime64[M]").astype(str).astype(object)
    months[first_day == NEVER] = None
    return np.asarray(months, np.object_)


def combine(names: Sequence[str], ledger: Ledger) -> Ints:
    """Some lines added up, minor units (n); lines that are missing count nothing."""
    held = [ledger.amounts[name] for name in names if name in ledger.amounts]
    return np.sum(held, axis=0, dtype=np.int64) if held else np.zeros(len(ledger), np.int64)
