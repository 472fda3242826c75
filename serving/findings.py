"""Everything that the report and the card tell of a day, worked out once and in one order of customers.

The same rows run through all of it: everybody known on the day, in the store's order. What could not be worked out is
absent, and `notes` says why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features import snapshot
from features.catalogue import select
from features.config import Config
from features.errors import BundleRefused, MissingInput, UsageError
from features.history import Floats
from features.lifecycle import standing, taxonomy
from features.lifecycle.passes import gather, histories
from features.lifecycle.standing import Standing
from features.lifecycle.taxonomy import Schemes
from features.store import HistoryStore
from features.windows import to_date
from models import contrast, profit, reasons, satisfaction, segments, value
from models.profit import Ledger
from models.satisfaction import Satisfaction
from serving.champion import Champion

Objects: TypeAlias = NDArray[np.object_]
Progress = Callable[[str], None] | None

EXTRA = ("spend_total", "purchase_rate", "reactivations", "ticket_mean", "mix_shift_1h", "spend_change_1h",
         "purchase_days_change_1h", "one_time_buyer", "days_to_second", "return_share", "complaint_rate")  # fmt: skip
JUDGED = 20_000
"""Customers whose cause is worked out, at the most: of those who slow down, the first in the store's order."""

TABLES = ("purchases", "returns", "complaints", "surveys", "events", "campaigns", "costs", "referrals", "customers",
          "attitudes")  # fmt: skip


@dataclass(frozen=True)
class Findings:
    """A day of a shop. `now` everybody's standing on the day; `before` a horizon earlier, on the same value scale
    (None where the log does not reach back); `ledger` has the rows of `now`; `forecasts` by customer (None without
    a champion, and `why_no_forecasts` says so)."""

    config: Config
    store: HistoryStore
    as_of: int
    schemes: Schemes
    now: Standing
    before: Standing | None
    ledger: Ledger
    forecasts: pd.DataFrame | None
    why_no_forecasts: str

    @property
    def language(self) -> str:
        return self.config.shop.language

    @property
    def currency(self) -> str:
        return self.config.shop.currency if self.store.has_amounts else ""

    @property
    def missing_tables(self) -> tuple[str, ...]:
        """Tables the shop does not keep."""
        return tuple(name for name in TABLES if name not in self.store.tables)

    def forecast(self, name: str) -> Floats:
        """A forecast of everybody in `now`; NaN for who has none."""
        if self.forecasts is None or name not in self.forecasts:
            return np.full(len(self.now), np.nan)
        place = pd.Index(self.forecasts["customer_id"]).get_indexer(pd.Index(self.now.customer_id))
        values = self.forecasts[name].to_numpy(np.float64)
        return (
            np.where(place >= 0, values[np.maximum(place, 0)], np.nan) if len(values) else np.full(len(place), np.nan)
        )

    def earlier(self, values: Floats) -> Floats:
        """Values of `before` for the rows of `now`; NaN for those who were not known."""
        found = np.full(len(self.now), np.nan)
        if self.before is not None:
            place = pd.Index(self.before.customer_id).get_indexer(pd.Index(self.now.customer_id))
            found[place >= 0] = values[place[place >= 0]]
        return found

    @cached_property
    def satisfied(self) -> Satisfaction:
        """Everybody's satisfaction: an answer of the last four horizons, else the proxy."""
        return satisfaction.known(self.columns(satisfaction.FEATURES), fresh=4 * self.config.span.horizon)

    @cached_property
    def loyalty(self) -> pd.DataFrame:
        return satisfaction.loyalty(self.columns(satisfaction.FEATURES), self.satisfied.value)

    @cached_property
    def profit(self) -> Floats:
        """Cash profit so far, major units."""
        return self.ledger.profit / self.ledger.scale

    @cached_property
    def clv(self) -> Floats:
        """Profit so far and the modelled CLV together; without forecasts profit so far alone."""
        expected = self.forecast("clv")
        return value.clv_total(self.profit, np.nan_to_num(expected)) if self.forecasts is not None else self.profit

    @cached_property
    def quadrant(self) -> Objects:
        """Value x satisfaction of everybody at risk; None for the rest."""
        told = satisfaction.quadrants(self.now.tier == standing.TIERS.index("high"), self.satisfied.value)
        told[~self.now.at_risk] = None
        return told

    @cached_property
    def rfm(self) -> pd.DataFrame:
        c = self.now
        return segments.rfm(c.column("recency"), _buyers(c, "frequency"), _buyers(c, "spend_total"))

    @cached_property
    def ordering(self) -> Floats:
        """The index that puts customers in order, 0 to 100; NaN for who has not bought."""
        mine = np.where(self.now.bought, self.clv, np.nan)
        return segments.ordering(mine, self.loyalty["loyalty"].to_numpy(), self.satisfied.value)

    @cached_property
    def potential_high(self) -> NDArray[np.bool_]:
        """Who is not of high value yet and is expected to be: by the forecast, else by the pace of the last horizon."""
        spent = self.now.column(self.schemes.value)
        coming = 2 * np.where(
            np.isnan(self.forecast("expected_spend")), self.now.column("spend_1h"), self.forecast("expected_spend")
        )
        edge = self.now.edges[1]
        return value.potential_high(spent, coming, edge) & self.now.at_risk

    @cached_property
    def bought_since(self) -> Floats:
        """1 or 0: a purchase in the last horizon; NaN where the log does not reach back so far."""
        days = self.now.column("purchase_days_1h")
        return np.where(np.isnan(days), np.nan, days > 0)

    @cached_property
    def formulas(self) -> value.Customers:
        """What the value formulas read, for the rows of `now`; the last horizon is their period."""
        n, ledger, c = len(self.now), self.ledger, self.now
        at_risk = (
            np.zeros(n) if self.before is None else np.nan_to_num(self.earlier(self.before.at_risk.astype(np.float64)))
        )
        costs = {line.name: not line.lacks for line in ledger.lines}

        def cost(*names: str) -> Floats:
            known = any(costs[name] for name in names)
            return -profit.combine(names, ledger) / ledger.scale if known else np.full(n, np.nan)

        return value.Customers(
            at_risk=at_risk.astype(np.float64),
            churned=np.where(at_risk > 0, 1 - self.bought_since, np.nan),
            purchases=np.nan_to_num(c.column("purchase_days_1h")),
            paid=np.nan_to_num(c.column("spend_1h")),
            life_purchases=np.nan_to_num(c.column("frequency")),
            life_paid=np.nan_to_num(c.column("spend_total")),
            acquisition=cost("acquisition"),
            retention=cost("retention", "serving", "saving", "concession"),
            profit=self.profit,
            expected=self.forecast("clv"),
        )

    @cached_property
    def causes(self) -> pd.DataFrame:
        """customer_id, cause, evidence and stated (what an exit survey said, None without): of customers at risk who
        decline, and of whoever stated a reason."""
        return _causes(self)

    def customers(self) -> pd.DataFrame:
        """Everybody's standing as a tidy table: a stage in each scheme, tier, satisfaction and where it is from,
        loyalty, quadrant, segment, ordering index, profit, and the forecasts where there are any."""
        c = self.now
        table = pd.DataFrame({"customer_id": c.customer_id})
        for scheme in c.codes:
            table[f"stage_{scheme}"] = c.stages(scheme)
        table["tier"] = np.array(standing.TIERS, object)[c.tier]
        table["satisfaction"], table["satisfaction_source"] = self.satisfied.value, self.satisfied.source
        table["loyalty"], table["quadrant"] = self.loyalty["loyalty"], self.quadrant
        table["rfm"], table["ordering"], table["profit"] = self.rfm["segment"], self.ordering, self.profit
        table["potential_high"] = self.potential_high
        for name in ("churn_probability", "expected_spend", "clv"):
            table[name] = self.forecast(name)
        return table

    def columns(self, names: tuple[str, ...]) -> Mapping[str, Floats]:
        return {name: self.now.column(name) for name in names}


def _buyers(c: Standing, name: str) -> Floats:
    return np.where(c.bought, c.column(name), np.nan)


def find(config: Config, as_of: int | None = None, progress: Progress = None) -> Findings:
    """Work out a day. Raises MissingInput without a store and UsageError for a day before its first purchase."""
    store = HistoryStore(config.var / "history")
    day = store.last_day if as_of is None else as_of
    if not store.first_day <= day:
        raise UsageError(
            "nothing was known by that day", allowed=f"from {to_date(store.first_day)}", got=str(to_date(day))
        )
    schemes, names = (
        taxonomy.beside(config.root),
        tuple(dict.fromkeys((*EXTRA, *satisfaction.FEATURES, *segments.FEATURES))),
    )
    currency = config.shop.currency if store.has_amounts else ""
    money = config.economics
    stands, earns = standing.asks(store, schemes, names), profit.asks(money.margin, money.discount_rate)
    found = gather(histories(store, [day], config.span), lambda h: {**stands(h), **earns(h)})
    if progress:
        progress(f"standing and profit of {len(found['customer_id']):,} customers")
    now = standing.of(store, day, config.span, schemes, found=found, extra=names, currency=currency)
    ledger = profit.of(store, day, found=found, margin=money.margin, discount_rate=money.discount_rate)
    earlier = day - config.span.horizon
    before = None
    if earlier > store.first_day:
        before = standing.look(store, earlier, config.span, schemes, extra=names, currency=currency, edges=now.edges)
    forecasts, why = _forecasts(config, store, day, progress)
    return Findings(config, store, day, schemes, now, before, ledger, forecasts, why)


def _forecasts(config: Config, store: HistoryStore, day: int, progress: Progress) -> tuple[pd.DataFrame | None, str]:
    """Forecasts of everybody at risk by the champion, or why there are none."""
    try:
        champion = Champion.open(config, store)
        if progress:
            progress(f"forecasts of bundle {champion.id}")
        return champion.forecast(store, day), ""
    except (MissingInput, BundleRefused) as error:
        return None, error.what


def _causes(f: Findings) -> pd.DataFrame:
    span, store = f.config.span, f.store
    there = select(store.tables)
    names = set(reasons.evidence_features(feature.name for feature in there))
    chosen = tuple(feature for feature in there if feature.name in names)
    rows = snapshot.build(store, [f.as_of], span, features=chosen, at="seen", labels=False, as_of=f.as_of)
    stated = _stated(f, rows.customer_id)
    place = pd.Index(f.now.customer_id).get_indexer(pd.Index(rows.customer_id))
    declines = (f.now.stages("life")[place] == "decline") if "life" in f.now.codes else np.zeros(len(rows), bool)
    spoke = np.array([one is not None for one in stated], bool)
    asked = np.flatnonzero(declines | spoke)[:JUDGED]
    mine = rows.take(asked)
    told = reasons.causes(chosen, mine, span, currency=f.currency)
    return pd.DataFrame(
        {
            "customer_id": mine.customer_id,
            "cause": np.array([why.cause for why in told], object),
            "evidence": np.array([why.text[f.language] for why in told], object),
            "stated": contrast.read_stated(stated[asked]),
        }
    )


def _stated(f: Findings, customer_id: Objects) -> Objects:
    """The latest stated reason of each customer; None without."""
    absent: Objects = np.full(len(customer_id), None, np.object_)
    if "surveys" not in f.store.tables:
        return absent
    found = gather(
        histories(f.store, [f.as_of], f.config.span, tables=("surveys",)),
        lambda h: {"reason": h.word("reason", table="surveys")},
    )
    if "reason" not in found:
        return absent
    place = pd.Index(found["customer_id"]).get_indexer(pd.Index(customer_id))
    known = place >= 0
    absent[known] = found["reason"][place[known]]
    return absent
