"""A simulated shop that can be played week by week, forked, and played again on the same dice with other actions.

The world knows everything (states, causes, traits) and hands out only what a shop would have seen: `log.py` turns the
happenings of the weeks into tables. `expected` tells what each customer would do under each action, exactly.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from features.errors import UsageError
from features.windows import to_day
from training.shop import chain
from training.shop.chain import ACTIONS, ACTIVE, AGGRIEVED, DORMANT, DORMANT_AGGRIEVED, GONE, UNBORN, Contact
from training.shop.customers import Bools, customers, identifiers
from training.shop.dice import Floats, Ints, Stream, draw
from training.shop.market import market
from training.shop.parameters import Parameters

STAGES = ("exploration", "growth", "stable", "decline", "lapsed")
CAUSES = ("product", "service", "price", "competition", "market", "life cycle", "contact")
NO_CAUSE, LIFE_CYCLE = -1, 5
NEVER = -(10**6)
"""A day before all days."""

_CAUSE_OF_PART = np.array([5, 2, 3, 4, 6, -2])
"""The cause that each part of the hazard stands for; the last is the grievance's own."""

_DAY = np.cumsum([0.12, 0.12, 0.12, 0.13, 0.16, 0.2])
"""Chance of a trip by weekday, Monday first, cumulated."""


@dataclass
class Happenings:
    """What happened, as rows of whole numbers: column name -> pieces, one piece a week. `pos` is the customer's
    place."""

    trips: dict[str, list[Ints]] = field(default_factory=dict)
    complaints: dict[str, list[Ints]] = field(default_factory=dict)
    contacts: dict[str, list[Ints]] = field(default_factory=dict)
    redeemed: dict[str, list[Ints]] = field(default_factory=dict)
    visits: dict[str, list[Ints]] = field(default_factory=dict)
    partings: dict[str, list[Ints]] = field(default_factory=dict)
    spells: dict[str, list[Ints]] = field(default_factory=dict)

    def add(self, what: str, **columns: NDArray[np.generic]) -> None:
        rows: dict[str, list[Ints]] = getattr(self, what)
        for name, values in columns.items():
            rows.setdefault(name, []).append(values.astype(np.int64))

    def all(self, what: str) -> dict[str, Ints]:
        """The pieces of one kind put together."""
        rows: dict[str, list[Ints]] = getattr(self, what)
        return {name: np.concatenate(pieces) for name, pieces in rows.items()}


class World:
    """Customers number `first` to `last` - 1 of a shop of `total` customers, at the start of `week`.

    Two worlds of the same seed and parameters that cover the same customer agree about this customer, whoever else they
    cover. `step` plays a week; `fork` makes a second world that will see the same dice.
    """

    def __init__(
        self,
        total: int,
        seed: int,
        parameters: Parameters | None = None,
        *,
        weeks: int = 104,
        start: str = "2024-01-01",
        first: int = 0,
        last: int | None = None,
    ) -> None:
        self.p, self.seed, self.weeks = parameters or Parameters(), seed, weeks
        self.start = to_day(start)
        self.market = market(self.p, seed, weeks, self.start)
        self.who = customers(
            self.p,
            self.market,
            seed,
            weeks=weeks,
            total=total,
            first=first,
            last=total if last is None else min(last, total),
        )
        self.ids = identifiers(self.who.number)
        self.arrow_ids = pa.array(self.ids, pa.string())
        self.total = total
        self.waiting: dict[str, pa.Table] = {}
        self.costed = -self.p.opening_weeks
        self.week = -self.p.opening_weeks
        self.happened = Happenings()
        n = len(self.who)
        self.state = np.full(n, UNBORN, dtype=np.int64)
        self.cause = np.full(n, NO_CAUSE, dtype=np.int64)
        self.grief = np.full(n, NO_CAUSE, dtype=np.int64)
        self.last_trip = np.full(n, NEVER, dtype=np.int64)
        self.contact = Contact.none(n)
        self.open_day = np.full(n, NEVER, dtype=np.int64)
        self.open_kind = np.zeros(n, dtype=np.int64)
        self.reopened = np.zeros(n, dtype=bool)
        self.called = np.zeros(n, dtype=bool)
        self.spell = np.full(n, -1, dtype=np.int64)

    def fork(self) -> World:
        """The same world once more, independent from here on. What happened and was not told stays with the first."""
        other = copy.copy(self)
        for name, value in vars(self).items():
            if isinstance(value, np.ndarray):
                setattr(other, name, value.copy())
        other.contact = self.contact.take(np.arange(len(self.who)))
        other.clear()
        other.waiting = dict(self.waiting)
        return other

    def clear(self) -> None:
        """What happened so far has been told."""
        self.happened, self.costed = Happenings(), self.week

    # One week

    def step(self, actions: Mapping[str, str] | None = None, *, own_contacts: bool = False) -> None:
        """Play one week. `actions` names by customer id what is done at its start (one of ACTIONS); `own_contacts` lets
        the shop also send its own mailings and make its own service calls.

        Raises UsageError for a customer or an action that does not exist.
        """
        if own_contacts:
            self._own_contacts()
        if actions:
            pos, what = self._named(actions)
            self._touch(pos, what, campaign=-1, control=np.zeros(len(pos), dtype=bool))
        self._live()
        self._arrive()
        self._tell_spells()
        self.contact = self.contact.next_week()
        self.week += 1

    def play(self, until: int, *, own_contacts: bool = True) -> None:
        """Play weeks as the shop itself would, up to the start of week `until`."""
        while self.week < until:
            self.step(own_contacts=own_contacts)

    @property
    def today(self) -> int:
        """The last day that was played: the cutoff of whoever decides now."""
        return self.start + 7 * self.week - 1

    @cached_property
    def place(self) -> Mapping[str, int]:
        """Each customer's place in the arrays, by id."""
        return {one: at for at, one in enumerate(self.ids)}

    def _named(self, actions: Mapping[str, str]) -> tuple[Ints, Ints]:
        for one, name in actions.items():
            if one not in self.place:
                raise UsageError("the simulated shop has no such customer", got=repr(one))
            if name not in ACTIONS:
                raise UsageError("the simulated shop knows no such action", got=repr(name), allowed=", ".join(ACTIONS))
        pos = np.array([self.place[one] for one in actions], dtype=np.int64)
        what = np.array([ACTIONS.index(one) for one in actions.values()], dtype=np.int64)
        return pos[what > 0], what[what > 0]

    def _roll(self, stream: Stream, pos: Ints) -> Floats:
        return draw(self.seed, self.week, stream, self.who.number[pos])

    def _live(self) -> None:
        pos = np.flatnonzero((self.state >= ACTIVE) & (self.state < GONE))
        c, contact = self.who.take(pos), self.contact.take(pos)
        o = chain.odds(self.p, self.market, c, self.week, contact)
        dice = self._roll(Stream.FATE, pos)
        self._transit(pos, o, dice[0])
        state = self.state[pos]
        alive = state < GONE
        days = o.days[np.minimum(state, DORMANT_AGGRIEVED), np.arange(len(pos))]
        none = np.exp(-days)
        one, two = none * (1 + days), none * (1 + days + days**2 / 2)
        count = np.where(alive, (dice[1] > none).astype(np.int64) + (dice[1] > one) + (dice[1] > two), 0)
        bad = (count > 0) & (dice[2] < o.trouble)
        self._visit(pos[alive], state[alive], dice[3][alive])
        buys = count > 0
        self._trip(pos[buys], count[buys], bad[buys])

    def _transit(self, pos: Ints, o: chain.Odds, u: Floats) -> None:
        """Leave, heal, come back or go for ever: one die partitions the interval."""
        state, row = self.state[pos], np.arange(len(pos))
        awake, angry = state <= AGGRIEVED, (state == AGGRIEVED) | (state == DORMANT_AGGRIEVED)
        first = np.where(awake, o.leave[angry.astype(int), row], o.gone[angry.astype(int), row])
        back = np.where(awake, 0.0, (1 - first) * o.back[angry.astype(int), row])
        heal = np.where(angry, (1 - first - back) * o.heal, 0.0)
        out, home = u < first, (u >= first) & (u < first + back)
        healed = (u >= first + back) & (u < first + back + heal)
        new = np.where(awake & out, state + 2, state)
        new = np.where(~awake & out, GONE, new)
        new = np.where(~awake & home, state - 2, new)
        new = np.where(healed, state - 1, new)
        self._blame(pos, o, awake & out, u / np.maximum(first, 1e-300))
        self.cause[pos[~awake & home]] = NO_CAUSE
        self.state[pos] = new
        self._close(pos[healed])
        ended = ~awake & out
        self.happened.add(
            "partings", pos=pos[ended], week=np.full(ended.sum(), self.week), cause=self.cause[pos[ended]]
        )

    def _blame(self, pos: Ints, o: chain.Odds, out: Bools, u: Floats) -> None:
        """Why a customer went dormant: the part of the hazard that the die fell into."""
        who = np.flatnonzero(out)
        angry = self.state[pos[who]] == AGGRIEVED
        part = o.hazard[:, who].copy()
        part[5] *= angry
        edge = np.cumsum(part, axis=0) / np.maximum(part.sum(axis=0), 1e-300)
        which = np.minimum((u[who] >= edge).sum(axis=0), len(edge) - 1)
        cause = _CAUSE_OF_PART[which]
        self.cause[pos[who]] = np.where(cause == -2, self.grief[pos[who]], cause)

    def _arrive(self) -> None:
        pos = np.flatnonzero(self.who.joined == self.week)
        self.state[pos] = ACTIVE
        self._trip(pos, np.ones(len(pos), dtype=np.int64), np.zeros(len(pos), dtype=bool))
        once = pos[self.who.one_timer[pos]]
        self.state[once] = GONE
        self.cause[once] = LIFE_CYCLE

    # Trips, grievances, visits

    def _trip(self, pos: Ints, count: Ints, bad: Bools) -> None:
        dice = self._roll(Stream.TRIP, pos)
        weekday = np.searchsorted(_DAY, dice[0])
        kind = np.where(dice[1] < chain.PRODUCT_TROUBLE, 0, np.where(dice[1] < 0.7, 1, 2))
        monday = self.start + 7 * self.week
        for nth in range(3):
            on = count > nth
            who = pos[on]
            day = monday + (weekday[on] + 2 * nth) % 7
            coupon = self.contact.coupon[who] * (nth == 0)
            self.happened.add(
                "trips", pos=who, week=np.full(len(who), self.week), nth=np.full(len(who), nth), day=day,
                coupon=coupon, bad=np.where(bad[on] & (nth == 0), kind[on], -1), angry=self.state[who] & 1,
                grief=self.grief[who],
            )  # fmt: skip
            self.last_trip[who] = np.maximum(self.last_trip[who], day)
            self.happened.add("redeemed", pos=who[coupon > 0], day=day[coupon > 0])
        self.contact.coupon[pos] = 0.0
        self._grieve(pos, bad, kind, monday + weekday)

    def _grieve(self, pos: Ints, bad: Bools, kind: Ints, day: Ints) -> None:
        dice = self._roll(Stream.TROUBLE, pos)
        calm = self.state[pos] % 2 == 0
        self.grief[pos[bad & calm]] = np.minimum(kind[bad & calm], 1)
        opened = self.open_day[pos] > NEVER
        self.reopened[pos[bad & opened]] = True
        says = bad & ~opened & (dice[0] < self.p.complains)
        who = pos[says]
        self.open_day[who] = day[says] + (4 * dice[1][says]).astype(np.int64)
        self.open_kind[who] = np.array([0, 1, 3])[kind[says]]
        self.reopened[who] = self.called[who] = False
        self.state[pos[bad & calm]] += 1
        dear = self.p.price_grumbles * self.market.rise[self.market.at(self.week)] * self.who.price_sensitive[pos]
        grumbles = ~bad & ~opened & (dice[2] < self.p.grumbles + dear)
        of_price = dice[2] > self.p.grumbles * 0.5
        waited = 1 + (6 * dice[3][grumbles]).astype(np.int64)
        opens = day[grumbles] + (2 * dice[1][grumbles]).astype(np.int64)
        self.happened.add(
            "complaints", pos=pos[grumbles], day=opens, kind=np.where(of_price[grumbles], 2, 4),
            answered=opens + waited // 2, resolved=opens + waited, reopened=np.zeros(grumbles.sum()),
            satisfied=np.where(dice[1][grumbles] < 0.7, 1, 0),
        )  # fmt: skip

    def _close(self, pos: Ints) -> None:
        """A grievance ended: by the shop's answer to a complaint, or by forgetting."""
        self.grief[pos] = NO_CAUSE
        pos = pos[self.open_day[pos] > NEVER]
        dice = self._roll(Stream.CLOSURE, pos)
        opened = self.open_day[pos]
        resolved = np.maximum(self.start + 7 * self.week + (7 * dice[0]).astype(np.int64), opened)
        waited = resolved - opened
        forgot = dice[1] < 0.1
        self.happened.add(
            "complaints", pos=pos, day=opened, kind=self.open_kind[pos],
            answered=opened + (waited * np.sqrt(dice[2])).astype(np.int64), resolved=np.where(forgot, NEVER, resolved),
            reopened=self.reopened[pos], satisfied=np.where(dice[3] < 0.85 - 0.01 * waited, 1, 0),
        )  # fmt: skip
        self.open_day[pos] = NEVER

    def _visit(self, pos: Ints, state: Ints, u: Floats) -> None:
        """Visits to the web shop: they thin out when a customer goes dormant, before purchases are missed; who went to
        a rival or found the prices too high still comes to compare."""
        looks = self.who.online[pos]
        pos, state, u = pos[looks], state[looks], u[looks]
        compares = (state >= DORMANT) & np.isin(self.cause[pos], (CAUSES.index("competition"), CAUSES.index("price")))
        keen = np.where(compares, 0.6, np.array([1.0, 0.8, 0.2, 0.15])[state])
        mean = (0.04 + 1.2 * self.who.rate[pos]) * keen
        count = (u > np.exp(-mean)).astype(np.int64) + (u > np.exp(-mean) * (1 + mean))
        seen = count > 0
        self.happened.add("visits", pos=pos[seen], week=np.full(seen.sum(), self.week), count=count[seen])

    # Contacts

    def _own_contacts(self) -> None:
        if self.p.campaign_every and self.week % self.p.campaign_every == 3 % self.p.campaign_every:
            self._mailing()
        waiting = (self.open_day > NEVER) & ~self.called & (self.open_day < self.start + 7 * (self.week - 2))
        pos = np.flatnonzero(waiting & (self.state < GONE)) if self.p.campaign_every else np.zeros(0, dtype=np.int64)
        pos = pos[self._roll(Stream.CALL, pos)[0] < 0.35]
        self.called[pos] = True
        control = self._roll(Stream.CALL, pos)[1] < self.p.campaign_control
        self._touch(pos, np.full(len(pos), chain.SERVICE), campaign=2 * self.week, control=control)

    def _mailing(self) -> None:
        """A coupon or a reminder to those who bought within the year, by lot (or to the recently active, if
        targeted)."""
        silent = self.start + 7 * self.week - self.last_trip
        pos = np.flatnonzero(self.who.mailable & (silent < 365) & (self.who.joined < self.week))
        dice = self._roll(Stream.CONTACT, pos)
        reach = np.where(silent[pos] < 56, 0.95, 0.05) if self.p.campaign_targeted else self.p.campaign_reach
        chosen = dice[0] < reach
        control = dice[1] < (0.0 if self.p.campaign_targeted else self.p.campaign_control)
        what = np.where(dice[2] < 0.5, chain.DISCOUNT, chain.REMINDER)
        self._touch(pos[chosen], what[chosen], campaign=2 * self.week + 1, control=control[chosen])

    def _touch(self, pos: Ints, what: Ints, *, campaign: int, control: Bools) -> None:
        dice = self._roll(Stream.REACTION, pos)
        monday = self.start + 7 * self.week
        heeds = self.who.open_rate[pos] * np.array([1.0, 0.8, 0.5, 0.4, 0.1])[self.state[pos]]
        opens = (dice[0] < heeds) & ~control & (what != chain.SERVICE)
        clicks = opens & (dice[1] < 0.3)
        opened = monday + (3 * dice[2]).astype(np.int64)
        self.happened.add(
            "contacts", pos=pos, week=np.full(len(pos), self.week), day=np.full(len(pos), monday), action=what,
            campaign=np.full(len(pos), campaign), control=control, opened=np.where(opens, opened, NEVER),
            clicked=np.where(clicks, opened, NEVER),
        )  # fmt: skip
        coupon = (what == chain.DISCOUNT) & (dice[3] < self.who.redeems[pos])
        self.contact = self.contact.then(pos[~control], what[~control], coupon[~control], self.p.fatigue)

    def settle(self) -> None:
        """Tell of the complaints that are still open: the log ends here."""
        pos = np.flatnonzero(self.open_day > NEVER)
        dice = self._roll(Stream.CLOSURE, pos)
        opened, today = self.open_day[pos], self.today
        answered = opened + (28 * dice[2]).astype(np.int64)
        nothing = np.zeros(len(pos))
        self.happened.add(
            "complaints", pos=pos, day=opened, kind=self.open_kind[pos],
            answered=np.where(answered <= today, answered, NEVER), resolved=nothing + NEVER,
            reopened=self.reopened[pos], satisfied=nothing,
        )  # fmt: skip
        self.open_day[pos] = NEVER

    # Truth

    def expected(self, weeks: int = 13) -> dict[str, Floats]:
        """What each customer is expected to do in the next `weeks` weeks under each action taken now, if nobody is
        contacted again: `retention_<action>`, `spend_<action>`, `margin_<action>`, arrays by customer; money in minor
        units, margin before the cost of the contact. NaN for those who have not come yet; 0 for those gone."""
        pos = np.flatnonzero((self.state >= ACTIVE) & (self.state < GONE))
        c = self.who.take(pos)
        told: dict[str, Floats] = {}
        for action, name in enumerate(ACTIONS):
            contact, redeems = self.contact.take(pos), np.ones(len(pos))
            if action:
                coupon = np.full(len(pos), float(action == chain.DISCOUNT))
                contact = contact.then(np.arange(len(pos)), np.full(len(pos), action), coupon, self.p.fatigue)
                redeems = c.redeems
            sums = chain.outcomes(
                self.p, self.market, c, self.week,
                state=self.state[pos], contact=contact, redeems=redeems, weeks=weeks,
            )  # fmt: skip
            for outcome, values in sums.items():
                told[f"{outcome}_{name}"] = self._spread(pos, values)
        return told

    def _spread(self, pos: Ints, values: Floats) -> Floats:
        full = np.where(self.state == UNBORN, np.nan, 0.0)
        full[pos] = values
        return full

    def stage(self) -> Ints:
        """The true stage of each customer (a place in STAGES; -1 before arrival)."""
        change = self.week - self.who.change_week
        ramp = (change >= 0) & (change < 26)
        stage = np.where(ramp, np.where(self.who.change > 1, 1, 3), 2)
        stage = np.where(self.week - self.who.joined < 8, 0, stage)
        stage = np.where((self.state == DORMANT) | (self.state == DORMANT_AGGRIEVED), 3, stage)
        return np.where(self.state == GONE, 4, np.where(self.state == UNBORN, -1, stage))

    def _tell_spells(self) -> None:
        """A row for every customer whose state, stage or cause is another than the week before."""
        now = np.where(self.state == UNBORN, -1, (self.state * 8 + self.stage()) * 8 + self.cause + 1)
        new = np.flatnonzero(now != self.spell)
        self.spell[new] = now[new]
        self.happened.add("spells", pos=new, week=np.full(len(new), self.week), code=now[new])
