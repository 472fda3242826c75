"""Where a row comes from: from the purchases to the published list, step by step, and the command that makes it again.

Everything is read from what was frozen when the list was published and from the ledger; nothing is worked out anew, so
the answer is the same next year.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import pandas as pd

from features.config import Config
from features.errors import MissingInput
from features.windows import to_date
from serving import publish
from serving.ledger import Ledger
from serving.publish import LISTS, Published
from serving.words import suffix

Texts = Mapping[str, str]


@dataclass(frozen=True)
class Step:
    """One step of the way, with its name and sentence by language."""

    name: str
    text: Texts


@dataclass(frozen=True)
class Lineage:
    """A customer's way onto (or past) the lists of a day. `rows` are his published rows by list, as they were
    decided."""

    customer_id: str
    as_of: int
    publication: str
    steps: tuple[Step, ...]
    rows: Mapping[str, Mapping[str, Any]]

    def lines(self, language: str) -> list[str]:
        """The steps, numbered, in a language."""
        return [f"{number}. {step.text[language]}" for number, step in enumerate(self.steps, start=1)]


def run(config: Config, customer_id: str, list_date: int | None = None) -> Lineage:
    """The lineage of a customer on the lists of a day (the lists shown now where none is given).

    Raises MissingInput where nothing was published for that day or the customer had neither a forecast nor a row then.
    """
    with Ledger.open(config.database_url) as ledger:
        if list_date is None:
            published = publish.current(config.var, ledger)
        else:
            published = publish.at_day(config.var, ledger, to_date(list_date))
        return of(published, ledger, customer_id)


def of(published: Published, ledger: Ledger, customer_id: str) -> Lineage:
    """The lineage from an open publication and ledger."""
    forecasts = published.forecasts
    forecast = forecasts[forecasts["customer_id"] == customer_id]
    rows = _rows(published, customer_id)
    if forecast.empty and not rows:
        raise MissingInput(
            "this customer was neither at risk nor listed then",
            where=f"the lists of {published.id}",
            got=repr(customer_id),
        )
    steps = [
        *_known(rows),
        *(_forecast(published, forecast.iloc[0]) if len(forecast) else []),
        *[_decided(name, row) for name, row in rows.items()],
        *_drawn(ledger, customer_id, to_date(published.as_of)),
        _published(published, ledger),
        *_done(ledger, published, customer_id),
        _again(published),
    ]
    return Lineage(customer_id, published.as_of, published.id, tuple(steps), rows)


def _rows(published: Published, customer_id: str) -> dict[str, dict[str, Any]]:
    """The customer's rows by list; a held-out one too."""
    found: dict[str, dict[str, Any]] = {}
    for name in LISTS:
        shown, held = published.rows(name), published.held_out
        mine = pd.concat(
            [
                shown[shown["customer_id"] == customer_id],
                held[(held["customer_id"] == customer_id) & (held["list"] == name)],
            ]
        )
        if len(mine):
            found[name] = {str(key): value for key, value in mine.iloc[0].items() if key != "list"}
    return found


def _known(rows: Mapping[str, Mapping[str, Any]]) -> list[Step]:
    """What was known of his purchases."""
    if not rows:
        return []
    row = next(iter(rows.values()))
    usual = row["usual_gap_days"]
    gap = {"en": "no usual gap yet", "zh-CN": "尚无通常间隔"}
    if not pd.isna(usual):
        gap = {"en": f"usually {usual:.0f} days apart", "zh-CN": f"通常间隔{usual:.0f}天"}
    silence = f"{row['silence_days']:.0f}"
    return [
        Step(
            "purchases",
            {
                "en": f"Last order {row['last_order']}, {silence} days before the list's day; {gap['en']}.",
                "zh-CN": f"最近订单{row['last_order']}，距名单日{silence}天；{gap['zh-CN']}。",
            },
        )
    ]


def _forecast(published: Published, row: pd.Series) -> list[Step]:
    """What the bundle said."""
    p, spend = f"{row['churn_probability']:.1%}", f"{row['expected_spend']:,.2f}"
    low, high = f"{row['spend_lower']:,.2f}", f"{row['spend_upper']:,.2f}"
    days, bundle = published.summary["horizon"], row["bundle"]
    skill = (
        {"en": "", "zh-CN": ""}
        if row["skill"]
        else {
            "en": " Not the model's: a simple rule or the base rate.",
            "zh-CN": "非模型预测：出自简单规则或基础流失率。",
        }
    )
    return [
        Step(
            "forecast",
            {
                "en": f"Bundle {bundle}: churns in {days} days with {p}; expected spend {spend} ({low} to {high})."
                + skill["en"],
                "zh-CN": f"模型包{bundle}：{days}天内流失概率{p}；预期消费{spend}（{low}至{high}）。" + skill["zh-CN"],
            },
        )
    ]


def _decided(name: str, row: Mapping[str, Any]) -> Step:
    """Why this list, this place and this action."""
    told = {}
    for language, place in (("en", "Place {} on {}"), ("zh-CN", "在{1}名单上列第{0}位")):
        short = suffix(language)
        held = {"en": "Held out of {1}", "zh-CN": "{1}名单的对照组"}[language]
        start = held.format("", name) if row["held_out"] else place.format(int(row["rank"]), name)
        action = row[f"action_{short}"] if not pd.isna(row["action"]) else row[f"no_action_{short}"]
        rule = (
            ""
            if pd.isna(row["rule"])
            else {"en": f" (rule {row['rule']})", "zh-CN": f"（规则{row['rule']}）"}[language]
        )
        why = row[f"why_{short}"]
        profit = "—" if pd.isna(row["expected_profit"]) else f"{row['expected_profit']:,.2f}"
        worth = {"en": f"expected profit {profit}", "zh-CN": f"预期利润{profit}"}[language]
        told[language] = f"{start}: {why}; {action}{rule}; {worth}."
    return Step("decision", told)


def _drawn(ledger: Ledger, customer_id: str, day: date) -> list[Step]:
    """The draw that decided his arm."""
    drawn = ledger.assignments()
    mine = drawn[(drawn["customer_id"] == customer_id) & (pd.to_datetime(drawn["entered"]) <= pd.Timestamp(day))]
    if mine.empty:
        return []
    one = mine.iloc[-1]
    return [
        Step(
            "draw",
            {
                "en": f"Drawn for {one['quarter']} on {one['entered']} in stratum {one['stratum']} with "
                f"{one['share']:.0%} held out: {one['arm']}.",
                "zh-CN": f"{one['quarter']}抽样（{one['entered']}，分层{one['stratum']}，对照比例{one['share']:.0%}）："
                + {"held out": "对照组", "treated": "处理组"}.get(one["arm"], "免于对照")
                + "。",
            },
        )
    ]


def _published(published: Published, ledger: Ledger) -> Step:
    """The publication with the digest of all that went into it."""
    there = ledger.publications().set_index("id")
    inputs = str(there.loc[published.id, "inputs"])[:16]
    return Step(
        "publication",
        {
            "en": f"Published as {published.id} from inputs {inputs} (bundle, store, settings, ledger before it).",
            "zh-CN": f"发布为{published.id}，输入摘要{inputs}（模型包、数据、设置、发布前台账）。",
        },
    )


def _done(ledger: Ledger, published: Published, customer_id: str) -> list[Step]:
    """What was done since."""
    lines = ledger.dispositions()
    ids = {published.list_id(name) for name in LISTS}
    mine = lines[(lines["customer_id"] == customer_id) & lines["list_id"].isin(ids)]
    return [
        Step(
            "disposition",
            dict.fromkeys(("en", "zh-CN"), f"{row['at']}: {row['what']}" + (f", {row['by']}" if row["by"] else "")),
        )
        for _, row in mine.iterrows()
    ]


def _again(published: Published) -> Step:
    command = f"holdfast score --as-of {to_date(published.as_of)}"
    return Step("again", {"en": f"To make it again: {command}", "zh-CN": f"重新生成：{command}"})
