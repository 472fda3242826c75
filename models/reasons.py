"""Why a customer is on the list: three reasons in words, and what most likely lies behind them.

A forecast is taken apart exactly (Shapley values of the log odds: `Forecaster.contributions`). Dozens of features say
much the same ("long silent", "overdue", "no visit in 23 days"), so features are gathered into *ideas*, whose
contributions add up because Shapley values do; the three strongest ideas are told, each by the member that says it
best: the one with the largest contribution whose value differs from what is usual. Usual is the customer's own habit
where there is one, else the middle of all customers at risk. What is missing is never quoted.

`causes` goes from how to why: from complaints, returns, prices, lost categories and the market to one of a closed
set, with the sentence that speaks for it, or to "unknown" where the shop keeps no table that could tell.

Sources: Lundberg et al., *From local explanations to global understanding with explainable AI for trees* (Nature
Machine Intelligence 2020) for the contributions; that sums over groups are the groups' contributions follows from
additivity.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from features.catalogue import Feature
from features.errors import UsageError
from features.snapshot import Snapshot
from features.windows import Windows
from models.contributions import PROCESS

if TYPE_CHECKING:
    from models.forecaster import Forecaster

Floats = NDArray[np.float64]
Direction = Literal["raises", "lowers"]
LANGUAGES = ("en", "zh-CN")


@dataclass(frozen=True)
class Reason:
    """One reason of one customer. `value` and `usual` are in the feature's unit (`usual` NaN where nothing is usual);
    `habit` says whose usual it is: the customer's "own", or that of customers "at risk". `contribution` is the idea's,
    in log odds of churning; `text` a sentence per language."""

    feature: str
    idea: str
    value: float
    usual: float
    habit: Literal["own", "at risk"]
    direction: Direction
    contribution: float
    text: Mapping[str, str]


# Ideas: features that say the same in other words. The first pattern that matches the start of a name decides.

IDEAS: tuple[tuple[str, str], ...] = (
    (r"market_", "market"),
    (r".*_(return_rate|next_spend)$", "others like this"),
    (r"recency|silent_share|overdue|gaps_outlasted|gap_hazard|alive_probability|btyd_recency", "silence"),
    (r"purchase_days_(eighth|quarter)_h|fading_purchase_days_1h", "silence"),
    (
        r"purchase_days_(change|slope)|pace_since|change_against_market|gap_growth|gap_drift|gap_last|gap_before_last",
        "pace",
    ),
    (r"gap_mean_recent|centre_of_life", "pace"),
    (r"purchase_days_year_ago|coming_season|season_position|spend_year_ago", "season"),
    (
        r"purchase_days|fading_purchase_days|purchase_rate|active_parts|expected_purchase_days|btyd_frequency",
        "frequency",
    ),
    (r"frequency|orders_total|one_time_buyer|days_to_second|early_purchase_days", "frequency"),
    (r"gap_(mean|median|long|short)|typical_gap", "usual gap"),
    (r"gap_(std|variation)|burstiness|quick_returns|favourite_weekday|weekend", "regularity"),
    (r"spend_(change|slope)|centre_of_spend", "spend trend"),
    (r"spend|fading_spend|early_spend|margin_[14]h", "spend"),
    (r"ticket|largest_ticket|btyd_amount|orders_per_day", "ticket"),
    (r"discount|days_since_full_price|unit_price|price_complaints", "price"),
    (r"tenure|active_days|btyd_age|days_since_joined|days_from_joining|days_on_record", "time as a customer"),
    (r"reactivations|days_since_reactivation", "came back before"),
    (r"referrals|days_since_referral", "recommendation"),
    (r"margin", "margin"),
    (r"dropped_categories|kept_categories|mix_shift|categories_change", "needs"),
    (
        r"categor|category|favourite_category|products|new_|days_since_new|repeated_products|browsed_categories",
        "variety",
    ),
    (r"lines|basket_change|pieces", "basket"),
    (r"channel|favourite_channel|store|favourite_store", "place"),
    (r"visit|days_since_visit|views|searches|carts|days_since_cart|conversion|checkout", "browsing"),
    (r"contact|days_since_contact", "contact"),
    (r"open_rate|click_rate|redemption|redemptions|days_since_(open|redemption)|response_drift", "response"),
    (r"return|days_since_return|returned", "returns"),
    (r"complaint|days_since_complaint|open_complaint|unanswered|answer_wait|settlement_wait", "complaints"),
    (r"product_complaints|service_complaints|delivery_complaints", "complaints"),
    (r"score|days_since_survey|survey", "satisfaction"),
    (r"late_deliver|delivery", "delivery"),
)

_IDEAS = tuple((re.compile(pattern), idea) for pattern, idea in IDEAS)

_WORSE: Mapping[str, int] = {
    "silence": 1,
    "frequency": -1,
    "pace": -1,
    "usual gap": 1,
    "spend": -1,
    "spend trend": -1,
    "basket": -1,
    "season": -1,
    "needs": -1,
    "variety": -1,
    "browsing": -1,
    "response": -1,
    "returns": 1,
    "complaints": 1,
    "satisfaction": -1,
    "delivery": 1,
    "came back before": 1,
    "time as a customer": -1,
    "recommendation": -1,
    "others like this": -1,
}
"""Ideas whose members plainly worsen upwards (1) or downwards (-1) …"""

_AGAINST = re.compile(
    r"purchase_days_(eighth|quarter)|fading_purchase_days_1h|gap_hazard|alive_probability|btyd_recency"
    r"|gap_(last|before_last|growth|drift|mean_recent)|centre_of|dropped_|mix_shift"
    r"|favourite_category|category_concentration|one_time_buyer|days_to_second"
    r"|days_since_(new|visit|cart|open|redemption|return$|reactivation|complaint|referral)|contact"
)
"""… but for these, which run the other way round than their idea."""


def idea_of(feature: Feature) -> str:
    """What a feature is about. A feature of the shop's own that no pattern knows is an idea of its own."""
    for pattern, idea in _IDEAS:
        if pattern.match(feature.name):
            return idea
    return feature.name


# What is usual

_OWN: tuple[tuple[str, str, str], ...] = (
    (r"recency$", "gap_median", "same"),
    (r"gap_last$|gap_before_last$|gap_mean_recent_", "gap_median", "same"),
    (r"purchase_days_(eighth_h|quarter_h|half_h|1h|2h|4h)$", "purchase_rate", "times days"),
    (r"spend_(eighth_h|quarter_h|half_h|1h|2h|4h)$", "spend_rate", "times days"),
    (r"ticket_last$|ticket_mean_recent_", "ticket_mean", "same"),
    (r"lines_last$", "lines_per_visit", "same"),
    (r"score_last$", "score_mean", "same"),
    (r"visit_days_(eighth_h|1h)$", "visit_days_4h", "as share"),
    (r"categories_recent_(half_h|1h)$", "categories_recent_4h", "same"),
    (r"discount_share_recent_", "discount_share", "same"),
)
"""Which other feature tells the customer's own usual value of a feature, and how."""

_OWN_PATTERNS = tuple((re.compile(pattern), other, how) for pattern, other, how in _OWN)
_NO_USUAL = ("flag",)
_UNREADABLE = ("count a day", "money a day", "share a day", "score")
_ABSTRACT = re.compile(
    r"fading_|centre_of_|burstiness|.*_(slope|variation|entropy|concentration|hazard|std)|mix_shift|btyd_"
    r"|gap_(long|short|median)$|active_parts_|overdue_(ratio_median|z|against_typical)|gaps_outlasted|typical_gap"
)
"""Units and features in which nobody thinks: told only where no other member of the idea has something to say."""

_LEAST = 0.05
"""An idea that adds less than this share of the strongest one's log odds is no reason."""

_HABIT = 3
"""Purchase days from which one has a habit of one's own."""


def medians(rows: Snapshot) -> dict[str, float]:
    """The middle value of each feature over rows at risk: what is usual where no habit of one's own is known. NaN where
    no row has a value. The bundle keeps these."""
    with np.errstate(all="ignore"):
        return {name: _median(rows.X[:, at]) for at, name in enumerate(rows.names)}


def _median(values: NDArray[np.float32]) -> float:
    known = values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else float("nan")


def _used_to(rows: Snapshot) -> NDArray[np.bool_]:
    """Who has bought often enough to have habits; all, where that is not told."""
    if "frequency" not in rows.names:
        return np.ones(len(rows), dtype=bool)
    return np.asarray(rows.column("frequency") >= _HABIT)


def _own_usual(feature: Feature, features: Mapping[str, Feature], rows: Snapshot, windows: Windows) -> Floats | None:
    """The customer's own usual value of a feature by row, NaN where there is none; None where no feature tells."""
    for pattern, other, how in _OWN_PATTERNS:
        if pattern.match(feature.name) and other in rows.names:
            values = np.where(_used_to(rows), rows.column(other).astype(np.float64), np.nan)
            days = float(feature.span.days(windows.horizon)) if feature.span else float("nan")
            if how == "times days":
                return values * days
            if how == "as share":
                span = features[other].span if other in features else None
                return values * days / span.days(windows.horizon) if span else None
            return values
    return None


# Three reasons


def explain(
    features: Sequence[Feature],
    rows: Snapshot,
    contributions: Floats,
    usual: Mapping[str, float],
    windows: Windows,
    *,
    currency: str = "",
    count: int = 3,
    direction: Direction = "raises",
) -> list[tuple[Reason, ...]]:
    """Up to `count` reasons for each row, the strongest first, each of another idea.

    `contributions` (n, k) are log odds of churning by feature, in the order of `features`, each of which is a column of
    `rows`; `usual` the at-risk medians (`medians`). A row has fewer reasons where fewer ideas push in the `direction`
    asked for, and none where the forecast cannot be taken apart (all zero). Raises UsageError where the shapes differ.
    """
    if contributions.shape != (len(rows), len(features)):
        raise UsageError(
            "contributions must be one number per row and feature",
            allowed=f"shape {(len(rows), len(features))}",
            got=f"shape {contributions.shape}",
        )
    sign = 1.0 if direction == "raises" else -1.0
    ideas = [idea_of(feature) for feature in features]
    names = list(dict.fromkeys(ideas))
    member = np.array([[idea == name for name in names] for idea in ideas], dtype=float).reshape(len(features), -1)
    pushes = sign * contributions
    sums = pushes @ member
    teller = _Teller(features, ideas, rows, usual=usual, windows=windows, currency=currency, direction=direction)
    return [teller.tell(at, pushes[at], dict(zip(names, sums[at], strict=True)), count) for at in range(len(rows))]


def of_forecast(
    forecaster: Forecaster,
    rows: Snapshot,
    usual: Mapping[str, float],
    *,
    currency: str = "",
    count: int = 3,
    direction: Direction = "raises",
) -> list[tuple[Reason, ...]]:
    """`explain` for a forecaster's own rows (`forecaster.snapshot(...)`, or the listed ones of them).

    The purchase process, which knows how often and how lately a customer bought, is counted to the silence. Empty for
    every row where the forecaster found no skill: a base rate has no reasons.
    """
    features = tuple(feature for feature in forecaster.features() if feature.name in rows.names)
    parts = forecaster.contributions(rows)
    values = parts.of([feature.name for feature in features])
    silent = next((at for at, feature in enumerate(features) if idea_of(feature) == "silence"), None)
    if silent is not None:
        values[:, silent] += parts.of([PROCESS])[:, 0]
    return explain(
        features, rows, values, usual, forecaster.windows, currency=currency, count=count, direction=direction
    )


class _Teller:
    """Values, habits and wording of a snapshot's rows, looked up once."""

    def __init__(
        self,
        features: Sequence[Feature],
        ideas: Sequence[str],
        rows: Snapshot,
        *,
        usual: Mapping[str, float],
        windows: Windows,
        currency: str,
        direction: Direction,
    ) -> None:
        self.features, self.ideas, self.windows = features, ideas, windows
        self.currency, self.direction = currency, direction
        self.members = {idea: [at for at, name in enumerate(ideas) if name == idea] for idea in ideas}
        self.plain = [f.unit not in _UNREADABLE and not _ABSTRACT.match(f.name) for f in features]
        self.recency = rows.column("recency") if "recency" in rows.names else None
        by_name = {feature.name: feature for feature in features}
        self.values = [rows.column(feature.name) for feature in features]
        self.own = [_own_usual(feature, by_name, rows, windows) for feature in features]
        self.crowd = [usual.get(feature.name, float("nan")) for feature in features]

    def tell(self, row: int, pushes: Floats, sums: Mapping[str, float], count: int) -> tuple[Reason, ...]:
        """The reasons of one row."""
        told: list[Reason] = []
        least = _LEAST * max(sums.values(), default=0.0)
        for idea in sorted((idea for idea in sums if sums[idea] > least), key=lambda idea: (-sums[idea], idea)):
            best = self._speaker(row, idea, pushes)
            if best is not None:
                told.append(self._reason(row, best, idea, sums[idea]))
            if len(told) == count:
                break
        return tuple(told)

    def _speaker(self, row: int, idea: str, pushes: Floats) -> int | None:
        """The member that says the idea best: of those that have a value and do not pull the other way, one in plain
        units whose value is not as usual and not better than usual, if there is any; among equals the strongest. Twins
        share a contribution at random, so a twin that got none of it may speak. None where no member can."""
        rank = {
            at: (self.plain[at], convinces, pushes[at])
            for at in self.members[idea]
            if not np.isnan(self.values[at][row])
            and pushes[at] >= 0
            and (convinces := self._convinces(row, at)) > (pushes[at] == 0)
            and not self._echoes(row, at)
        }
        return max(sorted(rank), key=rank.__getitem__) if rank else None

    def _echoes(self, row: int, at: int) -> bool:
        """Whether a number of days only says once more how long ago the last purchase was."""
        feature = self.features[at]
        alike = feature.unit == "days" and feature.name != "recency" and self.recency is not None
        return alike and self.recency is not None and bool(self.values[at][row] == self.recency[row])

    def _convinces(self, row: int, at: int) -> int:
        """2: differs from usual, and not towards the better; 1: nothing is usual; 0: says nothing, or the opposite."""
        feature, value = self.features[at], float(self.values[at][row])
        usual, _ = self.usual(row, at)
        if feature.unit in _NO_USUAL:
            return 2 * int(value >= 0.5)
        if np.isnan(usual):
            return 1
        if human(value, feature.unit, "en") == human(usual, feature.unit, "en"):
            return 0
        worse = _WORSE.get(self.ideas[at], 0) * (-1 if _AGAINST.match(feature.name) else 1)
        worse *= 1 if self.direction == "raises" else -1
        return 2 * int(worse * (value - usual) > 0) if worse else 2

    def usual(self, row: int, at: int) -> tuple[float, Literal["own", "at risk"]]:
        """What is usual for a feature of a row, and for whom."""
        own = self.own[at]
        if own is not None and not np.isnan(own[row]):
            return float(own[row]), "own"
        return self.crowd[at], "at risk"

    def _reason(self, row: int, at: int, idea: str, contribution: float) -> Reason:
        feature, value = self.features[at], float(self.values[at][row])
        usual, habit = self.usual(row, at)
        text = {
            language: sentence(
                feature, value, usual, habit=habit, language=language, windows=self.windows, currency=self.currency
            )
            for language in LANGUAGES
        }
        signed = contribution if self.direction == "raises" else -contribution
        return Reason(feature.name, idea, value, usual, habit, self.direction, float(signed), text)


# Words


def sentence(
    feature: Feature,
    value: float,
    usual: float,
    *,
    habit: str,
    language: str,
    windows: Windows,
    currency: str = "",
) -> str:
    """A feature's clause with its value, and what is usual in brackets; nothing in brackets where nothing is usual."""
    days = feature.span.days(windows.horizon) if feature.span else windows.horizon
    clause = feature.phrase[language].format(value=human(value, feature.unit, language, currency), days=days)
    if language == "en":
        clause = _singular(clause)
    if np.isnan(usual) or feature.unit in _NO_USUAL:
        return clause
    shown = human(usual, feature.unit, language, currency) + _noun(feature, usual, language)
    if language == "zh-CN":
        return f"{clause}（{'平时' if habit == 'own' else '活跃客户中位数'}为{shown}）"
    return f"{clause} ({'usually' if habit == 'own' else 'median at risk:'} {shown})"


def human(value: float, unit: str, language: str, currency: str = "") -> str:
    """A value as one would say it: whole days, whole money from 100 on, percentages without decimals, ratios with two
    digits. A true minus sign; a dash where the value is absent."""
    if np.isnan(value):
        return "—"
    if unit == "flag":
        yes, no = ("yes", "no") if language == "en" else ("是", "否")
        return yes if value >= 0.5 else no
    sign, size = ("−" if value < 0 else ""), abs(value)
    if unit.startswith("share"):
        text = _percent(size)
    elif unit.startswith("money"):
        text = f"{size:,.0f}" if size >= 100 or size == 0 else f"{size:,.2f}"
        text = f"{text} {currency}".rstrip()
    elif unit in ("days", "count"):
        text = f"{size:,.0f}" if size >= 10 or abs(size - round(size)) < 0.05 else f"{size:.1f}"
    else:
        text = _two_digits(size)
    return text if text.strip("0.,% ") == "" else sign + text


def _percent(size: float) -> str:
    if 0 < size < 0.005:
        return "<1%"
    return f"{100 * size:.0f}%"


def _two_digits(size: float) -> str:
    if size >= 10:
        return f"{size:,.0f}"
    if size >= 1:
        return f"{size:.1f}"
    return f"{size:.2g}" if size >= 1e-4 else "0"


def _noun(feature: Feature, value: float, language: str) -> str:
    """The word that counts the value in the feature's own clause: days, times."""
    if language == "zh-CN":
        hit = re.search(r"\{value\}([天倍])", feature.phrase[language])
        return hit[1] if hit else ""
    hit = re.search(r"\{value\}( days| times)", feature.phrase[language])
    noun = hit[1] if hit else ""
    return noun.removesuffix("s") if human(value, feature.unit, "en") == "1" else noun


_ONE = re.compile(
    r"(?<![\d.,])1 ((?:[a-z]+ )??)(day|time|line|order|piece|product|categor|complaint|return|survey|offer|visit|store"
    r"|channel|thing|gap|referral)(ies|s)\b"
)


def _singular(clause: str) -> str:
    """One purchase days, as one says it."""
    one = _ONE.sub(lambda hit: f"1 {hit[1]}{hit[2]}{'y' if hit[3] == 'ies' else ''}", clause)
    return re.sub(r"^(1 \w+) are\b", r"\1 is", one).replace(" 1 people", " 1 person")


# Causes


Cause = Literal["product", "service", "price", "competition", "market", "own life cycle", "unknown"]

CAUSES: Mapping[Cause, Mapping[str, str]] = {
    "product": {"en": "product", "zh-CN": "产品"},
    "service": {"en": "service", "zh-CN": "服务"},
    "price": {"en": "price", "zh-CN": "价格"},
    "competition": {"en": "competition", "zh-CN": "竞争"},
    "market": {"en": "market", "zh-CN": "市场"},
    "own life cycle": {"en": "own life cycle", "zh-CN": "自身周期"},
    "unknown": {"en": "unknown", "zh-CN": "原因不明"},
}
"""The closed set, in the order in which ties are broken: of those who name a cause, most name product, then service."""

ONCE = 0.7
"""Log odds needed on top for those who bought once only: most of them never meant to come back."""

ENOUGH = 1.3
"""Log odds from which a cause is named: before any evidence a customer's own life cycle is that much likelier than a
fault of product or service."""


@dataclass(frozen=True)
class Evidence:
    """One kind of evidence: that feature `tells` lies at or beyond `least` (at or below `most`) speaks for the cause
    with `weight` log odds. `fresh` and `within`: only if that many days since (a feature) are not exceeded, in H.

    The weights are judgements, checked on simulated shops whose causes are known."""

    cause: Cause
    tells: str
    weight: float
    least: float = -np.inf
    most: float = np.inf
    fresh: str | None = None
    within: float = 2.0
    also: tuple[str, float, float] | None = None

    @property
    def needs(self) -> tuple[str, ...]:
        """The features it reads."""
        return (self.tells, *((self.fresh,) if self.fresh else ()), *((self.also[0],) if self.also else ()))

    def holds(self, rows: Snapshot, windows: Windows) -> NDArray[np.bool_]:
        """Whether it is there, by row; what is absent speaks for nothing."""
        values = rows.column(self.tells)
        with np.errstate(invalid="ignore"):
            there = (values >= self.least) & (values <= self.most)
            if self.fresh:
                there &= rows.column(self.fresh) <= self.within * windows.horizon
            if self.also:
                name, low, high = self.also
                there &= (rows.column(name) >= low) & (rows.column(name) <= high)
        return np.asarray(there)


EVIDENCE: tuple[Evidence, ...] = (
    Evidence("product", "product_complaints", 2.4, least=1, fresh="days_since_complaint"),
    Evidence("product", "returns_since_purchase", 1.0, least=1),
    Evidence("product", "return_days_recent_1h", 0.2, least=1),
    Evidence("product", "return_share", 0.3, least=0.2),
    Evidence("service", "service_complaints", 1.9, least=1, fresh="days_since_complaint"),
    Evidence("service", "delivery_complaints", 1.9, least=1, fresh="days_since_complaint"),
    Evidence("service", "open_complaints", 0.9, least=1),
    Evidence("service", "unanswered_complaints", 0.5, least=1),
    Evidence("service", "score_last", 0.7, most=0.4, fresh="days_since_survey"),
    Evidence("service", "settlement_wait", 0.4, least=14, fresh="days_since_complaint"),
    Evidence("service", "delivery_delay_last", 1.3, least=1),
    Evidence("price", "price_complaints", 1.0, least=1, fresh="days_since_complaint"),
    Evidence("price", "discounted_visits", 0.4, least=0.5),
    Evidence("price", "unit_price_change_1h", 0.4, least=1.1, also=("discounted_visits", 0.5, 1.0)),
    Evidence("competition", "dropped_categories_1h", 0.7, least=2, also=("kept_categories_1h", 1, np.inf)),
    Evidence("competition", "visit_days_since_purchase", 0.7, least=5),
    Evidence("market", "market_change_1h", 1.3, most=0.75, also=("change_against_market_1h", 0.75, np.inf)),
    Evidence("market", "market_year_on_year_1h", 1.3, most=0.75, also=("change_against_market_1h", 0.75, np.inf)),
)
"""What speaks for which cause. A complaint that names the matter counts most; a return counts more after the last
purchase; the market counts only for customers who slow down no more than everybody does."""

_IDEAS_OF: Mapping[Cause, tuple[str, ...]] = {
    "product": ("returns",),
    "service": ("complaints", "satisfaction", "delivery"),
    "price": ("price",),
    "competition": ("needs",),
}
_COULD_TELL = ("complaints", "return_days", "surveys_answered", "delivery_wait")
_PERSONAL = (
    "purchase_days_change_1h",
    "purchase_days_change_2h",
    "overdue_ratio",
    "overdue_against_typical",
    "recency",
)


@dataclass(frozen=True)
class Why:
    """The likeliest cause of one customer's going quiet. `strength` is the log odds of the evidence, `feature` and
    `value` the strongest piece (None and NaN where there is none), `text` the cause and its sentence per language;
    `unjudged` the causes for which the shop keeps no record at all."""

    cause: Cause
    strength: float
    feature: str | None
    value: float
    text: Mapping[str, str]
    unjudged: tuple[Cause, ...]


def evidence_features(present: Iterable[str]) -> tuple[str, ...]:
    """The features that `causes` reads, of those that are `present` (in the catalogue for the shop's tables)."""
    wanted = dict.fromkeys(
        [*(name for piece in EVIDENCE for name in piece.needs), *_COULD_TELL, *_PERSONAL, "frequency"]
    )
    known = set(present)
    return tuple(name for name in wanted if name in known)


def causes(
    features: Sequence[Feature],
    rows: Snapshot,
    windows: Windows,
    *,
    contributions: Floats | None = None,
    currency: str = "",
) -> list[Why]:
    """The likeliest cause for each row, of a closed set, with its evidence in words.

    `rows` hold at least `evidence_features` of the shop's tables; `features` are those columns' descriptions.
    `contributions` (n, k), by the order of `features`, let the forecast speak too: what returns, complaints or prices
    add to a customer's log odds of churning counts for their cause. A customer of a shop that keeps such records, with
    nothing on them, goes quiet for reasons of his own; where no record could tell, the cause is unknown.
    """
    judge = _Judge(features, rows, windows, _spoken(features, contributions, len(rows)), currency)
    return [judge.why(row) for row in range(len(rows))]


class _Judge:
    """The evidence on a snapshot's rows, gathered once."""

    def __init__(
        self,
        features: Sequence[Feature],
        rows: Snapshot,
        windows: Windows,
        spoken: Mapping[Cause, Floats],
        currency: str,
    ) -> None:
        self.by_name = {feature.name: feature for feature in features if feature.name in rows.names}
        self.rows, self.windows, self.currency, self.spoken = rows, windows, currency, spoken
        self.pieces = [piece for piece in EVIDENCE if all(name in self.by_name for name in piece.needs)]
        self.holds = [piece.holds(rows, windows) for piece in self.pieces]
        judged = {piece.cause for piece in self.pieces}
        self.unjudged = tuple(cause for cause in CAUSES if cause in _SPOKEN_FOR and cause not in judged)
        self.once = rows.column("frequency") == 1 if "frequency" in rows.names else np.zeros(len(rows), dtype=bool)
        self.recorded = any(name in self.by_name for name in _COULD_TELL)

    def why(self, row: int) -> Why:
        """The cause of one row."""
        found = [piece for piece, holds in zip(self.pieces, self.holds, strict=True) if holds[row]]
        odds = {cause: sum(piece.weight for piece in found if piece.cause == cause) for cause in _SPOKEN_FOR}
        total = {cause: odds[cause] + float(self.spoken[cause][row]) if odds[cause] else 0.0 for cause in odds}
        best = max((cause for cause in CAUSES if cause in total), key=lambda cause: total[cause])
        if total[best] >= ENOUGH + (ONCE if self.once[row] else 0.0):
            speaker = max((piece for piece in found if piece.cause == best), key=lambda piece: piece.weight)
            return self._told(row, best, total[best], speaker.tells)
        cause: Cause = "own life cycle" if self.recorded else "unknown"
        return self._told(row, cause, total[best], self._personal(row))

    def _personal(self, row: int) -> str | None:
        """What shows that the customer slows down, where nothing shows why."""
        for name in _PERSONAL:
            if name in self.by_name:
                value = float(self.rows.column(name)[row])
                if not np.isnan(value) and not (name.startswith("purchase_days") and value >= 1):
                    return name
        return None

    def _told(self, row: int, cause: Cause, strength: float, name: str | None) -> Why:
        value = float(self.rows.column(name)[row]) if name else float("nan")
        text = {language: self._sentence(cause, name, value, language) for language in LANGUAGES}
        return Why(cause, strength, name, value, text, self.unjudged)

    def _sentence(self, cause: Cause, name: str | None, value: float, language: str) -> str:
        word, colon = CAUSES[cause][language], "：" if language == "zh-CN" else ": "
        said = [_QUIET[cause][language]] if cause in _QUIET else []
        if name:
            said.append(
                sentence(
                    self.by_name[name], value, float("nan"), habit="own", language=language, windows=self.windows,
                    currency=self.currency,
                )
            )  # fmt: skip
        return word + colon + ("；" if language == "zh-CN" else "; ").join(said)


_QUIET: Mapping[Cause, Mapping[str, str]] = {
    "own life cycle": {"en": "nothing on record went wrong", "zh-CN": "未见其他原因"},
    "unknown": {"en": "no record could tell", "zh-CN": "缺少可供判断的记录"},
}
_SPOKEN_FOR = {piece.cause for piece in EVIDENCE}


def _spoken(features: Sequence[Feature], contributions: Floats | None, rows: int) -> dict[Cause, Floats]:
    """What the forecast says for each cause: positive log odds of its ideas."""
    if contributions is None:
        return {cause: np.zeros(rows) for cause in _SPOKEN_FOR}
    ideas = [idea_of(feature) for feature in features]
    return {
        cause: np.maximum(contributions[:, [idea in _IDEAS_OF.get(cause, ()) for idea in ideas]].sum(axis=1), 0.0)
        for cause in _SPOKEN_FOR
    }
