"""What to do, for whom: the strategy rules as data, and who may be approached at all.

A rule says for which stage, value, satisfaction, cause and facts an action is meant (`catalogue.toml`, or a shop's own
`actions.toml`). A rule that needs a table the shop does not have is off and says so. Whatever the rules propose, some
customers are not to be approached: who asked not to be, who did not consent to the channel, who was contacted or
refused a few weeks ago, who has had as many contacts as a customer can bear. Each such customer keeps the reason, in
both languages.
"""

from __future__ import annotations

import hashlib
import operator
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.config import Config, Economics, Serving
from features.errors import BadConfiguration
from serving import facts

PACKAGED = Path(__file__).with_name("catalogue.toml")
CONSENT = {"email": "consent_email", "sms": "consent_sms", "phone": "consent_phone"}
APPROACHES = ("contacted", "offered", "refused")
CONTACTS = ("contacted", "offered")
COMPARE: Mapping[str, Callable[[Any, Any], Any]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
WORDS = ("lists", "stage", "value", "satisfaction", "cause")
HIGH, LOW = 0.7, 0.5  # satisfaction, 0 to 1: the neutral answer of a five-point scale is .5

BARRED: Mapping[str, Mapping[str, str]] = {
    "do not contact": {"en": "Asked not to be contacted", "zh-CN": "客户要求勿联系"},
    "consent": {"en": "No consent to any channel of a fitting action", "zh-CN": "未同意任何适用渠道"},
    "cool-off": {"en": "Contacted or refused a short while ago", "zh-CN": "近期已联系或已拒绝"},
    "fatigue": {"en": "Contacted often enough in 91 days", "zh-CN": "91天内联系已达上限"},
    "no rule": {"en": "No rule fits", "zh-CN": "没有适用的规则"},
}


@dataclass(frozen=True)
class Action:
    """One thing to do. `cost` is money per contact, `discount` the share of the next order given away, `capacity`
    contacts a week (None: no limit), `says` its wording by language."""

    name: str
    channel: str
    cost: float
    discount: float
    owner: str
    capacity: int | None
    says: Mapping[str, str]


@dataclass(frozen=True)
class Rule:
    """For whom an action is meant. `words` gives for lists, stage, value, satisfaction and cause the ones it is meant
    for (absent: any); `when` facts with a comparison; `needs` groups of tables of which one each must be there. Where
    an `only` rule fits, no later rule is tried."""

    id: str
    name: str
    action: str
    words: Mapping[str, tuple[str, ...]]
    when: tuple[tuple[str, str, float], ...]
    needs: tuple[tuple[str, ...], ...]
    only: bool = False

    def lacks(self, tables: Iterable[str]) -> tuple[str, ...]:
        """What the shop would have to bring for the rule to work; empty where it works."""
        there = set(tables)
        return tuple(" or ".join(group) for group in self.needs if not there & set(group))

    def fits(self, people: pd.DataFrame, name: str) -> NDArray[np.bool_]:
        """For whom of `people` the rule is meant on a list; an absent fact fits nothing."""
        fits = np.full(len(people), name in self.words.get("lists", (name,)))
        for column in WORDS[1:]:
            if column in self.words and fits.any():
                fits &= people[column].isin(self.words[column]).to_numpy()
        for fact, sign, than in self.when:
            fits &= COMPARE[sign](people[fact].to_numpy(float), than)
        return fits


@dataclass(frozen=True)
class Catalogue:
    """Actions by name and rules in the order they are tried; `digest` names the text they came from."""

    actions: Mapping[str, Action]
    rules: tuple[Rule, ...]
    digest: str
    own: tuple[str, ...] = field(default=())  # actions of the settings that no rule mentions: meant for everybody

    def off(self, tables: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """Rules that do not work here and what each lacks."""
        return {rule.id: lacks for rule in self.rules if (lacks := rule.lacks(tables))}

    def rule_ids(self, place: NDArray[np.int64]) -> NDArray[np.object_]:
        """The ids of rules by their place; "own" for the settings' own actions, None below 0."""
        return np.array([*(rule.id for rule in self.rules), "own", None], object)[place]

    def fitting(
        self, people: pd.DataFrame, name: str, tables: Iterable[str]
    ) -> tuple[tuple[str, ...], NDArray[np.int64]]:
        """The actions of a list and, for each customer (rows) and action (columns), the place of the first rule that
        proposes it, or -1 where none does (the number of rules for the settings' own actions). `people` has stage,
        value, satisfaction, cause and the facts."""
        there = tuple(tables)
        working = [(order, rule) for order, rule in enumerate(self.rules) if not rule.lacks(there)]
        names = tuple(dict.fromkeys([*(rule.action for _, rule in working), *self.own]))
        place = np.full((len(people), len(names)), -1, np.int64)
        settled = np.zeros(len(people), bool)
        for order, rule in working:
            column, fits = place[:, names.index(rule.action)], rule.fits(people, name) & ~settled
            column[fits & (column < 0)] = order
            settled |= fits & rule.only
        for action in self.own:
            column = place[:, names.index(action)]
            column[(column < 0) & ~settled] = len(self.rules)
        used = (place >= 0).any(axis=0) if len(people) else np.zeros(len(names), bool)
        return tuple(names[column] for column in np.flatnonzero(used)), place[:, used]


def load(config: Config) -> Catalogue:
    """The catalogue in force: the shop's `actions.toml` beside its settings, else the packaged one, with the settings'
    own actions laid over it. Raises BadConfiguration naming the rule or action that cannot be meant."""
    own = config.root / "actions.toml"
    path = own if own.exists() else PACKAGED
    text = path.read_text(encoding="utf-8")
    return read(text, config.economics, where=str(path) if path is own else "the packaged catalogue")


def read(text: str, economics: Economics, where: str = "the catalogue") -> Catalogue:
    """A catalogue from its text; costs in contacts become money."""
    try:
        said = tomllib.loads(text)
        actions = {name: _action(name, given, economics.contact_cost) for name, given in said.get("action", {}).items()}
    except (tomllib.TOMLDecodeError, KeyError, TypeError, ValueError) as error:
        raise BadConfiguration("the catalogue of actions cannot be read", where=where, got=str(error)) from None
    rules = tuple(_rule(given, where) for given in said.get("rule", []))
    mine = {
        name: Action(
            name, a.channel, a.cost or economics.contact_cost, a.discount, a.owner, a.capacity, _wording(name, actions)
        )
        for name, a in economics.actions.items()
    }
    actions |= mine
    for rule in rules:
        if rule.action not in actions:
            raise BadConfiguration(
                "a rule asks for an action there is not", where=f"{where}, rule {rule.id}", got=rule.action
            )
    mentioned = {rule.action for rule in rules}
    digest = hashlib.sha256((text + repr(sorted(economics.actions.items()))).encode()).hexdigest()
    return Catalogue(actions, rules, digest, tuple(name for name in mine if name not in mentioned))


def _wording(name: str, actions: Mapping[str, Action]) -> Mapping[str, str]:
    """A settings' action keeps the catalogue's wording, or is called by its name."""
    return actions[name].says if name in actions else {"en": name, "zh-CN": name}


def _action(name: str, given: Mapping[str, Any], contact: float) -> Action:
    says = {language: str(given[language]) for language in ("en", "zh-CN")}
    cost = float(given.get("cost", 1.0)) * contact
    return Action(
        name, given["channel"], cost, float(given.get("discount", 0.0)), given["owner"], given.get("capacity"), says
    )


def _rule(given: Mapping[str, Any], where: str) -> Rule:
    known = {"id", "name", "action", "when", "needs", "only", *WORDS}
    place = f"{where}, rule {given.get('id', '?')}"
    if unknown := sorted(set(given) - known):
        raise BadConfiguration(
            "a rule says what no rule can", where=place, allowed=", ".join(sorted(known)), got=", ".join(unknown)
        )
    if missing := sorted({"id", "name", "action"} - set(given)):
        raise BadConfiguration("a rule lacks what every rule has", where=place, got=f"no {', '.join(missing)}")
    return Rule(
        given["id"],
        given["name"],
        given["action"],
        {word: tuple(given[word]) for word in WORDS if word in given},
        tuple(_comparison(text, place) for text in given.get("when", [])),
        tuple(tuple(text.split(" or ")) for text in given.get("needs", [])),
        bool(given.get("only", False)),
    )


def _comparison(text: str, where: str) -> tuple[str, str, float]:
    found = re.fullmatch(r"\s*(\w+)\s*(>=|<=|>|<)\s*(-?\d+(?:\.\d+)?)\s*", text)
    if found is None or found[1] not in facts.FACTS:
        raise BadConfiguration(
            "a rule asks for a fact there is not",
            where=where,
            allowed=f"FACT >= NUMBER with one of {', '.join(facts.FACTS)}",
            got=text,
        )
    return found[1], found[2], float(found[3])


def describe(people: pd.DataFrame) -> pd.DataFrame:
    """`people` with what the rules ask in words: value (high, middle, low), satisfaction and, where none is given,
    cause.

    Value is the rank of `worth`: the first fifth high, the next three tenths middle. Satisfaction is the latest survey
    score; an open complaint makes it low, and a settled one of this year without a score too. The cause is what the
    facts show (service before product before price), or unknown.
    """
    told = people.copy()
    rank = people["worth"].rank(pct=True, method="average").to_numpy(float)
    told["value"] = np.select([rank > 0.8, rank > 0.5], ["high", "middle"], "low")
    score, complained = people["satisfaction"].to_numpy(float), people["complaints_year"].to_numpy(float) > 0
    opened = people["open_complaints"].to_numpy(float) > 0
    unhappy = opened | (np.isnan(score) & complained) | (score < LOW)
    told["satisfaction_score"] = score
    told["satisfaction"] = np.select([unhappy, score >= HIGH, np.isnan(score)], ["low", "high", "unknown"], "middle")
    returned, cheap = people["returned_share"].to_numpy(float) > 0.25, people["discount_share"].to_numpy(float) > 0.2
    told["cause"] = np.select([opened | complained, returned, cheap], ["service", "product", "price"], "unknown")
    return told


def allowed(
    people: pd.DataFrame, channels: Sequence[str], dispositions: pd.DataFrame, as_of: date, serving: Serving
) -> tuple[NDArray[np.bool_], NDArray[np.object_]]:
    """Who may be approached by which channel: a flag per customer and channel, and per customer why not at all (a key
    of BARRED, None where nothing bars). `dispositions` are the standing ones up to `as_of`.

    Where the shop records consent, a customer whose consent is not on record has not given it; where the shop has no
    such column there is nothing to ask.
    """
    why = np.full(len(people), None, object)
    ids, day = people["customer_id"], pd.Timestamp(as_of)
    ago = (day - pd.to_datetime(dispositions["day"])).dt.days if len(dispositions) else pd.Series(dtype=float)
    did = dispositions["what"]
    contacted = dispositions[did.isin(CONTACTS) & (ago < facts.FATIGUE_DAYS)]["customer_id"].value_counts()
    by_campaigns = people["contacts"].fillna(0.0).to_numpy(float)
    times = by_campaigns + contacted.reindex(ids).fillna(0.0).to_numpy(float)
    why[times >= serving.max_contacts] = "fatigue"
    recent = dispositions[did.isin(APPROACHES) & (ago < serving.cool_off_days)]["customer_id"]
    why[ids.isin(recent).to_numpy()] = "cool-off"
    why[ids.isin(dispositions[did == "do_not_contact"]["customer_id"]).to_numpy()] = "do not contact"
    open_to = (
        np.stack([_consents(people, channel) for channel in channels], axis=1)
        if channels
        else np.empty((len(people), 0), bool)
    )
    return open_to & pd.isna(why)[:, None], why


def _consents(people: pd.DataFrame, channel: str) -> NDArray[np.bool_]:
    column = CONSENT.get(channel)
    if column is None or people[column].isna().all():
        return np.ones(len(people), bool)
    return np.asarray(people[column].to_numpy(float) == 1.0)
