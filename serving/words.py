"""The words of the lists, in both languages, in one place: what a table's columns are called and what is said about
it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

import pandas as pd

BANDS: Mapping[str, Mapping[str, str]] = {
    "very high": {"en": "very high", "zh-CN": "极高"},
    "high": {"en": "high", "zh-CN": "高"},
    "raised": {"en": "raised", "zh-CN": "偏高"},
    "usual": {"en": "usual", "zh-CN": "正常"},
}
STAGES: Mapping[str, Mapping[str, str]] = {
    "exploration": {"en": "exploration", "zh-CN": "考察期"},
    "growth": {"en": "growth", "zh-CN": "发展期"},
    "stable": {"en": "stable", "zh-CN": "稳定期"},
    "decline": {"en": "decline", "zh-CN": "衰退期"},
    "lapsed": {"en": "lapsed", "zh-CN": "已流失"},
    "prospect": {"en": "prospect", "zh-CN": "潜在客户"},
}
STATUS: Mapping[str, Mapping[str, str]] = {
    "new": {"en": "new", "zh-CN": "新进"},
    "back": {"en": "back", "zh-CN": "重回"},
    "stays": {"en": "stays", "zh-CN": "仍在"},
}
DECISIONS: Mapping[str, Mapping[str, str]] = {
    "recover": {"en": "recover", "zh-CN": "恢复"},
    "let lapse": {"en": "let lapse", "zh-CN": "任其流失"},
    "terminate": {"en": "terminate", "zh-CN": "终止"},
}
SECTIONS: Mapping[str, Mapping[str, str]] = {
    "value at risk": {"en": "value at risk", "zh-CN": "预计损失"},
    "rising": {"en": "rising", "zh-CN": "风险上升"},
    "one-time buyers": {"en": "one-time buyers", "zh-CN": "一次性买家"},
    "planned": {"en": "planned", "zh-CN": "计划"},
    "lapsed": {"en": "lapsed", "zh-CN": "已流失"},
}
LEFT: Mapping[str, Mapping[str, str]] = {
    "bought again": {"en": "bought again", "zh-CN": "又购买"},
    "fell below the cut": {"en": "fell below the cut", "zh-CN": "低于截断线"},
    "lapsed": {"en": "lapsed", "zh-CN": "已流失"},
    "contacted": {"en": "contacted or refused", "zh-CN": "已联系或已拒绝"},
    "do not contact": {"en": "asked not to be contacted", "zh-CN": "要求勿联系"},
    "not known any more": {"en": "not known any more", "zh-CN": "已无记录"},
}


RULES: Mapping[str, Mapping[str, str]] = {
    "recency": {"en": "how long ago the last order was", "zh-CN": "距上次购买的天数"},
    "own cadence": {"en": "the silence against the customer's own rhythm", "zh-CN": "未购天数与客户自身购买节奏之比"},
    "RFM logistic": {"en": "how recently, how often and how much", "zh-CN": "最近购买、购买频率与消费金额"},
    "BG/NBD + Gamma-Gamma": {"en": "how often and how recently", "zh-CN": "购买频率与最近购买时间"},
}
TABLES: Mapping[str, str] = {
    "purchases": "购买",
    "returns": "退货",
    "complaints": "投诉",
    "surveys": "满意度调查",
    "events": "浏览行为",
    "campaigns": "营销活动",
    "costs": "成本",
    "referrals": "推荐",
    "customers": "客户资料",
    "attitudes": "态度",
}


class Word(StrEnum):
    """Everything that is said about a list as a whole."""

    EARLY_WARNING = "early-warning"
    RETENTION = "retention"
    WIN_BACK = "win-back"
    ABOUT = "about"
    COUNTS = "counts"
    EMPTY = "empty"
    MORE = "more"
    NO_SKILL = "no skill"
    BY_RULE = "by rule"
    RULES_OFF = "rules off"
    NO_AMOUNTS = "no amounts"
    AT_RISK = "at risk"
    PLAN = "plan"
    NOTHING_PAYS = "nothing pays"
    FIRST = "first"
    ENTERED = "entered"
    ROSE = "rose"
    ROSE_ABOVE = "rose above"
    STAYED = "stayed"
    RETURNED = "returned"
    SHARE_WAITS = "share waits"
    BARRED = "barred"


SAID: Mapping[Word, Mapping[str, str]] = {
    Word.EARLY_WARNING: {"en": "Early warning", "zh-CN": "流失预警"},
    Word.RETENTION: {"en": "Retention", "zh-CN": "挽留"},
    Word.WIN_BACK: {"en": "Win-back", "zh-CN": "挽回"},
    Word.ABOUT: {
        "en": "{shop} · {list} · purchases known to {day} · horizon {horizon} days · bundle {bundle}",
        "zh-CN": "{shop} · {list} · 购买记录截至{day} · 预测期{horizon}天 · 模型包 {bundle}",
    },
    Word.COUNTS: {
        "en": "{shown} listed: {new} new, {back} back, {stays} stay; {left} left. "
        "{held_out} more are held out to measure the effect and not shown; {exempt} exempt from that.",
        "zh-CN": "名单{shown}位：新进{new}，重回{back}，仍在{stays}；离开{left}。"
        "另有{held_out}位为对照组，用于衡量效果，不显示；{exempt}位免于对照。",
    },
    Word.EMPTY: {"en": "Nobody.", "zh-CN": "无。"},
    Word.MORE: {"en": "and {more} more", "zh-CN": "另有{more}位"},
    Word.NO_SKILL: {
        "en": "No skill: in this log nothing tells who will stay better than the average does; every probability here "
        "is close to the base rate, so the order says little about single customers.",
        "zh-CN": "无预测能力：在这份记录中，没有信息能比平均水平更好地判断谁会留下；"
        "此处概率接近基础流失率，排序对单个客户意义有限。",
    },
    Word.BY_RULE: {
        "en": "The probabilities come from a simple rule, {rule}: the model did no better when both were tested. The "
        "reasons say what is unusual about a customer, not how the probability came about.",
        "zh-CN": "概率来自一条简单规则（{rule}）：检验中模型并不优于它。原因说明客户有何异常，而非概率的由来。",
    },
    Word.RULES_OFF: {
        "en": "Kinds of suggestion that are off for want of a table: {count} (what would bring them: {tables}).",
        "zh-CN": "因缺少数据表，有{count}类建议停用（可补充：{tables}）。",
    },
    Word.NO_AMOUNTS: {
        "en": "The log has no amounts: value is counted in lines, one unit each.",
        "zh-CN": "记录中没有金额：价值以订单行计，每行一个单位。",
    },
    Word.AT_RISK: {
        "en": "{customers} customers at risk, {rate} expected to churn in {horizon} days. Value at risk {value} "
        "(margin if still buying), revenue at risk {revenue}, CLV at risk {clv} over {years} years. {currency}.",
        "zh-CN": "{customers}位活跃客户，预计{horizon}天内流失{rate}。预计毛利损失{value}（若仍在购买），"
        "面临流失的收入{revenue}，面临流失的客户终身价值{clv}（{years}年）。货币：{currency}。",
    },
    Word.PLAN: {
        "en": "Expected profit {profit} for {cost}, within {gap} of the most any plan can earn. Without limits "
        "the most profitable length is {best} rows; the last row here earns {last}. One more unit of each limit would "
        "earn: {prices}.",
        "zh-CN": "预期利润{profit}，成本{cost}，与任何方案的上限相差不到{gap}。"
        "若无限制，利润最高的名单长度为{best}位；此处最后一位带来{last}。每放宽一个单位限制可增加：{prices}。",
    },
    Word.NOTHING_PAYS: {
        "en": "No action pays for itself for anyone: what a contact costs is more than it is believed to save.",
        "zh-CN": "没有任何动作能收回成本：联系成本高于预计挽回的价值。",
    },
    Word.FIRST: {"en": "first list", "zh-CN": "首份名单"},
    Word.ENTERED: {"en": "not seen before", "zh-CN": "此前未出现"},
    Word.ROSE: {"en": "risk rose from {before} to {now}", "zh-CN": "风险由{before}升至{now}"},
    Word.ROSE_ABOVE: {"en": "rose above the cut", "zh-CN": "高于截断线"},
    Word.STAYED: {"en": "on the list {times} times in a row", "zh-CN": "连续{times}次在名单上"},
    Word.RETURNED: {"en": "was on the list of {day}", "zh-CN": "曾在{day}的名单上"},
    Word.SHARE_WAITS: {
        "en": "hold_out is {asked} from the next quarter on; until then it stays {now}, so that nobody changes arms.",
        "zh-CN": "对照比例从下一季度起为{asked}；此前保持{now}，以免客户换组。",
    },
    Word.BARRED: {"en": "{count} not listed for action: {why}", "zh-CN": "{count}位不列入行动：{why}"},
}


def say(word: Word, language: str, **values: object) -> str:
    """A sentence in a language."""
    return SAID[word][language].format(**values)


def both(word: Word, **values: object) -> dict[str, str]:
    """A sentence in both languages."""
    return {language: say(word, language, **values) for language in ("en", "zh-CN")}


def suffix(language: str) -> str:
    """The end of a column's name that holds text in a language: en or zh."""
    return language.partition("-")[0]


Show = Callable[[pd.Series, str], str]


@dataclass(frozen=True)
class Column:
    """A column of the terminal's table: its head in both languages and how a row shows it."""

    head: Mapping[str, str]
    show: Show
    justify: Literal["left", "right"] = "left"


def column_words(column: Column, language: str) -> str:
    return column.head[language]


def _absent(value: Any) -> bool:
    return bool(pd.isna(value))


def _text(name: str) -> Show:
    return lambda row, _: "—" if _absent(row[name]) else str(row[name])


def _told(name: str) -> Show:
    """Text that the row holds in both languages."""
    return lambda row, language: (
        "—" if _absent(row[f"{name}_{suffix(language)}"]) else row[f"{name}_{suffix(language)}"]
    )


def _word(name: str, words: Mapping[str, Mapping[str, str]]) -> Show:
    return lambda row, language: "—" if _absent(row[name]) else words.get(row[name], {}).get(language, str(row[name]))


def _number(name: str, form: str = ",.0f") -> Show:
    return lambda row, _: "—" if _absent(row[name]) else format(row[name], form)


def _risk(row: pd.Series, language: str) -> str:
    return f"{row['churn_probability']:.0%} {BANDS[row['risk_band']][language]}"


def _silence(row: pd.Series, language: str) -> str:
    days = f"{row['silence_days']:.0f}"
    if _absent(row["usual_gap_days"]):
        return {"en": f"{days} days", "zh-CN": f"{days}天"}[language]
    usual = f"{row['usual_gap_days']:.0f}"
    return {"en": f"{days} days, usually {usual}", "zh-CN": f"{days}天，通常{usual}天"}[language]


def _why(row: pd.Series, language: str) -> str:
    said = [row[f"reason_{k}_{suffix(language)}"] for k in (1, 2)]
    return " · ".join(str(one) for one in said if not _absent(one)) or "—"


def _action(row: pd.Series, language: str) -> str:
    name = f"action_{suffix(language)}" if not _absent(row["action"]) else f"no_action_{suffix(language)}"
    return "—" if _absent(row[name]) else str(row[name])


RANK = Column({"en": "#", "zh-CN": "#"}, _text("rank"), "right")
CUSTOMER = Column({"en": "Customer", "zh-CN": "客户"}, _text("customer_id"))
STATE = Column({"en": "List", "zh-CN": "名单"}, _word("status", STATUS))
SECTION = Column({"en": "Section", "zh-CN": "部分"}, _word("section", SECTIONS))
RISK = Column({"en": "Risk of churn", "zh-CN": "流失风险"}, _risk, "right")
VALUE = Column({"en": "Value at risk", "zh-CN": "预计损失"}, _number("value_at_risk"), "right")
SILENCE = Column({"en": "Silence", "zh-CN": "未购天数"}, _silence)
STAGE = Column({"en": "Stage", "zh-CN": "阶段"}, _word("stage", STAGES))
WHY = Column({"en": "Why", "zh-CN": "原因"}, _why)
ACTION = Column({"en": "Suggested action", "zh-CN": "建议动作"}, _action)
OWNER = Column({"en": "Owner", "zh-CN": "负责"}, _text("owner"))
PROFIT = Column({"en": "Expected profit", "zh-CN": "预期利润"}, _number("expected_profit", ",.2f"), "right")
RETURN = Column({"en": "Returns", "zh-CN": "回归概率"}, _number("return_probability", ".0%"), "right")
BACK = Column({"en": "Worth if back", "zh-CN": "回归后价值"}, _number("value_back"), "right")
DECISION = Column({"en": "Decision", "zh-CN": "决定"}, _word("decision", DECISIONS))

COLUMNS: Mapping[str, tuple[Column, ...]] = {
    "early-warning": (RANK, CUSTOMER, STATE, SECTION, RISK, VALUE, SILENCE, STAGE, WHY, ACTION, OWNER),
    "retention": (RANK, CUSTOMER, STATE, RISK, VALUE, SILENCE, STAGE, WHY, ACTION, OWNER, PROFIT),
    "win-back": (RANK, CUSTOMER, STATE, SILENCE, RETURN, BACK, DECISION, WHY, ACTION, OWNER, PROFIT),
}
