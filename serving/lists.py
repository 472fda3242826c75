"""The three lists: who is about to be lost, whom to act on and how, and who is worth winning back.

*Early warning* ranks customers at risk by what would be lost, probability times margin if still buying, but not those
who are as good as gone: highest risk first warns late and finds little money. Those whose risk has risen stand in a
section of their own, as do one-time buyers, of whom the question is the second purchase. *Retention* is the plan: the
choice of customers and actions that earns most under budget, capacity and fatigue. *Win-back* is for the lapsed, with
the whole sum of whether the relationship is worth keeping. Whoever stood on the last list is favoured a little, so
that noise does not reshuffle Monday; the draw of the hold-out comes after that and before the limits are enforced, and
enforcing them cuts both arms at the same row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.config import Config
from features.windows import Windows, to_date
from models import economics, plan
from serving import actions, holdout, plainly
from serving.actions import BARRED, Catalogue
from serving.holdout import HELD_OUT
from serving.words import LEFT, RULES, TABLES, Word, both, say, suffix

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]
Objects: TypeAlias = NDArray[np.object_]
Explain: TypeAlias = Callable[[Sequence[str]], pd.DataFrame]

EARLY_WARNING, RETENTION, WIN_BACK = "early-warning", "retention", "win-back"
INCUMBENT = 1.25
GONE = 0.9  # a churn probability from which a customer counts as gone already: too late for a warning
RISEN = 1.5  # times the odds of the list before: a rise worth a row of its own
ASIDE = 0.15  # share of the early warning that rises, and again that one-time buyers, may take
BANDS = (("very high", 5.8), ("high", 2.9), ("raised", 1.4))  # odds over the base rate's odds
LANGUAGES = ("en", "zh-CN")


@dataclass(frozen=True)
class Memory:
    """What the ledger knew before this list: standing dispositions, the rows of the last list of each name, everybody
    ever listed by name, this quarter's rules and arms, who was treated in the 13 weeks before, and the forecasts of the
    last publication (customer_id, churn_probability), empty where there is none."""

    dispositions: pd.DataFrame
    previous: Mapping[str, pd.DataFrame]
    ever: Mapping[str, pd.DataFrame]
    quarters: pd.DataFrame
    assignments: pd.DataFrame
    treated_before: frozenset[str]
    forecasts_before: pd.DataFrame


@dataclass(frozen=True)
class Inputs:
    """Everything the lists are made from. `forecasts` has a row per customer at risk (columns of the forecast table and
    value_if_active, the margin of the horizon if still buying), `people` the facts of everybody who ever bought,
    `explain` answers with the reason columns (and `cause`) of the customers asked for, `tables` are those the shop
    has."""

    as_of: int
    windows: Windows
    config: Config
    catalogue: Catalogue
    forecasts: pd.DataFrame
    lapsed: pd.DataFrame
    people: pd.DataFrame
    tables: tuple[str, ...]
    memory: Memory
    explain: Explain
    bundle: str
    skill: bool
    has_amounts: bool = True
    rule: str | None = None


@dataclass(frozen=True)
class Made:
    """The lists as tables, held-out rows apart, who left, and what goes into the ledger."""

    tables: Mapping[str, pd.DataFrame]
    held_out: pd.DataFrame
    left: pd.DataFrame
    entries: pd.DataFrame
    assignments: pd.DataFrame
    quarters: tuple[dict[str, Any], ...]
    summary: Mapping[str, Any]


@dataclass(frozen=True)
class Planned:
    """The plan and how profit grows with the length of the list, were there no limits: `curve[n - 1]` is what the best
    n customers are expected to earn, `best` the length at which it is largest."""

    plan: plan.Plan
    curve: Floats
    best: int


def make(inputs: Inputs) -> Made:
    """The three lists of a day. Deterministic; no customer stands on two of them with two arms."""
    at_risk, lapsed = _at_risk(inputs), _lapsed(inputs)
    planned, made_plan = _retention(inputs, at_risk)
    chosen = {
        EARLY_WARNING: _early_warning(inputs, at_risk, planned),
        RETENTION: planned,
        WIN_BACK: _win_back(inputs, lapsed),
    }
    draw = _draw(inputs, chosen)
    listed = {
        name: _cut(inputs, name, rows.assign(arm=draw.arms.reindex(rows["customer_id"]).to_numpy()))
        for name, rows in chosen.items()
    }
    everybody = set().union(*(set(rows["customer_id"]) for rows in listed.values()))
    told = _tell(inputs, listed)
    left = pd.concat([_left(inputs, name, told[name], at_risk) for name in told], ignore_index=True)
    shown = {
        name: rows[rows["arm"] != HELD_OUT].drop(columns="arm").reset_index(drop=True) for name, rows in told.items()
    }
    held = pd.concat(
        [rows[rows["arm"] == HELD_OUT].assign(list=name) for name, rows in told.items()], ignore_index=True
    )
    return Made(
        shown,
        held.drop(columns="arm"),
        left,
        _entries(told),
        _assignments(inputs, draw.new[draw.new["customer_id"].isin(everybody)], listed),
        draw.quarters,
        _summary(inputs, told, left, at_risk, made_plan),
    )


# ---------------------------------------------------------------------------------------------------- the populations


def _at_risk(inputs: Inputs) -> pd.DataFrame:
    """One row per customer at risk: forecast, facts, and the sums of money at risk; ordered by customer."""
    rows = inputs.forecasts.merge(inputs.people, on="customer_id", how="inner", validate="1:1")
    rows = rows.sort_values("customer_id", ignore_index=True)
    p = rows["churn_probability"].to_numpy(float)
    rows["margin_if_active"] = _margin_if_active(rows, inputs.config.economics.margin)
    rows["value_at_risk"] = economics.value_at_risk(p, rows["margin_if_active"])
    with np.errstate(invalid="ignore", divide="ignore"):
        rows["revenue_if_active"] = np.where(p < 0.98, rows["expected_spend"] / (1 - p), np.nan)
    kept, lost = economics.kept_and_lost(rows["clv"], p, _return_rate(inputs))
    rows["clv_at_risk"] = economics.clv_at_risk(p, kept, lost)
    rows["worth"] = rows["margin_if_active"]
    before = inputs.memory.forecasts_before.set_index("customer_id")["churn_probability"]
    rows["probability_before"] = before.reindex(rows["customer_id"]).to_numpy(float)
    return actions.describe(rows)


def _margin_if_active(rows: pd.DataFrame, margin: float) -> Floats:
    """The forecaster's own margin if still buying; where it gives none, the margin of an active stretch of the past."""
    past = margin * rows["revenue_while_active"].to_numpy(float)
    if "value_if_active" not in rows:
        return past
    told = rows["value_if_active"].to_numpy(float)
    return np.where(np.isnan(told), past, told)


def _return_rate(inputs: Inputs) -> float:
    """How often a customer who lapsed within the last horizon comes back within the next; 0 where nobody has."""
    just = inputs.people["silence"] < inputs.windows.active + inputs.windows.horizon
    recent = inputs.lapsed["customer_id"].isin(inputs.people.loc[just, "customer_id"])
    rate = inputs.lapsed.loc[recent, "return_probability"].mean()
    return float(rate) if np.isfinite(rate) else 0.0


def _lapsed(inputs: Inputs) -> pd.DataFrame:
    """One row per lapsed customer: facts, the chance and the worth of a return; ordered by customer."""
    forecasts = inputs.lapsed[["customer_id", "return_probability", "value_if_active"]]
    rows = forecasts.merge(inputs.people, on="customer_id", how="inner", validate="1:1")
    rows = rows.sort_values("customer_id", ignore_index=True)
    rows["stage"] = "lapsed"
    rows["value_if_back"] = rows["value_if_active"] * _horizons_of_a_stay(inputs)
    rows["worth"] = rows["value_if_back"]
    return actions.describe(rows)


def _horizons_of_a_stay(inputs: Inputs) -> float:
    """How many horizons' margin a customer who is back is worth: the first, and each further one as likely as those at
    risk stay on average, discounted, over the configured years."""
    settings, horizon = inputs.config.economics, inputs.windows.horizon
    stays = 1.0 - float(inputs.forecasts["churn_probability"].mean())
    each = (stays if np.isfinite(stays) else 0.0) / (1 + settings.discount_rate) ** (horizon / 365)
    horizons = max(1, round(settings.years * 365 / horizon))
    return float(sum(each**k for k in range(horizons)))


# ---------------------------------------------------------------------------------------------------------- the lists


def _early_warning(inputs: Inputs, rows: pd.DataFrame, planned: pd.DataFrame) -> pd.DataFrame:
    """Repeat buyers by value at risk, those whose risk rose, and one-time buyers by the value of a second purchase."""
    rows = rows[rows["churn_probability"].notna() & rows["value_at_risk"].notna()].reset_index(drop=True)
    p = rows["churn_probability"].to_numpy(float)
    once, gone = rows["purchase_days"].to_numpy(float) <= 1, p >= _gone(rows)
    score = rows["value_at_risk"].to_numpy(float) * np.where(_incumbent(inputs, EARLY_WARNING, rows), INCUMBENT, 1.0)
    rows["score"] = np.where(once, p * (1 - p) * rows["margin_if_active"].to_numpy(float), score)
    rose = _odds(p) >= RISEN * _odds(rows["probability_before"].to_numpy(float))
    most = _most(inputs)
    main = _top(rows[~once & ~gone & (score > 0)], most)
    rising = _top(
        rows[~once & rose & (score > 0) & ~rows["customer_id"].isin(main["customer_id"])], round(ASIDE * most)
    )
    second = _top(rows[once & (rows["score"] > 0)], round(ASIDE * most))
    short = max(0, most - len(rising) - len(second))
    spare = max(0, most - min(len(main), short) - len(rising) - len(second))
    if spare and len(second) == round(ASIDE * most):
        second = _top(rows[once & (rows["score"] > 0)], len(second) + spare)
    parts = ((main.head(short), "value at risk"), (rising, "rising"), (second, "one-time buyers"))
    listed = pd.concat([part.assign(section=section) for part, section in parts], ignore_index=True)
    return _suggest(inputs, EARLY_WARNING, listed, planned)


def _gone(rows: pd.DataFrame) -> float:
    """The churn probability from which a warning comes too late: .9, or the riskiest twentieth where all are high."""
    p = rows.loc[rows["purchase_days"] > 1, "churn_probability"]
    return max(GONE, float(p.quantile(0.95))) if len(p) else GONE


def _retention(inputs: Inputs, rows: pd.DataFrame) -> tuple[pd.DataFrame, Planned | None]:
    """The plan, its rows in the order of what they earn."""
    names, allowed, place, _ = _eligible(inputs, RETENTION, rows)
    if not names:
        return _planless(rows), None
    acts = [inputs.catalogue.actions[name] for name in names]
    p, value = rows["churn_probability"].to_numpy(float), rows["margin_if_active"].to_numpy(float)
    order = rows["order_value"].to_numpy(float)
    cost = np.stack([economics.action_cost(a.cost, a.discount, order, 1 - p) for a in acts], axis=1)
    theta = plan.Theta().mean
    profit = np.stack([plan.score(p, value, theta, cost[:, k]) for k in range(len(acts))], axis=1)
    favoured = plan.favour_incumbents(profit, _incumbent(inputs, RETENTION, rows), INCUMBENT)
    favoured[~allowed] = -np.inf
    chosen = plan.choose(
        favoured, cost, [a.owner for a in acts], _limits(inputs, names).scaled(1 / _kept_share(inputs))
    )
    on = np.flatnonzero(chosen.action >= 0)
    listed = rows.iloc[on].assign(
        action=np.array(names, object)[chosen.action[on]],
        rule=inputs.catalogue.rule_ids(place[on, chosen.action[on]]),
        cost=cost[on, chosen.action[on]],
        expected_profit=profit[on, chosen.action[on]],
        score=chosen.profit[on],
        section="planned",
        barred=None,
    )
    best = np.where(allowed, profit, -np.inf).max(axis=1)
    return _ordered(listed), Planned(chosen, *plan.curve(best))


def _planless(rows: pd.DataFrame) -> pd.DataFrame:
    """A retention list with nobody on it."""
    return rows.head(0).assign(
        action=None, rule=None, cost=np.nan, expected_profit=np.nan, score=np.nan, section="planned", barred=None
    )


def _limits(inputs: Inputs, names: Sequence[str]) -> plan.Limits:
    """The settings' limits of a week, and the length of the list."""
    settings = inputs.config.economics
    acts = [inputs.catalogue.actions[name] for name in names]
    owners = {} if settings.capacity is None else {a.owner: float(settings.capacity) for a in acts}
    single = {k: float(a.capacity) for k, a in enumerate(acts) if a.capacity is not None}
    return plan.Limits(settings.budget, owners, float(inputs.config.serving.list_length), single)


def _win_back(inputs: Inputs, rows: pd.DataFrame) -> pd.DataFrame:
    """The lapsed whom an action would earn something, by what it earns; then, with the rest of the rows, those to leave
    alone, so that the sum can be read for them too."""
    names, allowed, place, barred = _eligible(inputs, WIN_BACK, rows)
    if not names or not len(rows):
        return _planless(rows).assign(section="lapsed", **dict.fromkeys(TERMS, np.nan), decision=None)
    acts = [inputs.catalogue.actions[name] for name in names]
    q, order = rows["return_probability"].to_numpy(float), rows["order_value"].to_numpy(float)
    cost = np.stack([economics.action_cost(a.cost, a.discount, order, q) for a in acts], axis=1)
    keeping = inputs.config.economics.contact_cost * 0.1 * inputs.windows.horizon / 30
    sums = [_sum(rows, q, cost[:, k], keeping) for k in range(len(acts))]
    gain = np.stack([np.where(allowed[:, k], one.recover, -np.inf) for k, one in enumerate(sums)], axis=1)
    best: Ints = np.nan_to_num(gain, nan=-np.inf).argmax(axis=1)
    none = ~allowed.any(axis=1)
    terms = {term: np.stack([getattr(one, term) for one in sums], axis=1)[np.arange(len(rows)), best] for term in TERMS}
    decision = np.stack([one.decision for one in sums], axis=1)[np.arange(len(rows)), best]
    decision[none & (decision == economics.RECOVER)] = economics.LET_LAPSE
    profit = terms["recover"] - np.maximum(terms["let_lapse"], 0.0)
    recover = decision == economics.RECOVER
    listed = rows.assign(**terms).assign(
        decision=decision,
        action=_where(recover, np.array(names, object)[best]),
        rule=inputs.catalogue.rule_ids(np.where(recover, place[np.arange(len(rows)), best], -1)),
        cost=np.where(recover, terms["cost"], np.nan),
        expected_profit=np.where(recover, profit, np.nan),
        score=profit * np.where(_incumbent(inputs, WIN_BACK, rows) & (profit > 0), INCUMBENT, 1.0),
        section="lapsed",
        barred=_where(~recover, barred),
    )
    return _top(listed[recover], _most(inputs))


TERMS = ("returns", "lift", "value_back", "keeping", "cost", "recover", "let_lapse", "terminate")


def _sum(rows: pd.DataFrame, q: Floats, cost: Floats, keeping: float) -> economics.WorthKeeping:
    return economics.worth_keeping(
        q,
        rows["value_if_back"].to_numpy(float),
        theta=plan.Theta().mean,
        cost=cost,
        keeping=keeping,
        times_lost=rows["times_lost"].to_numpy(float),
    )


# ------------------------------------------------------------------------------------------------- what may be done


def _eligible(
    inputs: Inputs, name: str, rows: pd.DataFrame
) -> tuple[tuple[str, ...], NDArray[np.bool_], NDArray[np.int64], NDArray[np.object_]]:
    """The actions of a list, whom each is meant for and allowed with, the place of the rule, and why none is."""
    names, place = inputs.catalogue.fitting(rows, name, inputs.tables)
    channels = [inputs.catalogue.actions[action].channel for action in names]
    day = to_date(inputs.as_of)
    open_to, why = actions.allowed(rows, channels, inputs.memory.dispositions, day, inputs.config.serving)
    fits = place >= 0
    allowed = fits & open_to
    free = pd.isna(why)
    why[free & ~fits.any(axis=1)] = "no rule"
    why[free & fits.any(axis=1) & ~allowed.any(axis=1)] = "consent"
    return names, allowed, place, why


def _suggest(inputs: Inputs, name: str, rows: pd.DataFrame, planned: pd.DataFrame) -> pd.DataFrame:
    """The plan's action for whom it chose one, else that of the first rule that fits and may be used, else why not."""
    names, allowed, place, barred = _eligible(inputs, name, rows)
    first = np.where(allowed, place, np.iinfo(np.int64).max)
    suggested = np.full(len(rows), None, object)
    if names:
        suggested = _where(allowed.any(axis=1), np.array(names, object)[np.asarray(first.argmin(axis=1))])
    by_plan = planned.set_index("customer_id")["action"].reindex(rows["customer_id"]).to_numpy(object)
    action = np.where(pd.isna(by_plan), suggested, by_plan)
    rule = inputs.catalogue.rule_ids(_place_of(names, place, action))
    p, order = rows["churn_probability"].to_numpy(float), rows["order_value"].to_numpy(float)
    acts = [None if pd.isna(one) else inputs.catalogue.actions[one] for one in action]
    contact = np.array([np.nan if a is None else a.cost for a in acts], float)
    given = np.array([0.0 if a is None else a.discount for a in acts], float)
    cost = economics.action_cost(contact, given, order, 1 - p)
    profit = plan.score(p, rows["margin_if_active"].to_numpy(float), plan.Theta().mean, cost)
    without = pd.Series(action, dtype=object).isna().to_numpy(bool)
    told = {"action": action, "rule": rule, "cost": cost, "expected_profit": profit, "barred": _where(without, barred)}
    return rows.assign(**told)


def _place_of(names: tuple[str, ...], place: Ints, action: Objects) -> Ints:
    """The rule that proposes each customer's action; -1 where there is no action."""
    columns = {name: column for column, name in enumerate(names)}
    return np.array([-1 if a not in columns else place[row, columns[a]] for row, a in enumerate(action)], np.int64)


def _incumbent(inputs: Inputs, name: str, rows: pd.DataFrame) -> NDArray[np.bool_]:
    return rows["customer_id"].isin(inputs.memory.previous[name]["customer_id"]).to_numpy()


def _kept_share(inputs: Inputs) -> float:
    """The share of listed customers who are shown; the plan is made for as many more as will be held out."""
    frozen = inputs.memory.quarters
    now = frozen.loc[frozen["population"] == "at risk", "share"]
    return 1.0 - float(now.iloc[0] if len(now) else inputs.config.serving.hold_out)


def _most(inputs: Inputs) -> int:
    return max(1, round(inputs.config.serving.list_length / _kept_share(inputs)))


def _where(holds: Any, words: Objects) -> Objects:
    """The words where something holds, None elsewhere."""
    told = np.full(len(words), None, object)
    told[holds] = words[holds]
    return told


def _top(rows: pd.DataFrame, most: int) -> pd.DataFrame:
    return _ordered(rows).head(most)


def _ordered(rows: pd.DataFrame) -> pd.DataFrame:
    """By score, the highest first; ties by customer."""
    return rows.sort_values(["score", "customer_id"], ascending=[False, True], kind="stable", ignore_index=True)


def _odds(p: Floats) -> Floats:
    return p / np.maximum(1 - p, 1e-9)


# --------------------------------------------------------------------------------------------- hold-out and limits


def _draw(inputs: Inputs, chosen: Mapping[str, pd.DataFrame]) -> holdout.Draw:
    """The arms of everybody chosen for any list."""
    config, day = inputs.config, to_date(inputs.as_of)
    quarter = holdout.quarter_of(day)
    people = [
        pd.DataFrame(
            {
                "customer_id": rows["customer_id"],
                "population": "lapsed" if name == WIN_BACK else "at risk",
                "risk": rows["return_probability" if name == WIN_BACK else "churn_probability"].astype(float),
                "value": rows["worth"].astype(float),
                "exempt": (rows["vip"] == 1) & config.serving.exempt_vip,
            }
        )
        for name, rows in chosen.items()
    ]
    return holdout.draw(
        pd.concat(people, ignore_index=True).drop_duplicates("customer_id", ignore_index=True),
        quarter,
        config.serving.hold_out,
        holdout.salt(config.shop.name, config.model.seed, quarter),
        frozen=inputs.memory.quarters,
        assigned=inputs.memory.assignments,
        treated_before=inputs.memory.treated_before,
    )


def _cut(inputs: Inputs, name: str, rows: pd.DataFrame) -> pd.DataFrame:
    """The rows down to where a limit is reached by those shown: both arms are cut at the same row, or the cut would
    prefer one of them."""
    settings = inputs.config.economics
    shown = (rows["arm"] != HELD_OUT).to_numpy(float)
    keep: NDArray[np.bool_] = _within(shown, np.ones(len(rows), bool), inputs.config.serving.list_length)
    if name == RETENTION:
        acts = [inputs.catalogue.actions[action] for action in rows["action"]]
        owner = np.array([a.owner for a in acts], object)
        if settings.budget is not None:
            keep &= _within(shown * rows["cost"].to_numpy(float), keep, settings.budget)
        for one in sorted(set(owner)) if settings.capacity is not None else ():
            keep &= _within(shown, keep & (owner == one), float(settings.capacity or 0))
        for one in sorted({a.name for a in acts if a.capacity is not None}):
            most = float(inputs.catalogue.actions[one].capacity or 0)
            keep &= _within(shown, keep & (rows["action"] == one).to_numpy(), most)
    return rows[keep].reset_index(drop=True)


def _within(takes: NDArray[Any], concerned: NDArray[np.bool_], most: float) -> NDArray[np.bool_]:
    """Rows not concerned by a limit, and of those concerned the first ones until it is reached."""
    used = np.cumsum(np.where(concerned, takes, 0.0))
    return ~concerned | (used <= most * (1 + 1e-9))


# ------------------------------------------------------------------------------------------------- the rows in words


def _tell(inputs: Inputs, listed: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """The rows of each list with all their columns; `rank` counts those shown."""
    at_risk = sorted({one for name in (EARLY_WARNING, RETENTION) for one in listed[name]["customer_id"]})
    explained = inputs.explain(at_risk) if inputs.skill and at_risk else None
    base = float(inputs.forecasts["churn_probability"].mean())
    return {
        name: _columns(inputs, name, rows, explained if name != WIN_BACK else None, base)
        for name, rows in listed.items()
    }


def _columns(
    inputs: Inputs, name: str, rows: pd.DataFrame, explained: pd.DataFrame | None, base: float
) -> pd.DataFrame:
    day = to_date(inputs.as_of)
    reasons = plainly.reasons(rows)
    cause = rows["cause"].to_numpy(object)
    if explained is not None and len(rows):
        model = explained.reindex(rows["customer_id"])
        reasons = pd.DataFrame({c: model[c].to_numpy() for c in plainly.REASON_COLUMNS}, index=rows.index)
        if "cause" in model:
            cause = np.where(pd.isna(model["cause"].to_numpy(object)), cause, model["cause"].to_numpy(object))
    shown = rows["arm"] != HELD_OUT
    acts = [None if pd.isna(one) else inputs.catalogue.actions[one] for one in rows["action"]]
    p = rows["churn_probability"] if "churn_probability" in rows else pd.Series(np.nan, index=rows.index)
    told: dict[str, Any] = {
        "rank": shown.cumsum().where(shown).astype("Int64"),
        "customer_id": rows["customer_id"].astype(object),
        "section": rows["section"],
        **_status(inputs, name, rows),
        "risk_band": [None if np.isnan(x) else band(float(x), base) for x in p.to_numpy(float)],
        "churn_probability": p,
        "probability_before": rows.get("probability_before", np.nan),
        "expected_spend": rows.get("expected_spend", np.nan),
        "spend_lower": rows.get("spend_lower", np.nan),
        "spend_upper": rows.get("spend_upper", np.nan),
        "expected_margin": rows.get("expected_margin", np.nan),
        "clv": rows.get("clv", np.nan),
        "value_at_risk": rows.get("value_at_risk", np.nan),
        "clv_at_risk": rows.get("clv_at_risk", np.nan),
        "margin_if_active": rows.get("margin_if_active", np.nan),
        "second_purchase_probability": np.where(rows["purchase_days"] <= 1, 1 - p, np.nan),
        "last_order": [str(to_date(int(d))) for d in rows["last_purchase"]],
        "silence_days": rows["silence"],
        "usual_gap_days": rows["usual_gap"],
        "days_to_lapse": np.maximum(inputs.windows.active - rows["silence"], 0),
        "stage": rows["stage"].astype(object),
        "value_tier": rows["value"],
        "satisfaction": rows["satisfaction"],
        "region": rows["region"],
        "store": rows["store"],
        "cause": cause,
        **{column: reasons[column] for column in plainly.REASON_COLUMNS},
        "action": rows["action"].astype(object),
        "rule": rows["rule"],
        **{f"action_{suffix(x)}": [None if a is None else a.says[x] for a in acts] for x in LANGUAGES},
        **{
            f"no_action_{suffix(x)}": [BARRED[b][x] if isinstance(b, str) else None for b in rows["barred"]]
            for x in LANGUAGES
        },
        "owner": [None if a is None else a.owner for a in acts],
        "channel": [None if a is None else a.channel for a in acts],
        "cost": rows["cost"],
        "expected_profit": rows["expected_profit"],
        **_follow_up(inputs, rows, day),
    }
    if name == WIN_BACK:
        told |= {
            "return_probability": rows["return_probability"],
            "times_lost": rows["times_lost"],
            "decision": rows["decision"],
        }
        told |= {term: rows[term] for term in TERMS if term not in told}
    told |= {"held_out": ~shown, "as_of": str(day), "bundle": inputs.bundle, "arm": rows["arm"]}
    return pd.DataFrame(told, index=rows.index).astype({c: object for c in OBJECTS if c in told})


OBJECTS = (
    *(
        "section",
        "status",
        "why_en",
        "why_zh",
        "risk_band",
        "last_order",
        "stage",
        "value_tier",
        "satisfaction",
        "region",
    ),
    *("store", "cause", "action", "rule", "action_en", "action_zh", "no_action_en", "no_action_zh", "owner", "channel"),
    *("follow_up_on", "as_of", "bundle", "arm", "decision"),
)


def band(probability: float, base: float) -> str:
    """The risk band: how many times the odds of the base rate; raised from 1.4, high from 2.9, very high from 5.8."""
    times = probability * (1 - base) / max((1 - probability) * base, 1e-12)
    return next((name for name, from_ in BANDS if times >= from_), "usual")


def _follow_up(inputs: Inputs, rows: pd.DataFrame, day: date) -> dict[str, Any]:
    """The latest date somebody promised to come back to the customer on, where it is not over."""
    lines = inputs.memory.dispositions
    due = lines[lines["follow_up_on"].notna()] if len(lines) else lines
    dates = {
        c: str(d)
        for c, d in zip(due["customer_id"], due["follow_up_on"], strict=True)
        if pd.Timestamp(d) >= pd.Timestamp(day)
    }
    return {"follow_up_on": [dates.get(customer) for customer in rows["customer_id"]]}


# ------------------------------------------------------------------------------------------------ memory of the lists


def _status(inputs: Inputs, name: str, rows: pd.DataFrame) -> dict[str, list[str]]:
    """new, back or stays, and why, in both languages."""
    ever, previous = inputs.memory.ever[name], inputs.memory.previous[name]
    listed_on: dict[str, list[date]] = {}
    for customer, day in zip(ever["customer_id"], ever["as_of"], strict=True):
        listed_on.setdefault(customer, []).append(day)
    last, days = set(previous["customer_id"]), sorted(set(ever["as_of"]))
    seen_before = set(inputs.memory.forecasts_before["customer_id"])
    told: dict[str, list[str]] = {"status": [], "why_en": [], "why_zh": []}
    before = rows.get("probability_before", pd.Series(np.nan, index=rows.index))
    now = rows.get("churn_probability", pd.Series(np.nan, index=rows.index))
    for customer, p0, p1 in zip(rows["customer_id"], before, now, strict=True):
        status = "stays" if customer in last else "back" if customer in listed_on else "new"
        if status == "stays":
            said = both(Word.STAYED, times=_in_a_row(listed_on[customer], days))
        elif status == "back":
            said = both(Word.RETURNED, day=max(listed_on[customer]))
        elif not days:
            said = both(Word.FIRST)
        else:
            said = _why_new(customer in seen_before, p0, p1)
        told["status"].append(status)
        told["why_en"].append(said["en"])
        told["why_zh"].append(said["zh-CN"])
    return told


def _why_new(seen: bool, before: float, now: float) -> dict[str, str]:
    if not seen:
        return both(Word.ENTERED)
    if now > before:
        return both(Word.ROSE, before=f"{before:.0%}", now=f"{now:.0%}")
    return both(Word.ROSE_ABOVE)


def _in_a_row(listed: Sequence[date], days: Sequence[date]) -> int:
    """How many lists in a row with this one."""
    there, times = set(listed), 1
    for day in reversed(days):
        if day not in there:
            break
        times += 1
    return times


def _left(inputs: Inputs, name: str, rows: pd.DataFrame, at_risk: pd.DataFrame) -> pd.DataFrame:
    """Who stood on the last list, was shown there, and does not stand on this one; why."""
    previous = inputs.memory.previous[name]
    gone = previous[~previous["customer_id"].isin(rows["customer_id"]) & (previous["arm"] != HELD_OUT)]
    people = inputs.people.set_index("customer_id")[["last_purchase", "silence"]].reindex(gone["customer_id"])
    since = inputs.memory.ever[name]["as_of"].max() if len(inputs.memory.ever[name]) else to_date(inputs.as_of)
    day = (pd.Timestamp(since) - pd.Timestamp("1970-01-01")).days
    lines = inputs.memory.dispositions
    stop = set(lines.loc[lines["what"] == "do_not_contact", "customer_id"])
    approached = set(lines.loc[lines["what"].isin(actions.APPROACHES), "customer_id"])
    why = [
        "not known any more"
        if np.isnan(bought)
        else "do not contact"
        if customer in stop
        else "bought again"
        if bought > day
        else "lapsed"
        if silence >= inputs.windows.active and name != WIN_BACK
        else "contacted"
        if customer in approached
        else "fell below the cut"
        for customer, bought, silence in zip(
            gone["customer_id"], people["last_purchase"], people["silence"], strict=True
        )
    ]
    told = {"list": name, "customer_id": gone["customer_id"].to_numpy(object), "why": np.array(why, object)}
    words = {f"why_{suffix(x)}": np.array([LEFT[one][x] for one in why], object) for x in LANGUAGES}
    return pd.DataFrame(told | words).astype(object)


# ------------------------------------------------------------------------------------------------- for the ledger


ENTRY = ("customer_id", "rank", "arm", "status", "action", "owner", "channel", "cost", "expected_profit")


def _entries(told: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    rows = [
        rows[[*ENTRY, "churn_probability", "value_at_risk"]].assign(name=name)
        for name, rows in told.items()
        if len(rows)
    ]
    columns = [*ENTRY, "churn_probability", "value_at_risk", "name"]
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=columns)


def _assignments(inputs: Inputs, new: pd.DataFrame, listed: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The new arms with the list entered first (the plan's before the warning) and the forecasts of before the draw."""
    frames = [
        pd.DataFrame(
            {
                "customer_id": listed[name]["customer_id"],
                "name": name,
                "action": listed[name]["action"].astype(object),
                "kept_forecast": 1 - listed[name]["churn_probability"]
                if name != WIN_BACK
                else listed[name]["return_probability"],
                "spend_forecast": listed[name].get("expected_spend", np.nan),
                "margin_forecast": listed[name].get("expected_margin", np.nan),
            }
        )
        for name in (RETENTION, EARLY_WARNING, WIN_BACK)
    ]
    first = pd.concat([frame for frame in frames if len(frame)] or frames, ignore_index=True)
    first = first.drop_duplicates("customer_id")
    return new.merge(first, on="customer_id", how="left", validate="1:1")


# ------------------------------------------------------------------------------------------------- what is said


def _summary(
    inputs: Inputs, told: Mapping[str, pd.DataFrame], left: pd.DataFrame, at_risk: pd.DataFrame, made: Planned | None
) -> dict[str, Any]:
    """What is said of the publication and of each list; JSON values only."""
    config = inputs.config
    return {
        "shop": config.shop.name,
        "currency": config.shop.currency,
        "language": config.shop.language,
        "as_of": str(to_date(inputs.as_of)),
        "horizon": inputs.windows.horizon,
        "active": inputs.windows.active,
        "bundle": inputs.bundle,
        "skill": inputs.skill,
        "at_risk": _at_risk_sums(at_risk),
        "plan": _plan_sums(told[RETENTION], made),
        "lists": {
            name: _counts(rows, left[left["list"] == name]) | {"says": _says(inputs, name, rows, at_risk, made)}
            for name, rows in told.items()
        },
        "rules_off": {rule: list(lacks) for rule, lacks in inputs.catalogue.off(inputs.tables).items()},
        "left": {name: _tally(left.loc[left["list"] == name, "why"]) for name in told},
    }


def _counts(rows: pd.DataFrame, left: pd.DataFrame) -> dict[str, Any]:
    shown = rows[rows["arm"] != HELD_OUT]
    status = _tally(shown["status"])
    return {
        "shown": len(shown),
        "held_out": int((rows["arm"] == HELD_OUT).sum()),
        "exempt": int((rows["arm"] == holdout.EXEMPT).sum()),
        **{word: status.get(word, 0) for word in ("new", "back", "stays")},
        "left": len(left),
        "value_at_risk": _number(shown["value_at_risk"].sum()),
        "expected_profit": _number(shown["expected_profit"].sum()),
        "cost": _number(shown["cost"].sum()),
        "sections": _tally(shown["section"]),
    }


def _tally(words: pd.Series) -> dict[str, int]:
    return {str(word): int(n) for word, n in sorted(words.value_counts().items())}


def _number(value: Any) -> float | None:
    return round(float(value), 6) if np.isfinite(value) else None


def _at_risk_sums(rows: pd.DataFrame) -> dict[str, Any]:
    """The three sums that are not the same, over everybody at risk."""
    p = rows["churn_probability"]
    return {
        "customers": len(rows),
        "churn_rate": _number(p.mean()) if len(rows) else None,
        "value_at_risk": _number(rows["value_at_risk"].sum()),
        "revenue_at_risk": _number(economics.revenue_at_risk(p, rows["revenue_if_active"])),
        "clv_at_risk": _number(rows["clv_at_risk"].sum()),
    }


def _plan_sums(rows: pd.DataFrame, made: Planned | None) -> dict[str, Any] | None:
    """The plan's certificate and its marginal figures."""
    if made is None:
        return None
    shown = rows[rows["arm"] != HELD_OUT]
    return {
        "profit": _number(shown["expected_profit"].sum()),
        "cost": _number(shown["cost"].sum()),
        "gap": _number(made.plan.gap),
        "best_length": made.best,
        "curve": [[n, _number(made.curve[n - 1])] for n in _lengths(len(made.curve), made.best)],
        "last_row": _number(shown["expected_profit"].min()) if len(shown) else None,
        "prices": {name: _number(price) for name, price in sorted(made.plan.prices.items())},
        "used": {name: _number(used) for name, used in sorted(made.plan.used.items())},
    }


def _lengths(most: int, best: int) -> list[int]:
    """The lengths at which the curve is drawn: about twenty up to twice the best, and the best itself."""
    far = max(1, min(most, 2 * best))
    return sorted({int(n) for n in np.linspace(1, far, 20)} | ({best} if best else set())) if most else []


def _says(
    inputs: Inputs, name: str, rows: pd.DataFrame, at_risk: pd.DataFrame, made: Planned | None
) -> list[dict[str, str]]:
    """Sentences that stand over a list."""
    said = _says_whose(inputs)
    if not inputs.has_amounts:
        said.append(both(Word.NO_AMOUNTS))
    if name == EARLY_WARNING and len(at_risk):
        said.append(_says_at_risk(inputs, _at_risk_sums(at_risk)))
    if name == RETENTION:
        said.append(_says_plan(inputs, rows, at_risk, made))
    if name != WIN_BACK:
        said += _says_off(inputs)
    elif rows.empty and len(inputs.lapsed):
        said.append(both(Word.NOTHING_PAYS))
    return said + _says_barred(inputs, name, at_risk) + _says_share(inputs)


def _says_whose(inputs: Inputs) -> list[dict[str, str]]:
    """Where the forecasts are not the model's: the rule that made them, or that there is no skill at all."""
    if inputs.skill:
        return []
    if inputs.rule is None:
        return [both(Word.NO_SKILL)]
    named = RULES.get(inputs.rule, dict.fromkeys(LANGUAGES, inputs.rule))
    return [{language: say(Word.BY_RULE, language, rule=named[language]) for language in LANGUAGES}]


def _says_off(inputs: Inputs) -> list[dict[str, str]]:
    """How many kinds of suggestion are off, and the tables that would bring them; which they are is in the summary."""
    off = inputs.catalogue.off(inputs.tables)
    tables = [name for name in TABLES if any(name in lack.split(" or ") for lacks in off.values() for lack in lacks)]
    joined = {"en": ", ".join(tables), "zh-CN": "、".join(TABLES[name] for name in tables)}
    return (
        [{language: say(Word.RULES_OFF, language, count=len(off), tables=joined[language]) for language in LANGUAGES}]
        if off
        else []
    )


def _says_at_risk(inputs: Inputs, sums: Mapping[str, Any]) -> dict[str, str]:
    money = {key: f"{sums[f'{key}_at_risk'] or 0:,.0f}" for key in ("value", "revenue", "clv")}
    return both(
        Word.AT_RISK,
        customers=f"{sums['customers']:,}",
        rate=f"{sums['churn_rate']:.0%}",
        horizon=inputs.windows.horizon,
        years=f"{inputs.config.economics.years:g}",
        currency=inputs.config.shop.currency,
        **money,
    )


def _says_plan(inputs: Inputs, rows: pd.DataFrame, at_risk: pd.DataFrame, made: Planned | None) -> dict[str, str]:
    sums = _plan_sums(rows, made)
    if made is None or sums is None or not len(rows):
        return both(Word.NOTHING_PAYS)
    return both(
        Word.PLAN,
        profit=f"{sums['profit']:,.2f}",
        cost=f"{sums['cost']:,.2f}",
        gap=f"{made.plan.gap:.2%}",
        best=f"{made.best:,}",
        last=f"{sums['last_row']:,.2f}",
        prices=", ".join(f"{name} {price:,.3f}" for name, price in sums["prices"].items()) or "—",
    )


def _says_barred(inputs: Inputs, name: str, at_risk: pd.DataFrame) -> list[dict[str, str]]:
    """How many of those at risk may not be approached, by reason; the reason that bars a tenth or more is said."""
    if name != RETENTION or not len(at_risk):
        return []
    _, _, _, why = _eligible(inputs, RETENTION, at_risk)
    counts = pd.Series(why[~pd.isna(why)], dtype=object).value_counts()
    return [
        {x: both(Word.BARRED, count=f"{n:,}", why=BARRED[str(reason)][x])[x] for x in LANGUAGES}
        for reason, n in sorted(counts.items())
    ]


def _says_share(inputs: Inputs) -> list[dict[str, str]]:
    now, asked = 1.0 - _kept_share(inputs), inputs.config.serving.hold_out
    return [] if abs(now - asked) < 1e-9 else [both(Word.SHARE_WAITS, asked=f"{asked:.0%}", now=f"{now:.0%}")]
